//! What several test files need.

use fuseprop::Isa;

/// The instruction sets of this machine; says which are missing, and so not tested.
pub fn isas() -> Vec<Isa> {
    let found: Vec<Isa> = Isa::available().collect();
    for isa in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
        if !found.contains(&isa) {
            println!("not tested here: {isa}");
        }
    }
    assert_eq!(found.first(), Some(&Isa::Portable));
    found
}
