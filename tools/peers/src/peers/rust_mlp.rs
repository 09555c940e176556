//! rust-mlp: layers over flat buffers, products by `matrixmultiply`.

use fuseprop::{Activation, Loss};
use rust_mlp::serde_model::{MODEL_FORMAT_VERSION, SerializedActivation, SerializedLayer, SerializedMlp};
use rust_mlp::{BatchBackpropScratch, BatchScratch, Gradients, Mlp, Scratch, Sgd};

use crate::Result;
use crate::peer::Peer;
use crate::workload::{Job, Task, split};

pub fn build(job: &Job<'_>) -> Result<Option<Box<dyn Peer>>> {
    Ok(match job.task {
        Task::Train { learning_rate } => Some(Box::new(Training::new(job, learning_rate)?)),
        Task::Predict => {
            let network = network(job)?;
            let y = vec![f32::NAN; job.workload.outputs()];
            Some(Box::new(Prediction { scratch: network.scratch(), network, x: job.data.x.clone(), y }))
        }
        Task::Product => None,
    })
}

/// Parameters go in and out through the format of saved models: there is no other way.
fn network(job: &Job<'_>) -> Result<Mlp> {
    let parameters = split(job.workload, &job.data.parameters);
    let mut layers = Vec::new();
    for ((inputs, outputs, activation), (weights, biases)) in job.workload.layers().zip(parameters) {
        layers.push(SerializedLayer {
            in_dim: inputs,
            out_dim: outputs,
            activation: match activation {
                Activation::Identity => SerializedActivation::Identity,
                Activation::Relu => SerializedActivation::Relu,
                Activation::Tanh => SerializedActivation::Tanh,
                Activation::Sigmoid => SerializedActivation::Sigmoid,
                other => return Err(format!("{other:?} is not benchmarked").into()),
            },
            weights: weights.to_vec(),
            biases: biases.to_vec(),
        });
    }
    Ok(Mlp::try_from(SerializedMlp { format_version: MODEL_FORMAT_VERSION, layers })?)
}

/// What `Mlp::fit` does with a full batch.
struct Training {
    network: Mlp,
    optimizer: Sgd,
    loss: rust_mlp::Loss,
    scratch: BatchScratch,
    backward: BatchBackpropScratch,
    gradients: Gradients,
    d_outputs: Vec<f32>,
    x: Vec<f32>,
    targets: Vec<f32>,
}

impl Training {
    /// rust-mlp halves the squared error, and takes the mean of the cross-entropy over the classes too: the
    /// learning rate makes up for both.
    fn new(job: &Job<'_>, learning_rate: f64) -> Result<Self> {
        let network = network(job)?;
        let (loss, factor) = match job.workload.loss {
            Loss::SoftmaxCrossEntropy => (rust_mlp::Loss::SoftmaxCrossEntropy, job.workload.outputs() as f64),
            _ => (rust_mlp::Loss::Mse, 2.0),
        };
        Ok(Self {
            optimizer: Sgd::new((learning_rate * factor) as f32)?,
            loss,
            scratch: network.scratch_batch(job.workload.batch),
            backward: network.backprop_scratch_batch(job.workload.batch),
            gradients: network.gradients(),
            d_outputs: vec![f32::NAN; job.data.targets.len()],
            x: job.data.x.clone(),
            targets: job.data.targets.clone(),
            network,
        })
    }
}

impl Peer for Training {
    fn step(&mut self) -> Result<()> {
        let outputs = self.network.output_dim();
        self.network.forward_batch(&self.x, &mut self.scratch);
        let rows = self.scratch.output().chunks(outputs).zip(self.targets.chunks(outputs));
        for ((y, targets), d_y) in rows.zip(self.d_outputs.chunks_mut(outputs)) {
            self.loss.backward(y, targets, d_y);
        }
        let (scratch, d_outputs) = (&self.scratch, &self.d_outputs);
        self.network.backward_batch(&self.x, scratch, d_outputs, &mut self.gradients, &mut self.backward);
        self.optimizer.step(&mut self.network, &self.gradients);
        Ok(())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        let layers = SerializedMlp::from(&self.network).layers;
        Ok(layers.into_iter().flat_map(|layer| [layer.weights, layer.biases]).flatten().collect())
    }
}

struct Prediction {
    network: Mlp,
    scratch: Scratch,
    x: Vec<f32>,
    y: Vec<f32>,
}

impl Peer for Prediction {
    fn step(&mut self) -> Result<()> {
        Ok(self.network.predict_into(&self.x, &mut self.scratch, &mut self.y)?)
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        Ok(self.y.clone())
    }
}
