//! The micro-kernel: `C[m][p] += sum over k of A[m][k] B[p][k]`, for `MR` rows and `NP` panels of `C`, two
//! values of `k` in each step.
#![allow(clippy::needless_range_loop, reason = "several arrays have the same index")]

use crate::kernels::gemm::micro_kernel::Sums;
use crate::simd::bf16::{Pair, PairLine, PairProducts};

/// Operands of a tile.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a, const NP: usize> {
    /// From the first row's pair of the first step on.
    pub a: &'a [Pair],
    /// Each panel from its line of the first step on.
    pub b: [&'a [PairLine]; NP],
}

/// The steps of a sum: segments of `length` steps, of which the last may have fewer.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    /// At least one.
    pub segments: usize,
    pub length: usize,
    /// Steps of the last segment, at most `length`.
    pub last: usize,
    /// Pairs of `A` from one segment to the next.
    pub a_stride: usize,
    /// Lines of `B` from one segment to the next.
    pub b_stride: usize,
}

impl Steps {
    /// A single segment.
    #[inline(always)]
    pub(super) fn one(steps: usize) -> Self {
        Self { segments: 1, length: steps, last: steps, a_stride: 0, b_stride: 0 }
    }
}

/// Adds the products of all steps to the sums. Rows of `A` are `ROW` pairs apart, steps `K`.
///
/// # Panics
/// If there is no segment, or if `a` or a panel of `b` ends before the last step.
#[inline(always)]
pub(super) fn accumulate<
    P: PairProducts,
    const ROW: usize,
    const K: usize,
    const MR: usize,
    const NP: usize,
>(
    p: P,
    sums: &mut Sums<P::Lanes, MR, NP>,
    operands: Operands<'_, NP>,
    steps: Steps,
) {
    let Operands { a, b } = operands;
    let Steps { segments, length, last, a_stride, b_stride } = steps;
    // Once for all segments, as in the micro-kernel of other numbers: no segment has an index above those of
    // one with `length` steps in the place of the last, which `A` has room for; of `B` no segment reaches
    // into the next, for the last would not be there otherwise.
    assert!(0 < segments && last <= length && (segments == 1 || length <= b_stride));
    let distance = |stride: usize| (segments - 1).checked_mul(stride).expect("operands lie in memory");
    let (last_a, last_b) = (distance(a_stride), distance(b_stride));
    assert!(last_a <= a.len());
    for n in 0..NP {
        assert!(last_b <= b[n].len() && last <= b[n].len() - last_b);
    }
    assert!(length == 0 || (MR - 1) * ROW + (length - 1) * K < a.len() - last_a);
    for s in 0..segments {
        let steps = if s + 1 == segments { last } else { length };
        let (first_a, first_b) = (s * a_stride, s * b_stride);
        for k in 0..steps {
            // A single row takes the lines one after the other: their parts would not fit in registers beside
            // the sums of so many panels.
            if const { MR == 1 } {
                for n in 0..NP {
                    // SAFETY: `k < steps` and `s` is a segment: no index, here or below, is above those that
                    // the assertions compared with the lengths.
                    let line = p.load_pairs(unsafe { b[n].get_unchecked(first_b + k) });
                    for m in 0..MR {
                        // SAFETY: as above.
                        let pair = p.splat_pair(unsafe { *a.get_unchecked(first_a + k * K + m * ROW) });
                        sums[m][n] = p.mul_add_pairs(pair, line, sums[m][n]);
                    }
                }
                continue;
            }
            // SAFETY: as above.
            let mut lines = [p.load_pairs(unsafe { b[0].get_unchecked(first_b + k) }); NP];
            for n in 1..NP {
                // SAFETY: as above.
                lines[n] = p.load_pairs(unsafe { b[n].get_unchecked(first_b + k) });
            }
            for m in 0..MR {
                // SAFETY: as above.
                let pair = p.splat_pair(unsafe { *a.get_unchecked(first_a + k * K + m * ROW) });
                for n in 0..NP {
                    sums[m][n] = p.mul_add_pairs(pair, lines[n], sums[m][n]);
                }
            }
        }
    }
}
