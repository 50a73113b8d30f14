//! Processes of a user without rights, where tests run as one who has all.

use crate::place::{Done, Place, binary};
use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The user `nobody`, and its group.
const NOBODY: u32 = 65534;

/// Whether this process may become another user.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Gives all that is in a place to the user without rights.
pub(crate) fn give_away(place: &Place) {
    if is_root() {
        give(place.root.path());
    }
}

/// Gives one file or directory to the user without rights. Says whether it could.
pub(crate) fn give_alone(path: &Path) -> bool {
    is_root() && chown(path, Some(NOBODY), Some(NOBODY)).is_ok()
}

fn give(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if !path.is_symlink() && path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
    }
}

/// Gives a file or directory to root, if tests run as that.
pub(crate) fn take(path: &Path) {
    if is_root() {
        chown(path, Some(0), Some(0)).unwrap();
    }
}

/// The command as the user without rights.
pub(crate) fn unprivileged(command: &Command) -> Command {
    if !is_root() {
        let mut same = Command::new(command.get_program());
        same.args(command.get_args()).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        return same;
    }
    let mut other = Command::new("setpriv");
    other.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    other.arg(within_reach(command.get_program())).args(command.get_args());
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other
}

/// `millwork run` as the user without rights.
pub(crate) fn run(place: &Place, arguments: &[&str]) -> Done {
    Done::of(unprivileged(&place.run_command(arguments)).output().unwrap())
}

/// The program where the user without rights can execute it: where it is, or else a copy.
fn within_reach(program: &OsStr) -> PathBuf {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    let mut look = Command::new("setpriv");
    look.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "test", "-x"]).arg(program);
    if look.status().is_ok_and(|status| status.success()) || program != binary("millwork") {
        return program.into();
    }
    let copied = || {
        let directory = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir().unwrap().keep();
        let copy = directory.join("millwork");
        std::fs::copy(program, &copy).unwrap();
        copy
    };
    COPY.get_or_init(copied).clone()
}
