//! Who pushes the cart, and how it learns from what it has done.

use fuseprop::{Activation, Error, Head, Init, Network, Optimizer, Trainer, Workspace};

use crate::cart::{OBSERVED, SplitMix};

const ACTIONS: usize = 2;
/// Of the network: a logit for each action, then what the state is worth.
const OUTPUTS: usize = ACTIONS + 1;
const WIDTH: usize = 64;
const BATCH: usize = 256;
/// Passes over the same experience.
const PASSES: usize = 8;
const LEARNING_RATE: f64 = 2e-3;
/// What a reward is worth a step later.
const DISCOUNT: f64 = 0.99;
/// Of the steps that an advantage looks ahead (Schulman et al. 2016).
const TRACE: f64 = 0.95;
/// How far a likelihood may move from what it was, as a ratio.
const CLIP: f64 = 0.2;
/// What it is worth to keep both actions likely.
const ENTROPY: f64 = 0.01;
/// Of the squared error of what states are worth, against the objective of the actions.
const VALUE_WEIGHT: f64 = 0.5;
/// The critic's unit, what a state is worth at most: so that its errors are of the size of the actor's, with
/// which they share the trunk and the limit of the gradient.
const VALUE_SCALE: f64 = 1.0 / (1.0 - DISCOUNT);

/// Steps of the cart in their order, in whole or broken-off episodes.
#[derive(Default)]
pub(crate) struct Experience {
    /// `[steps, OBSERVED]`.
    x: Vec<f32>,
    actions: Vec<usize>,
    /// The likelihood that each action had.
    likelihoods: Vec<f64>,
    /// For each episode the step after its last, what was seen then, and whether the pole had fallen.
    ends: Vec<(usize, [f32; OBSERVED], bool)>,
}

impl Experience {
    pub(crate) fn add(&mut self, seen: [f32; OBSERVED], action: usize, likelihood: f64) {
        self.x.extend(seen);
        self.actions.push(action);
        self.likelihoods.push(likelihood);
    }

    /// Ends an episode, unless nothing has happened in it.
    pub(crate) fn end_episode(&mut self, seen: [f32; OBSERVED], fallen: bool) {
        if self.actions.len() > self.ends.last().map_or(0, |end| end.0) {
            self.ends.push((self.actions.len(), seen, fallen));
        }
    }
}

/// A network of two heads on one trunk: one acts, and one knows what a state is worth.
pub(crate) struct Agent {
    trainer: Trainer<f32>,
    /// For one state.
    workspace: Workspace<f32>,
    /// For all of an experience, made anew when one is longer.
    experience_workspace: Workspace<f32>,
}

impl Agent {
    pub(crate) fn new(init: Init, seed: u64) -> Result<Self, Error> {
        let builder = Network::<f32>::builder(OBSERVED).init(init).seed(seed);
        let trunk = builder.dense(WIDTH, Activation::Tanh).dense(WIDTH, Activation::Tanh);
        let heads = [Head::dense(ACTIONS, Activation::Identity), Head::dense(1, Activation::Identity)];
        let mut network = trunk.heads(heads).build()?;
        // Both actions are equally likely at first.
        network.write_weights(2, &[0.0; ACTIONS * WIDTH])?;
        let (workspace, experience_workspace) = (network.workspace(1)?, network.workspace(1)?);
        let builder = Trainer::builder(network).optimizer(Optimizer::adam(LEARNING_RATE)).max_batch(BATCH);
        let trainer = builder.clip_grad_norm(0.5).custom_loss().build()?;
        Ok(Self { trainer, workspace, experience_workspace })
    }

    /// An action at random, by its likelihood.
    pub(crate) fn act(
        &mut self,
        seen: &[f32; OBSERVED],
        random: &mut SplitMix,
    ) -> Result<(usize, f64), Error> {
        let likelihoods = self.likelihoods(seen)?;
        let action = usize::from(random.uniform() >= likelihoods[0]);
        Ok((action, likelihoods[action]))
    }

    pub(crate) fn best_action(&mut self, seen: &[f32; OBSERVED]) -> Result<usize, Error> {
        let likelihoods = self.likelihoods(seen)?;
        Ok(usize::from(likelihoods[1] > likelihoods[0]))
    }

    fn likelihoods(&mut self, seen: &[f32; OBSERVED]) -> Result<[f64; ACTIONS], Error> {
        let mut outputs = [0.0; OUTPUTS];
        self.trainer.network().predict_into(seen, &mut outputs, &mut self.workspace)?;
        Ok(softmax(&outputs[..ACTIONS]))
    }

    /// Passes over the experience in shuffled batches. The learning rate is multiplied by `rate`.
    pub(crate) fn learn(
        &mut self,
        experience: &Experience,
        rate: f64,
        random: &mut SplitMix,
    ) -> Result<(), Error> {
        let (advantages, returns) = self.advantages(experience)?;
        self.trainer.set_learning_rate(LEARNING_RATE * rate)?;
        let mut order: Vec<usize> = (0..experience.actions.len()).collect();
        let (mut x, mut d_outputs) = (Vec::new(), Vec::new());
        for _ in 0..PASSES {
            random.shuffle(&mut order);
            for steps in order.chunks(BATCH) {
                x.clear();
                x.extend(steps.iter().flat_map(|&t| &experience.x[t * OBSERVED..][..OBSERVED]));
                d_outputs.clear();
                let outputs = self.trainer.forward(&x)?;
                for (&t, outputs) in steps.iter().zip(outputs.chunks_exact(OUTPUTS)) {
                    let (action, before) = (experience.actions[t], experience.likelihoods[t]);
                    let d_logits = policy_gradient(&outputs[..ACTIONS], action, before, advantages[t]);
                    // Of `VALUE_WEIGHT` times the squared distance.
                    let distance = f64::from(outputs[ACTIONS]) - f64::from(returns[t]) / VALUE_SCALE;
                    let d_value = 2.0 * VALUE_WEIGHT * distance;
                    let d = d_logits.into_iter().chain([d_value]);
                    d_outputs.extend(d.map(|d| (d / steps.len() as f64) as f32));
                }
                self.trainer.backward(&d_outputs)?;
                self.trainer.apply_gradients()?;
            }
        }
        Ok(())
    }

    /// How much better each step was than expected, with mean 0 and deviation 1, and what each state was
    /// worth: generalized advantage estimation (Schulman et al. 2016).
    fn advantages(&mut self, experience: &Experience) -> Result<(Vec<f64>, Vec<f32>), Error> {
        let values = self.values(&experience.x)?;
        let (mut advantages, mut returns) = (vec![0.0; values.len()], vec![0.0; values.len()]);
        let mut start = 0;
        for &(end, seen, fallen) in &experience.ends {
            // An episode that was broken off would have gone on.
            let mut next = if fallen { 0.0 } else { f64::from(self.values(&seen)?[0]) };
            let mut advantage = 0.0;
            for t in (start..end).rev() {
                let surprise = 1.0 + DISCOUNT * next - f64::from(values[t]);
                advantage = surprise + DISCOUNT * TRACE * advantage;
                next = f64::from(values[t]);
                advantages[t] = advantage;
                returns[t] = (advantage + next) as f32;
            }
            start = end;
        }
        let n = advantages.len() as f64;
        let mean = advantages.iter().sum::<f64>() / n;
        let deviation = (advantages.iter().map(|a| (a - mean).powi(2)).sum::<f64>() / n).sqrt() + 1e-8;
        advantages.iter_mut().for_each(|a| *a = (*a - mean) / deviation);
        Ok((advantages, returns))
    }

    /// What each state is worth.
    fn values(&mut self, x: &[f32]) -> Result<Vec<f32>, Error> {
        let rows = x.len() / OBSERVED;
        if rows > self.experience_workspace.max_batch() {
            self.experience_workspace = self.trainer.network().workspace(rows)?;
        }
        let mut outputs = vec![0.0; rows * OUTPUTS];
        self.trainer.network().predict_into(x, &mut outputs, &mut self.experience_workspace)?;
        let value = |outputs: &[f32]| (f64::from(outputs[ACTIONS]) * VALUE_SCALE) as f32;
        Ok(outputs.chunks_exact(OUTPUTS).map(value).collect())
    }
}

/// The gradient, with respect to the logits, of `-min(r a, clip(r, 1 - c, 1 + c) a) - e H`: `r` is the
/// likelihood of the action now to what it was, `a` its advantage, `H` the entropy.
fn policy_gradient(logits: &[f32], action: usize, before: f64, advantage: f64) -> [f64; ACTIONS] {
    let p = softmax(logits);
    let ratio = p[action] / before;
    let clipped = if advantage > 0.0 { ratio > 1.0 + CLIP } else { ratio < 1.0 - CLIP };
    let pull = if clipped { 0.0 } else { ratio * advantage };
    let entropy = -p.iter().map(|p| p * p.max(1e-12).ln()).sum::<f64>();
    std::array::from_fn(|j| {
        let d_log = f64::from(u8::from(j == action)) - p[j];
        -pull * d_log + ENTROPY * p[j] * (p[j].max(1e-12).ln() + entropy)
    })
}

fn softmax(logits: &[f32]) -> [f64; ACTIONS] {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let e: [f64; ACTIONS] = std::array::from_fn(|j| f64::from(logits[j] - max).exp());
    e.map(|value| value / e.iter().sum::<f64>())
}
