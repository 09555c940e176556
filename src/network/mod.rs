//! A network as data: its layers and their parameters, no matter who runs it.

mod branches;
mod builder;
mod display;
pub(crate) mod graph;
pub(crate) mod init;
mod layer_kind;
mod layers;
mod marked;
mod parameters;
pub(crate) mod scaler;

use core::fmt;
use std::sync::Arc;

use crate::error::Error;
use crate::network::scaler::Scaling;
use crate::simd::isa::Isa;
use crate::simd::scalar::Element;

pub use branches::Head;
#[cfg(feature = "files")]
pub(crate) use builder::LayerSpec;
pub use builder::NetworkBuilder;
pub use graph::Source;
pub(crate) use graph::{Edge, Layers};
#[cfg(feature = "files")]
pub(crate) use graph::{input_modules, modules};
pub use layer_kind::LayerKind;
pub(crate) use layer_kind::Operation;
pub use layers::Layer;
pub(crate) use marked::{Mark, MarkedLines};
pub(crate) use parameters::{
    clear_biases, read_biases, read_canonical, read_weights, write_biases, write_canonical, write_weights,
};

/// A feed-forward network of layers, `y = f(x W^T + b)` each, in `f32` or `f64`: a chain, or a graph of
/// [residual blocks](NetworkBuilder::residual), [concatenations](NetworkBuilder::concat) and
/// [heads](NetworkBuilder::heads).
///
/// Parameters are kept in panels, the layout that the products read; [`Network::read_parameters`] and
/// [`Network::write_parameters`] copy them in PyTorch's order.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network};
///
/// let network = Network::<f32>::builder(2)
///     .dense(4, Activation::Tanh)
///     .dense(1, Activation::Identity)
///     .seed(7)
///     .build()?;
/// let mut workspace = network.workspace(3)?;
/// let mut y = [0.0; 3];
/// network.predict_into(&[0.0, 0.0, 0.5, 1.0, 1.0, 0.5], &mut y, &mut workspace)?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone)]
pub struct Network<T: Element> {
    /// Shared with the workspaces made for it, so that one comparison of pointers tells that they fit.
    pub(crate) layers: Arc<Layers>,
    /// For each layer, panels of `[1 + inputs, outputs]`: a line of biases, then the weights.
    pub(crate) parameters: MarkedLines<T>,
    /// The probability of each input to be left out in training.
    pub(crate) input_dropout: f64,
    /// The scaler that every input goes through first.
    pub(crate) scaling: Option<Scaling<T>>,
    isa: Isa,
    /// Of the initial weights; a trainer's follows from it.
    pub(crate) seed: u64,
}

impl<T: Element> Network<T> {
    /// Starts the description of a network of `inputs` input features.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let builder = Network::<f32>::builder(3).dense(4, Activation::Tanh);
    /// let network = builder.dense(1, Activation::Identity).build()?;
    /// assert_eq!(network.inputs(), 3);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn builder(inputs: usize) -> NetworkBuilder<T> {
        NetworkBuilder::new(inputs)
    }

    /// The number of input features.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let builder = Network::<f32>::builder(3).dense(4, Activation::Tanh);
    /// let network = builder.dense(1, Activation::Identity).build()?;
    /// assert_eq!(network.inputs(), 3);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.layers.inputs()
    }

    /// The number of output features.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let builder = Network::<f32>::builder(3).dense(4, Activation::Tanh);
    /// let network = builder.dense(1, Activation::Identity).build()?;
    /// assert_eq!(network.outputs(), 1);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.last().outputs
    }

    /// The number of layers, at least one.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let builder = Network::<f32>::builder(3).dense(4, Activation::Tanh);
    /// let network = builder.dense(1, Activation::Identity).build()?;
    /// assert_eq!(network.layer_count(), 2);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// The description of one layer, counted from 0; nothing past the last.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let builder = Network::<f32>::builder(3).dense(4, Activation::Tanh);
    /// let network = builder.dense(1, Activation::Identity).build()?;
    /// assert_eq!(network.layer(1).unwrap().inputs(), 4);
    /// assert!(network.layer(2).is_none());
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn layer(&self, layer: usize) -> Option<Layer> {
        self.layers.get(layer).copied()
    }

    /// What one layer reads, in the order of its columns; nothing past the last layer. A layer of a chain
    /// reads the one before it.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, LayerKind, Network, Source};
    ///
    /// let builder = Network::<f32>::builder(4).residual(|block| block.dense(4, Activation::Tanh));
    /// let network = builder.build()?;
    /// assert_eq!(network.layer(1).unwrap().kind(), LayerKind::Sum);
    /// assert_eq!(network.sources(1), Some(vec![Source::Input, Source::Layer(0)]));
    /// assert_eq!(network.sources(2), None);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn sources(&self, layer: usize) -> Option<Vec<Source>> {
        let edges = (layer < self.layers.len()).then(|| self.layers.edges(layer))?;
        Some(edges.iter().map(|edge| edge.source).collect())
    }

    /// The instruction set that the network runs on.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let builder = Network::<f32>::builder(3).dense(4, Activation::Tanh);
    /// let network = builder.dense(1, Activation::Identity).build()?;
    /// assert!(network.isa().is_available());
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The seed of the initial weights: the one of the builder, or what came from the system without one. A
    /// trainer without a seed of its own takes it too, so that it fixes a whole training. Files hold it.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// // Trained from the same weights again, without a seed that was chosen.
    /// let builder = Network::<f32>::builder(3).dense(1, Activation::Identity);
    /// let network = builder.clone().build()?;
    /// let again = builder.seed(network.seed()).build()?;
    /// assert_eq!(again.predict(&[0.5; 3])?, network.predict(&[0.5; 3])?);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The number of parameters: weights and biases of all layers.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let builder = Network::<f32>::builder(3).dense(4, Activation::Tanh);
    /// let network = builder.dense(1, Activation::Identity).build()?;
    /// assert_eq!(network.parameter_count(), (3 + 1) * 4 + (4 + 1) * 1);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn parameter_count(&self) -> usize {
        self.layers.iter().map(Layer::parameter_count).sum()
    }

    /// The probability of each input to be left out in training, after the scaler.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let builder = Network::<f32>::builder(3).dense(4, Activation::Tanh);
    /// let network = builder.dense(1, Activation::Identity).build()?;
    /// assert_eq!(network.input_dropout(), 0.0);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn input_dropout(&self) -> f64 {
        self.input_dropout
    }

    /// Whether training leaves anything out.
    pub(crate) fn has_dropout(&self) -> bool {
        self.input_dropout > 0.0 || self.layers.iter().any(|layer| layer.dropout > 0.0)
    }

    pub(crate) fn last(&self) -> Layer {
        self.layers[self.layers.len() - 1]
    }

    /// One layer's parameters, in panels.
    pub(crate) fn layer_lines(&self, layer: usize) -> &[T::Line] {
        &self.parameters[self.layers[layer].lines()]
    }

    pub(crate) fn checked_layer(&self, layer: usize) -> Result<Layer, Error> {
        self.layer(layer).ok_or(Error::Layer { layer, layers: self.layers.len() })
    }
}

impl<T: Element> fmt::Debug for Network<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("layers", &self.layers)
            .field("isa", &self.isa)
            .finish_non_exhaustive()
    }
}
