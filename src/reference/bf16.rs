//! Rounding to bf16.

/// The nearest number of bf16, of eight significant bits and the range of `f32`; ties to even. Numbers below
/// 2^-56 become 0, as in [`Precision::Bf16`](crate::Precision::Bf16).
///
/// # Examples
///
/// ```
/// use fuseprop::reference::round_to_bf16;
///
/// assert_eq!(round_to_bf16(1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0); // a tie, to even
/// assert_eq!(round_to_bf16(1e-17), 0.0);
/// ```
#[must_use]
pub fn round_to_bf16(x: f64) -> f64 {
    let smallest = 2.0_f64.powi(-56);
    if x.abs() < smallest {
        return 0.0;
    }
    if !x.is_finite() {
        return x;
    }
    // What the last of eight bits is worth.
    let mut last = smallest / 128.0;
    while x.abs() >= 256.0 * last {
        last *= 2.0;
    }
    let rounded = (x / last).round_ties_even() * last;
    if rounded.abs() < 2.0_f64.powi(128) { rounded } else { f64::INFINITY.copysign(x) }
}

/// [`round_to_bf16`] of every element.
pub(super) fn rounded(x: &[f64]) -> Vec<f64> {
    x.iter().map(|&x| round_to_bf16(x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_by_hand() {
        let one = |n: f64| 1.0 + n / 256.0;
        for (x, expected) in [
            (1.0, 1.0),
            (one(1.0), 1.0),
            (one(1.001), one(2.0)),
            (one(2.0), one(2.0)),
            (one(3.0), one(4.0)),
            (-one(255.0), -2.0),
            (3.0e-30, 0.0),
            (2.0_f64.powi(-56), 2.0_f64.powi(-56)),
            (3.4e38, f64::INFINITY),
            (f64::NEG_INFINITY, f64::NEG_INFINITY),
        ] {
            assert_eq!(round_to_bf16(x), expected, "{x:e}");
        }
        assert!(round_to_bf16(f64::NAN).is_nan());
    }
}
