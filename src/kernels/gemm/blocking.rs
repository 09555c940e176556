//! The one place that chooses tile and block sizes, with the arithmetic that gives them.
//!
//! Nothing here looks at the machine: sizes follow from the shapes alone, so that the order of every sum, and with it every
//! bit, is the same everywhere. Only [`MicroBatchRows`] and [`prediction_rows`] take the number of threads, where no sum depends on it.

use crate::kernels::matrix::panels::panels;
use crate::simd::scalar::Element;

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
pub const fn prefetches_lines(mr: usize, np: usize, accumulators: usize) -> bool {
    mr <= 2 && np == L2_PANELS && accumulators >= 24
}

/// Lines of weights of which some are beyond L2: half of an L2 of 1 MiB.
pub const L2_LINES: usize = 8192;

/// [`panels_per_tile`] where lines are beyond L2.
#[inline(always)]
pub const fn panels_per_tile_beyond_l2(left: usize, rows: usize, accumulators: usize) -> usize {
    let np = panels_per_tile(left, rows, accumulators);
    if np > L2_PANELS { L2_PANELS } else { np }
}

/// The most panels that a tile takes there. Eight hide the latency of every multiply-add, but the lines of
/// four come sooner. On a Zen 5, eight, four and two: one row through 784-512-512-10, 2.7 MB of weights, 25.6, 24.5 and 24.7
/// microseconds, two rows 26.6, 23.9 and 25.5; one row through 1024-4096-4096-1024 2.57, 2.37 and 2.59 milliseconds.
pub const L2_PANELS: usize = 4;

/// How far ahead of its use such a line is asked for. The machine asks for what follows by itself, but within each panel, and
/// not past the end of a page. That row, when it took eight panels at a time, on a Zen 4: without 30.7 microseconds, 8
/// lines ahead 30.5, 12 29.3, 16 29.7, 24 29.8, 40 32.6.
pub const PREFETCH_DISTANCE: usize = 12;

/// Lines of each segment of the next group of panels that a tile asks for, where they are far: eight tiles ask for all of
/// them. Otherwise the first tile of a group would wait for most of its lines, which of 64 rows is an eighth of the group.
pub const PREFETCH_LINES: usize = 2;

/// Whether a tile does enough with each line to ask for others beside.
#[inline(always)]
pub const fn prefetches_next(mr: usize) -> bool {
    mr >= 6
}

/// Whether the last panel of a weight gradient, of `cols` columns, is summed over `rows` rows turned round: with outputs as
/// rows and inputs along the lanes. As it lies in memory, lanes past its columns work for nothing; turned round, its
/// blocks are transposed, which takes as long as some ten rows.
#[inline(always)]
pub const fn uses_transposed(cols: usize, rows: usize) -> bool {
    cols <= NARROW && rows >= 24
}

/// Whether the last panel of another product, of `cols` columns, is computed with the `steps` of its sums along the lanes: see
/// `narrow.rs`. A row takes a multiply-add for each `LANES` steps of each column, and as long as six more to add its lanes up;
/// as they lie, all columns together take one for each step.
#[inline(always)]
pub const fn uses_dot_product<T: Element>(cols: usize, steps: usize) -> bool {
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
/// One input and the biases, of one panel, would otherwise be two accumulators_of, of the eight that hide the latency of a multiply-add.
#[inline(always)]
pub const fn accumulators_of(lines: usize) -> usize {
    match lines {
        1 => 4,
        2 => 2,
        _ => 1,
    }
}

/// Whether some sums of the gradient of such a layer have several [`accumulators_of`]: those of its last inputs, or last outputs, and
/// their biases. Not where it has one panel of inputs, whose gradient may be computed elsewhere.
pub fn splits_accumulators<T: Element>(inputs: usize, outputs: usize) -> bool {
    let last = |count: usize| count - (panels::<T>(count) - 1) * T::LANES;
    panels::<T>(inputs) > 1 && (accumulators_of(last(inputs)) > 1 || accumulators_of(last(outputs)) > 1)
}

/// Rows after which such accumulators_of are added up; those left at a tile's end are one chain. So a sum does not depend on where tiles
/// end, as long as it is after a multiple of so many rows.
pub const ACCUMULATOR_PERIOD: usize = 32;

/// Most columns of a panel that [`uses_transposed`] or is summed along lanes.
const NARROW: usize = 6;

/// Panels of inputs that a gradient of `cols` outputs that [`uses_transposed`] takes at a time: six, or as many as there are
/// registers for, or one.
#[inline(always)]
pub const fn transposed_panels(cols: usize, accumulators: usize) -> usize {
    let mut np = 6;
    while np > 1 && !fits_in_registers(cols * accumulators_of(cols), np, accumulators) {
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
}
