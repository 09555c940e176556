//! Predictions and evaluations: forward passes outside training.

use crate::engine::bf16::{Bf16Weights, Precision};
use crate::engine::dispatch::Engine;
use crate::engine::dispatch::engine;
use crate::engine::prediction::{LossRange, PredictionRange, sum_losses};
use crate::error::{Argument, Error, check_batch, check_length};
use crate::evaluate::{Evaluation, EvaluationBuffers, Outcome, Summary};
use crate::kernels::ops::loss::{ClassWeights, Loss, Objective, Reduction};
use crate::kernels::ops::targets::Targets;
use crate::simd::isa::Isa;
use core::fmt;
use std::sync::Arc;

use crate::engine::micro_batch::{MicroBatch, Purpose};
use crate::engine::parallel::{PARALLEL_FLOP, counted_rows};
use crate::engine::parallel::{Parallelism, Split, Threads};
use crate::engine::plan::{
    MAX_SHARDS, check_max_batch, forward_flop, micro_batch_rows, prediction_rows, shard_grain, shard_rows,
};
use crate::engine::single_panel::{SinglePanelBuffers, SinglePanelPrediction};
use crate::network::{Layer, Layers, Mark, Network};
use crate::simd::scalar::Element;

/// The buffers of predictions, for networks of the shapes that they were made for. Threads that predict at
/// the same time need one each.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network, Parallelism};
///
/// let network = Network::<f32>::builder(2).dense(1, Activation::Tanh).build()?;
/// let mut workspace = network.workspace(64)?.parallelism(Parallelism::Serial)?;
/// let mut y = [0.0; 3];
/// network.predict_into(&[0.5; 6], &mut y, &mut workspace)?;
/// assert_eq!(y[0], y[2]);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub struct Workspace<T: Element> {
    engine: &'static dyn Engine<T>,
    /// The engine's.
    isa: Isa,
    micro_batches: Vec<MicroBatch<T>>,
    /// For short batches through a network of single panels.
    single_panel: Option<SinglePanelBuffers<T>>,
    micro_batch_rows: usize,
    /// The layers of the network that it was made for.
    layers: Arc<Layers>,
    max_batch: usize,
    threshold: usize,
    threads: Threads,
    /// Nothing until there is an evaluation.
    evaluation: Option<EvaluationBuffers<T>>,
    /// The weights in bf16, if predictions are.
    copies: Option<MarkedCopies<T>>,
}

/// Copies of a network's weights in bf16, and the state of the weights that they are of.
struct MarkedCopies<T: Element> {
    weights: Bf16Weights,
    /// Nothing until there is a prediction.
    mark: Option<Mark>,
    /// Of the workspace in `f32`.
    single_panel: Option<SinglePanelBuffers<T>>,
}

impl<T: Element> MarkedCopies<T> {
    /// The copies of the network as it is.
    fn of(&mut self, network: &Network<T>, engine: &dyn Engine<T>) -> &Bf16Weights {
        let mark = Some(network.parameters.mark());
        if self.mark != mark {
            self.weights.refresh(network, engine);
            self.mark = mark;
        }
        &self.weights
    }
}

/// Rows to predict, and where their outputs go.
struct Rows<'a, T: Element> {
    /// `[batch, inputs]`.
    x: &'a [T],
    /// `[batch, outputs]`, overwritten.
    y: &'a mut [T],
    batch: usize,
    losses: Option<LossRange<'a, T>>,
}

impl<T: Element> fmt::Debug for Workspace<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { max_batch, threads, .. } = self;
        let parallelism = threads.parallelism();
        f.debug_struct("Workspace")
            .field("max_batch", max_batch)
            .field("parallelism", &parallelism)
            .finish_non_exhaustive()
    }
}

impl<T: Element> Workspace<T> {
    /// The threads of a prediction; [`Parallelism::Auto`] by default.
    ///
    /// # Errors
    /// [`Error::Zero`] for no threads, [`Error::System`] if the system gives none.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network, Parallelism};
    ///
    /// let network = Network::<f32>::builder(2).dense(1, Activation::Tanh).build()?;
    /// let mut workspace = network.workspace(64)?.parallelism(Parallelism::Threads(2))?;
    /// network.predict_into(&[0.5; 2], &mut [0.0], &mut workspace)?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn parallelism(mut self, parallelism: Parallelism) -> Result<Self, Error> {
        self.threads = Threads::new(parallelism)?.with_threshold(self.threshold);
        Ok(self.with_micro_batches())
    }

    /// The floating-point operations (two for each weight and row) from which on threads share a prediction;
    /// 10 million by default. The result has the same bits whatever is chosen.
    ///
    /// A batch of several micro-batches is shared by rows, in at most 64 parts. A batch of one micro-batch
    /// (up to 64 rows, or up to 256 where that occupies more threads) is shared by outputs, layer by
    /// layer: each thread keeps its weights in its caches. If the caller is a thread of the pool (in
    /// `rayon::scope` or `ThreadPool::install`), fewer than eight rows count as eight, because their
    /// weights take as long to read; for any other caller they count as they are, because a thread must
    /// wake up first.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(2).dense(1, Activation::Tanh).build()?;
    /// let mut workspace = network.workspace(64)?.parallel_threshold(1_000_000);
    /// network.predict_into(&[0.5; 2], &mut [0.0], &mut workspace)?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn parallel_threshold(mut self, flop: usize) -> Self {
        self.threshold = flop;
        self.threads = self.threads.with_threshold(flop);
        self.with_micro_batches()
    }

    /// The numbers that products multiply; [`Precision::F32`] by default.
    ///
    /// With [`Precision::Bf16`] the workspace has copies of the weights, half as large, which the first
    /// prediction makes, and each after a change of the network's parameters or with another network: that
    /// takes as long as reading all weights from memory some times over, and allocates nothing.
    ///
    /// # Errors
    /// [`Error::Combination`] for [`Precision::Bf16`] and a network of `f64`.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network, Precision};
    ///
    /// let mut network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// network.write_parameters(&[1.0 + 1.0 / 512.0, 0.5])?;
    /// let (mut y, mut workspace) = ([0.0], network.workspace(1)?.precision(Precision::Bf16)?);
    /// network.predict_into(&[1.0], &mut y, &mut workspace)?;
    /// assert_eq!(y, [1.5]); // the weight has more than eight bits
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn precision(mut self, precision: Precision) -> Result<Self, Error> {
        precision.check::<T>()?;
        // Small networks have no path of their own in bf16.
        if let Some(copies) = self.copies.take() {
            self.single_panel = copies.single_panel;
        }
        if precision == Precision::Bf16 {
            let weights = Bf16Weights::new(&self.layers, |_| false);
            let single_panel = self.single_panel.take();
            self.copies = Some(MarkedCopies { weights, mark: None, single_panel });
        }
        self.micro_batch_rows = 0;
        Ok(self.with_micro_batches())
    }

    /// With micro-batches of as many rows as suit the threads.
    fn with_micro_batches(mut self) -> Self {
        let parameters = self.layers.iter().map(Layer::parameter_count).fold(0, usize::saturating_add);
        let threads = self.threads.count(forward_flop(self.max_batch, parameters));
        let widest = self.layers.iter().map(Layer::outputs).max().unwrap_or(0);
        let micro_batch_rows = prediction_rows::<T>(self.max_batch, parameters, widest, threads);
        if micro_batch_rows != self.micro_batch_rows {
            let precision = if self.copies.is_some() { Precision::Bf16 } else { Precision::F32 };
            let shards = self.max_batch.div_ceil(micro_batch_rows).min(MAX_SHARDS);
            self.micro_batches = (0..shards)
                .map(|n| {
                    let micro_batch = MicroBatch::new(&self.layers, micro_batch_rows, Purpose::Predict, n);
                    micro_batch.in_precision(precision, &self.layers, Purpose::Predict)
                })
                .collect();
            self.micro_batch_rows = micro_batch_rows;
        }
        self
    }

    /// The maximum batch size.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(2).dense(1, Activation::Tanh).build()?;
    /// assert_eq!(network.workspace(64)?.max_batch(), 64);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn max_batch(&self) -> usize {
        self.max_batch
    }
}

impl<T: Element> Network<T> {
    /// Buffers for predictions of up to `max_batch` rows: at most 64 micro-batches of up to 256 rows each,
    /// through which longer batches go one part after the other.
    ///
    /// # Errors
    /// [`Error::Zero`] if `max_batch` is 0, [`Error::Overflow`] if a batch does not fit in the address space
    /// (whether there is memory is not checked), [`Error::Isa`] if this CPU or build does not support the
    /// network's instruction set.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(2).dense(1, Activation::Tanh).build()?;
    /// assert_eq!(network.workspace(1_000_000)?.max_batch(), 1_000_000);
    /// assert!(network.workspace(0).is_err());
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn workspace(&self, max_batch: usize) -> Result<Workspace<T>, Error> {
        check_max_batch(self, max_batch)?;
        let micro_batch_rows = micro_batch_rows::<T>(max_batch, self.parameter_count());
        let isa = self.isa();
        let workspace = Workspace {
            engine: engine(isa).ok_or(Error::Isa { isa })?,
            isa,
            micro_batches: Vec::new(),
            single_panel: SinglePanelBuffers::new(self, micro_batch_rows),
            micro_batch_rows: 0,
            layers: self.layers.clone(),
            max_batch,
            threshold: PARALLEL_FLOP,
            threads: Threads::new(Parallelism::Auto)?,
            evaluation: None,
            copies: None,
        };
        Ok(workspace.with_micro_batches())
    }

    /// The outputs `[batch, outputs]` of the inputs `x` `[batch, inputs]`, both row-major.
    ///
    /// Allocates its result and a [`Workspace`] each time: for scripts and tests. [`Network::predict_into`]
    /// gives the same bits and allocates nothing.
    ///
    /// # Errors
    /// [`Error::Rows`] unless `x` is whole rows, at least one; [`Error::Isa`] if this CPU or build does not
    /// support the network's instruction set.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(2).dense(3, Activation::Softmax).build()?;
    /// let y = network.predict(&[0.0, 1.0, 1.0, 0.0])?;
    /// assert_eq!(y.len(), 2 * 3);
    /// assert!((y[..3].iter().sum::<f32>() - 1.0).abs() < 1e-6);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn predict(&self, x: &[T]) -> Result<Vec<T>, Error> {
        let rows = check_batch(Argument::Inputs, x.len(), self.inputs(), usize::MAX)?;
        let mut y = vec![T::ZERO; rows * self.outputs()];
        self.predict_into(x, &mut y, &mut self.workspace(rows)?)?;
        Ok(y)
    }

    /// Computes the outputs `y` `[batch, outputs]` of the inputs `x` `[batch, inputs]`, both row-major.
    ///
    /// The bits of a row do not depend on the other rows, on its place in the batch or on the threads.
    /// Denormal inputs (below 1.2e-38 in `f32`, 2.2e-308 in `f64`) count as 0.
    /// Allocates nothing on a worker of the pool; called from outside, rayon allocates a block for every 63
    /// calls that are long enough to be shared.
    ///
    /// # Errors
    /// [`Error::Rows`] unless `x` is whole rows, at least one; [`Error::Batch`] for more rows than the
    /// workspace was built for; [`Error::Length`] for `y` of another batch; [`Error::Workspace`] for a
    /// workspace of a network of other shapes or of another instruction set. `y` is untouched then.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let mut network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// network.write_parameters(&[2.0, 0.5])?;
    /// let (mut y, mut workspace) = ([0.0; 3], network.workspace(64)?);
    /// network.predict_into(&[0.0, 1.0, 2.0], &mut y, &mut workspace)?;
    /// assert_eq!(y, [0.5, 2.5, 4.5]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn predict_into(&self, x: &[T], y: &mut [T], workspace: &mut Workspace<T>) -> Result<(), Error> {
        self.check_workspace(workspace)?;
        let batch = check_batch(Argument::Inputs, x.len(), self.inputs(), workspace.max_batch)?;
        check_length(Argument::Outputs, batch * self.outputs(), y.len())?;
        match workspace.single_panel.as_mut().filter(|buffers| buffers.suit(self, batch)) {
            Some(buffers) => {
                workspace.engine.predict_single_panel(&mut SinglePanelPrediction {
                    buffers,
                    network: self,
                    x,
                    y,
                    rows: batch,
                });
            }
            None => self.predict_micro_batches(Rows { x, y, batch, losses: None }, workspace),
        }
        Ok(())
    }

    /// The loss of any number of rows, in batches of [`Workspace::max_batch`], with the accuracy for class
    /// targets, and the mean absolute error and R2 for values. No trainer and no gradient.
    ///
    /// The loss is reduced by [`Reduction::Mean`], without class weights and label smoothing: these belong to
    /// a trainer, and to [`Trainer::evaluate`](crate::Trainer::evaluate). All are means over rows and
    /// elements by their weights ([`Targets::weights`], [`Targets::mask`]).
    ///
    /// The bits equal [`Trainer::evaluate`](crate::Trainer::evaluate)'s, in `f32` and in `f64`, if the
    /// trainer's maximum batch size is the workspace's. With another one the losses of rows are added up
    /// in another order: the loss, a sum in `f64`, may differ in its last bits. No bit depends on the
    /// threads.
    ///
    /// The first call with more rows than any before allocates a batch of outputs; the others allocate
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Workspace`] for a workspace of a network of other shapes or of another instruction set;
    /// [`Error::Rows`] unless `x` is whole rows, at least one; [`Error::Length`], [`Error::Targets`] or
    /// [`Error::Class`] for targets, weights or a mask that do not fit; [`Error::Setting`] for a setting of
    /// the loss out of range and for weights that are negative or not finite, or add up to more than `f64`
    /// holds; [`Error::Value`] for targets of a binary cross-entropy outside 0 to 1; [`Error::Unused`] for a
    /// mask under a cross-entropy; [`Error::Combination`] for a last layer that has no logits for the loss.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Loss, Network, Targets};
    ///
    /// let mut network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// network.write_parameters(&[1.0, 0.0])?; // the identity
    /// let mut workspace = network.workspace(64)?;
    /// let (x, targets) = ([1.0, 2.0], [1.0, 4.0]);
    /// let found = network.evaluate(&x, &targets, Loss::MeanSquaredError, &mut workspace)?;
    /// assert_eq!((found.loss, found.mean_absolute_error), (2.0, Some(1.0)));
    /// // The first row counts three times.
    /// let targets = Targets::from(&targets).weights(&[3.0, 1.0]);
    /// assert_eq!(network.evaluate(&x, targets, Loss::MeanSquaredError, &mut workspace)?.loss, 1.0);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn evaluate<'t>(
        &self,
        x: &[T],
        targets: impl Into<Targets<'t, T>>,
        loss: Loss,
        workspace: &mut Workspace<T>,
    ) -> Result<Evaluation, Error> {
        self.check_workspace(workspace)?;
        let (inputs, outputs, targets) = (self.inputs(), self.outputs(), targets.into());
        let rows = check_batch(Argument::Inputs, x.len(), inputs, usize::MAX)?;
        loss.check::<T>()?;
        loss.check_outputs(self.last().activation(), outputs)?;
        loss.check_targets(&targets, rows, outputs)?;
        let mut buffers = match workspace.evaluation.take() {
            Some(buffers) => buffers,
            None => EvaluationBuffers::new(ClassWeights::new(loss, outputs, None, 0.0)?),
        };
        let scale = match loss.total_weight(&targets, &buffers.classes, rows, outputs) {
            Ok(weight) => Reduction::Mean.scale(weight),
            Err(error) => {
                workspace.evaluation = Some(buffers);
                return Err(error);
            }
        };
        let max_batch = workspace.max_batch;
        buffers.resize(max_batch.min(rows), outputs);
        let EvaluationBuffers { outputs: y, losses, classes, distances } = &mut buffers;
        let objective = Objective { loss, scale, targets };
        let mut summary = Summary::new(objective, outputs, core::mem::take(distances));
        for first in (0..rows).step_by(max_batch) {
            let of_batch = first..rows.min(first.saturating_add(max_batch));
            let (x, batch) = (&x[of_batch.start * inputs..of_batch.end * inputs], of_batch.len());
            let (y, losses) = (&mut y[..batch * outputs], &mut losses[..batch]);
            let objective = objective.rows(of_batch, outputs);
            let to = LossRange { objective: &objective, classes, first_row: 0, losses: &mut *losses };
            self.predict_micro_batches(Rows { x, y: &mut *y, batch, losses: Some(to) }, workspace);
            let loss = scale * sum_losses(self, max_batch, losses);
            summary.add(workspace.engine, Outcome { loss, y, objective, classes });
        }
        let evaluation = summary.evaluation();
        *distances = summary.distances;
        workspace.evaluation = Some(buffers);
        Ok(evaluation)
    }

    /// Refuses a workspace of a network of other shapes or of another instruction set.
    #[inline(always)]
    fn check_workspace(&self, workspace: &Workspace<T>) -> Result<(), Error> {
        if !Arc::ptr_eq(&self.layers, &workspace.layers) && !self.layers.has_shapes_of(&workspace.layers)
            || self.isa() != workspace.isa
        {
            return Err(Error::Workspace);
        }
        Ok(())
    }

    /// [`Network::predict_into`] of a batch that is sound. A function of its own, so that small networks save
    /// no registers for it.
    #[inline(never)]
    fn predict_micro_batches(&self, rows: Rows<'_, T>, workspace: &mut Workspace<T>) {
        let Rows { x, y, batch, losses } = rows;
        let Workspace { engine, micro_batches, micro_batch_rows, threads, copies, .. } = workspace;
        let copies = copies.as_mut().map(|copies| copies.of(self, *engine));
        let (rows_each, used) = shard_rows(batch, *micro_batch_rows, micro_batches.len());
        let micro_batches = &mut micro_batches[..used];
        let predict = |split: Split| {
            let micro_batch_rows = *micro_batch_rows;
            // Rows of one micro-batch are not shared, but outputs are.
            let split_outputs = if used == 1 { split } else { Split::Whole };
            let rows = PredictionRange {
                network: self,
                micro_batches,
                micro_batch_rows,
                rows_each,
                rows: batch,
                x,
                y,
                split_outputs,
                grain: shard_grain(used, split.threads()),
                losses,
                copies,
            };
            split.for_each(rows, &|rows| engine.predict_range(rows));
        };
        let counted = if used == 1 && threads.share_with_caller() { counted_rows(batch) } else { batch };
        threads.enter(forward_flop(counted, self.parameter_count()), predict);
    }
}

#[cfg(test)]
#[cfg(feature = "rayon")]
mod tests {
    use super::*;
    use crate::Activation;
    use crate::engine::parallel::tests::parts;

    #[test]
    fn the_sweep_alternates_from_micro_batch_to_micro_batch() {
        let network = Network::<f32>::builder(3).dense(20, Activation::Tanh).seed(1).build().unwrap();
        let mut workspace = network.workspace(150).unwrap();
        let orders = |workspace: &Workspace<f32>| {
            workspace.micro_batches.iter().map(|micro_batch| micro_batch.sweep).collect::<Vec<_>>()
        };
        let mut expected = orders(&workspace);
        assert!(expected.windows(2).all(|pair| pair[1] == pair[0].reverse()), "{expected:?}");
        for rows in [64, 128, 150, 1] {
            network.predict_into(&vec![0.0; rows * 3], &mut vec![0.0; rows * 20], &mut workspace).unwrap();
            // All micro-batches go through the first one's buffers.
            if rows.div_ceil(64) % 2 == 1 {
                expected[0] = expected[0].reverse();
            }
            assert_eq!(orders(&workspace), expected, "{rows} rows");
        }
    }

    #[test]
    fn a_prediction_is_divided_by_micro_batches() {
        let network = Network::<f32>::builder(3).dense(2, Activation::Tanh).seed(1).build().unwrap();
        let Workspace { mut micro_batches, micro_batch_rows, .. } = network.workspace(150).unwrap();
        assert_eq!((micro_batch_rows, micro_batches.len()), (64, 3));
        let (x, mut y) = ([0.0; 150 * 3], [0.0; 150 * 2]);
        let x = &x;
        for (grain, expected) in [(1, vec![(22, 1), (64, 1), (64, 1)]), (2, vec![(64, 1), (86, 2)])] {
            let rows = PredictionRange {
                network: &network,
                micro_batches: &mut micro_batches,
                micro_batch_rows,
                rows_each: 64,
                rows: 150,
                x,
                y: &mut y,
                split_outputs: Split::Whole,
                grain,
                losses: None,
                copies: None,
            };
            let of_part = |part: &PredictionRange<'_, f32>| {
                (part.rows, part.micro_batches.len(), part.x.len(), part.y.len())
            };
            let expected =
                expected.into_iter().map(|(rows, micro_batches)| (rows, micro_batches, rows * 3, rows * 2));
            assert_eq!(parts(Split::Pieces, rows, of_part), expected.collect::<Vec<_>>());
        }
    }
}
