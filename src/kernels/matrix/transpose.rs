//! The transposed copy of weights.

use crate::kernels::matrix::panels::panels;
use crate::simd::lanes::{GROUP, Lanes, LineOf};
use crate::simd::scalar::Scalar;
use crate::simd::scalar::{Element, Line, elements};

/// Number of lines of a layer's transposed weights.
pub(crate) fn transposed_lines<T: Element>(inputs: usize, outputs: usize) -> Option<usize> {
    panels::<T>(outputs).checked_mul(transposed_stride::<T>(inputs))
}

/// Lines from the blocks of one panel of outputs to those of the next: an odd number of blocks. A product
/// goes down through blocks at this distance, 16 of them before it comes back, and if it were a multiple of
/// 4096 bytes all of them would share a few sets of each cache: 64 blocks of 1024 bytes are 64 KiB, in which
/// L1 has room for 8 lines and L2 for 16.
#[inline(always)]
pub(crate) fn transposed_stride<T: Element>(inputs: usize) -> usize {
    (panels::<T>(inputs) | 1).saturating_mul(T::LANES)
}

/// Writes the transposed copy of one panel of weights, as square blocks of lines.
///
/// `to` is `[I / LANES][LANES][LANES]`, the block row of `W^T` that belongs to this panel's outputs:
/// line `j` of block `p` holds the weights from inputs `p LANES ..` to output `j`. `weights` is the
/// panel's `[I][LANES]`, of which `outputs` columns are in use (more than `LANES` count as `LANES`). Inputs
/// past the end are 0; lines of outputs past the end are left as they are, for no product reads them.
///
/// The blocks of one panel are contiguous, so whoever owns a panel of outputs owns its transpose too.
#[inline(always)]
pub(crate) fn transpose_panel<L: Lanes>(l: L, to: &mut [LineOf<L>], weights: &[LineOf<L>], outputs: usize) {
    let lanes = L::Element::LANES;
    let outputs = outputs.min(lanes);
    for (block, rows) in to.chunks_exact_mut(lanes).zip(weights.chunks(lanes)) {
        if rows.len() * outputs < FEW_ELEMENTS {
            transpose_few::<L::Element>(&mut block[..outputs], rows);
        } else {
            transpose_block(l, &mut block[..outputs], rows);
        }
    }
}

/// Elements of a block from which on vectors transpose it faster than moves one by one.
const FEW_ELEMENTS: usize = 32;

#[inline(always)]
fn transpose_few<T: Element>(to: &mut [T::Line], rows: &[T::Line]) {
    for (j, line) in to.iter_mut().enumerate() {
        let line = line.as_mut_slice();
        for (i, row) in rows.iter().enumerate() {
            line[i] = row.as_slice()[j];
        }
        line[rows.len()..].fill(T::ZERO);
    }
}

/// Writes columns of at most `LANES` rows, as many as there are lines in `to`: lane `i` of line `j` becomes
/// lane `j` of row `i`, and 0 where there is no row. Not inlined: it is long, and used in many places.
#[inline(never)]
pub(crate) fn transpose_block<L: Lanes>(l: L, to: &mut [LineOf<L>], rows: &[LineOf<L>]) {
    l.vectorize(
        #[inline(always)]
        || {
            for (i, to) in to.chunks_mut(GROUP).enumerate() {
                for (to, column) in to.iter_mut().zip(l.columns(rows, i * GROUP)) {
                    l.store(to, column);
                }
            }
        },
    );
}

/// Stores the elements of at most `LANES` rows as lines: lane `i` of line `j` becomes lane `j` of row `i`.
/// Lanes past the columns become 0. Not inlined, as [`transpose_block`].
#[inline(never)]
pub(crate) fn store_columns<L: Lanes, const MR: usize>(
    l: L,
    rows: &mut [LineOf<L>],
    columns: &[LineOf<L>; MR],
) {
    l.vectorize(
        #[inline(always)]
        || {
            let lanes = L::Element::LANES;
            let mask = l.first_lanes(MR);
            if const { MR == 1 } {
                for (row, &x) in rows.iter_mut().zip(columns[0].as_slice()) {
                    l.store(row, l.select(mask, l.splat(x), l.zero()));
                }
            } else if const { MR <= GROUP } {
                let packed = pack_columns::<L, MR, GROUP>(l, columns);
                let (groups, _) = elements::<L::Element>(&packed).as_chunks::<GROUP>();
                for (row, group) in rows.iter_mut().zip(&groups[..lanes]) {
                    l.store(row, l.select(mask, l.load_group(group), l.zero()));
                }
            } else {
                let packed = pack_columns::<L, MR, 8>(l, columns);
                for (row, from) in rows.iter_mut().zip(elements::<L::Element>(&packed).chunks_exact(8)) {
                    l.store(row, l.zero());
                    row.as_mut_slice()[..8].copy_from_slice(from);
                }
            }
        },
    );
}

/// Numbers of elements `[column][row]`, one after the other, become `[row][column]` if their bits are rotated
/// by as many as a column's has; each interleaving of lines with those half of all further on rotates them by
/// one (Stone 1971, the perfect shuffle).
#[inline(always)]
#[allow(clippy::needless_range_loop, reason = "several arrays have the same index")]
fn pack_columns<L: Lanes, const MR: usize, const Q: usize>(
    l: L,
    columns: &[LineOf<L>; MR],
) -> [LineOf<L>; Q] {
    let mut lines = [l.zero(); Q];
    for (line, column) in lines.iter_mut().zip(columns) {
        *line = l.load(column);
    }
    for _ in 0..const { Q.ilog2() } {
        let before = lines;
        for i in 0..Q / 2 {
            (lines[2 * i], lines[2 * i + 1]) = l.interleave(before[i], before[i + Q / 2]);
        }
    }
    let mut packed = [LineOf::<L>::ZERO; Q];
    for i in 0..Q {
        l.store(&mut packed[i], lines[i]);
    }
    packed
}
