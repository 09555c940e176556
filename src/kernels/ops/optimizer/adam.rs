//! Adam and AdamW.

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

/// Steps in the direction of a running mean of the gradient, divided by the root of a running mean of its
/// square (Kingma and Ba 2015). `torch.optim.Adam`.
///
/// ```text
/// m = m + (1 - beta1) (g - m)
/// v = beta2 v + (1 - beta2) g^2
/// w = w - learning_rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)    at step t, from 1
/// ```
///
/// Defaults: betas 0.9 and 0.999, epsilon 1e-8.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Adam, Network, Trainer};
///
/// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
/// let mut trainer = Trainer::builder(network).optimizer(Adam::new(1e-3).betas(0.9, 0.95)).build()?;
/// trainer.step(&[1.0, 2.0], &[0.5])?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    common: Common,
    estimates: Estimates,
}

/// [`Adam`] with `w = w - learning_rate weight_decay w` before each step, instead of a decay in the gradient
/// (Loshchilov and Hutter 2019). `torch.optim.AdamW`.
///
/// Defaults are those of [`Adam`], and a weight decay of 0.01.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, AdamW, Network, Trainer};
///
/// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
/// let mut trainer = Trainer::builder(network).optimizer(AdamW::new(1e-3).weight_decay(0.05)).build()?;
/// trainer.step(&[1.0, 2.0], &[0.5])?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    common: Common,
    estimates: Estimates,
}

impl Adam {
    /// Adam with a step size, at least 0, and the defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Adam::new(1e-3);
    /// ```
    #[must_use]
    pub fn new(learning_rate: f64) -> Self {
        Self { common: Common::new(learning_rate), estimates: Estimates::DEFAULT }
    }
}

impl AdamW {
    /// AdamW with a step size, at least 0, and the defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::AdamW::new(1e-3);
    /// ```
    #[must_use]
    pub fn new(learning_rate: f64) -> Self {
        let common = Common { weight_decay: 0.01, ..Common::new(learning_rate) };
        Self { common, estimates: Estimates::DEFAULT }
    }
}

/// Builder methods of [`Estimates`], and the rule.
macro_rules! rule_of_estimates {
    ($rule:ident, $name:literal, $decay:expr) => {
        impl $rule {
            /// The decay of the running means of the gradient and of its square, each at least 0 and below 1;
            /// 0.9 and 0.999 by default.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let optimizer = fuseprop::", stringify!($rule), "::new(1e-3).betas(0.9, 0.95);")]
            /// ```
            #[must_use]
            pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                (self.estimates.beta1, self.estimates.beta2) = (beta1, beta2);
                self
            }

            /// What is added to the divisor, at least 1e-30; 1e-8 by default.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let optimizer = fuseprop::", stringify!($rule), "::new(1e-3).epsilon(1e-6);")]
            /// ```
            #[must_use]
            pub fn epsilon(mut self, epsilon: f64) -> Self {
                self.estimates.epsilon = epsilon;
                self
            }

            /// Divides by the root of the largest `v` so far (Reddi, Kale and Kumar 2018); off by default.
            ///
            /// # Examples
            ///
            /// ```
            #[doc = concat!("let optimizer = fuseprop::", stringify!($rule), "::new(1e-3).amsgrad(true);")]
            /// ```
            #[must_use]
            pub fn amsgrad(mut self, amsgrad: bool) -> Self {
                self.estimates.amsgrad = amsgrad;
                self
            }
        }

        impl Rule for $rule {
            const NAME: &'static str = $name;

            #[cfg(feature = "files")]
            fn settings_mut(&mut self) -> Vec<(&'static str, Setting<'_>)> {
                self.common.settings_mut(self.estimates.settings_mut())
            }

            fn squares(&self) -> Option<RunningSquares> {
                Some(self.estimates.squares())
            }

            fn check<T: Element>(&self) -> Result<(), Error> {
                self.estimates.check::<T>()
            }

            fn moments(&self) -> Moments {
                self.estimates.moments()
            }

            #[inline(always)]
            fn gradient_decay(&self) -> f64 {
                match $decay {
                    Decay::InGradient => self.common.weight_decay,
                    Decay::Decoupled => 0.0,
                }
            }

            #[inline(always)]
            fn update<L: Lanes>(&self, l: L, pass: Pass<'_, L>) {
                let Common { learning_rate, weight_decay, .. } = self.common;
                let keep = match $decay {
                    Decay::InGradient => None,
                    Decay::Decoupled => Some(1.0 - learning_rate * weight_decay),
                };
                self.estimates.update(l, pass, learning_rate, keep);
            }
        }
    };
}

rule_of_estimates!(Adam, "adam", Decay::InGradient);
rule_of_estimates!(AdamW, "adamw", Decay::Decoupled);

/// Where the weight decay enters.
enum Decay {
    InGradient,
    Decoupled,
}

common_settings! {
    Adam,
    /// Adds `weight_decay w` to the gradient: a penalty of `weight_decay / 2 sum w^2`. At least 0; 0 by
    /// default.
}

common_settings! {
    AdamW,
    /// Subtracts `learning_rate weight_decay w` from each parameter, apart from its gradient. At least 0;
    /// 0.01 by default.
}

/// Running means of the gradient and of its square: what both rules have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimates {
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    amsgrad: bool,
}

impl Estimates {
    const DEFAULT: Self = Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, amsgrad: false };

    fn check<T: Element>(&self) -> Result<(), Error> {
        check_betas::<T>(self.beta1, self.beta2)?;
        check_setting::<T>(Argument::Epsilon, self.epsilon, self.epsilon >= MIN_EPSILON)
    }

    #[cfg(feature = "files")]
    fn settings_mut(&mut self) -> [(&'static str, Setting<'_>); 4] {
        let Self { beta1, beta2, epsilon, amsgrad } = self;
        [
            ("beta1", Setting::Number(beta1)),
            ("beta2", Setting::Number(beta2)),
            ("epsilon", Setting::Number(epsilon)),
            ("amsgrad", Setting::Flag(amsgrad)),
        ]
    }

    /// `v`.
    fn squares(&self) -> RunningSquares {
        RunningSquares { moment: 1, keeps: self.beta2, enters: 1.0 - self.beta2 }
    }

    /// `m`, `v`, and the largest `v`.
    fn moments(&self) -> Moments {
        Moments { count: 2 + usize::from(self.amsgrad), start: 0.0 }
    }

    /// One step at a learning rate, of parameters that are multiplied by `keep` first, if it is given.
    #[inline(always)]
    fn update<L: Lanes>(&self, l: L, pass: Pass<'_, L>, learning_rate: f64, keep: Option<f64>) {
        let Pass { step, lines, moments: [first, second, largest] } = pass;
        let rate = l.constant(learning_rate / (1.0 - power(self.beta1, step)));
        let root = l.constant(1.0 / (1.0 - power(self.beta2, step)).sqrt());
        let (one_minus_beta1, one_minus_beta2) = (l.constant(1.0 - self.beta1), l.constant(1.0 - self.beta2));
        let (beta2, epsilon) = (l.constant(self.beta2), l.constant(self.epsilon));
        let factor = l.constant(keep.unwrap_or(1.0));
        lines.replace(
            l,
            #[inline(always)]
            |i, w, g| {
                let m = l.load(&first[i]);
                let m = store_flushed(l, &mut first[i], l.mul_add(one_minus_beta1, l.sub(g, m), m));
                let v = l.mul_add(beta2, l.load(&second[i]), l.mul(l.mul(one_minus_beta2, g), g));
                let mut v = store_flushed(l, &mut second[i], v);
                if self.amsgrad {
                    let larger = l.max(l.load(&largest[i]), v);
                    v = store_flushed(l, &mut largest[i], larger);
                }
                let w = if keep.is_some() { l.mul(w, factor) } else { w };
                let denominator = l.mul_add(l.sqrt(v), root, epsilon);
                l.neg_mul_add(rate, l.div(m, denominator), w)
            },
        );
    }
}
