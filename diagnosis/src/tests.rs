//! Tests that each code results from its facts, and that every combination of facts has exactly one code.

mod any;
mod cases;

use crate::*;
use any::*;
use cases::*;
use chrono::Duration;
use millwork_manifest::{FileState, RunState};
use proptest::prelude::*;
use std::collections::BTreeSet;

const URI: &str = "s3://in/2025-12-23-a.ndjson";

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
