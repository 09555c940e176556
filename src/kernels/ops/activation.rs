//! What a layer does with its sums: everything about an activation is said here.

use crate::error::Argument;
use crate::error::Error;
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::ops::softmax::softmax;
use crate::simd::interleaved::Interleaved;
use crate::simd::lanes::LineOf;
use crate::simd::lanes::{Arithmetic, Lanes};
use crate::simd::math;
use crate::simd::scalar::Element;

/// The activation function of a layer, applied to each of its sums `z = x W^T + b`.
///
/// Formulas and defaults are PyTorch's. The derivative is taken from the output `y` where that is possible;
/// else the trainer keeps the sums beside the outputs.
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
    /// `y = z` for `z > 0`, else `slope z`; derivative 1 or `slope` (Maas, Hannun and Ng 2013). The slope
    /// must be at least 0, so that the output shows the side.
    LeakyRelu {
        /// The slope below 0, finite and at least 0.
        slope: f64,
    },
    /// `y = z` for `z > 0`, else `alpha (e^z - 1)`; derivative 1 or `y + alpha` (Clevert, Unterthiner and
    /// Hochreiter 2016). PyTorch's `alpha` is 1 by default; it must be at least 0.
    Elu {
        /// Minus the limit at minus infinity, finite and at least 0.
        alpha: f64,
    },
    /// `y = 1.0507 z` for `z > 0`, else `1.0507 * 1.6733 (e^z - 1)`, with the constants in full: outputs keep
    /// mean 0 and variance 1 (Klambauer et al. 2017).
    Selu,
    /// `y = z P(Z <= z)` of a standard normal `Z` (Hendrycks and Gimpel 2016), by the error function. At most
    /// 4 ULP from exact with fused multiply-adds. Keeps the sums.
    Gelu,
    /// The approximation `y = z/2 (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))` of [`Activation::Gelu`], PyTorch's
    /// `GELU(approximate="tanh")`. Keeps the sums.
    GeluTanh,
    /// `y = z sigmoid(z)`, also called swish (Elfwing, Uchibe and Doya 2018). Keeps the sums.
    Silu,
    /// `y = log(1 + e^z)`, and `z` itself above 20; derivative `1 - e^-y` (Dugas et al. 2001). `beta` is 1.
    Softplus,
    /// `y = min(max(z / 6 + 1/2, 0), 1)`, derivative 1/6 where `0 < y < 1`.
    HardSigmoid,
    /// `y = min(max(z, min), max)`, derivative 1 where `min < y < max`. PyTorch's bounds are -1
    /// and 1 by default.
    HardTanh {
        /// The lower bound, finite.
        min: f64,
        /// The upper bound, finite and above `min`.
        max: f64,
    },
    /// `y = min(max(z, 0), 1)^2`, derivative `2 sqrt y` where `0 < y < 1`: the activation of chess networks.
    SquaredClippedRelu,
    /// `y = sin(frequency z)`, derivative `frequency cos(frequency z)` (Sitzmann et al. 2020, where the
    /// frequency is 30). The frequency must be above 0. Keeps the sums.
    Sine {
        /// Finite and above 0.
        frequency: f64,
    },
    /// `y_i = exp z_i / sum_j exp z_j` over the layer's outputs: probabilities of classes.
    ///
    /// For the last layer only. Trained with [`Loss::SoftmaxCrossEntropy`](crate::Loss), the loss takes the
    /// sums beneath, as if the layer were [`Activation::Identity`]: softmax is not applied twice.
    Softmax,
}

impl Activation {
    /// The setting that is out of range, if one is.
    pub(crate) fn check<T: Element>(self) -> Result<(), Error> {
        let (what, value, right) = match self {
            Self::LeakyRelu { slope } => (Argument::LeakyReluSlope, slope, slope >= 0.0),
            Self::Elu { alpha } => (Argument::EluAlpha, alpha, alpha >= 0.0),
            Self::Sine { frequency } => (Argument::SineFrequency, frequency, frequency > 0.0),
            Self::HardTanh { min, .. } if !T::holds(min) => (Argument::HardTanhMin, min, false),
            Self::HardTanh { min, max } => (Argument::HardTanhMax, max, min < max),
            _ => return Ok(()),
        };
        if right && T::holds(value) { Ok(()) } else { Err(Error::Setting { argument: what, value }) }
    }

    /// The activation in files: `relu`, `leaky_relu(0.01)`. Settings have as many digits as give the same number back.
    #[cfg(feature = "files")]
    pub(crate) fn to_text(self) -> String {
        match self {
            Self::Identity => "identity".to_owned(),
            Self::Sigmoid => "sigmoid".to_owned(),
            Self::Tanh => "tanh".to_owned(),
            Self::Relu => "relu".to_owned(),
            Self::LeakyRelu { slope } => format!("leaky_relu({slope})"),
            Self::Elu { alpha } => format!("elu({alpha})"),
            Self::Selu => "selu".to_owned(),
            Self::Gelu => "gelu".to_owned(),
            Self::GeluTanh => "gelu_tanh".to_owned(),
            Self::Silu => "silu".to_owned(),
            Self::Softplus => "softplus".to_owned(),
            Self::HardSigmoid => "hard_sigmoid".to_owned(),
            Self::HardTanh { min, max } => format!("hard_tanh({min},{max})"),
            Self::SquaredClippedRelu => "squared_clipped_relu".to_owned(),
            Self::Sine { frequency } => format!("sine({frequency})"),
            Self::Softmax => "softmax".to_owned(),
        }
    }

    /// What [`Activation::to_text`] wrote.
    #[cfg(feature = "files")]
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let (name, settings) = match text.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')')?),
            None => (text, ""),
        };
        let words = settings.split(',').filter(|word| !word.is_empty());
        let settings = words.map(str::parse).collect::<Result<Vec<f64>, _>>().ok()?;
        match (name, &settings[..]) {
            ("identity", &[]) => Some(Self::Identity),
            ("sigmoid", &[]) => Some(Self::Sigmoid),
            ("tanh", &[]) => Some(Self::Tanh),
            ("relu", &[]) => Some(Self::Relu),
            ("leaky_relu", &[slope]) => Some(Self::LeakyRelu { slope }),
            ("elu", &[alpha]) => Some(Self::Elu { alpha }),
            ("selu", &[]) => Some(Self::Selu),
            ("gelu", &[]) => Some(Self::Gelu),
            ("gelu_tanh", &[]) => Some(Self::GeluTanh),
            ("silu", &[]) => Some(Self::Silu),
            ("softplus", &[]) => Some(Self::Softplus),
            ("hard_sigmoid", &[]) => Some(Self::HardSigmoid),
            ("hard_tanh", &[min, max]) => Some(Self::HardTanh { min, max }),
            ("squared_clipped_relu", &[]) => Some(Self::SquaredClippedRelu),
            ("sine", &[frequency]) => Some(Self::Sine { frequency }),
            ("softmax", &[]) => Some(Self::Softmax),
            _ => None,
        }
    }

    /// Whether the function is about 0 on one side and `z` on the other, for which He's initialisation is made.
    pub(crate) fn is_rectifier(self) -> bool {
        matches!(
            self,
            Self::Relu
                | Self::LeakyRelu { .. }
                | Self::Elu { .. }
                | Self::Gelu
                | Self::GeluTanh
                | Self::Silu
                | Self::Softplus
                | Self::SquaredClippedRelu
        )
    }

    /// Whether the derivative is taken from the sum, because the output does not tell it.
    #[inline(always)]
    pub(crate) fn needs_pre_activation(self) -> bool {
        matches!(self, Self::Gelu | Self::GeluTanh | Self::Silu | Self::Sine { .. })
    }
}

const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

/// Above it PyTorch's softplus is `z`.
const SOFTPLUS_THRESHOLD: f64 = 20.0;

/// Replaces every line by the value of an expression of its vector.
macro_rules! map {
    ($lanes:expr, $lines:expr, ($l:ident, $z:ident) => $value:expr) => {{
        let $l = $lanes;
        for line in $lines {
            let $z = $l.load(line);
            let value = $value;
            $l.store(line, value);
        }
    }};
}

/// The same of a long expression, over any [`Arithmetic`]: some lines abreast where that takes less time.
macro_rules! map_interleaved {
    ($lanes:expr, $lines:expr, ($l:ident, $z:ident) => $value:expr) => {{
        let (groups, rest) = if L::INTERLEAVES { $lines.as_chunks_mut() } else { (&mut [][..], $lines) };
        map!(Interleaved::<L, INTERLEAVED_LINES>($lanes), groups, ($l, $z) => $value);
        map!($lanes, rest, ($l, $z) => $value);
    }};
}

/// Replaces every gradient by the value of an expression of it and of what stands beside it, 0 where that is denormal: else
/// every product that a fading gradient enters would stall.
macro_rules! zip {
    ($lanes:expr, $lines:expr, $others:expr, ($l:ident, $d:ident, $y:ident) => $value:expr) => {{
        let $l = $lanes;
        for (line, other) in $lines.iter_mut().zip($others) {
            let ($d, $y) = ($l.load(line), $l.load(other));
            let value = $value;
            $l.store(line, $l.flushed(value));
        }
    }};
}

/// The same of a long expression, over any [`Arithmetic`]: some lines abreast where that takes less time.
macro_rules! zip_interleaved {
    ($lanes:expr, $lines:expr, $others:expr, ($l:ident, $d:ident, $y:ident) => $value:expr) => {{
        let (groups, rest) = if L::INTERLEAVES { $lines.as_chunks_mut() } else { (&mut [][..], $lines) };
        let (other_groups, other_rest) =
            if L::INTERLEAVES { $others.as_chunks() } else { (&[][..], $others) };
        zip!(Interleaved::<L, INTERLEAVED_LINES>($lanes), groups, other_groups, ($l, $d, $y) => $value);
        zip!($lanes, rest, other_rest, ($l, $d, $y) => $value);
    }};
}

/// Lines that are computed abreast: eight would leave the registers.
const INTERLEAVED_LINES: usize = 4;

/// `y = f(y)`, element by element. Softmax, which needs whole rows, is left to its own pass.
///
/// NaN gives NaN: of the larger and the smaller of two, the value that must survive stands second.
#[inline(always)]
pub(crate) fn activate<L: Lanes>(lanes: L, y: &mut [LineOf<L>], activation: Activation) {
    match activation {
        Activation::Identity | Activation::Softmax => {}
        Activation::Sigmoid => map_interleaved!(lanes, y, (l, z) => math::sigmoid(l, z)),
        Activation::Tanh => map_interleaved!(lanes, y, (l, z) => math::tanh(l, z)),
        Activation::Relu => map!(lanes, y, (l, z) => rectified(l, z)),
        Activation::LeakyRelu { slope } => {
            map!(lanes, y, (l, z) => l.select(l.le(z, l.zero()), l.mul(l.constant(slope), z), z));
        }
        Activation::Elu { alpha } => elu(lanes, y, alpha, 1.0),
        Activation::Selu => elu(lanes, y, SELU_ALPHA, SELU_SCALE),
        Activation::Gelu => map_interleaved!(lanes, y, (l, z) => math::gelu(l, z)),
        Activation::GeluTanh => map_interleaved!(lanes, y, (l, z) => math::gelu_tanh(l, z)),
        Activation::Silu => map_interleaved!(lanes, y, (l, z) => l.mul(z, math::sigmoid(l, z))),
        Activation::Softplus => map_interleaved!(lanes, y, (l, z) => {
            l.select(l.lt(l.constant(SOFTPLUS_THRESHOLD), z), z, math::softplus(l, z))
        }),
        Activation::HardSigmoid => map!(lanes, y, (l, z) => {
            let linear = l.mul_add(z, l.constant(1.0 / 6.0), l.constant(0.5));
            l.max(l.zero(), l.min(l.constant(1.0), linear))
        }),
        Activation::HardTanh { min, max } => {
            map!(lanes, y, (l, z) => l.max(l.constant(min), l.min(l.constant(max), z)));
        }
        Activation::SquaredClippedRelu => map!(lanes, y, (l, z) => {
            let clipped = l.max(l.zero(), l.min(l.constant(1.0), z));
            l.mul(clipped, clipped)
        }),
        Activation::Sine { frequency } => {
            map_interleaved!(lanes, y, (l, z) => math::sin(l, l.mul(l.constant(frequency), z)));
        }
    }
}

/// Softmax, if that is the activation: the part of it that needs whole rows.
#[inline(always)]
pub(crate) fn activate_rows<L: Lanes>(l: L, y: PanelsMut<'_, L::Element>, activation: Activation) {
    if activation == Activation::Softmax {
        softmax(l, y);
    }
}

/// A layer's activation, and what its derivative is taken from: the layer's outputs, or its pre-activations.
#[derive(Clone, Copy)]
pub struct Derivative<'a, T: Element> {
    pub from: Panels<'a, T>,
    pub activation: Activation,
}

/// ReLU.
#[inline(always)]
pub(crate) fn rectified<L: Lanes>(l: L, z: L::Vector) -> L::Vector {
    l.max(l.zero(), z)
}

/// `d f'(y)` of ReLU.
#[inline(always)]
pub(crate) fn rectified_derivative<L: Lanes>(l: L, d: L::Vector, y: L::Vector) -> L::Vector {
    l.select(l.le(y, l.zero()), l.zero(), d)
}

/// `scale z` for `z > 0`, else `scale alpha (e^z - 1)`.
#[inline(always)]
fn elu<L: Lanes>(lanes: L, y: &mut [LineOf<L>], alpha: f64, scale: f64) {
    map_interleaved!(lanes, y, (l, z) => {
        let below = math::exp_m1_negative(l, l.min(l.zero(), z));
        let below = l.mul(l.constant(alpha * scale), below);
        l.select(l.le(z, l.zero()), below, l.mul(l.constant(scale), z))
    });
}

/// `d = d f'`, element by element, with `f'` from the sums for an activation that keeps them, else from the
/// outputs `y`, and 0 where the product is denormal. Softmax, which needs whole rows, is left to its own pass.
#[inline(always)]
pub(crate) fn multiply_derivative<L: Lanes>(
    lanes: L,
    d: &mut [LineOf<L>],
    y: &[LineOf<L>],
    activation: Activation,
) {
    debug_assert_eq!(d.len(), y.len(), "a line of outputs beside each of gradients");
    match activation {
        Activation::Identity | Activation::Softmax => {}
        Activation::Sigmoid => zip!(lanes, d, y, (l, d, y) => l.mul(d, l.neg_mul_add(y, y, y))),
        Activation::Tanh => zip!(lanes, d, y, (l, d, y) => l.mul(d, l.neg_mul_add(y, y, l.constant(1.0)))),
        Activation::Relu => zip!(lanes, d, y, (l, d, y) => rectified_derivative(l, d, y)),
        Activation::LeakyRelu { slope } => {
            zip!(lanes, d, y, (l, d, y) => l.select(l.le(y, l.zero()), l.mul(l.constant(slope), d), d));
        }
        Activation::Elu { alpha } => elu_derivative(lanes, d, y, alpha, 1.0),
        Activation::Selu => elu_derivative(lanes, d, y, SELU_ALPHA, SELU_SCALE),
        Activation::Gelu => zip_interleaved!(lanes, d, y, (l, d, z) => l.mul(d, math::gelu_derivative(l, z))),
        Activation::GeluTanh => {
            zip_interleaved!(lanes, d, y, (l, d, z) => l.mul(d, math::gelu_tanh_derivative(l, z)))
        }
        Activation::Silu => zip_interleaved!(lanes, d, y, (l, d, z) => l.mul(d, math::silu_derivative(l, z))),
        Activation::Softplus => zip_interleaved!(lanes, d, y, (l, d, y) => {
            let slope = l.sub(l.zero(), math::exp_m1_negative(l, l.sub(l.zero(), y)));
            let is_linear = l.lt(l.constant(SOFTPLUS_THRESHOLD), y);
            l.mul(d, l.select(is_linear, l.constant(1.0), slope))
        }),
        Activation::HardSigmoid => inside(lanes, d, y, (0.0, 1.0), 1.0 / 6.0),
        Activation::HardTanh { min, max } => inside(lanes, d, y, (min, max), 1.0),
        Activation::SquaredClippedRelu => zip!(lanes, d, y, (l, d, y) => {
            let root = l.sqrt(y);
            let slope = l.select(l.le(y, l.zero()), l.zero(), l.mul(d, l.add(root, root)));
            l.select(l.le(l.constant(1.0), y), l.zero(), slope)
        }),
        Activation::Sine { frequency } => zip_interleaved!(lanes, d, y, (l, d, z) => {
            let frequency = l.constant(frequency);
            l.mul(d, l.mul(frequency, math::cos(l, l.mul(frequency, z))))
        }),
    }
}

/// `d scale` for `y > 0`, else `d (y + scale alpha)`.
#[inline(always)]
fn elu_derivative<L: Lanes>(lanes: L, d: &mut [LineOf<L>], y: &[LineOf<L>], alpha: f64, scale: f64) {
    zip!(lanes, d, y, (l, d, y) => {
        let slope = l.select(l.le(y, l.zero()), l.add(y, l.constant(alpha * scale)), l.constant(scale));
        l.mul(d, slope)
    });
}

/// `d slope` for `y` between both bounds, else 0.
#[inline(always)]
fn inside<L: Lanes>(lanes: L, d: &mut [LineOf<L>], y: &[LineOf<L>], (low, high): (f64, f64), slope: f64) {
    zip!(lanes, d, y, (l, d, y) => {
        let d = l.select(l.le(y, l.constant(low)), l.zero(), l.mul(d, l.constant(slope)));
        l.select(l.le(l.constant(high), y), l.zero(), d)
    });
}
