//! Dot products for the last panel of a product where it has few columns: the sum's index runs along the
//! lanes.
//!
//! By outer products, lanes past its columns would work for nothing. Here each element of `C` is `LANES`
//! sums, every `LANES`th product in the same one, which are added up in the canonical order at the end: a
//! line of `A` times a column of `B`, which is transposed once for all rows.
//! [`uses_dot_product`](super::blocking::uses_dot_product) says where; it is a question of shapes alone, so
//! that a row has the same bits in any company and on any CPU.
#![allow(clippy::needless_range_loop, reason = "several arrays have the same index")]

use core::ops::Range;

use crate::kernels::gemm::blocking::DOT_PRODUCT_SEGMENTS;
use crate::kernels::gemm::micro_kernel::with_const;
use crate::kernels::gemm::register_tile::dot_product_rows;
use crate::kernels::gemm::right_operand::RightOperand;
use crate::kernels::matrix::panels::Panels;
use crate::simd::lanes::LineOf;
use crate::simd::lanes::{GROUP, Lanes};
use crate::simd::scalar::Element;
use crate::simd::scalar::Line;

/// `C = bias + A B`, for a last panel `c` of `cols` columns, the first of `b`: its padding becomes 0.
#[inline(always)]
pub(crate) fn product<L: Lanes>(
    l: L,
    c: &mut [LineOf<L>],
    cols: usize,
    a: Panels<'_, L::Element>,
    b: RightOperand<'_, L::Element>,
) {
    let mut s = 0;
    while s < a.panels() {
        let segments = s..a.panels().min(s + DOT_PRODUCT_SEGMENTS);
        for first in (0..cols).step_by(GROUP) {
            let block = Block { cols, first, segments: segments.clone(), a, b };
            with_const!(GROUP.min(cols - first), NC if NC <= GROUP => block.add::<L, NC>(l, c), 1 2 3 4);
        }
        s = segments.end;
    }
}

/// The products of some segments of `k` with at most four columns, from `first` on.
struct Block<'a, T: Element> {
    cols: usize,
    first: usize,
    segments: Range<usize>,
    a: Panels<'a, T>,
    b: RightOperand<'a, T>,
}

impl<T: Element> Block<'_, T> {
    /// Adds `NC` columns to `c`: several rows at a time, so that enough sums are in flight, and those left
    /// one by one.
    #[inline(always)]
    fn add<L: Lanes<Element = T>, const NC: usize>(&self, l: L, c: &mut [T::Line]) {
        l.vectorize(
            #[inline(always)]
            || {
                if self.a.rows == 1 {
                    return self.row::<L, NC>(l, c);
                }
                let mut columns = [[T::Line::ZERO; NC]; DOT_PRODUCT_SEGMENTS];
                self.transpose(l, &mut columns);
                // Each height once: after rows by fours none are left to take by fours. Literals are matched,
                // because no expression of `L` or `NC` may be the argument of a constant parameter.
                let mut m = with_const!(
                    const { dot_product_rows(NC, L::ACCUMULATORS) },
                    MR if MR == dot_product_rows(NC, L::ACCUMULATORS) =>
                        self.rows::<L, MR, NC>(l, c, &columns, 0),
                    1 2 4 8 16
                );
                if const { dot_product_rows(NC, L::ACCUMULATORS) > 4 } {
                    m = self.rows::<L, 4, NC>(l, c, &columns, m);
                }
                if const { dot_product_rows(NC, L::ACCUMULATORS) > 1 } {
                    self.rows::<L, 1, NC>(l, c, &columns, m);
                }
            },
        );
    }

    /// The columns of `B` along lines: one of each for every segment.
    #[inline(always)]
    fn transpose<L: Lanes<Element = T>, const NC: usize>(
        &self,
        l: L,
        columns: &mut [[T::Line; NC]; DOT_PRODUCT_SEGMENTS],
    ) {
        for (columns, s) in columns.iter_mut().zip(self.segments.clone()) {
            let transposed = self.columns(l, s);
            for i in 0..NC {
                l.store(&mut columns[i], transposed[i]);
            }
        }
    }

    /// The columns of one segment of `B`, four of them whatever `NC` is.
    #[inline(always)]
    fn columns<L: Lanes<Element = T>>(&self, l: L, s: usize) -> [L::Vector; GROUP] {
        let lines = &self.b.lines[s * self.b.segment_stride..][..self.a.width(s)];
        l.columns(lines, self.first)
    }

    /// Adds to a single row. Its columns are used once, and stay in registers: of 64-4, room for those of all
    /// segments takes longer than the sums.
    #[inline(always)]
    fn row<L: Lanes<Element = T>, const NC: usize>(&self, l: L, c: &mut [T::Line]) {
        let mut sums = [[l.zero(); NC]; 1];
        for s in self.segments.clone() {
            let columns = self.columns(l, s);
            // What is in padding lanes might not be finite.
            let line = l.select(l.first_lanes(self.a.width(s)), l.load(&self.a.lines[s]), l.zero());
            for i in 0..NC {
                sums[0][i] = l.mul_add(line, columns[i], sums[0][i]);
            }
        }
        self.add_sums(l, &mut c[..1], &sums);
    }

    /// Adds to `MR` rows at a time, from row `m` on, and says which row is the next.
    #[inline(always)]
    fn rows<L: Lanes<Element = T>, const MR: usize, const NC: usize>(
        &self,
        l: L,
        c: &mut [T::Line],
        columns: &[[T::Line; NC]; DOT_PRODUCT_SEGMENTS],
        mut m: usize,
    ) -> usize {
        let columns = &columns[..self.segments.len()];
        while m + MR <= self.a.rows {
            let sums = self.sums::<L, MR, NC>(l, columns, m);
            self.add_sums(l, &mut c[m..][..MR], &sums);
            m += MR;
        }
        m
    }

    /// Adds the totals of sums to the lines of their rows.
    #[inline(always)]
    fn add_sums<L: Lanes<Element = T>, const MR: usize, const NC: usize>(
        &self,
        l: L,
        lines: &mut [T::Line],
        sums: &[[L::Vector; NC]; MR],
    ) {
        let is_first = self.segments.start == 0 && self.first == 0;
        let bias = self.bias(l);
        let (others, these) = (l.first_lanes(self.first), l.first_lanes(self.first + NC));
        add_totals(
            l,
            sums,
            self.first,
            lines,
            #[inline(always)]
            |line, totals| {
                if is_first {
                    return l.store(line, l.select(l.first_lanes(NC), l.add(bias, totals), bias));
                }
                let before = l.load(line);
                let after = l.select(these, l.add(before, totals), before);
                l.store(line, l.select(others, before, after));
            },
        );
    }

    /// The first term of every row's sums.
    #[inline(always)]
    fn bias<L: Lanes<Element = T>>(&self, l: L) -> L::Vector {
        match self.b.bias {
            Some(bias) => l.select(l.first_lanes(self.cols), l.load(&bias[0]), l.zero()),
            None => l.zero(),
        }
    }

    /// `LANES` sums for each of `MR` rows and `NC` columns.
    #[inline(always)]
    fn sums<L: Lanes<Element = T>, const MR: usize, const NC: usize>(
        &self,
        l: L,
        columns: &[[T::Line; NC]],
        m: usize,
    ) -> [[L::Vector; NC]; MR] {
        let mut sums = [[l.zero(); NC]; MR];
        let (last, whole) = columns.split_last().expect("a block has segments");
        let mut lines = &self.a.lines[self.segments.start * self.a.rows + m..];
        for columns in whole {
            let rows = &lines[..MR];
            for r in 0..MR {
                let line = l.load(&rows[r]);
                for i in 0..NC {
                    sums[r][i] = l.mul_add(line, l.load(&columns[i]), sums[r][i]);
                }
            }
            lines = &lines[self.a.rows..];
        }
        // What is in padding lanes might not be finite.
        let mask = l.first_lanes(self.a.cols - (self.segments.end - 1) * T::LANES);
        let rows = &lines[..MR];
        for r in 0..MR {
            let line = l.select(mask, l.load(&rows[r]), l.zero());
            for i in 0..NC {
                sums[r][i] = l.mul_add(line, l.load(&last[i]), sums[r][i]);
            }
        }
        sums
    }
}

/// Calls `add` with each row's line and its totals in lanes from `first` on.
#[inline(always)]
fn add_totals<L: Lanes, const MR: usize, const NC: usize>(
    l: L,
    sums: &[[L::Vector; NC]; MR],
    first: usize,
    lines: &mut [LineOf<L>],
    mut add: impl FnMut(&mut LineOf<L>, L::Vector),
) {
    // As many rows as make four sums.
    if const { NC == 1 && MR >= 4 } {
        for r in (0..MR).step_by(4) {
            let totals = l.reduce_sum4([sums[r][0], sums[r + 1][0], sums[r + 2][0], sums[r + 3][0]]);
            for i in 0..4 {
                add(&mut lines[r + i], l.splat_in_groups(totals, i));
            }
        }
    } else if const { NC == 2 && MR >= 2 } {
        for r in (0..MR).step_by(2) {
            let totals = l.reduce_sum4([sums[r][0], sums[r][1], sums[r + 1][0], sums[r + 1][1]]);
            add(&mut lines[r], totals);
            let second = l.select(
                l.first_lanes(first + 1),
                l.splat_in_groups(totals, 2),
                l.splat_in_groups(totals, 3),
            );
            add(&mut lines[r + 1], second);
        }
    } else {
        for r in 0..MR {
            let mut four = [l.zero(); GROUP];
            four[..NC].copy_from_slice(&sums[r]);
            add(&mut lines[r], l.reduce_sum4(four));
        }
    }
}
