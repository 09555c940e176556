//! The prefetcher: the next micro-batch's rows and targets, prefetched while this micro-batch is computed.
//!
//! Rows and targets come from memory, once each. To pack 64 rows takes as long as to read them, and
//! out-of-order execution does not reach them behind a micro-batch's arithmetic. Prefetched all at once they
//! would fill the CPU's queue of lines and hold up the arithmetic too: so a part of them is prefetched before
//! each product.

use core::ops::Range;

use crate::kernels::ops::targets::{Labels, Targets};
use crate::simd::prefetch::{LINE_BYTES, prefetch_lines};

/// Rows and targets, and the parts of them that are prefetched.
pub(crate) struct Prefetcher<'a, T> {
    x: &'a [T],
    targets: Targets<'a, T>,
    parts: usize,
    /// Parts that are prefetched.
    done: usize,
}

impl<'a, T> Prefetcher<'a, T> {
    /// A prefetcher without rows.
    pub(crate) const fn nothing() -> Self {
        Self { x: &[], targets: Targets::EMPTY, parts: 0, done: 0 }
    }

    /// The prefetcher of `x` and `targets` in `parts` parts.
    pub(crate) fn new(x: &'a [T], targets: Targets<'a, T>, parts: usize) -> Self {
        Self { x, targets, parts, done: 0 }
    }

    /// Prefetches the next part, if one is left.
    #[inline(always)]
    pub(crate) fn prefetch_next(&mut self) {
        if self.done < self.parts {
            self.prefetch_part();
        }
    }

    fn prefetch_part(&mut self) {
        prefetch_lines(self.x, self.part(size_of_val(self.x)));
        match self.targets.labels {
            Labels::Values(values) => prefetch_lines(values, self.part(size_of_val(values))),
            Labels::Classes(classes) => classes.prefetch(|bytes| self.part(bytes)),
        }
        self.done += 1;
    }

    /// The next part of the cache lines of `bytes` bytes.
    fn part(&self, bytes: usize) -> Range<usize> {
        let lines = bytes.div_ceil(LINE_BYTES);
        lines * self.done / self.parts..lines * (self.done + 1) / self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_are_prefetched_once() {
        for (floats, parts) in [(64 * 64, 8), (7, 8), (0, 3), (16 * 100 + 1, 7)] {
            let x = vec![0.0_f32; floats];
            let mut prefetcher = Prefetcher::new(&x, Targets::from(&[1, 2]), parts);
            let mut lines = Vec::new();
            for part in 0..parts + 2 {
                if part < parts {
                    lines.extend(prefetcher.part(size_of_val(&x[..])));
                }
                prefetcher.prefetch_next();
                assert_eq!(prefetcher.done, parts.min(part + 1));
            }
            assert_eq!(lines, (0..floats.div_ceil(16)).collect::<Vec<_>>());
        }
        let mut nothing = Prefetcher::<f32>::nothing();
        nothing.prefetch_next();
        assert_eq!(nothing.done, 0);
    }
}
