//! One suite for every store: SQLite, DynamoDB's protocol, and each of them behind faults, where every operation is made
//! again until it succeeds.

use super::faults::{Fate, Faulty, Gate};
use super::support::Store;
use super::{audits, files, forces, manifests, queues, runs, supersedes, totals};
use crate::servers::Aws;
use async_trait::async_trait;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use millwork_tracking::SqliteStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Fails every third operation, before and after its effect in turn; shows nothing stale, which the suite would not
/// expect.
#[derive(Default)]
struct EveryThird(AtomicU64);

#[async_trait]
impl Gate for EveryThird {
    async fn fate(&self, operation: &'static str) -> Fate {
        // An index that is given and lost is no fault.
        if operation == "next_batch_index" {
            return Fate::Succeeds;
        }
        match self.0.fetch_add(1, Ordering::Relaxed) % 6 {
            2 => Fate::FailsBefore,
            5 => Fate::FailsAfter,
            _ => Fate::Succeeds,
        }
    }
}

fn faulty(store: Store) -> Store {
    Arc::new(Faulty::new(store, Arc::new(EveryThird::default())))
}

/// Runs every case on a fresh store.
async fn conforms<F: Future<Output = Store>>(fresh: impl Fn() -> F) {
    conforms_whatever_is_lost(&fresh).await;
    // These count, or make very many requests.
    manifests::a_large_manifest_fits(fresh().await).await;
    files::numbers_add_up_and_notes_stay(fresh().await).await;
    queues::the_newest_attempts_are_remembered(fresh().await).await;
    totals::samples_and_notes_are_kept_and_replaced(fresh().await).await;
}

/// Runs the cases whose operations can be made again at will.
async fn conforms_whatever_is_lost<F: Future<Output = Store>>(fresh: &impl Fn() -> F) {
    files::found_twice_is_once(fresh().await).await;
    files::changed_content_is_taken_until_it_is_converted(fresh().await).await;
    files::a_converted_file_is_converted_again_only_when_told(fresh().await).await;
    files::refused_files_come_back_when_the_rules_or_they_change(fresh().await).await;
    files::what_is_gone_is_marked_while_it_waits(fresh().await).await;
    files::a_late_event_of_older_content_changes_nothing(fresh().await).await;
    files::the_content_of_a_submitted_file_is_learned(fresh().await).await;
    files::a_failed_file_is_pending_again_when_its_content_changes(fresh().await).await;
    files::a_file_that_changed_before_its_run_failed_is_pending_again(fresh().await).await;
    files::a_failed_file_is_taken_back_as_it_was_seen(fresh().await).await;
    files::a_failed_run_takes_over_what_its_files_are_now(fresh().await).await;
    files::locks_have_tokens_that_grow(fresh().await).await;
    files::listings_have_pages(fresh().await).await;
    files::long_keys_and_strange_ones_are_files_of_their_own(fresh().await).await;
    audits::notes_are_listed_and_completed(fresh().await).await;
    audits::a_plan_is_written_on_condition(fresh().await).await;
    manifests::a_draft_claims_what_is_as_it_was_seen(fresh().await).await;
    manifests::a_holder_whose_lock_has_passed_on_changes_nothing(fresh().await).await;
    manifests::a_submission_finishes_the_draft_of_its_id(fresh().await).await;
    manifests::a_file_is_in_one_manifest_at_a_time(fresh().await).await;
    runs::a_run_goes_through_its_life(fresh().await).await;
    runs::what_is_not_there_is_refused_or_left(fresh().await).await;
    runs::only_who_holds_the_lock_of_the_runs_starts_attempts(fresh().await).await;
    runs::an_attempt_that_was_given_up_changes_nothing(fresh().await).await;
    runs::a_run_that_failed_for_now_waits_for_its_time(fresh().await).await;
    runs::a_run_is_cancelled_before_its_turn_and_after(fresh().await).await;
    runs::a_run_that_has_a_turn_is_cancelled_by_who_runs_it(fresh().await).await;
    runs::a_run_fails_before_any_attempt(fresh().await).await;
    runs::one_bad_file_fails_alone(fresh().await).await;
    runs::files_of_a_failed_run_go_into_another_but_not_into_two(fresh().await).await;
    runs::a_run_that_has_lost_a_file_names_it(fresh().await).await;
    forces::a_forced_run_replaces_its_output(fresh().await).await;
    forces::a_forced_run_that_comes_to_nothing_keeps_the_output_it_had(fresh().await).await;
    forces::a_forced_run_whose_files_are_elsewhere_is_refused(fresh().await).await;
    forces::only_a_completed_run_is_forced(fresh().await).await;
    supersedes::a_lost_output_is_given_up_for_another(fresh().await).await;
    supersedes::a_run_that_gave_its_output_up_can_fail_and_be_cancelled(fresh().await).await;
    supersedes::a_forced_run_falls_back_on_the_output_it_had(fresh().await).await;
    supersedes::only_a_committed_output_is_given_up(fresh().await).await;
    queues::runs_start_by_priority_and_then_by_age(fresh().await).await;
    queues::runs_are_listed_page_by_page(fresh().await).await;
    queues::what_has_not_ended_is_counted(fresh().await).await;
}

/// Loses one request in ten before it is sent, and one answer in ten: inside of operations, too.
#[derive(Debug, Default)]
struct Lossy(AtomicU64);

impl Lossy {
    fn lose(&self) -> Result<(), BoxError> {
        // SplitMix64 of the number of the event.
        let mut z = self.0.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        if (z ^ (z >> 31)).is_multiple_of(10) { Err("lost".into()) } else { Ok(()) }
    }
}

impl Intercept for Lossy {
    fn name(&self) -> &'static str {
        "lossy"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.lose()
    }

    fn read_before_deserialization(
        &self,
        _context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.lose()
    }
}

#[tokio::test]
async fn dynamodb_conforms_whichever_requests_are_lost() {
    let aws = Aws::start();
    conforms_whatever_is_lost(&|| async { aws.fresh_store_through(Lossy::default()).await }).await;
}

#[tokio::test]
async fn sqlite_conforms() {
    conforms(|| async { Arc::new(SqliteStore::in_memory().unwrap()) as Store }).await;
    totals::totals_follow_files_and_runs(Arc::new(SqliteStore::in_memory().unwrap())).await;
}

#[tokio::test]
async fn sqlite_conforms_behind_faults() {
    conforms(|| async { faulty(Arc::new(SqliteStore::in_memory().unwrap())) }).await;
    totals::totals_follow_files_and_runs(faulty(Arc::new(SqliteStore::in_memory().unwrap()))).await;
}

#[tokio::test]
async fn dynamodb_conforms() {
    let aws = Aws::start();
    conforms(|| async { aws.fresh_store().await }).await;
    totals::totals_follow_files_and_runs(aws.fresh_store().await).await;
}

#[tokio::test]
async fn dynamodb_conforms_behind_faults() {
    let aws = Aws::start();
    conforms(|| async { faulty(aws.fresh_store().await) }).await;
}
