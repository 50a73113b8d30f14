//! Result cache shared by all pages of a scheduler: after an event many tabs request the same data, which is computed
//! once.

use super::ApiError;
use millwork_api::ErrorCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time for which a result is reused, as a multiple of the duration of its computation: limits the load to a fiftieth
/// of a core, however many pages are open.
const REST: u32 = 50;
/// Least and largest time for which a result is reused.
const RESTS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// Time for which a page waits for a computation. If it takes longer, as with a very large state, the previous result
/// is shown.
const QUICK: Duration = Duration::from_millis(25);
/// Age from which a result is no longer shown.
const TOO_OLD: Duration = Duration::from_secs(60);
/// Time after a failed computation before the next, in seconds: 1. All requests that waited for it fail.
const AGAIN: Duration = Duration::from_secs(1);

/// Reason why the computation failed.
#[derive(Clone)]
pub(crate) struct Trouble {
    code: ErrorCode,
    message: String,
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        let detail = error.detail();
        Self { code: detail.code, message: detail.message.clone() }
    }
}

impl From<Trouble> for ApiError {
    fn from(trouble: Trouble) -> Self {
        Self::new(trouble.code, trouble.message)
    }
}

/// The latest result, and the lock of the computation.
pub(crate) struct Shared<T>(Arc<Inner<T>>);

struct Inner<T> {
    known: Mutex<Option<Known<T>>>,
    looking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
struct Known<T> {
    /// Number of the last change before the computation, if it depends on changes.
    change: Option<u64>,
    at: Instant,
    took: Duration,
    found: Result<T, Trouble>,
}

impl<T> Known<T> {
    fn is_fresh(&self, change: Option<u64>) -> bool {
        match self.found {
            Ok(_) => self.change == change && self.at.elapsed() < (self.took * REST).clamp(RESTS.0, RESTS.1),
            Err(_) => self.at.elapsed() < AGAIN,
        }
    }

    fn can_be_shown_meanwhile(&self) -> bool {
        self.change.is_none() && self.found.is_ok() && self.took > QUICK && self.at.elapsed() < TOO_OLD
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

    /// Returns the latest result, or computes a new one. With the number of a change, older results are not returned.
    pub(crate) async fn get(
        &self,
        change: Option<u64>,
        look: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        match self.known() {
            Some(known) if known.is_fresh(change) => return Ok(known.found?),
            Some(known) if change.is_none() && known.can_be_shown_meanwhile() => {
                // Unless a computation is running already.
                if let Ok(turn) = self.0.looking.clone().try_lock_owned() {
                    let this = self.clone();
                    tokio::spawn(async move {
                        let _ = this.look(change, look).await;
                        drop(turn);
                    });
                }
                return Ok(known.found?);
            }
            _ => {}
        }
        let _turn = self.0.looking.lock().await;
        match self.known() {
            Some(known) if known.is_fresh(change) => Ok(known.found?),
            _ => Ok(self.look(change, look).await?),
        }
    }

    async fn look(&self, change: Option<u64>, look: impl Future<Output = Result<T, ApiError>>) -> Result<T, Trouble> {
        let began = Instant::now();
        let found = look.await.map_err(Trouble::from);
        let known = Known { change, at: Instant::now(), took: began.elapsed(), found: found.clone() };
        *self.0.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join_all;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[tokio::test]
    async fn many_share_one_look_until_something_changes() {
        let (shared, looks) = (Shared::<u64>::default(), Arc::new(AtomicU64::new(0)));
        let look = || {
            let looks = looks.clone();
            async move {
                tokio::task::yield_now().await;
                Ok(looks.fetch_add(1, Ordering::Relaxed) + 1)
            }
        };
        let found = join_all((0..20).map(|_| shared.get(Some(1), look()))).await;
        assert!(found.iter().all(|found| matches!(found, Ok(1))));
        assert!(matches!(shared.get(Some(2), look()).await, Ok(2)), "what was found before a change is over");
        let away = async { Err(ApiError::new(ErrorCode::State, "it is away")) };
        assert!(shared.get(Some(3), away).await.is_err());
        assert!(shared.get(Some(3), look()).await.is_err(), "who asks at once goes without");
        assert_eq!(looks.load(Ordering::Relaxed), 2);
    }
}
