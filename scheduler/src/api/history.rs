//! Cache of past samples: old ones no longer change, and a chart of a year needs ten thousand of them.

use chrono::{DateTime, Duration, Utc};
use millwork_tracking::{Sample, Span, TrackingResult, TrackingStore};
use tokio::sync::Mutex;

/// Time after the end of its span from which a sample no longer changes: 10 minutes. Samples are rewritten every few
/// seconds during their span; a new leader rewrites only the current one.
const SETTLED: Duration = Duration::minutes(10);

/// Cached samples, about a megabyte.
#[derive(Default)]
pub(crate) struct History {
    minutes: Mutex<Kept>,
    hours: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Samples that no longer change, oldest first.
    samples: Vec<Sample>,
    /// Start of the first span that may still change, in Unix seconds.
    until: i64,
}

impl History {
    /// Samples that begin in a range, oldest first. The first call reads all existing samples; later calls read
    /// only those that may have changed.
    pub(crate) async fn samples(
        &self,
        store: &dyn TrackingStore,
        span: Span,
        range: (DateTime<Utc>, DateTime<Utc>),
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<Sample>> {
        let kept = match span {
            Span::Minute => &self.minutes,
            Span::Hour => &self.hours,
        };
        let mut kept = kept.lock().await;
        let oldest = span.begin(now - span.keep()).timestamp();
        kept.until = kept.until.max(oldest);
        let unsettled = DateTime::from_timestamp(kept.until, 0).unwrap_or(now);
        let ahead = Duration::seconds(span.seconds());
        let fresh = store.samples(span, unsettled, range.1.max(now + ahead)).await?;
        let settled = span.begin(now - SETTLED).timestamp().max(kept.until);
        let gone = kept.samples.partition_point(|sample| sample.at < oldest);
        kept.samples.drain(..gone);
        let over = fresh.partition_point(|sample| sample.at < settled);
        kept.samples.extend_from_slice(&fresh[..over]);
        kept.until = settled;
        let (from, to) = (range.0.timestamp(), range.1.timestamp());
        let begin = kept.samples.partition_point(|sample| sample.at < from);
        let end = kept.samples.partition_point(|sample| sample.at < to).max(begin);
        let late = fresh[over..].iter().filter(|sample| (from..to).contains(&sample.at));
        Ok(kept.samples[begin..end].iter().chain(late).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_tracking::SqliteStore;
    use std::sync::Arc;

    #[tokio::test]
    async fn what_is_over_is_read_once_and_what_may_change_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn TrackingStore> = Arc::new(SqliteStore::open(&directory.path().join("state.db")).unwrap());
        let now = Span::Hour.begin(Utc::now()) + Duration::minutes(30);
        let put = async |span: Span, minutes_ago: i64, rows: u64| {
            let at = span.begin(now - Duration::minutes(minutes_ago)).timestamp();
            store.put_sample(span, &Sample { at, rows, ..Sample::default() }).await.unwrap();
        };
        for minutes_ago in [180, 60, 30, 5, 0] {
            put(Span::Minute, minutes_ago, 1).await;
        }
        let history = History::default();
        let rows = async |from: i64, to: i64, now: DateTime<Utc>| {
            let range = (now - Duration::minutes(from), now - Duration::minutes(to));
            let found = history.samples(&*store, Span::Minute, range, now).await.unwrap();
            assert!(found.is_sorted_by_key(|sample| sample.at));
            found.iter().map(|sample| sample.rows).collect::<Vec<_>>()
        };
        assert_eq!(rows(1000, -1, now).await, [1, 1, 1, 1, 1]);
        // Old samples are not read again; others are, and new ones are found.
        for minutes_ago in [180, 5, 0] {
            put(Span::Minute, minutes_ago, 2).await;
        }
        put(Span::Minute, -1, 3).await;
        let later = now + Duration::minutes(2);
        assert_eq!(rows(1000, -1, later).await, [1, 1, 1, 2, 2, 3]);
        assert_eq!(rows(62, 30, later).await, [1, 1]);
        assert_eq!(rows(6, 0, later).await, [2, 3]);
        // Samples beyond the store's retention are dropped from the cache as well.
        let much_later = now + Duration::hours(47);
        assert_eq!(rows(10_000, -1, much_later).await, [1, 1, 2, 2, 3]);
        put(Span::Hour, 600, 7).await;
        let range = (now - Duration::days(1), now);
        assert_eq!(history.samples(&*store, Span::Hour, range, now).await.unwrap().len(), 1);
    }
}
