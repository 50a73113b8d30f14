//! Rounds of builders for a date: to cut a manifest now, or to finish leftovers of a crash. Only builders have the
//! settings for manifests, so that the change stores a wish, which the next builder that looks for wishes takes.

use super::found::{Looked, Made, planned, refused};
use crate::service::Service;
use chrono::{DateTime, SecondsFormat, Utc};
use millwork_api::{Action, BuilderInfo, Change, ChangeResult, DateQuery, Plan};
use millwork_diagnosis::{bytes, many};
use millwork_manifest::{DatePrefix, RunState};
use millwork_tracking::{BuilderNote, FileFilter, Round, RunFilter, TrackedFile, TrackingResult, Wish, open_wishes};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// Limit of the pending files of a date that a cut is planned for: the oldest 2,000. With more, many manifests are due
/// anyway.
const MAX_FILES: usize = 2000;
/// Limit of the unfinished manifests of a date that are counted: 100. Each normally exists only briefly.
const MAX_DRAFTS: usize = 100;
/// Digits of the hash that identifies a set of files.
const MARK_DIGITS: usize = 16;

/// Pending files of a date, as they were read.
struct Waiting {
    files: Vec<TrackedFile>,
    has_more: bool,
}

impl Waiting {
    async fn of(service: &Service, date: DatePrefix) -> TrackingResult<Self> {
        let mut files = service.store().pending(date, MAX_FILES + 1).await?;
        let has_more = files.len() > MAX_FILES;
        if let Some(last) = files.last().map(|file| file.arrived_at).filter(|_| has_more) {
            // Files that arrived at the same time are included either all or not at all.
            files.retain(|file| file.arrived_at < last);
        }
        Ok(Self { files, has_more })
    }

    /// Latest arrival time.
    fn until(&self) -> Option<DateTime<Utc>> {
        self.files.iter().map(|file| file.arrived_at).max()
    }

    /// Version of the set of files: the latest arrival time and a hash, as in `2025-12-23T14:01:02.000003Z 4f…`.
    fn version(&self, until: DateTime<Utc>) -> String {
        let mut hash = Sha256::new();
        for file in &self.files {
            hash.update(format!("{}\0{}\0{}\n", file.uri, file.version, file.size_bytes));
        }
        let mut mark: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        mark.truncate(MARK_DIGITS);
        format!("{} {mark}", until.to_rfc3339_opts(SecondsFormat::Micros, true))
    }

    fn in_words(&self) -> String {
        let size = self.files.iter().map(|file| file.size_bytes).sum();
        let more = if self.has_more { ", the oldest of more" } else { "" };
        format!("{} pending{more}, {}", many(self.files.len() as u64, "file"), bytes(size))
    }
}

/// Description of the builder that takes wishes, and of the time within which it does.
async fn taker(service: &Service, now: DateTime<Utc>) -> TrackingResult<String> {
    let builders = service.store().inspection().builders().await?;
    let interval = |note: &BuilderNote| note.about().and_then(|about| about.wish_interval_seconds);
    let is_alive = |note: &&BuilderNote| BuilderInfo::is_alive_at(note.seen_at, now);
    let soonest = builders.iter().filter(is_alive).filter_map(|note| Some((interval(note)?, &note.id))).min();
    Ok(match (soonest, builders.iter().find(is_alive), builders.first()) {
        (Some((seconds, id)), ..) => format!("by `{id}` within {seconds} s"),
        (None, Some(old), _) => {
            format!("by a builder of this version: `{}` is of another, and takes no wishes", old.id)
        }
        (None, None, Some(last)) => {
            format!("once a builder runs: none has shown itself since {}", last.seen_at.format("%Y-%m-%d %H:%M UTC"))
        }
        (None, None, None) => "once a builder runs: none has ever shown itself".to_owned(),
    })
}

/// Open wish for this round, if there is one.
async fn asked_before(service: &Service, date: DatePrefix, round: Round) -> TrackingResult<Option<Wish>> {
    let open = open_wishes(&**service.store(), Utc::now()).await?;
    Ok(open.into_iter().find(|wish| wish.date == date && covers(wish.round, round)))
}

/// Tells whether a requested round already includes another.
fn covers(asked: Round, wanted: Round) -> bool {
    match (asked, wanted) {
        (Round::Cut { until }, Round::Cut { until: wanted }) => until >= wanted,
        (Round::Sweep, Round::Sweep) => true,
        _ => false,
    }
}

/// Dates in a range that have something to do, by name.
pub(super) async fn select(service: &Service, action: Action, range: &DateQuery) -> TrackingResult<Vec<String>> {
    let store = service.store();
    let mut dates: BTreeSet<DatePrefix> = match action {
        Action::Cut | Action::Sweep => store.backlogs().await?.into_iter().map(|(date, _)| date).collect(),
        _ => store.date_totals(range.from, range.to).await?.into_iter().map(|(date, _)| date).collect(),
    };
    if action == Action::Sweep {
        let pending = FileFilter {
            state: Some(millwork_manifest::FileState::Pending),
            limit: MAX_FILES,
            ..FileFilter::default()
        };
        // Dates missing from the counters are found if their files are among the oldest.
        dates.extend(store.list_files(&pending).await?.items.into_iter().filter_map(|file| file.date));
        dates.extend(store.drafts(Utc::now()).await?.into_iter().map(|draft| draft.manifest.date));
    }
    dates.retain(|date| range.from.is_none_or(|from| *date >= from) && range.to.is_none_or(|to| *date <= to));
    Ok(dates.into_iter().map(|date| date.to_string()).collect())
}

pub(super) async fn look(service: &Service, action: Action, subject: &str) -> TrackingResult<Looked> {
    let date: DatePrefix = match subject.parse() {
        Ok(date) => date,
        Err(error) => return Ok(refused(subject, error.to_string())),
    };
    if action == Action::Sweep { look_at_rest(service, date).await } else { look_at_files(service, date).await }
}

async fn look_at_files(service: &Service, date: DatePrefix) -> TrackingResult<Looked> {
    let (subject, waiting, now) = (date.to_string(), Waiting::of(service, date).await?, Utc::now());
    let Some(until) = waiting.until() else {
        let why = match waiting.has_more {
            true => format!(
                "more than {MAX_FILES} files of it came at once and wait: their manifests are due by themselves"
            ),
            false => "no file of it waits for a manifest".to_owned(),
        };
        return Ok(refused(&subject, why));
    };
    if let Some(asked) = asked_before(service, date, Round::Cut { until }).await? {
        return Ok(refused(&subject, asked_words(&asked)));
    }
    let after = format!("in manifests, {}", taker(service, now).await?);
    Ok(planned(&subject, waiting.version(until), (waiting.in_words(), after), None))
}

async fn look_at_rest(service: &Service, date: DatePrefix) -> TrackingResult<Looked> {
    let (subject, now) = (date.to_string(), Utc::now());
    let drafts =
        RunFilter { state: Some(RunState::Draft), date: Some(date), limit: MAX_DRAFTS, ..RunFilter::default() };
    let drafts = service.store().list_runs(&drafts).await?.items.len() as u64;
    let waiting = Waiting::of(service, date).await?;
    if drafts == 0 && waiting.files.is_empty() {
        return Ok(refused(&subject, "no manifest of it is unfinished, and no file of it waits for one".to_owned()));
    }
    if let Some(asked) = asked_before(service, date, Round::Sweep).await? {
        return Ok(refused(&subject, asked_words(&asked)));
    }
    let before = format!("{} unfinished, {}", many(drafts, "manifest"), waiting.in_words());
    let after = format!("finished, counted anew, and in manifests if due, {}", taker(service, now).await?);
    // A sweep is always safe, so that no version has to match.
    Ok(planned(&subject, String::new(), (before, after), None))
}

fn asked_words(asked: &Wish) -> String {
    format!(
        "that is asked for already, by {} at {}; no builder has taken it yet",
        asked.actor,
        asked.asked_at.format("%Y-%m-%d %H:%M:%S UTC")
    )
}

pub(super) async fn make(service: &Service, plan: &Plan, change: &Change, is_repeated: bool) -> TrackingResult<Made> {
    let Ok(date) = change.subject.parse::<DatePrefix>() else {
        return Ok((ChangeResult::Failed, Some("it is no date".to_owned())));
    };
    let now = Utc::now();
    let until = change.version.split(' ').next().and_then(|text| text.parse::<DateTime<Utc>>().ok());
    let round = match (plan.action, until) {
        (Action::Cut, Some(until)) => Round::Cut { until },
        (Action::Cut, None) => return Ok((ChangeResult::Failed, Some("its mark has no time".to_owned()))),
        _ => Round::Sweep,
    };
    let wish = Wish {
        date,
        round,
        plan: plan.id.clone(),
        actor: plan.actor.clone(),
        reason: plan.reason.clone(),
        asked_at: plan.applied_at.unwrap_or(now),
    };
    if is_repeated && let Some(said) = said_before(service, &wish, now).await? {
        return Ok((ChangeResult::Done, Some(said)));
    }
    if let Round::Cut { until } = round
        && let Some(changed) = changed_since(service, date, until, &change.version).await?
    {
        return Ok((ChangeResult::Skipped, Some(changed)));
    }
    wish.leave(&**service.store()).await?;
    Ok((ChangeResult::Done, Some(format!("asked; it is done {}", taker(service, now).await?))))
}

/// Description of a wish that was left before this was taken up again; `None` if it was not.
async fn said_before(service: &Service, wish: &Wish, now: DateTime<Utc>) -> TrackingResult<Option<String>> {
    let store = &**service.store();
    if let Some(taken) = wish.taken(store, now).await? {
        return Ok(Some(format!("`{}` has taken it: {}", taken.by, many(taken.manifests, "manifest"))));
    }
    Ok(match wish.is_open(store, now).await? {
        true => Some(format!("asked; it is done {}", taker(service, now).await?)),
        false => None,
    })
}

/// Description of the pending files of a date, if they are not those of this version.
async fn changed_since(
    service: &Service,
    date: DatePrefix,
    until: DateTime<Utc>,
    version: &str,
) -> TrackingResult<Option<String>> {
    let mut waiting = Waiting::of(service, date).await?;
    // Files that arrived later are not part of the plan, and do not prevent it.
    waiting.files.retain(|file| file.arrived_at <= until);
    let said =
        || format!("it has changed since: of the files that were seen, or came before them, {}", waiting.in_words());
    Ok((waiting.version(until) != version).then(said))
}
