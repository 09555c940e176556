//! Accuracy, confusion, distance and explained variance of outputs: measures that are not losses.
//!
//! Outputs `y` are row-major `[batch, outputs]`. A network for two classes may have a single output, a logit:
//! above 0 is class 1, else class 0.
//!
//! # Panics
//!
//! Every function panics, with a sentence, if lengths do not fit each other or a class is not below the
//! number of classes: the outputs, or two of a single output.

use crate::Element;

/// The index of the largest output of a row: the first of equals, and 0 of an empty row. NaN is below every
/// number.
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::argmax;
///
/// assert_eq!(argmax(&[0.1_f32, 0.7, f32::NAN, 0.7]), 1);
/// ```
pub fn argmax<T: Element>(row: &[T]) -> usize {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] || (is_nan(row[best]) && !is_nan(*value)) {
            best = i;
        }
    }
    best
}

/// The share of rows whose predicted class is the target: that of the largest output, or of a single output 1
/// where it is above 0. NaN for no rows.
///
/// # Panics
/// Unless `y` is a whole number of outputs for each class, or if a class is not below the number of classes.
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::accuracy;
///
/// assert_eq!(accuracy(&[0.1_f32, 0.9, 0.8, 0.2], &[1, 1]), 0.5);
/// assert_eq!(accuracy(&[-3.0_f32, 0.5, 2.0], &[0, 1, 0]), 2.0 / 3.0); // logits
/// ```
pub fn accuracy<T: Element>(y: &[T], classes: &[u32]) -> f64 {
    top_k_accuracy(y, classes, 1)
}

/// The share of rows in which fewer than `k` outputs are larger than that of the target class, or equal and
/// before it. With a `k` of 1 it is [`accuracy`]. NaN for no rows.
///
/// # Panics
/// As [`accuracy`].
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::top_k_accuracy;
///
/// assert_eq!(top_k_accuracy(&[0.1_f32, 0.6, 0.3, 0.2, 0.1, 0.7], &[2, 1], 2), 0.5);
/// ```
pub fn top_k_accuracy<T: Element>(y: &[T], classes: &[u32], k: usize) -> f64 {
    let hits = rows(y, classes).filter(|&(row, class)| match row {
        &[logit] => !is_nan(logit) && (k > 1 || k == 1 && predicted(row) == class as usize),
        _ => is_hit(row, class, k),
    });
    hits.count() as f64 / classes.len() as f64
}

/// Whether fewer than `k` outputs of a row are larger than that of its class, or equal and before it.
pub(crate) fn is_hit<T: Element>(row: &[T], class: u32, k: usize) -> bool {
    let class = class as usize;
    let ahead = |i: usize| row[i] > row[class] || (i < class && row[i] == row[class]);
    // A NaN is behind all others.
    !is_nan(row[class]) && (0..row.len()).filter(|&i| ahead(i)).count() < k
}

/// `counts[class][prediction]`: how many rows of each class are predicted to be of each. Of a single output
/// there are two classes, of no rows none.
///
/// # Panics
/// As [`accuracy`].
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::confusion_matrix;
///
/// assert_eq!(confusion_matrix(&[0.1_f32, 0.9, 0.8, 0.2], &[1, 1]), [[0, 0], [1, 1]]);
/// ```
pub fn confusion_matrix<T: Element>(y: &[T], classes: &[u32]) -> Vec<Vec<usize>> {
    let n = if classes.is_empty() { 0 } else { class_count(y.len() / classes.len()) };
    let mut counts = vec![vec![0; n]; n];
    for (row, class) in rows(y, classes) {
        counts[class as usize][predicted(row)] += 1;
    }
    counts
}

/// The class that a row of outputs says.
fn predicted<T: Element>(row: &[T]) -> usize {
    match row {
        &[logit] => usize::from(logit > T::ZERO),
        _ => argmax(row),
    }
}

/// The mean absolute error, `mean |y - t|` over all elements. NaN for none.
///
/// # Panics
/// If the lengths differ.
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::mean_absolute_error;
///
/// assert_eq!(mean_absolute_error(&[1.0_f32, 2.0], &[2.0, 4.0]), 1.5);
/// ```
pub fn mean_absolute_error<T: Element>(y: &[T], targets: &[T]) -> f64 {
    distances(y, targets, 0, 1).mean()
}

/// The coefficient of determination, `1 - sum (y - t)^2 / sum (t - mean t)^2`, of each output, averaged over
/// the outputs: 1 is perfect, 0 as good as the mean of each output's targets. scikit-learn's `r2_score`.
///
/// `y` and `targets` are `[batch, outputs]`. An output whose targets are all equal has 1 if it is perfect,
/// else 0. NaN for no rows.
///
/// # Panics
/// If the lengths differ or are not whole rows, or `outputs` is 0.
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::{r2_score, r2_score_pooled};
///
/// // The means of two outputs explain nothing of either, but most of the difference between both.
/// let (y, targets) = ([0.5_f32, 1000.5, 0.5, 1000.5], [0.0, 1000.0, 1.0, 1001.0]);
/// assert_eq!(r2_score(&y, &targets, 2), 0.0);
/// assert!(r2_score_pooled(&y, &targets) > 0.999);
/// ```
pub fn r2_score<T: Element>(y: &[T], targets: &[T], outputs: usize) -> f64 {
    assert!(outputs > 0, "there must be at least one output");
    assert_eq!(y.len() % outputs, 0, "y must be whole rows of {outputs} outputs");
    average_r2((0..outputs).map(|o| distances(y, targets, o, outputs)))
}

/// The coefficient of determination of all elements as one output, `1 - sum (y - t)^2 / sum (t - mean t)^2`
/// about the mean of all targets. Of outputs of one kind, such as the pixels of a picture.
///
/// # Panics
/// If the lengths differ.
///
/// # Examples
///
/// See [`r2_score`].
pub fn r2_score_pooled<T: Element>(y: &[T], targets: &[T]) -> f64 {
    distances(y, targets, 0, 1).r2()
}

/// The mean of the outputs' coefficients; those without weight have none.
pub(crate) fn average_r2(outputs: impl Iterator<Item = Distances>) -> f64 {
    let measured = outputs.filter(|output| output.weight != 0.0);
    let (sum, count) = measured.fold((0.0, 0.0), |(sum, count), output| (sum + output.r2(), count + 1.0));
    sum / count
}

/// Those of every `outputs`-th element from the first on.
fn distances<T: Element>(y: &[T], targets: &[T], first: usize, outputs: usize) -> Distances {
    assert_eq!(y.len(), targets.len(), "y and targets must have one length");
    let of_output = || targets.iter().skip(first).step_by(outputs).map(|t| t.to_f64());
    let mut distances = Distances::new(of_output().map(|t| (t, 1.0)));
    let y = y.iter().skip(first).step_by(outputs);
    y.zip(of_output()).for_each(|(y, t)| distances.add(y.to_f64(), t, 1.0));
    distances
}

/// Weighted sums over several batches, from which [`mean_absolute_error`] and [`r2_score`] of all follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Distances {
    mean: f64,
    weight: f64,
    distances: f64,
    squares: f64,
    deviations: f64,
}

impl Distances {
    /// For targets of which these are all, each with its weight. Those of weight 0 are not read.
    ///
    /// The mean is corrected by the mean of the differences from it: else equal targets would not be equal to
    /// it.
    pub(crate) fn new(targets: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let mean_from = |center: f64| {
            let weighed = targets.clone().filter(|&(_, weight)| weight != 0.0);
            let add = |(sum, all), (t, weight)| (sum + weight * (t - center), all + weight);
            let (sum, weight) = weighed.fold((0.0, 0.0), add);
            center + sum / weight
        };
        let mean = mean_from(mean_from(0.0));
        Self { mean, weight: 0.0, distances: 0.0, squares: 0.0, deviations: 0.0 }
    }

    /// Takes in an output and its target, which are not read if their weight is 0.
    pub(crate) fn add(&mut self, y: f64, t: f64, weight: f64) {
        if weight != 0.0 {
            let (distance, deviation) = (y - t, t - self.mean);
            self.weight += weight;
            self.distances += weight * distance.abs();
            self.squares += weight * distance * distance;
            self.deviations += weight * deviation * deviation;
        }
    }

    /// The mean absolute error of several outputs.
    pub(crate) fn mean_of(outputs: &[Self]) -> f64 {
        let sum = |of: fn(&Self) -> f64| outputs.iter().map(of).sum::<f64>();
        sum(|output| output.distances) / sum(|output| output.weight)
    }

    fn mean(&self) -> f64 {
        self.distances / self.weight
    }

    fn r2(&self) -> f64 {
        // Equal targets deviate by roundings of their mean.
        let rounding = 2.0 * f64::EPSILON * self.mean.abs();
        if self.deviations <= self.weight * rounding * rounding {
            return if self.squares == 0.0 { 1.0 } else { 0.0 };
        }
        1.0 - self.squares / self.deviations
    }
}

fn is_nan<T: Element>(x: T) -> bool {
    x.to_f64().is_nan()
}

/// Classes that rows of so many outputs tell apart.
fn class_count(outputs: usize) -> usize {
    if outputs == 1 { 2 } else { outputs }
}

/// Every row of outputs with its class; nothing for no rows.
fn rows<'a, T: Element>(y: &'a [T], classes: &'a [u32]) -> impl Iterator<Item = (&'a [T], u32)> {
    let batch = classes.len();
    assert!(batch > 0 || y.is_empty(), "{} outputs have no classes to compare with", y.len());
    assert_eq!(y.len() % batch.max(1), 0, "y must be whole rows, one for each of {batch} classes");
    let outputs = y.len() / batch.max(1);
    assert!(batch == 0 || outputs > 0, "there must be outputs for each of {batch} classes");
    let count = class_count(outputs);
    y.chunks_exact(outputs.max(1)).zip(classes).enumerate().map(move |(row, (y, &class))| {
        assert!((class as usize) < count, "row {row} has class {class}, but there are {count} classes");
        (y, class)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUTS: [f64; 9] = [0.1, 0.7, 0.2, 0.5, 0.3, 0.5, f64::NAN, 1.0, f64::NAN];

    #[test]
    fn the_largest_is_the_first_of_equals_and_never_nan() {
        assert_eq!(OUTPUTS.chunks(3).map(argmax).collect::<Vec<_>>(), [1, 0, 1]);
        assert_eq!(argmax(&[f32::NAN, f32::NEG_INFINITY]), 1);
    }

    #[test]
    fn accuracy_counts_rows_and_top_k_places() {
        assert_eq!(accuracy(&OUTPUTS, &[1, 0, 1]), 1.0);
        assert_eq!(accuracy(&OUTPUTS, &[1, 2, 1]), 2.0 / 3.0);
        assert_eq!(top_k_accuracy(&OUTPUTS, &[2, 2, 1], 2), 1.0);
        assert_eq!(top_k_accuracy(&OUTPUTS, &[0, 1, 0], 2), 0.0);
        assert_eq!(top_k_accuracy(&OUTPUTS, &[0, 1, 0], 3), 2.0 / 3.0);
    }

    #[test]
    fn a_confusion_matrix_has_classes_down_and_predictions_across() {
        assert_eq!(confusion_matrix(&OUTPUTS, &[1, 2, 1]), [[0, 0, 0], [0, 2, 0], [1, 0, 0]]);
    }

    #[test]
    fn regression_is_measured_by_distance_and_by_explained_variance() {
        let (y, t) = ([1.0_f32, 2.0, 3.0, 6.0], [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(mean_absolute_error(&y, &t), 0.5);
        assert_eq!(r2_score(&y, &t, 1), 1.0 - 2.0 / 10.0);
        assert_eq!(r2_score_pooled(&y, &t), r2_score(&y, &t, 1));
        assert_eq!(r2_score(&t, &t, 1), 1.0);
    }

    #[test]
    fn explained_variance_is_averaged_over_outputs() {
        let (means, t) = ([0.5, 1000.5, 0.5, 1000.5], [0.0, 1000.0, 1.0, 1001.0]);
        assert_eq!(r2_score(&means, &t, 2), 0.0);
        assert_eq!(r2_score_pooled(&means, &t), 1.0 - 1.0 / (500.5 * 500.5 * 2.0 + 499.5 * 499.5 * 2.0));
        // One perfect output and one that is as good as the mean.
        assert_eq!(r2_score(&[0.0, 1000.5, 1.0, 1000.5], &t, 2), 0.5);
    }

    #[test]
    fn equal_targets_are_explained_perfectly_or_not_at_all() {
        // A sum of seven is rounded, and so is the mean.
        let t = [0.1; 7];
        assert_ne!(t.iter().sum::<f64>() / 7.0, 0.1);
        assert_eq!((r2_score(&t, &t, 1), r2_score_pooled(&t, &t)), (1.0, 1.0));
        assert_eq!(r2_score(&[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2], &t, 1), 0.0);
        assert_eq!(r2_score(&[3.0_f32], &[3.0], 1), 1.0);
        assert_eq!(r2_score(&[2.0_f32, 5.0, 2.0, 6.0], &[3.0, 5.0, 3.0, 6.0], 2), 0.5);
        assert!(r2_score::<f32>(&[], &[], 2).is_nan());
    }

    #[test]
    fn a_single_output_is_a_logit() {
        let logits = [-1.0, 0.0, 2.0, f64::NAN];
        assert_eq!(accuracy(&logits, &[0, 0, 1, 0]), 0.75);
        assert_eq!(accuracy(&logits, &[1, 1, 0, 1]), 0.0);
        assert_eq!(top_k_accuracy(&logits, &[1, 1, 0, 1], 2), 0.75);
        assert_eq!(top_k_accuracy(&logits, &[0, 0, 1, 0], 0), 0.0);
        assert_eq!(confusion_matrix(&logits, &[0, 1, 1, 0]), [[2, 0], [1, 1]]);
        assert!(accuracy::<f32>(&[], &[]).is_nan());
        assert!(confusion_matrix::<f32>(&[], &[]).is_empty());
    }

    #[test]
    fn what_does_not_fit_panics_with_a_sentence() {
        type Call = fn() -> f64;
        let message = |call: Call| {
            let panic = std::panic::catch_unwind(call).unwrap_err();
            panic.downcast_ref::<String>().cloned().unwrap_or_else(|| {
                panic.downcast_ref::<&str>().map_or(String::new(), |text| (*text).to_owned())
            })
        };
        let cases: [(Call, &str); 8] = [
            (|| accuracy(&OUTPUTS, &[1, 3, 1]), "row 1 has class 3, but there are 3 classes"),
            (|| accuracy(&[0.5, 0.5], &[0, 2]), "row 1 has class 2, but there are 2 classes"),
            (|| confusion_matrix(&OUTPUTS, &[1, 1, 9]).len() as f64, "row 2 has class 9"),
            (|| accuracy(&OUTPUTS, &[0, 1]), "y must be whole rows"),
            (|| accuracy(&OUTPUTS, &[]), "9 outputs have no classes"),
            (|| accuracy::<f32>(&[], &[0]), "there must be outputs"),
            (|| r2_score(&[1.0], &[1.0, 2.0], 1), "one length"),
            (|| r2_score(&OUTPUTS, &OUTPUTS, 2), "whole rows of 2 outputs"),
        ];
        for (call, sentence) in cases {
            let found = message(call);
            assert!(found.contains(sentence), "{found:?} does not say {sentence:?}");
        }
    }
}
