//! Places from which objects may be read. All other objects are foreign and refused, whoever names them.
//!
//! An object in a bucket is judged by its name. A local file is judged by its name first, so that nothing outside is
//! even looked up, and then by the real path of the opened file: links are followed, and refused if they lead outside.
//! The check and the read use the same descriptor, so that the file cannot be swapped in between.

use crate::anchor::Anchored;
use crate::local::{object_of, path_of, read_whole};
use crate::object::NO_FILE;
use crate::{Location, Object, StorageError, StorageResult, absolute, bucket_and_key};
use millwork_manifest::{Compression, ObjectUri};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Reasons why an object is foreign, as shown to people.
const ELSEWHERE: &str = "it is in none of the places that may be read";
const LED_OUT: &str = "a link leads from there to outside the places that may be read, or to nothing";

/// Buckets, folders of buckets and directories whose objects may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places(Vec<Place>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A bucket and a folder in it, without slashes at its ends; empty for the whole bucket.
    Bucket { bucket: String, prefix: String },
    /// A directory: the path as named, made absolute, and the path with links resolved.
    Directory { named: PathBuf, real: PathBuf },
}

/// A text that names no place.
#[derive(Debug, thiserror::Error)]
#[error("`{place}` is no place: {reason}")]
pub struct InvalidPlace {
    /// Text that names no place.
    pub place: String,
    /// Reason why the text names no place.
    pub reason: String,
}

/// An object that was found inside the allowed places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The object, with its size and entity tag.
    pub object: Object,
    /// Directory that the opened file must be in; `None` for an object in a bucket.
    pub inside: Option<PathBuf>,
}

impl Places {
    /// Empty set: every object is foreign.
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// Set of a single place.
    pub fn of(place: &Location) -> Self {
        Self(vec![match place {
            Location::Bucket { bucket, prefix } => Place::Bucket { bucket: bucket.clone(), prefix: prefix.clone() },
            Location::Local(path) => {
                Place::Directory { named: path.clone(), real: absolute(path).unwrap_or_else(|_| path.clone()) }
            }
        }])
    }

    /// Union of both sets.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Location of each place.
    pub fn locations(&self) -> impl Iterator<Item = Location> {
        self.0.iter().map(|place| match place {
            Place::Bucket { bucket, prefix } => Location::Bucket { bucket: bucket.clone(), prefix: prefix.clone() },
            Place::Directory { real, .. } => Location::Local(real.clone()),
        })
    }

    /// Tells whether the name of an object is in one of the places. Links are not followed.
    pub fn contains(&self, uri: &ObjectUri) -> bool {
        match bucket_and_key(uri) {
            Some((bucket, key)) => self.0.iter().any(|place| place.has_key(bucket, key)),
            None => uri.to_path().is_some_and(|path| self.directory_named(&path).is_some()),
        }
    }

    /// Name of an object relative to its place.
    pub fn key_of(&self, uri: &ObjectUri) -> Option<String> {
        let named = self.0.iter().filter_map(|place| match place {
            Place::Directory { named, .. } => Some(Location::Local(named.clone())),
            Place::Bucket { .. } => None,
        });
        self.locations().chain(named).find_map(|place| place.key_of(uri))
    }

    /// Tells whether a whole location lies within one of these places.
    pub fn covers(&self, place: &Location) -> bool {
        self.locations().any(|outer| outer.contains(place))
    }

    /// Refuses an object whose name is in none of the places.
    pub fn admit(&self, uri: &ObjectUri) -> StorageResult<()> {
        match self.contains(uri) {
            true => Ok(()),
            false => Err(StorageError::foreign("read", uri, ELSEWHERE)),
        }
    }

    /// Size, entity tag and time of a local file, if its real path is in one of the places.
    pub(crate) fn locate(&self, uri: &ObjectUri) -> StorageResult<Located> {
        let (anchored, inside) = self.enter(uri)?;
        let key = path_of(uri)?.display().to_string();
        Ok(Located { object: object_of(uri.clone(), key, anchored.metadata()), inside: Some(inside) })
    }

    /// Reads a small local file whose real path is in one of the places. Returns its metadata and content.
    pub fn read_local(&self, uri: &ObjectUri) -> StorageResult<(Object, Vec<u8>)> {
        let (anchored, _) = self.enter(uri)?;
        let object = object_of(uri.clone(), path_of(uri)?.display().to_string(), anchored.metadata());
        let file = anchored.open().map_err(|e| StorageError::new("read", uri, e))?;
        Ok((object, read_whole(uri, file)?))
    }

    /// Opens a local file, and finds the directory among the places that its real path is in.
    fn enter(&self, uri: &ObjectUri) -> StorageResult<(Anchored, PathBuf)> {
        let path = path_of(uri)?;
        let named = self.directory_named(&path).ok_or_else(|| StorageError::foreign("read", uri, ELSEWHERE))?;
        let anchored = match Anchored::of(&path) {
            Ok(anchored) => anchored,
            // Reports a foreign object: the error must not reveal what the link points to, or that it points to
            // nothing.
            Err(_) if has_link(&path, named) => return Err(StorageError::foreign("read", uri, LED_OUT)),
            Err(e) => return Err(StorageError::new("read", uri, e)),
        };
        let Some(inside) = self.directory_of(anchored.path()) else {
            return Err(StorageError::foreign("read", uri, LED_OUT));
        };
        match anchored.metadata().is_file() {
            true => Ok((anchored, inside.to_owned())),
            false => Err(StorageError::foreign("read", uri, NO_FILE)),
        }
    }

    /// The directory, by its named or its real path, that contains a path by name.
    fn directory_named(&self, path: &Path) -> Option<&Path> {
        let directories = self.0.iter().filter_map(Place::directories);
        directories.flatten().find(|directory| is_in(path, directory))
    }

    /// Tells whether a path has no links, except those in the name of a place itself.
    pub(crate) fn is_without_links(&self, path: &Path, real: &Path) -> bool {
        let directories = self.0.iter().filter_map(Place::directories);
        let is_below =
            |[named, place]: [&Path; 2]| path.strip_prefix(named).is_ok_and(|below| joined(place, below) == real);
        path == real || directories.into_iter().any(is_below)
    }

    /// The directory that contains a path without links.
    pub(crate) fn directory_of(&self, path: &Path) -> Option<&Path> {
        let directories = self.0.iter().filter_map(|place| place.directories().map(|[_, real]| real));
        directories.into_iter().find(|directory| is_in(path, directory))
    }
}

/// Tells whether a path is below a directory, or equals a place that is a single file.
fn is_in(path: &Path, place: &Path) -> bool {
    path.starts_with(place) && (path != place || place.is_file())
}

/// Path of a name relative to a place, or of the single file that the place is.
fn joined(place: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { place.to_owned() } else { place.join(below) }
}

/// Opens a local file for reading, following links. Refuses files that are not regular and, if a directory is
/// given, those whose real path is outside it.
pub fn open_inside(uri: &ObjectUri, directory: Option<&Path>) -> StorageResult<File> {
    let path = path_of(uri)?;
    let fail = |e| StorageError::new("read", uri, e);
    let anchored = match (Anchored::of(&path), directory) {
        (Ok(anchored), _) => anchored,
        (Err(_), Some(directory)) if has_link(&path, directory) => {
            return Err(StorageError::foreign("read", uri, LED_OUT));
        }
        (Err(e), _) => return Err(fail(e)),
    };
    if directory.is_some_and(|directory| !anchored.path().starts_with(directory)) {
        return Err(StorageError::foreign("read", uri, LED_OUT));
    }
    if !anchored.metadata().is_file() {
        return Err(StorageError::foreign("read", uri, NO_FILE));
    }
    anchored.open().map_err(fail)
}

/// Tells whether a path has a link in its part below a directory.
fn has_link(path: &Path, directory: &Path) -> bool {
    let below = path.ancestors().take_while(|path| path.starts_with(directory) && *path != directory);
    below.into_iter().any(|path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()))
}

impl Place {
    fn directories(&self) -> Option<[&Path; 2]> {
        match self {
            Self::Directory { named, real } => Some([named, real]),
            Self::Bucket { .. } => None,
        }
    }

    fn has_key(&self, in_bucket: &str, key: &str) -> bool {
        let Self::Bucket { bucket, prefix } = self else { return false };
        let is_below = prefix.is_empty() || key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        // A place may be a single file.
        let is_below = is_below || (key == prefix && Compression::of_key(key).is_some());
        bucket == in_bucket && is_below && is_plain_key(key)
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix("s3://") {
            Some(rest) => Self::parse_bucket(rest),
            None => Self::parse_directory(text),
        }
    }

    /// Reads the place of a bucket, or of a folder in it, by what stands after the scheme.
    fn parse_bucket(text: &str) -> Result<Self, String> {
        let (bucket, prefix) = text.split_once('/').unwrap_or((text, ""));
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(is_name) {
            return Err("a bucket is s3://NAME or s3://NAME/FOLDER/".to_owned());
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        if !prefix.is_empty() && !is_plain_key(prefix) {
            return Err(
                "a folder of a bucket has no empty part, no `.` and no `..`, however they are written".to_owned()
            );
        }
        Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }

    fn parse_directory(text: &str) -> Result<Self, String> {
        let path = match text.strip_prefix("file://") {
            Some(encoded)
                if encoded.starts_with('/') && is_plain_path(encoded) && is_plain_key(encoded.trim_matches('/')) =>
            {
                text.parse::<ObjectUri>()
                    .ok()
                    .and_then(|uri| uri.to_path())
                    .ok_or("a local place is file:///DIRECTORY")?
            }
            Some(_) => {
                return Err("a directory has no empty part, no `.` and no `..`, however they are written".to_owned());
            }
            None if text.contains("://") => return Err("the schemes known are s3:// and file://".to_owned()),
            None if text.starts_with('/') && is_plain_path(text) => PathBuf::from(text),
            None if matches!(text, "." | "./") => PathBuf::from("."),
            None if text.starts_with("./") && is_plain_path(&text[1..]) => PathBuf::from(text),
            None if text.starts_with(['/', '.']) => {
                return Err("a directory has no empty part, no `.` and no `..`".to_owned());
            }
            None => return Err("a bucket is s3://NAME, a directory /DIRECTORY or ./DIRECTORY".to_owned()),
        };
        let named = std::path::absolute(&path).map_err(|e| e.to_string())?;
        let real = absolute(&named).map_err(|e| e.to_string())?;
        match real.parent() {
            Some(_) => Ok(Self::Directory { named, real }),
            None => Err("the whole file system is no place: name directories".to_owned()),
        }
    }
}

impl FromStr for Places {
    type Err = InvalidPlace;

    /// Parses names separated by commas: `s3://BUCKET`, `s3://BUCKET/FOLDER/`, `/DIRECTORY`, `./DIRECTORY`,
    /// `file:///DIRECTORY`.
    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let place = |name: &str| Place::parse(name).map_err(|reason| InvalidPlace { place: name.to_owned(), reason });
        text.split(',').map(|name| place(name.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// Tells whether a path has no empty part, no `.` and no `..`. A trailing slash is allowed.
fn is_plain_path(path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Limit of the rounds of percent-decoding after which a key is refused: double encoding happens only by mistake, and
/// each round takes time.
const MAX_DECODED: usize = 8;

/// Tells whether a key means the same object to every server and proxy: even if it resolves `..`, treats a backslash as
/// a slash, joins slashes, or percent-decodes once or more often.
pub(crate) fn is_plain_key(key: &str) -> bool {
    if key.contains('\0') || key.split('/').any(str::is_empty) {
        return false;
    }
    let mut text = key.as_bytes().to_vec();
    for _ in 0..MAX_DECODED {
        if text.split(|byte| matches!(byte, b'/' | b'\\')).any(|part| matches!(part, b"." | b"..")) {
            return false;
        }
        let decoded = percent_decoded(&text);
        if decoded.len() == text.len() {
            return true;
        }
        text = decoded;
    }
    false
}

pub(crate) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.get(at) {
        match (byte, digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests;
