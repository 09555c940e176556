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

/// `z tanh(log(1 + e^z))`.
#[derive(Clone, Copy)]
pub(super) struct Mish;

impl Mish {
    /// Beyond it, on either side, `e^-|z|` is 0.
    const FAR: f64 = 1000.0;

    /// The numerator and the denominator of `tanh(log(1 + e^z))`, of `u = e^-|z|`: `1 + 2 u` and
    /// `1 + 2 u + 2 u^2` for `z >= 0`, and `u^2 + 2 u` and `u^2 + 2 u + 2` below.
    #[inline(always)]
    fn fraction<A: Arithmetic>(l: A, z: A::Vector, u: A::Vector) -> [A::Vector; 2] {
        let (one, two) = (l.constant(1.0), l.constant(2.0));
        let is_below = l.lt(z, l.zero());
        let square = l.mul(u, u);
        let numerator = l.mul_add(two, u, l.select(is_below, square, one));
        [numerator, l.mul_add(two, l.select(is_below, one, square), numerator)]
    }

    /// `e^-|z|`.
    #[inline(always)]
    fn exponential<A: Arithmetic>(l: A, z: A::Vector) -> A::Vector {
        math::exp(l, l.sub(l.zero(), l.abs(z)))
    }
}

impl Pointwise for Mish {
    const NAME: &'static str = "mish";
    const RECTIFIES: bool = true;
    const NEEDS_PRE_ACTIVATION: bool = true;
    const LONG_VALUE: bool = true;
    const LONG_DERIVATIVE: bool = true;

    #[inline(always)]
    fn value<A: Arithmetic>(self, l: A, z: A::Vector) -> A::Vector {
        let [numerator, denominator] = Self::fraction(l, z, Self::exponential(l, z));
        l.mul(z, l.div(numerator, denominator))
    }

    /// `d (n / m + 4 z w (1 + u) / m^2)` of the fraction `n / m`, with `w = u^2` for `z >= 0` and `u` below:
    /// the second term is `z (1 - tanh^2) sigmoid(z)`.
    #[inline(always)]
    fn derivative<A: Arithmetic>(self, l: A, d: A::Vector, z: A::Vector) -> A::Vector {
        let u = Self::exponential(l, z);
        let [numerator, denominator] = Self::fraction(l, z, u);
        // An infinite number times 0 is no slope.
        let near = l.max(l.constant(-Self::FAR), l.min(l.constant(Self::FAR), z));
        let w = l.select(l.lt(z, l.zero()), u, l.mul(u, u));
        let of_tanh = l.mul(l.mul(l.constant(4.0), near), l.mul(w, l.add(l.constant(1.0), u)));
        let slope = l.div(l.mul_add(numerator, denominator, of_tanh), l.mul(denominator, denominator));
        l.mul(d, slope)
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
