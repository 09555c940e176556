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
use crate::simd::scalar::Scalar;

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

/// One element for every row and step, 1: the sum of `B`'s lines.
pub(crate) struct Ones;

impl<T: Element> AccessPattern<T> for Ones {
    const ROW: usize = 0;
    const K: usize = 0;
}

/// Operands of a tile.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a, T: Element, const NP: usize> {
    /// From the first row's element of the first step on.
    pub a: &'a [T],
    /// Each panel from its line of the first step on.
    pub b: [&'a [T::Line]; NP],
}

/// Distances from one segment to the next.
#[derive(Clone, Copy, Default)]
pub(crate) struct Strides {
    /// Elements of `A`.
    pub a: usize,
    /// Lines of a panel of `B`.
    pub b: usize,
}

/// The values of `k` that a micro-kernel goes through: segments of `LANES` steps, of which the last may have
/// fewer, or one of any number.
#[derive(Clone, Copy)]
pub(crate) struct Segments {
    count: usize,
    /// Steps of the last.
    last: usize,
    strides: Strides,
    /// Distances from the first segment to the last.
    reaches: Strides,
    /// Lines of `B` from those in use to those that are prefetched, [`PREFETCH_LINES`] of each segment.
    prefetch: Option<usize>,
}

impl Segments {
    /// A single one.
    #[inline(always)]
    pub(crate) fn one(steps: usize) -> Self {
        let none = Strides { a: 0, b: 0 };
        Self { count: 1, last: steps, strides: none, reaches: none, prefetch: None }
    }

    /// Several, of which the last has `last` steps.
    ///
    /// # Panics
    /// If there are none, or if one reaches into the next.
    #[inline(always)]
    pub(crate) fn several<T: Element>(count: usize, last: usize, strides: Strides) -> Self {
        assert!(count > 0 && last <= T::LANES && T::LANES <= strides.b);
        let reach = |stride: usize| (count - 1).checked_mul(stride).expect("operands lie in memory");
        let reaches = Strides { a: reach(strides.a), b: reach(strides.b) };
        Self { count, last, strides, reaches, prefetch: None }
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
    /// `ones[m][p] += sum over k of B[p][k]`.
    ///
    /// # Panics
    /// If `a` or a panel of `b` ends before the last step, or there is none.
    #[inline(always)]
    pub(crate) fn accumulate<W: AccessPattern<L::Element>>(
        &mut self,
        l: L,
        operands: Operands<'_, L::Element, NP>,
        segments: Segments,
    ) {
        let Operands { a, b } = operands;
        let Segments { count, last, strides, reaches, prefetch } = segments;
        let most = if count == 1 { last } else { L::Element::LANES };
        // Once for all segments: in each of them it would take as long as several steps. What is left of a
        // slice is compared, so that nothing overflows.
        assert!(last > 0 && reaches.a <= a.len());
        for p in 0..NP {
            assert!(reaches.b <= b[p].len() && last <= b[p].len() - reaches.b);
        }
        assert!(MR == 0 || (MR - 1) * W::ROW + (most - 1) * W::K < a.len() - reaches.a);
        for s in 0..count {
            let steps = if s + 1 == count { last } else { most };
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
            for k in 0..steps {
                if const { W::PREFETCHES_NEXT_A } {
                    l.prefetch(a, (steps + k) * W::K);
                }
                if const { W::PREFETCHES_B } {
                    for p in 0..NP {
                        l.prefetch(b[p], first_b + k + PREFETCH_DISTANCE);
                    }
                }
                // SAFETY: `k < most` and `s` is a segment: no index is above those that the assertions
                // compared with the lengths, of the last step of the last segment, and a segment before it
                // ends where the next begins or sooner.
                unsafe { self.add_step::<W>(l, operands, first_a + k * W::K, first_b + k) };
            }
        }
    }

    /// One step: from element `first` of `A` on one of each row, times line `k` of each panel.
    ///
    /// # Safety
    /// `a` has the elements `first + m * W::ROW` for all `m < MR`, and each panel has line `k`.
    #[inline(always)]
    unsafe fn add_step<W: AccessPattern<L::Element>>(
        &mut self,
        l: L,
        operands: Operands<'_, L::Element, NP>,
        first: usize,
        k: usize,
    ) {
        let mut lines = [l.zero(); NP];
        for p in 0..NP {
            // SAFETY: the caller's.
            lines[p] = l.load(unsafe { operands.b[p].get_unchecked(k) });
        }
        for m in 0..MR {
            // SAFETY: the caller's.
            let a = l.splat(unsafe { *operands.a.get_unchecked(first + m * W::ROW) });
            for p in 0..NP {
                self.rows[m][p] = l.mul_add(a, lines[p], self.rows[m][p]);
            }
        }
        for m in 0..ONES {
            for p in 0..NP {
                // Rounded as 1 times the line on top of the sum is.
                self.ones[m][p] = l.add(lines[p], self.ones[m][p]);
            }
        }
    }

    /// [`Tile::accumulate`] of one segment, where these sums are too few to hide the latency of a
    /// multiply-add: of each whole [`ACCUMULATOR_PERIOD`] steps, every `SPLIT`th goes to the same one of
    /// `SPLIT` accumulators, which are then added up. The steps that are left go one after the other, as all
    /// do where `SPLIT` is 1.
    ///
    /// # Panics
    /// As there, but for no steps.
    #[inline(always)]
    pub(crate) fn accumulate_split<W: AccessPattern<L::Element>, const SPLIT: usize>(
        &mut self,
        l: L,
        mut operands: Operands<'_, L::Element, NP>,
        steps: usize,
    ) {
        const { assert!(NP > 0 && SPLIT.is_power_of_two() && ACCUMULATOR_PERIOD.is_multiple_of(SPLIT)) };
        let mut done = 0;
        if const { SPLIT > 1 } {
            done = steps - steps % ACCUMULATOR_PERIOD;
            self.accumulate_periods::<W, SPLIT>(l, operands, done);
            for p in 0..NP {
                operands.b[p] = &operands.b[p][done..];
            }
            if MR > 0 && done < steps {
                operands.a = &operands.a[done * W::K..];
            }
        }
        if done < steps {
            self.accumulate::<W>(l, operands, Segments::one(steps - done));
        }
    }

    /// [`Tile::accumulate_split`] of a multiple of [`ACCUMULATOR_PERIOD`] steps.
    ///
    /// # Panics
    /// If `a` or a panel of `b` ends before the last step.
    #[inline(always)]
    fn accumulate_periods<W: AccessPattern<L::Element>, const SPLIT: usize>(
        &mut self,
        l: L,
        operands: Operands<'_, L::Element, NP>,
        steps: usize,
    ) {
        let Operands { a, b } = operands;
        for p in 0..NP {
            assert!(steps <= b[p].len());
        }
        assert!(MR == 0 || steps == 0 || (MR - 1) * W::ROW + (steps - 1) * W::K < a.len());
        for first in (0..steps).step_by(ACCUMULATOR_PERIOD) {
            let mut accumulators = [Self::zero(l); SPLIT];
            accumulators[0] = *self;
            for k in (first..first + ACCUMULATOR_PERIOD).step_by(SPLIT) {
                for c in 0..SPLIT {
                    // SAFETY: `k + c < steps`, for `SPLIT` divides `ACCUMULATOR_PERIOD`; the assertions
                    // compared it with the lengths.
                    unsafe { accumulators[c].add_step::<W>(l, operands, (k + c) * W::K, k + c) };
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

/// Place of a tile in panels of lines.
#[derive(Clone, Copy)]
pub(crate) struct TileOrigin {
    /// The line of its first row in its first panel.
    pub row: usize,
    /// Lines from one panel to the next.
    pub panel: usize,
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
        let lines = &c[p * origin.panel + origin.row..][..MR];
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
        let lines = &mut c[p * origin.panel + origin.row..][..MR];
        for m in 0..MR {
            l.store(&mut lines[m], sums[m][p]);
        }
    }
}

/// Operation on sums that are complete, while they are in registers. Activations of more than an instruction
/// or two would make each of the micro-kernel's many copies long, and are left to a pass over a group of
/// panels.
#[derive(Clone, Copy)]
pub(crate) enum Epilogue<'a, Line> {
    None,
    /// ReLU.
    Rectify,
    /// ReLU's derivative, from its outputs, which lie as the sums do; 0 where that is denormal.
    RectifyBy(&'a [Line]),
}

impl<Line> Epilogue<'_, Line> {
    /// The same of some lines.
    #[inline(always)]
    pub(crate) fn part(self, lines: Range<usize>) -> Self {
        match self {
            Self::RectifyBy(y) => Self::RectifyBy(&y[lines]),
            _ => self,
        }
    }

    /// On sums that have been stored.
    #[inline(always)]
    pub(crate) fn run_on<L>(self, l: L, sums: &mut [Line])
    where
        Line: Copy,
        L: Lanes<Element: Scalar<Line = Line>>,
    {
        if matches!(self, Self::None) {
            return;
        }
        for i in 0..sums.len() {
            let mut sum = [[l.load(&sums[i])]];
            self.run(l, &mut sum, TileOrigin { row: i, panel: 0 });
            l.store(&mut sums[i], sum[0][0]);
        }
    }

    /// On the sums of a tile.
    #[inline(always)]
    pub(crate) fn run<L, const MR: usize, const NP: usize>(
        self,
        l: L,
        sums: &mut Sums<L, MR, NP>,
        origin: TileOrigin,
    ) where
        L: Lanes<Element: Scalar<Line = Line>>,
    {
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
                    let lines = &y[p * origin.panel + origin.row..][..MR];
                    for m in 0..MR {
                        let d = Relu.derivative(l, sums[m][p], l.load(&lines[m]));
                        sums[m][p] = l.flushed(d);
                    }
                }
            }
        }
    }
}

/// Operands of the edge kernel: `C = start + A B` for one panel of `C` and one block of `k`.
#[derive(Clone, Copy)]
pub(crate) struct EdgePanel<'a, L: Lanes> {
    pub a: &'a [L::Element],
    /// A line for each step.
    pub b: &'a [LineOf<L>],
    /// The first term of every row's sums; `C` itself if there is none.
    pub start: Option<L::Vector>,
    /// Lanes outside become 0.
    pub mask: L::Mask,
    pub epilogue: Epilogue<'a, LineOf<L>>,
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
            tile.rows[m][0] = match self.start {
                Some(start) => start,
                None => l.load(&c[m]),
            };
        }
        let operands = Operands { a: &self.a[first * W::ROW..], b: [self.b] };
        tile.accumulate::<W>(l, operands, Segments::one(self.b.len()));
        self.epilogue.run(l, &mut tile.rows, TileOrigin { row: first, panel: 0 });
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
