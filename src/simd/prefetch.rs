//! Cache lines asked of memory before they are needed.

use core::ops::Range;

use crate::simd::scalar::CacheLine;

/// Asks for the cache line of an element, into L1 or as far as L2; nothing where it is not known how.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "nothing is asked for"))]
pub(super) fn prefetch_line<X>(slice: &[X], index: usize, into_l1: bool) {
    #[cfg(target_arch = "x86_64")]
    {
        use core::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let address = slice.as_ptr().wrapping_add(index).cast();
        // SAFETY: every x86-64 has the instruction, and any address is allowed.
        unsafe {
            if into_l1 { _mm_prefetch::<_MM_HINT_T0>(address) } else { _mm_prefetch::<_MM_HINT_T1>(address) }
        }
    }
}

/// Bytes of a cache line.
pub const LINE_BYTES: usize = size_of::<CacheLine<[f32; 16]>>();

/// Asks for some cache lines of a slice, as far as L2.
#[inline(always)]
pub fn prefetch_lines<X>(slice: &[X], lines: Range<usize>) {
    for line in lines {
        prefetch_line(slice, line * LINE_BYTES / size_of::<X>(), false);
    }
}
