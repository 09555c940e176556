//! Evaluations without a trainer: the values of hand, the bits of a trainer, and what is refused.

use fuseprop::{
    Activation, Argument, Dataset, Element, Error, Evaluation, FitOptions, Loss, Network, Parallelism,
    Targets, Trainer,
};

use crate::common::every::{LOSSES, target_columns};
use crate::common::{go_on, isas};

/// Numbers in `[-1, 1)`: the high bits of Knuth's MMIX congruential generator.
fn numbers(count: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A layer that gives its inputs.
fn identity(features: usize, activation: Activation) -> Network<f64> {
    let mut network = Network::<f64>::builder(features).dense(features, activation).build().unwrap();
    let one = |i: usize| if i.is_multiple_of(features + 1) { 1.0 } else { 0.0 };
    network.write_weights(0, &(0..features * features).map(one).collect::<Vec<_>>()).unwrap();
    network
}

fn evaluate(network: &Network<f64>, x: &[f64], targets: Targets<'_, f64>, loss: Loss) -> Evaluation {
    // In batches of two rows, and in one.
    let mut workspace = network.workspace(2).unwrap();
    let found = network.evaluate(x, targets, loss, &mut workspace).unwrap();
    let at_once = network.evaluate(x, targets, loss, &mut network.workspace(64).unwrap()).unwrap();
    assert!((at_once.loss - found.loss).abs() <= 1e-15 * found.loss.abs());
    assert_eq!((at_once.accuracy, at_once.r2.is_some()), (found.accuracy, found.r2.is_some()));
    found
}

#[test]
fn losses_and_metrics_of_values_are_weighted_by_row_and_by_element() {
    let network = identity(1, Activation::Identity);
    let (x, t, weights) = ([1.0, 2.0, f64::NAN, 6.0], [2.0, 4.0, f64::NAN, 6.0], [1.0, 2.0, 0.0, 1.0]);
    for targets in [Targets::from(&t).weights(&weights), Targets::from(&t).mask(&weights)] {
        let found = evaluate(&network, &x, targets, Loss::MeanSquaredError);
        assert_eq!(found.loss, (1.0 + 2.0 * 4.0) / 4.0);
        assert_eq!(found.mean_absolute_error, Some((1.0 + 2.0 * 2.0) / 4.0));
        assert_eq!(found.r2, Some(1.0 - (1.0 + 2.0 * 4.0) / (4.0 + 4.0)));
        assert_eq!(found.accuracy, None);
    }
}

#[test]
fn classes_give_the_cross_entropy_of_logits_and_the_weighted_accuracy() {
    let x = [1.0, 0.0, 0.0, 1.0, f64::NAN, 0.0, 1.0, 0.0];
    // With softmax or without: the loss takes logits.
    for activation in [Activation::Identity, Activation::Softmax] {
        let network = identity(2, activation);
        let targets = Targets::from(&[0, 0, 7, 0]).weights(&[1.0, 2.0, 0.0, 5.0]);
        let found = evaluate(&network, &x, targets, Loss::SoftmaxCrossEntropy);
        let (hit, miss) = ((-1.0_f64).exp().ln_1p(), 1.0_f64.exp().ln_1p());
        assert!((found.loss - (6.0 * hit + 2.0 * miss) / 8.0).abs() < 1e-14);
        assert_eq!(found.accuracy, Some(6.0 / 8.0));
        assert_eq!((found.mean_absolute_error, found.r2), (None, None));
    }
}

#[test]
fn metrics_of_means_rates_and_signs_are_of_what_targets_are() {
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-14, "{a} is not {b}");
    // Rates of 1, 2 and 4.
    let network = identity(1, Activation::Identity);
    let (logs, counts) = ([0.0, 2.0_f64.ln(), 4.0_f64.ln()], [0.0, 2.0, 5.0]);
    let found = evaluate(&network, &logs, Targets::from(&counts), Loss::PoissonNll);
    close(found.loss, (1.0 + (2.0 - 2.0 * logs[1]) + (4.0 - 5.0 * logs[2])) / 3.0);
    close(found.mean_absolute_error.unwrap(), (1.0 + 0.0 + 1.0) / 3.0);
    // Outputs with the sign of their target, and one without.
    let (y, signs) = ([0.5, -3.0, 0.25], [1.0, -1.0, -1.0]);
    let found = evaluate(&network, &y, Targets::from(&signs), Loss::Hinge);
    close(found.loss, (0.5 + 0.0 + 1.25) / 3.0);
    assert_eq!(found.accuracy, Some(2.0 / 3.0));
    // Two means and two variances of 4 a row; the second target of the second row is missing.
    let network = identity(4, Activation::Identity);
    let s = 4.0_f64.ln();
    let (y, t) = ([1.0, 2.0, s, s, 3.0, 9.0, s, s], [2.0, 2.0, 5.0, f64::NAN]);
    let targets = Targets::from(&t).mask(&[1.0, 1.0, 1.0, 0.0]);
    let found = evaluate(&network, &y, targets, Loss::GaussianNll { epsilon: 1e-6 });
    close(found.loss, 0.5 * (3.0 * s + (1.0 + 0.0 + 4.0) / 4.0) / 3.0);
    close(found.mean_absolute_error.unwrap(), (1.0 + 0.0 + 2.0) / 3.0);
    // The divergence of a distribution from itself, and from another.
    let network = identity(2, Activation::Softmax);
    let (logits, t) = ([0.0, 3.0_f64.ln(), 0.0, 0.0], [0.25, 0.75, 1.0, 0.0]);
    let found = evaluate(&network, &logits, Targets::from(&t), Loss::KullbackLeibler);
    close(found.loss, (0.0 + 2.0_f64.ln()) / 2.0);
    close(found.mean_absolute_error.unwrap(), (0.5 + 0.5) / 4.0);
}

#[test]
fn distances_of_a_classifier_are_of_probabilities_not_of_logits() {
    let logits = [0.0, 3.0_f64.ln(), -(3.0_f64.ln()), 800.0];
    let targets = [0.0, 1.0, 0.0, 1.0];
    // Of probabilities 0.5, 0.75, 0.25 and 1.
    let (mae, r2) = ((0.5 + 0.25 + 0.25) / 4.0, 1.0 - (0.25 + 0.0625 + 0.0625) / 1.0);
    let check = |found: Evaluation| {
        assert!((found.mean_absolute_error.unwrap() - mae).abs() < 1e-14, "{found:?}");
        assert!((found.r2.unwrap() - r2).abs() < 1e-14, "{found:?}");
    };
    let loss = Loss::BinaryCrossEntropyWithLogits;
    for activation in [Activation::Identity, Activation::Sigmoid] {
        let network = identity(1, activation);
        check(evaluate(&network, &logits, Targets::from(&targets), loss));
        let mut trainer = Trainer::builder(network).loss(loss).max_batch(3).build().unwrap();
        check(trainer.evaluate(&logits, &targets).unwrap());
        // What a fit reports, of a training that changes nothing.
        trainer.set_learning_rate(0.0).unwrap();
        let options = FitOptions::new(1, 1).validation(Dataset::new(&logits, &targets));
        let train = Dataset::new(&logits[..1], &targets[..1]);
        check(trainer.fit(train, &options, go_on).unwrap().last.validation.unwrap());
    }
    // Probabilities of two classes under softmax.
    let network = identity(2, Activation::Identity);
    let (x, targets) = ([0.0, 3.0_f64.ln()], [0.0, 1.0]);
    let found = evaluate(&network, &x, Targets::from(&targets), Loss::SoftmaxCrossEntropy);
    assert!((found.mean_absolute_error.unwrap() - 0.25).abs() < 1e-14);
}

/// Of a network and a trainer of the same maximum batch size, bit for bit.
fn assert_same<T: Element>(network: &Network<T>, loss: Loss, max_batch: usize, rows: usize) {
    let (inputs, outputs) = (network.inputs(), network.outputs());
    let of = |count, seed| -> Vec<T> { numbers(count, seed).into_iter().map(T::from_f64).collect() };
    let x = of(rows * inputs, 1);
    let columns = target_columns(loss, outputs);
    let target = |t: T| match loss {
        Loss::Hinge => 1.0f64.copysign(t.to_f64()),
        _ => t.to_f64().abs(),
    };
    let values: Vec<T> = of(rows * columns, 2).into_iter().map(|t| T::from_f64(target(t))).collect();
    let weights: Vec<T> = (0..rows).map(|r| T::from_f64((r % 4) as f64)).collect();
    let mask: Vec<T> = (0..rows * columns).map(|i| T::from_f64((i % 3) as f64)).collect();
    let classes: Vec<u32> = (0..rows).map(|r| (r % outputs) as u32).collect();
    let mut all = vec![Targets::from(&values), Targets::from(&values).weights(&weights)];
    if loss == Loss::SoftmaxCrossEntropy {
        all.extend([Targets::from(&classes), Targets::from(&classes).weights(&weights)]);
    } else if loss != Loss::KullbackLeibler {
        all.push(Targets::from(&values).mask(&mask).weights(&weights));
    }
    let builder = Trainer::builder(network.clone()).loss(loss).max_batch(max_batch);
    let mut trainer = builder.parallelism(Parallelism::Serial).build().unwrap();
    for parallelism in [Parallelism::Serial, Parallelism::Threads(3)] {
        let workspace = network.workspace(max_batch).unwrap().parallelism(parallelism).unwrap();
        let mut workspace = workspace.parallel_threshold(0);
        for &targets in &all {
            let found = network.evaluate(&x, targets, loss, &mut workspace).unwrap();
            let expected = trainer.evaluate(&x, targets).unwrap();
            assert!(expected.loss.abs() > 1e-3);
            let bits = |found: Evaluation| {
                let of = |value: Option<f64>| value.map(f64::to_bits);
                (found.loss.to_bits(), of(found.accuracy), of(found.mean_absolute_error), of(found.r2))
            };
            assert_eq!(bits(found), bits(expected), "{loss:?}, {max_batch}, {rows} rows, {parallelism:?}");
        }
    }
}

fn bits_are_those_of_a_trainer<T: Element>() {
    for isa in isas() {
        for loss in LOSSES {
            let last = match loss {
                Loss::BinaryCrossEntropyWithLogits => Activation::Sigmoid,
                Loss::SoftmaxCrossEntropy | Loss::KullbackLeibler => Activation::Softmax,
                _ => Activation::Identity,
            };
            let small = Network::<T>::builder(2).dense(4, Activation::Tanh).dense(2, last).seed(1).isa(isa);
            let small = small.build().unwrap();
            let wide = Network::<T>::builder(20).dense(33, Activation::Gelu).dropout(0.5);
            let wide = wide.layer_norm(Activation::Relu).dense(20, last).seed(2).isa(isa).build().unwrap();
            // One micro-batch, several, and several in each shard of a depth-first trainer.
            for (max_batch, rows) in [(5, 13), (150, 150), (1300, 1500)] {
                assert_same(&small, loss, max_batch, rows);
                assert_same(&wide, loss, max_batch, rows);
            }
        }
    }
}

#[test]
fn the_bits_are_those_of_a_trainer_in_f32() {
    bits_are_those_of_a_trainer::<f32>();
}

#[test]
fn the_bits_are_those_of_a_trainer_in_f64() {
    bits_are_those_of_a_trainer::<f64>();
}

#[test]
fn what_does_not_fit_is_refused_and_the_next_right_call_works() {
    let network = identity(2, Activation::Identity);
    let mut workspace = network.workspace(2).unwrap();
    let other = identity(3, Activation::Identity);
    let squared = Loss::MeanSquaredError;
    let length = |argument, expected, found| Err(Error::Length { argument, expected, found });
    let mut of =
        |x: &[f64], targets: Targets<'_, f64>, loss| network.evaluate(x, targets, loss, &mut workspace);
    let x = [0.5; 6];
    let rows = |found| Err(Error::Rows { argument: Argument::Inputs, row: 2, found });
    assert_eq!(of(&[], Targets::from(&[0.0; 0]), squared), rows(0));
    assert_eq!(of(&x[..3], Targets::from(&x[..3]), squared), rows(3));
    assert_eq!(of(&x, Targets::from(&x[..5]), squared), length(Argument::Targets, 6, 5));
    let weighted = Targets::from(&x).weights(&x[..2]);
    assert_eq!(of(&x, weighted, squared), length(Argument::RowWeights, 3, 2));
    let negative = Targets::from(&x).weights(&[1.0, -1.0, 1.0]);
    assert_eq!(of(&x, negative, squared), Err(Error::Setting { argument: Argument::RowWeight, value: -1.0 }));
    let classes = Targets::from(&[0, 1, 2]);
    assert_eq!(of(&x, classes, squared), Err(Error::Targets { loss: Argument::MeanSquaredError }));
    let class = Err(Error::Class { row: 2, class: 2, classes: 2 });
    assert_eq!(of(&x, classes, Loss::SoftmaxCrossEntropy), class);
    let masked = Targets::from(&x).mask(&x);
    let unused = Error::Unused { argument: Argument::ElementMask, with: Argument::SoftmaxCrossEntropy };
    assert_eq!(of(&x, masked, Loss::SoftmaxCrossEntropy), Err(unused));
    let setting = Err(Error::Setting { argument: Argument::HuberDelta, value: 0.0 });
    assert_eq!(of(&x, Targets::from(&x), Loss::Huber { delta: 0.0 }), setting);
    assert_eq!(of(&x, Targets::from(&[1.5; 6]), squared).unwrap().loss, 1.0);
    let refused = other.evaluate(&x, &x, squared, &mut workspace);
    assert_eq!(refused, Err(Error::Workspace));
}
