//! Facts of any kind, as `proptest` makes them.

use super::URI;
use super::cases::*;
use crate::*;
use chrono::Duration;
use millwork_manifest::{FileState, RunState};
use proptest::prelude::*;

pub(super) fn any_object() -> impl Strategy<Value = ObjectFacts> {
    prop_oneof![
        Just(ObjectFacts::NotAsked),
        Just(ObjectFacts::Foreign),
        Just(ObjectFacts::Gone),
        Just(ObjectFacts::Unreachable("\u{1b}[2J".to_owned())),
        Just(there("e1")),
        Just(there("e2")),
    ]
}

pub(super) fn any_run() -> impl Strategy<Value = Option<RunFacts>> {
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

pub(super) fn any_file() -> impl Strategy<Value = Option<FileFacts>> {
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

pub(super) fn any_date() -> impl Strategy<Value = Option<DateFacts>> {
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

pub(super) fn any_cluster() -> impl Strategy<Value = ClusterFacts> {
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
