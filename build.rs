//! Says `unoptimized` to a build without optimization, where inlined functions would take megabytes of stack:
//! see `src/simd/lanes.rs`. `debug_assertions` does not tell: packages of a debug build may be optimized.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(unoptimized)");
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level == "0") {
        println!("cargo::rustc-cfg=unoptimized");
    }
}
