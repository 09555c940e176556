//! Class indices of any common integer type, read where they lie.

use core::ops::Range;

use crate::simd::prefetch::prefetch_lines;

/// Class indices, one for each row, as the caller has them: a slice, a vector or an array of `u8`, `u32`,
/// `usize`, `i32` or `i64` by `into()`. Nothing is copied.
///
/// # Examples
///
/// ```
/// use fuseprop::{ClassLabels, metrics::accuracy};
///
/// let labels = ClassLabels::from(&[1_i64, -1]);
/// assert_eq!((labels.len(), labels.get(0), labels.get(1)), (2, Some(1), None));
/// assert_eq!(accuracy(&[0.1_f32, 0.9, 0.8, 0.2], &[1_u8, 1])?, 0.5);
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ClassLabels<'a>(Integers<'a>);

#[derive(Clone, Copy, Debug)]
enum Integers<'a> {
    U8(&'a [u8]),
    U32(&'a [u32]),
    Usize(&'a [usize]),
    I32(&'a [i32]),
    I64(&'a [i64]),
}

/// What all slices of integers have.
macro_rules! of_each {
    ($labels:expr, $slice:ident => $result:expr) => {
        match $labels {
            Integers::U8($slice) => $result,
            Integers::U32($slice) => $result,
            Integers::Usize($slice) => $result,
            Integers::I32($slice) => $result,
            Integers::I64($slice) => $result,
        }
    };
}

impl<'a> ClassLabels<'a> {
    /// The number of rows.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(fuseprop::ClassLabels::from(&[0_u8, 2, 1]).len(), 3);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        of_each!(self.0, labels => labels.len())
    }

    /// Whether there are no rows.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!fuseprop::ClassLabels::from(&[0_u8]).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of a row, counted from 0; nothing for a label that is negative or above the range of `u32`,
    /// which is no class of any network.
    ///
    /// # Panics
    /// If there is no such row.
    ///
    /// # Examples
    ///
    /// ```
    /// let labels = fuseprop::ClassLabels::from(&[3_usize, usize::MAX]);
    /// assert_eq!((labels.get(0), labels.get(1)), (Some(3), None));
    /// ```
    #[must_use]
    pub fn get(&self, row: usize) -> Option<u32> {
        u32::try_from(self.value(row)).ok()
    }

    /// The class of a row of labels that were checked; `u32::MAX` for a label that is none.
    #[inline(always)]
    pub(crate) fn class(&self, row: usize) -> u32 {
        match self.0 {
            Integers::U8(labels) => labels[row].into(),
            Integers::U32(labels) => labels[row],
            Integers::Usize(labels) => u32::try_from(labels[row]).unwrap_or(u32::MAX),
            Integers::I32(labels) => u32::try_from(labels[row]).unwrap_or(u32::MAX),
            Integers::I64(labels) => u32::try_from(labels[row]).unwrap_or(u32::MAX),
        }
    }

    /// The label of a row as it is.
    pub(crate) fn value(&self, row: usize) -> i128 {
        match self.0 {
            Integers::U8(labels) => labels[row].into(),
            Integers::U32(labels) => labels[row].into(),
            Integers::Usize(labels) => labels[row] as i128,
            Integers::I32(labels) => labels[row].into(),
            Integers::I64(labels) => labels[row].into(),
        }
    }

    /// The first row whose label is no index below `classes`, among those that `is_read` says.
    pub(crate) fn find_wrong(&self, classes: usize, is_read: impl Fn(usize) -> bool) -> Option<usize> {
        // As `u64` a negative label is past any number of classes.
        let classes = classes as u64;
        of_each!(self.0, labels => {
            labels.iter().enumerate().position(|(row, &label)| label as u64 >= classes && is_read(row))
        })
    }

    /// The labels of some rows.
    #[inline(always)]
    pub(crate) fn rows(self, rows: Range<usize>) -> Self {
        Self(match self.0 {
            Integers::U8(labels) => Integers::U8(&labels[rows]),
            Integers::U32(labels) => Integers::U32(&labels[rows]),
            Integers::Usize(labels) => Integers::Usize(&labels[rows]),
            Integers::I32(labels) => Integers::I32(&labels[rows]),
            Integers::I64(labels) => Integers::I64(&labels[rows]),
        })
    }

    /// Prefetches some of the cache lines, which follow from the bytes that the labels lie in.
    #[inline(always)]
    pub(crate) fn prefetch(&self, lines: impl Fn(usize) -> Range<usize>) {
        of_each!(self.0, labels => prefetch_lines(labels, lines(size_of_val(labels))));
    }

    /// The labels as they are, if they are `u32`.
    pub(crate) fn as_u32(self) -> Option<&'a [u32]> {
        match self.0 {
            Integers::U32(labels) => Some(labels),
            Integers::U8(_) | Integers::Usize(_) | Integers::I32(_) | Integers::I64(_) => None,
        }
    }
}

/// From a slice, a vector and an array of an integer type.
macro_rules! from_integers {
    ($($variant:ident: $integer:ty,)+) => {$(
        impl<'a> From<&'a [$integer]> for ClassLabels<'a> {
            fn from(labels: &'a [$integer]) -> Self {
                Self(Integers::$variant(labels))
            }
        }

        impl<'a> From<&'a Vec<$integer>> for ClassLabels<'a> {
            fn from(labels: &'a Vec<$integer>) -> Self {
                Self(Integers::$variant(labels))
            }
        }

        impl<'a, const N: usize> From<&'a [$integer; N]> for ClassLabels<'a> {
            fn from(labels: &'a [$integer; N]) -> Self {
                Self(Integers::$variant(labels))
            }
        }
    )+};
}

from_integers! {
    U8: u8,
    U32: u32,
    Usize: usize,
    I32: i32,
    I64: i64,
}
