//! Shared secret of a scheduler and its executors, and the proofs by which each side shows that it has it.
//!
//! The secret itself is never sent. Each side creates a nonce, and the other answers with an HMAC-SHA-256 of both
//! nonces and its own role. An eavesdropper, or a process that took over the port of a former scheduler, learns nothing
//! usable. This authenticates only the start of a connection; later traffic is protected only by TLS.

use hmac::{Hmac, KeyInit, Mac};
use millwork_net::Watched;
use sha2::Sha256;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{env, fmt, io};

/// Least length of a secret: 32 characters, 128 bits if random and hexadecimal.
pub(crate) const MIN_SECRET_CHARACTERS: usize = 32;
/// Limit of a secret file, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;
/// Environment variable with the secret.
const VARIABLE: &str = "MILLWORK_EXECUTOR_SECRET";

/// Secret shared by a scheduler and its executors. A secret file is read again when it changes: existing connections
/// continue, new ones use the new secret.
#[derive(Clone)]
pub struct Secret(Source);

#[derive(Clone)]
enum Source {
    Fixed(Arc<Vec<u8>>),
    Watched(Arc<Watched<Vec<u8>>>),
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Secret {}

/// Reason why there is no usable secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The secret is short enough to be guessed.
    #[error(
        "{origin} has {found} characters: a secret for executors needs at least {MIN_SECRET_CHARACTERS}, such as those of `openssl rand -hex 32`"
    )]
    TooShort {
        /// File or environment variable with the secret.
        origin: String,
        /// Length of the secret.
        found: usize,
    },
    /// Other users could read or replace the file.
    #[error("{} {problem}: whoever has the secret can be a scheduler or an executor; let it belong to the user that runs this process, with mode 0600", path.display())]
    Exposed {
        /// The file or directory.
        path: PathBuf,
        /// Reason for the refusal.
        problem: String,
    },
    /// The file cannot be read or created.
    #[error("cannot {operation} {}: {cause}", path.display())]
    Io {
        /// Operation that failed.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Cause of the failure.
        cause: io::Error,
    },
    /// There is no private directory for this user's secret.
    #[error(
        "no secret for executors: neither {VARIABLE} nor --executor-secret-file is given, and there is no HOME to keep one in"
    )]
    NoHome,
}

/// Side of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    Scheduler,
    Executor,
}

/// A random number that is used once.
pub(crate) type Nonce = [u8; 32];

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Secret {
    /// Secret that is configured: in this file, or in the environment.
    pub fn configured(file: Option<&Path>) -> Result<Option<Self>, SecretError> {
        match (file, env::var(VARIABLE)) {
            (Some(path), _) => {
                let read = {
                    let path = path.to_owned();
                    move || Self::read(&path).map(|secret| secret.bytes().to_vec())
                };
                let watched = Watched::open("the secret of executors", vec![path.to_owned()], read)?;
                Ok(Some(Self(Source::Watched(Arc::new(watched)))))
            }
            (None, Ok(text)) if !text.is_empty() => Self::parse(&text, || VARIABLE.to_owned()).map(Some),
            _ => Ok(None),
        }
    }

    /// Secret of this user on this machine, created by the first process that needs it.
    pub fn of_this_user() -> Result<Self, SecretError> {
        let path = Self::path_of_this_user()?;
        match Self::read(&path) {
            Err(SecretError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                make(&path)?;
                Self::read(&path)
            }
            read => read,
        }
    }

    /// Path of the file for [`Secret::of_this_user`].
    pub fn path_of_this_user() -> Result<PathBuf, SecretError> {
        let set = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")));
        Ok(state.ok_or(SecretError::NoHome)?.join("millwork/executor-secret"))
    }

    /// Reads a secret file. Group access is allowed, since a file mounted by Kubernetes belongs to root and is readable
    /// for a group.
    fn read(path: &Path) -> Result<Self, SecretError> {
        let failed = |cause| SecretError::Io { operation: "read the secret in", path: path.to_owned(), cause };
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let exposed = |problem: String| Err(SecretError::Exposed { path: path.to_owned(), problem });
        if !metadata.is_file() {
            return exposed("is no regular file".to_owned());
        }
        if metadata.mode() & 0o007 != 0 {
            return exposed(format!("has mode {:04o}", metadata.mode() & 0o7777));
        }
        let me = user();
        if metadata.uid() != me && metadata.uid() != 0 {
            return exposed(format!("belongs to user {}, this process to user {me}", metadata.uid()));
        }
        let mut text = String::new();
        file.take(MAX_SECRET_BYTES).read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text, || path.display().to_string())
    }

    fn parse(text: &str, origin: impl FnOnce() -> String) -> Result<Self, SecretError> {
        let text = text.trim();
        let found = text.chars().count();
        if found < MIN_SECRET_CHARACTERS {
            return Err(SecretError::TooShort { origin: origin(), found });
        }
        Ok(Self(Source::Fixed(Arc::new(text.as_bytes().to_vec()))))
    }

    fn bytes(&self) -> Arc<Vec<u8>> {
        match &self.0 {
            Source::Fixed(bytes) => bytes.clone(),
            Source::Watched(watched) => watched.current(),
        }
    }

    /// Proof for the other side that this one has the secret.
    pub(crate) fn proof(&self, role: Role, of_executor: &Nonce, of_scheduler: &Nonce) -> [u8; 32] {
        self.mac(role, of_executor, of_scheduler).finalize().into_bytes().into()
    }

    /// Verifies a proof in constant time.
    pub(crate) fn is_proof(&self, proof: &[u8], role: Role, of_executor: &Nonce, of_scheduler: &Nonce) -> bool {
        self.mac(role, of_executor, of_scheduler).verify_slice(proof).is_ok()
    }

    fn mac(&self, role: Role, of_executor: &Nonce, of_scheduler: &Nonce) -> Hmac<Sha256> {
        let mut mac = keyed(&self.bytes());
        mac.update(match role {
            Role::Scheduler => b"millwork scheduler 1\n",
            Role::Executor => b"millwork executor 1\n\n",
        });
        mac.update(of_executor);
        mac.update(of_scheduler);
        mac
    }
}

/// HMAC with a key, which may have any length.
pub(crate) fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    if key.len() > block.len() {
        use sha2::Digest;
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    Hmac::new(&block.into())
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Effective user id of this process.
fn user() -> u32 {
    // SAFETY: the call has no arguments and no side effects, and cannot fail.
    unsafe { libc::geteuid() }
}

/// Creates a secret file. If another process is faster, its secret is used.
fn make(path: &Path) -> Result<(), SecretError> {
    let failed = |operation| move |cause| SecretError::Io { operation, path: path.to_owned(), cause };
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed("make the directory of"))?;
    let bytes: [u8; 32] = random().map_err(failed("get random bytes for"))?;
    let draft = path.with_extension(hex(&bytes[..8]));
    // These random bytes name a temporary file, and are not used in the secret.
    let secret: [u8; 32] = random().map_err(failed("get random bytes for"))?;
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| writeln!(file, "{}", hex(&secret)).and_then(|()| file.sync_all()));
    // A hard link does not replace an existing file, and makes the file appear only when complete.
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&draft);
    linked.and(removed).map_err(failed("write the secret to"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    fn secret(text: &str) -> Secret {
        Secret::parse(text, || "a test".to_owned()).unwrap()
    }

    #[test]
    fn a_proof_is_good_for_its_secret_role_and_nonces_only() {
        let (mine, other) = (secret(&"a".repeat(32)), secret(&"b".repeat(32)));
        let (executor, scheduler) = ([1; 32], [2; 32]);
        let proof = mine.proof(Role::Executor, &executor, &scheduler);
        assert!(mine.is_proof(&proof, Role::Executor, &executor, &scheduler));
        assert!(!mine.is_proof(&proof, Role::Scheduler, &executor, &scheduler), "a reflected proof");
        assert!(!mine.is_proof(&proof, Role::Executor, &executor, &[3; 32]), "a replayed proof");
        assert!(!mine.is_proof(&proof, Role::Executor, &scheduler, &executor));
        assert!(!mine.is_proof(&proof[..31], Role::Executor, &executor, &scheduler));
        assert!(!mine.is_proof(&[], Role::Executor, &executor, &scheduler));
        assert!(!other.is_proof(&proof, Role::Executor, &executor, &scheduler));
    }

    #[test]
    fn a_secret_that_is_longer_than_a_block_counts_as_a_whole() {
        let (long, longer) = (secret(&"a".repeat(65)), secret(&"a".repeat(66)));
        let proof = long.proof(Role::Executor, &[1; 32], &[2; 32]);
        assert!(long.is_proof(&proof, Role::Executor, &[1; 32], &[2; 32]));
        assert!(!longer.is_proof(&proof, Role::Executor, &[1; 32], &[2; 32]));
    }

    #[test]
    fn a_short_secret_is_refused_with_its_length_but_not_shown() {
        let error = Secret::parse(&"x".repeat(31), || "a file".to_owned()).unwrap_err().to_string();
        assert!(error.contains("31") && error.contains("32") && !error.contains("xxx"), "{error}");
        assert_eq!(format!("{:?}", secret(&"x".repeat(32))), "Secret(…)");
    }

    #[test]
    fn a_secret_is_made_once_for_its_user_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state/millwork/executor-secret");
        make(&path).unwrap();
        let first = Secret::read(&path).unwrap();
        make(&path).unwrap();
        assert_eq!(Secret::read(&path).unwrap(), first);
        let directory = path.parent().unwrap();
        assert_eq!(fs::metadata(directory).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_secret_in_a_file_is_read_again_when_that_changes() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("secret");
        let write = |text: &str| {
            fs::write(&path, text).unwrap();
            set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        };
        write(&"a".repeat(40));
        let watched = Secret::configured(Some(&path)).unwrap().unwrap();
        assert_eq!(watched, secret(&"a".repeat(40)));
        write(&"b".repeat(41));
        let started = std::time::Instant::now();
        while watched != secret(&"b".repeat(41)) {
            assert!(started.elapsed().as_secs() < 30, "the file is not read again");
            std::thread::yield_now();
        }
        write("short");
        assert_eq!(watched, secret(&"b".repeat(41)), "what cannot be used changes nothing");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("secret");
        fs::write(&path, "s".repeat(64)).unwrap();
        for mode in [0o644, 0o604, 0o602, 0o777] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let error = Secret::read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:04o}")) && error.contains("0600"), "{error}");
        }
        for mode in [0o600, 0o400, 0o640] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert!(Secret::read(&path).is_ok(), "{mode:o}");
        }
        assert!(matches!(Secret::read(place.path()), Err(SecretError::Exposed { .. })), "a directory is no secret");
    }

    #[test]
    fn hexadecimal_of_another_length_or_alphabet_is_no_nonce() {
        assert_eq!(unhex::<2>("00ff"), Some([0, 255]));
        for bad in ["", "00", "00ff0", "00fg", "+0ff", "00é"] {
            assert_eq!(unhex::<2>(bad), None, "{bad}");
        }
    }
}
