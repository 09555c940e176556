//! burn: modules over a backend of choice, here `NdArray` and `Flex`, and `Autodiff` around it to train.

use burn::backend::{Autodiff, Flex, NdArray};
use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::nn::loss::{CrossEntropyLossConfig, MseLoss, Reduction};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::{GradientsParams, Optimizer, Sgd, SgdConfig};
use burn::tensor::activation::{relu, sigmoid, tanh};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};
use fuseprop::{Activation, Loss};

use crate::Result;
use crate::peer::Peer;
use crate::workload::{Job, Task, split, transpose};

pub fn build_ndarray(job: &Job<'_>) -> Result<Option<Box<dyn Peer>>> {
    build::<NdArray>(job)
}

pub fn build_flex(job: &Job<'_>) -> Result<Option<Box<dyn Peer>>> {
    build::<Flex>(job)
}

fn build<B: Backend + 'static>(job: &Job<'_>) -> Result<Option<Box<dyn Peer>>> {
    Ok(match job.task {
        Task::Train { learning_rate } => Some(Box::new(Training::<B>::new(job, learning_rate))),
        Task::Predict => Some(Box::new(Prediction::<B> { model: Model::new(job), x: inputs(job), y: None })),
        Task::Product => None,
    })
}

#[derive(Module, Debug)]
struct Network<B: Backend> {
    layers: Vec<Linear<B>>,
}

/// A network with what is not a parameter.
struct Model<B: Backend> {
    network: Network<B>,
    activations: Vec<Activation>,
}

impl<B: Backend> Model<B> {
    /// Weights are `[inputs, outputs]`, burn's layout.
    fn new(job: &Job<'_>) -> Self {
        let device = Default::default();
        let parameters = split(job.workload, &job.data.parameters);
        let mut layers = Vec::new();
        for ((inputs, outputs, _), (weights, biases)) in job.workload.layers().zip(parameters) {
            let weights = TensorData::new(transpose(weights, outputs, inputs), [inputs, outputs]);
            let biases = TensorData::new(biases.to_vec(), [outputs]);
            layers.push(Linear {
                weight: Param::from_data(weights, &device),
                bias: Some(Param::from_data(biases, &device)),
            });
        }
        Self {
            network: Network { layers },
            activations: job.workload.layers().map(|(_, _, activation)| activation).collect(),
        }
    }

    fn forward(&self, x: &Tensor<B, 2>) -> Result<Tensor<B, 2>> {
        let mut y = x.clone();
        for (linear, activation) in self.network.layers.iter().zip(&self.activations) {
            y = linear.forward(y);
            y = match activation {
                Activation::Identity => y,
                Activation::Relu => relu(y),
                Activation::Tanh => tanh(y),
                Activation::Sigmoid => sigmoid(y),
                other => return Err(format!("{other:?} is not benchmarked").into()),
            };
        }
        Ok(y)
    }
}

fn inputs<B: Backend>(job: &Job<'_>) -> Tensor<B, 2> {
    let shape = [job.workload.batch, job.workload.inputs()];
    Tensor::from_data(TensorData::new(job.data.x.clone(), shape), &Default::default())
}

struct Training<B: Backend> {
    model: Model<Autodiff<B>>,
    optimizer: OptimizerAdaptor<Sgd<B>, Network<Autodiff<B>>, Autodiff<B>>,
    learning_rate: f64,
    x: Tensor<Autodiff<B>, 2>,
    targets: Targets<Autodiff<B>>,
}

enum Targets<B: Backend> {
    Values(Tensor<B, 2>),
    Classes(Tensor<B, 1, Int>),
}

impl<B: Backend> Training<B> {
    fn new(job: &Job<'_>, learning_rate: f64) -> Self {
        let (batch, outputs, device) = (job.workload.batch, job.workload.outputs(), Default::default());
        let targets = match job.workload.loss {
            Loss::SoftmaxCrossEntropy => {
                let classes: Vec<i32> = job.data.classes.iter().map(|&class| class as i32).collect();
                Targets::Classes(Tensor::from_data(TensorData::new(classes, [batch]), &device))
            }
            _ => {
                let values = TensorData::new(job.data.targets.clone(), [batch, outputs]);
                Targets::Values(Tensor::from_data(values, &device))
            }
        };
        Self {
            model: Model::new(job),
            optimizer: SgdConfig::new().init(),
            learning_rate,
            x: inputs(job),
            targets,
        }
    }
}

impl<B: Backend> Peer for Training<B> {
    fn step(&mut self) -> Result<()> {
        let y = self.model.forward(&self.x)?;
        let loss = match &self.targets {
            Targets::Values(values) => MseLoss::new().forward(y, values.clone(), Reduction::Mean),
            Targets::Classes(classes) => {
                CrossEntropyLossConfig::new().init(&y.device()).forward(y, classes.clone())
            }
        };
        let network = &self.model.network;
        let gradients = GradientsParams::from_grads(loss.backward(), network);
        // Linear layers are handles: the optimizer takes a network and gives another.
        self.model.network = self.optimizer.step(self.learning_rate, network.clone(), gradients);
        Ok(())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        let mut parameters = Vec::new();
        for layer in &self.model.network.layers {
            parameters.extend(vector(layer.weight.val().transpose())?);
            parameters.extend(vector(layer.bias.as_ref().ok_or("there are biases")?.val())?);
        }
        Ok(parameters)
    }
}

struct Prediction<B: Backend> {
    model: Model<B>,
    x: Tensor<B, 2>,
    y: Option<Tensor<B, 2>>,
}

impl<B: Backend> Peer for Prediction<B> {
    fn step(&mut self) -> Result<()> {
        self.y = Some(self.model.forward(&self.x)?);
        Ok(())
    }

    fn result(&mut self) -> Result<Vec<f32>> {
        vector(self.y.clone().ok_or("there was no step")?)
    }
}

fn vector<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>> {
    tensor.into_data().to_vec().map_err(|error| format!("{error:?}").into())
}
