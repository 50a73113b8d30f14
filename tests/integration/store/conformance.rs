//! One suite for every store: SQLite, DynamoDB's protocol, and each of them behind faults, where every operation is made
//! again until it succeeds. A case on a store is a test of its own, such as `dynamodb_behind_faults::locks_have_tokens_that_grow`.

use super::faults::{Fate, Faulty, Gate};
use super::support::Store;
use crate::servers::Aws;
use async_trait::async_trait;
use aws_sdk_dynamodb::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use millwork_tracking::SqliteStore;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

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

/// A server that the tests which run at the same time share; it ends with the last of them.
fn server() -> Arc<Aws> {
    static SHARED: Mutex<Weak<Aws>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap();
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Aws::start());
        *shared = Arc::downgrade(&server);
        server
    })
}

/// A fresh store, and what has to stay as long as it is used.
type Fresh = (Store, Option<Arc<Aws>>);

async fn sqlite() -> Fresh {
    (Arc::new(SqliteStore::in_memory().unwrap()), None)
}

async fn sqlite_behind_faults() -> Fresh {
    (faulty(sqlite().await.0), None)
}

async fn dynamodb() -> Fresh {
    let server = server();
    (server.fresh_store().await, Some(server))
}

async fn dynamodb_behind_faults() -> Fresh {
    let (store, server) = dynamodb().await;
    (faulty(store), server)
}

async fn dynamodb_whichever_requests_are_lost() -> Fresh {
    let server = server();
    (server.fresh_store_through(Lossy::default()).await, Some(server))
}

/// A module with a test for each case, on a fresh store.
macro_rules! suite {
    ($fresh:ident: $($subject:ident::$case:ident,)+) => {
        mod $fresh {
            $(
                #[tokio::test]
                async fn $case() {
                    let (store, _server) = super::$fresh().await;
                    crate::store::$subject::$case(store).await;
                }
            )+
        }
    };
}

/// The cases whose operations can be made again at will, and others that are named besides.
macro_rules! conforms {
    ($fresh:ident: $($besides:tt)*) => {
        suite! { $fresh:
            files::found_twice_is_once,
            files::changed_content_is_taken_until_it_is_converted,
            files::a_converted_file_is_converted_again_only_when_told,
            files::refused_files_come_back_when_the_rules_or_they_change,
            files::a_timeline_says_why_a_refused_file_waits_again,
            files::what_is_gone_is_marked_while_it_waits,
            files::a_late_event_of_older_content_changes_nothing,
            files::the_content_of_a_submitted_file_is_learned,
            files::a_failed_file_is_pending_again_when_its_content_changes,
            files::a_file_that_changed_before_its_run_failed_is_pending_again,
            files::a_failed_file_is_taken_back_as_it_was_seen,
            files::a_failed_run_takes_over_what_its_files_are_now,
            files::locks_have_tokens_that_grow,
            files::listings_have_pages,
            files::long_keys_and_strange_ones_are_files_of_their_own,
            audits::notes_are_listed_and_completed,
            audits::a_plan_is_written_on_condition,
            manifests::a_draft_claims_what_is_as_it_was_seen,
            manifests::a_holder_whose_lock_has_passed_on_changes_nothing,
            manifests::a_submission_finishes_the_draft_of_its_id,
            manifests::a_file_is_in_one_manifest_at_a_time,
            runs::a_run_goes_through_its_life,
            runs::what_is_not_there_is_refused_or_left,
            runs::only_who_holds_the_lock_of_the_runs_starts_attempts,
            runs::an_attempt_that_was_given_up_changes_nothing,
            runs::a_run_that_failed_for_now_waits_for_its_time,
            runs::a_run_is_cancelled_before_its_turn_and_after,
            runs::a_run_that_has_a_turn_is_cancelled_by_who_runs_it,
            runs::a_run_fails_before_any_attempt,
            runs::bad_files_fail_alone,
            runs::files_of_a_failed_run_go_into_another_but_not_into_two,
            runs::a_run_that_has_lost_a_file_names_it,
            forces::a_forced_run_replaces_its_output,
            forces::a_forced_run_that_comes_to_nothing_keeps_the_output_it_had,
            forces::a_forced_run_whose_files_are_elsewhere_is_refused,
            forces::only_a_completed_run_is_forced,
            supersedes::a_lost_output_is_given_up_for_another,
            supersedes::a_run_that_gave_its_output_up_can_fail_and_be_cancelled,
            supersedes::a_forced_run_falls_back_on_the_output_it_had,
            supersedes::only_a_committed_output_is_given_up,
            queues::runs_start_by_priority_and_then_by_age,
            queues::runs_are_listed_page_by_page,
            queues::what_has_not_ended_is_counted,
            $($besides)*
        }
    };
}

/// Cases that both stores have to pass, with those that count requests or make very many.
macro_rules! conforms_in_all {
    ($fresh:ident: $($besides:tt)*) => {
        conforms! { $fresh:
            manifests::a_large_manifest_fits,
            files::numbers_add_up_and_notes_stay,
            queues::the_newest_attempts_are_remembered,
            totals::samples_and_notes_are_kept_and_replaced,
            $($besides)*
        }
    };
}

conforms_in_all! { sqlite: totals::totals_follow_files_and_runs, }
conforms_in_all! { sqlite_behind_faults: totals::totals_follow_files_and_runs, }
conforms_in_all! { dynamodb: totals::totals_follow_files_and_runs, }
conforms_in_all! { dynamodb_behind_faults: }
conforms! { dynamodb_whichever_requests_are_lost: }
