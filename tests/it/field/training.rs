//! Numbers, losses and weights that people train with.

use std::ops::ControlFlow;

use fuseprop::{
    Activation, Argument, ClassLabels, Dataset, Element, Error, FitOptions, Loss, Network, Optimizer,
    ReduceOnPlateau, Scaler, Schedule, Targets, Trainer, TrainerBuilder, metrics,
};

use crate::common::{go_on, isas, parameters};

/// A dense layer with all parameters 0.
fn zeros<T: Element>(inputs: usize, outputs: usize) -> Network<T> {
    let mut network = Network::<T>::builder(inputs).dense(outputs, Activation::Identity).build().unwrap();
    network.write_parameters(&vec![T::from_f64(0.0); (inputs + 1) * outputs]).unwrap();
    network
}

/// The general path and that of small networks.
fn paths() -> [fn(TrainerBuilder<f32>) -> TrainerBuilder<f32>; 2] {
    [|builder| builder, |builder| builder.layer_stats()]
}

#[test]
fn a_row_of_weight_0_is_not_there() {
    for path in paths() {
        for (x, t) in [(2.0, f32::NAN), (f32::NAN, 1.0), (f32::INFINITY, 1.0), (2.0, 3e38), (3e38, 3e38)] {
            let builder = Trainer::builder(zeros::<f32>(1, 1)).optimizer(Optimizer::sgd(0.1)).max_batch(2);
            let mut trainer = path(builder).build().unwrap();
            let targets = [3.0, t];
            let targets = Targets::from(&targets).weights(&[1.0, 0.0]);
            assert_eq!(trainer.evaluate(&[1.0, x], targets).unwrap().loss, 9.0);
            assert_eq!(trainer.step(&[1.0, x], targets), Ok(9.0), "{x}, {t}");
            assert_eq!(parameters(trainer.network()), [0.6, 0.6], "{x}, {t}");
        }
    }
}

#[test]
fn plateaus_of_losses_below_0_are_those_of_losses_above() {
    let of = |losses: &[f64]| -> Vec<f64> {
        let mut plateau = ReduceOnPlateau::new(0.1, 2);
        losses.iter().map(|&loss| plateau.step(loss)).collect()
    };
    let expected = [1.0, 1.0, 1.0, 0.1, 1.0, 1.0, 0.1, 1.0];
    for loss in [1.0, -1.0, 0.0, -1e-300, 1e300, -1e300] {
        assert_eq!(of(&[loss; 8]), expected, "{loss}");
    }
    // By less than the threshold it is no fall, by more it is one, of either sign.
    assert_eq!(of(&[-1.0, -1.00005, -1.00009, -1.00009]), [1.0, 1.0, 1.0, 0.1]);
    assert_eq!(of(&[-1.0, -1.0002, -1.0004, -1.0006, -1.0008]), [1.0; 5]);
    assert_eq!(of(&[1.0, 0.9998, 0.9996, 0.9994, 0.9992]), [1.0; 5]);
    // From above 0 to below.
    assert_eq!(of(&[1e-9, 0.0, -1e-9, -2e-9, -3e-9]), [1.0; 5]);
    // Infinite at first, NaN between: none of them is lower than any.
    assert_eq!(
        of(&[f64::INFINITY, 2.0, f64::NAN, 1.0, f64::NAN, 1.0, 1.0]),
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1]
    );
    assert_eq!(of(&[f64::INFINITY; 4]), [1.0, 1.0, 0.1, 1.0]);
    assert_eq!(of(&[f64::NAN; 4]), [1.0, 1.0, 0.1, 1.0]);
    assert_eq!(of(&[f64::NEG_INFINITY; 5]), [1.0, 1.0, 1.0, 0.1, 1.0]);
}

#[test]
fn a_step_whose_square_is_infinite_is_refused_by_name_and_training_goes_on() {
    let builder = Trainer::builder(zeros::<f32>(1, 1)).optimizer(Optimizer::adam(0.1));
    let mut trainer = builder.check_finite().build().unwrap();
    let (argument, layer, epoch) = (Argument::SquaredGradient, Some(0), None);
    assert_eq!(trainer.step(&[1e11], &[1e11]), Err(Error::NonFinite { argument, step: 1, layer, epoch }));
    for _ in 0..1000 {
        trainer.step(&[1.0, 2.0], &[2.0, 4.0]).unwrap();
    }
    let y = trainer.network().predict(&[3.0]).unwrap()[0];
    assert!((y - 6.0).abs() < 0.05, "{y}");
}

#[test]
fn a_large_gradient_is_clipped_to_its_norm() {
    let builder = Trainer::builder(zeros::<f64>(1, 1)).optimizer(Optimizer::sgd(1.0)).clip_grad_norm(1.0);
    let mut trainer = builder.build().unwrap();
    trainer.write_gradients(&[1e160, 0.0]).unwrap();
    assert!((trainer.gradient_norm() / 1e160 - 1.0).abs() < 1e-15);
    trainer.apply_gradients().unwrap();
    let moved = parameters(trainer.network());
    assert!((moved[0] + 1.0).abs() < 1e-12 && moved[1] == 0.0, "{moved:?}");
}

#[test]
fn weights_whose_sum_is_no_number_are_refused() {
    let mut trainer = Trainer::builder(zeros::<f64>(1, 1)).build().unwrap();
    let mut of = |weight: f64| {
        let weights = [weight; 2];
        trainer.step(&[1.0, 1.0], Targets::from(&[1.0, 1.0]).weights(&weights))
    };
    let argument = Argument::TotalWeight;
    assert_eq!(of(1e308), Err(Error::Setting { argument, value: f64::INFINITY }));
    assert_eq!(of(1e-310), Err(Error::Setting { argument, value: 2.0 * 1e-310 }));
    assert!((of(1e300).unwrap() - 1.0).abs() < 1e-12);
    // A batch of which all weights are 0 is a step of nothing.
    assert_eq!(of(0.0), Ok(0.0));
}

#[test]
fn accumulated_batches_are_divided_by_the_weights_of_all() {
    let builder = Trainer::builder(zeros::<f32>(1, 2)).loss(Loss::SoftmaxCrossEntropy);
    let mut trainer = builder.class_weights(&[1.0, 9.0]).max_batch(2).build().unwrap();
    let bias = |trainer: &Trainer<f32>| {
        let mut gradients = [0.0; 4];
        trainer.read_gradients(&mut gradients).unwrap();
        gradients[2]
    };
    trainer.compute_gradients(&[1.0, 1.0], &[0, 1]).unwrap();
    assert!((bias(&trainer) - 0.4).abs() < 1e-6);
    trainer.compute_gradients(&[1.0], &[0]).unwrap();
    trainer.accumulate_gradients(&[1.0], &[1]).unwrap();
    assert!((bias(&trainer) - 0.4).abs() < 1e-6);
    // Weights of rows alike.
    let builder = Trainer::builder(zeros::<f32>(1, 2)).loss(Loss::SoftmaxCrossEntropy);
    let mut trainer = builder.max_batch(2).build().unwrap();
    trainer.compute_gradients(&[1.0], Targets::from(&[0]).weights(&[1.0])).unwrap();
    trainer.accumulate_gradients(&[1.0], Targets::from(&[1]).weights(&[9.0])).unwrap();
    assert!((bias(&trainer) - 0.4).abs() < 1e-6);
}

#[test]
fn a_feature_that_is_constant_but_for_roundings_has_deviation_1() {
    let scaler = Scaler::<f64>::fit(&[0.1 + 0.2, 0.3], 1).unwrap();
    assert_eq!(scaler.stds(), [1.0]);
    let mut x = [0.31];
    scaler.apply(&mut x).unwrap();
    assert!((x[0] - 0.01).abs() < 1e-12, "{x:?}");
    // Small, but real.
    let scaler = Scaler::<f64>::fit(&[1e-200, 3e-200], 1).unwrap();
    assert!((scaler.stds()[0] / 1e-200 - 1.0).abs() < 1e-12);
    let scaler = Scaler::<f64>::fit(&[1.0 + 1e-9, 1.0 - 1e-9], 1).unwrap();
    assert!((scaler.stds()[0] / 1e-9 - 1.0).abs() < 1e-6);
    let value = Scaler::fit(&[0.0, 1.0, 2.0, f64::NAN], 2).unwrap_err();
    let Error::Value { argument: Argument::Features, row: 1, column: 1, value } = value else {
        panic!("{value}")
    };
    assert!(value.is_nan());
}

#[test]
fn targets_of_a_binary_cross_entropy_are_probabilities() {
    let loss = Loss::BinaryCrossEntropyWithLogits;
    let mut network = zeros::<f32>(1, 2);
    network.write_biases(0, &[-100.0, 0.0]).unwrap();
    let mut workspace = network.workspace(200).unwrap();
    let mut trainer = Trainer::builder(network.clone()).loss(loss).max_batch(200).build().unwrap();
    let argument = Argument::TargetProbabilities;
    for bad in [-1.0, 1.5, 2.0, f32::INFINITY] {
        let value = Err(Error::Value { argument, row: 1, column: 0, value: bad.into() });
        let targets = [0.0, 1.0, bad, 1.0];
        assert_eq!(trainer.step(&[1.0, 1.0], &targets), value);
        let found = network.evaluate(&[1.0, 1.0], &targets, loss, &mut workspace);
        assert_eq!(found.map(|found| found.loss), value);
        // Of what weighs nothing they may be anything.
        assert!(trainer.step(&[1.0, 1.0], Targets::from(&targets).weights(&[1.0, 0.0])).is_ok());
        assert!(trainer.step(&[1.0, 1.0], Targets::from(&targets).mask(&[1.0, 1.0, 0.0, 1.0])).is_ok());
    }
    assert!(matches!(trainer.step(&[1.0], &[0.5, f32::NAN]), Err(Error::Value { row: 0, column: 1, .. })));
    assert!(trainer.step(&[1.0], &[-0.0, 1.0]).is_ok());
    // Wherever it is.
    for place in 0..400 {
        let mut targets = [0.5; 400];
        targets[place] = 1.0 + f32::EPSILON;
        let value = f64::from(targets[place]);
        let value = Error::Value { argument, row: place / 2, column: place % 2, value };
        assert_eq!(trainer.step(&[1.0; 200], &targets), Err(value));
    }
    let error = trainer.step(&[1.0], &[0.0, 2.0]).unwrap_err().to_string();
    assert_eq!(
        error,
        "targets that are probabilities, from 0 to 1, hold 2 at row 0, column 1, counted from 0"
    );
}

#[test]
fn what_no_training_can_learn_by_is_refused_when_it_is_built() {
    let combination = |argument, with| Some(Error::Combination { argument, with });
    let softmax = Network::<f32>::builder(2).dense(1, Activation::Softmax).build().err();
    assert_eq!(softmax, combination(Argument::Softmax, Argument::SingleOutput));
    let norm = Network::<f32>::builder(1).layer_norm(Activation::Softmax).build().err();
    assert_eq!(norm, softmax);
    let refused = |outputs, activation, loss| {
        let network = Network::<f32>::builder(2).dense(outputs, activation).build().unwrap();
        let mut workspace = network.workspace(1).unwrap();
        let targets = vec![0.5; outputs];
        let evaluated = network.evaluate(&[1.0, 2.0], &targets, loss, &mut workspace).err();
        let built = Trainer::builder(network).loss(loss).build().err();
        assert_eq!(evaluated, built);
        built
    };
    let (cross, binary) = (Loss::SoftmaxCrossEntropy, Loss::BinaryCrossEntropyWithLogits);
    let single = combination(Argument::SoftmaxCrossEntropy, Argument::SingleOutput);
    assert_eq!(refused(1, Activation::Identity, cross), single);
    for activation in [Activation::Relu, Activation::Sigmoid, Activation::Tanh, Activation::Softplus] {
        let bounded = combination(Argument::SoftmaxCrossEntropy, Argument::BoundedLogits);
        assert_eq!(refused(3, activation, cross), bounded, "{activation:?}");
    }
    for activation in [Activation::Softmax, Activation::Relu, Activation::Tanh] {
        let bounded = combination(Argument::BinaryCrossEntropy, Argument::BoundedLogits);
        assert_eq!(refused(3, activation, binary), bounded, "{activation:?}");
    }
    let leaky = Activation::LeakyRelu { slope: 0.01 };
    for (activation, loss) in [
        (Activation::Identity, cross),
        (Activation::Softmax, cross),
        (leaky, cross),
        (Activation::Identity, binary),
        (Activation::Sigmoid, binary),
        (Activation::Relu, Loss::MeanSquaredError),
        (Activation::Softmax, Loss::MeanSquaredError),
    ] {
        assert_eq!(refused(3, activation, loss), None, "{activation:?} {loss:?}");
    }
    assert_eq!(refused(1, Activation::Sigmoid, binary), None);
    assert_eq!(
        Trainer::builder(zeros::<f32>(1, 1)).build().unwrap().apply_gradients(),
        Err(Error::NoGradient)
    );
}

#[test]
fn a_fit_on_or_by_rows_that_weigh_nothing_is_refused() {
    let mut trainer = Trainer::builder(zeros::<f32>(1, 1)).build().unwrap();
    let (x, t) = ([1.0, 2.0], [1.0, 2.0]);
    let nothing = Targets::from(&t).weights(&[0.0, 0.0]);
    let how = FitOptions::new(1, 2).early_stopping(1);
    let refused = Error::Setting { argument: Argument::TotalWeight, value: 0.0 };
    let found = trainer.fit(Dataset::new(&x, nothing), &how, go_on);
    assert_eq!(found, Err(refused.clone()));
    let found = trainer.fit(Dataset::new(&x, &t), &how.clone().validation(Dataset::new(&x, nothing)), go_on);
    let error = Error::Validation { error: Box::new(refused) };
    assert_eq!(found, Err(error.clone()));
    assert_eq!(error.to_string(), "in the validation set: the sum of all weights cannot be 0");
    assert_eq!(trainer.steps(), 0);
    // An error of the validation set says so.
    let wrong = how.validation(Dataset::new(&x, &[1.0]));
    let error = trainer.fit(Dataset::new(&x, &t), &wrong, go_on).unwrap_err();
    assert_eq!(error.to_string(), "in the validation set: the targets must have 2 elements, not 1");
}

#[test]
fn rates_past_the_element_type_are_refused_before_the_first_epoch() {
    let mut trainer = Trainer::builder(zeros::<f32>(1, 1)).optimizer(Optimizer::sgd(1.0)).build().unwrap();
    let how = FitOptions::new(3, 1).schedule(Schedule::exponential(1e30));
    let argument = Argument::ScheduledLearningRate;
    let found = trainer.fit(Dataset::new(&[1.0], &[1.0]), &how, go_on);
    assert!(matches!(found, Err(Error::Setting { argument: found, .. }) if found == argument), "{found:?}");
    assert_eq!(trainer.steps(), 0);
}

#[test]
fn r2_is_averaged_over_outputs_and_finite_for_constant_targets() {
    let (means, t) = ([0.5, 1000.5, 0.5, 1000.5], [0.0, 1000.0, 1.0, 1001.0]);
    assert_eq!(metrics::r2_score(&means, &t, 2), Ok(0.0));
    let mut network = zeros::<f64>(1, 2);
    network.write_biases(0, &[0.5, 1000.5]).unwrap();
    let mut workspace = network.workspace(2).unwrap();
    let found = network.evaluate(&[1.0, 2.0], &t, Loss::MeanSquaredError, &mut workspace).unwrap();
    assert_eq!(found.r2, Some(0.0));
    assert_eq!(metrics::r2_score(&[2.0, 2.0], &[2.0, 2.0], 1), Ok(1.0));
    assert_eq!(metrics::r2_score(&[2.0, 3.0], &[2.0, 2.0], 1), Ok(0.0));
}

#[test]
fn binary_classifiers_are_measured_at_logit_0_and_by_probabilities() {
    let loss = Loss::BinaryCrossEntropyWithLogits;
    let logits = [-0.1, 0.0, 0.1, 3.0_f64.ln()];
    let targets = [0.0, 0.0, 0.0, 1.0];
    for activation in [Activation::Identity, Activation::Sigmoid] {
        let mut network = Network::<f64>::builder(1).dense(1, activation).build().unwrap();
        network.write_parameters(&[1.0, 0.0]).unwrap();
        let found = network.evaluate(&logits, &targets, loss, &mut network.workspace(3).unwrap()).unwrap();
        assert_eq!(found.accuracy, Some(0.75));
        let probability = |z: f64| 1.0 / (1.0 + (-z).exp());
        let distances = logits.iter().zip(targets).map(|(&z, t)| (probability(z) - t).abs());
        let (mae, squares) = (distances.clone().sum::<f64>() / 4.0, distances.map(|d| d * d).sum::<f64>());
        assert!((found.mean_absolute_error.unwrap() - mae).abs() < 1e-14);
        assert!((found.r2.unwrap() - (1.0 - squares / 0.75)).abs() < 1e-14);
        let mut trainer = Trainer::builder(network).loss(loss).max_batch(3).build().unwrap();
        assert_eq!(trainer.evaluate(&logits, &targets).unwrap().accuracy, Some(0.75));
        // By weight; NaN is no hit.
        let targets = [0.0, 1.0, 0.0, f64::NAN];
        let weighted = Targets::from(&targets).weights(&[1.0, 1.0, 2.0, 0.0]);
        assert_eq!(trainer.evaluate(&logits, weighted).unwrap().accuracy, Some(0.25));
        assert_eq!(trainer.evaluate(&[f64::NAN, 1.0], &[0.0, 1.0]).unwrap().accuracy, Some(0.5));
    }
    assert_eq!(metrics::accuracy(&[-0.1_f32, 0.0, 0.1, 2.0], &[0, 0, 0, 1]), Ok(0.75));
}

#[test]
fn the_loss_of_an_epoch_is_weighted_as_that_of_an_evaluation() {
    let builder = Trainer::builder(zeros::<f32>(1, 1)).optimizer(Optimizer::sgd(0.0)).max_batch(2);
    let mut trainer = builder.build().unwrap();
    let (x, t, weights) = ([1.0; 4], [2.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]);
    let targets = Targets::from(&t).weights(&weights);
    let how = FitOptions::new(1, 2).shuffle(false);
    assert_eq!(trainer.fit(Dataset::new(&x, targets), &how, go_on).unwrap().last.loss, 4.0);
    let found = trainer.evaluate(&x, targets).unwrap();
    assert_eq!((found.loss, found.mean_absolute_error), (4.0, Some(2.0)));
}

#[test]
fn fits_of_one_epoch_are_one_fit_of_all() {
    let x: Vec<f32> = (0..10).map(|i| i as f32 / 10.0).collect();
    let train = |fits: usize, epochs: usize| {
        let network = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(3).build().unwrap();
        let mut trainer = Trainer::builder(network).max_batch(2).build().unwrap();
        let how = FitOptions::new(epochs, 2).schedule(Schedule::step(1, 0.5));
        let mut rates = Vec::new();
        for _ in 0..fits {
            let each = |_: &mut Trainer<f32>, epoch: &fuseprop::EpochReport| {
                rates.push(epoch.learning_rate);
                ControlFlow::Continue(())
            };
            trainer.fit(Dataset::new(&x, &x), &how, each).unwrap();
        }
        (parameters(trainer.network()), rates)
    };
    let whole = train(1, 4);
    assert_eq!(whole.1, [0.01, 0.005, 0.0025, 0.00125]);
    assert_eq!(train(4, 1), whole);
}

#[test]
fn the_callback_may_hold_what_is_not_send_and_clamp_what_it_sees() {
    let mut trainer = Trainer::builder(zeros::<f32>(1, 1)).optimizer(Optimizer::adam(1.0)).build().unwrap();
    let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let caller = std::thread::current().id();
    let data = Dataset::new(&[1.0, 2.0], &[100.0, 200.0]);
    let outcome = trainer.fit(data, &FitOptions::new(6, 2), |trainer, _| {
        assert_eq!(std::thread::current().id(), caller);
        let mut all = parameters(trainer.network());
        all.iter_mut().for_each(|w| *w = w.clamp(-1.98, 1.98));
        trainer.write_parameters(&all).unwrap();
        seen.borrow_mut().push(trainer.network().predict(&[1.0]).unwrap()[0]);
        ControlFlow::Continue(())
    });
    outcome.unwrap();
    // Adam's moments are kept: each step is one of some 1.
    assert_eq!(seen.borrow()[1..], [3.96; 5]);
    let mut gradients = [0.0; 2];
    trainer.read_gradients(&mut gradients).unwrap();
    trainer.write_gradients(&gradients).unwrap();
    trainer.set_scaler(Some(Scaler::new(vec![1.0], vec![2.0]).unwrap())).unwrap();
    assert!(trainer.network().scaler().is_some());
}

/// The error of a fit, of which every parameter is finite afterwards.
fn refused(trainer: &mut Trainer<f32>, data: Dataset<'_, f32>, how: &FitOptions<'_, f32>) -> Error {
    let error = trainer.fit(data, how, go_on).unwrap_err();
    assert!(parameters(trainer.network()).iter().all(|w| w.is_finite()), "{error}");
    error
}

#[test]
fn a_fit_refuses_a_loss_that_is_not_finite_and_keeps_the_parameters_before() {
    for (isa, path) in isas().into_iter().flat_map(|isa| paths().map(|path| (isa, path))) {
        let build = || {
            let builder = Network::<f32>::builder(1).dense(4, Activation::Relu).isa(isa).seed(5);
            let network = builder.dense(1, Activation::Identity).build().unwrap();
            path(Trainer::builder(network).optimizer(Optimizer::sgd(0.01)).max_batch(2)).build().unwrap()
        };
        let (mut trainer, mut stepped) = (build(), build());
        let (x, t) = ([1.0, 2.0, 3.0, f32::NAN], [1.0; 4]);
        let how = FitOptions::new(3, 2).shuffle(false);
        let error = refused(&mut trainer, Dataset::new(&x, &t), &how);
        let (argument, layer, epoch) = (Argument::Loss, Some(0), Some(1));
        assert_eq!(error, Error::NonFinite { argument, step: 2, layer, epoch }, "{isa}");
        stepped.step(&x[..2], &t[..2]).unwrap();
        assert_eq!(parameters(trainer.network()), parameters(stepped.network()), "{isa}");
        assert_eq!(trainer.steps(), 1);
        // It is the target: every layer is finite.
        let error = refused(&mut build(), Dataset::new(&t, &x), &how);
        assert_eq!(error, Error::NonFinite { argument, step: 2, layer: None, epoch });
        // A rate at which it diverges.
        let mut trainer = build();
        trainer.set_learning_rate(100.0).unwrap();
        let error = refused(&mut trainer, Dataset::new(&t, &[5.0; 4]), &FitOptions::new(1000, 2));
        assert!(matches!(error, Error::NonFinite { epoch: Some(_), .. }), "{error}");
    }
}

#[test]
fn a_fit_refuses_a_gradient_that_is_not_finite_and_keeps_the_parameters_before() {
    for (isa, path) in isas().into_iter().flat_map(|isa| paths().map(|path| (isa, path))) {
        for optimizer in [Optimizer::sgd(0.1), Optimizer::adam(0.1)] {
            let build = || {
                let builder = Network::<f32>::builder(1).dense(4, Activation::Tanh).isa(isa).seed(5);
                let network = builder.dense(1, Activation::Identity).build().unwrap();
                path(Trainer::builder(network).optimizer(optimizer).max_batch(2)).build().unwrap()
            };
            let (mut trainer, mut stepped) = (build(), build());
            // The loss is finite: of infinity tanh is 1. The gradient has 0 times infinity.
            let (x, t) = ([1.0, 2.0, f32::INFINITY, 2.0], [1.0; 4]);
            let error = refused(&mut trainer, Dataset::new(&x, &t), &FitOptions::new(1, 2).shuffle(false));
            let (argument, layer, epoch) = (Argument::Gradient, Some(0), Some(1));
            assert_eq!(error, Error::NonFinite { argument, step: 2, layer, epoch }, "{isa}");
            stepped.step(&x[..2], &t[..2]).unwrap();
            assert_eq!(parameters(trainer.network()), parameters(stepped.network()), "{isa}");
            assert_eq!(trainer.steps(), 1);
            // The moments too are those of before.
            for trainer in [&mut trainer, &mut stepped] {
                trainer.step(&x[..2], &t[..2]).unwrap();
            }
            assert_eq!(parameters(trainer.network()), parameters(stepped.network()), "{isa}");
        }
    }
}

#[test]
fn a_fit_refuses_an_update_past_the_element_type() {
    let mut trainer = Trainer::builder(zeros::<f32>(1, 1)).optimizer(Optimizer::sgd(1e30)).build().unwrap();
    let error = refused(&mut trainer, Dataset::new(&[1e10], &[1e10]), &FitOptions::new(1, 1));
    let (argument, layer, epoch) = (Argument::Parameters, Some(0), Some(1));
    assert_eq!(error, Error::NonFinite { argument, step: 1, layer, epoch });
    assert_eq!(error.to_string(), "the parameters of layer 0 are not finite after step 1 of epoch 1");
    assert_eq!((parameters(trainer.network()), trainer.steps()), (vec![0.0, 0.0], 0));
    // In an epoch too short for a copy of its own it is the one before, and what follows is finite again.
    trainer.set_learning_rate(1e-30).unwrap();
    let data = Dataset::new(&[1e10], &[1e10]);
    let error = trainer.fit(data, &FitOptions::new(3, 1), |trainer, epoch| {
        assert_eq!(epoch.number, 1);
        trainer.set_learning_rate(1e30).unwrap();
        ControlFlow::Continue(())
    });
    assert_eq!(error, Err(Error::NonFinite { argument, step: 2, layer, epoch: Some(2) }));
    assert_eq!(parameters(trainer.network()), [0.0, 0.0]);
    trainer.set_learning_rate(1e-22).unwrap();
    assert_eq!(trainer.fit(data, &FitOptions::new(3, 1), go_on).unwrap().last.number, 3);
    assert!(parameters(trainer.network())[0] > 0.0);
    // On request it goes on.
    let how = FitOptions::new(1, 1).check_finite(false);
    trainer.set_learning_rate(1e30).unwrap();
    trainer.fit(Dataset::new(&[1e10], &[1e10]), &how, go_on).unwrap();
    assert!(!parameters(trainer.network())[0].is_finite());
}

#[test]
fn labels_of_every_integer_type_are_taken_as_they_are() {
    let of = |class_targets: Targets<'_, f32>| {
        let network = Network::<f32>::builder(1).dense(3, Activation::Identity).seed(1).build().unwrap();
        let builder =
            Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy).class_weights(&[1.0, 2.0, 3.0]);
        let mut trainer = builder.max_batch(3).build().unwrap();
        let x = [0.5, -1.0, 2.0];
        let loss = trainer.step(&x, class_targets)?;
        trainer.fit(Dataset::new(&x, class_targets), &FitOptions::new(2, 2), go_on)?;
        let found = trainer.evaluate(&x, class_targets)?;
        Ok::<_, Error>((loss.to_bits(), found.loss.to_bits(), found.accuracy, parameters(trainer.network())))
    };
    let expected = of(Targets::from(&[2_u32, 0, 1])).unwrap();
    assert_eq!(of(Targets::from(&[2_u8, 0, 1])).unwrap(), expected);
    assert_eq!(of(Targets::from(&[2_usize, 0, 1])).unwrap(), expected);
    assert_eq!(of(Targets::from(&[2_i32, 0, 1])).unwrap(), expected);
    assert_eq!(of(Targets::from(&[2_i64, 0, 1])).unwrap(), expected);
    assert_eq!(of(Targets::from(&vec![2_i64, 0, 1])).unwrap(), expected);
    assert_eq!(of(Targets::from(&[2_i64, 0, 1][..])).unwrap(), expected);
    let class = |class| Err(Error::Class { row: 1, class, classes: 3 });
    assert_eq!(of(Targets::from(&[2_i64, -1, 1])), class(-1));
    assert_eq!(of(Targets::from(&[2_i32, i32::MIN, 1])), class(i32::MIN.into()));
    assert_eq!(of(Targets::from(&[2_i64, 1 << 32, 1])), class(1 << 32));
    assert_eq!(of(Targets::from(&[2_u8, 3, 1])), class(3));
    assert_eq!(of(Targets::from(&[2_usize, usize::MAX, 1])), class(usize::MAX as i128));
    assert_eq!(
        of(Targets::from(&[2_i64, -1, 1])).unwrap_err().to_string(),
        "row 1 has class -1, but there are 3 classes, counted from 0"
    );
    // Of a row that is not read the label may be any number, such as the -1 of rows to be passed over.
    let unread = Targets::from(&[2_i64, -1, 1]).weights(&[1.0, 0.0, 1.0]);
    assert_eq!(of(unread), of(Targets::from(&[2_u32, 0, 1]).weights(&[1.0, 0.0, 1.0])));
}

#[test]
fn metrics_take_labels_of_every_integer_type() {
    let y = [0.1_f32, 0.9, 0.8, 0.2];
    fn all<'a>(y: &[f32], labels: impl Into<ClassLabels<'a>>) -> (Result<f64, Error>, Vec<Vec<usize>>) {
        let labels = labels.into();
        (metrics::accuracy(y, labels), metrics::confusion_matrix(y, labels).unwrap())
    }
    let expected = (Ok(0.5), vec![vec![0, 0], vec![1, 1]]);
    assert_eq!(all(&y, &[1_u8, 1]), expected);
    assert_eq!(all(&y, &[1_u32, 1]), expected);
    assert_eq!(all(&y, &[1_usize, 1]), expected);
    assert_eq!(all(&y, &[1_i32, 1]), expected);
    assert_eq!(all(&y, &[1_i64, 1]), expected);
    assert_eq!(metrics::top_k_accuracy(&y, &[0, 1], 2), Ok(1.0));
    let negative = metrics::accuracy(&y, &[0, -1]);
    assert_eq!(negative, Err(Error::Class { row: 1, class: -1, classes: 2 }));
}

#[test]
fn a_warm_up_by_steps_starts_above_0_and_ends_at_the_rate_of_the_epoch() {
    // Of squared error, x = 1 and t = 1: without a bias w moves by 2 rate (1 - w).
    let network = || {
        let builder = Network::<f64>::builder(1).dense(1, Activation::Identity).bias(false);
        let mut network = builder.build().unwrap();
        network.write_parameters(&[0.0]).unwrap();
        network
    };
    let build = || Trainer::builder(network()).optimizer(Optimizer::sgd(0.25)).max_batch(1).build().unwrap();
    let ones = [1.0; 3];
    let how = FitOptions::new(2, 1).schedule(Schedule::constant().warm_up_steps(4, 0.0));
    let mut trainer = build();
    let report = trainer.fit(Dataset::new(&ones, &ones), &how, |trainer, epoch| {
        assert_eq!((epoch.learning_rate, trainer.optimizer().learning_rate()), (0.25, 0.25));
        ControlFlow::Continue(())
    });
    assert_eq!(report.unwrap().last.number, 2);
    let mut w = 0.0;
    for rate in [0.0625, 0.125, 0.1875, 0.25, 0.25, 0.25] {
        w += 2.0 * rate * (1.0 - w);
    }
    assert!((parameters(trainer.network())[0] - w).abs() < 1e-15);
    // By epochs the first has a rate of 0: nothing moves, as the docs say.
    let mut trainer = build();
    let how = FitOptions::new(1, 1).schedule(Schedule::constant().warm_up(4, 0.0));
    trainer.fit(Dataset::new(&ones, &ones), &how, go_on).unwrap();
    assert_eq!(parameters(trainer.network()), [0.0]);
    let how = how.schedule(Schedule::constant().warm_up_steps(4, 1.5));
    let refused = Error::Setting { argument: Argument::WarmUpStart, value: 1.5 };
    assert_eq!(trainer.fit(Dataset::new(&ones, &ones), &how, go_on), Err(refused));
}

#[test]
fn errors_say_where_a_limit_is_set() {
    let mut trainer = Trainer::builder(zeros::<f32>(1, 1)).max_batch(4).build().unwrap();
    let error = trainer.step(&[1.0; 8], &[1.0; 8]).unwrap_err();
    assert_eq!(error, Error::Batch { max: 4, found: 8 });
    assert!(error.to_string().contains("TrainerBuilder::max_batch"), "{error}");
}

#[cfg(feature = "files")]
#[test]
fn errors_of_files_of_pytorch_say_what_to_do_with_them() {
    use fuseprop::TensorNames;

    let archive = Network::<f32>::from_bytes(b"PK\x03\x04 and the rest of an archive").unwrap_err();
    assert!(archive.to_string().contains("safetensors.torch.save_file"), "{archive}");
    // Two layers that PyTorch wrote, with other names than a Sequential has.
    let tensor =
        |at: usize| format!("{{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[{at},{}]}}", at + 4);
    let header = format!("{{\"fc1.weight\":{},\"head.weight\":{}}}", tensor(0), tensor(4));
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 8]].concat();
    let error = Network::<f32>::from_bytes(&bytes).unwrap_err();
    assert!(error.to_string().contains("Network::import"), "{error}");
    for names in [TensorNames::Discover, TensorNames::Sequential] {
        let error = zeros::<f32>(1, 1).import_bytes(&bytes, names).unwrap_err();
        assert!(matches!(error, Error::Tensors { .. }));
        assert!(error.to_string().contains("TensorNames::List"), "{error}");
    }
}
