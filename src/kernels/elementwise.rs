//! Passes over lines and rows.

use super::lanes::{Lanes, Line, elements, lines_mut};
use super::pack::{Panels, PanelsMut};
use super::{LineOf, math};
use crate::activation::{Activation, activate, multiply_derivative};
use crate::element::Sealed as Element;

/// `y = f(y)` over a slice, with the same bits as in panels. Softmax takes the slice as one row.
#[inline(always)]
pub fn activate_slice<L: Lanes>(l: L, y: &mut [L::Element], activation: Activation) {
    if activation == Activation::Softmax {
        return softmax_slice(l, y);
    }
    let (head, whole, tail) = lines_mut::<L::Element>(y);
    let mut ends = [LineOf::<L>::ZERO; 2];
    l.store(&mut ends[0], l.load_slice(head));
    l.store(&mut ends[1], l.load_slice(tail));
    let used = usize::from(head.is_empty())..2 - usize::from(tail.is_empty());
    // A loop, so that there is one copy of all activations.
    for lines in [whole, &mut ends[used]] {
        activate(l, lines, activation);
    }
    l.store_slice(head, l.load(&ends[0]));
    l.store_slice(tail, l.load(&ends[1]));
}

/// [`softmax`] of one row that is a slice.
#[inline(always)]
fn softmax_slice<L: Lanes>(l: L, y: &mut [L::Element]) {
    let (lanes, lowest) = (L::Element::LANES, l.constant(f64::NEG_INFINITY));
    let mut max = lowest;
    for y in y.chunks(lanes) {
        max = l.max(l.select(l.first(y.len()), l.load_slice(y), lowest), max);
    }
    let max = l.splat(l.max_lane(max));
    let mut sum = l.zero();
    for y in y.chunks_mut(lanes) {
        let e = math::exp(l, l.sub(l.load_slice(y), max));
        let e = l.select(l.first(y.len()), e, l.zero());
        l.store_slice(y, e);
        sum = l.add(sum, e);
    }
    let sum = l.splat(l.sum(sum));
    for y in y.chunks_mut(lanes) {
        l.store_slice(y, l.div(l.load_slice(y), sum));
    }
}

/// `y_i = exp(y_i - max y) / sum_j exp(y_j - max y)` in every row. Padding lanes become 0.
#[inline(always)]
pub fn softmax<L: Lanes>(l: L, y: PanelsMut<'_, L::Element>) {
    for r in 0..y.rows {
        let row = Row::of(r, y.as_panels());
        let max = row.max(l, y.lines);
        let mut sum = l.zero();
        for (p, i) in row.lines().enumerate() {
            let e = math::exp(l, l.sub(l.load(&y.lines[i]), max));
            let e = l.select(row.mask(l, p), e, l.zero());
            l.store(&mut y.lines[i], e);
            sum = l.add(sum, e);
        }
        let sum = l.splat(l.sum(sum));
        for i in row.lines() {
            let e = l.load(&y.lines[i]);
            l.store(&mut y.lines[i], l.div(e, sum));
        }
    }
}

/// The gradient before the output layer's activation from the one after it, in place.
///
/// Element by element `d = d f'(y)`; for softmax `d_i = y_i (d_i - sum_j d_j y_j)`.
#[inline(always)]
pub fn output_gradient<L: Lanes>(
    l: L,
    d: PanelsMut<'_, L::Element>,
    y: Panels<'_, L::Element>,
    activation: Activation,
) {
    if activation != Activation::Softmax {
        multiply_derivative(l, d.lines, y.lines, activation);
    } else {
        for r in 0..d.rows {
            let row = Row::of(r, y);
            let mut products = l.zero();
            for i in row.lines() {
                products = l.mul_add(l.load(&d.lines[i]), l.load(&y.lines[i]), products);
            }
            let dot = l.splat(l.sum(products));
            for i in row.lines() {
                let difference = l.sub(l.load(&d.lines[i]), dot);
                l.store(&mut d.lines[i], l.flushed(l.mul(l.load(&y.lines[i]), difference)));
            }
        }
    }
    clear_padding(l, d);
}

/// Sets the lanes past the last column to 0, whatever they hold.
#[inline(always)]
pub fn clear_padding<L: Lanes>(l: L, mut a: PanelsMut<'_, L::Element>) {
    let used = a.cols % L::Element::LANES;
    if used > 0 {
        let (last, mask) = (a.panels() - 1, l.first(used));
        map(
            l,
            a.panel(last),
            #[inline(always)]
            |v| l.select(mask, v, l.zero()),
        );
    }
}

/// `x = (x - mean) / deviation`, a line of each for every panel; without means `x = x / deviation`.
#[inline(always)]
pub fn scale<L: Lanes>(
    l: L,
    mut x: PanelsMut<'_, L::Element>,
    means: Option<&[LineOf<L>]>,
    deviations: &[LineOf<L>],
) {
    for p in 0..x.panels() {
        let mean = means.map_or(l.zero(), |means| l.load(&means[p]));
        let deviation = l.load(&deviations[p]);
        map(
            l,
            x.panel(p),
            #[inline(always)]
            |v| l.div(l.sub(v, mean), deviation),
        );
    }
}

/// `to += from`.
#[inline(always)]
pub fn add<L: Lanes>(l: L, to: &mut [LineOf<L>], from: &[LineOf<L>]) {
    zip(
        l,
        to,
        from,
        #[inline(always)]
        |to, from| l.add(to, from),
    );
}

/// The sum of all squares, in `f64`: sixteen running sums, then halves are added until one is left.
#[inline(always)]
pub fn sum_of_squares<T: Element>(lines: &[T::Line]) -> f64 {
    let mut sums = [0.0; 16];
    for elements in elements::<T>(lines).chunks(sums.len()) {
        for (sum, x) in sums.iter_mut().zip(elements) {
            *sum += x.to_f64() * x.to_f64();
        }
    }
    let mut count = sums.len() / 2;
    while count > 0 {
        for i in 0..count {
            sums[i] += sums[i + count];
        }
        count /= 2;
    }
    sums[0]
}

/// The lines of one row of a matrix in panels: one in each panel.
#[derive(Clone, Copy)]
pub struct Row {
    first: usize,
    rows: usize,
    cols: usize,
    panels: usize,
}

impl Row {
    #[inline(always)]
    pub fn of<T: Element>(r: usize, matrix: Panels<'_, T>) -> Self {
        Self { first: r, rows: matrix.rows, cols: matrix.cols, panels: matrix.panels() }
    }

    /// Indices of the row's lines.
    #[inline(always)]
    pub fn lines(self) -> impl Iterator<Item = usize> {
        (0..self.panels).map(
            #[inline(always)]
            move |p| self.first + p * self.rows,
        )
    }

    /// The lanes of a panel that are columns.
    #[inline(always)]
    pub fn mask<L: Lanes>(self, l: L, panel: usize) -> L::Mask {
        l.first(self.cols - panel * L::Element::LANES)
    }

    /// The largest element, in every lane. NaN is passed over.
    #[inline(always)]
    pub fn max<L: Lanes>(self, l: L, lines: &[LineOf<L>]) -> L::Vector {
        let lowest = l.constant(f64::NEG_INFINITY);
        let mut max = lowest;
        for (p, i) in self.lines().enumerate() {
            max = l.max(l.select(self.mask(l, p), l.load(&lines[i]), lowest), max);
        }
        l.splat(l.max_lane(max))
    }

    /// `d = exp(y - max)`, padding 0; the sum of the row.
    #[inline(always)]
    pub fn exp<L: Lanes>(self, l: L, d: &mut [LineOf<L>], y: &[LineOf<L>], max: L::Vector) -> L::Element {
        let mut sum = l.zero();
        for (p, i) in self.lines().enumerate() {
            let e = math::exp(l, l.sub(l.load(&y[i]), max));
            let e = l.select(self.mask(l, p), e, l.zero());
            l.store(&mut d[i], e);
            sum = l.add(sum, e);
        }
        l.sum(sum)
    }
}

/// Replaces every line by its image.
#[inline(always)]
fn map<L: Lanes>(l: L, lines: &mut [LineOf<L>], f: impl Fn(L::Vector) -> L::Vector) {
    for line in lines {
        let v = f(l.load(line));
        l.store(line, v);
    }
}

/// Replaces every line of `a` by the image of it and its partner in `b`.
#[inline(always)]
fn zip<L: Lanes>(l: L, a: &mut [LineOf<L>], b: &[LineOf<L>], f: impl Fn(L::Vector, L::Vector) -> L::Vector) {
    for (a, b) in a.iter_mut().zip(b) {
        let v = f(l.load(a), l.load(b));
        l.store(a, v);
    }
}
