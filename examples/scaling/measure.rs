//! The time of a training step, and whether its bits depend on the threads.

use std::time::{Duration, Instant};

use fuseprop::{Activation, Loss, Network, Optimizer, Precision, Reduction, Targets, Trainer, reference};

/// Three layers of `width` inputs and outputs, ReLU between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub batch: usize,
    pub width: usize,
    pub precision: Precision,
}

/// One step on `threads` threads.
pub(crate) struct Timing {
    pub threads: usize,
    pub seconds: f64,
}

/// A trainer with its inputs and targets.
type Batch = (Trainer<f32>, Vec<f32>, Vec<f32>);

/// A shape with all its measurements.
pub(crate) struct Point {
    pub shape: Shape,
    pub timings: Vec<Timing>,
    /// Seconds of the reference for each row.
    pub reference: f64,
}

/// Steps after which parameters are compared.
const COMPARED_STEPS: usize = 3;
/// Shorter samples would measure the clock.
const SAMPLE: Duration = Duration::from_millis(2);
/// The reference takes seconds for more.
const REFERENCE_FLOP: f64 = 5e7;
const LEARNING_RATE: f64 = 1e-3;

impl Point {
    pub(crate) fn samples_per_second(&self, timing: &Timing) -> f64 {
        self.shape.batch as f64 / timing.seconds
    }

    pub(crate) fn gflops(&self, timing: &Timing) -> f64 {
        self.shape.flop() * 1e-9 / timing.seconds
    }

    pub(crate) fn reference_gflops(&self) -> f64 {
        self.shape.flop() * 1e-9 / (self.reference * self.shape.batch as f64)
    }
}

impl Shape {
    /// Useful floating-point operations of a step: two for each multiply-add of three products in each layer,
    /// but for the gradient of the inputs.
    pub(crate) fn flop(self) -> f64 {
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

    fn message(self, error: fuseprop::Error) -> String {
        format!("batch {}, width {}: {error}", self.batch, self.width)
    }

    /// A trainer on the threads of the pool around it, which share a step from the default threshold on or
    /// another, and its batch.
    fn trainer(self, threshold: Option<usize>) -> Result<Batch, String> {
        let build = |network| {
            let builder = Trainer::builder(network).loss(Loss::MeanSquaredError).max_batch(self.batch);
            let builder = builder.optimizer(Optimizer::sgd(LEARNING_RATE)).precision(self.precision);
            match threshold {
                Some(threshold) => builder.parallel_threshold(threshold).build(),
                None => builder.build(),
            }
        };
        let trainer = self.network().and_then(build).map_err(|error| self.message(error))?;
        Ok((trainer, self.values(self.batch, 389), self.values(self.batch, 577)))
    }

    fn values(self, rows: usize, stride: usize) -> Vec<f32> {
        (0..rows * self.width).map(|i| (i * stride % 1009) as f32 / 504.5 - 1.0).collect()
    }
}

/// Trains on each of some numbers of threads, even where they do not pay, and compares the parameters bit by
/// bit.
pub(crate) fn check_bits(shape: Shape, counts: &[usize]) -> Result<(), String> {
    let mut expected: Option<Vec<u32>> = None;
    for &threads in counts {
        let parameters = pool(threads)?.install(|| {
            let (mut trainer, x, targets) = shape.trainer(Some(0))?;
            for _ in 0..COMPARED_STEPS {
                trainer.step(&x, &targets).map_err(|error| shape.message(error))?;
            }
            let mut parameters = vec![0.0; trainer.network().parameter_count()];
            trainer.network().read_parameters(&mut parameters).map_err(|error| shape.message(error))?;
            Ok::<_, String>(parameters.into_iter().map(f32::to_bits).collect::<Vec<u32>>())
        })?;
        if *expected.get_or_insert_with(|| parameters.clone()) != parameters {
            let Shape { batch, width, .. } = shape;
            return Err(format!(
                "batch {batch}, width {width}: {threads} threads give other bits than {}",
                counts[0]
            ));
        }
    }
    Ok(())
}

/// The median time of a step on `threads` threads.
pub(crate) fn train(shape: Shape, threads: usize, budget: Duration) -> Result<Timing, String> {
    pool(threads)?.install(|| {
        let (mut trainer, x, targets) = shape.trainer(None)?;
        let step = || trainer.step(&x, &targets).map(drop);
        let seconds = median(budget, step).map_err(|error| shape.message(error))?;
        Ok(Timing { threads, seconds })
    })
}

fn pool(threads: usize) -> Result<rayon::ThreadPool, String> {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|error| error.to_string())
}

/// Seconds of the reference for each row: of fewer rows where a whole batch would take too long.
pub(crate) fn reference(shape: Shape, budget: Duration) -> f64 {
    let per_row = Shape { batch: 1, ..shape }.flop();
    let rows = ((REFERENCE_FLOP / per_row) as usize).clamp(1, shape.batch);
    let Ok(network) = shape.network() else { return f64::NAN };
    let mut model = reference::Model::of(&network);
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    let (x, targets) = (wide(shape.values(rows, 389)), wide(shape.values(rows, 577)));
    let targets = Targets::from(&targets);
    let objective = reference::Objective::new(Loss::MeanSquaredError, Reduction::Mean);
    let step = || {
        model.step(&x, targets, rows, objective, LEARNING_RATE);
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
