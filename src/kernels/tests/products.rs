//! The three products against plain loops, on every instruction set and element type.
//!
//! Bounds are Higham's, *Accuracy and Stability of Numerical Algorithms*, section 3.1: a sum of `k`
//! products is within `gamma_(k+2) (|c0| + sum |a| |b|)` of the exact one, `gamma_n = n u / (1 - n u)`.
//! The expected sums are compensated (Ogita, Rump and Oishi 2005, algorithm Dot2), as good as exact.

use super::Kernels;
use crate::kernels::gemm::blocking::ACCUMULATOR_PERIOD;
use crate::kernels::gemm::products::Sweep;
use crate::kernels::gemm::weight_gradient::{FusedSgd, WeightGradient};
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::kernels::matrix::transpose::transposed_stride;
use crate::kernels::ops::activation::Activation;
use crate::kernels::ops::activation::Derivative;
use crate::kernels::ops::optimizer::{Optimizer, Update};
use crate::kernels::tests::available;
use crate::kernels::tests::table::Activated;
use crate::simd::isa::Isa;
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements, elements_mut};

/// Shapes past the cube: ragged in every block, sums longer than a block of `k`, and more than a block of
/// panels.
const RAGGED: [(usize, usize, usize); 26] = [
    (31, 33, 65),
    (33, 31, 129),
    (65, 100, 31),
    (100, 65, 33),
    (129, 17, 300),
    (2, 129, 300),
    (1, 300, 129),
    // Weights that exceed L2, for a row or two.
    (1, 270, 530),
    (2, 270, 530),
    (64, 64, 256),
    (64, 48, 257),
    (5, 66, 600),
    (3, 140, 513),
    (300, 3, 2),
    (7, 300, 100),
    (12, 80, 385),
    (64, 3, 64),
    (24, 1, 100),
    (33, 4, 17),
    (35, 18, 40),
    (70, 6, 129),
    (25, 37, 49),
    (40, 21, 5),
    (20, 401, 600),
    (9, 600, 401),
    (34, 49, 65),
];

/// Sizes at the edges of blocks and micro-batches, and primes.
const EDGES: [usize; 9] = [47, 48, 49, 97, 127, 255, 256, 257, 521];

/// Largest size of the cubes that are swept: in every run of the tests, and in the full sweep.
const QUICK: usize = 17;
const FULL: usize = 33;

/// Every shape of `1..=largest` cubed, then the ragged ones, then for a full sweep those at edges:
/// `(m, n, k)`.
fn shapes(largest: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    let cube = move || {
        (1..=largest)
            .flat_map(move |m| (1..=largest).flat_map(move |n| (1..=largest).map(move |k| (m, n, k))))
    };
    let edges = EDGES.into_iter().flat_map(|edge| {
        [(edge, 5, 7), (3, edge, 9), (6, 10, edge), (13, edge, edge), (edge, 1, edge), (edge, edge, 1)]
    });
    cube().chain(RAGGED).chain(edges.filter(move |_| largest == FULL))
}

/// What a sweep has seen.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    products: usize,
    /// The largest error, in parts of the bound that always holds.
    worst: f64,
    /// The same of the bound that holds with next to certainty, `8 sqrt(k) u (|c0| + sum |a| |b|)`:
    /// roundings are as often up as down (Higham and Mary 2019).
    statistical: f64,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.products += other.products;
        self.worst = self.worst.max(other.worst);
        self.statistical = self.statistical.max(other.statistical);
    }

    fn print(self, name: &str) {
        let Self { products, worst, statistical } = self;
        println!("RESULT {name} products={products} worst={worst:.3} statistical={statistical:.3}");
    }
}

/// Knuth's MMIX generator.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Numbers {
    /// `-3..=3`: every sum of up to 600 products is exact.
    Integers,
    /// Multiples of `2^-23` in `[-1, 1)`, exact in `f32`.
    Reals,
}

impl Numbers {
    fn draw(self, random: &mut Random, count: usize) -> Vec<f64> {
        let mut one = || match self {
            Self::Integers => (random.next() % 7) as f64 - 3.0,
            Self::Reals => (random.next() % (1 << 24)) as f64 / f64::from(1 << 23) - 1.0,
        };
        (0..count).map(|_| one()).collect()
    }
}

/// A sum of products, and the sum of their magnitudes.
#[derive(Clone, Copy)]
struct Sum {
    value: f64,
    magnitude: f64,
}

/// `start + sum a b`, compensated.
fn sum(start: f64, products: impl Iterator<Item = (f64, f64)>) -> Sum {
    let (mut value, mut correction, mut magnitude) = (start, 0.0, start.abs());
    for (a, b) in products {
        let product = a * b;
        let total = value + product;
        let other = total - value;
        correction += (value - (total - other)) + (product - other) + a.mul_add(b, -product);
        value = total;
        magnitude += product.abs();
    }
    Sum { value: value + correction, magnitude }
}

/// Row-major `[rows, cols]` in panels, with something in the padding lanes.
pub(super) fn packed<T: Element>(values: &[f64], cols: usize, padding: f64) -> Vec<T::Line> {
    let rows = values.len() / cols;
    let mut lines = vec![T::Line::ZERO; rows * panels::<T>(cols)];
    elements_mut::<T>(&mut lines).fill(T::from_f64(padding));
    for r in 0..rows {
        for c in 0..cols {
            let line = lines[c / T::LANES * rows + r].as_mut_slice();
            line[c % T::LANES] = T::from_f64(values[r * cols + c]);
        }
    }
    lines
}

/// Place of an element in a matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    row: usize,
    col: usize,
}

impl Cell {
    /// The place of element `i` in row-major order.
    pub(super) fn of(i: usize, cols: usize) -> Self {
        Self { row: i / cols, col: i % cols }
    }
}

/// The element at a place of a matrix of `rows` rows in panels.
pub(super) fn at<T: Element>(lines: &[T::Line], rows: usize, cell: Cell) -> f64 {
    lines[cell.col / T::LANES * rows + cell.row].as_slice()[cell.col % T::LANES].to_f64()
}

/// A layer's parameters in panels of `[1 + I, O]`, from `[O, I]` and `[O]`. Padding lanes are 0.
pub(super) fn parameters<T: Element>(weights: &[f64], biases: &[f64]) -> Vec<T::Line> {
    let (outputs, inputs) = (biases.len(), weights.len() / biases.len());
    let mut rows = biases.to_vec();
    for i in 0..inputs {
        rows.extend((0..outputs).map(|o| weights[o * inputs + i]));
    }
    packed::<T>(&rows, outputs, 0.0)
}

/// The transposed copy of the weights `[O, I]`.
pub(super) fn transposed<T: Element>(weights: &[f64], outputs: usize) -> Vec<T::Line> {
    let inputs = weights.len() / outputs;
    let lines = parameters::<T>(weights, &vec![0.0; outputs]);
    let per_panel = transposed_stride::<T>(inputs);
    let mut to = nan_lines::<T>(panels::<T>(outputs) * per_panel);
    for (to, panel) in to.chunks_exact_mut(per_panel).zip(lines.chunks_exact(1 + inputs)) {
        transpose::<T>(to, &panel[1..], T::LANES);
    }
    to
}

/// What [`crate::kernels::matrix::transpose::transpose_panel`] must write.
fn transpose<T: Element>(to: &mut [T::Line], weights: &[T::Line], outputs: usize) {
    for (block, rows) in to.chunks_exact_mut(T::LANES).zip(weights.chunks(T::LANES)) {
        for (j, line) in block.iter_mut().enumerate().take(outputs) {
            line.as_mut_slice().fill(T::ZERO);
            for (i, row) in rows.iter().enumerate() {
                line.as_mut_slice()[i] = row.as_slice()[j];
            }
        }
    }
}

fn check_transposes<T: Element>() {
    for (isa, kernels) in available::<T>() {
        for (inputs, outputs) in (1..=35).flat_map(|inputs| (1..=18).map(move |outputs| (inputs, outputs))) {
            let weights: Vec<f64> = (1..=T::LANES * inputs).map(|i| i as f64).collect();
            let mut lines = vec![T::Line::ZERO; inputs];
            for (line, weights) in lines.iter_mut().zip(weights.chunks(T::LANES)) {
                for (to, &w) in line.as_mut_slice().iter_mut().zip(weights) {
                    *to = T::from_f64(w);
                }
            }
            let untouched = nan_lines::<T>(panels::<T>(inputs) * T::LANES);
            let (mut found, mut expected) = (untouched.clone(), untouched);
            kernels.transpose(&mut found, &lines, outputs);
            transpose::<T>(&mut expected, &lines, outputs);
            assert_eq!(bits::<T>(&found), bits::<T>(&expected), "{isa}: {inputs} x {outputs}");
        }
    }
}

#[test]
fn transposes_are_transposes() {
    check_transposes::<f32>();
    check_transposes::<f64>();
}

pub(super) fn nan_lines<T: Element>(count: usize) -> Vec<T::Line> {
    let mut lines = vec![T::Line::ZERO; count];
    elements_mut::<T>(&mut lines).fill(T::from_f64(f64::NAN));
    lines
}

/// How far a sum of `k` products may be from the exact one.
fn bound<T: Element>(isa: Isa, k: usize, magnitude: f64) -> f64 {
    let u = if size_of::<T>() == 4 { f64::from(f32::EPSILON) / 2.0 } else { f64::EPSILON / 2.0 };
    // Portable lanes round a product and its addition each.
    let n = if isa == Isa::Portable { 2 * k + 2 } else { k + 2 } as f64;
    n * u / (1.0 - n * u) * magnitude
}

/// What bounds the error of a sum.
#[derive(Clone, Copy)]
struct SumCase {
    isa: Isa,
    numbers: Numbers,
    /// Products.
    k: usize,
}

#[track_caller]
fn assert_sum<T: Element>(found: f64, expected: Sum, case: SumCase, tally: &mut Tally) {
    let SumCase { isa, numbers, k } = case;
    let error = (found - expected.value).abs();
    if numbers == Numbers::Integers {
        assert_eq!(error, 0.0, "{isa}, {k} products: {found} against {}", expected.value);
        return;
    }
    let bound = bound::<T>(isa, k, expected.magnitude);
    assert!(error <= bound, "{isa}, {k} products: {found} against {}: {error} > {bound}", expected.value);
    if error > 0.0 {
        let u = if size_of::<T>() == 4 { f64::from(f32::EPSILON) / 2.0 } else { f64::EPSILON / 2.0 };
        let statistical = error / (8.0 * (k as f64).sqrt() * u * expected.magnitude);
        assert!(statistical <= 1.0, "{isa}, {k} products: {statistical} times the statistical bound");
        tally.worst = tally.worst.max(error / bound);
        tally.statistical = tally.statistical.max(statistical);
    }
}

/// The bits of every element, the same for every NaN.
fn bits<T: Element>(lines: &[T::Line]) -> Vec<u64> {
    let of = |&x: &T| if x.to_f64().is_nan() { u64::MAX } else { x.to_f64().to_bits() };
    elements::<T>(lines).iter().map(of).collect()
}

/// Instruction sets with a fused multiply-add must agree in every bit.
#[derive(Default)]
struct SameBits(Option<Vec<u64>>);

impl SameBits {
    #[track_caller]
    fn check<T: Element>(&mut self, isa: Isa, lines: &[T::Line]) {
        if isa != Isa::Portable {
            let found = bits::<T>(lines);
            assert_eq!(*self.0.get_or_insert_with(|| found.clone()), found, "{isa} has other bits");
        }
    }
}

/// Every instruction set of this machine, with the panels of a product taken from the first on and from the
/// last on.
fn in_both_orders<T: Element>() -> impl Iterator<Item = ((Isa, &'static dyn Kernels<T>), Sweep)> {
    let orders = [Sweep::Forward, Sweep::Backward];
    available::<T>().into_iter().flat_map(move |kernels| orders.map(|order| (kernels, order)))
}

fn check_forward<T: Element>(numbers: Numbers, largest: usize) -> Tally {
    let mut tally = Tally::default();
    let mut random = Random(1);
    let mut nonzero = 0;
    for (m, n, k) in shapes(largest) {
        let (x, w) = (numbers.draw(&mut random, m * k), numbers.draw(&mut random, n * k));
        let b = numbers.draw(&mut random, n);
        let expected: Vec<Sum> =
            (0..m * n).map(|i| sum(b[i % n], (0..k).map(|l| (x[i / n * k + l], w[i % n * k + l])))).collect();
        let (lines, weights) = (packed::<T>(&x, k, f64::NAN), parameters::<T>(&w, &b));
        let mut same = SameBits::default();
        for ((isa, kernels), order) in in_both_orders::<T>() {
            let mut y = nan_lines::<T>(m * panels::<T>(n));
            let to = PanelsMut::new(&mut y, m, n);
            let identity = Activated::alone(Activation::Identity);
            kernels.forward(to, Panels::new(&lines, m, k), &weights, identity, order);
            for (i, &expected) in expected.iter().enumerate() {
                let found = at::<T>(&y, m, Cell::of(i, n));
                assert_sum::<T>(found, expected, SumCase { isa, numbers, k }, &mut tally);
                nonzero += usize::from(found != 0.0);
            }
            tally.products += 1;
            same.check::<T>(isa, &y);
        }
    }
    assert!(nonzero > 100_000);
    tally
}

fn check_backward_data<T: Element>(numbers: Numbers, largest: usize) -> Tally {
    let mut tally = Tally::default();
    let mut random = Random(2);
    let mut nonzero = 0;
    for (m, n, k) in shapes(largest) {
        let (d_z, w) = (numbers.draw(&mut random, m * k), numbers.draw(&mut random, k * n));
        let y = Numbers::Integers.draw(&mut random, m * n);
        let expected: Vec<Sum> =
            (0..m * n).map(|i| sum(0.0, (0..k).map(|l| (d_z[i / n * k + l], w[l * n + i % n])))).collect();
        let (lines, weights) = (packed::<T>(&d_z, k, f64::NAN), transposed::<T>(&w, k));
        let outputs = packed::<T>(&y, n, f64::NAN);
        for below in
            [None, Some(Derivative { from: Panels::new(&outputs, m, n), activation: Activation::Relu })]
        {
            let mut same = SameBits::default();
            for ((isa, kernels), order) in in_both_orders::<T>() {
                let mut d_x = nan_lines::<T>(m * panels::<T>(n));
                let to = PanelsMut::new(&mut d_x, m, n);
                kernels.backward_data(to, Panels::new(&lines, m, k), &weights, below, order);
                for (i, &expected) in expected.iter().enumerate() {
                    let found = at::<T>(&d_x, m, Cell::of(i, n));
                    if below.is_some() && y[i] <= 0.0 {
                        assert_eq!(found, 0.0, "{isa}: relu lets nothing through at {}", y[i]);
                    } else {
                        assert_sum::<T>(found, expected, SumCase { isa, numbers, k }, &mut tally);
                    }
                    nonzero += usize::from(found != 0.0);
                }
                assert_padding_is_zero::<T>(&d_x, m, n);
                tally.products += 1;
                same.check::<T>(isa, &d_x);
            }
        }
    }
    assert!(nonzero > 100_000);
    tally
}

#[track_caller]
fn assert_padding_is_zero<T: Element>(lines: &[T::Line], rows: usize, cols: usize) {
    for r in 0..rows {
        for c in cols..panels::<T>(cols) * T::LANES {
            assert_eq!(at::<T>(lines, rows, Cell { row: r, col: c }), 0.0, "padding lane {c} of row {r}");
        }
    }
}

/// A fused step by the whole panels leaves the same gradient, and takes the step that the optimizer takes by
/// it.
#[track_caller]
fn assert_descends<T: Element>(
    kernels: &dyn Kernels<T>,
    operands: WeightGradient<'_, T>,
    gradient: &[T::Line],
) {
    let WeightGradient { d_w, x, d_z, first_panel, beta } = operands;
    let mut descended = nan_lines::<T>(d_w.len());
    for (i, line) in descended.iter_mut().enumerate() {
        line.as_mut_slice().fill(T::from_f64(i as f64));
    }
    let mut updated = descended.clone();
    let fused_sgd = FusedSgd { parameters: &mut descended, rate: T::from_f64(0.3) };
    kernels.weight_gradient(WeightGradient { d_w: &mut *d_w, x, d_z, first_panel, beta }, Some(fused_sgd));
    assert_eq!(bits::<T>(d_w), bits::<T>(gradient), "a fused step changes the gradient");
    let update = Update { optimizer: Optimizer::sgd(0.3), step: 1, scale: 1.0, limit: f64::INFINITY };
    kernels.update(&mut updated, d_w, [&mut [], &mut [], &mut []], &update);
    assert_eq!(bits::<T>(&descended), bits::<T>(&updated), "a fused step is another step");
}

fn check_weight_gradient<T: Element>(numbers: Numbers, beta: Beta, largest: usize) -> Tally {
    let mut tally = Tally::default();
    let mut random = Random(3);
    let mut nonzero = 0;
    for (m, n, k) in shapes(largest) {
        let (x, d_z) = (numbers.draw(&mut random, k * m), numbers.draw(&mut random, k * n));
        // The bias is the row of an input that is always 1.
        let before = match beta {
            Beta::Zero => vec![0.0; (1 + m) * n],
            Beta::One => numbers.draw(&mut random, (1 + m) * n),
        };
        let input = |row: usize, i: usize| if i == 0 { 1.0 } else { x[row * m + i - 1] };
        let expected: Vec<Sum> = (0..(1 + m) * n)
            .map(|i| sum(before[i], (0..k).map(|row| (input(row, i / n), d_z[row * n + i % n]))))
            .collect();
        let (rows, gradients) = (packed::<T>(&x, m, f64::NAN), packed::<T>(&d_z, n, 0.0));
        let mut same = SameBits::default();
        for (isa, kernels) in available::<T>() {
            let mut d_w = match beta {
                Beta::Zero => nan_lines::<T>((1 + m) * panels::<T>(n)),
                Beta::One => packed::<T>(&before, n, 0.0),
            };
            // As two blocks of parameters: the first panel, then the others.
            let (one, others) = d_w.split_at_mut(1 + m);
            let (x, d_z) = (Panels::new(&rows, k, m), Panels::new(&gradients, k, n));
            kernels.weight_gradient(WeightGradient { d_w: one, x, d_z, first_panel: 0, beta }, None);
            kernels.weight_gradient(WeightGradient { d_w: others, x, d_z, first_panel: 1, beta }, None);
            for (i, &expected) in expected.iter().enumerate() {
                let found = at::<T>(&d_w, 1 + m, Cell::of(i, n));
                assert_sum::<T>(found, expected, SumCase { isa, numbers, k }, &mut tally);
                nonzero += usize::from(found != 0.0);
            }
            assert_padding_is_zero::<T>(&d_w, 1 + m, n);
            tally.products += 1;
            same.check::<T>(isa, &d_w);
            // One block of all panels has the same bits.
            let mut whole = match beta {
                Beta::Zero => nan_lines::<T>((1 + m) * panels::<T>(n)),
                Beta::One => packed::<T>(&before, n, 0.0),
            };
            kernels.weight_gradient(WeightGradient { d_w: &mut whole, x, d_z, first_panel: 0, beta }, None);
            assert_eq!(bits::<T>(&whole), bits::<T>(&d_w), "{isa}: panels depend on their owner");
            let owned = (1 + m) * (n / T::LANES);
            let mut d_w_before = match beta {
                Beta::Zero => nan_lines::<T>(owned),
                Beta::One => packed::<T>(&before, n, 0.0)[..owned].to_vec(),
            };
            let operands = WeightGradient { d_w: &mut d_w_before, x, d_z, first_panel: 0, beta };
            assert_descends(kernels, operands, &d_w[..owned]);
        }
    }
    assert!(nonzero > 100_000);
    tally
}

fn forward(numbers: Numbers, largest: usize) -> Tally {
    let mut tally = check_forward::<f32>(numbers, largest);
    tally.add(check_forward::<f64>(numbers, largest));
    tally
}

fn backward_data(numbers: Numbers, largest: usize) -> Tally {
    let mut tally = check_backward_data::<f32>(numbers, largest);
    tally.add(check_backward_data::<f64>(numbers, largest));
    tally
}

fn weight_gradients(numbers: Numbers, largest: usize) -> Tally {
    let mut tally = Tally::default();
    for beta in [Beta::Zero, Beta::One] {
        tally.add(check_weight_gradient::<f32>(numbers, beta, largest));
        tally.add(check_weight_gradient::<f64>(numbers, beta, largest));
    }
    tally
}

#[test]
fn forward_of_integers_is_exact() {
    forward(Numbers::Integers, QUICK).print("forward_of_integers");
}

#[test]
fn forward_of_reals_is_within_the_bound() {
    forward(Numbers::Reals, QUICK).print("forward_of_reals");
}

#[test]
fn backward_data_of_integers_is_exact() {
    backward_data(Numbers::Integers, QUICK).print("backward_data_of_integers");
}

#[test]
fn backward_data_of_reals_is_within_the_bound() {
    backward_data(Numbers::Reals, QUICK).print("backward_data_of_reals");
}

#[test]
fn weight_gradients_of_integers_are_exact() {
    weight_gradients(Numbers::Integers, QUICK).print("weight_gradients_of_integers");
}

#[test]
fn weight_gradients_of_reals_are_within_the_bound() {
    weight_gradients(Numbers::Reals, QUICK).print("weight_gradients_of_reals");
}

#[test]
#[ignore = "a minute or two: every shape up to 33, and edges of blocks"]
fn products_of_every_shape_are_exact_on_integers_and_within_bounds_on_reals() {
    for (numbers, name) in
        [(Numbers::Integers, "all_products_of_integers"), (Numbers::Reals, "all_products_of_reals")]
    {
        let mut tally = forward(numbers, FULL);
        tally.add(backward_data(numbers, FULL));
        tally.add(weight_gradients(numbers, FULL));
        tally.print(name);
        assert!(tally.products >= 700_000);
    }
}

fn check_rectified<T: Element>() {
    let mut random = Random(6);
    // The last three have last panels of few columns.
    let shapes = [(1, 1, 1), (2, 3, 5), (7, 17, 4), (9, 33, 40), (13, 150, 300), (1, 300, 600)];
    for (m, n, k) in shapes.into_iter().chain([(17, 3, 70), (24, 33, 40), (40, 70, 100)]) {
        let x = packed::<T>(&Numbers::Reals.draw(&mut random, m * k), k, 0.0);
        let w = Numbers::Reals.draw(&mut random, n * k);
        let weights = parameters::<T>(&w, &Numbers::Reals.draw(&mut random, n));
        for (isa, kernels) in available::<T>() {
            let run = |activation, pre_activation: &mut [T::Line]| {
                let mut y = nan_lines::<T>(m * panels::<T>(n));
                let to = PanelsMut::new(&mut y, m, n);
                kernels.forward(
                    to,
                    Panels::new(&x, m, k),
                    &weights,
                    Activated { activation, pre_activation },
                    Sweep::Backward,
                );
                y
            };
            let plain = run(Activation::Identity, &mut []);
            let mut kept = nan_lines::<T>(plain.len());
            // In registers, and after the sums were kept.
            let of_both = [run(Activation::Relu, &mut []), run(Activation::Relu, &mut kept)];
            for cell in (0..m * n).map(|i| Cell::of(i, n)) {
                let sum = at::<T>(&plain, m, cell);
                assert_eq!(at::<T>(&kept, m, cell).to_bits(), sum.to_bits(), "{isa}: kept at {cell:?}");
                for y in &of_both {
                    assert_eq!(at::<T>(y, m, cell), sum.max(0.0), "{isa}: relu of {sum} at {cell:?}");
                }
            }
        }
    }
}

#[test]
fn relu_in_registers_is_that_of_the_sums() {
    check_rectified::<f32>();
    check_rectified::<f64>();
}

fn check_nan_row<T: Element>() {
    let mut random = Random(4);
    for (m, n, k) in [(1, 1, 1), (2, 3, 5), (7, 17, 4), (9, 33, 40), (13, 70, 300)] {
        let bad = m / 2;
        let clean = Numbers::Reals.draw(&mut random, m * k);
        let w = Numbers::Reals.draw(&mut random, n * k);
        let b = Numbers::Reals.draw(&mut random, n);
        let mut poisoned = clean.clone();
        poisoned[bad * k + k / 2] = f64::NAN;
        for (isa, kernels) in available::<T>() {
            for activation in [
                Activation::Identity,
                Activation::Sigmoid,
                Activation::Tanh,
                Activation::Relu,
                Activation::LeakyRelu { slope: 0.01 },
                Activation::Softmax,
            ] {
                let weights = parameters::<T>(&w, &b);
                let [of_clean, of_poisoned] = [&clean, &poisoned].map(|x| {
                    let x = packed::<T>(x, k, f64::NAN);
                    let mut y = nan_lines::<T>(m * panels::<T>(n));
                    kernels.forward(
                        PanelsMut::new(&mut y, m, n),
                        Panels::new(&x, m, k),
                        &weights,
                        Activated::alone(activation),
                        Sweep::Backward,
                    );
                    y
                });
                for i in 0..m * n {
                    let cell = Cell::of(i, n);
                    let [clean, found] = [&of_clean, &of_poisoned].map(|y| at::<T>(y, m, cell));
                    assert!(!clean.is_nan(), "{isa}, {activation:?}: a NaN out of nothing at {cell:?}");
                    if i / n == bad {
                        assert!(found.is_nan(), "{isa}, {activation:?}: the NaN is lost at {cell:?}");
                    } else {
                        assert_eq!(clean.to_bits(), found.to_bits(), "{isa}, {activation:?}: {cell:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_nan_in_one_row_poisons_that_row_of_the_output_and_no_other() {
    check_nan_row::<f32>();
    check_nan_row::<f64>();
}

fn check_nan_gradient<T: Element>() {
    let mut random = Random(5);
    for (m, n, k) in [(1, 1, 1), (2, 3, 5), (7, 17, 4), (9, 33, 40), (13, 70, 300)] {
        let mut d_z = Numbers::Reals.draw(&mut random, m * k);
        d_z[m / 2 * k..][..k].fill(f64::NAN);
        let w = Numbers::Reals.draw(&mut random, k * n);
        for (isa, kernels) in available::<T>() {
            let (lines, weights) = (packed::<T>(&d_z, k, 0.0), transposed::<T>(&w, k));
            let mut d_x = nan_lines::<T>(m * panels::<T>(n));
            let to = PanelsMut::new(&mut d_x, m, n);
            kernels.backward_data(to, Panels::new(&lines, m, k), &weights, None, Sweep::Backward);
            assert_padding_is_zero::<T>(&d_x, m, n);
            for i in 0..m * n {
                let nan = at::<T>(&d_x, m, Cell::of(i, n)).is_nan();
                assert_eq!(nan, i / n == m / 2, "{isa}: row {} column {}", i / n, i % n);
            }
        }
    }
}

#[test]
fn padding_of_an_input_gradient_is_zero_even_beside_a_nan() {
    check_nan_gradient::<f32>();
    check_nan_gradient::<f64>();
}

/// Products of up to 37 rows, of which each is as it is alone; on AVX2 and AVX-512 with the same bits.
fn check_company<T: Element>() {
    let mut random = Random(6);
    let most = 37;
    for (n, k) in [(1, 40), (17, 17), (18, 35), (35, 64), (20, 300), (22, 257), (21, 129), (33, 8), (16, 70)]
    {
        let x = Numbers::Reals.draw(&mut random, most * k);
        let (w, b) = (Numbers::Reals.draw(&mut random, n * k), Numbers::Reals.draw(&mut random, n));
        let (weights, transposed) = (parameters::<T>(&w, &b), transposed::<T>(&of_columns(&w, n, k), k));
        let mut fused = Vec::new();
        for (isa, kernels) in available::<T>() {
            // Of some rows, forward and backward: the same product but for the biases.
            let product = |rows: core::ops::Range<usize>| -> Vec<u64> {
                let m = rows.len();
                let x = packed::<T>(&x[rows.start * k..rows.end * k], k, f64::NAN);
                let (mut y, mut d) = (nan_lines::<T>(m * panels::<T>(n)), nan_lines::<T>(m * panels::<T>(n)));
                let x = Panels::new(&x, m, k);
                let identity = Activated::alone(Activation::Identity);
                kernels.forward(PanelsMut::new(&mut y, m, n), x, &weights, identity, Sweep::Forward);
                kernels.backward_data(PanelsMut::new(&mut d, m, n), x, &transposed, None, Sweep::Forward);
                let cells = (0..m * n).flat_map(|i| [(&y, i), (&d, i)]);
                cells.map(|(c, i)| at::<T>(c, m, Cell::of(i, n)).to_bits()).collect()
            };
            let alone: Vec<u64> = (0..most).flat_map(|row| product(row..row + 1)).collect();
            for rows in 1..=most {
                assert_eq!(product(0..rows), alone[..2 * rows * n], "{isa}: {rows} rows of {k}-{n}");
            }
            if isa != Isa::Portable {
                fused.push(alone);
            }
        }
        assert!(fused.windows(2).all(|two| two[0] == two[1]), "{k}-{n}: AVX2 and AVX-512 differ");
    }
}

/// Gradients of up to 197 rows, in one call and in several that end after multiples of [`ACCUMULATOR_PERIOD`]
/// rows: the same bits, and on AVX2 and AVX-512 too.
fn check_gradient_in_parts<T: Element>() {
    let mut random = Random(7);
    for (n, k) in [(17, 17), (18, 34), (33, 2), (1, 33), (2, 65), (49, 81), (5, 50), (40, 21)] {
        let most = 197;
        let x = Numbers::Reals.draw(&mut random, most * k);
        let d_z = Numbers::Reals.draw(&mut random, most * n);
        for m in [20, 31, 32, 33, 50, 64, 95, most] {
            let mut fused = Vec::new();
            for (isa, kernels) in available::<T>() {
                // Several micro-batches, of which all but the last have `rows` rows.
                let gradient = |rows: usize| -> Vec<u64> {
                    let mut d_w = nan_lines::<T>((1 + k) * panels::<T>(n));
                    let mut beta = Beta::Zero;
                    for first in (0..m).step_by(rows) {
                        let rows = rows.min(m - first);
                        let part = |values: &[f64], cols| {
                            packed::<T>(&values[first * cols..][..rows * cols], cols, 0.0)
                        };
                        let (x, d_z) = (part(&x, k), part(&d_z, n));
                        let (x, d_z) = (Panels::new(&x, rows, k), Panels::new(&d_z, rows, n));
                        kernels.weight_gradient(
                            WeightGradient { d_w: &mut d_w, x, d_z, first_panel: 0, beta },
                            None,
                        );
                        beta = Beta::One;
                    }
                    let cells = (0..(1 + k) * n).map(|i| at::<T>(&d_w, 1 + k, Cell::of(i, n)).to_bits());
                    cells.collect()
                };
                let whole = gradient(m);
                for rows in [ACCUMULATOR_PERIOD, 2 * ACCUMULATOR_PERIOD, 5 * ACCUMULATOR_PERIOD] {
                    assert!(gradient(rows) == whole, "{isa}: {m} rows of {k}-{n}, {rows} at a time");
                }
                if isa != Isa::Portable {
                    fused.push(whole);
                }
            }
            assert!(
                fused.windows(2).all(|two| two[0] == two[1]),
                "{m} rows of {k}-{n}: instruction sets differ"
            );
        }
    }
}

#[test]
fn a_gradient_has_the_same_bits_in_one_micro_batch_and_in_several() {
    check_gradient_in_parts::<f32>();
    check_gradient_in_parts::<f64>();
}

/// `[cols, rows]` from `[rows, cols]`.
fn of_columns(a: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    (0..cols).flat_map(|c| (0..rows).map(move |r| a[r * cols + c])).collect()
}

#[test]
fn a_row_has_the_same_bits_in_any_company() {
    check_company::<f32>();
    check_company::<f64>();
}
