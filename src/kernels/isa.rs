//! The one place that chooses an instruction set.

use core::fmt;

use super::lanes::portable::Portable;
#[cfg(target_arch = "x86_64")]
use super::lanes::{avx2::Avx2, avx512::Avx512};
use crate::machine::Machine;

/// An instruction set that the kernels are compiled for.
///
/// AVX2 and AVX-512 give the same bits; portable lanes have no fused multiply-add on x86-64 and differ
/// within the error bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Whatever the build targets: every machine has it.
    Portable,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F, VL, DQ and BW.
    Avx512,
}

impl Isa {
    /// From the most portable to the fastest.
    const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// The fastest instruction set of this machine.
    pub fn detect() -> Self {
        Self::available().last().unwrap_or(Self::Portable)
    }

    /// Every instruction set of this machine, the fastest last.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|&isa| kernels_f32(isa).is_some())
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

// Not inlined, or where the build already targets an instruction set `detect` is so small that every
// crate which names a network gets kernels compiled of its own.
#[inline(never)]
pub fn kernels_f32(isa: Isa) -> Option<&'static dyn Machine<f32>> {
    match isa {
        Isa::Portable => Portable::<f32>::detect().map(|lanes| lanes as _),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Avx2::<f32>::detect().map(|lanes| lanes as _),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Avx512::<f32>::detect().map(|lanes| lanes as _),
        #[cfg(not(target_arch = "x86_64"))]
        _ => None,
    }
}

#[inline(never)]
pub fn kernels_f64(isa: Isa) -> Option<&'static dyn Machine<f64>> {
    match isa {
        Isa::Portable => Portable::<f64>::detect().map(|lanes| lanes as _),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Avx2::<f64>::detect().map(|lanes| lanes as _),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Avx512::<f64>::detect().map(|lanes| lanes as _),
        #[cfg(not(target_arch = "x86_64"))]
        _ => None,
    }
}
