//! Rates of output for content: found out by converting a sample, and remembered, as the next manifests are mostly alike.

use millwork_manifest::Failure;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of manifests that take what was found out about one with the same columns; the next one finds out anew.
const MANIFESTS: u32 = 64;
/// Limit of the sets of columns that are remembered.
const SETS: usize = 1000;

/// Size of the output for some content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OutputRate {
    /// Bytes for each byte of content.
    pub(crate) ratio: f64,
    /// Bytes that a row group has beyond that: dictionaries, and its part of the footer.
    pub(crate) row_group_bytes: f64,
}

/// The rates of manifests that are converted by the same options. They only say how work is cut, so that one that is wrong
/// costs time, not rows.
#[derive(Clone, Debug, Default)]
pub struct KnownRates {
    hasher: RandomState,
    /// Rates by the hash of the columns.
    known: Arc<Mutex<HashMap<u64, Known>>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    rate: OutputRate,
    is_precise: bool,
    /// Number of manifests that may still take the rate.
    uses: u32,
}

impl KnownRates {
    /// The rate for manifests with these columns, found out if it is not known, or not precisely enough; none if it cannot be.
    pub(crate) async fn of<F>(
        &self,
        columns: &[String],
        is_precise: bool,
        find: impl FnOnce() -> F,
    ) -> Result<Option<OutputRate>, Failure>
    where
        F: Future<Output = Result<Option<OutputRate>, Failure>>,
    {
        let columns = self.hasher.hash_one(columns);
        if let Some(rate) = self.take(columns, is_precise) {
            return Ok(Some(rate));
        }
        let Some(rate) = find().await? else { return Ok(None) };
        let mut known = self.lock();
        if known.len() >= SETS {
            known.clear();
        }
        known.insert(columns, Known { rate, is_precise, uses: MANIFESTS });
        Ok(Some(rate))
    }

    /// Forgets what was found out about these columns, since it was wrong.
    pub(crate) fn forget(&self, columns: &[String]) {
        self.lock().remove(&self.hasher.hash_one(columns));
    }

    fn take(&self, columns: u64, is_precise: bool) -> Option<OutputRate> {
        let mut known = self.lock();
        let known = known.get_mut(&columns).filter(|known| known.uses > 0 && known.is_precise >= is_precise)?;
        known.uses -= 1;
        Some(known.rate)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rate_is_found_out_once_for_some_manifests_with_the_same_columns() {
        let rates = KnownRates::default();
        let found = Mutex::new(0);
        let find = || async {
            *found.lock().unwrap() += 1;
            Ok(Some(OutputRate { ratio: f64::from(*found.lock().unwrap()), row_group_bytes: 0.0 }))
        };
        let columns = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (ab, ac) = (columns(&["a", "b"]), columns(&["a", "c"]));
        assert_eq!(rates.of(&ab, false, find).await.unwrap().unwrap().ratio, 1.0);
        assert_eq!(rates.clone().of(&ab, false, find).await.unwrap().unwrap().ratio, 1.0);
        assert_eq!(rates.of(&ac, false, find).await.unwrap().unwrap().ratio, 2.0);
        // A rough rate does not serve where a precise one is wanted, but the other way round.
        assert_eq!(rates.of(&ab, true, find).await.unwrap().unwrap().ratio, 3.0);
        for _ in 0..MANIFESTS {
            assert_eq!(rates.of(&ab, false, find).await.unwrap().unwrap().ratio, 3.0);
        }
        assert_eq!(rates.of(&ab, false, find).await.unwrap().unwrap().ratio, 4.0);
        rates.forget(&ab);
        assert_eq!(rates.of(&ab, false, find).await.unwrap().unwrap().ratio, 5.0);
        assert_eq!(rates.of(&ac, false, find).await.unwrap().unwrap().ratio, 2.0);
        // A rate that cannot be found out is asked for again.
        rates.forget(&ab);
        assert_eq!(rates.of(&ab, false, || async { Ok(None) }).await.unwrap(), None);
        assert_eq!(rates.of(&ab, false, find).await.unwrap().unwrap().ratio, 6.0);
    }
}
