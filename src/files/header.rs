//! What a file tells beside its tensors, as lines of a key and words.
//!
//! ```text
//! version 1
//! seed 7
//! input_dropout 0.1
//! layer dense hard_tanh(-1,1) 0.5 no_bias
//! layer layer_norm identity 0 epsilon=0.001
//! means 0.5 2
//! stds 1 10
//! ```
//!
//! The seed is the one of the initial weights, and of trainings of the network without a seed of their own. A
//! layer has its kind, its activation and its dropout; what is not as by default follows. Dropout of the
//! inputs is there if it is above 0, means and stds if the network has a scaler. A checkpoint has more.
//!
//! A network that is no chain has the number of its inputs too, and each layer what it reads, layers by their
//! numbers, and the name of its module; a layer of a chain has that name where it is no count of modules:
//!
//! ```text
//! inputs 3
//! layer dense relu 0 reads=input name=0
//! layer concat identity 0 reads=input,0 name=2
//! ```
//!
//! It is one entry of the file's metadata, whose entries have no order.

use crate::error::{Error, FormatProblem, MetadataItem};
use crate::kernels::ops::activation::Activation;
use crate::kernels::ops::optimizer::{Optimizer, Setting};
use crate::network::scaler::Scaler;
use crate::network::{Layer, LayerKind, LayerSpec, Network, Source, input_modules, modules};
use crate::simd::scalar::Element;

/// The entry of the metadata.
pub(super) const KEY: &str = "fuseprop";

const VERSION: &str = "1";

/// Lines of a key and words.
pub(super) struct Header<'a>(Vec<(&'a str, &'a str)>);

/// The lines of a network.
pub(super) fn write<T: Element>(network: &Network<T>) -> String {
    let mut text = format!("version {VERSION}\nseed {}\n", network.seed());
    if network.input_dropout() > 0.0 {
        text += &format!("input_dropout {}\n", network.input_dropout());
    }
    if !network.layers.is_chain() {
        text += &format!("inputs {}\n", network.inputs());
    }
    let (is_chain, mut index) = (network.layers.is_chain(), input_modules(network.input_dropout()));
    for (i, layer) in network.layers.iter().enumerate() {
        text += &format!("layer {}", write_layer(layer));
        if !is_chain {
            let sources: Vec<String> =
                network.layers.edges(i).iter().map(|edge| write_source(edge.source)).collect();
            text += &format!(" {READS}{}", sources.join(","));
        }
        let name = network.layers.name(i);
        if !is_chain || name != index.to_string() {
            text += &format!(" {NAME}{name}");
        }
        index += modules(layer.activation(), layer.dropout());
        text += "\n";
    }
    if let Some(scaler) = network.scaler() {
        // As f64, which holds every element: the text then means the same number for both types.
        let words = |values: &[T]| {
            values.iter().map(|value| value.to_f64().to_string()).collect::<Vec<_>>().join(" ")
        };
        text += &format!("means {}\nstds {}\n", words(scaler.means()), words(scaler.stds()));
    }
    text
}

impl<'a> Header<'a> {
    /// # Errors
    /// [`Error::Format`] for another version.
    pub(super) fn parse(text: Option<&'a str>) -> Result<Self, Error> {
        let Some(text) = text else {
            return Err(Error::format(FormatProblem::NoMetadata));
        };
        let header = Self(text.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).collect());
        match header.get("version")? {
            VERSION => Ok(header),
            other => {
                Err(Error::format(FormatProblem::Version { found: other.to_owned(), expected: VERSION }))
            }
        }
    }

    /// What follows a key.
    pub(super) fn get(&self, key: &str) -> Result<&'a str, Error> {
        self.find(key).ok_or_else(|| Error::format(FormatProblem::MissingKey { key: key.to_owned() }))
    }

    pub(super) fn find(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(other, _)| *other == key).map(|(_, words)| *words)
    }

    /// A number that follows a key.
    pub(super) fn number<N: core::str::FromStr>(&self, key: &str) -> Result<N, Error> {
        parse_word(self.get(key)?)
    }

    /// A number that can be counted on from.
    pub(super) fn count<N: TryFrom<u64>>(&self, key: &str) -> Result<N, Error> {
        parse_count(self.get(key)?)
    }

    pub(super) fn layers<T: Element>(&self) -> Result<Vec<LayerSpec>, Error> {
        let lines = self.0.iter().filter(|(key, _)| *key == "layer");
        let layers = lines.enumerate().map(|(i, (_, words))| {
            let before = if i == 0 { Source::Input } else { Source::Layer(i - 1) };
            read_layer::<T>(words, before)
        });
        layers.collect()
    }

    pub(super) fn input_dropout(&self) -> Result<f64, Error> {
        self.find("input_dropout").map_or(Ok(0.0), parse_word)
    }

    pub(super) fn scaler<T: Element>(&self) -> Result<Option<Scaler<T>>, Error> {
        let numbers = |words: &str| {
            let values = words.split(' ').map(parse_word::<f64>);
            values.map(|value| value.map(T::from_f64)).collect::<Result<Vec<T>, _>>()
        };
        match (self.find("means"), self.find("stds")) {
            (Some(means), Some(stds)) => {
                Scaler::new(numbers(means)?, numbers(stds)?).map(Some).map_err(malformed)
            }
            (None, None) => Ok(None),
            (Some(_), None) | (None, Some(_)) => Err(Error::format(FormatProblem::Scaler)),
        }
    }
}

/// A word as a number.
pub(super) fn parse_word<N: core::str::FromStr>(word: &str) -> Result<N, Error> {
    word.parse().map_err(|_| not(MetadataItem::Number, word))
}

/// Refuses words that are not what they should be.
pub(super) fn not(expected: MetadataItem, words: &str) -> Error {
    Error::format(FormatProblem::Words { expected, found: words.to_owned() })
}

/// A word as a number that can be counted on from.
pub(super) fn parse_count<N: TryFrom<u64>>(word: &str) -> Result<N, Error> {
    let number = parse_word(word)?;
    let in_range = (number <= u64::from(u32::MAX) << 16).then(|| N::try_from(number).ok()).flatten();
    in_range.ok_or_else(|| Error::format(FormatProblem::Count { found: number }))
}

/// What a setting of the file is refused with.
pub(super) fn malformed(error: Error) -> Error {
    match error {
        Error::Format { .. } | Error::Tensors { .. } => error,
        _ => Error::format(FormatProblem::Setting { error: Box::new(error) }),
    }
}

fn write_layer(layer: &Layer) -> String {
    let kind = layer.kind().name();
    let mut text = format!("{kind} {} {}", write_activation(layer.activation()), layer.dropout());
    if layer.has_bias() != layer.kind().has_biases() {
        text += &format!(" {}", if layer.has_bias() { BIAS } else { NO_BIAS });
    }
    if let Some(epsilon) = layer.epsilon().filter(|&epsilon| !is_default(layer.kind(), epsilon)) {
        text += &format!(" {EPSILON}{epsilon}");
    }
    text
}

fn read_layer<T: Element>(words: &str, before: Source) -> Result<LayerSpec, Error> {
    let unknown = || not(MetadataItem::Layer, words);
    let words: Vec<&str> = words.split(' ').collect();
    let &[kind, activation, dropout, ref settings @ ..] = &words[..] else { return Err(unknown()) };
    let &(kind, _) = LayerKind::NAMES.iter().find(|(_, name)| *name == kind).ok_or_else(unknown)?;
    let mut layer = LayerSpec::new::<T>(kind, None, vec![before]);
    layer.activation = read_activation(activation).ok_or_else(unknown)?;
    layer.dropout = parse_word(dropout)?;
    for setting in settings {
        if let Some(epsilon) = setting.strip_prefix(EPSILON).filter(|_| kind.has_epsilon()) {
            layer.epsilon = parse_word(epsilon)?;
        } else if let Some(sources) = setting.strip_prefix(READS) {
            layer.sources = sources.split(',').map(read_source).collect::<Result<_, _>>()?;
        } else if let Some(name) = setting.strip_prefix(NAME) {
            layer.name = Some(name.to_owned());
        } else if kind.has_parameters() && *setting == if kind.has_biases() { NO_BIAS } else { BIAS } {
            layer.has_bias = !kind.has_biases();
        } else {
            return Err(unknown());
        }
    }
    match kind.takes_sources(layer.sources.len()) {
        true => Ok(layer),
        false => Err(unknown()),
    }
}

/// Whether a layer without the setting has it, whatever the element type of the network that reads it.
fn is_default(kind: LayerKind, epsilon: f64) -> bool {
    [kind.default_epsilon::<f32>(), kind.default_epsilon::<f64>()].iter().all(|&default| default == epsilon)
}

const READS: &str = "reads=";

const NAME: &str = "name=";

fn write_source(source: Source) -> String {
    match source {
        Source::Input => "input".to_owned(),
        Source::Layer(layer) => layer.to_string(),
    }
}

fn read_source(word: &str) -> Result<Source, Error> {
    if word == "input" { Ok(Source::Input) } else { parse_count(word).map(Source::Layer) }
}

/// Of a layer without biases.
const BIAS: &str = "bias";

const NO_BIAS: &str = "no_bias";

/// Before the epsilon of a layer norm.
const EPSILON: &str = "epsilon=";

/// An activation as a word: `relu`, `leaky_relu(0.01)`. Settings have as many digits as give the same number
/// back.
fn write_activation(activation: Activation) -> String {
    let settings: Vec<String> = activation.settings().iter().map(f64::to_string).collect();
    match &settings[..] {
        [] => activation.name().to_owned(),
        settings => format!("{}({})", activation.name(), settings.join(",")),
    }
}

/// What [`write_activation`] wrote.
fn read_activation(word: &str) -> Option<Activation> {
    let (name, settings) = match word.split_once('(') {
        Some((name, rest)) => (name, rest.strip_suffix(')')?),
        None => (word, ""),
    };
    let words = settings.split(',').filter(|word| !word.is_empty());
    let settings = words.map(str::parse).collect::<Result<Vec<f64>, _>>().ok()?;
    Activation::from_name(name, &settings)
}

/// An optimizer without its learning rate as words: `adam weight_decay=0 l1=0 beta1=0.9 ..`. Settings have as
/// many digits as give the same number back.
pub(super) fn write_optimizer(mut optimizer: Optimizer) -> String {
    let mut text = optimizer.name().to_owned();
    for (name, setting) in optimizer.settings_mut() {
        text += &match setting {
            Setting::Number(value) => format!(" {name}={value}"),
            Setting::Flag(value) => format!(" {name}={value}"),
        };
    }
    text
}

/// What [`write_optimizer`] wrote, with a learning rate of 0. Each setting of the rule must be there, and
/// nothing else.
pub(super) fn read_optimizer(words: &str) -> Result<Optimizer, Error> {
    let unknown = || not(MetadataItem::Optimizer, words);
    let mut words = words.split(' ');
    let mut optimizer = words.next().and_then(Optimizer::from_name).ok_or_else(unknown)?;
    for (name, setting) in optimizer.settings_mut() {
        let word = words.next().and_then(|word| word.split_once('=')).ok_or_else(unknown)?;
        match (word, setting) {
            ((key, value), Setting::Number(to)) if key == name => *to = parse_word(value)?,
            ((key, value), Setting::Flag(to)) if key == name => *to = parse_word(value)?,
            _ => return Err(unknown()),
        }
    }
    match words.next() {
        None => Ok(optimizer),
        Some(_) => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Adagrad, Adam, AdamW, RmsProp, Sgd};

    #[test]
    fn optimizers_are_words_that_are_read_back() {
        let optimizers: [(Optimizer, &str); 6] = [
            (Sgd::new(0.5).into(), "sgd weight_decay=0 l1=0 momentum=0 dampening=0 nesterov=false"),
            (
                Sgd::new(0.5).momentum(0.9).nesterov(true).l1(1e-5).into(),
                "sgd weight_decay=0 l1=0.00001 momentum=0.9 dampening=0 nesterov=true",
            ),
            (
                Adam::new(0.5).betas(0.8, 0.99).into(),
                "adam weight_decay=0 l1=0 beta1=0.8 beta2=0.99 epsilon=0.00000001 amsgrad=false",
            ),
            (
                AdamW::new(0.5).amsgrad(true).into(),
                "adamw weight_decay=0.01 l1=0 beta1=0.9 beta2=0.999 epsilon=0.00000001 amsgrad=true",
            ),
            (
                RmsProp::new(0.5).momentum(0.25).centered(true).into(),
                "rms_prop weight_decay=0 l1=0 alpha=0.99 epsilon=0.00000001 momentum=0.25 centered=true",
            ),
            (
                Adagrad::new(0.5).initial_accumulator(0.1).weight_decay(0.125).into(),
                "adagrad weight_decay=0.125 l1=0 learning_rate_decay=0 initial_accumulator=0.1 \
                 epsilon=0.0000000001",
            ),
        ];
        for (optimizer, words) in optimizers {
            assert_eq!(write_optimizer(optimizer), words);
            assert_eq!(read_optimizer(words).unwrap(), optimizer.at_rate(0.0), "{words}");
            let (shorter, _) = words.rsplit_once(' ').unwrap();
            let others = [shorter.to_owned(), format!("{words} l1=0"), words.replace("l1", "l2")];
            for other in others.into_iter().chain([words.replace("l1=0", "l1=x"), format!("x{words}")]) {
                assert!(matches!(read_optimizer(&other), Err(Error::Format { .. })), "{other}");
            }
        }
    }
}
