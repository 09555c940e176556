//! Code that several test files share.

pub(crate) mod bounds;
pub(crate) mod case;
pub(crate) mod every;
pub(crate) mod fixture;
pub(crate) mod graphs;
mod isas;
mod numbers;
#[cfg(feature = "files")]
mod temporary_file;
mod temporary_folder;

use std::ops::ControlFlow;

use fuseprop::{Element, EpochReport, Trainer};

pub(crate) use isas::isas;
pub(crate) use numbers::{gradients, parameters};
#[cfg(feature = "files")]
pub(crate) use temporary_file::TemporaryFile;
pub(crate) use temporary_folder::TemporaryFolder;

/// The callback of a fit that runs to its last epoch.
pub(crate) fn go_on<T: Element>(_: &mut Trainer<T>, _: &EpochReport) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
