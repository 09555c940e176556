//! Small networks take a path of their own, whose bits must be those of the general one. A trainer that reports on its
//! layers always takes the general one.

#[allow(dead_code, reason = "its trainers ask for input gradients, for which the general path is taken")]
#[path = "common/case.rs"]
mod case;
mod common;

use case::{Case, Random};
use common::isas;
use fuseprop::{Activation, Element, Isa, Network, Optimizer, Targets, Trainer};

const OPTIMIZERS: [fn() -> Optimizer; 4] = [
    || Optimizer::sgd(0.05),
    || Optimizer::sgd(0.05).momentum(0.9).nesterov().weight_decay(0.01),
    || Optimizer::adam(0.01),
    || Optimizer::rms_prop(0.01).l1(0.001),
];

/// What a run of steps leaves behind, as bits.
#[derive(Debug, PartialEq)]
struct Trace {
    losses: Vec<u64>,
    gradients: Vec<u64>,
    parameters: Vec<u64>,
}

fn bits<T: Element>(values: &[T]) -> Vec<u64> {
    values.iter().map(|value| value.to_f64().to_bits()).collect()
}

/// A case in the element type that is tested.
struct Data<T> {
    x: Vec<T>,
    values: Vec<T>,
    weights: Option<Vec<T>>,
}

impl<T: Element> Data<T> {
    fn of(case: &Case) -> Self {
        let convert = |values: &Vec<f64>| values.iter().map(|&value| T::from_f64(value)).collect::<Vec<_>>();
        Self {
            x: convert(&case.x),
            values: convert(&case.values),
            weights: case.weights.as_ref().map(convert),
        }
    }
}

fn targets<'a, T: Element>(case: &'a Case, data: &'a Data<T>) -> Targets<'a, T> {
    if case.use_classes { (&case.classes).into() } else { (&data.values).into() }
}

fn trainer<T: Element>(case: &Case, isa: Isa, which: usize, general: bool) -> Trainer<T> {
    let mut builder = Trainer::builder(case.network::<T>(isa))
        .loss(case.loss)
        .reduction(case.reduction)
        .label_smoothing(case.label_smoothing)
        .optimizer(OPTIMIZERS[which % OPTIMIZERS.len()]())
        .max_batch(case.batch);
    if let Some(weights) = &case.class_weights {
        builder = builder.class_weights(weights);
    }
    if which.is_multiple_of(3) {
        builder = builder.clip_value(0.01);
    }
    if general { builder.report().build().unwrap() } else { builder.build().unwrap() }
}

/// Steps on the batch and its first rows, a gradient in two parts, and one of a given gradient of the outputs, which
/// reads the transposed weights that steps leave.
fn trace<T: Element>(case: &Case, trainer: &mut Trainer<T>) -> Trace {
    let data = Data::<T>::of(case);
    let targets = targets(case, &data);
    let (inputs, outputs) = (case.sizes[0], case.sizes[case.sizes.len() - 1]);
    let mut trace = Trace { losses: Vec::new(), gradients: Vec::new(), parameters: Vec::new() };
    for rows in [case.batch, case.batch.div_ceil(2), 1, case.batch] {
        let (x, targets) = (&data.x[..rows * inputs], first_rows(targets, rows, outputs));
        let loss = match &data.weights {
            Some(weights) => trainer.step_weighted(x, targets, &weights[..rows]),
            None => trainer.step(x, targets),
        };
        trace.losses.push(loss.unwrap().to_bits());
        trace.gradients.extend(bits(trainer.gradients()));
    }
    let first = first_rows(targets, 1, outputs);
    trace.losses.push(trainer.compute_gradients(&data.x, targets).unwrap().to_bits());
    trace.losses.push(trainer.accumulate_gradients(&data.x[..inputs], first).unwrap().to_bits());
    trainer.apply_gradients().unwrap();
    let d_outputs = trainer.forward(&data.x).unwrap().to_vec();
    trainer.backward(&d_outputs).unwrap();
    trace.gradients.extend(bits(trainer.gradients()));
    trainer.apply_gradients().unwrap();
    let mut parameters = vec![T::default(); trainer.network().parameter_count()];
    trainer.network().read_parameters(&mut parameters).unwrap();
    trace.parameters = bits(&parameters);
    trace
}

fn first_rows<T>(targets: Targets<'_, T>, rows: usize, outputs: usize) -> Targets<'_, T> {
    match targets {
        Targets::Values(values) => Targets::Values(&values[..rows * outputs]),
        Targets::Classes(classes) => Targets::Classes(&classes[..rows]),
    }
}

/// Random cases of networks up to so wide; how many.
fn compare_steps<T: Element>(isa: Isa, width: usize, seed: u64) -> usize {
    let mut random = Random(seed);
    let mut moving = 0;
    for which in 0..150 {
        let batch = 1 + random.below([4, 9, 70][which % 3]);
        let mut case = Case::random(&mut random, width, batch);
        case.norms.fill(false);
        if case.batch.is_multiple_of(3) {
            // Else `Case::network` adds a scaler, and the network is not small.
            case.batch -= 1;
            case.x.truncate(case.batch * case.sizes[0]);
            case.values.truncate(case.batch * case.sizes[case.sizes.len() - 1]);
            case.classes.truncate(case.batch);
            case.weights = case.weights.map(|weights| weights[..case.batch].to_vec());
        }
        let general = trace(&case, &mut trainer::<T>(&case, isa, which, true));
        let small = trace(&case, &mut trainer::<T>(&case, isa, which, false));
        moving += usize::from(general.gradients.iter().any(|&bits| f64::from_bits(bits) != 0.0));
        assert_eq!(small, general, "{}", case.describe(isa));
    }
    // Some networks are dead: a softmax of one output, or rectifiers that are all 0.
    assert!(moving > 120, "{moving} of 150 have a gradient");
    150
}

#[test]
fn steps_of_small_networks_have_the_bits_of_the_general_path() {
    let mut runs = 0;
    for isa in isas() {
        for width in [4, 16] {
            runs += compare_steps::<f32>(isa, width, 1);
        }
        for width in [4, 8] {
            runs += compare_steps::<f64>(isa, width, 2);
        }
    }
    println!("RESULT small_steps runs={runs} different=0");
}

/// Outputs of a workspace, whose network is small, and of a trainer's forward pass, which knows no small networks.
fn compare_predictions<T: Element>(isa: Isa, width: usize) {
    let mut random = Random(3);
    for which in 0..100 {
        let batch = 1 + 3 * random.below([2, 4, 40][which % 3]);
        let mut case = Case::random(&mut random, width, batch);
        case.norms.fill(false);
        let x = Data::<T>::of(&case).x;
        let network = case.network::<T>(isa);
        let mut y = vec![T::from_f64(f64::NAN); batch * network.outputs()];
        let mut workspace = network.workspace(batch).unwrap();
        network.predict_into(&x, &mut y, &mut workspace).unwrap();
        let mut trainer = Trainer::builder(network.clone()).max_batch(batch).build().unwrap();
        assert_eq!(bits(&y), bits(trainer.forward(&x).unwrap()), "{}", case.describe(isa));
        // A row alone, and in a workspace of a network of the same shapes that is not small but for them.
        let other = case.network::<T>(isa);
        let row = &mut y[..network.outputs()];
        network.predict_into(&x[..case.sizes[0]], row, &mut other.workspace(2).unwrap()).unwrap();
        assert_eq!(bits(&y), bits(trainer.forward(&x).unwrap()), "one row of {}", case.describe(isa));
    }
}

#[test]
fn predictions_of_small_networks_have_the_bits_of_the_general_path() {
    for isa in isas() {
        compare_predictions::<f32>(isa, 4);
        compare_predictions::<f32>(isa, 16);
        compare_predictions::<f64>(isa, 4);
        compare_predictions::<f64>(isa, 8);
    }
}

#[test]
fn a_row_that_is_not_a_number_spoils_no_other_row() {
    for isa in isas() {
        for hidden in [4, 5] {
            let network = Network::<f32>::builder(2)
                .dense(hidden, Activation::Tanh)
                .dense(3, Activation::Identity)
                .seed(5)
                .isa(isa)
                .build()
                .unwrap();
            let x: Vec<f32> = (0..14).map(|i| i as f32 / 7.0).collect();
            let mut workspace = network.workspace(7).unwrap();
            let (mut right, mut found) = ([0.0; 21], [0.0; 21]);
            network.predict_into(&x, &mut right, &mut workspace).unwrap();
            for spoiled in 0..7 {
                let mut x = x.clone();
                x[2 * spoiled] = f32::NAN;
                network.predict_into(&x, &mut found, &mut workspace).unwrap();
                for (r, (found, right)) in found.chunks(3).zip(right.chunks(3)).enumerate() {
                    if r == spoiled {
                        assert!(found.iter().all(|y| y.is_nan()), "{isa}: {found:?}");
                    } else {
                        assert_eq!(bits(found), bits(right), "{isa}: row {r} beside row {spoiled}");
                    }
                }
            }
            // Nothing of it stays.
            network.predict_into(&x, &mut found, &mut workspace).unwrap();
            assert_eq!(bits(&found), bits(&right), "{isa}");
        }
    }
}
