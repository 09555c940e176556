//! A network learns a picture: from two coordinates to three colours, through sines (Sitzmann et al. 2020).
//!
//! ```text
//! cargo run --release --example image                         a picture of its own making, in target/image
//! cargo run --release --example image -- --input FILE.png     a picture of yours, best below 512 x 512
//! cargo run --release --example image -- --out DIR --steps N --seed N
//! ```
//!
//! Writes what the network sees after 10, 100 and 1,000 steps, the picture itself, and how the error fell.

#[path = "../common/options.rs"]
mod options;
mod picture;
#[path = "../common/plot.rs"]
mod plot;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use fuseprop::{Activation, Init, Network, Optimizer, Schedule, Trainer};
use indicatif::{ProgressBar, ProgressStyle};
use options::{Options, Stop, make_folder};
use picture::Picture;
use plot::{Axis, Chart, Legend, Scale, Series, Style};

const USAGE: &str = "usage: image [--input FILE.png] [--out DIR] [--steps N] [--seed N]";
/// Of the first layer's sines, and of the others: the paper's.
const FREQUENCY: f64 = 30.0;
const WIDTH: usize = 128;
/// Pixels of a step, drawn at random.
const BATCH: usize = 4096;
const LEARNING_RATE: f64 = 5e-4;
/// Steps after which a picture is written, besides the last.
const SHOWN: [u64; 3] = [10, 100, 1000];

fn main() -> ExitCode {
    let mut options = Options::new("image", USAGE);
    let result = run(&mut options);
    options.end(result)
}

fn run(options: &mut Options) -> Result<(), Stop> {
    let input = options.value("--input")?;
    let out = options.folder("target/image")?;
    let steps = options.number("--steps", 1000)?;
    let seed = options.number("--seed", 1)?;
    options.done()?;
    let picture = match input {
        Some(path) => Picture::read(Path::new(&path))?,
        None => Picture::example(256),
    };
    make_folder(&out)?;
    let mut paths = vec![out.join("original.png")];
    picture.write(&paths[0])?;
    paths.extend(learn(&picture, (steps, seed), &out)?);
    println!("in {}:", out.display());
    for path in paths {
        println!("  {}", path.file_name().unwrap_or_default().to_string_lossy());
    }
    Ok(())
}

/// What was written.
fn learn(picture: &Picture, (steps, seed): (u64, u64), out: &Path) -> Result<Vec<PathBuf>, Stop> {
    let sine = Activation::Sine { frequency: FREQUENCY };
    let network = Network::<f32>::builder(2)
        .init(Init::Siren { frequency: FREQUENCY })
        .dense(WIDTH, sine)
        .dense(WIDTH, sine)
        .dense(WIDTH, sine)
        .dense(3, Activation::Identity)
        .seed(seed)
        .build()?;
    println!(
        "2-{WIDTH}-{WIDTH}-{WIDTH}-3 of sines on {}, {} x {} pixels",
        network.isa(),
        picture.width,
        picture.height
    );
    let mut trainer =
        Trainer::builder(network).optimizer(Optimizer::adam(LEARNING_RATE)).max_batch(BATCH).build()?;
    let schedule = Schedule::cosine(steps.max(1) as usize, 0.0);
    let bar = ProgressBar::new(steps).with_style(
        ProgressStyle::with_template("{bar:40} step {pos}/{len}, {msg}").expect("the template is constant"),
    );
    let (coordinates, colours) = (picture.coordinates(), picture.colours());
    let mut random = picture::SplitMix(seed);
    let (mut x, mut targets) = (Vec::with_capacity(2 * BATCH), Vec::with_capacity(3 * BATCH));
    let (mut losses, mut paths, start) = (Vec::new(), Vec::new(), Instant::now());
    for step in 1..=steps {
        x.clear();
        targets.clear();
        for _ in 0..BATCH {
            let pixel = random.below(picture.width * picture.height);
            x.extend_from_slice(&coordinates[2 * pixel..][..2]);
            targets.extend_from_slice(&colours[3 * pixel..][..3]);
        }
        trainer.set_learning_rate(schedule.rate(LEARNING_RATE, step as usize - 1))?;
        let loss = trainer.step(&x, &targets)?;
        losses.push((step as f64, loss));
        bar.set_message(format!("{:.1} dB", decibel(loss)));
        bar.inc(1);
        if SHOWN.contains(&step) || step == steps {
            let seen = see(trainer.network(), picture, &coordinates)?;
            let error = seen.squared_error(picture);
            let path = out.join(format!("step-{step}.png"));
            seen.write(&path)?;
            bar.suspend(|| println!("step {step:>5}: {:.1} dB over the whole picture", decibel(error)));
            paths.push(path);
        }
    }
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    println!("{steps} steps of {BATCH} pixels in {seconds:.2} s, pictures included");
    paths.extend(plot_losses(losses, out)?);
    Ok(paths)
}

/// The picture that the network has in mind.
fn see(network: &Network<f32>, like: &Picture, coordinates: &[f32]) -> Result<Picture, Stop> {
    let pixels = like.width * like.height;
    let mut outputs = vec![0.0; 3 * pixels];
    network.predict_into(coordinates, &mut outputs, &mut network.workspace(pixels)?)?;
    Ok(Picture::of_colours(like.width, like.height, &outputs))
}

/// The ratio of the peak signal, from -1 to 1, to the error: twice as near is 6 dB more.
fn decibel(squared_error: f64) -> f64 {
    10.0 * (4.0 / squared_error).log10()
}

fn plot_losses(losses: Vec<(f64, f64)>, out: &Path) -> Result<[PathBuf; 2], String> {
    let chart = Chart {
        title: "How the picture is learnt".into(),
        x: Axis { label: "step", scale: Scale::Log },
        y: Axis { label: "mean squared error of a batch", scale: Scale::Log },
        series: vec![Series { name: "loss".into(), style: Style::Line, points: losses }],
        legend: Legend::Upper,
    };
    plot::draw(&chart, out, "loss")
}
