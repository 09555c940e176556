//! The products alone, as networks of one layer without an activation: forward, and both gradients. One size
//! inside L1, one past L2, and ragged ones. Elements are floating-point operations.

use criterion::{BenchmarkId, Criterion, Throughput};
use fuseprop::{Activation, Isa, Loss, Network, Parallelism, Trainer, reference};

use crate::workload::{assert_near, cores, wide};

/// Batch, inputs, outputs.
const SHAPES: &[(usize, usize, usize)] =
    &[(64, 64, 64), (65, 65, 65), (128, 128, 128), (129, 129, 129), (1024, 1024, 1024), (1000, 1000, 1000)];
/// The shape that every instruction set is timed on.
const ALL_ISAS_BATCH: usize = 128;
/// Largest batch of the reference.
const REFERENCE_ROWS: usize = 129;

pub(crate) fn bench(criterion: &mut Criterion) {
    for &(batch, inputs, outputs) in SHAPES {
        let x: Vec<f32> = (0..batch * inputs).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
        let mut y = vec![0.0; batch * outputs];
        let flop = 2 * (batch * inputs * outputs) as u64;
        let mut group = criterion.benchmark_group(format!("products/{batch}x{inputs}x{outputs}"));
        let all = batch == ALL_ISAS_BATCH;
        for isa in Isa::available().filter(|&isa| all || isa == Isa::detect()) {
            let builder = Network::<f32>::builder(inputs).dense(outputs, Activation::Identity);
            let network = builder.seed(1).isa(isa).build().expect("the shapes are right");
            let workspace = network.workspace(batch).expect("the batch fits");
            let mut workspace =
                workspace.parallelism(Parallelism::Serial).expect("one thread is always there");
            network.predict_into(&x, &mut y, &mut workspace).expect("the slices fit");
            if batch <= REFERENCE_ROWS {
                let model = reference::Model::of(&network);
                assert_near("a product", &y, &model.predict(&wide(&x), batch));
            }
            group.throughput(Throughput::Elements(flop));
            group.bench_function(BenchmarkId::new("forward", isa), |bencher| {
                bencher.iter(|| network.predict_into(&x, &mut y, &mut workspace).expect("the slices fit"));
            });
            if isa == Isa::detect() && cores() > 1 {
                // In the global pool, which has all of them; short ones stay on one thread.
                let mut workspace = network.workspace(batch).expect("the batch fits");
                group.bench_function(BenchmarkId::new("forward, all threads", isa), |bencher| {
                    let predict =
                        || network.predict_into(&x, &mut y, &mut workspace).expect("the slices fit");
                    rayon::scope(|_| bencher.iter(predict));
                });
            }
            let builder = Trainer::builder(network).loss(Loss::MeanSquaredError).max_batch(batch);
            let builder = builder.parallelism(Parallelism::Serial).input_gradients();
            let mut trainer = builder.build().expect("the settings are right");
            trainer.forward(&x).expect("the batch fits");
            group.throughput(Throughput::Elements(2 * flop));
            group.bench_function(BenchmarkId::new("backward", isa), |bencher| {
                bencher.iter(|| trainer.backward(&y).expect("the batch was taken forward"));
            });
        }
        if batch <= REFERENCE_ROWS {
            let (x, weights, biases) = (wide(&x), vec![0.5; inputs * outputs], vec![0.0; outputs]);
            group.throughput(Throughput::Elements(flop));
            group.bench_function(BenchmarkId::new("forward", "reference"), |bencher| {
                bencher.iter(|| reference::dense(&x, &weights, &biases, batch, inputs));
            });
        }
        group.finish();
    }
}
