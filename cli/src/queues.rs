//! `millwork queues`: depths of queues, and their dead letters, which can be sent back.

use crate::client::{Client, ClientOptions};
use crate::exit::Exit;
use crate::failure::usage;
use crate::list::{print_json, time};
use crate::plans::{self, ChangeOptions, Consent};
use crate::state;
use crate::table;
use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use millwork_api::{
    Action, DeadLetter, DeadLetterQuery, DeadLetters, DeadLettersQuery, EventQueue, Limit, QueueInfo, QueueKind,
    Select, path,
};
use millwork_diagnosis::{many, shown};
use millwork_queue::{Letter, Letters};
use millwork_scheduler::{audit_note, check_reason};
use millwork_tracking::{AuditEntry, TrackingStore};
use serde::Serialize;
use std::process::ExitCode;
use std::sync::Arc;

/// Limit of the dead letters that a scheduler shows in one answer.
const MOST_ASKED: usize = 1000;

/// Show the queues of events, and the messages that nobody could process; put those back.
///
/// The queues are those of the environment, as `millwork bootstrap aws` prints it: QUEUE_URL, whose events tell of files, and
/// MANIFEST_QUEUE_URL, whose events tell of manifests; each has a queue for dead letters. Where none is named, the scheduler is asked
/// for those that its builders and it itself read.
///
/// Examples:
///   millwork queues list
///   millwork queues dead-letters --limit 10
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Count the messages of the queues, dead letters included; exit code 3 if there are some of those
    #[command(after_help = "Examples:\n  millwork queues list\n  millwork queues list --json")]
    List(ListOptions),
    /// Look at dead letters: when, why, about what. They stay where they are
    #[command(
        after_help = "Examples:\n  millwork queues dead-letters\n  millwork queues dead-letters --of manifests --limit 10 --json"
    )]
    DeadLetters(LookOptions),
    /// Put dead letters back into the queue that they came from, where they are tried anew. Without --yes they are only shown
    #[command(
        after_help = "Where no queue is named, the scheduler puts them back, by a plan.\n\nExamples:\n  millwork queues redrive --put-away-for received-too-often\n  millwork queues redrive 4a1c9d0e --yes --reason \"rights mended\" --state dynamodb:acme"
    )]
    Redrive(RedriveOptions),
}

#[derive(Args)]
struct Queues {
    /// Queue of events of new files
    #[arg(long, env = "QUEUE_URL", value_name = "URL")]
    queue_url: Option<String>,

    /// Queue for its dead letters [default: that of its redrive policy]
    #[arg(long, env = "DEAD_LETTER_QUEUE_URL", value_name = "URL")]
    dead_letter_queue_url: Option<String>,

    /// Queue of events of new manifests
    #[arg(long, env = "MANIFEST_QUEUE_URL", value_name = "URL")]
    manifest_queue_url: Option<String>,

    /// Queue for its dead letters [default: that of its redrive policy]
    #[arg(long, env = "MANIFEST_DEAD_LETTER_QUEUE_URL", value_name = "URL")]
    manifest_dead_letter_queue_url: Option<String>,
}

#[derive(Args)]
struct ListOptions {
    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    queues: Queues,

    #[command(flatten)]
    client: ClientOptions,
}

#[derive(Args)]
struct LookOptions {
    /// Queue whose dead letters are meant: files or manifests
    #[arg(long, value_name = "QUEUE", default_value = "files")]
    of: Name,

    /// Largest number of letters that are looked at
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    queues: Queues,

    #[command(flatten)]
    client: ClientOptions,
}

#[derive(Args)]
struct RedriveOptions {
    /// Letters by the beginnings of their ids [default: all that are looked at]
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    /// Only letters that were put away for this reason
    #[arg(long, value_name = "REASON")]
    put_away_for: Option<String>,

    /// Put them back; without it they are only shown
    #[arg(long)]
    yes: bool,

    /// Show what would be put back, and put nothing back
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,

    /// Reason, for the audit record
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,

    /// State that keeps the audit record: sqlite:PATH or dynamodb:TABLE
    #[arg(long, env = "MILLWORK_STATE", value_name = "URL")]
    state: Option<String>,

    #[command(flatten)]
    look: LookOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    Files,
    Manifests,
}

impl Name {
    fn as_str(self) -> &'static str {
        self.queue().as_str()
    }

    fn queue(self) -> EventQueue {
        match self {
            Self::Files => EventQueue::Files,
            Self::Manifests => EventQueue::Manifests,
        }
    }
}

impl Queues {
    /// Tells whether a queue is named: this process then accesses it, otherwise the scheduler.
    fn is_any_named(&self) -> bool {
        self.named(Name::Files).is_some() || self.named(Name::Manifests).is_some()
    }

    /// URL of the named queue, if any, and of its dead-letter queue.
    fn named(&self, name: Name) -> Option<(&str, Option<&str>)> {
        let (queue, dead_letters) = match name {
            Name::Files => (&self.queue_url, &self.dead_letter_queue_url),
            Name::Manifests => (&self.manifest_queue_url, &self.manifest_dead_letter_queue_url),
        };
        let is_said = |url: &&str| !url.is_empty();
        let queue = queue.as_deref().filter(is_said)?;
        Some((queue, dead_letters.as_deref().filter(is_said)))
    }

    async fn open(&self, name: Name) -> anyhow::Result<Letters> {
        let Some((queue, dead_letters)) = self.named(name) else {
            let option = if name == Name::Files { "--queue-url (QUEUE_URL)" } else { "--manifest-queue-url" };
            return Err(usage(format!("say which queue is meant: {option}")));
        };
        Letters::open(queue, dead_letters).await
    }
}

/// Depth of a queue, and of its dead-letter queue.
#[derive(Serialize)]
struct Counted {
    name: &'static str,
    url: String,
    messages: u64,
    dead_letters: u64,
}

/// A dead letter, as printed.
#[derive(Serialize)]
struct Shown {
    id: String,
    at: Option<DateTime<Utc>>,
    reason: String,
    detail: String,
    objects: Vec<String>,
}

impl Shown {
    fn of(letter: &Letter) -> Self {
        Self {
            id: letter.id.clone(),
            at: DateTime::from_timestamp_millis(letter.at_millis).filter(|_| letter.at_millis > 0),
            reason: letter.reason.clone(),
            detail: letter.detail.clone(),
            objects: letter.objects.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Shown {
    fn of_scheduler(letter: DeadLetter) -> Self {
        let id = letter.subject.split_once('/').map_or(letter.subject.as_str(), |(_, id)| id).to_owned();
        Self { id, at: letter.at, reason: letter.reason, detail: letter.detail, objects: letter.objects }
    }
}

/// Redriven dead letters, with results.
#[derive(Serialize)]
struct Redriven {
    is_dry_run: bool,
    letters: Vec<Shown>,
    /// Ids of letters that could not be sent back, with the reason.
    failed: Vec<(String, String)>,
}

pub(crate) async fn queues(options: Options) -> anyhow::Result<ExitCode> {
    match options.command {
        Command::List(options) => list(&options).await,
        Command::DeadLetters(options) => look(&options).await,
        Command::Redrive(options) => redrive(options).await,
    }
}

/// Depth of a queue, as counted by the scheduler.
fn counted_by(queue: &QueueInfo) -> anyhow::Result<u64> {
    let counts = queue.waiting.zip(queue.in_work).map(|(waiting, in_work)| waiting + in_work);
    counts.with_context(|| format!("the scheduler does not tell how many messages `{}` has", queue.url))
}

/// Event queue of files as counted by the scheduler, if a builder reads one.
async fn ask_for_queues(client: &ClientOptions) -> anyhow::Result<Option<Counted>> {
    let queues: millwork_api::Queues = Client::new(client)?.get(path::QUEUES, &()).await?;
    if let Some((queue, why)) = queues.items.iter().find_map(|queue| Some((queue, queue.error.as_ref()?))) {
        anyhow::bail!("the scheduler cannot count the messages of `{}`: {why}", queue.url);
    }
    let of = |kind| queues.items.iter().find(|queue| queue.kind == kind);
    let Some(events) = of(QueueKind::Events) else { return Ok(None) };
    // A builder without a dead-letter queue names none.
    let dead_letters = of(QueueKind::DeadLetters).map_or(Ok(0), counted_by)?;
    let messages = counted_by(events)?;
    Ok(Some(Counted { name: Name::Files.as_str(), url: events.url.clone(), messages, dead_letters }))
}

async fn list(options: &ListOptions) -> anyhow::Result<ExitCode> {
    let mut items = Vec::new();
    for name in [Name::Files, Name::Manifests] {
        if let Some((url, _)) = options.queues.named(name) {
            let depth = options.queues.open(name).await?.depth().await?;
            let (messages, dead_letters) = (depth.messages, depth.dead_letters);
            items.push(Counted { name: name.as_str(), url: url.to_owned(), messages, dead_letters });
        }
    }
    if items.is_empty() {
        items.extend(ask_for_queues(&options.client).await?);
    }
    let has_letters = items.iter().any(|counted| counted.dead_letters > 0);
    if options.json {
        print_json(&serde_json::json!({ "queues": items }))?;
    } else {
        let row = |counted: &Counted| {
            let (messages, dead_letters) = (counted.messages.to_string(), counted.dead_letters.to_string());
            [counted.name.to_owned(), messages, dead_letters, counted.url.clone()]
        };
        table::print(["QUEUE", "MESSAGES", "DEAD LETTERS", "URL"], &items.iter().map(row).collect::<Vec<_>>());
    }
    Ok(if has_letters { Exit::NeedsYou.into() } else { ExitCode::SUCCESS })
}

/// Dead letters, loaded from the scheduler.
async fn ask(options: &LookOptions) -> anyhow::Result<DeadLetters> {
    let limit = Limit((options.limit as usize).min(MOST_ASKED));
    let query = DeadLettersQuery { queue: options.of.queue(), limit };
    let letters: DeadLetters = Client::new(&options.client)?.get(path::DEAD_LETTERS, &query).await?;
    match letters.error {
        Some(why) => anyhow::bail!("the scheduler cannot look at the dead letters of {}: {why}", options.of.as_str()),
        None => Ok(letters),
    }
}

async fn look(options: &LookOptions) -> anyhow::Result<ExitCode> {
    let letters: Vec<Shown> = if options.queues.is_any_named() {
        let queue = options.queues.open(options.of).await?;
        let found = queue.look(options.limit as usize, |_| false).await?;
        queue.release(&found).await;
        found.iter().map(Shown::of).collect()
    } else {
        ask(options).await?.items.into_iter().map(Shown::of_scheduler).collect()
    };
    if options.json {
        print_json(&serde_json::json!({ "letters": letters }))?;
    } else {
        print(&letters);
    }
    Ok(if letters.is_empty() { ExitCode::SUCCESS } else { Exit::NeedsYou.into() })
}

fn print(letters: &[Shown]) {
    let row = |letter: &Shown| {
        let at = letter.at.map_or_else(|| "-".to_owned(), time);
        let about = letter.objects.first().map_or_else(|| "-".to_owned(), |uri| shown(uri));
        [shown(&letter.id), at, shown(&letter.reason), about, shown(&letter.detail)]
    };
    table::print(["ID", "SINCE", "REASON", "ABOUT", "DETAIL"], &letters.iter().map(row).collect::<Vec<_>>());
}

/// Lets the scheduler send letters back.
async fn ask_for_redrive(options: RedriveOptions) -> anyhow::Result<ExitCode> {
    let RedriveOptions { ids, put_away_for, yes, dry_run, reason, look, .. } = options;
    let select = if ids.is_empty() {
        Select::DeadLetters(DeadLetterQuery { queue: look.of.queue(), reason: put_away_for })
    } else {
        let is_meant = |letter: &DeadLetter| {
            let is_named =
                ids.iter().any(|id| letter.subject.split_once('/').is_some_and(|(_, known)| known.starts_with(id)));
            is_named && put_away_for.as_ref().is_none_or(|reason| *reason == letter.reason)
        };
        let found = ask(&look).await?.items.into_iter().filter(is_meant);
        let subjects: Vec<String> = found.map(|letter| letter.subject).collect();
        anyhow::ensure!(!subjects.is_empty(), "no dead letter of {} has an id that begins so", look.of.as_str());
        Select::Ids(subjects)
    };
    let reason = Some(reason).filter(|reason| !reason.is_empty());
    let consent = Consent { dry_run, yes, reason };
    let change = ChangeOptions { consent, all: false, json: look.json, client: look.client };
    plans::change(Action::RedriveDeadLetters, select, &change).await
}

async fn redrive(options: RedriveOptions) -> anyhow::Result<ExitCode> {
    if !options.look.queues.is_any_named() {
        return ask_for_redrive(options).await;
    }
    let store = store_of(&options).await?;
    let queue = options.look.queues.open(options.look.of).await?;
    let found = queue.look(options.look.limit as usize, |_| false).await?;
    let is_wanted = |letter: &&Letter| {
        let is_named = options.ids.is_empty() || options.ids.iter().any(|id| letter.id.starts_with(id.as_str()));
        is_named && options.put_away_for.as_ref().is_none_or(|reason| *reason == letter.reason)
    };
    let wanted: Vec<&Letter> = found.iter().filter(is_wanted).collect();
    let letters: Vec<Shown> = wanted.iter().map(|letter| Shown::of(letter)).collect();
    let mut redriven = Redriven { is_dry_run: store.is_none(), letters, failed: Vec::new() };
    if let Some(store) = store.filter(|_| !wanted.is_empty()) {
        redriven.failed = put_back(&*store, &queue, &wanted, note(&options, &wanted)).await?;
    }
    if redriven.is_dry_run {
        queue.release(&found).await;
    }
    if options.look.json {
        print_json(&redriven)?;
    } else {
        print_redriven(&redriven);
    }
    let has_some = !redriven.letters.is_empty();
    Ok(match (redriven.is_dry_run, redriven.failed.is_empty()) {
        (true, _) if has_some => {
            eprintln!("nothing was changed: say --yes --reason TEXT to put them back");
            Exit::NeedsYou.into()
        }
        (_, true) => ExitCode::SUCCESS,
        (_, false) => ExitCode::FAILURE,
    })
}

/// State that keeps the audit record; none if letters are only shown.
async fn store_of(options: &RedriveOptions) -> anyhow::Result<Option<Arc<dyn TrackingStore>>> {
    match (&options.state, options.yes) {
        (Some(state), true) => {
            check_reason(&options.reason).map_err(usage)?;
            Ok(Some(crate::store::open(state).await?))
        }
        (None, true) => Err(usage("name the state that keeps the audit record: --state sqlite:PATH or dynamodb:TABLE")),
        (_, false) => Ok(None),
    }
}

/// Puts letters back between writing and completing the audit record. Returns those that failed, with the reason.
async fn put_back(
    store: &dyn TrackingStore,
    queue: &Letters,
    wanted: &[&Letter],
    mut note: AuditEntry,
) -> anyhow::Result<Vec<(String, String)>> {
    store.audit(&note).await?;
    let mut failed = Vec::new();
    for letter in wanted {
        if let Err(error) = queue.put_back(letter).await {
            failed.push((letter.id.clone(), format!("{error:#}")));
        }
    }
    let done = wanted.len() - failed.len();
    note.outcome = Some(format!("{done} put back, {} failed", failed.len()));
    store.audit(&note).await?;
    Ok(failed)
}

fn print_redriven(redriven: &Redriven) {
    print(&redriven.letters);
    for (id, why) in &redriven.failed {
        println!("failed: {}: {}", shown(id), shown(why));
    }
    let count = many(redriven.letters.len() as u64, "letter");
    let word = if redriven.is_dry_run { "would be put back" } else { "put back" };
    println!("{count} {word}, {} failed", redriven.failed.len());
}

fn note(options: &RedriveOptions, wanted: &[&Letter]) -> AuditEntry {
    /// Limit of the letters that an audit record names: 100.
    const MAX_NAMED: usize = 100;
    let note = audit_note("queues redrive".to_owned(), &state::operator(), &options.reason, Utc::now());
    AuditEntry {
        subjects: wanted.iter().take(MAX_NAMED).map(|letter| letter.id.clone()).collect(),
        before: Some(many(wanted.len() as u64, "dead letter")),
        after: Some(format!("in the queue of {}", options.look.of.as_str())),
        ..note
    }
}
