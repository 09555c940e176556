//! Lion.

use crate::error::Error;
use crate::kernels::ops::optimizer::pass::{Pass, store_flushed};
#[cfg(feature = "files")]
use crate::kernels::ops::optimizer::rule::Setting;
use crate::kernels::ops::optimizer::rule::{
    Common, Moments, Rule, RunningSquares, check_betas, common_settings,
};
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// Steps of one size, by the sign of a running mean of the gradient (Chen et al. 2023), whose formula and
/// defaults it has; PyTorch has none.
///
/// ```text
/// w = w - learning_rate (sign(beta1 m + (1 - beta1) g) + weight_decay w)
/// m = beta2 m + (1 - beta2) g
/// ```
///
/// Defaults: betas 0.9 and 0.99, no weight decay. The paper's rates are 3 to 10 times smaller than AdamW's,
/// its weight decays as many times larger.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Lion, Network, Trainer};
///
/// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
/// let mut trainer = Trainer::builder(network).optimizer(Lion::new(1e-4).weight_decay(0.1)).build()?;
/// trainer.step(&[1.0, 2.0], &[0.5])?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lion {
    common: Common,
    beta1: f64,
    beta2: f64,
}

impl Lion {
    /// Lion with a step size, at least 0, and the defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Lion::new(1e-4);
    /// ```
    #[must_use]
    pub fn new(learning_rate: f64) -> Self {
        Self { common: Common::new(learning_rate), beta1: 0.9, beta2: 0.99 }
    }

    /// The parts of the running mean in the direction and in the next mean, each at least 0 and below 1; 0.9
    /// and 0.99 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Lion::new(1e-4).betas(0.95, 0.98);
    /// ```
    #[must_use]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        (self.beta1, self.beta2) = (beta1, beta2);
        self
    }
}

common_settings! {
    Lion,
    /// Subtracts `learning_rate weight_decay w` from each parameter, apart from its gradient. At least 0; 0
    /// by default.
}

impl Rule for Lion {
    const NAME: &'static str = "lion";

    #[cfg(feature = "files")]
    fn settings_mut(&mut self) -> Vec<(&'static str, Setting<'_>)> {
        let Self { common, beta1, beta2 } = self;
        common.settings_mut([("beta1", Setting::Number(beta1)), ("beta2", Setting::Number(beta2))])
    }

    fn squares(&self) -> Option<RunningSquares> {
        None
    }

    fn check<T: Element>(&self) -> Result<(), Error> {
        check_betas::<T>(self.beta1, self.beta2)
    }

    /// `m`.
    fn moments(&self) -> Moments {
        Moments { count: 1, start: 0.0 }
    }

    #[inline(always)]
    fn gradient_decay(&self) -> f64 {
        0.0
    }

    #[inline(always)]
    fn update<L: Lanes>(&self, l: L, pass: Pass<'_, L>) {
        let Pass { lines, moments: [mean, ..], .. } = pass;
        let Common { learning_rate, weight_decay, .. } = self.common;
        let (rate, keep) = (l.constant(learning_rate), l.constant(1.0 - learning_rate * weight_decay));
        let (zero, one) = (l.zero(), l.constant(1.0));
        let (one_minus_beta1, one_minus_beta2) = (l.constant(1.0 - self.beta1), l.constant(1.0 - self.beta2));
        lines.replace(
            l,
            #[inline(always)]
            |i, w, g| {
                let m = l.load(&mean[i]);
                let towards = l.sub(g, m);
                let direction = l.mul_add(one_minus_beta1, towards, m);
                store_flushed(l, &mut mean[i], l.mul_add(one_minus_beta2, towards, m));
                // 0 of 0, and NaN of NaN.
                let sign = l.select(l.eq(direction, zero), zero, l.flip_sign(one, direction));
                let sign = l.select(l.eq(direction, direction), sign, direction);
                l.neg_mul_add(rate, sign, l.mul(w, keep))
            },
        );
    }
}
