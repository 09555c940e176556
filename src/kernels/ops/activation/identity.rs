//! Activations that change no element by itself: the identity, and softmax, which takes whole rows.

use crate::kernels::ops::activation::pointwise::Pointwise;
use crate::simd::lanes::Arithmetic;

/// `y = z`.
#[derive(Clone, Copy)]
pub(super) struct Identity;

impl Pointwise for Identity {
    const NAME: &'static str = "identity";
    const NEEDS_PASS: bool = false;

    #[inline(always)]
    fn value<A: Arithmetic>(self, _: A, z: A::Vector) -> A::Vector {
        z
    }

    #[inline(always)]
    fn derivative<A: Arithmetic>(self, _: A, d: A::Vector, _: A::Vector) -> A::Vector {
        d
    }
}

/// Left to [`softmax`](crate::kernels::ops::softmax): element by element nothing is done.
#[derive(Clone, Copy)]
pub(super) struct Softmax;

impl Pointwise for Softmax {
    const NAME: &'static str = "softmax";
    const NEEDS_PASS: bool = false;

    #[inline(always)]
    fn value<A: Arithmetic>(self, _: A, z: A::Vector) -> A::Vector {
        z
    }

    #[inline(always)]
    fn derivative<A: Arithmetic>(self, _: A, d: A::Vector, _: A::Vector) -> A::Vector {
        d
    }
}
