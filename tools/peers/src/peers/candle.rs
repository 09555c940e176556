//! candle: reverse-mode differentiation over tensors, products by `gemm`.

use candle_core::{Device, Tensor, Var};
use candle_nn::{Linear, Module, Optimizer, SGD};
use fuseprop::{Activation, Loss};

use crate::Result;
use crate::peer::Peer;
use crate::workload::{Job, Task, split};

pub fn build(job: &Job<'_>) -> Result<Option<Box<dyn Peer>>> {
    let mut variables = Vec::new();
    let mut layers = Vec::new();
    let parameters = split(job.workload, &job.data.parameters);
    for ((inputs, outputs, activation), (weights, biases)) in job.workload.layers().zip(parameters) {
        let weights = Var::from_slice(weights, (outputs, inputs), &Device::Cpu)?;
        let biases = Var::from_slice(biases, outputs, &Device::Cpu)?;
        let linear = match job.task {
            Task::Train { .. } => Linear::new(weights.as_tensor().clone(), Some(biases.as_tensor().clone())),
            // Without a graph to record.
            _ => Linear::new(weights.as_detached_tensor(), Some(biases.as_detached_tensor())),
        };
        layers.push((linear, activation));
        variables.extend([weights, biases]);
    }
    let x = Tensor::from_slice(&job.data.x, (job.workload.batch, job.workload.inputs()), &Device::Cpu)?;
    let network = Network { layers, x };
    Ok(match job.task {
        Task::Train { learning_rate } => Some(Box::new(Training {
            network,
            loss: job.workload.loss,
            targets: targets(job)?,
            optimizer: SGD::new(variables.clone(), learning_rate)?,
            variables,
        })),
        Task::Predict => Some(Box::new(Prediction { network, y: None })),
        Task::Product => None,
    })
}

fn targets(job: &Job<'_>) -> Result<Tensor> {
    let (batch, outputs) = (job.workload.batch, job.workload.outputs());
    Ok(match job.workload.loss {
        Loss::SoftmaxCrossEntropy => Tensor::from_slice(&job.data.classes, batch, &Device::Cpu)?,
        _ => Tensor::from_slice(&job.data.targets, (batch, outputs), &Device::Cpu)?,
    })
}

struct Network {
    layers: Vec<(Linear, Activation)>,
    x: Tensor,
}

impl Network {
    fn forward(&self) -> Result<Tensor> {
        let mut y = self.x.clone();
        for (linear, activation) in &self.layers {
            y = linear.forward(&y)?;
            y = match activation {
                Activation::Identity => y,
                Activation::Relu => y.relu()?,
                Activation::Tanh => y.tanh()?,
                Activation::Sigmoid => candle_nn::ops::sigmoid(&y)?,
                other => return Err(format!("{other:?} is not benchmarked").into()),
            };
        }
        Ok(y)
    }
}

struct Training {
    network: Network,
    loss: Loss,
    targets: Tensor,
    optimizer: SGD,
    variables: Vec<Var>,
}

impl Peer for Training {
    fn step(&mut self) -> Result<()> {
        let y = self.network.forward()?;
        let loss = match self.loss {
            Loss::SoftmaxCrossEntropy => candle_nn::loss::cross_entropy(&y, &self.targets)?,
            _ => candle_nn::loss::mse(&y, &self.targets)?,
        };
        Ok(self.optimizer.backward_step(&loss)?)
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        let mut parameters = Vec::new();
        for variable in &self.variables {
            parameters.extend(variable.flatten_all()?.to_vec1::<f32>()?);
        }
        Ok(parameters)
    }
}

struct Prediction {
    network: Network,
    y: Option<Tensor>,
}

impl Peer for Prediction {
    fn step(&mut self) -> Result<()> {
        self.y = Some(self.network.forward()?);
        Ok(())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        let y = self.y.as_ref().ok_or("there was no step")?;
        Ok(y.flatten_all()?.to_vec1()?)
    }
}
