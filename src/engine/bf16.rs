//! bf16: the copies of weights and activations that products in bf16 read.
//!
//! A dense layer rounds its input as it goes forward, and the gradient with respect to its pre-activation as
//! it goes back: to rows, which the next product reads, and to pairs of rows, which stay for the weight
//! gradient. Everything else (activations, their derivatives, layer norms, dropout, losses) is as in `f32`.

use core::ops::Range;

use crate::engine::column_parallel::{GRAIN_PANELS, shares_outputs};
use crate::engine::dispatch::Engine;
use crate::engine::micro_batch::Purpose;
use crate::engine::parallel::{Divide, Split};
use crate::error::{Argument, Error};
use crate::kernels::gemm::bf16::products as bf16_products;
use crate::kernels::gemm::bf16::products::Weights;
use crate::kernels::gemm::bf16::weight_gradient::{WeightGradient, WholeSums};
use crate::kernels::gemm::products::{Dense, DenseBackward, Sweep};
use crate::kernels::gemm::weight_gradient as f32_gradient;
use crate::kernels::gemm::weight_gradient::FusedSgd;
use crate::kernels::matrix::bf16::{
    HalfPanels, PairPanels, Rounding, WeightRounding, transposed_weight_lines, weight_lines,
};
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::network::{Layer, LayerKind, Network};
use crate::simd::bf16::{HalfLine, PairLine};
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// The numbers that products of a training or a prediction in `f32` multiply. Networks of `f64` have
/// [`Precision::F32`] alone, which there stands for their own numbers.
///
/// With [`Precision::Bf16`] the operands of every product of a dense layer are rounded to bf16, which has the
/// range of `f32` and eight significant bits: inputs and weights, gradients, and the activations between.
/// Sums, biases, activations, losses, parameters, gradients and the optimizer's running sums stay `f32`: an
/// update as small as ever is not lost.
///
/// **Error.** An operand is off by at most 2^-8 (0.4 %) of itself; below 2^-56 (1.4e-17) it becomes 0. So a
/// sum of `k` products is within `(2^-7 + 2^-16 + 2 (k + 2) 2^-24) sum |a| |b|` of the exact one, and as a
/// rule far closer, for roundings are as often up as down.
///
/// **Speed** depends on the CPU. Weights take half the memory, so that a prediction of few rows through
/// weights that exceed the caches takes half the time. Products of many rows gain where there is an
/// instruction for them (AVX512-BF16); elsewhere operands are widened to `f32`, which with AVX2 takes a
/// quarter longer than `f32`, and more for small networks.
///
/// **Bits** are the same for any number of threads and any place in a batch, on AVX2 and AVX-512, with
/// AVX512-BF16 and without. The portable instruction set, too, has the same sums of products, unless one is
/// past the range of `f32`.
///
/// # Examples
/// ```
/// use fuseprop::{Activation, Network, Precision, Trainer};
///
/// let network = Network::<f32>::builder(2).dense(8, Activation::Tanh).dense(1, Activation::Identity);
/// let mut trainer = Trainer::builder(network.seed(1).build()?).precision(Precision::Bf16).build()?;
/// trainer.step(&[0.5, 1.0], &[1.0])?;
/// // The network is an ordinary one, to be used in either precision.
/// let network = trainer.into_network();
/// let mut workspace = network.workspace(1)?.precision(Precision::Bf16)?;
/// let mut y = [0.0];
/// network.predict_into(&[0.5, 1.0], &mut y, &mut workspace)?;
/// assert!((y[0] - network.predict(&[0.5, 1.0])?[0]).abs() < 0.05);
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Precision {
    /// The network's own numbers.
    #[default]
    F32,
    /// Rounded to bf16, with sums in `f32`.
    Bf16,
}

impl Precision {
    /// Refuses bf16 for networks of `f64`.
    pub(crate) fn check<T: Element>(self) -> Result<(), Error> {
        if self == Self::Bf16 && size_of::<T>() != size_of::<f32>() {
            return Err(Error::Combination { argument: Argument::Bf16, with: Argument::DoublePrecision });
        }
        Ok(())
    }
}

/// The bf16 copies of a network's weights.
#[derive(Clone, Debug)]
pub(crate) struct Bf16Weights {
    weights: Vec<PairLine>,
    /// Of layers whose input gradient is needed.
    transposed: Vec<PairLine>,
    /// Each layer's lines in both.
    layers: Vec<[Range<usize>; 2]>,
}

/// Lines of some weights in the bf16 copies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CopyLines {
    pub(crate) weights: usize,
    pub(crate) transposed: usize,
}

impl CopyLines {
    /// Of some panels of a layer.
    pub(crate) fn of(layer: Layer, panels: usize, is_transposed: bool) -> Self {
        if layer.kind() != LayerKind::Dense {
            return Self::default();
        }
        let transposed = if is_transposed { transposed_weight_lines(layer.inputs()) } else { 0 };
        Self { weights: panels * weight_lines(layer.inputs()), transposed: panels * transposed }
    }
}

/// The bf16 copies of some parameters, to write. Empty in `f32`.
#[derive(Default)]
pub(crate) struct Bf16Copies<'a> {
    pub(crate) weights: &'a mut [PairLine],
    pub(crate) transposed: &'a mut [PairLine],
}

impl<'a> Bf16Copies<'a> {
    pub(crate) fn reborrow(&mut self) -> Bf16Copies<'_> {
        Bf16Copies { weights: &mut *self.weights, transposed: &mut *self.transposed }
    }

    /// The first lines and the others.
    pub(crate) fn split_at(self, lines: CopyLines) -> [Bf16Copies<'a>; 2] {
        let (weights, weights_right) = self.weights.split_at_mut(lines.weights.min(self.weights.len()));
        let (transposed, transposed_right) =
            self.transposed.split_at_mut(lines.transposed.min(self.transposed.len()));
        [
            Bf16Copies { weights, transposed },
            Bf16Copies { weights: weights_right, transposed: transposed_right },
        ]
    }

    /// The copies of these parameters, panels of a layer of some inputs.
    pub(crate) fn rounding<T: Element>(
        self,
        parameters: &'a [T::Line],
        inputs: usize,
    ) -> WeightRounding<'a, T> {
        WeightRounding { parameters, inputs, weights: self.weights, transposed: self.transposed }
    }
}

impl Bf16Weights {
    /// Room for the copies of all dense layers, and for transposed ones of some.
    pub(crate) fn new(layers: &[Layer], is_transposed: impl Fn(usize) -> bool) -> Self {
        let (mut ends, mut ranges) = (CopyLines::default(), Vec::new());
        for (l, &layer) in layers.iter().enumerate() {
            let lines = CopyLines::of(layer, panels::<f32>(layer.outputs()), is_transposed(l));
            let (weights, transposed) = (ends.weights + lines.weights, ends.transposed + lines.transposed);
            ranges.push([ends.weights..weights, ends.transposed..transposed]);
            ends = CopyLines { weights, transposed };
        }
        let lines = |count| vec![PairLine::ZERO; count];
        Self { weights: lines(ends.weights), transposed: lines(ends.transposed), layers: ranges }
    }

    /// All of both.
    pub(crate) fn as_copies(&mut self) -> Bf16Copies<'_> {
        Bf16Copies { weights: &mut self.weights, transposed: &mut self.transposed }
    }

    /// Overwrites both from the network's parameters.
    pub(crate) fn refresh<T: Element>(&mut self, network: &Network<T>, engine: &dyn Engine<T>) {
        for (l, layer) in
            network.layers.iter().enumerate().filter(|(_, layer)| layer.kind() == LayerKind::Dense)
        {
            let [weights, transposed] = self.layers[l].clone();
            let copies = Bf16Copies {
                weights: &mut self.weights[weights],
                transposed: &mut self.transposed[transposed],
            };
            engine.round_weights(copies.rounding(network.layer_lines(l), layer.inputs()));
        }
    }

    fn layer(&self, l: usize) -> &[PairLine] {
        &self.weights[self.layers[l][0].clone()]
    }

    fn transposed_layer(&self, l: usize) -> &[PairLine] {
        &self.transposed[self.layers[l][1].clone()]
    }
}

/// The bf16 operands of the rows of a micro-batch.
#[derive(Clone, Debug)]
pub(crate) struct Bf16Buffers {
    /// The left operand of the product under way.
    halves: Vec<HalfLine>,
    layers: Vec<LayerOperands>,
}

/// The operands of a dense layer's weight gradient. Empty in a prediction.
#[derive(Clone, Debug, Default)]
struct LayerOperands {
    x: Vec<PairLine>,
    d_z: Vec<PairLine>,
}

/// How a product is run.
#[derive(Clone, Copy)]
pub(crate) struct ProductMode {
    pub(crate) sweep: Sweep,
    /// How the outputs of large layers are shared among threads.
    pub(crate) split_outputs: Split,
}

impl Bf16Buffers {
    /// For up to `capacity` rows.
    pub(crate) fn new(layers: &[Layer], capacity: usize, purpose: Purpose) -> Self {
        let is_dense = |layer: &&Layer| layer.kind() == LayerKind::Dense;
        let widest = layers.iter().filter(is_dense).map(|layer| layer.inputs().max(layer.outputs())).max();
        let pairs = |features| vec![PairLine::ZERO; capacity.div_ceil(2) * panels::<f32>(features)];
        let operands = |layer: &Layer| match purpose {
            Purpose::Train | Purpose::TrainWithInputGradients if is_dense(&layer) => {
                LayerOperands { x: pairs(layer.inputs()), d_z: pairs(layer.outputs()) }
            }
            _ => LayerOperands::default(),
        };
        Self {
            halves: vec![HalfLine::ZERO; capacity * panels::<f32>(widest.unwrap_or(0))],
            layers: layers.iter().map(operands).collect(),
        }
    }

    /// `y = f(x W + b)` of a dense layer.
    #[inline(always)]
    pub(crate) fn forward<L: Lanes>(
        &mut self,
        l: L,
        layer: usize,
        dense: Dense<'_, L::Element>,
        copies: &Bf16Weights,
        ProductMode { sweep, split_outputs }: ProductMode,
    ) {
        let shares = shares_outputs(split_outputs, &dense);
        let Dense { y, pre_activation, x, weights: parameters, activation } = dense;
        let Self { halves, layers } = self;
        l.visit_pairs(Rounding { from: x, halves: &mut *halves, pairs: &mut layers[layer].x });
        let weights = Weights { weights: copies.layer(layer), parameters };
        let x = HalfPanels::new(halves, x.rows, x.cols);
        let dense = bf16_products::Dense { y, pre_activation, x, weights, activation, sweep };
        if shares {
            split_outputs.for_each(SharedOutputs(dense), &|part| l.visit_pairs(part.dense()));
        } else {
            l.visit_pairs(dense);
        }
    }

    /// Rounds the gradient with respect to a dense layer's pre-activation for its weight gradient, and if the
    /// layer goes back further for [`Bf16Buffers::backward_data`].
    #[inline(always)]
    pub(crate) fn round_gradient<L: Lanes>(
        &mut self,
        l: L,
        layer: usize,
        d_z: Panels<'_, L::Element>,
        goes_back: bool,
    ) {
        let halves = if goes_back { &mut self.halves[..] } else { &mut [] };
        l.visit_pairs(Rounding { from: d_z, halves, pairs: &mut self.layers[layer].d_z });
    }

    /// `d_x = d_z W^T`, times `f'` of the layer below, from the last [`Bf16Buffers::round_gradient`].
    #[inline(always)]
    pub(crate) fn backward_data<L: Lanes>(
        &self,
        l: L,
        layer: usize,
        dense: DenseBackward<'_, L::Element>,
        copies: &Bf16Weights,
        sweep: Sweep,
    ) {
        let DenseBackward { d_x, d_z, below, .. } = dense;
        let d_z = HalfPanels::new(&self.halves, d_z.rows, d_z.cols);
        let transposed = copies.transposed_layer(layer);
        l.visit_pairs(bf16_products::DenseBackward { d_x, d_z, transposed, below, sweep });
    }

    /// A dense layer's `d_W = x^T d_z`, with the operands that its passes forward and back have rounded.
    #[inline(always)]
    pub(crate) fn weight_gradient<L: Lanes>(
        &self,
        l: L,
        layer: usize,
        gradient: f32_gradient::WeightGradient<'_, L::Element>,
        fused_sgd: Option<FusedSgd<'_, L::Element>>,
    ) {
        let f32_gradient::WeightGradient { d_w, x, d_z, first_panel, beta } = gradient;
        let operands = &self.layers[layer];
        l.visit_pairs(WeightGradient {
            d_w,
            x: PairPanels::new(&operands.x, x.rows, x.cols),
            d_z: PairPanels::new(&operands.d_z, d_z.rows, d_z.cols),
            first_panel,
            beta,
            fused_sgd,
        });
    }
}

/// Rounds a gradient that products in bf16 are added to, as their sums must start.
#[inline(always)]
pub(crate) fn round_sums<L: Lanes>(l: L, sums: &mut [<L::Element as crate::simd::scalar::Scalar>::Line]) {
    l.visit_pairs(WholeSums(sums));
}

/// Some panels of a dense layer's outputs, as
/// [`ColumnParallel`](crate::engine::column_parallel::ColumnParallel).
struct SharedOutputs<'a, T: Element>(bf16_products::Dense<'a, T>);

impl<T: Element> SharedOutputs<'_, T> {
    /// The operands of the product.
    #[inline(always)]
    fn dense(&mut self) -> bf16_products::Dense<'_, T> {
        let bf16_products::Dense { y, pre_activation, x, weights, activation, sweep } = &mut self.0;
        let y = PanelsMut { lines: &mut *y.lines, ..*y };
        let (x, weights, activation, sweep) = (*x, *weights, *activation, *sweep);
        bf16_products::Dense { y, pre_activation, x, weights, activation, sweep }
    }
}

impl<T: Element> Divide for SharedOutputs<'_, T> {
    fn pieces(&self) -> usize {
        self.0.y.panels()
    }

    fn grain(&self) -> usize {
        GRAIN_PANELS
    }

    fn split_point(&self) -> usize {
        (self.0.y.panels() / 2).next_multiple_of(GRAIN_PANELS)
    }

    fn divide(self, left: usize) -> (Self, Self) {
        let Self(bf16_products::Dense { y, pre_activation, x, weights, activation, sweep }) = self;
        let PanelsMut { lines, rows, cols } = y;
        let (y, y_right) = lines.split_at_mut(left * rows);
        let lines = if pre_activation.is_empty() { 0 } else { left * rows };
        let (pre_activation, pre_activation_right) = pre_activation.split_at_mut(lines);
        let cols_left = left * T::LANES;
        let y = PanelsMut { lines: y, rows, cols: cols_left };
        let y_right = PanelsMut { lines: y_right, rows, cols: cols - cols_left };
        let right = weights.starting_at(left, x.cols);
        let dense = bf16_products::Dense { y, pre_activation, x, weights, activation, sweep };
        let dense_right = bf16_products::Dense {
            y: y_right,
            pre_activation: pre_activation_right,
            x,
            weights: right,
            activation,
            sweep,
        };
        (Self(dense), Self(dense_right))
    }
}
