//! The forward and the backward product of a dense layer, and the loops around their micro-kernel.
//!
//! Every product is `C[m][n] = start + sum_k A[m][k] B[k][n]`, one accumulator of fused multiply-adds for
//! each element of `C`, in the order of `k`, or a few where shapes alone say so: so its bits do not depend on
//! tiles, blocks or neighbours.
//!
//! | product | `C` | `A` | `B` | start |
//! |---|---|---|---|---|
//! | [`forward`] | `y` | `x` | `W` | biases |
//! | [`backward_data`] | `d_x` | `d_z` | `W^T` | 0 |
//! | [`weight_gradient`] | `d_W` | `x^T` | `d_z` | 0, or the sum so far |
//!
//! Here `W` is `[I, O]` as it lies in memory: the transpose of what users see, with the biases as line 0 of
//! each panel. `W^T` is read from the transposed copy, because the rows of `B` must lie along its lines.
//!
//! [`forward`] and [`backward_data`] loop over blocks of panels of `C`, blocks of `k`, groups of panels, rows
//! of `C`, and go through the panels in either [`Sweep`]; [`weight_gradient`] loops over panels, then rows of
//! `C`: its `k`, the rows of a micro-batch, is one block. Elements of last panels of few columns have `LANES`
//! accumulators, by [`dot_product`]; those of gradients two or four where a panel has one or two inputs or
//! outputs: [`accumulators_of`](super::register_tile::accumulators_of).
//!
//! [`weight_gradient`]: super::weight_gradient::weight_gradient

use core::ops::Range;

use crate::kernels::gemm::blocking::{
    L2_LINES, NC_PANELS, PREFETCH_LINES, segments_of_block, uses_dot_product,
};
use crate::kernels::gemm::dot_product;
use crate::kernels::gemm::micro_kernel::{
    EdgePanel, Epilogue, Operands, RowMajor, Segments, Strides, Tile, TileOrigin, load_sums, store_sums,
    with_const,
};
use crate::kernels::gemm::register_tile::{
    next_rows, next_tiles, panels_per_tile, panels_per_tile_beyond_l2, prefetches_lines, rows_per_tile,
    tile_exists,
};
use crate::kernels::matrix::panels::{Panels, PanelsMut, clear_padding};
use crate::kernels::matrix::transpose::transposed_stride;
use crate::kernels::ops::activation::{Activation, Derivative, activate, activate_rows, multiply_derivative};
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::scalar::Element;
use crate::simd::scalar::Scalar;
use crate::simd::scalar::elements;

/// Operands of a dense layer: `y = f(x W + b)`.
pub(crate) struct Dense<'a, T: Element> {
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
pub(crate) struct DenseBackward<'a, T: Element> {
    /// `[B, I]`.
    pub d_x: PanelsMut<'a, T>,
    /// `[B, O]`.
    pub d_z: Panels<'a, T>,
    /// `[O / LANES][I / LANES][LANES][LANES]`: see
    /// [`transpose_panel`](crate::kernels::matrix::transpose::transpose_panel), with one block more in each
    /// row if they are even: see [`transposed_stride`].
    pub transposed: &'a [T::Line],
    /// The layer below, if there is one.
    pub below: Option<Derivative<'a, T>>,
}

/// `y = f(x W + b)`. Overwrites `y`, padding lanes too, which are garbage, and unless it is empty
/// `pre_activation`.
pub(crate) fn forward<L: Lanes>(l: L, dense: Dense<'_, L::Element>, sweep: Sweep) {
    if dense.x.panels() == 1 && dense.y.panels() == 1 {
        return l.vectorize(
            #[inline(always)]
            || forward_inline::<_, SinglePanel>(l, dense, sweep),
        );
    }
    l.vectorize(
        #[inline(always)]
        || forward_inline::<_, Blocked>(l, dense, sweep),
    );
}

/// [`forward`] of operands of one extent, beneath a crossing.
#[inline(always)]
pub(crate) fn forward_inline<L: Lanes, E: Extent>(l: L, dense: Dense<'_, L::Element>, sweep: Sweep) {
    let Dense { mut y, pre_activation, x, weights, activation } = dense;
    let (inputs, rows) = (x.cols, x.rows);
    let rectifies = activation == Activation::Relu && pre_activation.is_empty();
    let takes_pass = !rectifies && !matches!(activation, Activation::Identity | Activation::Softmax);
    let segment = L::Element::LANES;
    let product = Product {
        a: x,
        b: RightOperand { lines: &weights[1..], panel: 1 + inputs, segment, start: Some(weights) },
        sweep,
        epilogue: if rectifies { Epilogue::Rectify } else { Epilogue::None },
    };
    product.run::<L, E>(
        l,
        &mut y,
        #[inline(always)]
        |lines, first| {
            if !pre_activation.is_empty() {
                pre_activation[first * rows..][..lines.len()].copy_from_slice(lines);
            }
            if takes_pass {
                activate_apart(l, lines, activation);
            }
        },
    );
    activate_rows(l, y, activation);
}

/// `d_x = d_z W^T`, times `f'` of the layer below, if there is one. Overwrites `d_x`; padding lanes become 0.
pub(crate) fn backward_data<L: Lanes>(l: L, dense: DenseBackward<'_, L::Element>, sweep: Sweep) {
    if dense.d_x.panels() == 1 && dense.d_z.panels() == 1 {
        return l.vectorize(
            #[inline(always)]
            || backward_data_inline::<_, SinglePanel>(l, dense, sweep),
        );
    }
    l.vectorize(
        #[inline(always)]
        || backward_data_inline::<_, Blocked>(l, dense, sweep),
    );
}

/// [`backward_data`] of operands of one extent, beneath a crossing.
#[inline(always)]
pub(crate) fn backward_data_inline<L: Lanes, E: Extent>(
    l: L,
    dense: DenseBackward<'_, L::Element>,
    sweep: Sweep,
) {
    let DenseBackward { mut d_x, d_z, transposed, below } = dense;
    let segment = transposed_stride::<L::Element>(d_x.cols);
    let rows = d_x.rows;
    let (epilogue, below) = match below {
        Some(Derivative { from, activation: Activation::Relu }) => (Epilogue::RectifyBy(from.lines), None),
        below => (Epilogue::None, below),
    };
    let product = Product {
        a: d_z,
        b: RightOperand { lines: transposed, panel: L::Element::LANES, segment, start: None },
        sweep,
        epilogue,
    };
    product.run::<L, E>(
        l,
        &mut d_x,
        #[inline(always)]
        |lines, first| {
            if let Some(Derivative { from, activation }) = below {
                multiply_derivative_apart(l, lines, &from.lines[first * rows..][..lines.len()], activation);
            }
        },
    );
    // The padding of a dot product is 0 already.
    if below.is_some() || !uses_dot_product::<L::Element>(d_x.as_panels().last_cols(), d_z.cols) {
        clear_padding(l, d_x);
    }
}

/// [`activate`] by a crossing of its own: its code once, rather than at every place where panels are complete. A closure
/// there would be another one for each [`Extent`].
#[inline(always)]
fn activate_apart<L: Lanes>(l: L, y: &mut [LineOf<L>], activation: Activation) {
    l.vectorize(
        #[inline(always)]
        || activate(l, y, activation),
    );
}

/// [`multiply_derivative`] by a crossing of its own, as [`activate_apart`].
#[inline(always)]
fn multiply_derivative_apart<L: Lanes>(l: L, d: &mut [LineOf<L>], y: &[LineOf<L>], activation: Activation) {
    l.vectorize(
        #[inline(always)]
        || multiply_derivative(l, d, y, activation),
    );
}

/// Order in which a product goes through the panels of `C`. Where one ends, the next starts: what it reads
/// first was read last, and is still in a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sweep {
    Forward,
    Backward,
}

impl Sweep {
    /// The other one.
    pub(crate) fn reverse(self) -> Self {
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

/// Extent of the operands of a product.
pub(crate) trait Extent {
    const IS_SINGLE_PANEL: bool;
}

/// Operands of any extent.
pub(crate) struct Blocked;
impl Extent for Blocked {
    const IS_SINGLE_PANEL: bool = false;
}

/// One panel of `C` and one of `A`. The search for blocks would take longer than the arithmetic; the order of
/// every sum is the same.
pub(crate) struct SinglePanel;
impl Extent for SinglePanel {
    const IS_SINGLE_PANEL: bool = true;
}

/// The right-hand side of a product, as lines.
#[derive(Clone, Copy)]
struct RightOperand<'a, T: Element> {
    /// From the first line of `B` on.
    lines: &'a [T::Line],
    /// Lines from one panel to the next.
    panel: usize,
    /// Lines from one segment of `LANES` rows to the next.
    segment: usize,
    /// The first term of every row's sums, one line a panel, at the panels' distance; 0 if there is none.
    start: Option<&'a [T::Line]>,
}

/// Place of a block of `B`.
#[derive(Clone, Copy)]
struct BlockOrigin {
    panel: usize,
    segment: usize,
}

impl<T: Element> RightOperand<'_, T> {
    /// Whether some of its lines exceed L2.
    #[inline(always)]
    fn exceeds_l2(&self) -> bool {
        self.lines.len() >= L2_LINES
    }

    /// Index of the first line of a block.
    #[inline(always)]
    fn line(&self, origin: BlockOrigin) -> usize {
        origin.panel * self.panel + origin.segment * self.segment
    }

    /// Lines from one block to the next; `None` if there is none, or if all lines fit in L2.
    #[inline(always)]
    fn prefetch_distance(&self, from: BlockOrigin, to: Option<BlockOrigin>) -> Option<usize> {
        to.filter(|_| self.exceeds_l2()).map(|to| self.line(to).wrapping_sub(self.line(from)))
    }
}

/// `C = start + A B`.
#[derive(Clone, Copy)]
struct Product<'a, T: Element> {
    a: Panels<'a, T>,
    b: RightOperand<'a, T>,
    sweep: Sweep,
    epilogue: Epilogue<'a, T::Line>,
}

impl<T: Element> Product<'_, T> {
    /// Computes `C`, and calls `finish` with each group of its panels, and the first one's index, as soon as
    /// it is complete.
    #[inline(always)]
    fn run<L: Lanes<Element = T>, E: Extent>(
        self,
        l: L,
        c: &mut PanelsMut<'_, T>,
        mut finish: impl FnMut(&mut [T::Line], usize),
    ) {
        let Self { a, b, sweep, epilogue } = self;
        if const { E::IS_SINGLE_PANEL } {
            let start = b.start.map_or(l.zero(), |start| l.load(&start[0]));
            let edge = EdgePanel {
                a: elements::<T>(a.lines),
                b: &b.lines[..a.cols],
                start: Some(start),
                mask: l.first(T::LANES),
                epilogue,
            };
            edge.run::<RowMajor>(l, c.lines);
            finish(c.lines, 0);
        } else {
            let takes_dot_product = uses_dot_product::<T>(c.as_panels().last_cols(), a.cols);
            let outer = 0..c.panels() - usize::from(takes_dot_product);
            if takes_dot_product && sweep == Sweep::Backward {
                self.dot_product(l, c, &mut finish);
            }
            self.outer_products(l, c, outer, &mut finish);
            if takes_dot_product && sweep == Sweep::Forward {
                self.dot_product(l, c, &mut finish);
            }
        }
    }

    /// Some adjacent panels, block by block.
    #[inline(always)]
    fn outer_products<L: Lanes<Element = T>>(
        self,
        l: L,
        c: &mut PanelsMut<'_, T>,
        mut panels: Range<usize>,
        finish: &mut impl FnMut(&mut [T::Line], usize),
    ) {
        let Self { a, b, sweep, epilogue } = self;
        let rows = c.rows;
        let segments = a.panels();
        let most_segments = segments_of_block::<T>(a.rows, segments);
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
                    // What is read next: of these panels, else of the next block of `k`, else of the next
                    // panels.
                    let next = if !left.is_empty() {
                        Some(BlockOrigin { panel: sweep.next(&left, np), segment: s })
                    } else if block.end < segments {
                        Some(BlockOrigin { panel: sweep.next(&of_block, np), segment: block.end })
                    } else if !panels.is_empty() {
                        Some(BlockOrigin { panel: sweep.next(&panels, np), segment: 0 })
                    } else {
                        None
                    };
                    let completes = block.end == segments;
                    let (first, lines) = (group.start, group.start * rows..group.end * rows);
                    let c = &mut c.lines[lines.clone()];
                    let mut group = PanelGroup {
                        c: &mut *c,
                        a,
                        b,
                        first,
                        block: block.clone(),
                        epilogue: if completes { epilogue.part(lines) } else { Epilogue::None },
                        prefetch: b.prefetch_distance(BlockOrigin { panel: first, segment: s }, next),
                    };
                    with_const!(
                        np,
                        NP if tile_exists(1, NP, L::ACCUMULATORS) => group.run::<L, NP>(l),
                        1 2 3 4 8
                    );
                    if completes {
                        finish(c, first);
                    }
                }
                s = block.end;
            }
        }
    }

    /// The last panel, by dot products.
    #[inline(always)]
    fn dot_product<L: Lanes<Element = T>>(
        self,
        l: L,
        c: &mut PanelsMut<'_, T>,
        finish: &mut impl FnMut(&mut [T::Line], usize),
    ) {
        let Self { a, b, epilogue, .. } = self;
        let (last, cols) = (c.panels() - 1, c.as_panels().last_cols());
        let first = last * b.panel;
        let b = dot_product::RightOperand {
            lines: &b.lines[first..],
            segment: b.segment,
            start: b.start.map(|start| &start[first]),
        };
        let lines = last * c.rows..(last + 1) * c.rows;
        let c = &mut c.lines[lines.clone()];
        dot_product::product(l, c, cols, a, b);
        epilogue.part(lines).run_on(l, c);
        finish(c, last);
    }
}

/// Some adjacent panels of `C`, over one block of `k`.
struct PanelGroup<'c, 'a, T: Element> {
    c: &'c mut [T::Line],
    a: Panels<'a, T>,
    b: RightOperand<'a, T>,
    /// The first panel of `B`.
    first: usize,
    /// Segments of `LANES` values of `k`.
    block: Range<usize>,
    epilogue: Epilogue<'a, T::Line>,
    /// [`RightOperand::prefetch_distance`] to the next group.
    prefetch: Option<usize>,
}

/// Tiles of one height, one below the other.
struct TileRun {
    rows: Range<usize>,
    /// Tiles of the group before these.
    done: usize,
}

impl<T: Element> PanelGroup<'_, '_, T> {
    /// Tile by tile. The first of them prefetch the next group, [`PREFETCH_LINES`] of each segment.
    #[inline(always)]
    fn run<L: Lanes<Element = T>, const NP: usize>(&mut self, l: L) {
        let mr = const { rows_per_tile(NP, L::ACCUMULATORS) };
        // Here, not in a tile: pointers of which the compiler does not know the distance take no instructions
        // to advance.
        let mut b = [&self.b.lines[..0]; NP];
        for (p, b) in b.iter_mut().enumerate() {
            let origin = BlockOrigin { panel: self.first + p, segment: self.block.start };
            *b = &self.b.lines[self.b.line(origin)..];
        }
        let (mut m, mut done) = (0, 0);
        while m < self.a.rows {
            let (height, count) = next_tiles(self.a.rows - m, mr);
            let tiles = TileRun { rows: m..m + height * count, done };
            with_const!(
                height,
                MR if tile_exists(MR, NP, L::ACCUMULATORS) => self.tiles::<L, MR, NP>(l, b, tiles),
                1 2 3 4 5 6 7 8 9 10 11 12
            );
            m += height * count;
            done += count;
        }
    }

    /// Tiles of `MR` rows by `NP` panels.
    #[inline(always)]
    fn tiles<L: Lanes<Element = T>, const MR: usize, const NP: usize>(
        &mut self,
        l: L,
        b: [&[T::Line]; NP],
        tiles: TileRun,
    ) {
        l.vectorize(
            #[inline(always)]
            || {
                let (panel, Range { start, end }) = (self.a.rows, self.block.clone());
                let a = &self.a.lines[start * panel..];
                let last = self.a.width(end - 1);
                let strides = Strides { a: panel * T::LANES, b: self.b.segment };
                let segments = Segments::several::<T>(end - start, last, strides);
                let (mut m, mut prefetched) = (tiles.rows.start, tiles.done * PREFETCH_LINES);
                while m < tiles.rows.end {
                    let mut prefetch = None;
                    if prefetched < T::LANES
                        && let Some(distance) = self.prefetch
                    {
                        prefetch = Some(distance.wrapping_add(prefetched));
                    }
                    let segments = segments.prefetching(prefetch);
                    let mut tile = Tile::<L, MR, 0, NP>::zero(l);
                    self.start(l, &mut tile, m);
                    let operands = Operands { a: elements::<T>(&a[m..]), b };
                    if const { prefetches_lines(MR, NP, L::ACCUMULATORS) } && self.b.exceeds_l2() {
                        tile.accumulate::<RowMajor<true>>(l, operands, segments);
                    } else {
                        tile.accumulate::<RowMajor>(l, operands, segments);
                    }
                    let origin = TileOrigin { row: m, panel };
                    self.epilogue.run(l, &mut tile.rows, origin);
                    store_sums(l, self.c, origin, &tile.rows);
                    m += MR;
                    prefetched += PREFETCH_LINES;
                }
            },
        );
    }

    /// Where the sums of the rows from `m` on start, of a tile of zeros: at the biases or 0, or at what the
    /// block of `k` before left in `C`.
    #[inline(always)]
    fn start<L: Lanes<Element = T>, const MR: usize, const NP: usize>(
        &self,
        l: L,
        tile: &mut Tile<L, MR, 0, NP>,
        m: usize,
    ) {
        if self.block.start > 0 {
            load_sums(l, &mut tile.rows, self.c, TileOrigin { row: m, panel: self.a.rows });
        } else if let Some(start) = self.b.start {
            for p in 0..NP {
                let line = l.load(&start[(self.first + p) * self.b.panel]);
                for row in &mut tile.rows {
                    row[p] = line;
                }
            }
        }
    }
}
