//! What a loss compares outputs with, and how much each row and each element weighs.

use core::ops::Range;

pub(crate) use crate::kernels::ops::class_labels::ClassLabels;
use crate::simd::scalar::Element;

/// The targets of a batch, with what weighs: made from slices, arrays and vectors by `into()`.
///
/// Values, row-major `[batch, outputs]`, or class indices, `[batch]`, each from 0 and below the number of
/// outputs: `u8`, `u32`, `usize`, `i32` or `i64`, which are read where they lie. A weight for the loss of
/// each row ([`Targets::weights`]) and one for each element ([`Targets::mask`]) may ride with them.
///
/// A row or an element of weight 0 is not read: whatever its targets, inputs and outputs are, infinite and
/// NaN too, no loss, gradient, norm or metric follows from it. (A class index of such a row may be any
/// number.)
///
/// # Examples
/// ```
/// use fuseprop::{Activation, Network, Targets, Trainer};
///
/// let network = Network::<f32>::builder(1).dense(2, Activation::Identity).seed(1).build()?;
/// let mut trainer = Trainer::builder(network).max_batch(2).build()?;
/// let x = [0.5, 1.0];
/// trainer.step(&x, &[0.1, 0.2, 0.3, 0.4])?;
/// // The second row counts twice.
/// trainer.step(&x, Targets::from(&[0.1, 0.2, 0.3, 0.4]).weights(&[1.0, 2.0]))?;
/// // Of the second row only the first output is known.
/// let y = [0.1, 0.2, 0.3, f32::NAN];
/// trainer.step(&x, Targets::from(&y).mask(&[1.0, 1.0, 1.0, 0.0]))?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a, T> {
    pub(crate) labels: Labels<'a, T>,
    /// `[batch]`; all 1 if there are none.
    pub(crate) weights: Option<&'a [T]>,
    /// `[batch, outputs]`; all 1 if there is none.
    pub(crate) mask: Option<&'a [T]>,
    /// Those of each head, of a network that has several losses; the others are empty then.
    pub(crate) heads: &'a [Targets<'a, T>],
}

/// What outputs are compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Labels<'a, T> {
    /// `[batch, outputs]`.
    Values(&'a [T]),
    /// `[batch]`.
    Classes(ClassLabels<'a>),
}

impl<'a, T> Targets<'a, T> {
    /// Targets of a batch without rows.
    pub(crate) const EMPTY: Self =
        Self { labels: Labels::Values(&[]), weights: None, mask: None, heads: &[] };

    /// The targets of each head of a network, for a trainer of
    /// [head losses](crate::TrainerBuilder::head_losses): as many as heads, in their order, each with weights
    /// and a mask of its own.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::{Activation, Head, HeadLoss, Loss, Network, Targets, Trainer};
    ///
    /// let heads = [Head::dense(3, Activation::Softmax), Head::dense(1, Activation::Identity)];
    /// let network = Network::<f32>::builder(2).dense(8, Activation::Tanh).heads(heads).build()?;
    /// let losses = [HeadLoss::new(Loss::SoftmaxCrossEntropy), HeadLoss::new(Loss::MeanSquaredError)];
    /// let mut trainer = Trainer::builder(network).head_losses(losses).build()?;
    /// // Two rows: of classes 2 and 0, and of values 0.5 and -1.
    /// let targets = [Targets::from(&[2_u32, 0]), Targets::from(&[0.5, -1.0])];
    /// trainer.step(&[0.1, 0.2, 0.3, 0.4], Targets::heads(&targets))?;
    /// # Ok::<(), fuseprop::Error>(())
    /// ```
    #[must_use]
    pub fn heads(targets: &'a [Self]) -> Self {
        Self { heads: targets, ..Self::EMPTY }
    }

    /// Gives each row's loss a weight, `[batch]`, finite and at least 0: see [`Reduction`](crate::Reduction).
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Targets;
    ///
    /// let targets = Targets::<f32>::from(&[0, 2]).weights(&[1.0, 0.5]);
    /// assert_eq!(targets.row_weights(), Some(&[1.0, 0.5][..]));
    /// ```
    #[must_use]
    pub fn weights(self, weights: &'a [T]) -> Self {
        Self { weights: Some(weights), ..self }
    }

    /// Gives each element's loss a weight, `[batch, outputs]`, finite and at least 0, on top of that of its
    /// row: 0 where there is no target. For losses that are sums over elements, not
    /// [`Loss::SoftmaxCrossEntropy`](crate::Loss).
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Targets;
    ///
    /// let targets = Targets::from(&[0.5_f32, f32::NAN]).mask(&[1.0, 0.0]);
    /// assert_eq!(targets.element_mask(), Some(&[1.0, 0.0][..]));
    /// ```
    #[must_use]
    pub fn mask(self, mask: &'a [T]) -> Self {
        Self { mask: Some(mask), ..self }
    }

    /// The values, `[batch, outputs]`, unless the targets are classes.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Targets;
    ///
    /// assert_eq!(Targets::from(&[0.5_f32]).values(), Some(&[0.5][..]));
    /// assert_eq!(Targets::<f32>::from(&[2_u32]).values(), None);
    /// ```
    #[must_use]
    pub fn values(&self) -> Option<&'a [T]> {
        match self.labels {
            Labels::Values(values) => Some(values),
            Labels::Classes(_) => None,
        }
    }

    /// The class indices, `[batch]`, of any integer type, unless the targets are values.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Targets;
    ///
    /// assert_eq!(Targets::<f32>::from(&[2_i64]).labels().and_then(|labels| labels.get(0)), Some(2));
    /// assert!(Targets::from(&[0.5_f32]).labels().is_none());
    /// ```
    #[must_use]
    pub fn labels(&self) -> Option<ClassLabels<'a>> {
        match self.labels {
            Labels::Values(_) => None,
            Labels::Classes(classes) => Some(classes),
        }
    }

    /// The class indices, `[batch]`, if they are `u32`: [`Targets::labels`] has those of any integer type.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Targets;
    ///
    /// assert_eq!(Targets::<f32>::from(&[2_u32]).classes(), Some(&[2][..]));
    /// assert_eq!(Targets::<f32>::from(&[2_i64]).classes(), None);
    /// ```
    #[must_use]
    pub fn classes(&self) -> Option<&'a [u32]> {
        self.labels().and_then(ClassLabels::as_u32)
    }

    /// The weight of each row, `[batch]`, if there are any.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Targets;
    ///
    /// assert_eq!(Targets::from(&[0.5_f32]).row_weights(), None);
    /// ```
    #[must_use]
    pub fn row_weights(&self) -> Option<&'a [T]> {
        self.weights
    }

    /// The weight of each element, `[batch, outputs]`, if there are any.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Targets;
    ///
    /// assert_eq!(Targets::from(&[0.5_f32]).element_mask(), None);
    /// ```
    #[must_use]
    pub fn element_mask(&self) -> Option<&'a [T]> {
        self.mask
    }

    /// The targets of some rows.
    pub(crate) fn rows(self, rows: Range<usize>, outputs: usize) -> Self {
        let elements = rows.start * outputs..rows.end * outputs;
        Self {
            labels: match self.labels {
                Labels::Values(values) => Labels::Values(&values[elements.clone()]),
                Labels::Classes(classes) => Labels::Classes(classes.rows(rows.clone())),
            },
            mask: self.mask.map(|mask| &mask[elements]),
            weights: self.weights.map(|weights| &weights[rows]),
            heads: self.heads,
        }
    }

    /// Whether every row and every element weighs the same.
    #[inline(always)]
    pub(crate) fn is_unweighted(&self) -> bool {
        self.weights.is_none() && self.mask.is_none()
    }
}

impl<T: Element> Targets<'_, T> {
    /// The weight of a row's loss.
    #[inline(always)]
    pub(crate) fn row_weight(&self, row: usize) -> f64 {
        match self.weights {
            Some(weights) => weights[row].to_f64(),
            None => 1.0,
        }
    }

    /// The weight of each element's loss, with that of its row, for metrics.
    pub(crate) fn element_weight(&self, row: usize, outputs: usize, output: usize) -> f64 {
        let of_element = self.mask.map_or(1.0, |mask| mask[row * outputs + output].to_f64());
        self.row_weight(row) * of_element
    }
}

impl<'a, T> From<Labels<'a, T>> for Targets<'a, T> {
    fn from(labels: Labels<'a, T>) -> Self {
        Self { labels, ..Self::EMPTY }
    }
}

impl<'a, T: Element> From<&'a [T]> for Targets<'a, T> {
    fn from(values: &'a [T]) -> Self {
        Labels::Values(values).into()
    }
}

impl<'a, T: Element> From<&'a Vec<T>> for Targets<'a, T> {
    fn from(values: &'a Vec<T>) -> Self {
        Labels::Values(&values[..]).into()
    }
}

impl<'a, T: Element, const N: usize> From<&'a [T; N]> for Targets<'a, T> {
    fn from(values: &'a [T; N]) -> Self {
        Labels::Values(&values[..]).into()
    }
}

/// Class indices of each integer type, from a slice, a vector and an array.
macro_rules! from_classes {
    ($($integer:ty),+) => {$(
        impl<'a, T: Element> From<&'a [$integer]> for Targets<'a, T> {
            fn from(classes: &'a [$integer]) -> Self {
                Labels::Classes(classes.into()).into()
            }
        }

        impl<'a, T: Element> From<&'a Vec<$integer>> for Targets<'a, T> {
            fn from(classes: &'a Vec<$integer>) -> Self {
                Labels::Classes(classes.into()).into()
            }
        }

        impl<'a, T: Element, const N: usize> From<&'a [$integer; N]> for Targets<'a, T> {
            fn from(classes: &'a [$integer; N]) -> Self {
                Labels::Classes(classes.into()).into()
            }
        }
    )+};
}

from_classes!(u8, u32, usize, i32, i64);
