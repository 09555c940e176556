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

/// Both traits, for an element, its vector in `wide`, the number of lanes, and the integer of its bits with
/// the width of a mantissa.
macro_rules! lanes_of_wide {
    ($element:ident, $vector:ident, $lanes:literal, $bits:ident << $mantissa:literal) => {
        impl Arithmetic for Portable<$element> {
            type Element = $element;
            type Vector = $vector;
            type Mask = $vector;

            operations_of_wide! {}

            #[inline(always)]
            fn splat(self, x: $element) -> $vector {
                $vector::splat(x)
            }
            #[inline(always)]
            fn power_from_low_bits(self, a: $vector) -> $vector {
                $vector::new(a.to_array().map(|a| $element::from_bits(a.to_bits() << $mantissa)))
            }
        }

        impl Lanes for Portable<$element> {
            /// SSE2 has 16 registers and a line takes four: two lines of accumulators, one of `B`, a
            /// broadcast.
            const ACCUMULATORS: usize = 2;

            /// On x86-64 the CPUs that take these lanes are older than AVX2, and a line is four registers:
            /// inlined, a step of a small network would be functions of up to 96 KB, and all of them a tenth
            /// of the crate's code.
            const INLINES_SMALL: bool = !cfg!(target_arch = "x86_64");

            // A call, as with other instruction sets: else a product would become one function of 200 KB, and
            // each unit of code that the compiler works on would have copies of its own.
            #[inline(never)]
            fn vectorize<R>(self, f: impl FnOnce() -> R) -> R {
                f()
            }
            #[inline(always)]
            fn load(self, line: &CacheLine<[$element; $lanes]>) -> $vector {
                $vector::new(line.0)
            }
            #[inline(always)]
            fn store(self, line: &mut CacheLine<[$element; $lanes]>, v: $vector) {
                line.0 = v.to_array();
            }
            #[inline(always)]
            fn load_slice(self, x: &[$element]) -> $vector {
                $vector::new(padded(x))
            }
            #[inline(always)]
            fn store_slice(self, x: &mut [$element], v: $vector) {
                store_array(x, v.to_array());
            }
            #[inline(always)]
            fn first_lanes(self, n: usize) -> $vector {
                let mask = |i| $element::from_bits(if i < n { $bits::MAX } else { 0 });
                $vector::new(core::array::from_fn(mask))
            }

            #[inline(always)]
            fn reduce_sum(self, a: $vector) -> $element {
                halve(a.to_array(), |x, y| x + y)
            }
            #[inline(always)]
            fn reduce_sum_f64(self, a: $vector) -> f64 {
                halve(a.to_array().map(f64::from), |x, y| x + y)
            }
            #[inline(always)]
            fn reduce_max(self, a: $vector) -> $element {
                halve(a.to_array(), |x, y| if x > y || x.is_nan() { x } else { y })
            }
            #[inline(always)]
            fn interleave(self, a: $vector, b: $vector) -> ($vector, $vector) {
                let [first, second] = interleave_arrays(a.to_array(), b.to_array());
                ($vector::new(first), $vector::new(second))
            }
        }
    };
}

lanes_of_wide!(f32, f32x16, 16, u32 << 23);
lanes_of_wide!(f64, f64x8, 8, u64 << 52);

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
