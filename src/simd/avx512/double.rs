//! AVX-512 lanes of `f64`.

use core::arch::x86_64::*;

use crate::simd::avx2::{max_pd, sum_pd};
use crate::simd::avx512::{
    Avx512, DENORMAL_OR_MINUS_ZERO, NEAREST, into_groups, of_registers, out_of_groups, vectorize,
};
use crate::simd::lanes::{Arithmetic, GROUP, Lanes, RowShape, instructions, part_of};
use crate::simd::scalar::CacheLine;

impl Avx512<f64> {
    /// The permutation of `a` in row `cols` of a table.
    ///
    /// Expanding and compressing instructions need no table, but depend on the previous value of their result
    /// register.
    #[inline(always)]
    fn permuted(self, from: &[[u8; 8]; GROUP + 1], cols: usize, a: __m512d) -> __m512d {
        // SAFETY: the token proves the features; a row of the table is as long as what is loaded.
        unsafe {
            let from = _mm512_cvtepu8_epi64(_mm_loadl_epi64(from[cols].as_ptr().cast()));
            _mm512_permutexvar_pd(from, a)
        }
    }

    /// The groups from lane `first` on of lines `line` and `line + 2`; 0 where there is no line.
    #[inline(always)]
    fn load_groups(self, lines: &[CacheLine<[f64; 8]>], line: usize, first: usize) -> __m512d {
        let (a, b) =
            (part_of::<_, GROUP, _>(lines, line, first), part_of::<_, GROUP, _>(lines, line + 2, first));
        // SAFETY: the token proves the features; each group has as many elements as are loaded.
        unsafe {
            let groups = _mm512_castpd256_pd512(_mm256_loadu_pd(a.as_ptr()));
            _mm512_insertf64x4::<1>(groups, _mm256_loadu_pd(b.as_ptr()))
        }
    }
}

/// [`Arithmetic::flip_sign`].
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn flip_sign_pd(magnitude: __m512d, sign: __m512d) -> __m512d {
    _mm512_xor_pd(magnitude, _mm512_and_pd(sign, _mm512_set1_pd(-0.0)))
}

/// [`Arithmetic::power_from_low_bits`].
#[target_feature(enable = "avx512f")]
#[inline]
fn power_from_low_bits_pd(a: __m512d) -> __m512d {
    _mm512_castsi512_pd(_mm512_slli_epi64::<52>(_mm512_castpd_si512(a)))
}

/// [`Arithmetic::flushed`].
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn flushed_pd(a: __m512d) -> __m512d {
    _mm512_mask_mov_pd(a, _mm512_fpclass_pd_mask::<DENORMAL_OR_MINUS_ZERO>(a), _mm512_setzero_pd())
}

impl Arithmetic for Avx512<f64> {
    type Element = f64;
    type Vector = __m512d;
    type Mask = __mmask8;

    instructions! {
        of_registers -> Vector;
        add(a, b) = _mm512_add_pd;
        sub(a, b) = _mm512_sub_pd;
        mul(a, b) = _mm512_mul_pd;
        div(a, b) = _mm512_div_pd;
        mul_add(a, b, c) = _mm512_fmadd_pd;
        neg_mul_add(a, b, c) = _mm512_fnmadd_pd;
        max(a, b) = _mm512_max_pd;
        min(a, b) = _mm512_min_pd;
        abs(a) = _mm512_abs_pd;
        flip_sign(magnitude, sign) = flip_sign_pd;
        sqrt(a) = _mm512_sqrt_pd;
        round(a) = _mm512_roundscale_pd::<NEAREST>;
        power_from_low_bits(a) = power_from_low_bits_pd;
        ldexp(a, n) = _mm512_scalef_pd;
        flushed(a) = flushed_pd;
    }
    instructions! {
        of_registers -> Mask;
        lt(a, b) = _mm512_cmp_pd_mask::<_CMP_LT_OQ>;
        le(a, b) = _mm512_cmp_pd_mask::<_CMP_LE_OQ>;
        eq(a, b) = _mm512_cmp_pd_mask::<_CMP_EQ_OQ>;
    }

    #[inline(always)]
    fn splat(self, x: f64) -> __m512d {
        // SAFETY: the token proves the features.
        unsafe { _mm512_set1_pd(x) }
    }

    #[inline(always)]
    fn select(self, mask: __mmask8, a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: the token proves the features.
        unsafe { _mm512_mask_blend_pd(mask, b, a) }
    }
}

impl Lanes for Avx512<f64> {
    /// As in `f32`.
    const ACCUMULATORS: usize = 24;
    /// As in `f32`.
    const INTERLEAVES: bool = true;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: the token proves the features.
        unsafe { vectorize(f) }
    }
    #[inline(always)]
    fn load(self, line: &CacheLine<[f64; 8]>) -> __m512d {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe { _mm512_load_pd(line.0.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, line: &mut CacheLine<[f64; 8]>, v: __m512d) {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe { _mm512_store_pd(line.0.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn load_slice(self, x: &[f64]) -> __m512d {
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe { _mm512_maskz_loadu_pd(self.first_lanes(x.len()), x.as_ptr()) }
    }
    #[inline(always)]
    fn store_slice(self, x: &mut [f64], v: __m512d) {
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe { _mm512_mask_storeu_pd(x.as_mut_ptr(), self.first_lanes(x.len()), v) }
    }
    #[inline(always)]
    fn first_lanes(self, n: usize) -> __mmask8 {
        // Clamped to 8, the shift stays below the width of `u32`.
        ((1u32 << n.min(8)) - 1) as __mmask8
    }

    #[inline(always)]
    fn reduce_sum(self, a: __m512d) -> f64 {
        // SAFETY: the token proves the features.
        unsafe { sum_pd(_mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd::<1>(a))) }
    }
    #[inline(always)]
    fn reduce_sum4(self, [a, b, c, d]: [__m512d; GROUP]) -> __m512d {
        // SAFETY: the token proves the features.
        unsafe {
            // Four partial sums of two vectors each, then two of all four vectors, then one.
            let ab4 = _mm512_add_pd(_mm512_shuffle_f64x2::<0x44>(a, b), _mm512_shuffle_f64x2::<0xee>(a, b));
            let cd4 = _mm512_add_pd(_mm512_shuffle_f64x2::<0x44>(c, d), _mm512_shuffle_f64x2::<0xee>(c, d));
            let low = _mm512_shuffle_f64x2::<0x88>(ab4, cd4);
            let all2 = _mm512_add_pd(low, _mm512_shuffle_f64x2::<0xdd>(ab4, cd4));
            let all1 = _mm512_add_pd(all2, _mm512_permute_pd::<0x55>(all2));
            _mm512_permutexvar_pd(_mm512_setr_epi64(0, 2, 4, 6, 0, 2, 4, 6), all1)
        }
    }
    #[inline(always)]
    fn reduce_sum_f64(self, a: __m512d) -> f64 {
        self.reduce_sum(a)
    }
    #[inline(always)]
    fn reduce_max(self, a: __m512d) -> f64 {
        // SAFETY: the token proves the features.
        unsafe {
            let nan = _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, a);
            let a4 = _mm256_max_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd::<1>(a));
            if nan == 0 { max_pd(a4) } else { f64::NAN }
        }
    }
    #[inline(always)]
    fn interleave(self, a: __m512d, b: __m512d) -> (__m512d, __m512d) {
        // SAFETY: the token proves the features.
        unsafe {
            let low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
            let high = _mm512_add_epi64(low, _mm512_set1_epi64(4));
            (_mm512_permutex2var_pd(a, low, b), _mm512_permutex2var_pd(a, high, b))
        }
    }

    #[inline(always)]
    fn columns(self, from: &[CacheLine<[f64; 8]>], first: usize) -> [__m512d; GROUP] {
        // Two lines in each register, so that the shuffles leave lanes in order.
        let (a, b) = (self.load_groups(from, 0, first), self.load_groups(from, 1, first));
        let (c, d) = (self.load_groups(from, 4, first), self.load_groups(from, 5, first));
        // SAFETY: the token proves the features.
        unsafe {
            let (even, odd) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
            let (even_rest, odd_rest) = (_mm512_unpacklo_pd(c, d), _mm512_unpackhi_pd(c, d));
            [
                _mm512_shuffle_f64x2::<0x88>(even, even_rest),
                _mm512_shuffle_f64x2::<0x88>(odd, odd_rest),
                _mm512_shuffle_f64x2::<0xdd>(even, even_rest),
                _mm512_shuffle_f64x2::<0xdd>(odd, odd_rest),
            ]
        }
    }

    #[inline(always)]
    fn load_group(self, group: &[f64; GROUP]) -> __m512d {
        // SAFETY: the token proves the features; the array has as many elements as are loaded.
        unsafe { _mm512_broadcast_f64x4(_mm256_loadu_pd(group.as_ptr())) }
    }
    #[inline(always)]
    fn splat_in_groups(self, a: __m512d, k: usize) -> __m512d {
        // SAFETY: the token proves the features.
        unsafe {
            match k {
                0 => _mm512_permutex_pd::<0x00>(a),
                1 => _mm512_permutex_pd::<0x55>(a),
                2 => _mm512_permutex_pd::<0xaa>(a),
                _ => _mm512_permutex_pd::<0xff>(a),
            }
        }
    }
    #[inline(always)]
    fn load_rows(self, x: &[f64], shape: RowShape) -> __m512d {
        shape.check(x);
        let RowShape { rows, cols } = shape;
        self.permuted(const { &into_groups() }, cols, self.load_few(&x[..rows * cols]))
    }
    #[inline(always)]
    fn store_rows(self, x: &mut [f64], shape: RowShape, v: __m512d) {
        shape.check(x);
        let RowShape { rows, cols } = shape;
        self.store_few(&mut x[..rows * cols], self.permuted(const { &out_of_groups() }, cols, v));
    }
}
