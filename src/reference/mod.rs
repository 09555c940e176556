//! What every fast result is held against: the same mathematics by plain loops in `f64`.
//!
//! Nothing here is shared with the fast path: no kernels, no layouts, no threads, no workspace. Every function
//! allocates its result and sums in the order in which the formula is written, so that a page of a textbook can be
//! read beside it. Use it to check a network, never to train a large one.
//!
//! Shape letters: `B` batch, `I` inputs, `O` outputs. Every array is row-major without padding: `x` is `[B, I]`,
//! `z` and `y` are `[B, O]`, weights are `[O, I]` and biases `[O]`. `d_` marks the gradient of the loss with
//! respect to what follows. Parameters and their gradients are in canonical order, `W0 b0 W1 b1 ..`.
//!
//! ```text
//! forward    z = x W^T + b            y   = f(z)
//! backward   d_z = d_y f'(z)          d_W = d_z^T x      d_b = sum over rows of d_z      d_x = d_z W
//! ```
//!
//! # Panics
//!
//! Unlike the fast path, which returns an [`Error`](crate::Error), every function here panics if a slice has
//! another length than its shape, if a class index is not below the number of outputs, if class indices are given
//! to another loss than [`Loss::SoftmaxCrossEntropy`], or if [`Activation::Softmax`] stands before the last layer.

use crate::{Activation, Element, LayerKind, Loss, Network, Reduction, Targets};

/// A layer: `y = f(x W^T + b)`, or `y = f(w (x - mean x) / sqrt(var x + 1e-5) + b)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Which of both.
    pub kind: LayerKind,
    /// `I`.
    pub inputs: usize,
    /// `O`.
    pub outputs: usize,
    /// Applied to each sum.
    pub activation: Activation,
    /// `[outputs, inputs]`, of a layer norm `[outputs]`.
    pub weights: Vec<f64>,
    /// `[outputs]`.
    pub biases: Vec<f64>,
}

/// A feed-forward network: layers, each reading the outputs of the one before.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// First to last.
    pub layers: Vec<Layer>,
    /// The mean and the deviation of each input, which becomes `(x - mean) / deviation` first.
    pub scaler: Option<Vec<(f64, f64)>>,
}

/// What a backward pass gives.
#[derive(Clone, Debug, PartialEq)]
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
    /// The same network in `f64`: same layers, same parameters.
    pub fn of<T: Element>(network: &Network<T>) -> Self {
        let layers = (0..network.layer_count())
            .filter_map(|l| network.layer(l))
            .map(|layer| {
                let (inputs, outputs) = (layer.inputs(), layer.outputs());
                let kind = layer.kind();
                let weights = if kind == LayerKind::Dense { outputs * inputs } else { outputs };
                Layer {
                    kind,
                    inputs,
                    outputs,
                    activation: layer.activation(),
                    weights: vec![0.0; weights],
                    biases: vec![0.0; outputs],
                }
            })
            .collect();
        let mut parameters = vec![T::ZERO; network.parameter_count()];
        network.read_parameters(&mut parameters).expect("the slice has the network's own parameter count");
        let parameters: Vec<f64> = parameters.into_iter().map(|p| p.to_f64()).collect();
        let scaler = network.scaler().map(|scaler| {
            let pairs = scaler.means().iter().zip(scaler.stds());
            pairs.map(|(mean, deviation)| (mean.to_f64(), deviation.to_f64())).collect()
        });
        let mut model = Self { layers, scaler };
        model.set_parameters(&parameters);
        model
    }

    /// The outputs of every layer, `[B, O]` each; the last are the network's.
    pub fn forward(&self, x: &[f64], batch: usize) -> Vec<Vec<f64>> {
        self.passes(x, batch).into_iter().map(|pass| pass.y).collect()
    }

    /// The network's outputs, `[B, O]` of its last layer.
    pub fn predict(&self, x: &[f64], batch: usize) -> Vec<f64> {
        self.forward(x, batch).pop().expect("a network has at least one layer")
    }

    /// The loss over a batch and its gradient with respect to the parameters, in canonical order.
    ///
    /// [`Loss::SoftmaxCrossEntropy`] takes logits. A network that ends in [`Activation::Softmax`] hands it the
    /// logits beneath that softmax, so that both forms of a classifier train alike; so does one that ends in
    /// [`Activation::Sigmoid`] with [`Loss::BinaryCrossEntropyWithLogits`].
    pub fn loss_and_gradient(
        &self,
        x: &[f64],
        targets: Targets<'_, f64>,
        batch: usize,
        loss: Loss,
        reduction: Reduction,
    ) -> (f64, Vec<f64>) {
        self.weighted_loss_and_gradient((x, targets), batch, (loss, reduction), Weights::default())
    }

    /// [`Model::loss_and_gradient`] with weights, as in [`weighted_loss`].
    pub fn weighted_loss_and_gradient(
        &self,
        (x, targets): (&[f64], Targets<'_, f64>),
        batch: usize,
        (loss, reduction): (Loss, Reduction),
        weights: Weights<'_>,
    ) -> (f64, Vec<f64>) {
        let (value, gradients) = self.loss_and_gradients((x, targets), batch, (loss, reduction), weights);
        (value, gradients.parameters)
    }

    /// Gradient of the loss over a batch with respect to the network's inputs, `[B, I]`.
    pub fn input_gradients(
        &self,
        x: &[f64],
        targets: Targets<'_, f64>,
        batch: usize,
        loss: Loss,
        reduction: Reduction,
    ) -> Vec<f64> {
        self.loss_and_gradients((x, targets), batch, (loss, reduction), Weights::default()).1.inputs
    }

    /// Gradients of a loss of the caller's own, given its gradient `d_outputs`, `[B, O]`, with respect to the
    /// network's outputs (after the last activation).
    pub fn backward(&self, x: &[f64], d_outputs: &[f64], batch: usize) -> Gradients {
        let passes = self.passes(x, batch);
        let (layer, pass) = self.last(&passes);
        let d_z = layer.activation_backward(pass, d_outputs, batch);
        self.backward_from(x, &passes, d_z, batch)
    }

    /// One step of plain gradient descent, `p -= learning_rate * d_p`. The loss is that before the step.
    pub fn step(
        &mut self,
        x: &[f64],
        targets: Targets<'_, f64>,
        batch: usize,
        loss: Loss,
        reduction: Reduction,
        learning_rate: f64,
    ) -> f64 {
        let (value, gradient) = self.loss_and_gradient(x, targets, batch, loss, reduction);
        let mut parameters = self.parameters();
        for (p, d_p) in parameters.iter_mut().zip(gradient) {
            *p -= learning_rate * d_p;
        }
        self.set_parameters(&parameters);
        value
    }

    /// Every parameter in canonical order.
    pub fn parameters(&self) -> Vec<f64> {
        self.layers.iter().flat_map(|layer| layer.weights.iter().chain(&layer.biases)).copied().collect()
    }

    /// Overwrites every parameter, in canonical order.
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

    fn loss_and_gradients(
        &self,
        (x, targets): (&[f64], Targets<'_, f64>),
        batch: usize,
        (loss, reduction): (Loss, Reduction),
        weights: Weights<'_>,
    ) -> (f64, Gradients) {
        let x = &read_rows(x, &targets, batch, self.last_layer().outputs);
        let passes = self.passes(x, batch);
        let (layer, pass) = self.last(&passes);
        let on_logits = matches!(
            (loss, layer.activation),
            (Loss::SoftmaxCrossEntropy, Activation::Softmax)
                | (Loss::BinaryCrossEntropyWithLogits, Activation::Sigmoid)
        );
        let outputs = if on_logits { &pass.z } else { &pass.y };
        let (value, d_outputs) =
            weighted_loss(loss, reduction, (outputs, targets), (batch, layer.outputs), weights);
        let d_z = if on_logits { d_outputs } else { layer.activation_backward(pass, &d_outputs, batch) };
        (value, self.backward_from(x, &passes, d_z, batch))
    }

    fn scaled(&self, x: &[f64]) -> Vec<f64> {
        let Some(scaler) = &self.scaler else { return x.to_vec() };
        x.iter().zip(scaler.iter().cycle()).map(|(x, (mean, deviation))| (x - mean) / deviation).collect()
    }

    fn passes(&self, x: &[f64], batch: usize) -> Vec<Pass> {
        let last = self.layers.len() - 1;
        let mut passes: Vec<Pass> = Vec::new();
        let x = &self.scaled(x);
        for (l, layer) in self.layers.iter().enumerate() {
            assert!(
                l == last || layer.activation != Activation::Softmax,
                "softmax is for the last layer only"
            );
            let inputs = passes.last().map_or(x, |below| &below.y);
            passes.push(layer.forward(inputs, batch));
        }
        passes
    }

    fn last_layer(&self) -> &Layer {
        self.layers.last().expect("a network has at least one layer")
    }

    fn last<'a>(&'a self, passes: &'a [Pass]) -> (&'a Layer, &'a Pass) {
        let layer = self.last_layer();
        let pass = passes.last().expect("a forward pass leaves one per layer");
        (layer, pass)
    }

    /// The backward pass, given `d_z` of the last layer.
    fn backward_from(&self, x: &[f64], passes: &[Pass], mut d_z: Vec<f64>, batch: usize) -> Gradients {
        let mut per_layer = Vec::new();
        let x = &self.scaled(x);
        for l in (0..self.layers.len()).rev() {
            let below = if l == 0 { x } else { &passes[l - 1].y };
            let (gradient, d_x) = self.layers[l].backward(&d_z, below, batch);
            per_layer.push(gradient);
            d_z = if l == 0 {
                d_x
            } else {
                self.layers[l - 1].activation_backward(&passes[l - 1], &d_x, batch)
            };
        }
        per_layer.reverse();
        if let Some(scaler) = &self.scaler {
            for (d_x, (_, deviation)) in d_z.iter_mut().zip(scaler.iter().cycle()) {
                *d_x /= deviation;
            }
        }
        Gradients { parameters: per_layer.concat(), inputs: d_z }
    }
}

impl Layer {
    fn forward(&self, x: &[f64], batch: usize) -> Pass {
        let z = match self.kind {
            LayerKind::Dense => dense(x, &self.weights, &self.biases, batch, self.inputs, self.outputs),
            LayerKind::LayerNorm => layer_norm(x, &self.weights, &self.biases),
        };
        let y = z.chunks_exact(self.outputs).flat_map(|row| activate(self.activation, row)).collect();
        Pass { z, y }
    }

    /// `d_W` and `d_b`, one after the other, and `d_x`.
    fn backward(&self, d_z: &[f64], x: &[f64], batch: usize) -> (Vec<f64>, Vec<f64>) {
        let Self { inputs, outputs, ref weights, .. } = *self;
        let (mut gradient, d_x) = match self.kind {
            LayerKind::Dense => (
                weight_gradient(d_z, x, batch, inputs, outputs),
                input_gradient(d_z, weights, batch, inputs, outputs),
            ),
            LayerKind::LayerNorm => layer_norm_backward(d_z, x, weights),
        };
        gradient.extend(bias_gradient(d_z, batch, outputs));
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

/// An activation over one row: `y = f(z)`.
///
/// `z` and the result are `[O]`. Softmax is `y_i = exp(z_i - m) / sum_j exp(z_j - m)` with `m = max_j z_j`, which
/// cancels and keeps `exp` from overflowing. NaN gives NaN.
pub fn activate(activation: Activation, z: &[f64]) -> Vec<f64> {
    let each = |f: &dyn Fn(f64) -> f64| z.iter().map(|&z| f(z)).collect();
    match activation {
        Activation::Identity => z.to_vec(),
        Activation::Sigmoid => each(&|z| 1.0 / (1.0 + (-z).exp())),
        Activation::Tanh => each(&f64::tanh),
        Activation::Relu => each(&|z| if z <= 0.0 { 0.0 } else { z }),
        Activation::LeakyRelu { slope } => each(&|z| if z <= 0.0 { slope * z } else { z }),
        Activation::Elu { alpha } => each(&|z| if z <= 0.0 { alpha * z.exp_m1() } else { z }),
        Activation::Selu => each(&|z| SELU_SCALE * if z <= 0.0 { SELU_ALPHA * z.exp_m1() } else { z }),
        Activation::Gelu => each(&|z| z * normal_below(z)),
        Activation::GeluTanh => each(&|z| z / (1.0 + (-2.0 * gelu_tanh_argument(z)).exp())),
        Activation::Silu => each(&|z| z / (1.0 + (-z).exp())),
        Activation::Softplus => each(&|z| if z > 20.0 { z } else { z.exp().ln_1p() }),
        Activation::HardSigmoid => each(&|z| (z / 6.0 + 0.5).clamp(0.0, 1.0)),
        Activation::HardTanh { min, max } => each(&|z| z.clamp(min, max)),
        Activation::SquaredClippedRelu => each(&|z| z.clamp(0.0, 1.0).powi(2)),
        Activation::Sine { frequency } => each(&|z| (frequency * z).sin()),
        Activation::Softmax => {
            let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = z.iter().map(|z| (z - max).exp()).sum();
            each(&|z| (z - max).exp() / sum)
        }
    }
}

/// Gradient through an activation over one row: `d_z = d_y f'(z)`.
///
/// All are `[O]`, with `y = f(z)`. At `z = 0` the derivative of ReLU is 0 and that of leaky ReLU its slope. Softmax
/// mixes its row: `d_z_i = y_i (d_y_i - sum_j d_y_j y_j)`.
///
/// # Panics
/// If `z`, `y` and `d_y` differ in length.
pub fn activation_backward(activation: Activation, z: &[f64], y: &[f64], d_y: &[f64]) -> Vec<f64> {
    assert!(z.len() == y.len() && y.len() == d_y.len(), "z, y and d_y have one length");
    let each = |f: &dyn Fn(usize) -> f64| (0..z.len()).map(f).collect();
    match activation {
        Activation::Identity => d_y.to_vec(),
        Activation::Sigmoid => each(&|i| d_y[i] * (y[i] * (1.0 - y[i]))),
        Activation::Tanh => each(&|i| d_y[i] * (1.0 - y[i] * y[i])),
        Activation::Relu => each(&|i| if z[i] <= 0.0 { 0.0 } else { d_y[i] }),
        Activation::LeakyRelu { slope } => each(&|i| if z[i] <= 0.0 { slope * d_y[i] } else { d_y[i] }),
        Activation::Elu { alpha } => each(&|i| d_y[i] * if z[i] <= 0.0 { alpha * z[i].exp() } else { 1.0 }),
        Activation::Selu => {
            each(&|i| d_y[i] * (SELU_SCALE * if z[i] <= 0.0 { SELU_ALPHA * z[i].exp() } else { 1.0 }))
        }
        Activation::Gelu => each(&|i| d_y[i] * (normal_below(z[i]) + z[i] * normal_density(z[i]))),
        Activation::GeluTanh => each(&|i| {
            let sigmoid = 1.0 / (1.0 + (-2.0 * gelu_tanh_argument(z[i])).exp());
            let d_argument = GELU_TANH_SLOPE * (1.0 + 3.0 * 0.044715 * z[i] * z[i]);
            d_y[i] * (sigmoid + 2.0 * z[i] * sigmoid * (1.0 - sigmoid) * d_argument)
        }),
        Activation::Silu => each(&|i| {
            let sigmoid = 1.0 / (1.0 + (-z[i]).exp());
            d_y[i] * (sigmoid * (1.0 + z[i] * (1.0 - sigmoid)))
        }),
        Activation::Softplus => {
            each(&|i| d_y[i] * if z[i] > 20.0 { 1.0 } else { 1.0 / (1.0 + (-z[i]).exp()) })
        }
        Activation::HardSigmoid => each(&|i| if y[i] <= 0.0 || y[i] >= 1.0 { 0.0 } else { d_y[i] / 6.0 }),
        Activation::HardTanh { min, max } => each(&|i| if z[i] <= min || z[i] >= max { 0.0 } else { d_y[i] }),
        Activation::SquaredClippedRelu => {
            each(&|i| if z[i] <= 0.0 || z[i] >= 1.0 { 0.0 } else { d_y[i] * (2.0 * z[i]) })
        }
        Activation::Sine { frequency } => each(&|i| d_y[i] * (frequency * (frequency * z[i]).cos())),
        Activation::Softmax => {
            let dot: f64 = d_y.iter().zip(y).map(|(d_y, y)| d_y * y).sum();
            each(&|i| y[i] * (d_y[i] - dot))
        }
    }
}

/// Klambauer et al. 2017, equation 14.
const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

/// `sqrt(2 / pi)`.
const GELU_TANH_SLOPE: f64 = 0.797_884_560_802_865_4;

fn gelu_tanh_argument(z: f64) -> f64 {
    GELU_TANH_SLOPE * (z + 0.044715 * z * z * z)
}

/// The density of a standard normal at `z`.
fn normal_density(z: f64) -> f64 {
    (-0.5 * z * z).exp() / (2.0 * core::f64::consts::PI).sqrt()
}

/// The probability that a standard normal is at most `z`.
///
/// For `|z| < 3` the series `1/2 + phi(z) (z + z^3/3 + z^5/15 + ..)`, beyond it Laplace's continued fraction of the
/// tail, `phi(z) / (z + 1/(z + 2/(z + 3/(z + ..))))` (Abramowitz and Stegun, 26.2.11 and 26.2.14).
fn normal_below(z: f64) -> f64 {
    if z.is_nan() {
        return z;
    }
    if z.abs() < 3.0 {
        let (mut term, mut sum) = (z, z);
        for odd in (3..200).step_by(2) {
            term *= z * z / f64::from(odd);
            sum += term;
        }
        return 0.5 + normal_density(z) * sum;
    }
    let fraction = (1..200).rev().fold(z.abs(), |below, k| z.abs() + f64::from(k) / below);
    let tail = normal_density(z) / fraction;
    if z < 0.0 { tail } else { 1.0 - tail }
}

/// A loss over a batch, and its gradient with respect to `outputs`.
///
/// `outputs` and the gradient are `[B, O]`, with `O = n_outputs`; targets are values `[B, O]` or classes `[B]`.
///
/// ```text
/// MeanSquaredError               L = sum (y - t)^2                       d_y = 2 (y - t)                  mean: / (B O)
/// MeanAbsoluteError              L = sum |y - t|                         d_y = sign(y - t)                mean: / (B O)
/// Huber                          L = sum (y - t)^2 / 2 near,             d_y = y - t near,
///                                    delta (|y - t| - delta / 2) far     delta sign(y - t) far            mean: / (B O)
/// BinaryCrossEntropyWithLogits   L = sum log(1 + e^z) - t z              d_z = sigmoid(z) - t             mean: / (B O)
/// SoftmaxCrossEntropy            L = -sum t log softmax(z), z = outputs  d_z = softmax(z) sum_j t_j - t   mean: / B
/// ```
///
/// A class is the target that is 1 at its index and 0 elsewhere. Targets given as probabilities need not sum to 1.
///
/// # Panics
/// If a length does not match its shape, a class is not below `n_outputs`, or classes meet another loss than
/// `SoftmaxCrossEntropy`.
pub fn loss(
    loss: Loss,
    reduction: Reduction,
    outputs: &[f64],
    targets: Targets<'_, f64>,
    batch: usize,
    n_outputs: usize,
) -> (f64, Vec<f64>) {
    weighted_loss(loss, reduction, (outputs, targets), (batch, n_outputs), Weights::default())
}

/// What [`weighted_loss`] is told about classes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weights<'a> {
    /// One for each class, `[O]`, for `SoftmaxCrossEntropy`; all 1 if there are none.
    pub classes: Option<&'a [f64]>,
    /// The share of each target that is spread over the classes, for `SoftmaxCrossEntropy`.
    pub label_smoothing: f64,
}

/// [`loss`] with weights: each row's loss is multiplied by the weight `s` that rides with the targets, each element's by its
/// mask `m`, and cross-entropy's targets become `w_j ((1 - smoothing) t_j + smoothing / O)`. What weighs 0 is not read.
///
/// A mean divides by `O sum s`, with a mask by `sum s m`, for cross-entropy by `sum s`, or by `sum s w_class` where targets
/// are classes.
///
/// # Panics
/// As [`loss`].
pub fn weighted_loss(
    loss: Loss,
    reduction: Reduction,
    (outputs, targets): (&[f64], Targets<'_, f64>),
    (batch, n_outputs): (usize, usize),
    weights: Weights<'_>,
) -> (f64, Vec<f64>) {
    assert_eq!(outputs.len(), batch * n_outputs, "outputs are [batch, n_outputs]");
    let (mut sum, mut terms, mut d_outputs) = (0.0, 0.0, Vec::new());
    for (row, y) in outputs.chunks_exact(n_outputs).enumerate() {
        let sample = targets.row_weights().map_or(1.0, |samples| samples[row]);
        if sample == 0.0 {
            d_outputs.extend(vec![0.0; n_outputs]);
            continue;
        }
        let mask = targets
            .element_mask()
            .map_or(vec![1.0; n_outputs], |mask| mask[row * n_outputs..][..n_outputs].to_vec());
        let class_weight = |j: usize| weights.classes.map_or(1.0, |classes| classes[j]);
        let (t, of_mean) = match targets.classes() {
            None => {
                let t = targets.values().unwrap_or_default();
                assert_eq!(t.len(), outputs.len(), "target values are [batch, n_outputs]");
                (t[row * n_outputs..][..n_outputs].to_vec(), 1.0)
            }
            Some(classes) => {
                assert!(loss == Loss::SoftmaxCrossEntropy, "{loss:?} compares values, not classes");
                assert_eq!(classes.len(), batch, "target classes are [batch]");
                let class = classes[row] as usize;
                assert!(class < n_outputs, "class {class} of {n_outputs}");
                ((0..n_outputs).map(|j| f64::from(j == class)).collect(), class_weight(class))
            }
        };
        let (value, d_y) = if loss == Loss::SoftmaxCrossEntropy {
            let e = weights.label_smoothing;
            let smoothed = |j: usize| class_weight(j) * ((1.0 - e) * t[j] + e / n_outputs as f64);
            terms += sample * of_mean;
            cross_entropy(y, &(0..n_outputs).map(smoothed).collect::<Vec<_>>())
        } else {
            terms += sample * mask.iter().sum::<f64>();
            let element = |j: usize| match mask[j] {
                0.0 => (0.0, 0.0),
                weight => {
                    let (value, slope) = element_loss(loss, y[j], t[j]);
                    (weight * value, weight * slope)
                }
            };
            let each: Vec<_> = (0..n_outputs).map(element).collect();
            (each.iter().map(|each| each.0).sum(), each.iter().map(|each| each.1).collect())
        };
        sum += sample * value;
        d_outputs.extend(d_y.iter().map(|d| sample * d));
    }
    let scale = match reduction {
        Reduction::Sum => 1.0,
        Reduction::Mean if terms == 0.0 => 0.0,
        Reduction::Mean => 1.0 / terms,
    };
    for d in &mut d_outputs {
        *d *= scale;
    }
    (sum * scale, d_outputs)
}

/// The rows of `x` `[B, I]`, with 0 in those of weight 0, which are not read.
fn read_rows(x: &[f64], targets: &Targets<'_, f64>, batch: usize, n_outputs: usize) -> Vec<f64> {
    let weighs = |row: usize| {
        targets.row_weights().is_none_or(|weights| weights[row] != 0.0)
            && targets
                .element_mask()
                .is_none_or(|mask| mask[row * n_outputs..][..n_outputs] != vec![0.0; n_outputs])
    };
    let rows = x.chunks_exact(x.len() / batch).enumerate();
    rows.flat_map(|(row, x)| if weighs(row) { x.to_vec() } else { vec![0.0; x.len()] }).collect()
}

/// One element's loss and slope, of a loss that is a sum over elements.
fn element_loss(loss: Loss, y: f64, t: f64) -> (f64, f64) {
    let difference = y - t;
    match loss {
        Loss::MeanSquaredError => (difference * difference, 2.0 * difference),
        Loss::MeanAbsoluteError if difference == 0.0 => (0.0, 0.0),
        Loss::MeanAbsoluteError => (difference.abs(), difference.signum()),
        Loss::Huber { delta } if difference.abs() <= delta => (0.5 * difference * difference, difference),
        Loss::Huber { delta } => (delta * (difference.abs() - 0.5 * delta), delta * difference.signum()),
        Loss::BinaryCrossEntropyWithLogits => {
            (y.max(0.0) - t * y + (-y.abs()).exp().ln_1p(), 1.0 / (1.0 + (-y).exp()) - t)
        }
        Loss::SoftmaxCrossEntropy => unreachable!("a sum over rows"),
    }
}

/// One row's cross entropy, and `d_z`. `z`, `t` and `d_z` are `[O]`.
fn cross_entropy(z: &[f64], t: &[f64]) -> (f64, Vec<f64>) {
    let log_y = log_softmax(z);
    let total: f64 = t.iter().sum();
    // A target of 0 is no loss even where a probability is 0.
    let value = -t.iter().zip(&log_y).map(|(&t, log_y)| if t == 0.0 { 0.0 } else { t * log_y }).sum::<f64>();
    (value, log_y.iter().zip(t).map(|(log_y, t)| log_y.exp() * total - t).collect())
}

/// `log softmax(z)_i = z_i - m - log sum_j exp(z_j - m)` with `m = max_j z_j`. Both are `[O]`.
fn log_softmax(z: &[f64]) -> Vec<f64> {
    let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = z.iter().map(|z| (z - max).exp()).sum::<f64>().ln();
    z.iter().map(|z| z - max - log_sum).collect()
}

/// A dense layer before its activation: `z = x W^T + b`.
///
/// `x` is `[B, I]`, `weights` `[O, I]`, `biases` `[O]`, the result `[B, O]`.
///
/// # Panics
/// If a length does not match its shape.
pub fn dense(
    x: &[f64],
    weights: &[f64],
    biases: &[f64],
    batch: usize,
    inputs: usize,
    outputs: usize,
) -> Vec<f64> {
    assert_eq!(x.len(), batch * inputs, "x is [batch, inputs]");
    assert_eq!(weights.len(), outputs * inputs, "weights are [outputs, inputs]");
    assert_eq!(biases.len(), outputs, "biases are [outputs]");
    let mut z = vec![0.0; batch * outputs];
    for row in 0..batch {
        for o in 0..outputs {
            let mut sum = biases[o];
            for i in 0..inputs {
                sum += x[row * inputs + i] * weights[o * inputs + i];
            }
            z[row * outputs + o] = sum;
        }
    }
    z
}

/// Layer normalisation: `z = w (x - mean x) / sqrt(var x + 1e-5) + b` in each row.
///
/// `x` and the result are `[B, O]`, `weights` and `biases` `[O]`.
///
/// # Panics
/// If a length does not match its shape.
pub fn layer_norm(x: &[f64], weights: &[f64], biases: &[f64]) -> Vec<f64> {
    let n = weights.len();
    assert_eq!(biases.len(), n, "biases are [outputs]");
    assert_eq!(x.len() % n, 0, "x is [batch, outputs]");
    let mut z = Vec::new();
    for row in x.chunks_exact(n) {
        let (normal, _) = normalize(row);
        z.extend((0..n).map(|o| weights[o] * normal[o] + biases[o]));
    }
    z
}

/// Gradients of a layer normalisation with respect to its weights, `[O]`, and to its input, `[B, O]`:
/// `d_w = sum over rows of d_z xhat`, `d_x = (g - mean g - xhat mean(g xhat)) / sqrt(var x + 1e-5)` with `g = d_z w`
/// and `xhat = (x - mean x) / sqrt(var x + 1e-5)`.
///
/// # Panics
/// If a length does not match its shape.
pub fn layer_norm_backward(d_z: &[f64], x: &[f64], weights: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let n = weights.len();
    assert_eq!(d_z.len(), x.len(), "d_z and x are [batch, outputs]");
    assert_eq!(x.len() % n, 0, "x is [batch, outputs]");
    let (mut d_w, mut d_x) = (vec![0.0; n], Vec::new());
    for (row, d_z) in x.chunks_exact(n).zip(d_z.chunks_exact(n)) {
        let (normal, deviation) = normalize(row);
        let g: Vec<f64> = (0..n).map(|o| d_z[o] * weights[o]).collect();
        let mean_g = g.iter().sum::<f64>() / n as f64;
        let mean_product = (0..n).map(|o| g[o] * normal[o]).sum::<f64>() / n as f64;
        for o in 0..n {
            d_w[o] += d_z[o] * normal[o];
            d_x.push((g[o] - mean_g - normal[o] * mean_product) / deviation);
        }
    }
    (d_w, d_x)
}

/// `xhat` of one row, and `sqrt(var x + 1e-5)`.
fn normalize(row: &[f64]) -> (Vec<f64>, f64) {
    let n = row.len() as f64;
    let mean = row.iter().sum::<f64>() / n;
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    let deviation = (variance + 1e-5).sqrt();
    (row.iter().map(|x| (x - mean) / deviation).collect(), deviation)
}

/// What dropout multiplies the outputs `[B, O]` of one layer by in one training pass: 0 or `1 / (1 - share)`.
///
/// `seed` is the trainer's, `pass` the number of the pass from 1, `layer` counts from 0. With `mix` the finisher of
/// SplitMix64 and `G = 0x9e3779b97f4a7c15`, a layer's key is `mix(mix(mix(seed) + pass) + layer)`, and elements
/// `2 i` and `2 i + 1` of row `r` are left out if the low or the high half of `mix(key + (2^32 r + i + 1) G)` is
/// below `2^32 share`.
pub fn dropout_factors(
    (seed, pass, layer): (u64, u64, usize),
    share: f64,
    (batch, n_outputs): (usize, usize),
) -> Vec<f64> {
    fn mix(z: u64) -> u64 {
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        z ^ (z >> 31)
    }
    let key = mix(mix(mix(seed).wrapping_add(pass)).wrapping_add(layer as u64));
    let mut factors = Vec::new();
    for row in 0..batch as u64 {
        for o in 0..n_outputs as u64 {
            let counter = (row << 32) + o / 2 + 1;
            let number = mix(key.wrapping_add(counter.wrapping_mul(0x9e3779b97f4a7c15)));
            let half = if o % 2 == 0 { number & 0xffff_ffff } else { number >> 32 };
            factors.push(if (half as f64) < (share * 4_294_967_296.0).round() {
                0.0
            } else {
                1.0 / (1.0 - share)
            });
        }
    }
    factors
}

/// Gradient of a dense layer with respect to its input: `d_x = d_z W`.
///
/// `d_z` is `[B, O]`, `weights` `[O, I]`, the result `[B, I]`.
///
/// # Panics
/// If a length does not match its shape.
///
/// Goodfellow, Bengio, Courville, *Deep Learning*, section 6.5.
pub fn input_gradient(d_z: &[f64], weights: &[f64], batch: usize, inputs: usize, outputs: usize) -> Vec<f64> {
    assert_eq!(d_z.len(), batch * outputs, "d_z is [batch, outputs]");
    assert_eq!(weights.len(), outputs * inputs, "weights are [outputs, inputs]");
    let mut d_x = vec![0.0; batch * inputs];
    for row in 0..batch {
        for i in 0..inputs {
            for o in 0..outputs {
                d_x[row * inputs + i] += d_z[row * outputs + o] * weights[o * inputs + i];
            }
        }
    }
    d_x
}

/// Gradient of a dense layer with respect to its weights: `d_W = d_z^T x`, summed over the batch.
///
/// `d_z` is `[B, O]`, `x` `[B, I]`, the result `[O, I]`.
///
/// # Panics
/// If a length does not match its shape.
pub fn weight_gradient(d_z: &[f64], x: &[f64], batch: usize, inputs: usize, outputs: usize) -> Vec<f64> {
    assert_eq!(d_z.len(), batch * outputs, "d_z is [batch, outputs]");
    assert_eq!(x.len(), batch * inputs, "x is [batch, inputs]");
    let mut d_weights = vec![0.0; outputs * inputs];
    for o in 0..outputs {
        for i in 0..inputs {
            for row in 0..batch {
                d_weights[o * inputs + i] += d_z[row * outputs + o] * x[row * inputs + i];
            }
        }
    }
    d_weights
}

/// Gradient of a dense layer with respect to its biases: `d_b`, the sum of `d_z` over the batch.
///
/// `d_z` is `[B, O]`, the result `[O]`.
///
/// # Panics
/// If a length does not match its shape.
pub fn bias_gradient(d_z: &[f64], batch: usize, outputs: usize) -> Vec<f64> {
    assert_eq!(d_z.len(), batch * outputs, "d_z is [batch, outputs]");
    (0..outputs).map(|o| (0..batch).map(|row| d_z[row * outputs + o]).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: usize = 3;
    const CLASSES: [u32; BATCH] = [2, 0, 1];
    const HIDDEN: [Activation; 15] = [
        Activation::Identity,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Relu,
        Activation::LeakyRelu { slope: 0.1 },
        Activation::Elu { alpha: 0.7 },
        Activation::Selu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Softplus,
        Activation::HardSigmoid,
        Activation::HardTanh { min: -0.6, max: 1.5 },
        Activation::SquaredClippedRelu,
        Activation::Sine { frequency: 1.0 },
    ];

    /// Numbers in `[-1, 1)`: the high bits of Knuth's MMIX congruential generator.
    fn uniform(seed: u64, count: usize) -> Vec<f64> {
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
        };
        Model { layers: vec![dense(4, 5, hidden, 11), dense(5, 3, last, 23)], scaler: None }
    }

    /// The derivative of `f` at each coordinate of `at`, by central differences over `h` and `2h`.
    ///
    /// With `h = 2e-5` truncation is `h^4/30 f^(5)`, near 1e-20, and cancellation `u |f| / h`, near 1e-10 here.
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
            let loss_at =
                |model: &Model, x: &[f64]| model.loss_and_gradient(x, targets, BATCH, loss, reduction).0;
            let by_parameters = central_differences(&model.parameters(), |parameters| {
                let mut moved = model.clone();
                moved.set_parameters(parameters);
                loss_at(&moved, &x)
            });
            let by_inputs = central_differences(&x, |x| loss_at(model, x));
            let gradient = model.loss_and_gradient(&x, targets, BATCH, loss, reduction).1;
            assert_gradient(&gradient, &by_parameters, &what);
            assert_gradient(&model.input_gradients(&x, targets, BATCH, loss, reduction), &by_inputs, &what);
        }
    }

    #[test]
    fn gradients_of_the_squared_error_are_central_differences() {
        let t = uniform(41, BATCH * 3);
        // A squared clipped ReLU whose sums are all outside has no gradient to compare.
        let last = HIDDEN.into_iter().filter(|&last| last != Activation::SquaredClippedRelu);
        for hidden in HIDDEN {
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
        for hidden in HIDDEN {
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
        for last in HIDDEN.into_iter().chain([Activation::Softmax]) {
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
            model(Activation::Tanh, last).loss_and_gradient(
                &x,
                targets,
                BATCH,
                Loss::SoftmaxCrossEntropy,
                Reduction::Mean,
            )
        };
        assert_eq!(loss_of(Activation::Softmax), loss_of(Activation::Identity));
        let predict = |last| model(Activation::Tanh, last).predict(&x, BATCH);
        assert_ne!(predict(Activation::Softmax), predict(Activation::Identity));
    }

    #[test]
    fn a_class_is_the_target_that_is_one_at_its_index() {
        let logits = uniform(61, BATCH * 3);
        let mut t = [0.0; BATCH * 3];
        for (row, &class) in CLASSES.iter().enumerate() {
            t[row * 3 + class as usize] = 1.0;
        }
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let of = |targets| loss(Loss::SoftmaxCrossEntropy, reduction, &logits, targets, BATCH, 3);
            assert_eq!(of(Targets::from(&CLASSES)), of(Targets::from(&t)));
        }
    }

    #[test]
    fn means_divide_the_squared_error_by_its_elements_and_the_cross_entropy_by_its_rows() {
        let y = [1.0, 2.0, 3.0, 4.0];
        let t = [0.0, 2.0, 5.0, 3.0];
        let squared = |reduction| loss(Loss::MeanSquaredError, reduction, &y, Targets::from(&t), 2, 2);
        assert_eq!(squared(Reduction::Sum), (6.0, vec![2.0, 0.0, -4.0, 2.0]));
        assert_eq!(squared(Reduction::Mean), (1.5, vec![0.5, 0.0, -1.0, 0.5]));
        let cross =
            |reduction| loss(Loss::SoftmaxCrossEntropy, reduction, &[0.0; 4], Targets::from(&[0, 1]), 2, 2).0;
        assert!((cross(Reduction::Sum) - 2.0 * 2.0_f64.ln()).abs() < 1e-15);
        assert!((cross(Reduction::Mean) - 2.0_f64.ln()).abs() < 1e-15);
    }

    #[test]
    fn the_three_products_are_those_done_by_hand() {
        // B = 2, I = 2, O = 3.
        let x = [1.0, 2.0, 3.0, 4.0];
        let weights = [1.0, 0.0, 0.0, 1.0, 2.0, -1.0];
        let d_z = [1.0, 0.0, 2.0, 0.0, 1.0, -1.0];
        assert_eq!(dense(&x, &weights, &[10.0, 20.0, 30.0], 2, 2, 3), [11.0, 22.0, 30.0, 13.0, 24.0, 32.0]);
        assert_eq!(input_gradient(&d_z, &weights, 2, 2, 3), [5.0, -2.0, -2.0, 2.0]);
        assert_eq!(weight_gradient(&d_z, &x, 2, 2, 3), [1.0, 2.0, 3.0, 4.0, -1.0, 0.0]);
        assert_eq!(bias_gradient(&d_z, 2, 3), [1.0, 1.0, 1.0]);
    }

    #[test]
    fn kinks_take_the_slope_of_their_left_side() {
        for zero in [0.0, -0.0] {
            assert_eq!(activation_backward(Activation::Relu, &[zero], &[zero], &[3.0]), [0.0]);
            assert_eq!(
                activation_backward(Activation::LeakyRelu { slope: 0.5 }, &[zero], &[zero], &[3.0]),
                [1.5]
            );
        }
    }

    #[test]
    fn softplus_is_its_sum_above_twenty_and_a_logarithm_at_it() {
        for (z, y, slope) in [
            (20.0_f64, 20.0_f64.exp().ln_1p(), 1.0 / (1.0 + (-20.0_f64).exp())),
            (20.0_f64.next_up(), 20.0_f64.next_up(), 1.0),
            (25.0, 25.0, 1.0),
        ] {
            assert_eq!(activate(Activation::Softplus, &[z]), [y]);
            assert_eq!(activation_backward(Activation::Softplus, &[z], &[y], &[3.0]), [3.0 * slope]);
        }
        // Both are apart by more than a rounding.
        assert!(20.0_f64.exp().ln_1p() > 20.000_000_001);
    }

    #[test]
    fn every_activation_of_nan_is_nan() {
        for activation in HIDDEN.into_iter().chain([Activation::Softmax]) {
            assert!(activate(activation, &[f64::NAN])[0].is_nan(), "{activation:?}");
        }
    }

    #[test]
    fn large_logits_do_not_overflow() {
        assert_eq!(activate(Activation::Softmax, &[1000.0, 0.0]), [1.0, 0.0]);
        let of = |class| {
            loss(Loss::SoftmaxCrossEntropy, Reduction::Sum, &[1000.0, 0.0], Targets::from(&[class]), 1, 2)
        };
        assert_eq!(of(0), (0.0, vec![0.0, 0.0]));
        assert_eq!(of(1), (1000.0, vec![1.0, -1.0]));
    }

    #[test]
    fn a_step_moves_every_parameter_by_rate_times_gradient_and_lowers_the_loss() {
        let x = uniform(31, BATCH * 4);
        let mut model = model(Activation::Tanh, Activation::Identity);
        let before = model.parameters();
        let targets = Targets::from(&CLASSES);
        let (loss_before, gradient) =
            model.loss_and_gradient(&x, targets, BATCH, Loss::SoftmaxCrossEntropy, Reduction::Mean);
        let returned = model.step(&x, targets, BATCH, Loss::SoftmaxCrossEntropy, Reduction::Mean, 0.125);
        assert_eq!(returned, loss_before);
        let expected: Vec<f64> = before.iter().zip(&gradient).map(|(p, d)| p - 0.125 * d).collect();
        assert_eq!(model.parameters(), expected);
        let after = model.loss_and_gradient(&x, targets, BATCH, Loss::SoftmaxCrossEntropy, Reduction::Mean).0;
        assert!(after < loss_before);
    }

    #[test]
    #[should_panic(expected = "softmax is for the last layer only")]
    fn softmax_before_the_last_layer_panics() {
        model(Activation::Softmax, Activation::Identity).predict(&[0.0; 4], 1);
    }
}
