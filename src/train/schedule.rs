//! How the learning rate changes from epoch to epoch.

use core::ops::Range;

use crate::error::{Argument, Error};
use crate::float_math::{power, sin_cos};
use crate::simd::scalar::Element;

/// The learning rate of each epoch, from a base rate. Formulas are as in `torch.optim.lr_scheduler`.
///
/// # Examples
/// ```
/// use fuseprop::Schedule;
///
/// // A tenth of the rate at first, all of it after five epochs, then down along half a cosine.
/// let schedule = Schedule::cosine(25, 0.0).warm_up(5, 0.1);
/// assert_eq!(schedule.rate(0.5, 0), 0.05);
/// assert_eq!(schedule.rate(0.5, 5), 0.5);
/// assert!(schedule.rate(0.5, 29) < 0.01);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    decay: Decay,
    warm_up: usize,
    start: f64,
    pub(super) step_warm_up: u64,
    step_start: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Decay {
    Constant,
    Step { every: usize, factor: f64 },
    Exponential { factor: f64 },
    Cosine { epochs: usize, lowest: f64 },
}

impl Default for Schedule {
    fn default() -> Self {
        Self::constant()
    }
}

impl Schedule {
    /// The base rate throughout.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// assert_eq!(Schedule::constant().rate(0.1, 7), 0.1);
    /// ```
    #[must_use]
    pub fn constant() -> Self {
        Self::new(Decay::Constant)
    }

    /// Times `factor`, finite and at least 0, at intervals of `every` epochs, at least 1:
    /// `base factor^floor(epoch / every)`. `StepLR`.
    ///
    /// [`Trainer::fit`](crate::Trainer::fit) refuses other settings, of every schedule.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// assert_eq!(Schedule::step(10, 0.5).rate(0.1, 10), 0.05);
    /// ```
    #[must_use]
    pub fn step(every: usize, factor: f64) -> Self {
        Self::new(Decay::Step { every, factor })
    }

    /// Times `factor`, finite and at least 0, every epoch: `base factor^epoch`. `ExponentialLR`.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// assert_eq!(Schedule::exponential(0.5).rate(0.1, 1), 0.05);
    /// ```
    #[must_use]
    pub fn exponential(factor: f64) -> Self {
        Self::new(Decay::Exponential { factor })
    }

    /// `lowest + (base - lowest) (1 + cos(pi epoch / epochs)) / 2`, and `lowest` from `epochs` on
    /// (Loshchilov and Hutter 2017). `CosineAnnealingLR`.
    ///
    /// `epochs` is at least 1, `lowest` finite and at least 0. A `lowest` above the base rate is risen to.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// assert_eq!(Schedule::cosine(10, 0.0).rate(0.1, 10), 0.0);
    /// ```
    #[must_use]
    pub fn cosine(epochs: usize, lowest: f64) -> Self {
        Self::new(Decay::Cosine { epochs, lowest })
    }

    fn new(decay: Decay) -> Self {
        Self { decay, warm_up: 0, start: 1.0, step_warm_up: 0, step_start: 1.0 }
    }

    /// Before all else, `epochs` epochs in which the rate changes linearly from `start` times the base rate
    /// to the base rate: `base (start + (1 - start) epoch / epochs)`. The schedule follows from its
    /// beginning. `LinearLR` in a `SequentialLR`.
    ///
    /// `start` is finite and at least 0. With a `start` of 0 the first epoch has a rate of 0: all of its
    /// steps change the optimizer's moments and no parameter. `1.0 / epochs as f64` starts with the first
    /// part of the way instead, and [`Schedule::warm_up_steps`] rises within epochs.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// let schedule = Schedule::constant().warm_up(4, 0.0);
    /// assert_eq!([0, 1, 4].map(|epoch| schedule.rate(1.0, epoch)), [0.0, 0.25, 1.0]);
    /// ```
    #[must_use]
    pub fn warm_up(mut self, epochs: usize, start: f64) -> Self {
        (self.warm_up, self.start) = (epochs, start);
        self
    }

    /// In the first steps of the trainer, on top of all else, step `n` of `steps`, from 1, has the rate of
    /// its epoch times `start + (1 - start) n / steps`: never 0, and the whole rate in the last of them.
    /// Steps are counted over all fits, as [`Trainer::steps`](crate::Trainer::steps) does.
    ///
    /// `start` is from 0 to 1. [`EpochReport::learning_rate`](crate::EpochReport::learning_rate) is the
    /// epoch's.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// let schedule = Schedule::constant().warm_up_steps(4, 0.0);
    /// assert_eq!([1, 2, 4, 5].map(|step| schedule.step_factor(step)), [0.25, 0.5, 1.0, 1.0]);
    /// ```
    #[must_use]
    pub fn warm_up_steps(mut self, steps: u64, start: f64) -> Self {
        (self.step_warm_up, self.step_start) = (steps, start);
        self
    }

    /// What the rate of a step, counted from 1 over all fits of a trainer, is of its epoch's:
    /// [`Schedule::warm_up_steps`].
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// assert_eq!(Schedule::constant().warm_up_steps(10, 0.5).step_factor(1), 0.55);
    /// ```
    #[must_use]
    pub fn step_factor(&self, step: u64) -> f64 {
        match step < self.step_warm_up {
            true => self.step_start + (1.0 - self.step_start) * step as f64 / self.step_warm_up as f64,
            false => 1.0,
        }
    }

    /// The rate of an epoch, counted from 0.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// assert_eq!(Schedule::step(1, 0.5).rate(1.0, 2), 0.25);
    /// ```
    #[must_use]
    pub fn rate(&self, base: f64, epoch: usize) -> f64 {
        if epoch < self.warm_up {
            return base * (self.start + (1.0 - self.start) * epoch as f64 / self.warm_up as f64);
        }
        let epoch = epoch - self.warm_up;
        match self.decay {
            Decay::Constant => base,
            Decay::Step { every, factor } => base * power(factor, (epoch / every.max(1)) as u64),
            Decay::Exponential { factor } => base * power(factor, epoch as u64),
            Decay::Cosine { epochs, lowest } => {
                let part = (epoch as f64 / epochs.max(1) as f64).min(1.0);
                let (_, cos) = sin_cos(core::f64::consts::PI * part);
                lowest + (base - lowest) * (1.0 + cos) / 2.0
            }
        }
    }

    /// Refuses settings that give no rate.
    pub(crate) fn check(self) -> Result<(), Error> {
        let (what, value) = match self.decay {
            Decay::Step { every: 0, .. } => return Err(Error::Zero { argument: Argument::StepEpochs }),
            Decay::Cosine { epochs: 0, .. } => return Err(Error::Zero { argument: Argument::CosineEpochs }),
            Decay::Step { factor, .. } | Decay::Exponential { factor } => (Argument::ScheduleFactor, factor),
            Decay::Cosine { lowest, .. } => (Argument::LowestLearningRate, lowest),
            Decay::Constant => (Argument::WarmUpStart, self.start),
        };
        let setting = |argument, value| Err(Error::Setting { argument, value });
        match [(what, value), (Argument::WarmUpStart, self.start)]
            .into_iter()
            .find(|&(_, value)| !(value >= 0.0 && value.is_finite()))
        {
            Some((what, value)) => setting(what, value),
            // No step has a higher rate than its epoch, of which all are checked.
            None if !(0.0..=1.0).contains(&self.step_start) => {
                setting(Argument::WarmUpStart, self.step_start)
            }
            None => Ok(()),
        }
    }

    /// Refuses rates of epochs, counted from 0, that are not finite in `T`. There is at least one epoch.
    ///
    /// From the first epoch to the end of the warm-up, and from there to the last epoch, rates rise or fall
    /// all the way, so that the ends tell of all. What a warm-up computes on the way is largest in its last
    /// epoch.
    pub(crate) fn check_rates<T: Element>(self, base: f64, epochs: Range<usize>) -> Result<(), Error> {
        let (first, last) = (epochs.start, epochs.end - 1);
        let ends = [first, self.warm_up.saturating_sub(1), self.warm_up, last];
        let mut rates = ends.map(|epoch| self.rate(base, epoch.clamp(first, last))).into_iter();
        match rates.find(|&rate| !T::holds(rate)) {
            Some(value) => Err(Error::Setting { argument: Argument::ScheduledLearningRate, value }),
            None => Ok(()),
        }
    }
}

/// The part of the lowest loss by which another must be lower.
const THRESHOLD: f64 = 1e-4;

/// Lowers the learning rate when a loss no longer falls: `ReduceLROnPlateau` with its relative threshold and
/// no smallest change of the rate, where a loss is lower if it is below `lowest - 1e-4 |lowest|`, of the
/// lowest so far. (PyTorch's threshold is above a lowest that is negative, so that a loss that stays as it is
/// always counts as lower there.) Infinity and NaN are lower than nothing.
///
/// # Examples
/// ```
/// use fuseprop::ReduceOnPlateau;
///
/// let mut plateau = ReduceOnPlateau::new(0.1, 2);
/// let factors: Vec<f64> = [1.0, 0.5, 0.5, 0.5, 0.5].map(|loss| plateau.step(loss)).to_vec();
/// assert_eq!(factors, [1.0, 1.0, 1.0, 1.0, 0.1]); // the third epoch without a lower loss
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReduceOnPlateau {
    pub(crate) factor: f64,
    pub(crate) patience: usize,
    pub(crate) lowest: f64,
    pub(crate) waited: usize,
}

impl ReduceOnPlateau {
    /// Multiplies the rate by `factor`, at least 0 and below 1, after more than `patience` epochs in a row
    /// without a lower loss. [`Trainer::fit`](crate::Trainer::fit) refuses another factor.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::ReduceOnPlateau;
    ///
    /// let mut plateau = ReduceOnPlateau::new(0.5, 0); // halves the rate at once
    /// assert_eq!([3.0, 2.0, 2.0].map(|loss| plateau.step(loss)), [1.0, 1.0, 0.5]);
    /// ```
    #[must_use]
    pub fn new(factor: f64, patience: usize) -> Self {
        Self { factor, patience, lowest: f64::INFINITY, waited: 0 }
    }

    /// Takes in the loss of an epoch. What to multiply the learning rate by after it: 1, or the factor.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::ReduceOnPlateau;
    ///
    /// let (mut plateau, mut rate) = (ReduceOnPlateau::new(0.1, 1), 0.5);
    /// for loss in [1.0, 1.0, 1.0] {
    ///     rate *= plateau.step(loss);
    /// }
    /// assert_eq!(rate, 0.05); // after two epochs without a lower loss
    /// ```
    pub fn step(&mut self, loss: f64) -> f64 {
        // The threshold is below the lowest, whatever its sign.
        let part = if self.lowest < 0.0 { 1.0 + THRESHOLD } else { 1.0 - THRESHOLD };
        if loss < self.lowest * part {
            (self.lowest, self.waited) = (loss, 0);
        } else {
            self.waited += 1;
        }
        if self.waited > self.patience {
            self.waited = 0;
            return self.factor;
        }
        1.0
    }

    /// Refuses a factor that gives no rate.
    pub(crate) fn check(self) -> Result<(), Error> {
        match (0.0..1.0).contains(&self.factor) {
            true => Ok(()),
            false => Err(Error::Setting { argument: Argument::PlateauFactor, value: self.factor }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_checked_in_every_epoch_of_the_fit_and_in_no_other() {
        // Both ends of the warm-up are finite, but not what the rates between are computed from.
        let steep = Schedule::constant().warm_up(20, 1e308);
        assert!(steep.rate(1e-300, 0).is_finite() && steep.rate(1e-300, 20).is_finite());
        assert!(steep.check_rates::<f64>(1e-300, 0..30).is_err());
        assert!(steep.check_rates::<f64>(1e-300, 0..1).is_ok());
        assert!(steep.check_rates::<f64>(1e-300, 20..30).is_ok());
        // The highest is within: after the warm-up, before the decay.
        let peak = Schedule::cosine(5, 0.0).warm_up(5, 0.0);
        assert!(peak.check_rates::<f32>(1e39, 0..10).is_err());
        assert!(peak.check_rates::<f64>(1e39, 0..10).is_ok());
        let infinite = peak.check_rates::<f32>(1e39, 4..7);
        let argument = Argument::ScheduledLearningRate;
        assert_eq!(infinite, Err(Error::Setting { argument, value: peak.rate(1e39, 4) }));
    }
}
