//! The same bits for any number of threads, and on AVX2 and AVX-512.

use fuseprop::{Activation, Element, Isa, Loss, Network, Optimizer, Parallelism, Trainer};

/// Shapes of 4 MFLOP and more, so that steps are shared out: two-phase, then depth-first.
const BATCHES: [usize; 3] = [70, 200, 1000];

#[test]
fn parameters_have_the_same_bits_on_any_number_of_threads() {
    for isa in Isa::available() {
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
fn train<T: Element + From<f32>>(isa: Isa, batch: usize, parallelism: Parallelism) -> u64 {
    let (inputs, outputs) = (90, 37);
    let network = Network::<T>::builder(inputs)
        .dense(121, Activation::Tanh)
        .dense(70, Activation::Sigmoid)
        .dense(outputs, Activation::Softmax)
        .seed(3)
        .isa(isa)
        .build()
        .unwrap();
    let before = hash(&network);
    let mut trainer = Trainer::builder(network)
        .loss(Loss::SoftmaxCrossEntropy)
        .optimizer(Optimizer::sgd(0.1))
        .max_batch(batch)
        .parallelism(parallelism)
        .build()
        .unwrap();
    let x: Vec<T> = (0..batch * inputs).map(|i| T::from((i * 37 % 101) as f32 / 101.0)).collect();
    let classes: Vec<u32> = (0..batch).map(|r| (r * 5 % outputs) as u32).collect();
    let mut losses = Vec::new();
    for _ in 0..4 {
        losses.push(trainer.step(&x, &classes).unwrap());
    }
    let after = hash(trainer.network());
    assert_ne!(before, after);
    losses.iter().fold(after, |hash, loss| (hash ^ loss.to_bits()).wrapping_mul(0x100_0000_01b3))
}

/// FNV-1a over the parameters, printed exactly.
fn hash<T: Element + From<f32>>(network: &Network<T>) -> u64 {
    let mut parameters = vec![T::from(0.0); network.parameter_count()];
    network.read_parameters(&mut parameters).unwrap();
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for parameter in parameters {
        for byte in format!("{parameter:?}").bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    hash
}
