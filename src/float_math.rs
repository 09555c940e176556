//! Logarithm, exponential, sine, cosine and integer powers of `f64`, with the same bits on every system.
//!
//! The standard library leaves `f64::ln`, `sin_cos`, `powf` and `powi` to the platform's C library or to the
//! compiler, and each rounds in its own way. These functions use `+`, `-`, `*` and `/` alone, which IEEE 754
//! defines to the last bit. They run in the order of the source, and Rust never contracts them to fused
//! multiply-adds.
//!
//! The series are Taylor's. Minimax polynomials would save two or three terms of ten, but their coefficients
//! cannot be checked by eye.

/// The upper 42 bits of `ln 2`, whose product with an exponent of 11 bits is exact, and the next 53.
const LN_2: (f64, f64) = (0.693_147_180_559_890_3, 5.497_923_018_708_371e-14);

/// Natural logarithm, within 1 ULP.
///
/// `ln 0` is minus infinity, `ln inf` is infinity. The logarithm of a negative number or of NaN is NaN.
///
/// `x = 2^k (1 + f)` with `1 + f` from `sqrt(1/2)` to `sqrt(2)`, and `ln(1 + f) = 2 artanh(s)` with
/// `s = f / (2 + f)`, summed as `f - (f^2 / 2 - s (f^2 / 2 + R))` so that the largest term is exact:
/// FreeBSD's
/// `e_log.c` (Sun Microsystems 1993), with Taylor's `R`. As `s^2 < 0.0295`, the terms left out are below
/// `2^-60` of the result.
#[inline(always)]
pub(crate) fn ln(x: f64) -> f64 {
    /// `2 / (2 k + 1)`: the series of `(2 artanh(s) - 2 s) / s` in powers of `s^2`, from the first.
    const ARTANH: [f64; 10] = [
        2.0 / 3.0,
        2.0 / 5.0,
        2.0 / 7.0,
        2.0 / 9.0,
        2.0 / 11.0,
        2.0 / 13.0,
        2.0 / 15.0,
        2.0 / 17.0,
        2.0 / 19.0,
        2.0 / 21.0,
    ];
    const TWO_POW_54: f64 = (1_u64 << 54) as f64;

    if !(x > 0.0 && x < f64::INFINITY) {
        return match x {
            0.0 => f64::NEG_INFINITY,
            x if x < 0.0 => f64::NAN,
            x => x,
        };
    }
    let (normal, scaled) = if x < f64::MIN_POSITIVE { (x * TWO_POW_54, 54) } else { (x, 0) };
    let exponent = (normal.to_bits() as i64 - core::f64::consts::FRAC_1_SQRT_2.to_bits() as i64) >> 52;
    let f = f64::from_bits((normal.to_bits() as i64 - (exponent << 52)) as u64) - 1.0;
    let k = (exponent - scaled) as f64;

    let half_square = 0.5 * f * f;
    let s = f / (2.0 + f);
    let square = s * s;
    let r = square * polynomial(square, &ARTANH);
    k * LN_2.0 - ((half_square - (s * (half_square + r) + k * LN_2.1)) - f)
}

/// `e^x`, within 1 ULP of a normal result; denormal results are rounded once more.
///
/// `x = k ln 2 + r` with `r` at most `ln 2 / 2` in magnitude, the product with the upper bits of `ln 2` exact
/// (Cody and Waite 1980), and Taylor's series of `e^r`, whose terms left out are below `2^-57`.
pub(crate) fn exp(x: f64) -> f64 {
    /// `1 / n!` from `n = 2` on.
    const TAYLOR: [f64; 12] = [
        1.0 / 2.0,
        1.0 / 6.0,
        1.0 / 24.0,
        1.0 / 120.0,
        1.0 / 720.0,
        1.0 / 5_040.0,
        1.0 / 40_320.0,
        1.0 / 362_880.0,
        1.0 / 3_628_800.0,
        1.0 / 39_916_800.0,
        1.0 / 479_001_600.0,
        1.0 / 6_227_020_800.0,
    ];
    /// Beyond it `e^x` is 0 or infinite.
    const LIMIT: f64 = 750.0;

    if x.is_nan() || x.abs() > LIMIT {
        return match x {
            x if x > LIMIT => f64::INFINITY,
            x if x < -LIMIT => 0.0,
            x => x,
        };
    }
    let k = (x * core::f64::consts::LOG2_E + 0.5f64.copysign(x)) as i64;
    let high = x - k as f64 * LN_2.0;
    let low = k as f64 * LN_2.1;
    let r = high - low;
    // What the difference lost.
    let lost = (high - r) - low;
    let near_1 = 1.0 + (r + (lost + r * r * polynomial(r, &TAYLOR)));
    // In two parts, of which neither leaves the range of normal numbers.
    let two_to = |n: i64| f64::from_bits(((1023 + n) as u64) << 52);
    near_1 * two_to(k / 2) * two_to(k - k / 2)
}

/// Sine and cosine of an angle in `[0, 2 pi]`, each within 1 ULP.
///
/// The nearest multiple of `pi / 2` is taken off in three parts, of which the first two have exact products
/// with 0 to 4 (Cody and Waite 1980), so that the rest keeps 53 bits where a sine or a cosine is next to 0.
/// Of the rest, at most `pi / 4`, Taylor's series leave out less than `2^-58` of the result.
pub(crate) fn sin_cos(angle: f64) -> (f64, f64) {
    /// `pi / 2`: 50 bits (the last three of the nearest `f64` are 0), the next 50, and the next 53.
    const FRAC_PI_2: [f64; 3] =
        [core::f64::consts::FRAC_PI_2, 6.123_233_995_736_757e-17, 8.478_427_660_368_9e-32];

    debug_assert!((0.0..=2.0 * core::f64::consts::PI).contains(&angle), "{angle} is not in [0, 2 pi]");
    let quarter = (angle * core::f64::consts::FRAC_2_PI + 0.5) as u8;
    let n = f64::from(quarter);
    let (middle, taken) = (angle - n * FRAC_PI_2[0], n * FRAC_PI_2[1]);
    let rest = middle - taken;
    // What the difference lost: the two-sum of Knuth 1997, section 4.2.2, theorem B.
    let added_back = rest + taken;
    let lost = (middle - added_back) - (taken - (added_back - rest));
    let (sin, cos) = sin_cos_of_rest(rest, lost - n * FRAC_PI_2[2]);
    match quarter % 4 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// Sine and cosine of `x + low`, where `x` is at most `pi / 4` in magnitude and `low` at most half an ULP of
/// it.
fn sin_cos_of_rest(x: f64, low: f64) -> (f64, f64) {
    /// `(sin(x) - x) / x^3` in powers of `x^2`.
    const SIN: [f64; 8] = [
        -1.0 / 6.0,
        1.0 / 120.0,
        -1.0 / 5_040.0,
        1.0 / 362_880.0,
        -1.0 / 39_916_800.0,
        1.0 / 6_227_020_800.0,
        -1.0 / 1_307_674_368_000.0,
        1.0 / 355_687_428_096_000.0,
    ];
    /// `(cos(x) - 1 + x^2 / 2) / x^4` in powers of `x^2`.
    const COS: [f64; 7] = [
        1.0 / 24.0,
        -1.0 / 720.0,
        1.0 / 40_320.0,
        -1.0 / 3_628_800.0,
        1.0 / 479_001_600.0,
        -1.0 / 87_178_291_200.0,
        1.0 / 20_922_789_888_000.0,
    ];

    let square = x * x;
    let half_square = 0.5 * square;
    let sin = x + (x * square * polynomial(square, &SIN) + low * (1.0 - half_square));
    let high = 1.0 - half_square;
    let lost = (1.0 - high) - half_square;
    let cos = high + (lost + (square * square * polynomial(square, &COS) - x * low));
    (sin, cos)
}

/// `base^n` by squaring: within `n - 1` roundings of the exact power, as many as `n - 1` products one after
/// the other.
///
/// [`Adam`](crate::Optimizer::adam) computes two for each block of parameters in each step: arithmetic in
/// twice the precision, which would leave one rounding of many, takes some ten times as long.
#[inline(always)]
pub(crate) fn power(mut base: f64, mut n: u64) -> f64 {
    let mut result = 1.0;
    while n > 0 {
        if n & 1 == 1 {
            result *= base;
        }
        base *= base;
        n >>= 1;
    }
    result
}

/// `sum_k coefficients[k] x^k`, by Horner's rule.
#[inline(always)]
fn polynomial<const N: usize>(x: f64, coefficients: &[f64; N]) -> f64 {
    const { assert!(N > 0) };
    coefficients[..N - 1].iter().rev().fold(coefficients[N - 1], |sum, coefficient| sum * x + coefficient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{SplitMix64, draw};
    use core::f64::consts::{FRAC_1_SQRT_2, FRAC_PI_4, LN_2 as LOG_2, PI, SQRT_2};

    /// Number of steps from one `f64` to the next that lead from `a` to `b`.
    fn ulps(a: f64, b: f64) -> u64 {
        let place = |x: f64| if x < 0.0 { -((-x).to_bits() as i64) } else { x.abs().to_bits() as i64 };
        assert!(a.is_finite() && b.is_finite(), "{a}, {b}");
        place(a).abs_diff(place(b))
    }

    /// `x` and the three numbers on either side of it.
    fn around(x: f64) -> impl Iterator<Item = f64> {
        (0..7).map(move |i| f64::from_bits(x.to_bits() + i - 3))
    }

    /// Positive numbers of all exponents, of `(0, 1)`, near 1, and around every change of exponent.
    fn logarithms() -> impl Iterator<Item = f64> {
        let mut random = SplitMix64::new(1);
        let drawn = (0..1_200_000).map(move |i| {
            let uniform = random.uniform();
            match i % 3 {
                0 => uniform,
                1 => f64::from_bits((uniform * f64::INFINITY.to_bits() as f64) as u64).max(f64::from_bits(1)),
                _ => 1.0 + (uniform - 0.5) / (1_u64 << random.below(53)) as f64,
            }
        });
        let exponents = (1..2047).map(|exponent| f64::from_bits(exponent << 52));
        let edges = exponents.flat_map(|x| [x, x * FRAC_1_SQRT_2, x * SQRT_2]).filter(|x| x.is_finite());
        drawn.chain(edges.flat_map(around)).chain((1..100).map(f64::from_bits))
    }

    /// Angles of all `[0, 2 pi]` and near multiples of `pi / 4`.
    fn angles() -> impl Iterator<Item = f64> {
        let mut random = SplitMix64::new(2);
        let drawn = (0..1_200_000).map(move |i| {
            let uniform = random.uniform();
            match i % 2 {
                0 => 2.0 * PI * uniform,
                _ => {
                    let near = (uniform - 0.5) / (1_u64 << random.below(53)) as f64;
                    (random.below(9) as f64 * FRAC_PI_4 * (1.0 + near)).min(2.0 * PI)
                }
            }
        });
        let edges = (1..8).flat_map(|i| around(f64::from(i) * FRAC_PI_4));
        drawn.chain(edges).chain([0.0, f64::from_bits(1), f64::MIN_POSITIVE, 1e-9, 2.0 * PI])
    }

    #[test]
    fn logarithms_are_within_an_ulp_of_the_standard_librarys() {
        let (mut count, mut equal) = (0, 0);
        for x in logarithms() {
            let (found, expected) = (ln(x), x.ln());
            assert!(ulps(found, expected) <= 1, "ln {x:e}: {found:e} is not {expected:e}");
            (count, equal) = (count + 1, equal + u32::from(found == expected));
        }
        // Both round correctly most of the time.
        assert!(count > 1_200_000 && equal > count / 10 * 9, "{equal} of {count}");
    }

    #[test]
    fn logarithms_of_special_values_are_exact() {
        assert_eq!((ln(1.0).to_bits(), ln(2.0), ln(0.5)), (0, LOG_2, -LOG_2));
        assert_eq!([ln(0.0), ln(-0.0), ln(f64::INFINITY)], [-f64::INFINITY, -f64::INFINITY, f64::INFINITY]);
        assert!([f64::NAN, -f64::MIN_POSITIVE, -1.0, -f64::INFINITY].into_iter().all(|x| ln(x).is_nan()));
        let edges = [f64::from_bits(1), f64::MIN_POSITIVE, f64::MAX];
        assert_eq!(edges.map(ln), [-744.440_071_921_381_2, -708.396_418_532_264_1, 709.782_712_893_384]);
    }

    #[test]
    fn exponentials_are_within_an_ulp_of_the_standard_librarys() {
        let mut random = SplitMix64::new(5);
        for i in 0..1_000_000 {
            let range = if i % 2 == 0 { 708.0 } else { 1.0 };
            let x = range * (2.0 * random.uniform() - 1.0);
            let (found, expected) = (exp(x), x.exp());
            assert!(ulps(found, expected) <= 1, "e^{x:e}: {found:e} is not {expected:e}");
        }
        assert_eq!([exp(0.0), exp(-0.0), exp(-800.0), exp(f64::NEG_INFINITY)], [1.0, 1.0, 0.0, 0.0]);
        assert_eq!([exp(800.0), exp(720.0), exp(f64::INFINITY)], [f64::INFINITY; 3]);
        assert!(exp(f64::NAN).is_nan() && (exp(-744.0) - 1e-323).abs() < 1e-323);
    }

    #[test]
    fn sines_and_cosines_are_within_an_ulp_of_the_standard_librarys() {
        let (mut count, mut equal) = (0, 0);
        for angle in angles() {
            let (found, expected) = (sin_cos(angle), angle.sin_cos());
            let apart = ulps(found.0, expected.0).max(ulps(found.1, expected.1));
            assert!(apart <= 1, "{angle:e}: {found:?} is not {expected:?}");
            (count, equal) = (count + 1, equal + u32::from(found == expected));
        }
        assert!(count > 1_200_000 && equal > count / 10 * 9, "{equal} of {count}");
    }

    #[test]
    fn sines_next_to_multiples_of_pi_are_what_rounding_took_from_pi() {
        assert_eq!(sin_cos(0.0), (0.0, 1.0));
        assert_eq!(sin_cos(PI), (1.224_646_799_147_353_2e-16, -1.0));
        assert_eq!(sin_cos(2.0 * PI), (-2.449_293_598_294_706_4e-16, 1.0));
        assert_eq!(sin_cos(0.5 * PI), (1.0, 6.123_233_995_736_766e-17));
        assert_eq!(sin_cos(1.5 * PI), (-1.0, -1.836_970_198_721_029_7e-16));
    }

    #[test]
    fn powers_are_within_their_roundings() {
        let mut random = SplitMix64::new(3);
        for _ in 0..1_000_000 {
            let n = 1 + random.below(2_000);
            // Powers from e^-600 to e^600: neither infinite nor denormal.
            let base = (1200.0 / n as f64 * (random.uniform() - 0.5)).exp();
            let (found, expected) = (power(base, n as u64), base.powf(n as f64));
            // A rounding is half an ULP, up to an ULP of a number just above a power of two, and `powf`
            // rounds too.
            assert!(ulps(found, expected) <= n as u64, "{base}^{n}: {found:e} is not {expected:e}");
        }
        for n in 0..=1074 {
            assert_eq!(power(0.5, n).to_bits(), if n < 1023 { (1023 - n) << 52 } else { 1 << (1074 - n) });
        }
        assert_eq!([power(3.0, 33), power(-3.0, 33)], [5_559_060_566_555_523.0, -5_559_060_566_555_523.0]);
        assert_eq!(
            [power(0.0, 0), power(f64::NAN, 0), power(0.0, 3), power(1.0, u64::MAX)],
            [1.0, 1.0, 0.0, 1.0]
        );
        assert_eq!([power(2.0, 1024), power(0.5, u64::MAX), power(0.0, 3)], [f64::INFINITY, 0.0, 0.0]);
    }

    #[test]
    fn functions_have_the_same_bits_on_every_system() {
        let hash =
            |numbers: &mut dyn Iterator<Item = f64>| numbers.fold(0, |hash, x| draw(hash, x.to_bits()));
        let logarithms = hash(&mut logarithms().map(ln));
        assert_eq!(logarithms, 0x5578_ce3d_8b6a_9340, "{logarithms:#018x}");
        let sines = hash(&mut angles().map(sin_cos).flat_map(<[f64; 2]>::from));
        assert_eq!(sines, 0xba38_1601_e39b_e354, "{sines:#018x}");
        let exponentials = hash(&mut (0..1_000_000).map(|n| exp(f64::from(n) * 1e-3 - 700.0)));
        assert_eq!(exponentials, 0x41d6_e604_8227_5ee3, "{exponentials:#018x}");
        let powers = hash(&mut (0..1_000).map(|n| power(0.999, n * n)));
        assert_eq!(powers, 0x17c7_0370_fec5_9297, "{powers:#018x}");
    }
}
