//! Numbers too small for full precision are not slower than others. A process of its own: it measures
//! time, which other tests would disturb.
//!
//! On many processors every operation on a denormal number costs a hundred cycles or more, and training was
//! reported to become ten times slower when inputs, gradients or weights fade away.

#[path = "it/common/isas.rs"]
mod isas;

use std::time::Instant;

use fuseprop::{
    Activation, Element, Isa, Loss, Network, Optimizer, Parallelism, Reduction, Sgd, Targets, Trainer,
};
use isas::isas;

const INPUTS: usize = 48;
const HIDDEN: usize = 64;
const OUTPUTS: usize = 10;
const BATCH: usize = 64;

/// How many times as long a step on denormal numbers may take.
const LIMIT: f64 = 2.0;
/// Rounds that may be disturbed by whatever else the machine does: the best counts.
const ROUNDS: usize = 8;
/// Steps of each kind in a round, taken in turns.
const STEPS: usize = 60;

/// Of about which size the numbers of a run are.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sizes {
    weights: f64,
    inputs: f64,
    /// Of what the gradient at the outputs becomes, by sample weights.
    gradients: f64,
}

const ORDINARY: Sizes = Sizes { weights: 0.02, inputs: 0.02, gradients: 1.0 };

/// A trainer, its batch, and how long each step of a round has taken.
struct Run<T: Element> {
    trainer: Trainer<T>,
    x: Vec<T>,
    targets: Vec<T>,
    weights: Vec<T>,
    seconds: Vec<f64>,
}

impl<T: Element> Run<T> {
    fn new(isa: Isa, optimizer: Optimizer, activation: Activation, sizes: Sizes) -> Self {
        let values = |count: usize, size: f64| -> Vec<T> {
            (0..count).map(|i| T::from_f64(size * (0.5 + (i * 37 % 101) as f64 / 101.0))).collect()
        };
        let builder = Network::<T>::builder(INPUTS).dense(HIDDEN, activation).dense(HIDDEN, activation);
        let mut network = builder.dense(OUTPUTS, Activation::Identity).isa(isa).seed(1).build().unwrap();
        network.write_parameters(&values(network.parameter_count(), sizes.weights)).unwrap();
        let builder = Trainer::builder(network).loss(Loss::MeanSquaredError).reduction(Reduction::Sum);
        let builder = builder.optimizer(optimizer).max_batch(BATCH).parallelism(Parallelism::Serial);
        Self {
            trainer: builder.build().unwrap(),
            x: values(BATCH * INPUTS, sizes.inputs),
            targets: values(BATCH * OUTPUTS, sizes.inputs),
            weights: vec![T::from_f64(sizes.gradients); BATCH],
            seconds: Vec::new(),
        }
    }

    fn step(&mut self) {
        let start = Instant::now();
        self.trainer.step(&self.x, Targets::from(&self.targets).weights(&self.weights)).unwrap();
        self.seconds.push(start.elapsed().as_secs_f64());
    }

    fn median(&mut self) -> f64 {
        self.seconds.sort_by(f64::total_cmp);
        let median = self.seconds[self.seconds.len() / 2];
        self.seconds.clear();
        median
    }

    /// The network's parameters that are denormal.
    fn denormal(&self) -> usize {
        let mut parameters = vec![T::ZERO; self.trainer.network().parameter_count()];
        self.trainer.network().read_parameters(&mut parameters).unwrap();
        let is_denormal = |w: &&T| **w != T::ZERO && w.to_f64().abs() < T::MIN_NORMAL.to_f64();
        parameters.iter().filter(is_denormal).count()
    }
}

/// How many times as long a step on small numbers takes as one on ordinary ones: of medians, in the best
/// round.
fn slowdown<T: Element>(isa: Isa, optimizer: Optimizer, activation: Activation, sizes: Sizes) -> f64 {
    let mut small = Run::<T>::new(isa, optimizer, activation, sizes);
    let mut ordinary = Run::<T>::new(isa, optimizer, activation, ORDINARY);
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        for _ in 0..STEPS {
            small.step();
            ordinary.step();
        }
        best = best.min(small.median() / ordinary.median());
    }
    assert_eq!((small.denormal(), ordinary.denormal()), (0, 0));
    best
}

/// The largest of [`slowdown`] over optimizers and activations.
fn check<T: Element>(tiny: f64) -> f64 {
    let mut worst: f64 = 0.0;
    let cases = [
        Sizes { inputs: tiny, ..ORDINARY },
        Sizes { weights: tiny, ..ORDINARY },
        Sizes { gradients: tiny, ..ORDINARY },
        Sizes { weights: tiny, inputs: tiny, gradients: tiny },
    ];
    for (isa, sizes) in isas().into_iter().flat_map(|isa| cases.map(|sizes| (isa, sizes))) {
        for optimizer in [Sgd::new(1e-4).momentum(0.9).into(), Optimizer::adam(1e-3)] {
            for activation in [Activation::Relu, Activation::Tanh] {
                let ratio = slowdown::<T>(isa, optimizer, activation, sizes);
                assert!(
                    ratio <= LIMIT,
                    "{isa}, {optimizer:?}, {activation:?}, {sizes:?}: {ratio:.2} times as long"
                );
                worst = worst.max(ratio);
            }
        }
    }
    worst
}

#[test]
fn a_step_on_denormal_numbers_takes_at_most_twice_as_long() {
    let worst = check::<f32>(1e-40).max(check::<f64>(1e-310));
    println!("RESULT denormal_step worst={worst:.3} limit={LIMIT}");
}
