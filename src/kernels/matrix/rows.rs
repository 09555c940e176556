//! One row of a matrix in panels.

use crate::kernels::matrix::panels::Panels;
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::math;
use crate::simd::scalar::Element;
use crate::simd::scalar::Scalar;

/// The lines of one row of a matrix in panels: one in each panel.
#[derive(Clone, Copy)]
pub struct Row {
    first: usize,
    rows: usize,
    cols: usize,
    panels: usize,
}

impl Row {
    #[inline(always)]
    pub fn of<T: Element>(r: usize, matrix: Panels<'_, T>) -> Self {
        Self { first: r, rows: matrix.rows, cols: matrix.cols, panels: matrix.panels() }
    }

    /// Indices of the row's lines.
    #[inline(always)]
    pub fn lines(self) -> impl Iterator<Item = usize> {
        (0..self.panels).map(
            #[inline(always)]
            move |p| self.first + p * self.rows,
        )
    }

    /// The lanes of a panel that are columns.
    #[inline(always)]
    pub fn mask<L: Lanes>(self, l: L, panel: usize) -> L::Mask {
        l.first(self.cols - panel * L::Element::LANES)
    }

    /// The largest element, in every lane. NaN is ignored.
    #[inline(always)]
    pub fn max<L: Lanes>(self, l: L, lines: &[LineOf<L>]) -> L::Vector {
        let lowest = l.constant(f64::NEG_INFINITY);
        let mut max = lowest;
        for (p, i) in self.lines().enumerate() {
            max = l.max(l.select(self.mask(l, p), l.load(&lines[i]), lowest), max);
        }
        l.splat(l.max_lane(max))
    }

    /// `d = exp(y - max)`, padding 0; the sum of the row.
    #[inline(always)]
    pub fn exp<L: Lanes>(self, l: L, d: &mut [LineOf<L>], y: &[LineOf<L>], max: L::Vector) -> L::Element {
        let mut sum = l.zero();
        for (p, i) in self.lines().enumerate() {
            let e = math::exp(l, l.sub(l.load(&y[i]), max));
            let e = l.select(self.mask(l, p), e, l.zero());
            l.store(&mut d[i], e);
            sum = l.add(sum, e);
        }
        l.sum(sum)
    }
}
