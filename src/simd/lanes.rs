//! The operations of one vector, a cache line of elements, as traits that every instruction set implements.
//!
//! A vector holds 16 `f32` or 8 `f64`, whatever the registers are: one 512-bit register with AVX-512, two
//! 256-bit registers with AVX2, the arrays of `wide` elsewhere. So layouts, tails and the order of every
//! reduction are the same everywhere, and an algorithm over [`Lanes`] gives the same bits on AVX2 and
//! AVX-512. A pair of registers also gives AVX2 two independent accumulators per operation, which hides
//! latency in element-wise loops.
//!
//! A value of a [`Lanes`] type is a *token*. Detection makes one, or a token of the other element type, so
//! holding it proves that the CPU has the instructions, and its methods are safe to call. They compile to
//! single instructions only inside [`Lanes::vectorize`]. Every function between it and a lane method must be
//! `#[inline(always)]`: otherwise it loses the features, and each operation becomes a call.
//!
//! A build without optimization gives each temporary of each inlined function a place of its own on the
//! stack: the step of a small network, with all activations, losses and optimizers in one function, took
//! 2.8 MiB, and threads have two. There, and there alone, some functions are calls: each activation by one
//! formula, a loss, an optimizer, the operations of a small network's layer (`unoptimized`, see `build.rs`).

use crate::simd::bf16::VisitPairs;
use crate::simd::float_bits::{Eighths, biased_shift, eighths_shift, lowest_exponent, shift};
use crate::simd::prefetch::{CacheLevel, prefetch_line};
use crate::simd::scalar::{CacheLine, Element, Line, Scalar};

/// Lanes of a group: room for one row of up to four features.
pub(crate) const GROUP: usize = 4;

/// A cache line of the elements of `L`.
pub(crate) type LineOf<L> = <<L as Arithmetic>::Element as Scalar>::Line;

/// Shape of row-major rows that have a group of a line each: at most `LANES / GROUP` rows of at most `GROUP`
/// columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowShape {
    pub rows: usize,
    pub cols: usize,
}

impl RowShape {
    /// Checks that the rows fit into a line of `T` and that `x` holds them.
    ///
    /// # Panics
    /// If there are more rows, more columns or fewer elements than that.
    #[inline(always)]
    pub(super) fn check<T: Element>(self, x: &[T]) {
        // The bounds on both factors come first, so the product cannot overflow.
        assert!(self.cols <= GROUP && self.rows <= T::LANES / GROUP && self.rows * self.cols <= x.len());
    }
}

/// `N` elements of line `line`, from lane `first` on; 0 if there is no such line.
///
/// # Panics
/// If a line has fewer lanes than `first + N`.
#[inline(always)]
pub(super) fn part_of<T: Copy + Default, const N: usize, const LANES: usize>(
    lines: &[CacheLine<[T; LANES]>],
    line: usize,
    first: usize,
) -> [T; N] {
    lines
        .get(line)
        .map_or([T::default(); N], |line| *line.0[first..].first_chunk().expect("a part of a line"))
}

/// Operations that take and give vectors only, as a table in an `impl` of [`Arithmetic`]: for each the
/// instruction, or the function of a register, that does it.
///
/// The first word is the instruction set's macro that applies one to every register of a line, the second the
/// type of the results.
#[cfg(target_arch = "x86_64")]
macro_rules! instructions {
    (
        $of_registers:ident -> $result:ident;
        $($operation:ident($($operand:ident),+) = $instruction:path;)+
    ) => {$(
        #[inline(always)]
        fn $operation(self, $($operand: Self::Vector),+) -> Self::$result {
            // SAFETY: the token proves the features, and no operand is in memory.
            unsafe { $of_registers!($instruction, $($operand),+) }
        }
    )+};
}
#[cfg(target_arch = "x86_64")]
pub(super) use instructions;

/// Lane-wise operations on a vector, which is one line or several [interleaved](crate::simd::interleaved)
/// lines.
///
/// Sums, differences, products, quotients and square roots are the IEEE operations in every lane, rounded
/// once, with the same result on every CPU. So are [`Arithmetic::mul_add`] and [`Arithmetic::neg_mul_add`]
/// where there is a fused instruction; without one (portable lanes on x86-64, unless the build targets FMA)
/// they round twice. Other operations say what they give.
pub(crate) trait Arithmetic: Copy {
    type Element: Element;
    type Vector: Copy;
    type Mask: Copy;

    /// Whether [`Arithmetic::lookup8`] is one instruction.
    const LOOKS_UP: bool = false;

    fn splat(self, x: Self::Element) -> Self::Vector;

    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn div(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a b + c`.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `c - a b`.
    fn neg_mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger of both; `b` if either is NaN or both are equal, as -0 and +0 are.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The smaller of both; `b` if either is NaN or both are equal, as -0 and +0 are.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn abs(self, a: Self::Vector) -> Self::Vector;
    /// `magnitude` with its sign flipped where `sign` is negative: `copysign` for magnitudes >= 0.
    fn flip_sign(self, magnitude: Self::Vector, sign: Self::Vector) -> Self::Vector;
    fn sqrt(self, a: Self::Vector) -> Self::Vector;
    /// The nearest integer, ties to even, for numbers up to 2^22 in `f32` and 2^51 in `f64`; garbage for
    /// larger ones.
    ///
    /// A result of 0 has either sign.
    #[inline(always)]
    fn round(self, a: Self::Vector) -> Self::Vector {
        let shift = self.constant(const { shift::<Self::Element>() });
        self.sub(self.add(a, shift), shift)
    }

    /// `2^n` for integers `n` whose power is a normal number.
    #[inline(always)]
    fn exp2i(self, n: Self::Vector) -> Self::Vector {
        self.power_from_low_bits(self.add(n, self.constant(const { biased_shift::<Self::Element>() })))
    }
    /// `2^n` from the last bits of `a`, 8 in `f32` and 11 in `f64`, which hold `n` plus the bias of
    /// exponents.
    ///
    /// The bit before them must be 0.
    fn power_from_low_bits(self, a: Self::Vector) -> Self::Vector;
    /// `x factor` rounded to eighths; garbage for products of more than a few times the range of exponents.
    ///
    /// The sum of the product and a number whose last bit is worth 1/8 is rounded to eighths, which stand in
    /// the last bits. That number also holds the bias of exponents.
    #[inline(always)]
    fn eighths(self, x: Self::Vector, factor: f64) -> Eighths<Self::Vector> {
        let shift = self.constant(const { eighths_shift::<Self::Element>() });
        let shifted = self.mul_add(x, self.constant(factor), shift);
        Eighths { value: self.sub(shifted, shift), shifted }
    }
    /// The element of a table of eight at the index `8 (e - floor(e))`, in each lane.
    #[inline(always)]
    fn lookup8(self, e: &Eighths<Self::Vector>, table: &[f32; 8]) -> Self::Vector {
        let eighths = self.sub(e.value, self.floor(e));
        let mut value = self.constant(f64::from(table[0]));
        for (i, &element) in table.iter().enumerate().skip(1) {
            let reached = self.le(self.constant(0.125 * i as f64), eighths);
            value = self.select(reached, self.constant(f64::from(element)), value);
        }
        value
    }
    /// `2^floor(e)` where that is a normal number; elsewhere a number no larger than the smallest normal one.
    #[inline(always)]
    fn exp2_floor(self, e: &Eighths<Self::Vector>) -> Self::Vector {
        self.exp2i(self.max(self.constant(const { lowest_exponent::<Self::Element>() }), self.floor(e)))
    }
    /// `a 2^floor(e)`, under the conditions of [`Arithmetic::ldexp`].
    #[inline(always)]
    fn scale_by_floor(self, a: Self::Vector, e: &Eighths<Self::Vector>) -> Self::Vector {
        self.ldexp(a, self.floor(e))
    }
    /// `floor(e)`, the largest integer that is not larger.
    #[inline(always)]
    fn floor(self, e: &Eighths<Self::Vector>) -> Self::Vector {
        self.round(self.sub(e.value, self.constant(7.0 / 16.0)))
    }
    /// `a 2^n` for integers `n`, rounded once, if `a` is of the order of 1 and the result at most a few times
    /// beyond the range of numbers, on either side; garbage otherwise.
    #[inline(always)]
    fn ldexp(self, a: Self::Vector, n: Self::Vector) -> Self::Vector {
        // In two factors: neither is denormal or infinite, and only the last product rounds.
        let half = self.round(self.mul(n, self.constant(0.5)));
        self.mul(self.mul(a, self.exp2i(half)), self.exp2i(self.sub(n, half)))
    }

    /// `a < b`; false if either is NaN.
    fn lt(self, a: Self::Vector, b: Self::Vector) -> Self::Mask;
    /// `a <= b`; false if either is NaN.
    fn le(self, a: Self::Vector, b: Self::Vector) -> Self::Mask;
    /// `a == b`; false if either is NaN.
    fn eq(self, a: Self::Vector, b: Self::Vector) -> Self::Mask;
    /// `a` where the mask is set, `b` elsewhere.
    fn select(self, mask: Self::Mask, a: Self::Vector, b: Self::Vector) -> Self::Vector;

    /// `a` with 0 in place of -0 and of denormal numbers, which are smaller than [`Scalar::MIN_NORMAL`].
    ///
    /// On many processors each operation on a denormal number takes a hundred cycles.
    #[inline(always)]
    fn flushed(self, a: Self::Vector) -> Self::Vector {
        let smallest = self.splat(Self::Element::MIN_NORMAL);
        self.select(self.lt(self.abs(a), smallest), self.zero(), a)
    }

    #[inline(always)]
    fn zero(self) -> Self::Vector {
        self.splat(Self::Element::ZERO)
    }

    /// A constant, rounded to the element type, in every lane.
    #[inline(always)]
    fn constant(self, x: f64) -> Self::Vector {
        self.splat(Self::Element::from_f64(x))
    }
}

/// The operations of one instruction set on a line of elements.
pub(crate) trait Lanes: VisitPairs + Send + Sync + 'static {
    /// Lines of accumulators that a micro-kernel may keep in registers, leaving room for its operands.
    const ACCUMULATORS: usize;

    /// Whether [`Lanes::div_first_half`] takes less time than [`Arithmetic::div`].
    const DIVIDES_HALVES: bool = false;

    /// Whether functions take less time a line on [interleaved](crate::simd::interleaved) lines.
    const INTERLEAVES: bool = false;

    /// Whether the operations of small networks are inlined into one function, rather than called.
    const INLINES_SMALL: bool = true;

    /// Runs `f` compiled for this instruction set. `f` must be `#[inline(always)]`.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    /// Runs `f` in place, or by a call where [`Lanes::INLINES_SMALL`] is false. `f` must be
    /// `#[inline(always)]`.
    #[inline(always)]
    fn inline_small<R>(self, f: impl FnOnce() -> R) -> R {
        if Self::INLINES_SMALL { f() } else { self.vectorize(f) }
    }

    /// Prefetches the line of an element into L1. The index may lie past the end of the slice.
    #[inline(always)]
    fn prefetch<X>(self, slice: &[X], index: usize) {
        prefetch_line(slice, index, CacheLevel::L1);
    }
    /// Prefetches the line of an element into L2, so that nothing in use leaves L1. The index may lie past
    /// the end.
    #[inline(always)]
    fn prefetch_to_l2<X>(self, slice: &[X], index: usize) {
        prefetch_line(slice, index, CacheLevel::L2);
    }
    fn load(self, line: &<Self::Element as Scalar>::Line) -> Self::Vector;
    fn store(self, line: &mut <Self::Element as Scalar>::Line, v: Self::Vector);
    /// Loads up to a line of elements; lanes past the slice are 0.
    fn load_slice(self, x: &[Self::Element]) -> Self::Vector;
    /// Stores as many lanes as the slice has elements, at most a line.
    fn store_slice(self, x: &mut [Self::Element], v: Self::Vector);
    /// [`Lanes::load_slice`] without a store-forwarding stall, for elements that were just stored or lie
    /// beside such.
    ///
    /// A wide load waits until all parts of it that were just stored are in the cache. A masked load waits
    /// for every store within its whole width.
    #[inline(always)]
    fn load_few(self, x: &[Self::Element]) -> Self::Vector {
        if x.len() <= GROUP {
            return self.select(self.first_lanes(GROUP), self.load_row(x), self.zero());
        }
        self.load_slice(x)
    }
    /// [`Lanes::store_slice`] for elements that are soon loaded or lie beside such, as in
    /// [`Lanes::load_few`].
    #[inline(always)]
    fn store_few(self, x: &mut [Self::Element], v: Self::Vector) {
        if x.len() <= GROUP {
            return self.store_row(x, v);
        }
        self.store_slice(x, v);
    }
    /// The mask of the first `n` lanes.
    fn first_lanes(self, n: usize) -> Self::Mask;

    /// [`Arithmetic::div`] in the first half of lanes; garbage in the others.
    #[inline(always)]
    fn div_first_half(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.div(a, b)
    }

    /// The sum of all lanes in the canonical order.
    ///
    /// The second half of lanes is added to the first until one lane is left: lane `i` first meets lane
    /// `i + LANES/2`.
    fn reduce_sum(self, a: Self::Vector) -> Self::Element;
    /// [`Lanes::reduce_sum`] of four vectors, in the four lanes of every group.
    #[inline(always)]
    fn reduce_sum4(self, a: [Self::Vector; GROUP]) -> Self::Vector {
        self.vectorize(
            #[inline(always)]
            || {
                let mut sums = [Self::Element::ZERO; GROUP];
                for (sum, a) in sums.iter_mut().zip(a) {
                    *sum = self.reduce_sum(a);
                }
                self.load_group(&sums)
            },
        )
    }
    /// The sum of all lanes in the canonical order, in `f64`.
    fn reduce_sum_f64(self, a: Self::Vector) -> f64;
    /// The largest lane; NaN if any lane is.
    fn reduce_max(self, a: Self::Vector) -> Self::Element;

    /// The lanes of `a` and `b` alternately, `a` first: the first line of them and the second.
    fn interleave(self, a: Self::Vector, b: Self::Vector) -> (Self::Vector, Self::Vector);

    /// Four columns of up to `LANES` lines: lane `i` of vector `j` is element `first + j` of line `i`, 0 if
    /// there is no such line. `first` is a multiple of 4.
    ///
    /// # Panics
    /// If `first + GROUP > LANES`.
    #[inline(always)]
    fn columns(self, from: &[<Self::Element as Scalar>::Line], first: usize) -> [Self::Vector; GROUP] {
        self.vectorize(
            #[inline(always)]
            || {
                let mut lines = [<Self::Element as Scalar>::Line::ZERO; GROUP];
                for (i, from) in from.iter().take(Self::Element::LANES).enumerate() {
                    for (line, &x) in lines.iter_mut().zip(&from.as_slice()[first..first + GROUP]) {
                        line.as_mut_slice()[i] = x;
                    }
                }
                let mut columns = [self.zero(); GROUP];
                for (column, line) in columns.iter_mut().zip(&lines) {
                    *column = self.load(line);
                }
                columns
            },
        )
    }

    /// The same four elements in every group.
    #[inline(always)]
    fn load_group(self, group: &[Self::Element; GROUP]) -> Self::Vector {
        let mut line = <Self::Element as Scalar>::Line::ZERO;
        for to in line.as_mut_slice().chunks_exact_mut(GROUP) {
            to.copy_from_slice(group);
        }
        self.load(&line)
    }
    /// One row of up to four elements in every group, by one load an element; lanes past the row are 0.
    ///
    /// # Panics
    /// If `x.len() > GROUP`.
    #[inline(always)]
    fn load_row(self, x: &[Self::Element]) -> Self::Vector {
        let zero = Self::Element::ZERO;
        match *x {
            [] => self.zero(),
            [a] => self.load_group(&[a, zero, zero, zero]),
            [a, b] => self.load_group(&[a, b, zero, zero]),
            [a, b, c] => self.load_group(&[a, b, c, zero]),
            [a, b, c, d] => self.load_group(&[a, b, c, d]),
            _ => panic!("a group has four lanes"),
        }
    }
    /// Stores the first group as a row of up to four elements, by one store an element.
    ///
    /// # Panics
    /// If `x.len() > GROUP`.
    #[inline(always)]
    fn store_row(self, x: &mut [Self::Element], v: Self::Vector) {
        let mut line = <Self::Element as Scalar>::Line::ZERO;
        self.store(&mut line, v);
        match (x, line.as_slice()) {
            ([], _) => {}
            ([a], &[p, ..]) => *a = p,
            ([a, b], &[p, q, ..]) => (*a, *b) = (p, q),
            ([a, b, c], &[p, q, r, ..]) => (*a, *b, *c) = (p, q, r),
            ([a, b, c, d], &[p, q, r, s, ..]) => (*a, *b, *c, *d) = (p, q, r, s),
            _ => panic!("a group has four lanes"),
        }
    }
    /// Lane `k < 4` of each group in all four of its lanes.
    #[inline(always)]
    fn splat_in_groups(self, a: Self::Vector, k: usize) -> Self::Vector {
        let mut line = <Self::Element as Scalar>::Line::ZERO;
        self.store(&mut line, a);
        for group in line.as_mut_slice().chunks_exact_mut(GROUP) {
            group.fill(group[k]);
        }
        self.load(&line)
    }
    /// Loads row-major `[rows, cols]`, each row into a group of its own; other lanes are 0.
    ///
    /// # Panics
    /// If `cols > GROUP`, `rows > LANES / GROUP` or `x.len() < rows * cols`.
    #[inline(always)]
    fn load_rows(self, x: &[Self::Element], shape: RowShape) -> Self::Vector {
        shape.check(x);
        let RowShape { rows, cols } = shape;
        let mut line = <Self::Element as Scalar>::Line::ZERO;
        for (r, group) in line.as_mut_slice().chunks_exact_mut(GROUP).enumerate().take(rows) {
            for (lane, &x) in group.iter_mut().zip(&x[r * cols..][..cols]) {
                *lane = x;
            }
        }
        self.load(&line)
    }
    /// Stores the rows that [`Lanes::load_rows`] loads.
    ///
    /// # Panics
    /// If `cols > GROUP`, `rows > LANES / GROUP` or `x.len() < rows * cols`.
    #[inline(always)]
    fn store_rows(self, x: &mut [Self::Element], shape: RowShape, v: Self::Vector) {
        shape.check(x);
        let RowShape { rows, cols } = shape;
        let mut line = <Self::Element as Scalar>::Line::ZERO;
        self.store(&mut line, v);
        for (r, group) in line.as_slice().chunks_exact(GROUP).enumerate().take(rows) {
            for (x, &lane) in x[r * cols..][..cols].iter_mut().zip(group) {
                *x = lane;
            }
        }
    }
}
