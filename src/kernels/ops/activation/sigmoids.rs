//! Activations with a limit on either side.

use crate::error::{Argument, Error};
use crate::kernels::ops::activation::pointwise::Pointwise;
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::Arithmetic;
use crate::simd::math;
use crate::simd::scalar::Element;

/// `1 / (1 + exp(-z))`.
#[derive(Clone, Copy)]
pub(super) struct Sigmoid;

impl Pointwise for Sigmoid {
    const NAME: &'static str = "sigmoid";
    const LONG_VALUE: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        math::sigmoid(l, z)
    }

    /// `d y (1 - y)`.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        l.mul(d, l.neg_mul_add(y, y, y))
    }
}

/// `tanh z`.
#[derive(Clone, Copy)]
pub(super) struct Tanh;

impl Pointwise for Tanh {
    const NAME: &'static str = "tanh";
    const LONG_VALUE: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        math::tanh(l, z)
    }

    /// `d (1 - y^2)`.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        l.mul(d, l.neg_mul_add(y, y, l.constant(1.0)))
    }
}

/// `z / (1 + |z|)`.
#[derive(Clone, Copy)]
pub(super) struct Softsign;

impl Pointwise for Softsign {
    const NAME: &'static str = "softsign";

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        l.div(z, l.add(l.constant(1.0), l.abs(z)))
    }

    /// `d (1 - |y|)^2`.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        let root = l.sub(l.constant(1.0), l.abs(y));
        l.mul(d, l.mul(root, root))
    }
}

/// `min(max(z / 6 + 1/2, 0), 1)`.
#[derive(Clone, Copy)]
pub(super) struct HardSigmoid;

impl Pointwise for HardSigmoid {
    const NAME: &'static str = "hard_sigmoid";

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        let linear = l.mul_add(z, l.constant(1.0 / 6.0), l.constant(0.5));
        l.max(l.zero(), l.min(l.constant(1.0), linear))
    }

    /// `d / 6` for `0 < y < 1`, else 0.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        let d_z = l.mul(d, l.constant(1.0 / 6.0));
        zero_outside(l, d_z, y, 0.0, 1.0)
    }
}

/// `min(max(z, min), max)`.
#[derive(Clone, Copy)]
pub(super) struct HardTanh {
    pub min: f64,
    pub max: f64,
}

impl Pointwise for HardTanh {
    const NAME: &'static str = "hard_tanh";

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        l.max(l.constant(self.min), l.min(l.constant(self.max), z))
    }

    /// `d` for `min < y < max`, else 0.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        zero_outside(l, d, y, self.min, self.max)
    }

    fn check<T: Element>(self) -> Result<(), Error> {
        check_setting::<T>(Argument::HardTanhMin, self.min, true)?;
        check_setting::<T>(Argument::HardTanhMax, self.max, self.min < self.max)
    }
}

/// `d` for `min < y < max`, else 0.
#[inline(always)]
pub(super) fn zero_outside<A: Arithmetic>(l: A, d: A::Vector, y: A::Vector, min: f64, max: f64) -> A::Vector {
    let above = l.select(l.le(y, l.constant(min)), l.zero(), d);
    l.select(l.le(l.constant(max), y), l.zero(), above)
}
