//! The kernels against slower arithmetic, on every instruction set at hand.

mod denormals;
mod lanes;
// Memory comes from the system.
#[cfg(unix)]
#[allow(unsafe_code)]
mod guard_pages;
mod layer_norm;
mod math;
mod pack;
mod packed4;
mod products;
mod special;
mod speed;
mod table;

use table::{Kernels, kernels};

use crate::simd::isa::Isa;
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;

/// The kernels at hand; says which instruction sets are missing. One that the environment requires must be
/// there.
fn available<T: Element>() -> Vec<(Isa, &'static dyn Kernels<T>)> {
    let all = [Isa::Portable, Isa::Avx2, Isa::Avx512];
    let entry = |isa| Some((isa, kernels::<T>(isa)?));
    let found: Vec<_> = all.into_iter().filter(|&isa| is_wanted(isa)).filter_map(entry).collect();
    for isa in all.into_iter().filter(|isa| found.iter().all(|(other, _)| other != isa)) {
        println!("not tested here: {isa}");
    }
    assert!(!found.is_empty(), "the one instruction set that is wanted is not here");
    if let Ok(required) = std::env::var("FUSEPROP_REQUIRE_ISA") {
        assert!(
            found.iter().any(|(isa, _)| isa.to_string() == required),
            "{required} is required, and not here"
        );
    }
    found
}

/// Whether the environment requests no other instruction set alone.
fn is_wanted(isa: Isa) -> bool {
    std::env::var("FUSEPROP_ONLY_ISA").map_or(true, |only| only == isa.to_string())
}

/// A check over lanes, for those below the crossing.
trait Check<T> {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa);
}

/// Runs a check on the lanes of every instruction set at hand, and leaves it in a variable.
macro_rules! on_every_isa {
    ($element:ty, $start:expr => $check:ident) => {
        let mut $check = $start;
        if let Some(&l) = $crate::simd::portable::Portable::<$element>::detect()
            && $crate::kernels::tests::is_wanted(Isa::Portable)
        {
            Check::<$element>::run(&mut $check, l, Isa::Portable);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(&l) = $crate::simd::avx2::Avx2::<$element>::detect()
            && $crate::kernels::tests::is_wanted(Isa::Avx2)
        {
            Check::<$element>::run(&mut $check, l, Isa::Avx2);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(&l) = $crate::simd::avx512::Avx512::<$element>::detect()
            && $crate::kernels::tests::is_wanted(Isa::Avx512)
        {
            Check::<$element>::run(&mut $check, l, Isa::Avx512);
        }
    };
}
use on_every_isa;
