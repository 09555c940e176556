//! How a network is described, checked and given its initial weights.

use std::sync::Arc;

use crate::error::{Argument, Error, MAX_BYTES, check_length};
use crate::kernels::matrix::panels::parameter_lines;
use crate::kernels::matrix::transpose::transposed_lines;
use crate::kernels::ops::activation::Activation;
use crate::network::MarkedLines;
use crate::network::branches::Block;
use crate::network::graph::{Layers, Node, Source, input_modules, modules};
use crate::network::init::{Init, WeightShape};
use crate::network::parameters::{panel_start, write_weights};
use crate::network::{Layer, LayerKind, Network, Operation};
use crate::rng::SplitMix64;
use crate::simd::isa::Isa;
use crate::simd::scalar::{Element, Line};

/// A layer as described, before its sizes are known.
#[derive(Clone, Debug)]
pub(crate) struct LayerSpec {
    pub(crate) kind: LayerKind,
    /// Nothing for a layer with as many outputs as inputs.
    pub(crate) outputs: Option<usize>,
    pub(crate) sources: Vec<Source>,
    pub(crate) activation: Activation,
    pub(crate) dropout: f64,
    pub(crate) has_bias: bool,
    pub(crate) epsilon: f64,
    /// The builder's, if there is none.
    init: Option<Init>,
    /// The block that it is in.
    pub(super) block: usize,
    /// What PyTorch calls its module, if that does not follow from the blocks.
    pub(crate) name: Option<String>,
}

impl LayerSpec {
    pub(crate) fn new<T: Element>(kind: LayerKind, outputs: Option<usize>, sources: Vec<Source>) -> Self {
        Self {
            kind,
            outputs,
            sources,
            activation: Activation::Identity,
            dropout: 0.0,
            has_bias: kind.has_biases(),
            epsilon: kind.default_epsilon::<T>(),
            init: None,
            block: 0,
            name: None,
        }
    }
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
    pub(super) layers: Vec<LayerSpec>,
    /// What the next layer reads.
    pub(super) last_source: Source,
    /// The network itself, and each block in the order in which they start.
    pub(super) blocks: Vec<Block>,
    /// The block that is being described.
    pub(super) block: usize,
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
            last_source: Source::Input,
            blocks: vec![Block::NETWORK],
            block: 0,
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

    /// Appends an RMS norm of the features so far: each row is divided by the root of its mean square, then
    /// multiplied by a weight for each feature, then goes through the activation. See
    /// [`LayerKind::RmsNorm`].
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(2).rms_norm(Activation::Identity).build()?;
    /// let y = network.predict(&[1.0, 7.0])?; // the root of (1 + 49) / 2 is 5
    /// assert!((y[0] - 0.2).abs() < 1e-6 && (y[1] - 1.4).abs() < 1e-6);
    /// assert_eq!(network.parameter_count(), 2);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn rms_norm(self, activation: Activation) -> Self {
        self.layer(LayerKind::RmsNorm, None, activation)
    }

    fn layer(self, kind: LayerKind, outputs: Option<usize>, activation: Activation) -> Self {
        let sources = vec![self.last_source];
        self.push(kind, outputs, sources).activation(activation)
    }

    /// Appends a layer that reads `sources`, and is what the next one reads.
    pub(super) fn push(self, kind: LayerKind, outputs: Option<usize>, sources: Vec<Source>) -> Self {
        let block = self.block;
        self.append(LayerSpec { block, ..LayerSpec::new::<T>(kind, outputs, sources) })
    }

    /// Appends a layer that is described already.
    pub(crate) fn append(mut self, layer: LayerSpec) -> Self {
        if self.layers.last().is_some_and(|last| last.kind == LayerKind::Heads) {
            self.misplace(Argument::FurtherLayer, Argument::Heads);
        }
        self.last_source = Source::Layer(self.layers.len());
        self.layers.push(layer);
        self
    }

    /// The layer that a setting belongs to: the one before it in the same block. Nothing at the start of the
    /// network; at the start of a block, which has no layer yet, the setting is refused.
    fn layer_before(&mut self, argument: Argument) -> Option<&mut LayerSpec> {
        let first = self.blocks[self.block].first_layer;
        if self.block > 0 && self.layers.len() == first {
            self.misplace(argument, Argument::BlockStart);
        }
        self.layers[first..].last_mut()
    }

    /// The activation of the layer before, in place of the one that it has: of a sum or a concatenation,
    /// which start with [`Activation::Identity`].
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// // y = relu(x + f(x)), as in ResNet.
    /// let network = Network::<f32>::builder(4)
    ///     .residual(|block| block.dense(8, Activation::Relu).dense(4, Activation::Identity))
    ///     .activation(Activation::Relu)
    ///     .build()?;
    /// assert_eq!(network.layer(2).unwrap().activation(), Activation::Relu);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn activation(mut self, activation: Activation) -> Self {
        match self.layer_before(Argument::Activation) {
            Some(layer) => layer.activation = activation,
            None => self.misplace(Argument::Activation, Argument::Inputs),
        }
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
        match self.layer_before(Argument::Biases) {
            Some(layer) if layer.kind.has_parameters() => layer.has_bias = has_bias,
            Some(_) => self.misplace(Argument::Biases, Argument::JoinLayer),
            None => self.misplace(Argument::Biases, Argument::Inputs),
        }
        self
    }

    /// What the layer norm before adds to the variance of a row, 1e-5 by default, or the RMS norm to the mean
    /// square, by default the machine epsilon (1.2e-7 in `f32`, 2.2e-16 in `f64`): a finite, normal number
    /// above 0 of the element type (at least 1.2e-38 in `f32`, 2.3e-308 in `f64`). The `eps` of
    /// `torch.nn.LayerNorm` and `torch.nn.RMSNorm`. [`NetworkBuilder::build`] refuses other numbers.
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
        match self.layer_before(Argument::Epsilon) {
            Some(layer) if layer.kind.has_epsilon() => layer.epsilon = epsilon,
            Some(layer) if layer.kind == LayerKind::Dense => {
                self.misplace(Argument::Epsilon, Argument::DenseLayer);
            }
            Some(_) => self.misplace(Argument::Epsilon, Argument::JoinLayer),
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
        match self.layer_before(Argument::DropoutRate) {
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
        match self.layer_before(Argument::Init) {
            Some(layer) if layer.kind == LayerKind::Dense => layer.init = Some(init),
            Some(layer) if layer.kind.has_parameters() => self.misplace(Argument::Init, Argument::LayerNorm),
            Some(_) => self.misplace(Argument::Init, Argument::JoinLayer),
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
        let layers = Layers::new(self.inputs, self.nodes()?);
        let isa = self.isa.unwrap_or_else(Isa::detect);
        if !isa.is_available() {
            return Err(Error::Isa { isa });
        }
        let seed = self.seed.map_or_else(system_seed, Ok)?;
        let lines = layers.iter().map(|layer| layer.lines).sum();
        let mut network = Network {
            layers: Arc::new(layers),
            parameters: MarkedLines::new(vec![T::Line::ZERO; lines]),
            input_dropout: self.input_dropout,
            scaling: None,
            isa,
            seed,
        };
        self.draw(&mut network, seed);
        Ok(network)
    }

    /// Remembers the first setting that has no effect where it stands.
    pub(super) fn misplace(&mut self, argument: Argument, with: Argument) {
        self.refuse(Error::Unused { argument, with });
    }

    /// Remembers the first error of the description.
    pub(super) fn refuse(&mut self, error: Error) {
        self.misplaced.get_or_insert(error);
    }

    /// Every layer with its sizes, its sources and its name.
    fn nodes(&self) -> Result<Vec<Node>, Error> {
        if self.layers.is_empty() {
            return Err(Error::Zero { argument: Argument::LayerCount });
        }
        self.check()?;
        let overflow = Error::Overflow { argument: Argument::ParameterCount };
        let mut nodes: Vec<Node> = Vec::with_capacity(self.layers.len());
        let mut first_line = 0;
        for (spec, name) in self.layers.iter().zip(self.module_names()) {
            let FeatureCounts { inputs, outputs } = self.features(spec, &nodes)?;
            let &LayerSpec { kind, activation, dropout, has_bias, epsilon, .. } = spec;
            let lines = 0;
            let mut layer =
                Layer { kind, inputs, outputs, activation, dropout, has_bias, epsilon, first_line, lines };
            if kind.has_parameters() {
                layer.lines = parameter_lines::<T>(layer.columns(), outputs).ok_or(overflow.clone())?;
            }
            first_line = first_line.checked_add(layer.lines).ok_or(overflow.clone())?;
            nodes.push(Node { layer, sources: spec.sources.clone(), name });
        }
        // The transposed copy of a layer is the larger; all must be addressable in bytes.
        let transposed = nodes.iter().try_fold(first_line, |sum, node| {
            sum.checked_add(transposed_lines::<T>(node.layer.columns(), node.layer.outputs)?)
        });
        match transposed.and_then(|lines| lines.checked_mul(size_of::<T::Line>())) {
            Some(bytes) if bytes <= MAX_BYTES => Ok(nodes),
            _ => Err(overflow),
        }
    }

    /// The input and output features of a layer that reads the network's inputs or some of the layers before
    /// it.
    fn features(&self, spec: &LayerSpec, before: &[Node]) -> Result<FeatureCounts, Error> {
        let mut features = Vec::with_capacity(spec.sources.len());
        for &source in &spec.sources {
            features.push(match source {
                Source::Input => self.inputs,
                Source::Layer(layer) => match before.get(layer) {
                    Some(node) => node.layer.outputs,
                    None => return Err(Error::Layer { layer, layers: before.len() }),
                },
            });
        }
        let inputs = match spec.kind.operation() {
            Operation::Product | Operation::Norm { .. } => features[0],
            Operation::Sum => {
                check_length(Argument::ResidualBlock, features[0], features[1])?;
                features[0]
            }
            Operation::SideBySide => {
                let sum = features.iter().try_fold(0_usize, |sum, &features| sum.checked_add(features));
                sum.ok_or(Error::Overflow { argument: Argument::FeatureCount })?
            }
        };
        let outputs = spec.outputs.unwrap_or(inputs);
        match inputs == 0 || outputs == 0 {
            true => Err(Error::Zero { argument: Argument::FeatureCount }),
            false if spec.activation == Activation::Softmax && outputs == 1 => {
                let (argument, with) = (Argument::Softmax, Argument::SingleOutput);
                Err(Error::Combination { argument, with })
            }
            false => Ok(FeatureCounts { inputs, outputs }),
        }
    }

    /// What PyTorch calls the module of each layer: see [`Block::name`].
    fn module_names(&self) -> Vec<String> {
        let mut next = vec![0; self.blocks.len()];
        next[0] = input_modules(self.input_dropout);
        let name = |spec: &LayerSpec| {
            if let Some(name) = &spec.name {
                return name.clone();
            }
            let mut name = next[spec.block].to_string();
            let mut block = spec.block;
            while block > 0 {
                let Block { parent, name: of_block, .. } = &self.blocks[block];
                name = format!("{}.{of_block}.{name}", next[*parent]);
                block = *parent;
            }
            next[spec.block] += modules(spec.activation, spec.dropout);
            name
        };
        self.layers.iter().map(name).collect()
    }

    /// For each layer whether its outputs are outputs of the network, and nothing else reads them.
    fn are_outputs(&self) -> Vec<bool> {
        let mut are_outputs = vec![true; self.layers.len()];
        let readers = self.layers.iter().filter(|spec| spec.kind != LayerKind::Heads);
        for source in readers.flat_map(|reader| &reader.sources) {
            if let &Source::Layer(layer) = source
                && let Some(is_output) = are_outputs.get_mut(layer)
            {
                *is_output = false;
            }
        }
        are_outputs
    }

    /// Checks every setting but the sizes.
    fn check(&self) -> Result<(), Error> {
        if let Some(misplaced) = &self.misplaced {
            return Err(misplaced.clone());
        }
        self.init.check::<T>()?;
        check_dropout(self.input_dropout)?;
        let layers = self.layers.len();
        for (layer, (spec, is_output)) in self.layers.iter().zip(self.are_outputs()).enumerate() {
            spec.activation.check::<T>()?;
            spec.init.map_or(Ok(()), Init::check::<T>)?;
            if spec.activation == Activation::Softmax && !is_output {
                return Err(Error::Softmax { layer, layers });
            }
            check_dropout(spec.dropout)?;
            if spec.dropout > 0.0 && is_output {
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
            match layer.kind.operation() {
                Operation::Product => {}
                Operation::Norm { .. } => {
                    write_weights::<T>(lines, *layer, &vec![T::from_f64(1.0); layer.outputs]);
                    continue;
                }
                Operation::Sum | Operation::SideBySide => continue,
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

/// The features that a layer reads and puts out.
struct FeatureCounts {
    inputs: usize,
    outputs: usize,
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
