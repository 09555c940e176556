//! The hyperbolic tangent, the logistic sigmoid and the derivative of SiLU.

use crate::simd::float_bits::{biased_shift, lowest_exponent};
use crate::simd::lanes::{Arithmetic, Lanes};
use crate::simd::math::exp::{
    EXP_M1_OVER, INVERSE_POWERS_OF_EIGHTHS, LN_2_F32, LN_2_LOST, series_past_linear,
};
use crate::simd::math::{DoubleWord, F32, fast_two_sum, looks_up, reduction};

/// `tanh x`; NaN of NaN.
///
/// Within 1.6 ULP in `f32` by table lookup, otherwise 2 with fused multiply-adds and 2.5 without.
#[inline(always)]
pub(crate) fn tanh<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let c = const { reduction::<L::Element>() };
    let a = l.min(l.constant(c.tanh_saturation), l.abs(x));
    l.flip_sign(if const { looks_up::<L>() } { tanh_by_sum(l, a) } else { tanh_by_exponential(l, a) }, x)
}

/// `tanh (c + t) = y + (1 - y^2) t / (t coth t + y t)` for `0 <= c + t <= 9.5`, with the precision of `f32`.
///
/// `y = tanh c` is a number of `f32` to a thousandth of its last bit, and `t` is exact. Near 0, where `y` is
/// 0, this is `t / (t coth t)`, with the roundings of the division and of the divisor alone.
#[inline(always)]
fn tanh_by_sum<L: Arithmetic>(l: L, a: L::Vector) -> L::Vector {
    let nearest = l.eighths(a, TANH_CENTERS / 8.0);
    let [centers, values, slopes] = &TANH;
    let t = l.sub(a, l.lookup8(&nearest, centers));
    let y = l.lookup8(&nearest, values);
    let square = l.mul(t, t);
    let [k, k_2, k_4, k_6] = T_COTH_T;
    // Horner's rule has one multiplication less than pairs of terms, and interleaved lines hide its latency.
    let q = l.mul_add(square, l.constant(k_6), l.constant(k_4));
    let q = l.mul_add(square, q, l.constant(k_2));
    let q = l.mul_add(square, q, l.constant(k));
    let divisor = l.mul_add(square, q, l.mul_add(y, t, l.constant(1.0)));
    l.mul_add(l.lookup8(&nearest, slopes), l.div(t, divisor), y)
}

/// Centers `c` of [`TANH`] per unit of `x`.
///
/// At 9.5, where tanh is 1, the index is below 7.5, so it rounds to the last center and does not wrap to the
/// first.
const TANH_CENTERS: f64 = 0.788;
const _: () = assert!(F32.tanh_saturation * TANH_CENTERS < 7.5);

/// `c`, `y = tanh c` and `1 - y^2` of [`tanh_by_sum`].
///
/// The centers are chosen so that `y`, and where it matters `1 - y^2`, are close to numbers of `f32`.
#[rustfmt::skip]
const TANH: [[f32; 8]; 3] = [
    [0.0, 1.2695079,   2.5382261,   3.7996712,     5.0701137,     6.346974,     7.624619,     8.66434],
    [0.0, 0.8536642,   0.9875934,  0.99899894,     0.9999211,   0.99999386,    0.9999995,  0.99999994],
    [1.0, 0.2712574, 0.024659252, 0.002001118, 0.00015782687, 1.2278515e-5, 9.536738e-7, 1.1920922e-7],
];

/// Coefficients of `(t coth t - 1) / t^2` in powers of `t^2`, for `|t| <= 0.65`.
///
/// They minimize the largest relative error of `t coth t`, 2^-30, by weighted least squares (Lawson 1961).
/// Past the last center `|t|` reaches 0.84, and 2^-21 suffices.
const T_COTH_T: [f64; 4] = [0.333_333_28, -0.022_221_109, 0.002_108_653_3, -0.000_190_202_67];

/// `tanh a = (e^2a - 1) / (e^2a + 1)` for `a >= 0`.
///
/// With `a = n ln(2) / 2 + s`, numerator and denominator are
/// `(e^2a -+ 1) / 2 = 2^n (e^2s - 1) / 2 + (2^n -+ 1) / 2`.
/// The numerator has no cancellation, since `n` is 0 for small `a`. Both carry their rounding errors.
#[inline(always)]
fn tanh_by_exponential<L: Arithmetic>(l: L, a: L::Vector) -> L::Vector {
    let c = const { reduction::<L::Element>() };
    let (half, one) = (l.constant(0.5), l.constant(1.0));
    let (n, power) = round_and_exp2(l, a, 2.0 * core::f64::consts::LOG2_E);
    let s = l.neg_mul_add(n, l.constant(0.5 * c.ln2_high), a);
    let s = l.neg_mul_add(n, l.constant(0.5 * c.ln2_low), s);
    let e = half_exp_m1_of_twice(l, s);
    let minus_half = l.mul_add(power, half, l.constant(-0.5));
    let numerator = l.mul_add(power, e, minus_half);
    let numerator_low = l.mul_add(power, e, l.sub(minus_half, numerator));
    let plus_half = l.add(minus_half, one);
    let denominator = l.mul_add(power, e, plus_half);
    let denominator_low = l.mul_add(power, e, l.sub(plus_half, denominator));
    let denominator_low = l.add(denominator_low, l.sub(one, l.sub(plus_half, minus_half)));
    quotient(
        l,
        DoubleWord { high: numerator, low: numerator_low },
        DoubleWord { high: denominator, low: denominator_low },
    )
}

/// `n`, the integer nearest to `x factor`, and `2^n`, or the smallest normal number if `2^n` is smaller.
///
/// The sum of the product and a number whose last bit is worth 1 is rounded to an integer, which stands in
/// the last bits. That number also holds the bias of exponents, so the last bits are the exponent field of
/// `2^n`.
#[inline(always)]
fn round_and_exp2<L: Arithmetic>(l: L, x: L::Vector, factor: f64) -> (L::Vector, L::Vector) {
    let shift = l.constant(const { biased_shift::<L::Element>() });
    let shifted = l.mul_add(x, l.constant(factor), shift);
    let lowest = l.constant(const { biased_shift::<L::Element>() + lowest_exponent::<L::Element>() });
    (l.sub(shifted, shift), l.power_from_low_bits(l.max(lowest, shifted)))
}

/// `(e^2s - 1) / 2` for `|s| <= ln(2) / 4`.
#[inline(always)]
fn half_exp_m1_of_twice<L: Arithmetic>(l: L, s: L::Vector) -> L::Vector {
    let (square, q) = series_past_linear(l, s, 1);
    l.mul_add(square, q, s)
}

/// The quotient of two double-word numbers, rounded to one word.
///
/// One step of correction by the remainder, which a fused multiply-add computes exactly. Without it the
/// roundings of numerator, denominator and quotient add up to more than 2 ULP.
#[inline(always)]
fn quotient<L: Arithmetic>(
    l: L,
    numerator: DoubleWord<L::Vector>,
    denominator: DoubleWord<L::Vector>,
) -> L::Vector {
    let reciprocal = l.div(l.constant(1.0), denominator.high);
    let quotient = l.mul(numerator.high, reciprocal);
    let remainder = l.neg_mul_add(quotient, denominator.high, numerator.high);
    let remainder = l.add(remainder, l.neg_mul_add(quotient, denominator.low, numerator.low));
    l.mul_add(remainder, reciprocal, quotient)
}

/// `1 / (1 + e^-x)`, within 1.6 ULP in `f32` by table lookup, 1.3 otherwise; NaN of NaN.
///
/// 0 and 1 are selected at the end for large `|x|`. Clamping `x` at the start takes longer, since everything
/// depends on it.
#[inline(always)]
pub(crate) fn sigmoid<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    sigmoid_by(
        l,
        x,
        #[inline(always)]
        |a, b| l.div(a, b),
    )
}

/// [`sigmoid`] in the first half of lanes; garbage in the others.
#[inline(always)]
pub(crate) fn sigmoid_of_first_half<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    sigmoid_by(
        l,
        x,
        #[inline(always)]
        |a, b| l.div_first_half(a, b),
    )
}

/// [`sigmoid`] with the given division.
#[inline(always)]
fn sigmoid_by<L: Arithmetic>(
    l: L,
    x: L::Vector,
    div: impl FnOnce(L::Vector, L::Vector) -> L::Vector,
) -> L::Vector {
    let c = const { reduction::<L::Element>() };
    let y =
        if const { looks_up::<L>() } { sigmoid_by_eighths(l, x, div) } else { sigmoid_by_series(l, x, div) };
    let y = l.select(l.lt(x, l.constant(c.lowest)), l.zero(), y);
    l.select(l.lt(l.constant(c.sigmoid_saturation), x), l.constant(1.0), y)
}

/// `2^n / (2^n + 2^(-j/8) e^-r)` in `f32`, where `x = (n + j/8) ln 2 + r`.
///
/// Nothing overflows. The numerator is exact except for 2^-150, which becomes 0. The division rounds denormal
/// results once. The two dependency chains into the denominator are equally long: the sum of both powers with
/// its rounding error, and the series.
#[inline(always)]
fn sigmoid_by_eighths<L: Arithmetic>(
    l: L,
    x: L::Vector,
    div: impl FnOnce(L::Vector, L::Vector) -> L::Vector,
) -> L::Vector {
    let e = l.eighths(x, core::f64::consts::LOG2_E);
    let r = l.neg_mul_add(e.value, l.constant(LN_2_F32), x);
    let [inverses, lost] = &INVERSE_POWERS_OF_EIGHTHS;
    let inverse = l.lookup8(&e, inverses);
    let whole_r = l.sub(r, l.mul_add(e.value, l.constant(LN_2_LOST), l.lookup8(&e, lost)));
    let power = l.exp2_floor(&e);
    let whole = fast_two_sum(l, l.max(power, inverse), l.min(power, inverse));
    let [c, d] = EXP_M1_OVER;
    let first = l.neg_mul_add(r, l.constant(0.5), l.constant(1.0));
    let q = l.mul_add(l.mul(r, r), l.neg_mul_add(r, l.constant(d), l.constant(c)), first);
    let rest = l.neg_mul_add(l.mul(inverse, whole_r), q, whole.low);
    div(l.scale_by_floor(l.constant(1.0), &e), l.add(whole.high, rest))
}

/// `2^n / (2^n + e^r)`, where `x = n ln 2 - r`.
///
/// The denominator carries its rounding errors, and the remainder corrects its inverse.
#[inline(always)]
fn sigmoid_by_series<L: Arithmetic>(
    l: L,
    x: L::Vector,
    div: impl FnOnce(L::Vector, L::Vector) -> L::Vector,
) -> L::Vector {
    let c = const { reduction::<L::Element>() };
    let one = l.constant(1.0);
    let (n, power) = round_and_exp2(l, x, core::f64::consts::LOG2_E);
    let r = l.mul_add(n, l.constant(c.ln2_high), l.sub(l.zero(), x));
    let r = l.mul_add(n, l.constant(c.ln2_low), r);
    // The denominator is 2^n + 1 + r + (e^r - 1 - r), with the rounding error of each sum. Where the last bit
    // of 2^n is worth more than 1, the error of 2^n + 1 is not found: it is less than half a unit.
    let whole = l.add(power, one);
    let whole_low = l.sub(power, l.sub(whole, one));
    let start = l.add(whole, r);
    let start_low = l.sub(r, l.sub(start, whole));
    let (square, q) = series_past_linear(l, r, 0);
    let denominator = l.mul_add(square, q, start);
    let low = l.mul_add(square, q, l.sub(start, denominator));
    let low = l.add(low, l.add(start_low, whole_low));
    let inverse = div(one, denominator);
    let remainder = l.sub(l.neg_mul_add(inverse, denominator, one), l.mul(inverse, low));
    let scaled = l.ldexp(inverse, n);
    l.mul_add(scaled, remainder, scaled)
}

/// The derivative of SiLU, `x sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu_derivative<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let y = sigmoid(l, x);
    let x = l.min(l.constant(1e3), l.max(l.constant(-1e3), x));
    l.mul_add(x, l.neg_mul_add(y, y, y), y)
}
