//! Lead of a store that is a file: a lock on a file beside it, which the system releases when the process ends.

use super::private::open_lock;
use crate::{TrackingError, TrackingResult};
use millwork_manifest::words_of_system;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Number of reads of the kernel's lock list before a lock counts as free: 3. The list is returned in pieces, and can
/// miss locks while others change.
const LOOKS_AT_LOCKS: u32 = 3;

/// Path of the lock file of a database: the full name of the database with `.lock`, so that `a.db` and `a.sqlite` have
/// different ones. Links are resolved, so that a database with two names has only one.
fn lock_path(database: &Path) -> TrackingResult<PathBuf> {
    let mut name = database.canonicalize().map_err(|e| failed(database, &e))?.into_os_string();
    name.push(".lock");
    Ok(name.into())
}

fn failed(path: &Path, error: &io::Error) -> TrackingError {
    TrackingError::Open { store: path.display().to_string(), message: words_of_system("open", error) }
}

/// Locks the file of a database; `None` if another process has locked it.
pub(super) fn take(database: &Path) -> TrackingResult<Option<File>> {
    let path = lock_path(database)?;
    let file = open_lock(&path).map_err(|e| failed(&path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(failed(&path, &e)),
    }
}

/// Tells whether a process holds the lock of a database, without taking it. `None` if the system does not tell.
pub(super) fn is_held(database: &Path) -> Option<bool> {
    let Ok(metadata) = std::fs::metadata(lock_path(database).ok()?) else { return Some(false) };
    let inode = format!(":{}", metadata.ino());
    let is_ours = |line: &str| line.contains("FLOCK") && line.split_whitespace().any(|word| word.ends_with(&inode));
    for _ in 0..LOOKS_AT_LOCKS {
        // Reading the kernel's list is passive, while trying the lock would hold it for a moment.
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        if locks.lines().any(is_ours) {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::super::SqliteStore;
    use crate::{Leader, LockStore};
    use chrono::{Duration, Utc};

    #[tokio::test]
    async fn one_process_leads_a_state_and_its_names_are_one() {
        let root = tempfile::tempdir().unwrap();
        let (path, link) = (root.path().join("state.db"), root.path().join("link.db"));
        let first = SqliteStore::open(&path).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let second = SqliteStore::open(&link).unwrap();
        let (ttl, now) = (Duration::seconds(8), Utc::now());
        assert_eq!(second.leader(now).await.unwrap(), Leader::Nobody(None));
        let lead = first.lead("a", ttl, now).await.unwrap().unwrap();
        assert!(second.lead("b", ttl, now).await.unwrap().is_none());
        let Leader::Held(Some(lock)) = second.leader(now).await.unwrap() else { panic!("nobody leads") };
        assert_eq!((lock.holder.as_str(), lock.token), ("a", lead.lock().token));
        drop(lead);
        assert!(matches!(second.leader(now).await.unwrap(), Leader::Nobody(Some(_))));
        let next = second.lead("b", ttl, now).await.unwrap().unwrap();
        assert!(next.lock().token > lock.token);
    }

    #[tokio::test]
    async fn a_state_in_memory_is_led_for_a_time() {
        let store = SqliteStore::in_memory().unwrap();
        let (ttl, now) = (Duration::seconds(8), Utc::now());
        assert!(matches!(store.lead("a", ttl, now).await.unwrap(), Some(crate::Lead::Lease(_))));
        assert!(store.lead("b", ttl, now).await.unwrap().is_none());
        assert!(matches!(store.leader(now).await.unwrap(), Leader::Held(Some(_))));
        assert!(matches!(store.leader(now + ttl).await.unwrap(), Leader::Nobody(Some(_))));
    }
}
