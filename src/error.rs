//! Errors of the public API.

use core::fmt;

pub use argument::Argument;
pub use file_operation::FileOperation;
pub use format_problem::{FormatProblem, MetadataItem};

use crate::simd::isa::Isa;

mod argument;
mod file_operation;
mod format_problem;

/// Why a call was refused. Nothing has changed when one is returned, except as [`Error::NonFinite`] and
/// [`Trainer::fit`](crate::Trainer::fit) say.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Argument, Error, Network};
///
/// let network = Network::<f32>::builder(3).dense(2, Activation::Tanh).build()?;
/// let error = network.predict(&[0.5; 4]).unwrap_err();
/// assert_eq!(error, Error::Rows { argument: Argument::Inputs, row: 3, found: 4 });
/// assert!(error.to_string().starts_with("the inputs must be whole rows of 3 elements"));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// A slice has another length than the shapes give it.
    Length {
        /// The slice.
        argument: Argument,
        /// The elements that it must have.
        expected: usize,
        /// The elements that it has.
        found: usize,
    },
    /// A slice is not a whole number of rows, or has none.
    Rows {
        /// The slice.
        argument: Argument,
        /// The elements of a row.
        row: usize,
        /// The elements that it has.
        found: usize,
    },
    /// A size that must be at least one is zero.
    Zero {
        /// The size.
        argument: Argument,
    },
    /// A size computed from the shapes does not fit in memory's address range.
    Overflow {
        /// The size.
        argument: Argument,
    },
    /// A batch has more rows than the buffers were built for:
    /// [`TrainerBuilder::max_batch`](crate::TrainerBuilder::max_batch),
    /// [`Network::workspace`](crate::Network::workspace).
    Batch {
        /// The maximum batch size.
        max: usize,
        /// The rows of the batch.
        found: usize,
    },
    /// A class index is not below the number of classes.
    Class {
        /// The row of the batch, from 0.
        row: usize,
        /// Its class, as it was given.
        class: i128,
        /// The number of classes.
        classes: usize,
    },
    /// Class indices were given to a loss that compares values.
    Targets {
        /// The loss.
        loss: Argument,
    },
    /// A value of the data is not finite, or outside its range.
    Value {
        /// The data.
        argument: Argument,
        /// The row of the value, from 0.
        row: usize,
        /// The column of the value, from 0.
        column: usize,
        /// The value.
        value: f64,
    },
    /// A setting lies outside its range.
    Setting {
        /// The setting.
        argument: Argument,
        /// Its value.
        value: f64,
    },
    /// This CPU or build does not support the instruction set.
    Isa {
        /// The instruction set.
        isa: Isa,
    },
    /// Softmax was requested before the last layer.
    Softmax {
        /// The layer with softmax, from 0.
        layer: usize,
        /// The number of layers.
        layers: usize,
    },
    /// Dropout was requested after the last layer.
    Dropout {
        /// The number of layers.
        layers: usize,
    },
    /// A layer index is not below the number of layers.
    Layer {
        /// The index, from 0.
        layer: usize,
        /// The number of layers.
        layers: usize,
    },
    /// A loss, a gradient, a running sum of its squares or a parameter would be infinite or NaN. Parameters,
    /// the optimizer's running sums, the number of steps and the elements that dropout leaves out next
    /// are as before the call. [`Trainer::gradients`](crate::Trainer::gradients),
    /// [`Trainer::input_gradients`](crate::Trainer::input_gradients) and
    /// [`Trainer::layer_stats`](crate::Trainer::layer_stats) are those of the refused batch.
    NonFinite {
        /// The loss, the gradient, the sum of its squares or the parameters.
        argument: Argument,
        /// The step, from 1.
        step: u64,
        /// The first layer whose gradient is not finite, from 0. For a loss nothing, but for one of
        /// [`Trainer::fit`](crate::Trainer::fit) the first layer whose outputs are not finite, if there is
        /// one.
        layer: Option<usize>,
        /// The epoch of [`Trainer::fit`](crate::Trainer::fit), from 1; else nothing.
        epoch: Option<usize>,
    },
    /// No gradient has been computed or written yet.
    NoGradient,
    /// `backward` was called without a `forward` before it.
    NoForward,
    /// Input gradients were not requested when the trainer was built.
    NoInputGradients,
    /// Layer statistics were not requested when the trainer was built.
    NoLayerStats,
    /// The workspace was made for a network of other shapes or of another instruction set.
    Workspace,
    /// Two networks differ in the shapes of their layers.
    Shapes {
        /// The first layer that differs, from 0.
        layer: usize,
    },
    /// A setting has no effect with what else was chosen.
    Unused {
        /// The setting.
        argument: Argument,
        /// The other choice.
        with: Argument,
    },
    /// Two choices contradict each other, or nothing could be learned with both.
    Combination {
        /// One choice.
        argument: Argument,
        /// The other.
        with: Argument,
    },
    /// The validation set of a fit was refused; its data for training were not.
    Validation {
        /// Why.
        error: Box<Error>,
    },
    /// A file could not be read or written.
    File {
        /// What failed.
        operation: FileOperation,
        /// The file's path.
        path: String,
        /// The system's reason.
        kind: std::io::ErrorKind,
    },
    /// A file is no file of a network, or of a checkpoint of this training.
    Format {
        /// What is wrong with it.
        problem: FormatProblem,
    },
    /// A graph of a file has a node that no network has, or in a form that none has.
    Operator {
        /// The name of the node, or of what it gives.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong with it.
        what: String,
        /// What would be supported in its place.
        supported: String,
    },
    /// A file holds other tensors than the network needs.
    Tensors {
        /// Name and shape of each tensor that the network needs.
        expected: Vec<String>,
        /// Name and shape of each tensor of the file.
        found: Vec<String>,
    },
    /// The system gave no random seed, or no threads.
    System {
        /// The seed or the threads.
        argument: Argument,
    },
}

impl Error {
    /// Of a step, from 1.
    pub(crate) fn loss_not_finite(step: u64) -> Self {
        Self::NonFinite { argument: Argument::Loss, step, layer: None, epoch: None }
    }

    #[cfg(feature = "files")]
    pub(crate) fn format(problem: FormatProblem) -> Self {
        Self::Format { problem }
    }
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
            Self::Batch { max, found } => {
                write!(f, "the batch has {found} rows, but max_batch is {max}: {LIMIT_OF_ROWS} sets it")
            }
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
            Self::Isa { isa } => write!(f, "this CPU or build does not support the instruction set {isa}"),
            Self::Softmax { layer, layers } => write!(f, "{NOT_LAST} {layer} of {layers}, counted from 0"),
            Self::Dropout { layers } => {
                write!(f, "dropout must stand before a layer, not after the last of {layers}")
            }
            Self::Layer { layer, layers } => {
                write!(f, "there is no layer {layer}, counted from 0: the network has {layers}")
            }
            Self::NoGradient => write!(f, "there is no gradient yet: compute or write one"),
            Self::NoForward => write!(f, "backward needs a forward pass of the same batch before it"),
            Self::NoInputGradients => {
                write!(f, "there are no input gradients: request them by TrainerBuilder::input_gradients")
            }
            Self::NoLayerStats => {
                write!(f, "there are no layer statistics: request them by TrainerBuilder::layer_stats")
            }
            Self::Shapes { layer } => write!(f, "the networks have other shapes from layer {layer} on"),
            Self::Workspace => f.write_str(OTHER_WORKSPACE),
            &Self::NonFinite { argument, step, layer, epoch } => {
                write_not_finite(f, argument, layer, &Moment { step, epoch })
            }
            Self::File { operation, path, kind } => write!(f, "cannot {operation} {path}: {kind}"),
            Self::Format { problem } => write!(f, "not a file of a network: {problem}"),
            Self::Operator { node, operator, what, supported } => {
                write!(f, "node {node:?}, {operator}: {what}. Supported: {supported}")
            }
            Self::Tensors { expected, found } => write_tensors(f, expected, found),
            Self::Unused { argument, with } | Self::Combination { argument, with } => {
                write!(f, "{argument} cannot be used with {with}")
            }
            Self::Validation { error } => write!(f, "in the validation set: {error}"),
            Self::System { argument } => write!(f, "the system gave no {argument}"),
        }
    }
}

/// When something was not finite.
struct Moment {
    step: u64,
    epoch: Option<usize>,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}", self.step)?;
        self.epoch.map_or(Ok(()), |epoch| write!(f, " of epoch {epoch}"))
    }
}

fn write_tensors(f: &mut fmt::Formatter<'_>, expected: &[String], found: &[String]) -> fmt::Result {
    let (expected, found) = (expected.join(", "), found.join(", "));
    write!(f, "expected the tensors {expected}; found {found}. {OTHER_NAMES}")
}

fn write_not_finite(
    f: &mut fmt::Formatter<'_>,
    argument: Argument,
    layer: Option<usize>,
    step: &Moment,
) -> fmt::Result {
    let of_layer = layer.map_or(String::new(), |layer| format!(" of layer {layer}"));
    match (argument, layer) {
        (Argument::Loss, Some(layer)) => {
            write!(f, "the loss is not finite at {step}: the outputs of layer {layer} are not")
        }
        (Argument::Parameters, _) => write!(f, "{argument}{of_layer} are not finite after {step}"),
        _ => write!(f, "{argument}{of_layer} is not finite at {step}"),
    }
}

const LIMIT_OF_ROWS: &str = "TrainerBuilder::max_batch or Network::workspace";

const NOT_LAST: &str = "softmax is for the last layer only, not layer";

const OTHER_NAMES: &str =
    "Network::import with TensorNames::List takes other names, and another order of layers";

const OTHER_WORKSPACE: &str = "the workspace was made for a network of other shapes or of another \
                               instruction set: Network::workspace makes one";

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
