//! The forward and the backward product of a dense layer, and the loops around their micro-kernel.
//!
//! Every product is `C[m][n] = initial + sum_k A[m][k] B[k][n]`, one accumulator of fused multiply-adds for
//! each element of `C`, in the order of `k`, or a few where shapes alone say so: so its bits do not depend on
//! tiles, blocks or neighbours.
//!
//! | product | `C` | `A` | `B` | initial |
//! |---|---|---|---|---|
//! | [`forward`] | `y` | `x` | `W` | biases |
//! | [`backward_data`] | `d_x` | `d_z` | `W^T` | 0 |
//! | [`weight_gradient`] | `d_W` | `x^T` | `d_z` | 0, or the sum so far |
//!
//! Here `W` is `[I, O]` as it lies in memory: the transpose of what users see, with the biases as line 0 of
//! each panel. `W^T` is read from the transposed copy, because the rows of `B` must lie along its lines.
//!
//! [`forward`] and [`backward_data`] have the loops of BLIS, numbered as there: 5 over blocks of panels of
//! `C`, 4 over blocks of `k`, 3 over groups of panels, 2 and 1 over rows of `C`, in runs of tiles of one
//! height; 5 and 3 go through the panels in either [`Sweep`]. [`weight_gradient`] loops over panels, then
//! rows of `C`: its `k`, the rows of a micro-batch, is one block. Elements of last panels of few columns have
//! `LANES` accumulators, by [`dot_product`]; those of gradients two or four where a panel has one or two
//! inputs or outputs: [`accumulators_of`](super::register_tile::accumulators_of).
//!
//! [`weight_gradient`]: super::weight_gradient::weight_gradient

use core::ops::Range;

use crate::kernels::gemm::blocking::{NC_PANELS, PREFETCH_LINES, segments_of_block, uses_dot_product};
use crate::kernels::gemm::dot_product;
use crate::kernels::gemm::micro_kernel::{
    EdgePanel, Epilogue, Operands, RowMajor, Segments, Strides, Tile, TileOrigin, load_sums, store_sums,
    with_const,
};
use crate::kernels::gemm::register_tile::{
    next_rows, next_tiles, prefetches_lines, rows_per_tile, tile_exists,
};
use crate::kernels::gemm::right_operand::{BlockOrigin, RightOperand};
use crate::kernels::matrix::panels::{Panels, PanelsMut, clear_padding};
use crate::kernels::matrix::transpose::transposed_stride;
use crate::kernels::ops::activation::{Activation, Derivative, activate, activate_rows, multiply_derivative};
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::scalar::{Element, Scalar, elements};

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
            || forward_single_panel(l, dense),
        );
    }
    l.vectorize(
        #[inline(always)]
        || {
            let epilogue = dense.epilogue();
            let Dense { mut y, pre_activation, x, weights, activation } = dense;
            let (panel_stride, segment_stride) = (1 + x.cols, L::Element::LANES);
            let b = RightOperand { lines: &weights[1..], panel_stride, segment_stride, bias: Some(weights) };
            let product = Product { a: x, b, sweep, epilogue };
            product.run(
                l,
                &mut y,
                #[inline(always)]
                |lines, first| finish_forward(l, lines, pre_activation, first, activation),
            );
            activate_rows(l, y, activation);
        },
    );
}

/// [`forward`] of one panel of inputs and one of outputs, beneath a crossing. The search for blocks would
/// take longer than the arithmetic; the order of every sum is the same.
#[inline(always)]
pub(crate) fn forward_single_panel<L: Lanes>(l: L, dense: Dense<'_, L::Element>) {
    let epilogue = dense.epilogue();
    let Dense { y, pre_activation, x, weights, activation } = dense;
    let edge = EdgePanel {
        a: elements::<L::Element>(x.lines),
        b: &weights[1..][..x.cols],
        initial: Some(l.load(&weights[0])),
        mask: l.first_lanes(L::Element::LANES),
        epilogue,
    };
    edge.run::<RowMajor>(l, y.lines);
    finish_forward(l, y.lines, pre_activation, 0, activation);
    activate_rows(l, y, activation);
}

impl<T: Element> Dense<'_, T> {
    /// ReLU, while the sums are in registers, if nothing needs them before.
    #[inline(always)]
    fn epilogue(&self) -> Epilogue<'static, T> {
        let rectifies = self.activation == Activation::Relu && self.pre_activation.is_empty();
        if rectifies { Epilogue::Rectify } else { Epilogue::None }
    }
}

/// What is left to do with panels of `x W + b`, of which `lines` are those from `first` on: to keep them, and
/// the activation, but for [`Dense::epilogue`] and for what needs whole rows. The activation by a crossing of
/// its own: its code once, rather than at every place where panels are complete.
#[inline(always)]
pub(super) fn finish_forward<L: Lanes>(
    l: L,
    lines: &mut [LineOf<L>],
    pre_activation: &mut [LineOf<L>],
    first: usize,
    activation: Activation,
) {
    if !pre_activation.is_empty() {
        pre_activation[first..][..lines.len()].copy_from_slice(lines);
    } else if activation == Activation::Relu {
        return;
    }
    if activation.needs_pass() {
        activate(l, lines, activation);
    }
}

/// `d_x = d_z W^T`, times `f'` of the layer below, if there is one. Overwrites `d_x`; padding lanes become 0.
pub(crate) fn backward_data<L: Lanes>(l: L, dense: DenseBackward<'_, L::Element>, sweep: Sweep) {
    if dense.d_x.panels() == 1 && dense.d_z.panels() == 1 {
        return l.vectorize(
            #[inline(always)]
            || backward_single_panel(l, dense),
        );
    }
    l.vectorize(
        #[inline(always)]
        || {
            let DenseBackward { mut d_x, d_z, transposed, below } = dense;
            let (epilogue, below) = divide_derivative(below);
            let segment_stride = transposed_stride::<L::Element>(d_x.cols);
            let panel_stride = L::Element::LANES;
            let b = RightOperand { lines: transposed, panel_stride, segment_stride, bias: None };
            let product = Product { a: d_z, b, sweep, epilogue };
            product.run(
                l,
                &mut d_x,
                #[inline(always)]
                |lines, first| finish_backward(l, lines, below, first),
            );
            // The padding of a dot product is 0 until it is multiplied.
            let is_clear = uses_dot_product::<L::Element>(d_x.as_panels().last_cols(), d_z.cols);
            if below.is_some() || !is_clear {
                clear_padding(l, d_x);
            }
        },
    );
}

/// [`backward_data`] of one panel of inputs and one of outputs, beneath a crossing: as
/// [`forward_single_panel`].
#[inline(always)]
pub(crate) fn backward_single_panel<L: Lanes>(l: L, dense: DenseBackward<'_, L::Element>) {
    let DenseBackward { d_x, d_z, transposed, below } = dense;
    let (epilogue, below) = divide_derivative(below);
    let edge = EdgePanel {
        a: elements::<L::Element>(d_z.lines),
        b: &transposed[..d_z.cols],
        initial: Some(l.zero()),
        mask: l.first_lanes(L::Element::LANES),
        epilogue,
    };
    edge.run::<RowMajor>(l, d_x.lines);
    finish_backward(l, d_x.lines, below, 0);
    clear_padding(l, d_x);
}

/// The derivative of the layer below: ReLU's while the sums are in registers, others by [`finish_backward`].
#[inline(always)]
pub(super) fn divide_derivative<T: Element>(
    below: Option<Derivative<'_, T>>,
) -> (Epilogue<'_, T>, Option<Derivative<'_, T>>) {
    match below {
        Some(Derivative { from, activation: Activation::Relu }) => (Epilogue::RectifyBy(from.lines), None),
        below => (Epilogue::None, below),
    }
}

/// What is left to do with panels of `d_z W^T`, of which `lines` are those from `first` on: the derivative of
/// the layer below, if there is one. By a crossing of its own, as in [`finish_forward`].
#[inline(always)]
pub(super) fn finish_backward<L: Lanes>(
    l: L,
    lines: &mut [LineOf<L>],
    below: Option<Derivative<'_, L::Element>>,
    first: usize,
) {
    if let Some(Derivative { from, activation }) = below {
        let from = &from.lines[first..][..lines.len()];
        multiply_derivative(l, lines, from, activation);
    }
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
    pub(super) fn take(self, left: &mut Range<usize>, count: usize) -> Range<usize> {
        let start = self.next(left, count);
        match self {
            Self::Forward => left.start += count,
            Self::Backward => left.end = start,
        }
        start..start + count
    }
}

/// `C = initial + A B`.
#[derive(Clone, Copy)]
struct Product<'a, T: Element> {
    a: Panels<'a, T>,
    b: RightOperand<'a, T>,
    sweep: Sweep,
    epilogue: Epilogue<'a, T>,
}

/// The panels of `C` that a product still has to go through.
struct PanelsLeft<'r> {
    /// Of a block of panels, over the same block of `k`.
    of_block: &'r Range<usize>,
    /// All of that block, over the next block of `k`.
    block: &'r Range<usize>,
    /// After that block.
    others: &'r Range<usize>,
}

impl<'a, T: Element> Product<'a, T> {
    /// Computes `C`, and calls `finish` with each group of its panels, and its first line's index, as soon as
    /// it is complete.
    #[inline(always)]
    fn run<L: Lanes<Element = T>>(
        self,
        l: L,
        c: &mut PanelsMut<'_, T>,
        mut finish: impl FnMut(&mut [T::Line], usize),
    ) {
        let Self { a, b, sweep, .. } = self;
        let (rows, segments) = (a.rows, a.panels());
        let max_segments = segments_of_block::<T>(rows, segments);
        let takes_dot_product = uses_dot_product::<T>(c.as_panels().last_cols(), a.cols);
        if takes_dot_product && sweep == Sweep::Backward {
            self.dot_product(l, c, &mut finish);
        }
        // Loop 5: blocks of panels of `C`.
        let mut panels = 0..c.panels() - usize::from(takes_dot_product);
        while !panels.is_empty() {
            let count = next_rows(panels.len(), NC_PANELS);
            let block = sweep.take(&mut panels, count);
            // Loop 4: blocks of `k`.
            let mut s = 0;
            while s < segments {
                let k = s..segments.min(s + max_segments);
                // Loop 3: groups of panels, as wide as a tile.
                let mut left = block.clone();
                while !left.is_empty() {
                    let np = b.panels_per_tile(left.len(), rows, L::ACCUMULATORS);
                    let taken = sweep.take(&mut left, np);
                    let next = PanelsLeft { of_block: &left, block: &block, others: &panels };
                    let mut group = self.group(c, taken, k.clone(), next);
                    with_const!(
                        np,
                        NP if tile_exists(1, NP, L::ACCUMULATORS) => {
                            let b = group.panels_of_b::<NP>();
                            // Loop 2: tiles of one height.
                            let mut m = 0;
                            while m < rows {
                                let tallest = const { rows_per_tile(NP, L::ACCUMULATORS) };
                                let (height, count) = next_tiles(rows - m, tallest);
                                let tiles = m..m + height * count;
                                m = tiles.end;
                                with_const!(
                                    height,
                                    MR if tile_exists(MR, NP, L::ACCUMULATORS) =>
                                        group.tiles::<L, MR, NP>(l, b, tiles),
                                    1 2 3 4 5 6 7 8 9 10 11 12
                                );
                            }
                        },
                        1 2 3 4 8
                    );
                    if group.completes {
                        finish(group.c, group.first * rows);
                    }
                }
                s = k.end;
            }
        }
        if takes_dot_product && sweep == Sweep::Forward {
            self.dot_product(l, c, &mut finish);
        }
    }
    /// The block of `B` that is read after segments `k` of a group: that of `np` panels left in the block of
    /// panels, else of the next block of `k`, else of other panels.
    #[inline(always)]
    fn next_block(&self, np: usize, left: PanelsLeft<'_>, k: Range<usize>) -> Option<BlockOrigin> {
        let PanelsLeft { of_block, block, others } = left;
        let (panels, segment) = if !of_block.is_empty() {
            (of_block, k.start)
        } else if k.end < self.a.panels() {
            (block, k.end)
        } else if !others.is_empty() {
            (others, 0)
        } else {
            return None;
        };
        Some(BlockOrigin { panel: self.sweep.next(panels, np), segment })
    }

    /// Some adjacent panels of `c`, over segments `k`, and what is read after them.
    #[inline(always)]
    fn group<'c>(
        &self,
        c: &'c mut PanelsMut<'_, T>,
        panels: Range<usize>,
        k: Range<usize>,
        next: PanelsLeft<'_>,
    ) -> PanelGroup<'c, 'a, T> {
        let lines = panels.start * c.rows..panels.end * c.rows;
        let completes = k.end == self.a.panels();
        let from = BlockOrigin { panel: panels.start, segment: k.start };
        let next = self.next_block(panels.len(), next, k.clone());
        PanelGroup {
            c: &mut c.lines[lines.clone()],
            a: self.a,
            b: self.b,
            first: panels.start,
            k,
            completes,
            epilogue: if completes { self.epilogue.part(lines) } else { Epilogue::None },
            prefetch: self.b.prefetch_distance(from, next),
            prefetched: 0,
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
        let lines = last * c.rows..(last + 1) * c.rows;
        let c = &mut c.lines[lines.clone()];
        dot_product::product(l, c, cols, a, b.starting_at(last));
        epilogue.part(lines.clone()).run_on(l, c);
        finish(c, lines.start);
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
    k: Range<usize>,
    /// Whether it is the last block of `k`.
    completes: bool,
    epilogue: Epilogue<'a, T>,
    /// [`RightOperand::prefetch_distance`] to the next group.
    prefetch: Option<usize>,
    /// Lines of each segment that tiles have prefetched: the first tiles prefetch the next group,
    /// [`PREFETCH_LINES`] of each segment.
    prefetched: usize,
}

impl<'a, T: Element> PanelGroup<'_, 'a, T> {
    /// The panels of `B`, from this block of `k` on, for all tiles of the group. In a tile the compiler would
    /// know their distance, and compute every pointer anew in each step instead of advancing one index.
    #[inline(always)]
    fn panels_of_b<const NP: usize>(&self) -> [&'a [T::Line]; NP] {
        self.b.panels(BlockOrigin { panel: self.first, segment: self.k.start })
    }

    /// Tiles of `MR` rows by `NP` panels, one below the other.
    #[inline(always)]
    fn tiles<L: Lanes<Element = T>, const MR: usize, const NP: usize>(
        &mut self,
        l: L,
        b: [&[T::Line]; NP],
        rows: Range<usize>,
    ) {
        l.vectorize(
            #[inline(always)]
            || {
                let (panel_stride, Range { start, end }) = (self.a.rows, self.k.clone());
                let a = &self.a.lines[start * panel_stride..];
                let strides = Strides { a: panel_stride * T::LANES, b: self.b.segment_stride };
                let segments = Segments::several::<T>(end - start, self.a.width(end - 1), strides);
                // Loop 1: tiles.
                let mut m = rows.start;
                while m < rows.end {
                    let mut prefetch = None;
                    if self.prefetched < T::LANES
                        && let Some(distance) = self.prefetch
                    {
                        prefetch = Some(distance.wrapping_add(self.prefetched));
                        self.prefetched += PREFETCH_LINES;
                    }
                    let segments = segments.prefetching(prefetch);
                    let mut tile = Tile::<L, MR, 0, NP>::zero(l);
                    self.load_initial(l, &mut tile, m);
                    let operands = Operands { a: elements::<T>(&a[m..]), b };
                    if const { prefetches_lines(MR, NP, L::ACCUMULATORS) } && self.b.exceeds_l2() {
                        tile.accumulate::<RowMajor<true>, 1>(l, operands, segments);
                    } else {
                        tile.accumulate::<RowMajor, 1>(l, operands, segments);
                    }
                    let origin = TileOrigin { row: m, panel_stride };
                    self.epilogue.run(l, &mut tile.rows, origin);
                    store_sums(l, self.c, origin, &tile.rows);
                    m += MR;
                }
            },
        );
    }

    /// Where the sums of the rows from `m` on start, of a tile of zeros: at the biases or 0, or at what the
    /// block of `k` before left in `C`.
    #[inline(always)]
    fn load_initial<L: Lanes<Element = T>, const MR: usize, const NP: usize>(
        &self,
        l: L,
        tile: &mut Tile<L, MR, 0, NP>,
        m: usize,
    ) {
        if self.k.start > 0 {
            load_sums(l, &mut tile.rows, self.c, TileOrigin { row: m, panel_stride: self.a.rows });
        } else if let Some(bias) = self.b.bias {
            for p in 0..NP {
                let line = l.load(&bias[(self.first + p) * self.b.panel_stride]);
                for row in &mut tile.rows {
                    row[p] = line;
                }
            }
        }
    }
}
