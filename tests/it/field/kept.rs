//! What was right when it was first tried.

use crate::common;
use fuseprop::{Activation, Loss, Network, Optimizer, Targets, Trainer};
#[cfg(feature = "files")]
use fuseprop::{Error, TensorNames};

/// A layer of one input and two outputs of these parameters, trained with rate 1.
fn trainer(parameters: [f64; 4], loss: Loss, smoothing: f64) -> Trainer<f64> {
    let builder = Network::<f64>::builder(1).dense(2, Activation::Identity).seed(1);
    let mut network = builder.build().unwrap();
    network.write_parameters(&parameters).unwrap();
    let builder = Trainer::builder(network).loss(loss).optimizer(Optimizer::sgd(1.0));
    builder.label_smoothing(smoothing).build().unwrap()
}

#[test]
fn a_smoothed_label_of_an_infinite_logit_has_an_infinite_loss_and_a_finite_gradient() {
    let mut trainer = trainer([0.0, 0.0, 0.0, f64::NEG_INFINITY], Loss::SoftmaxCrossEntropy, 0.1);
    assert_eq!(trainer.step(&[1.0], &[0]).unwrap(), f64::INFINITY);
    // Probabilities of 1 and 0, targets of 0.95 and 0.05.
    let parameters = common::parameters(trainer.network());
    for (found, expected) in parameters.iter().zip([-0.05, 0.05, -0.05, f64::NEG_INFINITY]) {
        assert!(*found == expected || (found - expected).abs() < 1e-15, "{parameters:?}");
    }
}

#[test]
fn a_batch_of_which_all_weights_are_0_has_a_loss_of_0_and_moves_nothing() {
    let before = [0.5, -0.5, 0.25, 1.0];
    for loss in [Loss::MeanSquaredError, Loss::BinaryCrossEntropyWithLogits, Loss::SoftmaxCrossEntropy] {
        let mut trainer = trainer(before, loss, 0.0);
        let targets = Targets::from(&[0.0, 1.0, 1.0, 0.0]);
        assert_eq!(trainer.step(&[1.0, 2.0], targets.weights(&[0.0, 0.0])).unwrap(), 0.0);
        assert_eq!(common::parameters(trainer.network()), before, "{loss:?}");
    }
}

/// A safetensors file of tensors of `f32`, in the order given, by their names alone.
#[cfg(feature = "files")]
fn file(tensors: &[(&str, &[usize])]) -> Vec<u8> {
    let (mut entries, mut bytes) = (Vec::new(), Vec::new());
    for &(name, shape) in tensors {
        let (start, count) = (bytes.len(), shape.iter().product::<usize>());
        bytes.extend((0..count).flat_map(|i| (i as f32 + start as f32).to_le_bytes()));
        let end = bytes.len();
        entries
            .push(format!(r#""{name}":{{"dtype":"F32","shape":{shape:?},"data_offsets":[{start},{end}]}}"#));
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend(bytes);
    file
}

#[cfg(feature = "files")]
#[test]
fn a_file_with_a_name_twice_is_refused() {
    let mut network = Network::<f32>::builder(1).dense(2, Activation::Identity).seed(1).build().unwrap();
    let before = common::parameters(&network);
    let (weight, bias) = (("0.weight", &[2, 1][..]), ("0.bias", &[2][..]));
    for tensors in [&[weight, weight, bias][..], &[weight, bias, bias]] {
        let refused = network.import_bytes(&file(tensors), TensorNames::Sequential);
        assert!(matches!(refused, Err(Error::Format { .. })), "{refused:?}");
        assert_eq!(common::parameters(&network), before);
    }
    network.import_bytes(&file(&[weight, bias]), TensorNames::Sequential).unwrap();
    assert_eq!(common::parameters(&network), [0.0, 1.0, 8.0, 9.0]);
}

/// What data-parallel training, compilation and the usual trainers put before the names.
#[cfg(feature = "files")]
#[test]
fn prefixes_of_wrappers_are_found() {
    for prefix in ["module.", "_orig_mod.", "model.", "net.module.", "_orig_mod.module.policy."] {
        let (weight, bias) = (format!("{prefix}0.weight"), format!("{prefix}0.bias"));
        let file = file(&[(&weight, &[2, 1]), (&bias, &[2])]);
        for names in [TensorNames::Discover, TensorNames::Prefix(prefix)] {
            let builder = Network::<f32>::builder(1).dense(2, Activation::Identity);
            let mut network = builder.seed(1).build().unwrap();
            network.import_bytes(&file, names).unwrap();
            assert_eq!(common::parameters(&network), [0.0, 1.0, 8.0, 9.0], "{prefix}");
        }
    }
}

/// The pages that this thread has asked the system for.
#[cfg(target_os = "linux")]
fn page_faults() -> i64 {
    // SAFETY: all zeros are a value of the struct, which the call fills.
    unsafe {
        let mut usage: libc::rusage = core::mem::zeroed();
        assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage), 0);
        usage.ru_minflt
    }
}

/// A workspace's memory is there when it is built: the first prediction is as good as any for a deadline.
#[cfg(target_os = "linux")]
#[test]
fn a_first_prediction_asks_the_system_for_few_pages() {
    let builder = Network::<f32>::builder(200).dense(300, Activation::Gelu).dense(10, Activation::Softmax);
    let network = builder.seed(1).build().unwrap();
    // The code of the kernels is in memory.
    network.predict(&[0.5; 200]).unwrap();
    let mut workspace = network.workspace(1).unwrap();
    let mut y = [0.0; 10];
    let before = page_faults();
    network.predict_into(&[0.5; 200], &mut y, &mut workspace).unwrap();
    let faults = page_faults() - before;
    assert!(faults <= 8, "{faults}");
    assert!((y.iter().sum::<f32>() - 1.0).abs() < 1e-5);
}
