//! The bits of floating-point numbers, as constants that arithmetic on them takes.

use crate::simd::scalar::Element;

/// Multiples of 1/8, from [`Arithmetic::eighths`]: as they are, and in the last bits of another number.
#[derive(Clone, Copy)]
pub struct Eighths<V> {
    pub value: V,
    pub(super) shifted: V,
}

/// Whether the element type is `f32`; else it is `f64`.
pub(super) const fn is_f32<T: Element>() -> bool {
    size_of::<T>() == size_of::<f32>()
}

/// One and a half times the number from which on the last bit is worth 1: what is added to it is rounded to an integer.
pub(super) const fn shift<T: Element>() -> f64 {
    1.5 / if is_f32::<T>() { f32::EPSILON as f64 } else { f64::EPSILON }
}

/// The bias of exponents.
pub(super) const fn bias<T: Element>() -> f64 {
    if is_f32::<T>() { 127.0 } else { 1023.0 }
}

/// [`shift`] and [`bias`]: what an integer is added to so that the last bits are its power of two.
pub const fn biased_shift<T: Element>() -> f64 {
    shift::<T>() + bias::<T>()
}

/// One and a half times the number from which on the last bit is worth 1/8, and the bias of exponents.
pub(super) const fn eighths_shift<T: Element>() -> f64 {
    shift::<T>() / 8.0 + bias::<T>()
}

/// The exponent of the smallest normal number.
pub const fn lowest_exponent<T: Element>() -> f64 {
    1.0 - bias::<T>()
}

/// How [`Eighths`] of the smallest normal `f32` are shifted.
#[cfg(target_arch = "x86_64")]
pub(super) const LOWEST_SHIFTED: f32 = (eighths_shift::<f32>() + lowest_exponent::<f32>()) as f32;
