//! Numbers too small for full precision are not slower than others, where the processor does not make them so.
//!
//! On some processors every operation on a denormal number costs a hundred cycles or more, and training was reported to
//! become ten times slower when activations or weights fade away.

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::isas;
use fuseprop::{Activation, Element, Isa, Loss, Network, Optimizer, Parallelism, Trainer};

const INPUTS: usize = 48;
const HIDDEN: usize = 64;
const OUTPUTS: usize = 10;
const BATCH: usize = 64;

/// How many times as long a step on denormal numbers may take.
const LIMIT: f64 = 2.0;
/// How many times as long a multiplication takes where the processor asks its microcode for help; else it is a few cycles more.
const MICROCODE: f64 = 10.0;
/// Rounds that may be disturbed by whatever else the machine does: the best counts.
const ROUNDS: usize = 8;
/// Steps of each kind in a round, taken in turns.
const STEPS: usize = 60;

/// A trainer, its batch, and how long each step of a round has taken.
struct Run<T: Element> {
    trainer: Trainer<T>,
    x: Vec<T>,
    targets: Vec<T>,
    seconds: Vec<f64>,
}

impl<T: Element> Run<T> {
    /// Weights, inputs and targets of about `size`.
    fn new(isa: Isa, optimizer: Optimizer, activation: Activation, size: f64) -> Self {
        let value = |i: usize| T::from_f64(size * (0.5 + (i * 37 % 101) as f64 / 101.0));
        let builder = Network::<T>::builder(INPUTS).dense(HIDDEN, activation).dense(HIDDEN, activation);
        let mut network = builder.dense(OUTPUTS, Activation::Identity).isa(isa).seed(1).build().unwrap();
        let parameters: Vec<T> = (0..network.parameter_count()).map(value).collect();
        network.write_parameters(&parameters).unwrap();
        let builder = Trainer::builder(network).loss(Loss::MeanSquaredError).optimizer(optimizer);
        let trainer = builder.max_batch(BATCH).parallelism(Parallelism::Serial).build().unwrap();
        let x = (0..BATCH * INPUTS).map(value).collect();
        let targets = (0..BATCH * OUTPUTS).map(value).collect();
        Self { trainer, x, targets, seconds: Vec::new() }
    }

    fn step(&mut self) {
        let start = Instant::now();
        self.trainer.step(&self.x, &self.targets).unwrap();
        self.seconds.push(start.elapsed().as_secs_f64());
    }

    fn median(&mut self) -> f64 {
        self.seconds.sort_by(f64::total_cmp);
        let median = self.seconds[self.seconds.len() / 2];
        self.seconds.clear();
        median
    }

    /// The part of the weights that are denormal.
    fn denormal(&self) -> f64 {
        let mut parameters = vec![T::ZERO; self.trainer.network().parameter_count()];
        self.trainer.network().read_parameters(&mut parameters).unwrap();
        let is_denormal = |w: &&T| **w != T::ZERO && w.to_f64().abs() < T::MIN_NORMAL.to_f64();
        parameters.iter().filter(is_denormal).count() as f64 / parameters.len() as f64
    }
}

/// How many times as long a step on numbers of about `size` takes as one on numbers near 1: of medians, in the best
/// round.
fn slowdown<T: Element>(isa: Isa, optimizer: Optimizer, activation: Activation, size: f64) -> f64 {
    let mut small = Run::<T>::new(isa, optimizer, activation, size);
    let mut normal = Run::<T>::new(isa, optimizer, activation, 0.02);
    assert_eq!((small.denormal(), normal.denormal()), (1.0, 0.0));
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        for _ in 0..STEPS {
            small.step();
            normal.step();
        }
        best = best.min(small.median() / normal.median());
    }
    // Steps have changed nothing but the size of what is timed if the weights are still as small.
    assert!(small.denormal() > 0.9 && normal.denormal() == 0.0, "{} of the weights", small.denormal());
    best
}

/// How many times as long the processor takes to multiply denormal numbers as others: about 1, or a hundred where it asks
/// its microcode for help with each.
fn processor() -> f64 {
    let seconds = |size: f32| {
        let run = |_| {
            // As many as stay in registers.
            let mut x = black_box([size; 32]);
            let start = Instant::now();
            for _ in 0..2000 {
                // Halved and doubled: as small afterwards.
                x = x.map(|x| x * 0.5);
                x = x.map(|x| x * 2.0);
            }
            black_box(x);
            start.elapsed().as_secs_f64()
        };
        (0..ROUNDS).map(run).fold(f64::INFINITY, f64::min)
    };
    seconds(1e-40) / seconds(1.0)
}

#[test]
fn a_step_on_denormal_numbers_takes_at_most_twice_as_long_where_the_processor_allows_it() {
    // Only another floating-point mode would help, and Rust does not allow one: there the ratio is reported.
    let processor = processor();
    let limit = if processor > MICROCODE { f64::INFINITY } else { LIMIT };
    let mut worst: f64 = 0.0;
    for isa in isas() {
        for optimizer in [Optimizer::sgd(0.01).momentum(0.9), Optimizer::adam(1e-3)] {
            for activation in [Activation::Relu, Activation::Tanh] {
                let ratios = [
                    slowdown::<f32>(isa, optimizer, activation, 1e-40),
                    slowdown::<f64>(isa, optimizer, activation, 1e-310),
                ];
                for ratio in ratios {
                    assert!(ratio <= limit, "{isa}, {optimizer:?}, {activation:?}: {ratio:.2} times as long");
                    worst = worst.max(ratio);
                }
            }
        }
    }
    println!("RESULT denormal_step worst={worst:.3} limit={limit:.3} processor={processor:.3}");
}
