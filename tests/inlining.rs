//! Kernels are compiled for their instruction set down to the last lane. An executable of its own: it
//! reads its symbols, among which intrinsics of other libraries would be.
//!
//! A function between the crossing into an instruction set and a lane operation that is not inlined loses
//! the features: every intrinsic below it becomes a call, some hundred times slower and still right. So
//! this test looks into its own executable for functions that should have vanished.
#![cfg(all(target_os = "linux", target_arch = "x86_64", not(debug_assertions)))]

use fuseprop::{Activation, Loss, Network, Trainer};
use object::{Object, ObjectSymbol};

/// Names of all functions in this executable that hold `part`.
fn functions(part: &str) -> Vec<String> {
    let executable = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let file = object::File::parse(&*executable).unwrap();
    let names = file.symbols().filter_map(|symbol| symbol.name().ok().map(str::to_owned));
    names.filter(|name| name.contains(part)).collect()
}

/// The modules of `simd` below every crossing.
const MODULES: [&str; 7] = ["lanes", "interleaved", "portable", "avx2", "avx512", "bf16", "math"];

/// Names of the functions of a module of `simd`: its own have a mangled path, and those of a trait's
/// implementation the path of their type.
fn functions_of(module: &str) -> Vec<String> {
    let mut names = functions(&format!("4simd{}{module}", module.len()));
    // Others have such a type among their own: the path must be the first of the name.
    let own = format!("_$LT$fuseprop..simd..{module}..");
    let is_own = |name: &String| {
        name.trim_start_matches("_ZN").trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(&own)
    };
    names.extend(functions(&own).into_iter().filter(is_own));
    names
}

#[test]
fn no_lane_operation_is_left_as_a_call() {
    // The kernels must be in the executable to be looked at.
    let network = Network::<f32>::builder(2).dense(3, Activation::Tanh).seed(1).build().unwrap();
    let mut trainer = Trainer::builder(network).loss(Loss::MeanSquaredError).build().unwrap();
    assert!(trainer.step(&[1.0, 2.0], &[0.0; 3]).unwrap() > 0.0);
    assert!(functions("vectorize").len() > 10, "the crossings are functions of their own");

    // Detection, in the standard library, calls one that has nothing to do with lanes: `_xgetbv`.
    let vectors: Vec<_> = functions("core_arch").into_iter().filter(|name| name.contains("_mm")).collect();
    assert_eq!(vectors, [""; 0], "intrinsics that are called");
    // Symbols carry these paths: without the crossings among them the others would not be found either.
    // A build for an instruction set has no crossing into it.
    for (module, is_built_for) in
        [("4avx2", cfg!(target_feature = "avx2")), ("6avx512", cfg!(target_feature = "avx512f"))]
    {
        let crossings = functions(&format!("4simd{module}9vectorize"));
        assert!(is_built_for || !crossings.is_empty(), "no crossing into {module} has this path");
    }
    let kept = |name: &String| !name.contains("vectorize") && !name.contains("detect");
    let lanes: Vec<_> = MODULES.iter().flat_map(|module| functions_of(module)).filter(kept).collect();
    assert_eq!(lanes, [""; 0], "lane operations that are called");
}
