//! The kinds of layers: what tells one from another, in one place.
//!
//! A kind that does what another does in a different way is told apart here alone; a new operation has its
//! kernels in `kernels/ops`, and its arm where [`MicroBatch`](crate::engine::micro_batch::MicroBatch) goes
//! forward, back, and sums gradients.

use crate::simd::scalar::Element;

/// The formula of a layer's pre-activation `z`, to which its activation is applied.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, LayerKind, Network};
///
/// let builder = Network::<f32>::builder(3).dense(4, Activation::Identity).layer_norm(Activation::Relu);
/// let network = builder.build()?;
/// assert_eq!(network.layer(0).unwrap().kind(), LayerKind::Dense);
/// assert_eq!(network.layer(1).unwrap().kind(), LayerKind::LayerNorm);
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerKind {
    /// `z = x W^T + b`, weights `[outputs, inputs]`. `torch.nn.Linear`.
    Dense,
    /// `z = w (x - mean x) / sqrt(var x + epsilon) + b`, mean and variance (divided by the number of
    /// features) of each row, weights `[features]`, at first all 1 (Ba, Kiros and Hinton 2016).
    /// `torch.nn.LayerNorm`.
    LayerNorm,
    /// `z = w x / sqrt(mean(x^2) + epsilon)`, the mean over the features of each row, weights `[features]`,
    /// at first all 1, no biases unless [`NetworkBuilder::bias`](crate::NetworkBuilder::bias) adds them
    /// (Zhang and Sennrich 2019). `torch.nn.RMSNorm`.
    RmsNorm,
    /// `z = a + b`, the sum of what two layers, or a layer and the inputs, put out: the end of a
    /// [residual block](crate::NetworkBuilder::residual). Without parameters.
    Sum,
    /// `z = [a, b, ..]`, what its [sources](crate::Network::sources) put out, side by side. `torch.cat` of
    /// features. Without parameters.
    Concat,
    /// The same, as the end of a network of several [heads](crate::NetworkBuilder::heads): its outputs are
    /// theirs.
    Heads,
}

/// What the engine does for a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A matrix product with the weights.
    Product,
    /// Each row is divided by its spread: around its mean if it is centred, else around 0.
    Norm { is_centred: bool },
    /// Two sources are added.
    Sum,
    /// The sources are put side by side.
    SideBySide,
}

impl LayerKind {
    /// Every kind, with its name in files.
    pub(crate) const NAMES: [(Self, &'static str); 6] = [
        (Self::Dense, "dense"),
        (Self::LayerNorm, "layer_norm"),
        (Self::RmsNorm, "rms_norm"),
        (Self::Sum, "sum"),
        (Self::Concat, "concat"),
        (Self::Heads, "heads"),
    ];

    /// The name in files and in tables.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    #[inline(always)]
    pub(crate) fn operation(self) -> Operation {
        match self {
            Self::Dense => Operation::Product,
            Self::LayerNorm => Operation::Norm { is_centred: true },
            Self::RmsNorm => Operation::Norm { is_centred: false },
            Self::Sum => Operation::Sum,
            Self::Concat | Self::Heads => Operation::SideBySide,
        }
    }

    /// Whether its layers have parameters; otherwise they only join what they read.
    pub(crate) fn has_parameters(self) -> bool {
        match self.operation() {
            Operation::Product | Operation::Norm { .. } => true,
            Operation::Sum | Operation::SideBySide => false,
        }
    }

    /// Whether its layers have biases unless the caller says otherwise.
    pub(crate) fn has_biases(self) -> bool {
        self.has_parameters() && self != Self::RmsNorm
    }

    /// Whether its layers have an epsilon.
    pub(crate) fn has_epsilon(self) -> bool {
        matches!(self.operation(), Operation::Norm { .. })
    }

    /// The epsilon of its layers unless the caller says otherwise, as in PyTorch.
    pub(crate) fn default_epsilon<T: Element>(self) -> f64 {
        if self == Self::RmsNorm { T::EPSILON.to_f64() } else { 1e-5 }
    }

    /// Whether one of its layers can have so many sources.
    #[cfg(feature = "files")]
    pub(crate) fn takes_sources(self, count: usize) -> bool {
        match self.operation() {
            Operation::Product | Operation::Norm { .. } => count == 1,
            Operation::Sum => count == 2,
            Operation::SideBySide => count > 0,
        }
    }
}
