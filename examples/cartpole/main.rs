//! A network of two heads, an actor and a critic on one trunk, learns to balance a pole on a cart: proximal
//! policy optimisation (Schulman et al. 2017), whose loss is not the library's own but goes through
//! [`Trainer::forward`] and [`Trainer::backward`].
//!
//! ```text
//! cargo run --release --example cartpole                    the rewards as a plot in target/cartpole
//! cargo run --release --example cartpole -- --out DIR --seed N
//! ```
//!
//! Solved is a mean of 475 steps over 100 episodes of at most 500, as Gym's CartPole-v1 has it.

mod cart;
#[path = "../common/options.rs"]
mod options;
#[path = "../common/plot.rs"]
mod plot;
mod policy;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::time::Instant;

use cart::{Cart, SplitMix};
use fuseprop::Init;
use indicatif::{ProgressBar, ProgressStyle};
use options::{Options, Stop, make_folder};
use plot::{Axis, Chart, Legend, Scale, Series, Style};
use policy::{Agent, Experience};

const USAGE: &str = "usage: cartpole [--out DIR] [--seed N]";
/// Gym's bar, over this many episodes in a row.
const SOLVED: f64 = 475.0;
const EPISODES: usize = 100;
/// Steps between two rounds of learning.
const HORIZON: usize = 2048;
/// Rounds after which it gives up: 400,000 steps of the cart.
const ROUNDS: u64 = 200;

fn main() -> ExitCode {
    let mut options = Options::new("cartpole", USAGE);
    let result = run(&mut options);
    options.end(result)
}

fn run(options: &mut Options) -> Result<(), Stop> {
    let out = options.folder("target/cartpole")?;
    let seed = options.number("--seed", 1)?;
    options.done()?;
    make_folder(&out)?;
    let mut random = SplitMix(seed);
    let mut agent = Agent::new(Init::Orthogonal { gain: std::f64::consts::SQRT_2 }, seed)?;
    let start = Instant::now();
    let rewards = learn(&mut agent, &mut random)?;
    let seconds = start.elapsed().as_secs_f64();
    let steps = rewards.iter().sum::<f64>();
    println!("{} episodes, {steps:.0} steps of the cart in {seconds:.2} s", rewards.len());

    let mut total = 0.0;
    for _ in 0..EPISODES {
        total += balance(&mut agent, &mut random)?;
    }
    println!(
        "{EPISODES} more episodes, always the likelier action: {:.1} steps in the mean",
        total / EPISODES as f64
    );
    let paths = plot::draw(&chart(&rewards), &out, "rewards")?;
    println!("the rewards: {} and {}", paths[0].display(), paths[1].display());
    if means(&rewards).last().is_some_and(|mean| mean.1 >= SOLVED) {
        return Ok(());
    }
    Err(Stop::Failure(format!("not solved in {ROUNDS} rounds: try another --seed")))
}

/// Plays and learns in turns until it is solved; the reward of every episode.
fn learn(agent: &mut Agent, random: &mut SplitMix) -> Result<Vec<f64>, Stop> {
    let bar = ProgressBar::new(ROUNDS).with_style(
        ProgressStyle::with_template("{bar:40} round {pos}, {msg}").expect("the template is constant"),
    );
    let (mut rewards, mut recent) = (Vec::new(), VecDeque::new());
    let (mut cart, mut reward) = (Cart::new(random), 0.0);
    for round in 0..ROUNDS {
        let mut experience = Experience::default();
        for _ in 0..HORIZON {
            let (action, likelihood) = agent.act(&cart.observe(), random)?;
            experience.add(cart.observe(), action, likelihood);
            cart.push(action);
            reward += 1.0;
            if cart.has_fallen() || cart.is_over() {
                experience.end_episode(cart.observe(), cart.has_fallen());
                rewards.push(reward);
                recent.push_back(reward);
                (cart, reward) = (Cart::new(random), 0.0);
            }
        }
        experience.end_episode(cart.observe(), false);
        recent.drain(..recent.len().saturating_sub(EPISODES));
        let mean = recent.iter().sum::<f64>() / recent.len().max(1) as f64;
        bar.set_message(format!("{mean:.0} steps in the mean"));
        bar.inc(1);
        if recent.len() == EPISODES && mean >= SOLVED {
            bar.finish_and_clear();
            println!("solved in episode {}", rewards.len());
            return Ok(rewards);
        }
        agent.learn(&experience, 1.0 - round as f64 / ROUNDS as f64, random)?;
    }
    bar.finish_and_clear();
    Ok(rewards)
}

/// The steps of one episode of the likelier action.
fn balance(agent: &mut Agent, random: &mut SplitMix) -> Result<f64, Stop> {
    let mut cart = Cart::new(random);
    let mut reward = 0.0;
    while !cart.has_fallen() && !cart.is_over() {
        cart.push(agent.best_action(&cart.observe())?);
        reward += 1.0;
    }
    Ok(reward)
}

/// The mean of the last episodes, up to each.
fn means(rewards: &[f64]) -> Vec<(f64, f64)> {
    let mean = |end: usize| {
        let window = &rewards[end.saturating_sub(EPISODES)..end];
        (end as f64, window.iter().sum::<f64>() / window.len() as f64)
    };
    (1..=rewards.len()).map(mean).collect()
}

fn chart(rewards: &[f64]) -> Chart {
    let each = rewards.iter().enumerate().map(|(i, &reward)| ((i + 1) as f64, reward));
    let bar = vec![(1.0, SOLVED), (rewards.len() as f64, SOLVED)];
    Chart {
        title: "A pole on a cart learns to stand".into(),
        x: Axis { label: "episode", scale: Scale::Linear },
        y: Axis { label: "steps until it falls, at most 500", scale: Scale::Linear },
        series: vec![
            Series { name: "an episode".into(), style: Style::Points, points: each.collect() },
            Series {
                name: format!("mean of the last {EPISODES}"),
                style: Style::Line,
                points: means(rewards),
            },
            Series { name: "solved".into(), style: Style::Dashed, points: bar },
        ],
        legend: Legend::Middle,
    }
}
