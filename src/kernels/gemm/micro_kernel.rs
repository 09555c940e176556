//! The micro-kernel: a tile of sums in registers, and what surrounds one.
//!
//! `C[m][p] += sum over k of A[m][k] B[p][k]`, for `MR` rows and `NP` panels of `C`: `B` is read in whole
//! lines, `A` one element at a time, broadcast. Loops run over indices: iterator adapters would multiply the
//! code to compile, of which there is a copy for each tile.
#![allow(clippy::needless_range_loop, reason = "several arrays have the same index")]

use core::ops::Range;

use crate::kernels::gemm::blocking::{ACCUMULATOR_PERIOD, PREFETCH_DISTANCE, PREFETCH_LINES};
use crate::kernels::gemm::register_tile::prefetches_next;
use crate::kernels::ops::activation::Pointwise;
use crate::kernels::ops::activation::Relu;
use crate::simd::lanes::LineOf;
use crate::simd::lanes::{Arithmetic, Lanes};
use crate::simd::scalar::Element;

/// Layout of `A` in memory.
pub(crate) trait AccessPattern<T: Element> {
    /// Elements from one row to the next.
    const ROW: usize;
    /// Elements from one step of the sum to the next.
    const K: usize;
    /// Whether lines of `B` are prefetched, [`PREFETCH_DISTANCE`] before their use.
    const PREFETCHES_B: bool = false;
    /// Whether the lines that follow the last one of `A` are prefetched, as many as there are: the next
    /// panel.
    const PREFETCHES_NEXT_A: bool = false;
}

/// Rows lie one line apart, the sum runs along a line: activations as they are.
pub(crate) struct RowMajor<const PREFETCHES_B: bool = false>;

impl<T: Element, const PREFETCHES_B: bool> AccessPattern<T> for RowMajor<PREFETCHES_B> {
    const ROW: usize = T::LANES;
    const K: usize = 1;
    const PREFETCHES_B: bool = PREFETCHES_B;
}

/// Rows lie along a line, the sum runs down the lines: activations transposed.
pub(crate) struct ColumnMajor<const PREFETCHES_NEXT_A: bool = false>;

impl<T: Element, const PREFETCHES_NEXT_A: bool> AccessPattern<T> for ColumnMajor<PREFETCHES_NEXT_A> {
    const ROW: usize = 1;
    const K: usize = T::LANES;
    const PREFETCHES_NEXT_A: bool = PREFETCHES_NEXT_A;
}

/// Operands of a tile.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a, T: Element, const NP: usize> {
    /// From the first row's element of the first step on.
    pub a: &'a [T],
    /// Each panel from its line of the first step on.
    pub b: [&'a [T::Line]; NP],
}

/// Distances from one segment to another.
#[derive(Clone, Copy)]
pub(crate) struct Strides {
    /// Elements of `A`.
    pub a: usize,
    /// Lines of a panel of `B`.
    pub b: usize,
}

impl Strides {
    const ZERO: Self = Self { a: 0, b: 0 };
}

/// The values of `k` that a micro-kernel goes through: segments of `LANES` steps, of which the last may have
/// fewer, or one of any number.
///
/// No segment reaches into the next, and none has more steps than `length`, the last no more than `last`.
#[derive(Clone, Copy)]
pub(crate) struct Segments {
    count: usize,
    /// Steps of each but the last; of the last, if it is the only one.
    length: usize,
    /// Steps of the last.
    last: usize,
    strides: Strides,
    /// Distances from the first segment to the last.
    last_offset: Strides,
    /// Lines of `B` from those in use to those that are prefetched, [`PREFETCH_LINES`] of each segment.
    prefetch: Option<usize>,
}

impl Segments {
    /// A single one.
    #[inline(always)]
    pub(crate) fn one(steps: usize) -> Self {
        let (strides, last_offset) = (Strides::ZERO, Strides::ZERO);
        Self { count: 1, length: steps, last: steps, strides, last_offset, prefetch: None }
    }

    /// Several, of which the last has `last` steps.
    ///
    /// # Panics
    /// If there are none, if the last has none, or if one reaches into the next.
    #[inline(always)]
    pub(crate) fn several<T: Element>(count: usize, last: usize, strides: Strides) -> Self {
        assert!(count > 0 && 0 < last && last <= T::LANES && T::LANES <= strides.b);
        let length = if count == 1 { last } else { T::LANES };
        let offset = |stride: usize| (count - 1).checked_mul(stride).expect("operands lie in memory");
        let last_offset = Strides { a: offset(strides.a), b: offset(strides.b) };
        Self { count, length, last, strides, last_offset, prefetch: None }
    }

    /// The same, with lines of `B` at this distance prefetched if the tile [`prefetches_next`].
    #[inline(always)]
    pub(crate) fn prefetching(self, prefetch: Option<usize>) -> Self {
        Self { prefetch, ..self }
    }
}

/// Sums of `MR` rows by `NP` panels.
pub(crate) type Sums<L, const MR: usize, const NP: usize> = [[<L as Arithmetic>::Vector; NP]; MR];

/// A tile of `MR` rows by `NP` panels of `C`, in registers, and `ONES` rows whose `A` is 1 throughout.
#[derive(Clone, Copy)]
pub(crate) struct Tile<L: Lanes, const MR: usize, const ONES: usize, const NP: usize> {
    pub rows: Sums<L, MR, NP>,
    pub ones: Sums<L, ONES, NP>,
}

impl<L: Lanes, const MR: usize, const ONES: usize, const NP: usize> Tile<L, MR, ONES, NP> {
    /// A tile of zeros.
    #[inline(always)]
    pub(crate) fn zero(l: L) -> Self {
        Self { rows: [[l.zero(); NP]; MR], ones: [[l.zero(); NP]; ONES] }
    }

    /// The micro-kernel: `rows[m][p] += sum over k of A[m][k] B[p][k]` and
    /// `ones[m][p] += sum over k of B[p][k]`, in the order of [`Tile::for_each_step`].
    ///
    /// # Panics
    /// If `a` or a panel of `b` ends before the last step.
    #[inline(always)]
    pub(crate) fn accumulate<W: AccessPattern<L::Element>, const SPLIT: usize>(
        &mut self,
        l: L,
        operands: Operands<'_, L::Element, NP>,
        segments: Segments,
    ) {
        const { assert!(NP > 0) };
        let Operands { a, b } = operands;
        let Segments { count, length, last, strides, last_offset, prefetch } = segments;
        // Once for all segments: in each of them it would take as long as several steps. What is left of a
        // slice is compared, so that nothing overflows; `length` is no longer than a panel.
        assert!(last_offset.a <= a.len());
        for p in 0..NP {
            assert!(last_offset.b <= b[p].len() && last <= b[p].len() - last_offset.b);
        }
        assert!(MR == 0 || length == 0 || (MR - 1) * W::ROW + (length - 1) * W::K < a.len() - last_offset.a);
        for s in 0..count {
            let steps = if s + 1 == count { last } else { length };
            let (first_a, first_b) = (s * strides.a, s * strides.b);
            if const { prefetches_next(MR) }
                && let Some(distance) = prefetch
            {
                for p in 0..NP {
                    for i in 0..PREFETCH_LINES {
                        l.prefetch_to_l2(b[p], first_b.wrapping_add(distance).wrapping_add(i));
                    }
                }
            }
            self.for_each_step::<SPLIT>(
                l,
                steps,
                #[inline(always)]
                |sums, k| {
                    prefetch_next_steps::<L, W, NP>(l, operands, (steps + k) * W::K, first_b + k);
                    let mut lines = [l.zero(); NP];
                    for p in 0..NP {
                        // SAFETY: `k < steps`, for `for_each_step` calls with no other, and `s` is a segment:
                        // no index, here or of `a`, is above those that the assertions compared with the
                        // lengths, of the last step of the last segment, and a segment before it ends where
                        // the next begins or sooner.
                        lines[p] = l.load(unsafe { b[p].get_unchecked(first_b + k) });
                    }
                    for m in 0..MR {
                        // SAFETY: as above.
                        let a = l.splat(unsafe { *a.get_unchecked(first_a + k * W::K + m * W::ROW) });
                        for p in 0..NP {
                            sums.rows[m][p] = l.mul_add(a, lines[p], sums.rows[m][p]);
                        }
                    }
                    for m in 0..ONES {
                        for p in 0..NP {
                            // Rounded as 1 times the line on top of the sum is.
                            sums.ones[m][p] = l.add(lines[p], sums.ones[m][p]);
                        }
                    }
                },
            );
        }
    }

    /// Calls `add` once with each `k < steps`, in order, and the sums that this step goes to.
    ///
    /// These sums themselves where `SPLIT` is 1. Where they are too few to hide the latency of a
    /// multiply-add, of each whole [`ACCUMULATOR_PERIOD`] steps every `SPLIT`th goes to the same one of
    /// `SPLIT` accumulators, which are then added up. The steps that are left go one after the other.
    #[inline(always)]
    fn for_each_step<const SPLIT: usize>(
        &mut self,
        l: L,
        steps: usize,
        mut add: impl FnMut(&mut Self, usize),
    ) {
        const { assert!(SPLIT.is_power_of_two() && ACCUMULATOR_PERIOD.is_multiple_of(SPLIT)) };
        let split = if const { SPLIT > 1 } { steps - steps % ACCUMULATOR_PERIOD } else { 0 };
        for first in (0..split).step_by(ACCUMULATOR_PERIOD) {
            let mut accumulators = [Self::zero(l); SPLIT];
            accumulators[0] = *self;
            for k in (first..first + ACCUMULATOR_PERIOD).step_by(SPLIT) {
                for c in 0..SPLIT {
                    add(&mut accumulators[c], k + c);
                }
            }
            // Halves first.
            let mut count = SPLIT;
            while count > 1 {
                count /= 2;
                for c in 0..count {
                    let other = accumulators[count + c];
                    accumulators[c].add(l, &other);
                }
            }
            *self = accumulators[0];
        }
        // From 0 on: of a loop from another number on the compiler keeps two counters.
        for k in 0..steps - split {
            add(self, split + k);
        }
    }

    /// Adds the sums of another tile.
    #[inline(always)]
    fn add(&mut self, l: L, other: &Self) {
        for p in 0..NP {
            for m in 0..MR {
                self.rows[m][p] = l.add(self.rows[m][p], other.rows[m][p]);
            }
            for m in 0..ONES {
                self.ones[m][p] = l.add(self.ones[m][p], other.ones[m][p]);
            }
        }
    }
}

/// Prefetches what an access pattern says: `A` at index `next_a`, and `B` some lines past line `k`.
#[inline(always)]
fn prefetch_next_steps<L: Lanes, W: AccessPattern<L::Element>, const NP: usize>(
    l: L,
    operands: Operands<'_, L::Element, NP>,
    next_a: usize,
    k: usize,
) {
    if const { W::PREFETCHES_NEXT_A } {
        l.prefetch(operands.a, next_a);
    }
    if const { W::PREFETCHES_B } {
        for p in 0..NP {
            l.prefetch(operands.b[p], k + PREFETCH_DISTANCE);
        }
    }
}

/// Place of a tile in panels of lines.
#[derive(Clone, Copy)]
pub(crate) struct TileOrigin {
    /// The line of its first row in its first panel.
    pub row: usize,
    /// Lines from one panel to the next.
    pub panel_stride: usize,
}

/// Loads the sums of a tile of `C`.
#[inline(always)]
pub(crate) fn load_sums<L: Lanes, const MR: usize, const NP: usize>(
    l: L,
    sums: &mut Sums<L, MR, NP>,
    c: &[LineOf<L>],
    origin: TileOrigin,
) {
    for p in 0..NP {
        let lines = &c[p * origin.panel_stride + origin.row..][..MR];
        for m in 0..MR {
            sums[m][p] = l.load(&lines[m]);
        }
    }
}

/// Stores what [`load_sums`] loads.
#[inline(always)]
pub(crate) fn store_sums<L: Lanes, const MR: usize, const NP: usize>(
    l: L,
    c: &mut [LineOf<L>],
    origin: TileOrigin,
    sums: &Sums<L, MR, NP>,
) {
    for p in 0..NP {
        let lines = &mut c[p * origin.panel_stride + origin.row..][..MR];
        for m in 0..MR {
            l.store(&mut lines[m], sums[m][p]);
        }
    }
}

/// Operation on sums that are complete, while they are in registers. Activations of more than an instruction
/// or two would make each of the micro-kernel's many copies long, and are left to a pass over a group of
/// panels.
#[derive(Clone, Copy)]
pub(crate) enum Epilogue<'a, T: Element> {
    None,
    /// ReLU.
    Rectify,
    /// ReLU's derivative, from its outputs, which lie as the sums do; 0 where that is denormal.
    RectifyBy(&'a [T::Line]),
}

impl<T: Element> Epilogue<'_, T> {
    /// The same of some lines.
    #[inline(always)]
    pub(crate) fn part(self, lines: Range<usize>) -> Self {
        match self {
            Self::RectifyBy(y) => Self::RectifyBy(&y[lines]),
            Self::None | Self::Rectify => self,
        }
    }

    /// On sums that have been stored.
    #[inline(always)]
    pub(crate) fn run_on<L: Lanes<Element = T>>(self, l: L, sums: &mut [T::Line]) {
        if matches!(self, Self::None) {
            return;
        }
        for i in 0..sums.len() {
            let mut sum = [[l.load(&sums[i])]];
            self.run(l, &mut sum, TileOrigin { row: i, panel_stride: 0 });
            l.store(&mut sums[i], sum[0][0]);
        }
    }

    /// On the sums of a tile.
    #[inline(always)]
    pub(crate) fn run<L: Lanes<Element = T>, const MR: usize, const NP: usize>(
        self,
        l: L,
        sums: &mut Sums<L, MR, NP>,
        origin: TileOrigin,
    ) {
        match self {
            Self::None => {}
            Self::Rectify => {
                for m in 0..MR {
                    for p in 0..NP {
                        sums[m][p] = Relu.value(l, sums[m][p]);
                    }
                }
            }
            Self::RectifyBy(y) => {
                for p in 0..NP {
                    let lines = &y[p * origin.panel_stride + origin.row..][..MR];
                    for m in 0..MR {
                        let d = Relu.derivative(l, sums[m][p], l.load(&lines[m]));
                        sums[m][p] = l.flushed(d);
                    }
                }
            }
        }
    }
}

/// Operands of the edge kernel: `C = initial + A B` for one panel of `C` and one block of `k`.
#[derive(Clone, Copy)]
pub(crate) struct EdgePanel<'a, L: Lanes> {
    pub a: &'a [L::Element],
    /// A line for each step.
    pub b: &'a [LineOf<L>],
    /// The first term of every row's sums; `C` itself if there is none.
    pub initial: Option<L::Vector>,
    /// Lanes outside become 0.
    pub mask: L::Mask,
    pub epilogue: Epilogue<'a, L::Element>,
}

impl<L: Lanes> EdgePanel<'_, L> {
    /// Computes `C`, four lines at a time, or eight where there are registers for them: eight independent
    /// sums hide the latency of a fused multiply-add.
    #[inline(always)]
    pub(crate) fn run<W: AccessPattern<L::Element>>(self, l: L, c: &mut [LineOf<L>]) {
        let (mut rest, mut done) = (c, 0);
        if const { L::ACCUMULATORS >= 8 } {
            let (eights, others) = rest.as_chunks_mut::<8>();
            for lines in eights {
                self.rows::<W, 8>(l, lines, done);
                done += 8;
            }
            rest = others;
        }
        let (fours, others) = rest.as_chunks_mut::<4>();
        for lines in fours {
            self.rows::<W, 4>(l, lines, done);
            done += 4;
        }
        for line in others {
            self.rows::<W, 1>(l, core::array::from_mut(line), done);
            done += 1;
        }
    }

    /// `MR` lines, from row `first` on.
    #[inline(always)]
    fn rows<W: AccessPattern<L::Element>, const MR: usize>(
        self,
        l: L,
        c: &mut [LineOf<L>; MR],
        first: usize,
    ) {
        let mut tile = Tile::<L, MR, 0, 1>::zero(l);
        for m in 0..MR {
            tile.rows[m][0] = match self.initial {
                Some(initial) => initial,
                None => l.load(&c[m]),
            };
        }
        let operands = Operands { a: &self.a[first * W::ROW..], b: [self.b] };
        tile.accumulate::<W, 1>(l, operands, Segments::one(self.b.len()));
        self.epilogue.run(l, &mut tile.rows, TileOrigin { row: first, panel_stride: 0 });
        for m in 0..MR {
            l.store(&mut c[m], l.select(self.mask, tile.rows[m][0], l.zero()));
        }
    }
}

/// Runs an expression with a constant equal to a number, one of those listed for which a constant expression
/// is true. For the others it is not compiled.
macro_rules! with_const {
    ($value:expr, $n:ident if $exists:expr => $run:expr, $($literal:literal)*) => {
        match $value {
            $($literal if { const $n: usize = $literal; const { $exists } } => {
                const $n: usize = $literal;
                $run
            })*
            _ => unreachable!("no tile has this size"),
        }
    };
}
pub(super) use with_const;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::isa::Isa;
    use crate::simd::scalar::{Line, Scalar};
    use crate::simd::tests::{Check, on_every_isa};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn integer<T: Element>(k: usize) -> T {
        T::from_f64((7 * k % 11) as f64)
    }

    fn line<T: Element>(k: usize) -> T::Line {
        let mut line = T::Line::ZERO;
        line.as_mut_slice().fill(integer(k + 3));
        line
    }

    /// One row of `a` elements by one panel of `b` lines, and the sum of the panel's lines.
    fn sums<L: Lanes, const SPLIT: usize>(l: L, a: usize, b: usize, segments: Segments) -> [f64; 2] {
        let a: Vec<L::Element> = (0..a).map(integer).collect();
        let b: Vec<LineOf<L>> = (0..b).map(line::<L::Element>).collect();
        let mut sums = [LineOf::<L>::ZERO; 2];
        l.vectorize(|| {
            let mut tile = Tile::<L, 1, 1, 1>::zero(l);
            tile.accumulate::<RowMajor, SPLIT>(l, Operands { a: &a, b: [&b] }, segments);
            l.store(&mut sums[0], tile.rows[0][0]);
            l.store(&mut sums[1], tile.ones[0][0]);
        });
        sums.map(|line| line.as_slice()[0].to_f64())
    }

    fn plain<T: Element>(steps: impl Iterator<Item = usize> + Clone) -> [f64; 2] {
        let b = |k: usize| integer::<T>(k + 3).to_f64();
        [steps.clone().map(|k| integer::<T>(k).to_f64() * b(k)).sum(), steps.map(b).sum()]
    }

    struct OneSegment(usize);

    impl<T: Element> Check<T> for OneSegment {
        fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
            for steps in 0..=2 * ACCUMULATOR_PERIOD + 3 {
                let (expected, segment) = (plain::<T>(0..steps), Segments::one(steps));
                assert_eq!(sums::<L, 1>(l, steps, steps, segment), expected, "{isa}, {steps} steps");
                assert_eq!(sums::<L, 2>(l, steps, steps, segment), expected, "{isa}, {steps} steps by 2");
                assert_eq!(sums::<L, 4>(l, steps, steps, segment), expected, "{isa}, {steps} steps by 4");
                self.0 += usize::from(expected[0] > 0.0);
            }
        }
    }

    #[test]
    fn sums_of_any_number_of_steps_are_exact_on_integers() {
        on_every_isa!(f32, OneSegment(0) => single);
        on_every_isa!(f64, OneSegment(0) => double);
        assert!(single.0 > ACCUMULATOR_PERIOD && double.0 > ACCUMULATOR_PERIOD);
    }

    struct Several(usize);

    impl<T: Element> Check<T> for Several {
        fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa) {
            // Of either type: segments have the length that they were made with.
            for (lanes, segments) in [
                (f32::LANES, Segments::several::<f32>(3, 5, Strides { a: 40, b: 20 })),
                (f64::LANES, Segments::several::<f64>(3, 5, Strides { a: 40, b: 20 })),
            ] {
                let length = |s: usize| if s == 2 { 5 } else { lanes };
                let mut expected = [0.0; 2];
                for s in 0..3 {
                    for k in 0..length(s) {
                        let b = integer::<T>(20 * s + k + 3).to_f64();
                        expected[0] += integer::<T>(40 * s + k).to_f64() * b;
                        expected[1] += b;
                    }
                }
                // Of `A` the last segment is as long as the others.
                let a = 80 + lanes;
                assert_eq!(sums::<L, 1>(l, a, 45, segments), expected, "{isa}, segments of {lanes}");
                for (a, b) in [(a - 1, 45), (a, 44)] {
                    let short = catch_unwind(AssertUnwindSafe(|| sums::<L, 1>(l, a, b, segments)));
                    assert!(short.is_err(), "{isa}: the last step is past the end");
                }
                self.0 += 1;
            }
        }
    }

    #[test]
    fn segments_are_as_long_as_they_were_made_whatever_the_lanes() {
        on_every_isa!(f32, Several(0) => single);
        on_every_isa!(f64, Several(0) => double);
        assert!(single.0 > 0 && double.0 > 0);
    }
}
