//! Software prefetch of cache lines.

use core::ops::Range;

use crate::simd::scalar::CacheLine;

/// Bytes of a cache line.
pub(crate) const LINE_BYTES: usize = size_of::<CacheLine<[f32; 16]>>();

/// A cache that a line is prefetched into.
#[derive(Clone, Copy)]
pub(super) enum CacheLevel {
    L1,
    L2,
}

/// Prefetches the cache line of element `index`, which may lie past the end of the slice.
///
/// On other architectures than x86-64 it does nothing.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "nothing is prefetched"))]
pub(super) fn prefetch_line<X>(slice: &[X], index: usize, into: CacheLevel) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let address = slice.as_ptr().wrapping_add(index).cast();
        // SAFETY: every x86-64 has the instruction, and it is a hint that never faults, whatever the address.
        unsafe {
            match into {
                CacheLevel::L1 => _mm_prefetch::<_MM_HINT_T0>(address),
                CacheLevel::L2 => _mm_prefetch::<_MM_HINT_T1>(address),
            }
        }
    }
}

/// Prefetches a range of cache lines, counted from the start of the slice, into L2.
#[inline(always)]
pub(crate) fn prefetch_lines<X>(slice: &[X], lines: Range<usize>) {
    for line in lines {
        prefetch_line(slice, line * LINE_BYTES / size_of::<X>(), CacheLevel::L2);
    }
}
