//! Tables of the views.

use super::model::{Entry, Model, Tone, View};
use super::words::{dot, left, rate, share, time};
use crate::table::bytes;
use chrono::{DateTime, Utc};
use millwork_api::{DateNumbers, Executor, RunChange, RunProgress};
use millwork_diagnosis::{AttentionItem, Code, Subject, many, number};
use millwork_manifest::{FileState, RunState, printable};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) heading: &'static str,
    /// Rank in the order in which columns are dropped for lack of room: those of rank 0 are kept.
    pub(super) rank: u8,
    /// True if the column is right-aligned, as for numbers.
    pub(super) is_number: bool,
}

/// A row of a table.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Key of the row, which identifies it across updates.
    pub(super) key: String,
    pub(super) tone: Tone,
    pub(super) cells: Vec<String>,
}

/// A table. Its last column takes the remaining width.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// Note below the table.
    pub(super) note: Option<String>,
}

impl Model {
    /// Table of a view, with the rows that contain the filter text, ignoring case.
    pub(super) fn table(&self, view: View, filter: &str, now: DateTime<Utc>) -> Table {
        let (columns, rows, note) = match view {
            View::Runs => (runs(), self.main.runs.iter().map(|entry| entry.row(now)).collect(), self.runs_note()),
            View::Dates => (dates(), self.dates.iter().map(of_date).collect(), none(&self.dates, "there are no dates")),
            View::Executors => {
                let all = &self.main.executors;
                let nobody = if self.main.stats.leads { "no executor is connected" } else { STANDBY };
                (executors(), all.iter().map(|one| of_executor(one, now)).collect(), none(all, nobody))
            }
            View::Attention => {
                (causes(), self.items().iter().map(|item| of_item(item, now)).collect(), self.causes_note())
            }
            View::Events => {
                let rows: Vec<Row> = self.events.iter().map(|change| of_event(change, now)).collect();
                let note = none(&rows, "no run has changed since this listens");
                (events(), rows, note)
            }
        };
        let mut table = Table { columns, rows, note };
        table.rows.iter_mut().for_each(Row::make_printable);
        if !filter.is_empty() {
            let filter = filter.to_lowercase();
            table.rows.retain(|row| row.cells.iter().any(|cell| cell.to_lowercase().contains(&filter)));
            if table.rows.is_empty() {
                table.note = Some("nothing here holds the text of the filter".to_owned());
            }
        }
        table
    }

    /// Known causes that need a person.
    pub(super) fn items(&self) -> &[AttentionItem] {
        self.attention.as_ref().map_or(&[], |attention| &attention.items)
    }

    fn runs_note(&self) -> Option<String> {
        let told: u64 =
            self.main.stats.runs.iter().filter(|runs| runs.state == RunState::Queued).map(|runs| runs.runs).sum();
        let shown = self.main.runs.iter().filter(|entry| entry.run.state == RunState::Queued).count() as u64;
        match told.saturating_sub(shown) {
            // A difference of one can result from the time between two answers.
            more if more > 1 && shown >= 100 => Some(format!("… and {} more that wait", number(more))),
            _ => none(&self.main.runs, "no run yet"),
        }
    }

    fn causes_note(&self) -> Option<String> {
        match &self.attention {
            None => Some("what needs somebody is not known yet".to_owned()),
            Some(attention) if attention.left_out > 0 => Some(format!("… and {} more causes", attention.left_out)),
            Some(attention) => none(&attention.items, "nothing needs you"),
        }
    }
}

const STANDBY: &str = "executors connect to the scheduler that runs the manifests; this one stands by";

/// Sentence for a table without rows.
fn none<T>(rows: &[T], sentence: &str) -> Option<String> {
    rows.is_empty().then(|| sentence.to_owned())
}

impl Row {
    /// Escapes control characters.
    fn make_printable(&mut self) {
        self.cells.iter_mut().for_each(|cell| *cell = printable(cell).into_owned());
    }
}

const fn text(heading: &'static str, rank: u8) -> Column {
    Column { heading, rank, is_number: false }
}

const fn numbers(heading: &'static str, rank: u8) -> Column {
    Column { heading, rank, is_number: true }
}

fn runs() -> Vec<Column> {
    vec![
        text("RUN", 0),
        text("STATE", 0),
        numbers("READ", 3),
        numbers("TASKS", 4),
        numbers("RATE", 5),
        numbers("LEFT", 2),
        text("NOTE", 1),
    ]
}

fn dates() -> Vec<Column> {
    vec![
        text("DATE", 0),
        numbers("PENDING", 2),
        numbers("IN WORK", 3),
        numbers("DONE", 0),
        numbers("FAILED", 0),
        numbers("REFUSED", 1),
        numbers("INPUT", 4),
        numbers("OUTPUT", 6),
        numbers("ROWS", 5),
    ]
}

fn executors() -> Vec<Column> {
    vec![
        text("EXECUTOR", 0),
        numbers("TASKS", 0),
        numbers("RATE", 1),
        numbers("MEMORY", 3),
        text("MACHINE", 4),
        text("SINCE", 5),
        text("NOTE", 2),
    ]
}

fn events() -> Vec<Column> {
    vec![text("WHEN", 0), text("RUN", 0), text("STATE", 0), numbers("ATTEMPT", 2), text("NOTE", 1)]
}

fn causes() -> Vec<Column> {
    vec![numbers("HOW MANY", 2), text("CAUSE", 0), text("SINCE", 3), text("WHAT", 0)]
}

impl Entry {
    fn state(&self) -> (Tone, String) {
        let run = &self.run;
        let is_again = run.state == RunState::Queued && run.failures > 0;
        let tone = match run.state {
            RunState::Failed => Tone::Bad,
            _ if is_again => Tone::Warn,
            RunState::Queued | RunState::Draft => Tone::Plain,
            _ => Tone::Good,
        };
        let words = match &self.progress {
            Some(progress) if self.is_in_work() => format!("{} %", progress.percent),
            _ if is_again => format!("retry {}", run.failures),
            _ => run.state.to_string(),
        };
        (tone, format!("{} {words}", if is_again { "↻" } else { dot(run.state) }))
    }

    fn note(&self, now: DateTime<Utc>) -> String {
        let run = &self.run;
        let mut notes = Vec::new();
        if run.cancel_requested {
            notes.push("being cancelled".to_owned());
        }
        if let Some(progress) = self.progress.as_ref().filter(|_| self.is_in_work()) {
            notes.push(progress.phase.name.as_str().to_owned());
        }
        if let Some(at) = run.not_before.filter(|at| run.state == RunState::Queued && *at > now) {
            notes.push(format!("again at {}", time(at, now)));
        }
        if run.priority != 0 && run.state == RunState::Queued {
            notes.push(format!("priority {}", run.priority));
        }
        if let Some(summary) = run.summary.as_ref().filter(|_| run.state == RunState::Completed) {
            notes.push(format!("{} rows", number(summary.rows)));
            if summary.rejected > 0 {
                notes.push(format!("{} rejected", many(summary.rejected, "line")));
            }
        } else if let Some(failure) = &run.failure {
            notes.push(format!("{}: {}", failure.class, failure.message));
        }
        notes.join("; ")
    }

    /// Speed of a completed run, in bytes per second.
    fn speed(&self) -> Option<f64> {
        let run = &self.run;
        let seconds = (run.ended_at? - run.started_at?).as_seconds_f64();
        (run.state == RunState::Completed && seconds > 0.0).then_some(run.bytes? as f64 / seconds)
    }

    fn row(&self, now: DateTime<Utc>) -> Row {
        let (tone, state) = self.state();
        let progress = self.progress.as_ref();
        let of = |text: fn(&RunProgress) -> Option<String>| progress.and_then(text).unwrap_or_default();
        let read = match progress {
            Some(progress) => share(progress.read_bytes, progress.bytes),
            None => self.run.bytes.map_or_else(|| "unknown".to_owned(), bytes),
        };
        let cells = vec![
            self.run.manifest_id.to_string(),
            state,
            read,
            of(|progress| (progress.tasks > 0).then(|| format!("{}/{}", progress.tasks_done, progress.tasks))),
            progress.map_or_else(|| self.speed(), |progress| progress.bytes_per_second).map(rate).unwrap_or_default(),
            of(|progress| progress.eta_seconds.map(left)),
            self.note(now),
        ];
        Row { key: self.run.manifest_id.to_string(), tone, cells }
    }
}

fn of_date(date: &DateNumbers) -> Row {
    let files = |states: &[FileState]| -> u64 {
        date.files.iter().filter(|files| states.contains(&files.state)).map(|files| files.files).sum()
    };
    let (failed, done) = (files(&[FileState::Failed]), files(&[FileState::Completed]));
    let open = files(&[FileState::Pending, FileState::Manifested, FileState::Processing]);
    let tone = match (failed, open) {
        (1.., _) => Tone::Bad,
        (0, 0) => Tone::Good,
        _ => Tone::Plain,
    };
    let cells = vec![
        date.date.to_string(),
        number(files(&[FileState::Pending])),
        number(files(&[FileState::Manifested, FileState::Processing])),
        number(done),
        number(failed),
        number(files(&[FileState::Quarantined])),
        bytes(date.input_bytes),
        bytes(date.output_bytes),
        number(date.rows),
    ];
    Row { key: date.date.to_string(), tone, cells }
}

fn of_executor(executor: &Executor, now: DateTime<Utc>) -> Row {
    let memory = executor.memory_bytes.map(|used| match executor.memory_limit_bytes {
        Some(limit) => format!("{}/{}", bytes(used), bytes(limit)),
        None => bytes(used),
    });
    let note = match executor.draining_since {
        Some(at) => format!("takes no more tasks since {}", time(at, now)),
        None => executor.runs.join(", "),
    };
    let tone = match (executor.draining_since, executor.tasks) {
        (Some(_), _) => Tone::Warn,
        (None, 0) => Tone::Plain,
        _ => Tone::Good,
    };
    let machine = if executor.machine.is_empty() { &executor.host } else { &executor.machine };
    let cells = vec![
        executor.id.clone(),
        format!("{}/{}", executor.slots_used(), executor.vcores),
        rate(executor.bytes_per_second),
        memory.unwrap_or_default(),
        machine.clone(),
        time(executor.since, now),
        note,
    ];
    Row { key: executor.id.clone(), tone, cells }
}

/// Key that identifies a cause across updates.
pub(super) fn key_of(item: &AttentionItem) -> String {
    format!("{} {}", item.code, item.cause)
}

fn of_item(item: &AttentionItem, now: DateTime<Utc>) -> Row {
    let tone = if item.next.by_itself || item.code == Code::Refused { Tone::Warn } else { Tone::Bad };
    let since = item.since.map(|at| time(at, now)).unwrap_or_default();
    let cells = vec![number(item.count), item.code.to_string(), since, item.sentence_with_name()];
    Row { key: key_of(item), tone, cells }
}

fn of_event(change: &RunChange, now: DateTime<Utc>) -> Row {
    let tone = match change.state {
        RunState::Failed => Tone::Bad,
        RunState::Completed => Tone::Good,
        _ => Tone::Plain,
    };
    let attempt = if change.attempt == 0 { String::new() } else { number(u64::from(change.attempt)) };
    let done = change.run.as_ref().and_then(|run| run.summary.as_ref());
    let note = match (&change.failure, done) {
        (Some(failure), _) => format!("{}: {}", failure.class, failure.message),
        (None, Some(done)) => format!("{} rows, {} rejected", number(done.rows), number(done.rejected)),
        (None, None) => String::new(),
    };
    let state = format!("{} {}", dot(change.state), change.state);
    let cells = vec![time(change.at, now), change.manifest_id.to_string(), state, attempt, note];
    // A run can have many changes, so that the key includes the time.
    Row { key: format!("{} {} {}", change.manifest_id, change.at.timestamp_micros(), change.state), tone, cells }
}

/// Run of a row, if the view has runs.
pub(super) fn run_of(view: View, key: &str) -> Option<&str> {
    match view {
        View::Runs => Some(key),
        View::Events => key.split(' ').next(),
        View::Dates | View::Executors | View::Attention => None,
    }
}

/// Subject of a row that has details.
pub(super) fn subject_of(view: View, key: &str) -> Option<Subject> {
    match view {
        View::Runs | View::Events => run_of(view, key).map(|id| Subject::Run(id.to_owned())),
        View::Dates => Some(Subject::Date(key.to_owned())),
        View::Executors => Some(Subject::Executor(key.to_owned())),
        View::Attention => None,
    }
}
