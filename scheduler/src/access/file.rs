//! Token file created by an operator.

use super::set::{MAX_FILE_BYTES, TokenSet};
use millwork_storage::check_way;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Mode bits that grant access to users other than owner and group. The group may read: a Secret mounted by Kubernetes
/// belongs to root and the group of the process, with mode 0440 or 0640.
const OTHERS: u32 = 0o007;
/// Mode bits that let users other than the owner write, as checked by `StrictModes` of OpenSSH: members of the group
/// are defined elsewhere, and may change.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// Reads a token file, which only its owner may be able to write. Hashes may be readable by anybody, but a token in
/// plain text only by the owner and its group.
pub(crate) fn read_token_set(path: &Path) -> anyhow::Result<TokenSet> {
    check_way(path)?;
    // Without O_NONBLOCK, opening a pipe would block.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    anyhow::ensure!(metadata.is_file(), "it is no regular file: name one");
    let mode = metadata.mode();
    anyhow::ensure!(
        mode & WRITTEN_BY_OTHERS == 0,
        "it has mode {:04o}, and {} can add a token to it: give it mode 0600, or 0640 if its group is to read it",
        mode & 0o7777,
        if mode & 0o002 == 0 { "whoever is of its group" } else { "every user of this machine" }
    );
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
        let record = serde_json::to_string(&record).unwrap();
        assert!(read(&record, 0o644).is_ok());
        let error = read(&record, 0o646).unwrap_err();
        assert!(error.contains("mode 0646") && error.contains("every user of this machine can add a token"), "{error}");
        for mode in [0o420, 0o620, 0o660, 0o664] {
            for content in [&record, &token] {
                let error = read(content, mode).unwrap_err();
                let is_told = error.contains("whoever is of its group can add a token") && error.contains("0640");
                assert!(is_told && error.contains(&format!("mode 0{mode:o}")), "{error}");
            }
        }
    }
}
