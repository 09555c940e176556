//! The sine and the cosine.

use crate::simd::float_bits::is_f32;
use crate::simd::lanes::Arithmetic;
use crate::simd::math::INVERSE_FACTORIAL;

/// `sin x`; bounds as for [`periodic`].
#[inline(always)]
pub(crate) fn sin<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    periodic(l, x, 0.0)
}

/// `cos x`; bounds as for [`periodic`].
#[inline(always)]
pub(crate) fn cos<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    periodic(l, x, 0.5)
}

/// `pi` in parts whose multiples by halves are exact up to 4,096 times (`f32`) or 500,000 times (`f64`), also
/// where a product is rounded (Cody and Waite 1980).
const PI_F32: &[f64] =
    &[3.140_625, 9.675_025_939_941_406e-4, 1.509_906_724_095_344_5e-7, 5.126_688_136_514_179e-12];
const PI_F64: &[f64] = &[3.141_592_653_468_251_2, 1.215_420_101_260_793_2e-10, 4.044_532_497_591_901e-21];

/// `sin x` if `phase` is 0, `cos x` if it is 1/2; NaN of NaN and of infinities.
///
/// The absolute error is at most 2 ULP of 1 up to `|x| = 12,000` in `f32` and a million in `f64`, and with
/// fused multiply-adds up to 10^6 and 10^15. Adjacent larger numbers are a large part of the period apart,
/// and `x` counts as 0.
#[inline(always)]
fn periodic<L: Arithmetic>(l: L, x: L::Vector, phase: f64) -> L::Vector {
    let single = const { is_f32::<L::Element>() };
    let (parts, limit, terms) = if single { (PI_F32, 1e6, 6) } else { (PI_F64, 1e15, 10) };
    let x = l.select(l.le(l.abs(x), l.constant(limit)), x, l.sub(x, x));
    // x = (n + phase) pi + r, |r| <= pi / 2.
    let n = l.round(l.sub(l.mul(x, l.constant(core::f64::consts::FRAC_1_PI)), l.constant(phase)));
    let shifted = l.add(n, l.constant(phase));
    let mut r = x;
    for &part in parts {
        r = l.neg_mul_add(shifted, l.constant(part), r);
    }
    let square = l.mul(r, r);
    let mut q = l.zero();
    for k in (1..=terms).rev() {
        let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
        q = l.mul_add(q, square, l.constant(sign * INVERSE_FACTORIAL[2 * k + 1]));
    }
    let sine = l.mul_add(l.mul(q, square), r, r);
    // An odd n flips the sign, and so does the phase: cos(r + pi / 2) = -sin r.
    let half = l.round(l.mul(n, l.constant(0.5)));
    let odd = l.abs(l.sub(n, l.add(half, half)));
    let signed = l.neg_mul_add(l.add(odd, odd), sine, sine);
    if phase == 0.0 { signed } else { l.sub(l.zero(), signed) }
}
