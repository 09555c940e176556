//! Matrices in panels: layout and conversions.

pub mod pack;
pub mod panels;
pub mod rows;
pub mod transpose;

/// First term of a sum over part of a batch, as in BLAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beta {
    /// 0: the output is overwritten, never read.
    Zero,
    /// The sum so far.
    One,
}
