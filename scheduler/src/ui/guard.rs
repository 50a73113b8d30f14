//! Guard of the pages: lets in whoever has a session or shows a token.

use super::sign_in;
use crate::api::{Access, check_same_site};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use millwork_api::ErrorCode;
use millwork_ui::parts::link;

/// Refuses requests for foreign host names, and requests caused by foreign pages.
pub(super) async fn check_page(State(access): State<Access>, request: Request, next: Next) -> Response {
    let refused = access.check_host(&request).and_then(|()| check_same_site(request.method(), request.headers()));
    match refused {
        Err(error) => error.into_response(),
        Ok(()) => next.run(request).await,
    }
}

/// Admits requests with a session or a token; others are redirected to the sign-in, and back afterwards.
pub(super) async fn let_in(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    match access.find_caller(&request) {
        Ok(caller) => {
            let asked = (!request.method().is_safe()).then(|| request.uri().path().to_owned());
            let id = caller.id.clone();
            request.extensions_mut().insert(caller);
            let answer = next.run(request).await;
            if let Some(path) = asked {
                tracing::info!(token = %id, path, status = answer.status().as_u16(), "was asked for a change by a page");
            }
            answer
        }
        Err(error) if error.detail().code == ErrorCode::Unauthorized => {
            let back = match request.method().is_safe() {
                true => request.uri().path_and_query().map_or("/ui/", |path| path.as_str()),
                false => "/ui/",
            };
            Redirect::to(&link::query(sign_in::PATH, &[("back", Some(back))])).into_response()
        }
        Err(error) => error.into_response(),
    }
}
