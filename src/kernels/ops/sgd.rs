//! Plain gradient descent.

use crate::simd::lanes::Lanes;

/// `w - rate g`.
#[inline(always)]
pub(crate) fn step<L: Lanes>(l: L, w: L::Vector, g: L::Vector, rate: L::Vector) -> L::Vector {
    l.neg_mul_add(rate, g, w)
}
