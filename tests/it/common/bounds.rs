//! How far the gradients of `f32` may be from the exact ones: errors are carried through every layer, forward
//! and back, by a running error analysis (Wilkinson 1963; Higham, *Accuracy and Stability of Numerical
//! Algorithms*, section 3.3).

use super::case::{Case, is_of_softmax};
use super::every::target_columns;
use fuseprop::{Activation, Isa, LayerKind, Loss, Precision, Reduction, reference};

/// Half a unit in the last place of 1 in `f32`.
const U: f64 = f32::EPSILON as f64 / 2.0;

/// Underflow.
pub(crate) const TINY: f64 = 1e-37;

/// Exact numbers, row-major, and how far `f32` may be from each.
#[derive(Clone)]
pub(crate) struct Bounded {
    pub exact: Vec<f64>,
    pub error: Vec<f64>,
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
    let exact = reference::dense(&x.exact, &layer.weights, &layer.biases, batch, k);
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

/// Half a unit in the last place of 1 in bf16.
const U_BF16: f64 = 1.0 / 256.0;

/// What is below becomes 0 in bf16.
const SMALLEST_BF16: f64 = 1.0 / (1_u64 << 56) as f64;

/// Operands of a product as it takes them.
fn operands(x: &Bounded, precision: Precision) -> Bounded {
    match precision {
        Precision::Bf16 => x.clone().map(|x, e| (x, e + U_BF16 * (x.abs() + e) + SMALLEST_BF16)),
        _ => x.clone(),
    }
}

/// A product of weights, which are rounded too: `sums` are those of magnitudes.
fn with_rounded_weights(product: Bounded, sums: &[f64], precision: Precision) -> Bounded {
    if precision != Precision::Bf16 {
        return product;
    }
    let error = product.error.iter().zip(sums).map(|(e, sum)| e * (1.0 + U_BF16) + U_BF16 * sum);
    Bounded { error: error.collect(), exact: product.exact }
}

/// The largest magnitudes that numbers may have.
fn magnitudes(x: &Bounded) -> Vec<f64> {
    (0..x.exact.len()).map(|i| x.most(i)).collect()
}

fn absolute(weights: &[f64]) -> Vec<f64> {
    weights.iter().map(|w| w.abs().max(SMALLEST_BF16)).collect()
}

/// One row of a layer norm before its weights: `xhat = (x - mean x) s`, and `s = 1 / sqrt(var x + 1e-5)`.
struct Normal {
    row: Bounded,
    scale: f64,
    scale_error: f64,
}

impl Normal {
    fn of(x: &[f64], errors: &[f64], isa: Isa) -> Self {
        let n = x.len();
        let average = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        let sums = gamma(isa, n + 4);
        let mean = average(&|i| x[i]);
        let mean_error = average(&|i| errors[i] + sums * (x[i].abs() + errors[i])) + TINY;
        let deviation: Vec<f64> = x.iter().map(|x| x - mean).collect();
        let off = |i: usize| (errors[i] + mean_error) * (1.0 + U) + U * deviation[i].abs();
        let variance = average(&|i| deviation[i].powi(2)) + 1e-5;
        let variance_error = average(&|i| {
            let most = deviation[i].abs() + off(i);
            off(i) * (deviation[i].abs() + most) + sums * most * most
        });
        // What is added keeps it away from 0, whatever the errors are.
        let least = (variance - variance_error).max(1e-5 * (1.0 - 8.0 * U)) * (1.0 - 4.0 * U);
        let scale = variance.sqrt().recip();
        let scale_error = (least.sqrt().recip() - scale)
            .max(scale - (variance + variance_error).sqrt().recip())
            + 8.0 * U * least.sqrt().recip();
        let error = (0..n).map(|i| {
            let most = (deviation[i].abs() + off(i)) * (scale + scale_error);
            off(i) * (scale + scale_error) + deviation[i].abs() * scale_error + U * most + TINY
        });
        let error = error.collect();
        let exact = deviation.iter().map(|d| d * scale).collect();
        Self { row: Bounded { exact, error }, scale, scale_error }
    }
}

/// `z = w xhat + b`.
fn norm(x: &Bounded, layer: &reference::Layer, isa: Isa) -> Bounded {
    let n = layer.outputs;
    let exact = reference::layer_norm(&x.exact, &layer.weights, &layer.biases, layer.epsilon);
    let rows = x.exact.chunks(n).zip(x.error.chunks(n));
    let error = rows.flat_map(|(x, errors)| {
        let normal = Normal::of(x, errors, isa).row;
        (0..n).map(move |i| {
            let (w, b) = (layer.weights[i].abs(), layer.biases[i].abs());
            w * normal.error[i] + gamma(isa, 3) * (w * normal.most(i) + b) + TINY
        })
    });
    let error = error.collect();
    Bounded { exact, error }
}

/// `d_w = sum over rows of d_z xhat`, `d_b = sum over rows of d_z`; and `d_x = (g - mean g - xhat mean(g
/// xhat)) s`, where `g = d_z w`.
fn norm_gradients(x: &Bounded, d_z: &Bounded, layer: &reference::Layer, isa: Isa) -> (Bounded, Bounded) {
    let (n, rows) = (layer.outputs, x.exact.len() / layer.outputs);
    let mut d_w = Bounded { exact: vec![0.0; 2 * n], error: vec![TINY; 2 * n] };
    let mut d_x = Bounded { exact: Vec::new(), error: Vec::new() };
    let over_rows = gamma(isa, 2 * rows + 4);
    for (r, (x, errors)) in x.exact.chunks(n).zip(x.error.chunks(n)).enumerate() {
        let Normal { row: normal, scale, scale_error } = Normal::of(x, errors, isa);
        let d = |i: usize| (d_z.exact[r * n + i], d_z.error[r * n + i]);
        let mut g = Bounded { exact: Vec::new(), error: Vec::new() };
        for i in 0..n {
            let ((d, e), w) = (d(i), layer.weights[i]);
            d_w.exact[i] += d * normal.exact[i];
            d_w.error[i] += e * normal.most(i) + d.abs() * normal.error[i];
            d_w.error[i] += over_rows * (d.abs() + e) * normal.most(i);
            d_w.exact[n + i] += d;
            d_w.error[n + i] += e + over_rows * (d.abs() + e);
            g.exact.push(d * w);
            g.error.push(w.abs() * (e + U * (d.abs() + e)) + TINY);
        }
        let average = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        let sums = gamma(isa, n + 4);
        let mean = average(&|i| g.exact[i]);
        let mean_error = average(&|i| g.error[i] + sums * g.most(i));
        let product = average(&|i| g.exact[i] * normal.exact[i]);
        let product_error = average(&|i| {
            let off = g.error[i] * normal.most(i) + g.exact[i].abs() * normal.error[i];
            off + sums * g.most(i) * normal.most(i)
        });
        let most_product = product.abs() + product_error;
        for i in 0..n {
            let centred = g.exact[i] - mean - normal.exact[i] * product;
            let rounding =
                gamma(isa, 3) * (g.most(i) + mean.abs() + mean_error + normal.most(i) * most_product);
            let off = g.error[i]
                + mean_error
                + normal.error[i] * most_product
                + normal.exact[i].abs() * product_error
                + rounding;
            let most_scale = scale + scale_error;
            d_x.exact.push(centred * scale);
            d_x.error.push(
                off * most_scale
                    + centred.abs() * scale_error
                    + U * (centred.abs() + off) * most_scale
                    + TINY,
            );
        }
    }
    (d_w, d_x)
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
        Activation::LeakyRelu { slope } => of(1.0, 0.0, true, &[(0.0, 1.0 - slope)]),
        Activation::Elu { alpha } => of(1.0, 1.0, true, &[(0.0, 1.0 - alpha)]),
        Activation::Selu => of(1.76, 1.0, true, &[(0.0, 0.71)]),
        Activation::Gelu | Activation::GeluTanh => of(1.13, 1.0, false, &[]),
        Activation::Silu => of(1.1, 0.5, false, &[]),
        Activation::Mish => of(1.1, 1.0, false, &[]),
        Activation::HardSwish => of(1.5, 1.0 / 3.0, false, &[(-3.0, 0.5), (3.0, 0.5)]),
        Activation::Relu6 => of(1.0, 0.0, true, &[(0.0, 1.0), (6.0, 1.0)]),
        Activation::Softsign => of(1.0, 2.0, true, &[]),
        Activation::Softplus => of(1.0, 1.0, true, &[]),
        Activation::HardSigmoid => of(1.0 / 6.0, 0.0, true, &[(-3.0, 1.0 / 6.0), (3.0, 1.0 / 6.0)]),
        Activation::HardTanh { min, max } => of(1.0, 0.0, true, &[(min, 1.0), (max, 1.0)]),
        Activation::SquaredClippedRelu => of(2.0, 2.0, false, &[(1.0, 2.0)]),
        Activation::Sine { frequency } => of(frequency, frequency * frequency, false, &[]),
        // `Activation` is non-exhaustive, so the compiler cannot ask for it.
        other => unreachable!("{other:?} has no line here"),
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
        Activation::Sine { frequency } => 16.0 + 2.0 * frequency * z.most(i),
        Activation::HardSigmoid => 2.0,
        _ => 16.0 * exact[i].abs(),
    };
    let error = (0..exact.len()).map(|i| slope * z.error[i] * (1.0 + 16.0 * U) + own(i) * U + TINY).collect();
    Bounded { exact, error }
}

/// Of logits that are each off by at most `e`, a probability is off by at most `p (exp(2 e) - 1)`, before
/// rounding.
fn softmax(z: &Bounded, cols: usize) -> Bounded {
    let mut y = Bounded { exact: Vec::new(), error: Vec::new() };
    for (z, errors) in z.exact.chunks(cols).zip(z.error.chunks(cols)) {
        let max = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let off = |i: usize| errors[i] + U * (max - z[i] + 2.0 * errors[i]);
        let most = (0..cols).map(off).fold(0.0, f64::max);
        let rounding = 1.0 + (cols + 16) as f64 * 2.0 * U;
        let p = reference::activate(Activation::Softmax, z);
        // Nor is it ever past 0 or 1, but for rounding.
        let error = |p: &f64| (p * ((2.0 * most).exp() * rounding - 1.0)).min(rounding) + TINY;
        y.error.extend(p.iter().map(error));
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
    let cols = case.sizes[case.sizes.len() - 1];
    let (_, exact) = reference::loss(case.objective(), &given.exact, case.targets(), cols);
    // What a slope is multiplied by: the scale of the reduction and the weight of the row.
    let factor = |row: usize| {
        let weight = case.weights.as_ref().map_or(1.0, |weights| weights[row]);
        weight * scale(case)
    };
    let of_softmax = softmax(given, cols);
    let columns = target_columns(case.loss, cols);
    let error = (0..exact.len()).map(|i| {
        let (row, e) = (i / cols, given.error[i]);
        let t = if case.use_classes { 0.0 } else { case.values[row * columns + i % cols % columns] };
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
            Loss::Huber { .. } => e + rounding + 4.0 * U,
            Loss::Quantile { .. } => {
                if difference.abs() <= e + rounding {
                    1.0
                } else {
                    4.0 * U
                }
            }
            Loss::Hinge => {
                if (1.0 - t * given.exact[i]).abs() <= e + rounding {
                    1.0
                } else {
                    4.0 * U
                }
            }
            Loss::PoissonNll => {
                let rate = given.exact[i].exp();
                rate * e.exp_m1() + 16.0 * U * (rate * e.exp() + t.abs())
            }
            Loss::GaussianNll { epsilon } => of_pair(given, i, cols, t, epsilon) + 4.0 * U,
            Loss::BinaryCrossEntropyWithLogits => {
                let weight = case.pos_weight.as_ref().map_or(1.0, |weights| weights[i % cols].max(1.0));
                weight * (0.25 * e + 32.0 * U * (1.0 + t.abs()))
            }
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

/// How far the slope of one of a pair of outputs, a mean and the logarithm of a variance, may be from the
/// exact one: both are computed in `f64`.
fn of_pair(given: &Bounded, i: usize, cols: usize, t: f64, epsilon: f64) -> f64 {
    let (first, column) = (i / cols * cols, i % cols);
    let mean = first + column % (cols / 2);
    let logarithm = mean + cols / 2;
    let (distance, e) = ((given.exact[mean] - t).abs(), given.error[mean]);
    let (s, of_s) = (given.exact[logarithm], given.error[logarithm]);
    let (v, least) = (s.exp().max(epsilon), (s - of_s).exp().max(epsilon));
    let most = distance + e;
    if column < cols / 2 {
        return most / least - distance / v;
    }
    let (square, most_square) = (distance * distance / v, most * most / least);
    0.5 * (of_s.exp_m1() * (1.0 + most_square) + most_square - square)
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
        Loss::KullbackLeibler => (0..case.batch).map(sample).sum(),
        loss => (0..case.batch).map(|row| sample(row) * target_columns(loss, cols) as f64).sum(),
    };
    match case.reduction {
        Reduction::Sum => 1.0,
        Reduction::Mean if terms == 0.0 => 0.0,
        Reduction::Mean => 1.0 / terms,
        other => panic!("no bound of {other:?}"),
    }
}

/// The gradient of every parameter, in canonical order.
pub(crate) fn gradients(case: &Case, model: &reference::Model, isa: Isa) -> Bounded {
    let batch = case.batch;
    let (mut inputs, mut sums) = (vec![scaled(model, &case.x)], Vec::new());
    for layer in &model.layers {
        let x = &inputs[inputs.len() - 1];
        let z = match layer.kind {
            LayerKind::LayerNorm => norm(x, layer, isa),
            _ => {
                let x = operands(x, case.precision);
                let (weights, none) = (absolute(&layer.weights), vec![0.0; layer.outputs]);
                let sums = reference::dense(&magnitudes(&x), &weights, &none, batch, layer.inputs);
                with_rounded_weights(dense(&x, layer, batch, isa), &sums, case.precision)
            }
        };
        inputs.push(activate(layer.activation, &z, layer.outputs));
        sums.push(z);
    }
    let last = model.layers.len() - 1;
    // Softmax and sigmoid are part of their cross-entropies; any other activation stands before its loss.
    let is_part = match model.layers[last].activation {
        Activation::Softmax => is_of_softmax(case.loss),
        Activation::Sigmoid => case.loss == Loss::BinaryCrossEntropyWithLogits,
        _ => false,
    };
    let mut d = loss_gradient(case, if is_part { &sums[last] } else { &inputs[last + 1] });
    let mut layers = Vec::new();
    for (l, layer) in model.layers.iter().enumerate().rev() {
        let d_z = match l == last && is_part {
            true => d,
            false => through(layer.activation, d, &sums[l], &inputs[l + 1], layer.outputs),
        };
        let weights;
        (weights, d) = match layer.kind {
            LayerKind::LayerNorm => norm_gradients(&inputs[l], &d_z, layer, isa),
            _ => {
                let (x, d_z) = (operands(&inputs[l], case.precision), operands(&d_z, case.precision));
                let (weights, k, n) = (absolute(&layer.weights), layer.inputs, layer.outputs);
                let sums = reference::input_gradient(&magnitudes(&d_z), &weights, batch, k, n);
                let d_x = input_gradient(&d_z, layer, batch, isa);
                let d_x = with_rounded_weights(d_x, &sums, case.precision);
                (weight_gradient(&x, &d_z, layer, batch, isa), d_x)
            }
        };
        layers.push(weights);
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
