//! The outputs of one dense layer, shared out among threads in runs of panels.
//!
//! Where rows are too few to share out, as one row is, the outputs can be: each thread then reads weights of its own, which
//! stay in the caches of its core. Every output is the same sum as ever.

use crate::engine::parallel::counted_rows;
use crate::engine::parallel::{Divide, Split};
use crate::kernels::gemm::products::{self, Dense, Sweep};
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::ops::activation::Activation;
use crate::network::Layer;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// Whether the outputs of a dense layer are shared out, for so many rows of a tile that is alone.
#[inline(always)]
pub(crate) fn runs_in_parallel(split: Split, rows: usize, layer: Layer, activation: Activation) -> bool {
    // Softmax needs all outputs of a row.
    split != Split::Whole
        && activation != Activation::Softmax
        && shares_outputs(rows, layer.inputs() * layer.outputs())
}

/// Some panels of a dense layer's outputs, for the rows of a micro_batch.
pub(crate) struct ColumnParallel<'a, T: Element> {
    pub(crate) y: PanelsMut<'a, T>,
    /// The sums that the derivative is taken from, or empty.
    pub(crate) z: &'a mut [T::Line],
    pub(crate) x: Panels<'a, T>,
    /// Those of the panels.
    pub(crate) weights: &'a [T::Line],
    pub(crate) activation: Activation,
    pub(crate) sweep: Sweep,
}

impl<T: Element> ColumnParallel<'_, T> {
    /// Computes them on several threads.
    pub(crate) fn run_parallel<L: Lanes<Element = T>>(self, l: L, split: Split) {
        split.for_each(self, &|outputs| outputs.run(l));
    }

    #[inline(always)]
    fn run<L: Lanes<Element = T>>(&mut self, l: L) {
        let Self { y, z, x, weights, activation, sweep, .. } = self;
        let y = PanelsMut { lines: &mut *y.lines, ..*y };
        let dense = Dense { y, pre_activation: z, x: *x, weights, activation: *activation };
        products::forward(l, dense, *sweep);
    }
}

impl<T: Element> Divide for ColumnParallel<'_, T> {
    fn pieces(&self) -> usize {
        self.y.panels()
    }

    fn grain(&self) -> usize {
        OWN_PANELS
    }

    /// A multiple of what one row takes at a time. There are more panels than that.
    fn split_point(&self) -> usize {
        (self.y.panels() / 2).next_multiple_of(OWN_PANELS)
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let Self { y: PanelsMut { lines, rows, cols }, z, weights, .. } = self;
        let (y, y_right) = lines.split_at_mut(left * rows);
        let (z, z_right) = if z.is_empty() { z.split_at_mut(0) } else { z.split_at_mut(left * rows) };
        let (weights, weights_right) = weights.split_at(left * (1 + self.x.cols));
        let cols_left = left * T::LANES;
        let y = PanelsMut { lines: y, rows, cols: cols_left };
        let y_right = PanelsMut { lines: y_right, rows, cols: cols - cols_left };
        (Self { y, z, weights, ..self }, Self { y: y_right, z: z_right, weights: weights_right, ..self })
    }
}

/// Whether the outputs of a layer are worth sharing out where its rows are not: from 10 microseconds on, when a thread that is
/// awake takes its part within one or two.
pub fn shares_outputs(rows: usize, weights: usize) -> bool {
    counted_rows(rows).saturating_mul(weights).saturating_mul(2) >= LAYER_FLOP
}

/// See [`shares_outputs`].
const LAYER_FLOP: usize = 2_000_000;

/// Fewest panels of outputs that a thread takes: a multiple of what one row takes at a time.
pub const OWN_PANELS: usize = 8;

#[cfg(test)]
#[cfg(feature = "rayon")]
mod tests {
    use super::*;
    use crate::engine::parallel::tests::parts;
    use crate::kernels::matrix::panels::panels;
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
            let outputs = ColumnParallel {
                y: PanelsMut::new(&mut y, rows, cols),
                z: &mut z,
                x: Panels::new(&x, rows, inputs),
                weights: &weights,
                activation: Activation::Tanh,
                sweep: Sweep::Forward,
            };
            let of_part = |part: &ColumnParallel<'_, f32>| {
                let first = part.weights[0].as_slice()[0] as usize / (1 + inputs);
                let panels = part.weights.len() / (1 + inputs);
                assert_eq!(part.y.lines.len(), panels * rows);
                assert_eq!(part.z.len(), if needs_pre_activation { panels * rows } else { 0 });
                (first, panels, part.y.cols)
            };
            let expected = [(0, 8, 128), (8, 8, 128), (16, 4, 51)];
            assert_eq!(parts(Split::Pieces, outputs, of_part), expected);
        }
    }

    fn line(x: f32) -> Line32 {
        let mut line = Line32::ZERO;
        line.as_mut_slice().fill(x);
        line
    }
}
