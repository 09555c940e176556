//! Squared norms with an exponent of their own, so that no norm overflows or vanishes that need not.

use crate::simd::scalar::Element;

/// The sum of the squares of some elements: `sum 4^exponent`.
///
/// Where a plain sum in `f64` is in its range the exponent is 0, and all bits are the plain sum's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct SquaredNorm {
    sum: f64,
    exponent: i32,
}

/// Below it squares of `f64` may have been denormal, or 0: such a sum is computed again.
const SMALLEST_PLAIN: f64 = 1e-280;

impl SquaredNorm {
    pub(crate) const ZERO: Self = Self { sum: 0.0, exponent: 0 };

    /// The squared norm of elements whose squares have a plain sum of `sum`.
    #[inline]
    pub(crate) fn new<T: Element, I: Iterator<Item = T>>(sum: f64, elements: impl Fn() -> I) -> Self {
        // Squares of `f32` are normal numbers of `f64`.
        let is_plain = size_of::<T>() < size_of::<f64>() || (SMALLEST_PLAIN..f64::INFINITY).contains(&sum);
        if is_plain || sum.is_nan() { Self { sum, exponent: 0 } } else { Self::scaled(sum, elements) }
    }

    /// The same with the largest exponent of the elements taken out.
    #[cold]
    fn scaled<T: Element, I: Iterator<Item = T>>(sum: f64, elements: impl Fn() -> I) -> Self {
        let largest = elements().fold(0.0, |largest: f64, x| largest.max(x.to_f64().abs()));
        if largest == 0.0 || largest.is_infinite() {
            return Self { sum, exponent: 0 };
        }
        let biased = (largest.to_bits() >> 52) as i32;
        let exponent = (biased - 1023).clamp(-MAX_EXPONENT, MAX_EXPONENT);
        let factor = power_of_2(-exponent);
        let sum = elements().map(|x| (x.to_f64() * factor).powi(2)).sum();
        Self { sum, exponent }
    }

    /// The sum of squared norms, in their order.
    pub(crate) fn sum(norms: impl IntoIterator<Item = Self>) -> Self {
        norms.into_iter().fold(Self::ZERO, Self::plus)
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        let exponent = match (self.sum == 0.0, other.sum == 0.0) {
            (true, _) => other.exponent,
            (_, true) => self.exponent,
            _ => self.exponent.max(other.exponent),
        };
        let sum = self.at(exponent) + other.at(exponent);
        Self { sum, exponent }
    }

    /// The sum for a larger exponent, or any if it is 0.
    fn at(self, exponent: i32) -> f64 {
        let factor = power_of_2((self.exponent - exponent).clamp(-MAX_EXPONENT, 0));
        self.sum * factor * factor
    }

    pub(crate) fn is_finite(self) -> bool {
        self.sum.is_finite()
    }

    /// The Euclidean norm.
    pub(crate) fn norm(self) -> f64 {
        self.root_mean(1.0)
    }

    /// The root of the mean of `count` squares.
    pub(crate) fn root_mean(self, count: f64) -> f64 {
        (self.sum / count).sqrt() * power_of_2(self.exponent)
    }

    /// `limit / (norm + 1e-6)`: PyTorch's quotient, `1e-6` against a division by 0.
    pub(crate) fn clip_quotient(self, limit: f64) -> f64 {
        match self.norm() {
            norm if norm.is_infinite() => limit * power_of_2(-self.exponent) / self.sum.sqrt(),
            norm => limit / (norm + 1e-6),
        }
    }
}

/// Of which the power of two and its reciprocal are normal numbers.
const MAX_EXPONENT: i32 = 1022;

fn power_of_2(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squared(elements: &[f64]) -> SquaredNorm {
        SquaredNorm::new(elements.iter().map(|x| x * x).sum(), || elements.iter().copied())
    }

    #[test]
    fn norms_of_any_size_are_right_and_plain_ones_have_the_bits_of_plain_sums() {
        for scale in [1e-323, 1e-310, 1e-200, 1e-162, 1.0, 1e153, 1e155, 1e200, 3e307] {
            let elements = [3.0 * scale, 0.0, -4.0 * scale];
            let norm = squared(&elements).norm();
            assert!((norm / 5.0 / scale - 1.0).abs() < 1e-15 || scale < 1e-308, "{scale}: {norm}");
            let sum = SquaredNorm::sum(elements.map(|x| squared(&[x]))).norm();
            assert!((sum / norm - 1.0).abs() < 1e-15, "{scale}: {sum}");
        }
        let plain = squared(&[0.3, 0.7]);
        assert_eq!((plain.sum.to_bits(), plain.exponent), ((0.3_f64 * 0.3 + 0.7 * 0.7).to_bits(), 0));
        // The smaller one vanishes beside the larger, whatever their order.
        for pair in [[1e-300, 1e250], [1e250, 1e-300], [1e250, 0.0], [0.0, 1e250]] {
            assert_eq!(SquaredNorm::sum(pair.map(|x| squared(&[x]))).norm(), 1e250, "{pair:?}");
        }
        assert_eq!(squared(&[0.0; 3]).norm(), 0.0);
        assert_eq!(squared(&[1.0, f64::NEG_INFINITY]).norm(), f64::INFINITY);
        assert!(squared(&[1e300, f64::NAN]).norm().is_nan());
        assert_eq!(squared(&[2e250; 4]).root_mean(4.0), 2e250);
        // A norm that overflows still clips.
        let largest = squared(&[f64::MAX; 4]);
        assert_eq!(largest.norm(), f64::INFINITY);
        assert!((largest.clip_quotient(4.0) * f64::MAX - 2.0).abs() < 1e-12);
        assert_eq!(squared(&[f64::INFINITY]).clip_quotient(1.0), 0.0);
        assert_eq!(squared(&[3.0, 4.0]).clip_quotient(1.0), 1.0 / (5.0 + 1e-6));
    }
}
