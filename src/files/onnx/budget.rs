//! What the description in a file would take in memory, before any of it is read.
//!
//! A message of two bytes on the wire becomes hundreds in memory, so that a small file could ask for all of
//! it. Numbers of tensors cost nothing: they are read where they lie.

use crate::files::onnx::refused;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::error::Error;
use crate::files::onnx::malformed;
use crate::files::onnx::proto::{
    Attribute, Dimension, Entry, Graph, Node, OperatorSet, Tensor, TensorShape, TensorType, Type, ValueInfo,
};

/// What a file may describe besides one byte for each of its own.
const ALLOWANCE: usize = 1 << 20;

/// A list that grows to three elements' memory for each of its own, in the moment in which it is moved.
const GROWTH: usize = 3;

/// What a node of the graph takes while it becomes a layer.
const NODE: usize = 1 << 9;

/// A message: its size in memory, and its fields that take more.
struct Schema {
    size: usize,
    fields: &'static [(u32, Field)],
}

enum Field {
    Message(&'static Schema),
    Text,
    Numbers,
}

static MODEL: Schema = Schema {
    size: 0,
    fields: &[(2, Field::Text), (3, Field::Text), (7, Field::Message(&GRAPH)), (8, OPSET)],
};
const OPSET: Field = Field::Message(&Schema { size: size_of::<OperatorSet>(), fields: &[(1, Field::Text)] });
static GRAPH: Schema = Schema {
    size: size_of::<Graph>(),
    fields: &[
        (1, Field::Message(&NODES)),
        (2, Field::Text),
        (5, Field::Message(&TENSOR)),
        (11, Field::Message(&VALUE)),
        (12, Field::Message(&VALUE)),
    ],
};
static NODES: Schema = Schema {
    size: size_of::<Node>() + NODE / GROWTH,
    fields: &[
        (1, Field::Text),
        (2, Field::Text),
        (3, Field::Text),
        (4, Field::Text),
        (5, Field::Message(&ATTRIBUTE)),
        (7, Field::Text),
    ],
};
static ATTRIBUTE: Schema = Schema {
    size: size_of::<Attribute>(),
    fields: &[(1, Field::Text), (5, Field::Message(&TENSOR)), (7, Field::Numbers), (8, Field::Numbers)],
};
static TENSOR: Schema = Schema {
    size: size_of::<Tensor>(),
    fields: &[(1, Field::Numbers), (8, Field::Text), (13, Field::Message(&ENTRY))],
};
static ENTRY: Schema = Schema { size: size_of::<Entry>(), fields: &[(1, Field::Text), (2, Field::Text)] };
static VALUE: Schema =
    Schema { size: size_of::<ValueInfo>(), fields: &[(1, Field::Text), (2, Field::Message(&TYPE))] };
static TYPE: Schema = Schema { size: size_of::<Type>(), fields: &[(1, Field::Message(&TENSOR_TYPE))] };
static TENSOR_TYPE: Schema =
    Schema { size: size_of::<TensorType>(), fields: &[(2, Field::Message(&TENSOR_SHAPE))] };
static TENSOR_SHAPE: Schema =
    Schema { size: size_of::<TensorShape>(), fields: &[(1, Field::Message(&DIMENSION))] };
static DIMENSION: Schema = Schema { size: size_of::<Dimension>(), fields: &[(2, Field::Text)] };

/// Refuses a file whose description would take more memory than the file, and [`ALLOWANCE`].
///
/// # Errors
/// [`Error::Format`], also for bytes that are no messages.
pub(super) fn check(bytes: &[u8]) -> Result<(), Error> {
    let (cost, limit) = (MODEL.cost(bytes)?, bytes.len() + ALLOWANCE);
    match cost <= limit {
        true => Ok(()),
        false => Err(refused(format!("its graph would take {cost} bytes of memory, more than {limit}"))),
    }
}

impl Schema {
    /// What the messages in a message take beside it.
    fn cost(&self, mut rest: &[u8]) -> Result<usize, Error> {
        let mut cost = 0;
        while !rest.is_empty() {
            let (tag, wire_type) = decode_key(&mut rest).map_err(malformed)?;
            let field = self.fields.iter().find(|(known, _)| *known == tag).map(|(_, field)| field);
            if wire_type == WireType::LengthDelimited {
                let length = usize::try_from(decode_varint(&mut rest).map_err(malformed)?);
                let parts = length.ok().and_then(|length| rest.split_at_checked(length));
                let cut = || refused("it is cut short, or no ONNX file".to_owned());
                let (part, after) = parts.ok_or_else(cut)?;
                rest = after;
                cost += field.map_or(Ok(0), |field| field.cost(part))?;
            } else {
                skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(malformed)?;
                cost += if field.is_some() { GROWTH * size_of::<i64>() } else { 0 };
            }
        }
        Ok(cost)
    }
}

impl Field {
    fn cost(&self, part: &[u8]) -> Result<usize, Error> {
        Ok(match self {
            Self::Message(schema) => GROWTH * schema.size + schema.cost(part)?,
            Self::Text => GROWTH * size_of::<String>() + part.len(),
            Self::Numbers => GROWTH * size_of::<i64>() * part.len(),
        })
    }
}
