//! Products of layers of at most four features in and out, several rows to a line.
//!
//! A line has four groups of four lanes each (two in `f64`), and a row of so few features needs one: line `i`
//! holds rows `4i` to `4i + 3` (`2i` and `2i + 1`). So a batch of four rows through 2-4-1 is one line in
//! every layer, where a line for each row would be a quarter full. The sums are those of
//! [`products`](super::products), fused multiply-adds in the same order for each element, and so are the
//! bits.
//!
//! Lanes past the last feature, and groups past the last row, are garbage: no sum takes them in.

use crate::kernels::matrix::Beta;
use crate::simd::lanes::LineOf;
use crate::simd::lanes::{GROUP, Lanes, RowShape};
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements};

/// Lines of `rows` rows.
#[inline(always)]
pub(crate) const fn lines<T: Element>(rows: usize) -> usize {
    rows.div_ceil(rows_per_line::<T>())
}

/// Whether `rows` rows take one line.
#[inline(always)]
pub(crate) const fn fit_a_line<T: Element>(rows: usize) -> bool {
    rows <= rows_per_line::<T>()
}

/// Whether `rows` rows take the first half of a line, or less.
#[inline(always)]
pub(crate) const fn fit_half_a_line<T: Element>(rows: usize) -> bool {
    2 * rows <= rows_per_line::<T>()
}

/// Rows of a line.
const fn rows_per_line<T: Element>() -> usize {
    T::LANES / GROUP
}

/// Rows of at most four columns, packed.
#[derive(Clone, Copy)]
pub(crate) struct Packed4<'a, T: Element> {
    pub lines: &'a [T::Line],
    pub rows: usize,
    pub cols: usize,
}

/// Packs row-major `[rows, cols]` into groups. Denormal numbers become 0, and so do lanes without an element.
#[inline(always)]
pub(crate) fn pack<L: Lanes>(l: L, to: &mut [LineOf<L>], x: &[L::Element], rows: usize, cols: usize) {
    let per_line = const { rows_per_line::<L::Element>() };
    for (i, line) in to.iter_mut().enumerate() {
        let rows = per_line.min(rows - i * per_line);
        let x = &x[i * per_line * cols..];
        // A row by itself needs no permutation.
        let v = if rows == 1 { l.load_few(&x[..cols]) } else { l.load_rows(x, RowShape { rows, cols }) };
        l.store(line, l.flushed(v));
    }
}

/// Unpacks into row-major `[rows, cols]`.
#[inline(always)]
pub(crate) fn unpack<L: Lanes>(l: L, x: &mut [L::Element], from: Packed4<'_, L::Element>) {
    let per_line = const { rows_per_line::<L::Element>() };
    let Packed4 { lines, rows, cols } = from;
    for (i, line) in lines.iter().enumerate() {
        let rows = per_line.min(rows - i * per_line);
        let x = &mut x[i * per_line * cols..];
        if rows == 1 {
            l.store_row(&mut x[..cols], l.load(line));
        } else {
            l.store_rows(x, RowShape { rows, cols }, l.load(line));
        }
    }
}

/// `C = bias + A B`: `a` and `c` are packed lines, `b` is a line for each column of `A`, `bias` a line, 0 if
/// there is none. Of the lines of `b` and `bias` only the first group is read.
#[inline(always)]
pub(crate) fn product<L: Lanes>(
    l: L,
    c: &mut [LineOf<L>],
    a: &[LineOf<L>],
    b: &[LineOf<L>],
    bias: Option<&LineOf<L>>,
) {
    let bias = bias.map_or(
        l.zero(),
        #[inline(always)]
        |line| first_group(l, line),
    );
    match b {
        [b0] => product_of(l, c, a, [b0], bias),
        [b0, b1] => product_of(l, c, a, [b0, b1], bias),
        [b0, b1, b2] => product_of(l, c, a, [b0, b1, b2], bias),
        [b0, b1, b2, b3] => product_of(l, c, a, [b0, b1, b2, b3], bias),
        _ => unreachable!("a group has four lanes"),
    }
}

#[inline(always)]
fn product_of<L: Lanes, const K: usize>(
    l: L,
    c: &mut [LineOf<L>],
    a: &[LineOf<L>],
    b: [&LineOf<L>; K],
    bias: L::Vector,
) {
    // Not by `map`, which is not inlined everywhere.
    let mut groups = [l.zero(); K];
    for (group, line) in groups.iter_mut().zip(b) {
        *group = first_group(l, line);
    }
    for (c, a) in c.iter_mut().zip(a) {
        let a = l.load(a);
        let mut sum = bias;
        for (k, &b) in groups.iter().enumerate() {
            sum = l.mul_add(l.splat_in_groups(a, k), b, sum);
        }
        l.store(c, sum);
    }
}

/// The first four lanes of a line in every group.
#[inline(always)]
fn first_group<L: Lanes>(l: L, line: &LineOf<L>) -> L::Vector {
    match line.as_slice().first_chunk() {
        Some(group) => l.load_group(group),
        None => unreachable!("a line has at least four lanes"),
    }
}

/// `d_W (+)= x^T d_z` and `d_b (+)= sum of rows of d_z`, in the layout of parameters: `d_w` is a line for the
/// biases, then one for each input. Lanes past the last output become 0.
#[inline(always)]
pub(crate) fn weight_gradient<L: Lanes>(
    l: L,
    d_w: &mut [LineOf<L>],
    x: Packed4<'_, L::Element>,
    d_z: Packed4<'_, L::Element>,
    beta: Beta,
) {
    // A line more than inputs: so the compiler knows the length of `d_w` too.
    match d_w.len() {
        2 => weight_gradient_of::<L, 1>(l, d_w, x, d_z, beta),
        3 => weight_gradient_of::<L, 2>(l, d_w, x, d_z, beta),
        4 => weight_gradient_of::<L, 3>(l, d_w, x, d_z, beta),
        5 => weight_gradient_of::<L, 4>(l, d_w, x, d_z, beta),
        _ => unreachable!("a group has four lanes"),
    }
}

#[inline(always)]
fn weight_gradient_of<L: Lanes, const I: usize>(
    l: L,
    d_w: &mut [LineOf<L>],
    x: Packed4<'_, L::Element>,
    d_z: Packed4<'_, L::Element>,
    beta: Beta,
) {
    let (one, mask, rows) = (l.constant(1.0), l.first_lanes(d_z.cols), d_z.rows);
    let (x, _) = elements::<L::Element>(x.lines).as_chunks::<GROUP>();
    let (d_z, _) = elements::<L::Element>(d_z.lines).as_chunks::<GROUP>();
    let (mut biases, mut weights) = (l.zero(), [l.zero(); I]);
    if beta == Beta::One {
        biases = l.load(&d_w[0]);
        for (sum, line) in weights.iter_mut().zip(&d_w[1..]) {
            *sum = l.load(line);
        }
    }
    for (x, d_z) in x[..rows].iter().zip(&d_z[..rows]) {
        let d_z = l.load_group(d_z);
        biases = l.mul_add(one, d_z, biases);
        for (sum, &x) in weights.iter_mut().zip(x) {
            *sum = l.mul_add(l.splat(x), d_z, *sum);
        }
    }
    l.store(&mut d_w[0], l.select(mask, biases, l.zero()));
    for (line, sum) in d_w[1..].iter_mut().zip(weights) {
        l.store(line, l.select(mask, sum, l.zero()));
    }
}
