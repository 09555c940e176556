//! NAdam.

use crate::error::{Argument, Error};
use crate::float_math::{exp, ln, power};
use crate::kernels::ops::optimizer::pass::{Pass, store_flushed};
#[cfg(feature = "files")]
use crate::kernels::ops::optimizer::rule::Setting;
use crate::kernels::ops::optimizer::rule::{
    Common, MIN_EPSILON, Moments, Rule, RunningSquares, check_betas, common_settings,
};
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// [`Adam`](crate::Adam) with Nesterov's momentum (Dozat 2016). `torch.optim.NAdam`.
///
/// ```text
/// m_t = m_(t-1) + (1 - beta1) (g - m_(t-1))
/// v_t = beta2 v_(t-1) + (1 - beta2) g^2
/// mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2)
/// direction = (1 - mu_t) g / (1 - mu_1 .. mu_t) + mu_(t+1) m_t / (1 - mu_1 .. mu_(t+1))
/// w = w - learning_rate direction / (sqrt(v_t / (1 - beta2^t)) + epsilon)    at step t, from 1
/// ```
///
/// Defaults: betas 0.9 and 0.999, epsilon 1e-8, momentum decay 0.004. PyTorch's default rate is 2e-3.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, NAdam, Network, Trainer};
///
/// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
/// let mut trainer = Trainer::builder(network).optimizer(NAdam::new(2e-3).betas(0.9, 0.99)).build()?;
/// trainer.step(&[1.0, 2.0], &[0.5])?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NAdam {
    common: Common,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    momentum_decay: f64,
}

impl NAdam {
    /// NAdam with a step size, at least 0, and the defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::NAdam::new(2e-3);
    /// ```
    #[must_use]
    pub fn new(learning_rate: f64) -> Self {
        let common = Common::new(learning_rate);
        Self { common, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, momentum_decay: 4e-3 }
    }

    /// The decay of the running means of the gradient and of its square, each at least 0 and below 1; 0.9 and
    /// 0.999 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::NAdam::new(2e-3).betas(0.9, 0.99);
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
    /// let optimizer = fuseprop::NAdam::new(2e-3).epsilon(1e-6);
    /// ```
    #[must_use]
    pub fn epsilon(mut self, epsilon: f64) -> Self {
        self.epsilon = epsilon;
        self
    }

    /// How fast the momentum rises from half of `beta1` to all of it, at least 0; 0.004 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::NAdam::new(2e-3).momentum_decay(0.01);
    /// ```
    #[must_use]
    pub fn momentum_decay(mut self, momentum_decay: f64) -> Self {
        self.momentum_decay = momentum_decay;
        self
    }

    /// The factors of the gradient and of its running mean in the direction of a step.
    ///
    /// The product of all momenta is multiplied up in each step, from the first: it is negligible beside 1
    /// after some 60 of them, since each is near half of `beta1` for long, and then no further one is read.
    fn factors(&self, step: u64) -> [f64; 2] {
        /// Beside 1 a product below it is 0.
        const NEGLIGIBLE: f64 = 1.0 / (1_u64 << 60) as f64;
        let decay = exp(self.momentum_decay * ln(0.96));
        let momentum = |step: u64| self.beta1 * (1.0 - 0.5 * power(decay, step));
        let (mut product, mut decayed) = (1.0, 1.0);
        for _ in 0..step {
            decayed *= decay;
            product *= self.beta1 * (1.0 - 0.5 * decayed);
            if product < NEGLIGIBLE {
                break;
            }
        }
        let (mu, next) = (momentum(step), momentum(step.saturating_add(1)));
        [(1.0 - mu) / (1.0 - product), next / (1.0 - product * next)]
    }
}

common_settings! {
    NAdam,
    /// Adds `weight_decay w` to the gradient: a penalty of `weight_decay / 2 sum w^2`. At least 0; 0 by
    /// default.
}

impl Rule for NAdam {
    const NAME: &'static str = "nadam";

    #[cfg(feature = "files")]
    fn settings_mut(&mut self) -> Vec<(&'static str, Setting<'_>)> {
        let Self { common, beta1, beta2, epsilon, momentum_decay } = self;
        common.settings_mut([
            ("beta1", Setting::Number(beta1)),
            ("beta2", Setting::Number(beta2)),
            ("epsilon", Setting::Number(epsilon)),
            ("momentum_decay", Setting::Number(momentum_decay)),
        ])
    }

    /// `v`.
    fn squares(&self) -> Option<RunningSquares> {
        Some(RunningSquares { moment: 1, keeps: self.beta2, enters: 1.0 - self.beta2 })
    }

    fn check<T: Element>(&self) -> Result<(), Error> {
        check_betas::<T>(self.beta1, self.beta2)?;
        check_setting::<T>(Argument::Epsilon, self.epsilon, self.epsilon >= MIN_EPSILON)?;
        check_setting::<T>(Argument::MomentumDecay, self.momentum_decay, self.momentum_decay >= 0.0)
    }

    /// `m` and `v`.
    fn moments(&self) -> Moments {
        Moments { count: 2, start: 0.0 }
    }

    #[inline(always)]
    fn update<L: Lanes>(&self, l: L, pass: Pass<'_, L>) {
        let Pass { step, lines, moments: [first, second, _] } = pass;
        let rate = self.common.learning_rate;
        let [of_gradient, of_mean] = self.factors(step).map(|factor| l.constant(rate * factor));
        let root = l.constant(1.0 / (1.0 - power(self.beta2, step)).sqrt());
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
                let denominator = l.mul_add(l.sqrt(v), root, epsilon);
                let direction = l.mul_add(of_gradient, g, l.mul(of_mean, m));
                l.sub(w, l.div(direction, denominator))
            },
        );
    }
}
