//! Tests of lane operations against scalar arithmetic, bit for bit, with special values in every lane and
//! combination.

use crate::simd::interleaved::Interleaved;
use crate::simd::isa::Isa;
use crate::simd::lanes::{Arithmetic, GROUP, Lanes, RowShape};
use crate::simd::scalar::{Element, Line};
use crate::simd::tests::math::times_exp2;
use crate::simd::tests::{Check, on_every_isa};

/// Scalar arithmetic, the model of lane operations.
pub(crate) trait Scalar: Element {
    /// Zeros, denormals, ends of the range, ordinary numbers, infinities and NaN.
    const SPECIAL: [Self; 12];
    /// The bits, the same for every NaN.
    fn bits(self) -> u64;
    fn sum(self, other: Self) -> Self;
    fn difference(self, other: Self) -> Self;
    fn product(self, other: Self) -> Self;
    fn quotient(self, other: Self) -> Self;
    fn fused(self, b: Self, c: Self) -> Self;
    fn negated(self) -> Self;
    fn magnitude(self) -> Self;
    fn root(self) -> Self;
    fn nearest(self) -> Self;
    fn is_negative(self) -> bool;
}

macro_rules! scalar {
    ($t:ident) => {
        impl Scalar for $t {
            const SPECIAL: [Self; 12] = [
                0.0,
                -0.0,
                // The smallest denormal, and minus the largest.
                $t::from_bits(1),
                -$t::from_bits($t::MIN_POSITIVE.to_bits() - 1),
                $t::MIN_POSITIVE,
                1.0,
                -1.1,
                $t::MAX,
                $t::MIN,
                $t::INFINITY,
                $t::NEG_INFINITY,
                $t::NAN,
            ];
            fn bits(self) -> u64 {
                if self.is_nan() { u64::MAX } else { self.to_bits().into() }
            }
            fn sum(self, other: Self) -> Self {
                self + other
            }
            fn difference(self, other: Self) -> Self {
                self - other
            }
            fn product(self, other: Self) -> Self {
                self * other
            }
            fn quotient(self, other: Self) -> Self {
                self / other
            }
            fn fused(self, b: Self, c: Self) -> Self {
                self.mul_add(b, c)
            }
            fn negated(self) -> Self {
                -self
            }
            fn magnitude(self) -> Self {
                self.abs()
            }
            fn root(self) -> Self {
                self.sqrt()
            }
            fn nearest(self) -> Self {
                self.round_ties_even()
            }
            fn is_negative(self) -> bool {
                self.is_sign_negative()
            }
        }
    };
}
scalar!(f32);
scalar!(f64);

/// `a b + c`, rounded as the lanes of an instruction set do.
pub(crate) fn mul_add<T: Scalar>(isa: Isa, a: T, b: T, c: T) -> T {
    let is_fused = isa != Isa::Portable || cfg!(target_feature = "fma");
    if is_fused { a.fused(b, c) } else { a.product(b).sum(c) }
}

/// Comparison of lane operations with scalar models.
struct Operations {
    isa: Isa,
    /// Number of lanes compared.
    lanes: usize,
}

impl Operations {
    fn new() -> Self {
        Self { isa: Isa::Portable, lanes: 0 }
    }

    /// Compares an operation on `N` vectors with its scalar model: every combination of `values` in every
    /// lane.
    fn compare<L: Lanes<Element: Scalar>, const N: usize>(
        &mut self,
        l: L,
        name: &str,
        values: &[L::Element],
        operation: impl Fn([L::Vector; N]) -> L::Vector,
        model: impl Fn([L::Element; N]) -> L::Element,
    ) {
        let isa = self.isa;
        let combinations = values.len().pow(N as u32);
        let combination = |index: usize| -> [L::Element; N] {
            core::array::from_fn(|n| values[index / values.len().pow(n as u32) % values.len()])
        };
        for shift in 0..combinations {
            let of_lane = |lane: usize| combination((shift + lane) % combinations);
            let mut lines = [<L::Element as crate::simd::scalar::Scalar>::Line::ZERO; N];
            for (n, line) in lines.iter_mut().enumerate() {
                for (lane, to) in line.as_mut_slice().iter_mut().enumerate() {
                    *to = of_lane(lane)[n];
                }
            }
            let mut found = <L::Element as crate::simd::scalar::Scalar>::Line::ZERO;
            l.vectorize(
                #[inline(always)]
                || {
                    let vectors = core::array::from_fn(
                        #[inline(always)]
                        |n| l.load(&lines[n]),
                    );
                    l.store(&mut found, operation(vectors));
                },
            );
            for (lane, &found) in found.as_slice().iter().enumerate() {
                let expected = model(of_lane(lane));
                let what = of_lane(lane);
                assert_eq!(
                    found.bits(),
                    expected.bits(),
                    "{name} of {what:?} on {isa}, lane {lane}: {found}, not {expected}"
                );
                self.lanes += 1;
            }
        }
    }
}

/// Exponents of an element type.
#[derive(Clone, Copy)]
struct Exponents {
    /// An exponent so small that all results round to 0.
    smallest: i32,
    /// The exponent of the smallest normal number.
    lowest: i32,
    /// The exponent of the largest number.
    highest: i32,
}

impl<T: Scalar> Check<T> for Operations {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        self.isa = isa;
        self.arithmetic(l);
        self.comparisons(l);
        self.signs_and_powers(l);
    }
}

impl Operations {
    fn arithmetic<L: Lanes<Element = T>, T: Scalar>(&mut self, l: L) {
        let (special, isa) = (&T::SPECIAL, self.isa);
        self.compare(l, "add", special, |[a, b]| l.add(a, b), |[a, b]| a.sum(b));
        self.compare(l, "sub", special, |[a, b]| l.sub(a, b), |[a, b]| a.difference(b));
        self.compare(l, "mul", special, |[a, b]| l.mul(a, b), |[a, b]| a.product(b));
        self.compare(l, "div", special, |[a, b]| l.div(a, b), |[a, b]| a.quotient(b));
        // The other half is garbage.
        let first_half = l.first_lanes(T::LANES / 2);
        let by_halves = |[a, b]: [L::Vector; 2]| l.select(first_half, l.div_first_half(a, b), l.div(a, b));
        self.compare(l, "div_first_half", special, by_halves, |[a, b]| a.quotient(b));
        let model = |[a, b, c]: [T; 3]| mul_add(isa, a, b, c);
        self.compare(l, "mul_add", special, |[a, b, c]| l.mul_add(a, b, c), model);
        let model = |[a, b, c]: [T; 3]| mul_add(isa, a.negated(), b, c);
        self.compare(l, "neg_mul_add", special, |[a, b, c]| l.neg_mul_add(a, b, c), model);
        self.compare(l, "sqrt", special, |[a]| l.sqrt(a), |[a]| a.root());
    }

    fn comparisons<L: Lanes<Element = T>, T: Scalar>(&mut self, l: L) {
        let special = &T::SPECIAL;
        let model = |[a, b]: [T; 2]| if a > b { a } else { b };
        self.compare(l, "max", special, |[a, b]| l.max(a, b), model);
        let model = |[a, b]: [T; 2]| if a < b { a } else { b };
        self.compare(l, "min", special, |[a, b]| l.min(a, b), model);
        let (yes, no) = (T::from_f64(7.0), T::from_f64(-3.0));
        let choose = |mask| l.select(mask, l.splat(yes), l.splat(no));
        let answer = |is: bool| if is { yes } else { no };
        self.compare(l, "lt", special, |[a, b]| choose(l.lt(a, b)), |[a, b]| answer(a < b));
        self.compare(l, "le", special, |[a, b]| choose(l.le(a, b)), |[a, b]| answer(a <= b));
        self.compare(l, "eq", special, |[a, b]| choose(l.eq(a, b)), |[a, b]| answer(a == b));
        let operation = |[a, b, c]: [L::Vector; 3]| l.select(l.lt(a, l.zero()), b, c);
        let model = |[a, b, c]: [T; 3]| if a < T::ZERO { b } else { c };
        self.compare(l, "select", special, operation, model);
    }

    fn signs_and_powers<L: Lanes<Element = T>, T: Scalar>(&mut self, l: L) {
        let special = &T::SPECIAL;
        self.compare(l, "abs", special, |[a]| l.abs(a), |[a]| a.magnitude());
        self.compare(l, "flushed", special, |[a]| l.flushed(a), |[a]| a.flushed());
        let model = |[a, b]: [T; 2]| if b.is_negative() { a.negated() } else { a };
        self.compare(l, "flip_sign", special, |[a, b]| l.flip_sign(a, b), model);

        let digits = if size_of::<T>() == 4 { 24 } else { 53 };
        let most = 2_f64.powi(digits - 2);
        let ties = [0.0, 0.5, 1.5, 2.5, 0.499_999_97, 1.0, 3.7, most - 0.5, most - 0.25, most];
        let ties: Vec<T> = ties.iter().flat_map(|&x| [x, -x]).chain([f64::NAN]).map(T::from_f64).collect();
        // Zero has either sign, until 0 is added.
        let round = |[a]: [L::Vector; 1]| l.add(l.round(a), l.zero());
        self.compare(l, "round", &ties, round, |[a]| a.nearest().sum(T::ZERO));

        let (lowest, highest) = if digits == 24 { (-126, 127) } else { (-1022, 1023) };
        let powers: Vec<T> = (lowest..=highest).map(|n| T::from_f64(f64::from(n))).collect();
        let model = |[n]: [T; 1]| T::from_f64(2_f64.powi(n.to_f64() as i32));
        self.compare(l, "exp2i", &powers, |[n]| l.exp2i(n), model);
        // The same from a number whose last bit is worth 1, where that is exact.
        let shift = 1.5 * 2_f64.powi(digits - 1) + f64::from(highest);
        let model = |[n]: [T; 1]| T::from_f64(2_f64.powi((n.to_f64() - shift) as i32));
        let shifted: Vec<T> = (lowest..=highest).map(|n| T::from_f64(shift + f64::from(n))).collect();
        self.compare(l, "power_from_low_bits", &shifted, |[n]| l.power_from_low_bits(n), model);

        for a in [1.0, 0.75, 1.414, -1.25].map(T::from_f64) {
            let past: Vec<T> =
                (lowest - digits - 3..=highest + 3).map(|n| T::from_f64(f64::from(n))).collect();
            let model = |[n]: [T; 1]| T::from_f64(times_exp2(a.to_f64(), n.to_f64() as i32));
            self.compare(l, "ldexp", &past, |[n]| l.ldexp(l.splat(a), n), model);
        }
        self.eighths(l, Exponents { smallest: lowest - digits - 3, lowest, highest });
    }

    fn eighths<L: Lanes<Element = T>, T: Scalar>(&mut self, l: L, exponents: Exponents) {
        let Exponents { smallest, lowest, highest } = exponents;
        let in_eighths = |from: i32, to: i32, off: f64| -> Vec<T> {
            (8 * from..8 * to + 8).map(|k| T::from_f64((f64::from(k) + off) / 8.0)).collect()
        };
        for off in [0.0, 0.4, -0.4] {
            // Zero is never negative, for it is a difference.
            let nearest = |[x]: [T; 1]| T::from_f64((8.0 * x.to_f64()).round() / 8.0 + 0.0);
            self.compare(
                l,
                "eighths",
                &in_eighths(smallest, highest, off),
                |[x]| l.eighths(x, 1.0).value,
                nearest,
            );
        }
        let by_factor = |[x]: [L::Vector; 1]| l.eighths(x, 0.5).value;
        let model = |[x]: [T; 1]| T::from_f64(x.to_f64() / 2.0);
        self.compare(l, "eighths", &[-3.0, -0.25, 0.5, 7.75].map(T::from_f64), by_factor, model);
        let table = [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5];
        let model = |[x]: [T; 1]| T::from_f64((8.0 * x.to_f64()).rem_euclid(8.0) + 0.5);
        let of_table = |[x]: [L::Vector; 1]| l.lookup8(&l.eighths(x, 1.0), &table);
        self.compare(l, "lookup8", &in_eighths(smallest, highest, 0.0), of_table, model);
        let model = |[x]: [T; 1]| T::from_f64(2_f64.powi(x.to_f64().floor() as i32));
        let power = |[x]: [L::Vector; 1]| l.exp2_floor(&l.eighths(x, 1.0));
        self.compare(l, "exp2_floor", &in_eighths(lowest, highest, 0.0), power, model);
        let is_small = |[x]: [L::Vector; 1]| {
            let smallest = l.le(l.exp2_floor(&l.eighths(x, 1.0)), l.splat(T::MIN_NORMAL));
            l.select(smallest, l.constant(1.0), l.zero())
        };
        let below = in_eighths(smallest, lowest - 1, 0.0);
        self.compare(l, "exp2_floor of less", &below, is_small, |_| T::from_f64(1.0));
        for a in [1.0, 1.414, -1.25].map(T::from_f64) {
            let model = |[x]: [T; 1]| T::from_f64(times_exp2(a.to_f64(), x.to_f64().floor() as i32));
            let scaled = |[x]: [L::Vector; 1]| l.scale_by_floor(l.splat(a), &l.eighths(x, 1.0));
            self.compare(l, "scale_by_floor", &in_eighths(smallest, highest + 1, 0.0), scaled, model);
        }
    }
}

#[test]
fn operations_of_lanes_are_those_of_numbers() {
    on_every_isa!(f32, Operations::new() => of_f32);
    on_every_isa!(f64, Operations::new() => of_f64);
    println!("RESULT lane_operations lanes={} different=0", of_f32.lanes + of_f64.lanes);
    assert!(of_f32.lanes > 100_000 && of_f64.lanes > 50_000);
}

/// Check of operations across lanes or on a part of them.
struct Across;

/// Numbers whose sum depends on the order of additions.
fn ordinary<T: Element>(count: usize) -> Vec<T> {
    (0..count).map(|i| T::from_f64((i as f64 * 1.7).sin() * 10_f64.powi(i as i32 % 9 - 4))).collect()
}

fn line_of<T: Element>(values: &[T]) -> T::Line {
    let mut line = T::Line::ZERO;
    line.as_mut_slice().copy_from_slice(values);
    line
}

impl<T: Scalar> Check<T> for Across {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        self.reductions(l, isa);
        self.sums(l, isa);
        self.columns(l, isa);
        self.parts(l, isa);
        self.rows(l, isa);
        self.constants(l, isa);
    }
}

impl Across {
    fn reductions<L: Lanes<Element = T>, T: Scalar>(&mut self, l: L, isa: Isa) {
        let lanes = T::LANES;
        for special in T::SPECIAL {
            for lane in 0..lanes {
                let mut values = ordinary::<T>(2 * lanes);
                values[lane] = special;
                let (a, b) = (line_of::<T>(&values[..lanes]), line_of::<T>(&values[lanes..]));
                let (mut sum, mut wide, mut max) = (T::ZERO, 0.0, T::ZERO);
                let mut interleaved = [T::Line::ZERO; 2];
                l.vectorize(
                    #[inline(always)]
                    || {
                        let (a, b) = (l.load(&a), l.load(&b));
                        (sum, wide, max) = (l.reduce_sum(a), l.reduce_sum_f64(a), l.reduce_max(a));
                        let (first, second) = l.interleave(a, b);
                        l.store(&mut interleaved[0], first);
                        l.store(&mut interleaved[1], second);
                    },
                );
                let what = format!("{special} in lane {lane} on {isa}");
                assert_eq!(sum.bits(), halved(&values[..lanes]).bits(), "reduce_sum, {what}");
                let as_f64: Vec<f64> = values[..lanes].iter().map(|x| x.to_f64()).collect();
                assert_eq!(wide.bits(), halved(&as_f64).bits(), "reduce_sum_f64, {what}");
                assert_eq!(max.bits(), largest(&values[..lanes]).bits(), "reduce_max, {what}");
                for (i, found) in interleaved.iter().flat_map(|line| line.as_slice()).enumerate() {
                    assert_eq!(found.bits(), values[i / 2 + lanes * (i % 2)].bits(), "interleave, {what}");
                }
            }
        }
    }

    fn sums<L: Lanes<Element = T>, T: Scalar>(&mut self, l: L, isa: Isa) {
        for special in T::SPECIAL {
            for place in 0..GROUP * T::LANES {
                let mut values = ordinary::<T>(GROUP * T::LANES);
                values[place] = special;
                let lines: Vec<T::Line> = values.chunks(T::LANES).map(line_of::<T>).collect();
                let mut found = T::Line::ZERO;
                l.vectorize(
                    #[inline(always)]
                    || {
                        let sums = l.reduce_sum4([0, 1, 2, 3].map(
                            #[inline(always)]
                            |i| l.load(&lines[i]),
                        ));
                        l.store(&mut found, sums);
                    },
                );
                for (i, found) in found.as_slice().iter().enumerate() {
                    let expected = halved(lines[i % GROUP].as_slice());
                    assert_eq!(found.bits(), expected.bits(), "sum {i} on {isa}, {special} at {place}");
                }
            }
        }
    }

    /// Columns of any number of lines, also of more than there are lanes.
    fn columns<L: Lanes<Element = T>, T: Scalar>(&mut self, l: L, isa: Isa) {
        let values = ordinary::<T>((T::LANES + 1) * T::LANES);
        let lines: Vec<T::Line> = values.chunks(T::LANES).map(line_of::<T>).collect();
        for count in 0..=T::LANES + 1 {
            for first in (0..T::LANES).step_by(GROUP) {
                let mut found = [T::Line::ZERO; GROUP];
                l.vectorize(
                    #[inline(always)]
                    || {
                        for (found, column) in found.iter_mut().zip(l.columns(&lines[..count], first)) {
                            l.store(found, column);
                        }
                    },
                );
                for (j, found) in found.iter().enumerate() {
                    for (i, found) in found.as_slice().iter().enumerate() {
                        let expected = if i < count { values[i * T::LANES + first + j] } else { T::ZERO };
                        assert_eq!(
                            found.bits(),
                            expected.bits(),
                            "line {i} of {count}, column {first} + {j}, {isa}"
                        );
                    }
                }
            }
        }
    }

    /// Slices of every length, loaded and stored in either way, and masks of as many lanes. Neighbours stay
    /// as they are.
    fn parts<L: Lanes<Element = T>, T: Scalar>(&mut self, l: L, isa: Isa) {
        let lanes = T::LANES;
        let values = ordinary::<T>(1 + lanes).split_off(1);
        let (marker, full) = (T::from_f64(-77.0), line_of::<T>(&values));
        for len in 0..=lanes + 2 {
            let slice = &values[..len.min(lanes)];
            let (mut stored, mut stored_few) = (vec![marker; lanes + 2], vec![marker; lanes + 2]);
            let (mut loaded, mut loaded_few, mut masked) = (T::Line::ZERO, T::Line::ZERO, T::Line::ZERO);
            l.vectorize(
                #[inline(always)]
                || {
                    l.store(&mut loaded, l.load_slice(slice));
                    l.store_slice(&mut stored[1..1 + slice.len()], l.load(&full));
                    l.store(&mut loaded_few, l.load_few(slice));
                    l.store_few(&mut stored_few[1..1 + slice.len()], l.load(&full));
                    let mask = l.first_lanes(len);
                    l.store(&mut masked, l.select(mask, l.load(&full), l.splat(marker)));
                },
            );
            for lane in 0..lanes {
                let is_in = lane < len;
                let expected = if is_in { values[lane] } else { T::ZERO };
                assert_eq!(loaded.as_slice()[lane], expected, "load_slice of {len} on {isa}");
                let expected = if is_in { values[lane] } else { marker };
                assert_eq!(masked.as_slice()[lane], expected, "first {len} on {isa}");
                assert_eq!(stored[1 + lane], expected, "store_slice of {len} on {isa}");
            }
            assert_eq!((stored[0], stored[lanes + 1]), (marker, marker), "store_slice of {len} on {isa}");
            assert_eq!(loaded_few.as_slice(), loaded.as_slice(), "load_few of {len} on {isa}");
            assert_eq!(stored_few, stored, "store_few of {len} on {isa}");
        }
    }

    /// Rows of every shape that a line of groups has room for, and single rows.
    fn rows<L: Lanes<Element = T>, T: Scalar>(&mut self, l: L, isa: Isa) {
        let values = ordinary::<T>(1 + T::LANES).split_off(1);
        let (marker, full) = (T::from_f64(-77.0), line_of::<T>(&values));
        for (rows, cols) in (0..=T::LANES / GROUP).flat_map(|rows| (0..=GROUP).map(move |cols| (rows, cols)))
        {
            let (shape, count) = (RowShape { rows, cols }, rows * cols);
            let (mut stored, mut stored_row) = (vec![marker; T::LANES + 1], vec![marker; GROUP + 1]);
            let (mut loaded, mut loaded_row) = (T::Line::ZERO, T::Line::ZERO);
            l.vectorize(
                #[inline(always)]
                || {
                    l.store(&mut loaded, l.load_rows(&values[..count], shape));
                    l.store_rows(&mut stored[..count], shape, l.load(&full));
                    l.store(&mut loaded_row, l.load_row(&values[..cols]));
                    l.store_row(&mut stored_row[..cols], l.load(&full));
                },
            );
            let what = format!("{rows} rows of {cols} on {isa}");
            for lane in 0..T::LANES {
                let (row, col) = (lane / GROUP, lane % GROUP);
                let expected = if row < rows && col < cols { values[row * cols + col] } else { T::ZERO };
                assert_eq!(loaded.as_slice()[lane], expected, "load_rows, lane {lane} of {what}");
                let expected = if col < cols { values[col] } else { T::ZERO };
                assert_eq!(loaded_row.as_slice()[lane], expected, "load_row, lane {lane} of {what}");
            }
            for (i, &stored) in stored.iter().enumerate() {
                let expected = if i < count { values[i / cols * GROUP + i % cols] } else { marker };
                assert_eq!(stored, expected, "store_rows, {i} of {what}");
            }
            for (i, &stored) in stored_row.iter().enumerate() {
                assert_eq!(stored, if i < cols { values[i] } else { marker }, "store_row, {i} of {what}");
            }
        }
    }

    fn constants<L: Lanes<Element = T>, T: Scalar>(&mut self, l: L, isa: Isa) {
        for special in T::SPECIAL {
            let mut lines = [T::Line::ZERO; 3];
            l.vectorize(
                #[inline(always)]
                || {
                    l.store(&mut lines[0], l.splat(special));
                    l.store(&mut lines[1], l.constant(special.to_f64()));
                    l.store(&mut lines[2], l.zero());
                },
            );
            let [splat, constant, zero] = lines.each_ref().map(Line::as_slice);
            assert!(splat.iter().chain(constant).all(|x| x.bits() == special.bits()), "{special} on {isa}");
            assert!(zero.iter().all(|x| x.bits() == 0), "zero on {isa}");
        }
    }
}

/// Sum in the canonical order: lane `i` joins lane `i + n/2`, until one is left.
pub(crate) fn halved<T: Scalar>(values: &[T]) -> T {
    let (first, second) = values.split_at(values.len() / 2);
    if first.is_empty() {
        return second[0];
    }
    let joined: Vec<T> = first.iter().zip(second).map(|(&a, &b)| a.sum(b)).collect();
    halved(&joined)
}

/// The largest value, or NaN if there is one.
fn largest<T: Scalar>(values: &[T]) -> T {
    let of_two = |a: T, b: T| if a > b || a.bits() == u64::MAX { a } else { b };
    values.iter().copied().reduce(of_two).unwrap()
}

#[test]
fn lanes_are_joined_in_one_order_and_parts_of_lines_end_where_they_should() {
    on_every_isa!(f32, Across => _done);
    on_every_isa!(f64, Across => _done);
}

/// Check of interleaved lines.
struct Interleaving;

const LINES: usize = 4;

/// Compares operations on interleaved lines with the same operations on each line alone.
macro_rules! same_interleaved {
    ($l:ident, $isa:ident, $operands:expr, $($lanes:ident($($operand:ident),+ => $value:expr);)+) => {$(
        let [$($operand),+, ..] = $operands;
        let mut found = [line_of::<T>(&vec![T::from_f64(f64::NAN); T::LANES]); LINES];
        let mut expected = [T::Line::ZERO; LINES];
        $l.vectorize(
            #[inline(always)]
            || {
                for i in 0..LINES {
                    let $lanes = $l;
                    $(let $operand = $l.load(&$operand[i]);)+
                    $l.store(&mut expected[i], $value);
                }
                let $lanes = Interleaved::<L, LINES>($l);
                $(let $operand = $lanes.load(&$operand);)+
                $lanes.store(&mut found, $value);
            },
        );
        for i in 0..LINES {
            for (found, expected) in found[i].as_slice().iter().zip(expected[i].as_slice()) {
                assert_eq!(found.bits(), expected.bits(), "line {i} of {} on {}", stringify!($value), $isa);
            }
        }
    )+};
}

impl<T: Scalar> Check<T> for Interleaving {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
        for shift in 0..T::SPECIAL.len() {
            // Every line and operand has other values.
            let operand = |n: usize| -> [T::Line; LINES] {
                core::array::from_fn(|i| {
                    let value = |lane| T::SPECIAL[(shift + (5 * n + 1) * lane + 3 * i) % T::SPECIAL.len()];
                    line_of::<T>(&(0..T::LANES).map(value).collect::<Vec<_>>())
                })
            };
            same_interleaved! { l, isa, [operand(0), operand(1), operand(2)],
                l(a, b => l.add(a, b));
                l(a, b => l.sub(a, b));
                l(a, b => l.mul(a, b));
                l(a, b => l.div(a, b));
                l(a, b, c => l.mul_add(a, b, c));
                l(a, b, c => l.neg_mul_add(a, b, c));
                l(a, b => l.max(a, b));
                l(a, b => l.min(a, b));
                l(a => l.abs(a));
                l(a, b => l.flip_sign(a, b));
                l(a => l.sqrt(a));
                l(a => l.round(a));
                l(a => l.flushed(a));
                l(a => l.power_from_low_bits(a));
                l(a, b, c => l.select(l.lt(a, b), b, c));
                l(a, b, c => l.select(l.le(a, b), b, c));
                l(a, b, c => l.select(l.eq(a, b), b, c));
            }
            // Operations on eighths.
            let exponents = |n: usize| -> [T::Line; LINES] {
                core::array::from_fn(|i| {
                    let value =
                        |lane| T::from_f64(((shift + 7 * lane + 3 * n + 5 * i) % 97) as f64 / 8.0 - 6.0);
                    line_of::<T>(&(0..T::LANES).map(value).collect::<Vec<_>>())
                })
            };
            let table = [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5];
            same_interleaved! { l, isa, [exponents(0), exponents(1)],
                l(a => l.eighths(a, 1.0).value);
                l(a => l.lookup8(&l.eighths(a, 1.0), &table));
                l(a => l.exp2_floor(&l.eighths(a, 1.0)));
                l(a, b => l.scale_by_floor(b, &l.eighths(a, 1.0)));
                l(a, b => l.ldexp(b, l.round(a)));
                l(a => l.exp2i(l.round(a)));
            }
        }
    }
}

#[test]
fn interleaved_lines_have_the_bits_of_each_alone() {
    on_every_isa!(f32, Interleaving => _done);
    on_every_isa!(f64, Interleaving => _done);
}
