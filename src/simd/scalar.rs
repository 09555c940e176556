//! The element types of a network, `f32` and `f64`, each with its cache line.

/// A number type that networks compute in: `f32` or `f64`.
///
/// # Examples
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
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Element;
    ///
    /// assert_eq!(f32::from_f64(0.1), 0.1_f32);
    /// ```
    fn from_f64(x: f64) -> Self;
    /// The same number in `f64`.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Element;
    ///
    /// assert_eq!(0.5_f32.to_f64(), 0.5);
    /// ```
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

/// A family of types with one member for each element type, such as `Option<&'static dyn Engine<T>>`.
pub trait Family {
    /// The member of `T`.
    type Of<T: Element>;
}

/// The part of [`Element`] that users do not see.
pub trait Scalar:
    Copy + Default + PartialEq + PartialOrd + core::fmt::Debug + core::fmt::Display + Send + Sync + 'static
{
    /// One cache line of elements, the unit of every layout.
    type Line: Line<Self>;
    /// Elements of a line: 16 for `f32`, 8 for `f64`. No `unsafe` code relies on it, but on [`Line::LANES`].
    const LANES: usize = <Self::Line as Line<Self>>::LANES;
    const ZERO: Self;
    /// The smallest positive normal number.
    const MIN_NORMAL: Self;
    /// The distance from 1 to the next number.
    const EPSILON: Self;

    /// The member of a family for this type: `single` for `f32`, `double` for `f64`.
    ///
    /// The caller knows both members, so an element type need not know the family.
    fn pick<F: Family>(single: F::Of<f32>, double: F::Of<f64>) -> F::Of<Self>
    where
        Self: Element;
    /// The number, or 0 if it is denormal or -0.
    #[inline(always)]
    fn flushed(self) -> Self
    where
        Self: Element,
    {
        if self.to_f64().abs() < Self::MIN_NORMAL.to_f64() { Self::ZERO } else { self }
    }
    /// Whether `x` is finite after rounding to this type.
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
    const EPSILON: Self = Self::EPSILON;

    fn pick<F: Family>(single: F::Of<f32>, _: F::Of<f64>) -> F::Of<Self> {
        single
    }
}

impl Scalar for f64 {
    type Line = CacheLine<[f64; 8]>;
    const ZERO: Self = 0.0;
    const MIN_NORMAL: Self = Self::MIN_POSITIVE;
    const EPSILON: Self = Self::EPSILON;

    fn pick<F: Family>(_: F::Of<f32>, double: F::Of<f64>) -> F::Of<Self> {
        double
    }
}

/// One cache line of elements.
///
/// # Safety
/// `Self` has the layout of `[T; Self::LANES]` but for its alignment, which is 64: its size is
/// `Self::LANES * size_of::<T>() == 64`, there is no padding, and a line is valid if and only if its elements
/// are. [`elements`], [`elements_mut`] and [`lines_mut`] rely on it.
pub unsafe trait Line<T>: Copy + Send + Sync + core::fmt::Debug + 'static {
    /// Elements of a line.
    const LANES: usize;
    const ZERO: Self;
    fn as_slice(&self) -> &[T];
    fn as_mut_slice(&mut self) -> &mut [T];
}

/// An array aligned to 64 bytes, the size of a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct CacheLine<A>(pub(super) A);

// SAFETY: 16 elements of 4 bytes are 64 bytes, which is the alignment, so the array is all there is.
unsafe impl Line<f32> for CacheLine<[f32; 16]> {
    const LANES: usize = 16;
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

// SAFETY: 8 elements of 8 bytes are 64 bytes, which is the alignment, so the array is all there is.
unsafe impl Line<f64> for CacheLine<[f64; 8]> {
    const LANES: usize = 8;
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
pub(crate) fn elements<T: Element>(lines: &[T::Line]) -> &[T] {
    let lanes = const { <T::Line as Line<T>>::LANES };
    // SAFETY: by the contract of `Line` each line is `lanes` valid elements without padding.
    unsafe { core::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * lanes) }
}

/// The elements of consecutive lines as one mutable slice.
#[inline(always)]
pub(crate) fn elements_mut<T: Element>(lines: &mut [T::Line]) -> &mut [T] {
    let lanes = const { <T::Line as Line<T>>::LANES };
    // SAFETY: by the contract of `Line` each line is `lanes` elements without padding, and stays valid
    // whatever elements are written.
    unsafe { core::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * lanes) }
}

/// The whole lines of a slice, and the elements before and after them, less than a line each.
#[inline(always)]
pub(crate) fn lines_mut<T: Element>(x: &mut [T]) -> (&mut [T], &mut [T::Line], &mut [T]) {
    // SAFETY: by the contract of `Line` the elements within a line are a valid line, and stay valid whatever
    // line is written; `align_to_mut` sees to the alignment.
    unsafe { x.align_to_mut::<T::Line>() }
}
