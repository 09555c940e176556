//! Sums and concatenations, element by element, with NaN in every padding lane.

use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::kernels::ops::join;
use crate::kernels::tests::{Check, on_every_isa};
use crate::simd::isa::Isa;
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::scalar::{Element, Line, elements_mut};

/// `[rows, cols]` in panels, of an element for each row and column.
fn matrix<T: Element>(rows: usize, cols: usize, element: impl Fn(usize, usize) -> f64) -> Vec<T::Line> {
    let mut lines = vec![T::Line::ZERO; rows * panels::<T>(cols)];
    elements_mut::<T>(&mut lines).fill(T::from_f64(f64::NAN));
    for (r, c) in (0..rows).flat_map(|r| (0..cols).map(move |c| (r, c))) {
        lines[c / T::LANES * rows + r].as_mut_slice()[c % T::LANES] = T::from_f64(element(r, c));
    }
    lines
}

/// The padding is 0, and every other element as it should be.
#[track_caller]
fn assert_matrix<T: Element>(lines: &[T::Line], cols: usize, element: impl Fn(usize, usize) -> f64) {
    let rows = lines.len() / panels::<T>(cols);
    for (r, c) in (0..rows).flat_map(|r| (0..panels::<T>(cols) * T::LANES).map(move |c| (r, c))) {
        let found = lines[c / T::LANES * rows + r].as_slice()[c % T::LANES].to_f64();
        let expected = if c < cols { element(r, c) } else { 0.0 };
        assert_eq!(found, expected, "row {r}, column {c} of {cols}");
    }
}

struct Columns;

impl<T: Element> Check<T> for Columns {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, _: Isa) {
        let lanes = T::LANES;
        let widths = [1, 2, lanes - 1, lanes, lanes + 1, 2 * lanes + 3];
        let pairs = widths.into_iter().flat_map(|a| widths.map(|b| [a, b, 3]));
        for (rows, widths) in pairs.enumerate().map(|(i, widths)| (1 + i % 4, widths)) {
            let cols = widths.iter().sum();
            let mut joined = matrix::<T>(rows, cols, |_, _| f64::NAN);
            let mut first = 0;
            for width in widths {
                let part = matrix::<T>(rows, width, |r, c| (100 * r + first + c) as f64);
                let to = PanelsMut::new(&mut joined, rows, cols);
                join::write_columns(l, to, first, Panels::new(&part, rows, width));
                first += width;
            }
            assert_matrix::<T>(&joined, cols, |r, c| (100 * r + c) as f64);
            // What is past the last column must not come back.
            let joined = matrix::<T>(rows, cols, |r, c| (100 * r + c) as f64);
            first = 0;
            for width in widths {
                for (beta, before) in [(Beta::Zero, f64::NAN), (Beta::One, 0.5)] {
                    let mut part = matrix::<T>(rows, width, |_, _| before);
                    let to = PanelsMut::new(&mut part, rows, width);
                    join::read_columns(l, to, Panels::new(&joined, rows, cols), first, beta);
                    let more = if beta == Beta::One { before } else { 0.0 };
                    assert_matrix::<T>(&part, width, |r, c| (100 * r + first + c) as f64 + more);
                }
                first += width;
            }
        }
    }
}

#[test]
fn columns_are_put_side_by_side_and_taken_apart() {
    on_every_isa!(f32, Columns => f32s);
    on_every_isa!(f64, Columns => f64s);
    let (Columns, Columns) = (f32s, f64s);
}

struct Sums;

impl<T: Element> Check<T> for Sums {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, _: Isa) {
        let (a, b) =
            (matrix::<T>(3, 5, |r, c| (r + c) as f64), matrix::<T>(3, 5, |r, c| (10 * r * c) as f64));
        let mut y = vec![LineOf::<L>::ZERO; 3];
        join::sum(l, PanelsMut::new(&mut y, 3, 5), Panels::new(&a, 3, 5), Panels::new(&b, 3, 5));
        let at = |r: usize, c: usize| y[r].as_slice()[c].to_f64();
        assert!((0..3).all(|r| (0..5).all(|c| at(r, c) == (r + c + 10 * r * c) as f64)));
        // The difference of two normal numbers may be denormal: as a gradient it is 0.
        let tiny = T::MIN_NORMAL.to_f64();
        let (mut to, from) = (matrix::<T>(1, 1, |_, _| 1.5 * tiny), matrix::<T>(1, 1, |_, _| -tiny));
        join::add_gradient(l, &mut to, &from);
        assert_eq!(to[0].as_slice()[0].to_f64(), 0.0);
        let mut to = matrix::<T>(1, 1, |_, _| 1.5);
        join::add_gradient(l, &mut to, &matrix::<T>(1, 1, |_, _| 2.0));
        assert_eq!(to[0].as_slice()[0].to_f64(), 3.5);
    }
}

#[test]
fn sums_are_element_by_element() {
    on_every_isa!(f32, Sums => f32s);
    on_every_isa!(f64, Sums => f64s);
    let (Sums, Sums) = (f32s, f64s);
}
