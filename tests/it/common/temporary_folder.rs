//! A folder that is removed when the test is over.

use std::path::PathBuf;

pub(crate) struct TemporaryFolder(pub PathBuf);

impl TemporaryFolder {
    /// Tests of one process run side by side: each name is given once.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fuseprop-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file; its path.
    pub(crate) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
