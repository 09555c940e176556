//! The two halves around a loss of the caller's own: outputs out, their gradient in.

use crate::engine::batch::PassKind;
use crate::engine::update::{Beta, UpdatePlan};
use crate::error::{Argument, Error, check_batch, check_length};
use crate::simd::scalar::Element;
use crate::train::executor::{Executor, GradientSource};
use crate::train::step::PassRequest;
use crate::train::trainer::Trainer;

impl<T: Element> Trainer<T> {
    /// The outputs `[batch, outputs]` of `x` `[batch, inputs]`, kept for [`Trainer::backward`]. Layers with
    /// dropout leave elements out, as in a step; [`Network::predict_into`](crate::Network::predict_into) does
    /// not.
    ///
    /// The first call allocates the buffers for it: the outputs, and the activations of a long batch, which a
    /// step does not keep as a whole. [`TrainerBuilder::custom_loss`](crate::TrainerBuilder::custom_loss)
    /// allocates it when the trainer is built instead.
    ///
    /// # Errors
    /// [`Error::Rows`] or [`Error::Batch`], as [`Trainer::step`].
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Trainer};
    ///
    /// let network = Network::<f32>::builder(2).dense(1, Activation::Tanh).seed(1).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// let x = [0.1, 0.2, 0.3, 0.4];
    /// // Without dropout it is a prediction.
    /// assert_eq!(trainer.forward(&x)?.to_vec(), trainer.network().predict(&x)?);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn forward(&mut self, x: &[T]) -> Result<&[T], Error> {
        let rows = check_batch(Argument::Inputs, x.len(), self.network.inputs(), self.executor.max_batch)?;
        self.executor.allocate_forward_cache(&self.network);
        self.run(PassRequest { x, rows, pass: Some(PassKind::Forward), finish: UpdatePlan::NOTHING })?;
        self.executor.forward_rows = rows;
        Ok(&self.executor.outputs[..rows * self.network.outputs()])
    }

    /// The gradient of a loss of your own, from its gradient with respect to the outputs of the last
    /// [`Trainer::forward`], `[batch, outputs]`, to [`Trainer::gradients`].
    ///
    /// # Errors
    /// [`Error::NoForward`] unless [`Trainer::forward`] was the last call that ran the network or changed its
    /// parameters or its scaler; [`Error::Length`] unless there is a number for each of its outputs. Whether
    /// the gradient is finite is not checked here, but by [`Trainer::apply_gradients`].
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
        let Executor { forward_rows: rows, keeps_layer_stats: measure, .. } = self.executor;
        if rows == 0 {
            return Err(Error::NoForward);
        }
        check_length(Argument::OutputGradients, rows * self.network.outputs(), d_outputs.len())?;
        let finish = UpdatePlan { sum: Some(Beta::Zero), measure, ..UpdatePlan::NOTHING };
        let pass = Some(PassKind::Backward(d_outputs));
        self.executor.gradient_source = GradientSource::Caller;
        self.run(PassRequest { x: &[], rows, pass, finish }).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::Plan;
    use crate::simd::scalar::elements;
    use crate::{Activation, Loss, Network, Parallelism, Reduction};

    /// Rows of a batch that goes depth-first, with a few rows that no micro-batch fills.
    const ROWS: usize = 1500;

    fn trainer(parallelism: Parallelism) -> Trainer<f32> {
        let builder = Network::<f32>::builder(5).dense(20, Activation::Gelu).layer_norm(Activation::Tanh);
        let network = builder.dense(3, Activation::Sigmoid).seed(2).build().unwrap();
        let builder = Trainer::builder(network).loss(Loss::MeanSquaredError).reduction(Reduction::Sum);
        builder.max_batch(ROWS).parallelism(parallelism).input_gradients().build().unwrap()
    }

    #[test]
    fn a_loss_of_ones_own_has_the_bits_of_the_same_loss_of_the_trainer() {
        let x: Vec<f32> = (0..ROWS * 5).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let t: Vec<f32> = (0..ROWS * 3).map(|i| (i * 53 % 97) as f32 / 97.0).collect();
        for parallelism in [Parallelism::Serial, Parallelism::Threads(3)] {
            let (mut own, mut right) = (trainer(parallelism), trainer(parallelism));
            assert!(matches!(right.executor.plan, Plan::DepthFirst { .. }));
            for rows in [ROWS, 700, 65, 1, ROWS] {
                let (x, t) = (&x[..rows * 5], &t[..rows * 3]);
                right.compute_gradients(x, t).unwrap();
                let y = own.forward(x).unwrap();
                let d_outputs: Vec<f32> = y.iter().zip(t).map(|(y, t)| (y - t) + (y - t)).collect();
                for _ in 0..2 {
                    own.gradients_mut().fill(f32::NAN);
                    own.backward(&d_outputs).unwrap();
                    assert_eq!(own.gradients(), right.gradients(), "{rows} rows, {parallelism:?}");
                    assert_eq!(own.input_gradients(), right.input_gradients());
                }
                assert!(right.gradients().iter().any(|&g| g != 0.0));
            }
        }
    }

    #[test]
    fn a_clone_goes_on_by_itself() {
        let (x, t) = ([0.5; 10], [0.25; 6]);
        let mut trainer = trainer(Parallelism::Serial);
        trainer.step(&x, &t).unwrap();
        let mut clone = trainer.clone();
        clone.step(&x, &t).unwrap();
        assert_ne!(clone.gradients(), trainer.gradients());
        trainer.step(&x, &t).unwrap();
        assert_eq!(clone.gradients(), trainer.gradients());
        assert_eq!(elements::<f32>(&clone.network.parameters), elements::<f32>(&trainer.network.parameters));
    }
}
