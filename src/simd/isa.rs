//! Instruction sets, detected at run time.

use core::fmt;

#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2::Avx2, avx512::Avx512};

/// An instruction set that the kernels are compiled for.
///
/// AVX2 and AVX-512 give the same bits. Portable lanes have no fused multiply-add on x86-64, unless the build
/// targets FMA, and differ within the error bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// The instruction set of the build target, which every CPU has.
    Portable,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F, VL, DQ and BW.
    Avx512,
}

impl Isa {
    /// All instruction sets, the most portable first and the fastest last, whether this CPU and this build
    /// support them or not.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Isa;
    ///
    /// for isa in Isa::ALL {
    ///     println!("{isa}: {}", if isa.is_available() { "yes" } else { "no" });
    /// }
    /// assert!(Isa::ALL.contains(&Isa::detect()));
    /// ```
    pub const ALL: &[Self] = &[Self::Portable, Self::Avx2, Self::Avx512];

    /// The fastest instruction set of this CPU.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Isa;
    ///
    /// assert!(Isa::detect().is_available());
    /// ```
    #[must_use]
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Portable)
    }

    /// Whether this CPU and this build support it.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Isa;
    ///
    /// assert!(Isa::Portable.is_available());
    /// ```
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::<f32>::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::<f32>::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 => false,
        }
    }

    /// Every instruction set of this CPU, the fastest last.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Isa;
    ///
    /// assert_eq!(Isa::available().next(), Some(Isa::Portable));
    /// assert_eq!(Isa::available().last(), Some(Isa::detect()));
    /// ```
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|isa| isa.is_available())
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "AVX2",
            Self::Avx512 => "AVX-512",
        })
    }
}
