//! The exponential function, its argument reduction and its series.

use crate::simd::lanes::Arithmetic;
use crate::simd::math::{INVERSE_FACTORIAL, looks_up, reduction};

/// `e^x`: infinite above the largest number, 0 below the smallest denormal number, NaN of NaN.
#[inline(always)]
pub(crate) fn exp<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let c = const { reduction::<L::Element>() };
    // NaN survives a comparison as the second operand.
    let x = l.max(l.constant(c.lowest), l.min(l.constant(c.highest), x));
    if const { looks_up::<L>() } {
        return exp_by_eighths(l, x);
    }
    let (n, e) = reduced_exp_m1(l, x);
    l.ldexp(l.add(e, l.constant(1.0)), n)
}

/// `e^x - 1` for `x <= 0`, within 2 ULP; NaN of NaN.
#[inline(always)]
pub(crate) fn exp_m1_negative<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let c = const { reduction::<L::Element>() };
    // The result rounds to -1 below it.
    let x = l.max(l.constant(-2.0 * c.tanh_saturation), x);
    let (n, e) = reduced_exp_m1(l, x);
    let power = l.exp2i(n);
    l.mul_add(power, e, l.sub(power, l.constant(1.0)))
}

/// `n` and `e^r - 1`, where `x = n ln 2 + r` and `|r| <= ln(2) / 2`.
#[inline(always)]
fn reduced_exp_m1<L: Arithmetic>(l: L, x: L::Vector) -> (L::Vector, L::Vector) {
    let (n, r) = reduce(l, x);
    (n, exp_m1_series(l, r))
}

/// `n` and `r`, where `x = n ln 2 + r` and `|r| <= ln(2) / 2`.
#[inline(always)]
pub(super) fn reduce<L: Arithmetic>(l: L, x: L::Vector) -> (L::Vector, L::Vector) {
    let c = const { reduction::<L::Element>() };
    let n = l.round(l.mul(x, l.constant(core::f64::consts::LOG2_E)));
    let r = l.neg_mul_add(n, l.constant(c.ln2_high), x);
    (n, l.neg_mul_add(n, l.constant(c.ln2_low), r))
}

/// `e^r - 1` for `|r| <= ln(2) / 2`.
#[inline(always)]
pub(super) fn exp_m1_series<L: Arithmetic>(l: L, r: L::Vector) -> L::Vector {
    let (square, q) = series_past_linear(l, r, 0);
    l.mul_add(square, q, r)
}

/// `r^2` and `(e^(f r) - 1 - f r) / (f r^2)`, where `f = 2^doublings` and `|f r| <= ln(2) / 2`.
///
/// `doublings` is 0 or 1.
#[inline(always)]
pub(super) fn series_past_linear<L: Arithmetic>(
    l: L,
    r: L::Vector,
    doublings: usize,
) -> (L::Vector, L::Vector) {
    let c = const { reduction::<L::Element>() };
    let square = l.mul(r, r);
    // Pairs of terms are independent of one another (Estrin 1960): 12 cycles of latency instead of 20.
    let mut k = c.terms;
    let mut q = pair(l, k, r, doublings);
    while k > 2 {
        k -= 2;
        q = l.mul_add(q, square, pair(l, k, r, doublings));
    }
    (square, q)
}

/// `f^(k - 1) / k! + r f^k / (k + 1)!`, where `f = 2^doublings`.
#[inline(always)]
fn pair<L: Arithmetic>(l: L, k: usize, r: L::Vector, doublings: usize) -> L::Vector {
    let power = |k: usize| (1_u64 << (doublings * k)) as f64;
    let (first, second) = (INVERSE_FACTORIAL[k] * power(k - 1), INVERSE_FACTORIAL[k + 1] * power(k));
    l.mul_add(l.constant(second), r, l.constant(first))
}

/// `2^(j/8)`, rounded to `f32`.
pub(crate) const POWERS_OF_EIGHTHS: [f32; 8] = {
    use core::f32::consts::SQRT_2;
    [1.0, 1.0905077, 1.1892071, 1.2968396, SQRT_2, 1.5422108, 1.6817929, 1.8340081]
};

/// `2^(-j/8)`, rounded to `f32`, and the relative rounding error.
#[rustfmt::skip]
pub(crate) const INVERSE_POWERS_OF_EIGHTHS: [[f32; 8]; 2] = {
    use core::f32::consts::FRAC_1_SQRT_2;
    [
        [1.0, 0.91700405, 0.8408964, 0.7711054, FRAC_1_SQRT_2, 0.6484198, 0.59460354, 0.5452539],
        [0.0, -6.1282597e-9, -1.4719606e-8, 5.233334e-9, 1.7114271e-8, -3.0990723e-8, 3.193418e-8,
            -1.19921575e-8],
    ]
};

/// `ln 2` rounded to `f32`. A fused multiply-add reduces `x` by its multiples without error.
pub(super) const LN_2_F32: f64 = 0.693_147_182_464_599_6;
/// The rounding error of [`LN_2_F32`]. It is so small that only the first term of a series needs it.
pub(super) const LN_2_LOST: f64 = core::f64::consts::LN_2 - LN_2_F32;

/// `c` and `d` of `(e^r - 1) / r = 1 + r/2 + c r^2 + d r^3` for `|r| <= ln(2) / 16`, with the precision of
/// `f32`.
///
/// They minimize the largest relative error, 2^-32, by weighted least squares.
pub(super) const EXP_M1_OVER: [f64; 2] = [0.166_680_26, 0.041_660_43];

/// `e^x = 2^n 2^(j/8) e^r` in `f32`, for `x` within the range of [`Reduction`](super::Reduction).
#[inline(always)]
fn exp_by_eighths<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let e = l.eighths(x, core::f64::consts::LOG2_E);
    let r = l.neg_mul_add(e.value, l.constant(LN_2_F32), x);
    let whole_r = l.neg_mul_add(e.value, l.constant(LN_2_LOST), r);
    // Horner's rule has the fewest operations, and successive exponentials are mostly independent.
    let [c, d] = EXP_M1_OVER;
    let q = l.mul_add(r, l.mul_add(r, l.constant(d), l.constant(c)), l.constant(0.5));
    let q = l.mul_add(r, q, l.constant(1.0));
    let power = l.lookup8(&e, &POWERS_OF_EIGHTHS);
    l.scale_by_floor(l.mul_add(l.mul(power, whole_r), q, power), &e)
}
