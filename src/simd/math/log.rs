//! The logarithm of `1 + t` and the softplus function.

use crate::simd::float_bits::is_f32;
use crate::simd::lanes::Arithmetic;
use crate::simd::math::exp;

/// `log(1 + t)` for `0 <= t <= 1`, within 3 ULP.
///
/// Computed as `2 artanh(t / (2 + t))`, whose series in the square of at most 1/9 needs no argument
/// reduction.
#[inline(always)]
pub(crate) fn ln_1p<L: Arithmetic>(l: L, t: L::Vector) -> L::Vector {
    let terms = const { if is_f32::<L::Element>() { 8 } else { 17 } };
    let s = l.div(t, l.add(t, l.constant(2.0)));
    let square = l.mul(s, s);
    let mut q = l.constant(1.0 / (2 * terms + 1) as f64);
    for k in (1..terms).rev() {
        q = l.mul_add(q, square, l.constant(1.0 / (2 * k + 1) as f64));
    }
    let twice = l.add(s, s);
    l.mul_add(l.mul(twice, square), q, twice)
}

/// `log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)`, within 4 ULP; NaN of NaN.
#[inline(always)]
pub(crate) fn softplus<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let zero = l.zero();
    l.add(l.max(zero, x), ln_1p(l, exp(l, l.sub(zero, l.abs(x)))))
}
