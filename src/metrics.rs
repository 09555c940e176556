//! How good outputs are, in numbers that are not losses.
//!
//! Outputs are row-major `[batch, outputs]`.
//!
//! # Panics
//!
//! If the lengths of outputs and targets do not go together, or a class is not below the number of outputs.

use crate::Element;

/// The index of the largest output of a row; the first of equals, and NaN counts as lowest.
pub fn argmax<T: Element>(row: &[T]) -> usize {
    let mut best = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[best] || (is_nan(row[best]) && !is_nan(*value)) {
            best = i;
        }
    }
    best
}

/// The share of rows whose largest output is that of their class.
pub fn accuracy<T: Element>(outputs: &[T], classes: &[u32]) -> f64 {
    top_k_accuracy(outputs, classes, 1)
}

/// The share of rows in which fewer than `k` outputs are larger than that of their class.
pub fn top_k_accuracy<T: Element>(outputs: &[T], classes: &[u32], k: usize) -> f64 {
    hits(outputs, classes, k) as f64 / classes.len() as f64
}

fn hits<T: Element>(outputs: &[T], classes: &[u32], k: usize) -> usize {
    rows(outputs, classes.len()).zip(classes).filter(|&(row, &class)| is_hit(row, class, k)).count()
}

/// Whether fewer than `k` outputs of a row are larger than that of its class, or equal and before it.
pub(crate) fn is_hit<T: Element>(row: &[T], class: u32, k: usize) -> bool {
    let class = class as usize;
    let ahead = |i: usize| row[i] > row[class] || (i < class && row[i] == row[class]);
    // A NaN is behind all others.
    !is_nan(row[class]) && (0..row.len()).filter(|&i| ahead(i)).count() < k
}

/// `counts[class][prediction]`: how often a row of one class has its largest output at another.
pub fn confusion_matrix<T: Element>(outputs: &[T], classes: &[u32]) -> Vec<Vec<usize>> {
    let n = if classes.is_empty() { 0 } else { outputs.len() / classes.len() };
    let mut counts = vec![vec![0; n]; n];
    for (row, &class) in rows(outputs, classes.len()).zip(classes) {
        counts[class as usize][argmax(row)] += 1;
    }
    counts
}

/// `mean |y - t|`.
pub fn mean_absolute_error<T: Element>(outputs: &[T], targets: &[T]) -> f64 {
    distances(outputs, targets).mean()
}

/// The coefficient of determination, `1 - sum (y - t)^2 / sum (t - mean t)^2` over all elements: 1 is
/// perfect, 0 as good as the mean.
pub fn r2_score<T: Element>(outputs: &[T], targets: &[T]) -> f64 {
    distances(outputs, targets).r2()
}

fn distances<T: Element>(outputs: &[T], targets: &[T]) -> Distances {
    assert_eq!(outputs.len(), targets.len(), "outputs and targets have one length");
    let mut distances = Distances::new(targets.iter().map(|t| (t.to_f64(), 1.0)));
    outputs.iter().zip(targets).for_each(|(y, t)| distances.add(y.to_f64(), t.to_f64(), 1.0));
    distances
}

/// Weighted sums over several batches, from which [`mean_absolute_error`] and [`r2_score`] of all follow.
pub(crate) struct Distances {
    mean: f64,
    weight: f64,
    distances: f64,
    squares: f64,
    deviations: f64,
}

impl Distances {
    /// For targets of which these are all, each with its weight. Those of weight 0 are not read.
    pub(crate) fn new(targets: impl Iterator<Item = (f64, f64)>) -> Self {
        let weighed = targets.filter(|&(_, weight)| weight != 0.0);
        let (sum, weight) =
            weighed.fold((0.0, 0.0), |(sum, all), (t, weight)| (sum + weight * t, all + weight));
        Self { mean: sum / weight, weight: 0.0, distances: 0.0, squares: 0.0, deviations: 0.0 }
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

    pub(crate) fn mean(&self) -> f64 {
        self.distances / self.weight
    }

    pub(crate) fn r2(&self) -> f64 {
        1.0 - self.squares / self.deviations
    }
}

fn is_nan<T: Element>(x: T) -> bool {
    x.to_f64().is_nan()
}

/// Nothing for no rows.
fn rows<T: Element>(outputs: &[T], batch: usize) -> impl Iterator<Item = &[T]> {
    assert!(batch > 0 || outputs.is_empty(), "outputs without rows");
    assert_eq!(outputs.len() % batch.max(1), 0, "outputs are whole rows");
    outputs.chunks_exact((outputs.len() / batch.max(1)).max(1))
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
        assert_eq!(r2_score(&y, &t), 1.0 - 2.0 / 10.0);
        assert_eq!(r2_score(&t, &t), 1.0);
    }
}
