//! Adagrad.

use crate::error::{Argument, Error};
use crate::kernels::ops::optimizer::pass::{Pass, store_flushed};
#[cfg(feature = "files")]
use crate::kernels::ops::optimizer::rule::Setting;
use crate::kernels::ops::optimizer::rule::{
    Common, MIN_EPSILON, Moments, Rule, RunningSquares, common_settings,
};
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// `s = s + g^2`, and at step `t`, from 1,
/// `w = w - learning_rate / (1 + (t - 1) learning_rate_decay) g / (sqrt s + epsilon)` (Duchi, Hazan and
/// Singer 2011). `torch.optim.Adagrad`.
///
/// Defaults: no decay of the learning rate, `s` from 0, epsilon 1e-10.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Adagrad, Network, Trainer};
///
/// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
/// let adagrad = Adagrad::new(0.05).initial_accumulator(0.1);
/// let mut trainer = Trainer::builder(network).optimizer(adagrad).build()?;
/// trainer.step(&[1.0, 2.0], &[0.5])?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adagrad {
    common: Common,
    learning_rate_decay: f64,
    initial_accumulator: f64,
    epsilon: f64,
}

impl Adagrad {
    /// Adagrad with a step size, at least 0, and the defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Adagrad::new(0.05);
    /// ```
    #[must_use]
    pub fn new(learning_rate: f64) -> Self {
        let common = Common::new(learning_rate);
        Self { common, learning_rate_decay: 0.0, initial_accumulator: 0.0, epsilon: 1e-10 }
    }

    /// How much each step slows the learning rate, at least 0; 0 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Adagrad::new(0.05).learning_rate_decay(1e-3);
    /// ```
    #[must_use]
    pub fn learning_rate_decay(mut self, learning_rate_decay: f64) -> Self {
        self.learning_rate_decay = learning_rate_decay;
        self
    }

    /// What the sums of squares `s` start from, at least 0; 0 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Adagrad::new(0.05).initial_accumulator(0.1);
    /// ```
    #[must_use]
    pub fn initial_accumulator(mut self, initial_accumulator: f64) -> Self {
        self.initial_accumulator = initial_accumulator;
        self
    }

    /// What is added to the divisor, at least 1e-30; 1e-10 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Adagrad::new(0.05).epsilon(1e-8);
    /// ```
    #[must_use]
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }
}

common_settings! {
    Adagrad,
    /// Adds `weight_decay w` to the gradient: a penalty of `weight_decay / 2 sum w^2`. At least 0; 0 by
    /// default.
}

impl Rule for Adagrad {
    const NAME: &'static str = "adagrad";

    #[cfg(feature = "files")]
    fn settings_mut(&mut self) -> Vec<(&'static str, Setting<'_>)> {
        let Self { common, learning_rate_decay, initial_accumulator, epsilon } = self;
        common.settings_mut([
            ("learning_rate_decay", Setting::Number(learning_rate_decay)),
            ("initial_accumulator", Setting::Number(initial_accumulator)),
            ("epsilon", Setting::Number(epsilon)),
        ])
    }

    /// `s`.
    fn squares(&self) -> Option<RunningSquares> {
        Some(RunningSquares { moment: 0, keeps: 1.0, enters: 1.0 })
    }

    fn check<T: Element>(&self) -> Result<(), Error> {
        let Self { learning_rate_decay, initial_accumulator, epsilon, .. } = *self;
        check_setting::<T>(Argument::LearningRateDecay, learning_rate_decay, learning_rate_decay >= 0.0)?;
        check_setting::<T>(Argument::InitialAccumulator, initial_accumulator, initial_accumulator >= 0.0)?;
        check_setting::<T>(Argument::Epsilon, epsilon, epsilon >= MIN_EPSILON)
    }

    /// `s`.
    fn moments(&self) -> Moments {
        Moments { count: 1, start: self.initial_accumulator }
    }

    #[inline(always)]
    fn update<L: Lanes>(&self, l: L, pass: Pass<'_, L>) {
        let Pass { step, lines, moments: [sum, ..] } = pass;
        let slowed = 1.0 + (step - 1) as f64 * self.learning_rate_decay;
        let (rate, epsilon) = (l.constant(self.common.learning_rate / slowed), l.constant(self.epsilon));
        lines.replace(
            l,
            #[inline(always)]
            |i, w, g| {
                let s = l.mul_add(g, g, l.load(&sum[i]));
                let s = store_flushed(l, &mut sum[i], s);
                l.neg_mul_add(rate, l.div(g, l.add(l.sqrt(s), epsilon)), w)
            },
        );
    }
}
