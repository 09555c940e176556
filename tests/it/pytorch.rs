//! Activations, losses and optimizers against PyTorch's numbers in `f64`, on every instruction set: see
//! `tests/fixtures/pytorch.py`.

use crate::common::fixture::{Fixture, assert_close};
use crate::common::isas;
use fuseprop::{
    Activation, Adagrad, Adam, AdamW, Isa, Loss, NAdam, Network, OneCycle, Optimizer, RAdam, ReduceOnPlateau,
    Reduction, RmsProp, Rprop, Schedule, Sgd, Targets, Trainer, TrainerBuilder,
};

fn fixture() -> Fixture {
    Fixture::read(include_str!("../fixtures/pytorch.txt"))
}

/// One layer that multiplies by the identity matrix, so that its sums are its inputs.
fn identity(n: usize, activation: Activation, isa: Isa) -> Network<f64> {
    let mut network = Network::builder(n).dense(n, activation).isa(isa).build().unwrap();
    let weights: Vec<f64> = (0..n * n).map(|i| f64::from(i % (n + 1) == 0)).collect();
    network.write_weights(0, &weights).unwrap();
    network
}

#[test]
fn activations_and_their_derivatives_are_those_of_pytorch() {
    let fixture = fixture();
    let (z, d_y) = (fixture.get("activation/z"), fixture.get("activation/d_y"));
    for isa in isas() {
        for (name, activation) in [
            ("sigmoid", Activation::Sigmoid),
            ("tanh", Activation::Tanh),
            ("relu", Activation::Relu),
            ("leaky_relu", Activation::LeakyRelu { slope: 0.01 }),
            ("elu", Activation::Elu { alpha: 0.7 }),
            ("selu", Activation::Selu),
            ("gelu", Activation::Gelu),
            ("gelu_tanh", Activation::GeluTanh),
            ("silu", Activation::Silu),
            ("mish", Activation::Mish),
            ("hard_swish", Activation::HardSwish),
            ("relu6", Activation::Relu6),
            ("softsign", Activation::Softsign),
            ("softplus", Activation::Softplus),
            ("hard_sigmoid", Activation::HardSigmoid),
            ("hard_tanh", Activation::HardTanh { min: -0.5, max: 2.0 }),
            ("squared_clipped_relu", Activation::SquaredClippedRelu),
            ("sine", Activation::Sine { frequency: 30.0 }),
            ("softmax", Activation::Softmax),
        ] {
            let network = identity(z.len(), activation, isa);
            let mut trainer = Trainer::builder(network).max_batch(1).input_gradients().build().unwrap();
            let what = format!("{name} on {isa}");
            assert_close(trainer.forward(z).unwrap(), fixture.get(&format!("activation/{name}/y")), &what);
            trainer.backward(d_y).unwrap();
            let expected = fixture.get(&format!("activation/{name}/d_z"));
            assert_close(trainer.input_gradients().unwrap(), expected, &format!("gradient of {what}"));
        }
    }
}

/// A loss of the fixture's outputs, as a trainer sees it.
struct Case<'a> {
    name: &'a str,
    outputs: &'a str,
    loss: Loss,
    targets: Targets<'a, f64>,
    settings: fn(TrainerBuilder<f64>) -> TrainerBuilder<f64>,
    weights: Option<&'a [f64]>,
}

impl Case<'_> {
    fn check(&self, fixture: &Fixture, isa: Isa) {
        let y = fixture.get(self.outputs);
        for (reduction, folder) in [(Reduction::Mean, "mean"), (Reduction::Sum, "sum")] {
            let builder = Trainer::builder(identity(y.len() / 6, Activation::Identity, isa)).loss(self.loss);
            let builder = (self.settings)(builder).reduction(reduction).max_batch(6).input_gradients();
            let mut trainer = builder.build().unwrap();
            let loss = match self.weights {
                Some(weights) => trainer.compute_gradients(y, self.targets.weights(weights)),
                None => trainer.compute_gradients(y, self.targets),
            };
            let name = format!("loss/{}/{folder}", self.name);
            assert_close(&[loss.unwrap()], fixture.get(&name), &format!("{name} on {isa}"));
            let name = format!("{name}/d");
            assert_close(trainer.input_gradients().unwrap(), fixture.get(&name), &format!("{name} on {isa}"));
        }
    }
}

#[test]
fn losses_and_their_gradients_are_those_of_pytorch() {
    let fixture = fixture();
    let of_numbers = |name: &str| Targets::from(fixture.get(name));
    let (values, shares) = (of_numbers("loss/values"), of_numbers("loss/shares"));
    let classes: Vec<u32> = fixture.get("loss/classes").iter().map(|&class| class as u32).collect();
    let classes = Targets::from(&classes);
    let samples = fixture.get("loss/samples");
    let plain = |builder| builder;
    let mut cases = Vec::new();
    for (name, with_samples, loss, targets) in [
        ("mse", "mse_samples", Loss::MeanSquaredError, values),
        ("mae", "mae_samples", Loss::MeanAbsoluteError, values),
        ("huber", "huber_samples", Loss::Huber { delta: 0.8 }, values),
        ("bce", "bce_samples", Loss::BinaryCrossEntropyWithLogits, shares),
        ("quantile", "quantile_samples", Loss::Quantile { quantile: 0.3 }, values),
        ("hinge", "hinge_samples", Loss::Hinge, of_numbers("loss/signs")),
        ("poisson", "poisson_samples", Loss::PoissonNll, of_numbers("loss/counts")),
        ("kl", "kl_samples", Loss::KullbackLeibler, shares),
        (
            "gaussian",
            "gaussian_samples",
            Loss::GaussianNll { epsilon: 0.01 },
            of_numbers("loss/pair_targets"),
        ),
        ("ce_classes", "ce_classes_samples", Loss::SoftmaxCrossEntropy, classes),
        ("ce_shares", "ce_shares_samples", Loss::SoftmaxCrossEntropy, shares),
    ] {
        let outputs = if name == "gaussian" { "loss/pairs" } else { "loss/outputs" };
        let case = Case { name, outputs, loss, targets, settings: plain, weights: None };
        cases.push(Case { name: with_samples, weights: Some(samples), ..case });
        cases.push(case);
    }
    let outputs = "loss/outputs";
    const WEIGHTS: [f64; 5] = [1.0, 2.0, 0.5, 0.0, 1.5];
    assert_eq!(fixture.get("loss/weights"), WEIGHTS);
    type Settings = fn(TrainerBuilder<f64>) -> TrainerBuilder<f64>;
    let smooth: Settings = |builder| builder.label_smoothing(0.1);
    let weighted: Settings = |builder| builder.class_weights(&WEIGHTS);
    let both: Settings = |builder| builder.class_weights(&WEIGHTS).label_smoothing(0.1);
    for (name, targets, settings) in [
        ("ce_classes_smooth", classes, smooth),
        ("ce_classes_weighted", classes, weighted),
        ("ce_classes_weighted_smooth", classes, both),
        ("ce_shares_smooth", shares, smooth),
        ("ce_shares_weighted", shares, weighted),
        ("ce_shares_weighted_smooth", shares, both),
    ] {
        let loss = Loss::SoftmaxCrossEntropy;
        cases.push(Case { name, outputs, loss, targets, settings, weights: None });
    }
    const POSITIVES: [f64; 5] = [3.0, 1.0, 0.5, 0.0, 10.0];
    assert_eq!(fixture.get("loss/positives"), POSITIVES);
    let settings: Settings = |builder| builder.pos_weight(&POSITIVES);
    for (name, weights) in [("bce_pos_weight", None), ("bce_pos_weight_samples", Some(samples))] {
        let (loss, targets) = (Loss::BinaryCrossEntropyWithLogits, shares);
        cases.push(Case { name, outputs, loss, targets, settings, weights });
    }
    for isa in isas() {
        for case in &cases {
            case.check(&fixture, isa);
        }
    }
}

#[test]
fn twenty_steps_of_every_optimizer_are_those_of_pytorch() {
    type Settings = fn(TrainerBuilder<f64>) -> TrainerBuilder<f64>;
    let plain: Settings = |builder| builder;
    let sgd = Sgd::new;
    let rules: [(&str, Optimizer, Settings); 22] = [
        ("sgd", sgd(0.1).into(), plain),
        ("sgd_momentum", sgd(0.05).momentum(0.9).into(), plain),
        ("sgd_dampening", sgd(0.05).momentum(0.9).dampening(0.3).into(), plain),
        ("sgd_nesterov", sgd(0.05).momentum(0.9).nesterov(true).into(), plain),
        ("sgd_decay", sgd(0.05).momentum(0.9).weight_decay(0.01).into(), plain),
        ("adam", Optimizer::adam(0.01), plain),
        ("adam_decay", Adam::new(0.01).betas(0.8, 0.99).epsilon(1e-6).weight_decay(0.02).into(), plain),
        ("adam_amsgrad", Adam::new(0.01).amsgrad(true).into(), plain),
        ("adamw", AdamW::new(0.01).weight_decay(0.05).into(), plain),
        ("rmsprop", Optimizer::rms_prop(0.01), plain),
        (
            "rmsprop_momentum",
            RmsProp::new(0.01).alpha(0.95).epsilon(1e-6).weight_decay(0.01).momentum(0.9).into(),
            plain,
        ),
        ("rmsprop_centered", RmsProp::new(0.01).momentum(0.9).centered(true).into(), plain),
        ("adagrad", Optimizer::adagrad(0.05), plain),
        (
            "adagrad_decay",
            Adagrad::new(0.05).learning_rate_decay(0.01).weight_decay(0.01).initial_accumulator(0.1).into(),
            plain,
        ),
        ("nadam", Optimizer::nadam(0.01), plain),
        (
            "nadam_decay",
            NAdam::new(0.01).betas(0.8, 0.99).epsilon(1e-6).weight_decay(0.02).momentum_decay(0.3).into(),
            plain,
        ),
        ("radam", Optimizer::radam(0.01), plain),
        ("radam_decay", RAdam::new(0.01).betas(0.8, 0.99).epsilon(1e-6).weight_decay(0.02).into(), plain),
        ("rprop", Optimizer::rprop(0.01), plain),
        ("rprop_settings", Rprop::new(0.02).etas(0.4, 1.5).step_sizes(0.004, 0.05).into(), plain),
        ("clip_norm", sgd(0.5).into(), |builder| builder.clip_grad_norm(0.3)),
        ("clip_value", sgd(0.5).into(), |builder| builder.clip_grad_value(0.05)),
    ];
    let fixture = fixture();
    for isa in isas() {
        for (name, optimizer, settings) in rules {
            let builder = Network::builder(3).dense(5, Activation::Tanh).dense(2, Activation::Identity);
            let mut network = builder.isa(isa).build().unwrap();
            network.write_parameters(fixture.get("optimizer/initial")).unwrap();
            let builder = settings(Trainer::builder(network).optimizer(optimizer).max_batch(4));
            check_steps(builder.build().unwrap(), &fixture, &format!("optimizer/{name}"));
        }
    }
}

#[test]
fn twenty_steps_of_a_layer_norm_are_those_of_pytorch() {
    let fixture = fixture();
    for isa in isas() {
        let builder = Network::builder(3).dense(6, Activation::Identity).layer_norm(Activation::Gelu);
        let mut network = builder.dense(2, Activation::Identity).isa(isa).build().unwrap();
        network.write_parameters(fixture.get("layer_norm/initial")).unwrap();
        let builder = Trainer::builder(network).optimizer(Optimizer::adam(0.01)).max_batch(4);
        check_steps(builder.build().unwrap(), &fixture, "layer_norm");
    }
}

/// Losses and parameters of twenty steps.
fn check_steps(mut trainer: Trainer<f64>, fixture: &Fixture, name: &str) {
    let (x, targets) = (fixture.get("optimizer/x"), fixture.get("optimizer/targets"));
    let losses = fixture.get(&format!("{name}/losses"));
    let count = trainer.network().parameter_count();
    let history = fixture.get(&format!("{name}/parameters")).chunks(count);
    let mut parameters = vec![f64::NAN; count];
    for (step, (expected, expected_loss)) in history.zip(losses).enumerate() {
        let loss = trainer.step(x, targets).unwrap();
        trainer.network().read_parameters(&mut parameters).unwrap();
        let what = format!("{name} on {}, step {step}", trainer.network().isa());
        // Twenty steps, each with the roundings of a few hundred operations.
        let close = (loss - expected_loss).abs() <= 1e-12;
        assert!(close, "{what}: a loss of {loss} is not PyTorch's {expected_loss}");
        for (i, (found, expected)) in parameters.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() <= 1e-12, "{what}: {i}: {found} is not {expected}");
        }
    }
    assert_eq!(trainer.steps(), 20);
}

#[test]
fn learning_rates_are_those_of_pytorch() {
    let fixture = fixture();
    let cycle = OneCycle::new(40);
    let settings = cycle.pct_start(0.12).div_factor(7.0).final_div_factor(30.0);
    let warm_up = || Schedule::linear(6, 0.2, 1.0);
    let sequence = warm_up().then(6, Schedule::exponential(0.8));
    for (name, schedule) in [
        ("step", Schedule::step(7, 0.5)),
        ("exponential", Schedule::exponential(0.9)),
        ("cosine", Schedule::cosine(40, 0.001)),
        ("warm_up", Schedule::cosine(35, 0.001).warm_up(5, 0.1)),
        ("multi_step", Schedule::multi_step(&[3, 4, 20, 33], 0.3)),
        ("linear", Schedule::linear(13, 0.25, 0.7)),
        ("polynomial_1.0", Schedule::polynomial(31, 1.0)),
        ("polynomial_0.9", Schedule::polynomial(31, 0.9)),
        ("polynomial_2.5", Schedule::polynomial(31, 2.5)),
        ("polynomial_3.0", Schedule::polynomial(31, 3.0)),
        ("warm_restarts_6_1", Schedule::cosine_warm_restarts(6, 1, 0.002)),
        ("warm_restarts_3_2", Schedule::cosine_warm_restarts(3, 2, 0.002)),
        ("warm_restarts_1_3", Schedule::cosine_warm_restarts(1, 3, 0.002)),
        ("one_cycle", cycle.into()),
        ("one_cycle_linear", cycle.linear().into()),
        ("one_cycle_settings", settings.into()),
        ("one_cycle_rising", OneCycle::new(50).pct_start(1.0).into()),
        ("one_cycle_falling", cycle.pct_start(0.0).into()),
        ("sequential", sequence.then(15, Schedule::cosine_warm_restarts(5, 2, 0.0))),
        ("chained", warm_up().chain(Schedule::exponential(0.95))),
        ("own", Schedule::from_fn(|base, epoch| base * (1.0 / (1.0 + 0.1 * epoch as f64)))),
    ] {
        let rates: Vec<f64> = (0..40).map(|epoch| schedule.rate(0.1, epoch)).collect();
        // Of PyTorch's rates most follow from the rate before, forty times.
        assert_close(&rates, fixture.get(&format!("schedule/{name}")), name);
    }
    let (mut plateau, mut rate) = (ReduceOnPlateau::new(0.3, 2), 0.1);
    let rates = fixture.get("schedule/losses").iter().map(|&loss| {
        let of_epoch = rate;
        rate *= plateau.step(loss);
        of_epoch
    });
    assert_close(&rates.collect::<Vec<_>>(), fixture.get("schedule/plateau"), "plateau");
}
