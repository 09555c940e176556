//! What people have fed to such libraries, with the right value of each.

#[cfg(feature = "files")]
mod files;
mod kept;
mod threads;
mod training;
