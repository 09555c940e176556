//! One generator: SplitMix64, by state and by counter (Steele, Lea and Flood 2014).
//!
//! It is the crate's own, and its normal numbers come by [`float_math`](crate::float_math): a seed means the
//! same numbers in every version of every dependency and on every system.

use crate::float_math::{ln, sin_cos};

/// Increment of the state: the odd number next to `2^64` divided by the golden ratio.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finisher, from a state to a number that looks random: variant 13 of MurmurHash3's (Stafford 2011).
#[inline(always)]
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The `n`-th number, from 1, of the generator with this seed: `mix(seed + n GOLDEN_GAMMA)`.
///
/// Every number can be drawn without the ones before it, so that threads may draw in any order.
#[inline(always)]
pub(crate) fn draw(seed: u64, n: u64) -> u64 {
    mix(seed.wrapping_add(n.wrapping_mul(GOLDEN_GAMMA)))
}

/// The generator by state: one number after the other.
#[derive(Clone, Debug)]
pub(crate) struct SplitMix64 {
    state: u64,
    /// The second normal number of a pair.
    spare: Option<f64>,
}

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, spare: None }
    }

    /// The generator of one of a seed's streams, such as an epoch's; stream 0 is the seed's own.
    ///
    /// Multiples of [`GOLDEN_GAMMA`] are where the seed's own generator passes: rotated, they lie elsewhere.
    pub(crate) fn of_stream(seed: u64, stream: u64) -> Self {
        Self::new(seed ^ stream.wrapping_mul(GOLDEN_GAMMA).rotate_left(32))
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix(self.state)
    }

    /// Uniform in `(0, 1]`: the middles of `2^53` equal intervals, rounded to `f64`, which gives 1 for the
    /// last.
    pub(crate) fn uniform(&mut self) -> f64 {
        unit_interval(self.next_u64())
    }

    /// Uniform in `0..n`, by the high bits of a product; the bias is below `n / 2^64` (Lemire 2019).
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Standard normal (Box and Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * ln(self.uniform())).sqrt();
        let (sin, cos) = sin_cos(2.0 * core::f64::consts::PI * self.uniform());
        self.spare = Some(radius * sin);
        radius * cos
    }
}

/// The middle of one of `2^53` equal intervals of 0 to 1, whose number is the upper 53 bits.
fn unit_interval(bits: u64) -> f64 {
    ((bits >> 11) as f64 + 0.5) * (1.0 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_those_of_splitmix_and_independent() {
        // Of its authors' implementation.
        let mut random = SplitMix64::new(1_234_567);
        assert_eq!(
            [random.next_u64(), random.next_u64(), random.next_u64()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,]
        );
        // The middle of an interval: of the first number's upper 53 bits, an odd number of halves.
        let halves = 2 * (6_457_827_717_110_365_317_u64 >> 11) + 1;
        assert_eq!(SplitMix64::new(1_234_567).uniform(), halves as f64 / (1_u64 << 54) as f64);
        let mut counts = [0; 7];
        (0..70_000).for_each(|_| counts[random.below(7)] += 1);
        assert!(counts.iter().all(|&count: &i32| (count - 10_000).abs() < 500), "{counts:?}");
        // Normal numbers come in pairs.
        let pairs: Vec<(f64, f64)> = (0..40_000).map(|_| (random.normal(), random.normal())).collect();
        let along = pairs.iter().map(|(a, b)| a * b).sum::<f64>() / 4e4;
        let of_squares = pairs.iter().map(|(a, b)| (a * a - 1.0) * (b * b - 1.0)).sum::<f64>() / 4e4;
        assert!(along.abs() < 0.025 && of_squares.abs() < 0.05, "{along}, {of_squares}");
        let seconds = pairs.iter().map(|(_, b)| b * b).sum::<f64>() / 4e4;
        assert!((seconds - 1.0).abs() < 0.035, "{seconds}");
        let numbers: Vec<f64> = (0..40_000).map(|_| random.uniform()).collect();
        let (lowest, highest) =
            numbers.iter().fold((1.0_f64, 0.0_f64), |(low, high), &x| (low.min(x), high.max(x)));
        assert!(lowest > 0.0 && lowest < 1e-3 && highest < 1.0 && highest > 0.999);
        assert!((numbers.iter().sum::<f64>() / 4e4 - 0.5).abs() < 0.008);
    }

    #[test]
    fn numbers_by_counter_are_those_by_state() {
        for seed in [0, 1, 1_234_567, u64::MAX] {
            let mut random = SplitMix64::new(seed);
            assert!((1..100).all(|n| draw(seed, n) == random.next_u64()), "{seed}");
        }
    }

    #[test]
    fn the_ends_of_the_unit_interval_are_half_a_step_and_1() {
        let half_step = 1.0 / (1_u64 << 54) as f64;
        assert_eq!([unit_interval(0), unit_interval(0x7ff)], [half_step; 2]);
        assert_eq!([unit_interval(0x800), unit_interval(u64::MAX)], [3.0 * half_step, 1.0]);
    }

    #[test]
    fn streams_of_a_seed_are_different_generators() {
        let first = |seed, stream| SplitMix64::of_stream(seed, stream).next_u64();
        assert_eq!(first(7, 0), SplitMix64::new(7).next_u64());
        let mut firsts: Vec<u64> = (0..1_000).map(|stream| first(7, stream)).collect();
        // Nor does a stream start where the seed's own generator comes by.
        let mut own = SplitMix64::new(7);
        own.next_u64();
        firsts.extend((0..1_000).map(|_| own.next_u64()));
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 2_000);
    }

    #[test]
    fn a_seed_gives_the_same_normal_numbers_on_every_system() {
        let mut random = SplitMix64::new(11);
        let hash = (0..100_000).fold(0, |hash, _| draw(hash, random.normal().to_bits()));
        assert_eq!(hash, 0x0659_26dc_6eb1_1622, "{hash:#018x}");
    }
}
