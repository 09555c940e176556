//! Layer norms against the reference, on every instruction set, with something in the padding.

use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::kernels::ops::activation::Activation;
use crate::kernels::tests::available;
use crate::kernels::tests::table::{Activated, NormOperands};
use crate::reference;
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements_mut};

/// Numbers between -1 and 1.
fn numbers(count: usize, step: usize) -> Vec<f64> {
    (0..count).map(|i| ((i * step) % 101) as f64 / 50.0 - 1.0).collect()
}

/// Row-major `[rows, cols]` in panels.
fn packed<T: Element>(values: &[f64], cols: usize, padding: f64) -> Vec<T::Line> {
    let rows = values.len() / cols;
    let mut lines = vec![T::Line::ZERO; rows * panels::<T>(cols)];
    elements_mut::<T>(&mut lines).fill(T::from_f64(padding));
    for (i, &value) in values.iter().enumerate() {
        let (r, c) = (i / cols, i % cols);
        lines[c / T::LANES * rows + r].as_mut_slice()[c % T::LANES] = T::from_f64(value);
    }
    lines
}

fn unpacked<T: Element>(lines: &[T::Line], rows: usize, cols: usize) -> Vec<f64> {
    let at = |i: usize| lines[i % cols / T::LANES * rows + i / cols].as_slice()[i % cols % T::LANES].to_f64();
    (0..rows * cols).map(at).collect()
}

#[track_caller]
fn assert_close<T: Element>(found: &[f64], expected: &[f64], what: &str) {
    // A hundred roundings or fewer, of numbers of order 1 to 10.
    let unit = if size_of::<T>() == 4 { f64::from(f32::EPSILON) } else { f64::EPSILON };
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= 500.0 * unit, "{what}, {i}: {found}, not {expected}");
    }
}

fn check<T: Element>() {
    for (rows, cols) in [(1, 2), (3, 7), (5, T::LANES), (4, T::LANES + 5), (7, 3 * T::LANES - 1)] {
        let (x, d_z) = (numbers(rows * cols, 37), numbers(rows * cols, 59));
        let (weights, biases) = (numbers(cols, 23), numbers(cols, 31));
        let (d_w, d_x) = reference::layer_norm_backward(&d_z, &x, &weights, 1e-5);
        let d_b: Vec<f64> = (0..cols).map(|c| (0..rows).map(|r| d_z[r * cols + c]).sum()).collect();
        let parameters = packed::<T>(&[biases.clone(), weights.clone()].concat(), cols, 0.0);
        let (of_x, of_d) = (packed::<T>(&x, cols, 77.0), packed::<T>(&d_z, cols, 0.0));
        let (of_x, of_d) = (Panels::new(&of_x, rows, cols), Panels::new(&of_d, rows, cols));
        for (isa, kernels) in available::<T>() {
            let what = format!("{rows} x {cols} on {isa}");
            let nan = packed::<T>(&vec![f64::NAN; rows * cols], cols, f64::NAN);
            let (mut y, mut to, mut statistics) = (nan.clone(), nan, vec![T::Line::ZERO; 2 * rows]);
            let identity = Activated::alone(Activation::Identity);
            kernels.norm_forward(
                PanelsMut::new(&mut y, rows, cols),
                of_x,
                &parameters,
                &mut statistics,
                identity,
            );
            let expected = reference::layer_norm(&x, &weights, &biases, 1e-5);
            assert_close::<T>(&unpacked::<T>(&y, rows, cols), &expected, &what);
            let d_to = PanelsMut::new(&mut to, rows, cols);
            let operands = NormOperands { x: of_x, d_z: of_d, statistics: &statistics };
            kernels.norm_backward_data(d_to, operands, &parameters, None);
            assert_close::<T>(&unpacked::<T>(&to, rows, cols), &d_x, &what);
            for (beta, before) in [(Beta::Zero, f64::NAN), (Beta::One, 3.0)] {
                let from = if beta == Beta::Zero { 0.0 } else { before };
                let expected: Vec<f64> = d_b.iter().chain(&d_w).map(|d| from + d).collect();
                let mut gradient = packed::<T>(&vec![before; 2 * cols], cols, 0.0);
                // As two blocks of parameters: the first panel, then the others.
                let (first, others) = gradient.split_at_mut(2);
                kernels.norm_weight_gradient(first, operands, 0, beta);
                kernels.norm_weight_gradient(others, operands, 1, beta);
                assert_close::<T>(&unpacked::<T>(&gradient, 2, cols), &expected, &what);
            }
        }
    }
}

#[test]
fn layer_norms_and_their_gradients_are_those_of_the_reference() {
    check::<f32>();
    check::<f64>();
}
