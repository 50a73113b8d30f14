//! Target of state operations: a scheduler, or the state itself.

use super::{Options, places};
use crate::client::Client;
use crate::failure::usage;
use crate::store::open;
use chrono::Utc;
use millwork_manifest::DatePrefix;
use millwork_scheduler::{
    About, Applied, Consistency, Inspector, MAX_CHANGES, Mended, Operations, Operator, Requested, ResetQuery,
    check_reason,
};
use millwork_storage::{Location, Storage};
use millwork_tracking::Via;
use serde_json::json;

/// Limit of the files, and of the runs, that a scheduler checks for repairs in one request: 10,000, as the request
/// timeout allows.
const MAX_LOOKED_AT: u32 = 10_000;

/// Scheduler or state that carries out operations.
pub(super) enum Source {
    Scheduler(Box<Client>),
    State(Box<Operations>),
}

impl Source {
    pub(super) async fn open(options: &Options) -> anyhow::Result<Self> {
        let Some(state) = &options.state else {
            return Ok(Self::Scheduler(Box::new(Client::new(&options.client)?)));
        };
        let mut about = About::of_state(state);
        if let Some(output) = options.output.as_deref().filter(|output| !output.is_empty()) {
            let is_place = output.contains("://") || output.starts_with(['/', '.']);
            let place = if is_place { output.to_owned() } else { format!("s3://{output}") };
            about.written.push(("the output", Location::parse(&place)?));
        }
        let input = places(options.input_places.as_deref())?;
        let inspector = Inspector::on(open(state).await?, Storage::from_env(), input, about);
        Ok(Self::State(Box::new(Operations::new(inspector))))
    }

    /// Operations on the state itself, for those that a scheduler does not offer.
    pub(super) fn on_state(&self, what: &str) -> anyhow::Result<&Operations> {
        match self {
            Self::State(operations) => Ok(operations),
            Self::Scheduler(_) => {
                Err(usage(format!("{what} works on the state itself: say --state sqlite:PATH or dynamodb:TABLE")))
            }
        }
    }

    /// Refuses an operation that needs the state itself, before any request.
    pub(super) fn check_on_state(&self, is_wanted: bool, what: &str) -> anyhow::Result<()> {
        if is_wanted { self.on_state(what).map(|_| ()) } else { Ok(()) }
    }

    /// Plans resets, or applies a plan exactly as it was shown, if nothing has changed.
    pub(super) async fn reset(&self, query: &ResetQuery, reason: &str, dry_run: bool) -> anyhow::Result<Applied> {
        match self {
            Self::State(operations) => {
                let plan = operations.plan_reset(query, Utc::now()).await?;
                if dry_run {
                    return Ok(Applied::dry(plan));
                }
                check_reason(reason).map_err(usage)?;
                Ok(operations.apply(plan, "reset-stuck-files", &operator(), reason, Utc::now()).await?)
            }
            Self::Scheduler(client) => {
                let body = json!({
                    "uris": query.uris, "date": query.date, "state": query.state,
                    "older_than_seconds": query.older_than.num_seconds(), "reason": reason, "dry_run": dry_run,
                });
                client.post("/api/v1/state/reset-stuck-files", &(), &body).await
            }
        }
    }

    /// Plans or makes repairs of findings. A scheduler checks for findings itself.
    pub(super) async fn mend(
        &self,
        found: &Consistency,
        date: Option<DatePrefix>,
        reason: &str,
        dry_run: bool,
    ) -> anyhow::Result<Mended> {
        match self {
            Self::State(operations) => {
                let mending = operations.plan_mending(found, date, Utc::now()).await?;
                match dry_run {
                    true => Ok(mending.dry()),
                    false => Ok(operations.mend(mending, &operator(), reason, Utc::now()).await?),
                }
            }
            Self::Scheduler(client) => {
                let body = json!({"date": date, "limit": MAX_LOOKED_AT, "reason": reason, "dry_run": dry_run});
                client.post("/api/v1/state/validate-consistency", &(), &body).await
            }
        }
    }

    /// Plans or applies changes.
    pub(super) async fn update(
        &self,
        action: &str,
        changes: &[Requested],
        reason: &str,
        dry_run: bool,
    ) -> anyhow::Result<Applied> {
        let mut all = Applied { is_dry_run: dry_run, changes: Vec::new() };
        for chunk in changes.chunks(MAX_CHANGES) {
            let applied = match self {
                Self::State(operations) => {
                    let plan = operations.plan(chunk, Utc::now()).await?;
                    match dry_run {
                        true => Applied::dry(plan),
                        false => {
                            check_reason(reason).map_err(usage)?;
                            operations.apply(plan, action, &operator(), reason, Utc::now()).await?
                        }
                    }
                }
                Self::Scheduler(client) => {
                    let body = json!({"changes": chunk, "reason": reason, "dry_run": dry_run});
                    client.post(&format!("/api/v1/state/{action}"), &(), &body).await?
                }
            };
            all.changes.extend(applied.changes);
        }
        Ok(all)
    }
}

/// Identity for audit records of changes on a state itself: user and host.
pub(crate) fn operator() -> Operator {
    let name = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let user = name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| "somebody".to_owned());
    Operator { actor: format!("{user}@{}", host.trim()), via: Via::Cli }
}
