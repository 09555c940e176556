//! The table of activations: from a variant of the enum to its formula, and from a name to its variant.

use crate::kernels::ops::activation::Activation;
use crate::kernels::ops::activation::identity::{Identity, Softmax};
use crate::kernels::ops::activation::periodic::Sine;
use crate::kernels::ops::activation::pointwise::Pointwise;
use crate::kernels::ops::activation::rectifiers::{Elu, LeakyRelu, Relu, Selu, SquaredClippedRelu};
use crate::kernels::ops::activation::sigmoids::{HardSigmoid, HardTanh, Sigmoid, Tanh};
use crate::kernels::ops::activation::smooth_rectifiers::{Gelu, GeluTanh, Silu, Softplus};

/// What is done with an activation whose formula is known when it is compiled: one copy of it for each
/// formula.
pub(super) trait Visitor {
    type Output;

    /// `#[inline(always)]` where it computes.
    fn visit<F: Pointwise>(self, f: F) -> Self::Output;
}

/// Each line is a formula and its settings, with the names of the variant and its fields.
macro_rules! formulas {
    ($($formula:ident { $($setting:ident),* })+) => {
        impl Activation {
            /// Hands the variant's formula to a visitor.
            #[inline(always)]
            pub(super) fn visit<V: Visitor>(self, visitor: V) -> V::Output {
                match self {
                    $(Self::$formula { $($setting),* } => visitor.visit($formula { $($setting),* }),)+
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
        }
    };
}

formulas! {
    Identity {}
    Sigmoid {}
    Tanh {}
    Relu {}
    LeakyRelu { slope }
    Elu { alpha }
    Selu {}
    Gelu {}
    GeluTanh {}
    Silu {}
    Softplus {}
    HardSigmoid {}
    HardTanh { min, max }
    SquaredClippedRelu {}
    Sine { frequency }
    Softmax {}
}
