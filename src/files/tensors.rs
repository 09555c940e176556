//! Tensors of a file as numbers, and back.

use core::fmt;
use std::collections::HashSet;

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};

use crate::error::Error;
use crate::files::names::{Pair, sequential, with_parameters};
use crate::files::{LONGEST_HEADER, WeightLayout, header, malformed};
use crate::network::{Layer, Network, Operation};
use crate::simd::scalar::Element;

/// Gathers the tensors of a file.
pub(super) struct Writer {
    dtype: Dtype,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Self { dtype: Dtype::F32, tensors: Vec::new() }
    }

    /// Adds a number for each parameter, in canonical order, under the names of the layers.
    pub(super) fn parameters<T: Element>(&mut self, prefix: &str, network: &Network<T>, values: &[T]) {
        self.dtype = dtype::<T>();
        let mut rest = values;
        let layers = with_parameters(&network.layers);
        for (layer, (weight, bias)) in layers.iter().zip(sequential(network, prefix)) {
            let (weights, after) = rest.split_at(layer.weight_count());
            let (biases, after) = after.split_at(layer.bias_count());
            let shape = Shape::of_weights(layer, WeightLayout::OutputsInputs);
            self.tensors.push((weight, shape.to_vec(), write_values(weights)));
            if layer.has_bias() {
                self.tensors.push((bias, vec![layer.outputs()], write_values(biases)));
            }
            rest = after;
        }
    }

    /// The file.
    pub(super) fn finish(self, text: String) -> Result<Vec<u8>, Error> {
        let views = self.tensors.iter().map(|tensor| {
            let (name, shape, bytes) = tensor;
            Ok((name, TensorView::new(self.dtype, shape.clone(), bytes)?))
        });
        let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let metadata = [(header::KEY.to_owned(), text)].into_iter().collect();
        let bytes = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
        bytes.and_then(name_format).map_err(malformed)
    }
}

/// Adds the entry of the metadata by which loaders know PyTorch's layout, before the crate's own.
///
/// Both cannot go through a map, whose entries have another order in each process: the same network gives the
/// same bytes.
fn name_format(bytes: Vec<u8>) -> Result<Vec<u8>, SafeTensorError> {
    let Some((&length, rest)) = bytes.split_first_chunk() else { return Ok(bytes) };
    let (header, data) = rest.split_at(u64::from_le_bytes(length) as usize);
    let own = format!("\"{}\":", header::KEY);
    let Some(at) = header.windows(own.len()).position(|found| found == own.as_bytes()) else {
        return Ok(bytes);
    };
    let (before, after) = header.trim_ascii_end().split_at(at);
    let mut header = [before, b"\"format\":\"pt\",", after].concat();
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > LONGEST_HEADER {
        return Err(SafeTensorError::HeaderTooLarge);
    }
    Ok([&(header.len() as u64).to_le_bytes(), &header[..], data].concat())
}

/// A number for each parameter of some layers, in canonical order, if all tensors are there and right.
/// Tensors of other names are refused where `claimed` says so.
pub(super) fn read_parameters<T: Element>(
    file: &SafeTensors<'_>,
    layers: &[Layer],
    names: &[Pair],
    layout: WeightLayout,
    claimed: impl Fn(&str) -> bool,
) -> Result<Vec<T>, Error> {
    let layers = &with_parameters(layers)[..];
    let expected = expected_tensors(layers, names, layout);
    let fits = |(name, shape): &(String, Shape)| {
        file.tensor(name).is_ok_and(|tensor| shape.fits(tensor.shape()) && is_read(tensor.dtype()))
    };
    let known: HashSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
    let extra = |name: &&str| claimed(name) && !known.contains(name);
    // Biases that the layer cannot take would be left out of what it computes.
    let is_left_over = |(layer, names): (&Layer, &Pair)| !layer.has_bias() && file.tensor(&names.1).is_ok();
    let complete = names.len() == layers.len()
        && expected.iter().all(fits)
        && !layers.iter().zip(names).any(is_left_over);
    if !complete || file.names().iter().any(extra) {
        let mut found: Vec<String> = file.iter().map(|(name, tensor)| describe(name, &tensor)).collect();
        found.sort();
        let expected = expected.iter().map(|(name, shape)| format!("{name} {shape}")).collect();
        return Err(Error::Tensors { expected, found });
    }
    let mut parameters = Vec::with_capacity(layers.iter().map(Layer::parameter_count).sum());
    for (name, shape) in &expected {
        let start = parameters.len();
        read_values(&file.tensor(name).map_err(malformed)?, &mut parameters);
        match (shape, layout) {
            (&Shape::Matrix(inputs, _), WeightLayout::InputsOutputs) => {
                transpose(&mut parameters[start..], inputs);
            }
            (Shape::Matrix(..) | Shape::Vector(_), _) => {}
        }
    }
    Ok(parameters)
}

/// `[rows, columns]` becomes `[columns, rows]`.
fn transpose<T: Element>(matrix: &mut [T], rows: usize) {
    let (from, columns) = (matrix.to_vec(), matrix.len() / rows);
    for (index, value) in matrix.iter_mut().enumerate() {
        *value = from[index % rows * columns + index / rows];
    }
}

/// What some layers look for, in canonical order. Layers past the names have names that say so.
fn expected_tensors(layers: &[Layer], names: &[Pair], layout: WeightLayout) -> Vec<(String, Shape)> {
    let missing = |l| (format!("(weights of layer {l})"), format!("(biases of layer {l})"));
    let of_layer = |(l, layer): (usize, &Layer)| {
        let (weight, bias) = names.get(l).cloned().unwrap_or_else(|| missing(l));
        let bias = layer.has_bias().then(|| (bias, Shape::Vector(layer.outputs())));
        [Some((weight, Shape::of_weights(layer, layout))), bias].into_iter().flatten()
    };
    layers.iter().enumerate().flat_map(of_layer).collect()
}

/// The shape that a tensor must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Matrix(usize, usize),
    Vector(usize),
}

impl Shape {
    pub(super) fn of_weights(layer: &Layer, layout: WeightLayout) -> Self {
        match (layer.kind().operation(), layout) {
            (Operation::Product, WeightLayout::OutputsInputs) => {
                Self::Matrix(layer.outputs(), layer.inputs())
            }
            (Operation::Product, WeightLayout::InputsOutputs) => {
                Self::Matrix(layer.inputs(), layer.outputs())
            }
            (Operation::Norm { .. } | Operation::Sum | Operation::SideBySide, _) => {
                Self::Vector(layer.outputs())
            }
        }
    }

    pub(super) fn to_vec(self) -> Vec<usize> {
        match self {
            Self::Matrix(rows, cols) => vec![rows, cols],
            Self::Vector(len) => vec![len],
        }
    }

    pub(super) fn fits(self, shape: &[usize]) -> bool {
        match self {
            Self::Matrix(rows, cols) => shape == [rows, cols],
            Self::Vector(len) => shape == [len],
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Matrix(rows, cols) => write!(f, "[{rows}, {cols}]"),
            Self::Vector(len) => write!(f, "[{len}]"),
        }
    }
}

/// Name, shape and type, for a message.
pub(super) fn describe(name: &str, tensor: &TensorView<'_>) -> String {
    format!("{name} {:?} {:?}", tensor.shape(), tensor.dtype())
}

/// Whether [`read_values`] knows the type.
pub(super) fn is_read(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// The type that an element is written as.
pub(super) fn dtype<T: Element>() -> Dtype {
    if size_of::<T>() == 8 { Dtype::F64 } else { Dtype::F32 }
}

/// Appends the tensor's numbers, each rounded once to the element type.
pub(super) fn read_values<T: Element>(tensor: &TensorView<'_>, to: &mut Vec<T>) {
    let data = tensor.data();
    let half = |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]);
    match tensor.dtype() {
        Dtype::F64 => {
            to.extend(data.as_chunks().0.iter().map(|&bytes| T::from_f64(f64::from_le_bytes(bytes))))
        }
        Dtype::F32 => {
            to.extend(data.as_chunks().0.iter().map(|&bytes| T::from_f64(f32::from_le_bytes(bytes).into())));
        }
        Dtype::F16 => to.extend(data.chunks_exact(2).map(|bytes| T::from_f64(from_f16(half(bytes))))),
        Dtype::BF16 => {
            to.extend(data.chunks_exact(2).map(|bytes| T::from_f64(from_bf16(half(bytes)).into())))
        }
        other => unreachable!("{other:?} is refused before it is read"),
    }
}

/// The numbers' bytes, lowest first.
pub(super) fn write_values<T: Element>(values: &[T]) -> Vec<u8> {
    match dtype::<T>() {
        Dtype::F64 => values.iter().flat_map(|value| value.to_f64().to_le_bytes()).collect(),
        // Exact: the element is an f32.
        _ => values.iter().flat_map(|value| (value.to_f64() as f32).to_le_bytes()).collect(),
    }
}

/// Half precision: a sign, five bits of exponent, ten of fraction (IEEE 754 binary16).
pub(super) fn from_f16(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}

/// The upper half of an `f32`.
pub(super) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_counts_evenly_within_each_exponent() {
        // From 0 to infinity the numbers rise in steps that double at every power of two.
        let mut below = from_f16(0);
        assert_eq!(below, 0.0);
        for bits in 1..0x7c00_u16 {
            let number = from_f16(bits);
            let step = 2f64.powi((i32::from((bits - 1) >> 10)).max(1) - 25);
            assert_eq!(number - below, step, "{bits:#x}");
            assert_eq!(from_f16(bits | 0x8000), -number);
            below = number;
        }
        assert_eq!(below, 65_504.0);
        assert_eq!(from_f16(0x3c00), 1.0);
        assert_eq!([from_f16(0x7c00), from_f16(0xfc00)], [f64::INFINITY, f64::NEG_INFINITY]);
        assert!(
            (0x7c01..=0x7fff_u16).all(|bits| from_f16(bits).is_nan() && from_f16(bits | 0x8000).is_nan())
        );
        assert_eq!(from_f16(0x8000).to_bits(), (-0.0_f64).to_bits());
    }

    #[test]
    fn bfloat16_is_the_upper_half_of_an_f32() {
        assert_eq!([from_bf16(0x3f80), from_bf16(0xc040), from_bf16(0x7f80)], [1.0, -3.0, f32::INFINITY]);
    }
}
