//! A trainer: a network, what training has come to, how it is executed, and what it makes small.

use core::fmt;
use std::sync::Arc;

use crate::engine::bf16::Precision;
use crate::engine::parallel::Parallelism;
use crate::error::Error;
use crate::kernels::ops::loss::{ClassWeights, Loss, Reduction};
use crate::kernels::ops::optimizer::Optimizer;
use crate::network::Network;
use crate::simd::scalar::{Element, elements, elements_mut};
use crate::train::builder::TrainerBuilder;
use crate::train::executor::{Executor, GradientSource};
use crate::train::heads::HeadCriterion;
use crate::train::state::TrainState;

/// Trains a network, batch by batch, in buffers that are allocated once.
///
/// The bits of every result are the same for any number of threads, and on AVX2 and AVX-512. A clone trains
/// on from the same parameters and the same state of the optimizer, on the same threads.
///
/// # Examples
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
#[derive(Clone)]
pub struct Trainer<T: Element> {
    pub(crate) network: Network<T>,
    pub(crate) state: TrainState<T>,
    pub(crate) executor: Executor<T>,
    pub(crate) criterion: Criterion<T>,
}

/// What training makes small.
#[derive(Clone, Debug)]
pub(crate) struct Criterion<T: Element> {
    pub(crate) loss: Loss,
    pub(crate) classes: ClassWeights<T>,
    pub(crate) reduction: Reduction,
    /// One for each head, in place of the loss; none for a single loss. Shared, so that a step can hold it
    /// beside the trainer.
    pub(crate) heads: Arc<[HeadCriterion<T>]>,
}

impl<T: Element> fmt::Debug for Trainer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trainer")
            .field("network", &self.network)
            .field("loss", &self.criterion.loss)
            .field("reduction", &self.criterion.reduction)
            .field("optimizer", &self.state.optimizer)
            .field("max_batch", &self.executor.max_batch)
            .field("steps", &self.state.steps)
            .finish_non_exhaustive()
    }
}

impl<T: Element> Trainer<T> {
    /// Starts the description of a network's training.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).build()?;
    /// assert_eq!(trainer.steps(), 0);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn builder(network: Network<T>) -> TrainerBuilder<T> {
        TrainerBuilder::new(network)
    }

    /// The network as it is now.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).build()?;
    /// assert_eq!(trainer.network().inputs(), 1);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn network(&self) -> &Network<T> {
        &self.network
    }

    /// The network, trained.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// trainer.step(&[1.0], &[2.0])?;
    /// let network = trainer.into_network();
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn into_network(self) -> Network<T> {
        self.network
    }

    /// The optimizer, with its learning rate.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).build()?;
    /// assert_eq!(trainer.optimizer().learning_rate(), 0.01);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn optimizer(&self) -> Optimizer {
        self.state.optimizer
    }

    /// Changes the learning rate from the next update on. Within a fit, or after one that an error has ended,
    /// it is the base rate of its schedule from the next epoch on.
    ///
    /// # Errors
    /// [`Error::Setting`] unless it is finite and at least 0.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// trainer.set_learning_rate(0.1)?;
    /// assert_eq!(trainer.optimizer().learning_rate(), 0.1);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<(), Error> {
        self.state.optimizer = self.state.optimizer.with_learning_rate::<T>(learning_rate)?;
        if let Some(fit) = &mut self.state.fit {
            fit.learning_rate = learning_rate;
        }
        Ok(())
    }

    /// Maximum batch size.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).build()?;
    /// assert_eq!(trainer.max_batch(), 256);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn max_batch(&self) -> usize {
        self.executor.max_batch
    }

    /// Which threads work on a step.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).build()?;
    /// assert_eq!(trainer.parallelism(), fuseprop::Parallelism::Auto);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn parallelism(&self) -> Parallelism {
        self.executor.threads.parallelism()
    }

    /// The numbers that products multiply.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Precision, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let trainer = Trainer::builder(network).build()?;
    /// assert_eq!(trainer.precision(), Precision::F32);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.executor.precision
    }

    /// Updates of the parameters so far.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// trainer.step(&[1.0], &[2.0])?;
    /// assert_eq!(trainer.steps(), 1);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.state.steps
    }

    /// The seed of dropout, and of the order of rows in [`Trainer::fit`]: the one of
    /// [`TrainerBuilder::seed`], or [`Network::seed`] without one.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(7).build()?;
    /// assert_eq!(Trainer::builder(network.clone()).build()?.seed(), 7);
    /// assert_eq!(Trainer::builder(network).seed(8).build()?.seed(), 8);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.state.seed
    }

    /// The Euclidean norm of [`Trainer::gradients`], summed in `f64`.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// trainer.compute_gradients(&[0.0], &[2.0])?;
    /// assert_eq!(trainer.gradient_norm(), 4.0); // of the bias
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn gradient_norm(&self) -> f64 {
        self.executor.gradient_norm()
    }

    /// The gradient of all parameters as one slice in the crate's own padded layout, padding 0: for norms,
    /// scaling and sums over machines. [`Trainer::read_gradients`] gives PyTorch's order.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// trainer.compute_gradients(&[0.0], &[2.0])?;
    /// assert_eq!(trainer.gradients().iter().sum::<f32>(), -4.0);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn gradients(&self) -> &[T] {
        elements::<T>(&self.executor.gradients)
    }

    /// As [`Trainer::gradients`], to be scaled, clipped or reduced before [`Trainer::apply_gradients`].
    ///
    /// Padding is no part of the gradient: what is written there enters [`Trainer::gradient_norm`] until
    /// [`Trainer::apply_gradients`] makes it 0.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// trainer.compute_gradients(&[0.0], &[2.0])?;
    /// trainer.gradients_mut().iter_mut().for_each(|g| *g *= 0.5);
    /// trainer.apply_gradients()?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn gradients_mut(&mut self) -> &mut [T] {
        if self.executor.gradient_source == GradientSource::Nothing {
            self.executor.gradient_source = GradientSource::Caller;
        }
        elements_mut::<T>(&mut self.executor.gradients)
    }

    /// The gradient of the loss with respect to the inputs of the last batch, `[batch, inputs]`. After
    /// [`Trainer::accumulate_gradients`] it is the gradient of the mean over all parts so far with respect to
    /// the inputs of the last part: with [`Reduction::Mean`] each row is divided by the weight of all
    /// parts.
    ///
    /// # Errors
    /// [`Error::NoInputGradients`] unless [`TrainerBuilder::input_gradients`] requested them.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).input_gradients().build()?;
    /// trainer.write_parameters(&[3.0, 0.0])?;
    /// trainer.compute_gradients(&[0.0], &[2.0])?;
    /// assert_eq!(trainer.input_gradients()?, [-12.0]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn input_gradients(&self) -> Result<&[T], Error> {
        let Executor { input_gradients, input_gradient_rows, .. } = &self.executor;
        if input_gradients.is_empty() {
            return Err(Error::NoInputGradients);
        }
        Ok(&input_gradients[..input_gradient_rows * self.network.inputs()])
    }

    /// Returns to parameters of before.
    pub(crate) fn restore(&mut self, parameters: &[T::Line]) {
        self.network.parameters.copy_from_slice(parameters);
        self.executor.refresh(&self.network);
    }
}
