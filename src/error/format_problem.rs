//! What is wrong with a file that holds no network, or no checkpoint of a training.

use core::fmt;

use crate::error::Error;

/// What is wrong with a file, in an [`Error::Format`].
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "files")] {
/// use fuseprop::{Error, FormatProblem, Network};
///
/// // The first bytes of a zip archive.
/// let error = Network::<f32>::from_bytes(b"PK\x03\x04").unwrap_err();
/// assert_eq!(error, Error::Format { problem: FormatProblem::TorchSave });
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum FormatProblem {
    /// It is no safetensors file, or one that its crate refuses.
    Safetensors {
        /// What the crate `safetensors` says.
        reason: String,
    },
    /// It is what `torch.save` writes.
    TorchSave,
    /// It is no ONNX file, or its graph is none of a network's.
    Onnx {
        /// What is wrong with it.
        reason: String,
    },
    /// It is no safetensors file, and ONNX files are read with the feature `onnx` alone.
    NoOnnx,
    /// It has no metadata of this crate: `Network::import` reads such files.
    NoMetadata,
    /// Its metadata are of another version than the one that this crate writes and reads.
    Version {
        /// The version, as it stands in the file.
        found: String,
        /// The version that this crate reads.
        expected: &'static str,
    },
    /// Its metadata lack a key.
    MissingKey {
        /// The key.
        key: String,
    },
    /// Words of its metadata are not what they should be.
    Words {
        /// What they should be.
        expected: MetadataItem,
        /// The words.
        found: String,
    },
    /// A count of its metadata is larger than any that can be counted on from.
    Count {
        /// The count.
        found: u64,
    },
    /// Its scaler has means without standard deviations, or the other way round.
    Scaler,
    /// A setting of its metadata is one that no network or trainer takes.
    Setting {
        /// What the setting is refused with.
        error: Box<Error>,
    },
    /// The checkpoint is of a network with other layers.
    OtherLayers,
    /// The checkpoint is of another optimizer.
    OtherOptimizer,
    /// The epochs of the checkpoint's fit are not in order.
    EpochOrder,
    /// The factors by which a plateau has multiplied the learning rate cannot multiply to the checkpoint's.
    PlateauFactor {
        /// Their product.
        found: f64,
    },
    /// A layer would take the tensors of a batch norm.
    BatchNorm {
        /// The batch norm's name, empty if its tensors have no prefix.
        module: String,
    },
}

/// What words of a file's metadata stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MetadataItem {
    /// A number, of the type that its place needs.
    Number,
    /// A layer: kind, activation and dropout, and what is not by default.
    Layer,
    /// An optimizer and its settings.
    Optimizer,
    /// Where a fit started, and the mark of its data.
    Fit,
    /// The report of an epoch.
    Epoch,
    /// A [`ReduceOnPlateau`](crate::ReduceOnPlateau) and its state.
    Plateau,
}

impl fmt::Display for MetadataItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "the number that it should be",
            Self::Layer => "a layer",
            Self::Optimizer => "an optimizer",
            Self::Fit => "the start and the mark of a fit",
            Self::Epoch => "an epoch",
            Self::Plateau => "a plateau",
        })
    }
}

impl fmt::Display for FormatProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Safetensors { reason } | Self::Onnx { reason } => f.write_str(reason),
            Self::NoOnnx => f.write_str(NO_ONNX),
            Self::TorchSave => write!(f, "it is what torch.save writes; in Python, save it by {SAVE_FILE}"),
            Self::NoMetadata => f.write_str(NO_METADATA),
            Self::Version { found, expected } => {
                write!(f, "version {found} of the metadata, not {expected}")
            }
            Self::MissingKey { key } => write!(f, "the metadata have no {key:?}"),
            Self::Words { expected, found } => write!(f, "{found:?} is not {expected}"),
            Self::Count { found } => write!(f, "{found} is no count"),
            Self::Scaler => f.write_str("means without stds, or the other way round"),
            Self::Setting { error } => write!(f, "in its metadata, {error}"),
            Self::OtherLayers => f.write_str("the checkpoint is of a network with other layers"),
            Self::OtherOptimizer => f.write_str("the checkpoint is of another optimizer"),
            Self::EpochOrder => f.write_str("the epochs of the fit are not in order"),
            Self::PlateauFactor { found } => write!(f, "a plateau's factors cannot multiply to {found}"),
            Self::BatchNorm { module } => {
                let module = if module.is_empty() { "the file" } else { module };
                write!(f, "{module} is a batch norm, which is no layer here: {FOLD}")
            }
        }
    }
}

const SAVE_FILE: &str = "safetensors.torch.save_file(model.state_dict(), \"model.safetensors\")";

const NO_ONNX: &str = "it is no safetensors file; ONNX files are read with the feature onnx of this crate";

const NO_METADATA: &str =
    "it has no metadata of fuseprop: if PyTorch wrote it, build the network and use Network::import";

const FOLD: &str = "fold it into the layer before it, in Python by torch.nn.utils.fusion.fuse_linear_bn_eval";
