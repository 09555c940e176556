//! Code that several test files share.

pub mod bounds;
pub mod case;
mod isas;

pub use isas::isas;
