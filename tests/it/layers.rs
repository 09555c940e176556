//! What a layer can be told: biases or none, the epsilon of a layer norm, its own initial weights.

use crate::common::every::optimizers;
use crate::common::{gradients, isas, parameters};
use fuseprop::{
    Activation, Argument, Element, Error, Init, Isa, LayerKind, Loss, Network, NetworkBuilder, Optimizer,
    Trainer, reference,
};

/// 6-20-20-18-3 with biases in two of five layers.
fn builder<T: Element>(isa: Isa) -> NetworkBuilder<T> {
    Network::<T>::builder(6)
        .dense(20, Activation::Identity)
        .bias(false)
        .layer_norm(Activation::Tanh)
        .epsilon(0.25)
        .dense(18, Activation::Gelu)
        .layer_norm(Activation::Identity)
        .bias(false)
        .dense(3, Activation::Identity)
        .bias(false)
        .seed(3)
        .isa(isa)
}

/// Biases at first are 0, which would hide mistakes.
fn network<T: Element>(isa: Isa) -> Network<T> {
    let mut network = builder::<T>(isa).build().unwrap();
    for l in [1, 2] {
        let biases: Vec<T> =
            (0..network.layer(l).unwrap().outputs()).map(|j| T::from_f64(0.1 * j as f64 - 0.7)).collect();
        network.write_biases(l, &biases).unwrap();
    }
    network
}

fn rows<T: Element>(count: usize, step: usize) -> Vec<T> {
    (0..count).map(|i| T::from_f64((i * step % 101) as f64 / 50.5 - 1.0)).collect()
}

#[track_caller]
fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(expected.iter().any(|&x| x != 0.0), "{what}: nothing to compare");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        // Some hundred roundings of numbers of order 1, and a thousand rows.
        let bound = 4e-13 * expected.abs().max(1.0);
        assert!((found - expected).abs() <= bound, "{what}: {i}: {found}, not {expected}");
    }
}

#[test]
fn layers_without_biases_have_none_anywhere() {
    let network = builder::<f32>(Isa::detect()).build().unwrap();
    let has_bias: Vec<bool> = (0..5).map(|l| network.layer(l).unwrap().has_bias()).collect();
    assert_eq!(has_bias, [false, true, true, false, false]);
    let counts: Vec<usize> = (0..5).map(|l| network.layer(l).unwrap().parameter_count()).collect();
    assert_eq!(counts, [6 * 20, 2 * 20, 21 * 18, 18, 18 * 3]);
    assert_eq!(network.parameter_count(), counts.iter().sum::<usize>());
    let mut network = network;
    let written: Vec<f32> = (0..network.parameter_count()).map(|i| i as f32).collect();
    network.write_parameters(&written).unwrap();
    assert_eq!(parameters(&network), written);
    let mut weights = [0.0; 18];
    network.read_weights(3, &mut weights).unwrap();
    assert_eq!(weights[..], written[6 * 20 + 40 + 21 * 18..][..18]);
    network.read_biases(0, &mut []).unwrap();
    let one = Err(Error::Length { argument: Argument::Biases, expected: 0, found: 20 });
    assert_eq!(network.write_biases(0, &[1.0; 20]), one);
    assert_eq!(parameters(&network), written);
}

/// The reference's gradient, and the optimizer's steps by it, of batches of one micro-batch and of many.
#[test]
fn layers_without_biases_train_as_the_reference_does() {
    for isa in isas() {
        for batch in [1, 5, 64, 70, 700] {
            let network = network::<f64>(isa);
            let mut model = reference::Model::of(&network);
            let build = Trainer::builder(network).optimizer(Optimizer::sgd(0.05)).max_batch(batch);
            let mut trainer = build.input_gradients().layer_stats().build().unwrap();
            let (x, t) = (rows::<f64>(6 * batch, 37), rows::<f64>(3 * batch, 29));
            let targets = fuseprop::Targets::from(&t[..]);
            let what = format!("{isa}, {batch} rows");
            assert_close(trainer.forward(&x).unwrap(), &model.predict(&x, batch), &what);
            for step in 0..3 {
                let what = format!("{what}, step {step}");
                let objective = reference::Objective::new(Loss::MeanSquaredError, fuseprop::Reduction::Mean);
                let (value, of_reference) = model.loss_and_gradients(&x, targets, batch, objective);
                let (expected, d_x) = (of_reference.parameters, of_reference.inputs);
                assert_close(&[trainer.step(&x, &t).unwrap()], &[value], &what);
                assert_close(&gradients(&trainer), &expected, &what);
                assert_close(trainer.input_gradients().unwrap(), &d_x, &what);
                model.step(&x, targets, batch, objective, 0.05);
                assert_close(&parameters(trainer.network()), &model.parameters(), &what);
                // What lies where biases would counts in no norm.
                let norm = expected.iter().map(|g| g * g).sum::<f64>().sqrt();
                assert_close(&[trainer.gradient_norm()], &[norm], &what);
            }
        }
    }
}

/// Whoever writes to all of the padded gradient, or trains with rules that divide by next to nothing, gets no
/// biases.
#[test]
fn no_update_makes_a_bias() {
    for isa in isas() {
        for optimizer in optimizers() {
            for batch in [3, 700] {
                let build = Trainer::builder(network::<f32>(isa)).optimizer(optimizer).max_batch(batch);
                let mut trainer = build.build().unwrap();
                let (x, t) = (rows::<f32>(6 * batch, 37), rows::<f32>(3 * batch, 29));
                let before = parameters(trainer.network());
                trainer.step(&x, &t).unwrap();
                trainer.compute_gradients(&x, &t).unwrap();
                trainer.gradients_mut().iter_mut().for_each(|g| *g += 0.5);
                trainer.apply_gradients().unwrap();
                let network = trainer.into_network();
                assert_ne!(parameters(&network), before);
                // Layers of the written parameters alone, with nothing left beside them.
                let mut copy = builder::<f32>(isa).build().unwrap();
                copy.write_parameters(&parameters(&network)).unwrap();
                let predict = |network: &Network<f32>| {
                    let mut y = vec![0.0; 3 * batch];
                    network.predict_into(&x, &mut y, &mut network.workspace(batch).unwrap()).unwrap();
                    y
                };
                assert_eq!(predict(&network), predict(&copy), "{isa}, {optimizer:?}, {batch} rows");
            }
        }
    }
}

#[test]
fn small_layers_without_biases_take_the_general_path() {
    for isa in isas() {
        let builder = Network::<f64>::builder(2).dense(4, Activation::Tanh).bias(false);
        let network = builder.dense(1, Activation::Identity).isa(isa).seed(1).build().unwrap();
        let mut model = reference::Model::of(&network);
        let mut trainer = Trainer::builder(network).optimizer(Optimizer::sgd(0.1)).build().unwrap();
        let (x, t) = ([0.5, -1.0, 0.25, 2.0], [1.0, -1.0]);
        let objective = reference::Objective::new(Loss::MeanSquaredError, fuseprop::Reduction::Mean);
        for _ in 0..3 {
            let expected = model.step(&x, fuseprop::Targets::from(&t[..]), 2, objective, 0.1);
            assert_close(&[trainer.step(&x, &t).unwrap()], &[expected], "the loss");
            assert_close(&parameters(trainer.network()), &model.parameters(), "parameters");
        }
    }
}

#[test]
fn an_epsilon_is_added_to_the_variance() {
    for isa in isas() {
        for epsilon in [1e-12, 1e-5, 3.0] {
            let builder = Network::<f64>::builder(2).layer_norm(Activation::Identity).epsilon(epsilon);
            let network = builder.isa(isa).build().unwrap();
            assert_eq!(network.layer(0).unwrap().epsilon(), Some(epsilon));
            // Of mean 2 and variance 1.
            let mut y = [0.0; 2];
            network.predict_into(&[1.0, 3.0], &mut y, &mut network.workspace(1).unwrap()).unwrap();
            let expected = 1.0 / (1.0 + epsilon).sqrt();
            assert_close(&y, &[-expected, expected], &format!("{isa} {epsilon}"));
        }
    }
    let default = Network::<f64>::builder(2).layer_norm(Activation::Identity).dense(1, Activation::Relu);
    let network = default.build().unwrap();
    assert_eq!([0, 1].map(|l| network.layer(l).unwrap().epsilon()), [Some(1e-5), None]);
    for bad in [0.0, -1e-5, f64::NAN, f64::INFINITY, 1e-50] {
        let network = Network::<f32>::builder(2).layer_norm(Activation::Identity).epsilon(bad).build();
        match network.unwrap_err() {
            Error::Setting { argument: Argument::Epsilon, value } => {
                assert_eq!(value.to_bits(), bad.to_bits())
            }
            other => panic!("{bad}: {other}"),
        }
    }
}

#[test]
fn a_layer_s_initial_weights_are_its_own_or_the_network_s() {
    let (zeros, half) = (Init::Zeros, Init::Uniform { limit: 0.5 });
    let largest = |builder: NetworkBuilder<f64>| {
        let network = builder.seed(1).build().unwrap();
        [0, 1].map(|l| {
            let mut weights = vec![0.0; 1600];
            network.read_weights(l, &mut weights).unwrap();
            weights.into_iter().fold(0.0_f64, |largest, w| largest.max(w.abs()))
        })
    };
    let start = || Network::<f64>::builder(40);
    let tanh = Activation::Tanh;
    assert_eq!(largest(start().init(zeros).dense(40, tanh).dense(40, tanh)), [0.0; 2]);
    let [first, last] = largest(start().init(half).dense(40, tanh).dense(40, tanh).init(zeros));
    assert!((0.49..0.5).contains(&first) && last == 0.0);
    let [first, last] = largest(start().dense(40, tanh).init(zeros).dense(40, tanh));
    // Xavier's.
    let limit = (6.0_f64 / 80.0).sqrt();
    assert!(first == 0.0 && last <= limit && last > 0.99 * limit, "{last}");
}

#[test]
fn a_setting_that_its_layer_has_no_use_for_is_refused() {
    let start = || Network::<f32>::builder(3);
    let dense = |builder: NetworkBuilder<f32>| builder.dense(2, Activation::Tanh);
    let norm = |builder: NetworkBuilder<f32>| builder.layer_norm(Activation::Tanh);
    let (zeros, tanh) = (Init::Zeros, Activation::Tanh);
    let cases = [
        (dense(start()).epsilon(0.1), Argument::Epsilon, Argument::DenseLayer),
        (dense(start().epsilon(0.1)), Argument::Epsilon, Argument::Inputs),
        (dense(start().bias(false)), Argument::Biases, Argument::Inputs),
        (norm(start()).init(zeros), Argument::Init, Argument::LayerNorm),
        // The first of several.
        (norm(start()).init(zeros).dense(2, tanh).epsilon(0.1), Argument::Init, Argument::LayerNorm),
    ];
    for (builder, argument, with) in cases {
        assert_eq!(builder.build().unwrap_err(), Error::Unused { argument, with });
    }
    let message = dense(start()).epsilon(0.1).build().unwrap_err().to_string();
    assert_eq!(message, "epsilon cannot be used with a dense layer");
    let layer = norm(start()).bias(false).epsilon(0.5).build().unwrap().layer(0).unwrap();
    assert_eq!((layer.kind(), layer.has_bias(), layer.epsilon()), (LayerKind::LayerNorm, false, Some(0.5)));
}

#[test]
fn a_scaler_does_not_fold_into_a_layer_without_biases() {
    let scaler = || fuseprop::Scaler::new(vec![1.0_f32; 2], vec![2.0; 2]).unwrap();
    let build = || {
        let builder = Network::<f32>::builder(2).dense(2, Activation::Identity).bias(false);
        builder.seed(1).build().unwrap()
    };
    let (mut network, before) = (build(), parameters(&build()));
    network.set_scaler(Some(scaler())).unwrap();
    let refused = Error::Unused { argument: Argument::FoldTarget, with: Argument::NoBiases };
    assert_eq!(network.fold_scaler(), Err(refused.clone()));
    assert_eq!(network.fold_output_scaler(&scaler()), Err(refused));
    assert!(network.scaler().is_some() && parameters(&network) == before);
}
