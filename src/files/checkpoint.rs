//! Training that goes on where it stopped: everything a trainer holds, in one file.
//!
//! The file is that of the network with more tensors, `state.moment.N.` and `state.best.` before the names of the
//! layers, and more lines in its header:
//!
//! ```text
//! steps 1200
//! passes 1200
//! dropout_seed 7
//! optimizer Adam(Adam { .. })
//! learning_rate 0.001
//! last 12 100 0.31 0.35 0.91 - - 0.001
//! best 9 100 0.33 0.34 0.91 - - 0.001
//! plateau 0.1 10 0.34 3 0.1
//! ```
//!
//! `last` and `best` are epochs of a fit under way: number, of how many, loss, the validation set's loss, accuracy,
//! mean absolute error and R2, learning rate. `plateau` is a fit's: factor, patience, lowest loss, epochs waited, and
//! the product of the factors so far.

use crate::error::Argument;
use std::path::Path;

use crate::error::Error;
use crate::files::header;
use crate::files::header::{Header, parse_word};
use crate::files::tensors::{Writer, read_parameters};
use crate::files::{STATE, canonical, header_text, names, parse, read};
use crate::kernels::ops::optimizer::Optimizer;
use crate::network::{Network, read_canonical, write_canonical};
use crate::simd::scalar::Element;
use crate::simd::scalar::Line;
use crate::train::fit::{EpochReport, Evaluation, FitReport, Progress};
use crate::train::schedule::ReduceOnPlateau;
use crate::train::trainer::Trainer;

impl<T: Element> Trainer<T> {
    /// Writes all that training has come to: the network, the optimizer's running sums, the learning rate, the numbers
    /// of updates and of passes (which dropout follows from). [`Network::load`] reads it too.
    ///
    /// The file is replaced as a whole, as by [`Network::save`]. Within a fit see
    /// [`FitOptions::checkpoint`](crate::FitOptions::checkpoint).
    ///
    /// # Errors
    /// [`Error::File`] with the operation that failed.
    pub fn save_checkpoint(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        self.write_checkpoint(path.as_ref(), self.state.optimizer.learning_rate(), self.state.fit.as_ref())
    }

    /// Takes up training where a checkpoint was written, in a trainer built as that one was: the same layers, the same
    /// optimizer but for its learning rate. From then on all bits are those of the training that never stopped, if data
    /// and settings are the same too.
    ///
    /// If the checkpoint was written within a fit, the next [`Trainer::fit`] goes on after the epoch of the checkpoint,
    /// with the plateau of the checkpoint in the state that it was in.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Format`] or [`Error::Tensors`] for a file that cannot be read or is that of another
    /// training. Nothing has changed then.
    pub fn load_checkpoint(&mut self, path: impl AsRef<Path>) -> Result<(), Error> {
        let bytes = read(path.as_ref())?;
        let saved = Network::<T>::from_bytes(&bytes)?;
        if saved.layers != self.network.layers || saved.input_dropout() != self.network.input_dropout() {
            return Err(Error::Format {
                what: "the checkpoint is of a network with other layers".to_owned(),
            });
        }
        let file = parse(&bytes)?;
        let text = header_text(&bytes)?;
        let header = Header::parse(text.as_deref())?;
        if header.get("optimizer")? != rule(self.state.optimizer) {
            return Err(Error::Format { what: "the checkpoint is of another optimizer".to_owned() });
        }
        let layers = &saved.layers;
        let lines_of = |stem: &str| {
            let names = names::sequential(&saved, &format!("{STATE}{stem}."));
            let values = read_parameters::<T>(&file, layers, &names, |_| false)?;
            let mut lines = vec![T::Line::ZERO; saved.parameters.len()];
            write_canonical(layers, &mut lines, &values);
            Ok::<_, Error>(lines)
        };
        let mut moments = self.state.moments.clone();
        for (n, moment) in moments.iter_mut().enumerate().filter(|(_, moment)| !moment.is_empty()) {
            *moment = lines_of(&format!("moment.{n}"))?;
        }
        let resumed = match (header.find("last"), header.find("best")) {
            (Some(last), Some(best)) => {
                let kept = format!("{STATE}best.");
                let has_kept = file.names().iter().any(|name| name.starts_with(&kept));
                let (plateau, factor) = header.find("plateau").map_or(Ok((None, 1.0)), read_plateau)?;
                let (mut last, best) = (read_epoch(last)?, read_epoch(best)?);
                last.is_best = last.number == best.number;
                if best.number > last.number {
                    return Err(Error::Format { what: "the best epoch is after the last".to_owned() });
                }
                let outcome = Some(FitReport { last, best });
                let kept = if has_kept { lines_of("best")? } else { Vec::new() };
                Some(Progress { outcome, kept, plateau, factor })
            }
            _ => None,
        };
        let (steps, passes) = (counter(header.get("steps")?)?, counter(header.get("passes")?)?);
        let dropout_seed = header.find("dropout_seed").map(parse_word).transpose()?;
        if dropout_seed.is_some() != self.state.dropout_seed.is_some() {
            return Err(Error::Format {
                what: "a seed of dropout belongs to layers with dropout".to_owned(),
            });
        }
        self.set_learning_rate(header.number("learning_rate")?)?;
        // Nothing can fail from here on.
        (self.state.steps, self.state.passes, self.state.dropout_seed) = (steps, passes, dropout_seed);
        self.network.scaling = saved.scaling;
        self.state.moments = moments;
        self.state.fit = resumed;
        self.restore(&saved.parameters);
        Ok(())
    }

    /// A checkpoint, of a fit under way if there is one, with the learning rate that its schedule starts from.
    pub(crate) fn write_checkpoint(
        &self,
        path: &Path,
        learning_rate: f64,
        progress: Option<&Progress<T>>,
    ) -> Result<(), Error> {
        let layers = &self.network.layers;
        let mut writer = Writer::new();
        writer.parameters("", &self.network, &canonical(&self.network));
        let mut add = |stem: &str, lines: &[T::Line]| {
            if !lines.is_empty() {
                let mut values = vec![T::ZERO; self.network.parameter_count()];
                read_canonical(layers, lines, &mut values);
                writer.parameters(&format!("{STATE}{stem}."), &self.network, &values);
            }
        };
        for (n, moment) in self.state.moments.iter().enumerate() {
            add(&format!("moment.{n}"), moment);
        }
        let mut text = header::write(&self.network);
        text += &format!("steps {}\npasses {}\n", self.state.steps, self.state.passes);
        if let Some(seed) = self.state.dropout_seed {
            text += &format!("dropout_seed {seed}\n");
        }
        text += &format!("optimizer {}\nlearning_rate {learning_rate}\n", rule(self.state.optimizer));
        if let Some(Progress { outcome: Some(outcome), kept, plateau, factor }) = progress {
            add("best", kept);
            text += &format!("last {}\nbest {}\n", write_epoch(&outcome.last), write_epoch(&outcome.best));
            if let Some(ReduceOnPlateau { factor: each, patience, lowest, waited }) = plateau {
                text += &format!("plateau {each} {patience} {lowest} {waited} {factor}\n");
            }
        }
        super::atomic::write(path, &writer.finish(text)?)
    }
}

/// An optimizer without its learning rate, which may change.
fn rule(optimizer: Optimizer) -> String {
    let rule = optimizer.with_learning_rate::<f64>(0.0);
    rule.map_or_else(|error| error.to_string(), |rule| format!("{rule:?}"))
}

fn write_epoch(epoch: &EpochReport) -> String {
    let EpochReport { number, of, loss, validation, learning_rate, .. } = epoch;
    let validation = match validation {
        Some(Evaluation { loss, accuracy, mean_absolute_error, r2 }) => {
            [Some(*loss), *accuracy, *mean_absolute_error, *r2]
        }
        None => [None; 4],
    };
    let words = validation.map(|value| value.map_or("-".to_owned(), |value| value.to_string()));
    format!("{number} {of} {loss} {} {learning_rate}", words.join(" "))
}

fn read_epoch(words: &str) -> Result<EpochReport, Error> {
    let words: Vec<&str> = words.split(' ').collect();
    let &[number, of, loss, validation, accuracy, mean_absolute_error, r2, learning_rate] = &words[..] else {
        return Err(Error::Format { what: format!("{words:?} is not an epoch") });
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
        number: counter(number)? as usize,
        of: counter(of)? as usize,
        loss: parse_word(loss)?,
        validation,
        learning_rate: parse_word(learning_rate)?,
        is_best: true,
    })
}

/// A number that can be counted on from.
fn counter(word: &str) -> Result<u64, Error> {
    match parse_word(word)? {
        number if number <= u64::from(u32::MAX) << 16 => Ok(number),
        number => Err(Error::Format { what: format!("{number} is no count") }),
    }
}

fn read_plateau(words: &str) -> Result<(Option<ReduceOnPlateau>, f64), Error> {
    let words: Vec<&str> = words.split(' ').collect();
    let &[each, patience, lowest, waited, factor] = &words[..] else {
        return Err(Error::Format { what: format!("{words:?} is not a plateau") });
    };
    let plateau = ReduceOnPlateau {
        factor: parse_word(each)?,
        patience: parse_word(patience)?,
        lowest: parse_word(lowest)?,
        waited: counter(waited)? as usize,
    };
    let so_far = parse_word(factor)?;
    match plateau.check()? {
        plateau if (0.0..=1.0).contains(&so_far) => Ok((Some(plateau), so_far)),
        _ => Err(Error::Setting { argument: Argument::PlateauProduct, value: so_far }),
    }
}
