//! Dispatch: the engine of an instruction set, and the one crossing from a run of work into it.
//!
//! A trainer or a workspace has a `&'static dyn` [`Engine`], chosen once when it is built. Each method enters
//! one function compiled for the instruction set and takes a whole run of work with it, so that every call
//! below it is direct: calls through a table, one for each micro-batch, layer and operation, would take most
//! of a small network's step. Work comes by reference: a copy in wide vectors of what was just stored in
//! narrow parts waits for every one of those stores.
//!
//! The only file outside `simd` that names the tokens of instruction sets.

use crate::engine::batch::BatchRange;
use crate::engine::partition::{ParameterBlock, refresh_transposed};
use crate::engine::prediction::PredictionRange;
use crate::engine::single_panel::{GroupPerRow, LinePerRow, SinglePanelPrediction, SinglePanelStep};
use crate::engine::update::{ParameterBlocks, UpdatePlan};
use crate::kernels::gemm::packed4;
use crate::kernels::matrix::bf16::WeightRounding;
use crate::kernels::ops::activation::Activation;
use crate::kernels::ops::elementwise;
use crate::kernels::ops::softmax::activate_slice;
use crate::simd::isa::Isa;
use crate::simd::lanes::Lanes;
use crate::simd::portable::Portable;
use crate::simd::scalar::{Element, Family};
#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2::Avx2, avx512::Avx512};

/// Runs of work on one instruction set.
pub(crate) trait Engine<T: Element>: Send + Sync {
    /// See [`BatchRange::run`].
    fn run_range(&self, rows: &mut BatchRange<'_, T>);
    /// See [`PredictionRange::run`].
    fn predict_range(&self, rows: &mut PredictionRange<'_, T>);
    /// See [`ParameterBlocks::run`].
    fn update_blocks(&self, blocks: &mut ParameterBlocks<'_, T>, plan: &UpdatePlan);
    /// See [`SinglePanelStep::run`].
    fn step_single_panel(&self, step: &mut SinglePanelStep<'_, T>) -> f64;
    /// See [`SinglePanelPrediction::run`] and [`SinglePanelPrediction::run_line`].
    fn predict_single_panel(&self, rows: &mut SinglePanelPrediction<'_, T>);
    /// See [`activate_slice`].
    fn activate(&self, y: &mut [T], activation: Activation);
    /// See [`refresh_transposed`].
    fn transpose_block(&self, block: &ParameterBlock, to: &mut [T::Line], parameters: &[T::Line]);
    /// See [`WeightRounding`].
    fn round_weights(&self, rounding: WeightRounding<'_, T>);
    /// See [`elementwise::sum_of_squares`].
    fn sum_of_squares(&self, lines: &[T::Line]) -> f64;
}

/// The engine of an instruction set, if this CPU and build support it.
pub(crate) fn engine<T: Element>(isa: Isa) -> Option<&'static dyn Engine<T>> {
    T::pick::<Engines>(engine_f32(isa), engine_f64(isa))
}

struct Engines;

impl Family for Engines {
    type Of<T: Element> = Option<&'static dyn Engine<T>>;
}

// Not inlined: where the build already targets an instruction set, `detect` is so small that every crate
// which names a network would compile kernels of its own.
#[inline(never)]
fn engine_f32(isa: Isa) -> Option<&'static dyn Engine<f32>> {
    match isa {
        Isa::Portable => Portable::<f32>::detect().map(|lanes| lanes as _),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Avx2::<f32>::detect().map(|lanes| lanes as _),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Avx512::<f32>::detect().map(|lanes| lanes as _),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => None,
    }
}

#[inline(never)]
fn engine_f64(isa: Isa) -> Option<&'static dyn Engine<f64>> {
    match isa {
        Isa::Portable => Portable::<f64>::detect().map(|lanes| lanes as _),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Avx2::<f64>::detect().map(|lanes| lanes as _),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Avx512::<f64>::detect().map(|lanes| lanes as _),
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => None,
    }
}

impl<T: Element, L: Lanes<Element = T>> Engine<T> for L {
    fn run_range(&self, rows: &mut BatchRange<'_, T>) {
        self.vectorize(
            #[inline(always)]
            || rows.run(*self),
        );
    }

    fn predict_range(&self, rows: &mut PredictionRange<'_, T>) {
        self.vectorize(
            #[inline(always)]
            || rows.run(*self),
        );
    }

    fn update_blocks(&self, blocks: &mut ParameterBlocks<'_, T>, plan: &UpdatePlan) {
        self.vectorize(
            #[inline(always)]
            || blocks.run(*self, plan),
        );
    }

    // A block of one line, of which the compiler knows that it is one, has no loops: the second copy of the
    // code takes a step of 2-4-1 from 122 to 103 ns. It gains nothing with more rows than a line holds.
    fn step_single_panel(&self, step: &mut SinglePanelStep<'_, T>) -> f64 {
        match step.fits_groups() {
            true if L::INLINES_SMALL && packed4::fit_a_line::<T>(step.rows) => self.vectorize(
                #[inline(always)]
                || step.run::<_, GroupPerRow<true>>(*self),
            ),
            true => self.vectorize(
                #[inline(always)]
                || step.run::<_, GroupPerRow<false>>(*self),
            ),
            false => self.vectorize(
                #[inline(always)]
                || step.run::<_, LinePerRow<false>>(*self),
            ),
        }
    }

    fn predict_single_panel(&self, rows: &mut SinglePanelPrediction<'_, T>) {
        match rows.fits_groups() {
            true if L::INLINES_SMALL && packed4::fit_a_line::<T>(rows.rows) => self.vectorize(
                #[inline(always)]
                || rows.run_line(*self),
            ),
            true => self.vectorize(
                #[inline(always)]
                || rows.run::<_, GroupPerRow<false>>(*self),
            ),
            false if L::INLINES_SMALL && rows.rows == 1 => self.vectorize(
                #[inline(always)]
                || rows.run::<_, LinePerRow<true>>(*self),
            ),
            false => self.vectorize(
                #[inline(always)]
                || rows.run::<_, LinePerRow<false>>(*self),
            ),
        }
    }

    fn activate(&self, y: &mut [T], activation: Activation) {
        activate_slice(*self, y, activation);
    }

    fn transpose_block(&self, block: &ParameterBlock, to: &mut [T::Line], parameters: &[T::Line]) {
        refresh_transposed(*self, block, to, parameters);
    }

    fn round_weights(&self, rounding: WeightRounding<'_, T>) {
        self.visit_pairs(rounding);
    }

    fn sum_of_squares(&self, lines: &[T::Line]) -> f64 {
        elementwise::sum_of_squares(*self, lines)
    }
}
