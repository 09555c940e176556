//! Lower learning rates where a loss no longer falls.

use crate::error::{Argument, Error};

/// The part of the lowest loss by which another must be lower.
const THRESHOLD: f64 = 1e-4;

/// Lowers the learning rate when a loss no longer falls: `ReduceLROnPlateau` with its relative threshold and
/// no smallest change of the rate, where a loss is lower if it is below `lowest - 1e-4 |lowest|`, of the
/// lowest so far. (PyTorch's threshold is above a lowest that is negative, so that a loss that stays as it is
/// always counts as lower there.) Infinity and NaN are lower than nothing.
///
/// # Examples
/// ```
/// use fuseprop::ReduceOnPlateau;
///
/// let mut plateau = ReduceOnPlateau::new(0.1, 2);
/// let factors: Vec<f64> = [1.0, 0.5, 0.5, 0.5, 0.5].map(|loss| plateau.step(loss)).to_vec();
/// assert_eq!(factors, [1.0, 1.0, 1.0, 1.0, 0.1]); // the third epoch without a lower loss
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReduceOnPlateau {
    pub(crate) factor: f64,
    pub(crate) patience: usize,
    pub(crate) lowest: f64,
    pub(crate) waited: usize,
}

impl ReduceOnPlateau {
    /// Multiplies the rate by `factor`, at least 0 and below 1, after more than `patience` epochs in a row
    /// without a lower loss. [`Trainer::fit`](crate::Trainer::fit) refuses another factor.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::ReduceOnPlateau;
    ///
    /// let mut plateau = ReduceOnPlateau::new(0.5, 0); // halves the rate at once
    /// assert_eq!([3.0, 2.0, 2.0].map(|loss| plateau.step(loss)), [1.0, 1.0, 0.5]);
    /// ```
    #[must_use]
    pub fn new(factor: f64, patience: usize) -> Self {
        Self { factor, patience, lowest: f64::INFINITY, waited: 0 }
    }

    /// Takes in the loss of an epoch. What to multiply the learning rate by after it: 1, or the factor.
    ///
    /// # Examples
    /// ```
    /// use fuseprop::ReduceOnPlateau;
    ///
    /// let (mut plateau, mut rate) = (ReduceOnPlateau::new(0.1, 1), 0.5);
    /// for loss in [1.0, 1.0, 1.0] {
    ///     rate *= plateau.step(loss);
    /// }
    /// assert_eq!(rate, 0.05); // after two epochs without a lower loss
    /// ```
    pub fn step(&mut self, loss: f64) -> f64 {
        // The threshold is below the lowest, whatever its sign.
        let part = if self.lowest < 0.0 { 1.0 + THRESHOLD } else { 1.0 - THRESHOLD };
        if loss < self.lowest * part {
            (self.lowest, self.waited) = (loss, 0);
        } else {
            self.waited += 1;
        }
        if self.waited > self.patience {
            self.waited = 0;
            return self.factor;
        }
        1.0
    }

    /// Refuses a factor that gives no rate.
    pub(crate) fn check(self) -> Result<(), Error> {
        match (0.0..1.0).contains(&self.factor) {
            true => Ok(()),
            false => Err(Error::Setting { argument: Argument::PlateauFactor, value: self.factor }),
        }
    }
}
