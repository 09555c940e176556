//! Constants of a graph: initialisers, and what constant nodes give. Their numbers stay in the file's bytes.

use crate::files::onnx::refused;
use prost::bytes::Bytes;

use crate::error::Error;
use crate::files::onnx::proto::{Tensor, type_name};
use crate::files::tensors::{from_bf16, from_f16};

/// A tensor whose numbers are known.
#[derive(Clone, Debug)]
pub(super) struct Constant {
    /// Nothing for a number that a node implies.
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    kind: Kind,
    /// Whether the numbers lie as those of the transposed matrix, `[columns, rows]`.
    is_transposed: bool,
    bytes: Bytes,
}

/// How numbers lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    /// The bits of `F16` as varints.
    PackedF16,
    /// The bits of `Bf16` as varints.
    PackedBf16,
    /// `I64` or `I32` as varints.
    PackedInteger,
}

impl Kind {
    fn of_raw(data_type: i32) -> Option<Self> {
        Some(match data_type {
            Tensor::DOUBLE => Self::F64,
            Tensor::FLOAT => Self::F32,
            Tensor::FLOAT16 => Self::F16,
            Tensor::BFLOAT16 => Self::Bf16,
            Tensor::INT64 => Self::I64,
            Tensor::INT32 => Self::I32,
            _ => return None,
        })
    }

    fn of_packed(data_type: i32) -> Option<Self> {
        Some(match data_type {
            Tensor::FLOAT16 => Self::PackedF16,
            Tensor::BFLOAT16 => Self::PackedBf16,
            Tensor::INT64 | Tensor::INT32 => Self::PackedInteger,
            _ => return Self::of_raw(data_type),
        })
    }

    /// Bytes of a number; nothing for varints.
    fn width(self) -> Option<usize> {
        match self {
            Self::F64 | Self::I64 => Some(8),
            Self::F32 | Self::I32 => Some(4),
            Self::F16 | Self::Bf16 => Some(2),
            Self::PackedF16 | Self::PackedBf16 | Self::PackedInteger => None,
        }
    }

    fn is_integer(self) -> bool {
        matches!(self, Self::I64 | Self::I32 | Self::PackedInteger)
    }

    /// Numbers in some bytes.
    fn count(self, bytes: &[u8]) -> Option<usize> {
        match self.width() {
            Some(width) => bytes.len().is_multiple_of(width).then_some(bytes.len() / width),
            None => {
                let is_whole = bytes.last().is_none_or(|last| last >> 7 == 0);
                is_whole.then(|| bytes.iter().filter(|byte| *byte >> 7 == 0).count())
            }
        }
    }
}

impl Constant {
    /// The tensor of an initialiser or an attribute.
    ///
    /// # Errors
    /// [`Error::Format`] for another type, data in another file, and a number of elements that is not that
    /// of the shape.
    pub(super) fn new(tensor: &Tensor) -> Result<Self, Error> {
        let name = &tensor.name;
        let refuse = |what: String| Err(refused(format!("tensor {name:?} {what}")));
        if tensor.data_location != 0 || !tensor.external_data.is_empty() {
            let location = tensor.external_data.iter().find(|entry| entry.key == "location");
            let file = location.map_or("another file", |entry| &entry.value);
            return refuse(format!("has its data in {file:?}: save the model with all data inside"));
        }
        let dims: Option<Vec<usize>> = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok()).collect();
        let count = dims.iter().flatten().try_fold(1_usize, |count, &dim| count.checked_mul(dim));
        let (Some(dims), Some(count)) = (dims, count) else {
            return refuse(format!("cannot have the shape {:?}", tensor.dims));
        };
        let typed = match tensor.data_type {
            Tensor::DOUBLE => &tensor.double_data,
            Tensor::FLOAT => &tensor.float_data,
            Tensor::INT64 => &tensor.int64_data,
            _ => &tensor.int32_data,
        };
        let is_raw = !tensor.raw_data.is_empty();
        let (bytes, kind) = match is_raw {
            true => (&tensor.raw_data, Kind::of_raw(tensor.data_type)),
            false => (typed, Kind::of_packed(tensor.data_type)),
        };
        let Some(kind) = kind else {
            let found = type_name(tensor.data_type);
            return refuse(format!("is of {found}: DOUBLE, FLOAT, FLOAT16, BFLOAT16, INT64, INT32 are read"));
        };
        if kind.count(bytes) != Some(count) {
            return refuse(format!("of shape {dims:?} has not {count} numbers"));
        }
        Ok(Self { name: name.clone(), dims, kind, is_transposed: false, bytes: bytes.clone() })
    }

    /// A number of any shape.
    pub(super) fn scalar(value: f64) -> Self {
        Self::of_values(Kind::F64, Vec::new(), Bytes::copy_from_slice(&value.to_le_bytes()))
    }

    /// A single integer, as an index of `Gather` is.
    pub(super) fn of_integer(value: i64) -> Self {
        Self::of_values(Kind::I64, Vec::new(), Bytes::copy_from_slice(&value.to_le_bytes()))
    }

    /// A vector of integers.
    pub(super) fn of_integers(values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::of_values(Kind::I64, vec![values.len()], bytes.into())
    }

    /// A vector of `f32`.
    pub(super) fn of_floats(values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Self::of_values(Kind::F32, vec![values.len()], bytes.into())
    }

    fn of_values(kind: Kind, dims: Vec<usize>, bytes: Bytes) -> Self {
        Self { name: String::new(), dims, kind, is_transposed: false, bytes }
    }

    pub(super) fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    pub(super) fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// The numbers in another shape of as many; nothing for a matrix that lies transposed.
    pub(super) fn reshaped(&self, dims: Vec<usize>) -> Option<Self> {
        (!self.is_transposed).then(|| Self { dims, ..self.clone() })
    }

    /// The transposed matrix; nothing for another rank.
    pub(super) fn transposed(&self) -> Option<Self> {
        let &[rows, columns] = &self.dims[..] else { return None };
        Some(Self { dims: vec![columns, rows], is_transposed: !self.is_transposed, ..self.clone() })
    }

    /// The only number of a constant that has one.
    pub(super) fn as_scalar(&self) -> Option<f64> {
        (self.len() == 1).then(|| self.numbers().at(0))
    }

    /// All numbers of a constant of integers, which is a shape, or axes.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        match self.kind {
            _ if self.len() > Self::MOST_INTEGERS => None,
            Kind::I64 => {
                Some(self.bytes.as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect())
            }
            Kind::I32 => {
                let values = self.bytes.as_chunks().0.iter();
                Some(values.map(|&bytes| i32::from_le_bytes(bytes).into()).collect())
            }
            Kind::PackedInteger => Some(varints(&self.bytes).map(|bits| bits as i64).collect()),
            Kind::F64 | Kind::F32 | Kind::F16 | Kind::Bf16 | Kind::PackedF16 | Kind::PackedBf16 => None,
        }
    }

    /// More than a shape has, so that it need not be taken for one.
    const MOST_INTEGERS: usize = 64;

    /// Whether [`Constant::numbers`] can be called: not of long lists of integers, which are no parameters.
    pub(super) fn has_numbers(&self) -> bool {
        !self.kind.is_integer() || self.len() <= Self::MOST_INTEGERS
    }

    /// The numbers, to be read one by one.
    pub(super) fn numbers(&self) -> Numbers<'_> {
        let mut unpacked = Vec::new();
        if self.kind.width().is_none() {
            // Halves have 16 bits, integers are few.
            unpacked.reserve_exact(self.len());
            unpacked.extend(varints(&self.bytes).map(|bits| bits as i64));
        }
        Numbers { kind: self.kind, bytes: &self.bytes, unpacked, stored: self.stored_matrix() }
    }

    /// The rows of the matrix as it lies in the file, if that is the transposed one.
    fn stored_matrix(&self) -> Option<StoredMatrix> {
        let &[columns, rows] = &self.dims[..] else { return None };
        self.is_transposed.then_some(StoredMatrix { rows, columns })
    }
}

#[derive(Clone, Copy)]
struct StoredMatrix {
    rows: usize,
    columns: usize,
}

/// The numbers of a [`Constant`], in the order of its shape.
pub(super) struct Numbers<'a> {
    kind: Kind,
    bytes: &'a [u8],
    /// What was varints.
    unpacked: Vec<i64>,
    stored: Option<StoredMatrix>,
}

impl Numbers<'_> {
    pub(super) fn at(&self, index: usize) -> f64 {
        let index = match self.stored {
            // Of the matrix as it is read, `rows` are the columns.
            Some(StoredMatrix { rows, columns }) => index % rows * columns + index / rows,
            None => index,
        };
        match self.kind {
            Kind::F64 => f64::from_le_bytes(self.part(index)),
            Kind::F32 => f32::from_le_bytes(self.part(index)).into(),
            Kind::F16 => from_f16(u16::from_le_bytes(self.part(index))),
            Kind::Bf16 => from_bf16(u16::from_le_bytes(self.part(index))).into(),
            Kind::I64 => i64::from_le_bytes(self.part(index)) as f64,
            Kind::I32 => i32::from_le_bytes(self.part(index)).into(),
            Kind::PackedF16 => from_f16(self.unpacked[index] as u16),
            Kind::PackedBf16 => from_bf16(self.unpacked[index] as u16).into(),
            Kind::PackedInteger => self.unpacked[index] as f64,
        }
    }

    fn part<const N: usize>(&self, index: usize) -> [u8; N] {
        self.bytes.as_chunks().0[index]
    }
}

/// Numbers of seven bits a byte, lowest first, each but the last with its highest bit set.
fn varints(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (mut value, mut shift) = (0_u64, 0);
    bytes.iter().filter_map(move |&byte| {
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        (byte >> 7 == 0).then(|| {
            shift = 0;
            core::mem::take(&mut value)
        })
    })
}
