//! Timeouts for requests to buckets, and warnings about slow ones, so that a server that accepts requests and never
//! answers does not look like work in progress.

use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_smithy_types::config_bag::{Storable, StoreReplace};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// Timeout for a server to accept a connection, and timeout for the start of its answer after a request, which may
/// carry some megabytes. The SDK has no default for the latter.
const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(60);
/// Timeout for the start of the answer to a request that only reads: 20 seconds. The SDK makes up to three attempts.
const ANSWER_TO_READ: Duration = Duration::from_secs(20);
/// Timeout for an attempt at a request: 5 minutes, for 16 MiB over a slow line, or for a server that assembles a large object. The body of
/// an object that is read is not part of it.
const ATTEMPT: Duration = Duration::from_secs(300);
/// Time without an answer after which a warning is logged.
const SILENCE: Duration = Duration::from_secs(8);
/// Least time between two such warnings of one client, in seconds.
const PAUSE_SECONDS: i64 = 30;

/// Timeouts for requests of any kind.
pub(crate) fn of_any() -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(ANSWER).operation_attempt_timeout(ATTEMPT).build()
}

/// Timeouts for requests that only read.
pub(crate) fn of_reading() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .read_timeout(ANSWER_TO_READ)
        .operation_attempt_timeout(ATTEMPT)
        .build()
}

/// Timer of one attempt at a request; cancelled when dropped.
#[derive(Debug)]
pub(crate) struct Watch(Option<AbortHandle>);

impl Storable for Watch {
    type Storer = StoreReplace<Self>;
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(watch) = &self.0 {
            watch.abort();
        }
    }
}

/// Logger of warnings about servers that do not answer, at a limited rate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Teller {
    /// Time of the last warning, in Unix seconds.
    last: Arc<AtomicI64>,
}

impl Teller {
    /// Starts a timer that logs a warning if a request to this address has had no answer for [`SILENCE`].
    pub(crate) fn watch(&self, method: &'static str, address: &str) -> Watch {
        let (teller, server) = (self.clone(), server_of(address));
        let watch = async move {
            tokio::time::sleep(SILENCE).await;
            if teller.is_time(chrono::Utc::now().timestamp()) {
                let silent = SILENCE.as_secs();
                tracing::warn!(
                    "{server} has taken a request ({method}) and not answered for {silent} s; it is waited for: check \
                     AWS_ENDPOINT_URL_S3, AWS_REGION, the server and what stands before it"
                );
            }
        };
        Watch(Handle::try_current().ok().map(|runtime| runtime.spawn(watch).abort_handle()))
    }

    /// Tells whether a warning is due, and notes it as logged.
    fn is_time(&self, now: i64) -> bool {
        let next = |last| (now - last >= PAUSE_SECONDS || now < last).then_some(now);
        self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// Scheme, host and port of an address, without user name and password.
fn server_of(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let host = rest.split(['/', '?']).next().unwrap_or_default().rsplit('@').next().unwrap_or_default();
    let host: String = host.chars().filter(|character| !character.is_control()).take(200).collect();
    if scheme.is_empty() { host } else { format!("{scheme}://{host}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_without_keys_and_passwords() {
        for (address, server) in [
            (
                "https://b.s3.eu-west-1.amazonaws.com/2025-12-23-a.ndjson?x-id=GetObject",
                "https://b.s3.eu-west-1.amazonaws.com",
            ),
            ("http://127.0.0.1:9000?list-type=2", "http://127.0.0.1:9000"),
            ("http://user:password@minio:9000/b/k@x", "http://minio:9000"),
            ("minio", "minio"),
        ] {
            assert_eq!(server_of(address), server);
        }
    }

    #[test]
    fn a_silent_server_is_told_of_now_and_then() {
        let teller = Teller::default();
        let told: Vec<bool> = [1000, 1001, 1029, 1030, 1040, 7, 8].map(|now| teller.is_time(now)).into();
        assert_eq!(told, [true, false, false, true, false, true, false]);
    }
}
