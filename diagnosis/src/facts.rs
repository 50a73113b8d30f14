//! Facts for a diagnosis. Unknown facts are absent, never guessed.

use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{BatchCaps, Failure, FileState, RunState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that a person asks about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", content = "name")]
pub enum Subject {
    /// A file, by its URI.
    File(String),
    /// A run, by the id of its manifest.
    Run(String),
    /// A date, as `YYYY-MM-DD`.
    Date(String),
    /// An executor, by its id.
    Executor(String),
}

impl Subject {
    /// Name of the subject: a URI, an id or a date.
    pub fn name(&self) -> &str {
        match self {
            Self::File(name) | Self::Run(name) | Self::Date(name) | Self::Executor(name) => name,
        }
    }
}

/// Known facts about a subject and everything it depends on.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Record of the file in the store.
    pub file: Option<FileFacts>,
    /// Present object of the file in the storage.
    pub object: ObjectFacts,
    /// Place written to that contains the name, such as `the output`.
    pub own_place: Option<String>,
    /// Names similar to an unknown one.
    pub near: Vec<String>,
    /// Run that is the subject, or contains the file.
    pub run: Option<RunFacts>,
    /// Date that is the subject, or that of the file.
    pub date: Option<DateFacts>,
    /// Executor that is the subject, if it is connected.
    pub executor: Option<ExecutorFacts>,
    /// Executor that is the subject, if it has left recently.
    pub gone_executor: Option<GoneFacts>,
    /// Event queue, if known.
    pub events: Option<EventFacts>,
    /// Schedulers, executors and builders.
    pub cluster: ClusterFacts,
}

/// Record of a file in the store.
#[derive(Clone, Debug)]
pub struct FileFacts {
    /// State of the file.
    pub state: FileState,
    /// Version of the record.
    pub version: u64,
    /// Size at the last lookup, in bytes.
    pub size_bytes: u64,
    /// Entity tag at the last lookup; empty for a file from a manifest without one.
    pub etag: String,
    /// Time of arrival.
    pub arrived_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
    /// Manifest that contains it.
    pub manifest_id: Option<String>,
    /// Reason for its refusal or failure.
    pub reason: Option<String>,
    /// Address that the file was moved to on its refusal.
    pub quarantine_uri: Option<String>,
    /// Entity tag of newer content that was found after the file had left the state pending.
    pub overwritten_etag: Option<String>,
    /// Release from a manifest, if it is pending for that reason.
    pub sent_back: Option<SentBack>,
    /// Ledger entry in the output of its run.
    pub ledger: Option<LedgerRow>,
    /// Decision of the present rules on a refused file: `Ok` if accepted, else the reason.
    pub verdict: Option<Result<(), String>>,
}

/// Release of a file from a manifest whose run ended without output.
#[derive(Clone, Debug)]
pub struct SentBack {
    /// Id of the manifest.
    pub manifest_id: String,
    /// Time of the release.
    pub at: DateTime<Utc>,
    /// File that was at fault, if any.
    pub at_fault: Option<String>,
}

/// Numbers of lines of a file, by result.
#[derive(Clone, Debug, Default)]
pub struct LedgerRow {
    /// Number of lines read.
    pub lines: u64,
    /// Number of rows.
    pub rows: u64,
    /// Number of rejected lines.
    pub rejected: u64,
    /// Number of lines with only white space.
    pub blank: u64,
    /// Cause and remedy, if the file has lines of which none became a row.
    pub without_rows: Option<String>,
}

/// Present object of a file in the storage.
#[derive(Clone, Debug, Default)]
pub enum ObjectFacts {
    /// The object was not looked up.
    #[default]
    NotAsked,
    /// The name is outside the input places, and is not looked up.
    Foreign,
    /// The lookup failed, for this reason.
    Unreachable(String),
    /// The object does not exist.
    Gone,
    /// The object exists.
    There {
        /// Size in bytes.
        size_bytes: u64,
        /// Entity tag.
        etag: String,
        /// Time of its last change.
        modified_at: DateTime<Utc>,
    },
}

/// A run.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// Id of the manifest.
    pub id: String,
    /// The date of its files.
    pub date: String,
    /// State of the run.
    pub state: RunState,
    /// Number of attempts started so far.
    pub attempts: u32,
    /// Number of failed attempts since the run was last queued by request.
    pub failures: u32,
    /// Priority; runs with a higher one go first.
    pub priority: i32,
    /// Number of its files.
    pub files: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Earliest time of the next attempt.
    pub not_before: Option<DateTime<Utc>>,
    /// True if a cancellation was requested.
    pub cancel_requested: bool,
    /// Failure of the run, or of its last attempt.
    pub failure: Option<Failure>,
    /// Time at which it was queued.
    pub created_at: DateTime<Utc>,
    /// Time of the last change.
    pub updated_at: DateTime<Utc>,
    /// Start time of its newest attempt.
    pub started_at: Option<DateTime<Utc>>,
    /// Time of its commit.
    pub committed_at: Option<DateTime<Utc>>,
    /// Time at which it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Position in the queue.
    pub place: Option<QueuePlace>,
    /// Progress of its attempt.
    pub progress: Option<Progress>,
    /// Usual duration of runs of this size.
    pub usual: Option<Usual>,
    /// Output of the run, once it is committed.
    pub output: Option<OutputFacts>,
}

/// Position of a run among queued ones.
#[derive(Clone, Copy, Debug)]
pub struct QueuePlace {
    /// Number of preceding runs, up to a limit.
    pub runs_before: u64,
    /// Bytes of the preceding runs.
    pub bytes_before: u64,
    /// Total number of queued runs, if counted.
    pub of: Option<u64>,
    /// True if more runs precede it than were counted.
    pub is_capped: bool,
}

/// Progress of an attempt.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Input bytes read so far, if known.
    pub read_bytes: Option<u64>,
    /// Total number of tasks.
    pub tasks: u64,
    /// Number of finished tasks.
    pub tasks_done: u64,
    /// Running tasks, each with its executor.
    pub running: Vec<String>,
    /// Executors with tasks of the attempt that are silent or gone.
    pub lost_executors: Vec<String>,
    /// Estimated time until the rest is read, in seconds, if the speed is steady.
    pub eta_seconds: Option<f64>,
}

/// Durations of earlier runs of similar size from start to commit.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    /// Number of runs compared.
    pub runs: u64,
    /// Median duration, in seconds.
    pub half_seconds: u64,
    /// Duration of the 95th percentile, in seconds.
    pub most_seconds: u64,
}

/// Output of a committed run.
#[derive(Clone, Debug, Default)]
pub struct OutputFacts {
    /// Rows.
    pub rows: u64,
    /// Lines rejected.
    pub rejected: u64,
    /// Output files.
    pub files: u64,
    /// URI of the first output file.
    pub first: Option<String>,
    /// Place of the records of rejected lines, if there are any.
    pub rejected_lines: Option<String>,
    /// Files with lines of which none became a row, and the first of them, with cause and remedy.
    pub without_rows: Option<(u64, String, String)>,
    /// Output files that are missing, as far as they were looked up.
    pub missing: Vec<String>,
    /// Obstacle to the publication of a committed output.
    pub obstacle: Option<Obstacle>,
}

/// Obstacle to the publication of a committed output.
#[derive(Clone, Debug)]
pub struct Obstacle {
    /// Description of the obstacle.
    pub message: String,
    /// True if the committed output is lost.
    pub is_lost: bool,
}

/// A date.
#[derive(Clone, Debug, Default)]
pub struct DateFacts {
    /// The date, as `YYYY-MM-DD`.
    pub date: String,
    /// Number of pending files, by its counter.
    pub pending_files: u64,
    /// Bytes of pending files, by its counter.
    pub pending_bytes: u64,
    /// Arrival time of the oldest pending file.
    pub oldest_pending: Option<DateTime<Utc>>,
    /// True if a pending file was actually found, whatever the counter says.
    pub has_pending: bool,
    /// Lock under which its manifests are made, if it was ever taken.
    pub lock: Option<LockFacts>,
    /// Number of runs of the date, by state.
    pub runs: Vec<(RunState, u64)>,
    /// Number of files in completed runs.
    pub files_done: u64,
    /// Number of files in open runs.
    pub files_open: u64,
    /// Number of failed files that were neither converted nor released since.
    pub files_failed: u64,
    /// Rows of completed runs, if known.
    pub rows: Option<u64>,
    /// Number of refused files.
    pub refused: u64,
    /// True if the date has more than was counted.
    pub is_capped: bool,
    /// Time of the last commit.
    pub last_commit: Option<DateTime<Utc>>,
    /// Open wishes: rounds that operators requested, and no builder has made yet.
    pub wishes: Vec<WishFacts>,
}

/// A requested round for a date.
#[derive(Clone, Debug)]
pub struct WishFacts {
    /// Arrival time of the last file to be included; `None` for a sweep, which includes everything due.
    pub until: Option<DateTime<Utc>>,
    /// Person or program that requested it.
    pub actor: String,
    /// Time of the request.
    pub asked_at: DateTime<Utc>,
}

/// A lock.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LockFacts {
    /// Name of the lock.
    pub name: String,
    /// Holder, for people.
    pub holder: String,
    /// Token, which grows with each holder.
    pub token: u64,
    /// Moment it was taken, where that is known.
    pub acquired_at: Option<DateTime<Utc>>,
    /// Moment after which others may take it; none if it was let go of.
    pub expires_at: Option<DateTime<Utc>>,
}

impl LockFacts {
    /// Tells whether the lock is held.
    pub fn is_held(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expires| expires > now)
    }
}

/// A connected executor.
#[derive(Clone, Debug, Default)]
pub struct ExecutorFacts {
    /// Address from which it connected.
    pub host: String,
    /// Number of tasks that it can run concurrently.
    pub slots: u64,
    /// Number of its tasks.
    pub tasks: u64,
    /// True if it accepts no more tasks.
    pub is_draining: bool,
}

/// An executor that has disconnected.
#[derive(Clone, Debug)]
pub struct GoneFacts {
    /// Time at which it disconnected.
    pub at: DateTime<Utc>,
    /// Reason for the disconnect.
    pub reason: String,
    /// Number of tasks that it had then, which other executors repeat.
    pub lost_tasks: u64,
}

/// Event queue.
#[derive(Clone, Debug, Default)]
pub struct EventFacts {
    /// Approximate number of waiting messages.
    pub waiting: u64,
    /// Approximate number of messages handled per second, from recently arrived files.
    pub per_second: Option<f64>,
    /// Time and reason of the dead letter about this file.
    pub dead_letter: Option<(DateTime<Utc>, String)>,
}

/// Schedulers, executors and builders.
#[derive(Clone, Debug, Default)]
pub struct ClusterFacts {
    /// Leader: the scheduler that runs the manifests.
    pub leader: Leader,
    /// Executors, which only the leader knows.
    pub executors: Option<SlotFacts>,
    /// Conversion speed in input bytes per second, if measured.
    pub bytes_per_second: Option<f64>,
    /// Builders with heartbeats; `None` if unknown.
    pub builders: Option<Vec<BuilderFacts>>,
}

/// Leader: the scheduler that runs the manifests.
#[derive(Clone, Debug, Default)]
pub enum Leader {
    /// Not known.
    #[default]
    Unknown,
    /// A scheduler runs the manifests.
    Held {
        /// Name of the scheduler, as shown to people.
        holder: String,
    },
    /// There is no leader.
    Nobody {
        /// Name of the last leader, and the end of its lead, if known.
        last: Option<(String, Option<DateTime<Utc>>)>,
    },
}

/// Totals of executors.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlotFacts {
    /// Number of connected executors.
    pub executors: u64,
    /// Total number of slots.
    pub slots: u64,
    /// Number of running tasks.
    pub used: u64,
}

/// A builder with a heartbeat.
#[derive(Clone, Debug)]
pub struct BuilderFacts {
    /// Name of the builder: host and process.
    pub id: String,
    /// Time of its last heartbeat.
    pub seen_at: DateTime<Utc>,
}

/// Settings that determine the next events.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Limits of one manifest.
    pub caps: BatchCaps,
    /// Interval of the builders' sweeps, in seconds; 60 by default (`SWEEP_INTERVAL_SECONDS`).
    pub sweep_interval_seconds: u64,
    /// Interval at which builders look for wishes, in seconds; 5 by default.
    pub wish_interval_seconds: u64,
    /// Time without a heartbeat after which a builder counts as gone, in seconds: 120, four missing ones.
    pub builder_silence_seconds: u64,
    /// Number of failed attempts after which a run fails: `MAX_RETRIES` plus one.
    pub max_attempts: u32,
    /// Time limit of an attempt, in minutes (`RUN_TIMEOUT_MINUTES`).
    pub run_timeout_minutes: u64,
    /// Age at which files of a submission without a run are released, in seconds: 900.
    pub abandoned_seconds: u64,
    /// Retention of converted files, in days; `None` if unlimited.
    pub forgets_after_days: Option<u64>,
    /// Accepted sizes in bytes, both inclusive, for messages.
    pub size_bounds_bytes: Option<(u64, u64)>,
    /// URL of the state, if it is accessed directly: commands then work on it, since there may be no scheduler.
    pub direct_state: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            caps: BatchCaps::default(),
            sweep_interval_seconds: 60,
            wish_interval_seconds: 5,
            builder_silence_seconds: 120,
            max_attempts: 3,
            run_timeout_minutes: 120,
            abandoned_seconds: 900,
            forgets_after_days: None,
            size_bounds_bytes: None,
            direct_state: None,
        }
    }
}

impl Settings {
    /// Age of the oldest pending file at which a manifest is cut however few files there are.
    pub(crate) fn max_wait(&self) -> Duration {
        seconds(self.caps.max_wait_seconds)
    }
}

/// A duration in seconds, limited to a year, so that times cannot overflow.
pub(crate) fn seconds(seconds: u64) -> Duration {
    const YEAR_SECONDS: u64 = 366 * 86_400;
    Duration::seconds(i64::try_from(seconds.min(YEAR_SECONDS)).unwrap_or(0))
}
