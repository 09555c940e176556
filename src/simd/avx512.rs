//! AVX-512 lanes (F, VL, DQ, BW): a line is one 512-bit register.

use core::arch::asm;
use core::arch::x86_64::*;
use core::marker::PhantomData;

use crate::simd::float_bits::{Eighths, LOWEST_SHIFTED};
use crate::simd::lanes::{Arithmetic, GROUP, Lanes, RowShape, part_of};
use crate::simd::scalar::CacheLine;

/// Token that proves that the CPU has AVX-512. Only [`Avx512::detect`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<T>(PhantomData<T>);

impl<T: 'static> Avx512<T> {
    pub(crate) fn detect() -> Option<&'static Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(&Self(PhantomData))
    }
}

/// `_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC`, for `roundscale` with scale 0.
const NEAREST: i32 = 8;

/// Categories of `fpclass` that [`Arithmetic::flushed`] replaces by 0.
const DENORMAL_OR_MINUS_ZERO: i32 = 0x20 | 0x04;

/// Permutations from consecutive rows to groups, for each number of columns: the index of the element for
/// each lane.
///
/// Lanes past a row take the last lane of the vector, which is 0 whenever there are such lanes.
const fn into_groups<const LANES: usize>() -> [[u8; LANES]; GROUP + 1] {
    let mut from = [[LANES as u8 - 1; LANES]; GROUP + 1];
    let mut cols = 1;
    while cols <= GROUP {
        let mut i = 0;
        while i < LANES {
            if i % GROUP < cols {
                from[cols][i] = (i / GROUP * cols + i % GROUP) as u8;
            }
            i += 1;
        }
        cols += 1;
    }
    from
}

/// Permutations from groups to consecutive rows, for each number of columns: the lane of the group for each
/// element.
///
/// Places past the rows are garbage.
const fn out_of_groups<const LANES: usize>() -> [[u8; LANES]; GROUP + 1] {
    let mut from = [[0; LANES]; GROUP + 1];
    let mut cols = 1;
    while cols <= GROUP {
        let mut i = 0;
        while i < LANES {
            from[cols][i] = (i / cols * GROUP + i % cols) as u8;
            i += 1;
        }
        cols += 1;
    }
    from
}

/// Runs `f` compiled for AVX-512.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Operations that take and give vectors only: for each the instruction, or the function of a register, that
/// does it.
macro_rules! values {
    (-> $result:ident; $($operation:ident($($operand:ident),+) = $instruction:path;)+) => {$(
        #[inline(always)]
        fn $operation(self, $($operand: Self::Vector),+) -> Self::$result {
            // SAFETY: the token proves the features, and no operand is in memory.
            unsafe { $instruction($($operand),+) }
        }
    )+};
}

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

    values! {
        -> Vector;
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
        scale(a, n) = _mm512_scalef_ps;
        flushed(a) = flushed_ps;
    }
    values! {
        -> Mask;
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
    fn by_eighth(self, e: &Eighths<__m512>, table: &[f32; 8]) -> __m512 {
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
        self.scale(a, e.value)
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
        unsafe { _mm512_maskz_loadu_ps(self.first(x.len()), x.as_ptr()) }
    }
    #[inline(always)]
    fn store_slice(self, x: &mut [f32], v: __m512) {
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe { _mm512_mask_storeu_ps(x.as_mut_ptr(), self.first(x.len()), v) }
    }
    #[inline(always)]
    fn load_few(self, x: &[f32]) -> __m512 {
        match x.len() {
            0..=GROUP => self.select(self.first(GROUP), self.load_row(x), self.zero()),
            // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
            5..=8 => unsafe {
                _mm512_zextps256_ps512(_mm256_maskz_loadu_ps(self.first(x.len()) as u8, x.as_ptr()))
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
                _mm256_mask_storeu_ps(x.as_mut_ptr(), self.first(x.len()) as u8, _mm512_castps512_ps256(v))
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
    fn first(self, n: usize) -> __mmask16 {
        // Clamped to 16, the shift stays below the width of `u32`.
        ((1u32 << n.min(16)) - 1) as __mmask16
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: the token proves the features.
        unsafe {
            let a8 = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let a4 = _mm_add_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps::<1>(a8));
            let a2 = _mm_add_ps(a4, _mm_movehl_ps(a4, a4));
            _mm_cvtss_f32(_mm_add_ss(a2, _mm_movehdup_ps(a2)))
        }
    }
    #[inline(always)]
    fn sums(self, [a, b, c, d]: [__m512; GROUP]) -> __m512 {
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
    fn sum_f64(self, a: __m512) -> f64 {
        // SAFETY: the token proves the features.
        unsafe {
            let low = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
            let high = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(a));
            Avx512::<f64>(PhantomData).sum(_mm512_add_pd(low, high))
        }
    }
    #[inline(always)]
    fn max_lane(self, a: __m512) -> f32 {
        // SAFETY: the token proves the features.
        unsafe {
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
            let a8 = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let a4 = _mm_max_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps::<1>(a8));
            let a2 = _mm_max_ps(a4, _mm_movehl_ps(a4, a4));
            let a1 = _mm_cvtss_f32(_mm_max_ss(a2, _mm_movehdup_ps(a2)));
            if nan == 0 { a1 } else { f32::NAN }
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

    values! {
        -> Vector;
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
        scale(a, n) = _mm512_scalef_pd;
        flushed(a) = flushed_pd;
    }
    values! {
        -> Mask;
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
    /// As in `f32`; not measured.
    const DIVIDES_HALVES: bool = true;
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
        unsafe { _mm512_maskz_loadu_pd(self.first(x.len()), x.as_ptr()) }
    }
    #[inline(always)]
    fn store_slice(self, x: &mut [f64], v: __m512d) {
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe { _mm512_mask_storeu_pd(x.as_mut_ptr(), self.first(x.len()), v) }
    }
    #[inline(always)]
    fn div_first_half(self, a: __m512d, b: __m512d) -> __m512d {
        // SAFETY: the token proves the features.
        unsafe { _mm512_zextpd256_pd512(div_half_pd(_mm512_castpd512_pd256(a), _mm512_castpd512_pd256(b))) }
    }
    #[inline(always)]
    fn first(self, n: usize) -> __mmask8 {
        // Clamped to 8, the shift stays below the width of `u32`.
        ((1u32 << n.min(8)) - 1) as __mmask8
    }

    #[inline(always)]
    fn sum(self, a: __m512d) -> f64 {
        // SAFETY: the token proves the features.
        unsafe {
            let a4 = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd::<1>(a));
            let a2 = _mm_add_pd(_mm256_castpd256_pd128(a4), _mm256_extractf128_pd::<1>(a4));
            _mm_cvtsd_f64(_mm_add_sd(a2, _mm_unpackhi_pd(a2, a2)))
        }
    }
    #[inline(always)]
    fn sums(self, [a, b, c, d]: [__m512d; GROUP]) -> __m512d {
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
    fn sum_f64(self, a: __m512d) -> f64 {
        self.sum(a)
    }
    #[inline(always)]
    fn max_lane(self, a: __m512d) -> f64 {
        // SAFETY: the token proves the features.
        unsafe {
            let nan = _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, a);
            let a4 = _mm256_max_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd::<1>(a));
            let a2 = _mm_max_pd(_mm256_castpd256_pd128(a4), _mm256_extractf128_pd::<1>(a4));
            let a1 = _mm_cvtsd_f64(_mm_max_sd(a2, _mm_unpackhi_pd(a2, a2)));
            if nan == 0 { a1 } else { f64::NAN }
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

/// [`div_half_ps`] in `f64`.
#[target_feature(enable = "avx512f")]
#[inline]
fn div_half_pd(a: __m256d, b: __m256d) -> __m256d {
    let quotient;
    // SAFETY: a CPU with AVX-512 has the instruction, and it accesses registers only.
    unsafe {
        asm!(
            "vdivpd {}, {}, {}",
            out(ymm_reg) quotient,
            in(ymm_reg) a,
            in(ymm_reg) b,
            options(pure, nomem, nostack),
        );
    }
    quotient
}
