//! Passes over lines and rows.

use crate::kernels::matrix::panels::PanelsMut;
use crate::simd::lanes::Lanes;
use crate::simd::lanes::LineOf;
use crate::simd::scalar::Element;
use crate::simd::scalar::elements;

/// `x = (x - mean) / std`, a line of each for every panel; without means `x = x / std`.
pub(crate) fn scale<L: Lanes>(
    l: L,
    mut x: PanelsMut<'_, L::Element>,
    means: Option<&[LineOf<L>]>,
    stds: &[LineOf<L>],
) {
    l.vectorize(
        #[inline(always)]
        || {
            for p in 0..x.panels() {
                let mean = means.map_or(l.zero(), |means| l.load(&means[p]));
                let std = l.load(&stds[p]);
                for line in x.panel(p) {
                    let v = l.div(l.sub(l.load(line), mean), std);
                    l.store(line, v);
                }
            }
        },
    );
}

/// `to += from`.
pub(crate) fn add<L: Lanes>(l: L, to: &mut [LineOf<L>], from: &[LineOf<L>]) {
    l.vectorize(
        #[inline(always)]
        || {
            for (to, from) in to.iter_mut().zip(from) {
                l.store(to, l.add(l.load(to), l.load(from)));
            }
        },
    );
}

/// The sum of all squares, in `f64`: sixteen running sums, then halves are added until one is left.
pub(crate) fn sum_of_squares<L: Lanes>(l: L, lines: &[LineOf<L>]) -> f64 {
    l.vectorize(
        #[inline(always)]
        || {
            let mut sums = [0.0; 16];
            for elements in elements::<L::Element>(lines).chunks(sums.len()) {
                for (sum, x) in sums.iter_mut().zip(elements) {
                    *sum += x.to_f64() * x.to_f64();
                }
            }
            let mut count = sums.len() / 2;
            while count > 0 {
                for i in 0..count {
                    sums[i] += sums[i + count];
                }
                count /= 2;
            }
            sums[0]
        },
    )
}
