//! The products alone, as networks of one layer without an activation: forward, and both gradients. One
//! size inside L1, one past L2, and ragged ones.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fuseprop::{Activation, Isa, Loss, Network, Parallelism, Trainer};

/// Batch, inputs, outputs.
const SHAPES: &[(usize, usize, usize)] =
    &[(64, 64, 64), (65, 65, 65), (128, 128, 128), (129, 129, 129), (1024, 1024, 1024), (1000, 1000, 1000)];

fn products(criterion: &mut Criterion) {
    for &(batch, inputs, outputs) in SHAPES {
        let shape = format!("{batch}x{inputs}x{outputs}");
        let x: Vec<f32> = (0..batch * inputs).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
        let mut y = vec![0.0; batch * outputs];
        let flop = 2 * (batch * inputs * outputs) as u64;
        let mut group = criterion.benchmark_group(format!("products/{shape}"));
        for isa in Isa::available() {
            let network = Network::<f32>::builder(inputs)
                .dense(outputs, Activation::Identity)
                .seed(1)
                .isa(isa)
                .build()
                .expect("the shapes are right");
            let mut workspace = network
                .workspace(batch)
                .and_then(|workspace| workspace.parallelism(Parallelism::Serial))
                .expect("the batch is not empty");
            network.predict_into(&x, &mut y, &mut workspace).expect("the slices fit");
            assert!(y.iter().any(|&y| y != 0.0));
            group.throughput(Throughput::Elements(flop));
            group.bench_function(BenchmarkId::new("forward", isa), |bencher| {
                bencher.iter(|| network.predict_into(&x, &mut y, &mut workspace));
            });
            let mut trainer = Trainer::builder(network)
                .loss(Loss::MeanSquaredError)
                .max_batch(batch)
                .parallelism(Parallelism::Serial)
                .input_gradients()
                .build()
                .expect("the settings are right");
            trainer.forward(&x).expect("the batch fits");
            group.throughput(Throughput::Elements(2 * flop));
            group.bench_function(BenchmarkId::new("backward", isa), |bencher| {
                bencher.iter(|| trainer.backward(&y));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_millis(1000));
    targets = products
}
criterion_main!(benches);
