//! Training: the step, and what is built of it.

pub(crate) mod builder;
mod custom_loss;
pub(crate) mod dataset;
mod evaluate;
pub(crate) mod executor;
pub(crate) mod fit;
pub(crate) mod gradient_check;
pub(crate) mod heads;
pub(crate) mod layer_stats;
pub(crate) mod monitor;
mod parameters;
pub(crate) mod schedule;
mod snapshot;
pub mod split;
pub(crate) mod state;
mod step;
pub(crate) mod trainer;
