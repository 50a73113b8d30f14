//! Diagnosis of pending files, and of dates with pending files.

use crate::answer::ActionKind;
use crate::ask::{Answer, Ask};
use crate::words::{bytes, many, number, quoted};
use crate::{Code, DateFacts, FileFacts, LockFacts, WishFacts};
use chrono::{DateTime, Utc};

/// Diagnosis of a pending file.
pub(crate) fn diagnose(ask: &Ask<'_>, file: &FileFacts) -> Answer {
    let nothing = DateFacts::default();
    let date = ask.facts.date.as_ref();
    if date.is_some_and(|date| date.pending_files == 0) {
        return uncounted(ask, date.unwrap_or(&nothing), file.arrived_at);
    }
    let oldest =
        date.and_then(|date| date.oldest_pending).map_or(file.arrived_at, |oldest| oldest.min(file.arrived_at));
    let date = date.unwrap_or(&nothing);
    let due = asked(ask, date, Some(file.arrived_at)).or_else(|| due(ask, date, oldest, file.arrived_at));
    match (due, &file.sent_back) {
        (Some(due), _) => due,
        (None, Some(back)) => {
            let because = match &back.at_fault {
                Some(uri) => format!("which failed because of {}", quoted(uri)),
                None => "which ended without output".to_owned(),
            };
            let sentence = format!(
                "it was in manifest {}, {because}; it is back since {} and waits for a new one: {}",
                quoted(&back.manifest_id),
                ask.at(back.at),
                fill_of(ask, date)
            );
            filling_next(ask, Answer::new(Code::SentBack, Some(back.at), sentence), date, oldest)
        }
        (None, None) => filling(ask, date, oldest, file.arrived_at),
    }
}

/// Diagnosis of pending files that do not fill a manifest yet.
pub(crate) fn filling(ask: &Ask<'_>, date: &DateFacts, oldest: DateTime<Utc>, since: DateTime<Utc>) -> Answer {
    let sentence = format!("{} of its date are here", fill_of(ask, date));
    filling_next(ask, Answer::new(Code::Filling, Some(since), sentence), date, oldest)
}

fn fill_of(ask: &Ask<'_>, date: &DateFacts) -> String {
    let caps = &ask.settings.caps;
    format!(
        "{} of {} files, {} of {}",
        number(date.pending_files),
        number(caps.max_files as u64),
        bytes(date.pending_bytes),
        bytes(caps.max_bytes)
    )
}

fn filling_next(ask: &Ask<'_>, answer: Answer, date: &DateFacts, oldest: DateTime<Utc>) -> Answer {
    let at = oldest.checked_add_signed(ask.settings.max_wait());
    let command = format!("millwork-manifest-builder sweep # or send more files of {}", date.date);
    let what = "a manifest is cut when it is full, or when the oldest file has waited long enough (MAX_WAIT_SECONDS)";
    let answer = if ask.is_built() {
        answer.by_itself(what, at)
    } else {
        answer.next(format!("{what}, by a builder; none is there"), at, false)
    };
    if ask.is_built() && !date.date.is_empty() {
        let cut = ask.command(format!("millwork dates cut {}", date.date));
        return answer.action(ActionKind::CutNow, "Make a manifest of what waits now", cut);
    }
    // A sweep makes only due manifests, and this one is not due.
    answer.action_if(!ask.is_built(), ActionKind::SweepNow, "Start a builder, or sweep when it is due", command)
}

/// Open wish that covers a file with this arrival time, or the whole date; `None` if there is none.
pub(crate) fn asked(ask: &Ask<'_>, date: &DateFacts, arrived_at: Option<DateTime<Utc>>) -> Option<Answer> {
    let is_meant = |wish: &&WishFacts| match (wish.until, arrived_at) {
        (Some(until), Some(at)) => at <= until,
        (Some(_), None) => date.pending_files > 0 || date.has_pending,
        (None, _) => true,
    };
    let wish = date.wishes.iter().filter(is_meant).min_by_key(|wish| wish.asked_at)?;
    let what = if wish.until.is_some() { "a manifest of what waits was asked for" } else { "a sweep was asked for" };
    let asked = format!("{what} by {} at {}", quoted(&wish.actor), ask.at(wish.asked_at));
    let since = Some(wish.asked_at);
    if ask.is_built() {
        let sentence = format!("{asked}; no builder has taken that up yet");
        let soon = ask.in_seconds(ask.settings.wish_interval_seconds);
        return Some(Answer::new(Code::Due, since, sentence).by_itself("the next look of a builder", soon));
    }
    let silence = match ask.last_builder() {
        Some(last) => {
            format!("no builder has shown itself for {} (the last was {})", ask.ago(last.seen_at), quoted(&last.id))
        }
        None => "no builder has ever shown itself".to_owned(),
    };
    let answer = Answer::new(Code::DueNoBuilder, since, format!("{asked}, and nobody takes that up: {silence}"));
    let command = if wish.until.is_some() {
        format!("millwork-manifest-builder cut {}", date.date)
    } else {
        "millwork-manifest-builder sweep".to_owned()
    };
    Some(answer.waits_for("a builder").action(ActionKind::SweepNow, "Start a builder, or do it from a shell", command))
}

/// Diagnosis of a batch that is due; `None` if it is not.
pub(crate) fn due(ask: &Ask<'_>, date: &DateFacts, oldest: DateTime<Utc>, since: DateTime<Utc>) -> Option<Answer> {
    let wait = ask.settings.max_wait();
    let is_aged = ask.since(oldest) >= wait;
    if !is_aged && !ask.settings.caps.are_reached(date.pending_files, date.pending_bytes) {
        return None;
    }
    let due_since = if is_aged { oldest.checked_add_signed(wait) } else { None };
    let why = if is_aged {
        format!("its oldest file waits for {}", ask.ago(oldest))
    } else {
        format!("{} are here", fill_of(ask, date))
    };
    let sweep = "millwork-manifest-builder sweep";
    if let Some(lock) = date.lock.as_ref().filter(|lock| lock.is_held(ask.now)) {
        return Some(locked(ask, lock, &why, due_since.or(Some(since))));
    }
    if let Some(0) = ask.builders_alive() {
        let silence = match ask.last_builder() {
            Some(last) => {
                format!("no builder has shown itself for {} (the last was {})", ask.ago(last.seen_at), quoted(&last.id))
            }
            None => "no builder has ever shown itself".to_owned(),
        };
        let sentence = format!("its batch is due, since {why}; {silence}");
        return Some(
            Answer::new(Code::DueNoBuilder, due_since.or(Some(since)), sentence)
                .waits_for("a builder, or a sweep")
                .action(ActionKind::SweepNow, "Make its manifests now", sweep),
        );
    }
    let sentence = format!("its batch is due, since {why}; the next look of a builder makes its manifest");
    Some(
        Answer::new(Code::Due, due_since.or(Some(since)), sentence)
            .by_itself("the sweep of the builders", ask.in_seconds(ask.settings.sweep_interval_seconds))
            .action(ActionKind::SweepNow, "Make its manifests now", sweep),
    )
}

fn locked(ask: &Ask<'_>, lock: &LockFacts, why: &str, since: Option<DateTime<Utc>>) -> Answer {
    let from = lock.acquired_at.map(|at| format!(" since {}", ask.at(at))).unwrap_or_default();
    let until = lock.expires_at.map(|at| format!(", until {}", ask.at(at))).unwrap_or_default();
    let sentence = format!(
        "its batch is due, since {why}; {} is held by {}{from}{until}",
        quoted(&lock.name),
        quoted(&lock.holder)
    );
    Answer::new(Code::DueLocked, since, sentence)
        .by_itself(
            "the holder makes its manifests; if it has died, the lock ends and the next sweep does",
            lock.expires_at,
        )
        .evidence("token", lock.token.to_string())
}

/// Diagnosis of pending files that are missing from the counter of their date.
pub(crate) fn uncounted(ask: &Ask<'_>, date: &DateFacts, since: DateTime<Utc>) -> Answer {
    let name = if date.date.is_empty() { "its date".to_owned() } else { date.date.clone() };
    let sentence =
        format!("it is pending, but the counter of {name} says that {} wait", many(date.pending_files, "file"));
    let sweep = ask.in_seconds(ask.settings.sweep_interval_seconds);
    let overdue = since.checked_add_signed(ask.settings.max_wait());
    Answer::new(Code::Uncounted, Some(since), sentence)
        .next(
            "the sweep finds it once it has waited long enough, or the next file of its date counts anew",
            overdue.max(sweep),
            ask.is_built(),
        )
        .action(ActionKind::Recount, "Count what waits anew", "millwork-manifest-builder sweep")
}
