//! ONNX files of PyTorch's exporters, of scikit-learn's and made by hand: read with onnxruntime's outputs,
//! refused by name, and written back. `tools/onnx/make.py` made the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::every::HIDDEN;
use crate::common::{TemporaryFolder, parameters};
use fuseprop::{Activation, Element, Error, Head, LayerKind, Network, Scaler, Source, TensorNames};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("{name}.onnx"))).unwrap()
}

/// The rows of a file, and what onnxruntime computes of them.
struct Case {
    is_double: bool,
    x: Vec<f64>,
    y: Vec<f64>,
}

fn cases() -> BTreeMap<String, Case> {
    let bytes = std::fs::read(folder().join("expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |name: String| numbers(&file.tensor(&name).unwrap());
    let names = file.names().into_iter().filter_map(|name| name.strip_suffix(".x"));
    let case = |name: &str| {
        let is_double = file.tensor(&format!("{name}.x")).unwrap().dtype() == Dtype::F64;
        let case = Case { is_double, x: numbers(format!("{name}.x")), y: numbers(format!("{name}.y")) };
        (name.to_owned(), case)
    };
    names.map(case).collect()
}

fn numbers(tensor: &TensorView<'_>) -> Vec<f64> {
    match tensor.dtype() {
        Dtype::F64 => tensor.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect(),
        _ => tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect(),
    }
}

/// Outputs of some rows.
fn predict<T: Element>(network: &Network<T>, x: &[f64]) -> Vec<f64> {
    let x: Vec<T> = x.iter().map(|&x| T::from_f64(x)).collect();
    let rows = x.len() / network.inputs();
    let mut y = vec![T::from_f64(f64::NAN); rows * network.outputs()];
    network.predict_into(&x, &mut y, &mut network.workspace(rows).unwrap()).unwrap();
    y.into_iter().map(T::to_f64).collect()
}

/// The furthest that numbers are apart, for a largest of 1 at least.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(1.0_f64, |largest, b| largest.max(b.abs()));
    let furthest = |worst: f64, (a, b): (&f64, &f64)| {
        let apart = (a - b).abs() / largest;
        if apart.is_nan() { f64::INFINITY } else { worst.max(apart) }
    };
    a.iter().zip(b).fold(0.0, furthest)
}

/// Reads a file, writes it, and reads that: how far outputs are from those of onnxruntime.
fn read_and_written<T: Element>(name: &str, case: &Case) -> f64 {
    let network = Network::<T>::from_onnx(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let y = predict(&network, &case.x);
    let written = network.to_onnx().unwrap();
    let again = Network::<T>::from_onnx(&written).unwrap_or_else(|error| panic!("{name} again: {error}"));
    assert!(distance(&predict(&again, &case.x), &y) <= 1e-6, "{name}, written back");
    assert_eq!(again.to_onnx().unwrap(), written, "{name}, written twice");
    // The crate's own format holds it too, with its names.
    let own = Network::<T>::from_bytes(&network.to_bytes().unwrap()).unwrap();
    assert_eq!(predict(&own, &case.x), y, "{name} as safetensors");
    assert_eq!(own.to_onnx().unwrap(), written, "{name} as safetensors");
    for_onnxruntime(name, &network, &case.x);
    distance(&y, &case.y)
}

#[test]
fn files_of_exporters_give_the_outputs_of_onnxruntime() {
    let (mut worst, mut worst_double) = (0.0_f64, 0.0_f64);
    let cases = cases();
    for (name, case) in &cases {
        let apart = match case.is_double {
            true => read_and_written::<f64>(name, case),
            false => read_and_written::<f32>(name, case),
        };
        let bound = if case.is_double { 1e-12 } else { 1e-6 };
        assert!(apart <= bound, "{name}: {apart:e}");
        let worst = if case.is_double { &mut worst_double } else { &mut worst };
        *worst = worst.max(apart);
        // In the other type it is the same network.
        let single =
            distance(&predict(&Network::<f32>::from_onnx(&fixture(name)).unwrap(), &case.x), &case.y);
        assert!(single <= 1e-6, "{name} in f32: {single:e}");
    }
    println!("RESULT onnx_files files={} worst_f32={worst:e} worst_f64={worst_double:e}", cases.len());
    assert!(cases.len() >= 40);
    let files = std::fs::read_dir(folder()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
        name.ends_with(".onnx") && !name.starts_with("refused_")
    });
    assert_eq!(files.count(), cases.len(), "every file has outputs");
}

/// Keeps a file with its outputs, if a folder is named: `tools/onnx/check.py` runs it in onnxruntime.
fn for_onnxruntime<T: Element>(name: &str, network: &Network<T>, x: &[f64]) {
    let Some(folder) = std::env::var_os("FUSEPROP_ONNX_OUT") else { return };
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder).unwrap();
    network.save_onnx(folder.join(format!("{name}.onnx"))).unwrap();
    let bytes = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let y = predict(network, x);
    let (x_bytes, y_bytes) = (bytes(x), bytes(&y));
    let rows = x.len() / network.inputs();
    let view = |columns: usize, bytes| TensorView::new(Dtype::F64, vec![rows, columns], bytes).unwrap();
    let tensors = [("x", view(network.inputs(), &x_bytes)), ("y", view(network.outputs(), &y_bytes))];
    let file = safetensors::serialize(tensors, None).unwrap();
    std::fs::write(folder.join(format!("{name}.safetensors")), file).unwrap();
}

#[test]
fn files_that_are_no_network_are_refused_by_name() {
    let list = std::fs::read_to_string(folder().join("refused.txt")).unwrap();
    for line in list.lines() {
        let (name, what) = line.split_once(' ').unwrap();
        let error = Network::<f32>::from_onnx(&fixture(&format!("refused_{name}"))).unwrap_err();
        assert!(error.to_string().contains(what), "{name}: {error}");
        match &error {
            Error::Operator { node, operator, supported, .. } => {
                assert!(node.starts_with("node_") && operator == what && !supported.is_empty(), "{error}");
            }
            Error::Format { .. } => assert!(["input", "weights.bin"].contains(&what), "{error}"),
            other => panic!("{name}: {other}"),
        }
    }
    assert!(list.lines().count() >= 14);
    for bytes in [&b""[..], b"\x08\x08", b"not ONNX", &[0x80; 40]] {
        assert!(matches!(Network::<f32>::from_onnx(bytes), Err(Error::Format { .. })));
    }
}

/// Rows that reach both sides of every activation.
fn rows(count: usize) -> Vec<f64> {
    (0..count).map(|i| f64::from((1.5 * (1.7 * i as f64 + 0.3).sin()) as f32)).collect()
}

fn with_biases<T: Element>(mut network: Network<T>) -> Network<T> {
    let mut values = vec![T::from_f64(0.0); network.parameter_count()];
    network.read_parameters(&mut values).unwrap();
    for (i, value) in values.iter_mut().enumerate() {
        *value = T::from_f64(value.to_f64() + f64::from((0.1 * (i as f64).cos()) as f32));
    }
    network.write_parameters(&values).unwrap();
    network
}

/// A scaler, layer norms, a residual block, a concatenation and heads around one activation.
fn graph<T: Element>(activation: Activation) -> Network<T> {
    let builder = Network::<T>::builder(6)
        .dense(8, activation)
        .residual(|block| {
            block.layer_norm(activation).epsilon(1e-3).dense(8, Activation::Identity).bias(false)
        })
        .activation(activation)
        .concat([Source::Input, Source::Layer(3)])
        .activation(activation)
        .heads([
            Head::new(|head| head.dense(4, activation).dense(3, Activation::Softmax)),
            Head::dense(2, activation),
            Head::new(|head| head.concat([Source::Layer(0), Source::Input])),
        ]);
    let mut network = with_biases(builder.seed(3).build().unwrap());
    let values = |values: [f64; 6]| values.map(T::from_f64).to_vec();
    let scaler =
        Scaler::new(values([0.5, -0.25, 0.0, 1.0, 2.0, -1.5]), values([2.0, 0.75, 1.0, 3.0, 1.25, 1.0]));
    network.set_scaler(Some(scaler.unwrap())).unwrap();
    network
}

fn chain<T: Element>(activation: Activation) -> Network<T> {
    let builder =
        Network::<T>::builder(6).dropout(0.1).dense(7, activation).dropout(0.25).dense(3, activation);
    with_biases(builder.seed(4).build().unwrap())
}

fn assert_comes_back<T: Element + From<f32>>(name: &str, network: &Network<T>) {
    let x = rows(5 * 6);
    let read = Network::<T>::from_onnx(&network.to_onnx().unwrap()).unwrap();
    assert_eq!(predict(&read, &x), predict(network, &x), "{name}");
    let (mut ours, mut theirs) = (vec![T::from(0.0); network.parameter_count()], Vec::new());
    network.read_parameters(&mut ours).unwrap();
    theirs.resize(read.parameter_count(), T::from(0.0));
    read.read_parameters(&mut theirs).unwrap();
    assert_eq!(ours, theirs, "{name}");
    assert_eq!(read.scaler(), network.scaler(), "{name}");
    for layer in 0..network.layer_count() {
        let (ours, theirs) = (network.layer(layer).unwrap(), read.layer(layer).unwrap());
        assert_eq!(
            (ours.kind(), ours.activation()),
            (theirs.kind(), theirs.activation()),
            "{name}, layer {layer}"
        );
        assert_eq!(network.sources(layer), read.sources(layer), "{name}, layer {layer}");
    }
    for_onnxruntime(name, network, &x);
}

#[test]
fn networks_of_every_activation_come_back_from_onnx_as_they_were() {
    for activation in HIDDEN {
        let word = format!("{activation:?}").to_lowercase();
        let word: String = word.chars().take_while(|c| c.is_alphanumeric()).collect();
        assert_comes_back(&format!("graph_{word}_f32"), &graph::<f32>(activation));
        assert_comes_back(&format!("graph_{word}_f64"), &graph::<f64>(activation));
        assert_comes_back(&format!("chain_{word}_f32"), &chain::<f32>(activation));
        assert_comes_back(&format!("chain_{word}_f64"), &chain::<f64>(activation));
    }
}

#[test]
fn heads_of_one_layer_and_of_the_inputs_are_outputs_of_their_own() {
    let concat = |sources: &[Source]| {
        Head::new({
            let sources = sources.to_vec();
            move |head| head.concat(sources)
        })
    };
    let builder = Network::<f32>::builder(6).dense(4, Activation::Tanh).dense(4, Activation::Relu);
    let heads = [concat(&[Source::Layer(0)]), concat(&[Source::Layer(0)]), concat(&[Source::Input])];
    let network = with_biases(builder.heads(heads).seed(5).build().unwrap());
    let x = rows(5 * 6);
    let read = Network::<f32>::from_onnx(&network.to_onnx().unwrap()).unwrap();
    assert_eq!(predict(&read, &x), predict(&network, &x));
    for_onnxruntime("repeated_heads", &network, &x);
}

#[test]
fn names_of_modules_are_kept_from_file_to_file() {
    let folder = TemporaryFolder::new("onnx-names");
    let network = Network::<f32>::from_onnx(&fixture("dynamo_residual")).unwrap();
    let names = |bytes: &[u8]| -> Vec<String> {
        let file = SafeTensors::deserialize(bytes).unwrap();
        let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    };
    let own = names(&network.to_bytes().unwrap());
    assert!(
        ["stem.weight", "block.0.bias", "policy.weight", "value.2.bias"]
            .iter()
            .all(|name| own.contains(&(*name).to_owned()))
    );
    // By way of ONNX, by bytes alone.
    let path = folder.0.join("named.onnx");
    network.save_onnx(&path).unwrap();
    let opened = Network::<f32>::open(&path).unwrap();
    assert_eq!(names(&opened.to_bytes().unwrap()), own);
    // A chain keeps them too.
    let builder = Network::<f32>::builder(6).dense(7, Activation::Relu).dense(3, Activation::Identity);
    let mut chain = builder.build().unwrap();
    let read = Network::<f32>::from_onnx(&fixture("torch_relu")).unwrap();
    chain.import_bytes(&read.to_bytes().unwrap(), TensorNames::Sequential).unwrap();
    assert_eq!(parameters(&chain), parameters(&read));
    // Safetensors go by the same door.
    let path = folder.0.join("named.safetensors");
    opened.save(&path).unwrap();
    assert_eq!(Network::<f32>::open(&path).unwrap().to_bytes(), opened.to_bytes());
}

#[test]
fn constants_of_a_file_become_scalers_and_weights() {
    let scaled = Network::<f32>::from_onnx(&fixture("hand_scaler")).unwrap();
    assert!(scaled.scaler().is_some() && scaled.layer_count() == 1);
    let negative = Network::<f32>::from_onnx(&fixture("hand_negative_scaler")).unwrap();
    assert!(negative.scaler().is_none() && negative.layer_count() == 1);
    let normed = Network::<f32>::from_onnx(&fixture("torch_batch_norm")).unwrap();
    let kinds: Vec<LayerKind> = (0..normed.layer_count()).map(|l| normed.layer(l).unwrap().kind()).collect();
    assert_eq!(kinds, [LayerKind::Dense; 2]);
    let graph = Network::<f32>::from_onnx(&fixture("hand_graph")).unwrap();
    assert_eq!(graph.layer(graph.layer_count() - 1).unwrap().kind(), LayerKind::Heads);
    assert_eq!(graph.outputs(), 3 + 1 + 3);
}
