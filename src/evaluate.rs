//! Evaluations: the loss and the metrics of a set of rows, batch by batch, whoever runs the batches.

use crate::engine::dispatch::Engine;
use crate::float_math::exp;
use crate::kernels::ops::activation::Activation;
use crate::kernels::ops::loss::{ClassWeights, Loss, Objective};
use crate::kernels::ops::targets::{Labels, Targets};
use crate::metrics::{self, Distances};
use crate::simd::scalar::Element;

/// The loss and the metrics of a set of rows: of [`Trainer::evaluate`](crate::Trainer::evaluate) and
/// [`Network::evaluate`](crate::Network::evaluate).
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network, Trainer};
///
/// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
/// let found = Trainer::builder(network).build()?.evaluate(&[1.0, 2.0], &[1.0, 4.0])?;
/// assert!(found.accuracy.is_none() && found.mean_absolute_error.is_some()); // targets are values
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Reduced over the whole set as over one batch.
    pub loss: f64,
    /// The fraction of rows whose largest output is their class's, for class targets. Under
    /// [`Loss::BinaryCrossEntropyWithLogits`], whose targets are values, the fraction of elements whose
    /// logit is above 0, a probability above a half, where the target is above a half, and not
    /// elsewhere; under [`Loss::Hinge`] of those whose output has the sign of the target. NaN is no hit.
    pub accuracy: Option<f64>,
    /// The mean of `|y - t|`, for values, with outputs `y` of the network. Under a loss that takes logits
    /// `y` is their probability: `sigmoid(z)` under [`Loss::BinaryCrossEntropyWithLogits`], `softmax(z)`
    /// under [`Loss::SoftmaxCrossEntropy`] and [`Loss::KullbackLeibler`], whether the network ends in that
    /// activation or not. Under [`Loss::PoissonNll`] `y` is the rate `e^z`, under [`Loss::GaussianNll`] the
    /// mean.
    pub mean_absolute_error: Option<f64>,
    /// The coefficient of determination averaged over outputs, as [`metrics::r2_score`], for values, with
    /// the same `y`.
    pub r2: Option<f64>,
}

/// What an evaluation writes.
pub(crate) struct EvaluationBuffers<T: Element> {
    /// `[batch, outputs]`.
    pub(crate) outputs: Vec<T>,
    /// `[batch]`.
    pub(crate) losses: Vec<f64>,
    /// All 1.
    pub(crate) classes: ClassWeights<T>,
    pub(crate) distances: Vec<Distances>,
}

impl<T: Element> EvaluationBuffers<T> {
    pub(crate) fn new(classes: ClassWeights<T>) -> Self {
        Self { outputs: Vec::new(), losses: Vec::new(), classes, distances: Vec::new() }
    }

    /// Makes room for a batch, unless there is.
    pub(crate) fn resize(&mut self, batch: usize, outputs: usize) {
        if self.losses.len() < batch {
            self.losses.resize(batch, 0.0);
            self.outputs.resize(batch * outputs, T::ZERO);
        }
    }
}

/// What a pass over a batch gives.
pub(crate) struct Outcome<'a, T: Element> {
    /// Times the scale of the whole set.
    pub(crate) loss: f64,
    /// The outputs as the loss takes them, `[batch, outputs]`. Garbage afterwards.
    pub(crate) y: &'a mut [T],
    /// Of the batch's rows.
    pub(crate) objective: Objective<'a, T>,
    pub(crate) classes: &'a ClassWeights<T>,
}

/// The sums of an evaluation, to which each batch adds.
pub(crate) struct Summary {
    loss: f64,
    /// Whether there are hits: of classes, one or two of each output.
    tells_classes: bool,
    /// The weight of all rows, or elements, and of those whose class is found.
    weight: f64,
    hits: f64,
    /// Of each output, if targets are values.
    pub(crate) distances: Vec<Distances>,
    outputs: usize,
    /// Target values of a row.
    columns: usize,
}

impl Summary {
    /// For targets of which these are all, in a buffer of an evaluation before it.
    pub(crate) fn new<T: Element>(
        Objective { loss, ref targets, .. }: Objective<'_, T>,
        outputs: usize,
        mut distances: Vec<Distances>,
    ) -> Self {
        let columns = loss.target_columns(outputs);
        distances.clear();
        if let Some(values) = targets.values() {
            let of_output = |output: usize| {
                let values = values.iter().skip(output).step_by(columns).enumerate();
                let weighed = values.map(|(r, t)| (t.to_f64(), targets.element_weight(r, columns, output)));
                Distances::new(weighed)
            };
            distances.extend((0..columns).map(of_output));
        }
        Self { loss: 0.0, tells_classes: false, weight: 0.0, hits: 0.0, distances, outputs, columns }
    }

    /// Takes in a batch.
    pub(crate) fn add<T: Element>(&mut self, engine: &dyn Engine<T>, batch: Outcome<'_, T>) {
        let Outcome { loss, y, objective, classes } = batch;
        let Self { outputs, columns, .. } = *self;
        self.loss += loss;
        match objective.targets.labels {
            Labels::Values(values) => {
                if matches!(objective.loss, Loss::BinaryCrossEntropyWithLogits | Loss::Hinge) {
                    self.add_binary_hits(y, values, &objective.targets);
                }
                predict_means(engine, y, objective.loss, outputs);
                for (r, (y, t)) in y.chunks_exact(outputs).zip(values.chunks_exact(columns)).enumerate() {
                    for (j, (y, t)) in y.iter().zip(t).enumerate() {
                        let weight = objective.targets.element_weight(r, columns, j);
                        self.distances[j].add(y.to_f64(), t.to_f64(), weight);
                    }
                }
            }
            Labels::Classes(of_rows) => {
                self.tells_classes = true;
                let unread = objective.unread(classes, outputs);
                for (r, y) in y.chunks_exact(outputs).enumerate() {
                    if unread.is_some_and(|unread| unread.contains(r)) {
                        continue;
                    }
                    let weight = objective.targets.row_weight(r);
                    self.weight += weight;
                    if metrics::is_hit(y, of_rows.class(r), 1) {
                        self.hits += weight;
                    }
                }
            }
        }
    }

    /// Compares logits, each of which tells two classes apart, with probabilities.
    fn add_binary_hits<T: Element>(&mut self, y: &[T], values: &[T], targets: &Targets<'_, T>) {
        self.tells_classes = true;
        for (i, (y, t)) in y.iter().zip(values).enumerate() {
            let weight = targets.element_weight(i / self.outputs, self.outputs, i % self.outputs);
            // The targets of elements without weight may be NaN.
            if weight != 0.0 {
                self.weight += weight;
                let (y, is_positive) = (y.to_f64(), t.to_f64() > 0.5);
                if !y.is_nan() && (y > 0.0) == is_positive {
                    self.hits += weight;
                }
            }
        }
    }

    pub(crate) fn evaluation(&self) -> Evaluation {
        let accuracy = self.tells_classes.then(|| self.hits / self.weight);
        if self.distances.is_empty() {
            return Evaluation { loss: self.loss, accuracy, mean_absolute_error: None, r2: None };
        }
        Evaluation {
            loss: self.loss,
            accuracy,
            mean_absolute_error: Some(Distances::mean_of(&self.distances)),
            r2: Some(metrics::average_r2(self.distances.iter().copied())),
        }
    }
}

/// Makes what targets are compared with of outputs: probabilities of logits, rates of their logarithms.
fn predict_means<T: Element>(engine: &dyn Engine<T>, y: &mut [T], loss: Loss, outputs: usize) {
    match loss {
        Loss::BinaryCrossEntropyWithLogits => engine.activate(y, Activation::Sigmoid),
        Loss::SoftmaxCrossEntropy | Loss::KullbackLeibler => {
            y.chunks_exact_mut(outputs).for_each(|row| engine.activate(row, Activation::Softmax));
        }
        Loss::PoissonNll => y.iter_mut().for_each(|y| *y = T::from_f64(exp(y.to_f64()))),
        Loss::MeanSquaredError
        | Loss::MeanAbsoluteError
        | Loss::Huber { .. }
        | Loss::Quantile { .. }
        | Loss::Hinge
        | Loss::GaussianNll { .. } => {}
    }
}
