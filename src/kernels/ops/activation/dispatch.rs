//! The table of activations: from a variant of the enum to its formula, and from a name to its variant.

pub(super) use crate::kernels::ops::activation::identity::{Identity, Softmax};
pub(super) use crate::kernels::ops::activation::periodic::Sine;
#[cfg(feature = "files")]
use crate::kernels::ops::activation::pointwise::Pointwise;
pub(super) use crate::kernels::ops::activation::rectifiers::{
    Elu, HardSwish, LeakyRelu, Relu, Relu6, Selu, SquaredClippedRelu,
};
pub(super) use crate::kernels::ops::activation::sigmoids::{HardSigmoid, HardTanh, Sigmoid, Softsign, Tanh};
pub(super) use crate::kernels::ops::activation::smooth_rectifiers::{Gelu, GeluTanh, Mish, Silu, Softplus};
use crate::kernels::ops::activation::{Activation, Constants};

/// Each line is a formula and its settings, with the names of the variant and its fields, each with a value
/// for the crate's tests. The `$` before them is for the macro that is made of them.
macro_rules! formulas {
    ($d:tt $($formula:ident { $($setting:ident = $example:literal),* })+) => {
        /// The value of an expression of the variant's [`Pointwise`].
        macro_rules! with_formula {
            ($d activation:expr, $d f:ident => $d value:expr) => {
                match $d activation {
                    $(Activation::$formula { $($setting),* } => {
                        let $d f = $crate::kernels::ops::activation::dispatch::$formula { $($setting),* };
                        $d value
                    })+
                }
            };
        }
        pub(super) use with_formula;

        impl Activation {
            /// The constants of the variant's formula.
            #[inline(always)]
            pub(super) fn constants(self) -> Constants {
                match self {
                    $(Self::$formula { .. } => Constants::of::<$formula>(),)+
                }
            }

            /// The settings, in the order of files.
            #[cfg(feature = "files")]
            pub(crate) fn settings(self) -> Vec<f64> {
                match self {
                    $(Self::$formula { $($setting),* } => vec![$($setting),*],)+
                }
            }

            /// The activation of a name, if the settings are as many as it has.
            #[cfg(feature = "files")]
            pub(crate) fn from_name(name: &str, settings: &[f64]) -> Option<Self> {
                match (name, settings) {
                    $(($formula::NAME, &[$($setting),*]) => Some(Self::$formula { $($setting),* }),)+
                    _ => None,
                }
            }

            /// Every variant, softmax last.
            #[cfg(test)]
            pub(crate) const EVERY: &[Self] = &[$(Self::$formula { $($setting: $example),* }),+];
        }
    };
}

formulas! {
    $
    Identity {}
    Sigmoid {}
    Tanh {}
    Relu {}
    LeakyRelu { slope = 0.1 }
    Elu { alpha = 0.7 }
    Selu {}
    Gelu {}
    GeluTanh {}
    Silu {}
    Mish {}
    HardSwish {}
    Relu6 {}
    Softsign {}
    Softplus {}
    HardSigmoid {}
    HardTanh { min = -0.6, max = 1.5 }
    SquaredClippedRelu {}
    Sine { frequency = 1.0 }
    Softmax {}
}
