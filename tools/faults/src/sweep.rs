//! How each fault is tried: by the tests that reach it, the shortest first, until one notices.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use crate::Result;
use crate::list::Fault;
use crate::outcomes::{Outcomes, Verdict};
use crate::suite::{Ending, Suite};

/// Tries faults, several at once, and adds their outcomes.
pub fn sweep(
    suite: &Suite,
    faults: &[&Fault],
    sites: &HashMap<u32, u32>,
    outcomes: Outcomes,
    jobs: usize,
) -> Result<Outcomes> {
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(outcomes));
    let work = |job| -> Result<()> {
        while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
            let start = Instant::now();
            let (verdict, test) = try_fault(suite, fault.number, sites[&fault.number], job)?;
            let seconds = start.elapsed().as_secs_f64();
            outcomes.lock().expect("no job panics").add(fault, verdict, &test, seconds)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let jobs: Vec<_> = (0..jobs).map(|job| scope.spawn(move || work(job))).collect();
        jobs.into_iter().try_for_each(|job| job.join().expect("no job panics"))
    })?;
    Ok(outcomes.into_inner().expect("no job panics"))
}

/// What becomes of a fault, and the test that it is due to.
fn try_fault(suite: &Suite, number: u32, site: u32, job: usize) -> Result<(Verdict, String)> {
    let mut tests = 0;
    for test in suite.reaching(site) {
        match suite.run_with(test, job, number)? {
            Ending::Passed => tests += 1,
            Ending::Failed => return Ok((Verdict::Caught, test.title())),
            Ending::TimedOut => return Ok((Verdict::Timeout, test.title())),
        }
    }
    Ok((Verdict::Missed, format!("{tests} tests")))
}
