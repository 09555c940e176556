//! Files that somebody has damaged or made up: an error or other numbers, never a panic, never more memory
//! than a small multiple of the file, and nothing half-changed. A process of its own: its global allocator
//! measures memory.
#![cfg(feature = "files")]

#[path = "it/common/temporary_file.rs"]
mod temporary_file;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;

use fuseprop::{
    Activation, Dataset, Element, Error, FitOptions, Loss, Network, Optimizer, ReduceOnPlateau, Scaler,
    TensorNames, Trainer,
};
use temporary_file::TemporaryFile;

/// Counts the bytes that this thread holds, and the most it has held.
struct Measuring;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn hold(bytes: isize) {
    let held = HELD.get() + bytes;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Measuring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        hold(layout.size() as isize);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        hold(layout.size() as isize);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there for a moment.
        hold(size as isize);
        hold(-(layout.size() as isize));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        hold(-(layout.size() as isize));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Measuring = Measuring;

/// What `f` gives, and the most bytes that it held at a time.
fn peak<R>(f: impl FnOnce() -> R) -> (R, usize) {
    let before = HELD.get();
    PEAK.set(before);
    let result = f();
    (result, (PEAK.get() - before) as usize)
}

/// What a reader may take for a file of so many bytes that it refuses or that has few parameters.
fn limit(bytes: usize) -> usize {
    2 * bytes + (1 << 20)
}

/// A network with everything that a file can hold, about 4 KB of it.
fn network<T: Element + From<f32>>() -> Network<T> {
    let builder =
        Network::<T>::builder(5).dense(20, Activation::HardTanh { min: -0.5, max: 2.0 }).dropout(0.25);
    let builder = builder
        .layer_norm(Activation::Sine { frequency: 1.5 })
        .dense(19, Activation::LeakyRelu { slope: 0.125 });
    let mut network = builder.dense(7, Activation::Softmax).seed(1).build().unwrap();
    let scaler = Scaler::new([0.5, -1.5, 0.0, 2.0, 1e-3].map(T::from).to_vec(), vec![T::from(2.0); 5]);
    network.set_scaler(Some(scaler.unwrap())).unwrap();
    network
}

fn parameters<T: Element + From<f32> + Into<f64>>(network: &Network<T>) -> Vec<u64> {
    let mut parameters = vec![T::from(0.0); network.parameter_count()];
    network.read_parameters(&mut parameters).unwrap();
    parameters.into_iter().map(|p| p.into().to_bits()).collect()
}

/// What became of some files.
#[derive(Default)]
struct Tally {
    cases: usize,
    refused: usize,
    loaded: usize,
    peak: usize,
}

impl Tally {
    fn note(&mut self, loaded: bool, peak: usize, bytes: usize, what: &str) {
        assert!(peak <= limit(bytes), "{what}: {peak} bytes for a file of {bytes}");
        self.cases += 1;
        self.loaded += usize::from(loaded);
        self.refused += usize::from(!loaded);
        self.peak = self.peak.max(peak);
    }

    fn print(&self, name: &str) {
        let Self { cases, refused, loaded, peak } = self;
        println!("RESULT {name} cases={cases} refused={refused} loaded={loaded} peak_bytes={peak}");
    }
}

/// Reads a file in every way.
fn read(bytes: &[u8], tally: &mut Tally, what: &str) {
    read_as::<f32>(bytes, tally, what);
    read_as::<f64>(bytes, tally, what);
}

fn read_as<T: Element + From<f32> + Into<f64>>(bytes: &[u8], tally: &mut Tally, what: &str) {
    let (loaded, held) = peak(|| Network::<T>::from_bytes(bytes));
    tally.note(loaded.is_ok(), held, bytes.len(), what);
    if let Ok(loaded) = loaded {
        let x = vec![T::from(0.5); 2 * loaded.inputs()];
        let mut y = vec![T::from(0.0); 2 * loaded.outputs()];
        loaded.predict_into(&x, &mut y, &mut loaded.workspace(2).unwrap()).unwrap();
    }
    let pairs =
        [("0.weight", "0.bias"), ("3.weight", "3.bias"), ("5.weight", "5.bias"), ("7.weight", "7.bias")];
    for names in
        [TensorNames::Sequential, TensorNames::Discover, TensorNames::Prefix(""), TensorNames::List(&pairs)]
    {
        let mut into = network::<T>();
        let before = parameters(&into);
        let (imported, held) = peak(|| into.import_bytes(bytes, names));
        tally.note(imported.is_ok(), held, bytes.len(), what);
        assert!(imported.is_ok() || parameters(&into) == before, "{what}: half imported");
    }
}

/// The lengths of the header and of the file.
fn header_len(bytes: &[u8]) -> usize {
    u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
}

/// The file with another header, whose length is right.
fn with_header(bytes: &[u8], mut header: String) -> Vec<u8> {
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(&bytes[8 + header_len(bytes)..]);
    file
}

/// What a number is replaced by.
const NUMBERS: [&str; 13] = [
    "0",
    "-1",
    "1",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "NaN",
    "inf",
    "",
];

/// Every number of a header, with each of [`NUMBERS`] in its place: shapes, offsets, types, names, settings,
/// counts.
fn with_other_numbers(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let header = std::str::from_utf8(&bytes[8..8 + header_len(bytes)]).unwrap();
    let is_of_number = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+' | 'e' | 'E');
    let (mut files, mut at) = (Vec::new(), 0);
    while let Some(start) = header[at..].find(|c: char| c.is_ascii_digit() || c == '-').map(|i| at + i) {
        let end = header[start..].find(|c| !is_of_number(c)).map_or(header.len(), |i| start + i);
        for number in NUMBERS {
            let changed = format!("{}{number}{}", &header[..start], &header[end..]);
            let line = &header[start.saturating_sub(30)..(end + 5).min(header.len())];
            files.push((format!("{number} in {line}"), with_header(bytes, changed)));
        }
        at = end;
    }
    files
}

/// The file with other lengths of the header.
fn with_other_lengths(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (right, all) = (header_len(bytes) as u64, bytes.len() as u64);
    let lengths =
        [0, 1, 2, right - 1, right + 1, all - 8, all, 1 << 31, 1 << 32, 1 << 40, i64::MAX as u64, u64::MAX];
    let file = |len: u64| [&len.to_le_bytes()[..], &bytes[8..]].concat();
    lengths.into_iter().map(|len| (format!("a header of {len}"), file(len))).collect()
}

#[test]
fn a_model_cut_short_or_changed_in_one_bit_is_an_error_or_other_numbers() {
    let bytes = network::<f32>().to_bytes().unwrap();
    assert!((3500..4500).contains(&bytes.len()), "{} bytes", bytes.len());
    let mut cut = Tally::default();
    for len in 0..bytes.len() {
        read(&bytes[..len], &mut cut, &format!("{len} bytes"));
    }
    cut.print("truncated_models");
    assert_eq!(cut.loaded, 0);
    let mut flipped = Tally::default();
    for bit in 0..8 * bytes.len() {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        read(&changed, &mut flipped, &format!("bit {bit}"));
    }
    flipped.print("flipped_models");
    // Every bit of a number gives another number; most others none.
    let numbers = 32 * network::<f32>().parameter_count();
    assert!(flipped.loaded >= 2 * numbers && flipped.refused > 10_000);
}

#[test]
fn a_model_with_any_number_in_its_header_is_an_error_or_another_model() {
    let bytes = network::<f32>().to_bytes().unwrap();
    let mut tally = Tally::default();
    for (what, file) in with_other_numbers(&bytes).into_iter().chain(with_other_lengths(&bytes)) {
        read(&file, &mut tally, &what);
    }
    tally.print("header_fields_of_models");
    assert!(tally.cases > 5000 && tally.loaded > 0 && tally.refused > 5000);
}

const X: [f32; 60] = [0.25; 60];
const CLASSES: [u32; 20] = [1; 20];

fn trainer() -> Trainer<f32> {
    let builder = Network::<f32>::builder(3).dense(5, Activation::Tanh).dropout(0.25);
    let network = builder.dense(2, Activation::Identity).seed(1).build().unwrap();
    let builder = Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy).optimizer(Optimizer::adam(0.01));
    builder.max_batch(8).seed(3).build().unwrap()
}

fn fit(trainer: &mut Trainer<f32>, path: &Path, epochs: usize) -> Result<(), Error> {
    let how = FitOptions::new(epochs, 8)
        .reduce_on_plateau(ReduceOnPlateau::new(0.5, 1))
        .early_stopping(50)
        .checkpoint(path, 1);
    trainer.fit(Dataset::new(&X, &CLASSES), &how, |_, _| ControlFlow::Continue(())).map(drop)
}

/// Resumes from a file: if that is refused nothing has changed, else training goes on.
fn resume(file: &[u8], path: &Path, tally: &mut Tally, what: &str) {
    std::fs::write(path, file).unwrap();
    let mut resumed = trainer();
    resumed.step(&X[..24], &CLASSES[..8]).unwrap();
    let state = |trainer: &Trainer<f32>| {
        (parameters(trainer.network()), trainer.gradients().to_vec(), trainer.steps())
    };
    let before = state(&resumed);
    let (result, held) = peak(|| resumed.load_checkpoint(path));
    tally.note(result.is_ok(), held, file.len(), what);
    if result.is_err() {
        assert!(state(&resumed) == before, "{what}: half resumed");
    }
    // Refusing is as good as going on; both must come to an end.
    let _ = resumed.step(&X[..24], &CLASSES[..8]);
    let _ = fit(&mut resumed, path, 5);
}

fn checkpoint(path: &Path) -> Vec<u8> {
    fit(&mut trainer(), path, 3).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn a_checkpoint_cut_short_or_changed_in_one_bit_is_an_error_or_another_training() {
    let path = TemporaryFile::new("hostile-bits");
    let bytes = checkpoint(&path.0);
    let mut cut = Tally::default();
    for len in (0..bytes.len()).step_by(3) {
        resume(&bytes[..len], &path.0, &mut cut, &format!("{len} bytes"));
    }
    cut.print("truncated_checkpoints");
    assert_eq!(cut.loaded, 0);
    let mut flipped = Tally::default();
    for bit in (0..8 * bytes.len()).step_by(5) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        resume(&changed, &path.0, &mut flipped, &format!("bit {bit}"));
    }
    flipped.print("flipped_checkpoints");
    assert!(flipped.loaded > 100 && flipped.refused > 100);
}

#[test]
fn a_checkpoint_with_any_number_in_its_header_is_an_error_or_another_training() {
    let path = TemporaryFile::new("hostile-numbers");
    let bytes = checkpoint(&path.0);
    let mut tally = Tally::default();
    for (what, file) in with_other_numbers(&bytes).into_iter().chain(with_other_lengths(&bytes)) {
        resume(&file, &path.0, &mut tally, &what);
    }
    tally.print("header_fields_of_checkpoints");
    assert!(tally.cases > 500 && tally.loaded > 0 && tally.refused > 500);
}

#[test]
fn a_model_takes_as_much_memory_as_its_numbers_in_panels() {
    for (name, sizes) in [
        ("wide", vec![1000, 1000, 1000]),
        ("narrow", vec![64; 200]),
        ("one_output", vec![100_000, 1]),
        ("many_tiny", vec![1; 2000]),
    ] {
        let mut builder = Network::<f32>::builder(sizes[0]).seed(1);
        for &size in &sizes[1..] {
            builder = builder.dense(size, Activation::Identity);
        }
        let bytes = builder.build().unwrap().to_bytes().unwrap();
        let (network, held) = peak(|| Network::<f32>::from_bytes(&bytes).unwrap());
        // A line of 64 bytes for each panel of 16 outputs, a line of biases and one for each input; numbers
        // as in the file; and what tells of a layer.
        let lines: usize = sizes.windows(2).map(|s| (1 + s[0]) * s[1].div_ceil(16)).sum();
        let layers = sizes.len();
        let bound = 64 * lines + 4 * network.parameter_count() + 1500 * layers + (1 << 20);
        println!(
            "RESULT memory_of_a_model shape={name} file_bytes={} peak_bytes={held} ratio={:.2}",
            bytes.len(),
            held as f64 / bytes.len() as f64
        );
        assert!(held <= bound, "{name}: {held} bytes, more than {bound}");
    }
}

#[cfg(feature = "onnx")]
mod onnx {
    use super::*;

    fn read_as<T: Element + From<f32>>(bytes: &[u8], tally: &mut Tally, what: &str) {
        let (loaded, held) = peak(|| Network::<T>::from_onnx(bytes));
        tally.note(loaded.is_ok(), held, bytes.len(), what);
        if let Ok(loaded) = loaded {
            let x = vec![T::from(0.5); 2 * loaded.inputs()];
            let mut y = vec![T::from(0.0); 2 * loaded.outputs()];
            loaded.predict_into(&x, &mut y, &mut loaded.workspace(2).unwrap()).unwrap();
            // What was read can be written, in both formats.
            let again = Network::<T>::from_onnx(&loaded.to_onnx().unwrap());
            assert!(again.is_ok(), "{what}, written back: {:?}", again.err());
            let again = Network::<T>::from_bytes(&loaded.to_bytes().unwrap());
            assert!(again.is_ok(), "{what}, written back: {:?}", again.err());
        }
    }

    fn read(bytes: &[u8], tally: &mut Tally, what: &str) {
        read_as::<f32>(bytes, tally, what);
        read_as::<f64>(bytes, tally, what);
    }

    /// Files of an exporter, with a graph and an activation in several nodes, and of this crate.
    fn files() -> Vec<Vec<u8>> {
        let fixture = |name: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx");
            std::fs::read(folder.join(format!("{name}.onnx"))).unwrap()
        };
        let own = network::<f32>().to_onnx().unwrap();
        vec![
            fixture("hand_graph"),
            fixture("hand_f16_typed"),
            fixture("torch_viewed"),
            fixture("torch_gelu"),
            own,
        ]
    }

    #[test]
    fn an_onnx_file_cut_short_or_changed_in_one_bit_is_an_error_or_another_network() {
        let (mut cut, mut flipped) = (Tally::default(), Tally::default());
        for (file, bytes) in files().into_iter().enumerate() {
            for len in 0..bytes.len() {
                read(&bytes[..len], &mut cut, &format!("{len} bytes of file {file}"));
            }
            for bit in 0..8 * bytes.len() {
                let mut changed = bytes.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let what = format!("bit {bit} of file {file}");
                read_as::<f32>(&changed, &mut flipped, &what);
                if bit % 5 == 0 {
                    read_as::<f64>(&changed, &mut flipped, &what);
                }
            }
        }
        cut.print("truncated_onnx");
        flipped.print("flipped_onnx");
        // The version of the operators follows the graph.
        assert!(cut.refused > 15_000 && cut.loaded == 0, "{} loaded", cut.loaded);
        assert!(flipped.loaded > 20_000 && flipped.refused > 20_000);
    }

    fn varint(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    /// A field of bytes: a message, a text or packed numbers.
    fn field(tag: u64, bytes: &[u8]) -> Vec<u8> {
        [varint(tag << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
    }

    fn number(tag: u64, value: u64) -> Vec<u8> {
        [varint(tag << 3), varint(value)].concat()
    }

    /// A model of opset 17, of an input of some features and what its graph holds besides.
    fn model(features: u64, graph: &[Vec<u8>]) -> Vec<u8> {
        let dims = [field(1, &field(2, b"n")), field(1, &number(1, features))].concat();
        let tensor_type = [number(1, 1), field(2, &dims)].concat();
        let input = [field(1, b"x"), field(2, &field(1, &tensor_type))].concat();
        let graph = [field(11, &input), graph.concat(), field(12, &field(1, b"y"))].concat();
        [number(1, 8), field(8, &number(2, 17)), field(7, &graph)].concat()
    }

    fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
        let inputs: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
        field(1, &[inputs, field(2, output.as_bytes()), field(4, operator.as_bytes())].concat())
    }

    fn matrix(name: &str, rows: u64, columns: u64) -> Vec<u8> {
        let data = vec![0; (4 * rows * columns) as usize];
        let dims = [number(1, rows), number(1, columns)].concat();
        field(5, &[dims, number(2, 1), field(8, name.as_bytes()), field(9, &data)].concat())
    }

    #[test]
    fn a_small_onnx_file_cannot_ask_for_much_memory() {
        let many = |part: &[u8]| vec![part.repeat((1 << 20) / part.len())];
        let one_node = |part: &[u8]| vec![field(1, &part.repeat((1 << 20) / part.len()))];
        let chain = |operator: &str, tied: &str, count: usize| {
            let mut nodes = vec![matrix("w", 200, 200)];
            for i in 0..count {
                let from = if i == 0 { "x".to_owned() } else { format!("v{i}") };
                let to = if i + 1 == count { "y".to_owned() } else { format!("v{}", i + 1) };
                nodes.push(node(operator, &[&from, if tied.is_empty() { &from } else { tied }], &to));
            }
            nodes
        };
        let tensor = |dims: &[u64], data: &[u8]| {
            let dims: Vec<u8> = dims.iter().flat_map(|&dim| number(1, dim)).collect();
            vec![field(5, &[dims, number(2, 1), field(8, b"w"), field(9, data)].concat())]
        };
        let files = [
            ("empty nodes", model(4, &many(&field(1, b"")))),
            ("small nodes", model(4, &many(&node("Relu", &["x"], "y")))),
            ("empty initialisers", model(4, &many(&field(5, b"")))),
            ("empty outputs", model(4, &many(&field(12, b"")))),
            ("inputs of a node", model(4, &one_node(&field(1, b"")))),
            ("attributes of a node", model(4, &one_node(&field(5, b"")))),
            ("numbers of an attribute", model(4, &one_node(&field(5, &field(8, &[1; 1000]))))),
            ("dimensions", model(4, &one_node(&field(5, &field(5, &number(1, 1).repeat(1000)))))),
            ("weights that 300 layers share", model(200, &chain("MatMul", "w", 300))),
            ("features that double", model(4, &chain("Concat", "", 60))),
            ("products of products", model(4, &chain("Mul", "", 300))),
            ("sums of sums", model(4, &chain("Add", "", 300))),
            ("no numbers", model(4, &tensor(&[1 << 40, 1 << 40], b""))),
            ("too few numbers", model(4, &tensor(&[1 << 20, 4], b"1234"))),
            ("no elements", model(4, &tensor(&[0, 1 << 40], b""))),
            ("features without weights", model(1 << 40, &[node("Relu", &["x"], "y")])),
            ("groups", [model(4, &[]), vec![0x0b; 1 << 20]].concat()),
        ];
        let mut tally = Tally::default();
        for (what, bytes) in files {
            read(&bytes, &mut tally, what);
        }
        tally.print("memory_of_hostile_onnx");
        assert!(tally.refused >= 30);
    }
}
