//! Training that is stopped, or killed, and goes on: in the same bytes.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::case::Random;
use crate::common::every::optimizers;
use crate::common::{TemporaryFile, go_on, isas};
use fuseprop::{
    Activation, Adam, Dataset, Element, EpochReport, Error, FitOptions, FormatProblem, Isa, Loss, Network,
    OneCycle, Optimizer, ReduceOnPlateau, Scaler, Schedule, Trainer,
};

const INPUTS: usize = 6;
const EPOCHS: usize = 24;

/// With everything that a checkpoint has to hold.
fn trainer<T: Element + From<f32>>(isa: Isa, optimizer: Optimizer) -> Trainer<T> {
    let builder = Network::<T>::builder(INPUTS).isa(isa).seed(5);
    let builder = builder.dense(20, Activation::Identity).layer_norm(Activation::Gelu).dropout(0.2);
    let mut network = builder.dense(33, Activation::Tanh).dense(2, Activation::Identity).build().unwrap();
    network.set_scaler(Some(Scaler::fit(&rows(50).0, INPUTS).unwrap())).unwrap();
    let builder = Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy).optimizer(optimizer);
    builder.clip_grad_norm(1.0).seed(9).max_batch(32).build().unwrap()
}

fn rows<T: From<f32>>(n: usize) -> (Vec<T>, Vec<u32>) {
    let x: Vec<f32> = (0..n * INPUTS).map(|i| (i * 37 % 101) as f32 / 5.0 - 1.0).collect();
    let classes = x.chunks(INPUTS).map(|x| u32::from(x[0] + 0.5 * x[1] > 9.0)).collect();
    (x.into_iter().map(T::from).collect(), classes)
}

/// Fits until `stop`, from the checkpoint if there is one; every epoch seen.
fn fit<T: Element + From<f32>>(trainer: &mut Trainer<T>, path: &Path, stop: usize) -> Vec<EpochReport> {
    let schedule = Schedule::cosine(EPOCHS, 1e-4).warm_up(3, 0.1);
    fit_by(trainer, path, stop, FitOptions::new(EPOCHS, 32).schedule(schedule))
}

/// The same with a schedule and nothing else.
fn fit_by<T: Element + From<f32>>(
    trainer: &mut Trainer<T>,
    path: &Path,
    stop: usize,
    how: FitOptions<'_, T>,
) -> Vec<EpochReport> {
    let ((x, classes), (valid_x, valid_classes)) = (rows::<T>(150), rows::<T>(40));
    let how = how
        .seed(3)
        .reduce_on_plateau(ReduceOnPlateau::new(0.5, 1))
        .validation(Dataset::new(&valid_x, &valid_classes))
        .early_stopping(EPOCHS)
        .checkpoint(path, 1);
    let mut epochs = Vec::new();
    let each = |_: &mut Trainer<T>, epoch: &EpochReport| {
        epochs.push(*epoch);
        if epoch.number == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    trainer.fit(Dataset::new(&x, &classes), &how, each).unwrap();
    epochs
}

/// Epochs after which a fit is cut.
const CUTS: [usize; 5] = [1, 2, 7, 13, 20];

fn compare<T: Element + From<f32>>(isa: Isa, optimizer: Optimizer) {
    let (whole, parts) = (TemporaryFile::new("whole"), TemporaryFile::new("parts"));
    let mut uninterrupted = trainer::<T>(isa, optimizer);
    let expected = fit(&mut uninterrupted, &whole.0, EPOCHS);
    let mut found = Vec::new();
    let mut last = None;
    for stop in CUTS.into_iter().chain([EPOCHS]) {
        let mut trainer = trainer::<T>(isa, optimizer);
        if stop > 1 {
            trainer.load_checkpoint(&parts.0).unwrap();
        }
        found.extend(fit(&mut trainer, &parts.0, stop));
        last = Some(trainer);
    }
    assert_eq!(found, expected, "{isa} {optimizer:?}");
    assert!(expected[EPOCHS - 1].loss < expected[0].loss);
    assert_eq!(std::fs::read(&parts.0).unwrap(), std::fs::read(&whole.0).unwrap(), "{isa} {optimizer:?}");
    // The best parameters too, to which the fit has returned.
    let bytes = |trainer: &Trainer<T>| trainer.network().to_bytes().unwrap();
    assert_eq!(bytes(&last.unwrap()), bytes(&uninterrupted));
    // And a checkpoint is a network.
    Network::<T>::load(&whole.0).unwrap();
}

#[test]
fn schedules_by_step_and_by_epoch_go_on_after_a_checkpoint() {
    // Of five steps an epoch.
    let steps = 5 * EPOCHS;
    let by_step: [Schedule; 6] = [
        OneCycle::new(steps).into(),
        Schedule::linear(12, 0.1, 1.0).then(12, Schedule::cosine_warm_restarts(9, 2, 1e-5)),
        Schedule::polynomial(steps, 0.9).warm_up(7, 0.5),
        Schedule::multi_step(&[8, 31], 0.3).chain(Schedule::exponential(0.99)),
        Schedule::constant().warm_up_steps(17, 0.0),
        // No checkpoint holds it: the same is given to the training that goes on.
        Schedule::from_fn(|base, step| base / (1.0 + step as f64)),
    ];
    for schedule in by_step {
        let how = FitOptions::new(EPOCHS, 32).step_schedule(schedule.clone());
        let of_epochs = FitOptions::new(EPOCHS, 32).schedule(schedule.clone());
        for how in [how, of_epochs] {
            let (whole, parts) = (TemporaryFile::new("whole-steps"), TemporaryFile::new("part-steps"));
            let build = || trainer::<f32>(Isa::detect(), Adam::new(0.01).into());
            let expected = fit_by(&mut build(), &whole.0, EPOCHS, how.clone());
            let mut found = fit_by(&mut build(), &parts.0, 7, how.clone());
            let mut resumed = build();
            resumed.load_checkpoint(&parts.0).unwrap();
            found.extend(fit_by(&mut resumed, &parts.0, EPOCHS, how));
            assert_eq!(found, expected, "{schedule:?}");
            assert_eq!(std::fs::read(&parts.0).unwrap(), std::fs::read(&whole.0).unwrap(), "{schedule:?}");
        }
    }
}

/// Of a small network, whose steps take a path of their own unless there is a scaler.
#[test]
fn a_resumed_small_network_takes_over_the_scaler_and_goes_on_in_the_same_bits() {
    let network = || {
        let builder =
            Network::<f32>::builder(INPUTS).dense(4, Activation::Tanh).dense(2, Activation::Softmax);
        builder.seed(3).build().unwrap()
    };
    let trainer = |network: Network<f32>| {
        let builder = Trainer::builder(network).loss(Loss::SoftmaxCrossEntropy);
        builder.optimizer(Optimizer::adam(0.01)).max_batch(8).build().unwrap()
    };
    let (x, classes) = rows::<f32>(8);
    for scaler in [None, Some(Scaler::fit(&rows(50).0, INPUTS).unwrap())] {
        let path = TemporaryFile::new("small");
        let mut scaled = network();
        scaled.set_scaler(scaler).unwrap();
        let mut uninterrupted = trainer(scaled);
        uninterrupted.step(&x, &classes).unwrap();
        uninterrupted.save_checkpoint(&path.0).unwrap();
        let mut resumed = trainer(network());
        resumed.load_checkpoint(&path.0).unwrap();
        for _ in 0..3 {
            let losses =
                [&mut uninterrupted, &mut resumed].map(|trainer| trainer.step(&x, &classes).unwrap());
            assert_eq!(losses[0].to_bits(), losses[1].to_bits());
        }
        let bytes = |trainer: &Trainer<f32>| trainer.network().to_bytes().unwrap();
        assert_eq!(bytes(&resumed), bytes(&uninterrupted));
    }
}

#[test]
fn a_resumed_fit_ends_in_the_same_bytes() {
    for isa in isas() {
        for optimizer in optimizers() {
            compare::<f32>(isa, optimizer);
            compare::<f64>(isa, optimizer);
        }
    }
    println!("RESULT resume optimizers={} cuts={} different=0", optimizers().len(), CUTS.len());
}

#[test]
fn steps_go_on_in_the_same_bits() {
    let path = TemporaryFile::new("steps");
    let (x, classes) = rows::<f32>(32);
    for optimizer in optimizers() {
        let mut whole = trainer::<f32>(Isa::detect(), optimizer);
        for step in 0..20 {
            if step == 7 {
                whole.set_learning_rate(0.02).unwrap();
                whole.save_checkpoint(&path.0).unwrap();
            }
            whole.step(&x, &classes).unwrap();
        }
        let mut resumed = trainer::<f32>(Isa::detect(), optimizer);
        resumed.step(&x, &classes).unwrap();
        resumed.load_checkpoint(&path.0).unwrap();
        assert_eq!(resumed.steps(), 7);
        for _ in 7..20 {
            resumed.step(&x, &classes).unwrap();
        }
        assert_eq!(whole.network().to_bytes().unwrap(), resumed.network().to_bytes().unwrap());
        assert_eq!(whole.gradients(), resumed.gradients());
    }
}

#[test]
fn a_loaded_checkpoint_leaves_no_gradient_of_before_and_has_the_seeds_that_were_saved() {
    let path = TemporaryFile::new("gradient");
    let build = |seed| {
        let network = Network::<f32>::builder(2).dense(1, Activation::Identity).seed(seed).build().unwrap();
        Trainer::builder(network).max_batch(2).layer_stats().input_gradients().build().unwrap()
    };
    let (x, y) = ([0.5, 1.0], [1.0]);
    build(1).save_checkpoint(&path.0).unwrap();
    let (mut resumed, mut right) = (build(2), build(1));
    resumed.step(&x, &y).unwrap();
    resumed.load_checkpoint(&path.0).unwrap();
    assert!(resumed.gradients().iter().all(|&g| g == 0.0));
    assert_eq!(resumed.gradient_norm(), 0.0);
    assert!(resumed.input_gradients().unwrap().is_empty());
    let stats: Vec<_> = resumed.layer_stats().unwrap().collect();
    assert_eq!(stats, right.layer_stats().unwrap().collect::<Vec<_>>());
    assert_eq!(resumed.apply_gradients(), Err(Error::NoGradient));
    assert_eq!((resumed.seed(), resumed.network().seed()), (1, 1));
    // The first part of a batch has nothing to be added to.
    resumed.accumulate_gradients(&x, &y).unwrap();
    right.compute_gradients(&x, &y).unwrap();
    assert_eq!(resumed.gradients(), right.gradients());
    assert_eq!(Network::<f32>::load(&path.0).unwrap().seed(), 1);
}

#[test]
fn a_checkpoint_of_another_training_is_refused_and_nothing_changes() {
    let path = TemporaryFile::new("refused");
    let (x, classes) = rows::<f32>(32);
    let isa = Isa::detect();
    let mut saved = trainer::<f32>(isa, Optimizer::adam(0.01));
    saved.step(&x, &classes).unwrap();
    saved.save_checkpoint(&path.0).unwrap();

    let mut other = trainer::<f32>(isa, Adam::new(0.01).betas(0.8, 0.9).into());
    let before = other.network().to_bytes().unwrap();
    let refused = |problem| Err(Error::Format { problem });
    assert_eq!(other.load_checkpoint(&path.0), refused(FormatProblem::OtherOptimizer));
    let layers = Network::<f32>::builder(INPUTS).dense(2, Activation::Tanh).seed(1).build().unwrap();
    let mut smaller = Trainer::builder(layers).optimizer(Optimizer::adam(0.01)).build().unwrap();
    assert_eq!(smaller.load_checkpoint(&path.0), refused(FormatProblem::OtherLayers));
    assert!(matches!(smaller.load_checkpoint("/no such file"), Err(Error::File { .. })));
    // A network without the state of a training.
    saved.network().save(&path.0).unwrap();
    let missing = FormatProblem::MissingKey { key: "optimizer".to_owned() };
    assert_eq!(other.load_checkpoint(&path.0), refused(missing));
    assert_eq!(other.network().to_bytes().unwrap(), before);
    assert_eq!(other.steps(), 0);
}

#[test]
fn every_truncation_and_flipped_byte_of_the_header_is_refused_or_harmless() {
    let path = TemporaryFile::new("hostile");
    let mut saved = trainer::<f32>(Isa::detect(), Optimizer::adam(0.01));
    let (x, classes) = rows::<f32>(32);
    saved.step(&x, &classes).unwrap();
    saved.save_checkpoint(&path.0).unwrap();
    let bytes = std::fs::read(&path.0).unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut trainer = trainer::<f32>(Isa::detect(), Optimizer::adam(0.01));
    for len in (0..header).step_by(7).chain([bytes.len() - 1]) {
        std::fs::write(&path.0, &bytes[..len]).unwrap();
        assert!(trainer.load_checkpoint(&path.0).is_err(), "cut to {len} bytes");
    }
    for i in (0..header).step_by(3) {
        let mut flipped = bytes.clone();
        flipped[i] ^= 1 << (i % 8);
        std::fs::write(&path.0, &flipped).unwrap();
        let before = trainer.network().to_bytes().unwrap();
        // A number may have become another number; then training goes on from it.
        match trainer.load_checkpoint(&path.0) {
            Ok(()) => drop(trainer.step(&x, &classes).unwrap()),
            Err(_) => assert_eq!(trainer.network().to_bytes().unwrap(), before, "byte {i}"),
        }
    }
}

#[test]
fn counts_and_rates_that_cannot_be_are_refused() {
    let path = TemporaryFile::new("counts");
    let isa = Isa::detect();
    let mut saved = trainer::<f32>(isa, Optimizer::adam(0.01));
    fit(&mut saved, &path.0, 3);
    let bytes = std::fs::read(&path.0).unwrap();
    let cases = [
        ("steps", "steps 99999999999999999999"),
        ("steps", "steps 281474976645121"),
        ("passes", "passes -1"),
        ("last", "last 18446744073709551615 24 1 1 1 - - 1 1"),
        ("best", "best 9 24 0.5 0.5 0.5 - - 0.1 0.5"),
        ("plateau", "plateau -1 1 0.5 0 1"),
        ("plateau", "plateau 0.5 1 0.5 0 NaN"),
        ("seed", "x 9"),
        ("training_seed", "x 9"),
        ("learning_rate", "learning_rate -1"),
        ("optimizer", "optimizer adam"),
        ("stds", "stds 1 1"),
        ("stds", "stds 0 0 0 0 0 0"),
    ];
    for (key, replacement) in cases {
        std::fs::write(&path.0, with_line(&bytes, key, replacement)).unwrap();
        let mut other = trainer::<f32>(isa, Optimizer::adam(0.01));
        let error = other.load_checkpoint(&path.0).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{key}: {error}");
        assert_eq!(other.steps(), 0);
    }
    // A training that goes on for years.
    for (replacement, steps) in [("steps 4294967296", 1 << 32), ("steps 281474976645120", 0xffff_ffff << 16)]
    {
        std::fs::write(&path.0, with_line(&bytes, "steps", replacement)).unwrap();
        let mut other = trainer::<f32>(isa, Optimizer::adam(0.01));
        other.load_checkpoint(&path.0).unwrap();
        assert_eq!(other.steps(), steps);
    }
}

/// A checkpoint in which the line of a key is another.
fn with_line(bytes: &[u8], key: &str, replacement: &str) -> Vec<u8> {
    // The header is JSON, its length in the first eight bytes.
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + header_len]).unwrap();
    let line = header.split("\\n").find(|line| line.starts_with(&format!("{key} "))).unwrap();
    let mut changed = header.trim_end().replacen(line, replacement, 1);
    assert_ne!(changed, header.trim_end(), "{key}");
    while changed.len() % 8 != 0 {
        changed.push(' ');
    }
    let mut file = (changed.len() as u64).to_le_bytes().to_vec();
    file.extend(changed.as_bytes());
    file.extend(&bytes[8 + header_len..]);
    file
}

/// Of a small network too, which counts its passes on a path of its own.
#[test]
fn a_checkpoint_tells_what_its_format_says_and_no_more() {
    let path = TemporaryFile::new("format");
    let builder = Network::<f32>::builder(2).dense(3, Activation::Tanh).seed(1);
    let network = builder.dense(1, Activation::Identity).build().unwrap();
    let mut trainer = Trainer::builder(network).optimizer(Optimizer::sgd(0.25)).build().unwrap();
    for _ in 0..3 {
        trainer.step(&[0.5, -0.5], &[1.0]).unwrap();
    }
    trainer.forward(&[0.5, -0.5]).unwrap();
    trainer.save_checkpoint(&path.0).unwrap();
    let bytes = std::fs::read(&path.0).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let text = metadata.metadata().as_ref().unwrap()["fuseprop"].clone();
    let expected = [
        "version 1",
        "seed 1",
        "layer dense tanh 0",
        "layer dense identity 0",
        "steps 3",
        "passes 4",
        "epochs 0",
        "training_seed 1",
        "optimizer sgd weight_decay=0 l1=0 momentum=0 dampening=0 nesterov=false",
        "learning_rate 0.25",
    ];
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn checkpoints_are_written_every_so_many_epochs_and_after_the_last_before_its_callback() {
    let path = TemporaryFile::new("every");
    let build = || {
        let network = Network::<f32>::builder(1).dense(1, Activation::Identity).seed(1).build().unwrap();
        Trainer::builder(network).build().unwrap()
    };
    // An epoch is a step.
    let (x, y) = ([1.0, 2.0], [3.0, 1.0]);
    let mut saved = Vec::new();
    let each = |_: &mut Trainer<f32>, _: &EpochReport| {
        saved.push(path.0.exists().then(|| {
            let mut trainer = build();
            trainer.load_checkpoint(&path.0).unwrap();
            trainer.steps()
        }));
        ControlFlow::Continue(())
    };
    build().fit(Dataset::new(&x, &y), &FitOptions::new(5, 2).checkpoint(&path.0, 2), each).unwrap();
    assert_eq!(saved, [None, Some(2), Some(2), Some(4), Some(5)]);
}

#[test]
fn early_stopping_that_starts_late_returns_to_what_it_has_seen() {
    let path = TemporaryFile::new("late");
    let network = || Network::<f32>::builder(1).dense(1, Activation::Identity).seed(1).build().unwrap();
    // A rate at which the loss grows from the first epoch on.
    let build = || Trainer::builder(network()).optimizer(Optimizer::sgd(1.5)).build().unwrap();
    let (x, y) = ([1.0, 2.0], [3.0, 1.0]);
    let first =
        build().fit(Dataset::new(&x, &y), &FitOptions::new(6, 2).checkpoint(&path.0, 1), go_on).unwrap();
    assert!(first.best.number == 1 && !first.last.is_best);
    let resumed = || {
        let mut trainer = build();
        trainer.load_checkpoint(&path.0).unwrap();
        trainer
    };
    // Where no epoch is left the fit ends as it did, but for a best epoch whose parameters are not there.
    let again = resumed().fit(Dataset::new(&x, &y), &FitOptions::new(6, 2), go_on).unwrap();
    assert_eq!(again, first);
    let again = resumed().fit(Dataset::new(&x, &y), &FitOptions::new(6, 2).early_stopping(2), go_on).unwrap();
    assert!(again.best == again.last && again.last.is_best && again.last.number == 6);
    let mut trainer = resumed();
    let outcome =
        trainer.fit(Dataset::new(&x, &y), &FitOptions::new(12, 2).early_stopping(2), go_on).unwrap();
    assert_eq!((outcome.best.number, outcome.last.number), (6, 8));
    let best = Network::<f32>::load(&path.0).unwrap();
    assert_eq!(trainer.network().to_bytes().unwrap(), best.to_bytes().unwrap());
}

/// Where a child of [`a_killed_fit_ends_in_the_same_bytes`] works.
const CHILD: &str = "FUSEPROP_TEST_CHECKPOINT";

/// Does nothing unless it is run by the test below.
#[test]
fn child_that_fits_from_its_checkpoint() {
    if let Some(path) = std::env::var_os(CHILD) {
        let mut trainer = trainer::<f32>(Isa::detect(), Optimizer::adam(0.01));
        if Path::new(&path).exists() {
            trainer.load_checkpoint(&path).unwrap();
        }
        fit(&mut trainer, Path::new(&path), EPOCHS);
    }
}

/// Fits in a child that is killed again and again, until it ends by itself; how often it was killed. After
/// every kill the file is there as a whole, or not yet.
fn killed_fit(name: &str, seed: u64) -> usize {
    let (whole, killed) = (TemporaryFile::new(&format!("{name}-whole")), TemporaryFile::new(name));
    fit(&mut trainer::<f32>(Isa::detect(), Optimizer::adam(0.01)), &whole.0, EPOCHS);
    let (mut kills, mut random) = (0, Random(seed));
    loop {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "checkpoint::child_that_fits_from_its_checkpoint", "--quiet"])
            .env(CHILD, &killed.0)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(1_000 + random.next() % 3_000));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success());
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        if killed.0.exists() {
            trainer::<f32>(Isa::detect(), Optimizer::adam(0.01)).load_checkpoint(&killed.0).unwrap();
        }
    }
    assert_eq!(std::fs::read(&killed.0).unwrap(), std::fs::read(&whole.0).unwrap());
    remove_left_overs(&killed.0);
    kills
}

/// What killed saves have left beside a file.
fn remove_left_overs(path: &Path) {
    let stem = format!("{}.", path.file_name().unwrap().to_str().unwrap());
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name().to_string_lossy().starts_with(&stem) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[test]
fn a_thousand_kills_leave_no_file_that_cannot_be_read_and_change_no_byte() {
    let (mut kills, mut fits) = (0, 0);
    while kills < 1000 {
        kills += killed_fit("thousand", 1000 + fits);
        fits += 1;
    }
    println!("RESULT thousand_kills kills={kills} fits={fits} unreadable=0");
}
