//! The negative log-likelihood of targets under a normal distribution of which both numbers are outputs.
//!
//! For a mean `m`, the logarithm `s` of a variance, and a target `t`,
//!
//! ```text
//! v   = max(e^s, epsilon)
//! L   = (log v + (m - t)^2 / v) / 2
//! d_m = (m - t) / v
//! d_s = e^s / v (1 - (m - t)^2 / v) / 2
//! ```
//!
//! One element after the other, in `f64`: there are few such outputs, and half of a row does not start where
//! a line does.

use crate::float_math::{exp, ln};
use crate::kernels::matrix::panels::Panels;
use crate::kernels::ops::loss::{Objective, RowLosses};
use crate::simd::scalar::{Element, Line};

/// The loss and gradient of rows of means, then logarithms of variances, `[B, 2 n]`, and targets `[B, n]`.
///
/// Overwrites `d_y` `[B, 2 n]` and `losses` `[B]`; padding lanes of `d_y` become 0. Where no gradient is
/// wanted `d_y` has no lines. A row or an element of weight 0 is not read.
pub(crate) fn of_pairs<T: Element>(
    to: RowLosses<'_, T>,
    y: Panels<'_, T>,
    targets: &[T],
    objective: &Objective<'_, T>,
    epsilon: f64,
) {
    let wants_gradient = to.wants_gradient();
    let RowLosses { d_y, losses } = to;
    let (count, least) = (y.cols / 2, LeastVariance { variance: epsilon, logarithm: ln(epsilon) });
    let line_of = |r: usize, column: usize| column / T::LANES * y.rows + r;
    let output = |r: usize, column: usize| y.lines[line_of(r, column)].as_slice()[column % T::LANES].to_f64();
    d_y.lines.fill(T::Line::ZERO);
    for (r, (t, loss)) in targets.chunks_exact(count).zip(losses).enumerate() {
        *loss = 0.0;
        for (j, t) in t.iter().enumerate() {
            let weight = objective.targets.element_weight(r, count, j);
            if weight == 0.0 {
                continue;
            }
            let element = Normal::of(output(r, j), output(r, count + j), t.to_f64(), least);
            *loss += weight * element.loss;
            if wants_gradient {
                for (column, slope) in [(j, element.d_mean), (count + j, element.d_logarithm)] {
                    let d = &mut d_y.lines[line_of(r, column)].as_mut_slice()[column % T::LANES];
                    *d = T::from_f64(objective.scale * weight * slope).flushed();
                }
            }
        }
    }
}

/// The variance that no variance is below, and its logarithm.
#[derive(Clone, Copy)]
struct LeastVariance {
    variance: f64,
    logarithm: f64,
}

/// One element's loss and gradient.
struct Normal {
    loss: f64,
    d_mean: f64,
    d_logarithm: f64,
}

impl Normal {
    fn of(mean: f64, logarithm: f64, t: f64, least: LeastVariance) -> Self {
        // NaN is below nothing, and so stays.
        let is_least = logarithm < least.logarithm;
        let (log_v, v) = match is_least {
            true => (least.logarithm, least.variance),
            false => (logarithm, exp(logarithm)),
        };
        let distance = mean - t;
        let square = distance * distance / v;
        let share = if is_least { exp(logarithm) / v } else { 1.0 };
        Self { loss: 0.5 * (log_v + square), d_mean: distance / v, d_logarithm: 0.5 * share * (1.0 - square) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_that_of_a_normal_distribution_without_its_constant() {
        let least = LeastVariance { variance: 1e-6, logarithm: ln(1e-6) };
        // A variance of 4 and a distance of 3.
        let Normal { loss, d_mean, d_logarithm } = Normal::of(5.0, 4.0_f64.ln(), 2.0, least);
        assert!((loss - 0.5 * (4.0_f64.ln() + 9.0 / 4.0)).abs() < 1e-15);
        assert!((d_mean - 0.75).abs() < 1e-15 && (d_logarithm - 0.5 * (1.0 - 2.25)).abs() < 1e-15);
    }

    #[test]
    fn a_variance_below_the_least_counts_as_that() {
        let least = LeastVariance { variance: 0.25, logarithm: ln(0.25) };
        // A variance of an eighth: half of what it counts as.
        let Normal { loss, d_mean, d_logarithm } = Normal::of(1.0, 0.125_f64.ln(), 0.0, least);
        assert!((loss - 0.5 * (0.25_f64.ln() + 4.0)).abs() < 1e-15);
        assert!((d_mean - 4.0).abs() < 1e-15 && (d_logarithm - 0.25 * (1.0 - 4.0)).abs() < 1e-15);
        assert!(Normal::of(0.0, f64::NAN, 0.0, least).loss.is_nan());
        assert_eq!(Normal::of(0.0, f64::NEG_INFINITY, 0.5, least).d_logarithm, 0.0);
    }
}
