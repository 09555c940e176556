//! How the learning rate changes from epoch to epoch, or from step to step.

mod formulas;
mod one_cycle;
mod plateau;

use core::ops::Range;
use std::sync::Arc;

use crate::error::{Argument, Error};
use crate::simd::scalar::Element;
pub(super) use crate::train::schedule::formulas::check_scheduled;
use crate::train::schedule::formulas::{Formula, OwnFormula, WarmRestarts, check_rate};
pub use crate::train::schedule::one_cycle::OneCycle;
pub use crate::train::schedule::plateau::ReduceOnPlateau;

/// The learning rate of each epoch, or of each step, from a base rate. Formulas are as in
/// `torch.optim.lr_scheduler`.
///
/// [`FitOptions::schedule`](crate::FitOptions::schedule) has a position for each epoch,
/// [`FitOptions::step_schedule`](crate::FitOptions::step_schedule) one for each step, and a loop of your own
/// asks [`Schedule::rate`].
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
///
/// In a loop of one's own:
///
/// ```
/// use fuseprop::{Activation, Network, Schedule, Trainer};
///
/// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
/// let mut trainer = Trainer::builder(network).build()?;
/// let schedule = Schedule::linear(10, 0.1, 1.0).then(10, Schedule::polynomial(90, 2.0));
/// for step in 0..100 {
///     trainer.set_learning_rate(schedule.rate(0.01, step))?;
///     trainer.step(&[0.5], &[1.0])?;
/// }
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    formula: Formula,
    warm_up: usize,
    start: f64,
    pub(super) step_warm_up: u64,
    step_start: f64,
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
        Self::new(Formula::Constant)
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
        Self::new(Formula::Step { every, factor })
    }

    /// Times `factor`, finite and at least 0, at each milestone: `base factor^n` from the `n`-th on.
    /// `MultiStepLR`. Milestones are at least 1 and rise.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// let schedule = Schedule::multi_step(&[3, 5], 0.5);
    /// assert_eq!([2, 3, 4, 5].map(|epoch| schedule.rate(1.0, epoch)), [1.0, 0.5, 0.5, 0.25]);
    /// ```
    #[must_use]
    pub fn multi_step(milestones: &[usize], factor: f64) -> Self {
        Self::new(Formula::MultiStep { milestones: milestones.into(), factor })
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
        Self::new(Formula::Exponential { factor })
    }

    /// From `start` times the base rate to `end` times it: `base (start + (end - start) epoch / count)`, and
    /// `base end` from `count` on. `LinearLR`, whose defaults are 1/3 and 1.
    ///
    /// `count` is at least 1, both factors are finite and at least 0.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// let schedule = Schedule::linear(4, 1.0, 0.0);
    /// assert_eq!([0, 1, 4, 9].map(|epoch| schedule.rate(0.5, epoch)), [0.5, 0.375, 0.0, 0.0]);
    /// ```
    #[must_use]
    pub fn linear(count: usize, start: f64, end: f64) -> Self {
        Self::new(Formula::Linear { count, start, end })
    }

    /// `base (1 - epoch / count)^exponent`, and 0 from `count` on. `PolynomialLR`, whose `power` is 1 by
    /// default.
    ///
    /// `count` is at least 1, `exponent` finite and at least 0.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// let schedule = Schedule::polynomial(4, 2.0);
    /// assert_eq!([0, 2, 4].map(|epoch| schedule.rate(1.0, epoch)), [1.0, 0.25, 0.0]);
    /// ```
    #[must_use]
    pub fn polynomial(count: usize, exponent: f64) -> Self {
        Self::new(Formula::Polynomial { count, exponent })
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
        Self::new(Formula::Cosine { count: epochs, lowest })
    }

    /// SGDR: [cosines](Schedule::cosine) one after the other, the first of `first` epochs, each next one
    /// `factor` times as long, and each from the base rate (Loshchilov and Hutter 2017).
    /// `CosineAnnealingWarmRestarts`, whose `T_mult` is 1 by default.
    ///
    /// `first` and `factor` are at least 1, `lowest` finite and at least 0.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// let schedule = Schedule::cosine_warm_restarts(10, 2, 0.0);
    /// assert_eq!([0, 10, 30, 70].map(|epoch| schedule.rate(0.1, epoch)), [0.1; 4]);
    /// assert!((schedule.rate(0.1, 20) - 0.05).abs() < 1e-15); // half of the second
    /// ```
    #[must_use]
    pub fn cosine_warm_restarts(first: usize, factor: usize, lowest: f64) -> Self {
        Self::new(Formula::WarmRestarts(WarmRestarts { first, factor, lowest }))
    }

    /// A formula of your own, from the base rate and the epoch or step, counted from 0. It gives the same
    /// rate for the same arguments: a fit asks for some twice.
    ///
    /// A rate that no optimizer can have, below 0 or not finite, ends the fit with [`Error::Setting`] when
    /// its epoch or step comes; those of the other schedules are refused before the first. A checkpoint
    /// holds how far the training has come and the base rate, and no schedule: resume with the same formula,
    /// and the bits are those of the training that never stopped.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// // Vaswani et al. 2017, without their factor.
    /// let rise_and_fall = |base: f64, step: usize| {
    ///     let n = (step + 1) as f64;
    ///     base * (1.0 / n.sqrt()).min(n / 4000.0_f64.powf(1.5))
    /// };
    /// let schedule = Schedule::from_fn(rise_and_fall);
    /// assert!(schedule.rate(1.0, 3999) > schedule.rate(1.0, 10));
    /// ```
    #[must_use]
    pub fn from_fn(rate: impl Fn(f64, usize) -> f64 + Send + Sync + 'static) -> Self {
        Self::new(Formula::Own(OwnFormula(Arc::new(rate))))
    }

    fn new(formula: Formula) -> Self {
        Self { formula, warm_up: 0, start: 1.0, step_warm_up: 0, step_start: 1.0 }
    }

    /// This schedule before a milestone, at least 1, and `next`, from its beginning, from there on.
    /// `SequentialLR`. A milestone that follows one is higher.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// let schedule = Schedule::linear(2, 0.5, 1.0)
    ///     .then(2, Schedule::exponential(0.5))
    ///     .then(4, Schedule::constant());
    /// let rates = [0, 1, 2, 3, 4].map(|epoch| schedule.rate(1.0, epoch));
    /// assert_eq!(rates, [0.5, 0.75, 1.0, 0.5, 1.0]);
    /// ```
    #[must_use]
    pub fn then(self, milestone: usize, next: impl Into<Self>) -> Self {
        Self::new(Formula::Sequence { first: Arc::new(self), milestone, next: Arc::new(next.into()) })
    }

    /// Both at a time: the rate of this schedule is the base rate of `next`. `ChainedScheduler`, of schedules
    /// that multiply the base rate: all but cosines with a `lowest` above 0, whose chains in PyTorch depend
    /// on the rates before.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::Schedule;
    ///
    /// let schedule = Schedule::exponential(0.5).chain(Schedule::linear(2, 0.5, 1.0));
    /// assert_eq!([0, 1, 2].map(|epoch| schedule.rate(1.0, epoch)), [0.5, 0.375, 0.25]);
    /// ```
    #[must_use]
    pub fn chain(self, next: impl Into<Self>) -> Self {
        Self::new(Formula::Chain { first: Arc::new(self), next: Arc::new(next.into()) })
    }

    /// Before all else, `epochs` epochs in which the rate changes linearly from `start` times the base rate
    /// to the base rate: `base (start + (1 - start) epoch / epochs)`. The schedule follows from its
    /// beginning. `LinearLR` in a `SequentialLR`. Of a schedule by step it is as many steps.
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

    /// The rate of an epoch, or of a step, counted from 0.
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
        self.formula.rate(base, epoch - self.warm_up)
    }

    /// Refuses settings that give no rate.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.formula.check()?;
        check_rate(Argument::WarmUpStart, self.start)?;
        match (0.0..=1.0).contains(&self.step_start) {
            // No step has a higher rate than its epoch, of which all are checked.
            true => Ok(()),
            false => Err(Error::Setting { argument: Argument::WarmUpStart, value: self.step_start }),
        }
    }

    /// The same of a part of another schedule, which has no say in the first steps of a trainer.
    fn check_part(&self) -> Result<(), Error> {
        match self.step_warm_up {
            0 => self.check(),
            _ => Err(Error::Unused { argument: Argument::WarmUpSteps, with: Argument::SchedulePart }),
        }
    }

    /// Refuses rates of positions, counted from 0, that are not finite in `T`, as far as they are known: see
    /// [`Schedule::from_fn`]. There is at least one position. The highest rate that is known.
    ///
    /// From the first position to the end of the warm-up, and from there to the last, most rates rise or fall
    /// all the way, so that the ends tell of all. What a warm-up computes on the way is largest in its last
    /// position.
    pub(crate) fn check_rates<T: Element>(&self, base: f64, positions: Range<usize>) -> Result<f64, Error> {
        let mut rates = Vec::new();
        self.add_extremes(base, positions.start, positions.end - 1, &mut rates);
        rates
            .into_iter()
            .map(check_scheduled::<T>)
            .try_fold(0.0, |highest, rate| rate.map(|rate| rate.max(highest)))
    }

    fn add_extremes(&self, base: f64, first: usize, last: usize, to: &mut Vec<f64>) {
        let ends = [first, self.warm_up.saturating_sub(1), self.warm_up, last];
        if !matches!(self.formula, Formula::Own(_)) {
            to.extend(ends.map(|position| self.rate(base, position.clamp(first, last))));
        }
        if last >= self.warm_up {
            let first = first.saturating_sub(self.warm_up);
            self.formula.add_extremes(base, first, last - self.warm_up, to);
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
