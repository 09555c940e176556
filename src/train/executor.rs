//! How a trainer's passes and updates run: the engine, the plan, the threads, and every buffer that is no
//! state.

use crate::engine::batch::{BatchRange, GradientShard, PassContext, PassKind, total_loss};
use crate::engine::dispatch::Engine;
use crate::engine::micro_batch::{MicroBatch, Purpose};
use crate::engine::parallel::Threads;
use crate::engine::partition::{ParameterBlock, ParameterPartition};
use crate::engine::plan::{MicroBatchRows, Plan};
use crate::engine::prediction::shares;
use crate::engine::single_panel::SinglePanelBuffers;
use crate::engine::update::{GradientClipping, ParameterBlocks, UpdatePlan};
use crate::error::Error;
use crate::kernels::ops::dropout::DropoutRng;
use crate::kernels::ops::loss::{ClassWeights, Reduction};
use crate::metrics::Distances;
use crate::network::{Layer, Network};
use crate::simd::scalar::{Element, Line, elements_mut};
use crate::train::state::TrainState;

/// How a trainer's passes and updates run: the engine, the plan, the threads, and every buffer that is no
/// state.
///
/// Nothing here changes a result but [`Executor::gradients`], which an update reads.
#[derive(Clone)]
pub(crate) struct Executor<T: Element> {
    pub(crate) engine: &'static dyn Engine<T>,
    pub(crate) threads: Threads,
    pub(crate) plan: Plan,
    pub(crate) micro_batch_rows: MicroBatchRows,
    pub(crate) max_batch: usize,
    pub(crate) shards: Vec<GradientShard<T>>,
    /// For batches that need no shards, if the network is small.
    pub(crate) single_panel: Option<SinglePanelBuffers<T>>,
    pub(crate) partition: ParameterPartition<T>,
    /// In the layout of the network's parameters.
    pub(crate) gradients: Vec<T::Line>,
    /// What the mean divides by whose gradient it is; nothing after a pass backward from elsewhere.
    pub(crate) gradient_weight: Option<f64>,
    pub(crate) clipping: GradientClipping,
    /// Whether any layer has dropout.
    pub(crate) drops: bool,
    /// The squared norm of the gradient of each panel of parameters, of the last update that was measured.
    pub(crate) squares: Vec<f64>,
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

/// What a trainer's buffers follow from.
pub(crate) struct ExecutorSpec {
    pub(crate) threads: Threads,
    /// How many threads share a step.
    pub(crate) sharing: usize,
    pub(crate) max_batch: usize,
    pub(crate) clipping: GradientClipping,
    pub(crate) purpose: Purpose,
    pub(crate) layer_stats: bool,
}

/// A pass over some rows, and what follows it. Either may be nothing.
pub(crate) struct Work<'a, T: Element> {
    /// `[rows, inputs]`, or empty for a pass that only goes back.
    pub(crate) x: &'a [T],
    pub(crate) rows: usize,
    pub(crate) pass: Option<PassKind<'a, T>>,
    pub(crate) classes: &'a ClassWeights<T>,
    pub(crate) finish: UpdatePlan,
    /// Floating-point operations, by which threads share or do not.
    pub(crate) flop: usize,
}

impl<T: Element> Executor<T> {
    /// Allocates every buffer but those of [`Executor::allocate_outputs`] and [`Executor::allocate_kept`].
    pub(crate) fn new(network: &Network<T>, engine: &'static dyn Engine<T>, spec: ExecutorSpec) -> Self {
        let ExecutorSpec { threads, sharing, max_batch, clipping, purpose, layer_stats } = spec;
        let lines = network.parameters.len();
        // Norms of layers are sums over micro-batches: they have as many rows then whatever the threads.
        let sharing_rows = (!layer_stats).then_some(sharing);
        let micro_batch_rows = MicroBatchRows::of_layers::<T>(max_batch, &network.layers, sharing_rows);
        let plan = Plan::choose::<T>(max_batch, micro_batch_rows.least, lines);
        let has_input_gradients = purpose == Purpose::TrainWithInputGradients;
        let input_gradients = if has_input_gradients { max_batch * network.inputs() } else { 0 };
        // Only the general path knows norms of layers and gradients of inputs, and refuses a loss before its
        // gradient is summed.
        let is_general = layer_stats || has_input_gradients || clipping.finite;
        let first_transposed = if has_input_gradients { 0 } else { 1 };
        let partition = ParameterPartition::new(network, engine, first_transposed, sharing);
        let mut executor = Self {
            engine,
            threads,
            plan,
            micro_batch_rows,
            max_batch,
            shards: Vec::new(),
            single_panel: SinglePanelBuffers::new(network, micro_batch_rows.least).filter(|_| !is_general),
            squares: vec![0.0; partition.panels()],
            partition,
            gradients: vec![T::Line::ZERO; lines],
            gradient_weight: Some(0.0),
            clipping,
            drops: network.has_dropout(),
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
            kept: Vec::new(),
            gradients: vec![T::Line::ZERO; own_lines],
            summed: 0,
            loss: 0.0,
            squares: vec![0.0; squares],
        };
        self.shards = (0..count).map(shard).collect();
    }

    fn micro_batch(&self, layers: &[Layer], n: usize) -> MicroBatch<T> {
        let purpose =
            if self.input_gradients.is_empty() { Purpose::Train } else { Purpose::TrainWithInputGradients };
        MicroBatch::new(layers, self.micro_batch_rows.most, purpose, n)
    }

    /// Buffers for the outputs of a batch, unless they are there.
    pub(crate) fn allocate_outputs(&mut self, network: &Network<T>) {
        if self.outputs.is_empty() {
            self.outputs = vec![T::ZERO; self.max_batch * network.outputs()];
        }
    }

    /// Buffers for all that a pass forward keeps for a pass backward, unless they are there: the outputs, and
    /// where shards take several micro-batches the activations of each.
    pub(crate) fn allocate_kept(&mut self, network: &Network<T>) {
        self.allocate_outputs(network);
        let Plan::DepthFirst { shards } = self.plan else { return };
        let each = self.max_batch.div_ceil(self.micro_batch_rows.most).div_ceil(shards);
        for s in 0..self.shards.len() {
            if self.shards[s].kept.is_empty() {
                self.shards[s].kept = (0..each).map(|n| self.micro_batch(&network.layers, n)).collect();
            }
        }
    }

    /// The halves of a step: a pass over rows (`engine/batch.rs`), then what follows it (`engine/update.rs`).
    /// The loss of the pass, 0 if it has none.
    pub(crate) fn run(
        &mut self,
        network: &mut Network<T>,
        state: &mut TrainState<T>,
        work: Work<'_, T>,
    ) -> Result<f64, Error> {
        let Work { x, rows: batch, pass, classes, finish, flop } = work;
        let micro_batch_rows = self.micro_batch_rows.of_batch(batch, self.shards.len());
        let (rows_each, used) = shares(batch, micro_batch_rows, self.plan.max_shards());
        let dropout_rng = self.drops.then(|| DropoutRng::new(state.seed, state.passes));
        if pass.is_some_and(PassKind::goes_back) && !self.input_gradients.is_empty() {
            self.input_gradient_rows = batch;
        }
        let Self { engine, threads, plan, shards, partition, gradients, squares, .. } = self;
        let Self { outputs, input_gradients, .. } = self;
        let (engine, plan, shards) = (*engine, *plan, &mut shards[..used]);
        threads.enter(flop, |split| {
            if let Some(pass) = pass {
                let grain = plan.grain(shards.len(), split.threads());
                let shared = PassContext {
                    network,
                    partition,
                    x,
                    batch,
                    pass,
                    classes,
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
                squares,
                layers: &network.layers,
                shards,
            };
            blocks.complete(engine, split, &finish, loss, step)?;
            Ok(loss)
        })
    }

    /// Makes room in the gradient for a batch of such a total weight: what its losses are multiplied by.
    ///
    /// The mean over rows of weight `W` becomes their part, `W / (W + V)` of it, of that over `W + V`.
    pub(crate) fn add_weight(&mut self, reduction: Reduction, weight: f64) -> f64 {
        let before = match (reduction, &mut self.gradient_weight) {
            (Reduction::Mean, Some(before)) => before,
            // There is no mean to be a part of.
            (Reduction::Sum, _) | (Reduction::Mean, None) => return reduction.scale(weight),
        };
        let total = *before + weight;
        if *before > 0.0 && weight > 0.0 {
            let part = *before / total;
            for gradient in elements_mut::<T>(&mut self.gradients) {
                *gradient = T::from_f64(gradient.to_f64() * part);
            }
        }
        *before = total;
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
        panels.map(|panel| self.engine.sum_of_squares(panel)).sum::<f64>().sqrt()
    }
}
