//! The three matrix products of backpropagation.

pub mod blocking;
pub mod dot_product;
#[allow(unsafe_code, reason = "reads without bounds checks, after its assertions have compared every index")]
pub mod micro_kernel;
pub mod packed4;
pub mod products;
pub mod register_tile;
pub mod weight_gradient;
