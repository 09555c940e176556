//! What a file tells beside its tensors, as lines of a key and words.
//!
//! ```text
//! version 1
//! input_dropout 0.1
//! layer dense hard_tanh(-1,1) 0.5 no_bias
//! layer layer_norm identity 0 epsilon=0.001
//! means 0.5 2
//! deviations 1 10
//! ```
//!
//! A layer has its kind, its activation and its dropout; what is not as by default follows. Dropout of the
//! inputs is there if it is above 0, means and deviations if the network has a scaler. A checkpoint has more.
//! It is one entry of the file's metadata, whose entries have no order.

use crate::error::Error;
use crate::kernels::ops::activation::Activation;
use crate::network::scaler::Scaler;
use crate::network::{DEFAULT_EPSILON, Layer, LayerKind, Network};
use crate::simd::scalar::Element;

/// The entry of the metadata.
pub(super) const KEY: &str = "fuseprop";

const VERSION: &str = "1";

/// Lines of a key and words.
pub(super) struct Header<'a>(Vec<(&'a str, &'a str)>);

/// A layer of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct LayerLine {
    pub kind: LayerKind,
    pub activation: Activation,
    pub dropout: f64,
    pub has_bias: bool,
    pub epsilon: f64,
}

/// The lines of a network.
pub(super) fn write<T: Element>(network: &Network<T>) -> String {
    let mut text = format!("version {VERSION}\n");
    if network.input_dropout() > 0.0 {
        text += &format!("input_dropout {}\n", network.input_dropout());
    }
    for layer in &*network.layers {
        text += &format!("layer {}\n", write_layer(layer));
    }
    if let Some(scaler) = network.scaler() {
        // As f64, which holds every element: the text then means the same number for both types.
        let words = |values: &[T]| {
            values.iter().map(|value| value.to_f64().to_string()).collect::<Vec<_>>().join(" ")
        };
        text += &format!("means {}\ndeviations {}\n", words(scaler.means()), words(scaler.stds()));
    }
    text
}

impl<'a> Header<'a> {
    /// # Errors
    /// [`Error::Format`] for another version.
    pub(super) fn parse(text: Option<&'a str>) -> Result<Self, Error> {
        let Some(text) = text else {
            let what = "it has no metadata of fuseprop: if PyTorch wrote it, build the network and use \
                        Network::import";
            return Err(Error::Format { what: what.to_owned() });
        };
        let header = Self(text.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).collect());
        match header.get("version")? {
            VERSION => Ok(header),
            other => Err(Error::Format { what: format!("version {other} of the metadata, not {VERSION}") }),
        }
    }

    /// What follows a key.
    pub(super) fn get(&self, key: &str) -> Result<&'a str, Error> {
        let missing = || Error::Format { what: format!("the metadata have no {key:?}") };
        self.find(key).ok_or_else(missing)
    }

    pub(super) fn find(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(other, _)| *other == key).map(|(_, words)| *words)
    }

    /// A number that follows a key.
    pub(super) fn number<N: core::str::FromStr>(&self, key: &str) -> Result<N, Error> {
        parse_word(self.get(key)?)
    }

    pub(super) fn layers(&self) -> Result<Vec<LayerLine>, Error> {
        self.0.iter().filter(|(key, _)| *key == "layer").map(|(_, words)| read_layer(words)).collect()
    }

    pub(super) fn input_dropout(&self) -> Result<f64, Error> {
        self.find("input_dropout").map_or(Ok(0.0), parse_word)
    }

    pub(super) fn scaler<T: Element>(&self) -> Result<Option<Scaler<T>>, Error> {
        let numbers = |words: &str| {
            let values = words.split(' ').map(parse_word::<f64>);
            values.map(|value| value.map(T::from_f64)).collect::<Result<Vec<T>, _>>()
        };
        match (self.find("means"), self.find("deviations")) {
            (Some(means), Some(deviations)) => Scaler::new(numbers(means)?, numbers(deviations)?).map(Some),
            (None, None) => Ok(None),
            _ => Err(Error::Format { what: "means without deviations, or the other way round".to_owned() }),
        }
    }
}

/// A word as a number.
pub(super) fn parse_word<N: core::str::FromStr>(word: &str) -> Result<N, Error> {
    word.parse().map_err(|_| Error::Format { what: format!("{word:?} is not the number it should be") })
}

fn write_layer(layer: &Layer) -> String {
    let kind = match layer.kind() {
        LayerKind::Dense => "dense",
        LayerKind::LayerNorm => "layer_norm",
    };
    let mut text = format!("{kind} {} {}", write_activation(layer.activation()), layer.dropout());
    if !layer.has_bias() {
        text += &format!(" {NO_BIAS}");
    }
    if let Some(epsilon) = layer.epsilon().filter(|&epsilon| epsilon != DEFAULT_EPSILON) {
        text += &format!(" {EPSILON}{epsilon}");
    }
    text
}

fn read_layer(words: &str) -> Result<LayerLine, Error> {
    let unknown = || Error::Format { what: format!("{words:?} is not a layer") };
    let words: Vec<&str> = words.split(' ').collect();
    let &[kind, activation, dropout, ref settings @ ..] = &words[..] else { return Err(unknown()) };
    let kind = match kind {
        "dense" => LayerKind::Dense,
        "layer_norm" => LayerKind::LayerNorm,
        _ => return Err(unknown()),
    };
    let mut line = LayerLine {
        kind,
        activation: read_activation(activation).ok_or_else(unknown)?,
        dropout: parse_word(dropout)?,
        has_bias: true,
        epsilon: DEFAULT_EPSILON,
    };
    for setting in settings {
        match setting.strip_prefix(EPSILON) {
            Some(epsilon) if kind == LayerKind::LayerNorm => line.epsilon = parse_word(epsilon)?,
            None if *setting == NO_BIAS => line.has_bias = false,
            _ => return Err(unknown()),
        }
    }
    Ok(line)
}

/// Of a layer without biases.
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
