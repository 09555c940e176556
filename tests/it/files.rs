//! Networks in files: whole, equal, and refused when they are not.

use crate::common::every::HIDDEN;
use crate::common::{TemporaryFolder, parameters};
use fuseprop::{
    Activation, Argument, Element, Error, FileOperation, FormatProblem, MetadataItem, Network, Scaler,
    TensorNames,
};
use safetensors::tensor::{Dtype, TensorView};

/// Every activation, and settings whose digits a file must keep.
fn activations() -> Vec<Activation> {
    let mut activations = vec![
        Activation::Elu { alpha: 1.0 / 3.0 },
        Activation::HardTanh { min: -1e-30, max: 1e30 },
        Activation::Sine { frequency: 29.999999999999996 },
    ];
    activations.extend(HIDDEN);
    activations.push(Activation::Softmax);
    activations
}

fn names(folder: &TemporaryFolder) -> Vec<String> {
    let entries = std::fs::read_dir(&folder.0).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// 5-1-2-3-.. through every activation, with biases too.
fn network<T: Element + From<f32>>(activations: &[Activation]) -> Network<T> {
    let mut builder = Network::<T>::builder(5).seed(1);
    for (l, &activation) in activations.iter().enumerate() {
        builder = builder.dense(1 + l % 20, activation);
    }
    let mut network = builder.build().unwrap();
    for l in 0..network.layer_count() {
        let outputs = network.layer(l).unwrap().outputs();
        let biases: Vec<T> = (0..outputs).map(|j| T::from(0.1 + j as f32)).collect();
        network.write_biases(l, &biases).unwrap();
    }
    network
}

fn assert_equal<T: Element + From<f32>>(a: &Network<T>, b: &Network<T>) {
    assert_eq!(a.layer_count(), b.layer_count());
    for l in 0..a.layer_count() {
        assert_eq!(a.layer(l), b.layer(l));
        let (a, b) = (a.layer(l).unwrap(), b.layer(l).unwrap());
        let shape = |layer: fuseprop::Layer| (layer.kind(), layer.inputs(), layer.outputs());
        assert_eq!(shape(a), shape(b));
        assert_eq!((a.activation(), a.dropout()), (b.activation(), b.dropout()));
        assert_eq!((a.has_bias(), a.epsilon()), (b.has_bias(), b.epsilon()));
    }
    assert_eq!(parameters(a), parameters(b));
    assert_eq!((a.scaler(), a.input_dropout()), (b.scaler(), b.input_dropout()));
}

#[test]
fn a_saved_network_is_loaded_as_it_was() {
    let folder = TemporaryFolder::new("round-trip");
    let path = folder.0.join("model.safetensors");
    for _ in 0..2 {
        // The second save replaces the first.
        let network = network::<f64>(&activations());
        network.save(&path).unwrap();
        let loaded = Network::<f64>::load(&path).unwrap();
        assert_equal(&loaded, &network);
        assert_eq!(loaded.seed(), network.seed());
    }
    let network = network::<f32>(&activations());
    network.save(&path).unwrap();
    assert_equal(&Network::<f32>::load(&path).unwrap(), &network);
    // Every f32 is an f64.
    let wide: Vec<f64> = parameters(&network).into_iter().map(f64::from).collect();
    assert_eq!(parameters(&Network::<f64>::load(&path).unwrap()), wide);
    assert_eq!(names(&folder), ["model.safetensors"]);
}

#[test]
fn layer_norms_dropout_and_the_scaler_are_saved_too() {
    let builder = Network::<f64>::builder(3).layer_norm(Activation::Identity).dropout(0.1);
    let builder = builder
        .dense(7, Activation::Identity)
        .layer_norm(Activation::Sine { frequency: 1.5 })
        .dropout(1.0 / 3.0);
    let mut network = builder.dense(2, Activation::Softmax).seed(1).build().unwrap();
    network.write_weights(2, &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]).unwrap();
    let mut narrow = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(1).build().unwrap();
    narrow.set_scaler(Some(Scaler::new(vec![0.1], vec![0.3]).unwrap())).unwrap();
    let wide = Network::<f64>::from_bytes(&narrow.to_bytes().unwrap()).unwrap();
    assert_eq!(wide.scaler().unwrap().means(), [f64::from(0.1f32)]);
    let scaler = Scaler::new(vec![1.0 / 3.0, -1e-300, 0.0], vec![0.1, 1e300, 1.0]).unwrap();
    network.set_scaler(Some(scaler)).unwrap();
    let bytes = network.to_bytes().unwrap();
    assert_equal(&Network::<f64>::from_bytes(&bytes).unwrap(), &network);
    assert_eq!(bytes, network.to_bytes().unwrap(), "the same bytes for the same network");
    // LayerNorm, Dropout, Linear, LayerNorm, Sine, Dropout, Linear, Softmax.
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    let stems = ["0", "2", "3", "6"];
    let expected: Vec<String> =
        stems.iter().flat_map(|stem| [format!("{stem}.bias"), format!("{stem}.weight")]).collect();
    assert_eq!(names, expected);
    // The same by discovery, for a network with layer norms.
    let mut other = network.clone();
    other.write_parameters(&vec![0.0; network.parameter_count()]).unwrap();
    other.import_bytes(&bytes, TensorNames::Discover).unwrap();
    assert_equal(&other, &network);
}

#[test]
fn what_a_killed_save_has_left_is_passed_over() {
    let folder = TemporaryFolder::new("left-over");
    let path = folder.0.join("model.safetensors");
    let network = network::<f32>(&[Activation::Relu]);
    let left: Vec<String> =
        (0..200).map(|count| format!("model.safetensors.{}-{count}.tmp", std::process::id())).collect();
    for name in &left {
        std::fs::write(folder.0.join(name), "of another process").unwrap();
    }
    network.save(&path).unwrap();
    assert_equal(&Network::<f32>::load(&path).unwrap(), &network);
    assert_eq!(names(&folder).len(), 1 + left.len());
}

#[test]
fn many_tensors_are_read_in_time() {
    let mut builder = Network::<f32>::builder(1).seed(1);
    for _ in 0..20_000 {
        builder = builder.dense(1, Activation::Identity);
    }
    let bytes = builder.build().unwrap().to_bytes().unwrap();
    let start = std::time::Instant::now();
    Network::<f32>::from_bytes(&bytes).unwrap();
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn a_save_that_fails_leaves_nothing_behind() {
    let folder = TemporaryFolder::new("failure");
    let network = network::<f32>(&[Activation::Relu]);
    let missing = folder.0.join("no such folder").join("model.safetensors");
    match network.save(&missing) {
        Err(Error::File { operation: FileOperation::Write, kind: std::io::ErrorKind::NotFound, path }) => {
            assert!(path.contains("no such folder"));
        }
        other => panic!("{other:?}"),
    }
    // A folder stands where the file would go.
    let taken = folder.0.join("taken");
    std::fs::create_dir(&taken).unwrap();
    assert!(matches!(network.save(&taken), Err(Error::File { operation: FileOperation::Rename, .. })));
    assert_eq!(names(&folder), ["taken"]);
    assert!(matches!(
        Network::<f32>::load(&missing),
        Err(Error::File { operation: FileOperation::Read, .. })
    ));
}

#[test]
fn what_pytorch_wrote_is_read_by_any_names() {
    let fixture = |name: &str| {
        std::fs::read(format!("{}/tests/fixtures/{name}.safetensors", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let build = || {
        Network::<f64>::builder(4)
            .dense(8, Activation::Relu)
            .dense(6, Activation::Tanh)
            .dense(3, Activation::Identity)
            .build()
            .unwrap()
    };
    let list = [("0.weight", "0.bias"), ("2.weight", "2.bias"), ("4.weight", "4.bias")];
    let check = |file: &str, names: TensorNames<'_>| {
        let mut network = build();
        network.import_bytes(&fixture(file), names).unwrap();
        let io = fixture("mlp_io");
        let io = safetensors::SafeTensors::deserialize(&io).unwrap();
        let numbers = |name: &str| -> Vec<f64> {
            let tensor = io.tensor(name).unwrap();
            tensor.data().as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect()
        };
        let (x, expected) = (numbers("x"), numbers(&format!("y_{}", file.trim_start_matches("mlp_"))));
        let mut y = vec![f64::NAN; expected.len()];
        network.predict_into(&x, &mut y, &mut network.workspace(7).unwrap()).unwrap();
        for (y, expected) in y.iter().zip(&expected) {
            assert!((y - expected).abs() <= 1e-14, "{file}: {y} is not PyTorch's {expected}");
        }
    };
    for file in ["mlp_f64", "mlp_f32", "mlp_f16", "mlp_bf16"] {
        check(file, TensorNames::Sequential);
        check(file, TensorNames::List(&list));
        check(file, TensorNames::Discover);
    }
    check("mlp_prefixed", TensorNames::Prefix("model.policy."));
    check("mlp_prefixed", TensorNames::Discover);
    // From the file itself.
    let (mut imported, mut expected) = (build(), build());
    let path = format!("{}/tests/fixtures/mlp_f64.safetensors", env!("CARGO_MANIFEST_DIR"));
    imported.import(&path, TensorNames::Sequential).unwrap();
    expected.import_bytes(&fixture("mlp_f64"), TensorNames::Sequential).unwrap();
    assert_equal(&imported, &expected);
    let missing = imported.import(path + ".missing", TensorNames::Sequential);
    assert!(matches!(missing, Err(Error::File { operation: FileOperation::Read, .. })));
}

/// A tensor of elements of four bytes.
type Tensor<'a> = (&'a str, Dtype, &'a [usize]);

/// A file of tensors, of which each holds its number in the list as `f32`, with the lines of a header if
/// there are any.
fn file_of(tensors: &[Tensor<'_>], header: Option<&str>) -> Vec<u8> {
    let bytes_of = |(i, (_, _, shape)): (usize, &Tensor<'_>)| {
        vec![i as f32; shape.iter().product()].into_iter().flat_map(f32::to_le_bytes).collect()
    };
    let bytes: Vec<Vec<u8>> = tensors.iter().enumerate().map(bytes_of).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|(&(name, dtype, shape), bytes)| (name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap()));
    let metadata = header.map(|text| [("fuseprop".to_owned(), text.to_owned())].into_iter().collect());
    safetensors::serialize(views, metadata).unwrap()
}

#[test]
fn discovery_follows_numbers_in_names_and_passes_over_what_is_no_layer() {
    let stems = ["a", "layer.2", "layer.9", "layer.10", "layer.10.x9", "layer.10.x10", "other"];
    let names: Vec<[String; 2]> =
        stems.iter().map(|stem| [format!("{stem}.weight"), format!("{stem}.bias")]).collect();
    let float = Dtype::F32;
    let no_layers: [Tensor<'_>; 6] = [
        ("embedding.weight", float, &[1, 1]),
        ("convolution.weight", float, &[1, 1, 1]),
        ("convolution.bias", float, &[1]),
        ("bilinear.weight", float, &[1, 1]),
        ("bilinear.bias", float, &[1, 1]),
        ("scale", float, &[1]),
    ];
    let norm: [Tensor<'_>; 2] = [("norm.weight", float, &[1]), ("norm.bias", float, &[1])];
    // A matrix for each dense layer, beside which vectors are no layer; a vector for each norm.
    let shapes: [&[usize]; 2] = [&[1, 1], &[1]];
    for (shape, others) in shapes.into_iter().zip([&norm[..], &[]]) {
        let layers = names
            .iter()
            .flat_map(|[weight, bias]| -> [Tensor<'_>; 2] { [(weight, float, shape), (bias, float, &[1])] });
        let tensors: Vec<Tensor<'_>> = layers.chain(no_layers).chain(others.iter().copied()).collect();
        let mut builder = Network::<f32>::builder(1);
        for _ in stems {
            builder = match shape.len() {
                2 => builder.dense(1, Activation::Tanh),
                _ => builder.layer_norm(Activation::Tanh),
            };
        }
        let mut network = builder.build().unwrap();
        network.import_bytes(&file_of(&tensors, None), TensorNames::Discover).unwrap();
        let expected: Vec<f32> = (0..2 * stems.len()).map(|i| i as f32).collect();
        assert_eq!(parameters(&network), expected, "{shape:?}");
    }
}

#[test]
fn a_layer_whose_numbers_are_not_all_there_is_named_before_a_network_is_made() {
    let (float, integer) = (Dtype::F32, Dtype::I32);
    let load = |tensors: &[Tensor<'_>]| {
        Network::<f32>::from_bytes(&file_of(tensors, Some("version 1\nseed 1\nlayer dense identity 0\n")))
    };
    assert!(load(&[("0.weight", float, &[2, 3]), ("0.bias", float, &[2])]).is_ok());
    let cases: [&[Tensor<'_>]; 5] = [
        &[("0.weight", float, &[2, 3])],
        &[("0.weight", float, &[2, 3]), ("0.bias", float, &[3])],
        &[("0.weight", float, &[2, 3]), ("0.bias", integer, &[2])],
        &[("0.weight", integer, &[2, 3]), ("0.bias", float, &[2])],
        &[("0.weight", float, &[6]), ("0.bias", float, &[2])],
    ];
    for tensors in cases {
        match load(tensors) {
            Err(Error::Tensors { expected, .. }) => {
                assert_eq!(expected, ["0.weight of inputs inputs, with its bias"], "{tensors:?}");
            }
            other => panic!("{tensors:?}: {other:?}"),
        }
    }
}

#[test]
fn tensors_that_do_not_fit_are_listed_and_nothing_has_changed() {
    let bytes = network::<f32>(&[Activation::Relu, Activation::Identity]).to_bytes().unwrap();
    let refused = |other: &[Activation], names: TensorNames<'_>| {
        let mut network = network::<f32>(other);
        let before = parameters(&network);
        let error = network.import_bytes(&bytes, names).unwrap_err();
        assert_eq!(parameters(&network), before);
        match error {
            Error::Tensors { expected, found } => (expected, found),
            other => panic!("{other}"),
        }
    };
    // Too few layers: the others are extra. Too many: they are missing.
    let (expected, found) = refused(&[Activation::Relu], TensorNames::Sequential);
    assert_eq!(expected, ["0.weight [1, 5]", "0.bias [1]"]);
    assert_eq!(found, ["0.bias [1] F32", "0.weight [1, 5] F32", "2.bias [2] F32", "2.weight [2, 1] F32"]);
    let (expected, _) = refused(&[Activation::Relu; 3], TensorNames::Discover);
    assert_eq!(expected[4..], ["(weights of layer 2) [3, 2]", "(biases of layer 2) [3]"]);
    // Counted otherwise, and looked for elsewhere.
    refused(&[Activation::Identity, Activation::Relu], TensorNames::Sequential);
    refused(&[Activation::Relu, Activation::Identity], TensorNames::Prefix("model."));
    refused(&[Activation::Relu, Activation::Identity], TensorNames::List(&[("0.weight", "0.bias")]));
    refused(
        &[Activation::Relu, Activation::Identity],
        TensorNames::List(&[("2.weight", "2.bias"), ("0.weight", "0.bias")]),
    );
    assert!(
        network::<f32>(&[Activation::Relu])
            .import_bytes(&bytes, TensorNames::List(&[("0.weight", "0.bias")]))
            .is_ok()
    );
}

#[test]
fn files_of_others_are_not_networks() {
    for bytes in [&b""[..], b"not a file", &[0xff; 64], b"\x02\0\0\0\0\0\0\0{}"] {
        assert!(matches!(Network::<f32>::from_bytes(bytes), Err(Error::Format { .. })), "{bytes:?}");
    }
    // A header that claims to be longer than memory.
    let mut header = u64::MAX.to_le_bytes().to_vec();
    header.extend(b"{}");
    assert!(matches!(Network::<f32>::from_bytes(&header), Err(Error::Format { .. })));
}

#[test]
fn layers_that_do_not_follow_each_other_are_refused_before_memory_is_asked_for() {
    // Two matrices of a million numbers, which as a network would hold a million million.
    let bytes = vec![0; 4 << 20];
    let tensor = |shape: &[usize]| {
        let len = 4 * shape.iter().product::<usize>();
        TensorView::new(Dtype::F32, shape.to_vec(), &bytes[..len]).unwrap()
    };
    let million = 1 << 20;
    let tensors = [
        ("0.weight", tensor(&[million, 1])),
        ("0.bias", tensor(&[million])),
        ("1.weight", tensor(&[million, 1])),
        ("1.bias", tensor(&[million])),
    ];
    let text = "version 1\nseed 1\nlayer dense identity 0\nlayer dense identity 0\n";
    let metadata = [("fuseprop".to_owned(), text.to_owned())].into_iter().collect();
    let file = safetensors::serialize(tensors, Some(metadata)).unwrap();
    match Network::<f32>::from_bytes(&file) {
        Err(Error::Tensors { expected, .. }) => {
            assert_eq!(expected, ["1.weight of 1048576 inputs, with its bias"])
        }
        other => panic!("{other:?}"),
    }
}

/// Dropout, Linear without biases, LayerNorm, ReLU, Linear, LayerNorm without biases.
fn without_biases() -> Network<f64> {
    let builder = Network::<f64>::builder(3).dropout(0.25).dense(4, Activation::Identity).bias(false);
    let builder = builder.layer_norm(Activation::Relu).epsilon(1e-3).dense(2, Activation::Identity);
    builder.layer_norm(Activation::Identity).bias(false).seed(1).build().unwrap()
}

#[test]
fn what_a_layer_was_told_is_saved_too() {
    let network = without_biases();
    let bytes = network.to_bytes().unwrap();
    let loaded = Network::<f64>::from_bytes(&bytes).unwrap();
    assert_equal(&loaded, &network);
    assert_eq!((loaded.input_dropout(), loaded.layer(1).unwrap().epsilon()), (0.25, Some(1e-3)));
    // The dropout of the inputs is the first module.
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    assert_eq!(names, ["1.weight", "2.bias", "2.weight", "4.bias", "4.weight", "5.weight"]);
    for names in [TensorNames::Sequential, TensorNames::Discover, TensorNames::Prefix("")] {
        let mut other = without_biases();
        other.write_parameters(&vec![0.0; network.parameter_count()]).unwrap();
        other.import_bytes(&bytes, names).unwrap();
        assert_equal(&other, &network);
    }
    let list = [("1.weight", ""), ("2.weight", "2.bias"), ("4.weight", "4.bias"), ("5.weight", "5.bias")];
    without_biases().import_bytes(&bytes, TensorNames::List(&list)).unwrap();
}

#[test]
fn biases_that_a_layer_cannot_take_are_refused() {
    let (float, build) = (Dtype::F32, || Network::<f32>::builder(3).dense(2, Activation::Identity));
    let tensors: [Tensor<'_>; 2] = [("0.weight", float, &[2, 3]), ("0.bias", float, &[2])];
    let list = [("0.weight", "0.bias")];
    for names in [TensorNames::Sequential, TensorNames::Discover, TensorNames::List(&list)] {
        let mut network = build().bias(false).build().unwrap();
        let before = parameters(&network);
        match network.import_bytes(&file_of(&tensors, None), names) {
            Err(Error::Tensors { expected, found }) => {
                assert_eq!(expected, ["0.weight [2, 3]"]);
                assert_eq!(found, ["0.bias [2] F32", "0.weight [2, 3] F32"]);
            }
            other => panic!("{names:?}: {other:?}"),
        }
        assert_eq!(parameters(&network), before);
        network.import_bytes(&file_of(&tensors[..1], None), names).unwrap();
        assert!(build().build().unwrap().import_bytes(&file_of(&tensors[..1], None), names).is_err());
    }
    // By the metadata of a file.
    let load = |tensors: &[Tensor<'_>], text: &str| {
        Network::<f32>::from_bytes(&file_of(tensors, Some(&format!("version 1\nseed 1\n{text}\n"))))
    };
    assert!(!load(&tensors[..1], "layer dense identity 0 no_bias").unwrap().layer(0).unwrap().has_bias());
    assert!(load(&tensors, "layer dense identity 0 no_bias").is_err());
    assert!(load(&tensors[..1], "layer dense identity 0").is_err());
    for unknown in ["bias", "no_bias ", "epsilon=1e-3", "epsilon", "epsilon="] {
        let text = format!("layer dense identity 0 {unknown}");
        assert!(matches!(load(&tensors, &text), Err(Error::Format { .. })), "{unknown}");
    }
}

#[test]
fn saved_files_carry_pytorch_s_format() {
    let network = network::<f32>(&activations());
    let bytes = network.to_bytes().unwrap();
    let (length, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = metadata.metadata().as_ref().unwrap();
    assert_eq!((metadata.len(), metadata["format"].as_str()), (2, "pt"));
    assert!(metadata["fuseprop"].starts_with("version 1\n") && length % 8 == 0);
    assert_equal(&Network::<f32>::from_bytes(&bytes).unwrap(), &network);
    // Files of before had one entry.
    let text = &metadata["fuseprop"];
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let old = [("fuseprop".to_owned(), text.clone())].into_iter().collect();
    let old = safetensors::serialize(file.iter(), Some(old)).unwrap();
    assert_equal(&Network::<f32>::from_bytes(&old).unwrap(), &network);
}

#[test]
fn settings_that_no_network_has_are_an_error_of_the_format() {
    let tensors: [Tensor<'_>; 2] = [("0.weight", Dtype::F32, &[2, 3]), ("0.bias", Dtype::F32, &[2])];
    let load = |lines: &str| {
        Network::<f32>::from_bytes(&file_of(&tensors, Some(&format!("version 1\nseed 1\n{lines}\n"))))
    };
    let layer = "layer dense identity 0";
    load(layer).unwrap();
    load(&format!("{layer}\nmeans 0 0 0\nstds 1 1 1")).unwrap();
    let wrong = [
        "".to_owned(),
        "layer dense identity 0.5".to_owned(),
        "layer dense leaky_relu(NaN) 0".to_owned(),
        format!("input_dropout 1\n{layer}"),
        format!("{layer}\nmeans 0 0\nstds 1 1"),
        format!("{layer}\nmeans 0 0 0\nstds 1 1"),
        format!("{layer}\nmeans 0 0 0\nstds 1 1 0"),
        format!("{layer}\nmeans 0 0 0\nstds 1 1 NaN"),
    ];
    for lines in wrong {
        let refused = load(&lines);
        assert!(
            matches!(refused, Err(Error::Format { .. } | Error::Tensors { .. })),
            "{lines:?}: {:?}",
            refused.map(drop)
        );
    }
    let without_seed = file_of(&tensors, Some(&format!("version 1\n{layer}\n")));
    assert!(matches!(Network::<f32>::from_bytes(&without_seed), Err(Error::Format { .. })));
}

#[test]
fn a_program_can_tell_what_is_wrong_with_a_file() {
    let tensors: [Tensor<'_>; 2] = [("0.weight", Dtype::F32, &[2, 3]), ("0.bias", Dtype::F32, &[2])];
    let words = |expected, found: &str| FormatProblem::Words { expected, found: found.to_owned() };
    let dropout = Error::Setting { argument: Argument::DropoutRate, value: 1.5 };
    let cases = [
        (
            "version 0\nlayer dense identity 0",
            FormatProblem::Version { found: "0".to_owned(), expected: "1" },
        ),
        ("version 1\nlayer dense identity 0", FormatProblem::MissingKey { key: "seed".to_owned() }),
        ("version 1\nseed one\nlayer dense identity 0", words(MetadataItem::Number, "one")),
        ("version 1\nseed 1\nlayer dense huh 0", words(MetadataItem::Layer, "dense huh 0")),
        ("version 1\nseed 1\nmeans 0 0 0\nlayer dense identity 0", FormatProblem::Scaler),
        ("version 1\nseed 1\nlayer dense identity 1.5", FormatProblem::Setting { error: Box::new(dropout) }),
    ];
    for (text, problem) in cases {
        let error = Network::<f32>::from_bytes(&file_of(&tensors, Some(text))).unwrap_err();
        assert_eq!(error, Error::Format { problem }, "{text:?}");
        assert!(error.to_string().starts_with("not a file of a network: "), "{error}");
    }
    let error = Network::<f32>::from_bytes(&file_of(&tensors, None)).unwrap_err();
    assert_eq!(error, Error::Format { problem: FormatProblem::NoMetadata });
}

/// What an error says is not a network.
fn refusal(error: Error) -> String {
    match error {
        Error::Format { problem } => problem.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_of_pytorch_are_refused_with_the_way_to_read_them() {
    let zip = [&b"PK\x03\x04"[..], &[0; 60]].concat();
    for bytes in [&zip[..], b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."] {
        let mut network = network::<f32>(&[Activation::Relu]);
        for error in [
            Network::<f32>::from_bytes(bytes).unwrap_err(),
            network.import_bytes(bytes, TensorNames::Sequential).unwrap_err(),
        ] {
            let what = refusal(error);
            assert!(what.contains("torch.save") && what.contains("safetensors.torch.save_file"), "{what}");
        }
    }
    let path = format!("{}/tests/fixtures/mlp_f64.safetensors", env!("CARGO_MANIFEST_DIR"));
    let what = refusal(Network::<f64>::load(path).unwrap_err());
    assert!(what.contains("Network::import"), "{what}");
}

#[test]
fn a_batch_norm_is_refused_by_name() {
    let float = Dtype::F32;
    let dense: [Tensor<'_>; 2] = [("a.0.weight", float, &[3, 3]), ("a.0.bias", float, &[3])];
    let norm: [Tensor<'_>; 5] = [
        ("a.1.weight", float, &[3]),
        ("a.1.bias", float, &[3]),
        ("a.1.running_mean", float, &[3]),
        ("a.1.running_var", float, &[3]),
        ("a.1.num_batches_tracked", Dtype::I32, &[]),
    ];
    let mut network = Network::<f32>::builder(3)
        .dense(3, Activation::Identity)
        .layer_norm(Activation::Identity)
        .seed(1)
        .build()
        .unwrap();
    let before = parameters(&network);
    let bytes = file_of(&[&dense[..], &norm[..]].concat(), None);
    let list = [("a.0.weight", "a.0.bias"), ("a.1.weight", "a.1.bias")];
    let all =
        [TensorNames::Discover, TensorNames::List(&list), TensorNames::Prefix("a."), TensorNames::Sequential];
    for names in all {
        let what = refusal(network.import_bytes(&bytes, names).unwrap_err());
        assert!(what.starts_with("a.1 is a batch norm"), "{what}");
        assert_eq!(parameters(&network), before);
    }
    // One that is not looked for is passed over.
    let mut first = Network::<f32>::builder(3).dense(3, Activation::Identity).build().unwrap();
    first.import_bytes(&bytes, TensorNames::List(&list[..1])).unwrap();
    network.import_bytes(&file_of(&[&dense[..], &norm[..2]].concat(), None), TensorNames::Discover).unwrap();
}
