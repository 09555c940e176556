//! Portable SIMD: operations on one cache line of elements at a time, on every instruction set.
//!
//! This ring imports nothing else of the crate.
//!
//! | file | subject |
//! |---|---|
//! | `scalar` | the element types `f32` and `f64`, each with its cache line |
//! | `lanes` | one vector: the traits [`Arithmetic`](lanes::Arithmetic) and [`Lanes`](lanes::Lanes) |
//! | `portable` | lanes on the vectors of the crate `wide`, for every CPU |
//! | `avx2` | lanes on pairs of 256-bit registers |
//! | `avx512` | lanes on 512-bit registers |
//! | `interleaved` | several vectors operation by operation, for instruction-level parallelism |
//! | `isa` | instruction sets, detected at run time |
//! | `math` | elementary functions over lanes |
//! | `float_bits` | bit patterns of floating-point numbers, as constants |
//! | `prefetch` | software prefetch of cache lines |
//! | `bf16` | rounding to bf16, and sums of products of pairs |
//!
//! **Tokens.** `Portable<T>`, `Avx2<T>` and `Avx512<T>` are zero-sized values that detection makes, or a
//! token of the other element type. Holding one proves that the CPU has the features, so every lane method is
//! safe. Their `unsafe` blocks rest on it.

#![allow(unsafe_code, reason = "intrinsics, and views of cache lines as elements")]

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod bf16;
pub(crate) mod float_bits;
pub(crate) mod interleaved;
pub(crate) mod isa;
pub(crate) mod lanes;
pub(crate) mod math;
pub(crate) mod portable;
pub(crate) mod prefetch;
pub(crate) mod scalar;
#[cfg(test)]
pub(crate) mod tests;
