//! Gradients held against differences of the loss.

use crate::engine::bf16::Precision;
use crate::error::Argument;
use crate::error::{Error, check_batch};
use crate::kernels::ops::targets::Targets;
use crate::network::read_canonical;
use crate::simd::scalar::Element;
use crate::train::trainer::Trainer;

/// The parameter whose gradient is furthest from the difference of the loss around it.
///
/// # Examples
/// ```
/// use fuseprop::{Activation, Network, Trainer};
///
/// let mut network = Network::<f64>::builder(1).dense(1, Activation::Identity).build()?;
/// network.write_parameters(&[2.0, 0.0])?;
/// let mut trainer = Trainer::builder(network).build()?;
/// // The square of the output, and a gradient that lacks the factor 2.
/// let wrong = |y: &[f64], d_y: &mut [f64]| {
///     d_y[0] = y[0];
///     y[0] * y[0]
/// };
/// let check = trainer.check_custom_gradients(&[3.0], 1e-3, wrong)?;
/// assert_eq!((check.parameter, check.computed), (0, 18.0)); // the weight: 6 times the input
/// assert!((check.measured - 36.0).abs() < 1e-6 && (check.error - 1.0).abs() < 1e-6);
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct GradientCheck {
    /// `|computed - measured|`, divided by the largest magnitude of all computed gradients (unless that is
    /// 0).
    pub error: f64,
    /// Its index in the order of [`Network::read_parameters`](crate::Network::read_parameters).
    pub parameter: usize,
    /// By backpropagation.
    pub computed: f64,
    /// By differences.
    pub measured: f64,
}

impl<T: Element> Trainer<T> {
    /// Compares the gradient of every parameter with `(8 (L(h) - L(-h)) - (L(2h) - L(-2h))) / 12h`, the
    /// central difference of fourth order, where `L` is the loss with the parameter moved: for networks of
    /// one's own making.
    ///
    /// In `f64` and `step` about 1e-3 the error of a smooth network is below 1e-7; in `f32` and 1e-2 expect
    /// 1e-2. Kinks, as of ReLU, between both sides of a difference show as errors of their own. Takes one
    /// forward and backward pass, and four more for each parameter. Afterwards [`Trainer::gradients`]
    /// and all that is read with it are of moved parameters; parameters, the optimizer and dropout are as
    /// before.
    ///
    /// # Errors
    /// [`Error::Combination`] for a trainer in bf16, whose loss is no smooth function of its parameters;
    /// [`Error::Setting`] unless the step is finite and above 0, and the errors of
    /// [`Trainer::compute_gradients`].
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Trainer};
    ///
    /// let network = Network::<f64>::builder(3).dense(5, Activation::Gelu).dense(1, Activation::Identity);
    /// let mut trainer = Trainer::builder(network.seed(1).build()?).build()?;
    /// let check = trainer.check_gradients(&[0.1, -0.4, 0.9], &[0.3], 1e-3)?;
    /// assert!(check.error < 1e-7);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn check_gradients<'t>(
        &mut self,
        x: &[T],
        targets: impl Into<Targets<'t, T>>,
        step: f64,
    ) -> Result<GradientCheck, Error> {
        let targets = targets.into();
        self.compare_gradients(step, |trainer| trainer.compute_gradients(x, targets))
    }

    /// The same for a loss of one's own: from outputs `[batch, outputs]` it computes its value and, into the
    /// second slice, its gradient.
    ///
    /// # Errors
    /// [`Error::Combination`] for a trainer in bf16; [`Error::Setting`] unless the step is finite and above
    /// 0, and the errors of [`Trainer::forward`].
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Trainer};
    ///
    /// let network = Network::<f64>::builder(3).dense(2, Activation::Tanh).seed(1).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// let fourth_power = |y: &[f64], d_y: &mut [f64]| {
    ///     for (d_y, y) in d_y.iter_mut().zip(y) {
    ///         *d_y = 4.0 * y.powi(3);
    ///     }
    ///     y.iter().map(|y| y.powi(4)).sum()
    /// };
    /// assert!(trainer.check_custom_gradients(&[0.1, -0.4, 0.9], 1e-3, fourth_power)?.error < 1e-7);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn check_custom_gradients(
        &mut self,
        x: &[T],
        step: f64,
        mut loss: impl FnMut(&[T], &mut [T]) -> f64,
    ) -> Result<GradientCheck, Error> {
        let rows = check_batch(Argument::Inputs, x.len(), self.network.inputs(), self.executor.max_batch)?;
        let mut d_outputs = vec![T::ZERO; rows * self.network.outputs()];
        self.compare_gradients(step, |trainer| {
            let value = loss(trainer.forward(x)?, &mut d_outputs);
            trainer.backward(&d_outputs)?;
            Ok(value)
        })
    }

    fn compare_gradients(
        &mut self,
        step: f64,
        mut loss: impl FnMut(&mut Self) -> Result<f64, Error>,
    ) -> Result<GradientCheck, Error> {
        if self.executor.precision == Precision::Bf16 {
            // A parameter that moves by less than half a unit of its copy leaves the loss as it is.
            return Err(Error::Combination { argument: Argument::GradientCheck, with: Argument::Bf16 });
        }
        if !(step > 0.0 && step.is_finite()) {
            return Err(Error::Setting { argument: Argument::GradientCheckStep, value: step });
        }
        let (layers, count) = (self.network.layers.clone(), self.network.parameter_count());
        let (mut parameters, mut gradients) = (vec![T::ZERO; count], vec![T::ZERO; count]);
        let original = self.network.parameters.to_vec();
        read_canonical(&layers, &original, &mut parameters);
        let mut moved = RestoreOnDrop { passes: self.state.passes, parameters: original, trainer: self };
        moved.loss_at(&parameters, &mut loss)?;
        read_canonical(&layers, &moved.trainer.executor.gradients, &mut gradients);
        let measured = (0..count).map(|i| {
            let original = parameters[i];
            let h = step * original.to_f64().abs().max(1.0);
            let mut at = |steps: f64| {
                parameters[i] = T::from_f64(original.to_f64() + steps * h);
                moved.loss_at(&parameters, &mut loss)
            };
            let (near, far) = (at(1.0)? - at(-1.0)?, at(2.0)? - at(-2.0)?);
            parameters[i] = original;
            Ok((8.0 * near - far) / (12.0 * h))
        });
        let measured = measured.collect::<Result<Vec<f64>, Error>>()?;
        Ok(worst(&gradients, &measured))
    }
}

/// A trainer whose parameters are moved about. When this goes, by an error or a panic too, they are as they
/// were.
struct RestoreOnDrop<'t, T: Element> {
    trainer: &'t mut Trainer<T>,
    parameters: Vec<T::Line>,
    passes: u64,
}

impl<T: Element> RestoreOnDrop<'_, T> {
    fn loss_at(
        &mut self,
        parameters: &[T],
        loss: &mut impl FnMut(&mut Trainer<T>) -> Result<f64, Error>,
    ) -> Result<f64, Error> {
        self.trainer.network.write_parameters(parameters)?;
        self.trainer.executor.refresh(&self.trainer.network);
        // Every pass leaves out the same elements, if any.
        self.trainer.state.passes = self.passes;
        loss(self.trainer)
    }
}

impl<T: Element> Drop for RestoreOnDrop<'_, T> {
    fn drop(&mut self) {
        self.trainer.restore(&self.parameters);
        self.trainer.state.passes = self.passes;
    }
}

/// The largest distance; one that is not a number is the largest of all.
fn worst<T: Element>(computed: &[T], measured: &[f64]) -> GradientCheck {
    let largest = computed.iter().fold(0.0f64, |largest, g| largest.max(g.to_f64().abs()));
    let scale = if largest > 0.0 { largest } else { 1.0 };
    let mut worst = GradientCheck { error: 0.0, parameter: 0, computed: 0.0, measured: 0.0 };
    for (parameter, (computed, &measured)) in computed.iter().zip(measured).enumerate() {
        let error = (computed.to_f64() - measured).abs() / scale;
        if parameter == 0 || error > worst.error || error.is_nan() && !worst.error.is_nan() {
            worst = GradientCheck { error, parameter, computed: computed.to_f64(), measured };
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_the_first_of_the_largest_distances_and_a_distance_that_is_no_number_above_all() {
        let nan = f64::NAN;
        // Computed, measured, the error and its parameter.
        let cases = [
            ([1.0, -4.0, 2.0], [1.5, -4.0, 1.0], 0.25, 2),
            ([1.0, 4.0, 2.0], [1.5, 3.5, 2.0], 0.125, 0),
            ([2.0, 2.0, 2.0], [2.0, 2.0, 2.0], 0.0, 0),
            // There is nothing to divide by.
            ([0.0, 0.0, 0.0], [0.0, -3.0, 2.0], 3.0, 1),
            ([1.0, 1.0, 1.0], [1.5, nan, 9.0], nan, 1),
            ([1.0, 1.0, 1.0], [nan, nan, 9.0], nan, 0),
        ];
        for (computed, measured, error, parameter) in cases {
            let worst = worst(&computed, &measured);
            let bits = |numbers: [f64; 3]| numbers.map(f64::to_bits);
            let found = bits([worst.error, worst.computed, worst.measured]);
            assert_eq!(found, bits([error, computed[parameter], measured[parameter]]), "{worst:?}");
            assert_eq!(worst.parameter, parameter, "{worst:?}");
        }
    }
}
