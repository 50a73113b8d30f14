//! Who may ask.

use super::error::ApiError;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::Arc;

/// What clients must show, if anything.
#[derive(Clone)]
pub(super) struct Token(Option<Arc<str>>);

impl Token {
    pub(super) fn new(token: Option<String>) -> Self {
        Self(token.map(Into::into))
    }
}

/// Whether the API may listen here: beyond this machine only with a token, or where the operator takes the risk.
pub fn check_listen(address: SocketAddr, has_token: bool, insecure: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        address.ip().is_loopback() || has_token || insecure,
        "refusing to listen on {address}, which others can reach, without a token: set MILLWORK_TOKEN or \
         --token-file, or take the risk with --insecure"
    );
    Ok(())
}

pub(super) async fn check_token(State(Token(token)): State<Token>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    match token {
        Some(token) if !given.is_some_and(|given| same(given.as_bytes(), token.as_bytes())) => {
            let error = ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send the header `Authorization: Bearer TOKEN`",
            );
            ([(header::WWW_AUTHENTICATE, "Bearer")], error).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Compares in a time that does not depend on where the texts differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
