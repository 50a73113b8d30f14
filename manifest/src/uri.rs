//! Addresses of objects.

use crate::MAX_URI_BYTES;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// URI of an object: `file:///absolute/path` (percent-encoded, RFC 8089) or `s3://bucket/key` (the key as it is, as the
/// AWS tools write it).
///
/// A plain path is converted to a file URI in canonical form, so that two spellings of a local file compare equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectUri(String);

/// Prefix of the URI of a local path.
const FILE: &str = "file://";

/// Number of characters of an overlong URI that an error shows.
const SHOWN_CHARS: usize = 200;

/// Reason why a text is not an object URI.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{uri}` is no object URI: {reason}")]
pub struct InvalidUri {
    /// The text; truncated if it is too long.
    pub uri: String,
    /// Reason why it is invalid.
    pub reason: &'static str,
}

impl ObjectUri {
    /// URI of a local path, which must be absolute. All characters except letters, digits, `-._~` and `/` are
    /// percent-encoded.
    pub fn from_path(path: &Path) -> Result<Self, InvalidUri> {
        if !path.is_absolute() {
            return Err(InvalidUri { uri: path.display().to_string(), reason: "a local path must be absolute" });
        }
        // Removes redundant parts, so that all spellings of a path give the same URI.
        let mut plain = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => drop(plain.pop()),
                Component::CurDir => {}
                part => plain.push(part),
            }
        }
        let mut uri = FILE.to_owned();
        for byte in plain.as_os_str().as_encoded_bytes() {
            if is_plain(*byte) {
                uri.push(char::from(*byte));
            } else {
                use std::fmt::Write;
                // Writing to a string cannot fail.
                let _ = write!(uri, "%{byte:02X}");
            }
        }
        Ok(Self(uri))
    }

    /// Local path, if this is a local file.
    pub fn to_path(&self) -> Option<PathBuf> {
        let mut rest = self.0.strip_prefix(FILE)?.as_bytes();
        let mut path = Vec::with_capacity(rest.len());
        // Percent-encoding uses capital digits, as written by `from_path`.
        while let [byte, after @ ..] = rest {
            match (byte, after) {
                (b'%', [high, low, after @ ..]) => {
                    path.push(hex(*high)? << 4 | hex(*low)?);
                    rest = after;
                }
                _ => {
                    path.push(*byte);
                    rest = after;
                }
            }
        }
        Some(PathBuf::from(OsString::from_vec(path)))
    }

    /// The URI as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Part after the scheme and the bucket, decoded. Dates are searched in it.
    pub fn key(&self) -> String {
        match self.to_path() {
            Some(path) => path.to_string_lossy().trim_start_matches('/').to_owned(),
            None => {
                self.0.trim_start_matches("s3://").split_once('/').map_or_else(String::new, |(_, key)| key.to_owned())
            }
        }
    }
}

impl FromStr for ObjectUri {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, InvalidUri> {
        if text.len() > MAX_URI_BYTES {
            let beginning: String = text.chars().take(SHOWN_CHARS).chain("…".chars()).collect();
            return Err(InvalidUri { uri: beginning, reason: "it has more than 16384 bytes, the limit" });
        }
        let invalid = |reason| InvalidUri { uri: text.to_owned(), reason };
        if let Some(rest) = text.strip_prefix("s3://") {
            return match rest.split_once('/') {
                Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => Ok(Self(text.to_owned())),
                _ => Err(invalid("an S3 URI is s3://bucket/key")),
            };
        }
        if is_canonical(text) {
            return Ok(Self(text.to_owned()));
        }
        if text.starts_with(FILE) {
            let path = url::Url::parse(text).ok().and_then(|url| url.to_file_path().ok());
            return Self::from_path(&path.ok_or_else(|| invalid("a file URI is file:///absolute/path"))?);
        }
        if text.contains("://") {
            return Err(invalid("the schemes known are file:// and s3://"));
        }
        Self::from_path(Path::new(text))
    }
}

/// Tells whether a byte of a path is not percent-encoded in its URI.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/')
}

/// Value of a hexadecimal digit as `from_path` writes it.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Tells whether a text is a file URI in the form that `from_path` writes: the usual case, in which parsing it as a
/// URL, a hundred times slower, can be skipped.
fn is_canonical(text: &str) -> bool {
    let Some(path) = text.strip_prefix("file:///") else { return false };
    path.split('/').all(|part| {
        let mut rest = part.as_bytes();
        while let [byte, after @ ..] = rest {
            rest = match (byte, after) {
                (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                    (Some(high), Some(low)) if !is_plain(high << 4 | low) && (high, low) != (0, 0) => after,
                    _ => return false,
                },
                (byte, after) if is_plain(*byte) => after,
                _ => return false,
            };
        }
        !matches!(part, "" | "." | "..")
    })
}

impl TryFrom<String> for ObjectUri {
    type Error = InvalidUri;

    fn try_from(text: String) -> Result<Self, InvalidUri> {
        text.parse()
    }
}

impl From<ObjectUri> for String {
    fn from(uri: ObjectUri) -> Self {
        uri.0
    }
}

impl fmt::Display for ObjectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_and_its_file_uri_are_one() {
        let path: ObjectUri = "/in/a b+%.ndjson".parse().unwrap();
        assert_eq!(path.as_str(), "file:///in/a%20b%2B%25.ndjson");
        assert_eq!("file:///in/a%20b+%25.ndjson".parse::<ObjectUri>().unwrap(), path);
        assert_eq!(path.to_path().unwrap(), Path::new("/in/a b+%.ndjson"));
    }

    #[test]
    fn spellings_of_one_path_are_one() {
        let uri: ObjectUri = "/in/./x/../a.ndjson".parse().unwrap();
        assert_eq!(uri.as_str(), "file:///in/a.ndjson");
    }

    #[test]
    fn keys_leave_out_the_bucket() {
        assert_eq!(
            "s3://in/folder/2025-12-23-a.ndjson".parse::<ObjectUri>().unwrap().key(),
            "folder/2025-12-23-a.ndjson"
        );
    }

    /// Parses as a URL, for comparison.
    fn by_way_of_a_url(text: &str) -> Option<ObjectUri> {
        ObjectUri::from_path(&url::Url::parse(text).ok()?.to_file_path().ok()?).ok()
    }

    proptest! {
        #[test]
        fn what_is_read_quickly_is_what_a_url_says(text in "file://(/([a-zé%0-9A-F ~._-]|%[0-9A-F]{2}){0,6}){0,4}/?") {
            prop_assert_eq!(text.parse::<ObjectUri>().ok(), by_way_of_a_url(&text));
        }

        #[test]
        fn a_path_comes_back_from_its_uri(parts in prop::collection::vec("[^/\0]{1,8}", 1..5)) {
            let path = PathBuf::from(format!("/{}", parts.join("/")));
            let uri = ObjectUri::from_path(&path).unwrap();
            prop_assert_eq!(ObjectUri::from_path(&uri.to_path().unwrap()).unwrap(), uri.clone());
            prop_assert_eq!(by_way_of_a_url(uri.as_str()), Some(uri.clone()));
            prop_assert_eq!(uri.to_path(), url::Url::parse(uri.as_str()).unwrap().to_file_path().ok());
        }
    }

    #[test]
    fn a_uri_has_so_many_bytes_at_most() {
        let of_bytes = |bytes: usize| format!("s3://in/{}", "x".repeat(bytes - 8));
        assert!(of_bytes(MAX_URI_BYTES).parse::<ObjectUri>().is_ok());
        let error = of_bytes(MAX_URI_BYTES + 1).parse::<ObjectUri>().unwrap_err().to_string();
        assert!(error.ends_with("x…` is no object URI: it has more than 16384 bytes, the limit"), "{error}");
        assert!(error.len() < 400, "{error}");
    }

    #[test]
    fn other_schemes_and_relative_paths_are_refused() {
        for bad in ["http://x/y", "s3://bucket", "s3://bucket/", "a/b.ndjson", ""] {
            assert!(bad.parse::<ObjectUri>().is_err(), "{bad}");
        }
    }
}
