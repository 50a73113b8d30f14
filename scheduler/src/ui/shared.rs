//! A result that all pages of a scheduler share: many tabs ask at once, after an event, and one of them looks.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Multiple of the time that the last look took, for which its result is shown again: looks take a fiftieth of a core at most, however many
/// pages are watched.
const REST: u32 = 50;
/// The shortest and the longest time for which a result is shown again.
const RESTS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// Time of a look that a page waits for. With a state so large that it takes longer, the last result is shown while the next is made.
const QUICK: Duration = Duration::from_millis(25);
/// Age of a result that is not shown any more.
const TOO_OLD: Duration = Duration::from_secs(60);

/// The result of the last look, and the turn of who looks.
pub(crate) struct Shared<T>(Arc<Inner<T>>);

struct Inner<T> {
    known: Mutex<Option<Known<T>>>,
    looking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
struct Known<T> {
    at: Instant,
    took: Duration,
    found: T,
}

impl<T> Known<T> {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < (self.took * REST).clamp(RESTS.0, RESTS.1)
    }

    fn can_be_shown_meanwhile(&self) -> bool {
        self.took > QUICK && self.at.elapsed() < TOO_OLD
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Arc::new(Inner { known: Mutex::new(None), looking: Arc::default() }))
    }
}

impl<T: Clone + Send + 'static> Shared<T> {
    fn known(&self) -> Option<Known<T>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what was found last, or looks.
    pub(super) async fn get(&self, look: impl Future<Output = T> + Send + 'static) -> T {
        match self.known() {
            Some(known) if known.is_fresh() => return known.found,
            Some(known) if known.can_be_shown_meanwhile() => {
                // Unless somebody looks already.
                if let Ok(turn) = self.0.looking.clone().try_lock_owned() {
                    let this = self.clone();
                    tokio::spawn(async move {
                        this.look(look).await;
                        drop(turn);
                    });
                }
                return known.found;
            }
            _ => {}
        }
        let _turn = self.0.looking.lock().await;
        match self.known() {
            Some(known) if known.is_fresh() => known.found,
            _ => self.look(look).await,
        }
    }

    async fn look(&self, look: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let found = look.await;
        let known = Known { at: Instant::now(), took: began.elapsed(), found: found.clone() };
        *self.0.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        found
    }
}
