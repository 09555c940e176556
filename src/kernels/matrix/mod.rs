//! Matrices in panels: layout and conversions.

pub(crate) mod bf16;
pub(crate) mod pack;
pub(crate) mod panels;
pub(crate) mod rows;
pub(crate) mod transpose;

/// First term of a sum over part of a batch, as in BLAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beta {
    /// 0: the output is overwritten, never read.
    Zero,
    /// The sum so far.
    One,
}
