//! One cycle: up to the base rate, then down to next to nothing.

use crate::error::{Argument, Error};
use crate::float_math::sin_cos;
use crate::train::schedule::Schedule;
use crate::train::schedule::formulas::{Formula, check_rate};

/// The rate rises to the base rate, then falls far below its start (Smith and Topin 2018).
/// `torch.optim.lr_scheduler.OneCycleLR` with its two phases, where the base rate is `max_lr`.
///
/// From `base / div_factor` at 0 to `base` at `pct_start count - 1`, and on to
/// `base / div_factor / final_div_factor` at `count - 1`, each way along half a cosine or a
/// [line](OneCycle::linear). That last rate is kept from there on. Made into a [`Schedule`] by `into()`.
///
/// Defaults: `pct_start` 0.3, `div_factor` 25, `final_div_factor` 1e4, cosines. The momentum is not cycled:
/// it is the optimizer's setting.
///
/// # Examples
/// ```
/// use fuseprop::{FitOptions, OneCycle, Schedule};
///
/// // 10 epochs of 30 steps each.
/// let schedule: Schedule = OneCycle::new(300).into();
/// let rates = [0, 89, 299].map(|step| schedule.rate(0.5, step)); // 0.3 of the way less one is 89
/// assert!((rates[0] - 0.5 / 25.0).abs() < 1e-15 && (rates[2] - 0.5 / 25.0 / 1e4).abs() < 1e-15);
/// assert_eq!(rates[1], 0.5);
/// let how = FitOptions::<f32>::new(10, 32).step_schedule(schedule);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCycle {
    count: usize,
    pct_start: f64,
    div_factor: f64,
    final_div_factor: f64,
    is_linear: bool,
}

impl OneCycle {
    /// A cycle of `count` steps, at least 1, or of as many epochs.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{OneCycle, Schedule};
    ///
    /// assert_eq!(Schedule::from(OneCycle::new(100)).rate(1.0, 29), 1.0);
    /// ```
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { count, pct_start: 0.3, div_factor: 25.0, final_div_factor: 1e4, is_linear: false }
    }

    /// The part of the cycle in which the rate rises, from 0 to 1; 0.3 by default.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{OneCycle, Schedule};
    ///
    /// assert_eq!(Schedule::from(OneCycle::new(100).pct_start(0.5)).rate(1.0, 49), 1.0);
    /// ```
    #[must_use]
    pub fn pct_start(mut self, pct_start: f64) -> Self {
        self.pct_start = pct_start;
        self
    }

    /// What the base rate is divided by at the start, finite and above 0; 25 by default.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{OneCycle, Schedule};
    ///
    /// assert_eq!(Schedule::from(OneCycle::new(100).div_factor(8.0)).rate(1.0, 0), 0.125);
    /// ```
    #[must_use]
    pub fn div_factor(mut self, div_factor: f64) -> Self {
        self.div_factor = div_factor;
        self
    }

    /// What the first rate is divided by at the end, finite and above 0; 1e4 by default.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{OneCycle, Schedule};
    ///
    /// let cycle = OneCycle::new(100).div_factor(8.0).final_div_factor(2.0);
    /// assert_eq!(Schedule::from(cycle).rate(1.0, 99), 1.0 / 16.0);
    /// ```
    #[must_use]
    pub fn final_div_factor(mut self, final_div_factor: f64) -> Self {
        self.final_div_factor = final_div_factor;
        self
    }

    /// Along lines instead of cosines: PyTorch's `anneal_strategy="linear"`.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{OneCycle, Schedule};
    ///
    /// let cycle = OneCycle::new(21).pct_start(1.0).div_factor(2.0).linear();
    /// assert_eq!(Schedule::from(cycle).rate(1.0, 10), 0.75);
    /// ```
    #[must_use]
    pub fn linear(mut self) -> Self {
        self.is_linear = true;
        self
    }

    /// The rates at the start, the highest and the last.
    pub(super) fn ends(&self, base: f64) -> [f64; 3] {
        let start = base / self.div_factor;
        [start, base, start / self.final_div_factor]
    }

    pub(super) fn rate(&self, base: f64, at: usize) -> f64 {
        let [start, highest, lowest] = self.ends(base);
        let last = self.count.saturating_sub(1);
        let (at, last) = (at.min(last) as f64, last as f64);
        let turn = self.pct_start * self.count as f64 - 1.0;
        let (from, to, part) = match at <= turn {
            true => (start, highest, at / turn),
            false => (highest, lowest, (at - turn) / (last - turn)),
        };
        // Without a way there is its end.
        let part = if part.is_nan() { 1.0 } else { part };
        if self.is_linear {
            return from + (to - from) * part;
        }
        let (_, cos) = sin_cos(core::f64::consts::PI * part);
        to + (from - to) / 2.0 * (1.0 + cos)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.count == 0 {
            return Err(Error::Zero { argument: Argument::ScheduleLength });
        }
        check_rate(Argument::CyclePart, self.pct_start)?;
        if self.pct_start > 1.0 {
            return Err(Error::Setting { argument: Argument::CyclePart, value: self.pct_start });
        }
        for value in [self.div_factor, self.final_div_factor] {
            if !(value > 0.0 && value.is_finite()) {
                return Err(Error::Setting { argument: Argument::CycleDivisor, value });
            }
        }
        Ok(())
    }
}

impl From<OneCycle> for Schedule {
    fn from(cycle: OneCycle) -> Self {
        Self::new(Formula::OneCycle(cycle))
    }
}
