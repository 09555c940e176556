//! Losses over a batch and their gradients.

use crate::{ClassLabels, Loss, Reduction, Targets};

/// A loss, how the losses of a batch become one, and the weights of classes. The weights of rows and elements
/// are part of the targets.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::Objective;
/// use fuseprop::{Loss, Reduction};
///
/// let objective = Objective::new(Loss::SoftmaxCrossEntropy, Reduction::Mean);
/// let objective = objective.class_weights(&[1.0, 3.0]).label_smoothing(0.1);
/// assert_eq!(objective.label_smoothing, 0.1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Objective<'a> {
    /// Of each row.
    pub loss: Loss,
    /// Of all rows.
    pub reduction: Reduction,
    /// One for each class, `[O]`, for `SoftmaxCrossEntropy`; all 1 if there are none.
    pub class_weights: Option<&'a [f64]>,
    /// The fraction of each target that is spread over the classes, for `SoftmaxCrossEntropy`; 0 by default.
    pub label_smoothing: f64,
    /// The weight of each output's positive class, `[O]`, for `BinaryCrossEntropyWithLogits`; all 1 if there
    /// are none.
    pub pos_weight: Option<&'a [f64]>,
}

impl<'a> Objective<'a> {
    /// An objective without class weights and label smoothing.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::reference::Objective;
    /// use fuseprop::{Loss, Reduction};
    ///
    /// let objective = Objective::new(Loss::MeanSquaredError, Reduction::Sum);
    /// assert_eq!((objective.class_weights, objective.label_smoothing), (None, 0.0));
    /// ```
    #[must_use]
    pub fn new(loss: Loss, reduction: Reduction) -> Self {
        Self { loss, reduction, class_weights: None, label_smoothing: 0.0, pos_weight: None }
    }

    /// Class weights, `[O]`.
    ///
    /// # Examples
    ///
    /// See [`Objective`].
    #[must_use]
    pub fn class_weights(self, weights: &'a [f64]) -> Self {
        Self { class_weights: Some(weights), ..self }
    }

    /// The fraction of each target that is spread over the classes.
    ///
    /// # Examples
    ///
    /// See [`Objective`].
    #[must_use]
    pub fn label_smoothing(self, fraction: f64) -> Self {
        Self { label_smoothing: fraction, ..self }
    }

    /// Weights of the positive classes, `[O]`.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::reference::{Objective, loss};
    /// use fuseprop::{Loss, Reduction, Targets};
    ///
    /// let objective = Objective::new(Loss::BinaryCrossEntropyWithLogits, Reduction::Sum).pos_weight(&[3.0]);
    /// let (value, d_y) = loss(objective, &[0.0], Targets::from(&[1.0]), 1);
    /// assert_eq!((value, d_y), (3.0 * 2.0_f64.ln(), vec![-1.5]));
    /// ```
    #[must_use]
    pub fn pos_weight(self, weights: &'a [f64]) -> Self {
        Self { pos_weight: Some(weights), ..self }
    }

    fn class_weight(&self, class: usize) -> f64 {
        self.class_weights.map_or(1.0, |weights| weights[class])
    }
}

/// A loss over a batch, and its gradient with respect to the outputs `y`.
///
/// `y` and the gradient are `[B, O]`, with `O = outputs`; targets are values `[B, O]` or classes `[B]`.
///
/// ```text
/// MeanSquaredError              L = sum (y - t)^2                      d_y = 2 (y - t)        mean: / (B O)
/// MeanAbsoluteError             L = sum |y - t|                        d_y = sign(y - t)      mean: / (B O)
/// Huber                         L = sum (y - t)^2 / 2 near,            d_y = y - t near,
///                                   delta (|y - t| - delta / 2) far    delta sign(y - t) far  mean: / (B O)
/// Quantile                      L = sum q (t - y) below t,             d_y = -q below,
///                                   (1 - q) (y - t) above              1 - q above            mean: / (B O)
/// Hinge                         L = sum max(1 - t y, 0)                d_y = -t if t y < 1    mean: / (B O)
/// PoissonNll                    L = sum e^y - t y                      d_y = e^y - t          mean: / (B O)
/// GaussianNll                   L = sum (log v + (m - t)^2 / v) / 2                      mean: / (B O / 2)
///                               d_m = (m - t) / v, d_s = e^s (1 / v - (m - t)^2 / v^2) / 2,
///                               where y = [m, s] and v = max(e^s, epsilon); t is [B, O / 2]
/// BinaryCrossEntropyWithLogits  L = sum log(1 + e^z) - t z             d_z = sigmoid(z) - t   mean: / (B O)
///                               with weights p: L = sum (1 - t) z + (1 + (p - 1) t) log(1 + e^-z)
/// SoftmaxCrossEntropy           L = -sum t log softmax(z), z = y                              mean: / B
///                               d_z = softmax(z) sum_j t_j - t
/// KullbackLeibler               L = sum t (log t - log softmax(z))     the same d_z           mean: / B
/// ```
///
/// A class is the target that is 1 at its index and 0 elsewhere. Targets given as probabilities need not sum
/// to 1.
///
/// Each row's loss is multiplied by the weight `s` of the targets, each element's by its mask `m`, and
/// cross-entropy's targets become `w_j ((1 - smoothing) t_j + smoothing / O)`. A row or an element of weight
/// 0 is not read, nor is a row whose class weighs 0 without smoothing. A mean divides by `O sum s`, with a
/// mask by `sum s m`, for cross-entropy by `sum s`, or by `sum s w_class` where targets are classes.
///
/// # Panics
/// If a length does not match its shape, a class is not below `outputs`, or classes meet another loss than
/// `SoftmaxCrossEntropy`.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::{Objective, loss};
/// use fuseprop::{Loss, Reduction, Targets};
///
/// let squared = Objective::new(Loss::MeanSquaredError, Reduction::Mean);
/// let (value, d_y) = loss(squared, &[1.0, 3.0], Targets::from(&[0.0, 1.0]), 2);
/// assert_eq!((value, d_y), (2.5, vec![1.0, 2.0]));
/// ```
#[must_use]
pub fn loss(
    objective: Objective<'_>,
    y: &[f64],
    targets: Targets<'_, f64>,
    outputs: usize,
) -> (f64, Vec<f64>) {
    assert_eq!(y.len() % outputs, 0, "y is [batch, outputs]");
    let batch = y.len() / outputs;
    let columns = target_columns(objective, outputs);
    let (mut sum, mut terms, mut gradient) = (0.0, 0.0, Vec::new());
    for (row, y) in y.chunks_exact(outputs).enumerate() {
        if !is_read(objective, &targets, row, outputs) {
            gradient.extend(vec![0.0; outputs]);
            continue;
        }
        let sample = targets.row_weights().map_or(1.0, |samples| samples[row]);
        let (t, of_class) = match targets.labels() {
            None => (values_of(&targets, row, batch * columns, columns), 1.0),
            Some(classes) => {
                let Objective { loss, .. } = objective;
                assert!(loss == Loss::SoftmaxCrossEntropy, "{loss:?} compares values, not classes");
                assert_eq!(classes.len(), batch, "target classes are [batch]");
                let class = class_of(classes, row, outputs);
                ((0..outputs).map(|j| f64::from(j == class)).collect(), objective.class_weight(class))
            }
        };
        let of_row = match objective.loss {
            Loss::SoftmaxCrossEntropy => {
                terms += sample * of_class;
                cross_entropy(y, &smoothed(objective, &t))
            }
            Loss::KullbackLeibler => {
                terms += sample;
                let (value, d_y) = cross_entropy(y, &t);
                (value + t.iter().map(|&t| if t == 0.0 { 0.0 } else { t * t.ln() }).sum::<f64>(), d_y)
            }
            _ => {
                let mask = match targets.element_mask() {
                    Some(mask) => mask[row * columns..][..columns].to_vec(),
                    None => vec![1.0; columns],
                };
                terms += sample * mask.iter().sum::<f64>();
                elements(objective, y, &t, &mask)
            }
        };
        let (value, d_y): (f64, Vec<f64>) = of_row;
        sum += sample * value;
        gradient.extend(d_y.iter().map(|d| sample * d));
    }
    let scale = match objective.reduction {
        Reduction::Sum => 1.0,
        Reduction::Mean if terms == 0.0 => 0.0,
        Reduction::Mean => 1.0 / terms,
    };
    for d in &mut gradient {
        *d *= scale;
    }
    (sum * scale, gradient)
}

/// The number of target values of a row: one for each output, or for each pair of them.
fn target_columns(objective: Objective<'_>, outputs: usize) -> usize {
    match objective.loss {
        Loss::GaussianNll { .. } => outputs / 2,
        _ => outputs,
    }
}

/// A row's loss and gradient, of a loss that is a sum over targets.
fn elements(objective: Objective<'_>, y: &[f64], t: &[f64], mask: &[f64]) -> (f64, Vec<f64>) {
    let (mut sum, mut gradient) = (0.0, vec![0.0; y.len()]);
    for (j, (&t, &weight)) in t.iter().zip(mask).enumerate() {
        if weight == 0.0 {
            continue;
        }
        let (value, slope) = match (objective.loss, objective.pos_weight) {
            (Loss::GaussianNll { epsilon }, _) => {
                let (value, d_mean, d_logarithm) = normal(y[j], y[mask.len() + j], t, epsilon);
                gradient[mask.len() + j] = weight * d_logarithm;
                (value, d_mean)
            }
            (Loss::BinaryCrossEntropyWithLogits, Some(weights)) => weighted_binary(weights[j], y[j], t),
            (loss, _) => element_loss(loss, y[j], t),
        };
        sum += weight * value;
        gradient[j] = weight * slope;
    }
    (sum, gradient)
}

/// The loss of a mean `m` and the logarithm `s` of a variance, and its slopes.
fn normal(m: f64, s: f64, t: f64, epsilon: f64) -> (f64, f64, f64) {
    let (v, log_v, share) =
        if s.exp() < epsilon { (epsilon, epsilon.ln(), s.exp() / epsilon) } else { (s.exp(), s, 1.0) };
    let square = (m - t).powi(2);
    (0.5 * (log_v + square / v), (m - t) / v, 0.5 * share * (1.0 - square / v))
}

/// `-(p t log sigmoid(y) + (1 - t) log(1 - sigmoid(y)))`, and its slope.
fn weighted_binary(p: f64, y: f64, t: f64) -> (f64, f64) {
    let weight = 1.0 + (p - 1.0) * t;
    let softplus = (-y).max(0.0) + (-y.abs()).exp().ln_1p();
    ((1.0 - t) * y + weight * softplus, weight / (1.0 + (-y).exp()) - p * t)
}

/// The target class of a row.
fn class_of(labels: ClassLabels<'_>, row: usize, outputs: usize) -> usize {
    let class = labels.get(row).map(|class| class as usize).filter(|&class| class < outputs);
    class.unwrap_or_else(|| panic!("row {row} has no class of {outputs}"))
}

/// The target values of a row.
fn values_of(targets: &Targets<'_, f64>, row: usize, count: usize, outputs: usize) -> Vec<f64> {
    let t = targets.values().unwrap_or_default();
    assert_eq!(t.len(), count, "target values are [batch, outputs], or half as many for pairs of outputs");
    t[row * outputs..][..outputs].to_vec()
}

/// `w_j ((1 - smoothing) t_j + smoothing / O)`; 0 of a class of weight 0, whatever its target.
fn smoothed(objective: Objective<'_>, t: &[f64]) -> Vec<f64> {
    let e = objective.label_smoothing;
    let smoothed = |j: usize| match objective.class_weight(j) {
        0.0 => 0.0,
        weight => weight * ((1.0 - e) * t[j] + e / t.len() as f64),
    };
    (0..t.len()).map(smoothed).collect()
}

/// Whether a row weighs anything: by itself, by any of its elements, and by its class. Label smoothing gives
/// a row weight from all classes.
fn is_read(objective: Objective<'_>, targets: &Targets<'_, f64>, row: usize, outputs: usize) -> bool {
    if targets.row_weights().is_some_and(|weights| weights[row] == 0.0) {
        return false;
    }
    let columns = target_columns(objective, outputs);
    if targets.element_mask().is_some_and(|mask| mask[row * columns..][..columns].iter().all(|&m| m == 0.0)) {
        return false;
    }
    match (targets.labels(), objective.class_weights) {
        (Some(of_rows), Some(weights)) if objective.label_smoothing == 0.0 => {
            weights[class_of(of_rows, row, outputs)] != 0.0
        }
        _ => true,
    }
}

/// The rows of `x` `[B, I]`, with 0 in rows of weight 0, which are not read.
pub(super) fn read_rows(
    objective: Objective<'_>,
    x: &[f64],
    targets: &Targets<'_, f64>,
    batch: usize,
    outputs: usize,
) -> Vec<f64> {
    let rows = x.chunks_exact(x.len() / batch).enumerate();
    let read = |(row, x): (usize, &[f64])| match is_read(objective, targets, row, outputs) {
        true => x.to_vec(),
        false => vec![0.0; x.len()],
    };
    rows.flat_map(read).collect()
}

/// One element's loss and slope, of a loss that is a sum over elements.
fn element_loss(loss: Loss, y: f64, t: f64) -> (f64, f64) {
    let difference = y - t;
    match loss {
        Loss::MeanSquaredError => (difference * difference, 2.0 * difference),
        Loss::MeanAbsoluteError if difference == 0.0 => (0.0, 0.0),
        Loss::MeanAbsoluteError => (difference.abs(), difference.signum()),
        Loss::Huber { delta } if difference.abs() <= delta => (0.5 * difference * difference, difference),
        Loss::Huber { delta } => (delta * (difference.abs() - 0.5 * delta), delta * difference.signum()),
        Loss::BinaryCrossEntropyWithLogits => {
            (y.max(0.0) - t * y + (-y.abs()).exp().ln_1p(), 1.0 / (1.0 + (-y).exp()) - t)
        }
        Loss::Quantile { .. } if difference == 0.0 => (0.0, 0.0),
        Loss::Quantile { quantile } if difference < 0.0 => (-quantile * difference, -quantile),
        Loss::Quantile { quantile } => {
            ((1.0 - quantile) * difference, if difference.is_nan() { difference } else { 1.0 - quantile })
        }
        Loss::Hinge if 1.0 - t * y <= 0.0 => (0.0, 0.0),
        Loss::Hinge => (1.0 - t * y, if (t * y).is_nan() { t * y } else { -t }),
        Loss::PoissonNll => (y.exp() - t * y, y.exp() - t),
        Loss::GaussianNll { .. } => unreachable!("of pairs of outputs"),
        Loss::KullbackLeibler | Loss::SoftmaxCrossEntropy => unreachable!("a sum over rows"),
    }
}

/// One row's cross entropy, and `d_z`. `z`, `t` and `d_z` are `[O]`.
fn cross_entropy(z: &[f64], t: &[f64]) -> (f64, Vec<f64>) {
    let log_y = log_softmax(z);
    let total: f64 = t.iter().sum();
    // A target of 0 is no loss even where a probability is 0.
    let value = -t.iter().zip(&log_y).map(|(&t, log_y)| if t == 0.0 { 0.0 } else { t * log_y }).sum::<f64>();
    (value, log_y.iter().zip(t).map(|(log_y, t)| log_y.exp() * total - t).collect())
}

/// `log softmax(z)_i = z_i - m - log sum_j exp(z_j - m)` with `m = max_j z_j`. Both are `[O]`.
fn log_softmax(z: &[f64]) -> Vec<f64> {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = z.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
    z.iter().map(|z| z - max - log_sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Activation;
    use crate::reference::activate;
    use crate::reference::network::tests::{BATCH, CLASSES, uniform};

    #[test]
    fn a_class_is_the_target_that_is_one_at_its_index() {
        let logits = uniform(61, BATCH * 3);
        let mut t = [0.0; BATCH * 3];
        for (row, &class) in CLASSES.iter().enumerate() {
            t[row * 3 + class as usize] = 1.0;
        }
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let of =
                |targets| loss(Objective::new(Loss::SoftmaxCrossEntropy, reduction), &logits, targets, 3);
            assert_eq!(of(Targets::from(&CLASSES)), of(Targets::from(&t)));
        }
    }

    #[test]
    fn means_divide_the_squared_error_by_its_elements_and_the_cross_entropy_by_its_rows() {
        let y = [1.0, 2.0, 3.0, 4.0];
        let t = [0.0, 2.0, 5.0, 3.0];
        let squared =
            |reduction| loss(Objective::new(Loss::MeanSquaredError, reduction), &y, Targets::from(&t), 2);
        assert_eq!(squared(Reduction::Sum), (6.0, vec![2.0, 0.0, -4.0, 2.0]));
        assert_eq!(squared(Reduction::Mean), (1.5, vec![0.5, 0.0, -1.0, 0.5]));
        let cross = |reduction| {
            loss(Objective::new(Loss::SoftmaxCrossEntropy, reduction), &[0.0; 4], Targets::from(&[0, 1]), 2).0
        };
        assert!((cross(Reduction::Sum) - 2.0 * 2.0_f64.ln()).abs() < 1e-15);
        assert!((cross(Reduction::Mean) - 2.0_f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert_eq!(activate(Activation::Softmax, &[1000.0, 0.0]), [1.0, 0.0]);
        let of = |class| {
            let objective = Objective::new(Loss::SoftmaxCrossEntropy, Reduction::Sum);
            loss(objective, &[1000.0, 0.0], Targets::from(&[class]), 2)
        };
        assert_eq!(of(0), (0.0, vec![0.0, 0.0]));
        assert_eq!(of(1), (1000.0, vec![1.0, -1.0]));
    }

    #[test]
    fn a_class_of_weight_0_takes_its_rows_with_it_unless_targets_are_smoothed() {
        let objective = Objective::new(Loss::SoftmaxCrossEntropy, Reduction::Mean);
        let objective = objective.class_weights(&[1.0, 0.0]);
        let (y, targets) = ([0.0, 0.0, f64::NAN, f64::NAN], Targets::from(&[0, 1]));
        let (value, d_y) = loss(objective, &y, targets, 2);
        assert_eq!((value, d_y), (2.0_f64.ln(), vec![-0.5, 0.5, 0.0, 0.0]));
        assert!(loss(objective.label_smoothing(0.1), &y, targets, 2).0.is_nan());
        assert_eq!(read_rows(objective, &[1.0, f64::NAN], &targets, 2, 2), [1.0, 0.0]);
        // Of probabilities it is the class that is not read, not the row.
        let targets = [1.0, f64::NAN];
        assert_eq!(loss(objective, &y[..2], Targets::from(&targets), 2), (2.0_f64.ln(), vec![-0.5, 0.5]));
    }
}
