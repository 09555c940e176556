//! The kernels of an instruction set behind a table.

use crate::kernels::gemm::products::{self, Dense, DenseBackward, Sweep};
use crate::kernels::gemm::weight_gradient::{self, FusedSgd, WeightGradient};
use crate::kernels::matrix::panels::{Panels, PanelsMut};
use crate::kernels::matrix::transpose::transpose_panel;
use crate::kernels::matrix::{Beta, pack};
use crate::kernels::ops::activation::{Activation, Derivative};
use crate::kernels::ops::dropout::{self, Mask};
use crate::kernels::ops::elementwise;
use crate::kernels::ops::layer_norm::{self, LayerNorm, LayerNormBackward, LayerNormGradient};
use crate::kernels::ops::loss::{self, ClassWeights, Objective, RowLosses};
use crate::kernels::ops::optimizer::{self, MAX_MOMENTS, Update};
use crate::kernels::ops::softmax::{self, activate_slice};
use crate::simd::isa::Isa;
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::portable::Portable;
use crate::simd::scalar::{Element, Family};
#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2::Avx2, avx512::Avx512};

/// The operations of one instruction set behind a table, so that tests go through all instruction sets in a loop.
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
        activation_and_sums: (Activation, &mut [T::Line]),
        order: Sweep,
    );
    fn backward_data(
        &self,
        d_x: PanelsMut<'_, T>,
        d_z: Panels<'_, T>,
        transposed: &[T::Line],
        below: Option<(Panels<'_, T>, Activation)>,
        order: Sweep,
    );
    fn weight_gradient(
        &self,
        d_w: &mut [T::Line],
        x: Panels<'_, T>,
        d_z: Panels<'_, T>,
        first: usize,
        start: Beta,
        descent: Option<FusedSgd<'_, T>>,
    );
    fn norm_forward(
        &self,
        y: PanelsMut<'_, T>,
        x: Panels<'_, T>,
        weights: &[T::Line],
        statistics: &mut [T::Line],
        activation_and_sums: (Activation, &mut [T::Line]),
    );
    fn norm_backward_data(
        &self,
        d_x: PanelsMut<'_, T>,
        x_and_d_z: (Panels<'_, T>, Panels<'_, T>),
        weights: &[T::Line],
        statistics: &[T::Line],
        below: Option<(Panels<'_, T>, Activation)>,
    );
    fn norm_weight_gradient(
        &self,
        d_w: &mut [T::Line],
        x_and_d_z: (Panels<'_, T>, Panels<'_, T>),
        statistics: &[T::Line],
        first: usize,
        start: Beta,
    );
    fn dropout(&self, y: PanelsMut<'_, T>, mask: Mask);
    fn output_gradient(&self, d: PanelsMut<'_, T>, y: Panels<'_, T>, activation: Activation);
    fn loss(
        &self,
        d_and_losses: (PanelsMut<'_, T>, &mut [f64]),
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
        (activation, pre_activation): (Activation, &mut [LineOf<L>]),
        order: Sweep,
    ) {
        products::forward(*self, Dense { y, pre_activation, x, weights, activation }, order);
    }

    fn backward_data(
        &self,
        d_x: PanelsMut<'_, L::Element>,
        d_z: Panels<'_, L::Element>,
        transposed: &[LineOf<L>],
        below: Option<(Panels<'_, L::Element>, Activation)>,
        order: Sweep,
    ) {
        let below = below.map(|(from, activation)| Derivative { from, activation });
        products::backward_data(*self, DenseBackward { d_x, d_z, transposed, below }, order);
    }

    fn weight_gradient(
        &self,
        d_w: &mut [LineOf<L>],
        x: Panels<'_, L::Element>,
        d_z: Panels<'_, L::Element>,
        first_panel: usize,
        start: Beta,
        descent: Option<FusedSgd<'_, L::Element>>,
    ) {
        let gradient = WeightGradient { d_w, x, d_z, first_panel, start };
        weight_gradient::weight_gradient(*self, gradient, descent);
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
        (activation, pre_activation): (Activation, &mut [LineOf<L>]),
    ) {
        let norm = LayerNorm { y, pre_activation, x, weights, statistics, epsilon: 1e-5, activation };
        layer_norm::forward(*self, norm);
    }

    fn norm_backward_data(
        &self,
        d_x: PanelsMut<'_, L::Element>,
        (x, d_z): (Panels<'_, L::Element>, Panels<'_, L::Element>),
        weights: &[LineOf<L>],
        statistics: &[LineOf<L>],
        below: Option<(Panels<'_, L::Element>, Activation)>,
    ) {
        let below = below.map(|(from, activation)| Derivative { from, activation });
        layer_norm::backward_data(*self, LayerNormBackward { d_x, x, d_z, weights, statistics, below });
    }

    fn norm_weight_gradient(
        &self,
        d_w: &mut [LineOf<L>],
        (x, d_z): (Panels<'_, L::Element>, Panels<'_, L::Element>),
        statistics: &[LineOf<L>],
        first_panel: usize,
        start: Beta,
    ) {
        let gradient = LayerNormGradient { d_w, x, d_z, statistics, first_panel, start };
        layer_norm::weight_gradient(*self, gradient);
    }

    fn dropout(&self, y: PanelsMut<'_, L::Element>, mask: Mask) {
        dropout::apply(*self, y, mask);
    }

    fn loss(
        &self,
        (d_y, losses): (PanelsMut<'_, L::Element>, &mut [f64]),
        y: Panels<'_, L::Element>,
        objective: &Objective<'_, L::Element>,
        classes: &ClassWeights<L::Element>,
    ) {
        loss::evaluate(*self, RowLosses { d_y, losses }, y, objective, classes);
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
        _ => None,
    }
}
