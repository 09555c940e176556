//! How a trainer is described, checked and given its buffers.

use crate::engine::batch::GradientShard;
use crate::engine::dispatch::engine;
use crate::engine::micro_batch::{MicroBatch, Purpose};
use crate::engine::parallel::PARALLEL_FLOP;
use crate::engine::parallel::{Parallelism, Threads};
use crate::engine::partition::ParameterPartition;
use crate::engine::plan::{MicroBatchRows, Plan, step_flop};
use crate::engine::prediction::check_max_batch;
use crate::engine::single_panel::SinglePanelBuffers;
use crate::engine::update::GradientClipping;
use crate::error::Error;
use crate::kernels::gemm::blocking::splits_accumulators;
use crate::kernels::ops::loss::{ClassWeights, Loss, Reduction};
use crate::kernels::ops::optimizer::{MAX_MOMENTS, Optimizer};
use crate::network::Network;
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements_mut};
use crate::train::trainer::{ForwardCache, Trainer};

/// How a network is trained: by default the mean squared error, gradient descent at a rate of 0.01, and batches of up
/// to 256 rows.
#[derive(Clone, Debug)]
pub struct TrainerBuilder<T: Element> {
    network: Network<T>,
    loss: Loss,
    class_weights: Option<Vec<f64>>,
    label_smoothing: f64,
    reduction: Reduction,
    optimizer: Optimizer,
    clipping: GradientClipping,
    max_batch: usize,
    parallelism: Parallelism,
    parallel_threshold: usize,
    input_gradients: bool,
    seed: u64,
    reports: bool,
}

impl<T: Element> TrainerBuilder<T> {
    pub(crate) fn new(network: Network<T>) -> Self {
        Self {
            network,
            loss: Loss::MeanSquaredError,
            class_weights: None,
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
            optimizer: Optimizer::sgd(0.01),
            clipping: GradientClipping::NONE,
            max_batch: 256,
            parallelism: Parallelism::Auto,
            parallel_threshold: PARALLEL_FLOP,
            input_gradients: false,
            seed: 0,
            reports: false,
        }
    }

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
    pub fn clip_grad_norm(mut self, largest: f64) -> Self {
        self.clipping.norm = largest;
        self
    }

    /// Limits every element of a gradient, after its norm, to a magnitude, as `torch.nn.utils.clip_grad_value_`
    /// does. [`Trainer::gradients`] still holds the gradient as it was.
    #[must_use]
    pub fn clip_grad_value(mut self, largest: f64) -> Self {
        self.clipping.value = largest;
        self
    }

    /// Refuses a loss or a gradient that is not finite with [`Error::NonFinite`], and keeps the parameters of the
    /// step before. Costs a pass over the gradient.
    #[must_use]
    pub fn check_finite(mut self, check: bool) -> Self {
        self.clipping.finite = check;
        self
    }

    /// Most rows of a batch, for which every buffer is made; 256 by default. Also part of the shapes that
    /// fix the order of sums: trainers built for other batches may differ in the last bits of a gradient.
    #[must_use]
    pub fn max_batch(mut self, max_batch: usize) -> Self {
        self.max_batch = max_batch;
        self
    }

    /// Who works on a step; [`Parallelism::Auto`] by default: build the trainer in the pool that will step, for where
    /// weights are many the batch is cut into parts for as many threads as that pool has.
    #[must_use]
    pub fn parallelism(mut self, parallelism: Parallelism) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// The floating-point operations (six for each weight and row of a batch; two of a pass forward alone; an update alone
    /// counts as 32 for each parameter) from which on a step is shared out among threads; 10 million by default, some 40
    /// microseconds of one thread, where two threads begin to pay for waking them. The result has the same bits whatever is chosen.
    #[must_use]
    pub fn parallel_threshold(mut self, flop: usize) -> Self {
        self.parallel_threshold = flop;
        self
    }

    /// What follows from it is which elements dropout leaves out; 0 by default.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Keeps the norms of each layer's outputs and gradient: see [`Trainer::layer_stats`]. Costs a pass over both; nothing
    /// unless it is asked for.
    #[must_use]
    pub fn layer_stats(mut self) -> Self {
        self.reports = true;
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
        let optimizer = self.optimizer.checked::<T>()?;
        let clipping = self.clipping.check()?;
        self.loss.check::<T>()?;
        let weights = self.class_weights.as_deref();
        let classes = ClassWeights::new(self.loss, network.outputs(), weights, self.label_smoothing)?;
        let threads = Threads::new(self.parallelism)?.with_threshold(self.parallel_threshold);
        let (count, lines) = (network.parameter_count(), network.parameters.len());
        let sharing = threads.sharing(step_flop(max_batch, count));
        let is_chained =
            network.layers.iter().any(|layer| splits_accumulators::<T>(layer.inputs(), layer.outputs()));
        // Reports are sums over micro_batches: they have as many rows then whatever the threads.
        let of_tiles = (!self.reports).then_some(sharing);
        let micro_batch_rows = MicroBatchRows::choose::<T>(max_batch, count, lines, is_chained, of_tiles);
        let plan = Plan::choose::<T>(max_batch, micro_batch_rows.least, lines);
        let purpose = if self.input_gradients { Purpose::TrainWithInputGradients } else { Purpose::Train };
        let input_gradients = if self.input_gradients { max_batch * network.inputs() } else { 0 };
        // Reports and gradients of inputs only the general path knows, and to refuse a loss before its gradient is summed.
        let is_general = self.reports || self.input_gradients || clipping.finite;
        let first = if self.input_gradients { 0 } else { 1 };
        let isa = network.isa();
        let engine = engine(isa).ok_or(Error::Isa { isa })?;
        let partition = ParameterPartition::new(&network, engine, first, sharing);
        Ok(Trainer {
            engine,
            squares: vec![0.0; partition.panels()],
            partition,
            moments: moments::<T>(optimizer, network.parameters.len()),
            steps: 0,
            passes: 0,
            resumed: None,
            reports: self.reports,
            reported_rows: 0,
            dropout_seed: network.has_dropout().then_some(self.seed),
            clipping,
            gradients: vec![T::Line::ZERO; network.parameters.len()],
            small: SinglePanelBuffers::new(&network, micro_batch_rows.least).filter(|_| !is_general),
            shards: shards(&network, plan, (max_batch, micro_batch_rows.most), purpose, self.reports),
            plan,
            micro_batch_rows,
            loss: self.loss,
            classes,
            reduction: self.reduction,
            optimizer,
            max_batch,
            threads,
            forward_cache: ForwardCache {
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

/// The buffers of a batch of so many rows, in tiles of so many.
fn shards<T: Element>(
    network: &Network<T>,
    plan: Plan,
    (max_batch, micro_batch_rows): (usize, usize),
    purpose: Purpose,
    reports: bool,
) -> Vec<GradientShard<T>> {
    let (count, own_lines) = match plan {
        Plan::DepthFirst { shards } => (shards, network.parameters.len()),
        Plan::TwoPhase => (max_batch.div_ceil(micro_batch_rows), 0),
    };
    let shard = |n| GradientShard {
        micro_batch: MicroBatch::new(&network.layers, micro_batch_rows, purpose, n),
        gradients: vec![T::Line::ZERO; own_lines],
        summed: 0,
        loss: 0.0,
        squares: vec![0.0; if reports { network.layers.len() } else { 0 }],
    };
    (0..count).map(shard).collect()
}

/// The running sums that an optimizer keeps beside each parameter, as they start.
fn moments<T: Element>(optimizer: Optimizer, lines: usize) -> [Vec<T::Line>; MAX_MOMENTS] {
    let mut moments: [Vec<T::Line>; MAX_MOMENTS] = Default::default();
    for (moment, start) in moments.iter_mut().zip(optimizer.moments()) {
        *moment = vec![T::Line::ZERO; lines];
        elements_mut::<T>(moment).fill(T::from_f64(start));
    }
    moments
}
