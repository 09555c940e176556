//! The formulas of learning rates over epochs or steps.

use std::sync::Arc;

use crate::error::{Argument, Error};
use crate::float_math::{exp, ln, power, sin_cos};
use crate::simd::scalar::Element;
use crate::train::schedule::Schedule;
use crate::train::schedule::one_cycle::OneCycle;

/// From a base rate and a position, counted from 0, to a rate.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Formula {
    Constant,
    Step { every: usize, factor: f64 },
    MultiStep { milestones: Arc<[usize]>, factor: f64 },
    Exponential { factor: f64 },
    Linear { count: usize, start: f64, end: f64 },
    Polynomial { count: usize, exponent: f64 },
    Cosine { count: usize, lowest: f64 },
    WarmRestarts(WarmRestarts),
    OneCycle(OneCycle),
    Sequence { first: Arc<Schedule>, milestone: usize, next: Arc<Schedule> },
    Chain { first: Arc<Schedule>, next: Arc<Schedule> },
    Own(OwnFormula),
}

impl Formula {
    pub(super) fn rate(&self, base: f64, at: usize) -> f64 {
        match self {
            Self::Constant => base,
            Self::Step { every, factor } => base * power(*factor, (at / every.max(&1)) as u64),
            Self::MultiStep { milestones, factor } => {
                base * power(*factor, milestones.iter().filter(|&&milestone| milestone <= at).count() as u64)
            }
            Self::Exponential { factor } => base * power(*factor, at as u64),
            &Self::Linear { count, start, end } => base * (start + (end - start) * part_of(at, count)),
            &Self::Polynomial { count, exponent } => base * root_power(1.0 - part_of(at, count), exponent),
            &Self::Cosine { count, lowest } => {
                let (_, cos) = sin_cos(core::f64::consts::PI * part_of(at, count));
                lowest + (base - lowest) * (1.0 + cos) / 2.0
            }
            Self::WarmRestarts(restarts) => restarts.rate(base, at),
            Self::OneCycle(cycle) => cycle.rate(base, at),
            Self::Sequence { first, milestone, .. } if at < *milestone => first.rate(base, at),
            Self::Sequence { milestone, next, .. } => next.rate(base, at - milestone),
            Self::Chain { first, next } => next.rate(first.rate(base, at), at),
            Self::Own(own) => (own.0)(base, at),
        }
    }

    /// Refuses settings that give no rate.
    pub(super) fn check(&self) -> Result<(), Error> {
        let at_least_1 = |argument, count| match count {
            0 => Err(Error::Zero { argument }),
            _ => Ok(()),
        };
        match self {
            Self::Constant | Self::Own(_) => Ok(()),
            &Self::Step { every, factor } => {
                at_least_1(Argument::StepEpochs, every)?;
                check_rate(Argument::ScheduleFactor, factor)
            }
            Self::MultiStep { milestones, factor } => {
                check_milestones(milestones)?;
                check_rate(Argument::ScheduleFactor, *factor)
            }
            &Self::Exponential { factor } => check_rate(Argument::ScheduleFactor, factor),
            &Self::Linear { count, start, end } => {
                at_least_1(Argument::ScheduleLength, count)?;
                check_rate(Argument::ScheduleFactor, start)?;
                check_rate(Argument::ScheduleFactor, end)
            }
            &Self::Polynomial { count, exponent } => {
                at_least_1(Argument::ScheduleLength, count)?;
                check_rate(Argument::ScheduleExponent, exponent)
            }
            &Self::Cosine { count, lowest } => {
                at_least_1(Argument::CosineEpochs, count)?;
                check_rate(Argument::LowestLearningRate, lowest)
            }
            Self::WarmRestarts(restarts) => {
                at_least_1(Argument::CosineEpochs, restarts.first)?;
                at_least_1(Argument::RestartFactor, restarts.factor)?;
                check_rate(Argument::LowestLearningRate, restarts.lowest)
            }
            Self::OneCycle(cycle) => cycle.check(),
            Self::Sequence { first, milestone, next } => {
                at_least_1(Argument::Milestone, *milestone)?;
                if let Self::Sequence { milestone: before, .. } = &first.formula
                    && before.saturating_add(first.warm_up) >= *milestone
                {
                    return Err(Error::Setting { argument: Argument::Milestone, value: *milestone as f64 });
                }
                first.check_part().and_then(|()| next.check_part())
            }
            Self::Chain { first, next } => first.check_part().and_then(|()| next.check_part()),
        }
    }

    /// Rates of which one is the highest of positions `first` to `last`, as far as the formula tells: where a
    /// rate only rises or falls its ends are enough, which the caller has.
    pub(super) fn add_extremes(&self, base: f64, first: usize, last: usize, to: &mut Vec<f64>) {
        match self {
            Self::Constant
            | Self::Step { .. }
            | Self::MultiStep { .. }
            | Self::Exponential { .. }
            | Self::Linear { .. }
            | Self::Polynomial { .. }
            | Self::Cosine { .. }
            // Of a product the highest may lie anywhere; of an own formula nothing is known.
            | Self::Chain { .. }
            | Self::Own(_) => {}
            Self::WarmRestarts(restarts) => to.extend([base, restarts.lowest]),
            Self::OneCycle(cycle) => to.extend(cycle.ends(base)),
            Self::Sequence { first: before, milestone, next } => {
                if first < *milestone {
                    before.add_extremes(base, first, last.min(milestone - 1), to);
                }
                if last >= *milestone {
                    next.add_extremes(base, first.saturating_sub(*milestone), last - milestone, to);
                }
            }
        }
    }
}

/// Cosines one after the other (Loshchilov and Hutter 2017).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct WarmRestarts {
    /// Length of the first.
    pub(super) first: usize,
    /// Of each next one's length to the last.
    pub(super) factor: usize,
    pub(super) lowest: f64,
}

impl WarmRestarts {
    fn rate(self, base: f64, at: usize) -> f64 {
        let (mut at, mut length) = (at, self.first.max(1));
        if self.factor <= 1 {
            at %= length;
        }
        while at >= length {
            at -= length;
            length = length.saturating_mul(self.factor);
        }
        let (_, cos) = sin_cos(core::f64::consts::PI * (at as f64 / length as f64));
        self.lowest + (base - self.lowest) * (1.0 + cos) / 2.0
    }
}

/// What stands behind a formula of the caller's.
type Function = dyn Fn(f64, usize) -> f64 + Send + Sync;

/// A formula of the caller's, equal to its clones.
#[derive(Clone)]
pub(super) struct OwnFormula(pub(super) Arc<Function>);

impl core::fmt::Debug for OwnFormula {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("OwnFormula")
    }
}

impl PartialEq for OwnFormula {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// How much of a way of `count` positions is behind one.
fn part_of(at: usize, count: usize) -> f64 {
    (at as f64 / count.max(1) as f64).min(1.0)
}

/// `x^exponent` of an `x` from 0 to 1: products for the whole part of the exponent, and an exponential of a
/// logarithm for the rest.
fn root_power(x: f64, exponent: f64) -> f64 {
    let whole = exponent.floor();
    let of_whole = power(x, whole as u64);
    match exponent - whole {
        0.0 => of_whole,
        0.5 => of_whole * x.sqrt(),
        _ if x == 0.0 => 0.0,
        rest => of_whole * exp(rest * ln(x)),
    }
}

/// Refuses a number that is not finite and at least 0.
pub(super) fn check_rate(argument: Argument, value: f64) -> Result<(), Error> {
    match value >= 0.0 && value.is_finite() {
        true => Ok(()),
        false => Err(Error::Setting { argument, value }),
    }
}

/// Refuses a rate that no optimizer can have.
pub(in crate::train) fn check_scheduled<T: Element>(value: f64) -> Result<f64, Error> {
    match value >= 0.0 && T::holds(value) {
        true => Ok(value),
        false => Err(Error::Setting { argument: Argument::ScheduledLearningRate, value }),
    }
}

/// Refuses milestones that do not rise from at least 1.
fn check_milestones(milestones: &[usize]) -> Result<(), Error> {
    if milestones.first() == Some(&0) {
        return Err(Error::Zero { argument: Argument::Milestone });
    }
    match milestones.windows(2).find(|pair| pair[0] >= pair[1]) {
        Some(pair) => Err(Error::Setting { argument: Argument::Milestone, value: pair[1] as f64 }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_any_exponent_are_within_a_few_roundings() {
        for exponent in [0.0, 0.5, 0.9, 1.0, 1.5, 2.0, 3.7, 30.0] {
            for i in 0..=1000 {
                let x = f64::from(i) / 1000.0;
                let (found, right) = (root_power(x, exponent), x.powf(exponent));
                // One for each product and each unit in the exponential's argument.
                let bound = (exponent + 8.0) * f64::EPSILON * right;
                assert!((found - right).abs() <= bound, "{x}^{exponent}: {found} is not {right}");
            }
        }
    }
}
