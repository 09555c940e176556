//! Imports point down: every `crate::` path of the source against the table of rings in `ARCHITECTURE.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A ring, or a part of one, and what it may import besides itself. The longest prefix of a module's path is
/// its ring.
const RINGS: [(&str, &[&str]); 15] = [
    ("simd", &[]),
    ("float_math", &[]),
    ("rng", &["simd::isa", "float_math"]),
    ("error", &["simd::isa"]),
    ("kernels::matrix", &["simd"]),
    ("kernels::ops", &["simd", "kernels::matrix", "error", "rng", "float_math"]),
    ("kernels::gemm", &["simd", "kernels::matrix", "kernels::ops::activation"]),
    ("network", &["simd::scalar", "simd::isa", "kernels::matrix", "kernels::ops", "error", "rng"]),
    ("engine", &["network", "kernels", "simd", "error", "rng"]),
    // The crate's public names only: their paths have no module in them.
    ("metrics", &[]),
    ("evaluate", &["engine::dispatch", "kernels::ops", "simd::scalar", "metrics", "float_math"]),
    (
        "train",
        &[
            "float_math",
            "evaluate",
            "engine",
            "network",
            "kernels::ops",
            "simd::scalar",
            "error",
            "rng",
            "metrics",
        ],
    ),
    ("predict", &["evaluate", "engine", "network", "kernels::ops", "simd::scalar", "simd::isa", "error"]),
    ("files", &["train", "evaluate", "network", "kernels::ops", "simd::scalar", "error"]),
    ("reference", &[]),
];

/// Modules that see the public names of the crate alone.
const PUBLIC_NAMES_ONLY: [&str; 2] = ["reference", "metrics"];

/// Things that one file alone may name: the thing, the rings that are excepted because they define it, and
/// the file.
const ONE_PLACE: [(&str, &[&str], &str); 4] = [
    ("rayon::", &[], "engine/parallel.rs"),
    ("Avx512::<", &["simd"], "engine/dispatch.rs"),
    ("Avx2::<", &["simd"], "engine/dispatch.rs"),
    ("Portable::<", &["simd"], "engine/dispatch.rs"),
];

/// Every Rust file of the library, without its unit tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if name != "tests" {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") && name != "lib.rs" {
            found.push(path);
        }
    }
}

fn library() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
        (name, fs::read_to_string(path).unwrap())
    };
    files.iter().map(read).collect()
}

/// `kernels/gemm/mod.rs` is the module `kernels::gemm`.
fn module(file: &str) -> String {
    let path = file.trim_end_matches(".rs").replace('/', "::");
    path.strip_suffix("::mod").map(str::to_owned).unwrap_or(path)
}

/// The code of a file: no comments, no strings, nothing from its unit tests on.
fn code(text: &str) -> String {
    let text = text.split("\n#[cfg(test)]\n").next().unwrap();
    let line = |line: &str| line.split("//").next().unwrap().to_owned();
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Every path behind `crate::`, with groups such as `crate::a::{b, c::d}` taken apart.
fn paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = code;
    while let Some(at) = rest.find("crate::") {
        let before = rest[..at].chars().next_back();
        rest = &rest[at + "crate::".len()..];
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let mut depth = 0;
        let is_over = |c: char| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth < 0 || depth == 0 && !(c.is_alphanumeric() || "_:}".contains(c))
        };
        let end = rest.find(is_over).unwrap_or(rest.len());
        take_apart("", &rest[..end], &mut found);
    }
    found
}

fn take_apart(prefix: &str, tree: &str, found: &mut BTreeSet<String>) {
    let tree = tree.trim();
    let Some((head, group)) = tree.split_once('{') else {
        if !tree.is_empty() {
            let path = tree.split_whitespace().next().unwrap().trim_end_matches(':');
            found.insert(format!("{prefix}{path}"));
        }
        return;
    };
    let group = group.rsplit_once('}').map_or(group, |(group, _)| group);
    let (mut depth, mut start) = (0, 0);
    for (i, c) in group.char_indices().chain([(group.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                take_apart(&format!("{prefix}{}", head.trim()), &group[start..i], found);
                start = i + 1;
            }
            _ => {}
        }
    }
}

fn lies_in(path: &str, module: &str) -> bool {
    path == module || path.strip_prefix(module).is_some_and(|rest| rest.starts_with("::"))
}

/// The ring of a module, and what it may import.
fn ring(module: &str) -> Option<(&'static str, &'static [&'static str])> {
    let rings = RINGS.iter().filter(|(ring, _)| lies_in(module, ring));
    rings.max_by_key(|(ring, _)| ring.len()).copied()
}

/// What is wrong with the imports of a file.
fn arrows_up(file: &str, text: &str) -> Vec<String> {
    let (module, paths) = (module(file), paths(&code(text)));
    if PUBLIC_NAMES_ONLY.iter().any(|public| lies_in(&module, public)) {
        let own = module.split("::").next().unwrap();
        // A public name is a type; a module's name is lower case.
        let is_private = |path: &&String| {
            path.starts_with(char::is_lowercase) && !lies_in(path, own) && path.contains("::")
        };
        return paths.iter().filter(is_private).map(|path| format!("{file}: {path} is not public")).collect();
    }
    let Some((own, below)) = ring(&module) else {
        return if ["kernels"].contains(&&*module) {
            Vec::new()
        } else {
            vec![format!("{file} is in no ring")]
        };
    };
    let is_up = |path: &&String| {
        !lies_in(path, own) && below.iter().all(|ring| !lies_in(path, ring)) && path.contains("::")
            || path.starts_with(char::is_uppercase)
    };
    paths.iter().filter(is_up).map(|path| format!("{file}: {own} must not import {path}")).collect()
}

#[test]
fn imports_point_down() {
    let files = library();
    let wrong: Vec<String> = files.iter().flat_map(|(file, text)| arrows_up(file, text)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let arrows: usize = files.iter().map(|(_, text)| paths(&code(text)).len()).sum();
    println!("RESULT rings files={} arrows={arrows} up=0", files.len());
    assert!(files.len() > 40 && arrows > 200, "{} files, {arrows} arrows", files.len());
}

#[test]
fn no_modules_import_each_other_in_a_circle_across_rings() {
    let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let files = library();
    for (file, text) in &files {
        let Some((from, _)) = ring(&module(file)) else { continue };
        let to = paths(&code(text));
        let to = to.iter().filter_map(|path| ring(path)).map(|(ring, _)| ring).filter(|&ring| ring != from);
        arrows.entry(from).or_default().extend(to);
    }
    // Taking away rings that import nothing leaves none.
    while let Some((&lowest, _)) = arrows.iter().find(|(_, to)| to.is_empty()) {
        arrows.remove(lowest);
        arrows.values_mut().for_each(|to| _ = to.remove(lowest));
    }
    assert!(arrows.is_empty(), "a circle among {:?}", arrows.keys());
}

#[test]
fn threads_and_instruction_sets_are_named_in_one_file_each() {
    for (file, text) in library() {
        for (name, excepted, place) in ONE_PLACE {
            let is_excepted = file == place || excepted.iter().any(|ring| lies_in(&module(&file), ring));
            assert!(
                is_excepted || !code(&text).contains(name),
                "{file} names {name}, which {place} alone may"
            );
        }
    }
}

#[test]
fn an_arrow_that_points_up_is_found() {
    let wrong = |file, text| arrows_up(file, text).len();
    assert_eq!(wrong("simd/isa.rs", "use crate::engine::dispatch::Engine;\n"), 1);
    assert_eq!(
        wrong("kernels/gemm/products.rs", "use crate::kernels::{matrix::panels, ops::{loss, activation}};\n"),
        1
    );
    assert_eq!(wrong("network/mod.rs", "fn f() { crate::train::trainer::new() }\n"), 1);
    assert_eq!(
        wrong("engine/batch.rs", "use crate::{\n    network::Network,\n    predict::Workspace,\n};\n"),
        1
    );
    assert_eq!(wrong("network/mod.rs", "use crate::Trainer;\n"), 1);
    assert_eq!(wrong("reference/mod.rs", "use crate::{Activation, simd::isa::Isa};\n"), 1);
    assert_eq!(wrong("engine/batch.rs", "// crate::train::trainer\nuse crate::network::Network;\n"), 0);
    assert_eq!(wrong("engine/batch.rs", "\n#[cfg(test)]\nmod tests { use crate::Trainer; }\n"), 0);
}
