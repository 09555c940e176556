//! Losses of several heads: one for each, and their weighted sum is what a step makes small.

use core::ops::Range;

use crate::engine::batch::PassKind;
use crate::engine::heads::HeadTerm;
use crate::engine::update::{Beta, UpdatePlan};
use crate::error::{Argument, Error, check_batch, check_length};
use crate::evaluate::Evaluation;
use crate::kernels::ops::activation::Activation;
use crate::kernels::ops::loss::{ClassWeights, Loss, Objective, Reduction};
use crate::kernels::ops::targets::Targets;
use crate::network::{Edge, LayerKind, Network, Source};
use crate::simd::scalar::Element;
use crate::train::executor::{Executor, GradientSource};
use crate::train::step::{Goal, PassRequest};
use crate::train::trainer::Trainer;

/// Maximum number of heads with losses of their own: their terms lie on the stack of a step.
pub(crate) const MAX_HEADS: usize = 8;

/// The loss of one head, and how much it weighs among those of all heads:
/// [`TrainerBuilder::head_losses`](crate::TrainerBuilder::head_losses).
///
/// # Examples
///
/// ```
/// use fuseprop::{HeadLoss, Loss};
///
/// let policy = HeadLoss::new(Loss::SoftmaxCrossEntropy).label_smoothing(0.1);
/// let value = HeadLoss::new(Loss::MeanSquaredError).weight(0.5);
/// assert_ne!(policy, value);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HeadLoss {
    loss: Loss,
    weight: f64,
    class_weights: Option<Vec<f64>>,
    label_smoothing: f64,
}

impl HeadLoss {
    /// Weighs 1.
    ///
    /// # Examples
    ///
    /// See [`HeadLoss`].
    #[must_use]
    pub fn new(loss: Loss) -> Self {
        Self { loss, weight: 1.0, class_weights: None, label_smoothing: 0.0 }
    }

    /// The factor of the head's loss in the sum over all heads, at least 0.
    /// [`TrainerBuilder::build`](crate::TrainerBuilder::build) refuses others.
    ///
    /// # Examples
    ///
    /// See [`HeadLoss`].
    #[must_use]
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// As [`TrainerBuilder::class_weights`](crate::TrainerBuilder::class_weights), for this head.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{HeadLoss, Loss};
    ///
    /// let loss = HeadLoss::new(Loss::SoftmaxCrossEntropy).class_weights(&[1.0, 4.0]);
    /// ```
    #[must_use]
    pub fn class_weights(mut self, weights: &[f64]) -> Self {
        self.class_weights = Some(weights.to_vec());
        self
    }

    /// As [`TrainerBuilder::label_smoothing`](crate::TrainerBuilder::label_smoothing), for this head.
    ///
    /// # Examples
    ///
    /// See [`HeadLoss`].
    #[must_use]
    pub fn label_smoothing(mut self, smoothing: f64) -> Self {
        self.label_smoothing = smoothing;
        self
    }
}

/// A checked [`HeadLoss`], and the layer that it is of.
#[derive(Clone, Debug)]
pub(crate) struct HeadCriterion<T: Element> {
    loss: Loss,
    weight: f64,
    classes: ClassWeights<T>,
    layer: usize,
    outputs: usize,
}

/// The losses of a network's heads, one for each.
///
/// # Errors
/// See [`TrainerBuilder::build`](crate::TrainerBuilder::build).
pub(super) fn criteria<T: Element>(
    network: &Network<T>,
    losses: &[HeadLoss],
) -> Result<Vec<HeadCriterion<T>>, Error> {
    if losses.is_empty() {
        return Ok(Vec::new());
    }
    let last = network.layer_count() - 1;
    if network.last().kind() != LayerKind::Heads {
        return Err(Error::Unused { argument: Argument::HeadLosses, with: Argument::Network });
    }
    if network.last().activation() != Activation::Identity {
        return Err(Error::Combination { argument: Argument::HeadLosses, with: Argument::Activation });
    }
    let edges = network.layers.edges(last);
    check_length(Argument::HeadLosses, edges.len(), losses.len())?;
    if losses.len() > MAX_HEADS {
        return Err(Error::Setting { argument: Argument::HeadCount, value: losses.len() as f64 });
    }
    let criterion = |(edge, head): (&Edge, &HeadLoss)| {
        let is_alone = edge.starts_gradient && edge.completes_gradient;
        let layer = match edge.source {
            Source::Layer(layer) if is_alone => layer,
            Source::Layer(_) | Source::Input => {
                return Err(Error::Combination {
                    argument: Argument::HeadLosses,
                    with: Argument::SharedHead,
                });
            }
        };
        let (outputs, activation) = (network.layers[layer].outputs(), network.layers[layer].activation());
        let &HeadLoss { loss, weight, label_smoothing, .. } = head;
        loss.check::<T>()?;
        loss.check_outputs(activation, outputs)?;
        if !(weight >= 0.0 && weight.is_finite()) {
            return Err(Error::Setting { argument: Argument::HeadWeight, value: weight });
        }
        let classes = ClassWeights::new(loss, outputs, head.class_weights.as_deref(), label_smoothing)?;
        Ok(HeadCriterion { loss, weight, classes, layer, outputs })
    };
    edges.iter().zip(losses).map(criterion).collect()
}

impl<T: Element> HeadCriterion<T> {
    /// The head's loss over a batch.
    fn term<'a>(
        &'a self,
        targets: Targets<'a, T>,
        rows: usize,
        reduction: Reduction,
    ) -> Result<HeadTerm<'a, T>, Error> {
        let Self { loss, weight, ref classes, layer, outputs } = *self;
        loss.check_targets(&targets, rows, outputs)?;
        let scale = weight * reduction.scale(loss.total_weight(&targets, classes, rows, outputs)?);
        Ok(HeadTerm { layer, outputs, objective: Objective { loss, scale, targets }, classes })
    }
}

/// The losses of all heads over a batch.
struct HeadTerms<'a, T: Element> {
    /// The first, again, past the last.
    terms: [HeadTerm<'a, T>; MAX_HEADS],
    count: usize,
}

impl<'a, T: Element> HeadTerms<'a, T> {
    /// # Errors
    /// [`Error::Length`] for targets of another number of heads; as the loss of a head for its targets.
    fn new(
        heads: &'a [HeadCriterion<T>],
        targets: &Targets<'a, T>,
        rows: usize,
        reduction: Reduction,
    ) -> Result<Self, Error> {
        check_length(Argument::HeadTargets, heads.len(), targets.heads.len())?;
        let term = |h: usize| heads[h].term(targets.heads[h], rows, reduction);
        let mut terms = [term(0)?; MAX_HEADS];
        for (h, to) in terms.iter_mut().enumerate().take(heads.len()).skip(1) {
            *to = term(h)?;
        }
        Ok(Self { terms, count: heads.len() })
    }

    fn as_slice(&self) -> &[HeadTerm<'a, T>] {
        &self.terms[..self.count]
    }

    /// The same over some of the rows.
    fn rows(&self, rows: &Range<usize>) -> Self {
        let terms = self.terms.map(|head| HeadTerm { objective: head.rows(rows), ..head });
        Self { terms, count: self.count }
    }
}

impl<T: Element> Trainer<T> {
    /// [`Trainer::train`] by the losses of heads.
    pub(super) fn train_heads(
        &mut self,
        x: &[T],
        targets: &Targets<'_, T>,
        goal: Goal,
    ) -> Result<f64, Error> {
        let (heads, reduction) = (self.criterion.heads.clone(), self.criterion.reduction);
        let rows = check_batch(Argument::Inputs, x.len(), self.network.inputs(), self.executor.max_batch)?;
        let terms = HeadTerms::new(&heads, targets, rows, reduction)?;
        let sum = match goal {
            // Each head has a mean of its own, and the batches' do not add up to that of both.
            Goal::Gradient(Beta::One) if reduction == Reduction::Mean => {
                let with = Argument::Accumulation;
                return Err(Error::Combination { argument: Argument::HeadLosses, with });
            }
            Goal::Gradient(beta) => beta,
            Goal::Step | Goal::StepOfFiniteLoss => Beta::Zero,
        };
        let update = match goal {
            Goal::Gradient(_) => None,
            Goal::Step | Goal::StepOfFiniteLoss => Some(self.state.next_update(self.executor.clipping.value)),
        };
        self.executor.forward_rows = 0;
        self.executor.gradient_source = GradientSource::Rows(rows as f64);
        let Executor { clipping, keeps_layer_stats: measure, .. } = self.executor;
        let requires_finite_loss = matches!(goal, Goal::StepOfFiniteLoss);
        let finish = UpdatePlan { sum: Some(sum), measure, clipping, update, requires_finite_loss };
        let pass = Some(PassKind::TrainHeads(terms.as_slice()));
        let loss = self.run(PassRequest { x, rows, pass, finish })?;
        self.state.steps += u64::from(update.is_some());
        Ok(loss)
    }

    /// [`Trainer::evaluate`] by the losses of heads: their weighted sum.
    pub(super) fn evaluate_heads(&mut self, x: &[T], targets: &Targets<'_, T>) -> Result<Evaluation, Error> {
        let (heads, reduction) = (self.criterion.heads.clone(), self.criterion.reduction);
        let inputs = self.network.inputs();
        let rows = check_batch(Argument::Inputs, x.len(), inputs, usize::MAX)?;
        let terms = HeadTerms::new(&heads, targets, rows, reduction)?;
        self.executor.forward_rows = 0;
        self.executor.allocate_outputs(&self.network);
        let mut evaluation = Evaluation { loss: 0.0, accuracy: None, mean_absolute_error: None, r2: None };
        for first in (0..rows).step_by(self.max_batch()) {
            let of_batch = first..rows.min(first.saturating_add(self.max_batch()));
            let (x, rows) = (&x[of_batch.start * inputs..of_batch.end * inputs], of_batch.len());
            let terms = terms.rows(&of_batch);
            let pass = Some(PassKind::EvaluateHeads(terms.as_slice()));
            evaluation.loss += self.run(PassRequest { x, rows, pass, finish: UpdatePlan::NOTHING })?;
        }
        Ok(evaluation)
    }
}
