//! Bit patterns of floating-point numbers, as constants for arithmetic on them.
//!
//! The sum of a small number and a *shift*, a large number whose last bit is worth 1 or 1/8, is the small
//! number rounded to that unit, and its last bits are the rounded number as an integer.

use crate::simd::scalar::Element;

/// Multiples of 1/8, as [`Arithmetic::eighths`](crate::simd::lanes::Arithmetic::eighths) computes them.
#[derive(Clone, Copy)]
pub(crate) struct Eighths<V> {
    /// The multiples.
    pub value: V,
    /// The multiples plus [`eighths_shift`], whose last bits are their number of eighths.
    pub(super) shifted: V,
}

/// Whether the element type is `f32`; otherwise it is `f64`.
pub(super) const fn is_f32<T: Element>() -> bool {
    size_of::<T>() == size_of::<f32>()
}

/// A number whose last bit is worth 1, in the middle of its binade: 1.5 times a power of two.
pub(super) const fn shift<T: Element>() -> f64 {
    1.5 / if is_f32::<T>() { f32::EPSILON as f64 } else { f64::EPSILON }
}

/// The bias of exponents.
pub(super) const fn bias<T: Element>() -> f64 {
    if is_f32::<T>() { 127.0 } else { 1023.0 }
}

/// [`shift`] plus [`bias`]: the last bits of its sum with an integer `n` are the exponent field of `2^n`.
pub(super) const fn biased_shift<T: Element>() -> f64 {
    shift::<T>() + bias::<T>()
}

/// A number whose last bit is worth 1/8, plus [`bias`].
pub(super) const fn eighths_shift<T: Element>() -> f64 {
    shift::<T>() / 8.0 + bias::<T>()
}

/// The exponent of the smallest normal number.
pub(super) const fn lowest_exponent<T: Element>() -> f64 {
    1.0 - bias::<T>()
}

/// `shifted` of [`Eighths`] for the smallest normal `f32`.
#[cfg(target_arch = "x86_64")]
pub(super) const LOWEST_SHIFTED: f32 = (eighths_shift::<f32>() + lowest_exponent::<f32>()) as f32;

/// What the bits of `shifted` of [`Eighths`], those of [`eighths_shift`] plus `8 n`, are added to for
/// `8 (n + 2 bias)`.
#[cfg(target_arch = "x86_64")]
pub(super) const SHIFTED_TO_TWO_BIASES: i32 =
    2 * 8 * bias::<f32>() as i32 - (eighths_shift::<f32>() as f32).to_bits() as i32;
