//! Reused buffers for parts of objects: page faults of new memory cost more than copying into memory in use.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Least size of a buffer that is kept: 1 MiB. The allocator reuses smaller ones itself.
const LEAST_BYTES: usize = 1 << 20;
/// Limit of the idle buffers that are kept, in bytes: 64 MiB.
const KEPT_BYTES: usize = 64 << 20;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Bytes whose memory is kept for reuse when they are dropped.
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// An empty buffer with at least this capacity.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = kept.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= bytes);
        let best = fitting.min_by_key(|(_, buffer)| buffer.capacity()).map(|(place, _)| place);
        let best = best.filter(|_| bytes >= LEAST_BYTES).map(|place| kept.swap_remove(place));
        drop(kept);
        // Capacities are rounded up, so that a buffer of one part fits the next.
        let rounded = if bytes < LEAST_BYTES { bytes } else { bytes.next_multiple_of(LEAST_BYTES) };
        Self(best.unwrap_or_else(|| Vec::with_capacity(rounded)))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        if buffer.capacity() < LEAST_BYTES {
            return;
        }
        buffer.clear();
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().map(Vec::capacity).sum::<usize>() + buffer.capacity() <= KEPT_BYTES {
            kept.push(buffer);
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_dropped_is_used_again_where_it_fits() {
        let bytes = 3 * LEAST_BYTES + 17;
        let mut buffer = Buffer::with_capacity(bytes);
        buffer.extend_from_slice(b"of another");
        let memory = buffer.as_ptr();
        drop(buffer);
        let larger = Buffer::with_capacity(bytes + LEAST_BYTES);
        let again = Buffer::with_capacity(bytes);
        assert_ne!(larger.as_ptr(), memory);
        assert_eq!((again.as_ptr(), again.len()), (memory, 0));
    }
}
