//! Whatever another user puts where everybody may write, nothing is written elsewhere by way of it.

use crate::place::{Done, Place, binary};
use crate::unprivileged::give_alone;
use millwork_manifest::ObjectUri;
use std::fs::{self, Permissions};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// The user `nobody`.
const NOBODY: u32 = 65_534;
/// Partition of the date that the input has.
const PARTITION: &str = "merged-parquet-2025-12-23";
/// Changes of a partition by another user while a run goes on, at most.
const CHANGES: usize = 20_000;

/// A directory where everybody may write, and one that is nobody's business.
struct Shared {
    place: Place,
    shared: PathBuf,
    victim: PathBuf,
}

impl Shared {
    /// None for a user who cannot act as another one.
    fn new(mode: u32) -> Option<Self> {
        let place = Place::new();
        let (shared, victim) = (place.path("shared"), place.path("victim"));
        fs::create_dir(&shared).unwrap();
        if !give_alone(&shared) {
            return None;
        }
        crate::unprivileged::take(&shared);
        fs::set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("notes"), "precious").unwrap();
        place.input("2025-12-23-a.ndjson", "{\"a\": 1}\n");
        Some(Self { place, shared, victim })
    }

    /// Puts a link of another user's to the victim's directory.
    fn plant(&self, link: &Path) {
        plant(&self.victim, link);
    }

    fn run(&self, output: &Path, more: &[&str]) -> Done {
        let mut command = Command::new(binary("millwork"));
        command.args(["run", "--json"]).env("SIZE_TOLERANCE_PERCENT", "100");
        command.arg("--input").arg(self.place.path("in")).arg("--output").arg(output).args(more);
        Done::of(command.output().unwrap())
    }

    fn expect_refusal(&self, output: &Path, more: &[&str], words: &str) {
        let done = self.run(output, more);
        assert!(done.code != Some(0) && done.stderr.contains(words), "{}", done.stderr);
        self.assert_untouched();
    }

    fn assert_untouched(&self) {
        let there: Vec<_> = fs::read_dir(&self.victim).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(there, ["notes"]);
        assert_eq!(fs::read_to_string(self.victim.join("notes")).unwrap(), "precious");
    }
}

fn plant(target: &Path, link: &Path) {
    symlink(target, link).unwrap();
    lchown(link, Some(NOBODY), Some(NOBODY)).unwrap();
}

#[test]
fn a_place_that_another_user_has_put_into_a_shared_directory_is_refused() {
    let Some(shared) = Shared::new(0o1777) else { return };
    let output = shared.shared.join("out");
    shared.plant(&output);
    shared.expect_refusal(&output, &[], "is a link of user 65534");
    shared.expect_refusal(&output.join("below"), &[], "is a link of user 65534");
    let own = shared.place.path("own");
    shared.expect_refusal(&own, &["--quarantine", output.to_str().unwrap()], "is a link of user 65534");
    fs::remove_file(&output).unwrap();
    fs::create_dir(&output).unwrap();
    assert!(give_alone(&output));
    shared.expect_refusal(&output, &[], "is a directory of user 65534");
    assert_eq!(fs::read_dir(&output).unwrap().count(), 0, "nothing is put there");
    crate::unprivileged::take(&output);
    let done = shared.run(&output, &[]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

#[test]
fn a_partition_that_another_user_has_put_into_a_shared_output_is_refused_and_then_made() {
    let Some(shared) = Shared::new(0o1777) else { return };
    let partition = shared.shared.join(PARTITION);
    shared.plant(&partition);
    shared.expect_refusal(&shared.shared, &[], "is a link of user 65534");
    fs::remove_file(&partition).unwrap();
    fs::create_dir(&partition).unwrap();
    assert!(give_alone(&partition));
    shared.expect_refusal(&shared.shared, &[], "is a directory of user 65534");
    fs::remove_dir(&partition).unwrap();
    let done = shared.run(&shared.shared, &[]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(fs::read_dir(&partition).unwrap().count(), 1, "what was committed is shown by the next start");
}

#[test]
fn a_partition_that_changes_all_the_time_leads_nothing_elsewhere() {
    let Some(shared) = Shared::new(0o777) else { return };
    let (partition, output) = (shared.shared.join(PARTITION), shared.shared.clone());
    let (victim, aside, is_over) = (shared.victim.clone(), shared.shared.join("aside"), AtomicBool::new(false));
    std::thread::scope(|threads| {
        threads.spawn(|| {
            for number in 0..CHANGES {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let _ = fs::rename(&partition, shared.shared.join(format!("away-{number}")));
                plant(&victim, &aside);
                fs::rename(&aside, &partition).or_else(|_| fs::remove_file(&aside)).unwrap();
                let _ = fs::remove_file(&partition);
            }
        });
        for _ in 0..3 {
            shared.run(&output, &[]);
            shared.assert_untouched();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    shared.assert_untouched();
}

#[test]
fn what_another_user_has_put_beside_a_state_is_not_replayed_into_it() {
    let Some(shared) = Shared::new(0o1777) else { return };
    let state = shared.shared.join("state.db");
    let options = ["--state", &format!("sqlite:{}", state.display())];
    let output = shared.place.path("out");
    assert_eq!(shared.run(&output, &options).code, Some(0));
    for suffix in ["-journal", "-wal", "-shm"] {
        let beside = shared.shared.join(format!("state.db{suffix}"));
        fs::write(&beside, [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7].repeat(64)).unwrap();
        assert!(give_alone(&beside));
        shared.expect_refusal(&output, &options, "belongs to user 65534");
        assert!(beside.exists(), "{suffix}");
        fs::remove_file(&beside).unwrap();
    }
    assert_eq!(shared.run(&output, &options).code, Some(0));
}

#[test]
fn a_file_of_tokens_that_another_user_has_put_there_lets_nobody_in() {
    let Some(shared) = Shared::new(0o1777) else { return };
    let tokens = shared.shared.join("tokens");
    let add = || {
        let mut command = Command::new(binary("millwork"));
        Done::of(
            command.args(["token", "new", "--id", "ci", "--role", "read", "--file"]).arg(&tokens).output().unwrap(),
        )
    };
    let serve = || {
        // One that lets it in would serve for ever.
        let mut command = Command::new("timeout");
        command.arg("30").arg(binary("millwork-scheduler")).env("XDG_RUNTIME_DIR", shared.place.path("session"));
        command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--input-places"]);
        command.arg(shared.place.path("in")).arg("--output").arg(shared.place.path("out"));
        command.arg("--quarantine").arg(shared.place.path("quarantine")).arg("--state");
        command.arg(format!("sqlite:{}", shared.place.path("state.db").display())).arg("--token-file").arg(&tokens);
        Done::of(command.output().unwrap())
    };
    let expect = |words: &str| {
        for done in [add(), serve()] {
            assert!(done.code != Some(0) && done.stderr.contains(words), "{}", done.stderr);
        }
    };
    assert!(Command::new("mkfifo").arg(&tokens).status().unwrap().success());
    expect("no regular file");
    assert!(give_alone(&tokens));
    expect("is a file of user 65534");
    fs::remove_file(&tokens).unwrap();
    shared.plant(&tokens);
    expect("is a link of user 65534");
    fs::remove_file(&tokens).unwrap();
    assert_eq!(add().code, Some(0));
    fs::set_permissions(&tokens, Permissions::from_mode(0o666)).unwrap();
    let done = serve();
    assert!(done.code != Some(0) && done.stderr.contains("mode 0666"), "{}", done.stderr);
}

#[test]
fn test_data_and_pages_are_written_through_no_link_of_another_user() {
    let Some(shared) = Shared::new(0o1777) else { return };
    let notes = shared.victim.join("notes");
    let refused = |arguments: &[&str]| {
        let mut command = Command::new(binary("millwork"));
        let done = Done::of(command.args(arguments).arg(&shared.shared).output().unwrap());
        assert!(done.code != Some(0) && done.stderr.contains("is a link of user 65534"), "{}", done.stderr);
        shared.assert_untouched();
    };
    plant(&notes, &shared.shared.join("2025-12-23-part-00000.ndjson"));
    refused(&["generate", "--date", "2025-12-23", "--files", "1", "--size-mb", "0.01"]);
    plant(&notes, &shared.shared.join("millwork-run.1"));
    refused(&["man"]);
}

/// A quarantine on another file system, to which a file is copied under a private name that anybody can tell beforehand.
#[test]
fn what_stands_in_the_place_of_a_copy_is_neither_waited_for_nor_written_to() {
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let place = Place::new();
    if fs::metadata(elsewhere.path()).unwrap().dev() == fs::metadata(place.path("in")).unwrap().dev() {
        return;
    }
    let put = || place.input("no-date.ndjson", "{\"a\": 1}\n");
    let run = |name: &str| {
        // A pipe that is waited for would keep it.
        let mut command = Command::new("timeout");
        command.arg("60").arg(binary("millwork")).args(["run", "--json"]).env("SIZE_TOLERANCE_PERCENT", "100");
        command.arg("--input").arg(place.path("in")).arg("--output").arg(place.path(name));
        Done::of(command.arg("--quarantine").arg(elsewhere.path().join(name)).output().unwrap())
    };
    let input = put();
    let done = run("first");
    let moved = find(&elsewhere.path().join("first"));
    assert!(!input.exists() && moved.ends_with("no-date.ndjson"), "{}: {}", moved.display(), done.stderr);
    let mut hasher = std::hash::DefaultHasher::new();
    ObjectUri::from_path(&put()).unwrap().hash(&mut hasher);
    let there = moved.parent().unwrap().strip_prefix(elsewhere.path().join("first")).unwrap();
    let directory = elsewhere.path().join("second").join(there);
    let private = directory.join(format!(".{:016x}.moving", hasher.finish()));
    let victim = elsewhere.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    fs::create_dir_all(&directory).unwrap();
    for plant in ["pipe", "link", "name"] {
        match plant {
            "pipe" => assert!(Command::new("mkfifo").arg(&private).status().unwrap().success()),
            "link" => symlink(&victim, &private).unwrap(),
            _ => fs::hard_link(&victim, &private).unwrap(),
        }
        let done = run("second");
        assert!(
            done.code != Some(124) && done.stderr.contains("remove it"),
            "{plant}: {:?} {}",
            done.code,
            done.stderr
        );
        assert!(input.exists() && fs::read_to_string(&victim).unwrap() == "precious", "{plant}");
        fs::remove_file(&private).unwrap();
    }
    run("second");
    assert!(!input.exists() && directory.join("no-date.ndjson").exists());
}

/// The only file below a directory.
fn find(directory: &Path) -> PathBuf {
    let entry = fs::read_dir(directory).unwrap().next().unwrap().unwrap().path();
    if entry.is_dir() { find(&entry) } else { entry }
}
