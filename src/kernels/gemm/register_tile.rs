//! The tiles of sums that fit in the registers of an instruction set.
//!
//! A tile is `MR` rows by `NP` panels. Which tiles exist depends on [`Lanes::ACCUMULATORS`], the lines of
//! sums that a register file holds beside operands: 24 with AVX-512, 6 (pairs of registers) with AVX2, 2 with
//! portable lanes. Only these are compiled. No sum depends on its tile.
//!
//! [`Lanes::ACCUMULATORS`]: crate::simd::lanes::Lanes::ACCUMULATORS

/// Rows of the tallest tile over `np` panels, 0 where no tile is that wide: the table of all tiles, for those
/// of fewer rows exist too.
///
/// Eight panels are for one row or two: three of them, with a line of each panel beside, would take 33
/// registers of 32. With AVX2 a tile of several panels is for rows that are too few for [`panels_per_tile`]
/// to take one panel.
#[inline(always)]
pub(crate) const fn rows_per_tile(np: usize, accumulators: usize) -> usize {
    match (accumulators, np) {
        (24.., 1 | 2) => 12,
        (24.., 3) => 8,
        (24.., 4) => 6,
        (24.., 8) => 2,
        (6..24, 1) => 6,
        (6..24, 2) => 2,
        (6..24, 4) => 1,
        (..6, 1) => 2,
        _ => 0,
    }
}

/// Whether a tile of a forward or backward product exists.
#[inline(always)]
pub(crate) const fn tile_exists(mr: usize, np: usize, accumulators: usize) -> bool {
    0 < mr && mr <= rows_per_tile(np, accumulators)
}

/// Panels of the next tile of a weight gradient, of those left: many inputs fill it.
#[inline(always)]
pub(crate) const fn panels_per_gradient_tile(left: usize, accumulators: usize) -> usize {
    panels_per_tile(left, usize::MAX, accumulators)
}

/// Rows of the tallest tile of a weight gradient over `np` panels, 0 where no tile is that wide. Eight divide
/// a panel of inputs evenly.
#[inline(always)]
pub(crate) const fn rows_per_gradient_tile(np: usize, accumulators: usize) -> usize {
    if panels_per_gradient_tile(np, accumulators) != np {
        return 0;
    }
    let rows = rows_per_tile(np, accumulators);
    if rows > 8 { 8 } else { rows }
}

/// Place of a tile in a panel of inputs of a weight gradient.
#[derive(Clone, Copy)]
pub(crate) enum TilePlace {
    /// Others follow within the panel.
    Inner,
    /// The last of a whole panel that another follows.
    EndsPanel,
    /// The last of all inputs.
    EndsInputs,
}

impl TilePlace {
    /// Whether tiles of `mr` rows by `np` panels occur at this place, of panels of `lanes` inputs that
    /// [`next_rows`] divides.
    pub(crate) const fn has_tile(self, mr: usize, np: usize, lanes: usize, accumulators: usize) -> bool {
        let tallest = rows_per_gradient_tile(np, accumulators);
        if tallest == 0 {
            return false;
        }
        let mut width = 1;
        while width <= lanes {
            let mut i = 0;
            while i < width {
                let rows = next_rows(width - i, tallest);
                let occurs = match self {
                    Self::Inner => i + rows < width,
                    Self::EndsPanel => i + rows == lanes,
                    Self::EndsInputs => i + rows == width,
                };
                if rows == mr && occurs {
                    return true;
                }
                i += rows;
            }
            width += 1;
        }
        false
    }
}

/// Adjacent panels of the next tile, of those left, when a layer has `rows` rows to fill tiles.
///
/// Few rows take many panels, so that enough independent sums are in flight to hide the latency of a fused
/// multiply-add (4 cycles, two per cycle: eight); many rows take three panels: for 24 multiply-adds an 8x3
/// tile loads 11 lines and elements, a 12x2 tile 14, a 6x4 tile 10, but six divide neither the rows of a
/// micro-batch nor the inputs of a panel, which eight do. Four panels are two pairs rather than three and
/// one.
#[inline(always)]
pub(crate) const fn panels_per_tile(left: usize, rows: usize, accumulators: usize) -> usize {
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
        8
    } else if rows <= 6 {
        4
    } else if left == 4 || left == 2 {
        2
    } else {
        3
    };
    match if widest < left { widest } else { left } {
        5..=7 => 4,
        3 if accumulators < 24 => 2,
        np => np,
    }
}

/// [`panels_per_tile`] of a `B` that does not fit in L2.
#[inline(always)]
pub(crate) const fn panels_per_tile_beyond_l2(left: usize, rows: usize, accumulators: usize) -> usize {
    let np = panels_per_tile(left, rows, accumulators);
    if np > L2_PANELS { L2_PANELS } else { np }
}

/// Maximum panels of a tile where `B` does not fit in L2. Eight hide the latency of every multiply-add, but
/// the lines of four come sooner. On a Zen 5, eight, four and two: one row through 784-512-512-10, 2.7 MB of
/// weights, 25.6, 24.5 and 24.7 microseconds, two rows 26.6, 23.9 and 25.5; one row through
/// 1024-4096-4096-1024 2.57, 2.37 and 2.59 milliseconds.
pub(crate) const L2_PANELS: usize = 4;

/// Whether a tile does so little with each line that it waits for them where `B` does not fit in L2. With as
/// few registers as AVX2 has, a prefetch makes it slower (32.4 to 34.7 microseconds for one row through
/// 784-512-512-10).
#[inline(always)]
pub(crate) const fn prefetches_lines(mr: usize, np: usize, accumulators: usize) -> bool {
    mr <= 2 && np == L2_PANELS && accumulators >= 24
}

/// Whether a tile does enough with each line to prefetch others meanwhile.
#[inline(always)]
pub(crate) const fn prefetches_next(mr: usize) -> bool {
    mr >= 6
}

/// Whether the sums of a tile, a line of each of its panels and a broadcast element fit in registers. Beside
/// 24 sums AVX-512 has 7 registers for lines, beside 6 sums AVX2 has one pair. A single row uses each line
/// once, straight from memory.
#[inline(always)]
pub(crate) const fn fits_in_registers(mr: usize, np: usize, accumulators: usize) -> bool {
    let lines = if accumulators < 24 { 1 } else { 7 };
    mr * np <= accumulators && (mr == 1 || (mr + 1) * np <= accumulators + lines)
}

/// Whether a tile of a weight gradient has registers left for a row of ones: eight inputs by three panels are
/// 24 sums of 32 registers with AVX-512, and the row makes 27, beside three lines and a broadcast element.
#[inline(always)]
pub(crate) const fn takes_ones(mr: usize, np: usize, accumulators: usize) -> bool {
    let spare = if accumulators < 24 { 0 } else { 3 };
    mr <= 8 && (mr + 1) * np <= accumulators + spare
}

/// Accumulators of each sum of a weight gradient where a panel has `lines` inputs or outputs: as many as make
/// four lines of sums. One input and the biases, of one panel, would otherwise be two accumulators, of the
/// eight that hide the latency of a multiply-add.
#[inline(always)]
pub(crate) const fn accumulators_of(lines: usize) -> usize {
    match lines {
        1 => 4,
        2 => 2,
        _ => 1,
    }
}

/// Panels of inputs of a tile of a transposed gradient of `cols` outputs: six, or as many as there are
/// registers for, or one.
#[inline(always)]
pub(crate) const fn transposed_panels(cols: usize, accumulators: usize) -> usize {
    let mut np = 6;
    while np > 1 && !fits_in_registers(cols * accumulators_of(cols), np, accumulators) {
        np -= 1;
    }
    np
}

/// Rows of a tile of `cols` columns, at most four, of a dot product: 12 to 16 lines of sums with AVX-512,
/// else three or four.
#[inline(always)]
pub(crate) const fn dot_product_rows(cols: usize, accumulators: usize) -> usize {
    match (cols, accumulators) {
        (1, 24..) => 16,
        (2, 24..) => 8,
        (_, 24..) => 4,
        (1, _) => 4,
        (2, _) => 2,
        _ => 1,
    }
}

/// Rows of the next of the equal blocks that `left` rows are divided into, none larger than `mr`.
#[inline(always)]
pub(crate) const fn next_rows(left: usize, mr: usize) -> usize {
    // Two divisions are worth avoiding: a tile of a small layer takes no longer.
    if left <= mr { left } else { left.div_ceil(left.div_ceil(mr)) }
}

/// The next tiles of equal height that `left` rows are divided into, as [`next_rows`] does: rows of one, and
/// how many.
#[inline(always)]
pub(crate) const fn next_tiles(left: usize, mr: usize) -> (usize, usize) {
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
    use std::collections::HashSet;

    /// Every register file there is.
    const ACCUMULATORS: [usize; 3] = [2, 6, 24];

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
    fn the_tiles_that_exist_are_those_that_products_take_and_fit_in_registers() {
        for accumulators in ACCUMULATORS {
            let mut taken = HashSet::new();
            for (all, left) in (1..200).flat_map(|rows| (1..30).map(move |left| (rows, left))) {
                for np in [panels_per_tile, panels_per_tile_beyond_l2].map(|f| f(left, all, accumulators)) {
                    assert!(rows_per_tile(np, accumulators) > 0, "{np} panels of {accumulators}");
                    let mut m = 0;
                    while m < all {
                        let (rows, count) = next_tiles(all - m, rows_per_tile(np, accumulators));
                        taken.insert((rows, np));
                        m += rows * count;
                    }
                }
            }
            let all = (0..20).flat_map(|mr| (0..20).map(move |np| (mr, np)));
            let exist: HashSet<_> = all.filter(|&(mr, np)| tile_exists(mr, np, accumulators)).collect();
            assert_eq!(taken, exist, "{accumulators} accumulators");
            assert!(exist.iter().all(|&(mr, np)| fits_in_registers(mr, np, accumulators)));
        }
    }

    #[test]
    fn the_tiles_of_gradients_that_exist_are_those_that_gradients_take() {
        for (accumulators, lanes) in ACCUMULATORS.into_iter().flat_map(|a| [(a, 8), (a, 16)]) {
            for left in 1..30 {
                let np = panels_per_gradient_tile(left, accumulators);
                let tallest = rows_per_gradient_tile(np, accumulators);
                for inputs in 1..=3 * lanes {
                    for s in (0..inputs).step_by(lanes) {
                        let width = lanes.min(inputs - s);
                        let mut i = 0;
                        while i < width {
                            let rows = next_rows(width - i, tallest);
                            let place = if s + i + rows == inputs {
                                TilePlace::EndsInputs
                            } else if i + rows == lanes {
                                TilePlace::EndsPanel
                            } else {
                                TilePlace::Inner
                            };
                            assert!(place.has_tile(rows, np, lanes, accumulators), "{rows} x {np}");
                            assert!(fits_in_registers(rows, np, accumulators));
                            i += rows;
                        }
                    }
                }
            }
        }
    }
}
