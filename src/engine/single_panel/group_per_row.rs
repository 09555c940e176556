//! The arrangement of layers of up to four features: a group of four lanes for each row, several to a line.
//!
//! See [`packed4`].

use crate::engine::single_panel::arrangement::{
    Arrangement, LayerBackward, LayerForward, LayerWeightGradient, OutputLoss, Shape,
};
use crate::kernels::gemm::packed4::{self, Packed4};
use crate::kernels::ops::activation::{
    Activation, activate, activate_lines, multiply_derivative, multiply_derivative_lines,
};
use crate::kernels::ops::loss;
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::math;

/// A group of four lanes for each row, of one line in all or of several.
pub(crate) struct GroupPerRow<const ONE_LINE: bool>;

impl<L: Lanes, const ONE_LINE: bool> Arrangement<L> for GroupPerRow<ONE_LINE> {
    const LINE_PER_ROW: bool = false;
    const INLINES_OPTIMIZERS: bool = ONE_LINE;

    #[inline(always)]
    fn lines(rows: usize) -> usize {
        if ONE_LINE { 1 } else { packed4::lines::<L::Element>(rows) }
    }

    #[inline(always)]
    fn pack(l: L, lines: &mut [LineOf<L>], x: &[L::Element], rows: usize, cols: usize) {
        l.inline_small(
            #[inline(always)]
            || packed4::pack(l, lines, x, rows, cols),
        );
    }

    #[inline(always)]
    fn unpack(l: L, y: &mut [L::Element], lines: &[LineOf<L>], rows: usize, cols: usize) {
        l.inline_small(
            #[inline(always)]
            || packed4::unpack(l, y, Packed4 { lines, rows, cols }),
        );
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn forward(l: L, layer: LayerForward<'_, L::Element>) {
        let LayerForward { y, pre_activation, x, weights, activation, shape } = layer;
        product(l, y, x, &weights[1..], Some(&weights[0]));
        if ONE_LINE && pre_activation.is_empty() {
            // Nothing comes in between: the sums are still in registers.
            match y {
                [line]
                    if L::DIVIDES_HALVES
                        && activation == Activation::Sigmoid
                        && packed4::fit_half_a_line::<L::Element>(shape.rows) =>
                {
                    let sigmoid = math::sigmoid_of_first_half(l, l.load(line));
                    l.store(line, sigmoid);
                }
                _ => activate_lines(l, y, activation),
            }
        } else {
            if !pre_activation.is_empty() {
                pre_activation.copy_from_slice(y);
            }
            activate(l, y, activation);
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn backward_data(l: L, layer: LayerBackward<'_, L::Element>) {
        let LayerBackward { d_x, d_z, transposed, from, activation, shape } = layer;
        product(l, d_x, d_z, &transposed[..shape.outputs], None);
        Self::multiply_derivative(l, d_x, from, activation);
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn weight_gradient(l: L, layer: LayerWeightGradient<'_, L::Element>) {
        let LayerWeightGradient { d_w, x, d_z, shape: Shape { rows, inputs, outputs }, beta } = layer;
        let (x, d_z) =
            (Packed4 { lines: x, rows, cols: inputs }, Packed4 { lines: d_z, rows, cols: outputs });
        l.inline_small(
            #[inline(always)]
            || packed4::weight_gradient(l, d_w, x, d_z, beta),
        );
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn loss(l: L, output: OutputLoss<'_, L::Element>) -> f64 {
        let OutputLoss { d_z, y, from, activation, shape, objective, .. } = output;
        let loss = l.inline_small(
            #[inline(always)]
            || loss::evaluate_packed4(l, d_z, y, objective, shape.rows, shape.outputs),
        );
        Self::multiply_derivative(l, d_z, from, activation);
        loss
    }
}

/// [`packed4::product`].
#[inline(always)]
fn product<L: Lanes>(
    l: L,
    c: &mut [LineOf<L>],
    a: &[LineOf<L>],
    b: &[LineOf<L>],
    initial: Option<&LineOf<L>>,
) {
    l.inline_small(
        #[inline(always)]
        || packed4::product(l, c, a, b, initial),
    );
}

impl<const ONE_LINE: bool> GroupPerRow<ONE_LINE> {
    /// `d = d f'`, as [`multiply_derivative`]: by a call where there are several lines.
    #[inline(always)]
    fn multiply_derivative<L: Lanes>(l: L, d: &mut [LineOf<L>], from: &[LineOf<L>], activation: Activation) {
        if ONE_LINE {
            multiply_derivative_lines(l, d, from, activation);
        } else {
            multiply_derivative(l, d, from, activation);
        }
    }
}
