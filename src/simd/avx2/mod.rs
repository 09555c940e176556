//! AVX2 and FMA lanes: a line is a pair of 256-bit registers, the low half first.
//!
//! | file | subject |
//! |---|---|
//! | `single` | lanes of `f32` |
//! | `double` | lanes of `f64` |
//!
//! The sums and maxima of one register serve AVX-512 too, so that both reduce in the same order.

mod double;
mod single;

use core::arch::x86_64::*;
use core::marker::PhantomData;

/// Token that proves that the CPU has AVX2 and FMA.
///
/// [`Avx2::detect`] makes one, or a token of the other element type does.
#[derive(Clone, Copy)]
pub(crate) struct Avx2<T>(PhantomData<T>);

impl<T: 'static> Avx2<T> {
    pub(crate) fn detect() -> Option<&'static Self> {
        let found = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        found.then_some(&Self(PhantomData))
    }

    /// The token of another element type.
    #[inline(always)]
    fn of<U>(self) -> Avx2<U> {
        Avx2(PhantomData)
    }
}

/// `_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC`.
const NEAREST: i32 = 8;

/// Runs `f` compiled for AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// The result of an instruction, or of a function of a register, for both registers of a line.
macro_rules! of_registers {
    ($instruction:path, $($operand:ident),+) => {
        [$instruction($($operand[0]),+), $instruction($($operand[1]),+)]
    };
}
use of_registers;

/// The sum of a register's lanes: the second half is added to the first until one lane is left.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn sum_ps(a8: __m256) -> f32 {
    let a4 = _mm_add_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps::<1>(a8));
    let a2 = _mm_add_ps(a4, _mm_movehl_ps(a4, a4));
    _mm_cvtss_f32(_mm_add_ss(a2, _mm_movehdup_ps(a2)))
}

/// [`sum_ps`] of `f64`.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn sum_pd(a4: __m256d) -> f64 {
    let a2 = _mm_add_pd(_mm256_castpd256_pd128(a4), _mm256_extractf128_pd::<1>(a4));
    _mm_cvtsd_f64(_mm_add_sd(a2, _mm_unpackhi_pd(a2, a2)))
}

/// The largest of a register's lanes, none of which is NaN, by halves.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn max_ps(a8: __m256) -> f32 {
    let a4 = _mm_max_ps(_mm256_castps256_ps128(a8), _mm256_extractf128_ps::<1>(a8));
    let a2 = _mm_max_ps(a4, _mm_movehl_ps(a4, a4));
    _mm_cvtss_f32(_mm_max_ss(a2, _mm_movehdup_ps(a2)))
}

/// [`max_ps`] of `f64`.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn max_pd(a4: __m256d) -> f64 {
    let a2 = _mm_max_pd(_mm256_castpd256_pd128(a4), _mm256_extractf128_pd::<1>(a4));
    _mm_cvtsd_f64(_mm_max_sd(a2, _mm_unpackhi_pd(a2, a2)))
}
