//! The training step: from rows and targets to updated weights.
//!
//! ```text
//! for each slot of the batch, in parallel:            Rows::pass
//!     for each tile of its rows:                      tile.rs
//!         forward, loss, backward
//!         depth-first: its share of the gradient is added to the slot's
//! for each group of parameters, in parallel:          Trainer::finish, update.rs
//!     the gradient: summed over tiles (two-phase) or slots (depth-first)
//!     the optimizer's update, and the transposed copy
//! ```

use core::ops::Range;

use crate::element::Element;
use crate::error::{Error, check_batch, check_length};
use crate::kernels::Start;
use crate::kernels::blocking::{Schedule, step_flop, tile_rows};
use crate::kernels::lanes::{Line, elements, elements_mut};
use crate::loss::{Classes, Loss, Objective, Reduction, Targets};
use crate::network::{Network, read_canonical};
use crate::optimizer::{MAX_MOMENTS, Optimizer, Update};
use crate::parallel::{Divide, Parallelism, Split, Threads};
use crate::predict::check_max_batch;
use crate::tile::{Head, Purpose, Tile};
use crate::update::{Group, Lines, Owned, Transposed, renew};

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
    network: Network<T>,
    transposed: Transposed<T>,
    /// In the layout of the network's parameters.
    gradients: Vec<T::Line>,
    /// What the optimizer keeps beside each parameter, in the same layout.
    moments: [Vec<T::Line>; MAX_MOMENTS],
    /// The squared norm of the gradient of each group of parameters, where it is asked for.
    squares: Vec<f64>,
    /// Updates so far.
    steps: u64,
    slots: Vec<Slot<T>>,
    schedule: Schedule,
    tile_rows: usize,
    loss: Loss,
    classes: Classes<T>,
    reduction: Reduction,
    optimizer: Optimizer,
    guard: Guard,
    max_batch: usize,
    threads: Threads,
    /// What `forward` keeps of its batch for `backward`.
    kept: Kept<T>,
    /// `[max_batch, inputs]`, empty unless asked for.
    input_gradients: Vec<T>,
    /// Rows of the batch that `input_gradients` holds.
    input_gradient_rows: usize,
}

/// One run of rows: its buffers and its part of the sums.
#[derive(Clone)]
struct Slot<T: Element> {
    tile: Tile<T>,
    /// The gradient of the slot's rows. Empty in the two-phase schedule.
    gradients: Vec<T::Line>,
    loss: f64,
}

/// A batch between `forward` and `backward`.
struct Kept<T> {
    /// 0: there is none.
    batch: usize,
    x: Vec<T>,
    outputs: Vec<T>,
}

/// What a pass over the rows does.
#[derive(Clone, Copy)]
enum Pass<'a, T: Element> {
    /// Forward only.
    Forward,
    /// Forward and a loss.
    Evaluate(Objective<'a, T>),
    /// Forward, a loss, backward.
    Train(Objective<'a, T>),
    /// Backward from the gradient of the outputs, `[batch, outputs]`; forward before it if the tiles have
    /// not kept it.
    Backward(&'a [T]),
}

impl<T: Element> Pass<'_, T> {
    /// Whether there are gradients afterwards; else there are outputs.
    fn goes_back(self) -> bool {
        matches!(self, Self::Train(_) | Self::Backward(_))
    }
}

/// The second half of a step: any of these, in this order.
#[derive(Clone, Copy)]
struct Finish {
    /// The gradient is summed over the batch.
    sum: Option<Start>,
    /// The squared norm of the gradient is taken.
    measure: bool,
    /// The parameters are updated by the gradient.
    update: Option<Update>,
}

/// What is asked of a batch.
#[derive(Clone, Copy)]
enum Half {
    /// The gradient, alone or on top of what is there.
    Gradient(Start),
    /// The gradient and the update.
    Both,
}

/// What stands between a gradient and its update.
#[derive(Clone, Copy, Debug)]
struct Guard {
    /// Largest norm of the gradient.
    norm: f64,
    /// Largest magnitude of an element.
    value: f64,
    /// Whether the gradient and the loss must be finite.
    finite: bool,
}

impl Guard {
    const NONE: Self = Self { norm: f64::INFINITY, value: f64::INFINITY, finite: false };

    fn check(self) -> Result<Self, Error> {
        let limits = [("the largest gradient norm", self.norm), ("the largest gradient", self.value)];
        match limits.into_iter().find(|(_, limit)| limit.is_nan() || *limit <= 0.0) {
            Some((what, value)) => Err(Error::Setting { what, value }),
            None => Ok(self),
        }
    }

    /// Whether the norm must be known before the update.
    fn measures(self) -> bool {
        self.finite || self.norm < f64::INFINITY
    }
}

impl<T: Element> Trainer<T> {
    /// Describes the training of a network.
    pub fn builder(network: Network<T>) -> TrainerBuilder<T> {
        TrainerBuilder {
            network,
            loss: Loss::MeanSquaredError,
            class_weights: None,
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
            optimizer: Optimizer::sgd(0.01),
            guard: Guard::NONE,
            max_batch: 256,
            parallelism: Parallelism::Auto,
            input_gradients: false,
        }
    }

    /// One step: forward, loss, backward, update, fused. The loss is that before the update.
    ///
    /// `x` is `[batch, inputs]`, `targets` values `[batch, outputs]` or class indices `[batch]`.
    /// [`Trainer::gradients`] holds the step's gradient afterwards. Allocates nothing on a worker of the
    /// pool; called from outside, rayon allocates a block for every 63 steps that are long enough to be
    /// shared out.
    ///
    /// # Errors
    /// [`Error::Rows`] unless `x` is whole rows, at least one; [`Error::Batch`] for more rows than
    /// `max_batch`; [`Error::Length`], [`Error::Targets`] or [`Error::Class`] for targets that do not fit.
    /// Nothing has changed then.
    pub fn step<'t>(&mut self, x: &[T], targets: impl Into<Targets<'t, T>>) -> Result<f64, Error>
    where
        T: 't,
    {
        self.train(x, (targets.into(), None), Half::Both)
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
        self.train(x, (targets.into(), Some(weights)), Half::Both)
    }

    /// The first half of [`Trainer::step`]: the loss, and its gradient in [`Trainer::gradients`].
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn compute_gradients<'t>(&mut self, x: &[T], targets: impl Into<Targets<'t, T>>) -> Result<f64, Error>
    where
        T: 't,
    {
        self.train(x, (targets.into(), None), Half::Gradient(Start::Zero))
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
        self.train(x, (targets.into(), Some(weights)), Half::Gradient(Start::Zero))
    }

    /// Adds the gradient of another batch to that in [`Trainer::gradients`], for batches in several parts.
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
        self.train(x, (targets.into(), None), Half::Gradient(Start::Accumulate))
    }

    /// The second half of [`Trainer::step`]: the optimizer's update by [`Trainer::gradients`], clipped if that was
    /// asked for.
    ///
    /// # Errors
    /// [`Error::NonFinite`] for a gradient that is not finite, if [`TrainerBuilder::check_finite`] asked for the
    /// check. Nothing has changed then.
    pub fn apply_gradients(&mut self) -> Result<(), Error> {
        if self.guard.measures() {
            self.run(&[], self.update_flop(), None, Finish { sum: None, measure: true, update: None });
            self.check_gradient()?;
        }
        self.kept.batch = 0;
        self.update();
        Ok(())
    }

    /// The Euclidean norm of [`Trainer::gradients`], summed in `f64`.
    pub fn gradient_norm(&self) -> f64 {
        let kernels = self.network.kernels;
        let groups = self.transposed.groups.iter();
        groups.map(|group| kernels.sum_of_squares(&self.gradients[group.lines()])).sum::<f64>().sqrt()
    }

    /// Updates of the parameters so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The outputs `[batch, outputs]` of `x` `[batch, inputs]`, kept for [`Trainer::backward`].
    ///
    /// # Errors
    /// [`Error::Rows`] or [`Error::Batch`], as [`Trainer::step`].
    pub fn forward(&mut self, x: &[T]) -> Result<&[T], Error> {
        let batch = check_batch("inputs", x.len(), self.network.inputs(), self.max_batch)?;
        self.kept.x[..x.len()].copy_from_slice(x);
        let flop = batch.saturating_mul(2 * self.network.parameter_count());
        self.run(x, flop, Some(Pass::Forward), Finish { sum: None, measure: false, update: None });
        self.kept.batch = batch;
        Ok(&self.kept.outputs[..batch * self.network.outputs()])
    }

    /// The gradient of a loss of your own, from its gradient with respect to the outputs of the last
    /// [`Trainer::forward`], `[batch, outputs]`, to [`Trainer::gradients`].
    ///
    /// # Errors
    /// [`Error::NoForward`] without a forward pass since the last update; [`Error::Length`] for another
    /// batch than its.
    pub fn backward(&mut self, d_outputs: &[T]) -> Result<(), Error> {
        let batch = self.kept.batch;
        if batch == 0 {
            return Err(Error::NoForward);
        }
        check_length("gradients of outputs", batch * self.network.outputs(), d_outputs.len())?;
        let flop = step_flop(batch, self.network.parameter_count());
        let x = core::mem::take(&mut self.kept.x);
        let finish = Finish { sum: Some(Start::Zero), measure: false, update: None };
        self.run(&x[..batch * self.network.inputs()], flop, Some(Pass::Backward(d_outputs)), finish);
        self.kept.x = x;
        Ok(())
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

    /// The gradient of all parameters as one slice, in the layout of the crate's own; padding is 0.
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
        check_length("gradients", self.network.parameter_count(), to.len())?;
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
        self.optimizer = self.optimizer.with_learning_rate(learning_rate)?;
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

    fn train(
        &mut self,
        x: &[T],
        (targets, weights): (Targets<'_, T>, Option<&[T]>),
        half: Half,
    ) -> Result<f64, Error> {
        let (inputs, outputs) = (self.network.inputs(), self.network.outputs());
        let batch = check_batch("inputs", x.len(), inputs, self.max_batch)?;
        self.loss.check_targets(targets, weights, (batch, outputs))?;
        self.kept.batch = 0;
        let scale = self.loss.scale(self.reduction, (targets, weights), &self.classes, (batch, outputs));
        let objective = Objective { loss: self.loss, scale, targets, weights };
        let flop = step_flop(batch, self.network.parameter_count());
        let pass = Some(Pass::Train(objective));
        let (start, update) = match half {
            Half::Gradient(start) => (start, None),
            Half::Both => (Start::Zero, Some(self.next_update(1.0))),
        };
        if !self.guard.measures() {
            let loss = self.run(x, flop, pass, Finish { sum: Some(start), measure: false, update });
            self.steps += u64::from(update.is_some());
            return Ok(loss);
        }
        let loss = self.run(x, flop, pass, Finish { sum: Some(start), measure: true, update: None });
        if self.guard.finite && !loss.is_finite() {
            return Err(Error::NonFinite { what: "loss", step: self.steps + 1, layer: None });
        }
        self.check_gradient()?;
        if update.is_some() {
            self.update();
        }
        Ok(loss)
    }

    /// The loss of some rows times `scale`, without a gradient; their outputs are in [`Trainer::last_outputs`].
    pub(crate) fn loss_of(
        &mut self,
        x: &[T],
        (targets, weights): (Targets<'_, T>, Option<&[T]>),
        scale: f64,
    ) -> f64 {
        self.kept.batch = 0;
        let pass = Some(Pass::Evaluate(Objective { loss: self.loss, scale, targets, weights }));
        let flop = x.len() / self.network.inputs() * 2 * self.network.parameter_count();
        self.run(x, flop, pass, Finish { sum: None, measure: false, update: None })
    }

    /// The outputs of the last [`Trainer::loss_of`]; logits, for a loss that takes them.
    pub(crate) fn last_outputs(&self, rows: usize) -> &[T] {
        &self.kept.outputs[..rows * self.network.outputs()]
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
        self.kept.batch = 0;
        self.network.parameters.copy_from_slice(parameters);
        self.transposed.renew(&self.network);
    }

    /// Refuses a measured gradient that is not finite, if that is asked for.
    fn check_gradient(&self) -> Result<(), Error> {
        let spoiled = |&(_, square): &(&Group, &f64)| !square.is_finite();
        match self.transposed.groups.iter().zip(&self.squares).find(spoiled) {
            Some((group, _)) if self.guard.finite => {
                Err(Error::NonFinite { what: "gradient", step: self.steps + 1, layer: Some(group.layer) })
            }
            _ => Ok(()),
        }
    }

    /// Updates the parameters by the gradient, scaled to the largest norm if one is set.
    fn update(&mut self) {
        let scale = if self.guard.norm < f64::INFINITY {
            // PyTorch's quotient, with its guard against 0.
            (self.guard.norm / (self.squares.iter().sum::<f64>().sqrt() + 1e-6)).min(1.0)
        } else {
            1.0
        };
        let update = Some(self.next_update(scale));
        self.run(&[], self.update_flop(), None, Finish { sum: None, measure: false, update });
        self.steps += 1;
    }

    fn next_update(&self, scale: f64) -> Update {
        Update { optimizer: self.optimizer, step: self.steps + 1, scale, limit: self.guard.value }
    }

    fn update_flop(&self) -> usize {
        2 * self.network.parameter_count()
    }

    /// Both halves of a step over the rows of `x`; the sum of the slots' losses, in their order.
    fn run(&mut self, x: &[T], flop: usize, pass: Option<Pass<'_, T>>, finish: Finish) -> f64 {
        let batch = x.len() / self.network.inputs();
        let (rows_each, tile_rows) = (self.rows_each(batch), self.tile_rows);
        let Self { network, transposed, gradients, moments, squares, .. } = self;
        let Self { slots, schedule, kept, input_gradients, classes, .. } = self;
        let slots = &mut slots[..batch.div_ceil(rows_each)];
        if pass.is_some_and(Pass::goes_back) && !input_gradients.is_empty() {
            self.input_gradient_rows = batch;
        }
        self.threads.enter(flop, |split| {
            if let Some(pass) = pass {
                let rows = Rows {
                    slots,
                    first_row: 0,
                    outputs: &mut kept.outputs,
                    input_gradients: &mut input_gradients[..],
                    shared: Shared {
                        network,
                        transposed,
                        x,
                        pass,
                        classes,
                        rows_each,
                        tile_rows,
                        schedule: *schedule,
                    },
                };
                split.for_each(rows, &Rows::pass);
            }
            let lines = Lines {
                parameters: &mut [],
                gradients,
                moments: moments.each_mut().map(Vec::as_mut_slice),
                transposed: &mut [],
            };
            complete(split, (network, transposed), (lines, squares), slots, finish);
            slots.iter().map(|slot| slot.loss).sum()
        })
    }

    /// Rows of a slot, in whole tiles.
    fn rows_each(&self, batch: usize) -> usize {
        match self.schedule {
            Schedule::TwoPhase => self.tile_rows,
            Schedule::DepthFirst { slots } => {
                batch.div_ceil(self.tile_rows).div_ceil(slots).max(1) * self.tile_rows
            }
        }
    }
}

/// Sums the gradient and updates the parameters, group by group.
fn complete<T: Element>(
    split: Split,
    (network, transposed): (&mut Network<T>, &mut Transposed<T>),
    (lines, squares): (Lines<'_, T>, &mut [f64]),
    slots: &[Slot<T>],
    finish: Finish,
) {
    if finish.sum.is_none() && !finish.measure && finish.update.is_none() {
        return;
    }
    // The network is read by the sums (its shapes) while its parameters are lent out to their owners.
    let mut parameters = core::mem::take(&mut network.parameters);
    let lines = Lines { parameters: &mut parameters, transposed: &mut transposed.lines, ..lines };
    let owned = Owned { groups: &transposed.groups, lines, squares };
    let network_ref = &*network;
    split.for_each(owned, &|owned: Owned<'_, T>| {
        owned.each(|group, lines, square| {
            if let Some(start) = finish.sum {
                sum_gradient(network_ref, group, lines.gradients, slots, start);
            }
            if finish.measure {
                *square = network_ref.kernels.sum_of_squares(lines.gradients);
            }
            if let Some(update) = finish.update {
                network_ref.kernels.update(lines.parameters, lines.gradients, lines.moments, update);
                renew::<T>(group, lines.transposed, lines.parameters);
            }
        });
    });
    network.parameters = parameters;
}

/// The gradient of a group's parameters: over the slots' tiles, or of the slots' own sums.
fn sum_gradient<T: Element>(
    network: &Network<T>,
    group: &Group,
    gradients: &mut [T::Line],
    slots: &[Slot<T>],
    mut start: Start,
) {
    for slot in slots {
        if slot.gradients.is_empty() {
            slot.tile.weight_gradient(network, (group.layer, group.first_panel), gradients, start);
        } else if start == Start::Zero {
            gradients.copy_from_slice(&slot.gradients[group.lines()]);
        } else {
            network.kernels.add(gradients, &slot.gradients[group.lines()]);
        }
        start = Start::Accumulate;
    }
}

/// What every thread of a pass reads.
#[derive(Clone, Copy)]
struct Shared<'a, T: Element> {
    network: &'a Network<T>,
    transposed: &'a Transposed<T>,
    /// `[batch, inputs]`.
    x: &'a [T],
    pass: Pass<'a, T>,
    classes: &'a Classes<T>,
    rows_each: usize,
    tile_rows: usize,
    schedule: Schedule,
}

/// A run of slots, their rows of the batch, and where the results for the caller go.
struct Rows<'a, T: Element> {
    slots: &'a mut [Slot<T>],
    first_row: usize,
    /// From the first row on.
    outputs: &'a mut [T],
    /// From the first row on, or empty.
    input_gradients: &'a mut [T],
    shared: Shared<'a, T>,
}

impl<T: Element> Divide for Rows<'_, T> {
    fn pieces(&self) -> usize {
        self.slots.len()
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let (network, rows) = (self.shared.network, left * self.shared.rows_each);
        let (slots, slots_right) = self.slots.split_at_mut(left);
        let (outputs, outputs_right) = self.outputs.split_at_mut(rows * network.outputs());
        let gradients = if self.input_gradients.is_empty() { 0 } else { rows * network.inputs() };
        let (input_gradients, input_gradients_right) = self.input_gradients.split_at_mut(gradients);
        (
            Self { slots, outputs, input_gradients, ..self },
            Self {
                slots: slots_right,
                first_row: self.first_row + rows,
                outputs: outputs_right,
                input_gradients: input_gradients_right,
                shared: self.shared,
            },
        )
    }
}

impl<T: Element> Rows<'_, T> {
    /// Every tile of every slot, in order.
    fn pass(self) {
        let Shared { network, x, rows_each, tile_rows, .. } = self.shared;
        let batch = x.len() / network.inputs();
        for (s, slot) in self.slots.iter_mut().enumerate() {
            let offset = s * rows_each;
            let (mut row, end) = (self.first_row + offset, batch.min(self.first_row + offset + rows_each));
            slot.loss = 0.0;
            let mut start = Start::Zero;
            while row < end {
                let rows = row..end.min(row + tile_rows);
                let at = row - self.first_row;
                slot.tile(&self.shared, rows.clone(), start);
                if !self.shared.pass.goes_back() {
                    let outputs =
                        &mut self.outputs[at * network.outputs()..][..rows.len() * network.outputs()];
                    slot.tile.read_outputs(network, outputs);
                } else if !self.input_gradients.is_empty() {
                    let to =
                        &mut self.input_gradients[at * network.inputs()..][..rows.len() * network.inputs()];
                    slot.tile.read_input_gradients(network, to);
                }
                start = Start::Accumulate;
                row = rows.end;
            }
        }
    }
}

impl<T: Element> Slot<T> {
    /// One tile of the slot's rows: forward, backward, and its share of the slot's sums.
    fn tile(&mut self, shared: &Shared<'_, T>, rows: Range<usize>, start: Start) {
        let Shared { network, transposed, x, pass, classes, schedule, .. } = *shared;
        let x = &x[rows.start * network.inputs()..rows.end * network.inputs()];
        let last = network.last().activation();
        let head = match pass {
            Pass::Forward => return self.tile.forward(network, x, last),
            Pass::Evaluate(objective) => {
                self.tile.forward(network, x, objective.loss.output_activation(last));
                self.loss += self.tile.loss(network, objective.rows(rows, network.outputs()), classes);
                return;
            }
            Pass::Train(objective) => {
                self.tile.forward(network, x, objective.loss.output_activation(last));
                Head::Loss(objective.rows(rows, network.outputs()), classes)
            }
            Pass::Backward(d_outputs) => {
                if schedule != Schedule::TwoPhase {
                    self.tile.forward(network, x, last);
                }
                Head::Given(&d_outputs[rows.start * network.outputs()..rows.end * network.outputs()])
            }
        };
        self.loss += self.tile.backward(network, transposed, head);
        if !self.gradients.is_empty() {
            for (l, layer) in network.layers.iter().enumerate().rev() {
                let d_w = &mut self.gradients[layer.lines()];
                self.tile.weight_gradient(network, (l, 0), d_w, start);
            }
        }
    }
}

/// Describes how a network is trained.
#[derive(Clone, Debug)]
pub struct TrainerBuilder<T: Element> {
    network: Network<T>,
    loss: Loss,
    class_weights: Option<Vec<f64>>,
    label_smoothing: f64,
    reduction: Reduction,
    optimizer: Optimizer,
    guard: Guard,
    max_batch: usize,
    parallelism: Parallelism,
    input_gradients: bool,
}

impl<T: Element> TrainerBuilder<T> {
    /// What training makes small; [`Loss::MeanSquaredError`] by default.
    #[must_use]
    pub fn loss(mut self, loss: Loss) -> Self {
        self.loss = loss;
        self
    }

    /// A weight for each class, at least 0, for [`Loss::SoftmaxCrossEntropy`]; all 1 by default.
    #[must_use]
    pub fn class_weights(mut self, weights: &[f64]) -> Self {
        self.class_weights = Some(weights.to_vec());
        self
    }

    /// The share of every target that is spread evenly over the classes, from 0 to 1, for
    /// [`Loss::SoftmaxCrossEntropy`]; 0 by default (Szegedy et al. 2016).
    #[must_use]
    pub fn label_smoothing(mut self, share: f64) -> Self {
        self.label_smoothing = share;
        self
    }

    /// How the losses of a batch become one; [`Reduction::Mean`] by default.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The rule that updates parameters; gradient descent at a rate of 0.01 by default.
    #[must_use]
    pub fn optimizer(mut self, optimizer: Optimizer) -> Self {
        self.optimizer = optimizer;
        self
    }

    /// Scales every gradient whose norm over all parameters is larger down to it, as
    /// `torch.nn.utils.clip_grad_norm_` does (Pascanu, Mikolov and Bengio 2013). [`Trainer::gradients`] still
    /// holds the gradient as it was.
    #[must_use]
    pub fn clip_norm(mut self, largest: f64) -> Self {
        self.guard.norm = largest;
        self
    }

    /// Limits every element of a gradient, after its norm, to a magnitude, as `torch.nn.utils.clip_grad_value_`
    /// does. [`Trainer::gradients`] still holds the gradient as it was.
    #[must_use]
    pub fn clip_value(mut self, largest: f64) -> Self {
        self.guard.value = largest;
        self
    }

    /// Refuses a loss or a gradient that is not finite with [`Error::NonFinite`], and keeps the parameters of the
    /// step before. Costs a pass over the gradient.
    #[must_use]
    pub fn check_finite(mut self, check: bool) -> Self {
        self.guard.finite = check;
        self
    }

    /// Most rows of a batch, for which every buffer is made; 256 by default. Also part of the shapes that
    /// fix the order of sums: trainers built for other batches may differ in the last bits of a gradient.
    #[must_use]
    pub fn max_batch(mut self, max_batch: usize) -> Self {
        self.max_batch = max_batch;
        self
    }

    /// Who works on a step; [`Parallelism::Auto`] by default.
    #[must_use]
    pub fn parallelism(mut self, parallelism: Parallelism) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// Computes the gradient with respect to the inputs too: see [`Trainer::input_gradients`].
    #[must_use]
    pub fn input_gradients(mut self) -> Self {
        self.input_gradients = true;
        self
    }

    /// Allocates every buffer: for the optimizer's running sums too, as many numbers as parameters for each.
    ///
    /// # Errors
    /// [`Error::Zero`] for a batch or a pool of 0, [`Error::Overflow`] for buffers past the address space,
    /// [`Error::Setting`] for a setting of the loss or the optimizer out of range, [`Error::Length`] for class
    /// weights of another number, [`Error::Unused`] for a setting that the loss or the optimizer has no use for,
    /// [`Error::System`] if the system gives no threads.
    pub fn build(self) -> Result<Trainer<T>, Error> {
        let Self { network, max_batch, .. } = self;
        check_max_batch(&network, max_batch)?;
        let optimizer = self.optimizer.checked()?;
        let guard = self.guard.check()?;
        self.loss.check()?;
        let weights = self.class_weights.as_deref();
        let classes = Classes::new(self.loss, network.outputs(), weights, self.label_smoothing)?;
        let threads = Threads::new(self.parallelism)?;
        let tile_rows = tile_rows::<T>(max_batch, network.parameter_count());
        let schedule = Schedule::choose::<T>(max_batch, tile_rows, network.parameters.len());
        let (count, own_lines) = match schedule {
            Schedule::DepthFirst { slots } => (slots, network.parameters.len()),
            Schedule::TwoPhase => (max_batch.div_ceil(tile_rows), 0),
        };
        let purpose = if self.input_gradients { Purpose::TrainWithInputGradients } else { Purpose::Train };
        let tile = || Tile::new(&network, tile_rows, purpose);
        let slot = |_| Slot { tile: tile(), gradients: vec![T::Line::ZERO; own_lines], loss: 0.0 };
        let input_gradients = if self.input_gradients { max_batch * network.inputs() } else { 0 };
        let mut moments: [Vec<T::Line>; MAX_MOMENTS] = Default::default();
        for (lines, start) in moments.iter_mut().zip(optimizer.moments()) {
            *lines = vec![T::Line::ZERO; network.parameters.len()];
            elements_mut::<T>(lines).fill(T::from_f64(start));
        }
        let transposed = Transposed::new(&network, if self.input_gradients { 0 } else { 1 });
        Ok(Trainer {
            squares: vec![0.0; transposed.groups.len()],
            transposed,
            moments,
            steps: 0,
            guard,
            gradients: vec![T::Line::ZERO; network.parameters.len()],
            slots: (0..count).map(slot).collect(),
            schedule,
            tile_rows,
            loss: self.loss,
            classes,
            reduction: self.reduction,
            optimizer,
            max_batch,
            threads,
            kept: Kept {
                batch: 0,
                x: vec![T::ZERO; max_batch * network.inputs()],
                outputs: vec![T::ZERO; max_batch * network.outputs()],
            },
            input_gradients: vec![T::ZERO; input_gradients],
            input_gradient_rows: 0,
            network,
        })
    }
}
