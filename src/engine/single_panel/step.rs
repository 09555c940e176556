//! Training steps of small networks: forward, loss, backward and update in one run.

use crate::engine::micro_batch::Purpose;
use crate::engine::single_panel::arrangement::{
    Arrangement, LayerBackward, LayerWeightGradient, OutputLoss, Shape,
};
use crate::engine::single_panel::buffers::{BLOCKS, LayerBlocks, SinglePanelBuffers};
use crate::engine::single_panel::forward::{ForwardPass, forward};
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::transpose::{transpose_panel, transposed_stride};
use crate::kernels::ops::activation::Activation;
use crate::kernels::ops::loss::{ClassWeights, Objective, UnreadRows};
use crate::kernels::ops::optimizer;
use crate::kernels::ops::optimizer::{MAX_MOMENTS, Update};
use crate::network::Layer;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::{Element, Line};

/// A step of a small network, or its first half.
pub(crate) struct SinglePanelStep<'a, T: Element> {
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
    /// Whether the gradient is overwritten or added to.
    pub(crate) beta: Beta,
    /// The update by the gradient, if there is one.
    pub(crate) update: Option<&'a Update>,
    /// Whether there is no update after a loss that is not finite.
    pub(crate) requires_finite_loss: bool,
}

impl<T: Element> SinglePanelStep<'_, T> {
    /// Whether rows fit in groups.
    pub(crate) fn fits_groups(&self) -> bool {
        self.buffers.groups && self.objective.fits_groups(self.classes)
    }

    /// Forward, loss, backward, and the update if there is one. Returns the loss.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>, A: Arrangement<L>>(&mut self, l: L) -> f64 {
        let size = A::lines(self.rows);
        let last = self.layers[self.layers.len() - 1].activation();
        let last = self.objective.loss.output_activation(last);
        let inputs = self.layers[0].inputs();
        A::pack(l, &mut self.buffers.lines[..size], self.x, self.rows, inputs);
        if A::LINE_PER_ROW {
            let outputs = self.layers[self.layers.len() - 1].outputs();
            if let Some(unread) = self.objective.unread(self.classes, outputs) {
                clear_rows::<T>(&mut self.buffers.lines[..self.rows], unread);
            }
        }
        let pass = ForwardPass {
            layers: self.layers,
            parameters: &*self.parameters,
            rows: self.rows,
            output_activation: last,
            purpose: Purpose::Train,
        };
        forward::<L, A>(l, &mut self.buffers.lines, size, pass);
        let loss = self.backward::<L, A>(l, size, last);
        if let Some(update) = self.update
            && (!self.requires_finite_loss || loss.is_finite())
        {
            self.update::<L, A>(l, update);
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
        let Self { layers, rows, beta, .. } = *self;
        let count = layers.len();
        let lines = &mut self.buffers.lines[..(1 + BLOCKS * count) * size];
        let (mut below, here) = lines.split_at_mut((1 + BLOCKS * (count - 1)) * size);
        let LayerBlocks { pre_activation, d_z, y } = LayerBlocks::first(here, size);
        let loss = A::loss(
            l,
            OutputLoss {
                d_z,
                y,
                from: if last.needs_pre_activation() { pre_activation } else { y },
                activation: last,
                shape: Shape::of(&layers[count - 1], rows),
                objective: &self.objective,
                classes: self.classes,
            },
        );
        let mut d_z = &*d_z;
        let (mut gradients, mut transposed) = (&mut *self.gradients, &*self.transposed);
        for i in (1..count).rev() {
            let shape = Shape::of(&layers[i], rows);
            let here;
            (below, here) = below.split_at_mut(below.len() - BLOCKS * size);
            let LayerBlocks { pre_activation, d_z: d_x, y } = LayerBlocks::first(here, size);
            let d_w;
            (gradients, d_w) = gradients.split_at_mut(gradients.len() - (1 + shape.inputs));
            A::weight_gradient(l, LayerWeightGradient { d_w, x: y, d_z, shape, beta });
            let blocks;
            (transposed, blocks) = transposed.split_at(transposed.len() - one_panel_transposed::<T>());
            let activation = layers[i - 1].activation();
            let from = if activation.needs_pre_activation() { pre_activation } else { y };
            let d_x = &mut *d_x;
            A::backward_data(l, LayerBackward { d_x, d_z, transposed: blocks, from, activation, shape });
            d_z = d_x;
        }
        let shape = Shape::of(&layers[0], rows);
        A::weight_gradient(l, LayerWeightGradient { d_w: gradients, x: below, d_z, shape, beta });
        loss
    }

    /// The optimizer's update, and the transposed copy.
    #[inline(always)]
    fn update<L: Lanes<Element = T>, A: Arrangement<L>>(&mut self, l: L, update: &Update) {
        let moments = self.moments.each_mut().map(
            #[inline(always)]
            |moment| &mut **moment,
        );
        if A::INLINES_OPTIMIZERS {
            optimizer::update_lines(l, self.parameters, self.gradients, moments, update);
        } else {
            optimizer::update(l, self.parameters, self.gradients, moments, update);
        }
        let mut transposed = &mut *self.transposed;
        for layer in &self.layers[1..] {
            let blocks;
            (blocks, transposed) = transposed.split_at_mut(one_panel_transposed::<T>());
            let weights = &self.parameters[layer.first_line + 1..][..layer.inputs()];
            transpose_panel(l, blocks, weights, layer.outputs());
        }
    }
}

/// Takes rows of weight 0, a line each, as zeros: their gradient is 0, but 0 times NaN is not. Not inlined,
/// for few steps have any.
#[inline(never)]
fn clear_rows<T: Element>(lines: &mut [T::Line], unread: UnreadRows<'_, T>) {
    for (_, line) in lines.iter_mut().enumerate().filter(|&(row, _)| unread.contains(row)) {
        *line = T::Line::ZERO;
    }
}

/// Lines of the transposed weights of one layer.
#[inline(always)]
fn one_panel_transposed<T: Element>() -> usize {
    transposed_stride::<T>(T::LANES)
}
