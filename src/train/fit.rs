//! Training over epochs: shuffled mini-batches, a validation set, a schedule, early stopping.

use core::ops::ControlFlow;

use crate::error::{Argument, Error};
use crate::evaluate::Evaluation;
use crate::kernels::ops::loss::Reduction;
use crate::kernels::ops::optimizer::Optimizer;
use crate::simd::scalar::Element;
use crate::train::dataset::{Dataset, GatheredBatch, shuffle};
use crate::train::schedule::{ReduceOnPlateau, Schedule};
use crate::train::trainer::Trainer;

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
#[derive(Clone, Copy, Debug)]
pub struct FitOptions<'a, T> {
    epochs: usize,
    batch: usize,
    seed: Option<u64>,
    shuffle: bool,
    schedule: Schedule,
    plateau: Option<ReduceOnPlateau>,
    validation: Option<Dataset<'a, T>>,
    patience: Option<usize>,
    #[cfg(feature = "files")]
    checkpoint: Option<(&'a std::path::Path, usize)>,
}

impl<'a, T: Element> FitOptions<'a, T> {
    /// Passes over all rows, shuffled, in batches of `batch` rows, the last and shorter one too. `batch` must
    /// not be above [`TrainerBuilder::max_batch`](crate::TrainerBuilder::max_batch).
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
            plateau: None,
            validation: None,
            patience: None,
            #[cfg(feature = "files")]
            checkpoint: None,
        }
    }

    /// The seed of the order of the rows, which the number of the epoch decides with it; that of the trainer
    /// by default: see [`TrainerBuilder::seed`](crate::TrainerBuilder::seed).
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

    /// The learning rate of each epoch, from that of the optimizer; constant by default.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::*;
    ///
    /// let how = FitOptions::<f32>::new(10, 32).schedule(Schedule::cosine(10, 0.0));
    /// ```
    #[must_use]
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Lowers the learning rate, on top of the schedule, when the loss no longer falls: that of the
    /// validation set if there is one. Never by default.
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

    /// Writes a checkpoint after every so many epochs, and after the last, before its callback. See
    /// [`Trainer::save_checkpoint`]; a trainer that [resumes](Trainer::load_checkpoint) it goes on with the
    /// epoch after.
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

    /// Rows that are not trained on, to evaluate after each epoch.
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

    /// Stops after so many epochs in a row (0 counts as 1) without a lower loss, of the validation set if
    /// there is one (Prechelt 1998). However the fit ends, but for an error, the parameters are those of the
    /// lowest afterwards.
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
///     println!("epoch {} of {}: {}", epoch.number, epoch.of, epoch.watched_loss());
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
    pub of: usize,
    /// The losses of all rows, each before its batch's update, reduced as over one batch: their sum, or
    /// their mean by what the rows, elements and classes weigh.
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
    ///
    /// # Examples
    /// See [`EpochReport`].
    #[must_use]
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
    /// Epochs of the trainer before the fit.
    pub(crate) first: usize,
    /// The fingerprint of its data.
    pub(crate) data: u64,
    /// The learning rate that its schedule starts from.
    pub(crate) learning_rate: f64,
    /// What the epochs so far have come to.
    pub(crate) outcome: Option<FitReport>,
    /// The parameters of the best epoch, if early stopping will return to them.
    pub(crate) kept: Vec<T::Line>,
    pub(crate) plateau: Option<ReduceOnPlateau>,
    /// By which plateaus have lowered the learning rate.
    pub(crate) factor: f64,
}

impl<T: Element> Progress<T> {
    fn new(first: usize, plateau: Option<ReduceOnPlateau>) -> Self {
        let (data, learning_rate) = (0, 0.0);
        Self { first, data, learning_rate, outcome: None, kept: Vec::new(), plateau, factor: 1.0 }
    }

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

    /// Keeps parameters to return to. If there were none, those of an earlier best epoch are not known: the
    /// last stands for it.
    fn keep(&mut self, parameters: &[T::Line]) {
        if self.kept.is_empty() {
            self.outcome = self.outcome.map(|FitReport { last, .. }| {
                let last = EpochReport { is_best: true, ..last };
                FitReport { last, best: last }
            });
        }
        self.kept.clear();
        self.kept.extend_from_slice(parameters);
    }

    /// The number of the next epoch, counted over all fits.
    fn next_number(&self) -> usize {
        self.outcome.map_or(self.first, |outcome| outcome.last.number) + 1
    }

    /// Whether no epoch is left of so many, or there were too many without a lower loss.
    fn is_over(&self, epochs: usize, patience: Option<usize>) -> bool {
        let waited = self.outcome.map_or(0, |FitReport { last, best }| last.number - best.number);
        self.next_number() > self.first.saturating_add(epochs)
            || patience.is_some_and(|patience| waited >= patience.max(1))
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
    /// Trains on mini-batches for some epochs. `each` is called after every epoch, on the caller's thread,
    /// with the trainer and a report of the epoch, and may end the fit with [`ControlFlow::Break`].
    ///
    /// Epochs are counted over all fits of a trainer: another fit goes on with the next one's order of rows
    /// and with the schedule where it is. The order of the rows follows from the seed and the number of the
    /// epoch alone. The learning rate is the optimizer's again afterwards.
    ///
    /// `each` may evaluate, save a checkpoint, read and write parameters; a learning rate that it sets is
    /// what the schedule starts from in later epochs. A fit that it calls, or a checkpoint that it loads,
    /// takes the place of this one.
    ///
    /// After `Trainer::load_checkpoint` the fit that the checkpoint was written in goes on with the epoch
    /// after, up to as many as `how` says from its first one on. If none is left, and the data are those that
    /// it went through, it ends as it did; other data start another fit. After an error the next fit goes on
    /// in the same way.
    ///
    /// Buffers are allocated at its start; nothing is allocated after its first epoch, but for checkpoints.
    /// The data are read once more at the start, for the mark by which a checkpoint knows them.
    ///
    /// # Errors
    /// [`Error::Zero`] for no epochs or a batch of 0, [`Error::Batch`] for a batch past `max_batch`,
    /// [`Error::Setting`] for a schedule out of range, and the errors of [`Trainer::step`] for either set:
    /// nothing has changed then. [`Error::File`] if a checkpoint cannot be written. [`Error::NonFinite`] if
    /// the trainer checks for it, with the parameters of the step before.
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
    /// let outcome = trainer.fit(Dataset::new(&x, &y), &FitOptions::new(100, 20), |trainer, epoch| {
    ///     assert!(trainer.steps() == 10 * epoch.number as u64);
    ///     if epoch.loss < 1e-3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    /// })?;
    /// assert!(outcome.last.loss < 0.01);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn fit(
        &mut self,
        data: Dataset<'_, T>,
        how: &FitOptions<'_, T>,
        each: impl FnMut(&mut Self, &EpochReport) -> ControlFlow<()>,
    ) -> Result<FitReport, Error> {
        self.check_options(data, how)?;
        let (mark, base) = (data.fingerprint(), self.state.optimizer.learning_rate());
        let goes_on = |fit: &&Progress<T>| {
            fit.outcome.is_some() && (fit.data == mark || !fit.is_over(how.epochs, how.patience))
        };
        let before = self.state.fit.as_ref().filter(goes_on);
        let first = before.map_or(self.state.epochs, |fit| fit.first);
        // No schedule rises and falls again: if the last rate is one, all are.
        let value = how.schedule.rate(base, first.saturating_add(how.epochs - 1));
        if !T::holds(value) {
            return Err(Error::Setting { argument: Argument::LastLearningRate, value });
        }
        if before.is_none() {
            self.state.fit = None;
        }
        let fit = self.state.fit.get_or_insert_with(|| Progress::new(first, how.plateau));
        (fit.data, fit.learning_rate) = (mark, base);
        if how.patience.is_some() && fit.kept.is_empty() {
            fit.keep(&self.network.parameters);
        }
        let mut rate = BaseRate { optimizer: self.optimizer(), trainer: self };
        rate.fit_epochs(data, how, each)
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
        how.plateau.map(ReduceOnPlateau::check).transpose()?;
        #[cfg(feature = "files")]
        if how.checkpoint.is_some_and(|(_, every)| every == 0) {
            return Err(Error::Zero { argument: Argument::CheckpointInterval });
        }
        self.check_data(data.x, &data.targets)?;
        how.validation.map_or(Ok(0), |data| self.check_data(data.x, &data.targets))?;
        Ok(())
    }
}

impl<T: Element> BaseRate<'_, T> {
    /// The epochs that are left of the trainer's fit.
    fn fit_epochs(
        &mut self,
        data: Dataset<'_, T>,
        how: &FitOptions<'_, T>,
        mut each: impl FnMut(&mut Trainer<T>, &EpochReport) -> ControlFlow<()>,
    ) -> Result<FitReport, Error> {
        let network = &self.trainer.network;
        let mut order: Vec<usize> = (0..data.x.len() / network.inputs()).collect();
        let mut batch = GatheredBatch::new(network, data, how.batch.min(order.len()));
        let mut outcome = self.trainer.state.fit.as_ref().and_then(|fit| fit.outcome);
        // The callback may have put another fit in its place, or none.
        while let Some(fit) = self.trainer.state.fit.as_ref()
            && !fit.is_over(how.epochs, how.patience)
        {
            let number = fit.next_number();
            let learning_rate = how.schedule.rate(self.optimizer.learning_rate(), number - 1) * fit.factor;
            if how.shuffle {
                shuffle(&mut order, how.seed.unwrap_or(self.trainer.state.seed), number as u64);
            }
            let epoch = self.trainer.epoch(data, how, &order, &mut batch, learning_rate)?;
            outcome = self.trainer.state.fit.as_ref().and_then(|fit| fit.outcome);
            self.trainer.write_due_checkpoint(how, &epoch)?;
            let scheduled = self.trainer.state.optimizer;
            let goes_on = each(self.trainer, &epoch);
            self.keep_rate(scheduled);
            if goes_on.is_break() {
                break;
            }
        }
        if let Some(fit) = self.trainer.state.fit.take()
            && how.patience.is_some()
            && !fit.kept.is_empty()
        {
            self.trainer.restore(&fit.kept);
        }
        outcome.ok_or(Error::Zero { argument: Argument::Epochs })
    }

    /// Takes over a learning rate that a callback has set, where there was another.
    fn keep_rate(&mut self, scheduled: Optimizer) {
        let Trainer { state, .. } = &mut *self.trainer;
        if state.optimizer.learning_rate() != scheduled.learning_rate() {
            self.optimizer = state.optimizer;
            if let Some(fit) = &mut state.fit {
                fit.learning_rate = state.optimizer.learning_rate();
            }
        }
    }
}

impl<T: Element> Trainer<T> {
    /// The next epoch of the trainer's fit, with its evaluation.
    fn epoch(
        &mut self,
        data: Dataset<'_, T>,
        how: &FitOptions<'_, T>,
        order: &[usize],
        batch: &mut GatheredBatch<T>,
        learning_rate: f64,
    ) -> Result<EpochReport, Error> {
        self.set_learning_rate(learning_rate)?;
        let threads = self.executor.threads.clone();
        let (loss, validation) = threads.enter(usize::MAX, |_| {
            let loss = self.step_through(data, order, how.batch, batch)?;
            let validation = how.validation.map(|data| self.evaluate(data.x, data.targets)).transpose()?;
            Ok::<_, Error>((loss, validation))
        })?;
        let Self { network, state, .. } = self;
        let Some(fit) = &mut state.fit else { return Err(Error::Zero { argument: Argument::Epochs }) };
        let (number, of) = (fit.next_number(), fit.first.saturating_add(how.epochs));
        let epoch = fit.add(EpochReport { number, of, loss, validation, learning_rate, is_best: true });
        state.epochs = number;
        if epoch.is_best && how.patience.is_some() {
            fit.keep(&network.parameters);
        }
        Ok(epoch)
    }

    #[cfg(feature = "files")]
    fn write_due_checkpoint(&self, how: &FitOptions<'_, T>, epoch: &EpochReport) -> Result<(), Error> {
        let Some((path, every)) = how.checkpoint else { return Ok(()) };
        if epoch.number.is_multiple_of(every) || epoch.number == epoch.of {
            self.save_checkpoint(path)?;
        }
        Ok(())
    }

    #[cfg(not(feature = "files"))]
    fn write_due_checkpoint(&self, _: &FitOptions<'_, T>, _: &EpochReport) -> Result<(), Error> {
        Ok(())
    }

    /// Steps through all rows once; the loss, reduced over all of them.
    fn step_through(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::scalar::elements;
    use crate::{Activation, Network, Targets};

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
            assert_eq!((outcome.last.number, outcome.last.of), (last, last));
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
        assert_eq!((longer.last.number, longer.last.of, trainer.steps()), (5, 5, before + 6));
        let mut trainer = resumed();
        let other = trainer.fit(Dataset::new(&x, &new), &FitOptions::new(3, 8), go_on).unwrap();
        assert_eq!((other.last.number, other.last.of, trainer.steps()), (6, 6, 2 * before));
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
        let mut progress = Progress::<f32>::new(0, None);
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
}
