//! Panels: the one layout of every matrix inside the crate.
//!
//! A matrix `[rows, cols]` is stored as `[cols / LANES][rows][LANES]`: panels one cache line wide, each
//! a dense run of lines, one per row; the last panel is padded. (oneDNN calls such layouts blocked, BLIS
//! packed.) Weights, activations and gradients all have it, so a micro-kernel reads aligned, contiguous
//! streams whatever the shapes: the rows of a panel follow one another, whatever the columns of the matrix,
//! so they do not share cache sets, and the output of one product is an operand of the next without packing.

use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;
use crate::simd::scalar::Scalar;

/// Number of panels, or lines of a row, of `features` features.
#[inline(always)]
pub(crate) fn panels<T: Element>(features: usize) -> usize {
    features.div_ceil(T::LANES)
}

/// Number of lines of a layer's parameters: a line of biases and `inputs` lines of weights in each panel.
pub(crate) fn parameter_lines<T: Element>(inputs: usize, outputs: usize) -> Option<usize> {
    inputs.checked_add(1)?.checked_mul(panels::<T>(outputs))
}

/// A matrix in panels, to read.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a, T: Element> {
    pub lines: &'a [T::Line],
    pub rows: usize,
    pub cols: usize,
}

impl<'a, T: Element> Panels<'a, T> {
    /// Takes the first `rows * panels(cols)` lines.
    pub(crate) fn new(lines: &'a [T::Line], rows: usize, cols: usize) -> Self {
        Self { lines: &lines[..rows * panels::<T>(cols)], rows, cols }
    }

    #[inline(always)]
    pub(crate) fn panels(&self) -> usize {
        panels::<T>(self.cols)
    }

    /// Columns of a panel: `LANES`, but for the last.
    #[inline(always)]
    pub(crate) fn width(&self, p: usize) -> usize {
        T::LANES.min(self.cols - p * T::LANES)
    }

    /// Columns of the last panel.
    #[inline(always)]
    pub(crate) fn last_cols(&self) -> usize {
        self.cols - (self.panels() - 1) * T::LANES
    }

    #[inline(always)]
    pub(crate) fn panel(&self, p: usize) -> &'a [T::Line] {
        &self.lines[p * self.rows..][..self.rows]
    }
}

/// A matrix in panels, to write.
pub(crate) struct PanelsMut<'a, T: Element> {
    pub lines: &'a mut [T::Line],
    pub rows: usize,
    pub cols: usize,
}

impl<'a, T: Element> PanelsMut<'a, T> {
    /// Takes the first `rows * panels(cols)` lines.
    pub(crate) fn new(lines: &'a mut [T::Line], rows: usize, cols: usize) -> Self {
        Self { lines: &mut lines[..rows * panels::<T>(cols)], rows, cols }
    }

    #[inline(always)]
    pub(crate) fn panels(&self) -> usize {
        panels::<T>(self.cols)
    }

    #[inline(always)]
    pub(crate) fn panel(&mut self, p: usize) -> &mut [T::Line] {
        &mut self.lines[p * self.rows..][..self.rows]
    }

    #[inline(always)]
    pub(crate) fn reborrow(&mut self) -> PanelsMut<'_, T> {
        PanelsMut { lines: self.lines, rows: self.rows, cols: self.cols }
    }

    #[inline(always)]
    pub(crate) fn as_panels(&self) -> Panels<'_, T> {
        Panels { lines: self.lines, rows: self.rows, cols: self.cols }
    }
}

/// Sets the lanes past the last column to 0, whatever they hold.
#[inline(always)]
pub(crate) fn clear_padding<L: Lanes>(l: L, mut a: PanelsMut<'_, L::Element>) {
    let used = a.cols % L::Element::LANES;
    if used > 0 {
        let (last, mask) = (a.panels() - 1, l.first_lanes(used));
        for line in a.panel(last) {
            let v = l.select(mask, l.load(line), l.zero());
            l.store(line, v);
        }
    }
}
