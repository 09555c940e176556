//! Training over epochs.

use std::ops::ControlFlow;

use crate::common::{self, go_on, isas};
use fuseprop::{
    Activation, Argument, Dataset, EpochReport, Error, FitOptions, Loss, Monitor, Network, OneCycle,
    Optimizer, Parallelism, ReduceOnPlateau, Reduction, Schedule, Targets, Trainer, metrics,
};

const INPUTS: usize = 3;
const OUTPUTS: usize = 2;

fn trainer(loss: Loss, reduction: Reduction, parallelism: Parallelism) -> Trainer<f32> {
    let network = Network::builder(INPUTS).dense(20, Activation::Tanh).dense(OUTPUTS, Activation::Identity);
    Trainer::builder(network.seed(5).build().unwrap())
        .loss(loss)
        .reduction(reduction)
        .optimizer(Optimizer::adam(0.01))
        .max_batch(16)
        .parallelism(parallelism)
        .build()
        .unwrap()
}

/// Rows with classes that a line divides, and values that follow a curve.
fn rows(n: usize) -> (Vec<f32>, Vec<u32>, Vec<f32>) {
    let x: Vec<f32> = (0..n * INPUTS).map(|i| ((i * 37 % 101) as f32 / 50.0) - 1.0).collect();
    let classes = x.chunks(INPUTS).map(|x| u32::from(x[0] + 0.5 * x[1] > 0.1)).collect();
    let values = x.chunks(INPUTS).flat_map(|x| [x[0] * x[1], x[2].sin()]).collect();
    (x, classes, values)
}

fn parameters(trainer: &Trainer<f32>) -> Vec<u32> {
    common::parameters(trainer.network()).into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_fit_in_order_is_its_steps() {
    let (x, classes, _) = rows(37);
    for reduction in [Reduction::Mean, Reduction::Sum] {
        let mut fitted = trainer(Loss::SoftmaxCrossEntropy, reduction, Parallelism::Serial);
        let mut stepped = trainer(Loss::SoftmaxCrossEntropy, reduction, Parallelism::Serial);
        let outcome =
            fitted.fit(Dataset::new(&x, &classes), &FitOptions::new(3, 16).shuffle(false), go_on).unwrap();
        let mut loss = 0.0;
        for _ in 0..3 {
            loss = 0.0;
            for (x, classes) in x.chunks(16 * INPUTS).zip(classes.chunks(16)) {
                let share = if reduction == Reduction::Mean { classes.len() as f64 / 37.0 } else { 1.0 };
                loss += share * stepped.step(x, classes).unwrap();
            }
        }
        // The last and shorter batch is among them.
        assert_eq!(parameters(&fitted), parameters(&stepped));
        assert!((outcome.last.loss - loss).abs() < 1e-12 * loss);
        assert_eq!((outcome.last.number, outcome.last.epochs, fitted.steps()), (3, 3, 9));
    }
}

#[test]
fn a_fit_learns_and_every_epoch_is_seen() {
    let (x, classes, values) = rows(400);
    let mut classifier = trainer(Loss::SoftmaxCrossEntropy, Reduction::Mean, Parallelism::Auto);
    let mut numbers = Vec::new();
    let validation = Dataset::new(&x[..90], &classes[..30]);
    let how = FitOptions::new(40, 16).seed(2).validation(validation);
    let outcome = classifier.fit(Dataset::new(&x, &classes), &how, |_, epoch| {
        numbers.push(epoch.number);
        ControlFlow::Continue(())
    });
    assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
    assert!(outcome.unwrap().last.validation.unwrap().accuracy.unwrap() > 0.95);

    let mut regressor = trainer(Loss::MeanSquaredError, Reduction::Mean, Parallelism::Auto);
    let outcome = regressor.fit(Dataset::new(&x, &values), &FitOptions::new(60, 16), go_on).unwrap();
    assert!(outcome.last.loss < 0.01, "{outcome:?}");
    assert_eq!(outcome.last.validation, None);
}

#[test]
fn the_seed_alone_decides_the_order() {
    let (x, classes, _) = rows(100);
    let fit = |seed, parallelism| {
        let mut trainer = trainer(Loss::SoftmaxCrossEntropy, Reduction::Mean, parallelism);
        trainer.fit(Dataset::new(&x, &classes), &FitOptions::new(3, 16).seed(seed), go_on).unwrap();
        parameters(&trainer)
    };
    assert_eq!(fit(1, Parallelism::Serial), fit(1, Parallelism::Threads(3)));
    assert_eq!(fit(1, Parallelism::Serial), fit(1, Parallelism::Auto));
    assert_ne!(fit(1, Parallelism::Serial), fit(2, Parallelism::Serial));
}

#[test]
fn an_evaluation_is_the_loss_over_all_rows_at_once() {
    let (x, classes, values) = rows(50);
    let weights: Vec<f32> = (0..50).map(|r| (r % 4) as f32).collect();
    for isa in isas() {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let build = |loss, max_batch| {
                let is_bounded = loss != Loss::SoftmaxCrossEntropy;
                let last = if is_bounded { Activation::Sigmoid } else { Activation::Identity };
                let network = Network::builder(INPUTS).dense(OUTPUTS, last).seed(3).isa(isa);
                let builder = Trainer::builder(network.build().unwrap()).loss(loss).reduction(reduction);
                builder.max_batch(max_batch).build().unwrap()
            };
            let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} is not {b}");
            let loss = Loss::Huber { delta: 0.4 };
            let at_once =
                build(loss, 50).compute_gradients(&x, Targets::from(&values).weights(&weights)).unwrap();
            let targets = Targets::from(&values).weights(&weights);
            close(build(loss, 7).evaluate(&x, targets).unwrap().loss, at_once);
            let loss = Loss::SoftmaxCrossEntropy;
            let at_once = build(loss, 50).compute_gradients(&x, &classes).unwrap();
            let mut trainer = build(loss, 7);
            let evaluation = trainer.evaluate(&x, &classes).unwrap();
            close(evaluation.loss, at_once);
            let (network, mut y) = (trainer.network(), vec![0.0; 50 * OUTPUTS]);
            network.predict_into(&x, &mut y, &mut network.workspace(50).unwrap()).unwrap();
            let accuracy = metrics::accuracy(&y, &classes).unwrap();
            assert!(accuracy > 0.0 && accuracy < 1.0);
            assert_eq!(evaluation.accuracy, Some(accuracy));
        }
    }
}

#[test]
fn an_evaluation_of_values_measures_distances() {
    let (x, _, values) = rows(50);
    let mut trainer = trainer(Loss::MeanSquaredError, Reduction::Mean, Parallelism::Serial);
    // Of a network that has learnt nothing R2 is near 0, which an evaluation that computes none gives too.
    for _ in 0..5 {
        trainer.step(&x[..16 * INPUTS], &values[..16 * OUTPUTS]).unwrap();
    }
    let found = trainer.evaluate(&x, &values).unwrap();
    let mut y = vec![0.0; values.len()];
    let network = trainer.network();
    network.predict_into(&x, &mut y, &mut network.workspace(50).unwrap()).unwrap();
    let mae = metrics::mean_absolute_error(&y, &values).unwrap();
    let r2 = metrics::r2_score(&y, &values, network.outputs()).unwrap();
    assert!((found.mean_absolute_error.unwrap() - mae).abs() < 1e-12 && mae > 0.1);
    let of_trainer = found.r2.unwrap();
    assert!((of_trainer - r2).abs() < 1e-12 && r2.abs() > 0.01, "{of_trainer}, {r2}");
    assert_eq!(found.accuracy, None);
}

#[test]
fn the_rates_of_a_fit_are_numbers_to_its_last_epoch() {
    let (x, classes, _) = rows(10);
    // Ten times ten billion three times over is a number in f32, four times is not.
    for (epochs, is_right) in [(4, true), (5, false)] {
        let mut trainer = trainer(Loss::SoftmaxCrossEntropy, Reduction::Mean, Parallelism::Serial);
        trainer.set_learning_rate(10.0).unwrap();
        let how = FitOptions::new(epochs, 10).schedule(Schedule::exponential(1e10));
        assert_eq!(trainer.fit(Dataset::new(&x, &classes), &how, go_on).is_ok(), is_right);
    }
}

#[test]
fn early_stopping_returns_to_the_best_parameters() {
    let (x, classes, _) = rows(60);
    // Noise cannot be learnt: the loss of the other rows rises soon.
    let noise: Vec<u32> = (0..30).map(|r| (r * 7 % 5 % 2) as u32).collect();
    let mut trainer = trainer(Loss::SoftmaxCrossEntropy, Reduction::Mean, Parallelism::Serial);
    let validation = Dataset::new(&x[90..], &noise);
    let data = Dataset::new(&x[..90], &classes[..30]);
    let mut seen = Vec::new();
    let how = FitOptions::new(500, 8).validation(validation).early_stopping(5);
    let outcome = trainer.fit(data, &how, |_, epoch| {
        seen.push(epoch.monitored_loss());
        ControlFlow::Continue(())
    });
    let outcome = outcome.unwrap();
    assert_eq!(outcome.last.number, outcome.best.number + 5);
    assert_eq!(outcome.last.number, seen.len());
    let lowest = seen.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(outcome.best.monitored_loss(), lowest);
    assert_eq!(trainer.evaluate(&x[90..], &noise).unwrap().loss, lowest);
    // The trainer goes on from there, with the transposed weights that belong to them.
    let network = trainer.network().clone();
    let before = parameters(&trainer);
    let mut fresh = Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy).max_batch(16).build().unwrap();
    fresh.compute_gradients(&x[..30], &classes[..10]).unwrap();
    trainer.compute_gradients(&x[..30], &classes[..10]).unwrap();
    assert_eq!(fresh.gradients(), trainer.gradients());
    assert_eq!(parameters(&trainer), before);
}

#[test]
fn a_fit_ends_on_request_and_follows_its_schedule() {
    let (x, classes, _) = rows(40);
    let mut trainer = trainer(Loss::SoftmaxCrossEntropy, Reduction::Mean, Parallelism::Serial);
    let mut rates = Vec::new();
    let how = FitOptions::new(100, 16).schedule(Schedule::step(2, 0.5));
    let outcome = trainer.fit(Dataset::new(&x, &classes), &how, |_, epoch| {
        rates.push(epoch.learning_rate);
        if epoch.number == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(outcome.unwrap().last.number, 5);
    assert_eq!(rates, [0.01, 0.01, 0.005, 0.005, 0.0025]);
    assert_eq!(trainer.optimizer().learning_rate(), 0.01);
}

#[test]
fn what_does_not_fit_is_refused_before_the_first_step() {
    let (x, classes, values) = rows(40);
    let mut trainer = trainer(Loss::SoftmaxCrossEntropy, Reduction::Mean, Parallelism::Serial);
    let before = parameters(&trainer);
    let data = Dataset::new(&x, &classes);
    let mut refused = |data, how: FitOptions<'_, f32>| trainer.fit(data, &how, go_on).unwrap_err();
    assert_eq!(refused(data, FitOptions::new(0, 16)), Error::Zero { argument: Argument::Epochs });
    assert_eq!(refused(data, FitOptions::new(1, 0)), Error::Zero { argument: Argument::BatchSize });
    assert_eq!(refused(data, FitOptions::new(1, 17)), Error::Batch { max: 16, found: 17 });
    assert!(matches!(refused(Dataset::new(&x[1..], &classes), FitOptions::new(1, 16)), Error::Rows { .. }));
    assert!(matches!(refused(Dataset::new(&[], &classes), FitOptions::new(1, 16)), Error::Rows { .. }));
    assert!(matches!(refused(Dataset::new(&x, &classes[1..]), FitOptions::new(1, 16)), Error::Length { .. }));
    assert!(matches!(refused(Dataset::new(&x, &values[1..]), FitOptions::new(1, 16)), Error::Length { .. }));
    assert!(matches!(refused(Dataset::new(&x, &[2; 40]), FitOptions::new(1, 16)), Error::Class { .. }));
    assert!(matches!(
        refused(Dataset::new(&x, Targets::from(&classes).weights(&values)), FitOptions::new(1, 16)),
        Error::Length { .. }
    ));
    let validation = Dataset::new(&x, &classes[1..]);
    let of_validation = refused(data, FitOptions::new(1, 16).validation(validation));
    assert!(of_validation.to_string().starts_with("in the validation set: the "), "{of_validation}");
    let Error::Validation { error } = of_validation else { panic!("{of_validation}") };
    assert!(matches!(*error, Error::Length { .. }));
    for schedule in [Schedule::step(0, 0.5), Schedule::cosine(0, 0.5)] {
        assert!(matches!(refused(data, FitOptions::new(1, 16).schedule(schedule)), Error::Zero { .. }));
    }
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        for schedule in [
            Schedule::step(1, bad),
            Schedule::exponential(bad),
            Schedule::cosine(1, bad),
            Schedule::constant().warm_up(3, bad),
            Schedule::multi_step(&[1], bad),
            Schedule::linear(3, bad, 1.0),
            Schedule::linear(3, 1.0, bad),
            Schedule::polynomial(3, bad),
            Schedule::cosine_warm_restarts(3, 1, bad),
            OneCycle::new(3).pct_start(bad).into(),
            OneCycle::new(3).div_factor(bad).into(),
            OneCycle::new(3).final_div_factor(bad).into(),
            Schedule::exponential(bad).then(3, Schedule::constant()),
            Schedule::constant().then(3, Schedule::exponential(bad)),
            Schedule::exponential(bad).chain(Schedule::constant()),
            Schedule::constant().chain(Schedule::exponential(bad)),
        ] {
            let by_step = FitOptions::new(1, 16).step_schedule(schedule.clone());
            assert!(matches!(refused(data, by_step), Error::Setting { .. }), "{schedule:?}");
            let by_epoch = FitOptions::new(1, 16).schedule(schedule);
            assert!(matches!(refused(data, by_epoch), Error::Setting { .. }));
        }
    }
    let constant = Schedule::constant;
    for (schedule, argument) in [
        (Schedule::multi_step(&[0, 1], 0.5), Argument::Milestone),
        (Schedule::linear(0, 0.5, 1.0), Argument::ScheduleLength),
        (Schedule::polynomial(0, 1.0), Argument::ScheduleLength),
        (Schedule::cosine_warm_restarts(0, 1, 0.0), Argument::CosineEpochs),
        (Schedule::cosine_warm_restarts(1, 0, 0.0), Argument::RestartFactor),
        (OneCycle::new(0).into(), Argument::ScheduleLength),
        (constant().then(0, constant()), Argument::Milestone),
    ] {
        assert_eq!(refused(data, FitOptions::new(1, 16).schedule(schedule)), Error::Zero { argument });
    }
    for schedule in [
        Schedule::multi_step(&[4, 2], 0.5),
        constant().then(2, constant()).then(2, Schedule::exponential(0.5)),
    ] {
        let milestone = Error::Setting { argument: Argument::Milestone, value: 2.0 };
        assert_eq!(refused(data, FitOptions::new(1, 16).schedule(schedule)), milestone);
    }
    let pct_start = Error::Setting { argument: Argument::CyclePart, value: 1.5 };
    assert_eq!(refused(data, FitOptions::new(1, 16).schedule(OneCycle::new(3).pct_start(1.5))), pct_start);
    let part = constant().warm_up_steps(3, 0.0).then(2, constant());
    let unused = Error::Unused { argument: Argument::WarmUpSteps, with: Argument::SchedulePart };
    assert_eq!(refused(data, FitOptions::new(1, 16).schedule(part)), unused);
    // Of a base rate that is a number to a highest one that is not, in the last of three steps.
    let steep = Schedule::from_fn(|base, _| base).chain(Schedule::exponential(1e21));
    assert!(matches!(refused(data, FitOptions::new(1, 16).step_schedule(steep)), Error::Setting { .. }));
    assert_eq!(parameters(&trainer), before);
    assert_eq!(trainer.steps(), 0);
}

#[test]
fn a_plateau_waits_for_its_patience() {
    let mut plateau = ReduceOnPlateau::new(0.5, 1);
    let factors: Vec<f64> =
        [3.0, 2.0, 2.0, 1.9999, 1.0, f64::NAN, 5.0, 0.5].map(|loss| plateau.step(loss)).to_vec();
    assert_eq!(factors, [1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.5, 1.0]);
    // A loss is lower below the threshold, not at it.
    let mut plateau = ReduceOnPlateau::new(0.5, 0);
    let factors = [1.0, 1.0 - 1e-4, (1.0_f64 - 1e-4).next_down()].map(|loss| plateau.step(loss));
    assert_eq!(factors, [1.0, 0.5, 1.0]);
}

#[test]
fn a_schedule_of_steps_is_a_loop_that_sets_the_rate_before_each() {
    let (x, classes, _) = rows(40);
    let build = || trainer(Loss::SoftmaxCrossEntropy, Reduction::Mean, Parallelism::Serial);
    // Three steps an epoch. On top of a schedule of epochs, over two fits, and through a plateau.
    let by_step =
        || Schedule::linear(4, 0.5, 1.0).then(4, Schedule::polynomial(8, 2.0)).chain(OneCycle::new(12));
    let by_epoch = || Schedule::exponential(0.5);
    let how =
        |epochs| FitOptions::new(epochs, 16).shuffle(false).schedule(by_epoch()).step_schedule(by_step());
    let (mut fitted, mut stepped) = (build(), build());
    let mut reported = Vec::new();
    for epochs in [1, 3] {
        let report = fitted.fit(Dataset::new(&x, &classes), &how(epochs), |trainer, epoch| {
            reported.push(epoch.learning_rate);
            assert_eq!(trainer.optimizer().learning_rate(), epoch.learning_rate);
            ControlFlow::Continue(())
        });
        assert!(report.is_ok());
        assert_eq!(fitted.optimizer().learning_rate(), 0.01);
    }
    let mut expected = Vec::new();
    for epoch in 0..4 {
        for (x, classes) in x.chunks(16 * INPUTS).zip(classes.chunks(16)) {
            let base = by_epoch().rate(0.01, epoch);
            stepped.set_learning_rate(by_step().rate(base, stepped.steps() as usize)).unwrap();
            stepped.step(x, classes).unwrap();
        }
        expected.push(stepped.optimizer().learning_rate());
    }
    assert_eq!(parameters(&fitted), parameters(&stepped));
    assert_eq!(reported, expected);
    assert!(expected.iter().all(|&rate| rate > 0.0) && expected[0] != expected[1]);
}

#[test]
fn a_rate_of_ones_own_that_no_optimizer_can_have_ends_the_fit_before_its_step() {
    let (x, classes, _) = rows(40);
    for bad in [-1.0, f64::NAN, 1e39] {
        let mut trainer = trainer(Loss::SoftmaxCrossEntropy, Reduction::Mean, Parallelism::Serial);
        let own = move |base: f64, at: usize| if at == 4 { bad } else { base };
        let how = FitOptions::new(9, 16).step_schedule(Schedule::from_fn(own));
        let error = trainer.fit(Dataset::new(&x, &classes), &how, go_on).unwrap_err();
        let Error::Setting { argument: Argument::ScheduledLearningRate, value } = error else {
            panic!("{error}")
        };
        assert_eq!(value.to_bits(), bad.to_bits());
        assert_eq!((trainer.steps(), trainer.optimizer().learning_rate()), (4, 0.01));
        let how = FitOptions::new(9, 16).schedule(Schedule::from_fn(own));
        assert!(trainer.fit(Dataset::new(&x, &classes), &how, go_on).is_err());
        // The epoch that was begun, and those after it up to the fifth.
        assert_eq!(trainer.steps(), 4 + 3 * 3);
    }
}

#[test]
fn the_best_epoch_is_that_of_what_is_monitored() {
    let (x, _, _) = rows(60);
    let noise: Vec<u32> = (0..60).map(|r| (r * 7 % 5 % 2) as u32).collect();
    let (train, valid) = (Dataset::new(&x[..90], &noise[..30]), Dataset::new(&x[90..], &noise[30..]));
    let options = || FitOptions::new(60, 8).validation(valid).early_stopping(60);
    let fit = |how: FitOptions<'_, f32>| {
        let mut trainer = trainer(Loss::SoftmaxCrossEntropy, Reduction::Mean, Parallelism::Serial);
        let mut epochs = Vec::new();
        let report = trainer.fit(train, &how, |_, epoch| {
            epochs.push(*epoch);
            ControlFlow::Continue(())
        });
        let found = trainer.evaluate(&x[90..], &noise[30..]).unwrap();
        (report.unwrap().best, epochs, found)
    };
    let by_hand = |network: &Network<f32>, epoch: &EpochReport| {
        assert_eq!(epoch.monitored, epoch.monitored_loss());
        metrics::accuracy(&network.predict(&x[90..]).unwrap(), &noise[30..]).unwrap()
    };
    let (best, epochs, found) = fit(options().monitor(Monitor::Accuracy));
    let accuracies: Vec<f64> =
        epochs.iter().map(|epoch| epoch.validation.unwrap().accuracy.unwrap()).collect();
    assert_eq!(epochs.iter().map(|epoch| epoch.monitored).collect::<Vec<_>>(), accuracies);
    let highest = accuracies.iter().copied().fold(0.0, f64::max);
    // The first of equals, and not the epoch of the lowest loss.
    assert_eq!(best.number, 1 + accuracies.iter().position(|&accuracy| accuracy == highest).unwrap());
    assert_eq!((best.monitored, found.accuracy), (highest, Some(highest)));
    let (by_loss, ..) = fit(options());
    assert_eq!(by_loss.monitored, by_loss.validation.unwrap().loss);
    assert_ne!(by_loss.number, best.number);
    let (own, of_own, _) = fit(options().monitor_highest(&by_hand));
    assert_eq!((own, of_own), (best, epochs));
    // By the lowest error it is the same epoch.
    let error = |network: &Network<f32>, epoch: &EpochReport| 1.0 - by_hand(network, epoch);
    let (own, ..) = fit(options().monitor_lowest(&error));
    assert_eq!((own.number, own.monitored), (best.number, 1.0 - highest));
    // Of means of distances.
    let (_, _, values) = rows(40);
    let mut regressor = trainer(Loss::MeanSquaredError, Reduction::Mean, Parallelism::Serial);
    let data = Dataset::new(&x[..40 * INPUTS], &values);
    for (monitor, of) in [
        (Monitor::R2, (|epoch| epoch.validation?.r2) as fn(&EpochReport) -> Option<f64>),
        (Monitor::MeanAbsoluteError, |epoch| epoch.validation?.mean_absolute_error),
    ] {
        let how = FitOptions::new(3, 8).validation(data).monitor(monitor);
        let last = regressor.fit(data, &how, go_on).unwrap().last;
        assert_eq!(of(&last), Some(last.monitored));
    }
}

#[test]
fn a_least_difference_counts_small_gains_as_none() {
    let (x, _, values) = rows(40);
    let data = Dataset::new(&x, &values);
    let fit = |min_delta: f64| {
        let mut trainer = trainer(Loss::MeanSquaredError, Reduction::Mean, Parallelism::Serial);
        let how = FitOptions::new(200, 8).early_stopping(3).min_delta(min_delta);
        trainer.fit(data, &how, go_on).unwrap()
    };
    let (patient, strict) = (fit(0.0), fit(0.05));
    assert!(strict.last.number < patient.last.number, "{strict:?}, {patient:?}");
    assert_eq!(strict.last.number, strict.best.number + 3);
    assert!(strict.last.loss < strict.best.loss && strict.last.loss > strict.best.loss - 0.05);
    let mut trainer = trainer(Loss::MeanSquaredError, Reduction::Mean, Parallelism::Serial);
    for bad in [-0.1, f64::NAN, f64::INFINITY] {
        let error = trainer.fit(data, &FitOptions::new(1, 8).min_delta(bad), go_on).unwrap_err();
        assert!(matches!(error, Error::Setting { argument: Argument::MinDelta, .. }), "{error}");
    }
    let refused = |with| Err(Error::Combination { argument: Argument::Monitor, with });
    for (how, with) in [
        (FitOptions::new(1, 8).monitor(Monitor::R2), Argument::NoValidation),
        (FitOptions::new(1, 8).validation(data).monitor(Monitor::Accuracy), Argument::TargetValues),
    ] {
        assert_eq!(trainer.fit(data, &how, go_on), refused(with));
    }
    assert_eq!(trainer.steps(), 0);
}
