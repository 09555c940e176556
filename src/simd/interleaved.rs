//! Several interleaved lines as one vector, for instruction-level parallelism.
//!
//! Most operations of a function depend on the one before. Out-of-order execution overlaps successive lines
//! only within its window. With every operation done for all lines before the next, independent instructions
//! are adjacent.

use crate::simd::float_bits::Eighths;
use crate::simd::lanes::{Arithmetic, Lanes};
use crate::simd::scalar::Scalar;

/// `N` lines as one vector of [`Arithmetic`]. Each line has the same bits as without the others.
#[derive(Clone, Copy)]
pub(crate) struct Interleaved<L, const N: usize>(pub L);

impl<L: Lanes, const N: usize> Interleaved<L, N> {
    #[inline(always)]
    pub(crate) fn load(self, lines: &[<L::Element as Scalar>::Line; N]) -> [L::Vector; N] {
        let mut v = self.zero();
        for (v, line) in v.iter_mut().zip(lines) {
            *v = self.0.load(line);
        }
        v
    }
    #[inline(always)]
    pub(crate) fn store(self, lines: &mut [<L::Element as Scalar>::Line; N], v: [L::Vector; N]) {
        for (line, v) in lines.iter_mut().zip(v) {
            self.0.store(line, v);
        }
    }
}

/// Operations that the lanes do on every line.
macro_rules! each {
    ($($name:ident($($operand:ident),+);)+) => {$(
        #[inline(always)]
        fn $name(self, $($operand: Self::Vector),+) -> Self::Vector {
            let mut result = self.zero();
            for i in 0..N {
                result[i] = self.0.$name($($operand[i]),+);
            }
            result
        }
    )+};
}

/// Comparisons that the lanes do on every line.
macro_rules! compare_each {
    ($($name:ident;)+) => {$(
        #[inline(always)]
        fn $name(self, a: Self::Vector, b: Self::Vector) -> Self::Mask {
            let mut mask = [self.0.$name(a[0], b[0]); N];
            for i in 1..N {
                mask[i] = self.0.$name(a[i], b[i]);
            }
            mask
        }
    )+};
}

/// Operations that an instruction set overrides are forwarded for every line; others are the default ones,
/// made of those.
///
/// Loops, not closures over arrays, which would not be inlined.
#[allow(clippy::needless_range_loop, reason = "several arrays have the same index")]
impl<L: Lanes, const N: usize> Arithmetic for Interleaved<L, N> {
    type Element = L::Element;
    type Vector = [L::Vector; N];
    type Mask = [L::Mask; N];

    const LOOKS_UP: bool = L::LOOKS_UP;

    #[inline(always)]
    fn splat(self, x: L::Element) -> Self::Vector {
        [self.0.splat(x); N]
    }

    each! {
        add(a, b);
        sub(a, b);
        mul(a, b);
        div(a, b);
        mul_add(a, b, c);
        neg_mul_add(a, b, c);
        max(a, b);
        min(a, b);
        abs(a);
        flip_sign(magnitude, sign);
        sqrt(a);
        round(a);
        power_from_low_bits(a);
        ldexp(a, n);
        flushed(a);
    }

    compare_each! {
        lt;
        le;
        eq;
    }

    #[inline(always)]
    fn select(self, mask: Self::Mask, a: Self::Vector, b: Self::Vector) -> Self::Vector {
        let mut result = b;
        for i in 0..N {
            result[i] = self.0.select(mask[i], a[i], b[i]);
        }
        result
    }
    #[inline(always)]
    fn lookup8(self, e: &Eighths<Self::Vector>, table: &[f32; 8]) -> Self::Vector {
        let mut result = e.value;
        for i in 0..N {
            result[i] = self.0.lookup8(&e.of_line(i), table);
        }
        result
    }
    #[inline(always)]
    fn exp2_floor(self, e: &Eighths<Self::Vector>) -> Self::Vector {
        let mut result = e.value;
        for i in 0..N {
            result[i] = self.0.exp2_floor(&e.of_line(i));
        }
        result
    }
    #[inline(always)]
    fn scale_by_floor(self, a: Self::Vector, e: &Eighths<Self::Vector>) -> Self::Vector {
        let mut result = a;
        for i in 0..N {
            result[i] = self.0.scale_by_floor(a[i], &e.of_line(i));
        }
        result
    }
}

impl<V: Copy, const N: usize> Eighths<[V; N]> {
    #[inline(always)]
    fn of_line(&self, i: usize) -> Eighths<V> {
        Eighths { value: self.value[i], shifted: self.shifted[i] }
    }
}
