//! Softmax: `y_i = exp z_i / sum_j exp z_j` over each row, and its gradient.

use crate::kernels::matrix::panels::{PanelsMut, clear_padding};
use crate::kernels::matrix::rows::Row;
use crate::kernels::ops::activation::{Activation, Derivative, activate, multiply_derivative};
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::math;
use crate::simd::scalar::Scalar;
use crate::simd::scalar::{Line, lines_mut};

/// `y = f(y)` over a slice, with the same bits as in panels. Softmax takes the slice as one row.
pub fn activate_slice<L: Lanes>(l: L, y: &mut [L::Element], activation: Activation) {
    l.vectorize(
        #[inline(always)]
        || activate_elements(l, y, activation),
    );
}

#[inline(always)]
fn activate_elements<L: Lanes>(l: L, y: &mut [L::Element], activation: Activation) {
    if activation == Activation::Softmax {
        return softmax_slice(l, y);
    }
    let (head, whole, tail) = lines_mut::<L::Element>(y);
    let mut ends = [LineOf::<L>::ZERO; 2];
    l.store(&mut ends[0], l.load_slice(head));
    l.store(&mut ends[1], l.load_slice(tail));
    let used = usize::from(head.is_empty())..2 - usize::from(tail.is_empty());
    // A loop, so that there is one copy of all activations.
    for lines in [whole, &mut ends[used]] {
        activate(l, lines, activation);
    }
    l.store_slice(head, l.load(&ends[0]));
    l.store_slice(tail, l.load(&ends[1]));
}

/// [`softmax`] of one row that is a slice.
#[inline(always)]
fn softmax_slice<L: Lanes>(l: L, y: &mut [L::Element]) {
    let (lanes, lowest) = (L::Element::LANES, l.constant(f64::NEG_INFINITY));
    let mut max = lowest;
    for y in y.chunks(lanes) {
        max = l.max(l.select(l.first(y.len()), l.load_slice(y), lowest), max);
    }
    let max = l.splat(l.max_lane(max));
    let mut sum = l.zero();
    for y in y.chunks_mut(lanes) {
        let e = math::exp(l, l.sub(l.load_slice(y), max));
        let e = l.select(l.first(y.len()), e, l.zero());
        l.store_slice(y, e);
        sum = l.add(sum, e);
    }
    let sum = l.splat(l.sum(sum));
    for y in y.chunks_mut(lanes) {
        l.store_slice(y, l.div(l.load_slice(y), sum));
    }
}

/// `y_i = exp(y_i - max y) / sum_j exp(y_j - max y)` in every row. Padding lanes become 0.
#[inline(always)]
pub fn softmax<L: Lanes>(l: L, y: PanelsMut<'_, L::Element>) {
    for r in 0..y.rows {
        let row = Row::of(r, y.as_panels());
        let max = row.max(l, y.lines);
        let mut sum = l.zero();
        for (p, i) in row.lines().enumerate() {
            let e = math::exp(l, l.sub(l.load(&y.lines[i]), max));
            let e = l.select(row.mask(l, p), e, l.zero());
            l.store(&mut y.lines[i], e);
            sum = l.add(sum, e);
        }
        let sum = l.splat(l.sum(sum));
        for i in row.lines() {
            let e = l.load(&y.lines[i]);
            l.store(&mut y.lines[i], l.div(e, sum));
        }
    }
}

/// The gradient before the output layer's activation from the one after it, in place.
///
/// Element by element `d = d f'(y)`; for softmax `d_i = y_i (d_i - sum_j d_j y_j)`.
pub fn output_gradient<L: Lanes>(l: L, d: PanelsMut<'_, L::Element>, derivative: Derivative<'_, L::Element>) {
    l.vectorize(
        #[inline(always)]
        || output_gradient_rows(l, d, derivative),
    );
}

/// [`output_gradient`] beneath a crossing.
#[inline(always)]
pub fn output_gradient_rows<L: Lanes>(
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
            let dot = l.splat(l.sum(products));
            for i in row.lines() {
                let difference = l.sub(l.load(&d.lines[i]), dot);
                l.store(&mut d.lines[i], l.flushed(l.mul(l.load(&y.lines[i]), difference)));
            }
        }
    }
    clear_padding(l, d);
}
