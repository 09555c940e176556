//! The three matrix products of backpropagation.

pub(crate) mod blocking;
pub(crate) mod dot_product;
#[allow(unsafe_code, reason = "reads without bounds checks, after its assertions have compared every index")]
pub(crate) mod micro_kernel;
pub(crate) mod packed4;
pub(crate) mod products;
pub(crate) mod register_tile;
pub(crate) mod weight_gradient;
