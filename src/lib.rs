//! `fuseprop` trains and runs feed-forward neural networks on the CPU: SIMD chosen at run time, batches
//! shared out over rayon, no allocation after construction, the same bits for any number of threads.
//!
//! The data path, for who reads the source:
//!
//! 1. [`Trainer::step`] (`train.rs`) takes rows and targets and checks them; `pass.rs` divides the rows into
//!    tiles, which `parallel.rs` shares out.
//! 2. A tile (`tile.rs`) goes through the layers and back: one call of `kernels/mod.rs` for each product,
//!    the only place where an instruction set is entered.
//! 3. `kernels/gemm.rs` multiplies, over the panels of `kernels/pack.rs`, with the vectors of
//!    `kernels/lanes/`; `kernels/elementwise.rs` does the rest.
//! 4. The owners of the parameters (`update.rs`) sum the gradient, update, and renew the transposed copy.
//!
//! [`Trainer::fit`] (`fit.rs`) repeats steps over epochs; `Network::save` and `Network::load` (`files/`) keep what was
//! learnt. Everything about an activation, a loss or an optimizer, with its formula over vectors, is said in the file
//! of that name.
//!
//! [`mod@reference`] is the same mathematics by plain loops, to compare with.

#![deny(unsafe_code)]
#![deny(clippy::undocumented_unsafe_blocks)]
#![warn(missing_docs)]

mod activation;
mod dropout;
mod element;
mod error;
#[cfg(feature = "files")]
mod files;
mod fit;
mod gradient_check;
mod init;
// The kernels' items are public for the sealed trait's signatures, not for callers: the module is private.
#[allow(missing_docs)]
mod kernels;
mod loss;
pub mod metrics;
mod network;
mod optimizer;
mod parallel;
mod pass;
mod predict;
pub mod reference;
mod report;
mod scaler;
mod schedule;
mod tile;
mod train;
mod trainer_builder;
mod update;

pub use activation::Activation;
pub use element::Element;
pub use error::Error;
#[cfg(feature = "files")]
pub use files::Names;
pub use fit::{Data, Epoch, Evaluation, Fit, Outcome};
pub use gradient_check::GradientCheck;
pub use init::Init;
pub use kernels::Isa;
pub use loss::{Loss, Reduction, Targets};
pub use network::{Layer, LayerKind, Network, NetworkBuilder};
pub use optimizer::Optimizer;
pub use parallel::Parallelism;
pub use predict::Workspace;
pub use report::LayerReport;
pub use scaler::Scaler;
pub use schedule::{Plateau, Schedule};
pub use train::Trainer;
pub use trainer_builder::TrainerBuilder;
