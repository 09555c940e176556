//! The same bits for any number of threads, and on AVX2 and AVX-512.

#[cfg(feature = "rayon")]
use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(feature = "files")]
use crate::common::TemporaryFile;
use crate::common::{self, isas};
use fuseprop::{Activation, AdamW, Element, Isa, Loss, Network, Optimizer, Parallelism, Trainer};
#[cfg(feature = "rayon")]
use fuseprop::{Dataset, Error, FitOptions, Workspace};

/// Batches, and the widths of two layers: two-phase, depth-first in 8 and in 47 slots, of which threads take
/// several together, and two-phase with weights so many that the rows of a tile follow from the number of
/// threads: of 305 and 226, the last panels have one column and two, whose sums allow that only for tiles of
/// multiples of 32 rows.
const SIZES: [(usize, [usize; 2]); 9] = [
    (70, [121, 70]),
    (200, [121, 70]),
    (1000, [121, 70]),
    (9000, [20, 16]),
    (70, [300, 230]),
    (200, [300, 230]),
    (62, [305, 226]),
    (70, [305, 226]),
    (200, [226, 305]),
];

#[test]
fn parameters_have_the_same_bits_on_any_number_of_threads() {
    let mut runs = 0;
    for isa in isas() {
        for sizes in SIZES {
            let serial = train::<f32>(isa, sizes, Parallelism::Serial);
            for threads in [1, 2, 3, 4, 7, 8, 16] {
                assert_eq!(
                    train::<f32>(isa, sizes, Parallelism::Threads(threads)),
                    serial,
                    "{isa} {threads}"
                );
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let shared = pool.install(|| train::<f32>(isa, sizes, Parallelism::Auto));
                assert_eq!(shared, serial, "{isa}, in a pool of {threads}");
                runs += 2;
            }
        }
    }
    println!("RESULT threads runs={runs} different=0");
}

/// More than the slots of a batch, of which there are at most 64, and than the panels of a layer.
#[test]
fn parameters_have_the_same_bits_on_more_threads_than_there_is_work_for() {
    for isa in isas() {
        for sizes in [(9000, [20, 16]), (200, [300, 230])] {
            let serial = train::<f32>(isa, sizes, Parallelism::Serial);
            for threads in [65, 165] {
                assert_eq!(
                    train::<f32>(isa, sizes, Parallelism::Threads(threads)),
                    serial,
                    "{isa} {threads}"
                );
            }
        }
    }
}

/// Weights so many that tiles have up to 256 rows, and steps of plain gradient descent, which owners of whole
/// panels take while their gradient is in registers.
#[test]
fn steps_of_large_networks_have_the_same_bits_on_any_number_of_threads() {
    let batch = 270;
    let x: Vec<f32> = (0..batch * 100).map(|i| (i * 37 % 101) as f32 / 101.0 - 0.5).collect();
    let targets: Vec<f32> = (0..batch * 16).map(|i| (i * 13 % 31) as f32 / 31.0).collect();
    for isa in isas() {
        let builder = Network::<f32>::builder(100).dense(1104, Activation::Relu).dense(960, Activation::Tanh);
        let network = builder.dense(16, Activation::Identity).seed(4).isa(isa).build().unwrap();
        let train = |parallelism| {
            let builder = Trainer::builder(network.clone()).max_batch(batch).parallelism(parallelism);
            let mut trainer = builder.optimizer(Optimizer::sgd(0.05)).build().unwrap();
            let losses = [(); 3].map(|()| trainer.step(&x, &targets).unwrap());
            assert!(losses[2] < losses[0], "{losses:?}");
            hash([&losses.to_vec(), &parameters(trainer.network())])
        };
        let serial = train(Parallelism::Serial);
        for threads in [2, 3, 5, 8, 16] {
            assert_eq!(train(Parallelism::Threads(threads)), serial, "{isa} {threads}");
        }
    }
}

/// One row, and a few, of layers so large that their outputs are shared out: of every kind of activation, and
/// beside layers that stay whole.
#[cfg(feature = "rayon")]
#[test]
fn outputs_of_few_rows_have_the_same_bits_on_any_number_of_threads() {
    for isa in isas() {
        let network = Network::<f32>::builder(300)
            .dense(500, Activation::Tanh)
            .dense(333, Activation::Relu)
            .layer_norm(Activation::Identity)
            .dense(450, Activation::Gelu)
            .dense(310, Activation::Softmax);
        let network = network.isa(isa).seed(3).build().unwrap();
        // Of 40 and of 100 one thread to four has several tiles, and more have one tile, whose outputs they
        // share.
        for rows in [1, 5, 16, 40, 100] {
            let x: Vec<f32> = (0..rows * 300).map(|i| (i * 7 % 19) as f32 * 0.1 - 0.9).collect();
            let predict = |parallelism| {
                let mut y = vec![0.0; rows * 310];
                let workspace = network.workspace(rows).unwrap().parallel_threshold(0);
                let mut workspace = workspace.parallelism(parallelism).unwrap();
                network.predict_into(&x, &mut y, &mut workspace).unwrap();
                y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let serial = predict(Parallelism::Serial);
            for threads in [1, 2, 4, 5, 16] {
                assert_eq!(predict(Parallelism::Threads(threads)), serial, "{isa} {rows} {threads}");
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let shared = pool.install(|| predict(Parallelism::Auto));
                assert_eq!(shared, serial, "{isa} {rows}, in a pool of {threads}");
            }
        }
    }
}

/// Of [`golden_steps`]: a version that changes it changes what a seed trains to, which its changelog must
/// say.
const GOLDEN: u64 = 0x59de_69db_4156_6388;

/// Steps of arithmetic alone, without a function that the system's libraries compute.
fn golden_steps(isa: Isa) -> u64 {
    let builder = Network::<f32>::builder(19)
        .init(fuseprop::Init::Uniform { limit: 0.4 })
        .dense(40, Activation::Tanh)
        .dense(33, Activation::Relu);
    let builder = builder.dense(18, Activation::Sigmoid);
    let network = builder.dense(5, Activation::Identity);
    let network = network.seed(11).isa(isa).build().unwrap();
    let mut trainer =
        Trainer::builder(network).optimizer(Optimizer::adam(0.01)).max_batch(70).build().unwrap();
    let x: Vec<f32> = (0..70 * 19).map(|i| (i * 37 % 101) as f32 / 64.0 - 0.75).collect();
    let targets: Vec<f32> = (0..70 * 5).map(|i| (i * 13 % 31) as f32 / 32.0).collect();
    for _ in 0..20 {
        trainer.step(&x, &targets).unwrap();
    }
    hash([&parameters(trainer.network())])
}

#[test]
fn a_seed_trains_to_the_same_bits_in_every_version() {
    for isa in isas().into_iter().filter(|&isa| isa != Isa::Portable) {
        for _ in 0..20 {
            let found = golden_steps(isa);
            assert_eq!(found, GOLDEN, "{isa}: {found:#018x}");
        }
    }
    println!("RESULT golden hash={GOLDEN:#018x} runs=20");
}

/// Steps of networks of all sizes, in turns on one thread and on two, called from a thread of the pool as a
/// training loop should be: medians of the two may differ by what the machine's noise leaves.
#[cfg(feature = "rayon")]
#[test]
#[ignore = "a measurement: needs a quiet machine"]
fn two_threads_never_make_a_step_longer() {
    let shapes: [(&[usize], usize); 8] = [
        (&[2, 4, 1], 4),
        (&[8, 64, 64, 4], 64),
        (&[64, 64, 64, 64], 64),
        (&[64, 64, 64, 64], 130),
        (&[64, 64, 64, 64], 512),
        (&[64, 64, 64, 64], 768),
        (&[784, 128, 10], 64),
        (&[784, 512, 512, 10], 256),
    ];
    let pools = [1, 2].map(|n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap());
    let mut longest = 0.0_f64;
    for (sizes, batch) in shapes {
        let mut builder = Network::<f32>::builder(sizes[0]).seed(1);
        for &size in &sizes[1..] {
            builder = builder.dense(size, Activation::Relu);
        }
        let network = builder.build().unwrap();
        let x = vec![0.25; batch * sizes[0]];
        let targets = vec![0.5; batch * sizes[sizes.len() - 1]];
        let mut trainers = pools
            .each_ref()
            .map(|pool| pool.install(|| Trainer::builder(network.clone()).max_batch(batch).build().unwrap()));
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..9 {
            for ((pool, trainer), times) in pools.iter().zip(&mut trainers).zip(&mut times) {
                times.push(pool.install(|| seconds(|| _ = trainer.step(&x, &targets).unwrap())));
            }
        }
        let [one, two] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        println!("{sizes:?} at {batch}: {:.2} us, on two threads {:.2}", one * 1e6, two * 1e6);
        longest = longest.max(two / one);
    }
    println!("RESULT two_threads longest={longest:.3}");
    assert!(longest < 1.1, "{longest}");
}

/// Of one call, of as many as take 20 milliseconds, after as many untimed: a thread that has just woken up
/// may stay on its waker's processor for as long.
#[cfg(feature = "rayon")]
fn seconds(mut call: impl FnMut()) -> f64 {
    let mut run = || {
        let (start, mut calls) = (std::time::Instant::now(), 0);
        while start.elapsed() < std::time::Duration::from_millis(20) {
            call();
            calls += 1;
        }
        start.elapsed().as_secs_f64() / f64::from(calls)
    };
    run();
    run()
}

/// A trainer whose steps are shared out, with its batch.
fn shared_trainer(parallelism: Parallelism) -> (Trainer<f32>, Vec<f32>, Vec<f32>) {
    let network = Network::<f32>::builder(30).dense(50, Activation::Tanh).dense(7, Activation::Identity);
    let builder = Trainer::builder(network.seed(2).build().unwrap()).max_batch(200);
    let trainer = builder.parallelism(parallelism).parallel_threshold(0).build().unwrap();
    let x = (0..200 * 30).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    (trainer, x, (0..200 * 7).map(|i| (i % 5) as f32).collect())
}

fn steps((mut trainer, x, targets): (Trainer<f32>, Vec<f32>, Vec<f32>)) -> u64 {
    for _ in 0..5 {
        trainer.step(&x, &targets).unwrap();
    }
    hash([&parameters(trainer.network())])
}

#[test]
fn pools_within_pools_and_many_callers_neither_hang_nor_change_a_bit() {
    let expected = steps(shared_trainer(Parallelism::Serial));
    for size in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(size).build().unwrap();
        for parallelism in [Parallelism::Auto, Parallelism::Threads(2)] {
            // From outside, on a worker, and on two workers at once.
            assert_eq!(steps(shared_trainer(parallelism)), expected);
            assert_eq!(pool.install(|| steps(shared_trainer(parallelism))), expected);
            let both =
                || rayon::join(|| steps(shared_trainer(parallelism)), || steps(shared_trainer(parallelism)));
            assert_eq!(pool.install(both), (expected, expected));
        }
    }
    // From eight threads at once, and one trainer from eight threads in turn.
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| steps(shared_trainer(Parallelism::Auto)))).collect();
        all.into_iter().for_each(|thread| assert_eq!(thread.join().unwrap(), expected));
    });
    let (mut trainer, x, targets) = shared_trainer(Parallelism::Auto);
    for _ in 0..5 {
        trainer = std::thread::scope(|scope| {
            let (x, targets) = (&x, &targets);
            let step = move || {
                trainer.step(x, targets).unwrap();
                trainer
            };
            scope.spawn(step).join().unwrap()
        });
    }
    assert_eq!(hash([&parameters(trainer.network())]), expected);
    println!("RESULT nested_pools callers=8 different=0");
}

/// Whether a call hands its work to a pool of its own. A worker of another pool that waits for it takes up
/// what else its own pool has to do in the meantime; one that works itself does not.
#[cfg(feature = "rayon")]
fn leaves_its_thread(mut call: impl FnMut() + Send) -> bool {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let mut is_left = || {
        let left = AtomicBool::new(false);
        rayon::scope(|scope| {
            scope.spawn(|_| left.store(true, Ordering::SeqCst));
            call();
            left.load(Ordering::SeqCst)
        })
    };
    // The pool may be done before the worker looks.
    pool.install(|| (0..1000).any(|_| is_left()))
}

#[cfg(feature = "rayon")]
#[test]
fn work_is_shared_out_from_so_many_operations_on() {
    const ROWS: usize = 5;
    const X: [f32; ROWS * 20] = [0.5; ROWS * 20];
    const TARGETS: [f32; ROWS * 2] = [0.25; ROWS * 2];
    let network = Network::<f32>::builder(20).dense(30, Activation::Tanh).dense(2, Activation::Identity);
    let network = network.seed(2).build().unwrap();
    let each = network.parameter_count();
    type Call = fn(&mut Trainer<f32>, &mut Workspace<f32>) -> Result<(), Error>;
    let calls: [(&str, Call, usize); 7] = [
        ("step", |trainer, _| trainer.step(&X, &TARGETS).map(drop), 6 * ROWS * each),
        ("fit", |trainer, _| fit(trainer, FitOptions::new(1, ROWS)), 6 * ROWS * each),
        // The forward pass of a validation set of five rows, after steps of one.
        (
            "fit, validation",
            |trainer, _| fit(trainer, FitOptions::new(1, 1).validation(Dataset::new(&X, &TARGETS))),
            2 * ROWS * each,
        ),
        ("forward", |trainer, _| trainer.forward(&X).map(drop), 2 * ROWS * each),
        ("evaluate", |trainer, _| trainer.evaluate(&X, &TARGETS).map(drop), 2 * ROWS * each),
        (
            "apply_gradients",
            |trainer, _| {
                trainer.gradients_mut().fill(0.0);
                trainer.apply_gradients()
            },
            32 * each,
        ),
        (
            "predict_into",
            |trainer, space| trainer.network().predict_into(&X, &mut [0.0; ROWS * 2], space),
            2 * ROWS * each,
        ),
    ];
    fn fit(trainer: &mut Trainer<f32>, how: FitOptions<'_, f32>) -> Result<(), Error> {
        trainer.fit(Dataset::new(&X, &TARGETS), &how, common::go_on).map(drop)
    }
    for (name, call, operations) in calls {
        let is_shared = |parallelism, threshold| {
            let builder = Trainer::builder(network.clone()).max_batch(ROWS).parallelism(parallelism);
            let mut trainer = builder.parallel_threshold(threshold).build().unwrap();
            let workspace = network.workspace(ROWS).unwrap().parallel_threshold(threshold);
            let mut workspace = workspace.parallelism(parallelism).unwrap();
            leaves_its_thread(|| call(&mut trainer, &mut workspace).unwrap())
        };
        assert!(is_shared(Parallelism::Threads(2), operations), "{name}");
        assert!(!is_shared(Parallelism::Threads(2), operations + 1), "{name}");
        assert!(!is_shared(Parallelism::Threads(2), usize::MAX), "{name}");
        assert!(!is_shared(Parallelism::Serial, 0), "{name}");
    }
}

#[cfg(feature = "files")]
#[test]
fn a_panic_on_a_worker_leaves_a_trainer_that_can_be_used() {
    let path = TemporaryFile::new("panic");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    for _ in 0..100 {
        let (mut trainer, x, targets) = shared_trainer(Parallelism::Auto);
        trainer.save_checkpoint(&path.0).unwrap();
        let how = fuseprop::FitOptions::new(3, 64).schedule(fuseprop::Schedule::exponential(0.5));
        let fit = std::panic::AssertUnwindSafe(|| {
            pool.install(|| {
                trainer.fit(fuseprop::Dataset::new(&x, &targets), &how, |_, epoch| {
                    if epoch.number == 2 {
                        // Without the message that a hook would print.
                        std::panic::resume_unwind(Box::new("injected"));
                    }
                    std::ops::ControlFlow::Continue(())
                })
            })
        });
        assert!(std::panic::catch_unwind(fit).is_err());
        assert_eq!(trainer.optimizer(), Optimizer::sgd(0.01), "the learning rate is the base's again");
        trainer.load_checkpoint(&path.0).unwrap();
        assert_eq!(steps((trainer, x, targets)), steps(shared_trainer(Parallelism::Serial)));
    }
    println!("RESULT panics_on_a_worker injected=100 right_afterwards=100");
}

#[test]
fn avx2_and_avx512_give_the_same_bits() {
    if !Isa::available().any(|isa| isa == Isa::Avx512) {
        println!("skipped: AVX-512 is missing here");
        return;
    }
    for sizes in SIZES {
        let (avx2, avx512) = (Isa::Avx2, Isa::Avx512);
        let auto = Parallelism::Auto;
        assert_eq!(train::<f32>(avx2, sizes, auto), train::<f32>(avx512, sizes, auto));
        assert_eq!(train::<f64>(avx2, sizes, auto), train::<f64>(avx512, sizes, auto));
    }
}

/// A hash of the parameters after some steps, which must have moved them.
fn train<T: Element + From<f32> + Into<f64>>(
    isa: Isa,
    (batch, widths): (usize, [usize; 2]),
    parallelism: Parallelism,
) -> u64 {
    let (inputs, outputs) = (90, 37);
    let network = Network::<T>::builder(inputs)
        .dense(widths[0], Activation::Tanh)
        .dropout(0.2)
        .dense(widths[1], Activation::Gelu)
        .layer_norm(Activation::Tanh)
        .dropout(0.4)
        .dense(51, Activation::Sigmoid)
        .dense(outputs, Activation::Softmax)
        .seed(3)
        .isa(isa)
        .build()
        .unwrap();
    let before = parameters(&network);
    let mut trainer = Trainer::builder(network)
        .loss(Loss::SoftmaxCrossEntropy)
        .optimizer(AdamW::new(0.01).amsgrad(true).l1(1e-4))
        .clip_grad_norm(0.5)
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
    // Fewer rows, in tiles of fewer rows.
    let half = batch / 2;
    losses.push(trainer.step(&x[..half * inputs], &classes[..half]).unwrap());
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

fn parameters<T: Element + Into<f64>>(network: &Network<T>) -> Vec<f64> {
    in_f64(&common::parameters(network))
}

fn in_f64<T: Element + Into<f64>>(values: &[T]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

/// FNV-1a over the bits.
fn hash<'a>(values: impl IntoIterator<Item = &'a Vec<f64>>) -> u64 {
    let bytes = values.into_iter().flatten().flat_map(|value| value.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}
