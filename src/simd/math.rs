//! Elementary functions over lanes: branch-free, the same bits in every lane and in every tail.
//!
//! Errors of the exponential, sigmoid and tanh are at most 2 units in the last place with fused
//! multiply-adds, denormal results included, and 4 on portable lanes without them. The others say theirs.

use crate::simd::float_bits::{biased_shift, lowest_exponent};
use crate::simd::lanes::{Arithmetic, Lanes};
use crate::simd::scalar::Element;
use crate::simd::scalar::Scalar;

/// How the arguments of exponentials are reduced in one element type.
struct Reduction {
    /// `ln 2` in two parts whose first has so many trailing zeros that `n ln 2` is exact in it for every exponent `n`
    /// (Cody and Waite 1980).
    ln2_high: f64,
    ln2_low: f64,
    /// Terms, an even number, of `(e^r - 1 - r) / r^2` that reach the working precision for `|r| <= ln(2) / 2`.
    terms: usize,
    /// Below it `e^x` rounds to 0.
    lowest: f64,
    /// Above it `e^x` is infinite.
    highest: f64,
    /// Above it `tanh x` rounds to 1.
    tanh_saturation: f64,
    /// Above it the sigmoid rounds to 1.
    sigmoid_saturation: f64,
}

const F32: Reduction = Reduction {
    ln2_high: 0.693_359_375,
    ln2_low: -2.121_944_400_546_905_8e-4,
    terms: 6,
    lowest: -104.0,
    highest: 89.0,
    tanh_saturation: 9.5,
    sigmoid_saturation: 30.0,
};

const F64: Reduction = Reduction {
    ln2_high: 0.693_147_180_369_123_8,
    ln2_low: 1.908_214_929_270_587_7e-10,
    terms: 12,
    lowest: -746.0,
    highest: 710.0,
    tanh_saturation: 20.0,
    sigmoid_saturation: 60.0,
};

/// `1 / k!`: Taylor's coefficients of the exponential and the sine.
const INVERSE_FACTORIAL: [f64; 22] = {
    let mut inverse = [1.0; 22];
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
fn reduced_exp_m1<L: Arithmetic>(l: L, x: L::Vector) -> (L::Vector, L::Vector) {
    let (n, r) = reduce(l, x);
    (n, exp_m1_series(l, r))
}

/// `n` and `r`, where `x = n ln 2 + r` and `|r| <= ln(2) / 2`.
#[inline(always)]
fn reduce<L: Arithmetic>(l: L, x: L::Vector) -> (L::Vector, L::Vector) {
    let c = const { reduction::<L::Element>() };
    let n = l.round(l.mul(x, l.constant(core::f64::consts::LOG2_E)));
    let r = l.neg_mul_add(n, l.constant(c.ln2_high), x);
    (n, l.neg_mul_add(n, l.constant(c.ln2_low), r))
}

/// `n`, the integer nearest to `x factor`, and `2^n`, or the smallest number of full precision if `2^n` is smaller.
///
/// Added to a number whose last bit is worth 1, the product is rounded to an integer, which stands in the last bits: `n`
/// with the bias of exponents, if that is in the number too.
#[inline(always)]
fn round_and_exp2<L: Arithmetic>(l: L, x: L::Vector, factor: f64) -> (L::Vector, L::Vector) {
    let shift = l.constant(const { biased_shift::<L::Element>() });
    let shifted = l.mul_add(x, l.constant(factor), shift);
    let lowest = l.constant(const { biased_shift::<L::Element>() + lowest_exponent::<L::Element>() });
    (l.sub(shifted, shift), l.power_from_low_bits(l.max(lowest, shifted)))
}

/// `e^r - 1` for `|r| <= ln(2) / 2`.
#[inline(always)]
fn exp_m1_series<L: Arithmetic>(l: L, r: L::Vector) -> L::Vector {
    let (square, q) = series_past_linear(l, r, 0);
    l.mul_add(square, q, r)
}

/// `r^2` and `(e^(f r) - 1 - f r) / (f r^2)` for `|f r| <= ln(2) / 2`, where `f` is 1 or, of one doubling, 2.
#[inline(always)]
fn series_past_linear<L: Arithmetic>(l: L, r: L::Vector, doublings: usize) -> (L::Vector, L::Vector) {
    let c = const { reduction::<L::Element>() };
    let square = l.mul(r, r);
    // In pairs of terms, whose sums do not wait for one another (Estrin 1960): 12 cycles instead of 20.
    let mut k = c.terms;
    let mut q = pair(l, k, r, doublings);
    while k > 2 {
        k -= 2;
        q = l.mul_add(q, square, pair(l, k, r, doublings));
    }
    (square, q)
}

/// `f^(k - 1) / k! + r f^k / (k + 1)!`.
#[inline(always)]
fn pair<L: Arithmetic>(l: L, k: usize, r: L::Vector, doublings: usize) -> L::Vector {
    let power = |k: usize| (1_u64 << (doublings * k)) as f64;
    let (first, second) = (INVERSE_FACTORIAL[k] * power(k - 1), INVERSE_FACTORIAL[k + 1] * power(k));
    l.mul_add(l.constant(second), r, l.constant(first))
}

/// `e^x`. Infinite past the largest number, 0 past the smallest denormal, NaN of NaN.
#[inline(always)]
pub fn exp<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let c = const { reduction::<L::Element>() };
    // NaN survives a comparison as the second operand.
    let x = l.max(l.constant(c.lowest), l.min(l.constant(c.highest), x));
    if const { looks_up::<L>() } {
        return exp_by_eighths(l, x);
    }
    let (n, e) = reduced_exp_m1(l, x);
    l.scale(l.add(e, l.constant(1.0)), n)
}

/// Whether constants are looked up: powers of two in eighths, as they lie, so that a series needs three terms instead of seven
/// (Tang 1989), and what tanh needs.
const fn looks_up<L: Arithmetic>() -> bool {
    L::Element::LANES == 16 && L::LOOKS_UP
}

/// `2^(j/8)`, rounded to `f32`.
pub const POWERS_OF_EIGHTHS: [f32; 8] = {
    use core::f32::consts::SQRT_2;
    [1.0, 1.0905077, 1.1892071, 1.2968396, SQRT_2, 1.5422108, 1.6817929, 1.8340081]
};
/// `2^(-j/8)`, rounded to `f32`, and the part of it that is lost.
#[rustfmt::skip]
pub const INVERSE_POWERS_OF_EIGHTHS: [[f32; 8]; 2] = {
    use core::f32::consts::FRAC_1_SQRT_2;
    [
        [1.0, 0.91700405, 0.8408964, 0.7711054, FRAC_1_SQRT_2, 0.6484198, 0.59460354, 0.5452539],
        [0.0, -6.1282597e-9, -1.4719606e-8, 5.233334e-9, 1.7114271e-8, -3.0990723e-8, 3.193418e-8, -1.19921575e-8],
    ]
};

/// `ln 2` rounded to `f32`, and what that lost. What a fused multiply-add leaves of `x` by multiples of the former is exact; the
/// latter is so little that only the first term of a series needs it.
const LN_2_F32: f64 = 0.693_147_182_464_599_6;
const LN_2_LOST: f64 = core::f64::consts::LN_2 - LN_2_F32;

/// `(e^r - 1) / r = 1 + r/2 + c r^2 + d r^3` for `|r| <= ln(2) / 16`, with the precision of `f32`: `c` and `d`, of least squares of
/// relative errors with weights that make the largest as small as can be, 2^-32.
const EXP_M1_OVER: [f64; 2] = [0.166_680_26, 0.041_660_43];

/// `e^x = 2^n 2^(j/8) e^r` for `x` of no more than [`Reduction`]'s range, in `f32`.
#[inline(always)]
fn exp_by_eighths<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let e = l.eighths(x, core::f64::consts::LOG2_E);
    let r = l.neg_mul_add(e.value, l.constant(LN_2_F32), x);
    let whole_r = l.neg_mul_add(e.value, l.constant(LN_2_LOST), r);
    // By Horner's rule, for exponentials seldom wait for one another.
    let [c, d] = EXP_M1_OVER;
    let q = l.mul_add(r, l.mul_add(r, l.constant(d), l.constant(c)), l.constant(0.5));
    let q = l.mul_add(r, q, l.constant(1.0));
    let power = l.by_eighth(&e, &POWERS_OF_EIGHTHS);
    l.scale_by_floor(l.mul_add(l.mul(power, whole_r), q, power), &e)
}

/// `tanh x`. NaN of NaN.
///
/// Within 1.6 units in the last place in `f32` by looking up, otherwise 2 with fused multiply-adds and 2.5 without.
#[inline(always)]
pub fn tanh<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let c = const { reduction::<L::Element>() };
    let a = l.min(l.constant(c.tanh_saturation), l.abs(x));
    l.flip_sign(if const { looks_up::<L>() } { tanh_by_sum(l, a) } else { tanh_by_exponential(l, a) }, x)
}

/// `tanh (c + t) = y + (1 - y^2) t / (t coth t + y t)` for `0 <= c + t <= 9.5`, with the precision of `f32`, where `y = tanh c` is
/// a number of `f32` to a thousandth of its last bit, and `t` is exact.
///
/// Near 0, where `y` is 0, this is `t / (t coth t)`, with the roundings of the division and the divisor alone.
#[inline(always)]
fn tanh_by_sum<L: Arithmetic>(l: L, a: L::Vector) -> L::Vector {
    let nearest = l.eighths(a, TANH_CENTERS / 8.0);
    let [centers, values, slopes] = &TANH;
    let t = l.sub(a, l.by_eighth(&nearest, centers));
    let y = l.by_eighth(&nearest, values);
    let square = l.mul(t, t);
    let [k, k_2, k_4, k_6] = T_COTH_T;
    // By Horner's rule: one multiplication less than in pairs, and lines abreast hide its wait.
    let q = l.mul_add(square, l.constant(k_6), l.constant(k_4));
    let q = l.mul_add(square, q, l.constant(k_2));
    let q = l.mul_add(square, q, l.constant(k));
    let divisor = l.mul_add(square, q, l.mul_add(y, t, l.constant(1.0)));
    l.mul_add(l.by_eighth(&nearest, slopes), l.div(t, divisor), y)
}

/// How many of [`TANH`]'s `c` there are for 1. For 9.5, where tanh is 1, they are less than seven and a half, so that the last
/// is looked up there, not the first.
const TANH_CENTERS: f64 = 0.788;
const _: () = assert!(F32.tanh_saturation * TANH_CENTERS < 7.5);

/// `c`, `y = tanh c` and `1 - y^2` of [`tanh_by_sum`], the latter also near numbers of `f32` where that matters.
#[rustfmt::skip]
const TANH: [[f32; 8]; 3] = [
    [0.0, 1.2695079,   2.5382261,   3.7996712,     5.0701137,     6.346974,     7.624619,     8.66434],
    [0.0, 0.8536642,   0.9875934,  0.99899894,     0.9999211,   0.99999386,    0.9999995,  0.99999994],
    [1.0, 0.2712574, 0.024659252, 0.002001118, 0.00015782687, 1.2278515e-5, 9.536738e-7, 1.1920922e-7],
];

/// `(t coth t - 1) / t^2` in powers of `t^2`, for `|t| <= 0.65`, of least squares of relative errors of `t coth t` with weights that
/// make the largest as small as can be (Lawson 1961), 2^-30. Past the last `c`, where `t` goes on to 0.84, 2^-21 is enough.
const T_COTH_T: [f64; 4] = [0.333_333_28, -0.022_221_109, 0.002_108_653_3, -0.000_190_202_67];

/// `tanh a = (e^2a - 1) / (e^2a + 1)` for `a >= 0`.
///
/// With `a = n ln(2) / 2 + s` both halves, `(e^2a -+ 1) / 2 = 2^n (e^2s - 1) / 2 + (2^n -+ 1) / 2`, come without
/// cancellation, for `n` is 0 for small `a`, and with what their roundings lost.
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
    quotient(l, (numerator, numerator_low), (denominator, denominator_low))
}

/// `(e^2s - 1) / 2` for `|s| <= ln(2) / 4`.
#[inline(always)]
fn half_exp_m1_of_twice<L: Arithmetic>(l: L, s: L::Vector) -> L::Vector {
    let (square, q) = series_past_linear(l, s, 1);
    l.mul_add(square, q, s)
}

/// `1 / (1 + e^-x)`, within 1.6 units in the last place in `f32` by looking up, 1.3 otherwise. NaN of NaN.
///
/// Where 0 and 1 are nearest they are selected at the end: to limit `x` at the start would take longer, for all that follows
/// waits for it.
#[inline(always)]
pub fn sigmoid<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    sigmoid_by(
        l,
        x,
        #[inline(always)]
        |a, b| l.div(a, b),
    )
}

/// [`sigmoid`] in the first half of lanes; garbage in the others.
#[inline(always)]
pub fn sigmoid_of_first_half<L: Lanes>(l: L, x: L::Vector) -> L::Vector {
    sigmoid_by(
        l,
        x,
        #[inline(always)]
        |a, b| l.div_first_half(a, b),
    )
}

/// [`sigmoid`] by the given division.
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

/// `2^n / (2^n + 2^(-j/8) e^-r)`, where `x = (n + j/8) ln 2 + r`, in `f32`: so nothing overflows, and the numerator is
/// exact, but for 2^-150, which becomes 0. Denormal results are rounded once, by the division.
///
/// Of what waits for what, both ways to the denominator are equally long: that through the sum of both powers, which comes with
/// what its rounding lost, and that through the series.
#[inline(always)]
fn sigmoid_by_eighths<L: Arithmetic>(
    l: L,
    x: L::Vector,
    div: impl FnOnce(L::Vector, L::Vector) -> L::Vector,
) -> L::Vector {
    let e = l.eighths(x, core::f64::consts::LOG2_E);
    let r = l.neg_mul_add(e.value, l.constant(LN_2_F32), x);
    let [inverses, lost] = &INVERSE_POWERS_OF_EIGHTHS;
    let inverse = l.by_eighth(&e, inverses);
    let whole_r = l.sub(r, l.mul_add(e.value, l.constant(LN_2_LOST), l.by_eighth(&e, lost)));
    let power = l.exp2_floor(&e);
    let (whole, whole_low) = sum(l, l.max(power, inverse), l.min(power, inverse));
    let [c, d] = EXP_M1_OVER;
    let first = l.neg_mul_add(r, l.constant(0.5), l.constant(1.0));
    let q = l.mul_add(l.mul(r, r), l.neg_mul_add(r, l.constant(d), l.constant(c)), first);
    let rest = l.neg_mul_add(l.mul(inverse, whole_r), q, whole_low);
    div(l.scale_by_floor(l.constant(1.0), &e), l.add(whole, rest))
}

/// `2^n / (2^n + e^r)`, where `x = n ln 2 - r`.
///
/// The denominator comes with what its roundings lost, and its inverse is corrected by the remainder.
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
    // 2^n + 1 + r + (e^r - 1 - r), and what each sum lost. Of a power whose last bit is worth more than 1 the lost 1 is not
    // found: it is less than half a unit then.
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
    let scaled = l.scale(inverse, n);
    l.mul_add(scaled, remainder, scaled)
}

/// `large + small` and what its rounding lost, for `large >= small >= 0` (Dekker 1971).
#[inline(always)]
fn sum<L: Arithmetic>(l: L, large: L::Vector, small: L::Vector) -> (L::Vector, L::Vector) {
    let sum = l.add(large, small);
    (sum, l.sub(small, l.sub(sum, large)))
}

/// The quotient of two numbers that are each given with what their rounding lost.
///
/// One step of correction by the remainder, which a fused multiply-add gives exactly: without it three
/// roundings, of numerator, denominator and quotient, add up to more than two units in the last place.
#[inline(always)]
fn quotient<L: Arithmetic>(
    l: L,
    (numerator, numerator_low): (L::Vector, L::Vector),
    (denominator, denominator_low): (L::Vector, L::Vector),
) -> L::Vector {
    let reciprocal = l.div(l.constant(1.0), denominator);
    let quotient = l.mul(numerator, reciprocal);
    let remainder = l.neg_mul_add(quotient, denominator, numerator);
    let remainder = l.add(remainder, l.neg_mul_add(quotient, denominator_low, numerator_low));
    l.mul_add(remainder, reciprocal, quotient)
}

/// `e^x - 1` for `x <= 0`, within 2 units in the last place. NaN of NaN.
#[inline(always)]
pub fn exp_m1_negative<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let c = const { reduction::<L::Element>() };
    // -1 to the last bit from there on.
    let x = l.max(l.constant(-2.0 * c.tanh_saturation), x);
    let (n, e) = reduced_exp_m1(l, x);
    let power = l.exp2i(n);
    l.mul_add(power, e, l.sub(power, l.constant(1.0)))
}

/// `log(1 + t)` for `0 <= t <= 1`, within 3 units in the last place.
///
/// `2 artanh(t / (2 + t))`, whose series in the square of at most 1/9 needs no reduction.
#[inline(always)]
pub fn log_p1<L: Arithmetic>(l: L, t: L::Vector) -> L::Vector {
    let terms = const { if L::Element::LANES == 16 { 8 } else { 17 } };
    let s = l.div(t, l.add(t, l.constant(2.0)));
    let square = l.mul(s, s);
    let mut q = l.constant(1.0 / (2 * terms + 1) as f64);
    for k in (1..terms).rev() {
        q = l.mul_add(q, square, l.constant(1.0 / (2 * k + 1) as f64));
    }
    let twice = l.add(s, s);
    l.mul_add(l.mul(twice, square), q, twice)
}

/// `log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)`, within 4 units in the last place. NaN of NaN.
#[inline(always)]
pub fn softplus<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let zero = l.zero();
    l.add(l.max(zero, x), log_p1(l, exp(l, l.sub(zero, l.abs(x)))))
}

/// `pi` in parts whose multiples by halves are exact up to 4,096 times (`f32`) or 500,000 times (`f64`) even where a
/// product is rounded (Cody and Waite 1980).
const PI_F32: &[f64] =
    &[3.140_625, 9.675_025_939_941_406e-4, 1.509_906_724_095_344_5e-7, 5.126_688_136_514_179e-12];
const PI_F64: &[f64] = &[3.141_592_653_468_251_2, 1.215_420_101_260_793_2e-10, 4.044_532_497_591_901e-21];

/// `sin x` and, with a quarter turn, `cos x`. NaN of NaN and of infinities.
///
/// Within 2 units in the last place of 1 up to `|x| = 12,000` in `f32` and a million in `f64`, and with fused
/// multiply-adds up to 10^6 and 10^15. Past that neighbouring numbers lie far apart on the circle, and `x` counts
/// as 0.
#[inline(always)]
fn periodic<L: Arithmetic>(l: L, x: L::Vector, quarter: f64) -> L::Vector {
    let single = const { L::Element::LANES == 16 };
    let (parts, limit, terms) = if single { (PI_F32, 1e6, 6) } else { (PI_F64, 1e15, 10) };
    let x = l.select(l.le(l.abs(x), l.constant(limit)), x, l.sub(x, x));
    // x = (n + quarter) pi + r, |r| <= pi / 2.
    let n = l.round(l.sub(l.mul(x, l.constant(core::f64::consts::FRAC_1_PI)), l.constant(quarter)));
    let shifted = l.add(n, l.constant(quarter));
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
    // Odd multiples of pi turn the sign, and so does the quarter: cos(r + pi / 2) = -sin r.
    let half = l.round(l.mul(n, l.constant(0.5)));
    let odd = l.abs(l.sub(n, l.add(half, half)));
    let turned = l.neg_mul_add(l.add(odd, odd), sine, sine);
    if quarter == 0.0 { turned } else { l.sub(l.zero(), turned) }
}

/// See [`periodic`].
#[inline(always)]
pub fn sin<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    periodic(l, x, 0.0)
}

/// See [`periodic`].
#[inline(always)]
pub fn cos<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    periodic(l, x, 0.5)
}

/// Mills' ratio of the normal distribution over `sqrt(2 pi)`, `e^(a^2/2) P(Z > a)`, for `0 <= a`, times `a + shift`:
/// a polynomial in `(a - shift) / (a + shift)`, by Chebyshev interpolation in 60 digits. Relative errors are
/// 2^-26 up to 15 and 2^-56 up to 39, past which `e^(-a^2/2)` is 0.
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

/// `1 / sqrt(2 pi)`.
const DENSITY_AT_0: f64 = 0.398_942_280_401_432_7;

/// `e^(-x^2/2)` and `e^(x^2/2) P(Z > |x|)` of a standard normal `Z`.
#[inline(always)]
fn normal<L: Arithmetic>(l: L, x: L::Vector) -> (L::Vector, L::Vector) {
    if const { L::Element::LANES == 16 } { normal_by(l, x, &TAIL_F32) } else { normal_by(l, x, &TAIL_F64) }
}

#[inline(always)]
fn normal_by<L: Arithmetic, const N: usize>(l: L, x: L::Vector, tail: &Tail<N>) -> (L::Vector, L::Vector) {
    let a = l.min(l.constant(tail.highest), l.abs(x));
    let shift = l.constant(tail.shift);
    let (shifted, shifted_low) = sum(l, l.max(a, shift), l.min(a, shift));
    let inverse = l.div(l.constant(1.0), shifted);
    let u = divide(l, l.sub(a, shift), shifted, inverse);
    let mut slope = l.constant(tail.coefficients[N - 1]);
    for k in (1..N - 1).rev() {
        slope = l.mul_add(slope, u, l.constant(tail.coefficients[k]));
    }
    // The last step with what its rounding, and that of its constant, lost: else it would be a unit of the quotient.
    let first = tail.coefficients[0];
    let head = l.constant(first);
    let top = l.mul_add(slope, u, head);
    let lost = l.constant(first - L::Element::from_f64(first).to_f64());
    let low = l.add(l.mul_add(slope, u, l.sub(head, top)), lost);
    let ratio = l.mul(top, inverse);
    let rest = l.add(l.neg_mul_add(ratio, shifted, top), l.neg_mul_add(ratio, shifted_low, low));
    let ratio = l.mul_add(rest, inverse, ratio);
    // What the rounding of a^2 changed would be multiplied by a^2: it is put back where it is small.
    let (half, square) = (l.constant(0.5), l.mul(a, a));
    let (n, r) = reduce(l, l.sub(l.zero(), l.mul(half, square)));
    let r = l.mul_add(half, l.neg_mul_add(a, a, square), r);
    (l.scale(l.add(exp_m1_series(l, r), l.constant(1.0)), n), ratio)
}

/// `numerator / denominator` rounded once, by an approximate inverse: the remainder is put back.
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

/// `x P(Z <= x)` of a standard normal `Z`, the Gaussian error linear unit, within 4 units in the last place
/// with fused multiply-adds. Without them the error grows as `x^2 / 2` for negative `x`. NaN of NaN.
#[inline(always)]
pub fn gelu<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let (density, ratio) = normal(l, x);
    // The small factor comes last, so that only the result is denormal.
    let left = l.mul(l.mul(x, ratio), density);
    let right = l.mul(x, l.neg_mul_add(ratio, density, l.constant(1.0)));
    let outside = l.select(l.lt(x, l.zero()), left, right);
    let center = l.mul(x, l.mul_add(x, center_slope(l, x), l.constant(0.5)));
    l.select(l.le(l.abs(x), l.constant(1.0)), center, outside)
}

/// `(P(Z <= x) - 1/2) / x` for `|x| <= 1`, by Taylor's series: `sum_k (-x^2/2)^k / (k! (2k + 1)) / sqrt(2 pi)`.
#[inline(always)]
fn center_slope<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let terms = const { if L::Element::LANES == 16 { 8 } else { 15 } };
    let power = l.mul(l.mul(x, x), l.constant(-0.5));
    let mut sum = l.zero();
    for k in (0..=terms).rev() {
        sum = l.mul_add(sum, power, l.constant(DENSITY_AT_0 * INVERSE_FACTORIAL[k] / (2 * k + 1) as f64));
    }
    sum
}

/// The derivative of [`gelu`]: `P(Z <= x) + x phi(x)`.
#[inline(always)]
pub fn gelu_derivative<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let (density, ratio) = normal(l, x);
    let tail = l.mul(ratio, density);
    let below = l.select(l.lt(x, l.zero()), tail, l.sub(l.constant(1.0), tail));
    let a = l.min(l.constant(40.0), l.max(l.constant(-40.0), x));
    l.mul_add(l.mul(a, l.constant(DENSITY_AT_0)), density, below)
}

/// `2 sqrt(2/pi) (x + 0.044715 x^3)` and its derivative: the exponent of the usual approximation of [`gelu`],
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

/// `x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))`.
#[inline(always)]
pub fn gelu_tanh<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    l.mul(x, sigmoid(l, gelu_tanh_exponent(l, x).0))
}

/// The derivative of [`gelu_tanh`].
#[inline(always)]
pub fn gelu_tanh_derivative<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let (u, d_u) = gelu_tanh_exponent(l, x);
    let y = sigmoid(l, u);
    let x = l.min(l.constant(100.0), l.max(l.constant(-100.0), x));
    l.mul_add(l.mul(x, d_u), l.neg_mul_add(y, y, y), y)
}

/// The derivative of `x sigmoid(x)`.
#[inline(always)]
pub fn silu_derivative<L: Arithmetic>(l: L, x: L::Vector) -> L::Vector {
    let y = sigmoid(l, x);
    let x = l.min(l.constant(1e3), l.max(l.constant(-1e3), x));
    l.mul_add(x, l.neg_mul_add(y, y, y), y)
}
