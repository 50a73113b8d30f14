//! Prefetching of memory.

/// Prefetches the cache line at an address, which may be invalid. Only a hint, and only on x86-64: stable Rust has no
/// such intrinsic for other processors.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is only a hint: nothing is read, and invalid addresses are ignored.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
