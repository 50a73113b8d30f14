//! Operations on the state: reads need the role `read`, writes need `admin`.

use super::Api;
use super::error::ApiError;
use super::extract::{Asker, Json as Body, Query};
use super::show;
use crate::access::Caller;
use crate::audit::Operator;
use crate::operations::{
    Applied, Consistency, FileQuery, FileReport, FileStats, MAX_CHANGES, Mended, Operations, Orphans, Requested,
    ResetQuery, Scope, Story, check_reason,
};
use axum::Json;
use axum::extract::{Extension, State};
use chrono::{DateTime, Duration, Utc};
use millwork_api::{ErrorBody, ErrorCode, File, Limit, Page, UriQuery};
use millwork_manifest::{DatePrefix, FileState, ManifestId, ObjectUri};
use millwork_tracking::FileFilter;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

/// Limit of the files that a request for statistics reads: 2,000, which takes about 20 ms. With more files, totals of
/// dates are used; `millwork state … --state` reads all.
const MAX_COUNTED: usize = 2000;
/// Limit of the files, and of the runs, that one consistency check reads.
const MAX_LOOKED_AT: usize = 10_000;
/// Limit of an age in a request, in seconds: a year.
const MAX_AGE_SECONDS: u32 = 366 * 86_400;
/// Default of the least age of stuck files, in seconds: 2 hours, the time limit of an attempt.
const STUCK_SECONDS: u32 = 7_200;
/// Default of the least age of an orphan, in seconds: 2 minutes.
const ORPHAN_SECONDS: u32 = 120;

fn operations(api: &Api) -> Operations {
    Operations::new(api.service.inspector())
}

/// An age from a request, in seconds.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u32")]
struct Age(u32);

impl TryFrom<u32> for Age {
    type Error = String;

    fn try_from(seconds: u32) -> Result<Self, String> {
        match seconds <= MAX_AGE_SECONDS {
            true => Ok(Self(seconds)),
            false => Err(format!("an age is at most {MAX_AGE_SECONDS} s, not {seconds}")),
        }
    }
}

fn age(asked: Option<Age>, default: u32) -> Duration {
    Duration::seconds(asked.map_or(default, |age| age.0).into())
}

/// All that the store has of one file: attributes, version, expiry, the lock of its date, its diagnosis.
#[utoipa::path(get, path = "/api/v1/state/get-file-state", tag = "state", params(UriQuery), responses(
    (status = 200, description = "The file", body = FileReport)
))]
pub(super) async fn get_file_state(
    State(api): State<Api>,
    Query(UriQuery { uri }): Query<UriQuery>,
) -> Result<Json<FileReport>, ApiError> {
    Ok(Json(operations(&api).get_file_state(&uri, Utc::now()).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ByStatus {
    /// Only files in this state.
    #[param(value_type = String, required = false)]
    state: Option<FileState>,
    /// Only files of this date.
    #[param(value_type = String, format = Date, required = false)]
    date: Option<DatePrefix>,
    /// Only files that have changed since.
    since: Option<DateTime<Utc>>,
    /// Only files that have not changed since.
    before: Option<DateTime<Utc>>,
    /// Only files whose URI begins with this.
    prefix: Option<String>,
    /// Only files whose reason begins with this.
    reason: Option<String>,
    /// Only files in this manifest.
    manifest: Option<String>,
    /// Number of files that are looked at for a page; those that do not match are left out of it.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100, required = false)]
    limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    cursor: Option<String>,
}

/// Files by state, date, age, prefix, reason and manifest. A page can be empty though there are more.
#[utoipa::path(get, path = "/api/v1/state/query-by-status", tag = "state", params(ByStatus), responses(
    (status = 200, description = "A page of files", body = Page<File>)
))]
pub(super) async fn query_by_status(
    State(api): State<Api>,
    Query(query): Query<ByStatus>,
) -> Result<Json<Page<File>>, ApiError> {
    let ByStatus { state, date, since, before, prefix, reason, manifest, limit, cursor } = query;
    let filter = FileFilter { state, date, limit: limit.0, cursor, ..FileFilter::default() };
    let mut page = api.service.store().list_files(&filter).await?;
    let wanted = FileQuery { state, date, since, before, prefix, reason, manifest };
    page.items.retain(|file| wanted.matches(file));
    Ok(Json(show::page(page, show::file)))
}

/// Files and bytes by state and date, and the ages of what is not done. Of more than 2,000 files the totals of dates are taken, and the ages
/// of the 500 oldest of each state.
#[utoipa::path(get, path = "/api/v1/state/get-stats", tag = "state", responses(
    (status = 200, description = "The numbers", body = FileStats)
))]
pub(super) async fn get_stats(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<FileStats>, ApiError> {
    let _permit = api.heavy(&caller).await?;
    Ok(Json(operations(&api).get_stats(MAX_COUNTED, Utc::now()).await?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StoryQuery {
    /// URI of the file, if it is a file.
    #[param(value_type = String, required = false)]
    uri: Option<ObjectUri>,
    /// The manifest's id, if it is a run.
    #[param(value_type = String, required = false)]
    run: Option<ManifestId>,
}

/// Moments of a file or run, with the time between them, the longest marked.
#[utoipa::path(get, path = "/api/v1/state/get-processing-timeline", tag = "state", params(StoryQuery), responses(
    (status = 200, description = "The moments", body = Story),
    (status = 404, description = "`no-such-run`", body = ErrorBody)
))]
pub(super) async fn get_processing_timeline(
    State(api): State<Api>,
    Query(query): Query<StoryQuery>,
) -> Result<Json<Story>, ApiError> {
    match (query.uri, query.run) {
        (Some(uri), None) => Ok(Json(operations(&api).story_of_file(&uri).await?)),
        (None, Some(id)) => {
            let story = operations(&api).story_of_run(&id).await?;
            story.map(Json).ok_or_else(|| ApiError::new(ErrorCode::NoSuchRun, format!("no run of manifest `{id}`")))
        }
        _ => Err(ApiError::new(ErrorCode::BadQuery, "say either `uri` or `run`")),
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OrphanQuery {
    /// Least age of an orphan, in seconds: 120 unless told.
    #[serde(default)]
    #[param(value_type = u32, minimum = 0, maximum = 31622400, required = false)]
    older_than_seconds: Option<Age>,
    /// True to look for objects of outputs that no commit names as well. In large buckets that takes longer than a request may.
    #[serde(default)]
    #[param(required = false)]
    objects: bool,
}

/// Files without a run that is in order, drafts that were left, counters that have lost files.
#[utoipa::path(get, path = "/api/v1/state/find-orphans", tag = "state", params(OrphanQuery), responses(
    (status = 200, description = "The orphans", body = Orphans)
))]
pub(super) async fn find_orphans(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<OrphanQuery>,
) -> Result<Json<Orphans>, ApiError> {
    let older_than = age(query.older_than_seconds, ORPHAN_SECONDS);
    let _permit = api.heavy(&caller).await?;
    let (operations, now) = (operations(&api), Utc::now());
    let mut found = operations.find_orphans(older_than, now).await?;
    if query.objects {
        let listed = operations.add_orphaned_objects(&mut found, older_than, now).await;
        listed.map_err(|error| ApiError::new(ErrorCode::Storage, format!("{error:#}")))?;
    }
    Ok(Json(found))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConsistencyQuery {
    /// Only what is of this date.
    #[param(value_type = String, format = Date, required = false)]
    date: Option<DatePrefix>,
    /// Files and runs that are looked at, each, at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 10000, default = 100, required = false)]
    limit: Limit<MAX_LOOKED_AT>,
}

/// Thirteen invariants of the store and what it names; what breaks them, and what to do. Objects are looked at, too.
#[utoipa::path(get, path = "/api/v1/state/validate-consistency", tag = "state", params(ConsistencyQuery), responses(
    (status = 200, description = "What does not fit together", body = Consistency)
))]
pub(super) async fn validate_consistency(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ConsistencyQuery>,
) -> Result<Json<Consistency>, ApiError> {
    let scope = Scope { date: query.date, limit: query.limit.0, looks_at_objects: true };
    let _permit = api.heavy(&caller).await?;
    Ok(Json(operations(&api).validate_consistency(scope, Utc::now()).await?))
}

/// Number of files, and of runs, to read.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u32")]
struct LookedAt(usize);

impl TryFrom<u32> for LookedAt {
    type Error = String;

    fn try_from(number: u32) -> Result<Self, String> {
        let limit = usize::try_from(number).ok().filter(|limit| (1..=MAX_LOOKED_AT).contains(limit));
        limit.map(Self).ok_or_else(|| format!("a limit is 1 to {MAX_LOOKED_AT}, not {number}"))
    }
}

/// Findings that are to be mended.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Mend {
    /// Only what is of this date.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Date)]
    date: Option<DatePrefix>,
    /// Files and runs that are looked at, each, at most: 100 unless told.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 10000)]
    limit: Option<LookedAt>,
    /// Reason, for the audit record: needed unless it is a dry run.
    #[serde(default)]
    reason: String,
    /// True to show what would be mended, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Mends what breaks an invariant, where there is one possible truth. What has two is left alone.
#[utoipa::path(post, path = "/api/v1/state/validate-consistency", tag = "state", request_body = Mend, responses(
    (status = 200, description = "What was mended, or would be", body = Mended),
    (status = 415, description = "`wrong-content-type`: the body is not declared as application/json", body = ErrorBody)
))]
pub(super) async fn mend_consistency(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Asker(who): Asker,
    Body(body): Body<Mend>,
) -> Result<Json<Mended>, ApiError> {
    let limit = body.limit.map_or(Limit::<MAX_LOOKED_AT>::default().0, |limit| limit.0);
    let scope = Scope { date: body.date, limit, looks_at_objects: true };
    let _permit = api.heavy(&caller).await?;
    let (operations, now) = (operations(&api), Utc::now());
    let found = operations.validate_consistency(scope, now).await?;
    let mending = operations.plan_mending(&found, body.date, now).await?;
    if body.dry_run {
        return Ok(Json(mending.dry()));
    }
    check_reason(&body.reason).map_err(bad_reason)?;
    Ok(Json(operations.mend(mending, &who, &body.reason, now).await?))
}

/// Stuck files to be put back as their runs prescribe.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reset {
    /// These files alone.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    uris: Vec<ObjectUri>,
    /// Only files of this date.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = Date)]
    date: Option<DatePrefix>,
    /// Only files in this state.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    state: Option<FileState>,
    /// Least age of the last change, in seconds: 7200 unless told.
    #[serde(default)]
    #[schema(value_type = Option<u32>, minimum = 0, maximum = 31622400)]
    older_than_seconds: Option<Age>,
    /// Reason, for the audit record: needed unless it is a dry run.
    #[serde(default)]
    reason: String,
    /// True to show what would change, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Puts stuck files back as their runs prescribe: pending, failed, or completed. At most 1000 at once.
#[utoipa::path(post, path = "/api/v1/state/reset-stuck-files", tag = "state", request_body = Reset, responses(
    (status = 200, description = "What became of each", body = Applied),
    (status = 415, description = "`wrong-content-type`: the body is not declared as application/json", body = ErrorBody)
))]
pub(super) async fn reset_stuck_files(
    State(api): State<Api>,
    Asker(who): Asker,
    Body(body): Body<Reset>,
) -> Result<Json<Applied>, ApiError> {
    check_number(body.uris.len())?;
    let query = ResetQuery {
        uris: body.uris,
        date: body.date,
        state: body.state,
        older_than: age(body.older_than_seconds, STUCK_SECONDS),
        limit: MAX_CHANGES,
    };
    let operations = operations(&api);
    let plan = operations.plan_reset(&query, Utc::now()).await?;
    if body.dry_run {
        return Ok(Json(Applied::dry(plan)));
    }
    check_reason(&body.reason).map_err(bad_reason)?;
    Ok(Json(operations.apply(plan, "reset-stuck-files", &who, &body.reason, Utc::now()).await?))
}

/// Changes of files' states.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Updates {
    /// The changes, at most 1000.
    changes: Vec<Requested>,
    /// Reason, for the audit record: needed unless it is a dry run.
    #[serde(default)]
    reason: String,
    /// True to show what would change, and change nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Changes the state of one file, if that can neither lose nor double rows.
#[utoipa::path(post, path = "/api/v1/state/update-state", tag = "state", request_body = Updates, responses(
    (status = 200, description = "What became of it", body = Applied),
    (status = 415, description = "`wrong-content-type`: the body is not declared as application/json", body = ErrorBody)
))]
pub(super) async fn update_state(
    State(api): State<Api>,
    Asker(who): Asker,
    Body(body): Body<Updates>,
) -> Result<Json<Applied>, ApiError> {
    if body.changes.len() != 1 {
        return Err(ApiError::new(ErrorCode::BadJson, "update-state changes one file: use batch-update"));
    }
    update(&api, &who, body, "update-state").await
}

/// Changes the states of many files, each for itself.
#[utoipa::path(post, path = "/api/v1/state/batch-update", tag = "state", request_body = Updates, responses(
    (status = 200, description = "What became of each", body = Applied),
    (status = 415, description = "`wrong-content-type`: the body is not declared as application/json", body = ErrorBody)
))]
pub(super) async fn batch_update(
    State(api): State<Api>,
    Asker(who): Asker,
    Body(body): Body<Updates>,
) -> Result<Json<Applied>, ApiError> {
    update(&api, &who, body, "batch-update").await
}

async fn update(api: &Api, who: &Operator, body: Updates, action: &str) -> Result<Json<Applied>, ApiError> {
    check_number(body.changes.len())?;
    let operations = operations(api);
    let plan = operations.plan(&body.changes, Utc::now()).await?;
    if body.dry_run {
        return Ok(Json(Applied::dry(plan)));
    }
    check_reason(&body.reason).map_err(bad_reason)?;
    Ok(Json(operations.apply(plan, action, who, &body.reason, Utc::now()).await?))
}

fn check_number(changes: usize) -> Result<(), ApiError> {
    match changes > MAX_CHANGES {
        true => {
            let message =
                format!("{changes} files are more than the {MAX_CHANGES} that one request changes: send several");
            Err(ApiError::new(ErrorCode::BadJson, message))
        }
        false => Ok(()),
    }
}

fn bad_reason(why: String) -> ApiError {
    ApiError::new(ErrorCode::BadJson, why)
}
