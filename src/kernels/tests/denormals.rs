//! What an optimizer keeps is 0 or a number of full precision, however small the gradients become: sums that fade away
//! (`m = 0.9 m` when no gradient comes) would else stay denormal for good, and slow every later step.

use super::available;
use crate::element::Sealed as Element;
use crate::kernels::Kernels;
use crate::kernels::lanes::{Line, elements, elements_mut};
use crate::optimizer::{MAX_MOMENTS, Optimizer, Update};

const STEPS: u64 = 100_000;

/// Each keeps all the sums that its rule can keep; small second betas let squares fade in `f64` too.
fn optimizers() -> [Optimizer; 9] {
    [
        Optimizer::sgd(0.1).momentum(0.9),
        Optimizer::sgd(0.1).momentum(0.99).dampening(0.5),
        Optimizer::sgd(0.1).momentum(0.5).nesterov(),
        Optimizer::adam(0.1),
        Optimizer::adam(0.1).betas(0.99, 0.9).amsgrad(),
        Optimizer::adamw(0.1).betas(0.5, 0.5),
        Optimizer::rms_prop(0.1),
        Optimizer::rms_prop(0.1).alpha(0.9).momentum(0.9).centered(),
        Optimizer::adagrad(0.1),
    ]
}

/// The gradient of one lane at one step: ways to become small, in parts of the smallest normal number.
fn gradient<T: Element>(lane: usize, step: u64, random: u64) -> f64 {
    let smallest = T::MIN_NORMAL.to_f64();
    let sign = if random & 1 == 0 { 1.0 } else { -1.0 };
    match lane % 8 {
        // Ends.
        0 => f64::from(u8::from(step < 100)),
        // Fades, and becomes 0.
        1 => 0.99_f64.powi(step as i32),
        // Is denormal itself.
        2 => smallest / 100.0,
        // Has a denormal square.
        3 => smallest.sqrt() / 10.0,
        // Is of any size.
        4 => sign * smallest.powf((random >> 11) as f64 / (1_u64 << 53) as f64),
        // Differences are denormal.
        5 => smallest * (1.5 + 0.5 * sign),
        // Comes back when all has faded.
        6 => f64::from(u8::from(step % 20_000 == 1)),
        // Cancels what is there.
        _ => sign * smallest * 3.0,
    }
}

/// What a run has seen.
#[derive(Default)]
struct Seen {
    /// Sums that became 0 from something else.
    faded: usize,
    /// The smallest magnitude that was kept, in parts of the smallest normal number.
    smallest: f64,
}

/// All steps of one optimizer over a line of parameters.
fn run<T: Element>(kernels: &dyn Kernels<T>, optimizer: Optimizer, what: &str) -> Seen {
    let count = optimizer.moments().count();
    let mut moments: [Vec<T::Line>; MAX_MOMENTS] =
        core::array::from_fn(|m| vec![T::Line::ZERO; usize::from(m < count)]);
    let (mut parameters, mut gradients) = ([T::Line::ZERO], [T::Line::ZERO]);
    let mut seen = Seen { faded: 0, smallest: f64::INFINITY };
    let mut random = 1_u64;
    for step in 1..=STEPS {
        for (lane, g) in elements_mut::<T>(&mut gradients).iter_mut().enumerate() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // High bits, for the low ones of such a generator repeat soon.
            *g = T::from_f64(gradient::<T>(lane, step, random.rotate_left(1)));
        }
        let before = moments.each_ref().map(|lines| lines.clone());
        let update = Update { optimizer, step, scale: 1.0, limit: f64::INFINITY };
        kernels.update(&mut parameters, &gradients, moments.each_mut().map(Vec::as_mut_slice), &update);
        for (before, after) in before.iter().zip(&moments) {
            for (&before, &after) in elements::<T>(before).iter().zip(elements::<T>(after)) {
                let parts = after.to_f64().abs() / T::MIN_NORMAL.to_f64();
                assert!(parts == 0.0 || parts >= 1.0, "{what}, step {step}: {after} is denormal");
                seen.faded += usize::from(before != T::ZERO && after == T::ZERO);
                if parts > 0.0 {
                    seen.smallest = seen.smallest.min(parts);
                }
            }
        }
    }
    assert!(elements::<T>(&parameters).iter().any(|&w| w != T::ZERO), "{what}: nothing was learnt");
    seen
}

fn check<T: Element>() -> usize {
    let mut faded = 0;
    for (isa, kernels) in available::<T>() {
        for optimizer in optimizers() {
            let what = format!("{optimizer:?} on {isa}");
            let seen = run::<T>(kernels, optimizer, &what);
            // The sums have been down to the smallest numbers: there was something to keep out. Adagrad's only grow.
            let grows = optimizer == Optimizer::adagrad(0.1);
            assert!(grows || seen.smallest < 2.0, "{what}: never smaller than {:e}", seen.smallest);
            assert!(grows || seen.faded > 0, "{what}: no sum has faded");
            faded += seen.faded;
        }
    }
    faded
}

#[test]
fn what_an_optimizer_keeps_is_never_denormal() {
    let faded = check::<f32>() + check::<f64>();
    println!(
        "RESULT optimizer_state steps={STEPS} optimizers={} denormal=0 faded={faded}",
        optimizers().len()
    );
}
