//! The buffers of a small network, and the networks that have them.

use crate::engine::plan::MICRO_BATCH_ROWS;
use crate::kernels::ops::activation::Activation;
use crate::network::{Layer, LayerKind, Network};
use crate::simd::lanes::GROUP;
use crate::simd::scalar::{Element, Line};

/// The buffers of some rows on their way through a small network.
///
/// The packed input, then [`LayerBlocks`] for each layer. A block has as many lines as the batch needs, so
/// that blocks of a small batch lie close together.
#[derive(Clone, Debug)]
pub(crate) struct SinglePanelBuffers<T: Element> {
    pub(super) lines: Vec<T::Line>,
    max_rows: usize,
    /// Whether every layer's rows fit in groups.
    pub(super) groups: bool,
}

impl<T: Element> SinglePanelBuffers<T> {
    /// For `rows` rows, at most [`MICRO_BATCH_ROWS`], if the network is small: a chain of dense layers of
    /// one panel without dropout, and no scaler.
    pub(crate) fn new(network: &Network<T>, rows: usize) -> Option<Self> {
        // Micro-batches of a network of thousands of layers have more rows.
        let (layers, max_rows) = (&network.layers, rows.min(MICRO_BATCH_ROWS));
        let is_plain =
            |layer: &Layer| layer.kind() == LayerKind::Dense && layer.dropout() == 0.0 && layer.has_bias();
        let all_within = |most| layers.iter().all(|layer| layer.inputs().max(layer.outputs()) <= most);
        if network.scaling.is_some()
            || network.input_dropout() > 0.0
            || !layers.is_chain()
            || !layers.iter().all(is_plain)
            || !all_within(T::LANES)
        {
            return None;
        }
        let lines = vec![T::Line::ZERO; max_rows * (1 + BLOCKS * layers.len())];
        // Softmax takes whole rows.
        let groups = all_within(GROUP) && network.last().activation() != Activation::Softmax;
        Some(Self { lines, max_rows, groups })
    }

    /// Whether `rows` rows can go through a network of the layers that the buffers were made for: its scaler
    /// may have been set since.
    pub(crate) fn suit(&self, network: &Network<T>, rows: usize) -> bool {
        rows <= self.max_rows && network.scaling.is_none()
    }
}

/// The number of [`LayerBlocks`].
pub(super) const BLOCKS: usize = 3;

/// The blocks of one layer.
pub(super) struct LayerBlocks<'a, Line> {
    /// Garbage unless the activation needs it.
    pub(super) pre_activation: &'a mut [Line],
    /// The gradient with respect to the pre-activation.
    pub(super) d_z: &'a mut [Line],
    pub(super) y: &'a mut [Line],
}

impl<'a, Line> LayerBlocks<'a, Line> {
    /// The first three blocks of `size` lines.
    #[inline(always)]
    pub(super) fn first(lines: &'a mut [Line], size: usize) -> Self {
        let (pre_activation, lines) = lines.split_at_mut(size);
        let (d_z, lines) = lines.split_at_mut(size);
        Self { pre_activation, d_z, y: &mut lines[..size] }
    }
}
