//! The one crossing from a network into an instruction set.
//!
//! A network holds a `&'static dyn` [`Engine`], chosen once when it is built. Each of its methods enters one function
//! compiled for its instructions and takes a whole run of work with it, so that below it every call is direct: a small
//! network's step would otherwise be spent on calls through a table, one for each micro_batch, layer and operation. UpdatePlan comes by
//! reference: a copy made in wide vectors of what was just stored in narrow parts waits for every one of those stores.

use crate::engine::batch::BatchRange;
use crate::engine::partition::{ParameterBlock, refresh_transposed};
use crate::engine::prediction::PredictionRange;
use crate::engine::single_panel::{Arrangement, LinePerRow, Quads, SinglePanelPrediction, SinglePanelStep};
use crate::engine::update::{ParameterBlocks, UpdatePlan};
use crate::error::Error;
use crate::kernels::gemm::packed4;
use crate::kernels::ops::activation::Activation;
use crate::kernels::ops::elementwise;
use crate::kernels::ops::softmax::activate_slice;
use crate::simd::isa::Isa;
use crate::simd::lanes::Lanes;
use crate::simd::portable::Portable;
use crate::simd::scalar::{Element, Family};
#[cfg(target_arch = "x86_64")]
use crate::simd::{avx2::Avx2, avx512::Avx512};

/// Runs of work, on one instruction set; the single operations beneath are [`Kernels`].
pub trait Engine<T: Element>: Send + Sync {
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
    /// See [`elementwise::sum_of_squares`].
    fn sum_of_squares(&self, lines: &[T::Line]) -> f64;
}

/// The engine of an instruction set, if this CPU and this build have it.
pub(crate) fn engine<T: Element>(isa: Isa) -> Option<&'static dyn Engine<T>> {
    T::pick::<Engines>(engine_f32(isa), engine_f64(isa))
}

struct Engines;

impl Family for Engines {
    type Of<T: Element> = Option<&'static dyn Engine<T>>;
}

// Not inlined, or where the build already targets an instruction set `detect` is so small that every
// crate which names a network gets kernels compiled of its own.
#[inline(never)]
fn engine_f32(isa: Isa) -> Option<&'static dyn Engine<f32>> {
    match isa {
        Isa::Portable => Portable::<f32>::detect().map(|lanes| lanes as _),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Avx2::<f32>::detect().map(|lanes| lanes as _),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Avx512::<f32>::detect().map(|lanes| lanes as _),
        #[cfg(not(target_arch = "x86_64"))]
        _ => None,
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
        _ => None,
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

    // A block of one line, of which the compiler knows that it is one, has no loops. The second copy of the code takes a step of
    // 2-4-1 from 122 to 103 ns; with more rows than a line holds it gains nothing.
    fn step_single_panel(&self, step: &mut SinglePanelStep<'_, T>) -> f64 {
        match step.fits_groups() {
            true if packed4::fit_a_line::<T>(step.rows) => self.vectorize(
                #[inline(always)]
                || step.run::<_, Quads>(*self, 1),
            ),
            true => self.vectorize(
                #[inline(always)]
                || step.run::<_, Quads>(*self, <Quads as Arrangement<L>>::lines(step.rows)),
            ),
            false => self.vectorize(
                #[inline(always)]
                || step.run::<_, LinePerRow>(*self, <LinePerRow as Arrangement<L>>::lines(step.rows)),
            ),
        }
    }

    fn predict_single_panel(&self, rows: &mut SinglePanelPrediction<'_, T>) {
        match rows.fits_groups() {
            true if packed4::fit_a_line::<T>(rows.rows) => self.vectorize(
                #[inline(always)]
                || rows.run_line(*self),
            ),
            true => self.vectorize(
                #[inline(always)]
                || rows.run::<_, Quads>(*self, <Quads as Arrangement<L>>::lines(rows.rows)),
            ),
            false if rows.rows == 1 => self.vectorize(
                #[inline(always)]
                || rows.run::<_, LinePerRow>(*self, 1),
            ),
            false => self.vectorize(
                #[inline(always)]
                || rows.run::<_, LinePerRow>(*self, <LinePerRow as Arrangement<L>>::lines(rows.rows)),
            ),
        }
    }

    fn activate(&self, y: &mut [T], activation: Activation) {
        activate_slice(*self, y, activation);
    }

    fn transpose_block(&self, block: &ParameterBlock, to: &mut [T::Line], parameters: &[T::Line]) {
        refresh_transposed(*self, block, to, parameters);
    }

    fn sum_of_squares(&self, lines: &[T::Line]) -> f64 {
        elementwise::sum_of_squares(*self, lines)
    }
}

impl Activation {
    /// Replaces every value by its image, with the fastest instruction set at hand. [`Activation::Softmax`]
    /// takes the values as one row.
    ///
    /// The bits are those that a network's layer gives.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range; the values are untouched then.
    ///
    /// ```
    /// use fuseprop::Activation;
    ///
    /// let mut logits = [1.0_f32, 2.0, 3.0];
    /// Activation::Softmax.apply(&mut logits)?;
    /// assert!((logits.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    pub fn apply<T: Element>(self, values: &mut [T]) -> Result<(), Error> {
        self.apply_with(Isa::detect(), values)
    }

    /// [`Activation::apply`] with an instruction set of one's choosing.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting out of range, [`Error::Isa`] for an instruction set that is not here;
    /// the values are untouched then.
    pub fn apply_with<T: Element>(self, isa: Isa, values: &mut [T]) -> Result<(), Error> {
        self.check::<T>()?;
        engine::<T>(isa).ok_or(Error::Isa { isa })?.activate(values, self);
        Ok(())
    }
}
