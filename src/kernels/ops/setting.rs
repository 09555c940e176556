//! Refusal of a setting that is out of range.

use crate::error::{Argument, Error};
use crate::simd::scalar::Element;

/// # Errors
/// [`Error::Setting`] for a setting that is out of range, or not finite in `T`.
pub(crate) fn check_setting<T: Element>(argument: Argument, value: f64, in_range: bool) -> Result<(), Error> {
    if in_range && T::holds(value) { Ok(()) } else { Err(Error::Setting { argument, value }) }
}
