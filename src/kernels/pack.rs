//! Panels: the one layout of every matrix inside the crate.
//!
//! A matrix `[rows, cols]` is stored as `[cols / LANES][rows][LANES]`: panels one cache line wide, each
//! a dense run of lines, one per row; the last panel is padded. (oneDNN calls such layouts blocked, BLIS
//! packed.) Weights, activations and gradients all have it, so a micro-kernel reads aligned, contiguous
//! streams whatever the shapes: no stride is a power of two, no row falls into another's cache set, and
//! the output of one product is an operand of the next without packing.

use super::lanes::{Lanes, Line};
use crate::element::Sealed as Element;

/// Panels, or lines of a row, that `features` need.
#[inline(always)]
pub fn panels<T: Element>(features: usize) -> usize {
    features.div_ceil(T::LANES)
}

/// A matrix in panels, to read.
pub struct Panels<'a, T: Element> {
    pub lines: &'a [T::Line],
    pub rows: usize,
    pub cols: usize,
}

impl<T: Element> Clone for Panels<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Element> Copy for Panels<'_, T> {}

impl<'a, T: Element> Panels<'a, T> {
    /// Takes the first `rows * panels(cols)` lines.
    pub fn new(lines: &'a [T::Line], rows: usize, cols: usize) -> Self {
        Self { lines: &lines[..rows * panels::<T>(cols)], rows, cols }
    }

    #[inline(always)]
    pub fn panels(&self) -> usize {
        panels::<T>(self.cols)
    }

    #[inline(always)]
    pub fn panel(&self, p: usize) -> &'a [T::Line] {
        &self.lines[p * self.rows..][..self.rows]
    }
}

/// A matrix in panels, to write.
pub struct PanelsMut<'a, T: Element> {
    pub lines: &'a mut [T::Line],
    pub rows: usize,
    pub cols: usize,
}

impl<'a, T: Element> PanelsMut<'a, T> {
    /// Takes the first `rows * panels(cols)` lines.
    pub fn new(lines: &'a mut [T::Line], rows: usize, cols: usize) -> Self {
        Self { lines: &mut lines[..rows * panels::<T>(cols)], rows, cols }
    }

    #[inline(always)]
    pub fn panels(&self) -> usize {
        panels::<T>(self.cols)
    }

    #[inline(always)]
    pub fn panel(&mut self, p: usize) -> &mut [T::Line] {
        &mut self.lines[p * self.rows..][..self.rows]
    }

    #[inline(always)]
    pub fn as_panels(&self) -> Panels<'_, T> {
        Panels { lines: self.lines, rows: self.rows, cols: self.cols }
    }
}

/// Packs row-major `[rows, cols]` into panels. Padding lanes become 0.
#[inline(always)]
pub fn pack_rows<L: Lanes>(l: L, mut to: PanelsMut<'_, L::Element>, from: &[L::Element]) {
    let (cols, lanes) = (to.cols, L::Element::LANES);
    for p in 0..to.panels() {
        let columns = p * lanes..cols.min((p + 1) * lanes);
        for (r, line) in to.panel(p).iter_mut().enumerate() {
            l.store(line, l.load_slice(&from[r * cols..][columns.clone()]));
        }
    }
}

/// Unpacks panels into row-major `[rows, cols]`.
#[inline(always)]
pub fn unpack_rows<L: Lanes>(l: L, to: &mut [L::Element], from: Panels<'_, L::Element>) {
    let (cols, lanes) = (from.cols, L::Element::LANES);
    for p in 0..from.panels() {
        let columns = p * lanes..cols.min((p + 1) * lanes);
        for (r, line) in from.panel(p).iter().enumerate() {
            l.store_slice(&mut to[r * cols..][columns.clone()], l.load(line));
        }
    }
}

/// The transposed copy of one panel of weights, as square blocks of lines.
///
/// `to` is `[I / LANES][LANES][LANES]`, the block row of `W^T` that belongs to this panel's outputs:
/// line `j` of block `p` holds the weights from inputs `p LANES ..` to output `j`. `weights` is the
/// panel's `[I][LANES]`, of which `outputs` columns are in use (more than a line counts as a line). Inputs
/// past the end are 0; lines of outputs past the end are left as they are, for no product reads them.
///
/// The blocks of one panel are contiguous, so whoever owns a panel of outputs owns its transpose too.
#[inline(always)]
pub fn transpose_panel<T: Element>(to: &mut [T::Line], weights: &[T::Line], outputs: usize) {
    for (block, rows) in to.chunks_exact_mut(T::LANES).zip(weights.chunks(T::LANES)) {
        for (j, line) in block[..outputs.min(T::LANES)].iter_mut().enumerate() {
            let line = line.as_mut_slice();
            for (i, row) in rows.iter().enumerate() {
                line[i] = row.as_slice()[j];
            }
            line[rows.len()..].fill(T::ZERO);
        }
    }
}
