//! Numbers by name, that another library has computed.

use std::collections::HashMap;

pub(crate) struct Fixture(HashMap<&'static str, Vec<f64>>);

impl Fixture {
    /// Each line is a name and its numbers.
    pub(crate) fn read(text: &'static str) -> Self {
        let lines = text.lines().map(|line| {
            let mut words = line.split(' ');
            let name = words.next().unwrap();
            (name, words.map(|word| word.parse().unwrap()).collect())
        });
        Self(lines.collect())
    }

    pub(crate) fn get(&self, name: &str) -> &[f64] {
        self.0.get(name).unwrap_or_else(|| panic!("{name} is not in the file"))
    }
}

/// A few hundred roundings of numbers of order 1, in either library.
#[track_caller]
pub(crate) fn assert_close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(expected.iter().any(|&x| x != 0.0), "{what}: nothing to compare");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let bound = 5e-14 * expected.abs().max(1.0);
        assert!((found - expected).abs() <= bound, "{what}: {i}: {found} is not {expected}");
    }
}
