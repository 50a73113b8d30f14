//! Services on the scheduler's port: a challenge for everybody, and work for authenticated executors.

use crate::guard::{STRANGER_TIME, Visit};
use crate::messages::{Nothing, ToExecutor, ToScheduler};
use crate::secret::{Nonce, Role, hex, keyed, random, unhex};
use crate::{ExecutorLink, Link, MAX_MESSAGE_BYTES, SILENCE, Secret, WAITING_MESSAGES};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use hmac::Mac;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Request, Response, Status, Streaming};

pub(crate) mod stubs {
    #![allow(clippy::all, clippy::pedantic, missing_docs, unreachable_pub, unused_imports)]
    tonic::include_proto!("millwork.Entrance");
    tonic::include_proto!("millwork.Executors");
}

/// Names of the metadata with the executor's nonce, the scheduler's nonce, and the sender's proof, in hexadecimal.
pub(crate) const OF_EXECUTOR: &str = "millwork-executor-nonce";
pub(crate) const OF_SCHEDULER: &str = "millwork-scheduler-nonce";
pub(crate) const PROOF: &str = "millwork-proof";

/// Limit of a message from an unauthenticated client, in bytes; the only such message is empty.
const MAX_STRANGER_BYTES: usize = 16;
/// Least interval between log messages about unauthenticated connections, in seconds.
const LOG_SECONDS: u64 = 10;

pub(crate) type Entrance = stubs::entrance_server::EntranceServer<Services>;
pub(crate) type Executors = stubs::executors_server::ExecutorsServer<Services>;

/// Services of one port.
#[derive(Clone)]
pub(crate) struct Services(Arc<Inner>);

struct Inner {
    secret: Secret,
    challenges: Challenges,
    links: mpsc::Sender<ExecutorLink>,
    refused: Refused,
}

impl Services {
    pub(crate) fn new(secret: Secret, links: mpsc::Sender<ExecutorLink>) -> io::Result<Self> {
        let challenges = Challenges { key: random()?, started: Instant::now(), answered: Mutex::default() };
        Ok(Self(Arc::new(Inner { secret, challenges, links, refused: Refused::default() })))
    }

    pub(crate) fn entrance(&self) -> Entrance {
        Entrance::new(self.clone()).max_decoding_message_size(MAX_STRANGER_BYTES)
    }

    pub(crate) fn executors(&self) -> Executors {
        Executors::new(self.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

#[tonic::async_trait]
impl stubs::entrance_server::Entrance for Services {
    async fn challenge(&self, request: Request<Nothing>) -> Result<Response<Nothing>, Status> {
        let of_executor = nonce(request.metadata(), OF_EXECUTOR)?;
        let of_scheduler = self.0.challenges.make()?;
        let proof = self.0.secret.proof(Role::Scheduler, &of_executor, &of_scheduler);
        let mut response = Response::new(Nothing {});
        response.metadata_mut().insert(OF_SCHEDULER, ascii(&of_scheduler)?);
        response.metadata_mut().insert(PROOF, ascii(&proof)?);
        Ok(response)
    }
}

#[tonic::async_trait]
impl stubs::executors_server::Executors for Services {
    type WorkStream = BoxStream<'static, Result<ToExecutor, Status>>;

    /// Accepts an authenticated executor. Nothing of its stream is decoded before that.
    async fn work(&self, request: Request<Streaming<ToScheduler>>) -> Result<Response<Self::WorkStream>, Status> {
        let Some(visit) = request.extensions().get::<Arc<Visit>>().cloned() else {
            return Err(Status::internal("a connection that was not guarded"));
        };
        self.check(request.metadata()).inspect_err(|_| self.0.refused.note(&visit))?;
        visit.admit();
        let (outbound, messages) = mpsc::channel(WAITING_MESSAGES);
        let inbound = request.into_inner().map_err(io::Error::other).boxed();
        let link = Link { peer: visit.peer.to_string(), patience: SILENCE, outbound, inbound };
        self.0.links.send(link).await.map_err(|_| Status::unavailable("the scheduler is stopping"))?;
        Ok(Response::new(ReceiverStream::new(messages).map(Ok).boxed()))
    }
}

impl Services {
    fn check(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let (of_executor, of_scheduler) = (nonce(metadata, OF_EXECUTOR)?, nonce(metadata, OF_SCHEDULER)?);
        let proof: [u8; 32] = nonce(metadata, PROOF)?;
        if !self.0.secret.is_proof(&proof, Role::Executor, &of_executor, &of_scheduler) {
            return Err(Status::unauthenticated("this executor does not have the scheduler's secret"));
        }
        if !self.0.challenges.is_new_answer(&of_scheduler) {
            return Err(Status::unauthenticated("the challenge is unknown, old or answered"));
        }
        Ok(())
    }
}

fn nonce(metadata: &MetadataMap, name: &'static str) -> Result<Nonce, Status> {
    let text = metadata.get(name).and_then(|value| value.to_str().ok());
    text.and_then(unhex).ok_or_else(|| Status::unauthenticated(format!("no {name} of 64 hexadecimal digits")))
}

fn ascii(bytes: &[u8]) -> Result<AsciiMetadataValue, Status> {
    hex(bytes).parse().map_err(|_| Status::internal("hexadecimal digits are no text"))
}

/// Nonces of the scheduler. They contain their time and a keyed mark of this process, so that no state is kept per
/// client; only correctly answered ones are remembered, until they expire.
struct Challenges {
    key: [u8; 32],
    started: Instant,
    answered: Mutex<HashMap<Nonce, u64>>,
}

impl Challenges {
    fn make(&self) -> Result<Nonce, Status> {
        let mut nonce = [0; 32];
        nonce[..8].copy_from_slice(&self.now().to_be_bytes());
        let salt: [u8; 8] = random().map_err(|e| Status::unavailable(format!("no random bytes: {e}")))?;
        nonce[8..16].copy_from_slice(&salt);
        let mark = self.mark(&nonce);
        nonce[16..].copy_from_slice(&mark);
        Ok(nonce)
    }

    /// Milliseconds since this process began to listen.
    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn mark(&self, nonce: &Nonce) -> [u8; 16] {
        let mut mac = keyed(&self.key);
        mac.update(&nonce[..16]);
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut mark = [0; 16];
        mark.copy_from_slice(&whole[..16]);
        mark
    }

    /// Tells whether a nonce is recent, from this process, and not answered before; remembers it as answered.
    fn is_new_answer(&self, nonce: &Nonce) -> bool {
        let mut made = [0; 8];
        made.copy_from_slice(&nonce[..8]);
        let (made, now) = (u64::from_be_bytes(made), self.now());
        let is_old = |made: u64| now.saturating_sub(made) > STRANGER_TIME.as_millis() as u64;
        if self.mark(nonce) != nonce[16..] || made > now || is_old(made) {
            return false;
        }
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.retain(|_, made| !is_old(*made));
        answered.insert(*nonce, made).is_none()
    }
}

/// Count of refused connections, logged at a limited rate.
struct Refused {
    since: Instant,
    count: AtomicU64,
    last_line: AtomicU64,
}

impl Default for Refused {
    fn default() -> Self {
        Self { since: Instant::now(), count: AtomicU64::new(0), last_line: AtomicU64::new(0) }
    }
}

impl Refused {
    fn note(&self, visit: &Visit) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        let now = self.since.elapsed().as_secs() + LOG_SECONDS;
        let last = self.last_line.load(Ordering::Relaxed);
        let is_due = now >= last + LOG_SECONDS;
        if is_due && self.last_line.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(
                peer = %visit.peer, refused_so_far = count,
                "refused an executor that does not have this scheduler's secret: give both the same with \
                 --executor-secret-file or MILLWORK_EXECUTOR_SECRET"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_once_and_only_where_it_was_made() {
        let challenges = |key| Challenges { key: [key; 32], started: Instant::now(), answered: Mutex::default() };
        let (mine, other) = (challenges(1), challenges(2));
        let nonce = mine.make().unwrap();
        assert!(!other.is_new_answer(&nonce));
        assert!(mine.is_new_answer(&nonce));
        assert!(!mine.is_new_answer(&nonce), "a replay");
        for byte in 0..32 {
            let mut forged = mine.make().unwrap();
            forged[byte] ^= 1;
            assert!(!mine.is_new_answer(&forged), "byte {byte}");
        }
        assert_eq!(mine.answered.lock().unwrap().len(), 1, "nothing is kept of what was refused");
    }

    #[test]
    fn an_old_challenge_is_refused() {
        let Some(started) = Instant::now().checked_sub(2 * STRANGER_TIME) else { return };
        let challenges = Challenges { key: [1; 32], started, answered: Mutex::default() };
        let mut old = [0; 32];
        let mark = challenges.mark(&old);
        old[16..].copy_from_slice(&mark);
        assert!(!challenges.is_new_answer(&old));
    }
}
