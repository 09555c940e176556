//! What training makes small, and what it compares with.

use core::ops::Range;

use crate::Element;
use crate::activation::Activation;
use crate::element::Sealed;
use crate::error::{Error, check_length};

/// The loss function, of a batch of outputs `y` and targets `t`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// `sum (y - t)^2`; its mean is over the batch and the outputs, as `torch.nn.MSELoss`.
    MeanSquaredError,
    /// `-sum_j t_j log softmax(y)_j` of logits `y`; its mean is over the batch, as
    /// `torch.nn.CrossEntropyLoss`. Targets are class indices, or probabilities `[batch, outputs]`.
    /// Computed as one shifted log-sum-exp.
    SoftmaxCrossEntropy,
}

/// How the losses of a batch become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean, over what [`Loss`] says.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

impl Loss {
    /// What the summed loss of a batch is multiplied by.
    pub(crate) fn scale(self, reduction: Reduction, batch: usize, outputs: usize) -> f64 {
        match (reduction, self) {
            (Reduction::Sum, _) => 1.0,
            (Reduction::Mean, Self::MeanSquaredError) => 1.0 / (batch as f64 * outputs as f64),
            (Reduction::Mean, Self::SoftmaxCrossEntropy) => 1.0 / batch as f64,
        }
    }

    /// What the last layer's activation is while this loss is trained: cross-entropy holds a softmax of its
    /// own, so it takes the logits beneath one.
    pub(crate) fn output_activation(self, activation: Activation) -> Activation {
        match (self, activation) {
            (Self::SoftmaxCrossEntropy, Activation::Softmax) => Activation::Identity,
            _ => activation,
        }
    }

    /// Refuses targets that do not fit the loss or the batch.
    pub(crate) fn check<T: Sealed>(
        self,
        targets: Targets<'_, T>,
        batch: usize,
        outputs: usize,
    ) -> Result<(), Error> {
        match targets {
            Targets::Values(values) => check_length("targets", batch * outputs, values.len()),
            Targets::Classes(_) if self == Self::MeanSquaredError => {
                Err(Error::Targets { loss: "the mean squared error" })
            }
            Targets::Classes(classes) => {
                check_length("class targets", batch, classes.len())?;
                match classes.iter().position(|&class| class as usize >= outputs) {
                    Some(row) => Err(Error::Class { row, class: classes[row], classes: outputs }),
                    None => Ok(()),
                }
            }
        }
    }
}

/// The targets of a batch. Made from slices, arrays and vectors by `into()`.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a, T> {
    /// Values, row-major `[batch, outputs]`.
    Values(&'a [T]),
    /// Class indices, `[batch]`, each below the number of outputs.
    Classes(&'a [u32]),
}

impl<'a, T> Targets<'a, T> {
    /// The targets of some rows.
    pub(crate) fn rows(self, rows: Range<usize>, outputs: usize) -> Self {
        match self {
            Self::Values(values) => Self::Values(&values[rows.start * outputs..rows.end * outputs]),
            Self::Classes(classes) => Self::Classes(&classes[rows]),
        }
    }
}

impl<'a, T: Element> From<&'a [T]> for Targets<'a, T> {
    fn from(values: &'a [T]) -> Self {
        Self::Values(values)
    }
}
impl<'a, T: Element> From<&'a Vec<T>> for Targets<'a, T> {
    fn from(values: &'a Vec<T>) -> Self {
        Self::Values(values)
    }
}
impl<'a, T: Element, const N: usize> From<&'a [T; N]> for Targets<'a, T> {
    fn from(values: &'a [T; N]) -> Self {
        Self::Values(values)
    }
}
impl<'a, T: Element> From<&'a [u32]> for Targets<'a, T> {
    fn from(classes: &'a [u32]) -> Self {
        Self::Classes(classes)
    }
}
impl<'a, T: Element> From<&'a Vec<u32>> for Targets<'a, T> {
    fn from(classes: &'a Vec<u32>) -> Self {
        Self::Classes(classes)
    }
}
impl<'a, T: Element, const N: usize> From<&'a [u32; N]> for Targets<'a, T> {
    fn from(classes: &'a [u32; N]) -> Self {
        Self::Classes(classes)
    }
}
