//! Requests to change runs.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt::Display;
use utoipa::ToSchema;

/// The place of a run in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "i64", into = "i32")]
pub struct Priority(pub i32);

impl Priority {
    /// Largest absolute value of a priority: enough levels for any order, while typing errors are usually beyond it.
    pub const LIMIT: i64 = 1000;

    /// Parses a priority from a query parameter.
    pub fn of_query<'de, D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        let text = String::deserialize(text)?;
        let priority = text.parse().ok().and_then(|given: i64| Self::try_from(given).ok());
        priority.ok_or_else(|| D::Error::custom(Self::refusal(&text)))
    }

    fn refusal(given: impl Display) -> String {
        format!("a priority is -{0} to {0}, not `{given}`", Self::LIMIT)
    }
}

impl From<Priority> for i32 {
    fn from(priority: Priority) -> Self {
        priority.0
    }
}

impl TryFrom<i64> for Priority {
    type Error = String;

    fn try_from(given: i64) -> Result<Self, String> {
        let is_allowed = (-Self::LIMIT..=Self::LIMIT).contains(&given);
        let priority = i32::try_from(given).ok().filter(|_| is_allowed);
        priority.map(Self).ok_or_else(|| Self::refusal(given))
    }
}

/// A change of priority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PriorityChange {
    /// Runs of higher priority start first; of the same, the oldest. 0 unless told.
    #[schema(value_type = i32, minimum = -1000, maximum = 1000)]
    pub priority: Priority,
}
