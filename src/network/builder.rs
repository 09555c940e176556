//! How a network is described, checked and given its initial weights.

use crate::error::{Argument, Error, MAX_BYTES};
use crate::kernels::matrix::panels::parameter_lines;
use crate::kernels::matrix::transpose::transposed_lines;
use crate::kernels::ops::activation::Activation;
use crate::network::init::{Init, WeightShape};
use crate::network::parameters::{panel_start, write_weights};
use crate::network::{DEFAULT_EPSILON, Layer, LayerKind, Network};
use crate::rng::SplitMix64;
use crate::simd::isa::Isa;
use crate::simd::scalar::{Element, Line};

/// A layer as described, before its sizes are known.
#[derive(Clone, Copy, Debug)]
struct LayerSpec {
    kind: LayerKind,
    /// Nothing for a layer with as many outputs as inputs.
    outputs: Option<usize>,
    activation: Activation,
    dropout: f64,
    has_bias: bool,
    epsilon: f64,
    /// The builder's, if there is none.
    init: Option<Init>,
}

/// Describes a [`Network`], layer by layer.
///
/// A setting belongs to the layer before it: `.dense(64, Activation::Relu).dropout(0.1)` is a dense layer
/// with dropout. Before the first layer [`NetworkBuilder::dropout`] concerns the inputs, and
/// [`NetworkBuilder::init`] is the default of all layers. Seed and instruction set are the network's,
/// wherever they stand.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Init, Network};
///
/// let network = Network::<f32>::builder(8)
///     .dropout(0.1) // of the inputs
///     .init(Init::HeNormal) // of every layer that has none of its own
///     .dense(64, Activation::Identity)
///     .bias(false) // the layer norm has one
///     .layer_norm(Activation::Relu)
///     .epsilon(1e-3)
///     .dropout(0.2)
///     .dense(2, Activation::Identity)
///     .init(Init::Orthogonal { gain: 0.01 })
///     .seed(7)
///     .build()?;
/// assert_eq!(network.parameter_count(), 8 * 64 + 2 * 64 + (64 + 1) * 2);
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NetworkBuilder<T: Element> {
    inputs: usize,
    input_dropout: f64,
    layers: Vec<LayerSpec>,
    /// The first setting that the layer before it has no use for.
    misplaced: Option<Error>,
    init: Init,
    seed: Option<u64>,
    isa: Option<Isa>,
    element: core::marker::PhantomData<T>,
}

impl<T: Element> NetworkBuilder<T> {
    pub(super) fn new(inputs: usize) -> Self {
        Self {
            inputs,
            input_dropout: 0.0,
            layers: Vec::new(),
            misplaced: None,
            init: Init::Auto,
            seed: None,
            isa: None,
            element: core::marker::PhantomData,
        }
    }

    /// Appends a dense layer, `y = f(x W^T + b)`, with `W` `[outputs, features so far]`. `torch.nn.Linear`.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(3).dense(4, Activation::Tanh).build()?;
    /// assert_eq!((network.inputs(), network.outputs(), network.parameter_count()), (3, 4, 3 * 4 + 4));
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn dense(self, outputs: usize, activation: Activation) -> Self {
        self.layer(LayerKind::Dense, Some(outputs), activation)
    }

    /// Appends a layer norm of the features so far: each row gets mean 0 and variance 1, then a weight and a
    /// bias for each feature, then the activation. See [`LayerKind::LayerNorm`].
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// // Linear, LayerNorm, ReLU, Linear.
    /// let network = Network::<f32>::builder(8)
    ///     .dense(64, Activation::Identity)
    ///     .layer_norm(Activation::Relu)
    ///     .dense(1, Activation::Identity)
    ///     .build()?;
    /// assert_eq!(network.parameter_count(), 8 * 64 + 64 + 2 * 64 + 64 + 1);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn layer_norm(self, activation: Activation) -> Self {
        self.layer(LayerKind::LayerNorm, None, activation)
    }

    fn layer(mut self, kind: LayerKind, outputs: Option<usize>, activation: Activation) -> Self {
        self.layers.push(LayerSpec {
            kind,
            outputs,
            activation,
            dropout: 0.0,
            has_bias: true,
            epsilon: DEFAULT_EPSILON,
            init: None,
        });
        self
    }

    /// Whether the layer before has biases, as it has by default. `torch.nn.Linear(bias=False)`.
    ///
    /// A layer without biases has none in files, counts and the order of [`Network::read_parameters`]. Worth
    /// it where a layer norm follows, which takes their mean away.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(3).dense(4, Activation::Tanh).bias(false).build()?;
    /// assert_eq!(network.parameter_count(), 3 * 4);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn bias(mut self, has_bias: bool) -> Self {
        match self.layers.last_mut() {
            Some(layer) => layer.has_bias = has_bias,
            None => self.misplace(Argument::Biases, Argument::Inputs),
        }
        self
    }

    /// What the layer norm before adds to the variance of a row, 1e-5 by default: a finite, normal number
    /// above 0 of the element type (at least 1.2e-38 in `f32`, 2.3e-308 in `f64`). The `eps` of
    /// `torch.nn.LayerNorm`. [`NetworkBuilder::build`] refuses other
    /// numbers.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let builder = Network::<f32>::builder(3).layer_norm(Activation::Identity).epsilon(1e-3);
    /// assert_eq!(builder.build()?.layer(0).unwrap().epsilon(), Some(1e-3));
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        match self.layers.last_mut() {
            Some(layer) if layer.kind == LayerKind::LayerNorm => layer.epsilon = epsilon,
            Some(_) => self.misplace(Argument::Epsilon, Argument::DenseLayer),
            None => self.misplace(Argument::Epsilon, Argument::Inputs),
        }
        self
    }

    /// Lets training leave out each output of the layer before, or each input if there is none, with
    /// probability `rate`, at least 0 and below 1, and divide the others by `1 - rate`, so that
    /// predictions need no change (Srivastava et al. 2014). 0 by default. `torch.nn.Dropout`.
    /// [`NetworkBuilder::build`] refuses other rates.
    ///
    /// Which are left out follows from [`TrainerBuilder::seed`](crate::TrainerBuilder::seed), the number of
    /// the pass, the layer and the element alone. Another layer must follow.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// // Dropout, Linear, ReLU, Dropout, Linear.
    /// let builder = Network::<f32>::builder(8).dropout(0.2).dense(64, Activation::Relu).dropout(0.5);
    /// let network = builder.dense(1, Activation::Identity).build()?;
    /// assert_eq!((network.input_dropout(), network.layer(0).unwrap().dropout()), (0.2, 0.5));
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn dropout(mut self, rate: f64) -> Self {
        match self.layers.last_mut() {
            Some(layer) => layer.dropout = rate,
            None => self.input_dropout = rate,
        }
        self
    }

    /// The distribution of the initial weights of the dense layer before; before the first layer, of all
    /// layers without one of their own, [`Init::Auto`] by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Init, Network};
    ///
    /// // A policy that starts close to its biases.
    /// let network = Network::<f32>::builder(4)
    ///     .init(Init::Orthogonal { gain: 2_f64.sqrt() })
    ///     .dense(64, Activation::Tanh)
    ///     .dense(2, Activation::Identity)
    ///     .init(Init::Orthogonal { gain: 0.01 })
    ///     .build()?;
    /// let mut weights = [0.0; 128];
    /// network.read_weights(1, &mut weights)?;
    /// assert!(weights.iter().all(|w| w.abs() <= 0.01));
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        match self.layers.last_mut() {
            Some(layer) if layer.kind == LayerKind::Dense => layer.init = Some(init),
            Some(_) => self.misplace(Argument::Init, Argument::LayerNorm),
            None => self.init = init,
        }
        self
    }

    /// The seed of the initial weights, and of dropout and the order of rows in training unless a trainer
    /// gets its own: see [`TrainerBuilder::seed`](crate::TrainerBuilder::seed). Without one it comes from
    /// the system; `wasm32-unknown-unknown` has none, and [`NetworkBuilder::build`] fails there without a
    /// seed.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let build = || Network::<f32>::builder(1).dense(1, Activation::Identity).seed(7).build();
    /// let (mut a, mut b) = ([0.0; 2], [0.0; 2]);
    /// build()?.read_parameters(&mut a)?;
    /// build()?.read_parameters(&mut b)?;
    /// assert_eq!(a, b);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The instruction set; [`Isa::detect`] by default.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Isa, Network};
    ///
    /// let network = Network::<f32>::builder(1).dense(1, Activation::Tanh).isa(Isa::Portable).build()?;
    /// assert_eq!(network.isa(), Isa::Portable);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Builds the network and draws its weights.
    ///
    /// # Errors
    /// [`Error::Zero`] for a size of 0 or no layer, [`Error::Overflow`] for parameters past the address
    /// space, [`Error::Setting`] for a setting of a layer, an activation or a distribution out of range,
    /// [`Error::Unused`] for a setting that the layer before it has no use for, [`Error::Softmax`] before the
    /// last layer, [`Error::Combination`] for softmax over a single output, which is always 1,
    /// [`Error::Dropout`] after the last layer, [`Error::Isa`] for an instruction set that this CPU or
    /// build does not support, [`Error::System`] if there is no seed and the system gives none, as on
    /// `wasm32-unknown-unknown`.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Error, Network};
    ///
    /// let builder = Network::<f32>::builder(2).dense(1, Activation::Tanh);
    /// assert_eq!(builder.clone().build()?.layer_count(), 1);
    /// assert!(matches!(builder.epsilon(1e-3).build(), Err(Error::Unused { .. })));
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn build(self) -> Result<Network<T>, Error> {
        let layers = self.shapes()?;
        let isa = self.isa.unwrap_or_else(Isa::detect);
        if !isa.is_available() {
            return Err(Error::Isa { isa });
        }
        let seed = self.seed.map_or_else(system_seed, Ok)?;
        let lines = layers.iter().map(|layer| layer.lines).sum();
        let mut network = Network {
            layers: layers.into(),
            parameters: vec![T::Line::ZERO; lines],
            input_dropout: self.input_dropout,
            scaling: None,
            isa,
            seed,
        };
        self.draw(&mut network, seed);
        Ok(network)
    }

    /// Remembers the first setting that has no effect where it stands.
    fn misplace(&mut self, argument: Argument, with: Argument) {
        self.misplaced.get_or_insert(Error::Unused { argument, with });
    }

    fn shapes(&self) -> Result<Vec<Layer>, Error> {
        if self.layers.is_empty() {
            return Err(Error::Zero { argument: Argument::LayerCount });
        }
        self.check()?;
        let overflow = Error::Overflow { argument: Argument::ParameterCount };
        let mut layers = Vec::with_capacity(self.layers.len());
        let (mut inputs, mut first_line) = (self.inputs, 0);
        for &LayerSpec { kind, outputs, activation, dropout, has_bias, epsilon, .. } in &self.layers {
            let outputs = outputs.unwrap_or(inputs);
            if inputs == 0 || outputs == 0 {
                return Err(Error::Zero { argument: Argument::FeatureCount });
            }
            let lines = 0;
            let mut layer =
                Layer { kind, inputs, outputs, activation, dropout, has_bias, epsilon, first_line, lines };
            layer.lines = parameter_lines::<T>(layer.columns(), outputs).ok_or(overflow.clone())?;
            layers.push(layer);
            first_line = first_line.checked_add(layer.lines).ok_or(overflow.clone())?;
            inputs = outputs;
        }
        // The transposed copy of a layer is the larger; all must be addressable in bytes.
        let transposed = layers.iter().try_fold(first_line, |sum, layer| {
            sum.checked_add(transposed_lines::<T>(layer.columns(), layer.outputs)?)
        });
        match transposed.and_then(|lines| lines.checked_mul(size_of::<T::Line>())) {
            Some(bytes) if bytes <= MAX_BYTES => Ok(layers),
            _ => Err(overflow),
        }
    }

    /// The inputs of a layer, or the outputs of the one before it.
    fn layer_inputs(&self, layer: usize) -> usize {
        let of_layers = self.layers[..layer].iter().rev().find_map(|spec| spec.outputs);
        of_layers.unwrap_or(self.inputs)
    }

    /// Checks every setting but the sizes.
    fn check(&self) -> Result<(), Error> {
        if let Some(misplaced) = &self.misplaced {
            return Err(misplaced.clone());
        }
        self.init.check::<T>()?;
        check_dropout(self.input_dropout)?;
        let layers = self.layers.len();
        for (layer, spec) in self.layers.iter().enumerate() {
            let is_last = layer + 1 == layers;
            spec.activation.check::<T>()?;
            spec.init.map_or(Ok(()), Init::check::<T>)?;
            if spec.activation == Activation::Softmax && !is_last {
                return Err(Error::Softmax { layer, layers });
            }
            if spec.activation == Activation::Softmax && self.layer_inputs(layer + 1) == 1 {
                let (argument, with) = (Argument::Softmax, Argument::SingleOutput);
                return Err(Error::Combination { argument, with });
            }
            check_dropout(spec.dropout)?;
            if spec.dropout > 0.0 && is_last {
                return Err(Error::Dropout { layers });
            }
            let epsilon = spec.epsilon;
            if !(T::from_f64(epsilon) >= T::MIN_NORMAL && T::holds(epsilon)) {
                return Err(Error::Setting { argument: Argument::Epsilon, value: epsilon });
            }
        }
        Ok(())
    }

    /// Draws the parameters of all layers, in canonical order, from one generator.
    fn draw(&self, network: &mut Network<T>, seed: u64) {
        let mut random = SplitMix64::new(seed);
        for (layer, spec) in network.layers.iter().zip(&self.layers) {
            let lines = &mut network.parameters[layer.lines()];
            if layer.kind == LayerKind::LayerNorm {
                write_weights::<T>(lines, *layer, &vec![T::from_f64(1.0); layer.outputs]);
                continue;
            }
            let shape = WeightShape {
                inputs: layer.inputs,
                outputs: layer.outputs,
                activation: layer.activation,
                is_first: layer.first_line == 0,
            };
            let (init, mut index) = (spec.init.unwrap_or(self.init), 0);
            init.fill(shape, &mut random, |w| {
                let (j, i) = (index / layer.inputs, index % layer.inputs);
                lines[panel_start::<T>(*layer, j) + 1 + i].as_mut_slice()[j % T::LANES] = T::from_f64(w);
                index += 1;
            });
            if layer.has_bias {
                let mut j = 0;
                init.fill_biases(shape, &mut random, |b| {
                    lines[panel_start::<T>(*layer, j)].as_mut_slice()[j % T::LANES] = T::from_f64(b);
                    j += 1;
                });
            }
        }
    }
}

fn check_dropout(rate: f64) -> Result<(), Error> {
    match (0.0..1.0).contains(&rate) {
        true => Ok(()),
        false => Err(Error::Setting { argument: Argument::DropoutRate, value: rate }),
    }
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
fn system_seed() -> Result<u64, Error> {
    use rand::TryRng;
    rand::rngs::SysRng.try_next_u64().map_err(|_| Error::System { argument: Argument::RandomSeed })
}

/// There is no system.
#[cfg(all(target_family = "wasm", target_os = "unknown"))]
fn system_seed() -> Result<u64, Error> {
    Err(Error::System { argument: Argument::RandomSeed })
}
