//! What tells a better epoch of a fit from another.

use core::fmt;

use crate::error::{Argument, Error};
use crate::evaluate::Evaluation;
use crate::kernels::ops::loss::Loss;
use crate::kernels::ops::targets::{Labels, Targets};
use crate::network::Network;
use crate::simd::scalar::Element;
use crate::train::fit::EpochReport;

/// What a fit monitors: by it an epoch is the best, and early stopping waits for a better one.
///
/// # Examples
/// ```
/// use fuseprop::{Dataset, FitOptions, Monitor};
///
/// let (x, classes) = ([0.1_f32, 0.9], [0, 1]);
/// let how = FitOptions::new(100, 32).validation(Dataset::new(&x, &classes));
/// let how = how.monitor(Monitor::Accuracy).min_delta(0.001).early_stopping(10);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Monitor {
    /// [`EpochReport::monitored_loss`]; the lowest is the best.
    #[default]
    Loss,
    /// [`Evaluation::accuracy`] of the validation set; the highest is the best.
    Accuracy,
    /// [`Evaluation::mean_absolute_error`] of the validation set; the lowest is the best.
    MeanAbsoluteError,
    /// [`Evaluation::r2`] of the validation set; the highest is the best.
    R2,
}

impl Monitor {
    pub(super) fn value(self, epoch: &EpochReport) -> f64 {
        let of_validation = |metric: fn(&Evaluation) -> Option<f64>| {
            epoch.validation.as_ref().and_then(metric).unwrap_or(f64::NAN)
        };
        match self {
            Self::Loss => epoch.monitored_loss(),
            Self::Accuracy => of_validation(|found| found.accuracy),
            Self::MeanAbsoluteError => of_validation(|found| found.mean_absolute_error),
            Self::R2 => of_validation(|found| found.r2),
        }
    }

    pub(super) fn best(self) -> Best {
        match self {
            Self::Loss | Self::MeanAbsoluteError => Best::Lowest,
            Self::Accuracy | Self::R2 => Best::Highest,
        }
    }

    /// Refuses a metric that the evaluation of a validation set has not.
    ///
    /// # Errors
    /// [`Error::Combination`] without the set, or for targets that have no such metric under the loss.
    pub(super) fn check<T: Element>(self, loss: Loss, targets: Option<Targets<'_, T>>) -> Result<(), Error> {
        let tells_classes = matches!(loss, Loss::BinaryCrossEntropyWithLogits | Loss::Hinge);
        let with = match (self, targets.map(|targets| targets.labels)) {
            (Self::Loss, _)
            | (Self::Accuracy, Some(Labels::Classes(_)))
            | (Self::MeanAbsoluteError | Self::R2, Some(Labels::Values(_))) => return Ok(()),
            (Self::Accuracy, Some(Labels::Values(_))) if tells_classes => return Ok(()),
            (Self::Accuracy, Some(Labels::Values(_))) => Argument::TargetValues,
            (Self::MeanAbsoluteError | Self::R2, Some(Labels::Classes(_))) => Argument::ClassTargets,
            (_, None) => Argument::NoValidation,
        };
        Err(Error::Combination { argument: Argument::Monitor, with })
    }
}

/// Which value of several is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Best {
    Lowest,
    Highest,
}

/// When an epoch is better than the best before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Comparison {
    pub(super) best: Best,
    pub(super) min_delta: f64,
}

impl Comparison {
    /// Whether a value is better than another by more than the least difference. A value that is not a number
    /// is better than none; any number is better than such.
    pub(super) fn is_better(self, value: f64, than: f64) -> bool {
        let (value, than) = match self.best {
            Best::Lowest => (value, than),
            Best::Highest => (-value, -than),
        };
        !value.is_nan() && (than.is_nan() || value < than - self.min_delta)
    }
}

/// A metric of the caller's, of the network after an epoch.
pub(super) struct Metric<'a, T: Element> {
    pub(super) metric: &'a (dyn Fn(&Network<T>, &EpochReport) -> f64 + Sync),
    pub(super) best: Best,
}

impl<T: Element> Clone for Metric<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Element> Copy for Metric<'_, T> {}

impl<T: Element> fmt::Debug for Metric<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metric").field("best", &self.best).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_better_value_differs_by_more_than_the_least_difference() {
        let lowest = Comparison { best: Best::Lowest, min_delta: 0.25 };
        assert!(lowest.is_better(0.5, 1.0) && !lowest.is_better(0.75, 1.0) && !lowest.is_better(1.5, 1.0));
        let highest = Comparison { best: Best::Highest, min_delta: 0.25 };
        assert!(highest.is_better(1.5, 1.0) && !highest.is_better(1.25, 1.0) && !highest.is_better(0.5, 1.0));
        for comparison in [lowest, highest] {
            assert!(!comparison.is_better(f64::NAN, 1.0) && !comparison.is_better(f64::NAN, f64::NAN));
            assert!(comparison.is_better(1.0, f64::NAN));
        }
    }
}
