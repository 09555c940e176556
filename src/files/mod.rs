//! Networks in files: safetensors, with PyTorch's names and layout.

mod activations;
mod atomic;
mod tensors;

use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::activation::Activation;
use crate::element::Element;
use crate::error::Error;
use crate::init::Init;
use crate::network::Network;
use tensors::{Shape, describe, read_values, write_values};

/// Keys of the file's own metadata.
const VERSION_KEY: &str = "fuseprop.version";
const ACTIVATIONS_KEY: &str = "fuseprop.activations";
const VERSION: &str = "1";

/// Where [`Network::import`] looks for the tensors of each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Names<'a> {
    /// `0.weight`, `0.bias`, .. as `torch.nn.Sequential` counts: each activation but the identity is a module too.
    /// Nothing else may be in the file.
    Sequential,
    /// The same with something before each, such as `model.policy.`. Tensors without it are passed over.
    Prefix(&'a str),
    /// The names of weights and biases, layer by layer. Other tensors are passed over.
    List(&'a [(&'a str, &'a str)]),
    /// All pairs of a matrix `name.weight` and a vector `name.bias`, by name, with numbers in it taken as numbers.
    /// There must be one for each layer.
    Discover,
}

impl<T: Element> Network<T> {
    /// Writes the network as a safetensors file that PyTorch reads too.
    ///
    /// For each layer `i.weight` `[outputs, inputs]` and `i.bias` `[outputs]`, where `i` counts modules as
    /// `torch.nn.Sequential` does: a dense layer is one, and an activation but the identity is one. In PyTorch,
    /// `model.load_state_dict(safetensors.torch.load_file(path))`. Activations are in the file's metadata.
    ///
    /// Either the whole file is there afterwards or the one before it: a temporary file beside it is written, synced
    /// and renamed, and the folder synced.
    ///
    /// # Errors
    /// [`Error::File`] with the operation that failed. The temporary file is removed then.
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

    /// Reads a network that [`Network::save`] wrote, of either element type.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be read, and the errors of [`Network::from_bytes`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        Self::from_bytes(&read(path.as_ref())?)
    }

    /// What [`Network::save`] writes.
    ///
    /// # Errors
    /// [`Error::Format`] for a header past the format's limit of 100 MB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let names = sequential_names(self, "");
        let mut tensors = Vec::with_capacity(2 * names.len());
        for (l, (weight, bias)) in names.into_iter().enumerate() {
            let layer = self.layers[l];
            let mut values = vec![T::ZERO; layer.inputs() * layer.outputs()];
            self.read_weights(l, &mut values)?;
            tensors.push((weight, vec![layer.outputs(), layer.inputs()], write_values(&values)));
            let mut values = vec![T::ZERO; layer.outputs()];
            self.read_biases(l, &mut values)?;
            tensors.push((bias, vec![layer.outputs()], write_values(&values)));
        }
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((name, TensorView::new(tensors::dtype::<T>(), shape.clone(), bytes)?))
            })
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let activations = self.layers.iter().map(|layer| activations::write(layer.activation()));
        let metadata = [
            (VERSION_KEY.to_owned(), VERSION.to_owned()),
            (ACTIVATIONS_KEY.to_owned(), activations.collect::<Vec<_>>().join(",")),
        ];
        let metadata = metadata.into_iter().collect();
        let bytes = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
        bytes.map_err(|error| Error::Format { what: error.to_string() })
    }

    /// Builds the network that [`Network::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Format`] for bytes that are no safetensors file or lack this crate's metadata, [`Error::Tensors`] for
    /// other tensors than the metadata tells, and those of [`NetworkBuilder::build`](crate::NetworkBuilder::build).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let file = parse(bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(malformed)?;
        let metadata = header.metadata().as_ref();
        let get = |key| metadata.and_then(|metadata| metadata.get(key)).map(String::as_str);
        match (get(VERSION_KEY), get(ACTIVATIONS_KEY)) {
            (Some(VERSION), Some(text)) => {
                let activations = text.split(',').map(activations::read).collect::<Result<Vec<_>, _>>()?;
                let mut network = skeleton(&file, &activations)?;
                let names = sequential_names(&network, "");
                network.fill(&file, &names, |_| true)?;
                Ok(network)
            }
            (Some(version), Some(_)) => {
                Err(Error::Format { what: format!("version {version} of the metadata, not {VERSION}") })
            }
            _ => Err(Error::Format { what: "there is no metadata of a fuseprop network".to_owned() }),
        }
    }

    /// Overwrites all parameters by those of a safetensors file, such as PyTorch writes, in `F64`, `F32`, `F16` or
    /// `BF16`.
    ///
    /// ```python
    /// safetensors.torch.save_file(model.state_dict(), "model.safetensors")
    /// ```
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Format`], or [`Error::Tensors`] with what was expected and what was found: nothing
    /// has changed then.
    pub fn import(&mut self, path: impl AsRef<Path>, names: Names<'_>) -> Result<(), Error> {
        self.import_bytes(&read(path.as_ref())?, names)
    }

    /// [`Network::import`] from memory.
    ///
    /// # Errors
    /// As [`Network::import`].
    pub fn import_bytes(&mut self, bytes: &[u8], names: Names<'_>) -> Result<(), Error> {
        let file = parse(bytes)?;
        let owned = |(weight, bias): &(&str, &str)| ((*weight).to_owned(), (*bias).to_owned());
        match names {
            Names::Sequential => self.fill(&file, &sequential_names(self, ""), |_| true),
            Names::Prefix(prefix) => {
                self.fill(&file, &sequential_names(self, prefix), |name| name.starts_with(prefix))
            }
            Names::List(list) => self.fill(&file, &list.iter().map(owned).collect::<Vec<_>>(), |_| false),
            Names::Discover => self.fill(&file, &discover(&file), |_| false),
        }
    }

    /// Reads all tensors, and only then writes them. Tensors of other names are refused where `claimed` says so.
    fn fill(
        &mut self,
        file: &SafeTensors<'_>,
        names: &[(String, String)],
        claimed: impl Fn(&str) -> bool,
    ) -> Result<(), Error> {
        let expected = expected_tensors(self, names);
        let fits = |(name, shape): &(String, Shape)| {
            file.tensor(name)
                .is_ok_and(|tensor| shape.fits(tensor.shape()) && tensors::is_read(tensor.dtype()))
        };
        let extra = |name: &&str| claimed(name) && !expected.iter().any(|(expected, _)| expected == name);
        let complete = names.len() == self.layers.len() && expected.iter().all(fits);
        if !complete || file.names().iter().any(extra) {
            let mut found: Vec<String> = file.iter().map(|(name, tensor)| describe(name, &tensor)).collect();
            found.sort();
            let expected = expected.iter().map(|(name, shape)| format!("{name} {shape}")).collect();
            return Err(Error::Tensors { expected, found });
        }
        let mut parameters = Vec::with_capacity(self.parameter_count());
        for (name, _) in &expected {
            let tensor = file.tensor(name).map_err(malformed)?;
            read_values(&tensor, &mut parameters);
        }
        self.write_parameters(&parameters)
    }
}

/// What a network looks for, in canonical order. Layers past the names have names that say so.
fn expected_tensors<T: Element>(network: &Network<T>, names: &[(String, String)]) -> Vec<(String, Shape)> {
    let missing = |l| (format!("(weights of layer {l})"), format!("(biases of layer {l})"));
    let of_layer = |l: usize| {
        let layer = network.layers[l];
        let (weight, bias) = names.get(l).cloned().unwrap_or_else(|| missing(l));
        [(weight, Shape::Matrix(layer.outputs(), layer.inputs())), (bias, Shape::Vector(layer.outputs()))]
    };
    (0..network.layers.len()).flat_map(of_layer).collect()
}

/// A network of the shapes in a file, with weights to be written.
fn skeleton<T: Element>(file: &SafeTensors<'_>, activations: &[Activation]) -> Result<Network<T>, Error> {
    let (mut index, mut below) = (0, None);
    let mut builder = None;
    for &activation in activations {
        let name = format!("{index}.weight");
        let shape = file.tensor(&name).ok().and_then(|tensor| <[usize; 2]>::try_from(tensor.shape()).ok());
        // Every weight that the network will hold must be in the file, or a small file could ask for all memory.
        let Some([outputs, inputs]) = shape.filter(|shape| below.is_none_or(|below| shape[1] == below))
        else {
            let inputs = below.map_or("inputs".to_owned(), |below: usize| below.to_string());
            let found = file.iter().map(|(name, tensor)| describe(name, &tensor)).collect();
            return Err(Error::Tensors { expected: vec![format!("{name} [outputs, {inputs}]")], found });
        };
        below = Some(outputs);
        let started = builder.unwrap_or_else(|| Network::<T>::builder(inputs).init(Init::Zeros).seed(0));
        builder = Some(started.dense(outputs, activation));
        index += modules(activation);
    }
    builder.map_or(Err(Error::Zero { what: "the number of layers" }), |builder| builder.build())
}

/// The names of all weights and biases, as `torch.nn.Sequential` counts modules.
fn sequential_names<T: Element>(network: &Network<T>, prefix: &str) -> Vec<(String, String)> {
    let mut index = 0;
    let name = |layer: &crate::Layer| {
        let names = (format!("{prefix}{index}.weight"), format!("{prefix}{index}.bias"));
        index += modules(layer.activation());
        names
    };
    network.layers.iter().map(name).collect()
}

/// Modules of PyTorch's that a dense layer is: one, and one for its activation.
fn modules(activation: Activation) -> usize {
    if activation == Activation::Identity { 1 } else { 2 }
}

/// Pairs of a matrix and a vector, by name.
fn discover(file: &SafeTensors<'_>) -> Vec<(String, String)> {
    let rank = |name: &str| file.tensor(name).map_or(0, |tensor| tensor.shape().len());
    let mut stems: Vec<&str> = file
        .names()
        .into_iter()
        .filter_map(|name| name.strip_suffix(".weight"))
        .filter(|stem| rank(&format!("{stem}.weight")) == 2 && rank(&format!("{stem}.bias")) == 1)
        .collect();
    stems.sort_by_cached_key(|stem| natural_key(stem));
    stems.into_iter().map(|stem| (format!("{stem}.weight"), format!("{stem}.bias"))).collect()
}

/// A name in parts, such that `layer.10` comes after `layer.9`: numbers by length and digits, text as it is.
fn natural_key(name: &str) -> Vec<(bool, usize, String)> {
    let mut parts: Vec<(bool, usize, String)> = Vec::new();
    for c in name.chars() {
        match parts.last_mut() {
            Some((digits, _, part)) if *digits == c.is_ascii_digit() => part.push(c),
            _ => parts.push((c.is_ascii_digit(), 0, c.to_string())),
        }
    }
    for (digits, length, part) in &mut parts {
        if *digits {
            *part = part.trim_start_matches('0').to_owned();
            *length = part.len();
        }
    }
    parts
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| atomic::failed("read", path, &error))
}

fn parse(bytes: &[u8]) -> Result<SafeTensors<'_>, Error> {
    SafeTensors::deserialize(bytes).map_err(malformed)
}

fn malformed(error: safetensors::SafeTensorError) -> Error {
    Error::Format { what: error.to_string() }
}
