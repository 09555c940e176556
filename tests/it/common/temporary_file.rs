//! The path of a file that is removed when the test is over.

use std::path::PathBuf;

pub(crate) struct TemporaryFile(pub PathBuf);

impl TemporaryFile {
    /// Tests of one process run side by side: each name is given once.
    pub(crate) fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("fuseprop-{name}-{}", std::process::id())))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
