//! Lanes for every machine: `wide`'s vectors, compiled for whatever the build targets.
//!
//! In a plain build on x86-64 that is SSE2, without a fused multiply-add. Conversions to bits go lane
//! by lane over arrays, which the compiler turns into vector code.

use core::marker::PhantomData;

use wide::{f32x16, f64x8};

use crate::simd::lanes::{Arithmetic, Lanes};
use crate::simd::scalar::CacheLine;

/// The lanes that need no proof.
#[derive(Clone, Copy)]
pub struct Portable<T>(PhantomData<T>);

impl<T: 'static> Portable<T> {
    pub fn detect() -> Option<&'static Self> {
        Some(&Self(PhantomData))
    }
}

impl Arithmetic for Portable<f32> {
    type Element = f32;
    type Vector = f32x16;
    type Mask = f32x16;

    #[inline(always)]
    fn splat(self, x: f32) -> f32x16 {
        f32x16::splat(x)
    }
    #[inline(always)]
    fn add(self, a: f32x16, b: f32x16) -> f32x16 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32x16, b: f32x16) -> f32x16 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32x16, b: f32x16) -> f32x16 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32x16, b: f32x16) -> f32x16 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn neg_mul_add(self, a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
        a.mul_neg_add(b, c)
    }
    #[inline(always)]
    fn max(self, a: f32x16, b: f32x16) -> f32x16 {
        self.select(self.lt(b, a), a, b)
    }
    #[inline(always)]
    fn min(self, a: f32x16, b: f32x16) -> f32x16 {
        self.select(self.lt(a, b), a, b)
    }
    #[inline(always)]
    fn abs(self, a: f32x16) -> f32x16 {
        a.abs()
    }
    #[inline(always)]
    fn flip_sign(self, magnitude: f32x16, sign: f32x16) -> f32x16 {
        magnitude ^ (sign & f32x16::splat(-0.0))
    }
    #[inline(always)]
    fn sqrt(self, a: f32x16) -> f32x16 {
        a.sqrt()
    }
    #[inline(always)]
    fn power_from_low_bits(self, a: f32x16) -> f32x16 {
        f32x16::new(a.to_array().map(|a| f32::from_bits(a.to_bits() << 23)))
    }
    #[inline(always)]
    fn lt(self, a: f32x16, b: f32x16) -> f32x16 {
        a.simd_lt(b)
    }
    #[inline(always)]
    fn le(self, a: f32x16, b: f32x16) -> f32x16 {
        a.simd_le(b)
    }
    #[inline(always)]
    fn eq(self, a: f32x16, b: f32x16) -> f32x16 {
        a.simd_eq(b)
    }
    #[inline(always)]
    fn select(self, mask: f32x16, a: f32x16, b: f32x16) -> f32x16 {
        mask.select(a, b)
    }
}

impl Lanes for Portable<f32> {
    /// SSE2 has 16 registers and a line takes four: two lines of sums, one of `B`, a broadcast.
    const ACCUMULATORS: usize = 2;

    // Not always: a product would become one function of 200 KB.
    #[inline]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
    #[inline(always)]
    fn load(self, line: &CacheLine<[f32; 16]>) -> f32x16 {
        f32x16::new(line.0)
    }
    #[inline(always)]
    fn store(self, line: &mut CacheLine<[f32; 16]>, v: f32x16) {
        line.0 = v.to_array();
    }
    #[inline(always)]
    fn load_slice(self, x: &[f32]) -> f32x16 {
        let mut lanes = [0.0; 16];
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane = x;
        }
        f32x16::new(lanes)
    }
    #[inline(always)]
    fn store_slice(self, x: &mut [f32], v: f32x16) {
        for (x, lane) in x.iter_mut().zip(v.to_array()) {
            *x = lane;
        }
    }
    #[inline(always)]
    fn first(self, n: usize) -> f32x16 {
        f32x16::new(core::array::from_fn(|i| f32::from_bits(if i < n { u32::MAX } else { 0 })))
    }

    #[inline(always)]
    fn sum(self, a: f32x16) -> f32 {
        halve(a.to_array(), |x, y| x + y)
    }
    #[inline(always)]
    fn sum_f64(self, a: f32x16) -> f64 {
        halve(a.to_array().map(f64::from), |x, y| x + y)
    }
    #[inline(always)]
    fn max_lane(self, a: f32x16) -> f32 {
        halve(a.to_array(), |x, y| if x > y || x.is_nan() { x } else { y })
    }
    #[inline(always)]
    fn interleave(self, a: f32x16, b: f32x16) -> (f32x16, f32x16) {
        let (a, b) = (a.to_array(), b.to_array());
        let lane = |i: usize| if i.is_multiple_of(2) { a[i / 2] } else { b[i / 2] };
        (f32x16::new(core::array::from_fn(lane)), f32x16::new(core::array::from_fn(|i| lane(16 + i))))
    }
}

impl Arithmetic for Portable<f64> {
    type Element = f64;
    type Vector = f64x8;
    type Mask = f64x8;

    #[inline(always)]
    fn splat(self, x: f64) -> f64x8 {
        f64x8::splat(x)
    }
    #[inline(always)]
    fn add(self, a: f64x8, b: f64x8) -> f64x8 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f64x8, b: f64x8) -> f64x8 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f64x8, b: f64x8) -> f64x8 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f64x8, b: f64x8) -> f64x8 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f64x8, b: f64x8, c: f64x8) -> f64x8 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn neg_mul_add(self, a: f64x8, b: f64x8, c: f64x8) -> f64x8 {
        a.mul_neg_add(b, c)
    }
    #[inline(always)]
    fn max(self, a: f64x8, b: f64x8) -> f64x8 {
        self.select(self.lt(b, a), a, b)
    }
    #[inline(always)]
    fn min(self, a: f64x8, b: f64x8) -> f64x8 {
        self.select(self.lt(a, b), a, b)
    }
    #[inline(always)]
    fn abs(self, a: f64x8) -> f64x8 {
        a.abs()
    }
    #[inline(always)]
    fn flip_sign(self, magnitude: f64x8, sign: f64x8) -> f64x8 {
        magnitude ^ (sign & f64x8::splat(-0.0))
    }
    #[inline(always)]
    fn sqrt(self, a: f64x8) -> f64x8 {
        a.sqrt()
    }
    #[inline(always)]
    fn power_from_low_bits(self, a: f64x8) -> f64x8 {
        f64x8::new(a.to_array().map(|a| f64::from_bits(a.to_bits() << 52)))
    }
    #[inline(always)]
    fn lt(self, a: f64x8, b: f64x8) -> f64x8 {
        a.simd_lt(b)
    }
    #[inline(always)]
    fn le(self, a: f64x8, b: f64x8) -> f64x8 {
        a.simd_le(b)
    }
    #[inline(always)]
    fn eq(self, a: f64x8, b: f64x8) -> f64x8 {
        a.simd_eq(b)
    }
    #[inline(always)]
    fn select(self, mask: f64x8, a: f64x8, b: f64x8) -> f64x8 {
        mask.select(a, b)
    }
}

impl Lanes for Portable<f64> {
    const ACCUMULATORS: usize = 2;

    #[inline]
    fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
        f()
    }
    #[inline(always)]
    fn load(self, line: &CacheLine<[f64; 8]>) -> f64x8 {
        f64x8::new(line.0)
    }
    #[inline(always)]
    fn store(self, line: &mut CacheLine<[f64; 8]>, v: f64x8) {
        line.0 = v.to_array();
    }
    #[inline(always)]
    fn load_slice(self, x: &[f64]) -> f64x8 {
        let mut lanes = [0.0; 8];
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane = x;
        }
        f64x8::new(lanes)
    }
    #[inline(always)]
    fn store_slice(self, x: &mut [f64], v: f64x8) {
        for (x, lane) in x.iter_mut().zip(v.to_array()) {
            *x = lane;
        }
    }
    #[inline(always)]
    fn first(self, n: usize) -> f64x8 {
        f64x8::new(core::array::from_fn(|i| f64::from_bits(if i < n { u64::MAX } else { 0 })))
    }

    #[inline(always)]
    fn sum(self, a: f64x8) -> f64 {
        halve(a.to_array(), |x, y| x + y)
    }
    #[inline(always)]
    fn sum_f64(self, a: f64x8) -> f64 {
        halve(a.to_array(), |x, y| x + y)
    }
    #[inline(always)]
    fn max_lane(self, a: f64x8) -> f64 {
        halve(a.to_array(), |x, y| if x > y || x.is_nan() { x } else { y })
    }
    #[inline(always)]
    fn interleave(self, a: f64x8, b: f64x8) -> (f64x8, f64x8) {
        let (a, b) = (a.to_array(), b.to_array());
        let lane = |i: usize| if i.is_multiple_of(2) { a[i / 2] } else { b[i / 2] };
        (f64x8::new(core::array::from_fn(lane)), f64x8::new(core::array::from_fn(|i| lane(8 + i))))
    }
}

/// Joins lane `i` with lane `i + N/2`, then the first half in the same way, until one lane is left.
#[inline(always)]
fn halve<T: Copy, const N: usize>(mut lanes: [T; N], join: impl Fn(T, T) -> T) -> T {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = join(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}
