//! Small networks take a path of their own, whose bits must be those of the general one. A trainer that
//! reports on its layers always takes the general one.

use crate::common::case::{Case, Random};
use crate::common::every::{optimizers, target_columns};
use crate::common::{isas, parameters};
use fuseprop::{Activation, Element, Isa, Network, Scaler, Targets, Trainer, Workspace};

/// Which path a trainer takes.
#[derive(Clone, Copy, PartialEq)]
enum Path {
    General,
    Small,
}

/// What is in the rows.
#[derive(Clone, Copy, PartialEq)]
enum Numbers {
    Ordinary,
    /// Infinities, NaN, denormals and zeros among them.
    Special,
}

/// What a run of steps leaves behind, as bits.
#[derive(Debug, PartialEq)]
struct Trace {
    losses: Vec<u64>,
    gradients: Vec<u64>,
    parameters: Vec<u64>,
}

/// The same for every NaN.
fn bits<T: Element>(values: &[T]) -> Vec<u64> {
    let of_one = |value: f64| if value.is_nan() { u64::MAX } else { value.to_bits() };
    values.iter().map(|value| of_one(value.to_f64())).collect()
}

/// A case in the element type that is tested.
struct Data<T> {
    x: Vec<T>,
    values: Vec<T>,
    weights: Option<Vec<T>>,
}

impl<T: Element> Data<T> {
    fn of(case: &Case, numbers: Numbers) -> Self {
        let mut data = Self::ordinary(case);
        if numbers == Numbers::Special {
            let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e-40, 0.0, -0.0, 1e30];
            for (i, x) in data.x.iter_mut().enumerate().filter(|(i, _)| i % 3 == 1) {
                *x = T::from_f64(special[i / 3 % special.len()]);
            }
        }
        data
    }

    fn ordinary(case: &Case) -> Self {
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

fn trainer<T: Element>(case: &Case, isa: Isa, which: usize, path: Path) -> Trainer<T> {
    let mut builder = Trainer::builder(case.network::<T>(isa))
        .loss(case.loss)
        .reduction(case.reduction)
        .label_smoothing(case.label_smoothing)
        .optimizer(optimizers()[which % optimizers().len()])
        .max_batch(MAX_BATCHES[which % MAX_BATCHES.len()].max(case.batch));
    if let Some(weights) = &case.class_weights {
        builder = builder.class_weights(weights);
    }
    if which.is_multiple_of(5) {
        builder = builder.clip_grad_value(0.01);
    }
    if which % 3 == 1 {
        builder = builder.clip_grad_norm(0.02);
    }
    if path == Path::General { builder.layer_stats().build().unwrap() } else { builder.build().unwrap() }
}

/// Two-phase, and depth-first, whatever the batch.
const MAX_BATCHES: [usize; 2] = [1, 512];

/// Steps on the batch and its first rows, a gradient in two parts, and one of a given gradient of the
/// outputs, which reads the transposed weights that steps leave.
fn trace<T: Element>(case: &Case, numbers: Numbers, trainer: &mut Trainer<T>) -> Trace {
    let data = Data::<T>::of(case, numbers);
    let targets = targets(case, &data);
    let inputs = case.sizes[0];
    let mut trace = Trace { losses: Vec::new(), gradients: Vec::new(), parameters: Vec::new() };
    let loss_bits = |loss: f64| if loss.is_nan() { u64::MAX } else { loss.to_bits() };
    for rows in [case.batch, case.batch.div_ceil(2), 1, case.batch] {
        let (x, targets) = (&data.x[..rows * inputs], first_rows(targets, rows, case.batch));
        let loss = match &data.weights {
            Some(weights) => trainer.step(x, targets.weights(&weights[..rows])),
            None => trainer.step(x, targets),
        };
        trace.losses.push(loss_bits(loss.unwrap()));
        trace.gradients.extend(bits(trainer.gradients()));
    }
    let first = first_rows(targets, 1, case.batch);
    trace.losses.push(loss_bits(trainer.compute_gradients(&data.x, targets).unwrap()));
    trace.losses.push(loss_bits(trainer.accumulate_gradients(&data.x[..inputs], first).unwrap()));
    trace.gradients.extend(bits(trainer.gradients()));
    trainer.apply_gradients().unwrap();
    let d_outputs = trainer.forward(&data.x).unwrap().to_vec();
    trainer.backward(&d_outputs).unwrap();
    trace.gradients.extend(bits(trainer.gradients()));
    trainer.apply_gradients().unwrap();
    trace.parameters = bits(&parameters(trainer.network()));
    trace
}

/// The first `rows` of a batch of `batch` rows.
fn first_rows<T: Element>(targets: Targets<'_, T>, rows: usize, batch: usize) -> Targets<'_, T> {
    match (targets.values(), targets.classes()) {
        // A loss of pairs of outputs has half as many targets.
        (Some(values), _) => Targets::from(&values[..values.len() / batch * rows]),
        (None, classes) => Targets::from(&classes.unwrap()[..rows]),
    }
}

/// A case whose network is small.
fn small_case(random: &mut Random, width: usize, batch: usize) -> Case {
    let mut case = Case::random(random, width, batch);
    case.norms.fill(false);
    if case.batch.is_multiple_of(3) {
        // Else `Case::network` adds a scaler, and the network is not small.
        case.batch -= 1;
        case.x.truncate(case.batch * case.sizes[0]);
        let columns = target_columns(case.loss, case.sizes[case.sizes.len() - 1]);
        case.values.truncate(case.batch * columns);
        case.classes.truncate(case.batch);
        case.weights = case.weights.map(|weights| weights[..case.batch].to_vec());
    }
    case
}

/// Random cases of networks up to so wide; how many.
fn compare_steps<T: Element>(width: usize, numbers: Numbers, seed: u64) -> usize {
    let mut random = Random(seed);
    let (mut moving, mut runs) = (0, 0);
    for which in 0..150 {
        let batch = 1 + random.below([4, 9, 70][which % 3]);
        let case = small_case(&mut random, width, batch);
        let mut fused = Vec::new();
        for isa in isas() {
            let general = trace(&case, numbers, &mut trainer::<T>(&case, isa, which, Path::General));
            let small = trace(&case, numbers, &mut trainer::<T>(&case, isa, which, Path::Small));
            moving += usize::from(general.gradients.iter().any(|&bits| f64::from_bits(bits) != 0.0));
            assert_eq!(small, general, "{}", case.describe(isa));
            if isa != Isa::Portable {
                fused.push(small);
            }
            runs += 1;
        }
        assert!(fused.windows(2).all(|pair| pair[0] == pair[1]), "{:?}", case.sizes);
    }
    // Some networks are dead: a softmax of one output, or rectifiers that are all 0.
    assert!(5 * moving > 4 * runs, "{moving} of {runs} have a gradient");
    runs
}

#[test]
fn steps_of_small_networks_have_the_bits_of_the_general_path() {
    let mut runs = 0;
    for numbers in [Numbers::Ordinary, Numbers::Special] {
        for width in [4, 16] {
            runs += compare_steps::<f32>(width, numbers, 1);
        }
        for width in [4, 8] {
            runs += compare_steps::<f64>(width, numbers, 2);
        }
    }
    println!("RESULT small_steps runs={runs} different=0");
}

#[test]
fn thousands_of_layers_take_steps_of_as_many_rows_as_any_small_network() {
    // So many weights that the tiles of the general path are longer than 64 rows.
    let layers =
        (0..3900).fold(Network::<f32>::builder(16), |builder, _| builder.dense(16, Activation::Tanh));
    let network = layers.seed(1).build().unwrap();
    let x: Vec<f32> = (0..128 * 16).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    let run = |report: bool| {
        let builder = Trainer::builder(network.clone()).max_batch(512);
        let mut trainer = if report { builder.layer_stats().build() } else { builder.build() }.unwrap();
        let losses = [64, 65, 100, 128].map(|rows| trainer.step(&x[..rows * 16], &x[..rows * 16]).unwrap());
        (losses, bits(trainer.gradients()))
    };
    assert_eq!(run(false), run(true));
}

/// Outputs of a workspace, whose network is small, and of a trainer's forward pass, which knows no small
/// networks.
fn compare_predictions<T: Element>(isa: Isa, width: usize) {
    let mut random = Random(3);
    for which in 0..100 {
        let batch = 1 + random.below([6, 12, 63][which % 3]);
        let case = small_case(&mut random, width, batch);
        let x = Data::<T>::of(&case, Numbers::Ordinary).x;
        let network = case.network::<T>(isa);
        let not_a_number = T::from_f64(f64::NAN);
        let mut y = vec![not_a_number; case.batch * network.outputs()];
        let mut workspace = network.workspace(batch).unwrap();
        network.predict_into(&x, &mut y, &mut workspace).unwrap();
        let mut trainer = Trainer::builder(network.clone()).max_batch(batch).build().unwrap();
        let expected = bits(trainer.forward(&x).unwrap());
        assert_eq!(bits(&y), expected, "{}", case.describe(isa));
        // A row alone.
        let row = &mut y[..network.outputs()];
        row.fill(not_a_number);
        network.predict_into(&x[..case.sizes[0]], row, &mut network.workspace(1).unwrap()).unwrap();
        assert_eq!(bits(&y), expected, "one row of {}", case.describe(isa));
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

/// 3-4-2 with the same weights.
fn of_activations(hidden: Activation, output: Activation) -> Network<f32> {
    Network::builder(3).dense(4, hidden).dense(2, output).seed(8).build().unwrap()
}

#[test]
fn a_workspace_serves_every_network_of_its_shapes() {
    let x: Vec<f32> = (0..15).map(|i| (i * 7 % 11) as f32 / 5.0 - 1.0).collect();
    let scaler = || Scaler::new(vec![0.5; 3], vec![2.0; 3]).unwrap();
    let mut networks = vec![
        of_activations(Activation::Tanh, Activation::Identity),
        of_activations(Activation::Tanh, Activation::Softmax),
        of_activations(Activation::Gelu, Activation::Sigmoid),
        Network::builder(3)
            .dense(4, Activation::Relu)
            .dropout(0.5)
            .dense(2, Activation::Tanh)
            .seed(8)
            .build()
            .unwrap(),
    ];
    let mut scaled = of_activations(Activation::Tanh, Activation::Identity);
    scaled.set_scaler(Some(scaler())).unwrap();
    networks.push(scaled);
    let predict = |network: &Network<f32>, workspace: &mut Workspace<f32>| {
        let mut y = [f32::NAN; 10];
        network.predict_into(&x, &mut y, workspace).unwrap();
        y
    };
    let mut seen = Vec::new();
    for network in &networks {
        let expected = predict(network, &mut network.workspace(5).unwrap());
        for other in &networks {
            assert_eq!(predict(network, &mut other.workspace(5).unwrap()), expected, "{network:?} {other:?}");
        }
        assert!(!seen.contains(&expected), "{network:?}");
        seen.push(expected);
    }
    // A scaler that comes or goes after the workspace was made.
    let mut network = networks.swap_remove(0);
    let mut workspace = network.workspace(5).unwrap();
    network.set_scaler(Some(scaler())).unwrap();
    assert_eq!(predict(&network, &mut workspace), seen[4]);
    network.set_scaler(None).unwrap();
    assert_eq!(predict(&network, &mut workspace), seen[0]);
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
            let (mut right, mut found) = ([f32::NAN; 21], [f32::NAN; 21]);
            network.predict_into(&x, &mut right, &mut workspace).unwrap();
            assert!(right.iter().all(|y| y.abs() > 0.0), "{right:?}");
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
