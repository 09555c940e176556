//! Files and places that people keep networks in.

use std::fs;
use std::path::Path;

use fuseprop::{Activation, Error, ImportOptions, Init, Network, TensorNames, WeightLayout};
use safetensors::tensor::{Dtype, TensorView};

use crate::common::{TemporaryFolder, parameters};

/// A file of `f32` tensors: name, shape, numbers.
fn file_of(tensors: &[(&str, &[usize], &[f32])]) -> Vec<u8> {
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, numbers)| numbers.iter().copied().flat_map(f32::to_le_bytes).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// Some 9 kB in a file.
fn network(seed: u64) -> Network<f32> {
    let builder = Network::builder(32).dense(64, Activation::Relu).dense(1, Activation::Identity);
    builder.seed(seed).build().unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_batch_norm_is_refused_by_name_wherever_a_layer_would_take_it() {
    let row: &[f32] = &[1.0, 2.0];
    let build = || Network::<f32>::builder(2).layer_norm(Activation::Identity).build().unwrap();
    let refusal = |tensors: [&str; 3], names: TensorNames<'_>| {
        let bytes = file_of(&tensors.map(|name| (name, &[2_usize][..], row)));
        match build().import_bytes(&bytes, names) {
            Err(Error::Format { problem }) => problem.to_string(),
            other => panic!("{tensors:?} by {names:?}: {other:?}"),
        }
    };
    for statistic in ["running_mean", "running_var", "num_batches_tracked"] {
        let own = format!("0.{statistic}");
        let list = [("0.weight", "0.bias")];
        for names in [
            TensorNames::Sequential,
            TensorNames::Discover,
            TensorNames::Prefix(""),
            TensorNames::List(&list),
            TensorNames::List(&[("0.weight", "")]),
        ] {
            let what = refusal(["0.weight", "0.bias", &own], names);
            assert!(what.starts_with("0 is a batch norm"), "{what}");
        }
    }
    // One that is the whole file, and one of Keras.
    let what = refusal(["weight", "bias", "running_mean"], TensorNames::List(&[("weight", "bias")]));
    assert!(what.starts_with("the file is a batch norm"), "{what}");
    let keras = [("bn/gamma", "bn/beta")];
    let what = refusal(["bn/gamma", "bn/beta", "bn/moving_variance"], TensorNames::List(&keras));
    assert!(what.starts_with("bn is a batch norm"), "{what}");

    // Between dense layers it would be left out of what they compute.
    let square: &[f32] = &[1.0, 0.0, 0.0, 1.0];
    let mut dense = Network::<f32>::builder(2).dense(2, Activation::Identity).build().unwrap();
    let bytes = file_of(&[
        ("fc.weight", &[2, 2], square),
        ("fc.bias", &[2], row),
        ("bn.weight", &[2], row),
        ("bn.bias", &[2], row),
        ("bn.running_mean", &[2], row),
    ]);
    assert!(matches!(dense.import_bytes(&bytes, TensorNames::Discover), Err(Error::Format { .. })));
    // Who lists the layers has said that it is another's.
    dense.import_bytes(&bytes, TensorNames::List(&[("fc.weight", "fc.bias")])).unwrap();
    assert_eq!(dense.predict(&[1.0, 1.0]).unwrap(), [2.0, 3.0]);
}

#[test]
fn a_square_weight_is_read_in_the_layout_that_is_said() {
    let bytes = file_of(&[("0.weight", &[2, 2], &[1.0, 2.0, 3.0, 4.0]), ("0.bias", &[2], &[10.0, 20.0])]);
    let mut network = Network::<f32>::builder(2).dense(2, Activation::Identity).build().unwrap();
    network.import_bytes(&bytes, TensorNames::Sequential).unwrap();
    // x W^T + b
    assert_eq!(network.predict(&[1.0, 0.0]).unwrap(), [11.0, 23.0]);
    let flax = |names| ImportOptions::new(names).weight_layout(WeightLayout::InputsOutputs);
    for names in
        [TensorNames::Sequential, TensorNames::Discover, TensorNames::List(&[("0.weight", "0.bias")])]
    {
        network.import_bytes(&bytes, flax(names)).unwrap();
        // x W + b
        assert_eq!(network.predict(&[1.0, 0.0]).unwrap(), [11.0, 22.0]);
    }
}

#[test]
fn oblong_weights_fit_in_one_layout_alone() {
    // 3 inputs, 2 outputs, as [inputs, outputs], and a norm, which has no layout.
    let kernel: &[f32] = &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let bytes = file_of(&[
        ("0.weight", &[3, 2], kernel),
        ("0.bias", &[2], &[0.5, -0.5]),
        ("1.weight", &[2], &[2.0, 3.0]),
        ("1.bias", &[2], &[0.0, 1.0]),
    ]);
    let builder = Network::<f64>::builder(3).dense(2, Activation::Identity).layer_norm(Activation::Identity);
    let mut network = builder.seed(1).build().unwrap();
    let before = parameters(&network);
    match network.import_bytes(&bytes, TensorNames::Sequential) {
        Err(Error::Tensors { expected, found }) => {
            assert_eq!(expected[0], "0.weight [2, 3]");
            assert!(found.contains(&"0.weight [3, 2] F32".to_owned()), "{found:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(parameters(&network), before);
    let flax = ImportOptions::new(TensorNames::Sequential).weight_layout(WeightLayout::InputsOutputs);
    network.import_bytes(&bytes, flax).unwrap();
    let expected = [1.0, 3.0, 5.0, 2.0, 4.0, 6.0, 0.5, -0.5, 2.0, 3.0, 0.0, 1.0];
    assert_eq!(parameters(&network), expected);
    let mut other = Network::<f32>::builder(2).dense(3, Activation::Identity).build().unwrap();
    match other.import_bytes(&bytes, flax) {
        Err(Error::Tensors { expected, .. }) => assert_eq!(expected[0], "0.weight [2, 3]"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_epsilon_of_a_norm_is_the_networks_not_the_files() {
    let bytes = file_of(&[("0.weight", &[2], &[1.0, 1.0]), ("0.bias", &[2], &[0.0, 0.0])]);
    // Keras's epsilon; a row of variance 1e-4.
    let mut network =
        Network::<f64>::builder(2).layer_norm(Activation::Identity).epsilon(1e-3).build().unwrap();
    network.import_bytes(&bytes, TensorNames::Sequential).unwrap();
    let y = network.predict(&[0.01, -0.01]).unwrap();
    let expected = 0.01 / 1.1e-3_f64.sqrt();
    assert!((y[0] - expected).abs() < 1e-14 && (y[1] + expected).abs() < 1e-14, "{y:?}");
}

#[test]
fn a_name_as_long_as_disks_allow_is_saved() {
    let folder = TemporaryFolder::new("field-long");
    for name in ["m".repeat(250), "m".repeat(255), "\u{1f9e0}".repeat(63)] {
        for seed in [1, 2] {
            let path = folder.0.join(&name);
            network(seed).save(&path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), network(seed).to_bytes().unwrap());
        }
        assert_eq!(names(&folder.0), [name.as_str()]);
        fs::remove_file(folder.0.join(&name)).unwrap();
    }
}

#[test]
fn threads_that_save_at_once_leave_one_whole_file() {
    let folder = TemporaryFolder::new("field-threads");
    let path = folder.0.join("model.safetensors");
    let written: Vec<Vec<u8>> = (0..8).map(|seed| network(seed).to_bytes().unwrap()).collect();
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..25 {
                    network(seed).save(path).unwrap();
                    Network::<f32>::load(path).unwrap();
                }
            });
        }
    });
    assert!(written.contains(&fs::read(&path).unwrap()));
    assert_eq!(names(&folder.0), ["model.safetensors"]);
}

#[test]
fn pytorchs_default_draws_weights_and_biases_within_one_over_the_root_of_inputs() {
    for inputs in [1, 3, 64, 1000] {
        let outputs = 60_000 / inputs;
        let builder = Network::<f64>::builder(inputs).init(Init::PyTorchLinear);
        let network = builder.dense(outputs, Activation::Relu).seed(5).build().unwrap();
        let (mut weights, mut biases) = (vec![f64::NAN; inputs * outputs], vec![f64::NAN; outputs]);
        network.read_weights(0, &mut weights).unwrap();
        network.read_biases(0, &mut biases).unwrap();
        let limit = 1.0 / (inputs as f64).sqrt();
        for values in [&weights, &biases] {
            let n = values.len() as f64;
            assert!(values.iter().all(|w| w.abs() <= limit));
            let largest = values.iter().fold(0.0_f64, |largest, w| largest.max(w.abs()));
            // No value in the outer part happens with a probability of e^-15.
            assert!(largest > limit * (1.0 - 15.0 / n), "{largest} of {limit}");
            // Variance 1 / (3 inputs). Five standard errors: fourth moment 9/5, so 4/5 of its square over n.
            let variance = values.iter().map(|w| w * w).sum::<f64>() / n * 3.0 * inputs as f64;
            assert!((variance - 1.0).abs() < 5.0 * (0.8 / n).sqrt(), "{inputs}: {variance}");
            let mean = values.iter().sum::<f64>() / n / limit;
            assert!(mean.abs() < 5.0 / (3.0 * n).sqrt(), "{inputs}: {mean}");
        }
    }
}

#[test]
fn pytorchs_default_draws_no_biases_where_there_are_none() {
    let build = |has_bias| {
        let builder = Network::<f32>::builder(3).init(Init::PyTorchLinear).dense(4, Activation::Tanh);
        builder.bias(has_bias).seed(5).build().unwrap()
    };
    let (with, without) = (parameters(&build(true)), parameters(&build(false)));
    assert_eq!((with.len(), without.len()), (16, 12));
    assert_eq!(with[..12], without);
    // Other distributions leave them at 0.
    let zeros = Network::<f32>::builder(3).init(Init::HeUniform).dense(4, Activation::Tanh).build().unwrap();
    assert_eq!(parameters(&zeros)[12..], [0.0; 4]);
}

/// What only Unix has.
#[cfg(unix)]
mod unix {
    use std::io::Read;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use super::*;
    use fuseprop::{FileOperation, Optimizer, Trainer};

    /// Where the child saves.
    const CHILD: &str = "FUSEPROP_FIELD_SAVES";

    /// This test alone, in a process of its own, started by a shell's command that ends in `exec "$0" "$@"`.
    fn child(before: &str, path: &Path) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("{before} exec \"$0\" \"$@\"")).arg(std::env::current_exe().unwrap());
        let test = "field::files::unix::child_that_saves";
        command.args(["--exact", test, "--quiet", "--nocapture"]).env(CHILD, path);
        command
    }

    #[test]
    fn child_that_saves() {
        let Some(path) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
        for _ in 0..20 {
            match network(1).save(&path) {
                Ok(()) => {}
                Err(Error::File { operation: FileOperation::Write, kind, .. }) => {
                    assert_eq!(kind, std::io::ErrorKind::FileTooLarge);
                    std::process::exit(7);
                }
                Err(error) => panic!("{error}"),
            }
            if !fs::metadata(&path).unwrap().is_file() {
                return;
            }
        }
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        let folder = TemporaryFolder::new("field-link");
        let shelf = folder.0.join("shelf");
        fs::create_dir(&shelf).unwrap();
        let file = shelf.join("model.safetensors");
        let expected = network(2).to_bytes().unwrap();
        // Absolute, relative, to another link, to nothing yet, through a folder that is a link.
        let links = ["absolute", "relative", "link", "folder/model.safetensors"];
        symlink(&file, folder.0.join(links[0])).unwrap();
        symlink("shelf/model.safetensors", folder.0.join(links[1])).unwrap();
        symlink("relative", folder.0.join(links[2])).unwrap();
        symlink("shelf", folder.0.join("folder")).unwrap();
        for link in links {
            for old in [Some("old"), None] {
                let _ = fs::remove_file(&file);
                old.iter().for_each(|old| fs::write(&file, old).unwrap());
                network(2).save(folder.0.join(link)).unwrap();
                assert!(fs::symlink_metadata(&file).unwrap().is_file());
                assert_eq!(fs::read(&file).unwrap(), expected, "{link}");
            }
        }
        for link in ["absolute", "relative", "link", "folder"] {
            assert!(fs::symlink_metadata(folder.0.join(link)).unwrap().is_symlink(), "{link}");
        }
        assert_eq!(names(&folder.0), ["absolute", "folder", "link", "relative", "shelf"]);
        assert_eq!(names(&shelf), ["model.safetensors"]);
        // Checkpoints go the same way.
        let mut trainer = Trainer::builder(network(3)).optimizer(Optimizer::adam(0.1)).build().unwrap();
        trainer.save_checkpoint(folder.0.join("link")).unwrap();
        trainer.load_checkpoint(&file).unwrap();
        assert!(fs::symlink_metadata(folder.0.join("link")).unwrap().is_symlink());
        // A ring has no end.
        symlink("ring", folder.0.join("ring")).unwrap();
        let ring = network(1).save(folder.0.join("ring"));
        assert!(matches!(ring, Err(Error::File { operation: FileOperation::Write, .. })), "{ring:?}");
    }

    #[test]
    fn a_file_keeps_its_permissions() {
        let folder = TemporaryFolder::new("field-modes");
        let path = folder.0.join("model.safetensors");
        for mode in [0o600, 0o640, 0o444, 0o666, 0o777] {
            fs::write(&path, "old").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let owner = (fs::metadata(&path).unwrap().uid(), fs::metadata(&path).unwrap().gid());
            network(1).save(&path).unwrap();
            let new = fs::metadata(&path).unwrap();
            assert_eq!(new.mode() & 0o7777, mode, "{:o}", new.mode());
            assert_eq!((new.uid(), new.gid()), owner);
            assert_eq!(fs::read(&path).unwrap(), network(1).to_bytes().unwrap());
            fs::remove_file(&path).unwrap();
        }
        // A new one has those of any new file.
        fs::write(folder.0.join("other"), "").unwrap();
        network(1).save(&path).unwrap();
        let mode = |name: &str| fs::metadata(folder.0.join(name)).unwrap().mode();
        assert_eq!(mode("model.safetensors"), mode("other"));
    }

    #[test]
    fn a_pipe_is_written_to() {
        let folder = TemporaryFolder::new("field-pipe");
        let pipe = folder.0.join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        symlink("pipe", folder.0.join("link")).unwrap();
        for name in ["pipe", "link"] {
            let read = std::thread::scope(|scope| {
                let reader = scope.spawn(|| fs::read(&pipe).unwrap());
                network(1).save(folder.0.join(name)).unwrap();
                reader.join().unwrap()
            });
            assert_eq!(read, network(1).to_bytes().unwrap());
            assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
        }
        assert_eq!(names(&folder.0), ["link", "pipe"]);
    }

    #[test]
    fn a_device_is_written_to() {
        network(1).save("/dev/null").unwrap();
        assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
        if cfg!(target_os = "linux") {
            let full = network(1).save("/dev/full");
            assert!(
                matches!(full, Err(Error::File { kind: std::io::ErrorKind::StorageFull, .. })),
                "{full:?}"
            );
            assert!(fs::metadata("/dev/full").unwrap().file_type().is_char_device());
        }
    }

    #[test]
    fn standard_output_is_written_to_as_a_pipe_and_as_a_file() {
        let expected = network(1).to_bytes().unwrap();
        let holds = |bytes: &[u8]| bytes.windows(expected.len()).any(|window| window == expected);
        for path in ["/dev/stdout", "/dev/fd/1"] {
            let mut output = Vec::new();
            let mut process = child("", Path::new(path)).stdout(Stdio::piped()).spawn().unwrap();
            process.stdout.take().unwrap().read_to_end(&mut output).unwrap();
            assert!(process.wait().unwrap().success());
            assert!(holds(&output), "{path}: {} bytes", output.len());
        }
        if cfg!(target_os = "linux") {
            // A log keeps what was in it.
            let folder = TemporaryFolder::new("field-stdout");
            let log = folder.file("log", b"first line\n");
            let file = fs::OpenOptions::new().append(true).open(&log).unwrap();
            let number = file.metadata().unwrap().ino();
            assert!(child("", Path::new("/dev/stdout")).stdout(file).status().unwrap().success());
            let bytes = fs::read(&log).unwrap();
            assert!(bytes.starts_with(b"first line\n") && holds(&bytes));
            assert_eq!(fs::metadata(&log).unwrap().ino(), number);
            assert_eq!(names(&folder.0), ["log"]);
        }
    }

    #[test]
    fn a_disk_in_memory_is_saved_to() {
        let shared = Path::new("/dev/shm");
        if shared.is_dir() {
            let path = shared.join(format!("fuseprop-field-{}", std::process::id()));
            network(1).save(&path).unwrap();
            let loaded = Network::<f32>::load(&path).unwrap();
            fs::remove_file(&path).unwrap();
            assert_eq!(parameters(&loaded), parameters(&network(1)));
        }
    }

    #[test]
    fn processes_that_save_at_once_leave_one_whole_file() {
        let folder = TemporaryFolder::new("field-processes");
        let path = folder.0.join("model.safetensors");
        let start = || child("", &path).stdout(Stdio::null()).spawn().unwrap();
        let mut children = [start(), start(), start()];
        for child in &mut children {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(fs::read(&path).unwrap(), network(1).to_bytes().unwrap());
        assert_eq!(names(&folder.0), ["model.safetensors"]);
    }

    #[test]
    fn a_disk_that_is_full_keeps_the_old_file_and_nothing_else() {
        let folder = TemporaryFolder::new("field-full");
        let path = folder.file("model.safetensors", b"old");
        // Files may have 4 or 8 blocks of 512 or 1,024 bytes: the ninth kilobyte is refused.
        let status = child("trap '' XFSZ; ulimit -f 8;", &path).stdout(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(7), "{status}");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(&folder.0), ["model.safetensors"]);
    }
}
