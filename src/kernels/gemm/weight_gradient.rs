//! The weight gradient, `d_W = x^T d_z` and `d_b` the sum of the rows of `d_z`: the third product of `gemm.rs`.

use crate::kernels::gemm::blocking::TILED_ROWS;
use crate::kernels::matrix::panels::clear_padding;
use crate::kernels::matrix::transpose::store_columns;
use crate::kernels::matrix::transpose::transpose_block;
use crate::simd::scalar::Scalar;
use core::ops::Range;

use crate::kernels::gemm::blocking::{EDGE_COLUMNS, uses_transposed};
use crate::kernels::gemm::micro_kernel::{
    AccessPattern, ColumnMajor, ColumnMajorThenNext, Constant, Epilogue, accumulate_split, edge_panel,
    load_sums, store_sums, with_const,
};
use crate::kernels::gemm::register_tile::{
    TilePlace, accumulators_of, next_rows, panels_per_gradient_tile, rows_per_gradient_tile, takes_ones,
    transposed_panels,
};
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::ops::sgd;
use crate::simd::lanes::Lanes;
use crate::simd::lanes::LineOf;
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements};

/// `d_W (+)= x^T d_z` and `d_b (+)= sum of rows of d_z`, for the panels of outputs from `first` on.
///
/// `d_w` is those panels of `[1 + I, O]`, biases first. Overwrites `d_w` or adds to it, as `start` says, and takes a step by
/// the result if there is a `descent`. Padding lanes become
/// 0, even of inputs that are not finite, which 0 in `d_z` would make NaN.
pub fn weight_gradient<L: Lanes>(
    l: L,
    gradient: WeightGradient<'_, L::Element>,
    descent: Option<FusedSgd<'_, L::Element>>,
) {
    let WeightGradient { d_w, x, .. } = &gradient;
    if x.panels() == 1 && d_w.len() == 1 + x.cols && x.rows < TILED_ROWS && descent.is_none() {
        return l.vectorize(
            #[inline(always)]
            || small_weight_gradient(l, gradient),
        );
    }
    l.vectorize(
        #[inline(always)]
        || tiled_weight_gradient(l, gradient, descent),
    );
}

/// Operands of a weight gradient.
pub struct WeightGradient<'a, T: Element> {
    /// Panels of `[1 + I, O]`, biases first.
    pub d_w: &'a mut [T::Line],
    /// `[B, I]`.
    pub x: Panels<'a, T>,
    /// `[B, O]`.
    pub d_z: Panels<'a, T>,
    /// The panel of `d_z` that the first of `d_w` belongs to.
    pub first_panel: usize,
    /// Whether `d_w` is overwritten or added to.
    pub start: Beta,
}

/// [`weight_gradient`] in tiles.
#[inline(always)]
fn tiled_weight_gradient<L: Lanes>(
    l: L,
    gradient: WeightGradient<'_, L::Element>,
    mut descent: Option<FusedSgd<'_, L::Element>>,
) {
    let WeightGradient { d_w, x, d_z, first_panel: first, start } = gradient;
    let stride = 1 + x.cols;
    let owned = d_w.len() / stride;
    let has_last = owned > 0 && first + owned == d_z.panels();
    // One panel of inputs is a tile or two as it lies.
    let narrow = has_last && x.panels() > 1 && uses_transposed(d_z.last_cols(), d_z.rows);
    let as_they_lie = owned - usize::from(narrow);
    let mut p = 0;
    while p < as_they_lie {
        let np = panels_per_gradient_tile(as_they_lie - p, L::ACCUMULATORS);
        let lines = p * stride..(p + np) * stride;
        let c = &mut d_w[lines.clone()];
        let descent = descent.as_mut().map(|descent| descent.part(lines));
        with_const!(
            np,
            NP if rows_per_gradient_tile(NP, L::ACCUMULATORS) > 0 =>
                gradient_panels::<L, NP>(l, (c, descent), x, d_z, first + p, start),
            1 2 3
        );
        p += np;
    }
    if has_last {
        let lines = &mut d_w[(owned - 1) * stride..];
        if narrow {
            narrow_gradient(l, lines, x, d_z, start);
        } else {
            clear_padding(l, PanelsMut { lines, rows: stride, cols: d_z.last_cols() });
        }
    }
}

/// `NP` panels of a weight gradient: blocks of inputs within each panel of `x`, and the biases, in the last block if it has
/// registers left: by themselves, one sum for each panel, they would mostly wait.
#[inline(always)]
fn gradient_panels<L: Lanes, const NP: usize>(
    l: L,
    (c, descent): (&mut [LineOf<L>], Option<FusedSgd<'_, L::Element>>),
    x: Panels<'_, L::Element>,
    d_z: Panels<'_, L::Element>,
    first: usize,
    start: Beta,
) {
    let lanes = L::Element::LANES;
    let mr = const { rows_per_gradient_tile(NP, L::ACCUMULATORS) };
    let mut tile = GradientTile { c, d_z, first, inputs: x.cols, start, descent };
    for s in 0..x.panels() {
        let column = elements::<L::Element>(x.panel(s));
        let width = lanes.min(x.cols - s * lanes);
        let mut i = 0;
        while i < width {
            let rows = next_rows(width - i, mr);
            let (a, line) = (&column[i..], 1 + s * lanes + i);
            if i + rows == width && s + 1 == x.panels() {
                // Not of a small layer: its gradient may be computed elsewhere, with one chain.
                match width {
                    1 if s > 0 => tile.last::<L, 1, NP, { accumulators_of(1) }>(l, a, line),
                    2 if s > 0 => tile.last::<L, 2, NP, { accumulators_of(2) }>(l, a, line),
                    _ => with_const!(
                        rows,
                        MR if has_tile::<L>(TilePlace::EndsInputs, MR, NP) =>
                            tile.last::<L, MR, NP, 1>(l, a, line),
                        1 2 3 4 5 6 7 8
                    ),
                }
            } else if i + rows == lanes {
                // The last tile of a whole panel: 16 inputs are 8 and 8, 6, 5 and 5, or 2 each, 8 are 8, 4 and 4, or 2 each.
                with_const!(
                    rows,
                    MR if has_tile::<L>(TilePlace::EndsPanel, MR, NP) =>
                        tile.run::<L, ColumnMajorThenNext, MR, NP>(l, a, line),
                    1 2 3 4 5 6 7 8
                );
            } else {
                with_const!(
                    rows,
                    MR if has_tile::<L>(TilePlace::Inner, MR, NP) =>
                        tile.run::<L, ColumnMajor, MR, NP>(l, a, line),
                    1 2 3 4 5 6 7 8
                );
            }
            i += rows;
        }
    }
}

/// [`TilePlace::has_tile`] of an instruction set.
const fn has_tile<L: Lanes>(place: TilePlace, mr: usize, np: usize) -> bool {
    place.has_tile(mr, np, L::Element::LANES, L::ACCUMULATORS)
}

/// `MR` lines by `NP` panels of a weight gradient.
struct GradientTile<'c, 'a, T: Element> {
    c: &'c mut [T::Line],
    d_z: Panels<'a, T>,
    /// The first panel of `d_z`.
    first: usize,
    inputs: usize,
    start: Beta,
    descent: Option<FusedSgd<'c, T>>,
}

/// Plain gradient descent, `w -= rate d_w`, by the lines of a gradient while they are in registers: a pass over parameters
/// and gradient less.
pub struct FusedSgd<'a, T: Element> {
    /// Those of the gradient, with no lane past the last output: there the sums are garbage.
    pub parameters: &'a mut [T::Line],
    pub rate: T,
}

impl<T: Element> FusedSgd<'_, T> {
    /// That of some lines.
    #[inline(always)]
    fn part(&mut self, lines: Range<usize>) -> FusedSgd<'_, T> {
        FusedSgd { parameters: &mut self.parameters[lines], rate: self.rate }
    }

    /// By sums that lie at `(first, panel)` as for [`store_sums`].
    #[inline(always)]
    fn step<L: Lanes<Element = T>, const MR: usize, const NP: usize>(
        &mut self,
        l: L,
        sums: &[[L::Vector; NP]; MR],
        (first, panel): (usize, usize),
    ) {
        let rate = l.splat(self.rate);
        for p in 0..NP {
            for (line, sums) in self.parameters[p * panel + first..][..MR].iter_mut().zip(sums) {
                l.store(line, l.flushed(sgd::step(l, l.load(line), sums[p], rate)));
            }
        }
    }
}

impl<T: Element> GradientTile<'_, '_, T> {
    /// The last `MR` inputs, and the biases, each sum in so many [`accumulators_of`].
    #[inline(always)]
    fn last<L, const MR: usize, const NP: usize, const CHAINS: usize>(&mut self, l: L, a: &[T], line: usize)
    where
        L: Lanes<Element = T>,
    {
        if const { takes_ones(MR, NP * CHAINS, L::ACCUMULATORS) } {
            self.with_ones::<L, ColumnMajor, MR, 1, NP, CHAINS>(l, a, line);
        } else {
            self.with_ones::<L, ColumnMajor, MR, 0, NP, CHAINS>(l, a, line);
            self.with_ones::<L, Constant, 1, 0, NP, CHAINS>(l, &[T::from_f64(1.0)], 0);
        }
    }

    /// `MR` inputs, from that of a line on.
    #[inline(always)]
    fn run<L, W, const MR: usize, const NP: usize>(&mut self, l: L, a: &[T], line: usize)
    where
        L: Lanes<Element = T>,
        W: AccessPattern,
    {
        self.with_ones::<L, W, MR, 0, NP, 1>(l, a, line);
    }

    /// The same, and, for a row of ones, the biases, each sum in so many accumulators_of.
    #[inline(always)]
    fn with_ones<L, W, const MR: usize, const ONES: usize, const NP: usize, const CHAINS: usize>(
        &mut self,
        l: L,
        a: &[T],
        line: usize,
    ) where
        L: Lanes<Element = T>,
        W: AccessPattern,
    {
        l.vectorize(
            #[inline(always)]
            || {
                let stride = 1 + self.inputs;
                let (mut sums, mut biases) = ([[l.zero(); NP]; MR], [[l.zero(); NP]; ONES]);
                if self.start == Beta::One {
                    load_sums(l, &mut sums, self.c, (line, stride));
                    load_sums(l, &mut biases, self.c, (0, stride));
                }
                let (b, rows) = (some_panels(self.d_z, self.first), self.d_z.rows);
                accumulate_split::<L, W, MR, ONES, NP, CHAINS>(l, (&mut sums, &mut biases), a, b, rows);
                store_sums(l, self.c, (line, stride), &sums);
                store_sums(l, self.c, (0, stride), &biases);
                if let Some(descent) = &mut self.descent {
                    descent.step(l, &sums, (line, stride));
                    descent.step(l, &biases, (0, stride));
                }
            },
        );
    }
}

/// `NP` panels from `first` on.
#[inline(always)]
fn some_panels<T: Element, const NP: usize>(a: Panels<'_, T>, first: usize) -> [&[T::Line]; NP] {
    let mut panels = [&a.lines[..0]; NP];
    for (p, panel) in panels.iter_mut().enumerate() {
        *panel = a.panel(first + p);
    }
    panels
}

/// [`weight_gradient`] of the last panel, turned round: see [`uses_transposed`].
#[inline(always)]
fn narrow_gradient<L: Lanes>(
    l: L,
    c: &mut [LineOf<L>],
    x: Panels<'_, L::Element>,
    d_z: Panels<'_, L::Element>,
    start: Beta,
) {
    let last = d_z.panels() - 1;
    let (biases, weights) = c.split_at_mut(1);
    let cols = d_z.last_cols();
    let sum = match cols {
        1 => bias_sum::<L, { accumulators_of(1) }>(l, &biases[0], d_z.panel(last), start),
        2 => bias_sum::<L, { accumulators_of(2) }>(l, &biases[0], d_z.panel(last), start),
        _ => bias_sum::<L, 1>(l, &biases[0], d_z.panel(last), start),
    };
    l.store(&mut biases[0], l.select(l.first(cols), sum, l.zero()));
    let outputs = elements::<L::Element>(d_z.panel(last));
    let mut p = 0;
    while p < x.panels() {
        let np = next_rows(x.panels() - p, transposed_panels(cols, L::ACCUMULATORS));
        let inputs = p * L::Element::LANES..x.cols.min((p + np) * L::Element::LANES);
        let c = &mut weights[inputs];
        with_const!(
            cols,
            MR if MR <= EDGE_COLUMNS => with_const!(
                np,
                NP if NP <= transposed_panels(MR, L::ACCUMULATORS) =>
                    turned::<L, MR, NP, { accumulators_of(MR) }>(l, c, outputs, x, p, start),
                1 2 3 4 5 6
            ),
            1 2 3 4 5 6
        );
        p += np;
    }
}

/// The biases of a [`narrow_gradient`]: sums of lines alone, without products with 1, which take as long again.
#[inline(always)]
fn bias_sum<L: Lanes, const CHAINS: usize>(
    l: L,
    biases: &LineOf<L>,
    d_z: &[LineOf<L>],
    start: Beta,
) -> L::Vector {
    let mut sum = [[if start == Beta::One { l.load(biases) } else { l.zero() }]];
    accumulate_split::<L, ColumnMajor, 0, 1, 1, CHAINS>(l, (&mut [], &mut sum), &[], [d_z], d_z.len());
    sum[0][0]
}

/// `MR` outputs by `NP` panels of inputs of a [`narrow_gradient`].
#[inline(always)]
fn turned<L: Lanes, const MR: usize, const NP: usize, const CHAINS: usize>(
    l: L,
    c: &mut [LineOf<L>],
    d_z: &[L::Element],
    x: Panels<'_, L::Element>,
    first: usize,
    start: Beta,
) {
    let lanes = L::Element::LANES;
    // As a tile of `C` of its own lies: `NP` panels of `MR` lines.
    let mut lines = [[LineOf::<L>::ZERO; MR]; NP];
    if start == Beta::One {
        for (lines, c) in lines.iter_mut().zip(c.chunks(lanes)) {
            transpose_block(l, lines, c);
        }
    }
    sum_transposed::<L, MR, NP, CHAINS>(l, &mut lines, d_z, x, first);
    for (lines, c) in lines.iter().zip(c.chunks_mut(lanes)) {
        let mut sums = [l.zero(); MR];
        for (sum, line) in sums.iter_mut().zip(lines) {
            *sum = l.load(line);
        }
        store_columns(l, c, sums);
    }
}

/// The sums of [`turned`], on top of `lines`. Not inlined: beside blocks that are transposed some sums would not stay in
/// registers.
#[inline(never)]
fn sum_transposed<L: Lanes, const MR: usize, const NP: usize, const CHAINS: usize>(
    l: L,
    lines: &mut [[LineOf<L>; MR]; NP],
    d_z: &[L::Element],
    x: Panels<'_, L::Element>,
    first: usize,
) {
    l.vectorize(
        #[inline(always)]
        || {
            let b = some_panels(x, first);
            let mut sums = [[l.zero(); NP]; MR];
            load_sums(l, &mut sums, lines.as_flattened(), (0, MR));
            accumulate_split::<L, ColumnMajor, MR, 0, NP, CHAINS>(l, (&mut sums, &mut []), d_z, b, x.rows);
            store_sums(l, lines.as_flattened_mut(), (0, MR), &sums);
        },
    );
}

/// [`weight_gradient`] of a layer of one panel of inputs, for one panel of outputs.
#[inline(always)]
pub fn small_weight_gradient<L: Lanes>(l: L, gradient: WeightGradient<'_, L::Element>) {
    let WeightGradient { d_w, x, d_z, first_panel: first, start } = gradient;
    let (biases, weights) = d_w.split_at_mut(1);
    let one = [L::Element::from_f64(1.0)];
    let start = (start == Beta::Zero).then_some(l.zero());
    // The lanes that are outputs.
    let mask = l.first(d_z.cols - first * L::Element::LANES);
    let (x, d_z) = (elements::<L::Element>(x.lines), d_z.panel(first));
    edge_panel::<L, Constant>(l, biases, (&one, d_z), start, (mask, Epilogue::None));
    edge_panel::<L, ColumnMajor>(l, weights, (x, d_z), start, (mask, Epilogue::None));
}
