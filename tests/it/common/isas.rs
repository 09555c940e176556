//! Instruction sets to test.

use fuseprop::Isa;

/// The instruction sets of this machine; says which are missing, and so not tested. One that the environment
/// requires must be there.
pub(crate) fn isas() -> Vec<Isa> {
    let found: Vec<Isa> = Isa::available().collect();
    for isa in Isa::ALL {
        if !found.contains(isa) {
            println!("not tested here: {isa}");
        }
    }
    assert_eq!(found.first(), Some(&Isa::Portable));
    if let Ok(required) = std::env::var("FUSEPROP_REQUIRE_ISA") {
        assert!(found.iter().any(|isa| isa.to_string() == required), "{required} is required, and not here");
    }
    found
}
