//! The second half of a step. Parameters have partition: their gradient is summed, the optimizer applied and the
//! transposed copy renewed by one task, one after the other while they are near.

use crate::engine::parallel::split_point_pow2;
use crate::error::Argument;
use core::ops::Range;

use crate::engine::batch::GradientShard;
use crate::engine::dispatch::Engine;
use crate::engine::parallel::{Divide, Split, split_point_of};
use crate::engine::partition::{ParameterBlock, ParameterPartition, refresh_transposed};
use crate::error::Error;
use crate::kernels::gemm::weight_gradient::FusedSgd;
use crate::kernels::matrix::Beta;
use crate::kernels::ops::optimizer::{MAX_MOMENTS, Update};
use crate::kernels::ops::{elementwise, optimizer};
use crate::network::{LayerKind, Network, clear_biases};
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;
use crate::simd::scalar::Line;

/// What the second half of a step does.
#[derive(Clone, Copy)]
pub(crate) struct Finish {
    /// The gradient is summed over the batch.
    pub(crate) sum: Option<Beta>,
    /// The squared norm of the gradient is taken, clipping or not.
    pub(crate) measure: bool,
    /// What stands before the update.
    pub(crate) clipping: GradientClipping,
    /// The parameters are updated by the gradient.
    pub(crate) update: Option<Update>,
}

impl Finish {
    pub(crate) const NOTHING: Self =
        Self { sum: None, measure: false, clipping: GradientClipping::NONE, update: None };
}

/// What stands between a gradient and its update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GradientClipping {
    /// Largest norm of the gradient.
    pub(crate) norm: f64,
    /// Largest magnitude of an element.
    pub(crate) value: f64,
    /// Whether the gradient and the loss must be finite.
    pub(crate) finite: bool,
}

impl GradientClipping {
    pub(crate) const NONE: Self = Self { norm: f64::INFINITY, value: f64::INFINITY, finite: false };

    pub(crate) fn check(self) -> Result<Self, Error> {
        let limits = [(Argument::GradientNormLimit, self.norm), (Argument::GradientValueLimit, self.value)];
        match limits.into_iter().find(|(_, limit)| limit.is_nan() || *limit <= 0.0) {
            Some((what, value)) => Err(Error::Setting { argument: what, value }),
            None => Ok(self),
        }
    }

    /// Whether the norm must be known before the update.
    pub(crate) fn measures(self) -> bool {
        self.finite || self.norm < f64::INFINITY
    }

    /// What the gradient is multiplied by: PyTorch's quotient, with its clipping against 0.
    fn scale(self, squares: &[f64]) -> f64 {
        if self.norm == f64::INFINITY {
            return 1.0;
        }
        let quotient = self.norm / (squares.iter().sum::<f64>().sqrt() + 1e-6);
        // A norm that is not a number does not leave the gradient as it is.
        if quotient >= 1.0 { 1.0 } else { quotient }
    }
}

/// All that the second half of a step reads and writes.
pub(crate) struct Parts<'a, T: Element> {
    pub(crate) network: &'a mut Network<T>,
    pub(crate) engine: &'static dyn Engine<T>,
    pub(crate) partition: &'a mut ParameterPartition<T>,
    pub(crate) gradients: &'a mut [T::Line],
    pub(crate) moments: [&'a mut [T::Line]; MAX_MOMENTS],
    /// The squared norm of each panel's gradient: whatever the blocks, they are added up in one order.
    pub(crate) squares: &'a mut [f64],
    pub(crate) shards: &'a [GradientShard<T>],
    /// Updates so far.
    pub(crate) steps: u64,
}

/// Sums the gradient, looks at it and updates the parameters, as `finish` says.
pub(crate) fn complete<T: Element>(
    split: Split,
    mut parts: Parts<'_, T>,
    loss: f64,
    finish: &Finish,
) -> Result<(), Error> {
    let &Finish { sum, measure, clipping, ref update } = finish;
    // A norm, or a refusal, follows from all blocks: none is updated before all are summed.
    let needs_all = clipping.measures() && update.is_some() || clipping.finite && sum.is_some();
    if needs_all {
        if clipping.finite && !loss.is_finite() {
            return Err(Error::NonFinite { argument: Argument::Loss, step: parts.steps + 1, layer: None });
        }
        parts.each_block(split, sum, true, None);
        if clipping.finite {
            parts.check_gradient()?;
        }
        let scale = clipping.scale(parts.squares);
        let update = update.map(|update| Update { scale, ..update });
        parts.each_block(split, None, false, update.as_ref());
    } else {
        parts.each_block(split, sum, measure, update.as_ref());
    }
    Ok(())
}

impl<T: Element> Parts<'_, T> {
    /// Any of the three, block by block, each by its owner.
    fn each_block(&mut self, split: Split, sum: Option<Beta>, measure: bool, update: Option<&Update>) {
        if sum.is_none() && !measure && update.is_none() {
            return;
        }
        let shards = self.shards;
        // The network is read by the sums (its shapes) while its parameters are lent out to their partition.
        let mut parameters = core::mem::take(&mut self.network.parameters);
        let lines = BlockLines {
            parameters: &mut parameters,
            gradients: self.gradients,
            moments: self.moments.each_mut().map(|moment| &mut **moment),
            transposed: &mut self.partition.transposed,
        };
        let owned = ParameterBlocks { blocks: &self.partition.blocks, lines, squares: self.squares };
        let (network, engine) = (&*self.network, self.engine);
        let work = UpdatePlan { network, shards, sum, measure, update };
        split.for_each(owned, &|owned| engine.update_blocks(owned, &work));
        self.network.parameters = parameters;
    }

    /// Refuses a measured gradient that is not finite.
    fn check_gradient(&self) -> Result<(), Error> {
        let mut rest = &*self.squares;
        for block in &self.partition.blocks {
            let squares;
            (squares, rest) = rest.split_at(block.panels);
            if !squares.iter().all(|square| square.is_finite()) {
                let (step, layer) = (self.steps + 1, Some(block.layer));
                return Err(Error::NonFinite { argument: Argument::Gradient, step, layer });
            }
        }
        Ok(())
    }
}

/// Whether each shard has summed the gradient of its rows.
fn are_summed<T: Element>(shards: &[GradientShard<T>]) -> bool {
    shards.first().is_some_and(|shard| shard.summed > 0)
}

/// The gradient of a block's parameters: over the shards' micro_batches, or of the shards' own sums. The last tile takes the `descent`.
#[inline(always)]
fn sum_gradient<T: Element, L: Lanes<Element = T>>(
    l: L,
    network: &Network<T>,
    block: &ParameterBlock,
    gradients: &mut [T::Line],
    (shards, mut start): (&[GradientShard<T>], Beta),
    mut descent: Option<FusedSgd<'_, T>>,
) {
    if are_summed(shards) {
        return sum_slots(l, gradients, shards, block.first_line, start);
    }
    for (i, shard) in shards.iter().enumerate() {
        let descent = if i + 1 == shards.len() { descent.take() } else { None };
        let place = (block.layer, block.first_panel);
        shard.micro_batch.weight_gradient(l, network, place, (gradients, start), descent);
        start = Beta::One;
    }
}

/// The shards' own sums, from line `first` of each on, a few lines at a time.
fn sum_slots<T: Element, L: Lanes<Element = T>>(
    l: L,
    to: &mut [T::Line],
    shards: &[GradientShard<T>],
    mut first: usize,
    start: Beta,
) {
    for to in to.chunks_mut(LINES_TOGETHER) {
        if start == Beta::Zero {
            sum_pairs(l, to, shards, first);
        } else {
            let mut sum = [T::Line::ZERO; LINES_TOGETHER];
            let sum = &mut sum[..to.len()];
            sum_pairs(l, sum, shards, first);
            elementwise::add(l, to, sum);
        }
        first += to.len();
    }
}

/// BlockLines that are summed over the shards at a time: they stay in L1 meanwhile.
const LINES_TOGETHER: usize = 32;

/// The sum over some shards: that of one half and that of the other, down to those that [`BatchRange::run`](crate::engine::batch::BatchRange::run)
/// has summed already.
fn sum_pairs<T: Element, L: Lanes<Element = T>>(
    l: L,
    to: &mut [T::Line],
    shards: &[GradientShard<T>],
    first: usize,
) {
    if shards[0].summed == shards.len() {
        return to.copy_from_slice(&shards[0].gradients[first..][..to.len()]);
    }
    let (left, right) = shards.split_at(split_point_pow2(shards.len()));
    sum_pairs(l, to, left, first);
    let mut sum = [T::Line::ZERO; LINES_TOGETHER];
    let sum = &mut sum[..to.len()];
    sum_pairs(l, sum, right, first);
    elementwise::add(l, to, sum);
}

/// What is done with each block of parameters by its owner: any of the three.
#[derive(Clone, Copy)]
pub struct UpdatePlan<'a, T: Element> {
    network: &'a Network<T>,
    shards: &'a [GradientShard<T>],
    /// Its gradient is summed.
    sum: Option<Beta>,
    /// The squares of its gradient are summed.
    measure: bool,
    /// It is updated.
    update: Option<&'a Update>,
}

impl<T: Element> UpdatePlan<'_, T> {
    /// The learning rate, if the gradient's last tile takes the step of a block's parameters: plain gradient descent, of whole
    /// panels, for lanes past the last output are garbage until the whole gradient is there.
    fn descent(&self, block: &ParameterBlock) -> Option<f64> {
        let by_tiles = self.sum.is_some() && !are_summed(self.shards) && !self.shards.is_empty();
        let is_dense = self.network.layers[block.layer].kind() == LayerKind::Dense;
        let whole_panels = block.outputs / T::LANES >= block.lines / (1 + block.columns);
        self.update?.plain_descent().filter(|_| by_tiles && is_dense && whole_panels)
    }
}

/// A run of blocks with all that belongs to them.
pub struct ParameterBlocks<'a, T: Element> {
    blocks: &'a [ParameterBlock],
    lines: BlockLines<'a, T>,
    /// The squared norm of each panel's gradient.
    squares: &'a mut [f64],
}

/// The lines that belong to some adjacent blocks.
struct BlockLines<'a, T: Element> {
    parameters: &'a mut [T::Line],
    gradients: &'a mut [T::Line],
    /// What the optimizer keeps beside each parameter; those that it does not need are empty.
    moments: [&'a mut [T::Line]; MAX_MOMENTS],
    transposed: &'a mut [T::Line],
}

impl<T: Element> BlockLines<'_, T> {
    /// Some lines, of them all and of the transposed.
    #[inline(always)]
    fn part(&mut self, lines: Range<usize>, transposed: Range<usize>) -> BlockLines<'_, T> {
        BlockLines {
            parameters: &mut self.parameters[lines.clone()],
            gradients: &mut self.gradients[lines.clone()],
            moments: {
                let [first, second, third] = &mut self.moments;
                [part(first, &lines), part(second, &lines), part(third, &lines)]
            },
            transposed: &mut self.transposed[transposed],
        }
    }

    /// The first so many lines, of them all and of the transposed, and the others.
    #[inline(always)]
    fn split(self, lines: usize, transposed: usize) -> (Self, Self) {
        let (parameters, parameters_right) = self.parameters.split_at_mut(lines);
        let (gradients, gradients_right) = self.gradients.split_at_mut(lines);
        let (transposed, transposed_right) = self.transposed.split_at_mut(transposed);
        let [a, b, c] = self.moments.map(
            #[inline(always)]
            |moment| moment.split_at_mut(lines.min(moment.len())),
        );
        (
            Self { parameters, gradients, moments: [a.0, b.0, c.0], transposed },
            Self {
                parameters: parameters_right,
                gradients: gradients_right,
                moments: [a.1, b.1, c.1],
                transposed: transposed_right,
            },
        )
    }
}

/// Some lines of a moment, none of one that the optimizer does not keep.
#[inline(always)]
fn part<'a, L>(moment: &'a mut [L], lines: &Range<usize>) -> &'a mut [L] {
    if moment.is_empty() { &mut [] } else { &mut moment[lines.clone()] }
}

impl<T: Element> Divide for ParameterBlocks<'_, T> {
    fn pieces(&self) -> usize {
        self.blocks.len()
    }

    /// By lines: blocks of one layer are longer than those of another.
    fn split_point(&self) -> usize {
        split_point_of(self.blocks.iter().map(|block| block.lines))
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let (blocks, groups_right) = self.blocks.split_at(left);
        let panels = blocks.iter().map(|block| block.panels).sum();
        let (squares, squares_right) = self.squares.split_at_mut(panels);
        let lines = blocks.iter().map(|block| block.lines).sum();
        let transposed = blocks.iter().map(|block| block.transposed).sum();
        let (lines, lines_right) = self.lines.split(lines, transposed);
        (
            Self { blocks, lines, squares },
            Self { blocks: groups_right, lines: lines_right, squares: squares_right },
        )
    }
}

impl<T: Element> ParameterBlocks<'_, T> {
    /// Does the work block by block.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>>(&mut self, l: L, work: &UpdatePlan<'_, T>) {
        let &UpdatePlan { network, shards, sum, measure, update } = work;
        let (mut first, mut first_transposed) = (0, 0);
        let mut squares = self.squares.iter_mut();
        for block in self.blocks {
            let lines = self
                .lines
                .part(first..first + block.lines, first_transposed..first_transposed + block.transposed);
            (first, first_transposed) = (first + block.lines, first_transposed + block.transposed);
            let rate = work.descent(block);
            if let Some(start) = sum {
                let descent =
                    rate.map(|rate| FusedSgd { parameters: &mut *lines.parameters, rate: T::from_f64(rate) });
                sum_gradient(l, network, block, lines.gradients, (shards, start), descent);
            }
            if measure {
                let panels = lines.gradients.chunks_exact(1 + block.columns);
                for (panel, square) in panels.zip(squares.by_ref()) {
                    *square = elementwise::sum_of_squares(l, panel);
                }
            }
            if let Some(update) = update {
                if rate.is_none() {
                    optimizer::update(l, lines.parameters, lines.gradients, lines.moments, update);
                }
                let layer = network.layers[block.layer];
                if !layer.has_bias() {
                    // Their gradient is 0, but a caller may have written to it.
                    clear_biases::<T>(lines.parameters, layer);
                }
                refresh_transposed(l, block, lines.transposed, lines.parameters);
            }
        }
    }
}

#[cfg(test)]
#[cfg(feature = "rayon")]
mod tests {
    use super::*;
    use crate::Activation;
    use crate::engine::dispatch::engine;
    use crate::engine::parallel::tests::parts;

    #[test]
    fn an_update_is_shared_out_group_by_group() {
        // Of 5 and of 13 panels.
        let builder = Network::<f32>::builder(3).dense(80, Activation::Tanh).dense(200, Activation::Tanh);
        let mut network = builder.seed(1).build().unwrap();
        let mut partition = ParameterPartition::new(&network, engine(network.isa()).unwrap(), 1, 1);
        let mut gradients = network.parameters.clone();
        let mut squares = vec![0.0; partition.panels()];
        let lines = BlockLines {
            parameters: &mut network.parameters,
            gradients: &mut gradients,
            moments: [&mut [], &mut [], &mut []],
            transposed: &mut partition.transposed,
        };
        let owned = ParameterBlocks { blocks: &partition.blocks, lines, squares: &mut squares };
        // The lines are 12, 8, 243, 243, 324 and 243.
        assert_eq!(owned.split_point(), 4);
        let of_part = |part: &ParameterBlocks<'_, f32>| {
            let place = part.blocks.first().map(|block| (block.layer, block.first_panel));
            (place, part.blocks.len(), part.lines.parameters.len(), part.squares.len())
        };
        let expected =
            [(0, 0, 3, 4), (0, 3, 2, 4), (1, 0, 3, 81), (1, 3, 3, 81), (1, 6, 4, 81), (1, 10, 3, 81)];
        let expected =
            expected.map(|(layer, panel, panels, each)| (Some((layer, panel)), 1, panels * each, panels));
        assert_eq!(parts(Split::Pieces, owned, of_part), expected);
    }
}
