//! Gradients of random networks of depth 1 to 6, width 1 to 130 and batch 1 to 70: in `f64` against differences of the
//! loss, in `f32` against the exact ones within bounds that are carried through every layer.

#[path = "common/case.rs"]
mod case;
mod common;

use case::{Case, Random, has_kinks};
use common::isas;
use fuseprop::{Activation, Isa, Loss, Network, Parallelism, Reduction, Targets, Trainer, reference};

const NETWORKS: usize = 200;

/// A random network with a batch, small where its loss has kinks: of many units one is always near its kink.
fn random_case(random: &mut Random) -> Case {
    let (batch, few) = (1 + random.below(70), 1 + random.below(9));
    let case = Case::random(random, 130, batch);
    if is_smooth(&case) { case } else { Case::random(random, 12, few) }
}

fn is_smooth(case: &Case) -> bool {
    let has_no_kink = |&activation: &Activation| !has_kinks(activation);
    case.activations.iter().all(has_no_kink) && !matches!(case.loss, Loss::MeanAbsoluteError | Loss::Huber(_))
}

#[test]
fn gradients_agree_with_differences_of_the_loss() {
    let mut random = Random(4);
    let (mut checked, mut kinks, mut flat, mut worst) = (0, 0, 0, 0.0_f64);
    for _ in 0..NETWORKS {
        let case = random_case(&mut random);
        let mut trainer = case.trainer::<f64>(Isa::detect(), Parallelism::Serial);
        case.compute_gradients(&mut trainer);
        let mut gradients = vec![0.0; trainer.network().parameter_count()];
        trainer.read_gradients(&mut gradients).unwrap();
        let d_x = trainer.input_gradients().unwrap().to_vec();
        let network = trainer.into_network();
        let mut parameters = vec![0.0; gradients.len()];
        network.read_parameters(&mut parameters).unwrap();
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

/// The slope of the loss at 0, to fourth order: `(8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h`. Nothing if the two second
/// order slopes it is made of tell of a kink between.
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
    match &case.weights {
        Some(weights) => trainer.compute_gradients_weighted(x, case.targets(), weights).unwrap(),
        None => trainer.compute_gradients(x, case.targets()).unwrap(),
    }
}

/// Half a unit in the last place of 1 in `f32`.
const U: f64 = f32::EPSILON as f64 / 2.0;

/// Underflow.
const TINY: f64 = 1e-37;

/// Exact numbers, row-major, and how far `f32` may be from each: a running error analysis (Wilkinson 1963; Higham,
/// *Accuracy and Stability of Numerical Algorithms*, section 3.3).
#[derive(Clone)]
struct Bounded {
    exact: Vec<f64>,
    error: Vec<f64>,
}

impl Bounded {
    fn map(self, f: impl Fn(f64, f64) -> (f64, f64)) -> Self {
        let (exact, error) = self.exact.iter().zip(&self.error).map(|(&x, &e)| f(x, e)).unzip();
        Self { exact, error }
    }

    /// The largest magnitude that `f32` may have at an index.
    fn most(&self, i: usize) -> f64 {
        self.exact[i].abs() + self.error[i]
    }
}

/// `n u / (1 - n u)`, of twice as many roundings where products are rounded apart.
fn gamma(isa: Isa, n: usize) -> f64 {
    let n = if isa == Isa::Portable { 2 * n } else { n } as f64;
    n * U / (1.0 - n * U)
}

/// `z = x W^T + b`.
fn dense(x: &Bounded, layer: &reference::Layer, batch: usize, isa: Isa) -> Bounded {
    let (k, n) = (layer.inputs, layer.outputs);
    let exact = reference::dense(&x.exact, &layer.weights, &layer.biases, batch, k, n);
    let error = (0..batch * n).map(|i| {
        let (row, o) = (i / n, i % n);
        let (mut from_x, mut magnitude) = (0.0, layer.biases[o].abs());
        for l in 0..k {
            let w = layer.weights[o * k + l].abs();
            from_x += w * x.error[row * k + l];
            magnitude += w * x.most(row * k + l);
        }
        from_x + gamma(isa, k + 2) * magnitude + TINY
    });
    let error = error.collect();
    Bounded { exact, error }
}

/// What an activation does to errors.
struct Shape {
    /// Largest slope.
    slope: f64,
    /// How fast the slope changes with the sum, or with the output where that tells it.
    bend: f64,
    by_output: bool,
    /// Where the slope jumps, and how far.
    jumps: Vec<(f64, f64)>,
}

fn shape(activation: Activation) -> Shape {
    let of = |slope: f64, bend: f64, by_output: bool, jumps: &[(f64, f64)]| Shape {
        slope,
        bend,
        by_output,
        jumps: jumps.to_vec(),
    };
    match activation {
        Activation::Identity | Activation::Softmax => of(1.0, 0.0, true, &[]),
        Activation::Sigmoid => of(0.25, 1.0, true, &[]),
        Activation::Tanh => of(1.0, 2.0, true, &[]),
        Activation::Relu => of(1.0, 0.0, true, &[(0.0, 1.0)]),
        Activation::LeakyRelu(slope) => of(1.0, 0.0, true, &[(0.0, 1.0 - slope)]),
        Activation::Elu(alpha) => of(1.0, 1.0, true, &[(0.0, 1.0 - alpha)]),
        Activation::Selu => of(1.76, 1.0, true, &[(0.0, 0.71)]),
        Activation::Gelu | Activation::GeluTanh => of(1.13, 1.0, false, &[]),
        Activation::Silu => of(1.1, 0.5, false, &[]),
        Activation::Softplus => of(1.0, 1.0, true, &[]),
        Activation::HardSigmoid => of(1.0 / 6.0, 0.0, true, &[(-3.0, 1.0 / 6.0), (3.0, 1.0 / 6.0)]),
        Activation::HardTanh(low, high) => of(1.0, 0.0, true, &[(low, 1.0), (high, 1.0)]),
        Activation::SquaredClippedRelu => of(2.0, 2.0, false, &[(1.0, 2.0)]),
        Activation::Sine(frequency) => of(frequency, frequency * frequency, false, &[]),
        other => unreachable!("{other:?} is not among the random ones"),
    }
}

/// `y = f(z)`: errors of the sum grow by the slope, and the function has its own, of at most eight units.
fn activate(activation: Activation, z: &Bounded, cols: usize) -> Bounded {
    if activation == Activation::Softmax {
        return softmax(z, cols);
    }
    let slope = shape(activation).slope;
    let exact = reference::activate(activation, &z.exact);
    let own = |i: usize| match activation {
        // Without fused multiply-adds the exponent of the density is off by its units.
        Activation::Gelu | Activation::GeluTanh => (16.0 + 4.0 * z.exact[i].powi(2)) * exact[i].abs(),
        Activation::Sine(frequency) => 16.0 + 2.0 * frequency * z.most(i),
        Activation::HardSigmoid => 2.0,
        _ => 16.0 * exact[i].abs(),
    };
    let error = (0..exact.len()).map(|i| slope * z.error[i] * (1.0 + 16.0 * U) + own(i) * U + TINY).collect();
    Bounded { exact, error }
}

/// Of logits that are each off by at most `e`, a probability is off by at most `p (exp(2 e) - 1)`, before rounding.
fn softmax(z: &Bounded, cols: usize) -> Bounded {
    let mut y = Bounded { exact: Vec::new(), error: Vec::new() };
    for (z, errors) in z.exact.chunks(cols).zip(z.error.chunks(cols)) {
        let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let off = |i: usize| errors[i] + U * (max - z[i] + 2.0 * errors[i]);
        let most = (0..cols).map(off).fold(0.0, f64::max);
        let rounding = 1.0 + (cols + 16) as f64 * 2.0 * U;
        let p = reference::activate(Activation::Softmax, z);
        y.error.extend(p.iter().map(|p| p * ((2.0 * most).exp() * rounding - 1.0) + TINY));
        y.exact.extend(p);
    }
    y
}

/// `d_z = d_y f'(z)`.
fn through(activation: Activation, d: Bounded, z: &Bounded, y: &Bounded, cols: usize) -> Bounded {
    if activation == Activation::Softmax {
        return through_softmax(&d, y, cols);
    }
    let shape = shape(activation);
    let ones = vec![1.0; z.exact.len()];
    let slopes = reference::activation_backward(activation, &z.exact, &y.exact, &ones);
    let (exact, error) = (0..slopes.len())
        .map(|i| {
            let told_by = if shape.by_output { y.error[i] * (1.0 + y.error[i]) } else { z.error[i] };
            let jumps = shape.jumps.iter().filter(|(at, _)| (z.exact[i] - at).abs() <= z.error[i] + TINY);
            let jump: f64 = jumps.map(|(_, jump)| jump.abs()).sum();
            let off = shape.bend * told_by + jump + 16.0 * U * shape.slope.max(1.0);
            let most = slopes[i].abs() + off;
            let error = d.error[i] * most + d.exact[i].abs() * off + 2.0 * U * d.most(i) * most + TINY;
            (d.exact[i] * slopes[i], error)
        })
        .unzip();
    Bounded { exact, error }
}

/// `d_z_i = y_i (d_i - sum_j d_j y_j)`.
fn through_softmax(d: &Bounded, y: &Bounded, cols: usize) -> Bounded {
    let exact = d.exact.chunks(cols).zip(y.exact.chunks(cols));
    let exact: Vec<f64> =
        exact.flat_map(|(d, y)| reference::activation_backward(Activation::Softmax, y, y, d)).collect();
    let error = (0..exact.len()).map(|i| {
        let row = i / cols * cols..(i / cols + 1) * cols;
        let dot: f64 = row.clone().map(|j| d.exact[j] * y.exact[j]).sum();
        let of_dot: f64 = row
            .map(|j| {
                d.error[j] * y.most(j)
                    + d.exact[j].abs() * y.error[j]
                    + 4.0 * (cols + 4) as f64 * U * d.most(j) * y.most(j)
            })
            .sum();
        let difference = (d.exact[i] - dot).abs();
        let off = d.error[i] + of_dot + U * (difference + d.error[i] + of_dot);
        y.error[i] * (difference + off) + y.exact[i] * off + 2.0 * U * y.most(i) * (difference + off) + TINY
    });
    let error = error.collect();
    Bounded { exact, error }
}

/// The gradient of the loss with respect to the outputs, or logits: what the reference says, and its errors.
fn loss_gradient(case: &Case, given: &Bounded) -> Bounded {
    let (rows, cols) = (case.batch, case.sizes[case.sizes.len() - 1]);
    let weights = reference::Weights {
        samples: case.weights.as_deref(),
        classes: case.class_weights.as_deref(),
        label_smoothing: case.label_smoothing,
    };
    let (_, exact) = reference::weighted_loss(
        case.loss,
        case.reduction,
        (&given.exact, case.targets()),
        (rows, cols),
        weights,
    );
    // What a slope is multiplied by: the scale of the reduction and the weight of the row.
    let factor = |row: usize| {
        let weight = case.weights.as_ref().map_or(1.0, |weights| weights[row]);
        weight * scale(case)
    };
    let of_softmax = softmax(given, cols);
    let error = (0..exact.len()).map(|i| {
        let (row, e) = (i / cols, given.error[i]);
        let t = if case.use_classes { 0.0 } else { case.values[i] };
        let difference = given.exact[i] - t;
        let rounding = 8.0 * U * (difference.abs() + e);
        let off = match case.loss {
            Loss::MeanSquaredError => 2.0 * e + 2.0 * rounding,
            // The sign is the other one, or 0.
            Loss::MeanAbsoluteError => {
                if difference.abs() <= e + rounding {
                    2.0
                } else {
                    4.0 * U
                }
            }
            Loss::Huber(_) => e + rounding + 4.0 * U,
            Loss::BinaryCrossEntropyWithLogits => 0.25 * e + 16.0 * U * (1.0 + t.abs()),
            _ => {
                let total =
                    case.class_weights.as_ref().map_or(1.0, |w| w.iter().copied().fold(1.0, f64::max))
                        * if case.use_classes { 1.0 } else { cols as f64 };
                total * of_softmax.error[i] + 16.0 * U * total * (1.0 + of_softmax.exact[i])
            }
        };
        factor(row) * off + 8.0 * U * exact[i].abs() + TINY
    });
    let error = error.collect();
    Bounded { exact, error }
}

/// What the reduction multiplies by.
fn scale(case: &Case) -> f64 {
    let cols = case.sizes[case.sizes.len() - 1];
    let sample = |row: usize| case.weights.as_ref().map_or(1.0, |weights| weights[row]);
    let class = |row: usize| match &case.class_weights {
        Some(weights) if case.use_classes => weights[case.classes[row] as usize],
        _ => 1.0,
    };
    let terms: f64 = match case.loss {
        Loss::SoftmaxCrossEntropy => (0..case.batch).map(|row| sample(row) * class(row)).sum(),
        _ => (0..case.batch).map(|row| sample(row) * cols as f64).sum(),
    };
    match case.reduction {
        Reduction::Sum => 1.0,
        Reduction::Mean if terms == 0.0 => 0.0,
        Reduction::Mean => 1.0 / terms,
    }
}

/// The gradient of every parameter in canonical order, and of the inputs of the first layer, with their bounds.
fn backward(case: &Case, model: &reference::Model, x: Bounded, isa: Isa) -> Bounded {
    let batch = case.batch;
    let (mut inputs, mut sums) = (vec![x], Vec::new());
    for layer in &model.layers {
        let z = dense(&inputs[inputs.len() - 1], layer, batch, isa);
        inputs.push(activate(layer.activation, &z, layer.outputs));
        sums.push(z);
    }
    let last = model.layers.len() - 1;
    // Softmax is part of its cross-entropy; any other activation stands before it.
    let is_part =
        case.loss == Loss::SoftmaxCrossEntropy && model.layers[last].activation == Activation::Softmax;
    let mut d = loss_gradient(case, if is_part { &sums[last] } else { &inputs[last + 1] });
    let mut layers = Vec::new();
    for (l, layer) in model.layers.iter().enumerate().rev() {
        let d_z = match l == last && is_part {
            true => d,
            false => through(layer.activation, d, &sums[l], &inputs[l + 1], layer.outputs),
        };
        layers.push(weight_gradient(&inputs[l], &d_z, layer, batch, isa));
        d = input_gradient(&d_z, layer, batch, isa);
    }
    layers.reverse();
    let exact = layers.iter().flat_map(|layer| layer.exact.iter().copied()).collect();
    Bounded { exact, error: layers.into_iter().flat_map(|layer| layer.error).collect() }
}

/// `d_W = d_z^T x`, then `d_b = sum over rows of d_z`.
fn weight_gradient(x: &Bounded, d_z: &Bounded, layer: &reference::Layer, batch: usize, isa: Isa) -> Bounded {
    let (k, n) = (layer.inputs, layer.outputs);
    let one = |i: Option<usize>, row: usize| match i {
        Some(i) => (x.exact[row * k + i], x.error[row * k + i]),
        None => (1.0, 0.0),
    };
    let cells = (0..n).flat_map(|o| (0..k).map(move |i| (o, Some(i)))).chain((0..n).map(|o| (o, None)));
    // Sums over tiles and slots are added up in turn: never more additions than rows.
    let rounding = gamma(isa, 2 * batch + 4);
    let (exact, error) = cells
        .map(|(o, i)| {
            let (mut sum, mut error) = (0.0, TINY);
            for row in 0..batch {
                let ((x, e), at) = (one(i, row), row * n + o);
                sum += d_z.exact[at] * x;
                error += d_z.error[at] * (x.abs() + e) + d_z.exact[at].abs() * e;
                error += rounding * d_z.most(at) * (x.abs() + e);
            }
            (sum, error)
        })
        .unzip();
    Bounded { exact, error }
}

/// `d_x = d_z W`.
fn input_gradient(d_z: &Bounded, layer: &reference::Layer, batch: usize, isa: Isa) -> Bounded {
    let (k, n) = (layer.inputs, layer.outputs);
    let rounding = gamma(isa, n + 2);
    let (exact, error) = (0..batch * k)
        .map(|cell| {
            let (row, i) = (cell / k, cell % k);
            let (mut sum, mut error) = (0.0, TINY);
            for o in 0..n {
                let (w, at) = (layer.weights[o * k + i], row * n + o);
                sum += d_z.exact[at] * w;
                error += (d_z.error[at] + rounding * d_z.most(at)) * w.abs();
            }
            (sum, error)
        })
        .unzip();
    Bounded { exact, error }
}

/// The inputs after the scaler.
fn scaled(model: &reference::Model, x: &[f64]) -> Bounded {
    let x = Bounded { exact: x.to_vec(), error: vec![0.0; x.len()] };
    let Some(scaler) = &model.scaler else { return x };
    let exact = x.exact.iter().enumerate().map(|(i, x)| {
        let (mean, deviation) = scaler[i % scaler.len()];
        (x - mean) / deviation
    });
    Bounded { exact: exact.collect(), error: x.error }.map(|x, _| (x, 3.0 * U * x.abs()))
}

#[test]
fn f32_gradients_are_within_their_running_bounds() {
    let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    for isa in isas() {
        let mut random = Random(21);
        let (mut worst, mut checked, mut flat, mut bounds_of_networks) = (0.0_f64, 0, 0, Vec::new());
        for _ in 0..NETWORKS {
            let batch = 1 + random.below(70);
            let case = Case::random(&mut random, 130, batch);
            // What is given is exact in f32.
            let case = Case {
                norms: vec![false; case.norms.len()],
                x: wide(narrow(&case.x)),
                values: wide(narrow(&case.values)),
                weights: case.weights.map(|weights| wide(narrow(&weights))),
                class_weights: case.class_weights.map(|weights| wide(narrow(&weights))),
                ..case
            };
            let network = case.network::<f32>(isa);
            let model = reference::Model::of(&network);
            let bounds = backward(&case, &model, scaled(&model, &case.x), isa);
            let expected = case.expected(&model).1;

            let mut trainer: Trainer<f32> = case.trainer_of(network, Parallelism::Serial);
            let (x, values) = (narrow(&case.x), narrow(&case.values));
            let targets: Targets<'_, f32> =
                if case.use_classes { (&case.classes).into() } else { (&values).into() };
            let weights = narrow(case.weights.as_ref().unwrap_or(&vec![1.0; batch]));
            trainer.compute_gradients_weighted(&x, targets, &weights).unwrap();
            let mut gradients = vec![0.0; expected.len()];
            trainer.read_gradients(&mut gradients).unwrap();
            flat += usize::from(expected.iter().all(|&g| g == 0.0));
            for (i, &gradient) in gradients.iter().enumerate() {
                let (exact, bound) = (bounds.exact[i], bounds.error[i]);
                let same = (exact - expected[i]).abs() <= 1e-9 * (1.0 + exact.abs());
                assert!(same, "the bounds are of another gradient: {exact}, not {}", expected[i]);
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
        let median = bounds_of_networks[NETWORKS / 2];
        println!(
            "RESULT running_bounds isa={isa} networks={NETWORKS} gradients={checked} worst={worst:.3} median_bound={median:.1e}"
        );
        // The bounds say something, and come near.
        assert!(worst > 1e-3 && median < 0.5 && flat < NETWORKS / 8);
    }
}
