//! Values read from files, and reloaded when the files change.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Least interval between checks of the files; bounds the number of system calls, and the delay until a change is
/// noticed.
const LOOK: Duration = Duration::from_secs(1);

/// A value from files that may change while it is used, such as certificates. The files are checked when the value is
/// requested, at most once a second; links are followed, so that the replacement of a whole directory is noticed. If
/// the new files are invalid, the value is kept, and the error logged.
pub struct Watched<T> {
    /// Name of the value in the log.
    name: &'static str,
    paths: Vec<PathBuf>,
    load: Load<T>,
    state: Mutex<State<T>>,
}

type Load<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

struct State<T> {
    value: Arc<T>,
    marks: Vec<Option<Mark>>,
    looked: Instant,
}

/// Attributes of a file that change with its content: device, inode, size, change time in seconds and nanoseconds.
type Mark = (u64, u64, u64, i64, i64);

impl<T> Watched<T> {
    /// Loads the value for the first time.
    pub fn open<E: Display>(
        name: &'static str,
        paths: Vec<PathBuf>,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Read before the content, so that a write in between is noticed at the next check.
        let marks = marks(&paths);
        let state = State { value: Arc::new(load()?), marks, looked: Instant::now() };
        let load = Box::new(move || load().map_err(|error| error.to_string()));
        Ok(Self { name, paths, load, state: Mutex::new(state) })
    }

    /// Current value.
    pub fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK {
            state.looked = Instant::now();
            self.look(&mut state);
        }
        state.value.clone()
    }

    /// Checks the files now, regardless of the interval.
    #[cfg(test)]
    pub(crate) fn look_now(&self) {
        self.look(&mut self.state.lock().unwrap());
    }

    fn look(&self, state: &mut State<T>) {
        let marks = marks(&self.paths);
        if marks == state.marks {
            return;
        }
        state.marks = marks;
        match (self.load)() {
            Ok(value) => {
                state.value = Arc::new(value);
                tracing::info!(files = ?self.paths, "{} have changed and are in use", self.name);
            }
            Err(error) => {
                tracing::error!(%error, "{} have changed, but cannot be used; the ones before stay in use", self.name);
            }
        }
    }
}

fn marks(paths: &[PathBuf]) -> Vec<Option<Mark>> {
    let mark = |path: &Path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
    };
    paths.iter().map(|path| mark(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_read_again_and_bad_ones_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let read = path.clone();
        let load = move || {
            let text = std::fs::read_to_string(&read).map_err(|e| e.to_string())?;
            text.parse::<u32>().map_err(|e| e.to_string())
        };
        let number = Watched::open("numbers", vec![path.clone()], load).unwrap();
        let look = || {
            number.look_now();
            *number.current()
        };
        assert_eq!(look(), 1);
        std::fs::write(&path, "22").unwrap();
        assert_eq!(look(), 22);
        std::fs::write(&path, "none").unwrap();
        assert_eq!(look(), 22);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(look(), 22);
        let other = directory.path().join("other");
        std::fs::write(&other, "3").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(look(), 3);
    }

    #[test]
    fn a_directory_that_is_exchanged_by_its_link_is_seen() {
        let root = tempfile::tempdir().unwrap();
        let in_root = |name: &str| root.path().join(name);
        for (version, text) in [("v1", "1"), ("v2", "2")] {
            std::fs::create_dir(in_root(version)).unwrap();
            std::fs::write(in_root(version).join("n"), text).unwrap();
        }
        std::os::unix::fs::symlink("v1", in_root("data")).unwrap();
        let path = in_root("data").join("n");
        let read = path.clone();
        let watched = Watched::open("numbers", vec![path], move || std::fs::read_to_string(&read)).unwrap();
        assert_eq!(*watched.current(), "1");
        std::os::unix::fs::symlink("v2", in_root("data.new")).unwrap();
        std::fs::rename(in_root("data.new"), in_root("data")).unwrap();
        watched.look_now();
        assert_eq!(*watched.current(), "2");
    }
}
