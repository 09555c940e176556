//! Any bytes are a network or an error; a network that was read writes bytes that give it back.
#![no_main]

use fuseprop::{Activation, TensorNames, Network};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(network) = Network::<f32>::from_bytes(bytes) {
        assert!(2 * network.parameter_count() <= bytes.len(), "no number that is not in the file");
        let written = network.to_bytes().expect("what was read can be written");
        let again = Network::<f32>::from_bytes(&written).expect("what was written can be read");
        assert_eq!(again.to_bytes().as_deref(), Ok(&written[..]));
    }
    let _ = Network::<f64>::from_bytes(bytes);

    let build = || {
        Network::<f32>::builder(3).dense(5, Activation::Tanh).dense(2, Activation::Identity).seed(1).build()
    };
    let mut network = build().expect("a network");
    let before = network.to_bytes();
    for names in [TensorNames::Sequential, TensorNames::Prefix("0."), TensorNames::Discover] {
        if network.import_bytes(bytes, names).is_err() {
            assert_eq!(network.to_bytes(), before, "an import that fails changes nothing");
        } else {
            network = build().expect("a network");
        }
    }
});
