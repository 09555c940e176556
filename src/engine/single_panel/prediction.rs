//! Predictions of small networks.

use crate::engine::micro_batch::Purpose;
use crate::engine::single_panel::arrangement::{Arrangement, LayerForward, Shape};
use crate::engine::single_panel::buffers::SinglePanelBuffers;
use crate::engine::single_panel::forward::{ForwardPass, forward};
use crate::engine::single_panel::group_per_row::GroupPerRow;
use crate::kernels::gemm::packed4;
use crate::kernels::ops::activation::Activation;
use crate::network::Network;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::{Element, Line};

/// The rows of a prediction.
pub(crate) struct SinglePanelPrediction<'a, T: Element> {
    pub(crate) buffers: &'a mut SinglePanelBuffers<T>,
    pub(crate) network: &'a Network<T>,
    /// `[rows, inputs]`.
    pub(crate) x: &'a [T],
    /// `[rows, outputs]`.
    pub(crate) y: &'a mut [T],
    pub(crate) rows: usize,
}

impl<T: Element> SinglePanelPrediction<'_, T> {
    /// Whether rows fit in groups. The network may be another one than that of the buffers, of the same
    /// shapes.
    pub(crate) fn fits_groups(&self) -> bool {
        self.buffers.groups && self.network.last().activation() != Activation::Softmax
    }

    /// [`SinglePanelPrediction::run`] of rows that fit in one line of groups, which stays in registers from
    /// the inputs to the outputs. So this loop is not the one of [`forward`], which stores each layer's
    /// output in its block.
    #[inline(always)]
    pub(crate) fn run_line<L: Lanes<Element = T>>(&mut self, l: L) {
        let (network, rows) = (self.network, self.rows);
        debug_assert!(packed4::fit_a_line::<T>(rows), "one line holds them all");
        let (layers, mut parameters) = (&network.layers[..], &network.parameters[..]);
        let mut x = [T::Line::ZERO];
        <GroupPerRow<true> as Arrangement<L>>::pack(l, &mut x, self.x, rows, layers[0].inputs());
        for layer in layers {
            let weights;
            (weights, parameters) = parameters.split_at(1 + layer.inputs());
            let mut y = [T::Line::ZERO];
            let (activation, shape) = (layer.activation(), Shape::of(layer, rows));
            let layer =
                LayerForward { y: &mut y, pre_activation: &mut [], x: &x, weights, activation, shape };
            <GroupPerRow<true> as Arrangement<L>>::forward(l, layer);
            x = y;
        }
        <GroupPerRow<true> as Arrangement<L>>::unpack(l, self.y, &x, rows, network.outputs());
    }

    /// Every layer, block by block.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>, A: Arrangement<L>>(&mut self, l: L) {
        let (network, rows, size) = (self.network, self.rows, A::lines(self.rows));
        let last = network.last();
        A::pack(l, &mut self.buffers.lines[..size], self.x, rows, network.inputs());
        let pass = ForwardPass {
            layers: &network.layers,
            parameters: &network.parameters,
            rows,
            output_activation: last.activation(),
            purpose: Purpose::Predict,
        };
        let y = forward::<L, A>(l, &mut self.buffers.lines, size, pass);
        A::unpack(l, self.y, y, rows, last.outputs());
    }
}
