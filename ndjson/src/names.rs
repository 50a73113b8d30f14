//! Names of columns, as keys and queries give them.

use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;

/// Words of a query, each in its original form and in lower case: they include the names of all its columns.
pub type Words = Arc<HashSet<String>>;

/// Rule by which keys become column names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnNames {
    /// Names are kept: names that differ only in case are different columns.
    #[default]
    Exact,
    /// Names are in lower case: names that differ only in case are one column, as in AWS Glue.
    Lower,
}

impl ColumnNames {
    /// Normalized key, which is equal for all keys of a column.
    pub fn normalize(self, key: &str) -> String {
        match self {
            Self::Exact => key.to_owned(),
            Self::Lower => key.to_lowercase(),
        }
    }
}

impl std::str::FromStr for ColumnNames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "exact" => Ok(Self::Exact),
            "lower" => Ok(Self::Lower),
            _ => Err(format!("`{text}` is neither `exact` nor `lower`")),
        }
    }
}
