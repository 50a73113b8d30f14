//! Tests of moves that cannot be completed, and of moves that were interrupted.

use super::*;
use std::os::unix::fs::MetadataExt;

/// A private file on another file system than temporary directories, if there is one.
fn elsewhere() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn is_elsewhere(a: &Path, b: &Path) -> bool {
    fs::metadata(a).unwrap().dev() != fs::metadata(b).unwrap().dev()
}

struct Ground {
    input: tempfile::TempDir,
    file: PathBuf,
    uri: ObjectUri,
    etag: String,
}

impl Ground {
    fn new() -> Self {
        let input = tempfile::tempdir().unwrap();
        let file = input.path().canonicalize().unwrap().join("a.ndjson");
        fs::write(&file, "content").unwrap();
        let etag = identity(&fs::metadata(&file).unwrap());
        Self { uri: ObjectUri::from_path(&file).unwrap(), input, file, etag }
    }

    fn names(&self) -> Vec<String> {
        names(self.input.path())
    }
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_move_to_another_file_system_is_whole_and_leaves_nothing() {
    let (ground, quarantine) = (Ground::new(), elsewhere());
    assert!(is_elsewhere(ground.input.path(), quarantine.path()), "one file system: nothing is tested");
    let to = quarantine.path().join("deep/a.ndjson");
    move_object(&ground.uri, &to, &ground.etag).unwrap();
    assert_eq!((fs::read(&to).unwrap(), names(to.parent().unwrap())), (b"content".to_vec(), vec!["a.ndjson".into()]));
    assert!(ground.names().is_empty());
}

#[test]
fn a_move_that_died_after_its_copy_goes_on_and_leaves_one() {
    let (ground, quarantine) = (Ground::new(), elsewhere());
    let to = quarantine.path().join("a.ndjson");
    // Half of a copy under its private name, as left by a crash.
    fs::write(quarantine.path().join(private_name(&ground.uri)), "con").unwrap();
    move_object(&ground.uri, &to, &ground.etag).unwrap();
    assert_eq!((fs::read(&to).unwrap(), names(quarantine.path())), (b"content".to_vec(), vec!["a.ndjson".into()]));
    // A complete copy under its final name, while the source still exists.
    let again = Ground::new();
    move_object(&again.uri, &to, &again.etag).unwrap();
    assert_eq!((names(quarantine.path()), again.names()), (vec!["a.ndjson".to_owned()], Vec::new()));
    // Another file of that name is not taken for the copy.
    let other = Ground::new();
    fs::write(&to, "CONTENT").unwrap();
    let refused = move_object(&other.uri, &to, &other.etag).unwrap_err();
    assert_eq!(refused.source.kind(), ErrorKind::AlreadyExists);
    assert_eq!((other.names(), fs::read(&to).unwrap()), (vec!["a.ndjson".to_owned()], b"CONTENT".to_vec()));
}

#[test]
fn a_copy_that_is_being_made_is_left_to_who_makes_it() {
    let (ground, quarantine) = (Ground::new(), elsewhere());
    let private = File::create(quarantine.path().join(private_name(&ground.uri))).unwrap();
    private.try_lock().unwrap();
    let refused = move_object(&ground.uri, &quarantine.path().join("a.ndjson"), &ground.etag).unwrap_err();
    assert_eq!(refused.source.kind(), ErrorKind::ResourceBusy);
    assert_eq!(ground.names(), ["a.ndjson"]);
}

#[test]
fn content_that_came_under_the_name_since_stays_there() {
    for to in [tempfile::tempdir().unwrap(), elsewhere()] {
        let ground = Ground::new();
        let held = hold(&ground.uri, &ground.etag, |e| StorageError::new("move", &ground.uri, e)).unwrap();
        // Another file is renamed over the source between the check and the move.
        fs::write(ground.input.path().join("new"), "newer").unwrap();
        fs::rename(ground.input.path().join("new"), &ground.file).unwrap();
        let to = to.path().join("a.ndjson");
        let ended = match renameat_with(CWD, held.path(), CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => confirm(&ground.uri, &held, &to, &ground.etag),
            Err(_) => {
                copy(&ground.uri, &held, &to, &ground.etag).unwrap();
                take_away(&ground.uri, &held, &to, &ground.etag, Made::Here)
            }
        };
        // Either the intended file is moved, or nothing is.
        assert!(ended.is_ok() || ended.is_err_and(|e| e.is_not_found()));
        assert_eq!((fs::read(&ground.file).unwrap(), ground.names()), (b"newer".to_vec(), vec!["a.ndjson".to_owned()]));
        assert!(!to.exists() || fs::read(&to).unwrap() == b"content");
    }
}

#[test]
fn a_file_that_was_written_to_after_it_was_copied_is_not_moved() {
    let (ground, quarantine) = (Ground::new(), elsewhere());
    let held = hold(&ground.uri, &ground.etag, |e| StorageError::new("move", &ground.uri, e)).unwrap();
    let to = quarantine.path().join("a.ndjson");
    copy(&ground.uri, &held, &to, &ground.etag).unwrap();
    fs::write(&ground.file, "content and more").unwrap();
    let changed = take_away(&ground.uri, &held, &to, &ground.etag, Made::Here).unwrap_err();
    assert!(changed.is_not_found(), "{changed}");
    assert_eq!((fs::read(&ground.file).unwrap(), names(quarantine.path())), (b"content and more".to_vec(), Vec::new()));
    assert_eq!(ground.names(), ["a.ndjson"]);
}

#[test]
fn what_a_move_that_died_took_aside_is_known_by_its_name_and_age() {
    for (name, age, is_left) in [
        (aside_name(), 60, true),
        (aside_name(), 59, false),
        (private_name(&Ground::new().uri), 600, false),
        (".a.moving".to_owned(), 600, false),
        (aside_name()[1..].to_owned(), 600, false),
    ] {
        assert_eq!(is_left_aside(name.as_ref(), 100, 100 + age), is_left, "{name}");
    }
}
