//! Optimizers: the enum, and one step of any of them over lines of parameters.
//!
//! A rule is one file with its settings, formula and kernel, one variant of [`Optimizer`], and one line in
//! `dispatch!`.

mod adagrad;
mod adam;
mod lion;
mod nadam;
mod pass;
mod radam;
mod rms_prop;
mod rprop;
mod rule;
mod sgd;

pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use lion::Lion;
pub use nadam::NAdam;
pub use radam::RAdam;
pub use rms_prop::RmsProp;
pub use rprop::Rprop;
pub use sgd::Sgd;

use crate::error::{Argument, Error};
use crate::kernels::ops::optimizer::pass::{GradientTerms, Lines, Pass};
pub(crate) use crate::kernels::ops::optimizer::rule::RunningSquares;
#[cfg(feature = "files")]
pub(crate) use crate::kernels::ops::optimizer::rule::Setting;
use crate::kernels::ops::optimizer::rule::{CommonSettings, Rule};
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::scalar::Element;

/// The rule that turns gradients into new parameters, as in `torch.optim`: formulas, names and defaults are
/// PyTorch's, those of [`Lion`] its paper's.
///
/// Made of a rule's builder, such as [`Adam`], by `into()`, or of a learning rate alone, with the defaults of
/// the rule. Before a rule takes it, the gradient `g` of a parameter `w` becomes
/// `g + weight_decay w + l1 sign(w)`, of weights and biases alike; [`AdamW`] and [`Lion`] decay `w` instead.
/// Moments are stored as 0 where they are denormal.
///
/// Settings are checked when a trainer is built; a setting that a rule lacks does not compile.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Adam, Network, Optimizer, Sgd, Trainer};
///
/// let heavy_ball: Optimizer = Sgd::new(0.1).momentum(0.9).into();
/// assert_eq!(heavy_ball.learning_rate(), 0.1);
///
/// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
/// let adam = Adam::new(1e-3).betas(0.9, 0.95).weight_decay(1e-4);
/// let trainer = Trainer::builder(network).optimizer(adam).build()?;
/// assert_eq!(trainer.optimizer(), adam.into());
/// # Ok::<(), fuseprop::Error>(())
/// ```
///
/// Adagrad has no momentum:
///
/// ```compile_fail,E0599
/// let optimizer = fuseprop::Adagrad::new(0.1).momentum(0.9);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Optimizer {
    /// Gradient descent, with momentum if wanted.
    Sgd(Sgd),
    /// Adam.
    Adam(Adam),
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
    /// RMSprop.
    RmsProp(RmsProp),
    /// Adagrad.
    Adagrad(Adagrad),
    /// Adam with Nesterov's momentum.
    NAdam(NAdam),
    /// Adam with a rectified variance.
    RAdam(RAdam),
    /// Lion.
    Lion(Lion),
    /// Rprop.
    Rprop(Rprop),
}

/// The value of an expression of the optimizer's [`Rule`].
macro_rules! dispatch {
    ($optimizer:expr, $rule:ident => $value:expr) => {
        match $optimizer {
            Optimizer::Sgd($rule) => $value,
            Optimizer::Adam($rule) => $value,
            Optimizer::AdamW($rule) => $value,
            Optimizer::RmsProp($rule) => $value,
            Optimizer::Adagrad($rule) => $value,
            Optimizer::NAdam($rule) => $value,
            Optimizer::RAdam($rule) => $value,
            Optimizer::Lion($rule) => $value,
            Optimizer::Rprop($rule) => $value,
        }
    };
}

/// Maximum number of moments that a rule keeps beside each parameter.
pub(crate) const MAX_MOMENTS: usize = 3;

impl Optimizer {
    /// [`Sgd::new`]: gradient descent without momentum.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Optimizer, Sgd};
    ///
    /// assert_eq!(Optimizer::sgd(0.1), Sgd::new(0.1).into());
    /// ```
    #[must_use]
    pub fn sgd(learning_rate: f64) -> Self {
        Self::Sgd(Sgd::new(learning_rate))
    }

    /// [`Adam::new`]: Adam with PyTorch's defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Adam, Optimizer};
    ///
    /// assert_eq!(Optimizer::adam(1e-3), Adam::new(1e-3).into());
    /// ```
    #[must_use]
    pub fn adam(learning_rate: f64) -> Self {
        Self::Adam(Adam::new(learning_rate))
    }

    /// [`AdamW::new`]: AdamW with PyTorch's defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{AdamW, Optimizer};
    ///
    /// assert_eq!(Optimizer::adamw(1e-3), AdamW::new(1e-3).weight_decay(0.01).into());
    /// ```
    #[must_use]
    pub fn adamw(learning_rate: f64) -> Self {
        Self::AdamW(AdamW::new(learning_rate))
    }

    /// [`RmsProp::new`]: RMSprop with PyTorch's defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Optimizer, RmsProp};
    ///
    /// assert_eq!(Optimizer::rms_prop(0.01), RmsProp::new(0.01).into());
    /// ```
    #[must_use]
    pub fn rms_prop(learning_rate: f64) -> Self {
        Self::RmsProp(RmsProp::new(learning_rate))
    }

    /// [`Adagrad::new`]: Adagrad with PyTorch's defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Adagrad, Optimizer};
    ///
    /// assert_eq!(Optimizer::adagrad(0.01), Adagrad::new(0.01).into());
    /// ```
    #[must_use]
    pub fn adagrad(learning_rate: f64) -> Self {
        Self::Adagrad(Adagrad::new(learning_rate))
    }

    /// [`NAdam::new`]: NAdam with its defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{NAdam, Optimizer};
    ///
    /// assert_eq!(Optimizer::nadam(2e-3), NAdam::new(2e-3).into());
    /// ```
    #[must_use]
    pub fn nadam(learning_rate: f64) -> Self {
        Self::NAdam(NAdam::new(learning_rate))
    }

    /// [`RAdam::new`]: RAdam with its defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Optimizer, RAdam};
    ///
    /// assert_eq!(Optimizer::radam(1e-3), RAdam::new(1e-3).into());
    /// ```
    #[must_use]
    pub fn radam(learning_rate: f64) -> Self {
        Self::RAdam(RAdam::new(learning_rate))
    }

    /// [`Lion::new`]: Lion with its defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Lion, Optimizer};
    ///
    /// assert_eq!(Optimizer::lion(1e-4), Lion::new(1e-4).into());
    /// ```
    #[must_use]
    pub fn lion(learning_rate: f64) -> Self {
        Self::Lion(Lion::new(learning_rate))
    }

    /// [`Rprop::new`]: Rprop with its defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::{Optimizer, Rprop};
    ///
    /// assert_eq!(Optimizer::rprop(0.01), Rprop::new(0.01).into());
    /// ```
    #[must_use]
    pub fn rprop(learning_rate: f64) -> Self {
        Self::Rprop(Rprop::new(learning_rate))
    }

    /// The step size.
    ///
    /// # Examples
    ///
    /// ```
    /// use fuseprop::Optimizer;
    ///
    /// assert_eq!(Optimizer::adam(1e-3).learning_rate(), 1e-3);
    /// ```
    #[must_use]
    pub fn learning_rate(&self) -> f64 {
        dispatch!(self, rule => rule.common().learning_rate)
    }

    /// The same rule with another step size, that is checked.
    ///
    /// # Errors
    /// As [`Optimizer::checked`].
    pub(crate) fn with_learning_rate<T: Element>(self, learning_rate: f64) -> Result<Self, Error> {
        self.at_rate(learning_rate).checked::<T>()
    }

    /// The same rule with another step size, that is known to be in range.
    pub(crate) fn at_rate(mut self, learning_rate: f64) -> Self {
        dispatch!(&mut self, rule => rule.common_mut()).learning_rate = learning_rate;
        self
    }

    /// # Errors
    /// [`Error::Setting`] for a setting out of range, or not finite in `T`; [`Error::Unused`] for Nesterov
    /// momentum that has no momentum, or dampening.
    pub(crate) fn checked<T: Element>(self) -> Result<Self, Error> {
        let common = dispatch!(&self, rule => rule.common());
        for (argument, value) in [
            (Argument::LearningRate, common.learning_rate),
            (Argument::WeightDecay, common.weight_decay),
            (Argument::L1, common.l1),
        ] {
            check_setting::<T>(argument, value, value >= 0.0)?;
        }
        dispatch!(&self, rule => rule.check::<T>())?;
        Ok(self)
    }

    /// The rule's running sum of squared gradients, if it keeps one.
    pub(crate) fn squares(&self) -> Option<RunningSquares> {
        dispatch!(self, rule => rule.squares())
    }

    /// What each moment starts from; as many as the rule keeps.
    pub(crate) fn moments(&self) -> impl Iterator<Item = f64> {
        let moments = dispatch!(self, rule => rule.moments());
        core::iter::repeat_n(moments.start, moments.count)
    }
}

#[cfg(feature = "files")]
impl Optimizer {
    /// The rule of a name in files, with its defaults and a learning rate of 0.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let rules: [Self; 9] = [
            Sgd::new(0.0).into(),
            Adam::new(0.0).into(),
            AdamW::new(0.0).into(),
            RmsProp::new(0.0).into(),
            Adagrad::new(0.0).into(),
            NAdam::new(0.0).into(),
            RAdam::new(0.0).into(),
            Lion::new(0.0).into(),
            Rprop::new(0.0).into(),
        ];
        rules.into_iter().find(|rule| rule.name() == name)
    }

    /// The rule's name in files.
    pub(crate) fn name(&self) -> &'static str {
        fn name<R: Rule>(_: &R) -> &'static str {
            R::NAME
        }
        dispatch!(self, rule => name(rule))
    }

    /// Each setting but the learning rate, with its name in files.
    pub(crate) fn settings_mut(&mut self) -> Vec<(&'static str, Setting<'_>)> {
        dispatch!(self, rule => rule.settings_mut())
    }
}

/// One step of an optimizer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    pub optimizer: Optimizer,
    /// 1 for the first.
    pub step: u64,
    /// What the gradient is multiplied by, before anything else.
    pub scale: f64,
    /// Largest magnitude of an element of the scaled gradient.
    pub limit: f64,
}

impl Update {
    /// The learning rate, if the update is that times the gradient and nothing else: a product can take it
    /// with its last sum.
    pub(crate) fn fused_rate(&self) -> Option<f64> {
        match &self.optimizer {
            Optimizer::Sgd(sgd) if sgd.is_plain() && self.gradient_terms().is_identity() => {
                Some(self.optimizer.learning_rate())
            }
            _ => None,
        }
    }

    #[inline(always)]
    fn gradient_terms(&self) -> GradientTerms {
        let (decay, l1) = dispatch!(&self.optimizer, rule => (rule.gradient_decay(), rule.common().l1));
        GradientTerms { scale: self.scale, limit: self.limit, decay, l1 }
    }
}

/// One step over some parameters, their gradient, and the moments that the rule keeps. Elements that are all
/// 0 stay 0, so that padding does.
pub(crate) fn update<L: Lanes>(
    l: L,
    parameters: &mut [LineOf<L>],
    gradients: &[LineOf<L>],
    moments: [&mut [LineOf<L>]; MAX_MOMENTS],
    update: &Update,
) {
    l.vectorize(
        #[inline(always)]
        || update_lines(l, parameters, gradients, moments, update),
    );
}

/// [`update`] beneath a crossing.
#[cfg_attr(not(unoptimized), inline(always))]
pub(crate) fn update_lines<L: Lanes>(
    l: L,
    parameters: &mut [LineOf<L>],
    gradients: &[LineOf<L>],
    moments: [&mut [LineOf<L>]; MAX_MOMENTS],
    update: &Update,
) {
    let lines = Lines { parameters, gradients, terms: update.gradient_terms() };
    let pass = Pass { step: update.step, lines, moments };
    dispatch!(&update.optimizer, rule => update_by(l, rule, pass));
}

/// [`update_lines`] by one rule.
#[cfg_attr(not(unoptimized), inline(always))]
fn update_by<L: Lanes, R: Rule>(l: L, rule: &R, pass: Pass<'_, L>) {
    rule.update(l, pass);
}

#[cfg(test)]
impl Optimizer {
    /// Every rule, with all moments that it can keep and without those that it can do without.
    pub(crate) fn every() -> Vec<Self> {
        let every = vec![
            Self::sgd(0.1),
            Sgd::new(0.1).momentum(0.9).dampening(0.5).into(),
            Sgd::new(0.1).momentum(0.9).nesterov(true).into(),
            Self::adam(0.1),
            Adam::new(0.1).amsgrad(true).into(),
            AdamW::new(0.1).amsgrad(true).into(),
            Self::rms_prop(0.1),
            RmsProp::new(0.1).momentum(0.9).centered(true).into(),
            Self::adagrad(0.1),
            Adagrad::new(0.1).initial_accumulator(0.1).into(),
            Self::nadam(0.1),
            Self::radam(0.1),
            RAdam::new(0.1).betas(0.9, 0.5).into(),
            Lion::new(0.1).weight_decay(0.1).into(),
            Self::rprop(0.1),
        ];
        // A reminder for the compiler: a new rule has a line above too.
        for optimizer in &every {
            match optimizer {
                Self::Sgd(_) | Self::Adam(_) | Self::AdamW(_) | Self::RmsProp(_) | Self::Adagrad(_) => {}
                Self::NAdam(_) | Self::RAdam(_) | Self::Lion(_) | Self::Rprop(_) => {}
            }
        }
        every
    }
}

#[cfg(test)]
mod tests {
    use super::Optimizer;
    use std::fs;

    #[test]
    fn the_sweeps_of_the_integration_tests_have_every_rule() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/common/every.rs");
        let list = fs::read_to_string(path).unwrap();
        for optimizer in Optimizer::every() {
            let name = format!("{optimizer:?}");
            let rule = name.split('(').next().unwrap();
            assert!(list.contains(&format!("{rule}::new")), "{rule} is not in {path}");
        }
    }
}
