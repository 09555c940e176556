//! Everything that can be wrong with what a caller hands in.

use core::fmt;

pub use argument::Argument;
pub use file_operation::FileOperation;

use crate::simd::isa::Isa;

mod argument;
mod file_operation;

/// Why a call was refused. Nothing has changed when one is returned, except as [`Error::NonFinite`] and
/// [`Trainer::fit`](crate::Trainer::fit) say.
#[allow(missing_docs, reason = "a field says what its variant names")]
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A slice has another length than the shapes ask for.
    Length { argument: Argument, expected: usize, found: usize },
    /// A slice is not a whole number of rows.
    Rows { argument: Argument, row: usize, found: usize },
    /// A size that must be at least one is zero.
    Zero { argument: Argument },
    /// A size computed from the shapes does not fit in memory's address range.
    Overflow { argument: Argument },
    /// A batch has more rows than the buffers were built for.
    Batch { max: usize, found: usize },
    /// A class index is not below the number of outputs.
    Class { row: usize, class: u32, classes: usize },
    /// Class indices were given to a loss that compares values.
    Targets { loss: Argument },
    /// A value of the data, at a row and a column counted from 0, is not finite.
    Value { argument: Argument, row: usize, column: usize, value: f64 },
    /// A setting lies outside its range.
    Setting { argument: Argument, value: f64 },
    /// This machine, or this build, lacks the instruction set.
    Isa { isa: Isa },
    /// Softmax was asked for before the last layer.
    Softmax { layer: usize, layers: usize },
    /// Dropout was requested after the last layer.
    Dropout { layers: usize },
    /// A layer index is not below the number of layers.
    Layer { layer: usize, layers: usize },
    /// A loss, a gradient, or a running sum of its squares would be infinite or NaN. Steps count from 1.
    /// Parameters, the optimizer's running sums, the number of steps and the elements that dropout leaves out
    /// next are as before the call. [`Trainer::gradients`](crate::Trainer::gradients),
    /// [`Trainer::input_gradients`](crate::Trainer::input_gradients) and
    /// [`Trainer::layer_stats`](crate::Trainer::layer_stats) are those of the refused batch.
    NonFinite { argument: Argument, step: u64, layer: Option<usize> },
    /// No gradient has been computed or written yet.
    NoGradient,
    /// `backward` was called without a `forward` before it.
    NoForward,
    /// Input gradients were not asked for when the trainer was built.
    NoInputGradients,
    /// Reports were not asked for when the trainer was built.
    NoLayerStats,
    /// The workspace was made for a network of other shapes or of another instruction set.
    Workspace,
    /// Two networks differ in the shapes of their layers, from this one on.
    Shapes { layer: usize },
    /// A setting was made that has no effect with what else was chosen.
    Unused { argument: Argument, with: Argument },
    /// A file could not be read or written.
    File { operation: FileOperation, path: String, kind: std::io::ErrorKind },
    /// A file is not what it should be.
    Format { what: String },
    /// A file holds other tensors than the network needs. Each is a name with its shape.
    Tensors { expected: Vec<String>, found: Vec<String> },
    /// The system gave no random seed, or no threads.
    System { argument: Argument },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { argument, expected, found } => {
                write!(f, "{argument} must have {expected} elements, not {found}")
            }
            Self::Rows { argument, row, found } => {
                write!(
                    f,
                    "{argument} must be whole rows of {row} elements, at least one, not {found} elements"
                )
            }
            Self::Zero { argument } => write!(f, "{argument} must be at least 1, not 0"),
            Self::Overflow { argument } => write!(f, "{argument} overflows the address space"),
            Self::Batch { max, found } => write!(f, "the batch has {found} rows, but max_batch is {max}"),
            Self::Class { row, class, classes } => {
                write!(f, "row {row} has class {class}, but there are {classes} classes, counted from 0")
            }
            Self::Targets { loss } => {
                write!(f, "{loss} compares values [batch, outputs]: class indices cannot be its targets")
            }
            Self::Value { argument, row, column, value } => {
                write!(f, "{argument} hold {value} at row {row}, column {column}, counted from 0")
            }
            Self::Setting { argument, value } => write!(f, "{argument} cannot be {value}"),
            Self::Isa { isa } => write!(f, "the instruction set {isa} is not available here"),
            Self::Softmax { layer, layers } => {
                write!(f, "softmax is for the last layer only, not layer {layer} of {layers}")
            }
            Self::Dropout { layers } => {
                write!(f, "dropout must stand before a layer, not after the last of {layers}")
            }
            Self::Layer { layer, layers } => write!(f, "there is no layer {layer}: the network has {layers}"),
            Self::NoGradient => write!(f, "there is no gradient yet: compute or write one"),
            Self::NoForward => write!(f, "backward needs a forward pass of the same batch before it"),
            Self::NoInputGradients => {
                write!(f, "there are no input gradients: request them by TrainerBuilder::input_gradients")
            }
            Self::NoLayerStats => {
                write!(f, "there are no layer statistics: request them by TrainerBuilder::layer_stats")
            }
            Self::Shapes { layer } => write!(f, "the networks have other shapes from layer {layer} on"),
            Self::Workspace => write!(
                f,
                "the workspace was made for a network of other shapes or of another instruction set"
            ),
            Self::NonFinite { argument, step, layer: Some(layer) } => {
                write!(f, "{argument} of layer {layer} is not finite at step {step}")
            }
            Self::NonFinite { argument, step, layer: None } => {
                write!(f, "{argument} is not finite at step {step}")
            }
            Self::File { operation, path, kind } => write!(f, "cannot {operation} {path}: {kind}"),
            Self::Format { what } => write!(f, "not a file of a network: {what}"),
            Self::Tensors { expected, found } => {
                write!(f, "expected the tensors {}; found {}", expected.join(", "), found.join(", "))
            }
            Self::Unused { argument, with } => write!(f, "{argument} cannot be used with {with}"),
            Self::System { argument } => write!(f, "the system gave no {argument}"),
        }
    }
}

impl std::error::Error for Error {}

/// More than any system's address space holds: 47 bits of bytes.
pub(crate) const MAX_BYTES: usize =
    if usize::BITS == 64 { 1 << (usize::BITS - 17) } else { isize::MAX as usize };

/// Refuses a slice whose length is not the one expected.
pub(crate) fn check_length(argument: Argument, expected: usize, found: usize) -> Result<(), Error> {
    if found == expected { Ok(()) } else { Err(Error::Length { argument, expected, found }) }
}

/// The number of rows in a slice of whole rows, at least one and at most `max`.
pub(crate) fn check_batch(argument: Argument, len: usize, row: usize, max: usize) -> Result<usize, Error> {
    // All that is done with a single row would wait for the division.
    let batch = if len == row { 1 } else { len / row };
    if batch == 0 || batch * row != len {
        return Err(Error::Rows { argument, row, found: len });
    }
    if batch <= max { Ok(batch) } else { Err(Error::Batch { max, found: batch }) }
}
