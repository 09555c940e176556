//! Builds all faults that `cargo mutants` lists into one copy of the library, and runs its tests with each.

mod cargo;
mod list;
mod options;
mod outcomes;
mod rewrite;
mod suite;
mod sweep;
mod tree;
mod viable;

use std::collections::BTreeSet;
use std::path::Path;

use cargo::Cargo;
use list::Fault;
use options::Options;
use outcomes::{Outcomes, Verdict};
use suite::Suite;
use tree::Tree;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (root, scratch) = (home.join("../.."), home.join("target/sweep"));
    std::fs::create_dir_all(&scratch)?;
    let faults = list::faults(&root)?;
    let mut outcomes = Outcomes::open(&scratch.join("outcomes.txt"), &faults, options.keeps_outcomes())?;

    let cargo = Cargo::new(&root, &scratch)?;
    let known = faults.iter().filter(|fault| outcomes.get(fault.number) == Some(Verdict::Unviable));
    let mut unviable: BTreeSet<u32> = known.map(|fault| fault.number).collect();
    let built = viable::build_in(&Tree::read(&root)?, &cargo, &faults, &mut unviable)?;
    for fault in &faults {
        let verdict = match (unviable.contains(&fault.number), built.sites.contains_key(&fault.number)) {
            (true, _) => Verdict::Unviable,
            (false, true) => continue,
            (false, false) => Verdict::NotBuilt,
        };
        if outcomes.get(fault.number).is_none() {
            outcomes.add(fault, verdict, "-", 0.0)?;
        }
    }
    let programs = cargo.programs()?;
    println!("{} faults built in, {} unviable", built.sites.len(), unviable.len());
    if options.build_only {
        return Ok(());
    }

    let suite = Suite::measure(&programs, &cargo.folder, &scratch)?;
    let (tests, duration, sites) = suite.summary();
    println!("{tests} tests pass in {:.1} s and reach {sites} sites", duration.as_secs_f64());
    // Those of a file or a number are tried even if they have been.
    let is_waiting = |fault: &&Fault| match outcomes.get(fault.number) {
        None => true,
        Some(_) if options.resume => false,
        Some(_) => built.sites.contains_key(&fault.number),
    };
    let wanted = || faults.iter().filter(|fault| options.wants(fault));
    let waiting: Vec<_> = wanted().filter(is_waiting).collect();
    let outcomes = sweep::sweep(&suite, &waiting, &built.sites, outcomes, options.jobs)?;
    outcomes.print(wanted());
    Ok(())
}
