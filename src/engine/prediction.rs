//! The rows of a prediction: tile by tile through the layers, each thread with a tile of its own.

use crate::engine::micro_batch::Tile;
use crate::engine::parallel::{Divide, Split};
use crate::engine::plan::fits_near;
use crate::engine::prefetcher::Ahead;
use crate::error::{Error, MAX_BYTES};
use crate::kernels::ops::targets::Targets;
use crate::network::Network;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// Shares a batch out in whole tiles among at most so many slots: the rows of each, and how many there are.
pub(crate) fn shares(batch: usize, tile_rows: usize, slots: usize) -> (usize, usize) {
    if batch <= tile_rows {
        return (tile_rows, batch.min(1));
    }
    let rows_each = batch.div_ceil(tile_rows).div_ceil(slots) * tile_rows;
    (rows_each, batch.div_ceil(rows_each))
}

/// Refuses batches whose buffers would not fit in the address space.
pub(crate) fn check_max_batch<T: Element>(network: &Network<T>, max_batch: usize) -> Result<(), Error> {
    if max_batch == 0 {
        return Err(Error::Zero { what: "the largest batch" });
    }
    let features = network.layers.iter().try_fold(network.inputs() + T::LANES, |sum, layer| {
        sum.checked_add(layer.outputs().checked_add(T::LANES)?)
    });
    // Outputs, sums, their gradients and what dropout leaves, of every layer, and as much for the caller's rows; a tile
    // rounds the rows up by less than a batch or 64.
    let bytes = features
        .and_then(|features| features.checked_mul(6 * size_of::<T>()))
        .and_then(|bytes| bytes.checked_mul(max_batch.checked_add(64)?));
    match bytes {
        Some(bytes) if bytes <= MAX_BYTES => Ok(()),
        _ => Err(Error::Overflow { what: "the buffers of the largest batch" }),
    }
}

/// Rows of a prediction, and a tile for every `rows_each` of them, so that each thread has one.
pub struct PredictedRows<'a, T: Element> {
    pub(crate) network: &'a Network<T>,
    pub(crate) tiles: &'a mut [Tile<T>],
    pub(crate) tile_rows: usize,
    pub(crate) rows_each: usize,
    pub(crate) rows: usize,
    pub(crate) x: &'a [T],
    pub(crate) y: &'a mut [T],
    /// How the outputs of large layers are shared out.
    pub(crate) split_outputs: Split,
    /// Tiles that are not shared out any further.
    pub(crate) together: usize,
}

impl<T: Element> Divide for PredictedRows<'_, T> {
    fn pieces(&self) -> usize {
        self.tiles.len()
    }

    fn together(&self) -> usize {
        self.together
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let rows = left * self.rows_each;
        let rows_right = self.rows - rows;
        let (x, x_right) = self.x.split_at(rows * self.network.inputs());
        let (y, y_right) = self.y.split_at_mut(rows * self.network.outputs());
        let (tiles, tiles_right) = self.tiles.split_at_mut(left);
        (
            Self { tiles, rows, x, y, ..self },
            Self { tiles: tiles_right, rows: rows_right, x: x_right, y: y_right, ..self },
        )
    }
}

impl<T: Element> PredictedRows<'_, T> {
    /// Every row, tile by tile.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>>(&mut self, l: L) {
        let (network, last) = (self.network, self.network.last().activation());
        let (inputs, outputs) = (network.inputs(), network.outputs());
        // Else there is no room beside the weights for the rows of the next tile.
        let is_near = fits_near::<T>(network.parameters.len());
        // All of a thread's rows in the buffers of one tile, so that they stay near.
        let tile = &mut self.tiles[0];
        let mut row = 0;
        while row < self.rows {
            let rows = self.tile_rows.min(self.rows - row);
            let next = &self.x[(row + rows) * inputs..];
            let next = &next[..next.len().min(self.tile_rows * inputs)];
            let parts = if is_near { network.layers.len() } else { 0 };
            let mut ahead = Ahead::new(next, Targets::Values(&[]), parts);
            tile.forward(
                l,
                network,
                (&self.x[row * inputs..][..rows * inputs], rows, &mut ahead),
                (last, None),
                self.split_outputs,
            );
            tile.read_outputs(l, network, &mut self.y[row * outputs..][..rows * outputs]);
            row += rows;
        }
    }
}
