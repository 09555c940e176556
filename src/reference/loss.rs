//! Losses over a batch and their gradients.

use crate::{Loss, Reduction, Targets};

/// A loss over a batch, and its gradient with respect to `outputs`.
///
/// `outputs` and the gradient are `[B, O]`, with `O = n_outputs`; targets are values `[B, O]` or classes
/// `[B]`.
///
/// ```text
/// MeanSquaredError              L = sum (y - t)^2                      d_y = 2 (y - t)        mean: / (B O)
/// MeanAbsoluteError             L = sum |y - t|                        d_y = sign(y - t)      mean: / (B O)
/// Huber                         L = sum (y - t)^2 / 2 near,            d_y = y - t near,
///                                   delta (|y - t| - delta / 2) far    delta sign(y - t) far  mean: / (B O)
/// BinaryCrossEntropyWithLogits  L = sum log(1 + e^z) - t z             d_z = sigmoid(z) - t   mean: / (B O)
/// SoftmaxCrossEntropy           L = -sum t log softmax(z), z = outputs                        mean: / B
///                               d_z = softmax(z) sum_j t_j - t
/// ```
///
/// A class is the target that is 1 at its index and 0 elsewhere. Targets given as probabilities need not sum
/// to 1.
///
/// # Panics
/// If a length does not match its shape, a class is not below `n_outputs`, or classes meet another loss than
/// `SoftmaxCrossEntropy`.
#[must_use]
pub fn loss(
    loss: Loss,
    reduction: Reduction,
    outputs: &[f64],
    targets: Targets<'_, f64>,
    n_outputs: usize,
) -> (f64, Vec<f64>) {
    weighted_loss(Objective::new(loss, reduction), outputs, targets, n_outputs)
}

/// A loss, how those of a batch become one, and what each is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective<'a> {
    /// Of each row.
    pub loss: Loss,
    /// Of all rows.
    pub reduction: Reduction,
    /// All 1 by default.
    pub weights: Weights<'a>,
}

impl Objective<'_> {
    /// Without weights.
    #[must_use]
    pub fn new(loss: Loss, reduction: Reduction) -> Self {
        Self { loss, reduction, weights: Weights::default() }
    }
}

/// The weights of classes. Those of rows and elements are part of the targets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weights<'a> {
    /// One for each class, `[O]`, for `SoftmaxCrossEntropy`; all 1 if there are none.
    pub classes: Option<&'a [f64]>,
    /// The share of each target that is spread over the classes, for `SoftmaxCrossEntropy`.
    pub label_smoothing: f64,
}

/// [`loss`] with weights: each row's loss is multiplied by the weight `s` of the targets, each element's by
/// its mask `m`, and cross-entropy's targets become `w_j ((1 - smoothing) t_j + smoothing / O)`. A row or an
/// element of weight 0 is not read.
///
/// A mean divides by `O sum s`, with a mask by `sum s m`, for cross-entropy by `sum s`, or by `sum s w_class`
/// where targets are classes.
///
/// # Panics
/// As [`loss`].
#[must_use]
pub fn weighted_loss(
    objective: Objective<'_>,
    outputs: &[f64],
    targets: Targets<'_, f64>,
    n_outputs: usize,
) -> (f64, Vec<f64>) {
    let Objective { loss, reduction, weights } = objective;
    assert_eq!(outputs.len() % n_outputs, 0, "outputs are [batch, n_outputs]");
    let batch = outputs.len() / n_outputs;
    let (mut sum, mut terms, mut d_outputs) = (0.0, 0.0, Vec::new());
    for (row, y) in outputs.chunks_exact(n_outputs).enumerate() {
        let sample = targets.row_weights().map_or(1.0, |samples| samples[row]);
        if sample == 0.0 {
            d_outputs.extend(vec![0.0; n_outputs]);
            continue;
        }
        let class_weight = |j: usize| weights.classes.map_or(1.0, |classes| classes[j]);
        let (t, of_mean) = match targets.classes() {
            None => (values_of(&targets, row, outputs.len(), n_outputs), 1.0),
            Some(classes) => {
                assert!(loss == Loss::SoftmaxCrossEntropy, "{loss:?} compares values, not classes");
                assert_eq!(classes.len(), batch, "target classes are [batch]");
                let class = classes[row] as usize;
                assert!(class < n_outputs, "class {class} of {n_outputs}");
                ((0..n_outputs).map(|j| f64::from(j == class)).collect(), class_weight(class))
            }
        };
        let (value, d_y) = if loss == Loss::SoftmaxCrossEntropy {
            let e = weights.label_smoothing;
            let smoothed = |j: usize| class_weight(j) * ((1.0 - e) * t[j] + e / n_outputs as f64);
            terms += sample * of_mean;
            cross_entropy(y, &(0..n_outputs).map(smoothed).collect::<Vec<_>>())
        } else {
            let mask = targets
                .element_mask()
                .map_or(vec![1.0; n_outputs], |mask| mask[row * n_outputs..][..n_outputs].to_vec());
            terms += sample * mask.iter().sum::<f64>();
            let element = |j: usize| match mask[j] {
                0.0 => (0.0, 0.0),
                weight => {
                    let (value, slope) = element_loss(loss, y[j], t[j]);
                    (weight * value, weight * slope)
                }
            };
            let each: Vec<_> = (0..n_outputs).map(element).collect();
            (each.iter().map(|each| each.0).sum(), each.iter().map(|each| each.1).collect())
        };
        sum += sample * value;
        d_outputs.extend(d_y.iter().map(|d| sample * d));
    }
    let scale = match reduction {
        Reduction::Sum => 1.0,
        Reduction::Mean if terms == 0.0 => 0.0,
        Reduction::Mean => 1.0 / terms,
    };
    for d in &mut d_outputs {
        *d *= scale;
    }
    (sum * scale, d_outputs)
}

/// The target values of a row.
fn values_of(targets: &Targets<'_, f64>, row: usize, count: usize, n_outputs: usize) -> Vec<f64> {
    let t = targets.values().unwrap_or_default();
    assert_eq!(t.len(), count, "target values are [batch, n_outputs]");
    t[row * n_outputs..][..n_outputs].to_vec()
}

/// The rows of `x` `[B, I]`, with 0 in those of weight 0, which are not read.
pub(super) fn read_rows(x: &[f64], targets: &Targets<'_, f64>, batch: usize, n_outputs: usize) -> Vec<f64> {
    let weighs = |row: usize| {
        targets.row_weights().is_none_or(|weights| weights[row] != 0.0)
            && targets
                .element_mask()
                .is_none_or(|mask| mask[row * n_outputs..][..n_outputs] != vec![0.0; n_outputs])
    };
    let rows = x.chunks_exact(x.len() / batch).enumerate();
    rows.flat_map(|(row, x)| if weighs(row) { x.to_vec() } else { vec![0.0; x.len()] }).collect()
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
        Loss::SoftmaxCrossEntropy => unreachable!("a sum over rows"),
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
            let of = |targets| loss(Loss::SoftmaxCrossEntropy, reduction, &logits, targets, 3);
            assert_eq!(of(Targets::from(&CLASSES)), of(Targets::from(&t)));
        }
    }

    #[test]
    fn means_divide_the_squared_error_by_its_elements_and_the_cross_entropy_by_its_rows() {
        let y = [1.0, 2.0, 3.0, 4.0];
        let t = [0.0, 2.0, 5.0, 3.0];
        let squared = |reduction| loss(Loss::MeanSquaredError, reduction, &y, Targets::from(&t), 2);
        assert_eq!(squared(Reduction::Sum), (6.0, vec![2.0, 0.0, -4.0, 2.0]));
        assert_eq!(squared(Reduction::Mean), (1.5, vec![0.5, 0.0, -1.0, 0.5]));
        let cross =
            |reduction| loss(Loss::SoftmaxCrossEntropy, reduction, &[0.0; 4], Targets::from(&[0, 1]), 2).0;
        assert!((cross(Reduction::Sum) - 2.0 * 2.0_f64.ln()).abs() < 1e-15);
        assert!((cross(Reduction::Mean) - 2.0_f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert_eq!(activate(Activation::Softmax, &[1000.0, 0.0]), [1.0, 0.0]);
        let of = |class| {
            loss(Loss::SoftmaxCrossEntropy, Reduction::Sum, &[1000.0, 0.0], Targets::from(&[class]), 2)
        };
        assert_eq!(of(0), (0.0, vec![0.0, 0.0]));
        assert_eq!(of(1), (1000.0, vec![1.0, -1.0]));
    }
}
