//! Rows in groups of four lanes against plain loops: the moves bit for bit, the sums of integers exactly,
//! with NaN in every lane that should not count.

use crate::kernels::gemm::packed4::{self, Packed4};
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::ops::loss;
use crate::kernels::ops::loss::RowLosses;
use crate::kernels::ops::loss::{ClassWeights, Loss, Objective};
use crate::kernels::ops::targets::Targets;
use crate::kernels::tests::{Check, on_every_isa};
use crate::simd::isa::Isa;
use crate::simd::lanes::{GROUP, Lanes};
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements, elements_mut};

/// Every number of rows of up to four lines, and every number of columns.
fn shapes<T: Element>() -> impl Iterator<Item = (usize, usize)> {
    (1..=T::LANES).flat_map(|rows| (1..=GROUP).map(move |cols| (rows, cols)))
}

fn integer<T: Element>(i: usize) -> T {
    T::from_f64((i * 7919 % 7) as f64 - 3.0)
}

fn not_numbers<T: Element>(lines: usize) -> Vec<T::Line> {
    let mut lines = vec![T::Line::ZERO; lines];
    elements_mut::<T>(&mut lines).fill(T::from_f64(f64::NAN));
    lines
}

/// `[rows, cols]` packed, NaN elsewhere.
fn packed<T: Element>(values: &[T], rows: usize, cols: usize) -> Vec<T::Line> {
    let mut lines = not_numbers::<T>(packed4::lines::<T>(rows));
    for r in 0..rows {
        elements_mut::<T>(&mut lines)[r * GROUP..][..cols].copy_from_slice(&values[r * cols..][..cols]);
    }
    lines
}

/// A line whose first lanes are these, NaN elsewhere.
fn first_lanes<T: Element>(values: impl Iterator<Item = T>) -> T::Line {
    let mut line = not_numbers::<T>(1)[0];
    line.as_mut_slice().iter_mut().zip(values).for_each(|(lane, value)| *lane = value);
    line
}

#[derive(Default)]
struct Moves(usize);

impl<T: Element> Check<T> for Moves {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        let values: Vec<T> = (0..GROUP * T::LANES).map(|i| T::from_f64(1.0 + i as f64)).collect();
        let mut line = T::Line::ZERO;
        line.as_mut_slice().copy_from_slice(&values[..T::LANES]);
        let mut found = T::Line::ZERO;
        for k in 0..GROUP {
            l.vectorize(|| l.store(&mut found, l.splat_in_groups(l.load(&line), k)));
            let right = (0..T::LANES).map(|i| values[i / GROUP * GROUP + k]);
            assert!(found.as_slice().iter().copied().eq(right), "{isa}, lane {k}: {found:?}");
            let group: &[T; GROUP] = values[k..].first_chunk().unwrap();
            l.vectorize(|| l.store(&mut found, l.load_group(group)));
            let right = (0..T::LANES).map(|i| values[k + i % GROUP]);
            assert!(found.as_slice().iter().copied().eq(right), "{isa}, from {k}: {found:?}");
            self.0 += 2;
        }
        for (rows, cols) in shapes::<T>() {
            let x = &values[..rows * cols];
            let mut lines = not_numbers::<T>(packed4::lines::<T>(rows));
            l.vectorize(|| packed4::pack(l, &mut lines, x, rows, cols));
            for (i, &lane) in elements::<T>(&lines).iter().enumerate() {
                let (r, c) = (i / GROUP, i % GROUP);
                let right = if r < rows && c < cols { x[r * cols + c] } else { T::ZERO };
                assert_eq!(lane, right, "{isa}, lane {i} of [{rows}, {cols}]");
            }
            let mut back = vec![T::from_f64(f64::NAN); rows * cols];
            l.vectorize(|| packed4::unpack(l, &mut back, Packed4 { lines: &lines, rows, cols }));
            assert_eq!(back, x, "{isa}, [{rows}, {cols}]");
            self.0 += 2;
        }
    }
}

#[test]
fn rows_are_packed_and_unpacked() {
    on_every_isa!(f32, Moves::default() => single);
    on_every_isa!(f64, Moves::default() => double);
    println!("RESULT moves_of_groups moves={}", single.0 + double.0);
}

#[derive(Default)]
struct Products(usize);

impl<T: Element> Check<T> for Products {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        for (rows, k) in shapes::<T>() {
            for n in 1..=GROUP {
                self.product(l, isa, rows, n, k);
                self.weight_gradient(l, isa, rows, n, k);
            }
        }
    }
}

impl Products {
    fn product<L: Lanes>(&mut self, l: L, isa: Isa, rows: usize, n: usize, k: usize) {
        let a: Vec<L::Element> = (0..rows * k).map(integer).collect();
        let b = |i: usize, j: usize| integer::<L::Element>(5 * i + 3 * j + 1);
        let biases = |j: usize| integer::<L::Element>(j + 2);
        let weights: Vec<_> = (0..k).map(|i| first_lanes((0..n).map(|j| b(i, j)))).collect();
        let start = first_lanes((0..n).map(biases));
        let lines = packed(&a, rows, k);
        for has_start in [false, true] {
            let mut c = not_numbers::<L::Element>(packed4::lines::<L::Element>(rows));
            let start = has_start.then_some(&start);
            l.vectorize(|| packed4::product(l, &mut c, &lines, &weights, start));
            for r in 0..rows {
                for j in 0..n {
                    let terms = (0..k).map(|i| a[r * k + i].to_f64() * b(i, j).to_f64());
                    let right = terms.sum::<f64>() + if has_start { biases(j).to_f64() } else { 0.0 };
                    let found = elements::<L::Element>(&c)[r * GROUP + j].to_f64();
                    assert_eq!(found, right, "{isa}, [{rows}, {n}, {k}] at [{r}, {j}]");
                }
            }
            self.0 += 1;
        }
    }

    fn weight_gradient<L: Lanes>(&mut self, l: L, isa: Isa, rows: usize, n: usize, k: usize) {
        let x: Vec<L::Element> = (0..rows * k).map(integer).collect();
        let d_z: Vec<L::Element> = (0..rows * n).map(|i| integer(i + 4)).collect();
        let (x_lines, d_lines) = (packed(&x, rows, k), packed(&d_z, rows, n));
        let before = |i: usize, j: usize| integer::<L::Element>(i + 2 * j);
        for beta in [Beta::Zero, Beta::One] {
            let mut d_w = not_numbers::<L::Element>(1 + k);
            if beta == Beta::One {
                d_w = (0..=k).map(|i| first_lanes((0..n).map(|j| before(i, j)))).collect();
            }
            let x_packed = Packed4 { lines: &x_lines, rows, cols: k };
            let d_packed = Packed4 { lines: &d_lines, rows, cols: n };
            l.vectorize(|| packed4::weight_gradient(l, &mut d_w, x_packed, d_packed, beta));
            for (i, line) in d_w.iter().enumerate() {
                for (j, &found) in line.as_slice().iter().enumerate() {
                    let along = |r: usize| if i == 0 { 1.0 } else { x[r * k + i - 1].to_f64() };
                    let mut right = 0.0;
                    if j < n {
                        right = (0..rows).map(|r| along(r) * d_z[r * n + j].to_f64()).sum();
                        right += if beta == Beta::One { before(i, j).to_f64() } else { 0.0 };
                    }
                    assert_eq!(found.to_f64(), right, "{isa}, {beta:?}, [{rows}, {n}, {k}] at [{i}, {j}]");
                }
            }
            self.0 += 1;
        }
    }
}

#[test]
fn products_of_packed_rows_are_exact_on_integers() {
    on_every_isa!(f32, Products::default() => single);
    on_every_isa!(f64, Products::default() => double);
    println!("RESULT products_of_groups products={}", single.0 + double.0);
}

#[derive(Default)]
struct Losses(usize);

impl<T: Element> Check<T> for Losses {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        for (loss, (rows, cols)) in
            Loss::BY_ELEMENT.into_iter().flat_map(|loss| shapes::<T>().map(move |s| (loss, s)))
        {
            let value = |i: usize| T::from_f64((i * 7919 % 31) as f64 / 17.0 - 0.8);
            let y: Vec<T> = (0..rows * cols).map(value).collect();
            let targets: Vec<T> = (0..rows * cols).map(|i| value(i + 5)).collect();
            let objective = Objective { loss, scale: 0.3, targets: Targets::from(&targets) };
            let of_groups = packed(&y, rows, cols);
            let mut d = not_numbers::<T>(of_groups.len());
            let found = l.vectorize(|| loss::evaluate_packed4(l, &mut d, &of_groups, &objective, rows, cols));
            // The same, a line for each row.
            let lines: Vec<T::Line> = y.chunks(cols).map(|row| first_lanes(row.iter().copied())).collect();
            let mut d_lines = not_numbers::<T>(rows);
            let classes = ClassWeights::new(loss, cols, None, 0.0).unwrap();
            let (to, from) = (PanelsMut::new(&mut d_lines, rows, cols), Panels::new(&lines, rows, cols));
            let mut of_rows = vec![f64::NAN; rows];
            l.vectorize(|| {
                loss::evaluate(l, RowLosses { d_y: to, losses: &mut of_rows }, from, &objective, &classes)
            });
            let right = of_rows.iter().sum::<f64>() * objective.scale;
            assert_eq!(found.to_bits(), right.to_bits(), "{isa}, {loss:?} of [{rows}, {cols}]");
            assert!(right.abs() > 0.0);
            for (group, line) in elements::<T>(&d).chunks_exact(GROUP).zip(&d_lines) {
                let bits =
                    |lanes: &[T]| lanes[..cols].iter().map(|d| d.to_f64().to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(group), bits(line.as_slice()), "{isa}, {loss:?} of [{rows}, {cols}]");
            }
            self.0 += 1;
        }
    }
}

#[test]
fn losses_of_packed_rows_have_the_bits_of_those_of_lines() {
    on_every_isa!(f32, Losses::default() => single);
    on_every_isa!(f64, Losses::default() => double);
    println!("RESULT losses_of_groups losses={} different=0", single.0 + double.0);
}
