//! The implementations, a file each.

pub mod burn;
pub mod candle;
pub mod gemm;
pub mod matrixmultiply;
pub mod ours;
pub mod python;
pub mod rust_mlp;
