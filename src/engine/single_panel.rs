//! Networks of which every layer is one panel wide: a whole step, or a prediction, as one run.
//!
//! Through at most 16 features a layer (8 in `f64`) a few rows are some hundred instructions of arithmetic, and a micro_batch, a
//! shard and an owner for each would take several times as many to find their operands. Here all of them lie in one
//! buffer, at distances that follow from the number of rows, or, of a line that is all there is, in registers. The operations, and the order of every sum, are those of
//! `micro_batch.rs` and `update.rs`, and so are the bits: which of both takes a batch never shows.

use crate::engine::micro_batch::Purpose;
use crate::engine::plan::MICRO_BATCH_ROWS;
use crate::kernels::gemm::blocking::TILED_ROWS;
use crate::kernels::gemm::packed4;
use crate::kernels::gemm::products::{self, Dense, DenseBackward, Small, Sweep};
use crate::kernels::gemm::weight_gradient::{self, WeightGradient};
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::pack;
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::matrix::transpose::{transpose_panel_inline, transposed_stride};
use crate::kernels::ops::activation::{Activation, Derivative, activate, multiply_derivative};
use crate::kernels::ops::loss;
use crate::kernels::ops::loss::{ClassWeights, Objective, RowLosses};
use crate::kernels::ops::optimizer;
use crate::kernels::ops::optimizer::{MAX_MOMENTS, Update};
use crate::kernels::ops::softmax::{activate_slice, output_gradient_rows};
use crate::network::{Layer, LayerKind, Network};
use crate::simd::lanes::LineOf;
use crate::simd::lanes::{GROUP, Lanes};
use crate::simd::math;
use crate::simd::scalar::Element;
use crate::simd::scalar::{Line, elements_mut};

/// The buffers that some rows need on their way through a small network.
///
/// The rows as they come in, then three blocks for each layer: its sums, which are garbage unless its activation keeps
/// them, their gradient, and its outputs. Blocks are as long as the batch at hand asks for.
#[derive(Clone, Debug)]
pub(crate) struct SinglePanelBuffers<T: Element> {
    lines: Vec<T::Line>,
    max_rows: usize,
    /// Whether every layer's rows can be quads.
    quads: bool,
}

/// Blocks of each layer.
const BLOCKS: usize = 3;

impl<T: Element> SinglePanelBuffers<T> {
    /// For so many rows, or [`MICRO_BATCH_ROWS`] of them, if the network is small: dense layers of one panel, and nothing else.
    pub(crate) fn new(network: &Network<T>, rows: usize) -> Option<Self> {
        // Tiles of a network of thousands of layers are longer.
        let (layers, max_rows) = (&network.layers, rows.min(MICRO_BATCH_ROWS));
        let is_plain =
            |layer: &Layer| layer.kind() == LayerKind::Dense && layer.dropout() == 0.0 && layer.has_bias();
        let all_within = |most| layers.iter().all(|layer| layer.inputs().max(layer.outputs()) <= most);
        if network.scaling.is_some()
            || network.input_dropout() > 0.0
            || !layers.iter().all(is_plain)
            || !all_within(T::LANES)
        {
            return None;
        }
        let lines = vec![T::Line::ZERO; max_rows * (1 + BLOCKS * layers.len())];
        // Softmax takes whole rows.
        let quads = all_within(GROUP) && network.last().activation() != Activation::Softmax;
        Some(Self { lines, max_rows, quads })
    }

    /// Whether so many rows can be taken through a network of the layers that the buffers were made for: its scaler may
    /// have been set since.
    pub(crate) fn suit(&self, network: &Network<T>, rows: usize) -> bool {
        rows <= self.max_rows && network.scaling.is_none()
    }
}

/// The rows of a batch, and the features of one layer.
#[derive(Clone, Copy)]
pub struct Shape {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl Shape {
    #[inline(always)]
    fn of(layer: &Layer, rows: usize) -> Self {
        Self { rows, inputs: layer.inputs(), outputs: layer.outputs() }
    }
}

/// A step, or the first part of it, of a small network.
pub struct SinglePanelStep<'a, T: Element> {
    pub(crate) buffers: &'a mut SinglePanelBuffers<T>,
    pub(crate) layers: &'a [Layer],
    pub(crate) parameters: &'a mut [T::Line],
    /// Of every layer but the first.
    pub(crate) transposed: &'a mut [T::Line],
    pub(crate) gradients: &'a mut [T::Line],
    pub(crate) moments: [&'a mut [T::Line]; MAX_MOMENTS],
    pub(crate) classes: &'a ClassWeights<T>,
    /// `[rows, inputs]`.
    pub(crate) x: &'a [T],
    pub(crate) rows: usize,
    pub(crate) objective: Objective<'a, T>,
    /// What the gradient is added to.
    pub(crate) start: Beta,
    /// What is done with the gradient, if anything.
    pub(crate) update: Option<&'a Update>,
}

impl<T: Element> SinglePanelStep<'_, T> {
    /// Whether rows can be quads.
    pub(crate) fn fits_groups(&self) -> bool {
        let Objective { loss, weights, .. } = self.objective;
        self.buffers.quads && loss.is_by_element() && weights.is_none()
    }

    /// Forward, loss, backward, and the update if there is one; the loss. Blocks are of `size` lines.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>, A: Arrangement<L>>(&mut self, l: L, size: usize) -> f64 {
        let last = self.layers[self.layers.len() - 1].activation();
        let last = self.objective.loss.output_activation(last);
        let lines = &mut self.buffers.lines[..];
        let parts = (self.layers, &*self.parameters);
        forward::<L, A>(l, lines, parts, self.x, (self.rows, size), (last, Purpose::Train));
        let loss = self.backward::<L, A>(l, size, last);
        if let Some(update) = self.update {
            self.update(l, update);
        }
        loss
    }

    /// The gradient of every layer's parameters, last to first, and the loss.
    #[inline(always)]
    fn backward<L: Lanes<Element = T>, A: Arrangement<L>>(
        &mut self,
        l: L,
        size: usize,
        last: Activation,
    ) -> f64 {
        let rows = self.rows;
        let count = self.layers.len();
        let lines = &mut self.buffers.lines[..(1 + BLOCKS * count) * size];
        let (mut below, here) = lines.split_at_mut((1 + BLOCKS * (count - 1)) * size);
        let Blocks { sums, d_z, y } = Blocks::first(here, size);
        let outputs = (&*y, if last.needs_pre_activation() { &*sums } else { &*y });
        let shape = Shape::of(&self.layers[count - 1], rows);
        let loss = A::loss(l, d_z, outputs, (&self.objective, self.classes), (shape, last));
        let mut d_z = &*d_z;
        let (mut gradients, mut transposed) = (&mut *self.gradients, &*self.transposed);
        for i in (1..count).rev() {
            let shape = Shape::of(&self.layers[i], rows);
            let here;
            (below, here) = below.split_at_mut(below.len() - BLOCKS * size);
            let Blocks { sums, d_z: d_x, y } = Blocks::first(here, size);
            let d_w;
            (gradients, d_w) = gradients.split_at_mut(gradients.len() - (1 + shape.inputs));
            A::weight_gradient(l, d_w, y, d_z, shape, self.start);
            let blocks;
            (transposed, blocks) = transposed.split_at(transposed.len() - one_panel_transposed::<T>());
            let activation = self.layers[i - 1].activation();
            let from = if activation.needs_pre_activation() { sums } else { y };
            A::backward_data(l, d_x, d_z, blocks, (from, activation), shape);
            d_z = d_x;
        }
        A::weight_gradient(l, gradients, below, d_z, Shape::of(&self.layers[0], rows), self.start);
        loss
    }

    /// The optimizer's update, and the transposed copy.
    #[inline(always)]
    fn update<L: Lanes<Element = T>>(&mut self, l: L, update: &Update) {
        let moments = self.moments.each_mut().map(
            #[inline(always)]
            |moment| &mut **moment,
        );
        optimizer::update_lines(l, self.parameters, self.gradients, moments, update);
        let mut transposed = &mut *self.transposed;
        for layer in &self.layers[1..] {
            let blocks;
            (blocks, transposed) = transposed.split_at_mut(one_panel_transposed::<T>());
            let weights = &self.parameters[layer.first_line + 1..][..layer.inputs()];
            transpose_panel_inline(l, blocks, weights, layer.outputs());
        }
    }
}

/// BlockLines of transposed weights of every layer.
#[inline(always)]
fn one_panel_transposed<T: Element>() -> usize {
    transposed_stride::<T>(T::LANES)
}

/// BatchRange of a prediction.
pub struct SinglePanelPrediction<'a, T: Element> {
    pub(crate) buffers: &'a mut SinglePanelBuffers<T>,
    pub(crate) network: &'a Network<T>,
    /// `[rows, inputs]`.
    pub(crate) x: &'a [T],
    /// `[rows, outputs]`.
    pub(crate) y: &'a mut [T],
    pub(crate) rows: usize,
}

impl<T: Element> SinglePanelPrediction<'_, T> {
    /// Whether rows can be quads. The network may be another one, of the same shapes.
    pub(crate) fn fits_groups(&self) -> bool {
        self.buffers.quads && self.network.last().activation() != Activation::Softmax
    }

    /// [`SinglePanelPrediction::run`] of rows that fit in one line of quads: it stays in registers from the inputs to the outputs.
    #[inline(always)]
    pub(crate) fn run_line<L: Lanes<Element = T>>(&mut self, l: L) {
        let (network, rows) = (self.network, self.rows);
        debug_assert!(packed4::fit_a_line::<T>(rows), "one line holds them all");
        let (layers, mut parameters) = (&network.layers[..], &network.parameters[..]);
        let mut x = [T::Line::ZERO];
        <Quads as Arrangement<L>>::pack(l, &mut x, self.x, (rows, layers[0].inputs()));
        for layer in layers {
            let weights;
            (weights, parameters) = parameters.split_at(1 + layer.inputs());
            let mut y = [T::Line::ZERO];
            let shape_and_activation = (Shape::of(layer, rows), layer.activation());
            <Quads as Arrangement<L>>::forward(l, (&mut y, &mut []), &x, weights, shape_and_activation);
            x = y;
        }
        <Quads as Arrangement<L>>::unpack(l, self.y, &x, (rows, network.outputs()));
    }

    /// Blocks are of `size` lines.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>, A: Arrangement<L>>(&mut self, l: L, size: usize) {
        let (network, rows) = (self.network, self.rows);
        let (layers, last) = (&network.layers[..], network.last());
        let lines = &mut self.buffers.lines[..];
        let parts = (layers, &network.parameters[..]);
        let last_and_purpose = (last.activation(), Purpose::Predict);
        let y = forward::<L, A>(l, lines, parts, self.x, (rows, size), last_and_purpose);
        A::unpack(l, self.y, y, (rows, last.outputs()));
    }
}

/// Takes in `x` `[rows, inputs]` and computes every layer's output; `last` stands for the last layer's activation. Sums are
/// kept for a backward pass only. The network's outputs.
#[inline(always)]
fn forward<'a, L: Lanes, A: Arrangement<L>>(
    l: L,
    lines: &'a mut [LineOf<L>],
    (layers, mut parameters): (&[Layer], &[LineOf<L>]),
    x: &[L::Element],
    (rows, size): (usize, usize),
    (last, purpose): (Activation, Purpose),
) -> &'a [LineOf<L>] {
    let (first, mut rest) = lines.split_at_mut(size);
    A::pack(l, first, x, (rows, layers[0].inputs()));
    let mut x = &*first;
    for (i, layer) in layers.iter().enumerate() {
        let (blocks, weights);
        (blocks, rest) = rest.split_at_mut(BLOCKS * size);
        (weights, parameters) = parameters.split_at(1 + layer.inputs());
        let activation = if i + 1 == layers.len() { last } else { layer.activation() };
        let Blocks { sums, y, .. } = Blocks::first(blocks, size);
        let keeps = purpose != Purpose::Predict && activation.needs_pre_activation();
        let sums = if keeps { sums } else { &mut [] };
        A::forward(l, (&mut *y, sums), x, weights, (Shape::of(layer, rows), activation));
        x = y;
    }
    x
}

/// The blocks of one layer.
struct Blocks<'a, Line> {
    sums: &'a mut [Line],
    d_z: &'a mut [Line],
    y: &'a mut [Line],
}

impl<'a, Line> Blocks<'a, Line> {
    /// The first three blocks of `size` lines.
    #[inline(always)]
    fn first(lines: &'a mut [Line], size: usize) -> Self {
        let (sums, lines) = lines.split_at_mut(size);
        let (d_z, lines) = lines.split_at_mut(size);
        Self { sums, d_z, y: &mut lines[..size] }
    }
}

/// How the rows of a batch lie in lines, and the operations on blocks of them.
pub trait Arrangement<L: Lanes> {
    /// BlockLines of a block of so many rows.
    fn lines(rows: usize) -> usize;
    /// Packs row-major `[rows, cols]`.
    fn pack(l: L, to: &mut [LineOf<L>], x: &[L::Element], shape: (usize, usize));
    /// Unpacks to row-major `[rows, cols]`.
    fn unpack(l: L, y: &mut [L::Element], from: &[LineOf<L>], shape: (usize, usize));
    /// `y = f(x W + b)`, and the sums `x W + b` unless their slice is empty.
    fn forward(
        l: L,
        y_and_sums: (&mut [LineOf<L>], &mut [LineOf<L>]),
        x: &[LineOf<L>],
        weights: &[LineOf<L>],
        shape_and_activation: (Shape, Activation),
    );
    /// `d_x = d_z W^T`, times `f'` of the layer below, from its outputs or sums.
    fn backward_data(
        l: L,
        d_x: &mut [LineOf<L>],
        d_z: &[LineOf<L>],
        transposed: &[LineOf<L>],
        below: (&[LineOf<L>], Activation),
        shape: Shape,
    );
    /// The gradient of the biases, then of the weights.
    fn weight_gradient(
        l: L,
        d_w: &mut [LineOf<L>],
        x: &[LineOf<L>],
        d_z: &[LineOf<L>],
        shape: Shape,
        start: Beta,
    );
    /// The loss of the outputs, and its gradient with respect to the sums of the last layer, by its outputs or sums.
    fn loss(
        l: L,
        d_z: &mut [LineOf<L>],
        outputs_and_sums: (&[LineOf<L>], &[LineOf<L>]),
        objective: (&Objective<'_, L::Element>, &ClassWeights<L::Element>),
        shape_and_activation: (Shape, Activation),
    ) -> f64;
}

/// A line for each row: panels.
pub struct LinePerRow;

impl<L: Lanes> Arrangement<L> for LinePerRow {
    #[inline(always)]
    fn lines(rows: usize) -> usize {
        rows
    }

    #[inline(always)]
    fn pack(l: L, lines: &mut [LineOf<L>], x: &[L::Element], (rows, cols): (usize, usize)) {
        pack::pack_rows_inline(l, PanelsMut { lines, rows, cols }, x);
    }

    #[inline(always)]
    fn unpack(l: L, y: &mut [L::Element], lines: &[LineOf<L>], (rows, cols): (usize, usize)) {
        pack::unpack_rows_inline(l, y, Panels { lines, rows, cols });
    }

    #[inline(always)]
    fn forward(
        l: L,
        (y, sums): (&mut [LineOf<L>], &mut [LineOf<L>]),
        x: &[LineOf<L>],
        weights: &[LineOf<L>],
        (Shape { rows, inputs, outputs }, activation): (Shape, Activation),
    ) {
        let (y, x) = (PanelsMut { lines: y, rows, cols: outputs }, Panels { lines: x, rows, cols: inputs });
        let dense = Dense { y, pre_activation: sums, x, weights, activation };
        products::forward_sized::<_, Small>(l, dense, Sweep::Forward);
    }

    #[inline(always)]
    fn backward_data(
        l: L,
        d_x: &mut [LineOf<L>],
        d_z: &[LineOf<L>],
        transposed: &[LineOf<L>],
        (from, activation): (&[LineOf<L>], Activation),
        Shape { rows, inputs, outputs, .. }: Shape,
    ) {
        let d_x = PanelsMut { lines: d_x, rows, cols: inputs };
        let d_z = Panels { lines: d_z, rows, cols: outputs };
        let from = Panels { lines: from, rows, cols: inputs };
        let below = Some(Derivative { from, activation });
        let dense = DenseBackward { d_x, d_z, transposed, below };
        products::backward_data_sized::<_, Small>(l, dense, Sweep::Forward);
    }

    #[inline(always)]
    fn weight_gradient(
        l: L,
        d_w: &mut [LineOf<L>],
        x: &[LineOf<L>],
        d_z: &[LineOf<L>],
        Shape { rows, inputs, outputs }: Shape,
        start: Beta,
    ) {
        let (x, d_z) = (Panels { lines: x, rows, cols: inputs }, Panels { lines: d_z, rows, cols: outputs });
        let gradient = WeightGradient { d_w, x, d_z, first_panel: 0, start };
        if rows < TILED_ROWS {
            weight_gradient::small_weight_gradient(l, gradient);
        } else {
            weight_gradient::weight_gradient(l, gradient, None);
        }
    }

    #[inline(always)]
    fn loss(
        l: L,
        d_z: &mut [LineOf<L>],
        (y, sums): (&[LineOf<L>], &[LineOf<L>]),
        (objective, classes): (&Objective<'_, L::Element>, &ClassWeights<L::Element>),
        (Shape { rows, outputs: cols, .. }, activation): (Shape, Activation),
    ) -> f64 {
        let d_y = PanelsMut { lines: d_z, rows, cols };
        let mut losses = [0.0; MICRO_BATCH_ROWS];
        let losses = &mut losses[..rows];
        loss::evaluate_rows(
            l,
            RowLosses { d_y, losses },
            Panels { lines: y, rows, cols },
            objective,
            classes,
        );
        let loss = losses.iter().sum::<f64>() * objective.scale;
        if activation != Activation::Identity {
            let d_z = PanelsMut { lines: d_z, rows, cols };
            let from = Panels { lines: sums, rows, cols };
            output_gradient_rows(l, d_z, Derivative { from, activation });
        }
        loss
    }
}

/// A quad for each row: see [`quads`].
pub struct Quads;

impl<L: Lanes> Arrangement<L> for Quads {
    #[inline(always)]
    fn lines(rows: usize) -> usize {
        packed4::lines::<L::Element>(rows)
    }

    #[inline(always)]
    fn pack(l: L, lines: &mut [LineOf<L>], x: &[L::Element], shape: (usize, usize)) {
        packed4::pack(l, lines, x, shape);
    }

    #[inline(always)]
    fn unpack(l: L, y: &mut [L::Element], lines: &[LineOf<L>], shape: (usize, usize)) {
        packed4::unpack(l, y, lines, shape);
    }

    #[inline(always)]
    fn forward(
        l: L,
        (y, sums): (&mut [LineOf<L>], &mut [LineOf<L>]),
        x: &[LineOf<L>],
        weights: &[LineOf<L>],
        (Shape { rows, .. }, activation): (Shape, Activation),
    ) {
        packed4::product(l, y, x, &weights[1..], Some(&weights[0]));
        if sums.is_empty() {
            // Nothing comes in between: the sums are still in registers.
            match y {
                [line]
                    if L::DIVIDES_HALVES
                        && activation == Activation::Sigmoid
                        && packed4::fit_half_a_line::<L::Element>(rows) =>
                {
                    let sigmoid = math::sigmoid_of_first_half(l, l.load(line));
                    l.store(line, sigmoid);
                }
                _ => activate(l, y, activation),
            }
        } else {
            sums.copy_from_slice(y);
            // A call, lest the table of activations be here twice.
            activate_slice(l, elements_mut::<L::Element>(y), activation);
        }
    }

    #[inline(always)]
    fn backward_data(
        l: L,
        d_x: &mut [LineOf<L>],
        d_z: &[LineOf<L>],
        transposed: &[LineOf<L>],
        (from, activation): (&[LineOf<L>], Activation),
        Shape { outputs, .. }: Shape,
    ) {
        packed4::product(l, d_x, d_z, &transposed[..outputs], None);
        multiply_derivative(l, d_x, from, activation);
    }

    #[inline(always)]
    fn weight_gradient(
        l: L,
        d_w: &mut [LineOf<L>],
        x: &[LineOf<L>],
        d_z: &[LineOf<L>],
        Shape { rows, outputs, .. }: Shape,
        start: Beta,
    ) {
        packed4::weight_gradient(l, d_w, x, d_z, (rows, outputs), start);
    }

    #[inline(always)]
    fn loss(
        l: L,
        d_z: &mut [LineOf<L>],
        (y, sums): (&[LineOf<L>], &[LineOf<L>]),
        (objective, _): (&Objective<'_, L::Element>, &ClassWeights<L::Element>),
        (Shape { rows, outputs, .. }, activation): (Shape, Activation),
    ) -> f64 {
        let loss = loss::evaluate_quads(l, d_z, y, objective, (rows, outputs));
        multiply_derivative(l, d_z, sums, activation);
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Loss, Scaler, Trainer};

    /// Whether rows may be quads, if the network is small.
    fn fits<T: Element>(sizes: &[usize], last: Activation) -> Option<bool> {
        let mut builder = Network::<T>::builder(sizes[0]).seed(1);
        for (l, &size) in sizes.iter().enumerate().skip(1) {
            builder = builder.dense(size, if l + 1 == sizes.len() { last } else { Activation::Tanh });
        }
        SinglePanelBuffers::new(&builder.build().unwrap(), 8).map(|buffers| buffers.quads)
    }

    #[test]
    fn networks_of_one_panel_a_layer_are_small_and_those_of_one_quad_are_quads() {
        let (identity, softmax) = (Activation::Identity, Activation::Softmax);
        assert_eq!(fits::<f32>(&[2, 4, 1], identity), Some(true));
        assert_eq!(fits::<f64>(&[2, 4, 1], identity), Some(true));
        assert_eq!(fits::<f32>(&[4, 4], softmax), Some(false));
        assert_eq!(fits::<f32>(&[2, 5, 1], identity), Some(false));
        assert_eq!(fits::<f32>(&[16, 16, 16], softmax), Some(false));
        assert_eq!(fits::<f64>(&[8, 8], identity), Some(false));
        assert_eq!(fits::<f32>(&[17, 4], identity), None);
        assert_eq!(fits::<f32>(&[4, 17, 4], identity), None);
        assert_eq!(fits::<f64>(&[4, 9], identity), None);
    }

    #[test]
    fn what_only_the_general_path_knows_takes_it() {
        let network = || Network::<f32>::builder(2).seed(1).dense(2, Activation::Tanh);
        let last = |builder: crate::NetworkBuilder<f32>| builder.dense(1, Activation::Tanh).build().unwrap();
        let is_small = |network: &Network<f32>| SinglePanelBuffers::new(network, 8).is_some();
        assert!(is_small(&last(network())));
        assert!(!is_small(&last(network().layer_norm(Activation::Tanh))));
        assert!(!is_small(&last(network().dropout(0.5))));
        assert!(!is_small(&last(network().bias(false))));
        assert!(!is_small(&last(Network::builder(2).dropout(0.5).dense(2, Activation::Tanh))));
        let mut scaled = last(network());
        scaled.set_scaler(Some(Scaler::new(vec![0.0; 2], vec![1.0; 2]).unwrap())).unwrap();
        assert!(!is_small(&scaled));
        let takes_general = |trainer: Trainer<f32>| trainer.small.is_none();
        let builder = || Trainer::builder(last(network()));
        assert!(!takes_general(builder().clip_grad_value(1.0).build().unwrap()));
        assert!(!takes_general(builder().clip_grad_norm(1.0).build().unwrap()));
        assert!(takes_general(builder().check_finite(true).build().unwrap()));
        assert!(takes_general(builder().layer_stats().build().unwrap()));
        assert!(takes_general(builder().input_gradients().build().unwrap()));
    }

    #[test]
    fn steps_take_quads_for_losses_by_element_without_weights() {
        let network = Network::<f32>::builder(2).dense(2, Activation::Tanh).seed(1).build().unwrap();
        let classes = ClassWeights::new(Loss::MeanSquaredError, 2, None, 0.0).unwrap();
        let mut buffers = SinglePanelBuffers::new(&network, 8).unwrap();
        assert!(buffers.suit(&network, 8) && !buffers.suit(&network, 9));
        let mut suits = |loss, weights: Option<&[f32]>| {
            let objective =
                Objective { loss, scale: 1.0, targets: crate::Targets::Values(&[1.0; 2]), weights };
            SinglePanelStep {
                buffers: &mut buffers,
                layers: &network.layers,
                parameters: &mut [],
                transposed: &mut [],
                gradients: &mut [],
                moments: [&mut [], &mut [], &mut []],
                classes: &classes,
                x: &[0.0; 2],
                rows: 1,
                objective,
                start: Beta::Zero,
                update: None,
            }
            .fits_groups()
        };
        assert!(suits(Loss::MeanSquaredError, None));
        assert!(!suits(Loss::MeanSquaredError, Some(&[1.0])));
        assert!(!suits(Loss::SoftmaxCrossEntropy, None));
    }
}
