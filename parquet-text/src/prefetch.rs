//! Memory that is asked for before it is needed.

/// Asks for the cache line at an address, which need not be that of anything. It is a hint, which only x86-64 is given: elsewhere stable
/// Rust has no name for the instruction.
#[inline(always)]
pub(crate) fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it is only a hint: nothing is read, and an address without memory is passed over.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
