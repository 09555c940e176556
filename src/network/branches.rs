//! What makes a network more than a chain: residual blocks, concatenations, heads.
//!
//! Each is a method of the builder that appends a layer without parameters, which joins what its sources put
//! out, after the layers of its blocks. All of them can stand inside another.

use core::fmt;

use crate::error::{Argument, Error};
use crate::kernels::ops::activation::Activation;
use crate::network::builder::NetworkBuilder;
use crate::network::graph::Source;
use crate::network::layer_kind::LayerKind;
use crate::simd::scalar::Element;

/// Some layers that follow one another: the network itself, or what one of its layers joins.
#[derive(Clone, Debug)]
pub(super) struct Block {
    /// The block that it is in.
    pub(super) parent: usize,
    /// What PyTorch calls it, in the module of the layer that joins it: `block`, or `heads.1`.
    pub(super) name: String,
    pub(super) first_layer: usize,
}

impl Block {
    pub(super) const NETWORK: Self = Self { parent: 0, name: String::new(), first_layer: 0 };
}

impl<T: Element> NetworkBuilder<T> {
    /// Appends a residual block: `y = x + f(x)`, with `x` the features so far, and `f` the layers that
    /// `block` appends (He et al. 2016). They must put out as many features as they read. The sum is a
    /// layer of its own, [`LayerKind::Sum`], to which settings that follow belong:
    /// [`NetworkBuilder::activation`] and [`NetworkBuilder::dropout`].
    ///
    /// Settings at the start of the block, before its first layer, are refused.
    /// [`NetworkBuilder::build`] returns [`Error::Length`] where sizes differ.
    ///
    /// # Examples
    ///
    /// A block of SimBa (Lee et al. 2024): layer norm, a wide layer, back, and the input added.
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(17)
    ///     .dense(128, Activation::Identity)
    ///     .residual(|block| {
    ///         block
    ///             .layer_norm(Activation::Identity)
    ///             .dense(512, Activation::Relu)
    ///             .dense(128, Activation::Identity)
    ///     })
    ///     .layer_norm(Activation::Identity)
    ///     .dense(6, Activation::Identity)
    ///     .build()?;
    /// assert_eq!(network.layer_count(), 7);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn residual(self, block: impl FnOnce(Self) -> Self) -> Self {
        let x = self.last_source;
        let mut builder = self.within("block".to_owned(), block);
        let sources = vec![x, builder.last_source];
        builder.last_source = x;
        builder.push(LayerKind::Sum, None, sources)
    }

    /// Appends a concatenation: what `sources` put out, side by side, is what the next layer reads.
    /// `torch.cat` of features. It is a layer of its own, [`LayerKind::Concat`].
    ///
    /// Layers are counted from 0 as they are appended, the layers of blocks, sums and concatenations among
    /// them; only layers that are there already can be read. [`NetworkBuilder::build`] returns
    /// [`Error::Layer`] for others, [`Error::Zero`] for no source.
    ///
    /// # Examples
    ///
    /// A network of NeRF reads its inputs once more (Mildenhall et al. 2020):
    ///
    /// ```
    /// use fuseprop::{Activation, Network, Source};
    ///
    /// let network = Network::<f32>::builder(63)
    ///     .dense(256, Activation::Relu)
    ///     .dense(256, Activation::Relu)
    ///     .concat([Source::Input, Source::Layer(1)])
    ///     .dense(256, Activation::Relu)
    ///     .dense(4, Activation::Identity)
    ///     .build()?;
    /// assert_eq!(network.layer(3).unwrap().inputs(), 63 + 256);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn concat(mut self, sources: impl IntoIterator<Item = Source>) -> Self {
        let sources: Vec<Source> = sources.into_iter().collect();
        if sources.is_empty() {
            self.refuse(Error::Zero { argument: Argument::SourceCount });
        }
        self.push(LayerKind::Concat, None, sources)
    }

    /// Appends several heads: each is a block of layers that reads the features so far, and the outputs of
    /// the network are those of all heads, side by side in their order. No layer can follow.
    ///
    /// Each head has an activation of its own, softmax too. Inside a block, where other layers follow, the
    /// blocks are branches: what they put out is concatenated ([`LayerKind::Concat`]).
    /// [`NetworkBuilder::build`] returns [`Error::Zero`] for no head, [`Error::Unused`] for a layer after
    /// the heads.
    ///
    /// # Examples
    ///
    /// An actor and a critic on one trunk, as in PPO (Schulman et al. 2017):
    ///
    /// ```
    /// use fuseprop::{Activation, Head, Network};
    ///
    /// let network = Network::<f32>::builder(4)
    ///     .dense(64, Activation::Tanh)
    ///     .heads([
    ///         Head::new(|head| head.dense(64, Activation::Tanh).dense(2, Activation::Softmax)),
    ///         Head::dense(1, Activation::Identity),
    ///     ])
    ///     .build()?;
    /// let y = network.predict(&[0.1, 0.2, 0.3, 0.4])?;
    /// let (policy, value) = (&y[..2], y[2]);
    /// assert!((policy[0] + policy[1] - 1.0).abs() < 1e-6 && value.is_finite());
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn heads<'a>(self, heads: impl IntoIterator<Item = Head<'a, T>>) -> Self
    where
        T: 'a,
    {
        let (trunk, mut builder, mut sources) = (self.last_source, self, Vec::new());
        for (number, head) in heads.into_iter().enumerate() {
            builder = builder.within(format!("heads.{number}"), head.block);
            sources.push(builder.last_source);
            builder.last_source = trunk;
        }
        if sources.is_empty() {
            builder.refuse(Error::Zero { argument: Argument::HeadCount });
        }
        let kind = if builder.block == 0 { LayerKind::Heads } else { LayerKind::Concat };
        builder.push(kind, None, sources)
    }

    /// Appends the layers of a block.
    fn within(mut self, name: String, block: impl FnOnce(Self) -> Self) -> Self {
        let (parent, number) = (self.block, self.blocks.len());
        self.block = number;
        self.blocks.push(Block { parent, name, first_layer: self.layers.len() });
        let mut builder = block(self);
        if builder.block != number || builder.blocks.len() <= number {
            builder.misplace(Argument::OtherBuilder, Argument::Block);
            builder.blocks.truncate(1);
            builder.layers.iter_mut().for_each(|layer| layer.block = 0);
        }
        builder.block = parent.min(builder.blocks.len() - 1);
        builder
    }
}

/// A head of a network: a block of layers that ends in some of its outputs. See [`NetworkBuilder::heads`].
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Head, Network};
///
/// // The value and the advantages of a duelling network.
/// let heads = [
///     Head::new(|head| head.dense(32, Activation::Relu).dense(1, Activation::Identity)),
///     Head::new(|head| head.dense(32, Activation::Relu).dense(6, Activation::Identity)),
/// ];
/// let network = Network::<f32>::builder(8).dense(64, Activation::Relu).heads(heads).build()?;
/// assert_eq!(network.outputs(), 1 + 6);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub struct Head<'a, T: Element> {
    block: Box<dyn FnOnce(NetworkBuilder<T>) -> NetworkBuilder<T> + 'a>,
}

impl<'a, T: Element> Head<'a, T> {
    /// A head of the layers that `block` appends.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Head, Network};
    ///
    /// let head = Head::new(|head| head.layer_norm(Activation::Relu).dense(2, Activation::Identity));
    /// let network = Network::<f32>::builder(8).dense(16, Activation::Identity).heads([head]).build()?;
    /// assert_eq!(network.outputs(), 2);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn new(block: impl FnOnce(NetworkBuilder<T>) -> NetworkBuilder<T> + 'a) -> Self {
        Self { block: Box::new(block) }
    }

    /// A head of one dense layer.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Head, Network};
    ///
    /// let heads = [Head::dense(3, Activation::Softmax), Head::dense(1, Activation::Tanh)];
    /// let network = Network::<f32>::builder(8).dense(16, Activation::Relu).heads(heads).build()?;
    /// assert_eq!(network.outputs(), 3 + 1);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn dense(outputs: usize, activation: Activation) -> Self {
        Self::new(move |head| head.dense(outputs, activation))
    }
}

impl<T: Element> fmt::Debug for Head<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").finish_non_exhaustive()
    }
}
