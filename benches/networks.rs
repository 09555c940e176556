//! The networks that the benches and the peers train, and what a step of one is.

use fuseprop::{Activation, Loss};

pub(crate) struct TrainedNetwork {
    pub name: &'static str,
    pub sizes: &'static [usize],
    pub hidden: Activation,
    pub output: Activation,
    pub batch: usize,
    pub loss: Loss,
}

pub(crate) const RELU: Activation = Activation::Relu;
pub(crate) const LINEAR: Activation = Activation::Identity;
const MSE: Loss = Loss::MeanSquaredError;
pub(crate) const CE: Loss = Loss::SoftmaxCrossEntropy;

#[rustfmt::skip]
pub(crate) const TRAINED: &[TrainedNetwork] = &[
    TrainedNetwork { name: "xor", sizes: &[2, 4, 1], hidden: Activation::Sigmoid, output: Activation::Sigmoid, batch: 4, loss: MSE },
    TrainedNetwork { name: "policy", sizes: &[8, 64, 64, 4], hidden: Activation::Tanh, output: LINEAR, batch: 64, loss: MSE },
    TrainedNetwork { name: "mnist128", sizes: &[784, 128, 10], hidden: RELU, output: LINEAR, batch: 64, loss: CE },
    TrainedNetwork { name: "mnist512", sizes: &[784, 512, 512, 10], hidden: RELU, output: LINEAR, batch: 256, loss: CE },
    TrainedNetwork { name: "sq1024", sizes: &[1024, 1024, 1024, 1024], hidden: RELU, output: LINEAR, batch: 1024, loss: MSE },
    TrainedNetwork { name: "wide", sizes: &[1024, 4096, 4096, 1024], hidden: RELU, output: LINEAR, batch: 512, loss: MSE },
    TrainedNetwork { name: "narrow64", sizes: &[32, 64, 64, 64, 64, 3], hidden: RELU, output: LINEAR, batch: 65_536, loss: MSE },
    TrainedNetwork { name: "narrow128", sizes: &[64, 128, 128, 128, 128, 16], hidden: RELU, output: LINEAR, batch: 32_768, loss: MSE },
];

/// Floating-point operations of a forward pass: two for each multiply-add.
#[must_use]
pub(crate) fn forward_flop(sizes: &[usize], batch: usize) -> u64 {
    sizes.windows(2).map(|ends| 2 * (batch * ends[0] * ends[1]) as u64).sum()
}

/// Of a training step: three products for each layer, but no input gradient for the first.
#[must_use]
pub(crate) fn step_flop(sizes: &[usize], batch: usize) -> u64 {
    3 * forward_flop(sizes, batch) - 2 * (batch * sizes[0] * sizes[1]) as u64
}
