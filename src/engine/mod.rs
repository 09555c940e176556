//! How a batch runs: split into ranges, the ranges shared among threads, each on one instruction set.
//!
//! | file | |
//! |---|---|
//! | `plan.rs` | rows of a micro-batch, and the schedule, from shapes alone |
//! | `parallel.rs` | threads: runs of pieces, divided by `rayon::join` |
//! | `dispatch.rs` | the engine of an instruction set, and the crossing into it |
//! | `batch.rs` | a training pass: gradient shards, and the micro-batches of each |
//! | `prediction.rs` | a prediction: ranges of rows, and the micro-batches of each |
//! | `heads.rs` | the losses of several heads |
//! | `micro_batch.rs` | rows that go through all layers together, forward and back |
//! | `bf16.rs` | the copies of weights and activations that products in bf16 read |
//! | `column_parallel.rs` | one layer's outputs, shared among threads where rows are few |
//! | `prefetcher.rs` | the next micro-batch's rows, prefetched during this one |
//! | `partition.rs` | blocks of parameters, and the transposed copy of weights |
//! | `update.rs` | gradients to parameters, block by block |
//! | `squared_norm.rs` | sums of squares that neither overflow nor vanish |
//! | `single_panel/` | whole steps and predictions of small networks in one crossing |
//! | `apply.rs` | activations without a network |
//!
//! A step is `parallel`, `dispatch`, `batch`, `micro_batch`, then `parallel`, `dispatch`, `update`, by the
//! `plan` that its trainer was built with.

mod apply;
pub(crate) mod batch;
pub(crate) mod bf16;
pub(crate) mod column_parallel;
pub(crate) mod dispatch;
pub(crate) mod heads;
pub(crate) mod micro_batch;
pub(crate) mod parallel;
pub(crate) mod partition;
pub(crate) mod plan;
pub(crate) mod prediction;
pub(crate) mod prefetcher;
pub(crate) mod single_panel;
pub(crate) mod squared_norm;
pub(crate) mod update;
