//! The numbers a network is made of: `f32` and `f64`.

use crate::kernels::lanes::{CacheLine, Line};
use crate::kernels::{self, Isa};
use crate::machine::Machine;

/// A number type that networks compute in: `f32` or `f64`. Sealed.
pub trait Element: Sealed {}

impl Element for f32 {}
impl Element for f64 {}

/// What the crate itself needs of an [`Element`].
pub trait Sealed:
    Copy + Default + PartialEq + PartialOrd + core::fmt::Debug + core::fmt::Display + Send + Sync + 'static
{
    /// One cache line of elements, the unit of every layout.
    type Line: Line<Self>;
    /// Elements in a line: 16 for `f32`, 8 for `f64`.
    const LANES: usize = size_of::<Self::Line>() / size_of::<Self>();
    const ZERO: Self;
    /// The smallest number of full precision.
    const MIN_NORMAL: Self;

    /// Rounds to the nearest representable number.
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    /// 0 in place of a denormal number and of -0.
    #[inline(always)]
    fn flushed(self) -> Self {
        if self.to_f64().abs() < Self::MIN_NORMAL.to_f64() { Self::ZERO } else { self }
    }
    /// Whether a setting is a finite number in this type too.
    fn holds(x: f64) -> bool {
        Self::from_f64(x).to_f64().is_finite()
    }
    /// The kernels of one instruction set, if this machine has it.
    fn kernels(isa: Isa) -> Option<&'static dyn Machine<Self>>;
}

impl Sealed for f32 {
    type Line = CacheLine<[f32; 16]>;
    const ZERO: Self = 0.0;
    const MIN_NORMAL: Self = Self::MIN_POSITIVE;

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as f32
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }
    fn kernels(isa: Isa) -> Option<&'static dyn Machine<Self>> {
        kernels::isa::kernels_f32(isa)
    }
}

impl Sealed for f64 {
    type Line = CacheLine<[f64; 8]>;
    const ZERO: Self = 0.0;
    const MIN_NORMAL: Self = Self::MIN_POSITIVE;

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }
    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
    fn kernels(isa: Isa) -> Option<&'static dyn Machine<Self>> {
        kernels::isa::kernels_f64(isa)
    }
}
