//! What a graph computes of each row, node by node.

use crate::error::Error;
use crate::files::onnx::constant::Constant;
use crate::files::onnx::proto;
use crate::kernels::ops::activation::Activation;

/// Some features of each row, and how they follow from those of nodes before.
pub(super) struct Expression {
    pub(super) formula: Formula,
    pub(super) features: usize,
    pub(super) origin: Origin,
}

/// The node of the file, for messages.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) node: String,
    pub(super) operator: String,
}

impl Origin {
    /// A node without a name goes by what it gives.
    pub(super) fn of(node: &proto::Node) -> Self {
        let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
        Self { node: name.cloned().unwrap_or_default(), operator: node.op_type.clone() }
    }

    /// What a node is refused with: `what` is wrong with it, and what would be `supported`.
    pub(super) fn refuse(&self, what: impl Into<String>, supported: impl Into<String>) -> Error {
        let (what, supported) = (what.into(), supported.into());
        let Self { node, operator } = self.clone();
        Error::Operator { node, operator, what, supported }
    }
}

/// Nodes by their numbers.
#[derive(Clone, Debug)]
pub(super) enum Formula {
    /// The inputs of the network.
    Input,
    /// `x W`, with `W` `[inputs, outputs]`.
    Dense {
        source: usize,
        weights: Constant,
    },
    /// A layer norm, with neither weights nor biases where the file has none.
    LayerNorm {
        source: usize,
        weights: Option<Constant>,
        epsilon: f64,
    },
    /// `a + b`.
    Sum([usize; 2]),
    /// Side by side.
    Concat(Vec<usize>),
    /// A constant for each feature, or for all.
    Affine {
        source: usize,
        step: Step,
    },
    Activation {
        source: usize,
        activation: Activation,
    },
    /// Part of a function that is written in several nodes.
    Function {
        source: usize,
        function: Function,
    },
    /// `a b`, element by element: part of such a function.
    Product([usize; 2]),
    /// `a` where `condition`, else `b`: part of such a function.
    Choice {
        condition: usize,
        sources: [usize; 2],
    },
}

impl Formula {
    /// The nodes that it reads.
    pub(super) fn sources(&self) -> Vec<usize> {
        match self {
            Self::Input => Vec::new(),
            &Self::Dense { source, .. }
            | &Self::LayerNorm { source, .. }
            | &Self::Affine { source, .. }
            | &Self::Activation { source, .. }
            | &Self::Function { source, .. } => vec![source],
            Self::Sum(sources) | Self::Product(sources) => sources.to_vec(),
            Self::Concat(sources) => sources.clone(),
            &Self::Choice { condition, sources: [a, b] } => vec![condition, a, b],
        }
    }
}

/// What becomes of a feature `x` by a constant `c`.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// `x + c`.
    Add(Constant),
    /// `x - c`.
    Subtract(Constant),
    /// `x c`.
    Multiply(Constant),
    /// `x / c`.
    Divide(Constant),
    /// `x / sqrt(c + epsilon)`.
    DivideByRoot { variances: Constant, epsilon: f64 },
}

impl Step {
    pub(super) fn constant(&self) -> &Constant {
        match self {
            Self::Add(constant)
            | Self::Subtract(constant)
            | Self::Multiply(constant)
            | Self::Divide(constant)
            | Self::DivideByRoot { variances: constant, .. } => constant,
        }
    }

    /// Whether it moves 0.
    pub(super) fn shifts(&self) -> bool {
        matches!(self, Self::Add(_) | Self::Subtract(_))
    }
}

/// Functions that are activations only together with others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Function {
    /// The error function.
    Erf,
    Exp,
    Log,
    Abs,
    SquareRoot,
    /// `1 / x`.
    Reciprocal,
    /// `min(x, 0)`.
    NegativePart,
    /// Whether `x` is above a number.
    Above(f64),
    /// The mean of all features, a single one.
    Mean,
    /// `x` less the mean of all features.
    Centered,
}
