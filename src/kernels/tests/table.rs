//! The kernels of an instruction set as a trait object, so that tests go through all instruction sets in a
//! loop.

use crate::kernels::gemm::products::{self, Dense, DenseBackward, Sweep};
use crate::kernels::gemm::weight_gradient::{self, FusedSgd, WeightGradient};
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::matrix::transpose::transpose_panel;
use crate::kernels::matrix::{Beta, pack};
use crate::kernels::ops::activation::{Activation, Derivative};
use crate::kernels::ops::dropout::{self, Mask};
use crate::kernels::ops::elementwise;
use crate::kernels::ops::layer_norm::{self, LayerNorm, LayerNormBackward, LayerNormGradient, NormKind};
use crate::kernels::ops::loss::{self, ClassWeights, Objective, RowLosses};
use crate::kernels::ops::optimizer::{self, MAX_MOMENTS, Update};
use crate::kernels::ops::softmax::{self, activate_slice};
use crate::simd::isa::Isa;
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::portable::Portable;
use crate::simd::scalar::{Element, Family};
#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2::Avx2, avx512::Avx512};

/// An activation, and the buffer of its pre-activations, empty if they are not kept.
pub(super) struct Activated<'a, T: Element> {
    pub(super) activation: Activation,
    pub(super) pre_activation: &'a mut [T::Line],
}

impl<T: Element> Activated<'_, T> {
    /// Without a buffer.
    pub(super) fn alone(activation: Activation) -> Self {
        Self { activation, pre_activation: &mut [] }
    }
}

/// Operands of both gradients of a layer norm.
#[derive(Clone, Copy)]
pub(super) struct NormOperands<'a, T: Element> {
    pub(super) x: Panels<'a, T>,
    pub(super) d_z: Panels<'a, T>,
    pub(super) statistics: &'a [T::Line],
}

/// The operations of one instruction set.
pub(super) trait Kernels<T: Element>: Send + Sync {
    fn pack(&self, to: PanelsMut<'_, T>, from: &[T]);
    fn unpack(&self, to: &mut [T], from: Panels<'_, T>);
    fn transpose(&self, to: &mut [T::Line], weights: &[T::Line], outputs: usize);
    fn activate(&self, y: &mut [T], activation: Activation);
    fn forward(
        &self,
        y: PanelsMut<'_, T>,
        x: Panels<'_, T>,
        weights: &[T::Line],
        activated: Activated<'_, T>,
        sweep: Sweep,
    );
    fn backward_data(
        &self,
        d_x: PanelsMut<'_, T>,
        d_z: Panels<'_, T>,
        transposed: &[T::Line],
        below: Option<Derivative<'_, T>>,
        sweep: Sweep,
    );
    fn weight_gradient(&self, gradient: WeightGradient<'_, T>, fused_sgd: Option<FusedSgd<'_, T>>);
    fn norm_forward(
        &self,
        y: PanelsMut<'_, T>,
        x: Panels<'_, T>,
        weights: &[T::Line],
        statistics: &mut [T::Line],
        activated: Activated<'_, T>,
    );
    fn norm_backward_data(
        &self,
        d_x: PanelsMut<'_, T>,
        operands: NormOperands<'_, T>,
        weights: &[T::Line],
        below: Option<Derivative<'_, T>>,
    );
    fn norm_weight_gradient(
        &self,
        d_w: &mut [T::Line],
        operands: NormOperands<'_, T>,
        first_panel: usize,
        beta: Beta,
    );
    fn dropout(&self, y: PanelsMut<'_, T>, mask: Mask);
    fn output_gradient(&self, d: PanelsMut<'_, T>, y: Panels<'_, T>, activation: Activation);
    fn loss(
        &self,
        to: RowLosses<'_, T>,
        y: Panels<'_, T>,
        objective: &Objective<'_, T>,
        classes: &ClassWeights<T>,
    );
    fn scale(&self, x: PanelsMut<'_, T>, means: Option<&[T::Line]>, deviations: &[T::Line]);
    fn add(&self, to: &mut [T::Line], from: &[T::Line]);
    fn sum_of_squares(&self, lines: &[T::Line]) -> f64;
    fn update(
        &self,
        parameters: &mut [T::Line],
        gradients: &[T::Line],
        moments: [&mut [T::Line]; MAX_MOMENTS],
        update: &Update,
    );
}

impl<L: Lanes> Kernels<L::Element> for L {
    fn pack(&self, to: PanelsMut<'_, L::Element>, from: &[L::Element]) {
        pack::pack_rows(*self, to, from);
    }

    fn unpack(&self, to: &mut [L::Element], from: Panels<'_, L::Element>) {
        pack::unpack_rows(*self, to, from);
    }

    fn transpose(&self, to: &mut [LineOf<L>], weights: &[LineOf<L>], outputs: usize) {
        transpose_panel(*self, to, weights, outputs);
    }

    fn activate(&self, y: &mut [L::Element], activation: Activation) {
        activate_slice(*self, y, activation);
    }

    fn forward(
        &self,
        y: PanelsMut<'_, L::Element>,
        x: Panels<'_, L::Element>,
        weights: &[LineOf<L>],
        activated: Activated<'_, L::Element>,
        sweep: Sweep,
    ) {
        let Activated { activation, pre_activation } = activated;
        products::forward(*self, Dense { y, pre_activation, x, weights, activation }, sweep);
    }

    fn backward_data(
        &self,
        d_x: PanelsMut<'_, L::Element>,
        d_z: Panels<'_, L::Element>,
        transposed: &[LineOf<L>],
        below: Option<Derivative<'_, L::Element>>,
        sweep: Sweep,
    ) {
        products::backward_data(*self, DenseBackward { d_x, d_z, transposed, below }, sweep);
    }

    fn weight_gradient(
        &self,
        gradient: WeightGradient<'_, L::Element>,
        fused_sgd: Option<FusedSgd<'_, L::Element>>,
    ) {
        weight_gradient::weight_gradient(*self, gradient, fused_sgd);
    }

    fn output_gradient(
        &self,
        d: PanelsMut<'_, L::Element>,
        from: Panels<'_, L::Element>,
        activation: Activation,
    ) {
        softmax::output_gradient(*self, d, Derivative { from, activation });
    }

    fn norm_forward(
        &self,
        y: PanelsMut<'_, L::Element>,
        x: Panels<'_, L::Element>,
        weights: &[LineOf<L>],
        statistics: &mut [LineOf<L>],
        activated: Activated<'_, L::Element>,
    ) {
        let Activated { activation, pre_activation } = activated;
        let kind = NormKind { is_centred: true, epsilon: 1e-5 };
        let norm = LayerNorm { y, pre_activation, x, weights, statistics, kind, activation };
        layer_norm::forward(*self, norm);
    }

    fn norm_backward_data(
        &self,
        d_x: PanelsMut<'_, L::Element>,
        operands: NormOperands<'_, L::Element>,
        weights: &[LineOf<L>],
        below: Option<Derivative<'_, L::Element>>,
    ) {
        let NormOperands { x, d_z, statistics } = operands;
        layer_norm::backward_data(
            *self,
            LayerNormBackward { d_x, x, d_z, weights, statistics, is_centred: true, below },
        );
    }

    fn norm_weight_gradient(
        &self,
        d_w: &mut [LineOf<L>],
        operands: NormOperands<'_, L::Element>,
        first_panel: usize,
        beta: Beta,
    ) {
        let NormOperands { x, d_z, statistics } = operands;
        let gradient = LayerNormGradient { d_w, x, d_z, statistics, first_panel, start: beta };
        layer_norm::weight_gradient(*self, gradient);
    }

    fn dropout(&self, y: PanelsMut<'_, L::Element>, mask: Mask) {
        dropout::apply(*self, y, mask);
    }

    fn loss(
        &self,
        to: RowLosses<'_, L::Element>,
        y: Panels<'_, L::Element>,
        objective: &Objective<'_, L::Element>,
        classes: &ClassWeights<L::Element>,
    ) {
        loss::evaluate(*self, to, y, objective, classes);
    }

    fn scale(&self, x: PanelsMut<'_, L::Element>, means: Option<&[LineOf<L>]>, deviations: &[LineOf<L>]) {
        elementwise::scale(*self, x, means, deviations);
    }

    fn add(&self, to: &mut [LineOf<L>], from: &[LineOf<L>]) {
        elementwise::add(*self, to, from);
    }

    fn sum_of_squares(&self, lines: &[LineOf<L>]) -> f64 {
        elementwise::sum_of_squares(*self, lines)
    }

    fn update(
        &self,
        parameters: &mut [LineOf<L>],
        gradients: &[LineOf<L>],
        moments: [&mut [LineOf<L>]; MAX_MOMENTS],
        update: &Update,
    ) {
        optimizer::update(*self, parameters, gradients, moments, update);
    }
}

struct Tables;

impl Family for Tables {
    type Of<T: Element> = Option<&'static dyn Kernels<T>>;
}

pub(super) fn kernels<T: Element>(isa: Isa) -> Option<&'static dyn Kernels<T>> {
    match isa {
        Isa::Portable => T::pick::<Tables>(
            Portable::<f32>::detect().map(|lanes| lanes as _),
            Portable::<f64>::detect().map(|lanes| lanes as _),
        ),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => T::pick::<Tables>(
            Avx2::<f32>::detect().map(|lanes| lanes as _),
            Avx2::<f64>::detect().map(|lanes| lanes as _),
        ),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => T::pick::<Tables>(
            Avx512::<f32>::detect().map(|lanes| lanes as _),
            Avx512::<f64>::detect().map(|lanes| lanes as _),
        ),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => None,
    }
}
