//! RMSprop.

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

/// `v = alpha v + (1 - alpha) g^2`, `w = w - learning_rate g / (sqrt v + epsilon)` (Tieleman and Hinton
/// 2012). `torch.optim.RMSprop`.
///
/// With [momentum](RmsProp::momentum) `m`: `b = m b + g / (sqrt v + epsilon)`, `w = w - learning_rate b`.
/// [Centered](RmsProp::centered), it has `v - a^2` in place of `v`, where `a = a + (1 - alpha) (g - a)`
/// (Graves 2013).
///
/// Defaults: alpha 0.99, epsilon 1e-8.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network, RmsProp, Trainer};
///
/// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
/// let rms_prop = RmsProp::new(0.01).alpha(0.9).centered(true);
/// let mut trainer = Trainer::builder(network).optimizer(rms_prop).build()?;
/// trainer.step(&[1.0, 2.0], &[0.5])?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsProp {
    common: Common,
    alpha: f64,
    epsilon: f64,
    momentum: f64,
    centered: bool,
}

impl RmsProp {
    /// RMSprop with a step size, at least 0, and the defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::RmsProp::new(0.01);
    /// ```
    #[must_use]
    pub fn new(learning_rate: f64) -> Self {
        let common = Common::new(learning_rate);
        Self { common, alpha: 0.99, epsilon: 1e-8, momentum: 0.0, centered: false }
    }

    /// The decay of the running means, at least 0 and below 1; 0.99 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::RmsProp::new(0.01).alpha(0.9);
    /// ```
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// What is added to the divisor, at least 1e-30; 1e-8 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::RmsProp::new(0.01).epsilon(1e-6);
    /// ```
    #[must_use]
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// The part `m` of the last direction that is kept, at least 0; 0 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::RmsProp::new(0.01).momentum(0.9);
    /// ```
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// Divides by an estimate of the gradient's standard deviation instead of its root mean square; off by
    /// default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::RmsProp::new(0.01).centered(true);
    /// ```
    #[must_use]
    pub fn centered(mut self, centered: bool) -> Self {
        self.centered = centered;
        self
    }
}

common_settings! {
    RmsProp,
    /// Adds `weight_decay w` to the gradient: a penalty of `weight_decay / 2 sum w^2`. At least 0; 0 by
    /// default.
}

impl Rule for RmsProp {
    const NAME: &'static str = "rms_prop";

    #[cfg(feature = "files")]
    fn settings_mut(&mut self) -> Vec<(&'static str, Setting<'_>)> {
        let Self { common, alpha, epsilon, momentum, centered } = self;
        common.settings_mut([
            ("alpha", Setting::Number(alpha)),
            ("epsilon", Setting::Number(epsilon)),
            ("momentum", Setting::Number(momentum)),
            ("centered", Setting::Flag(centered)),
        ])
    }

    /// `v`.
    fn squares(&self) -> Option<RunningSquares> {
        Some(RunningSquares { moment: 0, keeps: self.alpha, enters: 1.0 - self.alpha })
    }

    fn check<T: Element>(&self) -> Result<(), Error> {
        check_setting::<T>(Argument::Alpha, self.alpha, (0.0..1.0).contains(&self.alpha))?;
        check_setting::<T>(Argument::Epsilon, self.epsilon, self.epsilon >= MIN_EPSILON)?;
        check_setting::<T>(Argument::Momentum, self.momentum, self.momentum >= 0.0)
    }

    /// `v`, then those of `a` and `b` that are needed.
    fn moments(&self) -> Moments {
        let count = 1 + usize::from(self.centered) + usize::from(self.momentum > 0.0);
        Moments { count, start: 0.0 }
    }

    #[inline(always)]
    fn update<L: Lanes>(&self, l: L, pass: Pass<'_, L>) {
        let Pass { lines, moments: [square, second, third], .. } = pass;
        let (mean, buffer) = if self.centered { (second, third) } else { (third, second) };
        let (rate, one_minus_alpha) = (l.constant(self.common.learning_rate), l.constant(1.0 - self.alpha));
        let (alpha, epsilon) = (l.constant(self.alpha), l.constant(self.epsilon));
        let momentum = l.constant(self.momentum);
        lines.replace(
            l,
            #[inline(always)]
            |i, w, g| {
                let v = l.mul_add(alpha, l.load(&square[i]), l.mul(l.mul(one_minus_alpha, g), g));
                let mut v = store_flushed(l, &mut square[i], v);
                if self.centered {
                    let a = l.load(&mean[i]);
                    let a = store_flushed(l, &mut mean[i], l.mul_add(one_minus_alpha, l.sub(g, a), a));
                    // Rounding may take it below 0.
                    v = l.max(l.zero(), l.neg_mul_add(a, a, v));
                }
                let mut direction = l.div(g, l.add(l.sqrt(v), epsilon));
                if self.momentum > 0.0 {
                    let b = l.mul_add(momentum, l.load(&buffer[i]), direction);
                    direction = store_flushed(l, &mut buffer[i], b);
                }
                l.neg_mul_add(rate, direction, w)
            },
        );
    }
}
