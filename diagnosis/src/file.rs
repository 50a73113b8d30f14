//! Diagnosis of files: unknown, refused, failed and converted ones. Pending files are in `waiting`, those in runs in
//! `run`.

use crate::answer::ActionKind;
use crate::ask::{Answer, Ask, failure_text};
use crate::words::{bytes, many, number, quoted, shell_word, shown};
use crate::{Code, FileFacts, LedgerRow, ObjectFacts, RunFacts, run, waiting};
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{BY_OPERATOR, Failure, FileState, QuarantineReason, RunState};

pub(crate) fn diagnose(ask: &Ask<'_>, uri: &str) -> Answer {
    let answer = match &ask.facts.file {
        None => unknown(ask, uri),
        Some(file) => match file.state {
            FileState::Pending => gone(ask, file, uri).unwrap_or_else(|| waiting::diagnose(ask, file)),
            FileState::Manifested | FileState::Processing => in_run(ask, file, uri),
            FileState::Completed => done(ask, file, uri),
            FileState::Failed => failed(ask, file, uri),
            FileState::Quarantined => refused(ask, file, uri),
        },
    };
    with_evidence(ask, answer)
}

/// Adds facts from the store and the storage, as for every diagnosis of a file.
fn with_evidence(ask: &Ask<'_>, answer: Answer) -> Answer {
    let file = ask.facts.file.as_ref().map(|file| {
        let holder = file.manifest_id.as_ref().map(|id| format!(" in {}", quoted(id))).unwrap_or_default();
        format!("{}{holder} since {}, version {}", file.state, ask.at(file.updated_at), file.version)
    });
    let object = match &ask.facts.object {
        ObjectFacts::NotAsked => None,
        ObjectFacts::Foreign => Some("not looked at: outside the places of input".to_owned()),
        ObjectFacts::Unreachable(why) => Some(format!("cannot be looked at: {}", shown(why))),
        ObjectFacts::Gone => Some("gone".to_owned()),
        ObjectFacts::There { size_bytes, etag, modified_at } => {
            let same = ask.facts.file.as_ref().filter(|file| !file.etag.is_empty());
            let same = same.map(|file| if file.etag == *etag { " = as tracked" } else { " ≠ as tracked" });
            let same = same.unwrap_or_default();
            Some(format!("{}, entity tag {}{same}, of {}", bytes(*size_bytes), quoted(etag), ask.at(*modified_at)))
        }
    };
    answer.evidence_of("file", file).evidence_of("object", object)
}

fn unknown(ask: &Ask<'_>, uri: &str) -> Answer {
    let facts = ask.facts;
    if let Some(place) = &facts.own_place {
        let sentence = format!("it lies below {}, which Millwork writes to: nothing there is input", shown(place));
        return Answer::new(Code::OwnPlace, None, sentence).waits_for("it is never taken in");
    }
    if matches!(facts.object, ObjectFacts::Foreign) {
        let sentence = "it lies in none of the places of input (INPUT_PLACES), and the store does not know it: nothing \
                        outside them is looked at";
        return Answer::new(Code::Foreign, None, sentence).waits_for("it is never taken in");
    }
    if let Some((at, reason)) = facts.events.as_ref().and_then(|events| events.dead_letter.as_ref()) {
        let sentence = format!("its event is among the dead letters since {}: {}", ask.at(*at), shown(reason));
        return Answer::new(Code::DeadLetter, Some(*at), sentence).action(
            ActionKind::RedriveDeadLetter,
            "Take the file in all the same",
            backfill(uri),
        );
    }
    let near = match facts.near.as_slice() {
        [] => None,
        near => Some(near.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")),
    };
    match &facts.object {
        ObjectFacts::There { size_bytes, modified_at, .. } => unseen(ask, uri, *size_bytes, *modified_at),
        ObjectFacts::Gone => {
            let nearest = near.map_or_else(
                || "no name that is known is like it".to_owned(),
                |near| format!("the nearest names are {near}"),
            );
            let sentence = format!("neither the store nor the storage knows it; {nearest}");
            Answer::new(Code::NoObject, None, sentence).waits_for("an object of this name")
        }
        ObjectFacts::Unreachable(why) => {
            let sentence = format!("the store does not know it, and its object cannot be looked at: {}", shown(why));
            Answer::new(Code::NotLooked, None, sentence).waits_for("the storage").evidence_of("nearest names", near)
        }
        ObjectFacts::NotAsked | ObjectFacts::Foreign => {
            let sentence = "the store does not know it, and nobody has looked for its object: the places of input are not known here";
            Answer::new(Code::NotLooked, None, sentence)
                .waits_for("a question to the scheduler, or --input-places")
                .evidence_of("nearest names", near)
        }
    }
}

/// An object that is unknown to the store.
fn unseen(ask: &Ask<'_>, uri: &str, size_bytes: u64, modified_at: DateTime<Utc>) -> Answer {
    let forgets = ask
        .settings
        .forgets_after_days
        .filter(|days| ask.since(modified_at) > Duration::days(i64::try_from(*days).unwrap_or(36_500).min(36_500)));
    if let Some(days) = forgets {
        let sentence = format!(
            "the object is of {}, older than {days} days: if it was converted, the store has forgotten that; the runs of its \
             date are still known",
            ask.at(modified_at)
        );
        return Answer::new(Code::Forgotten, Some(modified_at), sentence).waits_for("it is left alone");
    }
    if let Some(events) = ask.facts.events.as_ref().filter(|events| events.waiting > 0) {
        let sentence = format!("not seen yet: {} in the queue", many_wait(events.waiting));
        let drained =
            events.per_second.filter(|rate| *rate > 0.0).map(|rate| (events.waiting as f64 / rate).ceil() as u64);
        let at = drained.and_then(|seconds| ask.in_seconds(seconds));
        return Answer::new(Code::EventsBehind, Some(modified_at), sentence).by_itself("its event is read", at);
    }
    let sentence = format!(
        "the object is there ({}, of {}), but no event and no listing has told of it",
        bytes(size_bytes),
        ask.at(modified_at)
    );
    Answer::new(Code::NeverSeen, Some(modified_at), sentence)
        .next("the next listing, if its place is watched or backfilled", None, false)
        .action(ActionKind::Backfill, "Take it in now", backfill(uri))
}

fn many_wait(waiting: u64) -> String {
    if waiting == 1 { "1 message waits".to_owned() } else { format!("{} messages wait", number(waiting)) }
}

/// Command that lists the folder of a file, and tracks unknown files in it.
fn backfill(uri: &str) -> String {
    format!("millwork-manifest-builder backfill --prefix {}", shell_word(folder(uri)))
}

/// The command that has a converted file converted once more. Without a scheduler it is told where files may be looked at.
fn reprocess(ask: &Ask<'_>, uri: &str) -> String {
    let command = format!("millwork state update-state {} --to pending --reprocess --reason TEXT", shell_word(uri));
    match ask.direct_state() {
        Some(state) => format!("{command} --input-places {} --state {state}", shell_word(folder(uri))),
        None => command,
    }
}

fn folder(uri: &str) -> &str {
    uri.rsplit_once('/').map_or(uri, |(folder, _)| folder)
}

/// Command that shows which files of a folder would be taken back, directly on the state.
fn redrive_folder(uri: &str, reason: &str, state: &str) -> String {
    format!("millwork redrive --input {} --refused-for {} --state {state}", shell_word(folder(uri)), shell_word(reason))
}

/// A file whose object was removed before its conversion.
fn gone(ask: &Ask<'_>, file: &FileFacts, uri: &str) -> Option<Answer> {
    if !matches!(ask.facts.object, ObjectFacts::Gone) {
        return None;
    }
    let sentence = format!(
        "its object is gone: the file is {} since {}, and a run that reads it will fail because of it",
        file.state,
        ask.at(file.updated_at)
    );
    Some(Answer::new(Code::Gone, None, sentence).waits_for(format!("an object at {}, as it was", quoted(uri))))
}

/// A file whose object has changed since the manifest, before it was read.
fn changed(ask: &Ask<'_>, file: &FileFacts, run: &RunFacts) -> Option<Answer> {
    let (tag, at) = newer(ask, file)?;
    let when = at.map(|at| format!(" at {}", ask.at(at))).unwrap_or_default();
    let sentence = format!(
        "its object was overwritten{when}: it has the entity tag {}, its manifest {} says {}; the run fails because of it, and \
         gives the other files back",
        quoted(&tag),
        quoted(&run.id),
        quoted(&file.etag)
    );
    Some(Answer::new(Code::Changed, at, sentence).by_itself(
        "the run fails, and the file is pending again once a listing or redrive finds its new content",
        None,
    ))
}

fn in_run(ask: &Ask<'_>, file: &FileFacts, uri: &str) -> Answer {
    let Some(run) = &ask.facts.run else { return without_run(ask, file, uri) };
    if run.state.is_final() {
        return orphan(ask, file, uri, &run_ended(ask, run));
    }
    if matches!(run.state, RunState::Queued | RunState::Planning | RunState::Running) {
        let obstacle = gone(ask, file, uri).or_else(|| changed(ask, file, run));
        if let Some(answer) = obstacle {
            return answer;
        }
    }
    run::unfinished(ask, run)
}

fn run_ended(ask: &Ask<'_>, run: &RunFacts) -> String {
    let at = run.ended_at.unwrap_or(run.updated_at);
    format!("its run {} is {} since {}", quoted(&run.id), run.state, ask.at(at))
}

/// A file in a manifest without a run.
fn without_run(ask: &Ask<'_>, file: &FileFacts, uri: &str) -> Answer {
    let age = ask.since(file.updated_at);
    let limit = crate::facts::seconds(ask.settings.abandoned_seconds);
    match &file.manifest_id {
        Some(id) if file.state == FileState::Manifested && age <= limit => {
            let sentence = format!(
                "it was put in manifest {} at {}, and that has no run yet: its submission goes on, or died half-way",
                quoted(id),
                ask.at(file.updated_at)
            );
            let at = file.updated_at.checked_add_signed(limit);
            Answer::new(Code::HalfSubmitted, Some(file.updated_at), sentence)
                .by_itself("it is put back unless the manifest is submitted again", at)
        }
        Some(id) => orphan(ask, file, uri, &format!("its run {} is not there", quoted(id))),
        None => orphan(ask, file, uri, "no manifest is noted with it"),
    }
}

fn orphan(ask: &Ask<'_>, file: &FileFacts, uri: &str, why: &str) -> Answer {
    let sentence = format!("it is {} since {}, but {why}", file.state, ask.at(file.updated_at));
    Answer::new(Code::Orphan, Some(file.updated_at), sentence).action(
        ActionKind::Reset,
        "Put it back as its run prescribes",
        ask.command(format!("millwork state reset-stuck-files --uri {}", shell_word(uri))),
    )
}

fn failed(ask: &Ask<'_>, file: &FileFacts, uri: &str) -> Answer {
    let run = ask.facts.run.as_ref();
    let has_new_content =
        matches!(&ask.facts.object, ObjectFacts::There { etag, .. } if !file.etag.is_empty() && file.etag != *etag);
    if has_new_content {
        let sentence = "it failed, and its object has other content by now: the next listing or redrive takes that in";
        return Answer::new(Code::Changed, Some(file.updated_at), sentence)
            .next("the next listing of its place", None, false)
            .action(ActionKind::Redrive, "Take the new content in", backfill(uri));
    }
    let Some(run) = run else {
        let reason = file.reason.as_deref().map(shown).unwrap_or_else(|| "no reason is noted".to_owned());
        let sentence = format!("its run failed at {}: {reason}", ask.at(file.updated_at));
        return Answer::new(Code::AtFault, Some(file.updated_at), sentence).action(
            ActionKind::Reset,
            "Let it go into a new manifest",
            ask.command(format!("millwork state update-state {} --to pending --reason TEXT", shell_word(uri))),
        );
    };
    let fault = run.failure.as_ref().and_then(|failure| own_fault(failure, file, uri));
    match (run.state, fault) {
        (RunState::Failed, Some(fault)) => {
            let sentence = format!("it cannot be converted as it is: {fault}");
            Answer::new(Code::AtFault, Some(file.updated_at), sentence).waits_for("another object in its place").action(
                ActionKind::Reset,
                "After replacing the object: let it go into a new manifest",
                ask.command(format!("millwork state update-state {} --to pending --reason TEXT", shell_word(uri))),
            )
        }
        (RunState::Failed | RunState::Cancelled, _) => run::ended(ask, run),
        _ => {
            let sentence = format!("it is failed, but its run {} is {}", quoted(&run.id), run.state);
            Answer::new(Code::Orphan, Some(file.updated_at), sentence).action(
                ActionKind::Reset,
                "Put it back as its run prescribes",
                ask.command(format!("millwork state reset-stuck-files --uri {}", shell_word(uri))),
            )
        }
    }
}

/// Failure of a run that is this file's own; none if it is another file's, or nobody's.
fn own_fault(failure: &Failure, file: &FileFacts, uri: &str) -> Option<String> {
    if failure.file.as_deref() == Some(uri) {
        return Some(failure_text(failure));
    }
    let told = failure.others.iter().find(|other| other.file == uri).map(|other| other.message.as_str());
    // Of more files at fault than the failure names, each still has its reason.
    let quoted = format!("`{uri}`");
    let noted = || file.reason.as_deref().filter(|reason| failure.file.is_some() && reason.contains(&quoted));
    told.or_else(noted).map(|message| format!("`{}`: {}", failure.class, shown(message)))
}

fn refused(ask: &Ask<'_>, file: &FileFacts, uri: &str) -> Answer {
    let reason = file.reason.as_deref().unwrap_or("unknown");
    let size = bytes(file.size_bytes);
    let bounds =
        ask.settings.size_bounds_bytes.map(|(low, high)| format!("; the rule is {} to {}", bytes(low), bytes(high)));
    let is_size = [QuarantineReason::TooSmall, QuarantineReason::TooLarge].iter().any(|known| known.as_str() == reason);
    let measure = if is_size { format!(" ({size}{})", bounds.unwrap_or_default()) } else { String::new() };
    let verdict = match &file.verdict {
        Some(Ok(())) => "; today's rules accept it",
        Some(Err(_)) => "; today's rules refuse it, too",
        None => "",
    };
    let moved = file.quarantine_uri.as_ref().map(|place| format!("it was moved to {}", quoted(place)));
    let sentence = format!("it was refused at {}: {}{measure}{verdict}", ask.at(file.updated_at), quoted(reason));
    let command = match reason {
        // Refused by a person, and therefore taken back only by a person.
        BY_OPERATOR => ask.command(format!("millwork state update-state {} --to pending", shell_word(uri))),
        _ => match ask.direct_state() {
            Some(state) => redrive_folder(uri, reason, &state),
            None => format!("millwork quarantine redrive {}", shell_word(uri)),
        },
    };
    Answer::new(Code::Refused, Some(file.updated_at), sentence)
        .evidence("where", moved.unwrap_or_else(|| "it stays where it is, and is marked".to_owned()))
        .action(ActionKind::Redrive, "Put back what today's rules accept", command)
}

/// Entity tag of content other than the tracked one, and the time of its last change if the object was looked up.
fn newer(ask: &Ask<'_>, file: &FileFacts) -> Option<(String, Option<DateTime<Utc>>)> {
    match &ask.facts.object {
        ObjectFacts::There { etag, modified_at, .. } if !file.etag.is_empty() && file.etag != *etag => {
            Some((etag.clone(), Some(*modified_at)))
        }
        _ => file.overwritten_etag.clone().map(|tag| (tag, None)),
    }
}

fn done(ask: &Ask<'_>, file: &FileFacts, uri: &str) -> Answer {
    let run = ask.facts.run.as_ref();
    let since = run.and_then(|run| run.committed_at).unwrap_or(file.updated_at);
    let rows = file.ledger.as_ref().map_or_else(|| "its rows are in the output".to_owned(), lines);
    let run_name = file.manifest_id.as_ref().map(|id| format!(" of {}", quoted(id))).unwrap_or_default();
    let story = format!("at {}{run_name}: {rows}", ask.at(since));
    if let Some(answer) = run.and_then(|run| run::missing_output(ask, run)) {
        return answer;
    }
    if let Some(answer) = overwritten(ask, file, uri, &story).or_else(|| without_rows(ask, file, uri, since, &story)) {
        return answer;
    }
    let place = run.and_then(|run| run.output.as_ref()?.first.clone());
    let gone =
        matches!(ask.facts.object, ObjectFacts::Gone).then(|| "its object is gone since; its rows are not".to_owned());
    Answer::new(Code::Done, Some(since), format!("converted {story}"))
        .waits_for("nothing: it is done")
        .evidence_of("output", place.map(|place| format!("the first file is {}", quoted(&place))))
        .evidence_of("input", gone)
}

fn lines(row: &LedgerRow) -> String {
    let made = format!("{} → {}", many(row.lines, "line"), many(row.rows, "row"));
    let some = |count: u64, word: &str| match count {
        0 => String::new(),
        count => format!(", {} {word}", number(count)),
    };
    let (rejected, blank) = (some(row.rejected, "rejected"), some(row.blank, "blank"));
    format!("{made}{rejected}{blank}")
}

/// A converted file whose object has newer content. `story` tells its conversion.
fn overwritten(ask: &Ask<'_>, file: &FileFacts, uri: &str, story: &str) -> Option<Answer> {
    let (tag, at) = newer(ask, file)?;
    let when = at.map(|at| format!(" at {}", ask.at(at))).unwrap_or_default();
    let sentence = format!(
        "converted {story}; newer content with the entity tag {} was seen{when}, which is not converted",
        quoted(&tag)
    );
    Some(Answer::new(Code::DoneOverwritten, at.or(Some(file.updated_at)), sentence).action(
        ActionKind::Reprocess,
        "Convert the new content beside the old rows",
        reprocess(ask, uri),
    ))
}

/// A converted file with lines of which none became a row. `story` tells its conversion.
fn without_rows(ask: &Ask<'_>, file: &FileFacts, uri: &str, since: DateTime<Utc>, story: &str) -> Option<Answer> {
    let cause = file.ledger.as_ref()?.without_rows.as_ref()?;
    let kept = ask.facts.run.as_ref().and_then(|run| run.output.as_ref()?.rejected_lines.as_ref());
    let answer = Answer::new(Code::NoRows, Some(since), format!("read {story}; {}", shown(cause)))
        .waits_for("a mended file, which under another name is converted as any other")
        .evidence_of("rejected lines", kept.map(|place| format!("each is kept with its reason in {}", quoted(place))))
        .action(ActionKind::Reprocess, "After replacing the object: convert it anew", reprocess(ask, uri));
    Some(answer)
}
