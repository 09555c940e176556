//! Any bytes are a network or an error; a network that was read can be written, and read again.
#![no_main]

use fuseprop::Network;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(network) = Network::<f32>::from_onnx(bytes) {
        let written = network.to_onnx().expect("what was read can be written");
        let again = Network::<f32>::from_onnx(&written).expect("what was written can be read");
        assert_eq!(again.outputs(), network.outputs());
        let written = network.to_bytes().expect("what was read can be written");
        Network::<f32>::from_bytes(&written).expect("what was written can be read");
    }
    let _ = Network::<f64>::from_onnx(bytes);
});
