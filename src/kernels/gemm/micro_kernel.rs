//! The micro-kernel: a tile of sums in registers, and what surrounds one.
//!
//! `C[m][p] += sum over k of A[m][k] B[p][k]`, for `MR` rows and `NP` panels of `C`: `B` is read in whole lines, `A` one element
//! at a time, broadcast.

use crate::simd::scalar::Scalar;
use core::ops::Range;

use crate::kernels::gemm::blocking::{ACCUMULATOR_PERIOD, PREFETCH_DISTANCE, PREFETCH_LINES};
use crate::kernels::ops::activation::Pointwise;
use crate::kernels::ops::activation::rectifiers::Relu;
use crate::simd::lanes::LineOf;
use crate::simd::lanes::{Arithmetic, Lanes};
use crate::simd::scalar::Element;

/// How the rows and the sum's index of `A` lie in memory, in elements.
pub trait AccessPattern {
    /// How many lines ahead those of `B` are asked for; 0 for not at all.
    const AHEAD: usize = 0;
    /// Whether the lines that follow the last one of `A` are asked for, as many as there are: the next panel.
    const PREFETCHES_NEXT: bool = false;
    fn row<T: Element>() -> usize;
    fn k<T: Element>() -> usize;
}

/// Rows lie one line apart, the sum runs along a line: activations as they are.
pub struct RowMajor;
impl AccessPattern for RowMajor {
    #[inline(always)]
    fn row<T: Element>() -> usize {
        T::LANES
    }
    #[inline(always)]
    fn k<T: Element>() -> usize {
        1
    }
}

/// [`RowMajor`] where `B` comes from far away.
pub struct RowMajorBeyondL2;
impl AccessPattern for RowMajorBeyondL2 {
    const AHEAD: usize = PREFETCH_DISTANCE;
    #[inline(always)]
    fn row<T: Element>() -> usize {
        RowMajor::row::<T>()
    }
    #[inline(always)]
    fn k<T: Element>() -> usize {
        RowMajor::k::<T>()
    }
}

/// Rows lie along a line, the sum runs down the lines: activations transposed.
pub struct ColumnMajor;
impl AccessPattern for ColumnMajor {
    #[inline(always)]
    fn row<T: Element>() -> usize {
        1
    }
    #[inline(always)]
    fn k<T: Element>() -> usize {
        T::LANES
    }
}

/// [`ColumnMajor`], after which the next panel follows.
pub struct ColumnMajorThenNext;
impl AccessPattern for ColumnMajorThenNext {
    const PREFETCHES_NEXT: bool = true;
    #[inline(always)]
    fn row<T: Element>() -> usize {
        ColumnMajor::row::<T>()
    }
    #[inline(always)]
    fn k<T: Element>() -> usize {
        ColumnMajor::k::<T>()
    }
}

/// One element for every row and step: the sum of `B`'s lines.
pub struct Constant;
impl AccessPattern for Constant {
    #[inline(always)]
    fn row<T: Element>() -> usize {
        0
    }
    #[inline(always)]
    fn k<T: Element>() -> usize {
        0
    }
}

/// The values of `k` that a micro-kernel goes through: segments of `LANES` steps, of which the last may have fewer, or one
/// of any number.
#[derive(Clone, Copy)]
pub struct Segments {
    count: usize,
    /// Steps of the last.
    last: usize,
    /// Elements of `A`, and lines of a panel of `B`, from one segment to the next.
    strides: (usize, usize),
    /// The same from the first segment to the last.
    reaches: (usize, usize),
    /// How far from the lines of `B` in use those are that are asked for, [`PREFETCH_LINES`] of each segment.
    ahead: Option<usize>,
}

impl Segments {
    /// A single one.
    #[inline(always)]
    pub fn one(steps: usize) -> Self {
        Self { count: 1, last: steps, strides: (0, 0), reaches: (0, 0), ahead: None }
    }

    /// Several, of which the last has so many steps.
    ///
    /// # Panics
    /// If there are none, or if one reaches into the next.
    #[inline(always)]
    pub fn several<T: Element>(count: usize, last: usize, strides: (usize, usize)) -> Self {
        assert!(count > 0 && last <= T::LANES && T::LANES <= strides.1);
        let reach = |stride: usize| (count - 1).checked_mul(stride).expect("operands lie in memory");
        Self { count, last, strides, reaches: (reach(strides.0), reach(strides.1)), ahead: None }
    }

    /// The same, where lines so far ahead are asked for.
    #[inline(always)]
    pub fn asking(self, ahead: Option<usize>) -> Self {
        Self { ahead, ..self }
    }
}

/// The micro-kernel: `sums[m][p] += sum over k of A[m][k] B[p][k]`, all sums in registers.
///
/// # Panics
/// If `a` or a panel of `b` ends before so many steps.
#[inline(always)]
pub fn accumulate<L: Lanes, W: AccessPattern, const MR: usize, const NP: usize>(
    l: L,
    sums: &mut [[L::Vector; NP]; MR],
    a: &[L::Element],
    b: [&[LineOf<L>]; NP],
    segments: Segments,
) {
    accumulate_with_ones::<L, W, MR, 0, NP>(l, sums, &mut [], a, b, segments);
}

/// [`accumulate`], where `A` has `ONES` rows more that are ones.
///
/// # Panics
/// As there.
#[inline(always)]
pub fn accumulate_with_ones<
    L: Lanes,
    W: AccessPattern,
    const MR: usize,
    const ONES: usize,
    const NP: usize,
>(
    l: L,
    sums: &mut [[L::Vector; NP]; MR],
    ones: &mut [[L::Vector; NP]; ONES],
    a: &[L::Element],
    b: [&[LineOf<L>]; NP],
    segments: Segments,
) {
    let (row, step) = (W::row::<L::Element>(), W::k::<L::Element>());
    let Segments { count, last, strides, reaches, .. } = segments;
    let most = if count == 1 { last } else { L::Element::LANES };
    // Once for all segments: in each of them it would take as long as several steps. What is left of a slice is compared, so
    // that nothing overflows.
    assert!(last > 0 && reaches.0 <= a.len());
    for panel in b {
        assert!(reaches.1 <= panel.len() && last <= panel.len() - reaches.1);
    }
    assert!(MR == 0 || (MR - 1) * row + (most - 1) * step < a.len() - reaches.0);
    for s in 0..count {
        let steps = if s + 1 == count { last } else { most };
        let (first_a, first_b) = (s * strides.0, s * strides.1);
        if let Some(ahead) = segments.ahead {
            for panel in b {
                for i in 0..PREFETCH_LINES {
                    l.prefetch_to_l2(panel, first_b.wrapping_add(ahead).wrapping_add(i));
                }
            }
        }
        for k in 0..steps {
            if W::PREFETCHES_NEXT {
                l.prefetch(a, (steps + k) * step);
            }
            if W::AHEAD > 0 {
                for panel in b {
                    l.prefetch(panel, first_b + k + W::AHEAD);
                }
            }
            // SAFETY: `k < most` and `s` is a segment: no index is above those that the assertions compared with the lengths,
            // of the last step of the last segment, and a segment before it ends where the next begins or sooner.
            unsafe {
                add_step::<L, MR, ONES, NP>(l, (sums, ones), (a, first_a + k * step, row), (b, first_b + k))
            };
        }
    }
}

/// Sums of a tile of `MR` lines by `NP` panels.
type Sums<L, const MR: usize, const NP: usize> = [[<L as Arithmetic>::Vector; NP]; MR];

/// One step of the micro-kernel: from element `first` of `A` on one of each row, times line `k` of each panel.
///
/// # Safety
/// `a` has the elements `first + m * row` for all `m < MR`, and each panel has line `k`.
#[inline(always)]
unsafe fn add_step<L: Lanes, const MR: usize, const ONES: usize, const NP: usize>(
    l: L,
    (sums, ones): (&mut Sums<L, MR, NP>, &mut Sums<L, ONES, NP>),
    (a, first, row): (&[L::Element], usize, usize),
    (b, k): ([&[LineOf<L>]; NP], usize),
) {
    let mut lines = [l.zero(); NP];
    for (line, panel) in lines.iter_mut().zip(b) {
        // SAFETY: the caller's.
        *line = l.load(unsafe { panel.get_unchecked(k) });
    }
    for (m, sums) in sums.iter_mut().enumerate() {
        // SAFETY: the caller's.
        let a = l.splat(unsafe { *a.get_unchecked(first + m * row) });
        for p in 0..NP {
            sums[p] = l.mul_add(a, lines[p], sums[p]);
        }
    }
    for sums in ones.iter_mut() {
        for p in 0..NP {
            // Rounded as 1 times the line on top of the sum is.
            sums[p] = l.add(lines[p], sums[p]);
        }
    }
}

/// [`accumulate_with_ones`] of so many steps, where these sums are too few to hide the latency of a multiply-add: of each whole
/// [`ACCUMULATOR_PERIOD`] steps, every `CHAINS`th goes to the same one of `CHAINS` sums, which are then added up. The steps that are left
/// go one after the other, as all do where `CHAINS` is 1.
///
/// # Panics
/// As there.
#[inline(always)]
pub fn accumulate_split<
    L: Lanes,
    W: AccessPattern,
    const MR: usize,
    const ONES: usize,
    const NP: usize,
    const CHAINS: usize,
>(
    l: L,
    (sums, ones): (&mut Sums<L, MR, NP>, &mut Sums<L, ONES, NP>),
    a: &[L::Element],
    b: [&[LineOf<L>]; NP],
    steps: usize,
) {
    const { assert!(NP > 0 && CHAINS.is_power_of_two() && ACCUMULATOR_PERIOD.is_multiple_of(CHAINS)) };
    if const { CHAINS == 1 } {
        if steps > 0 {
            accumulate_with_ones::<L, W, MR, ONES, NP>(l, sums, ones, a, b, Segments::one(steps));
        }
        return;
    }
    let (row, step) = (W::row::<L::Element>(), W::k::<L::Element>());
    let chained = steps - steps % ACCUMULATOR_PERIOD;
    for panel in b {
        assert!(chained <= panel.len());
    }
    assert!(MR == 0 || chained == 0 || (MR - 1) * row + (chained - 1) * step < a.len());
    for first in (0..chained).step_by(ACCUMULATOR_PERIOD) {
        let mut accumulators_of = [[[l.zero(); NP]; MR]; CHAINS];
        let mut ones_chains = [[[l.zero(); NP]; ONES]; CHAINS];
        (accumulators_of[0], ones_chains[0]) = (*sums, *ones);
        for k in (first..first + ACCUMULATOR_PERIOD).step_by(CHAINS) {
            for c in 0..CHAINS {
                let (chain, k) = ((&mut accumulators_of[c], &mut ones_chains[c]), k + c);
                // SAFETY: `k < chained`, for `CHAINS` divides `ACCUMULATOR_PERIOD`; the assertions compared it with the lengths.
                unsafe { add_step::<L, MR, ONES, NP>(l, chain, (a, k * step, row), (b, k)) };
            }
        }
        *sums = total(l, accumulators_of);
        *ones = total(l, ones_chains);
    }
    if chained < steps {
        let mut rest = b;
        for panel in &mut rest {
            *panel = &panel[chained..];
        }
        let a = if MR == 0 { a } else { &a[chained * step..] };
        accumulate_with_ones::<L, W, MR, ONES, NP>(l, sums, ones, a, rest, Segments::one(steps - chained));
    }
}

/// Tiles added up, halves first.
#[inline(always)]
fn total<L: Lanes, const MR: usize, const NP: usize, const CHAINS: usize>(
    l: L,
    mut accumulators_of: [Sums<L, MR, NP>; CHAINS],
) -> Sums<L, MR, NP> {
    let mut count = CHAINS;
    while count > 1 {
        count /= 2;
        for c in 0..count {
            let others = accumulators_of[count + c];
            for (sums, others) in accumulators_of[c].iter_mut().zip(others) {
                for p in 0..NP {
                    sums[p] = l.add(sums[p], others[p]);
                }
            }
        }
    }
    accumulators_of[0]
}

/// Loads `MR` lines from line `first` on of each of `NP` panels of `C`, `panel` lines apart.
#[inline(always)]
pub fn load_sums<L: Lanes, const MR: usize, const NP: usize>(
    l: L,
    sums: &mut [[L::Vector; NP]; MR],
    c: &[LineOf<L>],
    (first, panel): (usize, usize),
) {
    for p in 0..NP {
        for (sums, line) in sums.iter_mut().zip(&c[p * panel + first..][..MR]) {
            sums[p] = l.load(line);
        }
    }
}

/// Stores what [`load_sums`] loads.
#[inline(always)]
pub fn store_sums<L: Lanes, const MR: usize, const NP: usize>(
    l: L,
    c: &mut [LineOf<L>],
    (first, panel): (usize, usize),
    sums: &[[L::Vector; NP]; MR],
) {
    for p in 0..NP {
        for (line, sums) in c[p * panel + first..][..MR].iter_mut().zip(sums) {
            l.store(line, sums[p]);
        }
    }
}

/// What is done with sums that are complete, while they are in registers. Activations of more than an instruction or two
/// would make each of the micro-kernel's many copies long, and are left to a pass over a group of panels.
#[derive(Clone, Copy)]
pub enum Epilogue<'a, Line> {
    None,
    /// ReLU.
    Rectify,
    /// ReLU's derivative, from its outputs, which lie as the sums do; 0 where that is denormal.
    RectifyBy(&'a [Line]),
}

impl<Line> Epilogue<'_, Line> {
    /// That of some lines.
    #[inline(always)]
    pub fn part(self, lines: Range<usize>) -> Self {
        match self {
            Self::RectifyBy(y) => Self::RectifyBy(&y[lines]),
            _ => self,
        }
    }

    /// On sums that have been stored.
    #[inline(always)]
    pub fn run_on<L>(self, l: L, sums: &mut [Line])
    where
        Line: Copy,
        L: Lanes<Element: Scalar<Line = Line>>,
    {
        if matches!(self, Self::None) {
            return;
        }
        for (i, line) in sums.iter_mut().enumerate() {
            let mut sum = [[l.load(line)]];
            self.part(i..i + 1).run(l, &mut sum, (0, 1));
            l.store(line, sum[0][0]);
        }
    }

    /// On sums that lie at `(first, panel)` as for [`load_sums`].
    #[inline(always)]
    pub fn run<L, const MR: usize, const NP: usize>(
        self,
        l: L,
        sums: &mut [[L::Vector; NP]; MR],
        (first, panel): (usize, usize),
    ) where
        L: Lanes<Element: Scalar<Line = Line>>,
    {
        match self {
            Self::None => {}
            Self::Rectify => {
                for sum in sums.as_flattened_mut() {
                    *sum = Relu.value(l, *sum);
                }
            }
            Self::RectifyBy(y) => {
                for p in 0..NP {
                    for (sums, y) in sums.iter_mut().zip(&y[p * panel + first..][..MR]) {
                        sums[p] = l.flushed(Relu.derivative(l, sums[p], l.load(y)));
                    }
                }
            }
        }
    }
}

/// `C = start + A B` for one panel of `C` and one block of `k`, four lines of `C` at a time; on top of `C` if there is no
/// `start`. Lanes outside the mask become 0.
#[inline(always)]
pub fn edge_panel<L: Lanes, W: AccessPattern>(
    l: L,
    c: &mut [LineOf<L>],
    (a, b): (&[L::Element], &[LineOf<L>]),
    start: Option<L::Vector>,
    (mask, epilogue): (L::Mask, Epilogue<'_, LineOf<L>>),
) {
    let row = W::row::<L::Element>();
    // Eight independent sums hide the latency of a fused multiply-add, where there are registers for them.
    let (mut rest, mut done) = (c, 0);
    if const { L::ACCUMULATORS >= 8 } {
        let (eights, others) = rest.as_chunks_mut::<8>();
        for (i, lines) in eights.iter_mut().enumerate() {
            let epilogue = epilogue.part(8 * i..8 * i + 8);
            few::<L, W, 8>(l, lines, (&a[8 * i * row..], b), start, (mask, epilogue));
        }
        (rest, done) = (others, 8 * eights.len());
    }
    let (fours, ones) = rest.as_chunks_mut::<4>();
    for (i, lines) in fours.iter_mut().enumerate() {
        let i = done + 4 * i;
        few::<L, W, 4>(l, lines, (&a[i * row..], b), start, (mask, epilogue.part(i..i + 4)));
    }
    let done = done + 4 * fours.len();
    for (i, line) in ones.iter_mut().enumerate() {
        let epilogue = epilogue.part(done + i..done + i + 1);
        few::<L, W, 1>(l, core::array::from_mut(line), (&a[(done + i) * row..], b), start, (mask, epilogue));
    }
}

/// `MR` lines of [`edge_panel`].
#[inline(always)]
pub fn few<L: Lanes, W: AccessPattern, const MR: usize>(
    l: L,
    c: &mut [LineOf<L>; MR],
    (a, b): (&[L::Element], &[LineOf<L>]),
    start: Option<L::Vector>,
    (mask, epilogue): (L::Mask, Epilogue<'_, LineOf<L>>),
) {
    let mut sums = [[l.zero(); 1]; MR];
    for (sums, line) in sums.iter_mut().zip(&*c) {
        sums[0] = match start {
            Some(start) => start,
            None => l.load(line),
        };
    }
    accumulate::<L, W, MR, 1>(l, &mut sums, a, [b], Segments::one(b.len()));
    epilogue.run(l, &mut sums, (0, MR));
    for (line, sums) in c.iter_mut().zip(&sums) {
        l.store(line, l.select(mask, sums[0], l.zero()));
    }
}

/// Runs an expression with a constant equal to a number, one of those listed for which a constant expression is true: for
/// no other is the expression compiled.
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
