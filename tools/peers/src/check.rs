//! Whether an implementation computes what fuseprop computes, before it is timed.

use crate::Result;
use crate::peer::Candidate;
use crate::peers::ours;
use crate::workload::{Data, Job, Task, Workload};

/// Largest difference from fuseprop's result, as a share of the largest change or output.
const TOLERANCE: f32 = 1e-4;

/// Lets a candidate do one step and compares it with fuseprop's. `false` if it does not do such jobs.
///
/// A training step is taken at the rate that makes the largest change 1, so that the change is not lost in
/// the rounding of the parameters; differences are relative to that change, else to the largest output.
///
/// # Errors
/// A difference past [`TOLERANCE`], or a step that changes nothing.
pub fn check(candidate: &Candidate, task: Task, workload: &Workload, data: &Data) -> Result<bool> {
    let task = match task {
        Task::Train { .. } => Task::Train { learning_rate: 1.0 / ours::largest_gradient(workload, data)? },
        other => other,
    };
    let job = Job { task, workload, data };
    let Some(mut peer) = (candidate.build)(&job)? else { return Ok(false) };
    peer.step()?;
    let result = peer.result()?;
    drop(peer);

    let mut ours = ours::build(&job)?.ok_or("fuseprop does not do this")?;
    ours.step()?;
    let expected = ours.result()?;
    let (what, largest) = match task {
        Task::Train { .. } => ("change", distance(&expected, &data.parameters)),
        _ => ("output", expected.iter().fold(0.0, |max: f32, y| max.max(y.abs()))),
    };
    if result.len() != expected.len() || largest.is_nan() || largest <= 0.0 {
        let (got, wanted) = (result.len(), expected.len());
        return Err(format!("{got} results for {wanted}, the largest {what} is {largest}").into());
    }
    let difference = distance(&result, &expected) / largest;
    if difference.is_nan() || difference > TOLERANCE {
        let message = format!("differs from fuseprop by {difference:.2e} of the largest {what}");
        return Err(format!("{message}, more than {TOLERANCE:.0e}").into());
    }
    Ok(true)
}

/// The largest difference, NaN if any is.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |max, d| if d > max || d.is_nan() { d } else { max })
}
