//! The three products against plain loops, on every instruction set and for every small shape.

use super::lanes::{Line, elements, elements_mut};
use super::pack::{Panels, PanelsMut, pack_rows, panels, transpose_panel, unpack_rows};
use super::{Isa, Kernels, Start};
use crate::activation::Activation;
use crate::element::Sealed as Element;

/// Lines that hold nothing a kernel may use.
fn garbage<T: Element>(rows: usize, cols: usize) -> Vec<T::Line> {
    let mut lines = vec![T::Line::ZERO; rows * panels::<T>(cols)];
    elements_mut::<T>(&mut lines).fill(T::from_f64(f64::NAN));
    lines
}

/// Row-major values in panels, rounded to `T`; padding 0.
fn packed<T: Element>(values: &[f64], rows: usize, cols: usize) -> Vec<T::Line> {
    let values: Vec<T> = values.iter().map(|&value| T::from_f64(value)).collect();
    let mut lines = garbage::<T>(rows, cols);
    pack_rows(&mut PanelsMut::new(&mut lines, rows, cols), &values);
    lines
}

fn unpacked<T: Element>(lines: &[T::Line], rows: usize, cols: usize) -> Vec<f64> {
    let mut values = vec![T::ZERO; rows * cols];
    unpack_rows(&mut values, Panels::new(lines, rows, cols));
    values.into_iter().map(T::to_f64).collect()
}

/// `sum_k a(m, k) b(k, n)` and the same of magnitudes, row-major.
fn product(
    (rows, inner, cols): (usize, usize, usize),
    a: impl Fn(usize, usize) -> f64,
    b: impl Fn(usize, usize) -> f64,
) -> (Vec<f64>, Vec<f64>) {
    let mut sums = (Vec::new(), Vec::new());
    for m in 0..rows {
        for n in 0..cols {
            sums.0.push((0..inner).map(|k| a(m, k) * b(k, n)).sum());
            sums.1.push((0..inner).map(|k| (a(m, k) * b(k, n)).abs()).sum());
        }
    }
    sums
}

/// How far a computed element may lie from the exact one.
#[derive(Clone, Copy)]
enum Bound {
    Equal,
    /// `gamma_n` of the terms' magnitudes (Higham, chapter 3), for sums of `k` products and a start.
    Gamma,
}

impl Bound {
    fn check<T: Element>(self, isa: Isa, k: usize, got: &[f64], exact: (&[f64], &[f64]), what: &str) {
        assert_eq!(got.len(), exact.0.len());
        let unit = if T::LANES == 16 { f64::from(f32::EPSILON) } else { f64::EPSILON } / 2.0;
        // A product rounds too where it is not fused with its sum; the naive f64 sum rounds like ours.
        let fused = if isa == Isa::Portable { 2 * k + 2 } else { k + 2 };
        let n = (if T::LANES == 8 { 2 * fused } else { fused }) as f64;
        let gamma = n * unit / (1.0 - n * unit);
        for (i, (got, (sum, magnitude))) in got.iter().zip(exact.0.iter().zip(exact.1)).enumerate() {
            let allowed = match self {
                Self::Equal => 0.0,
                Self::Gamma => gamma * magnitude,
            };
            assert!((got - sum).abs() <= allowed, "{what} on {isa}: element {i} is {got}, not {sum}");
        }
    }
}

/// Batch, inputs, outputs; a source of values; how close.
fn check_products<T: Element>(isa: Isa, shape: (usize, usize, usize), value: fn(usize) -> f64, bound: Bound) {
    let Some(kernels) = T::kernels(isa) else { return };
    let (batch, inputs, outputs) = shape;
    let round =
        |values: Vec<f64>| -> Vec<f64> { values.into_iter().map(|v| T::from_f64(v).to_f64()).collect() };
    let x = round((0..batch * inputs).map(value).collect());
    let d_z = round((0..batch * outputs).map(|i| value(i + 7)).collect());
    // [1 + inputs, outputs], biases first.
    let w = round((0..(1 + inputs) * outputs).map(|i| value(i + 13)).collect());
    check_forward::<T>(kernels, isa, shape, (&x, &w), bound);
    check_backward_data::<T>(kernels, isa, shape, (&d_z, &w), bound);
    check_weight_gradient::<T>(kernels, isa, shape, (&x, &d_z), bound);
}

fn check_forward<T: Element>(
    kernels: &dyn Kernels<T>,
    isa: Isa,
    (batch, inputs, outputs): (usize, usize, usize),
    (x, w): (&[f64], &[f64]),
    bound: Bound,
) {
    let (x_lines, w_lines) = (packed::<T>(x, batch, inputs), packed::<T>(w, 1 + inputs, outputs));
    let mut y = garbage::<T>(batch, outputs);
    let to = PanelsMut::new(&mut y, batch, outputs);
    kernels.forward(to, Panels::new(&x_lines, batch, inputs), &w_lines, Activation::Identity);
    // The biases are the product's first term, with a factor of 1.
    let factor = |m: usize, k: usize| if k == 0 { 1.0 } else { x[m * inputs + k - 1] };
    let (sums, magnitudes) = product((batch, 1 + inputs, outputs), factor, |k, n| w[k * outputs + n]);
    let what = format!("forward {batch}x{inputs}x{outputs}");
    bound.check::<T>(isa, inputs, &unpacked::<T>(&y, batch, outputs), (&sums, &magnitudes), &what);
}

fn check_backward_data<T: Element>(
    kernels: &dyn Kernels<T>,
    isa: Isa,
    (batch, inputs, outputs): (usize, usize, usize),
    (d_z, w): (&[f64], &[f64]),
    bound: Bound,
) {
    let (d_z_lines, w_lines) = (packed::<T>(d_z, batch, outputs), packed::<T>(w, 1 + inputs, outputs));
    let blocks = panels::<T>(inputs) * T::LANES;
    let mut transposed = garbage::<T>(blocks, outputs);
    for (to, panel) in transposed.chunks_exact_mut(blocks).zip(w_lines.chunks_exact(1 + inputs)) {
        transpose_panel::<T>(to, &panel[1..]);
    }
    let mut d_x = garbage::<T>(batch, inputs);
    let to = PanelsMut::new(&mut d_x, batch, inputs);
    kernels.backward_data(to, Panels::new(&d_z_lines, batch, outputs), &transposed, None);
    let (sums, magnitudes) =
        product((batch, outputs, inputs), |m, k| d_z[m * outputs + k], |k, n| w[(1 + n) * outputs + k]);
    let what = format!("backward data {batch}x{inputs}x{outputs}");
    bound.check::<T>(isa, outputs, &unpacked::<T>(&d_x, batch, inputs), (&sums, &magnitudes), &what);
    assert_padding_is_zero::<T>(&d_x, batch, inputs, &what);
}

fn check_weight_gradient<T: Element>(
    kernels: &dyn Kernels<T>,
    isa: Isa,
    (batch, inputs, outputs): (usize, usize, usize),
    (x, d_z): (&[f64], &[f64]),
    bound: Bound,
) {
    let (x_lines, d_z_lines) = (packed::<T>(x, batch, inputs), packed::<T>(d_z, batch, outputs));
    let (x_panels, d_z_panels) =
        (Panels::<T>::new(&x_lines, batch, inputs), Panels::new(&d_z_lines, batch, outputs));
    let factor = |m: usize, k: usize| if m == 0 { 1.0 } else { x[k * inputs + m - 1] };
    let (sums, magnitudes) = product((1 + inputs, batch, outputs), factor, |k, n| d_z[k * outputs + n]);
    let what = format!("weight gradient {batch}x{inputs}x{outputs}");

    let mut d_w = garbage::<T>(1 + inputs, outputs);
    kernels.weight_gradient(&mut d_w, x_panels, d_z_panels, 0, Start::Zero);
    let got = unpacked::<T>(&d_w, 1 + inputs, outputs);
    bound.check::<T>(isa, batch, &got, (&sums, &magnitudes), &what);

    kernels.weight_gradient(&mut d_w, x_panels, d_z_panels, 0, Start::Accumulate);
    let twice: Vec<f64> = sums.iter().map(|sum| 2.0 * sum).collect();
    let magnitudes: Vec<f64> = magnitudes.iter().map(|magnitude| 2.0 * magnitude).collect();
    let got = unpacked::<T>(&d_w, 1 + inputs, outputs);
    bound.check::<T>(isa, 2 * batch, &got, (&twice, &magnitudes), &format!("{what}, accumulated"));
    assert_padding_is_zero::<T>(&d_w, 1 + inputs, outputs, &what);
}

fn assert_padding_is_zero<T: Element>(lines: &[T::Line], rows: usize, cols: usize, what: &str) {
    let used = cols - (panels::<T>(cols) - 1) * T::LANES;
    for line in &lines[(panels::<T>(cols) - 1) * rows..] {
        assert!(line.as_slice()[used..].iter().all(|&lane| lane == T::ZERO), "{what}: padding");
    }
}

/// Small integers, whose sums are exact in any order.
fn integer(i: usize) -> f64 {
    (i * 7 % 11) as f64 - 5.0
}

/// Reals of both signs over three orders of magnitude.
fn real(i: usize) -> f64 {
    ((i * 7919 % 1009) as f64 - 504.0) * 0.001_7 * (1 + i % 13) as f64
}

const RAGGED: [(usize, usize, usize); 9] = [
    (31, 33, 65),
    (65, 100, 129),
    (7, 255, 40),
    (9, 256, 48),
    (11, 257, 64),
    (64, 300, 130),
    (1, 600, 129),
    (2, 129, 300),
    (129, 17, 100),
];

#[test]
fn small_integers_multiply_exactly_in_every_shape() {
    for isa in Isa::available() {
        for batch in 1..=17 {
            for inputs in 1..=17 {
                for outputs in 1..=17 {
                    check_products::<f32>(isa, (batch, inputs, outputs), integer, Bound::Equal);
                    check_products::<f64>(isa, (batch, inputs, outputs), integer, Bound::Equal);
                }
            }
        }
        for shape in RAGGED {
            check_products::<f32>(isa, shape, integer, Bound::Equal);
            check_products::<f64>(isa, shape, integer, Bound::Equal);
        }
    }
}

#[test]
fn reals_stay_within_the_rounding_bound() {
    for isa in Isa::available() {
        for size in 1..=17 {
            check_products::<f32>(isa, (size, 18 - size, size), real, Bound::Gamma);
            check_products::<f64>(isa, (size, 18 - size, size), real, Bound::Gamma);
        }
        for shape in RAGGED {
            check_products::<f32>(isa, shape, real, Bound::Gamma);
            check_products::<f64>(isa, shape, real, Bound::Gamma);
        }
    }
}

#[test]
fn a_nan_poisons_its_own_row_and_no_padding() {
    let (batch, inputs, outputs) = (19, 21, 37);
    for isa in Isa::available() {
        let Some(kernels) = <f32 as Element>::kernels(isa) else { continue };
        let mut x: Vec<f64> = (0..batch * inputs).map(real).collect();
        let mut d_z: Vec<f64> = (0..batch * outputs).map(real).collect();
        (x[5 * inputs + 3], d_z[5 * outputs + 3]) = (f64::NAN, f64::NAN);
        let w: Vec<f64> = (0..(1 + inputs) * outputs).map(real).collect();
        let (x, d_z) = (packed::<f32>(&x, batch, inputs), packed::<f32>(&d_z, batch, outputs));
        let w = packed::<f32>(&w, 1 + inputs, outputs);
        let mut y = garbage::<f32>(batch, outputs);
        let to = PanelsMut::new(&mut y, batch, outputs);
        kernels.forward(to, Panels::new(&x, batch, inputs), &w, Activation::Identity);
        let y = unpacked::<f32>(&y, batch, outputs);
        for (i, y) in y.iter().enumerate() {
            assert_eq!(y.is_nan(), i / outputs == 5, "{isa}");
        }
        let transposed = garbage::<f32>(panels::<f32>(inputs) * 16, outputs);
        let transposed: Vec<_> = transposed.iter().map(|_| <f32 as Element>::Line::ZERO).collect();
        let mut d_x = garbage::<f32>(batch, inputs);
        let to = PanelsMut::new(&mut d_x, batch, inputs);
        kernels.backward_data(to, Panels::new(&d_z, batch, outputs), &transposed, None);
        assert_padding_is_zero::<f32>(&d_x, batch, inputs, "a NaN row");
        assert_eq!(elements::<f32>(&d_x).iter().filter(|value| value.is_nan()).count(), inputs, "{isa}");
    }
}
