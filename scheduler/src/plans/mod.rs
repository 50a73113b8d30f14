//! Change plans: what an operator wants changed is first kept as an exact list, then done as it stands there.
//!
//! A plan is one document in the store, so that any scheduler can show and apply it. Making one reads, and writes nothing else.
//! It is for who made it, for a quarter of an hour, and once. A subject that has changed since is left alone.
//!
//! | the process dies | what is left | who goes on |
//! |---|---|---|
//! | before the note | a plan that was begun, and nothing done | who applies it again |
//! | after the note, before or in the first changes | a note without an outcome; the plan says which changes may have been made | the same: each of those is made if its subject is as it was seen, so never twice |
//! | after the last change | the same, all results but the last ones known | the same; it completes plan and note |
//!
//! A new action is a word in [`millwork_api::Action`] and a match arm in `kinds.rs`, of a function that looks at one subject
//! and one that changes it.

mod apply;
mod cost;
mod error;
mod files;
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

/// Subjects of a plan at most: few enough for one document and for a person to look through, and a page of any listing.
const MAX_SUBJECTS: usize = 1000;
/// Bytes of the names of a plan's subjects at most, 256 KiB: a thousand of 256 bytes.
const MAX_NAMES_BYTES: usize = 256 << 10;
/// Bytes of the filter of a plan at most, 8 KiB: a key has 1 KiB.
const MAX_FILTER_BYTES: usize = 8 << 10;
/// Time in which a plan can be applied: long enough to read it and ask somebody, short enough to be still true.
const VALID: Duration = Duration::minutes(15);
/// Time for which plans that were applied are kept: as long as the notes that name them.
const KEEP: Duration = Duration::days(90);
/// Time for which others are kept after they can be applied no more: long enough to see why a link to one does nothing.
const KEEP_UNUSED: Duration = Duration::hours(1);
