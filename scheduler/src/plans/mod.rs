//! Change plans: an operator's changes are first stored as an exact list, then applied as listed.
//!
//! A plan is one document in the store, so that any scheduler can show and apply it. Making a plan writes nothing else.
//! Only its creator can apply it, once, within a quarter of an hour. A subject that has changed since is skipped.
//!
//! | crash | what remains | recovered by |
//! |---|---|---|
//! | before the audit record | a plan that was begun, and nothing done | applying it again |
//! | after the audit record, before or during the changes | a record without an outcome; the plan tells which changes may have been made | applying it again: each of those is made only if its subject is unchanged, so never twice |
//! | after the last change | the same, with all results but the last ones | applying it again, which completes plan and record |
//!
//! A new action needs a variant of [`millwork_api::Action`] and match arms in `kinds.rs`, for a function that
//! examines one subject and one that changes it.

mod apply;
mod cost;
mod error;
mod files;
mod found;
mod kinds;
mod letters;
mod make;
mod open;
mod record;
mod rounds;
mod runs;
mod states;

pub use error::PlanError;

use chrono::Duration;

/// Limit of a plan's subjects: few enough for one document and for a person to review, and a page of any listing.
const MAX_SUBJECTS: usize = 1000;
/// Limit of the names of a plan's subjects, in bytes: 256 KiB, a thousand of 256 bytes.
const MAX_NAMES_BYTES: usize = 256 << 10;
/// Limit of a plan's filter, in bytes: 8 KiB, where a key has up to 1 KiB.
const MAX_FILTER_BYTES: usize = 8 << 10;
/// Time within which a plan can be applied: long enough to review it, short enough to be still valid.
const VALID: Duration = Duration::minutes(15);
/// Retention of applied plans: that of the audit records that name them.
const KEEP: Duration = Duration::days(90);
/// Retention of plans that expired without being applied: long enough to see why a link to one has no effect.
const KEEP_UNUSED: Duration = Duration::hours(1);
