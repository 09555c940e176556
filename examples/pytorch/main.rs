//! Runs a network that was trained in PyTorch, compares every output with PyTorch's, and writes it back.
//!
//! ```text
//! cargo run --release --example pytorch
//! ```
//!
//! `examples/pytorch/train.py` wrote the files. In short:
//!
//! ```python
//! model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 10))
//! ..
//! safetensors.torch.save_file(model.state_dict(), "pytorch-digits.safetensors")
//! ```
//!
//! The way back, for the file that this example writes:
//!
//! ```python
//! model.load_state_dict(safetensors.torch.load_file("target/pytorch/digits.safetensors"))
//! ```

#[path = "../common/options.rs"]
mod options;

use std::path::Path;
use std::process::ExitCode;

use fuseprop::{Activation, Network, TensorNames, metrics};
use options::{Options, Stop, make_folder};
use safetensors::SafeTensors;

const USAGE: &str = "usage: pytorch [--out DIR]";
/// Two computations of a sum of 64 products, in other orders: some tens of roundings of the largest terms.
const TOLERANCE: f32 = 1e-5;

fn main() -> ExitCode {
    let mut options = Options::new("pytorch", USAGE);
    let result = run(&mut options);
    options.end(result)
}

fn run(options: &mut Options) -> Result<(), Stop> {
    let out = options.folder("target/pytorch")?;
    options.done()?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data");

    // The same modules as in PyTorch; their names in the file follow from the order.
    let mut network = Network::<f32>::builder(64)
        .dense(64, Activation::Identity)
        .layer_norm(Activation::Relu)
        .dropout(0.2)
        .dense(10, Activation::Identity)
        .seed(0)
        .build()?;
    network.import(data.join("pytorch-digits.safetensors"), TensorNames::Sequential)?;
    println!("{} parameters read; runs on {}", network.parameter_count(), network.isa());

    let Outputs { x, y: expected, labels } = read_outputs(&data.join("pytorch-digits-outputs.safetensors"))?;
    let mut y = vec![0.0; expected.len()];
    network.predict_into(&x, &mut y, &mut network.workspace(labels.len())?)?;
    let largest = expected.iter().fold(0.0f32, |largest, y| largest.max(y.abs()));
    let furthest = y.iter().zip(&expected).fold(0.0f32, |furthest, (a, b)| furthest.max((a - b).abs()));
    println!("{} outputs up to {largest:.2}, at most {furthest:.2e} from PyTorch's", y.len());
    println!("accuracy {:.2} %, PyTorch's {:.2} %", percent(&y, &labels)?, percent(&expected, &labels)?);
    if furthest.is_nan() || furthest > TOLERANCE * largest {
        return Err(Stop::Failure("that is further than roundings explain".into()));
    }

    make_folder(&out)?;
    let path = out.join("digits.safetensors");
    network.save(&path)?;
    println!("written to {}, for model.load_state_dict", path.display());
    Ok(())
}

fn percent(outputs: &[f32], labels: &[u32]) -> Result<f64, fuseprop::Error> {
    Ok(100.0 * metrics::accuracy(outputs, labels)?)
}

/// What PyTorch computed.
struct Outputs {
    x: Vec<f32>,
    y: Vec<f32>,
    labels: Vec<u32>,
}

fn read_outputs(path: &Path) -> Result<Outputs, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read {}: {error}", path.display());
    let bytes = std::fs::read(path).map_err(|error| failed(&error))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| failed(&error))?;
    let numbers = |name: &str| {
        let tensor = file.tensor(name).map_err(|error| failed(&error))?;
        Ok::<_, String>(tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    };
    let labels = file.tensor("labels").map_err(|error| failed(&error))?;
    let labels = labels.data().as_chunks().0.iter().map(|&bytes| i64::from_le_bytes(bytes) as u32).collect();
    Ok(Outputs { x: numbers("x")?, y: numbers("y")?, labels })
}
