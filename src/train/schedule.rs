//! How the learning rate changes from epoch to epoch.

use crate::error::{Argument, Error};
use crate::float_math::{power, sin_cos};

/// The learning rate of each epoch, from a base rate. Formulas are those of `torch.optim.lr_scheduler`.
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

    /// Times `factor` every so many epochs: `base factor^floor(epoch / every)`. `StepLR`.
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

    /// Times `factor` every epoch: `base factor^epoch`. `ExponentialLR`.
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
        Self { decay, warm_up: 0, start: 1.0 }
    }

    /// Before all else, `epochs` epochs in which the rate grows linearly from `start` times the base rate to
    /// the base rate; the schedule follows from its beginning. `LinearLR` in a `SequentialLR`.
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
    pub(crate) fn check(self) -> Result<Self, Error> {
        let (what, value) = match self.decay {
            Decay::Step { every: 0, .. } => return Err(Error::Zero { argument: Argument::StepEpochs }),
            Decay::Cosine { epochs: 0, .. } => return Err(Error::Zero { argument: Argument::CosineEpochs }),
            Decay::Step { factor, .. } | Decay::Exponential { factor } => (Argument::ScheduleFactor, factor),
            Decay::Cosine { lowest, .. } => (Argument::LowestLearningRate, lowest),
            Decay::Constant => (Argument::WarmUpStart, self.start),
        };
        match [(what, value), (Argument::WarmUpStart, self.start)]
            .into_iter()
            .find(|&(_, value)| !(value >= 0.0 && value.is_finite()))
        {
            Some((what, value)) => Err(Error::Setting { argument: what, value }),
            None => Ok(self),
        }
    }
}

/// Lowers the learning rate when a loss no longer falls: `ReduceLROnPlateau` with its relative threshold and
/// no smallest change of the rate, where a loss is lower if it is below `(1 - 1e-4)` of the lowest so far.
///
/// # Examples
/// ```
/// use fuseprop::ReduceOnPlateau;
///
/// let mut plateau = ReduceOnPlateau::new(0.1, 2);
/// let factors: Vec<f64> = [1.0, 0.5, 0.5, 0.5, 0.5].map(|loss| plateau.factor(loss)).to_vec();
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
    /// without a lower loss.
    #[must_use]
    pub fn new(factor: f64, patience: usize) -> Self {
        Self { factor, patience, lowest: f64::INFINITY, waited: 0 }
    }

    /// What to multiply the learning rate by after an epoch with this loss: 1, or the factor.
    pub fn factor(&mut self, loss: f64) -> f64 {
        if loss < self.lowest * (1.0 - 1e-4) {
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
    pub(crate) fn check(self) -> Result<Self, Error> {
        if (0.0..1.0).contains(&self.factor) {
            return Ok(self);
        }
        Err(Error::Setting { argument: Argument::PlateauFactor, value: self.factor })
    }
}
