//! Path below which a proxy shows the scheduler, and what leads there.

use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Uri};
use std::str::FromStr;
use std::sync::Arc;

/// Limit of a prefix, in bytes.
const MAX_BYTES: usize = 200;

/// HTML attributes that contain paths. Text cannot contain their quotes, since templates escape them.
const LEADING: [&str; 3] = [r#"href="/"#, r#"action="/"#, r#"src="/"#];

/// Path prefix of a proxy, such as `/millwork`; empty at the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(Arc<str>);

impl FromStr for BasePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.trim_end_matches('/');
        let is_part = |part: &str| {
            !part.is_empty()
                && !part.bytes().all(|byte| byte == b'.')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
        };
        let is_path = path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_part));
        match path.is_empty() || is_path && path.len() <= MAX_BYTES {
            true => Ok(Self(path.into())),
            false => Err(format!(
                "`{text}` is no path to stand below: write /NAME or /NAME/NAME, of letters, digits, `-`, `.`, `_` and `~`, with at \
                 most {MAX_BYTES} bytes"
            )),
        }
    }
}

impl BasePath {
    /// Prefix of a single name.
    pub(crate) fn of(name: &str) -> Self {
        Self(format!("/{name}").into())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// URI without this prefix, if it starts with it.
    pub(crate) fn below(&self, uri: &Uri) -> Option<Uri> {
        let given = uri.path_and_query()?.as_str();
        let rest = given.strip_prefix(&*self.0)?;
        let rest = match rest.as_bytes().first() {
            Some(b'/') => rest.to_owned(),
            None | Some(b'?') => format!("/{rest}"),
            Some(_) => return None,
        };
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(rest.parse::<PathAndQuery>().ok()?);
        Uri::from_parts(parts).ok()
    }

    /// Adds the prefix to a header value with a path, such as a redirect, or the path of a cookie.
    pub(crate) fn of_header(&self, value: &HeaderValue, before: &str) -> Option<HeaderValue> {
        let (lead, rest) = value.to_str().ok()?.split_once(before)?;
        HeaderValue::from_str(&format!("{lead}{before}{}{rest}", self.0)).ok()
    }

    pub(crate) fn of_page(&self, page: &str) -> String {
        LEADING.iter().fold(page.to_owned(), |page, leading| {
            let with = format!("{}{}/", leading.trim_end_matches('/'), self.0);
            page.replace(leading, &with)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> BasePath {
        "/ops/mill/".parse().unwrap()
    }

    #[test]
    fn a_path_is_of_plain_names() {
        assert_eq!("".parse::<BasePath>().unwrap(), BasePath::default());
        assert_eq!("/".parse::<BasePath>().unwrap(), BasePath::default());
        assert_eq!(&*base().0, "/ops/mill");
        let long = format!("/{}", "x".repeat(MAX_BYTES));
        for bad in ["mill", "//evil", "/a//b", "/a/../b", "/a b", "/a\"b", "/a?b", "/a;b", &long] {
            assert!(bad.parse::<BasePath>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_leads_somewhere_changes() {
        let page = r#"<a href="/ui/" data-href="/ui/x"><form action="/ui/plans"><input name="back" value="/ui/runs">"#;
        let with = r#"<a href="/ops/mill/ui/" data-href="/ops/mill/ui/x"><form action="/ops/mill/ui/plans"><input name="back" value="/ui/runs">"#;
        assert_eq!(base().of_page(page), with);
        let text = "&quot; href=&quot;/ui/ <a href=\"#page\">";
        assert_eq!(base().of_page(text), text);
    }
}
