//! Conversions of 512-bit registers, and the instructions of AVX512-BF16.

use core::arch::x86_64::*;

use crate::simd::avx512::Avx512;
use crate::simd::bf16::widening::{Bf16Lanes, Widened, Widening};
use crate::simd::bf16::{
    BELOW_HALF, HalfLine, Pair, PairLine, PairProducts, PairVisitor, QUIET, SMALLEST, TileSizes, UPPER,
    VisitPairs,
};

impl VisitPairs for Avx512<f32> {
    #[inline(always)]
    fn visit_pairs<V: PairVisitor<f32>>(self, visitor: V) {
        match Avx512Bf16::detect(self) {
            Some(products) => visitor.visit(products),
            None => visitor.visit(Widening(self)),
        }
    }
}

impl VisitPairs for Avx512<f64> {
    #[inline(always)]
    fn visit_pairs<V: PairVisitor<f64>>(self, _: V) {
        unreachable!("networks of f64 refuse bf16")
    }
}

/// The even numbers of a register of pairs.
#[target_feature(enable = "avx512f")]
#[inline]
fn even_ps(pairs: __m512i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs))
}

/// The odd numbers of a register of pairs.
#[target_feature(enable = "avx512f")]
#[inline]
fn odd_ps(pairs: __m512i) -> __m512 {
    _mm512_castsi512_ps(_mm512_and_si512(pairs, _mm512_set1_epi32(UPPER as i32)))
}

/// [`PairProducts::round`] of a register.
#[target_feature(enable = "avx512f")]
#[inline]
fn round_ps(a: __m512) -> __m512 {
    let bits = _mm512_castps_si512(a);
    let last = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let half = _mm512_add_epi32(_mm512_set1_epi32(BELOW_HALF as i32), last);
    let rounded = _mm512_add_epi32(bits, half);
    let is_nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
    let rounded = _mm512_mask_or_epi32(rounded, is_nan, bits, _mm512_set1_epi32(QUIET as i32));
    // Not less, so that NaN is kept.
    let kept = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(_mm512_abs_ps(a), _mm512_set1_ps(SMALLEST));
    _mm512_castsi512_ps(_mm512_maskz_and_epi32(kept, rounded, _mm512_set1_epi32(UPPER as i32)))
}

/// Pairs of rounded numbers.
#[target_feature(enable = "avx512f")]
#[inline]
fn pairs_ps(even: __m512, odd: __m512) -> __m512i {
    let even = _mm512_srli_epi32::<16>(_mm512_castps_si512(even));
    _mm512_or_si512(even, _mm512_castps_si512(odd))
}

impl Bf16Lanes for Avx512<f32> {
    /// 16 sums, both parts of two lines and of a broadcast pair, and the mask take 23 of the 32 registers. 24
    /// sums beside three lines would take 33.
    const TILES: TileSizes = TileSizes { rows: 8, panels: 2, panels_of_one: 4, panels_of_two: 4 };

    #[inline(always)]
    fn widen(self, line: &PairLine) -> Widened<__m512> {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe {
            let pairs = _mm512_load_si512(line.0.as_ptr().cast());
            Widened { even: even_ps(pairs), odd: odd_ps(pairs) }
        }
    }
    #[inline(always)]
    fn widen_splat(self, pair: Pair) -> Widened<__m512> {
        // SAFETY: the token proves the features.
        unsafe {
            let pairs = _mm512_set1_epi32(pair.0 as i32);
            Widened { even: even_ps(pairs), odd: odd_ps(pairs) }
        }
    }
    #[inline(always)]
    fn round_to_bf16(self, a: __m512) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe { round_ps(a) }
    }
    #[inline(always)]
    fn store_half(self, to: &mut HalfLine, rounded: __m512) {
        // SAFETY: the token proves the features; half a line is 32 bytes, aligned to 32.
        unsafe {
            let half = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(_mm512_castps_si512(rounded)));
            _mm256_store_si256(to.0.as_mut_ptr().cast(), half);
        }
    }
    #[inline(always)]
    fn store_pairs(self, to: &mut PairLine, even: __m512, odd: __m512) {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe { _mm512_store_si512(to.0.as_mut_ptr().cast(), pairs_ps(even, odd)) }
    }
}

/// Token that proves that the CPU has AVX-512 with AVX512-BF16: products by `vdpbf16ps`.
#[derive(Clone, Copy)]
pub(crate) struct Avx512Bf16(Avx512<f32>);

impl Avx512Bf16 {
    /// The token, if the CPU of a token of AVX-512 has AVX512-BF16 too.
    #[inline(always)]
    pub(crate) fn detect(lanes: Avx512<f32>) -> Option<Self> {
        is_x86_feature_detected!("avx512bf16").then_some(Self(lanes))
    }
}

/// Runs `f` compiled for AVX-512 with AVX512-BF16.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,avx2,fma")]
fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// The register of pairs as the type of its instruction.
#[target_feature(enable = "avx512f")]
#[inline]
fn as_bh(pairs: __m512i) -> __m512bh {
    // SAFETY: both types are 64 bytes, of which any are valid.
    unsafe { core::mem::transmute(pairs) }
}

impl PairProducts for Avx512Bf16 {
    type Lanes = Avx512<f32>;
    type Pairs = __m512i;
    /// As with `f32`: 24 of the 32 registers hold sums.
    const TILES: TileSizes = TileSizes { rows: 8, panels: 3, panels_of_one: 4, panels_of_two: 4 };

    #[inline(always)]
    fn lanes(self) -> Avx512<f32> {
        self.0
    }
    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: the token proves the features.
        unsafe { vectorize(f) }
    }
    #[inline(always)]
    fn load_pairs(self, line: &PairLine) -> __m512i {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
    }
    #[inline(always)]
    fn splat_pair(self, pair: Pair) -> __m512i {
        // SAFETY: the token proves the features.
        unsafe { _mm512_set1_epi32(pair.0 as i32) }
    }
    #[inline(always)]
    fn mul_add_pairs(self, a: __m512i, b: __m512i, sum: __m512) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe { _mm512_dpbf16_ps(sum, as_bh(a), as_bh(b)) }
    }
    /// By the instructions of `f32`: that of AVX512-BF16 keeps numbers below
    /// [`SMALLEST`](crate::simd::bf16::SMALLEST).
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        self.0.round_to_bf16(a)
    }
    #[inline(always)]
    fn store_half(self, to: &mut HalfLine, rounded: __m512) {
        self.0.store_half(to, rounded);
    }
    #[inline(always)]
    fn store_pairs(self, to: &mut PairLine, even: __m512, odd: __m512) {
        self.0.store_pairs(to, even, odd);
    }
}
