//! How gradients change parameters: everything about an optimizer is said here.

use crate::error::Argument;
use crate::error::Error;
use crate::float_math::power;
use crate::simd::lanes::Lanes;
use crate::simd::lanes::LineOf;
use crate::simd::scalar::Element;

/// The rule that turns gradients into new parameters, as in `torch.optim`: formulas, names and defaults are
/// PyTorch's. Weight decay reaches biases too, as there. Running sums are kept as 0 where they are denormal, below
/// `MIN_POSITIVE` in magnitude. Settings are checked when a trainer is built, which also refuses those that a rule has
/// no use for.
///
/// ```
/// use fuseprop::Optimizer;
///
/// let heavy_ball = Optimizer::sgd(0.1).momentum(0.9);
/// let adam = Optimizer::adam(1e-3).betas(0.9, 0.95).weight_decay(1e-4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimizer {
    learning_rate: f64,
    weight_decay: f64,
    l1: f64,
    rule: Rule,
    /// The first setting that the rule has no use for.
    unused: Option<Argument>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    Sgd { momentum: f64, dampening: f64, nesterov: bool },
    Adam { beta1: f64, beta2: f64, epsilon: f64, amsgrad: bool, decoupled: bool },
    RmsProp { alpha: f64, epsilon: f64, momentum: f64, centered: bool },
    Adagrad { learning_rate_decay: f64, initial_accumulator: f64, epsilon: f64 },
}

/// Most running sums that a rule keeps beside each parameter.
pub const MAX_MOMENTS: usize = 3;

/// Smallest `epsilon`: a normal number in `f32`, so that nothing is divided by 0.
const MIN_EPSILON: f64 = 1e-30;

impl Optimizer {
    /// Gradient descent, `w = w - learning_rate g`. `torch.optim.SGD`.
    ///
    /// With [`Optimizer::momentum`] `m`: `b = m b + (1 - dampening) g`, where the first `b` is `g`, and
    /// `w = w - learning_rate b`; with [`Optimizer::nesterov`] `w = w - learning_rate (g + m b)`.
    pub fn sgd(learning_rate: f64) -> Self {
        Self::new(learning_rate, Rule::Sgd { momentum: 0.0, dampening: 0.0, nesterov: false })
    }

    /// `m = m + (1 - beta1) (g - m)`, `v = beta2 v + (1 - beta2) g^2`, and at step `t`
    /// `w = w - learning_rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon)` (Kingma and Ba 2015).
    /// `torch.optim.Adam`: betas 0.9 and 0.999, epsilon 1e-8. Weight decay is added to the gradient.
    pub fn adam(learning_rate: f64) -> Self {
        let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
        Self::new(learning_rate, Rule::Adam { beta1, beta2, epsilon, amsgrad: false, decoupled: false })
    }

    /// [`Optimizer::adam`] with `w = w - learning_rate weight_decay w` before each step instead of a decay in the
    /// gradient (Loshchilov and Hutter 2019). `torch.optim.AdamW`: a weight decay of 0.01.
    pub fn adamw(learning_rate: f64) -> Self {
        let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
        Self::new(learning_rate, Rule::Adam { beta1, beta2, epsilon, amsgrad: false, decoupled: true })
            .weight_decay(0.01)
    }

    /// `v = alpha v + (1 - alpha) g^2`, `w = w - learning_rate g / (sqrt v + epsilon)` (Tieleman and Hinton 2012).
    /// `torch.optim.RMSprop`: alpha 0.99, epsilon 1e-8.
    ///
    /// With [`Optimizer::momentum`] `m`: `b = m b + g / (sqrt v + epsilon)`, `w = w - learning_rate b`. With
    /// [`Optimizer::centered`] `v - a^2` stands for `v`, where `a = a + (1 - alpha) (g - a)` (Graves 2013).
    pub fn rms_prop(learning_rate: f64) -> Self {
        let rule = Rule::RmsProp { alpha: 0.99, epsilon: 1e-8, momentum: 0.0, centered: false };
        Self::new(learning_rate, rule)
    }

    /// `s = s + g^2`, `w = w - learning_rate / (1 + (t - 1) learning_rate_decay) g / (sqrt s + epsilon)` (Duchi,
    /// Hazan and Singer 2011). `torch.optim.Adagrad`: no decay, `s` from 0, epsilon 1e-10.
    pub fn adagrad(learning_rate: f64) -> Self {
        let rule = Rule::Adagrad { learning_rate_decay: 0.0, initial_accumulator: 0.0, epsilon: 1e-10 };
        Self::new(learning_rate, rule)
    }

    fn new(learning_rate: f64, rule: Rule) -> Self {
        Self { learning_rate, weight_decay: 0.0, l1: 0.0, rule, unused: None }
    }

    /// Adds `weight_decay w` to the gradient: an L2 penalty of `weight_decay / 2 sum w^2`. For
    /// [`Optimizer::adamw`] the decay is decoupled from the gradient.
    #[must_use]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = weight_decay;
        self
    }

    /// Adds `l1 sign(w)` to the gradient: an L1 penalty of `l1 sum |w|`.
    #[must_use]
    pub fn l1(mut self, l1: f64) -> Self {
        self.l1 = l1;
        self
    }

    /// For [`Optimizer::sgd`] and [`Optimizer::rms_prop`]; 0 by default.
    #[must_use]
    pub fn momentum(mut self, value: f64) -> Self {
        match &mut self.rule {
            Rule::Sgd { momentum, .. } | Rule::RmsProp { momentum, .. } => *momentum = value,
            _ => self.refuse(Argument::Momentum),
        }
        self
    }

    /// The part of a gradient that does not enter the momentum, for [`Optimizer::sgd`]; 0 by default.
    #[must_use]
    pub fn dampening(mut self, value: f64) -> Self {
        match &mut self.rule {
            Rule::Sgd { dampening, .. } => *dampening = value,
            _ => self.refuse(Argument::Dampening),
        }
        self
    }

    /// Nesterov's momentum, for [`Optimizer::sgd`] with momentum and without dampening (Sutskever et al. 2013).
    #[must_use]
    pub fn nesterov(mut self) -> Self {
        match &mut self.rule {
            Rule::Sgd { nesterov, .. } => *nesterov = true,
            _ => self.refuse(Argument::Nesterov),
        }
        self
    }

    /// For [`Optimizer::adam`] and [`Optimizer::adamw`]; each at least 0 and below 1.
    #[must_use]
    pub fn betas(mut self, first: f64, second: f64) -> Self {
        match &mut self.rule {
            Rule::Adam { beta1, beta2, .. } => (*beta1, *beta2) = (first, second),
            _ => self.refuse(Argument::Betas),
        }
        self
    }

    /// Divides by the largest `v` so far, for [`Optimizer::adam`] and [`Optimizer::adamw`] (Reddi, Kale and Kumar
    /// 2018).
    #[must_use]
    pub fn amsgrad(mut self) -> Self {
        match &mut self.rule {
            Rule::Adam { amsgrad, .. } => *amsgrad = true,
            _ => self.refuse(Argument::Amsgrad),
        }
        self
    }

    /// For all but [`Optimizer::sgd`]; at least 1e-30.
    #[must_use]
    pub fn epsilon(mut self, value: f64) -> Self {
        match &mut self.rule {
            Rule::Adam { epsilon, .. } | Rule::RmsProp { epsilon, .. } | Rule::Adagrad { epsilon, .. } => {
                *epsilon = value;
            }
            Rule::Sgd { .. } => self.refuse(Argument::Epsilon),
        }
        self
    }

    /// For [`Optimizer::rms_prop`]; at least 0 and below 1.
    #[must_use]
    pub fn alpha(mut self, value: f64) -> Self {
        match &mut self.rule {
            Rule::RmsProp { alpha, .. } => *alpha = value,
            _ => self.refuse(Argument::Alpha),
        }
        self
    }

    /// Divides by an estimate of the deviation instead of the root mean square, for [`Optimizer::rms_prop`].
    #[must_use]
    pub fn centered(mut self) -> Self {
        match &mut self.rule {
            Rule::RmsProp { centered, .. } => *centered = true,
            _ => self.refuse(Argument::Centered),
        }
        self
    }

    /// For [`Optimizer::adagrad`].
    #[must_use]
    pub fn learning_rate_decay(mut self, value: f64) -> Self {
        match &mut self.rule {
            Rule::Adagrad { learning_rate_decay, .. } => *learning_rate_decay = value,
            _ => self.refuse(Argument::LearningRateDecay),
        }
        self
    }

    /// Where the sums of squares start, for [`Optimizer::adagrad`].
    #[must_use]
    pub fn initial_accumulator(mut self, value: f64) -> Self {
        match &mut self.rule {
            Rule::Adagrad { initial_accumulator, .. } => *initial_accumulator = value,
            _ => self.refuse(Argument::InitialAccumulator),
        }
        self
    }

    /// The step size.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// The same rule with another step size.
    pub(crate) fn with_learning_rate<T: Element>(self, learning_rate: f64) -> Result<Self, Error> {
        Self { learning_rate, ..self }.checked::<T>()
    }

    fn refuse(&mut self, setting: Argument) {
        self.unused = self.unused.or(Some(setting));
    }

    fn name(&self) -> Argument {
        match self.rule {
            Rule::Sgd { .. } => Argument::Sgd,
            Rule::Adam { .. } => Argument::Adam,
            Rule::RmsProp { .. } => Argument::RmsProp,
            Rule::Adagrad { .. } => Argument::Adagrad,
        }
    }

    /// Refuses settings out of range, of the element type too, or without a use.
    pub(crate) fn checked<T: Element>(self) -> Result<Self, Error> {
        if let Some(what) = self.unused {
            return Err(Error::Unused { argument: what, with: self.name() });
        }
        let not_negative = |what, value: f64| (what, value, value >= 0.0 && T::holds(value));
        let share = |what, value: f64| (what, value, (0.0..1.0).contains(&value));
        let small = |value: f64| (Argument::Epsilon, value, value >= MIN_EPSILON && T::holds(value));
        let none = (Argument::LearningRate, 0.0, true);
        let of_rule = match self.rule {
            Rule::Sgd { momentum, dampening, nesterov: true } if momentum <= 0.0 || dampening != 0.0 => {
                return Err(Error::Unused { argument: Argument::Nesterov, with: Argument::PlainSgd });
            }
            Rule::Sgd { momentum, dampening, .. } => {
                let finite = (Argument::Dampening, dampening, T::holds(dampening));
                [not_negative(Argument::Momentum, momentum), finite, none]
            }
            Rule::Adam { beta1, beta2, epsilon, .. } => {
                [share(Argument::Beta1, beta1), share(Argument::Beta2, beta2), small(epsilon)]
            }
            Rule::RmsProp { alpha, epsilon, momentum, .. } => {
                [share(Argument::Alpha, alpha), small(epsilon), not_negative(Argument::Momentum, momentum)]
            }
            Rule::Adagrad { learning_rate_decay, initial_accumulator, epsilon } => [
                not_negative(Argument::LearningRateDecay, learning_rate_decay),
                not_negative(Argument::InitialAccumulator, initial_accumulator),
                small(epsilon),
            ],
        };
        let general = [
            not_negative(Argument::LearningRate, self.learning_rate),
            not_negative(Argument::WeightDecay, self.weight_decay),
            not_negative(Argument::L1, self.l1),
        ];
        match general.into_iter().chain(of_rule).find(|&(_, _, right)| !right) {
            Some((what, value, _)) => Err(Error::Setting { argument: what, value }),
            None => Ok(self),
        }
    }

    /// What each running sum starts from; as many as the rule keeps.
    pub(crate) fn moments(&self) -> impl Iterator<Item = f64> {
        let (count, start) = match self.rule {
            Rule::Sgd { momentum, .. } => (usize::from(momentum > 0.0), 0.0),
            Rule::Adam { amsgrad, .. } => (2 + usize::from(amsgrad), 0.0),
            Rule::RmsProp { momentum, centered, .. } => {
                (1 + usize::from(momentum > 0.0) + usize::from(centered), 0.0)
            }
            Rule::Adagrad { initial_accumulator, .. } => (1, initial_accumulator),
        };
        core::iter::repeat_n(start, count)
    }
}

/// One step of an optimizer.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    pub optimizer: Optimizer,
    /// 1 for the first.
    pub step: u64,
    /// What the gradient is multiplied by, before anything else.
    pub scale: f64,
    /// Largest magnitude of an element of the scaled gradient.
    pub limit: f64,
}

impl Update {
    /// The learning rate, if the update is that times the gradient and nothing else.
    pub(crate) fn plain_descent(&self) -> Option<f64> {
        let Optimizer { rule, learning_rate, .. } = self.optimizer;
        let is_plain = matches!(rule, Rule::Sgd { momentum: 0.0, .. }) && self.takes_gradients_as_they_are();
        is_plain.then_some(learning_rate)
    }

    /// Whether the rule starts from the gradient without scale, limit or penalty.
    #[inline(always)]
    fn takes_gradients_as_they_are(&self) -> bool {
        self.scale == 1.0 && self.limit == f64::INFINITY && self.decay() == 0.0 && self.optimizer.l1 == 0.0
    }

    /// What times the parameters is added to the gradient.
    #[inline(always)]
    fn decay(&self) -> f64 {
        match self.optimizer.rule {
            Rule::Adam { decoupled: true, .. } => 0.0,
            _ => self.optimizer.weight_decay,
        }
    }
}

/// Parameters and their gradient.
type Pair<'a, L> = (&'a mut [LineOf<L>], &'a [LineOf<L>]);
type Moments<'a, L> = [&'a mut [LineOf<L>]; MAX_MOMENTS];

/// One step over some parameters, their gradient, and the running sums that the rule keeps. Elements that are all
/// 0 stay 0, so that padding does.
pub(crate) fn update<L: Lanes>(
    l: L,
    parameters: &mut [LineOf<L>],
    gradients: &[LineOf<L>],
    moments: Moments<'_, L>,
    update: &Update,
) {
    l.vectorize(
        #[inline(always)]
        || update_lines(l, parameters, gradients, moments, update),
    );
}

/// [`update`] beneath a crossing.
#[inline(always)]
pub(crate) fn update_lines<L: Lanes>(
    l: L,
    parameters: &mut [LineOf<L>],
    gradients: &[LineOf<L>],
    moments: Moments<'_, L>,
    update: &Update,
) {
    let step = Step { l, update };
    let lines = (parameters, gradients);
    match update.optimizer.rule {
        Rule::Sgd { momentum: 0.0, .. } => step.descend(lines),
        Rule::Sgd { momentum, dampening, nesterov } => {
            step.momentum(lines, moments, (momentum, dampening), nesterov);
        }
        Rule::Adam { beta1, beta2, epsilon, amsgrad, decoupled } => {
            step.adam(lines, moments, (beta1, beta2, epsilon), (amsgrad, decoupled));
        }
        Rule::RmsProp { alpha, epsilon, momentum, centered } => {
            step.rms_prop(lines, moments, (alpha, epsilon, momentum), centered);
        }
        Rule::Adagrad { learning_rate_decay, epsilon, .. } => {
            step.adagrad(lines, moments, (learning_rate_decay, epsilon));
        }
    }
}

/// Keeps a parameter or a running sum, as 0 where it is denormal: on many processors those that fade away would take ten
/// times as long each, in every later step. A line of sixteen pays 0.1 ns for it with AVX-512 and 0.2 ns with AVX2 inside an L1, of 0.7 to 4 ns that its
/// update takes, and nothing beyond, where memory is awaited.
#[inline(always)]
fn store<L: Lanes>(l: L, line: &mut LineOf<L>, v: L::Vector) -> L::Vector {
    let v = l.flushed(v);
    l.store(line, v);
    v
}

/// What every rule does first with a gradient.
struct Step<'a, L> {
    l: L,
    update: &'a Update,
}

impl<L: Lanes> Step<'_, L> {
    #[inline(always)]
    fn descend(&self, lines: Pair<'_, L>) {
        let l = self.l;
        let rate = l.constant(self.rate());
        self.each(
            lines,
            #[inline(always)]
            |_, w, g| l.neg_mul_add(rate, g, w),
        );
    }

    #[inline(always)]
    fn momentum(
        &self,
        lines: Pair<'_, L>,
        [buffer, ..]: Moments<'_, L>,
        (momentum, dampening): (f64, f64),
        nesterov: bool,
    ) {
        let l = self.l;
        let rate = l.constant(self.rate());
        let enters = if self.update.step == 1 { 1.0 } else { 1.0 - dampening };
        let (momentum, enters) = (l.constant(momentum), l.constant(enters));
        self.each(
            lines,
            #[inline(always)]
            |i, w, g| {
                let b = l.mul_add(momentum, l.load(&buffer[i]), l.mul(enters, g));
                store(l, &mut buffer[i], b);
                let direction = if nesterov { l.mul_add(momentum, b, g) } else { b };
                l.neg_mul_add(rate, direction, w)
            },
        );
    }

    #[inline(always)]
    fn adam(
        &self,
        lines: Pair<'_, L>,
        [first, second, largest]: Moments<'_, L>,
        (beta1, beta2, epsilon): (f64, f64, f64),
        (amsgrad, decoupled): (bool, bool),
    ) {
        let l = self.l;
        let &Update { step, ref optimizer, .. } = self.update;
        let rate = l.constant(self.rate() / (1.0 - power(beta1, step)));
        let root = l.constant(1.0 / (1.0 - power(beta2, step)).sqrt());
        let (enters1, enters2) = (l.constant(1.0 - beta1), l.constant(1.0 - beta2));
        let (beta2, epsilon) = (l.constant(beta2), l.constant(epsilon));
        let keep = l.constant(1.0 - self.rate() * optimizer.weight_decay);
        self.each(
            lines,
            #[inline(always)]
            |i, w, g| {
                let m = l.load(&first[i]);
                let m = store(l, &mut first[i], l.mul_add(enters1, l.sub(g, m), m));
                let v = l.mul_add(beta2, l.load(&second[i]), l.mul(l.mul(enters2, g), g));
                let mut v = store(l, &mut second[i], v);
                if amsgrad {
                    let larger = l.max(l.load(&largest[i]), v);
                    v = store(l, &mut largest[i], larger);
                }
                let w = if decoupled { l.mul(w, keep) } else { w };
                let denominator = l.mul_add(l.sqrt(v), root, epsilon);
                l.neg_mul_add(rate, l.div(m, denominator), w)
            },
        );
    }

    #[inline(always)]
    fn rms_prop(
        &self,
        lines: Pair<'_, L>,
        [square, second, third]: Moments<'_, L>,
        (alpha, epsilon, momentum): (f64, f64, f64),
        centered: bool,
    ) {
        let l = self.l;
        let (rate, enters) = (l.constant(self.rate()), l.constant(1.0 - alpha));
        let (alpha, epsilon, m) = (l.constant(alpha), l.constant(epsilon), l.constant(momentum));
        let (mean, buffer) = if centered { (second, third) } else { (third, second) };
        self.each(
            lines,
            #[inline(always)]
            |i, w, g| {
                let v = l.mul_add(alpha, l.load(&square[i]), l.mul(l.mul(enters, g), g));
                let mut v = store(l, &mut square[i], v);
                if centered {
                    let a = l.load(&mean[i]);
                    let a = store(l, &mut mean[i], l.mul_add(enters, l.sub(g, a), a));
                    // Rounding may take it below 0.
                    v = l.max(l.zero(), l.neg_mul_add(a, a, v));
                }
                let mut direction = l.div(g, l.add(l.sqrt(v), epsilon));
                if momentum > 0.0 {
                    let b = l.mul_add(m, l.load(&buffer[i]), direction);
                    direction = store(l, &mut buffer[i], b);
                }
                l.neg_mul_add(rate, direction, w)
            },
        );
    }

    #[inline(always)]
    fn adagrad(&self, lines: Pair<'_, L>, [sum, ..]: Moments<'_, L>, (decay, epsilon): (f64, f64)) {
        let l = self.l;
        let slowed = 1.0 + (self.update.step - 1) as f64 * decay;
        let (rate, epsilon) = (l.constant(self.rate() / slowed), l.constant(epsilon));
        self.each(
            lines,
            #[inline(always)]
            |i, w, g| {
                let s = l.mul_add(g, g, l.load(&sum[i]));
                let s = store(l, &mut sum[i], s);
                l.neg_mul_add(rate, l.div(g, l.add(l.sqrt(s), epsilon)), w)
            },
        );
    }

    #[inline(always)]
    fn rate(&self) -> f64 {
        self.update.optimizer.learning_rate
    }

    /// Replaces each line of parameters by `f` of its index, itself, and its gradient with penalties.
    #[inline(always)]
    fn each(
        &self,
        (parameters, gradients): Pair<'_, L>,
        mut f: impl FnMut(usize, L::Vector, L::Vector) -> L::Vector,
    ) {
        let l = self.l;
        if self.update.takes_gradients_as_they_are() {
            for (i, (w, g)) in parameters.iter_mut().zip(gradients).enumerate() {
                let updated = f(i, l.load(w), l.load(g));
                store(l, w, updated);
            }
            return;
        }
        let &Update { ref optimizer, scale, limit, .. } = self.update;
        let (scale, low, high) = (l.constant(scale), l.constant(-limit), l.constant(limit));
        let (decay, l1, zero) = (l.constant(self.update.decay()), l.constant(optimizer.l1), l.zero());
        for (i, (line, g)) in parameters.iter_mut().zip(gradients).enumerate() {
            let (w, g) = (l.load(line), l.mul(l.load(g), scale));
            let g = l.max(low, l.min(high, g));
            let sign = l.select(l.eq(w, zero), zero, l.flip_sign(l1, w));
            let g = l.add(l.mul_add(decay, w, g), sign);
            let updated = f(i, w, g);
            store(l, line, updated);
        }
    }
}
