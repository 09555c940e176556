//! Accuracy, precision, recall, ROC AUC, distance and explained variance of outputs: measures that are not
//! losses, by scikit-learn's conventions.
//!
//! Outputs `y` are row-major `[batch, outputs]`. A network for two classes may have a single output, a logit:
//! above 0 is class 1, else class 0. A row whose outputs are all NaN has no predicted class: it is never a
//! hit, and stands in no cell of a confusion matrix.
//!
//! These functions know no loss: of a network that ends in logits [`mean_absolute_error`] and [`r2_score`]
//! measure logits. [`Network::evaluate`](crate::Network::evaluate) and
//! [`Trainer::evaluate`](crate::Trainer::evaluate) measure probabilities under a loss that takes logits.
//!
//! # Errors
//!
//! Every function returns an [`Error`] if lengths do not fit each other or a class is not below the number of
//! classes: the outputs, or two of a single output. None panics.

mod classification;

use crate::{Argument, ClassLabels, Element, Error, Targets};

pub use classification::{
    Average, ClassScores, binary_accuracy, class_scores, f1_score, log_loss, precision_score, recall_score,
    roc_auc_score,
};

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

/// The fraction of rows whose predicted class is the target. The prediction is the largest output
/// ([`argmax`]); of a single output it is 1 where the output is above 0, else 0. Rows of NaN alone are no
/// hits. NaN for no rows.
///
/// It is the trace of the [`confusion_matrix`] divided by the number of rows.
///
/// # Errors
/// [`Error::Length`] unless `y` is a whole number of outputs for each class, at least one; [`Error::Class`]
/// for a class that is not below the number of classes.
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::accuracy;
///
/// assert_eq!(accuracy(&[0.1_f32, 0.9, 0.8, 0.2], &[1, 1])?, 0.5);
/// assert_eq!(accuracy(&[-3.0_f32, 0.5, 2.0], &[0, 1, 0])?, 2.0 / 3.0); // logits
/// assert!(accuracy(&[0.1_f32, 0.9], &[2]).is_err());
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn accuracy<'c, T: Element>(y: &[T], classes: impl Into<ClassLabels<'c>>) -> Result<f64, Error> {
    top_k_accuracy(y, classes, 1)
}

/// The fraction of rows in which fewer than `k` outputs are larger than the target class's, or equal and
/// before it. With a `k` of 1 it is [`accuracy`]. A class whose output is NaN is no hit. NaN for no rows.
///
/// # Errors
/// As [`accuracy`].
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::top_k_accuracy;
///
/// assert_eq!(top_k_accuracy(&[0.1_f32, 0.6, 0.3, 0.2, 0.1, 0.7], &[2, 1], 2)?, 0.5);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn top_k_accuracy<'c, T: Element>(
    y: &[T],
    classes: impl Into<ClassLabels<'c>>,
    k: usize,
) -> Result<f64, Error> {
    let classes = classes.into();
    let hits = rows(y, classes)?.filter(|&(row, class)| match row {
        &[logit] => !is_nan(logit) && (k > 1 || k == 1 && predicted(row) == Some(class as usize)),
        _ => is_hit(row, class, k),
    });
    Ok(hits.count() as f64 / classes.len() as f64)
}

/// Whether fewer than `k` outputs of a row are larger than its class's, or equal and before it.
pub(crate) fn is_hit<T: Element>(row: &[T], class: u32, k: usize) -> bool {
    let class = class as usize;
    let ahead = |i: usize| row[i] > row[class] || (i < class && row[i] == row[class]);
    // A NaN is behind all others.
    !is_nan(row[class]) && (0..row.len()).filter(|&i| ahead(i)).count() < k
}

/// `counts[class][prediction]`: how many rows of each class are predicted to be of each. Of a single output
/// there are two classes, of no rows none.
///
/// A row whose outputs are all NaN has no prediction and is counted nowhere: the counts of a class add up to
/// its rows without those, and the trace divided by the number of rows is the [`accuracy`].
///
/// # Errors
/// As [`accuracy`].
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::confusion_matrix;
///
/// assert_eq!(confusion_matrix(&[0.1_f32, 0.9, 0.8, 0.2], &[1, 1])?, [[0, 0], [1, 1]]);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn confusion_matrix<'c, T: Element>(
    y: &[T],
    classes: impl Into<ClassLabels<'c>>,
) -> Result<Vec<Vec<usize>>, Error> {
    let classes = classes.into();
    let n = if classes.is_empty() { 0 } else { class_count(y.len() / classes.len()) };
    let mut counts = vec![vec![0; n]; n];
    for (row, class) in rows(y, classes)? {
        if let Some(predicted) = predicted(row) {
            counts[class as usize][predicted] += 1;
        }
    }
    Ok(counts)
}

/// The predicted class of a row of outputs; none of NaN alone.
fn predicted<T: Element>(row: &[T]) -> Option<usize> {
    let class = match row {
        &[logit] => usize::from(logit > T::ZERO),
        _ => argmax(row),
    };
    row.iter().any(|&y| !is_nan(y)).then_some(class)
}

/// The mean absolute error, `mean |y - t|` over all elements. NaN for none.
///
/// Targets are values of the same shape, with weights of rows and a mask if wanted: what weighs 0 is not
/// read.
///
/// # Errors
/// [`Error::Length`] if the lengths differ, [`Error::Setting`] for weights that are negative or not finite,
/// [`Error::Combination`] for classes.
///
/// # Examples
///
/// ```
/// use fuseprop::Targets;
/// use fuseprop::metrics::mean_absolute_error;
///
/// assert_eq!(mean_absolute_error(&[1.0_f32, 2.0], &[2.0, 4.0])?, 1.5);
/// let weighted = Targets::from(&[2.0, 4.0]).weights(&[3.0, 1.0]);
/// assert_eq!(mean_absolute_error(&[1.0_f32, 2.0], weighted)?, 1.25);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn mean_absolute_error<'t, T: Element>(
    y: &[T],
    targets: impl Into<Targets<'t, T>>,
) -> Result<f64, Error> {
    Ok(Elements::pooled(y, &targets.into())?.distances(0).mean())
}

/// The root of the mean squared error of each output, `sqrt(mean (y - t)^2)`, averaged over the outputs:
/// scikit-learn's `root_mean_squared_error`. In units of the targets. Of one output, or of all elements as
/// one (`outputs` of 1), it is the root of the mean squared error. Outputs without weight are left out; NaN
/// for no rows.
///
/// # Errors
/// As [`r2_score`].
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::root_mean_squared_error;
///
/// // Errors of 1 and 7, and of 2 and 2.
/// let (y, targets) = ([1.0_f32, 0.0, 7.0, 0.0], [0.0, 2.0, 0.0, -2.0]);
/// assert_eq!(root_mean_squared_error(&y, &targets, 2)?, (5.0 + 2.0) / 2.0);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn root_mean_squared_error<'t, T: Element>(
    y: &[T],
    targets: impl Into<Targets<'t, T>>,
    outputs: usize,
) -> Result<f64, Error> {
    let elements = Elements::of(y, &targets.into(), outputs)?;
    let measured = (0..outputs).map(|o| elements.distances(o)).filter(|output| output.weight != 0.0);
    let (sum, count) =
        measured.fold((0.0, 0.0), |(sum, count), of| (sum + of.root_mean_square(), count + 1.0));
    Ok(sum / count)
}

/// The coefficient of determination, `1 - sum (y - t)^2 / sum (t - mean t)^2`, of each output, averaged over
/// the outputs: 1 is perfect, 0 as good as the mean of each output's targets. scikit-learn's `r2_score`.
///
/// `y` and `targets` are `[batch, outputs]`, with weights of rows and a mask if wanted, which weigh each
/// term of both sums and of the mean. An output whose targets are all equal has 1 if it is perfect, else 0;
/// one without weight is left out. NaN for no rows.
///
/// # Errors
/// [`Error::Zero`] if `outputs` is 0, [`Error::Length`] if the lengths differ, [`Error::Rows`] if they are
/// not whole rows, [`Error::Setting`] for weights that are negative or not finite, [`Error::Combination`] for
/// classes.
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::{r2_score, r2_score_pooled};
///
/// // The means of two outputs explain nothing of either, but most of the difference between both.
/// let (y, targets) = ([0.5_f32, 1000.5, 0.5, 1000.5], [0.0, 1000.0, 1.0, 1001.0]);
/// assert_eq!(r2_score(&y, &targets, 2)?, 0.0);
/// assert!(r2_score_pooled(&y, &targets)? > 0.999);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn r2_score<'t, T: Element>(
    y: &[T],
    targets: impl Into<Targets<'t, T>>,
    outputs: usize,
) -> Result<f64, Error> {
    let elements = Elements::of(y, &targets.into(), outputs)?;
    Ok(average_r2((0..outputs).map(|o| elements.distances(o))))
}

/// [`r2_score`] of each output: scikit-learn's `multioutput="raw_values"`. NaN of an output without weight.
///
/// # Errors
/// As [`r2_score`].
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::r2_scores;
///
/// assert_eq!(r2_scores(&[0.0_f32, 0.5, 1.0, 0.5], &[0.0, 0.0, 1.0, 1.0], 2)?, [1.0, 0.0]);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn r2_scores<'t, T: Element>(
    y: &[T],
    targets: impl Into<Targets<'t, T>>,
    outputs: usize,
) -> Result<Vec<f64>, Error> {
    let elements = Elements::of(y, &targets.into(), outputs)?;
    let of = |output: Distances| if output.weight == 0.0 { f64::NAN } else { output.r2() };
    Ok((0..outputs).map(|o| of(elements.distances(o))).collect())
}

/// The coefficient of determination of all elements as one output, `1 - sum (y - t)^2 / sum (t - mean t)^2`
/// about the mean of all targets. Of outputs of one kind, such as the pixels of a picture.
///
/// # Errors
/// As [`mean_absolute_error`].
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::r2_score_pooled;
///
/// // The mean of all targets is 3.
/// assert_eq!(r2_score_pooled(&[1.0_f32, 3.0, 3.0, 3.0], &[1.0, 3.0, 3.0, 5.0])?, 1.0 - 4.0 / 8.0);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn r2_score_pooled<'t, T: Element>(y: &[T], targets: impl Into<Targets<'t, T>>) -> Result<f64, Error> {
    Ok(Elements::pooled(y, &targets.into())?.distances(0).r2())
}

fn check_length(argument: Argument, expected: usize, found: usize) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::Length { argument, expected, found }) }
}

/// The number of rows of `[batch, outputs]`.
fn row_count<T>(y: &[T], outputs: usize) -> Result<usize, Error> {
    match y.len().checked_rem(outputs) {
        None => Err(Error::Zero { argument: Argument::FeatureCount }),
        Some(0) => Ok(y.len() / outputs),
        Some(_) => Err(Error::Rows { argument: Argument::Outputs, row: outputs, found: y.len() }),
    }
}

/// What each row, or each element, weighs.
struct Weights<'a, T> {
    rows: Option<&'a [T]>,
    mask: Option<&'a [T]>,
    /// Elements of a row.
    columns: usize,
}

impl<'a, T: Element> Weights<'a, T> {
    /// Of rows.
    fn of_rows(targets: &Targets<'a, T>, rows: usize) -> Result<Self, Error> {
        if targets.element_mask().is_some() {
            return Err(Error::Unused { argument: Argument::ElementMask, with: Argument::ClassMetric });
        }
        Self::of_elements(targets, rows, 1)
    }

    /// Of elements of rows.
    fn of_elements(targets: &Targets<'a, T>, rows: usize, columns: usize) -> Result<Self, Error> {
        let (of_rows, mask) = (targets.row_weights(), targets.element_mask());
        for (argument, each, expected, weights) in [
            (Argument::RowWeights, Argument::RowWeight, rows, of_rows),
            (Argument::ElementMask, Argument::MaskElement, rows * columns, mask),
        ] {
            let Some(weights) = weights else { continue };
            check_length(argument, expected, weights.len())?;
            let is_weight = |weight: f64| weight >= 0.0 && weight.is_finite();
            let mut wrong = weights.iter().map(|weight| weight.to_f64()).filter(|&weight| !is_weight(weight));
            if let Some(value) = wrong.next() {
                return Err(Error::Setting { argument: each, value });
            }
        }
        Ok(Self { rows: of_rows, mask, columns })
    }

    /// Of a row, or of an element, counted through all rows.
    fn get(&self, i: usize) -> f64 {
        let of = |weights: Option<&[T]>, i: usize| weights.map_or(1.0, |weights| weights[i].to_f64());
        of(self.rows, i / self.columns) * of(self.mask, i)
    }
}

/// Outputs `[batch, outputs]` with their targets and weights.
struct Elements<'a, T> {
    y: &'a [T],
    targets: &'a [T],
    weights: Weights<'a, T>,
    outputs: usize,
}

impl<'a, T: Element> Elements<'a, T> {
    fn of(y: &'a [T], targets: &Targets<'a, T>, outputs: usize) -> Result<Self, Error> {
        if outputs == 0 {
            return Err(Error::Zero { argument: Argument::FeatureCount });
        }
        let values = values_of(y, targets)?;
        let weights = Weights::of_elements(targets, row_count(y, outputs)?, outputs)?;
        Ok(Self { y, targets: values, weights, outputs })
    }

    /// All elements as one output, of rows as many as there are weights.
    fn pooled(y: &'a [T], targets: &Targets<'a, T>) -> Result<Self, Error> {
        let values = values_of(y, targets)?;
        let rows = targets.row_weights().map_or(y.len(), <[T]>::len);
        let columns = (y.len() / rows.max(1)).max(1);
        check_length(Argument::RowWeights, y.len() / columns, rows)?;
        check_length(Argument::Outputs, rows * columns, y.len())?;
        let weights = Weights::of_elements(targets, rows, columns)?;
        Ok(Self { y, targets: values, weights, outputs: 1 })
    }

    /// The distances of every `outputs`-th element from the first on.
    fn distances(&self, first: usize) -> Distances {
        let indices = || (first..self.y.len()).step_by(self.outputs);
        let target = |i: usize| (self.targets[i].to_f64(), self.weights.get(i));
        let mut distances = Distances::new(indices().map(target));
        indices().for_each(|i| {
            let (t, weight) = target(i);
            distances.add(self.y[i].to_f64(), t, weight);
        });
        distances
    }
}

/// Targets that are values, as many as outputs.
fn values_of<'a, T: Element>(y: &[T], targets: &Targets<'a, T>) -> Result<&'a [T], Error> {
    let combination = Error::Combination { argument: Argument::ValueMetric, with: Argument::ClassTargets };
    let values = targets.values().ok_or(combination)?;
    check_length(Argument::Targets, y.len(), values.len())?;
    Ok(values)
}

/// The mean of the outputs' coefficients; those without weight have none.
pub(crate) fn average_r2(outputs: impl Iterator<Item = Distances>) -> f64 {
    let measured = outputs.filter(|output| output.weight != 0.0);
    let (sum, count) = measured.fold((0.0, 0.0), |(sum, count), output| (sum + output.r2(), count + 1.0));
    sum / count
}

/// Weighted sums over several batches, from which [`mean_absolute_error`] and [`r2_score`] of all follow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Distances {
    /// A power of two that targets and outputs are multiplied by, so that no square of a distance between
    /// targets overflows or vanishes; 1 but for very large and very small ones.
    scale: f64,
    mean: f64,
    weight: f64,
    distances: f64,
    squares: f64,
    deviations: f64,
}

impl Distances {
    /// For targets of which these are all, each with its weight. Targets of weight 0 are not read.
    ///
    /// The mean is corrected by the mean of the differences from it: else equal targets would not be equal to
    /// it.
    pub(crate) fn new(targets: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let weighed = targets.filter(|&(_, weight)| weight != 0.0);
        let scale = scale_of(weighed.clone().fold(0.0, |max, (t, _)| t.abs().max(max)));
        let mean_from = |center: f64| {
            let add = |(sum, all), (t, weight)| (sum + weight * (t * scale - center), all + weight);
            let (sum, weight) = weighed.clone().fold((0.0, 0.0), add);
            center + sum / weight
        };
        let mean = mean_from(mean_from(0.0));
        Self { scale, mean, weight: 0.0, distances: 0.0, squares: 0.0, deviations: 0.0 }
    }

    /// Takes in an output and its target, which are not read if their weight is 0.
    pub(crate) fn add(&mut self, y: f64, t: f64, weight: f64) {
        if weight != 0.0 {
            let (y, t) = (y * self.scale, t * self.scale);
            let (distance, deviation) = (y - t, t - self.mean);
            self.weight += weight;
            self.distances += weight * distance.abs();
            self.squares += weight * distance * distance;
            self.deviations += weight * deviation * deviation;
        }
    }

    /// The mean absolute error of several outputs.
    pub(crate) fn mean_of(outputs: &[Self]) -> f64 {
        let weight = outputs.iter().map(|output| output.weight).sum::<f64>();
        match outputs.iter().all(|output| output.scale == 1.0) {
            true => outputs.iter().map(|output| output.distances).sum::<f64>() / weight,
            // Each as a part of the mean, for a sum of them may overflow.
            false => outputs.iter().map(|output| output.distances / weight / output.scale).sum(),
        }
    }

    fn mean(&self) -> f64 {
        self.distances / self.weight / self.scale
    }

    fn root_mean_square(&self) -> f64 {
        (self.squares / self.weight).sqrt() / self.scale
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

/// The factor of [`Distances`] for targets up to a magnitude.
fn scale_of(magnitude: f64) -> f64 {
    /// Squares of numbers up to 2 to this, and of their last digits from 2 to minus this on, are far from the
    /// ends of the range.
    const UNSCALED: i32 = 400;
    /// Of a power of two and of its reciprocal.
    const LARGEST: i32 = 1022;
    const BIAS: i32 = 1023;
    let exponent = (magnitude.to_bits() >> 52) as i32 - BIAS;
    let is_ordinary = magnitude == 0.0 || !magnitude.is_finite() || exponent.abs() <= UNSCALED;
    let exponent = if is_ordinary { 0 } else { exponent.clamp(-LARGEST, LARGEST) };
    f64::from_bits(((BIAS - exponent) as u64) << 52)
}

fn is_nan<T: Element>(x: T) -> bool {
    x.to_f64().is_nan()
}

/// The number of classes that rows of outputs tell apart.
fn class_count(outputs: usize) -> usize {
    if outputs == 1 { 2 } else { outputs }
}

/// Every row of outputs with its class; nothing for no rows.
fn rows<'a, T: Element>(
    y: &'a [T],
    classes: ClassLabels<'a>,
) -> Result<impl Iterator<Item = (&'a [T], u32)>, Error> {
    let batch = classes.len();
    let outputs = (y.len() / batch.max(1)).max(1);
    check_length(Argument::Outputs, batch * outputs, y.len())?;
    let count = class_count(outputs);
    if let Some(row) = classes.find_wrong(count, |_| true) {
        return Err(Error::Class { row, class: classes.value(row), classes: count });
    }
    Ok(y.chunks_exact(outputs).enumerate().map(move |(r, row)| (row, classes.class(r))))
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
        assert_eq!(accuracy(&OUTPUTS, &[1, 0, 1]).unwrap(), 1.0);
        assert_eq!(accuracy(&OUTPUTS, &[1, 2, 1]).unwrap(), 2.0 / 3.0);
        assert_eq!(top_k_accuracy(&OUTPUTS, &[2, 2, 1], 2).unwrap(), 1.0);
        assert_eq!(top_k_accuracy(&OUTPUTS, &[0, 1, 0], 2).unwrap(), 0.0);
        assert_eq!(top_k_accuracy(&OUTPUTS, &[0, 1, 0], 3).unwrap(), 2.0 / 3.0);
    }

    #[test]
    fn a_confusion_matrix_has_classes_down_and_predictions_across() {
        assert_eq!(confusion_matrix(&OUTPUTS, &[1, 2, 1]).unwrap(), [[0, 0, 0], [0, 2, 0], [1, 0, 0]]);
    }

    #[test]
    fn regression_is_measured_by_distance_and_by_explained_variance() {
        let (y, t) = ([1.0_f32, 2.0, 3.0, 6.0], [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(mean_absolute_error(&y, &t).unwrap(), 0.5);
        assert_eq!(r2_score(&y, &t, 1).unwrap(), 1.0 - 2.0 / 10.0);
        assert_eq!(r2_score_pooled(&y, &t).unwrap(), r2_score(&y, &t, 1).unwrap());
        assert_eq!(r2_score(&t, &t, 1).unwrap(), 1.0);
    }

    #[test]
    fn explained_variance_is_averaged_over_outputs() {
        let (means, t) = ([0.5, 1000.5, 0.5, 1000.5], [0.0, 1000.0, 1.0, 1001.0]);
        assert_eq!(r2_score(&means, &t, 2).unwrap(), 0.0);
        assert_eq!(
            r2_score_pooled(&means, &t).unwrap(),
            1.0 - 1.0 / (500.5 * 500.5 * 2.0 + 499.5 * 499.5 * 2.0)
        );
        // One perfect output and one that is as good as the mean.
        assert_eq!(r2_score(&[0.0, 1000.5, 1.0, 1000.5], &t, 2).unwrap(), 0.5);
    }

    #[test]
    fn equal_targets_are_explained_perfectly_or_not_at_all() {
        // A sum of seven is rounded, and so is the mean.
        let t = [0.1; 7];
        assert_ne!(t.iter().sum::<f64>() / 7.0, 0.1);
        assert_eq!((r2_score(&t, &t, 1).unwrap(), r2_score_pooled(&t, &t).unwrap()), (1.0, 1.0));
        assert_eq!(r2_score(&[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.2], &t, 1).unwrap(), 0.0);
        assert_eq!(r2_score(&[3.0_f32], &[3.0], 1).unwrap(), 1.0);
        assert_eq!(r2_score(&[2.0_f32, 5.0, 2.0, 6.0], &[3.0, 5.0, 3.0, 6.0], 2).unwrap(), 0.5);
        assert!(r2_score::<f32>(&[], &[0.0_f32; 0], 2).unwrap().is_nan());
    }

    #[test]
    fn distances_of_very_large_and_very_small_numbers_are_measured_as_those_of_others() {
        let (y, t) = ([1.0, 2.0, 3.0, 6.0], [1.0, 2.0, 4.0, 5.0]);
        for size in [1e300, 1e200, 1e-200, 1e-300, 2.9e307] {
            let of = |values: [f64; 4]| values.map(|value| value * size);
            let near = |found: f64, right: f64| (found / right - 1.0).abs() < 1e-14;
            assert!(near(mean_absolute_error(&of(y), &of(t)).unwrap(), 0.5 * size), "{size}");
            assert!(near(r2_score(&of(y), &of(t), 1).unwrap(), 0.8), "{size}");
            let equal = [size; 7];
            assert_eq!(r2_score(&equal, &equal, 1), Ok(1.0), "{size}");
        }
    }

    #[test]
    fn a_single_output_is_a_logit() {
        let logits = [-1.0, 0.0, 2.0, f64::NAN];
        assert_eq!(accuracy(&logits, &[0, 0, 1, 0]).unwrap(), 0.75);
        assert_eq!(accuracy(&logits, &[1, 1, 0, 1]).unwrap(), 0.0);
        assert_eq!(top_k_accuracy(&logits, &[1, 1, 0, 1], 2).unwrap(), 0.75);
        assert_eq!(top_k_accuracy(&logits, &[0, 0, 1, 0], 0).unwrap(), 0.0);
        // The row of NaN is in no cell, as it is no hit.
        assert_eq!(confusion_matrix(&logits, &[0, 1, 1, 0]).unwrap(), [[1, 0], [1, 1]]);
        assert_eq!(accuracy(&logits, &[0, 1, 1, 0]).unwrap(), 2.0 / 4.0);
        assert!(accuracy::<f32>(&[], &[0_u32; 0]).unwrap().is_nan());
        assert!(confusion_matrix::<f32>(&[], &[0_u32; 0]).unwrap().is_empty());
    }

    #[test]
    fn the_trace_of_a_confusion_matrix_is_the_accuracy_with_nan_and_infinity_too() {
        let values = [0.0, 1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let of = |mut n: usize| {
            let mut digit = || {
                n /= 5;
                values[n % 5]
            };
            [digit(), digit(), digit()]
        };
        let y: Vec<f64> = (0..625).flat_map(of).collect();
        for class in 0..3 {
            let classes = [class; 625];
            let counts = confusion_matrix(&y, &classes).unwrap();
            let trace: usize = (0..3).map(|i| counts[i][i]).sum();
            assert_eq!(trace as f64 / 625.0, accuracy(&y, &classes).unwrap());
            // All but the five rows of NaN alone.
            assert_eq!(counts.concat().iter().sum::<usize>(), 620);
        }
    }

    #[test]
    fn what_does_not_fit_is_a_typed_error() {
        let length = |argument, expected, found| Err(Error::Length { argument, expected, found });
        assert_eq!(accuracy(&OUTPUTS, &[1, 3, 1]), Err(Error::Class { row: 1, class: 3, classes: 3 }));
        assert_eq!(accuracy(&[0.5, 0.5], &[0, 2]), Err(Error::Class { row: 1, class: 2, classes: 2 }));
        let matrix = confusion_matrix(&OUTPUTS, &[1, 1, 9]);
        assert_eq!(matrix, Err(Error::Class { row: 2, class: 9, classes: 3 }));
        assert_eq!(accuracy(&OUTPUTS, &[0, 1]), length(Argument::Outputs, 8, 9));
        assert_eq!(accuracy(&OUTPUTS, &[0_u32; 0]), length(Argument::Outputs, 0, 9));
        assert_eq!(accuracy::<f32>(&[], &[0]), length(Argument::Outputs, 1, 0));
        assert_eq!(mean_absolute_error(&[1.0], &[1.0, 2.0]), length(Argument::Targets, 1, 2));
        assert_eq!(r2_score_pooled(&[1.0], &[0.0; 0]), length(Argument::Targets, 1, 0));
        assert_eq!(r2_score(&[1.0], &[1.0, 2.0], 1), length(Argument::Targets, 1, 2));
        let rows = Error::Rows { argument: Argument::Outputs, row: 2, found: 9 };
        assert_eq!(r2_score(&OUTPUTS, &OUTPUTS, 2), Err(rows));
        assert_eq!(r2_score(&OUTPUTS, &OUTPUTS, 0), Err(Error::Zero { argument: Argument::FeatureCount }));
    }
}
