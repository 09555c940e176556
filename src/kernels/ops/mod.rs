//! One file per formula.

pub(crate) mod activation;
pub(crate) mod class_labels;
pub(crate) mod class_weights;
pub(crate) mod cross_entropy;
pub(crate) mod dropout;
pub(crate) mod element_losses;
pub(crate) mod elementwise;
pub(crate) mod gaussian;
pub(crate) mod join;
pub(crate) mod layer_norm;
pub(crate) mod loss;
pub(crate) mod optimizer;
pub(crate) mod setting;
pub(crate) mod softmax;
pub(crate) mod targets;
