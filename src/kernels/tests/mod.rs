//! Tests of the kernels against slower arithmetic, on every available instruction set.

mod bf16;
mod denormals;
// It maps memory by system calls.
#[cfg(unix)]
#[allow(unsafe_code)]
mod guard_pages;
mod join;
mod layer_norm;
mod pack;
mod packed4;
mod products;
mod special;
mod speed;
mod table;

use table::{Kernels, kernels};

use crate::simd::isa::Isa;
use crate::simd::scalar::Element;
use crate::simd::tests::{Check, on_every_isa};

/// The kernels of every available instruction set that the environment does not exclude.
fn available<T: Element>() -> Vec<(Isa, &'static dyn Kernels<T>)> {
    let entry = |isa| (isa, kernels::<T>(isa).expect("the instruction set is available"));
    crate::simd::tests::available().into_iter().map(entry).collect()
}
