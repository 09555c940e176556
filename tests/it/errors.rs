//! What does not fit is refused by name, and nothing has changed.

use crate::common;
use fuseprop::{
    Activation, Adagrad, Adam, Argument, Element, Error, Init, Isa, Lion, Loss, NAdam, Network, Optimizer,
    Parallelism, RAdam, RmsProp, Rprop, Sgd, Targets, Trainer,
};

fn network() -> Network<f32> {
    Network::builder(3).dense(5, Activation::Relu).dense(2, Activation::Identity).seed(1).build().unwrap()
}

fn parameters(network: &Network<f32>) -> Vec<u32> {
    common::parameters(network).into_iter().map(f32::to_bits).collect()
}

#[test]
fn shapes_that_cannot_be_are_refused() {
    let zero = Error::Zero { argument: Argument::FeatureCount };
    let build = |inputs, outputs| Network::<f32>::builder(inputs).dense(outputs, Activation::Relu).build();
    assert_eq!(build(0, 1).unwrap_err(), zero);
    assert_eq!(build(1, 0).unwrap_err(), zero);
    assert!(matches!(Network::<f64>::builder(4).build(), Err(Error::Zero { .. })));
    for (inputs, outputs) in [(usize::MAX, 1), (1, usize::MAX), (usize::MAX, usize::MAX), (1 << 40, 1 << 40)]
    {
        assert!(matches!(build(inputs, outputs), Err(Error::Overflow { .. })), "{inputs} x {outputs}");
    }
    for batch in [usize::MAX, usize::MAX / 2, usize::MAX / 64] {
        assert!(matches!(network().workspace(batch), Err(Error::Overflow { .. })));
        assert!(matches!(Trainer::builder(network()).max_batch(batch).build(), Err(Error::Overflow { .. })));
    }
    // A number of bytes, but past the 47 bits of any address.
    assert!(matches!(build(1 << 24, 1 << 24), Err(Error::Overflow { .. })));
    // Buffers of a prediction end at 64 tiles, so that only a batch past all addresses is too long.
    assert_eq!(network().workspace(80_000_000_000).unwrap().max_batch(), 80_000_000_000);
    assert!(matches!(network().workspace(150_000_000_000), Err(Error::Overflow { .. })));
    assert!(matches!(network().workspace(0), Err(Error::Zero { .. })));
    assert!(matches!(Trainer::builder(network()).max_batch(0).build(), Err(Error::Zero { .. })));
}

#[test]
fn settings_out_of_range_are_refused() {
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        let layer = Network::<f32>::builder(1).dense(1, Activation::LeakyRelu { slope: bad }).build();
        assert!(matches!(layer, Err(Error::Setting { .. })));
        let spread = Network::<f32>::builder(1).dense(1, Activation::Relu);
        assert!(matches!(spread.clone().init(Init::Normal { std: bad }).build(), Err(Error::Setting { .. })));
        assert!(matches!(spread.init(Init::Orthogonal { gain: bad }).build(), Err(Error::Setting { .. })));
        let rate = Trainer::builder(network()).optimizer(Optimizer::sgd(bad)).build();
        assert!(matches!(rate, Err(Error::Setting { .. })));
        let mut trainer = Trainer::builder(network()).build().unwrap();
        assert!(matches!(trainer.set_learning_rate(bad), Err(Error::Setting { .. })));
        assert_eq!(trainer.optimizer(), Optimizer::sgd(0.01));
    }
    // Finite in f64, not in f32.
    for large in [1e39, 1e300] {
        assert!(matches!(
            Network::<f32>::builder(1).dense(1, Activation::LeakyRelu { slope: large }).build(),
            Err(Error::Setting { .. })
        ));
        assert!(Network::<f64>::builder(1).dense(1, Activation::LeakyRelu { slope: large }).build().is_ok());
        for optimizer in
            [Optimizer::sgd(large), Optimizer::adam(large), Sgd::new(1.0).weight_decay(large).into()]
        {
            let built = Trainer::builder(network()).optimizer(optimizer).build();
            assert!(matches!(built, Err(Error::Setting { .. })), "{optimizer:?}");
        }
        let weights =
            Trainer::builder(network()).loss(Loss::SoftmaxCrossEntropy).class_weights(&[1.0, large]);
        assert!(matches!(weights.build(), Err(Error::Setting { .. })));
    }
    assert!(matches!(
        Trainer::builder(network()).loss(Loss::Huber { delta: 1e-50 }).build(),
        Err(Error::Setting { .. })
    ));
    let early = Network::<f32>::builder(1).dense(2, Activation::Softmax).dense(1, Activation::Relu).build();
    assert_eq!(early.unwrap_err(), Error::Softmax { layer: 0, layers: 2 });
    let no_threads = Trainer::builder(network()).parallelism(Parallelism::Threads(0)).build();
    assert!(matches!(no_threads, Err(Error::Zero { .. })));
    for &isa in Isa::ALL {
        let built = Network::<f32>::builder(1).dense(1, Activation::Relu).isa(isa).build();
        match isa.is_available() {
            true => assert_eq!(built.unwrap().isa(), isa),
            false => assert_eq!(built.unwrap_err(), Error::Isa { isa }),
        }
    }
}

#[test]
fn activations_refuse_settings_out_of_range_by_name() {
    use Activation::{Elu, HardTanh, LeakyRelu, Sine};
    let (nan, infinite) = (f64::NAN, f64::INFINITY);
    // Finite in f64, not in f32.
    let large = 1e39;
    let build = |activation| Network::<f32>::builder(1).dense(1, activation).build();
    let refused = [
        (Argument::LeakyReluSlope, [-0.1, nan, infinite, large].map(|slope| LeakyRelu { slope })),
        (Argument::EluAlpha, [-0.1, nan, infinite, large].map(|alpha| Elu { alpha })),
        (Argument::SineFrequency, [0.0, -1.0, nan, large].map(|frequency| Sine { frequency })),
        (Argument::HardTanhMin, [nan, -infinite, -large, large].map(|min| HardTanh { min, max: 1.0 })),
        (Argument::HardTanhMax, [0.5, 0.4, nan, large].map(|max| HardTanh { min: 0.5, max })),
    ];
    for (setting, activations) in refused {
        for activation in activations {
            match build(activation) {
                Err(Error::Setting { argument, .. }) => assert_eq!(argument, setting, "{activation:?}"),
                other => panic!("{activation:?}: {other:?}"),
            }
        }
    }
    for activation in [
        LeakyRelu { slope: 0.0 },
        Elu { alpha: 0.0 },
        Sine { frequency: 1e-3 },
        HardTanh { min: -2.0, max: -1.0 },
    ] {
        assert!(build(activation).is_ok(), "{activation:?}");
    }
}

#[test]
fn initial_weights_refuse_settings_out_of_range_by_name() {
    let build = |init| Network::<f32>::builder(2).dense(2, Activation::Relu).init(init).build();
    let inits = |value| {
        let spreads =
            [Init::Normal { std: value }, Init::Uniform { limit: value }, Init::Orthogonal { gain: value }];
        let spreads = spreads.map(|init| (init, Argument::InitSpread));
        spreads.into_iter().chain([(Init::Siren { frequency: value }, Argument::InitFrequency)])
    };
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        for (init, setting) in inits(bad) {
            match build(init) {
                Err(Error::Setting { argument, .. }) => assert_eq!(argument, setting, "{init:?}"),
                other => panic!("{init:?}: {other:?}"),
            }
        }
    }
    for (init, _) in inits(30.0) {
        assert!(build(init).is_ok(), "{init:?}");
    }
    // No spread is right, no frequency is not.
    let refused: Vec<bool> = inits(0.0).map(|(init, _)| build(init).is_err()).collect();
    assert_eq!(refused, [false, false, false, true]);
    // In f32 these would be infinite weights.
    let wide = Init::Normal { std: 1e38 };
    assert!(build(wide).is_err() && build(Init::Siren { frequency: 1e-39 }).is_err());
    assert!(Network::<f64>::builder(2).dense(2, Activation::Relu).init(wide).build().is_ok());
}

#[test]
fn what_has_no_use_for_a_setting_is_named() {
    let losses = [
        (Loss::MeanSquaredError, Argument::MeanSquaredError),
        (Loss::MeanAbsoluteError, Argument::MeanAbsoluteError),
        (Loss::Huber { delta: 1.0 }, Argument::HuberLoss),
        (Loss::BinaryCrossEntropyWithLogits, Argument::BinaryCrossEntropy),
    ];
    for (loss, name) in losses {
        let build = || Trainer::builder(network()).loss(loss);
        let refused = build().build().unwrap().step(&[0.5; 6], &[0_u32; 2]);
        assert_eq!(refused, Err(Error::Targets { loss: name }));
        let refused = build().class_weights(&[1.0; 2]).build().err();
        assert_eq!(refused, Some(Error::Unused { argument: Argument::ClassWeights, with: name }));
    }
    for sgd in [Sgd::new(0.1), Sgd::new(0.1).momentum(0.9).dampening(0.1)] {
        let refused = Trainer::builder(network()).optimizer(sgd.nesterov(true)).build().err();
        let expected = Error::Unused { argument: Argument::Nesterov, with: Argument::PlainSgd };
        assert_eq!(refused, Some(expected), "{sgd:?}");
        assert!(Trainer::builder(network()).optimizer(sgd.nesterov(false)).build().is_ok(), "{sgd:?}");
    }
}

#[test]
fn a_batch_that_does_not_fit_changes_nothing() {
    let mut trainer = Trainer::builder(network()).max_batch(4).build().unwrap();
    let before = parameters(trainer.network());
    let gradients = trainer.gradients().to_vec();
    let (x, t) = ([0.5f32; 6], [0.5f32; 4]);

    assert_eq!(trainer.step(&[], &t), Err(Error::Rows { argument: Argument::Inputs, row: 3, found: 0 }));
    assert_eq!(trainer.step(&x[..5], &t), Err(Error::Rows { argument: Argument::Inputs, row: 3, found: 5 }));
    assert_eq!(trainer.step(&[0.0; 15], &t), Err(Error::Batch { max: 4, found: 5 }));
    assert_eq!(
        trainer.step(&x, &t[..3]),
        Err(Error::Length { argument: Argument::Targets, expected: 4, found: 3 })
    );
    assert!(matches!(trainer.step(&x, &[0u32, 1]), Err(Error::Targets { .. })));
    assert!(matches!(trainer.compute_gradients(&x, &t[..1]), Err(Error::Length { .. })));
    assert!(matches!(trainer.forward(&x[..2]), Err(Error::Rows { .. })));
    assert_eq!(trainer.backward(&t), Err(Error::NoForward));
    assert_eq!(trainer.input_gradients(), Err(Error::NoInputGradients));
    assert!(matches!(trainer.read_gradients(&mut [0.0; 3]), Err(Error::Length { .. })));
    trainer.forward(&x).unwrap();
    assert!(matches!(trainer.backward(&t[..2]), Err(Error::Length { .. })));

    assert_eq!(parameters(trainer.network()), before);
    assert_eq!(trainer.gradients(), gradients);
    trainer.step(&x, &t).unwrap();
    assert_ne!(parameters(trainer.network()), before);
    assert_eq!(trainer.backward(&t), Err(Error::NoForward));
}

#[test]
fn classes_past_the_outputs_are_refused() {
    let mut trainer =
        Trainer::builder(network()).loss(Loss::SoftmaxCrossEntropy).max_batch(4).build().unwrap();
    let before = parameters(trainer.network());
    let x = [0.5f32; 6];
    assert_eq!(trainer.step(&x, &[0u32, 2]), Err(Error::Class { row: 1, class: 2, classes: 2 }));
    assert!(matches!(trainer.step(&x, &[0u32]), Err(Error::Length { .. })));
    assert_eq!(parameters(trainer.network()), before);
    trainer.step(&x, &[0u32, 0]).unwrap();
    assert_ne!(parameters(trainer.network()), before);
}

#[test]
fn predictions_of_wrong_sizes_write_nothing() {
    let network = network();
    let mut workspace = network.workspace(2).unwrap();
    let mut y = [7.0f32; 4];
    let refused = [
        network.predict_into(&[0.0; 5], &mut y, &mut workspace),
        network.predict_into(&[], &mut y, &mut workspace),
        network.predict_into(&[0.0; 9], &mut y, &mut workspace),
        network.predict_into(&[0.0; 6], &mut y[..3], &mut workspace),
    ];
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
    let other = Network::<f32>::builder(3).dense(2, Activation::Relu).build().unwrap();
    assert_eq!(other.predict_into(&[0.0; 6], &mut y, &mut workspace), Err(Error::Workspace));
    assert_eq!(y, [7.0; 4]);
    network.predict_into(&[1.0; 6], &mut y, &mut workspace).unwrap();
    assert_ne!(y, [7.0; 4]);
}

#[test]
fn parameters_of_wrong_sizes_are_neither_read_nor_written() {
    let mut network = network();
    let before = parameters(&network);
    assert_eq!(network.parameter_count(), 3 * 5 + 5 + 5 * 2 + 2);
    assert!(network.write_parameters(&[9.0; 31]).is_err());
    assert!(network.write_parameters(&[9.0; 33]).is_err());
    assert!(network.write_weights(0, &[9.0; 14]).is_err());
    assert!(network.write_biases(1, &[9.0; 3]).is_err());
    assert_eq!(network.write_weights(2, &[9.0; 15]), Err(Error::Layer { layer: 2, layers: 2 }));
    assert!(network.read_weights(0, &mut [0.0; 1]).is_err());
    assert!(network.read_biases(9, &mut [0.0; 1]).is_err());
    assert!(network.read_parameters(&mut []).is_err());
    assert_eq!(network.layer(2), None);
    assert_eq!(parameters(&network), before);

    let canonical: Vec<f32> = (0..32).map(|i| i as f32).collect();
    network.write_parameters(&canonical).unwrap();
    let (mut all, mut weights, mut biases) = ([0.0; 32], [0.0; 10], [0.0; 5]);
    network.read_parameters(&mut all).unwrap();
    network.read_weights(1, &mut weights).unwrap();
    network.read_biases(0, &mut biases).unwrap();
    assert_eq!(all[..], canonical[..]);
    assert_eq!(weights[..], canonical[20..30]);
    assert_eq!(biases[..], canonical[15..20]);
}

#[test]
fn messages_name_both_numbers() {
    let message = Error::Length { argument: Argument::Targets, expected: 41, found: 43 }.to_string();
    assert!(message.contains("targets") && message.contains("41") && message.contains("43"), "{message}");
    let message = Error::Batch { max: 41, found: 43 }.to_string();
    assert!(message.contains("41") && message.contains("43"), "{message}");
    let message = Error::Class { row: 40, class: 43, classes: 41 }.to_string();
    assert!(message.contains("40") && message.contains("41") && message.contains("43"), "{message}");
}

#[test]
fn losses_refuse_settings_and_weights_that_do_not_fit() {
    let build = |loss| Trainer::builder(network()).loss(loss).max_batch(4);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(build(Loss::Huber { delta: bad }).build(), Err(Error::Setting { .. })), "{bad}");
    }
    let cross_entropy = || build(Loss::SoftmaxCrossEntropy);
    assert_eq!(
        cross_entropy().class_weights(&[1.0; 3]).build().err(),
        Some(Error::Length { argument: Argument::ClassWeights, expected: 2, found: 3 })
    );
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(matches!(cross_entropy().class_weights(&[1.0, bad]).build(), Err(Error::Setting { .. })));
        assert!(matches!(cross_entropy().label_smoothing(bad).build(), Err(Error::Setting { .. })));
    }
    assert!(matches!(
        build(Loss::Huber { delta: 1.0 }).class_weights(&[1.0; 2]).build(),
        Err(Error::Unused { .. })
    ));
    assert!(matches!(
        build(Loss::Huber { delta: 1.0 }).label_smoothing(0.1).build(),
        Err(Error::Unused { .. })
    ));

    let mut trainer = build(Loss::MeanAbsoluteError).build().unwrap();
    let before = trainer.gradients().to_vec();
    let (x, targets) = ([0.5; 6], [1.0; 4]);
    assert_eq!(
        trainer.step(&x, Targets::from(&targets).weights(&[1.0; 3])),
        Err(Error::Length { argument: Argument::RowWeights, expected: 2, found: 3 })
    );
    for bad in [-1.0, f32::NAN, f32::INFINITY] {
        let weights = [1.0, bad];
        assert!(
            matches!(trainer.step(&x, Targets::from(&targets).weights(&weights)), Err(Error::Setting { .. })),
            "{bad}"
        );
    }
    assert!(matches!(trainer.step(&x, &[0_u32; 2]), Err(Error::Targets { .. })));
    assert_eq!(trainer.gradients(), before);
    assert!(trainer.step(&x, Targets::from(&targets).weights(&[1.0, 0.0])).unwrap() > 0.0);
    assert_eq!(trainer.step(&x, Targets::from(&targets).weights(&[0.0, 0.0])), Ok(0.0));
}

#[test]
fn optimizers_refuse_settings_that_do_not_fit() {
    fn refused(optimizer: impl Into<Optimizer>) -> bool {
        let built = Trainer::builder(network()).optimizer(optimizer).max_batch(2).build();
        matches!(built, Err(Error::Setting { .. }))
    }
    for bad in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(refused(Optimizer::sgd(bad)));
        assert!(refused(Sgd::new(0.1).momentum(bad)));
        assert!(refused(Sgd::new(0.1).weight_decay(bad)));
        assert!(refused(Sgd::new(0.1).l1(bad)));
        assert!(refused(Adam::new(0.1).betas(bad, 0.9)));
        assert!(refused(Adam::new(0.1).epsilon(bad)));
        assert!(refused(RmsProp::new(0.1).alpha(bad)));
        assert!(refused(Adagrad::new(0.1).learning_rate_decay(bad)));
        assert!(refused(Adagrad::new(0.1).initial_accumulator(bad)));
        assert!(refused(NAdam::new(0.1).betas(bad, 0.9)));
        assert!(refused(NAdam::new(0.1).epsilon(bad)));
        assert!(refused(NAdam::new(0.1).momentum_decay(bad)));
        assert!(refused(RAdam::new(0.1).betas(0.9, bad)));
        assert!(refused(RAdam::new(0.1).epsilon(bad)));
        assert!(refused(Lion::new(0.1).betas(bad, 0.9)));
        assert!(refused(Lion::new(0.1).betas(0.9, bad)));
        assert!(refused(Rprop::new(0.1).etas(bad, 1.2)));
        assert!(refused(Rprop::new(0.1).etas(0.5, bad)));
        assert!(refused(Rprop::new(0.1).step_sizes(bad, 1.0)));
        assert!(refused(Rprop::new(0.1).step_sizes(0.1, bad)));
    }
    assert!(refused(Rprop::new(0.1).etas(1.0, 1.2)));
    assert!(refused(Rprop::new(0.1).etas(0.5, 1.0)));
    assert!(refused(Rprop::new(0.1).step_sizes(1e-50, 1.0)));
    assert!(refused(Rprop::new(0.1).step_sizes(1.0, 0.5)));
    assert!(refused(Adam::new(0.1).betas(0.9, 1.0)));
    assert!(refused(Adam::new(0.1).epsilon(0.0)));
    for bad in [0.0, -1.0, f64::NAN] {
        let builder = || Trainer::builder(network());
        assert!(matches!(builder().clip_grad_norm(bad).build().err(), Some(Error::Setting { .. })), "{bad}");
        assert!(matches!(builder().clip_grad_value(bad).build().err(), Some(Error::Setting { .. })), "{bad}");
    }
}

#[test]
fn what_is_not_finite_is_refused_on_request_and_nothing_has_changed() {
    let builder = || Trainer::builder(network()).max_batch(4);
    let (x, bad, targets) = ([0.5; 6], [0.5, 0.5, f32::NAN, 0.5, 0.5, 0.5], [1.0; 4]);
    let mut trainer = builder().check_finite().build().unwrap();
    trainer.step(&x, &targets).unwrap();
    let before = parameters(trainer.network());
    let refused = trainer.step(&bad, &targets).unwrap_err();
    assert_eq!(refused, Error::NonFinite { argument: Argument::Loss, step: 2, layer: None, epoch: None });
    assert_eq!(refused.to_string(), "the loss is not finite at step 2");
    assert_eq!(parameters(trainer.network()), before);
    assert_eq!(trainer.steps(), 1);
    // A gradient of one's own that is not finite, in the second layer.
    trainer.compute_gradients(&x, &targets).unwrap();
    let last_line = trainer.gradients_mut().len() - 16;
    trainer.gradients_mut()[last_line] = f32::INFINITY;
    let layer = Some(1);
    assert_eq!(
        trainer.apply_gradients(),
        Err(Error::NonFinite { argument: Argument::Gradient, step: 2, layer, epoch: None })
    );
    assert_eq!(parameters(trainer.network()), before);
    trainer.step(&x, &targets).unwrap();
    assert_ne!(parameters(trainer.network()), before);

    let mut unguarded = builder().build().unwrap();
    assert!(unguarded.step(&bad, &targets).unwrap().is_nan());
}

/// Plain, of two inputs, with all parameters 0.
fn zeros<T: Element>() -> Network<T> {
    let mut network = Network::builder(2).dense(1, Activation::Identity).seed(1).build().unwrap();
    network.write_parameters(&[T::from_f64(0.0); 3]).unwrap();
    network
}

#[test]
fn an_update_needs_a_gradient() {
    let build = || Trainer::builder(zeros::<f32>()).build().unwrap();
    let mut trainer = build();
    assert_eq!(trainer.apply_gradients(), Err(Error::NoGradient));
    assert_eq!(trainer.steps(), 0);
    type Call = fn(&mut Trainer<f32>);
    let calls: [Call; 6] = [
        |trainer| assert!(trainer.step(&[1.0, 2.0], &[1.0]).is_ok()),
        |trainer| assert!(trainer.compute_gradients(&[1.0, 2.0], &[1.0]).is_ok()),
        |trainer| assert!(trainer.accumulate_gradients(&[1.0, 2.0], &[1.0]).is_ok()),
        |trainer| {
            trainer.forward(&[1.0, 2.0]).unwrap();
            trainer.backward(&[1.0]).unwrap();
        },
        |trainer| trainer.write_gradients(&[1.0; 3]).unwrap(),
        |trainer| trainer.gradients_mut()[0] = 1.0,
    ];
    for call in calls {
        let mut trainer = build();
        call(&mut trainer);
        trainer.apply_gradients().unwrap();
        assert_ne!(parameters(trainer.network()), parameters(&zeros()));
    }
}

#[test]
fn padding_that_a_caller_has_written_to_is_no_part_of_the_gradient() {
    let builder = || Trainer::builder(zeros::<f32>()).optimizer(Optimizer::sgd(1.0)).clip_grad_norm(1.0);
    let (mut written, mut right) = (builder().layer_stats().build().unwrap(), builder().build().unwrap());
    right.write_gradients(&[3.0, 0.0, 4.0]).unwrap();
    written.gradients_mut().fill(1e30);
    written.write_weight_gradients(0, &[3.0, 0.0]).unwrap();
    written.write_bias_gradients(0, &[4.0]).unwrap();
    for trainer in [&mut written, &mut right] {
        trainer.apply_gradients().unwrap();
    }
    assert_eq!(parameters(written.network()), parameters(right.network()));
    assert_eq!(written.gradients(), right.gradients());
    let norm = common::parameters(written.network()).iter().map(|w| w * w).sum::<f32>().sqrt();
    assert!((norm - 1.0).abs() < 1e-6, "{norm}");
}

#[test]
fn a_gradient_of_any_size_has_its_norm_and_is_clipped_to_another() {
    for size in [1e160_f64, 1e300, 1e-160, 1e-300] {
        let builder = || {
            let builder = Trainer::builder(zeros::<f64>()).optimizer(Optimizer::sgd(0.5)).check_finite();
            builder.clip_grad_norm(1.0).layer_stats()
        };
        let mut trainer = builder().build().unwrap();
        trainer.write_gradients(&[0.0, -size, 0.0]).unwrap();
        assert_eq!(trainer.gradient_norm(), size);
        trainer.apply_gradients().unwrap();
        let moved = common::parameters(trainer.network());
        let step = 0.5 * size.min(1.0);
        assert_eq!((moved[0], moved[2]), (0.0, 0.0));
        assert!((moved[1] / step - 1.0).abs() < 1e-12, "{size}: {moved:?}, not {step}");
        // By backpropagation, with the statistics of the layer: d_w = 2 (0 - t) x.
        let mut trainer = builder().build().unwrap();
        let root = size.sqrt();
        trainer.compute_gradients(&[root, 0.0], &[-root / 2.0]).unwrap();
        let stats = trainer.layer_stats().unwrap().next().unwrap();
        let norm = size.hypot(root);
        assert!((trainer.gradient_norm() / norm - 1.0).abs() < 1e-12, "{size}");
        assert!((stats.gradient / norm - 1.0).abs() < 1e-12, "{size}: {stats:?}");
        trainer.write_parameters(&[1.0, 0.0, 0.0]).unwrap();
        trainer.forward(&[size, 0.0]).unwrap();
        let stats = trainer.layer_stats().unwrap().next().unwrap();
        assert!((stats.activations / size - 1.0).abs() < 1e-12, "{size}: {stats:?}");
        trainer.write_parameters(&[size, 0.0, 0.0]).unwrap();
        let stats = trainer.layer_stats().unwrap().next().unwrap();
        assert!((stats.parameters / size - 1.0).abs() < 1e-12, "{size}: {stats:?}");
    }
}

#[test]
fn a_gradient_whose_square_is_infinite_is_refused_before_it_is_in_a_running_sum() {
    let optimizers: [Optimizer; 4] =
        [Adam::new(0.1).into(), Optimizer::adamw(0.1), RmsProp::new(0.1).into(), Adagrad::new(0.1).into()];
    for optimizer in optimizers {
        let mut network = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(1).build().unwrap();
        network.write_parameters(&[0.0, 0.0]).unwrap();
        let mut trainer = Trainer::builder(network).optimizer(optimizer).check_finite().build().unwrap();
        let argument = Argument::SquaredGradient;
        let refused = Err(Error::NonFinite { argument, step: 1, layer: Some(0), epoch: None });
        assert_eq!(trainer.step(&[1e11], &[1e11]), refused, "{optimizer:?}");
        assert_eq!((common::parameters(trainer.network()), trainer.steps()), (vec![0.0, 0.0], 0));
        for _ in 0..1000 {
            trainer.step(&[1.0], &[0.5]).unwrap();
        }
        assert!((trainer.network().predict(&[1.0]).unwrap()[0] - 0.5).abs() < 0.3, "{optimizer:?}");
    }
    // Adagrad's sum grows by every step. Without a sum of squares there is nothing to refuse.
    for (optimizer, accepted) in [(Optimizer::adagrad(0.1), 3), (Optimizer::sgd(0.0), 9)] {
        let mut trainer = Trainer::builder(zeros()).optimizer(optimizer).check_finite().build().unwrap();
        trainer.write_gradients(&[0.0, 1e19_f32, 0.0]).unwrap();
        let steps = (0..9).take_while(|_| trainer.apply_gradients().is_ok()).count();
        assert_eq!(steps, accepted, "{optimizer:?}");
    }
    // Clipped, it is as small as any other.
    let builder = Trainer::builder(zeros::<f32>()).optimizer(Optimizer::adam(0.1)).check_finite();
    builder.clip_grad_norm(1.0).build().unwrap().step(&[1e11, 0.0], &[1e11]).unwrap();
}

#[test]
fn a_refused_step_draws_no_dropout() {
    let build = || {
        let builder = Network::<f32>::builder(2).dense(40, Activation::Tanh).dropout(0.5);
        let network = builder.dense(1, Activation::Identity).seed(1).build().unwrap();
        Trainer::builder(network).check_finite().build().unwrap()
    };
    let (mut refused, mut right) = (build(), build());
    refused.step(&[f32::NAN, 0.0], &[1.0]).unwrap_err();
    let step = |trainer: &mut Trainer<f32>| trainer.step(&[0.5, 1.0], &[1.0]).unwrap();
    assert_eq!(step(&mut refused), step(&mut right));
    assert_eq!(parameters(refused.network()), parameters(right.network()));
    assert_ne!(step(&mut right), step(&mut build()));
}

#[test]
fn losses_refuse_settings_layers_and_targets_that_cannot_be_by_name() {
    let build = |outputs, last| Network::<f32>::builder(1).dense(outputs, last).seed(1).build().unwrap();
    let trainer = |outputs, loss| Trainer::builder(build(outputs, Activation::Identity)).loss(loss);
    let refused = |loss, outputs| trainer(outputs, loss).build().unwrap_err();
    for value in [0.0, 1.0, -0.5, f64::NAN] {
        let error = refused(Loss::Quantile { quantile: value }, 1);
        assert!(matches!(error, Error::Setting { argument: Argument::Quantile, .. }), "{error}");
    }
    for value in [0.0, -1.0, f64::NAN, 1e39, 1e-50] {
        let error = refused(Loss::GaussianNll { epsilon: value }, 2);
        assert!(matches!(error, Error::Setting { argument: Argument::LeastVariance, .. }), "{error}");
    }
    let gaussian = Loss::GaussianNll { epsilon: 1e-6 };
    let combination = |argument, with| Error::Combination { argument, with };
    assert_eq!(refused(gaussian, 3), combination(Argument::GaussianNll, Argument::OddOutputs));
    let single = combination(Argument::KullbackLeibler, Argument::SingleOutput);
    assert_eq!(refused(Loss::KullbackLeibler, 1), single);
    for (loss, argument) in [
        (gaussian, Argument::GaussianNll),
        (Loss::PoissonNll, Argument::PoissonNll),
        (Loss::KullbackLeibler, Argument::KullbackLeibler),
    ] {
        let bounded = Trainer::builder(build(2, Activation::Relu)).loss(loss).build().unwrap_err();
        assert_eq!(bounded, combination(argument, Argument::BoundedLogits));
    }
    for (loss, argument, value) in [
        (Loss::Hinge, Argument::TargetSigns, 0.0),
        (Loss::PoissonNll, Argument::TargetCounts, -1.0),
        (Loss::KullbackLeibler, Argument::TargetShares, -0.25),
    ] {
        let mut trainer = trainer(2, loss).build().unwrap();
        let before = parameters(trainer.network());
        let (x, targets) = ([0.5, 1.0], [1.0, 1.0, 1.0, value as f32]);
        let wrong = Error::Value { argument, row: 1, column: 1, value };
        assert_eq!(trainer.step(&x, &targets), Err(wrong));
        let error = Error::Targets { loss: loss_name(loss) };
        assert_eq!(trainer.step(&x, &[0, 1]), Err(error));
        assert_eq!((parameters(trainer.network()), trainer.steps()), (before, 0));
        // What weighs nothing is not looked at.
        trainer.step(&x, Targets::from(&targets).weights(&[1.0, 0.0])).unwrap();
    }
    let mut trainer = trainer(4, gaussian).build().unwrap();
    let length = |argument, found| Error::Length { argument, expected: 4, found };
    assert_eq!(trainer.step(&[0.5, 1.0], &[1.0; 8]), Err(length(Argument::Targets, 8)));
    let mask = Targets::from(&[1.0; 4]).mask(&[1.0; 8]);
    assert_eq!(trainer.step(&[0.5, 1.0], mask), Err(length(Argument::ElementMask, 8)));
    trainer.step(&[0.5, 1.0], Targets::from(&[1.0; 4]).mask(&[1.0, 0.0, 0.5, 2.0])).unwrap();
}

fn loss_name(loss: Loss) -> Argument {
    match loss {
        Loss::Hinge => Argument::HingeLoss,
        Loss::PoissonNll => Argument::PoissonNll,
        Loss::KullbackLeibler => Argument::KullbackLeibler,
        other => panic!("{other:?}"),
    }
}

#[test]
fn weights_of_positive_classes_are_the_binary_cross_entropys_alone() {
    let trainer = |loss| Trainer::builder(network()).loss(loss);
    let binary = || trainer(Loss::BinaryCrossEntropyWithLogits);
    let length = Error::Length { argument: Argument::PosWeights, expected: 2, found: 1 };
    assert_eq!(binary().pos_weight(&[1.0]).build().unwrap_err(), length);
    for bad in [-1.0, f64::NAN, f64::INFINITY, 1e39] {
        let error = binary().pos_weight(&[1.0, bad]).build().unwrap_err();
        assert!(matches!(error, Error::Setting { argument: Argument::PosWeight, .. }), "{error}");
    }
    let unused = Error::Unused { argument: Argument::PosWeights, with: Argument::SoftmaxCrossEntropy };
    assert_eq!(trainer(Loss::SoftmaxCrossEntropy).pos_weight(&[1.0, 2.0]).build().unwrap_err(), unused);
    // Weights of 1 are none.
    let x = [0.1, 0.2, 0.3];
    let loss_of = |weights: Option<&[f64]>| {
        let builder = weights.map_or(binary(), |weights| binary().pos_weight(weights));
        builder.build().unwrap().step(&x, &[1.0, 0.0]).unwrap()
    };
    let (plain, ones) = (loss_of(None), loss_of(Some(&[1.0, 1.0])));
    assert!((plain - ones).abs() < 1e-6 && (loss_of(Some(&[3.0, 3.0])) - plain) > 0.1, "{plain}, {ones}");
}
