//! The numbers that networks compute in, `f32` and `f64`, and a cache line of them.

/// A number type that networks compute in: `f32` or `f64`. Element.
///
/// ```
/// use fuseprop::Element;
///
/// fn half<T: Element>(x: T) -> T {
///     T::from_f64(x.to_f64() / 2.0)
/// }
/// assert_eq!(half(3.0_f32), 1.5);
/// ```
pub trait Element: Scalar {
    /// Rounds to the nearest representable number.
    fn from_f64(x: f64) -> Self;
    /// The same number in `f64`.
    fn to_f64(self) -> f64;
}

impl Element for f32 {
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Element for f64 {
    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}

/// A type for each element type, as `Option<&'static dyn Engine<T>>` is.
pub trait Family {
    /// That of `T`.
    type Of<T: Element>;
}

/// What the crate itself needs of an [`Element`].
pub trait Scalar:
    Copy + Default + PartialEq + PartialOrd + core::fmt::Debug + core::fmt::Display + Send + Sync + 'static
{
    /// One cache line of elements, the unit of every layout.
    type Line: Line<Self>;
    /// Elements in a line: 16 for `f32`, 8 for `f64`.
    const LANES: usize = size_of::<Self::Line>() / size_of::<Self>();
    const ZERO: Self;
    /// The smallest number of full precision.
    const MIN_NORMAL: Self;

    /// Whichever of two is for this type: so that the choice is made where both are known, and a number need not know them.
    fn pick<F: Family>(single: F::Of<f32>, double: F::Of<f64>) -> F::Of<Self>
    where
        Self: Element;
    /// 0 in place of a denormal number and of -0.
    #[inline(always)]
    fn flushed(self) -> Self
    where
        Self: Element,
    {
        if self.to_f64().abs() < Self::MIN_NORMAL.to_f64() { Self::ZERO } else { self }
    }
    /// Whether a setting is a finite number in this type too.
    fn holds(x: f64) -> bool
    where
        Self: Element,
    {
        Self::from_f64(x).to_f64().is_finite()
    }
}

impl Scalar for f32 {
    type Line = CacheLine<[f32; 16]>;
    const ZERO: Self = 0.0;
    const MIN_NORMAL: Self = Self::MIN_POSITIVE;

    fn pick<F: Family>(single: F::Of<f32>, _: F::Of<f64>) -> F::Of<Self> {
        single
    }
}

impl Scalar for f64 {
    type Line = CacheLine<[f64; 8]>;
    const ZERO: Self = 0.0;
    const MIN_NORMAL: Self = Self::MIN_POSITIVE;

    fn pick<F: Family>(_: F::Of<f32>, double: F::Of<f64>) -> F::Of<Self> {
        double
    }
}

/// One cache line of elements.
///
/// # Safety
/// The type is 64 bytes of `T`, aligned to 64, with no padding and no invalid values.
pub unsafe trait Line<T>: Copy + Send + Sync + core::fmt::Debug + 'static {
    const ZERO: Self;
    fn as_slice(&self) -> &[T];
    fn as_mut_slice(&mut self) -> &mut [T];
}

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct CacheLine<A>(pub(super) A);

// SAFETY: sixteen f32 are 64 bytes, and so is the alignment: no padding.
unsafe impl Line<f32> for CacheLine<[f32; 16]> {
    const ZERO: Self = Self([0.0; 16]);
    #[inline(always)]
    fn as_slice(&self) -> &[f32] {
        &self.0
    }
    #[inline(always)]
    fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

// SAFETY: eight f64 are 64 bytes, and so is the alignment: no padding.
unsafe impl Line<f64> for CacheLine<[f64; 8]> {
    const ZERO: Self = Self([0.0; 8]);
    #[inline(always)]
    fn as_slice(&self) -> &[f64] {
        &self.0
    }
    #[inline(always)]
    fn as_mut_slice(&mut self) -> &mut [f64] {
        &mut self.0
    }
}

/// The elements of consecutive lines as one slice.
#[inline(always)]
pub fn elements<T: Element>(lines: &[T::Line]) -> &[T] {
    // SAFETY: `Line` promises `LANES` elements without padding, so the lines are `len * LANES` elements.
    unsafe { core::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * T::LANES) }
}

/// The elements of consecutive lines as one mutable slice.
#[inline(always)]
pub fn elements_mut<T: Element>(lines: &mut [T::Line]) -> &mut [T] {
    // SAFETY: as in `elements`; every bit pattern of an element is valid in a line.
    unsafe { core::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * T::LANES) }
}

/// The whole lines within a slice, and the elements before and after them, less than a line each.
#[inline(always)]
pub fn lines_mut<T: Element>(x: &mut [T]) -> (&mut [T], &mut [T::Line], &mut [T]) {
    // SAFETY: a line is `LANES` elements without padding, and whatever their bits it is valid.
    unsafe { x.align_to_mut::<T::Line>() }
}
