//! Facts, and the code that comes from each.

use super::URI;
use crate::*;
use chrono::{DateTime, Duration, TimeZone, Utc};
use millwork_manifest::{Failure, FailureClass, FileFault, FileState, RunState};

pub(super) fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2025, 12, 23, 14, 0, 0).unwrap()
}

pub(super) fn ago(seconds: i64) -> DateTime<Utc> {
    now() - Duration::seconds(seconds)
}

pub(super) fn file(state: FileState) -> FileFacts {
    FileFacts {
        state,
        version: 3,
        size_bytes: 3 << 20,
        etag: "e1".to_owned(),
        arrived_at: ago(60),
        updated_at: ago(30),
        manifest_id: None,
        reason: None,
        quarantine_uri: None,
        overwritten_etag: None,
        sent_back: None,
        ledger: None,
        verdict: None,
    }
}

pub(super) fn in_manifest(state: FileState) -> FileFacts {
    FileFacts { manifest_id: Some("m1".to_owned()), ..file(state) }
}

pub(super) fn run(state: RunState) -> RunFacts {
    RunFacts {
        id: "m1".to_owned(),
        date: "2025-12-23".to_owned(),
        state,
        attempts: 1,
        failures: 0,
        priority: 0,
        files: 200,
        bytes: 717 << 20,
        not_before: None,
        cancel_requested: false,
        failure: None,
        created_at: ago(100),
        updated_at: ago(20),
        started_at: Some(ago(20)),
        committed_at: None,
        ended_at: None,
        place: None,
        progress: None,
        usual: None,
        output: None,
    }
}

pub(super) fn date(pending_files: u64, oldest_seconds: i64) -> DateFacts {
    DateFacts {
        date: "2025-12-23".to_owned(),
        pending_files,
        pending_bytes: pending_files << 20,
        oldest_pending: (pending_files > 0).then(|| ago(oldest_seconds)),
        has_pending: pending_files > 0,
        ..DateFacts::default()
    }
}

pub(super) fn lock(expires_in: i64) -> LockFacts {
    LockFacts {
        name: "LOCK#2025-12-23".to_owned(),
        holder: "builder-7".to_owned(),
        token: 12,
        acquired_at: Some(ago(60)),
        expires_at: Some(now() + Duration::seconds(expires_in)),
    }
}

pub(super) fn builder(seen_seconds_ago: i64) -> BuilderFacts {
    BuilderFacts { id: "host:1".to_owned(), seen_at: ago(seen_seconds_ago) }
}

pub(super) fn there(etag: &str) -> ObjectFacts {
    ObjectFacts::There { size_bytes: 3 << 20, etag: etag.to_owned(), modified_at: ago(100) }
}

pub(super) fn fleet(executors: u64, used: u64) -> ClusterFacts {
    let slots = Some(SlotFacts { executors, slots: executors * 8, used });
    ClusterFacts { leader: Leader::Held { holder: "host-1".to_owned() }, executors: slots, ..ClusterFacts::default() }
}

/// Failure of another file, with this one beside it.
fn beside(uri: &str, message: &str) -> Failure {
    let fault = FileFault { file: uri.to_owned(), message: message.to_owned() };
    Failure { others: vec![fault], ..failure(Some("s3://in/another.ndjson")) }
}

pub(super) fn failure(file: Option<&str>) -> Failure {
    let failure = Failure::new(FailureClass::Storage, "503 SlowDown");
    file.iter().fold(failure, |failure, uri| failure.of_file(uri))
}

pub(super) fn of_file(file: FileFacts, run: Option<RunFacts>) -> Facts {
    Facts { file: Some(file), run, cluster: fleet(2, 0), ..Facts::default() }
}

pub(super) fn of_run(run: RunFacts) -> Facts {
    Facts { run: Some(run), cluster: fleet(2, 0), ..Facts::default() }
}

pub(super) fn waiting(date: DateFacts) -> Facts {
    Facts { file: Some(file(FileState::Pending)), date: Some(date), ..Facts::default() }
}

pub(super) fn asked(subject: &Subject, facts: &Facts) -> Diagnosis {
    let settings = Settings { forgets_after_days: Some(7), size_bounds_bytes: Some((1, 2)), ..Settings::default() };
    diagnose(subject, facts, &settings, now())
}

/// All codes with facts that lead to them, and a part of their sentence.
pub(super) fn cases() -> Vec<(Code, Subject, Facts, &'static str)> {
    let mut cases = unknown_cases();
    cases.extend(waiting_cases());
    cases.extend(run_cases());
    cases.extend(ended_cases());
    cases
}

pub(super) fn of_uri() -> Subject {
    Subject::File(URI.to_owned())
}

pub(super) fn of_id() -> Subject {
    Subject::Run("m1".to_owned())
}

pub(super) fn unknown_cases() -> Vec<(Code, Subject, Facts, &'static str)> {
    let object = |object| Facts { object, ..Facts::default() };
    let events = |waiting, dead_letter| EventFacts { waiting, per_second: Some(100.0), dead_letter };
    let old = ObjectFacts::There { size_bytes: 1, etag: "x".to_owned(), modified_at: ago(9 * 86_400) };
    let near = Facts { near: vec!["s3://in/2025-12-23-b.ndjson".to_owned()], ..object(ObjectFacts::Gone) };
    let own = Facts { own_place: Some("the output".to_owned()), ..object(there("x")) };
    let behind = Facts { events: Some(events(48_211, None)), ..object(there("x")) };
    let dead = Some((ago(60), "bad-key".to_owned()));
    let dead = Facts { events: Some(events(2, dead)), ..object(there("x")) };
    let unreachable = object(ObjectFacts::Unreachable("it took more than 10 s".to_owned()));
    let executor = |tasks, is_draining| Facts {
        executor: Some(ExecutorFacts { host: "h".to_owned(), slots: 8, tasks, is_draining }),
        ..Facts::default()
    };
    let e1 = || Subject::Executor("e1".to_owned());
    vec![
        (Code::NeverSeen, of_uri(), object(there("x")), "no event and no listing"),
        (Code::NoObject, of_uri(), near, "2025-12-23-b.ndjson"),
        (Code::NotLooked, of_uri(), unreachable, "more than 10 s"),
        (Code::Foreign, of_uri(), object(ObjectFacts::Foreign), "INPUT_PLACES"),
        (Code::OwnPlace, of_uri(), own, "the output"),
        (Code::EventsBehind, of_uri(), behind, "48,211 messages wait in the queue"),
        (Code::DeadLetter, of_uri(), dead, "bad-key"),
        (Code::Forgotten, of_uri(), object(old), "7 days"),
        (Code::UnknownRun, of_id(), Facts::default(), "never submitted"),
        (Code::ExecutorWorks, e1(), executor(3, false), "3 tasks in 8 slots"),
        (Code::ExecutorIdle, e1(), executor(0, false), "nothing to do"),
        (Code::ExecutorDrains, e1(), executor(3, true), "no more tasks"),
        (Code::ExecutorAway, e1(), Facts::default(), "no executor `e1`"),
        (Code::EmptyDate, Subject::Date("2025-12-23".to_owned()), Facts::default(), "nothing is known of 2025-12-23"),
    ]
}

pub(super) fn waiting_cases() -> Vec<(Code, Subject, Facts, &'static str)> {
    let builders = |seconds| ClusterFacts { builders: Some(vec![builder(seconds)]), ..ClusterFacts::default() };
    let held = DateFacts { lock: Some(lock(300)), ..date(200, 60) };
    let let_go = DateFacts { lock: Some(lock(-1)), ..date(200, 60) };
    let back = SentBack { manifest_id: "m0".to_owned(), at: ago(40), at_fault: Some("s3://in/bad".to_owned()) };
    let sent_back =
        Facts { file: Some(FileFacts { sent_back: Some(back), ..file(FileState::Pending) }), ..waiting(date(73, 60)) };
    let gone = Facts { object: ObjectFacts::Gone, ..waiting(date(73, 60)) };
    let wished = |until| {
        let wish = WishFacts { until: Some(until), actor: "ana".to_owned(), asked_at: ago(30) };
        waiting(DateFacts { wishes: vec![wish], ..date(73, 60) })
    };
    let day = |facts: Facts| (Subject::Date("2025-12-23".to_owned()), Facts { file: None, ..facts });
    let (the_day, wished_of_day) = day(Facts { cluster: builders(660), ..wished(ago(1)) });
    vec![
        (Code::Due, of_uri(), Facts { cluster: builders(10), ..wished(ago(1)) }, "asked for by `ana` at 13:59:30 UTC"),
        (Code::DueNoBuilder, of_uri(), Facts { cluster: builders(660), ..wished(ago(1)) }, "nobody takes that up"),
        (Code::DueNoBuilder, the_day, wished_of_day, "no builder has shown itself for 11 min"),
        // A file that arrived after those covered by the wish.
        (Code::Filling, of_uri(), wished(ago(86_400)), "73 of 200 files"),
        (Code::Filling, of_uri(), waiting(date(73, 60)), "73 of 200 files, 73.0 MiB of 716.8 MiB"),
        (Code::SentBack, of_uri(), sent_back, "which failed because of `s3://in/bad`"),
        (Code::Uncounted, of_uri(), waiting(date(0, 0)), "0 files"),
        (Code::Due, of_uri(), Facts { cluster: builders(10), ..waiting(let_go) }, "200 of 200 files"),
        (Code::Due, of_uri(), waiting(date(3, 1800)), "waits for 30 min"),
        (Code::DueLocked, of_uri(), waiting(held), "`LOCK#2025-12-23` is held by `builder-7` since 13:59:00 UTC"),
        (Code::DueNoBuilder, of_uri(), Facts { cluster: builders(660), ..waiting(date(3, 1800)) }, "for 11 min"),
        (Code::Gone, of_uri(), gone, "its object is gone"),
    ]
}

pub(super) fn run_cases() -> Vec<(Code, Subject, Facts, &'static str)> {
    use RunState::{Committing, Planning, Queued, Running};
    let manifested = || in_manifest(FileState::Manifested);
    let place = |runs_before| QueuePlace { runs_before, bytes_before: 28 << 30, of: Some(60), is_capped: false };
    let placed = |before, cluster| Facts { cluster, ..of_run(RunFacts { place: Some(place(before)), ..run(Queued) }) };
    let retry = RunFacts {
        not_before: Some(now() + Duration::seconds(38)),
        failures: 2,
        failure: Some(failure(None)),
        ..run(Queued)
    };
    let nobody =
        ClusterFacts { leader: Leader::Nobody { last: Some(("host-3".to_owned(), Some(ago(60)))) }, ..fleet(1, 0) };
    let usual = Usual { runs: 20, half_seconds: 60, most_seconds: 180 };
    let slow = RunFacts { usual: Some(usual), started_at: Some(ago(540)), ..run(Running) };
    let progress = |lost: &[&str], running: &[&str]| Progress {
        read_bytes: Some(437 << 20),
        tasks: 20,
        tasks_done: 5,
        running: running.iter().map(|id| (*id).to_owned()).collect(),
        lost_executors: lost.iter().map(|id| (*id).to_owned()).collect(),
        eta_seconds: None,
    };
    let converting = RunFacts { progress: Some(progress(&[], &["executor-3"])), ..run(Running) };
    let lost = RunFacts { progress: Some(progress(&["executor-3"], &[])), ..run(Running) };
    let obstacle = Obstacle { message: "part 2 is gone".to_owned(), is_lost: true };
    let stuck = OutputFacts { obstacle: Some(obstacle), ..OutputFacts::default() };
    let overwritten = Facts { object: there("e2"), ..of_file(manifested(), Some(run(Queued))) };
    vec![
        (Code::Draft, of_uri(), of_file(manifested(), Some(run(RunState::Draft))), "its builder died"),
        (Code::HalfSubmitted, of_uri(), of_file(manifested(), None), "died half-way"),
        (Code::Queued, of_id(), placed(40, fleet(8, 64)), "place 41 of 60; 28.0 GiB are before it"),
        (
            Code::RetryWaits,
            of_id(),
            of_run(retry),
            "attempt 2 of 3 failed (`storage`: 503 SlowDown); the next one starts in 38 s",
        ),
        (Code::NoSlots, of_id(), placed(0, fleet(8, 64)), "all 64 slots of 8 executors"),
        (Code::NoExecutors, of_id(), placed(0, fleet(0, 0)), "no executor is connected"),
        (Code::NoLeader, of_id(), placed(0, nobody), "the last was `host-3`, until 13:59:00 UTC"),
        (Code::Planning, of_id(), of_run(run(Planning)), "its 200 files are looked at since 20 s"),
        (Code::Converting, of_id(), of_run(converting), "60 % read, 437.0 MiB of 717.0 MiB; it is on `executor-3`"),
        (Code::Slow, of_id(), of_run(slow), "its attempt takes 9 min so far; 19 of 20 of the last 20 runs"),
        (Code::LostTask, of_id(), of_run(lost), "`executor-3` is silent"),
        (Code::Cancelling, of_id(), of_run(RunFacts { cancel_requested: true, ..run(Running) }), "to cancel it"),
        (Code::Publishing, of_id(), of_run(run(Committing)), "decided on"),
        (Code::Unpublishable, of_id(), of_run(RunFacts { output: Some(stuck), ..run(Committing) }), "part 2 is gone"),
        (Code::Changed, of_uri(), overwritten, "entity tag `e2`"),
    ]
}

pub(super) fn ended_cases() -> Vec<(Code, Subject, Facts, &'static str)> {
    use RunState::{Cancelled, Completed, Failed};
    let ended = |state, failure| RunFacts { failure, ended_at: Some(ago(10)), failures: 3, ..run(state) };
    let missing = OutputFacts { files: 4, missing: vec!["/out/part-2".to_owned()], ..OutputFacts::default() };
    let made =
        OutputFacts { rows: 12_030, rejected: 1, files: 1, first: Some("/out/p".to_owned()), ..OutputFacts::default() };
    let ledger = LedgerRow { lines: 12_031, rows: 12_030, rejected: 1, ..LedgerRow::default() };
    let no_row = || FileFacts {
        ledger: Some(LedgerRow {
            lines: 2,
            rejected: 2,
            without_rows: Some("it is zip".to_owned()),
            ..LedgerRow::default()
        }),
        ..in_manifest(FileState::Completed)
    };
    let converted = || FileFacts { ledger: Some(ledger.clone()), ..in_manifest(FileState::Completed) };
    let whole = || RunFacts { output: Some(made.clone()), committed_at: Some(ago(9)), ..run(Completed) };
    let small =
        FileFacts { reason: Some("too-small".to_owned()), verdict: Some(Ok(())), ..file(FileState::Quarantined) };
    let stuck = in_manifest(FileState::Processing);
    vec![
        (
            Code::Orphan,
            of_uri(),
            of_file(stuck.clone(), Some(ended(Failed, None))),
            "its run `m1` is failed since 13:59:50 UTC",
        ),
        (Code::Orphan, of_uri(), of_file(stuck, None), "its run `m1` is not there"),
        (
            Code::AtFault,
            of_uri(),
            of_file(in_manifest(FileState::Failed), Some(ended(Failed, Some(failure(Some(URI)))))),
            "503",
        ),
        (
            Code::AtFault,
            of_uri(),
            of_file(in_manifest(FileState::Failed), Some(ended(Failed, Some(beside(URI, "it ends in the middle"))))),
            "as it is: `storage`: it ends in the middle",
        ),
        (
            Code::AtFault,
            of_uri(),
            of_file(
                FileFacts { reason: Some(format!("`{URI}` is cut")), ..in_manifest(FileState::Failed) },
                Some(ended(Failed, Some(failure(Some("s3://in/another.ndjson"))))),
            ),
            "is cut",
        ),
        (Code::AtFault, of_id(), of_run(ended(Failed, Some(failure(Some(URI))))), "because of `s3://in"),
        (
            Code::RunFailed,
            of_uri(),
            of_file(in_manifest(FileState::Failed), Some(ended(Failed, Some(failure(None))))),
            "after 3 attempts",
        ),
        (Code::Cancelled, of_id(), of_run(ended(Cancelled, None)), "was cancelled at 13:59:50 UTC"),
        (
            Code::Refused,
            of_uri(),
            of_file(small, None),
            "`too-small` (3.0 MiB; the rule is 1 B to 2 B); today's rules accept it",
        ),
        (Code::Done, of_uri(), of_file(converted(), Some(whole())), "12,031 lines → 12,030 rows, 1 rejected"),
        (Code::Done, of_id(), of_run(whole()), "12,030 rows in 1 file, 1 line rejected"),
        (Code::NoRows, of_uri(), of_file(no_row(), Some(whole())), "2 lines → 0 rows, 2 rejected; it is zip"),
        (
            Code::DoneOverwritten,
            of_uri(),
            Facts { object: there("e2"), ..of_file(no_row(), Some(whole())) },
            "0 rows, 2 rejected; newer content",
        ),
        (
            Code::DoneOverwritten,
            of_uri(),
            Facts { object: there("e2"), ..of_file(converted(), Some(whole())) },
            "newer content",
        ),
        (
            Code::DoneOutputMissing,
            of_uri(),
            of_file(converted(), Some(RunFacts { output: Some(missing), ..whole() })),
            "1 of its 4 files is not where",
        ),
    ]
}
