//! Plans: the rows of a micro-batch, and the schedule of a batch.
//!
//! Both follow from shapes. Only where no bit depends on it may rows follow from the number of threads.

use crate::engine::column_parallel::GRAIN_PANELS;
use crate::engine::parallel::PARALLEL_FLOP;
use crate::error::{Argument, Error, MAX_BYTES};
use crate::kernels::gemm::blocking::{ACCUMULATOR_PERIOD, splits_accumulators};
use crate::kernels::matrix::panels::panels;
use crate::network::{Layer, Network};
use crate::simd::scalar::Element;

/// Rows of a micro-batch: the part of a batch that goes through the layers together.
///
/// 64 rows of 64 features in `f32` are 16 KiB, so that the input and the output of a narrow layer stay in a
/// 32 or 48 KiB L1; of 512 features they are 128 KiB, a part of any L2. Fewer rows would use a weight panel
/// too seldom for the time that it takes to read from L2.
pub(crate) const MICRO_BATCH_ROWS: usize = 64;

/// Rows of a micro-batch where the weights exceed L2, so that each is used as often as it takes to hide its
/// latency: 64 rows of 1024-1024 layers need 8 GB/s of weights per core, 256 rows 2. Measured on
/// 1024-1024-1024-1024 and 1024-4096-4096-1024: 64 rows 209 and 198 GFLOP/s, 128 rows 221 and 219, 256 rows
/// 229 and 222.
const WIDE_MICRO_BATCH_ROWS: usize = 256;

/// Weights in bytes that no L2 holds beside their transposed copy.
const WIDE_BYTES: usize = 4 << 20;

/// Minimum micro-batches of a batch for wide ones, so that several threads have work.
const WIDE_MICRO_BATCHES: usize = 4;

/// Rows of the micro-batches of a batch: [`MICRO_BATCH_ROWS`], more where weights are many, or fewer where a
/// batch that is large enough for several threads would otherwise be a single micro-batch. Half a batch each
/// gives the second thread as much as the first; smaller micro-batches would load and store the sums of the
/// weight gradient too often.
pub(crate) fn micro_batch_rows<T: Element>(max_batch: usize, weights: usize) -> usize {
    if step_flop(max_batch, weights) < 2 * PARALLEL_FLOP {
        return MICRO_BATCH_ROWS.min(max_batch);
    }
    let wide = weights.saturating_mul(size_of::<T>()) >= WIDE_BYTES;
    if wide && max_batch >= WIDE_MICRO_BATCHES * MICRO_BATCH_ROWS {
        return max_batch
            .div_ceil(WIDE_MICRO_BATCHES)
            .next_multiple_of(MICRO_BATCH_ROWS)
            .min(WIDE_MICRO_BATCH_ROWS);
    }
    max_batch.div_ceil(2).next_multiple_of(8).clamp(16, MICRO_BATCH_ROWS)
}

/// Rows of the micro-batches of a trainer. In the two-phase schedule they change no sum, so that they may
/// follow from the number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MicroBatchRows {
    /// [`micro_batch_rows`], or fewer.
    pub least: usize,
    /// The same, or twice as many: the capacity of a buffer.
    pub most: usize,
}

impl MicroBatchRows {
    /// [`micro_batch_rows`] without a number of threads, and where a sum depends on the rows: gradients that
    /// are summed in shards, and gradients of a layer that [`splits_accumulators`]. Otherwise [`halved`] for
    /// more threads, or twice as many where no thread has more rows for it. With twice as many each weight is
    /// read half as often, and the sums of its gradient are loaded and stored half as often: measured, a step
    /// of 784-512-512-10 at batch 256 takes 2 % less time on one thread, 3 to 6 on two.
    pub(crate) fn choose<T: Element>(
        max_batch: usize,
        weights: usize,
        parameter_lines: usize,
        splits_accumulators: bool,
        threads: Option<usize>,
    ) -> Self {
        let rows = micro_batch_rows::<T>(max_batch, weights);
        let sums_depend = fits_in_l2::<T>(parameter_lines)
            || (splits_accumulators && !rows.is_multiple_of(ACCUMULATOR_PERIOD));
        let Some(threads) = threads.filter(|_| !sums_depend) else {
            return Self { least: rows, most: rows };
        };
        let longest = |rows| longest(max_batch, rows, threads);
        let least = halved(rows, max_batch, threads);
        let pays =
            least < max_batch && 2 * least <= WIDE_MICRO_BATCH_ROWS && longest(2 * least) <= longest(least);
        Self { least, most: if pays { 2 * least } else { least } }
    }

    /// [`MicroBatchRows::choose`] for a network of such layers.
    pub(crate) fn of_layers<T: Element>(max_batch: usize, layers: &[Layer], threads: Option<usize>) -> Self {
        let weights = layers.iter().map(Layer::parameter_count).sum();
        let lines = layers.iter().map(|layer| layer.lines().len()).sum();
        let splits_accumulators =
            layers.iter().any(|layer| splits_accumulators::<T>(layer.inputs(), layer.outputs()));
        Self::choose::<T>(max_batch, weights, lines, splits_accumulators, threads)
    }

    /// Rows of the micro-batches of one batch: `least` if there are shards for all.
    pub(crate) fn of_batch(self, batch: usize, shards: usize) -> usize {
        if batch.div_ceil(self.least) <= shards { self.least } else { self.most }
    }
}

/// Rows of the micro-batches of a prediction, which no bit depends on: the whole batch where more threads can
/// share the outputs of the widest layer than there would be micro-batches.
pub(crate) fn prediction_rows<T: Element>(
    max_batch: usize,
    weights: usize,
    widest: usize,
    threads: usize,
) -> usize {
    let rows = halved(micro_batch_rows::<T>(max_batch, weights), max_batch, threads);
    let micro_batches = max_batch.div_ceil(rows);
    let parts = threads.min(panels::<T>(widest) / GRAIN_PANELS);
    if micro_batches > 1 && max_batch <= WIDE_MICRO_BATCH_ROWS && 2 * micro_batches <= parts {
        max_batch
    } else {
        rows
    }
}

/// Maximum rows of one thread, in micro-batches of `rows` rows.
fn longest(max_batch: usize, rows: usize, threads: usize) -> usize {
    max_batch.min(max_batch.div_ceil(rows).div_ceil(threads) * rows)
}

/// `rows`, or a half, a quarter and so on, where that takes at least an eighth off the rows of a thread.
fn halved(rows: usize, max_batch: usize, threads: usize) -> usize {
    let (mut least, mut half) = (rows, rows);
    while half.is_multiple_of(2 * MIN_SHARED_ROWS) {
        half /= 2;
        if 8 * longest(max_batch, half, threads) <= 7 * longest(max_batch, least, threads) {
            least = half;
        }
    }
    least
}

/// Minimum rows of a micro-batch that is halved for more threads: a multiple of [`ACCUMULATOR_PERIOD`], so
/// that no sum changes.
const MIN_SHARED_ROWS: usize = ACCUMULATOR_PERIOD;

/// Splits a batch into at most `shards` shards of whole micro-batches: the rows of each, and the number of
/// shards.
pub(crate) fn shard_rows(batch: usize, micro_batch_rows: usize, shards: usize) -> (usize, usize) {
    if batch <= micro_batch_rows {
        return (micro_batch_rows, batch.min(1));
    }
    let rows_each = batch.div_ceil(micro_batch_rows).div_ceil(shards) * micro_batch_rows;
    (rows_each, batch.div_ceil(rows_each))
}

/// Refuses batches whose buffers would not fit in the address space.
pub(crate) fn check_max_batch<T: Element>(network: &Network<T>, max_batch: usize) -> Result<(), Error> {
    if max_batch == 0 {
        return Err(Error::Zero { argument: Argument::MaxBatch });
    }
    let features = network.layers.iter().try_fold(network.inputs() + T::LANES, |sum, layer| {
        sum.checked_add(layer.outputs().checked_add(T::LANES)?)
    });
    // Outputs, pre-activations, their gradients and outputs after dropout, of every layer, and as much for
    // the caller's rows. Micro-batches round the rows up by less than a batch or 64.
    let bytes = features
        .and_then(|features| features.checked_mul(6 * size_of::<T>()))
        .and_then(|bytes| bytes.checked_mul(max_batch.checked_add(64)?));
    match bytes {
        Some(bytes) if bytes <= MAX_BYTES => Ok(()),
        _ => Err(Error::Overflow { argument: Argument::Buffers }),
    }
}

/// Maximum shards that the gradient of a batch is summed in, and so the maximum threads of a depth-first
/// step. Each shard is a copy of the parameters.
pub(crate) const MAX_SHARDS: usize = 64;

/// Micro-batches of a shard: to add up a shard takes about as long as 1/15 of one. Measured, steps of
/// 64-64-64-64, against four micro-batches in each: on one thread batches of 512 and 768 the same, of 1,024
/// and 2,048 0 to 3 % faster; on two threads 512 4 % slower, 768 25 faster, for three shards are two for one
/// thread, 1,024 3 slower, 2,048 the same. More threads have twice as much to share.
const MICRO_BATCHES_PER_SHARD: usize = 2;

/// Minimum micro-batches of a batch that is summed in shards.
const DEPTH_FIRST_MICRO_BATCHES: usize = 8;

/// Shards that one of `threads` threads takes at a time. The buffers of each such run start outside the
/// cache; four runs for each thread balance threads of different speed.
pub(crate) fn shard_grain(shards: usize, threads: usize) -> usize {
    (shards / threads.saturating_mul(4)).max(1)
}

/// Maximum bytes of weights, transposed weights and gradients that the depth-first schedule keeps in L2
/// beside a micro-batch: half of a 2 MiB L2.
const DEPTH_FIRST_BYTES: usize = 1 << 20;

/// The schedule of a batch: how its rows become a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Each micro-batch goes forward and backward before the next starts; gradients are summed in `shards`
    /// parts.
    DepthFirst { shards: usize },
    /// All micro-batches go forward and back; then each block of the gradient is summed over the batch.
    TwoPhase,
}

impl Plan {
    /// Depth-first if the batch is long enough to fill shards and the parameters fit in L2 beside a
    /// micro-batch.
    pub(crate) fn choose<T: Element>(
        max_batch: usize,
        micro_batch_rows: usize,
        parameter_lines: usize,
    ) -> Self {
        let micro_batches = max_batch.div_ceil(micro_batch_rows);
        if micro_batches >= DEPTH_FIRST_MICRO_BATCHES && fits_in_l2::<T>(parameter_lines) {
            Self::DepthFirst { shards: (micro_batches / MICRO_BATCHES_PER_SHARD).min(MAX_SHARDS) }
        } else {
            Self::TwoPhase
        }
    }

    /// Maximum shards of a batch.
    pub(crate) fn max_shards(self) -> usize {
        match self {
            Self::DepthFirst { shards } => shards,
            Self::TwoPhase => usize::MAX,
        }
    }

    /// Shards that one of `threads` threads takes at a time: one if it is a single micro-batch.
    pub(crate) fn grain(self, shards: usize, threads: usize) -> usize {
        match self {
            Self::DepthFirst { .. } => shard_grain(shards, threads),
            Self::TwoPhase => 1,
        }
    }
}

/// Whether weights, their transposed copy and their gradient stay in L2 beside a micro-batch.
pub(crate) fn fits_in_l2<T: Element>(parameter_lines: usize) -> bool {
    3 * parameter_lines * size_of::<T::Line>() <= DEPTH_FIRST_BYTES
}

/// Floating-point operations of a training step: two per multiply-add of the three products.
pub(crate) fn step_flop(batch: usize, weights: usize) -> usize {
    batch.saturating_mul(weights).saturating_mul(6)
}

/// Floating-point operations of a forward pass.
pub(crate) fn forward_flop(batch: usize, weights: usize) -> usize {
    batch.saturating_mul(weights).saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::partition::block_panels;
    use crate::engine::partition::max_block_panels;
    use crate::kernels::matrix::panels::parameter_lines;

    #[test]
    fn blocks_have_no_more_than_a_thread_s_part() {
        let blocks = |widths: &[usize], threads: usize| -> Vec<usize> {
            let of_layer = |ends: &[usize]| parameter_lines::<f32>(ends[0], ends[1]).unwrap();
            let all = widths.windows(2).map(of_layer).sum();
            let of_layer = |ends: &[usize]| {
                let most = max_block_panels(all, 1 + ends[0], threads);
                let mut left = panels::<f32>(ends[1]);
                let mut next = || {
                    let panels = block_panels(left, most);
                    left -= panels;
                    (panels > 0).then_some(panels)
                };
                core::iter::from_fn(&mut next).collect::<Vec<_>>()
            };
            widths.windows(2).flat_map(of_layer).collect()
        };
        let mnist128 = |threads| blocks(&[784, 128, 10], threads);
        assert_eq!([1, 2].map(mnist128), [[4, 4, 1]; 2]);
        assert_eq!(mnist128(4), [2, 2, 2, 2, 1]);
        assert_eq!([8, 256].map(mnist128), [[1; 9]; 2]);
        let sq1024 = |threads| blocks(&[1024; 4], threads).len();
        assert_eq!([1, 2, 48, 64, 96, 192, 500].map(sq1024), [63, 63, 63, 66, 96, 192, 192]);
        assert_eq!(blocks(&[64, 64], 1), [4]);
        assert_eq!(blocks(&[64, 64], 2), [2, 2]);
    }

    #[test]
    fn micro_batches_follow_the_threads_where_no_sum_depends_on_them() {
        let rows = |max_batch, widths: &[usize], threads| {
            let layers = || widths.windows(2).map(|ends| (ends[0], ends[1]));
            let weights = layers().map(|(inputs, outputs)| (1 + inputs) * outputs).sum();
            let lines =
                layers().map(|(inputs, outputs)| parameter_lines::<f32>(inputs, outputs).unwrap()).sum();
            let splits = layers().any(|(inputs, outputs)| splits_accumulators::<f32>(inputs, outputs));
            let MicroBatchRows { least, most } =
                MicroBatchRows::choose::<f32>(max_batch, weights, lines, splits, threads);
            (least, most)
        };
        let mnist512 = [784, 512, 512, 10];
        let of_threads = |threads| rows(256, &mnist512, Some(threads));
        assert_eq!([1, 2, 3, 4].map(of_threads), [(64, 128), (64, 128), (32, 32), (64, 64)]);
        assert_eq!([5, 8, 16, 64].map(of_threads), [(64, 64), (32, 32), (32, 32), (32, 32)]);
        assert_eq!(rows(256, &mnist512, None), (64, 64));
        // 784-128-10.
        assert_eq!([1, 2].map(|threads| rows(64, &[784, 128, 10], Some(threads))), [(32, 64), (32, 32)]);
        // Few weights, wide micro_batches, and a batch of one micro_batch.
        assert_eq!(rows(65_536, &[32, 64, 64, 64, 64, 3], Some(1)), (64, 64));
        let sq1024 = |threads| rows(1024, &[1024; 4], Some(threads));
        assert_eq!([1, 2, 3, 4].map(sq1024), [(256, 256), (256, 256), (128, 128), (256, 256)]);
        assert_eq!([6, 8, 16, 32, 64].map(sq1024), [(64, 64), (128, 128), (64, 64), (32, 32), (32, 32)]);
        let wide = |threads| rows(512, &[1024, 4096, 4096, 1024], Some(threads));
        assert_eq!([1, 2, 4, 8].map(wide), [(128, 256), (128, 256), (128, 128), (64, 64)]);
        assert_eq!(rows(16, &mnist512, Some(1)), (16, 16));
        // Of 40 rows, no multiple of the period after which accumulators are added up.
        assert_eq!(rows(80, &mnist512, Some(1)), (40, 80));
        assert_eq!([1, 2, 16].map(|threads| rows(80, &[785, 512, 10], Some(threads))), [(40, 40); 3]);
        assert_eq!(
            [1, 2, 16].map(|threads| rows(200, &[785, 512, 10], Some(threads))),
            [(64, 128), (64, 128), (32, 32)]
        );
        let micro_batches = MicroBatchRows { least: 64, most: 128 };
        assert_eq!([64, 128, 129, 256].map(|batch| micro_batches.of_batch(batch, 2)), [64, 64, 128, 128]);
    }
}
