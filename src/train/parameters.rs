//! A trainer's parameters and gradients in PyTorch's order, read and written while training goes on.

use crate::error::{Argument, Error, check_length};
use crate::network::scaler::Scaler;
use crate::network::{
    Network, read_biases, read_canonical, read_weights, write_biases, write_canonical, write_weights,
};
use crate::simd::scalar::Element;
use crate::train::executor::GradientSource;
use crate::train::trainer::Trainer;

impl<T: Element> Trainer<T> {
    /// Copies all parameters, in the order of [`Network::read_parameters`].
    ///
    /// # Errors
    /// [`Error::Length`] unless `to` has [`Network::parameter_count`] elements.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Trainer};
    ///
    /// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// trainer.write_parameters(&[0.5, -0.5, 0.25])?; // two weights, then the bias
    /// let mut parameters = [0.0; 3];
    /// trainer.read_parameters(&mut parameters)?;
    /// assert_eq!(parameters, [0.5, -0.5, 0.25]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn read_parameters(&self, to: &mut [T]) -> Result<(), Error> {
        self.network.read_parameters(to)
    }

    /// Overwrites all parameters, in the order of [`Network::read_parameters`]. What the optimizer keeps
    /// beside them and the number of steps stay. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Length`] unless `from` has [`Network::parameter_count`] elements. Nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Error, Network, Trainer};
    ///
    /// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// trainer.write_parameters(&[0.5, -0.5, 0.25])?; // two weights, then the bias
    /// assert_eq!(trainer.network().predict(&[1.0, 2.0])?, [0.5 - 1.0 + 0.25]);
    /// assert!(matches!(trainer.write_parameters(&[0.0; 2]), Err(Error::Length { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn write_parameters(&mut self, from: &[T]) -> Result<(), Error> {
        self.change_network(|network| network.write_parameters(from))
    }

    /// Overwrites one layer's weights, row-major `[outputs, inputs]`; of a layer norm, `[features]`.
    /// Otherwise as [`Trainer::write_parameters`]; [`Trainer::network`] reads them.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`]. Nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Trainer};
    /// # let network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// # let mut trainer = Trainer::builder(network).build()?;
    /// trainer.write_weights(0, &[1.0, 2.0])?;
    /// let mut weights = [0.0; 2];
    /// trainer.network().read_weights(0, &mut weights)?;
    /// assert_eq!(weights, [1.0, 2.0]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn write_weights(&mut self, layer: usize, from: &[T]) -> Result<(), Error> {
        self.change_network(|network| network.write_weights(layer, from))
    }

    /// Overwrites one layer's biases, `[outputs]`. Otherwise as [`Trainer::write_weights`].
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`]. Nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Trainer};
    /// # let network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// # let mut trainer = Trainer::builder(network).build()?;
    /// trainer.write_biases(0, &[0.5])?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn write_biases(&mut self, layer: usize, from: &[T]) -> Result<(), Error> {
        self.change_network(|network| network.write_biases(layer, from))
    }

    /// Lets every input go through a scaler first, or through none, from the next batch on: see
    /// [`Network::set_scaler`].
    ///
    /// # Errors
    /// [`Error::Length`] unless it has as many features as the network has inputs. Nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Scaler, Trainer};
    ///
    /// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// let x = [10.0, 20.0, 30.0];
    /// trainer.set_scaler(Some(Scaler::fit(&x, 1)?))?;
    /// trainer.step(&x, &[1.0, 2.0, 3.0])?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn set_scaler(&mut self, scaler: Option<Scaler<T>>) -> Result<(), Error> {
        self.network.set_scaler(scaler)?;
        self.executor.forward_rows = 0;
        Ok(())
    }

    /// Copies the gradient, in the order of [`Network::read_parameters`].
    ///
    /// # Errors
    /// [`Error::Length`] unless `to` has [`Network::parameter_count`] elements.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// # let mut trainer = Trainer::builder(network).build()?;
    /// trainer.compute_gradients(&[2.0], &[1.0])?;
    /// let mut gradients = [0.0; 2];
    /// trainer.read_gradients(&mut gradients)?;
    /// assert_eq!(gradients[0], 2.0 * gradients[1]); // of the weight and of the bias
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn read_gradients(&self, to: &mut [T]) -> Result<(), Error> {
        check_length(Argument::Gradients, self.network.parameter_count(), to.len())?;
        read_canonical(&self.network.layers, &self.executor.gradients, to);
        Ok(())
    }

    /// Overwrites the gradient that [`Trainer::apply_gradients`] takes, in the order of
    /// [`Network::read_parameters`]. [`Trainer::accumulate_gradients`] adds to it as it does after
    /// [`Trainer::backward`]. Allocates nothing.
    ///
    /// # Errors
    /// [`Error::Length`] unless `from` has [`Network::parameter_count`] elements. Nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// # let mut trainer = Trainer::builder(network).optimizer(Optimizer::sgd(0.5)).build()?;
    /// trainer.write_parameters(&[1.0, 1.0])?;
    /// trainer.write_gradients(&[2.0, -2.0])?;
    /// trainer.apply_gradients()?;
    /// let mut parameters = [0.0; 2];
    /// trainer.read_parameters(&mut parameters)?;
    /// assert_eq!(parameters, [0.0, 2.0]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn write_gradients(&mut self, from: &[T]) -> Result<(), Error> {
        check_length(Argument::Gradients, self.network.parameter_count(), from.len())?;
        write_canonical(&self.network.layers, &mut self.executor.gradients, from);
        self.executor.gradient_source = GradientSource::Caller;
        Ok(())
    }

    /// Copies the gradient of one layer's weights, row-major `[outputs, inputs]`; of a layer norm,
    /// `[features]`.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`].
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Trainer};
    /// # let network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// # let mut trainer = Trainer::builder(network).build()?;
    /// trainer.compute_gradients(&[1.0, 0.0], &[1.0])?;
    /// let (mut weights, mut biases) = ([0.0; 2], [0.0]);
    /// trainer.read_weight_gradients(0, &mut weights)?;
    /// trainer.read_bias_gradients(0, &mut biases)?;
    /// assert_eq!(weights, [biases[0], 0.0]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn read_weight_gradients(&self, layer: usize, to: &mut [T]) -> Result<(), Error> {
        let layer = self.network.checked_layer(layer)?;
        check_length(Argument::Gradients, layer.weight_count(), to.len())?;
        read_weights(&self.executor.gradients[layer.lines()], layer, to);
        Ok(())
    }

    /// Copies the gradient of one layer's biases, `[outputs]`.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`].
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// # let mut trainer = Trainer::builder(network).build()?;
    /// trainer.compute_gradients(&[0.0], &[1.0])?;
    /// let mut biases = [0.0];
    /// trainer.read_bias_gradients(0, &mut biases)?;
    /// assert_eq!(biases, [-2.0]); // 2 (y - t), of an output of 0
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn read_bias_gradients(&self, layer: usize, to: &mut [T]) -> Result<(), Error> {
        let layer = self.network.checked_layer(layer)?;
        check_length(Argument::Gradients, layer.bias_count(), to.len())?;
        read_biases(&self.executor.gradients[layer.lines()], layer, to);
        Ok(())
    }

    /// Overwrites the gradient of one layer's weights, row-major `[outputs, inputs]`; of a layer norm,
    /// `[features]`. Zeros keep a layer as it is under plain gradient descent. Otherwise as
    /// [`Trainer::write_gradients`].
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`]. Nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Trainer};
    /// # let network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// # let mut trainer = Trainer::builder(network).build()?;
    /// trainer.compute_gradients(&[1.0, 0.0], &[1.0])?;
    /// trainer.write_weight_gradients(0, &[0.0; 2])?;
    /// trainer.write_bias_gradients(0, &[0.0])?;
    /// trainer.apply_gradients()?; // changes nothing
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn write_weight_gradients(&mut self, layer: usize, from: &[T]) -> Result<(), Error> {
        let layer = self.network.checked_layer(layer)?;
        check_length(Argument::Gradients, layer.weight_count(), from.len())?;
        write_weights(&mut self.executor.gradients[layer.lines()], layer, from);
        self.executor.gradient_source = GradientSource::Caller;
        Ok(())
    }

    /// Overwrites the gradient of one layer's biases, `[outputs]`. Otherwise as [`Trainer::write_gradients`].
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`]. Nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// # use fuseprop::{Activation, Network, Optimizer, Trainer};
    /// # let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// # let mut trainer = Trainer::builder(network).optimizer(Optimizer::sgd(0.5)).build()?;
    /// trainer.write_parameters(&[1.0, 1.0])?;
    /// trainer.write_weight_gradients(0, &[0.0])?;
    /// trainer.write_bias_gradients(0, &[4.0])?;
    /// trainer.apply_gradients()?;
    /// let mut parameters = [0.0; 2];
    /// trainer.read_parameters(&mut parameters)?;
    /// assert_eq!(parameters, [1.0, -1.0]);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn write_bias_gradients(&mut self, layer: usize, from: &[T]) -> Result<(), Error> {
        let layer = self.network.checked_layer(layer)?;
        check_length(Argument::Gradients, layer.bias_count(), from.len())?;
        write_biases(&mut self.executor.gradients[layer.lines()], layer, from);
        self.executor.gradient_source = GradientSource::Caller;
        Ok(())
    }

    /// Changes parameters, and the transposed copy with them.
    fn change_network(
        &mut self,
        change: impl FnOnce(&mut Network<T>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        change(&mut self.network)?;
        self.executor.refresh(&self.network);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{Activation, Optimizer};

    fn trainer(seed: u64) -> Trainer<f32> {
        let builder = Network::<f32>::builder(3).dense(20, Activation::Tanh).layer_norm(Activation::Relu);
        let network = builder.dense(2, Activation::Identity).seed(seed).build().unwrap();
        Trainer::builder(network).optimizer(Optimizer::adam(0.1)).max_batch(4).build().unwrap()
    }

    const X: [f32; 12] = [0.5, -0.25, 1.0, 0.75, 0.5, -1.0, 0.25, 0.0, 0.5, -0.5, 1.0, 0.125];
    const T: [f32; 8] = [1.0, 0.0, 0.5, -0.5, 0.25, 0.75, -1.0, 0.5];

    /// All parameters, in the order of [`Network::read_parameters`].
    pub(crate) fn parameters(trainer: &Trainer<f32>) -> Vec<f32> {
        let mut parameters = vec![f32::NAN; trainer.network.parameter_count()];
        trainer.read_parameters(&mut parameters).unwrap();
        parameters
    }

    /// Their gradient.
    pub(crate) fn gradients(trainer: &Trainer<f32>) -> Vec<f32> {
        let mut gradients = vec![f32::NAN; trainer.network.parameter_count()];
        trainer.read_gradients(&mut gradients).unwrap();
        gradients
    }

    #[test]
    fn written_parameters_train_on_with_the_moments_that_are_there() {
        let (mut written, mut right) = (trainer(1), trainer(2));
        for trainer in [&mut written, &mut right] {
            trainer.step(&X, &T).unwrap();
        }
        right.state = written.state.clone();
        written.write_parameters(&parameters(&right)).unwrap();
        for _ in 0..3 {
            written.step(&X, &T).unwrap();
            right.step(&X, &T).unwrap();
        }
        assert_eq!(parameters(&written), parameters(&right));
        assert_eq!(written.steps(), 4);
    }

    #[test]
    fn layers_are_parts_of_the_whole_in_its_order() {
        let (mut by_layer, mut whole) = (trainer(1), trainer(2));
        whole.compute_gradients(&X, &T).unwrap();
        let (mut of_layers, mut parameters_of_layers) = (Vec::new(), Vec::new());
        for l in 0..3 {
            let layer = whole.network.layer(l).unwrap();
            let weights = layer.parameter_count() - layer.outputs();
            let (mut w, mut b) = (vec![f32::NAN; weights], vec![f32::NAN; layer.outputs()]);
            whole.network.read_weights(l, &mut w).unwrap();
            whole.network.read_biases(l, &mut b).unwrap();
            by_layer.write_weights(l, &w).unwrap();
            by_layer.write_biases(l, &b).unwrap();
            parameters_of_layers.extend([w.clone(), b.clone()].concat());
            whole.read_weight_gradients(l, &mut w).unwrap();
            whole.read_bias_gradients(l, &mut b).unwrap();
            by_layer.write_weight_gradients(l, &w).unwrap();
            by_layer.write_bias_gradients(l, &b).unwrap();
            of_layers.extend([w, b].concat());
        }
        assert_eq!(parameters_of_layers, parameters(&whole));
        assert_eq!(of_layers, gradients(&whole));
        assert_eq!(by_layer.gradients(), whole.gradients());
        by_layer.apply_gradients().unwrap();
        whole.apply_gradients().unwrap();
        assert_eq!(parameters(&by_layer), parameters(&whole));
        let mut written = trainer(3);
        written.write_gradients(&of_layers).unwrap();
        assert_eq!(written.gradients(), whole.gradients());
    }

    #[test]
    fn a_scaler_can_be_set_while_training_goes_on() {
        let scaler = Scaler::new(vec![0.5, 0.0, 0.0], vec![2.0, 1.0, 1.0]).unwrap();
        let (mut scaled, mut plain) = (trainer(1), trainer(1));
        scaled.set_scaler(Some(scaler.clone())).unwrap();
        let mut x = X;
        scaler.apply(&mut x).unwrap();
        assert_eq!(scaled.step(&X, &T), plain.step(&x, &T));
        scaled.set_scaler(None).unwrap();
        assert_eq!(scaled.step(&X, &T), plain.step(&X, &T));
    }
}
