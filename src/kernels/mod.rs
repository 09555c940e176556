//! How numbers move: the operations that a network is made of, on the best instruction set at hand.
//!
//! [`Kernels`] are the operations for one instruction set, of which each is one function compiled for its
//! instructions, below which everything is inlined. Runs of work enter by [`crate::machine`], and call them directly. A
//! kernel never sees a thread, a caller never sees a vector.

pub mod blocking;
pub mod elementwise;
pub mod gemm;
pub mod gradient;
pub mod isa;
#[allow(unsafe_code)]
pub mod lanes;
pub mod math;
// The micro-kernel reads without bounds checks, which its assertions have made already.
#[allow(unsafe_code)]
mod micro;
mod narrow;
mod norm;
pub mod pack;
pub mod quads;
#[cfg(test)]
mod tests;

use blocking::TILED_ROWS;
use gemm::{Blocked, Order, Small};
use gradient::Descent;
pub use isa::Isa;
use lanes::{Arithmetic, Lanes};
use pack::{Panels, PanelsMut};

use crate::activation::Activation;
use crate::dropout::{self, Mask};
use crate::element::Sealed as Element;
use crate::loss::{self, Classes, Objective};
use crate::optimizer::{self, MAX_MOMENTS, Update};

/// A cache line of the elements of some lanes.
pub(crate) type LineOf<L> = <<L as Arithmetic>::Element as Element>::Line;

/// What a sum over part of a batch starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// 0: what was there is overwritten, never read.
    Zero,
    /// The sum so far.
    Accumulate,
}

/// The operations on one tile and one layer, for one instruction set. Shapes as in each function's docs.
pub trait Kernels<T: Element>: Send + Sync {
    /// See [`pack::pack_rows`].
    fn pack(&self, to: PanelsMut<'_, T>, from: &[T]);
    /// See [`pack::unpack_rows`].
    fn unpack(&self, to: &mut [T], from: Panels<'_, T>);
    /// See [`pack::transpose_panel`].
    fn transpose(&self, to: &mut [T::Line], weights: &[T::Line], outputs: usize);
    /// See [`elementwise::activate_slice`].
    fn activate(&self, y: &mut [T], activation: Activation);
    /// See [`gemm::forward`].
    fn forward(
        &self,
        y: PanelsMut<'_, T>,
        x: Panels<'_, T>,
        weights: &[T::Line],
        activation_and_sums: (Activation, &mut [T::Line]),
        order: Order,
    );
    /// See [`gemm::backward_data`].
    fn backward_data(
        &self,
        d_x: PanelsMut<'_, T>,
        d_z: Panels<'_, T>,
        transposed: &[T::Line],
        below: Option<(Panels<'_, T>, Activation)>,
        order: Order,
    );
    /// See [`gradient::weight_gradient`].
    fn weight_gradient(
        &self,
        d_w: &mut [T::Line],
        x: Panels<'_, T>,
        d_z: Panels<'_, T>,
        first: usize,
        start: Start,
        descent: Option<Descent<'_, T>>,
    );
    /// See [`norm::forward`].
    fn norm_forward(
        &self,
        y: PanelsMut<'_, T>,
        x: Panels<'_, T>,
        weights: &[T::Line],
        statistics: &mut [T::Line],
        activation_and_sums: (Activation, &mut [T::Line]),
    );
    /// See [`norm::backward_data`].
    fn norm_backward_data(
        &self,
        d_x: PanelsMut<'_, T>,
        x_and_d_z: (Panels<'_, T>, Panels<'_, T>),
        weights: &[T::Line],
        statistics: &[T::Line],
        below: Option<(Panels<'_, T>, Activation)>,
    );
    /// See [`norm::weight_gradient`].
    fn norm_weight_gradient(
        &self,
        d_w: &mut [T::Line],
        x_and_d_z: (Panels<'_, T>, Panels<'_, T>),
        statistics: &[T::Line],
        first: usize,
        start: Start,
    );
    /// See [`crate::dropout::apply`].
    fn dropout(&self, y: PanelsMut<'_, T>, mask: Mask);
    /// See [`elementwise::output_gradient`].
    fn output_gradient(&self, d: PanelsMut<'_, T>, y: Panels<'_, T>, activation: Activation);
    /// See [`crate::loss::evaluate`].
    fn loss(
        &self,
        d_and_losses: (PanelsMut<'_, T>, &mut [f64]),
        y: Panels<'_, T>,
        objective: &Objective<'_, T>,
        classes: &Classes<T>,
    );
    /// See [`elementwise::scale`].
    fn scale(&self, x: PanelsMut<'_, T>, means: Option<&[T::Line]>, deviations: &[T::Line]);
    /// See [`elementwise::add`].
    fn add(&self, to: &mut [T::Line], from: &[T::Line]);
    /// See [`elementwise::sum_of_squares`].
    fn sum_of_squares(&self, lines: &[T::Line]) -> f64;
    /// See [`crate::optimizer::update`].
    fn update(
        &self,
        parameters: &mut [T::Line],
        gradients: &[T::Line],
        moments: [&mut [T::Line]; MAX_MOMENTS],
        update: &Update,
    );
}

/// Every method enters the instruction set and calls the function that its docs name.
impl<L: Lanes> Kernels<L::Element> for L {
    fn pack(&self, to: PanelsMut<'_, L::Element>, from: &[L::Element]) {
        self.vectorize(
            #[inline(always)]
            || pack::pack_rows(*self, to, from),
        );
    }

    fn unpack(&self, to: &mut [L::Element], from: Panels<'_, L::Element>) {
        self.vectorize(
            #[inline(always)]
            || pack::unpack_rows(*self, to, from),
        );
    }

    fn transpose(&self, to: &mut [LineOf<L>], weights: &[LineOf<L>], outputs: usize) {
        self.vectorize(
            #[inline(always)]
            || pack::transpose_panel(*self, to, weights, outputs),
        );
    }

    fn activate(&self, y: &mut [L::Element], activation: Activation) {
        self.vectorize(
            #[inline(always)]
            || elementwise::activate_slice(*self, y, activation),
        );
    }

    fn forward(
        &self,
        y: PanelsMut<'_, L::Element>,
        x: Panels<'_, L::Element>,
        weights: &[LineOf<L>],
        activation_and_sums: (Activation, &mut [LineOf<L>]),
        order: Order,
    ) {
        if x.panels() == 1 && y.panels() == 1 {
            return self.vectorize(
                #[inline(always)]
                || gemm::forward::<_, Small>(*self, y, x, weights, activation_and_sums, order),
            );
        }
        self.vectorize(
            #[inline(always)]
            || gemm::forward::<_, Blocked>(*self, y, x, weights, activation_and_sums, order),
        );
    }

    fn backward_data(
        &self,
        d_x: PanelsMut<'_, L::Element>,
        d_z: Panels<'_, L::Element>,
        transposed: &[LineOf<L>],
        below: Option<(Panels<'_, L::Element>, Activation)>,
        order: Order,
    ) {
        if d_x.panels() == 1 && d_z.panels() == 1 {
            return self.vectorize(
                #[inline(always)]
                || gemm::backward_data::<_, Small>(*self, d_x, d_z, transposed, below, order),
            );
        }
        self.vectorize(
            #[inline(always)]
            || gemm::backward_data::<_, Blocked>(*self, d_x, d_z, transposed, below, order),
        );
    }

    fn weight_gradient(
        &self,
        d_w: &mut [LineOf<L>],
        x: Panels<'_, L::Element>,
        d_z: Panels<'_, L::Element>,
        first: usize,
        start: Start,
        descent: Option<Descent<'_, L::Element>>,
    ) {
        let is_one_panel = x.panels() == 1 && d_w.len() == 1 + x.cols;
        if is_one_panel && x.rows < TILED_ROWS && descent.is_none() {
            return self.vectorize(
                #[inline(always)]
                || gradient::small_weight_gradient(*self, d_w, x, d_z, first, start),
            );
        }
        self.vectorize(
            #[inline(always)]
            || gradient::weight_gradient(*self, d_w, x, d_z, first, start, descent),
        );
    }

    fn output_gradient(
        &self,
        d: PanelsMut<'_, L::Element>,
        y: Panels<'_, L::Element>,
        activation: Activation,
    ) {
        self.vectorize(
            #[inline(always)]
            || elementwise::output_gradient(*self, d, y, activation),
        );
    }

    fn norm_forward(
        &self,
        y: PanelsMut<'_, L::Element>,
        x: Panels<'_, L::Element>,
        weights: &[LineOf<L>],
        statistics: &mut [LineOf<L>],
        activation_and_sums: (Activation, &mut [LineOf<L>]),
    ) {
        self.vectorize(
            #[inline(always)]
            || norm::forward(*self, y, x, weights, statistics, activation_and_sums),
        );
    }

    fn norm_backward_data(
        &self,
        d_x: PanelsMut<'_, L::Element>,
        x_and_d_z: (Panels<'_, L::Element>, Panels<'_, L::Element>),
        weights: &[LineOf<L>],
        statistics: &[LineOf<L>],
        below: Option<(Panels<'_, L::Element>, Activation)>,
    ) {
        self.vectorize(
            #[inline(always)]
            || norm::backward_data(*self, d_x, x_and_d_z, weights, statistics, below),
        );
    }

    fn norm_weight_gradient(
        &self,
        d_w: &mut [LineOf<L>],
        x_and_d_z: (Panels<'_, L::Element>, Panels<'_, L::Element>),
        statistics: &[LineOf<L>],
        first: usize,
        start: Start,
    ) {
        self.vectorize(
            #[inline(always)]
            || norm::weight_gradient(*self, d_w, x_and_d_z, statistics, first, start),
        );
    }

    fn dropout(&self, y: PanelsMut<'_, L::Element>, mask: Mask) {
        self.vectorize(
            #[inline(always)]
            || dropout::apply(*self, y, mask),
        );
    }

    fn loss(
        &self,
        d_and_losses: (PanelsMut<'_, L::Element>, &mut [f64]),
        y: Panels<'_, L::Element>,
        objective: &Objective<'_, L::Element>,
        classes: &Classes<L::Element>,
    ) {
        self.vectorize(
            #[inline(always)]
            || loss::evaluate(*self, d_and_losses, y, objective, classes),
        );
    }

    fn scale(&self, x: PanelsMut<'_, L::Element>, means: Option<&[LineOf<L>]>, deviations: &[LineOf<L>]) {
        self.vectorize(
            #[inline(always)]
            || elementwise::scale(*self, x, means, deviations),
        );
    }

    fn add(&self, to: &mut [LineOf<L>], from: &[LineOf<L>]) {
        self.vectorize(
            #[inline(always)]
            || elementwise::add(*self, to, from),
        );
    }

    fn sum_of_squares(&self, lines: &[LineOf<L>]) -> f64 {
        self.vectorize(
            #[inline(always)]
            || elementwise::sum_of_squares::<L::Element>(lines),
        )
    }

    fn update(
        &self,
        parameters: &mut [LineOf<L>],
        gradients: &[LineOf<L>],
        moments: [&mut [LineOf<L>]; MAX_MOMENTS],
        update: &Update,
    ) {
        self.vectorize(
            #[inline(always)]
            || optimizer::update(*self, parameters, gradients, moments, update),
        );
    }
}
