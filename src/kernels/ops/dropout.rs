//! Dropout: every output of a layer is multiplied by 0, at random, or by `1 / (1 - rate)`.

use crate::kernels::matrix::panels::PanelsMut;
use crate::rng::{draw, mix};
use crate::simd::lanes::Lanes;
use crate::simd::scalar::Element;
use crate::simd::scalar::Line;
use crate::simd::scalar::Scalar;

/// The random bits of a pass: functions of a counter, without a state, so that they do not depend on threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DropoutRng {
    key: u64,
    /// The row of the batch that the next row of a mask belongs to.
    first_row: usize,
}

/// The factors of one layer's outputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mask {
    key: u64,
    first_row: usize,
    /// Random numbers below it leave an output out.
    threshold: u32,
    scale: f64,
}

impl DropoutRng {
    /// The random bits of a pass, of which the first has number 1.
    pub(crate) fn new(seed: u64, pass: u64) -> Self {
        Self { key: mix(mix(seed).wrapping_add(pass)), first_row: 0 }
    }

    /// The same from a row of the batch on.
    pub(crate) fn at_row(self, first_row: usize) -> Self {
        Self { first_row, ..self }
    }

    /// The mask of a layer, for a dropout rate below 1.
    pub(crate) fn mask(self, layer: usize, rate: f64) -> Mask {
        Mask {
            key: mix(self.key.wrapping_add(layer as u64)),
            first_row: self.first_row,
            // Saturates just below 1.
            threshold: (rate * 4_294_967_296.0).round() as u32,
            scale: 1.0 / (1.0 - rate),
        }
    }
}

/// `y = y mask`, of which every element is 0 or `1 / (1 - rate)`.
///
/// Features `2 i` and `2 i + 1` of row `r` get the low and the high half of the `(2^32 r + i)`-th number of
/// the SplitMix64 generator (Steele, Lea and Flood 2014) that starts from the key.
pub(crate) fn apply<L: Lanes>(l: L, mut y: PanelsMut<'_, L::Element>, mask: Mask) {
    l.vectorize(
        #[inline(always)]
        || {
            let lanes = L::Element::LANES;
            let scale = L::Element::from_f64(mask.scale);
            for p in 0..y.panels() {
                for (r, line) in y.panel(p).iter_mut().enumerate() {
                    let first = ((mask.first_row + r) as u64) << 32 | (p * lanes / 2) as u64;
                    let mut factors = <L::Element as Scalar>::Line::ZERO;
                    for (i, pair) in factors.as_mut_slice().chunks_exact_mut(2).enumerate() {
                        let counter = first.wrapping_add(i as u64 + 1);
                        let bits = draw(mask.key, counter);
                        let keep =
                            |bits: u64| if bits as u32 >= mask.threshold { scale } else { L::Element::ZERO };
                        (pair[0], pair[1]) = (keep(bits), keep(bits >> 32));
                    }
                    let product = l.mul(l.load(line), l.load(&factors));
                    l.store(line, product);
                }
            }
        },
    );
}
