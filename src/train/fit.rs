//! Training over epochs: shuffled mini-batches, a validation set, a schedule, early stopping.

use core::ops::ControlFlow;

use crate::engine::plan::{forward_flop, step_flop};
use crate::error::{Argument, Error};
use crate::evaluate::Evaluation;
use crate::kernels::ops::loss::Reduction;
use crate::kernels::ops::setting::check_setting;
use crate::network::Network;
use crate::simd::scalar::Element;
use crate::train::dataset::{Dataset, GatheredBatch, shuffle};
use crate::train::executor::GradientSource;
use crate::train::monitor::{Best, Comparison, Metric, Monitor};
use crate::train::schedule::{ReduceOnPlateau, Schedule, check_scheduled};
use crate::train::snapshot::{EpochRows, Snapshot};
use crate::train::state::TrainState;
use crate::train::trainer::{Criterion, Trainer};

/// The settings of [`Trainer::fit`]: epochs, batches, schedule, validation, early stopping.
///
/// # Examples
/// ```
/// use fuseprop::{Dataset, FitOptions, Schedule};
///
/// let (x, classes) = ([0.1_f32, 0.9], [0, 1]);
/// let how = FitOptions::new(100, 32)
///     .validation(Dataset::new(&x, &classes))
///     .schedule(Schedule::cosine(100, 0.0).warm_up(5, 0.1))
///     .early_stopping(10);
/// ```
#[derive(Clone, Debug)]
pub struct FitOptions<'a, T: Element> {
    epochs: usize,
    batch: usize,
    seed: Option<u64>,
    shuffle: bool,
    schedule: Schedule,
    step_schedule: Option<Schedule>,
    plateau: Option<ReduceOnPlateau>,
    validation: Option<Dataset<'a, T>>,
    patience: Option<usize>,
    monitor: Monitor,
    metric: Option<Metric<'a, T>>,
    min_delta: f64,
    check_finite: bool,
    #[cfg(feature = "files")]
    checkpoint: Option<(&'a std::path::Path, usize)>,
}

impl<'a, T: Element> FitOptions<'a, T> {
    /// `epochs` passes over all rows, at least 1, shuffled, in batches of `batch` rows, the last and shorter
    /// one too: at least 1, and at most [`TrainerBuilder::max_batch`](crate::TrainerBuilder::max_batch).
    /// [`Trainer::fit`] refuses other numbers.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let how = FitOptions::<f32>::new(10, 32); // 10 epochs, in batches of 32 rows
    /// ```
    #[must_use]
    pub fn new(epochs: usize, batch: usize) -> Self {
        Self {
            epochs,
            batch,
            seed: None,
            shuffle: true,
            schedule: Schedule::constant(),
            step_schedule: None,
            plateau: None,
            validation: None,
            patience: None,
            monitor: Monitor::Loss,
            metric: None,
            min_delta: 0.0,
            check_finite: true,
            #[cfg(feature = "files")]
            checkpoint: None,
        }
    }

    /// The seed of the order of the rows, which the number of the epoch decides with it; the trainer's by
    /// default: see [`TrainerBuilder::seed`](crate::TrainerBuilder::seed).
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let how = FitOptions::<f32>::new(10, 32).seed(7);
    /// ```
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Whether each epoch has an order of rows of its own; true by default. Without, they are taken as they
    /// come, every epoch.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let how = FitOptions::<f32>::new(10, 32).shuffle(false);
    /// ```
    #[must_use]
    pub fn shuffle(mut self, shuffle: bool) -> Self {
        self.shuffle = shuffle;
        self
    }

    /// The learning rate of each epoch, from the optimizer's; constant by default.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let how = FitOptions::<f32>::new(10, 32).schedule(Schedule::cosine(10, 0.0));
    /// ```
    #[must_use]
    pub fn schedule(mut self, schedule: impl Into<Schedule>) -> Self {
        self.schedule = schedule.into();
        self
    }

    /// The learning rate of each step, from its epoch's, as which the optimizer's counts unless
    /// [`FitOptions::schedule`] says otherwise. None by default.
    ///
    /// Steps are counted from 0 over all fits of the trainer, as [`Trainer::steps`] does before each: a fit
    /// of 10 epochs of 640 rows in batches of 64 has steps 0 to 99.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let how = FitOptions::<f32>::new(10, 64).step_schedule(OneCycle::new(100));
    /// ```
    #[must_use]
    pub fn step_schedule(mut self, schedule: impl Into<Schedule>) -> Self {
        self.step_schedule = Some(schedule.into());
        self
    }

    /// Lowers the learning rate, on top of the schedule, when [`EpochReport::monitored_loss`] no longer
    /// falls. Never by default.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let how = FitOptions::<f32>::new(10, 32).reduce_on_plateau(ReduceOnPlateau::new(0.1, 3));
    /// ```
    #[must_use]
    pub fn reduce_on_plateau(mut self, plateau: ReduceOnPlateau) -> Self {
        self.plateau = Some(plateau);
        self
    }

    /// Writes a checkpoint after each epoch whose number is a multiple of `every`, and after the last, before
    /// its callback. Epochs are counted over all fits of the trainer; [`Trainer::fit`] refuses an `every`
    /// of 0. See [`Trainer::save_checkpoint`]; a trainer that [resumes](Trainer::load_checkpoint) it goes
    /// on with the epoch after.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let how = FitOptions::<f32>::new(10, 32).checkpoint("training.safetensors", 5);
    /// ```
    #[cfg(feature = "files")]
    #[must_use]
    pub fn checkpoint(mut self, path: &'a (impl AsRef<std::path::Path> + ?Sized), every: usize) -> Self {
        self.checkpoint = Some((path.as_ref(), every));
        self
    }

    /// Whether a loss, a gradient or a parameter that is not finite ends the fit with [`Error::NonFinite`];
    /// true by default. Without, the fit goes on, with parameters that are NaN from then on.
    ///
    /// A loss is checked in every step, the parameters once an epoch. For what is found there a fit holds a
    /// copy of the parameters and the optimizer's moments, which it renews from time to time.
    ///
    /// # Examples
    /// ```
    /// use std::ops::ControlFlow;
    /// use fuseprop::*;
    ///
    /// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// let data = Dataset::new(&[1.0, f32::NAN], &[1.0, 2.0]);
    /// let how = FitOptions::new(3, 1).shuffle(false);
    /// let error = trainer.fit(data, &how, |_, _| ControlFlow::Continue(())).unwrap_err();
    /// let (argument, layer, epoch) = (Argument::Loss, Some(0), Some(1));
    /// assert_eq!(error, Error::NonFinite { argument, step: 2, layer, epoch });
    /// assert!(trainer.fit(data, &how.check_finite(false), |_, _| ControlFlow::Continue(())).is_ok());
    /// # Ok::<(), Error>(())
    /// ```
    #[must_use]
    pub fn check_finite(mut self, check_finite: bool) -> Self {
        self.check_finite = check_finite;
        self
    }

    /// Rows that are not trained on, to evaluate after each epoch. A set that is refused is an
    /// [`Error::Validation`].
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let how = FitOptions::new(10, 32).validation(Dataset::new(&[0.5_f32], &[1.0]));
    /// ```
    #[must_use]
    pub fn validation(mut self, data: Dataset<'a, T>) -> Self {
        self.validation = Some(data);
        self
    }

    /// Stops after `patience` epochs in a row (0 counts as 1) without a better [`EpochReport::monitored`]
    /// (Prechelt 1998): a lower loss, unless [`FitOptions::monitor`] or a metric of your own is set.
    /// However the fit ends, but for an error, the parameters are those of the best epoch afterwards.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let how = FitOptions::<f32>::new(100, 32).early_stopping(5);
    /// ```
    #[must_use]
    pub fn early_stopping(mut self, patience: usize) -> Self {
        self.patience = Some(patience);
        self
    }

    /// By how much more a value must differ from the best so far to be better, finite and at least 0; 0 by
    /// default. Keras's `min_delta`.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let how = FitOptions::<f32>::new(100, 32).early_stopping(5).min_delta(1e-3);
    /// ```
    #[must_use]
    pub fn min_delta(mut self, min_delta: f64) -> Self {
        self.min_delta = min_delta;
        self
    }

    /// By what an epoch is the best; the loss by default. Plateaus watch the loss all the same.
    ///
    /// [`Trainer::fit`] refuses a metric that the validation set does not have with
    /// [`Error::Combination`].
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let validation = Dataset::new(&[0.5_f32], &[1]);
    /// let how = FitOptions::new(100, 32).validation(validation).monitor(Monitor::Accuracy);
    /// ```
    #[must_use]
    pub fn monitor(mut self, monitor: Monitor) -> Self {
        (self.monitor, self.metric) = (monitor, None);
        self
    }

    /// A metric of your own by whose highest value an epoch is the best, of the network after it and of its
    /// report, in which [`EpochReport::monitored`] is the loss yet. A checkpoint holds its values, not the
    /// metric: resume with the same. NaN is never the best.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let (x, classes) = ([0.5_f32, -0.5], [1, 0]);
    /// let auc = |network: &Network<f32>, _: &EpochReport| {
    ///     let scores = network.predict(&x).unwrap_or_default();
    ///     metrics::roc_auc_score(&scores, &classes).unwrap_or(f64::NAN)
    /// };
    /// let how = FitOptions::new(100, 32).monitor_highest(&auc).early_stopping(5);
    /// ```
    #[must_use]
    pub fn monitor_highest(mut self, metric: &'a (dyn Fn(&Network<T>, &EpochReport) -> f64 + Sync)) -> Self {
        self.metric = Some(Metric { metric, best: Best::Highest });
        self
    }

    /// As [`FitOptions::monitor_highest`], by the lowest value.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// // Of the last layer's weights too.
    /// let penalized = |network: &Network<f32>, epoch: &EpochReport| {
    ///     let mut weights = vec![0.0; network.parameter_count()];
    ///     network.read_parameters(&mut weights).unwrap();
    ///     epoch.monitored_loss() + 1e-3 * f64::from(weights.iter().map(|w| w * w).sum::<f32>())
    /// };
    /// let how = FitOptions::new(100, 32).monitor_lowest(&penalized).early_stopping(5);
    /// ```
    #[must_use]
    pub fn monitor_lowest(mut self, metric: &'a (dyn Fn(&Network<T>, &EpochReport) -> f64 + Sync)) -> Self {
        self.metric = Some(Metric { metric, best: Best::Lowest });
        self
    }

    /// When an epoch is better than another.
    fn comparison(&self) -> Comparison {
        let best = self.metric.map_or(self.monitor.best(), |metric| metric.best);
        Comparison { best, min_delta: self.min_delta }
    }

    /// The value of an epoch that is compared.
    fn monitored(&self, network: &Network<T>, epoch: &EpochReport) -> f64 {
        self.metric.map_or_else(|| self.monitor.value(epoch), |metric| (metric.metric)(network, epoch))
    }
}

/// What is known after an epoch.
///
/// # Examples
/// ```
/// use std::ops::ControlFlow;
/// use fuseprop::{Activation, Dataset, FitOptions, Network, Trainer};
///
/// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
/// let mut trainer = Trainer::builder(network).build()?;
/// trainer.fit(Dataset::new(&[0.5], &[1.0]), &FitOptions::new(3, 1), |_, epoch| {
///     println!("epoch {} of {}: {}", epoch.number, epoch.epochs, epoch.monitored_loss());
///     ControlFlow::Continue(())
/// })?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct EpochReport {
    /// Counted from 1, over all fits of the trainer.
    pub number: usize,
    /// The number of the last one, if none ends the fit before.
    pub epochs: usize,
    /// The losses of all rows, each before its batch's update, reduced as over one batch: their sum, or
    /// their mean by what the rows, elements and classes weigh.
    pub loss: f64,
    /// Of the validation set, after the epoch.
    pub validation: Option<Evaluation>,
    /// The epoch's; under [`FitOptions::step_schedule`] that of its last step.
    pub learning_rate: f64,
    /// What [`FitOptions::monitor`] says, or the metric of the caller's: the loss by default.
    pub monitored: f64,
    /// Whether [`EpochReport::monitored`] is the best so far.
    pub is_best: bool,
}

impl EpochReport {
    /// The loss of the validation set, or [`EpochReport::loss`] without one.
    ///
    /// # Examples
    /// ```
    /// use std::ops::ControlFlow;
    /// use fuseprop::{Activation, Dataset, FitOptions, Network, Trainer};
    ///
    /// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).build()?;
    /// let mut trainer = Trainer::builder(network).build()?;
    /// let how = FitOptions::new(1, 1).validation(Dataset::new(&[2.0], &[2.0]));
    /// let report = trainer.fit(Dataset::new(&[0.5], &[1.0]), &how, |_, _| ControlFlow::Continue(()))?;
    /// assert_eq!(report.last.monitored_loss(), report.last.validation.unwrap().loss);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn monitored_loss(&self) -> f64 {
        self.validation.map_or(self.loss, |validation| validation.loss)
    }
}

/// The result of [`Trainer::fit`].
///
/// # Examples
/// ```
/// use std::ops::ControlFlow;
/// use fuseprop::{Activation, Dataset, FitOptions, Network, Optimizer, Trainer};
///
/// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(1).build()?;
/// // A rate at which the loss grows from the first epoch on.
/// let mut trainer = Trainer::builder(network).optimizer(Optimizer::sgd(3.0)).build()?;
/// let data = Dataset::new(&[1.0], &[1.0]);
/// let how = FitOptions::new(9, 1).early_stopping(2);
/// let report = trainer.fit(data, &how, |_, _| ControlFlow::Continue(()))?;
/// assert_eq!((report.best.number, report.last.number), (1, 3)); // the parameters are those of the first
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct FitReport {
    /// The last epoch.
    pub last: EpochReport,
    /// The epoch of the best monitored value, whose parameters early stopping returns to.
    pub best: EpochReport,
}

/// A fit between two epochs.
#[derive(Clone, Debug)]
pub(crate) struct FitState<T: Element> {
    /// Epochs of the trainer before the fit.
    pub(crate) first: usize,
    /// The fingerprint of its data.
    pub(crate) data: u64,
    /// The learning rate that its schedule starts from.
    pub(crate) learning_rate: f64,
    /// The result of its epochs so far.
    pub(crate) report: Option<FitReport>,
    /// The parameters of the best epoch, if early stopping will return to them.
    pub(crate) best_parameters: Vec<T::Line>,
    pub(crate) plateau: Option<ReduceOnPlateau>,
    /// The product of the factors by which plateaus have lowered the learning rate.
    pub(crate) plateau_factor: f64,
}

impl<T: Element> FitState<T> {
    fn new(first: usize, plateau: Option<ReduceOnPlateau>) -> Self {
        let (data, learning_rate, best_parameters) = (0, 0.0, Vec::new());
        Self { first, data, learning_rate, report: None, best_parameters, plateau, plateau_factor: 1.0 }
    }

    /// Takes in an epoch, of which all but its rank is known.
    fn add(&mut self, mut last: EpochReport, comparison: Comparison) -> FitReport {
        let best = match self.report {
            Some(FitReport { best, .. }) if !comparison.is_better(last.monitored, best.monitored) => best,
            _ => last,
        };
        last.is_best = best.number == last.number;
        let report = FitReport { last, best: EpochReport { is_best: true, ..best } };
        self.report = Some(report);
        self.plateau_factor *=
            self.plateau.as_mut().map_or(1.0, |plateau| plateau.step(last.monitored_loss()));
        report
    }

    /// Copies parameters to return to. If there were none, the parameters of an earlier best epoch are not
    /// known: the last epoch stands for it.
    fn store_best(&mut self, parameters: &[T::Line]) {
        if self.best_parameters.is_empty() {
            self.report = self.report.map(|FitReport { last, .. }| {
                let last = EpochReport { is_best: true, ..last };
                FitReport { last, best: last }
            });
        }
        self.best_parameters.clear();
        self.best_parameters.extend_from_slice(parameters);
    }

    /// The number of the next epoch, counted over all fits.
    fn next_number(&self) -> usize {
        self.report.map_or(self.first, |report| report.last.number) + 1
    }

    /// Whether no epoch is left, or there were too many without a lower loss.
    fn is_over(&self, how: &FitOptions<'_, T>) -> bool {
        let waited = self.report.map_or(0, |FitReport { last, best }| last.number - best.number);
        self.next_number() > self.first.saturating_add(how.epochs)
            || how.patience.is_some_and(|patience| waited >= patience.max(1))
    }
}

impl<T: Element> Trainer<T> {
    /// Trains on mini-batches for some epochs. `each` is called after every epoch, on the caller's thread,
    /// with the trainer and a report of the epoch, and may end the fit with [`ControlFlow::Break`].
    ///
    /// Epochs are counted over all fits of a trainer: another fit goes on with the next one's order of rows
    /// and with the schedule where it is. The order of the rows follows from the seed and the number of the
    /// epoch alone. The learning rate is the optimizer's again afterwards.
    ///
    /// `each` may evaluate, save a checkpoint, read and write parameters; a learning rate that it sets is
    /// the base rate of the schedule from the next epoch on. A fit that it calls, or a checkpoint that it
    /// loads, takes the place of this one.
    ///
    /// After `Trainer::load_checkpoint` the fit that the checkpoint was written in goes on with the epoch
    /// after, up to the number of epochs that `how` says, counted from its first one. If none is left, and
    /// the data are those that it went through, it ends as it did; other data start another fit. After an
    /// error the next fit goes on in the same way.
    ///
    /// Buffers are allocated at its start; nothing is allocated after its first epoch, but for checkpoints.
    /// The data are read once more at the start, for the mark by which a checkpoint knows them.
    ///
    /// # Errors
    /// [`Error::Zero`] for no epochs or a batch of 0, [`Error::Batch`] for a batch past `max_batch`,
    /// [`Error::Setting`] for a schedule out of range or one that has a learning rate in any epoch that is
    /// not finite in `T` or for data whose weights are all 0, and the errors of [`Trainer::step`] for the
    /// data: nothing has changed then. [`Error::Validation`] with any of these for the validation set.
    /// [`Error::File`] if a checkpoint cannot be written.
    ///
    /// [`Error::NonFinite`] for a loss, a gradient or a parameter that is not finite, with the epoch, the
    /// step and the layer, unless [`FitOptions::check_finite`] is off. Parameters and moments are those
    /// of the step before. (Where epochs are so short that a copy for each would be felt, they are those
    /// of up to 8,192 rows and an epoch before, if it is not the loss that tells first; all of them are
    /// finite.)
    ///
    /// # Examples
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
    /// let report = trainer.fit(Dataset::new(&x, &y), &FitOptions::new(100, 20), |trainer, epoch| {
    ///     assert!(trainer.steps() == 10 * epoch.number as u64);
    ///     if epoch.loss < 1e-3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    /// })?;
    /// assert!(report.last.loss < 0.01);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn fit(
        &mut self,
        data: Dataset<'_, T>,
        how: &FitOptions<'_, T>,
        each: impl FnMut(&mut Self, &EpochReport) -> ControlFlow<()>,
    ) -> Result<FitReport, Error> {
        self.check_options(data, how)?;
        let mark = data.fingerprint();
        let goes_on = |fit: &FitState<T>| fit.report.is_some() && (fit.data == mark || !fit.is_over(how));
        let before = self.state.fit.as_ref();
        // Within a callback the optimizer has the rate of an epoch.
        let base = before.map_or(self.state.optimizer.learning_rate(), |fit| fit.learning_rate);
        let first = before.filter(|&fit| goes_on(fit)).map_or(self.state.epochs, |fit| fit.first);
        self.check_scheduled_rates(data, how, base, first)?;
        // Nothing is refused from here on.
        let before = self.state.fit.take().filter(goes_on);
        let mut fit = before.unwrap_or_else(|| FitState::new(first, how.plateau));
        (fit.data, fit.learning_rate) = (mark, base);
        if how.patience.is_some() && fit.best_parameters.is_empty() {
            fit.store_best(&self.network.parameters);
        }
        match fit.report.filter(|_| fit.is_over(how)) {
            Some(report) => {
                self.end_fit(fit, how);
                Ok(report)
            }
            None => RestoreRate { trainer: self }.fit_epochs(fit, data, how, each),
        }
    }

    /// Refuses options, or data, that do not fit the trainer.
    fn check_options(&self, data: Dataset<'_, T>, how: &FitOptions<'_, T>) -> Result<(), Error> {
        if how.epochs == 0 || how.batch == 0 {
            return Err(Error::Zero {
                argument: if how.epochs == 0 { Argument::Epochs } else { Argument::BatchSize },
            });
        }
        if how.batch > self.max_batch() {
            return Err(Error::Batch { max: self.max_batch(), found: how.batch });
        }
        how.schedule.check()?;
        how.step_schedule.as_ref().map_or(Ok(()), Schedule::check)?;
        how.plateau.map_or(Ok(()), ReduceOnPlateau::check)?;
        #[cfg(feature = "files")]
        if how.checkpoint.is_some_and(|(_, every)| every == 0) {
            return Err(Error::Zero { argument: Argument::CheckpointInterval });
        }
        check_setting::<f64>(Argument::MinDelta, how.min_delta, how.min_delta >= 0.0)?;
        let targets = how.validation.map(|data| data.targets);
        how.monitor.check(self.criterion.loss, targets)?;
        self.check_weighted_data(data)?;
        let of_validation = how.validation.map_or(Ok(()), |data| self.check_weighted_data(data));
        of_validation.map_err(|error| Error::Validation { error: Box::new(error) })
    }

    /// Refuses schedules that have a rate, of those that are known, that is not finite in `T`: from a base
    /// rate on, in a fit whose first epoch has a number, from 0.
    fn check_scheduled_rates(
        &self,
        data: Dataset<'_, T>,
        how: &FitOptions<'_, T>,
        base: f64,
        first: usize,
    ) -> Result<(), Error> {
        let epochs = first..first.saturating_add(how.epochs);
        let highest = how.schedule.check_rates::<T>(base, epochs)?;
        let Some(schedule) = &how.step_schedule else { return Ok(()) };
        let each = (data.x.len() / self.network.inputs()).div_ceil(how.batch);
        let step = position(self.state.steps);
        let steps = step..step.saturating_add(each.saturating_mul(how.epochs));
        schedule.check_rates::<T>(highest, steps).map(drop)
    }

    /// Refuses data that do not fit the network and the loss, or of which nothing weighs anything: their loss
    /// would be 0, the lowest.
    fn check_weighted_data(&self, data: Dataset<'_, T>) -> Result<(), Error> {
        let rows = self.check_data(data.x, &data.targets)?;
        let Criterion { loss, ref classes, .. } = self.criterion;
        match loss.total_weight(&data.targets, classes, rows, self.network.outputs())? {
            0.0 => Err(Error::Setting { argument: Argument::TotalWeight, value: 0.0 }),
            _ => Ok(()),
        }
    }

    /// Leaves the trainer as after the last epoch of a fit, or after the best.
    fn end_fit(&mut self, fit: FitState<T>, how: &FitOptions<'_, T>) {
        self.state.optimizer = self.state.optimizer.at_rate(fit.learning_rate);
        if how.patience.is_some() && !fit.best_parameters.is_empty() {
            self.restore(&fit.best_parameters);
        }
    }
}

/// The position of a step in a schedule.
pub(super) fn position(step: u64) -> usize {
    usize::try_from(step).unwrap_or(usize::MAX)
}

/// Gives a trainer the base rate of its fit back, when an error ends the fit and when its callback panics.
struct RestoreRate<'a, T: Element> {
    trainer: &'a mut Trainer<T>,
}

impl<T: Element> Drop for RestoreRate<'_, T> {
    fn drop(&mut self) {
        let TrainState { optimizer, fit, .. } = &mut self.trainer.state;
        if let Some(fit) = fit {
            *optimizer = optimizer.at_rate(fit.learning_rate);
        }
    }
}

/// What a fit allocates beside its order of rows.
struct FitBuffers<T: Element> {
    batch: GatheredBatch<T>,
    /// If all must be finite.
    snapshot: Option<Snapshot<T>>,
}

impl<T: Element> RestoreRate<'_, T> {
    /// The epochs that are left of a fit, at least one.
    fn fit_epochs(
        &mut self,
        mut fit: FitState<T>,
        data: Dataset<'_, T>,
        how: &FitOptions<'_, T>,
        mut each: impl FnMut(&mut Trainer<T>, &EpochReport) -> ControlFlow<()>,
    ) -> Result<FitReport, Error> {
        let trainer = &mut *self.trainer;
        let rows = data.x.len() / trainer.network.inputs();
        let mut order: Vec<usize> = (0..rows).collect();
        let mut buffers = FitBuffers {
            batch: GatheredBatch::new(&trainer.network, trainer.criterion.loss, data, how.batch.min(rows)),
            snapshot: how.check_finite.then(|| Snapshot::new(trainer)),
        };
        loop {
            let number = fit.next_number();
            if how.shuffle {
                shuffle(&mut order, how.seed.unwrap_or(trainer.state.seed), number as u64);
            }
            let (batch_rows, checks) = (how.batch, how.check_finite);
            let (schedule, step_schedule) = (&how.schedule, how.step_schedule.as_ref());
            let learning_rate = schedule.rate(fit.learning_rate, number - 1) * fit.plateau_factor;
            let order = &order[..];
            let rows =
                EpochRows { number, data, order, batch_rows, learning_rate, schedule, step_schedule, checks };
            let epoch = check_scheduled::<T>(learning_rate);
            let epoch = epoch.and_then(|_| trainer.epoch(&mut fit, &rows, how, &mut buffers));
            // The next fit goes on with it after an error, and the callback may save it.
            trainer.state.fit = Some(fit);
            let report = epoch?;
            trainer.write_due_checkpoint(how, &report.last)?;
            let goes_on = each(trainer, &report.last).is_continue();
            // The callback may have put another fit in its place, or none.
            match trainer.state.fit.take() {
                Some(next) if goes_on && !next.is_over(how) => fit = next,
                ended => {
                    if let Some(fit) = ended {
                        trainer.end_fit(fit, how);
                    }
                    return Ok(report);
                }
            }
        }
    }
}

impl<T: Element> Trainer<T> {
    /// The next epoch of a fit, with its evaluation.
    fn epoch(
        &mut self,
        fit: &mut FitState<T>,
        rows: &EpochRows<'_, T>,
        how: &FitOptions<'_, T>,
        buffers: &mut FitBuffers<T>,
    ) -> Result<FitReport, Error> {
        let FitBuffers { batch, snapshot } = buffers;
        let &EpochRows { number, learning_rate, .. } = rows;
        self.state.optimizer = self.state.optimizer.at_rate(learning_rate);
        if let Some(snapshot) = snapshot {
            snapshot.renew(self, number, rows.order.len());
        }
        let threads = self.executor.threads.clone();
        // Entered once for all batches, if one of them is worth it.
        let losses = threads.enter(self.batch_flop(rows.order.len(), how), |_| {
            let loss = self.step_through(rows, batch)?;
            let validation = how.validation.map(|data| self.evaluate(data.x, data.targets)).transpose()?;
            Ok::<_, Error>((loss, validation))
        });
        // As it is between epochs, whatever the last step's was.
        let learning_rate = rows.step_rate(position(self.state.steps.saturating_sub(1)));
        let learning_rate = if T::holds(learning_rate) { learning_rate } else { rows.learning_rate };
        self.state.optimizer = self.state.optimizer.at_rate(learning_rate);
        let (loss, validation) = match snapshot {
            Some(snapshot) => losses.map_err(|error| snapshot.recover(self, error, rows, batch))?,
            None => losses?,
        };
        let epochs = fit.first.saturating_add(how.epochs);
        let monitored = validation.map_or(loss, |validation| validation.loss);
        let mut last =
            EpochReport { number, epochs, loss, validation, learning_rate, monitored, is_best: true };
        last.monitored = how.monitored(&self.network, &last);
        let report = fit.add(last, how.comparison());
        self.state.epochs = number;
        if report.last.is_best && how.patience.is_some() {
            fit.store_best(&self.network.parameters);
        }
        Ok(report)
    }

    /// Floating-point operations of the largest batch of an epoch of `rows` rows.
    fn batch_flop(&self, rows: usize, how: &FitOptions<'_, T>) -> usize {
        let parameters = self.network.parameter_count();
        let step = step_flop(how.batch.min(rows), parameters);
        let validation = how.validation.map_or(0, |data| data.x.len() / self.network.inputs());
        step.max(forward_flop(validation.min(self.max_batch()), parameters))
    }

    #[cfg(feature = "files")]
    fn write_due_checkpoint(&self, how: &FitOptions<'_, T>, epoch: &EpochReport) -> Result<(), Error> {
        let Some((path, every)) = how.checkpoint else { return Ok(()) };
        if epoch.number.is_multiple_of(every) || epoch.number == epoch.epochs {
            self.save_checkpoint(path)?;
        }
        Ok(())
    }

    #[cfg(not(feature = "files"))]
    fn write_due_checkpoint(&self, _: &FitOptions<'_, T>, _: &EpochReport) -> Result<(), Error> {
        Ok(())
    }

    /// Sets the rate of the next step of an epoch, as long as steps have rates of their own.
    ///
    /// # Errors
    /// [`Error::Setting`] for a rate of a formula of the caller's that no optimizer can have.
    #[inline]
    pub(super) fn schedule_step(&mut self, epoch: &EpochRows<'_, T>) -> Result<(), Error> {
        let steps = self.state.steps;
        let warms_up = |schedule: &Schedule| steps < schedule.step_warm_up;
        if epoch.step_schedule.is_some() || warms_up(epoch.schedule) {
            let factor = |schedule: &Schedule| schedule.step_factor(steps + 1);
            let rate = epoch.step_rate(position(steps)) * factor(epoch.schedule);
            let rate = rate * epoch.step_schedule.map_or(1.0, factor);
            self.state.optimizer = self.state.optimizer.at_rate(check_scheduled::<T>(rate)?);
        }
        Ok(())
    }

    /// Steps through all rows once; the loss, reduced over all of them.
    fn step_through(&mut self, epoch: &EpochRows<'_, T>, batch: &mut GatheredBatch<T>) -> Result<f64, Error> {
        let (mut sum, mut total) = (0.0, 0.0);
        let is_mean = self.criterion.reduction == Reduction::Mean;
        for rows in epoch.order.chunks(epoch.batch_rows) {
            self.schedule_step(epoch)?;
            batch.gather(epoch.data, rows);
            let targets = batch.targets(&epoch.data.targets);
            let loss = match epoch.checks {
                true => self.step_of_finite_loss(&batch.x, targets)?,
                false => self.step(&batch.x, targets)?,
            };
            // What the batch's mean has divided by.
            let weight = match self.executor.gradient_source {
                GradientSource::Rows(weight) if is_mean => weight,
                _ => 1.0,
            };
            sum += weight * loss;
            total += weight;
        }
        if epoch.checks {
            self.check_parameters()?;
        }
        Ok(match is_mean {
            true if total > 0.0 => sum / total,
            _ => sum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::scalar::elements;
    use crate::{Activation, Network, Optimizer, Targets};

    /// Of rows that are no multiple of a batch.
    const ROWS: usize = 21;

    fn trainer() -> Trainer<f32> {
        let builder = Network::<f32>::builder(1).dense(6, Activation::Tanh).dropout(0.25);
        let network = builder.dense(1, Activation::Identity).seed(3).build().unwrap();
        Trainer::builder(network).optimizer(Optimizer::adam(0.05)).max_batch(8).build().unwrap()
    }

    fn rows() -> ([f32; ROWS], [f32; ROWS]) {
        let x: [f32; ROWS] = core::array::from_fn(|i| i as f32 / 10.0 - 1.0);
        (x, x.map(|x| x * x))
    }

    fn go_on(_: &mut Trainer<f32>, _: &EpochReport) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn parameters(trainer: &Trainer<f32>) -> &[f32] {
        elements::<f32>(&trainer.network.parameters)
    }

    #[test]
    fn the_loss_of_an_epoch_is_weighted_as_that_of_a_batch() {
        let mut network = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(1).build().unwrap();
        network.write_parameters(&[0.0, 0.0]).unwrap();
        let builder = Trainer::builder(network).optimizer(Optimizer::sgd(0.0)).max_batch(4);
        let mut trainer = builder.build().unwrap();
        let (x, t, weights) = ([1.0; 4], [2.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]);
        let weighted = Targets::from(&t).weights(&weights);
        let how = FitOptions::new(1, 2).shuffle(false);
        let of = |trainer: &mut Trainer<f32>, targets: Targets<'_, f32>| {
            trainer.fit(Dataset::new(&x, targets), &how, go_on).unwrap().last.loss
        };
        assert_eq!(of(&mut trainer, weighted), 4.0);
        assert_eq!(of(&mut trainer, Targets::from(&t).mask(&weights)), 4.0);
        assert_eq!(of(&mut trainer, Targets::from(&t)), 1.0);
        let all = trainer.evaluate(&x, Targets::from(&t).weights(&weights)).unwrap();
        assert_eq!((all.loss, all.mean_absolute_error), (4.0, Some(2.0)));
    }

    #[test]
    fn the_callback_has_the_trainer_and_runs_on_the_thread_of_its_caller() {
        let (x, y) = rows();
        let caller = std::thread::current().id();
        // Not `Send`.
        let seen = std::rc::Rc::new(core::cell::Cell::new(0));
        let outcome = trainer().fit(Dataset::new(&x, &y), &FitOptions::new(4, 8), |trainer, epoch| {
            assert_eq!(std::thread::current().id(), caller);
            assert_eq!(trainer.steps(), 3 * epoch.number as u64);
            assert!(trainer.evaluate(&x, &y).unwrap().loss.is_finite());
            seen.set(seen.get() + epoch.number);
            ControlFlow::Continue(())
        });
        assert_eq!((outcome.unwrap().last.number, seen.get()), (4, 1 + 2 + 3 + 4));
    }

    #[test]
    fn fits_one_after_the_other_are_a_single_one_in_parts() {
        let (x, y) = rows();
        let how = |epochs| FitOptions::new(epochs, 8).schedule(Schedule::cosine(7, 0.0).warm_up(2, 0.1));
        let (mut whole, mut parts) = (trainer(), trainer());
        let of_whole = whole.fit(Dataset::new(&x, &y), &how(7), go_on).unwrap();
        for (epochs, last) in [(3, 3), (1, 4), (3, 7)] {
            let outcome = parts.fit(Dataset::new(&x, &y), &how(epochs), go_on).unwrap();
            assert_eq!((outcome.last.number, outcome.last.epochs), (last, last));
            if last == 7 {
                assert_eq!((outcome.last.loss, outcome.last.learning_rate), {
                    (of_whole.last.loss, of_whole.last.learning_rate)
                });
            }
        }
        assert_eq!(parameters(&parts), parameters(&whole));
        // Every epoch had an order of rows of its own.
        let mut again = trainer();
        again.fit(Dataset::new(&x, &y), &how(3).seed(1), go_on).unwrap();
        let mut other = trainer();
        other.fit(Dataset::new(&x, &y), &how(3).seed(2), go_on).unwrap();
        assert_ne!(parameters(&again), parameters(&other));
    }

    #[test]
    fn a_learning_rate_set_between_epochs_is_what_the_schedule_starts_from() {
        let (x, y) = rows();
        let mut rates = Vec::new();
        let mut trainer = trainer();
        let how = FitOptions::new(4, 8).schedule(Schedule::step(1, 0.5));
        let outcome = trainer.fit(Dataset::new(&x, &y), &how, |trainer, epoch| {
            rates.push(epoch.learning_rate);
            if epoch.number == 2 {
                trainer.set_learning_rate(0.8).unwrap();
            }
            ControlFlow::Continue(())
        });
        assert!(outcome.is_ok());
        assert_eq!(rates, [0.05, 0.025, 0.2, 0.1]);
        assert_eq!(trainer.optimizer().learning_rate(), 0.8);
    }

    #[test]
    fn a_learning_rate_that_is_set_to_the_scheduled_one_is_kept() {
        let (x, y) = rows();
        let (mut trainer, mut rates) = (trainer(), Vec::new());
        let how = FitOptions::new(3, 8).schedule(Schedule::step(1, 0.5));
        let report = trainer.fit(Dataset::new(&x, &y), &how, |trainer, epoch| {
            rates.push(epoch.learning_rate);
            if epoch.number == 2 {
                trainer.set_learning_rate(epoch.learning_rate).unwrap();
            }
            ControlFlow::Continue(())
        });
        assert!(report.is_ok());
        assert_eq!(rates, [0.05, 0.025, 0.00625]);
        assert_eq!(trainer.optimizer().learning_rate(), 0.025);
    }

    #[test]
    fn the_schedule_of_a_fit_within_a_fit_starts_from_the_same_rate() {
        let (x, y) = rows();
        let (data, mut trainer, mut rates) = (Dataset::new(&x, &y), trainer(), Vec::new());
        let how = FitOptions::new(4, 8).schedule(Schedule::step(1, 0.5));
        let report = trainer.fit(data, &how, |trainer, epoch| {
            rates.push(epoch.learning_rate);
            if epoch.number == 2 {
                let within = trainer.fit(data, &how, |_, epoch| {
                    rates.push(epoch.learning_rate);
                    ControlFlow::Continue(())
                });
                assert!(within.is_ok());
            }
            ControlFlow::Continue(())
        });
        assert!(report.is_ok());
        assert_eq!(rates, [0.05, 0.025, 0.0125, 0.00625]);
        assert_eq!(trainer.optimizer().learning_rate(), 0.05);
    }

    #[test]
    fn a_schedule_whose_rate_is_too_large_in_any_epoch_is_refused_before_the_first() {
        let (x, y) = rows();
        let mut trainer = trainer();
        let before = parameters(&trainer).to_vec();
        let steep = Schedule::exponential(1e30);
        let schedules = [
            Schedule::cosine(10, 0.0).warm_up(4, 1e300), // the first rate
            Schedule::step(2, 1e40).warm_up(2, 0.5),     // one at the end
            steep.clone().warm_up(1, 0.0),
            Schedule::cosine(3, 1e39), // the last, from the third epoch on
        ];
        for schedule in schedules {
            let how = FitOptions::new(5, 8).early_stopping(3).schedule(schedule.clone());
            let refused = trainer.fit(Dataset::new(&x, &y), &how, go_on);
            let argument = Argument::ScheduledLearningRate;
            assert!(
                matches!(refused, Err(Error::Setting { argument: found, .. }) if found == argument),
                "{schedule:?}: {refused:?}"
            );
            assert!(trainer.state.fit.is_none());
        }
        assert_eq!((parameters(&trainer), trainer.steps()), (&before[..], 0));
        assert_eq!(trainer.optimizer(), Optimizer::adam(0.05));
        // Of the same schedule the epochs alone that the fit has.
        let how = FitOptions::new(2, 8).schedule(steep).check_finite(false);
        trainer.fit(Dataset::new(&x, &y), &how, go_on).unwrap();
    }

    #[cfg(feature = "files")]
    #[test]
    fn a_learning_rate_set_after_a_checkpoint_within_a_fit_is_what_the_next_checkpoint_holds() {
        let path = std::env::temp_dir().join(format!("fuseprop-rate-{}", std::process::id()));
        let (x, y) = rows();
        let how = FitOptions::new(4, 8).schedule(Schedule::step(1, 0.5));
        trainer()
            .fit(Dataset::new(&x, &y), &how.clone().checkpoint(&path, 1), |_, epoch| match epoch.number {
                2 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
            .unwrap();
        let mut lowered = trainer();
        lowered.load_checkpoint(&path).unwrap();
        assert_eq!(lowered.optimizer().learning_rate(), 0.05);
        lowered.set_learning_rate(0.04).unwrap();
        lowered.save_checkpoint(&path).unwrap();
        let mut resumed = trainer();
        resumed.load_checkpoint(&path).unwrap();
        assert_eq!(resumed.optimizer().learning_rate(), 0.04);
        for mut trainer in [lowered, resumed] {
            let mut rates = Vec::new();
            let report = trainer.fit(Dataset::new(&x, &y), &how, |_, epoch| {
                rates.push(epoch.learning_rate);
                ControlFlow::Continue(())
            });
            assert!(report.is_ok());
            assert_eq!(rates, [0.01, 0.005]);
            assert_eq!(trainer.optimizer().learning_rate(), 0.04);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_fit_within_a_fit_takes_its_place() {
        let (x, y) = rows();
        let mut trainer = trainer();
        let data = Dataset::new(&x, &y);
        let outcome = trainer.fit(data, &FitOptions::new(5, 8), |trainer, epoch| {
            assert_eq!(epoch.number, 1);
            assert_eq!(trainer.fit(data, &FitOptions::new(3, 8), go_on).unwrap().last.number, 3);
            ControlFlow::Continue(())
        });
        assert_eq!(outcome.unwrap().last.number, 1);
        assert_eq!(trainer.steps(), 9);
    }

    #[cfg(feature = "files")]
    #[test]
    fn a_finished_fit_that_is_resumed_trains_on_other_data_and_ends_as_it_did_on_its_own() {
        let path = std::env::temp_dir().join(format!("fuseprop-finished-{}", std::process::id()));
        let ((x, y), new) = (rows(), [0.5; ROWS]);
        let first = trainer().fit(Dataset::new(&x, &y), &FitOptions::new(3, 8).checkpoint(&path, 1), go_on);
        let resumed = || {
            let mut trainer = trainer();
            trainer.load_checkpoint(&path).unwrap();
            trainer
        };
        let mut trainer = resumed();
        let before = trainer.steps();
        let again = trainer.fit(Dataset::new(&x, &y), &FitOptions::new(3, 8), go_on);
        assert_eq!((&again, trainer.steps()), (&first, before));
        // What was finished is finished: the next fit is another one.
        let next = trainer.fit(Dataset::new(&x, &y), &FitOptions::new(3, 8), go_on).unwrap();
        assert_eq!((next.last.number, trainer.steps()), (6, 2 * before));
        let mut trainer = resumed();
        // A fit that is refused does not forget the checkpoint.
        for refused in [FitOptions::new(0, 8), FitOptions::new(3, 9)] {
            trainer.fit(Dataset::new(&x, &y), &refused, go_on).unwrap_err();
        }
        let steep = FitOptions::new(100, 8).schedule(Schedule::exponential(1e10));
        trainer.fit(Dataset::new(&x, &new), &steep, go_on).unwrap_err();
        let longer = trainer.fit(Dataset::new(&x, &new), &FitOptions::new(5, 8), go_on).unwrap();
        assert_eq!((longer.last.number, longer.last.epochs, trainer.steps()), (5, 5, before + 6));
        let mut trainer = resumed();
        let other = trainer.fit(Dataset::new(&x, &new), &FitOptions::new(3, 8), go_on).unwrap();
        assert_eq!((other.last.number, other.last.epochs, trainer.steps()), (6, 6, 2 * before));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn one_seed_on_the_network_fixes_dropout_and_the_order_of_rows() {
        let (x, y) = rows();
        let trained = |on_network: Option<u64>, on_trainer: Option<u64>| {
            let mut builder = Network::<f32>::builder(1).dense(9, Activation::Tanh).dropout(0.5);
            if let Some(seed) = on_network {
                builder = builder.seed(seed);
            }
            let mut network = builder.dense(1, Activation::Identity).build().unwrap();
            network.write_parameters(&[0.1; 28]).unwrap();
            let mut builder = Trainer::builder(network).max_batch(8);
            if let Some(seed) = on_trainer {
                builder = builder.seed(seed);
            }
            let mut trainer = builder.build().unwrap();
            trainer.fit(Dataset::new(&x, &y), &FitOptions::new(2, 8), go_on).unwrap();
            parameters(&trainer).to_vec()
        };
        assert_eq!(trained(Some(1), None), trained(Some(1), None));
        assert_ne!(trained(Some(1), None), trained(Some(2), None));
        assert_eq!(trained(Some(1), Some(5)), trained(Some(2), Some(5)));
        // Of the system's seeds no two are alike.
        assert_ne!(trained(None, None), trained(None, None));
        assert_eq!(trained(None, Some(5)), trained(Some(2), Some(5)));
    }

    #[test]
    fn the_best_epoch_is_the_first_of_the_lowest_loss_that_is_a_number() {
        let mut fit = FitState::<f32>::new(0, None);
        // Losses, with the number of the best epoch so far.
        let losses = [(f64::NAN, 1), (3.0, 2), (3.0, 2), (4.0, 2), (2.0, 5), (f64::NAN, 5), (1.0, 7)];
        for (number, (loss, best)) in (1..).zip(losses) {
            let (validation, learning_rate) = (None, 0.1);
            let report = fit.add(
                EpochReport {
                    number,
                    epochs: 7,
                    loss,
                    validation,
                    learning_rate,
                    monitored: loss,
                    is_best: false,
                },
                FitOptions::<f32>::new(7, 1).comparison(),
            );
            assert_eq!(fit.report.map(|report| report.last.number), Some(number));
            assert_eq!((report.last.number, report.best.number), (number, best));
            let ranks = [report.last.is_best, report.best.is_best];
            assert_eq!(ranks, [number == best, true], "{number}");
        }
    }
}
