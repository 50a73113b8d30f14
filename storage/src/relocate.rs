//! Moves of local files: atomic, never replacing another file, and never moving a file that took over the name in the
//! meantime.
//!
//! Within one file system a move is a rename that replaces nothing, so that nothing has to be undone. The renamed file
//! is checked afterwards, and renamed back if it has other content. On the few file systems without such a rename, a
//! hard link is used in place of the copy below. Between two file systems:
//!
//! | step | the process dies after it | the next move of the file |
//! |---|---|---|
//! | copy to a private name beside the target | a hidden file in the quarantine | copies into it again |
//! | give the copy its name, if that is free | file and copy | finds the same content there, and goes on |
//! | rename the source to a private name, check that it is the copied file, remove it | a hidden file in the input, and the copy | nothing is left to do; listings name the hidden file, see [`is_left_aside`] |
//!
//! A step that fails undoes those before it, so that the file remains in its old place, and only there.

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

/// Reason why a file is not moved, as shown to people.
const BY_LINK: &str = "it is reached by way of a link, and only what stands where its name says is moved";

/// Size of the blocks in which two files are compared: 64 KiB, two of which are in memory.
const COMPARED_BYTES: usize = 64 << 10;

/// A file to be moved, kept open with its directory.
struct Held {
    source: Anchored,
    directory: Anchored,
    name: PathBuf,
}

impl Held {
    /// Path of the file through the open directory in which it was found.
    fn path(&self) -> PathBuf {
        self.directory.lasting_name().join(&self.name)
    }
}

/// Moves an object, if it still has this entity tag. Refused if the path leads through a link, or the directory was
/// replaced meanwhile.
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
        // An earlier move that was interrupted is completed; any other file of that name is kept.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => match is_copy(&held, to).map_err(fail)? {
            true => take_away(from, &held, to, etag, Made::Before),
            false => Err(fail(e)),
        },
        Err(e) if e.kind() == ErrorKind::CrossesDevices => transfer(from, &held, to, etag).map_err(|e| e.or(fail)),
        // The file system cannot rename without replacing.
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            transfer(from, &held, to, etag).map_err(|e| e.or(fail))
        }
        Err(e) => Err(fail(e)),
    }
}

/// Opens the file to be moved, and checks its entity tag.
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

/// Checks that the renamed file is the intended one; otherwise renames it back.
fn confirm(from: &ObjectUri, held: &Held, to: &Path, etag: &str) -> StorageResult<()> {
    let fail = |e| StorageError::new("move", from, e);
    let there = fs::symlink_metadata(to).map_err(fail)?;
    let Err(changed) = check_etag(from, etag, &identity(&there)) else { return Ok(()) };
    // Fails harmlessly if a new file took the first name meanwhile: that one is kept, and the renamed file stays in its
    // new place.
    let _ = renameat_with(CWD, to, CWD, held.path(), RenameFlags::NOREPLACE);
    Err(changed)
}

/// Tells whether a file at the target is the source itself, or a copy that an interrupted move made.
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

/// Error of a transfer: an I/O error, or one that is already complete.
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

/// Copies the file, gives the copy its final name, and removes the source.
fn transfer(from: &ObjectUri, held: &Held, to: &Path, etag: &str) -> Result<(), Failed> {
    // Checked before copying, since a copy would have to be undone. Cases that this check misses fail at the removal.
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

/// Hard-links the file to the target, if both are on one file system. Returns whether it did.
fn link(held: &Held, to: &Path, etag: &str) -> io::Result<bool> {
    if fs::hard_link(held.path(), to).is_err() {
        return Ok(false);
    }
    // Other content may have taken the first name meanwhile.
    let is_meant = identity(&fs::symlink_metadata(to)?) == etag;
    if !is_meant {
        fs::remove_file(to)?;
    }
    Ok(is_meant)
}

/// Copies the file atomically, without replacing another.
fn copy(from: &ObjectUri, held: &Held, to: &Path, etag: &str) -> io::Result<()> {
    let parent = to.parent().ok_or(ErrorKind::InvalidFilename)?;
    let space = statvfs(parent)?;
    if space.f_bavail.saturating_mul(space.f_frsize) < held.source.metadata().len() {
        return Err(ErrorKind::StorageFull.into());
    }
    let private = parent.join(private_name(from));
    // A private copy left by a process that died is overwritten; one that another process is writing is left alone.
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

/// Opens a private copy, creating it if missing. Another user who may write to the quarantine could have put anything
/// there: links are not followed, pipes not waited for, and files of another user or with a second hard link not
/// written to.
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

/// Name of an incomplete copy: hidden, short, and the same for each move of a file, so that a repeated move finds it.
fn private_name(from: &ObjectUri) -> String {
    let mut hasher = DefaultHasher::new();
    from.hash(&mut hasher);
    format!(".{:016x}.moving", hasher.finish())
}

/// Age in seconds after which a file under a private name counts as left by a process that died: 60. A live move
/// removes it at once.
const LEFT_ASIDE_SECONDS: i64 = 60;

/// Private name in the input directory for a source that is about to be removed, while it is checked a last time.
fn aside_name() -> String {
    format!(".{}.moving", uuid::Uuid::new_v4())
}

/// Tells whether a file in the input is the renamed source of a move that died. Times are Unix seconds; `changed_at` is
/// the file's change time.
pub(crate) fn is_left_aside(name: &OsStr, changed_at: i64, now: i64) -> bool {
    let id = name.to_str().and_then(|name| name.strip_prefix('.')?.strip_suffix(".moving"));
    let is_aside = id.is_some_and(|id| uuid::Uuid::try_parse(id).is_ok());
    is_aside && now.saturating_sub(changed_at) >= LEFT_ASIDE_SECONDS
}

/// Gives a copy its final name, if that is free.
fn show(private: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, private, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Err(e) if matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {}
        done => return done,
    }
    match fs::hard_link(private, to) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(e),
        Ok(()) => Ok(()),
        // The file system supports neither: an empty file reserves the name first.
        Err(_) => create_new_file(to).and_then(|_| fs::rename(private, to)),
    }
}

/// Removes the source of a file that now has its new name. Other content that took the source's name meanwhile is
/// kept. If the source cannot be removed, the new name is removed again, if this move created it.
fn take_away(from: &ObjectUri, held: &Held, to: &Path, etag: &str, made: Made) -> StorageResult<()> {
    let fail = |e| StorageError::new("move", from, e);
    let (first, aside) = (held.path(), held.directory.lasting_name().join(aside_name()));
    match fs::rename(&first, &aside) {
        Ok(()) => {}
        // Another process has moved the file already.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(fail(made.take_back(to, e))),
    }
    let there = fs::symlink_metadata(&aside).map_err(fail)?;
    let is_meant = is_same(&there, held.source.metadata());
    match check_etag(from, etag, &identity(&there)) {
        Ok(()) if is_meant => fs::remove_file(&aside).map_err(fail),
        checked => {
            // A newer file that took the first name replaces this one.
            show(&aside, &first)
                .or_else(|e| if e.kind() == ErrorKind::AlreadyExists { Ok(()) } else { Err(fail(e)) })?;
            match (is_meant, checked) {
                // The file was written to after it was copied.
                (true, Err(mut changed)) => {
                    changed.source = made.take_back(to, changed.source);
                    Err(changed)
                }
                // The source itself is gone: the file under the new name is the only copy left.
                _ => Ok(()),
            }
        }
    }
}

/// Origin of the file at the new name: this move, or an earlier one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    Here,
    Before,
}

impl Made {
    /// Removes the file at the new name if this move created it, since the move cannot be completed. Returns the
    /// reason, with a failed removal added.
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
