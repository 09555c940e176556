//! Training: the step, and what is built of it.

pub(crate) mod builder;
pub(crate) mod fit;
pub(crate) mod gradient_check;
pub(crate) mod layer_stats;
pub(crate) mod schedule;
pub(crate) mod trainer;
