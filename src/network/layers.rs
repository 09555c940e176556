//! What one layer computes, and its shape.

use core::ops::Range;

use crate::kernels::ops::activation::Activation;

/// What the sums `z` of a layer are, to which its activation is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerKind {
    /// `z = x W^T + b`, weights `[outputs, inputs]`. `torch.nn.Linear`.
    Dense,
    /// `z = w (x - mean x) / sqrt(var x + 1e-5) + b`, mean and variance (divided by the number of features) of each
    /// row, weights `[features]`, at first all 1 (Ba, Kiros and Hinton 2016). `torch.nn.LayerNorm`.
    LayerNorm,
}

/// The shape of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    pub(super) kind: LayerKind,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) activation: Activation,
    pub(super) dropout: f64,
    /// Where the layer's lines start among the network's.
    pub(crate) first_line: usize,
    pub(super) lines: usize,
}

impl Layer {
    /// What it computes.
    pub fn kind(&self) -> LayerKind {
        self.kind
    }
    /// Features of its input.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
    /// Features of its output.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
    /// What it does with its sums.
    pub fn activation(&self) -> Activation {
        self.activation
    }
    /// The layer's lines among the network's.
    pub(crate) fn lines(&self) -> Range<usize> {
        self.first_line..self.first_line + self.lines
    }
    /// The share of its outputs that training leaves out, each time others.
    pub fn dropout(&self) -> f64 {
        self.dropout
    }
    /// Weights and biases.
    pub fn parameter_count(&self) -> usize {
        (self.columns() + 1) * self.outputs
    }
    /// Weights of each output: a layer's weights are `[outputs, columns]`.
    pub(crate) fn columns(&self) -> usize {
        match self.kind {
            LayerKind::Dense => self.inputs,
            LayerKind::LayerNorm => 1,
        }
    }
}
