//! How much stack a call takes at most: 256 KiB in a build without optimization, with which everyone starts,
//! and 128 KiB in a release. An executable of its own: threads of that size run what users call, and an
//! overflow ends the process.

#[path = "it/common/every.rs"]
mod every;
#[path = "it/common/isas.rs"]
mod isas;

use std::ops::ControlFlow;

use fuseprop::{
    Activation, Dataset, Element, FitOptions, Init, Isa, Loss, Network, Optimizer, Parallelism, Targets,
    Trainer,
};
use isas::isas;

const STACK: usize = if cfg!(debug_assertions) { 256 << 10 } else { 128 << 10 };

/// Runs `f` on a thread whose stack has the size that is promised.
fn on_a_small_stack<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    std::thread::Builder::new().stack_size(STACK).spawn(f).unwrap().join().unwrap()
}

/// The widths that take a line of groups, several, a line for each row, and the general path, with the rows
/// of a batch.
const PATHS: [(usize, usize); 5] = [(4, 2), (4, 37), (7, 1), (7, 37), (20, 70)];

#[test]
fn every_activation_loss_and_path_runs_on_a_small_stack() {
    for isa in isas() {
        on_a_small_stack(move || {
            sweep::<f32>(isa);
            sweep::<f64>(isa);
        });
    }
    println!("RESULT stack kib={}", STACK >> 10);
}

fn sweep<T: Element>(isa: Isa) {
    for (width, rows) in PATHS {
        for activation in every::HIDDEN {
            let hidden = [activation];
            train::<T>(isa, (width, rows), &hidden, Loss::MeanSquaredError, Optimizer::sgd(0.01));
        }
        for loss in every::LOSSES {
            let hidden = [Activation::Gelu, Activation::Tanh];
            train::<T>(isa, (width, rows), &hidden, loss, Optimizer::adam(0.01));
        }
        for optimizer in every::optimizers() {
            let hidden = [Activation::Relu];
            train::<T>(isa, (width, rows), &hidden, Loss::MeanSquaredError, optimizer);
        }
    }
}

/// Steps, predictions and evaluations of a network of one panel, or of several, a layer.
fn train<T: Element>(
    isa: Isa,
    (width, rows): (usize, usize),
    hidden: &[Activation],
    loss: Loss,
    optimizer: Optimizer,
) {
    let outputs = 2;
    let mut builder = Network::<T>::builder(2).isa(isa).seed(1).init(Init::XavierUniform);
    for &activation in hidden {
        builder = builder.dense(width, activation);
    }
    let network = builder.dense(outputs, Activation::Identity).build().unwrap();
    let before = network.clone();
    let mut trainer =
        Trainer::builder(network).loss(loss).optimizer(optimizer).max_batch(rows).build().unwrap();
    let x: Vec<T> = (0..rows * 2).map(|i| T::from_f64((i % 7) as f64 * 0.25 - 0.5)).collect();
    let low = if loss == Loss::Hinge { -1.0 } else { 0.0 };
    let value = |i: usize| T::from_f64(if i.is_multiple_of(2) { low } else { 1.0 });
    let y: Vec<T> = (0..rows * every::target_columns(loss, outputs)).map(value).collect();
    let weights = vec![T::from_f64(0.5); rows];
    trainer.step(&x, &y).unwrap();
    trainer.step(&x, Targets::from(&y).weights(&weights)).unwrap();
    if loss == Loss::SoftmaxCrossEntropy {
        trainer.step(&x, &vec![1; rows]).unwrap();
    }
    trainer.evaluate(&x, &y).unwrap();
    let is_moved = trainer.network().predict(&x).unwrap() != before.predict(&x).unwrap();
    assert!(is_moved, "{isa} {width} {rows} {hidden:?} {loss:?} {optimizer:?}");
}

/// What the sweep leaves out: norms, dropout, softmax, checks, a loss of one's own, a whole fit, and rows of
/// which threads share the outputs.
#[test]
fn everything_else_runs_on_a_small_stack() {
    for isa in isas() {
        on_a_small_stack(move || {
            large::<f32>(isa);
            large::<f64>(isa);
        });
    }
}

fn large<T: Element>(isa: Isa) {
    let builder = Network::<T>::builder(40).isa(isa).seed(1).dense(70, Activation::Gelu).dropout(0.2);
    let builder = builder.layer_norm(Activation::Silu).dense(33, Activation::Sine { frequency: 1.0 });
    let network = builder.dense(3, Activation::Softmax).build().unwrap();
    let builder = Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy).max_batch(70);
    let builder = builder.clip_grad_norm(1.0).check_finite().layer_stats().input_gradients().custom_loss();
    let builder = builder.label_smoothing(0.1).class_weights(&[1.0, 2.0, 3.0]);
    let builder = builder.parallelism(Parallelism::Threads(2)).parallel_threshold(0);
    let mut trainer = builder.optimizer(Optimizer::adam(0.01)).build().unwrap();
    let x: Vec<T> = (0..70 * 40).map(|i| T::from_f64((i % 11) as f64 * 0.125 - 0.5)).collect();
    let classes: Vec<u32> = (0..70).map(|i| i % 3).collect();
    let report =
        trainer.fit(Dataset::new(&x, &classes), &FitOptions::new(2, 33), |_, _| ControlFlow::Continue(()));
    assert_eq!(report.unwrap().last.number, 2);
    trainer.accumulate_gradients(&x, &classes).unwrap();
    trainer.apply_gradients().unwrap();
    let d_outputs = trainer.forward(&x).unwrap().to_vec();
    trainer.backward(&d_outputs).unwrap();
    let network = trainer.network();
    let mut workspace = network.workspace(70).unwrap().parallel_threshold(0);
    let mut y = [T::from_f64(0.0); 70 * 3];
    for rows in [1, 70] {
        network.predict_into(&x[..rows * 40], &mut y[..rows * 3], &mut workspace).unwrap();
    }
    assert!(y.iter().all(|y| y.to_f64() > 0.0));
}
