//! Audit records of changes.

use super::Api;
use super::error::ApiError;
use super::extract::Query;
use super::show;
use axum::Json;
use axum::extract::State;
use chrono::Utc;
use millwork_api::{AuditEntry, AuditQuery, Page};
use millwork_manifest::DatePrefix;
use millwork_tracking::AuditFilter;

/// Lists the notes of a day, newest first: who changed what, why, and what came of it.
#[utoipa::path(get, path = "/api/v1/audit", tag = "changes", params(AuditQuery), responses(
    (status = 200, description = "A page of notes", body = Page<AuditEntry>)
))]
pub(super) async fn list_audit(
    State(api): State<Api>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<AuditEntry>>, ApiError> {
    Ok(Json(load_audit(&api, query).await?))
}

/// Loads a page of audit records.
pub(crate) async fn load_audit(api: &Api, query: AuditQuery) -> Result<Page<AuditEntry>, ApiError> {
    let filter = AuditFilter {
        day: query.day.unwrap_or_else(|| DatePrefix::from(Utc::now().date_naive())),
        subject: query.subject,
        limit: query.limit.0,
        cursor: query.cursor,
    };
    Ok(show::page(api.service.store().audits(&filter).await?, show::audit_entry))
}
