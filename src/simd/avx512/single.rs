//! AVX-512 lanes of `f32`.

use core::arch::asm;
use core::arch::x86_64::*;

use crate::simd::avx2::{max_ps, sum_ps};
use crate::simd::avx512::{
    Avx512, DENORMAL_OR_MINUS_ZERO, NEAREST, into_groups, of_registers, out_of_groups, vectorize,
};
use crate::simd::float_bits::{Eighths, LOWEST_SHIFTED};
use crate::simd::lanes::{Arithmetic, GROUP, Lanes, RowShape, instructions, part_of};
use crate::simd::scalar::CacheLine;

impl Avx512<f32> {
    /// The permutation of `a` in row `cols` of a table.
    ///
    /// Expanding and compressing instructions need no table, but depend on the previous value of their result
    /// register.
    #[inline(always)]
    fn permuted(self, from: &[[u8; 16]; GROUP + 1], cols: usize, a: __m512) -> __m512 {
        // SAFETY: the token proves the features; a row of the table is as long as what is loaded.
        unsafe {
            let from = _mm512_cvtepu8_epi32(_mm_loadu_si128(from[cols].as_ptr().cast()));
            _mm512_permutexvar_ps(from, a)
        }
    }

    /// The groups from lane `first` on of lines `line`, `line + 4`, `line + 8` and `line + 12`; 0 where there
    /// is no line.
    #[inline(always)]
    fn load_groups(self, lines: &[CacheLine<[f32; 16]>], line: usize, first: usize) -> __m512 {
        let (a, b) =
            (part_of::<_, GROUP, _>(lines, line, first), part_of::<_, GROUP, _>(lines, line + 4, first));
        let (c, d) =
            (part_of::<_, GROUP, _>(lines, line + 8, first), part_of::<_, GROUP, _>(lines, line + 12, first));
        // SAFETY: the token proves the features; each group has as many elements as are loaded.
        unsafe {
            let groups = _mm512_castps128_ps512(_mm_loadu_ps(a.as_ptr()));
            let groups = _mm512_insertf32x4::<1>(groups, _mm_loadu_ps(b.as_ptr()));
            let groups = _mm512_insertf32x4::<2>(groups, _mm_loadu_ps(c.as_ptr()));
            _mm512_insertf32x4::<3>(groups, _mm_loadu_ps(d.as_ptr()))
        }
    }

    /// Four lines, each group of four lanes transposed as a 4 x 4 matrix.
    #[inline(always)]
    fn transpose_groups(self, [a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
        // SAFETY: the token proves the features.
        unsafe {
            let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
            [
                _mm512_shuffle_ps::<0x44>(ab_low, cd_low),
                _mm512_shuffle_ps::<0xee>(ab_low, cd_low),
                _mm512_shuffle_ps::<0x44>(ab_high, cd_high),
                _mm512_shuffle_ps::<0xee>(ab_high, cd_high),
            ]
        }
    }
}

/// [`Arithmetic::flip_sign`].
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn flip_sign_ps(magnitude: __m512, sign: __m512) -> __m512 {
    _mm512_xor_ps(magnitude, _mm512_and_ps(sign, _mm512_set1_ps(-0.0)))
}

/// [`Arithmetic::power_from_low_bits`].
#[target_feature(enable = "avx512f")]
#[inline]
fn power_from_low_bits_ps(a: __m512) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a)))
}

/// [`Arithmetic::flushed`].
#[target_feature(enable = "avx512f,avx512dq")]
#[inline]
fn flushed_ps(a: __m512) -> __m512 {
    _mm512_mask_mov_ps(a, _mm512_fpclass_ps_mask::<DENORMAL_OR_MINUS_ZERO>(a), _mm512_setzero_ps())
}

impl Arithmetic for Avx512<f32> {
    type Element = f32;
    type Vector = __m512;
    type Mask = __mmask16;
    const LOOKS_UP: bool = true;

    instructions! {
        of_registers -> Vector;
        add(a, b) = _mm512_add_ps;
        sub(a, b) = _mm512_sub_ps;
        mul(a, b) = _mm512_mul_ps;
        div(a, b) = _mm512_div_ps;
        mul_add(a, b, c) = _mm512_fmadd_ps;
        neg_mul_add(a, b, c) = _mm512_fnmadd_ps;
        max(a, b) = _mm512_max_ps;
        min(a, b) = _mm512_min_ps;
        abs(a) = _mm512_abs_ps;
        flip_sign(magnitude, sign) = flip_sign_ps;
        sqrt(a) = _mm512_sqrt_ps;
        round(a) = _mm512_roundscale_ps::<NEAREST>;
        power_from_low_bits(a) = power_from_low_bits_ps;
        ldexp(a, n) = _mm512_scalef_ps;
        flushed(a) = flushed_ps;
    }
    instructions! {
        of_registers -> Mask;
        lt(a, b) = _mm512_cmp_ps_mask::<_CMP_LT_OQ>;
        le(a, b) = _mm512_cmp_ps_mask::<_CMP_LE_OQ>;
        eq(a, b) = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn lookup8(self, e: &Eighths<__m512>, table: &[f32; 8]) -> __m512 {
        // SAFETY: the token proves the features; the table has as many elements as are loaded.
        unsafe {
            // The table twice, since the instruction takes the last four bits of a lane as the index.
            let table = _mm512_broadcast_f32x8(_mm256_loadu_ps(table.as_ptr()));
            _mm512_permutexvar_ps(_mm512_castps_si512(e.shifted), table)
        }
    }
    #[inline(always)]
    fn exp2_floor(self, e: &Eighths<__m512>) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe {
            // Three instructions, but with a few cycles less latency than the one of `scale_by_floor`.
            let lowest = _mm512_set1_ps(LOWEST_SHIFTED);
            let bits = _mm512_castps_si512(_mm512_max_ps(lowest, e.shifted));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_srli_epi32::<3>(bits)))
        }
    }
    #[inline(always)]
    fn scale_by_floor(self, a: __m512, e: &Eighths<__m512>) -> __m512 {
        // The instruction computes the floor itself.
        self.ldexp(a, e.value)
    }

    #[inline(always)]
    fn select(self, mask: __mmask16, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe { _mm512_mask_blend_ps(mask, b, a) }
    }
}

impl Lanes for Avx512<f32> {
    /// 24 of the 32 registers hold accumulators. The others hold a row of `B` (up to 4), a broadcast and
    /// temporaries.
    const ACCUMULATORS: usize = 24;
    /// Measured on an Intel Xeon with one row through a 2-4-1 network: 38 ns instead of 41.
    const DIVIDES_HALVES: bool = true;
    /// The operands of four interleaved lines fit into the registers. With AVX2, where a line is two
    /// registers, they would not.
    const INTERLEAVES: bool = true;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: the token proves the features.
        unsafe { vectorize(f) }
    }
    #[inline(always)]
    fn load(self, line: &CacheLine<[f32; 16]>) -> __m512 {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe { _mm512_load_ps(line.0.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, line: &mut CacheLine<[f32; 16]>, v: __m512) {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe { _mm512_store_ps(line.0.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn load_slice(self, x: &[f32]) -> __m512 {
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe { _mm512_maskz_loadu_ps(self.first_lanes(x.len()), x.as_ptr()) }
    }
    #[inline(always)]
    fn store_slice(self, x: &mut [f32], v: __m512) {
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe { _mm512_mask_storeu_ps(x.as_mut_ptr(), self.first_lanes(x.len()), v) }
    }
    #[inline(always)]
    fn load_few(self, x: &[f32]) -> __m512 {
        match x.len() {
            0..=GROUP => self.select(self.first_lanes(GROUP), self.load_row(x), self.zero()),
            // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
            5..=8 => unsafe {
                _mm512_zextps256_ps512(_mm256_maskz_loadu_ps(self.first_lanes(x.len()) as u8, x.as_ptr()))
            },
            _ => self.load_slice(x),
        }
    }
    #[inline(always)]
    fn store_few(self, x: &mut [f32], v: __m512) {
        match x.len() {
            0..=GROUP => self.store_row(x, v),
            // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
            5..=8 => unsafe {
                _mm256_mask_storeu_ps(
                    x.as_mut_ptr(),
                    self.first_lanes(x.len()) as u8,
                    _mm512_castps512_ps256(v),
                )
            },
            _ => self.store_slice(x, v),
        }
    }
    #[inline(always)]
    fn div_first_half(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe { _mm512_zextps256_ps512(div_half_ps(_mm512_castps512_ps256(a), _mm512_castps512_ps256(b))) }
    }
    #[inline(always)]
    fn first_lanes(self, n: usize) -> __mmask16 {
        // Clamped to 16, the shift stays below the width of `u32`.
        ((1u32 << n.min(16)) - 1) as __mmask16
    }

    #[inline(always)]
    fn reduce_sum(self, a: __m512) -> f32 {
        // SAFETY: the token proves the features.
        unsafe { sum_ps(_mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a))) }
    }
    #[inline(always)]
    fn reduce_sum4(self, [a, b, c, d]: [__m512; GROUP]) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe {
            // Eight partial sums of two vectors each, then four of all four vectors, then two, then one in
            // every lane of a group.
            let ab8 = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b));
            let cd8 = _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d));
            let low = _mm512_shuffle_f32x4::<0x88>(ab8, cd8);
            let all4 = _mm512_add_ps(low, _mm512_shuffle_f32x4::<0xdd>(ab8, cd8));
            let all2 = _mm512_add_ps(all4, _mm512_permute_ps::<0x4e>(all4));
            let all1 = _mm512_add_ps(all2, _mm512_permute_ps::<0xb1>(all2));
            _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12, 0, 4, 8, 12), all1)
        }
    }
    #[inline(always)]
    fn reduce_sum_f64(self, a: __m512) -> f64 {
        // SAFETY: the token proves the features.
        unsafe {
            let low = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
            let high = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(a));
            self.of::<f64>().reduce_sum(_mm512_add_pd(low, high))
        }
    }
    #[inline(always)]
    fn reduce_max(self, a: __m512) -> f32 {
        // SAFETY: the token proves the features.
        unsafe {
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            let a8 = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            if nan == 0 { max_ps(a8) } else { f32::NAN }
        }
    }
    #[inline(always)]
    fn interleave(self, a: __m512, b: __m512) -> (__m512, __m512) {
        // SAFETY: the token proves the features.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
            (_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b))
        }
    }

    #[inline(always)]
    fn columns(self, from: &[CacheLine<[f32; 16]>], first: usize) -> [__m512; GROUP] {
        self.transpose_groups([
            self.load_groups(from, 0, first),
            self.load_groups(from, 1, first),
            self.load_groups(from, 2, first),
            self.load_groups(from, 3, first),
        ])
    }

    #[inline(always)]
    fn load_group(self, group: &[f32; GROUP]) -> __m512 {
        // SAFETY: the token proves the features; the array has as many elements as are loaded.
        unsafe { _mm512_broadcast_f32x4(_mm_loadu_ps(group.as_ptr())) }
    }
    #[inline(always)]
    fn splat_in_groups(self, a: __m512, k: usize) -> __m512 {
        // SAFETY: the token proves the features.
        unsafe {
            match k {
                0 => _mm512_permute_ps::<0x00>(a),
                1 => _mm512_permute_ps::<0x55>(a),
                2 => _mm512_permute_ps::<0xaa>(a),
                _ => _mm512_permute_ps::<0xff>(a),
            }
        }
    }
    #[inline(always)]
    fn load_rows(self, x: &[f32], shape: RowShape) -> __m512 {
        shape.check(x);
        let RowShape { rows, cols } = shape;
        self.permuted(const { &into_groups() }, cols, self.load_few(&x[..rows * cols]))
    }
    #[inline(always)]
    fn store_rows(self, x: &mut [f32], shape: RowShape, v: __m512) {
        shape.check(x);
        let RowShape { rows, cols } = shape;
        self.store_few(&mut x[..rows * cols], self.permuted(const { &out_of_groups() }, cols, v));
    }
}

/// `a / b` of 256-bit registers, by inline assembly.
///
/// The compiler would merge the intrinsic with a 512-bit division of the same operands.
#[target_feature(enable = "avx512f")]
#[inline]
fn div_half_ps(a: __m256, b: __m256) -> __m256 {
    let quotient;
    // SAFETY: a CPU with AVX-512 has the instruction, and it accesses registers only.
    unsafe {
        asm!(
            "vdivps {}, {}, {}",
            out(ymm_reg) quotient,
            in(ymm_reg) a,
            in(ymm_reg) b,
            options(pure, nomem, nostack),
        );
    }
    quotient
}
