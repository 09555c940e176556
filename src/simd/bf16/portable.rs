//! Conversions of portable lanes, lane by lane over arrays, which the compiler vectorizes.

use wide::f32x16;

use crate::simd::bf16::widening::{Bf16Lanes, Widened, Widening};
use crate::simd::bf16::{Bf16, HalfLine, Pair, PairLine, PairVisitor, TileSizes, VisitPairs};
use crate::simd::lanes::Arithmetic;
use crate::simd::portable::Portable;

impl VisitPairs for Portable<f32> {
    #[inline(always)]
    fn visit_pairs<V: PairVisitor<f32>>(self, visitor: V) {
        visitor.visit(Widening(self));
    }
}

impl VisitPairs for Portable<f64> {
    #[inline(always)]
    fn visit_pairs<V: PairVisitor<f64>>(self, _: V) {
        unreachable!("networks of f64 refuse bf16")
    }
}

impl Bf16Lanes for Portable<f32> {
    /// SSE2 has 16 registers and a line takes four.
    const TILES: TileSizes = TileSizes { rows: 2, panels: 1, panels_of_one: 1, panels_of_two: 1 };

    #[inline(always)]
    fn widen(self, line: &PairLine) -> Widened<f32x16> {
        Widened {
            even: f32x16::new(line.0.map(|pair| pair.even().to_f32())),
            odd: f32x16::new(line.0.map(|pair| pair.odd().to_f32())),
        }
    }
    #[inline(always)]
    fn widen_splat(self, pair: Pair) -> Widened<f32x16> {
        Widened { even: self.splat(pair.even().to_f32()), odd: self.splat(pair.odd().to_f32()) }
    }
    #[inline(always)]
    fn round_to_bf16(self, a: f32x16) -> f32x16 {
        f32x16::new(a.to_array().map(|a| Bf16::round(a).to_f32()))
    }
    #[inline(always)]
    fn store_half(self, to: &mut HalfLine, rounded: f32x16) {
        let lanes = rounded.to_array();
        to.0 = core::array::from_fn(|i| Pair::new(upper(lanes[2 * i]), upper(lanes[2 * i + 1])));
    }
    #[inline(always)]
    fn store_pairs(self, to: &mut PairLine, even: f32x16, odd: f32x16) {
        let (even, odd) = (even.to_array(), odd.to_array());
        to.0 = core::array::from_fn(|i| Pair::new(upper(even[i]), upper(odd[i])));
    }
}

/// The upper half of a number whose lower half is 0.
#[inline(always)]
fn upper(x: f32) -> Bf16 {
    Bf16((x.to_bits() >> 16) as u16)
}
