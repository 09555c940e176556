//! Layer normalisation: `z = w xhat + b`, `xhat = (x - mean x) / sqrt(var x + 1e-5)`, row by row.
//!
//! | pass | |
//! |---|---|
//! | [`forward`] | `y = f(z)`; mean and `1 / sqrt(var x + 1e-5)` of each row are kept |
//! | [`backward_data`] | `d_x = (g - mean g - xhat mean(g xhat)) / sqrt(var x + 1e-5)`, `g = d_z w` |
//! | [`weight_gradient`] | `d_w = sum over rows of d_z xhat`, `d_b = sum over rows of d_z` |

use super::elementwise::{Row, clear_padding, softmax};
use super::lanes::Lanes;
use super::pack::{Panels, PanelsMut};
use super::{LineOf, Start};
use crate::activation::{Activation, activate, multiply_derivative};

/// PyTorch's default.
const EPSILON: f64 = 1e-5;

/// `y = f(z)`, and unless it is empty `sums = z`. `weights` are panels of a line of biases and a line of weights.
/// `statistics` takes two lines for each row: its mean and what its deviations are multiplied by, in every lane.
#[inline(always)]
pub fn forward<L: Lanes>(
    l: L,
    y: PanelsMut<'_, L::Element>,
    x: Panels<'_, L::Element>,
    weights: &[LineOf<L>],
    statistics: &mut [LineOf<L>],
    (activation, sums): (Activation, &mut [LineOf<L>]),
) {
    let n = l.constant(x.cols as f64);
    for (r, statistics) in statistics.chunks_exact_mut(2).enumerate().take(x.rows) {
        let row = Row::of(r, x);
        let mut sum = l.zero();
        for (p, i) in row.lines().enumerate() {
            sum = l.add(sum, l.select(row.mask(l, p), l.load(&x.lines[i]), l.zero()));
        }
        let mean = l.div(l.splat(l.sum(sum)), n);
        let mut squares = l.zero();
        for (p, i) in row.lines().enumerate() {
            let deviation = l.select(row.mask(l, p), l.sub(l.load(&x.lines[i]), mean), l.zero());
            squares = l.mul_add(deviation, deviation, squares);
        }
        let variance = l.div(l.splat(l.sum(squares)), n);
        let scale = l.div(l.constant(1.0), l.sqrt(l.add(variance, l.constant(EPSILON))));
        l.store(&mut statistics[0], mean);
        l.store(&mut statistics[1], scale);
        for (i, weights) in row.lines().zip(weights.chunks_exact(2)) {
            let normal = l.mul(l.sub(l.load(&x.lines[i]), mean), scale);
            l.store(&mut y.lines[i], l.mul_add(normal, l.load(&weights[1]), l.load(&weights[0])));
        }
    }
    if !sums.is_empty() {
        sums[..y.lines.len()].copy_from_slice(y.lines);
    }
    activate(l, y.lines, activation);
    if activation == Activation::Softmax {
        softmax(l, y);
    }
}

/// `d_x`, times `f'` of the layer below, if there is one, from its output or the sums it keeps. Padding lanes become
/// 0, as they are in `d_z` and in the weights; those of `x` are finite where their row is, so that they add nothing.
#[inline(always)]
pub fn backward_data<L: Lanes>(
    l: L,
    d_x: PanelsMut<'_, L::Element>,
    (x, d_z): (Panels<'_, L::Element>, Panels<'_, L::Element>),
    weights: &[LineOf<L>],
    statistics: &[LineOf<L>],
    below: Option<(Panels<'_, L::Element>, Activation)>,
) {
    let n = l.constant(x.cols as f64);
    for (r, statistics) in statistics.chunks_exact(2).enumerate().take(x.rows) {
        let row = Row::of(r, x);
        let (mean, scale) = (l.load(&statistics[0]), l.load(&statistics[1]));
        let (mut sum, mut products) = (l.zero(), l.zero());
        for (i, weights) in row.lines().zip(weights.chunks_exact(2)) {
            let g = l.mul(l.load(&d_z.lines[i]), l.load(&weights[1]));
            let normal = l.mul(l.sub(l.load(&x.lines[i]), mean), scale);
            sum = l.add(sum, g);
            products = l.mul_add(g, normal, products);
        }
        let mean_g = l.div(l.splat(l.sum(sum)), n);
        let mean_product = l.div(l.splat(l.sum(products)), n);
        for (i, weights) in row.lines().zip(weights.chunks_exact(2)) {
            let g = l.mul(l.load(&d_z.lines[i]), l.load(&weights[1]));
            let normal = l.mul(l.sub(l.load(&x.lines[i]), mean), scale);
            let centred = l.neg_mul_add(normal, mean_product, l.sub(g, mean_g));
            l.store(&mut d_x.lines[i], l.mul(centred, scale));
        }
    }
    if let Some((y, activation)) = below {
        multiply_derivative(l, d_x.lines, y.lines, activation);
    }
    clear_padding(l, d_x);
}

/// `d_w` and `d_b` of the panels from `first` on, each a line of biases and a line of weights; overwritten or added
/// to, as `start` says.
#[inline(always)]
pub fn weight_gradient<L: Lanes>(
    l: L,
    d_w: &mut [LineOf<L>],
    (x, d_z): (Panels<'_, L::Element>, Panels<'_, L::Element>),
    statistics: &[LineOf<L>],
    first: usize,
    start: Start,
) {
    for (p, lines) in d_w.chunks_exact_mut(2).enumerate() {
        let (mut d_b, mut d_w) = match start {
            Start::Zero => (l.zero(), l.zero()),
            Start::Accumulate => (l.load(&lines[0]), l.load(&lines[1])),
        };
        let rows = x.panel(first + p).iter().zip(d_z.panel(first + p)).zip(statistics.chunks_exact(2));
        for ((x, d_z), statistics) in rows {
            let normal = l.mul(l.sub(l.load(x), l.load(&statistics[0])), l.load(&statistics[1]));
            d_b = l.add(d_b, l.load(d_z));
            d_w = l.mul_add(l.load(d_z), normal, d_w);
        }
        l.store(&mut lines[0], d_b);
        l.store(&mut lines[1], d_w);
    }
}
