//! Weights of classes: of the cross-entropy, with its label smoothing, and of the binary cross-entropy.

use crate::error::{Argument, Error, check_length};
use crate::kernels::matrix::panels::panels;
use crate::kernels::ops::loss::{Loss, is_weight};
use crate::simd::scalar::{Element, Line};

/// Class weights and label smoothing, with which the targets `t` of a cross-entropy become
/// `weights_j ((1 - smoothing) t_j + smoothing / outputs)`.
#[derive(Clone, Debug)]
pub(crate) struct ClassWeights<T: Element> {
    pub(crate) smoothing: f64,
    /// One weight for each output, 0 in the padding of the last line.
    pub(crate) lines: Vec<T::Line>,
    /// The sum of all weights.
    pub(crate) sum: f64,
    /// Whether weights were given.
    pub(crate) weighted: bool,
    /// The weight of the positive class of each output of a binary cross-entropy, 0 in padding; none if all
    /// are 1.
    pub(crate) positive: Vec<T::Line>,
}

impl<T: Element> ClassWeights<T> {
    /// # Errors
    /// [`Error::Length`] or [`Error::Setting`] for weights that do not fit or are negative or not finite, and
    /// for a smoothing outside 0 to 1; [`Error::Unused`] for a loss that has no classes.
    pub(crate) fn new(
        loss: Loss,
        outputs: usize,
        weights: Option<&[f64]>,
        smoothing: f64,
    ) -> Result<Self, Error> {
        if loss != Loss::SoftmaxCrossEntropy && (weights.is_some() || smoothing != 0.0) {
            let what = if weights.is_some() { Argument::ClassWeights } else { Argument::LabelSmoothing };
            return Err(Error::Unused { argument: what, with: loss.name() });
        }
        if !(0.0..=1.0).contains(&smoothing) {
            return Err(Error::Setting { argument: Argument::LabelSmoothing, value: smoothing });
        }
        let ones = vec![1.0; outputs];
        let all = weights.unwrap_or(&ones);
        check_length(Argument::ClassWeights, outputs, all.len())?;
        let lines = weight_lines::<T>(Argument::ClassWeight, all)?;
        let sum = all.iter().sum();
        Ok(Self { smoothing, lines, sum, weighted: weights.is_some(), positive: Vec::new() })
    }

    /// With weights of the positive class of each output.
    ///
    /// # Errors
    /// As [`ClassWeights::new`], for another loss than the binary cross-entropy.
    pub(crate) fn with_positive(
        mut self,
        loss: Loss,
        outputs: usize,
        weights: Option<&[f64]>,
    ) -> Result<Self, Error> {
        let Some(weights) = weights else { return Ok(self) };
        if loss != Loss::BinaryCrossEntropyWithLogits {
            return Err(Error::Unused { argument: Argument::PosWeights, with: loss.name() });
        }
        check_length(Argument::PosWeights, outputs, weights.len())?;
        self.positive = weight_lines::<T>(Argument::PosWeight, weights)?;
        Ok(self)
    }

    /// The weight of a class.
    #[inline(always)]
    pub(crate) fn weight(&self, class: u32) -> f64 {
        let class = class as usize;
        self.lines[class / T::LANES].as_slice()[class % T::LANES].to_f64()
    }
}

/// Weights in lines, 0 in the padding of the last.
fn weight_lines<T: Element>(argument: Argument, all: &[f64]) -> Result<Vec<T::Line>, Error> {
    if let Some(&value) = all.iter().find(|&&weight| !is_weight(weight) || !T::holds(weight)) {
        return Err(Error::Setting { argument, value });
    }
    let mut lines = vec![T::Line::ZERO; panels::<T>(all.len())];
    for (line, weights) in lines.iter_mut().zip(all.chunks(T::LANES)) {
        for (to, &weight) in line.as_mut_slice().iter_mut().zip(weights) {
            *to = T::from_f64(weight);
        }
    }
    Ok(lines)
}
