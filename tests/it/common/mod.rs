//! Code that several test files share.

pub mod bounds;
pub mod case;
mod isas;
mod numbers;
#[cfg(feature = "files")]
mod temporary_file;
mod temporary_folder;

use std::ops::ControlFlow;

use fuseprop::{Element, EpochReport, Trainer};

pub use isas::isas;
pub use numbers::{gradients, parameters};
#[cfg(feature = "files")]
pub use temporary_file::TemporaryFile;
pub use temporary_folder::TemporaryFolder;

/// The callback of a fit that runs to its last epoch.
pub fn go_on<T: Element>(_: &mut Trainer<T>, _: &EpochReport) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
