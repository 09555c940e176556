//! The same bits for any number of threads, and on AVX2 and AVX-512.

mod common;

use common::isas;
use fuseprop::{Activation, Element, Isa, Loss, Network, Optimizer, Parallelism, Trainer};

/// Two-phase, then depth-first.
const BATCHES: [usize; 3] = [70, 200, 1000];

#[test]
fn parameters_have_the_same_bits_on_any_number_of_threads() {
    for isa in isas() {
        for batch in BATCHES {
            let serial = train::<f32>(isa, batch, Parallelism::Serial);
            for threads in [1, 2, 3, 4, 7, 8] {
                assert_eq!(
                    train::<f32>(isa, batch, Parallelism::Threads(threads)),
                    serial,
                    "{isa} {threads}"
                );
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let shared = pool.install(|| train::<f32>(isa, batch, Parallelism::Auto));
                assert_eq!(shared, serial, "{isa}, in a pool of {threads}");
            }
        }
    }
}

#[test]
fn avx2_and_avx512_give_the_same_bits() {
    if !Isa::available().any(|isa| isa == Isa::Avx512) {
        println!("skipped: AVX-512 is missing here");
        return;
    }
    for batch in BATCHES {
        let (avx2, avx512) = (Isa::Avx2, Isa::Avx512);
        let auto = Parallelism::Auto;
        assert_eq!(train::<f32>(avx2, batch, auto), train::<f32>(avx512, batch, auto));
        assert_eq!(train::<f64>(avx2, batch, auto), train::<f64>(avx512, batch, auto));
    }
}

/// A hash of the parameters after some steps, which must have moved them.
fn train<T: Element + From<f32> + Into<f64>>(isa: Isa, batch: usize, parallelism: Parallelism) -> u64 {
    let (inputs, outputs) = (90, 37);
    let network = Network::<T>::builder(inputs)
        .dense(121, Activation::Tanh)
        .dropout(0.2)
        .dense(70, Activation::Gelu)
        .layer_norm(Activation::Tanh)
        .dropout(0.4)
        .dense(50, Activation::Sigmoid)
        .dense(outputs, Activation::Softmax)
        .seed(3)
        .isa(isa)
        .build()
        .unwrap();
    let before = parameters(&network);
    let mut trainer = Trainer::builder(network)
        .loss(Loss::SoftmaxCrossEntropy)
        .optimizer(Optimizer::adamw(0.01).amsgrad().l1(1e-4))
        .clip_norm(0.5)
        .label_smoothing(0.1)
        .max_batch(batch)
        .parallelism(parallelism)
        .parallel_threshold(0)
        .seed(5)
        .input_gradients()
        .build()
        .unwrap();
    let x: Vec<T> = (0..batch * inputs).map(|i| T::from((i * 37 % 101) as f32 / 101.0)).collect();
    let classes: Vec<u32> = (0..batch).map(|r| (r * 5 % outputs) as u32).collect();
    let mut losses = Vec::new();
    for _ in 0..4 {
        losses.push(trainer.step(&x, &classes).unwrap());
    }
    let after = parameters(trainer.network());
    assert_ne!(before, after);
    // The same by a loss of one's own, with the gradient of the inputs.
    let d_outputs = trainer.forward(&x).unwrap().to_vec();
    trainer.backward(&d_outputs).unwrap();
    let mut y = vec![T::from(f32::NAN); batch * outputs];
    let network = trainer.network();
    let mut workspace =
        network.workspace(batch).unwrap().parallel_threshold(0).parallelism(parallelism).unwrap();
    network.predict_into(&x, &mut y, &mut workspace).unwrap();
    assert_ne!(y, d_outputs, "a prediction leaves nothing out");
    let gradients = [trainer.gradients(), trainer.input_gradients().unwrap()];
    hash([&losses, &in_f64(&y), &after, &in_f64(gradients[0]), &in_f64(gradients[1])])
}

fn parameters<T: Element + From<f32> + Into<f64>>(network: &Network<T>) -> Vec<f64> {
    let mut parameters = vec![T::from(0.0); network.parameter_count()];
    network.read_parameters(&mut parameters).unwrap();
    in_f64(&parameters)
}

fn in_f64<T: Element + Into<f64>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

/// FNV-1a over the bits.
fn hash<'a>(values: impl IntoIterator<Item = &'a Vec<f64>>) -> u64 {
    let bytes = values.into_iter().flatten().flat_map(|value| value.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
