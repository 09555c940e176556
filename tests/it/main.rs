//! Integration tests in one binary. A test that needs a process or an executable of its own is a file
//! of the folder above.

mod bf16;
#[cfg(feature = "files")]
mod checkpoint;
mod common;
mod dropout;
mod errors;
mod evaluate;
mod examples;
mod field;
#[cfg(feature = "files")]
mod files;
mod fit;
mod gradients;
mod graphs;
mod layers;
mod metrics;
mod misuse;
mod networks;
#[cfg(feature = "onnx")]
mod onnx;
mod optimizers;
mod pytorch;
#[cfg(feature = "files")]
mod pytorch_graphs;
mod scaler;
mod small_networks;
mod threads;
mod worked_example;
mod xor;
