//! Token of the user who started a scheduler, used if no tokens were configured, in a file that only this user can
//! read.
//!
//! The directory belongs to the user, with mode 0700, and the file has mode 0600; scheduler and client both refuse
//! wider modes and other owners. A scheduler that is killed leaves its file behind, which is harmless: the token ended
//! with its process, and the next scheduler on the address replaces the file.

use super::token::{NewToken, Role, TokenRecord};
use anyhow::{Context, ensure};
use millwork_manifest::effective_user as user;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Id of an owner's token in logs and audits.
const ID: &str = "owner";
/// Name of the directory for token files, within one of the user's private directories.
const DIRECTORY: &str = "millwork";
/// Limit of the bytes read from a token file; a token has fewer.
const MAX_FILE_BYTES: u64 = 1024;

/// A token that is valid as long as its scheduler runs, and its file, which is removed when this is dropped.
pub struct OwnerToken {
    path: PathBuf,
    record: TokenRecord,
    text: String,
}

impl OwnerToken {
    /// Creates a token for the API at an address, in the first usable private directory of the user; `beside` is tried
    /// last.
    pub fn create(address: SocketAddr, beside: Option<&Path>) -> anyhow::Result<Self> {
        let new = NewToken::new(ID.parse().map_err(anyhow::Error::msg)?, Role::Admin, None)?;
        let mut reasons = Vec::new();
        for directory in directories() {
            let path = directory.join(file_name(address));
            match make_private(&directory).and_then(|()| write_private(&path, &new.text)) {
                Ok(()) => return Ok(Self { path, record: new.record, text: new.text }),
                Err(error) => reasons.push(format!("{error:#}")),
            }
        }
        if let Some(path) = beside {
            match write_private(path, &new.text) {
                Ok(()) => return Ok(Self { path: path.to_owned(), record: new.record, text: new.text }),
                Err(error) => reasons.push(format!("{error:#}")),
            }
        }
        anyhow::bail!(
            "there is no place for the token of the user who starts this scheduler: set XDG_RUNTIME_DIR or HOME to a directory \
             of that user, or name tokens with --token-file ({})",
            reasons.join("; ")
        )
    }

    /// Path of the token file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Text of the token, which clients send.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn record(&self) -> &TokenRecord {
        &self.record
    }
}

impl Drop for OwnerToken {
    fn drop(&mut self) {
        // A file with another text belongs to another scheduler, and is kept; this scheduler's is removed, even if its
        // mode was widened.
        if std::fs::read_to_string(&self.path).is_ok_and(|text| text == self.text) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Token that a scheduler of this user stored for the API at a loopback address. `None` if there is no such scheduler,
/// or the address is not loopback. A file that others could have written or read is an error.
pub fn find_owner_token(address: SocketAddr) -> anyhow::Result<Option<String>> {
    if !address.ip().is_loopback() {
        return Ok(None);
    }
    for directory in directories() {
        let path = directory.join(file_name(address));
        if !path.exists() {
            continue;
        }
        check_private(&directory, true)?;
        if let Some(text) = read_private(&path)? {
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// Address of a scheduler on this machine, for finding its user's token. `localhost` resolves to IPv6 only if a token
/// is stored for IPv6 and none for IPv4. A client that sends the token must connect to exactly this address, since
/// another user may listen on the other one.
pub fn owner_address(host: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Some(SocketAddr::new(address, port));
    }
    if !host.eq_ignore_ascii_case("localhost") {
        return None;
    }
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let [first, second] = loopback.map(|address| SocketAddr::new(address, port));
    let has_token = |address| directories().iter().any(|directory| directory.join(file_name(address)).exists());
    Some(if has_token(second) && !has_token(first) { second } else { first })
}

/// Writes a text to a file of this name that nobody else can open, in the first usable private directory of the user.
pub fn keep_private(name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let mut reasons = Vec::new();
    for directory in directories() {
        let path = directory.join(name);
        match make_private(&directory).and_then(|()| write_private(&path, text)) {
            Ok(()) => return Ok(path),
            Err(error) => reasons.push(format!("{error:#}")),
        }
    }
    anyhow::bail!("this user has no place for private files: set XDG_RUNTIME_DIR or HOME ({})", reasons.join("; "))
}

/// Private directories of the user, in order of preference: the one of the login session, then the persistent one.
fn directories() -> Vec<PathBuf> {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let session = PathBuf::from(format!("/run/user/{}", user()));
    let state = from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")));
    let mut found: Vec<_> = [from("XDG_RUNTIME_DIR"), Some(session).filter(|path| path.is_dir()), state]
        .into_iter()
        .flatten()
        .map(|path| path.join(DIRECTORY))
        .collect();
    found.dedup();
    found
}

fn file_name(address: SocketAddr) -> String {
    format!("api-{}-{}.token", address.ip(), address.port())
}

fn make_private(directory: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("cannot make the directory `{}`", directory.display()))?;
    check_private(directory, true)
}

/// Refuses links, and files or directories that belong to, or are open to, other users.
fn check_private(path: &Path, is_directory: bool) -> anyhow::Result<()> {
    let found = std::fs::symlink_metadata(path).with_context(|| format!("cannot look at `{}`", path.display()))?;
    let kind = if is_directory { "directory" } else { "file" };
    ensure!(found.is_dir() == is_directory && !found.is_symlink(), "`{}` is no {kind} of its own", path.display());
    check_owner(path, found.uid(), found.mode())
}

fn check_owner(path: &Path, owner: u32, mode: u32) -> anyhow::Result<()> {
    let user = user();
    ensure!(
        owner == user,
        "`{}` belongs to user {owner}, not to user {user}: a token there could be of anybody; remove it",
        path.display()
    );
    ensure!(
        mode & 0o077 == 0,
        "`{}` has mode {:o}, which is open to others: take their rights away (chmod go= …)",
        path.display(),
        mode & 0o777
    );
    Ok(())
}

/// Writes a text to a file that nobody else can open, replacing an existing one.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let private = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        // Removes the leftover file of a crashed process that had the same process id.
        match std::fs::remove_file(&private) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&private)?;
        file.write_all(text.as_bytes())?;
        std::fs::rename(&private, path)
    };
    write().with_context(|| format!("cannot write `{}`", path.display()))
}

/// Reads a private file of the user; `None` if it does not exist.
fn read_private(path: &Path) -> anyhow::Result<Option<String>> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file: File = match opened {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.with_context(|| format!("cannot read `{}`", path.display()))?,
    };
    let found = file.metadata().with_context(|| format!("cannot look at `{}`", path.display()))?;
    ensure!(found.is_file(), "`{}` is no file", path.display());
    check_owner(path, found.uid(), found.mode())?;
    let mut text = String::new();
    let read = file.take(MAX_FILE_BYTES).read_to_string(&mut text);
    read.with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(Some(text.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_others_could_read_or_replace_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("millwork");
        make_private(&directory).unwrap();
        let path = directory.join("api.token");
        write_private(&path, "mw_owner_1").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_private(&path).unwrap().as_deref(), Some("mw_owner_1"));
        write_private(&path, "mw_owner_2").unwrap();
        assert_eq!(read_private(&path).unwrap().as_deref(), Some("mw_owner_2"), "it takes the place of the one before");
        set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(read_private(&path).unwrap_err().to_string().contains("has mode 640, which is open to others"));
        symlink(&path, directory.join("link")).unwrap();
        assert!(read_private(&directory.join("link")).is_err());
        assert_eq!(read_private(&directory.join("none")).unwrap(), None);
        set_permissions(&directory, Permissions::from_mode(0o750)).unwrap();
        assert!(make_private(&directory).unwrap_err().to_string().contains("has mode 750"));
        symlink(&directory, root.path().join("link")).unwrap();
        assert!(make_private(&root.path().join("link")).is_err());
        let error = check_owner(&path, user() + 1, 0o100_600).unwrap_err().to_string();
        assert!(error.contains(&format!("belongs to user {}", user() + 1)), "{error}");
    }

    #[test]
    fn the_file_goes_with_the_token_unless_it_is_another_by_then() {
        let root = tempfile::tempdir().unwrap();
        let token = |text: &str| {
            let record = NewToken::new(ID.parse().unwrap(), Role::Admin, None).unwrap().record;
            let path = root.path().join("api.token");
            write_private(&path, text).unwrap();
            OwnerToken { path, record, text: text.to_owned() }
        };
        let (first, second) = (token("1"), token("2"));
        drop(first);
        assert_eq!(read_private(second.path()).unwrap().as_deref(), Some("2"));
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn other_machines_are_never_shown_the_token() {
        for host in ["example.com", "localhost.example", ""] {
            assert_eq!(owner_address(host, 8080), None, "{host}");
        }
        for host in ["10.0.0.1", "[2001:db8::1]"] {
            let address = owner_address(host, 8080).unwrap();
            assert_eq!(find_owner_token(address).unwrap(), None, "{host}");
        }
        assert_eq!(owner_address("[::1]", 8080), Some(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 8080)));
        assert_eq!(owner_address("LocalHost", 8080), Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080)));
    }
}
