//! The weight gradient: `d_W = x^T d_z` and `d_b`, the sum of the rows of `d_z`.

use core::ops::Range;

use crate::kernels::gemm::blocking::{EDGE_COLUMNS, TILED_ROWS, uses_transposed};
use crate::kernels::gemm::micro_kernel::{
    AccessPattern, ColumnMajor, EdgePanel, Epilogue, Operands, Segments, Sums, Tile, TileOrigin, load_sums,
    store_sums, with_const,
};
use crate::kernels::gemm::register_tile::{
    TilePlace, accumulators_of, next_rows, panels_per_gradient_tile, rows_per_gradient_tile, takes_ones,
    transposed_panels,
};
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::{Panels, PanelsMut, clear_padding};
use crate::kernels::matrix::transpose::{store_columns, transpose_block};
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::scalar::{Element, Line, Scalar, elements};

/// `d_W (+)= x^T d_z` and `d_b (+)= sum of rows of d_z`, for some panels of outputs.
///
/// Overwrites `d_w` or adds to it, as `beta` says, and takes a step by the result if there is a `fused_sgd`,
/// of whole panels only: no sum of a last panel of few columns is in registers as its parameters lie. Padding
/// lanes become 0, even of inputs that are not finite, which 0 in `d_z` would make NaN.
pub(crate) fn weight_gradient<L: Lanes>(
    l: L,
    gradient: WeightGradient<'_, L::Element>,
    fused_sgd: Option<FusedSgd<'_, L::Element>>,
) {
    let WeightGradient { d_w, x, .. } = &gradient;
    if x.panels() == 1 && d_w.len() == 1 + x.cols && x.rows < TILED_ROWS && fused_sgd.is_none() {
        return l.vectorize(
            #[inline(always)]
            || single_panel_weight_gradient(l, gradient),
        );
    }
    l.vectorize(
        #[inline(always)]
        || tiled_weight_gradient(l, gradient, fused_sgd),
    );
}

/// Operands of a weight gradient.
pub(crate) struct WeightGradient<'a, T: Element> {
    /// Panels of `[1 + I, O]`, biases first.
    pub d_w: &'a mut [T::Line],
    /// `[B, I]`.
    pub x: Panels<'a, T>,
    /// `[B, O]`.
    pub d_z: Panels<'a, T>,
    /// The panel of `d_z` that the first of `d_w` belongs to.
    pub first_panel: usize,
    /// Whether `d_w` is overwritten or added to.
    pub beta: Beta,
}

/// Plain gradient descent, `w -= rate d_w`, by the lines of a gradient while they are in registers: a pass
/// over parameters and gradient less.
pub(crate) struct FusedSgd<'a, T: Element> {
    /// Those of the gradient, with no lane past the last output: there the sums are garbage.
    pub parameters: &'a mut [T::Line],
    pub rate: T,
}

impl<T: Element> FusedSgd<'_, T> {
    /// The same of some lines.
    #[inline(always)]
    fn part(&mut self, lines: Range<usize>) -> FusedSgd<'_, T> {
        FusedSgd { parameters: &mut self.parameters[lines], rate: self.rate }
    }

    /// A step by the sums of a tile.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "several arrays have the same index")]
    pub(super) fn step<L: Lanes<Element = T>, const MR: usize, const NP: usize>(
        &mut self,
        l: L,
        sums: &Sums<L, MR, NP>,
        origin: TileOrigin,
    ) {
        let rate = l.splat(self.rate);
        for p in 0..NP {
            let lines = &mut self.parameters[p * origin.panel_stride + origin.row..][..MR];
            for m in 0..MR {
                let w = l.neg_mul_add(rate, sums[m][p], l.load(&lines[m]));
                l.store(&mut lines[m], l.flushed(w));
            }
        }
    }
}

/// [`weight_gradient`] in tiles.
#[inline(always)]
fn tiled_weight_gradient<L: Lanes>(
    l: L,
    gradient: WeightGradient<'_, L::Element>,
    mut fused_sgd: Option<FusedSgd<'_, L::Element>>,
) {
    let WeightGradient { d_w, x, d_z, first_panel: first, beta } = gradient;
    let stride = 1 + x.cols;
    let owned = d_w.len() / stride;
    let has_last = owned > 0 && first + owned == d_z.panels();
    // One panel of inputs is a tile or two without being transposed.
    let transposes = has_last && x.panels() > 1 && uses_transposed(d_z.last_cols(), d_z.rows);
    let outer = owned - usize::from(transposes);
    let mut p = 0;
    while p < outer {
        let np = panels_per_gradient_tile(outer - p, L::ACCUMULATORS);
        let lines = p * stride..(p + np) * stride;
        let c = &mut d_w[lines.clone()];
        let fused_sgd = fused_sgd.as_mut().map(|sgd| sgd.part(lines));
        let gradient = WeightGradient { d_w: c, x, d_z, first_panel: first + p, beta };
        let mut panels = GradientPanels { gradient, fused_sgd };
        with_const!(
            np,
            NP if rows_per_gradient_tile(NP, L::ACCUMULATORS) > 0 => panels.run::<L, NP>(l),
            1 2 3
        );
        p += np;
    }
    if has_last {
        let lines = &mut d_w[(owned - 1) * stride..];
        if transposes {
            debug_assert!(fused_sgd.is_none(), "a fused step is of whole panels");
            transposed_gradient(l, lines, x, d_z, beta);
        } else {
            clear_padding(l, PanelsMut { lines, rows: stride, cols: d_z.last_cols() });
        }
    }
}

/// Some adjacent panels of a weight gradient, and the step by it.
struct GradientPanels<'a, T: Element> {
    gradient: WeightGradient<'a, T>,
    fused_sgd: Option<FusedSgd<'a, T>>,
}

impl<T: Element> GradientPanels<'_, T> {
    /// `NP` panels: blocks of inputs within each panel of `x`, and the biases, in the last block if it has
    /// registers left: by themselves, one sum for each panel, they would mostly wait.
    #[inline(always)]
    fn run<L: Lanes<Element = T>, const NP: usize>(&mut self, l: L) {
        let mr = const { rows_per_gradient_tile(NP, L::ACCUMULATORS) };
        let x = self.gradient.x;
        for s in 0..x.panels() {
            let column = elements::<T>(x.panel(s));
            let width = x.width(s);
            let mut i = 0;
            while i < width {
                let rows = next_rows(width - i, mr);
                let (a, line) = (&column[i..], 1 + s * T::LANES + i);
                if i + rows == width && s + 1 == x.panels() {
                    self.last::<L, NP>(l, a, line, rows);
                } else if i + rows == T::LANES {
                    with_const!(
                        rows,
                        MR if has_tile::<L>(TilePlace::EndsPanel, MR, NP) =>
                            self.tile::<L, ColumnMajor<true>, MR, 0, NP, 1>(l, a, line),
                        1 2 3 4 5 6 7 8
                    );
                } else {
                    with_const!(
                        rows,
                        MR if has_tile::<L>(TilePlace::Inner, MR, NP) =>
                            self.tile::<L, ColumnMajor, MR, 0, NP, 1>(l, a, line),
                        1 2 3 4 5 6 7 8
                    );
                }
                i += rows;
            }
        }
    }

    /// The last `rows` inputs, from that of a line on, and the biases.
    #[inline(always)]
    fn last<L: Lanes<Element = T>, const NP: usize>(&mut self, l: L, a: &[T], line: usize, rows: usize) {
        // Not of one panel of inputs: its gradient may be a `single_panel_weight_gradient`, or a packed one,
        // with one accumulator.
        let x = self.gradient.x;
        match rows {
            1 if x.panels() > 1 && x.last_cols() == 1 => {
                self.with_biases::<L, 1, NP, { accumulators_of(1) }>(l, a, line);
            }
            2 if x.panels() > 1 && x.last_cols() == 2 => {
                self.with_biases::<L, 2, NP, { accumulators_of(2) }>(l, a, line);
            }
            _ => with_const!(
                rows,
                MR if has_tile::<L>(TilePlace::EndsInputs, MR, NP) =>
                    self.with_biases::<L, MR, NP, 1>(l, a, line),
                1 2 3 4 5 6 7 8
            ),
        }
    }

    /// The last `MR` inputs and the biases, each sum in `SPLIT` accumulators.
    #[inline(always)]
    fn with_biases<L, const MR: usize, const NP: usize, const SPLIT: usize>(
        &mut self,
        l: L,
        a: &[T],
        line: usize,
    ) where
        L: Lanes<Element = T>,
    {
        if const { takes_ones(MR, NP * SPLIT, L::ACCUMULATORS) } {
            self.tile::<L, ColumnMajor, MR, 1, NP, SPLIT>(l, a, line);
        } else {
            self.tile::<L, ColumnMajor, MR, 0, NP, SPLIT>(l, a, line);
            self.tile::<L, ColumnMajor, 0, 1, NP, SPLIT>(l, &[], line);
        }
    }

    /// `MR` inputs, from that of a line on, and `ONES` lines of biases, each sum in `SPLIT` accumulators.
    #[inline(always)]
    fn tile<L, W, const MR: usize, const ONES: usize, const NP: usize, const SPLIT: usize>(
        &mut self,
        l: L,
        a: &[T],
        line: usize,
    ) where
        L: Lanes<Element = T>,
        W: AccessPattern<T>,
    {
        l.vectorize(
            #[inline(always)]
            || {
                let WeightGradient { d_w, x, d_z, first_panel, beta } = &mut self.gradient;
                let panel_stride = 1 + x.cols;
                let weights = TileOrigin { row: line, panel_stride };
                let biases = TileOrigin { row: 0, panel_stride };
                let mut tile = Tile::<L, MR, ONES, NP>::zero(l);
                if *beta == Beta::One {
                    load_sums(l, &mut tile.rows, d_w, weights);
                    load_sums(l, &mut tile.ones, d_w, biases);
                }
                let operands = Operands { a, b: some_panels(*d_z, *first_panel) };
                tile.accumulate::<W, SPLIT>(l, operands, Segments::one(d_z.rows));
                store_sums(l, d_w, weights, &tile.rows);
                store_sums(l, d_w, biases, &tile.ones);
                if let Some(sgd) = &mut self.fused_sgd {
                    sgd.step(l, &tile.rows, weights);
                    sgd.step(l, &tile.ones, biases);
                }
            },
        );
    }
}

/// [`TilePlace::has_tile`] of an instruction set.
const fn has_tile<L: Lanes>(place: TilePlace, mr: usize, np: usize) -> bool {
    place.has_tile(mr, np, L::Element::LANES, L::ACCUMULATORS)
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

/// [`weight_gradient`] of the last panel, transposed: see [`uses_transposed`].
#[inline(always)]
fn transposed_gradient<L: Lanes>(
    l: L,
    c: &mut [LineOf<L>],
    x: Panels<'_, L::Element>,
    d_z: Panels<'_, L::Element>,
    beta: Beta,
) {
    let last = d_z.panels() - 1;
    let (biases, weights) = c.split_at_mut(1);
    let cols = d_z.last_cols();
    let sum = match cols {
        1 => bias_sum::<L, { accumulators_of(1) }>(l, &biases[0], d_z.panel(last), beta),
        2 => bias_sum::<L, { accumulators_of(2) }>(l, &biases[0], d_z.panel(last), beta),
        _ => bias_sum::<L, 1>(l, &biases[0], d_z.panel(last), beta),
    };
    l.store(&mut biases[0], l.select(l.first_lanes(cols), sum, l.zero()));
    let outputs = elements::<L::Element>(d_z.panel(last));
    let mut p = 0;
    while p < x.panels() {
        let np = next_rows(x.panels() - p, transposed_panels(cols, L::ACCUMULATORS));
        let panels = p..p + np;
        let inputs = p * L::Element::LANES..x.cols.min(panels.end * L::Element::LANES);
        let c = &mut weights[inputs];
        // Literals are matched, because no expression of `L` or `MR` may be the argument of a constant
        // parameter.
        with_const!(
            cols,
            MR if MR <= EDGE_COLUMNS => with_const!(
                const { transposed_panels(MR, L::ACCUMULATORS) },
                MOST if MOST == transposed_panels(MR, L::ACCUMULATORS) =>
                    transposed_tile::<L, MR, MOST, { accumulators_of(MR) }>(l, c, outputs, x, panels, beta),
                1 2 3 4 5 6
            ),
            1 2 3 4 5 6
        );
        p += np;
    }
}

/// The biases of a panel by themselves: sums of lines alone, without products with 1, which take as long
/// again.
#[inline(always)]
fn bias_sum<L: Lanes, const SPLIT: usize>(
    l: L,
    biases: &LineOf<L>,
    d_z: &[LineOf<L>],
    beta: Beta,
) -> L::Vector {
    let mut tile = Tile::<L, 0, 1, 1>::zero(l);
    if beta == Beta::One {
        tile.ones[0][0] = l.load(biases);
    }
    let operands = Operands { a: &[], b: [d_z] };
    tile.accumulate::<ColumnMajor, SPLIT>(l, operands, Segments::one(d_z.len()));
    tile.ones[0][0]
}

/// `MR` outputs by at most `MOST` panels of inputs of a [`transposed_gradient`]. For each number of panels
/// there is a function of the sums alone.
#[inline(always)]
fn transposed_tile<L: Lanes, const MR: usize, const MOST: usize, const SPLIT: usize>(
    l: L,
    c: &mut [LineOf<L>],
    d_z: &[L::Element],
    x: Panels<'_, L::Element>,
    panels: Range<usize>,
    beta: Beta,
) {
    let lanes = L::Element::LANES;
    // As a tile of `C` of its own lies: panels of `MR` lines.
    let mut lines = [[LineOf::<L>::ZERO; MR]; MOST];
    if beta == Beta::One {
        for (lines, c) in lines.iter_mut().zip(c.chunks(lanes)) {
            transpose_block(l, lines, c);
        }
    }
    with_const!(
        panels.len(),
        NP if NP <= MOST => {
            let (lines, _) = lines.split_first_chunk_mut::<NP>().expect("a tile has at most so many panels");
            sum_transposed::<L, MR, NP, SPLIT>(l, lines, d_z, x, panels.start);
        },
        1 2 3 4 5 6
    );
    for (lines, c) in lines.iter().zip(c.chunks_mut(lanes)) {
        store_columns(l, c, lines);
    }
}

/// The sums of a [`transposed_tile`], on top of `lines`. Not inlined: beside blocks that are transposed some
/// sums would not stay in registers.
#[inline(never)]
fn sum_transposed<L: Lanes, const MR: usize, const NP: usize, const SPLIT: usize>(
    l: L,
    lines: &mut [[LineOf<L>; MR]; NP],
    d_z: &[L::Element],
    x: Panels<'_, L::Element>,
    first: usize,
) {
    l.vectorize(
        #[inline(always)]
        || {
            let origin = TileOrigin { row: 0, panel_stride: MR };
            let mut tile = Tile::<L, MR, 0, NP>::zero(l);
            load_sums(l, &mut tile.rows, lines.as_flattened(), origin);
            let operands = Operands { a: d_z, b: some_panels(x, first) };
            tile.accumulate::<ColumnMajor, SPLIT>(l, operands, Segments::one(x.rows));
            store_sums(l, lines.as_flattened_mut(), origin, &tile.rows);
        },
    );
}

/// [`weight_gradient`] of a layer of one panel of inputs, for one panel of outputs, beneath a crossing.
#[inline(always)]
pub(crate) fn single_panel_weight_gradient<L: Lanes>(l: L, gradient: WeightGradient<'_, L::Element>) {
    let WeightGradient { d_w, x, d_z, first_panel: first, beta } = gradient;
    let (biases, weights) = d_w.split_at_mut(1);
    let d_z_panel = d_z.panel(first);
    // The lanes that are outputs.
    let mask = l.first_lanes(d_z.cols - first * L::Element::LANES);
    let sum = bias_sum::<L, 1>(l, &biases[0], d_z_panel, beta);
    l.store(&mut biases[0], l.select(mask, sum, l.zero()));
    let edge = EdgePanel {
        a: elements::<L::Element>(x.lines),
        b: d_z_panel,
        initial: (beta == Beta::Zero).then_some(l.zero()),
        mask,
        epilogue: Epilogue::None,
    };
    edge.run::<ColumnMajor>(l, weights);
}

#[cfg(test)]
#[cfg(debug_assertions)]
mod tests {
    use super::*;
    use crate::simd::portable::Portable;

    #[test]
    #[should_panic(expected = "a fused step is of whole panels")]
    fn a_fused_step_of_a_transposed_panel_is_a_bug() {
        let l = *Portable::<f32>::detect().unwrap();
        let line = LineOf::<Portable<f32>>::ZERO;
        let (x, d_z) = ([line; 2 * 64], [line; 64]);
        let (mut d_w, mut parameters) = ([line; 33], [line; 33]);
        let (x, d_z) = (Panels::new(&x, 64, 32), Panels::new(&d_z, 64, 1));
        let gradient = WeightGradient { d_w: &mut d_w, x, d_z, first_panel: 0, beta: Beta::Zero };
        weight_gradient(l, gradient, Some(FusedSgd { parameters: &mut parameters, rate: 1.0 }));
    }
}
