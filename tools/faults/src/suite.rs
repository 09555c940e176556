//! Which tests there are, how long each takes, and what it reaches.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::cargo::Program;

/// Least time for a test to end in.
const PATIENCE: Duration = Duration::from_secs(10);
/// A test with a fault may take so many times as long as without.
const SLOWNESS: u32 = 5;
/// A fault may ask for memory and write files without end.
const LIMITS: [&str; 2] = ["--as=8589934592", "--fsize=1073741824"];

pub struct Test {
    program: Program,
    name: String,
    duration: Duration,
    /// Sites of faults.
    reached: BTreeSet<u32>,
}

pub enum Ending {
    Passed,
    Failed,
    TimedOut,
}

/// Tests of a copy, shortest first.
pub struct Suite {
    folder: PathBuf,
    scratch: PathBuf,
    tests: Vec<Test>,
}

impl Suite {
    /// Runs each test twice: alone, and with its sites written down.
    ///
    /// # Errors
    /// If one fails, which has no fault then.
    pub fn measure(programs: &[Program], folder: &Path, scratch: &Path) -> Result<Self> {
        let mut suite = Self { folder: folder.to_owned(), scratch: scratch.to_owned(), tests: Vec::new() };
        for program in programs {
            for name in names(program)? {
                let mut test =
                    Test { program: program.clone(), name, duration: PATIENCE, reached: BTreeSet::new() };
                suite.try_out(&mut test)?;
                suite.tests.push(test);
            }
        }
        suite.tests.sort_by_key(|test| test.duration);
        Ok(suite)
    }

    fn try_out(&self, test: &mut Test) -> Result<()> {
        // Tests may take a minute without a fault.
        test.duration = 6 * PATIENCE;
        let start = Instant::now();
        let plain = self.run(test, 0, ("FUSEPROP_FAULT", "0"))?;
        let duration = start.elapsed();
        let trace = self.scratch.join(format!("trace-{}", std::process::id()));
        let _ = fs::remove_file(&trace);
        let path = trace.to_str().ok_or("a scratch folder without a readable name")?;
        let traced = self.run(test, 0, ("FUSEPROP_FAULT_TRACE", path))?;
        if !matches!((plain, traced), (Ending::Passed, Ending::Passed)) {
            return Err(format!("{} fails without a fault", test.title()).into());
        }
        test.duration = duration;
        let lines = fs::read_to_string(&trace).unwrap_or_default();
        let _ = fs::remove_file(&trace);
        test.reached = lines.lines().map(str::parse).collect::<std::result::Result<_, _>>()?;
        Ok(())
    }

    /// Tests that reach a site, shortest first.
    pub fn reaching(&self, site: u32) -> impl Iterator<Item = &Test> {
        self.tests.iter().filter(move |test| test.reached.contains(&site))
    }

    /// Runs a test with a fault, as one of several jobs.
    pub fn run_with(&self, test: &Test, job: usize, fault: u32) -> Result<Ending> {
        self.run(test, job, ("FUSEPROP_FAULT", &fault.to_string()))
    }

    fn run(&self, test: &Test, job: usize, variable: (&str, &str)) -> Result<Ending> {
        // Jobs have folders of their own, for what tests leave behind when they fail.
        let temporary = self.scratch.join(format!("temporary-{}-{job}", std::process::id()));
        fs::create_dir_all(&temporary)?;
        let limit = PATIENCE.max(SLOWNESS * test.duration);
        // `timeout` ends what a test started too, and ends it even if this process was killed.
        let mut command = Command::new("prlimit");
        command.args(LIMITS).args(["timeout", "--signal=KILL", &limit.as_secs_f64().to_string()]);
        command.arg(&test.program.path).args(["--exact", &test.name]).current_dir(&self.folder);
        command.env_remove("FUSEPROP_FAULT").env_remove("FUSEPROP_FAULT_TRACE").env("RUST_BACKTRACE", "0");
        command.env(variable.0, variable.1).env("TMPDIR", &temporary);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let start = Instant::now();
        let status: ExitStatus = command.status()?;
        let elapsed = start.elapsed();
        fs::remove_dir_all(&temporary)?;
        Ok(match status.success() {
            true => Ending::Passed,
            false if elapsed >= limit => Ending::TimedOut,
            false => Ending::Failed,
        })
    }

    /// How many tests there are, their time together, and the sites that they reach.
    pub fn summary(&self) -> (usize, Duration, usize) {
        let sites: BTreeSet<u32> = self.tests.iter().flat_map(|test| &test.reached).copied().collect();
        (self.tests.len(), self.tests.iter().map(|test| test.duration).sum(), sites.len())
    }
}

impl Test {
    pub fn title(&self) -> String {
        format!("{}::{}", self.program.name, self.name)
    }
}

/// Names of a program's tests, but those that are ignored.
fn names(program: &Program) -> Result<Vec<String>> {
    let list = |arguments: &[&str]| -> Result<Vec<String>> {
        let output = Command::new(&program.path).arg("--list").args(arguments).output()?;
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    };
    let ignored = list(&["--ignored"])?;
    Ok(list(&[])?.into_iter().filter(|name| !ignored.contains(name)).collect())
}
