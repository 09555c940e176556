//! Operations of the file system that an error names.

use core::fmt;

/// What failed, in an [`Error::File`](crate::Error::File).
///
/// # Examples
///
/// ```
/// use fuseprop::FileOperation;
///
/// assert_eq!(format!("cannot {} a.safetensors", FileOperation::Read), "cannot read a.safetensors");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileOperation {
    /// A file was to be read.
    Read,
    /// The temporary file of a save was to be created, written or synced.
    Write,
    /// The temporary file of a save was to take its name.
    Rename,
    /// The folder of a saved file was to be synced. The new file is there, but a crash may lose its name.
    SyncFolder,
}

impl fmt::Display for FileOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Rename => "rename",
            Self::SyncFolder => "sync the folder of",
        })
    }
}
