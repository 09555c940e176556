//! Packing of row-major `[rows, cols]` into panels, and back.

use crate::kernels::matrix::panels::Panels;
use crate::kernels::matrix::panels::PanelsMut;
use crate::simd::lanes::Lanes;
use crate::simd::lanes::LineOf;
use crate::simd::scalar::Scalar;

/// Packs row-major `[rows, cols]` into panels. Padding lanes become 0, and so do denormal numbers.
pub(crate) fn pack_rows<L: Lanes>(l: L, to: PanelsMut<'_, L::Element>, from: &[L::Element]) {
    l.vectorize(
        #[inline(always)]
        || pack_rows_inline(l, to, from),
    );
}

/// [`pack_rows`] beneath a crossing.
#[inline(always)]
pub(crate) fn pack_rows_inline<L: Lanes>(l: L, mut to: PanelsMut<'_, L::Element>, from: &[L::Element]) {
    let (cols, lanes) = (to.cols, L::Element::LANES);
    if to.rows == 1 {
        return pack_row(l, to.lines, &from[..cols]);
    }
    let mut first = 0;
    while first < to.rows {
        let rows = first..to.rows.min(first + PACKED_ROWS);
        for p in 0..to.panels() {
            let (from, panel) = (&from[first * cols + p * lanes..], &mut to.panel(p)[rows.clone()]);
            // A whole line has no masked lane: a call of its own, so that the compiler knows the width.
            if cols - p * lanes >= lanes {
                pack_panel(l, panel, from, cols, lanes);
            } else {
                pack_panel(l, panel, from, cols, cols - p * lanes);
            }
        }
        first = rows.end;
    }
}

/// Packs a single row. Its end is loaded by no wider an access than it takes, for it may just have been
/// stored, or what the row before became may lie beside it. For every row of a batch that takes longer (64
/// rows through 8-16-4 4 %).
#[inline(always)]
fn pack_row<L: Lanes>(l: L, lines: &mut [LineOf<L>], from: &[L::Element]) {
    let mut whole = from.chunks_exact(L::Element::LANES);
    let (whole_lines, rest) = lines.split_at_mut(whole.len());
    for (line, from) in whole_lines.iter_mut().zip(&mut whole) {
        l.store(line, l.flushed(l.load_slice(from)));
    }
    if let [line] = rest {
        l.store(line, l.flushed(l.load_few(whole.remainder())));
    }
}

/// Packs the first `width` columns of rows that lie `cols` apart.
#[inline(always)]
fn pack_panel<L: Lanes>(l: L, panel: &mut [LineOf<L>], from: &[L::Element], cols: usize, width: usize) {
    for (r, line) in panel.iter_mut().enumerate() {
        l.store(line, l.flushed(l.load_slice(&from[r * cols..][..width])));
    }
}

/// Unpacks panels into row-major `[rows, cols]`.
pub(crate) fn unpack_rows<L: Lanes>(l: L, to: &mut [L::Element], from: Panels<'_, L::Element>) {
    l.vectorize(
        #[inline(always)]
        || unpack_rows_inline(l, to, from),
    );
}

/// [`unpack_rows`] beneath a crossing.
#[inline(always)]
pub(crate) fn unpack_rows_inline<L: Lanes>(l: L, to: &mut [L::Element], from: Panels<'_, L::Element>) {
    let (cols, lanes) = (from.cols, L::Element::LANES);
    if from.rows == 1 {
        return unpack_row(l, &mut to[..cols], from.lines);
    }
    let mut first = 0;
    while first < from.rows {
        let rows = first..from.rows.min(first + PACKED_ROWS);
        for p in 0..from.panels() {
            let (to, panel) = (&mut to[first * cols + p * lanes..], &from.panel(p)[rows.clone()]);
            if cols - p * lanes >= lanes {
                unpack_panel(l, to, panel, cols, lanes);
            } else {
                unpack_panel(l, to, panel, cols, cols - p * lanes);
            }
        }
        first = rows.end;
    }
}

/// Inverse of [`pack_row`].
#[inline(always)]
fn unpack_row<L: Lanes>(l: L, to: &mut [L::Element], lines: &[LineOf<L>]) {
    let mut whole = to.chunks_exact_mut(L::Element::LANES);
    let (whole_lines, rest) = lines.split_at(whole.len());
    for (to, line) in (&mut whole).zip(whole_lines) {
        l.store_slice(to, l.load(line));
    }
    if let [line] = rest {
        l.store_few(whole.into_remainder(), l.load(line));
    }
}

/// Inverse of [`pack_panel`].
#[inline(always)]
fn unpack_panel<L: Lanes>(l: L, to: &mut [L::Element], panel: &[LineOf<L>], cols: usize, width: usize) {
    for (r, line) in panel.iter().enumerate() {
        l.store_slice(&mut to[r * cols..][..width], l.load(line));
    }
}

/// Rows that are packed, or unpacked, in all their panels before the next. A panel reads a line or two of
/// each row, and the next panel the same lines again or their neighbours: of 256 rows of 4,096 bytes each
/// takes another page, and none stays in L1. Measured, 1024 rows through 1024-1024, forward: 256 rows 14.8
/// ms, 64 13.9, 32 13.8, 16 13.6, but 64 rows through 64-64 4.75, 4.76, 4.78 and 4.93 microseconds.
pub(crate) const PACKED_ROWS: usize = 32;
