//! Every public function with slices of every length up to twice the right one, and with numbers that cannot
//! be: an error where they do not fit, and then nothing has changed.

use crate::common::{go_on, parameters};
use fuseprop::{
    Activation, Dataset, Error, FitOptions, Init, Loss, Network, Optimizer, Parallelism, Reduction, Scaler,
    Schedule, Targets, Trainer, Workspace, metrics,
};

const INPUTS: usize = 3;
const OUTPUTS: usize = 2;
const ROWS: usize = 3;
const MAX_BATCH: usize = 4;

/// What functions are called on.
struct Subject {
    /// Compares values.
    regressor: Trainer<f32>,
    /// Compares classes.
    classifier: Trainer<f32>,
    network: Network<f32>,
    workspace: Workspace<f32>,
    scaler: Scaler<f32>,
    /// Where functions write.
    buffer: Vec<f32>,
}

fn network() -> Network<f32> {
    let builder = Network::builder(INPUTS).dense(5, Activation::Relu).layer_norm(Activation::Tanh);
    builder.dense(OUTPUTS, Activation::Identity).seed(1).build().unwrap()
}

impl Subject {
    fn new() -> Self {
        let trainer = |loss| {
            let builder = Trainer::builder(network()).loss(loss).optimizer(Optimizer::adam(0.01));
            builder.max_batch(MAX_BATCH).parallelism(Parallelism::Serial).input_gradients().build().unwrap()
        };
        let network = network();
        Self {
            regressor: trainer(Loss::MeanSquaredError),
            classifier: trainer(Loss::SoftmaxCrossEntropy),
            workspace: network.workspace(MAX_BATCH).unwrap(),
            network,
            scaler: Scaler::new(vec![0.5; INPUTS], vec![2.0; INPUTS]).unwrap(),
            buffer: vec![7.0; 200],
        }
    }

    /// All that may not change: parameters, gradients, counts, rates and what is written to.
    fn state(&self) -> Vec<u64> {
        let mut numbers = self.buffer.clone();
        let trainers = [&self.regressor, &self.classifier];
        for network in [&self.network, trainers[0].network(), trainers[1].network()] {
            numbers.extend(parameters(network));
            let scaler = network.scaler();
            numbers.extend(scaler.iter().flat_map(|scaler| scaler.means().iter().chain(scaler.stds())));
        }
        numbers.extend(trainers.iter().flat_map(|trainer| trainer.gradients()));
        let mut state: Vec<u64> = numbers.iter().map(|x| x.to_bits().into()).collect();
        state.extend(trainers.iter().flat_map(|t| [t.steps(), t.optimizer().learning_rate().to_bits()]));
        state
    }
}

/// Numbers and classes to give away slices of.
static X: [f32; 200] = [0.5; 200];
static CLASSES: [u32; 200] = [1; 200];

/// A function, the right lengths of its slices, and which others are right too.
struct Function {
    name: &'static str,
    lengths: Vec<usize>,
    call: fn(&mut Subject, &[usize]) -> Result<(), Error>,
    also_right: fn(&[usize]) -> bool,
}

fn function(
    name: &'static str,
    lengths: &[usize],
    call: fn(&mut Subject, &[usize]) -> Result<(), Error>,
) -> Function {
    Function { name, lengths: lengths.to_vec(), call, also_right: |_| false }
}

/// Of a function that takes any whole number of rows.
fn function_of_rows(
    name: &'static str,
    call: fn(&mut Subject, &[usize]) -> Result<(), Error>,
    also_right: fn(&[usize]) -> bool,
) -> Function {
    Function { name, lengths: vec![ROWS * INPUTS], call, also_right }
}

fn is_batch(lengths: &[usize]) -> bool {
    lengths[0] > 0 && lengths[0].is_multiple_of(INPUTS) && lengths[0] <= MAX_BATCH * INPUTS
}

fn functions() -> Vec<Function> {
    let (x, values) = (ROWS * INPUTS, ROWS * OUTPUTS);
    let parameters = network().parameter_count();
    vec![
        function("step of values", &[x, values], |s, n| s.regressor.step(&X[..n[0]], &X[..n[1]]).map(drop)),
        function("step of classes", &[x, ROWS], |s, n| {
            s.classifier.step(&X[..n[0]], &CLASSES[..n[1]]).map(drop)
        }),
        function("step with weights", &[x, ROWS, ROWS], |s, n| {
            s.classifier.step(&X[..n[0]], Targets::from(&CLASSES[..n[1]]).weights(&X[..n[2]])).map(drop)
        }),
        function("compute_gradients", &[x, values], |s, n| {
            s.regressor.compute_gradients(&X[..n[0]], &X[..n[1]]).map(drop)
        }),
        function("step with a mask", &[x, values, values], |s, n| {
            s.regressor.step(&X[..n[0]], Targets::from(&X[..n[1]]).mask(&X[..n[2]])).map(drop)
        }),
        function("compute_gradients with weights", &[x, values, ROWS], |s, n| {
            s.regressor.compute_gradients(&X[..n[0]], Targets::from(&X[..n[1]]).weights(&X[..n[2]])).map(drop)
        }),
        function("accumulate_gradients", &[x, ROWS], |s, n| {
            s.classifier.accumulate_gradients(&X[..n[0]], &CLASSES[..n[1]]).map(drop)
        }),
        function_of_rows("forward", |s, n| s.regressor.forward(&X[..n[0]]).map(drop), is_batch),
        function("backward", &[values], |s, n| {
            s.regressor.forward(&X[..ROWS * INPUTS])?;
            s.regressor.backward(&X[..n[0]])
        }),
        function("read_gradients", &[parameters], |s, n| s.regressor.read_gradients(&mut s.buffer[..n[0]])),
        function("check_gradients", &[x, ROWS], |s, n| {
            s.classifier.check_gradients(&X[..n[0]], &CLASSES[..n[1]], 1e-3).map(drop)
        }),
        function_of_rows(
            "check_custom_gradients",
            |s, n| {
                s.regressor
                    .check_custom_gradients(&X[..n[0]], 1e-3, |_, d| {
                        d.fill(0.0);
                        0.0
                    })
                    .map(drop)
            },
            is_batch,
        ),
        function("evaluate", &[x, ROWS], |s, n| {
            s.classifier.evaluate(&X[..n[0]], &CLASSES[..n[1]]).map(drop)
        }),
        function("evaluate with weights", &[x, values, ROWS], |s, n| {
            s.regressor.evaluate(&X[..n[0]], Targets::from(&X[..n[1]]).weights(&X[..n[2]])).map(drop)
        }),
        function("fit", &[x, values], |s, n| {
            s.regressor.fit(Dataset::new(&X[..n[0]], &X[..n[1]]), &FitOptions::new(1, 2), go_on).map(drop)
        }),
        function("fit with validation", &[x, values], |s, n| {
            let validation = Dataset::new(&X[..n[0]], &X[..n[1]]);
            let how = FitOptions::new(1, 2).validation(validation);
            s.regressor.fit(Dataset::new(&X[..INPUTS], &X[..OUTPUTS]), &how, go_on).map(drop)
        }),
        function("predict_into", &[x, values], |s, n| {
            s.network.predict_into(&X[..n[0]], &mut s.buffer[..n[1]], &mut s.workspace)
        }),
        function("evaluate without a trainer", &[x, values, ROWS], |s, n| {
            let targets = Targets::from(&X[..n[1]]).weights(&X[..n[2]]);
            s.network.evaluate(&X[..n[0]], targets, Loss::MeanSquaredError, &mut s.workspace).map(drop)
        }),
        function("evaluate classes without a trainer", &[x, ROWS], |s, n| {
            let loss = Loss::SoftmaxCrossEntropy;
            s.network.evaluate(&X[..n[0]], &CLASSES[..n[1]], loss, &mut s.workspace).map(drop)
        }),
        function("mean_absolute_error", &[values, values], |_, n| {
            metrics::mean_absolute_error(&X[..n[0]], &X[..n[1]]).map(drop)
        }),
        function("r2_score", &[values, values], |_, n| {
            metrics::r2_score(&X[..n[0]], &X[..n[1]], OUTPUTS).map(drop)
        }),
        function("r2_score_pooled", &[values, values], |_, n| {
            metrics::r2_score_pooled(&X[..n[0]], &X[..n[1]]).map(drop)
        }),
        Function {
            also_right: |n| n[0] > 0 && n[1] > 0 && n[0].is_multiple_of(n[1]),
            ..function("confusion_matrix", &[values, ROWS], |_, n| {
                let accuracy = metrics::accuracy(&X[..n[0]], &CLASSES[..n[1]]);
                let counts = metrics::confusion_matrix(&X[..n[0]], &CLASSES[..n[1]]);
                assert_eq!(accuracy.is_ok(), counts.is_ok());
                counts.map(drop)
            })
        },
        function("read_parameters", &[parameters], |s, n| s.network.read_parameters(&mut s.buffer[..n[0]])),
        function("write_parameters", &[parameters], |s, n| s.network.write_parameters(&X[..n[0]])),
        function("read_weights", &[5 * INPUTS], |s, n| s.network.read_weights(0, &mut s.buffer[..n[0]])),
        function("write_weights", &[5 * INPUTS], |s, n| s.network.write_weights(0, &X[..n[0]])),
        function("write_weights of a norm", &[5], |s, n| s.network.write_weights(1, &X[..n[0]])),
        function("read_biases", &[OUTPUTS], |s, n| s.network.read_biases(2, &mut s.buffer[..n[0]])),
        function("write_biases", &[OUTPUTS], |s, n| s.network.write_biases(2, &X[..n[0]])),
        function("set_scaler", &[INPUTS], |s, n| {
            let scaler = Scaler::new(X[..n[0]].to_vec(), X[..n[0]].to_vec())?;
            s.network.set_scaler(Some(scaler))
        }),
        function("fold_output_scaler", &[OUTPUTS], |s, n| {
            s.network.fold_output_scaler(&Scaler::new(X[..n[0]].to_vec(), X[..n[0]].to_vec())?)
        }),
        function_of_rows(
            "Scaler::apply",
            |s, n| s.scaler.apply(&mut s.buffer[..n[0]]),
            |n| n[0] % INPUTS == 0,
        ),
        function_of_rows(
            "Scaler::inverse",
            |s, n| s.scaler.inverse(&mut s.buffer[..n[0]]),
            |n| n[0] % INPUTS == 0,
        ),
        function_of_rows(
            "Scaler::fit",
            |_, n| Scaler::fit(&X[..n[0]], INPUTS).map(drop),
            |n| n[0] > 0 && n[0] % INPUTS == 0,
        ),
        function("Scaler::new", &[4, 4], |_, n| {
            Scaler::new(X[..n[0]].to_vec(), X[..n[1]].to_vec()).map(drop)
        }),
        function("class_weights", &[OUTPUTS], |_, n| {
            let builder = Trainer::builder(network()).loss(Loss::SoftmaxCrossEntropy);
            builder.class_weights(&[0.5; 200][..n[0]]).build().map(drop)
        }),
    ]
}

#[test]
fn slices_of_every_wrong_length_are_refused_and_change_nothing() {
    let functions = functions();
    let (mut refused, mut taken) = (0, 0);
    for Function { name, lengths, call, also_right } in &functions {
        for argument in 0..lengths.len() {
            for len in 0..=2 * lengths[argument] {
                let mut subject = Subject::new();
                let mut given = lengths.clone();
                given[argument] = len;
                let before = subject.state();
                match call(&mut subject, &given) {
                    Ok(()) => {
                        let right = given == *lengths || also_right(&given);
                        assert!(right, "{name} takes lengths of {given:?}");
                        taken += 1;
                    }
                    Err(error) => {
                        assert!(given != *lengths && !also_right(&given), "{name} of {given:?}: {error}");
                        assert!(subject.state() == before, "{name} of {given:?} has changed something");
                        // And it goes on working.
                        call(&mut subject, lengths).unwrap();
                        refused += 1;
                    }
                }
            }
        }
    }
    println!("RESULT misuse functions={} refused={refused} taken={taken} changed=0", functions.len());
    assert!(refused > 400 && taken >= functions.len());
}

#[test]
fn numbers_that_cannot_be_are_refused_and_change_nothing() {
    let builder = |n| Network::<f32>::builder(n).dense(1, Activation::Relu);
    let mut refused = 0;
    for n in [0, 1 << 40, 1 << 60, usize::MAX / 64, usize::MAX - 1, usize::MAX] {
        let mut subject = Subject::new();
        let before = subject.state();
        let data = Dataset::new(&X[..INPUTS], &X[..OUTPUTS]);
        let mut results = vec![
            builder(n).dense(n, Activation::Relu).dense(n, Activation::Relu).build().map(drop),
            subject.network.workspace(n).map(drop),
            Trainer::builder(network()).max_batch(n).build().map(drop),
            Scaler::fit(&X, n).map(drop),
            subject.regressor.fit(data, &FitOptions::new(1, n), go_on).map(drop),
            subject.regressor.evaluate(&X[..INPUTS], &CLASSES[..1]).map(drop),
        ];
        if n > 0 {
            results.extend([
                subject.network.read_weights(n, &mut []),
                subject.network.write_weights(n, &[]),
                subject.network.read_biases(n, &mut []),
                subject.network.write_biases(n, &[]),
            ]);
        }
        for (i, result) in results.iter().enumerate() {
            assert!(result.is_err(), "{n}, number {i}");
        }
        refused += results.len();
        assert_eq!(subject.state(), before, "{n}");
    }
    for class in [OUTPUTS as u32, u32::MAX - 1, u32::MAX] {
        let mut subject = Subject::new();
        let before = subject.state();
        let results = [
            subject.classifier.step(&X[..INPUTS], &[class]).map(drop),
            subject.classifier.compute_gradients(&X[..INPUTS], &[class]).map(drop),
            subject.classifier.accumulate_gradients(&X[..INPUTS], &[class]).map(drop),
            subject.classifier.evaluate(&X[..INPUTS], &[class]).map(drop),
            subject
                .classifier
                .fit(Dataset::new(&X[..INPUTS], &[class]), &FitOptions::new(1, 1), go_on)
                .map(drop),
            subject.classifier.check_gradients(&X[..INPUTS], &[class], 1e-3).map(drop),
        ];
        assert!(results.iter().all(Result::is_err), "{class}: {results:?}");
        refused += results.len();
        assert_eq!(subject.state(), before, "{class}");
    }
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
        let mut subject = Subject::new();
        let before = subject.state();
        let (x, t) = (&X[..INPUTS], &X[..OUTPUTS]);
        let trainer = || Trainer::builder(network());
        let schedule = FitOptions::new(1, 1).schedule(Schedule::exponential(bad));
        let results = [
            builder(1).init(Init::Normal { std: bad }).build().map(drop),
            builder(1).init(Init::Uniform { limit: bad }).build().map(drop),
            builder(1).dropout(bad).build().map(drop),
            Activation::LeakyRelu { slope: bad }.apply(&mut subject.buffer[..3]),
            trainer().optimizer(Optimizer::sgd(bad)).build().map(drop),
            // Infinite limits do not clip.
            trainer().clip_grad_norm(bad.min(0.0)).build().map(drop),
            trainer().clip_grad_value(bad.min(0.0)).build().map(drop),
            trainer().loss(Loss::Huber { delta: bad }).reduction(Reduction::Sum).build().map(drop),
            Scaler::new(vec![0.0_f32], vec![bad as f32]).map(drop),
            subject.regressor.set_learning_rate(bad),
            subject.regressor.step(x, Targets::from(t).weights(&[bad as f32])).map(drop),
            subject.regressor.step(x, Targets::from(t).mask(&[bad as f32; OUTPUTS])).map(drop),
            subject.regressor.check_gradients(x, t, bad).map(drop),
            subject.regressor.check_custom_gradients(x, bad, |_, _| 0.0).map(drop),
            subject.regressor.fit(Dataset::new(x, t), &schedule, go_on).map(drop),
        ];
        for (i, result) in results.iter().enumerate() {
            assert!(result.is_err(), "{bad}, number {i}");
        }
        refused += results.len();
        assert_eq!(subject.state(), before, "{bad}");
    }
    println!("RESULT impossible_numbers refused={refused} changed=0");
}
