//! Web UI: handlers under `/ui/`, each of which loads data as the API does and renders a page.
//!
//! Pages need a session ([`guard`]), which a browser gets for a token or through a one-time link. Forms can only create
//! or apply a change plan, or submit mended lines, through the same code as the API. Every response has security
//! headers that prevent loading from, running from or sending to other origins.

mod asked;
mod assets;
mod base;
mod cluster;
mod doctor;
mod find;
mod forms;
mod guard;
mod lists;
mod mend;
mod numbers;
mod overview;
mod plans;
mod quarantine;
mod rejected;
mod run;
mod sign_in;
mod why;

pub(crate) use base::PagePaths;

use crate::api::permits::{Bounds, bound_memory};
use crate::api::{Access, Api, Shared};
use axum::Router;
use axum::extract::Extension;
use axum::middleware;
use axum::response::Redirect;
use axum::routing::{get, post};
use tower_http::compression::{CompressionLayer, CompressionLevel};

/// Routes of the UI: public ones, and those for authenticated users.
pub(crate) fn routers(access: Access, paths: &PagePaths, bounds: Bounds) -> (Router<Api>, Router<Api>) {
    let closed = user_routes()
        // Shared by all users: computed once per change, by one of the requests.
        .layer(Extension(Shared::<asked::Shown>::default()))
        .layer(middleware::from_fn_with_state(bounds, bound_memory))
        .layer(middleware::from_fn_with_state(access.clone(), guard::let_in));
    let guarded = |routes: Router<Api>| {
        routes
            .layer(middleware::from_fn_with_state(access.clone(), guard::check_page))
            .layer(Extension(access.clone()))
            .layer(middleware::from_fn_with_state(paths.clone(), base::put_below))
            // Fast compression, since live pages are rendered often, and the best level would dominate the cost.
            .layer(CompressionLayer::new().gzip(true).quality(CompressionLevel::Fastest))
    };
    (guarded(open_routes()), guarded(closed))
}

fn open_routes() -> Router<Api> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/ui/") }))
        .route("/ui", get(|| async { Redirect::to("/ui/") }))
        .route("/ui/assets/{hash}/{name}", get(assets::get_asset))
        .route("/ui/sign-in", get(sign_in::get_sign_in).post(sign_in::post_sign_in))
        .route("/ui/sign-in-links", post(sign_in::post_link))
        .route("/ui/enter", get(sign_in::get_enter))
}

fn user_routes() -> Router<Api> {
    Router::new()
        .route("/ui/", get(overview::get_overview))
        .route("/ui/find", get(find::get_find))
        .route("/ui/runs", get(lists::get_runs))
        .route("/ui/runs/{id}", get(run::get_run))
        .route("/ui/runs/{id}/mend", get(mend::get_mend).post(mend::post_mend))
        .route("/ui/runs/{id}/{tab}", get(run::get_run_part))
        .route("/ui/files", get(lists::get_files))
        .route("/ui/file", get(lists::get_file))
        .route("/ui/quarantine", get(quarantine::get_quarantine))
        .route("/ui/preview", get(quarantine::get_preview))
        .route("/ui/doctor", get(doctor::get_doctor))
        .route("/ui/cluster", get(cluster::get_cluster))
        .route("/ui/cluster/queues", get(cluster::get_queues))
        .route("/ui/dates", get(numbers::get_dates))
        .route("/ui/dates/{date}", get(numbers::get_date))
        .route("/ui/cost", get(numbers::get_cost))
        .route("/ui/activity", get(plans::get_activity))
        .route("/ui/plans", post(plans::post_plan))
        .route("/ui/plans/{id}", get(plans::get_plan).post(plans::post_apply))
        .route("/ui/help", get(lists::get_help))
        .route("/ui/sign-out", post(sign_in::post_sign_out))
        .route("/ui/preferences", post(sign_in::post_preferences))
        .route("/ui/{*rest}", get(lists::get_nothing))
}
