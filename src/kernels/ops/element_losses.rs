//! Losses of single elements: one formula each, with its slope.

use crate::kernels::ops::loss::Loss;
use crate::simd::lanes::Lanes;
use crate::simd::math;

/// The loss of each element and its slope, of a loss that is a sum over elements.
#[inline(always)]
pub(super) fn loss_and_slope<L: Lanes>(
    l: L,
    loss: Loss,
    y: L::Vector,
    t: L::Vector,
) -> (L::Vector, L::Vector) {
    let (zero, one) = (l.zero(), l.constant(1.0));
    let difference = l.sub(y, t);
    match loss {
        Loss::MeanSquaredError => (l.mul(difference, difference), l.add(difference, difference)),
        Loss::MeanAbsoluteError => {
            // 0 at 0, and NaN of NaN.
            let sign = l.select(l.eq(difference, zero), zero, l.flip_sign(one, difference));
            (l.abs(difference), l.select(l.eq(difference, difference), sign, difference))
        }
        Loss::Huber { delta } => {
            let (low, high, half) = (l.constant(-delta), l.constant(delta), l.constant(0.5));
            let clipped = l.max(low, l.min(high, difference));
            (l.mul(clipped, l.neg_mul_add(half, clipped, difference)), clipped)
        }
        Loss::BinaryCrossEntropyWithLogits => binary_cross_entropy(l, y, t),
        Loss::Quantile { quantile } => {
            let (below, above) = (l.constant(-quantile), l.constant(1.0 - quantile));
            // 0 at 0, and NaN of NaN.
            let slope = l.select(l.lt(difference, zero), below, above);
            let slope = l.select(l.eq(difference, zero), zero, slope);
            (l.mul(slope, difference), l.select(l.eq(difference, difference), slope, difference))
        }
        Loss::Hinge => {
            let margin = l.neg_mul_add(t, y, one);
            let slope = l.select(l.le(margin, zero), zero, l.sub(zero, t));
            (l.max(zero, margin), l.select(l.eq(margin, margin), slope, margin))
        }
        Loss::PoissonNll => poisson(l, y, t),
        Loss::GaussianNll { .. } => unreachable!("of pairs of outputs"),
        Loss::KullbackLeibler | Loss::SoftmaxCrossEntropy => unreachable!("a sum over rows"),
    }
}

/// `max(y, 0) - t y + log(1 + e^-|y|)`, and its slope `sigmoid(y) - t`.
#[cfg_attr(not(unoptimized), inline(always))]
fn binary_cross_entropy<L: Lanes>(l: L, y: L::Vector, t: L::Vector) -> (L::Vector, L::Vector) {
    let zero = l.zero();
    // The large terms cancel before the small one is added.
    let linear = l.neg_mul_add(t, y, l.max(zero, y));
    let rest = math::ln_1p(l, math::exp(l, l.sub(zero, l.abs(y))));
    (l.add(linear, rest), l.sub(math::sigmoid(l, y), t))
}

/// `e^y - t y`, and its slope `e^y - t`.
#[cfg_attr(not(unoptimized), inline(always))]
fn poisson<L: Lanes>(l: L, y: L::Vector, t: L::Vector) -> (L::Vector, L::Vector) {
    let rate = math::exp(l, y);
    (l.neg_mul_add(t, y, rate), l.sub(rate, t))
}

/// The binary cross-entropy where the term of `t` has a weight `p`:
/// `(1 - t) y + w log(1 + e^-y)` with `w = 1 + (p - 1) t`, and its slope `w sigmoid(y) - p t`.
#[cfg_attr(not(unoptimized), inline(always))]
pub(super) fn weighted_binary_cross_entropy<L: Lanes>(
    l: L,
    p: L::Vector,
    y: L::Vector,
    t: L::Vector,
) -> (L::Vector, L::Vector) {
    let (zero, one) = (l.zero(), l.constant(1.0));
    let weight = l.mul_add(l.sub(p, one), t, one);
    let small = math::ln_1p(l, math::exp(l, l.sub(zero, l.abs(y))));
    let softplus = l.add(l.max(zero, l.sub(zero, y)), small);
    let value = l.mul_add(l.sub(one, t), y, l.mul(weight, softplus));
    (value, l.neg_mul_add(p, t, l.mul(weight, math::sigmoid(l, y))))
}
