//! Id of a manifest, which also names its run, output files and rejected lines.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A manifest's id: 1 to 160 letters, digits, `.`, `_` and `-`, starting with a letter or a digit.
///
/// The id is used in file names, so that it has no separators and does not begin with a dot or underscore.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ManifestId(String);

/// Reason why a text is not a manifest id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no manifest id: 1 to 160 letters, digits, `.`, `_` or `-`, starting with a letter or a digit")]
pub struct InvalidManifestId(String);

const MAX_LENGTH: usize = 160;

impl ManifestId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Derives an id for a manifest without one from its object's name and content: the same manifest always gets the
    /// same id, and two manifests with the same name get different ones.
    pub(crate) fn derived(date: &str, object_name: &str, content: impl Iterator<Item = u8>) -> Self {
        let stem = object_name.rsplit('/').next().unwrap_or(object_name).trim_end_matches(".json");
        let clean: String = stem
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
            .take(100)
            .collect();
        Self(format!("{date}-{clean}-{:016x}", fnv1a(content)))
    }
}

/// 64-bit FNV-1a (Fowler, Noll, Vo): stable across versions and machines, unlike the standard hasher.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl FromStr for ManifestId {
    type Err = InvalidManifestId;

    fn from_str(text: &str) -> Result<Self, InvalidManifestId> {
        let fits = (1..=MAX_LENGTH).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if fits { Ok(Self(text.to_owned())) } else { Err(InvalidManifestId(text.chars().take(200).collect())) }
    }
}

impl TryFrom<String> for ManifestId {
    type Error = InvalidManifestId;

    fn try_from(text: String) -> Result<Self, InvalidManifestId> {
        text.parse()
    }
}

impl From<ManifestId> for String {
    fn from(id: ManifestId) -> Self {
        id.0
    }
}

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_folder() {
        for bad in ["", "../x", "a/b", ".hidden", "_x", "a b", "é"] {
            assert!(bad.parse::<ManifestId>().is_err(), "{bad}");
        }
        assert!("2025-12-23-batch-0001".parse::<ManifestId>().is_ok());
    }
}
