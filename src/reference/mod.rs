//! Reference implementation in plain loops, `f64`.
//!
//! It shares no code with the fast path: no kernels, no layouts, no threads, no workspace. Every function
//! allocates its result and sums in the order in which the formula is written, so that a textbook can be read
//! beside it. It is for checking networks; training with it is slow.
//!
//! Shape letters: `B` batch, `I` inputs, `O` outputs. Every array is row-major without padding: `x` is
//! `[B, I]`, `z` and `y` are `[B, O]`, weights are `[O, I]` and biases `[O]`. `d_` marks the gradient of the
//! loss with respect to what follows. Parameters and their gradients are in canonical order,
//! `W0 b0 W1 b1 ..`.
//!
//! ```text
//! forward    z = x W^T + b            y   = f(z)
//! backward   d_z = d_y f'(z)          d_W = d_z^T x      d_b = sum over rows of d_z      d_x = d_z W
//! ```
//!
//! # Panics
//!
//! Unlike the fast path, which returns an [`Error`](crate::Error), every function here panics if a slice has
//! another length than its shape, if a class index is not below the number of outputs, if class indices are
//! given to another loss than [`Loss::SoftmaxCrossEntropy`](crate::Loss::SoftmaxCrossEntropy), or if
//! [`Activation::Softmax`](crate::Activation::Softmax) stands before the last layer.

mod activation;
mod bf16;
mod dense;
mod dropout;
mod layer_norm;
mod loss;
mod network;
mod rms_norm;

pub use activation::{activate, activation_backward};
pub use bf16::round_to_bf16;
pub use dense::{bias_gradient, dense, input_gradient, weight_gradient};
pub use dropout::{Dropout, dropout_factors};
pub use layer_norm::{layer_norm, layer_norm_backward};
pub use loss::{Objective, loss};
pub use network::{Gradients, Layer, Model};
pub use rms_norm::{rms_norm, rms_norm_backward};
