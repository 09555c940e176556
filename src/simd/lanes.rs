//! What a machine can do: sixteen `f32` or eight `f64` at a time, on every instruction set.
//!
//! A vector is always one cache line, whatever the registers are: one 512-bit register with AVX-512,
//! two 256-bit registers with AVX2, `wide`'s arrays elsewhere. So layouts, tails and the order of
//! every reduction are the same everywhere, and an algorithm written over [`Lanes`] gives the same
//! bits on AVX2 and AVX-512 without being written for it. A pair of registers also gives AVX2 two
//! independent accumulators_of per operation, which hides latency in element-wise loops.
//!
//! A value of a [`Lanes`] type is a *token*: it can be had only from detection, so holding one proves
//! that the CPU has the instructions and its methods are safe to call. They compile to single
//! instructions only inside [`Lanes::vectorize`]; every function between it and a lane method must be
//! `#[inline(always)]`, or it loses the features and each operation becomes a call.

use crate::simd::float_bits::Eighths;
use crate::simd::float_bits::biased_shift;
use crate::simd::float_bits::eighths_shift;
use crate::simd::float_bits::lowest_exponent;
use crate::simd::float_bits::shift;
use crate::simd::prefetch::prefetch_line;
use crate::simd::scalar::CacheLine;
use crate::simd::scalar::Line;
use crate::simd::scalar::Scalar;

use crate::simd::scalar::Element;

/// Lanes of a quad: room for one row of up to four features.
pub const GROUP: usize = 4;

/// Shape of row-major rows that have a group of a line each: at most `LANES / GROUP` rows of at most `GROUP` columns.
#[derive(Clone, Copy, Debug)]
pub struct RowShape {
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

/// Some elements of a line, from lane `first` on; 0 if there is no such line.
///
/// # Panics
/// If a line has fewer lanes.
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

/// What is done lane by lane, whatever a vector is: a line, or several beside one another ([`Interleaved`](crate::simd::interleaved)).
///
/// Each is the IEEE operation in every lane, rounded once, with the same result on every machine, but for two:
/// [`Arithmetic::mul_add`] and [`Arithmetic::neg_mul_add`] round twice where there is no fused instruction (portable lanes on
/// x86-64), and what [`Arithmetic::round`] gives for 0 and for large numbers is open.
pub trait Arithmetic: Copy {
    type Element: Element;
    type Vector: Copy;
    type Mask: Copy;

    /// Whether [`Arithmetic::by_eighth`] is one instruction.
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
    /// The larger of both; `b` if either is NaN.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The smaller of both; `b` if either is NaN.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn abs(self, a: Self::Vector) -> Self::Vector;
    /// `magnitude` with its sign flipped where `sign` is negative: `copysign` for magnitudes >= 0.
    fn flip_sign(self, magnitude: Self::Vector, sign: Self::Vector) -> Self::Vector;
    fn sqrt(self, a: Self::Vector) -> Self::Vector;
    /// The nearest integer, ties to even, of numbers up to 2^22 in `f32` and 2^51 in `f64`; garbage beyond. 0 has either sign.
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
    /// `2^n`, where the last bits of `a`, 8 in `f32` and 11 in `f64`, are `n` plus the bias of exponents, and the bit before
    /// them is 0.
    fn power_from_low_bits(self, a: Self::Vector) -> Self::Vector;
    /// `x factor` rounded to eighths, for products of no more than a few times the range of exponents; garbage beyond.
    ///
    /// Added to a number whose last bit is worth 1/8, the product is rounded to eighths, which stand in the last bits, with the bias of
    /// exponents, for that is in the number too.
    #[inline(always)]
    fn eighths(self, x: Self::Vector, factor: f64) -> Eighths<Self::Vector> {
        let shift = self.constant(const { eighths_shift::<Self::Element>() });
        let shifted = self.mul_add(x, self.constant(factor), shift);
        Eighths { value: self.sub(shifted, shift), shifted }
    }
    /// For each lane the one of the table's eight whose index is the number of eighths past the next integer below.
    #[inline(always)]
    fn by_eighth(self, e: &Eighths<Self::Vector>, table: &[f32; 8]) -> Self::Vector {
        let eighths = self.sub(e.value, self.floor(e));
        let mut value = self.constant(f64::from(table[0]));
        for (i, &element) in table.iter().enumerate().skip(1) {
            let reached = self.le(self.constant(0.125 * i as f64), eighths);
            value = self.select(reached, self.constant(f64::from(element)), value);
        }
        value
    }
    /// `2^n` for the next integer `n` below, where that is normal; no more than the smallest normal number where it is less.
    #[inline(always)]
    fn exp2_floor(self, e: &Eighths<Self::Vector>) -> Self::Vector {
        self.exp2i(self.max(self.constant(const { lowest_exponent::<Self::Element>() }), self.floor(e)))
    }
    /// [`Arithmetic::scale`] by the next integer below.
    #[inline(always)]
    fn scale_by_floor(self, a: Self::Vector, e: &Eighths<Self::Vector>) -> Self::Vector {
        self.scale(a, self.floor(e))
    }
    /// The next integer below.
    #[inline(always)]
    fn floor(self, e: &Eighths<Self::Vector>) -> Self::Vector {
        self.round(self.sub(e.value, self.constant(7.0 / 16.0)))
    }
    /// `a 2^n` for integers `n`, rounded once, if `a` is near 1 and the result at most a few times past the
    /// range of numbers, on either side; garbage beyond.
    #[inline(always)]
    fn scale(self, a: Self::Vector, n: Self::Vector) -> Self::Vector {
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

    /// `a` with 0 in place of denormal numbers and of -0. They are smaller than [`Element::MIN_NORMAL`](Element::MIN_NORMAL),
    /// and on many processors each operation on one takes a hundred cycles.
    #[inline(always)]
    fn flushed(self, a: Self::Vector) -> Self::Vector {
        let smallest = self.splat(Self::Element::MIN_NORMAL);
        self.select(self.lt(self.abs(a), smallest), self.zero(), a)
    }

    #[inline(always)]
    fn zero(self) -> Self::Vector {
        self.splat(Self::Element::ZERO)
    }

    /// The element nearest to a constant, in every lane.
    #[inline(always)]
    fn constant(self, x: f64) -> Self::Vector {
        self.splat(Self::Element::from_f64(x))
    }
}

/// The operations of one instruction set on a line of elements.
pub trait Lanes: Arithmetic + Send + Sync + 'static {
    /// Lines of accumulators that a micro-kernel may keep in registers, leaving room for its operands.
    const ACCUMULATORS: usize;

    /// Whether [`Lanes::div_first_half`] takes less time than a whole division.
    const DIVIDES_HALVES: bool = false;

    /// Whether functions take less time for several lines [`abreast`].
    const INTERLEAVES: bool = false;

    /// Runs `f` compiled for this instruction set. `f` must be `#[inline(always)]`.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    /// Asks for the line of an element that may soon be needed, and may lie past the end of the slice.
    #[inline(always)]
    fn prefetch<X>(self, slice: &[X], index: usize) {
        prefetch_line(slice, index, true);
    }
    /// The same for what is needed later: as far as L2, so that nothing in use leaves L1 for it.
    #[inline(always)]
    fn prefetch_to_l2<X>(self, slice: &[X], index: usize) {
        prefetch_line(slice, index, false);
    }
    fn load(self, line: &<Self::Element as Scalar>::Line) -> Self::Vector;
    fn store(self, line: &mut <Self::Element as Scalar>::Line, v: Self::Vector);
    /// Loads up to a line of elements; lanes past the slice are 0.
    fn load_slice(self, x: &[Self::Element]) -> Self::Vector;
    /// Stores as many lanes as the slice has elements, at most a line.
    fn store_slice(self, x: &mut [Self::Element], v: Self::Vector);
    /// [`Lanes::load_slice`] of what may just have been stored, or lie beside what has: a wide load waits until what was stored in
    /// parts is in the cache, and a masked one until all is that was stored within its whole width.
    #[inline(always)]
    fn load_few(self, x: &[Self::Element]) -> Self::Vector {
        if x.len() <= GROUP {
            return self.select(self.first(GROUP), self.load_row(x), self.zero());
        }
        self.load_slice(x)
    }
    /// [`Lanes::store_slice`] of what may soon be loaded, or lie beside what will.
    #[inline(always)]
    fn store_few(self, x: &mut [Self::Element], v: Self::Vector) {
        if x.len() <= GROUP {
            return self.store_row(x, v);
        }
        self.store_slice(x, v);
    }
    /// The first `n` lanes.
    fn first(self, n: usize) -> Self::Mask;

    /// [`Arithmetic::div`] in the first half of lanes; garbage in the others.
    #[inline(always)]
    fn div_first_half(self, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        self.div(a, b)
    }

    /// The sum of all lanes in the canonical order: halves are added until one lane is left, so that
    /// lane `i` first meets lane `i + LANES/2`.
    fn sum(self, a: Self::Vector) -> Self::Element;
    /// Those of four vectors, in the four lanes of every quad.
    #[inline(always)]
    fn sums(self, a: [Self::Vector; GROUP]) -> Self::Vector {
        let mut sums = [Self::Element::ZERO; GROUP];
        for (sum, a) in sums.iter_mut().zip(a) {
            *sum = self.sum(a);
        }
        self.load_group(&sums)
    }
    /// The sum of all lanes in the canonical order, in `f64`.
    fn sum_f64(self, a: Self::Vector) -> f64;
    /// The largest lane; NaN if any lane is.
    fn max_lane(self, a: Self::Vector) -> Self::Element;

    /// The lanes of both in turn, `a` first: the first line of them and the second.
    fn interleave(self, a: Self::Vector, b: Self::Vector) -> (Self::Vector, Self::Vector);

    /// Four columns of at most `LANES` lines, from `first` on, a multiple of 4: lane `i` of each is of line `i`, 0 if there is none.
    ///
    /// # Panics
    /// If there are fewer columns.
    #[inline(always)]
    fn columns(self, from: &[<Self::Element as Scalar>::Line], first: usize) -> [Self::Vector; GROUP] {
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
    }

    /// The same four elements in every quad.
    #[inline(always)]
    fn load_group(self, quad: &[Self::Element; GROUP]) -> Self::Vector {
        let mut line = <Self::Element as Scalar>::Line::ZERO;
        for to in line.as_mut_slice().chunks_exact_mut(GROUP) {
            to.copy_from_slice(quad);
        }
        self.load(&line)
    }
    /// One row of up to four elements in every quad, each loaded by itself; lanes past them are 0.
    ///
    /// # Panics
    /// If there are more.
    #[inline(always)]
    fn load_row(self, x: &[Self::Element]) -> Self::Vector {
        let zero = Self::Element::ZERO;
        match *x {
            [] => self.zero(),
            [a] => self.load_group(&[a, zero, zero, zero]),
            [a, b] => self.load_group(&[a, b, zero, zero]),
            [a, b, c] => self.load_group(&[a, b, c, zero]),
            [a, b, c, d] => self.load_group(&[a, b, c, d]),
            _ => panic!("a quad has four lanes"),
        }
    }
    /// Stores the first quad's row of up to four elements, each by itself.
    ///
    /// # Panics
    /// If there are more.
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
            _ => panic!("a quad has four lanes"),
        }
    }
    /// Lane `k < 4` of each quad in all four of its lanes.
    #[inline(always)]
    fn splat_in_groups(self, a: Self::Vector, k: usize) -> Self::Vector {
        let mut line = <Self::Element as Scalar>::Line::ZERO;
        self.store(&mut line, a);
        for quad in line.as_mut_slice().chunks_exact_mut(GROUP) {
            quad.fill(quad[k]);
        }
        self.load(&line)
    }
    /// Rows of at most four elements, as many as there are quads or fewer, each in a quad of its own. Other lanes are 0.
    ///
    /// # Panics
    /// If `x` is shorter than the rows, or the rows are longer or more than that.
    #[inline(always)]
    fn load_rows(self, x: &[Self::Element], shape: RowShape) -> Self::Vector {
        shape.check(x);
        let RowShape { rows, cols } = shape;
        let mut line = <Self::Element as Scalar>::Line::ZERO;
        for (r, quad) in line.as_mut_slice().chunks_exact_mut(GROUP).enumerate().take(rows) {
            for (lane, &x) in quad.iter_mut().zip(&x[r * cols..][..cols]) {
                *lane = x;
            }
        }
        self.load(&line)
    }
    /// Stores what [`Lanes::load_rows`] loads.
    ///
    /// # Panics
    /// If `x` is shorter than the rows.
    #[inline(always)]
    fn store_rows(self, x: &mut [Self::Element], shape: RowShape, v: Self::Vector) {
        let RowShape { rows, cols } = shape;
        let mut line = <Self::Element as Scalar>::Line::ZERO;
        self.store(&mut line, v);
        for (r, quad) in line.as_slice().chunks_exact(GROUP).enumerate().take(rows) {
            for (x, &lane) in x[r * cols..][..cols].iter_mut().zip(quad) {
                *x = lane;
            }
        }
    }
}

/// A cache line of the elements of some lanes.
pub(crate) type LineOf<L> = <<L as Arithmetic>::Element as Scalar>::Line;
