//! RAdam.

use crate::error::{Argument, Error};
use crate::float_math::power;
use crate::kernels::ops::optimizer::pass::{Pass, store_flushed};
#[cfg(feature = "files")]
use crate::kernels::ops::optimizer::rule::Setting;
use crate::kernels::ops::optimizer::rule::{
    Common, MIN_EPSILON, Moments, Rule, RunningSquares, check_betas, common_settings,
};
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// [`Adam`](crate::Adam) that does without its divisor as long as that is estimated from few steps, and
/// corrects its variance afterwards (Liu et al. 2020). `torch.optim.RAdam`.
///
/// ```text
/// m = m + (1 - beta1) (g - m)
/// v = beta2 v + (1 - beta2) g^2
/// rho_inf = 2 / (1 - beta2) - 1
/// rho = rho_inf - 2 t beta2^t / (1 - beta2^t)                               at step t, from 1
/// r = sqrt((rho - 4) (rho - 2) rho_inf / ((rho_inf - 4) (rho_inf - 2) rho))
/// w = w - learning_rate m / (1 - beta1^t)                                   while rho <= 5
/// w = w - learning_rate m / (1 - beta1^t) r sqrt(1 - beta2^t) / (sqrt v + epsilon)    from then on
/// ```
///
/// Defaults: betas 0.9 and 0.999, epsilon 1e-8, with which the first five steps have no divisor.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network, RAdam, Trainer};
///
/// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
/// let mut trainer = Trainer::builder(network).optimizer(RAdam::new(1e-3).betas(0.9, 0.99)).build()?;
/// trainer.step(&[1.0, 2.0], &[0.5])?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RAdam {
    common: Common,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
}

impl RAdam {
    /// RAdam with a step size, at least 0, and the defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::RAdam::new(1e-3);
    /// ```
    #[must_use]
    pub fn new(learning_rate: f64) -> Self {
        Self { common: Common::new(learning_rate), beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }

    /// The decay of the running means of the gradient and of its square, each at least 0 and below 1; 0.9 and
    /// 0.999 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::RAdam::new(1e-3).betas(0.9, 0.99);
    /// ```
    #[must_use]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        (self.beta1, self.beta2) = (beta1, beta2);
        self
    }

    /// What is added to the divisor, at least 1e-30; 1e-8 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::RAdam::new(1e-3).epsilon(1e-6);
    /// ```
    #[must_use]
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// The factor `r sqrt(1 - beta2^t)` of a step, if it has a divisor.
    fn rectification(&self, step: u64) -> Option<f64> {
        let power = power(self.beta2, step);
        let limit = 2.0 / (1.0 - self.beta2) - 1.0;
        let rho = limit - 2.0 * step as f64 * power / (1.0 - power);
        let quotient = (rho - 4.0) * (rho - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * rho);
        (rho > 5.0).then(|| (quotient * (1.0 - power)).sqrt())
    }
}

common_settings! {
    RAdam,
    /// Adds `weight_decay w` to the gradient: a penalty of `weight_decay / 2 sum w^2`. At least 0; 0 by
    /// default.
}

impl Rule for RAdam {
    const NAME: &'static str = "radam";

    #[cfg(feature = "files")]
    fn settings_mut(&mut self) -> Vec<(&'static str, Setting<'_>)> {
        let Self { common, beta1, beta2, epsilon } = self;
        common.settings_mut([
            ("beta1", Setting::Number(beta1)),
            ("beta2", Setting::Number(beta2)),
            ("epsilon", Setting::Number(epsilon)),
        ])
    }

    /// `v`.
    fn squares(&self) -> Option<RunningSquares> {
        Some(RunningSquares { moment: 1, keeps: self.beta2, enters: 1.0 - self.beta2 })
    }

    fn check<T: Element>(&self) -> Result<(), Error> {
        check_betas::<T>(self.beta1, self.beta2)?;
        check_setting::<T>(Argument::Epsilon, self.epsilon, self.epsilon >= MIN_EPSILON)
    }

    /// `m` and `v`.
    fn moments(&self) -> Moments {
        Moments { count: 2, start: 0.0 }
    }

    #[inline(always)]
    fn update<L: Lanes>(&self, l: L, pass: Pass<'_, L>) {
        let Pass { step, lines, moments: [first, second, _] } = pass;
        let rate = self.common.learning_rate / (1.0 - power(self.beta1, step));
        let rectification = self.rectification(step);
        let rate = l.constant(rate * rectification.unwrap_or(1.0));
        let (one_minus_beta1, one_minus_beta2) = (l.constant(1.0 - self.beta1), l.constant(1.0 - self.beta2));
        let (beta2, epsilon) = (l.constant(self.beta2), l.constant(self.epsilon));
        lines.replace(
            l,
            #[inline(always)]
            |i, w, g| {
                let m = l.load(&first[i]);
                let m = store_flushed(l, &mut first[i], l.mul_add(one_minus_beta1, l.sub(g, m), m));
                let v = l.mul_add(beta2, l.load(&second[i]), l.mul(l.mul(one_minus_beta2, g), g));
                let v = store_flushed(l, &mut second[i], v);
                let direction = match rectification {
                    Some(_) => l.div(m, l.add(l.sqrt(v), epsilon)),
                    None => m,
                };
                l.neg_mul_add(rate, direction, w)
            },
        );
    }
}
