//! Products of pairs by two fused multiply-adds of `f32`: a number of bf16 followed by 16 zeros is the same
//! number.

use crate::simd::bf16::{HalfLine, Pair, PairLine, PairProducts, TileSizes};
use crate::simd::lanes::Lanes;

/// A pair for each lane, as `f32`.
#[derive(Clone, Copy)]
pub(crate) struct Widened<V> {
    pub even: V,
    pub odd: V,
}

/// Conversions between lanes of `f32` and pairs.
pub(crate) trait Bf16Lanes: Lanes<Element = f32> {
    const TILES: TileSizes;

    fn widen(self, line: &PairLine) -> Widened<Self::Vector>;
    fn widen_splat(self, pair: Pair) -> Widened<Self::Vector>;
    /// See [`PairProducts::round`].
    fn round_to_bf16(self, a: Self::Vector) -> Self::Vector;
    /// See [`PairProducts::store_half`].
    fn store_half(self, to: &mut HalfLine, rounded: Self::Vector);
    /// See [`PairProducts::store_pairs`].
    fn store_pairs(self, to: &mut PairLine, even: Self::Vector, odd: Self::Vector);
}

/// Products by widening to the lanes of `L`.
#[derive(Clone, Copy)]
pub(crate) struct Widening<L>(pub L);

impl<L: Bf16Lanes> PairProducts for Widening<L> {
    type Lanes = L;
    type Pairs = Widened<L::Vector>;
    const TILES: TileSizes = L::TILES;

    #[inline(always)]
    fn lanes(self) -> L {
        self.0
    }
    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        self.0.vectorize(f)
    }
    #[inline(always)]
    fn load_pairs(self, line: &PairLine) -> Widened<L::Vector> {
        self.0.widen(line)
    }
    #[inline(always)]
    fn splat_pair(self, pair: Pair) -> Widened<L::Vector> {
        self.0.widen_splat(pair)
    }
    #[inline(always)]
    fn mul_add_pairs(self, a: Widened<L::Vector>, b: Widened<L::Vector>, sum: L::Vector) -> L::Vector {
        self.0.mul_add(a.even, b.even, self.0.mul_add(a.odd, b.odd, sum))
    }
    #[inline(always)]
    fn round(self, a: L::Vector) -> L::Vector {
        self.0.round_to_bf16(a)
    }
    #[inline(always)]
    fn store_half(self, to: &mut HalfLine, rounded: L::Vector) {
        self.0.store_half(to, rounded);
    }
    #[inline(always)]
    fn store_pairs(self, to: &mut PairLine, even: L::Vector, odd: L::Vector) {
        self.0.store_pairs(to, even, odd);
    }
}
