//! Which elements dropout leaves out.

/// Dropout after one layer, or of the inputs, in one training pass.
///
/// # Examples
///
/// See [`dropout_factors`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Dropout {
    /// The trainer's seed.
    pub seed: u64,
    /// The number of the pass, from 1.
    pub pass: u64,
    /// The layer, from 0. Dropout of the inputs has the number after the last layer.
    pub layer: usize,
    /// The probability of an element to be left out.
    pub rate: f64,
}

impl Dropout {
    /// Dropout of a trainer with this seed in its first pass, after its first layer.
    ///
    /// # Examples
    ///
    /// See [`dropout_factors`].
    #[must_use]
    pub fn new(seed: u64, rate: f64) -> Self {
        Self { seed, pass: 1, layer: 0, rate }
    }

    /// The same in another pass.
    ///
    /// # Examples
    ///
    /// See [`dropout_factors`].
    #[must_use]
    pub fn pass(self, pass: u64) -> Self {
        Self { pass, ..self }
    }

    /// The same after another layer.
    ///
    /// # Examples
    ///
    /// See [`dropout_factors`].
    #[must_use]
    pub fn layer(self, layer: usize) -> Self {
        Self { layer, ..self }
    }
}

/// What dropout multiplies the outputs `[B, O]` of one layer by: 0 or `1 / (1 - rate)`.
///
/// With `mix` the finisher of SplitMix64 and `G = 0x9e3779b97f4a7c15`, a layer's key is
/// `mix(mix(mix(seed) + pass) + layer)`, and elements `2 i` and `2 i + 1` of row `r` are left out if the low
/// or the high half of `mix(key + (2^32 r + i + 1) G)` is below `2^32 rate`.
///
/// # Examples
///
/// ```
/// use fuseprop::reference::{Dropout, dropout_factors};
///
/// let dropout = Dropout::new(7, 0.5);
/// let factors = dropout_factors(dropout, 100, 10);
/// assert!(factors.iter().all(|&factor| factor == 0.0 || factor == 2.0));
/// assert!((factors.iter().sum::<f64>() / 1000.0 - 1.0).abs() < 0.1);
/// // Other elements in the next pass, and after the next layer.
/// assert_ne!(factors, dropout_factors(dropout.pass(2), 100, 10));
/// assert_ne!(factors, dropout_factors(dropout.layer(1), 100, 10));
/// ```
#[must_use]
pub fn dropout_factors(dropout: Dropout, batch: usize, outputs: usize) -> Vec<f64> {
    let Dropout { seed, pass, layer, rate } = dropout;
    fn mix(z: u64) -> u64 {
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d049bb133111eb);
        z ^ (z >> 31)
    }
    let key = mix(mix(mix(seed).wrapping_add(pass)).wrapping_add(layer as u64));
    let mut factors = Vec::new();
    for row in 0..batch as u64 {
        for o in 0..outputs as u64 {
            let counter = (row << 32) + o / 2 + 1;
            let number = mix(key.wrapping_add(counter.wrapping_mul(0x9e3779b97f4a7c15)));
            let half = if o % 2 == 0 { number & 0xffff_ffff } else { number >> 32 };
            factors.push(if (half as f64) < (rate * 4_294_967_296.0).round() {
                0.0
            } else {
                1.0 / (1.0 - rate)
            });
        }
    }
    factors
}
