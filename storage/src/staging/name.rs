//! Names of private files: made of a number and a random id, and nothing else.
//!
//! Executors report the names of their files, and the scheduler opens, links and removes those files. A name is
//! therefore not a string but a type that cannot express a directory, a path, or the name of a file that is not
//! private.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Name of a private file of an attempt: `00007-{uuid}.part` for output 7, `00007-{uuid}.rejected.ndjson` for rejected
/// lines of task 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PrivateName {
    kind: PrivateKind,
    number: u32,
    id: Uuid,
}

/// Kinds of private files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrivateKind {
    /// A Parquet file.
    Output,
    /// A file of rejected lines.
    Rejects,
}

/// Error for a text that is not the name of a private file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it names no private file: a number of five digits or more, `-`, a UUID, and `.part` or `.rejected.ndjson`")]
pub struct InvalidPrivateName;

impl PrivateKind {
    const ALL: [Self; 2] = [Self::Output, Self::Rejects];

    fn suffix(self) -> &'static str {
        match self {
            Self::Output => ".part",
            Self::Rejects => ".rejected.ndjson",
        }
    }
}

impl PrivateName {
    /// Creates a unique name.
    pub(super) fn new(kind: PrivateKind, number: u32) -> Self {
        Self { kind, number, id: Uuid::new_v4() }
    }

    /// The kind of the file.
    pub fn kind(&self) -> PrivateKind {
        self.kind
    }

    /// Number of the output in its manifest; for rejected lines, number of their task.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl fmt::Display for PrivateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}-{}{}", self.number, self.id.hyphenated(), self.kind.suffix())
    }
}

impl FromStr for PrivateName {
    type Err = InvalidPrivateName;

    fn from_str(text: &str) -> Result<Self, InvalidPrivateName> {
        let of_kind = |kind: PrivateKind| {
            let (number, id) = text.strip_suffix(kind.suffix())?.split_once('-')?;
            Some(Self { kind, number: number.parse().ok()?, id: id.parse().ok()? })
        };
        let found = PrivateKind::ALL.into_iter().find_map(of_kind);
        // Only one spelling is accepted, since two names mean two files.
        found.filter(|name| name.to_string() == text).ok_or(InvalidPrivateName)
    }
}

impl TryFrom<String> for PrivateName {
    type Error = InvalidPrivateName;

    fn try_from(text: String) -> Result<Self, InvalidPrivateName> {
        text.parse()
    }
}

impl From<PrivateName> for String {
    fn from(name: PrivateName) -> Self {
        name.to_string()
    }
}

/// Mark of an upload, which identifies its object and its note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Mark(Uuid);

impl Mark {
    /// Creates a unique mark.
    pub(crate) fn new() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl TryFrom<String> for Mark {
    type Error = uuid::Error;

    fn try_from(text: String) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

impl From<Mark> for String {
    fn from(mark: Mark) -> Self {
        mark.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_number_and_an_id_in_one_spelling() {
        for kind in PrivateKind::ALL {
            for number in [0, 7, 99_999, 100_000, u32::MAX] {
                let name = PrivateName::new(kind, number);
                assert_eq!(name.to_string().parse(), Ok(name));
                assert_eq!((name.kind(), name.number()), (kind, number));
            }
        }
        let id = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        assert!(format!("00001-{id}.part").parse::<PrivateName>().is_ok());
        for text in [
            String::new(),
            ".part".to_owned(),
            format!("{id}.part"),
            format!("1-{id}.part"),
            format!("+0001-{id}.part"),
            format!("000001-{id}.part"),
            format!("00001-{}.part", id.to_uppercase()),
            format!("00001-{}.part", id.replace('-', "")),
            format!("00001-{{{id}}}.part"),
            format!("00001-urn:uuid:{id}.part"),
            format!("00001-{id}"),
            format!("00001-{id}.part/"),
            format!("00001-{id}.part\0"),
            format!("00001-{id}.parquet"),
            format!("/00001-{id}.part"),
            format!("../00001-{id}.part"),
            format!("../../other/1/00001-{id}.part"),
            format!("../2/00001-{id}.part"),
            format!("4294967296-{id}.part"),
            "/etc/passwd".to_owned(),
            "..".to_owned(),
            "uploads/x.json".to_owned(),
        ] {
            assert_eq!(text.parse::<PrivateName>(), Err(InvalidPrivateName), "{text}");
            assert!(serde_json::from_value::<PrivateName>(serde_json::json!(text)).is_err());
        }
    }
}
