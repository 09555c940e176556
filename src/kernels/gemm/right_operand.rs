//! The right-hand side of a forward or backward product, in lines.

use crate::kernels::gemm::blocking::L2_LINES;
use crate::kernels::gemm::register_tile::{panels_per_tile, panels_per_tile_beyond_l2};
use crate::simd::scalar::Element;

/// The right-hand side `B` of a product, and the biases that its sums start from.
#[derive(Clone, Copy)]
pub(crate) struct RightOperand<'a, T: Element> {
    /// From the first line of `B` on.
    pub lines: &'a [T::Line],
    /// Lines from one panel to the next.
    pub panel_stride: usize,
    /// Lines from one segment of `LANES` rows to the next.
    pub segment_stride: usize,
    /// The first term of every row's sums, one line a panel, at the panels' distance; 0 if there is none.
    pub bias: Option<&'a [T::Line]>,
}

/// Place of a block of `B`.
#[derive(Clone, Copy)]
pub(crate) struct BlockOrigin {
    pub panel: usize,
    pub segment: usize,
}

impl<'a, T: Element> RightOperand<'a, T> {
    /// The same from a panel on.
    #[inline(always)]
    pub(crate) fn starting_at(self, panel: usize) -> Self {
        let first = panel * self.panel_stride;
        let bias = self.bias.map(|bias| &bias[first..]);
        Self { lines: &self.lines[first..], bias, ..self }
    }

    /// Whether `B` does not fit in L2.
    #[inline(always)]
    pub(crate) fn exceeds_l2(&self) -> bool {
        self.lines.len() >= L2_LINES
    }

    /// Adjacent panels of the next tile, of those left.
    #[inline(always)]
    pub(crate) fn panels_per_tile(&self, left: usize, rows: usize, accumulators: usize) -> usize {
        if self.exceeds_l2() {
            panels_per_tile_beyond_l2(left, rows, accumulators)
        } else {
            panels_per_tile(left, rows, accumulators)
        }
    }

    /// Index of the first line of a block.
    #[inline(always)]
    fn line(&self, origin: BlockOrigin) -> usize {
        origin.panel * self.panel_stride + origin.segment * self.segment_stride
    }

    /// `NP` adjacent panels, each from the first line of its block on.
    #[inline(always)]
    pub(crate) fn panels<const NP: usize>(&self, from: BlockOrigin) -> [&'a [T::Line]; NP] {
        let mut panels = [&self.lines[..0]; NP];
        for (p, panel) in panels.iter_mut().enumerate() {
            *panel = &self.lines[self.line(BlockOrigin { panel: from.panel + p, ..from })..];
        }
        panels
    }

    /// Lines from one block to the next; `None` if there is none, or if `B` fits in L2.
    #[inline(always)]
    pub(crate) fn prefetch_distance(&self, from: BlockOrigin, to: Option<BlockOrigin>) -> Option<usize> {
        match to {
            Some(to) if self.exceeds_l2() => Some(self.line(to).wrapping_sub(self.line(from))),
            Some(_) | None => None,
        }
    }
}
