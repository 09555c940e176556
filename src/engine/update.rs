//! Updates: the second half of a step, from the micro-batches' activations and gradients to new parameters.
//!
//! One thread has a block of parameters for all of it: it sums the block's gradient, applies the optimizer
//! and refreshes the transposed copy, one after the other, while the block is in the cache. [`UpdatePlan`]
//! says which of these are done, [`ParameterBlocks`] is what they are done to.

use crate::engine::batch::GradientShard;
use crate::engine::bf16::{Bf16Copies, CopyLines, round_sums};
use crate::engine::dispatch::Engine;
use crate::engine::micro_batch::LayerGradient;
use crate::engine::parallel::{Divide, Split, split_point_of, split_point_pow2};
use crate::engine::partition::{ParameterBlock, refresh_transposed};
use crate::engine::squared_norm::SquaredNorm;
use crate::error::{Argument, Error};
use crate::kernels::gemm::weight_gradient::FusedSgd;
pub(crate) use crate::kernels::matrix::Beta;
use crate::kernels::ops::optimizer::{MAX_MOMENTS, RunningSquares, Update};
use crate::kernels::ops::{elementwise, optimizer};
use crate::network::{Layers, Operation, clear_biases};
use crate::simd::lanes::Lanes;
use crate::simd::scalar::{Element, Line, elements};

/// What is done with every block of parameters, in the order of the fields.
#[derive(Clone, Copy)]
pub(crate) struct UpdatePlan {
    /// Its gradient is summed over the batch, alone or on top of the gradient so far.
    pub(crate) sum: Option<Beta>,
    /// The squared norm of its gradient is computed, whether it is clipped or not.
    pub(crate) measure: bool,
    /// The condition of the update, and the limits of the gradient that it takes.
    pub(crate) clipping: GradientClipping,
    /// Its parameters are updated by its gradient.
    pub(crate) update: Option<Update>,
    /// Whether a loss that is not finite is refused, and nothing is done.
    pub(crate) requires_finite_loss: bool,
}

impl UpdatePlan {
    pub(crate) const NOTHING: Self = Self {
        sum: None,
        measure: false,
        clipping: GradientClipping::NONE,
        update: None,
        requires_finite_loss: false,
    };
}

/// More than the quotient of a number and half a unit in its last place.
const NEGLIGIBLE: f64 = (1_u64 << 54) as f64;

/// The squared norm of some lines, of which the plain sum of squares is known.
#[inline(always)]
pub(crate) fn squared_norm<T: Element>(sum: f64, lines: &[T::Line]) -> SquaredNorm {
    SquaredNorm::new(sum, || elements::<T>(lines).iter().copied())
}

/// The condition of an update, and the limits of its gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GradientClipping {
    /// Maximum norm of the gradient.
    pub(crate) norm: f64,
    /// Maximum magnitude of an element.
    pub(crate) value: f64,
    /// Whether the loss, the gradient and the optimizer's sums of its squares must be finite.
    pub(crate) check_finite: bool,
}

impl GradientClipping {
    pub(crate) const NONE: Self = Self { norm: f64::INFINITY, value: f64::INFINITY, check_finite: false };

    pub(crate) fn check(self) -> Result<Self, Error> {
        let limits = [(Argument::GradientNormLimit, self.norm), (Argument::GradientValueLimit, self.value)];
        match limits.into_iter().find(|(_, limit)| limit.is_nan() || *limit <= 0.0) {
            Some((what, value)) => Err(Error::Setting { argument: what, value }),
            None => Ok(self),
        }
    }

    /// Whether the norm must be known before the update.
    pub(crate) fn measures(self) -> bool {
        self.check_finite || self.norm < f64::INFINITY
    }

    /// The factor of a gradient whose panels have these squared norms.
    fn scale(self, squares: &[SquaredNorm]) -> f64 {
        if self.norm == f64::INFINITY {
            return 1.0;
        }
        let quotient = SquaredNorm::sum(squares.iter().copied()).clip_quotient(self.norm);
        // A norm that is NaN does not leave the gradient as it is.
        if quotient >= 1.0 { 1.0 } else { quotient }
    }
}

/// A run of blocks, with all that belongs to them and is written, and what their gradients are summed from.
pub(crate) struct ParameterBlocks<'a, T: Element> {
    pub(crate) blocks: &'a [ParameterBlock],
    pub(crate) parameters: &'a mut [T::Line],
    pub(crate) gradients: &'a mut [T::Line],
    /// The optimizer's running sums beside each parameter; those that it does not need are empty.
    pub(crate) moments: [&'a mut [T::Line]; MAX_MOMENTS],
    pub(crate) transposed: &'a mut [T::Line],
    pub(crate) copies: Bf16Copies<'a>,
    /// The squared norm of each panel's gradient: whatever the blocks, they are added up in one order.
    pub(crate) squares: &'a mut [SquaredNorm],
    /// Read only, all layers of the network.
    pub(crate) layers: &'a Layers,
    /// Read only, all shards of the batch.
    pub(crate) shards: &'a [GradientShard<T>],
}

impl<T: Element> Divide for ParameterBlocks<'_, T> {
    fn pieces(&self) -> usize {
        self.blocks.len()
    }

    /// By lines: blocks of one layer are longer than blocks of another.
    fn split_point(&self) -> usize {
        split_point_of(self.blocks.iter().map(|block| block.lines))
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let (blocks, blocks_right) = self.blocks.split_at(left);
        let sum = |count: fn(&ParameterBlock) -> usize| blocks.iter().map(count).sum();
        let lines = sum(|block| block.lines);
        let (parameters, parameters_right) = self.parameters.split_at_mut(lines);
        let (gradients, gradients_right) = self.gradients.split_at_mut(lines);
        let (transposed, transposed_right) = self.transposed.split_at_mut(sum(|block| block.transposed));
        let [copies, copies_right] = self.copies.split_at(CopyLines {
            weights: sum(|block| block.copies.weights),
            transposed: sum(|block| block.copies.transposed),
        });
        let (squares, squares_right) = self.squares.split_at_mut(sum(|block| block.panels));
        let [a, b, c] = self.moments.map(|moment| moment.split_at_mut(lines.min(moment.len())));
        (
            Self {
                blocks,
                parameters,
                gradients,
                moments: [a.0, b.0, c.0],
                transposed,
                copies,
                squares,
                ..self
            },
            Self {
                blocks: blocks_right,
                parameters: parameters_right,
                gradients: gradients_right,
                moments: [a.1, b.1, c.1],
                transposed: transposed_right,
                copies: copies_right,
                squares: squares_right,
                ..self
            },
        )
    }
}

impl<T: Element> ParameterBlocks<'_, T> {
    /// Does what is planned to all blocks, on several threads if `split` says so. `loss` is the batch's, and
    /// `step` the number of the update.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a loss, a gradient or a sum of its squares must be finite and is not, with the
    /// parameters as before.
    pub(crate) fn complete(
        mut self,
        engine: &dyn Engine<T>,
        split: Split,
        plan: &UpdatePlan,
        loss: f64,
        step: u64,
    ) -> Result<(), Error> {
        let &UpdatePlan { sum, measure, clipping, ref update, requires_finite_loss } = plan;
        if sum.is_none() && !measure && update.is_none() {
            return Ok(());
        }
        if (clipping.check_finite || requires_finite_loss) && !loss.is_finite() {
            return Err(Error::loss_not_finite(step));
        }
        // A norm, or an error, follows from all blocks: none is updated before all are summed.
        let needs_all = clipping.measures() && update.is_some() || clipping.check_finite && sum.is_some();
        if !needs_all {
            split.for_each(self, &|blocks| engine.update_blocks(blocks, plan));
            return Ok(());
        }
        let sums = UpdatePlan { measure: true, update: None, ..*plan };
        split.for_each(self.reborrow(), &|blocks| engine.update_blocks(blocks, &sums));
        if clipping.check_finite {
            self.check_gradient(step)?;
        }
        if let &Some(update) = update {
            let update = Update { scale: clipping.scale(self.squares), ..update };
            if clipping.check_finite {
                self.check_running_squares(&update)?;
            }
            let updates = UpdatePlan { update: Some(update), ..UpdatePlan::NOTHING };
            split.for_each(self, &|blocks| engine.update_blocks(blocks, &updates));
        }
        Ok(())
    }

    fn reborrow(&mut self) -> ParameterBlocks<'_, T> {
        ParameterBlocks {
            parameters: &mut *self.parameters,
            gradients: &mut *self.gradients,
            moments: self.moments.each_mut().map(|moment| &mut **moment),
            transposed: &mut *self.transposed,
            copies: self.copies.reborrow(),
            squares: &mut *self.squares,
            ..*self
        }
    }

    /// Refuses a measured gradient that is not finite.
    fn check_gradient(&self, step: u64) -> Result<(), Error> {
        let mut rest = &*self.squares;
        for block in self.blocks {
            let squares;
            (squares, rest) = rest.split_at(block.panels);
            if !squares.iter().all(|square| square.is_finite()) {
                let layer = Some(block.layer);
                return Err(Error::NonFinite { argument: Argument::Gradient, step, layer, epoch: None });
            }
        }
        Ok(())
    }

    /// Refuses a measured gradient that is finite, but whose square would take a running sum of the optimizer
    /// past the element type's range. The sum would stay infinite, and its parameter where it is.
    fn check_running_squares(&self, update: &Update) -> Result<(), Error> {
        let &Update { optimizer, step, scale, limit } = update;
        let Some(RunningSquares { moment, keeps, enters }) = optimizer.squares() else { return Ok(()) };
        let (mut squares, mut gradients, mut sums) =
            (&*self.squares, &*self.gradients, &*self.moments[moment]);
        for block in self.blocks {
            let (of_block, lines, block_sums);
            (of_block, squares) = squares.split_at(block.panels);
            (lines, gradients) = gradients.split_at(block.lines);
            (block_sums, sums) = sums.split_at(block.lines);
            // A square that adds less than half a unit in the last place takes no sum past the range.
            let largest = scale * SquaredNorm::sum(of_block.iter().copied()).norm();
            if T::holds(enters * largest * largest * NEGLIGIBLE) {
                continue;
            }
            let grows_too_large = |g: &T, sum: &T| {
                let g = (scale * g.to_f64()).clamp(-limit, limit);
                !T::holds(keeps * sum.to_f64() + enters * g * g)
            };
            let mut pairs = elements::<T>(lines).iter().zip(elements::<T>(block_sums));
            if pairs.any(|(g, sum)| grows_too_large(g, sum)) {
                let layer = Some(block.layer);
                return Err(Error::NonFinite {
                    argument: Argument::SquaredGradient,
                    step,
                    layer,
                    epoch: None,
                });
            }
        }
        Ok(())
    }

    /// Does what is planned to each block.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>>(&mut self, l: L, plan: &UpdatePlan) {
        let blocks = self.blocks;
        let mut rest = self.reborrow();
        for block in blocks {
            let part;
            (part, rest) = rest.divide(1);
            part.run_block(l, block, plan);
        }
    }

    /// [`ParameterBlocks::run`] of a single block.
    #[inline(always)]
    fn run_block<L: Lanes<Element = T>>(self, l: L, block: &ParameterBlock, plan: &UpdatePlan) {
        let Self { parameters, gradients, moments, transposed, copies, squares, layers, shards, .. } = self;
        let rate = fused_rate(block, layers, shards, plan);
        if let Some(beta) = plan.sum {
            if are_summed(shards) {
                sum_shards(l, gradients, shards, block.first_line, beta);
            } else {
                // Those of a caller, or scaled: sums in bf16 start from others.
                if beta == Beta::One && !copies.weights.is_empty() {
                    round_sums(l, gradients);
                }
                let parameters = &mut *parameters;
                let fused_sgd = rate.map(|rate| FusedSgd { parameters, rate: T::from_f64(rate) });
                let (layer, first_panel) = (block.layer, block.first_panel);
                let gradient = LayerGradient { layer, first_panel, d_w: &mut *gradients, beta };
                sum_micro_batches(l, gradient, layers, shards, fused_sgd);
            }
        }
        if plan.measure {
            for (panel, square) in gradients.chunks_exact(1 + block.columns).zip(squares) {
                *square = squared_norm::<T>(elementwise::sum_of_squares(l, panel), panel);
            }
        }
        if let Some(update) = &plan.update {
            if rate.is_none() {
                optimizer::update(l, parameters, gradients, moments, update);
            }
            if !layers[block.layer].has_bias() {
                // Their gradient is 0, but a caller may have written to it.
                clear_biases::<T>(parameters, layers[block.layer]);
            }
            refresh_transposed(l, block, transposed, parameters);
            if !copies.weights.is_empty() {
                l.visit_pairs(copies.rounding(parameters, block.columns));
            }
        }
    }
}

/// The learning rate, if the last micro-batch of a block's gradient takes the step too: plain gradient
/// descent, of whole panels, for lanes past the last output are garbage until the whole gradient is there.
fn fused_rate<T: Element>(
    block: &ParameterBlock,
    layers: &Layers,
    shards: &[GradientShard<T>],
    plan: &UpdatePlan,
) -> Option<f64> {
    let by_micro_batches = plan.sum.is_some() && !are_summed(shards) && !shards.is_empty();
    let is_dense = layers[block.layer].kind().operation() == Operation::Product;
    let whole_panels = block.outputs / T::LANES >= block.lines / (1 + block.columns);
    plan.update.as_ref()?.fused_rate().filter(|_| by_micro_batches && is_dense && whole_panels)
}

/// Whether each shard has summed the gradient of its rows.
fn are_summed<T: Element>(shards: &[GradientShard<T>]) -> bool {
    shards.first().is_some_and(|shard| shard.summed > 0)
}

/// The gradient of a block's parameters, summed over micro-batches in the order of their rows. The last one
/// takes the step of `fused_sgd`.
#[inline(always)]
fn sum_micro_batches<T: Element, L: Lanes<Element = T>>(
    l: L,
    gradient: LayerGradient<'_, T>,
    layers: &Layers,
    shards: &[GradientShard<T>],
    mut fused_sgd: Option<FusedSgd<'_, T>>,
) {
    let LayerGradient { layer, first_panel, d_w, mut beta } = gradient;
    for (i, shard) in shards.iter().enumerate() {
        let fused_sgd = if i + 1 == shards.len() { fused_sgd.take() } else { None };
        let gradient = LayerGradient { layer, first_panel, d_w: &mut *d_w, beta };
        shard.micro_batch.weight_gradient(l, layers, gradient, fused_sgd);
        beta = Beta::One;
    }
}

/// The sum of the shards' gradients, from line `first` of each on, a few lines at a time.
fn sum_shards<T: Element, L: Lanes<Element = T>>(
    l: L,
    to: &mut [T::Line],
    shards: &[GradientShard<T>],
    mut first: usize,
    beta: Beta,
) {
    for to in to.chunks_mut(SUM_LINES) {
        if beta == Beta::Zero {
            sum_pairs(l, to, shards, first);
        } else {
            let mut sum = [T::Line::ZERO; SUM_LINES];
            let sum = &mut sum[..to.len()];
            sum_pairs(l, sum, shards, first);
            elementwise::add(l, to, sum);
        }
        first += to.len();
    }
}

/// Lines that are summed over the shards at a time: they stay in L1 meanwhile.
const SUM_LINES: usize = 32;

/// The sum over some shards: of one half and of the other, down to the sums of
/// [`BatchRange::run`](crate::engine::batch::BatchRange::run).
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
    let mut sum = [T::Line::ZERO; SUM_LINES];
    let sum = &mut sum[..to.len()];
    sum_pairs(l, sum, right, first);
    elementwise::add(l, to, sum);
}

#[cfg(test)]
#[cfg(feature = "rayon")]
mod tests {
    use super::*;
    use crate::engine::dispatch::engine;
    use crate::engine::parallel::tests::parts;
    use crate::engine::partition::ParameterPartition;
    use crate::{Activation, Network};

    #[test]
    fn an_update_is_shared_out_block_by_block() {
        // Of 5 and of 13 panels.
        let builder = Network::<f32>::builder(3).dense(80, Activation::Tanh).dense(200, Activation::Tanh);
        let mut network = builder.seed(1).build().unwrap();
        let mut partition = ParameterPartition::new(&network, engine(network.isa()).unwrap(), false, 1);
        let mut gradients = network.parameters.to_vec();
        let mut squares = vec![SquaredNorm::ZERO; partition.panels()];
        let blocks = ParameterBlocks {
            blocks: &partition.blocks,
            parameters: &mut network.parameters,
            gradients: &mut gradients,
            moments: [&mut [], &mut [], &mut []],
            transposed: &mut partition.transposed,
            copies: Bf16Copies::default(),
            squares: &mut squares,
            layers: &network.layers,
            shards: &[],
        };
        // The lines are 12, 8, 243, 243, 324 and 243.
        assert_eq!(blocks.split_point(), 4);
        let of_part = |part: &ParameterBlocks<'_, f32>| {
            let place = part.blocks.first().map(|block| (block.layer, block.first_panel));
            (place, part.blocks.len(), part.parameters.len(), part.squares.len())
        };
        let expected =
            [(0, 0, 3, 4), (0, 3, 2, 4), (1, 0, 3, 81), (1, 3, 3, 81), (1, 6, 4, 81), (1, 10, 3, 81)];
        let expected =
            expected.map(|(layer, panel, panels, each)| (Some((layer, panel)), 1, panels * each, panels));
        assert_eq!(parts(Split::Pieces, blocks, of_part), expected);
    }
}
