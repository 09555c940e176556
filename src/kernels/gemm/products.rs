//! The three matrix products of backpropagation by one micro-kernel.
//!
//! Every product is `C[m][n] = start + sum_k A[m][k] B[k][n]`, one chain of fused multiply-adds for each
//! element of `C`, in the sweep of `k`, or a few where shapes alone say so: so its bits do not depend on tiles, blocks or neighbours.
//!
//! | product | `C` | `A` | `B` | start |
//! |---|---|---|---|---|
//! | [`forward`] | `y` | `x` | `W` | biases |
//! | [`backward_data`] | `d_x` | `d_z` | `W^T` | 0 |
//! | [`weight_gradient`] | `d_W` | `x^T` | `d_z` | 0, or the sum so far |
//!
//! Here `W` is as it lies in memory, `[I, O]`: the transpose of what users see, with the biases as line 0 of each panel.
//! `W^T` is read from the transposed copy, because the rows of `B` must lie along its lines.
//!
//! [`forward`] and [`backward_data`] loop over blocks of panels of `C`, blocks of `k`, groups of panels, rows of `C`, and
//! go through the panels in either [`Sweep`]; [`weight_gradient`], in `gradient.rs`, loops over panels, then rows of `C`:
//! its `k`, the rows of a tile, is one block. Elements of last panels of few columns have `LANES` accumulators_of, in
//! `narrow.rs`; those of gradients two or four where a panel has one or two inputs or outputs: see
//! [`accumulators_of`](super::blocking::accumulators_of).
//!
//! [`weight_gradient`]: super::gradient::weight_gradient

use crate::simd::scalar::Scalar;
use core::ops::Range;

use crate::kernels::gemm::blocking::{
    L2_LINES, NC_PANELS, PREFETCH_LINES, segments_of_block, uses_dot_product,
};
use crate::kernels::gemm::dot_product;
use crate::kernels::gemm::micro_kernel::{
    Epilogue, RowMajor, RowMajorBeyondL2, Segments, accumulate, edge_panel, load_sums, store_sums, with_const,
};
use crate::kernels::gemm::register_tile::{
    next_rows, next_tiles, panels_per_tile, panels_per_tile_beyond_l2, prefetches_lines, prefetches_next,
    rows_per_tile, tile_exists,
};
use crate::kernels::matrix::panels::{Panels, PanelsMut, clear_padding};
use crate::kernels::matrix::transpose::transposed_stride;
use crate::kernels::ops::activation::{Activation, Derivative, activate, activate_rows, multiply_derivative};
use crate::simd::lanes::Lanes;
use crate::simd::lanes::LineOf;
use crate::simd::scalar::Element;
use crate::simd::scalar::elements;

/// Operands of a dense layer: `y = f(x W + b)`.
pub struct Dense<'a, T: Element> {
    /// `[B, O]`.
    pub y: PanelsMut<'a, T>,
    /// `x W + b`, `[B, O]`, or empty if nothing needs it.
    pub pre_activation: &'a mut [T::Line],
    /// `[B, I]`.
    pub x: Panels<'a, T>,
    /// Panels of `[1 + I, O]` whose first line is the biases.
    pub weights: &'a [T::Line],
    pub activation: Activation,
}

/// Operands of the backward pass through a dense layer: `d_x = d_z W^T`, times `f'` of the layer below.
pub struct DenseBackward<'a, T: Element> {
    /// `[B, I]`.
    pub d_x: PanelsMut<'a, T>,
    /// `[B, O]`.
    pub d_z: Panels<'a, T>,
    /// `[O / LANES][I / LANES][LANES][LANES]`: see [`transpose_panel`](crate::kernels::matrix::transpose::transpose_panel), with
    /// one block more in each row if they are even: see [`transposed_stride`].
    pub transposed: &'a [T::Line],
    /// The layer below, if there is one.
    pub below: Option<Derivative<'a, T>>,
}

/// `y = f(x W + b)`. Overwrites `y`, padding lanes too, which are garbage, and unless it is empty `pre_activation`.
pub fn forward<L: Lanes>(l: L, dense: Dense<'_, L::Element>, sweep: Sweep) {
    if dense.x.panels() == 1 && dense.y.panels() == 1 {
        return l.vectorize(
            #[inline(always)]
            || forward_sized::<_, Small>(l, dense, sweep),
        );
    }
    l.vectorize(
        #[inline(always)]
        || forward_sized::<_, Blocked>(l, dense, sweep),
    );
}

/// [`forward`] of operands of one size.
#[inline(always)]
pub fn forward_sized<L: Lanes, S: Size>(l: L, dense: Dense<'_, L::Element>, sweep: Sweep) {
    let Dense { mut y, pre_activation: sums, x, weights, activation } = dense;
    let (inputs, rows) = (x.cols, x.rows);
    let b =
        Operand { lines: &weights[1..], panel: 1 + inputs, segment: L::Element::LANES, start: Some(weights) };
    let rectifies = activation == Activation::Relu && sums.is_empty();
    let takes_pass = !rectifies && !matches!(activation, Activation::Identity | Activation::Softmax);
    product::<L, S>(
        l,
        &mut y,
        (x, b, sweep),
        if rectifies { Epilogue::Rectify } else { Epilogue::None },
        #[inline(always)]
        |lines, first| {
            if !sums.is_empty() {
                sums[first * rows..][..lines.len()].copy_from_slice(lines);
            }
            if takes_pass {
                // Its code once, rather than at every place where panels are complete.
                l.vectorize(
                    #[inline(always)]
                    || activate(l, lines, activation),
                );
            }
        },
    );
    activate_rows(l, y, activation);
}

/// `d_x = d_z W^T`, times `f'` of the layer below, if there is one. Overwrites `d_x`; padding lanes become 0.
pub fn backward_data<L: Lanes>(l: L, dense: DenseBackward<'_, L::Element>, sweep: Sweep) {
    if dense.d_x.panels() == 1 && dense.d_z.panels() == 1 {
        return l.vectorize(
            #[inline(always)]
            || backward_data_sized::<_, Small>(l, dense, sweep),
        );
    }
    l.vectorize(
        #[inline(always)]
        || backward_data_sized::<_, Blocked>(l, dense, sweep),
    );
}

/// [`backward_data`] of operands of one size.
#[inline(always)]
pub fn backward_data_sized<L: Lanes, S: Size>(l: L, dense: DenseBackward<'_, L::Element>, sweep: Sweep) {
    let DenseBackward { mut d_x, d_z, transposed, below } = dense;
    let lanes = L::Element::LANES;
    let segment = transposed_stride::<L::Element>(d_x.cols);
    let b = Operand { lines: transposed, panel: lanes, segment, start: None };
    let rows = d_x.rows;
    let (epilogue, below) = match below {
        Some(Derivative { from, activation: Activation::Relu }) => (Epilogue::RectifyBy(from.lines), None),
        below => (Epilogue::None, below),
    };
    product::<L, S>(
        l,
        &mut d_x,
        (d_z, b, sweep),
        epilogue,
        #[inline(always)]
        |lines, first| {
            if let Some(Derivative { from, activation }) = below {
                let from = &from.lines[first * rows..][..lines.len()];
                l.vectorize(
                    #[inline(always)]
                    || multiply_derivative(l, lines, from, activation),
                );
            }
        },
    );
    // Where sums lie along the lanes, padding is 0 already.
    if below.is_some() || !uses_dot_product::<L::Element>(d_x.as_panels().last_cols(), d_z.cols) {
        clear_padding(l, d_x);
    }
}

/// Which way a product goes through the panels of `C`. Where one ends, the next had better start: what it reads first was
/// read last, and is still near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    Forward,
    Backward,
}

impl Sweep {
    /// The other one.
    pub fn reverse(self) -> Self {
        match self {
            Self::Forward => Self::Backward,
            Self::Backward => Self::Forward,
        }
    }

    /// Where the next `count` of the panels that are left start.
    #[inline(always)]
    fn next(self, left: &Range<usize>, count: usize) -> usize {
        match self {
            Self::Forward => left.start,
            Self::Backward => left.end.saturating_sub(count),
        }
    }

    /// Takes the next `count` of the panels that are left.
    #[inline(always)]
    fn take(self, left: &mut Range<usize>, count: usize) -> Range<usize> {
        let start = self.next(left, count);
        match self {
            Self::Forward => left.start += count,
            Self::Backward => left.end = start,
        }
        start..start + count
    }
}

/// How large the operands of a product are.
pub trait Size {
    const SMALL: bool;
}

/// Any size.
pub struct Blocked;
impl Size for Blocked {
    const SMALL: bool = false;
}

/// One panel of `C` and one block of `k`. The search for blocks would take longer than the arithmetic; the sweep of
/// every sum is the same.
pub struct Small;
impl Size for Small {
    const SMALL: bool = true;
}

/// The right-hand side of a product, as lines.
#[derive(Clone, Copy)]
struct Operand<'a, T: Element> {
    /// From the first line of `B` on.
    lines: &'a [T::Line],
    /// Lines from one panel to the next.
    panel: usize,
    /// Lines from one segment of `LANES` rows to the next.
    segment: usize,
    /// Where every row of `C` starts: one line a panel, at the panels' distance. Else 0.
    start: Option<&'a [T::Line]>,
}

impl<T: Element> Operand<'_, T> {
    /// Whether some of its lines are beyond L2.
    #[inline(always)]
    fn exceeds_l2(&self) -> bool {
        self.lines.len() >= L2_LINES
    }

    /// How many lines behind the first of panel and segment `from` that of `to` lies; `None` if there is none, or if all lines
    /// are near anyway.
    #[inline(always)]
    fn ahead(&self, from: (usize, usize), to: Option<(usize, usize)>) -> Option<usize> {
        let line = |(panel, segment)| panel * self.panel + segment * self.segment;
        to.filter(|_| self.exceeds_l2()).map(|to| line(to).wrapping_sub(line(from)))
    }
}

/// `C = start + A B`, and `finish` on each group of panels of `C` as soon as it is complete.
#[inline(always)]
fn product<L: Lanes, S: Size>(
    l: L,
    c: &mut PanelsMut<'_, L::Element>,
    (a, b, sweep): (Panels<'_, L::Element>, Operand<'_, L::Element>, Sweep),
    epilogue: Epilogue<'_, LineOf<L>>,
    mut finish: impl FnMut(&mut [LineOf<L>], usize),
) {
    if S::SMALL {
        let start = b.start.map_or(l.zero(), |start| l.load(&start[0]));
        let (a, b) = (elements::<L::Element>(a.lines), &b.lines[..a.cols]);
        edge_panel::<L, RowMajor>(l, c.lines, (a, b), Some(start), (l.first(L::Element::LANES), epilogue));
        return finish(c.lines, 0);
    }
    let narrow = uses_dot_product::<L::Element>(c.as_panels().last_cols(), a.cols);
    let as_they_lie = c.panels() - usize::from(narrow);
    if narrow && sweep == Sweep::Backward {
        last_panel(l, c, (a, b), epilogue, &mut finish);
    }
    panels_as_they_lie(l, (&mut *c, 0..as_they_lie), (a, b, sweep), epilogue, &mut finish);
    if narrow && sweep == Sweep::Forward {
        last_panel(l, c, (a, b), epilogue, &mut finish);
    }
}

/// Some adjacent panels of a [`product`], block by block.
#[inline(always)]
fn panels_as_they_lie<L: Lanes>(
    l: L,
    (c, mut panels): (&mut PanelsMut<'_, L::Element>, Range<usize>),
    (a, b, sweep): (Panels<'_, L::Element>, Operand<'_, L::Element>, Sweep),
    epilogue: Epilogue<'_, LineOf<L>>,
    finish: &mut impl FnMut(&mut [LineOf<L>], usize),
) {
    let rows = c.rows;
    let segments = a.panels();
    let most_segments = segments_of_block::<L::Element>(a.rows, segments);
    while !panels.is_empty() {
        let count = next_rows(panels.len(), NC_PANELS);
        let of_block = sweep.take(&mut panels, count);
        let mut s = 0;
        while s < segments {
            let block = s..segments.min(s + most_segments);
            let mut left = of_block.clone();
            while !left.is_empty() {
                let np = if b.exceeds_l2() {
                    panels_per_tile_beyond_l2(left.len(), rows, L::ACCUMULATORS)
                } else {
                    panels_per_tile(left.len(), rows, L::ACCUMULATORS)
                };
                let group = sweep.take(&mut left, np);
                // What is read next: of these panels, else of the next block of `k`, else of the next panels.
                let next = if !left.is_empty() {
                    Some((sweep.next(&left, np), s))
                } else if block.end < segments {
                    Some((sweep.next(&of_block, np), block.end))
                } else {
                    (!panels.is_empty()).then(|| (sweep.next(&panels, np), 0))
                };
                let completes = block.end == segments;
                let (p, lines) = (group.start, group.start * rows..group.end * rows);
                let c = &mut c.lines[lines.clone()];
                let group = Group {
                    c: &mut *c,
                    a,
                    b,
                    first: p,
                    block: block.clone(),
                    epilogue: if completes { epilogue.part(lines) } else { Epilogue::None },
                    ahead: b.ahead((p, s), next),
                };
                group.run(l, np);
                if completes {
                    finish(c, p);
                }
            }
            s = block.end;
        }
    }
}

/// The last panel of a [`product`], where its sums lie along the lanes.
#[inline(always)]
fn last_panel<L: Lanes>(
    l: L,
    c: &mut PanelsMut<'_, L::Element>,
    (a, b): (Panels<'_, L::Element>, Operand<'_, L::Element>),
    epilogue: Epilogue<'_, LineOf<L>>,
    finish: &mut impl FnMut(&mut [LineOf<L>], usize),
) {
    let (last, cols) = (c.panels() - 1, c.as_panels().last_cols());
    let first = last * b.panel;
    let b = dot_product::Operand {
        lines: &b.lines[first..],
        segment: b.segment,
        start: b.start.map(|start| &start[first]),
    };
    let lines = last * c.rows..(last + 1) * c.rows;
    let c = &mut c.lines[lines.clone()];
    dot_product::product(l, (c, cols), a, b);
    epilogue.part(lines).run_on(l, c);
    finish(c, last);
}

/// Some adjacent panels of `C`, over one block of `k`.
struct Group<'c, 'a, T: Element> {
    c: &'c mut [T::Line],
    a: Panels<'a, T>,
    b: Operand<'a, T>,
    /// The first panel of `B`.
    first: usize,
    /// Segments of `LANES` values of `k`.
    block: Range<usize>,
    epilogue: Epilogue<'a, T::Line>,
    /// See [`Operand::ahead`].
    ahead: Option<usize>,
}

impl<T: Element> Group<'_, '_, T> {
    #[inline(always)]
    fn run<L: Lanes<Element = T>>(self, l: L, np: usize) {
        with_const!(np, NP if tile_exists(1, NP, L::ACCUMULATORS) => self.panels::<L, NP>(l), 1 2 3 4 8);
    }

    /// Tile by tile. The first of them ask for the lines of `B` of the next group, so many of each segment.
    #[inline(always)]
    fn panels<L: Lanes<Element = T>, const NP: usize>(self, l: L) {
        let Self { c, a, b, first, block, epilogue, ahead } = self;
        let mr = rows_per_tile(NP, L::ACCUMULATORS);
        let (mut m, mut done) = (0, 0);
        while m < a.rows {
            let (rows, count) = next_tiles(a.rows - m, mr);
            let (end, block) = (m + rows * count, block.clone());
            let tiles = Tiles { c: &mut *c, a, b, first, rows: m..end, block, epilogue, ahead, done };
            with_const!(
                rows,
                MR if tile_exists(MR, NP, L::ACCUMULATORS) => tiles.run::<L, MR, NP>(l),
                1 2 3 4 5 6 7 8 9 10 11 12
            );
            m = end;
            done += count;
        }
    }
}

/// Tiles of `MR` rows by `NP` panels of `C`, one below the other, over one block of `k`.
struct Tiles<'c, 'a, T: Element> {
    c: &'c mut [T::Line],
    a: Panels<'a, T>,
    b: Operand<'a, T>,
    /// The first panel of `B`.
    first: usize,
    /// Those of `C`.
    rows: Range<usize>,
    /// Segments of `LANES` values of `k`.
    block: Range<usize>,
    epilogue: Epilogue<'a, T::Line>,
    /// See [`Operand::ahead`].
    ahead: Option<usize>,
    /// Tiles of the group before these.
    done: usize,
}

impl<T: Element> Tiles<'_, '_, T> {
    #[inline(always)]
    fn run<L: Lanes<Element = T>, const MR: usize, const NP: usize>(self, l: L) {
        l.vectorize(
            #[inline(always)]
            || {
                let (panel, Range { start, end }) = (self.a.rows, self.block.clone());
                let a = &self.a.lines[start * panel..];
                let mut b = [&self.b.lines[..0]; NP];
                for (p, b) in b.iter_mut().enumerate() {
                    *b = &self.b.lines[(self.first + p) * self.b.panel + start * self.b.segment..];
                }
                let last = T::LANES.min(self.a.cols - (end - 1) * T::LANES);
                let segments = Segments::several::<T>(end - start, last, (panel * T::LANES, self.b.segment));
                let (mut m, mut asked) = (self.rows.start, self.done * PREFETCH_LINES);
                while m < self.rows.end {
                    let ahead = self.ahead.filter(|_| prefetches_next(MR) && asked < T::LANES);
                    let ahead = ahead.map(|ahead| ahead.wrapping_add(asked));
                    let segments = segments.asking(ahead);
                    let mut sums = self.start::<L, MR, NP>(l, m);
                    let a = elements::<T>(&a[m..]);
                    if const { prefetches_lines(MR, NP, L::ACCUMULATORS) } && self.b.exceeds_l2() {
                        accumulate::<L, RowMajorBeyondL2, MR, NP>(l, &mut sums, a, b, segments);
                    } else {
                        accumulate::<L, RowMajor, MR, NP>(l, &mut sums, a, b, segments);
                    }
                    self.epilogue.run(l, &mut sums, (m, panel));
                    store_sums(l, self.c, (m, panel), &sums);
                    m += MR;
                    asked += PREFETCH_LINES;
                }
            },
        );
    }

    /// Where the sums of the rows from `m` on start: at the biases or 0, or at what the block of `k` before left in `C`.
    #[inline(always)]
    fn start<L: Lanes<Element = T>, const MR: usize, const NP: usize>(
        &self,
        l: L,
        m: usize,
    ) -> [[L::Vector; NP]; MR] {
        let mut sums = [[l.zero(); NP]; MR];
        if self.block.start > 0 {
            load_sums(l, &mut sums, self.c, (m, self.a.rows));
        } else if let Some(start) = self.b.start {
            for p in 0..NP {
                let line = l.load(&start[(self.first + p) * self.b.panel]);
                for row in &mut sums {
                    row[p] = line;
                }
            }
        }
        sums
    }
}
