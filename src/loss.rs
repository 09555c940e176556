//! What training makes small, and what it compares with: everything about a loss is said here.

use core::ops::Range;

use crate::activation::Activation;
use crate::element::{Element, Sealed};
use crate::error::{Error, check_length};
use crate::float_math::ln;
use crate::kernels::elementwise::Row;
use crate::kernels::lanes::{Lanes, Line, QUAD};
use crate::kernels::pack::{Panels, PanelsMut, panels};
use crate::kernels::{LineOf, math};

/// The loss function, of a batch of outputs `y` and targets `t`, as in PyTorch.
///
/// Each row has a loss, which its sample weight multiplies; [`Reduction`] says how they become one number.
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
    /// `sum_j (y_j - t_j)^2`; [`Reduction::Mean`] divides the batch's sum by `batch outputs`. `torch.nn.MSELoss`.
    MeanSquaredError,
    /// `sum_j |y_j - t_j|`, with gradient 0 where they are equal; its mean is over the batch and the outputs.
    /// `torch.nn.L1Loss`.
    MeanAbsoluteError,
    /// `sum_j` of `(y_j - t_j)^2 / 2` up to a distance of `delta`, and `delta (|y_j - t_j| - delta / 2)` beyond;
    /// its mean is over the batch and the outputs. `torch.nn.HuberLoss`, whose `delta` is 1 by default (Huber
    /// 1964).
    Huber(f64),
    /// `sum_j max(y_j, 0) - t_j y_j + log(1 + e^-|y_j|)` of logits `y` and probabilities `t`; its mean is over the
    /// batch and the outputs. `torch.nn.BCEWithLogitsLoss`. Under a last layer with [`Activation::Sigmoid`] the
    /// loss takes the sums beneath: the sigmoid is not applied twice.
    BinaryCrossEntropyWithLogits,
    /// `-sum_j t_j log softmax(y)_j` of logits `y`; [`Reduction::Mean`] divides by `batch`. `torch.nn.CrossEntropyLoss`.
    /// Targets are class indices, or probabilities `[batch, outputs]`. Computed as one shifted log-sum-exp.
    /// Under a last layer with [`Activation::Softmax`] the loss takes the sums beneath.
    ///
    /// With class weights `w` and label smoothing `e`, which are asked for when a trainer is built, the targets
    /// are `w_j ((1 - e) t_j + e / outputs)`, and for class indices the mean divides by the sum of the weights of
    /// the batch's classes.
    SoftmaxCrossEntropy,
}

/// How the losses of the rows become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean, over what [`Loss`] says. With sample weights the weighted sum is divided by the sum of the
    /// weights (times the outputs, for a loss whose mean is over them too); 0 if all weights are 0.
    #[default]
    Mean,
    /// Their weighted sum.
    Sum,
}

impl Loss {
    /// What the last layer's activation is while this loss is trained: a loss that takes logits takes those
    /// beneath the function that it holds itself.
    pub(crate) fn output_activation(self, activation: Activation) -> Activation {
        match (self, activation) {
            (Self::SoftmaxCrossEntropy, Activation::Softmax)
            | (Self::BinaryCrossEntropyWithLogits, Activation::Sigmoid) => Activation::Identity,
            _ => activation,
        }
    }

    /// The setting that is out of range, if one is.
    pub(crate) fn check<T: Sealed>(self) -> Result<(), Error> {
        match self {
            Self::Huber(delta) if !(T::from_f64(delta) > T::ZERO && T::holds(delta)) => {
                Err(Error::Setting { what: "the delta of a Huber loss", value: delta })
            }
            _ => Ok(()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::MeanSquaredError => "the mean squared error",
            Self::MeanAbsoluteError => "the mean absolute error",
            Self::Huber(_) => "the Huber loss",
            Self::BinaryCrossEntropyWithLogits => "the binary cross-entropy",
            Self::SoftmaxCrossEntropy => "the cross-entropy",
        }
    }

    /// Refuses targets and weights that do not fit the loss or the batch.
    pub(crate) fn check_targets<T: Sealed>(
        self,
        targets: Targets<'_, T>,
        weights: Option<&[T]>,
        (batch, outputs): (usize, usize),
    ) -> Result<(), Error> {
        match targets {
            Targets::Values(values) => check_length("targets", batch * outputs, values.len())?,
            Targets::Classes(_) if self != Self::SoftmaxCrossEntropy => {
                return Err(Error::Targets { loss: self.name() });
            }
            Targets::Classes(classes) => {
                check_length("class targets", batch, classes.len())?;
                if let Some(row) = classes.iter().position(|&class| class as usize >= outputs) {
                    return Err(Error::Class { row, class: classes[row], classes: outputs });
                }
            }
        }
        let Some(weights) = weights else { return Ok(()) };
        check_length("sample weights", batch, weights.len())?;
        match weights.iter().map(|weight| weight.to_f64()).find(|&weight| !is_weight(weight)) {
            Some(value) => Err(Error::Setting { what: "a sample weight", value }),
            None => Ok(()),
        }
    }

    /// Whether the loss of a row is the sum of those of its elements.
    pub(crate) fn is_by_element(self) -> bool {
        self != Self::SoftmaxCrossEntropy
    }

    /// What the weighted sum of the losses is multiplied by.
    pub(crate) fn scale<T: Sealed>(
        self,
        reduction: Reduction,
        (targets, weights): (Targets<'_, T>, Option<&[T]>),
        classes: &Classes<T>,
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

fn is_weight(weight: f64) -> bool {
    weight >= 0.0 && weight.is_finite()
}

/// What cross-entropy is told about classes.
#[derive(Clone, Debug)]
pub struct Classes<T: Sealed> {
    smoothing: f64,
    /// One for each output, 0 in the padding of the last line.
    lines: Vec<T::Line>,
    sum: f64,
    /// Whether any weight is not 1.
    weighted: bool,
}

impl<T: Sealed> Classes<T> {
    /// # Errors
    /// [`Error::Length`] or [`Error::Setting`] for weights that do not fit or are negative or not finite, and for
    /// a smoothing outside 0 to 1; [`Error::Unused`] for a loss that has no classes.
    pub(crate) fn new(
        loss: Loss,
        outputs: usize,
        weights: Option<&[f64]>,
        smoothing: f64,
    ) -> Result<Self, Error> {
        if loss != Loss::SoftmaxCrossEntropy && (weights.is_some() || smoothing != 0.0) {
            let what = if weights.is_some() { "class weights" } else { "label smoothing" };
            return Err(Error::Unused { what, by: loss.name() });
        }
        if !(0.0..=1.0).contains(&smoothing) {
            return Err(Error::Setting { what: "the label smoothing", value: smoothing });
        }
        let ones = vec![1.0; outputs];
        let all = weights.unwrap_or(&ones);
        check_length("class weights", outputs, all.len())?;
        if let Some(&value) = all.iter().find(|&&weight| !is_weight(weight) || !T::holds(weight)) {
            return Err(Error::Setting { what: "a class weight", value });
        }
        let mut lines = vec![T::Line::ZERO; panels::<T>(outputs)];
        for (line, weights) in lines.iter_mut().zip(all.chunks(T::LANES)) {
            for (to, &weight) in line.as_mut_slice().iter_mut().zip(weights) {
                *to = T::from_f64(weight);
            }
        }
        Ok(Self { smoothing, lines, sum: all.iter().sum(), weighted: weights.is_some() })
    }

    #[inline(always)]
    fn weight(&self, class: u32) -> f64 {
        let class = class as usize;
        self.lines[class / T::LANES].as_slice()[class % T::LANES].to_f64()
    }
}

/// A loss over some rows, with what it compares them with.
#[derive(Clone, Copy)]
pub struct Objective<'a, T> {
    pub(crate) loss: Loss,
    /// What the weighted sum of the rows' losses is multiplied by.
    pub(crate) scale: f64,
    pub(crate) targets: Targets<'a, T>,
    /// One for each row; all 1 if there are none.
    pub(crate) weights: Option<&'a [T]>,
}

impl<T: Sealed> Objective<'_, T> {
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
    fn weight(&self, row: usize) -> f64 {
        self.weights.map_or(1.0, |weights| weights[row].to_f64())
    }
}

/// The targets of a batch. Made from slices, arrays and vectors by `into()`.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, T> {
    /// Values, row-major `[batch, outputs]`.
    Values(&'a [T]),
    /// Class indices, `[batch]`, each below the number of outputs.
    Classes(&'a [u32]),
}

impl<'a, T> Targets<'a, T> {
    /// The targets of some rows.
    pub(crate) fn rows(self, rows: Range<usize>, outputs: usize) -> Self {
        match self {
            Self::Values(values) => Self::Values(&values[rows.start * outputs..rows.end * outputs]),
            Self::Classes(classes) => Self::Classes(&classes[rows]),
        }
    }
}

impl<'a, T: Element> From<&'a [T]> for Targets<'a, T> {
    fn from(values: &'a [T]) -> Self {
        Self::Values(values)
    }
}
impl<'a, T: Element> From<&'a Vec<T>> for Targets<'a, T> {
    fn from(values: &'a Vec<T>) -> Self {
        Self::Values(values)
    }
}
impl<'a, T: Element, const N: usize> From<&'a [T; N]> for Targets<'a, T> {
    fn from(values: &'a [T; N]) -> Self {
        Self::Values(values)
    }
}
impl<'a, T: Element> From<&'a [u32]> for Targets<'a, T> {
    fn from(classes: &'a [u32]) -> Self {
        Self::Classes(classes)
    }
}
impl<'a, T: Element> From<&'a Vec<u32>> for Targets<'a, T> {
    fn from(classes: &'a Vec<u32>) -> Self {
        Self::Classes(classes)
    }
}
impl<'a, T: Element, const N: usize> From<&'a [u32; N]> for Targets<'a, T> {
    fn from(classes: &'a [u32; N]) -> Self {
        Self::Classes(classes)
    }
}

/// The loss of each row, times its weight, and the gradient of the rows' sum with respect to the network's outputs, times
/// the scale too.
///
/// Overwrites `d` `[B, O]` and `losses` `[B]`; padding lanes become 0. `y` are the outputs, or logits.
#[inline(always)]
pub(crate) fn evaluate<L: Lanes>(
    l: L,
    (d, losses): (PanelsMut<'_, L::Element>, &mut [f64]),
    y: Panels<'_, L::Element>,
    objective: &Objective<'_, L::Element>,
    classes: &Classes<L::Element>,
) {
    let to = (d, losses);
    match (objective.targets, objective.loss) {
        (Targets::Classes(targets), _) => classification(l, to, y, targets, (objective, classes)),
        (Targets::Values(targets), Loss::SoftmaxCrossEntropy) => {
            cross_entropy(l, to, y, targets, (objective, classes));
        }
        (Targets::Values(targets), _) => by_element(l, to, y, targets, objective),
    }
}

/// [`evaluate`] of a loss that is a sum over elements.
#[inline(always)]
fn by_element<L: Lanes>(
    l: L,
    (mut d, losses): (PanelsMut<'_, L::Element>, &mut [f64]),
    y: Panels<'_, L::Element>,
    targets: &[L::Element],
    objective: &Objective<'_, L::Element>,
) {
    let (cols, lanes) = (y.cols, L::Element::LANES);
    losses.fill(0.0);
    for p in 0..y.panels() {
        let (start, width) = (p * lanes, lanes.min(cols - p * lanes));
        let (mask, has_next) = (l.first(width), p + 1 < y.panels());
        for (r, ((d, y), loss)) in d.panel(p).iter_mut().zip(y.panel(p)).zip(&mut *losses).enumerate() {
            let t = &targets[r * cols + start..][..width];
            if has_next {
                // The next panel's. Lines of successive rows lie a whole row apart, too far for a processor to foresee.
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

/// [`evaluate`] of rows in quads, for a loss that is a sum over elements, without weights; the loss of all of them. Other
/// lanes of `d` are garbage.
#[inline(always)]
pub(crate) fn evaluate_quads<L: Lanes>(
    l: L,
    d: &mut [LineOf<L>],
    y: &[LineOf<L>],
    objective: &Objective<'_, L::Element>,
    (rows, cols): (usize, usize),
) -> f64 {
    let Targets::Values(targets) = objective.targets else {
        unreachable!("losses by element take no class targets")
    };
    let per_line = const { L::Element::LANES / QUAD };
    let scale = l.constant(objective.scale);
    let mut values = LineOf::<L>::ZERO;
    let mut sum = 0.0;
    for (i, (d, y)) in d.iter_mut().zip(y).enumerate() {
        let rows = per_line.min(rows - i * per_line);
        let t = l.load_rows(&targets[i * per_line * cols..], (rows, cols));
        let (value, slope) = loss_and_slope(l, objective.loss, l.load(y), t);
        l.store(d, l.flushed(l.mul(scale, slope)));
        l.store(&mut values, value);
        // In the order of `Lanes::sum_f64`, whose other lanes are 0.
        for row in values.as_slice().chunks_exact(QUAD).take(rows) {
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
        Loss::Huber(delta) => {
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

/// `sum_j q_j (log sum_k exp(y_k - max y) - (y_j - max y))`, gradient `scale (softmax(y) sum q - q)`, of the smoothed
/// and weighted targets `q`: all logits are shifted, so that large ones lose no digits of the loss.
#[inline(always)]
fn cross_entropy<L: Lanes>(
    l: L,
    (d, losses): (PanelsMut<'_, L::Element>, &mut [f64]),
    y: Panels<'_, L::Element>,
    targets: &[L::Element],
    (objective, classes): (&Objective<'_, L::Element>, &Classes<L::Element>),
) {
    let lanes = L::Element::LANES;
    let (sharp, share) = (l.constant(1.0 - classes.smoothing), l.constant(classes.smoothing / y.cols as f64));
    for (r, (targets, loss)) in targets.chunks_exact(y.cols).zip(losses).enumerate() {
        let row = Row::of(r, y);
        let max = row.max(l, y.lines);
        let sum = row.exp(l, d.lines, y.lines, max);
        let mut total = 0.0;
        for (targets, weights) in targets.chunks(lanes).zip(&classes.lines) {
            total += l.sum_f64(smoothed(l, targets, weights, (sharp, share)));
        }
        let weight = objective.weight(r);
        let scale = l.constant(objective.scale * weight);
        let factor = l.constant(total / sum.to_f64());
        let mut along = 0.0;
        for ((i, targets), weights) in row.lines().zip(targets.chunks(lanes)).zip(&classes.lines) {
            let t = smoothed(l, targets, weights, (sharp, share));
            // Where a target is 0 an infinite logit is no loss.
            let y = l.select(l.eq(t, l.zero()), l.zero(), l.sub(l.load(&y.lines[i]), max));
            along += l.sum_f64(l.mul(t, y));
            let gradient = l.sub(l.mul(l.load(&d.lines[i]), factor), t);
            l.store(&mut d.lines[i], l.flushed(l.mul(scale, gradient)));
        }
        *loss = weight * (total * ln(sum.to_f64()) - along);
    }
}

/// `weights ((1 - smoothing) targets + smoothing / outputs)`; 0 past the last output, whose weight is 0.
#[inline(always)]
fn smoothed<L: Lanes>(
    l: L,
    targets: &[L::Element],
    weights: &<L::Element as Sealed>::Line,
    (sharp, share): (L::Vector, L::Vector),
) -> L::Vector {
    l.mul(l.load(weights), l.mul_add(l.load_slice(targets), sharp, share))
}

/// [`cross_entropy`] where one target of each row is 1 and the others 0.
#[inline(always)]
fn classification<L: Lanes>(
    l: L,
    (d, losses): (PanelsMut<'_, L::Element>, &mut [f64]),
    y: Panels<'_, L::Element>,
    targets: &[u32],
    (objective, classes): (&Objective<'_, L::Element>, &Classes<L::Element>),
) {
    let lanes = L::Element::LANES;
    let share = classes.smoothing / y.cols as f64;
    for (r, (&class, loss)) in targets.iter().zip(losses).enumerate() {
        let row = Row::of(r, y);
        let max = row.max(l, y.lines);
        let sum = row.exp(l, d.lines, y.lines, max);
        let highest = l.max_lane(max).to_f64();
        let peak = (1.0 - classes.smoothing) * classes.weight(class);
        let total = peak + share * classes.sum;
        let weight = objective.weight(r);
        let scale = objective.scale * weight;
        let factor = l.constant(scale * total / sum.to_f64());
        let mut along = 0.0;
        for (i, weights) in row.lines().zip(&classes.lines) {
            let softmax = l.flushed(l.mul(l.load(&d.lines[i]), factor));
            if share == 0.0 {
                l.store(&mut d.lines[i], softmax);
            } else {
                let t = l.mul(l.load(weights), l.constant(share));
                let y = l.select(l.eq(t, l.zero()), l.zero(), l.sub(l.load(&y.lines[i]), max));
                along += l.sum_f64(l.mul(t, y));
                l.store(&mut d.lines[i], l.flushed(l.neg_mul_add(l.constant(scale), t, softmax)));
            }
        }
        let (panel, lane) = (class as usize / lanes, class as usize % lanes);
        let line = r + panel * y.rows;
        let logit = y.lines[line].as_slice()[lane].to_f64();
        let gradient = &mut d.lines[line].as_mut_slice()[lane];
        *gradient = L::Element::from_f64(gradient.to_f64() - scale * peak).flushed();
        // A class of weight 0 may have an infinite logit.
        let at_class = if peak == 0.0 { 0.0 } else { peak * (logit - highest) };
        *loss = weight * (total * ln(sum.to_f64()) - at_class - along);
    }
}
