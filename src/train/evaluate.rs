//! What a trainer's network is worth on a set of rows.

use crate::engine::batch::PassKind;
use crate::engine::update::UpdatePlan;
use crate::error::{Argument, Error, check_batch};
use crate::evaluate::{Evaluation, Outcome, Summary};
use crate::kernels::ops::loss::Objective;
use crate::kernels::ops::targets::Targets;
use crate::simd::scalar::Element;
use crate::train::executor::Executor;
use crate::train::step::PassRequest;
use crate::train::trainer::{Criterion, Trainer};

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
        if !self.criterion.heads.is_empty() {
            return self.evaluate_heads(x, &targets);
        }
        let rows = self.check_data(x, &targets)?;
        let (inputs, outputs) = (self.network.inputs(), self.network.outputs());
        let Criterion { loss, ref classes, reduction, .. } = self.criterion;
        let scale = reduction.scale(loss.total_weight(&targets, classes, rows, outputs)?);
        self.executor.forward_rows = 0;
        self.executor.allocate_outputs(&self.network);
        let objective = Objective { loss, scale, targets };
        let distances = core::mem::take(&mut self.executor.distances);
        let mut summary = Summary::new(objective, outputs, distances);
        for first in (0..rows).step_by(self.max_batch()) {
            let of_batch = first..rows.min(first.saturating_add(self.max_batch()));
            let (x, rows) = (&x[of_batch.start * inputs..of_batch.end * inputs], of_batch.len());
            let objective = objective.rows(of_batch, outputs);
            let pass = Some(PassKind::Evaluate(objective));
            let loss = self.run(PassRequest { x, rows, pass, finish: UpdatePlan::NOTHING })?;
            let Executor { engine, outputs: y, .. } = &mut self.executor;
            let (y, classes) = (&mut y[..rows * outputs], &self.criterion.classes);
            summary.add(*engine, Outcome { loss, y, objective, classes });
        }
        let evaluation = summary.evaluation();
        self.executor.distances = summary.distances;
        Ok(evaluation)
    }

    /// The number of rows, at least 1, of data that fit the network and the loss.
    pub(super) fn check_data(&self, x: &[T], targets: &Targets<'_, T>) -> Result<usize, Error> {
        let rows = check_batch(Argument::Inputs, x.len(), self.network.inputs(), usize::MAX)?;
        if !self.criterion.heads.is_empty() {
            let (argument, with) = (Argument::HeadLosses, Argument::Fit);
            return Err(Error::Combination { argument, with });
        }
        self.criterion.loss.check_targets(targets, rows, self.network.outputs())?;
        Ok(rows)
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
