//! AVX2 lanes of `f32`.

use core::arch::x86_64::*;

use crate::simd::avx2::{Avx2, NEAREST, max_ps, of_registers, sum_ps, vectorize};
use crate::simd::float_bits::{Eighths, LOWEST_SHIFTED, SHIFTED_TO_TWO_BIASES};
use crate::simd::lanes::{Arithmetic, GROUP, Lanes, RowShape, instructions, part_of};
use crate::simd::scalar::CacheLine;

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

/// [`Arithmetic::exp2_floor`] of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn exp2_floor_ps(shifted: __m256) -> __m256 {
    let bits = _mm256_castps_si256(_mm256_max_ps(_mm256_set1_ps(LOWEST_SHIFTED), shifted));
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_srli_epi32::<3>(bits)))
}

/// [`Arithmetic::scale_by_floor`] of a register.
#[target_feature(enable = "avx2")]
#[inline]
fn scale_by_floor_ps(a: __m256, shifted: __m256) -> __m256 {
    // In two factors, as by default. `twice` is n plus two biases; its halves are the exponent fields of the
    // factors.
    let bits = _mm256_add_epi32(_mm256_castps_si256(shifted), _mm256_set1_epi32(SHIFTED_TO_TWO_BIASES));
    let twice = _mm256_srli_epi32::<3>(bits);
    let half = _mm256_srli_epi32::<1>(twice);
    let rest = _mm256_sub_epi32(twice, half);
    let half = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(half));
    let rest = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(rest));
    _mm256_mul_ps(_mm256_mul_ps(a, half), rest)
}

/// The lanes of `a` and `b` alternately, `a` first: the first register of them and the second.
#[target_feature(enable = "avx2")]
#[inline]
fn interleave_ps(a: __m256, b: __m256) -> [__m256; 2] {
    let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
}

impl Arithmetic for Avx2<f32> {
    type Element = f32;
    type Vector = [__m256; 2];
    type Mask = [__m256; 2];
    const LOOKS_UP: bool = true;

    instructions! {
        of_registers -> Vector;
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
    fn lookup8(self, e: &Eighths<[__m256; 2]>, table: &[f32; 8]) -> [__m256; 2] {
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
        let shifted = e.shifted;
        // SAFETY: the token proves the features, and no operand is in memory.
        unsafe { of_registers!(exp2_floor_ps, shifted) }
    }
    #[inline(always)]
    fn scale_by_floor(self, a: [__m256; 2], e: &Eighths<[__m256; 2]>) -> [__m256; 2] {
        let shifted = e.shifted;
        // SAFETY: the token proves the features, and no operand is in memory.
        unsafe { of_registers!(scale_by_floor_ps, a, shifted) }
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
        let [low, high] = self.first_lanes(x.len());
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
        let [low, high] = self.first_lanes(x.len());
        let p = x.as_mut_ptr();
        let q = p.wrapping_add(8.min(x.len()));
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe {
            _mm256_maskstore_ps(p, _mm256_castps_si256(low), v[0]);
            _mm256_maskstore_ps(q, _mm256_castps_si256(high), v[1]);
        }
    }
    #[inline(always)]
    fn first_lanes(self, n: usize) -> [__m256; 2] {
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
    fn reduce_sum(self, a: [__m256; 2]) -> f32 {
        // SAFETY: the token proves the features.
        unsafe { sum_ps(_mm256_add_ps(a[0], a[1])) }
    }
    #[inline(always)]
    fn reduce_sum4(self, [a, b, c, d]: [[__m256; 2]; GROUP]) -> [__m256; 2] {
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
    fn reduce_sum_f64(self, a: [__m256; 2]) -> f64 {
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
            let lanes = self.of::<f64>();
            lanes.reduce_sum(lanes.add(low, high))
        }
    }
    #[inline(always)]
    fn reduce_max(self, a: [__m256; 2]) -> f32 {
        // SAFETY: the token proves the features.
        unsafe {
            let nan = _mm256_or_ps(
                _mm256_cmp_ps::<_CMP_UNORD_Q>(a[0], a[0]),
                _mm256_cmp_ps::<_CMP_UNORD_Q>(a[1], a[1]),
            );
            if _mm256_movemask_ps(nan) == 0 { max_ps(_mm256_max_ps(a[0], a[1])) } else { f32::NAN }
        }
    }
    #[inline(always)]
    fn interleave(self, a: [__m256; 2], b: [__m256; 2]) -> ([__m256; 2], [__m256; 2]) {
        // SAFETY: the token proves the features.
        unsafe { (interleave_ps(a[0], b[0]), interleave_ps(a[1], b[1])) }
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
