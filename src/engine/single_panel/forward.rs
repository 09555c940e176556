//! The forward pass of a small network, block by block.

use crate::engine::micro_batch::Purpose;
use crate::engine::single_panel::arrangement::{Arrangement, LayerForward, Shape};
use crate::engine::single_panel::buffers::{BLOCKS, LayerBlocks};
use crate::kernels::ops::activation::Activation;
use crate::network::Layer;
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::scalar::Element;

/// What a forward pass reads.
pub(super) struct ForwardPass<'a, T: Element> {
    pub(super) layers: &'a [Layer],
    pub(super) parameters: &'a [T::Line],
    pub(super) rows: usize,
    /// The last layer's activation: identity for a loss that takes logits.
    pub(super) output_activation: Activation,
    /// Pre-activations are kept for a backward pass only.
    pub(super) purpose: Purpose,
}

/// Computes every layer's output from the packed rows in the first of blocks of `size` lines. Returns the
/// last one.
#[inline(always)]
pub(super) fn forward<'b, L: Lanes, A: Arrangement<L>>(
    l: L,
    lines: &'b mut [LineOf<L>],
    size: usize,
    pass: ForwardPass<'_, L::Element>,
) -> &'b [LineOf<L>] {
    let ForwardPass { layers, mut parameters, rows, output_activation, purpose } = pass;
    let (first, mut rest) = lines.split_at_mut(size);
    let mut x = &*first;
    for (i, layer) in layers.iter().enumerate() {
        let (blocks, weights);
        (blocks, rest) = rest.split_at_mut(BLOCKS * size);
        (weights, parameters) = parameters.split_at(1 + layer.inputs());
        let activation = if i + 1 == layers.len() { output_activation } else { layer.activation() };
        let LayerBlocks { pre_activation, y, .. } = LayerBlocks::first(blocks, size);
        let keeps = purpose != Purpose::Predict && activation.needs_pre_activation();
        let pre_activation = if keeps { pre_activation } else { &mut [] };
        let shape = Shape::of(layer, rows);
        A::forward(l, LayerForward { y: &mut *y, pre_activation, x, weights, activation, shape });
        x = y;
    }
    x
}
