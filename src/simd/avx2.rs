//! AVX2 and FMA lanes: a line is a pair of 256-bit registers, the low half first.

use core::arch::x86_64::*;
use core::marker::PhantomData;

use crate::simd::float_bits::{Eighths, LOWEST_SHIFTED};
use crate::simd::lanes::{Arithmetic, GROUP, Lanes, RowShape, part_of};
use crate::simd::scalar::CacheLine;

/// Token that proves that the CPU has AVX2 and FMA. Only [`Avx2::detect`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<T>(PhantomData<T>);

impl<T: 'static> Avx2<T> {
    pub(crate) fn detect() -> Option<&'static Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then_some(&Self(PhantomData))
    }
}

/// `_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC`.
const NEAREST: i32 = 8;

/// Runs `f` compiled for AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// Operations that take and give vectors only: for each the instruction, or the function of a register, that
/// does it.
macro_rules! values {
    ($($operation:ident($($operand:ident),+) = $instruction:path;)+) => {$(
        #[inline(always)]
        fn $operation(self, $($operand: Self::Vector),+) -> Self::Vector {
            // SAFETY: the token proves the features, and no operand is in memory.
            unsafe { [$instruction($($operand[0]),+), $instruction($($operand[1]),+)] }
        }
    )+};
}

impl Avx2<f32> {
    /// The groups from lane `first` on of lines `line` and `line + 4`; 0 where there is no line.
    #[inline(always)]
    fn load_groups(self, lines: &[CacheLine<[f32; 16]>], line: usize, first: usize) -> __m256 {
        let (low, high) =
            (part_of::<_, GROUP, _>(lines, line, first), part_of::<_, GROUP, _>(lines, line + 4, first));
        // SAFETY: the token proves the features; each group has as many elements as are loaded.
        unsafe {
            let low = _mm256_castps128_ps256(_mm_loadu_ps(low.as_ptr()));
            _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(high.as_ptr()))
        }
    }

    /// The half of [`Lanes::columns`] of the eight lines from `line` on.
    #[inline(always)]
    fn half_columns(self, lines: &[CacheLine<[f32; 16]>], line: usize, first: usize) -> [__m256; GROUP] {
        let (a, b) = (self.load_groups(lines, line, first), self.load_groups(lines, line + 1, first));
        let (c, d) = (self.load_groups(lines, line + 2, first), self.load_groups(lines, line + 3, first));
        // SAFETY: the token proves the features.
        unsafe {
            let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            [
                _mm256_shuffle_ps::<0x44>(ab_low, cd_low),
                _mm256_shuffle_ps::<0xee>(ab_low, cd_low),
                _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
                _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
            ]
        }
    }
}

/// [`Arithmetic::abs`] of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn abs_ps(a: __m256) -> __m256 {
    _mm256_andnot_ps(_mm256_set1_ps(-0.0), a)
}

/// [`Arithmetic::flip_sign`] of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn flip_sign_ps(magnitude: __m256, sign: __m256) -> __m256 {
    _mm256_xor_ps(magnitude, _mm256_and_ps(sign, _mm256_set1_ps(-0.0)))
}

/// [`Arithmetic::power_from_low_bits`] of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn power_from_low_bits_ps(a: __m256) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a)))
}

/// [`Arithmetic::select`] of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn select_ps(mask: __m256, a: __m256, b: __m256) -> __m256 {
    _mm256_blendv_ps(b, a, mask)
}

impl Arithmetic for Avx2<f32> {
    type Element = f32;
    type Vector = [__m256; 2];
    type Mask = [__m256; 2];
    const LOOKS_UP: bool = true;

    values! {
        add(a, b) = _mm256_add_ps;
        sub(a, b) = _mm256_sub_ps;
        mul(a, b) = _mm256_mul_ps;
        div(a, b) = _mm256_div_ps;
        mul_add(a, b, c) = _mm256_fmadd_ps;
        neg_mul_add(a, b, c) = _mm256_fnmadd_ps;
        max(a, b) = _mm256_max_ps;
        min(a, b) = _mm256_min_ps;
        abs(a) = abs_ps;
        flip_sign(magnitude, sign) = flip_sign_ps;
        sqrt(a) = _mm256_sqrt_ps;
        round(a) = _mm256_round_ps::<NEAREST>;
        power_from_low_bits(a) = power_from_low_bits_ps;
        lt(a, b) = _mm256_cmp_ps::<_CMP_LT_OQ>;
        le(a, b) = _mm256_cmp_ps::<_CMP_LE_OQ>;
        eq(a, b) = _mm256_cmp_ps::<_CMP_EQ_OQ>;
        select(mask, a, b) = select_ps;
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [__m256; 2] {
        // SAFETY: the token proves the features.
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    fn by_eighth(self, e: &Eighths<[__m256; 2]>, table: &[f32; 8]) -> [__m256; 2] {
        // SAFETY: the token proves the features; the table has as many elements as are loaded.
        unsafe {
            let table = _mm256_loadu_ps(table.as_ptr());
            // The instruction takes the last three bits of a lane as the index.
            let [low, high] = e.shifted;
            [
                _mm256_permutevar8x32_ps(table, _mm256_castps_si256(low)),
                _mm256_permutevar8x32_ps(table, _mm256_castps_si256(high)),
            ]
        }
    }
    #[inline(always)]
    fn exp2_floor(self, e: &Eighths<[__m256; 2]>) -> [__m256; 2] {
        [exp2_floor_ps(self, e.shifted[0]), exp2_floor_ps(self, e.shifted[1])]
    }
    #[inline(always)]
    fn scale_by_floor(self, a: [__m256; 2], e: &Eighths<[__m256; 2]>) -> [__m256; 2] {
        [scale_by_floor_ps(self, a[0], e.shifted[0]), scale_by_floor_ps(self, a[1], e.shifted[1])]
    }
}

impl Lanes for Avx2<f32> {
    /// Six pairs take 12 of the 16 registers. The others hold a row of `B`, a broadcast and temporaries.
    const ACCUMULATORS: usize = 6;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: the token proves the features.
        unsafe { vectorize(f) }
    }
    #[inline(always)]
    fn load(self, line: &CacheLine<[f32; 16]>) -> [__m256; 2] {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe {
            let p = line.0.as_ptr();
            [_mm256_load_ps(p), _mm256_load_ps(p.add(8))]
        }
    }
    #[inline(always)]
    fn store(self, line: &mut CacheLine<[f32; 16]>, v: [__m256; 2]) {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe {
            let p = line.0.as_mut_ptr();
            _mm256_store_ps(p, v[0]);
            _mm256_store_ps(p.add(8), v[1]);
        }
    }
    #[inline(always)]
    fn load_slice(self, x: &[f32]) -> [__m256; 2] {
        let [low, high] = self.first(x.len());
        // A high half past the end is masked entirely, but its address must stay in the slice.
        let p = x.as_ptr();
        let q = p.wrapping_add(8.min(x.len()));
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe {
            [
                _mm256_maskload_ps(p, _mm256_castps_si256(low)),
                _mm256_maskload_ps(q, _mm256_castps_si256(high)),
            ]
        }
    }
    #[inline(always)]
    fn store_slice(self, x: &mut [f32], v: [__m256; 2]) {
        let [low, high] = self.first(x.len());
        let p = x.as_mut_ptr();
        let q = p.wrapping_add(8.min(x.len()));
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe {
            _mm256_maskstore_ps(p, _mm256_castps_si256(low), v[0]);
            _mm256_maskstore_ps(q, _mm256_castps_si256(high), v[1]);
        }
    }
    #[inline(always)]
    fn first(self, n: usize) -> [__m256; 2] {
        // SAFETY: the token proves the features.
        unsafe {
            let n = _mm256_set1_epi32(n.min(16) as i32);
            let low = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let high = _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15);
            [
                _mm256_castsi256_ps(_mm256_cmpgt_epi32(n, low)),
                _mm256_castsi256_ps(_mm256_cmpgt_epi32(n, high)),
            ]
        }
    }

    #[inline(always)]
    fn sum(self, a: [__m256; 2]) -> f32 {
        // SAFETY: the token proves the features.
        unsafe {
            let a8 = _mm256_add_ps(a[0], a[1]);
            let a4 = _mm_add_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps::<1>(a8));
            let a2 = _mm_add_ps(a4, _mm_movehl_ps(a4, a4));
            _mm_cvtss_f32(_mm_add_ss(a2, _mm_movehdup_ps(a2)))
        }
    }
    #[inline(always)]
    fn sums(self, [a, b, c, d]: [[__m256; 2]; GROUP]) -> [__m256; 2] {
        // SAFETY: the token proves the features.
        unsafe {
            let (a8, b8) = (_mm256_add_ps(a[0], a[1]), _mm256_add_ps(b[0], b[1]));
            let (c8, d8) = (_mm256_add_ps(c[0], c[1]), _mm256_add_ps(d[0], d[1]));
            let ab_low = _mm256_permute2f128_ps::<0x20>(a8, b8);
            let ab4 = _mm256_add_ps(ab_low, _mm256_permute2f128_ps::<0x31>(a8, b8));
            let cd_low = _mm256_permute2f128_ps::<0x20>(c8, d8);
            let cd4 = _mm256_add_ps(cd_low, _mm256_permute2f128_ps::<0x31>(c8, d8));
            // The first half holds two partial sums of `a` and two of `c`, the other half those of `b` and
            // `d`.
            let low = _mm256_shuffle_ps::<0x44>(ab4, cd4);
            let all2 = _mm256_add_ps(low, _mm256_shuffle_ps::<0xee>(ab4, cd4));
            let all1 = _mm256_add_ps(_mm256_permute_ps::<0x88>(all2), _mm256_permute_ps::<0xdd>(all2));
            let (ac, bd) = (_mm256_castps256_ps128(all1), _mm256_extractf128_ps::<1>(all1));
            let group = _mm_unpacklo_ps(ac, bd);
            [_mm256_set_m128(group, group); 2]
        }
    }
    #[inline(always)]
    fn sum_f64(self, a: [__m256; 2]) -> f64 {
        // SAFETY: the token proves the features.
        unsafe {
            let [low, high] = a;
            let low = [
                _mm256_cvtps_pd(_mm256_castps256_ps128(low)),
                _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(low)),
            ];
            let high = [
                _mm256_cvtps_pd(_mm256_castps256_ps128(high)),
                _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(high)),
            ];
            let lanes = Avx2::<f64>(PhantomData);
            lanes.sum(lanes.add(low, high))
        }
    }
    #[inline(always)]
    fn max_lane(self, a: [__m256; 2]) -> f32 {
        // SAFETY: the token proves the features.
        unsafe {
            let nan = _mm256_or_ps(
                _mm256_cmp_ps::<_CMP_UNORD_Q>(a[0], a[0]),
                _mm256_cmp_ps::<_CMP_UNORD_Q>(a[1], a[1]),
            );
            let a8 = _mm256_max_ps(a[0], a[1]);
            let a4 = _mm_max_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps::<1>(a8));
            let a2 = _mm_max_ps(a4, _mm_movehl_ps(a4, a4));
            let a1 = _mm_cvtss_f32(_mm_max_ss(a2, _mm_movehdup_ps(a2)));
            if _mm256_movemask_ps(nan) == 0 { a1 } else { f32::NAN }
        }
    }
    #[inline(always)]
    fn interleave(self, a: [__m256; 2], b: [__m256; 2]) -> ([__m256; 2], [__m256; 2]) {
        // SAFETY: the token proves the features.
        unsafe {
            let [first, second] = [
                (_mm256_unpacklo_ps(a[0], b[0]), _mm256_unpackhi_ps(a[0], b[0])),
                (_mm256_unpacklo_ps(a[1], b[1]), _mm256_unpackhi_ps(a[1], b[1])),
            ];
            (
                [
                    _mm256_permute2f128_ps::<0x20>(first.0, first.1),
                    _mm256_permute2f128_ps::<0x31>(first.0, first.1),
                ],
                [
                    _mm256_permute2f128_ps::<0x20>(second.0, second.1),
                    _mm256_permute2f128_ps::<0x31>(second.0, second.1),
                ],
            )
        }
    }

    #[inline(always)]
    fn columns(self, from: &[CacheLine<[f32; 16]>], first: usize) -> [[__m256; 2]; GROUP] {
        let [a, b, c, d] = self.half_columns(from, 0, first);
        let [e, f, g, h] = self.half_columns(from, 8, first);
        [[a, e], [b, f], [c, g], [d, h]]
    }

    #[inline(always)]
    fn load_group(self, group: &[f32; GROUP]) -> [__m256; 2] {
        // SAFETY: the token proves the features; the array has as many elements as are loaded.
        unsafe {
            [{
                let group = _mm_loadu_ps(group.as_ptr());
                _mm256_set_m128(group, group)
            }; 2]
        }
    }
    #[inline(always)]
    fn load_rows(self, x: &[f32], shape: RowShape) -> [__m256; 2] {
        shape.check(x);
        let [a, b, c, d] = [
            row_ps(self, x, 0, shape),
            row_ps(self, x, 1, shape),
            row_ps(self, x, 2, shape),
            row_ps(self, x, 3, shape),
        ];
        // SAFETY: the token proves the features.
        unsafe { [_mm256_set_m128(b, a), _mm256_set_m128(d, c)] }
    }
    #[inline(always)]
    fn splat_in_groups(self, a: [__m256; 2], k: usize) -> [__m256; 2] {
        // SAFETY: the token proves the features.
        unsafe {
            match k {
                0 => [_mm256_permute_ps::<0x00>(a[0]), _mm256_permute_ps::<0x00>(a[1])],
                1 => [_mm256_permute_ps::<0x55>(a[0]), _mm256_permute_ps::<0x55>(a[1])],
                2 => [_mm256_permute_ps::<0xaa>(a[0]), _mm256_permute_ps::<0xaa>(a[1])],
                _ => [_mm256_permute_ps::<0xff>(a[0]), _mm256_permute_ps::<0xff>(a[1])],
            }
        }
    }
}

/// [`Arithmetic::exp2_floor`] of a register.
#[inline(always)]
fn exp2_floor_ps(_: Avx2<f32>, shifted: __m256) -> __m256 {
    // SAFETY: the token proves the features.
    unsafe {
        let lowest = _mm256_set1_ps(LOWEST_SHIFTED);
        let bits = _mm256_castps_si256(_mm256_max_ps(lowest, shifted));
        _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_srli_epi32::<3>(bits)))
    }
}

/// [`Arithmetic::scale_by_floor`] of a register.
#[inline(always)]
fn scale_by_floor_ps(_: Avx2<f32>, a: __m256, shifted: __m256) -> __m256 {
    // SAFETY: the token proves the features.
    unsafe {
        // In two factors, as by default. `twice` is n plus two biases; its halves are the exponent fields of
        // the factors.
        let bits = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(127 * 8 - 0x49c0_0000));
        let twice = _mm256_srli_epi32::<3>(bits);
        let half = _mm256_srli_epi32::<1>(twice);
        let rest = _mm256_sub_epi32(twice, half);
        let half = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(half));
        let rest = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(rest));
        _mm256_mul_ps(_mm256_mul_ps(a, half), rest)
    }
}

impl Avx2<f64> {
    /// Two lanes from `first` on of lines `line` and `line + 2`; 0 where there is no line.
    #[inline(always)]
    fn load_pairs(self, lines: &[CacheLine<[f64; 8]>], line: usize, first: usize) -> __m256d {
        let (low, high) =
            (part_of::<_, 2, _>(lines, line, first), part_of::<_, 2, _>(lines, line + 2, first));
        // SAFETY: the token proves the features; each part has as many elements as are loaded.
        unsafe {
            let low = _mm256_castpd128_pd256(_mm_loadu_pd(low.as_ptr()));
            _mm256_insertf128_pd::<1>(low, _mm_loadu_pd(high.as_ptr()))
        }
    }

    /// The half of two columns of [`Lanes::columns`] of the four lines from `line` on.
    #[inline(always)]
    fn half_columns(self, lines: &[CacheLine<[f64; 8]>], line: usize, first: usize) -> [__m256d; 2] {
        let (a, b) = (self.load_pairs(lines, line, first), self.load_pairs(lines, line + 1, first));
        // SAFETY: the token proves the features.
        unsafe { [_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b)] }
    }
}

/// [`Arithmetic::abs`] of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn abs_pd(a: __m256d) -> __m256d {
    _mm256_andnot_pd(_mm256_set1_pd(-0.0), a)
}

/// [`Arithmetic::flip_sign`] of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn flip_sign_pd(magnitude: __m256d, sign: __m256d) -> __m256d {
    _mm256_xor_pd(magnitude, _mm256_and_pd(sign, _mm256_set1_pd(-0.0)))
}

/// [`Arithmetic::power_from_low_bits`] of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn power_from_low_bits_pd(a: __m256d) -> __m256d {
    _mm256_castsi256_pd(_mm256_slli_epi64::<52>(_mm256_castpd_si256(a)))
}

/// [`Arithmetic::select`] of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn select_pd(mask: __m256d, a: __m256d, b: __m256d) -> __m256d {
    _mm256_blendv_pd(b, a, mask)
}

impl Arithmetic for Avx2<f64> {
    type Element = f64;
    type Vector = [__m256d; 2];
    type Mask = [__m256d; 2];

    values! {
        add(a, b) = _mm256_add_pd;
        sub(a, b) = _mm256_sub_pd;
        mul(a, b) = _mm256_mul_pd;
        div(a, b) = _mm256_div_pd;
        mul_add(a, b, c) = _mm256_fmadd_pd;
        neg_mul_add(a, b, c) = _mm256_fnmadd_pd;
        max(a, b) = _mm256_max_pd;
        min(a, b) = _mm256_min_pd;
        abs(a) = abs_pd;
        flip_sign(magnitude, sign) = flip_sign_pd;
        sqrt(a) = _mm256_sqrt_pd;
        round(a) = _mm256_round_pd::<NEAREST>;
        power_from_low_bits(a) = power_from_low_bits_pd;
        lt(a, b) = _mm256_cmp_pd::<_CMP_LT_OQ>;
        le(a, b) = _mm256_cmp_pd::<_CMP_LE_OQ>;
        eq(a, b) = _mm256_cmp_pd::<_CMP_EQ_OQ>;
        select(mask, a, b) = select_pd;
    }

    #[inline(always)]
    fn splat(self, x: f64) -> [__m256d; 2] {
        // SAFETY: the token proves the features.
        unsafe { [_mm256_set1_pd(x); 2] }
    }
}

impl Lanes for Avx2<f64> {
    /// As in `f32`.
    const ACCUMULATORS: usize = 6;

    #[inline(always)]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        // SAFETY: the token proves the features.
        unsafe { vectorize(f) }
    }
    #[inline(always)]
    fn load(self, line: &CacheLine<[f64; 8]>) -> [__m256d; 2] {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe {
            let p = line.0.as_ptr();
            [_mm256_load_pd(p), _mm256_load_pd(p.add(4))]
        }
    }
    #[inline(always)]
    fn store(self, line: &mut CacheLine<[f64; 8]>, v: [__m256d; 2]) {
        // SAFETY: the token proves the features; a line is 64 bytes, aligned to 64.
        unsafe {
            let p = line.0.as_mut_ptr();
            _mm256_store_pd(p, v[0]);
            _mm256_store_pd(p.add(4), v[1]);
        }
    }
    #[inline(always)]
    fn load_slice(self, x: &[f64]) -> [__m256d; 2] {
        let [low, high] = self.first(x.len());
        // A high half past the end is masked entirely, but its address must stay in the slice.
        let p = x.as_ptr();
        let q = p.wrapping_add(4.min(x.len()));
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe {
            [
                _mm256_maskload_pd(p, _mm256_castpd_si256(low)),
                _mm256_maskload_pd(q, _mm256_castpd_si256(high)),
            ]
        }
    }
    #[inline(always)]
    fn store_slice(self, x: &mut [f64], v: [__m256d; 2]) {
        let [low, high] = self.first(x.len());
        let p = x.as_mut_ptr();
        let q = p.wrapping_add(4.min(x.len()));
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe {
            _mm256_maskstore_pd(p, _mm256_castpd_si256(low), v[0]);
            _mm256_maskstore_pd(q, _mm256_castpd_si256(high), v[1]);
        }
    }
    #[inline(always)]
    fn first(self, n: usize) -> [__m256d; 2] {
        // SAFETY: the token proves the features.
        unsafe {
            let n = _mm256_set1_epi64x(n.min(8) as i64);
            let low = _mm256_setr_epi64x(0, 1, 2, 3);
            let high = _mm256_setr_epi64x(4, 5, 6, 7);
            [
                _mm256_castsi256_pd(_mm256_cmpgt_epi64(n, low)),
                _mm256_castsi256_pd(_mm256_cmpgt_epi64(n, high)),
            ]
        }
    }

    #[inline(always)]
    fn sum(self, a: [__m256d; 2]) -> f64 {
        // SAFETY: the token proves the features.
        unsafe {
            let a4 = _mm256_add_pd(a[0], a[1]);
            let a2 = _mm_add_pd(_mm256_castpd256_pd128(a4), _mm256_extractf128_pd::<1>(a4));
            _mm_cvtsd_f64(_mm_add_sd(a2, _mm_unpackhi_pd(a2, a2)))
        }
    }
    #[inline(always)]
    fn sums(self, [a, b, c, d]: [[__m256d; 2]; GROUP]) -> [__m256d; 2] {
        // SAFETY: the token proves the features.
        unsafe {
            let (a4, b4) = (_mm256_add_pd(a[0], a[1]), _mm256_add_pd(b[0], b[1]));
            let (c4, d4) = (_mm256_add_pd(c[0], c[1]), _mm256_add_pd(d[0], d[1]));
            // Two partial sums of `a` and two of `c`, then those of `b` and `d`.
            let ac_low = _mm256_permute2f128_pd::<0x20>(a4, c4);
            let ac2 = _mm256_add_pd(ac_low, _mm256_permute2f128_pd::<0x31>(a4, c4));
            let bd_low = _mm256_permute2f128_pd::<0x20>(b4, d4);
            let bd2 = _mm256_add_pd(bd_low, _mm256_permute2f128_pd::<0x31>(b4, d4));
            let all1 = _mm256_add_pd(_mm256_unpacklo_pd(ac2, bd2), _mm256_unpackhi_pd(ac2, bd2));
            [all1; 2]
        }
    }
    #[inline(always)]
    fn sum_f64(self, a: [__m256d; 2]) -> f64 {
        self.sum(a)
    }
    #[inline(always)]
    fn max_lane(self, a: [__m256d; 2]) -> f64 {
        // SAFETY: the token proves the features.
        unsafe {
            let nan = _mm256_or_pd(
                _mm256_cmp_pd::<_CMP_UNORD_Q>(a[0], a[0]),
                _mm256_cmp_pd::<_CMP_UNORD_Q>(a[1], a[1]),
            );
            let a4 = _mm256_max_pd(a[0], a[1]);
            let a2 = _mm_max_pd(_mm256_castpd256_pd128(a4), _mm256_extractf128_pd::<1>(a4));
            let a1 = _mm_cvtsd_f64(_mm_max_sd(a2, _mm_unpackhi_pd(a2, a2)));
            if _mm256_movemask_pd(nan) == 0 { a1 } else { f64::NAN }
        }
    }
    #[inline(always)]
    fn interleave(self, a: [__m256d; 2], b: [__m256d; 2]) -> ([__m256d; 2], [__m256d; 2]) {
        // SAFETY: the token proves the features.
        unsafe {
            let [first, second] = [
                (_mm256_unpacklo_pd(a[0], b[0]), _mm256_unpackhi_pd(a[0], b[0])),
                (_mm256_unpacklo_pd(a[1], b[1]), _mm256_unpackhi_pd(a[1], b[1])),
            ];
            (
                [
                    _mm256_permute2f128_pd::<0x20>(first.0, first.1),
                    _mm256_permute2f128_pd::<0x31>(first.0, first.1),
                ],
                [
                    _mm256_permute2f128_pd::<0x20>(second.0, second.1),
                    _mm256_permute2f128_pd::<0x31>(second.0, second.1),
                ],
            )
        }
    }

    #[inline(always)]
    fn columns(self, from: &[CacheLine<[f64; 8]>], first: usize) -> [[__m256d; 2]; GROUP] {
        let ([a, b], [e, f]) = (self.half_columns(from, 0, first), self.half_columns(from, 4, first));
        let second = first + 2;
        let ([c, d], [g, h]) = (self.half_columns(from, 0, second), self.half_columns(from, 4, second));
        [[a, e], [b, f], [c, g], [d, h]]
    }

    #[inline(always)]
    fn load_group(self, group: &[f64; GROUP]) -> [__m256d; 2] {
        // SAFETY: the token proves the features; the array has as many elements as are loaded.
        unsafe { [_mm256_loadu_pd(group.as_ptr()); 2] }
    }
    #[inline(always)]
    fn load_rows(self, x: &[f64], shape: RowShape) -> [__m256d; 2] {
        shape.check(x);
        [row_pd(self, x, 0, shape), row_pd(self, x, 1, shape)]
    }
    #[inline(always)]
    fn splat_in_groups(self, a: [__m256d; 2], k: usize) -> [__m256d; 2] {
        // SAFETY: the token proves the features.
        unsafe {
            match k {
                0 => [_mm256_permute4x64_pd::<0x00>(a[0]), _mm256_permute4x64_pd::<0x00>(a[1])],
                1 => [_mm256_permute4x64_pd::<0x55>(a[0]), _mm256_permute4x64_pd::<0x55>(a[1])],
                2 => [_mm256_permute4x64_pd::<0xaa>(a[0]), _mm256_permute4x64_pd::<0xaa>(a[1])],
                _ => [_mm256_permute4x64_pd::<0xff>(a[0]), _mm256_permute4x64_pd::<0xff>(a[1])],
            }
        }
    }
}

/// Row `r` of up to four elements; 0 past its end and past the last row.
#[inline(always)]
fn row_ps(_: Avx2<f32>, x: &[f32], r: usize, RowShape { rows, cols }: RowShape) -> __m128 {
    let Some(x) = x.get(r * cols..).filter(|x| r < rows && x.len() >= cols) else {
        // SAFETY: the token proves the features.
        return unsafe { _mm_setzero_ps() };
    };
    // SAFETY: the token proves the features; masked lanes, those past `cols`, are not accessed.
    unsafe {
        let mask = _mm_cmpgt_epi32(_mm_set1_epi32(cols as i32), _mm_setr_epi32(0, 1, 2, 3));
        _mm_maskload_ps(x.as_ptr(), mask)
    }
}

/// Row `r` of up to four elements; 0 past its end and past the last row.
#[inline(always)]
fn row_pd(_: Avx2<f64>, x: &[f64], r: usize, RowShape { rows, cols }: RowShape) -> __m256d {
    let Some(x) = x.get(r * cols..).filter(|x| r < rows && x.len() >= cols) else {
        // SAFETY: the token proves the features.
        return unsafe { _mm256_setzero_pd() };
    };
    // SAFETY: the token proves the features; masked lanes, those past `cols`, are not accessed.
    unsafe {
        let mask = _mm256_cmpgt_epi64(_mm256_set1_epi64x(cols as i64), _mm256_setr_epi64x(0, 1, 2, 3));
        _mm256_maskload_pd(x.as_ptr(), mask)
    }
}
