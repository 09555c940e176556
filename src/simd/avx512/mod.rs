//! AVX-512 lanes (F, VL, DQ, BW): a line is one 512-bit register.
//!
//! | file | subject |
//! |---|---|
//! | `single` | lanes of `f32` |
//! | `double` | lanes of `f64` |

mod double;
mod single;

use core::marker::PhantomData;

use crate::simd::lanes::GROUP;

/// Token that proves that the CPU has AVX-512.
///
/// [`Avx512::detect`] makes one, or a token of the other element type does.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<T>(PhantomData<T>);

impl<T: 'static> Avx512<T> {
    pub(crate) fn detect() -> Option<&'static Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma");
        found.then_some(&Self(PhantomData))
    }

    /// The token of another element type.
    #[inline(always)]
    fn of<U>(self) -> Avx512<U> {
        Avx512(PhantomData)
    }
}

/// `_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC`, for `roundscale` with scale 0.
const NEAREST: i32 = 8;

/// Categories of `fpclass` that are [flushed](crate::simd::lanes::Arithmetic::flushed) to 0.
const DENORMAL_OR_MINUS_ZERO: i32 = 0x20 | 0x04;

/// Permutations from consecutive rows to groups, for each number of columns: the index of the element for
/// each lane.
///
/// Lanes past a row take the last lane of the vector, which is 0 whenever there are such lanes.
const fn into_groups<const LANES: usize>() -> [[u8; LANES]; GROUP + 1] {
    let mut from = [[LANES as u8 - 1; LANES]; GROUP + 1];
    let mut cols = 1;
    while cols <= GROUP {
        let mut i = 0;
        while i < LANES {
            if i % GROUP < cols {
                from[cols][i] = (i / GROUP * cols + i % GROUP) as u8;
            }
            i += 1;
        }
        cols += 1;
    }
    from
}

/// Permutations from groups to consecutive rows, for each number of columns: the lane of the group for each
/// element.
///
/// Places past the rows are garbage.
const fn out_of_groups<const LANES: usize>() -> [[u8; LANES]; GROUP + 1] {
    let mut from = [[0; LANES]; GROUP + 1];
    let mut cols = 1;
    while cols <= GROUP {
        let mut i = 0;
        while i < LANES {
            from[cols][i] = (i / cols * GROUP + i % cols) as u8;
            i += 1;
        }
        cols += 1;
    }
    from
}

/// Runs `f` compiled for AVX-512.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn vectorize<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// The result of an instruction, or of a function of a register, for the one register of a line.
macro_rules! of_registers {
    ($instruction:path, $($operand:ident),+) => {
        $instruction($($operand),+)
    };
}
use of_registers;
