//! How the tensors of a file that is imported are named and laid out.

use crate::files::TensorNames;

/// The layout of the weights of a dense layer in a file.
///
/// A square matrix does not show which it is. See [`ImportOptions::weight_layout`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightLayout {
    /// `[outputs, inputs]`, row-major, `y = x W^T + b`: PyTorch, and this crate.
    #[default]
    OutputsInputs,
    /// `[inputs, outputs]`, row-major, `y = x W + b`: JAX, Flax, Keras, TensorFlow, burn.
    InputsOutputs,
}

/// What [`Network::import`](crate::Network::import) goes by: names, and the layout of weights.
///
/// [`TensorNames`] alone stand for weights in PyTorch's layout.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, ImportOptions, Network, TensorNames, WeightLayout};
///
/// let mut network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
/// let bytes = { // a file whose weight is [[1, 2], [3, 4]]
/// #   network.write_parameters(&[1.0, 2.0, 3.0, 4.0, 0.0, 0.0])?;
/// #   network.to_bytes()?
/// # };
/// network.import_bytes(&bytes, TensorNames::Sequential)?;
/// assert_eq!(network.predict(&[1.0, 0.0])?, [1.0, 3.0]); // W^T, as in PyTorch
/// let keras = ImportOptions::new(TensorNames::Sequential).weight_layout(WeightLayout::InputsOutputs);
/// network.import_bytes(&bytes, keras)?;
/// assert_eq!(network.predict(&[1.0, 0.0])?, [1.0, 2.0]); // W
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportOptions<'a> {
    pub(super) names: TensorNames<'a>,
    pub(super) layout: WeightLayout,
}

impl<'a> ImportOptions<'a> {
    /// Tensors of these names, with weights as `[outputs, inputs]`.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{ImportOptions, TensorNames};
    ///
    /// let names = TensorNames::Prefix("model.");
    /// assert_eq!(ImportOptions::new(names), names.into());
    /// ```
    #[must_use]
    pub fn new(names: TensorNames<'a>) -> Self {
        Self { names, layout: WeightLayout::OutputsInputs }
    }

    /// The layout of all weights of dense layers. [`WeightLayout::OutputsInputs`] by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{ImportOptions, TensorNames, WeightLayout};
    ///
    /// let names = [("dense/kernel", "dense/bias"), ("dense_1/kernel", "dense_1/bias")];
    /// let keras = ImportOptions::new(TensorNames::List(&names)).weight_layout(WeightLayout::InputsOutputs);
    /// assert_ne!(keras, TensorNames::List(&names).into());
    /// ```
    #[must_use]
    pub fn weight_layout(mut self, layout: WeightLayout) -> Self {
        self.layout = layout;
        self
    }
}

impl<'a> From<TensorNames<'a>> for ImportOptions<'a> {
    fn from(names: TensorNames<'a>) -> Self {
        Self::new(names)
    }
}
