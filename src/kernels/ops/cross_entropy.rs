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
use crate::kernels::ops::class_labels::ClassLabels;
use crate::kernels::ops::loss::{ClassWeights, Objective, RowLosses, UnreadRows};
use crate::kernels::ops::softmax::{Shift, SoftmaxRow, exponentiate};
use crate::kernels::ops::targets::Targets;
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::scalar::{Element, Line, Scalar};

/// A row of logits, whose exponentials go where its gradient will be; `d_y` has no lines if none is wanted.
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
    fn load(&self, l: L, vector: usize) -> L::Vector {
        l.load(&self.y[self.row.line(vector)])
    }

    #[inline(always)]
    fn store(&mut self, l: L, vector: usize, v: L::Vector) {
        if !self.d_y.is_empty() {
            l.store(&mut self.d_y[self.row.line(vector)], v);
        }
    }
}

impl<L: Lanes> Logits<'_, L> {
    /// [`exponentiate`], if row `r` is read; else its gradient is cleared.
    #[inline(always)]
    fn exponentiate_read(
        mut self,
        l: L,
        r: usize,
        unread: Option<UnreadRows<'_, L::Element>>,
    ) -> Option<Shift<L>> {
        if !unread.is_some_and(|unread| unread.contains(r)) {
            return Some(exponentiate(l, &mut self));
        }
        if !self.d_y.is_empty() {
            for i in self.row.lines() {
                self.d_y[i] = LineOf::<L>::ZERO;
            }
        }
        None
    }
}

/// The loss and gradient of rows whose targets are probabilities, `[B, O]`.
///
/// Overwrites `d_y` `[B, O]` and `losses` `[B]`; padding lanes of `d_y` become 0. A row of weight 0 is
/// not read.
#[inline(always)]
pub(crate) fn of_probabilities<L: Lanes>(
    l: L,
    to: RowLosses<'_, L::Element>,
    y: Panels<'_, L::Element>,
    targets: &[L::Element],
    objective: &Objective<'_, L::Element>,
    classes: &ClassWeights<L::Element>,
) {
    let wants_gradient = to.wants_gradient();
    let RowLosses { d_y: d, losses } = to;
    let lanes = L::Element::LANES;
    let keep = l.constant(1.0 - classes.smoothing);
    let uniform = l.constant(classes.smoothing / y.cols as f64);
    let unread = objective.unread(classes, y.cols);
    for (r, (targets, loss)) in targets.chunks_exact(y.cols).zip(losses).enumerate() {
        let row = Row::of(r, y);
        let logits = Logits::<L> { row, y: y.lines, d_y: &mut *d.lines };
        let Some(Shift { max, sum }) = logits.exponentiate_read(l, r, unread) else {
            *loss = 0.0;
            continue;
        };
        let weight = objective.targets.row_weight(r);
        let mut target_sum = 0.0;
        for (targets, weights) in targets.chunks(lanes).zip(&classes.lines) {
            target_sum += l.reduce_sum_f64(smoothed(l, targets, weights, keep, uniform));
        }
        let scale = l.constant(objective.scale * weight);
        let factor = l.constant(target_sum / sum.to_f64());
        let mut dot = 0.0;
        for ((i, targets), weights) in row.lines().zip(targets.chunks(lanes)).zip(&classes.lines) {
            let q = smoothed(l, targets, weights, keep, uniform);
            dot += l.reduce_sum_f64(times_shifted(l, q, l.load(&y.lines[i]), max));
            if wants_gradient {
                let gradient = l.sub(l.mul(l.load(&d.lines[i]), factor), q);
                l.store(&mut d.lines[i], l.flushed(l.mul(scale, gradient)));
            }
        }
        *loss = weight * (target_sum * ln(sum.to_f64()) - dot);
    }
}

/// Adds `sum_j t_j log t_j`, times the row's weight, to the loss of each row, where 0 times its logarithm is
/// 0: the difference of a divergence and a cross-entropy, on which no output has an influence.
pub(crate) fn add_negative_entropy<T: Element>(losses: &mut [f64], values: &[T], targets: &Targets<'_, T>) {
    let columns = values.len() / losses.len().max(1);
    for (r, (values, loss)) in values.chunks_exact(columns.max(1)).zip(losses).enumerate() {
        let weight = targets.row_weight(r);
        if weight != 0.0 {
            let terms = values.iter().map(|t| t.to_f64()).filter(|&t| t != 0.0);
            *loss += weight * terms.map(|t| t * ln(t)).sum::<f64>();
        }
    }
}

/// `weights (keep targets + uniform)`; 0 where a weight is 0: of a class that weighs nothing, whatever its
/// target, and past the last output.
#[inline(always)]
fn smoothed<L: Lanes>(
    l: L,
    targets: &[L::Element],
    weights: &LineOf<L>,
    keep: L::Vector,
    uniform: L::Vector,
) -> L::Vector {
    let weights = l.load(weights);
    let smoothed = l.mul(weights, l.mul_add(l.load_slice(targets), keep, uniform));
    l.select(l.eq(weights, l.zero()), l.zero(), smoothed)
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
    targets: ClassLabels<'_>,
    objective: &Objective<'_, L::Element>,
    classes: &ClassWeights<L::Element>,
) {
    let wants_gradient = to.wants_gradient();
    let RowLosses { d_y: d, losses } = to;
    let lanes = L::Element::LANES;
    let uniform = classes.smoothing / y.cols as f64;
    let unread = objective.unread(classes, y.cols);
    for (r, loss) in losses.iter_mut().enumerate() {
        let class = targets.class(r);
        let row = Row::of(r, y);
        let logits = Logits::<L> { row, y: y.lines, d_y: &mut *d.lines };
        let Some(Shift { max, sum }) = logits.exponentiate_read(l, r, unread) else {
            *loss = 0.0;
            continue;
        };
        let highest = l.reduce_max(max).to_f64();
        let target = (1.0 - classes.smoothing) * classes.weight(class);
        let target_sum = target + uniform * classes.sum;
        let weight = objective.targets.row_weight(r);
        let scale = objective.scale * weight;
        let factor = l.constant(scale * target_sum / sum.to_f64());
        let mut dot = 0.0;
        for (i, weights) in row.lines().zip(&classes.lines) {
            let softmax =
                if wants_gradient { l.flushed(l.mul(l.load(&d.lines[i]), factor)) } else { l.zero() };
            let mut gradient = softmax;
            if uniform != 0.0 {
                let q = l.mul(l.load(weights), l.constant(uniform));
                dot += l.reduce_sum_f64(times_shifted(l, q, l.load(&y.lines[i]), max));
                gradient = l.flushed(l.neg_mul_add(l.constant(scale), q, softmax));
            }
            if wants_gradient {
                l.store(&mut d.lines[i], gradient);
            }
        }
        let (line, lane) = (row.line(class as usize / lanes), class as usize % lanes);
        let logit = y.lines[line].as_slice()[lane].to_f64();
        if wants_gradient {
            let gradient = &mut d.lines[line].as_mut_slice()[lane];
            *gradient = L::Element::from_f64(gradient.to_f64() - scale * target).flushed();
        }
        // A class of weight 0 may have an infinite logit.
        let at_class = if target == 0.0 { 0.0 } else { target * (logit - highest) };
        *loss = weight * (target_sum * ln(sum.to_f64()) - at_class - dot);
    }
}
