//! The last panel of a product where it has few columns: with rows of `C` along the lanes instead.
//!
//! As it lies in memory, lanes past its columns work for nothing. Turned round, every lane works, for the same chains of sums in
//! the same order; but what is read has to be transposed, four columns of `LANES` rows at a time and straight into registers,
//! and so has what is written. [`turns_product`] says when that pays.

use super::LineOf;
use super::blocking::turns_product;
use super::lanes::{Lanes, Line, QUAD};
use super::micro::with_rows;
use super::pack::{self, Panels};
use crate::element::Sealed as Element;

/// The right-hand side of a [`product`], and where its sums start.
pub struct Operand<'a, T: Element> {
    /// The panel, from the first line of `B` on.
    pub lines: &'a [T::Line],
    /// Lines from one segment of `LANES` rows to the next.
    pub segment: usize,
    /// A line of what every row of `C` starts from; else 0.
    pub start: Option<&'a T::Line>,
}

/// `C = start + A B`, for a last panel `c` of so many columns: its padding becomes 0.
#[inline(always)]
pub fn product<L: Lanes>(
    l: L,
    (c, cols): (&mut [LineOf<L>], usize),
    a: Panels<'_, L::Element>,
    b: Operand<'_, L::Element>,
) {
    // The last rows are some of those before too, if that is what it takes to make as many as there are lanes.
    let (lanes, last) = (L::Element::LANES, a.rows - L::Element::LANES);
    let mut m = 0;
    while m < a.rows {
        with_rows!(cols, MR => if L::ACCUMULATORS >= 24 && m + lanes < a.rows {
            product_tile::<L, MR, 2>(l, c, a, &b, [m, last.min(m + lanes)]);
            m += 2 * lanes;
        } else {
            product_tile::<L, MR, 1>(l, c, a, &b, [last.min(m)]);
            m += lanes;
        }, 1 2 3 4 5 6);
    }
}

/// `MR` columns of `LANES` rows from each of `first` on: with AVX-512 of two such blocks at a time, for one alone would wait for
/// its sums. Not the micro-kernel of `micro.rs`, whose tile would have to find the transposed lines in memory: that took 26
/// nanoseconds for 16 rows by 16 steps by one column where this takes 20, and the panel as it lies 46.
#[inline(always)]
fn product_tile<L: Lanes, const MR: usize, const NP: usize>(
    l: L,
    c: &mut [LineOf<L>],
    a: Panels<'_, L::Element>,
    b: &Operand<'_, L::Element>,
    first: [usize; NP],
) {
    if !turns_product::<L::Element>(MR, (usize::MAX, usize::MAX), L::ACCUMULATORS) {
        unreachable!("a panel of so many columns is computed as it lies");
    }
    l.vectorize(
        #[inline(always)]
        || {
            let lanes = L::Element::LANES;
            let mut sums = [[l.zero(); MR]; NP];
            if let Some(start) = b.start {
                for sums in &mut sums {
                    for (sum, &start) in sums.iter_mut().zip(start.as_slice()) {
                        *sum = l.splat(start);
                    }
                }
            }
            for s in 0..a.panels() {
                let steps = lanes.min(a.cols - s * lanes);
                let (a, b) = (a.panel(s), &b.lines[s * b.segment..][..steps]);
                for (i, b) in b.chunks(QUAD).enumerate() {
                    let mut columns = [[l.zero(); QUAD]; NP];
                    for (columns, &first) in columns.iter_mut().zip(&first) {
                        *columns = l.columns(&a[first..], i * QUAD);
                    }
                    for (k, b) in b.iter().enumerate() {
                        for (j, &b) in b.as_slice()[..MR].iter().enumerate() {
                            let b = l.splat(b);
                            for p in 0..NP {
                                sums[p][j] = l.mul_add(b, columns[p][k], sums[p][j]);
                            }
                        }
                    }
                }
            }
            for (sums, first) in sums.into_iter().zip(first) {
                pack::store_columns(l, &mut c[first..first + lanes], sums);
            }
        },
    );
}
