//! Effective settings, and versions of the components.

use super::Api;
use axum::Json;
use axum::extract::State;
use millwork_api::{Build, Config};

/// Versions of this program, of DataFusion and of Ballista, and the commit that it was built from.
pub(super) fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: Some(millwork_process::COMMIT).filter(|commit| *commit != "unknown").map(str::to_owned),
        datafusion: datafusion::DATAFUSION_VERSION.to_owned(),
        ballista: ballista_core::BALLISTA_VERSION.to_owned(),
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
