//! Predictions: ranges of rows, and each range's rows in micro-batches, all in the buffers of one. An
//! evaluation is a prediction with the loss of each row.

use crate::engine::bf16::Bf16Weights;
use crate::engine::micro_batch::{ForwardMode, Input, MicroBatch};
use crate::engine::parallel::{Divide, Split};
use crate::engine::plan::{Plan, fits_in_l2, micro_batch_rows, shard_rows};
use crate::engine::prefetcher::Prefetcher;
use crate::kernels::ops::loss::{ClassWeights, Objective};
use crate::kernels::ops::targets::Targets;
use crate::network::Network;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;
use core::ops::Range;

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
    /// The losses of the rows, if they are wanted.
    pub(crate) losses: Option<LossRange<'a, T>>,
    /// The copies of the weights, in bf16.
    pub(crate) copies: Option<&'a Bf16Weights>,
}

/// The losses of the rows of a range. Their outputs are those that the loss takes: logits, for a loss of
/// logits.
pub(crate) struct LossRange<'a, T: Element> {
    /// Of the whole batch, by reference: a prediction, which has none, would copy its room too.
    pub(crate) objective: &'a Objective<'a, T>,
    pub(crate) classes: &'a ClassWeights<T>,
    /// The row of the batch that the range starts with.
    pub(crate) first_row: usize,
    /// One for each row, to write.
    pub(crate) losses: &'a mut [f64],
}

impl<'a, T: Element> LossRange<'a, T> {
    fn divide(self, rows: usize) -> (Self, Self) {
        let (losses, losses_right) = self.losses.split_at_mut(rows);
        (Self { losses, ..self }, Self { losses: losses_right, first_row: self.first_row + rows, ..self })
    }

    /// The loss over some rows of the range.
    fn of_rows(&self, rows: Range<usize>, outputs: usize) -> Objective<'a, T> {
        self.objective.rows(self.first_row + rows.start..self.first_row + rows.end, outputs)
    }
}

/// The sum of the losses of a batch's rows, in the order in which a trainer of the same network and the same
/// maximum batch size adds them up: see [`total_loss`](crate::engine::batch::total_loss).
pub(crate) fn sum_losses<T: Element>(network: &Network<T>, max_batch: usize, losses: &[f64]) -> f64 {
    let rows = micro_batch_rows::<T>(max_batch, network.parameter_count());
    let plan = Plan::choose::<T>(max_batch, rows, network.parameters.len());
    match plan {
        Plan::TwoPhase => losses.iter().sum(),
        Plan::DepthFirst { .. } => {
            let (rows_each, _) = shard_rows(losses.len(), rows, plan.max_shards());
            losses.chunks(rows_each).map(|shard| shard.iter().fold(0.0, |sum, loss| sum + loss)).sum()
        }
    }
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
        let (losses, losses_right) = self.losses.map(|losses| losses.divide(rows)).unzip();
        (
            Self { micro_batches, rows, x, y, losses, ..self },
            Self {
                micro_batches: micro_batches_right,
                rows: rows_right,
                x: x_right,
                y: y_right,
                losses: losses_right,
                ..self
            },
        )
    }
}

impl<T: Element> PredictionRange<'_, T> {
    /// Every row, micro-batch by micro-batch.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>>(&mut self, l: L) {
        let network = self.network;
        let (inputs, outputs) = (network.inputs(), network.outputs());
        let last = network.last().activation();
        let mode = ForwardMode {
            output_activation: match &self.losses {
                Some(of_rows) => of_rows.objective.loss.output_activation(last),
                None => last,
            },
            heads: &[],
            dropout_rng: None,
            split_outputs: self.split_outputs,
            copies: self.copies,
        };
        // Otherwise L2 has no room beside the weights for the rows of the next micro-batch.
        let prefetches = fits_in_l2::<T>(network.parameters.len());
        // All of a thread's rows take the buffers of one micro-batch, which stay in the cache.
        let micro_batch = &mut self.micro_batches[0];
        let mut row = 0;
        while row < self.rows {
            let rows = self.micro_batch_rows.min(self.rows - row);
            let next = &self.x[(row + rows) * inputs..];
            let next = &next[..next.len().min(self.micro_batch_rows * inputs)];
            // Where no rows follow, to find that out before each layer would take 3 % of a row through
            // 8-64-64-4.
            let parts = if prefetches && !next.is_empty() { network.layers.len() } else { 0 };
            let mut prefetcher = Prefetcher::new(next, Targets::EMPTY, parts);
            let unread = match &self.losses {
                Some(of_rows) => of_rows.of_rows(row..row + rows, outputs).unread(of_rows.classes, outputs),
                None => None,
            };
            let input = Input { x: &self.x[row * inputs..][..rows * inputs], rows, unread };
            micro_batch.forward(l, network, input, mode, &mut prefetcher);
            if let Some(of_rows) = &mut self.losses {
                let objective = of_rows.of_rows(row..row + rows, outputs);
                let losses = &mut of_rows.losses[row..row + rows];
                micro_batch.read_losses(l, network, losses, &objective, of_rows.classes);
            }
            micro_batch.read_outputs(l, network, &mut self.y[row * outputs..][..rows * outputs]);
            row += rows;
        }
    }
}
