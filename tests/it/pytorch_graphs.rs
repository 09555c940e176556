//! A graph of every join and norm against PyTorch's numbers in `f64`, on every instruction set, from
//! parameters by the names of PyTorch's modules: see `tests/fixtures/pytorch_graphs.py`.

use std::collections::HashMap;

use crate::common::{gradients, isas, parameters};
use fuseprop::{Activation, Head, Isa, Network, Optimizer, Source, TensorNames, Trainer};

fn fixture() -> HashMap<&'static str, Vec<f64>> {
    let lines = include_str!("../fixtures/pytorch_graphs.txt").lines().map(|line| {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        (name, words.map(|word| word.parse().unwrap()).collect())
    });
    lines.collect()
}

/// A few hundred roundings of numbers of order 1, in either library.
#[track_caller]
fn assert_close(found: &[f64], expected: &[f64], bound: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let bound = bound * expected.abs().max(1.0);
        assert!((found - expected).abs() <= bound, "{what}: {i}: {found} is not PyTorch's {expected}");
    }
}

fn graph(isa: Isa) -> Network<f64> {
    let builder = Network::<f64>::builder(3).isa(isa).dense(10, Activation::Tanh).residual(|block| {
        let block = block.layer_norm(Activation::Identity).dense(17, Activation::Silu).bias(false);
        let block = block
            .residual(|inner| inner.rms_norm(Activation::Identity).epsilon(1e-6).dense(17, Activation::Gelu));
        block.dense(10, Activation::Identity)
    });
    let builder = builder.activation(Activation::Softplus);
    let last = Source::Layer(7);
    let builder = builder.concat([Source::Input, last]).dense(9, Activation::Sigmoid);
    let heads = [
        Head::dense(4, Activation::Softmax),
        Head::new(|head| head.dense(5, Activation::Tanh).dense(2, Activation::Identity)),
    ];
    let mut network = builder.heads(heads).build().unwrap();
    let bytes = include_bytes!("../fixtures/graph.safetensors");
    network.import_bytes(bytes, TensorNames::Sequential).unwrap();
    network
}

#[test]
fn outputs_gradients_and_steps_of_a_graph_are_those_of_pytorch() {
    let fixture = fixture();
    let get = |name: &str| &fixture[name][..];
    let (x, targets) = (get("x"), get("targets"));
    for isa in isas() {
        let network = graph(isa);
        let what = |name: &str| format!("{name} on {isa}");
        assert_close(&network.predict(x).unwrap(), get("outputs"), 5e-14, &what("outputs"));
        let builder = Trainer::builder(network).optimizer(Optimizer::adam(0.01)).max_batch(7);
        let mut trainer = builder.input_gradients().build().unwrap();
        let loss = trainer.compute_gradients(x, targets).unwrap();
        assert_close(&[loss], get("loss"), 5e-14, &what("loss"));
        assert_close(&gradients(&trainer), get("gradients"), 5e-14, &what("gradients"));
        let of_inputs = trainer.input_gradients().unwrap();
        assert_close(of_inputs, get("input_gradients"), 5e-14, &what("input gradients"));
        trainer.forward(x).unwrap();
        trainer.backward(get("d_outputs")).unwrap();
        let expected = get("gradients_of_outputs");
        assert_close(&gradients(&trainer), expected, 5e-13, &what("gradients of outputs"));
        let losses: Vec<f64> = (0..20).map(|_| trainer.step(x, targets).unwrap()).collect();
        assert_close(&losses, get("losses"), 1e-9, &what("losses"));
        assert_close(&parameters(trainer.network()), get("parameters"), 1e-9, &what("parameters"));
    }
}
