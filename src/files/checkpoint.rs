//! Training that goes on where it stopped: everything a trainer holds, in one file.
//!
//! The file is the network's with more tensors, `state.moment.N.` and `state.best.` before the names of
//! the layers, and more lines in its header:
//!
//! ```text
//! steps 1200
//! passes 1200
//! epochs 12
//! training_seed 7
//! optimizer adam weight_decay=0 l1=0 beta1=0.9 beta2=0.999 epsilon=0.00000001 amsgrad=false
//! learning_rate 0.001
//! fit 0 1234567890
//! last 12 100 0.31 0.35 0.91 - - 0.001 0.35
//! best 9 100 0.33 0.34 0.91 - - 0.001 0.34
//! plateau 0.1 10 0.34 3 0.1
//! ```
//!
//! `epochs` are counted over all fits. `fit` is there within a fit: the epochs before it, and the mark of its
//! data. `last` and `best` are epochs of it: its number, the number of the last, loss, the validation set's
//! loss, accuracy, mean absolute error and R2, learning rate, and what is monitored. `plateau` is a fit's:
//! factor, patience, lowest loss, epochs waited, and the product of the factors so far.

use std::path::Path;

use safetensors::SafeTensors;

use crate::error::{Error, FormatProblem, MetadataItem};
use crate::evaluate::Evaluation;
use crate::files::header;
use crate::files::header::{
    Header, malformed, not, parse_count, parse_word, read_optimizer, write_optimizer,
};
use crate::files::tensors::{Writer, read_parameters};
use crate::files::{STATE, WeightLayout, canonical, header_text, names, parse, read};
use crate::network::{Network, read_canonical, write_canonical};
use crate::simd::scalar::Element;
use crate::simd::scalar::Line;
use crate::train::fit::{EpochReport, FitReport, FitState};
use crate::train::schedule::ReduceOnPlateau;
use crate::train::state::TrainState;
use crate::train::trainer::Trainer;

impl<T: Element> Trainer<T> {
    /// Writes all that training has come to: the network, the optimizer's running sums, the learning rate,
    /// the seeds, the numbers of updates, passes and epochs, and the progress of a fit. [`Network::load`]
    /// reads it too.
    ///
    /// The file is replaced as a whole, as by [`Network::save`].
    /// [`FitOptions::checkpoint`](crate::FitOptions::checkpoint) writes it after epochs of a fit, and so may
    /// the fit's callback.
    ///
    /// # Errors
    /// [`Error::File`] with the operation that failed.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Network, Optimizer, Trainer};
    ///
    /// let network = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(1);
    /// let build = || Trainer::builder(network.clone().build()?).optimizer(Optimizer::adam(0.1)).build();
    /// let mut trainer = build()?;
    /// trainer.step(&[0.5], &[1.0])?;
    /// let path = std::env::temp_dir().join(format!("fuseprop-checkpoint-{}", std::process::id()));
    /// trainer.save_checkpoint(&path)?;
    /// let mut resumed = build()?;
    /// resumed.load_checkpoint(&path)?;
    /// assert_eq!(resumed.step(&[0.5], &[1.0])?, trainer.step(&[0.5], &[1.0])?);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn save_checkpoint(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        super::atomic::write(path.as_ref(), &checkpoint(&self.network, &self.state)?)
    }

    /// Takes up training where a checkpoint was written, in a trainer built as that one was: the same layers,
    /// the same optimizer but for its learning rate. From then on all bits are as in the training that
    /// never stopped, if data and settings are the same too; the seeds and the scaler are the checkpoint's.
    /// [`Trainer::gradients`] is 0 afterwards, and there is no gradient to apply until the next is computed.
    ///
    /// If the checkpoint was written within a fit, the next [`Trainer::fit`] goes on after the epoch of the
    /// checkpoint, with the plateau of the checkpoint in the state that it was in.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read; [`Error::Format`] if it is not a checkpoint of the same
    /// layers and the same optimizer, or holds a number out of range; [`Error::Tensors`] if tensors are
    /// missing or of other shapes. Nothing has changed then.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Dataset, FitOptions, Network, Trainer};
    /// use std::ops::ControlFlow;
    ///
    /// let build = || {
    ///     let network = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(1).build()?;
    ///     Trainer::builder(network).build()
    /// };
    /// let path = std::env::temp_dir().join(format!("fuseprop-resumed-{}", std::process::id()));
    /// let how = FitOptions::new(6, 1).checkpoint(&path, 2);
    /// let data = Dataset::new(&[0.5, 1.0], &[1.0, 2.0]);
    /// let mut stopped = build()?;
    /// stopped.fit(data, &how, |_, epoch| match epoch.number {
    ///     4 => ControlFlow::Break(()),
    ///     _ => ControlFlow::Continue(()),
    /// })?;
    /// let mut resumed = build()?;
    /// resumed.load_checkpoint(&path)?;
    /// let mut numbers = Vec::new();
    /// resumed.fit(data, &how, |_, epoch| {
    ///     numbers.push(epoch.number);
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(numbers, [5, 6]);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn load_checkpoint(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let bytes = read(path.as_ref())?;
        let saved = Network::<T>::from_bytes(&bytes)?;
        if saved.layers != self.network.layers || saved.input_dropout() != self.network.input_dropout() {
            return Err(Error::format(FormatProblem::OtherLayers));
        }
        let text = header_text(&bytes)?;
        let (file, header) = (parse(&bytes)?, Header::parse(text.as_deref())?);
        let tensors = StateTensors { file: &file, network: &saved };
        let state = read_state(&tensors, &header, &self.state)?;
        // Nothing can fail from here on.
        self.state = state;
        self.network.scaling = saved.scaling;
        self.network.seed = saved.seed;
        self.restore(&saved.parameters);
        self.executor.clear_gradients();
        Ok(())
    }
}

/// The file of a network with the state of its training.
fn checkpoint<T: Element>(network: &Network<T>, state: &TrainState<T>) -> Result<Vec<u8>, Error> {
    let layers = &network.layers;
    let mut writer = Writer::new();
    writer.parameters("", network, &canonical(network));
    let mut add = |stem: &str, lines: &[T::Line]| {
        if !lines.is_empty() {
            let mut values = vec![T::ZERO; network.parameter_count()];
            read_canonical(layers, lines, &mut values);
            writer.parameters(&format!("{STATE}{stem}."), network, &values);
        }
    };
    for (n, moment) in state.moments.iter().enumerate() {
        add(&format!("moment.{n}"), moment);
    }
    let TrainState { optimizer, steps, passes, epochs, seed, fit, .. } = state;
    // Within a fit that from which its schedule starts.
    let learning_rate = fit.as_ref().map_or(optimizer.learning_rate(), |fit| fit.learning_rate);
    let mut text = header::write(network);
    text += &format!("steps {steps}\npasses {passes}\nepochs {epochs}\ntraining_seed {seed}\n");
    text += &format!("optimizer {}\nlearning_rate {learning_rate}\n", write_optimizer(*optimizer));
    if let Some(FitState {
        first,
        data,
        report: Some(report),
        best_parameters,
        plateau,
        plateau_factor,
        ..
    }) = fit
    {
        add("best", best_parameters);
        text += &format!("fit {first} {data}\n");
        text += &format!("last {}\nbest {}\n", write_epoch(&report.last), write_epoch(&report.best));
        if let Some(ReduceOnPlateau { factor: each, patience, lowest, waited }) = plateau {
            text += &format!("plateau {each} {patience} {lowest} {waited} {plateau_factor}\n");
        }
    }
    writer.finish(text)
}

/// The tensors of a checkpoint's file that are not the network's.
struct StateTensors<'a, T: Element> {
    file: &'a SafeTensors<'a>,
    network: &'a Network<T>,
}

impl<T: Element> StateTensors<'_, T> {
    /// A tensor for each parameter, in the parameters' layout.
    fn lines(&self, stem: &str) -> Result<Vec<T::Line>, Error> {
        let layers = &self.network.layers;
        let names = names::sequential(self.network, &format!("{STATE}{stem}."));
        let values = read_parameters::<T>(self.file, layers, &names, WeightLayout::OutputsInputs, |_| false)?;
        let mut lines = vec![T::Line::ZERO; self.network.parameters.len()];
        write_canonical(layers, &mut lines, &values);
        Ok(lines)
    }

    fn has(&self, stem: &str) -> bool {
        let prefix = format!("{STATE}{stem}.");
        self.file.names().iter().any(|name| name.starts_with(&prefix))
    }
}

/// The state of a checkpoint, of the same optimizer as `like`.
fn read_state<T: Element>(
    tensors: &StateTensors<'_, T>,
    header: &Header<'_>,
    like: &TrainState<T>,
) -> Result<TrainState<T>, Error> {
    if read_optimizer(header.get("optimizer")?)? != like.optimizer.at_rate(0.0) {
        return Err(Error::format(FormatProblem::OtherOptimizer));
    }
    let learning_rate = header.number("learning_rate")?;
    let optimizer = like.optimizer.with_learning_rate::<T>(learning_rate).map_err(malformed)?;
    let mut state = TrainState::new(optimizer, 0, header.number("training_seed")?);
    for (n, (moment, like)) in state.moments.iter_mut().zip(&like.moments).enumerate() {
        if !like.is_empty() {
            *moment = tensors.lines(&format!("moment.{n}"))?;
        }
    }
    state.steps = header.count("steps")?;
    state.passes = header.count("passes")?;
    state.epochs = header.count("epochs")?;
    state.fit = read_fit(tensors, header, learning_rate, state.epochs)?;
    Ok(state)
}

/// The fit that a checkpoint was written in, if it was, after `epochs` epochs of all fits.
fn read_fit<T: Element>(
    tensors: &StateTensors<'_, T>,
    header: &Header<'_>,
    learning_rate: f64,
    epochs: usize,
) -> Result<Option<FitState<T>>, Error> {
    let Some(words) = header.find("fit") else { return Ok(None) };
    let (first, data) = words.split_once(' ').ok_or_else(|| not(MetadataItem::Fit, words))?;
    let (first, data) = (parse_count(first)?, parse_word(data)?);
    let (mut last, best) = (read_epoch(header.get("last")?)?, read_epoch(header.get("best")?)?);
    if !(first < best.number && best.number <= last.number && last.number <= epochs) {
        return Err(Error::format(FormatProblem::EpochOrder));
    }
    last.is_best = last.number == best.number;
    let (plateau, plateau_factor) = header.find("plateau").map_or(Ok((None, 1.0)), read_plateau)?;
    let best_parameters = if tensors.has("best") { tensors.lines("best")? } else { Vec::new() };
    let report = Some(FitReport { last, best });
    Ok(Some(FitState { first, data, learning_rate, report, best_parameters, plateau, plateau_factor }))
}

fn write_epoch(epoch: &EpochReport) -> String {
    let EpochReport { number, epochs, loss, validation, learning_rate, monitored, .. } = epoch;
    let validation = match validation {
        Some(Evaluation { loss, accuracy, mean_absolute_error, r2 }) => {
            [Some(*loss), *accuracy, *mean_absolute_error, *r2]
        }
        None => [None; 4],
    };
    let words = validation.map(|value| value.map_or("-".to_owned(), |value| value.to_string()));
    format!("{number} {epochs} {loss} {} {learning_rate} {monitored}", words.join(" "))
}

fn read_epoch(words: &str) -> Result<EpochReport, Error> {
    let split: Vec<&str> = words.split(' ').collect();
    let &[number, epochs, loss, validation, accuracy, mean_absolute_error, r2, learning_rate, monitored] =
        &split[..]
    else {
        return Err(not(MetadataItem::Epoch, words));
    };
    let optional = |word| if word == "-" { Ok(None) } else { parse_word(word).map(Some) };
    let validation = match optional(validation)? {
        Some(loss) => Some(Evaluation {
            loss,
            accuracy: optional(accuracy)?,
            mean_absolute_error: optional(mean_absolute_error)?,
            r2: optional(r2)?,
        }),
        None => None,
    };
    Ok(EpochReport {
        number: parse_count(number)?,
        epochs: parse_count(epochs)?,
        loss: parse_word(loss)?,
        validation,
        learning_rate: parse_word(learning_rate)?,
        monitored: parse_word(monitored)?,
        is_best: true,
    })
}

fn read_plateau(words: &str) -> Result<(Option<ReduceOnPlateau>, f64), Error> {
    let split: Vec<&str> = words.split(' ').collect();
    let &[each, patience, lowest, waited, factor] = &split[..] else {
        return Err(not(MetadataItem::Plateau, words));
    };
    let plateau = ReduceOnPlateau {
        factor: parse_word(each)?,
        patience: parse_word(patience)?,
        lowest: parse_word(lowest)?,
        waited: parse_count(waited)?,
    };
    let so_far = parse_word(factor)?;
    plateau.check().map_err(malformed)?;
    match (0.0..=1.0).contains(&so_far) {
        true => Ok((Some(plateau), so_far)),
        false => Err(Error::format(FormatProblem::PlateauFactor { found: so_far })),
    }
}
