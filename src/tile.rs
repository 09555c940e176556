//! A tile: some rows of a batch, on their way through the layers and back.

use crate::activation::Activation;
use crate::element::Element;
use crate::kernels::Start;
use crate::kernels::lanes::Line;
use crate::kernels::pack::{Panels, PanelsMut, panels};
use crate::loss::{Classes, Objective};
use crate::network::{Layer, Network};
use crate::update::Transposed;

/// Every buffer that up to `capacity` rows need, in panels.
///
/// Buffers are garbage until written, past the tile's rows too: nothing reads what it did not write in
/// the same pass.
#[derive(Clone, Debug)]
pub(crate) struct Tile<T: Element> {
    rows: usize,
    inputs: usize,
    x: Vec<T::Line>,
    layers: Vec<Buffers<T>>,
    /// The gradient with respect to `x`, when it is asked for.
    d_x: Vec<T::Line>,
}

/// What one layer keeps of a tile.
#[derive(Clone, Debug)]
struct Buffers<T: Element> {
    y: Vec<T::Line>,
    /// What the activation takes its derivative from, if that is not `y`. Empty otherwise.
    z: Vec<T::Line>,
    /// The gradient with respect to the layer's sums. Empty in a tile that only predicts.
    d_z: Vec<T::Line>,
}

/// What a tile is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Predict,
    Train,
    TrainWithInputGradients,
}

/// Where the gradient of the outputs comes from.
#[derive(Clone, Copy)]
pub(crate) enum Head<'a, T: Element> {
    /// A loss over the tile's rows.
    Loss(Objective<'a, T>, &'a Classes<T>),
    /// The caller: `[rows, outputs]`.
    Given(&'a [T]),
}

impl<T: Element> Tile<T> {
    pub(crate) fn new(network: &Network<T>, capacity: usize, purpose: Purpose) -> Self {
        let lines = |features| vec![T::Line::ZERO; capacity * panels::<T>(features)];
        let layers = network.layers.iter().map(|layer| Buffers {
            y: lines(layer.outputs()),
            z: match purpose {
                Purpose::Train | Purpose::TrainWithInputGradients if layer.activation().keeps_sums() => {
                    lines(layer.outputs())
                }
                _ => Vec::new(),
            },
            d_z: if purpose == Purpose::Predict { Vec::new() } else { lines(layer.outputs()) },
        });
        Self {
            rows: 0,
            inputs: network.inputs(),
            x: lines(network.inputs()),
            layers: layers.collect(),
            d_x: match purpose {
                Purpose::TrainWithInputGradients => lines(network.inputs()),
                Purpose::Predict | Purpose::Train => Vec::new(),
            },
        }
    }

    /// Takes in the rows of `x` `[rows, inputs]` and computes every layer's output; `last` stands for the
    /// last layer's activation.
    pub(crate) fn forward(&mut self, network: &Network<T>, x: &[T], last: Activation) {
        self.rows = x.len() / self.inputs;
        network.kernels.pack(PanelsMut::new(&mut self.x, self.rows, self.inputs), x);
        for (l, layer) in network.layers.iter().enumerate() {
            let (below, from) = self.layers.split_at_mut(l);
            let x = below.last().map_or(&self.x, |below| &below.y);
            let x = Panels::new(x, self.rows, layer.inputs());
            let Buffers { y, z, .. } = &mut from[0];
            let y = PanelsMut::new(y, self.rows, layer.outputs());
            let activation = if l + 1 == network.layers.len() { last } else { layer.activation() };
            network.kernels.forward(y, x, network.layer_lines(l), (activation, z));
        }
    }

    /// Copies the outputs to `to` `[rows, outputs]`.
    pub(crate) fn read_outputs(&self, network: &Network<T>, to: &mut [T]) {
        network.kernels.unpack(to, self.output(network.layers.len() - 1, network.last()));
    }

    /// Copies the gradient with respect to the inputs to `to` `[rows, inputs]`.
    pub(crate) fn read_input_gradients(&self, network: &Network<T>, to: &mut [T]) {
        network.kernels.unpack(to, Panels::new(&self.d_x, self.rows, self.inputs));
    }

    /// The gradient with respect to every layer's sums, last to first; the loss of the rows, 0 if the
    /// gradient is given.
    pub(crate) fn backward(
        &mut self,
        network: &Network<T>,
        transposed: &Transposed<T>,
        head: Head<'_, T>,
    ) -> f64 {
        let loss = self.output_gradient(network, head);
        let kernels = network.kernels;
        for (l, layer) in network.layers.iter().enumerate().skip(1).rev() {
            let (below, from) = self.layers.split_at_mut(l);
            let Buffers { y, z, d_z: d_x } = &mut below[l - 1];
            let y = Panels::new(if z.is_empty() { y } else { z }, self.rows, layer.inputs());
            let d_x = PanelsMut::new(d_x, self.rows, layer.inputs());
            let d_z = Panels::new(&from[0].d_z, self.rows, layer.outputs());
            let activation = network.layers[l - 1].activation();
            kernels.backward_data(d_x, d_z, transposed.layer(l), Some((y, activation)));
        }
        if !self.d_x.is_empty() {
            let layer = network.layers[0];
            let d_x = PanelsMut::new(&mut self.d_x, self.rows, layer.inputs());
            let d_z = Panels::new(&self.layers[0].d_z, self.rows, layer.outputs());
            kernels.backward_data(d_x, d_z, transposed.layer(0), None);
        }
        loss
    }

    /// The loss of the rows. Their gradient is left where [`Tile::backward`] would start.
    pub(crate) fn loss(
        &mut self,
        network: &Network<T>,
        objective: Objective<'_, T>,
        classes: &Classes<T>,
    ) -> f64 {
        let (last, rows) = (network.last(), self.rows);
        let Some(Buffers { y, d_z, .. }) = self.layers.last_mut() else { return 0.0 };
        let y = Panels::new(y, rows, last.outputs());
        network.kernels.loss(PanelsMut::new(d_z, rows, last.outputs()), y, objective, classes)
    }

    /// Sums the tile's share of the gradient of `d_w`, the panels from `first` on of layer `l`.
    pub(crate) fn weight_gradient(
        &self,
        network: &Network<T>,
        (l, first): (usize, usize),
        d_w: &mut [T::Line],
        start: Start,
    ) {
        let layer = network.layers[l];
        let x = match l {
            0 => Panels::new(&self.x, self.rows, self.inputs),
            _ => self.output(l - 1, network.layers[l - 1]),
        };
        let d_z = Panels::new(&self.layers[l].d_z, self.rows, layer.outputs());
        network.kernels.weight_gradient(d_w, x, d_z, first, start);
    }

    /// The gradient with respect to the last layer's sums, and the loss.
    fn output_gradient(&mut self, network: &Network<T>, head: Head<'_, T>) -> f64 {
        let (last, rows) = (network.last(), self.rows);
        let Some(Buffers { y, z, d_z }) = self.layers.last_mut() else { return 0.0 };
        let y = Panels::new(y, rows, last.outputs());
        let (loss, activation) = match head {
            Head::Given(d_y) => {
                network.kernels.pack(PanelsMut::new(d_z, rows, last.outputs()), d_y);
                (0.0, last.activation())
            }
            Head::Loss(objective, classes) => {
                let d_y = PanelsMut::new(d_z, rows, last.outputs());
                let activation = objective.loss.output_activation(last.activation());
                (network.kernels.loss(d_y, y, objective, classes), activation)
            }
        };
        if activation != Activation::Identity {
            let y = if z.is_empty() { y } else { Panels::new(z, rows, last.outputs()) };
            network.kernels.output_gradient(PanelsMut::new(d_z, rows, last.outputs()), y, activation);
        }
        loss
    }

    fn output(&self, l: usize, layer: Layer) -> Panels<'_, T> {
        Panels::new(&self.layers[l].y, self.rows, layer.outputs())
    }
}
