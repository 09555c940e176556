//! Which tensor belongs to which layer.

use safetensors::SafeTensors;

use crate::error::{Error, FormatProblem};
use crate::network::{Layer, Network};
use crate::simd::scalar::Element;

/// Where [`Network::import`](crate::Network::import) looks for the tensors of each layer.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network, TensorNames};
///
/// let build = |seed| {
///     let builder = Network::<f32>::builder(4).dense(3, Activation::Relu).dense(2, Activation::Identity);
///     builder.seed(seed).build()
/// };
/// let bytes = build(1)?.to_bytes()?; // with the names of Linear, ReLU, Linear
/// let names = [("0.weight", "0.bias"), ("2.weight", "2.bias")];
/// for names in [TensorNames::Sequential, TensorNames::List(&names), TensorNames::Discover] {
///     let mut network = build(2)?;
///     network.import_bytes(&bytes, names)?;
///     assert_eq!(network.predict(&[0.5; 4])?, build(1)?.predict(&[0.5; 4])?);
/// }
/// assert!(build(2)?.import_bytes(&bytes, TensorNames::Prefix("model.")).is_err()); // none is of it
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorNames<'a> {
    /// `0.weight`, `0.bias`, .. as `torch.nn.Sequential` counts: each activation but the identity is a module
    /// too, and so is each dropout. Nothing else may be in the file.
    ///
    /// What joins others is a module with the modules of its layers in it. A residual block is
    /// `2.block.0.weight`, ..: a module that holds a `Sequential` as `self.block`, and returns
    /// `x + self.block(x)`. Of several heads the first is `3.heads.0.0.weight`, ..: a module that holds a
    /// `ModuleList` of `Sequential` as `self.heads`. A concatenation is a module without parameters.
    Sequential,
    /// The same with something before each, such as `model.policy.`. Tensors without it are passed over.
    Prefix(&'a str),
    /// The names of weights and biases, layer by layer with parameters, whatever they are: `norm.scale`,
    /// `dense/kernel`. Other tensors are passed over. The biases of a layer without them must not be
    /// there: `""` for instance.
    List(&'a [(&'a str, &'a str)]),
    /// All pairs of a matrix `name.weight` and a vector `name.bias`, in the order of their names, with
    /// numbers in them taken as numbers. Names without numbers are in the order of the alphabet: `fc1`,
    /// `head`, `norm`, which is seldom that of the layers, and equal shapes cannot tell. Give them as a
    /// [`TensorNames::List`].
    ///
    /// For a network with layer norms pairs of two vectors are taken too, and for one with layers without
    /// biases weights without a `name.bias`. There must be one for each layer.
    Discover,
}

/// The names of a layer's weights and biases.
pub(super) type Pair = (String, String);

/// The names of the weights and biases of all layers with parameters, see [`TensorNames::Sequential`].
pub(super) fn sequential<T: Element>(network: &Network<T>, prefix: &str) -> Vec<Pair> {
    let layers = network.layers.iter().enumerate().filter(|(_, layer)| layer.kind().has_parameters());
    let names = layers.map(|(i, _)| network.layers.name(i));
    names.map(|name| (format!("{prefix}{name}.weight"), format!("{prefix}{name}.bias"))).collect()
}

/// The layers with parameters, in the order of their tensors.
pub(super) fn with_parameters(layers: &[Layer]) -> Vec<Layer> {
    layers.iter().copied().filter(|layer| layer.kind().has_parameters()).collect()
}

/// Pairs of a matrix, or a vector if there are layer norms, and a vector, or nothing if layers without biases
/// are there, by name.
pub(super) fn discover(file: &SafeTensors<'_>, layers: &[Layer]) -> Vec<Pair> {
    let norms = layers.iter().any(|layer| layer.kind().has_epsilon());
    let rank = |name: &str| file.tensor(name).map_or(0, |tensor| tensor.shape().len());
    let some_have_none = layers.iter().any(|layer| !layer.has_bias());
    let is_bias = |name: &str| match file.tensor(name) {
        Ok(tensor) => tensor.shape().len() == 1,
        Err(_) => some_have_none,
    };
    let is_weight = |rank: usize| rank == 2 || rank == 1 && norms;
    let mut stems: Vec<&str> = file
        .names()
        .into_iter()
        .filter_map(|name| name.strip_suffix(".weight"))
        .filter(|stem| is_weight(rank(&format!("{stem}.weight"))) && is_bias(&format!("{stem}.bias")))
        .collect();
    stems.sort_by_cached_key(|stem| natural_key(stem));
    stems.into_iter().map(|stem| (format!("{stem}.weight"), format!("{stem}.bias"))).collect()
}

/// What a batch norm keeps beside its weight and bias: in PyTorch, in Keras.
const STATISTICS: [&str; 5] =
    ["running_mean", "running_var", "num_batches_tracked", "moving_mean", "moving_variance"];

/// Refuses tensors of a batch norm among those that a layer would take: its weight and bias look like a layer
/// norm's, and a network without it computes something else.
///
/// # Errors
/// [`FormatProblem::BatchNorm`] with the name.
pub(super) fn refuse_batch_norm(file: &SafeTensors<'_>, names: TensorNames<'_>) -> Result<(), Error> {
    let is_taken = |module: &str| match names {
        TensorNames::Sequential | TensorNames::Discover => true,
        TensorNames::Prefix(prefix) => module.starts_with(prefix),
        TensorNames::List(list) => {
            list.iter().any(|(weight, bias)| [weight, bias].into_iter().any(|name| module_of(name) == module))
        }
    };
    let mut found =
        file.names().into_iter().filter(|name| STATISTICS.contains(&&name[module_of(name).len()..]));
    let Some(name) = found.find(|name| is_taken(module_of(name))) else { return Ok(()) };
    let module = module_of(name).strip_suffix(['.', '/']).unwrap_or("").to_owned();
    Err(Error::format(FormatProblem::BatchNorm { module }))
}

/// The start of a tensor's name that all tensors of its module share, up to the last dot or slash.
fn module_of(name: &str) -> &str {
    &name[..name.rfind(['.', '/']).map_or(0, |separator| separator + 1)]
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
