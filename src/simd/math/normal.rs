//! The normal distribution: GELU, its approximation by tanh, and their derivatives.

use crate::simd::float_bits::is_f32;
use crate::simd::lanes::Arithmetic;
use crate::simd::math::exp::{exp_m1_series, reduce};
use crate::simd::math::{INVERSE_FACTORIAL, fast_two_sum, sigmoid};
use crate::simd::scalar::Element;

/// GELU, `x P(Z <= x)` of a standard normal `Z`; NaN of NaN.
///
/// Within 4 ULP with fused multiply-adds. Without them the error grows as `x^2 / 2` for negative `x`.
#[inline(always)]
pub(crate) fn gelu<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let (density, ratio) = normal(l, x);
    // The small factor comes last, so that only the result is denormal.
    let left = l.mul(l.mul(x, ratio), density);
    let right = l.mul(x, l.neg_mul_add(ratio, density, l.constant(1.0)));
    let outside = l.select(l.lt(x, l.zero()), left, right);
    let center = l.mul(x, l.mul_add(x, center_slope(l, x), l.constant(0.5)));
    l.select(l.le(l.abs(x), l.constant(1.0)), center, outside)
}

/// The derivative of [`gelu`]: `P(Z <= x) + x phi(x)`.
#[inline(always)]
pub(crate) fn gelu_derivative<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let (density, ratio) = normal(l, x);
    let tail = l.mul(ratio, density);
    let below = l.select(l.lt(x, l.zero()), tail, l.sub(l.constant(1.0), tail));
    let a = l.min(l.constant(40.0), l.max(l.constant(-40.0), x));
    l.mul_add(l.mul(a, l.constant(DENSITY_AT_0)), density, below)
}

/// The usual approximation of [`gelu`]: `x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))`.
#[inline(always)]
pub(crate) fn gelu_tanh<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    l.mul(x, sigmoid(l, gelu_tanh_exponent(l, x).0))
}

/// The derivative of [`gelu_tanh`].
#[inline(always)]
pub(crate) fn gelu_tanh_derivative<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let (u, d_u) = gelu_tanh_exponent(l, x);
    let y = sigmoid(l, u);
    let x = l.min(l.constant(100.0), l.max(l.constant(-100.0), x));
    l.mul_add(l.mul(x, d_u), l.neg_mul_add(y, y, y), y)
}

/// The exponent of [`gelu_tanh`], `u = 2 sqrt(2/pi) (x + 0.044715 x^3)`, and its derivative.
///
/// `x sigmoid(u) = x/2 (1 + tanh(u/2))`.
#[inline(always)]
fn gelu_tanh_exponent<L: Arithmetic>(l: L, x: L::Vector) -> (L::Vector, L::Vector) {
    const LINEAR: f64 = 1.595_769_121_605_730_7;
    const CUBIC: f64 = 0.044_715 * LINEAR;
    // Past 100 the sigmoid is 0 or 1, and the cube must not overflow.
    let x = l.min(l.constant(100.0), l.max(l.constant(-100.0), x));
    let square = l.mul(x, x);
    let u = l.mul(x, l.mul_add(square, l.constant(CUBIC), l.constant(LINEAR)));
    (u, l.mul_add(square, l.constant(3.0 * CUBIC), l.constant(LINEAR)))
}

/// `1 / sqrt(2 pi)`.
const DENSITY_AT_0: f64 = 0.398_942_280_401_432_7;

/// `(P(Z <= x) - 1/2) / x` for `|x| <= 1`, by the Taylor series
/// `sum_k (-x^2/2)^k / (k! (2k + 1)) / sqrt(2 pi)`.
#[inline(always)]
fn center_slope<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let terms = const { if is_f32::<L::Element>() { 8 } else { 15 } };
    let power = l.mul(l.mul(x, x), l.constant(-0.5));
    let mut sum = l.zero();
    for k in (0..=terms).rev() {
        sum = l.mul_add(sum, power, l.constant(DENSITY_AT_0 * INVERSE_FACTORIAL[k] / (2 * k + 1) as f64));
    }
    sum
}

/// `e^(-x^2/2)` and the scaled tail `e^(x^2/2) P(Z > |x|)` of a standard normal `Z`.
#[inline(always)]
fn normal<L: Arithmetic>(l: L, x: L::Vector) -> (L::Vector, L::Vector) {
    if const { is_f32::<L::Element>() } { normal_by(l, x, &TAIL_F32) } else { normal_by(l, x, &TAIL_F64) }
}

/// [`normal`] with the polynomial of an element type.
#[inline(always)]
fn normal_by<L: Arithmetic, const N: usize>(l: L, x: L::Vector, tail: &Tail<N>) -> (L::Vector, L::Vector) {
    let a = l.min(l.constant(tail.highest), l.abs(x));
    let shift = l.constant(tail.shift);
    let shifted = fast_two_sum(l, l.max(a, shift), l.min(a, shift));
    let inverse = l.div(l.constant(1.0), shifted.high);
    let u = divide(l, l.sub(a, shift), shifted.high, inverse);
    let mut slope = l.constant(tail.coefficients[N - 1]);
    for k in (1..N - 1).rev() {
        slope = l.mul_add(slope, u, l.constant(tail.coefficients[k]));
    }
    // The last step keeps its rounding error and that of its constant: together they are a unit of the
    // quotient.
    let first = tail.coefficients[0];
    let head = l.constant(first);
    let top = l.mul_add(slope, u, head);
    let lost = l.constant(first - L::Element::from_f64(first).to_f64());
    let low = l.add(l.mul_add(slope, u, l.sub(head, top)), lost);
    let ratio = l.mul(top, inverse);
    let rest = l.add(l.neg_mul_add(ratio, shifted.high, top), l.neg_mul_add(ratio, shifted.low, low));
    let ratio = l.mul_add(rest, inverse, ratio);
    // The rounding error of a^2 would be multiplied by a^2. It is added to the reduced argument, which is
    // small.
    let (half, square) = (l.constant(0.5), l.mul(a, a));
    let (n, r) = reduce(l, l.sub(l.zero(), l.mul(half, square)));
    let r = l.mul_add(half, l.neg_mul_add(a, a, square), r);
    (l.ldexp(l.add(exp_m1_series(l, r), l.constant(1.0)), n), ratio)
}

/// `numerator / denominator` from an approximate `inverse`, corrected by the remainder.
#[inline(always)]
fn divide<L: Arithmetic>(
    l: L,
    numerator: L::Vector,
    denominator: L::Vector,
    inverse: L::Vector,
) -> L::Vector {
    let quotient = l.mul(numerator, inverse);
    l.mul_add(l.neg_mul_add(quotient, denominator, numerator), inverse, quotient)
}

/// A polynomial in `(a - shift) / (a + shift)` for `(a + shift) e^(a^2/2) P(Z > a)`, where
/// `0 <= a <= highest`.
///
/// `e^(a^2/2) P(Z > a)` is Mills' ratio of the normal distribution over `sqrt(2 pi)`. The coefficients come
/// from Chebyshev interpolation in 60 digits. Relative errors are 2^-26 up to 15 and 2^-56 up to 39; above,
/// `e^(-a^2/2)` is 0.
struct Tail<const N: usize> {
    shift: f64,
    highest: f64,
    coefficients: [f64; N],
}

const TAIL_F32: Tail<10> = Tail {
    shift: 4.0,
    highest: 15.0,
    coefficients: [
        0.755285138596193,
        -0.6078965941450818,
        0.38713668307040544,
        -0.18652330675776782,
        0.06040618551429179,
        -0.007525402418208545,
        -0.003520972823986374,
        0.0015668816877809047,
        0.00018899651942026397,
        -0.0001255583856022561,
    ],
};

const TAIL_F64: Tail<23> = Tail {
    shift: 6.0,
    highest: 39.0,
    coefficients: [
        0.7773517718933622,
        -0.7010090295908655,
        0.5689688918147829,
        -0.4139035857755929,
        0.2679742458416971,
        -0.15268023206441028,
        0.07517191566812548,
        -0.030985315509016793,
        0.010029820648351936,
        -0.002131605195723298,
        3.2869980622442494e-5,
        0.00018136032488251668,
        -6.475191429322486e-5,
        1.0759772542319458e-6,
        6.796409416958435e-6,
        -1.800686073929392e-6,
        -4.3030600972602457e-7,
        3.1187244991295677e-7,
        9.45572690337117e-9,
        -4.434552970785575e-8,
        -1.34456172912233e-10,
        5.237636606010233e-9,
        8.876840802023829e-10,
    ],
};
