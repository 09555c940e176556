//! Tests that can fail: faults are put into a copy of the kernels, one at a time, and the kernels' tests must
//! notice each on every instruction set alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fuseprop::Isa;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The tests that must notice, those of the kernels and of their lanes.
const TESTS: [&str; 2] = ["kernels::tests", "simd::tests"];

/// Far more than the tests take: a fault may loop for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// A fault: lines of a file and those that take their place.
#[derive(Debug)]
struct Mutant {
    name: String,
    file: String,
    from: Vec<String>,
    to: Vec<String>,
}

/// Those of the table.
fn mutants() -> Vec<Mutant> {
    let table = fs::read_to_string(format!("{ROOT}/tools/mutants/kernels.txt")).unwrap();
    let entries = table.split("\n# ").skip(1);
    entries
        .map(|entry| {
            let mut lines = entry.lines().filter(|line| !line.is_empty());
            let (name, file) = (lines.next().unwrap().to_owned(), lines.next().unwrap().to_owned());
            let (from, to): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("- "));
            let text = |lines: Vec<&str>| lines.iter().map(|line| line[2..].to_owned()).collect();
            Mutant { name, file, from: text(from), to: text(to) }
        })
        .collect()
}

impl Mutant {
    /// The source with the fault. It must have one place.
    fn apply(&self, source: &str) -> String {
        let lines: Vec<&str> = source.lines().collect();
        let is_here =
            |window: &&[&str]| window.iter().zip(&self.from).all(|(line, from)| line.trim() == from);
        let places = lines.windows(self.from.len()).filter(is_here).count();
        assert_eq!(places, 1, "places of {:?} in {}", self.name, self.file);
        let at = lines.windows(self.from.len()).position(|window| is_here(&window)).unwrap();
        let to = self.to.iter().map(String::as_str);
        let after = &lines[at + self.from.len()..];
        lines[..at].iter().copied().chain(to).chain(after.iter().copied()).collect::<Vec<_>>().join("\n")
            + "\n"
    }

    /// The instruction sets that the fault is for, of those at hand.
    fn instruction_sets(&self) -> Vec<String> {
        let only = self.name.split_once(": ").map(|(sets, _)| sets.split(" and "));
        let here = Isa::available().map(|isa| isa.to_string());
        here.filter(|isa| only.clone().is_none_or(|mut only| only.any(|only| only == isa))).collect()
    }
}

/// A copy of the crate that faults are put into.
struct Copy(PathBuf);

impl Copy {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        let _ = fs::remove_dir_all(root.join("src"));
        // What the manifest names must be there.
        for part in ["Cargo.toml", "Cargo.lock", "src", "benches/suite", "examples/pytorch", "tools/mutants"]
        {
            copy(&Path::new(ROOT).join(part), &root.join(part));
        }
        Self(root)
    }

    /// The executable of the library's own tests; nothing if it does not compile.
    fn build(&self) -> Option<PathBuf> {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["test", "--release", "--lib", "--no-run"]).current_dir(&self.0);
        let output = cargo.env("CARGO_TARGET_DIR", self.0.join("target")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let path = text.rsplit_once("unittests src/lib.rs (").and_then(|(_, rest)| rest.split_once(')'));
        if !output.status.success() {
            println!("{text}");
        }
        path.filter(|_| output.status.success()).map(|(path, _)| PathBuf::from(path))
    }

    /// The test that fails first, if the kernels' tests fail on an instruction set.
    fn killer(&self, tests: &Path, isa: &str) -> Option<String> {
        let log = self.0.join("log");
        let mut command = Command::new(tests);
        command.args(TESTS).args(["--test-threads", "2"]).current_dir(&self.0);
        command.env("FUSEPROP_ONLY_ISA", isa).env_remove("FUSEPROP_REQUIRE_ISA").env("RUST_BACKTRACE", "0");
        let mut child =
            command.stdout(fs::File::create(&log).unwrap()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > PATIENCE => {
                    child.kill().unwrap();
                    child.wait().unwrap();
                    return Some("has no end".to_owned());
                }
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let text = fs::read_to_string(log).unwrap();
        let failed = text.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        let how = failed.map_or_else(|| status.to_string(), str::to_owned);
        (!status.success()).then_some(how)
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(&name));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}

#[test]
fn every_fault_has_its_place() {
    let mutants = mutants();
    assert!(mutants.len() >= 30);
    for mutant in mutants {
        assert!(!mutant.from.is_empty() && !mutant.to.is_empty(), "{mutant:?}");
        // A misspelt one would leave the fault untried without a word.
        let (sets, _) = mutant.name.split_once(": ").unwrap_or_default();
        let known = |set: &str| set.is_empty() || Isa::ALL.iter().any(|isa| isa.to_string() == set);
        assert!(sets.split(" and ").all(known), "{:?}", mutant.name);
        mutant.apply(&fs::read_to_string(format!("{ROOT}/{}", mutant.file)).unwrap());
    }
}

#[test]
#[ignore = "an hour: builds the tests for every fault"]
fn every_fault_is_noticed_on_every_instruction_set() {
    let copy = Copy::new();
    let tests = copy.build().expect("the crate without a fault compiles");
    for isa in Isa::available() {
        assert_eq!(copy.killer(&tests, &isa.to_string()), None, "{isa} fails without a fault");
    }
    let (mut killed, mut survived, mut killers) = (0, Vec::new(), BTreeSet::new());
    // A part of a name leaves the other faults out.
    let wanted = std::env::var("FUSEPROP_MUTANT").unwrap_or_default();
    let mutants: Vec<Mutant> = mutants().into_iter().filter(|mutant| mutant.name.contains(&wanted)).collect();
    for mutant in &mutants {
        let path = copy.0.join(&mutant.file);
        let source = fs::read_to_string(&path).unwrap();
        fs::write(&path, mutant.apply(&source)).unwrap();
        let tests = copy.build().unwrap_or_else(|| panic!("{:?} does not compile", mutant.name));
        for isa in mutant.instruction_sets() {
            match copy.killer(&tests, &isa) {
                Some(killer) => {
                    println!("{}: noticed on {isa} by {killer}", mutant.name);
                    killers.insert(killer);
                    killed += 1;
                }
                None => {
                    println!("{}: NOT NOTICED on {isa}", mutant.name);
                    survived.push(format!("{} on {isa}", mutant.name));
                }
            }
        }
        fs::write(&path, source).unwrap();
    }
    println!(
        "RESULT kernel_mutants mutants={} killed={killed} survived={} by={}",
        mutants.len(),
        survived.len(),
        killers.len()
    );
    assert!(survived.is_empty(), "{survived:#?}");
}
