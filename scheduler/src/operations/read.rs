//! Reading operations: one file, files by state, statistics, and timelines.

use super::{Operations, PAGE};
use chrono::{DateTime, Duration, Utc};
use millwork_diagnosis::{Diagnosis, LockFacts, many};
use millwork_manifest::{DatePrefix, FileState, ManifestId, ObjectUri};
use millwork_tracking::{DateTotals, FileFilter, Run, TrackedFile, TrackingResult};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Retention of converted files in DynamoDB, in days.
const KEEP_DAYS: i64 = 7;
/// Limit of the dates in statistics: the newest 1000.
const MAX_DATES: usize = 1000;
/// Number of files per state from which ages are computed where there are too many to read all: the 500 oldest.
const OLDEST: usize = 500;

/// All that the store has of a file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FileReport {
    /// Attributes of the file as they are stored; none if the file is not known.
    #[schema(value_type = Option<Object>, required)]
    pub file: Option<serde_json::Value>,
    /// Moment the store forgets it; none if it does not.
    #[schema(required)]
    pub expires_at: Option<DateTime<Utc>>,
    /// The lock of its date.
    #[schema(required)]
    pub lock: Option<LockFacts>,
    /// Steps in the life of the file, oldest first.
    pub timeline: Vec<StoryStep>,
    /// Diagnosis of the file.
    pub diagnosis: Diagnosis,
}

/// A moment in the life of a file or run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StoryStep {
    /// Moment of the step.
    pub at: DateTime<Utc>,
    /// The state it came to.
    pub state: String,
    /// Details of the step, if there are any. Control characters are escaped.
    #[schema(required)]
    pub detail: Option<String>,
    /// Seconds since the step before it.
    pub after_seconds: f64,
    /// True if the wait before this step is the longest of all.
    pub is_longest: bool,
}

/// Story of a file or run: where its time went.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Story {
    /// Subject of the story: a file's URI or a manifest's id.
    pub subject: String,
    /// Steps in the life of the file or run, oldest first.
    pub steps: Vec<StoryStep>,
    /// Seconds from the first step to the last.
    pub total_seconds: f64,
}

/// Filter for files.
#[derive(Clone, Debug, Default)]
pub struct FileQuery {
    /// State of the files.
    pub state: Option<FileState>,
    /// Date of the files.
    pub date: Option<DatePrefix>,
    /// Earliest time of the last change.
    pub since: Option<DateTime<Utc>>,
    /// Latest time of the last change.
    pub before: Option<DateTime<Utc>>,
    /// Prefix of the URI.
    pub prefix: Option<String>,
    /// Prefix of the reason of the refusal or failure.
    pub reason: Option<String>,
    /// Manifest of the files.
    pub manifest: Option<String>,
}

impl FileQuery {
    pub(crate) fn matches(&self, file: &TrackedFile) -> bool {
        let starts =
            |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| found.starts_with(wanted));
        self.since.is_none_or(|since| file.updated_at >= since)
            && self.before.is_none_or(|before| file.updated_at <= before)
            && starts(&self.prefix, file.uri.as_str())
            && starts(&self.reason, file.reason.as_deref().unwrap_or_default())
            && self.manifest.as_ref().is_none_or(|wanted| file.manifest_id.as_ref() == Some(wanted))
    }
}

/// Numbers of files.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FileStats {
    /// Moment it was counted.
    pub at: DateTime<Utc>,
    /// Files and bytes by date and state, newest date first; files without a date come last.
    pub dates: Vec<DateStats>,
    /// Age of the files that are not done, by state: half of them are younger than the first, 19 of 20 than the second, all
    /// than the third, in seconds.
    pub ages_seconds: BTreeMap<String, [u64; 3]>,
    /// True if there are more files or dates than were counted.
    pub is_capped: bool,
}

/// Numbers of the files of a date.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct DateStats {
    /// The date; none for files that have none.
    #[schema(required)]
    pub date: Option<String>,
    /// Files and bytes by state.
    pub states: BTreeMap<String, [u64; 2]>,
}

impl Operations {
    /// All stored information about one file.
    pub async fn get_file_state(&self, uri: &ObjectUri, now: DateTime<Utc>) -> TrackingResult<FileReport> {
        let known = self.store().files(std::slice::from_ref(uri)).await?.pop().flatten();
        let lock = match known.as_ref().and_then(|file| file.date) {
            Some(date) => self.inspector.lock_of(date).await?.lock,
            None => None,
        };
        let forgets = self.inspector.forgets();
        let expires = |file: &TrackedFile| file.updated_at.checked_add_signed(Duration::days(KEEP_DAYS));
        let expires_at = known.as_ref().filter(|file| forgets && file.state == FileState::Completed).and_then(expires);
        let timeline = self.store().timeline(uri).await?;
        let steps = timeline.into_iter().map(|entry| (entry.at, entry.state.to_string(), entry.detail));
        Ok(FileReport {
            file: known.map(|file| serde_json::to_value(file).unwrap_or_default()),
            expires_at,
            lock,
            timeline: steps_of(steps.collect()),
            diagnosis: self.inspector.file(uri, now).await?,
        })
    }

    /// Streams files that match a filter, page by page. Returns whether all were read.
    pub async fn query_by_status(
        &self,
        query: &FileQuery,
        limit: usize,
        max_read: usize,
        mut each: impl FnMut(TrackedFile) -> bool + Send,
    ) -> TrackingResult<bool> {
        let mut filter = FileFilter { state: query.state, date: query.date, limit: PAGE, ..FileFilter::default() };
        let (mut given, mut read) = (0, 0);
        loop {
            let page = self.store().list_files(&filter).await?;
            read += page.items.len();
            for file in page.items.into_iter().filter(|file| query.matches(file)) {
                if given == limit || !each(file) {
                    return Ok(false);
                }
                given += 1;
            }
            filter.cursor = page.next_cursor;
            if filter.cursor.is_none() {
                return Ok(true);
            }
            if read >= max_read {
                return Ok(false);
            }
        }
    }

    /// Statistics of all files by state and date. If there are more files than `max_read`, the totals of dates are
    /// used, which are exact in SQLite, and in DynamoDB as of the last recount; ages are then those of the oldest
    /// files.
    pub async fn get_stats(&self, max_read: usize, now: DateTime<Utc>) -> TrackingResult<FileStats> {
        let totals = self.store().date_totals(None, None).await?;
        let files: u64 = totals.iter().flat_map(|(_, totals)| totals.files.values()).map(|total| total.files).sum();
        match usize::try_from(files).is_ok_and(|files| files <= max_read) {
            true => self.count_stats(max_read, now).await,
            false => self.sum_stats(totals, now).await,
        }
    }

    async fn sum_stats(&self, totals: Vec<(DatePrefix, DateTotals)>, now: DateTime<Utc>) -> TrackingResult<FileStats> {
        let mut is_capped = totals.len() > MAX_DATES;
        let mut dates: Vec<DateStats> = Vec::new();
        let mut undated: BTreeMap<FileState, u64> = self.store().count_files().await?.into_iter().collect();
        for (date, totals) in totals.into_iter().take(MAX_DATES) {
            for (state, total) in &totals.files {
                undated.entry(*state).and_modify(|left| *left = left.saturating_sub(total.files));
            }
            let states = totals.files.into_iter().map(|(state, total)| (state.to_string(), [total.files, total.bytes]));
            dates.push(DateStats { date: Some(date.to_string()), states: states.collect() });
        }
        undated.retain(|_, files| *files > 0);
        if !undated.is_empty() {
            // Totals contain no bytes of these files.
            is_capped = true;
            let states = undated.into_iter().map(|(state, files)| (state.to_string(), [files, 0])).collect();
            dates.push(DateStats { date: None, states });
        }
        let (ages_seconds, has_more) = self.ages_of_oldest(now).await?;
        Ok(FileStats { at: now, dates, ages_seconds, is_capped: is_capped || has_more })
    }

    /// Ages of the oldest files that are not done, by state, and whether there are more of such files.
    async fn ages_of_oldest(&self, now: DateTime<Utc>) -> TrackingResult<(BTreeMap<String, [u64; 3]>, bool)> {
        let (mut ages_seconds, mut has_more) = (BTreeMap::new(), false);
        for state in [FileState::Pending, FileState::Manifested, FileState::Processing, FileState::Failed] {
            let filter = FileFilter { state: Some(state), limit: OLDEST, ..FileFilter::default() };
            let page = self.store().list_files(&filter).await?;
            has_more |= page.next_cursor.is_some();
            let ages: Vec<u64> = page.items.iter().map(|file| age(file, now)).collect();
            if !ages.is_empty() {
                ages_seconds.insert(state.to_string(), percentiles(ages));
            }
        }
        Ok((ages_seconds, has_more))
    }

    async fn count_stats(&self, max_read: usize, now: DateTime<Utc>) -> TrackingResult<FileStats> {
        let mut dates: BTreeMap<Option<DatePrefix>, BTreeMap<String, [u64; 2]>> = BTreeMap::new();
        let mut ages: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let add = |file: TrackedFile| {
            let counts = dates.entry(file.date).or_default().entry(file.state.to_string()).or_default();
            counts[0] += 1;
            counts[1] = counts[1].saturating_add(file.size_bytes);
            if !matches!(file.state, FileState::Completed | FileState::Quarantined) {
                ages.entry(file.state.to_string()).or_default().push(age(&file, now));
            }
            true
        };
        let is_all = self.query_by_status(&FileQuery::default(), usize::MAX, max_read, add).await?;
        let is_capped = !is_all || dates.len() > MAX_DATES;
        let dates = dates.into_iter().rev().take(MAX_DATES);
        let dates = dates.map(|(date, states)| DateStats { date: date.map(|date| date.to_string()), states }).collect();
        let ages_seconds = ages.into_iter().map(|(state, ages)| (state, percentiles(ages))).collect();
        Ok(FileStats { at: now, dates, ages_seconds, is_capped })
    }

    /// Stores statistics with the day's numbers, once per hour: the first of each hour are kept.
    pub async fn record(&self, what: &str, numbers: &[(String, u64)], now: DateTime<Utc>) -> TrackingResult<()> {
        let hour = now.format("%H");
        let named: Vec<(String, u64)> =
            numbers.iter().map(|(name, value)| (format!("{what}-{hour}-{name}"), *value)).collect();
        let known = self.store().metrics(DatePrefix::from(now.date_naive())).await?;
        let is_new = |(name, _): &&(String, u64)| known.iter().all(|metric| metric.metric_type != *name);
        let new: Vec<(&str, u64)> = named.iter().filter(is_new).map(|(name, value)| (name.as_str(), *value)).collect();
        self.store().count(&new, now).await
    }

    /// Timeline of a file, with the time between its steps.
    pub async fn story_of_file(&self, uri: &ObjectUri) -> TrackingResult<Story> {
        let timeline = self.store().timeline(uri).await?;
        let steps = timeline.into_iter().map(|entry| (entry.at, entry.state.to_string(), entry.detail));
        Ok(story(uri.to_string(), steps.collect()))
    }

    /// Timeline of a run; `None` if the run is not known.
    pub async fn story_of_run(&self, id: &ManifestId) -> TrackingResult<Option<Story>> {
        Ok(self.store().run_head(id).await?.map(|run| story(id.to_string(), moments(&run))))
    }
}

/// Age of a file since its arrival, in seconds.
fn age(file: &TrackedFile, now: DateTime<Utc>) -> u64 {
    (now - file.arrived_at).num_seconds().max(0).unsigned_abs()
}

impl FileStats {
    /// Statistics in the form in which they are stored: files and bytes by state.
    pub fn totals(&self) -> Vec<(String, u64)> {
        let mut totals: BTreeMap<String, u64> = BTreeMap::new();
        for (state, [files, bytes]) in self.dates.iter().flat_map(|date| &date.states) {
            *totals.entry(format!("{state}-files")).or_default() += files;
            *totals.entry(format!("{state}-bytes")).or_default() += bytes;
        }
        totals.into_iter().collect()
    }
}

fn percentiles(mut ages: Vec<u64>) -> [u64; 3] {
    ages.sort_unstable();
    let at = |part: usize| ages.get((ages.len() * part / 100).min(ages.len().saturating_sub(1))).copied().unwrap_or(0);
    [at(50), at(95), at(100)]
}

fn moments(run: &Run) -> Vec<(DateTime<Utc>, String, Option<String>)> {
    let mut steps = vec![(run.created_at, "queued".to_owned(), Some(many(run.files, "file")))];
    for attempt in &run.history {
        steps.push((attempt.started_at, "planning".to_owned(), Some(format!("attempt {}", attempt.number))));
        if let Some((at, failure)) = attempt.ended_at.zip(attempt.failure.as_ref()) {
            steps.push((at, "failed".to_owned(), Some(format!("{}: {}", failure.class, failure.message))));
        }
    }
    steps.extend(run.committed_at.map(|at| (at, "committing".to_owned(), None)));
    steps.extend(run.ended_at.map(|at| (at, run.state.to_string(), None)));
    steps.sort_by_key(|(at, ..)| *at);
    steps
}

fn story(subject: String, steps: Vec<(DateTime<Utc>, String, Option<String>)>) -> Story {
    let steps = steps_of(steps);
    let total_seconds = steps.iter().map(|step| step.after_seconds).sum();
    Story { subject, steps, total_seconds }
}

/// Steps with the time between them, the longest marked.
fn steps_of(moments: Vec<(DateTime<Utc>, String, Option<String>)>) -> Vec<StoryStep> {
    let mut before: Option<DateTime<Utc>> = None;
    let mut steps: Vec<StoryStep> = Vec::with_capacity(moments.len());
    for (at, state, detail) in moments {
        let after_seconds = before.map_or(0.0, |before| (at - before).as_seconds_f64().max(0.0));
        before = Some(at);
        let detail = detail.as_deref().map(millwork_diagnosis::shown);
        steps.push(StoryStep { at, state, detail, after_seconds, is_longest: false });
    }
    let longest = steps.iter().map(|step| step.after_seconds).fold(0.0, f64::max);
    if let Some(step) = steps.iter_mut().find(|step| longest > 0.0 && step.after_seconds >= longest) {
        step.is_longest = true;
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_is_marked_and_none_is_below_nothing() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let steps = [0, 10, 70, 65].map(|seconds| (at(seconds), "pending".to_owned(), Some("a\u{1b}".to_owned())));
        let story = story("x".to_owned(), steps.to_vec());
        let waits: Vec<_> = story.steps.iter().map(|step| (step.after_seconds, step.is_longest)).collect();
        assert_eq!(waits, [(0.0, false), (10.0, false), (60.0, true), (0.0, false)]);
        assert_eq!((story.total_seconds, story.steps[0].detail.as_deref()), (70.0, Some("a\\x1b")));
    }

    #[test]
    fn percentiles_of_few_and_of_none() {
        assert_eq!(percentiles(Vec::new()), [0, 0, 0]);
        assert_eq!(percentiles(vec![5]), [5, 5, 5]);
        assert_eq!(percentiles((0..100).rev().collect()), [50, 95, 99]);
    }
}
