//! Schedulers of a state: the leader, and the standbys. Each writes heartbeats to the store.

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

/// Interval of a scheduler's heartbeats, 10 s.
pub(super) const SHOW: Duration = Duration::from_secs(10);
/// Time limit for the removal of a heartbeat, with which the process ends.
const LEAVE: Duration = Duration::from_secs(2);
/// Time without a heartbeat after which a scheduler counts as gone, 35 s: three missing ones.
const GONE: chrono::Duration = chrono::Duration::seconds(35);

/// Information about this process in its heartbeats.
pub(crate) struct Presence {
    name: String,
    http: SocketAddr,
    started_at: DateTime<Utc>,
    leads_since: Option<DateTime<Utc>>,
}

impl Presence {
    pub(crate) fn new(http: SocketAddr) -> Self {
        Self { name: own_name(), http, started_at: Utc::now(), leads_since: None }
    }

    /// Tells whether this process has become the leader since its last heartbeat.
    pub(super) fn has_news(&self, service: &Service) -> bool {
        self.leads_since.is_none() && service.leader().is_some()
    }

    /// Writes a heartbeat to the store, with address and role.
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

/// Removes the heartbeat of this process, which ends in order: for others it is gone at once.
pub(crate) async fn leave(service: &Service) {
    let now = Utc::now();
    let note = Note { name: own_name(), at: now, value: serde_json::Value::Null };
    // Others see it for a while longer if the store does not answer.
    let left = tokio::time::timeout(LEAVE, service.store().put_note(SCHEDULERS, &note, now)).await;
    tracing::debug!(?left, "this scheduler has taken leave");
}

/// Name of this process in heartbeats: host name and process id.
fn own_name() -> String {
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".to_owned());
    format!("{}:{}", machine.trim(), std::process::id())
}

/// Lists the schedulers of the state: each leaves word every ten seconds. One that said nothing for 35 s is left out.
#[utoipa::path(get, path = "/api/v1/schedulers", tag = "cluster", responses(
    (status = 200, description = "All of them", body = Schedulers)
))]
pub(super) async fn list_schedulers(State(api): State<Api>) -> Result<Json<Schedulers>, ApiError> {
    Ok(Json(load_schedulers(&api).await?))
}

/// Loads the schedulers of the state, the leader first.
pub(crate) async fn load_schedulers(api: &Api) -> Result<Schedulers, ApiError> {
    let notes = api.service.store().notes(SCHEDULERS, Utc::now()).await?;
    let info = |note: Note| {
        let info: SchedulerInfo = serde_json::from_value(note.value).ok()?;
        Some(SchedulerInfo { name: note.name, last_seen: note.at, ..info })
    };
    let mut items: Vec<SchedulerInfo> = notes.into_iter().filter_map(info).collect();
    if let Some(own) = items.iter_mut().find(|info| info.name == own_name()) {
        let leader = api.service.leader();
        own.leads = leader.is_some();
        own.lease_until = leader.and_then(|scheduler| scheduler.lease_until());
    }
    one_leads(&mut items, api.service.leader().map(|_| own_name()));
    items.sort_by_key(|info| !info.leads);
    Ok(Schedulers { items })
}

/// Marks only one scheduler as the leader: this process, if it leads, or else the one that became leader last. Needed
/// because the heartbeat of a dead leader remains for a while.
fn one_leads(items: &mut [SchedulerInfo], own: Option<String>) {
    let newest = items.iter().filter(|info| info.leads).max_by_key(|info| info.leads_since);
    let leader = own.or_else(|| newest.map(|info| info.name.clone()));
    for info in items {
        info.leads &= leader.as_ref() == Some(&info.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheduler(name: &str, leads_since: Option<&str>) -> SchedulerInfo {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        SchedulerInfo {
            name: name.to_owned(),
            leads: leads_since.is_some(),
            http: "127.0.0.1:8080".to_owned(),
            version: "0".to_owned(),
            started_at: at("2025-12-23T14:00:00Z"),
            leads_since: leads_since.map(at),
            lease_until: None,
            last_seen: at("2025-12-23T15:00:00Z"),
        }
    }

    #[test]
    fn the_word_of_a_dead_leader_makes_no_second_one() {
        let leads = |own: Option<&str>| {
            let dead = scheduler("dead", Some("2025-12-23T14:00:00Z"));
            let mut items = [dead, scheduler("new", Some("2025-12-23T14:59:00Z")), scheduler("standby", None)];
            one_leads(&mut items, own.map(str::to_owned));
            items.iter().filter(|info| info.leads).map(|info| info.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(leads(None), ["new"]);
        assert_eq!(leads(Some("dead")), ["dead"]);
    }
}
