//! What a CPU can do: one cache line of elements at a time, on every instruction set. Imports nothing of the crate.

#![allow(unsafe_code, reason = "the one ring that may")]

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
pub mod float_bits;
pub mod interleaved;
pub mod isa;
pub mod lanes;
pub mod math;
pub mod portable;
pub mod prefetch;
pub mod scalar;
#[cfg(test)]
pub(crate) mod tests;
