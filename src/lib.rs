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
//! # Reading the source
//!
//! How an input row becomes an updated weight:
//!
//! 1. `train.rs`: [`Trainer::step`] checks rows and targets and runs the two halves of a step.
//! 2. `pass.rs`, the first half: the batch is cut into slots, which `parallel.rs` shares out; a slot takes its tiles in
//!    order.
//!    `machine.rs` is where a run of slots enters the instruction set: below it nothing is looked up in a table.
//! 3. `tile.rs`: a tile goes forward, through the loss, and back. Each operation is one call to `kernels/mod.rs`.
//! 4. `kernels/gemm.rs` and `gradient.rs`: the products `y = f(x W^T + b)` and `d_x = d_z W`, and `d_W = d_z^T x`, by one
//!    micro-kernel, `micro.rs`. The third is called by the slot (depth-first) or by the owner of the weights (two-phase),
//!    never by both.
//! 5. `update.rs`, the second half: each group of parameters has an owner, who sums its gradient, calls `optimizer.rs`
//!    (`w = w - learning_rate g` and its relatives), and renews the transposed copy.
//!
//! Batches of up to 64 rows through dense layers of at most 16 features (8 in `f64`) go through `small.rs` instead, all in
//! one run, unless reports, a check that all is finite, or gradients of the inputs are asked for.
//!
//! | word | |
//! |---|---|
//! | line | 64 bytes: 16 `f32` or 8 `f64`, a *lane* each; the unit of every layout (`kernels/lanes/`) |
//! | panel | all rows of a matrix, one line wide; a matrix is a run of panels (`kernels/pack.rs`) |
//! | quad | four lanes: a row of a layer of at most four features, of which a line holds several (`kernels/quads.rs`) |
//! | tile | up to 64 rows of a batch, 128 or 256 where weights are many, with buffers for every layer (`tile.rs`) |
//! | slot | the rows that one task takes, tile by tile, through the same buffers (`pass.rs`) |
//! | two-phase | a slot is one tile; its activations stay until the owners multiply them into the gradient |
//! | depth-first | a slot is several tiles; each is multiplied into the slot's gradient before the next, and slots are summed in pairs |
//! | group | up to four panels of one layer's outputs: what one owner sums and updates (`update.rs`) |
//! | transposed copy | the weights once more, as `d_x = d_z W` reads them; renewed at each update |
//!
//! A prediction takes its rows through `tile.rs` alone (`predict.rs`). Rows too few to share out are shared out by outputs,
//! layer by layer (`outputs.rs`).
//!
//! [`Trainer::fit`] (`fit.rs`) repeats steps over epochs; `files/` keeps networks and trainings. Everything about an
//! activation, a loss or an optimizer, with its formula over vectors, is said in the file of that name. Sizes are chosen
//! in `kernels/blocking.rs`, instruction sets in `kernels/isa.rs`. [`mod@reference`] is the same mathematics by plain
//! loops, to compare with.

#![deny(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks)]
#![warn(missing_docs)]

mod engine;
mod error;
#[cfg(feature = "files")]
mod files;
// The kernels' items are public for the engine's signatures, not for callers: the module is private.
#[allow(missing_docs)]
mod kernels;
pub mod metrics;
mod network;
mod predict;
pub mod reference;
#[allow(missing_docs)]
mod simd;
mod train;

pub use engine::parallel::Parallelism;
pub use error::{Argument, Error};
#[cfg(feature = "files")]
pub use files::TensorNames;
pub use kernels::ops::activation::Activation;
pub use kernels::ops::loss::{Loss, Reduction};
pub use kernels::ops::optimizer::{Adagrad, Adam, AdamW, Optimizer, RmsProp, Sgd};
pub use kernels::ops::targets::Targets;
pub use network::init::Init;
pub use network::scaler::Scaler;
pub use network::{Layer, LayerKind, Network, NetworkBuilder};
pub use predict::Workspace;
pub use simd::isa::Isa;
pub use simd::scalar::Element;
pub use train::builder::TrainerBuilder;
pub use train::fit::{Dataset, EpochReport, Evaluation, FitOptions, FitReport};
pub use train::gradient_check::GradientCheck;
pub use train::layer_stats::LayerStats;
pub use train::schedule::{ReduceOnPlateau, Schedule};
pub use train::trainer::Trainer;

/// The README's program, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
