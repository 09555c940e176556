//! What networks learn from one initialisation and from another: the table that the default of [`Init`] was
//! chosen by.
//!
//! ```text
//! cargo run --release --example init                    ten seeds of each
//! cargo run --release --example init -- --seeds N
//! ```
//!
//! Two seeds that are alike differ in the initial weights alone: data, their order and games are the same.

#[path = "../cartpole/cart.rs"]
mod cart;
#[path = "../digits/data.rs"]
#[allow(dead_code, reason = "pictures are not moved here")]
mod data;
mod dqn;
#[path = "../common/options.rs"]
mod options;
#[path = "../cartpole/policy.rs"]
#[allow(dead_code, reason = "there are no test episodes here")]
mod policy;
#[path = "../regression/table.rs"]
mod table;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use cart::{Cart, SplitMix};
use fuseprop::{
    Activation, AdamW, Dataset, FitOptions, Init, Loss, Network, Optimizer, Scaler, Schedule, Trainer,
    metrics,
};
use options::{Options, Stop};
use policy::{Agent, Experience};
use table::Table;

const INITS: [Init; 2] = [Init::Auto, Init::PyTorchLinear];

fn main() -> ExitCode {
    let mut options = Options::new("init", "usage: init [--seeds N]");
    let result = run(&mut options);
    options.end(result)
}

fn run(options: &mut Options) -> Result<(), Stop> {
    let seeds = options.number("--seeds", 10)?.max(1);
    options.done()?;
    println!("mean of {seeds} seeds, standard deviation, and the least and the most");
    println!("| | {} |", INITS.map(|init| format!("`{init:?}`")).join(" | "));
    println!("|---|{}", "---|".repeat(INITS.len()));
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");
    let pictures = data::digits(&data.join("digits.csv.gz"))?;
    let cars = Table::read(&data.join("auto-mpg.csv"))?;
    let digits = of_seeds(seeds, |init, seed| digits(&pictures, init, seed))?;
    print_row("digits, 64-128-10, ReLU: errors in 100 test rows", &digits, |&errors| errors);
    let cars = of_seeds(seeds, |init, seed| regression(&cars, init, seed))?;
    print_row("cars, 9-64-64-1, SiLU: RMSE of test rows, mpg", &cars, |&rmse| rmse);
    let episodes = of_seeds(seeds, cartpole)?;
    print_row("cartpole, PPO, 4-64-64 and two heads, tanh: episodes until solved", &episodes, |&episodes| {
        episodes
    });
    let learned = of_seeds(seeds, |init, seed| Ok(dqn::learn(init, seed)?))?;
    print_row("cartpole, DQN, 4-128-128-2, ReLU: highest mean Q, at most 100", &learned, |l| l.highest_q);
    print_row("the same: steps of test episodes, at most 500", &learned, |l| l.length);
    Ok(())
}

/// What came of each seed, for each of [`INITS`].
fn of_seeds<R>(seeds: u64, run: impl Fn(Init, u64) -> Result<R, Stop>) -> Result<[Vec<R>; 2], Stop> {
    let results = |init| (1..=seeds).map(|seed| run(init, seed)).collect::<Result<Vec<R>, Stop>>();
    let [auto, pytorch] = INITS.map(results);
    Ok([auto?, pytorch?])
}

fn print_row<R>(name: &str, results: &[Vec<R>; 2], value: impl Fn(&R) -> f64) {
    let cell = |results: &Vec<R>| {
        let values: Vec<f64> = results.iter().map(&value).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{mean:.2} +- {:.2} ({least:.2} to {most:.2})", variance.sqrt())
    };
    println!("| {name} | {} |", results.each_ref().map(cell).join(" | "));
}

fn digits(set: &data::Set, init: Init, seed: u64) -> Result<f64, Stop> {
    let mut order: Vec<usize> = (0..set.len()).collect();
    SplitMix(seed).shuffle(&mut order);
    let (test, train) = order.split_at(set.len() / 5);
    let gather = |rows: &[usize]| -> (Vec<f32>, Vec<u32>) {
        let x = rows.iter().flat_map(|&r| set.row(r)).copied().collect();
        (x, rows.iter().map(|&r| set.labels[r]).collect())
    };
    let ((x, labels), (test_x, test_labels)) = (gather(train), gather(test));
    let builder = Network::<f32>::builder(set.features).init(init).dense(128, Activation::Relu);
    let network = builder.dense(10, Activation::Identity).seed(seed).build()?;
    let mut trainer = Trainer::builder(network)
        .loss(Loss::SoftmaxCrossEntropy)
        .optimizer(Optimizer::sgd(0.2))
        .max_batch(8)
        .build()?;
    let how = FitOptions::new(20, 8).schedule(Schedule::cosine(20, 0.0));
    trainer.fit(Dataset::new(&x, &labels), &how, |_, _| ControlFlow::Continue(()))?;
    let outputs = trainer.network().predict(&test_x)?;
    Ok(100.0 * (1.0 - metrics::accuracy(&outputs, &test_labels)?))
}

fn regression(cars: &Table, init: Init, seed: u64) -> Result<f64, Stop> {
    let [train, valid, test] = cars.divide(seed);
    let builder = Network::<f32>::builder(table::FEATURES).init(init).dense(64, Activation::Silu);
    let builder = builder.dense(64, Activation::Silu).dense(1, Activation::Identity);
    let mut network = builder.seed(seed).build()?;
    network.set_scaler(Some(Scaler::fit(&train.x, table::FEATURES)?))?;
    let targets = Scaler::fit(&train.y, 1)?;
    let (mut y, mut valid_y) = (train.y.clone(), valid.y.clone());
    targets.apply(&mut y)?;
    targets.apply(&mut valid_y)?;
    let optimizer = AdamW::new(3e-3).weight_decay(1e-2);
    let mut trainer = Trainer::builder(network).optimizer(optimizer).max_batch(16).build()?;
    let how = FitOptions::new(400, 16)
        .schedule(Schedule::cosine(400, 0.0).warm_up(5, 0.1))
        .validation(Dataset::new(&valid.x, &valid_y))
        .early_stopping(40);
    trainer.fit(Dataset::new(&train.x, &y), &how, |_, _| ControlFlow::Continue(()))?;
    let mut network = trainer.into_network();
    network.fold_output_scaler(&targets)?;
    let predicted = network.predict(&test.x)?;
    let squares = predicted.iter().zip(&test.y).map(|(y, t)| f64::from(y - t).powi(2)).sum::<f64>();
    Ok((squares / test.len() as f64).sqrt())
}

/// Episodes until 100 in a row have stood for 475 steps in the mean.
fn cartpole(init: Init, seed: u64) -> Result<f64, Stop> {
    const ROUNDS: usize = 200;
    let (mut agent, mut random) = (Agent::new(init, seed)?, SplitMix(seed));
    let (mut rewards, mut cart, mut reward) = (Vec::new(), Cart::new(&mut random), 0.0);
    for round in 0..ROUNDS {
        let mut experience = Experience::default();
        for _ in 0..2048 {
            let (action, likelihood) = agent.act(&cart.observe(), &mut random)?;
            experience.add(cart.observe(), action, likelihood);
            cart.push(action);
            reward += 1.0;
            if cart.has_fallen() || cart.is_over() {
                experience.end_episode(cart.observe(), cart.has_fallen());
                rewards.push(reward);
                (cart, reward) = (Cart::new(&mut random), 0.0);
            }
        }
        experience.end_episode(cart.observe(), false);
        if rewards.len() >= 100 && rewards[rewards.len() - 100..].iter().sum::<f64>() >= 47_500.0 {
            break;
        }
        agent.learn(&experience, 1.0 - round as f64 / ROUNDS as f64, &mut random)?;
    }
    Ok(rewards.len() as f64)
}
