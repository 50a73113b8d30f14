//! Diagnosis of runs, and of the files in them.

use crate::answer::ActionKind;
use crate::ask::{Answer, Ask, failure_text};
use crate::facts::seconds;
use crate::words::{bytes, many, number, quoted, shell_word, shown, span};
use crate::{Code, Leader, OutputFacts, Progress, QueuePlace, RunFacts};
use chrono::Duration;
use millwork_manifest::RunState;

/// Least number of earlier runs for a usual duration: 20, so that a single outlier has little influence.
const ENOUGH_RUNS: u64 = 20;
/// Multiple of the 95th percentile from which a run counts as slow: 2, so that not every twentieth run is reported.
const SLOW_FACTOR: u64 = 2;
/// Least duration from which a run counts as slow, in seconds: 60. Shorter ones end before anybody reacts.
const SLOW_SECONDS: u64 = 60;

/// Diagnosis of a run.
pub(crate) fn diagnose(ask: &Ask<'_>, id: &str) -> Answer {
    let Some(run) = &ask.facts.run else { return unknown(ask, id) };
    let answer = match run.state {
        RunState::Completed => completed(ask, run),
        RunState::Failed | RunState::Cancelled => ended(ask, run),
        _ => unfinished(ask, run),
    };
    let attempts =
        format!("{} started, {} failed since it was queued", number(run.attempts.into()), number(run.failures.into()));
    answer
        .evidence(
            "run",
            format!(
                "{} since {}, {}, {}",
                run.state,
                ask.at(run.updated_at),
                many(run.files, "file"),
                bytes(run.bytes)
            ),
        )
        .evidence("attempts", attempts)
}

fn unknown(ask: &Ask<'_>, id: &str) -> Answer {
    let near = ask.facts.near.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let near = if near.is_empty() { String::new() } else { format!("; the nearest are {near}") };
    let sentence = format!("no run of manifest {} is known: it was never submitted to this state{near}", quoted(id));
    Answer::new(Code::UnknownRun, None, sentence).waits_for("its manifest: `millwork submit`")
}

/// Diagnosis of an open run.
pub(crate) fn unfinished(ask: &Ask<'_>, run: &RunFacts) -> Answer {
    match run.state {
        RunState::Draft => draft(ask, run),
        RunState::Queued => queued(ask, run),
        RunState::Planning | RunState::Running => under_way(ask, run),
        RunState::Committing => committing(ask, run),
        RunState::Completed => completed(ask, run),
        RunState::Failed | RunState::Cancelled => ended(ask, run),
    }
}

fn draft(ask: &Ask<'_>, run: &RunFacts) -> Answer {
    let lock = ask.facts.date.as_ref().and_then(|date| date.lock.as_ref()).filter(|lock| lock.is_held(ask.now));
    let at = ask.at(run.created_at);
    let id = quoted(&run.id);
    match lock {
        Some(lock) => {
            let sentence =
                format!("manifest {id} was begun at {at}; {} holds its date and is making it", quoted(&lock.holder));
            Answer::new(Code::Draft, Some(run.created_at), sentence)
                .by_itself("it is queued; if its builder dies, the sweep finishes it after the lock", lock.expires_at)
        }
        None => {
            let sentence = format!("manifest {id} was begun at {at} and not finished: its builder died");
            Answer::new(Code::Draft, Some(run.created_at), sentence)
                .next(
                    "the sweep of the builders finishes it",
                    ask.in_seconds(ask.settings.sweep_interval_seconds),
                    ask.is_built(),
                )
                .action(ActionKind::SweepNow, "Finish it now", "millwork-manifest-builder sweep")
        }
    }
}

fn queued(ask: &Ask<'_>, run: &RunFacts) -> Answer {
    if let Some(answer) = no_leader(ask, run) {
        return answer;
    }
    if let Some(answer) = retry_waits(ask, run).or_else(|| no_executors(ask, run)) {
        return answer;
    }
    let is_next = run.place.is_some_and(|place| place.runs_before == 0);
    if is_next && let Some(answer) = no_slots(ask, run) {
        return answer;
    }
    let place = run.place.map(|place| format!(": {}", place_text(place))).unwrap_or_default();
    let sentence = format!("it waits for its turn{place}");
    let rate = ask.facts.cluster.bytes_per_second.filter(|rate| rate.is_finite() && *rate > 0.0);
    let turn = run.place.filter(|place| !place.is_capped).zip(rate);
    let at = turn.and_then(|(place, rate)| ask.in_seconds((place.bytes_before as f64 / rate).ceil() as u64));
    Answer::new(Code::Queued, Some(run.created_at), sentence).by_itself("its attempt starts", at).action_if(
        !is_next,
        ActionKind::RaisePriority,
        "Let it go before the others",
        format!("millwork runs prioritise {} 10", shell_word(&run.id)),
    )
}

fn place_text(place: QueuePlace) -> String {
    let more = if place.is_capped { " at least" } else { "" };
    let number_of = place.runs_before.saturating_add(1);
    let of = place.of.map(|of| format!(" of {}", number(of.max(number_of)))).unwrap_or_default();
    format!("place {}{of}{more}; {} are before it", number(number_of), bytes(place.bytes_before))
}

/// Diagnosis of a run that pauses after a failed attempt.
fn retry_waits(ask: &Ask<'_>, run: &RunFacts) -> Option<Answer> {
    let at = run.not_before.filter(|at| *at > ask.now)?;
    let failure = run.failure.as_ref().map(|failure| format!(" ({})", failure_text(failure))).unwrap_or_default();
    let sentence = format!(
        "attempt {} of {} failed{failure}; the next one starts in {}",
        number(run.failures.max(1).into()),
        number(ask.settings.max_attempts.into()),
        span(at - ask.now)
    );
    Some(Answer::new(Code::RetryWaits, Some(run.updated_at), sentence).by_itself("its next attempt starts", Some(at)))
}

/// Diagnosis of a run without a leader.
fn no_leader(ask: &Ask<'_>, run: &RunFacts) -> Option<Answer> {
    let Leader::Nobody { last } = &ask.facts.cluster.leader else { return None };
    let last = match last {
        Some((holder, Some(at))) => format!(" (the last was {}, until {})", quoted(holder), ask.at(*at)),
        Some((holder, None)) => format!(" (the last was {})", quoted(holder)),
        None => String::new(),
    };
    let sentence = format!("it is {}, and no scheduler runs the manifests of this state{last}", run.state);
    Some(Answer::new(Code::NoLeader, Some(run.updated_at), sentence).waits_for("a scheduler on this state"))
}

fn no_executors(ask: &Ask<'_>, run: &RunFacts) -> Option<Answer> {
    let executors = ask.facts.cluster.executors.filter(|fleet| fleet.executors == 0)?;
    let sentence = format!("it is {}, and no executor is connected ({})", run.state, many(executors.slots, "slot"));
    Some(
        Answer::new(Code::NoExecutors, Some(run.updated_at), sentence)
            .waits_for("an executor: start `millwork-executor`"),
    )
}

fn no_slots(ask: &Ask<'_>, run: &RunFacts) -> Option<Answer> {
    let fleet = ask.facts.cluster.executors.filter(|fleet| fleet.slots > 0 && fleet.used >= fleet.slots)?;
    let sentence =
        format!("all {} of {} are taken by other runs", many(fleet.slots, "slot"), many(fleet.executors, "executor"));
    Some(Answer::new(Code::NoSlots, Some(run.updated_at), sentence).by_itself("a task of another run ends", None))
}

/// Diagnosis of an active run.
fn under_way(ask: &Ask<'_>, run: &RunFacts) -> Answer {
    let started = run.started_at.unwrap_or(run.updated_at);
    if let Some(answer) = no_leader(ask, run) {
        return answer;
    }
    if run.cancel_requested {
        let sentence =
            format!("somebody asked at {} to cancel it; its attempt is being stopped", ask.at(run.updated_at));
        return Answer::new(Code::Cancelling, Some(run.updated_at), sentence)
            .by_itself("it is cancelled as soon as its attempt has stopped", None);
    }
    let progress = run.progress.clone().unwrap_or_default();
    if let Some(answer) = no_executors(ask, run) {
        return answer;
    }
    if let (RunState::Running, [lost, ..]) = (run.state, progress.lost_executors.as_slice()) {
        let sentence = format!("executor {} is silent; its tasks start again elsewhere", quoted(lost));
        return Answer::new(Code::LostTask, Some(run.updated_at), sentence)
            .by_itself("its tasks start again on other executors", None);
    }
    if let Some(answer) = slow(ask, run, ask.since(started)) {
        return answer;
    }
    if run.state == RunState::Planning {
        return planning(ask, run, ask.since(started));
    }
    let has_none = run.progress.is_some() && progress.running.is_empty() && progress.tasks_done < progress.tasks;
    if has_none && let Some(answer) = no_slots(ask, run) {
        return answer;
    }
    converting(ask, run, &progress, ask.since(started))
}

fn timeout(ask: &Ask<'_>) -> Duration {
    seconds(ask.settings.run_timeout_minutes.saturating_mul(60))
}

fn slow(ask: &Ask<'_>, run: &RunFacts, elapsed: Duration) -> Option<Answer> {
    let usual = run.usual.filter(|usual| usual.runs >= ENOUGH_RUNS);
    let most = usual.map(|usual| seconds(usual.most_seconds.saturating_mul(SLOW_FACTOR).max(SLOW_SECONDS)));
    let limit = most.unwrap_or(timeout(ask) / 2).min(timeout(ask));
    if elapsed <= limit {
        return None;
    }
    let compared = match usual {
        Some(usual) => format!(
            "19 of 20 of the last {} of about this size took at most {}",
            many(usual.runs, "run"),
            span(seconds(usual.most_seconds))
        ),
        None => format!("that is more than half of the {} it may take (RUN_TIMEOUT_MINUTES)", span(timeout(ask))),
    };
    let started = run.started_at.unwrap_or(run.updated_at);
    let sentence = format!("its attempt takes {} so far; {compared}", span(elapsed));
    Some(
        Answer::new(Code::Slow, Some(started), sentence)
            .by_itself("it ends, or fails by its time limit", started.checked_add_signed(timeout(ask)))
            .action(
                ActionKind::CancelAndRetry,
                "Cancel it and queue it once more",
                format!("millwork runs cancel {id} && millwork runs retry {id}", id = shell_word(&run.id)),
            ),
    )
}

fn planning(ask: &Ask<'_>, run: &RunFacts, elapsed: Duration) -> Answer {
    let usual = run
        .usual
        .map(|usual| format!(" (whole runs of this size take {} as a rule)", span(seconds(usual.half_seconds))));
    let sentence =
        format!("its {} are looked at since {}{}", many(run.files, "file"), span(elapsed), usual.unwrap_or_default());
    Answer::new(Code::Planning, run.started_at.or(Some(run.updated_at)), sentence)
        .by_itself("its plan goes to the executors", None)
        .evidence("attempt", run.attempts.to_string())
        .evidence("time", ask.at(ask.now))
}

fn converting(ask: &Ask<'_>, run: &RunFacts, progress: &Progress, elapsed: Duration) -> Answer {
    let read = progress.read_bytes.filter(|_| run.bytes > 0).map(|read| (read.min(run.bytes), run.bytes));
    let how_far = match read {
        Some((read, of)) => {
            format!("{} % read, {} of {}", u128::from(read) * 100 / u128::from(of), bytes(read), bytes(of))
        }
        None if progress.tasks > 0 => {
            format!("{} of {} ended", number(progress.tasks_done), many(progress.tasks, "task"))
        }
        None => format!("executors convert it since {}", span(elapsed)),
    };
    let on = match progress.running.as_slice() {
        [] => String::new(),
        [one] => format!("; it is on {}", quoted(one)),
        [one, rest @ ..] => format!("; it is on {} and {} more", quoted(one), rest.len()),
    };
    let fraction = read.map(|(read, of)| read as f64 / of as f64).filter(|done| *done > 0.05 && *done < 1.0);
    let left = fraction.map(|done| elapsed.num_milliseconds() as f64 / 1000.0 * (1.0 - done) / done);
    let left = progress.eta_seconds.or(left).filter(|left| left.is_finite());
    let at = left.and_then(|left| ask.in_seconds(left.ceil().clamp(0.0, 1e9) as u64));
    Answer::new(Code::Converting, run.started_at.or(Some(run.updated_at)), format!("{how_far}{on}"))
        .by_itself("its output is committed", at)
}

fn committing(ask: &Ask<'_>, run: &RunFacts) -> Answer {
    let since = run.committed_at.unwrap_or(run.updated_at);
    let output = run.output.clone().unwrap_or_default();
    if let Some(obstacle) = &output.obstacle {
        let lost = if obstacle.is_lost {
            "what was to be shown is gone: it is converted anew once the scheduler has found that twice"
        } else {
            "it is tried again and again"
        };
        let sentence = format!(
            "its output is decided on since {}, and cannot be shown: {}; {lost}",
            ask.at(since),
            shown(&obstacle.message)
        );
        return Answer::new(Code::Unpublishable, Some(since), sentence)
            .waits_for("what stands in the way to be moved away, or the storage to be mended")
            .action_if(
                obstacle.is_lost,
                ActionKind::Retry,
                "Give the lost output up and convert it anew",
                format!("millwork runs retry {}", shell_word(&run.id)),
            );
    }
    if let Some(answer) = no_leader(ask, run) {
        return answer;
    }
    let files =
        if output.files > 0 { format!(": {} get their names", many(output.files, "file")) } else { String::new() };
    let sentence = format!("its output is decided on since {}{files}", ask.at(since));
    Answer::new(Code::Publishing, Some(since), sentence).by_itself("it is completed within seconds", None)
}

/// Diagnosis of a run that ended without output.
pub(crate) fn ended(ask: &Ask<'_>, run: &RunFacts) -> Answer {
    let since = run.ended_at.unwrap_or(run.updated_at);
    let id = quoted(&run.id);
    if run.state == RunState::Cancelled {
        let sentence = format!("run {id} was cancelled at {}", ask.at(since));
        return Answer::new(Code::Cancelled, Some(since), sentence).action(
            ActionKind::Retry,
            "Queue it once more",
            format!("millwork runs retry {}", shell_word(&run.id)),
        );
    }
    let failure = run.failure.as_ref();
    if let Some((failure, uri)) = failure.and_then(|failure| Some((failure, failure.file.as_ref()?))) {
        // Most messages contain the name of the file already.
        let by = match failure.message.contains(uri.as_str()) {
            true => String::new(),
            false => format!(" because of {}", quoted(uri)),
        };
        let sentence = format!(
            "run {id} failed at {}{by}: {}{}",
            ask.at(since),
            failure_text(failure),
            if run.files > 1 { "; the other files of its manifest were given back" } else { "" }
        );
        let answer = Answer::new(Code::AtFault, Some(since), sentence).waits_for("another object in its place");
        if run.files > 1 && ask.direct_state().is_none() {
            // The other files are or will be in a new manifest, so that the run cannot be repeated with all of them.
            return answer.action(
                ActionKind::Reset,
                "After replacing the object: let it go into a new manifest",
                ask.command(format!("millwork state update-state {} --to pending --reason TEXT", shell_word(uri))),
            );
        }
        return once_more(ask, run, answer, "After replacing the object: queue the run once more");
    }
    let why = failure.map_or_else(|| "no reason is noted".to_owned(), failure_text);
    let sentence =
        format!("run {id} failed at {} after {}: {why}", ask.at(since), many(run.failures.max(1).into(), "attempt"));
    once_more(ask, run, Answer::new(Code::RunFailed, Some(since), sentence), "Queue it once more")
}

/// Adds the action after a failure. Without a scheduler, `millwork run` retries failed files.
fn once_more(ask: &Ask<'_>, run: &RunFacts, answer: Answer, label: &str) -> Answer {
    match ask.direct_state() {
        Some(state) => answer.next("the next `millwork run` on this state tries its files again", None, false).action(
            ActionKind::Retry,
            "Run again, with the places as before",
            format!("millwork run --input PLACE --output PLACE --state {state}"),
        ),
        None => answer.action(ActionKind::Retry, label, format!("millwork runs retry {}", shell_word(&run.id))),
    }
}

/// Diagnosis of a converted run with missing output files.
pub(crate) fn missing_output(ask: &Ask<'_>, run: &RunFacts) -> Option<Answer> {
    let output: &OutputFacts = run.output.as_ref()?;
    let first = output.missing.first()?;
    let sentence = format!(
        "run {} is converted, but {} of its {} not where its commit says; the first is {}",
        quoted(&run.id),
        if output.missing.len() == 1 { "1".to_owned() } else { number(output.missing.len() as u64) },
        if output.missing.len() == 1 {
            format!("{} is", many(output.files, "file"))
        } else {
            format!("{} are", many(output.files, "file"))
        },
        quoted(first)
    );
    Some(
        Answer::new(Code::DoneOutputMissing, run.committed_at.or(Some(ask.now)), sentence)
            .waits_for("the file, put back from where it was taken to")
            .action(
                ActionKind::Force,
                "Convert it once more, in place of what is left of its output",
                format!("millwork runs force {}", shell_word(&run.id)),
            ),
    )
}

fn completed(ask: &Ask<'_>, run: &RunFacts) -> Answer {
    if let Some(answer) = missing_output(ask, run) {
        return answer;
    }
    let since = run.committed_at.or(run.ended_at).unwrap_or(run.updated_at);
    let has_rejected = run.output.as_ref().is_some_and(|output| output.rejected > 0);
    let id = shell_word(&run.id);
    let mended = has_rejected.then(|| {
        format!(
            "`millwork rejected {id} --lines` prints them; once they are mended, `millwork runs put-back {id} FILE` makes them rows"
        )
    });
    let made = match &run.output {
        Some(output) => {
            let rejected = (output.rejected > 0).then(|| format!(", {} rejected", many(output.rejected, "line")));
            format!(": {} in {}{}", many(output.rows, "row"), many(output.files, "file"), rejected.unwrap_or_default())
        }
        None => String::new(),
    };
    let forced =
        run.failure.as_ref().map(|failure| format!("it was forced, and that failed: {}", failure_text(failure)));
    let place = run
        .output
        .as_ref()
        .and_then(|output| output.first.as_ref())
        .map(|first| format!("the first file is {}", quoted(first)));
    let without_rows =
        run.output.as_ref().and_then(|output| output.without_rows.as_ref()).map(|(files, uri, cause)| {
            format!("{} without a row; the first is {}: {}", many(*files, "file"), quoted(uri), shown(cause))
        });
    Answer::new(Code::Done, Some(since), format!("converted at {}{made}", ask.at(since)))
        .waits_for("nothing: it is done")
        .evidence_of("output", place)
        .evidence_of("input", without_rows)
        .evidence_of("rejected lines", mended)
        .evidence_of("since then", forced)
}
