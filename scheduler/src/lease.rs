//! Lock under which one process at a time runs the manifests of a store: the lead.
//!
//! For SQLite it is a file lock, which the system releases when the process ends. For DynamoDB it is a lock with an
//! expiry time that is renewed; when its holder dies, another process takes it after at most eight seconds. Each holder
//! gets a token larger than all before, which is needed to start an attempt: a former holder that resumes can start
//! none. A holder that cannot reach the store therefore continues, and stops once it learns that another has taken
//! over.

use anyhow::Context;
use chrono::{DateTime, Duration, Utc};
use millwork_cluster::SILENCE;
use millwork_manifest::{effective_user, words_of_system};
use millwork_storage::{Location, create_directories};
use millwork_tracking::{Lead, Lock, LockStore, TrackingError, TrackingResult, TrackingStore, open_lock};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Time for which the lock is held without being renewed, in seconds: 8, as long as executors wait for a silent scheduler before they
/// turn to another.
const TTL_SECONDS: i64 = SILENCE.as_secs() as i64;
/// Interval between renewals of the lock: 2 s, a quarter of its expiry time.
const RENEW: std::time::Duration = std::time::Duration::from_secs(SILENCE.as_secs() / 4);
/// Interval at which a standby tries to take the lock.
const TRY: std::time::Duration = std::time::Duration::from_millis(500);

/// Expiry time of a lock if it is not renewed; `None` for a file lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseUntil(Arc<Mutex<Option<DateTime<Utc>>>>);

impl LeaseUntil {
    pub(crate) fn get(&self) -> Option<DateTime<Utc>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, lock: &Lock) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock.expires_at);
    }
}

/// The right to run the manifests of a store.
pub struct Lease {
    store: Arc<dyn TrackingStore>,
    lead: Lead,
    lost: CancellationToken,
    until: LeaseUntil,
    /// Stop signal and handle of the task that renews the lock.
    renewing: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Lease {
    /// Takes the lead; `None` if another process has it.
    pub async fn take(store: &Arc<dyn TrackingStore>) -> TrackingResult<Option<Self>> {
        let holder = format!("process {} on {}", std::process::id(), host());
        let Some(lead) = store.lead(&holder, Duration::seconds(TTL_SECONDS), Utc::now()).await? else {
            return Ok(None);
        };
        let (lost, until) = (CancellationToken::new(), LeaseUntil::default());
        let renewing = match &lead {
            Lead::File(..) => None,
            Lead::Lease(lock) => {
                until.set(lock);
                let done = CancellationToken::new();
                let renewed = renew(store.clone(), (lock.clone(), until.clone()), lost.clone(), done.clone());
                Some((done, tokio::spawn(renewed)))
            }
        };
        Ok(Some(Self { store: store.clone(), lead, lost, until, renewing }))
    }

    /// Waits until the lead can be taken. Retries after transient errors.
    pub async fn wait(store: &Arc<dyn TrackingStore>) -> TrackingResult<Self> {
        loop {
            match Self::take(store).await {
                Ok(Some(lease)) => {
                    metrics::counter!("millwork_lease_taken_total").increment(1);
                    return Ok(lease);
                }
                Ok(None) => {}
                Err(error) if error.can_pass() => {
                    tracing::warn!(%error, "cannot take the lock of the runs; trying again");
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(TRY).await;
        }
    }

    /// Store whose manifests this process runs.
    pub fn store(&self) -> &Arc<dyn TrackingStore> {
        &self.store
    }

    /// Lock whose token is needed to start an attempt.
    pub fn lock(&self) -> &Lock {
        self.lead.lock()
    }

    /// Expiry time if the lock is not renewed.
    pub(crate) fn until(&self) -> LeaseUntil {
        self.until.clone()
    }

    /// Cancelled once another process has taken the lead.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Releases the lead, so that another process can take it at once. A process that dies holds it until it expires.
    pub async fn release(mut self) {
        if let Some((done, task)) = self.renewing.take() {
            done.cancel();
            // The lock expires by itself if this fails.
            let _ = task.await;
        }
    }
}

fn host() -> String {
    std::env::var("HOSTNAME").unwrap_or_else(|_| "this host".to_owned())
}

/// Exclusive right of one process to write to an output directory. The system releases it when the process ends. A
/// bucket has no such lock; there, the lead of the store has to suffice.
pub struct OutputLock {
    pub(crate) output: Location,
    pub(crate) _file: Option<File>,
}

impl OutputLock {
    /// Takes the lock; an error if another process has it.
    pub fn take(output: Location) -> anyhow::Result<Self> {
        let Some(directory) = output.local_path() else { return Ok(Self { output, _file: None }) };
        let private = directory.join("_millwork");
        create_directories(&private)
            .with_context(|| format!("cannot write to the output `{}`", directory.display()))?;
        check_owner(&private)?;
        let file = lock_file(&private.join("output.lock"))?;
        let file =
            file.with_context(|| format!("another millwork process writes to the output `{}`", directory.display()))?;
        Ok(Self { output, _file: Some(file) })
    }
}

/// Refuses a private directory that belongs to another user, or is a link of one, who could redirect what is written
/// there. Root is trusted, since it can do so anyway.
fn check_owner(private: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let user = effective_user();
    for found in [std::fs::metadata(private), std::fs::symlink_metadata(private)] {
        let owner = found.with_context(|| format!("cannot look at `{}`", private.display()))?.uid();
        anyhow::ensure!(
            owner == user || owner == 0,
            "`{}` belongs to user {owner}, not to user {user} or root: whoever it is could lead what is written there elsewhere; run \
             this as that user, give it to user {user}, or name another output",
            private.display()
        );
    }
    Ok(())
}

/// Locks a file; `None` if another process holds it.
fn lock_file(path: &Path) -> anyhow::Result<Option<File>> {
    let system = |what: &str, e: &std::io::Error| {
        anyhow::anyhow!("cannot {what} the lock `{}`: {}", path.display(), words_of_system(what, e))
    };
    let file = open_lock(path).map_err(|e| system("open", &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(e)) => Err(system("take", &e)),
    }
}

async fn renew(
    store: Arc<dyn LockStore>,
    (mut lock, until): (Lock, LeaseUntil),
    lost: CancellationToken,
    done: CancellationToken,
) {
    loop {
        tokio::select! {
            () = done.cancelled() => {
                if let Err(error) = store.unlock(&lock).await {
                    tracing::warn!(%error, "cannot let go of the lock of the runs: it ends by itself");
                }
                return;
            }
            () = tokio::time::sleep(RENEW) => {}
        }
        match store.renew(&lock, Duration::seconds(TTL_SECONDS), Utc::now()).await {
            Ok(renewed) => {
                until.set(&renewed);
                lock = renewed;
            }
            Err(error @ TrackingError::LockLost { .. }) => {
                tracing::error!(%error, "another scheduler runs the manifests now: this one ends");
                lost.cancel();
                return;
            }
            // While renewal keeps failing, another process can take the lock; this one notices at its next attempt.
            Err(error) => tracing::warn!(%error, "cannot renew the lock of the runs; trying again"),
        }
    }
}
