//! Column parallelism: the outputs of one dense layer, shared among threads in runs of panels.
//!
//! Where a batch has too few rows to share, as one row is, a large layer still has enough outputs: each
//! thread then reads weights of its own, which stay in the caches of its core. Every output is the same sum
//! as on one thread.

use crate::engine::parallel::counted_rows;
use crate::engine::parallel::{Divide, Split};
use crate::kernels::gemm::products::Dense;
use crate::kernels::matrix::panels::PanelsMut;
use crate::kernels::ops::activation::Activation;
use crate::simd::scalar::Element;

/// Some panels of a dense layer's outputs, for the rows of a micro-batch.
pub(crate) struct ColumnParallel<'a, T: Element>(pub(crate) Dense<'a, T>);

impl<T: Element> ColumnParallel<'_, T> {
    /// The operands of the product.
    #[inline(always)]
    pub(crate) fn dense(&mut self) -> Dense<'_, T> {
        let Dense { y, pre_activation, x, weights, activation } = &mut self.0;
        Dense {
            y: PanelsMut { lines: &mut *y.lines, ..*y },
            pre_activation,
            x: *x,
            weights,
            activation: *activation,
        }
    }
}

impl<T: Element> Divide for ColumnParallel<'_, T> {
    fn pieces(&self) -> usize {
        self.0.y.panels()
    }

    fn grain(&self) -> usize {
        GRAIN_PANELS
    }

    /// A multiple of the panels that one row takes at a time. There are more panels than that.
    fn split_point(&self) -> usize {
        (self.0.y.panels() / 2).next_multiple_of(GRAIN_PANELS)
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let Self(Dense { y, pre_activation, x, weights, activation }) = self;
        let PanelsMut { lines, rows, cols } = y;
        let (y, y_right) = lines.split_at_mut(left * rows);
        let lines = if pre_activation.is_empty() { 0 } else { left * rows };
        let (pre_activation, pre_activation_right) = pre_activation.split_at_mut(lines);
        let (weights, weights_right) = weights.split_at(left * (1 + x.cols));
        let cols_left = left * T::LANES;
        let y = PanelsMut { lines: y, rows, cols: cols_left };
        let y_right = PanelsMut { lines: y_right, rows, cols: cols - cols_left };
        let dense = Dense { y, pre_activation, x, weights, activation };
        let dense_right =
            Dense { y: y_right, pre_activation: pre_activation_right, x, weights: weights_right, activation };
        (Self(dense), Self(dense_right))
    }
}

/// Whether the outputs of a dense layer are shared among threads, if a micro-batch is alone: from 10
/// microseconds on, when a thread that is awake takes its part within one or two.
#[inline(always)]
pub(crate) fn shares_outputs<T: Element>(split: Split, dense: &Dense<'_, T>) -> bool {
    let weights = dense.x.cols * dense.y.cols;
    // Softmax needs all outputs of a row.
    split != Split::Whole
        && dense.activation != Activation::Softmax
        && counted_rows(dense.x.rows).saturating_mul(weights).saturating_mul(2) >= LAYER_FLOP
}

/// Floating-point operations of a layer from which on its outputs are shared: see [`shares_outputs`].
const LAYER_FLOP: usize = 2_000_000;

/// Minimum panels of outputs of a thread: a multiple of the panels that one row takes at a time.
pub(crate) const GRAIN_PANELS: usize = 8;

#[cfg(test)]
#[cfg(feature = "rayon")]
mod tests {
    use super::*;
    use crate::engine::parallel::tests::parts;
    use crate::kernels::matrix::panels::{Panels, panels};
    use crate::simd::scalar::Line;

    type Line32 = <f32 as crate::simd::scalar::Scalar>::Line;

    #[test]
    fn a_layer_is_shared_out_in_panels_with_their_weights_and_sums() {
        let (rows, inputs, cols) = (3, 5, 307);
        let count = panels::<f32>(cols);
        assert_eq!(count, 20);
        let mut y = vec![Line32::ZERO; rows * count];
        let x = vec![Line32::ZERO; rows];
        let weights: Vec<_> = (0..count * (1 + inputs)).map(|i| line(i as f32)).collect();
        for needs_pre_activation in [false, true] {
            let mut z = vec![Line32::ZERO; if needs_pre_activation { rows * count } else { 0 }];
            let dense = Dense {
                y: PanelsMut::new(&mut y, rows, cols),
                pre_activation: &mut z,
                x: Panels::new(&x, rows, inputs),
                weights: &weights,
                activation: Activation::Tanh,
            };
            let of_part = |part: &ColumnParallel<'_, f32>| {
                let part = &part.0;
                let first = part.weights[0].as_slice()[0] as usize / (1 + inputs);
                let panels = part.weights.len() / (1 + inputs);
                assert_eq!(part.y.lines.len(), panels * rows);
                assert_eq!(part.pre_activation.len(), if needs_pre_activation { panels * rows } else { 0 });
                (first, panels, part.y.cols)
            };
            let expected = [(0, 8, 128), (8, 8, 128), (16, 4, 51)];
            assert_eq!(parts(Split::Pieces, ColumnParallel(dense), of_part), expected);
        }
    }

    fn line(x: f32) -> Line32 {
        let mut line = Line32::ZERO;
        line.as_mut_slice().fill(x);
        line
    }
}
