//! Every activation, loss and optimizer: one line here takes a new one into all sweeps.

use fuseprop::{Activation, Adagrad, Adam, AdamW, Lion, Loss, NAdam, Optimizer, RAdam, RmsProp, Rprop, Sgd};

/// All but [`Activation::Softmax`], which only the last layer may have.
pub(crate) const HIDDEN: [Activation; 19] = [
    Activation::Identity,
    Activation::Sigmoid,
    Activation::Tanh,
    Activation::Relu,
    Activation::LeakyRelu { slope: 0.1 },
    Activation::Elu { alpha: 0.7 },
    Activation::Selu,
    Activation::Gelu,
    Activation::GeluTanh,
    Activation::Silu,
    Activation::Mish,
    Activation::HardSwish,
    Activation::Relu6,
    Activation::Softsign,
    Activation::Softplus,
    Activation::HardSigmoid,
    Activation::HardTanh { min: -0.6, max: 1.5 },
    Activation::SquaredClippedRelu,
    Activation::Sine { frequency: 2.0 },
];

/// Every loss. Of all of them 1 is a target; [`Loss::GaussianNll`] has one for each pair of outputs.
pub(crate) const LOSSES: [Loss; 10] = [
    Loss::MeanSquaredError,
    Loss::MeanAbsoluteError,
    Loss::Huber { delta: 0.3 },
    Loss::Quantile { quantile: 0.3 },
    Loss::Hinge,
    Loss::PoissonNll,
    Loss::GaussianNll { epsilon: 1e-6 },
    Loss::BinaryCrossEntropyWithLogits,
    Loss::SoftmaxCrossEntropy,
    Loss::KullbackLeibler,
];

/// The number of target values of a row of outputs.
pub(crate) fn target_columns(loss: Loss, outputs: usize) -> usize {
    if matches!(loss, Loss::GaussianNll { .. }) { outputs / 2 } else { outputs }
}

/// Every rule, with all moments that it can keep and without those that it can do without.
pub(crate) fn optimizers() -> [Optimizer; 12] {
    [
        Sgd::new(0.05).into(),
        Sgd::new(0.05).momentum(0.9).nesterov(true).weight_decay(0.01).into(),
        Sgd::new(0.05).momentum(0.9).dampening(0.5).into(),
        Adam::new(0.01).into(),
        AdamW::new(0.01).amsgrad(true).into(),
        RmsProp::new(0.01).momentum(0.5).centered(true).l1(0.001).into(),
        Adagrad::new(0.05).into(),
        Adagrad::new(0.05).initial_accumulator(0.1).into(),
        NAdam::new(0.01).into(),
        RAdam::new(0.01).into(),
        Lion::new(0.001).weight_decay(0.1).into(),
        Rprop::new(0.001).step_sizes(1e-6, 0.01).into(),
    ]
}
