//! Selection of runs and files by a query: the store's listing applies some filters, the rest are applied here.
//!
//! SQLite applies all filters, DynamoDB only one state, date or class. Further filters are applied here: a page then
//! reads a bounded number of items, and may be empty although there are more matches. Its cursor continues from there.

use chrono::{DateTime, Utc};
use millwork_api::{FileQuery, RunQuery};
use millwork_tracking::{FileFilter, FileStore, Page, Run, RunFilter, RunStore, TrackedFile, TrackingResult};

/// Limit of the items that are read per page: takes well under a second.
const MAX_LOOK: usize = 5000;

/// A page of the runs that match a query, newest first.
pub(crate) async fn runs(
    store: &dyn RunStore,
    query: &RunQuery,
    limit: usize,
    cursor: Option<String>,
) -> TrackingResult<Page<Run>> {
    let (state, failure_class) = (only(query.state.words()), only(query.failure_class.words()));
    let takes = |run: &Run| {
        let class = run.failure.as_ref().map(|failure| failure.class);
        let is_of_class = query.failure_class.is_empty() || class.is_some_and(|class| query.failure_class.takes(class));
        let begins_so = query.prefix.as_ref().is_none_or(|prefix| run.manifest_id.as_str().starts_with(prefix));
        query.state.takes(run.state) && is_of_class && begins_so && is_within(run.created_at, query.since, query.until)
    };
    // Newest runs are listed first, so that all further ones are too old as well.
    let is_over = |run: &Run| query.since.is_some_and(|since| run.created_at < since);
    let next = |limit, cursor| {
        let filter = RunFilter {
            state,
            failure_class,
            date: query.date,
            states: query.state.words().to_vec(),
            failure_classes: query.failure_class.words().to_vec(),
            prefix: query.prefix.clone(),
            since: query.since,
            until: query.until,
            limit,
            cursor,
        };
        async move { store.list_runs(&filter).await }
    };
    looked(limit, cursor, next, takes, is_over).await
}

/// A page of the files that match a query. Files of one state are in order of arrival; those of a prefix, and others,
/// have no fixed order.
pub(crate) async fn files(
    store: &dyn FileStore,
    query: &FileQuery,
    limit: usize,
    cursor: Option<String>,
) -> TrackingResult<Page<TrackedFile>> {
    let state = only(query.state.words());
    let takes = |file: &TrackedFile| {
        let begins_so = query.prefix.as_ref().is_none_or(|prefix| file.uri.as_str().starts_with(prefix));
        let is_for_it = query.reason.as_ref().is_none_or(|reason| file.reason.as_ref() == Some(reason));
        query.state.takes(file.state) && begins_so && is_for_it && is_within(file.arrived_at, query.since, query.until)
    };
    // Files of a prefix may be ordered by URI.
    let has_order = state.is_some() && query.prefix.is_none();
    let is_over = |file: &TrackedFile| has_order && query.until.is_some_and(|until| file.arrived_at >= until);
    let next = |limit, cursor| {
        let filter = FileFilter {
            state,
            date: query.date,
            states: query.state.words().to_vec(),
            prefix: query.prefix.clone(),
            reason: query.reason.clone(),
            since: query.since,
            until: query.until,
            limit,
            cursor,
        };
        async move { store.list_files(&filter).await }
    };
    looked(limit, cursor, next, takes, is_over).await
}

/// The only value, which the store can filter by; `None` if there are several.
fn only<T: Copy>(words: &[T]) -> Option<T> {
    if let [word] = words { Some(*word) } else { None }
}

fn is_within(at: DateTime<Utc>, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> bool {
    since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until)
}

/// Reads a listing until a page is full, the limit is reached, or no more items can match. Requests no more than fit on
/// the page, so that the listing's cursor can be used as the page's.
async fn looked<T, F: Future<Output = TrackingResult<Page<T>>>>(
    limit: usize,
    mut cursor: Option<String>,
    next: impl Fn(usize, Option<String>) -> F,
    takes: impl Fn(&T) -> bool,
    is_over: impl Fn(&T) -> bool,
) -> TrackingResult<Page<T>> {
    let (mut items, mut seen) = (Vec::new(), 0);
    loop {
        let page = next(limit - items.len(), cursor.take()).await?;
        seen += page.items.len().max(1);
        let ends = page.items.last().is_some_and(&is_over);
        items.extend(page.items.into_iter().filter(&takes));
        cursor = page.next_cursor.filter(|_| !ends);
        if cursor.is_none() || items.len() >= limit || seen >= MAX_LOOK {
            return Ok(Page { items, next_cursor: cursor });
        }
    }
}
