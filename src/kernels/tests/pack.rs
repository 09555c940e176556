//! Packing into panels and back, element by element.

use crate::kernels::matrix::pack::PACKED_ROWS;
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::kernels::tests::available;
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements_mut};

/// Rows that end within a block of them, with it, and blocks later; columns that do so with panels.
fn rows_are_packed_and_unpacked<T: Element>() {
    let rows = [1, 2, PACKED_ROWS - 1, PACKED_ROWS, PACKED_ROWS + 1, 2 * PACKED_ROWS, 3 * PACKED_ROWS + 5];
    let cols = [1, T::LANES - 1, T::LANES, T::LANES + 1, 3 * T::LANES];
    for (isa, kernels) in available::<T>() {
        for (rows, cols) in rows.into_iter().flat_map(|rows| cols.map(|cols| (rows, cols))) {
            let x: Vec<T> = (1..=rows * cols).map(|i| T::from_f64(i as f64)).collect();
            let mut lines = vec![T::Line::ZERO; rows * panels::<T>(cols)];
            elements_mut::<T>(&mut lines).fill(T::from_f64(f64::NAN));
            kernels.pack(PanelsMut::new(&mut lines, rows, cols), &x);
            let packed = Panels::<T>::new(&lines, rows, cols);
            for (p, r) in (0..packed.panels()).flat_map(|p| (0..rows).map(move |r| (p, r))) {
                for (lane, &found) in packed.panel(p)[r].as_slice().iter().enumerate() {
                    let col = p * T::LANES + lane;
                    let expected = if col < cols { x[r * cols + col] } else { T::ZERO };
                    assert_eq!(found, expected, "{isa}, row {r} of {rows}, column {col} of {cols}");
                }
            }
            let mut back = vec![T::from_f64(f64::NAN); rows * cols];
            kernels.unpack(&mut back, packed);
            assert_eq!(back, x, "{isa}, [{rows}, {cols}]");
        }
    }
}

#[test]
fn rows_of_any_number_are_packed_and_unpacked() {
    rows_are_packed_and_unpacked::<f32>();
    rows_are_packed_and_unpacked::<f64>();
}
