//! Rectifiers that are one smooth formula on both sides of 0.

use crate::kernels::ops::activation::pointwise::Pointwise;
use crate::simd::lanes::Arithmetic;
use crate::simd::math;

/// `z P(Z <= z)` of a standard normal `Z`.
#[derive(Clone, Copy)]
pub(super) struct Gelu;

impl Pointwise for Gelu {
    const NAME: &'static str = "gelu";
    const RECTIFIES: bool = true;
    const NEEDS_PRE_ACTIVATION: bool = true;
    const LONG_VALUE: bool = true;
    const LONG_DERIVATIVE: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        math::gelu(l, z)
    }

    /// `d (P(Z <= z) + z p(z))`.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, z: A::Vector) -> A::Vector {
        l.mul(d, math::gelu_derivative(l, z))
    }
}

/// `z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))`.
#[derive(Clone, Copy)]
pub(super) struct GeluTanh;

impl Pointwise for GeluTanh {
    const NAME: &'static str = "gelu_tanh";
    const RECTIFIES: bool = true;
    const NEEDS_PRE_ACTIVATION: bool = true;
    const LONG_VALUE: bool = true;
    const LONG_DERIVATIVE: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        math::gelu_tanh(l, z)
    }

    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, z: A::Vector) -> A::Vector {
        l.mul(d, math::gelu_tanh_derivative(l, z))
    }
}

/// `z sigmoid(z)`.
#[derive(Clone, Copy)]
pub(super) struct Silu;

impl Pointwise for Silu {
    const NAME: &'static str = "silu";
    const RECTIFIES: bool = true;
    const NEEDS_PRE_ACTIVATION: bool = true;
    const LONG_VALUE: bool = true;
    const LONG_DERIVATIVE: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        l.mul(z, math::sigmoid(l, z))
    }

    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, z: A::Vector) -> A::Vector {
        l.mul(d, math::silu_derivative(l, z))
    }
}

/// `log(1 + e^z)`, and `z` itself above 20, as in PyTorch.
#[derive(Clone, Copy)]
pub(super) struct Softplus;

impl Softplus {
    /// Above it PyTorch's softplus is `z`.
    const THRESHOLD: f64 = 20.0;
}

impl Pointwise for Softplus {
    const NAME: &'static str = "softplus";
    const RECTIFIES: bool = true;
    const LONG_VALUE: bool = true;
    const LONG_DERIVATIVE: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        l.select(l.lt(l.constant(Self::THRESHOLD), z), z, math::softplus(l, z))
    }

    /// `d (1 - e^-y)`.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, y: A::Vector) -> A::Vector {
        let slope = l.sub(l.zero(), math::exp_m1_negative(l, l.sub(l.zero(), y)));
        let is_linear = l.lt(l.constant(Self::THRESHOLD), y);
        l.mul(d, l.select(is_linear, l.constant(1.0), slope))
    }
}
