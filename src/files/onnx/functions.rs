//! Activations and layer norms that a file writes in several nodes.

use core::f64::consts::{FRAC_1_SQRT_2, PI};

use crate::files::onnx::attributes::meant;
use crate::files::onnx::expression::{Expression, Formula, Function, Step};
use crate::files::onnx::polynomial::{Call, Polynomial, is_close};
use crate::kernels::ops::activation::Activation;

/// The longest way from the last node of an activation to its variable, and the nodes on all ways.
const MOST_DEPTH: usize = 12;
const MOST_NODES: usize = 48;

/// PyTorch's softplus is the identity above it, which its exporter writes out.
const SOFTPLUS_THRESHOLD: f64 = 20.0;

/// Puts one node in the place of the last of each group that is an activation or a layer norm together. The
/// others are left, and read by nothing if they were for that alone.
///
/// Settings are those that were meant where the network is not one of `f64`.
pub(super) fn recognise(expressions: &mut [Expression], is_double: bool) {
    // The last first: part of a GELU by tanh would be a tanh.
    for root in (0..expressions.len()).rev() {
        if let Some(mut formula) = recognised(expressions, root) {
            if let Formula::Activation { activation, .. } = &mut formula
                && !is_double
            {
                *activation = with_settings_meant(*activation);
            }
            expressions[root].formula = formula;
        }
    }
}

fn with_settings_meant(activation: Activation) -> Activation {
    match activation {
        Activation::LeakyRelu { slope } => Activation::LeakyRelu { slope: meant(slope) },
        Activation::Elu { alpha } => Activation::Elu { alpha: meant(alpha) },
        Activation::Sine { frequency } => Activation::Sine { frequency: meant(frequency) },
        other => other,
    }
}

fn recognised(expressions: &[Expression], root: usize) -> Option<Formula> {
    match expressions[root].formula {
        Formula::Product([a, b]) => layer_norm(expressions, a, b).or_else(|| activation(expressions, root)),
        Formula::Sum(_) | Formula::Affine { .. } => activation(expressions, root),
        Formula::Activation { activation: of_node, .. } => {
            matches!(of_node, Activation::Sine { .. } | UNIT_PART).then(|| activation(expressions, root))?
        }
        Formula::Choice { .. } => softplus(expressions, root),
        Formula::Function { .. }
        | Formula::Input
        | Formula::Dense { .. }
        | Formula::LayerNorm { .. }
        | Formula::Concat(_) => None,
    }
}

/// The function whose product with itself is the activation of chess networks.
const UNIT_PART: Activation = Activation::HardTanh { min: 0.0, max: 1.0 };

/// The activation that a node is of a node before it.
fn activation(expressions: &[Expression], root: usize) -> Option<Formula> {
    for source in ancestors(expressions, root) {
        let Some(activation) = polynomial(expressions, root, source).and_then(|p| of_polynomial(&p)) else {
            continue;
        };
        return Some(Formula::Activation { source, activation });
    }
    None
}

/// Nodes from which a function may lead to `root`, the nearest first.
fn ancestors(expressions: &[Expression], root: usize) -> Vec<usize> {
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(node) = next.pop() {
        if found.len() >= MOST_NODES {
            break;
        }
        let is_part = match expressions[node].formula {
            Formula::Product(_)
            | Formula::Sum(_)
            | Formula::Affine { .. }
            | Formula::Activation { .. }
            | Formula::Function { .. } => true,
            Formula::Input
            | Formula::Dense { .. }
            | Formula::LayerNorm { .. }
            | Formula::Concat(_)
            | Formula::Choice { .. } => false,
        };
        for source in if is_part { expressions[node].formula.sources() } else { Vec::new() } {
            if !found.contains(&source) {
                found.push(source);
                next.push(source);
            }
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found
}

/// A node as a function of a node before it, if it is one of that alone.
fn polynomial(expressions: &[Expression], root: usize, source: usize) -> Option<Polynomial> {
    let mut search = Search { expressions, source, nodes: 0 };
    search.polynomial(root, 0)
}

struct Search<'a> {
    expressions: &'a [Expression],
    source: usize,
    nodes: usize,
}

impl Search<'_> {
    fn polynomial(&mut self, node: usize, depth: usize) -> Option<Polynomial> {
        if node == self.source {
            return Some(Polynomial::variable());
        }
        self.nodes += 1;
        if depth > MOST_DEPTH || self.nodes > MOST_NODES {
            return None;
        }
        match &self.expressions[node].formula {
            &Formula::Product([a, b]) => {
                let (a, b) = (self.polynomial(a, depth + 1)?, self.polynomial(b, depth + 1)?);
                a.times(&b)
            }
            &Formula::Sum([a, b]) => {
                let (a, b) = (self.polynomial(a, depth + 1)?, self.polynomial(b, depth + 1)?);
                a.plus(b)
            }
            Formula::Affine { source, step } => {
                let value = step.constant().as_scalar()?;
                let x = self.polynomial(*source, depth + 1)?;
                match step {
                    Step::Add(_) => x.plus(Polynomial::constant(value)),
                    Step::Subtract(_) => x.plus(Polynomial::constant(-value)),
                    Step::Multiply(_) => Some(x.scaled(value)),
                    Step::Divide(_) => Some(x.scaled(1.0 / value)),
                    Step::DivideByRoot { .. } => None,
                }
            }
            &Formula::Activation { source, activation } => {
                let call = call_of(activation)?;
                Some(self.polynomial(source, depth + 1)?.call(call))
            }
            &Formula::Function { source, function } => {
                let call = match function {
                    Function::Erf => Call::Erf,
                    Function::Exp => Call::Exp,
                    Function::Log => Call::Log,
                    Function::Abs => Call::Abs,
                    Function::NegativePart => Call::NegativePart,
                    Function::SquareRoot
                    | Function::Reciprocal
                    | Function::Above(_)
                    | Function::Mean
                    | Function::Centered => {
                        return None;
                    }
                };
                Some(self.polynomial(source, depth + 1)?.call(call))
            }
            Formula::Input
            | Formula::Dense { .. }
            | Formula::LayerNorm { .. }
            | Formula::Concat(_)
            | Formula::Choice { .. } => None,
        }
    }
}

/// Activations that are parts of others.
fn call_of(activation: Activation) -> Option<Call> {
    match activation {
        Activation::Sigmoid => Some(Call::Sigmoid),
        Activation::Tanh => Some(Call::Tanh),
        Activation::Relu => Some(Call::PositivePart),
        Activation::Softplus => Some(Call::Softplus),
        Activation::Sine { frequency: 1.0 } => Some(Call::Sin),
        UNIT_PART => Some(Call::UnitPart),
        Activation::Identity
        | Activation::LeakyRelu { .. }
        | Activation::Elu { .. }
        | Activation::Selu
        | Activation::Gelu
        | Activation::GeluTanh
        | Activation::Silu
        | Activation::HardSigmoid
        | Activation::HardSwish
        | Activation::Relu6
        | Activation::Mish
        | Activation::Softsign
        | Activation::HardTanh { .. }
        | Activation::SquaredClippedRelu
        | Activation::Sine { .. }
        | Activation::Softmax => None,
    }
}

/// The activation whose formula a function is.
fn of_polynomial(p: &Polynomial) -> Option<Activation> {
    let fixed = [
        (Activation::Gelu, gelu()),
        (Activation::GeluTanh, gelu_tanh()),
        (Activation::Silu, x().times(&x().call(Call::Sigmoid))),
        (Activation::SquaredClippedRelu, x().call(Call::UnitPart).times(&x().call(Call::UnitPart))),
        (Activation::Softplus, stable_softplus()),
        (Activation::HardSigmoid, hard_sigmoid()),
        (Activation::HardSwish, hard_sigmoid().and_then(|gate| x().times(&gate))),
        (Activation::Mish, x().times(&x().call(Call::Softplus).call(Call::Tanh))),
        (Activation::Mish, stable_softplus().and_then(|softplus| x().times(&softplus.call(Call::Tanh)))),
        (Activation::Selu, scaled_elu(SELU_ALPHA, SELU_SCALE)),
    ];
    let is = |formula: &Option<Polynomial>| formula.as_ref().is_some_and(|formula| p.is(formula));
    if let Some((activation, _)) = fixed.iter().find(|(_, formula)| is(formula)) {
        return Some(*activation);
    }
    let (slope, alpha) = (p.coefficient(Call::NegativePart), -p.constant_term());
    let leaky = x().call(Call::PositivePart).plus(x().call(Call::NegativePart).scaled(slope));
    if slope >= 0.0 && is(&leaky) {
        return Some(Activation::LeakyRelu { slope });
    }
    if alpha > 0.0 && is(&scaled_elu(alpha, 1.0)) {
        return Some(Activation::Elu { alpha });
    }
    let frequency = p.argument(Call::Sin).and_then(Polynomial::slope);
    // A frequency of 1 is what the node says itself.
    let frequency = frequency.filter(|&frequency| frequency > 0.0 && frequency != 1.0);
    frequency.map(|frequency| Activation::Sine { frequency })
}

/// Klambauer et al. 2017.
pub(super) const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
pub(super) const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

fn x() -> Polynomial {
    Polynomial::variable()
}

/// `x/2 (1 + erf(x / sqrt 2))`.
fn gelu() -> Option<Polynomial> {
    let erf = x().scaled(FRAC_1_SQRT_2).call(Call::Erf);
    x().scaled(0.5).times(&erf.plus(Polynomial::constant(1.0))?)
}

/// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`.
fn gelu_tanh() -> Option<Polynomial> {
    let cube = x().times(&x())?.times(&x())?;
    let inner = x().plus(cube.scaled(0.044_715))?.scaled((2.0 / PI).sqrt());
    x().scaled(0.5).times(&inner.call(Call::Tanh).plus(Polynomial::constant(1.0))?)
}

/// `max(x, 0) + log(1 + e^-|x|)`.
fn stable_softplus() -> Option<Polynomial> {
    let exp = x().call(Call::Abs).scaled(-1.0).call(Call::Exp);
    x().call(Call::PositivePart).plus(exp.plus(Polynomial::constant(1.0))?.call(Call::Log))
}

/// `min(max(x / 6 + 1/2, 0), 1)`.
fn hard_sigmoid() -> Option<Polynomial> {
    Some(x().scaled(1.0 / 6.0).plus(Polynomial::constant(0.5))?.call(Call::UnitPart))
}

/// `scale (max(x, 0) + alpha (e^min(x, 0) - 1))`.
fn scaled_elu(alpha: f64, scale: f64) -> Option<Polynomial> {
    let exp = x().call(Call::NegativePart).call(Call::Exp);
    let below = exp.plus(Polynomial::constant(-1.0))?.scaled(alpha * scale);
    x().call(Call::PositivePart).scaled(scale).plus(below)
}

/// PyTorch's softplus: `a` where `beta a > 20`, else `softplus(beta a) / beta`. That is softplus up to 2e-9,
/// and this crate's own formula. The node becomes what is chosen below the threshold.
fn softplus(expressions: &[Expression], root: usize) -> Option<Formula> {
    let Formula::Choice { condition, sources: [a, b] } = expressions[root].formula else { return None };
    let Formula::Function { source, function: Function::Above(threshold) } = expressions[condition].formula
    else {
        return None;
    };
    let beta = polynomial(expressions, source, a)?.slope().filter(|&beta| beta > 0.0)?;
    let below = x().scaled(beta).call(Call::Softplus).scaled(1.0 / beta);
    let is_softplus = polynomial(expressions, b, a)?.is(&below);
    (threshold == SOFTPLUS_THRESHOLD && is_softplus).then(|| expressions[b].formula.clone())
}

/// A product of what is left of a row without its mean and the reciprocal of its standard deviation, which a
/// division of the two has become.
fn layer_norm(expressions: &[Expression], a: usize, b: usize) -> Option<Formula> {
    let formula = |node: usize| &expressions[node].formula;
    let &Formula::Function { source, function: Function::Centered } = formula(a) else { return None };
    let &Formula::Function { source: root, function: Function::Reciprocal } = formula(b) else { return None };
    let &Formula::Function { source: sum, function: Function::SquareRoot } = formula(root) else {
        return None;
    };
    let Formula::Affine { source: variance, step: Step::Add(epsilon) } = formula(sum) else { return None };
    let &Formula::Function { source: square, function: Function::Mean } = formula(*variance) else {
        return None;
    };
    let &Formula::Product([left, right]) = formula(square) else { return None };
    let is_centered = |node: usize| match *formula(node) {
        Formula::Function { source: of, function } => of == source && function == Function::Centered,
        _ => false,
    };
    let epsilon = epsilon.as_scalar()?;
    let is_norm = is_centered(left) && is_centered(right);
    is_norm.then_some(Formula::LayerNorm { source, weights: None, epsilon })
}

/// Whether a file's settings are those of SELU, which it holds as `f32`.
pub(super) fn is_selu(alpha: f64, scale: f64) -> bool {
    is_close(alpha, SELU_ALPHA) && is_close(scale, SELU_SCALE)
}
