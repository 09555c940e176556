//! Matrices in panels: their layout, and the ways into it and out of it.

pub mod pack;
pub mod panels;
pub mod rows;
pub mod transpose;

/// What a sum over part of a batch starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beta {
    /// 0: what was there is overwritten, never read.
    Zero,
    /// The sum so far.
    One,
}
