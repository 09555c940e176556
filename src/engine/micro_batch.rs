//! Micro-batches: rows of a batch that go forward through all layers, through the loss and back together.

use core::ops::Range;

use crate::engine::bf16::{Bf16Buffers, Bf16Weights, Precision, ProductMode};
use crate::engine::column_parallel::{self, ColumnParallel};
use crate::engine::heads::{self, HeadTerm};
use crate::engine::parallel::Split;
use crate::engine::partition::ParameterPartition;
use crate::engine::prefetcher::Prefetcher;
use crate::engine::squared_norm::SquaredNorm;
use crate::kernels::gemm::products::{self, Dense, DenseBackward, Sweep};
use crate::kernels::gemm::weight_gradient::{self, FusedSgd, WeightGradient};
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::pack;
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::kernels::ops::activation::{Activation, Derivative};
use crate::kernels::ops::dropout::{DropoutRng, Mask};
use crate::kernels::ops::join;
use crate::kernels::ops::layer_norm::{self, LayerNorm, LayerNormBackward, LayerNormGradient, NormKind};
use crate::kernels::ops::loss::{self, ClassWeights, Objective, RowLosses, UnreadRows};
use crate::kernels::ops::softmax::output_gradient;
use crate::kernels::ops::{dropout, elementwise};
use crate::network::scaler::Scaling;
use crate::network::{Edge, Layer, LayerKind, Layers, Network, Operation, Source, clear_biases};
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;
use crate::simd::scalar::Line;

/// The buffers of up to `capacity` rows, in panels: the input, and for each layer its output and gradients.
///
/// Buffers are garbage until written, past the micro-batch's rows too: nothing reads what was not written in
/// the same pass.
#[derive(Clone, Debug)]
pub(crate) struct MicroBatch<T: Element> {
    rows: usize,
    /// The sweep of the last pass, forward and back. It alternates from pass to pass.
    pub(crate) sweep: Sweep,
    /// The dropout of the last forward pass.
    dropout_rng: Option<DropoutRng>,
    inputs: usize,
    x: Vec<T::Line>,
    layers: Vec<LayerBuffers<T>>,
    /// The gradient with respect to `x`. Empty unless [`Purpose::TrainWithInputGradients`].
    d_x: Vec<T::Line>,
    /// A gradient that is added to one that is there: of what several layers read. Empty in a chain.
    addend: Vec<T::Line>,
    /// The loss of each row. Empty if [`Purpose::Predict`].
    losses: Vec<f64>,
    /// The same of one head. Empty unless there are several.
    head_losses: Vec<f64>,
    /// The operands of products in bf16, if they are.
    bf16: Option<Bf16Buffers>,
}

/// The buffers of one layer.
#[derive(Clone, Debug)]
struct LayerBuffers<T: Element> {
    y: Vec<T::Line>,
    /// `x W + b`, if the derivative of the activation is computed from it. Empty otherwise.
    pre_activation: Vec<T::Line>,
    /// `y` after dropout, which the next layer reads in training. Empty without dropout.
    dropped: Vec<T::Line>,
    /// Two lines for each row of a layer norm. Empty otherwise.
    statistics: Vec<T::Line>,
    /// The gradient with respect to the pre-activation. Empty if [`Purpose::Predict`].
    d_z: Vec<T::Line>,
}

impl<T: Element> LayerBuffers<T> {
    fn new(layer: Layer, capacity: usize, purpose: Purpose) -> Self {
        let lines = |wanted: bool| {
            let count = if wanted { capacity * panels::<T>(layer.outputs()) } else { 0 };
            vec![T::Line::ZERO; count]
        };
        let trains = purpose != Purpose::Predict;
        let statistics = if layer.kind().has_epsilon() { 2 * capacity } else { 0 };
        Self {
            y: lines(true),
            pre_activation: lines(trains && layer.activation().needs_pre_activation()),
            dropped: lines(trains && layer.dropout() > 0.0),
            statistics: vec![T::Line::ZERO; statistics],
            d_z: lines(trains),
        }
    }

    /// The input of the next layer.
    fn output(&self, has_dropout: bool) -> &[T::Line] {
        if has_dropout && !self.dropped.is_empty() { &self.dropped } else { &self.y }
    }
}

/// The passes that a micro-batch has buffers for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Forward.
    Predict,
    /// Forward and backward, to the gradient of every parameter.
    Train,
    /// Forward and backward, to the gradient of every parameter and of the inputs.
    TrainWithInputGradients,
}

/// Rows of a batch, row-major.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a, T: Element> {
    /// `[rows, inputs]`.
    pub(crate) x: &'a [T],
    pub(crate) rows: usize,
    /// Rows of weight 0, which are taken as zeros.
    pub(crate) unread: Option<UnreadRows<'a, T>>,
}

/// How a forward pass differs from a plain prediction's.
#[derive(Clone, Copy)]
pub(crate) struct ForwardMode<'a, T: Element> {
    /// The last layer's activation: identity for a loss that takes logits.
    pub(crate) output_activation: Activation,
    /// The losses of heads, whose layers may put out logits for them.
    pub(crate) heads: &'a [HeadTerm<'a, T>],
    /// The random bits of dropout, or nothing to leave no element out.
    pub(crate) dropout_rng: Option<DropoutRng>,
    /// How the outputs of large layers are shared among threads.
    pub(crate) split_outputs: Split,
    /// The copies of the weights, in bf16.
    pub(crate) copies: Option<&'a Bf16Weights>,
}

/// The source of the gradient with respect to the outputs.
#[derive(Clone, Copy)]
pub(crate) enum OutputGradient<'a, T: Element> {
    /// A loss over the micro-batch's rows.
    Loss(&'a Objective<'a, T>, &'a ClassWeights<T>),
    /// A loss for each head over some rows of the batch, the micro-batch's.
    Heads(&'a [HeadTerm<'a, T>], &'a Range<usize>),
    /// The caller: `[rows, outputs]`.
    Given(&'a [T]),
}

/// Some panels of the gradient of one layer's parameters, to write.
pub(crate) struct LayerGradient<'a, T: Element> {
    pub(crate) layer: usize,
    /// The layer's panel that `d_w` starts with.
    pub(crate) first_panel: usize,
    /// Panels of `[1 + inputs, outputs]`, biases first.
    pub(crate) d_w: &'a mut [T::Line],
    /// Whether `d_w` is overwritten or added to.
    pub(crate) beta: Beta,
}

/// What the layers of a micro-batch read.
#[derive(Clone, Copy)]
struct Sources<'a, T: Element> {
    rows: usize,
    layers: &'a Layers,
    x: &'a [T::Line],
    /// The layers before the one that reads.
    before: &'a [LayerBuffers<T>],
    /// Whether dropout leaves anything out.
    drops: bool,
}

impl<'a, T: Element> Sources<'a, T> {
    #[inline(always)]
    fn panels(&self, source: Source) -> Panels<'a, T> {
        let lines = match source {
            Source::Input => self.x,
            Source::Layer(j) => self.before[j].output(self.drops),
        };
        Panels::new(lines, self.rows, self.layers.features(source))
    }
}

/// An edge on the way back: from the layer that reads to one of its sources.
#[derive(Clone, Copy)]
struct Backward {
    reader: usize,
    edge: Edge,
}

impl<T: Element> MicroBatch<T> {
    /// The micro-batch number `n`: neighbours start with opposite sweeps.
    pub(crate) fn new(layers: &Layers, capacity: usize, purpose: Purpose, n: usize) -> Self {
        let inputs = layers.inputs();
        let has_heads = layers.last().is_some_and(|last| last.kind() == LayerKind::Heads);
        let lines = |features| vec![T::Line::ZERO; capacity * panels::<T>(features)];
        let buffers = layers.iter().map(|&layer| LayerBuffers::new(layer, capacity, purpose));
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
            addend: match purpose {
                Purpose::TrainWithInputGradients | Purpose::Train => lines(layers.widest_addend()),
                Purpose::Predict => Vec::new(),
            },
            losses: vec![0.0; if purpose == Purpose::Predict { 0 } else { capacity }],
            head_losses: vec![0.0; if purpose == Purpose::Predict || !has_heads { 0 } else { capacity }],
            bf16: None,
        }
    }

    /// The same for products of such operands.
    pub(crate) fn in_precision(mut self, precision: Precision, layers: &[Layer], purpose: Purpose) -> Self {
        let capacity = self.x.len() / panels::<T>(self.inputs);
        self.bf16 = (precision == Precision::Bf16).then(|| Bf16Buffers::new(layers, capacity, purpose));
        self
    }

    /// Packs the input and computes every layer's output. Before each layer a part of the next micro-batch's
    /// rows is prefetched, as in [`MicroBatch::backward`].
    #[inline(always)]
    pub(crate) fn forward<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        network: &Network<T>,
        Input { x, rows, unread }: Input<'_, T>,
        ForwardMode { output_activation, heads, dropout_rng, split_outputs, copies }: ForwardMode<'_, T>,
        prefetcher: &mut Prefetcher<'_, T>,
    ) {
        self.rows = rows;
        self.sweep = self.sweep.reverse();
        self.dropout_rng = dropout_rng;
        pack::pack_rows(l, PanelsMut::new(&mut self.x, self.rows, self.inputs), x);
        if let Some(unread) = unread {
            self.clear_rows(unread);
        }
        if let Some(Scaling { means, stds, .. }) = &network.scaling {
            let x = PanelsMut::new(&mut self.x, self.rows, self.inputs);
            elementwise::scale(l, x, Some(means), stds);
        }
        if let Some(mask) = input_mask(network, dropout_rng) {
            dropout::apply(l, PanelsMut::new(&mut self.x, self.rows, self.inputs), mask);
        }
        for (i, layer) in network.layers.iter().enumerate() {
            prefetcher.prefetch_next();
            let (before, from) = self.layers.split_at_mut(i);
            let sources =
                Sources { rows, layers: &network.layers, x: &self.x, before, drops: dropout_rng.is_some() };
            let edges = network.layers.edges(i);
            let LayerBuffers { y, pre_activation, dropped, statistics, .. } = &mut from[0];
            let is_last = i + 1 == network.layers.len();
            let activation =
                if is_last { output_activation } else { heads::output_activation(heads, i, layer) };
            let (mut to, weights) = (PanelsMut::new(y, self.rows, layer.outputs()), network.layer_lines(i));
            match layer.kind().operation() {
                Operation::Product => {
                    let x = sources.panels(edges[0].source);
                    let (dense, sweep) =
                        (Dense { y: to, pre_activation, x, weights, activation }, self.sweep);
                    if let (Some(bf16), Some(copies)) = (&mut self.bf16, copies) {
                        bf16.forward(l, i, dense, copies, ProductMode { sweep, split_outputs });
                    } else if column_parallel::shares_outputs(split_outputs, &dense) {
                        // By a reference to any function: the threads' code once, for every instruction set.
                        let run: &(dyn Fn(&mut ColumnParallel<'_, T>) + Sync) =
                            &|part| products::forward(l, part.dense(), sweep);
                        split_outputs.for_each(ColumnParallel(dense), run);
                    } else {
                        products::forward(l, dense, sweep);
                    }
                }
                Operation::Norm { is_centred } => {
                    let x = sources.panels(edges[0].source);
                    let kind = NormKind { is_centred, epsilon: layer.epsilon().unwrap_or_default() };
                    let norm = LayerNorm { y: to, pre_activation, x, weights, statistics, kind, activation };
                    layer_norm::forward(l, norm);
                }
                Operation::Sum => {
                    let (a, b) = (sources.panels(edges[0].source), sources.panels(edges[1].source));
                    join::sum(l, to.reborrow(), a, b);
                    join::finish(l, to, pre_activation, activation);
                }
                Operation::SideBySide => {
                    for edge in edges {
                        join::write_columns(l, to.reborrow(), edge.first_column, sources.panels(edge.source));
                    }
                    join::finish(l, to, pre_activation, activation);
                }
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

    /// Takes rows of weight 0 as zeros: their gradient is 0, but 0 times NaN is not.
    fn clear_rows(&mut self, unread: UnreadRows<'_, T>) {
        let mut x: PanelsMut<'_, T> = PanelsMut::new(&mut self.x, self.rows, self.inputs);
        for row in (0..self.rows).filter(|&row| unread.contains(row)) {
            (0..x.panels()).for_each(|p| x.panel(p)[row] = T::Line::ZERO);
        }
    }

    /// The squared norm of a layer's outputs, over the rows that are read.
    pub(crate) fn squared_norm(
        &self,
        network: &Network<T>,
        i: usize,
        unread: Option<UnreadRows<'_, T>>,
    ) -> SquaredNorm {
        let y: Panels<'_, T> = Panels::new(&self.layers[i].y, self.rows, network.layers[i].outputs());
        let is_read = |row: usize| !unread.is_some_and(|unread| unread.contains(row));
        let elements = |p: usize| {
            let used = y.width(p);
            let lines = y.panel(p).iter().enumerate().filter(move |&(row, _)| is_read(row));
            lines.flat_map(move |(_, line)| &line.as_slice()[..used]).copied()
        };
        let square = |y: T| y.to_f64() * y.to_f64();
        let sum = (0..y.panels()).map(|p| elements(p).map(square).sum::<f64>()).sum();
        SquaredNorm::new(sum, || (0..y.panels()).flat_map(elements))
    }

    /// Copies the gradient with respect to the inputs to `to` `[rows, inputs]`.
    #[inline(always)]
    pub(crate) fn read_input_gradients<L: Lanes<Element = T>>(&self, l: L, to: &mut [T]) {
        pack::unpack_rows(l, to, Panels::new(&self.d_x, self.rows, self.inputs));
    }

    /// The gradient with respect to every layer's pre-activation, last to first, and the loss of each row
    /// unless the gradient of the outputs is given.
    #[inline(always)]
    pub(crate) fn backward<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        network: &Network<T>,
        partition: &ParameterPartition<T>,
        output_gradient: OutputGradient<'_, T>,
        prefetcher: &mut Prefetcher<'_, T>,
    ) {
        // The losses of heads start at the layers that the last one joins.
        let starts = match output_gradient {
            OutputGradient::Heads(..) => network.layers.len() - 1,
            OutputGradient::Loss(..) | OutputGradient::Given(_) => network.layers.len(),
        };
        self.output_gradient(l, network, output_gradient);
        for i in (0..starts).rev() {
            let goes_back = network.layers.passes_gradient(i, !self.d_x.is_empty());
            self.round_gradient(l, network.layers[i], i, goes_back);
            if goes_back {
                prefetcher.prefetch_next();
                for &edge in network.layers.edges(i) {
                    self.backward_edge(l, network, partition, Backward { reader: i, edge });
                }
            }
        }
        if !self.d_x.is_empty() {
            self.finish_input_gradient(l, network);
        }
    }

    /// Rounds the gradient with respect to a dense layer's pre-activation, in bf16.
    #[inline(always)]
    fn round_gradient<L: Lanes<Element = T>>(&mut self, l: L, layer: Layer, i: usize, goes_back: bool) {
        if let Some(bf16) = self.bf16.as_mut().filter(|_| layer.kind().operation() == Operation::Product) {
            let d_z = Panels::new(&self.layers[i].d_z, self.rows, layer.outputs());
            bf16.round_gradient(l, i, d_z, goes_back);
        }
    }

    /// The gradient with respect to the inputs before dropout and the scaler.
    #[inline(always)]
    fn finish_input_gradient<L: Lanes<Element = T>>(&mut self, l: L, network: &Network<T>) {
        let Self { rows, inputs, d_x, .. } = self;
        if let Some(mask) = input_mask(network, self.dropout_rng) {
            dropout::apply(l, PanelsMut::new(d_x, *rows, *inputs), mask);
        }
        if let Some(Scaling { stds, .. }) = &network.scaling {
            elementwise::scale(l, PanelsMut::new(d_x, *rows, *inputs), None, stds);
        }
    }

    /// What leaves a layer towards one of its sources: it becomes the gradient of the source, or is added to
    /// it. As soon as that is complete, times `f'` of the source's layer, it is `d_z` of that layer.
    #[inline(always)]
    fn backward_edge<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        network: &Network<T>,
        partition: &ParameterPartition<T>,
        Backward { reader: i, edge }: Backward,
    ) {
        let Self { rows, sweep, dropout_rng, x, layers, d_x, addend, bf16, .. } = self;
        let (rows, layer) = (*rows, network.layers[i]);
        let (before, from) = layers.split_at_mut(i);
        let LayerBuffers { d_z, statistics, .. } = &from[0];
        let (x, d_x, derivative, dropout) = match edge.source {
            Source::Input if d_x.is_empty() => return,
            Source::Input => (&x[..], d_x, None, 0.0),
            Source::Layer(j) => {
                let LayerBuffers { y, pre_activation, dropped, d_z, .. } = &mut before[j];
                let x: &[T::Line] = if dropout_rng.is_some() && !dropped.is_empty() { dropped } else { y };
                let source = &network.layers[j];
                let from: &[T::Line] = if pre_activation.is_empty() { y } else { pre_activation };
                let from = Panels::new(from, rows, source.outputs());
                (x, d_z, Some(Derivative { from, activation: source.activation() }), source.dropout())
            }
        };
        let features = network.layers.features(edge.source);
        let d_z = Panels::new(d_z, rows, layer.outputs());
        let is_alone = edge.starts_gradient && edge.completes_gradient;
        // Products multiply by `f'` themselves, but for softmax, which takes whole rows.
        let is_softmax = derivative.is_some_and(|below| below.activation == Activation::Softmax);
        let below = derivative.filter(|_| is_alone && !is_softmax);
        let mut is_finished = below.is_some() || derivative.is_none();
        let beta = if edge.starts_gradient { Beta::Zero } else { Beta::One };
        let computed = if edge.starts_gradient { &mut *d_x } else { &mut *addend };
        match layer.kind().operation() {
            Operation::Product => {
                let (to, transposed) =
                    (PanelsMut::new(computed, rows, features), partition.transposed_layer(i));
                let dense = DenseBackward { d_x: to, d_z, transposed, below };
                match bf16.as_ref().zip(partition.bf16.as_ref()) {
                    Some((bf16, copies)) => bf16.backward_data(l, i, dense, copies, *sweep),
                    None => products::backward_data(l, dense, *sweep),
                }
            }
            Operation::Norm { is_centred } => {
                let (to, x) = (PanelsMut::new(computed, rows, features), Panels::new(x, rows, features));
                let weights = network.layer_lines(i);
                let norm = LayerNormBackward { d_x: to, x, d_z, weights, statistics, is_centred, below };
                layer_norm::backward_data(l, norm);
            }
            Operation::Sum | Operation::SideBySide => {
                let to = PanelsMut::new(d_x, rows, features);
                join::read_columns(l, to, d_z, edge.first_column, beta);
                is_finished = derivative.is_none();
            }
        }
        let mut to = PanelsMut::new(d_x, rows, features);
        if layer.kind().has_parameters() && !edge.starts_gradient {
            join::add_gradient(l, to.lines, &addend[..to.lines.len()]);
        }
        if !edge.completes_gradient {
            return;
        }
        if let Some(derivative) = derivative.filter(|_| !is_finished) {
            output_gradient(l, to.reborrow(), derivative);
        }
        if let (Some(dropout_rng), Source::Layer(j)) = (dropout_rng, edge.source)
            && dropout > 0.0
        {
            dropout::apply(l, to, dropout_rng.mask(j, dropout));
        }
    }

    /// The loss of each row, without its gradient.
    #[inline(always)]
    pub(crate) fn loss<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        network: &Network<T>,
        objective: &Objective<'_, T>,
        classes: &ClassWeights<T>,
    ) {
        let rows = self.rows;
        let Some(LayerBuffers { y, .. }) = self.layers.last() else { return };
        let y = Panels::new(y, rows, network.outputs());
        loss::evaluate_losses(l, &mut self.losses[..rows], y, objective, classes);
    }

    /// [`MicroBatch::loss`] in `losses` `[rows]`, for micro-batches that have no room for it.
    #[inline(always)]
    pub(crate) fn read_losses<L: Lanes<Element = T>>(
        &self,
        l: L,
        network: &Network<T>,
        losses: &mut [f64],
        objective: &Objective<'_, T>,
        classes: &ClassWeights<T>,
    ) {
        let Some(LayerBuffers { y, .. }) = self.layers.last() else { return };
        let y = Panels::new(y, self.rows, network.outputs());
        loss::evaluate_losses(l, losses, y, objective, classes);
    }

    /// The loss of each row of the last pass that computed losses.
    #[inline(always)]
    pub(crate) fn losses(&self) -> &[f64] {
        &self.losses[..self.rows]
    }

    /// Writes, or adds, the micro-batch's part of a parameter gradient. A dense layer takes the step of
    /// `fused_sgd` by the result, if there is one.
    #[inline(always)]
    pub(crate) fn weight_gradient<L: Lanes<Element = T>>(
        &self,
        l: L,
        layers: &Layers,
        gradient: LayerGradient<'_, T>,
        fused_sgd: Option<FusedSgd<'_, T>>,
    ) {
        let LayerGradient { layer: i, first_panel, d_w, beta } = gradient;
        let layer = layers[i];
        let x = match layers.edges(i)[0].source {
            Source::Input => &self.x[..],
            Source::Layer(j) => self.layers[j].output(self.dropout_rng.is_some()),
        };
        let x = Panels::new(x, self.rows, layer.inputs());
        let LayerBuffers { d_z, statistics, .. } = &self.layers[i];
        let d_z = Panels::new(d_z, self.rows, layer.outputs());
        match layer.kind().operation() {
            Operation::Product => {
                let gradient = WeightGradient { d_w: &mut *d_w, x, d_z, first_panel, beta };
                match &self.bf16 {
                    Some(bf16) => bf16.weight_gradient(l, i, gradient, fused_sgd),
                    None => weight_gradient::weight_gradient(l, gradient, fused_sgd),
                }
            }
            Operation::Norm { .. } => layer_norm::weight_gradient(
                l,
                LayerNormGradient { d_w: &mut *d_w, x, d_z, statistics, first_panel, start: beta },
            ),
            // No part of the gradient is theirs.
            Operation::Sum | Operation::SideBySide => {}
        }
        if !layer.has_bias() {
            clear_biases::<T>(d_w, layer);
        }
    }

    /// The gradient with respect to the last layer's pre-activation, and the loss of each row.
    #[inline(always)]
    fn output_gradient<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        network: &Network<T>,
        source: OutputGradient<'_, T>,
    ) {
        let (last, rows) = (network.last(), self.rows);
        let Some(LayerBuffers { y, pre_activation, d_z, .. }) = self.layers.last_mut() else { return };
        let y = Panels::new(y, rows, last.outputs());
        let d_y = PanelsMut::new(d_z, rows, last.outputs());
        let activation = match source {
            OutputGradient::Given(given) => {
                pack::pack_rows(l, d_y, given);
                last.activation()
            }
            OutputGradient::Loss(objective, classes) => {
                let to = RowLosses { d_y, losses: &mut self.losses[..rows] };
                loss::evaluate(l, to, y, objective, classes);
                objective.loss.output_activation(last.activation())
            }
            OutputGradient::Heads(heads, of_batch) => {
                return self.head_gradients(l, network, heads, of_batch);
            }
        };
        if activation != Activation::Identity {
            let from =
                if pre_activation.is_empty() { y } else { Panels::new(pre_activation, rows, last.outputs()) };
            let derivative = Derivative { from, activation };
            output_gradient(l, PanelsMut::new(d_z, rows, last.outputs()), derivative);
        }
    }
}

impl<T: Element> MicroBatch<T> {
    /// The gradient with respect to the pre-activation of each head's last layer, and the sum of their losses
    /// of each row, scales included.
    fn head_gradients<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        network: &Network<T>,
        heads: &[HeadTerm<'_, T>],
        rows_of_batch: &Range<usize>,
    ) {
        let Self { rows, layers, losses, head_losses, .. } = self;
        let (rows, losses) = (*rows, &mut losses[..*rows]);
        losses.fill(0.0);
        for head in heads {
            let (objective, layer) = (head.rows(rows_of_batch), network.layers[head.layer]);
            let LayerBuffers { y, pre_activation, d_z, .. } = &mut layers[head.layer];
            let y = Panels::new(y, rows, layer.outputs());
            let d_y = PanelsMut::new(d_z, rows, layer.outputs());
            loss::evaluate(
                l,
                RowLosses { d_y, losses: &mut head_losses[..rows] },
                y,
                &objective,
                head.classes,
            );
            add_scaled(losses, objective.scale, head_losses);
            let activation = objective.loss.output_activation(layer.activation());
            if activation != Activation::Identity {
                let is_kept = !pre_activation.is_empty();
                let from = if is_kept { Panels::new(pre_activation, rows, layer.outputs()) } else { y };
                let d_z = PanelsMut::new(d_z, rows, layer.outputs());
                output_gradient(l, d_z, Derivative { from, activation });
            }
        }
    }

    /// The sum of the heads' losses of each row, scales included, without a gradient.
    pub(crate) fn head_losses<L: Lanes<Element = T>>(
        &mut self,
        l: L,
        network: &Network<T>,
        heads: &[HeadTerm<'_, T>],
        rows_of_batch: &Range<usize>,
    ) {
        let Self { rows, layers, losses, head_losses, .. } = self;
        let (rows, losses) = (*rows, &mut losses[..*rows]);
        losses.fill(0.0);
        for head in heads {
            let objective = head.rows(rows_of_batch);
            let outputs = network.layers[head.layer].outputs();
            let y = Panels::new(&layers[head.layer].y, rows, outputs);
            loss::evaluate_losses(l, &mut head_losses[..rows], y, &objective, head.classes);
            add_scaled(losses, objective.scale, head_losses);
        }
    }
}

/// `sums += scale terms`.
fn add_scaled(sums: &mut [f64], scale: f64, terms: &[f64]) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum += scale * term;
    }
}

/// The dropout of the inputs, whose number is that after the last layer.
fn input_mask<T: Element>(network: &Network<T>, dropout_rng: Option<DropoutRng>) -> Option<Mask> {
    let rate = network.input_dropout();
    dropout_rng.filter(|_| rate > 0.0).map(|dropout_rng| dropout_rng.mask(network.layers.len(), rate))
}
