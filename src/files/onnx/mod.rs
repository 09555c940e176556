//! Networks in ONNX files, as PyTorch, scikit-learn and TensorFlow export them, and for runtimes that read
//! them.

mod attributes;
mod budget;
mod constant;
mod export;
mod expression;
mod functions;
mod import;
mod lower;
mod operators;
mod parameters;
mod polynomial;
mod proto;
mod shapes;

use std::collections::HashSet;
use std::path::Path;

use prost::Message;
use prost::bytes::Bytes;

use crate::error::{Error, FormatProblem};
use crate::files::onnx::constant::Constant;
use crate::files::onnx::expression::Step;
use crate::files::onnx::import::FileInfo;
use crate::files::onnx::lower::{Plan, PlannedLayer, Weights};
use crate::files::{STATE, atomic};
use crate::network::init::Init;
use crate::network::{LayerKind, LayerSpec, Network, NetworkBuilder};
use crate::simd::scalar::Element;

/// The first version of ONNX's operators that broadcasts as all later ones do.
const FIRST_OPSET: i64 = 7;

impl<T: Element> Network<T> {
    /// Builds the network of an ONNX file, of one input `[batch, features]`.
    ///
    /// What PyTorch's exporters, skl2onnx and tf2onnx write:
    ///
    /// * `Gemm`, and `MatMul` with `Add`, are dense layers; `LayerNormalization`, or what older exporters
    ///   write in its place, is a layer norm.
    /// * `BatchNormalization` and arithmetic with constants are multiplied into the dense layer or layer norm
    ///   beside them. At the inputs they are the [scaler](Network::scaler); behind an activation of up to 128
    ///   features, where no layer can take them, a dense layer of their own.
    /// * `Add` of two tensors and `Concat` are [sums](LayerKind::Sum) and
    ///   [concatenations](LayerKind::Concat); several outputs are [heads](LayerKind::Heads), in the order of
    ///   the file.
    /// * Activations, in one node or in several (GELU, SiLU), are those of the layer before, or of a
    ///   concatenation of one source.
    /// * `Identity`, `Dropout`, `Cast`, `Flatten`, `Reshape`, `Squeeze` are nothing, where each row keeps its
    ///   features.
    ///
    /// Any other node is refused by name, and so is an activation that this crate has not, such as Mish. A
    /// network computes in `T`, whatever the numbers of the file are: `DOUBLE`, `FLOAT`, `FLOAT16` or
    /// `BFLOAT16`, each rounded once. Weights `fc1.weight` are those of a module `fc1`, which files of
    /// [`Network::save`] and [`Network::save_onnx`] keep, if all layers have such names. Files tell no
    /// dropout, and no seed: it is 0.
    ///
    /// # Errors
    /// [`Error::Operator`] with node, operator and what would be supported; [`Error::Format`] for bytes that
    /// are no ONNX file, data in another file, inputs that are no features; [`Error::Overflow`] for sizes
    /// that a file of so many bytes cannot mean.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Error, Network};
    ///
    /// let builder = Network::<f32>::builder(4).dense(3, Activation::Gelu).dense(2, Activation::Softmax);
    /// let network = builder.build()?;
    /// let read = Network::<f32>::from_onnx(&network.to_onnx()?)?;
    /// assert_eq!(read.layer(0), network.layer(0));
    /// assert_eq!(read.predict(&[0.5; 4])?, network.predict(&[0.5; 4])?);
    /// assert!(matches!(Network::<f32>::from_onnx(b"no file"), Err(Error::Format { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn from_onnx(bytes: &[u8]) -> Result<Self, Error> {
        budget::check(bytes)?;
        from_bytes(Bytes::copy_from_slice(bytes))
    }

    /// The network as an ONNX file: opset 17, which onnxruntime, tract and others read, one input `input`
    /// `[batch, features]` of the element type.
    ///
    /// Weights are initialisers with the names of [`Network::save`], such as `0.weight`; the scaler is `Sub`
    /// and `Div`, a layer `Gemm`, `LayerNormalization`, `Add` or `Concat`, then its activation. The output is
    /// `output`, or of several heads `output_0`, `output_1`, .. Dropout and the seed are not in the file.
    ///
    /// Settings of operators are `f32` in ONNX, and onnxruntime has few activations in `f64`: of a network of
    /// `f64` those, and layer norms whose epsilon is no `f32`, are written in arithmetic, which it can run;
    /// only GELU by the error function it cannot.
    ///
    /// # Errors
    /// [`Error::Format`] past 2 GB, the limit of protobuf.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(4).dense(3, Activation::Tanh).build()?;
    /// let bytes = network.to_onnx()?;
    /// assert_eq!(Network::<f32>::from_onnx(&bytes)?.to_onnx()?, bytes);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn to_onnx(&self) -> Result<Vec<u8>, Error> {
        const LIMIT: usize = i32::MAX as usize;
        let model = export::model(self);
        match model.encoded_len() {
            bytes if bytes <= LIMIT => Ok(model.encode_to_vec()),
            bytes => Err(refused(format!("{bytes} bytes are more than ONNX can hold"))),
        }
    }

    /// Writes [`Network::to_onnx`] to a file, as safely as [`Network::save`].
    ///
    /// # Errors
    /// Those of [`Network::to_onnx`], and [`Error::File`] with the operation that failed.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(4).dense(3, Activation::Tanh).build()?;
    /// let path = std::env::temp_dir().join(format!("fuseprop-{}.onnx", std::process::id()));
    /// network.save_onnx(&path)?;
    /// assert_eq!(Network::<f32>::open(&path)?.predict(&[0.5; 4])?, network.predict(&[0.5; 4])?);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn save_onnx(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        atomic::write(path.as_ref(), &self.to_onnx()?)
    }
}

/// [`Network::from_onnx`] of bytes that need no copy.
pub(super) fn from_owned<T: Element>(bytes: Vec<u8>) -> Result<Network<T>, Error> {
    budget::check(&bytes)?;
    from_bytes(bytes.into())
}

fn from_bytes<T: Element>(bytes: Bytes) -> Result<Network<T>, Error> {
    let size = bytes.len();
    let model = proto::Model::decode(bytes).map_err(malformed)?;
    let Some(graph) = &model.graph else {
        return Err(refused("it is no ONNX file, or one without a graph".to_owned()));
    };
    let own = model.opset_import.iter().find(|set| matches!(&*set.domain, "" | "ai.onnx"));
    let opset = own.map_or(0, |set| set.version);
    if opset < FIRST_OPSET {
        return Err(refused(format!("opset {opset}: {FIRST_OPSET} and later are read")));
    }
    let is_double = size_of::<T>() == size_of::<f64>();
    let mut computation = import::import(graph, FileInfo { opset, bytes: size, is_double })?;
    functions::recognise(&mut computation.expressions, is_double);
    let plan = lower::lower(&computation)?;
    parameters::check_size(&plan, size)?;
    let mut network = build(&plan).map_err(in_graph)?;
    parameters::write(&plan, &mut network).map_err(in_graph)?;
    Ok(network)
}

/// The network of a plan, with parameters to be written.
fn build<T: Element>(plan: &Plan) -> Result<Network<T>, Error> {
    let names = names(&plan.layers);
    let mut builder: NetworkBuilder<T> = Network::builder(plan.inputs).init(Init::Zeros).seed(0);
    for (i, layer) in plan.layers.iter().enumerate() {
        let outputs = (layer.kind == LayerKind::Dense).then_some(layer.outputs);
        let mut spec = LayerSpec::new::<T>(layer.kind, outputs, layer.sources.clone());
        spec.activation = layer.activation;
        if layer.kind.has_epsilon() {
            spec.epsilon = layer.epsilon;
        }
        let mut steps = layer.before.iter().chain(&layer.after);
        spec.has_bias = layer.kind.has_parameters() && steps.any(Step::shifts);
        spec.name = names.get(i).cloned().flatten();
        builder = builder.append(spec);
    }
    builder.build()
}

/// The names of the modules of all layers with parameters, if all have one; else none.
fn names(layers: &[PlannedLayer]) -> Vec<Option<String>> {
    let names: Vec<Option<String>> = layers.iter().map(|layer| module(layer).map(str::to_owned)).collect();
    let with_parameters = || layers.iter().zip(&names).filter(|(layer, _)| layer.kind.has_parameters());
    let mut found = HashSet::new();
    let all_differ = with_parameters().all(|(_, name)| name.as_ref().is_some_and(|name| found.insert(name)));
    if all_differ { names } else { Vec::new() }
}

/// The module of a layer's tensors: `fc1` of `fc1.weight`, or of `fc1.bias` where the exporter has renamed
/// the weights.
fn module(layer: &PlannedLayer) -> Option<&str> {
    /// Longer names are none that anybody wrote.
    const LONGEST: usize = 200;
    let factor = || match layer.after.first() {
        Some(Step::Multiply(constant)) => Some(constant),
        _ => None,
    };
    let weights: &Constant = match &layer.weights {
        Weights::File(weights) => weights,
        // Of a layer norm in several nodes.
        Weights::Identity => factor()?,
        Weights::None => return None,
    };
    let bias = layer.after.iter().find(|step| step.shifts());
    let of_bias = || bias.and_then(|step| step.constant().name.strip_suffix(".bias"));
    let module = weights.name.strip_suffix(".weight").or_else(of_bias)?;
    let is_word = |c: char| !c.is_whitespace() && !c.is_control();
    let is_name = !module.is_empty() && module.len() <= LONGEST && module.chars().all(is_word);
    // What a checkpoint adds has names of its own.
    (is_name && !module.starts_with(STATE)).then_some(module)
}

/// What a setting of the graph is refused with.
fn in_graph(error: Error) -> Error {
    match error {
        Error::Format { .. } | Error::Operator { .. } | Error::Overflow { .. } => error,
        _ => refused(format!("in its graph, {error}")),
    }
}

fn malformed(error: prost::DecodeError) -> Error {
    refused(format!("it is no ONNX file: {error}"))
}

/// It is no ONNX file, or its graph is none of a network's.
fn refused(reason: String) -> Error {
    Error::format(FormatProblem::Onnx { reason })
}
