//! A training step of whole networks: forward, loss, backward, update. The best instruction set on
//! one thread and on all, the others too where a step is short, and the reference. Elements are floating-point operations.

use criterion::{BenchmarkId, Criterion, Throughput};
use fuseprop::Isa;

use crate::workload::{WORKLOADS, thread_counts, wide};

pub fn bench(criterion: &mut Criterion) {
    for workload in WORKLOADS {
        let data = workload.data();
        let targets = data.targets(workload.loss);
        let mut group = criterion.benchmark_group(format!("train/{}", workload.name));
        group.throughput(Throughput::Elements(workload.flop()));
        for isa in workload.isas() {
            let threads = if isa == Isa::detect() { thread_counts() } else { vec![1] };
            for threads in threads {
                // Inside a pool, as a training loop should be: to enter one costs a wake-up.
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                let mut trainer = pool.install(|| workload.trainer(isa));
                let loss = trainer.step(&data.x, targets).expect("the batch fits");
                assert!(loss.is_finite() && loss > 0.0);
                group.bench_function(BenchmarkId::new(isa.to_string(), threads), |bencher| {
                    pool.install(|| bencher.iter(|| trainer.step(&data.x, targets)));
                });
            }
        }
        if workload.suits_reference() {
            let (mut model, x, values) = (workload.model(), wide(&data.x), wide(&data.values));
            group.bench_function(BenchmarkId::new("reference", 1), |bencher| {
                bencher.iter(|| workload.reference_step(&mut model, &x, &data, &values));
            });
        }
        group.finish();
    }
}
