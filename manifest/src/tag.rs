//! Entity tags, which identify content.

use crate::ObjectUri;

/// Entity tag of a local file: its size, inode and modification time in nanoseconds, so that both rewriting and
/// replacing the file change it.
pub fn local_tag(size_bytes: u64, inode: u64, modified_nanoseconds: i128) -> String {
    format!("{size_bytes:x}-{inode:x}-{modified_nanoseconds:x}")
}

/// Entity tag without the quotes and the weak mark of HTTP, which events and listings lack.
pub fn bare_tag(tag: &str) -> &str {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    tag.trim_matches('"')
}

/// Tells whether a file was restored, as from a backup: a local file with another inode, but the same size and
/// modification time.
pub fn is_restored(uri: &ObjectUri, known: &str, found: &str) -> bool {
    let parts = |tag: &str| {
        let mut parts = tag.split('-').map(str::to_owned);
        Some((parts.next()?, parts.next()?, parts.next()?)).filter(|_| parts.next().is_none())
    };
    let is_local = uri.to_path().is_some();
    is_local
        && parts(known).zip(parts(found)).is_some_and(|((size, inode, at), (size_now, inode_now, at_now))| {
            size == size_now && at == at_now && inode != inode_now
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_weakness_are_no_part_of_a_tag() {
        for tag in ["\"abc-2\"", "abc-2", "W/\"abc-2\"", " \"abc-2\" "] {
            assert_eq!(bare_tag(tag), "abc-2");
        }
    }

    #[test]
    fn a_restored_file_has_another_inode_and_nothing_else() {
        let local = "/in/a.ndjson".parse().unwrap();
        let tag = local_tag(7, 100, 1_700_000_000_123_456_789);
        assert!(is_restored(&local, &tag, &local_tag(7, 101, 1_700_000_000_123_456_789)));
        for other in [tag.clone(), local_tag(8, 101, 1_700_000_000_123_456_789), local_tag(7, 101, 1), String::new()] {
            assert!(!is_restored(&local, &tag, &other), "{other}");
        }
        assert!(!is_restored(&"s3://in/a".parse().unwrap(), "a-b-c", "a-d-c"));
    }
}
