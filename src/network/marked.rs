//! Parameters that tell whether they have changed.

use core::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::simd::scalar::Element;

/// The lines of a network's parameters, and a mark that is another one after each access to change them. What
/// is computed from the parameters and kept with the mark is computed again when the marks differ.
#[derive(Debug)]
pub(crate) struct MarkedLines<T: Element> {
    lines: Vec<T::Line>,
    mark: Mark,
}

/// A state of some lines: equal marks are of equal lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Of the lines, and of no others.
    owner: u64,
    changes: u64,
}

impl Mark {
    /// Of new lines. An access to lines that are there takes no atomic operation, which would cost a step of
    /// a small network 5 % of its time.
    fn new() -> Self {
        static OWNERS: AtomicU64 = AtomicU64::new(0);
        Self { owner: OWNERS.fetch_add(1, Ordering::Relaxed), changes: 0 }
    }
}

impl<T: Element> MarkedLines<T> {
    pub(crate) fn new(lines: Vec<T::Line>) -> Self {
        Self { lines, mark: Mark::new() }
    }

    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }
}

impl<T: Element> Clone for MarkedLines<T> {
    fn clone(&self) -> Self {
        Self::new(self.lines.clone())
    }
}

impl<T: Element> Deref for MarkedLines<T> {
    type Target = [T::Line];

    fn deref(&self) -> &[T::Line] {
        &self.lines
    }
}

impl<T: Element> DerefMut for MarkedLines<T> {
    fn deref_mut(&mut self) -> &mut [T::Line] {
        self.mark.changes += 1;
        &mut self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::scalar::{Line, Scalar};

    #[test]
    fn a_mark_is_of_one_state_of_one_owner() {
        let mut lines = MarkedLines::<f32>::new(vec![<f32 as Scalar>::Line::ZERO; 2]);
        let before = lines.mark();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines.mark(), before);
        let mut clone = lines.clone();
        assert_ne!(clone.mark(), before);
        lines[0].as_mut_slice()[0] = 1.0;
        clone[0].as_mut_slice()[0] = 2.0;
        assert!(lines.mark() != before && lines.mark() != clone.mark());
        let moved = lines;
        assert_ne!(moved.mark(), before);
    }
}
