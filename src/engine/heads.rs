//! The losses of several heads: each over the outputs of a layer of its own.

use core::ops::Range;

use crate::kernels::ops::activation::Activation;
use crate::kernels::ops::loss::{ClassWeights, Objective};
use crate::network::Layer;
use crate::simd::scalar::Element;

/// The loss of one head over a batch.
#[derive(Clone, Copy)]
pub(crate) struct HeadTerm<'a, T: Element> {
    /// The last layer of the head, which nothing but the network's outputs reads.
    pub(crate) layer: usize,
    pub(crate) outputs: usize,
    /// Its scale is multiplied by the weight of the head.
    pub(crate) objective: Objective<'a, T>,
    pub(crate) classes: &'a ClassWeights<T>,
}

impl<'a, T: Element> HeadTerm<'a, T> {
    /// The loss over some of the rows.
    pub(crate) fn rows(&self, rows: &Range<usize>) -> Objective<'a, T> {
        self.objective.rows(rows.clone(), self.outputs)
    }
}

/// The activation that a layer has under the losses of heads: identity under one that takes logits.
pub(crate) fn output_activation<T: Element>(
    heads: &[HeadTerm<'_, T>],
    i: usize,
    layer: &Layer,
) -> Activation {
    match heads.iter().find(|head| head.layer == i) {
        Some(head) => head.objective.loss.output_activation(layer.activation()),
        None => layer.activation(),
    }
}
