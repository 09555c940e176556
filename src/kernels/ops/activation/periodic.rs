//! Periodic activations.

use crate::error::{Argument, Error};
use crate::kernels::ops::activation::pointwise::Pointwise;
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::Arithmetic;
use crate::simd::math;
use crate::simd::scalar::Element;

/// `sin(frequency z)`.
#[derive(Clone, Copy)]
pub(super) struct Sine {
    pub frequency: f64,
}

impl Pointwise for Sine {
    const NAME: &'static str = "sine";
    const NEEDS_PRE_ACTIVATION: bool = true;
    const LONG_VALUE: bool = true;
    const LONG_DERIVATIVE: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        math::sin(l, l.mul(l.constant(self.frequency), z))
    }

    /// `d frequency cos(frequency z)`.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, z: A::Vector) -> A::Vector {
        let frequency = l.constant(self.frequency);
        l.mul(d, l.mul(frequency, math::cos(l, l.mul(frequency, z))))
    }

    fn check<T: Element>(self) -> Result<(), Error> {
        check_setting::<T>(Argument::SineFrequency, self.frequency, self.frequency > 0.0)
    }
}
