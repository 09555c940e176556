//! The rows of a batch on their way through the network: shared out in shards, tile by micro_batch.

use crate::engine::parallel::split_point_pow2;
use core::ops::Range;

use crate::engine::micro_batch::{MicroBatch, MicroBatchInput, OutputGradient};
use crate::engine::parallel::{Divide, Split};
use crate::engine::partition::ParameterPartition;
use crate::engine::plan::Plan;
use crate::engine::prefetcher::Prefetcher;
use crate::kernels::matrix::Beta;
use crate::kernels::ops::dropout::DropoutRng;
use crate::kernels::ops::elementwise;
use crate::kernels::ops::loss::{ClassWeights, Objective};
use crate::kernels::ops::targets::Targets;
use crate::network::Network;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// One run of rows: its buffers and its part of the sums.
#[derive(Clone)]
pub struct GradientShard<T: Element> {
    pub(crate) micro_batch: MicroBatch<T>,
    /// One for each micro-batch of the shard, for a depth-first pass forward that a pass backward follows. Empty until one is
    /// requested, and in the two-phase schedule, where the shard's only micro-batch is kept anyway.
    pub(crate) kept: Vec<MicroBatch<T>>,
    /// The gradient of so many shards' rows, from this one on. Empty in the two-phase schedule.
    pub(crate) gradients: Vec<T::Line>,
    /// 0 where the gradient of another shard has this one's rows.
    pub(crate) summed: usize,
    /// Of the shard's rows, without the scale.
    pub(crate) loss: f64,
    /// For each layer the squares of its outputs, summed. Empty unless they are reported.
    pub(crate) squares: Vec<f64>,
}

/// What a pass over the rows does.
#[derive(Clone, Copy)]
pub enum PassKind<'a, T: Element> {
    /// Forward only.
    Forward,
    /// Forward and a loss.
    Evaluate(Objective<'a, T>),
    /// Forward, a loss, backward.
    Train(Objective<'a, T>),
    /// Backward from the gradient of the outputs, `[batch, outputs]`, through what [`PassKind::Forward`] has kept.
    Backward(&'a [T]),
}

impl<T: Element> PassKind<'_, T> {
    /// What the sum of the rows' losses is multiplied by, if there are any.
    pub(crate) fn loss_scale(self) -> Option<f64> {
        match self {
            Self::Evaluate(objective) | Self::Train(objective) => Some(objective.scale),
            Self::Forward | Self::Backward(_) => None,
        }
    }

    /// Whether there are gradients afterwards; else there are outputs.
    pub(crate) fn goes_back(self) -> bool {
        matches!(self, Self::Train(_) | Self::Backward(_))
    }

    /// Whether the activations of every micro-batch stay, or are there.
    fn keeps(self) -> bool {
        matches!(self, Self::Forward | Self::Backward(_))
    }
}

/// What every thread of a pass reads.
#[derive(Clone, Copy)]
pub struct PassContext<'a, T: Element> {
    pub(crate) network: &'a Network<T>,
    pub(crate) partition: &'a ParameterPartition<T>,
    /// `[batch, inputs]`; empty in a pass that only goes back.
    pub(crate) x: &'a [T],
    pub(crate) batch: usize,
    pub(crate) pass: PassKind<'a, T>,
    pub(crate) classes: &'a ClassWeights<T>,
    pub(crate) rows_each: usize,
    pub(crate) micro_batch_rows: usize,
    pub(crate) plan: Plan,
    /// The pass's dropout, if any layer has it.
    pub(crate) dropout_rng: Option<DropoutRng>,
}

impl<'a, T: Element> PassContext<'a, T> {
    /// What a tile after row `end` reads, if one follows and the weights are few: else these come first, and there is no room for
    /// more in L2.
    fn prefetcher(&self, end: usize) -> Prefetcher<'a, T> {
        let rows = end..self.batch.min(end + self.micro_batch_rows);
        if self.plan == Plan::TwoPhase || rows.is_empty() {
            return Prefetcher::nothing();
        }
        let (layers, inputs, outputs) =
            (self.network.layers.len(), self.network.inputs(), self.network.outputs());
        // Once before each product.
        let (targets, parts) = match self.pass {
            PassKind::Forward => (Targets::EMPTY, layers),
            PassKind::Evaluate(objective) => (objective.targets.rows(rows.clone(), outputs), layers),
            PassKind::Train(objective) => (objective.targets.rows(rows.clone(), outputs), 3 * layers - 1),
            PassKind::Backward(d_outputs) => {
                let d_outputs = Targets::from(d_outputs).rows(rows, outputs);
                return Prefetcher::new(&[], d_outputs, 2 * layers - 1);
            }
        };
        Prefetcher::new(&self.x[rows.start * inputs..rows.end * inputs], targets, parts)
    }
}

/// A run of shards, their rows of the batch, and where the results for the caller go.
pub struct BatchRange<'a, T: Element> {
    pub(crate) shards: &'a mut [GradientShard<T>],
    pub(crate) first_row: usize,
    /// From the first row on, or empty.
    pub(crate) outputs: &'a mut [T],
    /// From the first row on, or empty.
    pub(crate) input_gradients: &'a mut [T],
    pub(crate) shared: PassContext<'a, T>,
    /// Slots that are not shared out any further.
    pub(crate) grain: usize,
}

impl<T: Element> Divide for BatchRange<'_, T> {
    fn pieces(&self) -> usize {
        self.shards.len()
    }

    fn grain(&self) -> usize {
        self.grain
    }

    fn split_point(&self) -> usize {
        match self.shared.plan {
            Plan::TwoPhase => self.shards.len() / 2,
            Plan::DepthFirst { .. } => split_point_pow2(self.shards.len()),
        }
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let (network, rows) = (self.shared.network, left * self.shared.rows_each);
        let (shards, slots_right) = self.shards.split_at_mut(left);
        let outputs = if self.outputs.is_empty() { 0 } else { rows * network.outputs() };
        let (outputs, outputs_right) = self.outputs.split_at_mut(outputs);
        let gradients = if self.input_gradients.is_empty() { 0 } else { rows * network.inputs() };
        let (input_gradients, input_gradients_right) = self.input_gradients.split_at_mut(gradients);
        (
            Self { shards, outputs, input_gradients, ..self },
            Self {
                shards: slots_right,
                first_row: self.first_row + rows,
                outputs: outputs_right,
                input_gradients: input_gradients_right,
                ..self
            },
        )
    }
}

impl<T: Element> BatchRange<'_, T> {
    /// Every tile of every shard, in order.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>>(&mut self, l: L) {
        let count = self.shards.len();
        match self.shared.plan {
            Plan::TwoPhase => (0..count).for_each(|s| self.run_shard(l, s, s)),
            // No gradient is summed.
            Plan::DepthFirst { .. } if !self.shared.pass.goes_back() => {
                (0..count).for_each(|s| self.run_shard(l, 0, s));
            }
            Plan::DepthFirst { .. } => {
                self.sum(l, 0, 0..count);
                self.shards.iter_mut().for_each(|shard| shard.summed = 0);
                self.shards[0].summed = count;
            }
        }
    }

    /// The gradient of some shards' rows, in the buffer of shard `at`: that of the first half of them, and that of the second,
    /// which takes the next buffer. So one thread uses a few buffers and a single tile for all of its shards, and they stay
    /// near; a buffer for each would come from memory.
    fn sum<L: Lanes<Element = T>>(&mut self, l: L, at: usize, shards: Range<usize>) {
        if shards.len() == 1 {
            return self.run_shard(l, at, shards.start);
        }
        let middle = shards.start + split_point_pow2(shards.len());
        self.sum(l, at, shards.start..middle);
        self.swap_micro_batches(at);
        self.sum(l, at + 1, middle..shards.end);
        self.swap_micro_batches(at);
        let (first, second) = self.shards.split_at_mut(at + 1);
        elementwise::add(l, &mut first[at].gradients, &second[0].gradients);
    }

    /// Hands the tile that is near to the next shard, or takes it back.
    fn swap_micro_batches(&mut self, at: usize) {
        let (first, second) = self.shards.split_at_mut(at + 1);
        core::mem::swap(&mut first[at].micro_batch, &mut second[0].micro_batch);
    }

    /// Every micro-batch of shard `s`, with the gradient of shard `at`.
    #[inline(always)]
    fn run_shard<L: Lanes<Element = T>>(&mut self, l: L, at: usize, s: usize) {
        let Self { shards, first_row, outputs, input_gradients, shared, .. } = self;
        let &mut PassContext { network, batch, rows_each, micro_batch_rows, ref pass, .. } = shared;
        let mut row = *first_row + s * rows_each;
        let end = batch.min(row + rows_each);
        let (mut loss, mut start, mut number) = (0.0, Beta::Zero, 0);
        while row < end {
            let rows = row..end.min(row + micro_batch_rows);
            let from = row - *first_row;
            let mut buffers = ShardBuffers::of(shards, at, s, pass.keeps().then_some(number));
            buffers.run(l, shared, rows.clone(), start);
            let micro_batch = &*buffers.micro_batch;
            if !pass.goes_back() {
                let to = &mut outputs[from * network.outputs()..][..rows.len() * network.outputs()];
                micro_batch.read_outputs(l, network, to);
            } else if !input_gradients.is_empty() {
                let to = &mut input_gradients[from * network.inputs()..][..rows.len() * network.inputs()];
                micro_batch.read_input_gradients(l, to);
            }
            if pass.loss_scale().is_some() {
                loss = micro_batch.losses().iter().fold(loss, |sum, loss| sum + loss);
            }
            if !buffers.squares.is_empty() {
                buffers.add_squares(shared, rows.clone());
            }
            (start, number, row) = (Beta::One, number + 1, rows.end);
        }
        self.shards[s].loss = loss;
    }
}

/// What a micro-batch of a shard writes.
struct ShardBuffers<'a, T: Element> {
    micro_batch: &'a mut MicroBatch<T>,
    gradients: &'a mut [T::Line],
    squares: &'a mut [f64],
}

impl<'a, T: Element> ShardBuffers<'a, T> {
    /// Of shard `s`, in the buffers of shard `at`, no later one. Micro-batch number `kept` has its own, if the shard keeps any.
    #[inline(always)]
    fn of(shards: &'a mut [GradientShard<T>], at: usize, s: usize, kept: Option<usize>) -> Self {
        if at == s {
            let GradientShard { micro_batch, kept: all, gradients, squares, .. } = &mut shards[s];
            let micro_batch = kept.and_then(|number| all.get_mut(number)).unwrap_or(micro_batch);
            return Self { micro_batch, gradients, squares };
        }
        let (first, second) = shards.split_at_mut(s);
        let GradientShard { kept: all, squares, .. } = &mut second[0];
        let GradientShard { micro_batch, gradients, .. } = &mut first[at];
        let micro_batch = kept.and_then(|number| all.get_mut(number)).unwrap_or(micro_batch);
        Self { micro_batch, gradients, squares }
    }

    /// Adds the squares of each layer's outputs to those of the shard, in a pass that computes them for training.
    fn add_squares(&mut self, shared: &PassContext<'_, T>, rows: Range<usize>) {
        let &PassContext { network, ref pass, classes, .. } = shared;
        let objective;
        let unread = match pass {
            PassKind::Evaluate(_) | PassKind::Backward(_) => return,
            PassKind::Forward => None,
            PassKind::Train(all) => {
                objective = all.rows(rows, network.outputs());
                objective.unread(classes, network.outputs())
            }
        };
        for (i, sum) in self.squares.iter_mut().enumerate() {
            *sum += self.micro_batch.squares(network, i, unread);
        }
    }

    /// One micro-batch: forward, backward, and its share of the gradient, as the pass says.
    #[inline(always)]
    fn run<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        shared: &PassContext<'_, T>,
        rows: Range<usize>,
        start: Beta,
    ) {
        let &PassContext { network, partition, x, ref pass, classes, .. } = shared;
        // A pass that only goes back has none.
        let x = x.get(rows.start * network.inputs()..rows.end * network.inputs()).unwrap_or_default();
        let last = network.last().activation();
        let dropout_rng = shared.dropout_rng.map(|dropout_rng| dropout_rng.at_row(rows.start));
        let mut prefetcher = shared.prefetcher(rows.end);
        let objective;
        let head = match *pass {
            PassKind::Forward => {
                let input = MicroBatchInput { x, rows: rows.len(), unread: None };
                let (to, layer) = (&mut self.micro_batch, (last, dropout_rng));
                return to.forward(l, network, input, &mut prefetcher, layer, Split::Whole);
            }
            PassKind::Evaluate(ref all) => {
                objective = all.rows(rows.clone(), network.outputs());
                let last = objective.loss.output_activation(last);
                let unread = objective.unread(classes, network.outputs());
                let input = MicroBatchInput { x, rows: rows.len(), unread };
                self.micro_batch.forward(l, network, input, &mut prefetcher, (last, None), Split::Whole);
                return self.micro_batch.loss(l, network, &objective, classes);
            }
            PassKind::Train(ref all) => {
                objective = all.rows(rows.clone(), network.outputs());
                let last = objective.loss.output_activation(last);
                let unread = objective.unread(classes, network.outputs());
                let input = MicroBatchInput { x, rows: rows.len(), unread };
                let (to, layer) = (&mut self.micro_batch, (last, dropout_rng));
                to.forward(l, network, input, &mut prefetcher, layer, Split::Whole);
                OutputGradient::Loss(&objective, classes)
            }
            PassKind::Backward(d_outputs) => OutputGradient::Given(
                &d_outputs[rows.start * network.outputs()..rows.end * network.outputs()],
            ),
        };
        self.micro_batch.backward(l, network, partition, (head, &mut prefetcher));
        if !self.gradients.is_empty() {
            for (i, layer) in network.layers.iter().enumerate().rev() {
                prefetcher.prefetch_next();
                let d_w = &mut self.gradients[layer.lines()];
                self.micro_batch.weight_gradient(l, network, (i, 0), (d_w, start), None);
            }
        }
    }
}

/// The sum of the rows' losses. Of two-phase shards it is one chain over all rows, so that it does not depend on how many a tile
/// has; depth-first it is that of the shards' sums, whose rows follow from the shapes.
pub(crate) fn total_loss<T: Element>(shards: &[GradientShard<T>], plan: Plan) -> f64 {
    match plan {
        Plan::TwoPhase => shards.iter().flat_map(|shard| shard.micro_batch.losses()).sum(),
        Plan::DepthFirst { .. } => shards.iter().map(|shard| shard.loss).sum(),
    }
}

#[cfg(test)]
#[cfg(feature = "rayon")]
mod tests {
    use super::*;
    use crate::engine::parallel::split_point_pow2;
    use crate::engine::parallel::tests::parts;
    use crate::train::executor::Executor;
    use crate::{Activation, Trainer};

    #[test]
    fn a_batch_is_shared_out_slot_by_slot() {
        let network = Network::<f32>::builder(3).dense(2, Activation::Tanh).seed(1).build().unwrap();
        let builder = Trainer::builder(network).max_batch(150);
        let Trainer { network, executor, criterion, .. } = builder.build().unwrap();
        let Executor { partition, mut shards, plan, micro_batch_rows, .. } = executor;
        assert_eq!((plan, micro_batch_rows.most, shards.len()), (Plan::TwoPhase, 64, 3));
        let (x, mut outputs) = ([0.0; 150 * 3], [0.0; 150 * 2]);
        let shared = PassContext {
            network: &network,
            partition: &partition,
            x: &x,
            batch: 150,
            pass: PassKind::Forward,
            classes: &criterion.classes,
            rows_each: 64,
            micro_batch_rows: 64,
            plan,
            dropout_rng: None,
        };
        let (shards, outputs) = (&mut shards[..], &mut outputs[..]);
        let rows = BatchRange { shards, first_row: 0, outputs, input_gradients: &mut [], shared, grain: 1 };
        let of_part = |rows: &BatchRange<'_, f32>| (rows.first_row, rows.shards.len(), rows.outputs.len());
        let expected = [(0, 1, 64 * 2), (64, 1, 64 * 2), (128, 1, 22 * 2)];
        assert_eq!(parts(Split::Pieces, rows, of_part), expected);
    }

    #[test]
    fn slots_are_cut_in_two_so_that_pairs_stay_together() {
        assert_eq!([2, 3, 4, 5, 29, 32, 64].map(split_point_pow2), [1, 2, 2, 4, 16, 16, 32]);
        // Runs of up to three of 29 shards.
        let network = Network::<f32>::builder(3).dense(2, Activation::Tanh).seed(1).build().unwrap();
        let builder = Trainer::builder(network).max_batch(35 * 2 * 64);
        let Trainer { network, executor, criterion, .. } = builder.build().unwrap();
        let Executor { partition, mut shards, plan, .. } = executor;
        assert_eq!((plan, shards.len()), (Plan::DepthFirst { shards: 35 }, 35));
        let shared = PassContext {
            network: &network,
            partition: &partition,
            x: &[],
            batch: 29 * 320,
            pass: PassKind::Backward(&[]),
            classes: &criterion.classes,
            rows_each: 320,
            micro_batch_rows: 64,
            dropout_rng: None,
            plan,
        };
        let (shards, outputs) = (&mut shards[..29], &mut [0.0; 29 * 320 * 2][..]);
        let rows = BatchRange { shards, first_row: 0, outputs, input_gradients: &mut [], shared, grain: 3 };
        let of_part = |rows: &BatchRange<'_, f32>| (rows.first_row / 320, rows.shards.len());
        let expected = (0..14).map(|pair| (2 * pair, 2)).chain([(28, 1)]).collect::<Vec<_>>();
        assert_eq!(parts(Split::Pieces, rows, of_part), expected);
    }
}
