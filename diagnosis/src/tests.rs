//! Tests that each code results from its facts, and that every combination of facts has exactly one code.

use crate::*;
use chrono::{DateTime, Duration, TimeZone, Utc};
use millwork_manifest::{Failure, FailureClass, FileFault, FileState, RunState};
use proptest::prelude::*;
use std::collections::BTreeSet;

const URI: &str = "s3://in/2025-12-23-a.ndjson";

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2025, 12, 23, 14, 0, 0).unwrap()
}

fn ago(seconds: i64) -> DateTime<Utc> {
    now() - Duration::seconds(seconds)
}

fn file(state: FileState) -> FileFacts {
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

fn in_manifest(state: FileState) -> FileFacts {
    FileFacts { manifest_id: Some("m1".to_owned()), ..file(state) }
}

fn run(state: RunState) -> RunFacts {
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

fn date(pending_files: u64, oldest_seconds: i64) -> DateFacts {
    DateFacts {
        date: "2025-12-23".to_owned(),
        pending_files,
        pending_bytes: pending_files << 20,
        oldest_pending: (pending_files > 0).then(|| ago(oldest_seconds)),
        has_pending: pending_files > 0,
        ..DateFacts::default()
    }
}

fn lock(expires_in: i64) -> LockFacts {
    LockFacts {
        name: "LOCK#2025-12-23".to_owned(),
        holder: "builder-7".to_owned(),
        token: 12,
        acquired_at: Some(ago(60)),
        expires_at: Some(now() + Duration::seconds(expires_in)),
    }
}

fn builder(seen_seconds_ago: i64) -> BuilderFacts {
    BuilderFacts { id: "host:1".to_owned(), seen_at: ago(seen_seconds_ago) }
}

fn there(etag: &str) -> ObjectFacts {
    ObjectFacts::There { size_bytes: 3 << 20, etag: etag.to_owned(), modified_at: ago(100) }
}

fn fleet(executors: u64, used: u64) -> ClusterFacts {
    let slots = Some(SlotFacts { executors, slots: executors * 8, used });
    ClusterFacts { leader: Leader::Held { holder: "host-1".to_owned() }, executors: slots, ..ClusterFacts::default() }
}

fn failure(file: Option<&str>) -> Failure {
    let failure = Failure::new(FailureClass::Storage, "503 SlowDown");
    file.iter().fold(failure, |failure, uri| failure.of_file(uri))
}

/// Failure of another file's, with this one beside it.
fn beside(uri: &str, message: &str) -> Failure {
    let fault = FileFault { file: uri.to_owned(), message: message.to_owned() };
    Failure { others: vec![fault], ..failure(Some("s3://in/another.ndjson")) }
}

fn of_file(file: FileFacts, run: Option<RunFacts>) -> Facts {
    Facts { file: Some(file), run, cluster: fleet(2, 0), ..Facts::default() }
}

fn of_run(run: RunFacts) -> Facts {
    Facts { run: Some(run), cluster: fleet(2, 0), ..Facts::default() }
}

fn waiting(date: DateFacts) -> Facts {
    Facts { file: Some(file(FileState::Pending)), date: Some(date), ..Facts::default() }
}

fn asked(subject: &Subject, facts: &Facts) -> Diagnosis {
    let settings = Settings { forgets_after_days: Some(7), size_bounds_bytes: Some((1, 2)), ..Settings::default() };
    diagnose(subject, facts, &settings, now())
}

/// All codes with facts that lead to them, and a part of their sentence.
fn cases() -> Vec<(Code, Subject, Facts, &'static str)> {
    let mut cases = unknown_cases();
    cases.extend(waiting_cases());
    cases.extend(run_cases());
    cases.extend(ended_cases());
    cases
}

fn of_uri() -> Subject {
    Subject::File(URI.to_owned())
}

fn of_id() -> Subject {
    Subject::Run("m1".to_owned())
}

fn unknown_cases() -> Vec<(Code, Subject, Facts, &'static str)> {
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

fn waiting_cases() -> Vec<(Code, Subject, Facts, &'static str)> {
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

fn run_cases() -> Vec<(Code, Subject, Facts, &'static str)> {
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

fn ended_cases() -> Vec<(Code, Subject, Facts, &'static str)> {
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

#[test]
fn every_code_comes_from_facts_and_says_their_numbers() {
    let mut met = BTreeSet::new();
    for (code, subject, facts, part) in cases() {
        let diagnosis = asked(&subject, &facts);
        assert_eq!(diagnosis.code, code, "{diagnosis:?}");
        assert!(diagnosis.sentence.contains(part), "{code}: {}", diagnosis.sentence);
        assert_eq!(diagnosis.runbook, format!("docs/runbook.md#{code}"));
        met.insert(code);
    }
    let all: BTreeSet<Code> = Code::ALL.iter().copied().collect();
    assert_eq!(met, all);
}

#[test]
fn the_next_step_has_its_time() {
    let next = |subject: &Subject, facts: &Facts| asked(subject, facts).next;
    let filling = next(&of_uri(), &waiting(date(73, 60)));
    assert_eq!((filling.at, filling.by_itself), (Some(ago(60) + Duration::seconds(1800)), true));
    let without = Facts {
        cluster: ClusterFacts { builders: Some(Vec::new()), ..ClusterFacts::default() },
        ..waiting(date(73, 60))
    };
    assert!(!next(&of_uri(), &without).by_itself, "nobody is there who would cut it");
    let at = now() + Duration::seconds(38);
    let retry = of_run(RunFacts { not_before: Some(at), ..run(RunState::Queued) });
    assert_eq!(next(&of_id(), &retry).at, Some(at));
    let place = QueuePlace { runs_before: 4, bytes_before: 1000, of: Some(9), is_capped: false };
    let cluster = ClusterFacts { bytes_per_second: Some(10.0), ..fleet(1, 0) };
    let queued = Facts { cluster, ..of_run(RunFacts { place: Some(place), ..run(RunState::Queued) }) };
    assert_eq!(next(&of_id(), &queued).at, Some(now() + Duration::seconds(100)));
    let lock = DateFacts { lock: Some(lock(300)), ..date(200, 60) };
    assert_eq!(next(&of_uri(), &waiting(lock)).at, Some(now() + Duration::seconds(300)));
}

#[test]
fn what_needs_a_person_is_folded_by_cause() {
    let failed = |id: &str, seconds| {
        let run = RunFacts {
            id: id.to_owned(),
            ended_at: Some(ago(seconds)),
            failure: Some(failure(None)),
            ..run(RunState::Failed)
        };
        ("storage".to_owned(), asked(&Subject::Run(id.to_owned()), &of_run(run)))
    };
    let many = (0..212).map(|i| failed(&format!("m{i}"), 10 + i));
    let other = ("x".to_owned(), asked(&of_uri(), &Facts { object: there("x"), ..Facts::default() }));
    let (items, left_out) = fold(many.chain([other]), 10);
    assert_eq!((items.len(), left_out), (2, 0));
    assert_eq!((items[0].count, items[0].subjects.len(), items[0].since), (212, 5, Some(ago(221))));
    assert_eq!(fold((0..3).map(|i| (i.to_string(), failed("m", 1).1)), 2).1, 1);
}

fn any_object() -> impl Strategy<Value = ObjectFacts> {
    prop_oneof![
        Just(ObjectFacts::NotAsked),
        Just(ObjectFacts::Foreign),
        Just(ObjectFacts::Gone),
        Just(ObjectFacts::Unreachable("\u{1b}[2J".to_owned())),
        Just(there("e1")),
        Just(there("e2")),
    ]
}

fn any_run() -> impl Strategy<Value = Option<RunFacts>> {
    let parts = (
        proptest::sample::select(RunState::ALL.to_vec()),
        proptest::option::of(-100_000_i64..100_000),
        any::<(bool, bool, bool, u64, u64)>(),
        proptest::option::of((any::<u64>(), any::<u64>(), any::<Option<u64>>(), any::<bool>())),
        proptest::option::of((
            proptest::option::of(any::<u64>()),
            any::<u64>(),
            any::<u64>(),
            any::<bool>(),
            any::<bool>(),
        )),
        proptest::option::of((0_u64..40, any::<u64>(), any::<u64>())),
        proptest::option::of((any::<bool>(), any::<bool>())),
    );
    proptest::option::of(parts.prop_map(
        |(state, not_before, (cancel, fails, of_file, bytes, files), place, progress, usual, output)| {
            let obstacle = |is_lost| Obstacle { message: "x".to_owned(), is_lost };
            RunFacts {
                not_before: not_before.map(|seconds| now() + Duration::seconds(seconds)),
                cancel_requested: cancel,
                failure: fails.then(|| failure(of_file.then_some(URI))),
                bytes,
                files,
                place: place.map(|(runs_before, bytes_before, of, is_capped)| QueuePlace {
                    runs_before,
                    bytes_before,
                    of,
                    is_capped,
                }),
                progress: progress.map(|(read_bytes, tasks, tasks_done, runs, lost)| Progress {
                    read_bytes,
                    tasks,
                    tasks_done,
                    running: if runs { vec!["e1".to_owned()] } else { Vec::new() },
                    lost_executors: if lost { vec!["e2".to_owned()] } else { Vec::new() },
                    eta_seconds: runs.then_some(f64::INFINITY),
                }),
                usual: usual.map(|(runs, half_seconds, most_seconds)| Usual { runs, half_seconds, most_seconds }),
                output: output.map(|(missing, stuck)| OutputFacts {
                    missing: if missing { vec!["/out/p".to_owned()] } else { Vec::new() },
                    obstacle: stuck.then(|| obstacle(missing)),
                    ..OutputFacts::default()
                }),
                ..run(state)
            }
        },
    ))
}

fn any_file() -> impl Strategy<Value = Option<FileFacts>> {
    let parts = (
        proptest::sample::select(FileState::ALL.to_vec()),
        any::<(bool, bool, bool, bool, bool)>(),
        -1000_i64..100_000,
        any::<u64>(),
    );
    proptest::option::of(parts.prop_map(
        |(state, (has_manifest, overwritten, back, moved, nameless), age, size_bytes)| FileFacts {
            manifest_id: has_manifest.then(|| "m1".to_owned()),
            overwritten_etag: overwritten.then(|| "e2".to_owned()),
            sent_back: back.then(|| SentBack { manifest_id: "m0".to_owned(), at: ago(age), at_fault: None }),
            quarantine_uri: moved.then(|| "s3://q/x".to_owned()),
            etag: if nameless { String::new() } else { "e1".to_owned() },
            arrived_at: ago(age),
            updated_at: ago(age),
            size_bytes,
            ..file(state)
        },
    ))
}

fn any_date() -> impl Strategy<Value = Option<DateFacts>> {
    let parts = (
        prop_oneof![Just(0_u64), 1_u64..400, any::<u64>()],
        -1000_i64..100_000,
        proptest::option::of(-1000_i64..1000),
        proptest::collection::vec((proptest::sample::select(RunState::ALL.to_vec()), 0_u64..3), 0..8),
        any::<(bool, bool)>(),
        0_u64..3,
    );
    proptest::option::of(parts.prop_map(|(pending_files, oldest, held, runs, (has_pending, is_capped), refused)| {
        DateFacts {
            pending_files,
            pending_bytes: pending_files,
            oldest_pending: (pending_files > 0).then(|| ago(oldest)),
            lock: held.map(lock),
            runs,
            has_pending,
            is_capped,
            refused,
            ..date(0, 0)
        }
    }))
}

fn any_cluster() -> impl Strategy<Value = ClusterFacts> {
    let leader = prop_oneof![
        Just(Leader::Unknown),
        Just(Leader::Held { holder: "h".to_owned() }),
        Just(Leader::Nobody { last: None }),
    ];
    let executors = proptest::option::of((0_u64..4, any::<u64>(), any::<u64>()));
    let builders = proptest::option::of(proptest::collection::vec(-100_i64..1000, 0..3));
    let rate = proptest::option::of(prop_oneof![Just(0.0), Just(f64::NAN), Just(f64::INFINITY), 0.001..1e12_f64]);
    (leader, executors, builders, rate).prop_map(|(leader, executors, builders, bytes_per_second)| ClusterFacts {
        leader,
        executors: executors.map(|(executors, slots, used)| SlotFacts { executors, slots, used }),
        bytes_per_second,
        builders: builders.map(|seen| seen.into_iter().map(builder).collect()),
    })
}

#[test]
fn a_run_whose_other_files_went_on_is_mended_by_its_file() {
    let failed =
        |files| RunFacts { files, ended_at: Some(ago(5)), failure: Some(failure(Some(URI))), ..run(RunState::Failed) };
    let command = |files| asked(&of_id(), &of_run(failed(files))).action.unwrap().command;
    assert_eq!(command(200), format!("millwork state update-state {URI} --to pending --reason TEXT"));
    assert_eq!(command(1), "millwork runs retry m1");
}

#[test]
fn without_a_scheduler_the_actions_work_on_the_state() {
    let settings = Settings { direct_state: Some("sqlite:out/s t.db".to_owned()), ..Settings::default() };
    let action = |subject: &Subject, facts: &Facts| {
        let answer = diagnose(subject, facts, &settings, now());
        (answer.action.unwrap().command, answer.next.what)
    };
    let refused = FileFacts { reason: Some("too-small".to_owned()), ..file(FileState::Quarantined) };
    let mut facts = Facts { file: Some(refused), ..Facts::default() };
    let command = action(&of_uri(), &facts).0;
    assert_eq!(command, "millwork redrive --input s3://in --refused-for too-small --state 'sqlite:out/s t.db'");
    facts.cluster = fleet(1, 0);
    assert!(action(&of_uri(), &facts).0.starts_with("millwork quarantine redrive"), "a scheduler runs it");
    let failed = RunFacts { ended_at: Some(ago(5)), ..run(RunState::Failed) };
    let facts = Facts { run: Some(failed), ..Facts::default() };
    let (command, next) = action(&of_id(), &facts);
    assert!(command.starts_with("millwork run --input PLACE") && command.ends_with("'sqlite:out/s t.db'"), "{command}");
    assert!(next.contains("`millwork run`"), "{next}");
    let orphan = Facts { file: Some(in_manifest(FileState::Processing)), ..Facts::default() };
    let command = action(&of_uri(), &orphan).0;
    assert!(command.starts_with("millwork state reset") && command.contains(" --state "), "{command}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_combination_of_facts_has_one_code_and_a_safe_text(
        file in any_file(), run in any_run(), date in any_date(), cluster in any_cluster(), object in any_object(),
        kind in 0_u8..4, wait in prop_oneof![Just(0_u64), Just(1800), Just(u64::MAX)], minutes in prop_oneof![Just(0_u64), Just(120), Just(u64::MAX)],
    ) {
        let subject = match kind {
            0 => of_uri(),
            1 => of_id(),
            2 => Subject::Date("2025-12-23".to_owned()),
            _ => Subject::Executor("e1".to_owned()),
        };
        let facts = Facts { file, run, date, cluster, object, ..Facts::default() };
        let mut settings = Settings { run_timeout_minutes: minutes, ..Settings::default() };
        settings.caps.max_wait_seconds = wait;
        let diagnosis = diagnose(&subject, &facts, &settings, now());
        let again = diagnose(&subject, &facts, &settings, now());
        prop_assert_eq!(&diagnosis, &again);
        prop_assert!(!diagnosis.sentence.is_empty());
        prop_assert!(diagnosis.next.by_itself || diagnosis.standing != Standing::Moves || diagnosis.next.what.contains("builder") || !diagnosis.next.what.is_empty());
        let texts = diagnosis.evidence.iter().map(|evidence| evidence.found.as_str());
        for text in texts.chain([diagnosis.sentence.as_str(), diagnosis.next.what.as_str()]) {
            prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
        }
    }

    #[test]
    fn names_from_outside_never_reach_a_terminal_as_they_are(name in ".*") {
        for subject in [Subject::File(name.clone()), Subject::Run(name.clone()), Subject::Date(name.clone()), Subject::Executor(name.clone())] {
            for object in [there(&name), ObjectFacts::Gone] {
                let facts = Facts { object, near: vec![name.clone()], ..Facts::default() };
                let diagnosis = asked(&subject, &facts);
                let command = diagnosis.action.map(|action| action.command).unwrap_or_default();
                for text in [diagnosis.sentence, diagnosis.next.what, command] {
                    prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
                }
            }
        }
    }
}
