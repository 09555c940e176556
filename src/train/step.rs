//! The training step: from rows and targets to updated weights.
//!
//! ```text
//! for each shard of the batch, in parallel:            engine/batch.rs
//!     for each micro-batch of its rows:                engine/micro_batch.rs
//!         forward, loss, backward
//!         depth-first: its share of the gradient is added to the shard's
//! for each block of parameters, in parallel:          engine/update.rs
//!     the gradient: summed over micro-batches (two-phase) or shards (depth-first)
//!     the optimizer's update, and the transposed copy
//! ```

use crate::engine::batch::PassKind;
use crate::engine::parallel::UPDATE_FLOP;
use crate::engine::plan::{Plan, step_flop};
use crate::engine::single_panel::SinglePanelStep;
use crate::engine::update::{Beta, UpdatePlan};
use crate::error::{Argument, Error, check_batch};
use crate::kernels::ops::loss::Objective;
use crate::kernels::ops::optimizer::Update;
use crate::kernels::ops::targets::Targets;
use crate::simd::scalar::Element;
use crate::train::executor::{Executor, Work};
use crate::train::trainer::{Criterion, Trainer};

/// How far a batch is taken.
#[derive(Clone, Copy)]
enum Goal {
    /// The gradient, alone or on top of what is there.
    Gradient(Beta),
    /// The gradient and the update.
    Step,
}

/// Checked rows and what they are compared with.
#[derive(Clone, Copy)]
struct Batch<'a, T> {
    /// `[rows, inputs]`.
    x: &'a [T],
    rows: usize,
    objective: Objective<'a, T>,
}

impl<T: Element> Trainer<T> {
    /// One step: forward, loss, backward, update, fused. The loss is that before the update.
    ///
    /// `x` is `[batch, inputs]`, `targets` values `[batch, outputs]` or class indices `[batch]`.
    /// [`Trainer::gradients`] holds the step's gradient afterwards. Allocates nothing on a worker of the
    /// pool; called from outside, rayon allocates a block for every 63 steps that are long enough to be
    /// shared out.
    ///
    /// Denormal numbers (below 1.2e-38 in `f32`, 2.2e-308 in `f64`) count as 0 in inputs, in gradients that go from layer
    /// to layer and in updated parameters: many processors would stall on them.
    ///
    /// # Errors
    /// [`Error::Rows`] unless `x` is whole rows, at least one; [`Error::Batch`] for more rows than
    /// `max_batch`; [`Error::Length`], [`Error::Targets`] or [`Error::Class`] for targets that do not fit.
    /// Nothing has changed then. [`Error::NonFinite`], if [`TrainerBuilder::check_finite`](crate::TrainerBuilder::check_finite) asked for the check, with the
    /// parameters as before.
    pub fn step<'t>(&mut self, x: &[T], targets: impl Into<Targets<'t, T>>) -> Result<f64, Error>
    where
        T: 't,
    {
        self.train(x, targets.into(), None, Goal::Step)
    }

    /// [`Trainer::step`] with a weight for the loss of each row, `[batch]`, at least 0: see [`Reduction`].
    ///
    /// # Errors
    /// As [`Trainer::step`]; [`Error::Length`] or [`Error::Setting`] for weights that do not fit, are negative or
    /// not finite.
    pub fn step_weighted<'t>(
        &mut self,
        x: &[T],
        targets: impl Into<Targets<'t, T>>,
        weights: &[T],
    ) -> Result<f64, Error>
    where
        T: 't,
    {
        self.train(x, targets.into(), Some(weights), Goal::Step)
    }

    /// The first half of [`Trainer::step`]: the loss, and its gradient in [`Trainer::gradients`].
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn compute_gradients<'t>(&mut self, x: &[T], targets: impl Into<Targets<'t, T>>) -> Result<f64, Error>
    where
        T: 't,
    {
        self.train(x, targets.into(), None, Goal::Gradient(Beta::Zero))
    }

    /// [`Trainer::compute_gradients`] with a weight for the loss of each row, as [`Trainer::step_weighted`].
    ///
    /// # Errors
    /// As [`Trainer::step_weighted`].
    pub fn compute_gradients_weighted<'t>(
        &mut self,
        x: &[T],
        targets: impl Into<Targets<'t, T>>,
        weights: &[T],
    ) -> Result<f64, Error>
    where
        T: 't,
    {
        self.train(x, targets.into(), Some(weights), Goal::Gradient(Beta::Zero))
    }

    /// Adds the gradient of another batch to that in [`Trainer::gradients`], for batches in several parts of which the
    /// first goes to [`Trainer::compute_gradients`].
    ///
    /// ```
    /// # use fuseprop::{Activation, Network, Trainer};
    /// # let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
    /// # let mut trainer = Trainer::builder(network).max_batch(2).build()?;
    /// # let (x, targets) = ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], [1.0, 0.0, 1.0, 0.0]);
    /// trainer.compute_gradients(&x[..4], &targets[..2])?; // the first part overwrites
    /// trainer.accumulate_gradients(&x[4..], &targets[2..])?;
    /// trainer.gradients_mut().iter_mut().for_each(|g| *g /= 2.0); // the mean of two means
    /// trainer.apply_gradients()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    ///
    /// Each part is reduced by itself: with [`Reduction::Mean`] the sum over `n` parts is `n` times the mean of
    /// parts of one size.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn accumulate_gradients<'t>(
        &mut self,
        x: &[T],
        targets: impl Into<Targets<'t, T>>,
    ) -> Result<f64, Error>
    where
        T: 't,
    {
        self.train(x, targets.into(), None, Goal::Gradient(Beta::One))
    }

    /// The second half of [`Trainer::step`]: the optimizer's update by [`Trainer::gradients`], clipped if that was
    /// requested.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for a gradient that is not finite, if [`TrainerBuilder::check_finite`](crate::TrainerBuilder::check_finite) requested the
    /// check. Nothing has changed then.
    pub fn apply_gradients(&mut self) -> Result<(), Error> {
        let Self { network, state, executor, criterion } = self;
        let clipping = executor.clipping;
        let update = Some(state.next_update(clipping.value));
        let finish = UpdatePlan { clipping, update, ..UpdatePlan::NOTHING };
        let flop = UPDATE_FLOP.saturating_mul(network.parameter_count());
        let work = Work { x: &[], rows: 0, pass: None, classes: &criterion.classes, finish, flop };
        executor.run(network, state, work)?;
        executor.forward_rows = 0;
        state.steps += 1;
        Ok(())
    }

    fn train(
        &mut self,
        x: &[T],
        targets: Targets<'_, T>,
        weights: Option<&[T]>,
        goal: Goal,
    ) -> Result<f64, Error> {
        let (inputs, outputs) = (self.network.inputs(), self.network.outputs());
        let rows = check_batch(Argument::Inputs, x.len(), inputs, self.executor.max_batch)?;
        let Criterion { loss, ref classes, reduction } = self.criterion;
        loss.check_targets(targets, weights, (rows, outputs))?;
        self.executor.forward_rows = 0;
        let scale = loss.scale(reduction, (targets, weights), classes, (rows, outputs));
        let batch = Batch { x, rows, objective: Objective { loss, scale, targets, weights } };
        let (start, update) = match goal {
            Goal::Gradient(start) => (start, None),
            Goal::Step => (Beta::Zero, Some(self.state.next_update(self.executor.clipping.value))),
        };
        let loss = match self.step_single_panel(batch, start, update.as_ref())? {
            Some(loss) => loss,
            None => self.step_micro_batches(batch, start, update)?,
        };
        self.state.steps += u64::from(update.is_some());
        Ok(loss)
    }

    /// Both halves of a step.
    fn step_micro_batches(
        &mut self,
        batch: Batch<'_, T>,
        start: Beta,
        update: Option<Update>,
    ) -> Result<f64, Error> {
        let Self { network, state, executor, criterion } = self;
        let Batch { x, rows, objective } = batch;
        let flop = step_flop(rows, network.parameter_count());
        let (measure, clipping) = (executor.keeps_layer_stats, executor.clipping);
        let finish = UpdatePlan { sum: Some(start), measure, clipping, update };
        executor.start_layer_stats(rows);
        state.passes += 1;
        let pass = Some(PassKind::Train(objective));
        executor.run(network, state, Work { x, rows, pass, classes: &criterion.classes, finish, flop })
    }

    /// Both halves of a step, if the network and the batch are small. A norm to clip by must be known before the update,
    /// which is then left to the general second half.
    fn step_single_panel(
        &mut self,
        batch: Batch<'_, T>,
        start: Beta,
        update: Option<&Update>,
    ) -> Result<Option<f64>, Error> {
        let Self { network, state, executor, criterion } = self;
        let (classes, clipping) = (&criterion.classes, executor.clipping);
        let Executor { engine, single_panel, partition, gradients, plan, .. } = &mut *executor;
        // Shards add the gradient of a batch to that of another as a whole, not row by row.
        let suits = *plan == Plan::TwoPhase || start == Beta::Zero;
        let Some(buffers) = single_panel.as_mut().filter(|small| suits && small.suit(network, batch.rows))
        else {
            return Ok(None);
        };
        let mut step = SinglePanelStep {
            buffers,
            layers: &network.layers,
            parameters: &mut network.parameters,
            transposed: &mut partition.transposed,
            gradients,
            moments: state.moments_mut(),
            classes,
            x: batch.x,
            rows: batch.rows,
            objective: batch.objective,
            start,
            update: update.filter(|_| !clipping.measures()),
        };
        let loss = engine.step_single_panel(&mut step);
        state.passes += 1;
        if clipping.measures()
            && let Some(&update) = update
        {
            let finish = UpdatePlan { clipping, update: Some(update), ..UpdatePlan::NOTHING };
            let work = Work { x: &[], rows: 0, pass: None, classes, finish, flop: 0 };
            executor.run(network, state, work)?;
        }
        Ok(Some(loss))
    }

    /// The loss of some rows times `scale`, without a gradient; their outputs are in [`Trainer::last_outputs`].
    pub(crate) fn loss_of(
        &mut self,
        x: &[T],
        targets: Targets<'_, T>,
        weights: Option<&[T]>,
        scale: f64,
    ) -> Result<f64, Error> {
        let Self { network, state, executor, criterion } = self;
        executor.forward_rows = 0;
        executor.allocate_outputs(network);
        let objective = Objective { loss: criterion.loss, scale, targets, weights };
        let rows = x.len() / network.inputs();
        let flop = rows * 2 * network.parameter_count();
        let (pass, finish) = (Some(PassKind::Evaluate(objective)), UpdatePlan::NOTHING);
        executor.run(network, state, Work { x, rows, pass, classes: &criterion.classes, finish, flop })
    }

    /// The outputs of the last [`Trainer::loss_of`]; logits, for a loss that takes them.
    pub(crate) fn last_outputs(&self, rows: usize) -> &[T] {
        &self.executor.outputs[..rows * self.network.outputs()]
    }
}
