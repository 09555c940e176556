//! The time of a training step, and its bits.

use std::time::{Duration, Instant};

use fuseprop::{Activation, Loss, Network, Optimizer, Parallelism, Reduction, Targets, Trainer, reference};

/// Three layers of `width` inputs and outputs, ReLU between them.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub batch: usize,
    pub width: usize,
}

/// One step on so many threads.
pub struct Timing {
    pub threads: usize,
    pub seconds: f64,
    /// The parameters after the first steps.
    parameters: Vec<u32>,
}

/// A shape with all its measurements.
pub struct Point {
    pub shape: Shape,
    pub timings: Vec<Timing>,
    /// Seconds of the reference for each row.
    reference: f64,
}

/// Steps after which parameters are compared.
const COMPARED_STEPS: usize = 3;
/// Shorter samples would measure the clock.
const SAMPLE: Duration = Duration::from_millis(2);
/// The reference takes seconds for more.
const REFERENCE_FLOP: f64 = 5e7;
const LEARNING_RATE: f64 = 1e-3;

impl Point {
    /// Refuses timings whose parameters differ.
    pub fn new(shape: Shape, timings: Vec<Timing>, reference: f64) -> Result<Self, String> {
        match timings.iter().find(|timing| timing.parameters != timings[0].parameters) {
            Some(other) => Err(format!(
                "batch {}, width {}: {} threads give other bits than {}",
                shape.batch, shape.width, other.threads, timings[0].threads
            )),
            None => Ok(Self { shape, timings, reference }),
        }
    }

    pub fn samples_per_second(&self, timing: &Timing) -> f64 {
        self.shape.batch as f64 / timing.seconds
    }

    pub fn gflops(&self, timing: &Timing) -> f64 {
        self.shape.flop() * 1e-9 / timing.seconds
    }

    pub fn reference_gflops(&self) -> f64 {
        self.shape.flop() * 1e-9 / (self.reference * self.shape.batch as f64)
    }
}

impl Shape {
    /// Useful floating-point operations of a step: two for each multiply-add of three products in each layer, but for
    /// the gradient of the inputs.
    pub fn flop(self) -> f64 {
        2.0 * (3 * 3 - 1) as f64 * self.batch as f64 * (self.width * self.width) as f64
    }

    fn network(self) -> Result<Network<f32>, fuseprop::Error> {
        Network::builder(self.width)
            .dense(self.width, Activation::Relu)
            .dense(self.width, Activation::Relu)
            .dense(self.width, Activation::Identity)
            .seed(1)
            .build()
    }

    fn values(self, rows: usize, stride: usize) -> Vec<f32> {
        (0..rows * self.width).map(|i| (i * stride % 1009) as f32 / 504.5 - 1.0).collect()
    }
}

/// The median time of a step on so many threads.
pub fn train(shape: Shape, threads: usize, budget: Duration) -> Result<Timing, String> {
    let message = |error: fuseprop::Error| format!("batch {}, width {}: {error}", shape.batch, shape.width);
    let parallelism = if threads == 1 { Parallelism::Serial } else { Parallelism::Threads(threads) };
    let mut trainer = shape
        .network()
        .and_then(|network| {
            let builder = Trainer::builder(network).loss(Loss::MeanSquaredError).max_batch(shape.batch);
            builder.optimizer(Optimizer::sgd(LEARNING_RATE)).parallelism(parallelism).build()
        })
        .map_err(message)?;
    let (x, targets) = (shape.values(shape.batch, 389), shape.values(shape.batch, 577));
    for _ in 0..COMPARED_STEPS {
        trainer.step(&x, &targets).map_err(message)?;
    }
    let mut parameters = vec![0.0; trainer.network().parameter_count()];
    trainer.network().read_parameters(&mut parameters).map_err(message)?;
    let seconds = median(budget, || trainer.step(&x, &targets).map(drop)).map_err(message)?;
    Ok(Timing { threads, seconds, parameters: parameters.into_iter().map(f32::to_bits).collect() })
}

/// Seconds of the reference for each row: of fewer rows where a whole batch would take too long.
pub fn reference(shape: Shape, budget: Duration) -> f64 {
    let per_row = Shape { batch: 1, ..shape }.flop();
    let rows = ((REFERENCE_FLOP / per_row) as usize).clamp(1, shape.batch);
    let Ok(network) = shape.network() else { return f64::NAN };
    let mut model = reference::Model::of(&network);
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    let (x, targets) = (wide(shape.values(rows, 389)), wide(shape.values(rows, 577)));
    let targets = Targets::Values(&targets);
    let step = || {
        model.step(&x, targets, rows, Loss::MeanSquaredError, Reduction::Mean, LEARNING_RATE);
        Ok::<(), ()>(())
    };
    median(budget / 2, step).map_or(f64::NAN, |seconds| seconds / rows as f64)
}

/// The median time of a call: of samples of several calls each, while the budget lasts.
fn median<E>(budget: Duration, mut call: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let start = Instant::now();
    call()?;
    let calls = (SAMPLE.as_secs_f64() / start.elapsed().as_secs_f64().max(1e-9)).ceil().max(1.0) as u32;
    let mut samples = Vec::new();
    while samples.is_empty() || start.elapsed() < budget {
        let sample = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        samples.push(sample.elapsed().as_secs_f64() / f64::from(calls));
    }
    samples.sort_by(f64::total_cmp);
    Ok(samples[samples.len() / 2])
}
