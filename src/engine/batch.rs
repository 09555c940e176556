//! Batches: the rows of a step in gradient shards, and each shard's rows in micro-batches.
//!
//! A shard is the unit of work of a thread. In the two-phase schedule it is one micro-batch, whose
//! activations stay until the parameters' blocks multiply them into the gradient (`update.rs`); depth-first
//! it is several, each multiplied into the shard's gradient before the next one starts.

use core::ops::Range;

use crate::engine::heads::HeadTerm;
use crate::engine::micro_batch::{ForwardMode, Input, LayerGradient, MicroBatch, OutputGradient};
use crate::engine::parallel::{Divide, Split, split_point_pow2};
use crate::engine::partition::ParameterPartition;
use crate::engine::plan::{Plan, forward_flop, step_flop};
use crate::engine::prefetcher::Prefetcher;
use crate::engine::squared_norm::SquaredNorm;
use crate::kernels::matrix::Beta;
use crate::kernels::ops::dropout::DropoutRng;
use crate::kernels::ops::elementwise;
use crate::kernels::ops::loss::{ClassWeights, Objective, UnreadRows};
use crate::kernels::ops::targets::Targets;
use crate::network::Network;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// A run of rows: its buffers and its part of the sums over the batch.
#[derive(Clone)]
pub(crate) struct GradientShard<T: Element> {
    pub(crate) micro_batch: MicroBatch<T>,
    /// One for each micro-batch of the shard, for a depth-first pass forward that a pass backward follows.
    /// Empty until one is requested, and in the two-phase schedule, where the shard's only micro-batch
    /// caches its activations.
    pub(crate) forward_cache: Vec<MicroBatch<T>>,
    /// The gradient of the rows of `summed` shards, from this one on. Empty in the two-phase schedule.
    pub(crate) gradients: Vec<T::Line>,
    /// 0 where the gradient of another shard includes this one's rows.
    pub(crate) summed: usize,
    /// The sum of the rows' losses, without the scale.
    pub(crate) loss: f64,
    /// For each layer the squared norm of its outputs. Empty without layer statistics.
    pub(crate) squares: Vec<SquaredNorm>,
}

/// The kind of a pass over the rows of a batch.
#[derive(Clone, Copy)]
pub(crate) enum PassKind<'a, T: Element> {
    /// Forward only.
    Forward,
    /// Forward and a loss.
    Evaluate(Objective<'a, T>),
    /// Forward, a loss, backward.
    Train(Objective<'a, T>),
    /// Forward, and the weighted sum of the losses of all heads.
    EvaluateHeads(&'a [HeadTerm<'a, T>]),
    /// Forward, the losses of all heads, backward.
    TrainHeads(&'a [HeadTerm<'a, T>]),
    /// Backward from the gradient of the outputs, `[batch, outputs]`, through the activations that the last
    /// [`PassKind::Forward`] cached.
    Backward(&'a [T]),
}

impl<'a, T: Element> PassKind<'a, T> {
    /// The losses of heads, if there are several.
    fn heads(self) -> &'a [HeadTerm<'a, T>] {
        match self {
            Self::EvaluateHeads(heads) | Self::TrainHeads(heads) => heads,
            Self::Forward | Self::Evaluate(_) | Self::Train(_) | Self::Backward(_) => &[],
        }
    }

    /// The factor of the sum of the rows' losses, if the pass has losses.
    pub(crate) fn loss_scale(self) -> Option<f64> {
        match self {
            Self::Evaluate(objective) | Self::Train(objective) => Some(objective.scale),
            // Each head's is in its rows' losses.
            Self::EvaluateHeads(_) | Self::TrainHeads(_) => Some(1.0),
            Self::Forward | Self::Backward(_) => None,
        }
    }

    /// Whether the pass computes gradients; otherwise it computes outputs.
    pub(crate) fn goes_back(self) -> bool {
        matches!(self, Self::Train(_) | Self::TrainHeads(_) | Self::Backward(_))
    }

    /// Whether the pass draws the elements that dropout leaves out, if it has dropout.
    pub(crate) fn draws_dropout(self) -> bool {
        matches!(self, Self::Forward | Self::Train(_) | Self::TrainHeads(_))
    }

    /// Floating-point operations of the pass: two for each multiply-add of its products.
    pub(crate) fn flop(self, rows: usize, parameters: usize) -> usize {
        match self {
            Self::Forward | Self::Evaluate(_) | Self::EvaluateHeads(_) => forward_flop(rows, parameters),
            Self::Backward(_) => forward_flop(rows, parameters).saturating_mul(2),
            Self::Train(_) | Self::TrainHeads(_) => step_flop(rows, parameters),
        }
    }

    /// Whether the activations of every micro-batch of the batch are cached, by this pass or before it.
    fn uses_forward_cache(self) -> bool {
        matches!(self, Self::Forward | Self::Backward(_))
    }
}

/// What every thread of a pass reads.
#[derive(Clone, Copy)]
pub(crate) struct PassContext<'a, T: Element> {
    pub(crate) network: &'a Network<T>,
    pub(crate) partition: &'a ParameterPartition<T>,
    /// `[batch, inputs]`; empty in a pass that only goes back.
    pub(crate) x: &'a [T],
    pub(crate) batch: usize,
    pub(crate) pass: PassKind<'a, T>,
    pub(crate) classes: &'a ClassWeights<T>,
    /// Rows of each shard but the last.
    pub(crate) rows_each: usize,
    pub(crate) micro_batch_rows: usize,
    pub(crate) plan: Plan,
    /// The random bits of the pass, if any layer has dropout.
    pub(crate) dropout_rng: Option<DropoutRng>,
}

impl<'a, T: Element> PassContext<'a, T> {
    /// Whether the gradients of shards are summed while the pass runs, by the thread that has the shards.
    fn sums_shards(&self) -> bool {
        self.plan != Plan::TwoPhase && self.pass.goes_back()
    }

    fn input(&self, rows: &Range<usize>) -> Input<'a, T> {
        let inputs = self.network.inputs();
        let x = &self.x[rows.start * inputs..rows.end * inputs];
        Input { x, rows: rows.len(), unread: self.unread(rows) }
    }

    /// The rows that weigh nothing in the pass, counted from the first of some rows, if any can.
    fn unread(&self, rows: &Range<usize>) -> Option<UnreadRows<'a, T>> {
        match self.pass {
            // Rows that one head does not read, another may.
            PassKind::EvaluateHeads(_) | PassKind::TrainHeads(_) => None,
            PassKind::Forward | PassKind::Backward(_) => None,
            PassKind::Evaluate(objective) | PassKind::Train(objective) => {
                let outputs = self.network.outputs();
                objective.rows(rows.clone(), outputs).unread(self.classes, outputs)
            }
        }
    }

    /// How the rows from `first_row` on go forward, or nothing in a pass that only goes back.
    fn forward_mode(&self, first_row: usize) -> Option<ForwardMode<'a, T>> {
        let last = self.network.last().activation();
        let dropout_rng = self.dropout_rng.map(|dropout_rng| dropout_rng.at_row(first_row));
        let (output_activation, dropout_rng) = match self.pass {
            PassKind::Backward(_) => return None,
            PassKind::Forward | PassKind::TrainHeads(_) => (last, dropout_rng),
            PassKind::EvaluateHeads(_) => (last, None),
            PassKind::Evaluate(objective) => (objective.loss.output_activation(last), None),
            PassKind::Train(objective) => (objective.loss.output_activation(last), dropout_rng),
        };
        let copies = self.partition.bf16.as_ref();
        let (split_outputs, heads) = (Split::Whole, self.pass.heads());
        Some(ForwardMode { output_activation, heads, dropout_rng, split_outputs, copies })
    }

    /// The rows of the micro-batch that starts at row `end`, if there is one and the schedule is depth-first:
    /// in the two-phase schedule weights and activations leave no room for them in L2.
    fn prefetcher(&self, end: usize) -> Prefetcher<'a, T> {
        let rows = end..self.batch.min(end + self.micro_batch_rows);
        if self.plan == Plan::TwoPhase || rows.is_empty() {
            return Prefetcher::nothing();
        }
        let (layers, outputs) = (self.network.layers.len(), self.network.outputs());
        let with_gradients = self.network.layers.iter().filter(|layer| layer.kind().has_parameters()).count();
        let back = with_gradients + self.network.layers.backward_layers(false);
        // One part before each product.
        let (targets, parts) = match self.pass {
            PassKind::Forward | PassKind::EvaluateHeads(_) => (Targets::EMPTY, layers),
            PassKind::TrainHeads(_) => (Targets::EMPTY, layers + back),
            PassKind::Evaluate(objective) => (objective.rows(rows.clone(), outputs).targets, layers),
            PassKind::Train(objective) => (objective.rows(rows.clone(), outputs).targets, layers + back),
            PassKind::Backward(d_outputs) => {
                let d_outputs = Targets::from(d_outputs).rows(rows, outputs);
                return Prefetcher::new(&[], d_outputs, back);
            }
        };
        Prefetcher::new(self.input(&rows).x, targets, parts)
    }
}

/// A run of shards, their rows of the batch, and the destination of the caller's results.
pub(crate) struct BatchRange<'a, T: Element> {
    pub(crate) shards: &'a mut [GradientShard<T>],
    pub(crate) first_row: usize,
    /// From the first row on, or empty in a pass that goes back.
    pub(crate) outputs: &'a mut [T],
    /// From the first row on, or empty.
    pub(crate) input_gradients: &'a mut [T],
    pub(crate) shared: PassContext<'a, T>,
    /// Shards that are not split any further.
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
        let (shards, shards_right) = self.shards.split_at_mut(left);
        let outputs = if self.outputs.is_empty() { 0 } else { rows * network.outputs() };
        let (outputs, outputs_right) = self.outputs.split_at_mut(outputs);
        let gradients = if self.input_gradients.is_empty() { 0 } else { rows * network.inputs() };
        let (input_gradients, input_gradients_right) = self.input_gradients.split_at_mut(gradients);
        (
            Self { shards, outputs, input_gradients, ..self },
            Self {
                shards: shards_right,
                first_row: self.first_row + rows,
                outputs: outputs_right,
                input_gradients: input_gradients_right,
                ..self
            },
        )
    }
}

/// One shard of a range, and the shards whose buffers its rows take.
#[derive(Clone, Copy)]
struct ShardPlace {
    shard: usize,
    micro_batch: usize,
    gradients: usize,
    /// The micro-batch of the shard's forward cache that takes the rows, if it is used.
    forward_cache: Option<usize>,
}

impl<T: Element> BatchRange<'_, T> {
    /// Every micro-batch of every shard, in order, forward and as far as the pass goes.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>>(&mut self, l: L) {
        for s in 0..self.shards.len() {
            let mut place = self.place(s);
            let PassContext { network, batch, rows_each, micro_batch_rows, .. } = self.shared;
            let mut row = self.first_row + s * rows_each;
            let end = batch.min(row + rows_each);
            let mut beta = Beta::Zero;
            self.shards[s].loss = 0.0;
            while row < end {
                let rows = row..end.min(row + micro_batch_rows);
                let mut prefetcher = self.shared.prefetcher(rows.end);
                if let Some(mode) = self.shared.forward_mode(rows.start) {
                    let input = self.shared.input(&rows);
                    let (micro_batch, _) = buffers(self.shards, place);
                    micro_batch.forward(l, network, input, mode, &mut prefetcher);
                }
                self.finish_micro_batch(l, place, &rows, beta, &mut prefetcher);
                self.read_results(l, place, &rows);
                beta = Beta::One;
                row = rows.end;
                place.forward_cache = place.forward_cache.map(|number| number + 1);
            }
            if self.shared.sums_shards() {
                self.sum_shards(l, s);
            }
        }
    }

    /// The buffers of a shard's rows: its own in the two-phase schedule. Depth-first, all shards of a range
    /// take the first one's micro-batch, and their gradients as few buffers as there are sums at a time, see
    /// [`BatchRange::sum_shards`]: so they stay in the cache, where a buffer for each would come from memory.
    #[inline(always)]
    fn place(&self, s: usize) -> ShardPlace {
        let is_cached = self.shared.pass.uses_forward_cache() && !self.shards[s].forward_cache.is_empty();
        let forward_cache = is_cached.then_some(0);
        match self.shared.plan {
            Plan::TwoPhase => ShardPlace { shard: s, micro_batch: s, gradients: s, forward_cache },
            Plan::DepthFirst { .. } => {
                ShardPlace { shard: s, micro_batch: 0, gradients: s.count_ones() as usize, forward_cache }
            }
        }
    }

    /// What follows the forward pass of a micro-batch: the loss, the backward pass, its part of the shard's
    /// gradient.
    #[inline(always)]
    fn finish_micro_batch<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        place: ShardPlace,
        rows: &Range<usize>,
        beta: Beta,
        prefetcher: &mut Prefetcher<'_, T>,
    ) {
        let PassContext { network, partition, pass, classes, .. } = self.shared;
        let outputs = network.outputs();
        let (micro_batch, gradients) = buffers(self.shards, place);
        let objective;
        let output_gradient = match pass {
            PassKind::Forward => return,
            PassKind::Evaluate(of_batch) => {
                return micro_batch.loss(l, network, &of_batch.rows(rows.clone(), outputs), classes);
            }
            PassKind::EvaluateHeads(heads) => return micro_batch.head_losses(l, network, heads, rows),
            PassKind::TrainHeads(heads) => OutputGradient::Heads(heads, rows),
            PassKind::Train(of_batch) => {
                objective = of_batch.rows(rows.clone(), outputs);
                OutputGradient::Loss(&objective, classes)
            }
            PassKind::Backward(d_outputs) => {
                OutputGradient::Given(&d_outputs[rows.start * outputs..rows.end * outputs])
            }
        };
        micro_batch.backward(l, network, partition, output_gradient, prefetcher);
        if !gradients.is_empty() {
            for (i, layer) in network.layers.iter().enumerate().rev() {
                if !layer.kind().has_parameters() {
                    continue;
                }
                prefetcher.prefetch_next();
                let d_w = &mut gradients[layer.lines()];
                let gradient = LayerGradient { layer: i, first_panel: 0, d_w, beta };
                micro_batch.weight_gradient(l, &network.layers, gradient, None);
            }
        }
    }

    /// The outputs or input gradients of a micro-batch for the caller, and its losses and squares for its
    /// shard.
    #[inline(always)]
    fn read_results<L: Lanes<Element = T>>(&mut self, l: L, place: ShardPlace, rows: &Range<usize>) {
        let PassContext { network, pass, .. } = self.shared;
        let (inputs, outputs) = (network.inputs(), network.outputs());
        let (micro_batch, _) = buffers(self.shards, place);
        let first = rows.start - self.first_row;
        if !pass.goes_back() {
            micro_batch.read_outputs(
                l,
                network,
                &mut self.outputs[first * outputs..][..rows.len() * outputs],
            );
        } else if !self.input_gradients.is_empty() {
            let to = &mut self.input_gradients[first * inputs..][..rows.len() * inputs];
            micro_batch.read_input_gradients(l, to);
        }
        if pass.loss_scale().is_some() {
            let loss = self.shards[place.shard].loss;
            let (micro_batch, _) = buffers(self.shards, place);
            let loss = micro_batch.losses().iter().fold(loss, |sum, loss| sum + loss);
            self.shards[place.shard].loss = loss;
        }
        if pass.draws_dropout() {
            let unread = self.shared.unread(rows);
            for i in 0..self.shards[place.shard].squares.len() {
                let (micro_batch, _) = buffers(self.shards, place);
                let square = micro_batch.squared_norm(network, i, unread);
                let squares = &mut self.shards[place.shard].squares;
                squares[i] = squares[i].plus(square);
            }
        }
    }

    /// Sums the gradients of shards up to `s` in pairs, pairs of pairs, and so on: two sums of equally many
    /// shards become one as soon as there are two, as the digits of a binary counter carry. After the last
    /// shard all become one, the shortest first.
    fn sum_shards<L: Lanes<Element = T>>(&mut self, l: L, s: usize) {
        let count = s + 1;
        let sums = if count == self.shards.len() { 1 } else { count.count_ones() as usize };
        for sum in (sums..=s.count_ones() as usize).rev() {
            let (first, second) = self.shards.split_at_mut(sum);
            elementwise::add(l, &mut first[sum - 1].gradients, &second[0].gradients);
        }
        self.shards[s].summed = 0;
        if count == self.shards.len() {
            self.shards[0].summed = count;
        }
    }
}

/// The buffers at a place. The gradient never lies before the micro-batch that shards share, nor after the
/// shard.
#[inline(always)]
fn buffers<T: Element>(
    shards: &mut [GradientShard<T>],
    place: ShardPlace,
) -> (&mut MicroBatch<T>, &mut [T::Line]) {
    if let Some(number) = place.forward_cache {
        if place.shard == place.gradients {
            let GradientShard { forward_cache, gradients, .. } = &mut shards[place.shard];
            return (&mut forward_cache[number], gradients);
        }
        let (first, second) = shards.split_at_mut(place.shard);
        return (&mut second[0].forward_cache[number], &mut first[place.gradients].gradients);
    }
    if place.micro_batch == place.gradients {
        let GradientShard { micro_batch, gradients, .. } = &mut shards[place.micro_batch];
        return (micro_batch, gradients);
    }
    let (first, second) = shards.split_at_mut(place.gradients);
    (&mut first[place.micro_batch].micro_batch, &mut second[0].gradients)
}

/// The sum of the rows' losses. Two-phase it is one chain over all rows, so that it does not depend on the
/// rows of a micro-batch; depth-first it is the sum of the shards' sums, whose rows follow from the shapes.
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

    /// A pass over rows in shards of `rows_each`.
    fn context<'a>(
        trainer: &'a Trainer<f32>,
        x: &'a [f32],
        batch: usize,
        pass: PassKind<'a, f32>,
        rows_each: usize,
    ) -> PassContext<'a, f32> {
        let Trainer { network, executor, criterion, .. } = trainer;
        PassContext {
            network,
            partition: &executor.partition,
            x,
            batch,
            pass,
            classes: &criterion.classes,
            rows_each,
            micro_batch_rows: 64,
            plan: executor.plan,
            dropout_rng: None,
        }
    }

    fn trainer(max_batch: usize) -> Trainer<f32> {
        let network = Network::<f32>::builder(3).dense(2, Activation::Tanh).seed(1).build().unwrap();
        Trainer::builder(network).max_batch(max_batch).build().unwrap()
    }

    #[test]
    fn a_batch_is_shared_out_shard_by_shard() {
        let trainer = trainer(150);
        let Executor { plan, micro_batch_rows, .. } = trainer.executor;
        let mut shards = trainer.executor.shards.clone();
        assert_eq!((plan, micro_batch_rows.most, shards.len()), (Plan::TwoPhase, 64, 3));
        let (x, mut outputs) = ([0.0; 150 * 3], [0.0; 150 * 2]);
        let shared = context(&trainer, &x, 150, PassKind::Forward, 64);
        let (shards, outputs) = (&mut shards[..], &mut outputs[..]);
        let rows = BatchRange { shards, first_row: 0, outputs, input_gradients: &mut [], shared, grain: 1 };
        let of_part = |rows: &BatchRange<'_, f32>| (rows.first_row, rows.shards.len(), rows.outputs.len());
        let expected = [(0, 1, 64 * 2), (64, 1, 64 * 2), (128, 1, 22 * 2)];
        assert_eq!(parts(Split::Pieces, rows, of_part), expected);
    }

    #[test]
    fn shards_are_split_so_that_pairs_stay_together() {
        assert_eq!([2, 3, 4, 5, 29, 32, 64].map(split_point_pow2), [1, 2, 2, 4, 16, 16, 32]);
        // Runs of up to three of 29 shards.
        let trainer = trainer(35 * 2 * 64);
        let mut shards = trainer.executor.shards.clone();
        assert_eq!((trainer.executor.plan, shards.len()), (Plan::DepthFirst { shards: 35 }, 35));
        let shared = context(&trainer, &[], 29 * 320, PassKind::Backward(&[]), 320);
        let (shards, outputs) = (&mut shards[..29], &mut [0.0; 29 * 320 * 2][..]);
        let rows = BatchRange { shards, first_row: 0, outputs, input_gradients: &mut [], shared, grain: 3 };
        let of_part = |rows: &BatchRange<'_, f32>| (rows.first_row / 320, rows.shards.len());
        let expected = (0..14).map(|pair| (2 * pair, 2)).chain([(28, 1)]).collect::<Vec<_>>();
        assert_eq!(parts(Split::Pieces, rows, of_part), expected);
    }
}
