//! The rows of a fit, in batches of their order in an epoch.

use crate::kernels::ops::loss::Loss;
use crate::kernels::ops::targets::{Labels, Targets};
use crate::network::Network;
use crate::rng::SplitMix64;
use crate::simd::scalar::Element;

/// Rows with their targets.
///
/// # Examples
/// ```
/// use fuseprop::{Dataset, Targets};
///
/// let (x, y) = ([0.1_f32, 0.9], [1.0, 2.0]);
/// let data = Dataset::new(&x, &y);
/// // The second row counts twice.
/// let weighted = Dataset::new(&x, Targets::from(&y).weights(&[1.0, 2.0]));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Dataset<'a, T> {
    pub(super) x: &'a [T],
    pub(super) targets: Targets<'a, T>,
}

impl<'a, T: Element> Dataset<'a, T> {
    /// Rows `x` `[rows, inputs]`; targets, weights and a mask as for [`Trainer::step`](crate::Trainer::step).
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Dataset, FitOptions, Network, Trainer};
    /// use std::ops::ControlFlow;
    ///
    /// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// let x = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]; // three rows
    /// let data = Dataset::new(&x, &[1.0, 0.0, 1.0]);
    /// trainer.fit(data, &FitOptions::new(1, 2), |_, _| ControlFlow::Continue(()))?;
    /// assert_eq!(trainer.steps(), 2); // of two rows and of one
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn new(x: &'a [T], targets: impl Into<Targets<'a, T>>) -> Self {
        Self { x, targets: targets.into() }
    }

    /// A number that other data do not have, but for one case in 2^64: by it a fit knows the data that it
    /// went through.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hash = Fingerprint(self.x.len() as u64);
        hash.add(self.x.iter().map(bits));
        match self.targets.labels {
            Labels::Values(values) => hash.add(values.iter().map(bits)),
            Labels::Classes(classes) => hash.add((0..classes.len()).map(|row| classes.value(row) as u64)),
        }
        hash.add(self.targets.weights.unwrap_or_default().iter().map(bits));
        hash.add(self.targets.mask.unwrap_or_default().iter().map(bits));
        hash.0
    }
}

fn bits<T: Element>(x: &T) -> u64 {
    x.to_f64().to_bits()
}

struct Fingerprint(u64);

impl Fingerprint {
    /// Takes in numbers, one after the other, by a multiplication each, which is a bijection of the sum so
    /// far.
    fn add(&mut self, numbers: impl Iterator<Item = u64>) {
        let step = |hash: u64, x: u64| (hash.rotate_left(23) ^ x).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = numbers.fold(self.0.wrapping_add(1), step);
    }
}

/// One batch of rows, gathered.
pub(super) struct GatheredBatch<T> {
    inputs: usize,
    /// Target values of a row.
    columns: usize,
    pub(super) x: Vec<T>,
    values: Vec<T>,
    classes: Vec<u32>,
    weights: Vec<T>,
    mask: Vec<T>,
}

impl<T: Element> GatheredBatch<T> {
    /// Of a network that is trained by a loss.
    pub(super) fn new(network: &Network<T>, loss: Loss, data: Dataset<'_, T>, rows: usize) -> Self {
        let (inputs, columns) = (network.inputs(), loss.target_columns(network.outputs()));
        let Targets { labels, weights, mask, .. } = data.targets;
        let elements = |wanted: bool, each: usize| Vec::with_capacity(if wanted { rows * each } else { 0 });
        let has_values = matches!(labels, Labels::Values(_));
        Self {
            inputs,
            columns,
            x: elements(true, inputs),
            values: elements(has_values, columns),
            classes: Vec::with_capacity(if has_values { 0 } else { rows }),
            weights: elements(weights.is_some(), 1),
            mask: elements(mask.is_some(), columns),
        }
    }

    /// Copies some rows, in their order.
    pub(super) fn gather(&mut self, data: Dataset<'_, T>, rows: &[usize]) {
        let Self { inputs, columns, x, values, classes, weights, mask } = self;
        [&mut *x, values, weights, mask].into_iter().for_each(Vec::clear);
        classes.clear();
        for &row in rows {
            let (of_row, at) = (row * *inputs..(row + 1) * *inputs, row * *columns..(row + 1) * *columns);
            x.extend_from_slice(&data.x[of_row]);
            match data.targets.labels {
                Labels::Values(all) => values.extend_from_slice(&all[at.clone()]),
                Labels::Classes(all) => classes.push(all.class(row)),
            }
            weights.extend(data.targets.weights.map(|all| all[row]));
            if let Some(all) = data.targets.mask {
                mask.extend_from_slice(&all[at]);
            }
        }
    }

    /// The targets of the rows, in the form of those that they are gathered from.
    pub(super) fn targets(&self, of: &Targets<'_, T>) -> Targets<'_, T> {
        Targets {
            labels: match of.labels {
                Labels::Values(_) => Labels::Values(&self.values),
                Labels::Classes(_) => Labels::Classes((&self.classes).into()),
            },
            weights: of.weights.map(|_| &self.weights[..]),
            mask: of.mask.map(|_| &self.mask[..]),
            heads: &[],
        }
    }
}

/// Orders the rows by seed and epoch alone, whatever the order was (Fisher and Yates 1938; Durstenfeld 1964).
pub(super) fn shuffle(order: &mut [usize], seed: u64, epoch: u64) {
    for (i, row) in order.iter_mut().enumerate() {
        *row = i;
    }
    let mut random = SplitMix64::of_stream(seed, epoch);
    for last in (1..order.len()).rev() {
        order.swap(last, random.below(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_have_a_fingerprint_of_their_own() {
        let (x, y) = ([1.0_f32, 2.0], [3.0_f32, 4.0]);
        let targets = Targets::from(&y);
        let all = [
            Dataset::new(&x, targets),
            Dataset::new(&y, &x),
            Dataset::new(&x, &x),
            Dataset::new(&[2.0, 1.0], targets),
            Dataset::new(&x, &[3, 4]),
            Dataset::new(&x, targets.weights(&[1.0, 0.0])),
            Dataset::new(&x, targets.weights(&[0.0, 1.0])),
            Dataset::new(&x, targets.mask(&[1.0, 0.0])),
        ];
        let different: std::collections::BTreeSet<u64> = all.iter().map(Dataset::fingerprint).collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(all[0].fingerprint(), Dataset::new(&[1.0, 2.0], &[3.0, 4.0]).fingerprint());
    }

    #[test]
    fn every_epoch_of_every_seed_has_an_order_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        let mut firsts = [0; 20];
        for seed in [0, 1, 2, u64::MAX] {
            for epoch in 0..200 {
                let mut order = [7; 20];
                shuffle(&mut order, seed, epoch);
                firsts[order[0]] += 1;
                let mut sorted = order;
                sorted.sort_unstable();
                assert!(sorted.iter().enumerate().all(|(i, &row)| i == row), "{order:?}");
                assert!(seen.insert(order), "{order:?} comes twice");
            }
        }
        // Of 800 orders each row comes first in 40, within five standard deviations.
        assert!(firsts.iter().all(|&count| (10..70).contains(&count)), "{firsts:?}");
    }
}
