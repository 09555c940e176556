//! One step of backpropagation that can be followed with a pocket calculator, to six digits.
//!
//! Inputs 1 and 2 feed the hidden units 3 and 4, and these the output unit 5; all are sigmoids, without
//! biases.
//!
//! ```text
//! x1 = 0.35 --0.2--> (3) --0.3--.       into 3: w11 = w21 = 0.2, from x1 and x2
//!           \ /                  (5)    into 4: w12 = w22 = 0.3, from x1 and x2
//! x2 = 0.70 --0.3--> (4) --0.9--'       into 5: w13 = 0.3 from 3, w23 = 0.9 from 4
//! ```
//!
//! The target is t = 0.5, the error E = (t - y5)^2 / 2 and the learning rate 1.
//!
//! Forward, `z` the sum into a unit and `y = 1 / (1 + exp(-z))` what comes out:
//!
//! ```text
//! z3 = 0.2 * 0.35     + 0.2 * 0.7      = 0.21       y3 = 0.552308
//! z4 = 0.3 * 0.35     + 0.3 * 0.7      = 0.315      y4 = 0.578105
//! z5 = 0.3 * 0.552308 + 0.9 * 0.578105 = 0.685987   y5 = 0.665074
//! E  = (0.5 - 0.665074)^2 / 2                       = 0.0136247
//! ```
//!
//! Backward, with the textbook's sign, `delta = -dE/dz`, so that a weight gains `delta * input`:
//!
//! ```text
//! delta5 = y5 (1 - y5) (t - y5)    = 0.222751 * (-0.165074)       = -0.0367703
//! delta3 = y3 (1 - y3) w13 delta5  = 0.247264 * 0.3 * (-0.0367703) = -0.00272759
//! delta4 = y4 (1 - y4) w23 delta5  = 0.243900 * 0.9 * (-0.0367703) = -0.00807143
//!
//! w11 = 0.2 + delta3 * 0.35     = 0.199045      w21 = 0.2 + delta3 * 0.7      = 0.198091
//! w12 = 0.3 + delta4 * 0.35     = 0.297175      w22 = 0.3 + delta4 * 0.7      = 0.294350
//! w13 = 0.3 + delta5 * 0.552308 = 0.279691      w23 = 0.9 + delta5 * 0.578105 = 0.878743
//!
//! y5 with these weights = 0.659554: closer to 0.5.
//! ```
//!
//! A widely read tutorial rounds to two digits on the way (y3 0.56, delta5 -0.0376, delta3 -0.0027) and then
//! slips twice: delta4 -0.0819, which is ten times too large (-0.0081), and w23 0.678, which should be 0.879.
//!
//! Here a loss is the squared error without the half, so its gradients are `-2 delta * input`, and the rate
//! that makes the same step is 0.5. Layers always have biases: they are zero before the step, their gradients
//! are `-2 delta`, and a step moves them to `delta`. The textbook's network is the one with the biases put
//! back to zero.

use crate::common::isas;
use approx::assert_relative_eq;
use fuseprop::reference::{Layer, Model, Objective};
use fuseprop::{Activation, Element, Isa, Loss, Network, Optimizer, Reduction, Targets, Trainer};

const X: [f64; 2] = [0.35, 0.7];
const TARGET: f64 = 0.5;

/// `w11 w21, w12 w22, b3 b4, w13 w23, b5`: canonical order.
const BEFORE: [f64; 9] = [0.2, 0.2, 0.3, 0.3, 0.0, 0.0, 0.3, 0.9, 0.0];
const IS_BIAS: [bool; 9] = [false, false, false, false, true, true, false, false, true];

const Y3: f64 = 0.552308;
const Y4: f64 = 0.578105;
const Y5: f64 = 0.665074;
const HALF_SQUARED_ERROR: f64 = 0.0136247;
const DELTA3: f64 = -0.00272759;
const DELTA4: f64 = -0.00807143;
const DELTA5: f64 = -0.0367703;
/// Canonical order; each bias is its unit's delta.
const AFTER: [f64; 9] = [0.199045, 0.198091, 0.297175, 0.294350, DELTA3, DELTA4, 0.279691, 0.878743, DELTA5];
const Y5_AFTER_WITHOUT_BIASES: f64 = 0.659554;

/// `dE/dp` in canonical order, `-delta * input`; a bias has input 1.
const GRADIENT: [f64; 9] = [
    0.000954656, // w11: 0.00272759 * 0.35
    0.00190931,  // w21: 0.00272759 * 0.7
    0.00282500,  // w12: 0.00807143 * 0.35
    0.00565000,  // w22: 0.00807143 * 0.7
    0.00272759,
    0.00807143,
    0.0203085, // w13: 0.0367703 * 0.552308
    0.0212571, // w23: 0.0367703 * 0.578105
    0.0367703,
];

/// Six significant digits are right to half a unit of the sixth, at most 5e-6 of the number.
const SIX_DIGITS: f64 = 5e-6;

/// Roundings between the inputs and a gradient here, as a multiple of the machine epsilon: fewer than 16
/// operations deep, and `t - y5` loses a factor of at most `0.67 / 0.16`, so under 5; a rounding is half an
/// epsilon.
const ROUNDINGS: f64 = 40.0;

#[track_caller]
fn assert_all_relative_eq(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (&found, &expected) in found.iter().zip(expected) {
        assert_relative_eq!(found, expected, epsilon = 0.0, max_relative = tolerance);
    }
}

/// Puts the biases back to zero: the textbook's network has none.
fn without_biases<T: Copy>(parameters: &[T], zero: T) -> Vec<T> {
    parameters.iter().zip(IS_BIAS).map(|(&p, is_bias)| if is_bias { zero } else { p }).collect()
}

fn reference() -> Model {
    let dense = |outputs| Layer::dense(2, outputs, Activation::Sigmoid);
    let mut model = Model::new(vec![dense(2), dense(1)]);
    model.set_parameters(&BEFORE);
    model
}

fn reference_loss_and_gradient(model: &Model) -> (f64, Vec<f64>) {
    let objective = Objective::new(Loss::MeanSquaredError, Reduction::Sum);
    let (loss, gradients) = model.loss_and_gradients(&X, Targets::from(&[TARGET]), 1, objective);
    (loss, gradients.parameters)
}

fn trainer<T: Element>(isa: Isa, parameters: &[T]) -> Trainer<T> {
    let mut network = Network::<T>::builder(2)
        .dense(2, Activation::Sigmoid)
        .dense(1, Activation::Sigmoid)
        .isa(isa)
        .seed(1)
        .build()
        .expect("the shapes are valid and the instruction set is available");
    network.write_parameters(parameters).expect("nine parameters");
    Trainer::builder(network)
        .loss(Loss::MeanSquaredError)
        .reduction(Reduction::Sum)
        .optimizer(Optimizer::sgd(0.5))
        .max_batch(1)
        .build()
        .expect("the settings are valid")
}

/// One step of the fast path against the hand-made numbers and against the reference.
fn check_step<T: Element + Into<f64>>(isa: Isa, from: fn(f64) -> T, machine_epsilon: f64) {
    let wide = |numbers: &[T]| numbers.iter().map(|&n| n.into()).collect::<Vec<f64>>();
    let by_hand = SIX_DIGITS + ROUNDINGS * machine_epsilon;
    let by_reference = ROUNDINGS * machine_epsilon;
    let mut model = reference();
    let (reference_loss, reference_gradient) = reference_loss_and_gradient(&model);

    let mut trainer = trainer(isa, &BEFORE.map(from));
    let (x, target) = (X.map(from), [from(TARGET)]);
    let outputs = wide(trainer.forward(&x).expect("one row of two inputs"));
    assert_all_relative_eq(&outputs, &[Y5], by_hand);
    assert_all_relative_eq(&outputs, &model.predict(&X, 1), by_reference);

    let loss: f64 = trainer.compute_gradients(&x, &target[..]).expect("one row, one target");
    assert_relative_eq!(loss / 2.0, HALF_SQUARED_ERROR, epsilon = 0.0, max_relative = by_hand);
    assert_relative_eq!(loss, reference_loss, epsilon = 0.0, max_relative = by_reference);

    let mut gradient = [from(f64::NAN); 9];
    trainer.read_gradients(&mut gradient).expect("nine gradients");
    assert_all_relative_eq(&wide(&gradient), &GRADIENT.map(|d| 2.0 * d), by_hand);
    assert_all_relative_eq(&wide(&gradient), &reference_gradient, by_reference);

    trainer.apply_gradients().expect("gradients were computed");
    let mut after = [from(f64::NAN); 9];
    trainer.network().read_parameters(&mut after).expect("nine parameters");
    assert_all_relative_eq(&wide(&after), &AFTER, by_hand);
    model.step(&X, Targets::from(&[TARGET]), 1, Objective::new(Loss::MeanSquaredError, Reduction::Sum), 0.5);
    assert_all_relative_eq(&wide(&after), &model.parameters(), by_reference);

    let mut textbook = self::trainer(isa, &without_biases(&after, from(0.0)));
    let outputs = wide(textbook.forward(&x).expect("one row of two inputs"));
    assert_all_relative_eq(&outputs, &[Y5_AFTER_WITHOUT_BIASES], by_hand);
}

#[test]
fn the_reference_takes_the_step_done_by_hand() {
    let mut model = reference();
    let layers = model.forward(&X, 1);
    assert_all_relative_eq(&layers[0], &[Y3, Y4], SIX_DIGITS);
    assert_all_relative_eq(&layers[1], &[Y5], SIX_DIGITS);

    let (loss, gradient) = reference_loss_and_gradient(&model);
    assert_relative_eq!(loss / 2.0, HALF_SQUARED_ERROR, epsilon = 0.0, max_relative = SIX_DIGITS);
    assert_all_relative_eq(&gradient, &GRADIENT.map(|d| 2.0 * d), SIX_DIGITS);

    model.step(&X, Targets::from(&[TARGET]), 1, Objective::new(Loss::MeanSquaredError, Reduction::Sum), 0.5);
    assert_all_relative_eq(&model.parameters(), &AFTER, SIX_DIGITS);
    model.set_parameters(&without_biases(&model.parameters(), 0.0));
    assert_all_relative_eq(&model.predict(&X, 1), &[Y5_AFTER_WITHOUT_BIASES], SIX_DIGITS);
}

#[test]
fn a_bias_gradient_is_the_delta_of_its_unit() {
    let (_, gradient) = reference_loss_and_gradient(&reference());
    let biases: Vec<f64> =
        gradient.iter().zip(IS_BIAS).filter(|&(_, is_bias)| is_bias).map(|(&d, _)| d).collect();
    assert_all_relative_eq(&biases, &[DELTA3, DELTA4, DELTA5].map(|delta| -2.0 * delta), SIX_DIGITS);
}

#[test]
fn the_numbers_by_hand_follow_from_each_other() {
    // A product of two numbers of six digits has twice their error.
    let inputs = [X[0], X[1], X[0], X[1], 1.0, 1.0, Y3, Y4, 1.0];
    let deltas = [DELTA3, DELTA3, DELTA4, DELTA4, DELTA3, DELTA4, DELTA5, DELTA5, DELTA5];
    for i in 0..9 {
        let gain = deltas[i] * inputs[i];
        assert_relative_eq!(-gain, GRADIENT[i], epsilon = 0.0, max_relative = 3.0 * SIX_DIGITS);
        assert_relative_eq!(BEFORE[i] + gain, AFTER[i], epsilon = 0.0, max_relative = 3.0 * SIX_DIGITS);
    }
}

#[test]
fn every_instruction_set_takes_the_step_done_by_hand() {
    for isa in isas() {
        check_step::<f64>(isa, |x| x, f64::EPSILON);
        check_step::<f32>(isa, |x| x as f32, f64::from(f32::EPSILON));
    }
}

#[test]
fn one_fused_step_is_the_two_halves() {
    for isa in isas() {
        let (mut fused, mut halves) = (trainer::<f64>(isa, &BEFORE), trainer::<f64>(isa, &BEFORE));
        let loss = fused.step(&X, &[TARGET][..]).expect("one row, one target");
        let loss_of_halves = halves.compute_gradients(&X, &[TARGET][..]).expect("one row, one target");
        halves.apply_gradients().expect("gradients were computed");
        assert_relative_eq!(loss, loss_of_halves, epsilon = 0.0, max_relative = ROUNDINGS * f64::EPSILON);
        let (mut p, mut q) = ([f64::NAN; 9], [f64::NAN; 9]);
        fused.network().read_parameters(&mut p).expect("nine parameters");
        halves.network().read_parameters(&mut q).expect("nine parameters");
        assert_all_relative_eq(&p, &q, ROUNDINGS * f64::EPSILON);
        assert_all_relative_eq(&p, &AFTER, SIX_DIGITS);
    }
}
