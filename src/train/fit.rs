//! Training over epochs: shuffled mini-batches, a validation set, a schedule, early stopping.

use crate::error::Argument;
use core::ops::ControlFlow;

use crate::error::Error;
use crate::kernels::ops::loss::Reduction;
use crate::kernels::ops::optimizer::Optimizer;
use crate::kernels::ops::targets::{Labels, Targets};
use crate::metrics;
use crate::network::Network;
use crate::rng::SplitMix64;
use crate::simd::scalar::Element;
use crate::train::schedule::{ReduceOnPlateau, Schedule};
use crate::train::trainer::{Criterion, Trainer};

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
    x: &'a [T],
    targets: Targets<'a, T>,
}

impl<'a, T: Element> Dataset<'a, T> {
    /// Rows `x` `[rows, inputs]`; targets, weights and a mask as for [`Trainer::step`].
    pub fn new(x: &'a [T], targets: impl Into<Targets<'a, T>>) -> Self {
        Self { x, targets: targets.into() }
    }
}

/// The settings of [`Trainer::fit`]: epochs, batches, schedule, validation, early stopping.
///
/// ```
/// use fuseprop::{Dataset, FitOptions, Schedule};
///
/// let (x, classes) = ([0.1_f32, 0.9], [0, 1]);
/// let how = FitOptions::new(100, 32)
///     .validation(Dataset::new(&x, &classes))
///     .schedule(Schedule::cosine(100, 0.0).warm_up(5, 0.1))
///     .early_stopping(10);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FitOptions<'a, T> {
    epochs: usize,
    batch: usize,
    seed: u64,
    shuffle: bool,
    schedule: Schedule,
    plateau: Option<ReduceOnPlateau>,
    validation: Option<Dataset<'a, T>>,
    patience: Option<usize>,
    #[cfg(feature = "files")]
    checkpoint: Option<(&'a std::path::Path, usize)>,
}

impl<'a, T: Element> FitOptions<'a, T> {
    /// Passes over all rows, shuffled, in batches of `batch` rows, the last and shorter one too. `batch` must not be above
    /// [`TrainerBuilder::max_batch`](crate::TrainerBuilder::max_batch).
    pub fn new(epochs: usize, batch: usize) -> Self {
        Self {
            epochs,
            batch,
            seed: 0,
            shuffle: true,
            schedule: Schedule::constant(),
            plateau: None,
            validation: None,
            patience: None,
            #[cfg(feature = "files")]
            checkpoint: None,
        }
    }

    /// What the order of the rows follows from, together with the number of the epoch; 0 by default.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether each epoch has an order of rows of its own; true by default. Without, they are taken as they come, every epoch.
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// The learning rate of each epoch, from that of the optimizer; constant by default.
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Lowers the learning rate, on top of the schedule, when the loss no longer falls: that of the validation set if
    /// there is one. Never by default.
    #[must_use]
    pub fn reduce_on_plateau(mut self, plateau: ReduceOnPlateau) -> Self {
        self.plateau = Some(plateau);
        self
    }

    /// Writes a checkpoint after every so many epochs, and after the last, before its callback. See
    /// [`Trainer::save_checkpoint`]; a trainer that [resumes](Trainer::load_checkpoint) it goes on with the epoch after.
    #[cfg(feature = "files")]
    #[must_use]
    pub fn checkpoint(mut self, path: &'a (impl AsRef<std::path::Path> + ?Sized), every: usize) -> Self {
        self.checkpoint = Some((path.as_ref(), every));
        self
    }

    /// BatchRange that are not trained on, to evaluate after each epoch.
    #[must_use]
    pub fn validation(mut self, data: Dataset<'a, T>) -> Self {
        self.validation = Some(data);
        self
    }

    /// Stops after so many epochs in a row (0 counts as 1) without a lower loss, of the validation set if there is one
    /// (Prechelt 1998). However the fit ends, but for an error, the parameters are those of the lowest afterwards.
    #[must_use]
    pub fn early_stopping(mut self, patience: usize) -> Self {
        self.patience = Some(patience);
        self
    }
}

/// What a set of rows gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Reduced over the whole set as over one batch.
    pub loss: f64,
    /// The share of rows whose largest output is that of their class, for class targets.
    pub accuracy: Option<f64>,
    /// The mean of `|y - t|`, for values, with `y` as the loss takes it.
    pub mean_absolute_error: Option<f64>,
    /// The coefficient of determination, as [`metrics::r2_score`], for values.
    pub r2: Option<f64>,
}

/// What is known after an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct EpochReport {
    /// From 1.
    pub number: usize,
    /// How many there will be at most.
    pub of: usize,
    /// The losses of the batches, each before its update: their mean, weighted by their rows, or their sum, as the
    /// trainer's reduction says.
    pub loss: f64,
    /// Of the validation set, after the epoch.
    pub validation: Option<Evaluation>,
    /// That of the epoch.
    pub learning_rate: f64,
    /// Whether the watched loss is the lowest so far.
    pub is_best: bool,
}

impl EpochReport {
    /// The loss that early stopping watches.
    pub fn watched_loss(&self) -> f64 {
        self.validation.map_or(self.loss, |validation| validation.loss)
    }
}

/// How a fit ended.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FitReport {
    /// The last epoch.
    pub last: EpochReport,
    /// The epoch of the lowest watched loss, whose parameters early stopping returns to.
    pub best: EpochReport,
}

/// A fit between two epochs.
#[derive(Clone, Debug)]
pub(crate) struct Progress<T: Element> {
    /// What the epochs so far have come to.
    pub(crate) outcome: Option<FitReport>,
    /// The parameters of the best epoch, if early stopping will return to them.
    pub(crate) kept: Vec<T::Line>,
    pub(crate) plateau: Option<ReduceOnPlateau>,
    /// By which plateaus have lowered the learning rate.
    pub(crate) factor: f64,
}

impl<T: Element> Progress<T> {
    /// Takes in an epoch, of which all but its rank is known; the same with its rank.
    fn add(&mut self, mut last: EpochReport) -> EpochReport {
        let watched = last.watched_loss();
        let best = match self.outcome {
            // A loss that is not a number is never the best of several.
            Some(FitReport { best, .. }) if watched >= best.watched_loss() || watched.is_nan() => best,
            _ => last,
        };
        last.is_best = best.number == last.number;
        self.outcome = Some(FitReport { last, best: EpochReport { is_best: true, ..best } });
        self.factor *= self.plateau.as_mut().map_or(1.0, |plateau| plateau.factor(watched));
        last
    }

    /// Whether there were so many epochs without a lower loss.
    fn is_stuck(&self, patience: Option<usize>) -> bool {
        let waited = self.outcome.map_or(0, |FitReport { last, best }| last.number - best.number);
        patience.is_some_and(|patience| waited >= patience.max(1))
    }
}

/// Gives a trainer its learning rate back, when a fit ends and when its callback panics.
struct BaseRate<'a, T: Element> {
    trainer: &'a mut Trainer<T>,
    optimizer: Optimizer,
}

impl<T: Element> Drop for BaseRate<'_, T> {
    fn drop(&mut self) {
        self.trainer.state.optimizer = self.optimizer;
    }
}

impl<T: Element> Trainer<T> {
    /// Trains on mini-batches for some epochs. `each` sees every epoch and may end the fit with
    /// [`ControlFlow::Break`]; it may run on a thread of the pool.
    ///
    /// The order of the rows follows from the seed and the number of the epoch alone, and the whole fit enters the
    /// pool once. Buffers are allocated at its start; nothing is allocated after its first epoch, but for checkpoints.
    /// The learning rate is the optimizer's again afterwards.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use fuseprop::{Activation, Dataset, FitOptions, Network, Optimizer, Trainer};
    ///
    /// let network = Network::<f32>::builder(1)
    ///     .dense(16, Activation::Tanh)
    ///     .dense(1, Activation::Identity)
    ///     .seed(1)
    ///     .build()?;
    /// let mut trainer = Trainer::builder(network).optimizer(Optimizer::adam(0.01)).build()?;
    /// let x: Vec<f32> = (0..200).map(|i| i as f32 / 100.0 - 1.0).collect();
    /// let y: Vec<f32> = x.iter().map(|x| (3.0 * x).sin()).collect();
    /// let outcome = trainer.fit(Dataset::new(&x, &y), &FitOptions::new(100, 20), |epoch| {
    ///     if epoch.loss < 1e-3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    /// })?;
    /// assert!(outcome.last.loss < 0.01);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Zero`] for no epochs or a batch of 0, [`Error::Batch`] for a batch past `max_batch`,
    /// [`Error::Setting`] for a schedule out of range, and the errors of [`Trainer::step`] for either set:
    /// nothing has changed then. [`Error::File`] if a checkpoint cannot be written: the next fit goes on after its epoch.
    /// [`Error::NonFinite`] if the trainer checks for it, with the parameters of the
    /// step before.
    pub fn fit(
        &mut self,
        data: Dataset<'_, T>,
        how: &FitOptions<'_, T>,
        each: impl FnMut(&EpochReport) -> ControlFlow<()> + Send,
    ) -> Result<FitReport, Error> {
        if how.epochs == 0 || how.batch == 0 {
            return Err(Error::Zero {
                argument: if how.epochs == 0 { Argument::Epochs } else { Argument::BatchSize },
            });
        }
        if how.batch > self.max_batch() {
            return Err(Error::Batch { max: self.max_batch(), found: how.batch });
        }
        how.schedule.check()?;
        how.plateau.map(ReduceOnPlateau::check).transpose()?;
        let base = self.optimizer().learning_rate();
        // No schedule rises and falls again: if the last rate is one, all are.
        let value = how.schedule.rate(base, how.epochs - 1);
        if !T::holds(value) {
            return Err(Error::Setting { argument: Argument::LastLearningRate, value });
        }
        #[cfg(feature = "files")]
        if how.checkpoint.is_some_and(|(_, every)| every == 0) {
            return Err(Error::Zero { argument: Argument::CheckpointInterval });
        }
        self.check_data(data.x, &data.targets)?;
        how.validation.map_or(Ok(0), |data| self.check_data(data.x, &data.targets))?;
        let threads = self.executor.threads.clone();
        let rate = BaseRate { optimizer: self.optimizer(), trainer: self };
        threads.enter(usize::MAX, |_| rate.trainer.fit_epochs(data, how, each))
    }

    /// The loss of any number of rows, in batches, with the accuracy for class targets, and the mean absolute error
    /// and R2 for values. Nothing is trained, and dropout leaves nothing out.
    ///
    /// All are means over rows and elements by their weights, as the loss is. The first call allocates a batch of outputs.
    ///
    /// # Errors
    /// As [`Trainer::step`], but for the number of rows.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Trainer};
    ///
    /// let mut network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// network.write_parameters(&[1.0, 0.0])?; // the identity
    /// let mut trainer = Trainer::builder(network).build()?;
    /// let found = trainer.evaluate(&[1.0, 2.0], &[1.0, 4.0])?;
    /// assert_eq!(found.loss, 2.0);
    /// assert_eq!(found.mean_absolute_error, Some(1.0));
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn evaluate<'t>(&mut self, x: &[T], targets: impl Into<Targets<'t, T>>) -> Result<Evaluation, Error> {
        let targets = targets.into();
        let rows = self.check_data(x, &targets)?;
        let (inputs, outputs) = (self.network.inputs(), self.network.outputs());
        let Criterion { loss, ref classes, reduction } = self.criterion;
        let scale = reduction.scale(loss.total_weight(&targets, classes, rows, outputs));
        let (mut sum, mut metrics) = (0.0, Metrics::new(&targets, outputs));
        for first in (0..rows).step_by(self.max_batch()) {
            let of_batch = first..rows.min(first + self.max_batch());
            let targets = targets.rows(of_batch.clone(), outputs);
            sum += self.loss_of(&x[of_batch.start * inputs..of_batch.end * inputs], targets, scale)?;
            metrics.add(self.last_outputs(of_batch.len()), &targets, outputs);
        }
        Ok(metrics.evaluation(sum))
    }

    /// The number of rows, at least 1, of data that fit the network and the loss.
    fn check_data(&self, x: &[T], targets: &Targets<'_, T>) -> Result<usize, Error> {
        let inputs = self.network.inputs();
        if x.is_empty() || !x.len().is_multiple_of(inputs) {
            return Err(Error::Rows { argument: Argument::Inputs, row: inputs, found: x.len() });
        }
        let rows = x.len() / inputs;
        self.criterion.loss.check_targets(targets, rows, self.network.outputs())?;
        Ok(rows)
    }

    fn fit_epochs(
        &mut self,
        data: Dataset<'_, T>,
        how: &FitOptions<'_, T>,
        mut each: impl FnMut(&EpochReport) -> ControlFlow<()>,
    ) -> Result<FitReport, Error> {
        let base = self.optimizer().learning_rate();
        let mut order: Vec<usize> = (0..data.x.len() / self.network().inputs()).collect();
        let mut batch = GatheredBatch::new(&self.network, data, how.batch.min(order.len()));
        let mut progress = self.state.fit.take().unwrap_or_else(|| Progress {
            outcome: None,
            kept: Vec::new(),
            plateau: how.plateau,
            factor: 1.0,
        });
        if how.patience.is_some() && progress.kept.is_empty() {
            progress.kept = self.network().parameters.clone();
            // Parameters of an earlier best epoch were not kept: the last stands for it.
            progress.outcome = progress.outcome.map(|FitReport { last, .. }| {
                let last = EpochReport { is_best: true, ..last };
                FitReport { last, best: last }
            });
        }
        let first = progress.outcome.map_or(1, |outcome| outcome.last.number + 1);
        for number in first..=how.epochs {
            if progress.is_stuck(how.patience) {
                break;
            }
            let learning_rate = how.schedule.rate(base, number - 1) * progress.factor;
            self.set_learning_rate(learning_rate)?;
            if how.shuffle {
                shuffle(&mut order, how.seed, number as u64);
            }
            let loss = self.epoch(data, &order, how.batch, &mut batch)?;
            let validation = how.validation.map(|data| self.evaluate(data.x, data.targets)).transpose()?;
            let epoch =
                EpochReport { number, of: how.epochs, loss, validation, learning_rate, is_best: true };
            let epoch = progress.add(epoch);
            if epoch.is_best && how.patience.is_some() {
                progress.kept.copy_from_slice(&self.network().parameters);
            }
            #[cfg(feature = "files")]
            if let Some((path, every)) = how.checkpoint
                && (number % every == 0 || number == how.epochs)
                && let Err(error) = self.write_checkpoint(path, base, Some(&progress))
            {
                self.state.fit = Some(progress);
                return Err(error);
            }
            if each(&epoch).is_break() {
                break;
            }
        }
        if how.patience.is_some() {
            self.restore(&progress.kept);
        }
        progress.outcome.ok_or(Error::Zero { argument: Argument::Epochs })
    }

    /// Steps through all rows once; the loss, reduced over all of them.
    fn epoch(
        &mut self,
        data: Dataset<'_, T>,
        order: &[usize],
        batch_rows: usize,
        batch: &mut GatheredBatch<T>,
    ) -> Result<f64, Error> {
        let (mut sum, mut total) = (0.0, 0.0);
        let is_mean = self.criterion.reduction == Reduction::Mean;
        for rows in order.chunks(batch_rows) {
            batch.gather(data, rows);
            let loss = self.step(&batch.x, batch.targets(&data.targets))?;
            // What the batch's mean has divided by.
            let weight = self.executor.gradient_weight.filter(|_| is_mean).unwrap_or(1.0);
            sum += weight * loss;
            total += weight;
        }
        Ok(match is_mean {
            true if total > 0.0 => sum / total,
            _ => sum,
        })
    }
}

/// One batch of rows, gathered.
struct GatheredBatch<T> {
    inputs: usize,
    outputs: usize,
    x: Vec<T>,
    values: Vec<T>,
    classes: Vec<u32>,
    weights: Vec<T>,
    mask: Vec<T>,
}

impl<T: Element> GatheredBatch<T> {
    fn new(network: &Network<T>, data: Dataset<'_, T>, rows: usize) -> Self {
        let (inputs, outputs) = (network.inputs(), network.outputs());
        let Targets { labels, weights, mask } = data.targets;
        let elements = |wanted: bool, each: usize| Vec::with_capacity(if wanted { rows * each } else { 0 });
        let has_values = matches!(labels, Labels::Values(_));
        Self {
            inputs,
            outputs,
            x: elements(true, inputs),
            values: elements(has_values, outputs),
            classes: Vec::with_capacity(if has_values { 0 } else { rows }),
            weights: elements(weights.is_some(), 1),
            mask: elements(mask.is_some(), outputs),
        }
    }

    /// Copies some rows, in their order.
    fn gather(&mut self, data: Dataset<'_, T>, rows: &[usize]) {
        let Self { inputs, outputs, x, values, classes, weights, mask } = self;
        [&mut *x, values, weights, mask].into_iter().for_each(Vec::clear);
        classes.clear();
        for &row in rows {
            let (of_row, at) = (row * *inputs..(row + 1) * *inputs, row * *outputs..(row + 1) * *outputs);
            x.extend_from_slice(&data.x[of_row]);
            match data.targets.labels {
                Labels::Values(all) => values.extend_from_slice(&all[at.clone()]),
                Labels::Classes(all) => classes.push(all[row]),
            }
            weights.extend(data.targets.weights.map(|all| all[row]));
            if let Some(all) = data.targets.mask {
                mask.extend_from_slice(&all[at]);
            }
        }
    }

    /// The targets of the rows, in the form of those that they are gathered from.
    fn targets(&self, of: &Targets<'_, T>) -> Targets<'_, T> {
        Targets {
            labels: match of.labels {
                Labels::Values(_) => Labels::Values(&self.values),
                Labels::Classes(_) => Labels::Classes(&self.classes),
            },
            weights: of.weights.map(|_| &self.weights[..]),
            mask: of.mask.map(|_| &self.mask[..]),
        }
    }
}

/// What an evaluation measures besides the loss, batch by batch.
struct Metrics {
    /// The weight of the rows, and of those whose class is found, if targets are classes.
    rows: f64,
    hits: f64,
    /// If targets are values.
    distances: Option<metrics::Distances>,
}

impl Metrics {
    /// For targets of which these are all.
    fn new<T: Element>(targets: &Targets<'_, T>, outputs: usize) -> Self {
        let weight = |i: usize| targets.element_weight(i / outputs, outputs, i % outputs);
        let distances = targets.values().map(|values| {
            metrics::Distances::new(values.iter().enumerate().map(|(i, t)| (t.to_f64(), weight(i))))
        });
        Self { rows: 0.0, hits: 0.0, distances }
    }

    /// Takes in the outputs of some rows.
    fn add<T: Element>(&mut self, y: &[T], targets: &Targets<'_, T>, outputs: usize) {
        match (targets.labels, &mut self.distances) {
            (Labels::Values(values), Some(distances)) => {
                for (i, (y, t)) in y.iter().zip(values).enumerate() {
                    let weight = targets.element_weight(i / outputs, outputs, i % outputs);
                    distances.add(y.to_f64(), t.to_f64(), weight);
                }
            }
            (Labels::Classes(classes), _) => {
                for (r, (y, &class)) in y.chunks_exact(outputs).zip(classes).enumerate() {
                    let weight = targets.row_weight(r);
                    self.rows += weight;
                    if weight != 0.0 && metrics::is_hit(y, class, 1) {
                        self.hits += weight;
                    }
                }
            }
            (Labels::Values(_), None) => {}
        }
    }

    fn evaluation(self, loss: f64) -> Evaluation {
        match self.distances {
            Some(distances) => Evaluation {
                loss,
                accuracy: None,
                mean_absolute_error: Some(distances.mean()),
                r2: Some(distances.r2()),
            },
            None => {
                let accuracy = Some(self.hits / self.rows);
                Evaluation { loss, accuracy, mean_absolute_error: None, r2: None }
            }
        }
    }
}

/// Orders the rows by seed and epoch alone, whatever the order was (Fisher and Yates 1938; Durstenfeld 1964).
fn shuffle(order: &mut [usize], seed: u64, epoch: u64) {
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
    fn the_best_epoch_is_the_first_of_the_lowest_loss_that_is_a_number() {
        let mut progress = Progress::<f32> { outcome: None, kept: Vec::new(), plateau: None, factor: 1.0 };
        // Losses, with the number of the best epoch so far.
        let losses = [(f64::NAN, 1), (3.0, 2), (3.0, 2), (4.0, 2), (2.0, 5), (f64::NAN, 5), (1.0, 7)];
        for (number, (loss, best)) in (1..).zip(losses) {
            let (validation, learning_rate) = (None, 0.1);
            let added =
                progress.add(EpochReport { number, of: 7, loss, validation, learning_rate, is_best: false });
            let outcome = progress.outcome.unwrap();
            assert_eq!((outcome.last.number, outcome.best.number), (number, best));
            let ranks = [added.is_best, outcome.last.is_best, outcome.best.is_best];
            assert_eq!(ranks, [number == best, number == best, true], "{number}");
        }
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
