//! What one layer computes, and its shape.

use core::ops::Range;

use crate::kernels::ops::activation::Activation;
use crate::network::layer_kind::{LayerKind, Operation};

/// The description of one layer: [`Network::layer`](crate::Network::layer).
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network};
///
/// let builder = Network::<f32>::builder(3).dense(4, Activation::Tanh).bias(false).dropout(0.1);
/// let network = builder.dense(1, Activation::Identity).build()?;
/// let layer = network.layer(0).unwrap();
/// assert_eq!((layer.inputs(), layer.outputs(), layer.parameter_count()), (3, 4, 3 * 4));
/// assert_eq!((layer.activation(), layer.dropout()), (Activation::Tanh, 0.1));
/// assert_eq!((layer.has_bias(), layer.epsilon()), (false, None));
/// // Layers of one description are equal, wherever they are.
/// let builder = Network::<f32>::builder(2).dense(2, Activation::Tanh).dense(2, Activation::Tanh);
/// let network = builder.build()?;
/// assert_eq!(network.layer(0), network.layer(1));
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    pub(super) kind: LayerKind,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) activation: Activation,
    pub(super) dropout: f64,
    pub(super) has_bias: bool,
    pub(super) epsilon: f64,
    /// Where the layer's lines start among the network's.
    pub(crate) first_line: usize,
    pub(super) lines: usize,
}

/// Equal if all that is described is: two layers of one kind, shape and settings, wherever they are.
impl PartialEq for Layer {
    fn eq(&self, other: &Self) -> bool {
        let Self { kind, inputs, outputs, activation, dropout, has_bias, .. } = *self;
        (kind, inputs, outputs) == (other.kind, other.inputs, other.outputs)
            && (activation, dropout, has_bias) == (other.activation, other.dropout, other.has_bias)
            && self.epsilon() == other.epsilon()
    }
}

impl Layer {
    /// The formula of its pre-activation.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, LayerKind, Network};
    ///
    /// let network = Network::<f32>::builder(3).layer_norm(Activation::Tanh).build()?;
    /// assert_eq!(network.layer(0).unwrap().kind(), LayerKind::LayerNorm);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn kind(&self) -> LayerKind {
        self.kind
    }

    /// The number of its input features: of each source of a sum, of all sources of a concatenation.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(3).dense(4, Activation::Tanh).build()?;
    /// assert_eq!(network.layer(0).unwrap().inputs(), 3);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// The number of its output features.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(3).dense(4, Activation::Tanh).build()?;
    /// assert_eq!(network.layer(0).unwrap().outputs(), 4);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The activation that its pre-activation goes through.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(3).dense(4, Activation::Tanh).build()?;
    /// assert_eq!(network.layer(0).unwrap().activation(), Activation::Tanh);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// The layer's lines among the network's.
    pub(crate) fn lines(&self) -> Range<usize> {
        self.first_line..self.first_line + self.lines
    }

    /// The probability of each of its outputs to be left out in training.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let builder = Network::<f32>::builder(3).layer_norm(Activation::Tanh).dropout(0.1);
    /// let network = builder.dense(1, Activation::Tanh).build()?;
    /// assert_eq!(network.layer(0).unwrap().dropout(), 0.1);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn dropout(&self) -> f64 {
        self.dropout
    }

    /// Whether it has biases, a parameter for each output.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(3).dense(4, Activation::Tanh).bias(false).build()?;
    /// assert!(!network.layer(0).unwrap().has_bias());
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn has_bias(&self) -> bool {
        self.has_bias
    }

    /// What a norm adds to the variance, or the mean square, of a row; nothing of other layers.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let builder = Network::<f32>::builder(3).layer_norm(Activation::Tanh);
    /// let network = builder.dense(1, Activation::Tanh).build()?;
    /// assert_eq!(network.layer(0).unwrap().epsilon(), Some(1e-5));
    /// assert_eq!(network.layer(1).unwrap().epsilon(), None);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn epsilon(&self) -> Option<f64> {
        self.kind.has_epsilon().then_some(self.epsilon)
    }

    /// The number of its parameters: weights and biases.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(3).dense(4, Activation::Tanh).build()?;
    /// assert_eq!(network.layer(0).unwrap().parameter_count(), 4 * 3 + 4);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn parameter_count(&self) -> usize {
        self.weight_count() + self.bias_count()
    }

    pub(crate) fn weight_count(&self) -> usize {
        self.columns() * self.outputs
    }

    /// 0 of a layer without biases.
    pub(crate) fn bias_count(&self) -> usize {
        if self.has_bias { self.outputs } else { 0 }
    }

    /// Weights of each output: a layer's weights are `[outputs, columns]`.
    pub(crate) fn columns(&self) -> usize {
        match self.kind.operation() {
            Operation::Product => self.inputs,
            Operation::Norm { .. } => 1,
            Operation::Sum | Operation::SideBySide => 0,
        }
    }
}
