//! Tests of lanes and elementary functions against scalar arithmetic, on every available instruction set.

pub(crate) mod bf16;
pub(crate) mod lanes;
pub(crate) mod math;

use crate::simd::isa::Isa;
use crate::simd::lanes::Lanes;

/// The instruction sets to test, in order; prints the missing ones.
///
/// `FUSEPROP_ONLY_ISA` restricts the tests to one of them.
///
/// # Panics
/// If there is none, or if the one in `FUSEPROP_REQUIRE_ISA` is missing.
pub(crate) fn available() -> Vec<Isa> {
    let is_tested = |isa: Isa| isa.is_available() && is_wanted(isa);
    let (found, missing): (Vec<_>, Vec<_>) = Isa::ALL.iter().copied().partition(|&isa| is_tested(isa));
    for isa in missing {
        println!("not tested: {isa}");
    }
    assert!(!found.is_empty(), "the requested instruction set is not available");
    if let Ok(required) = std::env::var("FUSEPROP_REQUIRE_ISA") {
        assert!(
            found.iter().any(|isa| isa.to_string() == required),
            "{required} is required but not available"
        );
    }
    found
}

/// Whether the environment does not restrict the tests to another instruction set.
pub(crate) fn is_wanted(isa: Isa) -> bool {
    std::env::var("FUSEPROP_ONLY_ISA").map_or(true, |only| only == isa.to_string())
}

/// A check that is generic over the lanes of an instruction set.
pub(crate) trait Check<T> {
    fn run<L: Lanes<Element = T>>(&mut self, l: L, isa: Isa);
}

/// Runs a check on the lanes of one instruction set.
///
/// # Panics
/// If it is not available.
pub(crate) fn run<T, L: Lanes<Element = T>>(check: &mut impl Check<T>, l: Option<&L>, isa: Isa) {
    check.run(*l.expect("only available instruction sets are tested"), isa);
}

/// Runs a check on the lanes of every available instruction set, and binds it to a variable.
macro_rules! on_every_isa {
    ($element:ty, $start:expr => $check:ident) => {
        let mut $check = $start;
        for isa in $crate::simd::tests::available() {
            use $crate::simd::{isa::Isa, tests::run};
            match isa {
                Isa::Portable => {
                    run(&mut $check, $crate::simd::portable::Portable::<$element>::detect(), isa)
                }
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => run(&mut $check, $crate::simd::avx2::Avx2::<$element>::detect(), isa),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => run(&mut $check, $crate::simd::avx512::Avx512::<$element>::detect(), isa),
                #[cfg(not(target_arch = "x86_64"))]
                Isa::Avx2 | Isa::Avx512 => unreachable!("this build does not support it"),
            }
        }
    };
}
pub(crate) use on_every_isa;
