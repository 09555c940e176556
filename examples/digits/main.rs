//! Learns handwritten digits.
//!
//! ```text
//! cargo run --release --example digits                         8x8 digits, in the repository: 64-128-10
//! cargo run --release --example digits -- --data DIR           MNIST-format files: 784-128-10
//! cargo run --release --example digits -- --epochs N --seed N
//! ```

mod data;
#[path = "../common/options.rs"]
mod options;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use data::Set;
use fuseprop::{Activation, Loss, Network, Optimizer, Schedule, Trainer, Workspace, metrics};
use indicatif::{ProgressBar, ProgressStyle};
use options::{Options, Stop};

const CLASSES: usize = 10;
const BATCH: usize = 8;
/// Falls to 0 along half a cosine (Loshchilov and Hutter 2017).
const LEARNING_RATE: f64 = 0.2;
/// Training pictures are moved at random by up to this part of their width, each way, in every epoch: a
/// thousand or so pictures are too few to learn from as they are.
const SHIFT: f32 = 1.0 / 16.0;
/// The part of the digits that is kept for the test.
const TEST_SHARE: usize = 5;

struct Arguments {
    data: Option<PathBuf>,
    epochs: usize,
    seed: u64,
}

fn main() -> ExitCode {
    let mut options = Options::new("digits", "usage: digits [--data DIR] [--epochs N] [--seed N]");
    let result = arguments(&mut options).and_then(|arguments| Ok(run(&arguments)?));
    options.end(result)
}

fn arguments(options: &mut Options) -> Result<Arguments, Stop> {
    let data = options.value("--data")?.map(PathBuf::from);
    let (epochs, seed) = (options.number("--epochs", 60)? as usize, options.number("--seed", 1)?);
    options.done()?;
    Ok(Arguments { data, epochs, seed })
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let mut random = SplitMix(arguments.seed);
    let (train, test) = match &arguments.data {
        Some(folder) => (data::mnist(folder, "train")?, data::mnist(folder, "t10k")?),
        None => {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/digits.csv.gz");
            divide(&data::digits(&path)?, &mut random)
        }
    };
    if train.features != test.features {
        return Err(format!("training images have {} pixels, test images {}", train.features, test.features));
    }
    let network = train_network(&train, arguments, &mut random).map_err(|error| error.to_string())?;
    report(&network, &test).map_err(|error| error.to_string())
}

/// A shuffled split into training and test rows.
fn divide(set: &Set, random: &mut SplitMix) -> (Set, Set) {
    let mut order: Vec<usize> = (0..set.len()).collect();
    random.shuffle(&mut order);
    let (test, train) = order.split_at(set.len() / TEST_SHARE);
    let gather = |rows: &[usize]| Set {
        features: set.features,
        width: set.width,
        x: rows.iter().flat_map(|&r| set.row(r)).copied().collect(),
        labels: rows.iter().map(|&r| set.labels[r]).collect(),
    };
    (gather(train), gather(test))
}

fn train_network(
    train: &Set,
    arguments: &Arguments,
    random: &mut SplitMix,
) -> Result<Network<f32>, fuseprop::Error> {
    let network = Network::<f32>::builder(train.features)
        .dense(128, Activation::Relu)
        .dense(CLASSES, Activation::Identity)
        .seed(arguments.seed)
        .build()?;
    println!("{}-128-{CLASSES} on {}, {} training rows", train.features, network.isa(), train.len());
    let mut trainer = Trainer::builder(network)
        .loss(Loss::SoftmaxCrossEntropy)
        .optimizer(Optimizer::sgd(LEARNING_RATE))
        .max_batch(BATCH)
        .build()?;

    let bar = ProgressBar::new(arguments.epochs as u64).with_style(
        ProgressStyle::with_template("{bar:40} epoch {pos}/{len}").expect("the template is constant"),
    );
    // Not `Trainer::fit`: the pictures are moved anew in every epoch.
    let schedule = Schedule::cosine(arguments.epochs.max(1), 0.0);
    let mut workspace = trainer.network().workspace(train.len())?;
    let mut order: Vec<usize> = (0..train.len()).collect();
    let reach = SHIFT * train.width as f32;
    let mut x = Vec::with_capacity(BATCH * train.features);
    let mut labels = Vec::with_capacity(BATCH);
    let start = Instant::now();
    for epoch in 1..=arguments.epochs {
        trainer.set_learning_rate(schedule.rate(LEARNING_RATE, epoch - 1))?;
        random.shuffle(&mut order);
        let mut loss = 0.0;
        for rows in order.chunks(BATCH) {
            x.clear();
            labels.clear();
            for &r in rows {
                let (dx, dy) = (reach * random.signed(), reach * random.signed());
                train.extend_shifted(&mut x, r, dx, dy);
                labels.push(train.labels[r]);
            }
            loss += trainer.step(&x, &labels)? * rows.len() as f64;
        }
        let outputs = predict(trainer.network(), train, &mut workspace)?;
        let accuracy = metrics::accuracy(&outputs, &train.labels)?;
        let line = format!(
            "epoch {epoch:>3}: loss {:.4}, accuracy {:.2} % of the training rows",
            loss / train.len() as f64,
            100.0 * accuracy
        );
        if bar.is_hidden() {
            println!("{line}")
        } else {
            bar.println(line)
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let samples = (arguments.epochs * train.len()) as f64;
    println!(
        "{} epochs in {seconds:.2} s: {:.0} samples per second, with the accuracy of each epoch",
        arguments.epochs,
        samples / seconds
    );
    Ok(trainer.into_network())
}

/// The outputs of every row.
fn predict(
    network: &Network<f32>,
    set: &Set,
    workspace: &mut Workspace<f32>,
) -> Result<Vec<f32>, fuseprop::Error> {
    let mut outputs = vec![0.0; set.len() * CLASSES];
    network.predict_into(&set.x, &mut outputs, workspace)?;
    Ok(outputs)
}

fn report(network: &Network<f32>, test: &Set) -> Result<(), fuseprop::Error> {
    let outputs = predict(network, test, &mut network.workspace(test.len())?)?;
    let confusion = metrics::confusion_matrix(&outputs, &test.labels)?;
    let accuracy = metrics::accuracy(&outputs, &test.labels)?;
    println!("\ntest accuracy {:.2} % of {} rows\n", 100.0 * accuracy, test.len());
    println!("rows: the digit, columns: the prediction");
    println!("    {}", (0..CLASSES).map(|digit| format!("{digit:>5}")).collect::<String>());
    for (digit, row) in confusion.iter().enumerate() {
        println!("{digit:>4}{}", row.iter().map(|count| format!("{count:>5}")).collect::<String>());
    }
    Ok(())
}

/// A small generator (Steele, Lea and Flood 2014): the same shuffles everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform from -1 to 1: 24 bits, which an `f32` holds exactly.
    fn signed(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Fisher and Yates; the bias of the remainder is below 2^-50 for any such length.
    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            order.swap(last, (self.next() % (last as u64 + 1)) as usize);
        }
    }
}
