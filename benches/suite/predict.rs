//! Predictions: `predict_one` of a single row, `predict_batch` of more and more rows on one thread and on
//! all. Elements are rows.

use criterion::{BenchmarkId, Criterion, Throughput};
use fuseprop::Isa;

use crate::workload::{WORKLOADS, Workload, assert_near, thread_counts, wide};

const BATCHES: [usize; 4] = [1, 16, 256, 4096];
/// Most rows of the reference, which takes as long for each.
const REFERENCE_ROWS: usize = 256;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("predict_one");
    group.throughput(Throughput::Elements(1));
    // The reference takes too long for the others.
    for workload in WORKLOADS.iter().filter(|workload| !matches!(workload.name, "sq1024" | "wide")) {
        let network = workload.network(Isa::detect());
        let mut workspace = network.workspace(1).expect("a row fits");
        let (x, mut y) = (workload.inputs(1), vec![0.0; workload.outputs()]);
        network.predict_into(&x, &mut y, &mut workspace).expect("the slices fit");
        let (model, wide_x) = (workload.model(), wide(&x));
        assert_near(workload.name, &y, &model.predict(&wide_x, 1));
        group.bench_function(BenchmarkId::new("fuseprop", workload.name), |bencher| {
            bencher.iter(|| network.predict_into(&x, &mut y, &mut workspace).expect("the slices fit"));
        });
        group.bench_function(BenchmarkId::new("reference", workload.name), |bencher| {
            bencher.iter(|| model.predict(&wide_x, 1));
        });
    }
    group.finish();
    if let Some(workload) = WORKLOADS.iter().find(|workload| workload.name == "mnist128") {
        bench_batches(criterion, workload);
    }
}

fn bench_batches(criterion: &mut Criterion, workload: &Workload) {
    let mut group = criterion.benchmark_group("predict_batch");
    let (network, model) = (workload.network(Isa::detect()), workload.model());
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        let (x, mut y) = (workload.inputs(batch), vec![0.0; batch * workload.outputs()]);
        let expected = (batch <= REFERENCE_ROWS).then(|| model.predict(&wide(&x), batch));
        for threads in thread_counts() {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let mut workspace = pool.install(|| network.workspace(batch)).expect("the batch fits");
            let mut predict = || network.predict_into(&x, &mut y, &mut workspace).expect("the slices fit");
            pool.install(&mut predict);
            group.bench_function(BenchmarkId::new(format!("{threads} threads"), batch), |bencher| {
                pool.install(|| bencher.iter(&mut predict));
            });
            if let Some(expected) = &expected {
                assert_near(workload.name, &y, expected);
            }
        }
        if batch <= REFERENCE_ROWS {
            let x = wide(&x);
            group.bench_function(BenchmarkId::new("reference", batch), |bencher| {
                bencher.iter(|| model.predict(&x, batch));
            });
        }
    }
    group.finish();
}
