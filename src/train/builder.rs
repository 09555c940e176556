//! How a trainer is described, checked and given its buffers.

use crate::engine::bf16::Precision;
use crate::engine::dispatch::engine;
use crate::engine::micro_batch::Purpose;
use crate::engine::parallel::{PARALLEL_FLOP, Parallelism, Threads};
use crate::engine::plan::{check_max_batch, step_flop};
use crate::engine::update::GradientClipping;
use crate::error::Error;
use crate::kernels::ops::loss::{ClassWeights, Loss, Reduction};
use crate::kernels::ops::optimizer::Optimizer;
use crate::network::Network;
use crate::simd::scalar::Element;
use crate::train::executor::{Executor, ExecutorSpec};
use crate::train::heads::{self, HeadLoss};
use crate::train::state::TrainState;
use crate::train::trainer::{Criterion, Trainer};

/// Settings of a [`Trainer`]: by default the mean squared error, gradient descent at a rate of 0.01, and
/// batches of up to 256 rows.
///
/// # Examples
/// ```
/// use fuseprop::{Activation, Loss, Network, Optimizer, Trainer};
///
/// let network = Network::<f32>::builder(4).dense(3, Activation::Softmax).build()?;
/// let trainer = Trainer::builder(network)
///     .loss(Loss::SoftmaxCrossEntropy)
///     .class_weights(&[1.0, 1.0, 4.0])
///     .label_smoothing(0.1)
///     .optimizer(Optimizer::adam(1e-3))
///     .clip_grad_norm(1.0)
///     .max_batch(64)
///     .build()?;
/// assert_eq!(trainer.max_batch(), 64);
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TrainerBuilder<T: Element> {
    network: Network<T>,
    loss: Loss,
    head_losses: Vec<HeadLoss>,
    class_weights: Option<Vec<f64>>,
    pos_weight: Option<Vec<f64>>,
    label_smoothing: f64,
    reduction: Reduction,
    optimizer: Optimizer,
    clipping: GradientClipping,
    max_batch: usize,
    parallelism: Parallelism,
    parallel_threshold: usize,
    input_gradients: bool,
    seed: Option<u64>,
    layer_stats: bool,
    custom_loss: bool,
    precision: Precision,
}

impl<T: Element> TrainerBuilder<T> {
    pub(crate) fn new(network: Network<T>) -> Self {
        Self {
            network,
            loss: Loss::MeanSquaredError,
            head_losses: Vec::new(),
            class_weights: None,
            pos_weight: None,
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
            optimizer: Optimizer::sgd(0.01),
            clipping: GradientClipping::NONE,
            max_batch: 256,
            parallelism: Parallelism::Auto,
            parallel_threshold: PARALLEL_FLOP,
            input_gradients: false,
            seed: None,
            layer_stats: false,
            custom_loss: false,
            precision: Precision::F32,
        }
    }

    /// The loss; [`Loss::MeanSquaredError`] by default.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).loss(Loss::Huber { delta: 1.0 }).build()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn loss(mut self, loss: Loss) -> Self {
        self.loss = loss;
        self
    }

    /// A loss for each head of a network that ends in [heads](crate::NetworkBuilder::heads), in place of
    /// [`TrainerBuilder::loss`] over all outputs: what a step makes small is their sum, each times its
    /// weight. Targets are [`Targets::heads`](crate::Targets::heads), one for each.
    ///
    /// At most 8 heads. [`Trainer::step`], [`Trainer::compute_gradients`], [`Trainer::evaluate`] (its loss
    /// alone) and [`Trainer::check_gradients`] take them, [`Trainer::accumulate_gradients`] with
    /// [`Reduction::Sum`]; [`Trainer::fit`] does not.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Head, HeadLoss, Loss, Network, Targets, Trainer};
    ///
    /// // A policy and a value, as in AlphaZero.
    /// let heads = [Head::dense(3, Activation::Softmax), Head::dense(1, Activation::Tanh)];
    /// let network = Network::<f32>::builder(2).dense(8, Activation::Relu).heads(heads).build()?;
    /// let policy = HeadLoss::new(Loss::SoftmaxCrossEntropy);
    /// let value = HeadLoss::new(Loss::MeanSquaredError).weight(0.5);
    /// let mut trainer = Trainer::builder(network).head_losses([policy, value]).build()?;
    /// let targets = [Targets::from(&[0.5, 0.25, 0.25]), Targets::from(&[1.0])];
    /// let loss = trainer.step(&[0.1, 0.2], Targets::heads(&targets))?;
    /// assert!(loss > 0.0);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn head_losses(mut self, losses: impl IntoIterator<Item = HeadLoss>) -> Self {
        self.head_losses = losses.into_iter().collect();
        self
    }

    /// Class weights, `[outputs]`, each finite and at least 0, for [`Loss::SoftmaxCrossEntropy`]; all 1 by
    /// default. With class targets, and without label smoothing, a row whose class weighs 0 is not read.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let builder = Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy);
    /// let trainer = builder.class_weights(&[1.0, 9.0]).build()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn class_weights(mut self, weights: &[f64]) -> Self {
        self.class_weights = Some(weights.to_vec());
        self
    }

    /// The weight `p` of the positive class of each output, `[outputs]`, each finite and at least 0, for
    /// [`Loss::BinaryCrossEntropyWithLogits`]; all 1 by default. An element's loss becomes
    /// `-(p t log sigmoid(y) + (1 - t) log(1 - sigmoid(y)))`: above 1 it weighs a rare class up. The mean
    /// divides by the number of elements all the same. PyTorch's `pos_weight`.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// let builder = Trainer::builder(network).loss(Loss::BinaryCrossEntropyWithLogits);
    /// let trainer = builder.pos_weight(&[9.0]).build()?; // of ten rows one is positive
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn pos_weight(mut self, weights: &[f64]) -> Self {
        self.pos_weight = Some(weights.to_vec());
        self
    }

    /// The part `e` of every target that is spread evenly over the classes, from 0 to 1, for
    /// [`Loss::SoftmaxCrossEntropy`]: a target `t` becomes `(1 - e) t + e / outputs`. 0 by default (Szegedy
    /// et al. 2016).
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let builder = Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy);
    /// let trainer = builder.label_smoothing(0.1).build()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn label_smoothing(mut self, smoothing: f64) -> Self {
        self.label_smoothing = smoothing;
        self
    }

    /// How the losses of a batch become one; [`Reduction::Mean`] by default.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).reduction(Reduction::Sum).build()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// The optimizer; gradient descent at a rate of 0.01 by default.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).optimizer(Optimizer::adam(1e-3)).build()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn optimizer(mut self, optimizer: impl Into<Optimizer>) -> Self {
        self.optimizer = optimizer.into();
        self
    }

    /// Clips the gradient's norm over all parameters, as `torch.nn.utils.clip_grad_norm_` does (Pascanu,
    /// Mikolov and Bengio 2013): the update takes `g min(1, max_norm / (|g| + 1e-6))`. [`Trainer::gradients`]
    /// still holds `g`. `max_norm` is above 0; infinity, the default, clips nothing.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).clip_grad_norm(1.0).build()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn clip_grad_norm(mut self, max_norm: f64) -> Self {
        self.clipping.norm = max_norm;
        self
    }

    /// Clips each element of the gradient, after its norm, as `torch.nn.utils.clip_grad_value_` does: the
    /// update takes `min(max(g, -clip_value), clip_value)`. [`Trainer::gradients`] still holds `g`.
    /// `clip_value` is above 0; infinity, the default, clips nothing.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).clip_grad_value(0.5).build()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn clip_grad_value(mut self, clip_value: f64) -> Self {
        self.clipping.value = clip_value;
        self
    }

    /// Refuses a loss or a gradient that is not finite with [`Error::NonFinite`], and keeps the parameters of
    /// the step before. Costs a pass over the gradient. Without it a step refuses nothing; a fit checks by
    /// itself ([`FitOptions::check_finite`](crate::FitOptions::check_finite)).
    ///
    /// Refuses a gradient too whose square would take an optimizer's running sum of squares past the element
    /// type's range, above some 1.8e19 in `f32`: the sum would be infinite from then on, and each of its
    /// steps 0.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).check_finite().build()?;
    /// assert!(trainer.step(&[f32::NAN, 0.0], &[0.0, 0.0]).is_err());
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn check_finite(mut self) -> Self {
        self.clipping.check_finite = true;
        self
    }

    /// Maximum batch size, for which every buffer is allocated; 256 by default. Also part of the shapes that
    /// fix the order of sums: trainers built for other batches may differ in the last bits of a gradient.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).max_batch(32).build()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn max_batch(mut self, max_batch: usize) -> Self {
        self.max_batch = max_batch;
        self
    }

    /// The threads that share a step; [`Parallelism::Auto`] by default. Build the trainer in the pool that
    /// will step: where weights are many the batch is cut into parts for as many threads as that pool has.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).parallelism(Parallelism::Serial).build()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn parallelism(mut self, parallelism: Parallelism) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// The floating-point operations from which on threads share a step; 10 million by default, some 40
    /// microseconds of one thread, where two threads begin to pay for waking them.
    ///
    /// A step counts as six operations for each weight and row of a batch, a pass forward alone as two, a
    /// pass backward alone as four, an update alone as 32 for each parameter. No result depends on the
    /// threshold.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).parallel_threshold(usize::MAX).build()?; // never
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn parallel_threshold(mut self, flop: usize) -> Self {
        self.parallel_threshold = flop;
        self
    }

    /// The seed of which elements dropout leaves out, and of the order of rows in [`Trainer::fit`] unless
    /// [`FitOptions::seed`](crate::FitOptions::seed) gives another; [`Network::seed`] by default.
    ///
    /// So one seed on the network fixes a whole training, and without any all come from the system.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Trainer};
    ///
    /// let network = || Network::<f32>::builder(2).dense(8, Activation::Tanh).dropout(0.5);
    /// let network = || network().dense(1, Activation::Identity).seed(7).build();
    /// let mut first = Trainer::builder(network()?).build()?;
    /// let mut second = Trainer::builder(network()?).build()?;
    /// assert_eq!(first.forward(&[0.1, 0.2])?, second.forward(&[0.1, 0.2])?);
    /// let mut third = Trainer::builder(network()?).seed(8).build()?; // the same weights, another dropout
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Keeps the norms of each layer's outputs and gradient for [`Trainer::layer_stats`]. Costs a pass over
    /// both.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).layer_stats().build()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn layer_stats(mut self) -> Self {
        self.layer_stats = true;
        self
    }

    /// Computes the gradient with respect to the inputs too, for [`Trainer::input_gradients`].
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).input_gradients().build()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn input_gradients(mut self) -> Self {
        self.input_gradients = true;
        self
    }

    /// Allocates what [`Trainer::forward`] keeps for [`Trainer::backward`] when the trainer is built, where
    /// the first [`Trainer::forward`] would: the outputs, and for long batches through networks of few
    /// weights the activations of all rows.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Trainer};
    ///
    /// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).max_batch(2).custom_loss().build()?;
    /// trainer.forward(&[0.5, 1.0])?; // allocates nothing
    /// trainer.backward(&[1.0, -1.0])?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn custom_loss(mut self) -> Self {
        self.custom_loss = true;
        self
    }

    /// The numbers that products multiply; [`Precision::F32`] by default.
    ///
    /// Everything that a trainer does, it does in either: a step, [`Trainer::fit`], [`Trainer::evaluate`],
    /// [`Trainer::forward`] and [`Trainer::backward`], all but a gradient check. A checkpoint holds
    /// parameters and running sums, which are `f32` in both, and not the precision: a training goes on in
    /// that of the trainer which loads it.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::*;
    /// # let network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).precision(Precision::Bf16).build()?;
    /// assert_eq!(trainer.precision(), Precision::Bf16);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// Allocates every buffer: for the optimizer's moments too, as many numbers as parameters for each.
    ///
    /// # Errors
    /// [`Error::Zero`] for a batch or a pool of 0, [`Error::Overflow`] for buffers past the address space,
    /// [`Error::Setting`] for a setting of the loss, the optimizer or the clipping out of range,
    /// [`Error::Length`] for weights of classes of another number, [`Error::Unused`] for a setting that the
    /// loss or the optimizer has no use for, [`Error::Combination`] for a last layer that the loss can
    /// learn nothing by (see [`Loss`]) and for [`Precision::Bf16`] with `f64`, [`Error::Isa`] if this CPU or
    /// build does not support the network's instruction set, [`Error::System`] if the system gives no
    /// threads.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Argument, Error, Network, Optimizer, Trainer};
    ///
    /// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// assert_eq!(Trainer::builder(network.clone()).build()?.max_batch(), 256);
    /// let refused = Trainer::builder(network).optimizer(Optimizer::adam(-1.0)).build();
    /// assert_eq!(refused.unwrap_err(), Error::Setting { argument: Argument::LearningRate, value: -1.0 });
    /// # Ok::<(), Error>(())
    /// ```
    pub fn build(self) -> Result<Trainer<T>, Error> {
        let Self { network, max_batch, .. } = self;
        check_max_batch(&network, max_batch)?;
        self.precision.check::<T>()?;
        let optimizer = self.optimizer.checked::<T>()?;
        let clipping = self.clipping.check()?;
        self.loss.check::<T>()?;
        if self.head_losses.is_empty() {
            self.loss.check_outputs(network.last().activation(), network.outputs())?;
        }
        let weights = self.class_weights.as_deref();
        let classes = ClassWeights::new(self.loss, network.outputs(), weights, self.label_smoothing)?;
        let classes = classes.with_positive(self.loss, network.outputs(), self.pos_weight.as_deref())?;
        let heads = heads::criteria(&network, &self.head_losses)?.into();
        let criterion = Criterion { loss: self.loss, classes, reduction: self.reduction, heads };
        let threads = Threads::new(self.parallelism)?.with_threshold(self.parallel_threshold);
        let isa = network.isa();
        let engine = engine(isa).ok_or(Error::Isa { isa })?;
        let spec = ExecutorSpec {
            thread_count: threads.count(step_flop(max_batch, network.parameter_count())),
            threads,
            max_batch,
            clipping,
            purpose: if self.input_gradients { Purpose::TrainWithInputGradients } else { Purpose::Train },
            layer_stats: self.layer_stats,
            precision: self.precision,
        };
        let mut executor = Executor::new(&network, engine, spec);
        if self.custom_loss {
            executor.allocate_forward_cache(&network);
        }
        let state = TrainState::new(optimizer, network.parameters.len(), self.seed.unwrap_or(network.seed));
        Ok(Trainer { network, state, executor, criterion })
    }
}
