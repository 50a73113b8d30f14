//! Addresses of files as people type them: a URI, or a path.

use millwork_manifest::ObjectUri;
use millwork_storage::absolute;
use std::path::{Component, Path};

/// Parses a file's URI or its path, for options. The file need not be there.
pub(crate) fn parse_uri(text: &str) -> Result<ObjectUri, String> {
    if text.contains("://") {
        return text.parse().map_err(|e: millwork_manifest::InvalidUri| e.to_string());
    }
    let path = absolute(Path::new(text)).map_err(|e| e.to_string())?;
    ObjectUri::from_path(&path).map_err(|e| e.to_string())
}

/// Parses the beginning of URIs: a URI or a beginning of one, or a path, which is made absolute.
pub(crate) fn parse_prefix(text: &str) -> Result<String, String> {
    let is_begun = |scheme: &str| scheme.starts_with(text) || text.starts_with(scheme);
    if ["file://", "s3://"].into_iter().any(is_begun) {
        return Ok(text.to_owned());
    }
    let is_directory =
        text.ends_with('/') || matches!(Path::new(text).components().next_back(), Some(Component::CurDir));
    let uri = parse_uri(text)?;
    Ok(format!("{}{}", uri.as_str().trim_end_matches('/'), if is_directory { "/" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_of_uris_stays_and_a_path_becomes_one() {
        for kept in ["", "s3", "s3://acme-input/f1/", "file:///data/in", "file:"] {
            assert_eq!(parse_prefix(kept).unwrap(), kept);
        }
        assert_eq!(parse_prefix("/data/in/").unwrap(), "file:///data/in/");
        assert_eq!(parse_prefix("/data/in/2025-12").unwrap(), "file:///data/in/2025-12");
        let here = ObjectUri::from_path(&std::env::current_dir().unwrap()).unwrap();
        assert_eq!(parse_prefix(".").unwrap(), format!("{here}/"));
    }
}
