//! Form bodies, accepted only by the pages.

use crate::api::ApiError;
use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::header;
use millwork_api::ErrorCode;
use std::time::Duration;

/// Limit of a form's body, in bytes: room for 1,000 run ids.
const MAX_FORM_BYTES: usize = 512 * 1024;
/// Time limit for receiving a body.
const FORM_TIME: Duration = Duration::from_secs(10);

/// Fields of a form, in order.
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// First value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a field.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        Self::read(request, MAX_FORM_BYTES, FORM_TIME).await
    }
}

impl Form {
    /// Reads a form of at most `most` bytes within a time limit.
    pub(super) async fn read(request: Request, most: usize, time: Duration) -> Result<Self, ApiError> {
        let given =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = given.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Err(ApiError::new(
                ErrorCode::WrongContentType,
                "send the body as a form: `application/x-www-form-urlencoded`",
            ));
        }
        let read = tokio::time::timeout(time, to_bytes(request.into_body(), most)).await;
        let late = || ApiError::new(ErrorCode::SlowBody, format!("the form did not come within {} s", time.as_secs()));
        let body: Bytes = read.map_err(|_| late())?.map_err(|_| {
            ApiError::new(ErrorCode::TooLarge, format!("the form has more than {most} bytes, or broke off"))
        })?;
        Ok(Self(url::form_urlencoded::parse(&body).into_owned().collect()))
    }
}

/// Path of the UI to return to; anything else becomes the overview, to prevent redirects to other sites.
pub(super) fn back(given: Option<&str>) -> &str {
    let leads_on = |path: &&str| {
        path.starts_with("/ui/")
            && !path.contains("//")
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    given.filter(leads_on).unwrap_or("/ui/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_leads_out() {
        assert_eq!(back(Some("/ui/runs?state=failed&date=2025-12-23")), "/ui/runs?state=failed&date=2025-12-23");
        for out in [
            "//evil.example",
            "https://evil.example",
            "/ui//evil.example",
            "/ui/\\evil",
            "/ui/\r\nx: y",
            "/api/v1/runs",
            "javascript:x",
            "",
        ] {
            assert_eq!(back(Some(out)), "/ui/", "{out}");
        }
    }
}
