//! Loss functions: the enum, and the losses that are sums over elements.

use crate::error::Argument;
use crate::kernels::ops::targets::{ClassLabels, Labels, Targets};
use crate::simd::scalar::Scalar;
use core::ops::Range;

use crate::error::{Error, check_length};
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::ops::activation::Activation;
pub(crate) use crate::kernels::ops::class_weights::ClassWeights;
use crate::kernels::ops::cross_entropy;
use crate::kernels::ops::element_losses::{loss_and_slope, weighted_binary_cross_entropy};
use crate::kernels::ops::gaussian;
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::LineOf;
use crate::simd::lanes::{GROUP, Lanes, RowShape};
use crate::simd::scalar::Element;
use crate::simd::scalar::Line;

/// Loss function of a batch of outputs `y` and targets `t`, both `[batch, outputs]`, as in PyTorch.
///
/// Each row has a loss, which the row's weight multiplies; [`Reduction`] makes one number of them. Targets
/// that do not fit the loss are refused with [`Error::Targets`]. A loss of logits refuses a last layer whose
/// outputs are none, with [`Error::Combination`]: of an activation that is bounded on either side, as ReLU
/// and tanh are, other than the one that the loss computes itself.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Loss, Network, Trainer};
///
/// let network = Network::<f32>::builder(2).dense(3, Activation::Identity).seed(1).build()?;
/// let mut trainer = Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy).build()?;
/// trainer.step(&[0.5, -0.5], &[2_u32])?; // one row, of class 2
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// `sum_j (y_j - t_j)^2`; [`Reduction::Mean`] divides the batch's sum by `batch outputs`.
    /// `torch.nn.MSELoss`.
    MeanSquaredError,
    /// `sum_j |y_j - t_j|`, with gradient 0 where they are equal; its mean is over the batch and the outputs.
    /// `torch.nn.L1Loss`.
    MeanAbsoluteError,
    /// `sum_j` of `(y_j - t_j)^2 / 2` up to a distance of `delta`, and `delta (|y_j - t_j| - delta / 2)`
    /// beyond; its mean is over the batch and the outputs. `torch.nn.HuberLoss` (Huber 1964).
    Huber {
        /// The distance at which the parabola goes over into lines, finite and above 0. PyTorch's default is
        /// 1.
        delta: f64,
    },
    /// `sum_j max(quantile (t_j - y_j), (quantile - 1) (t_j - y_j))`, with gradient 0 where they are equal;
    /// its mean is over the batch and the outputs. The pinball loss, which is lowest at that quantile of the
    /// targets: 0.5 gives the median (Koenker and Bassett 1978). scikit-learn's `mean_pinball_loss`.
    Quantile {
        /// The part of the targets that is to be below the output, above 0 and below 1.
        quantile: f64,
    },
    /// `sum_j max(1 - t_j y_j, 0)` of targets `t` that are -1 or 1; its mean is over the batch and the
    /// outputs. The loss of support vector machines (Cortes and Vapnik 1995). scikit-learn's `hinge_loss`,
    /// Keras's `Hinge`. Other targets are refused with [`Error::Value`].
    Hinge,
    /// `sum_j e^(y_j) - t_j y_j` of logarithms `y` of rates, and counts `t`; its mean is over the batch and
    /// the outputs. `torch.nn.PoissonNLLLoss` with its defaults, `log_input` and no Stirling term. Targets
    /// below 0 are refused with [`Error::Value`].
    PoissonNll,
    /// `sum_j (log v_j + (m_j - t_j)^2 / v_j) / 2` with `v_j = max(e^(s_j), epsilon)`, of means `m` and
    /// logarithms `s` of variances; its mean is over the batch and the targets.
    /// `torch.nn.GaussianNLLLoss` of a variance of `e^s` (Nix and Weigend 1994).
    ///
    /// The outputs of a row are all means, then all logarithms: `[m_0, .., m_n, s_0, .., s_n]`, so their
    /// number is even, and targets (and a mask) are `[batch, outputs / 2]`. A variance is a logarithm so that
    /// one last layer without an activation has both. As in PyTorch the gradient is not stopped where a
    /// variance is below `epsilon`: it is the gradient at `epsilon`, times `e^s / epsilon` by the chain rule.
    /// Metrics are of the means. Computed in `f64`, whatever the elements are.
    GaussianNll {
        /// The least variance, finite and above 0. PyTorch's default is 1e-6.
        epsilon: f64,
    },
    /// `sum_j max(y_j, 0) - t_j y_j + log(1 + e^-|y_j|)` of logits `y` and probabilities `t`; its mean is
    /// over the batch and the outputs. `torch.nn.BCEWithLogitsLoss`, with its `pos_weight` by
    /// [`TrainerBuilder::pos_weight`](crate::TrainerBuilder::pos_weight). Targets outside 0 to 1 are refused
    /// with [`Error::Value`]. Of a last layer with [`Activation::Sigmoid`] the loss takes the
    /// pre-activations: the sigmoid is not applied twice.
    BinaryCrossEntropyWithLogits,
    /// `-sum_j t_j log softmax(y)_j` of logits `y`; [`Reduction::Mean`] divides by `batch`.
    /// `torch.nn.CrossEntropyLoss`. Targets are class indices, or probabilities `[batch, outputs]`. Computed
    /// as one shifted log-sum-exp. Of a last layer with [`Activation::Softmax`] the loss takes the
    /// pre-activations.
    ///
    /// With class weights `w` and label smoothing `e`
    /// ([`TrainerBuilder::class_weights`](crate::TrainerBuilder::class_weights),
    /// [`label_smoothing`](crate::TrainerBuilder::label_smoothing)) the targets are
    /// `w_j ((1 - e) t_j + e / outputs)`, and for class indices the mean divides by the sum of the weights
    /// of the batch's classes.
    SoftmaxCrossEntropy,
    /// `sum_j t_j (log t_j - log softmax(y)_j)` of logits `y` and probabilities `t` `[batch, outputs]`, where
    /// 0 times its logarithm is 0; [`Reduction::Mean`] divides by `batch`. The divergence of the network's
    /// distribution from the targets' (Kullback and Leibler 1951): the cross-entropy less what no network can
    /// take from it, with the same gradient. 0 at its lowest, but for roundings of either sum.
    /// `torch.nn.KLDivLoss` of `log_softmax(y)` with `reduction="batchmean"`. Targets below 0 are refused
    /// with [`Error::Value`], class indices with [`Error::Targets`]. Of a last layer with
    /// [`Activation::Softmax`] the loss takes the pre-activations.
    KullbackLeibler,
}

/// How the losses of a batch's rows become one number.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Loss, Network, Reduction, Trainer};
///
/// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(1).build()?;
/// let trainer = Trainer::builder(network).loss(Loss::MeanAbsoluteError).reduction(Reduction::Sum).build()?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reduction {
    /// Their mean, over what [`Loss`] says. With sample weights the weighted sum is divided by the sum of the
    /// weights (times the outputs, for a loss whose mean is over them too); 0 if all weights are 0.
    #[default]
    Mean,
    /// Their weighted sum.
    Sum,
}

impl Loss {
    /// The last layer's activation while this loss is trained: the identity under a loss that computes the
    /// activation itself, from logits.
    pub(crate) fn output_activation(self, activation: Activation) -> Activation {
        match (self, activation) {
            (Self::SoftmaxCrossEntropy | Self::KullbackLeibler, Activation::Softmax)
            | (Self::BinaryCrossEntropyWithLogits, Activation::Sigmoid) => Activation::Identity,
            _ => activation,
        }
    }

    /// # Errors
    /// [`Error::Setting`] for a setting that is out of range, or infinite in `T`.
    pub(crate) fn check<T: Element>(self) -> Result<(), Error> {
        match self {
            Self::Huber { delta } => {
                check_setting::<T>(Argument::HuberDelta, delta, T::from_f64(delta) > T::ZERO)
            }
            Self::Quantile { quantile } => {
                check_setting::<T>(Argument::Quantile, quantile, quantile > 0.0 && quantile < 1.0)
            }
            Self::GaussianNll { epsilon } => {
                check_setting::<T>(Argument::LeastVariance, epsilon, T::from_f64(epsilon) > T::ZERO)
            }
            Self::MeanSquaredError
            | Self::MeanAbsoluteError
            | Self::Hinge
            | Self::PoissonNll
            | Self::BinaryCrossEntropyWithLogits
            | Self::SoftmaxCrossEntropy
            | Self::KullbackLeibler => Ok(()),
        }
    }

    /// Refuses a last layer whose outputs cannot be what the loss takes: logits, or other numbers of either
    /// sign.
    ///
    /// # Errors
    /// [`Error::Combination`] for an activation that is bounded on either side, unless it is the one that the
    /// loss computes itself, for a cross-entropy of a single output, which would be 0, and for an odd number
    /// of outputs where each mean has a variance.
    pub(crate) fn check_outputs(self, activation: Activation, outputs: usize) -> Result<(), Error> {
        let reaches_all = || self.output_activation(activation).reaches_all_numbers();
        let with = match self {
            Self::MeanSquaredError
            | Self::MeanAbsoluteError
            | Self::Huber { .. }
            | Self::Quantile { .. }
            | Self::Hinge => return Ok(()),
            Self::SoftmaxCrossEntropy | Self::KullbackLeibler if outputs == 1 => Argument::SingleOutput,
            Self::GaussianNll { .. } if !outputs.is_multiple_of(2) => Argument::OddOutputs,
            Self::SoftmaxCrossEntropy
            | Self::KullbackLeibler
            | Self::BinaryCrossEntropyWithLogits
            | Self::PoissonNll
            | Self::GaussianNll { .. } => match reaches_all() {
                true => return Ok(()),
                false => Argument::BoundedLogits,
            },
        };
        Err(Error::Combination { argument: self.name(), with })
    }

    pub(crate) fn name(self) -> Argument {
        match self {
            Self::MeanSquaredError => Argument::MeanSquaredError,
            Self::MeanAbsoluteError => Argument::MeanAbsoluteError,
            Self::Huber { .. } => Argument::HuberLoss,
            Self::Quantile { .. } => Argument::QuantileLoss,
            Self::Hinge => Argument::HingeLoss,
            Self::PoissonNll => Argument::PoissonNll,
            Self::GaussianNll { .. } => Argument::GaussianNll,
            Self::BinaryCrossEntropyWithLogits => Argument::BinaryCrossEntropy,
            Self::SoftmaxCrossEntropy => Argument::SoftmaxCrossEntropy,
            Self::KullbackLeibler => Argument::KullbackLeibler,
        }
    }

    /// The number of target values of a row of outputs.
    #[inline(always)]
    pub(crate) fn target_columns(self, outputs: usize) -> usize {
        match self {
            Self::GaussianNll { .. } => outputs / 2,
            _ => outputs,
        }
    }

    /// Refuses targets, weights and masks that do not fit the loss or the batch.
    pub(crate) fn check_targets<T: Element>(
        self,
        targets: &Targets<'_, T>,
        batch: usize,
        outputs: usize,
    ) -> Result<(), Error> {
        let columns = self.target_columns(outputs);
        if !targets.heads.is_empty() {
            return Err(Error::Unused { argument: Argument::HeadTargets, with: self.name() });
        }
        if let Some(weights) = targets.weights {
            check_length(Argument::RowWeights, batch, weights.len())?;
            check_weights(Argument::RowWeight, weights)?;
        }
        if let Some(mask) = targets.mask {
            if !self.is_by_element() {
                return Err(Error::Unused { argument: Argument::ElementMask, with: self.name() });
            }
            check_length(Argument::ElementMask, batch * columns, mask.len())?;
            check_weights(Argument::MaskElement, mask)?;
        }
        match targets.labels {
            Labels::Values(values) => {
                check_length(Argument::Targets, batch * columns, values.len())?;
                self.check_values(targets, values, columns)
            }
            Labels::Classes(_) if self != Self::SoftmaxCrossEntropy => {
                Err(Error::Targets { loss: self.name() })
            }
            Labels::Classes(classes) => {
                check_length(Argument::ClassTargets, batch, classes.len())?;
                match classes.find_wrong(outputs, |row| targets.row_weight(row) != 0.0) {
                    Some(row) => Err(Error::Class { row, class: classes.value(row), classes: outputs }),
                    None => Ok(()),
                }
            }
        }
    }

    /// Refuses values that cannot be targets of the loss.
    fn check_values<T: Element>(
        self,
        targets: &Targets<'_, T>,
        values: &[T],
        columns: usize,
    ) -> Result<(), Error> {
        let one = T::from_f64(1.0);
        let (argument, wrong) = match self {
            Self::BinaryCrossEntropyWithLogits => {
                let wrong = find_wrong(targets, values, columns, |t| (t >= T::ZERO) & (t <= one));
                (Argument::TargetProbabilities, wrong)
            }
            Self::PoissonNll => {
                (Argument::TargetCounts, find_wrong(targets, values, columns, |t| t >= T::ZERO))
            }
            Self::KullbackLeibler => {
                (Argument::TargetShares, find_wrong(targets, values, columns, |t| t >= T::ZERO))
            }
            Self::Hinge => {
                let minus_one = T::from_f64(-1.0);
                let wrong = find_wrong(targets, values, columns, |t| (t == one) | (t == minus_one));
                (Argument::TargetSigns, wrong)
            }
            Self::MeanSquaredError
            | Self::MeanAbsoluteError
            | Self::Huber { .. }
            | Self::Quantile { .. }
            | Self::GaussianNll { .. }
            | Self::SoftmaxCrossEntropy => return Ok(()),
        };
        match wrong {
            Some(i) => {
                let (row, column, value) = (i / columns, i % columns, values[i].to_f64());
                Err(Error::Value { argument, row, column, value })
            }
            None => Ok(()),
        }
    }

    /// Whether the loss of a row is the sum of those of its elements.
    pub(crate) fn is_by_element(self) -> bool {
        !matches!(self, Self::SoftmaxCrossEntropy | Self::KullbackLeibler)
    }

    /// The divisor of [`Reduction::Mean`]: the sum of the weights of all terms of the loss.
    ///
    /// # Errors
    /// [`Error::Setting`] for a sum that overflows, or so small a one that its reciprocal does.
    pub(crate) fn total_weight<T: Element>(
        self,
        targets: &Targets<'_, T>,
        classes: &ClassWeights<T>,
        batch: usize,
        outputs: usize,
    ) -> Result<f64, Error> {
        let value = self.sum_of_weights(targets, classes, batch, self.target_columns(outputs));
        match value == 0.0 || value.is_finite() && (1.0 / value).is_finite() {
            true => Ok(value),
            false => Err(Error::Setting { argument: Argument::TotalWeight, value }),
        }
    }

    fn sum_of_weights<T: Element>(
        self,
        targets: &Targets<'_, T>,
        classes: &ClassWeights<T>,
        batch: usize,
        columns: usize,
    ) -> f64 {
        if let Some(mask) = targets.mask {
            let sum_of_row = |row: &[T]| row.iter().map(|weight| weight.to_f64()).sum::<f64>();
            let rows = mask.chunks_exact(columns).enumerate();
            return rows.map(|(r, row)| targets.row_weight(r) * sum_of_row(row)).sum();
        }
        let rows = match targets.labels {
            Labels::Classes(of_rows) if classes.weighted => {
                let weight_of = |r: usize| match targets.row_weight(r) {
                    // Its class is not read.
                    0.0 => 0.0,
                    weight => weight * classes.weight(of_rows.class(r)),
                };
                (0..batch).map(weight_of).sum()
            }
            _ if targets.weights.is_some() => (0..batch).map(|r| targets.row_weight(r)).sum(),
            _ => batch as f64,
        };
        if self.is_by_element() { rows * columns as f64 } else { rows }
    }
}

impl Reduction {
    /// The factor of the weighted sum of losses, whose weights add up to `total_weight`.
    pub(crate) fn scale(self, total_weight: f64) -> f64 {
        match self {
            Self::Sum => 1.0,
            Self::Mean if total_weight > 0.0 => 1.0 / total_weight,
            Self::Mean => 0.0,
        }
    }
}

/// Whether a class, a row or an element can have the weight.
pub(crate) fn is_weight(weight: f64) -> bool {
    weight >= 0.0 && weight.is_finite()
}

fn check_weights<T: Element>(argument: Argument, weights: &[T]) -> Result<(), Error> {
    match weights.iter().map(|weight| weight.to_f64()).find(|&weight| !is_weight(weight)) {
        Some(value) => Err(Error::Setting { argument, value }),
        None => Ok(()),
    }
}

/// The index of the first value that is not right, of elements that weigh anything.
fn find_wrong<T: Element>(
    targets: &Targets<'_, T>,
    values: &[T],
    columns: usize,
    is_right: impl Fn(T) -> bool,
) -> Option<usize> {
    // Without a branch for each, so that the compiler compares a register of them at a time.
    let are_right = |values: &[T]| values.iter().fold(true, |all, &t| all & is_right(t));
    if values.chunks(64).all(are_right) {
        return None;
    }
    let is_wrong =
        |i: usize| !is_right(values[i]) && targets.element_weight(i / columns, columns, i % columns) != 0.0;
    (0..values.len()).find(|&i| is_wrong(i))
}

/// A loss over some rows, with its targets.
#[derive(Clone, Copy)]
pub(crate) struct Objective<'a, T> {
    pub(crate) loss: Loss,
    /// The factor of the weighted sum of the rows' losses: see [`Reduction::scale`].
    pub(crate) scale: f64,
    pub(crate) targets: Targets<'a, T>,
}

impl<'a, T: Element> Objective<'a, T> {
    /// The same over some of the rows.
    #[inline(always)]
    pub(crate) fn rows(&self, rows: Range<usize>, outputs: usize) -> Self {
        Self { targets: self.targets.rows(rows, self.loss.target_columns(outputs)), ..*self }
    }

    /// The rows that weigh nothing, if rows differ in weight.
    #[inline(always)]
    pub(crate) fn unread(&self, classes: &'a ClassWeights<T>, outputs: usize) -> Option<UnreadRows<'a, T>> {
        let labels = match self.targets.labels {
            Labels::Classes(labels) if classes.weighted && classes.smoothing == 0.0 => Some(labels),
            _ => None,
        };
        if self.targets.is_unweighted() && labels.is_none() {
            return None;
        }
        let columns = self.loss.target_columns(outputs);
        Some(UnreadRows { targets: self.targets, labels, classes, columns })
    }

    /// Whether [`evaluate_packed4`] computes it.
    pub(crate) fn fits_groups(&self, classes: &ClassWeights<T>) -> bool {
        let is_of_pairs = matches!(self.loss, Loss::GaussianNll { .. });
        let is_by_element = self.loss.is_by_element() && !is_of_pairs;
        is_by_element && self.targets.is_unweighted() && classes.positive.is_empty()
    }
}

/// The rows of a batch that weigh nothing: by themselves, by their class, or because none of their elements
/// does.
#[derive(Clone, Copy)]
pub(crate) struct UnreadRows<'a, T: Element> {
    targets: Targets<'a, T>,
    /// Where a class of weight 0 takes its rows' weight.
    labels: Option<ClassLabels<'a>>,
    classes: &'a ClassWeights<T>,
    /// Of the mask.
    columns: usize,
}

impl<T: Element> UnreadRows<'_, T> {
    pub(crate) fn contains(&self, row: usize) -> bool {
        let of_class = |labels: ClassLabels<'_>| self.classes.weight(labels.class(row)) == 0.0;
        let is_masked = |mask: &[T]| mask[row * self.columns..][..self.columns].iter().all(|&m| m == T::ZERO);
        self.targets.row_weight(row) == 0.0
            || self.labels.is_some_and(of_class)
            || self.targets.mask.is_some_and(is_masked)
    }
}

/// The loss of each row, times its weight, and the gradient of the rows' sum with respect to the network's
/// outputs, times the scale too. Of a row of weight 0 both are 0.
///
/// Overwrites `d` `[B, O]` and `losses` `[B]`; padding lanes become 0. `y` are the outputs, or logits.
pub(crate) fn evaluate<L: Lanes>(
    l: L,
    to: RowLosses<'_, L::Element>,
    y: Panels<'_, L::Element>,
    objective: &Objective<'_, L::Element>,
    classes: &ClassWeights<L::Element>,
) {
    l.vectorize(
        #[inline(always)]
        || evaluate_rows(l, to, y, objective, classes),
    );
}

/// [`evaluate`] without the gradient: the same losses, by the same code.
pub(crate) fn evaluate_losses<L: Lanes>(
    l: L,
    losses: &mut [f64],
    y: Panels<'_, L::Element>,
    objective: &Objective<'_, L::Element>,
    classes: &ClassWeights<L::Element>,
) {
    let to = RowLosses { d_y: PanelsMut { lines: &mut [], rows: y.rows, cols: y.cols }, losses };
    evaluate(l, to, y, objective, classes);
}

/// The results of a loss.
pub(crate) struct RowLosses<'a, T: Element> {
    /// The gradient with respect to the outputs, `[B, O]`, or no lines if it is not wanted. A question of
    /// run time: it takes less time than its answer for each row, and code for either would double what is
    /// compiled.
    pub d_y: PanelsMut<'a, T>,
    /// `[B]`.
    pub losses: &'a mut [f64],
}

impl<T: Element> RowLosses<'_, T> {
    #[inline(always)]
    pub(crate) fn wants_gradient(&self) -> bool {
        !self.d_y.lines.is_empty()
    }
}

/// [`evaluate`] beneath a crossing.
#[cfg_attr(not(unoptimized), inline(always))]
fn evaluate_rows<L: Lanes>(
    l: L,
    to: RowLosses<'_, L::Element>,
    y: Panels<'_, L::Element>,
    objective: &Objective<'_, L::Element>,
    classes: &ClassWeights<L::Element>,
) {
    match (objective.targets.labels, objective.loss) {
        (Labels::Classes(targets), _) => {
            cross_entropy::of_classes(l, to, y, targets, objective, classes);
        }
        (Labels::Values(targets), Loss::SoftmaxCrossEntropy) => {
            cross_entropy::of_probabilities(l, to, y, targets, objective, classes);
        }
        (Labels::Values(targets), Loss::KullbackLeibler) => {
            let losses = &mut *to.losses;
            let to = RowLosses { d_y: to.d_y, losses: &mut *losses };
            cross_entropy::of_probabilities(l, to, y, targets, objective, classes);
            cross_entropy::add_negative_entropy(losses, targets, &objective.targets);
        }
        (Labels::Values(targets), Loss::GaussianNll { epsilon }) => {
            gaussian::of_pairs(to, y, targets, objective, epsilon);
        }
        (Labels::Values(targets), _) => by_element(l, to, y, targets, objective, classes),
    }
}

/// [`evaluate`] of a loss that is a sum over elements.
#[cfg_attr(not(unoptimized), inline(always))]
fn by_element<L: Lanes>(
    l: L,
    to: RowLosses<'_, L::Element>,
    y: Panels<'_, L::Element>,
    targets: &[L::Element],
    objective: &Objective<'_, L::Element>,
    classes: &ClassWeights<L::Element>,
) {
    let (cols, lanes) = (y.cols, L::Element::LANES);
    let wants_gradient = to.wants_gradient();
    let RowLosses { d_y: mut d, losses } = to;
    losses.fill(0.0);
    for p in 0..y.panels() {
        let (first, width) = (p * lanes, lanes.min(cols - p * lanes));
        let panel = PanelLoss { objective, targets, positive: classes.positive.get(p), cols, first, width };
        let d = if wants_gradient { d.panel(p) } else { &mut [] };
        for (r, (y, loss)) in y.panel(p).iter().zip(&mut *losses).enumerate() {
            let slope = panel.add(l, r, y, loss);
            if let Some(d) = d.get_mut(r) {
                l.store(d, slope);
            }
        }
    }
}

/// A loss over the elements of one panel of outputs.
struct PanelLoss<'a, T: Element> {
    objective: &'a Objective<'a, T>,
    targets: &'a [T],
    /// The weights of the targets of a binary cross-entropy, if they have any.
    positive: Option<&'a T::Line>,
    cols: usize,
    /// The panel's columns.
    first: usize,
    width: usize,
}

impl<T: Element> PanelLoss<'_, T> {
    /// Adds the loss of a row's outputs `y` in the panel; its gradient.
    #[inline(always)]
    fn add<L: Lanes<Element = T>>(&self, l: L, r: usize, y: &LineOf<L>, loss: &mut f64) -> L::Vector {
        let &Self { objective, targets, positive, cols, first, width } = self;
        let start = r * cols + first;
        let t = &targets[start..][..width];
        if first + width < cols {
            // The next panel's. Lines of successive rows lie a whole row apart, too far for a processor to
            // foresee.
            l.prefetch_to_l2(t, T::LANES);
        }
        let weight = objective.targets.row_weight(r);
        if weight == 0.0 {
            return l.zero();
        }
        let (y, t) = (l.load(y), l.load_slice(t));
        let (mut value, slope) = match positive {
            Some(weights) => weighted_binary_cross_entropy(l, l.load(weights), y, t),
            None => loss_and_slope(l, objective.loss, y, t),
        };
        let mut slope = l.mul(l.constant(objective.scale * weight), slope);
        if let Some(mask) = objective.targets.mask {
            let mask = l.load_slice(&mask[start..][..width]);
            let is_absent = l.eq(mask, l.zero());
            value = l.select(is_absent, l.zero(), l.mul(mask, value));
            slope = l.select(is_absent, l.zero(), l.mul(mask, slope));
        }
        let is_output = l.first_lanes(width);
        *loss += weight * l.reduce_sum_f64(l.select(is_output, value, l.zero()));
        l.flushed(l.select(is_output, slope, l.zero()))
    }
}

/// [`evaluate`] of rows of at most four elements, packed into groups of lanes, for a loss that is a sum over
/// elements, without weights; the loss of all rows. Other lanes of `d` are garbage.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn evaluate_packed4<L: Lanes>(
    l: L,
    d: &mut [LineOf<L>],
    y: &[LineOf<L>],
    objective: &Objective<'_, L::Element>,
    rows: usize,
    cols: usize,
) -> f64 {
    let Labels::Values(targets) = objective.targets.labels else {
        unreachable!("losses by element take no class targets")
    };
    let per_line = const { L::Element::LANES / GROUP };
    let scale = l.constant(objective.scale);
    let mut values = LineOf::<L>::ZERO;
    let mut sum = 0.0;
    for (i, (d, y)) in d.iter_mut().zip(y).enumerate() {
        let rows = per_line.min(rows - i * per_line);
        let t = l.load_rows(&targets[i * per_line * cols..], RowShape { rows, cols });
        let (value, slope) = loss_and_slope(l, objective.loss, l.load(y), t);
        l.store(d, l.flushed(l.mul(scale, slope)));
        l.store(&mut values, value);
        // In the order of `Lanes::reduce_sum_f64`, whose other lanes are 0.
        for row in values.as_slice().chunks_exact(GROUP).take(rows) {
            let of = |j: usize| if j < cols { row[j].to_f64() } else { 0.0 };
            sum += (of(0) + of(2)) + (of(1) + of(3));
        }
    }
    sum * objective.scale
}

#[cfg(test)]
impl Loss {
    /// Every loss that is a sum over single outputs.
    pub(crate) const BY_ELEMENT: [Self; 7] = [
        Self::MeanSquaredError,
        Self::MeanAbsoluteError,
        Self::Huber { delta: 1.0 },
        Self::Quantile { quantile: 0.3 },
        Self::Hinge,
        Self::PoissonNll,
        Self::BinaryCrossEntropyWithLogits,
    ];

    /// Every loss that is a sum over rows.
    pub(crate) const BY_ROW: [Self; 2] = [Self::SoftmaxCrossEntropy, Self::KullbackLeibler];

    /// Every loss.
    pub(crate) fn every() -> Vec<Self> {
        let of_pairs = [Self::GaussianNll { epsilon: 1e-6 }];
        let every = [&Self::BY_ELEMENT[..], &Self::BY_ROW, &of_pairs].concat();
        // A reminder for the compiler: a new loss has a line above too.
        for loss in &every {
            match loss {
                Self::MeanSquaredError | Self::MeanAbsoluteError | Self::Huber { .. } => {}
                Self::Quantile { .. } | Self::Hinge | Self::PoissonNll | Self::GaussianNll { .. } => {}
                Self::BinaryCrossEntropyWithLogits | Self::SoftmaxCrossEntropy | Self::KullbackLeibler => {}
            }
        }
        every
    }
}

#[cfg(test)]
mod tests {
    use super::Loss;
    use std::fs;

    #[test]
    fn the_sweeps_of_the_integration_tests_have_every_loss() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/common/every.rs");
        let list = fs::read_to_string(path).unwrap();
        for loss in Loss::every() {
            let name = format!("{loss:?}");
            let variant = name.split(' ').next().unwrap();
            assert!(list.contains(&format!("Loss::{variant}")), "{variant} is not in {path}");
        }
    }
}
