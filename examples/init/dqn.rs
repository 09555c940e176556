//! Deep Q-learning (Mnih et al. 2015) on the cart: a network says what each push is worth, `Q`, and learns
//! from a memory of pushes that `Q = reward + DISCOUNT * max Q'`, with `Q'` of a copy that is renewed now and
//! then.

use fuseprop::{Activation, Error, Init, Network, Optimizer, Targets, Trainer};

use crate::cart::{Cart, OBSERVED, SplitMix};

const ACTIONS: usize = 2;
const WIDTH: usize = 128;
const LEARNING_RATE: f64 = 1e-3;
/// Each step that the pole stands earns 1, so that no state is worth more than `1 / (1 - DISCOUNT)`, 100.
const DISCOUNT: f32 = 0.99;
const STEPS: usize = 30_000;
/// Steps before learning starts.
const WARM_UP: usize = 1_000;
const MEMORY: usize = 10_000;
const BATCH: usize = 64;
/// Steps between two copies to the target network.
const COPY_EVERY: usize = 100;
/// Of actions at random: falls from 1 to this in the first tenth of the steps.
const EXPLORATION: f64 = 0.05;
/// Episodes after learning.
const TESTS: usize = 20;

/// A push: what was seen before and after it.
struct Transition {
    seen: [f32; OBSERVED],
    action: usize,
    next: [f32; OBSERVED],
    fallen: bool,
}

/// What came of it.
pub(crate) struct Learned {
    /// The largest, over stretches of [`COPY_EVERY`] steps, of the mean of `max Q` over the states learned
    /// from.
    pub highest_q: f64,
    /// The mean length of test episodes, at most 500.
    pub length: f64,
}

pub(crate) fn learn(init: Init, seed: u64) -> Result<Learned, Error> {
    let builder = Network::<f32>::builder(OBSERVED).init(init).dense(WIDTH, Activation::Relu);
    let builder = builder.dense(WIDTH, Activation::Relu).dense(ACTIONS, Activation::Identity);
    let network = builder.seed(seed).build()?;
    let (mut target, mut workspace) = (network.clone(), network.workspace(BATCH)?);
    let optimizer = Optimizer::adam(LEARNING_RATE);
    let mut trainer = Trainer::builder(network).optimizer(optimizer).max_batch(BATCH).build()?;

    let mut random = SplitMix(seed);
    let mut memory: Vec<Transition> = Vec::with_capacity(MEMORY);
    let mut cart = Cart::new(&mut random);
    let mut q = [0.0; BATCH * ACTIONS];
    let (mut highest_q, mut sum_of_q) = (f64::NEG_INFINITY, 0.0);
    for step in 0..STEPS {
        let seen = cart.observe();
        let exploration = (1.0 - 10.0 * step as f64 / STEPS as f64).max(EXPLORATION);
        let action = if random.uniform() < exploration {
            usize::from(random.uniform() < 0.5)
        } else {
            trainer.network().predict_into(&seen, &mut q[..ACTIONS], &mut workspace)?;
            usize::from(q[1] > q[0])
        };
        cart.push(action);
        let (next, fallen) = (cart.observe(), cart.has_fallen());
        let transition = Transition { seen, action, next, fallen };
        match memory.len() < MEMORY {
            true => memory.push(transition),
            false => memory[step % MEMORY] = transition,
        }
        if fallen || cart.is_over() {
            cart = Cart::new(&mut random);
        }
        if step < WARM_UP {
            continue;
        }

        let batch: [&Transition; BATCH] =
            std::array::from_fn(|_| &memory[(random.uniform() * memory.len() as f64) as usize]);
        let next: Vec<f32> = batch.iter().flat_map(|transition| transition.next).collect();
        target.predict_into(&next, &mut q, &mut workspace)?;
        // Only the outputs of the actions that were taken have a target.
        let (mut targets, mut mask) = ([0.0; BATCH * ACTIONS], [0.0; BATCH * ACTIONS]);
        for (row, transition) in batch.iter().enumerate() {
            let best = q[row * ACTIONS].max(q[row * ACTIONS + 1]);
            sum_of_q += f64::from(best);
            let index = row * ACTIONS + transition.action;
            targets[index] = 1.0 + if transition.fallen { 0.0 } else { DISCOUNT * best };
            mask[index] = 1.0;
        }
        let x: Vec<f32> = batch.iter().flat_map(|transition| transition.seen).collect();
        trainer.step(&x, Targets::from(&targets).mask(&mask))?;
        if (step + 1) % COPY_EVERY == 0 {
            target.copy_from(trainer.network())?;
            highest_q = highest_q.max(sum_of_q / (COPY_EVERY * BATCH) as f64);
            sum_of_q = 0.0;
        }
    }
    let mut steps = 0;
    for _ in 0..TESTS {
        let mut cart = Cart::new(&mut random);
        while !cart.has_fallen() && !cart.is_over() {
            trainer.network().predict_into(&cart.observe(), &mut q[..ACTIONS], &mut workspace)?;
            cart.push(usize::from(q[1] > q[0]));
            steps += 1;
        }
    }
    Ok(Learned { highest_q, length: f64::from(steps) / TESTS as f64 })
}
