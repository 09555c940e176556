//! What a trainer's network is worth on a set of rows.

use crate::engine::batch::PassKind;
use crate::engine::update::UpdatePlan;
use crate::error::{Argument, Error};
use crate::kernels::ops::loss::Objective;
use crate::kernels::ops::targets::{Labels, Targets};
use crate::metrics::{self, Distances};
use crate::simd::scalar::Element;
use crate::train::executor::Executor;
use crate::train::step::PassRequest;
use crate::train::trainer::{Criterion, Trainer};

/// The result of [`Trainer::evaluate`]. Where all rows, or all elements, have a weight of 0, the loss is 0
/// and every other number is NaN.
///
/// # Examples
/// ```
/// use fuseprop::{Activation, Loss, Network, Targets, Trainer};
///
/// let mut network = Network::<f32>::builder(2).dense(2, Activation::Identity).build()?;
/// network.write_parameters(&[1.0, 0.0, 0.0, 1.0, 0.0, 0.0])?; // the identity
/// let mut trainer = Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy).build()?;
/// let x = [3.0, 0.0, 0.0, 3.0];
/// let found = trainer.evaluate(&x, &[0, 0])?;
/// assert_eq!((found.accuracy, found.mean_absolute_error, found.r2), (Some(0.5), None, None));
/// let nothing = trainer.evaluate(&x, Targets::from(&[0, 0]).weights(&[0.0, 0.0]))?;
/// assert_eq!(nothing.loss, 0.0);
/// assert!(nothing.accuracy.is_some_and(f64::is_nan));
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Reduced over the whole set as over one batch.
    pub loss: f64,
    /// The fraction of rows whose class has the largest output, for class targets.
    pub accuracy: Option<f64>,
    /// The mean of `|y - t|`, for values, with `y` as the loss takes it.
    pub mean_absolute_error: Option<f64>,
    /// The coefficient of determination averaged over outputs, as [`metrics::r2_score`], for values.
    pub r2: Option<f64>,
}

impl<T: Element> Trainer<T> {
    /// The loss of any number of rows, in batches, with the accuracy for class targets, and the mean absolute
    /// error and R2 for values. Nothing is trained, and dropout leaves nothing out.
    ///
    /// All are means over rows and elements by their weights, as the loss is; NaN, but for the loss, where
    /// all weights are 0. The first call allocates a batch of outputs.
    ///
    /// # Errors
    /// As [`Trainer::step`], but for the number of rows.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Trainer};
    ///
    /// let mut network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// network.write_parameters(&[1.0, 0.0])?; // the identity
    /// let mut trainer = Trainer::builder(network).build()?;
    /// let found = trainer.evaluate(&[1.0, 2.0], &[1.0, 4.0])?;
    /// assert_eq!(found.loss, 2.0);
    /// assert_eq!(found.mean_absolute_error, Some(1.0));
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn evaluate<'t>(&mut self, x: &[T], targets: impl Into<Targets<'t, T>>) -> Result<Evaluation, Error> {
        let targets = targets.into();
        let rows = self.check_data(x, &targets)?;
        let (inputs, outputs) = (self.network.inputs(), self.network.outputs());
        self.executor.forward_rows = 0;
        self.executor.allocate_outputs(&self.network);
        let Criterion { loss, ref classes, reduction } = self.criterion;
        let scale = reduction.scale(loss.total_weight(&targets, classes, rows, outputs));
        let (mut sum, mut metrics) = (0.0, Metrics::default());
        measure_targets(&mut self.executor.distances, &targets, outputs);
        for first in (0..rows).step_by(self.max_batch()) {
            let of_batch = first..rows.min(first + self.max_batch());
            let targets = targets.rows(of_batch.clone(), outputs);
            let pass = Some(PassKind::Evaluate(Objective { loss, scale, targets }));
            let (x, rows) = (&x[of_batch.start * inputs..of_batch.end * inputs], of_batch.len());
            sum += self.run(PassRequest { x, rows, pass, finish: UpdatePlan::NOTHING })?;
            let Executor { outputs: y, distances, .. } = &mut self.executor;
            metrics.add(distances, &y[..rows * outputs], &targets, outputs);
        }
        Ok(metrics.evaluation(sum, &self.executor.distances))
    }

    /// The number of rows, at least 1, of data that fit the network and the loss.
    pub(super) fn check_data(&self, x: &[T], targets: &Targets<'_, T>) -> Result<usize, Error> {
        let inputs = self.network.inputs();
        if x.is_empty() || !x.len().is_multiple_of(inputs) {
            return Err(Error::Rows { argument: Argument::Inputs, row: inputs, found: x.len() });
        }
        let rows = x.len() / inputs;
        self.criterion.loss.check_targets(targets, rows, self.network.outputs())?;
        Ok(rows)
    }
}

/// What an evaluation measures besides the loss, batch by batch.
#[derive(Default)]
struct Metrics {
    /// The weight of the rows, and of those whose class is found, if targets are classes.
    rows: f64,
    hits: f64,
}

/// Starts the distances of each output from all its targets; none if targets are classes.
fn measure_targets<T: Element>(to: &mut Vec<Distances>, targets: &Targets<'_, T>, outputs: usize) {
    to.clear();
    if let Some(values) = targets.values() {
        let of_output = |output: usize| {
            let values = values.iter().skip(output).step_by(outputs).enumerate();
            let weighed = values.map(|(r, t)| (t.to_f64(), targets.element_weight(r, outputs, output)));
            Distances::new(weighed)
        };
        to.extend((0..outputs).map(of_output));
    }
}

impl Metrics {
    /// Takes in the outputs `y` of some rows.
    fn add<T: Element>(
        &mut self,
        distances: &mut [Distances],
        y: &[T],
        targets: &Targets<'_, T>,
        outputs: usize,
    ) {
        match targets.labels {
            Labels::Values(values) => {
                for (i, (y, t)) in y.iter().zip(values).enumerate() {
                    let weight = targets.element_weight(i / outputs, outputs, i % outputs);
                    distances[i % outputs].add(y.to_f64(), t.to_f64(), weight);
                }
            }
            Labels::Classes(classes) => {
                for (r, (y, &class)) in y.chunks_exact(outputs).zip(classes).enumerate() {
                    let weight = targets.row_weight(r);
                    self.rows += weight;
                    if weight != 0.0 && metrics::is_hit(y, class, 1) {
                        self.hits += weight;
                    }
                }
            }
        }
    }

    fn evaluation(&self, loss: f64, distances: &[Distances]) -> Evaluation {
        if distances.is_empty() {
            let accuracy = Some(self.hits / self.rows);
            return Evaluation { loss, accuracy, mean_absolute_error: None, r2: None };
        }
        Evaluation {
            loss,
            accuracy: None,
            mean_absolute_error: Some(Distances::mean_of(distances)),
            r2: Some(metrics::average_r2(distances.iter().copied())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, Loss, Network};

    fn identity(features: usize, loss: Loss) -> Trainer<f64> {
        let builder = Network::<f64>::builder(features).dense(features, Activation::Identity).seed(1);
        let mut network = builder.build().unwrap();
        let one = |i: usize| if i.is_multiple_of(features + 1) { 1.0 } else { 0.0 };
        network.write_weights(0, &(0..features * features).map(one).collect::<Vec<_>>()).unwrap();
        // In batches of two rows.
        Trainer::builder(network).loss(loss).max_batch(2).build().unwrap()
    }

    #[test]
    fn metrics_of_values_are_weighted_by_row_and_by_element() {
        let mut trainer = identity(1, Loss::MeanSquaredError);
        let (x, t, weights) = ([1.0, 2.0, f64::NAN, 6.0], [2.0, 4.0, f64::NAN, 6.0], [1.0, 2.0, 0.0, 1.0]);
        for targets in [Targets::from(&t).weights(&weights), Targets::from(&t).mask(&weights)] {
            let found = trainer.evaluate(&x, targets).unwrap();
            assert_eq!(found.loss, (1.0 + 2.0 * 4.0) / 4.0);
            assert_eq!(found.mean_absolute_error, Some((1.0 + 2.0 * 2.0) / 4.0));
            // The mean target is 4.
            assert_eq!(found.r2, Some(1.0 - (1.0 + 2.0 * 4.0) / (4.0 + 4.0)));
        }
    }

    #[test]
    fn accuracy_is_weighted_by_row() {
        let mut trainer = identity(2, Loss::SoftmaxCrossEntropy);
        let x = [1.0, 0.0, 0.0, 1.0, f64::NAN, 0.0, 1.0, 0.0];
        let found =
            trainer.evaluate(&x, Targets::from(&[0, 0, 7, 0]).weights(&[1.0, 2.0, 0.0, 5.0])).unwrap();
        assert_eq!(found.accuracy, Some(6.0 / 8.0));
        assert!(found.loss.is_finite());
        assert_eq!(trainer.evaluate(&x[..4], &[0, 0]).unwrap().accuracy, Some(0.5));
    }
}
