//! Elementary functions over lanes: branch-free, with the same bits in every lane and in every tail.
//!
//! Each function is generic over [`Arithmetic`], so it runs on one line or on several
//! [interleaved](crate::simd::interleaved) lines. The exponential, the sigmoid and tanh are within 2 units in
//! the last place (ULP) with fused multiply-adds, denormal results included, and within 4 without. Other
//! functions state their bounds.
//!
//! | file | functions |
//! |---|---|
//! | `exp` | `e^x`, `e^x - 1`, and the series that other files share |
//! | `tanh_sigmoid` | tanh, the logistic sigmoid, the derivative of SiLU |
//! | `log` | `log(1 + t)`, softplus |
//! | `trig` | sine, cosine |
//! | `normal` | the normal distribution: GELU, its approximation by tanh, and their derivatives |

mod exp;
mod log;
mod normal;
mod tanh_sigmoid;
mod trig;

use crate::simd::float_bits::is_f32;
use crate::simd::lanes::Arithmetic;
use crate::simd::scalar::Element;

pub(crate) use exp::{exp, exp_m1_negative};
pub(crate) use log::{ln_1p, softplus};
pub(crate) use normal::{gelu, gelu_derivative, gelu_tanh, gelu_tanh_derivative};
pub(crate) use tanh_sigmoid::{sigmoid, sigmoid_of_first_half, silu_derivative, tanh};
pub(crate) use trig::{cos, sin};

#[cfg(test)]
pub(crate) use exp::{INVERSE_POWERS_OF_EIGHTHS, POWERS_OF_EIGHTHS};

/// Constants of one element type for the argument reduction of exponentials.
struct Reduction {
    /// The head of `ln 2 = ln2_high + ln2_low`. It ends in so many zero bits that `n ln2_high` is exact for
    /// every exponent `n` (Cody and Waite 1980).
    ln2_high: f64,
    ln2_low: f64,
    /// Terms of the series `(e^r - 1 - r) / r^2`, an even number, that reach the working precision for
    /// `|r| <= ln(2) / 2`.
    terms: usize,
    /// `e^x` rounds to 0 below it.
    lowest: f64,
    /// `e^x` is infinite above it.
    highest: f64,
    /// `tanh x` rounds to 1 above it.
    tanh_saturation: f64,
    /// The sigmoid rounds to 1 above it.
    sigmoid_saturation: f64,
}

const F32: Reduction = Reduction {
    ln2_high: 0.693_359_375,
    ln2_low: -2.121_944_400_546_905_8e-4,
    terms: 6,
    lowest: -104.0,
    highest: 89.0,
    tanh_saturation: 9.5,
    sigmoid_saturation: 30.0,
};

const F64: Reduction = Reduction {
    ln2_high: 0.693_147_180_369_123_8,
    ln2_low: 1.908_214_929_270_587_7e-10,
    terms: 12,
    lowest: -746.0,
    highest: 710.0,
    tanh_saturation: 20.0,
    sigmoid_saturation: 60.0,
};

const fn reduction<T: Element>() -> &'static Reduction {
    if is_f32::<T>() { &F32 } else { &F64 }
}

/// `1 / k!`, the Taylor coefficients of the exponential and the sine.
const INVERSE_FACTORIAL: [f64; 22] = {
    let mut inverse = [1.0; 22];
    let (mut k, mut factorial) = (1, 1.0);
    while k < inverse.len() {
        factorial *= k as f64;
        inverse[k] = 1.0 / factorial;
        k += 1;
    }
    inverse
};

/// Whether functions look up constants in tables of eight.
///
/// With powers of two in eighths a series needs three terms instead of seven (Tang 1989). Tanh looks up its
/// centers.
const fn looks_up<L: Arithmetic>() -> bool {
    is_f32::<L::Element>() && L::LOOKS_UP
}

/// A double-word number `high + low`, where `low` is the rounding error of `high`.
#[derive(Clone, Copy)]
struct DoubleWord<V> {
    high: V,
    low: V,
}

/// `large + small` without error, for `large >= small >= 0` (Fast2Sum, Dekker 1971).
#[inline(always)]
fn fast_two_sum<L: Arithmetic>(l: L, large: L::Vector, small: L::Vector) -> DoubleWord<L::Vector> {
    let high = l.add(large, small);
    DoubleWord { high, low: l.sub(small, l.sub(high, large)) }
}
