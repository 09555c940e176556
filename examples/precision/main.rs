//! Trains handwritten digits in `f32` and with products of bf16, over ten seeds each: test accuracies, and
//! the losses of both in one picture.
//!
//! ```text
//! cargo run --release --example precision                      8x8 digits, in the repository: 64-128-10
//! cargo run --release --example precision -- --data DIR        MNIST-format files: 784-128-10
//! cargo run --release --example precision -- --seeds N --epochs N --out DIR
//! ```

#[path = "../digits/data.rs"]
#[allow(dead_code, reason = "pictures are not moved here")]
mod data;
#[path = "../common/options.rs"]
mod options;
#[path = "../common/plot.rs"]
mod plot;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use data::Set;
use fuseprop::{
    Activation, Dataset, FitOptions, Loss, Network, Optimizer, Precision, Schedule, Trainer, metrics,
};
use options::{Options, Stop};
use plot::{Axis, Chart, Legend, Scale, Series, Style};

const CLASSES: usize = 10;
const BATCH: usize = 16;
const LEARNING_RATE: f64 = 0.1;
/// The part of the digits that is kept for the test.
const TEST_SHARE: usize = 5;
const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

struct Arguments {
    data: Option<PathBuf>,
    seeds: u64,
    epochs: usize,
    out: PathBuf,
}

/// One training.
struct Run {
    /// Of each epoch.
    losses: Vec<f64>,
    accuracy: f64,
}

fn main() -> ExitCode {
    let usage = "usage: precision [--data DIR] [--seeds N] [--epochs N] [--out DIR]";
    let mut options = Options::new("precision", usage);
    let result = arguments(&mut options).and_then(|arguments| run(&arguments));
    options.end(result)
}

fn arguments(options: &mut Options) -> Result<Arguments, Stop> {
    let data = options.value("--data")?.map(PathBuf::from);
    let (seeds, epochs) = (options.number("--seeds", 10)?.max(1), options.number("--epochs", 30)? as usize);
    let out = options.folder("target/precision")?;
    options.done()?;
    Ok(Arguments { data, seeds, epochs: epochs.max(1), out })
}

fn run(arguments: &Arguments) -> Result<(), Stop> {
    options::make_folder(&arguments.out)?;
    println!("{:>6} {:>10} {:>10} {:>12} {:>12}", "seed", "f32", "bf16", "loss, f32", "loss, bf16");
    let mut runs: [Vec<Run>; 2] = [Vec::new(), Vec::new()];
    for seed in 1..=arguments.seeds {
        let (train, test) = sets(arguments, seed)?;
        for (runs, precision) in runs.iter_mut().zip(PRECISIONS) {
            runs.push(train_network(&train, &test, precision, seed, arguments.epochs)?);
        }
        let [exact, rounded] = [0, 1].map(|i| &runs[i][runs[i].len() - 1]);
        let last = |run: &Run| run.losses[run.losses.len() - 1];
        println!(
            "{seed:>6} {:>8.2} % {:>8.2} % {:>12.5} {:>12.5}",
            100.0 * exact.accuracy,
            100.0 * rounded.accuracy,
            last(exact),
            last(rounded),
        );
    }
    let mean = |runs: &[Run]| 100.0 * runs.iter().map(|run| run.accuracy).sum::<f64>() / runs.len() as f64;
    let [exact, rounded] = [mean(&runs[0]), mean(&runs[1])];
    println!("  mean {exact:>8.2} % {rounded:>8.2} %, {:+.2} points", rounded - exact);
    let name = if arguments.data.is_some() { "mnist" } else { "digits" };
    for path in plot::draw(&chart(&runs), &arguments.out, name)? {
        println!("{}", path.display());
    }
    Ok(())
}

/// Training and test rows; of the digits another part for each seed.
fn sets(arguments: &Arguments, seed: u64) -> Result<(Set, Set), String> {
    match &arguments.data {
        Some(folder) => Ok((data::mnist(folder, "train")?, data::mnist(folder, "t10k")?)),
        None => {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits.csv.gz");
            let all = data::digits(&path)?;
            let part = |is_test: bool| {
                let rows =
                    (0..all.len()).filter(|row| (row + seed as usize).is_multiple_of(TEST_SHARE) == is_test);
                let rows: Vec<usize> = rows.collect();
                Set {
                    features: all.features,
                    width: all.width,
                    x: rows.iter().flat_map(|&row| all.row(row)).copied().collect(),
                    labels: rows.iter().map(|&row| all.labels[row]).collect(),
                }
            };
            Ok((part(false), part(true)))
        }
    }
}

fn train_network(
    train: &Set,
    test: &Set,
    precision: Precision,
    seed: u64,
    epochs: usize,
) -> Result<Run, fuseprop::Error> {
    let network = Network::<f32>::builder(train.features)
        .dense(128, Activation::Relu)
        .dense(CLASSES, Activation::Identity)
        .seed(seed)
        .build()?;
    let mut trainer = Trainer::builder(network)
        .loss(Loss::SoftmaxCrossEntropy)
        .optimizer(Optimizer::sgd(LEARNING_RATE))
        .precision(precision)
        .max_batch(BATCH)
        .build()?;
    let how = FitOptions::new(epochs, BATCH).schedule(Schedule::cosine(epochs, 0.0));
    let mut losses = Vec::new();
    trainer.fit(Dataset::new(&train.x, &train.labels), &how, |_, epoch| {
        losses.push(epoch.loss);
        ControlFlow::Continue(())
    })?;
    let network = trainer.into_network();
    let mut workspace = network.workspace(test.len())?.precision(precision)?;
    let mut outputs = vec![0.0; test.len() * CLASSES];
    network.predict_into(&test.x, &mut outputs, &mut workspace)?;
    Ok(Run { losses, accuracy: metrics::accuracy(&outputs, &test.labels)? })
}

/// The mean loss of each epoch.
fn chart(runs: &[Vec<Run>; 2]) -> Chart {
    let series = runs.iter().zip(["f32", "bf16"]).map(|(runs, name)| {
        let mean = |epoch: usize| runs.iter().map(|run| run.losses[epoch]).sum::<f64>() / runs.len() as f64;
        let points = (0..runs[0].losses.len()).map(|epoch| ((epoch + 1) as f64, mean(epoch).max(1e-9)));
        let style = if name == "f32" { Style::Line } else { Style::Points };
        Series { name: name.into(), style, points: points.collect() }
    });
    Chart {
        title: format!("The training loss, mean of {} seeds", runs[0].len()),
        x: Axis { label: "epoch", scale: Scale::Linear },
        y: Axis { label: "cross-entropy", scale: Scale::Log },
        series: series.collect(),
        legend: Legend::Upper,
    }
}
