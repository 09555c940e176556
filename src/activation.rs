//! What a layer does with its sums.

use crate::element::Element;
use crate::error::Error;
use crate::kernels::Isa;

/// The activation function of a layer, applied to each of its sums `z = x W + b`.
///
/// Formulas and defaults are PyTorch's. The derivative is taken from the output `y`, so that sums need
/// not be kept.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// `y = z`, derivative 1.
    Identity,
    /// The logistic function `y = 1 / (1 + exp(-z))`, derivative `y (1 - y)`. At most 2 ULP from exact.
    Sigmoid,
    /// The hyperbolic tangent `y = tanh z`, derivative `1 - y^2`. At most 2 ULP from exact.
    Tanh,
    /// `y = max(z, 0)`, derivative 1 for `z > 0`, else 0 (Nair and Hinton 2010).
    Relu,
    /// `y = z` for `z > 0`, else `slope z`; derivative 1 or `slope` (Maas, Hannun and Ng 2013). The slope
    /// must be at least 0, so that the output shows the side.
    LeakyRelu(f64),
    /// `y_i = exp z_i / sum_j exp z_j` over the layer's outputs: probabilities of classes.
    ///
    /// For the last layer only. Trained with [`Loss::SoftmaxCrossEntropy`](crate::Loss), the loss takes the
    /// sums beneath, as if the layer were [`Activation::Identity`]: softmax is not applied twice.
    Softmax,
}

impl Activation {
    /// Replaces every value by its image, with the fastest instruction set at hand. [`Activation::Softmax`]
    /// takes the values as one row.
    ///
    /// The bits are those that a network's layer gives.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range; the values are untouched then.
    ///
    /// ```
    /// use fuseprop::Activation;
    ///
    /// let mut logits = [1.0_f32, 2.0, 3.0];
    /// Activation::Softmax.apply(&mut logits)?;
    /// assert!((logits.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn apply<T: Element>(self, values: &mut [T]) -> Result<(), Error> {
        self.apply_with(Isa::detect(), values)
    }

    /// [`Activation::apply`] with an instruction set of one's choosing.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range, [`Error::Isa`] for an instruction set that is not here;
    /// the values are untouched then.
    pub fn apply_with<T: Element>(self, isa: Isa, values: &mut [T]) -> Result<(), Error> {
        self.check()?;
        T::kernels(isa).ok_or(Error::Isa { isa })?.activate(values, self);
        Ok(())
    }

    /// The setting that is out of range, if one is.
    pub(crate) fn check(self) -> Result<(), Error> {
        match self {
            Self::LeakyRelu(slope) if !(slope >= 0.0 && slope.is_finite()) => {
                Err(Error::Setting { what: "the slope of a leaky ReLU", value: slope })
            }
            _ => Ok(()),
        }
    }

    /// Whether the derivative is 1 or a constant on each side of 0, for which He's initialisation is made.
    pub(crate) fn is_rectifier(self) -> bool {
        matches!(self, Self::Relu | Self::LeakyRelu(_))
    }
}
