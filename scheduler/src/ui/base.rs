//! Path prefixes of pages: either that of a proxy, which serves the scheduler at `https://ops.example/millwork/`, or a
//! secret one derived from a token, so that browsers do not send session cookies to other ports of the host.
//!
//! Routes, handlers and pages do not know of the prefix. Requests are accepted with and without a proxy's
//! prefix, so that the proxy may remove it; links, forms, cookies and redirects in responses contain it. A session is
//! valid only below its token's prefix; elsewhere only the sign-in page is shown.

use crate::access::Below;
use crate::api::Access;
use crate::base_path::BasePath;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower::Layer;

/// Path prefixes of the pages of this process.
#[derive(Clone)]
pub(crate) struct PagePaths {
    given: BasePath,
    access: Access,
}

impl PagePaths {
    pub(crate) fn new(given: BasePath, access: Access) -> Self {
        Self { given, access }
    }

    /// Makes routes accept requests with a prefix as well.
    pub(crate) fn wrap(self, routes: Router) -> Router {
        if self.given.is_empty() && !self.access.is_hidden() {
            return routes;
        }
        let take = move |mut request: Request| {
            self.take(&mut request);
            std::future::ready(request)
        };
        Router::new().fallback_service(middleware::map_request(take).layer(routes))
    }

    /// Removes the prefix from the path of a request. A valid token's prefix is attached to the request; an
    /// outdated one redirects to the sign-in.
    fn take(&self, request: &mut Request) {
        if !self.access.is_hidden() {
            if let Some(rest) = self.given.below(request.uri()) {
                *request.uri_mut() = rest;
            }
            return;
        }
        let name = request.uri().path().split('/').nth(1).filter(|name| Below::is_name(name));
        let Some((base, below)) = name.map(|name| (BasePath::of(name), self.access.below(name))) else { return };
        if let Some(rest) = base.below(request.uri()) {
            *request.uri_mut() = rest;
            if let Some(below) = below {
                request.extensions_mut().insert(below);
            }
        }
    }
}

/// Adds the prefix to all paths in a response.
pub(super) async fn put_below(State(paths): State<PagePaths>, request: Request, next: Next) -> Response {
    let asked = request.extensions().get::<Below>().cloned();
    let (mut parts, body) = next.run(request).await.into_parts();
    // A user who has just signed in is redirected below that token's prefix.
    let below = parts.extensions.remove::<Below>().or(asked).filter(|_| paths.access.is_hidden());
    let base = below.map_or(paths.given, |below| BasePath::of(below.name()));
    if base.is_empty() {
        return Response::from_parts(parts, body);
    }
    if let Some(to) = parts.headers.get(header::LOCATION).filter(|to| to.as_bytes().starts_with(b"/"))
        && let Some(to) = base.of_header(to, "")
    {
        parts.headers.insert(header::LOCATION, to);
    }
    let cookies: Vec<HeaderValue> = parts.headers.get_all(header::SET_COOKIE).iter().cloned().collect();
    parts.headers.remove(header::SET_COOKIE);
    for cookie in cookies {
        let below = base.of_header(&cookie, "; Path=").unwrap_or(cookie);
        parts.headers.append(header::SET_COOKIE, below);
    }
    let is_page = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_page {
        return Response::from_parts(parts, body);
    }
    // Pages are complete in memory, so that this reads a bounded body.
    match to_bytes(body, usize::MAX).await.map(|bytes| String::from_utf8(bytes.into())) {
        Ok(Ok(page)) => {
            parts.headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(base.of_page(&page)))
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::HttpOptions;
    use axum::response::{AppendHeaders, Html, Redirect};
    use axum::routing::get;
    use tower::ServiceExt;

    fn base() -> BasePath {
        "/ops/mill/".parse().unwrap()
    }

    #[tokio::test]
    async fn requests_are_taken_with_the_path_and_without() {
        let mut options = HttpOptions::default();
        options.http_base_path = base();
        let paths = PagePaths::new(base(), Access::of_plain("secret", &options));
        let page = || async {
            let cookies = AppendHeaders([
                (header::SET_COOKIE, "a=1; Path=/ui/; HttpOnly"),
                (header::SET_COOKIE, "b=2; Path=/; HttpOnly"),
            ]);
            (cookies, Html(r#"<a href="/ui/runs">"#))
        };
        let routes = Router::new()
            .route("/ui/", get(page))
            .route("/", get(|| async { Redirect::to("/ui/") }))
            .layer(middleware::from_fn_with_state(paths.clone(), put_below));
        let routes = paths.wrap(routes);
        for path in ["/ui/?a=b", "/ops/mill/ui/?a=b"] {
            let answer = routes.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            let cookies: Vec<_> = answer.headers().get_all(header::SET_COOKIE).iter().cloned().collect();
            assert_eq!(cookies, ["a=1; Path=/ops/mill/ui/; HttpOnly", "b=2; Path=/ops/mill/; HttpOnly"]);
            let body = to_bytes(answer.into_body(), 1000).await.unwrap();
            assert_eq!(body, r#"<a href="/ops/mill/ui/runs">"#.as_bytes());
        }
        for (path, status) in [("/ops/mill", 303), ("/ops/mill/", 303), ("/", 303), ("/ops/miller/ui/", 404)] {
            let answer = routes.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{path}");
            let to = answer.headers().get(header::LOCATION).map(|to| to.to_str().unwrap());
            assert!(status == 404 || to == Some("/ops/mill/ui/"), "{path}: {to:?}");
        }
    }

    #[tokio::test]
    async fn a_path_of_a_token_is_told_to_nobody_else() {
        let access = Access::of_plain("secret", &HttpOptions::default());
        let begun = access.begin_session("secret", std::net::Ipv4Addr::LOCALHOST.into()).unwrap();
        let name = begun.below.name().to_owned();
        let paths = PagePaths::new(BasePath::default(), access.clone());
        let tell = |request: Request| async move {
            let known = request.extensions().get::<Below>().map(|below| below.name().to_owned());
            let text = format!("{} {}", request.uri(), known.unwrap_or_default());
            ([(header::SET_COOKIE, "a=1; Path=/; HttpOnly")], Html(format!(r#"{text} <a href="/ui/runs">"#)))
        };
        let enter = move || std::future::ready((axum::Extension(begun.below.clone()), Redirect::to("/ui/runs")));
        let routes = Router::new().route("/ui/", get(tell)).route("/ui/enter", get(enter));
        let routes = paths.clone().wrap(routes.layer(middleware::from_fn_with_state(paths, put_below)));
        let ask = |path: String| routes.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
        let other = "0123456789abcdef0123456789abcdef";
        for (path, base) in [
            ("/ui/?x=1".to_owned(), String::new()),
            (format!("/{other}/ui/?x=1"), String::new()),
            (format!("/{name}/ui/?x=1"), format!("/{name}")),
        ] {
            let answer = ask(path).await.unwrap();
            let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
            assert_eq!(cookie, format!("a=1; Path={base}/; HttpOnly"));
            let body = String::from_utf8(to_bytes(answer.into_body(), 1000).await.unwrap().into()).unwrap();
            assert_eq!(body, format!(r#"/ui/?x=1 {} <a href="{base}/ui/runs">"#, base.trim_start_matches('/')));
        }
        let answer = ask("/ui/enter".to_owned()).await.unwrap();
        assert_eq!(answer.headers()[header::LOCATION].to_str().unwrap(), format!("/{name}/ui/runs"));
        let double = ask(format!("/{name}/{name}/ui/")).await.unwrap();
        assert_eq!(double.status(), StatusCode::NOT_FOUND);
    }
}
