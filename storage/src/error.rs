//! Errors of operations on objects, by what the caller can do about them.

use millwork_manifest::{printable, words_of_system};
use std::borrow::Cow;
use std::fmt;
use std::io::{self, ErrorKind};

/// The result of a storage operation.
pub type StorageResult<T> = Result<T, StorageError>;

/// A failed operation on an object. Displayed as one sentence: the operation, the object, the cause, and the remedy.
#[derive(Debug)]
pub struct StorageError {
    /// Name of the failed operation: `read`, `write`, …
    pub operation: &'static str,
    /// Object or directory of the operation.
    pub object: String,
    /// Cause of the failure.
    pub source: io::Error,
}

/// Cause of a [`StorageError`] that [`StorageError::is_lost`].
#[derive(Debug, thiserror::Error)]
#[error("what was to be shown here is gone from its private place, too")]
struct Lost;

/// Cause of a [`StorageError`] that [`StorageError::is_foreign`].
#[derive(Debug, thiserror::Error)]
#[error("foreign-object: {0}")]
struct Foreign(Cow<'static, str>);

/// Cause of a [`StorageError`] that [`StorageError::is_invalid`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoPlace(Cow<'static, str>);

impl StorageError {
    /// Error for a name that cannot denote a place.
    pub(crate) fn no_place(name: &str, reason: &'static str) -> Self {
        Self::new("open", name, io::Error::new(ErrorKind::InvalidInput, NoPlace(reason.into())))
    }

    /// Error for a private place that lies where readers of an output would see it.
    pub(crate) fn seen(place: impl fmt::Display, output: impl fmt::Display, unseen: impl fmt::Display) -> Self {
        let reason = format!(
            "it is in the output `{output}`, whose readers would see what is refused: name a place elsewhere, or `{unseen}`, which \
             readers leave out for its underscore"
        );
        Self::new("keep refused files in", place, io::Error::new(ErrorKind::InvalidInput, NoPlace(reason.into())))
    }

    /// Error for an object that may not be accessed. It is left unchanged.
    pub(crate) fn foreign(
        operation: &'static str,
        object: impl fmt::Display,
        reason: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(operation, object, io::Error::new(ErrorKind::PermissionDenied, Foreign(reason.into())))
    }

    /// Error for committed data that cannot be published any more.
    pub(crate) fn lost(object: impl fmt::Display) -> Self {
        Self::new("publish", object, io::Error::new(ErrorKind::NotFound, Lost))
    }

    /// Error for committed data whose final name another object has.
    pub(crate) fn taken(object: impl fmt::Display) -> Self {
        let reason = "something else has this name; move it away, and publication goes on";
        Self::new("publish", object, io::Error::new(ErrorKind::AlreadyExists, reason))
    }

    /// Error for an uncommitted output whose final name another object has.
    pub(crate) fn in_the_way(object: impl fmt::Display) -> Self {
        let reason = "it is there already, and is not of this run: move it away, then retry";
        Self::new("write", object, io::Error::new(ErrorKind::AlreadyExists, reason))
    }

    pub(crate) fn new(operation: &'static str, object: impl fmt::Display, source: io::Error) -> Self {
        Self { operation, object: object.to_string(), source }
    }

    /// Converter from I/O errors to errors of reading this object.
    pub fn on_read(object: &impl fmt::Display) -> impl Fn(io::Error) -> Self {
        let object = object.to_string();
        move |source| Self { operation: "read", object: object.clone(), source }
    }

    /// Tells whether the object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == ErrorKind::NotFound
    }

    /// Tells whether the name cannot denote a place.
    pub fn is_invalid(&self) -> bool {
        self.source.get_ref().is_some_and(|cause| cause.is::<NoPlace>())
    }

    /// Tells whether data that was to be published is gone: a retry does not help, unless somebody restores it
    /// under its final name.
    pub fn is_lost(&self) -> bool {
        self.source.get_ref().is_some_and(|cause| cause.is::<Lost>())
    }

    /// Tells whether the object was refused because it is outside the allowed places, or is not a regular file.
    pub fn is_foreign(&self) -> bool {
        self.source.get_ref().is_some_and(|cause| cause.is::<Foreign>())
    }

    /// The cause, and the operator's remedy where one is known.
    fn why(&self) -> String {
        let advice = match self.source.get_ref() {
            None => return words_of_system(self.operation, &self.source),
            _ if self.is_foreign() => "; it stays as it is",
            _ if self.is_lost() => "; put it there from a backup, or have its manifest converted anew",
            Some(_) => "",
        };
        format!("{}{advice}", self.source)
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, object, .. } = self;
        write!(f, "cannot {operation} `{}`: {}", printable(object), self.why())
    }
}

// The displayed text already contains the cause: returning it as the source would print it twice.
impl std::error::Error for StorageError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Error;

    #[test]
    fn each_error_of_the_system_has_a_reason_and_advice_in_one_sentence() {
        for (number, words) in [
            (libc::ENOENT, "there is no such directory; create it, or name another"),
            (libc::EACCES, " has no right to; check owner and mode of it, and of the directories that it is in"),
            (libc::EPERM, " has no right to; check owner and mode of it, and of the directories that it is in"),
            (libc::ENOTDIR, "a part of the path is a file, not a directory; name a directory"),
            (libc::EISDIR, "it is a directory, not a file; name a file"),
            (libc::ENOSPC, "the file system is full; free space there, then run again"),
            (libc::EDQUOT, "the quota there is used up; free space there, then run again"),
            (libc::EROFS, "the file system is mounted read-only; mount it for writing, or name another"),
            (libc::EXDEV, "it is on another file system; have both on one file system"),
            (libc::ENAMETOOLONG, "the file system does not take such a name; use a shorter one"),
            (libc::ELOOP, "symbolic links lead in a circle; remove or correct one of them"),
            (libc::EMFILE, "too many files are open; raise the limit (`ulimit -n`, LimitNOFILE), or do less at once"),
            (libc::EIO, "the device failed to read or write; look at the system's log, and check the disk"),
            (libc::ESTALE, "the file was replaced, or its network file system was mounted anew; try again"),
            (libc::EBADMSG, "bad message"),
        ] {
            let text =
                StorageError::new("list", "/in\n\u{1b}[2J/x".replace("\\n", "\n"), Error::from_raw_os_error(number))
                    .to_string();
            assert!(text.starts_with("cannot list `/in") && text.ends_with(words), "{text}");
            assert!(!text.contains("os error") && !text.contains(char::is_control), "{text}");
            // The whole error chain, as a program prints it, repeats nothing.
            let error = StorageError::new("list", "/in", Error::from_raw_os_error(number));
            assert!(std::error::Error::source(&error).is_none());
        }
        let read = StorageError::new("read", "/in/x", ErrorKind::NotFound.into()).to_string();
        assert_eq!(
            read,
            "cannot read `/in/x`: there is no such file or directory; check the path, and that it is mounted"
        );
        let own = StorageError::new("read", "/in/x", Error::other("it is no regular file")).to_string();
        assert_eq!(own, "cannot read `/in/x`: it is no regular file");
    }
}
