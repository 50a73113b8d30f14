//! Listings of files, page by page.
//!
//! With a state, the index of states is read, in order of arrival. With only a date, the partition of the date is read,
//! then that of files without a date in their key; with neither, the whole table. The latter two are not ordered by
//! time, and a listing by date does not find a file that was submitted under another date than the one in its key.

use super::DynamoStore;
use super::expression::Expression;
use super::item::{Item, text, tracked_file};
use super::key::NO_DATE;
use super::pages::{self, Part};
use super::request::{Query, all, unavailable};
use super::tables::STATUS_INDEX;
use crate::{FileFilter, Page, TrackedFile, TrackingError, TrackingResult};
use aws_sdk_dynamodb::types::Select;
use millwork_manifest::FileState;

/// Limit of the requests per page: a filter can drop all items that a request reads.
const MAX_REQUESTS: usize = 20;

/// Position at which a listing continues: after an item, or at the beginning of a partition.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    After(Item),
    NoDate,
}

impl DynamoStore {
    pub(super) async fn list(&self, filter: &FileFilter) -> TrackingResult<Page<TrackedFile>> {
        let mut place = filter.cursor.as_deref().map(place_of).transpose()?;
        let limit = filter.limit.max(1);
        let mut items: Vec<Item> = Vec::new();
        for _ in 0..MAX_REQUESTS {
            let (found, next) = self.list_some(filter, place, limit - items.len()).await?;
            items.extend(found);
            place = next;
            if place.is_none() || items.len() >= limit {
                break;
            }
        }
        let items = items.iter().map(tracked_file).collect::<TrackingResult<_>>()?;
        Ok(Page { items, next_cursor: place.as_ref().map(cursor_of) })
    }

    /// Reads at most `limit` items. Also returns the position at which to continue.
    async fn list_some(
        &self,
        filter: &FileFilter,
        place: Option<Place>,
        limit: usize,
    ) -> TrackingResult<(Vec<Item>, Option<Place>)> {
        let table = self.names.tracking.as_str();
        // Excludes locks, since the lock table may be this table.
        let files = Expression::new().only_with("file_path");
        let files = match filter.date {
            Some(date) => files.only("date", "=", text(date.to_string())),
            None => files,
        };
        let is_last = is_in_last_partition(filter, place.as_ref());
        let (index, partition) = match (filter.state, filter.date) {
            (None, None) => return self.scan_some(&files, place, limit).await,
            (Some(state), _) => (Some(STATUS_INDEX), ("status", state.to_string())),
            (None, Some(_)) if is_last => (None, ("date_prefix", NO_DATE.to_owned())),
            (None, Some(date)) => (None, ("date_prefix", date.to_string())),
        };
        let expression = files.when(partition.0, "=", text(partition.1));
        let query = Query { index, expression, ..Query::default() };
        let Part { items, next } = self.query_some(table, &query, start_key(place), limit).await?;
        Ok((items, next.map(Place::After).or((!is_last).then_some(Place::NoDate))))
    }

    async fn scan_some(
        &self,
        files: &Expression,
        place: Option<Place>,
        limit: usize,
    ) -> TrackingResult<(Vec<Item>, Option<Place>)> {
        let table = self.names.tracking.as_str();
        let request = self
            .client
            .scan()
            .table_name(table)
            .set_filter_expression(files.filter_text())
            .set_expression_attribute_names(files.names())
            .set_exclusive_start_key(start_key(place))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX));
        let output = request.send().await.map_err(|e| unavailable(table, &e))?;
        Ok((output.items.unwrap_or_default(), output.last_evaluated_key.map(Place::After)))
    }

    pub(super) async fn count_states(&self) -> TrackingResult<Vec<(FileState, u64)>> {
        let counts = all(FileState::ALL.into_iter().map(|state| self.count_state(state)).collect()).await?;
        Ok(FileState::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect())
    }

    async fn count_state(&self, state: FileState) -> TrackingResult<u64> {
        let table = self.names.tracking.as_str();
        let of_state = Expression::new().when("status", "=", text(state.as_str()));
        let mut count = 0;
        let mut start = None;
        loop {
            let request = self
                .client
                .query()
                .table_name(table)
                .index_name(STATUS_INDEX)
                .select(Select::Count)
                .set_key_condition_expression(of_state.condition_text())
                .set_expression_attribute_names(of_state.names())
                .set_expression_attribute_values(of_state.values())
                .set_exclusive_start_key(start);
            let output = request.send().await.map_err(|e| unavailable(table, &e))?;
            count += u64::from(output.count.unsigned_abs());
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(count);
            }
        }
    }
}

fn start_key(place: Option<Place>) -> Option<Item> {
    match place {
        Some(Place::After(key)) => Some(key),
        Some(Place::NoDate) | None => None,
    }
}

/// Tells whether this position is in the last partition. Only a listing by date alone has two.
fn is_in_last_partition(filter: &FileFilter, place: Option<&Place>) -> bool {
    let is_no_date = match place {
        None => false,
        Some(Place::NoDate) => true,
        Some(Place::After(key)) => key.get("date_prefix") == Some(&text(NO_DATE)),
    };
    filter.state.is_some() || filter.date.is_none() || is_no_date
}

fn cursor_of(place: &Place) -> String {
    match place {
        Place::NoDate => pages::cursor_of(&Item::new()),
        Place::After(key) => pages::cursor_of(key),
    }
}

fn place_of(cursor: &str) -> TrackingResult<Place> {
    let key = pages::key_of(cursor)?;
    if key.is_empty() {
        return Ok(Place::NoDate);
    }
    let known = ["date_prefix", "file_key", "status", "upload_time"];
    let is_known = key.keys().all(|name| known.contains(&name.as_str()));
    if is_known { Ok(Place::After(key)) } else { Err(TrackingError::BadCursor(cursor.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::super::key;
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    #[test]
    fn cursors_round_trip() {
        for place in [Place::NoDate, Place::After(key::file(&"s3://in/é.ndjson".parse().unwrap()))] {
            assert_eq!(place_of(&cursor_of(&place)).unwrap(), place);
        }
    }

    #[test]
    fn a_cursor_of_something_else_is_refused() {
        for bad in ["", "%", "bm8", &URL_SAFE_NO_PAD.encode(r#"{"manifest_id":"x"}"#)] {
            assert!(matches!(place_of(bad), Err(TrackingError::BadCursor(_))), "{bad}");
        }
    }
}
