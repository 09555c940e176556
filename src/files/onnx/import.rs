//! From the nodes of a file to what they compute of each row.

use crate::files::onnx::refused;
use std::collections::HashMap;

use crate::error::{Argument, Error};
use crate::files::onnx::attributes::{Attributes, meant};
use crate::files::onnx::constant::Constant;
use crate::files::onnx::expression::{Expression, Formula, Function, Origin};
use crate::files::onnx::proto::{Graph, Node, ValueInfo, is_float, type_name};
use crate::files::onnx::shapes::Dim;

/// What a graph computes: its expressions, and which of them it puts out.
pub(super) struct Computation {
    pub(super) expressions: Vec<Expression>,
    pub(super) outputs: Vec<usize>,
}

/// A tensor of the graph.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Rows(Rows),
    Constant(Constant),
    /// The shape of some rows.
    Shape(Vec<Dim>),
}

/// Features of each row of the batch: a node, and the shape without the batch.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) node: usize,
    pub(super) shape: Vec<usize>,
}

impl Rows {
    /// The size of the last dimension, if all others but the batch are 1.
    pub(super) fn last(&self) -> Option<usize> {
        let (&last, others) = self.shape.split_last()?;
        others.iter().all(|&dim| dim == 1).then_some(last)
    }

    /// Whether an axis, counted as ONNX does, is the last one.
    pub(super) fn is_last(&self, axis: i64) -> bool {
        let rank = self.shape.len() as i64 + 1;
        rank > 1 && (axis == -1 || axis == rank - 1)
    }
}

/// What is known of the file that a graph is from, and of the network that it becomes.
#[derive(Clone, Copy)]
pub(super) struct FileInfo {
    pub(super) opset: i64,
    pub(super) bytes: usize,
    /// Whether the network is one of `f64`.
    pub(super) is_double: bool,
}

/// Reads a graph.
///
/// # Errors
/// [`Error::Operator`] for a node that no network has, [`Error::Format`] for a graph that is none.
pub(super) fn import(graph: &Graph, file: FileInfo) -> Result<Computation, Error> {
    let mut importer = Importer::new(graph, file)?;
    for node in &graph.node {
        let value = importer.value_of(node)?;
        // Others than the first are statistics of a training: a node that reads one is refused.
        if let Some(output) = node.output.first() {
            importer.values.insert(output, value);
        }
    }
    let outputs = graph.output.iter().map(|output| importer.output(output)).collect::<Result<Vec<_>, _>>()?;
    match outputs.is_empty() {
        true => Err(refused("its graph has no outputs".to_owned())),
        false => Ok(Computation { expressions: importer.expressions, outputs }),
    }
}

/// What is known of a graph so far.
pub(super) struct Importer<'a> {
    values: HashMap<&'a str, Value>,
    expressions: Vec<Expression>,
    pub(super) file: FileInfo,
    /// The size of the batch, if the file states it.
    pub(super) batch: Option<usize>,
}

impl<'a> Importer<'a> {
    fn new(graph: &'a Graph, file: FileInfo) -> Result<Self, Error> {
        let mut importer = Self { values: HashMap::new(), expressions: Vec::new(), file, batch: None };
        for tensor in &graph.initializer {
            importer.values.insert(&tensor.name, Value::Constant(Constant::new(tensor)?));
        }
        // Before version 4 of the format initialisers are among the inputs.
        let inputs = graph.input.iter().filter(|input| !importer.values.contains_key(input.name.as_str()));
        let inputs: Vec<&ValueInfo> = inputs.collect();
        let &[input] = &inputs[..] else {
            let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
            return Err(refused(format!("its graph has the inputs {names:?}, not one")));
        };
        let rows = importer.input(input)?;
        importer.values.insert(&input.name, Value::Rows(rows));
        Ok(importer)
    }

    fn input(&mut self, input: &ValueInfo) -> Result<Rows, Error> {
        let name = &input.name;
        let refuse = |what: String| Err(refused(format!("input {name:?} {what}")));
        let Some(tensor) = input.r#type.as_ref().and_then(|of| of.tensor_type.as_ref()) else {
            return refuse("is no tensor".to_owned());
        };
        if !is_float(tensor.elem_type) {
            return refuse(format!("is of {}, not of real numbers", type_name(tensor.elem_type)));
        }
        let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
        let size = |dim: Option<i64>| dim.and_then(|dim| usize::try_from(dim).ok()).filter(|&dim| dim > 0);
        let [batch, features @ ..] = dims else {
            return refuse("has no shape: [batch, features] is read".to_owned());
        };
        let shape: Option<Vec<usize>> = features.iter().map(|dim| size(dim.dim_value)).collect();
        match shape {
            Some(shape) if !shape.is_empty() => {
                self.batch = size(batch.dim_value);
                let features = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
                let origin = Origin { node: name.clone(), operator: "input".to_owned() };
                let features = features.unwrap_or(usize::MAX);
                let node = self.push(Expression { formula: Formula::Input, features, origin })?;
                Ok(Rows { node, shape })
            }
            _ => refuse(
                "needs a shape [batch, features], with a known number of features: export it with only the \
                 batch dynamic"
                    .to_owned(),
            ),
        }
    }

    fn output(&self, output: &ValueInfo) -> Result<usize, Error> {
        match self.values.get(output.name.as_str()) {
            Some(Value::Rows(rows)) => Ok(rows.node),
            Some(Value::Constant(_) | Value::Shape(_)) => {
                Err(refused(format!("output {:?} does not depend on the inputs", output.name)))
            }
            None => Err(refused(format!("no node gives the output {:?}", output.name))),
        }
    }

    fn value_of(&mut self, node: &'a Node) -> Result<Value, Error> {
        let attributes = Attributes { list: &node.attribute, is_double: self.file.is_double };
        let operation = Operation { node, attributes };
        if !matches!(&*node.domain, "" | "ai.onnx") {
            let what = format!("operators of {:?} are not known", node.domain);
            return Err(operation.refuse(what, "operators of ONNX itself"));
        }
        self.evaluate(&operation)
    }

    /// Appends an expression.
    ///
    /// # Errors
    /// [`Error::Overflow`] for more features than a file of this size can mean.
    pub(super) fn push(&mut self, expression: Expression) -> Result<usize, Error> {
        /// Of a network without parameters.
        const FEATURES: usize = 1 << 16;
        if expression.features > self.file.bytes.saturating_add(FEATURES) {
            return Err(Error::Overflow { argument: Argument::FeatureCount });
        }
        self.expressions.push(expression);
        Ok(self.expressions.len() - 1)
    }

    pub(super) fn formula(&self, node: usize) -> &Formula {
        &self.expressions[node].formula
    }

    /// Rows of the same shape by a formula.
    pub(super) fn rows(
        &mut self,
        operation: &Operation<'_>,
        like: &Rows,
        formula: Formula,
    ) -> Result<Rows, Error> {
        let features = like.shape.iter().product();
        let node = self.push(Expression { formula, features, origin: operation.origin() })?;
        Ok(Rows { node, shape: like.shape.clone() })
    }

    /// Rows of the same shape by a function.
    pub(super) fn function(
        &mut self,
        operation: &Operation<'_>,
        of: &Rows,
        function: Function,
    ) -> Result<Rows, Error> {
        self.rows(operation, of, Formula::Function { source: of.node, function })
    }

    /// An input of a node, if it has it.
    pub(super) fn find(&self, operation: &Operation<'_>, index: usize) -> Result<Option<&Value>, Error> {
        let name = operation.node.input.get(index).filter(|name| !name.is_empty());
        let Some(name) = name else { return Ok(None) };
        let unknown = || {
            let supported = "inputs, initialisers that are not sparse, and first outputs of nodes before";
            operation.refuse(format!("reads {name:?}, which is nothing before it"), supported)
        };
        self.values.get(name.as_str()).map(Some).ok_or_else(unknown)
    }

    pub(super) fn value(&self, operation: &Operation<'_>, index: usize) -> Result<&Value, Error> {
        let missing = || operation.refuse(format!("has no input {index}"), "all inputs of the operator");
        self.find(operation, index)?.ok_or_else(missing)
    }

    /// An input that depends on the network's.
    pub(super) fn rows_at(&self, operation: &Operation<'_>, index: usize) -> Result<Rows, Error> {
        match self.value(operation, index)? {
            Value::Rows(rows) => Ok(rows.clone()),
            Value::Constant(_) | Value::Shape(_) => {
                let what = format!("input {index} does not depend on the network's inputs");
                Err(operation.refuse(what, "features of rows there"))
            }
        }
    }

    /// An input that is an initialiser or a constant, if it is there.
    pub(super) fn constant_at(
        &self,
        operation: &Operation<'_>,
        index: usize,
    ) -> Result<Option<&Constant>, Error> {
        match self.find(operation, index)? {
            None => Ok(None),
            Some(Value::Constant(constant)) if constant.has_numbers() => Ok(Some(constant)),
            Some(Value::Constant(_) | Value::Rows(_) | Value::Shape(_)) => {
                let what = format!("input {index} is computed, or no number");
                Err(operation.refuse(what, "an initialiser or a constant of numbers there"))
            }
        }
    }

    /// [`Importer::constant_at`] that must be there.
    pub(super) fn numbers_at(&self, operation: &Operation<'_>, index: usize) -> Result<&Constant, Error> {
        let missing = || operation.refuse(format!("has no input {index}"), "all inputs of the operator");
        self.constant_at(operation, index)?.ok_or_else(missing)
    }

    /// The number of an input, if it is there.
    pub(super) fn scalar_at(&self, operation: &Operation<'_>, index: usize) -> Result<Option<f64>, Error> {
        let Some(constant) = self.constant_at(operation, index)? else { return Ok(None) };
        let many = || operation.refuse(format!("input {index} is no single number"), "one number there");
        let value = constant.as_scalar().ok_or_else(many)?;
        Ok(Some(if self.file.is_double { value } else { meant(value) }))
    }
}

/// A node with its attributes by name.
pub(super) struct Operation<'a> {
    pub(super) node: &'a Node,
    pub(super) attributes: Attributes<'a>,
}

impl Operation<'_> {
    pub(super) fn origin(&self) -> Origin {
        Origin::of(self.node)
    }

    pub(super) fn refuse(&self, what: impl Into<String>, supported: impl Into<String>) -> Error {
        self.origin().refuse(what, supported)
    }
}
