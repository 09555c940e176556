//! One row of a matrix in panels.

use crate::kernels::matrix::panels::Panels;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;
use crate::simd::scalar::Scalar;

/// The lines of one row of a matrix in panels: one in each panel.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    first: usize,
    rows: usize,
    cols: usize,
    panels: usize,
}

impl Row {
    #[inline(always)]
    pub(crate) fn of<T: Element>(r: usize, matrix: Panels<'_, T>) -> Self {
        Self { first: r, rows: matrix.rows, cols: matrix.cols, panels: matrix.panels() }
    }

    #[inline(always)]
    pub(crate) fn cols(self) -> usize {
        self.cols
    }

    /// Index of the row's line in a panel.
    #[inline(always)]
    pub(crate) fn line(self, panel: usize) -> usize {
        self.first + panel * self.rows
    }

    /// Indices of the row's lines.
    #[inline(always)]
    pub(crate) fn lines(self) -> impl Iterator<Item = usize> {
        (0..self.panels).map(
            #[inline(always)]
            move |p| self.line(p),
        )
    }

    /// The lanes of a panel that are columns.
    #[inline(always)]
    pub(crate) fn mask<L: Lanes>(self, l: L, panel: usize) -> L::Mask {
        l.first_lanes(self.cols - panel * L::Element::LANES)
    }
}
