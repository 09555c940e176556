//! From a network to the messages of an ONNX file.

use core::f64::consts::{FRAC_1_SQRT_2, PI};

use prost::bytes::Bytes;

use crate::files::onnx::functions::{SELU_ALPHA, SELU_SCALE};
use crate::files::onnx::proto::{
    Attribute, Dimension, Graph, Model, Node, OperatorSet, Tensor, TensorShape, TensorType, Type, ValueInfo,
};
use crate::files::tensors::write_values;
use crate::kernels::ops::activation::Activation;
use crate::network::{Layer, LayerKind, Network, Source};
use crate::simd::scalar::Element;

/// The first with layer norms, which most runtimes read.
const OPSET: i64 = 17;
/// The version of the format that came with it.
const IR_VERSION: i64 = 8;

const INPUT: &str = "input";
const OUTPUT: &str = "output";
/// The open dimension.
const BATCH: &str = "batch";

/// The file of a network.
pub(super) fn model<T: Element>(network: &Network<T>) -> Model {
    let mut writer = Writer { network, nodes: Vec::new(), initializers: Vec::new(), layer: String::new() };
    let outputs = writer.outputs();
    let graph = Graph {
        node: writer.nodes,
        name: "network".to_owned(),
        initializer: writer.initializers,
        input: vec![value_info::<T>(INPUT, network.inputs())],
        output: outputs,
    };
    Model {
        ir_version: IR_VERSION,
        producer_name: env!("CARGO_PKG_NAME").to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSet { domain: String::new(), version: OPSET }],
    }
}

fn data_type<T: Element>() -> i32 {
    if is_double::<T>() { Tensor::DOUBLE } else { Tensor::FLOAT }
}

fn is_double<T: Element>() -> bool {
    size_of::<T>() == size_of::<f64>()
}

/// `[batch, features]`.
fn value_info<T: Element>(name: &str, features: usize) -> ValueInfo {
    let batch = Dimension { dim_value: None, dim_param: Some(BATCH.to_owned()) };
    let features = Dimension { dim_value: Some(features as i64), dim_param: None };
    let shape = Some(TensorShape { dim: vec![batch, features] });
    let tensor_type = Some(TensorType { elem_type: data_type::<T>(), shape });
    ValueInfo { name: name.to_owned(), r#type: Some(Type { tensor_type }) }
}

/// Gathers nodes and initialisers. Values go by their names.
struct Writer<'a, T: Element> {
    network: &'a Network<T>,
    nodes: Vec<Node>,
    initializers: Vec<Tensor>,
    /// What the names of the values of a layer start with.
    layer: String,
}

impl<T: Element> Writer<'_, T> {
    /// Writes all layers, and returns the outputs of the graph.
    fn outputs(&mut self) -> Vec<ValueInfo> {
        let network = self.network;
        let mut values = Values { input: self.scaled_input(), layers: Vec::new() };
        let last = network.layer_count() - 1;
        for (i, layer) in network.layers.iter().enumerate() {
            self.layer = format!("layer_{i}");
            let sources: Vec<Source> = network.layers.edges(i).iter().map(|edge| edge.source).collect();
            let is_of_heads = layer.kind() == LayerKind::Heads && layer.activation() != Activation::Softmax;
            if i == last && is_of_heads && sources.len() > 1 {
                return self.heads(layer, &sources, &values);
            }
            let sources: Vec<&str> = sources.iter().map(|&source| values.of(source)).collect();
            let z = self.layer(i, layer, &sources);
            let y = self.activation(&z, layer.activation());
            values.layers.push(y);
        }
        let name = OUTPUT.to_owned();
        self.name_output(&values.layers[last], &name);
        vec![value_info::<T>(&name, network.outputs())]
    }

    fn heads(&mut self, layer: &Layer, sources: &[Source], values: &Values) -> Vec<ValueInfo> {
        let mut outputs = Vec::new();
        for (i, &source) in sources.iter().enumerate() {
            let name = format!("{OUTPUT}_{i}");
            self.layer = format!("head_{i}");
            let mut y = self.activation(values.of(source), layer.activation());
            // Two outputs of one value need two names.
            if sources.iter().filter(|&&other| other == source).count() > 1 {
                y = self.op("Identity", &[&y]);
            }
            self.name_output(&y, &name);
            outputs.push(value_info::<T>(&name, self.network.layers.features(source)));
        }
        outputs
    }

    /// Gives a value another name; a copy of it, if it is the input or what others read.
    fn name_output(&mut self, value: &str, name: &str) {
        let is_read = self.nodes.iter().any(|node| node.input.iter().any(|input| input == value));
        let node = self.nodes.iter_mut().find(|node| node.output[0] == value);
        match node.filter(|_| !is_read) {
            Some(node) => (node.name, node.output) = (name.to_owned(), vec![name.to_owned()]),
            None => {
                let y = self.op("Identity", &[value]);
                self.name_output(&y, name);
            }
        }
    }

    /// `(x - means) / stds`.
    fn scaled_input(&mut self) -> String {
        let Some(scaler) = self.network.scaler() else { return INPUT.to_owned() };
        self.layer = "scaler".to_owned();
        let shape = [scaler.means().len()];
        let means = self.initializer("scaler.mean", &shape, scaler.means());
        let stds = self.initializer("scaler.std", &shape, scaler.stds());
        let x = self.op("Sub", &[INPUT, &means]);
        self.op("Div", &[&x, &stds])
    }

    /// A layer without its activation.
    fn layer(&mut self, i: usize, layer: &Layer, sources: &[&str]) -> String {
        match layer.kind() {
            LayerKind::Dense => {
                let inputs = self.parameters(i, layer, &[layer.outputs(), layer.inputs()]);
                let inputs = [sources, &borrowed(&inputs)].concat();
                self.op_with("Gemm", &inputs, vec![int("transB", 1)])
            }
            LayerKind::LayerNorm => self.layer_norm(i, layer, sources[0]),
            LayerKind::RmsNorm => self.rms_norm(i, layer, sources[0]),
            LayerKind::Sum => self.op("Add", sources),
            LayerKind::Concat | LayerKind::Heads => match sources {
                // Only its activation is its own.
                &[x] => x.to_owned(),
                _ => self.op_with("Concat", sources, vec![int("axis", 1)]),
            },
        }
    }

    /// One node, unless its epsilon is no `f32`.
    fn layer_norm(&mut self, i: usize, layer: &Layer, x: &str) -> String {
        let parameters = self.parameters(i, layer, &[layer.outputs()]);
        let epsilon = layer.epsilon().unwrap_or(0.0);
        if !is_double::<T>() || f64::from(epsilon as f32) == epsilon {
            let attributes = vec![int("axis", -1), float("epsilon", epsilon as f32)];
            return self.op_with(
                "LayerNormalization",
                &[&[x], &borrowed(&parameters)[..]].concat(),
                attributes,
            );
        }
        let mean = self.mean(x);
        let centered = self.op("Sub", &[x, &mean]);
        let square = self.op("Mul", &[&centered, &centered]);
        let variance = self.mean(&square);
        let sum = self.with_number("Add", &variance, epsilon);
        let std = self.op("Sqrt", &[&sum]);
        let y = self.op("Div", &[&centered, &std]);
        let y = self.op("Mul", &[&y, &parameters[0]]);
        parameters.get(1).map(|biases| self.op("Add", &[&y, biases])).unwrap_or(y)
    }

    /// `w x / sqrt(mean(x^2) + epsilon)`: the operator of that name is younger than the opset.
    fn rms_norm(&mut self, i: usize, layer: &Layer, x: &str) -> String {
        let parameters = self.parameters(i, layer, &[layer.outputs()]);
        let square = self.op("Mul", &[x, x]);
        let mean = self.mean(&square);
        let sum = self.with_number("Add", &mean, layer.epsilon().unwrap_or(0.0));
        let root = self.op("Sqrt", &[&sum]);
        let y = self.op("Div", &[x, &root]);
        let y = self.op("Mul", &[&y, &parameters[0]]);
        parameters.get(1).map(|biases| self.op("Add", &[&y, biases])).unwrap_or(y)
    }

    /// Of each row.
    fn mean(&mut self, x: &str) -> String {
        let axes = Attribute {
            name: "axes".to_owned(),
            ints: vec![-1],
            r#type: Attribute::INTS,
            ..Attribute::default()
        };
        self.op_with("ReduceMean", &[x], vec![axes])
    }

    /// The names of weights and biases.
    fn parameters(&mut self, i: usize, layer: &Layer, shape: &[usize]) -> Vec<String> {
        let name = self.network.layers.name(i);
        let lines = self.network.layer_lines(i);
        let mut weights = vec![T::ZERO; layer.weight_count()];
        crate::network::read_weights::<T>(lines, *layer, &mut weights);
        let mut names = vec![self.initializer(&format!("{name}.weight"), shape, &weights)];
        if layer.has_bias() {
            let mut biases = vec![T::ZERO; layer.outputs()];
            crate::network::read_biases::<T>(lines, *layer, &mut biases);
            names.push(self.initializer(&format!("{name}.bias"), &[layer.outputs()], &biases));
        }
        names
    }

    fn initializer(&mut self, name: &str, shape: &[usize], values: &[T]) -> String {
        self.initializers.push(Tensor {
            dims: shape.iter().map(|&dim| dim as i64).collect(),
            data_type: data_type::<T>(),
            name: name.to_owned(),
            raw_data: Bytes::from(write_values(values)),
            ..Tensor::default()
        });
        name.to_owned()
    }

    /// A number.
    fn number(&mut self, value: f64) -> String {
        let name = format!("{}/number_{}", self.layer, self.initializers.len());
        self.initializer(&name, &[], &[T::from_f64(value)])
    }

    /// Appends a node and returns the name of what it gives.
    fn op(&mut self, operator: &str, inputs: &[&str]) -> String {
        self.op_with(operator, inputs, Vec::new())
    }

    fn op_with(&mut self, operator: &str, inputs: &[&str], attribute: Vec<Attribute>) -> String {
        let output = format!("{}/{operator}_{}", self.layer, self.nodes.len());
        self.nodes.push(Node {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.clone()],
            name: output.clone(),
            op_type: operator.to_owned(),
            attribute,
            domain: String::new(),
        });
        output
    }

    /// An operator of a value and a number.
    fn with_number(&mut self, operator: &str, x: &str, number: f64) -> String {
        let number = self.number(number);
        self.op(operator, &[x, &number])
    }

    fn activation(&mut self, x: &str, activation: Activation) -> String {
        match activation {
            Activation::Identity => x.to_owned(),
            Activation::Sigmoid => self.op("Sigmoid", &[x]),
            Activation::Tanh => self.op("Tanh", &[x]),
            Activation::Relu => self.op("Relu", &[x]),
            Activation::Softmax => self.op_with("Softmax", &[x], vec![int("axis", -1)]),
            Activation::HardTanh { min, max } => self.clip(x, min, max),
            Activation::SquaredClippedRelu => {
                let clipped = self.clip(x, 0.0, 1.0);
                self.op("Mul", &[&clipped, &clipped])
            }
            Activation::Silu => {
                let sigmoid = self.op("Sigmoid", &[x]);
                self.op("Mul", &[x, &sigmoid])
            }
            Activation::Gelu => self.gelu(x),
            Activation::GeluTanh => self.gelu_tanh(x),
            Activation::Sine { frequency: 1.0 } => self.op("Sin", &[x]),
            Activation::Sine { frequency } => {
                let x = self.with_number("Mul", x, frequency);
                self.op("Sin", &[&x])
            }
            Activation::LeakyRelu { slope } => self.leaky_relu(x, slope),
            Activation::Elu { alpha } => self.elu(x, alpha),
            Activation::Selu => self.selu(x),
            Activation::Softplus => self.softplus(x),
            Activation::HardSigmoid => self.hard_sigmoid(x),
            Activation::HardSwish => self.hard_swish(x),
            Activation::Relu6 => self.clip(x, 0.0, 6.0),
            Activation::Mish => {
                let softplus = self.softplus(x);
                let gate = self.op("Tanh", &[&softplus]);
                self.op("Mul", &[x, &gate])
            }
            Activation::Softsign => self.op("Softsign", &[x]),
        }
    }

    // Operators with settings of their own have them in `f32`, and onnxruntime computes them in `f32` alone:
    // in `f64` they are written in arithmetic.

    fn leaky_relu(&mut self, x: &str, slope: f64) -> String {
        if !is_double::<T>() {
            return self.op_with("LeakyRelu", &[x], vec![float("alpha", slope as f32)]);
        }
        let (above, below) = (self.op("Relu", &[x]), self.with_number("Min", x, 0.0));
        let below = self.with_number("Mul", &below, slope);
        self.op("Add", &[&above, &below])
    }

    fn elu(&mut self, x: &str, alpha: f64) -> String {
        if !is_double::<T>() {
            return self.op_with("Elu", &[x], vec![float("alpha", alpha as f32)]);
        }
        if alpha == 0.0 { self.op("Relu", &[x]) } else { self.elu_in_arithmetic(x, alpha) }
    }

    /// `max(x, 0) + alpha (e^min(x, 0) - 1)`.
    fn elu_in_arithmetic(&mut self, x: &str, alpha: f64) -> String {
        let (above, below) = (self.op("Relu", &[x]), self.with_number("Min", x, 0.0));
        let exp = self.op("Exp", &[&below]);
        let below = self.with_number("Sub", &exp, 1.0);
        let below = self.with_number("Mul", &below, alpha);
        self.op("Add", &[&above, &below])
    }

    fn selu(&mut self, x: &str) -> String {
        if !is_double::<T>() {
            let settings = vec![float("alpha", SELU_ALPHA as f32), float("gamma", SELU_SCALE as f32)];
            return self.op_with("Selu", &[x], settings);
        }
        let y = self.elu_in_arithmetic(x, SELU_ALPHA);
        self.with_number("Mul", &y, SELU_SCALE)
    }

    /// `max(x, 0) + log(1 + e^-|x|)`.
    fn softplus(&mut self, x: &str) -> String {
        if !is_double::<T>() {
            return self.op("Softplus", &[x]);
        }
        let (above, abs) = (self.op("Relu", &[x]), self.op("Abs", &[x]));
        let negative = self.op("Neg", &[&abs]);
        let exp = self.op("Exp", &[&negative]);
        let sum = self.with_number("Add", &exp, 1.0);
        let log = self.op("Log", &[&sum]);
        self.op("Add", &[&above, &log])
    }

    /// `min(max(x / 6 + 1/2, 0), 1)`.
    fn hard_sigmoid(&mut self, x: &str) -> String {
        if !is_double::<T>() {
            let settings = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
            return self.op_with("HardSigmoid", &[x], settings);
        }
        let x = self.with_number("Mul", x, 1.0 / 6.0);
        let x = self.with_number("Add", &x, 0.5);
        self.clip(&x, 0.0, 1.0)
    }

    fn hard_swish(&mut self, x: &str) -> String {
        if !is_double::<T>() {
            return self.op("HardSwish", &[x]);
        }
        let gate = self.hard_sigmoid(x);
        self.op("Mul", &[x, &gate])
    }

    fn clip(&mut self, x: &str, min: f64, max: f64) -> String {
        let (min, max) = (self.number(min), self.number(max));
        self.op("Clip", &[x, &min, &max])
    }

    /// `x/2 (1 + erf(x / sqrt 2))`.
    fn gelu(&mut self, x: &str) -> String {
        let scaled = self.with_number("Mul", x, FRAC_1_SQRT_2);
        let erf = self.op("Erf", &[&scaled]);
        self.gate(x, &erf)
    }

    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
    fn gelu_tanh(&mut self, x: &str) -> String {
        let square = self.op("Mul", &[x, x]);
        let cube = self.op("Mul", &[x, &square]);
        let scaled = self.with_number("Mul", &cube, 0.044_715);
        let sum = self.op("Add", &[x, &scaled]);
        let inner = self.with_number("Mul", &sum, (2.0 / PI).sqrt());
        let tanh = self.op("Tanh", &[&inner]);
        self.gate(x, &tanh)
    }

    /// `x/2 (1 + gate)`.
    fn gate(&mut self, x: &str, gate: &str) -> String {
        let half = self.with_number("Mul", x, 0.5);
        let gate = self.with_number("Add", gate, 1.0);
        self.op("Mul", &[&half, &gate])
    }
}

/// The names of what is read.
struct Values {
    /// After the scaler.
    input: String,
    layers: Vec<String>,
}

impl Values {
    fn of(&self, source: Source) -> &str {
        match source {
            Source::Input => &self.input,
            Source::Layer(layer) => &self.layers[layer],
        }
    }
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn int(name: &str, value: i64) -> Attribute {
    let (name, r#type) = (name.to_owned(), Attribute::INT);
    Attribute { name, i: Some(value), r#type, ..Attribute::default() }
}

fn float(name: &str, value: f32) -> Attribute {
    let (name, r#type) = (name.to_owned(), Attribute::FLOAT);
    Attribute { name, f: Some(value), r#type, ..Attribute::default() }
}
