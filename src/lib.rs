//! `fuseprop` trains and runs feed-forward neural networks on the CPU: SIMD chosen at run time, batches
//! shared out over rayon, no allocation after construction, the same bits for any number of threads.
//!
//! ```
//! use fuseprop::{Activation, Loss, Network, Optimizer, Trainer};
//!
//! let network = Network::<f32>::builder(2)
//!     .dense(16, Activation::Tanh)
//!     .dense(2, Activation::Softmax)
//!     .seed(7)
//!     .build()?;
//! let mut trainer = Trainer::builder(network)
//!     .loss(Loss::SoftmaxCrossEntropy)
//!     .optimizer(Optimizer::adam(0.01))
//!     .max_batch(4)
//!     .build()?;
//! let x = [0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]; // row-major [batch, inputs]
//! for _ in 0..500 {
//!     trainer.step(&x, &[0, 1, 1, 0])?; // forward, loss, backward, update
//! }
//! let network = trainer.into_network();
//! let mut y = [0.0; 8];
//! network.predict_into(&x, &mut y, &mut network.workspace(4)?)?;
//! assert!(y[3] > 0.9); // the probability that row 1 is of class 1
//! # Ok::<(), fuseprop::Error>(())
//! ```
//!
//! # Where to start
//!
//! | you want | look at |
//! |---|---|
//! | a network | [`Network::builder`], [`Activation`], [`Init`] |
//! | skips, several heads | `residual`, `concat` and `heads` of a [`NetworkBuilder`] |
//! | predictions | [`Network::predict_into`] with a [`Workspace`] for each thread |
//! | loss and metrics of a network | [`Network::evaluate`], [`mod@metrics`] |
//! | one training step at a time | [`Trainer::step`], [`Loss`], [`Optimizer`] |
//! | a whole training, with validation and early stopping | [`Trainer::fit`], [`FitOptions`], [`Schedule`] |
//! | rows for training, validation and test, cross-validation | [`mod@split`] |
//! | a loss of your own | [`Trainer::forward`], then [`Trainer::backward`] |
//! | inputs of one size | [`Scaler`] |
//! | weights of half the size, products of bf16 | [`Precision`] |
//! | files, checkpoints, PyTorch's weights | `Network::save`, `Trainer::save_checkpoint`, `Network::import` |
//! | ONNX | `Network::open`, `Network::save_onnx`, with the feature `onnx` |
//! | to see why training fails | [`Trainer::layer_stats`], [`Trainer::check_gradients`] |
//! | the same mathematics in plain loops | [`mod@reference`] |
//!
//! # What is promised
//!
//! * **Speed from a plain `cargo add`.** The instruction set is chosen at run time: [`Isa::detect`].
//! * **No allocation, lock or system call after construction**, on one thread or on a thread of the pool, in
//!   a step, a prediction, and a [`Trainer::fit`] after its first epoch. A first [`Trainer::evaluate`] or
//!   [`Trainer::forward`] allocates its buffers, and a caller outside the pool pays for entering it.
//! * **The same bits** for any number of threads, any position in a batch, and on AVX2 and AVX-512.
//! * **Your data stays yours**: slices in, slices out, row-major `[batch, features]`.
//! * **A call that cannot be meant returns an [`Error`]**, and nothing has changed.
//!
//! # Features
//!
//! | feature | default | |
//! |---|---|---|
//! | `rayon` | yes | batches share the current rayon pool; else all is serial, with the same bits |
//! | `files` | yes | networks, checkpoints and PyTorch's weights in safetensors files |
//! | `onnx` | no | networks in ONNX files, read and written |

#![deny(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks)]
#![warn(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod engine;
mod error;
mod evaluate;
#[cfg(feature = "files")]
mod files;
mod float_math;
// The kernels' items are public for the engine's signatures, not for callers: the module is private.
#[allow(missing_docs)]
mod kernels;
pub mod metrics;
mod network;
mod predict;
pub mod reference;
mod rng;
#[allow(missing_docs)]
mod simd;
mod train;

pub use engine::bf16::Precision;
pub use engine::parallel::Parallelism;
pub use error::{Argument, Error, FileOperation, FormatProblem, MetadataItem};
pub use evaluate::Evaluation;
#[cfg(feature = "files")]
pub use files::{ImportOptions, TensorNames, WeightLayout};
pub use kernels::ops::activation::Activation;
pub use kernels::ops::class_labels::ClassLabels;
pub use kernels::ops::loss::{Loss, Reduction};
pub use kernels::ops::optimizer::{Adagrad, Adam, AdamW, Lion, NAdam, Optimizer, RAdam, RmsProp, Rprop, Sgd};
pub use kernels::ops::targets::Targets;
pub use network::init::Init;
pub use network::scaler::Scaler;
pub use network::{Head, Layer, LayerKind, Network, NetworkBuilder, Source};
pub use predict::Workspace;
pub use simd::isa::Isa;
pub use simd::scalar::Element;
pub use train::builder::TrainerBuilder;
pub use train::dataset::Dataset;
pub use train::fit::{EpochReport, FitOptions, FitReport};
pub use train::gradient_check::GradientCheck;
pub use train::heads::HeadLoss;
pub use train::layer_stats::LayerStats;
pub use train::monitor::Monitor;
pub use train::schedule::{OneCycle, ReduceOnPlateau, Schedule};
pub use train::split;
pub use train::trainer::Trainer;

/// The README's program, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
