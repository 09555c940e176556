//! The training step: from rows and targets to updated weights.
//!
//! ```text
//! for each shard of the batch, in parallel:            engine/batch.rs
//!     for each micro-batch of its rows:                engine/micro_batch.rs
//!         forward, loss, backward
//!         depth-first: its part of the gradient is added to the shard's
//! for each block of parameters, in parallel:          engine/update.rs
//!     the gradient: summed over micro-batches (two-phase) or shards (depth-first)
//!     the optimizer's update, and the transposed copy
//! ```

use crate::engine::batch::{BatchRange, PassContext, PassKind, total_loss};
use crate::engine::bf16::Bf16Weights;
use crate::engine::parallel::UPDATE_FLOP;
use crate::engine::plan::{Plan, shard_rows};
use crate::engine::single_panel::SinglePanelStep;
use crate::engine::update::{Beta, GradientClipping, ParameterBlocks, UpdatePlan};
use crate::error::{Argument, Error, check_batch};
use crate::kernels::ops::dropout::DropoutRng;
use crate::kernels::ops::loss::Objective;
use crate::kernels::ops::optimizer::Update;
use crate::kernels::ops::targets::Targets;
use crate::simd::scalar::Element;
use crate::train::executor::{Executor, GradientSource};
use crate::train::trainer::{Criterion, Trainer};

/// How far a batch is taken.
#[derive(Clone, Copy)]
pub(super) enum Goal {
    /// The gradient, alone or on top of what is there.
    Gradient(Beta),
    /// The gradient and the update.
    Step,
    /// The same, unless the loss is not finite.
    StepOfFiniteLoss,
}

/// Checked rows and what they are compared with.
#[derive(Clone, Copy)]
struct Batch<'a, T> {
    /// `[rows, inputs]`.
    x: &'a [T],
    rows: usize,
    objective: Objective<'a, T>,
    /// Whether a loss that is not finite is refused before the update.
    requires_finite_loss: bool,
}

/// A pass over rows, and what follows it. Either may be nothing.
pub(super) struct PassRequest<'a, T: Element> {
    /// `[rows, inputs]`, or empty for a pass that only goes back.
    pub(super) x: &'a [T],
    pub(super) rows: usize,
    pub(super) pass: Option<PassKind<'a, T>>,
    pub(super) finish: UpdatePlan,
}

impl<T: Element> PassRequest<'_, T> {
    /// The update by the gradient that is there.
    fn of_update(update: Update, clipping: GradientClipping) -> Self {
        let finish = UpdatePlan { clipping, update: Some(update), ..UpdatePlan::NOTHING };
        Self { x: &[], rows: 0, pass: None, finish }
    }
}

impl<T: Element> Trainer<T> {
    /// One step: forward, loss, backward, update, fused. The loss is the one before the update.
    ///
    /// `x` is `[batch, inputs]`, `targets` values `[batch, outputs]` or class indices `[batch]`, with weights
    /// or a mask if wanted: see [`Targets`]. [`Trainer::gradients`] holds the step's gradient afterwards.
    /// Allocates nothing on a worker of the pool; called from outside, rayon allocates a block for every 63
    /// steps that are long enough to be shared out.
    ///
    /// Denormal numbers (below 1.2e-38 in `f32`, 2.2e-308 in `f64`) count as 0 in inputs, in gradients that
    /// go from layer to layer and in updated parameters: many processors would stall on them.
    ///
    /// # Errors
    /// [`Error::Rows`] unless `x` is whole rows, at least one; [`Error::Batch`] for more rows than
    /// `max_batch`; [`Error::Length`], [`Error::Targets`] or [`Error::Class`] for targets, weights or a mask
    /// that do not fit; [`Error::Setting`] for weights that are negative or not finite, or add up to more
    /// than `f64` holds; [`Error::Value`] for targets of a binary cross-entropy outside 0 to 1;
    /// [`Error::Unused`] for a mask under a cross-entropy. Nothing has changed then. [`Error::NonFinite`], if
    /// [`TrainerBuilder::check_finite`](crate::TrainerBuilder::check_finite) requested the check, with the
    /// parameters and the state of the optimizer as before.
    ///
    /// Without that request nothing is checked, for the check reads the gradient once more: after NaN in a
    /// batch the loss and the parameters are NaN, in this step and in all that follow. [`Trainer::fit`]
    /// checks by default.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Targets, Trainer};
    ///
    /// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// trainer.step(&[0.5, 1.0], &[1.0, 2.0])?;
    /// // A row of weight 0 is not read.
    /// trainer.step(&[0.5, f32::NAN], Targets::from(&[1.0, f32::NAN]).weights(&[1.0, 0.0]))?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn step<'t>(&mut self, x: &[T], targets: impl Into<Targets<'t, T>>) -> Result<f64, Error> {
        self.train(x, targets.into(), Goal::Step)
    }

    /// The first half of [`Trainer::step`]: the loss, and its gradient in [`Trainer::gradients`].
    ///
    /// # Errors
    /// As [`Trainer::step`].
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Trainer};
    /// # let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
    /// # let mut trainer = Trainer::builder(network).build()?;
    /// trainer.compute_gradients(&[0.1, 0.2], &[1.0])?;
    /// trainer.gradients_mut().iter_mut().for_each(|g| *g *= 0.5);
    /// trainer.apply_gradients()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn compute_gradients<'t>(
        &mut self,
        x: &[T],
        targets: impl Into<Targets<'t, T>>,
    ) -> Result<f64, Error> {
        self.train(x, targets.into(), Goal::Gradient(Beta::Zero))
    }

    /// Adds another batch to the gradient in [`Trainer::gradients`], for batches in several parts of which
    /// the first goes to [`Trainer::compute_gradients`]. The loss is the part's.
    ///
    /// With [`Reduction::Mean`](crate::Reduction::Mean) the gradient is then the gradient of the mean over
    /// all rows since [`Trainer::compute_gradients`], as if they had been one batch: where the rows so
    /// far weigh `W`, with gradient `g`, and the part weighs `V` (what its mean divides by), it is
    /// `g W / (W + V)` plus the part's sum divided by `W + V`. Each call rounds every element once more than
    /// one batch would. With [`Reduction::Sum`](crate::Reduction::Sum), and after [`Trainer::backward`], the
    /// part's own gradient is added as it is.
    ///
    /// # Errors
    /// As [`Trainer::step`]. After [`Error::NonFinite`] the gradient is garbage.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Trainer};
    /// # let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
    /// # let mut trainer = Trainer::builder(network).max_batch(2).build()?;
    /// # let (x, targets) = ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], [1.0, 0.0, 1.0, 0.0]);
    /// trainer.compute_gradients(&x[..4], &targets[..2])?; // the first part overwrites
    /// trainer.accumulate_gradients(&x[4..], &targets[2..])?;
    /// trainer.apply_gradients()?; // by the mean over all four rows
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn accumulate_gradients<'t>(
        &mut self,
        x: &[T],
        targets: impl Into<Targets<'t, T>>,
    ) -> Result<f64, Error> {
        self.train(x, targets.into(), Goal::Gradient(Beta::One))
    }

    /// The second half of [`Trainer::step`]: the optimizer's update by [`Trainer::gradients`], clipped if
    /// that was requested. What a caller wrote to the padding of [`Trainer::gradients_mut`] becomes 0 before.
    ///
    /// # Errors
    /// [`Error::NoGradient`] if no gradient has been computed or written yet, or none since
    /// `Trainer::load_checkpoint`. [`Error::NonFinite`] for a gradient that is not finite, if
    /// [`TrainerBuilder::check_finite`](crate::TrainerBuilder::check_finite) requested the check. Nothing has
    /// changed then.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// trainer.compute_gradients(&[1.0], &[2.0])?;
    /// trainer.apply_gradients()?;
    /// assert_eq!(trainer.steps(), 1);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn apply_gradients(&mut self) -> Result<(), Error> {
        if self.executor.gradient_source == GradientSource::Nothing {
            return Err(Error::NoGradient);
        }
        self.executor.clear_padding(&self.network.layers);
        let update = self.state.next_update(self.executor.clipping.value);
        self.run(PassRequest::of_update(update, self.executor.clipping))?;
        self.executor.forward_rows = 0;
        self.state.steps += 1;
        Ok(())
    }

    /// [`Trainer::step`] that refuses a loss that is not finite with [`Error::NonFinite`], before its update.
    pub(super) fn step_of_finite_loss(&mut self, x: &[T], targets: Targets<'_, T>) -> Result<f64, Error> {
        self.train(x, targets, Goal::StepOfFiniteLoss)
    }

    fn train(&mut self, x: &[T], targets: Targets<'_, T>, goal: Goal) -> Result<f64, Error> {
        if !self.criterion.heads.is_empty() {
            return self.train_heads(x, &targets, goal);
        }
        let (inputs, outputs) = (self.network.inputs(), self.network.outputs());
        let rows = check_batch(Argument::Inputs, x.len(), inputs, self.executor.max_batch)?;
        let Criterion { loss, ref classes, reduction, .. } = self.criterion;
        loss.check_targets(&targets, rows, outputs)?;
        let weight = loss.total_weight(&targets, classes, rows, outputs)?;
        self.executor.forward_rows = 0;
        let own_scale = reduction.scale(weight);
        let (start, update, scale) = match goal {
            Goal::Gradient(Beta::One) => (Beta::One, None, self.executor.add_weight(reduction, weight)),
            Goal::Gradient(Beta::Zero) => (Beta::Zero, None, own_scale),
            Goal::Step | Goal::StepOfFiniteLoss => {
                (Beta::Zero, Some(self.state.next_update(self.executor.clipping.value)), own_scale)
            }
        };
        if start == Beta::Zero {
            self.executor.gradient_source = GradientSource::Rows(weight);
        }
        let requires_finite_loss = matches!(goal, Goal::StepOfFiniteLoss);
        let batch = Batch { x, rows, objective: Objective { loss, scale, targets }, requires_finite_loss };
        let loss = match self.step_single_panel(batch, start, update.as_ref())? {
            Some(loss) => loss,
            None => {
                let Executor { clipping, keeps_layer_stats: measure, .. } = self.executor;
                let sum = Some(start);
                let finish = UpdatePlan { sum, measure, clipping, update, requires_finite_loss };
                let pass = Some(PassKind::Train(batch.objective));
                self.run(PassRequest { x, rows, pass, finish })?
            }
        };
        self.state.steps += u64::from(update.is_some());
        Ok(if scale == own_scale { loss } else { loss * (own_scale / scale) })
    }

    /// The halves of a step: a pass over rows (`engine/batch.rs`), then the update (`engine/update.rs`). The
    /// loss of the pass, 0 if it has none.
    pub(super) fn run(&mut self, request: PassRequest<'_, T>) -> Result<f64, Error> {
        let PassRequest { x, rows: batch, pass, finish } = request;
        let Self { network, state, executor, criterion } = self;
        let passes = state.passes + u64::from(pass.is_some_and(PassKind::draws_dropout));
        let flop = match pass {
            Some(pass) => pass.flop(batch, network.parameter_count()),
            None => UPDATE_FLOP.saturating_mul(network.parameter_count()),
        };
        if let Some(pass) = pass {
            executor.start_layer_stats(batch, pass, &criterion.classes, network.outputs());
        }
        if pass.is_some_and(PassKind::goes_back) && !executor.input_gradients.is_empty() {
            executor.input_gradient_rows = batch;
        }
        let micro_batch_rows = executor.micro_batch_rows.of_batch(batch, executor.shards.len());
        let (rows_each, used) = shard_rows(batch, micro_batch_rows, executor.plan.max_shards());
        let Executor { engine, threads, plan, shards, partition, gradients, squares, .. } = executor;
        let Executor { outputs, input_gradients, has_dropout, .. } = executor;
        let (engine, plan, shards) = (*engine, *plan, &mut shards[..used]);
        let dropout_rng = has_dropout.then(|| DropoutRng::new(state.seed, passes));
        let loss = threads.enter(flop, |split| {
            if let Some(pass) = pass {
                let grain = plan.grain(shards.len(), split.threads());
                let shared = PassContext {
                    network,
                    partition,
                    x,
                    batch,
                    pass,
                    classes: &criterion.classes,
                    rows_each,
                    micro_batch_rows,
                    plan,
                    dropout_rng,
                };
                let rows = BatchRange { shards, grain, first_row: 0, outputs, input_gradients, shared };
                split.for_each(rows, &|rows| engine.run_range(rows));
            }
            let scale = pass.and_then(PassKind::loss_scale);
            let loss = scale.map_or(0.0, |scale| scale * total_loss(shards, plan));
            let step = state.steps + 1;
            let blocks = ParameterBlocks {
                blocks: &partition.blocks,
                parameters: &mut network.parameters,
                gradients,
                moments: state.moments_mut(),
                transposed: &mut partition.transposed,
                copies: partition.bf16.as_mut().map(Bf16Weights::as_copies).unwrap_or_default(),
                squares,
                layers: &network.layers,
                shards,
            };
            blocks.complete(engine, split, &finish, loss, step)?;
            Ok(loss)
        })?;
        self.state.passes = passes;
        Ok(loss)
    }

    /// Both halves of a step, if the network and the batch are small. A norm to clip by must be known before
    /// the update, which is then left to the general second half.
    fn step_single_panel(
        &mut self,
        batch: Batch<'_, T>,
        start: Beta,
        update: Option<&Update>,
    ) -> Result<Option<f64>, Error> {
        let Self { network, state, executor, criterion } = self;
        let (classes, clipping) = (&criterion.classes, executor.clipping);
        let Executor { engine, single_panel, partition, gradients, plan, .. } = executor;
        // Shards add the gradient of a batch to another's as a whole, not row by row.
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
            beta: start,
            update: update.filter(|_| !clipping.measures()),
            requires_finite_loss: batch.requires_finite_loss,
        };
        let loss = engine.step_single_panel(&mut step);
        if batch.requires_finite_loss && !loss.is_finite() {
            return Err(Error::loss_not_finite(state.steps + 1));
        }
        state.passes += 1;
        if clipping.measures()
            && let Some(&update) = update
        {
            self.run(PassRequest::of_update(update, clipping))?;
        }
        Ok(Some(loss))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::parameters::tests::{gradients, parameters};
    use crate::{Activation, Isa, Loss, Network, Optimizer, TrainerBuilder};

    type Path = fn(TrainerBuilder<f32>) -> TrainerBuilder<f32>;

    /// Through the buffers of small networks, and through micro-batches.
    const PATHS: [Path; 2] = [|builder| builder, TrainerBuilder::layer_stats];

    /// Of dense layers, with all parameters 0.
    fn zeros(inputs: usize, outputs: usize, isa: Isa) -> Network<f32> {
        let builder = Network::builder(inputs).dense(outputs, Activation::Identity).isa(isa).seed(1);
        let mut network = builder.build().unwrap();
        network.write_parameters(&vec![0.0; network.parameter_count()]).unwrap();
        network
    }

    #[test]
    fn a_row_of_weight_0_is_no_part_of_a_step_whatever_is_in_it() {
        let (nan, infinite) = (f32::NAN, f32::INFINITY);
        for (isa, path) in Isa::available().flat_map(|isa| PATHS.map(|path| (isa, path))) {
            for (x, t) in [(2.0, nan), (nan, nan), (infinite, 1.0), (-infinite, infinite)] {
                let builder = Trainer::builder(zeros(1, 1, isa)).optimizer(Optimizer::sgd(0.1)).max_batch(2);
                let mut trainer = path(builder).build().unwrap();
                let targets = [3.0, t];
                let loss = trainer.step(&[1.0, x], Targets::from(&targets).weights(&[1.0, 0.0])).unwrap();
                assert_eq!(loss, 9.0, "{isa}, {x}, {t}");
                assert_eq!(parameters(&trainer), [0.6, 0.6], "{isa}, {x}, {t}");
            }
        }
    }

    #[test]
    fn an_element_of_weight_0_is_not_read_and_a_row_of_them_neither() {
        for (isa, path) in Isa::available().flat_map(|isa| PATHS.map(|path| (isa, path))) {
            let builder = Trainer::builder(zeros(1, 2, isa)).optimizer(Optimizer::sgd(0.1)).max_batch(3);
            let mut trainer = path(builder).build().unwrap();
            let x = [1.0, 2.0, f32::NAN];
            let t = [3.0, f32::NAN, 1.0, 5.0, f32::NAN, 7.0];
            let mask = [1.0, 0.0, 0.0, 3.0, 0.0, 0.0];
            // (3^2 + 3 * 5^2) / (1 + 3), with slopes of 2 * -3 / 4 and 3 * 2 * -5 / 4.
            assert_eq!(trainer.compute_gradients(&x, Targets::from(&t).mask(&mask)), Ok(21.0), "{isa}");
            assert_eq!(gradients(&trainer), [-1.5, -15.0, -1.5, -7.5], "{isa}");
            let found = trainer.evaluate(&x, Targets::from(&t).mask(&mask)).unwrap();
            assert_eq!((found.loss, found.mean_absolute_error), (21.0, Some((3.0 + 15.0) / 4.0)), "{isa}");
        }
    }

    #[test]
    fn what_weighs_nothing_changes_no_bit_under_any_loss() {
        let (rows, inputs, outputs) = (70, 19, 22);
        let number = |i: usize| (i * 37 % 101) as f32 / 100.0;
        let weights: Vec<f32> = (0..rows).map(|r| (r % 3) as f32).collect();
        for (isa, loss) in
            Isa::available().flat_map(|isa| Loss::every().into_iter().map(move |loss| (isa, loss)))
        {
            let columns = loss.target_columns(outputs);
            let of = |unread: f32, with_classes: bool| {
                let fill = |count: usize, each: usize| -> Vec<f32> {
                    (0..count)
                        .map(|i| if (i / each).is_multiple_of(3) { unread } else { number(i) })
                        .collect()
                };
                let builder =
                    Network::builder(inputs).dense(33, Activation::Gelu).layer_norm(Activation::Tanh);
                let network = builder.dense(outputs, Activation::Identity).seed(4).isa(isa).build().unwrap();
                let builder = Trainer::builder(network).loss(loss).max_batch(rows).layer_stats();
                let mut trainer = builder.build().unwrap();
                let (x, values) = (fill(rows * inputs, inputs), fill(rows * columns, columns));
                let is_read = |i: usize| !(i / columns).is_multiple_of(3);
                let mut values = values;
                if loss == Loss::Hinge {
                    let read = values.iter_mut().enumerate().filter(|&(i, _)| is_read(i));
                    read.for_each(|(_, t)| *t = 1.0f32.copysign(*t - 0.4));
                }
                // A class of a row that is not read may be any number.
                let class = |r: usize| if r.is_multiple_of(3) { unread as u32 } else { (r % outputs) as u32 };
                let classes: Vec<u32> = (0..rows).map(class).collect();
                let targets: Targets<'_, f32> =
                    if with_classes { (&classes).into() } else { (&values).into() };
                let loss = trainer.compute_gradients(&x, targets.weights(&weights)).unwrap();
                let evaluation = trainer.evaluate(&x, targets.weights(&weights)).unwrap();
                let norms: Vec<f64> = trainer.layer_stats().unwrap().map(|layer| layer.activations).collect();
                (loss, evaluation, gradients(&trainer), norms)
            };
            for with_classes in [false, loss == Loss::SoftmaxCrossEntropy] {
                let expected = of(0.5, with_classes);
                assert!(expected.2.iter().any(|&g| g != 0.0));
                assert!((expected.0 - expected.1.loss).abs() < 1e-6 * expected.0.abs(), "{isa}, {loss:?}");
                for unread in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38] {
                    assert_eq!(of(unread, with_classes), expected, "{isa}, {loss:?}: {unread}");
                }
            }
        }
    }

    #[test]
    fn a_class_of_weight_0_takes_its_rows_with_it() {
        for (isa, path) in Isa::available().flat_map(|isa| PATHS.map(|path| (isa, path))) {
            let builder = Trainer::builder(zeros(1, 2, isa)).loss(Loss::SoftmaxCrossEntropy).max_batch(2);
            let mut trainer = path(builder.class_weights(&[2.0, 0.0])).build().unwrap();
            let loss = trainer.compute_gradients(&[1.0, f32::NAN], &[0, 1]).unwrap();
            assert!((loss - 2.0_f64.ln()).abs() < 1e-7, "{isa}: {loss}");
            assert_eq!(gradients(&trainer), [-0.5, 0.5, -0.5, 0.5], "{isa}");
            // As one of two probabilities, of which the one of weight 0 is not read.
            let loss = trainer.compute_gradients(&[1.0], &[1.0, f32::NAN]).unwrap();
            assert!((loss - 2.0 * 2.0_f64.ln()).abs() < 1e-6, "{isa}: {loss}");
        }
    }

    #[test]
    fn parts_add_up_to_the_mean_of_the_whole_batch() {
        for isa in Isa::available() {
            let build = || {
                let builder = Trainer::builder(zeros(1, 2, isa)).loss(Loss::SoftmaxCrossEntropy);
                builder.class_weights(&[1.0, 9.0]).max_batch(2).build().unwrap()
            };
            let (mut whole, mut parts) = (build(), build());
            let loss = whole.compute_gradients(&[1.0, 1.0], &[0, 1]).unwrap();
            let of_parts = [
                parts.compute_gradients(&[1.0], &[0]).unwrap(),
                parts.accumulate_gradients(&[1.0], &[1]).unwrap(),
            ];
            // All outputs are alike.
            assert!(of_parts.iter().all(|part| (part - loss).abs() < 1e-6), "{isa}: {of_parts:?}, {loss}");
            for (part, right) in gradients(&parts).iter().zip([0.4, -0.4, 0.4, -0.4]) {
                assert!((part - right).abs() < 1e-6, "{isa}: {part}, not {right}");
            }
            for (part, right) in gradients(&parts).iter().zip(gradients(&whole)) {
                assert!((part - right).abs() < 1e-6, "{isa}: {part}, not {right}");
            }
            // Rows that weigh nothing change nothing.
            let before = gradients(&parts);
            parts.accumulate_gradients(&[1.0], Targets::from(&[1]).weights(&[0.0])).unwrap();
            assert_eq!(gradients(&parts), before);
        }
    }

    #[test]
    fn a_mask_under_a_cross_entropy_is_refused_by_name() {
        let builder = Trainer::builder(zeros(1, 2, Isa::Portable)).loss(Loss::SoftmaxCrossEntropy);
        let mut trainer = builder.build().unwrap();
        let unused = Error::Unused { argument: Argument::ElementMask, with: Argument::SoftmaxCrossEntropy };
        let mask = [1.0, 0.0];
        assert_eq!(trainer.step(&[1.0], Targets::from(&[1]).mask(&mask)), Err(unused.clone()));
        assert_eq!(trainer.step(&[1.0], Targets::from(&[0.5, 0.5]).mask(&mask)), Err(unused));
    }
}
