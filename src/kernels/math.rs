//! Elementary functions over lanes: branch-free, the same bits in every lane and in every tail.
//!
//! Errors are at most 2 units in the last place with fused multiply-adds, denormal results included.
//! Portable lanes without them stay within 4.

use super::lanes::Lanes;
use crate::element::Sealed as Element;

/// `log2 e`, and `ln 2` in two parts whose first has so many trailing zeros that `n ln 2` is exact in it
/// for every exponent `n` (Cody and Waite 1980).
struct Reduction {
    ln2_high: f64,
    ln2_low: f64,
    /// Terms of `(e^r - 1 - r) / r^2` that reach the working precision for `|r| <= ln(2) / 2`.
    terms: usize,
    /// Below it `e^x` rounds to 0.
    lowest: f64,
    /// Above it `e^x` is infinite.
    highest: f64,
    /// Above it `tanh x` rounds to 1.
    tanh_saturation: f64,
}

const F32: Reduction = Reduction {
    ln2_high: 0.693_359_375,
    ln2_low: -2.121_944_400_546_905_8e-4,
    terms: 6,
    lowest: -104.0,
    highest: 89.0,
    tanh_saturation: 9.5,
};

const F64: Reduction = Reduction {
    ln2_high: 0.693_147_180_369_123_8,
    ln2_low: 1.908_214_929_270_587_7e-10,
    terms: 12,
    lowest: -746.0,
    highest: 710.0,
    tanh_saturation: 20.0,
};

/// `1 / k!`: Taylor's coefficients of the exponential.
const INVERSE_FACTORIAL: [f64; 15] = {
    let mut inverse = [1.0; 15];
    let (mut k, mut factorial) = (1, 1.0);
    while k < inverse.len() {
        factorial *= k as f64;
        inverse[k] = 1.0 / factorial;
        k += 1;
    }
    inverse
};

const fn reduction<T: Element>() -> &'static Reduction {
    if T::LANES == 16 { &F32 } else { &F64 }
}

/// `n` and `e^r - 1`, where `x = n ln 2 + r` and `|r| <= ln(2) / 2`.
#[inline(always)]
fn reduced_exp_m1<L: Lanes>(l: L, x: L::Vector) -> (L::Vector, L::Vector) {
    let c = const { reduction::<L::Element>() };
    let n = l.round(l.mul(x, l.constant(core::f64::consts::LOG2_E)));
    let r = l.neg_mul_add(n, l.constant(c.ln2_high), x);
    let r = l.neg_mul_add(n, l.constant(c.ln2_low), r);
    let mut q = l.constant(INVERSE_FACTORIAL[c.terms + 1]);
    let mut k = c.terms;
    while k >= 2 {
        q = l.mul_add(q, r, l.constant(INVERSE_FACTORIAL[k]));
        k -= 1;
    }
    (n, l.mul_add(l.mul(r, r), q, r))
}

/// `e^x`. Infinite past the largest number, 0 past the smallest denormal, NaN of NaN.
#[inline(always)]
pub fn exp<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    let c = const { reduction::<L::Element>() };
    // NaN survives a comparison as the second operand.
    let x = l.max(l.constant(c.lowest), l.min(l.constant(c.highest), x));
    let (n, e) = reduced_exp_m1(l, x);
    l.scale(l.add(e, l.constant(1.0)), n)
}

/// `tanh x = (e^2|x| - 1) / (e^2|x| + 1)`, with the sign of `x`. NaN of NaN.
///
/// `e^2|x| - 1 = 2^n (e^r - 1) + (2^n - 1)` has no cancellation: `n` is 0 for small `x`.
#[inline(always)]
pub fn tanh<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    let c = const { reduction::<L::Element>() };
    let (one, two) = (l.constant(1.0), l.constant(2.0));
    let a = l.min(l.constant(c.tanh_saturation), l.abs(x));
    let (n, e) = reduced_exp_m1(l, l.add(a, a));
    let power = l.exp2i(n);
    let whole = l.sub(power, one);
    let numerator = l.mul_add(power, e, whole);
    let numerator_low = l.mul_add(power, e, l.sub(whole, numerator));
    let denominator = sum(l, l.max(numerator, two), l.min(numerator, two));
    l.flip_sign(quotient(l, (numerator, numerator_low), denominator), x)
}

/// `1 / (1 + e^-x)`, as `e^-|x| / (1 + e^-|x|)` for negative `x`, which neither overflows nor loses the
/// denormals. NaN of NaN.
#[inline(always)]
pub fn sigmoid<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    let (zero, one) = (l.zero(), l.constant(1.0));
    let e = exp(l, l.sub(zero, l.abs(x)));
    let numerator = l.select(l.lt(x, zero), e, one);
    quotient(l, (numerator, zero), sum(l, one, e))
}

/// `large + small` and what its rounding lost, for `large >= small >= 0` (Dekker 1971).
#[inline(always)]
fn sum<L: Lanes>(l: L, large: L::Vector, small: L::Vector) -> (L::Vector, L::Vector) {
    let sum = l.add(large, small);
    (sum, l.sub(small, l.sub(sum, large)))
}

/// The quotient of two numbers that are each given with what their rounding lost.
///
/// One step of correction by the remainder, which a fused multiply-add gives exactly: without it three
/// roundings, of numerator, denominator and quotient, add up to more than two units in the last place.
#[inline(always)]
fn quotient<L: Lanes>(
    l: L,
    (numerator, numerator_low): (L::Vector, L::Vector),
    (denominator, denominator_low): (L::Vector, L::Vector),
) -> L::Vector {
    let reciprocal = l.div(l.constant(1.0), denominator);
    let quotient = l.mul(numerator, reciprocal);
    let remainder = l.add(l.neg_mul_add(quotient, denominator, numerator), numerator_low);
    let remainder = l.neg_mul_add(quotient, denominator_low, remainder);
    l.mul_add(remainder, reciprocal, quotient)
}
