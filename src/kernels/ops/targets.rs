//! What a loss compares outputs with.

use core::ops::Range;

use crate::simd::scalar::Element;

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
