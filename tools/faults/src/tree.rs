//! What the copy consists of: the files that git tracks, as they are in the work tree, with faults built in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::list::Fault;
use crate::rewrite::rewrite;

const SWITCH: &str = include_str!("../switch/fault.rs");

/// A tree of files in memory.
pub struct Tree(BTreeMap<PathBuf, Vec<u8>>);

/// What became of the faults that were to be built in.
pub struct Built {
    /// The site of each that is there.
    pub sites: HashMap<u32, u32>,
    /// Those that are no valid expression.
    pub invalid: Vec<u32>,
}

impl Tree {
    /// The tracked files of a repository.
    pub fn read(root: &Path) -> Result<Self> {
        let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
        let names = String::from_utf8(output.stdout)?;
        let mut files = BTreeMap::new();
        for name in names.split_terminator('\0') {
            // A file that was removed without telling git is no part of the tree.
            if let Ok(content) = fs::read(root.join(name)) {
                files.insert(PathBuf::from(name), content);
            }
        }
        Ok(Self(files))
    }

    /// Writes the tree with faults built in, all but those of some numbers.
    ///
    /// Files that would not change are not written, so that nothing is compiled twice; others in the folder are removed.
    pub fn write(&self, folder: &Path, faults: &[Fault], without: &BTreeSet<u32>) -> Result<Built> {
        let mut files = self.0.clone();
        let mut built = Built { sites: HashMap::new(), invalid: Vec::new() };
        let names: BTreeSet<&str> = faults.iter().map(|fault| fault.file.as_str()).collect();
        for name in names {
            let content = files.get_mut(Path::new(name)).ok_or_else(|| format!("{name} is not tracked"))?;
            let here = faults.iter().filter(|fault| fault.file == name && !without.contains(&fault.number));
            let rewritten = rewrite(std::str::from_utf8(content)?, here)?;
            *content = rewritten.text.into_bytes();
            built.sites.extend(rewritten.sites);
            built.invalid.extend(rewritten.invalid);
        }
        add_switch(&mut files, faults.len())?;
        synchronize(folder, &files)?;
        Ok(built)
    }
}

/// Adds the module that tells which fault is active, and makes the copy a workspace of its own.
fn add_switch(files: &mut BTreeMap<PathBuf, Vec<u8>>, faults: usize) -> Result<()> {
    let switch = format!(
        "{SWITCH}\n/// Sites are named by faults, which are numbered from 1.\nconst SITES: usize = {};\n",
        faults + 1
    );
    files.insert("src/fault.rs".into(), switch.into_bytes());
    let root = files.get_mut(Path::new("src/lib.rs")).ok_or("no src/lib.rs")?;
    // Lints that are errors stay so: they are for cargo-mutants too.
    *root = [b"#![allow(warnings)]\n", &root[..], b"\nmod fault;\n"].concat();
    let manifest = files.get_mut(Path::new("Cargo.toml")).ok_or("no Cargo.toml")?;
    manifest.extend(b"\n[workspace]\n");
    Ok(())
}

fn synchronize(folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    fs::create_dir_all(folder)?;
    remove_others(folder, folder, files)?;
    for (name, content) in files {
        let path = folder.join(name);
        if fs::read(&path).is_ok_and(|old| old == *content) {
            continue;
        }
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(path, content)?;
    }
    Ok(())
}

fn remove_others(root: &Path, folder: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(root, &path, files)?;
        } else if !files.contains_key(path.strip_prefix(root)?) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
