//! One file per formula.

pub mod activation;
pub mod class_weights;
pub mod cross_entropy;
pub mod dropout;
pub mod elementwise;
pub mod layer_norm;
pub mod loss;
pub mod optimizer;
pub mod setting;
pub mod sgd;
pub mod softmax;
pub mod targets;
