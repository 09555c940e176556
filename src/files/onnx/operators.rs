//! What each operator of ONNX is in a network.

use crate::error::Error;
use crate::files::onnx::constant::Constant;
use crate::files::onnx::expression::{Expression, Formula, Function, Step};
use crate::files::onnx::functions::is_selu;
use crate::files::onnx::import::{Importer, Operation, Rows, Value};
use crate::files::onnx::proto::{is_float, type_name};
use crate::kernels::ops::activation::Activation;

/// What the message about an unknown operator lists.
const OPERATORS: &str = "Gemm, MatMul, Add, Sub, Mul, Div, Neg, Sum, Pow, Sqrt, Concat, \
                         BatchNormalization, LayerNormalization, ReduceMean, Softmax, Sigmoid, Tanh, \
                         Relu, LeakyRelu, PRelu, Elu, Celu, Selu, Gelu, Softplus, Softsign, HardSigmoid, \
                         HardSwish, Mish, Clip, Min, Max, Sin, Erf, Exp, Log, Abs, Greater, Where, \
                         Constant, Identity, Dropout, Cast, Flatten, Reshape, Squeeze, Unsqueeze, \
                         Transpose, Shape, Gather, Slice";

impl Importer<'_> {
    /// The first output of a node.
    pub(super) fn evaluate(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        match &*operation.node.op_type {
            "Gemm" => self.gemm(operation),
            "MatMul" => self.matmul(operation),
            "Add" | "Sub" | "Mul" | "Div" => self.arithmetic(operation),
            "Sum" => self.sum(operation),
            "Neg" => self.scaled(operation, -1.0),
            "Pow" => self.power(operation),
            "Sqrt" => self.call(operation, Function::SquareRoot),
            "Erf" => self.call(operation, Function::Erf),
            "Exp" => self.call(operation, Function::Exp),
            "Log" => self.call(operation, Function::Log),
            "Abs" => self.call(operation, Function::Abs),
            "Concat" => self.concat(operation),
            "BatchNormalization" => self.batch_norm(operation),
            "LayerNormalization" => self.layer_norm(operation),
            "ReduceMean" => self.mean(operation),
            "Sigmoid" => self.activation(operation, Activation::Sigmoid),
            "Tanh" => self.activation(operation, Activation::Tanh),
            "Relu" => self.activation(operation, Activation::Relu),
            "Mish" => self.activation(operation, Activation::Mish),
            "HardSwish" => self.activation(operation, Activation::HardSwish),
            "Softsign" => self.activation(operation, Activation::Softsign),
            "Softplus" => self.activation(operation, Activation::Softplus),
            "Sin" => self.activation(operation, Activation::Sine { frequency: 1.0 }),
            "LeakyRelu" => {
                let slope = operation.attributes.float("alpha").unwrap_or(0.01);
                self.activation(operation, Activation::LeakyRelu { slope })
            }
            "PRelu" => self.prelu(operation),
            "Elu" => {
                let alpha = operation.attributes.float("alpha").unwrap_or(1.0);
                self.activation(operation, Activation::Elu { alpha })
            }
            "Celu" => self.celu(operation),
            "Selu" => self.selu(operation),
            "Gelu" => self.gelu(operation),
            "HardSigmoid" => self.hard_sigmoid(operation),
            "Clip" => self.clip(operation),
            "Min" | "Max" => self.bound(operation),
            "Softmax" => self.softmax(operation),
            "Greater" => self.greater(operation),
            "Where" => self.choice(operation),
            other => self.without_numbers(operation, other),
        }
    }

    /// Operators that compute nothing.
    fn without_numbers(&self, operation: &Operation<'_>, name: &str) -> Result<Value, Error> {
        match name {
            "Constant" => constant(operation),
            "Identity" => self.value(operation, 0).cloned(),
            "Dropout" => self.dropout(operation),
            "Cast" => self.cast(operation),
            "Flatten" => self.flatten(operation),
            "Reshape" => self.reshape(operation),
            "Squeeze" => self.squeeze(operation, true),
            "Unsqueeze" => self.squeeze(operation, false),
            "Transpose" => self.transpose(operation),
            "Shape" => self.shape(operation),
            "Gather" => self.gather(operation),
            "Slice" => self.slice(operation),
            _ => Err(operation.refuse("no network of this crate computes it", OPERATORS)),
        }
    }

    /// `y = alpha A B + beta C`.
    fn gemm(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let attributes = &operation.attributes;
        if attributes.int("transA").unwrap_or(0) != 0 {
            return Err(operation.refuse("transA is not 0", "transA = 0: rows of features"));
        }
        let a = self.rows_at(operation, 0)?;
        if a.shape.len() != 1 {
            return Err(operation.refuse(format!("A has rows of {:?}", a.shape), "A [batch, features]"));
        }
        let b = self.numbers_at(operation, 1)?.clone();
        let is_transposed = attributes.int("transB").unwrap_or(0) != 0;
        let b = if is_transposed { b.transposed() } else { Some(b) };
        let mut y = self.dense(operation, &a, b)?;
        let c = self.constant_at(operation, 2)?.cloned();
        let alpha = attributes.float("alpha").unwrap_or(1.0);
        let beta = attributes.float("beta").unwrap_or(1.0);
        let c = c.filter(|_| beta != 0.0);
        // alpha A B + beta C = beta (alpha / beta A B + C)
        let (inner, outer) = if c.is_some() { (alpha / beta, beta) } else { (alpha, 1.0) };
        y = self.times(operation, y, inner)?;
        if let Some(c) = c {
            y = self.affine(operation, &y, Step::Add(c))?;
        }
        self.times(operation, y, outer).map(Value::Rows)
    }

    fn matmul(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let a = self.rows_at(operation, 0)?;
        let b = self.numbers_at(operation, 1)?.clone();
        self.dense(operation, &a, Some(b)).map(Value::Rows)
    }

    /// Products of rows with weights `[inputs, outputs]`.
    fn dense(
        &mut self,
        operation: &Operation<'_>,
        x: &Rows,
        weights: Option<Constant>,
    ) -> Result<Rows, Error> {
        let supported = "x [batch, inputs] and weights [inputs, outputs], both at least 1";
        let Some(weights) = weights.filter(|weights| weights.dims.len() == 2) else {
            return Err(operation.refuse("the weights are no matrix", supported));
        };
        let (inputs, features) = (weights.dims[0], weights.dims[1]);
        if x.last() != Some(inputs) || inputs == 0 || features == 0 {
            let what = format!("multiplies rows of {:?} by weights of {:?}", x.shape, weights.dims);
            return Err(operation.refuse(what, supported));
        }
        let formula = Formula::Dense { source: x.node, weights };
        let node = self.push(Expression { formula, features, origin: operation.origin() })?;
        let shape = [&x.shape[..x.shape.len() - 1], &[features]].concat();
        Ok(Rows { node, shape })
    }

    /// Rows by a step, whose constants must have a number for each feature, or one for all.
    fn affine(&mut self, operation: &Operation<'_>, x: &Rows, step: Step) -> Result<Rows, Error> {
        let constant = step.constant();
        let features: usize = x.shape.iter().product();
        // Aligned at the last dimension, as ONNX broadcasts; past the features there is the batch.
        let mut dims = x.shape.iter().rev().copied().chain([1]);
        let fits = constant.dims.iter().rev().all(|&dim| dims.next().is_some_and(|of| dim == 1 || dim == of));
        if !fits || constant.len() != 1 && constant.len() != features {
            let what = format!("joins rows of {:?} and a constant of {:?}", x.shape, constant.dims);
            return Err(operation.refuse(what, "a number for each feature, or one for all"));
        }
        self.rows(operation, x, Formula::Affine { source: x.node, step })
    }

    /// Rows times a number, as they are if it is 1.
    fn times(&mut self, operation: &Operation<'_>, x: Rows, number: f64) -> Result<Rows, Error> {
        match number == 1.0 {
            true => Ok(x),
            false => self.affine(operation, &x, Step::Multiply(Constant::scalar(number))),
        }
    }

    fn scaled(&mut self, operation: &Operation<'_>, number: f64) -> Result<Value, Error> {
        let x = self.rows_at(operation, 0)?;
        self.times(operation, x, number).map(Value::Rows)
    }

    fn arithmetic(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let name = &*operation.node.op_type;
        match (self.value(operation, 0)?, self.value(operation, 1)?) {
            (Value::Rows(a), Value::Rows(b)) => {
                let (a, b) = (a.clone(), b.clone());
                match name {
                    "Add" => self.added(operation, &a, &b),
                    "Sub" => self.difference(operation, &a, &b),
                    "Mul" => self.product(operation, &a, &b),
                    _ => self.quotient(operation, &a, &b),
                }
            }
            (Value::Rows(x), Value::Constant(_)) => {
                let (x, c) = (x.clone(), self.numbers_at(operation, 1)?.clone());
                let step = match name {
                    "Add" => Step::Add(c),
                    "Sub" => Step::Subtract(c),
                    "Mul" => Step::Multiply(c),
                    _ => Step::Divide(c),
                };
                self.affine(operation, &x, step)
            }
            (Value::Constant(_), Value::Rows(x)) => {
                let (mut x, c) = (x.clone(), self.numbers_at(operation, 0)?.clone());
                let step = match name {
                    "Add" => Step::Add(c),
                    "Mul" => Step::Multiply(c),
                    "Sub" => {
                        x = self.times(operation, x, -1.0)?;
                        Step::Add(c)
                    }
                    _ => return Err(operation.refuse("divides by features", "a constant divisor")),
                };
                self.affine(operation, &x, step)
            }
            _ => {
                let what = "computes with constants alone";
                Err(operation.refuse(what, "features of rows: export with constant folding"))
            }
        }
        .map(Value::Rows)
    }

    fn added(&mut self, operation: &Operation<'_>, a: &Rows, b: &Rows) -> Result<Rows, Error> {
        self.check_shapes(operation, a, b)?;
        self.rows(operation, a, Formula::Sum([a.node, b.node]))
    }

    /// `a - b`, or what is left of a row without its mean.
    fn difference(&mut self, operation: &Operation<'_>, a: &Rows, b: &Rows) -> Result<Rows, Error> {
        if let &Formula::Function { source, function: Function::Mean } = self.formula(b.node)
            && source == a.node
        {
            return self.function(operation, a, Function::Centered);
        }
        self.check_shapes(operation, a, b)?;
        let b = self.times(operation, b.clone(), -1.0)?;
        self.rows(operation, a, Formula::Sum([a.node, b.node]))
    }

    fn product(&mut self, operation: &Operation<'_>, a: &Rows, b: &Rows) -> Result<Rows, Error> {
        self.check_shapes(operation, a, b)?;
        self.rows(operation, a, Formula::Product([a.node, b.node]))
    }

    /// A division by a root, as in a layer norm.
    fn quotient(&mut self, operation: &Operation<'_>, a: &Rows, b: &Rows) -> Result<Rows, Error> {
        let is_root =
            matches!(self.formula(b.node), Formula::Function { function: Function::SquareRoot, .. });
        if !is_root || b.shape.iter().any(|&dim| dim != 1) {
            return Err(
                operation.refuse("divides by features", "a constant divisor, or that of a layer norm")
            );
        }
        let reciprocal = self.function(operation, b, Function::Reciprocal)?;
        self.rows(operation, a, Formula::Product([a.node, reciprocal.node]))
    }

    fn check_shapes(&self, operation: &Operation<'_>, a: &Rows, b: &Rows) -> Result<(), Error> {
        match a.shape == b.shape {
            true => Ok(()),
            false => {
                let what = format!("joins rows of {:?} and {:?}", a.shape, b.shape);
                Err(operation.refuse(what, "rows of one shape"))
            }
        }
    }

    /// `Sum` of any number of tensors.
    fn sum(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let mut sum = self.rows_at(operation, 0)?;
        for index in 1..operation.node.input.len() {
            sum = match self.value(operation, index)? {
                Value::Rows(rows) => {
                    let rows = rows.clone();
                    self.added(operation, &sum, &rows)?
                }
                Value::Constant(_) | Value::Shape(_) => {
                    let constant = self.numbers_at(operation, index)?.clone();
                    self.affine(operation, &sum, Step::Add(constant))?
                }
            };
        }
        Ok(Value::Rows(sum))
    }

    /// Powers that are products.
    fn power(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let (x, exponent) = (self.rows_at(operation, 0)?, self.scalar_at(operation, 1)?);
        let square = |x: &Rows| Formula::Product([x.node, x.node]);
        match exponent {
            Some(0.5) => self.function(operation, &x, Function::SquareRoot),
            Some(1.0) => Ok(x),
            Some(2.0) => self.rows(operation, &x, square(&x)),
            Some(3.0) => {
                let squares = self.rows(operation, &x, square(&x))?;
                self.rows(operation, &x, Formula::Product([x.node, squares.node]))
            }
            other => Err(operation.refuse(format!("has the exponent {other:?}"), "0.5, 1, 2 and 3")),
        }
        .map(Value::Rows)
    }

    fn call(&mut self, operation: &Operation<'_>, function: Function) -> Result<Value, Error> {
        let x = self.rows_at(operation, 0)?;
        self.function(operation, &x, function).map(Value::Rows)
    }

    /// `Concat` of features, or of numbers of a shape.
    fn concat(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        if let Some(shape) = self.joined_shape(operation)? {
            return Ok(shape);
        }
        let axis = operation.attributes.int("axis").unwrap_or(1);
        let (mut sources, mut features, mut shape) = (Vec::new(), 0_usize, Vec::new());
        for index in 0..operation.node.input.len() {
            let rows = self.rows_at(operation, index)?;
            let last = rows.last().filter(|_| rows.is_last(axis));
            if last.is_none() || !sources.is_empty() && rows.shape.len() != shape.len() {
                let what = format!("joins rows of {:?} along axis {axis}", rows.shape);
                return Err(operation.refuse(what, "features, along the last axis"));
            }
            features = features.saturating_add(last.unwrap_or(0));
            sources.push(rows.node);
            shape = rows.shape;
        }
        if let (&[node], 1) = (&sources[..], sources.len()) {
            return Ok(Value::Rows(Rows { node, shape }));
        }
        let formula = Formula::Concat(sources);
        let node = self.push(Expression { formula, features, origin: operation.origin() })?;
        shape.pop();
        shape.push(features);
        Ok(Value::Rows(Rows { node, shape }))
    }

    /// `(x - mean) / sqrt(variance + epsilon) scale + bias`.
    fn batch_norm(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        if operation.attributes.int("training_mode").unwrap_or(0) != 0 {
            return Err(operation.refuse("is in training mode", "training_mode = 0: call model.eval()"));
        }
        let mut x = self.rows_at(operation, 0)?;
        let features: usize = x.shape.iter().product();
        let [scale, bias, mean, variances] =
            [1, 2, 3, 4].map(|index| self.numbers_at(operation, index).cloned());
        let (scale, bias, mean, variances) = (scale?, bias?, mean?, variances?);
        let fits = [&scale, &bias, &mean, &variances].iter().all(|constant| constant.dims == [features]);
        if x.shape.first() != Some(&features) || !fits {
            let what = format!("normalises rows of {:?} by constants of {:?}", x.shape, scale.dims);
            return Err(operation.refuse(what, "[batch, features] and a number for each feature"));
        }
        let shape = core::mem::replace(&mut x.shape, vec![features]);
        let epsilon = operation.attributes.float("epsilon").unwrap_or(1e-5);
        let steps = [
            Step::Subtract(mean),
            Step::DivideByRoot { variances, epsilon },
            Step::Multiply(scale),
            Step::Add(bias),
        ];
        for step in steps {
            x = self.affine(operation, &x, step)?;
        }
        Ok(Value::Rows(Rows { shape, ..x }))
    }

    fn layer_norm(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let x = self.rows_at(operation, 0)?;
        let axis = operation.attributes.int("axis").unwrap_or(-1);
        let supported = "the last axis, with a weight and a bias for each feature";
        let Some(features) = x.last().filter(|_| x.is_last(axis)) else {
            return Err(operation.refuse(format!("normalises {:?} from axis {axis}", x.shape), supported));
        };
        let fits = |constant: &Constant| constant.dims == [features];
        let weights = self.numbers_at(operation, 1)?.clone();
        let biases = self.constant_at(operation, 2)?.cloned();
        if !fits(&weights) || !biases.as_ref().is_none_or(fits) {
            return Err(operation.refuse(format!("has weights of {:?}", weights.dims), supported));
        }
        let epsilon = operation.attributes.float("epsilon").unwrap_or(1e-5);
        let formula = Formula::LayerNorm { source: x.node, weights: Some(weights), epsilon };
        let y = self.rows(operation, &x, formula)?;
        match biases {
            Some(biases) => self.affine(operation, &y, Step::Add(biases)),
            None => Ok(y),
        }
        .map(Value::Rows)
    }

    /// The mean of a row, as in a layer norm.
    fn mean(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let x = self.rows_at(operation, 0)?;
        let axes = match operation.attributes.ints("axes") {
            Some(axes) => Some(axes.to_vec()),
            None => self.constant_at(operation, 1)?.and_then(Constant::integers),
        };
        let keeps = operation.attributes.int("keepdims").unwrap_or(1) != 0;
        let is_last =
            x.last().is_some() && axes.is_some_and(|axes| matches!(axes[..], [axis] if x.is_last(axis)));
        if !is_last || !keeps {
            return Err(
                operation.refuse("is no mean over the last axis", "that of a layer norm, with keepdims")
            );
        }
        let formula = Formula::Function { source: x.node, function: Function::Mean };
        let node = self.push(Expression { formula, features: 1, origin: operation.origin() })?;
        Ok(Value::Rows(Rows { node, shape: vec![1; x.shape.len()] }))
    }

    fn activation(&mut self, operation: &Operation<'_>, activation: Activation) -> Result<Value, Error> {
        let x = self.rows_at(operation, 0)?;
        self.activated(operation, &x, activation).map(Value::Rows)
    }

    fn activated(
        &mut self,
        operation: &Operation<'_>,
        x: &Rows,
        activation: Activation,
    ) -> Result<Rows, Error> {
        let wrong = |error: Error| operation.refuse(error.to_string(), "settings of fuseprop::Activation");
        activation.check::<f64>().map_err(wrong)?;
        self.rows(operation, x, Formula::Activation { source: x.node, activation })
    }

    fn prelu(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        match self.scalar_at(operation, 1)? {
            Some(slope) => self.activation(operation, Activation::LeakyRelu { slope }),
            None => Err(operation.refuse("has no slope", "one slope for all features")),
        }
    }

    /// `max(x, 0) + min(0, alpha (e^(x / alpha) - 1))`, which is ELU of `x / alpha`, times alpha, for alpha
    /// of 1 alone.
    fn celu(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        match operation.attributes.float("alpha").unwrap_or(1.0) {
            1.0 => self.activation(operation, Activation::Elu { alpha: 1.0 }),
            alpha => Err(operation.refuse(format!("alpha is {alpha}"), "alpha = 1, where it is Elu")),
        }
    }

    /// `gamma` times ELU.
    fn selu(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let attributes = &operation.attributes;
        // ONNX's defaults are the constants rounded to f32.
        let alpha = attributes.float("alpha").unwrap_or(1.673_263_2);
        let gamma = attributes.float("gamma").unwrap_or(1.050_701);
        if is_selu(alpha, gamma) {
            return self.activation(operation, Activation::Selu);
        }
        let x = self.rows_at(operation, 0)?;
        let y = self.activated(operation, &x, Activation::Elu { alpha })?;
        self.times(operation, y, gamma).map(Value::Rows)
    }

    fn gelu(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        match operation.attributes.text("approximate").unwrap_or(b"none") {
            b"none" => self.activation(operation, Activation::Gelu),
            b"tanh" => self.activation(operation, Activation::GeluTanh),
            other => {
                let what = format!("approximate is {:?}", String::from_utf8_lossy(other));
                Err(operation.refuse(what, "\"none\" and \"tanh\""))
            }
        }
    }

    /// `min(max(alpha x + beta, 0), 1)`. The alpha of ONNX's default is 0.2, the crate's 1/6.
    fn hard_sigmoid(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let alpha = operation.attributes.float("alpha").unwrap_or(0.2_f32.into());
        let beta = operation.attributes.float("beta").unwrap_or(0.5);
        let x = self.rows_at(operation, 0)?;
        if alpha as f32 == 1.0 / 6.0 && beta == 0.5 {
            return self.activated(operation, &x, Activation::HardSigmoid).map(Value::Rows);
        }
        let x = self.times(operation, x, alpha)?;
        let x = self.affine(operation, &x, Step::Add(Constant::scalar(beta)))?;
        self.activated(operation, &x, Activation::HardTanh { min: 0.0, max: 1.0 }).map(Value::Rows)
    }

    fn clip(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let attributes = &operation.attributes;
        let finite = |bound: &f64| bound.abs() < f32::MAX.into();
        // Attributes up to version 6, inputs from 11 on.
        let min =
            attributes.float("min").map_or_else(|| self.scalar_at(operation, 1), |min| Ok(Some(min)))?;
        let max =
            attributes.float("max").map_or_else(|| self.scalar_at(operation, 2), |max| Ok(Some(max)))?;
        self.clipped(operation, min.filter(finite), max.filter(finite))
    }

    fn clipped(
        &mut self,
        operation: &Operation<'_>,
        min: Option<f64>,
        max: Option<f64>,
    ) -> Result<Value, Error> {
        let x = self.rows_at(operation, 0)?;
        match (min, max) {
            (None, None) => Ok(x),
            (Some(0.0), None) => self.activated(operation, &x, Activation::Relu),
            (None, Some(0.0)) => self.function(operation, &x, Function::NegativePart),
            (Some(0.0), Some(6.0)) => self.activated(operation, &x, Activation::Relu6),
            (Some(min), Some(max)) => self.activated(operation, &x, Activation::HardTanh { min, max }),
            (min, max) => {
                let what = format!("clips from {min:?} to {max:?}");
                Err(operation.refuse(what, "two bounds, or a lower one of 0"))
            }
        }
        .map(Value::Rows)
    }

    /// `Min` and `Max` of rows and a number.
    fn bound(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let bound = match operation.node.input.len() {
            2 => self.scalar_at(operation, 1)?,
            _ => return Err(operation.refuse("has not two inputs", "features of rows, and a number")),
        };
        match &*operation.node.op_type {
            "Min" => self.clipped(operation, None, bound),
            _ => self.clipped(operation, bound, None),
        }
    }

    fn softmax(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let x = self.rows_at(operation, 0)?;
        // Up to version 12 the default is 1, and what follows it is one dimension.
        let default = if self.file.opset < 13 { 1 } else { -1 };
        let axis = operation.attributes.int("axis").unwrap_or(default);
        if x.last().is_none() || !x.is_last(axis) {
            let what = format!("is over axis {axis} of rows of {:?}", x.shape);
            return Err(operation.refuse(what, "the last axis"));
        }
        self.activated(operation, &x, Activation::Softmax).map(Value::Rows)
    }

    fn greater(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        match self.scalar_at(operation, 1)? {
            Some(threshold) => self.call(operation, Function::Above(threshold)),
            None => Err(operation.refuse("has no threshold", "a number")),
        }
    }

    fn choice(&mut self, operation: &Operation<'_>) -> Result<Value, Error> {
        let [condition, a, b] = [0, 1, 2].map(|index| self.rows_at(operation, index));
        let (condition, a, b) = (condition?, a?, b?);
        self.check_shapes(operation, &a, &b)?;
        let formula = Formula::Choice { condition: condition.node, sources: [a.node, b.node] };
        self.rows(operation, &a, formula).map(Value::Rows)
    }

    /// Nothing is left out where a network is used.
    fn dropout(&self, operation: &Operation<'_>) -> Result<Value, Error> {
        let is_training = match self.find(operation, 2)? {
            None => false,
            Some(Value::Constant(constant)) => constant.as_scalar() != Some(0.0),
            Some(Value::Rows(_) | Value::Shape(_)) => true,
        };
        match is_training {
            true => Err(operation.refuse("is in training mode", "training_mode = false: call model.eval()")),
            false => self.value(operation, 0).cloned(),
        }
    }

    /// Numbers are computed in the element type of the network, whatever those of a file are.
    fn cast(&self, operation: &Operation<'_>) -> Result<Value, Error> {
        let (to, value) = (operation.attributes.int("to").unwrap_or(0), self.value(operation, 0)?);
        let to = i32::try_from(to).unwrap_or(0);
        match value {
            Value::Rows(_) if !is_float(to) => {
                let what = format!("makes features {}", type_name(to));
                Err(operation.refuse(what, "DOUBLE, FLOAT, FLOAT16 and BFLOAT16"))
            }
            Value::Rows(_) | Value::Constant(_) | Value::Shape(_) => Ok(value.clone()),
        }
    }

    /// Of weights.
    fn transpose(&self, operation: &Operation<'_>) -> Result<Value, Error> {
        let supported = "a matrix of weights";
        let permutation = operation.attributes.ints("perm").unwrap_or(&[1, 0]);
        let transposed = match self.value(operation, 0)? {
            Value::Constant(constant) if permutation == [1, 0] => constant.transposed(),
            Value::Constant(_) | Value::Rows(_) | Value::Shape(_) => None,
        };
        let other = || operation.refuse(format!("transposes by {permutation:?}"), supported);
        transposed.map(Value::Constant).ok_or_else(other)
    }
}

/// The value that an attribute holds.
fn constant(operation: &Operation<'_>) -> Result<Value, Error> {
    let attributes = &operation.attributes;
    let name = operation.node.output.first().cloned().unwrap_or_default();
    let constant = if let Some(tensor) = attributes.tensor("value") {
        Constant::new(tensor)?
    } else if let Some(value) = attributes.float("value_float") {
        Constant::scalar(value)
    } else if let Some(value) = attributes.int("value_int") {
        Constant::of_integer(value)
    } else if let Some(values) = attributes.ints("value_ints") {
        Constant::of_integers(values)
    } else if let Some(attribute) = attributes.find("value_floats") {
        Constant::of_floats(&attribute.floats)
    } else {
        return Err(
            operation.refuse("has no tensor", "value, value_float, value_floats, value_int, value_ints")
        );
    };
    Ok(Value::Constant(constant.named(name)))
}
