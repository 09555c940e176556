//! Nothing is allocated after construction. A process of its own: its global allocator counts the calls of
//! all threads.

#[path = "it/common/every.rs"]
mod every;
#[path = "it/common/isas.rs"]
mod isas;

use std::alloc::{GlobalAlloc, Layout, System};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use fuseprop::{
    Activation, Dataset, FitOptions, Head, Isa, Loss, Network, Optimizer, Parallelism, Precision, Scaler,
    Source, Targets, Trainer,
};
use isas::isas;

struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);
/// Those that give memory back.
static FREES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.realloc(pointer, layout, size) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        FREES.fetch_add(1, Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls of the allocator, by any thread, while `f` runs.
fn allocations(f: impl FnOnce()) -> usize {
    let before = CALLS.load(Ordering::Relaxed);
    f();
    CALLS.load(Ordering::Relaxed) - before
}

/// Counts in a child whose harness has one thread: another would allocate to say that a test takes more than
/// a minute.
#[test]
fn steps_and_predictions_allocate_nothing() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "counts_of_the_allocator", "--test-threads=1", "--nocapture"])
        .output()
        .unwrap();
    let (text, errors) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    println!("{text}");
    assert!(child.status.success() && text.contains("1 passed"), "{errors}");
}

#[test]
#[ignore = "started by the test above"]
fn counts_of_the_allocator() {
    assert!(allocations(|| drop(std::hint::black_box(Box::new(1)))) > 0, "the counter counts");
    // Kept to the end: threads of a pool that is dropped free their memory when they like.
    let pools = [1, 2, 3, 8].map(|size| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(size).build().unwrap();
        // Threads allocate while they start; those that answer have started.
        pool.broadcast(|_| ());
        pool
    });
    for isa in isas() {
        assert_eq!(serial_steps(isa), 0, "serial steps on {isa}");
        assert_eq!(evaluations(isa), 0, "evaluations without a trainer on {isa}");
        assert_eq!(scalers(isa), 0, "scalers in place of others on {isa}");
        for hidden in [4, 5] {
            assert_eq!(small_steps(isa, hidden), 0, "steps of 2-{hidden}-1 on {isa}");
        }
        assert_eq!(steps_of_graphs(isa), 0, "steps and predictions of a graph on {isa}");
        assert_eq!(steps_of_every_kind(isa), 0, "steps of every loss and optimizer on {isa}");
        assert_eq!(steps_of_every_activation(isa), 0, "steps and predictions of every activation on {isa}");
        for pool in &pools {
            let what = format!("{} threads on {isa}", pool.current_num_threads());
            assert_eq!(epochs(pool, isa), 0, "epochs after the first, {what}");
            assert_eq!(threaded_steps(pool, isa, 96), 0, "two-phase steps, {what}");
            assert_eq!(threaded_steps(pool, isa, 640), 0, "depth-first steps, {what}");
            assert_eq!(shared_outputs(pool, isa), 0, "single rows through large layers, {what}");
            assert_eq!(in_bf16(pool, isa, 96), 0, "bf16, two-phase, {what}");
            assert_eq!(in_bf16(pool, isa, 640), 0, "bf16, depth-first, {what}");
        }
    }
    println!("RESULT allocations isas={} calls=0", isas().len());
}

/// A residual block, the inputs once more, two heads; two-phase and depth-first.
fn steps_of_graphs(isa: Isa) -> usize {
    let builder = Network::<f32>::builder(8)
        .isa(isa)
        .dense(24, Activation::Relu)
        .residual(|block| block.layer_norm(Activation::Tanh).dropout(0.1).dense(24, Activation::Gelu));
    let builder = builder.concat([Source::Input, Source::Layer(3)]);
    let heads = [Head::dense(2, Activation::Softmax), Head::dense(1, Activation::Identity)];
    let network = builder.heads(heads).build().unwrap();
    let mut count = 0;
    for rows in [16, 640] {
        let builder = Trainer::builder(network.clone()).max_batch(rows).parallelism(Parallelism::Serial);
        let mut trainer = builder.optimizer(Optimizer::adam(1e-3)).custom_loss().build().unwrap();
        let (x, mut y) = (vec![0.5; rows * 8], vec![0.25; rows * 3]);
        let mut workspace = network.workspace(rows).unwrap();
        count += allocations(|| {
            for _ in 0..10 {
                trainer.step(&x, &y).unwrap();
                trainer.forward(&x).unwrap();
                trainer.backward(&y).unwrap();
                network.predict_into(&x, &mut y, &mut workspace).unwrap();
            }
        });
    }
    count
}

fn serial_steps(isa: Isa) -> usize {
    let mut trainer = trainer(&[8, 24, 3], isa, 16, Parallelism::Serial);
    let x = [0.5; 8 * 16];
    let classes = [2; 16];
    let network = trainer.network().clone();
    let mut target = network.clone();
    let mut workspace = network.workspace(16).unwrap();
    let mut y = [0.0; 3 * 16];
    allocations(|| {
        for _ in 0..10_000 {
            trainer.step(&x, &classes).unwrap();
            trainer.forward(&x).unwrap();
            trainer.backward(&y).unwrap();
            network.predict_into(&x, &mut y, &mut workspace).unwrap();
            target.lerp_from(trainer.network(), 0.005).unwrap();
            target.copy_from(&network).unwrap();
        }
    })
}

/// Evaluations after the first one.
fn evaluations(isa: Isa) -> usize {
    let network = trainer(&[8, 24, 4], isa, 16, Parallelism::Serial).into_network();
    let mut workspace = network.workspace(16).unwrap().parallelism(Parallelism::Serial).unwrap();
    let (x, values, classes) = ([0.5; 8 * 40], [1.0; 4 * 40], [2; 40]);
    let mut evaluate = |count| {
        for _ in 0..count {
            for loss in every::LOSSES {
                let values = &values[..40 * every::target_columns(loss, 4)];
                network.evaluate(&x, values, loss, &mut workspace).unwrap();
            }
            network.evaluate(&x, &classes, Loss::SoftmaxCrossEntropy, &mut workspace).unwrap();
        }
    };
    evaluate(1);
    allocations(|| evaluate(100))
}

/// Scalers that take the place of others: of the calls those that do not free the scaler that was there.
fn scalers(isa: Isa) -> usize {
    let mut trainer = trainer(&[8, 24, 3], isa, 16, Parallelism::Serial);
    let mut network = trainer.network().clone();
    let scaler = |n: usize| Scaler::new(vec![n as f32; 8], vec![1.0; 8]).unwrap();
    network.set_scaler(Some(scaler(0))).unwrap();
    trainer.set_scaler(Some(scaler(0))).unwrap();
    let scalers: Vec<Scaler<f32>> = (1..101).map(scaler).collect();
    let mut others = scalers.clone().into_iter().zip(scalers);
    let freed = FREES.load(Ordering::Relaxed);
    let calls = allocations(|| {
        for (of_network, of_trainer) in &mut others {
            network.set_scaler(Some(of_network)).unwrap();
            trainer.set_scaler(Some(of_trainer)).unwrap();
        }
    });
    let freed = FREES.load(Ordering::Relaxed) - freed;
    assert_eq!((calls, network.scaler().unwrap().means()), (400, &[100.0_f32; 8][..]));
    calls - freed
}

/// Steps, gradients and predictions of networks of a panel, or a quad, a layer.
fn small_steps(isa: Isa, hidden: usize) -> usize {
    let builder = Network::<f32>::builder(2).dense(hidden, Activation::Gelu).dense(1, Activation::Tanh);
    let network = builder.seed(1).isa(isa).build().unwrap();
    let mut trainer = Trainer::builder(network.clone()).optimizer(Optimizer::adam(0.01)).build().unwrap();
    let mut workspace = network.workspace(5).unwrap();
    let (x, targets, mut y) = ([0.5; 10], [0.25; 5], [0.0; 5]);
    allocations(|| {
        for _ in 0..10_000 {
            trainer.step(&x, &targets).unwrap();
            trainer.compute_gradients(&x, &targets).unwrap();
            trainer.accumulate_gradients(&x, &targets).unwrap();
            network.predict_into(&x, &mut y, &mut workspace).unwrap();
        }
    })
}

/// Every optimizer with every loss, clipped, checked, weighted and accumulated.
fn steps_of_every_kind(isa: Isa) -> usize {
    let (x, targets, weights) = ([0.5; 8 * 16], [1.0; 4 * 16], [0.5; 16]);
    let mut count = 0;
    for optimizer in every::optimizers() {
        for loss in every::LOSSES {
            let targets = &targets[..16 * every::target_columns(loss, 4)];
            let network = Network::<f32>::builder(8)
                .dense(20, Activation::Gelu)
                .dropout(0.1)
                .layer_norm(Activation::Silu)
                .dense(4, Activation::Identity)
                .isa(isa)
                .seed(1);
            let builder =
                Trainer::builder(network.build().unwrap()).loss(loss).optimizer(optimizer).max_batch(16);
            let mut trainer = builder
                .clip_grad_norm(1.0)
                .clip_grad_value(0.1)
                .check_finite()
                .layer_stats()
                .build()
                .unwrap();
            count += allocations(|| {
                for _ in 0..400 {
                    trainer.step(&x, Targets::from(targets).weights(&weights)).unwrap();
                    trainer.compute_gradients(&x, targets).unwrap();
                    trainer.accumulate_gradients(&x, targets).unwrap();
                    trainer.apply_gradients().unwrap();
                    trainer.set_learning_rate(0.02).unwrap();
                }
            });
            assert_eq!(trainer.steps(), 800);
        }
    }
    count
}

/// Steps and predictions of a network of every activation.
fn steps_of_every_activation(isa: Isa) -> usize {
    let mut builder = Network::<f32>::builder(8).isa(isa).seed(1);
    for activation in every::HIDDEN {
        builder = builder.dense(20, activation);
    }
    let network = builder.dense(3, Activation::Softmax).build().unwrap();
    let mut workspace = network.workspace(16).unwrap();
    let mut trainer = Trainer::builder(network.clone()).max_batch(16).build().unwrap();
    let (x, targets, mut y) = ([0.5; 8 * 16], [0.25; 3 * 16], [0.0; 3 * 16]);
    allocations(|| {
        for _ in 0..400 {
            trainer.step(&x, &targets).unwrap();
            network.predict_into(&x, &mut y, &mut workspace).unwrap();
        }
    })
}

/// A fit with validation and early stopping.
fn epochs(pool: &rayon::ThreadPool, isa: Isa) -> usize {
    let mut trainer = trainer(&[100, 64, 100], isa, 96, Parallelism::Auto);
    let x = vec![0.5; 100 * 500];
    let classes: Vec<u32> = (0..500).map(|r| r % 3).collect();
    let validation = Dataset::new(&x[..100 * 150], &classes[..150]);
    let mut counts = [0; 60];
    let how = FitOptions::new(60, 96).validation(validation).early_stopping(60);
    let outcome = pool.install(|| {
        trainer.fit(Dataset::new(&x, &classes), &how, |_, epoch| {
            counts[epoch.number - 1] = CALLS.load(Ordering::Relaxed);
            std::ops::ControlFlow::Continue(())
        })
    });
    assert_eq!(outcome.unwrap().last.number, 60);
    // A worker's queue may grow while it first fills.
    counts[59] - counts[0].max(counts[9])
}

fn threaded_steps(pool: &rayon::ThreadPool, isa: Isa, batch: usize) -> usize {
    let mut trainer = trainer(&[100, 64, 100], isa, batch, Parallelism::Auto);
    let x = vec![0.5; 100 * batch];
    let classes = vec![2; batch];
    pool.install(|| {
        for _ in 0..10 {
            trainer.step(&x, &classes).unwrap();
        }
        // A worker's queue may grow while it first fills; 10,000 steps make any other growth show.
        let steps = if isa == Isa::Portable { 500 } else { 10_000 * 96 / batch };
        allocations(|| {
            for _ in 0..steps {
                trainer.step(&x, &classes).unwrap();
            }
        })
    })
}

/// Predictions of one row, of which threads share the outputs of each layer.
fn shared_outputs(pool: &rayon::ThreadPool, isa: Isa) -> usize {
    let network = trainer(&[300, 500, 500], isa, 1, Parallelism::Serial).network().clone();
    let mut workspace = network.workspace(1).unwrap().parallel_threshold(0);
    let (x, mut y) = ([0.5; 300], [0.0; 500]);
    pool.install(|| {
        let mut predict = || {
            for _ in 0..1000 {
                network.predict_into(&x, &mut y, &mut workspace).unwrap();
            }
        };
        predict();
        allocations(predict)
    })
}

/// Steps, gradients and predictions in bf16, of a batch and of one row.
fn in_bf16(pool: &rayon::ThreadPool, isa: Isa, batch: usize) -> usize {
    let builder = Network::<f32>::builder(100).dense(150, Activation::Gelu).dropout(0.1);
    let builder = builder.layer_norm(Activation::Tanh).dense(100, Activation::Identity);
    let builder = Trainer::builder(builder.isa(isa).seed(1).build().unwrap()).max_batch(batch);
    let builder = builder.optimizer(Optimizer::adam(1e-3)).clip_grad_norm(1.0).parallel_threshold(0);
    let mut trainer = builder.precision(Precision::Bf16).custom_loss().build().unwrap();
    let workspace = trainer.network().workspace(batch).unwrap().parallel_threshold(0);
    let mut workspace = workspace.precision(Precision::Bf16).unwrap();
    let (x, targets, mut y) = (vec![0.5; 100 * batch], vec![0.25; 100 * batch], vec![0.0; 100 * batch]);
    pool.install(|| {
        let mut run = |count| {
            for _ in 0..count {
                trainer.step(&x, &targets).unwrap();
                trainer.compute_gradients(&x, &targets).unwrap();
                trainer.accumulate_gradients(&x, &targets).unwrap();
                trainer.apply_gradients().unwrap();
                trainer.forward(&x).unwrap();
                trainer.backward(&y).unwrap();
                trainer.network().predict_into(&x, &mut y, &mut workspace).unwrap();
                trainer.network().predict_into(&x[..100], &mut y[..100], &mut workspace).unwrap();
            }
        };
        // A worker's queue may grow while it first fills.
        run(20);
        allocations(|| run(if isa == Isa::Portable { 20 } else { 200 }))
    })
}

fn trainer(sizes: &[usize], isa: Isa, batch: usize, parallelism: Parallelism) -> Trainer<f32> {
    let mut builder = Network::<f32>::builder(sizes[0]).isa(isa).seed(1);
    let (last, hidden) = sizes[1..].split_last().unwrap();
    for &size in hidden {
        builder = builder.dense(size, Activation::Tanh);
    }
    Trainer::builder(builder.dense(*last, Activation::Identity).build().unwrap())
        .loss(Loss::SoftmaxCrossEntropy)
        .optimizer(Optimizer::sgd(0.01))
        .max_batch(batch)
        .parallelism(parallelism)
        .parallel_threshold(0)
        .custom_loss()
        .build()
        .unwrap()
}
