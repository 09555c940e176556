//! Whole networks against the naive reference, on every instruction set.

use crate::common::case::{Case, Random, has_kinks, is_of_softmax, loss_has_kinks};
use crate::common::every::HIDDEN;
use crate::common::{gradients, isas, parameters};
use fuseprop::{
    Activation, Argument, Element, Error, Init, Isa, Loss, Network, NetworkBuilder, Optimizer, Parallelism,
    Reduction, Scaler, Sgd, Targets, Trainer, reference,
};

/// Errors of two computations of the same number with `k` operations behind it are within a few `k u` of the
/// largest terms; networks of these sizes have at most some thousand operations in a chain of rows, inputs
/// and layers, and terms of order 1.
fn assert_close(ours: &[f64], theirs: &[f64], operations: f64, unit: f64, what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let largest = theirs.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let bound = operations * unit * (1.0 + largest);
        assert!((a - b).abs() <= bound, "{what}: element {i} is {a}, not {b} (bound {bound:e})");
    }
}

fn compare_with_the_reference(case: &Case, isa: Isa) {
    let what = case.describe(isa);
    let mut trainer = case.trainer::<f64>(isa, Parallelism::Auto);
    let mut model = reference::Model::of(trainer.network());
    let operations = (case.batch + case.sizes.iter().sum::<usize>()) as f64 * 4.0;
    let unit = f64::EPSILON;

    let outputs = trainer.forward(&case.x).unwrap().to_vec();
    assert_close(&outputs, &model.predict(&case.x, case.batch), operations, unit, &what);

    let loss = case.compute_gradients(&mut trainer);
    let (expected_loss, expected) = case.expected(&model);
    assert!((loss - expected_loss).abs() <= operations * unit * (1.0 + expected_loss.abs()), "{what}");
    assert_close(&gradients(&trainer), &expected, operations, unit, &what);

    trainer.step(&case.x, case.targets()).unwrap();
    let moved: Vec<f64> = model.parameters().iter().zip(&expected).map(|(p, d)| p - 0.01 * d).collect();
    model.set_parameters(&moved);
    assert_close(&parameters(trainer.network()), &model.parameters(), operations, unit, &what);
}

#[test]
fn random_networks_agree_with_the_reference() {
    for isa in isas() {
        let mut random = Random(1);
        for _ in 0..150 {
            let batch = 1 + random.below(200);
            compare_with_the_reference(&Case::random(&mut random, 70, batch), isa);
        }
    }
}

#[test]
fn every_schedule_and_batch_edge_agrees_with_the_reference() {
    for isa in isas() {
        let mut random = Random(2);
        for batch in [1, 2, 63, 64, 65, 127, 129, 511, 512, 700, 1100] {
            compare_with_the_reference(&Case::random(&mut random, 40, batch), isa);
        }
    }
}

#[test]
fn wide_layers_agree_with_the_reference() {
    for isa in isas() {
        let mut random = Random(3);
        let mut case = Case::random(&mut random, 8, 70);
        // Past a block of the sum (256 in f32, 128 in f64) and ragged at every edge.
        case.sizes = vec![300, 261, 129];
        case.activations = vec![Activation::Tanh, Activation::Identity];
        case.norms = vec![false, false];
        case.loss = Loss::MeanSquaredError;
        (case.class_weights, case.pos_weight, case.label_smoothing) = (None, None, 0.0);
        case.use_classes = false;
        case.x = (0..70 * 300).map(|_| random.value()).collect();
        case.values = (0..70 * 129).map(|_| random.value()).collect();
        compare_with_the_reference(&case, isa);
        case.sizes = vec![300, 300, 129];
        case.norms = vec![true, false];
        compare_with_the_reference(&case, isa);
    }
}

#[test]
fn f32_stays_near_f64() {
    for isa in isas() {
        let mut random = Random(5);
        for _ in 0..50 {
            let batch = 1 + random.below(100);
            let case = Case::random(&mut random, 60, batch);
            let network = case.network::<f32>(isa);
            let model = reference::Model::of(&network);
            let x: Vec<f32> = case.x.iter().map(|&x| x as f32).collect();
            let rounded: Vec<f64> = x.iter().copied().map(f64::from).collect();
            let mut y = vec![0.0; batch * network.outputs()];
            network.predict_into(&x, &mut y, &mut network.workspace(batch).unwrap()).unwrap();
            let y: Vec<f64> = y.into_iter().map(f64::from).collect();
            let operations = 4.0 * case.sizes.iter().sum::<usize>() as f64;
            let unit = f64::from(f32::EPSILON);
            assert_close(&y, &model.predict(&rounded, batch), operations, unit, &case.describe(isa));
        }
    }
}

#[test]
fn f32_losses_and_gradients_stay_near_f64_wherever_logits_are() {
    for isa in isas() {
        let mut random = Random(15);
        for offset in [0.0, 1e2, 1e5] {
            for _ in 0..40 {
                let batch = 1 + random.below(100);
                let case = Case::random(&mut random, 40, batch);
                let mut network = case.network::<f32>(isa);
                let last = network.layer_count() - 1;
                // A shift of all logits is no change of a cross-entropy.
                let shifted = case.loss == Loss::SoftmaxCrossEntropy && !case.norms[last];
                if shifted {
                    let linear = matches!(case.activations[last], Activation::Identity | Activation::Softmax);
                    let biases = vec![if linear { offset as f32 } else { 0.0 }; network.outputs()];
                    network.write_biases(last, &biases).unwrap();
                }
                let model = reference::Model::of(&network);
                let mut trainer = case.trainer_of(network, Parallelism::Serial);
                let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
                let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
                let (x, values) = (narrow(&case.x), narrow(&case.values));
                let targets: Targets<'_, f32> =
                    if case.use_classes { (&case.classes).into() } else { (&values).into() };
                let weights = case.weights.as_ref().map(|weights| narrow(weights));
                let loss = match &weights {
                    Some(weights) => trainer.compute_gradients(&x, targets.weights(weights)).unwrap(),
                    None => trainer.compute_gradients(&x, targets).unwrap(),
                };
                let rounded = Case {
                    x: wide(&x),
                    values: wide(&values),
                    weights: weights.as_deref().map(wide),
                    ..case
                };
                let (expected_loss, expected) = rounded.expected(&model);
                let gradients = gradients(&trainer);
                // A kink that f32 and f64 see from two sides, and logits that are rounded, are no errors of
                // the loss.
                let kinks = rounded.activations.iter().any(|&activation| has_kinks(activation))
                    || loss_has_kinks(rounded.loss);
                let terms = (rounded.batch + rounded.sizes.iter().sum::<usize>()) as f64;
                let logits = if shifted { offset } else { 0.0 };
                // Of a sum every row has its own rounding of the logits.
                let rows = if rounded.reduction == Reduction::Sum { rounded.batch } else { 1 };
                let bound = 16.0 * terms * f64::from(f32::EPSILON) * (1.0 + expected_loss.abs())
                    + 4.0 * logits * rows as f64 * f64::from(f32::EPSILON);
                let what = rounded.describe(isa);
                assert!((loss - expected_loss).abs() <= bound, "{what}: {loss}, not {expected_loss}");
                if !kinks && logits <= 1e2 {
                    assert_close(
                        &wide(&gradients),
                        &expected,
                        16.0 * terms,
                        f64::from(f32::EPSILON) * (1.0 + logits),
                        &what,
                    );
                }
            }
        }
    }
}

#[test]
fn a_cross_entropy_does_not_change_when_all_logits_are_shifted() {
    for isa in isas() {
        for logit in [0.0_f32, 1e2, 1e4, 1e7, -1e7] {
            for smoothing in [0.0, 0.1] {
                let network = Network::<f32>::builder(1).dense(3, Activation::Identity).isa(isa).seed(1);
                let mut network = network.build().unwrap();
                network.write_parameters(&[0.0, 0.0, 0.0, logit, logit, logit]).unwrap();
                let builder = Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy);
                let mut trainer = builder.label_smoothing(smoothing).build().unwrap();
                let thirds = [1.0f32 / 3.0; 3];
                let losses = [
                    trainer.compute_gradients(&[1.0], &thirds).unwrap(),
                    trainer.compute_gradients(&[1.0], &[1_u32]).unwrap(),
                ];
                for loss in losses {
                    assert!((loss - 3.0f64.ln()).abs() < 1e-6, "{isa}, {logit}, {smoothing}: {loss}");
                }
            }
        }
    }
}

#[test]
fn numbers_that_are_not_finite_do_not_outlive_the_parameters_they_spoilt() {
    for isa in isas() {
        let builder = Network::<f32>::builder(3).dense(5, Activation::Identity).layer_norm(Activation::Tanh);
        let network = builder.dense(1, Activation::Identity).isa(isa).seed(1).build().unwrap();
        let good = parameters(&network);
        let mut trainer = Trainer::builder(network).build().unwrap();
        trainer.step(&[f32::INFINITY, 1.0, 2.0], &[0.0]).unwrap();
        let mut network = trainer.into_network();
        network.write_parameters(&good).unwrap();
        let mut trainer = Trainer::builder(network).layer_stats().build().unwrap();
        trainer.compute_gradients(&[0.5, 1.0, 2.0], &[0.0]).unwrap();
        assert!(trainer.gradients().iter().all(|g| g.is_finite()), "{isa}");
        assert!(trainer.layer_stats().unwrap().all(|report| report.parameters.is_finite()));
    }
}

#[test]
fn a_step_is_its_two_halves_to_the_last_bit() {
    // Of whole panels and of parts, of one tile and of several; gradient descent alone, and with all that may
    // stand before it.
    let plain = Sgd::new(0.1);
    let rules: [Optimizer; 4] =
        [plain.into(), plain.weight_decay(0.01).into(), plain.momentum(0.9).into(), Optimizer::adam(0.01)];
    for optimizer in rules {
        for batch in [5, 100] {
            let network = Network::<f32>::builder(40)
                .dense(64, Activation::Tanh)
                .layer_norm(Activation::Relu)
                .dense(16, Activation::Tanh)
                .dense(20, Activation::Identity);
            let network = network.seed(1).build().unwrap();
            let trainer =
                || Trainer::builder(network.clone()).optimizer(optimizer).max_batch(batch).build().unwrap();
            let (mut whole, mut halves) = (trainer(), trainer());
            let x: Vec<f32> = (0..batch * 40).map(|i| (i * 7 % 23) as f32 / 10.0 - 1.1).collect();
            let targets: Vec<f32> = (0..batch * 20).map(|i| (i * 5 % 17) as f32 / 8.0 - 1.0).collect();
            for _ in 0..3 {
                whole.step(&x, &targets).unwrap();
                halves.compute_gradients(&x, &targets).unwrap();
                halves.apply_gradients().unwrap();
                assert_eq!(whole.gradients(), halves.gradients(), "{optimizer:?}, batch {batch}");
                let parameters = [&whole, &halves].map(|trainer| parameters(trainer.network()));
                assert_eq!(parameters[0], parameters[1], "{optimizer:?}, batch {batch}");
                let outputs = [&mut whole, &mut halves].map(|trainer| trainer.forward(&x).unwrap().to_vec());
                assert_eq!(outputs[0], outputs[1], "{optimizer:?}, batch {batch}");
            }
        }
    }
}

#[test]
fn a_norm_that_is_not_a_number_does_not_switch_clipping_off() {
    let network = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(1).build().unwrap();
    let builder = Trainer::builder(network).optimizer(Optimizer::sgd(1.0)).clip_grad_norm(1.0);
    let mut trainer = builder.build().unwrap();
    trainer.gradients_mut()[0] = 1000.0;
    trainer.gradients_mut()[16] = f32::NAN;
    trainer.apply_gradients().unwrap();
    let parameters = parameters(trainer.network());
    assert!(parameters.iter().all(|p| p.is_nan()), "{parameters:?}");
}

#[test]
fn outputs_do_not_depend_on_the_place_in_a_batch() {
    for isa in isas() {
        let mut random = Random(6);
        for _ in 0..20 {
            let case = Case::random(&mut random, 70, 131);
            let network = case.network::<f32>(isa);
            let x: Vec<f32> = case.x.iter().map(|&x| x as f32).collect();
            let (inputs, outputs) = (network.inputs(), network.outputs());
            let mut all = vec![f32::NAN; 131 * outputs];
            let mut workspace = network.workspace(131).unwrap();
            network.predict_into(&x, &mut all, &mut workspace).unwrap();
            let kept = case.trainer::<f32>(isa, Parallelism::Serial).forward(&x).unwrap().to_vec();
            assert_eq!(all, kept, "{}", case.describe(isa));
            for first in [0, 1, 64, 100] {
                for rows in [1, 2, 7, 31] {
                    let mut part = vec![f32::NAN; rows * outputs];
                    let x = &x[first * inputs..(first + rows) * inputs];
                    network.predict_into(x, &mut part, &mut workspace).unwrap();
                    assert_eq!(
                        part,
                        all[first * outputs..(first + rows) * outputs],
                        "{}",
                        case.describe(isa)
                    );
                }
            }
        }
    }
}

#[test]
fn a_step_is_its_two_halves_and_a_loss_of_ones_own_is_as_good() {
    for isa in isas() {
        let mut random = Random(7);
        for batch in [5, 70, 600] {
            let mut case = Case::random(&mut random, 30, batch);
            case.loss = Loss::MeanSquaredError;
            (case.class_weights, case.pos_weight, case.label_smoothing) = (None, None, 0.0);
            case.values = (0..batch * case.sizes[case.sizes.len() - 1]).map(|_| random.value()).collect();
            case.reduction = Reduction::Sum;
            case.use_classes = false;
            // The caller's own loss below has none.
            case.weights = None;
            let mut whole = case.trainer::<f64>(isa, Parallelism::Auto);
            let mut halves = case.trainer::<f64>(isa, Parallelism::Auto);
            let mut own = case.trainer::<f64>(isa, Parallelism::Auto);
            for _ in 0..3 {
                whole.step(&case.x, case.targets()).unwrap();
                halves.compute_gradients(&case.x, case.targets()).unwrap();
                halves.apply_gradients().unwrap();
                let outputs = own.forward(&case.x).unwrap();
                let d: Vec<f64> = outputs.iter().zip(&case.values).map(|(y, t)| 2.0 * (y - t)).collect();
                own.backward(&d).unwrap();
                own.apply_gradients().unwrap();
            }
            let read = |trainer: &Trainer<f64>| parameters(trainer.network());
            assert_eq!(read(&whole), read(&halves), "{}", case.describe(isa));
            assert_eq!(read(&whole), read(&own), "{}", case.describe(isa));
            assert_ne!(read(&whole), read(&case.trainer::<f64>(isa, Parallelism::Auto)));
        }
    }
}

#[test]
fn what_a_batch_leaves_behind_does_not_reach_the_next() {
    for isa in isas() {
        let mut random = Random(8);
        // Each schedule, with a last batch that leaves rows of a tile, tiles or slots unused.
        for (batch, later) in [(5, 3), (150, 70), (700, 130), (700, 1)] {
            let case = Case::random(&mut random, 40, batch);
            let (inputs, outputs) = (case.sizes[0], case.sizes[case.sizes.len() - 1]);
            let mut clean = case.trainer::<f64>(isa, Parallelism::Auto);
            let mut dirty = case.trainer::<f64>(isa, Parallelism::Auto);
            // Every buffer becomes NaN, no parameter does.
            dirty.compute_gradients(&vec![f64::NAN; batch * inputs], case.targets()).unwrap();
            assert!(dirty.gradients().iter().any(|g| g.is_nan()));
            dirty.forward(&vec![f64::NAN; batch * inputs]).unwrap();
            dirty.backward(&vec![f64::NAN; batch * outputs]).unwrap();

            let x = &case.x[..later * inputs];
            let losses = [&mut clean, &mut dirty].map(|trainer| match case.use_classes {
                true => trainer.step(x, &case.classes[..later]).unwrap(),
                false => trainer.step(x, &case.values[..later * outputs]).unwrap(),
            });
            let what = case.describe(isa);
            assert!(losses[0].is_finite(), "{what}");
            assert_eq!(losses[0].to_bits(), losses[1].to_bits(), "{what}");
            assert_eq!(clean.gradients(), dirty.gradients(), "{what}");
            assert_eq!(clean.input_gradients().unwrap(), dirty.input_gradients().unwrap(), "{what}");
            assert_eq!(clean.forward(x).unwrap(), dirty.forward(x).unwrap(), "{what}");
        }
    }
}

#[test]
fn an_activation_over_a_slice_has_the_bits_of_a_layer() {
    for isa in isas() {
        for activation in HIDDEN.into_iter().chain([Activation::Softmax]) {
            // There is no softmax over a single output.
            let softmax = activation == Activation::Softmax;
            for n in [1, 2, 15, 16, 17, 33, 300].into_iter().skip(usize::from(softmax)) {
                // The identity matrix as weights.
                let mut network = Network::<f32>::builder(n).dense(n, activation).isa(isa).build().unwrap();
                let identity: Vec<f32> = (0..n * n).map(|i| f32::from(i % (n + 1) == 0)).collect();
                network.write_weights(0, &identity).unwrap();
                let mut values: Vec<f32> = (0..n).map(|i| (i as f32 - n as f32 / 2.0) * 0.37).collect();
                let mut y = vec![f32::NAN; n];
                network.predict_into(&values, &mut y, &mut network.workspace(1).unwrap()).unwrap();
                let before = values.clone();
                activation.apply_with(isa, &mut values).unwrap();
                assert_eq!(values, y, "{isa}, {activation:?}, {n}");
                // Fewer values lie within the bounds of a hard tanh.
                assert!(activation == Activation::Identity || n < 15 || values != before);
            }
        }
        activation_of_nothing_is_nothing(isa);
    }
}

fn activation_of_nothing_is_nothing(isa: Isa) {
    for activation in [Activation::Tanh, Activation::Softmax] {
        activation.apply_with::<f64>(isa, &mut []).unwrap();
    }
    let mut untouched = [1.0, f64::NAN];
    assert!(Activation::LeakyRelu { slope: f64::NAN }.apply_with(isa, &mut untouched).is_err());
    assert_eq!(untouched[0], 1.0);
}

#[test]
fn reports_are_the_norms_of_the_reference() {
    for isa in isas() {
        let mut random = Random(13);
        for batch in [3, 70, 700, 1100, 9] {
            let mut case = Case::random(&mut random, 40, batch);
            (case.weights, case.class_weights) = (None, None);
            let network = case.network::<f64>(isa);
            let builder = Trainer::builder(network).loss(case.loss).reduction(case.reduction);
            let mut trainer =
                builder.label_smoothing(case.label_smoothing).max_batch(1100).layer_stats().build().unwrap();
            let model = reference::Model::of(trainer.network());
            // A larger batch before it leaves nothing behind.
            let larger = vec![0.5; 1100 * case.sizes[0]];
            trainer.forward(&larger).unwrap();
            case.compute_gradients(&mut trainer);
            let (_, gradient) = case.expected(&model);
            let outputs = model.forward(&case.x, batch);
            let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
            let (mut first, parameters) = (0, model.parameters());
            for (l, report) in trainer.layer_stats().unwrap().enumerate() {
                let count = trainer.network().layer(l).unwrap().parameter_count();
                let of_layer = first..first + count;
                let mut y = outputs[l].clone();
                if l + 1 == outputs.len() && on_sums(&case, l) {
                    // The loss takes the sums beneath the activation.
                    y = vec![f64::NAN];
                }
                let expected = [
                    norm(&y) / (y.len() as f64).sqrt(),
                    norm(&gradient[of_layer.clone()]),
                    norm(&parameters[of_layer]),
                ];
                let found = [report.activations, report.gradient, report.parameters];
                for (found, expected) in found.into_iter().zip(expected).filter(|pair| !pair.1.is_nan()) {
                    assert!(
                        (found - expected).abs() <= 1e-11 * (1.0 + expected),
                        "{l} {}",
                        case.describe(isa)
                    );
                }
                first += count;
            }
        }
    }
}

#[test]
fn norms_of_a_gradient_are_those_of_its_elements() {
    for isa in isas() {
        for batch in [5, 700] {
            let builder = Network::<f64>::builder(6).dense(70, Activation::Tanh);
            let network = builder.dense(3, Activation::Identity).isa(isa).seed(1).build().unwrap();
            let mut trainer = Trainer::builder(network).max_batch(700).layer_stats().build().unwrap();
            assert_eq!(trainer.gradient_norm(), 0.0);
            // Of a loss of one's own, half the sum of all squares.
            let x: Vec<f64> = (0..batch * 6).map(|i| (i * 37 % 101) as f64 / 101.0).collect();
            let outputs = trainer.forward(&x).unwrap().to_vec();
            trainer.backward(&outputs).unwrap();
            let gradients = gradients(&trainer);
            let close = |found: f64, elements: &[f64]| {
                let norm = elements.iter().map(|g| g * g).sum::<f64>().sqrt();
                let bound = elements.len() as f64 * f64::EPSILON * norm;
                assert!((found - norm).abs() <= bound && norm > 0.0, "{isa} {batch}: {found}, not {norm}");
            };
            close(trainer.gradient_norm(), &gradients);
            let (first, last) = gradients.split_at(6 * 70 + 70);
            for (report, of_layer) in trainer.layer_stats().unwrap().zip([first, last]) {
                close(report.gradient, of_layer);
            }
        }
    }
}

#[test]
fn every_penalty_and_limit_of_an_update_works_alone() {
    let before = [0.5, -0.25, 0.0];
    // Of a row of 1 and 2: the gradient is 0.25, 0.5 and 0.25.
    let (x, d_y): ([f64; 2], [f64; 1]) = ([1.0, 2.0], [0.25]);
    let norm = (0.0625_f64 + 0.25 + 0.0625).sqrt();
    for isa in isas() {
        let build = |sgd: Sgd| {
            let builder = Network::<f64>::builder(2).dense(1, Activation::Identity).isa(isa);
            let mut network = builder.build().unwrap();
            network.write_parameters(&before).unwrap();
            Trainer::builder(network).optimizer(sgd)
        };
        let sgd = Sgd::new(0.5);
        let scale = 0.125 / (norm + 1e-6);
        let cases = [
            (build(sgd), [0.25, 0.5, 0.25]),
            (build(sgd.l1(0.125)), [0.375, 0.375, 0.25]),
            (build(sgd.weight_decay(0.5)), [0.5, 0.375, 0.25]),
            (build(sgd).clip_grad_value(0.375), [0.25, 0.375, 0.25]),
            (build(sgd).clip_grad_norm(0.125), [0.25 * scale, 0.5 * scale, 0.25 * scale]),
        ];
        for (builder, gradient) in cases {
            let what = format!("{isa} {builder:?}");
            let mut trainer = builder.build().unwrap();
            trainer.forward(&x).unwrap();
            trainer.backward(&d_y).unwrap();
            trainer.apply_gradients().unwrap();
            let mut after = [f64::NAN; 3];
            trainer.network().read_parameters(&mut after).unwrap();
            for ((after, before), g) in after.into_iter().zip(before).zip(gradient) {
                assert!((after - (before - 0.5 * g)).abs() <= f64::EPSILON, "{what}: {after}");
            }
        }
    }
}

#[test]
fn gradients_of_inputs_stay_until_the_next_backward_pass() {
    let network = Network::<f32>::builder(3).dense(2, Activation::Tanh).seed(1).build().unwrap();
    let mut trainer = Trainer::builder(network).max_batch(4).input_gradients().build().unwrap();
    let (x, targets) = ([0.5; 12], [0.25; 8]);
    trainer.compute_gradients(&x[..9], &targets[..6]).unwrap();
    let gradients = trainer.input_gradients().unwrap().to_vec();
    assert!(gradients.len() == 9 && gradients.iter().all(|&d| d != 0.0));
    trainer.apply_gradients().unwrap();
    assert_eq!(trainer.input_gradients(), Ok(&gradients[..]));
    trainer.evaluate(&x, &targets).unwrap();
    assert_eq!(trainer.input_gradients(), Ok(&gradients[..]));
    trainer.forward(&x[..6]).unwrap();
    assert_eq!(trainer.input_gradients(), Ok(&gradients[..]));
    trainer.backward(&targets[..4]).unwrap();
    assert_eq!(trainer.input_gradients().unwrap().len(), 6);
}

#[test]
fn only_the_first_layer_of_sines_is_spread_over_its_inputs() {
    let sine = Activation::Sine { frequency: 30.0 };
    let builder = Network::<f64>::builder(50).init(Init::Siren { frequency: 30.0 });
    let network = builder.dense(200, sine).dense(100, sine).dense(60, sine).seed(3).build().unwrap();
    let limits = [1.0 / 50.0, (6.0_f64 / 200.0).sqrt() / 30.0, (6.0_f64 / 100.0).sqrt() / 30.0];
    for (l, limit) in limits.into_iter().enumerate() {
        let layer = network.layer(l).unwrap();
        let mut weights = vec![0.0; layer.inputs() * layer.outputs()];
        network.read_weights(l, &mut weights).unwrap();
        let largest = weights.into_iter().fold(0.0, |largest, w: f64| w.abs().max(largest));
        assert!(largest <= limit && largest > 0.99 * limit, "{l}: {largest} of {limit}");
    }
}

#[test]
fn what_was_asked_for_can_be_read_back() {
    let network = Network::<f32>::builder(2).dense(1, Activation::Tanh).seed(1).build().unwrap();
    assert_eq!(network.workspace(7).unwrap().max_batch(), 7);
    for parallelism in [Parallelism::Serial, Parallelism::Auto, Parallelism::Threads(2)] {
        let builder = Trainer::builder(network.clone()).max_batch(9).parallelism(parallelism);
        let trainer = builder.build().unwrap();
        assert_eq!((trainer.max_batch(), trainer.parallelism()), (9, parallelism));
    }
}

/// Whether the loss takes the sums beneath a layer's activation.
fn on_sums(case: &Case, l: usize) -> bool {
    match case.activations[l] {
        Activation::Softmax => is_of_softmax(case.loss),
        Activation::Sigmoid => case.loss == Loss::BinaryCrossEntropyWithLogits,
        _ => false,
    }
}

#[test]
fn networks_without_a_seed_differ() {
    let network = || Network::<f32>::builder(4).dense(30, Activation::Tanh).build().unwrap();
    assert_ne!(parameters(&network()), parameters(&network()));
}

#[test]
fn updates_are_counted_however_they_come() {
    let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build().unwrap();
    let mut trainer = Trainer::builder(network).build().unwrap();
    for steps in [1, 3] {
        trainer.compute_gradients(&[0.5, 0.25], &[1.0]).unwrap();
        trainer.apply_gradients().unwrap();
        assert_eq!(trainer.steps(), steps);
        trainer.step(&[0.5, 0.25], &[1.0]).unwrap();
    }
}

#[test]
fn what_there_is_can_be_printed() {
    let network = Network::<f32>::builder(4).dense(3, Activation::Tanh).seed(1).build().unwrap();
    let workspace = format!("{:?}", network.workspace(7).unwrap());
    assert!(workspace.contains("max_batch: 7"), "{workspace}");
    let trainer = format!("{:?}", Trainer::builder(network).max_batch(9).build().unwrap());
    for part in ["Network", "Dense", "Tanh", "MeanSquaredError", "max_batch: 9", "steps: 0"] {
        assert!(trainer.contains(part), "{part} is not in {trainer}");
    }
}

#[test]
fn a_gradient_check_finds_no_error_and_leaves_no_trace() {
    let network = || {
        let builder = Network::<f64>::builder(4).dense(9, Activation::Identity).layer_norm(Activation::Gelu);
        builder.dropout(0.3).dense(3, Activation::Identity).seed(1).build().unwrap()
    };
    let build = || Trainer::builder(network()).loss(Loss::SoftmaxCrossEntropy).build().unwrap();
    let (mut checked, mut plain) = (build(), build());
    let (x, classes) = ([0.3, -0.1, 0.7, 2.0, 0.2, 1.1, -0.4, 0.5], [2, 0]);
    let check = checked.check_gradients(&x, &classes, 1e-3).unwrap();
    assert!(check.error < 1e-7 && check.error > 0.0, "{check:?}");
    let squares = |y: &[f64], d_y: &mut [f64]| {
        d_y.copy_from_slice(y);
        y.iter().map(|y| 0.5 * y * y).sum()
    };
    assert!(checked.check_custom_gradients(&x, 1e-3, squares).unwrap().error < 1e-7);
    // A gradient that is 1.001 times what it should be is seen.
    let wrong = |y: &[f64], d_y: &mut [f64]| {
        d_y.iter_mut().zip(y).for_each(|(d_y, y)| *d_y = 1.001 * y);
        y.iter().map(|y| 0.5 * y * y).sum()
    };
    let error = checked.check_custom_gradients(&x, 1e-3, wrong).unwrap().error;
    assert!((error - 0.001).abs() < 1e-4, "{error}");
    // The step is a part of a large parameter, or it would be lost in `f32`.
    let mut large = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(1).build().unwrap();
    large.write_parameters(&[1e3, 0.0]).unwrap();
    let mut large = Trainer::builder(large).build().unwrap();
    let square = |y: &[f32], d_y: &mut [f32]| {
        d_y[0] = y[0] / 1e6;
        0.5 * (f64::from(y[0]) / 1e3).powi(2)
    };
    let check = large.check_custom_gradients(&[1.0], 1e-2, square).unwrap();
    assert!(check.error < 5e-2, "{check:?}");
    for step in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(checked.check_gradients(&x, &classes, step), Err(Error::Setting { .. })));
    }
    // A loss that panics while a parameter is moved.
    let mut calls = 0;
    let panics = std::panic::AssertUnwindSafe(|| {
        checked.check_custom_gradients(&x, 1e-3, |_, _| {
            calls += 1;
            if calls == 10 {
                // Without the message that a hook would print.
                std::panic::resume_unwind(Box::new("injected"));
            }
            0.0
        })
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    for _ in 0..3 {
        assert_eq!(checked.step(&x, &classes).unwrap(), plain.step(&x, &classes).unwrap());
    }
    assert!(matches!(checked.layer_stats().err(), Some(Error::NoLayerStats)));
}

#[test]
fn a_prediction_by_itself_has_the_bits_of_one_in_a_workspace() {
    for isa in isas() {
        for rows in [1, 3, 64, 300] {
            let builder =
                Network::<f32>::builder(7).dense(33, Activation::Gelu).dense(2, Activation::Softmax);
            let network = builder.isa(isa).seed(1).build().unwrap();
            let x: Vec<f32> = (0..rows * 7).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
            let mut y = vec![f32::NAN; rows * 2];
            network.predict_into(&x, &mut y, &mut network.workspace(rows).unwrap()).unwrap();
            assert_eq!(network.predict(&x), Ok(y));
        }
    }
    let network = Network::<f32>::builder(2).dense(1, Activation::Tanh).build().unwrap();
    for wrong in [0, 1, 3] {
        let refused = Err(Error::Rows { argument: Argument::Inputs, row: 2, found: wrong });
        assert_eq!(network.predict(&[0.5; 3][..wrong]), refused);
    }
}

/// 3-20-2 with a layer norm between.
fn with_norm<T: Element>(seed: u64, isa: Isa) -> Network<T> {
    let builder = Network::<T>::builder(3).dense(20, Activation::Tanh).layer_norm(Activation::Identity);
    builder.dense(2, Activation::Identity).bias(false).seed(seed).isa(isa).build().unwrap()
}

#[test]
fn parameters_are_copied_from_another_network_and_nothing_else() {
    let scaler = || Some(Scaler::new(vec![1.0_f32; 3], vec![2.0; 3]).unwrap());
    for isa in isas() {
        let (mut online, mut target) = (with_norm::<f32>(1, Isa::Portable), with_norm::<f32>(2, isa));
        online.set_scaler(scaler()).unwrap();
        assert_ne!(parameters(&online), parameters(&target));
        target.copy_from(&online).unwrap();
        assert_eq!(parameters(&online), parameters(&target));
        assert!(target.isa() == isa && target.scaler().is_none());
        online.set_scaler(None).unwrap();
        let x = [0.5, -1.0, 0.25];
        let close = |a: f32, b: f32| (a - b).abs() < 1e-5;
        let (y, expected) = (target.predict(&x).unwrap(), online.predict(&x).unwrap());
        assert!(y.iter().zip(expected).all(|(&a, b)| close(a, b)));
    }
}

fn approach<T: Element>() {
    let (from, to) = (with_norm::<T>(1, Isa::detect()), with_norm::<T>(2, Isa::detect()));
    let (start, end) = (parameters(&from), parameters(&to));
    for tau in [0.0, 0.005, 0.25, 0.5, 0.995, 1.0] {
        let mut moved = from.clone();
        moved.lerp_from(&to, tau).unwrap();
        let pairs = start.iter().zip(&end).map(|(w, to)| (w.to_f64(), to.to_f64()));
        for (found, (w, to)) in parameters(&moved).into_iter().map(T::to_f64).zip(pairs) {
            let exact = w + tau * (to - w);
            // The result's own rounding, and those of f64.
            let unit = if size_of::<T>() == 4 { f64::from(f32::EPSILON) } else { f64::EPSILON };
            let bound = unit / 2.0 * exact.abs() + 2.0 * f64::EPSILON * (w.abs() + to.abs());
            assert!((found - exact).abs() <= bound, "{tau}: {found}, not {exact}");
            assert!(found >= w.min(to) && found <= w.max(to), "{tau}: {found} is outside {w} and {to}");
            assert!(tau > 0.0 || found == w);
            assert!(tau < 1.0 || found == to);
        }
    }
    // Of a hundred soft updates the hundredth power is left.
    let mut moved = from;
    (0..100).for_each(|_| moved.lerp_from(&to, 0.05).unwrap());
    let rest = 0.95_f64.powi(100);
    for ((found, w), to) in parameters(&moved).into_iter().zip(&start).zip(&end) {
        let expected = to.to_f64() + rest * (w.to_f64() - to.to_f64());
        assert!((found.to_f64() - expected).abs() < 2e-6, "{found}, not {expected}");
    }
}

#[test]
fn soft_updates_move_parameters_a_part_of_the_way() {
    approach::<f32>();
    approach::<f64>();
    let (to, mut small) = (with_norm::<f32>(1, Isa::detect()), with_norm::<f32>(2, Isa::detect()));
    small.write_parameters(&vec![0.0; small.parameter_count()]).unwrap();
    let mut tiny = to.clone();
    tiny.write_parameters(&vec![f32::MIN_POSITIVE; to.parameter_count()]).unwrap();
    small.lerp_from(&tiny, 0.25).unwrap();
    assert!(parameters(&small).iter().all(|&w| w == 0.0), "denormal numbers count as 0");
}

#[test]
fn networks_of_other_shapes_are_refused_and_change_nothing() {
    let dense = || Network::<f32>::builder(3).dense(4, Activation::Tanh);
    let network = || dense().dense(2, Activation::Identity).seed(1).build().unwrap();
    let last = |builder: NetworkBuilder<f32>| builder.seed(2).build().unwrap();
    let others = [
        (last(Network::builder(2).dense(4, Activation::Tanh).dense(2, Activation::Tanh)), 0),
        (last(dense().bias(false).dense(2, Activation::Tanh)), 0),
        (last(dense().dense(3, Activation::Tanh)), 1),
        (last(dense()), 1),
        (last(dense().layer_norm(Activation::Tanh).dense(2, Activation::Tanh)), 1),
        (last(dense().dense(2, Activation::Identity).dense(2, Activation::Identity)), 2),
    ];
    let mut changed = network();
    for (other, layer) in &others {
        assert_eq!(changed.copy_from(other), Err(Error::Shapes { layer: *layer }));
        assert_eq!(changed.lerp_from(other, 0.5), Err(Error::Shapes { layer: *layer }));
    }
    let same = last(dense().dense(2, Activation::Softmax));
    for tau in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        assert!(matches!(changed.lerp_from(&same, tau), Err(Error::Setting { argument: Argument::Tau, .. })));
    }
    assert_eq!(parameters(&changed), parameters(&network()));
    changed.copy_from(&same).unwrap();
}

/// NaN and infinity there change nothing, here and in the reference.
#[test]
fn a_class_of_weight_0_takes_its_rows_with_it_in_the_reference_too() {
    for isa in isas() {
        let builder = Network::<f64>::builder(2).dense(3, Activation::Identity).seed(1).isa(isa);
        let network = builder.build().unwrap();
        let model = reference::Model::of(&network);
        let weights = [1.0, 0.0, 2.0];
        let objective = reference::Objective::new(Loss::SoftmaxCrossEntropy, Reduction::Mean);
        let (x, targets) = ([0.5, -1.0, f64::NAN, f64::INFINITY, 0.25, 2.0], Targets::from(&[0, 1, 2]));
        let (loss, of_reference) =
            model.loss_and_gradients(&x, targets, 3, objective.class_weights(&weights));
        let builder = Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy).class_weights(&weights);
        let mut trainer = builder.build().unwrap();
        let found = trainer.compute_gradients(&x, targets).unwrap();
        assert!(loss > 0.1 && (found - loss).abs() < 1e-14, "{isa}: {found} is not {loss}");
        for (found, expected) in gradients(&trainer).iter().zip(&of_reference.parameters) {
            assert!((found - expected).abs() < 1e-14, "{isa}: {found} is not {expected}");
        }
        assert!(of_reference.parameters.iter().any(|d| d.abs() > 0.1));
    }
}
