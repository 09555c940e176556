//! A network: the shapes of its layers and their parameters.

pub(crate) mod init;
pub(crate) mod scaler;

use crate::error::Argument;
use crate::kernels::matrix::transpose::parameter_lines;
use crate::kernels::matrix::transpose::transposed_lines;
use core::fmt;
use core::ops::Range;
use std::sync::Arc;

use crate::error::{Error, MAX_BYTES, check_length};
use crate::kernels::ops::activation::Activation;
use crate::network::init::Init;
use crate::network::scaler::Scaling;
use crate::rng::SplitMix64;
use crate::simd::isa::Isa;
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements};

/// A feed-forward network of layers, `y = f(x W^T + b)` each, in `f32` or `f64`.
///
/// Parameters are kept in panels, the layout that the products read; [`Network::read_parameters`] and
/// [`Network::write_parameters`] speak PyTorch's.
///
/// ```
/// use fuseprop::{Activation, Network};
///
/// let network = Network::<f32>::builder(2)
///     .dense(4, Activation::Tanh)
///     .dense(1, Activation::Identity)
///     .seed(7)
///     .build()?;
/// let mut workspace = network.workspace(3)?;
/// let mut y = [0.0; 3];
/// network.predict_into(&[0.0, 0.0, 0.5, 1.0, 1.0, 0.5], &mut y, &mut workspace)?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone)]
pub struct Network<T: Element> {
    /// Shared with the workspaces made for it, so that one look tells that they fit.
    pub(crate) layers: Arc<[Layer]>,
    /// For each layer, panels of `[1 + inputs, outputs]`: a line of biases, then the weights.
    pub(crate) parameters: Vec<T::Line>,
    /// What every input goes through first.
    pub(crate) scaling: Option<Scaling<T>>,
    isa: Isa,
}

/// What the sums `z` of a layer are, to which its activation is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerKind {
    /// `z = x W^T + b`, weights `[outputs, inputs]`. `torch.nn.Linear`.
    Dense,
    /// `z = w (x - mean x) / sqrt(var x + 1e-5) + b`, mean and variance (divided by the number of features) of each
    /// row, weights `[features]`, at first all 1 (Ba, Kiros and Hinton 2016). `torch.nn.LayerNorm`.
    LayerNorm,
}

/// The shape of one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    kind: LayerKind,
    inputs: usize,
    outputs: usize,
    activation: Activation,
    dropout: f64,
    /// Where the layer's lines start among the network's.
    pub(crate) first_line: usize,
    lines: usize,
}

impl Layer {
    /// What it computes.
    pub fn kind(&self) -> LayerKind {
        self.kind
    }
    /// Features of its input.
    pub fn inputs(&self) -> usize {
        self.inputs
    }
    /// Features of its output.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
    /// What it does with its sums.
    pub fn activation(&self) -> Activation {
        self.activation
    }
    /// The layer's lines among the network's.
    pub(crate) fn lines(&self) -> Range<usize> {
        self.first_line..self.first_line + self.lines
    }
    /// The share of its outputs that training leaves out, each time others.
    pub fn dropout(&self) -> f64 {
        self.dropout
    }
    /// Weights and biases.
    pub fn parameter_count(&self) -> usize {
        (self.columns() + 1) * self.outputs
    }
    /// Weights of each output: a layer's weights are `[outputs, columns]`.
    pub(crate) fn columns(&self) -> usize {
        match self.kind {
            LayerKind::Dense => self.inputs,
            LayerKind::LayerNorm => 1,
        }
    }
}

impl<T: Element> Network<T> {
    /// Starts a network that takes `inputs` features.
    pub fn builder(inputs: usize) -> NetworkBuilder<T> {
        NetworkBuilder {
            inputs,
            layers: Vec::new(),
            stray_dropout: false,
            init: Init::Auto,
            seed: None,
            isa: None,
            element: core::marker::PhantomData,
        }
    }

    /// Features of an input row.
    pub fn inputs(&self) -> usize {
        self.layers[0].inputs
    }

    /// Features of an output row.
    pub fn outputs(&self) -> usize {
        self.last().outputs
    }

    /// The number of layers, at least one.
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// The shape of one layer, or nothing past the last.
    pub fn layer(&self, layer: usize) -> Option<Layer> {
        self.layers.get(layer).copied()
    }

    /// The instruction set that the network runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Weights and biases of all layers.
    pub fn parameter_count(&self) -> usize {
        self.layers.iter().map(Layer::parameter_count).sum()
    }

    /// Copies all parameters, `W0 b0 W1 b1 ..`, each `W` row-major `[outputs, inputs]`: PyTorch's order.
    ///
    /// # Errors
    /// [`Error::Length`] unless `to` has [`Network::parameter_count`] elements.
    pub fn read_parameters(&self, to: &mut [T]) -> Result<(), Error> {
        check_length(Argument::Parameters, self.parameter_count(), to.len())?;
        read_canonical(&self.layers, &self.parameters, to);
        Ok(())
    }

    /// Overwrites all parameters, in the order of [`Network::read_parameters`].
    ///
    /// # Errors
    /// [`Error::Length`] unless `from` has [`Network::parameter_count`] elements.
    pub fn write_parameters(&mut self, from: &[T]) -> Result<(), Error> {
        check_length(Argument::Parameters, self.parameter_count(), from.len())?;
        write_canonical(&self.layers, &mut self.parameters, from);
        Ok(())
    }

    /// Copies one layer's weights, row-major `[outputs, inputs]`; of a layer norm, `[features]`.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`].
    pub fn read_weights(&self, layer: usize, to: &mut [T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Weights, layer.columns() * layer.outputs, to.len())?;
        read_weights(&self.parameters[layer.lines()], layer, to);
        Ok(())
    }

    /// Overwrites one layer's weights, row-major `[outputs, inputs]`; of a layer norm, `[features]`.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`].
    pub fn write_weights(&mut self, layer: usize, from: &[T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Weights, layer.columns() * layer.outputs, from.len())?;
        write_weights::<T>(&mut self.parameters[layer.lines()], layer, from);
        Ok(())
    }

    /// Copies one layer's biases, `[outputs]`.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`].
    pub fn read_biases(&self, layer: usize, to: &mut [T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Biases, layer.outputs, to.len())?;
        read_biases(&self.parameters[layer.lines()], layer, to);
        Ok(())
    }

    /// Overwrites one layer's biases, `[outputs]`.
    ///
    /// # Errors
    /// [`Error::Layer`] or [`Error::Length`].
    pub fn write_biases(&mut self, layer: usize, from: &[T]) -> Result<(), Error> {
        let layer = self.checked_layer(layer)?;
        check_length(Argument::Biases, layer.outputs, from.len())?;
        write_biases::<T>(&mut self.parameters[layer.lines()], layer, from);
        Ok(())
    }

    pub(crate) fn last(&self) -> Layer {
        self.layers[self.layers.len() - 1]
    }

    /// One layer's parameters, in panels.
    pub(crate) fn layer_lines(&self, layer: usize) -> &[T::Line] {
        &self.parameters[self.layers[layer].lines()]
    }

    pub(crate) fn checked_layer(&self, layer: usize) -> Result<Layer, Error> {
        self.layer(layer).ok_or(Error::Layer { layer, layers: self.layers.len() })
    }
}

impl<T: Element> fmt::Debug for Network<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("layers", &self.layers)
            .field("isa", &self.isa)
            .finish_non_exhaustive()
    }
}

/// The first line of the panel that output `j` lies in.
fn panel_start<T: Element>(layer: Layer, j: usize) -> usize {
    j / T::LANES * (1 + layer.columns())
}

fn read_row<T: Element>(lines: &[T::Line], layer: Layer, j: usize, row: &mut [T]) {
    let panel = &elements::<T>(lines)[(panel_start::<T>(layer, j) + 1) * T::LANES..];
    for (w, line) in row.iter_mut().zip(panel.chunks_exact(T::LANES)) {
        *w = line[j % T::LANES];
    }
}

/// Copies one layer's weights, or their gradient, from its panels.
pub(crate) fn read_weights<T: Element>(panels: &[T::Line], layer: Layer, to: &mut [T]) {
    for (j, row) in to.chunks_exact_mut(layer.columns()).enumerate() {
        read_row::<T>(panels, layer, j, row);
    }
}

/// Copies one layer's biases, or their gradient, from its panels.
pub(crate) fn read_biases<T: Element>(panels: &[T::Line], layer: Layer, to: &mut [T]) {
    for (j, bias) in to.iter_mut().enumerate() {
        *bias = panels[panel_start::<T>(layer, j)].as_slice()[j % T::LANES];
    }
}

/// Copies panels of parameters, or of their gradient, into canonical order.
pub(crate) fn read_canonical<T: Element>(layers: &[Layer], lines: &[T::Line], to: &mut [T]) {
    let mut rest = to;
    for &layer in layers {
        let panels = &lines[layer.lines()];
        let (weights, after) = rest.split_at_mut(layer.columns() * layer.outputs);
        let (biases, after) = after.split_at_mut(layer.outputs);
        read_weights(panels, layer, weights);
        read_biases(panels, layer, biases);
        rest = after;
    }
}

/// The way back of [`read_weights`].
pub(crate) fn write_weights<T: Element>(panels: &mut [T::Line], layer: Layer, from: &[T]) {
    for (j, row) in from.chunks_exact(layer.columns()).enumerate() {
        let lines = &mut panels[panel_start::<T>(layer, j) + 1..];
        for (line, &w) in lines.iter_mut().zip(row) {
            line.as_mut_slice()[j % T::LANES] = w;
        }
    }
    let last = panel_start::<T>(layer, layer.outputs - 1);
    clear_padding::<T>(&mut panels[last + 1..][..layer.columns()], layer);
}

/// Padding of the last panel is 0, unless numbers that are not finite went through it: written parameters are rid of
/// them.
fn clear_padding<T: Element>(lines: &mut [T::Line], layer: Layer) {
    let used = (layer.outputs - 1) % T::LANES + 1;
    lines.iter_mut().for_each(|line| line.as_mut_slice()[used..].fill(T::ZERO));
}

/// The way back of [`read_biases`].
pub(crate) fn write_biases<T: Element>(panels: &mut [T::Line], layer: Layer, from: &[T]) {
    for (j, &bias) in from.iter().enumerate() {
        panels[panel_start::<T>(layer, j)].as_mut_slice()[j % T::LANES] = bias;
    }
    let last = panel_start::<T>(layer, layer.outputs - 1);
    clear_padding::<T>(&mut panels[last..=last], layer);
}

/// The way back of [`read_canonical`].
pub(crate) fn write_canonical<T: Element>(layers: &[Layer], lines: &mut [T::Line], from: &[T]) {
    let mut rest = from;
    for &layer in layers {
        let panels = &mut lines[layer.lines()];
        let (weights, after) = rest.split_at(layer.columns() * layer.outputs);
        let (biases, after) = after.split_at(layer.outputs);
        write_weights::<T>(panels, layer, weights);
        write_biases::<T>(panels, layer, biases);
        rest = after;
    }
}

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

    /// The seed of the initial weights. Without one it comes from the system.
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
        let mut network =
            Network { layers: layers.into(), parameters: vec![T::Line::ZERO; lines], scaling: None, isa };
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
        for (l, &wish) in self.layers.iter().enumerate() {
            let LayerSpec { kind, activation, dropout, .. } = wish;
            let outputs = wish.outputs.unwrap_or(inputs);
            if inputs == 0 || outputs == 0 {
                return Err(Error::Zero { argument: Argument::FeatureCount });
            }
            self.check_wish(l, wish)?;
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

    fn check_wish(&self, layer: usize, wish: LayerSpec) -> Result<(), Error> {
        let layers = self.layers.len();
        let is_last = layer + 1 == layers;
        wish.activation.check::<T>()?;
        if wish.activation == Activation::Softmax && !is_last {
            return Err(Error::Softmax { layer, layers });
        }
        if !(0.0..1.0).contains(&wish.dropout) {
            return Err(Error::Setting { argument: Argument::DropoutRate, value: wish.dropout });
        }
        if wish.dropout > 0.0 && is_last || self.stray_dropout {
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
