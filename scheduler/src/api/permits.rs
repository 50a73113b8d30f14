//! Permits for expensive requests, shared fairly among tokens, and the runs whose requests need one.

use super::error::ApiError;
use crate::access::Caller;
use crate::service::Service;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use millwork_api::ErrorCode;
use millwork_manifest::ManifestId;
use millwork_net::hold;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Limit of concurrent expensive requests: fewer than the readers of a SQLite state, so that short requests are not
/// delayed.
const HEAVY: usize = 2;
/// Limit of the large bodies that are received and parsed at once: 4 of at most 32 MiB.
const LARGE_BODIES: usize = 4;
/// Size of a body from which it counts as large: 1 MiB, of which all requests in work may have one each.
const LARGE_BODY_BYTES: u64 = 1 << 20;
/// Number of a manifest's files from which its run counts as large: 10,000, some MB of documents for each request.
const LARGE_RUN_FILES: u64 = 10_000;
/// Time for which a request waits for a permit: 5 s.
const PATIENCE: Duration = Duration::from_secs(5);
/// Beginnings of the routes about one run.
const OF_RUNS: [&str; 3] = ["/api/v1/runs/{id}", "/api/v1/manifests/{id}", "/ui/runs/{id}"];

/// Permits for expensive requests, of which a token has half at most: its further requests wait for its own, and those of
/// other tokens find a permit.
#[derive(Clone)]
pub(crate) struct Permits {
    in_all: usize,
    all: Arc<Semaphore>,
    by_token: Arc<Mutex<HashMap<Arc<str>, Weak<Semaphore>>>>,
}

/// Bounds of what requests have in memory at once.
#[derive(Clone)]
pub(crate) struct Bounds {
    /// For expensive requests: scans of the store, and documents of many files.
    pub(super) heavy: Permits,
    /// For large bodies.
    pub(super) bodies: Permits,
    service: Service,
}

impl Bounds {
    pub(crate) fn new(service: Service) -> Self {
        Self { heavy: Permits::new(HEAVY), bodies: Permits::new(LARGE_BODIES), service }
    }

    /// Takes the permit that a load needs; `None` for a small run.
    async fn permit(&self, caller: &Caller, load: Load) -> Result<Option<Permit>, ApiError> {
        let permits = match load {
            Load::Body => &self.bodies,
            Load::Run(id) => match self.service.store().run_head(&id).await? {
                Some(run) if run.files > LARGE_RUN_FILES => &self.heavy,
                _ => return Ok(None),
            },
        };
        permits.take(caller).await.map(Some)
    }
}

/// A permit in use.
pub(crate) struct Permit {
    _of_token: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

/// Permit of a request, if it has one; in its extensions. Work that goes on after the client has gone keeps a clone.
#[derive(Clone)]
pub(crate) struct Held(Option<Arc<Permit>>);

impl Held {
    /// The permit of the request, or else a new one.
    pub(super) async fn or_take(self, permits: &Permits, caller: &Caller) -> Result<Self, ApiError> {
        match self.0 {
            Some(_) => Ok(self),
            None => Ok(Self(Some(Arc::new(permits.take(caller).await?)))),
        }
    }
}

impl Permits {
    fn new(in_all: usize) -> Self {
        Self { in_all, all: Arc::new(Semaphore::new(in_all)), by_token: Arc::default() }
    }

    /// Takes a permit, if necessary after some time.
    pub(super) async fn take(&self, caller: &Caller) -> Result<Permit, ApiError> {
        let of_token = self.of_token(&caller.id);
        let take = async {
            Ok::<_, tokio::sync::AcquireError>(Permit {
                _of_token: of_token.acquire_owned().await?,
                _of_all: self.all.clone().acquire_owned().await?,
            })
        };
        match timeout(PATIENCE, take).await {
            Ok(Ok(permit)) => Ok(permit),
            // Neither semaphore is ever closed, so that this is the time limit.
            Ok(Err(_)) | Err(_) => {
                let busy = format!(
                    "too many large requests are in work: {} in all, and {} of one token are the limit; ask again",
                    self.in_all,
                    self.of_one()
                );
                Err(ApiError::new(ErrorCode::Busy, busy).again_after(Duration::from_secs(1)))
            }
        }
    }

    fn of_one(&self) -> usize {
        (self.in_all / 2).max(1)
    }

    /// Permits of a token. Tokens without a request are forgotten.
    fn of_token(&self, id: &Arc<str>) -> Arc<Semaphore> {
        let mut by_token = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = by_token.get(id).and_then(Weak::upgrade) {
            return known;
        }
        by_token.retain(|_, known| known.strong_count() > 0);
        let new = Arc::new(Semaphore::new(self.of_one()));
        by_token.insert(id.clone(), Arc::downgrade(&new));
        new
    }
}

/// Load of a request on the memory, beyond the usual.
enum Load {
    /// A large body.
    Body,
    /// The documents of a run, which may be large.
    Run(ManifestId),
}

impl Load {
    /// Load of a request; `None` if it is small.
    fn of(request: &Request, parameters: &RawPathParams) -> Option<Self> {
        let route = request.extensions().get::<MatchedPath>()?.as_str();
        if request.method() == Method::POST && has_large_body(request) {
            return Some(Self::Body);
        }
        // Changes read no documents, but for mended lines, whose handlers take a permit for any run.
        if !request.method().is_safe() || !OF_RUNS.iter().any(|beginning| route.starts_with(beginning)) {
            return None;
        }
        // Decoded, as handlers see it.
        let id = parameters.iter().find(|(name, _)| *name == "id").map(|(_, id)| id)?;
        id.parse().ok().map(Self::Run)
    }
}

/// Bounds the memory of requests about large runs, and of large bodies: each request of these needs a permit until it
/// is answered. Others pass at once.
pub(crate) async fn bound_memory(
    State(bounds): State<Bounds>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let load = parameters.ok().and_then(|parameters| Load::of(&request, &parameters));
    let permit = match (caller, load) {
        (Some(caller), Some(load)) => bounds.permit(&caller, load).await,
        _ => Ok(None),
    };
    match permit {
        Ok(permit) => {
            let held = Held(permit.map(Arc::new));
            request.extensions_mut().insert(held.clone());
            hold(next.run(request).await, held)
        }
        Err(error) => error.into_response(),
    }
}

/// Tells whether a body can be large: by its announced length, or because no length is announced.
fn has_large_body(request: &Request) -> bool {
    let headers = request.headers();
    match headers.get(header::CONTENT_LENGTH) {
        Some(length) => {
            length.to_str().ok().and_then(|text| text.parse().ok()).is_none_or(|bytes: u64| bytes > LARGE_BODY_BYTES)
        }
        None => headers.contains_key(header::TRANSFER_ENCODING),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Role;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::{get, post};
    use tower::ServiceExt;

    fn caller(id: &str) -> Caller {
        Caller { id: id.into(), role: Role::Read }
    }

    #[tokio::test]
    async fn a_request_that_has_a_permit_takes_no_other_and_its_work_keeps_it() {
        let (permits, one) = (Permits::new(HEAVY), caller("one"));
        let held = Held(None).or_take(&permits, &one).await.ok().unwrap();
        let of_work = held.clone().or_take(&permits, &one).await.ok().unwrap();
        drop(held);
        assert!(timeout(Duration::from_millis(50), permits.take(&one)).await.is_err(), "the work goes on");
        drop(of_work);
        assert!(permits.take(&one).await.is_ok());
    }

    /// Load of a request, as the middleware of a route finds it.
    async fn load_of(method: Method, path: &str, length: Option<&str>) -> String {
        async fn tell(parameters: Result<RawPathParams, RawPathParamsRejection>, request: Request, _: Next) -> String {
            match parameters.ok().and_then(|parameters| Load::of(&request, &parameters)) {
                Some(Load::Run(id)) => format!("run {id}"),
                Some(Load::Body) => "body".to_owned(),
                None => "none".to_owned(),
            }
        }
        async fn nothing() {}
        let routes = Router::new()
            .route("/api/v1/manifests", post(nothing))
            .route("/api/v1/manifests/{id}", get(nothing))
            .route("/api/v1/runs/{id}/files", get(nothing))
            .route("/api/v1/runs/{id}/cancel", post(nothing))
            .route("/api/v1/plans/{id}", get(nothing))
            .route("/ui/runs/{id}/{tab}", get(nothing))
            .layer(axum::middleware::from_fn(tell));
        let mut request = Request::builder().method(method).uri(path);
        request = match length {
            Some("chunked") => request.header(header::TRANSFER_ENCODING, "chunked"),
            Some(length) => request.header(header::CONTENT_LENGTH, length),
            None => request,
        };
        let answer = routes.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 10).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn reads_of_runs_and_large_bodies_are_found_however_they_are_written() {
        for path in
            ["/api/v1/runs/m1/files", "/api/v1/runs/m%31/files?limit=1", "/api/v1/manifests/%6d1", "/ui/runs/m1/plan"]
        {
            assert_eq!(load_of(Method::GET, path, None).await, "run m1", "{path}");
        }
        assert_eq!(load_of(Method::GET, "/api/v1/plans/m1", None).await, "none");
        assert_eq!(load_of(Method::POST, "/api/v1/runs/m1/cancel", Some("2")).await, "none");
        for (length, load) in [
            (Some("1048576"), "none"),
            (Some("1048577"), "body"),
            (Some("x"), "body"),
            (Some("chunked"), "body"),
            (None, "none"),
        ] {
            assert_eq!(load_of(Method::POST, "/api/v1/manifests", length).await, load, "{length:?}");
        }
    }

    #[tokio::test]
    async fn one_token_leaves_a_permit_for_another_and_waits_in_line_itself() {
        let permits = Permits::new(HEAVY);
        let first = permits.take(&caller("greedy")).await.ok().unwrap();
        assert!(timeout(Duration::from_millis(50), permits.take(&caller("greedy"))).await.is_err(), "it waits");
        let other = permits.take(&caller("other")).await.ok().unwrap();
        let waiting = tokio::spawn({
            let permits = permits.clone();
            async move { permits.take(&caller("greedy")).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap(), "in its turn");
        drop(other);
        permits.take(&caller("third")).await.ok().unwrap();
        assert_eq!(permits.by_token.lock().unwrap().len(), 1, "nobody is remembered");
    }
}
