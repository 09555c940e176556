//! A table of cars.

use std::path::Path;

/// Cylinders, displacement, horsepower, weight, acceleration, year, and one for each of three origins.
pub(super) const FEATURES: usize = 9;
const COLUMNS: usize = 8;
const ORIGINS: usize = 3;

/// Rows with what is to be predicted of them.
#[derive(Default)]
pub(super) struct Table {
    /// `[rows, FEATURES]`.
    pub x: Vec<f32>,
    /// Miles per gallon, `[rows]`.
    pub y: Vec<f32>,
}

impl Table {
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let failed = |what: &dyn std::fmt::Display| format!("cannot read {}: {what}", path.display());
        let mut reader = csv::Reader::from_path(path).map_err(|error| failed(&error))?;
        let mut table = Self::default();
        for (line, record) in reader.records().enumerate() {
            let record = record.map_err(|error| failed(&error))?;
            let numbers: Vec<f32> = record.iter().filter_map(|word| word.parse().ok()).collect();
            let &[y, ref features @ .., origin] = &numbers[..] else {
                return Err(failed(&format!("row {} is empty", line + 1)));
            };
            if numbers.len() != COLUMNS || !(1.0..=ORIGINS as f32).contains(&origin) {
                return Err(failed(&format!(
                    "row {} is not {COLUMNS} numbers, the last an origin",
                    line + 1
                )));
            }
            table.y.push(y);
            table.x.extend_from_slice(features);
            table.x.extend((1..=ORIGINS).map(|n| f32::from(u8::from(origin == n as f32))));
        }
        // Enough rows that each part of a division has some.
        if table.len() < 10 { Err(failed(&"there are fewer than 10 rows")) } else { Ok(table) }
    }

    pub(super) fn len(&self) -> usize {
        self.y.len()
    }

    /// 70, 15 and 15 per cent of the rows, at random.
    pub(super) fn divide(&self, seed: u64) -> [Self; 3] {
        let mut order: Vec<usize> = (0..self.len()).collect();
        let mut state = seed;
        for last in (1..order.len()).rev() {
            // Knuth's generator, of which the upper half is good enough for a shuffle.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(last, (state >> 33) as usize % (last + 1));
        }
        let (test, rest) = order.split_at(self.len() * 3 / 20);
        let (valid, train) = rest.split_at(self.len() * 3 / 20);
        [train, valid, test].map(|rows| Self {
            x: rows.iter().flat_map(|&r| &self.x[r * FEATURES..][..FEATURES]).copied().collect(),
            y: rows.iter().map(|&r| self.y[r]).collect(),
        })
    }
}
