//! Runs a network that PyTorch exported as ONNX, compares every output with PyTorch's, and writes it back.
//!
//! ```text
//! cargo run --release --features onnx --example onnx
//! ```
//!
//! `examples/onnx/train.py` wrote the files: a scaler, a residual block with a layer norm, and two heads.
//! Nothing of that is described here. In short:
//!
//! ```python
//! torch.onnx.export(model, (x,), "pytorch-heads.onnx", external_data=False, dynamo=True)
//! ```
//!
//! The way on, for the file that this example writes:
//!
//! ```python
//! digit, odd = onnxruntime.InferenceSession("target/onnx/heads.onnx").run(None, {"input": x})
//! ```

#[path = "../common/options.rs"]
mod options;

use std::path::Path;
use std::process::ExitCode;

use fuseprop::{LayerKind, Network};
use options::{Options, Stop, make_folder};
use safetensors::SafeTensors;

const USAGE: &str = "usage: onnx [--out DIR]";
/// Outputs are probabilities; sums of 64 products in other orders move them by some roundings of 1.
const TOLERANCE: f32 = 1e-5;

fn main() -> ExitCode {
    let mut options = Options::new("onnx", USAGE);
    let result = run(&mut options);
    options.end(result)
}

fn run(options: &mut Options) -> Result<(), Stop> {
    let out = options.folder("target/onnx")?;
    options.done()?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");

    // Layers, weights and the scaler of the inputs: all from the file.
    let network = Network::<f32>::open(data.join("pytorch-heads.onnx"))?;
    describe(&network);

    let outputs = Outputs::read(&data.join("pytorch-heads-outputs.safetensors"))?;
    let furthest = outputs.furthest(&network)?;
    println!("{} outputs, at most {furthest:.2e} from PyTorch's", outputs.y.len());
    if furthest.is_nan() || furthest > TOLERANCE {
        return Err(Stop::Failure("that is further than roundings explain".into()));
    }

    make_folder(&out)?;
    let path = out.join("heads.onnx");
    network.save_onnx(&path)?;
    let again = outputs.furthest(&Network::open(&path)?)?;
    println!("written to {}, and read again: at most {again:.2e} from PyTorch's", path.display());
    match again <= TOLERANCE {
        true => Ok(()),
        false => Err(Stop::Failure("what was written is another network".into())),
    }
}

fn describe(network: &Network<f32>) {
    let scaled = if network.scaler().is_some() { ", scaled" } else { "" };
    println!("{} inputs{scaled}, {} parameters", network.inputs(), network.parameter_count());
    for layer in (0..network.layer_count()).filter_map(|layer| network.layer(layer)) {
        match layer.kind() {
            LayerKind::Heads => println!("  heads, {} outputs", layer.outputs()),
            kind => println!("  {kind:?} to {}, {:?}", layer.outputs(), layer.activation()),
        }
    }
}

/// What PyTorch computed: for each row the outputs of the first head, then those of the second.
struct Outputs {
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Outputs {
    fn read(path: &Path) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
        let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| failed(&error))?;
        let numbers = |name: &str| {
            let tensor = file.tensor(name).map_err(|error| failed(&error))?;
            let numbers = tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes));
            Ok::<Vec<f32>, String>(numbers.collect())
        };
        let (digit, odd) = (numbers("digit")?, numbers("odd")?);
        let rows = digit.chunks(10).zip(&odd);
        let y = rows.flat_map(|(digit, odd)| digit.iter().chain([odd]).copied()).collect();
        Ok(Self { x: numbers("x")?, y })
    }

    /// How far the outputs of a network are from these.
    fn furthest(&self, network: &Network<f32>) -> Result<f32, fuseprop::Error> {
        let mut y = vec![0.0; self.y.len()];
        let rows = self.x.len() / network.inputs();
        network.predict_into(&self.x, &mut y, &mut network.workspace(rows)?)?;
        Ok(y.iter().zip(&self.y).fold(0.0f32, |furthest, (a, b)| furthest.max((a - b).abs())))
    }
}
