//! The one crossing from a network into an instruction set.
//!
//! A network holds a `&'static dyn` [`Machine`], chosen once when it is built. Each of its methods enters one function
//! compiled for its instructions and takes a whole run of work with it, so that below it every call is direct: a small
//! network's step would otherwise be spent on calls through a table, one for each tile, layer and operation. Work comes by
//! reference: a copy made in wide vectors of what was just stored in narrow parts waits for every one of those stores.

use crate::element::Element;
use crate::kernels::Kernels;
use crate::kernels::lanes::Lanes;
use crate::kernels::quads;
use crate::pass::Rows;
use crate::predict::PredictedRows;
use crate::small::{Arrangement, Quads, SmallPrediction, SmallStep, WholeLines};
use crate::update::{Owned, Work};

/// Runs of work, on one instruction set; the single operations beneath are [`Kernels`].
pub trait Machine<T: Element>: Kernels<T> {
    /// See [`Rows::run`].
    fn run_rows(&self, rows: &mut Rows<'_, T>);
    /// See [`PredictedRows::run`].
    fn predict_rows(&self, rows: &mut PredictedRows<'_, T>);
    /// See [`Owned::run`].
    fn run_owned(&self, owned: &mut Owned<'_, T>, work: &Work<'_, T>);
    /// See [`SmallStep::run`].
    fn run_small(&self, step: &mut SmallStep<'_, T>) -> f64;
    /// See [`SmallPrediction::run`] and [`SmallPrediction::run_line`].
    fn predict_small(&self, rows: &mut SmallPrediction<'_, T>);
}

impl<T: Element, L: Lanes<Element = T>> Machine<T> for L {
    fn run_rows(&self, rows: &mut Rows<'_, T>) {
        self.vectorize(
            #[inline(always)]
            || rows.run(*self),
        );
    }

    fn predict_rows(&self, rows: &mut PredictedRows<'_, T>) {
        self.vectorize(
            #[inline(always)]
            || rows.run(*self),
        );
    }

    fn run_owned(&self, owned: &mut Owned<'_, T>, work: &Work<'_, T>) {
        self.vectorize(
            #[inline(always)]
            || owned.run(*self, work),
        );
    }

    // A block of one line, of which the compiler knows that it is one, has no loops. The second copy of the code takes a step of
    // 2-4-1 from 122 to 103 ns; with more rows than a line holds it gains nothing.
    fn run_small(&self, step: &mut SmallStep<'_, T>) -> f64 {
        match step.suits_quads() {
            true if quads::fit_a_line::<T>(step.rows) => self.vectorize(
                #[inline(always)]
                || step.run::<_, Quads>(*self, 1),
            ),
            true => self.vectorize(
                #[inline(always)]
                || step.run::<_, Quads>(*self, <Quads as Arrangement<L>>::lines(step.rows)),
            ),
            false => self.vectorize(
                #[inline(always)]
                || step.run::<_, WholeLines>(*self, <WholeLines as Arrangement<L>>::lines(step.rows)),
            ),
        }
    }

    fn predict_small(&self, rows: &mut SmallPrediction<'_, T>) {
        match rows.suits_quads() {
            true if quads::fit_a_line::<T>(rows.rows) => self.vectorize(
                #[inline(always)]
                || rows.run_line(*self),
            ),
            true => self.vectorize(
                #[inline(always)]
                || rows.run::<_, Quads>(*self, <Quads as Arrangement<L>>::lines(rows.rows)),
            ),
            false if rows.rows == 1 => self.vectorize(
                #[inline(always)]
                || rows.run::<_, WholeLines>(*self, 1),
            ),
            false => self.vectorize(
                #[inline(always)]
                || rows.run::<_, WholeLines>(*self, <WholeLines as Arrangement<L>>::lines(rows.rows)),
            ),
        }
    }
}
