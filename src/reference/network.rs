//! A network of layers: forward, backward, one step of gradient descent.

use crate::{Activation, Element, LayerKind, Loss, Network, Precision, Source, Targets};

use super::activation::{activate, activation_backward};
use super::bf16::rounded;
use super::dense::{bias_gradient, dense, input_gradient, weight_gradient};
use super::layer_norm::{layer_norm, layer_norm_backward};
use super::loss::{Objective, loss, read_rows};
use super::rms_norm::{rms_norm, rms_norm_backward};

/// A layer: `y = f(x W^T + b)`, or `y = f(w (x - mean x) / sqrt(var x + epsilon) + b)`.
///
/// # Examples
///
/// ```
/// use fuseprop::Activation;
/// use fuseprop::reference::Layer;
///
/// let mut layer = Layer::dense(2, 1, Activation::Tanh);
/// layer.weights = vec![0.5, -0.5];
/// layer.biases.clear(); // a layer without biases
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Layer {
    /// Which of both.
    pub kind: LayerKind,
    /// `I`.
    pub inputs: usize,
    /// `O`.
    pub outputs: usize,
    /// Applied to each sum.
    pub activation: Activation,
    /// `[outputs, inputs]`, of a layer norm `[outputs]`; empty of a layer without parameters.
    pub weights: Vec<f64>,
    /// `[outputs]`, or empty for a layer without biases.
    pub biases: Vec<f64>,
    /// Of a layer norm.
    pub epsilon: f64,
    /// What it reads; empty if that is the layer before it, or the inputs for the first.
    pub sources: Vec<Source>,
}

/// A feed-forward network: layers, each reading the outputs of the one before.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::Model;
/// use fuseprop::{Activation, Network};
///
/// let network = Network::<f32>::builder(2).dense(3, Activation::Tanh).seed(1).build()?;
/// let (fast, exact) = (network.predict(&[0.5, 1.0])?, Model::of(&network).predict(&[0.5, 1.0], 1));
/// assert!(fast.iter().zip(exact).all(|(&y, exact)| (f64::from(y) - exact).abs() < 1e-6));
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Model {
    /// First to last.
    pub layers: Vec<Layer>,
    /// The mean and the standard deviation of each input, which becomes `(x - mean) / std` first.
    pub scaler: Option<Vec<(f64, f64)>>,
    /// In [`Precision::Bf16`] the operands of each product of a dense layer are rounded to bf16: its inputs
    /// and weights, and the gradient with respect to its sums. Biases and sums are not.
    pub precision: Precision,
}

/// The result of a backward pass.
///
/// # Examples
///
/// See [`Model::loss_and_gradients`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Gradients {
    /// In canonical order, as long as [`Model::parameters`].
    pub parameters: Vec<f64>,
    /// `[B, inputs of the network]`.
    pub inputs: Vec<f64>,
}

/// What a forward pass leaves of one layer.
struct Pass {
    /// Before the activation, `[B, O]`.
    z: Vec<f64>,
    /// After it, `[B, O]`.
    y: Vec<f64>,
}

impl Model {
    /// A model of these layers, without a scaler.
    ///
    /// # Panics
    /// If there is no layer.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Activation;
    /// use fuseprop::reference::{Layer, Model};
    ///
    /// let mut model = Model::new(vec![Layer::dense(2, 1, Activation::Identity)]);
    /// model.set_parameters(&[1.0, 10.0, 0.5]); // W00 W01 b0
    /// assert_eq!(model.predict(&[2.0, 3.0], 1), [32.5]);
    /// ```
    #[must_use]
    pub fn new(layers: Vec<Layer>) -> Self {
        assert!(!layers.is_empty(), "a network has at least one layer");
        Self { layers, scaler: None, precision: Precision::F32 }
    }

    /// The same network in `f64`: same layers, same parameters, same scaler.
    ///
    /// # Panics
    /// Never: the buffers have the network's own lengths.
    ///
    /// # Examples
    ///
    /// See [`Model`].
    pub fn of<T: Element>(network: &Network<T>) -> Self {
        let layers = (0..network.layer_count())
            .filter_map(|l| network.layer(l).zip(network.sources(l)))
            .map(|(layer, sources)| {
                let (inputs, outputs) = (layer.inputs(), layer.outputs());
                let kind = layer.kind();
                let weights = match kind {
                    LayerKind::Dense => outputs * inputs,
                    LayerKind::LayerNorm | LayerKind::RmsNorm => outputs,
                    LayerKind::Sum | LayerKind::Concat | LayerKind::Heads => 0,
                };
                Layer {
                    kind,
                    inputs,
                    outputs,
                    activation: layer.activation(),
                    weights: vec![0.0; weights],
                    biases: vec![0.0; if layer.has_bias() { outputs } else { 0 }],
                    epsilon: layer.epsilon().unwrap_or_default(),
                    sources,
                }
            })
            .collect();
        let mut parameters = vec![T::ZERO; network.parameter_count()];
        network.read_parameters(&mut parameters).expect("the slice has the network's own parameter count");
        let parameters: Vec<f64> = parameters.into_iter().map(|p| p.to_f64()).collect();
        let scaler = network.scaler().map(|scaler| {
            let pairs = scaler.means().iter().zip(scaler.stds());
            pairs.map(|(mean, std)| (mean.to_f64(), std.to_f64())).collect()
        });
        let mut model = Self { layers, scaler, precision: Precision::F32 };
        model.set_parameters(&parameters);
        model
    }

    /// The outputs of every layer, `[B, O]` each; the last are the network's.
    ///
    /// # Panics
    /// If `x` is not `[batch, inputs]`, or softmax stands before the last layer.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Activation;
    /// use fuseprop::reference::{Layer, Model};
    ///
    /// let mut layer = Layer::dense(1, 1, Activation::Identity);
    /// layer.weights = vec![2.0];
    /// let model = Model::new(vec![layer.clone(), layer]);
    /// assert_eq!(model.forward(&[3.0], 1), [[6.0], [12.0]]);
    /// ```
    #[must_use]
    pub fn forward(&self, x: &[f64], batch: usize) -> Vec<Vec<f64>> {
        self.passes(x, batch).into_iter().map(|pass| pass.y).collect()
    }

    /// The network's outputs, `[B, O]` of its last layer.
    ///
    /// # Panics
    /// If `x` is not `[batch, inputs]`, or softmax stands before the last layer.
    ///
    /// # Examples
    ///
    /// See [`Model`].
    #[must_use]
    pub fn predict(&self, x: &[f64], batch: usize) -> Vec<f64> {
        self.forward(x, batch).pop().expect("a network has at least one layer")
    }

    /// The loss over a batch, and its gradients with respect to the parameters and to the inputs.
    ///
    /// `x` is `[batch, inputs]`. [`Loss::SoftmaxCrossEntropy`] takes logits. A network that ends in
    /// [`Activation::Softmax`] hands it the logits beneath that softmax, so that both forms of a classifier
    /// train alike; so does one that ends in [`Activation::Sigmoid`] with
    /// [`Loss::BinaryCrossEntropyWithLogits`].
    ///
    /// # Panics
    /// As [`loss`] and [`Model::predict`].
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::reference::{Layer, Model, Objective};
    /// use fuseprop::{Activation, Loss, Reduction, Targets};
    ///
    /// let mut model = Model::new(vec![Layer::dense(1, 1, Activation::Identity)]);
    /// model.set_parameters(&[2.0, 0.0]); // y = 2 x
    /// let objective = Objective::new(Loss::MeanSquaredError, Reduction::Mean);
    /// let (loss, gradients) = model.loss_and_gradients(&[3.0], Targets::from(&[5.0]), 1, objective);
    /// assert_eq!(loss, 1.0);
    /// assert_eq!(gradients.parameters, [6.0, 2.0]); // 2 (y - t) x and 2 (y - t)
    /// assert_eq!(gradients.inputs, [4.0]); // 2 (y - t) w
    /// ```
    #[must_use]
    pub fn loss_and_gradients(
        &self,
        x: &[f64],
        targets: Targets<'_, f64>,
        batch: usize,
        objective: Objective<'_>,
    ) -> (f64, Gradients) {
        let last = self.layers.last().expect("a network has at least one layer");
        let x = &read_rows(objective, x, &targets, batch, last.outputs);
        let passes = self.passes(x, batch);
        let (layer, pass) = self.last(&passes);
        let on_logits = matches!(
            (objective.loss, layer.activation),
            (Loss::SoftmaxCrossEntropy | Loss::KullbackLeibler, Activation::Softmax)
                | (Loss::BinaryCrossEntropyWithLogits, Activation::Sigmoid)
        );
        let outputs = if on_logits { &pass.z } else { &pass.y };
        let (value, d_outputs) = loss(objective, outputs, targets, layer.outputs);
        let d_z = if on_logits { d_outputs } else { layer.activation_backward(pass, &d_outputs, batch) };
        (value, self.backward_from(x, &passes, d_z, batch))
    }

    /// Gradients of a loss of the caller's own, given its gradient `d_outputs`, `[B, O]`, with respect to the
    /// network's outputs (after the last activation).
    ///
    /// # Panics
    /// As [`Model::predict`], and if `d_outputs` is not `[batch, outputs]`.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Activation;
    /// use fuseprop::reference::{Layer, Model};
    ///
    /// let mut model = Model::new(vec![Layer::dense(1, 1, Activation::Identity)]);
    /// model.set_parameters(&[2.0, 0.0]);
    /// let gradients = model.backward(&[3.0], &[10.0], 1);
    /// assert_eq!((gradients.parameters, gradients.inputs), (vec![30.0, 10.0], vec![20.0]));
    /// ```
    #[must_use]
    pub fn backward(&self, x: &[f64], d_outputs: &[f64], batch: usize) -> Gradients {
        let passes = self.passes(x, batch);
        let (layer, pass) = self.last(&passes);
        let d_z = layer.activation_backward(pass, d_outputs, batch);
        self.backward_from(x, &passes, d_z, batch)
    }

    /// One step of plain gradient descent, `p -= learning_rate * d_p`. The loss is the loss before the step.
    ///
    /// # Panics
    /// As [`Model::loss_and_gradients`].
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::reference::{Layer, Model, Objective};
    /// use fuseprop::{Activation, Loss, Reduction, Targets};
    ///
    /// let mut model = Model::new(vec![Layer::dense(1, 1, Activation::Identity)]);
    /// model.set_parameters(&[2.0, 0.0]);
    /// let objective = Objective::new(Loss::MeanSquaredError, Reduction::Mean);
    /// assert_eq!(model.step(&[3.0], Targets::from(&[5.0]), 1, objective, 0.25), 1.0);
    /// assert_eq!(model.parameters(), [0.5, -0.5]);
    /// ```
    pub fn step(
        &mut self,
        x: &[f64],
        targets: Targets<'_, f64>,
        batch: usize,
        objective: Objective<'_>,
        learning_rate: f64,
    ) -> f64 {
        let (value, gradients) = self.loss_and_gradients(x, targets, batch, objective);
        let mut parameters = self.parameters();
        for (p, d_p) in parameters.iter_mut().zip(gradients.parameters) {
            *p -= learning_rate * d_p;
        }
        self.set_parameters(&parameters);
        value
    }

    /// Every parameter in canonical order.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Activation;
    /// use fuseprop::reference::{Layer, Model};
    ///
    /// let model = Model::new(vec![Layer::layer_norm(2, Activation::Identity)]);
    /// assert_eq!(model.parameters(), [1.0, 1.0, 0.0, 0.0]); // w0 w1 b0 b1
    /// ```
    #[must_use]
    pub fn parameters(&self) -> Vec<f64> {
        self.layers.iter().flat_map(|layer| layer.weights.iter().chain(&layer.biases)).copied().collect()
    }

    /// Overwrites every parameter, in canonical order.
    ///
    /// # Panics
    /// If there are more or fewer parameters.
    ///
    /// # Examples
    ///
    /// See [`Model::new`].
    pub fn set_parameters(&mut self, parameters: &[f64]) {
        let count: usize = self.layers.iter().map(|layer| layer.weights.len() + layer.biases.len()).sum();
        assert_eq!(parameters.len(), count, "parameters");
        let mut next = parameters.iter();
        for layer in &mut self.layers {
            for (p, &value) in layer.weights.iter_mut().chain(&mut layer.biases).zip(&mut next) {
                *p = value;
            }
        }
    }

    fn scaled(&self, x: &[f64]) -> Vec<f64> {
        let Some(scaler) = &self.scaler else { return x.to_vec() };
        x.iter().zip(scaler.iter().cycle()).map(|(x, (mean, std))| (x - mean) / std).collect()
    }

    /// Whether the operands of a layer's products are rounded to bf16.
    fn is_rounded(&self, layer: &Layer) -> bool {
        self.precision == Precision::Bf16 && layer.kind == LayerKind::Dense
    }

    fn passes(&self, x: &[f64], batch: usize) -> Vec<Pass> {
        let mut passes: Vec<Pass> = Vec::new();
        let x = &self.scaled(x);
        for (l, layer) in self.layers.iter().enumerate() {
            assert!(
                layer.activation != Activation::Softmax || self.is_output(l),
                "softmax is for the last layer only, or the last of a head"
            );
            let inputs = self.inputs_of(l, x, &passes, batch);
            passes.push(match self.is_rounded(layer) {
                true => layer.rounded().forward(&rounded(&inputs), batch),
                false => layer.forward(&inputs, batch),
            });
        }
        passes
    }

    /// Whether nothing but heads reads a layer.
    fn is_output(&self, layer: usize) -> bool {
        let mut readers =
            (layer + 1..self.layers.len()).filter(|&l| self.sources(l).contains(&Source::Layer(layer)));
        readers.all(|l| self.layers[l].kind == LayerKind::Heads)
    }

    /// What a layer reads.
    fn sources(&self, l: usize) -> Vec<Source> {
        match &self.layers[l].sources[..] {
            [] if l == 0 => vec![Source::Input],
            [] => vec![Source::Layer(l - 1)],
            sources => sources.to_vec(),
        }
    }

    /// The rows that a layer reads, `[B, I]`: the sum of its sources, or their features side by side.
    fn inputs_of(&self, l: usize, x: &[f64], passes: &[Pass], batch: usize) -> Vec<f64> {
        let sources: Vec<&[f64]> = self
            .sources(l)
            .into_iter()
            .map(|source| match source {
                Source::Input => x,
                Source::Layer(i) => &passes[i].y[..],
            })
            .collect();
        match self.layers[l].kind {
            LayerKind::Dense | LayerKind::LayerNorm | LayerKind::RmsNorm => sources[0].to_vec(),
            LayerKind::Sum => sources[0].iter().zip(sources[1]).map(|(a, b)| a + b).collect(),
            LayerKind::Concat | LayerKind::Heads => {
                let row = |r: usize| {
                    let of_source = move |source: &&[f64]| {
                        let features = source.len() / batch;
                        source[r * features..(r + 1) * features].to_vec()
                    };
                    sources.iter().flat_map(of_source).collect::<Vec<f64>>()
                };
                (0..batch).flat_map(row).collect()
            }
        }
    }

    fn last<'a>(&'a self, passes: &'a [Pass]) -> (&'a Layer, &'a Pass) {
        let layer = self.layers.last().expect("a network has at least one layer");
        let pass = passes.last().expect("a forward pass leaves one per layer");
        (layer, pass)
    }

    /// The backward pass, given `d_z` of the last layer.
    fn backward_from(&self, x: &[f64], passes: &[Pass], d_z: Vec<f64>, batch: usize) -> Gradients {
        let (x, last) = (&self.scaled(x), self.layers.len() - 1);
        let mut per_layer = Vec::new();
        let mut d_x = vec![0.0; x.len()];
        // Of the outputs of each layer, the sum over the layers that read it.
        let mut d_y: Vec<Vec<f64>> = passes.iter().map(|pass| vec![0.0; pass.y.len()]).collect();
        for l in (0..=last).rev() {
            let layer = &self.layers[l];
            let d_z = match l == last {
                true => d_z.clone(),
                false => layer.activation_backward(&passes[l], &d_y[l], batch),
            };
            let inputs = self.inputs_of(l, x, passes, batch);
            let (gradient, d_inputs) = match self.is_rounded(layer) {
                true => layer.rounded().backward(&rounded(&d_z), &rounded(&inputs), batch),
                false => layer.backward(&d_z, &inputs, batch),
            };
            per_layer.push(gradient);
            let mut first = 0;
            for source in self.sources(l) {
                let to = match source {
                    Source::Input => &mut d_x,
                    Source::Layer(i) => &mut d_y[i],
                };
                let features = to.len() / batch;
                for (i, to) in to.iter_mut().enumerate() {
                    *to += d_inputs[i / features * layer.inputs + first + i % features];
                }
                first += if layer.kind == LayerKind::Sum { 0 } else { features };
            }
        }
        per_layer.reverse();
        if let Some(scaler) = &self.scaler {
            for (d_x, (_, std)) in d_x.iter_mut().zip(scaler.iter().cycle()) {
                *d_x /= std;
            }
        }
        Gradients { parameters: per_layer.concat(), inputs: d_x }
    }
}

impl Layer {
    /// A dense layer whose weights and biases are 0.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Activation;
    /// use fuseprop::reference::Layer;
    ///
    /// let layer = Layer::dense(3, 2, Activation::Relu);
    /// assert_eq!((layer.weights, layer.biases), (vec![0.0; 2 * 3], vec![0.0; 2]));
    /// ```
    #[must_use]
    pub fn dense(inputs: usize, outputs: usize, activation: Activation) -> Self {
        Self {
            kind: LayerKind::Dense,
            inputs,
            outputs,
            activation,
            weights: vec![0.0; outputs * inputs],
            biases: vec![0.0; outputs],
            epsilon: 0.0,
            sources: Vec::new(),
        }
    }

    /// A layer norm whose weights are 1 and whose biases are 0, with an `epsilon` of 1e-5.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Activation;
    /// use fuseprop::reference::Layer;
    ///
    /// let layer = Layer::layer_norm(2, Activation::Identity);
    /// assert_eq!((layer.weights, layer.biases, layer.epsilon), (vec![1.0; 2], vec![0.0; 2], 1e-5));
    /// ```
    #[must_use]
    pub fn layer_norm(features: usize, activation: Activation) -> Self {
        Self {
            kind: LayerKind::LayerNorm,
            inputs: features,
            outputs: features,
            activation,
            weights: vec![1.0; features],
            biases: vec![0.0; features],
            epsilon: 1e-5,
            sources: Vec::new(),
        }
    }

    /// The same with weights in bf16.
    fn rounded(&self) -> Self {
        Self { weights: rounded(&self.weights), ..self.clone() }
    }

    fn forward(&self, x: &[f64], batch: usize) -> Pass {
        let zeros = vec![0.0; self.outputs];
        let biases = if self.biases.is_empty() { &zeros } else { &self.biases };
        let z = match self.kind {
            LayerKind::Dense => dense(x, &self.weights, biases, batch, self.inputs),
            LayerKind::LayerNorm => layer_norm(x, &self.weights, biases, self.epsilon),
            LayerKind::RmsNorm => rms_norm(x, &self.weights, biases, self.epsilon),
            LayerKind::Sum | LayerKind::Concat | LayerKind::Heads => x.to_vec(),
        };
        let y = z.chunks_exact(self.outputs).flat_map(|row| activate(self.activation, row)).collect();
        Pass { z, y }
    }

    /// `d_W` and `d_b`, if there are biases, one after the other, and `d_x`.
    fn backward(&self, d_z: &[f64], x: &[f64], batch: usize) -> (Vec<f64>, Vec<f64>) {
        let Self { inputs, outputs, ref weights, .. } = *self;
        let (mut gradient, d_x) = match self.kind {
            LayerKind::Dense => (
                weight_gradient(d_z, x, batch, inputs, outputs),
                input_gradient(d_z, weights, batch, inputs, outputs),
            ),
            LayerKind::LayerNorm => layer_norm_backward(d_z, x, weights, self.epsilon),
            LayerKind::RmsNorm => rms_norm_backward(d_z, x, weights, self.epsilon),
            LayerKind::Sum | LayerKind::Concat | LayerKind::Heads => (Vec::new(), d_z.to_vec()),
        };
        if !self.biases.is_empty() {
            gradient.extend(bias_gradient(d_z, batch, outputs));
        }
        (gradient, d_x)
    }

    /// `d_z`, `[B, O]`, from `d_y`, `[B, O]`.
    fn activation_backward(&self, pass: &Pass, d_y: &[f64], batch: usize) -> Vec<f64> {
        assert_eq!(d_y.len(), batch * self.outputs, "d_y is [batch, outputs]");
        let row = self.outputs;
        let rows = pass.z.chunks_exact(row).zip(pass.y.chunks_exact(row)).zip(d_y.chunks_exact(row));
        rows.flat_map(|((z, y), d_y)| activation_backward(self.activation, z, y, d_y)).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::Reduction;

    pub(in crate::reference) const BATCH: usize = 3;
    pub(in crate::reference) const CLASSES: [u32; BATCH] = [2, 0, 1];

    /// Numbers in `[-1, 1)`: the high bits of Knuth's MMIX congruential generator.
    pub(in crate::reference) fn uniform(seed: u64, count: usize) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// 4 - 5 - 3 with weights and biases in `[-1, 1)`.
    fn model(hidden: Activation, last: Activation) -> Model {
        let dense = |inputs, outputs, activation, seed| Layer {
            kind: LayerKind::Dense,
            inputs,
            outputs,
            activation,
            weights: uniform(seed, outputs * inputs),
            biases: uniform(seed + 1, outputs),
            epsilon: 1e-5,
            sources: Vec::new(),
        };
        Model {
            layers: vec![dense(4, 5, hidden, 11), dense(5, 3, last, 23)],
            scaler: None,
            precision: Precision::F32,
        }
    }

    /// The derivative of `f` at each coordinate of `at`, by central differences over `h` and `2h`.
    ///
    /// With `h = 2e-5` truncation is `h^4/30 f^(5)`, near 1e-20, and cancellation `u |f| / h`, near 1e-10
    /// here.
    fn central_differences(at: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
        const H: f64 = 2e-5;
        let mut point = at.to_vec();
        let mut across = |i: usize, h: f64| {
            point[i] = at[i] + h;
            let above = f(&point);
            point[i] = at[i] - h;
            let below = f(&point);
            point[i] = at[i];
            above - below
        };
        (0..at.len()).map(|i| (8.0 * across(i, H) - across(i, 2.0 * H)) / (12.0 * H)).collect()
    }

    /// An order above the 1e-10 of [`central_differences`], for the larger values.
    #[track_caller]
    fn assert_gradient(found: &[f64], expected: &[f64], what: &str) {
        assert_eq!(found.len(), expected.len(), "{what}");
        assert!(expected.iter().any(|d| d.abs() > 1e-3), "{what}: the gradient must not vanish");
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let bound = 2e-9 * expected.abs().max(1.0);
            assert!((found - expected).abs() <= bound, "{what}: {i}: {found} against {expected}");
        }
    }

    fn check_gradients(model: &Model, targets: Targets<'_, f64>, loss: Loss) {
        let x = uniform(31, BATCH * 4);
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let what = format!(
                "{:?}, {loss:?}, {reduction:?}",
                model.layers.iter().map(|l| l.activation).collect::<Vec<_>>()
            );
            let loss_at = |model: &Model, x: &[f64]| {
                model.loss_and_gradients(x, targets, BATCH, Objective::new(loss, reduction)).0
            };
            let by_parameters = central_differences(&model.parameters(), |parameters| {
                let mut moved = model.clone();
                moved.set_parameters(parameters);
                loss_at(&moved, &x)
            });
            let by_inputs = central_differences(&x, |x| loss_at(model, x));
            let (_, gradients) =
                model.loss_and_gradients(&x, targets, BATCH, Objective::new(loss, reduction));
            assert_gradient(&gradients.parameters, &by_parameters, &what);
            assert_gradient(&gradients.inputs, &by_inputs, &what);
        }
    }

    #[test]
    fn gradients_of_the_squared_error_are_central_differences() {
        let t = uniform(41, BATCH * 3);
        // A squared clipped ReLU whose sums are all outside has no gradient to compare.
        let last = Activation::hidden().filter(|&last| last != Activation::SquaredClippedRelu);
        for hidden in Activation::hidden() {
            for last in last.clone().chain([Activation::Softmax]) {
                check_gradients(&model(hidden, last), Targets::from(&t), Loss::MeanSquaredError);
            }
        }
    }

    #[test]
    fn gradients_through_a_scaler_are_central_differences() {
        let scaler = Some(vec![(0.5, 2.0), (-1.0, 0.25), (0.0, 1.0), (3.0, 5.0)]);
        let model = Model { scaler, ..model(Activation::Tanh, Activation::Identity) };
        let t = uniform(41, BATCH * 3);
        check_gradients(&model, Targets::from(&t), Loss::MeanSquaredError);
    }

    #[test]
    fn gradients_of_the_cross_entropy_are_central_differences() {
        // Rows that do not sum to 1 see the factor sum(t) in the gradient.
        let t: Vec<f64> = uniform(43, BATCH * 3).into_iter().map(f64::abs).collect();
        for hidden in Activation::hidden() {
            for last in [Activation::Identity, Activation::Tanh, Activation::Softmax] {
                let model = model(hidden, last);
                check_gradients(&model, Targets::from(&t), Loss::SoftmaxCrossEntropy);
                check_gradients(&model, Targets::from(&CLASSES), Loss::SoftmaxCrossEntropy);
            }
        }
    }

    #[test]
    fn backward_takes_the_gradient_of_any_loss_of_the_outputs() {
        let x = uniform(31, BATCH * 4);
        let d_outputs = uniform(51, BATCH * 3);
        let weighted = |model: &Model, x: &[f64]| -> f64 {
            model.predict(x, BATCH).iter().zip(&d_outputs).map(|(y, d)| y * d).sum()
        };
        for &last in Activation::EVERY {
            let model = model(Activation::Tanh, last);
            let by_parameters = central_differences(&model.parameters(), |parameters| {
                let mut moved = model.clone();
                moved.set_parameters(parameters);
                weighted(&moved, &x)
            });
            let gradients = model.backward(&x, &d_outputs, BATCH);
            assert_gradient(&gradients.parameters, &by_parameters, &format!("{last:?}"));
            let by_inputs = central_differences(&x, |x| weighted(&model, x));
            assert_gradient(&gradients.inputs, &by_inputs, &format!("{last:?}"));
        }
    }

    #[test]
    fn softmax_on_top_changes_the_outputs_but_not_the_cross_entropy() {
        let x = uniform(31, BATCH * 4);
        let loss_of = |last| {
            let targets = Targets::from(&CLASSES);
            let objective = Objective::new(Loss::SoftmaxCrossEntropy, Reduction::Mean);
            model(Activation::Tanh, last).loss_and_gradients(&x, targets, BATCH, objective)
        };
        assert_eq!(loss_of(Activation::Softmax), loss_of(Activation::Identity));
        let predict = |last| model(Activation::Tanh, last).predict(&x, BATCH);
        assert_ne!(predict(Activation::Softmax), predict(Activation::Identity));
    }

    #[test]
    fn a_step_moves_every_parameter_by_rate_times_gradient_and_lowers_the_loss() {
        let x = uniform(31, BATCH * 4);
        let mut model = model(Activation::Tanh, Activation::Identity);
        let before = model.parameters();
        let targets = Targets::from(&CLASSES);
        let objective = Objective::new(Loss::SoftmaxCrossEntropy, Reduction::Mean);
        let (loss_before, gradients) = model.loss_and_gradients(&x, targets, BATCH, objective);
        let returned = model.step(&x, targets, BATCH, objective, 0.125);
        assert_eq!(returned, loss_before);
        let expected: Vec<f64> =
            before.iter().zip(&gradients.parameters).map(|(p, d)| p - 0.125 * d).collect();
        assert_eq!(model.parameters(), expected);
        let after = model.loss_and_gradients(&x, targets, BATCH, objective).0;
        assert!(after < loss_before);
    }

    #[test]
    #[should_panic(expected = "softmax is for the last layer only")]
    fn softmax_before_the_last_layer_panics() {
        let _ = model(Activation::Softmax, Activation::Identity).predict(&[0.0; 4], 1);
    }
}
