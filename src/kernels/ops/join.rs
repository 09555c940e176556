//! Layers that join what others put out: sums and concatenations, and the way back of their gradients.
//!
//! | layer | forward | gradient of a source |
//! |---|---|---|
//! | sum | [`sum`]: `z = a + b` | the gradient of the sum |
//! | concatenation | [`write_columns`]: `z = [a, b, ..]` | [`read_columns`]: its columns of the gradient |
//!
//! A column that starts in the middle of a line is moved by way of two lines in memory: one store and one
//! load that no line bounds.

use crate::kernels::matrix::Beta;
use crate::kernels::matrix::panels::{Panels, PanelsMut, clear_padding};
use crate::kernels::ops::activation::{Activation, activate, activate_rows};
use crate::simd::lanes::{Lanes, LineOf};
use crate::simd::scalar::{Line, Scalar, elements, elements_mut};

/// `y = a + b`, padding lanes too.
pub(crate) fn sum<L: Lanes>(
    l: L,
    y: PanelsMut<'_, L::Element>,
    a: Panels<'_, L::Element>,
    b: Panels<'_, L::Element>,
) {
    l.vectorize(
        #[inline(always)]
        || {
            for ((y, a), b) in y.lines.iter_mut().zip(a.lines).zip(b.lines) {
                l.store(y, l.add(l.load(a), l.load(b)));
            }
        },
    );
}

/// What follows a join: `pre_activation` keeps `y` unless it is empty, then `y = f(y)`.
pub(crate) fn finish<L: Lanes>(
    l: L,
    y: PanelsMut<'_, L::Element>,
    pre_activation: &mut [LineOf<L>],
    activation: Activation,
) {
    l.vectorize(
        #[inline(always)]
        || {
            if !pre_activation.is_empty() {
                pre_activation[..y.lines.len()].copy_from_slice(y.lines);
            }
            activate(l, y.lines, activation);
            activate_rows(l, y, activation);
        },
    );
}

/// The columns of `to` from `first` on become those of `from`. Later columns of the last line that is written
/// become garbage, or 0 if they are padding.
pub(crate) fn write_columns<L: Lanes>(
    l: L,
    to: PanelsMut<'_, L::Element>,
    first: usize,
    from: Panels<'_, L::Element>,
) {
    l.vectorize(
        #[inline(always)]
        || {
            let lanes = L::Element::LANES;
            let (rows, panel, offset) = (from.rows, first / lanes, first % lanes);
            if offset == 0 {
                to.lines[panel * rows..][..from.lines.len()].copy_from_slice(from.lines);
            } else {
                for p in 0..from.panels() {
                    // Empty after the last panel of `to`: nothing is left for it then.
                    let (first, second) = to.lines[(panel + p) * rows..].split_at_mut(rows);
                    let mut second = second.iter_mut();
                    for (first, from) in first.iter_mut().zip(from.panel(p)) {
                        let mut pair = [*first, LineOf::<L>::ZERO];
                        elements_mut::<L::Element>(&mut pair)[offset..offset + lanes]
                            .copy_from_slice(from.as_slice());
                        *first = pair[0];
                        if let Some(second) = second.next() {
                            *second = pair[1];
                        }
                    }
                }
            }
            if first + from.cols == to.cols {
                clear_padding(l, PanelsMut { lines: &mut *to.lines, rows: to.rows, cols: to.cols });
            }
        },
    );
}

/// `to` becomes the columns of `from` from `first` on, or they are added to it. Padding lanes become 0.
pub(crate) fn read_columns<L: Lanes>(
    l: L,
    mut to: PanelsMut<'_, L::Element>,
    from: Panels<'_, L::Element>,
    first: usize,
    beta: Beta,
) {
    l.vectorize(
        #[inline(always)]
        || {
            let lanes = L::Element::LANES;
            let (rows, panel, offset) = (to.rows, first / lanes, first % lanes);
            for p in 0..to.panels() {
                let lines = &from.lines[(panel + p) * rows..];
                let (left, right) = lines.split_at(rows);
                let mut right = right.iter();
                for (to, left) in to.panel(p).iter_mut().zip(left) {
                    let mut columns = *left;
                    if offset > 0 {
                        let pair = [*left, right.next().copied().unwrap_or(LineOf::<L>::ZERO)];
                        columns
                            .as_mut_slice()
                            .copy_from_slice(&elements::<L::Element>(&pair)[offset..offset + lanes]);
                    }
                    let v = l.load(&columns);
                    let sum = match beta {
                        Beta::Zero => v,
                        Beta::One => l.flushed(l.add(l.load(to), v)),
                    };
                    l.store(to, sum);
                }
            }
            clear_padding(l, to);
        },
    );
}

/// `to += from` for gradients: denormal sums become 0.
pub(crate) fn add_gradient<L: Lanes>(l: L, to: &mut [LineOf<L>], from: &[LineOf<L>]) {
    l.vectorize(
        #[inline(always)]
        || {
            for (to, from) in to.iter_mut().zip(from) {
                l.store(to, l.flushed(l.add(l.load(to), l.load(from))));
            }
        },
    );
}
