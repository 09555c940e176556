//! The three matrix products of backpropagation by one micro-kernel.
//!
//! Every product is `C[m][n] = start + sum_k A[m][k] B[k][n]`, one chain of fused multiply-adds for each
//! element of `C`, in the order of `k`: so its bits do not depend on tiles, blocks or neighbours.
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
//! `B` is read in whole lines, `A` one element at a time, broadcast. [`forward`] and [`backward_data`] loop over panels
//! of `C`, blocks of `k`, rows of `C`; [`weight_gradient`] over panels, then rows of `C`: its `k`, the rows of a tile,
//! is one block.

use core::ops::Range;

use super::blocking::{
    FAR_LINES, KC_LINES, LINES_AHEAD, fits_in_registers, next_rows, panels_per_tile, rows_per_tile,
    transposed_stride, turned_panels, turns_round, waits_for_lines,
};
use super::lanes::{Lanes, Line, elements};
use super::pack::{self, Panels, PanelsMut};
use super::{LineOf, Start, elementwise};
use crate::activation::{Activation, activate, multiply_derivative, rectified, rectified_derivative};
use crate::element::Sealed as Element;

/// `y = f(x W + b)`, `x` `[B, I]`, `weights` panels of `[1 + I, O]` whose first line is the biases.
/// Overwrites `y` `[B, O]`, padding lanes too, which are garbage, and unless it is empty `sums` with `x W + b`.
#[inline(always)]
pub fn forward<L: Lanes, S: Size>(
    l: L,
    mut y: PanelsMut<'_, L::Element>,
    x: Panels<'_, L::Element>,
    weights: &[LineOf<L>],
    (activation, sums): (Activation, &mut [LineOf<L>]),
) {
    let (inputs, rows) = (x.cols, x.rows);
    let b =
        Operand { lines: &weights[1..], panel: 1 + inputs, segment: L::Element::LANES, start: Some(weights) };
    let rectifies = activation == Activation::Relu && sums.is_empty();
    product::<L, S>(
        l,
        &mut y,
        (x, b),
        if rectifies { Epilogue::Rectify } else { Epilogue::None },
        #[inline(always)]
        |lines, first| {
            if !sums.is_empty() {
                sums[first * rows..][..lines.len()].copy_from_slice(lines);
            }
            if !rectifies {
                activate(l, lines, activation);
            }
        },
    );
    if activation == Activation::Softmax {
        elementwise::softmax(l, y);
    }
}

/// `d_x = d_z W^T`, times `f'` of the layer below, if there is one, from its output or the sums it keeps.
///
/// `transposed` holds `[O / LANES][I / LANES][LANES][LANES]`, see [`super::pack::transpose_panel`], with one block more in
/// each row if they are even: see [`super::blocking::transposed_stride`].
/// Overwrites `d_x` `[B, I]`; padding lanes become 0.
#[inline(always)]
pub fn backward_data<L: Lanes, S: Size>(
    l: L,
    mut d_x: PanelsMut<'_, L::Element>,
    d_z: Panels<'_, L::Element>,
    transposed: &[LineOf<L>],
    below: Option<(Panels<'_, L::Element>, Activation)>,
) {
    let lanes = L::Element::LANES;
    let segment = transposed_stride::<L::Element>(d_x.cols);
    let b = Operand { lines: transposed, panel: lanes, segment, start: None };
    let rows = d_x.rows;
    let (epilogue, below) = match below {
        Some((y, Activation::Relu)) => (Epilogue::RectifyBy(y.lines), None),
        below => (Epilogue::None, below),
    };
    product::<L, S>(
        l,
        &mut d_x,
        (d_z, b),
        epilogue,
        #[inline(always)]
        |lines, first| {
            if let Some((y, activation)) = below {
                let y = &y.lines[first * rows..][..lines.len()];
                multiply_derivative(l, lines, y, activation);
            }
        },
    );
    elementwise::clear_padding(l, d_x);
}

/// `d_W (+)= x^T d_z` and `d_b (+)= sum of rows of d_z`, for the panels of outputs from `first` on.
///
/// `d_w` is those panels of `[1 + I, O]`, biases first. Overwrites `d_w` or adds to it, as `start` says. Padding lanes become
/// 0, even of inputs that are not finite, which 0 in `d_z` would make NaN.
#[inline(always)]
pub fn weight_gradient<L: Lanes>(
    l: L,
    d_w: &mut [LineOf<L>],
    x: Panels<'_, L::Element>,
    d_z: Panels<'_, L::Element>,
    first: usize,
    start: Start,
) {
    let stride = 1 + x.cols;
    let owned = d_w.len() / stride;
    let has_last = owned > 0 && first + owned == d_z.panels();
    let narrow = has_last && turns_round(d_z.last_cols(), d_z.rows, L::ACCUMULATORS);
    let as_they_lie = owned - usize::from(narrow);
    let mut p = 0;
    while p < as_they_lie {
        let np = panels_per_tile(as_they_lie - p, usize::MAX, L::ACCUMULATORS);
        let c = &mut d_w[p * stride..][..np * stride];
        match np {
            1 => gradient_panels::<L, 1>(l, c, x, d_z, first + p, start),
            2 => gradient_panels::<L, 2>(l, c, x, d_z, first + p, start),
            3 => gradient_panels::<L, 3>(l, c, x, d_z, first + p, start),
            _ => unreachable!("many rows never take more than three panels"),
        }
        p += np;
    }
    if has_last {
        let last = &mut d_w[(owned - 1) * stride..];
        let cleared = if narrow { narrow_gradient(l, last, x, d_z, start) } else { last };
        let rows = cleared.len();
        elementwise::clear_padding(l, PanelsMut { lines: cleared, rows, cols: d_z.last_cols() });
    }
}

/// [`weight_gradient`] of the last panel, turned round: see [`turns_round`]. The padding of the lines that it returns, the
/// biases, is left as it is.
#[inline(always)]
fn narrow_gradient<'c, L: Lanes>(
    l: L,
    c: &'c mut [LineOf<L>],
    x: Panels<'_, L::Element>,
    d_z: Panels<'_, L::Element>,
    start: Start,
) -> &'c mut [LineOf<L>] {
    let last = d_z.panels() - 1;
    let mut tile = GradientTile { c: &mut *c, d_z, first: last, inputs: x.cols, start };
    tile.run::<L, Constant, 1, 1>(l, &[L::Element::from_f64(1.0)], 0);
    let (biases, weights) = c.split_at_mut(1);
    let outputs = elements::<L::Element>(d_z.panel(last));
    let mut p = 0;
    while p < x.panels() {
        let widest = turned_panels(d_z.last_cols(), L::ACCUMULATORS);
        let np = if x.panels() - p >= widest { widest } else { 1 };
        let inputs = p * L::Element::LANES..x.cols.min((p + np) * L::Element::LANES);
        let c = &mut weights[inputs];
        with_rows!(d_z.last_cols(), MR => if np == 1 {
            turned::<L, MR, 1>(l, c, outputs, x, p, start);
        } else {
            match const { turned_panels(MR, L::ACCUMULATORS) } {
                4 => turned::<L, MR, 4>(l, c, outputs, x, p, start),
                3 => turned::<L, MR, 3>(l, c, outputs, x, p, start),
                _ => turned::<L, MR, 2>(l, c, outputs, x, p, start),
            }
        }, 1 2 3 4 5 6);
        p += np;
    }
    biases
}

/// `MR` outputs by `NP` panels of inputs of a [`narrow_gradient`].
#[inline(always)]
fn turned<L: Lanes, const MR: usize, const NP: usize>(
    l: L,
    c: &mut [LineOf<L>],
    d_z: &[L::Element],
    x: Panels<'_, L::Element>,
    first: usize,
    start: Start,
) {
    if !fits_in_registers(MR, NP, L::ACCUMULATORS) {
        unreachable!("a tile's sums fit in registers");
    }
    l.vectorize(
        #[inline(always)]
        || {
            let lanes = L::Element::LANES;
            let mut sums = [[l.zero(); NP]; MR];
            let mut lines = [LineOf::<L>::ZERO; MR];
            if start == Start::Accumulate {
                for (p, c) in c.chunks(lanes).enumerate() {
                    pack::transpose_block(l, &mut lines, c);
                    for (sums, line) in sums.iter_mut().zip(&lines) {
                        sums[p] = l.load(line);
                    }
                }
            }
            let b = core::array::from_fn(
                #[inline(always)]
                |p| x.panel(first + p),
            );
            accumulate::<L, RowsAlong, MR, NP>(l, &mut sums, d_z, b, x.rows);
            for (p, c) in c.chunks_mut(lanes).enumerate() {
                for (line, sums) in lines.iter_mut().zip(&sums) {
                    l.store(line, sums[p]);
                }
                pack::transpose_block(l, c, &lines);
            }
        },
    );
}

/// [`weight_gradient`] of a layer of one panel of inputs, for the panel `first` of outputs.
#[inline(always)]
pub fn small_weight_gradient<L: Lanes>(
    l: L,
    d_w: &mut [LineOf<L>],
    x: Panels<'_, L::Element>,
    d_z: Panels<'_, L::Element>,
    first: usize,
    start: Start,
) {
    let (biases, weights) = d_w.split_at_mut(1);
    let one = [L::Element::from_f64(1.0)];
    let start = (start == Start::Zero).then_some(l.zero());
    // The lanes that are outputs.
    let mask = l.first(d_z.cols - first * L::Element::LANES);
    let (x, d_z) = (elements::<L::Element>(x.lines), d_z.panel(first));
    few_lines::<L, Constant>(l, biases, (&one, d_z), start, (mask, Epilogue::None));
    few_lines::<L, RowsAlong>(l, weights, (x, d_z), start, (mask, Epilogue::None));
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

/// One panel of `C` and one block of `k`. The search for blocks would take longer than the arithmetic; the order of
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

/// What is done with sums that are complete, while they are in registers. Activations of more than an instruction or two
/// would make each of the micro-kernel's many copies long, and are left to a pass over a group of panels.
#[derive(Clone, Copy)]
enum Epilogue<'a, Line> {
    None,
    /// ReLU.
    Rectify,
    /// ReLU's derivative, from its outputs, which lie as the sums do.
    RectifyBy(&'a [Line]),
}

impl<Line> Epilogue<'_, Line> {
    /// That of some lines.
    #[inline(always)]
    fn part(self, lines: Range<usize>) -> Self {
        match self {
            Self::RectifyBy(y) => Self::RectifyBy(&y[lines]),
            _ => self,
        }
    }

    /// On sums that lie at `(first, panel)` as for [`load_sums`].
    #[inline(always)]
    fn run<L, const MR: usize, const NP: usize>(
        self,
        l: L,
        sums: &mut [[L::Vector; NP]; MR],
        (first, panel): (usize, usize),
    ) where
        L: Lanes<Element: Element<Line = Line>>,
    {
        match self {
            Self::None => {}
            Self::Rectify => {
                for sum in sums.as_flattened_mut() {
                    *sum = rectified(l, *sum);
                }
            }
            Self::RectifyBy(y) => {
                for p in 0..NP {
                    for (sums, y) in sums.iter_mut().zip(&y[p * panel + first..][..MR]) {
                        sums[p] = rectified_derivative(l, sums[p], l.load(y));
                    }
                }
            }
        }
    }
}

/// `C = start + A B`, and `finish` on each group of panels of `C` as soon as it is complete.
#[inline(always)]
fn product<L: Lanes, S: Size>(
    l: L,
    c: &mut PanelsMut<'_, L::Element>,
    (a, b): (Panels<'_, L::Element>, Operand<'_, L::Element>),
    epilogue: Epilogue<'_, LineOf<L>>,
    mut finish: impl FnMut(&mut [LineOf<L>], usize),
) {
    let (panels, rows) = (c.panels(), c.rows);
    if S::SMALL {
        let start = b.start.map_or(l.zero(), |start| l.load(&start[0]));
        let (a, b) = (elements::<L::Element>(a.lines), &b.lines[..a.cols]);
        few_lines::<L, RowsDown>(l, c.lines, (a, b), Some(start), (l.first(L::Element::LANES), epilogue));
        return finish(c.lines, 0);
    }
    let mut p = 0;
    while p < panels {
        let np = panels_per_tile(panels - p, rows, L::ACCUMULATORS);
        let lines = p * rows..(p + np) * rows;
        let group = &mut c.lines[lines.clone()];
        let epilogue = epilogue.part(lines);
        match np {
            1 => product_panels::<L, 1>(l, group, (a, b), p, epilogue),
            2 => product_panels::<L, 2>(l, group, (a, b), p, epilogue),
            3 => product_panels::<L, 3>(l, group, (a, b), p, epilogue),
            4 => product_panels::<L, 4>(l, group, (a, b), p, epilogue),
            8 => product_panels::<L, 8>(l, group, (a, b), p, epilogue),
            _ => unreachable!("no tile has this many panels"),
        }
        finish(group, p);
        p += np;
    }
}

/// `C = start + A B` for one panel of `C` and one block of `k`, four lines of `C` at a time; on top of `C` if there is no
/// `start`. Lanes outside the mask become 0.
#[inline(always)]
fn few_lines<L: Lanes, W: Walk>(
    l: L,
    c: &mut [LineOf<L>],
    (a, b): (&[L::Element], &[LineOf<L>]),
    start: Option<L::Vector>,
    (mask, epilogue): (L::Mask, Epilogue<'_, LineOf<L>>),
) {
    let row = W::row::<L::Element>();
    let count = c.len();
    let (fours, ones) = c.as_chunks_mut::<4>();
    for (i, lines) in fours.iter_mut().enumerate() {
        let epilogue = epilogue.part(4 * i..4 * i + 4);
        few::<L, W, 4>(l, lines, (&a[4 * i * row..], b), start, (mask, epilogue));
    }
    let done = count - ones.len();
    for (i, line) in ones.iter_mut().enumerate() {
        let epilogue = epilogue.part(done + i..done + i + 1);
        few::<L, W, 1>(l, core::array::from_mut(line), (&a[(done + i) * row..], b), start, (mask, epilogue));
    }
}

/// `MR` lines of [`few_lines`].
#[inline(always)]
fn few<L: Lanes, W: Walk, const MR: usize>(
    l: L,
    c: &mut [LineOf<L>; MR],
    (a, b): (&[L::Element], &[LineOf<L>]),
    start: Option<L::Vector>,
    (mask, epilogue): (L::Mask, Epilogue<'_, LineOf<L>>),
) {
    let mut sums = [[l.zero(); 1]; MR];
    for (sums, line) in sums.iter_mut().zip(&*c) {
        sums[0] = match start {
            Some(start) => start,
            None => l.load(line),
        };
    }
    accumulate::<L, W, MR, 1>(l, &mut sums, a, [b], b.len());
    epilogue.run(l, &mut sums, (0, MR));
    for (line, sums) in c.iter_mut().zip(&sums) {
        l.store(line, l.select(mask, sums[0], l.zero()));
    }
}

/// `NP` panels of a product: blocks of `k`, then blocks of rows.
#[inline(always)]
fn product_panels<L: Lanes, const NP: usize>(
    l: L,
    c: &mut [LineOf<L>],
    (a, b): (Panels<'_, L::Element>, Operand<'_, L::Element>),
    first: usize,
    epilogue: Epilogue<'_, LineOf<L>>,
) {
    let mr = rows_per_tile(NP, L::ACCUMULATORS);
    let segments = a.panels();
    let mut s = 0;
    while s < segments {
        let block = s..segments.min(s + KC_LINES);
        let epilogue = if block.end == segments { epilogue } else { Epilogue::None };
        let mut m = 0;
        while m < a.rows {
            let rows = next_rows(a.rows - m, mr);
            let tile = Tile { c: &mut *c, a, b, first, m, block: block.clone(), epilogue };
            with_rows!(rows, MR => tile.run::<L, MR, NP>(l));
            m += rows;
        }
        s = block.end;
    }
}

/// Runs an expression with the constant `MR` equal to a number of rows.
macro_rules! with_rows {
    ($rows:expr, $mr:ident => $run:expr) => {
        with_rows!($rows, $mr => $run, 1 2 3 4 5 6 7 8 9 10 11 12)
    };
    ($rows:expr, $mr:ident => $run:expr, $($n:literal)*) => {
        match $rows {
            $($n => {
                const $mr: usize = $n;
                $run
            })*
            _ => unreachable!("a tile has 1 to 12 rows"),
        }
    };
}
use with_rows;

/// `MR` rows by `NP` panels of `C`, over one block of `k`.
struct Tile<'c, 'a, T: Element> {
    c: &'c mut [T::Line],
    a: Panels<'a, T>,
    b: Operand<'a, T>,
    /// The first panel of `B`.
    first: usize,
    /// The first row of `C`.
    m: usize,
    /// Segments of `LANES` values of `k`.
    block: Range<usize>,
    epilogue: Epilogue<'a, T::Line>,
}

impl<T: Element> Tile<'_, '_, T> {
    #[inline(always)]
    fn run<L: Lanes<Element = T>, const MR: usize, const NP: usize>(self, l: L) {
        if !fits_in_registers(MR, NP, L::ACCUMULATORS) {
            unreachable!("a tile's sums fit in registers");
        }
        l.vectorize(
            #[inline(always)]
            || {
                let rows = self.a.rows;
                let mut sums = self.start::<L, MR, NP>(l);
                for s in self.block.clone() {
                    let k = T::LANES.min(self.a.cols - s * T::LANES);
                    let a = elements::<T>(&self.a.panel(s)[self.m..][..MR]);
                    let b = core::array::from_fn(
                        #[inline(always)]
                        |p| &self.b.lines[(self.first + p) * self.b.panel + s * self.b.segment..][..k],
                    );
                    if waits_for_lines(MR, NP) && self.b.lines.len() >= FAR_LINES {
                        accumulate::<L, RowsDownFar, MR, NP>(l, &mut sums, a, b, k);
                    } else {
                        accumulate::<L, RowsDown, MR, NP>(l, &mut sums, a, b, k);
                    }
                }
                self.epilogue.run(l, &mut sums, (self.m, rows));
                store_sums(l, self.c, (self.m, rows), &sums);
            },
        );
    }

    /// Where the sums start: at the biases or 0, or at what the block of `k` before left in `C`.
    #[inline(always)]
    fn start<L: Lanes<Element = T>, const MR: usize, const NP: usize>(&self, l: L) -> [[L::Vector; NP]; MR] {
        let mut sums = [[l.zero(); NP]; MR];
        if self.block.start > 0 {
            load_sums(l, &mut sums, self.c, (self.m, self.a.rows));
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

/// `NP` panels of a weight gradient: the biases, then blocks of inputs within each panel of `x`.
#[inline(always)]
fn gradient_panels<L: Lanes, const NP: usize>(
    l: L,
    c: &mut [LineOf<L>],
    x: Panels<'_, L::Element>,
    d_z: Panels<'_, L::Element>,
    first: usize,
    start: Start,
) {
    let lanes = L::Element::LANES;
    let mr = rows_per_tile(NP, L::ACCUMULATORS).min(8);
    let mut tile = GradientTile { c, d_z, first, inputs: x.cols, start };
    let one = [L::Element::from_f64(1.0)];
    tile.run::<L, Constant, 1, NP>(l, &one, 0);
    for s in 0..x.panels() {
        let column = elements::<L::Element>(x.panel(s));
        let width = lanes.min(x.cols - s * lanes);
        let mut i = 0;
        while i < width {
            let rows = next_rows(width - i, mr);
            let (a, line) = (&column[i..], 1 + s * lanes + i);
            with_rows!(rows, MR => tile.run::<L, RowsAlong, MR, NP>(l, a, line));
            i += rows;
        }
    }
}

/// `MR` lines by `NP` panels of a weight gradient.
struct GradientTile<'c, 'a, T: Element> {
    c: &'c mut [T::Line],
    d_z: Panels<'a, T>,
    /// The first panel of `d_z`.
    first: usize,
    inputs: usize,
    start: Start,
}

impl<T: Element> GradientTile<'_, '_, T> {
    #[inline(always)]
    fn run<L, W, const MR: usize, const NP: usize>(&mut self, l: L, a: &[T], line: usize)
    where
        L: Lanes<Element = T>,
        W: Walk,
    {
        if !fits_in_registers(MR, NP, L::ACCUMULATORS) {
            unreachable!("a tile's sums fit in registers");
        }
        l.vectorize(
            #[inline(always)]
            || {
                let stride = 1 + self.inputs;
                let mut sums = [[l.zero(); NP]; MR];
                if self.start == Start::Accumulate {
                    load_sums(l, &mut sums, self.c, (line, stride));
                }
                let b = core::array::from_fn(
                    #[inline(always)]
                    |p| self.d_z.panel(self.first + p),
                );
                accumulate::<L, W, MR, NP>(l, &mut sums, a, b, self.d_z.rows);
                store_sums(l, self.c, (line, stride), &sums);
            },
        );
    }
}

/// Loads `MR` lines from line `first` on of each of `NP` panels of `C`, `panel` lines apart.
#[inline(always)]
fn load_sums<L: Lanes, const MR: usize, const NP: usize>(
    l: L,
    sums: &mut [[L::Vector; NP]; MR],
    c: &[LineOf<L>],
    (first, panel): (usize, usize),
) {
    let lines: [&[LineOf<L>]; NP] = core::array::from_fn(
        #[inline(always)]
        |p| &c[p * panel + first..][..MR],
    );
    for (m, sums) in sums.iter_mut().enumerate() {
        for (sum, lines) in sums.iter_mut().zip(lines) {
            *sum = l.load(&lines[m]);
        }
    }
}

/// Stores what [`load_sums`] loads.
#[inline(always)]
fn store_sums<L: Lanes, const MR: usize, const NP: usize>(
    l: L,
    c: &mut [LineOf<L>],
    (first, panel): (usize, usize),
    sums: &[[L::Vector; NP]; MR],
) {
    for p in 0..NP {
        for (line, sums) in c[p * panel + first..][..MR].iter_mut().zip(sums) {
            l.store(line, sums[p]);
        }
    }
}

/// How the rows and the sum's index of `A` lie in memory, in elements.
trait Walk {
    /// How many lines ahead those of `B` are asked for; 0 for not at all.
    const AHEAD: usize = 0;
    fn row<T: Element>() -> usize;
    fn k<T: Element>() -> usize;
}

/// Rows lie one line apart, the sum runs along a line: activations as they are.
struct RowsDown;
impl Walk for RowsDown {
    #[inline(always)]
    fn row<T: Element>() -> usize {
        T::LANES
    }
    #[inline(always)]
    fn k<T: Element>() -> usize {
        1
    }
}

/// [`RowsDown`] where `B` comes from far away.
struct RowsDownFar;
impl Walk for RowsDownFar {
    const AHEAD: usize = LINES_AHEAD;
    #[inline(always)]
    fn row<T: Element>() -> usize {
        T::LANES
    }
    #[inline(always)]
    fn k<T: Element>() -> usize {
        1
    }
}

/// Rows lie along a line, the sum runs down the lines: activations transposed.
struct RowsAlong;
impl Walk for RowsAlong {
    #[inline(always)]
    fn row<T: Element>() -> usize {
        1
    }
    #[inline(always)]
    fn k<T: Element>() -> usize {
        T::LANES
    }
}

/// One element for every row and step: the sum of `B`'s lines.
struct Constant;
impl Walk for Constant {
    #[inline(always)]
    fn row<T: Element>() -> usize {
        0
    }
    #[inline(always)]
    fn k<T: Element>() -> usize {
        0
    }
}

/// The micro-kernel: `sums[m][p] += sum over k of A[m][k] B[p][k]`, all sums in registers.
///
/// # Panics
/// If `a` or a panel of `b` ends before `k` steps.
#[inline(always)]
fn accumulate<L: Lanes, W: Walk, const MR: usize, const NP: usize>(
    l: L,
    sums: &mut [[L::Vector; NP]; MR],
    a: &[L::Element],
    b: [&[LineOf<L>]; NP],
    k: usize,
) {
    let (row, step) = (W::row::<L::Element>(), W::k::<L::Element>());
    assert!(k > 0 && a.len() > (MR - 1) * row + (k - 1) * step);
    for panel in b {
        assert!(panel.len() >= k);
    }
    for k in 0..k {
        if W::AHEAD > 0 {
            for panel in b {
                l.prefetch(panel, k + W::AHEAD);
            }
        }
        // SAFETY: `k` is below the checked number of steps, and every panel has as many lines.
        let b: [L::Vector; NP] = core::array::from_fn(
            #[inline(always)]
            |p| l.load(unsafe { b[p].get_unchecked(k) }),
        );
        for (m, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `m < MR` and `k` is below the checked number of steps: the index is below the
            // one that the assertion compared with the length.
            let a = l.splat(unsafe { *a.get_unchecked(m * row + k * step) });
            for p in 0..NP {
                sums[p] = l.mul_add(a, b[p], sums[p]);
            }
        }
    }
}
