//! Activation functions: the enum, and the passes over lines and rows that apply one.
//!
//! An activation is one `impl` of [`Pointwise`], one variant of [`Activation`], and one line in [`dispatch`].

mod dispatch;
mod identity;
mod periodic;
mod pointwise;
mod rectifiers;
mod sigmoids;
mod smooth_rectifiers;

pub(crate) use pointwise::Pointwise;
pub(crate) use rectifiers::Relu;

use crate::error::Error;
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::ops::activation::dispatch::with_formula;
use crate::kernels::ops::softmax::softmax;
use crate::simd::interleaved::Interleaved;
use crate::simd::lanes::{Arithmetic, Lanes, LineOf};
use crate::simd::scalar::Element;

/// Activation function of a layer: `y = f(z)`, element by element, of its pre-activations `z = x W^T + b`.
///
/// Formulas and defaults are PyTorch's. The derivative is computed from the output `y` where that determines
/// it; else a trainer keeps `z` beside `y`. A setting out of range is refused when the network is built, with
/// [`Error::Setting`].
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network};
///
/// let network = Network::<f32>::builder(4)
///     .dense(16, Activation::LeakyRelu { slope: 0.01 })
///     .dense(3, Activation::Softmax)
///     .build()?;
/// assert_eq!(network.outputs(), 3);
///
/// let mut y = [-2.0_f32, 0.5];
/// Activation::LeakyRelu { slope: 0.25 }.apply(&mut y)?;
/// assert_eq!(y, [-0.5, 0.5]);
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Activation {
    /// `y = z`, derivative 1.
    Identity,
    /// The logistic function `y = 1 / (1 + exp(-z))`, derivative `y (1 - y)`. At most 2 ULP from exact
    /// with fused multiply-adds.
    Sigmoid,
    /// The hyperbolic tangent `y = tanh z`, derivative `1 - y^2`. At most 2 ULP from exact with fused
    /// multiply-adds.
    Tanh,
    /// `y = max(z, 0)`, derivative 1 for `z > 0`, else 0 (Nair and Hinton 2010).
    Relu,
    /// `y = z` for `z > 0`, else `slope z`; derivative 1 or `slope` (Maas, Hannun and Ng 2013).
    LeakyRelu {
        /// The derivative for `z <= 0`, finite and at least 0: so the output has the sign of `z`. PyTorch's
        /// default is 0.01.
        slope: f64,
    },
    /// `y = z` for `z > 0`, else `alpha (e^z - 1)`; derivative 1 or `y + alpha` (Clevert, Unterthiner and
    /// Hochreiter 2016).
    Elu {
        /// `-y` in the limit of large negative `z`, finite and at least 0. PyTorch's default is 1.
        alpha: f64,
    },
    /// `y = 1.0507 z` for `z > 0`, else `1.0507 * 1.6733 (e^z - 1)`, with the constants in full: outputs keep
    /// mean 0 and variance 1 (Klambauer et al. 2017).
    Selu,
    /// `y = z P(Z <= z)` of a standard normal `Z` (Hendrycks and Gimpel 2016), by the error function. At most
    /// 4 ULP from exact with fused multiply-adds. Its derivative needs `z`.
    Gelu,
    /// The approximation `y = z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))` of [`Activation::Gelu`],
    /// PyTorch's `GELU(approximate="tanh")`. Its derivative needs `z`.
    GeluTanh,
    /// `y = z sigmoid(z)`, also called swish (Elfwing, Uchibe and Doya 2018). Its derivative needs `z`.
    Silu,
    /// `y = z tanh(log(1 + e^z))` (Misra 2020), by one exponential. Its derivative needs `z`.
    Mish,
    /// `y = z min(max(z + 3, 0), 6) / 6`; derivative 0 up to -3, `z / 3 + 1/2` between, and 1 from 3 on
    /// (Howard et al. 2019). Its derivative needs `z`.
    HardSwish,
    /// `y = min(max(z, 0), 6)`, derivative 1 where `0 < y < 6`, else 0 (Krizhevsky 2010).
    Relu6,
    /// `y = z / (1 + |z|)`, derivative `(1 - |y|)^2` (Bergstra et al. 2009). Of infinity it is NaN, as in
    /// PyTorch.
    Softsign,
    /// `y = log(1 + e^z)`, and `z` itself above 20; derivative `1 - e^-y` (Dugas et al. 2001). `beta` is 1.
    Softplus,
    /// `y = min(max(z / 6 + 1/2, 0), 1)`, derivative 1/6 where `0 < y < 1`, else 0.
    HardSigmoid,
    /// `y = min(max(z, min), max)`, derivative 1 where `min < y < max`, else 0.
    HardTanh {
        /// The lower bound, finite. PyTorch's default is -1.
        min: f64,
        /// The upper bound, finite and above `min`. PyTorch's default is 1.
        max: f64,
    },
    /// `y = min(max(z, 0), 1)^2`, derivative `2 sqrt y` where `0 < y < 1`, else 0: the activation of
    /// chess networks (NNUE).
    SquaredClippedRelu,
    /// `y = sin(frequency z)`, derivative `frequency cos(frequency z)` (Sitzmann et al. 2020). Its
    /// derivative needs `z`.
    Sine {
        /// Radians per unit of `z`, finite and above 0; 30 in the paper.
        frequency: f64,
    },
    /// `y_i = exp z_i / sum_j exp z_j` over the layer's outputs: probabilities of classes.
    ///
    /// For the last layer only. [`Loss::SoftmaxCrossEntropy`](crate::Loss::SoftmaxCrossEntropy) takes the
    /// pre-activations of such a layer, as if it were [`Activation::Identity`]: softmax is not applied twice.
    Softmax,
}

impl Activation {
    /// # Errors
    /// [`Error::Setting`] for a setting that is out of range, or infinite in `T`.
    pub(crate) fn check<T: Element>(self) -> Result<(), Error> {
        with_formula!(self, f => f.check::<T>())
    }

    /// Whether the function is about 0 on one side and `z` on the other, for which He's initialisation is
    /// made.
    pub(crate) fn is_rectifier(self) -> bool {
        self.constants().rectifies
    }

    /// Whether outputs can be any number, of either sign, as logits are.
    pub(crate) fn reaches_all_numbers(self) -> bool {
        match self {
            Self::Identity => true,
            Self::LeakyRelu { slope } => slope > 0.0,
            Self::Elu { .. }
            | Self::Gelu
            | Self::GeluTanh
            | Self::HardSigmoid
            | Self::HardSwish
            | Self::HardTanh { .. }
            | Self::Mish
            | Self::Relu
            | Self::Relu6
            | Self::Selu
            | Self::Sigmoid
            | Self::Silu
            | Self::Sine { .. }
            | Self::Softmax
            | Self::Softplus
            | Self::Softsign
            | Self::SquaredClippedRelu
            | Self::Tanh => false,
        }
    }

    /// Whether the derivative is a function of the pre-activation, because the output does not tell it.
    #[inline(always)]
    pub(crate) fn needs_pre_activation(self) -> bool {
        self.constants().needs_pre_activation
    }

    /// Whether [`activate`] and [`multiply_derivative`] have anything to do.
    #[inline(always)]
    pub(crate) fn needs_pass(self) -> bool {
        self.constants().needs_pass
    }

    /// The name in files and in tables.
    pub(crate) fn name(self) -> &'static str {
        self.constants().name
    }
}

#[cfg(test)]
impl Activation {
    /// Every variant that may stand anywhere in a network: all but softmax.
    pub(crate) fn hidden() -> impl Iterator<Item = Self> + Clone {
        Self::EVERY.iter().copied().filter(|&activation| activation != Self::Softmax)
    }
}

/// The constants of a [`Pointwise`].
struct Constants {
    name: &'static str,
    rectifies: bool,
    needs_pre_activation: bool,
    needs_pass: bool,
}

impl Constants {
    #[inline(always)]
    const fn of<F: Pointwise>() -> Self {
        Self {
            name: F::NAME,
            rectifies: F::RECTIFIES,
            needs_pre_activation: F::NEEDS_PRE_ACTIVATION,
            needs_pass: F::NEEDS_PASS,
        }
    }
}

/// Lines that are computed interleaved: with eight their vectors would not fit in the registers.
const INTERLEAVED_LINES: usize = 4;

/// `y = f(y)`, element by element. Softmax, which needs whole rows, is left to [`activate_rows`].
pub(crate) fn activate<L: Lanes>(l: L, y: &mut [LineOf<L>], activation: Activation) {
    l.vectorize(
        #[inline(always)]
        || activate_lines(l, y, activation),
    );
}

/// [`activate`] beneath a crossing.
#[inline(always)]
pub(crate) fn activate_lines<L: Lanes>(l: L, y: &mut [LineOf<L>], activation: Activation) {
    with_formula!(activation, f => activate_by(l, y, f));
}

/// [`activate_lines`] by one formula.
#[cfg_attr(not(unoptimized), inline(always))]
fn activate_by<L: Lanes, F: Pointwise>(l: L, y: &mut [LineOf<L>], f: F) {
    if !F::NEEDS_PASS {
        return;
    }
    let (groups, rest) = if L::INTERLEAVES && F::LONG_VALUE { y.as_chunks_mut() } else { (&mut [][..], y) };
    let interleaved = Interleaved::<L, INTERLEAVED_LINES>(l);
    for group in groups {
        let value = f.value(interleaved, interleaved.load(group));
        interleaved.store(group, value);
    }
    for line in rest {
        let value = f.value(l, l.load(line));
        l.store(line, value);
    }
}

/// Softmax, if that is the activation: the part of `y = f(y)` that needs whole rows.
#[inline(always)]
pub(crate) fn activate_rows<L: Lanes>(l: L, y: PanelsMut<'_, L::Element>, activation: Activation) {
    if activation == Activation::Softmax {
        softmax(l, y);
    }
}

/// A layer's activation, and what its derivative is taken from: the layer's outputs, or its pre-activations.
#[derive(Clone, Copy)]
pub(crate) struct Derivative<'a, T: Element> {
    pub from: Panels<'a, T>,
    pub activation: Activation,
}

/// `d = d f'`, element by element, with `f'` from the pre-activations for an activation that needs them, else
/// from the outputs. Softmax, which needs whole rows, is left to its own pass.
///
/// A product that is denormal is stored as 0: else every later product that a fading gradient enters would
/// stall.
pub(crate) fn multiply_derivative<L: Lanes>(
    l: L,
    d: &mut [LineOf<L>],
    from: &[LineOf<L>],
    activation: Activation,
) {
    l.vectorize(
        #[inline(always)]
        || multiply_derivative_lines(l, d, from, activation),
    );
}

/// [`multiply_derivative`] beneath a crossing.
#[inline(always)]
pub(crate) fn multiply_derivative_lines<L: Lanes>(
    l: L,
    d: &mut [LineOf<L>],
    from: &[LineOf<L>],
    activation: Activation,
) {
    debug_assert_eq!(d.len(), from.len(), "a line of outputs beside each of gradients");
    with_formula!(activation, f => multiply_derivative_by(l, d, from, f));
}

/// [`multiply_derivative_lines`] by one formula.
#[cfg_attr(not(unoptimized), inline(always))]
fn multiply_derivative_by<L: Lanes, F: Pointwise>(l: L, d: &mut [LineOf<L>], from: &[LineOf<L>], f: F) {
    if !F::NEEDS_PASS {
        return;
    }
    let is_interleaved = L::INTERLEAVES && F::LONG_DERIVATIVE;
    let (groups, rest) = if is_interleaved { d.as_chunks_mut() } else { (&mut [][..], d) };
    let (from_groups, from_rest) = if is_interleaved { from.as_chunks() } else { (&[][..], from) };
    let interleaved = Interleaved::<L, INTERLEAVED_LINES>(l);
    for (group, from) in groups.iter_mut().zip(from_groups) {
        let product = f.derivative(interleaved, interleaved.load(group), interleaved.load(from));
        interleaved.store(group, interleaved.flushed(product));
    }
    for (line, from) in rest.iter_mut().zip(from_rest) {
        let product = f.derivative(l, l.load(line), l.load(from));
        l.store(line, l.flushed(product));
    }
}

#[cfg(test)]
mod tests {
    use super::Activation;
    use std::fs;

    #[test]
    fn the_sweeps_of_the_integration_tests_have_every_activation() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/common/every.rs");
        let list = fs::read_to_string(path).unwrap();
        for activation in Activation::EVERY {
            let name = format!("{activation:?}");
            let variant = name.split(' ').next().unwrap();
            assert!(list.contains(&format!("Activation::{variant}")), "{variant} is not in {path}");
        }
    }
}
