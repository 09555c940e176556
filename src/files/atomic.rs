//! Files that are whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;

/// Writes a file so that a reader, or a system that comes back after a crash, sees all of it or what was there
/// before: a temporary file in the same folder, synced, renamed over the old one, and the folder synced. If only the last
/// fails, the new file is there already.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let (temporary, file) = create_beside(path)?;
    let written = fill(file, bytes).map_err(|error| failed("write", &temporary, &error));
    let renamed = written
        .and_then(|()| fs::rename(&temporary, path).map_err(|error| failed("rename", &temporary, &error)));
    if renamed.is_err() {
        // What failed first is what the caller must know.
        let _ = fs::remove_file(&temporary);
        return renamed;
    }
    sync_folder(path).map_err(|error| failed("sync the folder of", path, &error))
}

pub fn failed(operation: &'static str, path: &Path, error: &io::Error) -> Error {
    Error::File { operation, path: path.display().to_string(), kind: error.kind() }
}

/// A new file beside another. One that a killed process has left is passed over: it may belong to a process elsewhere.
fn create_beside(path: &Path) -> Result<(PathBuf, File), Error> {
    loop {
        let temporary = temporary_beside(path);
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("write", &temporary, &error)),
        }
    }
}

fn fill(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

/// A name that no other save of this process uses: the process and a count of its saves are in it.
fn temporary_beside(path: &Path) -> PathBuf {
    static SAVES: AtomicU64 = AtomicU64::new(0);
    let count = SAVES.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    path.with_file_name(name)
}

/// A rename is safe only when the folder that holds the name is written, where a folder can be opened at all.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}
