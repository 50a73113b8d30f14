//! Permits for parts of objects that are on their way to a bucket.

use crate::threads::cores;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Number of parts that are on their way at once for each core, and number at the least, whatever files they are of: an
/// answer takes as long as several parts take to be encoded.
const PARTS_OF_A_CORE: usize = 4;
const LEAST_PARTS: usize = 8;

/// Permits of all uploads of a program.
#[derive(Default)]
pub(crate) struct UploadPermits {
    taken: Mutex<usize>,
    given_back: Condvar,
}

/// Permit of one part to be on its way, which ends when this is dropped.
pub(crate) struct UploadPermit(Arc<UploadPermits>);

impl UploadPermits {
    /// Limit of parts that are on their way at once.
    fn most() -> usize {
        (PARTS_OF_A_CORE * cores()).max(LEAST_PARTS)
    }

    /// Waits for a permit. Parts that have one need nothing of the thread that waits, so that it gets one.
    pub(crate) fn take(self: &Arc<Self>) -> UploadPermit {
        let most = Self::most();
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken =
            self.given_back.wait_while(taken, |taken| *taken >= most).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        UploadPermit(self.clone())
    }
}

impl Drop for UploadPermit {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    #[test]
    fn no_more_parts_are_on_their_way_than_there_are_permits() {
        let permits = Arc::new(UploadPermits::default());
        let mut taken: Vec<_> = (0..UploadPermits::most()).map(|_| permits.take()).collect();
        let (sender, receiver) = channel();
        let others = permits.clone();
        let waiting = std::thread::spawn(move || sender.send(others.take()));
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err());
        taken.pop();
        assert!(receiver.recv_timeout(Duration::from_secs(10)).is_ok());
        waiting.join().unwrap().unwrap();
    }
}
