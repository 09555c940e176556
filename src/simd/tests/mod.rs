//! Tests of lanes and elementary functions against scalar arithmetic, on every available instruction set.

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
    let all = [Isa::Portable, Isa::Avx2, Isa::Avx512];
    let is_tested = |&isa: &Isa| isa.is_available() && is_wanted(isa);
    for isa in all.into_iter().filter(|isa| !is_tested(isa)) {
        println!("not tested: {isa}");
    }
    let found: Vec<_> = all.into_iter().filter(is_tested).collect();
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

/// Runs a check on the lanes of every available instruction set, and binds it to a variable.
macro_rules! on_every_isa {
    ($element:ty, $start:expr => $check:ident) => {
        let mut $check = $start;
        if let Some(&l) = $crate::simd::portable::Portable::<$element>::detect()
            && $crate::simd::tests::is_wanted($crate::simd::isa::Isa::Portable)
        {
            $crate::simd::tests::Check::<$element>::run(&mut $check, l, $crate::simd::isa::Isa::Portable);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(&l) = $crate::simd::avx2::Avx2::<$element>::detect()
            && $crate::simd::tests::is_wanted($crate::simd::isa::Isa::Avx2)
        {
            $crate::simd::tests::Check::<$element>::run(&mut $check, l, $crate::simd::isa::Isa::Avx2);
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(&l) = $crate::simd::avx512::Avx512::<$element>::detect()
            && $crate::simd::tests::is_wanted($crate::simd::isa::Isa::Avx512)
        {
            $crate::simd::tests::Check::<$element>::run(&mut $check, l, $crate::simd::isa::Isa::Avx512);
        }
    };
}
pub(crate) use on_every_isa;
