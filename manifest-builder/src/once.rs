//! Rounds on request: each is made once and reported.

use crate::program::{Backfill, DatesToCut, Program};
use crate::{Backfilled, Builder, BuilderError, Cut, RedriveFilter, Redriven, Swept};
use anyhow::Context;
use millwork_manifest::{DatePrefix, Flush, printable};
use millwork_storage::{Location, Storage};
use millwork_tracking::{AuditEntry, Via};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::sync::Arc;

/// Opens the state and creates a builder from the options.
pub async fn open(options: &Program) -> anyhow::Result<Builder> {
    let (settings, state) = options.settings()?;
    let store = millwork_tracking::open(&state).await?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let holder = format!("{}:{}", host.trim(), std::process::id());
    Ok(Builder::new(store, Arc::new(Storage::from_env()), settings, holder))
}

/// Person or program that requested a round, for the audit record.
#[derive(Clone, Debug)]
pub struct Asked {
    /// User and host, or name of the process.
    pub actor: String,
    /// Interface through which it was requested.
    pub via: Via,
    /// Reason given by the operator.
    pub reason: Option<String>,
}

impl Asked {
    /// Requester of a round that a service makes by itself.
    pub fn by_service(builder: &Builder) -> Self {
        Self { actor: builder.holder.clone(), via: Via::Service, reason: None }
    }

    /// Makes a round between writing and completing its audit record. Without a record, the round is not made.
    async fn noted<T>(
        &self,
        builder: &Builder,
        (action, subjects): (&str, Vec<String>),
        round: impl Future<Output = Result<T, BuilderError>>,
        told: impl Fn(&T) -> String,
    ) -> anyhow::Result<T> {
        let mut note = AuditEntry {
            via: self.via,
            reason: self.reason.clone(),
            subjects,
            outcome: None,
            ..AuditEntry::done(builder.now(), self.actor.clone(), action, String::new())
        };
        builder.store.audit(&note).await?;
        let done = round.await;
        note.outcome = Some(match &done {
            Ok(done) => told(done),
            Err(error) => format!("broken off: {error}"),
        });
        // The round has been made, even if its record cannot be completed.
        if let Err(error) = builder.store.audit(&note).await {
            tracing::warn!(action, %error, "the outcome of a round cannot be noted");
        }
        Ok(done?)
    }
}

/// Lists a place once, makes the manifests that are due, and prints a report.
pub async fn backfill(builder: &Builder, options: &Backfill, asked: &Asked) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Report {
        #[serde(flatten)]
        found: Backfilled,
        manifests: Vec<String>,
    }
    let place = Location::parse(&options.prefix)?;
    let round = async {
        let found = builder.backfill(&place).await?;
        let flush = if options.flush { Flush::Now } else { Flush::WhenAged(chrono::Utc::now()) };
        let manifests = builder.cut_all(flush).await?.into_iter().map(|queued| queued.uri).collect();
        Ok::<_, BuilderError>(Report { found, manifests })
    };
    let told = |report: &Report| {
        let Report { found, manifests } = report;
        let (pending, refused) = (found.pending, found.quarantined.len());
        format!("{pending} files are pending, {refused} refused, {} manifests made", manifests.len())
    };
    show(&asked.noted(builder, ("backfill", vec![place.to_string()]), round, told).await?, options.json)
}

/// Takes back the quarantined and failed files of a place, as the filter chooses.
pub async fn redrive(
    builder: &Builder,
    place: &Location,
    filter: RedriveFilter,
    asked: &Asked,
) -> anyhow::Result<Redriven> {
    let told = |done: &Redriven| {
        let Redriven { pending, refused, missing, failed, .. } = done;
        let (pending, refused, missing, failed) = (pending.len(), refused.len(), missing.len(), failed.len());
        format!("{pending} files taken back, {refused} still refused, {missing} gone, {failed} failed")
    };
    let round = builder.redrive(place, filter, false);
    asked.noted(builder, ("redrive", vec![place.to_string()]), round, told).await
}

/// Makes manifests of all pending files of some dates, and prints a report. Dates locked by another process are
/// skipped, and reported.
pub async fn cut(builder: &Builder, options: &DatesToCut, asked: &Asked) -> anyhow::Result<()> {
    #[derive(Default, Serialize)]
    struct Report {
        made: Vec<String>,
        busy: Vec<DatePrefix>,
    }
    let dates: BTreeSet<_> = options.dates.iter().copied().collect();
    let subjects = dates.iter().map(ToString::to_string).collect();
    let round = async {
        let mut report = Report::default();
        for date in dates {
            match builder.cut(date, Flush::Now).await? {
                Cut::Busy => report.busy.push(date),
                Cut::Made(made) => report.made.extend(made.iter().map(|queued| queued.manifest.id.to_string())),
            }
        }
        Ok::<_, BuilderError>(report)
    };
    let told = |report: &Report| format!("{} manifests made, {} dates busy", report.made.len(), report.busy.len());
    let report = asked.noted(builder, ("cut", subjects), round, told).await?;
    show(&report, options.json)?;
    let busy = report.busy.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    anyhow::ensure!(busy.is_empty(), "a builder is making manifests of {busy} right now: try again in a minute");
    Ok(())
}

/// Finishes work that a crash left, and makes the manifests that are due.
pub async fn sweep(builder: &Builder, json: bool, asked: &Asked) -> anyhow::Result<()> {
    let told = |swept: &Swept| {
        format!("{} manifests finished, {} dropped, {} made", swept.finished.len(), swept.dropped, swept.made.len())
    };
    show(&asked.noted(builder, ("sweep", Vec::new()), builder.sweep(), told).await?, json)
}

/// Prints a report: as JSON for programs, otherwise with a line for each of its numbers and lists.
pub fn show(report: &impl Serialize, json: bool) -> anyhow::Result<()> {
    if json {
        return print(&format!("{}\n", serde_json::to_string_pretty(report)?));
    }
    let mut text = String::new();
    let value = serde_json::to_value(report)?;
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = name.replace('_', " ");
        match value {
            serde_json::Value::Array(items) => {
                text.push_str(&format!("{name}: {}\n", items.len()));
                for item in items {
                    text.push_str(&format!("  {}\n", printable(&line(item))));
                }
            }
            value => text.push_str(&format!("{name}: {value}\n")),
        }
    }
    print(&text)
}

/// Writes to stdout. A closed pipe, as with `head`, is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

fn line(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Object(fields) => {
            fields.values().filter(|value| !value.is_null()).map(line).collect::<Vec<_>>().join("  ")
        }
        serde_json::Value::Array(items) => items.iter().map(line).collect::<Vec<_>>().join("  "),
        value => value.to_string(),
    }
}
