//! The rows of a batch on their way through the network: shared out in slots, tile by tile.

use core::ops::Range;

use crate::dropout::Noise;
use crate::element::Element;
use crate::kernels::blocking::Plan;
use crate::kernels::{Kernels, Start};
use crate::loss::{Classes, Objective};
use crate::network::Network;
use crate::parallel::Divide;
use crate::tile::{Head, Tile};
use crate::update::Transposed;

/// One run of rows: its buffers and its part of the sums.
#[derive(Clone)]
pub struct Slot<T: Element> {
    pub(crate) tile: Tile<T>,
    /// The gradient of the slot's rows. Empty in the two-phase schedule.
    pub(crate) gradients: Vec<T::Line>,
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
    pub(crate) transposed: &'a Transposed<T>,
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

/// A run of slots, their rows of the batch, and where the results for the caller go.
pub struct Rows<'a, T: Element> {
    pub(crate) slots: &'a mut [Slot<T>],
    pub(crate) first_row: usize,
    /// From the first row on.
    pub(crate) outputs: &'a mut [T],
    /// From the first row on, or empty.
    pub(crate) input_gradients: &'a mut [T],
    pub(crate) shared: Shared<'a, T>,
}

impl<T: Element> Divide for Rows<'_, T> {
    fn pieces(&self) -> usize {
        self.slots.len()
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
                shared: self.shared,
            },
        )
    }
}

impl<T: Element> Rows<'_, T> {
    /// Every tile of every slot, in order.
    #[inline(always)]
    pub(crate) fn run<K: Kernels<T> + Copy>(&mut self, kernels: K) {
        let Shared { network, batch, rows_each, tile_rows, .. } = self.shared;
        for (s, slot) in self.slots.iter_mut().enumerate() {
            let offset = s * rows_each;
            let (mut row, end) = (self.first_row + offset, batch.min(self.first_row + offset + rows_each));
            slot.loss = 0.0;
            let mut start = Start::Zero;
            while row < end {
                let rows = row..end.min(row + tile_rows);
                let at = row - self.first_row;
                slot.run_tile(kernels, &self.shared, rows.clone(), start);
                if !self.shared.pass.goes_back() {
                    let outputs =
                        &mut self.outputs[at * network.outputs()..][..rows.len() * network.outputs()];
                    slot.tile.read_outputs(kernels, network, outputs);
                } else if !self.input_gradients.is_empty() {
                    let to =
                        &mut self.input_gradients[at * network.inputs()..][..rows.len() * network.inputs()];
                    slot.tile.read_input_gradients(kernels, to);
                }
                start = Start::Accumulate;
                row = rows.end;
            }
        }
    }
}

impl<T: Element> Slot<T> {
    /// One tile of the slot's rows: forward, backward, and its share of the slot's sums.
    #[inline(always)]
    fn run_tile<K: Kernels<T> + Copy>(
        &mut self,
        kernels: K,
        shared: &Shared<'_, T>,
        rows: Range<usize>,
        start: Start,
    ) {
        let &Shared { network, transposed, x, ref pass, classes, plan, .. } = shared;
        let x = &x[rows.start * network.inputs()..rows.end * network.inputs()];
        let objective;
        let last = network.last().activation();
        let noise = shared.noise.map(|noise| noise.at_row(rows.start));
        let count = rows.len();
        let head = match *pass {
            Pass::Forward => {
                self.tile.forward(kernels, network, (x, count), (last, noise));
                return self.add_squares(network);
            }
            Pass::Evaluate(ref all) => {
                objective = all.rows(rows, network.outputs());
                self.tile.forward(
                    kernels,
                    network,
                    (x, count),
                    (objective.loss.output_activation(last), None),
                );
                self.tile.loss(kernels, network, &objective, classes);
                return self.add_losses();
            }
            Pass::Train(ref all) => {
                objective = all.rows(rows, network.outputs());
                self.tile.forward(
                    kernels,
                    network,
                    (x, count),
                    (objective.loss.output_activation(last), noise),
                );
                Head::Loss(&objective, classes)
            }
            Pass::Backward(d_outputs) => {
                // Two-phase slots still hold what `forward` computed; a depth-first slot has only its last tile's.
                if plan != Plan::TwoPhase {
                    self.tile.forward(kernels, network, (x, count), (last, noise));
                }
                Head::Given(&d_outputs[rows.start * network.outputs()..rows.end * network.outputs()])
            }
        };
        self.tile.backward(kernels, network, transposed, head);
        if let Pass::Train(_) = *pass {
            self.add_squares(network);
            self.add_losses();
        }
        if !self.gradients.is_empty() {
            for (l, layer) in network.layers.iter().enumerate().rev() {
                let d_w = &mut self.gradients[layer.lines()];
                self.tile.weight_gradient(kernels, network, (l, 0), d_w, start);
            }
        }
    }

    fn add_losses(&mut self) {
        self.loss = self.tile.losses().iter().fold(self.loss, |sum, loss| sum + loss);
    }

    fn add_squares(&mut self, network: &Network<T>) {
        for (l, sum) in self.squares.iter_mut().enumerate() {
            *sum += self.tile.squares(network, l);
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
    use crate::parallel::Split;
    use crate::parallel::tests::parts;
    use crate::{Activation, Trainer};

    #[test]
    fn a_batch_is_shared_out_slot_by_slot() {
        let network = Network::<f32>::builder(3).dense(2, Activation::Tanh).seed(1).build().unwrap();
        let builder = Trainer::builder(network).max_batch(150);
        let Trainer { network, transposed, mut slots, classes, plan, tile_rows, .. } =
            builder.build().unwrap();
        assert_eq!((plan, tile_rows.most, slots.len()), (Plan::TwoPhase, 64, 3));
        let (x, mut outputs) = ([0.0; 150 * 3], [0.0; 150 * 2]);
        let shared = Shared {
            network: &network,
            transposed: &transposed,
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
        let rows = Rows { slots, first_row: 0, outputs, input_gradients: &mut [], shared };
        let of_part = |rows: &Rows<'_, f32>| (rows.first_row, rows.slots.len(), rows.outputs.len());
        let expected = [(0, 1, 64 * 2), (64, 1, 64 * 2), (128, 1, 22 * 2)];
        assert_eq!(parts(Split::Pieces, rows, of_part), expected);
    }
}
