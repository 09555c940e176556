//! How a network is described, checked and given its initial weights.

use crate::error::{Argument, Error, MAX_BYTES};
use crate::kernels::matrix::transpose::{parameter_lines, transposed_lines};
use crate::kernels::ops::activation::Activation;
use crate::network::init::Init;
use crate::network::parameters::{panel_start, write_weights};
use crate::network::{Layer, LayerKind, Network};
use crate::rng::SplitMix64;
use crate::simd::isa::Isa;
use crate::simd::scalar::{Element, Line};

/// A layer as it was asked for.
#[derive(Clone, Copy, Debug)]
struct LayerSpec {
    kind: LayerKind,
    /// As many as it has inputs, if there is no number.
    outputs: Option<usize>,
    activation: Activation,
    dropout: f64,
}

/// Describes a [`Network`], layer by layer.
#[derive(Clone, Debug)]
pub struct NetworkBuilder<T: Element> {
    inputs: usize,
    layers: Vec<LayerSpec>,
    /// Whether dropout was asked for where there is no layer yet.
    stray_dropout: bool,
    init: Init,
    seed: Option<u64>,
    isa: Option<Isa>,
    element: core::marker::PhantomData<T>,
}

impl<T: Element> NetworkBuilder<T> {
    pub(super) fn new(inputs: usize) -> Self {
        Self {
            inputs,
            layers: Vec::new(),
            stray_dropout: false,
            init: Init::Auto,
            seed: None,
            isa: None,
            element: core::marker::PhantomData,
        }
    }

    /// Appends a dense layer.
    #[must_use]
    pub fn dense(mut self, outputs: usize, activation: Activation) -> Self {
        let outputs = Some(outputs);
        self.layers.push(LayerSpec { kind: LayerKind::Dense, outputs, activation, dropout: 0.0 });
        self
    }

    /// Appends a layer norm of the features so far: each row gets mean 0 and variance 1, then a weight and a bias
    /// for each feature, then the activation. See [`LayerKind::LayerNorm`].
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
    pub fn layer_norm(mut self, activation: Activation) -> Self {
        self.layers.push(LayerSpec { kind: LayerKind::LayerNorm, outputs: None, activation, dropout: 0.0 });
        self
    }

    /// Lets training leave out this share of the last layer's outputs, at random, and divide the others by
    /// `1 - share`, so that predictions need no change (Srivastava et al. 2014). `torch.nn.Dropout`.
    ///
    /// Which are left out follows from [`TrainerBuilder::seed`](crate::TrainerBuilder::seed), the number of the
    /// pass, the layer and the element alone. Another layer must follow.
    #[must_use]
    pub fn dropout(mut self, share: f64) -> Self {
        match self.layers.last_mut() {
            Some(layer) => layer.dropout = share,
            None => self.stray_dropout = true,
        }
        self
    }

    /// The distribution of all initial weights; [`Init::Auto`] by default.
    #[must_use]
    pub fn init(mut self, init: Init) -> Self {
        self.init = init;
        self
    }

    /// The seed of the initial weights, and of dropout and the order of rows in training unless a trainer gets its own: see
    /// [`TrainerBuilder::seed`](crate::TrainerBuilder::seed). Without one it comes from the system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The instruction set; [`Isa::detect`] by default.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Builds the network and draws its weights.
    ///
    /// # Errors
    /// [`Error::Zero`] for a size of 0 or no layer, [`Error::Overflow`] for parameters past the address
    /// space, [`Error::Setting`] for an activation's or a distribution's setting out of range,
    /// [`Error::Softmax`] before the last layer, [`Error::Dropout`] after it or before the first,
    /// [`Error::Isa`] for an instruction set that is not here,
    /// [`Error::System`] if the system gives no seed.
    pub fn build(self) -> Result<Network<T>, Error> {
        let layers = self.shapes()?;
        self.init.check::<T>()?;
        let isa = self.isa.unwrap_or_else(Isa::detect);
        if !isa.is_available() {
            return Err(Error::Isa { isa });
        }
        let seed = self.seed.map_or_else(system_seed, Ok)?;
        let lines = layers.iter().map(|layer| layer.lines).sum();
        let mut network = Network {
            layers: layers.into(),
            parameters: vec![T::Line::ZERO; lines],
            scaling: None,
            isa,
            seed,
        };
        draw(&mut network, self.init, seed);
        Ok(network)
    }

    fn shapes(&self) -> Result<Vec<Layer>, Error> {
        if self.layers.is_empty() {
            return Err(Error::Zero { argument: Argument::LayerCount });
        }
        let overflow = Error::Overflow { argument: Argument::ParameterCount };
        let mut layers = Vec::with_capacity(self.layers.len());
        let (mut inputs, mut first_line) = (self.inputs, 0);
        for (l, &spec) in self.layers.iter().enumerate() {
            let LayerSpec { kind, activation, dropout, .. } = spec;
            let outputs = spec.outputs.unwrap_or(inputs);
            if inputs == 0 || outputs == 0 {
                return Err(Error::Zero { argument: Argument::FeatureCount });
            }
            self.check_spec(l, spec)?;
            let mut layer = Layer { kind, inputs, outputs, activation, dropout, first_line, lines: 0 };
            let lines = parameter_lines::<T>(layer.columns(), outputs);
            layer.lines = lines.ok_or(overflow.clone())?;
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

    fn check_spec(&self, layer: usize, spec: LayerSpec) -> Result<(), Error> {
        let layers = self.layers.len();
        let is_last = layer + 1 == layers;
        spec.activation.check::<T>()?;
        if spec.activation == Activation::Softmax && !is_last {
            return Err(Error::Softmax { layer, layers });
        }
        if !(0.0..1.0).contains(&spec.dropout) {
            return Err(Error::Setting { argument: Argument::DropoutRate, value: spec.dropout });
        }
        if spec.dropout > 0.0 && is_last || self.stray_dropout {
            return Err(Error::Dropout { layers });
        }
        Ok(())
    }
}

/// Draws the weights of all layers, in canonical order, from one generator.
fn draw<T: Element>(network: &mut Network<T>, init: Init, seed: u64) {
    let mut random = SplitMix64::new(seed);
    for layer in network.layers.iter() {
        let lines = &mut network.parameters[layer.lines()];
        if layer.kind == LayerKind::LayerNorm {
            write_weights::<T>(lines, *layer, &vec![T::from_f64(1.0); layer.outputs]);
            continue;
        }
        let mut index = 0;
        let shape = (layer.inputs, layer.outputs, layer.activation);
        init.fill(shape, layer.first_line == 0, &mut random, |w| {
            let (j, i) = (index / layer.inputs, index % layer.inputs);
            lines[panel_start::<T>(*layer, j) + 1 + i].as_mut_slice()[j % T::LANES] = T::from_f64(w);
            index += 1;
        });
    }
}

fn system_seed() -> Result<u64, Error> {
    use rand::TryRng;
    rand::rngs::SysRng.try_next_u64().map_err(|_| Error::System { argument: Argument::RandomSeed })
}
