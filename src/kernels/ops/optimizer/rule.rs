//! One rule: its settings, the moments that it keeps, and its kernel.

use crate::error::{Argument, Error};
use crate::kernels::ops::optimizer::pass::Pass;
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// The way to the settings that every rule has. [`common_settings!`] implements it.
pub(super) trait CommonSettings {
    fn common(&self) -> &Common;
    fn common_mut(&mut self) -> &mut Common;
}

/// An optimizer's rule.
pub(super) trait Rule: CommonSettings + Copy {
    /// The name in files.
    #[cfg_attr(not(feature = "files"), expect(dead_code, reason = "only files hold names"))]
    const NAME: &'static str;

    /// Each setting but the learning rate, with its name in files.
    #[cfg(feature = "files")]
    fn settings_mut(&mut self) -> Vec<(&'static str, Setting<'_>)>;

    /// # Errors
    /// [`Error::Setting`] for a setting of the rule's own that is out of range, or not finite in `T`;
    /// [`Error::Unused`] for one without effect.
    fn check<T: Element>(&self) -> Result<(), Error>;

    /// The moments that are kept beside each parameter.
    fn moments(&self) -> Moments;

    /// Its running sum of squared gradients, if it keeps one.
    fn squares(&self) -> Option<RunningSquares>;

    /// The coefficient of the parameter in its gradient: the weight decay, unless that is decoupled.
    #[inline(always)]
    fn gradient_decay(&self) -> f64 {
        self.common().weight_decay
    }

    /// One step.
    fn update<L: Lanes>(&self, l: L, pass: Pass<'_, L>);
}

/// The settings that every rule has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Common {
    pub learning_rate: f64,
    pub weight_decay: f64,
    pub l1: f64,
}

impl Common {
    pub(super) fn new(learning_rate: f64) -> Self {
        Self { learning_rate, weight_decay: 0.0, l1: 0.0 }
    }

    /// [`Rule::settings_mut`] of these, before others.
    #[cfg(feature = "files")]
    pub(super) fn settings_mut<'a, const N: usize>(
        &'a mut self,
        others: [(&'static str, Setting<'a>); N],
    ) -> Vec<(&'static str, Setting<'a>)> {
        let Self { learning_rate: _, weight_decay, l1 } = self;
        let common = [("weight_decay", Setting::Number(weight_decay)), ("l1", Setting::Number(l1))];
        common.into_iter().chain(others).collect()
    }
}

/// The running sum `v = keeps v + enters g^2` that a rule keeps of squared gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RunningSquares {
    /// The number of the moment.
    pub moment: usize,
    pub keeps: f64,
    pub enters: f64,
}

/// A setting of a rule, to be read or overwritten.
#[cfg(feature = "files")]
pub(crate) enum Setting<'a> {
    Number(&'a mut f64),
    Flag(&'a mut bool),
}

/// Moments of a rule, at most [`MAX_MOMENTS`](super::MAX_MOMENTS), and what their elements start from.
pub(super) struct Moments {
    pub count: usize,
    pub start: f64,
}

/// Refuses decays of running means that are not at least 0 and below 1.
pub(super) fn check_betas<T: Element>(beta1: f64, beta2: f64) -> Result<(), Error> {
    check_setting::<T>(Argument::Beta1, beta1, (0.0..1.0).contains(&beta1))?;
    check_setting::<T>(Argument::Beta2, beta2, (0.0..1.0).contains(&beta2))
}

/// Smallest `epsilon`: a normal number in `f32`, so that nothing is divided by 0.
pub(super) const MIN_EPSILON: f64 = 1e-30;

/// Builder methods of the [`Common`] settings, the way to them, and the one into an `Optimizer`.
macro_rules! common_settings {
    ($rule:ident, $(#[doc = $decay:literal])+) => {
        impl $rule {
            $(#[doc = $decay])+
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let decayed = fuseprop::", stringify!($rule), "::new(0.1).weight_decay(1e-4);")]
            /// ```
            #[must_use]
            pub fn weight_decay(mut self, weight_decay: f64) -> Self {
                self.common.weight_decay = weight_decay;
                self
            }

            /// Adds `l1 sign(w)` to the gradient: a penalty of `l1 sum |w|`. At least 0; 0 by default.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let optimizer = fuseprop::", stringify!($rule), "::new(0.01).l1(1e-5);")]
            /// ```
            #[must_use]
            pub fn l1(mut self, l1: f64) -> Self {
                self.common.l1 = l1;
                self
            }
        }

        impl $crate::kernels::ops::optimizer::rule::CommonSettings for $rule {
            #[inline(always)]
            fn common(&self) -> &Common {
                &self.common
            }

            fn common_mut(&mut self) -> &mut Common {
                &mut self.common
            }
        }

        impl From<$rule> for $crate::kernels::ops::optimizer::Optimizer {
            fn from(rule: $rule) -> Self {
                Self::$rule(rule)
            }
        }
    };
}
pub(super) use common_settings;
