//! Rate limit for log messages that clients could cause in any number.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Least interval between two messages of a kind, so that a flood of connections does not flood the log.
const PAUSE: Duration = Duration::from_secs(1);

/// A kind of message that is logged at most once a second.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    told: Option<Instant>,
    untold: u64,
}

impl Seldom {
    /// Counts an occurrence. Returns the number since the last message, if another one is due.
    pub fn happened(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.untold += 1;
        if state.told.is_some_and(|told| told.elapsed() < PAUSE) {
            return None;
        }
        state.told = Some(Instant::now());
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_is_told_once() {
        let seldom = Seldom::default();
        assert_eq!(seldom.happened(), Some(1));
        assert_eq!((seldom.happened(), seldom.happened()), (None, None));
        seldom.0.lock().unwrap().told = None;
        assert_eq!(seldom.happened(), Some(3));
    }
}
