//! The one place that chooses tile and block sizes, with the arithmetic that gives them.
//!
//! Nothing here looks at the machine: sizes follow from the shapes alone, so that the order of every sum, and with it every
//! bit, is the same everywhere. Only [`TileRows`] and [`predicted_rows`] take the number of threads, where no sum depends on it.

use super::pack::panels;
use crate::element::Sealed as Element;

/// Rows of a tile: the part of a batch that goes through the layers as one.
///
/// 64 rows of 64 features in `f32` are 16 KiB, so that the input and the output of a narrow layer stay
/// in a 32 or 48 KiB L1; of 512 features they are 128 KiB, a part of any L2. Fewer rows would use a
/// weight panel too seldom for its way from L2.
pub const TILE_ROWS: usize = 64;

/// Rows of a tile where the weights come from beyond L2, so that each is used as often as it takes to hide
/// its way: 64 rows of 1024-1024 layers ask for 8 GB/s of weights per core, 256 for 2. Measured on
/// 1024-1024-1024-1024 and 1024-4096-4096-1024: 64 rows 209 and 198 GFLOP/s, 128 rows 221 and 219, 256
/// rows 229 and 222.
const WIDE_TILE_ROWS: usize = 256;

/// Weights in bytes that no L2 holds beside their transposed copy.
const WIDE_BYTES: usize = 4 << 20;

/// Fewest tiles of a batch that wide tiles may leave, so that there is something to share out.
const WIDE_TILES: usize = 4;

/// Rows of the tiles of a batch: [`TILE_ROWS`], more where weights are many, or fewer where a batch that is
/// worth sharing out would otherwise be a single tile. Half a batch each leaves the second thread as much as
/// the first; smaller tiles would load and store the sums of the weight gradient too often.
pub fn tile_rows<T: Element>(max_batch: usize, weights: usize) -> usize {
    if step_flop(max_batch, weights) < 2 * PARALLEL_FLOP {
        return TILE_ROWS.min(max_batch);
    }
    let wide = weights.saturating_mul(size_of::<T>()) >= WIDE_BYTES;
    if wide && max_batch >= WIDE_TILES * TILE_ROWS {
        return max_batch.div_ceil(WIDE_TILES).next_multiple_of(TILE_ROWS).min(WIDE_TILE_ROWS);
    }
    max_batch.div_ceil(2).next_multiple_of(8).clamp(16, TILE_ROWS)
}

/// Rows of the tiles that a trainer's batches go through the layers in. Of two-phase batches how many a tile has changes no sum,
/// so that they may follow from the number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileRows {
    /// See [`tile_rows`].
    pub least: usize,
    /// As many, or twice as many: those of a buffer.
    pub most: usize,
}

impl TileRows {
    /// [`tile_rows`] where sums depend on them, which `is_chained` says of a layer that [`sums_in_chains`], and for no number
    /// of threads. Else [`halved`] for the sake of more threads, or in pairs where no thread has more rows for it. In pairs
    /// each weight is read half as often, and the sums of its gradient are loaded and stored half as often: measured, a step of
    /// 784-512-512-10 at batch 256 takes 2 % less time on one thread, 3 to 6 on two.
    pub fn choose<T: Element>(
        max_batch: usize,
        weights: usize,
        parameter_lines: usize,
        is_chained: bool,
        threads: Option<usize>,
    ) -> Self {
        let rows = tile_rows::<T>(max_batch, weights);
        let sums_depend = fits_near::<T>(parameter_lines) || (is_chained && !rows.is_multiple_of(CHAINED));
        let Some(threads) = threads.filter(|_| !sums_depend) else {
            return Self { least: rows, most: rows };
        };
        let longest = |rows| longest(max_batch, rows, threads);
        let least = halved(rows, max_batch, threads);
        let pays = least < max_batch && 2 * least <= WIDE_TILE_ROWS && longest(2 * least) <= longest(least);
        Self { least, most: if pays { 2 * least } else { least } }
    }

    /// Those of a batch: as few as fill no more than so many slots.
    pub fn of_batch(self, batch: usize, slots: usize) -> usize {
        if batch.div_ceil(self.least) <= slots { self.least } else { self.most }
    }
}

/// Rows of the tiles of predictions, which no bit depends on: all of them where more threads can share the outputs of the
/// widest layer than there would be tiles.
pub fn predicted_rows<T: Element>(max_batch: usize, weights: usize, widest: usize, threads: usize) -> usize {
    let rows = halved(tile_rows::<T>(max_batch, weights), max_batch, threads);
    let tiles = max_batch.div_ceil(rows);
    let parts = threads.min(panels::<T>(widest) / OWN_PANELS);
    if tiles > 1 && max_batch <= WIDE_TILE_ROWS && 2 * tiles <= parts { max_batch } else { rows }
}

/// Most rows that one of so many threads has, if each tile has so many.
fn longest(max_batch: usize, rows: usize, threads: usize) -> usize {
    max_batch.min(max_batch.div_ceil(rows).div_ceil(threads) * rows)
}

/// So many rows, or a half of them, or a half of that, where it leaves a thread at least an eighth of its rows less.
fn halved(rows: usize, max_batch: usize, threads: usize) -> usize {
    let (mut least, mut half) = (rows, rows);
    while half.is_multiple_of(2 * SHARED_ROWS) {
        half /= 2;
        if 8 * longest(max_batch, half, threads) <= 7 * longest(max_batch, least, threads) {
            least = half;
        }
    }
    least
}

/// Fewest rows that tiles are halved to for the sake of more threads: a multiple of [`CHAINED`], so that no sum changes.
const SHARED_ROWS: usize = CHAINED;

/// Rows that are packed, or unpacked, in all their panels before the next. A panel reads a line or two of each row, and the next
/// panel the same lines again or their neighbours: of 256 rows of 4,096 bytes each takes another page, and none stays in L1.
/// Measured, 1024 rows through 1024-1024, forward: 256 rows 14.8 ms, 64 13.9, 32 13.8, 16 13.6, but 64 rows through 64-64 4.75,
/// 4.76, 4.78 and 4.93 microseconds.
pub const PACKED_ROWS: usize = 32;

/// Most slots that the gradient of a batch is summed in, and so the most threads that share a
/// depth-first step. Each is a copy of the parameters.
pub const MAX_SLOTS: usize = 64;

/// Tiles in a slot: to add up a slot takes about as long as 1/15 of one. Measured, steps of 64-64-64-64, against four tiles in
/// each: on one thread batches of 512 and 768 the same, of 1,024 and 2,048 0 to 3 % faster; on two threads 512 4 % slower, 768 25
/// faster, for three slots are two for one thread, 1,024 3 slower, 2,048 the same. More threads have twice as much to share.
const TILES_PER_SLOT: usize = 2;

/// Fewest tiles of a batch that are summed in slots. Two-phase batches are cut as finely as threads ask.
const DEPTH_FIRST_TILES: usize = 8;

/// Slots that one of so many threads takes together. Each such run starts with buffers that are far; a thread has four of
/// them to make up for others that are slower.
pub fn slots_together(slots: usize, threads: usize) -> usize {
    (slots / threads.saturating_mul(4)).max(1)
}

/// Largest set of weights, transposed weights and gradients that the depth-first schedule keeps in L2
/// beside a tile: half of a 2 MiB L2.
const DEPTH_FIRST_BYTES: usize = 1 << 20;

/// Lines of `k` (inputs forward, outputs backward) that one block of a product takes: `KC`, in elements 256 for `f32`. Three
/// panels of 256 rows are 48 KiB, an L1, and stay in L2 while the row blocks of a tile pass.
const KC_LINES: usize = 16;

/// Bytes of `A` that stay in L1 whatever else passes through it.
const FEW_BYTES: usize = 16 << 10;

/// Segments of `k` of one block: [`KC_LINES`], or all of them where rows are few. Then no panel is read twice, and each is
/// read from end to end.
#[inline(always)]
pub fn segments_of_block<T: Element>(rows: usize, segments: usize) -> usize {
    if rows * segments * size_of::<T::Line>() <= FEW_BYTES { segments } else { KC_LINES }
}

/// Panels of `C` that one block of a product takes, at most: while they are computed, a block of `k` of `A` and their own
/// sums stay in L2: 256 rows of 24 panels are 384 KiB. Without it each three panels would read all of `A`, which of 4,096
/// columns does not fit in an L2.
pub const NC_PANELS: usize = 24;

/// Panels of one layer's outputs, of those left, that are the next unit of ownership in the update: as many as a tile takes,
/// so that the inputs are read once for all of them. The last eight are four and four, so that two threads have as much to
/// do each, and four are not three and one.
///
/// Fewer if they are more than [`most_owned_panels`]: to read the inputs more often is better than to wait for another thread.
pub fn owned_panels(left: usize, most: usize) -> usize {
    let together = match left {
        ..=4 => left,
        7 | 8 => 4,
        _ => 3,
    };
    together.min(most)
}

/// Panels, of so many lines each, that are no more than one thread's part of all parameters.
pub fn most_owned_panels(parameter_lines: usize, panel_lines: usize, threads: usize) -> usize {
    (parameter_lines / threads / panel_lines).max(1)
}

/// Floating-point operations below which a step stays on the calling thread, unless the caller says otherwise.
///
/// Waking a pool and waiting for it takes 12 to 15 microseconds. Measured, two threads against one, on 64-64-64-64:
/// batch 64 (5 MFLOP, 19 microseconds) 0.88, batch 256 (19 MFLOP) 1.40. So both are even at 7 MFLOP.
pub const PARALLEL_FLOP: usize = 10_000_000;

/// Floating-point operations that the update of a parameter counts as where it stands alone: what takes time is to read and
/// write it, with its gradient, its moments and its transposed copy. Measured, Adam on one thread and two: 60,000 parameters
/// 13.5 and 7.4 microseconds, 100,000 18.7 and 10.3, 670,000 136 and 71, 3.1 million 1,547 and 908.
pub const UPDATE_FLOP: usize = 32;

/// Rows that a few count as when it is asked whether to share them out: what takes time is to read the weights. Measured,
/// 784-512-512-10 on one thread: one row 52 microseconds, two 55, four 58, eight 81, sixteen 149.
pub fn counted_rows(rows: usize) -> usize {
    rows.max(8)
}

/// Whether the outputs of a layer are worth sharing out where its rows are not: from 10 microseconds on, when a thread that is
/// awake takes its part within one or two.
pub fn shares_outputs(rows: usize, weights: usize) -> bool {
    counted_rows(rows).saturating_mul(weights).saturating_mul(2) >= LAYER_FLOP
}

/// See [`shares_outputs`].
const LAYER_FLOP: usize = 2_000_000;

/// Fewest panels of outputs that a thread takes: a multiple of what one row takes at a time.
pub const OWN_PANELS: usize = 8;

/// How the rows of a batch become a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Each tile goes forward and backward before the next starts; gradients go to `slots` partial sums.
    DepthFirst { slots: usize },
    /// All tiles go forward and back; then each block of the gradient is summed over the batch.
    TwoPhase,
}

impl Plan {
    /// Depth-first if the batch is long enough to fill slots and the parameters fit beside a tile.
    pub fn choose<T: Element>(max_batch: usize, tile_rows: usize, parameter_lines: usize) -> Self {
        let tiles = max_batch.div_ceil(tile_rows);
        if tiles >= DEPTH_FIRST_TILES && fits_near::<T>(parameter_lines) {
            Self::DepthFirst { slots: (tiles / TILES_PER_SLOT).min(MAX_SLOTS) }
        } else {
            Self::TwoPhase
        }
    }
}

/// Whether weights, their transposed copy and their gradient stay in L2 beside a tile, as the depth-first schedule needs it.
pub fn fits_near<T: Element>(parameter_lines: usize) -> bool {
    3 * parameter_lines * size_of::<T::Line>() <= DEPTH_FIRST_BYTES
}

/// Floating-point operations of a training step: two per multiply-add of the three products.
pub fn step_flop(batch: usize, weights: usize) -> usize {
    batch.saturating_mul(weights).saturating_mul(6)
}

/// Adjacent panels that a micro-kernel takes, of those left, when a layer has `rows` rows to fill a tile.
///
/// Few rows take many panels, so that enough independent sums are in flight to hide the latency of a
/// fused multiply-add (4 cycles, two per cycle: eight); many rows take three panels, because an 8x3 tile
/// loads least per multiply-add. Four panels are two pairs rather than three and one.
#[inline(always)]
pub const fn panels_per_tile(left: usize, rows: usize, accumulators: usize) -> usize {
    let widest = if accumulators < 24 {
        // Few registers: one panel and as many rows as fit, but for a row or two.
        if rows == 1 && accumulators >= 4 {
            4
        } else if rows == 2 && accumulators >= 4 {
            2
        } else {
            1
        }
    } else if rows <= 2 {
        // Three rows of eight panels, with a line of each panel beside them, would take 33 registers of 32.
        8
    } else if rows <= 6 {
        4
    } else if left == 4 || left == 2 {
        2
    } else {
        3
    };
    if widest <= left {
        widest
    } else if left >= 4 && widest > 4 {
        4
    } else if left >= 3 && widest >= 3 {
        if left == 3 && accumulators >= 24 { 3 } else { 2 }
    } else if left >= 2 && widest >= 2 {
        2
    } else {
        1
    }
}

/// Whether a tile does so little with each line that it waits for them where they come from beyond L2. With as few registers
/// as AVX2 has, asking ahead makes it slower (32.4 to 34.7 microseconds for the row below).
#[inline(always)]
pub const fn waits_for_lines(mr: usize, np: usize, accumulators: usize) -> bool {
    mr <= 2 && np == FAR_PANELS && accumulators >= 24
}

/// Lines of weights of which some are beyond L2: half of an L2 of 1 MiB.
pub const FAR_LINES: usize = 8192;

/// [`panels_per_tile`] where lines are beyond L2.
#[inline(always)]
pub const fn far_panels_per_tile(left: usize, rows: usize, accumulators: usize) -> usize {
    let np = panels_per_tile(left, rows, accumulators);
    if np > FAR_PANELS { FAR_PANELS } else { np }
}

/// The most panels that a tile takes there. Eight hide the latency of every multiply-add, but the lines of
/// four come sooner. On a Zen 5, eight, four and two: one row through 784-512-512-10, 2.7 MB of weights, 25.6, 24.5 and 24.7
/// microseconds, two rows 26.6, 23.9 and 25.5; one row through 1024-4096-4096-1024 2.57, 2.37 and 2.59 milliseconds.
pub const FAR_PANELS: usize = 4;

/// How far ahead of its use such a line is asked for. The machine asks for what follows by itself, but within each panel, and
/// not past the end of a page. That row, when it took eight panels at a time, on a Zen 4: without 30.7 microseconds, 8
/// lines ahead 30.5, 12 29.3, 16 29.7, 24 29.8, 40 32.6.
pub const LINES_AHEAD: usize = 12;

/// Lines of each segment of the next group of panels that a tile asks for, where they are far: eight tiles ask for all of
/// them. Otherwise the first tile of a group would wait for most of its lines, which of 64 rows is an eighth of the group.
pub const LINES_ASKED: usize = 2;

/// Whether a tile does enough with each line to ask for others beside.
#[inline(always)]
pub const fn asks_for_next(mr: usize) -> bool {
    mr >= 6
}

/// Whether the last panel of a weight gradient, of `cols` columns, is summed over `rows` rows turned round: with outputs as
/// rows and inputs along the lanes. As it lies in memory, lanes past its columns work for nothing; turned round, its
/// blocks are transposed, which takes as long as some ten rows.
#[inline(always)]
pub const fn turns_round(cols: usize, rows: usize) -> bool {
    cols <= NARROW && rows >= 24
}

/// Whether the last panel of another product, of `cols` columns, is computed with the `steps` of its sums along the lanes: see
/// `narrow.rs`. A row takes a multiply-add for each `LANES` steps of each column, and as long as six more to add its lanes up;
/// as they lie, all columns together take one for each step.
#[inline(always)]
pub const fn sums_along_lanes<T: Element>(cols: usize, steps: usize) -> bool {
    let segments = steps.div_ceil(T::LANES);
    cols <= NARROW && segments > 1 && cols * (segments + 6) <= steps
}

/// Segments of `k` of one block of such a product, whose columns are transposed before they are used: each block adds one sum
/// to every element of `C`.
pub const LANE_SEGMENTS: usize = 16;

/// Rows of a tile of `cols` columns, at most four, of such a product: 12 to 16 lines of sums with AVX-512, else three or four.
#[inline(always)]
pub const fn lane_rows(cols: usize, accumulators: usize) -> usize {
    match (cols, accumulators) {
        (1, 24..) => 16,
        (2, 24..) => 8,
        (_, 24..) => 4,
        (1, _) => 4,
        (2, _) => 2,
        _ => 1,
    }
}

/// Chains that each sum of a gradient has where a panel has so many inputs or outputs: as many as make four lines of sums.
/// One input and the biases, of one panel, would otherwise be two chains, of the eight that hide the latency of a multiply-add.
#[inline(always)]
pub const fn chains(lines: usize) -> usize {
    match lines {
        1 => 4,
        2 => 2,
        _ => 1,
    }
}

/// Whether some sums of the gradient of such a layer have several [`chains`]: those of its last inputs, or last outputs, and
/// their biases. Not where it has one panel of inputs, whose gradient may be computed elsewhere.
pub fn sums_in_chains<T: Element>(inputs: usize, outputs: usize) -> bool {
    let last = |count: usize| count - (panels::<T>(count) - 1) * T::LANES;
    panels::<T>(inputs) > 1 && (chains(last(inputs)) > 1 || chains(last(outputs)) > 1)
}

/// Rows after which such chains are added up; those left at a tile's end are one chain. So a sum does not depend on where tiles
/// end, as long as it is after a multiple of so many rows.
pub const CHAINED: usize = 32;

/// Most columns of a panel that [`turns_round`] or is summed along lanes.
const NARROW: usize = 6;

/// Panels of inputs that a gradient of `cols` outputs that [`turns_round`] takes at a time: six, or as many as there are
/// registers for, or one.
#[inline(always)]
pub const fn turned_panels(cols: usize, accumulators: usize) -> usize {
    let mut np = 6;
    while np > 1 && !fits_in_registers(cols * chains(cols), np, accumulators) {
        np -= 1;
    }
    np
}

/// Rows of a micro-kernel tile over `np` panels.
#[inline(always)]
pub const fn rows_per_tile(np: usize, accumulators: usize) -> usize {
    let rows = accumulators / np;
    if rows > 12 {
        12
    } else if rows == 0 {
        1
    } else {
        rows
    }
}

/// Whether the sums of a tile, a line of each of its panels and a broadcast element fit in registers. Beside 24 sums
/// AVX-512 has 7 registers for lines, beside 6 sums AVX2 has one pair. A single row uses each line once, straight from
/// memory.
#[inline(always)]
pub const fn fits_in_registers(mr: usize, np: usize, accumulators: usize) -> bool {
    let lines = if accumulators < 24 { 1 } else { 7 };
    mr * np <= accumulators && (mr == 1 || (mr + 1) * np <= accumulators + lines)
}

/// Rows from which on the gradient of one panel by one is summed as others are, in tiles, the biases with the last of them:
/// with fewer rows it takes longer to set out than the biases take by themselves. Measured, a step of 8-16-4: one row 0.17
/// microseconds, in tiles 0.22, four rows 0.23 and 0.26, 16 rows 0.55 and 0.56, 64 rows 2.09 and 1.78.
pub const TILED_ROWS: usize = 24;

/// Whether a tile of a gradient that fits in registers has some left for a row of ones: eight inputs by three panels are 24
/// sums of 32 registers with AVX-512, and the row makes 27, beside three lines and a broadcast.
#[inline(always)]
pub const fn takes_ones(mr: usize, np: usize, accumulators: usize) -> bool {
    let spare = if accumulators < 24 { 0 } else { 3 };
    mr <= 8 && (mr + 1) * np <= accumulators + spare
}

/// Rows of the next of the equal blocks that `left` rows are divided into, none larger than `mr`.
#[inline(always)]
pub const fn next_rows(left: usize, mr: usize) -> usize {
    // Two divisions are worth avoiding: a tile of a small layer takes no longer.
    if left <= mr { left } else { left.div_ceil(left.div_ceil(mr)) }
}

/// The next tiles of equal height that `left` rows are divided into, as [`next_rows`] does: rows of one, and how many.
#[inline(always)]
pub const fn next_tiles(left: usize, mr: usize) -> (usize, usize) {
    if left <= mr {
        return (left, 1);
    }
    let count = left.div_ceil(mr);
    match left % count {
        0 => (left / count, count),
        larger => (left / count + 1, larger),
    }
}

/// Lines that a layer's parameters take: a line of biases and `inputs` lines of weights in each panel.
pub fn parameter_lines<T: Element>(inputs: usize, outputs: usize) -> Option<usize> {
    inputs.checked_add(1)?.checked_mul(panels::<T>(outputs))
}

/// Lines that a layer's transposed weights take.
pub fn transposed_lines<T: Element>(inputs: usize, outputs: usize) -> Option<usize> {
    panels::<T>(outputs).checked_mul(transposed_stride::<T>(inputs))
}

/// Lines from the blocks of one panel of outputs to those of the next: an odd number of blocks. A product goes down
/// through blocks at this distance, 16 of them before it comes back, and if it were a multiple of 4096 bytes all of them
/// would share a few sets of each cache: 64 blocks of 1024 bytes are 64 KiB, in which L1 has room for 8 lines and L2 for
/// 16.
#[inline(always)]
pub fn transposed_stride<T: Element>(inputs: usize) -> usize {
    (panels::<T>(inputs) | 1).saturating_mul(T::LANES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_of_equal_height_follow_the_rows_one_by_one() {
        for mr in 1..=12 {
            for all in 1..100 {
                let mut left = all;
                while left > 0 {
                    let (rows, count) = next_tiles(left, mr);
                    assert!(count > 0);
                    for _ in 0..count {
                        assert_eq!(rows, next_rows(left, mr), "{all} rows, {mr} at most");
                        left -= rows;
                    }
                    assert_ne!(
                        rows,
                        next_rows(left, mr),
                        "{all} rows, {mr} at most: one run of tiles is cut in two"
                    );
                }
            }
        }
    }

    #[test]
    fn owners_have_no_more_than_a_thread_s_part() {
        let groups = |widths: &[usize], threads: usize| -> Vec<usize> {
            let of_layer = |ends: &[usize]| parameter_lines::<f32>(ends[0], ends[1]).unwrap();
            let all = widths.windows(2).map(of_layer).sum();
            let of_layer = |ends: &[usize]| {
                let most = most_owned_panels(all, 1 + ends[0], threads);
                let mut left = panels::<f32>(ends[1]);
                let mut next = || {
                    let owned = owned_panels(left, most);
                    left -= owned;
                    (owned > 0).then_some(owned)
                };
                core::iter::from_fn(&mut next).collect::<Vec<_>>()
            };
            widths.windows(2).flat_map(of_layer).collect()
        };
        let mnist128 = |threads| groups(&[784, 128, 10], threads);
        assert_eq!([1, 2].map(mnist128), [[4, 4, 1]; 2]);
        assert_eq!(mnist128(4), [2, 2, 2, 2, 1]);
        assert_eq!([8, 256].map(mnist128), [[1; 9]; 2]);
        let sq1024 = |threads| groups(&[1024; 4], threads).len();
        assert_eq!([1, 2, 48, 64, 96, 192, 500].map(sq1024), [63, 63, 63, 66, 96, 192, 192]);
        assert_eq!(groups(&[64, 64], 1), [4]);
        assert_eq!(groups(&[64, 64], 2), [2, 2]);
    }

    #[test]
    fn tiles_follow_the_threads_where_no_sum_depends_on_them() {
        let rows = |max_batch, widths: &[usize], threads| {
            let layers = || widths.windows(2).map(|ends| (ends[0], ends[1]));
            let weights = layers().map(|(inputs, outputs)| (1 + inputs) * outputs).sum();
            let lines =
                layers().map(|(inputs, outputs)| parameter_lines::<f32>(inputs, outputs).unwrap()).sum();
            let is_chained = layers().any(|(inputs, outputs)| sums_in_chains::<f32>(inputs, outputs));
            let TileRows { least, most } =
                TileRows::choose::<f32>(max_batch, weights, lines, is_chained, threads);
            (least, most)
        };
        let mnist512 = [784, 512, 512, 10];
        let of_threads = |threads| rows(256, &mnist512, Some(threads));
        assert_eq!([1, 2, 3, 4].map(of_threads), [(64, 128), (64, 128), (32, 32), (64, 64)]);
        assert_eq!([5, 8, 16, 64].map(of_threads), [(64, 64), (32, 32), (32, 32), (32, 32)]);
        assert_eq!(rows(256, &mnist512, None), (64, 64));
        // 784-128-10.
        assert_eq!([1, 2].map(|threads| rows(64, &[784, 128, 10], Some(threads))), [(32, 64), (32, 32)]);
        // Few weights, wide tiles, and a batch of one tile.
        assert_eq!(rows(65_536, &[32, 64, 64, 64, 64, 3], Some(1)), (64, 64));
        let sq1024 = |threads| rows(1024, &[1024; 4], Some(threads));
        assert_eq!([1, 2, 3, 4].map(sq1024), [(256, 256), (256, 256), (128, 128), (256, 256)]);
        assert_eq!([6, 8, 16, 32, 64].map(sq1024), [(64, 64), (128, 128), (64, 64), (32, 32), (32, 32)]);
        let wide = |threads| rows(512, &[1024, 4096, 4096, 1024], Some(threads));
        assert_eq!([1, 2, 4, 8].map(wide), [(128, 256), (128, 256), (128, 128), (64, 64)]);
        assert_eq!(rows(16, &mnist512, Some(1)), (16, 16));
        // Of 40 rows, which is no multiple of those whose sums are added up together.
        assert_eq!(rows(80, &mnist512, Some(1)), (40, 80));
        assert_eq!([1, 2, 16].map(|threads| rows(80, &[785, 512, 10], Some(threads))), [(40, 40); 3]);
        assert_eq!(
            [1, 2, 16].map(|threads| rows(200, &[785, 512, 10], Some(threads))),
            [(64, 128), (64, 128), (32, 32)]
        );
        let tiles = TileRows { least: 64, most: 128 };
        assert_eq!([64, 128, 129, 256].map(|batch| tiles.of_batch(batch, 2)), [64, 64, 128, 128]);
    }
}
