//! URL of a store.

use crate::TrackingError;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// URL of a store: `sqlite:PATH` or `dynamodb:TABLE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateUrl {
    /// A database file.
    Sqlite(PathBuf),
    /// Name of the table of files; those of other tables come from the environment.
    DynamoDb(String),
}

impl StateUrl {
    /// Database file, for a store that is a file.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::DynamoDb(_) => None,
        }
    }
}

impl FromStr for StateUrl {
    type Err = TrackingError;

    fn from_str(url: &str) -> Result<Self, TrackingError> {
        match url.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("dynamodb", table)) if !table.is_empty() => Ok(Self::DynamoDb(table.to_owned())),
            _ => Err(TrackingError::Url(url.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_a_file_or_a_table() {
        let file = |url: &str| url.parse().map(|url: StateUrl| url.file().map(Path::to_owned));
        assert!(matches!(file("sqlite:/a:b/s.db"), Ok(Some(path)) if path == Path::new("/a:b/s.db")));
        assert!(matches!(file("dynamodb:files"), Ok(None)));
        for bad in ["", "sqlite", "sqlite:", "dynamodb:", "/s.db", "SQLITE:/s.db"] {
            assert!(matches!(file(bad), Err(TrackingError::Url(_))), "{bad}");
        }
    }
}
