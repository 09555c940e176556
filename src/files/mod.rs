//! Networks in files: safetensors, with PyTorch's names and layout.

mod atomic;
mod checkpoint;
mod header;
mod import_options;
mod names;
#[cfg(feature = "onnx")]
mod onnx;
mod tensors;

use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::error::{Argument, Error, FileOperation, FormatProblem};
use crate::network::init::Init;
use crate::network::{
    LayerKind, LayerSpec, Network, NetworkBuilder, Operation, Source, input_modules, modules,
};
use crate::simd::scalar::Element;
use header::{Header, malformed as malformed_header};
pub use import_options::{ImportOptions, WeightLayout};
pub use names::TensorNames;
use tensors::{Writer, describe, is_read, read_parameters};

/// The safetensors format's, in bytes.
const LONGEST_HEADER: u64 = 100_000_000;

/// Tensors of a checkpoint that are not the network's start with it.
const STATE: &str = "state.";

impl<T: Element> Network<T> {
    /// Writes the network as a safetensors file that PyTorch reads too.
    ///
    /// For each layer `i.weight` `[outputs, inputs]` and, if it has biases, `i.bias` `[outputs]`, where `i`
    /// counts modules as `torch.nn.Sequential` does: a layer is one, an activation but the identity is one,
    /// and a dropout is one, also of the inputs. In PyTorch,
    /// `model.load_state_dict(safetensors.torch.load_file(path))`. Activations, dropout, the scaler and
    /// [`Network::seed`] are in the file's metadata.
    ///
    /// Either the whole file is there afterwards or the one before it: a temporary file beside it is written,
    /// synced and renamed, and the folder synced, unless the disk has no such operation. The file's
    /// permissions are kept, a symbolic link stays and the file that it leads to is replaced; a pipe or a
    /// device, such as `/dev/stdout`, is written to.
    ///
    /// # Errors
    /// [`Error::File`] with the operation that failed, also where there are no files, as in a browser. The
    /// temporary file is removed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(4).dense(3, Activation::Tanh).seed(1).build()?;
    /// let path = std::env::temp_dir().join(format!("fuseprop-{}.safetensors", std::process::id()));
    /// network.save(&path)?;
    /// let loaded = Network::<f32>::load(&path)?;
    /// assert_eq!(loaded.layer(0), network.layer(0));
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        atomic::write(path.as_ref(), &self.to_bytes()?)
    }

    /// Reads a network that [`Network::save`] wrote, of either element type, or the network of a
    /// [checkpoint](crate::Trainer::save_checkpoint).
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, and the errors of [`Network::from_bytes`]: files of
    /// PyTorch alone have no activations and go to [`Network::import`].
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Error, Network};
    ///
    /// let network = Network::<f32>::builder(4).dense(3, Activation::Tanh).build()?;
    /// let path = std::env::temp_dir().join(format!("fuseprop-load-{}.safetensors", std::process::id()));
    /// network.save(&path)?;
    /// assert_eq!(Network::<f32>::load(&path)?.predict(&[0.5; 4])?, network.predict(&[0.5; 4])?);
    /// # std::fs::remove_file(&path).unwrap();
    /// assert!(matches!(Network::<f32>::load(&path), Err(Error::File { .. }))); // it is removed
    /// # Ok::<(), Error>(())
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::from_bytes(&read(path.as_ref())?)
    }

    /// Reads a network from a file of [`Network::save`] or, with the feature `onnx`, from an ONNX file: the
    /// bytes tell which it is.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, and the errors of [`Network::from_bytes`] or
    /// `Network::from_onnx`.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(4).dense(3, Activation::Tanh).build()?;
    /// let path = std::env::temp_dir().join(format!("fuseprop-open-{}.safetensors", std::process::id()));
    /// network.save(&path)?;
    /// assert_eq!(Network::<f32>::open(&path)?.predict(&[0.5; 4])?, network.predict(&[0.5; 4])?);
    /// # std::fs::remove_file(path).unwrap();
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let bytes = read(path.as_ref())?;
        if is_onnx(&bytes) { from_onnx(bytes) } else { Self::from_bytes(&bytes) }
    }

    /// What [`Network::save`] writes: the same bytes for the same network.
    ///
    /// # Errors
    /// [`Error::Format`] for a header past the format's limit of 100 MB.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network};
    ///
    /// let network = Network::<f32>::builder(4).dense(3, Activation::Tanh).build()?;
    /// let loaded = Network::<f32>::from_bytes(&network.to_bytes()?)?;
    /// assert_eq!(loaded.to_bytes()?, network.to_bytes()?);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::new();
        writer.parameters("", self, &canonical(self));
        writer.finish(header::write(self))
    }

    /// Builds the network that [`Network::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Format`] for bytes that are no safetensors file, lack this crate's metadata or hold settings
    /// there that no network has; [`Error::Tensors`] for other tensors than the metadata tells.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Error, Network};
    ///
    /// let network = Network::<f32>::builder(4).dense(3, Activation::Tanh).seed(7).build()?;
    /// let bytes = network.to_bytes()?;
    /// let loaded = Network::<f64>::from_bytes(&bytes)?; // of the other element type
    /// assert_eq!((loaded.layer(0), loaded.seed()), (network.layer(0), 7));
    /// assert!(matches!(Network::<f32>::from_bytes(&bytes[1..]), Err(Error::Format { .. })));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let file = parse(bytes)?;
        let text = header_text(bytes)?;
        let header = Header::parse(text.as_deref())?;
        let mut network = skeleton(&file, &header)?;
        let names = names::sequential(&network, "");
        let (layers, layout) = (&network.layers, WeightLayout::OutputsInputs);
        let parameters = read_parameters(&file, layers, &names, layout, |name| !name.starts_with(STATE))?;
        network.write_parameters(&parameters)?;
        network.set_scaler(header.scaler()?).map_err(malformed_header)?;
        Ok(network)
    }

    /// Overwrites all parameters from a safetensors file, with weights as `[outputs, inputs]`, row-major, as
    /// PyTorch writes them. JAX, Keras and burn keep them as `[inputs, outputs]`: a square matrix would be
    /// read transposed without a word, so tell it by [`ImportOptions::weight_layout`].
    ///
    /// Biases are `[outputs]`, weights and biases of a layer norm both `[features]`; in `F64`, `F32`, `F16`
    /// or `BF16`, each rounded once to the element type. Activations, dropout and scaler stay. In
    /// PyTorch:
    ///
    /// ```python
    /// safetensors.torch.save_file(model.state_dict(), "model.safetensors")
    /// ```
    ///
    /// What a file does not say stays as the network was built. The epsilon of a layer norm is not in it:
    /// where it is not PyTorch's 1e-5 (Keras has 1e-3, Flax 1e-6), build the network with
    /// [`NetworkBuilder::epsilon`]; an epsilon of 1e-3 read as 1e-5 moves outputs by some 5e-4 of themselves
    /// where inputs have variance 1, and by far more where they have less. Nor can a group norm, an instance
    /// norm, or a batch norm without running statistics be told from a layer norm by tensors of the same
    /// shapes.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, [`Error::Format`] if it is not safetensors or the tensors
    /// belong to a batch norm, or [`Error::Tensors`] with what was expected and what was found. Nothing
    /// has changed then.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network, TensorNames};
    ///
    /// // torch.nn.Sequential(Linear(4, 64), ReLU(), Linear(64, 2))
    /// let builder = Network::<f32>::builder(4).dense(64, Activation::Relu).dense(2, Activation::Identity);
    /// let mut network = builder.build()?;
    /// let path = std::env::temp_dir().join(format!("fuseprop_import_{}.safetensors", std::process::id()));
    /// # builder_of_the_file().save(&path)?; // what PyTorch would have written
    /// network.import(&path, TensorNames::Sequential)?;
    /// # std::fs::remove_file(&path).unwrap();
    /// # fn builder_of_the_file() -> Network<f32> {
    /// #     let builder = Network::builder(4).dense(64, Activation::Relu);
    /// #     builder.dense(2, Activation::Identity).build().unwrap()
    /// # }
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn import<'a>(
        &mut self,
        path: impl AsRef<Path>,
        options: impl Into<ImportOptions<'a>>,
    ) -> Result<(), Error> {
        self.import_bytes(&read(path.as_ref())?, options)
    }

    /// [`Network::import`] from memory.
    ///
    /// # Errors
    /// As [`Network::import`].
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Activation, Network, TensorNames};
    ///
    /// let build = |seed| Network::<f32>::builder(4).dense(2, Activation::Tanh).seed(seed).build();
    /// let (from, mut to) = (build(1)?, build(2)?);
    /// to.import_bytes(&from.to_bytes()?, TensorNames::Sequential)?;
    /// assert_eq!(to.predict(&[0.5; 4])?, from.predict(&[0.5; 4])?);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn import_bytes<'a>(
        &mut self,
        bytes: &[u8],
        options: impl Into<ImportOptions<'a>>,
    ) -> Result<(), Error> {
        let ImportOptions { names, layout } = options.into();
        let (file, layers) = (parse(bytes)?, &self.layers);
        names::refuse_batch_norm(&file, names)?;
        let owned = |(weight, bias): &(&str, &str)| ((*weight).to_owned(), (*bias).to_owned());
        let pairs = match names {
            TensorNames::Sequential => names::sequential(self, ""),
            TensorNames::Prefix(prefix) => names::sequential(self, prefix),
            TensorNames::List(list) => list.iter().map(owned).collect(),
            TensorNames::Discover => names::discover(&file, &names::with_parameters(layers)),
        };
        let is_claimed = |name: &str| match names {
            TensorNames::Sequential => true,
            TensorNames::Prefix(prefix) => name.starts_with(prefix),
            TensorNames::List(_) | TensorNames::Discover => false,
        };
        let parameters = read_parameters(&file, layers, &pairs, layout, is_claimed)?;
        self.write_parameters(&parameters)
    }
}

/// A network of the shapes in a file, with weights to be written.
fn skeleton<T: Element>(file: &SafeTensors<'_>, header: &Header<'_>) -> Result<Network<T>, Error> {
    let (seed, dropout) = (header.number("seed")?, header.input_dropout()?);
    let mut shapes = Shapes { file, index: input_modules(dropout), inputs: None, outputs: Vec::new() };
    if header.find("inputs").is_some() {
        shapes.inputs = Some(header.count("inputs")?);
    }
    let mut layers = header.layers::<T>()?;
    for layer in &mut layers {
        let outputs = shapes.outputs_of(layer)?;
        layer.outputs = (layer.kind == LayerKind::Dense).then_some(outputs);
        shapes.outputs.push(outputs);
    }
    let inputs = shapes.inputs.ok_or(Error::Zero { argument: Argument::LayerCount });
    let start = |inputs| Network::<T>::builder(inputs).init(Init::Zeros).dropout(dropout).seed(seed);
    let network =
        inputs.and_then(|inputs| layers.into_iter().fold(start(inputs), NetworkBuilder::append).build());
    network.map_err(malformed_header)
}

/// The features of the layers of a file, as far as they are known.
struct Shapes<'a> {
    file: &'a SafeTensors<'a>,
    /// The next module of a chain.
    index: usize,
    /// The network's, of a chain once the first layer is known.
    inputs: Option<usize>,
    /// Of each layer so far.
    outputs: Vec<usize>,
}

impl Shapes<'_> {
    /// The features of a source, if they are known.
    fn features(&self, source: Source) -> Option<usize> {
        match source {
            Source::Input => self.inputs,
            Source::Layer(layer) => self.outputs.get(layer).copied(),
        }
    }

    /// The features that a layer puts out: those of its tensors, or of its sources if it has none.
    fn outputs_of(&mut self, layer: &LayerSpec) -> Result<usize, Error> {
        let name = layer.name.clone().unwrap_or_else(|| self.index.to_string());
        self.index += modules(layer.activation, layer.dropout);
        if layer.kind.has_parameters() {
            return self.outputs_of_tensors(layer, &name);
        }
        let mut features = Vec::with_capacity(layer.sources.len());
        for &source in &layer.sources {
            let layers = self.outputs.len();
            features.push(match (self.features(source), source) {
                (Some(features), _) => features,
                (None, Source::Layer(layer)) => return Err(malformed_header(Error::Layer { layer, layers })),
                (None, Source::Input) => {
                    return Err(malformed_header(Error::Zero { argument: Argument::FeatureCount }));
                }
            });
        }
        let joined = match layer.kind.operation() {
            Operation::SideBySide => {
                features.iter().try_fold(0_usize, |sum, &features| sum.checked_add(features))
            }
            Operation::Product | Operation::Norm { .. } | Operation::Sum => features.first().copied(),
        };
        joined.ok_or(Error::Overflow { argument: Argument::FeatureCount })
    }

    fn outputs_of_tensors(&mut self, layer: &LayerSpec, name: &str) -> Result<usize, Error> {
        let below = self.features(layer.sources[0]);
        let weight = format!("{name}.weight");
        let missing = || missing_weights(self.file, &weight, below);
        let shape = self.file.tensor(&weight).map_or(Vec::new(), |tensor| tensor.shape().to_vec());
        let (inputs, outputs) = match (layer.kind.operation(), &shape[..]) {
            (Operation::Product, &[outputs, inputs]) => (inputs, outputs),
            (Operation::Norm { .. }, &[features]) => (features, features),
            _ => return Err(missing()),
        };
        // Every number that the network will hold must be in the file, or a small file could ask for all
        // memory.
        let bias = self.file.tensor(&format!("{name}.bias"));
        let readable = |tensor: &TensorView<'_>| is_read(tensor.dtype());
        let complete = self.file.tensor(&weight).is_ok_and(|weight| readable(&weight))
            && (!layer.has_bias || bias.is_ok_and(|bias| readable(&bias) && bias.shape() == [outputs]));
        let is_first = self.outputs.is_empty() && self.inputs.is_none();
        if !complete || !is_first && below != Some(inputs) {
            return Err(missing());
        }
        self.inputs.get_or_insert(inputs);
        Ok(outputs)
    }
}

fn missing_weights(file: &SafeTensors<'_>, name: &str, below: Option<usize>) -> Error {
    let inputs = below.map_or("inputs".to_owned(), |below: usize| below.to_string());
    let found = file.iter().map(|(name, tensor)| describe(name, &tensor)).collect();
    Error::Tensors { expected: vec![format!("{name} of {inputs} inputs, with its bias")], found }
}

/// All parameters in canonical order.
fn canonical<T: Element>(network: &Network<T>) -> Vec<T> {
    let mut parameters = vec![T::ZERO; network.parameter_count()];
    crate::network::read_canonical(&network.layers, &network.parameters, &mut parameters);
    parameters
}

fn header_text(bytes: &[u8]) -> Result<Option<String>, Error> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
    Ok(metadata.metadata().as_ref().and_then(|metadata| metadata.get(header::KEY).cloned()))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| atomic::failed(FileOperation::Read, path, &error))
}

/// Whether bytes are neither safetensors, by the length of its header and its JSON, nor what `torch.save`
/// writes.
fn is_onnx(bytes: &[u8]) -> bool {
    let Some((&length, header)) = bytes.split_first_chunk() else { return false };
    let is_safetensors = header.first() == Some(&b'{') && u64::from_le_bytes(length) <= LONGEST_HEADER;
    !is_safetensors && !is_torch_save(bytes)
}

#[cfg(feature = "onnx")]
fn from_onnx<T: Element>(bytes: Vec<u8>) -> Result<Network<T>, Error> {
    onnx::from_owned(bytes)
}

#[cfg(not(feature = "onnx"))]
fn from_onnx<T: Element>(bytes: Vec<u8>) -> Result<Network<T>, Error> {
    drop(bytes);
    Err(Error::format(FormatProblem::NoOnnx))
}

fn parse(bytes: &[u8]) -> Result<SafeTensors<'_>, Error> {
    SafeTensors::deserialize(bytes).map_err(|error| match is_torch_save(bytes) {
        true => Error::format(FormatProblem::TorchSave),
        false => malformed(error),
    })
}

/// A zip archive, or the pickle of PyTorch before 1.6.
fn is_torch_save(bytes: &[u8]) -> bool {
    matches!(bytes, [b'P', b'K', 3, 4, ..] | [0x80, 2..=5, ..])
}

fn malformed(error: safetensors::SafeTensorError) -> Error {
    Error::format(FormatProblem::Safetensors { reason: error.to_string() })
}
