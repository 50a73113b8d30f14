//! Moves of local files: whole or not at all, never over another, and never of what has come under the name since.
//!
//! On one file system a move is a rename that replaces nothing: there is nothing to undo. What was renamed is looked at after it;
//! if it is other content, it is renamed back. Where that cannot be, on few file systems, a second name takes the place of the copy.
//! Between two file systems:
//!
//! | step | the process dies after it | the next move of the file |
//! |---|---|---|
//! | copy to a private name beside the target | a hidden file in the quarantine | copies into it again |
//! | give the copy its name, if that is free | file and copy | finds the same content there, and goes on |
//! | rename the source to a private name, look whether it is what was copied, remove it | a hidden file in the input, and the copy | nothing is left to do; listings name the hidden file, see [`is_left_aside`] |
//!
//! A step that fails takes back those before it, so that the file stays where it is, and only there.

use crate::anchor::{Anchored, is_same};
use crate::bucket::check_etag;
use crate::local::{identity, path_of};
use crate::object::NO_FILE;
use crate::way::{enter, open_plain};
use crate::{StorageError, StorageResult, create_new_file};
use millwork_manifest::{ObjectUri, effective_user};
use rustix::fs::{Access, CWD, RenameFlags, access, renameat_with, statvfs};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Reason why a file is not moved, for a person.
const BY_LINK: &str = "it is reached by way of a link, and only what stands where its name says is moved";

/// Size of the pieces in which two files are compared, in bytes: each is held twice.
const COMPARED_BYTES: usize = 64 << 10;

/// A file that is to be moved, held on to.
struct Held {
    source: Anchored,
    directory: Anchored,
    name: PathBuf,
}

impl Held {
    /// A name by which the file is reached in the very directory that it was found in.
    fn path(&self) -> PathBuf {
        self.directory.lasting_name().join(&self.name)
    }
}

/// Moves an object, if it is still the one with this entity tag. Nothing is moved by way of a link, nor out of a directory that
/// another was put in the place of.
pub(crate) fn move_object(from: &ObjectUri, to: &Path, etag: &str) -> StorageResult<()> {
    let fail = |e| StorageError::new("move", format!("{from}` to `{}", to.display()), e);
    let held = hold(from, etag, fail)?;
    let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
        return Err(fail(ErrorKind::InvalidFilename.into()));
    };
    let target = enter(parent).map_err(fail)?;
    let to = &target.lasting_name().join(name);
    match renameat_with(CWD, held.path(), CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Ok(()) => confirm(from, &held, to, etag),
        // A move that was cut short goes on; anything else of that name stays.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => match is_copy(&held, to).map_err(fail)? {
            true => take_away(from, &held, to, etag, Made::Before),
            false => Err(fail(e)),
        },
        Err(e) if e.kind() == ErrorKind::CrossesDevices => transfer(from, &held, to, etag).map_err(|e| e.or(fail)),
        // A file system that cannot rename without replacing.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            transfer(from, &held, to, etag).map_err(|e| e.or(fail))
        }
        Err(e) => Err(fail(e)),
    }
}

/// Finds what is to be moved, and checks that it is that.
fn hold(from: &ObjectUri, etag: &str, fail: impl Fn(io::Error) -> StorageError) -> StorageResult<Held> {
    let path = path_of(from)?;
    let source = match Anchored::of_no_link(&path) {
        Err(e) if e.kind() == ErrorKind::InvalidInput || e.raw_os_error() == Some(libc::ELOOP) => {
            return Err(StorageError::foreign("move", from, BY_LINK));
        }
        source => source.map_err(&fail)?,
    };
    if source.path() != path {
        return Err(StorageError::foreign("move", from, BY_LINK));
    }
    if !source.metadata().is_file() {
        return Err(StorageError::foreign("move", from, NO_FILE));
    }
    check_etag(from, etag, &identity(source.metadata()))?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(fail(ErrorKind::InvalidFilename.into()));
    };
    let directory = Anchored::of(parent).map_err(fail)?;
    match directory.path() == parent {
        true => Ok(Held { source, directory, name: name.into() }),
        false => Err(StorageError::foreign("move", from, BY_LINK)),
    }
}

/// Looks whether what was renamed is what was meant; else it goes back.
fn confirm(from: &ObjectUri, held: &Held, to: &Path, etag: &str) -> StorageResult<()> {
    let fail = |e| StorageError::new("move", from, e);
    let there = fs::symlink_metadata(to).map_err(fail)?;
    let Err(changed) = check_etag(from, etag, &identity(&there)) else { return Ok(()) };
    // A file that has come under the first name meanwhile stays, and the renamed one stays in its new place.
    let _ = renameat_with(CWD, to, CWD, held.path(), RenameFlags::NOREPLACE);
    Err(changed)
}

/// Tells whether a file of the target's name is the source itself, or a copy of it that a move which died has made.
fn is_copy(held: &Held, to: &Path) -> io::Result<bool> {
    let there = fs::symlink_metadata(to)?;
    if is_same(&there, held.source.metadata()) {
        return Ok(true);
    }
    if !there.is_file() || there.len() != held.source.metadata().len() {
        return Ok(false);
    }
    has_same_content(held.source.open()?, open_plain(to)?)
}

fn has_same_content(mut a: File, mut b: File) -> io::Result<bool> {
    let (mut of_a, mut of_b) = (vec![0; COMPARED_BYTES], vec![0; COMPARED_BYTES]);
    loop {
        let read = a.read(&mut of_a)?;
        if read == 0 {
            return Ok(b.read(&mut of_b)? == 0);
        }
        match b.read_exact(&mut of_b[..read]) {
            Ok(()) if of_a[..read] == of_b[..read] => {}
            Ok(()) => return Ok(false),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}

/// Error of a transfer: one of the system, or one that says all.
enum Failed {
    Io(io::Error),
    Said(StorageError),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Failed {
    fn or(self, fail: impl Fn(io::Error) -> StorageError) -> StorageError {
        match self {
            Self::Io(error) => fail(error),
            Self::Said(error) => error,
        }
    }
}

/// Copies the file, gives the copy its name, and removes the file.
fn transfer(from: &ObjectUri, held: &Held, to: &Path, etag: &str) -> Result<(), Failed> {
    // Before anything is copied that would have to be taken back. What this does not find, the end does.
    access(held.directory.lasting_name(), Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)?;
    let made = match fs::symlink_metadata(to) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            if !link(held, to, etag)? {
                copy(from, held, to, etag)?;
            }
            Made::Here
        }
        Err(e) => return Err(e.into()),
        Ok(_) if is_copy(held, to)? => Made::Before,
        Ok(_) => return Err(io::Error::from(ErrorKind::AlreadyExists).into()),
    };
    take_away(from, held, to, etag, made).map_err(Failed::Said)
}

/// Gives the file a second name, where one file system holds both. Returns whether it has it.
fn link(held: &Held, to: &Path, etag: &str) -> io::Result<bool> {
    if fs::hard_link(held.path(), to).is_err() {
        return Ok(false);
    }
    // Other content may have come under the first name.
    let is_meant = identity(&fs::symlink_metadata(to)?) == etag;
    if !is_meant {
        fs::remove_file(to)?;
    }
    Ok(is_meant)
}

/// Copies the file, whole or not at all, and never over another.
fn copy(from: &ObjectUri, held: &Held, to: &Path, etag: &str) -> io::Result<()> {
    let parent = to.parent().ok_or(ErrorKind::InvalidFilename)?;
    let space = statvfs(parent)?;
    if space.f_bavail.saturating_mul(space.f_frsize) < held.source.metadata().len() {
        return Err(ErrorKind::StorageFull.into());
    }
    let private = parent.join(private_name(from));
    // A private copy that a process which died has left is written anew; one that is being written is somebody else's.
    let mut into = open_private(&private)?;
    into.try_lock().map_err(|_| io::Error::new(ErrorKind::ResourceBusy, "another process is moving it"))?;
    into.set_len(0)?;
    let mut work = || -> io::Result<()> {
        let mut source = held.source.open()?;
        let bytes = io::copy(&mut source, &mut into)?;
        let after = source.metadata()?;
        if bytes != after.len() || identity(&after) != etag {
            return Err(io::Error::other(format!("it changed while {bytes} bytes of it were copied")));
        }
        into.sync_all()?;
        show(&private, to)?;
        File::open(parent)?.sync_all()
    };
    let copied = work();
    match fs::remove_file(&private) {
        Err(e) if e.kind() != ErrorKind::NotFound && copied.is_ok() => Err(e),
        _ => copied,
    }
}

/// Opens a private copy, and creates it if it is not there. Whoever may write to the quarantine could have put anything in its place: a link is not
/// followed, a pipe not waited for, and nothing written to a file of another user or of two names.
fn open_private(path: &Path) -> io::Result<File> {
    match create_new_file(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        created => return created,
    }
    let refused = || {
        let message = format!("`{}` is no copy that this user has left: remove it", path.display());
        io::Error::new(ErrorKind::PermissionDenied, message)
    };
    let opened = File::options().write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|e| match e.raw_os_error() {
        Some(libc::ELOOP | libc::ENXIO | libc::EACCES | libc::EISDIR) => refused(),
        _ => e,
    })?;
    let found = file.metadata()?;
    match found.is_file() && found.nlink() == 1 && found.uid() == effective_user() {
        true => Ok(file),
        false => Err(refused()),
    }
}

/// The name of a copy that is not whole yet: the same for each move of a file, hidden, and short whatever the file's own is.
fn private_name(from: &ObjectUri) -> String {
    let mut hasher = DefaultHasher::new();
    from.hash(&mut hasher);
    format!(".{:016x}.moving", hasher.finish())
}

/// Age at which a file that was taken aside was left so by a process that died, in seconds: 60. Moves take it away at once.
const LEFT_ASIDE_SECONDS: i64 = 60;

/// The name of a file in the input that is taken away, once it was looked at for the last time.
fn aside_name() -> String {
    format!(".{}.moving", uuid::Uuid::new_v4())
}

/// Tells whether a file in the input that changed its name at a time, in seconds, was taken aside by a move which died.
pub(crate) fn is_left_aside(name: &OsStr, changed_at: i64, now: i64) -> bool {
    let id = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".moving"));
    let is_aside = id.is_some_and(|id| uuid::Uuid::try_parse(id).is_ok());
    is_aside && now.saturating_sub(changed_at) >= LEFT_ASIDE_SECONDS
}

/// Gives a copy its name, if that is free.
fn show(private: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, private, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {}
        done => return done,
    }
    match fs::hard_link(private, to) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(e),
        Ok(()) => Ok(()),
        // A file system with neither: the name is taken first, by an empty file.
        Err(_) => create_new_file(to).and_then(|_| fs::rename(private, to)),
    }
}

/// Removes the first name of a file that has another now. Other content that has come under it stays. If the name cannot be removed,
/// the other one goes, if it was made by this move.
fn take_away(from: &ObjectUri, held: &Held, to: &Path, etag: &str, made: Made) -> StorageResult<()> {
    let fail = |e| StorageError::new("move", from, e);
    let (first, aside) = (held.path(), held.directory.lasting_name().join(aside_name()));
    match fs::rename(&first, &aside) {
        Ok(()) => {}
        // Somebody else has moved it as well.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(fail(made.take_back(to, e))),
    }
    let there = fs::symlink_metadata(&aside).map_err(fail)?;
    let is_meant = is_same(&there, held.source.metadata());
    match check_etag(from, etag, &identity(&there)) {
        Ok(()) if is_meant => fs::remove_file(&aside).map_err(fail),
        checked => {
            // A file that has come under the first name by now has taken the place of this one.
            show(&aside, &first)
                .or_else(|e| if e.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(fail(e)) })?;
            match (is_meant, checked) {
                // The file was written to after it was copied.
                (true, Err(mut changed)) => {
                    changed.source = made.take_back(to, changed.source);
                    Err(changed)
                }
                // The file itself is gone from here: what has its new name is all there is of it.
                _ => Ok(()),
            }
        }
    }
}

/// Maker of the file that has the new name: this move, or one before it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Here,
    Before,
}

impl Made {
    /// Removes what has the new name, if it was made here, since the move cannot be finished for this reason.
    fn take_back(self, to: &Path, reason: io::Error) -> io::Error {
        if self == Self::Before {
            return reason;
        }
        match fs::remove_file(to) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                io::Error::new(reason.kind(), format!("{reason}; and its copy cannot be removed: {e}"))
            }
            _ => reason,
        }
    }
}

#[cfg(test)]
mod tests;
