//! Sizes of the blocks of a product, and which kernel takes which part of it.
//!
//! Sizes follow from the shapes alone, never from the CPU: the order of every sum, and with it every bit, is
//! the same everywhere. Register tiles, which change no sum, are in [`register_tile`](super::register_tile).

use crate::kernels::gemm::register_tile::accumulators_of;
use crate::kernels::matrix::panels::panels;
use crate::simd::scalar::Element;

/// Lines of `k` (inputs forward, outputs backward) of one block of a product: `KC`, in elements 256 for
/// `f32`. Three panels of 256 rows are 48 KiB, an L1, and stay in L2 while the row blocks of a micro-batch
/// pass.
const KC_LINES: usize = 16;

/// Bytes of `A` that stay in L1 whatever else passes through it.
const RESIDENT_BYTES: usize = 16 << 10;

/// Segments of `k` of one block: [`KC_LINES`], or all of them where rows are few. Then no panel is read
/// twice, and each is read from end to end.
#[inline(always)]
pub(crate) fn segments_of_block<T: Element>(rows: usize, segments: usize) -> usize {
    if rows * segments * size_of::<T::Line>() <= RESIDENT_BYTES { segments } else { KC_LINES }
}

/// Maximum panels of `C` of one block of a product: while they are computed, a block of `k` of `A` and their
/// own sums stay in L2: 256 rows of 24 panels are 384 KiB. Without it each three panels would read all of
/// `A`, which of 4,096 columns does not fit in an L2.
pub(crate) const NC_PANELS: usize = 24;

/// Lines of a `B` that does not fit in L2 beside what else is there: half of an L2 of 1 MiB.
pub(crate) const L2_LINES: usize = 8192;

/// Lines between the use of a line of a `B` that does not fit in L2 and its prefetch. The CPU prefetches what
/// follows by itself, but within each panel, and not past the end of a page. One row through 784-512-512-10,
/// eight panels at a time, on a Zen 4: without 30.7 microseconds, 8 lines ahead 30.5, 12 29.3, 16 29.7, 24
/// 29.8, 40 32.6.
pub(crate) const PREFETCH_DISTANCE: usize = 12;

/// Lines of each segment of the next group of panels that a tile prefetches where `B` does not fit in L2:
/// eight tiles prefetch all of them. Otherwise the first tile of a group would wait for most of its lines,
/// which of 64 rows is an eighth of the group.
pub(crate) const PREFETCH_LINES: usize = 2;

/// Whether the last panel of a weight gradient, of `cols` columns, is summed over `rows` rows transposed:
/// with outputs as rows and inputs along the lanes. In row-major order, lanes past its columns work for
/// nothing; transposed, its blocks are transposed back, which takes as long as some ten rows.
#[inline(always)]
pub(crate) const fn uses_transposed(cols: usize, rows: usize) -> bool {
    cols <= EDGE_COLUMNS && rows >= TRANSPOSED_ROWS
}

/// Rows from which on a gradient [`uses_transposed`].
const TRANSPOSED_ROWS: usize = 24;

/// Whether the last panel of a forward or backward product, of `cols` columns, is computed with the `steps`
/// of its sums along the lanes, by [`dot_product`](super::dot_product). A row takes a multiply-add for each
/// `LANES` steps of each column, and as long as six more to add its lanes up; by outer products all columns
/// together take one for each step.
#[inline(always)]
pub(crate) const fn uses_dot_product<T: Element>(cols: usize, steps: usize) -> bool {
    let segments = steps.div_ceil(T::LANES);
    cols <= EDGE_COLUMNS && segments > 1 && cols * (segments + 6) <= steps
}

/// Maximum columns of a panel that [`uses_transposed`] or [`uses_dot_product`].
pub(crate) const EDGE_COLUMNS: usize = 6;

/// Segments of `k` of one block of a dot product, whose columns are transposed before they are used: each
/// block adds one sum to every element of `C`.
pub(crate) const DOT_PRODUCT_SEGMENTS: usize = 16;

/// Whether some sums of the gradient of such a layer have several accumulators: those of its last inputs, or
/// last outputs, and their biases. Not where it has one panel of inputs, whose gradient may be a
/// [`single_panel_weight_gradient`](super::weight_gradient::single_panel_weight_gradient) or a packed one.
pub(crate) fn splits_accumulators<T: Element>(inputs: usize, outputs: usize) -> bool {
    let last = |count: usize| count - (panels::<T>(count) - 1) * T::LANES;
    panels::<T>(inputs) > 1 && (accumulators_of(last(inputs)) > 1 || accumulators_of(last(outputs)) > 1)
}

/// Rows after which several accumulators of a sum are added up; the rows left at a micro-batch's end have one
/// accumulator. So a sum does not depend on where micro-batches end, as long as it is after a multiple of
/// this.
pub(crate) const ACCUMULATOR_PERIOD: usize = 32;

/// Rows from which on the gradient of one panel by one is summed as others are, in tiles, the biases with the
/// last of them: with fewer rows the set-up takes longer than the biases by themselves. Measured, a step of
/// 8-16-4: one row 0.17 microseconds, in tiles 0.22, four rows 0.23 and 0.26, 16 rows 0.55 and 0.56, 64 rows
/// 2.09 and 1.78.
pub(crate) const TILED_ROWS: usize = 24;
