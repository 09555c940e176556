//! Predictions: ranges of rows, and each range's rows in micro-batches, all in the buffers of one.

use crate::engine::micro_batch::{ForwardMode, Input, MicroBatch};
use crate::engine::parallel::{Divide, Split};
use crate::engine::plan::fits_in_l2;
use crate::engine::prefetcher::Prefetcher;
use crate::kernels::ops::targets::Targets;
use crate::network::Network;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// Rows of a prediction, and a micro-batch for every `rows_each` of them, so that each thread has one.
pub(crate) struct PredictionRange<'a, T: Element> {
    pub(crate) network: &'a Network<T>,
    pub(crate) micro_batches: &'a mut [MicroBatch<T>],
    pub(crate) micro_batch_rows: usize,
    pub(crate) rows_each: usize,
    pub(crate) rows: usize,
    pub(crate) x: &'a [T],
    pub(crate) y: &'a mut [T],
    /// How the outputs of large layers are shared among threads.
    pub(crate) split_outputs: Split,
    /// Micro-batches that are not split any further.
    pub(crate) grain: usize,
}

impl<T: Element> Divide for PredictionRange<'_, T> {
    fn pieces(&self) -> usize {
        self.micro_batches.len()
    }

    fn grain(&self) -> usize {
        self.grain
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let rows = left * self.rows_each;
        let rows_right = self.rows - rows;
        let (x, x_right) = self.x.split_at(rows * self.network.inputs());
        let (y, y_right) = self.y.split_at_mut(rows * self.network.outputs());
        let (micro_batches, micro_batches_right) = self.micro_batches.split_at_mut(left);
        (
            Self { micro_batches, rows, x, y, ..self },
            Self { micro_batches: micro_batches_right, rows: rows_right, x: x_right, y: y_right, ..self },
        )
    }
}

impl<T: Element> PredictionRange<'_, T> {
    /// Every row, micro-batch by micro-batch.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>>(&mut self, l: L) {
        let network = self.network;
        let (inputs, outputs) = (network.inputs(), network.outputs());
        // Otherwise L2 has no room beside the weights for the rows of the next micro-batch.
        let mode = ForwardMode {
            output_activation: network.last().activation(),
            dropout_rng: None,
            split_outputs: self.split_outputs,
        };
        let prefetches = fits_in_l2::<T>(network.parameters.len());
        // All of a thread's rows take the buffers of one micro-batch, which stay in the cache.
        let micro_batch = &mut self.micro_batches[0];
        let mut row = 0;
        while row < self.rows {
            let rows = self.micro_batch_rows.min(self.rows - row);
            let next = &self.x[(row + rows) * inputs..];
            let next = &next[..next.len().min(self.micro_batch_rows * inputs)];
            let parts = if prefetches { network.layers.len() } else { 0 };
            let mut prefetcher = Prefetcher::new(next, Targets::EMPTY, parts);
            let input = Input { x: &self.x[row * inputs..][..rows * inputs], rows, unread: None };
            micro_batch.forward(l, network, input, mode, &mut prefetcher);
            micro_batch.read_outputs(l, network, &mut self.y[row * outputs..][..rows * outputs]);
            row += rows;
        }
    }
}
