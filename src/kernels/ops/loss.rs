//! Loss functions: the enum, and the losses that are sums over elements.

use crate::error::Argument;
use crate::kernels::ops::targets::Targets;
use crate::simd::scalar::Scalar;
use core::ops::Range;

use crate::error::{Error, check_length};
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::ops::activation::Activation;
pub use crate::kernels::ops::class_weights::ClassWeights;
use crate::kernels::ops::cross_entropy;
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::LineOf;
use crate::simd::lanes::{GROUP, Lanes, RowShape};
use crate::simd::math;
use crate::simd::scalar::Element;
use crate::simd::scalar::Line;

/// Loss function of a batch of outputs `y` and targets `t`, both `[batch, outputs]`, as in PyTorch.
///
/// Each row has a loss, which the row's weight multiplies; [`Reduction`] makes one number of them. Targets
/// that do not fit the loss are refused with [`Error::Targets`].
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
    /// `sum_j max(y_j, 0) - t_j y_j + log(1 + e^-|y_j|)` of logits `y` and probabilities `t`; its mean is
    /// over the batch and the outputs. `torch.nn.BCEWithLogitsLoss`. Of a last layer with
    /// [`Activation::Sigmoid`] the loss takes the pre-activations: the sigmoid is not applied twice.
    BinaryCrossEntropyWithLogits,
    /// `-sum_j t_j log softmax(y)_j` of logits `y`; [`Reduction::Mean`] divides by `batch`.
    /// `torch.nn.CrossEntropyLoss`. Targets are class indices, or probabilities `[batch, outputs]`. Computed
    /// as one shifted log-sum-exp. Of a last layer with [`Activation::Softmax`] the loss takes the
    /// pre-activations.
    ///
    /// With class weights `w` and label smoothing `e`
    /// ([`TrainerBuilder::class_weights`](crate::TrainerBuilder::class_weights),
    /// [`label_smoothing`](crate::TrainerBuilder::label_smoothing)) the targets are `w_j ((1 - e) t_j + e /
    /// outputs)`, and for class indices the mean divides by the sum of the weights of the batch's classes.
    SoftmaxCrossEntropy,
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
            (Self::SoftmaxCrossEntropy, Activation::Softmax)
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
            _ => Ok(()),
        }
    }

    pub(crate) fn name(self) -> Argument {
        match self {
            Self::MeanSquaredError => Argument::MeanSquaredError,
            Self::MeanAbsoluteError => Argument::MeanAbsoluteError,
            Self::Huber { .. } => Argument::HuberLoss,
            Self::BinaryCrossEntropyWithLogits => Argument::BinaryCrossEntropy,
            Self::SoftmaxCrossEntropy => Argument::SoftmaxCrossEntropy,
        }
    }

    /// Refuses targets and weights that do not fit the loss or the batch.
    pub(crate) fn check_targets<T: Element>(
        self,
        targets: Targets<'_, T>,
        weights: Option<&[T]>,
        (batch, outputs): (usize, usize),
    ) -> Result<(), Error> {
        match targets {
            Targets::Values(values) => check_length(Argument::Targets, batch * outputs, values.len())?,
            Targets::Classes(_) if self != Self::SoftmaxCrossEntropy => {
                return Err(Error::Targets { loss: self.name() });
            }
            Targets::Classes(classes) => {
                check_length(Argument::ClassTargets, batch, classes.len())?;
                if let Some(row) = classes.iter().position(|&class| class as usize >= outputs) {
                    return Err(Error::Class { row, class: classes[row], classes: outputs });
                }
            }
        }
        let Some(weights) = weights else { return Ok(()) };
        check_length(Argument::RowWeights, batch, weights.len())?;
        match weights.iter().map(|weight| weight.to_f64()).find(|&weight| !is_weight(weight)) {
            Some(value) => Err(Error::Setting { argument: Argument::RowWeight, value }),
            None => Ok(()),
        }
    }

    /// Whether the loss of a row is the sum of those of its elements.
    pub(crate) fn is_by_element(self) -> bool {
        self != Self::SoftmaxCrossEntropy
    }

    /// What the weighted sum of the losses is multiplied by.
    pub(crate) fn scale<T: Element>(
        self,
        reduction: Reduction,
        (targets, weights): (Targets<'_, T>, Option<&[T]>),
        classes: &ClassWeights<T>,
        (batch, outputs): (usize, usize),
    ) -> f64 {
        if reduction == Reduction::Sum {
            return 1.0;
        }
        let weight = |r: usize| weights.map_or(1.0, |weights| weights[r].to_f64());
        let rows = match (targets, weights) {
            (Targets::Classes(of_rows), _) if classes.weighted => {
                of_rows.iter().enumerate().map(|(r, &class)| weight(r) * classes.weight(class)).sum()
            }
            (_, Some(_)) => (0..batch).map(weight).sum(),
            (_, None) => batch as f64,
        };
        let terms = if self == Self::SoftmaxCrossEntropy { rows } else { rows * outputs as f64 };
        if terms > 0.0 { 1.0 / terms } else { 0.0 }
    }
}

/// Whether a class or a row can have the weight.
pub(crate) fn is_weight(weight: f64) -> bool {
    weight >= 0.0 && weight.is_finite()
}

/// A loss over some rows, with its targets.
#[derive(Clone, Copy)]
pub struct Objective<'a, T> {
    pub(crate) loss: Loss,
    /// What the weighted sum of the rows' losses is multiplied by.
    pub(crate) scale: f64,
    pub(crate) targets: Targets<'a, T>,
    /// One for each row; all 1 if there are none.
    pub(crate) weights: Option<&'a [T]>,
}

impl<T: Element> Objective<'_, T> {
    /// The same over some of the rows.
    #[inline(always)]
    pub(crate) fn rows(&self, rows: Range<usize>, outputs: usize) -> Self {
        Self {
            targets: self.targets.rows(rows.clone(), outputs),
            weights: self.weights.map(|weights| &weights[rows]),
            ..*self
        }
    }

    #[inline(always)]
    pub(crate) fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[row].to_f64())
    }
}

/// The loss of each row, times its weight, and the gradient of the rows' sum with respect to the network's
/// outputs, times the scale too.
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

/// What a loss writes.
pub struct RowLosses<'a, T: Element> {
    /// The gradient with respect to the outputs, `[B, O]`.
    pub d_y: PanelsMut<'a, T>,
    /// `[B]`.
    pub losses: &'a mut [f64],
}

/// [`evaluate`] beneath a crossing.
#[inline(always)]
pub(crate) fn evaluate_rows<L: Lanes>(
    l: L,
    to: RowLosses<'_, L::Element>,
    y: Panels<'_, L::Element>,
    objective: &Objective<'_, L::Element>,
    classes: &ClassWeights<L::Element>,
) {
    match (objective.targets, objective.loss) {
        (Targets::Classes(targets), _) => {
            cross_entropy::of_classes(l, to, y, targets, objective, classes);
        }
        (Targets::Values(targets), Loss::SoftmaxCrossEntropy) => {
            cross_entropy::of_probabilities(l, to, y, targets, objective, classes);
        }
        (Targets::Values(targets), _) => by_element(l, to, y, targets, objective),
    }
}

/// [`evaluate`] of a loss that is a sum over elements.
#[inline(always)]
fn by_element<L: Lanes>(
    l: L,
    to: RowLosses<'_, L::Element>,
    y: Panels<'_, L::Element>,
    targets: &[L::Element],
    objective: &Objective<'_, L::Element>,
) {
    let RowLosses { d_y: mut d, losses } = to;
    let (cols, lanes) = (y.cols, L::Element::LANES);
    losses.fill(0.0);
    for p in 0..y.panels() {
        let (start, width) = (p * lanes, lanes.min(cols - p * lanes));
        let (mask, has_next) = (l.first(width), p + 1 < y.panels());
        for (r, ((d, y), loss)) in d.panel(p).iter_mut().zip(y.panel(p)).zip(&mut *losses).enumerate() {
            let t = &targets[r * cols + start..][..width];
            if has_next {
                // The next panel's: targets of successive rows lie a whole row apart, a stride that the
                // hardware prefetcher does not follow.
                l.prefetch_to_l2(t, lanes);
            }
            let (value, slope) = loss_and_slope(l, objective.loss, l.load(y), l.load_slice(t));
            let weight = objective.weight(r);
            let slope = l.mul(l.constant(objective.scale * weight), slope);
            l.store(d, l.flushed(l.select(mask, slope, l.zero())));
            *loss += weight * l.sum_f64(l.select(mask, value, l.zero()));
        }
    }
}

/// [`evaluate`] of rows of at most four elements, packed into groups of lanes, for a loss that is a sum over
/// elements, without weights; the loss of all rows. Other lanes of `d` are garbage.
#[inline(always)]
pub(crate) fn evaluate_packed4<L: Lanes>(
    l: L,
    d: &mut [LineOf<L>],
    y: &[LineOf<L>],
    objective: &Objective<'_, L::Element>,
    rows: usize,
    cols: usize,
) -> f64 {
    let Targets::Values(targets) = objective.targets else {
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
        // In the order of `Lanes::sum_f64`, whose other lanes are 0.
        for row in values.as_slice().chunks_exact(GROUP).take(rows) {
            let of = |j: usize| if j < cols { row[j].to_f64() } else { 0.0 };
            sum += (of(0) + of(2)) + (of(1) + of(3));
        }
    }
    sum * objective.scale
}

/// The loss of each element and its slope, of a loss that is a sum over elements.
#[inline(always)]
fn loss_and_slope<L: Lanes>(l: L, loss: Loss, y: L::Vector, t: L::Vector) -> (L::Vector, L::Vector) {
    let (zero, one) = (l.zero(), l.constant(1.0));
    let difference = l.sub(y, t);
    match loss {
        Loss::MeanSquaredError => (l.mul(difference, difference), l.add(difference, difference)),
        Loss::MeanAbsoluteError => {
            // 0 at 0, and NaN of NaN.
            let sign = l.select(l.eq(difference, zero), zero, l.flip_sign(one, difference));
            (l.abs(difference), l.select(l.eq(difference, difference), sign, difference))
        }
        Loss::Huber { delta } => {
            let (low, high, half) = (l.constant(-delta), l.constant(delta), l.constant(0.5));
            let clipped = l.max(low, l.min(high, difference));
            (l.mul(clipped, l.neg_mul_add(half, clipped, difference)), clipped)
        }
        Loss::BinaryCrossEntropyWithLogits => {
            // The large terms cancel before the small one is added.
            let linear = l.neg_mul_add(t, y, l.max(zero, y));
            let rest = math::log_p1(l, math::exp(l, l.sub(zero, l.abs(y))));
            (l.add(linear, rest), l.sub(math::sigmoid(l, y), t))
        }
        Loss::SoftmaxCrossEntropy => unreachable!("a sum over rows"),
    }
}
