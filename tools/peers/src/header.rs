//! What runs, and on what: for whoever reads a table later.

use std::path::Path;
use std::process::Command;

use fuseprop::Isa;

use crate::{Result, processor};

const LOCK: &str = include_str!("../Cargo.lock");
const LIBRARIES: [&str; 6] = ["fuseprop", "candle-nn", "burn", "rust-mlp", "matrixmultiply", "gemm"];
const PYTHON_VERSIONS: &str = "import jax, torch; print(f'torch {torch.__version__}, jax {jax.__version__}, {torch.backends.cpu.get_cpu_capability()}')";

/// The processor, the instruction set and every library's version.
pub fn print(python: Option<&Path>) -> Result<()> {
    let processors = std::thread::available_parallelism()?;
    println!("{}, {processors} processors; fuseprop runs on {}", processor::name(), Isa::detect());
    let versions: Vec<_> = LIBRARIES.iter().map(|name| format!("{name} {}", version(name))).collect();
    println!("{}", versions.join(", "));
    if let Some(python) = python {
        let output = Command::new(python).args(["-c", PYTHON_VERSIONS]).output()?;
        println!("{}", String::from_utf8_lossy(&output.stdout).trim_end());
    }
    Ok(())
}

/// The version that this program was built with.
fn version(name: &str) -> &str {
    let entry = LOCK.split("[[package]]").find(|entry| {
        let mut lines = entry.lines();
        lines.any(|line| line.strip_prefix("name = ").is_some_and(|found| found.trim_matches('"') == name))
    });
    let line = entry.and_then(|entry| entry.lines().find_map(|line| line.strip_prefix("version = ")));
    line.map_or("?", |version| version.trim_matches('"'))
}
