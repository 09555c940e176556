//! Parameters to return to when a fit meets a loss, a gradient or a parameter that is not finite.
//!
//! A loss is checked before its update, which costs nothing. A gradient is not, for that would read it once
//! more before its update: what is not finite in it stays in the parameters, which are checked after each
//! epoch. Only then are the epoch's steps taken again from a snapshot, each with all checks: they are the
//! same to the bit, so that the error names the step, and the parameters are those of the step before.

use crate::engine::micro_batch::Purpose;
use crate::engine::plan::fits_in_l2;
use crate::engine::update::GradientClipping;
use crate::error::{Argument, Error};
use crate::kernels::ops::optimizer::MAX_MOMENTS;
use crate::simd::scalar::{Element, elements};
use crate::train::dataset::{Dataset, GatheredBatch};
use crate::train::executor::{Executor, ExecutorSpec};
use crate::train::schedule::Schedule;
use crate::train::trainer::Trainer;

/// Rows between two snapshots, at least. A copy of parameters and two moments from memory takes as long as
/// the arithmetic of some 80 rows at the peak, a hundredth of this.
const ROWS: usize = 8192;

/// The same of a network that fits in L2. A copy takes as long as the arithmetic of one to four rows there,
/// at what small networks reach of the peak.
const ROWS_IN_L2: usize = 256;

/// A copy of all that a step changes.
#[derive(Clone)]
struct Copied<T: Element> {
    parameters: Vec<T::Line>,
    moments: [Vec<T::Line>; MAX_MOMENTS],
    steps: u64,
    passes: u64,
}

impl<T: Element> Copied<T> {
    fn of(trainer: &Trainer<T>) -> Self {
        let Trainer { network, state, .. } = trainer;
        let (parameters, moments) = (network.parameters.to_vec(), state.moments.clone());
        Self { parameters, moments, steps: state.steps, passes: state.passes }
    }

    /// Overwrites it. Allocates nothing, unless a callback has loaded a checkpoint of another optimizer.
    fn renew(&mut self, trainer: &Trainer<T>) {
        let Trainer { network, state, .. } = trainer;
        self.parameters.copy_from_slice(&network.parameters);
        for (to, from) in self.moments.iter_mut().zip(&state.moments) {
            to.clone_from(from);
        }
        (self.steps, self.passes) = (state.steps, state.passes);
    }

    fn restore(&self, trainer: &mut Trainer<T>) {
        trainer.restore(&self.parameters);
        let moments = trainer.state.moments.iter_mut().zip(&self.moments);
        // Those of another optimizer, if a callback has loaded it since, stay.
        for (to, from) in moments.filter(|(to, from)| to.len() == from.len()) {
            to.copy_from_slice(from);
        }
        (trainer.state.steps, trainer.state.passes) = (self.steps, self.passes);
    }
}

/// The state before an epoch.
pub(super) struct Snapshot<T: Element> {
    state: Copied<T>,
    /// The number of the epoch that followed; 0 for none yet.
    epoch: usize,
    /// Rows of the epochs since.
    rows: usize,
}

/// An epoch whose steps may be taken again.
pub(super) struct EpochRows<'a, T> {
    pub(super) number: usize,
    pub(super) data: Dataset<'a, T>,
    pub(super) order: &'a [usize],
    pub(super) batch_rows: usize,
    /// The rate of the epoch, and what makes those of its steps of it.
    pub(super) learning_rate: f64,
    pub(super) schedule: &'a Schedule,
    pub(super) step_schedule: Option<&'a Schedule>,
    /// Whether all that is not finite is refused.
    pub(super) checks: bool,
}

impl<T> EpochRows<'_, T> {
    /// The rate of a step, counted from 0, but for the warm-up of the trainer's first.
    pub(super) fn step_rate(&self, step: usize) -> f64 {
        self.step_schedule.map_or(self.learning_rate, |schedule| schedule.rate(self.learning_rate, step))
    }
}

impl<T: Element> Snapshot<T> {
    pub(super) fn new(trainer: &Trainer<T>) -> Self {
        Self { state: Copied::of(trainer), epoch: 0, rows: 0 }
    }

    /// Renews the snapshot before an epoch of some rows, if the last one is old.
    pub(super) fn renew(&mut self, trainer: &Trainer<T>, epoch: usize, rows: usize) {
        let fits = fits_in_l2::<T>(trainer.network.parameters.len());
        if self.epoch == 0 || self.rows >= if fits { ROWS_IN_L2 } else { ROWS } {
            self.state.renew(trainer);
            (self.epoch, self.rows) = (epoch, 0);
        }
        self.rows = self.rows.saturating_add(rows);
    }

    /// What an epoch ends with instead of `error`, with the trainer as before the step that was not finite:
    /// see [`Error::NonFinite`]. `batch` holds the rows of the last step.
    #[cold]
    pub(super) fn recover(
        &self,
        trainer: &mut Trainer<T>,
        error: Error,
        rows: &EpochRows<'_, T>,
        batch: &mut GatheredBatch<T>,
    ) -> Error {
        let mut error = error;
        if trainer.first_not_finite().is_some() {
            self.state.restore(trainer);
            if self.epoch == rows.number {
                error = trainer.take_again(rows, batch).unwrap_or(error);
            }
        }
        match error {
            Error::NonFinite { argument, step, layer, .. } => {
                let layer = layer.or_else(|| trainer.first_infinite_layer(rows, batch));
                Error::NonFinite { argument, step, layer, epoch: Some(rows.number) }
            }
            other => other,
        }
    }
}

impl<T: Element> Trainer<T> {
    /// Refuses parameters that are not finite.
    pub(super) fn check_parameters(&self) -> Result<(), Error> {
        // Squares that overflow are looked at one by one.
        if self.executor.engine.sum_of_squares(&self.network.parameters).is_finite() {
            return Ok(());
        }
        match self.first_not_finite() {
            None => Ok(()),
            layer => {
                let (argument, step) = (Argument::Parameters, self.state.steps);
                Err(Error::NonFinite { argument, step, layer, epoch: None })
            }
        }
    }

    /// The first layer with a parameter that is not finite.
    fn first_not_finite(&self) -> Option<usize> {
        let is_finite = |x: &T| x.to_f64().is_finite();
        let of_layer = |layer: usize| elements::<T>(self.network.layer_lines(layer));
        (0..self.network.layers.len()).find(|&layer| !of_layer(layer).iter().all(is_finite))
    }

    /// Takes the steps of an epoch once more, each with all checks, up to the one that is refused or has made
    /// a parameter infinite. Leaves all as before that step.
    fn take_again(&mut self, epoch: &EpochRows<'_, T>, batch: &mut GatheredBatch<T>) -> Option<Error> {
        let checks = self.executor.clipping.check_finite;
        // Only the general path refuses a gradient.
        let single_panel = self.executor.single_panel.take();
        self.executor.clipping.check_finite = true;
        let mut before = Copied::of(self);
        let mut refused = None;
        for rows in epoch.order.chunks(epoch.batch_rows) {
            before.renew(self);
            let rate = self.schedule_step(epoch);
            batch.gather(epoch.data, rows);
            let step = rate.and_then(|()| self.step(&batch.x, batch.targets(&epoch.data.targets)));
            if let Err(error) = step.and_then(|_| self.check_parameters()) {
                before.restore(self);
                refused = Some(error);
                break;
            }
        }
        self.executor.clipping.check_finite = checks;
        self.executor.single_panel = single_panel;
        refused
    }

    /// The first layer whose outputs are not finite for the rows of a batch.
    fn first_infinite_layer(&self, epoch: &EpochRows<'_, T>, batch: &GatheredBatch<T>) -> Option<usize> {
        let Executor { engine, ref threads, max_batch, .. } = self.executor;
        let spec = ExecutorSpec {
            threads: threads.clone(),
            thread_count: 1,
            max_batch,
            clipping: GradientClipping::NONE,
            purpose: Purpose::Train,
            layer_stats: true,
            precision: self.executor.precision,
        };
        let executor = Executor::new(&self.network, engine, spec);
        let (network, criterion) = (self.network.clone(), self.criterion.clone());
        let mut copy = Self { network, state: self.state.clone(), executor, criterion };
        copy.compute_gradients(&batch.x, batch.targets(&epoch.data.targets)).ok()?;
        copy.layer_stats().ok()?.position(|layer| !layer.activations.is_finite())
    }
}
