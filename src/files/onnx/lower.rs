//! From expressions to layers: constants go into the weights beside them or into the scaler, activations into
//! the layer before.

use crate::error::Error;
use crate::files::onnx::constant::Constant;
use crate::files::onnx::expression::{Expression, Formula, Origin, Step};
use crate::files::onnx::import::Computation;
use crate::files::onnx::parameters::{Affine, Change};
use crate::kernels::ops::activation::Activation;
use crate::network::{LayerKind, Source};

/// The layers of a network, and the scaler of its inputs.
pub(super) struct Plan {
    pub(super) inputs: usize,
    pub(super) layers: Vec<PlannedLayer>,
    pub(super) scaler: Affine,
}

/// A layer, and where its parameters come from.
pub(super) struct PlannedLayer {
    pub(super) kind: LayerKind,
    pub(super) outputs: usize,
    pub(super) sources: Vec<Source>,
    pub(super) activation: Activation,
    pub(super) epsilon: f64,
    pub(super) weights: Weights,
    /// What becomes of its inputs before it, and of its pre-activations after it, in order.
    pub(super) before: Vec<Step>,
    pub(super) after: Vec<Step>,
}

/// The weights of a layer before any step.
pub(super) enum Weights {
    /// Of a layer without.
    None,
    /// `[inputs, outputs]` of a dense layer, `[features]` of a layer norm.
    File(Constant),
    /// Each output is its input.
    Identity,
}

/// Steps that wait for a dense layer: as many as a batch norm behind a batch norm has.
const MOST_PENDING: usize = 8;

/// Features of a layer that is made for constants which no other layer can take: its weights are a matrix.
const MOST_DIAGONAL: usize = 128;

/// Features, once the constants that wait behind them are applied.
#[derive(Clone)]
struct Resolved {
    source: Source,
    pending: Vec<Step>,
}

/// Makes layers of what a graph computes.
///
/// # Errors
/// [`Error::Operator`] for a node that no layer can take.
pub(super) fn lower(computation: &Computation) -> Result<Plan, Error> {
    let Computation { expressions, outputs } = computation;
    let mut lowering = Lowering::new(expressions, outputs);
    for node in 0..expressions.len() {
        if lowering.is_live[node] {
            lowering.lower(node)?;
        }
    }
    lowering.finish(outputs)
}

struct Lowering<'a> {
    expressions: &'a [Expression],
    is_live: Vec<bool>,
    /// The live nodes that read each node, once for each time.
    readers: Vec<Vec<usize>>,
    is_output: Vec<bool>,
    resolved: Vec<Option<Resolved>>,
    layers: Vec<PlannedLayer>,
    /// The expression that each layer starts with, and whether its activation is set.
    is_complete: Vec<bool>,
    scaler: Affine,
}

impl<'a> Lowering<'a> {
    fn new(expressions: &'a [Expression], outputs: &[usize]) -> Self {
        let count = expressions.len();
        let mut is_live = vec![false; count];
        let mut readers = vec![Vec::new(); count];
        let mut is_output = vec![false; count];
        outputs.iter().for_each(|&output| (is_live[output], is_output[output]) = (true, true));
        for node in (0..count).rev() {
            if is_live[node] {
                for source in expressions[node].formula.sources() {
                    is_live[source] = true;
                    readers[source].push(node);
                }
            }
        }
        let (resolved, layers, is_complete) = (vec![None; count], Vec::new(), Vec::new());
        let scaler = Affine::identity(expressions[0].features);
        Self { expressions, is_live, readers, is_output, resolved, layers, is_complete, scaler }
    }

    fn lower(&mut self, node: usize) -> Result<(), Error> {
        let Expression { formula, features, origin } = &self.expressions[node];
        let resolved = match formula {
            Formula::Input => Resolved { source: Source::Input, pending: Vec::new() },
            Formula::Affine { source, step } => self.affine(node, *source, step)?,
            &Formula::Activation { source, activation } => {
                if activation == Activation::Softmax
                    && !(self.is_output[node] && self.readers[node].is_empty())
                {
                    return Err(
                        origin.refuse("does not give outputs of the graph alone", "softmax of outputs")
                    );
                }
                self.activation(source, activation)?
            }
            Formula::Dense { source, weights } => {
                let Resolved { source, pending } = self.resolved_source(*source);
                let layer = self.layer(LayerKind::Dense, *features, vec![source]);
                let weights = Weights::File(weights.clone());
                self.append(PlannedLayer { weights, before: pending, ..layer })
            }
            Formula::LayerNorm { source, weights, epsilon } => {
                let source = self.source(*source)?;
                let layer = self.layer(LayerKind::LayerNorm, *features, vec![source]);
                let weights = weights.clone().map_or(Weights::Identity, Weights::File);
                self.append(PlannedLayer { weights, epsilon: *epsilon, ..layer })
            }
            Formula::Sum(sources) => {
                let sources = [self.source(sources[0])?, self.source(sources[1])?];
                let layer = self.layer(LayerKind::Sum, *features, sources.to_vec());
                self.append(layer)
            }
            Formula::Concat(sources) => {
                let sources = sources.iter().map(|&source| self.source(source)).collect::<Result<_, _>>()?;
                let layer = self.layer(LayerKind::Concat, *features, sources);
                self.append(layer)
            }
            Formula::Function { .. } | Formula::Product(_) | Formula::Choice { .. } => {
                return Err(origin.refuse("is no part of an activation of this crate", FUNCTIONS));
            }
        };
        self.resolved[node] = Some(resolved);
        Ok(())
    }

    fn layer(&self, kind: LayerKind, outputs: usize, sources: Vec<Source>) -> PlannedLayer {
        PlannedLayer {
            kind,
            outputs,
            sources,
            activation: Activation::Identity,
            epsilon: 0.0,
            weights: Weights::None,
            before: Vec::new(),
            after: Vec::new(),
        }
    }

    /// Appends a layer and returns what reads it.
    fn append(&mut self, layer: PlannedLayer) -> Resolved {
        self.layers.push(layer);
        self.is_complete.push(false);
        Resolved { source: Source::Layer(self.layers.len() - 1), pending: Vec::new() }
    }

    /// What a node before became.
    fn resolved_source(&self, node: usize) -> Resolved {
        let resolved = self.resolved[node].clone();
        resolved.unwrap_or(Resolved { source: Source::Input, pending: Vec::new() })
    }

    /// Whether nothing but one node reads a node.
    fn has_one_reader(&self, node: usize) -> bool {
        self.readers[node].len() == 1 && !self.is_output[node]
    }

    /// The layer that a node became, if what follows can become part of it.
    fn open_layer(&mut self, node: usize, takes_steps: bool) -> Option<&mut PlannedLayer> {
        let Resolved { source, pending } = self.resolved_source(node);
        let Source::Layer(layer) = source else { return None };
        let is_open = self.has_one_reader(node) && pending.is_empty() && !self.is_complete[layer];
        let layer = &mut self.layers[layer];
        (is_open && (layer.kind.has_parameters() || !takes_steps)).then_some(layer)
    }

    /// A constant goes into the layer before, the scaler, or waits for dense layers to come.
    fn affine(&mut self, node: usize, source: usize, step: &Step) -> Result<Resolved, Error> {
        let mut resolved = self.resolved_source(source);
        if let Some(layer) = self.open_layer(source, true) {
            layer.after.push(step.clone());
            return Ok(resolved);
        }
        let is_input = resolved.source == Source::Input && resolved.pending.is_empty();
        if is_input && self.has_one_reader(source) {
            let scaled = self.scaler.then(&Change::of(step));
            if let Some(scaler) = scaled {
                self.scaler = scaler;
                return Ok(resolved);
            }
        }
        resolved.pending.push(step.clone());
        match resolved.pending.len() <= MOST_PENDING {
            true => Ok(resolved),
            false => self.applied(node, resolved),
        }
    }

    /// An activation becomes part of the layer before, or a layer of its own.
    fn activation(&mut self, source: usize, activation: Activation) -> Result<Resolved, Error> {
        if self.open_layer(source, false).is_none() {
            let features = self.expressions[source].features;
            let source = self.source(source)?;
            let layer = self.layer(LayerKind::Concat, features, vec![source]);
            let resolved = self.append(PlannedLayer { activation, ..layer });
            self.complete(resolved.source);
            return Ok(resolved);
        }
        let resolved = self.resolved_source(source);
        if let Some(layer) = self.open_layer(source, false) {
            layer.activation = activation;
        }
        self.complete(resolved.source);
        Ok(resolved)
    }

    fn complete(&mut self, source: Source) {
        if let Source::Layer(layer) = source {
            self.is_complete[layer] = true;
        }
    }

    /// What a layer other than a dense one reads: the constants that wait are applied first.
    fn source(&mut self, node: usize) -> Result<Source, Error> {
        let resolved = self.resolved_source(node);
        if resolved.pending.is_empty() {
            return Ok(resolved.source);
        }
        let applied = self.applied(node, resolved)?;
        self.resolved[node] = Some(applied.clone());
        Ok(applied.source)
    }

    /// A dense layer with a diagonal of weights, for constants behind an activation.
    fn applied(&mut self, node: usize, resolved: Resolved) -> Result<Resolved, Error> {
        let Expression { features, origin, .. } = &self.expressions[node];
        if *features > MOST_DIAGONAL {
            return Err(refuse_constants(origin, *features));
        }
        let layer = self.layer(LayerKind::Dense, *features, vec![resolved.source]);
        let after = resolved.pending;
        let resolved = self.append(PlannedLayer { weights: Weights::Identity, after, ..layer });
        Ok(resolved)
    }

    /// The last layer gives all outputs.
    fn finish(mut self, outputs: &[usize]) -> Result<Plan, Error> {
        let sources: Vec<Source> =
            outputs.iter().map(|&output| self.source(output)).collect::<Result<_, _>>()?;
        let is_last = sources == [Source::Layer(self.layers.len().wrapping_sub(1))];
        if !is_last {
            let features = outputs.iter().map(|&output| self.expressions[output].features).sum();
            let kind = if outputs.len() == 1 { LayerKind::Concat } else { LayerKind::Heads };
            let layer = self.layer(kind, features, sources);
            self.append(layer);
        }
        let inputs = self.expressions[0].features;
        Ok(Plan { inputs, layers: self.layers, scaler: self.scaler })
    }
}

const FUNCTIONS: &str = "GELU (both), SiLU, mish, hard swish, ELU, SELU, leaky ReLU, softplus, hard sigmoid, \
                         squared clipped ReLU, sine and layer norm, as exporters write them";

fn refuse_constants(origin: &Origin, features: usize) -> Error {
    let what = format!("constants of {features} features stand where no weights can take them");
    let beside = "constants at the inputs, beside a dense layer or a layer norm";
    origin.refuse(what, format!("{beside}, or of up to {MOST_DIAGONAL} features"))
}
