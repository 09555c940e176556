//! The rows of a batch on their way through the network: shared out in slots, tile by tile.

use core::ops::Range;

use crate::engine::micro_batch::{Head, Tile};
use crate::engine::parallel::{Divide, Split};
use crate::engine::partition::Owners;
use crate::engine::plan::Plan;
use crate::engine::prefetcher::Ahead;
use crate::kernels::matrix::Start;
use crate::kernels::ops::dropout::Noise;
use crate::kernels::ops::elementwise;
use crate::kernels::ops::loss::{Classes, Objective};
use crate::kernels::ops::targets::Targets;
use crate::network::Network;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// One run of rows: its buffers and its part of the sums.
#[derive(Clone)]
pub struct Slot<T: Element> {
    pub(crate) tile: Tile<T>,
    /// The gradient of so many slots' rows, from this one on. Empty in the two-phase schedule.
    pub(crate) gradients: Vec<T::Line>,
    /// 0 where the gradient of another slot has this one's rows.
    pub(crate) summed: usize,
    /// Of the slot's rows, without the scale.
    pub(crate) loss: f64,
    /// For each layer the squares of its outputs, summed. Empty unless they are reported.
    pub(crate) squares: Vec<f64>,
}

/// What a pass over the rows does.
#[derive(Clone, Copy)]
pub enum Pass<'a, T: Element> {
    /// Forward only.
    Forward,
    /// Forward and a loss.
    Evaluate(Objective<'a, T>),
    /// Forward, a loss, backward.
    Train(Objective<'a, T>),
    /// Backward from the gradient of the outputs, `[batch, outputs]`; forward before it if the tiles have
    /// not kept it.
    Backward(&'a [T]),
}

impl<T: Element> Pass<'_, T> {
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
}

/// What every thread of a pass reads.
#[derive(Clone, Copy)]
pub struct Shared<'a, T: Element> {
    pub(crate) network: &'a Network<T>,
    pub(crate) owners: &'a Owners<T>,
    /// `[batch, inputs]`.
    pub(crate) x: &'a [T],
    pub(crate) batch: usize,
    pub(crate) pass: Pass<'a, T>,
    pub(crate) classes: &'a Classes<T>,
    pub(crate) rows_each: usize,
    pub(crate) tile_rows: usize,
    pub(crate) plan: Plan,
    /// The pass's dropout, if any layer has it.
    pub(crate) noise: Option<Noise>,
}

impl<'a, T: Element> Shared<'a, T> {
    /// What a tile after row `end` reads, if one follows and the weights are few: else these come first, and there is no room for
    /// more in L2.
    fn ahead(&self, end: usize) -> Ahead<'a, T> {
        let rows = end..self.batch.min(end + self.tile_rows);
        if self.plan == Plan::TwoPhase || rows.is_empty() {
            return Ahead::nothing();
        }
        let (layers, inputs, outputs) =
            (self.network.layers.len(), self.network.inputs(), self.network.outputs());
        let targets = match self.pass {
            Pass::Forward => Targets::Values(&[]),
            Pass::Evaluate(objective) | Pass::Train(objective) => {
                objective.targets.rows(rows.clone(), outputs)
            }
            Pass::Backward(d_outputs) => Targets::Values(d_outputs).rows(rows.clone(), outputs),
        };
        // Once before each product.
        let parts = if self.pass.goes_back() { 3 * layers - 1 } else { layers };
        Ahead::new(&self.x[rows.start * inputs..rows.end * inputs], targets, parts)
    }
}

/// A run of slots, their rows of the batch, and where the results for the caller go.
pub struct Rows<'a, T: Element> {
    pub(crate) slots: &'a mut [Slot<T>],
    pub(crate) first_row: usize,
    /// From the first row on.
    pub(crate) outputs: &'a mut [T],
    /// From the first row on, or empty.
    pub(crate) input_gradients: &'a mut [T],
    pub(crate) shared: Shared<'a, T>,
    /// Slots that are not shared out any further.
    pub(crate) together: usize,
}

impl<T: Element> Divide for Rows<'_, T> {
    fn pieces(&self) -> usize {
        self.slots.len()
    }

    fn together(&self) -> usize {
        self.together
    }

    fn middle(&self) -> usize {
        match self.shared.plan {
            Plan::TwoPhase => self.slots.len() / 2,
            Plan::DepthFirst { .. } => half(self.slots.len()),
        }
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let (network, rows) = (self.shared.network, left * self.shared.rows_each);
        let (slots, slots_right) = self.slots.split_at_mut(left);
        let (outputs, outputs_right) = self.outputs.split_at_mut(rows * network.outputs());
        let gradients = if self.input_gradients.is_empty() { 0 } else { rows * network.inputs() };
        let (input_gradients, input_gradients_right) = self.input_gradients.split_at_mut(gradients);
        (
            Self { slots, outputs, input_gradients, ..self },
            Self {
                slots: slots_right,
                first_row: self.first_row + rows,
                outputs: outputs_right,
                input_gradients: input_gradients_right,
                ..self
            },
        )
    }
}

impl<T: Element> Rows<'_, T> {
    /// Every tile of every slot, in order.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>>(&mut self, l: L) {
        let count = self.slots.len();
        match self.shared.plan {
            Plan::TwoPhase => (0..count).for_each(|s| self.run_slot(l, s, s)),
            // Nothing is kept.
            Plan::DepthFirst { .. } if !self.shared.pass.goes_back() => {
                (0..count).for_each(|s| self.run_slot(l, 0, s));
            }
            Plan::DepthFirst { .. } => {
                self.sum(l, 0, 0..count);
                self.slots.iter_mut().for_each(|slot| slot.summed = 0);
                self.slots[0].summed = count;
            }
        }
    }

    /// The gradient of some slots' rows, in the buffer of slot `at`: that of the first half of them, and that of the second,
    /// which takes the next buffer. So one thread uses a few buffers and a single tile for all of its slots, and they stay
    /// near; a buffer for each would come from memory.
    fn sum<L: Lanes<Element = T>>(&mut self, l: L, at: usize, slots: Range<usize>) {
        if slots.len() == 1 {
            return self.run_slot(l, at, slots.start);
        }
        let middle = slots.start + half(slots.len());
        self.sum(l, at, slots.start..middle);
        self.swap_tiles(at);
        self.sum(l, at + 1, middle..slots.end);
        self.swap_tiles(at);
        let (first, second) = self.slots.split_at_mut(at + 1);
        elementwise::add(l, &mut first[at].gradients, &second[0].gradients);
    }

    /// Hands the tile that is near to the next slot, or takes it back.
    fn swap_tiles(&mut self, at: usize) {
        let (first, second) = self.slots.split_at_mut(at + 1);
        core::mem::swap(&mut first[at].tile, &mut second[0].tile);
    }

    /// Every tile of slot `s`, in the buffers of slot `at`.
    #[inline(always)]
    fn run_slot<L: Lanes<Element = T>>(&mut self, l: L, at: usize, s: usize) {
        let Shared { network, batch, rows_each, tile_rows, .. } = self.shared;
        let (inputs, outputs) = (network.inputs(), network.outputs());
        let mut row = self.first_row + s * rows_each;
        let end = batch.min(row + rows_each);
        self.slots[s].loss = 0.0;
        let mut start = Start::Zero;
        while row < end {
            let rows = row..end.min(row + tile_rows);
            let from = row - self.first_row;
            let slot = &mut self.slots[at];
            slot.run_tile(l, &self.shared, rows.clone(), start);
            if !self.shared.pass.goes_back() {
                slot.tile.read_outputs(
                    l,
                    network,
                    &mut self.outputs[from * outputs..][..rows.len() * outputs],
                );
            } else if !self.input_gradients.is_empty() {
                let to = &mut self.input_gradients[from * inputs..][..rows.len() * inputs];
                slot.tile.read_input_gradients(l, to);
            }
            self.take_sums(at, s);
            start = Start::Accumulate;
            row = rows.end;
        }
    }

    /// Adds the last tile's losses and squares to those of its slot.
    #[inline(always)]
    fn take_sums(&mut self, at: usize, s: usize) {
        let Shared { network, pass, .. } = self.shared;
        if pass.loss_scale().is_some() {
            let losses = self.slots[at].tile.losses();
            self.slots[s].loss = losses.iter().fold(self.slots[s].loss, |sum, loss| sum + loss);
        }
        if matches!(pass, Pass::Forward | Pass::Train(_)) {
            for i in 0..self.slots[s].squares.len() {
                let squares = self.slots[at].tile.squares(network, i);
                self.slots[s].squares[i] += squares;
            }
        }
    }
}

/// Where a run of slots is cut: so that pairs of slots are summed, then pairs of pairs, by whichever threads.
pub(crate) fn half(slots: usize) -> usize {
    slots.next_power_of_two() / 2
}

impl<T: Element> Slot<T> {
    /// One tile: forward, backward, and its share of the gradient.
    #[inline(always)]
    fn run_tile<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        shared: &Shared<'_, T>,
        rows: Range<usize>,
        start: Start,
    ) {
        let &Shared { network, owners, x, ref pass, classes, plan, .. } = shared;
        let x = &x[rows.start * network.inputs()..rows.end * network.inputs()];
        let last = network.last().activation();
        let noise = shared.noise.map(|noise| noise.at_row(rows.start));
        let mut ahead = shared.ahead(rows.end);
        let input = (x, rows.len(), &mut ahead);
        let objective;
        let head = match *pass {
            Pass::Forward => return self.tile.forward(l, network, input, (last, noise), Split::Whole),
            Pass::Evaluate(ref all) => {
                objective = all.rows(rows, network.outputs());
                let last = objective.loss.output_activation(last);
                self.tile.forward(l, network, input, (last, None), Split::Whole);
                return self.tile.loss(l, network, &objective, classes);
            }
            Pass::Train(ref all) => {
                objective = all.rows(rows, network.outputs());
                let last = objective.loss.output_activation(last);
                self.tile.forward(l, network, input, (last, noise), Split::Whole);
                Head::Loss(&objective, classes)
            }
            Pass::Backward(d_outputs) => {
                // Two-phase slots still hold what `forward` computed.
                if plan != Plan::TwoPhase {
                    self.tile.forward(l, network, input, (last, noise), Split::Whole);
                }
                Head::Given(&d_outputs[rows.start * network.outputs()..rows.end * network.outputs()])
            }
        };
        self.tile.backward(l, network, owners, (head, &mut ahead));
        if !self.gradients.is_empty() {
            for (i, layer) in network.layers.iter().enumerate().rev() {
                ahead.ask();
                let d_w = &mut self.gradients[layer.lines()];
                self.tile.weight_gradient(l, network, (i, 0), (d_w, start), None);
            }
        }
    }
}

/// The sum of the rows' losses. Of two-phase slots it is one chain over all rows, so that it does not depend on how many a tile
/// has; depth-first it is that of the slots' sums, whose rows follow from the shapes.
pub(crate) fn total_loss<T: Element>(slots: &[Slot<T>], plan: Plan) -> f64 {
    match plan {
        Plan::TwoPhase => slots.iter().flat_map(|slot| slot.tile.losses()).sum(),
        Plan::DepthFirst { .. } => slots.iter().map(|slot| slot.loss).sum(),
    }
}

#[cfg(test)]
#[cfg(feature = "rayon")]
mod tests {
    use super::*;
    use crate::engine::parallel::tests::parts;
    use crate::{Activation, Trainer};

    #[test]
    fn a_batch_is_shared_out_slot_by_slot() {
        let network = Network::<f32>::builder(3).dense(2, Activation::Tanh).seed(1).build().unwrap();
        let builder = Trainer::builder(network).max_batch(150);
        let Trainer { network, owners, mut slots, classes, plan, tile_rows, .. } = builder.build().unwrap();
        assert_eq!((plan, tile_rows.most, slots.len()), (Plan::TwoPhase, 64, 3));
        let (x, mut outputs) = ([0.0; 150 * 3], [0.0; 150 * 2]);
        let shared = Shared {
            network: &network,
            owners: &owners,
            x: &x,
            batch: 150,
            pass: Pass::Forward,
            classes: &classes,
            rows_each: 64,
            tile_rows: 64,
            plan,
            noise: None,
        };
        let (slots, outputs) = (&mut slots[..], &mut outputs[..]);
        let rows = Rows { slots, first_row: 0, outputs, input_gradients: &mut [], shared, together: 1 };
        let of_part = |rows: &Rows<'_, f32>| (rows.first_row, rows.slots.len(), rows.outputs.len());
        let expected = [(0, 1, 64 * 2), (64, 1, 64 * 2), (128, 1, 22 * 2)];
        assert_eq!(parts(Split::Pieces, rows, of_part), expected);
    }

    #[test]
    fn slots_are_cut_in_two_so_that_pairs_stay_together() {
        assert_eq!([2, 3, 4, 5, 29, 32, 64].map(half), [1, 2, 2, 4, 16, 16, 32]);
        // Runs of up to three of 29 slots.
        let network = Network::<f32>::builder(3).dense(2, Activation::Tanh).seed(1).build().unwrap();
        let builder = Trainer::builder(network).max_batch(35 * 2 * 64);
        let Trainer { network, owners, mut slots, classes, plan, .. } = builder.build().unwrap();
        assert_eq!((plan, slots.len()), (Plan::DepthFirst { slots: 35 }, 35));
        let shared = Shared {
            network: &network,
            owners: &owners,
            x: &[],
            batch: 29 * 320,
            pass: Pass::Backward(&[]),
            classes: &classes,
            rows_each: 320,
            tile_rows: 64,
            noise: None,
            plan,
        };
        let (slots, outputs) = (&mut slots[..29], &mut [0.0; 29 * 320 * 2][..]);
        let rows = Rows { slots, first_row: 0, outputs, input_gradients: &mut [], shared, together: 3 };
        let of_part = |rows: &Rows<'_, f32>| (rows.first_row / 320, rows.slots.len());
        let expected = (0..14).map(|pair| (2 * pair, 2)).chain([(28, 1)]).collect::<Vec<_>>();
        assert_eq!(parts(Split::Pieces, rows, of_part), expected);
    }
}
