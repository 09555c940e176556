//! A step of 512-512-512-512 on one thread, two, four, and so on up to all: criterion's line chart of the group shows how
//! throughput grows. Elements are floating-point operations.

use criterion::{BenchmarkId, Criterion, Throughput};
use fuseprop::{Activation, Isa, Loss};

use crate::workload::{Workload, cores, wide};

const SQUARE: Workload = Workload {
    name: "square",
    sizes: &[512, 512, 512, 512],
    hidden: Activation::Relu,
    output: Activation::Identity,
    batch: 1024,
    loss: Loss::MeanSquaredError,
};
/// The same with as few rows as the reference can do.
const FEW: Workload = Workload { name: "few", batch: 4, ..SQUARE };

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("threads");
    group.throughput(Throughput::Elements(SQUARE.flop()));
    let data = SQUARE.data();
    let mut counts: Vec<usize> = (0..=cores().ilog2()).map(|power| 1 << power).collect();
    if counts.last() != Some(&cores()) {
        counts.push(cores());
    }
    for threads in counts {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let mut trainer = pool.install(|| SQUARE.trainer(Isa::detect()));
        group.bench_function(BenchmarkId::new("fuseprop", threads), |bencher| {
            pool.install(|| bencher.iter(|| trainer.step(&data.x, data.targets(SQUARE.loss))));
        });
    }
    group.throughput(Throughput::Elements(FEW.flop()));
    let (mut model, data) = (FEW.model(), FEW.data());
    let (x, values) = (wide(&data.x), wide(&data.values));
    group.bench_function(BenchmarkId::new("reference of 4 rows", 1), |bencher| {
        bencher.iter(|| FEW.reference_step(&mut model, &x, &data, &values));
    });
    group.finish();
}
