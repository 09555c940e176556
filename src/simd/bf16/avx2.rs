//! Conversions of pairs of 256-bit registers.

use core::arch::x86_64::*;

use crate::simd::avx2::Avx2;
use crate::simd::bf16::widening::{Bf16Lanes, Widened, Widening};
use crate::simd::bf16::{
    BELOW_HALF, HalfLine, Pair, PairLine, PairVisitor, QUIET, SMALLEST, TileSizes, UPPER, VisitPairs,
};

impl VisitPairs for Avx2<f32> {
    #[inline(always)]
    fn visit_pairs<V: PairVisitor<f32>>(self, visitor: V) {
        visitor.visit(Widening(self));
    }
}

impl VisitPairs for Avx2<f64> {
    #[inline(always)]
    fn visit_pairs<V: PairVisitor<f64>>(self, _: V) {
        unreachable!("networks of f64 refuse bf16")
    }
}

/// The even numbers of a register of pairs.
#[target_feature(enable = "avx2")]
#[inline]
fn even_ps(pairs: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs))
}

/// The odd numbers of a register of pairs.
#[target_feature(enable = "avx2")]
#[inline]
fn odd_ps(pairs: __m256i) -> __m256 {
    _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32(UPPER as i32)))
}

/// [`PairProducts::round`](crate::simd::bf16::PairProducts::round) of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn round_ps(a: __m256) -> __m256 {
    let bits = _mm256_castps_si256(a);
    let last = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let half = _mm256_add_epi32(_mm256_set1_epi32(BELOW_HALF as i32), last);
    let rounded = _mm256_castsi256_ps(_mm256_add_epi32(bits, half));
    let quiet = _mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(QUIET as i32)));
    let rounded = _mm256_blendv_ps(rounded, quiet, _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a));
    let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
    let small = _mm256_cmp_ps::<_CMP_LT_OQ>(magnitude, _mm256_set1_ps(SMALLEST));
    odd_ps(_mm256_castps_si256(_mm256_andnot_ps(small, rounded)))
}

/// Pairs of rounded numbers.
#[target_feature(enable = "avx2")]
#[inline]
fn pairs_ps(even: __m256, odd: __m256) -> __m256i {
    let even = _mm256_srli_epi32::<16>(_mm256_castps_si256(even));
    _mm256_or_si256(even, _mm256_castps_si256(odd))
}

impl Bf16Lanes for Avx2<f32> {
    /// Four rows take eight of the 16 registers; the others hold both halves of a line's even and of its odd
    /// numbers, those of a broadcast pair, and zeros. A row over four panels would keep sums on the stack: on
    /// a Zen 3 one through 784-512 takes 18.3 microseconds, over three 13.7.
    const TILES: TileSizes = TileSizes { rows: 4, panels: 1, panels_of_one: 3, panels_of_two: 2 };

    #[inline(always)]
    fn widen(self, line: &PairLine) -> Widened<[__m256; 2]> {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe {
            let p = line.0.as_ptr().cast::<__m256i>();
            let (low, high) = (_mm256_load_si256(p), _mm256_load_si256(p.add(1)));
            Widened { even: [even_ps(low), even_ps(high)], odd: [odd_ps(low), odd_ps(high)] }
        }
    }
    #[inline(always)]
    fn widen_splat(self, pair: Pair) -> Widened<[__m256; 2]> {
        // SAFETY: the token proves the features.
        unsafe {
            let pairs = _mm256_set1_epi32(pair.0 as i32);
            Widened { even: [even_ps(pairs); 2], odd: [odd_ps(pairs); 2] }
        }
    }
    #[inline(always)]
    fn round_to_bf16(self, a: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token proves the features.
        unsafe { [round_ps(a[0]), round_ps(a[1])] }
    }
    #[inline(always)]
    fn store_half(self, to: &mut HalfLine, rounded: [__m256; 2]) {
        // SAFETY: the token proves the features; half a line is 32 bytes, aligned to 32.
        unsafe {
            let low = _mm256_srli_epi32::<16>(_mm256_castps_si256(rounded[0]));
            let high = _mm256_srli_epi32::<16>(_mm256_castps_si256(rounded[1]));
            // Packed within each half of a register: quarters 0, 2, 1 and 3.
            let packed = _mm256_packus_epi32(low, high);
            _mm256_store_si256(to.0.as_mut_ptr().cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(packed));
        }
    }
    #[inline(always)]
    fn store_pairs(self, to: &mut PairLine, even: [__m256; 2], odd: [__m256; 2]) {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe {
            let p = to.0.as_mut_ptr().cast::<__m256i>();
            _mm256_store_si256(p, pairs_ps(even[0], odd[0]));
            _mm256_store_si256(p.add(1), pairs_ps(even[1], odd[1]));
        }
    }
}
