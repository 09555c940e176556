//! How numbers move: the operations that a network is made of, generic over the lanes of an instruction set.
//!
//! A function that takes lanes either is `#[inline(always)]` or crosses into the instruction set by
//! [`Lanes::vectorize`](crate::simd::lanes::Lanes), below which everything is inlined. A kernel never sees a
//! thread or a layer.

pub(crate) mod gemm;
pub(crate) mod matrix;
pub(crate) mod ops;
#[cfg(test)]
mod tests;
