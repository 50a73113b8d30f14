//! The settings in force, and what the program is made of.

use super::Api;
use crate::settings::Setting;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// The settings in force.
#[derive(Serialize, ToSchema)]
pub(super) struct Config {
    /// The settings, in the order of the command's help.
    items: Vec<Setting>,
    /// What the program is made of.
    build: Build,
    /// When the process started.
    started_at: DateTime<Utc>,
}

/// What a program is made of.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct Build {
    /// Millwork's version.
    version: &'static str,
    /// The commit it was built from, if that is known.
    #[schema(required)]
    commit: Option<&'static str>,
    /// DataFusion's version.
    datafusion: &'static str,
    /// Ballista's version.
    ballista: &'static str,
}

/// What this program is made of.
pub(super) fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION"),
        commit: option_env!("MILLWORK_COMMIT"),
        datafusion: datafusion::DATAFUSION_VERSION,
        ballista: ballista_core::BALLISTA_VERSION,
    }
}

/// The settings of the scheduler that answers, each with where it is from. No secret is among them: files that hold one are named.
#[utoipa::path(get, path = "/api/v1/config", tag = "cluster", responses(
    (status = 200, description = "All settings", body = Config)
))]
pub(super) async fn get_config(State(api): State<Api>) -> Json<Config> {
    let items = api.service.settings().to_vec();
    Json(Config { items, build: build(), started_at: api.numbers.started_at })
}
