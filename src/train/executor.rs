//! How a trainer's passes and updates run: the engine, the plan, the threads, and every buffer that is no
//! state.

use crate::engine::batch::GradientShard;
use crate::engine::bf16::Precision;
use crate::engine::dispatch::Engine;
use crate::engine::micro_batch::{MicroBatch, Purpose};
use crate::engine::parallel::Threads;
use crate::engine::partition::{ParameterBlock, ParameterPartition};
use crate::engine::plan::{MicroBatchRows, Plan};
use crate::engine::single_panel::SinglePanelBuffers;
use crate::engine::squared_norm::SquaredNorm;
use crate::engine::update::{GradientClipping, squared_norm};
use crate::kernels::ops::loss::Reduction;
use crate::metrics::Distances;
use crate::network::{Layer, Layers, Network, clear_biases};
use crate::simd::scalar::{Element, Line, elements_mut};

/// How a trainer's passes and updates run: the engine, the plan, the threads, and every buffer that is no
/// state.
///
/// A checkpoint saves nothing of it: between two calls only [`Executor::gradients`] and what goes with it,
/// and the activations of a forward pass, are more than room to compute in.
#[derive(Clone)]
pub(crate) struct Executor<T: Element> {
    pub(crate) engine: &'static dyn Engine<T>,
    pub(crate) threads: Threads,
    pub(crate) plan: Plan,
    pub(crate) precision: Precision,
    pub(crate) micro_batch_rows: MicroBatchRows,
    pub(crate) max_batch: usize,
    pub(crate) shards: Vec<GradientShard<T>>,
    /// For batches that need no shards, if the network is small.
    pub(crate) single_panel: Option<SinglePanelBuffers<T>>,
    pub(crate) partition: ParameterPartition<T>,
    /// In the layout of the network's parameters.
    pub(crate) gradients: Vec<T::Line>,
    pub(crate) gradient_source: GradientSource,
    pub(crate) clipping: GradientClipping,
    pub(crate) has_dropout: bool,
    /// The squared norm of the gradient of each panel of parameters, of the last update that was measured.
    pub(crate) squares: Vec<SquaredNorm>,
    /// Whether the norms of each layer are kept.
    pub(crate) keeps_layer_stats: bool,
    /// Rows of the batch that the norms are of.
    pub(crate) layer_stats_rows: usize,
    /// `[max_batch, outputs]`, of the last pass forward or evaluation; empty until there is one.
    pub(crate) outputs: Vec<T>,
    /// What an evaluation sums for each output; empty until there is one of values.
    pub(crate) distances: Vec<Distances>,
    /// Rows between `forward` and `backward`; 0 if there are none.
    pub(crate) forward_rows: usize,
    /// `[max_batch, inputs]`, empty unless requested.
    pub(crate) input_gradients: Vec<T>,
    /// Rows of the batch that `input_gradients` holds.
    pub(crate) input_gradient_rows: usize,
}

/// The source of the numbers in [`Executor::gradients`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum GradientSource {
    /// None yet: all are 0.
    Nothing,
    /// Rows of this total weight, by which their mean divides.
    Rows(f64),
    /// A loss of the caller's own, or the caller.
    Caller,
}

/// What a trainer's buffers follow from.
pub(crate) struct ExecutorSpec {
    pub(crate) threads: Threads,
    /// The number of threads that share a step.
    pub(crate) thread_count: usize,
    pub(crate) max_batch: usize,
    pub(crate) clipping: GradientClipping,
    pub(crate) purpose: Purpose,
    pub(crate) layer_stats: bool,
    pub(crate) precision: Precision,
}

impl<T: Element> Executor<T> {
    /// Allocates every buffer but those of [`Executor::allocate_outputs`] and
    /// [`Executor::allocate_forward_cache`].
    pub(crate) fn new(network: &Network<T>, engine: &'static dyn Engine<T>, spec: ExecutorSpec) -> Self {
        let ExecutorSpec { threads, thread_count, max_batch, clipping, purpose, layer_stats, precision } =
            spec;
        let lines = network.parameters.len();
        // Norms of layers are sums over micro-batches: their rows must not follow from the threads then.
        let threads_of_rows = (!layer_stats).then_some(thread_count);
        let micro_batch_rows = MicroBatchRows::of_layers::<T>(max_batch, &network.layers, threads_of_rows);
        let plan = Plan::choose::<T>(max_batch, micro_batch_rows.least, lines);
        let has_input_gradients = purpose == Purpose::TrainWithInputGradients;
        let input_gradients = if has_input_gradients { max_batch * network.inputs() } else { 0 };
        // Only the general path knows norms of layers, gradients of inputs and bf16, and refuses a loss
        // before its gradient is summed.
        let is_bf16 = precision == Precision::Bf16;
        let is_general = layer_stats || has_input_gradients || clipping.check_finite || is_bf16;
        let mut partition = ParameterPartition::new(network, engine, has_input_gradients, thread_count);
        if is_bf16 {
            partition = partition.in_bf16(network, engine, has_input_gradients);
        }
        let mut executor = Self {
            engine,
            threads,
            plan,
            precision,
            micro_batch_rows,
            max_batch,
            shards: Vec::new(),
            single_panel: SinglePanelBuffers::new(network, micro_batch_rows.least).filter(|_| !is_general),
            squares: vec![SquaredNorm::ZERO; partition.panels()],
            partition,
            gradients: vec![T::Line::ZERO; lines],
            gradient_source: GradientSource::Nothing,
            clipping,
            has_dropout: network.has_dropout(),
            keeps_layer_stats: layer_stats,
            layer_stats_rows: 0,
            outputs: Vec::new(),
            distances: Vec::new(),
            forward_rows: 0,
            input_gradients: vec![T::ZERO; input_gradients],
            input_gradient_rows: 0,
        };
        executor.allocate_shards(network);
        executor
    }

    fn allocate_shards(&mut self, network: &Network<T>) {
        let (count, own_lines) = match self.plan {
            Plan::DepthFirst { shards } => (shards, network.parameters.len()),
            Plan::TwoPhase => (self.max_batch.div_ceil(self.micro_batch_rows.most), 0),
        };
        let squares = if self.keeps_layer_stats { network.layers.len() } else { 0 };
        let shard = |n| GradientShard {
            micro_batch: self.micro_batch(&network.layers, n),
            forward_cache: Vec::new(),
            gradients: vec![T::Line::ZERO; own_lines],
            summed: 0,
            loss: 0.0,
            squares: vec![SquaredNorm::ZERO; squares],
        };
        self.shards = (0..count).map(shard).collect();
    }

    fn micro_batch(&self, layers: &Layers, n: usize) -> MicroBatch<T> {
        let purpose =
            if self.input_gradients.is_empty() { Purpose::Train } else { Purpose::TrainWithInputGradients };
        let micro_batch = MicroBatch::new(layers, self.micro_batch_rows.most, purpose, n);
        micro_batch.in_precision(self.precision, layers, purpose)
    }

    /// Buffers for the outputs of a batch, unless they are there.
    pub(crate) fn allocate_outputs(&mut self, network: &Network<T>) {
        if self.outputs.is_empty() {
            self.outputs = vec![T::ZERO; self.max_batch * network.outputs()];
        }
    }

    /// Buffers for all that a pass forward caches for a pass backward, unless they are there: the outputs,
    /// and where shards take several micro-batches the activations of each.
    pub(crate) fn allocate_forward_cache(&mut self, network: &Network<T>) {
        self.allocate_outputs(network);
        let Plan::DepthFirst { shards } = self.plan else { return };
        let each = self.max_batch.div_ceil(self.micro_batch_rows.most).div_ceil(shards);
        for s in 0..self.shards.len() {
            if self.shards[s].forward_cache.is_empty() {
                self.shards[s].forward_cache =
                    (0..each).map(|n| self.micro_batch(&network.layers, n)).collect();
            }
        }
    }

    /// Makes room in the gradient for a batch of such a total weight: what its losses are multiplied by.
    ///
    /// The mean over rows of weight `W` becomes their part, `W / (W + V)` of it, of that over `W + V`.
    pub(crate) fn add_weight(&mut self, reduction: Reduction, weight: f64) -> f64 {
        let before = match (reduction, self.gradient_source) {
            (Reduction::Mean, GradientSource::Rows(before)) => before,
            (_, GradientSource::Nothing) => 0.0,
            // There is no mean to be a part of.
            (Reduction::Sum, GradientSource::Rows(_)) | (_, GradientSource::Caller) => {
                return reduction.scale(weight);
            }
        };
        let total = before + weight;
        if before > 0.0 && weight > 0.0 {
            let part = before / total;
            for gradient in elements_mut::<T>(&mut self.gradients) {
                *gradient = T::from_f64(gradient.to_f64() * part);
            }
        }
        self.gradient_source = GradientSource::Rows(total);
        reduction.scale(total)
    }

    /// Follows a change of the network's parameters from elsewhere than an update: the transposed copy is
    /// computed again, and a pass forward is forgotten.
    pub(crate) fn refresh(&mut self, network: &Network<T>) {
        self.forward_rows = 0;
        self.partition.refresh_transposed(network, self.engine);
    }

    /// The Euclidean norm of the gradient, summed panel by panel, in the order in which a norm that clips is
    /// added up.
    pub(crate) fn gradient_norm(&self) -> f64 {
        let panels = |block: &ParameterBlock| self.gradients[block.lines()].chunks_exact(1 + block.columns);
        let panels = self.partition.blocks.iter().flat_map(panels);
        SquaredNorm::sum(panels.map(|panel| self.squared_norm(panel))).norm()
    }

    /// The squared norm of some lines.
    pub(crate) fn squared_norm(&self, lines: &[T::Line]) -> SquaredNorm {
        squared_norm::<T>(self.engine.sum_of_squares(lines), lines)
    }

    /// Forgets the gradient of parameters that were replaced, with all that was measured with it.
    #[cfg(feature = "files")]
    pub(crate) fn clear_gradients(&mut self) {
        self.gradients.fill(T::Line::ZERO);
        self.gradient_source = GradientSource::Nothing;
        self.input_gradient_rows = 0;
        self.layer_stats_rows = 0;
        self.squares.fill(SquaredNorm::ZERO);
        self.shards.iter_mut().for_each(|shard| shard.squares.fill(SquaredNorm::ZERO));
    }

    /// Makes all elements of the gradient 0 that are of no parameter: padding and absent biases. A caller may
    /// have written to them.
    pub(crate) fn clear_padding(&mut self, layers: &[Layer]) {
        for layer in layers.iter().filter(|layer| layer.kind().has_parameters()) {
            let lines = &mut self.gradients[layer.lines()];
            let used = (layer.outputs() - 1) % T::LANES + 1;
            let last = lines.len() - (1 + layer.columns());
            if used < T::LANES {
                lines[last..].iter_mut().for_each(|line| line.as_mut_slice()[used..].fill(T::ZERO));
            }
            if !layer.has_bias() {
                clear_biases::<T>(lines, *layer);
            }
        }
    }
}
