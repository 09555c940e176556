//! The networks and batches that all implementations share.

use fuseprop::{Activation, Loss, Network, Targets};

use crate::Result;
use crate::networks::{self, CE, LINEAR, RELU, TRAINED, TrainedNetwork};

/// A network and a batch.
pub struct Workload {
    pub name: String,
    pub sizes: Vec<usize>,
    pub hidden: Activation,
    pub output: Activation,
    pub batch: usize,
    pub loss: Loss,
}

/// Distance of every sum before a ReLU from 0. Rounding moves a sum of 1,024 such terms by about 1e-7.
const MARGIN: f64 = 1e-5;

/// Powers of two from inside L1 to past L2, and ragged sizes around them.
const PRODUCTS: &[usize] = &[64, 128, 256, 512, 1024, 17, 31, 33, 65, 100, 129, 1000];

impl Workload {
    /// Networks whose training step is timed.
    pub fn train() -> Vec<Self> {
        let workload = |network: &TrainedNetwork| {
            let &TrainedNetwork { name, sizes, hidden, output, batch, loss } = network;
            Self { name: name.into(), sizes: sizes.into(), hidden, output, batch, loss }
        };
        TRAINED.iter().map(workload).collect()
    }

    /// Networks whose prediction of one row is timed.
    pub fn predict_one() -> Vec<Self> {
        Self::train().into_iter().take(4).map(|workload| Self { batch: 1, ..workload }).collect()
    }

    /// Square products, as networks of one layer.
    pub fn products() -> Vec<Self> {
        let workload = |&n: &usize| Self {
            name: n.to_string(),
            sizes: vec![n, n],
            hidden: LINEAR,
            output: LINEAR,
            batch: n,
            loss: Loss::MeanSquaredError,
        };
        PRODUCTS.iter().map(workload).collect()
    }

    /// Inputs, outputs and activation of each layer.
    pub fn layers(&self) -> impl Iterator<Item = (usize, usize, Activation)> {
        let last = self.sizes.len() - 2;
        self.sizes
            .windows(2)
            .enumerate()
            .map(move |(l, pair)| (pair[0], pair[1], if l == last { self.output } else { self.hidden }))
    }

    pub fn inputs(&self) -> usize {
        self.sizes[0]
    }

    pub fn outputs(&self) -> usize {
        self.sizes[self.sizes.len() - 1]
    }

    /// Floating-point operations of a forward pass.
    pub fn forward_flop(&self) -> f64 {
        networks::forward_flop(&self.sizes, self.batch) as f64
    }

    /// Of a training step.
    pub fn step_flop(&self) -> f64 {
        networks::step_flop(&self.sizes, self.batch) as f64
    }
}

/// What an implementation is to do.
#[derive(Clone, Copy, PartialEq)]
pub enum Task {
    /// Steps of plain gradient descent on the one batch.
    Train { learning_rate: f64 },
    /// Forward only.
    Predict,
    /// `C = A B`.
    Product,
}

/// A task with everything that all implementations start from.
pub struct Job<'a> {
    pub task: Task,
    pub workload: &'a Workload,
    pub data: &'a Data,
}

/// Initial parameters and the batch.
pub struct Data {
    /// `W0 b0 W1 b1 ..`, each `W` row-major `[outputs, inputs]`.
    pub parameters: Vec<f32>,
    /// `[batch, inputs]`.
    pub x: Vec<f32>,
    /// `[batch, outputs]`: values, or one 1 a row at its class.
    pub targets: Vec<f32>,
    /// `[batch]`; empty unless the loss takes classes.
    pub classes: Vec<u32>,
}

impl Data {
    /// Parameters from PyTorch's default range, `1 / sqrt(inputs)`, biases too, so that a forgotten one
    /// shows; inputs and values from 0 to 1.
    pub fn train(workload: &Workload) -> Result<Self> {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut parameters = Vec::new();
        for (inputs, outputs, _) in workload.layers() {
            let range = 1.0 / (inputs as f32).sqrt();
            parameters.extend((0..(inputs + 1) * outputs).map(|_| range * (2.0 * random.uniform() - 1.0)));
        }
        let mut x: Vec<_> = (0..workload.batch * workload.inputs()).map(|_| random.uniform()).collect();
        if workload.hidden == RELU {
            keep_off_zero(workload, &parameters, &mut x, &mut random)?;
        }
        let (batch, outputs) = (workload.batch, workload.outputs());
        let (mut targets, mut classes) = (vec![0.0; batch * outputs], Vec::new());
        if workload.loss == CE {
            classes = (0..batch).map(|_| (random.uniform() * outputs as f32) as u32).collect();
            for (row, &class) in targets.chunks_exact_mut(outputs).zip(&classes) {
                row[class as usize] = 1.0;
            }
        } else {
            targets.fill_with(|| random.uniform());
        }
        Ok(Self { parameters, x, targets, classes })
    }

    /// `A` as the batch, the transpose of `B` as the weights, and biases of 0.
    pub fn product(workload: &Workload) -> Result<Self> {
        let mut data = Self::train(workload)?;
        data.parameters[workload.inputs() * workload.outputs()..].fill(0.0);
        Ok(data)
    }

    pub fn targets(&self) -> Targets<'_, f32> {
        if self.classes.is_empty() { (&self.targets).into() } else { (&self.classes).into() }
    }
}

/// Redraws rows of `x` until no sum of a hidden layer is within [`MARGIN`] of 0.
///
/// Two correct implementations may round such a sum to different sides, and differ in the gradient by what
/// the row adds to it: up to 4e-4 of the largest for a batch of 512.
fn keep_off_zero(workload: &Workload, parameters: &[f32], x: &mut [f32], random: &mut Random) -> Result<()> {
    let inputs = workload.inputs();
    let mut layers = Vec::new();
    for ((inputs, outputs, _), (weights, biases)) in workload.layers().zip(split(workload, parameters)) {
        let mut layer = Network::<f64>::builder(inputs).dense(outputs, LINEAR).seed(1).build()?;
        layer.write_weights(0, &double(weights))?;
        layer.write_biases(0, &double(biases))?;
        layers.push(layer);
    }
    layers.pop();
    let mut rows: Vec<usize> = (0..workload.batch).collect();
    while !rows.is_empty() {
        let candidates: Vec<f32> =
            rows.iter().flat_map(|&row| &x[row * inputs..(row + 1) * inputs]).copied().collect();
        let distances = distances_from_zero(&layers, double(&candidates))?;
        rows = rows.into_iter().zip(distances).filter(|&(_, d)| d < MARGIN).map(|(row, _)| row).collect();
        for &row in &rows {
            x[row * inputs..(row + 1) * inputs].fill_with(|| random.uniform());
        }
    }
    Ok(())
}

/// For each row of `x`, the smallest magnitude of all sums of all layers, with ReLUs between them.
fn distances_from_zero(layers: &[Network<f64>], mut x: Vec<f64>) -> Result<Vec<f64>> {
    let mut distances = Vec::new();
    for layer in layers {
        let batch = x.len() / layer.inputs();
        let mut z = vec![f64::NAN; batch * layer.outputs()];
        layer.predict_into(&x, &mut z, &mut layer.workspace(batch)?)?;
        distances.resize(batch, f64::INFINITY);
        for (distance, row) in distances.iter_mut().zip(z.chunks(layer.outputs())) {
            *distance = row.iter().fold(*distance, |min, z| min.min(z.abs()));
        }
        z.iter_mut().for_each(|z| *z = z.max(0.0));
        x = z;
    }
    Ok(distances)
}

fn double(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

/// Weights and biases of each layer, as slices of `parameters`.
pub fn split<'p>(workload: &Workload, parameters: &'p [f32]) -> Vec<(&'p [f32], &'p [f32])> {
    let mut rest = parameters;
    let mut layers = Vec::new();
    for (inputs, outputs, _) in workload.layers() {
        let (weights, after) = rest.split_at(inputs * outputs);
        let (biases, after) = after.split_at(outputs);
        layers.push((weights, biases));
        rest = after;
    }
    layers
}

/// The transpose of a row-major `[rows, columns]` matrix.
pub fn transpose(matrix: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|j| (0..rows).map(move |i| matrix[i * columns + j])).collect()
}

/// fuseprop's network of a workload.
pub fn network(workload: &Workload, parameters: &[f32]) -> Result<Network<f32>> {
    let mut builder = Network::builder(workload.inputs()).seed(1);
    for (_, outputs, activation) in workload.layers() {
        builder = builder.dense(outputs, activation);
    }
    let mut network = builder.build()?;
    network.write_parameters(parameters)?;
    Ok(network)
}

/// xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    /// From 0 to 1, in steps of 2^-24.
    fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1 << 24) as f32
    }
}
