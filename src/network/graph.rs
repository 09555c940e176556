//! The layers of a network as a graph: what each of them reads.

use core::ops::Deref;

use crate::kernels::ops::activation::Activation;
use crate::network::layer_kind::Operation;
use crate::network::layers::Layer;

/// What a layer reads, or a part of it: the network's inputs, or the outputs of a layer before it, after its
/// activation and in training after its dropout.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network, Source};
///
/// // The inputs once more, beside the outputs of the first layer.
/// let network = Network::<f32>::builder(3)
///     .dense(8, Activation::Relu)
///     .concat([Source::Input, Source::Layer(0)])
///     .dense(1, Activation::Identity)
///     .build()?;
/// assert_eq!(network.sources(1), Some(vec![Source::Input, Source::Layer(0)]));
/// assert_eq!(network.sources(2), Some(vec![Source::Layer(1)]));
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The inputs of the network, after its scaler, and in training after their dropout.
    Input,
    /// The outputs of a layer, counted from 0 as in [`Network::layer`](crate::Network::layer).
    Layer(usize),
}

/// One source of a layer: an edge of the graph, from its source to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) source: Source,
    /// The column of the reader's input that the source's first column is: 0 but in a concatenation.
    pub(crate) first_column: usize,
    /// Whether it is the first edge from its source that a backward pass takes: it overwrites the gradient
    /// of the source, to which others add.
    pub(crate) starts_gradient: bool,
    /// Whether it is the last one: what then follows of the source's layer, follows by this edge.
    pub(crate) completes_gradient: bool,
}

/// The layers of a network in topological order: each reads the inputs, or layers before it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layers {
    inputs: usize,
    layers: Vec<Layer>,
    /// Of all layers, each layer's in the order of its input's columns.
    edges: Vec<Edge>,
    /// Where each layer's edges end.
    edge_ends: Vec<usize>,
    /// What PyTorch calls the module of each layer.
    names: Vec<String>,
    is_chain: bool,
}

/// A layer, what it reads, and what PyTorch calls it.
pub(crate) struct Node {
    pub(crate) layer: Layer,
    pub(crate) sources: Vec<Source>,
    pub(crate) name: String,
}

impl Layers {
    /// The graph of `nodes`, which read `inputs` features or nodes before them.
    pub(crate) fn new(inputs: usize, nodes: Vec<Node>) -> Self {
        let mut graph = Self {
            inputs,
            layers: Vec::with_capacity(nodes.len()),
            edges: Vec::new(),
            edge_ends: Vec::new(),
            names: Vec::new(),
            is_chain: true,
        };
        for (i, Node { layer, sources, name }) in nodes.into_iter().enumerate() {
            let before = if i == 0 { Source::Input } else { Source::Layer(i - 1) };
            graph.is_chain &= sources == [before] && layer.kind().has_parameters();
            let mut first_column = 0;
            for source in sources {
                let (starts_gradient, completes_gradient) = (false, false);
                graph.edges.push(Edge { source, first_column, starts_gradient, completes_gradient });
                if layer.kind().operation() == Operation::SideBySide {
                    first_column += graph.features(source);
                }
            }
            graph.edge_ends.push(graph.edges.len());
            graph.layers.push(layer);
            graph.names.push(name);
        }
        graph.order_gradients();
        graph
    }

    /// Marks the first and the last edge from each source, in the order of a backward pass: the layers from
    /// the last to the first, the edges of one in their own order.
    fn order_gradients(&mut self) {
        // Of each layer, then of the inputs.
        let mut last_edges = vec![None; self.layers.len() + 1];
        for i in (0..self.layers.len()).rev() {
            for edge in self.edge_range(i) {
                let source = match self.edges[edge].source {
                    Source::Input => self.layers.len(),
                    Source::Layer(layer) => layer,
                };
                self.edges[edge].starts_gradient = last_edges[source].replace(edge).is_none();
            }
        }
        for edge in last_edges.into_iter().flatten() {
            self.edges[edge].completes_gradient = true;
        }
    }

    fn edge_range(&self, i: usize) -> core::ops::Range<usize> {
        let start = if i == 0 { 0 } else { self.edge_ends[i - 1] };
        start..self.edge_ends[i]
    }

    /// What a layer reads.
    #[inline(always)]
    pub(crate) fn edges(&self, i: usize) -> &[Edge] {
        &self.edges[self.edge_range(i)]
    }

    /// The number of features of a source.
    pub(crate) fn features(&self, source: Source) -> usize {
        match source {
            Source::Input => self.inputs,
            Source::Layer(i) => self.layers[i].outputs(),
        }
    }

    /// The features that the network reads.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// What PyTorch calls the module of a layer.
    pub(crate) fn name(&self, i: usize) -> &str {
        &self.names[i]
    }

    /// Whether each layer has parameters and reads the one before it.
    pub(crate) fn is_chain(&self) -> bool {
        self.is_chain
    }

    /// Whether a backward pass goes through a layer to a layer before it, or with `to_inputs` to the inputs.
    pub(crate) fn passes_gradient(&self, i: usize, to_inputs: bool) -> bool {
        to_inputs || self.edges(i).iter().any(|edge| edge.source != Source::Input)
    }

    /// The number of layers that a backward pass goes through, see [`Layers::passes_gradient`].
    pub(crate) fn backward_layers(&self, to_inputs: bool) -> usize {
        (0..self.layers.len()).filter(|&i| self.passes_gradient(i, to_inputs)).count()
    }

    /// Maximum features of a gradient that is computed before it is added to another: of a source that
    /// several layers read, by a layer whose gradient does not come in place.
    pub(crate) fn widest_addend(&self) -> usize {
        let of_layer = |i: usize| {
            let computes = self.layers[i].kind().has_parameters();
            self.edges(i).iter().filter(move |edge| computes && !edge.starts_gradient)
        };
        let edges = (0..self.layers.len()).flat_map(of_layer);
        edges.map(|edge| self.features(edge.source)).max().unwrap_or(0)
    }

    /// Whether both have the same graph of layers of the same kinds and sizes, so that buffers for one are
    /// buffers for the other.
    pub(crate) fn has_shapes_of(&self, other: &Self) -> bool {
        let shapes = |layers: &Self| {
            let shape = |layer: &Layer| (layer.kind(), layer.inputs(), layer.outputs());
            layers.layers.iter().map(shape).collect::<Vec<_>>()
        };
        shapes(self) == shapes(other) && self.edges == other.edges
    }
}

impl Deref for Layers {
    type Target = [Layer];

    fn deref(&self) -> &[Layer] {
        &self.layers
    }
}

/// Modules of PyTorch's before the first layer: the dropout of the inputs.
pub(crate) fn input_modules(dropout: f64) -> usize {
    usize::from(dropout > 0.0)
}

/// Modules of PyTorch's that a layer is: one, one for its activation, one for its dropout.
pub(crate) fn modules(activation: Activation, dropout: f64) -> usize {
    1 + usize::from(activation != Activation::Identity) + usize::from(dropout > 0.0)
}
