//! Activations over a slice that stays in L1, beside the same by the standard library, element by element,
//! and by `wide`, which takes the instructions that this program is compiled for: without target flags SSE2.
//! Elements are numbers. Exponentials by themselves: `cargo test --release --lib speed_limits -- --ignored
//! --nocapture`.

use criterion::{BenchmarkId, Criterion, Throughput};
use fuseprop::{Activation, Isa};
use wide::f32x8;

use crate::workload::{assert_near, wide};

const LEN: usize = 4096;

type Scalar = fn(f32) -> f32;
type Wide = fn(f32x8) -> f32x8;

pub(crate) fn bench(criterion: &mut Criterion) {
    let functions: [(&str, Activation, Scalar, Option<Wide>); 6] = [
        ("relu", Activation::Relu, |z| z.max(0.0), Some(|z| z.max(f32x8::ZERO))),
        (
            "sigmoid",
            Activation::Sigmoid,
            |z| 1.0 / (1.0 + (-z).exp()),
            Some(|z| f32x8::ONE / (f32x8::ONE + (-z).exp())),
        ),
        ("tanh", Activation::Tanh, f32::tanh, Some(f32x8::tanh)),
        ("silu", Activation::Silu, |z| z / (1.0 + (-z).exp()), Some(|z| z / (f32x8::ONE + (-z).exp()))),
        ("softplus", Activation::Softplus, |z| if z > 20.0 { z } else { z.exp().ln_1p() }, None),
        (
            "sine",
            Activation::Sine { frequency: 30.0 },
            |z| (30.0 * z).sin(),
            Some(|z| (f32x8::splat(30.0) * z).sin()),
        ),
    ];
    let z: Vec<f32> = (0..LEN).map(|i| (i * 37 % 1001) as f32 / 62.5 - 8.0).collect();
    for (name, activation, scalar, by_wide) in functions {
        let expected: Vec<f32> = z.iter().copied().map(scalar).collect();
        let mut group = criterion.benchmark_group(format!("activations/{name}"));
        group.throughput(Throughput::Elements(LEN as u64));
        for isa in Isa::available() {
            let mut y = z.clone();
            // The copy is in it, for the others read and write too: at most what ReLU takes in all.
            let apply = |y: &mut [f32]| {
                y.copy_from_slice(&z);
                activation.apply_with(isa, y).expect("the setting is right");
            };
            apply(&mut y);
            assert_near(name, &y, &wide(&expected));
            group.bench_function(BenchmarkId::new("fuseprop", isa), |bencher| bencher.iter(|| apply(&mut y)));
        }
        let mut y = z.clone();
        group.bench_function(BenchmarkId::new("std", "scalar"), |bencher| {
            bencher.iter(|| y.iter_mut().zip(&z).for_each(|(y, &z)| *y = scalar(z)));
        });
        if let Some(by_wide) = by_wide {
            group.bench_function(BenchmarkId::new("wide", "f32x8"), |bencher| {
                bencher.iter(|| {
                    for (y, z) in y.as_chunks_mut::<8>().0.iter_mut().zip(z.as_chunks::<8>().0) {
                        *y = by_wide(f32x8::new(*z)).to_array();
                    }
                });
            });
        }
        group.finish();
    }
}
