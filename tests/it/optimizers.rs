//! Every optimizer against its formula, parameter by parameter in plain `f64`.

use crate::common::isas;
use fuseprop::{
    Activation, Adagrad, Adam, AdamW, Lion, NAdam, Network, Optimizer, RAdam, RmsProp, Rprop, Sgd, Trainer,
};

/// The parameter `w` after step `t`, from 1, by its gradient `g`, and the moments that are kept beside it.
type Step = fn(t: i32, w: f64, g: f64, kept: &mut [f64; 3]) -> f64;

/// Optimizers, what their moments start from, and their formulas.
fn rules() -> [(Optimizer, f64, Step); 14] {
    [
        (Sgd::new(0.1).weight_decay(0.01).l1(0.002).into(), 0.0, |_, w, g, _| {
            w - 0.1 * (g + 0.01 * w + 0.002 * w.signum())
        }),
        (Sgd::new(0.1).momentum(0.9).dampening(0.3).into(), 0.0, |t, w, g, [b, ..]| {
            *b = if t == 1 { g } else { 0.9 * *b + 0.7 * g };
            w - 0.1 * *b
        }),
        (Sgd::new(0.1).momentum(0.9).nesterov(true).into(), 0.0, |_, w, g, [b, ..]| {
            *b = 0.9 * *b + g;
            w - 0.1 * (g + 0.9 * *b)
        }),
        (Adam::new(0.01).betas(0.8, 0.99).epsilon(1e-3).into(), 0.0, |t, w, g, [m, v, _]| {
            (*m, *v) = (0.8 * *m + 0.2 * g, 0.99 * *v + 0.01 * g * g);
            w - 0.01 * (*m / (1.0 - 0.8_f64.powi(t))) / ((*v / (1.0 - 0.99_f64.powi(t))).sqrt() + 1e-3)
        }),
        (Adam::new(0.01).betas(0.8, 0.9).amsgrad(true).into(), 0.0, |t, w, g, [m, v, max]| {
            (*m, *v) = (0.8 * *m + 0.2 * g, 0.9 * *v + 0.1 * g * g);
            *max = max.max(*v);
            w - 0.01 * (*m / (1.0 - 0.8_f64.powi(t))) / ((*max / (1.0 - 0.9_f64.powi(t))).sqrt() + 1e-8)
        }),
        (AdamW::new(0.01).betas(0.8, 0.99).weight_decay(0.05).into(), 0.0, |t, w, g, [m, v, _]| {
            (*m, *v) = (0.8 * *m + 0.2 * g, 0.99 * *v + 0.01 * g * g);
            let step = *m / (1.0 - 0.8_f64.powi(t)) / ((*v / (1.0 - 0.99_f64.powi(t))).sqrt() + 1e-8);
            w - 0.01 * 0.05 * w - 0.01 * step
        }),
        (RmsProp::new(0.01).alpha(0.9).momentum(0.5).centered(true).into(), 0.0, |_, w, g, [v, a, b]| {
            (*v, *a) = (0.9 * *v + 0.1 * g * g, 0.9 * *a + 0.1 * g);
            *b = 0.5 * *b + g / ((*v - *a * *a).max(0.0).sqrt() + 1e-8);
            w - 0.01 * *b
        }),
        (
            Adagrad::new(0.1).learning_rate_decay(0.1).initial_accumulator(0.2).into(),
            0.2,
            |t, w, g, [s, ..]| {
                *s += g * g;
                w - 0.1 / (1.0 + f64::from(t - 1) * 0.1) * g / (s.sqrt() + 1e-10)
            },
        ),
        (NAdam::new(0.01).betas(0.8, 0.99).epsilon(1e-3).into(), 0.0, |t, w, g, kept| {
            nadam(0.004, t, w, g, kept)
        }),
        (NAdam::new(0.01).betas(0.8, 0.99).epsilon(1e-3).momentum_decay(0.5).into(), 0.0, |t, w, g, kept| {
            nadam(0.5, t, w, g, kept)
        }),
        // A divisor from the sixth step on, in no step, and in each.
        (RAdam::new(0.01).betas(0.8, 0.99).epsilon(1e-3).into(), 0.0, |t, w, g, kept| {
            radam(0.99, t, w, g, kept)
        }),
        (RAdam::new(0.01).betas(0.8, 0.6).epsilon(1e-3).into(), 0.0, |t, w, g, kept| {
            radam(0.6, t, w, g, kept)
        }),
        (Lion::new(0.01).betas(0.8, 0.9).weight_decay(0.1).into(), 0.0, |_, w, g, [m, ..]| {
            let direction = 0.8 * *m + 0.2 * g;
            *m = 0.9 * *m + 0.1 * g;
            // A direction that is 0 but for roundings has either sign.
            let sign = if direction.abs() < 1e-12 { 0.0 } else { direction.signum() };
            w - 0.01 * (sign + 0.1 * w)
        }),
        (Rprop::new(0.01).etas(0.4, 1.5).step_sizes(0.005, 0.04).into(), 0.0, |t, w, g, [before, s, _]| {
            let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
            let agreement = sign(g) * sign(*before);
            let factor = if agreement > 0.0 {
                1.5
            } else if agreement < 0.0 {
                0.4
            } else {
                1.0
            };
            *s = (if t == 1 { 0.01 } else { *s } * factor).clamp(0.005, 0.04);
            *before = if agreement < 0.0 { 0.0 } else { g };
            w - *s * sign(*before)
        }),
    ]
}

fn nadam(decay: f64, t: i32, w: f64, g: f64, [m, v, product]: &mut [f64; 3]) -> f64 {
    (*m, *v) = (0.8 * *m + 0.2 * g, 0.99 * *v + 0.01 * g * g);
    let mu = |t: i32| 0.8 * (1.0 - 0.5 * 0.96_f64.powf(f64::from(t) * decay));
    *product = if t == 1 { mu(t) } else { *product * mu(t) };
    let direction = (1.0 - mu(t)) * g / (1.0 - *product) + mu(t + 1) * *m / (1.0 - *product * mu(t + 1));
    w - 0.01 * direction / ((*v / (1.0 - 0.99_f64.powi(t))).sqrt() + 1e-3)
}

fn radam(beta2: f64, t: i32, w: f64, g: f64, [m, v, _]: &mut [f64; 3]) -> f64 {
    (*m, *v) = (0.8 * *m + 0.2 * g, beta2 * *v + (1.0 - beta2) * g * g);
    let (mean, power) = (*m / (1.0 - 0.8_f64.powi(t)), beta2.powi(t));
    let limit = 2.0 / (1.0 - beta2) - 1.0;
    let rho = limit - 2.0 * f64::from(t) * power / (1.0 - power);
    if rho <= 5.0 {
        return w - 0.01 * mean;
    }
    let r = ((rho - 4.0) * (rho - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * rho)).sqrt();
    w - 0.01 * mean * r * (1.0 - power).sqrt() / (v.sqrt() + 1e-3)
}

/// Of every size and sign, and 0.
fn gradient(t: i32, i: usize) -> f64 {
    ((i * 7 + t as usize * 5) % 11) as f64 / 5.0 - 1.0
}

#[test]
fn every_optimizer_follows_its_formula() {
    for isa in isas() {
        for (optimizer, start, step) in rules() {
            let network = Network::<f64>::builder(5).dense(3, Activation::Identity).isa(isa).build().unwrap();
            let mut trainer = Trainer::builder(network).optimizer(optimizer).build().unwrap();
            let mut expected: [f64; 18] = core::array::from_fn(|i| 0.1 * i as f64 - 0.85);
            trainer.write_parameters(&expected).unwrap();
            let mut kept = [[start; 3]; 18];
            let mut found = expected;
            for t in 1..=20 {
                let gradients: [f64; 18] = core::array::from_fn(|i| gradient(t, i));
                trainer.write_gradients(&gradients).unwrap();
                trainer.apply_gradients().unwrap();
                for ((w, g), kept) in expected.iter_mut().zip(gradients).zip(&mut kept) {
                    *w = step(t, *w, g, kept);
                }
                trainer.read_parameters(&mut found).unwrap();
                for (found, expected) in found.iter().zip(expected) {
                    // Twenty steps of at most sixteen roundings each, of parameters and directions up to 4.
                    let off = (found - expected).abs();
                    assert!(
                        off <= 20.0 * 16.0 * 4.0 * f64::EPSILON,
                        "{optimizer:?} on {isa}, step {t}: {off:e}"
                    );
                }
            }
        }
    }
}
