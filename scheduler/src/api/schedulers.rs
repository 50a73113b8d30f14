//! The schedulers of a state: the one that runs the manifests, and those that stand by. Each leaves word of itself in the store.

use super::Api;
use super::error::ApiError;
use crate::service::Service;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use millwork_api::{SchedulerInfo, Schedulers};
use millwork_tracking::Note;
use millwork_tracking::numbers::SCHEDULERS;
use std::net::SocketAddr;
use std::time::Duration;

/// Time between two words of a scheduler, 10 s.
pub(super) const SHOW: Duration = Duration::from_secs(10);
/// Time after which one that said nothing counts as gone, 35 s: three words that did not come.
const GONE: chrono::Duration = chrono::Duration::seconds(35);

/// This process, as others see it.
pub(super) struct Presence {
    name: String,
    http: SocketAddr,
    started_at: DateTime<Utc>,
    leads_since: Option<DateTime<Utc>>,
}

impl Presence {
    pub(super) fn new(http: SocketAddr) -> Self {
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
        let name = format!("{}:{}", machine.trim(), std::process::id());
        Self { name, http, started_at: Utc::now(), leads_since: None }
    }

    /// Notes in the store that this process is there, with its address and role.
    pub(super) async fn show(&mut self, service: &Service) {
        let now = Utc::now();
        let leader = service.leader();
        if leader.is_some() {
            self.leads_since.get_or_insert(now);
        }
        let info = SchedulerInfo {
            name: self.name.clone(),
            leads: leader.is_some(),
            http: self.http.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            leads_since: self.leads_since,
            lease_until: leader.and_then(|scheduler| scheduler.lease_until()),
            last_seen: now,
        };
        let Ok(value) = serde_json::to_value(&info) else { return };
        let note = Note { name: self.name.clone(), at: now, value };
        if let Err(error) = service.store().put_note(SCHEDULERS, &note, now + GONE).await {
            tracing::debug!(%error, "cannot leave word of this scheduler");
        }
    }
}

/// Lists the schedulers of the state: each leaves word every ten seconds. One that said nothing for 35 s is left out.
#[utoipa::path(get, path = "/api/v1/schedulers", tag = "cluster", responses(
    (status = 200, description = "All of them", body = Schedulers)
))]
pub(super) async fn list_schedulers(State(api): State<Api>) -> Result<Json<Schedulers>, ApiError> {
    Ok(Json(load_schedulers(&api).await?))
}

/// The schedulers of the state, the one that runs the manifests first.
pub(crate) async fn load_schedulers(api: &Api) -> Result<Schedulers, ApiError> {
    let notes = api.service.store().notes(SCHEDULERS, Utc::now()).await?;
    let info = |note: Note| {
        let info: SchedulerInfo = serde_json::from_value(note.value).ok()?;
        Some(SchedulerInfo { name: note.name, last_seen: note.at, ..info })
    };
    let mut items: Vec<SchedulerInfo> = notes.into_iter().filter_map(info).collect();
    items.sort_by_key(|info| !info.leads);
    Ok(Schedulers { items })
}
