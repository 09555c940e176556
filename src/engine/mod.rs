//! How a batch runs: cut into parts, shared among threads, each part on one instruction set.

pub(crate) mod batch;
pub(crate) mod column_parallel;
pub(crate) mod dispatch;
pub(crate) mod micro_batch;
pub(crate) mod parallel;
pub(crate) mod partition;
pub(crate) mod plan;
pub(crate) mod prediction;
pub(crate) mod prefetcher;
pub(crate) mod single_panel;
pub(crate) mod update;
