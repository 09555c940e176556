//! Arrangements: how the rows of a batch lie in the lines of one panel, and the operations of a layer on
//! them.

use crate::kernels::matrix::Beta;
use crate::kernels::ops::activation::Activation;
use crate::kernels::ops::loss::{ClassWeights, Objective};
use crate::network::Layer;
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::scalar::Element;

/// The rows of a batch, and the features of one layer.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) rows: usize,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Shape {
    #[inline(always)]
    pub(super) fn of(layer: &Layer, rows: usize) -> Self {
        Self { rows, inputs: layer.inputs(), outputs: layer.outputs() }
    }
}

/// Operands of a layer forward: `y = f(x W + b)`.
pub(crate) struct LayerForward<'a, T: Element> {
    pub(super) y: &'a mut [T::Line],
    /// `x W + b`, or empty if nothing needs it.
    pub(super) pre_activation: &'a mut [T::Line],
    pub(super) x: &'a [T::Line],
    /// A line of biases, then a line for each input.
    pub(super) weights: &'a [T::Line],
    pub(super) activation: Activation,
    pub(super) shape: Shape,
}

/// Operands of a layer backward: `d_x = d_z W^T`, times `f'` of the layer below.
pub(crate) struct LayerBackward<'a, T: Element> {
    pub(super) d_x: &'a mut [T::Line],
    pub(super) d_z: &'a [T::Line],
    pub(super) transposed: &'a [T::Line],
    /// The output of the layer below, or its pre-activation if `f'` is computed from that.
    pub(super) from: &'a [T::Line],
    /// The activation of the layer below.
    pub(super) activation: Activation,
    pub(super) shape: Shape,
}

/// Operands of the gradient of a layer's parameters: `d_W (+)= x^T d_z`, and `d_b (+)=` the sum of the rows
/// of `d_z`.
pub(crate) struct LayerWeightGradient<'a, T: Element> {
    /// A line of biases, then a line for each input.
    pub(super) d_w: &'a mut [T::Line],
    pub(super) x: &'a [T::Line],
    pub(super) d_z: &'a [T::Line],
    pub(super) shape: Shape,
    /// Whether `d_w` is overwritten or added to.
    pub(super) beta: Beta,
}

/// Operands of a loss, and of its gradient with respect to the last layer's pre-activation.
pub(crate) struct OutputLoss<'a, T: Element> {
    pub(super) d_z: &'a mut [T::Line],
    pub(super) y: &'a [T::Line],
    /// `y`, or the pre-activation if `f'` is computed from that.
    pub(super) from: &'a [T::Line],
    pub(super) activation: Activation,
    pub(super) shape: Shape,
    pub(super) objective: &'a Objective<'a, T>,
    pub(super) classes: &'a ClassWeights<T>,
}

/// An arrangement of rows in lines.
pub(crate) trait Arrangement<L: Lanes> {
    /// Whether each row has a line of its own.
    const LINE_PER_ROW: bool;
    /// Whether the code of all optimizers is part of the run, rather than called. A call is felt where a step
    /// is some hundred instructions, but each copy of that code makes the crate slower to build.
    const INLINES_OPTIMIZERS: bool;
    /// Lines of a block of `rows` rows.
    fn lines(rows: usize) -> usize;
    /// Packs row-major `[rows, cols]`.
    fn pack(l: L, to: &mut [LineOf<L>], x: &[L::Element], rows: usize, cols: usize);
    /// Unpacks to row-major `[rows, cols]`.
    fn unpack(l: L, y: &mut [L::Element], from: &[LineOf<L>], rows: usize, cols: usize);
    /// See [`LayerForward`].
    fn forward(l: L, layer: LayerForward<'_, L::Element>);
    /// See [`LayerBackward`].
    fn backward_data(l: L, layer: LayerBackward<'_, L::Element>);
    /// See [`LayerWeightGradient`].
    fn weight_gradient(l: L, layer: LayerWeightGradient<'_, L::Element>);
    /// The loss of all rows. See [`OutputLoss`].
    fn loss(l: L, output: OutputLoss<'_, L::Element>) -> f64;
}
