//! The two halves around a loss of the caller's own: outputs out, their gradient in.

use crate::engine::batch::PassKind;
use crate::engine::update::{Beta, UpdatePlan};
use crate::error::{Argument, Error, check_batch, check_length};
use crate::simd::scalar::Element;
use crate::train::executor::Work;
use crate::train::trainer::Trainer;

impl<T: Element> Trainer<T> {
    /// The outputs `[batch, outputs]` of `x` `[batch, inputs]`, kept for [`Trainer::backward`]. Layers with dropout
    /// leave elements out, as in a step; [`Network::predict_into`](crate::Network::predict_into) does not.
    ///
    /// The first call allocates what is kept: the outputs, and the activations of a long batch, which a step does not
    /// keep as a whole. [`TrainerBuilder::custom_loss`](crate::TrainerBuilder::custom_loss) allocates it when the trainer
    /// is built instead.
    ///
    /// # Errors
    /// [`Error::Rows`] or [`Error::Batch`], as [`Trainer::step`].
    pub fn forward(&mut self, x: &[T]) -> Result<&[T], Error> {
        let Self { network, state, executor, criterion } = self;
        let rows = check_batch(Argument::Inputs, x.len(), network.inputs(), executor.max_batch)?;
        executor.allocate_kept(network);
        executor.start_layer_stats(rows);
        state.passes += 1;
        let flop = rows.saturating_mul(2 * network.parameter_count());
        let (pass, finish) = (Some(PassKind::Forward), UpdatePlan::NOTHING);
        executor.run(network, state, Work { x, rows, pass, classes: &criterion.classes, finish, flop })?;
        executor.forward_rows = rows;
        Ok(&executor.outputs[..rows * network.outputs()])
    }

    /// The gradient of a loss of your own, from its gradient with respect to the outputs of the last
    /// [`Trainer::forward`], `[batch, outputs]`, to [`Trainer::gradients`].
    ///
    /// # Errors
    /// [`Error::NoForward`] unless [`Trainer::forward`] was the last call that ran the network; [`Error::Length`] for
    /// another batch than its.
    ///
    /// # Examples
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
    pub fn backward(&mut self, d_outputs: &[T]) -> Result<(), Error> {
        let Self { network, state, executor, criterion } = self;
        let rows = executor.forward_rows;
        if rows == 0 {
            return Err(Error::NoForward);
        }
        check_length(Argument::OutputGradients, rows * network.outputs(), d_outputs.len())?;
        // Of the two products of a pass backward.
        let flop = rows.saturating_mul(4 * network.parameter_count());
        let finish =
            UpdatePlan { sum: Some(Beta::Zero), measure: executor.keeps_layer_stats, ..UpdatePlan::NOTHING };
        let pass = Some(PassKind::Backward(d_outputs));
        let work = Work { x: &[], rows, pass, classes: &criterion.classes, finish, flop };
        executor.run(network, state, work).map(drop)
    }
}
