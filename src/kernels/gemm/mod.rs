//! The three matrix products of backpropagation.

pub(crate) mod bf16;
pub(crate) mod blocking;
mod dot_product;
#[allow(unsafe_code, reason = "reads without bounds checks, after its assertions have compared every index")]
mod micro_kernel;
pub(crate) mod packed4;
pub(crate) mod products;
pub(crate) mod register_tile;
mod right_operand;
pub(crate) mod weight_gradient;
