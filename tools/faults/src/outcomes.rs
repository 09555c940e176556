//! What became of each fault: a file with a line for each, written at once, so that a run can go on where it was.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::Result;
use crate::list::Fault;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Caught,
    /// Noticed by having no end.
    Timeout,
    Missed,
    /// The compiler does not accept it.
    Unviable,
    /// It is where nothing can be switched at run time.
    NotBuilt,
}

const VERDICTS: [(Verdict, &str); 5] = [
    (Verdict::Caught, "caught"),
    (Verdict::Timeout, "timeout"),
    (Verdict::Missed, "missed"),
    (Verdict::Unviable, "unviable"),
    (Verdict::NotBuilt, "not_built"),
];

pub struct Outcomes {
    file: File,
    verdicts: BTreeMap<u32, Verdict>,
}

impl Outcomes {
    /// Those in a file, if they are to be kept, or none. Of two for one fault the later counts.
    ///
    /// # Errors
    /// If the file is about other faults.
    pub fn open(path: &Path, faults: &[Fault], keep: bool) -> Result<Self> {
        let old = if keep { fs::read_to_string(path).unwrap_or_default() } else { String::new() };
        let mut verdicts = BTreeMap::new();
        for line in old.lines() {
            let (number, verdict) =
                read(line, faults).ok_or("outcomes.txt is about other faults: remove it")?;
            verdicts.insert(number, verdict);
        }
        if !keep && path.exists() {
            fs::remove_file(path)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { file, verdicts })
    }

    pub fn get(&self, number: u32) -> Option<Verdict> {
        self.verdicts.get(&number).copied()
    }

    /// Keeps a verdict, with the test that it is due to and the time that it took.
    pub fn add(&mut self, fault: &Fault, verdict: Verdict, test: &str, seconds: f64) -> Result<()> {
        self.verdicts.insert(fault.number, verdict);
        let line = format!("{}\t{verdict}\t{test}\t{seconds:.2}\t{}\n", fault.number, fault.name);
        Ok(self.file.write_all(line.as_bytes())?)
    }

    /// Counts them, and names those that were missed.
    pub fn print<'a>(&self, faults: impl Iterator<Item = &'a Fault> + Clone) {
        let count = |wanted| faults.clone().filter(|fault| self.get(fault.number) == Some(wanted)).count();
        let [caught, timeout, missed, unviable, not_built] = VERDICTS.map(|(verdict, _)| count(verdict));
        let noticed = caught + timeout;
        println!(
            "RESULT mutants faults={} caught={caught} timeout={timeout} missed={missed} unviable={unviable} \
             not_built={not_built} percent={:.1}",
            faults.clone().count(),
            100.0 * noticed as f64 / (noticed + missed) as f64
        );
        for fault in faults.filter(|fault| self.get(fault.number) == Some(Verdict::Missed)) {
            println!("missed {} {}", fault.number, fault.name);
        }
    }
}

fn read(line: &str, faults: &[Fault]) -> Option<(u32, Verdict)> {
    let mut parts = line.splitn(5, '\t');
    let number: u32 = parts.next()?.parse().ok()?;
    let word = parts.next()?;
    let fault = faults.get(number.checked_sub(1)? as usize)?;
    let (verdict, _) = VERDICTS.iter().find(|(_, name)| *name == word)?;
    (parts.nth(2)? == fault.name).then_some((number, *verdict))
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) =
            VERDICTS.iter().find(|(verdict, _)| verdict == self).expect("every verdict has a name");
        f.write_str(name)
    }
}
