//! Layer normalisation: `z = w x_hat + b`, `x_hat = (x - mean x) / sqrt(var x + epsilon)`, row by row. Of a
//! norm that is not centred (RMS) `mean x`, and `mean g` in its gradient, count as 0.
//!
//! | pass | |
//! |---|---|
//! | [`forward`] | `y = f(z)`; mean and `1 / sqrt(var x + epsilon)` of each row are kept |
//! | [`backward_data`] | `d_x = (g - mean g - x_hat mean(g x_hat)) / sqrt(var x + epsilon)`, `g = d_z w` |
//! | [`weight_gradient`] | `d_w = sum over rows of d_z x_hat`, `d_b = sum over rows of d_z` |

use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::clear_padding;
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::matrix::rows::Row;
use crate::kernels::ops::activation::{Activation, Derivative, activate, activate_rows, multiply_derivative};
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// `y = f(z)`, and unless it is empty `pre_activation = z`. Overwrites the statistics too.
pub(crate) fn forward<L: Lanes>(l: L, norm: LayerNorm<'_, L::Element>) {
    l.vectorize(
        #[inline(always)]
        || {
            let LayerNorm { y, pre_activation, x, weights, statistics, kind, activation } = norm;
            let NormKind { is_centred, epsilon } = kind;
            let n = l.constant(x.cols as f64);
            for (r, statistics) in statistics.chunks_exact_mut(2).enumerate().take(x.rows) {
                let row = Row::of(r, x);
                let mut mean = l.zero();
                if is_centred {
                    let mut sum = l.zero();
                    for (p, i) in row.lines().enumerate() {
                        sum = l.add(sum, l.select(row.mask(l, p), l.load(&x.lines[i]), l.zero()));
                    }
                    mean = l.div(l.splat(l.reduce_sum(sum)), n);
                }
                let mut squares = l.zero();
                for (p, i) in row.lines().enumerate() {
                    let deviation = l.select(row.mask(l, p), l.sub(l.load(&x.lines[i]), mean), l.zero());
                    squares = l.mul_add(deviation, deviation, squares);
                }
                let variance = l.div(l.splat(l.reduce_sum(squares)), n);
                let rstd = l.div(l.constant(1.0), l.sqrt(l.add(variance, l.constant(epsilon))));
                l.store(&mut statistics[0], mean);
                l.store(&mut statistics[1], rstd);
                for (i, weights) in row.lines().zip(weights.chunks_exact(2)) {
                    let x_hat = l.mul(l.sub(l.load(&x.lines[i]), mean), rstd);
                    l.store(&mut y.lines[i], l.mul_add(x_hat, l.load(&weights[1]), l.load(&weights[0])));
                }
            }
            if !pre_activation.is_empty() {
                pre_activation[..y.lines.len()].copy_from_slice(y.lines);
            }
            activate(l, y.lines, activation);
            activate_rows(l, y, activation);
        },
    );
}

/// Operands of a layer norm.
pub(crate) struct LayerNorm<'a, T: Element> {
    /// `[B, features]`.
    pub y: PanelsMut<'a, T>,
    /// `z`, `[B, features]`, or empty if nothing needs it.
    pub pre_activation: &'a mut [T::Line],
    /// `[B, features]`.
    pub x: Panels<'a, T>,
    /// Panels of a line of biases and a line of weights.
    pub weights: &'a [T::Line],
    /// Two lines for each row: its mean and `rstd`, `1 / sqrt(var x + epsilon)`, in every lane.
    pub statistics: &'a mut [T::Line],
    pub kind: NormKind,
    pub activation: Activation,
}

/// How the rows of a norm are measured.
#[derive(Clone, Copy)]
pub(crate) struct NormKind {
    /// Around their mean, or around 0.
    pub is_centred: bool,
    /// What is added to the variance, or to the mean square.
    pub epsilon: f64,
}

/// Operands of the backward pass through a layer norm.
pub(crate) struct LayerNormBackward<'a, T: Element> {
    /// `[B, features]`.
    pub d_x: PanelsMut<'a, T>,
    pub x: Panels<'a, T>,
    pub d_z: Panels<'a, T>,
    pub weights: &'a [T::Line],
    /// As [`forward`] left them.
    pub statistics: &'a [T::Line],
    pub is_centred: bool,
    /// The layer below, if there is one.
    pub below: Option<Derivative<'a, T>>,
}

/// Operands of a layer norm's weight gradient.
pub(crate) struct LayerNormGradient<'a, T: Element> {
    /// Panels of a line of biases and a line of weights.
    pub d_w: &'a mut [T::Line],
    pub x: Panels<'a, T>,
    pub d_z: Panels<'a, T>,
    /// As [`forward`] left them.
    pub statistics: &'a [T::Line],
    /// The panel of `d_z` that the first of `d_w` belongs to.
    pub first_panel: usize,
    /// Whether `d_w` is overwritten or added to.
    pub start: Beta,
}

/// `d_x`, times `f'` of the layer below, if there is one, from its output or its pre-activations. Padding
/// lanes become 0, as they are in `d_z` and in the weights; those of `x` are finite where their row is, so
/// that they add nothing.
pub(crate) fn backward_data<L: Lanes>(l: L, norm: LayerNormBackward<'_, L::Element>) {
    l.vectorize(
        #[inline(always)]
        || {
            let LayerNormBackward { d_x, x, d_z, weights, statistics, is_centred, below } = norm;
            let n = l.constant(x.cols as f64);
            for (r, statistics) in statistics.chunks_exact(2).enumerate().take(x.rows) {
                let row = Row::of(r, x);
                let (mean, rstd) = (l.load(&statistics[0]), l.load(&statistics[1]));
                let (mut sum, mut products) = (l.zero(), l.zero());
                for (i, weights) in row.lines().zip(weights.chunks_exact(2)) {
                    let g = l.mul(l.load(&d_z.lines[i]), l.load(&weights[1]));
                    let x_hat = l.mul(l.sub(l.load(&x.lines[i]), mean), rstd);
                    sum = l.add(sum, g);
                    products = l.mul_add(g, x_hat, products);
                }
                let mean_g = if is_centred { l.div(l.splat(l.reduce_sum(sum)), n) } else { l.zero() };
                let mean_product = l.div(l.splat(l.reduce_sum(products)), n);
                for (i, weights) in row.lines().zip(weights.chunks_exact(2)) {
                    let g = l.mul(l.load(&d_z.lines[i]), l.load(&weights[1]));
                    let x_hat = l.mul(l.sub(l.load(&x.lines[i]), mean), rstd);
                    let centred = l.neg_mul_add(x_hat, mean_product, l.sub(g, mean_g));
                    l.store(&mut d_x.lines[i], l.mul(centred, rstd));
                }
            }
            if let Some(Derivative { from, activation }) = below {
                multiply_derivative(l, d_x.lines, from.lines, activation);
            }
            clear_padding(l, d_x);
        },
    );
}

/// `d_w` and `d_b` of the panels from `first_panel` on, each a line of biases and a line of weights;
/// overwritten or added to, as `start` says.
pub(crate) fn weight_gradient<L: Lanes>(l: L, norm: LayerNormGradient<'_, L::Element>) {
    l.vectorize(
        #[inline(always)]
        || {
            let LayerNormGradient { d_w, x, d_z, statistics, first_panel: first, start } = norm;
            for (p, lines) in d_w.chunks_exact_mut(2).enumerate() {
                let (mut d_b, mut d_w) = match start {
                    Beta::Zero => (l.zero(), l.zero()),
                    Beta::One => (l.load(&lines[0]), l.load(&lines[1])),
                };
                let rows =
                    x.panel(first + p).iter().zip(d_z.panel(first + p)).zip(statistics.chunks_exact(2));
                for ((x, d_z), statistics) in rows {
                    let x_hat = l.mul(l.sub(l.load(x), l.load(&statistics[0])), l.load(&statistics[1]));
                    d_b = l.add(d_b, l.load(d_z));
                    d_w = l.mul_add(l.load(d_z), x_hat, d_w);
                }
                l.store(&mut lines[0], d_b);
                l.store(&mut lines[1], d_w);
            }
        },
    );
}
