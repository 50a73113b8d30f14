//! Rounds that somebody asks for: made once, and told.

use crate::program::{Backfill, Program};
use crate::{Backfilled, Builder};
use anyhow::Context;
use millwork_manifest::{Flush, printable};
use millwork_storage::{Location, Storage};
use serde::Serialize;
use std::io::{ErrorKind, Write};
use std::sync::Arc;

/// A builder with the settings of the options, on their state.
pub async fn open(options: &Program) -> anyhow::Result<Builder> {
    let (settings, state) = options.settings()?;
    let store = millwork_tracking::open(&state).await?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let holder = format!("{}:{}", host.trim(), std::process::id());
    Ok(Builder::new(store, Arc::new(Storage::from_env()), settings, holder))
}

/// Lists a place once, makes manifests of what is due, and says what was done.
pub async fn backfill(builder: &Builder, options: &Backfill) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Report {
        #[serde(flatten)]
        found: Backfilled,
        manifests: Vec<String>,
    }
    let place = Location::parse(&options.prefix)?;
    let found = builder.backfill(&place).await?;
    let flush = if options.flush { Flush::Now } else { Flush::WhenAged(chrono::Utc::now()) };
    let manifests = builder.cut_all(flush).await?.into_iter().map(|queued| queued.uri).collect();
    show(&Report { found, manifests }, options.json)
}

/// Finishes what a crash left, and makes manifests of what is due.
pub async fn sweep(builder: &Builder, json: bool) -> anyhow::Result<()> {
    show(&builder.sweep().await?, json)
}

/// Prints a report: as JSON for programs, else a line for each of its numbers and lists.
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

/// Writes to stdout. Whoever reads it may go, as `head` does.
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
