//! Softmax: `y_i = exp z_i / sum_j exp z_j` over each row, and the passes over activations that may hold it.
//!
//! [`exponentiate`] is the one place where logits are shifted and exponentiated: of rows in panels, of a row
//! that is a slice, and of the rows of a [cross-entropy](crate::kernels::ops::cross_entropy).

use crate::kernels::matrix::panels::{PanelsMut, clear_padding, panels};
use crate::kernels::matrix::rows::Row;
use crate::kernels::ops::activation::{Activation, Derivative, activate, multiply_derivative};
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::math;
use crate::simd::scalar::Scalar;
use crate::simd::scalar::{Line, lines_mut};
use core::ops::Range;

/// `y = f(y)` over a slice, with the same bits as in panels. Softmax takes the slice as one row.
pub(crate) fn activate_slice<L: Lanes>(l: L, y: &mut [L::Element], activation: Activation) {
    l.vectorize(
        #[inline(always)]
        || {
            if activation == Activation::Softmax {
                return softmax_row(l, InSlice(y));
            }
            let (head, whole, tail) = lines_mut::<L::Element>(y);
            let mut ends = [LineOf::<L>::ZERO; 2];
            l.store(&mut ends[0], l.load_slice(head));
            l.store(&mut ends[1], l.load_slice(tail));
            let used = usize::from(head.is_empty())..2 - usize::from(tail.is_empty());
            for lines in [whole, &mut ends[used]] {
                activate(l, lines, activation);
            }
            l.store_slice(head, l.load(&ends[0]));
            l.store_slice(tail, l.load(&ends[1]));
        },
    );
}

/// A row of logits `z`, vector by vector, with room for `exp(z - max z)`, which may be the same memory.
///
/// Lanes past the last column may hold anything.
pub(crate) trait SoftmaxRow<L: Lanes> {
    fn cols(&self) -> usize;
    /// Logits.
    fn load(&self, l: L, vector: usize) -> L::Vector;
    /// Exponentials.
    fn store(&mut self, l: L, vector: usize, v: L::Vector);

    #[inline(always)]
    fn vectors(&self) -> usize {
        panels::<L::Element>(self.cols())
    }

    /// The lanes of a vector that are columns.
    #[inline(always)]
    fn mask(&self, l: L, vector: usize) -> L::Mask {
        l.first_lanes(self.cols() - vector * L::Element::LANES)
    }
}

/// The largest logit of a row, and the sum of the row's shifted exponentials.
pub(crate) struct Shift<L: Lanes> {
    /// The largest logit, in every lane. NaN is passed over.
    pub max: L::Vector,
    /// `sum_j exp(z_j - max z)`.
    pub sum: L::Element,
}

/// `exp(z - max z)`, 0 past the last column: no logit is too large for it.
#[inline(always)]
pub(crate) fn exponentiate<L: Lanes>(l: L, row: &mut impl SoftmaxRow<L>) -> Shift<L> {
    let lowest = l.constant(f64::NEG_INFINITY);
    let mut max = lowest;
    for i in 0..row.vectors() {
        max = l.max(l.select(row.mask(l, i), row.load(l, i), lowest), max);
    }
    let max = l.splat(l.reduce_max(max));
    let mut sum = l.zero();
    for i in 0..row.vectors() {
        let e = math::exp(l, l.sub(row.load(l, i), max));
        let e = l.select(row.mask(l, i), e, l.zero());
        row.store(l, i, e);
        sum = l.add(sum, e);
    }
    Shift { max, sum: l.reduce_sum(sum) }
}

/// `y_i = exp(z_i - max z) / sum_j exp(z_j - max z)`, 0 past the last column, of a row that is overwritten by
/// its exponentials.
#[inline(always)]
fn softmax_row<L: Lanes>(l: L, mut row: impl SoftmaxRow<L>) {
    let Shift { sum, .. } = exponentiate(l, &mut row);
    let sum = l.splat(sum);
    for i in 0..row.vectors() {
        let y = l.div(row.load(l, i), sum);
        row.store(l, i, y);
    }
}

/// [`softmax_row`] of every row. Padding lanes become 0.
#[inline(always)]
pub(crate) fn softmax<L: Lanes>(l: L, y: PanelsMut<'_, L::Element>) {
    for r in 0..y.rows {
        let row = Row::of(r, y.as_panels());
        softmax_row(l, InPanels { row, lines: &mut *y.lines });
    }
}

/// A row of a matrix in panels, overwritten by its exponentials.
struct InPanels<'a, L: Lanes> {
    row: Row,
    lines: &'a mut [LineOf<L>],
}

impl<L: Lanes> SoftmaxRow<L> for InPanels<'_, L> {
    #[inline(always)]
    fn cols(&self) -> usize {
        self.row.cols()
    }

    #[inline(always)]
    fn load(&self, l: L, vector: usize) -> L::Vector {
        l.load(&self.lines[self.row.line(vector)])
    }

    #[inline(always)]
    fn store(&mut self, l: L, vector: usize, v: L::Vector) {
        l.store(&mut self.lines[self.row.line(vector)], v);
    }
}

/// A row that is a slice, overwritten by its exponentials.
struct InSlice<'a, L: Lanes>(&'a mut [L::Element]);

impl<L: Lanes> InSlice<'_, L> {
    /// The elements of a vector.
    #[inline(always)]
    fn range(&self, vector: usize) -> Range<usize> {
        let start = vector * L::Element::LANES;
        start..self.0.len().min(start + L::Element::LANES)
    }
}

impl<L: Lanes> SoftmaxRow<L> for InSlice<'_, L> {
    #[inline(always)]
    fn cols(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn load(&self, l: L, vector: usize) -> L::Vector {
        l.load_slice(&self.0[self.range(vector)])
    }

    #[inline(always)]
    fn store(&mut self, l: L, vector: usize, v: L::Vector) {
        let range = self.range(vector);
        l.store_slice(&mut self.0[range], v);
    }
}

/// The gradient before the output layer's activation from the one after it, in place.
///
/// Element by element `d = d f'(y)`; for softmax `d_i = y_i (d_i - sum_j d_j y_j)`.
pub(crate) fn output_gradient<L: Lanes>(
    l: L,
    d: PanelsMut<'_, L::Element>,
    derivative: Derivative<'_, L::Element>,
) {
    l.vectorize(
        #[inline(always)]
        || output_gradient_rows(l, d, derivative),
    );
}

/// [`output_gradient`] beneath a crossing.
#[inline(always)]
pub(crate) fn output_gradient_rows<L: Lanes>(
    l: L,
    d: PanelsMut<'_, L::Element>,
    derivative: Derivative<'_, L::Element>,
) {
    let Derivative { from: y, activation } = derivative;
    if activation != Activation::Softmax {
        multiply_derivative(l, d.lines, y.lines, activation);
    } else {
        for r in 0..d.rows {
            let row = Row::of(r, y);
            let mut products = l.zero();
            for i in row.lines() {
                products = l.mul_add(l.load(&d.lines[i]), l.load(&y.lines[i]), products);
            }
            let dot = l.splat(l.reduce_sum(products));
            for i in row.lines() {
                let difference = l.sub(l.load(&d.lines[i]), dot);
                l.store(&mut d.lines[i], l.flushed(l.mul(l.load(&y.lines[i]), difference)));
            }
        }
    }
    clear_padding(l, d);
}
