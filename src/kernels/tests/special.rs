//! Zeros, denormals, the ends of the range, infinities and NaN in every lane of every operation on layers:
//! what kind of number comes out is what the reference says, on every instruction set, and neighbours are
//! left alone.

use super::Kernels;
use crate::kernels::gemm::blocking::{ACCUMULATOR_PERIOD, uses_dot_product};
use crate::kernels::gemm::products::Sweep;
use crate::kernels::gemm::register_tile::accumulators_of;
use crate::kernels::gemm::weight_gradient::WeightGradient;
use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::{Panels, PanelsMut, panels};
use crate::kernels::ops::activation::Activation;
use crate::kernels::ops::loss::{ClassWeights, Loss, Objective, Reduction, RowLosses};
use crate::kernels::ops::optimizer::{MAX_MOMENTS, Optimizer, Update};
use crate::kernels::ops::targets::Targets;
use crate::kernels::tests::available;
use crate::kernels::tests::table::Activated;
use crate::reference;
use crate::simd::isa::Isa;
use crate::simd::scalar::Line;
use crate::simd::tests::lanes::{Scalar, halved, mul_add};

/// What kind of number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Nan,
    Infinity,
    MinusInfinity,
    Zero,
    Positive,
    Negative,
}

/// Of a number, once it is rounded to the element type.
fn class<T: Scalar>(x: f64) -> Class {
    let x = T::from_f64(x).to_f64();
    match x {
        _ if x.is_nan() => Class::Nan,
        f64::INFINITY => Class::Infinity,
        f64::NEG_INFINITY => Class::MinusInfinity,
        0.0 => Class::Zero,
        _ if x > 0.0 => Class::Positive,
        _ => Class::Negative,
    }
}

/// `[rows, cols]` in panels, as it is: the kernel would make denormal numbers 0.
fn packed<T: Scalar>(values: &[T], cols: usize) -> Vec<T::Line> {
    let rows = values.len() / cols;
    let mut lines = vec![T::Line::ZERO; rows * panels::<T>(cols)];
    for (i, &value) in values.iter().enumerate() {
        let (r, c) = (i / cols, i % cols);
        lines[c / T::LANES * rows + r].as_mut_slice()[c % T::LANES] = value;
    }
    lines
}

fn unpacked<T: Scalar>(kernels: &dyn Kernels<T>, lines: &[T::Line], rows: usize, cols: usize) -> Vec<T> {
    let mut values = vec![T::ZERO; rows * cols];
    kernels.unpack(&mut values, Panels::new(lines, rows, cols));
    values
}

fn in_f64<T: Scalar>(values: &[T]) -> Vec<f64> {
    values.iter().map(|x| x.to_f64()).collect()
}

fn bits<T: Scalar>(values: &[T]) -> Vec<u64> {
    values.iter().map(|x| x.bits()).collect()
}

/// Of a gradient that a loss or a derivative makes, which is 0 where it would be denormal.
fn gradient_class<T: Scalar>(x: f64) -> Class {
    class::<T>(T::from_f64(x).flushed().to_f64())
}

/// The results of instruction sets with fused multiply-adds, which must be the same.
#[derive(Default)]
struct Fused(Option<Vec<u64>>);

impl Fused {
    #[track_caller]
    fn check(&mut self, isa: Isa, found: Vec<u64>) {
        if isa != Isa::Portable {
            assert_eq!(*self.0.get_or_insert_with(|| found.clone()), found, "{isa} has other bits");
        }
    }
}

/// Sines of numbers so large that their neighbours are more than a circle away count as those of 0.
fn is_past_circle<T: Scalar>(activation: Activation, x: T) -> bool {
    matches!(activation, Activation::Sine { .. }) && x.magnitude() == T::SPECIAL[7]
}

/// Every activation of slices of every length up to two lines, and of some more, wherever they start.
fn check_activations<T: Scalar>() -> usize {
    let mut checked = 0;
    for activation in Activation::hidden() {
        let mut fused = Fused::default();
        for (isa, kernels) in available::<T>() {
            let mut alone = T::SPECIAL;
            for value in &mut alone {
                kernels.activate(core::slice::from_mut(value), activation);
            }
            let expected = reference::activate(activation, &in_f64(&T::SPECIAL));
            for ((x, found), expected) in T::SPECIAL.iter().zip(alone).zip(expected) {
                let (found, expected) = (class::<T>(found.to_f64()), class::<T>(expected));
                let is_past_circle = is_past_circle(activation, *x);
                assert!(is_past_circle || found == expected, "{activation:?} of {x} on {isa}: {found:?}");
            }
            fused.check(isa, bits(&alone));
            // Past five lines some are interleaved.
            for len in (1..=2 * T::LANES + 1).chain([5 * T::LANES + 3, 9 * T::LANES]) {
                // From every element of a line on.
                for shift in 0..16 {
                    let beside = T::from_f64(-0.25);
                    let mut buffer = vec![beside; shift + len + 1];
                    let values = &mut buffer[shift..][..len];
                    values
                        .iter_mut()
                        .enumerate()
                        .for_each(|(i, value)| *value = T::SPECIAL[(i + shift) % 12]);
                    kernels.activate(values, activation);
                    for (i, value) in values.iter().enumerate() {
                        let expected = alone[(i + shift) % 12];
                        assert_eq!(value.bits(), expected.bits(), "{activation:?} on {isa}, {i} of {len}");
                    }
                    let others = buffer[..shift].iter().chain(&buffer[shift + len..]);
                    assert!(others.copied().all(|x| x == beside), "{activation:?} on {isa}, {len}");
                    checked += len;
                }
            }
        }
    }
    checked
}

/// What a slope tends to where its formula is an infinite number times 0.
fn slope_far_out<T: Scalar>(activation: Activation, z: T) -> Option<f64> {
    use Activation::{Gelu, GeluTanh, Mish, Silu};
    let has_product = matches!(activation, Gelu | GeluTanh | Silu | Mish);
    let is_large = z.magnitude() >= T::SPECIAL[7];
    (has_product && is_large).then(|| if z.is_negative() { 0.0 } else { 1.0 })
}

/// Every derivative, of special sums times special gradients.
fn check_derivatives<T: Scalar>() -> usize {
    let mut checked = 0;
    // Six lines: some that are interleaved, and others.
    let cols = 5 * T::LANES + 3;
    for activation in Activation::hidden() {
        for shift in 0..144 {
            let pairs = (0..cols).map(|i| (shift + i) % 144);
            let (z, d): (Vec<T>, Vec<T>) = pairs.map(|p| (T::SPECIAL[p % 12], T::SPECIAL[p / 12])).unzip();
            let z_in_f64 = in_f64(&z);
            let y: Vec<T> = reference::activate(activation, &z_in_f64).into_iter().map(T::from_f64).collect();
            let mut expected =
                reference::activation_backward(activation, &z_in_f64, &in_f64(&y), &in_f64(&d));
            for i in 0..cols {
                if let Some(limit) = slope_far_out(activation, z[i]) {
                    expected[i] = limit * d[i].to_f64();
                }
                if activation == Activation::SquaredClippedRelu && y[i] == T::ZERO {
                    // The slope is told by the output, whose square has vanished.
                    expected[i] = 0.0;
                }
            }
            let mut same = Fused::default();
            for (isa, kernels) in available::<T>() {
                let told_by = packed(if activation.needs_pre_activation() { &z } else { &y }, cols);
                let mut lines = packed(&d, cols);
                let to = PanelsMut::new(&mut lines, 1, cols);
                kernels.output_gradient(to, Panels::new(&told_by, 1, cols), activation);
                let found = unpacked(kernels, &lines, 1, cols);
                for i in 0..cols {
                    // Identity leaves gradients as they are.
                    let of =
                        if activation == Activation::Identity { class::<T> } else { gradient_class::<T> };
                    let (found, expected) = (class::<T>(found[i].to_f64()), of(expected[i]));
                    let what = format!("{activation:?} at {}, gradient {}, {isa}", z[i], d[i]);
                    assert!(is_past_circle(activation, z[i]) || found == expected, "{what}: {found:?}");
                }
                same.check(isa, bits(&found));
                checked += cols;
            }
        }
    }
    checked
}

#[test]
fn activations_and_derivatives_of_special_values_are_of_the_right_kind() {
    let activations = check_activations::<f32>() + check_activations::<f64>();
    let derivatives = check_derivatives::<f32>() + check_derivatives::<f64>();
    println!("RESULT special_activations values={activations} derivatives={derivatives} different=0");
}

/// A layer's outputs are those of its activation over the sums of each row, which are kept where that is
/// asked for.
fn check_layers<T: Scalar>() -> usize {
    let mut checked = 0;
    let (m, k) = (3, T::LANES + 2);
    let ordinary = |count: usize, step: usize| -> Vec<T> {
        (0..count).map(|i| T::from_f64(((i * step) % 17) as f64 / 8.0 - 1.0)).collect()
    };
    for n in [1, 3, T::LANES - 1, T::LANES, T::LANES + 3, 5 * T::LANES + 1, 9 * T::LANES - 2] {
        let (x, w) = (ordinary(m * k, 5), ordinary((1 + k) * n, 7));
        for (isa, kernels) in available::<T>() {
            let (of_x, of_w) = (packed(&x, k), packed(&w, n));
            let apply = |activation| {
                let mut lines = vec![[T::Line::ZERO; 2]; m * panels::<T>(n)].concat();
                let (y, sums) = lines.split_at_mut(m * panels::<T>(n));
                let to = PanelsMut::new(y, m, n);
                kernels.forward(
                    to,
                    Panels::new(&of_x, m, k),
                    &of_w,
                    Activated { activation, pre_activation: sums },
                    Sweep::Forward,
                );
                (unpacked(kernels, y, m, n), unpacked(kernels, sums, m, n))
            };
            let (z, _) = apply(Activation::Identity);
            for &activation in Activation::EVERY {
                let (y, sums) = apply(activation);
                assert_eq!(bits(&sums), bits(&z), "sums of {activation:?} on {isa}, {n} outputs");
                let mut expected = z.clone();
                expected.chunks_mut(n).for_each(|row| kernels.activate(row, activation));
                assert_eq!(bits(&y), bits(&expected), "{activation:?} on {isa}, {n} outputs");
                checked += m * n;
            }
        }
    }
    checked
}

#[test]
fn a_layer_is_its_activation_over_its_sums() {
    let outputs = check_layers::<f32>() + check_layers::<f64>();
    println!("RESULT layers outputs={outputs} different=0");
}

/// `start + sum a b` in the order of the sum, as the instruction set rounds.
fn plain_sum<T: Scalar>(isa: Isa, start: T, products: impl Iterator<Item = (T, T)>) -> T {
    products.fold(start, |sum, (a, b)| mul_add(isa, a, b, sum))
}

/// The same in as many accumulators as there are lanes, which are added up by halves.
fn dot_product_sum<T: Scalar>(isa: Isa, start: T, products: impl Iterator<Item = (T, T)>) -> T {
    let mut sums = vec![T::ZERO; T::LANES];
    for (i, (a, b)) in products.enumerate() {
        let sum = &mut sums[i % T::LANES];
        *sum = mul_add(isa, a, b, *sum);
    }
    start.sum(halved(&sums))
}

/// A special value in every place of an operand in turn: products have the bits of plain sums of numbers. The
/// first of these last panels is computed by outer products, the other by dot products.
fn check_products<T: Scalar>() -> usize {
    let (m, k) = (5, T::LANES + 2);
    let mut checked = 0;
    for (cols, takes_dot_product) in [(3, false), (1, true)] {
        assert_eq!(uses_dot_product::<T>(cols, k), takes_dot_product);
        checked += check_product::<T>(m, T::LANES + cols, k);
    }
    checked
}

fn check_product<T: Scalar>(m: usize, n: usize, k: usize) -> usize {
    let mut checked = 0;
    let ordinary = |count: usize, step: usize| -> Vec<T> {
        (0..count).map(|i| T::from_f64(((i * step) % 17) as f64 / 8.0 - 1.0)).collect()
    };
    for special in T::SPECIAL {
        for place in 0..m * k + (1 + k) * n {
            let (mut x, mut w) = (ordinary(m * k, 5), ordinary((1 + k) * n, 7));
            match place.checked_sub(x.len()) {
                None => x[place] = special,
                Some(place) => w[place] = special,
            }
            for (isa, kernels) in available::<T>() {
                let (of_x, of_w) = (packed(&x, k), packed(&w, n));
                let mut y = vec![T::Line::ZERO; m * panels::<T>(n)];
                let to = PanelsMut::new(&mut y, m, n);
                kernels.forward(
                    to,
                    Panels::new(&of_x, m, k),
                    &of_w,
                    Activated::alone(Activation::Identity),
                    Sweep::Backward,
                );
                let found = unpacked(kernels, &y, m, n);
                for (i, found) in found.iter().enumerate() {
                    let (r, c) = (i / n, i % n);
                    let products = (0..k).map(|l| (x[r * k + l], w[(1 + l) * n + c]));
                    let takes_dot_product = c >= T::LANES && uses_dot_product::<T>(n - T::LANES, k);
                    let expected = if takes_dot_product {
                        dot_product_sum(isa, w[c], products)
                    } else {
                        plain_sum(isa, w[c], products)
                    };
                    let what = format!("{special} at {place}, output {i} on {isa}");
                    assert_eq!(found.bits(), expected.bits(), "{what}: {found}, not {expected}");
                    checked += 1;
                }
            }
        }
    }
    checked
}

/// The same of the gradient of weights, `x^T d_z`, overwriting and adding.
fn check_gradients<T: Scalar>() -> usize {
    let (m, n, k) = (T::LANES + 2, T::LANES + 3, 5);
    let mut checked = 0;
    let ordinary = |count: usize, step: usize| -> Vec<T> {
        (0..count).map(|i| T::from_f64(((i * step) % 17) as f64 / 8.0 - 1.0)).collect()
    };
    for (special, beta) in T::SPECIAL.into_iter().flat_map(|x| [(x, Beta::Zero), (x, Beta::One)]) {
        for place in 0..k * (m + n) {
            let (mut x, mut d_z) = (ordinary(k * m, 5), ordinary(k * n, 7));
            match place.checked_sub(x.len()) {
                None => x[place] = special,
                Some(place) => d_z[place] = special,
            }
            for (isa, kernels) in available::<T>() {
                let (of_x, of_d) = (packed(&x, m), packed(&d_z, n));
                // What was there counts only where it is added to.
                let before = if beta == Beta::Zero { T::SPECIAL[11] } else { special };
                let mut d_w = packed(&vec![before; (1 + m) * n], n);
                let (x_panels, d_panels) = (Panels::new(&of_x, k, m), Panels::new(&of_d, k, n));
                kernels.weight_gradient(
                    WeightGradient { d_w: &mut d_w, x: x_panels, d_z: d_panels, first_panel: 0, beta },
                    None,
                );
                let found = unpacked(kernels, &d_w, 1 + m, n);
                for (i, found) in found.iter().enumerate() {
                    let (line, c) = (i / n, i % n);
                    let input = |r: usize| if line == 0 { T::from_f64(1.0) } else { x[r * m + line - 1] };
                    let from = if beta == Beta::Zero { T::ZERO } else { before };
                    let expected = plain_sum(isa, from, (0..k).map(|r| (input(r), d_z[r * n + c])));
                    let what = format!("{special} at {place}, gradient {i}, {beta:?} on {isa}");
                    assert_eq!(found.bits(), expected.bits(), "{what}: {found}, not {expected}");
                    checked += 1;
                }
            }
        }
    }
    checked
}

#[test]
fn products_with_special_values_are_plain_sums_of_numbers() {
    let products = check_products::<f32>() + check_products::<f64>();
    let gradients = check_gradients::<f32>() + check_gradients::<f64>();
    println!("RESULT special_products outputs={products} gradients={gradients} different=0");
}

/// [`plain_sum`], but of every whole [`ACCUMULATOR_PERIOD`] steps each `count`th goes to the same one of
/// `count` sums.
fn split_sum<T: Scalar>(isa: Isa, count: usize, start: T, products: &[(T, T)]) -> T {
    let (blocks, rest) = products.as_chunks::<ACCUMULATOR_PERIOD>();
    let sum = blocks.iter().fold(start, |start, block| {
        let mut sums = vec![T::ZERO; count];
        sums[0] = start;
        for (k, &(a, b)) in block.iter().enumerate() {
            sums[k % count] = mul_add(isa, a, b, sums[k % count]);
        }
        halved(&sums)
    });
    plain_sum(isa, sum, rest.iter().copied())
}

/// Gradients of layers whose last panels have one to four inputs and outputs, of more rows than
/// [`ACCUMULATOR_PERIOD`].
fn check_split_sums<T: Scalar>(rows: usize) -> usize {
    let mut checked = 0;
    let numbers = |count: usize, step: usize| -> Vec<T> {
        (0..count).map(|i| T::from_f64((i * step % 1013) as f64 / 506.0 - 1.0)).collect()
    };
    for (last_in, last_out) in (1..=4).flat_map(|inputs| (1..=4).map(move |outputs| (inputs, outputs))) {
        // One panel of outputs, and several of both.
        for (m, n) in [(T::LANES + last_in, last_out), (2 * T::LANES + last_in, 2 * T::LANES + last_out)] {
            let (x, d_z) = (numbers(rows * m, 389), numbers(rows * n, 571));
            let (of_x, of_d) = (packed(&x, m), packed(&d_z, n));
            for (isa, kernels) in available::<T>() {
                let mut d_w = packed(&vec![T::from_f64(0.3); (1 + m) * n], n);
                let (x_panels, d_panels) = (Panels::new(&of_x, rows, m), Panels::new(&of_d, rows, n));
                kernels.weight_gradient(
                    WeightGradient {
                        d_w: &mut d_w,
                        x: x_panels,
                        d_z: d_panels,
                        first_panel: 0,
                        beta: Beta::One,
                    },
                    None,
                );
                for (i, found) in unpacked(kernels, &d_w, 1 + m, n).iter().enumerate() {
                    let (line, c) = (i / n, i % n);
                    let input = |r: usize| if line == 0 { T::from_f64(1.0) } else { x[r * m + line - 1] };
                    let products: Vec<(T, T)> = (0..rows).map(|r| (input(r), d_z[r * n + c])).collect();
                    let count = match line {
                        _ if c >= n - last_out => accumulators_of(last_out),
                        0 => accumulators_of(last_in),
                        _ if line > m - last_in => accumulators_of(last_in),
                        _ => 1,
                    };
                    let expected = split_sum(isa, count, T::from_f64(0.3), &products);
                    let what = format!("{isa}: line {line}, output {c} of {m}-{n}, {rows} rows");
                    assert_eq!(found.bits(), expected.bits(), "{what}: {found}, not {expected}");
                    checked += 1;
                }
            }
        }
    }
    checked
}

#[test]
fn gradients_are_plain_sums_of_numbers() {
    let all = [32, 35, 64, 70].map(|rows| check_split_sums::<f32>(rows) + check_split_sums::<f64>(rows));
    println!("RESULT accumulators gradients={} different=0", all.iter().sum::<usize>());
}

/// A special output against a special target, in every column of the middle one of three rows.
fn check_losses<T: Scalar>() -> usize {
    let (rows, cols) = (3, T::LANES + 3);
    let mut checked = 0;
    for (loss, pair) in Loss::BY_ELEMENT
        .into_iter()
        .chain(Loss::BY_ROW)
        .flat_map(|loss| (0..144).map(move |pair| (loss, pair)))
    {
        let (special, target) = (T::SPECIAL[pair % 12], T::SPECIAL[pair / 12]);
        let classes = ClassWeights::new(loss, cols, None, 0.0).unwrap();
        for column in 0..cols {
            let mut y: Vec<T> = (0..rows * cols).map(|i| T::from_f64((i % 7) as f64 / 2.0 - 1.0)).collect();
            let mut t: Vec<T> = (0..rows * cols).map(|i| T::from_f64((i % 3) as f64 / 2.0)).collect();
            (y[cols + column], t[cols + column]) = (special, target);
            let (y_in_f64, t_in_f64) = (in_f64(&y), in_f64(&t));
            let targets = Targets::from(&t_in_f64[..]);
            let objective = reference::Objective::new(loss, Reduction::Sum);
            let (value, gradient) = reference::loss(objective, &y_in_f64, targets, cols);
            // A distance that is infinite in the element type has no part that is finite.
            let distance = y_in_f64[cols + column] - t_in_f64[cols + column];
            let is_far =
                matches!(loss, Loss::Quantile { .. }) && T::from_f64(distance).to_f64().is_infinite();
            let value = if is_far { f64::INFINITY } else { value };
            // Nor has a product, which is then subtracted from an infinite rate or from a finite one.
            let product = T::from_f64(y_in_f64[cols + column] * t_in_f64[cols + column]).to_f64();
            let overflows = matches!(loss, Loss::PoissonNll) && !product.is_finite();
            let mut fused = Fused::default();
            for (isa, kernels) in available::<T>() {
                let outputs = packed(&y, cols);
                let mut d = outputs.clone();
                let objective = Objective { loss, scale: 1.0, targets: Targets::from(&t) };
                let mut losses = [f64::NAN; 3];
                let to = RowLosses { d_y: PanelsMut::new(&mut d, rows, cols), losses: &mut losses[..] };
                kernels.loss(to, Panels::new(&outputs, rows, cols), &objective, &classes);
                let found: f64 = losses.iter().sum();
                let what = format!("{loss:?} of {special} against {target} in column {column} on {isa}");
                let same = overflows && !found.is_finite() || class::<T>(found) == class::<T>(value);
                assert!(same, "{what}: {found}, not {value}");
                let d = unpacked(kernels, &d, rows, cols);
                for (i, (&found, &expected)) in d.iter().zip(&gradient).enumerate() {
                    let same = class::<T>(found.to_f64()) == gradient_class::<T>(expected);
                    assert!(same, "{what}: gradient {i} is {found}, not {expected}");
                    checked += 1;
                }
                fused.check(isa, bits(&d));
            }
        }
    }
    checked
}

#[test]
fn losses_of_special_values_are_of_the_right_kind() {
    let gradients = check_losses::<f32>() + check_losses::<f64>();
    println!("RESULT special_losses gradients={gradients} different=0");
}

/// A line of parameters after three steps, where one lane has had a special gradient in the second.
fn updated<T: Scalar>(kernels: &dyn Kernels<T>, optimizer: Optimizer, special: Option<(usize, T)>) -> Vec<T> {
    let count = optimizer.moments().count();
    let mut moments: [Vec<T::Line>; MAX_MOMENTS] =
        core::array::from_fn(|m| vec![T::Line::ZERO; usize::from(m < count)]);
    let mut parameters = [T::Line::ZERO];
    parameters[0].as_mut_slice().fill(T::from_f64(0.5));
    for step in 1..=3 {
        let mut gradients = [T::Line::ZERO];
        gradients[0].as_mut_slice().fill(T::from_f64(0.25));
        if let (2, Some((lane, gradient))) = (step, special) {
            gradients[0].as_mut_slice()[lane] = gradient;
        }
        let update = Update { optimizer, step, scale: 1.0, limit: f64::INFINITY };
        kernels.update(&mut parameters, &gradients, moments.each_mut().map(Vec::as_mut_slice), &update);
    }
    parameters[0].as_slice().to_vec()
}

fn check_updates<T: Scalar>() -> usize {
    let mut checked = 0;
    for (optimizer, special) in Optimizer::every()
        .into_iter()
        .flat_map(|optimizer| T::SPECIAL.map(move |special| (optimizer, special)))
    {
        let mut classes = Vec::new();
        let mut fused = Fused::default();
        for (isa, kernels) in available::<T>() {
            let clean = updated(kernels, optimizer, None);
            let in_first = updated(kernels, optimizer, Some((0, special)))[0];
            for lane in 0..T::LANES {
                let found = updated(kernels, optimizer, Some((lane, special)));
                let what = format!("{optimizer:?}, {special} in lane {lane} on {isa}");
                for (other, (found, clean)) in found.iter().zip(&clean).enumerate() {
                    let expected = if other == lane { in_first } else { *clean };
                    assert_eq!(found.bits(), expected.bits(), "{what}: lane {other}");
                }
                checked += T::LANES;
            }
            assert!(special.bits() != u64::MAX || in_first.bits() == u64::MAX, "{optimizer:?} hides a NaN");
            // Where a product is rounded apart it overflows, though what it is subtracted from is infinite
            // already.
            if isa != Isa::Portable || special.magnitude() != T::SPECIAL[7] {
                classes.push(class::<T>(in_first.to_f64()));
            }
            fused.check(isa, vec![in_first.bits()]);
        }
        assert!(classes.windows(2).all(|pair| pair[0] == pair[1]), "{optimizer:?} of {special}: {classes:?}");
    }
    checked
}

#[test]
fn special_gradients_stay_in_their_lane() {
    let lanes = check_updates::<f32>() + check_updates::<f64>();
    println!("RESULT special_updates lanes={lanes} different=0");
}

/// Softmax and layer norm, which mix a row: a special value in every column of the middle one of three rows.
fn check_rows<T: Scalar>() -> usize {
    let (rows, cols) = (3, T::LANES + 3);
    let largest = T::SPECIAL[7];
    let (weights, biases) = (vec![0.5; cols], vec![0.25; cols]);
    let mut checked = 0;
    for (special, column) in T::SPECIAL.into_iter().flat_map(|x| (0..cols).map(move |column| (x, column))) {
        let mut x: Vec<T> = (0..rows * cols).map(|i| T::from_f64((i % 7) as f64 / 2.0 - 1.0)).collect();
        x[cols + column] = special;
        let x_in_f64 = in_f64(&x);
        let softmax: Vec<f64> =
            x_in_f64.chunks(cols).flat_map(|row| reference::activate(Activation::Softmax, row)).collect();
        let normal = reference::layer_norm(&x_in_f64, &weights, &biases, 1e-5);
        let mut fused = Fused::default();
        for (isa, kernels) in available::<T>() {
            let inputs = packed(&x, cols);
            let parameters: Vec<T> = biases.iter().chain(&weights).map(|&value| T::from_f64(value)).collect();
            let parameters = packed(&parameters, cols);
            let apply = |activation| {
                let mut lines = inputs.clone();
                let mut statistics = vec![T::Line::ZERO; 2 * rows];
                let to = PanelsMut::new(&mut lines, rows, cols);
                let from = Panels::new(&inputs, rows, cols);
                kernels.norm_forward(to, from, &parameters, &mut statistics, Activated::alone(activation));
                unpacked(kernels, &lines, rows, cols)
            };
            let mut lines = x.clone();
            lines.chunks_mut(cols).for_each(|row| kernels.activate(row, Activation::Softmax));
            let (found_softmax, found_normal) = (lines, apply(Activation::Identity));
            // The square of the largest number overflows in the element type, and not in the reference.
            let is_huge = special.magnitude() == largest;
            for i in 0..rows * cols {
                let what = format!("{special} in column {column}, element {i} on {isa}");
                let found = class::<T>(found_softmax[i].to_f64());
                assert_eq!(found, class::<T>(softmax[i]), "softmax, {what}");
                let found = class::<T>(found_normal[i].to_f64());
                assert!((is_huge && i / cols == 1) || found == class::<T>(normal[i]), "layer norm, {what}");
                checked += 2;
            }
            fused.check(isa, bits(&[found_softmax, found_normal].concat()));
        }
    }
    checked
}

#[test]
fn special_values_stay_in_their_row() {
    let elements = check_rows::<f32>() + check_rows::<f64>();
    println!("RESULT special_rows elements={elements} different=0");
}
