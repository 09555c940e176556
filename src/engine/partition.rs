//! The partition of parameters into blocks, each summed, updated and transposed by one thread, and the
//! transposed copy.

use core::ops::Range;

use crate::engine::bf16::{Bf16Weights, CopyLines};
use crate::engine::dispatch::Engine;
use crate::kernels::matrix::panels::panels;
use crate::kernels::matrix::transpose::{transpose_panel, transposed_lines, transposed_stride};
use crate::network::{Network, Operation};
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;
use crate::simd::scalar::Line;

/// Some adjacent panels of one layer's outputs: the unit of an update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParameterBlock {
    pub(crate) layer: usize,
    pub(crate) first_panel: usize,
    /// The block's first line among the network's parameters.
    pub(crate) first_line: usize,
    pub(crate) lines: usize,
    pub(crate) panels: usize,
    /// Lines of the block in the transposed copy: 0 if no backward pass reads it.
    pub(crate) transposed: usize,
    /// Lines of the block in the bf16 copies: 0 in `f32`.
    pub(crate) copies: CopyLines,
    /// Lines of weights in each panel.
    pub(crate) columns: usize,
    /// Outputs of the layer from the block's first on, including later blocks'.
    pub(crate) outputs: usize,
}

impl ParameterBlock {
    /// The block's lines among the network's parameters.
    pub(crate) fn lines(&self) -> Range<usize> {
        self.first_line..self.first_line + self.lines
    }
}

/// All blocks of a network's parameters, and the transposed weights that backward passes read.
#[derive(Clone, Debug)]
pub(crate) struct ParameterPartition<T: Element> {
    pub(crate) blocks: Vec<ParameterBlock>,
    pub(crate) transposed: Vec<T::Line>,
    /// Each layer's lines of the transposed copy.
    layers: Vec<Range<usize>>,
    /// The copies that take the place of the transposed one in bf16.
    pub(crate) bf16: Option<Bf16Weights>,
}

impl<T: Element> ParameterPartition<T> {
    /// The blocks for `threads` threads. Transposes the layers that a backward pass goes through, with
    /// `input_gradients` to the inputs.
    pub(crate) fn new(
        network: &Network<T>,
        engine: &dyn Engine<T>,
        input_gradients: bool,
        threads: usize,
    ) -> Self {
        let mut partition =
            Self { blocks: Vec::new(), transposed: Vec::new(), layers: Vec::new(), bf16: None };
        let mut end = 0;
        for (l, layer) in network.layers.iter().enumerate() {
            let start = end;
            let stride = 1 + layer.columns();
            // Only products read transposed weights.
            let is_read = layer.kind().operation() == Operation::Product
                && network.layers.passes_gradient(l, input_gradients);
            let count = if layer.kind().has_parameters() { panels::<T>(layer.outputs()) } else { 0 };
            let most = max_block_panels(network.parameters.len(), stride, threads);
            let mut first_panel = 0;
            while first_panel < count {
                let of_block = block_panels(count - first_panel, most);
                let per_panel = if is_read { transposed_stride::<T>(layer.inputs()) } else { 0 };
                partition.blocks.push(ParameterBlock {
                    layer: l,
                    first_panel,
                    first_line: layer.first_line + first_panel * stride,
                    lines: of_block * stride,
                    panels: of_block,
                    transposed: of_block * per_panel,
                    copies: CopyLines::default(),
                    columns: layer.columns(),
                    outputs: layer.outputs() - first_panel * T::LANES,
                });
                end += of_block * per_panel;
                first_panel += of_block;
            }
            debug_assert!(
                !is_read || Some(end - start) == transposed_lines::<T>(layer.inputs(), layer.outputs())
            );
            partition.layers.push(start..end);
        }
        partition.transposed = vec![T::Line::ZERO; end];
        partition.refresh_transposed(network, engine);
        partition
    }

    /// The same with bf16 copies of all weights, transposed where [`ParameterPartition::new`] transposes.
    pub(crate) fn in_bf16(
        mut self,
        network: &Network<T>,
        engine: &dyn Engine<T>,
        input_gradients: bool,
    ) -> Self {
        let is_transposed = |l: usize| network.layers.passes_gradient(l, input_gradients);
        for block in &mut self.blocks {
            block.transposed = 0;
            block.copies =
                CopyLines::of(network.layers[block.layer], block.panels, is_transposed(block.layer));
        }
        self.transposed = Vec::new();
        self.layers.fill(0..0);
        self.bf16 = Some(Bf16Weights::new(&network.layers, is_transposed));
        self.refresh_transposed(network, engine);
        self
    }

    /// Overwrites the transposed copy, and those in bf16, from the network's parameters.
    pub(crate) fn refresh_transposed(&mut self, network: &Network<T>, engine: &dyn Engine<T>) {
        let mut rest = &mut self.transposed[..];
        for block in &self.blocks {
            let lines;
            (lines, rest) = rest.split_at_mut(block.transposed);
            engine.transpose_block(block, lines, &network.parameters[block.lines()]);
        }
        if let Some(copies) = &mut self.bf16 {
            copies.refresh(network, engine);
        }
    }

    /// The transposed weights of one layer.
    pub(crate) fn transposed_layer(&self, l: usize) -> &[T::Line] {
        &self.transposed[self.layers[l].clone()]
    }

    /// The number of panels of all blocks.
    pub(crate) fn panels(&self) -> usize {
        self.blocks.iter().map(|block| block.panels).sum()
    }
}

/// Overwrites a block's part `to` of the transposed copy; nothing if that is empty.
pub(crate) fn refresh_transposed<T: Element, L: Lanes<Element = T>>(
    l: L,
    block: &ParameterBlock,
    to: &mut [T::Line],
    parameters: &[T::Line],
) {
    if to.is_empty() {
        return;
    }
    let (blocks, stride) = (transposed_stride::<T>(block.columns), 1 + block.columns);
    let (mut to, mut panels, mut outputs) = (to, parameters, block.outputs);
    while let (Some((first, others)), Some((panel, rest))) =
        (to.split_at_mut_checked(blocks), panels.split_at_checked(stride))
    {
        transpose_panel(l, first, &panel[1..], outputs);
        (to, panels, outputs) = (others, rest, outputs.saturating_sub(T::LANES));
    }
}

/// Panels of the next block, of the panels of a layer that are left: as many as a register tile has, so that
/// the inputs are read once for all of them. The last eight are four and four, so that two threads have equal
/// work, and four are not three and one.
///
/// At most `most`, see [`max_block_panels`]: to read the inputs more often is better than to wait for another
/// thread.
pub(crate) fn block_panels(left: usize, most: usize) -> usize {
    let panels = match left {
        ..=4 => left,
        7 | 8 => 4,
        _ => 3,
    };
    panels.min(most)
}

/// Maximum panels of a block, of `panel_lines` lines each: one thread's part of all parameters.
pub(crate) fn max_block_panels(parameter_lines: usize, panel_lines: usize, threads: usize) -> usize {
    (parameter_lines / threads / panel_lines).max(1)
}
