//! The arrangement of layers of up to `LANES` features: a line for each row, as in any panel.

use crate::engine::plan::MICRO_BATCH_ROWS;
use crate::engine::single_panel::arrangement::{
    Arrangement, LayerBackward, LayerForward, LayerWeightGradient, OutputLoss, Shape,
};
use crate::kernels::gemm::blocking::TILED_ROWS;
use crate::kernels::gemm::products::{self, Dense, DenseBackward, Sweep};
use crate::kernels::gemm::weight_gradient::{self, WeightGradient};
use crate::kernels::matrix::pack;
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::ops::activation::{Activation, Derivative};
use crate::kernels::ops::loss::{self, RowLosses};
use crate::kernels::ops::softmax::output_gradient;
use crate::simd::lanes::{Lanes, LineOf};

/// A line for each row, of one row or of several.
pub(crate) struct LinePerRow<const ONE_LINE: bool>;

impl<L: Lanes, const ONE_LINE: bool> Arrangement<L> for LinePerRow<ONE_LINE> {
    const LINE_PER_ROW: bool = true;
    const INLINES_OPTIMIZERS: bool = ONE_LINE;

    #[inline(always)]
    fn lines(rows: usize) -> usize {
        if ONE_LINE { 1 } else { rows }
    }

    #[inline(always)]
    fn pack(l: L, lines: &mut [LineOf<L>], x: &[L::Element], rows: usize, cols: usize) {
        let to = PanelsMut { lines, rows, cols };
        if L::INLINES_SMALL { pack::pack_rows_inline(l, to, x) } else { pack::pack_rows(l, to, x) }
    }

    #[inline(always)]
    fn unpack(l: L, y: &mut [L::Element], lines: &[LineOf<L>], rows: usize, cols: usize) {
        let from = Panels { lines, rows, cols };
        if L::INLINES_SMALL { pack::unpack_rows_inline(l, y, from) } else { pack::unpack_rows(l, y, from) }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn forward(l: L, layer: LayerForward<'_, L::Element>) {
        let LayerForward { y, pre_activation, x, weights, activation, shape } = layer;
        let Shape { rows, inputs, outputs } = shape;
        let (y, x) = (PanelsMut { lines: y, rows, cols: outputs }, Panels { lines: x, rows, cols: inputs });
        let dense = Dense { y, pre_activation, x, weights, activation };
        if L::INLINES_SMALL {
            products::forward_single_panel(l, dense);
        } else {
            products::forward(l, dense, Sweep::Forward);
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn backward_data(l: L, layer: LayerBackward<'_, L::Element>) {
        let LayerBackward { d_x, d_z, transposed, from, activation, shape } = layer;
        let Shape { rows, inputs, outputs } = shape;
        let d_x = PanelsMut { lines: d_x, rows, cols: inputs };
        let d_z = Panels { lines: d_z, rows, cols: outputs };
        let from = Panels { lines: from, rows, cols: inputs };
        let below = Some(Derivative { from, activation });
        let dense = DenseBackward { d_x, d_z, transposed, below };
        if L::INLINES_SMALL {
            products::backward_single_panel(l, dense);
        } else {
            products::backward_data(l, dense, Sweep::Forward);
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn weight_gradient(l: L, layer: LayerWeightGradient<'_, L::Element>) {
        let LayerWeightGradient { d_w, x, d_z, shape: Shape { rows, inputs, outputs }, beta } = layer;
        let (x, d_z) = (Panels { lines: x, rows, cols: inputs }, Panels { lines: d_z, rows, cols: outputs });
        let gradient = WeightGradient { d_w, x, d_z, first_panel: 0, beta };
        if L::INLINES_SMALL && rows < TILED_ROWS {
            weight_gradient::single_panel_weight_gradient(l, gradient);
        } else {
            weight_gradient::weight_gradient(l, gradient, None);
        }
    }

    #[cfg_attr(not(unoptimized), inline(always))]
    fn loss(l: L, output: OutputLoss<'_, L::Element>) -> f64 {
        let OutputLoss { d_z, y, from, activation, shape, objective, classes } = output;
        let Shape { rows, outputs: cols, .. } = shape;
        let mut losses = [0.0; MICRO_BATCH_ROWS];
        let losses = &mut losses[..rows];
        let to = RowLosses { d_y: PanelsMut { lines: d_z, rows, cols }, losses };
        loss::evaluate(l, to, Panels { lines: y, rows, cols }, objective, classes);
        let loss = losses.iter().sum::<f64>() * objective.scale;
        if activation != Activation::Identity {
            let d_z = PanelsMut { lines: d_z, rows, cols };
            let from = Panels { lines: from, rows, cols };
            output_gradient(l, d_z, Derivative { from, activation });
        }
        loss
    }
}
