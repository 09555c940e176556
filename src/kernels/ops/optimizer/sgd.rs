//! Gradient descent, plain and with momentum.

use crate::error::{Argument, Error};
use crate::kernels::ops::optimizer::pass::{Lines, Pass, store_flushed};
#[cfg(feature = "files")]
use crate::kernels::ops::optimizer::rule::Setting;
use crate::kernels::ops::optimizer::rule::{Common, Moments, Rule, RunningSquares, common_settings};
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::scalar::Element;

/// Gradient descent, `w = w - learning_rate g`. `torch.optim.SGD`.
///
/// With [momentum](Sgd::momentum) `m`: `b = m b + (1 - dampening) g`, where the first `b` is `g`, and
/// `w = w - learning_rate b`; with [Nesterov's](Sgd::nesterov) `w = w - learning_rate (g + m b)`.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network, Sgd, Trainer};
///
/// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
/// let sgd = Sgd::new(0.1).momentum(0.9).nesterov(true);
/// let mut trainer = Trainer::builder(network).optimizer(sgd).build()?;
/// trainer.step(&[1.0, 2.0], &[0.5])?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    common: Common,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
}

impl Sgd {
    /// Plain gradient descent with a step size, at least 0.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Sgd::new(0.1);
    /// ```
    #[must_use]
    pub fn new(learning_rate: f64) -> Self {
        Self { common: Common::new(learning_rate), momentum: 0.0, dampening: 0.0, nesterov: false }
    }

    /// The part `m` of the last direction that is kept, at least 0; 0 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Sgd::new(0.1).momentum(0.9);
    /// ```
    #[must_use]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.momentum = momentum;
        self
    }

    /// The part of a gradient that does not enter the momentum; 0 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Sgd::new(0.1).momentum(0.9).dampening(0.5);
    /// ```
    #[must_use]
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.dampening = dampening;
        self
    }

    /// Nesterov's momentum (Sutskever et al. 2013); off by default. Without momentum, or with dampening, a
    /// trainer is refused with [`Error::Unused`].
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Sgd::new(0.1).momentum(0.9).nesterov(true);
    /// ```
    #[must_use]
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.nesterov = nesterov;
        self
    }

    /// Whether there is no momentum.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        self.momentum == 0.0
    }

    /// `w = w - learning_rate g`.
    #[inline(always)]
    fn descend<L: Lanes>(&self, l: L, lines: Lines<'_, L>) {
        let rate = l.constant(self.common.learning_rate);
        lines.replace(
            l,
            #[inline(always)]
            |_, w, g| l.neg_mul_add(rate, g, w),
        );
    }

    /// `b = m b + gradient_scale g`, `w = w - learning_rate b`.
    #[inline(always)]
    fn descend_with_momentum<L: Lanes>(
        &self,
        l: L,
        lines: Lines<'_, L>,
        gradient_scale: f64,
        b: &mut [LineOf<L>],
    ) {
        let rate = l.constant(self.common.learning_rate);
        let (momentum, gradient_scale) = (l.constant(self.momentum), l.constant(gradient_scale));
        lines.replace(
            l,
            #[inline(always)]
            |i, w, g| {
                let kept = l.mul_add(momentum, l.load(&b[i]), l.mul(gradient_scale, g));
                store_flushed(l, &mut b[i], kept);
                let direction = if self.nesterov { l.mul_add(momentum, kept, g) } else { kept };
                l.neg_mul_add(rate, direction, w)
            },
        );
    }
}

common_settings! {
    Sgd,
    /// Adds `weight_decay w` to the gradient: a penalty of `weight_decay / 2 sum w^2`. At least 0; 0 by
    /// default.
}

impl Rule for Sgd {
    const NAME: &'static str = "sgd";

    #[cfg(feature = "files")]
    fn settings_mut(&mut self) -> Vec<(&'static str, Setting<'_>)> {
        let Self { common, momentum, dampening, nesterov } = self;
        common.settings_mut([
            ("momentum", Setting::Number(momentum)),
            ("dampening", Setting::Number(dampening)),
            ("nesterov", Setting::Flag(nesterov)),
        ])
    }

    fn squares(&self) -> Option<RunningSquares> {
        None
    }

    fn check<T: Element>(&self) -> Result<(), Error> {
        if self.nesterov && (self.momentum <= 0.0 || self.dampening != 0.0) {
            return Err(Error::Unused { argument: Argument::Nesterov, with: Argument::PlainSgd });
        }
        check_setting::<T>(Argument::Momentum, self.momentum, self.momentum >= 0.0)?;
        check_setting::<T>(Argument::Dampening, self.dampening, true)
    }

    /// `b`.
    fn moments(&self) -> Moments {
        Moments { count: usize::from(self.momentum > 0.0), start: 0.0 }
    }

    #[inline(always)]
    fn update<L: Lanes>(&self, l: L, pass: Pass<'_, L>) {
        let Pass { step, lines, moments: [b, ..] } = pass;
        if self.is_plain() {
            self.descend(l, lines);
        } else {
            let gradient_scale = if step == 1 { 1.0 } else { 1.0 - self.dampening };
            self.descend_with_momentum(l, lines, gradient_scale, b);
        }
    }
}
