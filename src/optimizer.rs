//! How gradients change parameters.

use crate::Error;

/// The rule that turns gradients into new parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    pub(crate) rule: Rule,
}

/// Each rule with its settings; its arithmetic is `kernels::elementwise::update`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    Sgd { learning_rate: f64 },
}

impl Optimizer {
    /// Gradient descent: `w = w - learning_rate g`, as `torch.optim.SGD`.
    pub fn sgd(learning_rate: f64) -> Self {
        Self { rule: Rule::Sgd { learning_rate } }
    }

    /// The step size.
    pub fn learning_rate(&self) -> f64 {
        match self.rule {
            Rule::Sgd { learning_rate } => learning_rate,
        }
    }

    /// The same rule with another step size.
    pub(crate) fn with_learning_rate(self, learning_rate: f64) -> Result<Self, Error> {
        let rule = match self.rule {
            Rule::Sgd { .. } => Rule::Sgd { learning_rate },
        };
        Self { rule }.checked()
    }

    /// Refuses settings out of range: the learning rate must be finite and at least 0.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        let rate = self.learning_rate();
        if rate >= 0.0 && rate.is_finite() {
            Ok(self)
        } else {
            Err(Error::Setting { what: "the learning rate", value: rate })
        }
    }
}
