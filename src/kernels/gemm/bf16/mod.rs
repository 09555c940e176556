//! The products of a dense layer with operands in bf16 and sums in `f32`.
//!
//! As in [`products`](super::products), but that a step of a sum takes two values of its index `k`, and that
//! each element of `C` is one chain of such steps, whatever the shapes: there are no dot products, no
//! transposed gradients and no several accumulators. So an element has the same bits in any tile, in any
//! company, and on any instruction set.
//!
//! | file | subject |
//! |---|---|
//! | `tile` | the micro-kernel |
//! | `products` | `y = f(x W + b)` and `d_x = d_z W^T` |
//! | `weight_gradient` | `d_W = x^T d_z` and `d_b` |

pub(crate) mod products;
#[allow(unsafe_code, reason = "reads without bounds checks, after its assertions have compared every index")]
mod tile;
pub(crate) mod weight_gradient;
