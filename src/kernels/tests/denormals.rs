//! What an optimizer keeps, and what products read of inputs and gradients, is 0 or a number of full
//! precision, however small it becomes: sums that fade away (`m = 0.9 m` when no gradient comes) would else
//! stay denormal for good, and slow every later step.

use super::Kernels;
use crate::kernels::gemm::packed4::{self, Packed4};
use crate::kernels::gemm::products::Sweep;
use crate::kernels::gemm::weight_gradient::{FusedSgd, WeightGradient};
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::kernels::ops::activation::{Activation, Derivative};
use crate::kernels::ops::loss;
use crate::kernels::ops::loss::{ClassWeights, Loss, Objective, RowLosses};
use crate::kernels::ops::optimizer::{Adam, AdamW, MAX_MOMENTS, Optimizer, RmsProp, Sgd, Update};
use crate::kernels::ops::targets::Targets;
use crate::kernels::tests::products::{Cell, Random, at, nan_lines, packed, transposed};
use crate::kernels::tests::{Check, available, on_every_isa};
use crate::simd::isa::Isa;
use crate::simd::lanes::{GROUP, Lanes};
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements, elements_mut};
use crate::simd::tests::lanes::Scalar;

const STEPS: u64 = 100_000;

/// Every rule that keeps moments, and some with small betas, by which squares fade in `f64` too.
fn optimizers() -> impl Iterator<Item = Optimizer> {
    let fading = [
        Sgd::new(0.1).momentum(0.99).dampening(0.5).into(),
        Sgd::new(0.1).momentum(0.5).nesterov(true).into(),
        Adam::new(0.1).betas(0.99, 0.9).amsgrad(true).into(),
        AdamW::new(0.1).betas(0.5, 0.5).into(),
        RmsProp::new(0.1).alpha(0.9).momentum(0.9).centered(true).into(),
    ];
    Optimizer::every().into_iter().chain(fading).filter(|optimizer| optimizer.moments().count() > 0)
}

/// The gradient of one lane at one step: ways to become small, in parts of the smallest normal number.
fn gradient<T: Element>(lane: usize, step: u64, random: u64) -> f64 {
    let smallest = T::MIN_NORMAL.to_f64();
    let sign = if random & 1 == 0 { 1.0 } else { -1.0 };
    match lane % 8 {
        // Ends.
        0 => f64::from(u8::from(step < 100)),
        // Fades, and becomes 0.
        1 => 0.99_f64.powi(step as i32),
        // Is denormal itself.
        2 => smallest / 100.0,
        // Has a denormal square.
        3 => smallest.sqrt() / 10.0,
        // Is of any size.
        4 => sign * smallest.powf((random >> 11) as f64 / (1_u64 << 53) as f64),
        // Differences are denormal.
        5 => smallest * (1.5 + 0.5 * sign),
        // Comes back when all has faded.
        6 => f64::from(u8::from(step % 20_000 == 1)),
        // Cancels what is there.
        _ => sign * smallest * 3.0,
    }
}

/// What a run has seen.
#[derive(Default)]
struct Seen {
    /// Sums that became 0 from something else.
    faded: usize,
    /// The smallest magnitude that was kept, in parts of the smallest normal number.
    smallest: f64,
}

/// Everything that one step leaves to the next.
fn kept<T: Element>(moments: &[Vec<T::Line>; MAX_MOMENTS], parameters: &[T::Line]) -> Vec<T> {
    let moments = moments.iter().flat_map(|lines| elements::<T>(lines));
    moments.chain(elements::<T>(parameters)).copied().collect()
}

/// All steps of one optimizer over a line of parameters.
fn run<T: Element>(kernels: &dyn Kernels<T>, optimizer: Optimizer, what: &str) -> Seen {
    let count = optimizer.moments().count();
    let mut moments: [Vec<T::Line>; MAX_MOMENTS] =
        core::array::from_fn(|m| vec![T::Line::ZERO; usize::from(m < count)]);
    let (mut parameters, mut gradients) = ([T::Line::ZERO], [T::Line::ZERO]);
    let mut seen = Seen { faded: 0, smallest: f64::INFINITY };
    let mut random = 1_u64;
    for step in 1..=STEPS {
        for (lane, g) in elements_mut::<T>(&mut gradients).iter_mut().enumerate() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // High bits, for the low ones of such a generator repeat soon.
            *g = T::from_f64(gradient::<T>(lane, step, random.rotate_left(1)));
        }
        let before = kept::<T>(&moments, &parameters);
        let update = Update { optimizer, step, scale: 1.0, limit: f64::INFINITY };
        kernels.update(&mut parameters, &gradients, moments.each_mut().map(Vec::as_mut_slice), &update);
        for (before, after) in before.into_iter().zip(kept::<T>(&moments, &parameters)) {
            let parts = after.to_f64().abs() / T::MIN_NORMAL.to_f64();
            assert!(parts == 0.0 || parts >= 1.0, "{what}, step {step}: {after} is denormal");
            seen.faded += usize::from(before != T::ZERO && after == T::ZERO);
            if parts > 0.0 {
                seen.smallest = seen.smallest.min(parts);
            }
        }
    }
    assert!(elements::<T>(&parameters).iter().any(|&w| w != T::ZERO), "{what}: nothing was learnt");
    seen
}

fn check<T: Element>() -> usize {
    let mut faded = 0;
    for (isa, kernels) in available::<T>() {
        for optimizer in optimizers() {
            let what = format!("{optimizer:?} on {isa}");
            let seen = run::<T>(kernels, optimizer, &what);
            // The sums have been down to the smallest numbers: there was something to keep out. Adagrad's
            // only grow.
            let grows = matches!(optimizer, Optimizer::Adagrad(_));
            assert!(grows || seen.smallest < 2.0, "{what}: never smaller than {:e}", seen.smallest);
            assert!(grows || seen.faded > 0, "{what}: no sum has faded");
            faded += seen.faded;
        }
    }
    faded
}

#[test]
fn what_an_optimizer_keeps_is_never_denormal() {
    let faded = check::<f32>() + check::<f64>();
    println!(
        "RESULT optimizer_state steps={STEPS} optimizers={} denormal=0 faded={faded}",
        optimizers().count()
    );
}

/// A step from one and a half to half of the smallest normal number, while the gradient is in registers.
fn descend<T: Element>() {
    for (isa, kernels) in available::<T>() {
        let line = |x: f64| {
            let mut line = T::Line::ZERO;
            line.as_mut_slice().fill(T::from_f64(x));
            line
        };
        let smallest = T::MIN_NORMAL.to_f64();
        let (x, d_z) = ([line(1.0)], [line(smallest)]);
        let (mut d_w, mut parameters) = ([T::Line::ZERO; 2], [line(1.5 * smallest); 2]);
        let fused_sgd = FusedSgd { parameters: &mut parameters, rate: T::from_f64(1.0) };
        let (x, d_z) = (Panels::new(&x, 1, 1), Panels::new(&d_z, 1, T::LANES));
        kernels.weight_gradient(
            WeightGradient { d_w: &mut d_w, x, d_z, first_panel: 0, beta: Beta::Zero },
            Some(fused_sgd),
        );
        assert!(elements::<T>(&d_w).iter().all(|g| g.to_f64() == smallest), "{isa}");
        assert!(elements::<T>(&parameters).iter().all(|&w| w == T::ZERO), "{isa}: {parameters:?}");
    }
}

#[test]
fn what_a_descent_leaves_is_never_denormal() {
    descend::<f32>();
    descend::<f64>();
}

/// Inputs are packed as they are, but for those that are denormal: into panels, and into groups.
#[derive(Default)]
struct Packing(usize);

impl<T: Scalar> Check<T> for Packing {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        for (rows, cols) in (1..=2 * T::LANES + 1).flat_map(|cols| [(1, cols), (5, cols)]) {
            let x: Vec<T> = (0..rows * cols).map(|i| T::SPECIAL[i % 12]).collect();
            let mut lines = nan_lines::<T>(rows * panels::<T>(cols));
            l.pack(PanelsMut::new(&mut lines, rows, cols), &x);
            let mut found = vec![T::ZERO; rows * cols];
            l.unpack(&mut found, Panels::new(&lines, rows, cols));
            self.compare(isa, &x, &found);
            if cols <= GROUP {
                let mut lines = nan_lines::<T>(packed4::lines::<T>(rows));
                l.vectorize(|| packed4::pack(l, &mut lines, &x, rows, cols));
                l.vectorize(|| packed4::unpack(l, &mut found, Packed4 { lines: &lines, rows, cols }));
                self.compare(isa, &x, &found);
            }
        }
    }
}

impl Packing {
    fn compare<T: Scalar>(&mut self, isa: Isa, x: &[T], found: &[T]) {
        for (x, found) in x.iter().zip(found) {
            assert_eq!(found.bits(), x.flushed().bits(), "{x} is packed as {found} on {isa}");
        }
        self.0 += x.len();
    }
}

#[test]
fn denormal_inputs_are_packed_as_zeros() {
    on_every_isa!(f32, Packing::default() => single);
    on_every_isa!(f64, Packing::default() => double);
    println!("RESULT packed_denormals elements={}", single.0 + double.0);
}

/// Of a number that was computed: not denormal. Whether it is 0.
#[track_caller]
fn is_flushed<T: Element>(found: f64, what: &str) -> bool {
    assert!(found == 0.0 || found.abs() >= T::MIN_NORMAL.to_f64(), "{what}: {found:e} is denormal");
    found == 0.0
}

/// Gradients that go through a layer and become denormal in a part of their elements: in one panel and in
/// several, whole tiles and their edges, by a derivative in registers and by one in a pass of its own. How
/// many became 0.
fn check_gradients<T: Element>() -> usize {
    let smallest = T::MIN_NORMAL.to_f64();
    let mut random = Random(1);
    let mut flushed = 0;
    for (m, n, k) in [(1, 3, 2), (5, 4, 3), (1, 40, 20), (13, 70, 40), (25, 150, 10)] {
        // Products of 0.25 to 64 smallest numbers, of either sign.
        let mut draw = |count: usize, size: f64| -> Vec<f64> {
            let mut one = || {
                (0.5 + (random.next() % 1000) as f64 / 133.0)
                    * if random.next().is_multiple_of(2) { size } else { -size }
            };
            (0..count).map(|_| one()).collect()
        };
        let d_z = packed::<T>(&draw(m * k, smallest * 2.0), k, 0.0);
        let w = transposed::<T>(&draw(k * n, 0.25 / k as f64), k);
        let half = packed::<T>(&vec![0.5; m * n], n, 0.0);
        for (isa, kernels) in available::<T>() {
            let run = |below| {
                let mut d_x = nan_lines::<T>(m * panels::<T>(n));
                let to = PanelsMut::new(&mut d_x, m, n);
                kernels.backward_data(to, Panels::new(&d_z, m, k), &w, below, Sweep::Forward);
                d_x
            };
            let plain = run(None);
            for (activation, slope) in [(Activation::Relu, 1.0), (Activation::Tanh, 0.75)] {
                let found = run(Some(Derivative { from: Panels::new(&half, m, n), activation }));
                for cell in (0..m * n).map(|i| Cell::of(i, n)) {
                    let product = T::from_f64(at::<T>(&plain, m, cell) * slope).to_f64();
                    let expected = if product.abs() < smallest { 0.0 } else { product };
                    let found = at::<T>(&found, m, cell);
                    let what = format!("{activation:?}, {m} x {n} x {k} at {cell:?} on {isa}");
                    assert_eq!(found.to_bits(), expected.to_bits(), "{what}: {found:e}, not {expected:e}");
                    flushed += usize::from(is_flushed::<T>(found, &what) && product != 0.0);
                }
            }
        }
    }
    flushed
}

/// Gradients of losses that become denormal, by their scale or by themselves. How many became 0.
#[derive(Default)]
struct Losses(usize);

impl<T: Scalar> Check<T> for Losses {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        let (rows, smallest) = (6, T::MIN_NORMAL.to_f64());
        for (loss, cols) in Loss::BY_ELEMENT
            .into_iter()
            .chain(Loss::BY_ROW)
            .flat_map(|loss| [(loss, 3), (loss, T::LANES + 3)])
        {
            // Logits far apart: softmax and sigmoid are denormal in between.
            let y: Vec<f64> = (0..rows * cols)
                .map(|i| -1.5 * smallest.ln() * (i % 7) as f64 / 7.0 + smallest.ln())
                .collect();
            let t: Vec<T> =
                (0..rows * cols).map(|i| T::from_f64(if i % 5 == 0 { 1.0 } else { 0.0 })).collect();
            let classes: Vec<u32> = (0..rows as u32).map(|r| r % cols as u32).collect();
            let lines = packed::<T>(&y, cols, 0.0);
            for (scale, smoothing) in [(1.0, 0.0), (smallest, 0.0), (smallest, 0.1)] {
                let of_rows = loss == Loss::SoftmaxCrossEntropy;
                let told =
                    ClassWeights::new(loss, cols, None, if of_rows { smoothing } else { 0.0 }).unwrap();
                for targets in [Some(Targets::from(&t[..])), of_rows.then_some(Targets::from(&classes[..]))]
                    .into_iter()
                    .flatten()
                {
                    let objective = Objective { loss, scale, targets };
                    let mut d = nan_lines::<T>(lines.len());
                    let to = PanelsMut::new(&mut d, rows, cols);
                    let to = RowLosses { d_y: to, losses: &mut [0.0; 6] };
                    l.loss(to, Panels::new(&lines, rows, cols), &objective, &told);
                    for cell in (0..rows * cols).map(|i| Cell::of(i, cols)) {
                        let what = format!("{loss:?} times {scale:e} at {cell:?} on {isa}");
                        self.0 += usize::from(is_flushed::<T>(at::<T>(&d, rows, cell), &what));
                    }
                    if cols <= GROUP && loss.is_by_element() {
                        self.in_groups(l, &y, &objective, rows, cols);
                    }
                }
            }
        }
    }
}

impl Losses {
    fn in_groups<L: Lanes>(
        &mut self,
        l: L,
        y: &[f64],
        objective: &Objective<'_, L::Element>,
        rows: usize,
        cols: usize,
    ) {
        let y: Vec<L::Element> = y.iter().map(|&y| L::Element::from_f64(y)).collect();
        let mut lines = nan_lines::<L::Element>(packed4::lines::<L::Element>(rows));
        let (mut d, mut found) = (lines.clone(), y.clone());
        l.vectorize(|| packed4::pack(l, &mut lines, &y, rows, cols));
        l.vectorize(|| loss::evaluate_packed4(l, &mut d, &lines, objective, rows, cols));
        l.vectorize(|| packed4::unpack(l, &mut found, Packed4 { lines: &d, rows, cols }));
        for d in found {
            self.0 +=
                usize::from(is_flushed::<L::Element>(d.to_f64(), &format!("{:?} in groups", objective.loss)));
        }
    }
}

#[test]
fn gradients_that_products_read_are_never_denormal() {
    let gradients = check_gradients::<f32>() + check_gradients::<f64>();
    on_every_isa!(f32, Losses::default() => single);
    on_every_isa!(f64, Losses::default() => double);
    let losses = single.0 + double.0;
    assert!(gradients > 1000 && losses > 1000, "{gradients} and {losses} became 0");
    println!("RESULT denormal_gradients layers={gradients} losses={losses}");
}
