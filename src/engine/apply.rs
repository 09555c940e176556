//! Activations by themselves, applied to a slice of the caller without a network.

use crate::engine::dispatch::engine;
use crate::error::Error;
use crate::kernels::ops::activation::Activation;
use crate::simd::isa::Isa;
use crate::simd::scalar::Element;

impl Activation {
    /// Replaces every value `z` by `f(z)`, with the fastest available instruction set.
    /// [`Activation::Softmax`] takes the values as one row.
    ///
    /// The bits are the same as in a network's layer.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range. The values are unchanged then.
    ///
    /// # Examples
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

    /// [`Activation::apply`] with an instruction set of the caller's choice.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range, [`Error::Isa`] for an instruction set that this CPU or
    /// build does not support. The values are unchanged then.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Isa};
    ///
    /// for isa in Isa::available() {
    ///     let mut values = [-1.0_f64, 0.0, 2.0];
    ///     Activation::Relu.apply_with(isa, &mut values)?;
    ///     assert_eq!(values, [0.0, 0.0, 2.0], "{isa}");
    /// }
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn apply_with<T: Element>(self, isa: Isa, values: &mut [T]) -> Result<(), Error> {
        self.check::<T>()?;
        engine::<T>(isa).ok_or(Error::Isa { isa })?.activate(values, self);
        Ok(())
    }
}
