//! The classic lesson: a network with one hidden layer learns exclusive or.
//!
//! `cargo run --release --example xor [-- --seed N]`
//!
//! 2 inputs, 4 hidden units, 1 output, sigmoid throughout; weights from a standard normal, biases 0; the
//! full batch of four rows, 10,000 epochs. The lesson's loss is half the summed squared error, `1/2 sum
//! (y - t)^2`, whose gradient is `y - t`, at a learning rate of 0.1. Ours is the sum without the half,
//! gradient `2 (y - t)`: the same steps at a rate of 0.05.

use std::process::ExitCode;
use std::time::Instant;

use fuseprop::{Activation, Error, Init, Loss, Network, Optimizer, Reduction, Trainer};

const X: [f64; 8] = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
const TARGETS: [f64; 4] = [0.0, 1.0, 1.0, 0.0];
const EPOCHS: usize = 10_000;
const DEFAULT_SEED: u64 = 1;

fn main() -> ExitCode {
    match seed().and_then(|seed| run(seed).map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xor: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The seed of the command line, or the default.
fn seed() -> Result<u64, String> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, ..) => Ok(DEFAULT_SEED),
        (Some("--seed"), Some(seed), None) => seed.parse().map_err(|_| format!("{seed} is not a seed")),
        _ => Err("usage: xor [--seed N]".into()),
    }
}

fn run(seed: u64) -> Result<(), Error> {
    let network = Network::<f64>::builder(2)
        .init(Init::Normal { std: 1.0 })
        .dense(4, Activation::Sigmoid)
        .dense(1, Activation::Sigmoid)
        .seed(seed)
        .build()?;
    let mut trainer = Trainer::builder(network)
        .loss(Loss::MeanSquaredError)
        .reduction(Reduction::Sum)
        .optimizer(Optimizer::sgd(0.05))
        .max_batch(4)
        .build()?;

    println!("2-4-1 sigmoid network on {}, seed {seed}", trainer.network().isa());
    let start = Instant::now();
    for epoch in 0..EPOCHS {
        let loss = trainer.step(&X, &TARGETS)?;
        if epoch % 4000 == 0 {
            println!("epoch {epoch:>5}: half the summed squared error is {:.6}", loss / 2.0);
        }
    }
    let time = start.elapsed();

    let outputs = trainer.forward(&X)?;
    for ((x, y), target) in X.chunks(2).zip(outputs).zip(TARGETS) {
        println!("{} xor {} = {target}: predicted {y:.4}", x[0], x[1]);
    }
    println!("{EPOCHS} epochs in {time:.2?}, {:.0} ns each", time.as_nanos() as f64 / EPOCHS as f64);
    Ok(())
}
