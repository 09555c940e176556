//! A step of 512-512-512-512 on one thread, two, four, and so on up to all: criterion's line chart of the
//! group shows how its time falls. Without a throughput, against which the chart would be drawn instead of
//! the threads: all points would have the same.

use criterion::{BenchmarkId, Criterion};
use fuseprop::{Activation, Isa, Loss};

use crate::processor::thread_counts;
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

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("threads");
    let data = SQUARE.data();
    let mut losses = Vec::new();
    for threads in thread_counts(cores()) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        let mut trainer = pool.install(|| SQUARE.trainer(Isa::detect()));
        let mut step = || trainer.step(&data.x, data.targets(SQUARE.loss)).expect("the batch fits");
        losses.push([(); 3].map(|()| pool.install(&mut step).to_bits()));
        assert_eq!(losses[0], losses[losses.len() - 1], "{threads} threads have other bits");
        group.bench_function(BenchmarkId::new("fuseprop", threads), |bencher| {
            pool.install(|| bencher.iter(&mut step));
        });
    }
    let (mut model, data) = (FEW.model(), FEW.data());
    let (x, values) = (wide(&data.x), wide(&data.values));
    group.bench_function(BenchmarkId::new("reference of 4 rows", 1), |bencher| {
        bencher.iter(|| FEW.reference_step(&mut model, &x, &data, &values));
    });
    group.finish();
}
