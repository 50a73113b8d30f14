//! Reused buffers for parts of objects: page faults of new memory cost more than copying into memory in use.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Least size of a buffer that is kept: 1 MiB. The allocator reuses smaller ones itself.
const LEAST_BYTES: usize = 1 << 20;
/// Limit of the idle buffers that are kept, in bytes: 64 MiB.
const KEPT_BYTES: usize = 64 << 20;

/// Buffers that nobody uses at the moment.
#[derive(Clone, Default)]
pub(crate) struct BufferPool(Arc<Mutex<Vec<Vec<u8>>>>);

/// Bytes whose memory is kept for reuse when they are dropped.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    pool: BufferPool,
}

impl BufferPool {
    /// An empty buffer with at least this capacity.
    pub(crate) fn take(&self, bytes: usize) -> Buffer {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fitting = kept.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= bytes);
        let best = fitting.min_by_key(|(_, buffer)| buffer.capacity()).map(|(place, _)| place);
        let best = best.filter(|_| bytes >= LEAST_BYTES).map(|place| kept.swap_remove(place));
        drop(kept);
        // Capacities are rounded up, so that a buffer of one part fits the next.
        let rounded = if bytes < LEAST_BYTES { bytes } else { bytes.next_multiple_of(LEAST_BYTES) };
        Buffer { bytes: best.unwrap_or_else(|| Vec::with_capacity(rounded)), pool: self.clone() }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.bytes);
        if buffer.capacity() < LEAST_BYTES {
            return;
        }
        buffer.clear();
        let mut kept = self.pool.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.iter().map(Vec::capacity).sum::<usize>() + buffer.capacity() <= KEPT_BYTES {
            kept.push(buffer);
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_is_dropped_is_used_again_where_it_fits() {
        let bytes = 3 * LEAST_BYTES + 17;
        let pool = BufferPool::default();
        let mut buffer = pool.take(bytes);
        buffer.extend_from_slice(b"of another");
        let memory = buffer.as_ptr();
        drop(buffer);
        let larger = pool.take(bytes + LEAST_BYTES);
        let again = pool.take(bytes);
        assert_ne!(larger.as_ptr(), memory);
        assert_eq!((again.as_ptr(), again.len()), (memory, 0));
    }
}
