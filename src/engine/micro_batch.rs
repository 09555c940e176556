//! A micro_batch: some rows of a batch, on their way through the layers and back.

use crate::engine::column_parallel::{self, ColumnParallel};
use crate::engine::parallel::Split;
use crate::engine::partition::ParameterPartition;
use crate::engine::prefetcher::Prefetcher;
use crate::kernels::gemm::products::{self, Dense, DenseBackward, Sweep};
use crate::kernels::gemm::weight_gradient::{self, FusedSgd, WeightGradient};
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::pack;
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::kernels::ops::activation::{Activation, Derivative};
use crate::kernels::ops::dropout::{DropoutRng, Mask};
use crate::kernels::ops::layer_norm::{self, LayerNorm, LayerNormBackward, LayerNormGradient};
use crate::kernels::ops::loss::{self, RowLosses};
use crate::kernels::ops::loss::{ClassWeights, Objective};
use crate::kernels::ops::softmax::output_gradient;
use crate::kernels::ops::{dropout, elementwise};
use crate::network::scaler::Scaling;
use crate::network::{Layer, LayerKind, Network, clear_biases};
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;
use crate::simd::scalar::Line;

/// Every buffer that up to `capacity` rows need, in panels.
///
/// Buffers are garbage until written, past the tile's rows too: nothing reads what it did not write in
/// the same pass.
#[derive(Clone, Debug)]
pub(crate) struct MicroBatch<T: Element> {
    rows: usize,
    /// Of the last pass, forward and back. The next takes the other.
    pub(crate) sweep: Sweep,
    /// The dropout of the last forward pass.
    dropout_rng: Option<DropoutRng>,
    inputs: usize,
    x: Vec<T::Line>,
    layers: Vec<Buffers<T>>,
    /// The gradient with respect to `x`, when it is asked for.
    d_x: Vec<T::Line>,
    /// The loss of each row. Empty in a tile that only predicts.
    losses: Vec<f64>,
}

/// What one layer keeps of a micro_batch.
#[derive(Clone, Debug)]
struct Buffers<T: Element> {
    y: Vec<T::Line>,
    /// What the activation takes its derivative from, if that is not `y`. Empty otherwise.
    z: Vec<T::Line>,
    /// `y` with some elements left out, which the next layer reads in training. Empty without dropout.
    dropped: Vec<T::Line>,
    /// Two lines for each row of a layer norm. Empty otherwise.
    statistics: Vec<T::Line>,
    /// The gradient with respect to the layer's sums. Empty in a tile that only predicts.
    d_z: Vec<T::Line>,
}

impl<T: Element> Buffers<T> {
    fn new(layer: Layer, capacity: usize, purpose: Purpose) -> Self {
        let lines = |wanted: bool| {
            let count = if wanted { capacity * panels::<T>(layer.outputs()) } else { 0 };
            vec![T::Line::ZERO; count]
        };
        let trains = purpose != Purpose::Predict;
        let statistics = if layer.kind() == LayerKind::LayerNorm { 2 * capacity } else { 0 };
        Self {
            y: lines(true),
            z: lines(trains && layer.activation().needs_pre_activation()),
            dropped: lines(trains && layer.dropout() > 0.0),
            statistics: vec![T::Line::ZERO; statistics],
            d_z: lines(trains),
        }
    }

    /// What the next layer reads.
    fn output(&self, drops: bool) -> &[T::Line] {
        if drops && !self.dropped.is_empty() { &self.dropped } else { &self.y }
    }
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
pub(crate) enum OutputGradient<'a, T: Element> {
    /// A loss over the tile's rows.
    Loss(&'a Objective<'a, T>, &'a ClassWeights<T>),
    /// The caller: `[rows, outputs]`.
    Given(&'a [T]),
}

impl<T: Element> MicroBatch<T> {
    /// MicroBatch number `n`: neighbours go through their first products in opposite orders.
    pub(crate) fn new(layers: &[Layer], capacity: usize, purpose: Purpose, n: usize) -> Self {
        let inputs = layers[0].inputs();
        let lines = |features| vec![T::Line::ZERO; capacity * panels::<T>(features)];
        let buffers = layers.iter().map(|&layer| Buffers::new(layer, capacity, purpose));
        Self {
            rows: 0,
            sweep: if n.is_multiple_of(2) { Sweep::Forward } else { Sweep::Backward },
            dropout_rng: None,
            inputs,
            x: lines(inputs),
            layers: buffers.collect(),
            d_x: match purpose {
                Purpose::TrainWithInputGradients => lines(inputs),
                Purpose::Predict | Purpose::Train => Vec::new(),
            },
            losses: vec![0.0; if purpose == Purpose::Predict { 0 } else { capacity }],
        }
    }

    /// Takes in `x` `[rows, inputs]` and computes every layer's output; `last` stands for the
    /// last layer's activation. With `dropout_rng`, layers with dropout leave elements out. The outputs of large layers are shared
    /// out if `split` says so. Before each layer a part of what is `ahead` is asked for, as in [`MicroBatch::backward`].
    #[inline(always)]
    pub(crate) fn forward<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        network: &Network<T>,
        (x, rows, prefetcher): (&[T], usize, &mut Prefetcher<'_, T>),
        (last, dropout_rng): (Activation, Option<DropoutRng>),
        split: Split,
    ) {
        self.rows = rows;
        self.sweep = self.sweep.reverse();
        self.dropout_rng = dropout_rng;
        pack::pack_rows(l, PanelsMut::new(&mut self.x, self.rows, self.inputs), x);
        if let Some(Scaling { means, deviations, .. }) = &network.scaling {
            let x = PanelsMut::new(&mut self.x, self.rows, self.inputs);
            elementwise::scale(l, x, Some(means), deviations);
        }
        if let Some(mask) = input_mask(network, dropout_rng) {
            dropout::apply(l, PanelsMut::new(&mut self.x, self.rows, self.inputs), mask);
        }
        for (i, layer) in network.layers.iter().enumerate() {
            prefetcher.prefetch_next();
            let (below, from) = self.layers.split_at_mut(i);
            let x = below.last().map_or(&self.x[..], |below| below.output(dropout_rng.is_some()));
            let x = Panels::new(x, self.rows, layer.inputs());
            let Buffers { y, z, dropped, statistics, .. } = &mut from[0];
            let activation = if i + 1 == network.layers.len() { last } else { layer.activation() };
            let (to, weights) = (PanelsMut::new(y, self.rows, layer.outputs()), network.layer_lines(i));
            match layer.kind() {
                LayerKind::Dense if column_parallel::runs_in_parallel(split, rows, *layer, activation) => {
                    let sweep = self.sweep;
                    ColumnParallel { y: to, z, x, weights, activation, sweep }.run_parallel(l, split);
                }
                LayerKind::Dense => {
                    let dense = Dense { y: to, pre_activation: z, x, weights, activation };
                    products::forward(l, dense, self.sweep);
                }
                LayerKind::LayerNorm => layer_norm::forward(
                    l,
                    LayerNorm {
                        y: to,
                        pre_activation: z,
                        x,
                        weights,
                        statistics,
                        epsilon: layer.epsilon().unwrap_or_default(),
                        activation,
                    },
                ),
            }
            if let Some(dropout_rng) = dropout_rng.filter(|_| !dropped.is_empty()) {
                let dropped = PanelsMut::new(dropped, self.rows, layer.outputs());
                dropped.lines.copy_from_slice(&y[..dropped.lines.len()]);
                dropout::apply(l, dropped, dropout_rng.mask(i, layer.dropout()));
            }
        }
    }

    /// Copies the outputs to `to` `[rows, outputs]`.
    #[inline(always)]
    pub(crate) fn read_outputs<L: Lanes<Element = T>>(&self, l: L, network: &Network<T>, to: &mut [T]) {
        let last = network.layers.len() - 1;
        pack::unpack_rows(l, to, Panels::new(&self.layers[last].y, self.rows, network.outputs()));
    }

    /// The squares of a layer's outputs, summed in `f64`.
    pub(crate) fn squares(&self, network: &Network<T>, i: usize) -> f64 {
        let y: Panels<'_, T> = Panels::new(&self.layers[i].y, self.rows, network.layers[i].outputs());
        let square = |y: &T| y.to_f64() * y.to_f64();
        let panel_sum = |p: usize| {
            let used = T::LANES.min(y.cols - p * T::LANES);
            y.panel(p).iter().flat_map(|line: &T::Line| &line.as_slice()[..used]).map(square).sum::<f64>()
        };
        (0..y.panels()).map(panel_sum).sum()
    }

    /// Copies the gradient with respect to the inputs to `to` `[rows, inputs]`.
    #[inline(always)]
    pub(crate) fn read_input_gradients<L: Lanes<Element = T>>(&self, l: L, to: &mut [T]) {
        pack::unpack_rows(l, to, Panels::new(&self.d_x, self.rows, self.inputs));
    }

    /// The gradient with respect to every layer's sums, last to first, and the loss of each row unless the gradient of the
    /// outputs is given.
    #[inline(always)]
    pub(crate) fn backward<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        network: &Network<T>,
        partition: &ParameterPartition<T>,
        (head, prefetcher): (OutputGradient<'_, T>, &mut Prefetcher<'_, T>),
    ) {
        self.output_gradient(l, network, head);
        let Self { rows, sweep, dropout_rng, x, layers, d_x, .. } = self;
        for (i, layer) in network.layers.iter().enumerate().rev() {
            let (below, from) = layers.split_at_mut(i);
            let Buffers { d_z, statistics, .. } = &from[0];
            let (x, d_x, below) = match below.last_mut() {
                Some(Buffers { y, z, dropped, d_z, .. }) => {
                    // What leaves this layer, times `f'` of the one below, is `d_z` of the one below.
                    let layer_input: &[T::Line] =
                        if dropout_rng.is_some() && !dropped.is_empty() { dropped } else { y };
                    let from: &[T::Line] = if z.is_empty() { y } else { z };
                    let from = Panels::new(from, *rows, layer.inputs());
                    (
                        layer_input,
                        d_z,
                        Some(Derivative { from, activation: network.layers[i - 1].activation() }),
                    )
                }
                None if d_x.is_empty() => break,
                None => (&x[..], &mut *d_x, None),
            };
            let (x, d_z) = (Panels::new(x, *rows, layer.inputs()), Panels::new(d_z, *rows, layer.outputs()));
            let to = PanelsMut::new(d_x, *rows, layer.inputs());
            prefetcher.prefetch_next();
            match layer.kind() {
                LayerKind::Dense => {
                    let transposed = partition.transposed_layer(i);
                    products::backward_data(l, DenseBackward { d_x: to, d_z, transposed, below }, *sweep);
                }
                LayerKind::LayerNorm => {
                    let weights = network.layer_lines(i);
                    let norm = LayerNormBackward { d_x: to, x, d_z, weights, statistics, below };
                    layer_norm::backward_data(l, norm);
                }
            }
            if let Some(dropout_rng) = dropout_rng
                && i > 0
                && network.layers[i - 1].dropout() > 0.0
            {
                let mask = dropout_rng.mask(i - 1, network.layers[i - 1].dropout());
                dropout::apply(l, PanelsMut::new(d_x, *rows, layer.inputs()), mask);
            }
        }
        if let Some(mask) = input_mask(network, *dropout_rng).filter(|_| !d_x.is_empty()) {
            dropout::apply(l, PanelsMut::new(d_x, *rows, self.inputs), mask);
        }
        if let Some(Scaling { deviations, .. }) = network.scaling.as_ref().filter(|_| !d_x.is_empty()) {
            elementwise::scale(l, PanelsMut::new(d_x, *rows, self.inputs), None, deviations);
        }
    }

    /// The loss of each row. Their gradient is left where [`MicroBatch::backward`] would start.
    #[inline(always)]
    pub(crate) fn loss<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        network: &Network<T>,
        objective: &Objective<'_, T>,
        classes: &ClassWeights<T>,
    ) {
        let (last, rows) = (network.last(), self.rows);
        let Some(Buffers { y, d_z, .. }) = self.layers.last_mut() else { return };
        let y = Panels::new(y, rows, last.outputs());
        let d_y = PanelsMut::new(d_z, rows, last.outputs());
        let to = RowLosses { d_y, losses: &mut self.losses[..rows] };
        loss::evaluate(l, to, y, objective, classes);
    }

    /// The loss of each row of the last pass with one.
    #[inline(always)]
    pub(crate) fn losses(&self) -> &[f64] {
        &self.losses[..self.rows]
    }

    /// Writes, or adds, the tile's share of `d_w`: the gradient of the panels from `first` on of layer `l`, by which a dense
    /// layer takes the `descent`, if there is one.
    #[inline(always)]
    pub(crate) fn weight_gradient<L: Lanes<Element = T>>(
        &self,
        l: L,
        network: &Network<T>,
        (i, first_panel): (usize, usize),
        (d_w, start): (&mut [T::Line], Beta),
        descent: Option<FusedSgd<'_, T>>,
    ) {
        let layer = network.layers[i];
        let x = match i {
            0 => &self.x[..],
            _ => self.layers[i - 1].output(self.dropout_rng.is_some()),
        };
        let x = Panels::new(x, self.rows, layer.inputs());
        let Buffers { d_z, statistics, .. } = &self.layers[i];
        let d_z = Panels::new(d_z, self.rows, layer.outputs());
        match layer.kind() {
            LayerKind::Dense => {
                let gradient = WeightGradient { d_w: &mut *d_w, x, d_z, first_panel, start };
                weight_gradient::weight_gradient(l, gradient, descent);
            }
            LayerKind::LayerNorm => layer_norm::weight_gradient(
                l,
                LayerNormGradient { d_w: &mut *d_w, x, d_z, statistics, first_panel, start },
            ),
        }
        if !layer.has_bias() {
            clear_biases::<T>(d_w, layer);
        }
    }

    /// The gradient with respect to the last layer's sums, and the loss of each row.
    #[inline(always)]
    fn output_gradient<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        network: &Network<T>,
        head: OutputGradient<'_, T>,
    ) {
        let (last, rows) = (network.last(), self.rows);
        let Some(Buffers { y, z, d_z, .. }) = self.layers.last_mut() else { return };
        let y = Panels::new(y, rows, last.outputs());
        let d_y = PanelsMut::new(d_z, rows, last.outputs());
        let activation = match head {
            OutputGradient::Given(given) => {
                pack::pack_rows(l, d_y, given);
                last.activation()
            }
            OutputGradient::Loss(objective, classes) => {
                let to = RowLosses { d_y, losses: &mut self.losses[..rows] };
                loss::evaluate(l, to, y, objective, classes);
                objective.loss.output_activation(last.activation())
            }
        };
        if activation != Activation::Identity {
            let from = if z.is_empty() { y } else { Panels::new(z, rows, last.outputs()) };
            let derivative = Derivative { from, activation };
            output_gradient(l, PanelsMut::new(d_z, rows, last.outputs()), derivative);
        }
    }
}

/// The dropout of the inputs, whose number is that after the last layer.
fn input_mask<T: Element>(network: &Network<T>, dropout_rng: Option<DropoutRng>) -> Option<Mask> {
    let rate = network.input_dropout();
    dropout_rng.filter(|_| rate > 0.0).map(|dropout_rng| dropout_rng.mask(network.layers.len(), rate))
}
