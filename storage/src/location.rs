//! A place that holds objects: a local directory, or a folder of a bucket.

use crate::{StorageError, StorageResult, absolute, check_way, is_hidden};
use millwork_manifest::{InvalidUri, ObjectUri};
use std::fmt;
use std::path::{Path, PathBuf};

/// A local directory, or a bucket and the folder in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// An absolute path.
    Local(PathBuf),
    /// A bucket of S3, or of a server that speaks its protocol.
    Bucket {
        /// Name of the bucket.
        bucket: String,
        /// The folder, without slashes at its ends; empty for the whole bucket.
        prefix: String,
    },
}

impl Location {
    /// Parses a location that a user named: `s3://bucket/folder`, `file:///folder` or a path; relative paths start at
    /// the working directory.
    pub fn parse(text: &str) -> StorageResult<Self> {
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_matches('/').to_owned();
            return match bucket {
                "" => Err(StorageError::no_place(text, "a bucket is s3://NAME or s3://NAME/FOLDER")),
                bucket => Ok(Self::Bucket { bucket: bucket.to_owned(), prefix }),
            };
        }
        match text.parse::<ObjectUri>().ok().and_then(|uri| uri.to_path()) {
            Some(path) => Ok(Self::Local(absolute(&path)?)),
            None if text.contains("://") => Err(StorageError::no_place(text, "a place is a path, file:///… or s3://…")),
            None => Ok(Self::Local(absolute(Path::new(text))?)),
        }
    }

    /// Parses a location from an environment variable that names a bucket, such as `QUARANTINE_BUCKET`. As in other
    /// tools, a bare name is a bucket; everything else is parsed by [`Self::parse`]. An empty variable counts as unset.
    pub fn of_variable(name: &str) -> StorageResult<Option<Self>> {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty());
        text.map(|text| Self::of_bucket(&text)).transpose()
    }

    /// Parses a bare bucket name, or any location.
    fn of_bucket(text: &str) -> StorageResult<Self> {
        let is_place = text.contains("://") || text.starts_with(['/', '.']);
        if is_place { Self::parse(text) } else { Self::parse(&format!("s3://{text}")) }
    }

    /// Refuses a place for quarantined files that readers of the output would list: a place inside the output, none of
    /// whose name parts is hidden ([`is_hidden`]). Returns any other place unchanged.
    pub fn unseen_in(self, output: &Self) -> StorageResult<Self> {
        let below = match (output, &self) {
            _ if !output.contains(&self) => return Ok(self),
            (Self::Local(outer), Self::Local(path)) => {
                path.strip_prefix(outer).map(Path::to_string_lossy).unwrap_or_default()
            }
            (Self::Bucket { prefix: outer, .. }, Self::Bucket { prefix, .. }) => prefix[outer.len()..].into(),
            _ => return Ok(self),
        };
        match is_hidden(&below) {
            true => Ok(self),
            false => Err(StorageError::seen(&self, output, output.join("_quarantine"))),
        }
    }

    /// URI of the object with this key, relative to this location.
    pub fn object(&self, key: &str) -> Result<ObjectUri, InvalidUri> {
        match self {
            Self::Local(path) => ObjectUri::from_path(&path.join(key)),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => format!("s3://{bucket}/{key}").parse(),
            Self::Bucket { bucket, prefix } => format!("s3://{bucket}/{prefix}/{key}").parse(),
        }
    }

    /// Location of this name, relative to this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.join(name)),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => {
                Self::Bucket { bucket: bucket.clone(), prefix: name.to_owned() }
            }
            Self::Bucket { bucket, prefix } => {
                Self::Bucket { bucket: bucket.clone(), prefix: format!("{prefix}/{name}") }
            }
        }
    }

    /// Tells whether another location is equal to this one, or lies inside it.
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Local(outer), Self::Local(inner)) => inner.starts_with(outer),
            (Self::Bucket { bucket: a, prefix: outer }, Self::Bucket { bucket: b, prefix: inner }) => {
                a == b && is_below(outer, inner)
            }
            _ => false,
        }
    }

    /// Key of an object relative to this location; `None` if it is not inside.
    pub fn key_of(&self, uri: &ObjectUri) -> Option<String> {
        match self {
            Self::Local(root) => {
                let path = uri.to_path()?;
                let below = path.strip_prefix(root).ok()?;
                // A location may be a single file.
                let below = if below.as_os_str().is_empty() { Path::new(path.file_name()?) } else { below };
                Some(below.to_string_lossy().into_owned())
            }
            Self::Bucket { bucket, prefix } => {
                let (found, key) = bucket_and_key(uri)?;
                if found != bucket || !is_below(prefix, key) {
                    return None;
                }
                match key[prefix.len()..].trim_start_matches('/') {
                    "" => key.rsplit('/').next().map(str::to_owned),
                    below => Some(below.to_owned()),
                }
            }
        }
    }

    /// Refuses a directory whose path leads through a world-writable directory where another user could have placed it.
    pub fn check_way(&self) -> StorageResult<()> {
        let Self::Local(path) = self else { return Ok(()) };
        check_way(path).map_err(|error| StorageError::new("write", path.display(), error))
    }

    /// The path, if the location is local.
    pub fn local_path(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::Bucket { .. } => None,
        }
    }
}

/// Bucket and key of an object in a bucket; `None` for a local file.
pub fn bucket_and_key(uri: &ObjectUri) -> Option<(&str, &str)> {
    uri.as_str().strip_prefix("s3://")?.split_once('/')
}

fn is_below(outer: &str, inner: &str) -> bool {
    outer.is_empty() || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::Bucket { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    #[test]
    fn refused_files_are_kept_where_readers_of_the_output_do_not_look() {
        let place = |text: &str| Location::parse(text).unwrap();
        let unseen = |quarantine: &str, output: &str| place(quarantine).unseen_in(&place(output));
        for (quarantine, output) in [
            ("/q", "/out"),
            ("/", "/out"),
            ("/outside", "/out"),
            ("/out/_quarantine", "/out"),
            ("/out/a/.bad/b", "/out"),
            ("s3://b/bad", "s3://b/out"),
            ("s3://b/out/_bad", "s3://b/out"),
            ("s3://b/_bad/x", "s3://b"),
            ("s3://c", "s3://b"),
            ("/out", "s3://b"),
        ] {
            assert_eq!(unseen(quarantine, output).unwrap(), place(quarantine), "{quarantine}");
        }
        for (quarantine, output, other) in [
            ("/out", "/out", "/out/_quarantine"),
            ("/_out/bad", "/_out", "/_out/_quarantine"),
            ("/out/_a=1", "/out", "/out/_quarantine"),
            ("s3://b", "s3://b", "s3://b/_quarantine"),
            ("s3://b/_out/x", "s3://b/_out", "s3://b/_out/_quarantine"),
        ] {
            let error = unseen(quarantine, output).unwrap_err();
            assert!(error.is_invalid(), "{error}");
            let text = error.to_string();
            for part in [
                format!("cannot keep refused files in `{quarantine}`"),
                format!("output `{output}`"),
                format!("`{other}`"),
            ] {
                assert!(text.contains(&part), "{text}");
            }
        }
    }

    #[test]
    fn buckets_have_folders() {
        assert_eq!(at("s3://in/a/b/").to_string(), "s3://in/a/b");
        assert_eq!(at("s3://in/a").object("x y.ndjson").unwrap().as_str(), "s3://in/a/x y.ndjson");
        assert_eq!(at("s3://in").join("a").object("x").unwrap().as_str(), "s3://in/a/x");
        assert!(Location::parse("s3://").is_err());
        assert!(Location::parse("gs://x").is_err());
    }

    #[test]
    fn a_folder_of_a_longer_name_is_another() {
        assert!(at("s3://in/a").contains(&at("s3://in/a/b")));
        assert!(at("s3://in").contains(&at("s3://in/a")));
        for other in ["s3://in/ab", "s3://in2/a", "s3://in", "/in/a"] {
            assert!(!at("s3://in/a").contains(&at(other)), "{other}");
        }
    }

    #[test]
    fn keys_are_below_their_place() {
        let uri = "s3://in/a/b.ndjson".parse().unwrap();
        assert_eq!(at("s3://in/a").key_of(&uri).as_deref(), Some("b.ndjson"));
        assert_eq!(at("s3://in").key_of(&uri).as_deref(), Some("a/b.ndjson"));
        assert_eq!(at("s3://in/b").key_of(&uri), None);
        assert_eq!(at("/in").key_of(&"/in/a b.ndjson".parse().unwrap()).as_deref(), Some("a b.ndjson"));
    }
}
