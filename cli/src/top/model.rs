//! Data of the view: answers of the API, and derived values.

use chrono::{DateTime, Utc};
use millwork_api::{DateNumbers, Executor, Point, Run, RunChange, RunDetail, RunProgress, Stats};
use millwork_diagnosis::{Diagnosis, Subject};
use millwork_manifest::{FileState, RunState};
use millwork_scheduler::Attention;
use serde::Serialize;
use std::collections::VecDeque;

/// Limit of the changes of runs that are kept: 200, some screens.
const MAX_EVENTS: usize = 200;

/// State of the cluster, as last received.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Model {
    /// URL of the scheduler.
    pub(super) scheduler: String,
    /// Name of the leader.
    pub(super) leader: Option<String>,
    #[serde(flatten)]
    pub(super) main: Main,
    /// Converted input bytes per second over the last hour.
    pub(super) throughput: Vec<Point>,
    pub(super) dates: Vec<DateNumbers>,
    pub(super) attention: Option<Attention>,
    /// Received changes of runs, newest first; at most [`MAX_EVENTS`].
    #[serde(skip)]
    pub(super) events: VecDeque<RunChange>,
}

/// Answers that change quickly.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Main {
    /// Time of the answer.
    pub(super) at: DateTime<Utc>,
    pub(super) stats: Stats,
    pub(super) runs: Vec<Entry>,
    pub(super) executors: Vec<Executor>,
    #[serde(skip)]
    pub(super) details: Option<Details>,
}

/// Answers that are expensive, or change slowly; `None` for those not requested.
#[derive(Clone, Debug, Default)]
pub(super) struct Slow {
    pub(super) leader: Option<Option<String>>,
    pub(super) throughput: Option<Vec<Point>>,
    pub(super) dates: Option<Vec<DateNumbers>>,
    pub(super) attention: Option<Attention>,
}

/// A run with its progress.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Entry {
    #[serde(flatten)]
    pub(super) run: Run,
    pub(super) progress: Option<RunProgress>,
}

/// Details of a subject.
#[derive(Clone, Debug)]
pub(super) struct Details {
    pub(super) about: Subject,
    pub(super) run: Option<RunDetail>,
    pub(super) why: Diagnosis,
}

/// Subject of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum View {
    #[default]
    Runs,
    Dates,
    Executors,
    Attention,
    Events,
}

impl View {
    /// All views, in the order of their keys.
    pub(super) const ALL: [Self; 5] = [Self::Runs, Self::Dates, Self::Executors, Self::Attention, Self::Events];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Runs => "Runs",
            Self::Dates => "Dates",
            Self::Executors => "Executors",
            Self::Attention => "Attention",
            Self::Events => "Events",
        }
    }
}

/// Meaning of a text, which determines its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    #[default]
    Plain,
    Dim,
    Strong,
    Active,
    Good,
    Warn,
    Bad,
}

impl Entry {
    /// Sorts runs: those closest to their end first; queued ones in the order of the queue.
    pub(super) fn in_order(mut runs: Vec<Run>) -> Vec<Self> {
        // A run that changed during the requests can be listed in both states.
        runs.sort_by(|a, b| a.manifest_id.cmp(&b.manifest_id).then(b.updated_at.cmp(&a.updated_at)));
        runs.dedup_by(|a, b| a.manifest_id == b.manifest_id);
        runs.sort_by_key(|run| {
            let turn = match run.state {
                RunState::Failed | RunState::Completed => (0, -run.updated_at.timestamp_millis()),
                RunState::Queued => (-i64::from(run.priority), run.created_at.timestamp_millis()),
                _ => (0, run.started_at.unwrap_or(run.created_at).timestamp_millis()),
            };
            (place(run.state), turn)
        });
        runs.into_iter().map(|run| Self { run, progress: None }).collect()
    }

    /// Tells whether an attempt at the run is in progress.
    pub(super) fn is_in_work(&self) -> bool {
        matches!(self.run.state, RunState::Planning | RunState::Running | RunState::Committing)
    }
}

/// Sort position of a state.
fn place(state: RunState) -> u8 {
    match state {
        RunState::Committing => 0,
        RunState::Running => 1,
        RunState::Planning => 2,
        RunState::Queued => 3,
        RunState::Draft => 4,
        RunState::Failed => 5,
        RunState::Completed | RunState::Cancelled => 6,
    }
}

impl Model {
    pub(super) fn new(base: &str, main: Main) -> Self {
        let scheduler = base.to_owned();
        Self {
            scheduler,
            leader: None,
            main,
            throughput: Vec::new(),
            dates: Vec::new(),
            attention: None,
            events: VecDeque::new(),
        }
    }

    /// Updates the model for a changed run.
    pub(super) fn hear(&mut self, change: RunChange) {
        self.events.truncate(MAX_EVENTS - 1);
        self.events.push_front(change);
    }

    /// Updates the model with slowly changing data.
    pub(super) fn take(&mut self, slow: Slow) {
        if let Some(leader) = slow.leader {
            self.leader = leader;
        }
        if let Some(throughput) = slow.throughput {
            self.throughput = throughput;
        }
        if let Some(dates) = slow.dates {
            self.dates = dates;
        }
        if slow.attention.is_some() {
            self.attention = slow.attention;
        }
    }

    /// Number of files in these states.
    pub(super) fn files(&self, states: &[FileState]) -> u64 {
        self.main.stats.files.iter().filter(|files| states.contains(&files.state)).map(|files| files.files).sum()
    }
}
