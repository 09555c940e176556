//! Softmax cross-entropy, as one shifted log-sum-exp of logits.
//!
//! For a row of logits `y` and targets `q`, smoothed and weighted,
//!
//! ```text
//! L   = sum_j q_j (log sum_k exp(y_k - max y) - (y_j - max y))
//! d_y = softmax(y) sum_j q_j - q
//! ```
//!
//! All logits are shifted, so that large ones lose no digits of the loss.

use crate::float_math::ln;
use crate::kernels::matrix::panels::Panels;
use crate::kernels::matrix::rows::Row;
use crate::kernels::ops::loss::{ClassWeights, Objective, RowLosses};
use crate::kernels::ops::softmax::{Shift, SoftmaxRow, exponentiate};
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::scalar::{Element, Line, Scalar};

/// A row of logits, whose exponentials go where its gradient will be.
struct Logits<'a, L: Lanes> {
    row: Row,
    y: &'a [LineOf<L>],
    d_y: &'a mut [LineOf<L>],
}

impl<L: Lanes> SoftmaxRow<L> for Logits<'_, L> {
    #[inline(always)]
    fn cols(&self) -> usize {
        self.row.cols()
    }

    #[inline(always)]
    fn logits(&self, l: L, vector: usize) -> L::Vector {
        l.load(&self.y[self.row.line(vector)])
    }

    #[inline(always)]
    fn exponentials(&self, l: L, vector: usize) -> L::Vector {
        l.load(&self.d_y[self.row.line(vector)])
    }

    #[inline(always)]
    fn set_exponentials(&mut self, l: L, vector: usize, v: L::Vector) {
        l.store(&mut self.d_y[self.row.line(vector)], v);
    }
}

/// The loss and gradient of rows whose targets are probabilities, `[B, O]`.
///
/// Overwrites `d_y` `[B, O]` and `losses` `[B]`; padding lanes of `d_y` become 0.
#[inline(always)]
pub(crate) fn of_probabilities<L: Lanes>(
    l: L,
    to: RowLosses<'_, L::Element>,
    y: Panels<'_, L::Element>,
    targets: &[L::Element],
    objective: &Objective<'_, L::Element>,
    classes: &ClassWeights<L::Element>,
) {
    let RowLosses { d_y: d, losses } = to;
    let lanes = L::Element::LANES;
    let sharp = l.constant(1.0 - classes.smoothing);
    let share = l.constant(classes.smoothing / y.cols as f64);
    for (r, (targets, loss)) in targets.chunks_exact(y.cols).zip(losses).enumerate() {
        let row = Row::of(r, y);
        let Shift { max, sum } = exponentiate(l, &mut Logits { row, y: y.lines, d_y: &mut *d.lines });
        let mut total = 0.0;
        for (targets, weights) in targets.chunks(lanes).zip(&classes.lines) {
            total += l.sum_f64(smoothed(l, targets, weights, sharp, share));
        }
        let weight = objective.weight(r);
        let scale = l.constant(objective.scale * weight);
        let factor = l.constant(total / sum.to_f64());
        let mut along = 0.0;
        for ((i, targets), weights) in row.lines().zip(targets.chunks(lanes)).zip(&classes.lines) {
            let q = smoothed(l, targets, weights, sharp, share);
            along += l.sum_f64(times_shifted(l, q, l.load(&y.lines[i]), max));
            let gradient = l.sub(l.mul(l.load(&d.lines[i]), factor), q);
            l.store(&mut d.lines[i], l.flushed(l.mul(scale, gradient)));
        }
        *loss = weight * (total * ln(sum.to_f64()) - along);
    }
}

/// `weights (sharp targets + share)`; 0 past the last output, whose weight is 0.
#[inline(always)]
fn smoothed<L: Lanes>(
    l: L,
    targets: &[L::Element],
    weights: &LineOf<L>,
    sharp: L::Vector,
    share: L::Vector,
) -> L::Vector {
    l.mul(l.load(weights), l.mul_add(l.load_slice(targets), sharp, share))
}

/// `q (y - max)`, 0 where `q` is: there an infinite logit is no loss.
#[inline(always)]
fn times_shifted<L: Lanes>(l: L, q: L::Vector, y: L::Vector, max: L::Vector) -> L::Vector {
    l.mul(q, l.select(l.eq(q, l.zero()), l.zero(), l.sub(y, max)))
}

/// [`of_probabilities`] where one target of each row is 1 and the others are 0: `targets` are class indices,
/// `[B]`.
#[inline(always)]
pub(crate) fn of_classes<L: Lanes>(
    l: L,
    to: RowLosses<'_, L::Element>,
    y: Panels<'_, L::Element>,
    targets: &[u32],
    objective: &Objective<'_, L::Element>,
    classes: &ClassWeights<L::Element>,
) {
    let RowLosses { d_y: d, losses } = to;
    let lanes = L::Element::LANES;
    let share = classes.smoothing / y.cols as f64;
    for (r, (&class, loss)) in targets.iter().zip(losses).enumerate() {
        let row = Row::of(r, y);
        let Shift { max, sum } = exponentiate(l, &mut Logits { row, y: y.lines, d_y: &mut *d.lines });
        let highest = l.max_lane(max).to_f64();
        let peak = (1.0 - classes.smoothing) * classes.weight(class);
        let total = peak + share * classes.sum;
        let weight = objective.weight(r);
        let scale = objective.scale * weight;
        let factor = l.constant(scale * total / sum.to_f64());
        let mut along = 0.0;
        for (i, weights) in row.lines().zip(&classes.lines) {
            let softmax = l.flushed(l.mul(l.load(&d.lines[i]), factor));
            if share == 0.0 {
                l.store(&mut d.lines[i], softmax);
            } else {
                let q = l.mul(l.load(weights), l.constant(share));
                along += l.sum_f64(times_shifted(l, q, l.load(&y.lines[i]), max));
                l.store(&mut d.lines[i], l.flushed(l.neg_mul_add(l.constant(scale), q, softmax)));
            }
        }
        let (line, lane) = (row.line(class as usize / lanes), class as usize % lanes);
        let logit = y.lines[line].as_slice()[lane].to_f64();
        let gradient = &mut d.lines[line].as_mut_slice()[lane];
        *gradient = L::Element::from_f64(gradient.to_f64() - scale * peak).flushed();
        // A class of weight 0 may have an infinite logit.
        let at_class = if peak == 0.0 { 0.0 } else { peak * (logit - highest) };
        *loss = weight * (total * ln(sum.to_f64()) - at_class - along);
    }
}
