//! One training step: forward, loss, backward, update of a batch; every instruction set, one and two
//! threads, and the naive reference where a step of it takes less than a second.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fuseprop::{
    Activation, Isa, Loss, Network, Optimizer, Parallelism, Reduction, Targets, Trainer, reference,
};

struct Workload {
    name: &'static str,
    sizes: &'static [usize],
    hidden: Activation,
    output: Activation,
    batch: usize,
    loss: Loss,
}

const RELU: Activation = Activation::Relu;
const LINEAR: Activation = Activation::Identity;
const MSE: Loss = Loss::MeanSquaredError;
const CE: Loss = Loss::SoftmaxCrossEntropy;

#[rustfmt::skip]
const WORKLOADS: &[Workload] = &[
    Workload { name: "xor", sizes: &[2, 4, 1], hidden: Activation::Sigmoid, output: Activation::Sigmoid, batch: 4, loss: MSE },
    Workload { name: "policy", sizes: &[8, 64, 64, 4], hidden: Activation::Tanh, output: LINEAR, batch: 64, loss: MSE },
    Workload { name: "mnist128", sizes: &[784, 128, 10], hidden: RELU, output: LINEAR, batch: 64, loss: CE },
    Workload { name: "mnist512", sizes: &[784, 512, 512, 10], hidden: RELU, output: LINEAR, batch: 256, loss: CE },
    Workload { name: "sq1024", sizes: &[1024, 1024, 1024, 1024], hidden: RELU, output: LINEAR, batch: 1024, loss: MSE },
    Workload { name: "narrow64", sizes: &[32, 64, 64, 64, 64, 3], hidden: RELU, output: LINEAR, batch: 65_536, loss: MSE },
];

impl Workload {
    fn network(&self, isa: Isa) -> Network<f32> {
        let mut builder = Network::builder(self.sizes[0]).seed(1).isa(isa);
        for (l, &size) in self.sizes.iter().enumerate().skip(1) {
            let last = l + 1 == self.sizes.len();
            builder = builder.dense(size, if last { self.output } else { self.hidden });
        }
        builder.build().expect("the shapes are fixed and right")
    }

    fn trainer(&self, isa: Isa, parallelism: Parallelism) -> Trainer<f32> {
        Trainer::builder(self.network(isa))
            .loss(self.loss)
            .optimizer(Optimizer::sgd(1e-3))
            .max_batch(self.batch)
            .parallelism(parallelism)
            .build()
            .expect("the settings are fixed and right")
    }

    /// Floating-point operations: two for each multiply-add, without the first layer's input gradient.
    fn flop(&self) -> u64 {
        let pairs = self.sizes.windows(2).map(|pair| pair[0] * pair[1]);
        (self.batch * (6 * pairs.sum::<usize>() - 2 * self.sizes[0] * self.sizes[1])) as u64
    }

    fn inputs(&self) -> Vec<f32> {
        (0..self.batch * self.sizes[0]).map(|i| ((i * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0).collect()
    }

    fn values(&self) -> Vec<f32> {
        let outputs = self.sizes[self.sizes.len() - 1];
        (0..self.batch * outputs).map(|i| ((i * 40_503) % 1000) as f32 / 1000.0).collect()
    }

    fn classes(&self) -> Vec<u32> {
        let outputs = self.sizes[self.sizes.len() - 1];
        (0..self.batch).map(|i| (i * 7 % outputs) as u32).collect()
    }
}

fn train(criterion: &mut Criterion) {
    for workload in WORKLOADS {
        let (x, values, classes) = (workload.inputs(), workload.values(), workload.classes());
        let targets: Targets<'_, f32> = match workload.loss {
            Loss::SoftmaxCrossEntropy => (&classes).into(),
            _ => (&values).into(),
        };
        let mut group = criterion.benchmark_group(format!("train/{}", workload.name));
        group.throughput(Throughput::Elements(workload.flop()));
        for isa in Isa::available() {
            for threads in [1, 2] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                let mut trainer = workload.trainer(isa, Parallelism::Auto);
                let loss = trainer.step(&x, targets).expect("the batch fits");
                assert!(loss.is_finite() && loss > 0.0);
                group.bench_function(BenchmarkId::new(isa.to_string(), threads), |bencher| {
                    // Inside the pool, as a training loop should be: entering it costs a wake-up.
                    bencher.iter_custom(|steps| pool.install(|| time(steps, || trainer.step(&x, targets))));
                });
            }
        }
        if workload.flop() < 300_000_000 {
            bench_reference(&mut group, workload, &x, &values, &classes);
        }
        group.finish();
    }
}

fn time<R>(steps: u64, mut step: impl FnMut() -> R) -> Duration {
    let start = Instant::now();
    for _ in 0..steps {
        black_box(step());
    }
    start.elapsed()
}

fn bench_reference(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    workload: &Workload,
    x: &[f32],
    values: &[f32],
    classes: &[u32],
) {
    let mut model = reference::Model::of(&workload.network(Isa::Portable));
    let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
    let values: Vec<f64> = values.iter().copied().map(f64::from).collect();
    let targets = match workload.loss {
        Loss::SoftmaxCrossEntropy => Targets::Classes(classes),
        _ => Targets::Values(&values),
    };
    group.bench_function(BenchmarkId::new("reference", 1), |bencher| {
        bencher.iter(|| model.step(&x, targets, workload.batch, workload.loss, Reduction::Mean, 1e-3));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000));
    targets = train
}
criterion_main!(benches);
