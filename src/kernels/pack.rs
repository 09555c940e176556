//! Panels: the one layout of every matrix inside the crate.
//!
//! A matrix `[rows, cols]` is stored as `[cols / LANES][rows][LANES]`: panels one cache line wide, each
//! a dense run of lines, one per row; the last panel is padded. (oneDNN calls such layouts blocked, BLIS
//! packed.) Weights, activations and gradients all have it, so a micro-kernel reads aligned, contiguous
//! streams whatever the shapes: no stride is a power of two, no row falls into another's cache set, and
//! the output of one product is an operand of the next without packing.

use super::LineOf;
use super::blocking::PACKED_ROWS;
use super::lanes::{Lanes, Line, QUAD, elements};
use crate::element::Sealed as Element;

/// Panels, or lines of a row, that `features` need.
#[inline(always)]
pub fn panels<T: Element>(features: usize) -> usize {
    features.div_ceil(T::LANES)
}

/// A matrix in panels, to read.
pub struct Panels<'a, T: Element> {
    pub lines: &'a [T::Line],
    pub rows: usize,
    pub cols: usize,
}

impl<T: Element> Clone for Panels<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Element> Copy for Panels<'_, T> {}

impl<'a, T: Element> Panels<'a, T> {
    /// Takes the first `rows * panels(cols)` lines.
    pub fn new(lines: &'a [T::Line], rows: usize, cols: usize) -> Self {
        Self { lines: &lines[..rows * panels::<T>(cols)], rows, cols }
    }

    #[inline(always)]
    pub fn panels(&self) -> usize {
        panels::<T>(self.cols)
    }

    /// Columns of the last panel.
    #[inline(always)]
    pub fn last_cols(&self) -> usize {
        self.cols - (self.panels() - 1) * T::LANES
    }

    #[inline(always)]
    pub fn panel(&self, p: usize) -> &'a [T::Line] {
        &self.lines[p * self.rows..][..self.rows]
    }
}

/// A matrix in panels, to write.
pub struct PanelsMut<'a, T: Element> {
    pub lines: &'a mut [T::Line],
    pub rows: usize,
    pub cols: usize,
}

impl<'a, T: Element> PanelsMut<'a, T> {
    /// Takes the first `rows * panels(cols)` lines.
    pub fn new(lines: &'a mut [T::Line], rows: usize, cols: usize) -> Self {
        Self { lines: &mut lines[..rows * panels::<T>(cols)], rows, cols }
    }

    #[inline(always)]
    pub fn panels(&self) -> usize {
        panels::<T>(self.cols)
    }

    #[inline(always)]
    pub fn panel(&mut self, p: usize) -> &mut [T::Line] {
        &mut self.lines[p * self.rows..][..self.rows]
    }

    #[inline(always)]
    pub fn as_panels(&self) -> Panels<'_, T> {
        Panels { lines: self.lines, rows: self.rows, cols: self.cols }
    }
}

/// Packs row-major `[rows, cols]` into panels. Padding lanes become 0, and so do denormal numbers.
#[inline(always)]
pub fn pack_rows<L: Lanes>(l: L, mut to: PanelsMut<'_, L::Element>, from: &[L::Element]) {
    let (cols, lanes) = (to.cols, L::Element::LANES);
    if to.rows == 1 {
        return pack_row(l, to.lines, &from[..cols]);
    }
    let mut first = 0;
    while first < to.rows {
        let rows = first..to.rows.min(first + PACKED_ROWS);
        for p in 0..to.panels() {
            let (from, panel) = (&from[first * cols + p * lanes..], &mut to.panel(p)[rows.clone()]);
            // Of a whole line no lane is masked out: said apart, so that the compiler knows the width.
            if cols - p * lanes >= lanes {
                pack_panel(l, panel, from, cols, lanes);
            } else {
                pack_panel(l, panel, from, cols, cols - p * lanes);
            }
        }
        first = rows.end;
    }
}

/// A single row. Its end is loaded by no wider an access than it takes, for it may just have been stored, or what the row before
/// became may lie beside it. For every row of a batch that takes longer (64 rows through 8-16-4 4 %).
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

/// The first `width` columns of rows that lie `cols` apart.
#[inline(always)]
fn pack_panel<L: Lanes>(l: L, panel: &mut [LineOf<L>], from: &[L::Element], cols: usize, width: usize) {
    for (r, line) in panel.iter_mut().enumerate() {
        l.store(line, l.flushed(l.load_slice(&from[r * cols..][..width])));
    }
}

/// Unpacks panels into row-major `[rows, cols]`.
#[inline(always)]
pub fn unpack_rows<L: Lanes>(l: L, to: &mut [L::Element], from: Panels<'_, L::Element>) {
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

/// The way back of [`pack_row`].
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

/// The way back of [`pack_panel`].
#[inline(always)]
fn unpack_panel<L: Lanes>(l: L, to: &mut [L::Element], panel: &[LineOf<L>], cols: usize, width: usize) {
    for (r, line) in panel.iter().enumerate() {
        l.store_slice(&mut to[r * cols..][..width], l.load(line));
    }
}

/// The transposed copy of one panel of weights, as square blocks of lines.
///
/// `to` is `[I / LANES][LANES][LANES]`, the block row of `W^T` that belongs to this panel's outputs:
/// line `j` of block `p` holds the weights from inputs `p LANES ..` to output `j`. `weights` is the
/// panel's `[I][LANES]`, of which `outputs` columns are in use (more than a line counts as a line). Inputs
/// past the end are 0; lines of outputs past the end are left as they are, for no product reads them.
///
/// The blocks of one panel are contiguous, so whoever owns a panel of outputs owns its transpose too.
#[inline(always)]
pub fn transpose_panel<L: Lanes>(l: L, to: &mut [LineOf<L>], weights: &[LineOf<L>], outputs: usize) {
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

/// Elements of a block that are faster moved one by one.
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

/// Columns of at most `LANES` rows, as many as there are lines in `to`: lane `i` of line `j` becomes lane `j` of row `i`, and 0
/// where there is no row. Not inlined: it is long, and used in many places.
#[inline(never)]
pub fn transpose_block<L: Lanes>(l: L, to: &mut [LineOf<L>], rows: &[LineOf<L>]) {
    l.vectorize(
        #[inline(always)]
        || {
            for (i, to) in to.chunks_mut(QUAD).enumerate() {
                for (to, column) in to.iter_mut().zip(l.columns(rows, i * QUAD)) {
                    l.store(to, column);
                }
            }
        },
    );
}

/// Stores the elements of at most `LANES` rows as lines: lane `i` of vector `j` becomes lane `j` of row `i`. Lanes past the
/// vectors become 0.
#[inline(always)]
pub fn store_columns<L: Lanes, const MR: usize>(l: L, rows: &mut [LineOf<L>], columns: [L::Vector; MR]) {
    let lanes = L::Element::LANES;
    let mut packed = [LineOf::<L>::ZERO; 8];
    let mask = l.first(MR);
    if MR == 1 {
        l.store(&mut packed[0], columns[0]);
        for (row, &x) in rows.iter_mut().zip(packed[0].as_slice()) {
            l.store(row, l.select(mask, l.splat(x), l.zero()));
        }
    } else if MR <= QUAD {
        pack_columns::<L, MR, QUAD>(l, &mut packed, columns);
        let (quads, _) = elements::<L::Element>(&packed[..QUAD]).as_chunks::<QUAD>();
        for (row, quad) in rows.iter_mut().zip(&quads[..lanes]) {
            l.store(row, l.select(mask, l.load_quad(quad), l.zero()));
        }
    } else {
        pack_columns::<L, MR, 8>(l, &mut packed, columns);
        for (row, from) in rows.iter_mut().zip(elements::<L::Element>(&packed).chunks_exact(8)) {
            l.store(row, l.zero());
            row.as_mut_slice()[..8].copy_from_slice(from);
        }
    }
}

/// Numbers of elements `[column][row]`, one after the other, become `[row][column]` if their bits are rotated by as many as
/// a column's has; each interleaving of lines with those half of all further on rotates them by one (Stone 1971, the perfect
/// shuffle).
#[inline(always)]
fn pack_columns<L: Lanes, const MR: usize, const Q: usize>(
    l: L,
    packed: &mut [LineOf<L>; 8],
    columns: [L::Vector; MR],
) {
    let mut lines = [l.zero(); Q];
    for (line, column) in lines.iter_mut().zip(columns) {
        *line = column;
    }
    for _ in 0..const { Q.ilog2() } {
        let before = lines;
        for i in 0..Q / 2 {
            (lines[2 * i], lines[2 * i + 1]) = l.interleave(before[i], before[i + Q / 2]);
        }
    }
    for (packed, line) in packed.iter_mut().zip(lines) {
        l.store(packed, line);
    }
}
