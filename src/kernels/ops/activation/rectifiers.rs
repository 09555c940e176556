//! Rectifiers that are one formula below 0 and another above.

use crate::error::{Argument, Error};
use crate::kernels::ops::activation::pointwise::Pointwise;
use crate::kernels::ops::activation::sigmoids::zero_outside;
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::Arithmetic;
use crate::simd::math;
use crate::simd::scalar::Element;

/// `max(z, 0)`.
#[derive(Clone, Copy)]
pub(crate) struct Relu;

impl Pointwise for Relu {
    const NAME: &'static str = "relu";
    const RECTIFIES: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        l.max(l.zero(), z)
    }

    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        l.select(l.le(y, l.zero()), l.zero(), d)
    }
}

/// `z` for `z > 0`, else `slope z`.
#[derive(Clone, Copy)]
pub(super) struct LeakyRelu {
    pub slope: f64,
}

impl Pointwise for LeakyRelu {
    const NAME: &'static str = "leaky_relu";
    const RECTIFIES: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        l.select(l.le(z, l.zero()), l.mul(l.constant(self.slope), z), z)
    }

    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        l.select(l.le(y, l.zero()), l.mul(l.constant(self.slope), d), d)
    }

    /// A slope below 0 would hide the side of `z` in the output.
    fn check<T: Element>(self) -> Result<(), Error> {
        check_setting::<T>(Argument::LeakyReluSlope, self.slope, self.slope >= 0.0)
    }
}

/// `z` for `z > 0`, else `alpha (e^z - 1)`.
#[derive(Clone, Copy)]
pub(super) struct Elu {
    pub alpha: f64,
}

impl Pointwise for Elu {
    const NAME: &'static str = "elu";
    const RECTIFIES: bool = true;
    const LONG_VALUE: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        ScaledElu { alpha: self.alpha, scale: 1.0 }.value(l, z)
    }

    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        ScaledElu { alpha: self.alpha, scale: 1.0 }.derivative(l, d, y)
    }

    /// An `alpha` below 0 would hide the side of `z` in the output.
    fn check<T: Element>(self) -> Result<(), Error> {
        check_setting::<T>(Argument::EluAlpha, self.alpha, self.alpha >= 0.0)
    }
}

/// The ELU that keeps mean 0 and variance 1. No rectifier for the initialisation: LeCun's is made for it.
#[derive(Clone, Copy)]
pub(super) struct Selu;

impl Selu {
    /// Klambauer et al. 2017, with the digits of PyTorch's source.
    const FORMULA: ScaledElu = ScaledElu { alpha: 1.673_263_242_354_377_2, scale: 1.050_700_987_355_480_5 };
}

impl Pointwise for Selu {
    const NAME: &'static str = "selu";
    const LONG_VALUE: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        Self::FORMULA.value(l, z)
    }

    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        Self::FORMULA.derivative(l, d, y)
    }
}

/// `scale z` for `z > 0`, else `scale alpha (e^z - 1)`.
#[derive(Clone, Copy)]
struct ScaledElu {
    alpha: f64,
    scale: f64,
}

impl ScaledElu {
    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        let below = math::exp_m1_negative(l, l.min(l.zero(), z));
        let below = l.mul(l.constant(self.alpha * self.scale), below);
        l.select(l.le(z, l.zero()), below, l.mul(l.constant(self.scale), z))
    }

    /// `d scale` for `y > 0`, else `d (y + scale alpha)`.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        let below = l.add(y, l.constant(self.alpha * self.scale));
        l.mul(d, l.select(l.le(y, l.zero()), below, l.constant(self.scale)))
    }
}

/// `min(max(z, 0), 1)^2`.
#[derive(Clone, Copy)]
pub(super) struct SquaredClippedRelu;

impl Pointwise for SquaredClippedRelu {
    const NAME: &'static str = "squared_clipped_relu";
    const RECTIFIES: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        let clipped = l.max(l.zero(), l.min(l.constant(1.0), z));
        l.mul(clipped, clipped)
    }

    /// `d 2 sqrt y` for `0 < y < 1`, else 0.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        let root = l.sqrt(y);
        let d_z = l.mul(d, l.add(root, root));
        zero_outside(l, d_z, y, 0.0, 1.0)
    }
}

/// `min(max(z, 0), 6)`.
#[derive(Clone, Copy)]
pub(super) struct Relu6;

impl Pointwise for Relu6 {
    const NAME: &'static str = "relu6";
    const RECTIFIES: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        l.max(l.zero(), l.min(l.constant(6.0), z))
    }

    /// `d` for `0 < y < 6`, else 0.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        zero_outside(l, d, y, 0.0, 6.0)
    }
}

/// `z min(max(z + 3, 0), 6) / 6`.
#[derive(Clone, Copy)]
pub(super) struct HardSwish;

impl Pointwise for HardSwish {
    const NAME: &'static str = "hard_swish";
    const RECTIFIES: bool = true;
    const NEEDS_PRE_ACTIVATION: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        let clipped = l.max(l.zero(), l.min(l.constant(6.0), l.add(z, l.constant(3.0))));
        l.mul(z, l.mul(clipped, l.constant(1.0 / 6.0)))
    }

    /// 0 up to -3, `d (z / 3 + 1/2)` between, and `d` from 3 on.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, z: A::Vector) -> A::Vector {
        let between = l.mul(d, l.mul_add(z, l.constant(1.0 / 3.0), l.constant(0.5)));
        let above = l.select(l.le(l.constant(3.0), z), d, between);
        l.select(l.le(z, l.constant(-3.0)), l.zero(), above)
    }
}
