//! Gradients of random networks of depth 1 to 6, width 1 to 130 and batch 1 to 70: in `f64` against
//! differences of the loss, in `f32` against the exact ones within bounds that are carried through every
//! layer.

use crate::common::bounds::TINY;
use crate::common::case::{Case, Random, has_kinks, loss_has_kinks};
use crate::common::{bounds, gradients, isas, parameters};
use fuseprop::{Activation, Isa, Loss, Network, Parallelism, Precision, Targets, Trainer, reference};

const NETWORKS: usize = 200;

/// A random network with a batch, small where its loss has kinks: of many units one is always near its kink.
fn random_case(random: &mut Random) -> Case {
    let (batch, few) = (1 + random.below(70), 1 + random.below(9));
    let case = Case::random(random, 130, batch);
    if is_smooth(&case) { case } else { Case::random(random, 12, few) }
}

fn is_smooth(case: &Case) -> bool {
    let has_no_kink = |&activation: &Activation| !has_kinks(activation);
    case.activations.iter().all(has_no_kink) && !loss_has_kinks(case.loss)
}

#[test]
fn gradients_agree_with_differences_of_the_loss() {
    let mut random = Random(4);
    let (mut checked, mut kinks, mut flat, mut worst) = (0, 0, 0, 0.0_f64);
    for _ in 0..NETWORKS {
        let case = random_case(&mut random);
        let mut trainer = case.trainer::<f64>(Isa::detect(), Parallelism::Serial);
        case.compute_gradients(&mut trainer);
        let gradients = gradients(&trainer);
        let d_x = trainer.input_gradients().unwrap().to_vec();
        let network = trainer.into_network();
        let parameters = parameters(&network);
        let scale = gradients.iter().fold(0.0_f64, |scale, g| scale.max(g.abs()));
        flat += usize::from(scale == 0.0);

        let all = gradients.len();
        let mut compare = |slope: f64, difference: Option<f64>, scale: f64| match difference {
            Some(difference) => {
                let error = (slope - difference).abs() / (1.0 + scale);
                assert!(error <= 1e-7, "{}: {slope}, not {difference}", case.describe(Isa::detect()));
                (checked, worst) = (checked + 1, worst.max(error));
            }
            None => kinks += 1,
        };
        // Single parameters, inputs, and directions that move every parameter.
        for _ in 0..20 {
            let i = random.below(all);
            let difference = difference(&case, |step| {
                let mut moved = parameters.clone();
                moved[i] += step;
                loss_at(&case, &network, &moved, &case.x)
            });
            compare(gradients[i], difference, scale);
        }
        for _ in 0..4 {
            let i = random.below(d_x.len());
            let difference = difference(&case, |step| {
                let mut moved = case.x.clone();
                moved[i] += step;
                loss_at(&case, &network, &parameters, &moved)
            });
            compare(d_x[i], difference, scale);
        }
        for _ in 0..2 {
            let direction: Vec<f64> = (0..all).map(|_| random.value() / (all as f64).sqrt()).collect();
            let slope: f64 = gradients.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let difference = difference(&case, |step| {
                let moved: Vec<f64> = parameters.iter().zip(&direction).map(|(p, d)| p + step * d).collect();
                loss_at(&case, &network, &moved, &case.x)
            });
            compare(slope, difference, scale);
        }
    }
    println!(
        "RESULT gradients networks={NETWORKS} slopes={checked} worst={worst:.1e} limit=1e-7 at_kinks={kinks} flat={flat}"
    );
    // Weights of 0, of the samples or of their classes, and a single class leave no gradient.
    assert!(flat < NETWORKS / 8 && kinks < NETWORKS && checked > 24 * NETWORKS);
}

/// The slope of the loss at 0, to fourth order: `(8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h`. Nothing if the
/// two second order slopes it is made of tell of a kink between.
fn difference(case: &Case, mut loss: impl FnMut(f64) -> f64) -> Option<f64> {
    let h = if is_smooth(case) { 3e-4 } else { 1e-5 };
    let near = (loss(h) - loss(-h)) / (2.0 * h);
    let far = (loss(2.0 * h) - loss(-2.0 * h)) / (4.0 * h);
    let is_kink = !is_smooth(case) && (near - far).abs() > 1e-8 * (1.0 + near.abs());
    (!is_kink).then_some((4.0 * near - far) / 3.0)
}

fn loss_at(case: &Case, network: &Network<f64>, parameters: &[f64], x: &[f64]) -> f64 {
    let mut network = network.clone();
    network.write_parameters(parameters).unwrap();
    let mut trainer = case.trainer_of(network, Parallelism::Serial);
    trainer.compute_gradients(x, case.targets()).unwrap()
}

#[test]
fn f32_gradients_are_within_their_running_bounds() {
    check_running_bounds(Precision::F32);
}

#[test]
fn gradients_in_bf16_are_within_their_running_bounds() {
    check_running_bounds(Precision::Bf16);
}

fn check_running_bounds(precision: Precision) {
    let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    for isa in isas() {
        let mut random = Random(21);
        let (mut worst, mut checked, mut flat, mut bounds_of_networks) = (0.0_f64, 0, 0, Vec::new());
        let mut unbounded = 0;
        for _ in 0..NETWORKS {
            let batch = 1 + random.below(70);
            let case = Case::random(&mut random, 130, batch);
            // The exponential of an output that is off by parts of a hundred may be anything.
            let has_exponential = matches!(case.loss, Loss::PoissonNll | Loss::GaussianNll { .. });
            if precision == Precision::Bf16 && has_exponential {
                continue;
            }
            // What is given is exact in f32.
            let case = Case {
                x: wide(narrow(&case.x)),
                values: wide(narrow(&case.values)),
                weights: case.weights.map(|weights| wide(narrow(&weights))),
                class_weights: case.class_weights.map(|weights| wide(narrow(&weights))),
                precision,
                pos_weight: case.pos_weight.map(|weights| wide(narrow(&weights))),
                ..case
            };
            let network = case.network::<f32>(isa);
            let model = reference::Model::of(&network);
            let bounds = bounds::gradients(&case, &model, isa);
            let expected = case.expected(&model).1;

            let mut trainer: Trainer<f32> = case.trainer_of(network, Parallelism::Serial);
            let (x, values) = (narrow(&case.x), narrow(&case.values));
            let targets: Targets<'_, f32> =
                if case.use_classes { (&case.classes).into() } else { (&values).into() };
            let weights = narrow(case.weights.as_ref().unwrap_or(&vec![1.0; batch]));
            trainer.compute_gradients(&x, targets.weights(&weights)).unwrap();
            let gradients = gradients(&trainer);
            flat += usize::from(expected.iter().all(|&g| g == 0.0));
            for (i, &gradient) in gradients.iter().enumerate() {
                let (exact, bound) = (bounds.exact[i], bounds.error[i]);
                let same = (exact - expected[i]).abs() <= 1e-9 * (1.0 + exact.abs());
                assert!(same, "the bounds are of another gradient: {exact}, not {}", expected[i]);
                // Of a softmax whose logits may be off by more than `f64` can raise e to.
                if precision == Precision::Bf16 && !bound.is_finite() {
                    unbounded += 1;
                    continue;
                }
                let ratio = (f64::from(gradient) - exact).abs() / bound;
                assert!(
                    ratio <= 1.0,
                    "{}: gradient {i} is {gradient}, not {exact} (bound {bound:e})",
                    case.describe(isa)
                );
                worst = worst.max(ratio);
                checked += 1;
            }
            let largest = |values: &[f64]| values.iter().fold(TINY, |largest, x| largest.max(x.abs()));
            bounds_of_networks.push(largest(&bounds.error) / largest(&bounds.exact));
        }
        // Of the largest gradient of each network.
        bounds_of_networks.sort_by(f64::total_cmp);
        let networks = bounds_of_networks.len();
        let median = bounds_of_networks[networks / 2];
        println!(
            "RESULT running_bounds isa={isa} precision={precision:?} networks={networks} gradients={checked} worst={worst:.3} median_bound={median:.1e}"
        );
        // The bounds say something, and come near. In bf16 each layer magnifies errors of 2^-7, so that those
        // of deep networks are far above their gradients: it is the shallow ones that come near.
        let most = if precision == Precision::F32 { 0.5 } else { f64::INFINITY };
        assert!(worst > 1e-3 && median < most && flat < networks / 8 && unbounded < checked);
    }
}
