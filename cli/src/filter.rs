//! Filters in words: `state=failed class=storage date=2025-12-23`.

use millwork_api::{AnyOf, RunQuery};

/// Runs that a change is for, by the words of the listing's options.
pub(crate) fn runs(text: &str) -> Result<RunQuery, String> {
    let mut query = RunQuery::default();
    for part in text.split_whitespace() {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("`{part}` has no `=`: {KNOWN}"))?;
        match name {
            "state" => query.state = AnyOf::parse(value)?,
            "class" | "failure_class" | "failure-class" => query.failure_class = AnyOf::parse(value)?,
            "date" => query.date = Some(value.parse().map_err(|e| format!("date: {e}"))?),
            _ => return Err(format!("`{name}` is no filter: {KNOWN}")),
        }
    }
    match query == RunQuery::default() {
        true => Err(format!("all runs there are is too much: {KNOWN}")),
        false => Ok(query),
    }
}

const KNOWN: &str =
    "say state=…, class=… or date=YYYY-MM-DD, with spaces between them, such as `state=failed class=storage`";

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_manifest::{FailureClass, RunState};

    #[test]
    fn filters_are_read() {
        let query = runs("state=failed,cancelled  class=storage date=2025-12-23").unwrap();
        assert_eq!(query.state.words(), [RunState::Failed, RunState::Cancelled]);
        assert_eq!(query.failure_class.words(), [FailureClass::Storage]);
        assert_eq!(query.date, Some("2025-12-23".parse().unwrap()));
        for bad in ["", "  ", "failed", "state=done", "colour=red", "date=2025-13-01"] {
            assert!(runs(bad).is_err(), "{bad}");
        }
    }
}
