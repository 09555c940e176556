//! Distributions of initial weights.

use crate::error::Argument;
use crate::error::Error;
use crate::kernels::ops::activation::Activation;
use crate::rng::SplitMix64;
use crate::simd::scalar::Element;

/// The distribution of a layer's initial weights, with `I` inputs and `O` outputs. Biases start at 0, but for
/// [`Init::PyTorchLinear`].
///
/// [`Init::Auto`] is the default, not PyTorch's. Of ten seeds each (`cargo run --release --example init`)
/// digits, cars and deep Q-learning are learned alike by both, but for chance; PPO takes 18 % fewer episodes
/// by `PyTorchLinear` where actor and critic share a trunk, and 4 % fewer by `Auto` where they do not (339 +-
/// 15 and 352 +- 14). Where published settings of PyTorch are to be repeated, as in deep Q-learning, take
/// [`Init::PyTorchLinear`].
///
/// | mean and standard deviation | `Auto` | `PyTorchLinear` |
/// |---|---|---|
/// | digits, 64-128-10, ReLU: errors in 100 test rows | 2.37 +- 0.81 | 2.51 +- 0.96 |
/// | cars, 9-64-64-1, SiLU: RMSE of test rows, mpg | 3.14 +- 0.34 | 3.17 +- 0.33 |
/// | cartpole, PPO, 4-64-64 and two heads, tanh: episodes until solved | 562 +- 92 | 462 +- 53 |
/// | cartpole, DQN, 4-128-128-2, ReLU: highest mean Q, at most 100 if right | 97 +- 8 | 102 +- 4 |
/// | the same: steps of test episodes, at most 500 | 475 +- 53 | 478 +- 66 |
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Init, Network};
///
/// let builder = Network::<f32>::builder(2).init(Init::Uniform { limit: 0.5 }).dense(2, Activation::Tanh);
/// let mut weights = [0.0; 4];
/// builder.build()?.read_weights(0, &mut weights)?;
/// assert!(weights.iter().all(|w| w.abs() <= 0.5));
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// [`Init::HeNormal`] for rectifiers (ReLU and its smooth relatives), [`Init::LecunNormal`] for SELU,
    /// [`Init::XavierUniform`] for the rest.
    #[default]
    Auto,
    /// Normal with variance `2 / I` (He, Zhang, Ren and Sun 2015, equation 10).
    HeNormal,
    /// Uniform with variance `2 / I`: `U(-a, a)`, `a = sqrt(6 / I)`.
    HeUniform,
    /// Normal with variance `2 / (I + O)` (Glorot and Bengio 2010).
    XavierNormal,
    /// Uniform with variance `2 / (I + O)`: `a = sqrt(6 / (I + O))` (Glorot and Bengio 2010, equation 16).
    XavierUniform,
    /// Normal with variance `1 / I` (LeCun, Bottou, Orr and Müller 1998, section 4.6).
    LecunNormal,
    /// Uniform with variance `1 / I`: `a = sqrt(3 / I)`.
    LecunUniform,
    /// Normal with mean 0 and this standard deviation.
    Normal {
        /// At least 0.
        std: f64,
    },
    /// Uniform in `(-limit, limit)`.
    Uniform {
        /// At least 0.
        limit: f64,
    },
    /// The default of PyTorch's `torch.nn.Linear`: uniform with variance `1 / (3 I)`, `a = 1 / sqrt(I)`, for
    /// weights and biases alike (`reset_parameters` there). Weights are smaller than by [`Init::Auto`], so
    /// that outputs start closer to 0.
    PyTorchLinear,
    /// Rows, or columns if there are fewer of them, that are orthogonal and `gain` long (Saxe, McClelland and
    /// Ganguli 2014), as `torch.nn.init.orthogonal_`. Takes `2 I O min(I, O)` multiply-adds.
    Orthogonal {
        /// At least 0; PyTorch's is 1 by default.
        gain: f64,
    },
    /// For networks of sines with this frequency: uniform, `a = 1 / I` in the first layer and
    /// `a = sqrt(6 / I) / frequency` in the others (Sitzmann et al. 2020, section 3.2).
    Siren {
        /// Above 0; 30 in the paper. The frequency of the layer's [`Activation::Sine`].
        frequency: f64,
    },
    /// All 0: for a last layer, or weights that will be written. Draws no random numbers.
    Zeros,
}

/// What the distribution of a layer's weights `[outputs, inputs]` follows from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WeightShape {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) activation: Activation,
    /// Of a network.
    pub(crate) is_first: bool,
}

/// A distribution with its parameter worked out.
enum Distribution {
    Normal(f64),
    Uniform(f64),
}

impl Init {
    /// Whether every weight drawn is a finite number of the element type: none lies further than 9 deviations
    /// from 0, for [`SplitMix64::uniform`] has 2^53 numbers, and none of Siren's further than `sqrt(6)` over
    /// the frequency.
    pub(crate) fn check<T: Element>(self) -> Result<(), Error> {
        match self {
            Self::Normal { std: value }
            | Self::Uniform { limit: value }
            | Self::Orthogonal { gain: value }
                if !(value >= 0.0 && T::holds(9.0 * value)) =>
            {
                Err(Error::Setting { argument: Argument::InitSpread, value })
            }
            Self::Siren { frequency: value }
                if !(value > 0.0 && value.is_finite() && T::holds(2.5 / value)) =>
            {
                Err(Error::Setting { argument: Argument::InitFrequency, value })
            }
            _ => Ok(()),
        }
    }

    /// Calls `set` with every weight, row by row, or not at all for weights that stay 0, for which nothing is
    /// drawn.
    pub(crate) fn fill(self, shape: WeightShape, random: &mut SplitMix64, mut set: impl FnMut(f64)) {
        let WeightShape { inputs, outputs, activation, is_first } = shape;
        if self == Self::Zeros {
            return;
        }
        if let Self::Orthogonal { gain } = self {
            let vectors = orthonormal(inputs.min(outputs), inputs.max(outputs), random);
            let weight = |j: usize, i: usize| if outputs <= inputs { vectors[j][i] } else { vectors[i][j] };
            (0..outputs * inputs).for_each(|index| set(gain * weight(index / inputs, index % inputs)));
            return;
        }
        let distribution = match self {
            Self::Siren { .. } if is_first => Distribution::Uniform(1.0 / inputs as f64),
            _ => self.distribution(inputs as f64, outputs as f64, activation),
        };
        for _ in 0..inputs * outputs {
            set(match distribution {
                Distribution::Normal(deviation) => deviation * random.normal(),
                Distribution::Uniform(limit) => limit * (2.0 * random.uniform() - 1.0),
            });
        }
    }

    /// Calls `set` with every bias, or not at all for biases that stay 0, for which nothing is drawn.
    pub(crate) fn fill_biases(self, shape: WeightShape, random: &mut SplitMix64, set: impl FnMut(f64)) {
        if self == Self::PyTorchLinear {
            let limit = 1.0 / (shape.inputs as f64).sqrt();
            (0..shape.outputs).map(|_| limit * (2.0 * random.uniform() - 1.0)).for_each(set);
        }
    }

    fn distribution(self, inputs: f64, outputs: f64, activation: Activation) -> Distribution {
        use Distribution::{Normal, Uniform};
        match self {
            Self::Auto if activation.is_rectifier() => Normal((2.0 / inputs).sqrt()),
            Self::Auto if activation == Activation::Selu => Normal((1.0 / inputs).sqrt()),
            Self::HeNormal => Normal((2.0 / inputs).sqrt()),
            Self::HeUniform => Uniform((6.0 / inputs).sqrt()),
            Self::XavierNormal => Normal((2.0 / (inputs + outputs)).sqrt()),
            Self::Auto | Self::XavierUniform => Uniform((6.0 / (inputs + outputs)).sqrt()),
            Self::LecunNormal => Normal((1.0 / inputs).sqrt()),
            Self::LecunUniform => Uniform((3.0 / inputs).sqrt()),
            Self::PyTorchLinear => Uniform(1.0 / inputs.sqrt()),
            Self::Normal { std } => Normal(std),
            Self::Uniform { limit } => Uniform(limit),
            Self::Siren { frequency } => Uniform((6.0 / inputs).sqrt() / frequency),
            Self::Orthogonal { .. } | Self::Zeros => Uniform(0.0),
        }
    }
}

/// `count` orthonormal vectors of length `len`, `count <= len`: vectors of a normal distribution, each made
/// orthogonal to the ones before, twice (Giraud, Langou and Rozložník 2005).
fn orthonormal(count: usize, len: usize, random: &mut SplitMix64) -> Vec<Vec<f64>> {
    let mut vectors: Vec<Vec<f64>> = Vec::with_capacity(count);
    while vectors.len() < count {
        let mut v: Vec<f64> = (0..len).map(|_| random.normal()).collect();
        for other in vectors.iter().chain(&vectors) {
            let along: f64 = v.iter().zip(other).map(|(a, b)| a * b).sum();
            v.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let norm = v.iter().map(|a| a * a).sum::<f64>().sqrt();
        // A vector in the span of the others, which chance never draws, is drawn again.
        if norm > 1e-8 {
            vectors.push(v.into_iter().map(|a| a / norm).collect());
        }
    }
    vectors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;

    #[test]
    fn orthogonal_weights_keep_lengths_up_to_their_gain() {
        for (inputs, outputs) in [(1, 1), (7, 7), (5, 20), (20, 5), (1, 9), (64, 48)] {
            let mut weights = Vec::new();
            let init = Init::Orthogonal { gain: 2.0 };
            let shape = WeightShape { inputs, outputs, activation: Activation::Identity, is_first: true };
            init.fill(shape, &mut SplitMix64::new(3), |w| weights.push(w));
            assert_eq!(weights.len(), inputs * outputs);
            let weight = |short: usize, long: usize| match outputs <= inputs {
                true => weights[short * inputs + long],
                false => weights[long * inputs + short],
            };
            let (short, long) = (inputs.min(outputs), inputs.max(outputs));
            for a in 0..short {
                for b in 0..short {
                    let product: f64 = (0..long).map(|i| weight(a, i) * weight(b, i)).sum();
                    let expected = if a == b { 4.0 } else { 0.0 };
                    assert!((product - expected).abs() < 1e-13, "{inputs}-{outputs}: {a}, {b}: {product}");
                }
            }
        }
    }

    /// The initial weights of one layer.
    fn weights(init: Init, inputs: usize, outputs: usize, activation: Activation) -> Vec<f64> {
        let mut weights = Vec::new();
        let shape = WeightShape { inputs, outputs, activation, is_first: false };
        init.fill(shape, &mut SplitMix64::new(5), |w| weights.push(w));
        assert_eq!(weights.len(), inputs * outputs);
        weights
    }

    #[test]
    fn every_distribution_has_the_spread_of_its_paper() {
        // Of 120 inputs and 360 outputs; a uniform distribution's deviation is its limit by the root of 3.
        let of_uniform = |limit: f64| (limit, limit / 3f64.sqrt());
        let cases = [
            (Init::HeNormal, Activation::Identity, None, (2.0_f64 / 120.0).sqrt()),
            (Init::LecunNormal, Activation::Identity, None, (1.0_f64 / 120.0).sqrt()),
            (Init::XavierNormal, Activation::Identity, None, (2.0_f64 / 480.0).sqrt()),
            (Init::Normal { std: 0.3 }, Activation::Identity, None, 0.3),
            (Init::Auto, Activation::Relu, None, (2.0_f64 / 120.0).sqrt()),
            (Init::Auto, Activation::Gelu, None, (2.0_f64 / 120.0).sqrt()),
            (Init::Auto, Activation::Selu, None, (1.0_f64 / 120.0).sqrt()),
        ];
        let uniform = [
            (Init::HeUniform, Activation::Identity, (6.0_f64 / 120.0).sqrt()),
            (Init::LecunUniform, Activation::Identity, (3.0_f64 / 120.0).sqrt()),
            (Init::XavierUniform, Activation::Identity, (6.0_f64 / 480.0).sqrt()),
            (Init::PyTorchLinear, Activation::Relu, 1.0 / 120.0_f64.sqrt()),
            (Init::Uniform { limit: 0.3 }, Activation::Identity, 0.3),
            (Init::Auto, Activation::Tanh, (6.0_f64 / 480.0).sqrt()),
        ];
        let uniform = uniform.map(|(init, activation, limit)| {
            let (limit, deviation) = of_uniform(limit);
            (init, activation, Some(limit), deviation)
        });
        for (init, activation, limit, deviation) in cases.into_iter().chain(uniform) {
            let weights = weights(init, 120, 360, activation);
            let n = weights.len() as f64;
            let mean = weights.iter().sum::<f64>() / n;
            let moment = |k: i32| weights.iter().map(|w| (w / deviation).powi(k)).sum::<f64>() / n;
            // Five standard errors of 43,200 draws.
            assert!(mean.abs() < 0.024 * deviation, "{init:?}: mean {mean}");
            assert!((moment(2) - 1.0).abs() < 0.034, "{init:?}: {} of the variance", moment(2));
            let (fourth, of_normal) = (moment(4), limit.is_none());
            let expected = if of_normal { 3.0 } else { 1.8 };
            assert!((fourth - expected).abs() < 0.08 * expected, "{init:?}: fourth moment {fourth}");
            let largest = weights.iter().fold(0.0_f64, |largest, w| largest.max(w.abs()));
            match limit {
                Some(limit) => assert!(largest <= limit && largest > 0.999 * limit, "{init:?}: {largest}"),
                None => assert!((4.0..5.5).contains(&(largest / deviation)), "{init:?}: {largest}"),
            }
        }
    }

    #[test]
    fn zeros_draw_nothing() {
        let mut random = SplitMix64::new(5);
        let shape = WeightShape { inputs: 3, outputs: 4, activation: Activation::Tanh, is_first: false };
        Init::Zeros.fill(shape, &mut random, |_| panic!("weights are 0 before"));
        assert_eq!(random.uniform(), SplitMix64::new(5).uniform());
        // Each of them is +0, and the layer after has the weights that it would have as the first.
        let build = || Network::<f32>::builder(3).init(Init::XavierUniform);
        let zeros = build().dense(3, Activation::Tanh).init(Init::Zeros).dense(2, Activation::Tanh).seed(1);
        let (zeros, alone) = (zeros.build().unwrap(), build().dense(2, Activation::Tanh).seed(1).build());
        let read = |network: &Network<f32>, layer: usize, count: usize| {
            let mut weights = vec![f32::NAN; count];
            network.read_weights(layer, &mut weights).unwrap();
            weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(read(&zeros, 0, 9), [0; 9]);
        assert_eq!(read(&zeros, 1, 6), read(&alone.unwrap(), 0, 6));
    }

    #[test]
    fn siren_spreads_the_first_layer_over_its_inputs_and_the_others_by_frequency() {
        let init = Init::Siren { frequency: 30.0 };
        for (is_first, limit) in [(true, 1.0 / 50.0), (false, (6.0f64 / 50.0).sqrt() / 30.0)] {
            let mut weights = Vec::new();
            let shape = WeightShape {
                inputs: 50,
                outputs: 200,
                activation: Activation::Sine { frequency: 30.0 },
                is_first,
            };
            init.fill(shape, &mut SplitMix64::new(3), |w| weights.push(w));
            let largest = weights.iter().fold(0.0f64, |largest, w| largest.max(w.abs()));
            assert!(largest <= limit && largest > 0.99 * limit, "{largest} of {limit}");
        }
    }
}
