//! What users ask: how fast is a step of training, a prediction of one row and of many, a product, an
//! activation, and what threads bring. The naive reference runs beside them where it does not take seconds.
//!
//! ```text
//! cargo bench                                 plots in target/criterion/report/index.html
//! cargo bench -- --quick                      without plots
//! cargo bench -- ^train/                      one group: train, predict_one, predict_batch, products, activations, bf16, threads
//! cargo bench -- --save-baseline before       and later: cargo bench -- --baseline before
//! ```

mod activations;
mod bf16;
#[path = "../networks.rs"]
mod networks;
#[path = "../../examples/common/peak.rs"]
mod peak;
mod predict;
#[path = "../../examples/common/processor.rs"]
mod processor;
mod products;
mod threads;
mod train;
mod workload;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(700))
        .configure_from_args();
    let has = |option| std::env::args().any(|word| word == option);
    if has("--quick") {
        // Plots take longer than what they show.
        criterion = criterion.without_plots();
    }
    // Criterion runs benches as tests too, where nobody reads a header.
    if !has("--test") {
        register_font();
        print_header();
    }
    train::bench(&mut criterion);
    predict::bench(&mut criterion);
    products::bench(&mut criterion);
    activations::bench(&mut criterion);
    bf16::bench(&mut criterion);
    threads::bench(&mut criterion);
    criterion.final_summary();
}

/// The examples' plots measure text by fonts of their own, and so do criterion's in the same build.
fn register_font() {
    let font = epaint_default_fonts::UBUNTU_LIGHT;
    for family in ["sans-serif", "serif"] {
        for style in [plotters::style::FontStyle::Normal, plotters::style::FontStyle::Bold] {
            if plotters::style::register_font(family, style, font).is_err() {
                eprintln!("the font of the plots cannot be read");
            }
        }
    }
}

fn print_header() {
    let all = workload::cores();
    let gflops = |threads| peak::peak(threads) / 1e9;
    println!(
        "{}, {all} threads; fuseprop runs on {}; peak {:.0} GFLOP/s on one thread, {:.0} on all\n",
        processor::name(),
        fuseprop::Isa::detect(),
        gflops(1),
        gflops(all)
    );
}
