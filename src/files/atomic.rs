//! Files that are whole or not there.

use std::ffi::OsString;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::{Error, FileOperation};

/// Writes a file so that a reader, or a system that comes back after a crash, sees all of it or what was
/// there before: a temporary file in the same folder, synced, renamed over the old one, and the folder
/// synced. If only the last fails, the new file is there already. Where a disk cannot sync, nothing is lost
/// by going on: the file is as safe there as any other.
///
/// A symbolic link stays, and the file that it leads to is replaced; a file keeps its permissions. What is no
/// file, as a pipe or a device, or an open file by its name in `/proc`, is written to where it is.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let target = Target::of(path).map_err(|error| failed(FileOperation::Write, path, &error))?;
    match target {
        Target::Stream { is_file } => {
            write_stream(path, is_file, bytes).map_err(|error| failed(FileOperation::Write, path, &error))
        }
        Target::File { path, old } => write_on(&System { old }, &path, bytes),
    }
}

/// What a path leads to.
enum Target {
    /// A file, or a place for one, past all symbolic links.
    File { path: PathBuf, old: Option<Metadata> },
    /// What cannot be replaced: a pipe, a device, or a file that a process has open.
    Stream { is_file: bool },
}

impl Target {
    /// Symbolic links in a row that Linux follows.
    const MOST_LINKS: usize = 40;

    fn of(path: &Path) -> io::Result<Self> {
        let old = match fs::metadata(path) {
            Ok(old) if !old.is_file() && !old.is_dir() => return Ok(Self::Stream { is_file: false }),
            Ok(old) => Some(old),
            // Nothing is there, or a link to nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let mut path = path.to_owned();
        for _ in 0..Self::MOST_LINKS {
            let Ok(leads_to) = fs::read_link(&path) else { break };
            let folder = folder_of(&path);
            // What these links say is no path, but the name of something open: /dev/stdout, /dev/fd/3.
            if cfg!(unix) && fs::canonicalize(folder).is_ok_and(|folder| folder.starts_with("/proc")) {
                return Ok(Self::Stream { is_file: old.is_some_and(|old| old.is_file()) });
            }
            path = folder.join(leads_to);
        }
        Ok(Self::File { path, old })
    }
}

/// Writes to what is there; after what is in a file, which may be a log that standard output goes to. Pipes
/// and terminals cannot be synced.
fn write_stream(path: &Path, is_file: bool, bytes: &[u8]) -> io::Result<()> {
    let mut stream = OpenOptions::new().write(true).append(is_file).open(path)?;
    stream.write_all(bytes)?;
    stream.sync_all().or_else(|error| if cannot_sync(&error) { Ok(()) } else { Err(error) })
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
    /// Whether a rename that is refused so may succeed a moment later.
    fn may_pass(&self, error: &io::Error) -> bool;
}

/// The operating system's.
struct System {
    /// The file that is replaced, for its permissions.
    #[cfg_attr(not(unix), expect(dead_code, reason = "permissions are kept on Unix alone"))]
    old: Option<Metadata>,
}

impl Disk for System {
    type File = File;

    #[cfg(unix)]
    fn create(&self, path: &Path) -> io::Result<File> {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let Some(old) = &self.old else { return options.open(path) };
        // Nobody else can open it before it has the old file's permissions. Disks without any refuse to set
        // them, and only the superuser may give a file away.
        let file = options.mode(0o600).open(path)?;
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
            let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
        }
        let _ = file.set_permissions(old.permissions());
        Ok(file)
    }

    #[cfg(not(unix))]
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

    /// On Windows, where a virus scanner or an indexer holds a file for a moment: access denied, sharing
    /// violation, lock violation.
    fn may_pass(&self, error: &io::Error) -> bool {
        cfg!(windows) && matches!(error.raw_os_error(), Some(5 | 32 | 33))
    }
}

fn write_on<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let (temporary, mut file) = create_beside(disk, path)?;
    let written = file.write_all(bytes).and_then(|()| match disk.sync(&file) {
        Err(error) if cannot_sync(&error) => Ok(()),
        synced => synced,
    });
    // Some systems rename only files that are closed.
    drop(file);
    let renamed = match written {
        Ok(()) => {
            rename(disk, &temporary, path).map_err(|error| failed(FileOperation::Rename, &temporary, &error))
        }
        Err(error) => Err(failed(FileOperation::Write, &temporary, &error)),
    };
    if renamed.is_err() {
        // What failed first is what the caller must know.
        let _ = disk.remove(&temporary);
        return renamed;
    }
    // A rename is safe only when the folder that holds the name is written.
    match disk.sync_folder(folder_of(path)) {
        Err(error) if !cannot_sync_folder(&error) => Err(failed(FileOperation::SyncFolder, path, &error)),
        _ => Ok(()),
    }
}

/// Tries again after 1, 2, 4, .. 128 ms, a quarter of a second in all, what may pass.
fn rename<D: Disk>(disk: &D, from: &Path, to: &Path) -> io::Result<()> {
    for pause in (0..8).map(|n| Duration::from_millis(1 << n)) {
        match disk.rename(from, to) {
            Err(error) if disk.may_pass(&error) => std::thread::sleep(pause),
            renamed => return renamed,
        }
    }
    disk.rename(from, to)
}

/// Whether a disk refuses to sync because it has no such operation (exFAT, FUSE, SMB, pipes), as against one
/// that failed: EINVAL, ENOTSUP, ENOSYS, ENOTTY.
fn cannot_sync(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
        || cfg!(unix) && error.raw_os_error().is_some_and(|code| ENOTSUP.contains(&code) || code == ENOTTY)
}

/// The same of a folder, which may also be one that cannot be read or opened (EACCES, EPERM, EISDIR, EBADF).
fn cannot_sync_folder(error: &io::Error) -> bool {
    cannot_sync(error)
        || matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory)
        || cfg!(unix) && error.raw_os_error() == Some(EBADF)
}

// Which the standard library's kinds do not tell from a failure on every Unix.
const ENOTTY: i32 = 25;
const EBADF: i32 = 9;
/// On Linux, and the two of macOS and the BSDs.
const ENOTSUP: [i32; 3] = [95, 45, 102];

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

/// A name that no other save of this process uses: the process and a count of its saves are in it. Of a long
/// name it has the start alone, for disks allow 255 bytes, encrypted ones 143.
fn temporary_beside(path: &Path) -> PathBuf {
    const KEPT: usize = 24;
    static SAVES: AtomicUsize = AtomicUsize::new(0);
    let count = SAVES.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let start: String = name.chars().take(KEPT).collect();
    path.with_file_name(OsString::from(format!("{start}.{}-{count}.tmp", process_id())))
}

/// 0 on WebAssembly, which has none and where to ask for it is a panic.
fn process_id() -> u32 {
    if cfg!(target_family = "wasm") { 0 } else { std::process::id() }
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
    use std::time::Instant;

    use super::*;

    /// Writes at most this number of bytes at a time, as a disk that is nearly full may.
    const SHORT: usize = 7;

    const SYSTEM: System = System { old: None };

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
            Ok(FailingFile { disk: self.clone(), file: SYSTEM.create(path)? })
        }

        fn sync(&self, file: &FailingFile) -> io::Result<()> {
            self.enter("sync")?;
            SYSTEM.sync(&file.file)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.enter("rename")?;
            SYSTEM.rename(from, to)
        }

        fn sync_folder(&self, folder: &Path) -> io::Result<()> {
            self.enter("sync_folder")?;
            SYSTEM.sync_folder(folder)
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            SYSTEM.remove(path)
        }

        fn may_pass(&self, error: &io::Error) -> bool {
            SYSTEM.may_pass(error)
        }
    }

    /// The system's disk, which refuses to sync files and folders by these codes, and to rename for a time.
    #[derive(Default)]
    struct Refusing {
        file: Option<i32>,
        folder: Option<i32>,
        rename: Duration,
        may_pass: bool,
        first_rename: std::cell::OnceCell<Instant>,
    }

    impl Disk for Refusing {
        type File = File;

        fn create(&self, path: &Path) -> io::Result<File> {
            SYSTEM.create(path)
        }

        fn sync(&self, _: &File) -> io::Result<()> {
            self.file.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            if self.first_rename.get_or_init(Instant::now).elapsed() < self.rename {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            SYSTEM.rename(from, to)
        }

        fn sync_folder(&self, _: &Path) -> io::Result<()> {
            self.folder.map_or(Ok(()), |code| Err(io::Error::from_raw_os_error(code)))
        }

        fn remove(&self, path: &Path) -> io::Result<()> {
            SYSTEM.remove(path)
        }

        fn may_pass(&self, error: &io::Error) -> bool {
            self.may_pass && error.kind() == io::ErrorKind::PermissionDenied
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

    #[cfg(unix)]
    #[test]
    fn a_disk_that_cannot_sync_keeps_the_file_and_one_that_failed_is_told() {
        let (folder, path) = folder("cannot-sync", b"old");
        let written = |disk: Refusing| {
            fs::write(&path, b"old").unwrap();
            let result = write_on(&disk, &path, b"new");
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a temporary file is left");
            (result, fs::read(&path).unwrap())
        };
        // EINVAL, ENOTTY, ENOTSUP of three systems; of a folder also EPERM, EBADF, EACCES, EISDIR.
        let (none, also_folders) = ([22, 25, 95, 45, 102], [1, 9, 13, 21]);
        for code in none {
            let disk = Refusing { file: Some(code), folder: Some(code), ..Refusing::default() };
            assert_eq!(written(disk), (Ok(()), b"new".to_vec()), "{code}");
        }
        for code in also_folders {
            let disk = Refusing { folder: Some(code), ..Refusing::default() };
            assert_eq!(written(disk), (Ok(()), b"new".to_vec()), "{code}");
        }
        // EIO, ENOSPC.
        let failures = [5, 28];
        for code in failures.into_iter().chain(also_folders) {
            let (result, bytes) = written(Refusing { file: Some(code), ..Refusing::default() });
            assert!(matches!(result, Err(Error::File { operation: FileOperation::Write, .. })), "{code}");
            assert_eq!(bytes, b"old");
        }
        for code in failures {
            let (result, bytes) = written(Refusing { folder: Some(code), ..Refusing::default() });
            assert!(
                matches!(result, Err(Error::File { operation: FileOperation::SyncFolder, .. })),
                "{code}"
            );
            assert_eq!(bytes, b"new");
        }
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_rename_that_is_refused_for_a_moment_is_tried_again() {
        let (folder, path) = folder("refused", b"old");
        let refusing = |milliseconds, may_pass| {
            let rename = Duration::from_millis(milliseconds);
            Refusing { rename, may_pass, ..Refusing::default() }
        };
        let refused = |result| matches!(result, Err(Error::File { operation: FileOperation::Rename, .. }));
        assert!(refused(write_on(&refusing(80, false), &path, b"new")), "for good, on most systems");
        let start = Instant::now();
        assert!(refused(write_on(&refusing(u64::MAX, true), &path, b"new")), "it ends");
        assert!(start.elapsed() >= Duration::from_millis(200));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a temporary file is left");
        write_on(&refusing(80, true), &path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_temporary_name_is_short_however_long_the_name_is() {
        for name in ["m".repeat(255), "\u{1f9e0}".repeat(63), "model".to_owned()] {
            let temporary = temporary_beside(&Path::new("folder").join(&name));
            assert_eq!(temporary.parent(), Some(Path::new("folder")));
            assert!(temporary.file_name().unwrap().len() <= 143, "{temporary:?}");
        }
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
                SYSTEM.sync(file)
            }
            fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
                SYSTEM.rename(from, to)
            }
            fn sync_folder(&self, folder: &Path) -> io::Result<()> {
                SYSTEM.sync_folder(folder)
            }
            fn remove(&self, path: &Path) -> io::Result<()> {
                SYSTEM.remove(path)
            }
            fn may_pass(&self, error: &io::Error) -> bool {
                SYSTEM.may_pass(error)
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
