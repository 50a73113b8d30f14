//! Static files that pages refer to: scripts, style sheet and icons. Their paths contain a hash of their content.

use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// Static file that is compiled into the binary.
pub struct Asset {
    /// Name of the file in paths.
    pub name: &'static str,
    /// Media type of the file.
    pub content_type: &'static str,
    /// Content of the file.
    pub content: &'static [u8],
}

macro_rules! asset {
    ($path:literal, $name:literal, $content_type:literal) => {
        Asset { name: $name, content_type: $content_type, content: include_bytes!(concat!("../assets/", $path)) }
    };
}

/// All static files.
pub static ALL: [Asset; 6] = [
    asset!("app.css", "app.css", "text/css; charset=utf-8"),
    asset!("app.js", "app.js", "text/javascript; charset=utf-8"),
    asset!("vendor/htmx.min.js", "htmx.min.js", "text/javascript; charset=utf-8"),
    asset!("favicon-ok.svg", "favicon-ok.svg", "image/svg+xml"),
    asset!("favicon-warn.svg", "favicon-warn.svg", "image/svg+xml"),
    asset!("favicon-bad.svg", "favicon-bad.svg", "image/svg+xml"),
];

/// Hash of all files, part of their paths: browsers can cache files forever and never use those of another version.
static HASH: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for asset in &ALL {
        hash.update(asset.content);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
});

/// Path of a static file.
pub fn path(name: &str) -> String {
    format!("/ui/assets/{}/{name}", *HASH)
}

/// File named by the last two segments of a path; none if the hash is of another version.
pub fn find(hash: &str, name: &str) -> Option<&'static Asset> {
    ALL.iter().find(|asset| asset.name == name && hash == *HASH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendored_script_is_that_of_the_readme() {
        let readme = include_str!("../assets/vendor/README.md");
        let asset = ALL.iter().find(|asset| asset.name == "htmx.min.js").unwrap();
        let hash: String = Sha256::digest(asset.content).iter().map(|byte| format!("{byte:02x}")).collect();
        let line = readme.lines().find(|line| line.starts_with("| `htmx.min.js`")).unwrap();
        assert!(line.contains(&hash), "it has the hash {hash}");
    }

    #[test]
    fn nothing_of_them_comes_from_elsewhere() {
        for asset in ALL.iter().filter(|asset| asset.name.starts_with("app.")) {
            let text = std::str::from_utf8(asset.content).unwrap();
            for banned in ["http:", "https:", "//cdn", "@import", "eval(", "hx-on", "innerHTML"] {
                assert!(!text.contains(banned), "{}: {banned}", asset.name);
            }
        }
        let script = ALL.iter().find(|asset| asset.name == "app.js").unwrap().content;
        assert!(script.iter().filter(|byte| **byte == b'\n').count() < 340);
    }

    #[test]
    fn a_path_leads_to_its_file_only() {
        let given = path("app.css");
        let mut parts = given.rsplit('/');
        let (name, hash) = (parts.next().unwrap(), parts.next().unwrap());
        assert!(find(hash, name).is_some());
        assert!(find("0000000000000000", name).is_none() && find(hash, "../Cargo.toml").is_none());
    }
}
