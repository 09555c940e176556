//! A training step of whole networks: forward, loss, backward, update. The best instruction set on
//! one thread and on all, the others too where a step is short, and the reference; and what optimizers cost.
//! Elements are floating-point operations, without those of the update.

use criterion::{BenchmarkId, Criterion, Throughput};
use fuseprop::{Isa, Optimizer, Sgd};

use crate::workload::{WORKLOADS, Workload, thread_counts, wide};

pub(crate) fn bench(criterion: &mut Criterion) {
    for workload in WORKLOADS {
        let data = workload.data();
        let targets = data.targets(workload.loss);
        let mut group = criterion.benchmark_group(format!("train/{}", workload.name));
        group.throughput(Throughput::Elements(workload.flop()));
        let reference = workload.suits_reference().then(|| {
            let (mut model, x, values) = (workload.model(), wide(&data.x), wide(&data.values));
            let loss = workload.reference_step(&mut model, &x, &data, &values);
            (model, x, values, loss)
        });
        for isa in workload.isas() {
            let threads = if isa == Isa::detect() { thread_counts() } else { vec![1] };
            for threads in threads {
                // Inside a pool, as a training loop should be: to enter one costs a wake-up.
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                let mut trainer = pool.install(|| workload.trainer(isa));
                let loss = trainer.step(&data.x, targets).expect("the batch fits");
                // Of the same weights; long steps have nothing to be compared with.
                let expected = reference.as_ref().map_or(loss, |(.., loss)| *loss);
                assert!(loss > 0.0 && (loss - expected).abs() <= 1e-4 * expected, "{loss}, not {expected}");
                group.bench_function(BenchmarkId::new(isa.to_string(), threads), |bencher| {
                    let step = || trainer.step(&data.x, targets).expect("the batch fits");
                    pool.install(|| bencher.iter(step));
                });
            }
        }
        if let Some((mut model, x, values, _)) = reference {
            group.bench_function(BenchmarkId::new("reference", 1), |bencher| {
                bencher.iter(|| workload.reference_step(&mut model, &x, &data, &values));
            });
        }
        group.finish();
        if workload.name == "mnist512" {
            bench_optimizers(criterion, workload);
        }
    }
}

/// Steps on one thread by optimizers that keep none to two numbers beside each parameter.
fn bench_optimizers(criterion: &mut Criterion, workload: &Workload) {
    let optimizers = [
        ("sgd", Optimizer::sgd(1e-5)),
        ("sgd with momentum", Sgd::new(1e-5).momentum(0.9).into()),
        ("adagrad", Optimizer::adagrad(1e-5)),
        ("rms_prop", Optimizer::rms_prop(1e-5)),
        ("adamw", Optimizer::adamw(1e-5)),
    ];
    let (data, pool) = (workload.data(), rayon::ThreadPoolBuilder::new().num_threads(1).build());
    let (targets, pool) = (data.targets(workload.loss), pool.expect("a thread"));
    let mut group = criterion.benchmark_group("train/optimizers");
    group.throughput(Throughput::Elements(workload.flop()));
    for (name, optimizer) in optimizers {
        let mut trainer = pool.install(|| workload.trainer_by(Isa::detect(), optimizer));
        let mut step = || trainer.step(&data.x, targets).expect("the batch fits");
        let losses = [(); 3].map(|()| pool.install(&mut step));
        assert!(losses[2] < losses[0], "{name} does not descend: {losses:?}");
        group.bench_function(BenchmarkId::new(name, workload.name), |bencher| {
            pool.install(|| bencher.iter(&mut step));
        });
    }
    group.finish();
}
