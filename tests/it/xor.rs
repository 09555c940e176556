//! The lesson of `examples/xor.rs`, over a hundred seeds.

use fuseprop::{Activation, Init, Loss, Network, Optimizer, Reduction, Trainer};

#[test]
fn at_least_95_of_100_seeds_learn_exclusive_or() {
    let solved = (0..100).filter(|&seed| solves(seed)).count();
    println!("RESULT xor solved={solved} of=100");
    assert!(solved >= 95, "only {solved} of 100 seeds solve it");
}

/// Whether every prediction is within 0.1 of its target after 10,000 epochs.
fn solves(seed: u64) -> bool {
    let (x, targets) = ([0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0]);
    let network = Network::<f64>::builder(2)
        .init(Init::Normal { std: 1.0 })
        .dense(4, Activation::Sigmoid)
        .dense(1, Activation::Sigmoid)
        .seed(seed)
        .build()
        .unwrap();
    // Half the summed squared error at a rate of 0.1 is the sum without the half at 0.05.
    let mut trainer = Trainer::builder(network)
        .loss(Loss::MeanSquaredError)
        .reduction(Reduction::Sum)
        .optimizer(Optimizer::sgd(0.05))
        .max_batch(4)
        .build()
        .unwrap();
    for _ in 0..10_000 {
        trainer.step(&x, &targets).unwrap();
    }
    let outputs = trainer.forward(&x).unwrap();
    outputs.iter().zip(targets).all(|(y, target): (&f64, f64)| (y - target).abs() < 0.1)
}
