//! Prints a section as a Markdown table.

use crate::timing::Timing;

/// What a cell shows.
#[derive(Clone, Copy)]
pub enum Unit {
    Time,
    GflopPerSecond,
}

/// One workload, timed.
pub struct Row {
    pub workload: String,
    pub flop: f64,
    /// fuseprop's first; one for each column, None if it does not do the workload.
    pub timings: Vec<Option<Timing>>,
    /// FLOP per second, the best of the same turns; 0 if it is not known.
    pub peak: f64,
}

/// A limit further away than this is not what limits a step.
const MANY_TIMES: f64 = 10.0;

pub fn print_head(title: &str, columns: &[&str]) {
    println!("\n## {title}\n");
    let columns =
        [columns, &["peak, GFLOP/s", "best peer / ours", "our share of peak", "ratio at the peak"]].concat();
    println!("| workload | {} |", columns.join(" | "));
    println!("|---|{}", "---|".repeat(columns.len()));
}

/// Minimum, and median in brackets; ratios and the share are of minima. The last ratio is of a step that does nothing but
/// multiply and add, at the peak: no implementation can reach it.
pub fn print_row(row: &Row, unit: Unit) {
    let peak = row.peak;
    let cells: Vec<_> = row.timings.iter().map(|timing| cell(*timing, row.flop, unit)).collect();
    let best = |timings: &[Option<Timing>]| timings.iter().flatten().map(|t| t.min).reduce(f64::min);
    let (ours, peers) = (best(&row.timings[..1]), best(&row.timings[1..]));
    let ratio = ours.zip(peers).map(|(ours, peers)| format!("{:.2}", peers / ours));
    let share = ours.filter(|_| peak > 0.0).map(|ours| format!("{:.0} %", 100.0 * row.flop / ours / peak));
    let limit = peers
        .filter(|_| peak > 0.0)
        .map(|peers| peers / (row.flop / peak))
        .filter(|limit| *limit < MANY_TIMES);
    let limit = limit.map(|limit| format!("{limit:.2}"));
    let [ratio, share, limit] = [ratio, share, limit].map(Option::unwrap_or_default);
    println!(
        "| {} | {} | {:.0} | {ratio} | {share} | {limit} |",
        row.workload,
        cells.join(" | "),
        peak / 1e9
    );
}

fn cell(timing: Option<Timing>, flop: f64, unit: Unit) -> String {
    let Some(Timing { min, median }) = timing else { return String::new() };
    match unit {
        Unit::Time => {
            let (scale, name) = if min < 1e-3 { (1e6, "us") } else { (1e3, "ms") };
            format!("{} ({}) {name}", number(min * scale), number(median * scale))
        }
        Unit::GflopPerSecond => {
            format!("{} ({})", number(flop / min / 1e9), number(flop / median / 1e9))
        }
    }
}

/// Three digits.
fn number(x: f64) -> String {
    let decimals = match x {
        _ if x < 1.0 => 3,
        _ if x < 10.0 => 2,
        _ if x < 100.0 => 1,
        _ => 0,
    };
    format!("{x:.decimals$}")
}
