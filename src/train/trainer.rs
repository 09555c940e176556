//! The training step: from rows and targets to updated weights.
//!
//! ```text
//! for each shard of the batch, in parallel:            pass.rs
//!     for each tile of its rows:                      micro_batch.rs
//!         forward, loss, backward
//!         depth-first: its share of the gradient is added to the shard's
//! for each block of parameters, in parallel:          update.rs
//!     the gradient: summed over tiles (two-phase) or shards (depth-first)
//!     the optimizer's update, and the transposed copy
//! ```

use crate::engine::dispatch::Engine;
use crate::error::Argument;
use core::fmt;

use crate::engine::batch::{BatchRange, GradientShard, PassContext, PassKind, total_loss};
use crate::engine::parallel::UPDATE_FLOP;
use crate::engine::parallel::{Parallelism, Threads};
use crate::engine::partition::{ParameterBlock, ParameterPartition};
use crate::engine::plan::{MicroBatchRows, Plan, step_flop};
use crate::engine::prediction::shares;
use crate::engine::single_panel::{SinglePanelBuffers, SinglePanelStep};
use crate::engine::update::{GradientClipping, ParameterBlocks, UpdatePlan};
use crate::error::{Error, check_batch, check_length};
use crate::kernels::matrix::Beta;
use crate::kernels::ops::dropout::DropoutRng;
use crate::kernels::ops::loss::{ClassWeights, Loss, Objective, Reduction};
use crate::kernels::ops::optimizer::{MAX_MOMENTS, Optimizer, Update};
use crate::kernels::ops::targets::Targets;
use crate::network::{Network, read_canonical};
use crate::simd::scalar::Element;
use crate::simd::scalar::{elements, elements_mut};
use crate::train::builder::TrainerBuilder;
use crate::train::fit::Progress;

/// Trains a network, batch by batch, in buffers that are allocated once.
///
/// The bits of every result are the same for any number of threads, and on AVX2 and AVX-512.
///
/// ```
/// use fuseprop::{Activation, Loss, Network, Optimizer, Trainer};
///
/// let network = Network::<f32>::builder(2)
///     .dense(8, Activation::Tanh)
///     .dense(1, Activation::Identity)
///     .seed(7)
///     .build()?;
/// let mut trainer = Trainer::builder(network)
///     .loss(Loss::MeanSquaredError)
///     .optimizer(Optimizer::sgd(0.1))
///     .max_batch(4)
///     .build()?;
/// let x = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0];
/// let products = [0.0, 0.0, 0.0, 1.0];
/// let before = trainer.step(&x, &products)?;
/// for _ in 0..100 {
///     trainer.step(&x, &products)?;
/// }
/// assert!(trainer.step(&x, &products)? < before);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub struct Trainer<T: Element> {
    pub(crate) network: Network<T>,
    pub(crate) engine: &'static dyn Engine<T>,
    pub(crate) partition: ParameterPartition<T>,
    /// In the layout of the network's parameters.
    pub(crate) gradients: Vec<T::Line>,
    /// What the optimizer keeps beside each parameter, in the same layout.
    pub(crate) moments: [Vec<T::Line>; MAX_MOMENTS],
    /// The squared norm of the gradient of each block of parameters, where it is asked for.
    pub(crate) squares: Vec<f64>,
    /// Updates so far.
    pub(crate) steps: u64,
    /// Training and forward passes so far, the one under way among them: dropout follows from it.
    pub(crate) passes: u64,
    pub(crate) reports: bool,
    /// BatchRange of the batch that is reported on.
    pub(crate) reported_rows: usize,
    /// The fit under way when a checkpoint was written that this trainer goes on from.
    pub(crate) resumed: Option<Progress<T>>,
    /// The seed of dropout, if any layer has it.
    pub(crate) dropout_seed: Option<u64>,
    pub(crate) shards: Vec<GradientShard<T>>,
    /// For batches that need no shards, if the network is small.
    pub(crate) small: Option<SinglePanelBuffers<T>>,
    pub(crate) plan: Plan,
    pub(crate) micro_batch_rows: MicroBatchRows,
    pub(crate) loss: Loss,
    pub(crate) classes: ClassWeights<T>,
    pub(crate) reduction: Reduction,
    pub(crate) optimizer: Optimizer,
    pub(crate) clipping: GradientClipping,
    pub(crate) max_batch: usize,
    pub(crate) threads: Threads,
    /// What `forward` keeps of its batch for `backward`.
    pub(crate) forward_cache: ForwardCache<T>,
    /// `[max_batch, inputs]`, empty unless asked for.
    pub(crate) input_gradients: Vec<T>,
    /// BatchRange of the batch that `input_gradients` holds.
    pub(crate) input_gradient_rows: usize,
}

impl<T: Element> fmt::Debug for Trainer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trainer")
            .field("network", &self.network)
            .field("loss", &self.loss)
            .field("reduction", &self.reduction)
            .field("optimizer", &self.optimizer)
            .field("max_batch", &self.max_batch)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

/// A batch between `forward` and `backward`.
pub(crate) struct ForwardCache<T> {
    /// 0: there is none.
    pub(crate) batch: usize,
    pub(crate) x: Vec<T>,
    pub(crate) outputs: Vec<T>,
}

/// How far a batch is taken.
#[derive(Clone, Copy)]
enum Goal {
    /// The gradient, alone or on top of what is there.
    Gradient(Beta),
    /// The gradient and the update.
    Step,
}

impl<T: Element> Trainer<T> {
    /// Describes the training of a network.
    pub fn builder(network: Network<T>) -> TrainerBuilder<T> {
        TrainerBuilder::new(network)
    }

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
    /// Nothing has changed then. [`Error::NonFinite`], if [`TrainerBuilder::check_finite`] asked for the check, with the
    /// parameters as before.
    pub fn step<'t>(&mut self, x: &[T], targets: impl Into<Targets<'t, T>>) -> Result<f64, Error>
    where
        T: 't,
    {
        self.train(x, (targets.into(), None), Goal::Step)
    }

    fn train(
        &mut self,
        x: &[T],
        (targets, weights): (Targets<'_, T>, Option<&[T]>),
        goal: Goal,
    ) -> Result<f64, Error> {
        let (inputs, outputs) = (self.network.inputs(), self.network.outputs());
        let batch = check_batch(Argument::Inputs, x.len(), inputs, self.max_batch)?;
        self.loss.check_targets(targets, weights, (batch, outputs))?;
        self.forward_cache.batch = 0;
        let scale = self.loss.scale(self.reduction, (targets, weights), &self.classes, (batch, outputs));
        let objective = Objective { loss: self.loss, scale, targets, weights };
        let (start, update) = match goal {
            Goal::Gradient(start) => (start, None),
            Goal::Step => (Beta::Zero, Some(self.next_update())),
        };
        if let Some(loss) = self.step_single_panel((x, batch), objective, start, update.as_ref())? {
            return Ok(loss);
        }
        let flop = step_flop(batch, self.network.parameter_count());
        let pass = Some(PassKind::Train(objective));
        let finish = UpdatePlan { sum: Some(start), measure: self.reports, clipping: self.clipping, update };
        self.start_report(batch);
        self.passes += 1;
        let loss = self.run(x, flop, pass, finish)?;
        self.steps += u64::from(update.is_some());
        Ok(loss)
    }

    /// Both halves of a step, if the network and the batch are small. A norm to clip by must be known before the update,
    /// which is then left to the general second half.
    fn step_single_panel(
        &mut self,
        (x, rows): (&[T], usize),
        objective: Objective<'_, T>,
        start: Beta,
        update: Option<&Update>,
    ) -> Result<Option<f64>, Error> {
        let measures = self.clipping.measures();
        let Self { small, network, engine, partition, gradients, moments, classes, plan, .. } = self;
        // Slots add the gradient of a batch to that of another as a whole, not row by row.
        let suits = *plan == Plan::TwoPhase || start == Beta::Zero;
        let Some(buffers) = small.as_mut().filter(|small| suits && small.suit(network, rows)) else {
            return Ok(None);
        };
        let mut step = SinglePanelStep {
            buffers,
            layers: &network.layers,
            parameters: &mut network.parameters,
            transposed: &mut partition.transposed,
            gradients,
            moments: moments.each_mut().map(Vec::as_mut_slice),
            classes,
            x,
            rows,
            objective,
            start,
            update: update.filter(|_| !measures),
        };
        let loss = engine.step_single_panel(&mut step);
        self.passes += 1;
        if measures && let Some(&update) = update {
            let finish = UpdatePlan { clipping: self.clipping, update: Some(update), ..UpdatePlan::NOTHING };
            self.run(&[], 0, None, finish)?;
        }
        self.steps += u64::from(update.is_some());
        Ok(Some(loss))
    }

    /// The halves of a step: `pass` over the rows of `x` (pass.rs), then `finish` (update.rs). Either may be nothing. The
    /// loss of the pass, 0 if it has none.
    fn run(
        &mut self,
        x: &[T],
        flop: usize,
        pass: Option<PassKind<'_, T>>,
        finish: UpdatePlan,
    ) -> Result<f64, Error> {
        let batch = x.len() / self.network.inputs();
        let micro_batch_rows = self.micro_batch_rows.of_batch(batch, self.shards.len());
        let (rows_each, used) = shares(batch, micro_batch_rows, self.plan.max_shards());
        let dropout_rng = self.dropout_seed.map(|seed| DropoutRng::new(seed, self.passes));
        let &mut Self { engine, .. } = self;
        let Self { network, partition, gradients, moments, squares, steps, .. } = self;
        let Self { shards, plan, forward_cache, input_gradients, classes, .. } = self;
        let shards = &mut shards[..used];
        if pass.is_some_and(PassKind::goes_back) && !input_gradients.is_empty() {
            self.input_gradient_rows = batch;
        }
        self.threads.enter(flop, |split| {
            if let Some(pass) = pass {
                let grain = plan.grain(shards.len(), split.threads());
                let rows = BatchRange {
                    shards,
                    grain,
                    first_row: 0,
                    outputs: &mut forward_cache.outputs,
                    input_gradients: &mut input_gradients[..],
                    shared: PassContext {
                        network,
                        partition,
                        x,
                        batch,
                        pass,
                        classes,
                        rows_each,
                        micro_batch_rows,
                        plan: *plan,
                        dropout_rng,
                    },
                };
                split.for_each(rows, &|rows| engine.run_range(rows));
            }
            let scale = pass.and_then(PassKind::loss_scale);
            let loss = scale.map_or(0.0, |scale| scale * total_loss(shards, *plan));
            let moments = moments.each_mut().map(Vec::as_mut_slice);
            let blocks = ParameterBlocks {
                blocks: &partition.blocks,
                parameters: &mut network.parameters,
                gradients,
                moments,
                transposed: &mut partition.transposed,
                squares,
                layers: &network.layers,
                shards,
            };
            blocks.complete(engine, split, &finish, loss, *steps + 1)?;
            Ok(loss)
        })
    }

    fn next_update(&self) -> Update {
        Update { optimizer: self.optimizer, step: self.steps + 1, scale: 1.0, limit: self.clipping.value }
    }
}

impl<T: Element> Trainer<T> {
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
        self.train(x, (targets.into(), Some(weights)), Goal::Step)
    }

    /// The first half of [`Trainer::step`]: the loss, and its gradient in [`Trainer::gradients`].
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn compute_gradients<'t>(&mut self, x: &[T], targets: impl Into<Targets<'t, T>>) -> Result<f64, Error>
    where
        T: 't,
    {
        self.train(x, (targets.into(), None), Goal::Gradient(Beta::Zero))
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
        self.train(x, (targets.into(), Some(weights)), Goal::Gradient(Beta::Zero))
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
        self.train(x, (targets.into(), None), Goal::Gradient(Beta::One))
    }

    /// The second half of [`Trainer::step`]: the optimizer's update by [`Trainer::gradients`], clipped if that was
    /// asked for.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for a gradient that is not finite, if [`TrainerBuilder::check_finite`] asked for the
    /// check. Nothing has changed then.
    pub fn apply_gradients(&mut self) -> Result<(), Error> {
        let update = Some(self.next_update());
        let finish = UpdatePlan { clipping: self.clipping, update, ..UpdatePlan::NOTHING };
        self.run(&[], UPDATE_FLOP.saturating_mul(self.network.parameter_count()), None, finish)?;
        self.forward_cache.batch = 0;
        self.steps += 1;
        Ok(())
    }

    /// The Euclidean norm of [`Trainer::gradients`], summed in `f64`.
    pub fn gradient_norm(&self) -> f64 {
        let engine = self.engine;
        // Panel by panel, in the order in which a norm that clips is added up.
        let panels = |block: &ParameterBlock| self.gradients[block.lines()].chunks_exact(1 + block.columns);
        let squares = self.partition.blocks.iter().flat_map(panels).map(|panel| engine.sum_of_squares(panel));
        squares.sum::<f64>().sqrt()
    }

    /// Updates of the parameters so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The outputs `[batch, outputs]` of `x` `[batch, inputs]`, kept for [`Trainer::backward`]. Layers with dropout
    /// leave elements out, as in a step; [`Network::predict_into`] does not.
    ///
    /// # Errors
    /// [`Error::Rows`] or [`Error::Batch`], as [`Trainer::step`].
    pub fn forward(&mut self, x: &[T]) -> Result<&[T], Error> {
        let batch = check_batch(Argument::Inputs, x.len(), self.network.inputs(), self.max_batch)?;
        self.forward_cache.x[..x.len()].copy_from_slice(x);
        self.start_report(batch);
        self.passes += 1;
        let flop = batch.saturating_mul(2 * self.network.parameter_count());
        self.run(x, flop, Some(PassKind::Forward), UpdatePlan::NOTHING)?;
        self.forward_cache.batch = batch;
        Ok(&self.forward_cache.outputs[..batch * self.network.outputs()])
    }

    /// The gradient of a loss of your own, from its gradient with respect to the outputs of the last
    /// [`Trainer::forward`], `[batch, outputs]`, to [`Trainer::gradients`].
    ///
    /// ```
    /// # use fuseprop::{Activation, Network, Trainer};
    /// # let network = Network::<f32>::builder(2).dense(1, Activation::Tanh).seed(1).build()?;
    /// # let mut trainer = Trainer::builder(network).build()?;
    /// # let (x, targets) = ([0.1, 0.2, 0.3, 0.4], [1.0, 0.0]);
    /// let outputs = trainer.forward(&x)?;
    /// // Of half the sum of all squared distances.
    /// let d_outputs: Vec<f32> = outputs.iter().zip(&targets).map(|(y, t)| y - t).collect();
    /// trainer.backward(&d_outputs)?;
    /// trainer.apply_gradients()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoForward`] unless [`Trainer::forward`] was the last call that ran the network; [`Error::Length`] for
    /// another batch than its.
    pub fn backward(&mut self, d_outputs: &[T]) -> Result<(), Error> {
        let batch = self.forward_cache.batch;
        if batch == 0 {
            return Err(Error::NoForward);
        }
        check_length(Argument::OutputGradients, batch * self.network.outputs(), d_outputs.len())?;
        let flop = step_flop(batch, self.network.parameter_count());
        let x = core::mem::take(&mut self.forward_cache.x);
        let finish = UpdatePlan { sum: Some(Beta::Zero), measure: self.reports, ..UpdatePlan::NOTHING };
        let rows = &x[..batch * self.network.inputs()];
        let done = self.run(rows, flop, Some(PassKind::Backward(d_outputs)), finish);
        self.forward_cache.x = x;
        done.map(drop)
    }

    /// The gradient of the loss with respect to the inputs of the last batch, `[batch, inputs]`.
    ///
    /// # Errors
    /// [`Error::NoInputGradients`] unless [`TrainerBuilder::input_gradients`] asked for them.
    pub fn input_gradients(&self) -> Result<&[T], Error> {
        if self.input_gradients.is_empty() {
            return Err(Error::NoInputGradients);
        }
        Ok(&self.input_gradients[..self.input_gradient_rows * self.network.inputs()])
    }

    /// The gradient of all parameters as one slice in the crate's own padded layout, padding 0: for norms, scaling and
    /// sums over machines. [`Trainer::read_gradients`] gives PyTorch's order.
    pub fn gradients(&self) -> &[T] {
        elements::<T>(&self.gradients)
    }

    /// As [`Trainer::gradients`], to be scaled, clipped or reduced before [`Trainer::apply_gradients`].
    /// Padding that is left 0 stays 0.
    pub fn gradients_mut(&mut self) -> &mut [T] {
        elements_mut::<T>(&mut self.gradients)
    }

    /// Copies the gradient in the order of [`Network::read_parameters`].
    ///
    /// # Errors
    /// [`Error::Length`] unless `to` has [`Network::parameter_count`] elements.
    pub fn read_gradients(&self, to: &mut [T]) -> Result<(), Error> {
        check_length(Argument::Gradients, self.network.parameter_count(), to.len())?;
        read_canonical(&self.network.layers, &self.gradients, to);
        Ok(())
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network<T> {
        &self.network
    }

    /// The network, trained.
    pub fn into_network(self) -> Network<T> {
        self.network
    }

    /// The rule that updates parameters.
    pub fn optimizer(&self) -> Optimizer {
        self.optimizer
    }

    /// Changes the learning rate from the next update on.
    ///
    /// # Errors
    /// [`Error::Setting`] unless it is finite and at least 0.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), Error> {
        self.optimizer = self.optimizer.with_learning_rate::<T>(learning_rate)?;
        Ok(())
    }

    /// Most rows of a batch.
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }

    /// Who works on a step.
    pub fn parallelism(&self) -> Parallelism {
        self.threads.parallelism()
    }

    /// The loss of some rows times `scale`, without a gradient; their outputs are in [`Trainer::last_outputs`].
    pub(crate) fn loss_of(
        &mut self,
        x: &[T],
        (targets, weights): (Targets<'_, T>, Option<&[T]>),
        scale: f64,
    ) -> Result<f64, Error> {
        self.forward_cache.batch = 0;
        let pass = Some(PassKind::Evaluate(Objective { loss: self.loss, scale, targets, weights }));
        let flop = x.len() / self.network.inputs() * 2 * self.network.parameter_count();
        self.run(x, flop, pass, UpdatePlan::NOTHING)
    }

    /// The outputs of the last [`Trainer::loss_of`]; logits, for a loss that takes them.
    pub(crate) fn last_outputs(&self, rows: usize) -> &[T] {
        &self.forward_cache.outputs[..rows * self.network.outputs()]
    }

    /// What the losses of so many rows are multiplied by.
    pub(crate) fn loss_scale(&self, data: (Targets<'_, T>, Option<&[T]>), rows: usize) -> f64 {
        self.loss.scale(self.reduction, data, &self.classes, (rows, self.network.outputs()))
    }

    pub(crate) fn check_targets(
        &self,
        targets: Targets<'_, T>,
        weights: Option<&[T]>,
        rows: usize,
    ) -> Result<(), Error> {
        self.loss.check_targets(targets, weights, (rows, self.network.outputs()))
    }

    pub(crate) fn is_mean(&self) -> bool {
        self.reduction == Reduction::Mean
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.threads
    }

    /// Returns to parameters of before.
    pub(crate) fn restore(&mut self, parameters: &[T::Line]) {
        self.forward_cache.batch = 0;
        self.network.parameters.copy_from_slice(parameters);
        self.partition.refresh_transposed(&self.network, self.engine);
    }
}
