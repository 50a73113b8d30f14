//! Runs and files that a query takes: as far as the store can, from its listing; the rest is told apart here.
//!
//! SQLite narrows a listing by all that is asked, DynamoDB by one state, date or class. What is left is told apart here: a page then looks at a
//! bounded number of items, and may show none of them though there are more. Its cursor goes on from there.

use chrono::{DateTime, Utc};
use millwork_api::{FileQuery, RunQuery};
use millwork_tracking::{FileFilter, FileStore, Page, Run, RunFilter, RunStore, TrackedFile, TrackingResult};

/// Limit of the items that one page looks at: what a store reads in well under a second.
const MAX_LOOK: usize = 5000;

/// A page of the runs that a query takes, newest first.
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
    // The newest are first: none after the first that is too old is wanted.
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

/// A page of the files that a query takes: those of one state in the order of arrival, those of a prefix and others in any order.
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
    // Files of a prefix may come in the order of their URIs.
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

/// The one word that the store can narrow a listing to, if it is one.
fn only<T: Copy>(words: &[T]) -> Option<T> {
    if let [word] = words { Some(*word) } else { None }
}

fn is_within(at: DateTime<Utc>, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> bool {
    since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until)
}

/// Follows a listing until a page is full, enough was looked at, or nothing more can match. No more is asked for than fits, so that a
/// cursor of the listing's is one of the page's.
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
