//! Files that are whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, FileOperation};

/// Writes a file so that a reader, or a system that comes back after a crash, sees all of it or what was
/// there before: a temporary file in the same folder, synced, renamed over the old one, and the folder
/// synced. If only the last fails, the new file is there already.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_on(&System, path, bytes)
}

/// What is asked of a file system, so that a test can have it fail.
trait Disk {
    type File: Write;
    /// A new file, which must not be there yet.
    fn create(&self, path: &Path) -> io::Result<Self::File>;
    fn sync(&self, file: &Self::File) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The operating system's.
struct System;

impl Disk for System {
    type File = File;

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    /// Where a folder can be opened at all.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if cfg!(not(unix)) {
            return Ok(());
        }
        File::open(folder)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

fn write_on<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let (temporary, mut file) = create_beside(disk, path)?;
    let written = file.write_all(bytes).and_then(|()| disk.sync(&file));
    // Some systems rename only files that are closed.
    drop(file);
    let renamed = match written {
        Ok(()) => {
            disk.rename(&temporary, path).map_err(|error| failed(FileOperation::Rename, &temporary, &error))
        }
        Err(error) => Err(failed(FileOperation::Write, &temporary, &error)),
    };
    if renamed.is_err() {
        // What failed first is what the caller must know.
        let _ = disk.remove(&temporary);
        return renamed;
    }
    // A rename is safe only when the folder that holds the name is written.
    disk.sync_folder(folder_of(path)).map_err(|error| failed(FileOperation::SyncFolder, path, &error))
}

pub(super) fn failed(operation: FileOperation, path: &Path, error: &io::Error) -> Error {
    Error::File { operation, path: path.display().to_string(), kind: error.kind() }
}

/// A new file beside another. One that a killed process has left is passed over: it may belong to a process
/// elsewhere.
fn create_beside<D: Disk>(disk: &D, path: &Path) -> Result<(PathBuf, D::File), Error> {
    loop {
        let temporary = temporary_beside(path);
        match disk.create(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(FileOperation::Write, &temporary, &error)),
        }
    }
}

/// A name that no other save of this process uses: the process and a count of its saves are in it.
fn temporary_beside(path: &Path) -> PathBuf {
    static SAVES: AtomicUsize = AtomicUsize::new(0);
    let count = SAVES.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{count}.tmp", std::process::id()));
    path.with_file_name(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    /// Writes at most this number of bytes at a time, as a disk that is nearly full may.
    const SHORT: usize = 7;

    /// The system's disk, of which one operation fails.
    #[derive(Clone)]
    struct Failing {
        operations: Rc<RefCell<Vec<&'static str>>>,
        fails: usize,
        error: io::ErrorKind,
    }

    impl Failing {
        fn new(fails: usize, error: io::ErrorKind) -> Self {
            Self { operations: Rc::default(), fails, error }
        }

        fn enter(&self, operation: &'static str) -> io::Result<()> {
            let mut operations = self.operations.borrow_mut();
            operations.push(operation);
            if operations.len() - 1 == self.fails { Err(self.error.into()) } else { Ok(()) }
        }
    }

    struct FailingFile {
        disk: Failing,
        file: File,
    }

    impl Write for FailingFile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.disk.enter("write")?;
            self.file.write(&bytes[..bytes.len().min(SHORT)])
        }

        fn flush(&mut self) -> io::Result<()> {
            self.file.flush()
        }
    }

    impl Disk for Failing {
        type File = FailingFile;

        fn create(&self, path: &Path) -> io::Result<FailingFile> {
            self.enter("create")?;
            Ok(FailingFile { disk: self.clone(), file: System.create(path)? })
        }

        fn sync(&self, file: &FailingFile) -> io::Result<()> {
            self.enter("sync")?;
            System.sync(&file.file)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.enter("rename")?;
            System.rename(from, to)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            self.enter("sync_folder")?;
            System.sync_folder(folder)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            System.remove(path)
        }
    }

    /// A folder with one file in it, whose name it also gives.
    fn folder(test: &str, old: &[u8]) -> (PathBuf, PathBuf) {
        let folder = std::env::temp_dir().join(format!("fuseprop-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("model");
        fs::write(&path, old).unwrap();
        (folder, path)
    }

    #[test]
    fn a_name_alone_is_in_the_folder_at_hand() {
        let cases =
            [("model", "."), ("./model", "."), ("a/model", "a"), ("a/b/model", "a/b"), ("/model", "/")];
        for (path, folder) in cases {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder), "{path}");
        }
    }

    #[test]
    fn a_file_is_synced_before_its_name_and_the_name_before_the_end() {
        let (folder, path) = folder("order", b"old");
        let disk = Failing::new(usize::MAX, io::ErrorKind::Other);
        write_on(&disk, &path, b"ten bytes!").unwrap();
        let order = ["create", "write", "write", "sync", "rename", "sync_folder"];
        assert_eq!(disk.operations.borrow()[..], order);
        assert_eq!(fs::read(&path).unwrap(), b"ten bytes!");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_disk_that_fails_at_any_operation_leaves_a_whole_file_and_no_other() {
        let (old, new) = (b"what was there".repeat(9), b"what is to come".repeat(11));
        let (folder, path) = folder("failing", &old);
        let mut cases = 0;
        for error in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::Other] {
            for fails in 0.. {
                fs::write(&path, &old).unwrap();
                let disk = Failing::new(fails, error);
                let result = write_on(&disk, &path, &new);
                let operations = disk.operations.borrow();
                if operations.len() <= fails {
                    assert_eq!(result, Ok(()));
                    break;
                }
                let Err(Error::File { kind, operation, .. }) = result else {
                    panic!("operation {fails} failed and was not told");
                };
                assert_eq!(kind, error);
                // Past the rename the new file is there, and only its name may be lost in a crash.
                let renamed = operation == FileOperation::SyncFolder;
                assert_eq!(renamed, operations[fails] == "sync_folder");
                assert_eq!(fs::read(&path).unwrap(), if renamed { &new[..] } else { &old[..] });
                assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a temporary file is left");
                cases += 1;
            }
        }
        println!("RESULT failing_disks cases={cases} torn=0 left=0");
        assert!(cases > 3 * 20, "{cases}");
        fs::remove_dir_all(folder).unwrap();
    }

    /// The operating system's own refusal.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_told_and_nothing_is_left() {
        // Every write to this device fails as one to a full disk does.
        struct Full;
        impl Disk for Full {
            type File = File;
            fn create(&self, _: &Path) -> io::Result<File> {
                OpenOptions::new().write(true).open("/dev/full")
            }
            fn sync(&self, file: &File) -> io::Result<()> {
                System.sync(file)
            }
            fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
                System.rename(from, to)
            }
            fn sync_folder(&self, folder: &Path) -> io::Result<()> {
                System.sync_folder(folder)
            }
            fn remove(&self, path: &Path) -> io::Result<()> {
                System.remove(path)
            }
        }
        let (folder, path) = folder("full", b"old");
        let result = write_on(&Full, &path, b"new");
        assert!(matches!(
            result,
            Err(Error::File { kind: io::ErrorKind::StorageFull, operation: FileOperation::Write, .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        fs::remove_dir_all(folder).unwrap();
    }
}
