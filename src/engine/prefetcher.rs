//! What the next tile of a long batch reads, asked for while this one is computed.
//!
//! BatchRange and targets come from memory, once each. To pack 64 rows takes as long as their way, and the processor does not look
//! far enough ahead to see them behind a tile's arithmetic. Asked for all at once they would fill its queue of lines and
//! hold up the arithmetic too: so a part of them is asked for before each product.

use core::ops::Range;

use crate::kernels::ops::targets::{Labels, Targets};
use crate::simd::prefetch::{LINE_BYTES, prefetch_lines};

/// BatchRange and targets, and how many parts of them are asked for.
pub(crate) struct Prefetcher<'a, T> {
    x: &'a [T],
    targets: Targets<'a, T>,
    parts: usize,
    asked: usize,
}

impl<'a, T> Prefetcher<'a, T> {
    pub(crate) const fn nothing() -> Self {
        Self { x: &[], targets: Targets::EMPTY, parts: 0, asked: 0 }
    }

    /// In so many parts.
    pub(crate) fn new(x: &'a [T], targets: Targets<'a, T>, parts: usize) -> Self {
        Self { x, targets, parts, asked: 0 }
    }

    /// Asks for the next part, if one is left.
    #[inline(always)]
    pub(crate) fn prefetch_next(&mut self) {
        if self.asked < self.parts {
            self.prefetch_part();
        }
    }

    fn prefetch_part(&mut self) {
        prefetch_lines(self.x, self.part(size_of_val(self.x)));
        match self.targets.labels {
            Labels::Values(values) => prefetch_lines(values, self.part(size_of_val(values))),
            Labels::Classes(classes) => prefetch_lines(classes, self.part(size_of_val(classes))),
        }
        self.asked += 1;
    }

    /// The next part of the cache lines of so many bytes.
    fn part(&self, bytes: usize) -> Range<usize> {
        let lines = bytes.div_ceil(LINE_BYTES);
        lines * self.asked / self.parts..lines * (self.asked + 1) / self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_are_asked_for_once() {
        for (floats, parts) in [(64 * 64, 8), (7, 8), (0, 3), (16 * 100 + 1, 7)] {
            let x = vec![0.0_f32; floats];
            let mut prefetcher = Prefetcher::new(&x, Targets::from(&[1, 2]), parts);
            let mut lines = Vec::new();
            for part in 0..parts + 2 {
                if part < parts {
                    lines.extend(prefetcher.part(size_of_val(&x[..])));
                }
                prefetcher.prefetch_next();
                assert_eq!(prefetcher.asked, parts.min(part + 1));
            }
            assert_eq!(lines, (0..floats.div_ceil(16)).collect::<Vec<_>>());
        }
        let mut nothing = Prefetcher::<f32>::nothing();
        nothing.prefetch_next();
        assert_eq!(nothing.asked, 0);
    }
}
