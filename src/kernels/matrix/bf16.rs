//! Matrices of bf16: layouts, and rounding of `f32` panels to them.
//!
//! A product reads pairs of neighbours in its sums' index `k`. Where `k` runs along rows ([`HalfPanels`]), a
//! row of a panel is half a line, of eight pairs of neighbouring columns. Where it runs down the rows
//! ([`PairPanels`]), two rows of a panel are a line, of a pair for each column. Weights have the second
//! layout for the product forward; their transposed copy has it too, with pairs of neighbouring outputs.

use crate::kernels::matrix::panels::{Panels, panels};
use crate::simd::bf16::{HalfLine, Pair, PairLine, PairProducts, PairVisitor};
use crate::simd::lanes::{Arithmetic, GROUP, Lanes, LineOf};
use crate::simd::scalar::{Element, Scalar};

/// A matrix in panels of 16 columns, to read: a half line for each row.
#[derive(Clone, Copy)]
pub(crate) struct HalfPanels<'a> {
    pub lines: &'a [HalfLine],
    pub rows: usize,
    pub cols: usize,
}

impl<'a> HalfPanels<'a> {
    /// Takes the first lines of `lines`.
    pub(crate) fn new(lines: &'a [HalfLine], rows: usize, cols: usize) -> Self {
        Self { lines: &lines[..rows * panels::<f32>(cols)], rows, cols }
    }

    /// Number of panels, which are the segments of a sum.
    #[inline(always)]
    pub(crate) fn panels(&self) -> usize {
        panels::<f32>(self.cols)
    }

    /// Pairs of a panel's columns, the last one padded.
    #[inline(always)]
    pub(crate) fn pairs(&self, p: usize) -> usize {
        (self.cols - p * f32::LANES).min(f32::LANES).div_ceil(2)
    }
}

/// A matrix in panels of 16 columns, to read: a line of pairs for each two rows, of which the last may be
/// one.
#[derive(Clone, Copy)]
pub(crate) struct PairPanels<'a> {
    pub lines: &'a [PairLine],
    /// Pairs of rows.
    pub pairs: usize,
    pub cols: usize,
}

impl<'a> PairPanels<'a> {
    /// Takes the first lines of `lines`, for some number of rows.
    pub(crate) fn new(lines: &'a [PairLine], rows: usize, cols: usize) -> Self {
        let pairs = rows.div_ceil(2);
        Self { lines: &lines[..pairs * panels::<f32>(cols)], pairs, cols }
    }

    #[inline(always)]
    pub(crate) fn panels(&self) -> usize {
        panels::<f32>(self.cols)
    }

    /// Columns of a panel.
    #[inline(always)]
    pub(crate) fn width(&self, p: usize) -> usize {
        (self.cols - p * f32::LANES).min(f32::LANES)
    }

    #[inline(always)]
    pub(crate) fn panel(&self, p: usize) -> &'a [PairLine] {
        &self.lines[p * self.pairs..][..self.pairs]
    }
}

/// Lines of the weights of one panel of outputs.
#[inline(always)]
pub(crate) fn weight_lines(inputs: usize) -> usize {
    inputs.div_ceil(2)
}

/// Lines of the transposed copy of one panel of outputs: an odd number of blocks of eight lines, one for each
/// panel of inputs, as of [`transposed_stride`](super::transpose::transposed_stride).
#[inline(always)]
pub(crate) fn transposed_weight_lines(inputs: usize) -> usize {
    (panels::<f32>(inputs) | 1).saturating_mul(Pair::PER_HALF)
}

/// Rounds a matrix to one layout of bf16, or to both. Padding becomes 0, whatever it holds.
pub(crate) struct Rounding<'a, T: Element> {
    pub from: Panels<'a, T>,
    /// As [`HalfPanels`], overwritten, unless it is empty.
    pub halves: &'a mut [HalfLine],
    /// As [`PairPanels`], overwritten, unless it is empty.
    pub pairs: &'a mut [PairLine],
}

impl<T: Element> PairVisitor<T> for Rounding<'_, T> {
    #[inline(always)]
    fn visit<P: PairProducts<Lanes: Lanes<Element = T>>>(self, p: P) {
        p.vectorize(
            #[inline(always)]
            || {
                let Self { from, halves, pairs } = self;
                let (mut halves, mut pairs) = (halves, pairs);
                let of_panel = [from.rows, from.rows.div_ceil(2)];
                for number in 0..from.panels() {
                    let (to, rest);
                    (to, rest) = halves.split_at_mut(of_panel[0].min(halves.len()));
                    halves = rest;
                    let (pair_lines, others);
                    (pair_lines, others) = pairs.split_at_mut(of_panel[1].min(pairs.len()));
                    pairs = others;
                    let panel = PanelRounding { halves: to, pairs: pair_lines, width: from.width(number) };
                    panel.round(p, from.panel(number));
                }
            },
        );
    }
}

/// [`Rounding`] of one panel.
struct PanelRounding<'a> {
    halves: &'a mut [HalfLine],
    pairs: &'a mut [PairLine],
    width: usize,
}

impl PanelRounding<'_> {
    /// Two rows at a time.
    #[inline(always)]
    fn round<P: PairProducts>(self, p: P, from: &[LineOf<P::Lanes>]) {
        let Self { halves, pairs, width } = self;
        let l = p.lanes();
        let mask = l.first_lanes(width);
        for (r, rows) in from.chunks(2).enumerate() {
            let even = p.round(l.select(mask, l.load(&rows[0]), l.zero()));
            let odd = match rows.get(1) {
                Some(line) => p.round(l.select(mask, l.load(line), l.zero())),
                None => l.zero(),
            };
            if let Some(half) = halves.get_mut(2 * r) {
                p.store_half(half, even);
            }
            if let Some(half) = halves.get_mut(2 * r + 1) {
                p.store_half(half, odd);
            }
            if let Some(line) = pairs.get_mut(r) {
                p.store_pairs(line, even, odd);
            }
        }
    }
}

/// Renews the bf16 copies of the weights of some adjacent panels of outputs.
pub(crate) struct WeightRounding<'a, T: Element> {
    /// Panels of `[1 + I, O]`, biases first, 0 in their padding.
    pub parameters: &'a [T::Line],
    pub inputs: usize,
    /// `[I / 2]` lines of pairs of neighbouring inputs for each panel, overwritten.
    pub weights: &'a mut [PairLine],
    /// [`transposed_weight_lines`] for each panel, of pairs of neighbouring outputs: for each panel of
    /// inputs eight lines, a lane for each input. Overwritten but for the odd block, unless it is empty.
    pub transposed: &'a mut [PairLine],
}

impl<T: Element> PairVisitor<T> for WeightRounding<'_, T> {
    #[inline(always)]
    fn visit<P: PairProducts<Lanes: Lanes<Element = T>>>(self, p: P) {
        p.vectorize(
            #[inline(always)]
            || {
                let Self { parameters, inputs, weights, transposed } = self;
                let copies = weights.chunks_exact_mut(weight_lines(inputs));
                let panels = || parameters.chunks_exact(1 + inputs);
                for (to, panel) in copies.zip(panels()) {
                    round_weights(p, to, &panel[1..]);
                }
                let copies = transposed.chunks_exact_mut(transposed_weight_lines(inputs));
                for (to, panel) in copies.zip(panels()) {
                    transpose_weights(p, to, &panel[1..]);
                }
            },
        );
    }
}

/// Pairs of neighbouring lines.
#[inline(always)]
fn round_weights<P: PairProducts>(p: P, to: &mut [PairLine], weights: &[LineOf<P::Lanes>]) {
    let l = p.lanes();
    for (to, lines) in to.iter_mut().zip(weights.chunks(2)) {
        let odd = match lines.get(1) {
            Some(line) => p.round(l.load(line)),
            None => l.zero(),
        };
        p.store_pairs(to, p.round(l.load(&lines[0])), odd);
    }
}

/// Pairs of neighbouring columns.
#[inline(always)]
fn transpose_weights<P: PairProducts>(p: P, to: &mut [PairLine], weights: &[LineOf<P::Lanes>]) {
    let l = p.lanes();
    for (block, lines) in to.chunks_exact_mut(Pair::PER_HALF).zip(weights.chunks(f32::LANES)) {
        for (i, to) in block.chunks_exact_mut(GROUP / 2).enumerate() {
            let [a, b, c, d] = l.columns(lines, i * GROUP);
            p.store_pairs(&mut to[0], p.round(a), p.round(b));
            p.store_pairs(&mut to[1], p.round(c), p.round(d));
        }
    }
}
