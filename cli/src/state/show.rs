//! Reading commands: print results for people or as JSON.

use super::ask::Source;
use super::{ByStatus, Command, FindOrphans, Named, Validate, named};
use crate::client::Client;
use crate::exit::Exit;
use crate::list::print_json;
use crate::table;
use chrono::{SecondsFormat, Utc};
use millwork_api::{File, Page};
use millwork_diagnosis::{many, number, shown};
use millwork_scheduler::{
    Consistency, FileQuery, FileReport, FileStats, MAX_FILES_READ, Orphans, Scope, Story, StoryStep, shown_file,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Number of files that a scheduler reads per page.
const PAGE: usize = 1000;

pub(super) async fn read(source: &Source, command: Command, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Command::GetFileState(options) => {
            let report: FileReport = match source {
                Source::State(operations) => operations.get_file_state(&options.uri, Utc::now()).await?,
                Source::Scheduler(client) => {
                    client.get("/api/v1/state/get-file-state", &[("uri", options.uri.to_string())]).await?
                }
            };
            print(&report, json, file_report)
        }
        Command::QueryByStatus(query) => query_by_status(source, query, json).await,
        Command::GetStats(recorded) => {
            let stats: FileStats = match source {
                Source::State(operations) => operations.get_stats(MAX_FILES_READ, Utc::now()).await?,
                Source::Scheduler(client) => client.get("/api/v1/state/get-stats", &()).await?,
            };
            if recorded.record {
                source.on_state("--record")?.record("stats", &stats.totals(), Utc::now()).await?;
            }
            print(&stats, json, stats_table)
        }
        Command::GetProcessingTimeline(options) => {
            let story = story(source, &options.subject).await?;
            print(&story, json, |story| steps(&story.steps))
        }
        Command::FindOrphans(options) => find_orphans(source, options, json).await,
        Command::ValidateConsistency(options) => validate(source, options, json).await,
        Command::ResetStuckFiles(_) | Command::UpdateState(_) | Command::BatchUpdate(_) => {
            anyhow::bail!("a writer was taken for a reader")
        }
    }
}

fn print<T: Serialize>(value: &T, json: bool, text: impl FnOnce(&T)) -> anyhow::Result<ExitCode> {
    if json {
        print_json(value)?;
    } else {
        text(value);
    }
    Ok(ExitCode::SUCCESS)
}

fn file_report(report: &FileReport) {
    print!("{}", crate::why::text_of(&report.diagnosis));
    for (name, value) in report.file.iter().filter_map(Value::as_object).flatten() {
        if !value.is_null() {
            let text = value.as_str().map_or_else(|| value.to_string(), shown);
            println!("  {name}: {text}");
        }
    }
    if let Some(at) = report.expires_at {
        println!("  forgotten after: {}", time(at));
    }
    if let Some(lock) = &report.lock {
        let until = lock.expires_at.map_or_else(|| "free".to_owned(), |at| format!("until {}", time(at)));
        println!("  lock: {} {}, last holder {}, token {}", shown(&lock.name), until, shown(&lock.holder), lock.token);
    }
    steps(&report.timeline);
}

fn time(at: chrono::DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn steps(steps: &[StoryStep]) {
    let rows: Vec<[String; 4]> = steps
        .iter()
        .map(|step| {
            let mark = if step.is_longest { " ← longest" } else { "" };
            let after = format!("+{:.1} s{mark}", step.after_seconds);
            [time(step.at), step.state.clone(), after, step.detail.clone().unwrap_or_default()]
        })
        .collect();
    table::print(["AT", "STATE", "AFTER", "DETAIL"], &rows);
}

fn stats_table(stats: &FileStats) {
    let rows: Vec<[String; 4]> = stats
        .dates
        .iter()
        .flat_map(|date| {
            let name = date.date.clone().unwrap_or_else(|| "no date".to_owned());
            date.states.iter().map(move |(state, [files, bytes])| {
                [name.clone(), state.clone(), number(*files), table::size(*bytes, *bytes > 0 || *files == 0)]
            })
        })
        .collect();
    table::print(["DATE", "STATE", "FILES", "SIZE"], &rows);
    for (state, [half, most, oldest]) in &stats.ages_seconds {
        println!("{state}: half are younger than {half} s, 19 of 20 than {most} s, the oldest is {oldest} s old");
    }
    if stats.is_capped {
        eprintln!("there are more files than were counted: --state counts up to {}", number(MAX_FILES_READ as u64));
    }
}

async fn query_by_status(source: &Source, query: ByStatus, json: bool) -> anyhow::Result<ExitCode> {
    let now = Utc::now();
    let wanted = FileQuery {
        state: Some(query.status),
        date: query.date,
        since: query.since.and_then(|age| now.checked_sub_signed(age)),
        before: query.older_than.and_then(|age| now.checked_sub_signed(age)),
        prefix: query.prefix,
        reason: query.refused_for,
        manifest: query.manifest,
    };
    let limit = query.limit as usize;
    let (files, is_all) = match source {
        Source::State(operations) => {
            let mut files = Vec::new();
            let keep = |file| {
                files.push(shown_file(file));
                true
            };
            let is_all = operations.query_by_status(&wanted, limit, MAX_FILES_READ, keep).await?;
            (files, is_all)
        }
        Source::Scheduler(client) => list_by_status(client, parameters(wanted), limit).await?,
    };
    if json {
        print_json(&json!({"files": files, "is_all": is_all}))?;
        return Ok(ExitCode::SUCCESS);
    }
    table::print(["FILE", "SIZE", "CHANGED", "RUN", "REASON"], &files.iter().map(file_row).collect::<Vec<_>>());
    if !is_all {
        eprintln!("there are more: --limit shows them");
    }
    Ok(ExitCode::SUCCESS)
}

fn file_row(file: &File) -> [String; 5] {
    let text = |value: &Option<String>| value.as_deref().map_or_else(String::new, shown);
    let size = table::size(file.size_bytes, file.size_bytes > 0 || !file.etag.is_empty());
    let changed = file.updated_at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    [shown(&file.uri), size, changed, text(&file.manifest_id), text(&file.reason)]
}

/// Parameters of a request for files.
fn parameters(wanted: FileQuery) -> Vec<(&'static str, String)> {
    let moment = |at: Option<chrono::DateTime<Utc>>| at.map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
    let said = [
        ("state", wanted.state.map(|state| state.to_string())),
        ("date", wanted.date.map(|date| date.to_string())),
        ("since", moment(wanted.since)),
        ("before", moment(wanted.before)),
        ("prefix", wanted.prefix),
        ("reason", wanted.reason),
        ("manifest", wanted.manifest),
    ];
    said.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Files of several pages, and whether these are all.
async fn list_by_status(
    client: &Client,
    said: Vec<(&'static str, String)>,
    limit: usize,
) -> anyhow::Result<(Vec<File>, bool)> {
    let (mut files, mut cursor): (Vec<File>, Option<String>) = (Vec::new(), None);
    loop {
        let mut query = said.clone();
        query.push(("limit", PAGE.to_string()));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: Page<File> = client.get("/api/v1/state/query-by-status", &query).await?;
        files.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() || files.len() >= limit {
            let is_all = cursor.is_none() && files.len() <= limit;
            files.truncate(limit);
            return Ok((files, is_all));
        }
    }
}

async fn story(source: &Source, subject: &str) -> anyhow::Result<Story> {
    match (named(subject)?, source) {
        (Named::File(uri), Source::State(operations)) => Ok(operations.story_of_file(&uri).await?),
        (Named::File(uri), Source::Scheduler(client)) => {
            client.get("/api/v1/state/get-processing-timeline", &[("uri", uri.to_string())]).await
        }
        (Named::Run(id), Source::State(operations)) => {
            let story = operations.story_of_run(&id).await?;
            story.ok_or_else(|| anyhow::anyhow!("no run of manifest `{id}`; `millwork why {id}` shows what is like it"))
        }
        (Named::Run(id), Source::Scheduler(client)) => {
            client.get("/api/v1/state/get-processing-timeline", &[("run", id.to_string())]).await
        }
    }
}

async fn find_orphans(source: &Source, options: FindOrphans, json: bool) -> anyhow::Result<ExitCode> {
    source.check_on_state(options.recorded.record, "--record")?;
    let mut found: Orphans = match source {
        Source::State(operations) => operations.find_orphans(options.older_than, Utc::now()).await?,
        Source::Scheduler(client) => {
            let age = options.older_than.num_seconds().to_string();
            let query = [("older_than_seconds", age), ("objects", options.objects.to_string())];
            client.get("/api/v1/state/find-orphans", &query).await?
        }
    };
    if let (true, Source::State(operations)) = (options.objects, source) {
        operations.add_orphaned_objects(&mut found, options.older_than, Utc::now()).await?;
    }
    if options.recorded.record {
        let numbers = [("found".to_owned(), found.orphans.len() as u64), ("files-read".to_owned(), found.files_read)];
        source.on_state("--record")?.record("orphans", &numbers, Utc::now()).await?;
    }
    print(&found, json, |found| {
        for orphan in &found.orphans {
            println!(
                "{}  {}\n  {}\n  try: {}",
                orphan.kind.as_str(),
                shown(&orphan.subject),
                shown(&orphan.found),
                orphan.remedy
            );
        }
        let objects =
            found.objects_listed.map(|listed| format!(", {} listed", many(listed, "object"))).unwrap_or_default();
        println!("{}; {} read{objects}", many(found.orphans.len() as u64, "orphan"), many(found.files_read, "file"));
        if found.is_capped {
            eprintln!("there is more than was looked at");
        }
    })?;
    Ok(code_of(found.orphans.is_empty()))
}

async fn validate(source: &Source, options: Validate, json: bool) -> anyhow::Result<ExitCode> {
    source.check_on_state(options.no_objects, "--no-objects")?;
    let found: Consistency = match source {
        Source::State(operations) => {
            let scope =
                Scope { date: options.date, limit: options.limit as usize, looks_at_objects: !options.no_objects };
            operations.validate_consistency(scope, Utc::now()).await?
        }
        Source::Scheduler(client) => {
            let mut query = vec![("limit", options.limit.min(10_000).to_string())];
            query.extend(options.date.map(|date| ("date", date.to_string())));
            client.get("/api/v1/state/validate-consistency", &query).await?
        }
    };
    let is_told_below = json && options.fix;
    let tell = |found: &Consistency| {
        for finding in &found.findings {
            println!(
                "{}  {}\n  {}\n  try: {}",
                finding.invariant,
                shown(&finding.subject),
                shown(&finding.found),
                finding.remedy
            );
        }
        println!(
            "{}; {}, {}, {}",
            many(found.findings.len() as u64, "finding"),
            many(found.checked.len() as u64, "invariant"),
            many(found.files, "file"),
            many(found.runs, "run")
        );
        if found.is_capped {
            eprintln!("there is more than was looked at: --limit, or --date");
        }
    };
    if !is_told_below {
        print(&found, json, tell)?;
    }
    match options.fix {
        true => super::write::mend(source, &found, options.date, &options.written, json).await,
        false => Ok(code_of(found.findings.is_empty())),
    }
}

fn code_of(is_clean: bool) -> ExitCode {
    if is_clean { ExitCode::SUCCESS } else { Exit::NeedsYou.into() }
}
