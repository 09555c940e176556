//! Rprop.

use crate::error::{Argument, Error};
use crate::kernels::ops::optimizer::pass::{Pass, store_flushed};
#[cfg(feature = "files")]
use crate::kernels::ops::optimizer::rule::Setting;
use crate::kernels::ops::optimizer::rule::{Common, Moments, Rule, RunningSquares, common_settings};
use crate::kernels::ops::setting::check_setting;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// Each parameter has a step size of its own, which grows as long as the gradient keeps its sign, and shrinks
/// where it changes (Riedmiller and Braun 1993). `torch.optim.Rprop`. For batches of all rows: of
/// mini-batches signs change too often.
///
/// ```text
/// s = min(max(s eta_plus, smallest), largest)     where the gradient has the sign of the one before
/// s = min(max(s eta_minus, smallest), largest)    where it has the other: it counts as 0 then
/// w = w - s sign(g)
/// ```
///
/// Where either gradient is 0, `s` stays, within its limits. `s` is the learning rate at first, and no later
/// rate has an influence.
///
/// Defaults: etas 0.5 and 1.2, step sizes from 1e-6 to 50. PyTorch's default rate is 0.01.
///
/// # Examples
///
/// ```
/// use fuseprop::{Activation, Network, Rprop, Trainer};
///
/// let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(1).build()?;
/// let mut trainer = Trainer::builder(network).optimizer(Rprop::new(0.01)).build()?;
/// trainer.step(&[1.0, 2.0], &[0.5])?;
/// # Ok::<(), fuseprop::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rprop {
    common: Common,
    eta_minus: f64,
    eta_plus: f64,
    smallest: f64,
    largest: f64,
}

impl Rprop {
    /// Rprop with a first step size, at least 0, and the defaults.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Rprop::new(0.01);
    /// ```
    #[must_use]
    pub fn new(learning_rate: f64) -> Self {
        let common = Common::new(learning_rate);
        Self { common, eta_minus: 0.5, eta_plus: 1.2, smallest: 1e-6, largest: 50.0 }
    }

    /// The factors by which a step size shrinks and grows: the first above 0 and below 1, the second above 1;
    /// 0.5 and 1.2 by default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Rprop::new(0.01).etas(0.4, 1.3);
    /// ```
    #[must_use]
    pub fn etas(mut self, eta_minus: f64, eta_plus: f64) -> Self {
        (self.eta_minus, self.eta_plus) = (eta_minus, eta_plus);
        self
    }

    /// The smallest and the largest step size, the one above 0, the other not below it; 1e-6 and 50 by
    /// default.
    ///
    /// # Examples
    ///
    /// ```
    /// let optimizer = fuseprop::Rprop::new(0.01).step_sizes(1e-5, 1.0);
    /// ```
    #[must_use]
    pub fn step_sizes(mut self, smallest: f64, largest: f64) -> Self {
        (self.smallest, self.largest) = (smallest, largest);
        self
    }
}

common_settings! {
    Rprop,
    /// Adds `weight_decay w` to the gradient: a penalty of `weight_decay / 2 sum w^2`. At least 0; 0 by
    /// default. PyTorch's has none.
}

impl Rule for Rprop {
    const NAME: &'static str = "rprop";

    #[cfg(feature = "files")]
    fn settings_mut(&mut self) -> Vec<(&'static str, Setting<'_>)> {
        let Self { common, eta_minus, eta_plus, smallest, largest } = self;
        common.settings_mut([
            ("eta_minus", Setting::Number(eta_minus)),
            ("eta_plus", Setting::Number(eta_plus)),
            ("smallest", Setting::Number(smallest)),
            ("largest", Setting::Number(largest)),
        ])
    }

    fn squares(&self) -> Option<RunningSquares> {
        None
    }

    fn check<T: Element>(&self) -> Result<(), Error> {
        let Self { eta_minus, eta_plus, smallest, largest, .. } = *self;
        check_setting::<T>(Argument::EtaMinus, eta_minus, eta_minus > 0.0 && eta_minus < 1.0)?;
        check_setting::<T>(Argument::EtaPlus, eta_plus, eta_plus > 1.0)?;
        let is_number = T::from_f64(smallest) > T::ZERO;
        check_setting::<T>(Argument::SmallestStep, smallest, is_number)?;
        check_setting::<T>(Argument::LargestStep, largest, largest >= smallest)
    }

    /// The gradient before, and `s`.
    fn moments(&self) -> Moments {
        Moments { count: 2, start: 0.0 }
    }

    #[inline(always)]
    fn update<L: Lanes>(&self, l: L, pass: Pass<'_, L>) {
        let Pass { step, lines, moments: [before, size, _] } = pass;
        let (zero, one, first) = (l.zero(), l.constant(1.0), l.constant(self.common.learning_rate));
        let (minus, plus) = (l.constant(self.eta_minus), l.constant(self.eta_plus));
        let (smallest, largest) = (l.constant(self.smallest), l.constant(self.largest));
        let sign = |x| l.select(l.eq(x, zero), zero, l.flip_sign(one, x));
        lines.replace(
            l,
            #[inline(always)]
            |i, w, g| {
                let s = if step == 1 { first } else { l.load(&size[i]) };
                // Of signs, for a product of small gradients vanishes.
                let agreement = l.mul(sign(g), sign(l.load(&before[i])));
                let turns = l.lt(agreement, zero);
                let factor = l.select(l.lt(zero, agreement), plus, l.select(turns, minus, one));
                let s = l.max(smallest, l.min(largest, l.mul(s, factor)));
                let s = store_flushed(l, &mut size[i], s);
                let g = store_flushed(l, &mut before[i], l.select(turns, zero, g));
                let direction = l.select(l.eq(g, g), sign(g), g);
                l.neg_mul_add(s, direction, w)
            },
        );
    }
}
