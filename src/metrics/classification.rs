//! Measures of classifiers: precision, recall and F1 of each class, ROC AUC, log loss, accuracy of elements.

use super::{Weights, check_length, class_count, predicted};
use crate::{Argument, ClassLabels, Element, Error, Targets};

/// Precision, recall and F1 of one class, or of an average of classes.
///
/// With the weight of rows of the class that are predicted to be of it (`hits`), of all rows that are
/// predicted to be of it, and of all rows of it (`support`),
///
/// ```text
/// precision = hits / predicted
/// recall    = hits / support
/// f1        = 2 hits / (predicted + support)
/// ```
///
/// Where a divisor is 0 so is the quotient: scikit-learn's `zero_division=0`, its default.
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::class_scores;
///
/// let scores = class_scores(&[2.0_f32, -1.0, 3.0, -0.5], &[1, 0, 0, 1])?; // logits of class 1
/// assert_eq!((scores[1].precision, scores[1].recall, scores[1].support), (0.5, 0.5, 2.0));
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ClassScores {
    /// The part of the predictions of the class that is right.
    pub precision: f64,
    /// The part of the class's rows that is found.
    pub recall: f64,
    /// The harmonic mean of both.
    pub f1: f64,
    /// The weight of the class's rows: their number, if none has a weight.
    pub support: f64,
}

/// How the scores of several classes become one.
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::{Average, f1_score};
///
/// let (y, classes) = ([2.0_f32, -1.0, 3.0, -0.5], [1, 0, 0, 0]);
/// assert_eq!(f1_score(&y, &classes, Average::Class(1))?, 2.0 / 3.0);
/// assert!((f1_score(&y, &classes, Average::Macro)? - (0.8 + 2.0 / 3.0) / 2.0).abs() < 1e-15);
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Average {
    /// The score of one class alone; of 1 it is scikit-learn's `average="binary"`, its default.
    Class(usize),
    /// The mean over classes that stand among targets or predictions: `average="macro"`.
    Macro,
    /// The mean weighted by what the classes' rows weigh: `average="weighted"`.
    Weighted,
}

/// Precision, recall, F1 and support of each class, in the order of classes.
///
/// `y` is `[batch, outputs]`, targets are classes, with weights of rows if wanted; the predicted class is
/// that of [`accuracy`](super::accuracy), and a row of NaN alone is predicted to be of none. scikit-learn's
/// `precision_recall_fscore_support(average=None)`, of all classes that there are outputs for.
///
/// # Errors
/// As [`accuracy`](super::accuracy); [`Error::Length`] or [`Error::Setting`] for weights that do not fit or
/// are negative or not finite; [`Error::Unused`] for a mask, [`Error::Combination`] for values.
///
/// # Examples
///
/// See [`ClassScores`].
pub fn class_scores<'t, T: Element>(
    y: &[T],
    targets: impl Into<Targets<'t, T>>,
) -> Result<Vec<ClassScores>, Error> {
    Ok(class_sums(y, targets.into())?.into_iter().map(Sums::scores).collect())
}

/// What weighs in each class.
fn class_sums<T: Element>(y: &[T], targets: Targets<'_, T>) -> Result<Vec<Sums>, Error> {
    let classes = classes_of(&targets)?;
    let weights = Weights::of_rows(&targets, classes.len())?;
    let outputs = y.len() / classes.len().max(1);
    let count = if classes.is_empty() { 0 } else { class_count(outputs) };
    let mut sums = vec![Sums::default(); count];
    for (r, (row, class)) in super::rows(y, classes)?.enumerate() {
        let weight = weights.get(r);
        sums[class as usize].support += weight;
        if let Some(predicted) = predicted(row) {
            sums[predicted].predicted += weight;
            if predicted == class as usize {
                sums[predicted].hits += weight;
            }
        }
    }
    Ok(sums)
}

/// [`ClassScores::precision`] of a class, or its average: scikit-learn's `precision_score`.
///
/// # Errors
/// As [`class_scores`]; [`Error::Setting`] for a class that there is none of.
///
/// # Examples
///
/// ```
/// use fuseprop::Targets;
/// use fuseprop::metrics::{Average, precision_score};
///
/// let (y, classes) = ([1.0_f32, 1.0, -1.0], [1, 0, 1]);
/// assert_eq!(precision_score(&y, &classes, Average::Class(1))?, 0.5);
/// let weighted = Targets::from(&classes).weights(&[3.0, 1.0, 1.0]);
/// assert_eq!(precision_score(&y, weighted, Average::Class(1))?, 0.75);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn precision_score<'t, T: Element>(
    y: &[T],
    targets: impl Into<Targets<'t, T>>,
    average: Average,
) -> Result<f64, Error> {
    average.of(&class_sums(y, targets.into())?, |scores| scores.precision)
}

/// [`ClassScores::recall`] of a class, or its average: scikit-learn's `recall_score`.
///
/// # Errors
/// As [`precision_score`].
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::{Average, recall_score};
///
/// assert_eq!(recall_score(&[1.0_f32, 1.0, -1.0], &[1, 0, 1], Average::Class(1))?, 0.5);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn recall_score<'t, T: Element>(
    y: &[T],
    targets: impl Into<Targets<'t, T>>,
    average: Average,
) -> Result<f64, Error> {
    average.of(&class_sums(y, targets.into())?, |scores| scores.recall)
}

/// [`ClassScores::f1`] of a class, or its average: scikit-learn's `f1_score`.
///
/// # Errors
/// As [`precision_score`].
///
/// # Examples
///
/// See [`Average`].
pub fn f1_score<'t, T: Element>(
    y: &[T],
    targets: impl Into<Targets<'t, T>>,
    average: Average,
) -> Result<f64, Error> {
    average.of(&class_sums(y, targets.into())?, |scores| scores.f1)
}

/// The probability that a positive row has a higher score than a negative one, where equal scores count as
/// one half: the area under the curve of true against false positives (Hanley and McNeil 1982).
/// scikit-learn's `roc_auc_score` of two classes.
///
/// `scores` are `[batch]`: logits or probabilities of the positive class. Targets are classes, of which 1 is
/// positive, or values, of which those above a half are, as a binary cross-entropy takes them; with weights
/// of rows if wanted. NaN where only one class weighs anything. Sorts the scores: `O(batch log batch)`.
///
/// # Errors
/// [`Error::Length`] unless there is a target for each score, [`Error::Class`] for a class that is not 0 or
/// 1, [`Error::Value`] for a score that is NaN in a row that weighs anything; those of [`class_scores`] for
/// weights.
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::roc_auc_score;
///
/// assert_eq!(roc_auc_score(&[0.1_f32, 0.4, 0.35, 0.8], &[0, 0, 1, 1])?, 0.75);
/// assert_eq!(roc_auc_score(&[0.5_f32, 0.5], &[0.0, 1.0])?, 0.5);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn roc_auc_score<'t, T: Element>(scores: &[T], targets: impl Into<Targets<'t, T>>) -> Result<f64, Error> {
    let targets = targets.into();
    let positive = Positive::of(&targets, scores.len(), 1)?;
    let weights = Weights::of_rows(&targets, scores.len())?;
    let mut rows: Vec<(f64, f64, bool)> = Vec::with_capacity(scores.len());
    for (r, score) in scores.iter().enumerate() {
        let (score, weight) = (score.to_f64(), weights.get(r));
        if weight != 0.0 {
            if score.is_nan() {
                return Err(Error::Value { argument: Argument::Outputs, row: r, column: 0, value: score });
            }
            rows.push((score, weight, positive.is_positive(r)));
        }
    }
    rows.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    // 0 and -0 are equal, and are neighbours.
    let (mut area, mut below, mut above) = (0.0, 0.0, 0.0);
    for equal in rows.chunk_by(|a, b| a.0 == b.0) {
        let of = |class: bool| equal.iter().filter(|row| row.2 == class).map(|row| row.1).sum::<f64>();
        let (negatives, positives) = (of(false), of(true));
        area += positives * (below + 0.5 * negatives);
        below += negatives;
        above += positives;
    }
    Ok(area / (below * above))
}

/// `-mean log p` of the probabilities `p` that rows give to their class: scikit-learn's `log_loss`.
///
/// `probabilities` are `[batch, classes]`, or `[batch]` of class 1 of two. Targets are classes, with weights
/// of rows if wanted. As in scikit-learn a probability counts as at least the element type's epsilon, and at
/// most 1 less that. NaN for no rows, and for NaN.
///
/// # Errors
/// As [`class_scores`].
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::log_loss;
///
/// let right = -(0.8_f64.ln() + 0.5_f64.ln()) / 2.0;
/// assert!((log_loss(&[0.2_f64, 0.8, 0.5, 0.5], &[1, 0])? - right).abs() < 1e-15);
/// assert!((log_loss(&[0.8_f64, 0.5], &[1, 0])? - right).abs() < 1e-15);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn log_loss<'t, T: Element>(
    probabilities: &[T],
    targets: impl Into<Targets<'t, T>>,
) -> Result<f64, Error> {
    let targets = targets.into();
    let classes = classes_of(&targets)?;
    let weights = Weights::of_rows(&targets, classes.len())?;
    let epsilon = if size_of::<T>() == 4 { f64::from(f32::EPSILON) } else { f64::EPSILON };
    let (mut sum, mut total) = (0.0, 0.0);
    for (r, (row, class)) in super::rows(probabilities, classes)?.enumerate() {
        let weight = weights.get(r);
        if weight == 0.0 {
            continue;
        }
        let p = match row {
            &[p] if class == 0 => 1.0 - p.to_f64(),
            &[p] => p.to_f64(),
            row => row[class as usize].to_f64(),
        };
        sum -= weight * p.clamp(epsilon, 1.0 - epsilon).ln();
        total += weight;
    }
    Ok(sum / total)
}

/// The fraction of elements that are above a threshold where their target is above a half, and not elsewhere:
/// of logits a threshold of 0, of probabilities 0.5. Keras's `binary_accuracy`, and scikit-learn's
/// `accuracy_score` of one output.
///
/// `y` is `[batch, outputs]`. Targets are values of the same shape, with weights of rows and a mask if
/// wanted, or classes 0 and 1 of a single output. NaN is no hit. NaN for no elements.
///
/// # Errors
/// [`Error::Length`] if lengths differ, [`Error::Zero`] for no outputs, [`Error::Rows`] unless `y` is whole
/// rows, [`Error::Class`] for a class that is not 0 or 1; those of [`class_scores`] for weights.
///
/// # Examples
///
/// ```
/// use fuseprop::metrics::binary_accuracy;
///
/// assert_eq!(binary_accuracy(&[-1.0_f32, 2.0, 3.0, -4.0], &[0.0, 1.0, 0.0, 0.0], 2, 0.0)?, 0.75);
/// # Ok::<(), fuseprop::Error>(())
/// ```
pub fn binary_accuracy<'t, T: Element>(
    y: &[T],
    targets: impl Into<Targets<'t, T>>,
    outputs: usize,
    threshold: f64,
) -> Result<f64, Error> {
    let targets = targets.into();
    let rows = super::row_count(y, outputs)?;
    let positive = Positive::of(&targets, rows, outputs)?;
    let weights = Weights::of_elements(&targets, rows, outputs)?;
    let (mut hits, mut total) = (0.0, 0.0);
    for (i, y) in y.iter().enumerate() {
        let weight = weights.get(i);
        if weight != 0.0 {
            let y = y.to_f64();
            total += weight;
            if !y.is_nan() && (y > threshold) == positive.is_positive(i) {
                hits += weight;
            }
        }
    }
    Ok(hits / total)
}

/// Which elements are positive.
struct Positive<'a, T> {
    targets: Targets<'a, T>,
}

impl<'a, T: Element> Positive<'a, T> {
    fn of(targets: &Targets<'a, T>, rows: usize, outputs: usize) -> Result<Self, Error> {
        match (targets.values(), targets.labels()) {
            (Some(values), _) => check_length(Argument::Targets, rows * outputs, values.len())?,
            (None, Some(classes)) => {
                check_length(Argument::ClassTargets, rows * outputs, classes.len())?;
                if let Some(row) = classes.find_wrong(2, |_| true) {
                    return Err(Error::Class { row, class: classes.value(row), classes: 2 });
                }
            }
            (None, None) => {}
        }
        Ok(Self { targets: *targets })
    }

    fn is_positive(&self, i: usize) -> bool {
        match (self.targets.values(), self.targets.labels()) {
            (Some(values), _) => values[i].to_f64() > 0.5,
            (None, classes) => classes.and_then(|classes| classes.get(i)) == Some(1),
        }
    }
}

/// The classes of targets that are no values.
fn classes_of<'a, T: Element>(targets: &Targets<'a, T>) -> Result<ClassLabels<'a>, Error> {
    let combination = Error::Combination { argument: Argument::ClassMetric, with: Argument::TargetValues };
    targets.labels().ok_or(combination)
}

/// Weights of rows of one class, and of its predictions.
#[derive(Clone, Copy, Default)]
struct Sums {
    hits: f64,
    predicted: f64,
    support: f64,
}

impl Sums {
    fn scores(self) -> ClassScores {
        let Self { hits, predicted, support } = self;
        let quotient = |a: f64, b: f64| if b == 0.0 { 0.0 } else { a / b };
        ClassScores {
            precision: quotient(hits, predicted),
            recall: quotient(hits, support),
            f1: quotient(2.0 * hits, predicted + support),
            support,
        }
    }
}

impl Average {
    fn of(self, classes: &[Sums], score: impl Fn(ClassScores) -> f64) -> Result<f64, Error> {
        let weighted = |weight: &dyn Fn(&Sums) -> f64| {
            let total: f64 = classes.iter().map(weight).sum();
            classes.iter().map(|sums| weight(sums) * score(sums.scores())).sum::<f64>() / total
        };
        match self {
            Self::Class(class) => match classes.get(class) {
                Some(sums) => Ok(score(sums.scores())),
                None => Err(Error::Setting { argument: Argument::MeasuredClass, value: class as f64 }),
            },
            Self::Macro => Ok(weighted(&|sums| f64::from(sums.support + sums.predicted > 0.0))),
            Self::Weighted => Ok(weighted(&|sums| sums.support)),
        }
    }
}
