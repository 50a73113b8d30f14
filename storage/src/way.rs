//! Checks that no other user controls the path to a file that is about to be written.
//!
//! In a world-writable directory such as `/tmp`, another user can create a link or a directory under a name first,
//! and so redirect or keep what is written there. Many systems refuse such links themselves (`fs.protected_symlinks`),
//! but not all, and none refuses directories.

use crate::anchor::{Anchored, is_same};
use crate::modes::DIRECTORY_MODE;
use millwork_manifest::effective_user;
use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

/// Limit of links in one path, as in Linux.
const MAX_LINKS: usize = 40;
/// Mode bit by which everybody may write to a directory.
const FOR_EVERYBODY: u32 = 0o002;
/// User id of root, who may do anything anyway.
const ROOT: u32 = 0;

/// Kinds of path components that are refused if another user created them in a world-writable directory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refused {
    Links,
    Everything,
}

/// Refuses a path with a link that another user created in a world-writable directory. The check ends at the first
/// missing component.
pub(crate) fn check_links(path: &Path) -> io::Result<()> {
    walk(path, Refused::Links)
}

/// Refuses a path with any component that another user created in a world-writable directory. The check ends at the
/// first missing component.
pub fn check_way(path: &Path) -> io::Result<()> {
    walk(path, Refused::Everything)
}

/// Creates a directory and its parents where missing. Refused if another user could redirect the path.
pub fn create_directories(path: &Path) -> io::Result<()> {
    make_directories(path)?;
    // Checked again after the creation, since another user may have been faster.
    check_way(path)
}

/// Creates directories as [`create_directories`] does, but leaves the check afterwards to the caller.
fn make_directories(path: &Path) -> io::Result<()> {
    check_way(path)?;
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

/// Creates a directory if missing, and keeps it open: files written through [`Anchored::lasting_name`] go to the very
/// directory that was checked, whatever its name leads to by then.
pub(crate) fn enter(directory: &Path) -> io::Result<Anchored> {
    make_directories(directory)?;
    let held = Anchored::of(directory)?;
    check_way(directory)?;
    match is_same(&fs::metadata(directory)?, held.metadata()) {
        true => Ok(held),
        false => Err(ErrorKind::StaleNetworkFileHandle.into()),
    }
}

/// Opens a file for reading that must not be a link. Does not block on a pipe in its place.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Resolves a path from the root, link by link.
fn walk(path: &Path, refused: Refused) -> io::Result<()> {
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    let mut left = parts(&std::path::absolute(path)?);
    while let Some(part) = left.pop_front() {
        let next = match part.as_path() {
            part if part == Path::new("..") => {
                at.pop();
                continue;
            }
            part if part.is_absolute() => PathBuf::from("/"),
            part => at.join(part),
        };
        let found = match fs::symlink_metadata(&next) {
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
            found => found?,
        };
        if refused == Refused::Everything || found.is_symlink() {
            check_owner(&next, &found, &fs::symlink_metadata(&at)?)?;
        }
        if !found.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(io::Error::from_raw_os_error(libc::ELOOP));
        }
        let mut target = parts(&fs::read_link(&next)?);
        target.append(&mut left);
        left = target;
    }
    Ok(())
}

fn parts(path: &Path) -> VecDeque<PathBuf> {
    let parts = path.components().filter(|part| !matches!(part, Component::CurDir | Component::Prefix(_)));
    parts.map(|part| PathBuf::from(part.as_os_str())).collect()
}

/// Refuses a component of a world-writable directory that belongs to a user other than this one, root or the
/// directory's owner.
fn check_owner(path: &Path, found: &Metadata, directory: &Metadata) -> io::Result<()> {
    let (user, owner) = (effective_user(), found.uid());
    if [user, ROOT, directory.uid()].contains(&owner) || directory.mode() & FOR_EVERYBODY == 0 {
        return Ok(());
    }
    let kind = match found {
        found if found.is_symlink() => "link",
        found if found.is_dir() => "directory",
        _ => "file",
    };
    let message = format!(
        "`{}` is a {kind} of user {owner}, put where everybody may write: whoever it is could lead elsewhere what user {user} reads and \
         writes there; remove it, or name another place",
        path.display()
    );
    Err(io::Error::new(ErrorKind::PermissionDenied, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};

    /// Id of a user who owns nothing.
    const NOBODY: u32 = 65_534;

    #[test]
    fn a_way_ends_where_nothing_is_and_links_of_the_user_are_followed() {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().join("real");
        fs::create_dir(&real).unwrap();
        symlink("real", root.path().join("link")).unwrap();
        symlink("loop", root.path().join("loop")).unwrap();
        check_way(&root.path().join("link/not/there")).unwrap();
        assert_eq!(check_way(&root.path().join("loop")).unwrap_err().raw_os_error(), Some(libc::ELOOP));
        let held = enter(&root.path().join("link/a")).unwrap();
        fs::rename(real.join("a"), real.join("b")).unwrap();
        fs::write(held.lasting_name().join("x"), "").unwrap();
        #[cfg(target_os = "linux")]
        assert!(real.join("b/x").exists(), "it is written where it was entered");
    }

    #[test]
    fn what_another_user_has_put_where_everybody_may_write_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let shared = root.path().join("shared");
        fs::create_dir_all(shared.join("directory")).unwrap();
        symlink(root.path(), shared.join("link")).unwrap();
        symlink(shared.join("link"), root.path().join("to link")).unwrap();
        if lchown(shared.join("link"), Some(NOBODY), None).is_err() {
            return;
        }
        lchown(shared.join("directory"), Some(NOBODY), None).unwrap();
        check_way(&shared.join("link/a")).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
        for path in [shared.join("link/a"), root.path().join("to link/a")] {
            for error in [check_links(&path).unwrap_err(), check_way(&path).unwrap_err(), enter(&path).err().unwrap()] {
                assert!(error.to_string().contains("is a link of user 65534"), "{error}");
            }
        }
        assert!(!root.path().join("a").exists());
        check_links(&shared.join("directory/a")).unwrap();
        let error = enter(&shared.join("directory/a")).err().unwrap();
        assert!(error.to_string().contains("is a directory of user 65534"), "{error}");
        lchown(&shared, Some(NOBODY), None).unwrap();
        check_way(&shared.join("directory/a")).unwrap();
    }
}
