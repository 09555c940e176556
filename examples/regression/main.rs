//! How far cars go on a gallon: regression on a table, with scaled inputs and targets, early stopping, and a
//! plot of what was predicted against what is true.
//!
//! ```text
//! cargo run --release --example regression                    plots in target/regression
//! cargo run --release --example regression -- --out DIR --seed N
//! ```
//!
//! The table is Auto MPG (Quinlan 1993): see `examples/data/README.md`.

#[path = "../common/options.rs"]
mod options;
#[path = "../common/plot.rs"]
mod plot;
mod table;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use fuseprop::{
    Activation, AdamW, Dataset, EpochReport, FitOptions, Network, Scaler, Schedule, Trainer, metrics,
};
use indicatif::{ProgressBar, ProgressStyle};
use options::{Options, Stop, make_folder};
use plot::{Axis, Chart, Legend, Scale, Series, Style};
use table::Table;

const USAGE: &str = "usage: regression [--out DIR] [--seed N]";
const EPOCHS: usize = 400;
const PATIENCE: usize = 40;
const BATCH: usize = 16;

/// A fit, with its losses of each epoch: on the training rows and on the validation rows.
struct Fitted {
    network: Network<f32>,
    losses: [Vec<(f64, f64)>; 2],
    best: usize,
}

fn main() -> ExitCode {
    let mut options = Options::new("regression", USAGE);
    let result = run(&mut options);
    options.end(result)
}

fn run(options: &mut Options) -> Result<(), Stop> {
    let out = options.folder("target/regression")?;
    let seed = options.number("--seed", 1)?;
    options.done()?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/auto-mpg.csv");
    let [train, valid, test] = Table::read(&path)?.divide(seed);
    println!("{} cars to train on, {} to stop by, {} to test", train.len(), valid.len(), test.len());
    make_folder(&out)?;

    // A network without a hidden layer is linear regression.
    let linear = fit(&[], (&train, &valid), seed)?;
    let deep = fit(&[64, 64], (&train, &valid), seed)?;
    println!("the least loss on the validation rows came after epoch {}", deep.best);
    let mean = train.y.iter().sum::<f32>() / train.len() as f32;
    let predicted = predict(&deep.network, &test)?;
    println!("\n{:<28} {:>8} {:>8} {:>8}", "on the test rows, mpg", "RMSE", "MAE", "R2");
    print_errors("the mean of the training rows", &vec![mean; test.len()], &test.y)?;
    print_errors("linear", &predict(&linear.network, &test)?, &test.y)?;
    print_errors("9-64-64-1", &predicted, &test.y)?;

    let mut paths = plot::draw(&chart_of_predictions(&predicted, &test), &out, "predicted")?.to_vec();
    paths.extend(plot::draw(&chart_of_losses(deep.losses), &out, "loss")?);
    println!("\nin {}:", out.display());
    for path in paths {
        println!("  {}", path.file_name().unwrap_or_default().to_string_lossy());
    }
    Ok(())
}

/// Trains on scaled rows; the network that is returned takes rows and gives miles per gallon as they are in
/// the table.
fn fit(hidden: &[usize], (train, valid): (&Table, &Table), seed: u64) -> Result<Fitted, Stop> {
    let mut builder = Network::<f32>::builder(table::FEATURES);
    for &width in hidden {
        builder = builder.dense(width, Activation::Silu);
    }
    let mut network = builder.dense(1, Activation::Identity).seed(seed).build()?;
    network.set_scaler(Some(Scaler::fit(&train.x, table::FEATURES)?))?;
    let targets = Scaler::fit(&train.y, 1)?;
    let (mut y, mut valid_y) = (train.y.clone(), valid.y.clone());
    targets.apply(&mut y)?;
    targets.apply(&mut valid_y)?;

    let optimizer = AdamW::new(3e-3).weight_decay(1e-2);
    let mut trainer = Trainer::builder(network).optimizer(optimizer).max_batch(BATCH).build()?;
    let how = FitOptions::new(EPOCHS, BATCH)
        .seed(seed)
        .schedule(Schedule::cosine(EPOCHS, 0.0).warm_up(5, 0.1))
        .validation(Dataset::new(&valid.x, &valid_y))
        .early_stopping(PATIENCE);
    let bar = ProgressBar::new(EPOCHS as u64).with_style(
        ProgressStyle::with_template("{bar:40} epoch {pos}/{len}, {msg}").expect("the template is constant"),
    );
    let mut losses = [Vec::new(), Vec::new()];
    let outcome = trainer.fit(Dataset::new(&train.x, &y), &how, |_, epoch: &EpochReport| {
        losses[0].push((epoch.number as f64, epoch.loss));
        losses[1].push((epoch.number as f64, epoch.monitored_loss()));
        bar.set_message(format!("validation {:.4}", epoch.monitored_loss()));
        bar.inc(1);
        ControlFlow::Continue(())
    })?;
    bar.finish_and_clear();
    let mut network = trainer.into_network();
    network.fold_output_scaler(&targets)?;
    Ok(Fitted { network, losses, best: outcome.best.number })
}

fn predict(network: &Network<f32>, table: &Table) -> Result<Vec<f32>, Stop> {
    let mut y = vec![0.0; table.len()];
    network.predict_into(&table.x, &mut y, &mut network.workspace(table.len())?)?;
    Ok(y)
}

fn print_errors(name: &str, predicted: &[f32], truth: &[f32]) -> Result<(), fuseprop::Error> {
    let squares = predicted.iter().zip(truth).map(|(y, t)| f64::from(y - t).powi(2)).sum::<f64>();
    let rmse = (squares / truth.len() as f64).sqrt();
    let mae = metrics::mean_absolute_error(predicted, truth)?;
    let r2 = metrics::r2_score(predicted, truth, 1)?;
    println!("{name:<28} {rmse:>8.2} {mae:>8.2} {r2:>8.3}");
    Ok(())
}

fn chart_of_predictions(predicted: &[f32], test: &Table) -> Chart {
    let points = test.y.iter().zip(predicted).map(|(&t, &y)| (f64::from(t), f64::from(y)));
    let ends = |f: fn(f32, f32) -> f32, start| f64::from(test.y.iter().copied().fold(start, f));
    let (low, high) = (ends(f32::min, f32::INFINITY), ends(f32::max, f32::NEG_INFINITY));
    Chart {
        title: "Cars the network has not seen".into(),
        x: Axis { label: "true miles per gallon", scale: Scale::Linear },
        y: Axis { label: "predicted", scale: Scale::Linear },
        series: vec![
            Series { name: "a car".into(), style: Style::Points, points: points.collect() },
            Series { name: "perfect".into(), style: Style::Dashed, points: vec![(low, low), (high, high)] },
        ],
        legend: Legend::Lower,
    }
}

fn chart_of_losses([train, valid]: [Vec<(f64, f64)>; 2]) -> Chart {
    Chart {
        title: "Mean squared error by epoch, in deviations".into(),
        x: Axis { label: "epoch", scale: Scale::Linear },
        y: Axis { label: "loss", scale: Scale::Log },
        series: vec![
            Series { name: "training rows".into(), style: Style::Line, points: train },
            Series { name: "validation rows".into(), style: Style::Line, points: valid },
        ],
        legend: Legend::Upper,
    }
}
