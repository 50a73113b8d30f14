//! Facts that a diagnosis needs. Whatever is not known is absent, never guessed.

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
    /// The name of the subject: a URI, an id or a date.
    pub fn name(&self) -> &str {
        match self {
            Self::File(name) | Self::Run(name) | Self::Date(name) | Self::Executor(name) => name,
        }
    }
}

/// All that is known of a subject and of what it depends on.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The file, as the store remembers it.
    pub file: Option<FileFacts>,
    /// The file's object, as the storage shows it now.
    pub object: ObjectFacts,
    /// The place written to that the name lies below, such as `the output`.
    pub own_place: Option<String>,
    /// Names that are most like one that is not known.
    pub near: Vec<String>,
    /// The run that is asked about, or that the file is in.
    pub run: Option<RunFacts>,
    /// The date that is asked about, or that the file is of.
    pub date: Option<DateFacts>,
    /// The executor that is asked about, if it is connected.
    pub executor: Option<ExecutorFacts>,
    /// The executor that is asked about, if it has left lately.
    pub gone_executor: Option<GoneFacts>,
    /// Queue of events, if one is known.
    pub events: Option<EventFacts>,
    /// Schedulers, executors and builders.
    pub cluster: ClusterFacts,
}

/// A file, as the store remembers it.
#[derive(Clone, Debug)]
pub struct FileFacts {
    /// State of the file.
    pub state: FileState,
    /// Number of changes so far.
    pub version: u64,
    /// Size when it was last looked at, in bytes.
    pub size_bytes: u64,
    /// Entity tag then; empty if a manifest brought it without one.
    pub etag: String,
    /// Moment of arrival.
    pub arrived_at: DateTime<Utc>,
    /// Moment of the last change.
    pub updated_at: DateTime<Utc>,
    /// The manifest it is in.
    pub manifest_id: Option<String>,
    /// Reason of its refusal, or of its failure.
    pub reason: Option<String>,
    /// Address that the file was moved to when it was refused.
    pub quarantine_uri: Option<String>,
    /// Entity tag of newer content that was seen too late.
    pub overwritten_etag: Option<String>,
    /// The manifest that gave it back, if it is pending for that reason.
    pub sent_back: Option<SentBack>,
    /// Row of the ledger of its run's output.
    pub ledger: Option<LedgerRow>,
    /// Verdict of today's rules on a refused file: none if accepted, else the reason.
    pub verdict: Option<Result<(), String>>,
}

/// A return of a file from a manifest whose run ended without output.
#[derive(Clone, Debug)]
pub struct SentBack {
    /// The manifest.
    pub manifest_id: String,
    /// Moment of the return.
    pub at: DateTime<Utc>,
    /// The file that was at fault, if one was.
    pub at_fault: Option<String>,
}

/// Counts of the lines of a file, by what became of them.
#[derive(Clone, Debug, Default)]
pub struct LedgerRow {
    /// Lines read.
    pub lines: u64,
    /// Rows made of the file's lines.
    pub rows: u64,
    /// Lines rejected.
    pub rejected: u64,
    /// Lines of white space only.
    pub blank: u64,
    /// Cause and remedy, if the file has lines of which none became a row.
    pub without_rows: Option<String>,
}

/// The object of a file, as the storage shows it now.
#[derive(Clone, Debug, Default)]
pub enum ObjectFacts {
    /// Nobody has looked.
    #[default]
    NotAsked,
    /// The name is outside the places of input: nobody looks.
    Foreign,
    /// Nobody could look, for this reason.
    Unreachable(String),
    /// No object has this name.
    Gone,
    /// An object is there.
    There {
        /// Size in bytes.
        size_bytes: u64,
        /// Entity tag.
        etag: String,
        /// Moment of its last change.
        modified_at: DateTime<Utc>,
    },
}

/// A run.
#[derive(Clone, Debug)]
pub struct RunFacts {
    /// The manifest.
    pub id: String,
    /// The date of its files.
    pub date: String,
    /// State of the run.
    pub state: RunState,
    /// Attempts started so far.
    pub attempts: u32,
    /// Attempts that failed since somebody queued the run.
    pub failures: u32,
    /// Priority; higher goes first.
    pub priority: i32,
    /// Number of its files.
    pub files: u64,
    /// Bytes of its files.
    pub bytes: u64,
    /// Moment before which no attempt starts.
    pub not_before: Option<DateTime<Utc>>,
    /// True if somebody wants the run cancelled.
    pub cancel_requested: bool,
    /// Failure of the run, or of the attempt before.
    pub failure: Option<Failure>,
    /// Moment it was queued.
    pub created_at: DateTime<Utc>,
    /// Moment of the last change.
    pub updated_at: DateTime<Utc>,
    /// Moment its newest attempt started.
    pub started_at: Option<DateTime<Utc>>,
    /// Moment its output was decided on.
    pub committed_at: Option<DateTime<Utc>>,
    /// Moment it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Place in the queue.
    pub place: Option<QueuePlace>,
    /// Progress of its attempt.
    pub progress: Option<Progress>,
    /// Time that runs of this size take.
    pub usual: Option<Usual>,
    /// Output of the run, once it is committed.
    pub output: Option<OutputFacts>,
}

/// The place of a run among those that wait.
#[derive(Clone, Copy, Debug)]
pub struct QueuePlace {
    /// Runs before it, as far as they were counted.
    pub runs_before: u64,
    /// Bytes of those.
    pub bytes_before: u64,
    /// Runs that wait, in all, where that was counted.
    pub of: Option<u64>,
    /// True if more runs are before it than were counted.
    pub is_capped: bool,
}

/// Progress of an attempt.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Input bytes read so far, if they are counted.
    pub read_bytes: Option<u64>,
    /// Tasks in all.
    pub tasks: u64,
    /// Tasks that have ended.
    pub tasks_done: u64,
    /// Tasks that executors have now, each with its executor.
    pub running: Vec<String>,
    /// Executors that had tasks of it and are silent or gone.
    pub lost_executors: Vec<String>,
    /// Time until the rest is read, in seconds, where the speed is steady enough to tell.
    pub eta_seconds: Option<f64>,
}

/// Time that earlier runs of about this size took from their start to their commit, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Usual {
    /// Number of runs it was taken from.
    pub runs: u64,
    /// Time that half of the tasks took at most, in seconds.
    pub half_seconds: u64,
    /// Time that 19 of 20 took at most.
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
    /// Place of the first rejected line.
    pub first: Option<String>,
    /// Place of the records of rejected lines, if there are any.
    pub rejected_lines: Option<String>,
    /// Files with lines of which none became a row, and the first of them, with cause and remedy.
    pub without_rows: Option<(u64, String, String)>,
    /// Output files that are not where the commit says, as far as they were looked for.
    pub missing: Vec<String>,
    /// Obstacle to the publication of a committed output, and whether what it names is lost for good.
    pub obstacle: Option<Obstacle>,
}

/// Obstacle to the publication of a committed output.
#[derive(Clone, Debug)]
pub struct Obstacle {
    /// Finding, in words.
    pub message: String,
    /// True if the output that was to be shown is gone.
    pub is_lost: bool,
}

/// A date.
#[derive(Clone, Debug, Default)]
pub struct DateFacts {
    /// The date, as `YYYY-MM-DD`.
    pub date: String,
    /// Pending files that its counter tells of.
    pub pending_files: u64,
    /// Bytes of those.
    pub pending_bytes: u64,
    /// Arrival of the oldest pending file.
    pub oldest_pending: Option<DateTime<Utc>>,
    /// True if a pending file was found in fact, whatever the counter says.
    pub has_pending: bool,
    /// Lock under which its manifests are made, if it was ever taken.
    pub lock: Option<LockFacts>,
    /// Runs of the date, by state.
    pub runs: Vec<(RunState, u64)>,
    /// Files in completed runs.
    pub files_done: u64,
    /// Files in runs that have not ended.
    pub files_open: u64,
    /// Files that have failed, and were neither converted nor given back since.
    pub files_failed: u64,
    /// Rows of completed runs, where they are known.
    pub rows: Option<u64>,
    /// Refused files.
    pub refused: u64,
    /// True if there is more of the date than was counted.
    pub is_capped: bool,
    /// Moment of the last commit.
    pub last_commit: Option<DateTime<Utc>>,
    /// Rounds that somebody wishes for, and that no builder has made yet.
    pub wishes: Vec<WishFacts>,
}

/// Round of a date that somebody wishes for.
#[derive(Clone, Debug)]
pub struct WishFacts {
    /// Arrival of the last file that is to be in a manifest; none of a sweep, which means all that is due.
    pub until: Option<DateTime<Utc>>,
    /// Person or program that wishes for it.
    pub actor: String,
    /// Moment it was wished for.
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
    /// Tells whether somebody holds the lock.
    pub fn is_held(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|expires| expires > now)
    }
}

/// An executor that is connected.
#[derive(Clone, Debug, Default)]
pub struct ExecutorFacts {
    /// Address that it called from.
    pub host: String,
    /// Tasks that it runs at once.
    pub slots: u64,
    /// Tasks that it has now.
    pub tasks: u64,
    /// True if the executor takes no more tasks.
    pub is_draining: bool,
}

/// An executor that has left.
#[derive(Clone, Debug)]
pub struct GoneFacts {
    /// Moment it left.
    pub at: DateTime<Utc>,
    /// Reason.
    pub reason: String,
    /// Tasks that it had when it left, which other executors do again.
    pub lost_tasks: u64,
}

/// Queue of events.
#[derive(Clone, Debug, Default)]
pub struct EventFacts {
    /// Messages that wait, about.
    pub waiting: u64,
    /// Messages handled a second, about: files that came lately.
    pub per_second: Option<f64>,
    /// Dead letter about this file: moment and reason.
    pub dead_letter: Option<(DateTime<Utc>, String)>,
}

/// Schedulers, executors and builders.
#[derive(Clone, Debug, Default)]
pub struct ClusterFacts {
    /// Scheduler that runs the manifests.
    pub leader: Leader,
    /// Executors, which only the scheduler that runs the manifests knows.
    pub executors: Option<SlotFacts>,
    /// Input bytes that are converted a second, where that was measured.
    pub bytes_per_second: Option<f64>,
    /// Builders that have noted themselves; none if that is not known.
    pub builders: Option<Vec<BuilderFacts>>,
}

/// Scheduler that runs the manifests.
#[derive(Clone, Debug, Default)]
pub enum Leader {
    /// Not known.
    #[default]
    Unknown,
    /// A scheduler runs the manifests.
    Held {
        /// Name of the scheduler, for people.
        holder: String,
    },
    /// None does.
    Nobody {
        /// Name of the last scheduler, and the time until which it ran the manifests, where that is known.
        last: Option<(String, Option<DateTime<Utc>>)>,
    },
}

/// Executors, added up.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlotFacts {
    /// Executors that are connected.
    pub executors: u64,
    /// Limit of the tasks that all executors run at once.
    pub slots: u64,
    /// Tasks that the executors run now.
    pub used: u64,
}

/// A builder that has noted itself.
#[derive(Clone, Debug)]
pub struct BuilderFacts {
    /// Name of the builder: host and process.
    pub id: String,
    /// Moment of its last sign of life.
    pub seen_at: DateTime<Utc>,
}

/// Settings that decide what happens next.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Caps of one manifest.
    pub caps: BatchCaps,
    /// Pause between two sweeps of the builders, in seconds: 60 unless told (`SWEEP_INTERVAL_SECONDS`).
    pub sweep_interval_seconds: u64,
    /// Pause between two looks of the builders for what operators wish for, in seconds: 5 unless told.
    pub wish_interval_seconds: u64,
    /// Silence after which a builder counts as gone, in seconds: 120, four of its signs of life.
    pub builder_silence_seconds: u64,
    /// Attempts of a run that fail before the run does: `MAX_RETRIES` and one.
    pub max_attempts: u32,
    /// Time that one attempt may take, in minutes (`RUN_TIMEOUT_MINUTES`).
    pub run_timeout_minutes: u64,
    /// Age at which files of a submission without a run are released, in seconds: 900.
    pub abandoned_seconds: u64,
    /// Age after which converted files are forgotten, in days; none where nothing is.
    pub forgets_after_days: Option<u64>,
    /// Sizes that are accepted, in bytes, both included, for sentences.
    pub size_bounds_bytes: Option<(u64, u64)>,
    /// URL of the state, if it is looked at directly: commands then work on it, since there may be no scheduler to ask.
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
    /// Age of the oldest pending file at which a rest goes, however small.
    pub(crate) fn max_wait(&self) -> Duration {
        seconds(self.caps.max_wait_seconds)
    }
}

/// A span of so many seconds; of a year if it is longer, so that no time overflows.
pub(crate) fn seconds(seconds: u64) -> Duration {
    const YEAR_SECONDS: u64 = 366 * 86_400;
    Duration::seconds(i64::try_from(seconds.min(YEAR_SECONDS)).unwrap_or(0))
}
