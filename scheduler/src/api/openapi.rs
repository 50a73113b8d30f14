//! OpenAPI description of the API.

use super::routes;
use axum::http::header;
use axum::response::IntoResponse;
use millwork_api::ErrorBody;
use std::sync::LazyLock;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, ResponseBuilder};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Millwork",
        description = "Runs of manifests: NDJSON files of one date that become Parquet.\n\n\
            Every answer that is no success is `{\"error\": {\"code\", \"message\"}}`, that to an unknown path (404) or \
            method (405) included. The header `millwork-role` of each answer says whether the process runs the manifests \
            (`leader`) or stands by (`standby`); both answer everything that the store knows.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "manifests", description = "What is to be converted"),
        (name = "runs", description = "One for each manifest"),
        (name = "files", description = "Input files and their lives"),
        (name = "numbers", description = "Totals of dates, series over time, costs"),
        (name = "changes", description = "Changes that are planned first, and notes of all that were made"),
        (name = "cluster", description = "The scheduler and its executors"),
        (name = "state", description = "Operations on the state: what is stuck, what does not fit together, and changes of it"),
        (name = "why", description = "Why a file, run, date or executor is as it is, what happens next, what may be done"),
        (name = "health", description = "For probes; without a token, and without anything that a stranger could use"),
    ),
    components(schemas(ErrorBody)),
)]
struct Frame;

/// OpenAPI document of the API.
pub(super) fn document() -> OpenApi {
    let mut document = Frame::openapi();
    for router in [routes::timed(), routes::streamed(), routes::checks()] {
        document.merge(router.into_openapi());
    }
    let scheme = SecurityScheme::Http(Http::builder().scheme(HttpAuthScheme::Bearer).build());
    document.components.get_or_insert_default().add_security_scheme("token", scheme);
    document.security = Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
    for (path, item) in &mut document.paths.paths {
        operations(item).for_each(|operation| complete(path, operation));
    }
    document
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put].into_iter().flatten()
}

/// Adds the error responses that follow from the path: 500 for all, 401 to 503 below `/api` and for `/metrics`, 408 and 400 where there is
/// input.
fn complete(path: &str, operation: &mut Operation) {
    let mut add = |status: &str, description: &str| {
        let content = Content::new(Some(Ref::from_schema_name("Error")));
        let response = ResponseBuilder::new().description(description).content("application/json", content).build();
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
    };
    add("500", "`bug`: a defect of Millwork's; the log says more");
    if !path.starts_with("/api") && path != "/metrics" {
        return;
    }
    add("401", "`unauthorized`: the token is missing, wrong or has expired");
    add(
        "403",
        "`wrong-role`: the token may not do this; `foreign-host`, `foreign-origin`: requests to other names than those of the \
         scheduler are not answered, and no page of another site changes anything",
    );
    add(
        "429",
        "`too-many-tries`: more than 10 wrong tokens within a minute; `too-many-streams`: of events; `too-many-plans`: that can \
         still be applied. `retry-after` says when to ask again",
    );
    add(
        "503",
        "`state`: the store does not answer; `busy`: too many requests are in work; `timeout`: no answer within 30 s. What was \
         asked may have happened, unless it was `busy`",
    );
    let takes_input = operation.parameters.as_ref().is_some_and(|parameters| !parameters.is_empty());
    if operation.request_body.is_some() {
        add("408", "`slow-body`: the body did not come within 25 s");
    }
    if takes_input || operation.request_body.is_some() {
        add(
            "400",
            "`bad-query`, `bad-path`, `bad-json`, `bad-manifest`, `foreign-object`: names what is wrong, and what would be right; `bad-body`: it broke off",
        );
    }
}

/// The OpenAPI document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "cluster", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object)
))]
pub(super) async fn get_openapi() -> impl IntoResponse {
    /// Text of the document, built once, since it never changes.
    static TEXT: LazyLock<String> = LazyLock::new(|| document().to_json().unwrap_or_default());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_the_one_that_is_published() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let now = document().to_pretty_json().unwrap() + "\n";
        if std::env::var_os("MILLWORK_BLESS").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap_or_default();
        assert!(now == published, "docs/openapi.json is not current: run this test with MILLWORK_BLESS=1");
    }
}
