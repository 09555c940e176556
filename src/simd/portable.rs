//! Portable lanes on the vectors of the crate `wide`, compiled for whatever the build targets.
//!
//! In a plain build on x86-64 that is SSE2, without a fused multiply-add. Bits are converted lane by lane
//! over arrays, which the compiler vectorizes.

use core::marker::PhantomData;

use wide::{f32x16, f64x8};

use crate::simd::lanes::{Arithmetic, Lanes};
use crate::simd::scalar::CacheLine;

/// The lanes of every CPU, which need no proof.
#[derive(Clone, Copy)]
pub(crate) struct Portable<T>(PhantomData<T>);

impl<T: 'static> Portable<T> {
    pub(crate) fn detect() -> Option<&'static Self> {
        Some(&Self(PhantomData))
    }
}

/// Operations that take and give vectors only: for each an expression of its operands.
macro_rules! values {
    ($($operation:ident($($operand:ident),+) = $value:expr;)+) => {$(
        #[inline(always)]
        fn $operation(self, $($operand: Self::Vector),+) -> Self::Vector {
            $value
        }
    )+};
}

/// The operations that `wide` has under the same names for both vectors.
macro_rules! operations_of_wide {
    () => {
        values! {
            add(a, b) = a + b;
            sub(a, b) = a - b;
            mul(a, b) = a * b;
            div(a, b) = a / b;
            mul_add(a, b, c) = a.mul_add(b, c);
            neg_mul_add(a, b, c) = a.mul_neg_add(b, c);
            max(a, b) = b.simd_lt(a).select(a, b);
            min(a, b) = a.simd_lt(b).select(a, b);
            abs(a) = a.abs();
            flip_sign(magnitude, sign) = magnitude ^ (sign & <Self::Vector>::splat(-0.0));
            sqrt(a) = a.sqrt();
            lt(a, b) = a.simd_lt(b);
            le(a, b) = a.simd_le(b);
            eq(a, b) = a.simd_eq(b);
            select(mask, a, b) = mask.select(a, b);
        }
    };
}

impl Arithmetic for Portable<f32> {
    type Element = f32;
    type Vector = f32x16;
    type Mask = f32x16;

    operations_of_wide! {}

    #[inline(always)]
    fn splat(self, x: f32) -> f32x16 {
        f32x16::splat(x)
    }
    #[inline(always)]
    fn power_from_low_bits(self, a: f32x16) -> f32x16 {
        f32x16::new(a.to_array().map(|a| f32::from_bits(a.to_bits() << 23)))
    }
}

impl Lanes for Portable<f32> {
    /// SSE2 has 16 registers and a line takes four: two lines of accumulators, one of `B`, a broadcast.
    const ACCUMULATORS: usize = 2;

    // A call, as with other instruction sets: else a product would become one function of 200 KB, and every
    // unit of code that the compiler works on would have copies of its own.
    #[inline(never)]
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
        f32x16::new(padded(x))
    }
    #[inline(always)]
    fn store_slice(self, x: &mut [f32], v: f32x16) {
        store_array(x, v.to_array());
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
        let [first, second] = interleave_arrays(a.to_array(), b.to_array());
        (f32x16::new(first), f32x16::new(second))
    }
}

impl Arithmetic for Portable<f64> {
    type Element = f64;
    type Vector = f64x8;
    type Mask = f64x8;

    operations_of_wide! {}

    #[inline(always)]
    fn splat(self, x: f64) -> f64x8 {
        f64x8::splat(x)
    }
    #[inline(always)]
    fn power_from_low_bits(self, a: f64x8) -> f64x8 {
        f64x8::new(a.to_array().map(|a| f64::from_bits(a.to_bits() << 52)))
    }
}

impl Lanes for Portable<f64> {
    /// As in `f32`.
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
        f64x8::new(padded(x))
    }
    #[inline(always)]
    fn store_slice(self, x: &mut [f64], v: f64x8) {
        store_array(x, v.to_array());
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
        self.sum(a)
    }
    #[inline(always)]
    fn max_lane(self, a: f64x8) -> f64 {
        halve(a.to_array(), |x, y| if x > y || x.is_nan() { x } else { y })
    }
    #[inline(always)]
    fn interleave(self, a: f64x8, b: f64x8) -> (f64x8, f64x8) {
        let [first, second] = interleave_arrays(a.to_array(), b.to_array());
        (f64x8::new(first), f64x8::new(second))
    }
}

/// The elements of a slice, and 0 past its end.
#[inline(always)]
fn padded<T: Copy + Default, const N: usize>(x: &[T]) -> [T; N] {
    let mut lanes = [T::default(); N];
    for (lane, &x) in lanes.iter_mut().zip(x) {
        *lane = x;
    }
    lanes
}

/// Stores as many lanes as the slice has elements, at most all.
#[inline(always)]
fn store_array<T: Copy, const N: usize>(x: &mut [T], lanes: [T; N]) {
    for (x, lane) in x.iter_mut().zip(lanes) {
        *x = lane;
    }
}

/// The lanes of `a` and `b` alternately, `a` first: the first `N` and the others.
#[inline(always)]
fn interleave_arrays<T: Copy, const N: usize>(a: [T; N], b: [T; N]) -> [[T; N]; 2] {
    let lane = |i: usize| if i.is_multiple_of(2) { a[i / 2] } else { b[i / 2] };
    [core::array::from_fn(lane), core::array::from_fn(|i| lane(N + i))]
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
