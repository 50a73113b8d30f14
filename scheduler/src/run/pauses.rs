//! Pauses before retries.
//!
//! | event | function | pause | ends |
//! |---|---|---|---|
//! | an attempt fails, the preparation of its commit included | [`before_retry`] | 1 to 15 s, then × 4, at most 10 minutes | after `MAX_RETRIES` |
//! | the store does not answer | [`before_asking_again`] | 250 ms, then × 2, at most 4 s | never |
//! | a committed output cannot be published | [`before_publishing_again`] | 1 s, then × 2, at most 64 s | never |
//! | a committed output is lost before that | [`before_converting_anew`] | none, 10 s, then × 4, at most 10 minutes | never |

use chrono::Duration;
use millwork_manifest::FailureClass;

/// Pause before the next attempt, which depends on the class of the failure.
///
/// | class | first | then | why |
/// |---|---|---|---|
/// | lost-executor | 1 s | × 4 | another executor is there, or a new one soon |
/// | storage | 10 s | × 4 | the client has tried for some seconds; an outage takes minutes |
/// | resources | 15 s | × 4 | other runs must end first |
/// | others | 5 s | × 4 | |
pub(super) fn before_retry(class: FailureClass, failures: u32) -> Duration {
    let first = match class {
        FailureClass::LostExecutor => 1,
        FailureClass::Storage => 10,
        FailureClass::Resources => 15,
        _ => 5,
    };
    Duration::seconds((first << (2 * failures.min(5))).min(600))
}

/// Pause before the same request is repeated to the store, after `tries` attempts: from a quarter of a second to four.
pub(super) fn before_asking_again(tries: u32) -> Duration {
    Duration::milliseconds(250 << tries.min(4))
}

/// Pause before a publication is retried.
pub(super) fn before_publishing_again(tries: u32) -> Duration {
    Duration::seconds(1 << tries.min(6))
}

/// Pause before a run is converted again after its committed output of this generation was lost: none for the first generation, 10 s for
/// the second, and four times longer for each that follows, at most 10 minutes. Forced runs count as generations.
pub(super) fn before_converting_anew(generation: u32) -> Duration {
    match generation {
        0 | 1 => Duration::zero(),
        _ => before_retry(FailureClass::Storage, generation - 2),
    }
}
