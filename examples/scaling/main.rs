//! How the throughput of training grows with threads, batch and width: beside the naive reference and the
//! peak of the machine, which a loop of fused multiply-adds on registers alone shows in the same run.
//!
//! ```text
//! cargo run --release --example scaling                   half a minute on two cores
//! cargo run --release --example scaling -- --quick        fewer points, within 20 seconds
//! cargo run --release --example scaling -- --out DIR      where the plots go; target/scaling if not said
//! cargo run --release --example scaling -- --precision bf16
//!                                                         products of bf16, beside the peak of f32
//! ```
//!
//! Every point is trained on one thread, two, four and so on up to all from the same seed, and the parameters
//! are compared bit by bit. Steps are timed on a thread of the pool, as training loops should run: to enter
//! it costs a wake-up.

mod measure;
#[path = "../common/options.rs"]
mod options;
#[path = "../common/peak.rs"]
mod peak;
#[path = "../common/plot.rs"]
mod plot;
#[path = "../common/processor.rs"]
mod processor;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use fuseprop::Precision;
use indicatif::{ProgressBar, ProgressStyle};
use measure::{Point, Shape, Timing};
use options::{Options, Stop};
use plot::{Axis, Chart, Legend, Scale, Series, Style};

/// One thing that grows, all else the same.
struct Sweep {
    name: &'static str,
    title: String,
    shapes: Vec<Shape>,
    /// Numbers of threads that each shape is timed on.
    threads: Vec<usize>,
}

/// Numbers of threads, from one to all, and the peak of each in GFLOP/s; 0 where it cannot be measured.
struct Peaks(Vec<(usize, f64)>);

impl Peaks {
    fn measure(counts: &[usize]) -> Self {
        Self(counts.iter().map(|&threads| (threads, peak::peak(threads) / 1e9)).collect())
    }

    fn of(&self, threads: usize) -> f64 {
        self.0.iter().find(|(count, _)| *count == threads).map_or(0.0, |(_, rate)| *rate)
    }
}

fn main() -> ExitCode {
    let mut options = Options::new("scaling", "usage: scaling [--quick] [--out DIR] [--precision f32|bf16]");
    let result = run(&mut options);
    options.end(result)
}

fn run(options: &mut Options) -> Result<(), Stop> {
    let (quick, out) = (options.flag("--quick"), options.folder("target/scaling")?);
    let precision = match options.value("--precision")?.as_deref() {
        None | Some("f32") => Precision::F32,
        Some("bf16") => Precision::Bf16,
        Some(other) => return Err(Stop::Usage(format!("--precision: {other} is neither f32 nor bf16"))),
    };
    options.done()?;
    options::make_folder(&out)?;
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let counts = processor::thread_counts(cores);
    let peaks = Peaks::measure(&counts);
    println!(
        "{}, {cores} threads; fuseprop runs on {} in {precision:?}; peak {:.0} GFLOP/s on one and {:.0} on all",
        processor::name(),
        fuseprop::Isa::detect(),
        peaks.of(1),
        peaks.of(cores)
    );
    let (sweeps, budget) =
        (sweeps(quick, &counts, precision), Duration::from_millis(if quick { 120 } else { 500 }));
    let count: usize = sweeps.iter().map(|sweep| sweep.shapes.len() * (sweep.threads.len() + 1)).sum();
    let bar = ProgressBar::new(count as u64).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}").expect("the template is constant"),
    );
    let mut paths = Vec::new();
    for sweep in &sweeps {
        let points = sweep.measure(budget, &counts, &bar)?;
        bar.suspend(|| print_table(sweep, &points, &peaks));
        paths.extend(plot::draw(&sweep.chart(&points, &peaks), &out, sweep.name)?);
    }
    bar.finish_and_clear();
    print_paths(&paths);
    Ok(())
}

fn powers(from: u32, to: u32, step: usize) -> impl Iterator<Item = usize> {
    (from..=to).step_by(step).map(|power| 1usize << power)
}

/// What is measured: networks of three square layers.
fn sweeps(quick: bool, counts: &[usize], precision: Precision) -> Vec<Sweep> {
    let (batch_step, width_step) = if quick { (4, 4) } else { (2, 1) };
    let mut ends = vec![1, counts[counts.len() - 1]];
    ends.dedup();
    vec![
        Sweep {
            name: "threads",
            title: "512-512-512-512 at batch 1,024".into(),
            shapes: vec![Shape { batch: 1024, width: 512, precision }],
            threads: counts.to_vec(),
        },
        Sweep {
            name: "batch",
            title: "64-64-64-64".into(),
            shapes: powers(0, 16, batch_step).map(|batch| Shape { batch, width: 64, precision }).collect(),
            threads: ends.clone(),
        },
        Sweep {
            name: "width",
            title: "W-W-W-W at batch 256".into(),
            shapes: powers(3, 11, width_step).map(|width| Shape { batch: 256, width, precision }).collect(),
            threads: ends,
        },
    ]
}

impl Sweep {
    /// Times every shape, once the bits of its steps are the same on all of some numbers of threads.
    fn measure(&self, budget: Duration, counts: &[usize], bar: &ProgressBar) -> Result<Vec<Point>, String> {
        let mut points = Vec::new();
        for &shape in &self.shapes {
            bar.set_message(format!("{}: batch {}, width {}", self.name, shape.batch, shape.width));
            measure::check_bits(shape, counts)?;
            let timings = self.threads.iter().map(|&threads| {
                let timing = measure::train(shape, threads, budget);
                bar.inc(1);
                timing
            });
            let timings = timings.collect::<Result<Vec<Timing>, String>>()?;
            let reference = measure::reference(shape, budget);
            bar.inc(1);
            points.push(Point { shape, timings, reference });
        }
        Ok(points)
    }

    /// What grows, at a point.
    fn position(&self, shape: Shape, threads: usize) -> usize {
        match self.name {
            "threads" => threads,
            "batch" => shape.batch,
            _ => shape.width,
        }
    }

    fn chart(&self, points: &[Point], peaks: &Peaks) -> Chart {
        let mut series = Vec::new();
        let mut add = |name: String, style, points: Vec<(f64, f64)>| {
            if points.iter().all(|point| point.1 > 0.0) {
                series.push(Series { name, style, points });
            }
        };
        let at = |point: &Point, threads| self.position(point.shape, threads) as f64;
        let (first, last) = (&points[0], &points[points.len() - 1]);
        let (one, all) = (self.threads[0], self.threads[self.threads.len() - 1]);
        if self.name == "threads" {
            let timings = first.timings.iter();
            add(
                "fuseprop".into(),
                Style::Marked,
                timings.map(|t| (t.threads as f64, first.gflops(t))).collect(),
            );
            let line = |rate: f64| vec![(one as f64, rate), (all as f64, rate)];
            add("naive reference, one thread".into(), Style::Line, line(first.reference_gflops()));
            let of_counts = peaks.0.iter().map(|&(threads, rate)| (threads as f64, rate));
            add("peak".into(), Style::Dashed, of_counts.collect());
        } else {
            for (i, threads) in self.threads.iter().enumerate() {
                let name = format!("fuseprop, {threads} thread{}", if *threads == 1 { "" } else { "s" });
                let of_threads = points.iter().map(|p| (at(p, *threads), p.gflops(&p.timings[i])));
                add(name, Style::Marked, of_threads.collect());
            }
            let naive = points.iter().map(|p| (at(p, 1), p.reference_gflops())).collect();
            add("naive reference".into(), Style::Marked, naive);
            let roof = |rate: f64| vec![(at(first, 1), rate), (at(last, 1), rate)];
            add(format!("peak, {all} threads"), Style::Dashed, roof(peaks.of(all)));
        }
        let label = match self.name {
            "threads" => "threads",
            "batch" => "batch, rows",
            _ => "width of every layer, features",
        };
        Chart {
            title: format!("A training step of {}", self.title),
            x: Axis { label, scale: Scale::PowersOfTwo },
            y: Axis { label: "useful GFLOP/s", scale: Scale::Log },
            series,
            legend: Legend::Middle,
        }
    }
}

fn print_table(sweep: &Sweep, points: &[Point], peaks: &Peaks) {
    println!("\n{}: {}", sweep.name, sweep.title);
    let grows = if sweep.name == "threads" { "batch" } else { sweep.name };
    println!(
        "{:>8} {:>8} {:>14} {:>9} {:>8} {:>10} {:>10}  bits",
        grows, "threads", "samples/s", "GFLOP/s", "of peak", "one thread", "reference"
    );
    for point in points {
        for timing in &point.timings {
            let rate = point.gflops(timing);
            let peak = peaks.of(timing.threads);
            let of_peak = if peak > 0.0 { format!("{:.0} %", 100.0 * rate / peak) } else { "-".into() };
            println!(
                "{:>8} {:>8} {:>14.0} {:>9.2} {:>8} {:>9.2}x {:>9.0}x  same",
                if grows == "width" { point.shape.width } else { point.shape.batch },
                timing.threads,
                point.samples_per_second(timing),
                rate,
                of_peak,
                point.timings[0].seconds / timing.seconds,
                rate / point.reference_gflops(),
            );
        }
    }
}

fn print_paths(paths: &[PathBuf]) {
    let folder = paths[0].parent().unwrap_or(Path::new("."));
    println!("\nplots in {}:", folder.display());
    for path in paths {
        println!("  {}", path.file_name().unwrap_or_default().to_string_lossy());
    }
}
