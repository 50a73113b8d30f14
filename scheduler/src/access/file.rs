//! The file of tokens that an operator made.

use super::set::{MAX_FILE_BYTES, TokenSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bits of a file's mode that let those in who are neither its owner nor of its group. A group may read: a mounted Secret of
/// Kubernetes belongs to root, and to the group of the process.
const OTHERS: u32 = 0o007;

/// Reads a file of tokens. Hashes may be seen by anybody; a token that is written as such may not.
pub(crate) fn read_token_set(path: &Path) -> anyhow::Result<TokenSet> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    let mut text = String::new();
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_string(&mut text)?;
    let set = TokenSet::parse(&text)?;
    anyhow::ensure!(
        !set.has_plain() || mode & OTHERS == 0,
        "it has mode {:04o} and holds a token as such, which every user of this machine can then read: give it mode 0600, or \
         keep a record there, as `millwork token new --file` writes it",
        mode & 0o7777
    );
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::super::{NewToken, Role};
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_token_that_others_can_read_is_refused_and_its_hash_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |content: &str, mode: u32| {
            std::fs::write(file.path(), content).unwrap();
            set_permissions(file.path(), Permissions::from_mode(mode)).unwrap();
            read_token_set(file.path()).map_err(|error| error.to_string())
        };
        let token = "0".repeat(32);
        for mode in [0o400, 0o440, 0o600, 0o640] {
            assert!(read(&token, mode).is_ok(), "{mode:o}");
        }
        for mode in [0o604, 0o644, 0o602] {
            let error = read(&token, mode).unwrap_err();
            assert!(error.contains(&format!("mode 0{mode:o}")) && error.contains("0600"), "{error}");
        }
        let record = NewToken::new("ci".parse().unwrap(), Role::Admin, None).unwrap().record;
        assert!(read(&serde_json::to_string(&record).unwrap(), 0o644).is_ok());
    }
}
