//! One activation: its name, formula and derivative, side by side.

use crate::error::Error;
use crate::simd::lanes::Arithmetic;
use crate::simd::scalar::Element;

/// A function of single elements, with its derivative.
///
/// Each formula is generic over [`Arithmetic`]: one vector, or several
/// [interleaved](crate::simd::interleaved). NaN gives NaN: of the larger and the smaller of two, the value
/// that must survive stands second.
pub(crate) trait Pointwise: Copy {
    /// The name in files.
    const NAME: &'static str;
    /// Whether the function is about 0 on one side and `z` on the other, for which He's initialisation is
    /// made.
    const RECTIFIES: bool = false;
    /// Whether the derivative is a function of the pre-activation `z`, because the output does not tell it.
    const NEEDS_PRE_ACTIVATION: bool = false;
    /// Whether there is anything to do element by element.
    const NEEDS_PASS: bool = true;
    /// Whether the value takes so many operations that several interleaved lines take less time.
    const LONG_VALUE: bool = false;
    /// Whether the derivative takes so many operations that several interleaved lines take less time.
    const LONG_DERIVATIVE: bool = false;

    /// `f(z)`.
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector;

    /// `d f'`, with `f'` from the pre-activation `z` if the function needs it, else from the output `y`.
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, from: A::Vector) -> A::Vector;

    /// # Errors
    /// [`Error::Setting`] for a setting that is out of range, or infinite in `T`.
    fn check<T: Element>(self) -> Result<(), Error> {
        Ok(())
    }
}
