//! The attributes of a node by name.

use crate::files::onnx::proto::{Attribute, Tensor};

/// What a node states beside its inputs.
pub(super) struct Attributes<'a> {
    pub(super) list: &'a [Attribute],
    /// Whether the network is one of `f64`.
    pub(super) is_double: bool,
}

impl<'a> Attributes<'a> {
    pub(super) fn find(&self, name: &str) -> Option<&'a Attribute> {
        self.list.iter().find(|attribute| attribute.name == name)
    }

    /// A real number, if it is there. Files hold it as `f32`: a network of `f32`, for which both are the
    /// same, has the number that was meant, 0.1 for instance, one of `f64` what runtimes compute with.
    pub(super) fn float(&self, name: &str) -> Option<f64> {
        let value = self.find(name)?.f.unwrap_or(0.0).into();
        Some(if self.is_double { value } else { meant(value) })
    }

    /// An integer, if it is there.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.find(name).map(|attribute| attribute.i.unwrap_or(0))
    }

    pub(super) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.find(name).map(|attribute| &attribute.ints[..])
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a [u8]> {
        self.find(name).map(|attribute| attribute.s.as_deref().unwrap_or(&[]))
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&'a Tensor> {
        self.find(name).and_then(|attribute| attribute.t.as_deref())
    }
}

/// The shortest number that is the same in `f32`.
pub(super) fn meant(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}
