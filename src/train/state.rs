//! What training has come to besides the network: all that a checkpoint saves.

use crate::kernels::ops::optimizer::{MAX_MOMENTS, Optimizer, Update};
use crate::simd::scalar::{Element, Line, elements_mut};
use crate::train::fit::FitState;

/// What training has come to besides the network: all that a checkpoint saves.
#[derive(Clone, Debug)]
pub(crate) struct TrainState<T: Element> {
    pub(crate) optimizer: Optimizer,
    /// What the optimizer keeps beside each parameter, in the layout of the parameters.
    pub(crate) moments: [Vec<T::Line>; MAX_MOMENTS],
    /// Updates so far.
    pub(crate) steps: u64,
    /// Training and forward passes so far, the one under way among them: dropout follows from it.
    pub(crate) passes: u64,
    /// Epochs of all fits so far.
    pub(crate) epochs: usize,
    /// The seed of dropout, and of the order of rows unless a fit has its own.
    pub(crate) seed: u64,
    /// The fit under way, or the one that a checkpoint was written in or that an error has ended: the next
    /// goes on with it.
    pub(crate) fit: Option<FitState<T>>,
}

impl<T: Element> TrainState<T> {
    /// The state before the first step, for some number of lines of parameters.
    pub(crate) fn new(optimizer: Optimizer, lines: usize, seed: u64) -> Self {
        let mut moments: [Vec<T::Line>; MAX_MOMENTS] = Default::default();
        for (moment, start) in moments.iter_mut().zip(optimizer.moments()) {
            *moment = vec![T::Line::ZERO; lines];
            elements_mut::<T>(moment).fill(T::from_f64(start));
        }
        Self { optimizer, moments, steps: 0, passes: 0, epochs: 0, seed, fit: None }
    }

    /// The next update, whose gradient's elements are limited to a magnitude.
    pub(crate) fn next_update(&self, limit: f64) -> Update {
        Update { optimizer: self.optimizer, step: self.steps + 1, scale: 1.0, limit }
    }

    /// The moments as an update takes them.
    pub(crate) fn moments_mut(&mut self) -> [&mut [T::Line]; MAX_MOMENTS] {
        self.moments.each_mut().map(Vec::as_mut_slice)
    }
}
