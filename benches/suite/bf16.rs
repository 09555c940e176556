//! Steps and single rows with products of bf16 beside those of `f32`, on one thread. Elements are
//! floating-point operations of steps, and rows.

use criterion::{BenchmarkId, Criterion, Throughput};
use fuseprop::{Isa, Precision};

use crate::workload::WORKLOADS;

/// How far losses and outputs of bf16 may be from those of `f32` to be timed: their operands are within
/// 2^-8, and as a rule errors of both signs meet.
const NEAR: f64 = 0.05;

pub(crate) fn bench(criterion: &mut Criterion) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    // Smaller networks have a path of their own in `f32` alone.
    for workload in WORKLOADS.iter().filter(|workload| workload.sizes.iter().any(|&size| size > 16)) {
        let data = workload.data();
        let targets = data.targets(workload.loss);
        let mut group = criterion.benchmark_group(format!("bf16/{}", workload.name));
        group.throughput(Throughput::Elements(workload.flop()));
        let mut losses = Vec::new();
        for precision in [Precision::F32, Precision::Bf16] {
            let mut trainer = pool.install(|| workload.trainer_in(precision));
            losses.push(trainer.step(&data.x, targets).expect("the batch fits"));
            assert!((losses[losses.len() - 1] - losses[0]).abs() <= NEAR * losses[0], "{losses:?}");
            group.bench_function(BenchmarkId::new(format!("step {precision:?}"), 1), |bencher| {
                let step = || trainer.step(&data.x, targets).expect("the batch fits");
                pool.install(|| bencher.iter(step));
            });
        }
        group.throughput(Throughput::Elements(1));
        let network = workload.network(Isa::detect());
        let (x, mut y) = (workload.inputs(1), vec![0.0; workload.outputs()]);
        let expected = network.predict(&x).expect("the slices fit");
        for precision in [Precision::F32, Precision::Bf16] {
            let workspace = network.workspace(1).and_then(|workspace| workspace.precision(precision));
            let mut workspace = workspace.expect("a row fits");
            let mut predict = || network.predict_into(&x, &mut y, &mut workspace).expect("the slices fit");
            predict();
            group.bench_function(BenchmarkId::new(format!("row {precision:?}"), 1), |bencher| {
                bencher.iter(&mut predict);
            });
            let largest = expected.iter().fold(1e-3_f32, |most, y| most.max(y.abs()));
            let is_near = |(y, expected): (&f32, &f32)| (y - expected).abs() <= NEAR as f32 * largest;
            assert!(y.iter().zip(&expected).all(is_near), "{y:?}, not {expected:?}");
        }
        group.finish();
    }
}
