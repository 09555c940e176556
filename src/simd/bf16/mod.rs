//! bf16, the upper half of an `f32`: rounding to it, and sums of products of pairs, on every instruction set.
//!
//! | file | subject |
//! |---|---|
//! | `widening` | products by two fused multiply-adds of `f32`, on every instruction set |
//! | `portable` | conversions of portable lanes |
//! | `avx2` | conversions of pairs of 256-bit registers |
//! | `avx512` | conversions of 512-bit registers, and the instructions of AVX512-BF16 |
//!
//! **The product.** `sum + a.odd b.odd`, rounded, `+ a.even b.even`, rounded: two fused multiply-adds, the
//! odd elements first. So does `vdpbf16ps`, which besides takes denormal numbers as 0 and makes denormal
//! results 0. Neither ever happens here, by what is rounded to bf16 and what sums start from, and so all
//! instruction sets give the same bits:
//!
//! * Rounding makes numbers below 2^-56 (1.4e-17) 0. The last of the eight bits of any other is worth 2^-63
//!   or more, so every product is a multiple of 2^-126, the smallest normal `f32`.
//! * Sums start from 0, from a sum of such products, or from what [`PairProducts::whole`] has rounded to a
//!   multiple of 2^-126.
//! * A multiple of 2^-126 plus another is one, and rounded to 24 bits it still is: below 2^-102 it is exact,
//!   from there on the last bit is worth more. Other than 0 none is denormal.
//!
//! Without a fused instruction (portable lanes on x86-64) a product of eight bits by eight is exact, so that
//! only its addition rounds: the bits are the same there too, unless a product by itself is past the range of
//! `f32`, where the fused sum need not be.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;
mod widening;

use crate::simd::lanes::{Arithmetic, Lanes};
use crate::simd::scalar::{CacheLine, Element};

#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) use avx512::Avx512Bf16;
#[cfg(test)]
pub(crate) use widening::Widening;

/// A number of eight significant bits and the range of `f32`, whose upper half it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Bf16(u16);

/// The magnitude from which on numbers are rounded to bf16; smaller ones become 0. See the module.
pub(crate) const SMALLEST: f32 = f32::from_bits((127 - 56) << 23);

/// What is added to the bits of an `f32` before its lower half is dropped, beside the last bit that stays: a
/// little less than half of that bit, so that ties go to even.
const BELOW_HALF: u32 = 0x7fff;

/// The bit that makes a NaN quiet.
const QUIET: u32 = 0x0040_0000;

/// The upper half of an `f32`.
const UPPER: u32 = 0xffff_0000;

/// `2^-23`, by which the multiples of `2^-126` become those of the smallest denormal number.
const TO_DENORMALS: f64 = 1.0 / (1 << 23) as f64;

impl Bf16 {
    pub(crate) const ONE: Self = Self(0x3f80);

    /// The nearest number, ties to even; 0 below [`SMALLEST`], infinity past the range. NaN stays NaN.
    #[inline(always)]
    pub(crate) fn round(x: f32) -> Self {
        let bits = x.to_bits();
        let rounded =
            if x.is_nan() { bits | QUIET } else { bits.wrapping_add(BELOW_HALF + (bits >> 16 & 1)) };
        Self(if x.abs() < SMALLEST { 0 } else { (rounded >> 16) as u16 })
    }

    /// The same number.
    #[inline(always)]
    pub(crate) fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

/// Two numbers whose products with another two go into one sum: the even one in the lower half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Pair(u32);

impl Pair {
    pub(crate) const ONES: Self = Self::new(Bf16::ONE, Bf16::ONE);
    /// Pairs of a line.
    pub(crate) const PER_LINE: usize = 16;
    /// Pairs of a half line.
    pub(crate) const PER_HALF: usize = 8;

    pub(crate) const fn new(even: Bf16, odd: Bf16) -> Self {
        Self(even.0 as u32 | (odd.0 as u32) << 16)
    }

    #[inline(always)]
    pub(crate) fn even(self) -> Bf16 {
        Bf16(self.0 as u16)
    }

    #[inline(always)]
    pub(crate) fn odd(self) -> Bf16 {
        Bf16((self.0 >> 16) as u16)
    }
}

/// A cache line of pairs: a pair for each lane of a line of `f32`.
pub(crate) type PairLine = CacheLine<[Pair; Pair::PER_LINE]>;

impl PairLine {
    pub(crate) const ZERO: Self = Self([Pair(0); Pair::PER_LINE]);

    #[cfg(test)]
    pub(crate) fn new(pairs: [Pair; Pair::PER_LINE]) -> Self {
        Self(pairs)
    }
}

/// A line of `f32` rounded to bf16: 16 numbers in order, or eight pairs of neighbours.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub(crate) struct HalfLine([Pair; Pair::PER_HALF]);

impl HalfLine {
    pub(crate) const ZERO: Self = Self([Pair(0); Pair::PER_HALF]);

    #[cfg(test)]
    pub(crate) fn new(pairs: [Pair; Pair::PER_HALF]) -> Self {
        Self(pairs)
    }
}

/// The pairs of consecutive lines as one slice.
#[inline(always)]
pub(crate) fn pairs_of_lines(lines: &[PairLine]) -> &[Pair] {
    // SAFETY: a line is 16 pairs of four bytes, which its alignment of 64 does not pad.
    unsafe { core::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * Pair::PER_LINE) }
}

/// The pairs of consecutive half lines as one slice.
#[inline(always)]
pub(crate) fn pairs_of_halves(lines: &[HalfLine]) -> &[Pair] {
    // SAFETY: a half line is eight pairs of four bytes, which its alignment of 32 does not pad.
    unsafe { core::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * Pair::PER_HALF) }
}

/// Tiles of sums that the registers of an instruction set hold beside their operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TileSizes {
    /// Rows of the tallest tile, a power of two.
    pub rows: usize,
    /// Panels of a tile of many rows.
    pub panels: usize,
    /// Panels of a tile of one row, which reads each line once.
    pub panels_of_one: usize,
    /// Panels of a tile of two rows.
    pub panels_of_two: usize,
}

/// The vectors of an instruction set.
pub(crate) type VectorOf<P> = <<P as PairProducts>::Lanes as Arithmetic>::Vector;

/// Products of pairs of bf16 by one instruction set.
///
/// A value is a token, as of [`Lanes`]. Everything between [`PairProducts::vectorize`] and a method must be
/// `#[inline(always)]`.
pub(crate) trait PairProducts: Copy + Send + Sync + 'static {
    /// The lanes of the sums.
    type Lanes: Lanes;
    /// A pair for each lane.
    type Pairs: Copy;
    const TILES: TileSizes;

    fn lanes(self) -> Self::Lanes;
    /// Runs `f` compiled for this instruction set. `f` must be `#[inline(always)]`.
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R;

    fn load_pairs(self, line: &PairLine) -> Self::Pairs;
    /// A pair in every lane.
    fn splat_pair(self, pair: Pair) -> Self::Pairs;
    /// `sum + a.odd b.odd`, then `+ a.even b.even`.
    fn mul_add_pairs(self, a: Self::Pairs, b: Self::Pairs, sum: VectorOf<Self>) -> VectorOf<Self>;

    /// [`Bf16::round`] in every lane, widened.
    fn round(self, a: VectorOf<Self>) -> VectorOf<Self>;
    /// Stores numbers that are [rounded](PairProducts::round), in order.
    fn store_half(self, to: &mut HalfLine, rounded: VectorOf<Self>);
    /// Stores numbers that are [rounded](PairProducts::round): lane `i` of both is pair `i`.
    fn store_pairs(self, to: &mut PairLine, even: VectorOf<Self>, odd: VectorOf<Self>);

    /// The nearest multiple of 2^-126, ties to even: what a sum may start from.
    ///
    /// Denormal numbers are rounded to multiples of 2^-149, the smallest; all others have room for 24 bits.
    #[inline(always)]
    fn whole(self, a: VectorOf<Self>) -> VectorOf<Self> {
        let l = self.lanes();
        l.mul(l.mul(a, l.constant(TO_DENORMALS)), l.constant(1.0 / TO_DENORMALS))
    }
}

/// Work that is the same on the products of any instruction set.
pub(crate) trait PairVisitor<T: Element> {
    fn visit<P: PairProducts<Lanes: Lanes<Element = T>>>(self, p: P);
}

/// Lanes that have products of pairs beside them.
pub(crate) trait VisitPairs: Arithmetic {
    /// Calls the visitor with the fastest products of this instruction set. It must cross by
    /// [`PairProducts::vectorize`] itself.
    ///
    /// # Panics
    /// If the lanes are of `f64`: sums of products of bf16 are `f32`.
    fn visit_pairs<V: PairVisitor<Self::Element>>(self, visitor: V);
}
