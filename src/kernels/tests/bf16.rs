//! The three products in bf16 against plain loops, on every instruction set: bit for bit against chains of
//! fused multiply-adds, and within their bounds against exact sums of the numbers before rounding.

use crate::kernels::gemm::bf16::products::{Dense, DenseBackward, Weights};
use crate::kernels::gemm::bf16::weight_gradient::{WeightGradient, WholeSums};
use crate::kernels::gemm::products::Sweep;
use crate::kernels::gemm::weight_gradient::FusedSgd;
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::bf16::{
    HalfPanels, PairPanels, Rounding, WeightRounding, transposed_weight_lines, weight_lines,
};
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::kernels::ops::activation::{Activation, Derivative};
#[cfg(unix)]
use crate::kernels::tests::guard_pages::{Fence, Side};
use crate::kernels::tests::products::{Cell, Random, at, nan_lines, packed, parameters};
use crate::simd::bf16::{
    Bf16, HalfLine, Pair, PairLine, PairProducts, PairVisitor, SMALLEST, pairs_of_halves,
};
use crate::simd::lanes::Lanes;
use crate::simd::scalar::{Line, Scalar, elements, elements_mut};
use crate::simd::tests::bf16::{PairCheck, on_every_products};

type Line32 = <f32 as Scalar>::Line;

/// `(rows, inputs, outputs)`: one and several panels, ragged ends of each, sums longer than a block of `k`,
/// more than a block of panels, one row and two.
const SHAPES: [[usize; 3]; 20] = [
    [1, 1, 1],
    [2, 3, 2],
    [5, 16, 16],
    [3, 17, 15],
    [1, 40, 130],
    [2, 40, 130],
    [1, 33, 50],
    [2, 31, 50],
    [4, 2, 33],
    [7, 15, 64],
    [8, 48, 49],
    [13, 31, 65],
    [15, 130, 31],
    [33, 17, 21],
    [6, 600, 40],
    [66, 620, 20],
    [64, 64, 64],
    [3, 20, 420],
    [1, 1100, 70],
    [19, 5, 100],
];

/// Matrices of a layer.
struct Case {
    rows: usize,
    inputs: usize,
    outputs: usize,
    /// `[rows, inputs]`.
    x: Vec<f64>,
    /// `[rows, outputs]`.
    d_z: Vec<f64>,
    /// `[outputs, inputs]`.
    weights: Vec<f64>,
    biases: Vec<f64>,
}

impl Case {
    fn new([rows, inputs, outputs]: [usize; 3], random: &mut Random) -> Self {
        let mut draw = |count: usize| -> Vec<f64> {
            let mut one = || {
                let x = (random.next() % (1 << 24)) as f64 / f64::from(1 << 23) - 1.0;
                // Now and then a number that becomes 0, or close to that.
                if random.next().is_multiple_of(16) { f64::from(SMALLEST) * 1.5 * x } else { x }
            };
            (0..count).map(|_| f64::from(one() as f32)).collect()
        };
        let (x, d_z) = (draw(rows * inputs), draw(rows * outputs));
        let (weights, mut biases) = (draw(outputs * inputs), draw(outputs));
        // Some have bits below the smallest normal number.
        biases.iter_mut().skip(1).step_by(3).for_each(|b| *b *= 2.0_f64.powi(-113));
        Self { rows, inputs, outputs, x, d_z, weights, biases }
    }

    fn x(&self, r: usize, i: usize) -> f32 {
        self.x[r * self.inputs + i] as f32
    }

    fn d_z(&self, r: usize, o: usize) -> f32 {
        self.d_z[r * self.outputs + o] as f32
    }

    fn w(&self, o: usize, i: usize) -> f32 {
        self.weights[o * self.inputs + i] as f32
    }

    /// What the sums of an output start from.
    fn start(&self, o: usize) -> f32 {
        let smallest = f64::from(f32::MIN_POSITIVE);
        ((self.biases[o] / smallest).round_ties_even() * smallest) as f32
    }

    fn parameters(&self) -> Vec<Line32> {
        parameters::<f32>(&self.weights, &self.biases)
    }
}

/// All operands of a layer in bf16.
struct Operands {
    x: Vec<HalfLine>,
    x_pairs: Vec<PairLine>,
    d_z: Vec<HalfLine>,
    d_z_pairs: Vec<PairLine>,
    weights: Vec<PairLine>,
    transposed: Vec<PairLine>,
}

/// What is no number, so that nothing passes which was not written.
fn garbage<V: Copy>(count: usize, value: V) -> Vec<V> {
    vec![value; count]
}

fn nan_halves(count: usize) -> Vec<HalfLine> {
    garbage(count, HalfLine::new([nan_pair(); Pair::PER_HALF]))
}

fn nan_pairs(count: usize) -> Vec<PairLine> {
    garbage(count, PairLine::new([nan_pair(); Pair::PER_LINE]))
}

fn nan_pair() -> Pair {
    Pair::new(Bf16::round(f32::NAN), Bf16::round(f32::NAN))
}

impl Operands {
    fn of<P: PairProducts<Lanes: Lanes<Element = f32>>>(p: P, case: &Case) -> Self {
        let Case { rows, inputs, outputs, .. } = *case;
        let (pi, po) = (panels::<f32>(inputs), panels::<f32>(outputs));
        let mut of = Self {
            x: nan_halves(rows * pi),
            x_pairs: nan_pairs(rows.div_ceil(2) * pi),
            d_z: nan_halves(rows * po),
            d_z_pairs: nan_pairs(rows.div_ceil(2) * po),
            weights: nan_pairs(weight_lines(inputs) * po),
            transposed: nan_pairs(transposed_weight_lines(inputs) * po),
        };
        let (x, d_z) =
            (packed::<f32>(&case.x, inputs, f64::NAN), packed::<f32>(&case.d_z, outputs, f64::NAN));
        let from = Panels::new(&x, rows, inputs);
        Rounding { from, halves: &mut of.x, pairs: &mut of.x_pairs }.visit(p);
        let from = Panels::new(&d_z, rows, outputs);
        Rounding { from, halves: &mut of.d_z, pairs: &mut [] }.visit(p);
        Rounding { from, halves: &mut [], pairs: &mut of.d_z_pairs }.visit(p);
        let (weights, transposed) = (&mut of.weights[..], &mut of.transposed[..]);
        WeightRounding { parameters: &case.parameters(), inputs, weights, transposed }.visit(p);
        of
    }
}

/// A chain of products in pairs, each as two fused multiply-adds, the odd one first.
fn chain(start: f32, terms: &[(f32, f32)]) -> f32 {
    let rounded = |&(a, b): &(f32, f32)| (Bf16::round(a).to_f32(), Bf16::round(b).to_f32());
    terms.chunks(2).fold(start, |sum, pair| {
        let (a, b) = pair.get(1).map_or((0.0, 0.0), rounded);
        let sum = a.mul_add(b, sum);
        let (a, b) = rounded(&pair[0]);
        a.mul_add(b, sum)
    })
}

/// Checks an element: the bits of the chain, within the bound of the sum of what was not rounded. The largest
/// error so far, in parts of the bound.
#[track_caller]
fn check(found: f64, start: f32, terms: &[(f32, f32)], what: &str) -> f64 {
    let expected = chain(start, terms);
    assert_eq!((found as f32).to_bits(), expected.to_bits(), "{what}: {found:e}, not {expected:e}");
    let products = || terms.iter().map(|&(a, b)| f64::from(a) * f64::from(b));
    let exact = f64::from(start) + products().sum::<f64>();
    let u = 2.0_f64.powi(-8);
    let n = (terms.len() + 2) as f64 * 2.0_f64.powi(-24);
    let gamma = n / (1.0 - n);
    let magnitude = f64::from(start.abs()) + products().map(f64::abs).sum::<f64>();
    // A number below the smallest is lost, with all that it is multiplied by.
    let lost: f64 = terms.iter().map(|(a, b)| f64::from(SMALLEST) * f64::from(a.abs() + b.abs())).sum();
    let bound = ((1.0 + u).powi(2) * (1.0 + gamma) - 1.0) * magnitude + 2.0 * lost;
    let error = (found - exact).abs();
    assert!(error <= bound, "{what}: {found:e} against {exact:e}: {error:e} > {bound:e}");
    if bound > 0.0 { error / bound } else { 0.0 }
}

#[derive(Default)]
struct Products {
    compared: usize,
    worst: f64,
}

impl Products {
    fn forward<P: PairProducts<Lanes: Lanes<Element = f32>>>(
        &mut self,
        p: P,
        case: &Case,
        operands: &Operands,
        sweep: Sweep,
        name: &str,
    ) {
        let &Case { rows, inputs, outputs, .. } = case;
        let lines = case.parameters();
        for activation in [Activation::Identity, Activation::Relu] {
            let mut y = nan_lines::<f32>(rows * panels::<f32>(outputs));
            let to = PanelsMut::new(&mut y, rows, outputs);
            let weights = Weights { weights: &operands.weights, parameters: &lines };
            let x = HalfPanels::new(&operands.x, rows, inputs);
            Dense { y: to, pre_activation: &mut [], x, weights, activation, sweep }.visit(p);
            for cell in 0..rows * outputs {
                let (r, o) = (cell / outputs, cell % outputs);
                let found = at::<f32>(&y, rows, Cell::of(cell, outputs));
                let terms: Vec<_> = (0..inputs).map(|i| (case.x(r, i), case.w(o, i))).collect();
                let start = case.start(o);
                if activation == Activation::Relu {
                    assert_eq!(found as f32, chain(start, &terms).max(0.0), "{name}");
                } else {
                    let what = format!("{name}, {rows} x {inputs} x {outputs}, output {o} of row {r}");
                    self.worst = self.worst.max(check(found, start, &terms, &what));
                }
            }
            self.compared += rows * outputs;
        }
        // Nothing but what sums start from.
        let (zeros, mut y) =
            (vec![HalfLine::ZERO; operands.x.len()], nan_lines::<f32>(rows * panels::<f32>(outputs)));
        let to = PanelsMut::new(&mut y, rows, outputs);
        let weights = Weights { weights: &operands.weights, parameters: &lines };
        let (x, activation) = (HalfPanels::new(&zeros, rows, inputs), Activation::Identity);
        Dense { y: to, pre_activation: &mut [], x, weights, activation, sweep }.visit(p);
        for cell in 0..rows * outputs {
            let found = at::<f32>(&y, rows, Cell::of(cell, outputs));
            assert_eq!(found as f32, case.start(cell % outputs), "{name}");
        }
    }

    fn backward<P: PairProducts<Lanes: Lanes<Element = f32>>>(
        &mut self,
        p: P,
        case: &Case,
        operands: &Operands,
        sweep: Sweep,
        name: &str,
    ) {
        let &Case { rows, inputs, outputs, .. } = case;
        let y = packed::<f32>(&case.x, inputs, f64::NAN);
        let from = Panels::new(&y, rows, inputs);
        for below in [None, Some(Activation::Relu), Some(Activation::Tanh)] {
            let mut d_x = nan_lines::<f32>(rows * panels::<f32>(inputs));
            let below = below.map(|activation| Derivative { from, activation });
            let d_z = HalfPanels::new(&operands.d_z, rows, outputs);
            let to = PanelsMut::new(&mut d_x, rows, inputs);
            DenseBackward { d_x: to, d_z, transposed: &operands.transposed, below, sweep }.visit(p);
            for cell in 0..rows * inputs {
                let (r, i) = (cell / inputs, cell % inputs);
                let found = at::<f32>(&d_x, rows, Cell::of(cell, inputs));
                let terms: Vec<_> = (0..outputs).map(|o| (case.d_z(r, o), case.w(o, i))).collect();
                let what = format!("{name}, {rows} x {inputs} x {outputs}, input {i} of row {r}");
                match below {
                    None => self.worst = self.worst.max(check(found, 0.0, &terms, &what)),
                    Some(Derivative { activation: Activation::Relu, .. }) => {
                        let expected = if case.x(r, i) > 0.0 { chain(0.0, &terms) } else { 0.0 };
                        assert_eq!(found as f32, expected, "{what}");
                    }
                    Some(_) => {
                        let y = case.x[r * inputs + i];
                        let sum = f64::from(chain(0.0, &terms));
                        let error = (found - sum * (1.0 - y * y)).abs();
                        assert!(error <= 1e-6 * sum.abs() + 1e-30, "{what}: {error}");
                    }
                }
            }
            for (p, lines) in d_x.chunks_exact(rows).enumerate() {
                let width = (inputs - p * f32::LANES).min(f32::LANES);
                assert!(
                    lines.iter().all(|line| line.as_slice()[width..].iter().all(|&x| x == 0.0)),
                    "{name}"
                );
            }
            self.compared += rows * inputs;
        }
    }

    fn gradient<P: PairProducts<Lanes: Lanes<Element = f32>>>(
        &mut self,
        p: P,
        case: &Case,
        operands: &Operands,
        beta: Beta,
        name: &str,
    ) {
        let &Case { rows, inputs, outputs, .. } = case;
        let stride = 1 + inputs;
        // All panels, and those from the second on.
        for first in 0..panels::<f32>(outputs).min(2) {
            let mut start = case.parameters()[first * stride..].to_vec();
            WholeSums(&mut start).visit(p);
            let mut d_w = match beta {
                Beta::Zero => nan_lines::<f32>(start.len()),
                Beta::One => start.clone(),
            };
            let x = PairPanels::new(&operands.x_pairs, rows, inputs);
            let d_z = PairPanels::new(&operands.d_z_pairs, rows, outputs);
            let whole = outputs.is_multiple_of(f32::LANES);
            let mut parameters = case.parameters()[first * stride..].to_vec();
            let fused_sgd = whole.then_some(FusedSgd { parameters: &mut parameters, rate: 0.5 });
            WeightGradient { d_w: &mut d_w, x, d_z, first_panel: first, beta, fused_sgd }.visit(p);
            for o in first * f32::LANES..outputs {
                for i in 0..stride {
                    let line = (o / f32::LANES - first) * stride + i;
                    let lane = |lines: &[Line32]| lines[line].as_slice()[o % f32::LANES];
                    let x = |r: usize| if i == 0 { 1.0 } else { case.x(r, i - 1) };
                    let terms: Vec<_> = (0..rows).map(|r| (x(r), case.d_z(r, o))).collect();
                    let from = if beta == Beta::One { lane(&start) } else { 0.0 };
                    let what = format!("{name}, {rows} x {inputs} x {outputs}, line {i} of output {o}");
                    let found = lane(&d_w);
                    self.worst = self.worst.max(check(found.into(), from, &terms, &what));
                    if whole {
                        let before = case.parameters()[first * stride + line].as_slice()[o % f32::LANES];
                        let error = (lane(&parameters) - (before - 0.5 * found)).abs();
                        assert!(error <= 1e-6 * (before.abs() + found.abs()), "{what}: {error}");
                    }
                }
                self.compared += stride;
            }
            let used = (outputs - 1) % f32::LANES + 1;
            let last = &d_w[d_w.len() - stride..];
            assert!(last.iter().all(|line| line.as_slice()[used..].iter().all(|&g| g == 0.0)), "{name}");
        }
    }
}

impl PairCheck for Products {
    fn run<P: PairProducts<Lanes: Lanes<Element = f32>>>(&mut self, p: P, name: &str) {
        let mut random = Random(7);
        for shape in SHAPES {
            let case = Case::new(shape, &mut random);
            let operands = Operands::of(p, &case);
            for sweep in [Sweep::Forward, Sweep::Backward] {
                self.forward(p, &case, &operands, sweep, name);
                self.backward(p, &case, &operands, sweep, name);
            }
            for beta in [Beta::Zero, Beta::One] {
                self.gradient(p, &case, &operands, beta, name);
            }
        }
    }
}

#[test]
fn products_in_bf16_are_chains_of_pairs_and_within_their_bounds() {
    let mut products = Products::default();
    on_every_products(&mut products);
    let Products { compared, worst } = products;
    println!("RESULT products_in_bf16 compared={compared} worst={worst:.3}");
    assert!(compared > 0 && worst > 0.01 && worst < 1.0);
}

/// Activations and pre-activations of a whole layer.
#[derive(Default)]
struct Activated(usize);

impl PairCheck for Activated {
    fn run<P: PairProducts<Lanes: Lanes<Element = f32>>>(&mut self, p: P, name: &str) {
        let (mut random, rows, inputs, outputs) = (Random(9), 5, 20, 37);
        let case = Case::new([rows, inputs, outputs], &mut random);
        let (operands, lines) = (Operands::of(p, &case), case.parameters());
        for activation in [Activation::Gelu, Activation::Softmax, Activation::Relu] {
            let mut y = nan_lines::<f32>(rows * panels::<f32>(outputs));
            let mut sums = y.clone();
            let weights = Weights { weights: &operands.weights, parameters: &lines };
            let (to, x) = (PanelsMut::new(&mut y, rows, outputs), HalfPanels::new(&operands.x, rows, inputs));
            let sweep = Sweep::Forward;
            Dense { y: to, pre_activation: &mut sums, x, weights, activation, sweep }.visit(p);
            for r in 0..rows {
                let row = |lines: &[Line32]| -> Vec<f32> {
                    (0..outputs)
                        .map(|o| at::<f32>(lines, rows, Cell::of(r * outputs + o, outputs)) as f32)
                        .collect()
                };
                let z = row(&sums);
                for (o, &z) in z.iter().enumerate() {
                    let terms: Vec<_> = (0..inputs).map(|i| (case.x(r, i), case.w(o, i))).collect();
                    assert_eq!(z, chain(case.start(o), &terms), "{name}");
                }
                let z: Vec<f64> = z.into_iter().map(f64::from).collect();
                let expected = crate::reference::activate(activation, &z);
                for (found, expected) in row(&y).into_iter().zip(expected) {
                    assert!((f64::from(found) - expected).abs() < 1e-6, "{name}, {activation:?}");
                    self.0 += 1;
                }
            }
        }
    }
}

#[test]
fn sums_in_bf16_go_through_activations() {
    let mut activated = Activated(0);
    on_every_products(&mut activated);
    assert!(activated.0 > 0);
}

/// What is not finite stays so, in its row alone, and padding never gets in.
struct NotFinite(usize);

impl PairCheck for NotFinite {
    fn run<P: PairProducts<Lanes: Lanes<Element = f32>>>(&mut self, p: P, name: &str) {
        let (rows, inputs, outputs) = (5, 3, 2);
        let mut case = Case::new([rows, inputs, outputs], &mut Random(5));
        (case.x[4], case.x[6]) = (f64::NAN, f64::INFINITY);
        let (operands, lines) = (Operands::of(p, &case), case.parameters());
        let mut y = nan_lines::<f32>(rows);
        let weights = Weights { weights: &operands.weights, parameters: &lines };
        let (to, x) = (PanelsMut::new(&mut y, rows, outputs), HalfPanels::new(&operands.x, rows, inputs));
        let (activation, sweep) = (Activation::Identity, Sweep::Forward);
        Dense { y: to, pre_activation: &mut [], x, weights, activation, sweep }.visit(p);
        for (cell, row) in (0..rows * outputs).map(|cell| (cell, cell / outputs)) {
            let found = at::<f32>(&y, rows, Cell::of(cell, outputs));
            assert_eq!(found.is_finite(), row != 1 && row != 2, "{name}: {found} in row {row}");
            assert_eq!(found.is_nan(), row == 1, "{name}: {found} in row {row}");
            self.0 += 1;
        }
        // Of five rows the sixth, which is none, is 0.
        let last = pairs_of_halves(&operands.x).len();
        assert_eq!(last, rows * Pair::PER_HALF);
    }
}

#[test]
fn what_is_not_finite_stays_in_its_row() {
    let mut check = NotFinite(0);
    on_every_products(&mut check);
    assert!(check.0 > 0);
}

/// Every kernel with every buffer between pages that cannot be touched.
#[cfg(unix)]
struct Guarded {
    fences: [Fence; 5],
    cases: usize,
}

#[cfg(unix)]
impl PairCheck for Guarded {
    fn run<P: PairProducts<Lanes: Lanes<Element = f32>>>(&mut self, p: P, _: &str) {
        const SIZES: [usize; 9] = [1, 2, 7, 15, 16, 17, 33, 49, 65];
        for side in [Side::Start, Side::End] {
            for rows in [1, 2, 3, 5, 8, 13, 16, 33] {
                for (inputs, outputs) in SIZES.into_iter().flat_map(|i| SIZES.map(|o| (i, o))) {
                    self.roundings(p, side, [rows, inputs, outputs]);
                    self.products(p, side, [rows, inputs, outputs]);
                    self.cases += 1;
                }
            }
        }
    }
}

#[cfg(unix)]
impl Guarded {
    fn roundings<P: PairProducts<Lanes: Lanes<Element = f32>>>(
        &mut self,
        p: P,
        side: Side,
        shape: [usize; 3],
    ) {
        let [rows, inputs, outputs] = shape;
        let [a, b, c, ..] = &mut self.fences;
        let pi = panels::<f32>(inputs);
        let from = Panels::new(a.lines::<f32>(rows * pi, side), rows, inputs);
        let halves = b.slice(rows * pi, side, HalfLine::ZERO);
        let pairs = c.slice(rows.div_ceil(2) * pi, side, PairLine::ZERO);
        Rounding { from, halves, pairs }.visit(p);
        let parameters = a.lines::<f32>((1 + inputs) * panels::<f32>(outputs), side);
        let weights = b.slice(weight_lines(inputs) * panels::<f32>(outputs), side, PairLine::ZERO);
        let transposed = transposed_weight_lines(inputs) * panels::<f32>(outputs);
        let transposed = c.slice(transposed, side, PairLine::ZERO);
        WeightRounding { parameters, inputs, weights, transposed }.visit(p);
        WholeSums(parameters).visit(p);
    }

    fn products<P: PairProducts<Lanes: Lanes<Element = f32>>>(
        &mut self,
        p: P,
        side: Side,
        shape: [usize; 3],
    ) {
        let [rows, inputs, outputs] = shape;
        let [a, b, c, d, e] = &mut self.fences;
        let (pi, po) = (panels::<f32>(inputs), panels::<f32>(outputs));
        let (activation, sweep) = (Activation::Identity, Sweep::Forward);
        let lines = a.lines::<f32>((1 + inputs) * po, side);
        let x = HalfPanels::new(b.slice(rows * pi, side, HalfLine::ZERO), rows, inputs);
        let weights = c.slice(weight_lines(inputs) * po, side, PairLine::ZERO);
        let y = PanelsMut::new(d.lines::<f32>(rows * po, side), rows, outputs);
        let pre_activation = e.lines::<f32>(rows * po, side);
        let weights = Weights { weights, parameters: lines };
        Dense { y, pre_activation, x, weights, activation, sweep }.visit(p);
        let d_z = HalfPanels::new(b.slice(rows * po, side, HalfLine::ZERO), rows, outputs);
        let transposed = c.slice(transposed_weight_lines(inputs) * po, side, PairLine::ZERO);
        let d_x = PanelsMut::new(d.lines::<f32>(rows * pi, side), rows, inputs);
        DenseBackward { d_x, d_z, transposed, below: None, sweep }.visit(p);
        let x = PairPanels::new(b.slice(rows.div_ceil(2) * pi, side, PairLine::ZERO), rows, inputs);
        let d_z = PairPanels::new(c.slice(rows.div_ceil(2) * po, side, PairLine::ZERO), rows, outputs);
        let (beta, fused_sgd) = (Beta::One, None);
        WeightGradient { d_w: lines, x, d_z, first_panel: 0, beta, fused_sgd }.visit(p);
        assert!(elements::<f32>(lines).iter().all(|g| g.is_finite()));
        elements_mut::<f32>(lines).fill(0.0);
    }
}

#[cfg(unix)]
#[test]
fn no_kernel_of_bf16_touches_memory_past_its_buffers() {
    let mut guarded = Guarded { fences: core::array::from_fn(|_| Fence::new(1 << 16)), cases: 0 };
    on_every_products(&mut guarded);
    println!("RESULT guard_pages_of_bf16 cases={}", guarded.cases);
    assert!(guarded.cases > 0);
}
