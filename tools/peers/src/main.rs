//! fuseprop and its peers, side by side in one run: see `README.md` beside this crate's manifest.

mod check;
#[path = "../../../examples/common/peak.rs"]
#[expect(dead_code, reason = "the peak takes turns here")]
mod fma;
mod header;
#[path = "../../../benches/networks.rs"]
mod networks;
mod options;
mod peak;
mod peer;
mod peers;
#[path = "../../../examples/common/processor.rs"]
mod processor;
mod table;
mod timing;
mod workload;

use std::process::{Command, ExitCode};

use options::Options;
use peak::Peak;
use peer::{Candidate, Peer};
use peers::python::Python;
use peers::{burn, candle, gemm, matrixmultiply, ours, rust_mlp};
use table::{Row, Unit};
use timing::Timing;
use workload::{Data, Job, Task, Workload};

pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// What sets the number of threads: of rayon and candle, of matrixmultiply, and of what Python loads.
const THREAD_VARIABLES: &[&str] =
    &["RAYON_NUM_THREADS", "MATMUL_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"];

/// Small enough that parameters stay where rounding is ordinary over any number of steps.
const LEARNING_RATE: f64 = 1e-3;

fn main() -> ExitCode {
    let run = Options::parse(std::env::args().skip(1)).and_then(|options| match options.child {
        // On a worker of the pool, for all alike: entering it from outside costs a wake-up for each step.
        Some(threads) => rayon::scope(|_| compare(&options, threads)),
        None => header::print(options.python.as_deref())
            .and_then(|()| options.threads.iter().try_for_each(|&threads| run_child(threads))),
    });
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// This program again, on `threads` threads.
fn run_child(threads: usize) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args().skip(1)).args(["--child", &threads.to_string()]);
    command.envs(THREAD_VARIABLES.iter().map(|name| (name, threads.to_string())));
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("stopped on {threads} threads").into()) }
}

fn compare(options: &Options, threads: usize) -> Result<()> {
    println!("\n# Threads: {threads}");
    let python = match &options.python {
        Some(path) => Some(Python::start(path, threads, options.torch_compile)?),
        None => None,
    };
    let python = || python.iter().flat_map(Python::candidates);
    let networks: Vec<_> = network_libraries().into_iter().chain(python()).collect();
    let products: Vec<_> = product_libraries().into_iter().chain(python()).collect();
    let section = |title, task, unit, workloads| {
        let candidates = if task == Task::Product { &products } else { &networks };
        let section = Section { title, task, unit, rounds: options.rounds, candidates };
        section.run(workloads, options.workload.as_deref())
    };
    if options.wants("train") {
        let task = Task::Train { learning_rate: LEARNING_RATE };
        section("Training step: minimum (median)", task, Unit::Time, Workload::train())?;
    }
    if options.wants("predict") {
        let title = "One row in, one row out: minimum (median)";
        section(title, Task::Predict, Unit::Time, Workload::predict_one())?;
    }
    if options.wants("products") {
        let title = "Products, GFLOP/s: at the minimum (median) of time";
        section(title, Task::Product, Unit::GflopPerSecond, Workload::products())?;
    }
    Ok(())
}

fn network_libraries() -> Vec<Candidate> {
    vec![
        Candidate::new("fuseprop", ours::build),
        Candidate::new("candle", candle::build),
        Candidate::new("burn ndarray", burn::build_ndarray),
        Candidate::new("burn flex", burn::build_flex),
        Candidate::new("rust-mlp", rust_mlp::build),
    ]
}

fn product_libraries() -> Vec<Candidate> {
    vec![
        Candidate::new("fuseprop", ours::build),
        Candidate::new("matrixmultiply", matrixmultiply::build),
        Candidate::new("gemm", gemm::build),
    ]
}

/// One table.
struct Section<'a> {
    title: &'a str,
    task: Task,
    unit: Unit,
    rounds: usize,
    candidates: &'a [Candidate],
}

impl Section<'_> {
    /// Checks and times all workloads, or the one that is named.
    fn run(&self, mut workloads: Vec<Workload>, only: Option<&str>) -> Result<()> {
        workloads.retain(|workload| only.is_none_or(|only| only == workload.name));
        if workloads.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.candidates.iter().map(|candidate| candidate.name).collect();
        table::print_head(self.title, &names);
        for workload in &workloads {
            let flop = match self.task {
                Task::Train { .. } => workload.step_flop(),
                _ => workload.forward_flop(),
            };
            let (timings, peak) = self.compare(workload)?;
            let row = Row { workload: workload.name.clone(), flop, timings, peak };
            table::print_row(&row, self.unit);
        }
        Ok(())
    }

    /// One timing a column, None for a candidate that does not do the workload; and the peak in FLOP per second.
    fn compare(&self, workload: &Workload) -> Result<(Vec<Option<Timing>>, f64)> {
        let data = match self.task {
            Task::Product => Data::product(workload)?,
            _ => Data::train(workload)?,
        };
        let job = Job { task: self.task, workload, data: &data };
        let named = |name: &str, error| format!("{name}, {}: {error}", workload.name);
        let mut peers: Vec<(&str, Box<dyn Peer>)> = Vec::new();
        for candidate in self.candidates {
            let name = candidate.name;
            if check::check(candidate, self.task, workload, &data).map_err(|error| named(name, error))? {
                let peer = (candidate.build)(&job).map_err(|error| named(name, error))?;
                peers.extend(peer.map(|peer| (name, peer)));
            }
        }
        peers.push(("peak", Box::new(Peak)));
        let timings = timing::interleave(&mut peers, self.rounds)?;
        let timing = |name| peers.iter().position(|peer| peer.0 == name).map(|i| timings[i]);
        let columns = self.candidates.iter().map(|candidate| timing(candidate.name)).collect();
        Ok((columns, timing("peak").map_or(0.0, |peak| Peak.step_flop() / peak.min)))
    }
}
