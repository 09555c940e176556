//! Tests of elementary functions against exact values, in units in the last place (ULP).
//!
//! For `f32` the `f64` functions of the standard library serve as exact values. For `f64` exact values come
//! from double-double arithmetic (Dekker 1971), with relative errors below 2^-90.

use crate::simd::isa::Isa;
use crate::simd::lanes::Lanes;
use crate::simd::math;
use crate::simd::scalar::{Element, Line, Scalar, elements, elements_mut};
use crate::simd::tests::{Check, available, on_every_isa};

#[derive(Clone, Copy, Debug)]
enum Function {
    Exp,
    Sigmoid,
    Tanh,
    /// `e^x - 1` of `min(x, 0)`.
    ExpM1,
    Softplus,
    Gelu,
}
use Function::{Exp, ExpM1, Gelu, Sigmoid, Softplus, Tanh};

/// Functions that are also computed in double-double arithmetic.
const IN_DOUBLE_DOUBLE: &[Function] = &[Exp, Sigmoid, Tanh];
const FUNCTIONS: &[Function] = &[Exp, Sigmoid, Tanh, ExpM1, Softplus, Gelu];

impl Function {
    /// Replaces every element `x` by `f(x)`.
    fn apply<L: Lanes>(self, l: L, lines: &mut [<L::Element as Scalar>::Line]) {
        l.vectorize(
            #[inline(always)]
            || {
                for line in lines {
                    let x = l.load(line);
                    let y = match self {
                        Exp => math::exp(l, x),
                        Sigmoid => math::sigmoid(l, x),
                        Tanh => math::tanh(l, x),
                        ExpM1 => math::exp_m1_negative(l, l.min(l.zero(), x)),
                        Softplus => math::softplus(l, x),
                        Gelu => math::gelu(l, x),
                    };
                    l.store(line, y);
                }
            },
        );
    }

    /// `f(x)` in `f64`, within 1 ULP of `f64`.
    fn in_f64(self, x: f64) -> Exact {
        let value = match self {
            Exp => x.exp(),
            Sigmoid if x < 0.0 => x.exp() / (1.0 + x.exp()),
            Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Tanh => x.tanh(),
            ExpM1 => {
                if x > 0.0 {
                    0.0
                } else {
                    x.exp_m1()
                }
            }
            Softplus => x.max(0.0) + if x.is_nan() { x } else { (-x.abs()).exp().ln_1p() },
            // Infinity times 0, as in PyTorch.
            Gelu if x == f64::NEG_INFINITY => f64::NAN,
            Gelu => x * normal_below(x),
        };
        Exact { high: value, low: 0.0, exponent: 0 }
    }

    /// `f(x)` in double-double arithmetic.
    fn in_double_double(self, x: f64) -> Exact {
        match self {
            Exp => exact_exp(x),
            Sigmoid => exact_sigmoid(x),
            Tanh if x < 0.0 => {
                let y = exact_tanh(-x);
                Exact { high: -y.high, low: -y.low, ..y }
            }
            Tanh => exact_tanh(x),
            ExpM1 | Softplus | Gelu => unreachable!("not computed in double-double"),
        }
    }
}

/// A double-double number with an exponent of its own: `(high + low) 2^exponent`.
#[derive(Clone, Copy, Debug)]
struct Exact {
    high: f64,
    low: f64,
    exponent: i32,
}

impl Exact {
    const ONE: Self = Self { high: 1.0, low: 0.0, exponent: 0 };

    fn sum(high: f64, low: f64) -> Self {
        let sum = high + low;
        let part = sum - high;
        Self { high: sum, low: (high - (sum - part)) + (low - part), exponent: 0 }
    }
    fn add(self, other: Self) -> Self {
        let (a, b) = (self.scaled(), other.scaled());
        let sum = Self::sum(a.high, b.high);
        Self::sum(sum.high, sum.low + a.low + b.low)
    }
    fn mul(self, other: Self) -> Self {
        let high = self.high * other.high;
        let low = self.high.mul_add(other.high, -high) + self.high * other.low + self.low * other.high;
        Self { exponent: self.exponent + other.exponent, ..Self::sum(high, low) }
    }
    fn div(self, other: Self) -> Self {
        let first = self.high / other.high;
        let minus = Self { high: -first, low: 0.0, exponent: 0 };
        let rest = Self { exponent: 0, ..self }.add(minus.mul(Self { exponent: 0, ..other }));
        let second = (rest.high + rest.low) / other.high;
        Self { exponent: self.exponent - other.exponent, ..Self::sum(first, second) }
    }
    /// The same number with exponent 0.
    fn scaled(self) -> Self {
        let by = self.exponent;
        Self { high: times_exp2(self.high, by), low: times_exp2(self.low, by), exponent: 0 }
    }
}

/// `x 2^n`, rounded once, in two factors that are normal numbers.
pub(super) fn times_exp2(x: f64, n: i32) -> f64 {
    let first = n.clamp(-900, 900);
    x * 2f64.powi(first) * 2f64.powi(n - first)
}

/// `e^x` as `2^n e^r`, where `x = n ln 2 + r`, by the Taylor series. Past 800 results are beyond the range of
/// `f64`.
fn exact_exp(x: f64) -> Exact {
    let x = x.clamp(-800.0, 800.0);
    const LN_2: Exact =
        Exact { high: core::f64::consts::LN_2, low: 2.319_046_813_846_299_6e-17, exponent: 0 };
    let n = (x / LN_2.high).round();
    let minus_n = Exact { high: -n, low: 0.0, exponent: 0 };
    let r = Exact { high: x, low: 0.0, exponent: 0 }.add(minus_n.mul(LN_2));
    let mut sum = Exact::ONE;
    for k in (1..=30).rev() {
        let k = Exact { high: f64::from(k), low: 0.0, exponent: 0 };
        sum = Exact::ONE.add(sum.mul(r).div(k));
    }
    Exact { exponent: n as i32, ..sum }
}

fn exact_sigmoid(x: f64) -> Exact {
    let e = exact_exp(-x.abs());
    // Below 2^-200 the denominator is 1 in double-double.
    let denominator = if e.exponent < -200 { Exact::ONE } else { Exact::ONE.add(e) };
    if x < 0.0 { e.div(denominator) } else { Exact::ONE.div(denominator) }
}

/// `tanh x` of `x >= 0`.
fn exact_tanh(x: f64) -> Exact {
    if x < 2f64.powi(-20) {
        // The next term of the series is below 2^-110 of the first.
        return Exact::sum(x, -x * x * x / 3.0 + 2.0 / 15.0 * x * x * x * x * x);
    }
    if x > 60.0 {
        return Exact::ONE;
    }
    let e = exact_exp(2.0 * x).scaled();
    let minus_one = Exact { high: -1.0, low: 0.0, exponent: 0 };
    e.add(minus_one).div(e.add(Exact::ONE))
}

/// The probability that a standard normal is at most `x`, with errors of about 10^-13.
///
/// By the series of the error function, and beyond 3 by Laplace's continued fraction (Abramowitz and Stegun,
/// 26.2.11 and 26.2.14).
fn normal_below(x: f64) -> f64 {
    let density = (-0.5 * x * x).exp() / (2.0 * core::f64::consts::PI).sqrt();
    if x.abs() < 3.0 {
        let (mut term, mut sum) = (x, x);
        for odd in (3..120).step_by(2) {
            term *= x * x / f64::from(odd);
            sum += term;
            if term.abs() < 1e-17 * sum.abs() {
                break;
            }
        }
        return 0.5 + density * sum;
    }
    if density == 0.0 {
        return if x < 0.0 { 0.0 } else { 1.0 };
    }
    let fraction = (1..60).rev().fold(x.abs(), |below, k| x.abs() + f64::from(k) / below);
    if x < 0.0 { density / fraction } else { 1.0 - density / fraction }
}

/// The distance of `found` from `exact` in ULP of `T`.
fn ulps<T: Element>(found: T, exact: Exact) -> f64 {
    if size_of::<T>() == 4 && exact.low == 0.0 && exact.exponent == 0 {
        return ulps_f32(found.to_f64() as f32, exact.high);
    }
    ulps_by_exponents(found, exact)
}

/// [`ulps`] of `f32` from the bits of `exact`, fast enough for all 2^32 numbers.
fn ulps_f32(found: f32, exact: f64) -> f64 {
    if exact == 0.0 || !exact.is_finite() {
        let same = f64::from(found) == exact || (found.is_nan() && exact.is_nan());
        return if same { 0.0 } else { f64::INFINITY };
    }
    let magnitude = (exact.to_bits() >> 52 & 0x7ff) as i32 - 1023;
    let past_all = 2_f64.powi(128);
    let exact = if magnitude > 127 { past_all.copysign(exact) } else { exact };
    let found = if found.is_infinite() { past_all.copysign(found.into()) } else { found.into() };
    let unit = f64::from_bits(((magnitude.clamp(-126, 127) - 23 + 1023) as u64) << 52);
    (found - exact).abs() / unit
}

/// [`ulps`] of any number.
fn ulps_by_exponents<T: Element>(found: T, exact: Exact) -> f64 {
    let (digits, lowest, highest) = if size_of::<T>() == 4 { (24, -126, 127) } else { (53, -1022, 1023) };
    if exact.high == 0.0 || exact.high.is_nan() || exact.high.is_infinite() {
        let same = found.to_f64() == exact.high || (found.to_f64().is_nan() && exact.high.is_nan());
        return if same { 0.0 } else { f64::INFINITY };
    }
    // Infinity counts as the first number past the largest, and so does every larger one.
    let infinity = Exact { high: 1.0, low: 0.0, exponent: highest + 1 };
    let magnitude = exact.high.abs().log2().floor() as i32 + exact.exponent;
    let exact = if magnitude > highest { infinity } else { exact };
    let found = match found.to_f64() {
        f64::INFINITY => infinity,
        found => Exact { high: found, low: 0.0, exponent: 0 },
    };
    let unit = magnitude.clamp(lowest, highest) - (digits - 1);
    let by = found.exponent - exact.exponent;
    let difference = (times_exp2(found.high, by) - exact.high) - exact.low;
    times_exp2(difference.abs(), exact.exponent - unit)
}

/// The error bound of a function in ULP.
///
/// It is twice as large for lanes without fused multiply-adds. Their GELU also has the rounding error of the
/// squared exponent.
fn promised(function: Function, isa: Isa) -> f64 {
    let fused = match function {
        Exp | Sigmoid | Tanh | ExpM1 => 2.0,
        Softplus | Gelu => 4.0,
    };
    match function {
        _ if isa != Isa::Portable => fused,
        Gelu => 2.0 * fused + 15.0 * 15.0 / 2.0,
        _ => 2.0 * fused,
    }
}

/// The largest error of a function on each instruction set in ULP, and its argument.
#[derive(Clone, Copy)]
struct Worst<T>([(f64, T); 3]);

impl<T: Element> Worst<T> {
    fn note(&mut self, isa: Isa, error: f64, x: T) {
        let worst = &mut self.0[isa as usize];
        if error.is_nan() || error > worst.0 {
            *worst = (error, x);
        }
    }

    fn join(&mut self, other: Self) {
        for (worst, (error, x)) in self.0.iter_mut().zip(other.0) {
            if error.is_nan() || error > worst.0 {
                *worst = (error, x);
            }
        }
    }

    fn print_and_check(self, function: Function) {
        for isa in available() {
            let (worst, at) = self.0[isa as usize];
            let bits = 8 * size_of::<T>();
            println!("RESULT ulp function={function:?} isa={isa} bits={bits} worst={worst:.3} at={at:?}");
            assert!(worst <= promised(function, isa), "{function:?} on {isa}: {worst} ULP at {at:?}");
        }
    }
}

/// Check of numbers against their exact images.
struct Block<'a, T> {
    function: Function,
    x: &'a [T],
    exact: &'a [Exact],
    worst: &'a mut Worst<T>,
}

impl<T: Element> Check<T> for Block<'_, T> {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        let mut lines = [T::Line::ZERO; BLOCK_LINES];
        elements_mut::<T>(&mut lines)[..self.x.len()].copy_from_slice(self.x);
        self.function.apply(l, &mut lines);
        for ((&x, &exact), &y) in self.x.iter().zip(self.exact).zip(elements::<T>(&lines)) {
            self.worst.note(isa, ulps(y, exact), x);
        }
    }
}

const BLOCK_LINES: usize = 64;

fn sweep_f32(function: Function, bits: impl Iterator<Item = u32>) -> Worst<f32> {
    let mut worst = Worst([(0.0, 0.0); 3]);
    let mut bits = bits.map(f32::from_bits);
    loop {
        let x: Vec<f32> = bits.by_ref().take(BLOCK_LINES * 16).collect();
        let exact: Vec<Exact> = x.iter().map(|&x| function.in_f64(x.into())).collect();
        let block = Block { function, x: &x, exact: &exact, worst: &mut worst };
        on_every_isa!(f32, block => _done);
        if x.len() < BLOCK_LINES * 16 {
            return worst;
        }
    }
}

#[test]
fn f32_functions_keep_their_bound_on_every_thousandth_number() {
    for &function in FUNCTIONS {
        // A prime stride samples every exponent and all kinds of mantissas.
        sweep_f32(function, (0..=u32::MAX).step_by(1009)).print_and_check(function);
    }
}

#[test]
fn gelu_keeps_its_bound_where_it_is_hardest() {
    // For large negative arguments errors of the tail, of the density and of their product add up.
    let bits = (-2.0_f32).to_bits()..(-14.5_f32).to_bits();
    sweep_f32(Gelu, bits.step_by(7)).print_and_check(Gelu);
}

#[test]
#[ignore = "minutes: all 2^32 numbers"]
fn f32_functions_keep_their_bound_on_all_numbers() {
    // A part of a name selects functions.
    let wanted = std::env::var("FUSEPROP_FUNCTION").unwrap_or_default();
    for &function in FUNCTIONS.iter().filter(|function| format!("{function:?}").contains(&wanted)) {
        // Numbers with the same upper half are one task.
        let next = core::sync::atomic::AtomicU32::new(0);
        let work = || {
            let mut worst = Worst([(0.0, 0.0); 3]);
            loop {
                let upper = next.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
                if upper > 0xffff {
                    return worst;
                }
                worst.join(sweep_f32(function, upper << 16..=upper << 16 | 0xffff));
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut worst = Worst([(0.0, 0.0); 3]);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().for_each(|thread| worst.join(thread.join().unwrap()));
        });
        worst.print_and_check(function);
    }
}

#[test]
fn f64_functions_keep_their_bound_on_numbers_of_every_size() {
    let mut numbers = vec![0.0, f64::MIN_POSITIVE, f64::from_bits(1), 709.78, 709.79, 745.13, 745.14, 1e300];
    let mut state = 1_u64;
    for _ in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mantissa = 1.0 + (state >> 12) as f64 / (1_u64 << 52) as f64;
        // Twice as many numbers where the functions bend as where they are flat.
        let exponent = match state >> 11 & 3 {
            0 => -(state as i32 >> 22),
            _ => state as i32 >> 28,
        };
        numbers.push(times_exp2(mantissa, exponent));
    }
    let numbers: Vec<f64> = numbers.iter().flat_map(|&x| [x, -x]).filter(|x| x.abs() < 1e300).collect();
    for &function in IN_DOUBLE_DOUBLE {
        let mut worst = Worst([(0.0, 0.0); 3]);
        for x in numbers.chunks(BLOCK_LINES * 8) {
            let exact: Vec<Exact> = x.iter().map(|&x| function.in_double_double(x)).collect();
            let block = Block { function, x, exact: &exact, worst: &mut worst };
            on_every_isa!(f64, block => _done);
        }
        worst.print_and_check(function);
    }
    assert!(numbers.len() > 30_000);
}

#[test]
fn powers_in_tables_are_rounded_once() {
    let [inverses, lost] = math::INVERSE_POWERS_OF_EIGHTHS;
    for j in 0..8 {
        let power = |j: i32| 2_f64.powf(f64::from(j) / 8.0);
        assert_eq!(math::POWERS_OF_EIGHTHS[j], power(j as i32) as f32);
        let (inverse, exact) = (inverses[j], power(-(j as i32)));
        assert_eq!(inverse, exact as f32);
        let part = (exact - f64::from(inverse)) / exact;
        assert!((part - f64::from(lost[j])).abs() < 1e-14, "2^(-{j}/8)");
    }
}

#[test]
fn units_of_f32_are_counted_alike_both_ways() {
    for x in
        [-103.9_f32, -87.4, -20.0, -1.0, -1e-9, 0.0, 1e-20, 0.5, 3.0, 88.7, 89.5, f32::INFINITY, f32::NAN]
    {
        for (&function, off) in FUNCTIONS.iter().flat_map(|f| [(f, 0), (f, 1), (f, 5)]) {
            let exact = function.in_f64(x.into());
            let found = f32::from_bits((exact.high as f32).to_bits().wrapping_add(off));
            let (quick, general) = (ulps_f32(found, exact.high), ulps_by_exponents(found, exact));
            let alike = (quick - general).abs() <= 1e-6 * general || quick == general;
            assert!(alike || (quick.is_nan() && general.is_nan()), "{function:?} of {x}: {quick}, {general}");
        }
    }
}

#[test]
fn double_double_references_agree_with_the_standard_library() {
    for x in [-745.0, -700.5, -30.25, -1.0, -1e-3, -1e-9, 1e-12, 0.3, 1.0, 7.5, 44.0, 700.0] {
        for &function in IN_DOUBLE_DOUBLE {
            let error = ulps(function.in_f64(x).high, function.in_double_double(x));
            assert!(error <= 4.0, "{function:?} of {x}: {error} ULP apart");
        }
    }
}

/// Check of exact and special values.
struct Special;

impl<T: Element> Check<T> for Special {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        let (infinity, nan) = (f64::INFINITY, f64::NAN);
        let table = [
            (Exp, [(0.0, 1.0), (-0.0, 1.0), (infinity, infinity), (-infinity, 0.0), (nan, nan)]),
            (Sigmoid, [(0.0, 0.5), (-0.0, 0.5), (infinity, 1.0), (-infinity, 0.0), (nan, nan)]),
            (Tanh, [(0.0, 0.0), (-0.0, -0.0), (infinity, 1.0), (-infinity, -1.0), (nan, nan)]),
        ];
        for (function, pairs) in table {
            for (x, expected) in pairs {
                // In every lane, among numbers of all kinds.
                for lane in 0..T::LANES {
                    let mut line = [T::Line::ZERO];
                    for (i, element) in line[0].as_mut_slice().iter_mut().enumerate() {
                        *element = T::from_f64([nan, 1e30, -1.5, infinity, 0.1, -1e30, 3.0][(i + lane) % 7]);
                    }
                    line[0].as_mut_slice()[lane] = T::from_f64(x);
                    function.apply(l, &mut line);
                    let found = line[0].as_slice()[lane].to_f64();
                    let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
                    assert!(same, "{function:?} of {x} on {isa}, lane {lane}: {found}, not {expected}");
                }
            }
        }
    }
}

#[test]
fn special_values_are_exact_in_every_lane() {
    on_every_isa!(f32, Special => _done);
    on_every_isa!(f64, Special => _done);
}

/// The bits of images on each instruction set, each number in every lane.
#[derive(Default)]
struct SameBits(Vec<(Isa, Vec<u64>)>);

impl<T: Element> Check<T> for SameBits {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        let mut bits = Vec::new();
        for function in FUNCTIONS {
            for i in -400..400 {
                let x = T::from_f64(f64::from(i) * 0.217);
                let images: Vec<u64> = (0..T::LANES)
                    .map(|lane| {
                        let mut line = [T::Line::ZERO];
                        line[0].as_mut_slice().fill(T::from_f64(-f64::from(i)));
                        line[0].as_mut_slice()[lane] = x;
                        function.apply(l, &mut line);
                        line[0].as_slice()[lane].to_f64().to_bits()
                    })
                    .collect();
                assert!(images.iter().all(|&image| image == images[0]), "{function:?} of {x} on {isa}");
                bits.push(images[0]);
            }
        }
        self.0.push((isa, bits));
    }
}

#[test]
fn bits_do_not_depend_on_the_lane_nor_on_the_instruction_set() {
    on_every_isa!(f32, SameBits::default() => of_f32);
    on_every_isa!(f64, SameBits::default() => of_f64);
    for SameBits(found) in [of_f32, of_f64] {
        let fused: Vec<_> = found.iter().filter(|(isa, _)| *isa != Isa::Portable).collect();
        assert!(fused.windows(2).all(|pair| pair[0].1 == pair[1].1), "AVX2 and AVX-512 differ");
        assert!(found[0].1.iter().any(|&bits| bits != found[0].1[0]));
    }
}

/// Check of the sigmoid of half a line against a whole line.
struct Halves;

impl<T: Element> Check<T> for Halves {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        let numbers =
            (-4000..=4000).map(|i| f64::from(i) * 0.2).chain([f64::INFINITY, f64::NEG_INFINITY, f64::NAN]);
        for x in numbers.map(T::from_f64) {
            let mut lines = [T::Line::ZERO; 2];
            lines.iter_mut().for_each(|line| line.as_mut_slice().fill(x));
            Sigmoid.apply(l, &mut lines[..1]);
            l.vectorize(
                #[inline(always)]
                || {
                    let y = math::sigmoid_of_first_half(l, l.load(&lines[1]));
                    l.store(&mut lines[1], y);
                },
            );
            let [whole, half] = lines.each_ref().map(|line| &line.as_slice()[..T::LANES / 2]);
            let same = |(a, b): (&T, &T)| a.to_f64().to_bits() == b.to_f64().to_bits();
            assert!(whole.iter().zip(half).all(same), "{whole:?} and {half:?} of {x} on {isa}");
        }
    }
}

#[test]
fn the_sigmoid_of_half_a_line_has_the_bits_of_a_whole_line() {
    on_every_isa!(f32, Halves => _done);
    on_every_isa!(f64, Halves => _done);
}

/// `x P(Z <= x)` to all digits of `f64`, computed with 50 digits.
const GELU: &[(f64, f64)] = &[
    (-37.5, -1.7270073785932332e-306),
    (-30.25, -7.891136864367313e-200),
    (-20.7, -3.5849333895708573e-94),
    (-14.1, -2.6773764149331377e-44),
    (-10.3, -3.628757031294205e-24),
    (-7.7, -5.2385498863959505e-14),
    (-5.5, -1.0444259356238245e-07),
    (-4.2, -5.605214586680658e-05),
    (-3.3, -0.0015952996698664658),
    (-2.6, -0.012119088861668749),
    (-1.9, -0.05456146365040343),
    (-1.3, -0.12584062996129342),
    (-0.75, -0.16997051428265114),
    (-0.3, -0.1146265733433142),
    (-0.01, -0.004960106436853684),
    (-1e-09, -4.999999996010577e-10),
    (1e-09, 5.000000003989423e-10),
    (0.01, 0.005039893563146316),
    (0.3, 0.1853734266566858),
    (0.75, 0.5800294857173488),
    (1.3, 1.1741593700387065),
    (2.6, 2.587880911138331),
    (5.5, 5.499999895557407),
    (9.5, 9.5),
];

/// Check of [`GELU`].
struct GeluInF64;

impl Check<f64> for GeluInF64 {
    fn run<L: Lanes<Element = f64>>(&mut self, l: L, isa: Isa) {
        // The table is rounded by half a unit. Without fused multiply-adds the square of 37.5 is rounded too.
        let bound = if isa == Isa::Portable { 8.0 + 37.5 * 37.5 / 2.0 } else { 4.5 };
        for &(x, exact) in GELU {
            let mut lines = [<f64 as Scalar>::Line::ZERO];
            elements_mut::<f64>(&mut lines).fill(x);
            Gelu.apply(l, &mut lines);
            for &y in elements::<f64>(&lines) {
                let error = ulps(y, Exact { high: exact, low: 0.0, exponent: 0 });
                assert!(error <= bound, "gelu of {x} on {isa}: {y:e} is {error} ULP from {exact:e}");
            }
        }
    }
}

#[test]
fn gelu_keeps_its_bound_in_f64() {
    let check = GeluInF64;
    on_every_isa!(f64, check => check);
}

/// Check of sines and cosines against `f64`: the largest absolute error in ULP of 1.
struct Circle(f64);

impl Check<f32> for Circle {
    fn run<L: Lanes<Element = f32>>(&mut self, l: L, isa: Isa) {
        let reach = if isa == Isa::Portable { 12e3 } else { 1e6 };
        for i in 0..200_000 {
            let x = (reach * (f64::from(i) / 1e5 - 1.0).powi(3)) as f32;
            let mut lines = [<f32 as Scalar>::Line::ZERO; 2];
            elements_mut::<f32>(&mut lines).fill(x);
            l.vectorize(
                #[inline(always)]
                || {
                    let v = l.load(&lines[0]);
                    l.store(&mut lines[0], math::sin(l, v));
                    l.store(&mut lines[1], math::cos(l, v));
                },
            );
            let y = elements::<f32>(&lines);
            for (found, exact) in [(y[0], f64::from(x).sin()), (y[16], f64::from(x).cos())] {
                let error = (f64::from(found) - exact).abs() * f64::from(1 << 23);
                assert!(error <= 2.0, "of {x} on {isa}: {found}, not {exact}");
                self.0 = self.0.max(error);
            }
        }
    }
}

#[test]
fn sines_and_cosines_are_within_two_units_of_one() {
    let circle = Circle(0.0);
    on_every_isa!(f32, circle => worst);
    assert!(worst.0 > 0.1, "200,000 sines are not exact");
}
