//! The forward and the backward product of a dense layer in bf16, and the loops around their micro-kernel.

use core::ops::Range;

use crate::kernels::gemm::bf16::tile::{Operands, Steps, accumulate};
use crate::kernels::gemm::blocking::NC_PANELS;
use crate::kernels::gemm::micro_kernel::{Epilogue, Sums, TileOrigin, load_sums, store_sums, with_const};
use crate::kernels::gemm::products::{Sweep, divide_derivative, finish_backward, finish_forward};
use crate::kernels::gemm::register_tile::next_rows;
use crate::kernels::matrix::bf16::{HalfPanels, transposed_weight_lines, weight_lines};
use crate::kernels::matrix::panels::{PanelsMut, clear_padding};
use crate::kernels::ops::activation::{Activation, Derivative, activate_rows};
use crate::simd::bf16::{Pair, PairLine, PairProducts, PairVisitor, pairs_of_halves};
use crate::simd::lanes::{Arithmetic, Lanes};
use crate::simd::scalar::Element;

/// Segments of `k`, 16 values each, of one block of a product: as many bytes as of other numbers.
const KC_SEGMENTS: usize = 32;

/// Bytes of `A` that stay in L1 whatever else passes through it.
const RESIDENT_BYTES: usize = 16 << 10;

/// Operands of a dense layer: `y = f(x W + b)`.
pub(crate) struct Dense<'a, T: Element> {
    /// `[B, O]`. Overwritten, padding lanes too, which are garbage.
    pub y: PanelsMut<'a, T>,
    /// `x W + b`, `[B, O]`, overwritten, or empty if nothing needs it.
    pub pre_activation: &'a mut [T::Line],
    /// `[B, I]`.
    pub x: HalfPanels<'a>,
    pub weights: Weights<'a, T>,
    pub activation: Activation,
    pub sweep: Sweep,
}

/// The parameters of a dense layer, from some panel on.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a, T: Element> {
    /// As of [`WeightRounding`](crate::kernels::matrix::bf16::WeightRounding).
    pub weights: &'a [PairLine],
    /// Panels of `[1 + I, O]` whose first line is the biases.
    pub parameters: &'a [T::Line],
}

/// Operands of the backward pass through a dense layer: `d_x = d_z W^T`, times `f'` of the layer below.
pub(crate) struct DenseBackward<'a, T: Element> {
    /// `[B, I]`. Overwritten; padding lanes become 0.
    pub d_x: PanelsMut<'a, T>,
    /// `[B, O]`.
    pub d_z: HalfPanels<'a>,
    /// As of [`WeightRounding`](crate::kernels::matrix::bf16::WeightRounding).
    pub transposed: &'a [PairLine],
    /// The layer below, if there is one.
    pub below: Option<Derivative<'a, T>>,
    pub sweep: Sweep,
}

impl<T: Element> Weights<'_, T> {
    /// The same of the panels from one on, of a layer of some inputs.
    pub(crate) fn starting_at(self, panel: usize, inputs: usize) -> Self {
        Self {
            weights: &self.weights[panel * weight_lines(inputs)..],
            parameters: &self.parameters[panel * (1 + inputs)..],
        }
    }
}

impl<T: Element> PairVisitor<T> for Dense<'_, T> {
    #[inline(always)]
    fn visit<P: PairProducts<Lanes: Lanes<Element = T>>>(self, p: P) {
        forward(p, self);
    }
}

impl<T: Element> PairVisitor<T> for DenseBackward<'_, T> {
    #[inline(always)]
    fn visit<P: PairProducts<Lanes: Lanes<Element = T>>>(self, p: P) {
        backward_data(p, self);
    }
}

/// `y = f(x W + b)`.
fn forward<T: Element, P: PairProducts<Lanes: Lanes<Element = T>>>(p: P, dense: Dense<'_, T>) {
    p.vectorize(
        #[inline(always)]
        || {
            let l = p.lanes();
            let Dense { mut y, pre_activation, x, weights, activation, sweep } = dense;
            let rectifies = activation == Activation::Relu && pre_activation.is_empty();
            let epilogue = if rectifies { Epilogue::Rectify } else { Epilogue::None };
            let b = RightOperand {
                lines: weights.weights,
                panel_stride: weight_lines(x.cols),
                segment_stride: Pair::PER_HALF,
                bias: Some(weights.parameters),
                bias_stride: 1 + x.cols,
            };
            let product = Product { a: x, b, sweep, epilogue };
            product.run(
                p,
                &mut y,
                #[inline(always)]
                |lines, first| finish_forward(l, lines, pre_activation, first, activation),
            );
            activate_rows(l, y, activation);
        },
    );
}

/// `d_x = d_z W^T`, times `f'` of the layer below, if there is one.
fn backward_data<T: Element, P: PairProducts<Lanes: Lanes<Element = T>>>(p: P, dense: DenseBackward<'_, T>) {
    p.vectorize(
        #[inline(always)]
        || {
            let l = p.lanes();
            let DenseBackward { mut d_x, d_z, transposed, below, sweep } = dense;
            let (epilogue, below) = divide_derivative(below);
            let b = RightOperand {
                lines: transposed,
                panel_stride: Pair::PER_HALF,
                segment_stride: transposed_weight_lines(d_x.cols),
                bias: None,
                bias_stride: 0,
            };
            let product = Product { a: d_z, b, sweep, epilogue };
            product.run(
                p,
                &mut d_x,
                #[inline(always)]
                |lines, first| finish_backward(l, lines, below, first),
            );
            clear_padding(l, d_x);
        },
    );
}

/// The right-hand side `B` of a product, and the biases that its sums start from.
#[derive(Clone, Copy)]
struct RightOperand<'a, T: Element> {
    lines: &'a [PairLine],
    /// Lines from one panel to the next.
    panel_stride: usize,
    /// Lines from one segment of eight pairs to the next.
    segment_stride: usize,
    /// The first term of every row's sums, one line a panel; 0 if there is none.
    bias: Option<&'a [T::Line]>,
    /// Lines from the biases of one panel to those of the next.
    bias_stride: usize,
}

/// `C = initial + A B`.
#[derive(Clone, Copy)]
struct Product<'a, T: Element> {
    a: HalfPanels<'a>,
    b: RightOperand<'a, T>,
    sweep: Sweep,
    epilogue: Epilogue<'a, T>,
}

impl<T: Element> Product<'_, T> {
    /// Computes `C`, and calls `finish` with each group of its panels, and its first line's index, as soon as
    /// it is complete. The loops are those of [`products`](crate::kernels::gemm::products).
    #[inline(always)]
    fn run<P: PairProducts<Lanes: Lanes<Element = T>>>(
        self,
        p: P,
        c: &mut PanelsMut<'_, T>,
        mut finish: impl FnMut(&mut [T::Line], usize),
    ) {
        let (rows, segments) = (self.a.rows, self.a.panels());
        let is_resident = rows * segments * size_of::<[Pair; Pair::PER_HALF]>() <= RESIDENT_BYTES;
        let most = if is_resident { segments } else { KC_SEGMENTS };
        // Loop 5: blocks of panels of `C`.
        let mut panels = 0..c.panels();
        while !panels.is_empty() {
            let count = next_rows(panels.len(), NC_PANELS);
            let block = self.sweep.take(&mut panels, count);
            // Loop 4: blocks of `k`.
            let mut s = 0;
            while s < segments {
                let k = s..segments.min(s + most);
                // Loop 3: groups of panels, as wide as a tile.
                let mut left = block.clone();
                while !left.is_empty() {
                    let np = panels_per_tile::<P>(left.len(), rows);
                    let taken = self.sweep.take(&mut left, np);
                    let lines = taken.start * rows..taken.end * rows;
                    let (first, completes) = (lines.start, k.end == segments);
                    let epilogue = if completes { self.epilogue.part(lines.clone()) } else { Epilogue::None };
                    let c = &mut c.lines[lines];
                    let mut group = PanelGroup { c, product: self, panels: taken, k: k.clone(), epilogue };
                    group.tiles(p, np);
                    if completes {
                        finish(group.c, first);
                    }
                }
                s = k.end;
            }
        }
    }
}

/// Panels of the next tile, of those left, over some rows.
#[inline(always)]
fn panels_per_tile<P: PairProducts>(left: usize, rows: usize) -> usize {
    let tiles = P::TILES;
    let widest = match rows {
        1 => tiles.panels_of_one,
        2 => tiles.panels_of_two,
        _ => tiles.panels,
    };
    // Four are two pairs rather than three and one.
    match (widest, left) {
        (3, 4) => 2,
        (4, 3) => 2,
        _ => widest.min(left),
    }
}

/// Rows of the tallest tile over some panels.
const fn tallest<P: PairProducts>(np: usize) -> usize {
    let tiles = P::TILES;
    if np <= tiles.panels {
        tiles.rows
    } else if np <= tiles.panels_of_two {
        2
    } else if np <= tiles.panels_of_one {
        1
    } else {
        0
    }
}

/// Some adjacent panels of `C`, over one block of `k`.
struct PanelGroup<'c, 'a, T: Element> {
    c: &'c mut [T::Line],
    product: Product<'a, T>,
    panels: Range<usize>,
    /// Segments of 16 values of `k`.
    k: Range<usize>,
    /// If it is the last block of `k`.
    epilogue: Epilogue<'a, T>,
}

impl<T: Element> PanelGroup<'_, '_, T> {
    /// All rows, in tiles of `np` panels: as many of the tallest as there are, then halves of it.
    #[inline(always)]
    fn tiles<P: PairProducts<Lanes: Lanes<Element = T>>>(&mut self, p: P, np: usize) {
        let rows = self.product.a.rows;
        with_const!(
            np,
            NP if tallest::<P>(NP) > 0 => {
                // Loop 2: tiles of one height.
                let (mut m, mut height) = (0, const { tallest::<P>(NP) });
                while m < rows {
                    let count = (rows - m) / height;
                    if count > 0 {
                        let tiles = m..m + height * count;
                        m = tiles.end;
                        with_const!(
                            height,
                            MR if MR <= tallest::<P>(NP) => self.rows::<P, MR, NP>(p, tiles),
                            1 2 4 8
                        );
                    }
                    height /= 2;
                }
            },
            1 2 3 4
        );
    }

    /// Tiles of `MR` rows by `NP` panels, one below the other.
    #[inline(always)]
    fn rows<P, const MR: usize, const NP: usize>(&mut self, p: P, rows: Range<usize>)
    where
        P: PairProducts<Lanes: Lanes<Element = T>>,
    {
        p.vectorize(
            #[inline(always)]
            || {
                let Product { a, b, .. } = self.product;
                let (panel_stride, start) = (a.rows, self.k.start);
                let lines = &a.lines[start * panel_stride..];
                let panel = |n: usize| {
                    &b.lines[(self.panels.start + n) * b.panel_stride + start * b.segment_stride..]
                };
                let mut b_panels = [&b.lines[..0]; NP];
                for (n, lines) in b_panels.iter_mut().enumerate() {
                    *lines = panel(n);
                }
                let steps = self.steps();
                // Loop 1: tiles.
                let mut m = rows.start;
                while m < rows.end {
                    let mut sums = self.initial::<P, MR, NP>(p, m);
                    let operands = Operands { a: pairs_of_halves(&lines[m..]), b: b_panels };
                    accumulate::<P, { Pair::PER_HALF }, 1, MR, NP>(p, &mut sums, operands, steps);
                    let origin = TileOrigin { row: m, panel_stride };
                    self.epilogue.run(p.lanes(), &mut sums, origin);
                    store_sums(p.lanes(), self.c, origin, &sums);
                    m += MR;
                }
            },
        );
    }

    /// The steps of this block of `k`. A single row lies in one piece, and so do weights: one segment.
    #[inline(always)]
    fn steps(&self) -> Steps {
        let Product { a, b, .. } = self.product;
        let (segments, last) = (self.k.len(), a.pairs(self.k.end - 1));
        if a.rows == 1 && b.segment_stride == Pair::PER_HALF {
            return Steps::one((segments - 1) * Pair::PER_HALF + last);
        }
        Steps {
            segments,
            length: if segments == 1 { last } else { Pair::PER_HALF },
            last,
            a_stride: a.rows * Pair::PER_HALF,
            b_stride: b.segment_stride,
        }
    }

    /// Where the sums of the rows from `m` on start: at the biases or 0, or at what the block of `k` before
    /// left in `C`.
    #[inline(always)]
    fn initial<P, const MR: usize, const NP: usize>(&self, p: P, m: usize) -> Sums<P::Lanes, MR, NP>
    where
        P: PairProducts<Lanes: Lanes<Element = T>>,
    {
        let l = p.lanes();
        let mut sums = [[l.zero(); NP]; MR];
        let RightOperand { bias, bias_stride, .. } = self.product.b;
        if self.k.start > 0 {
            load_sums(l, &mut sums, self.c, TileOrigin { row: m, panel_stride: self.product.a.rows });
        } else if let Some(bias) = bias {
            for n in 0..NP {
                let line = p.whole(l.load(&bias[(self.panels.start + n) * bias_stride]));
                for row in &mut sums {
                    row[n] = line;
                }
            }
        }
        sums
    }
}
