//! Output rates: measured by converting a sample, and remembered, since later manifests are mostly alike.

use millwork_manifest::Failure;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Number of manifests that reuse a measured rate for the same columns; the next one measures anew.
const MANIFESTS: u32 = 64;
/// Limit of the column sets that are remembered.
const SETS: usize = 1000;

/// Prediction of the output size from the size of the content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct OutputRate {
    /// Bytes of output per byte of content.
    pub(crate) ratio: f64,
    /// Fixed bytes per row group beyond that: dictionaries, and its part of the footer.
    pub(crate) row_group_bytes: f64,
}

/// Measured rates of manifests that are converted with the same options. They only decide how work is cut: a wrong rate
/// costs time, never rows.
#[derive(Clone, Debug, Default)]
pub struct KnownRates {
    hasher: RandomState,
    /// Rates, by hash of the column names.
    known: Arc<Mutex<HashMap<u64, Known>>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    rate: OutputRate,
    is_precise: bool,
    /// Number of manifests that may still use the rate.
    uses: u32,
}

impl KnownRates {
    /// The rate for manifests with these columns. Measured with `find` if it is not known, or not precise enough;
    /// `None` if it cannot be measured.
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

    /// Forgets the rate of these columns, which turned out to be wrong.
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
        // A rough rate is not used where a precise one is wanted; a precise one is used for both.
        assert_eq!(rates.of(&ab, true, find).await.unwrap().unwrap().ratio, 3.0);
        for _ in 0..MANIFESTS {
            assert_eq!(rates.of(&ab, false, find).await.unwrap().unwrap().ratio, 3.0);
        }
        assert_eq!(rates.of(&ab, false, find).await.unwrap().unwrap().ratio, 4.0);
        rates.forget(&ab);
        assert_eq!(rates.of(&ab, false, find).await.unwrap().unwrap().ratio, 5.0);
        assert_eq!(rates.of(&ac, false, find).await.unwrap().unwrap().ratio, 2.0);
        // A failed measurement is repeated at the next request.
        rates.forget(&ab);
        assert_eq!(rates.of(&ab, false, || async { Ok(None) }).await.unwrap(), None);
        assert_eq!(rates.of(&ab, false, find).await.unwrap().unwrap().ratio, 6.0);
    }
}
