//! Similar names, suggested for an unknown one.

use super::Inspector;
use millwork_manifest::{DatePrefix, ManifestId, ObjectUri};
use millwork_tracking::{RunFilter, TrackingResult};

/// Limit of the suggested names: 3. More do not help to spot a typing error.
const TOLD: usize = 3;
/// Number of known names that are compared on either side of an unknown one in sort order: 20.
const COMPARED: usize = 20;
/// Limit of the runs compared with an unknown id: the newest 500 of its date, or of all.
const COMPARED_RUNS: usize = 500;
/// Limit of the compared characters of a name, from its end: 200, since the time of the comparison is quadratic.
const COMPARED_CHARS: usize = 200;

impl Inspector {
    /// Known files with names similar to an unknown one.
    pub(super) async fn near_files(&self, uri: &ObjectUri) -> TrackingResult<Vec<String>> {
        let found = self.store.inspection().neighbours(uri, COMPARED).await?;
        let is_input = |uri: &ObjectUri| self.input.as_ref().is_none_or(|places| places.contains(uri));
        let found = found.into_iter().filter(is_input).map(|uri| uri.to_string());
        Ok(nearest(uri.as_str(), found))
    }

    /// Known runs with ids similar to an unknown one.
    pub(super) async fn near_runs(&self, id: &ManifestId) -> TrackingResult<Vec<String>> {
        let filter = RunFilter { date: DatePrefix::of_key(id.as_str()), limit: COMPARED_RUNS, ..RunFilter::default() };
        let runs = self.store.list_runs(&filter).await?.items;
        Ok(nearest(id.as_str(), runs.into_iter().map(|run| run.manifest_id.to_string())))
    }
}

/// Names with the smallest edit distance.
pub fn nearest(name: &str, known: impl Iterator<Item = String>) -> Vec<String> {
    let mut ranked: Vec<(usize, String)> = known.map(|other| (distance(name, &other), other)).collect();
    ranked.sort();
    ranked.dedup();
    ranked.truncate(TOLD);
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// Edit distance (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let end = |text: &str| text.chars().rev().take(COMPARED_CHARS).collect::<Vec<char>>();
    let (a, b) = (end(a), end(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_nearest() {
        assert_eq!([distance("kitten", "sitting"), distance("", "abc"), distance("é", "é")], [3, 3, 0]);
        let known = ["2025-12-23-b", "2025-12-23-aa", "other", "2025-12-32-a"].map(str::to_owned);
        let nearest = nearest("2025-12-23-a", known.into_iter());
        assert_eq!(nearest, ["2025-12-23-aa", "2025-12-23-b", "2025-12-32-a"]);
        let long = "x".repeat(16_384);
        assert_eq!(distance(&long, &format!("{long}y")), 1);
    }
}
