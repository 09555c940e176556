//! AVX2 lanes of `f64`.

use core::arch::x86_64::*;

use crate::simd::avx2::{Avx2, NEAREST, max_pd, of_registers, sum_pd, vectorize};
use crate::simd::lanes::{Arithmetic, GROUP, Lanes, RowShape, instructions, part_of};
use crate::simd::scalar::CacheLine;

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

/// The lanes of `a` and `b` alternately, `a` first: the first register of them and the second.
#[target_feature(enable = "avx2")]
#[inline]
fn interleave_pd(a: __m256d, b: __m256d) -> [__m256d; 2] {
    let (low, high) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
    [_mm256_permute2f128_pd::<0x20>(low, high), _mm256_permute2f128_pd::<0x31>(low, high)]
}

impl Arithmetic for Avx2<f64> {
    type Element = f64;
    type Vector = [__m256d; 2];
    type Mask = [__m256d; 2];

    instructions! {
        of_registers -> Vector;
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
        let [low, high] = self.first_lanes(x.len());
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
        let [low, high] = self.first_lanes(x.len());
        let p = x.as_mut_ptr();
        let q = p.wrapping_add(4.min(x.len()));
        // SAFETY: the token proves the features; masked lanes, those past the slice, are not accessed.
        unsafe {
            _mm256_maskstore_pd(p, _mm256_castpd_si256(low), v[0]);
            _mm256_maskstore_pd(q, _mm256_castpd_si256(high), v[1]);
        }
    }
    #[inline(always)]
    fn first_lanes(self, n: usize) -> [__m256d; 2] {
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
    fn reduce_sum(self, a: [__m256d; 2]) -> f64 {
        // SAFETY: the token proves the features.
        unsafe { sum_pd(_mm256_add_pd(a[0], a[1])) }
    }
    #[inline(always)]
    fn reduce_sum4(self, [a, b, c, d]: [[__m256d; 2]; GROUP]) -> [__m256d; 2] {
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
    fn reduce_sum_f64(self, a: [__m256d; 2]) -> f64 {
        self.reduce_sum(a)
    }
    #[inline(always)]
    fn reduce_max(self, a: [__m256d; 2]) -> f64 {
        // SAFETY: the token proves the features.
        unsafe {
            let nan = _mm256_or_pd(
                _mm256_cmp_pd::<_CMP_UNORD_Q>(a[0], a[0]),
                _mm256_cmp_pd::<_CMP_UNORD_Q>(a[1], a[1]),
            );
            if _mm256_movemask_pd(nan) == 0 { max_pd(_mm256_max_pd(a[0], a[1])) } else { f64::NAN }
        }
    }
    #[inline(always)]
    fn interleave(self, a: [__m256d; 2], b: [__m256d; 2]) -> ([__m256d; 2], [__m256d; 2]) {
        // SAFETY: the token proves the features.
        unsafe { (interleave_pd(a[0], b[0]), interleave_pd(a[1], b[1])) }
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
