//! Addresses of files as people type them: a URI, or a path.

use millwork_manifest::ObjectUri;
use millwork_storage::absolute;
use std::path::Path;

/// Parses a file's URI or its path, for options. The file need not be there.
pub(crate) fn parse_uri(text: &str) -> Result<ObjectUri, String> {
    if text.contains("://") {
        return text.parse().map_err(|e: millwork_manifest::InvalidUri| e.to_string());
    }
    let path = absolute(Path::new(text)).map_err(|e| e.to_string())?;
    ObjectUri::from_path(&path).map_err(|e| e.to_string())
}

/// Parses the beginning of URIs: a URI, or a path, which is made absolute.
pub(crate) fn parse_prefix(text: &str) -> Result<String, String> {
    if text.contains("://") {
        return Ok(text.to_owned());
    }
    let end = if text.ends_with('/') { "/" } else { "" };
    parse_uri(text).map(|uri| format!("{}{end}", uri.as_str().trim_end_matches('/')))
}
