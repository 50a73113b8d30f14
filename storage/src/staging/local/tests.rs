use super::*;

fn staged(staging: &LocalStaging) -> StagedFile {
    let name = PrivateName::new(PrivateKind::Output, 0);
    let mut writer = staging.create(&name.to_string()).unwrap();
    writer.write_all(b"content").unwrap();
    StagedFile { name, size_bytes: writer.finish().unwrap(), upload: None }
}

#[test]
fn publishing_twice_is_once() {
    let root = tempfile::tempdir().unwrap();
    let staging = LocalStaging::new(root.path(), "m", 1);
    staging.prepare().unwrap();
    let file = staged(&staging);
    let to = root.path().join("merged-parquet-2025-12-23/m-part-00000.parquet");
    staging.publish(&[(&file, to.clone())]).unwrap();
    staging.publish(&[(&file, to.clone())]).unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"content");
    staging.discard().unwrap();
    assert!(!LocalStaging::root(root.path()).exists());
}

#[test]
fn a_task_that_outlives_its_attempt_leaves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (LocalStaging::new(root.path(), "m", 1), LocalStaging::new(root.path(), "m", 2));
    one.prepare().unwrap();
    let mut open = one.create("a").unwrap();
    two.prepare().unwrap();
    open.write_all(b"late").unwrap();
    assert!(one.create("b").is_err_and(|e| e.is_not_found()));
    staged(&two);
    assert_eq!(fs::read_dir(LocalStaging::root(root.path())).unwrap().count(), 1);
}

#[test]
fn what_clears_up_late_spares_later_attempts() {
    let root = tempfile::tempdir().unwrap();
    let [one, two, three] = [1, 2, 3].map(|attempt| LocalStaging::new(root.path(), "m", attempt));
    one.prepare().unwrap();
    three.prepare().unwrap();
    let file = staged(&three);
    // An attempt is started after it was given up; then a sweep clears after two attempts.
    two.prepare().unwrap();
    assert!(one.create("a").is_err() && two.create("a").is_ok());
    two.clear().unwrap();
    assert!(two.create("b").is_err());
    three.publish(&[(&file, root.path().join("x.parquet"))]).unwrap();
    three.clear().unwrap();
    assert!(!LocalStaging::root(root.path()).exists());
}

#[test]
fn a_lost_file_cannot_be_published() {
    let root = tempfile::tempdir().unwrap();
    let staging = LocalStaging::new(root.path(), "m", 1);
    staging.prepare().unwrap();
    let (file, to) = (staged(&staging), root.path().join("x.parquet"));
    fs::remove_file(staging.path(&file)).unwrap();
    for error in [staging.publish(&[(&file, to.clone())]), staging.publish_joined(std::slice::from_ref(&file), &to)] {
        let error = error.unwrap_err();
        assert!(error.is_lost() && error.to_string().contains("; put it there from a backup"), "{error}");
    }
    // Another file of that name is not taken for the output, unless somebody restored the content.
    fs::write(&to, "other content").unwrap();
    assert!(staging.publish(&[(&file, to.clone())]).unwrap_err().is_lost());
    fs::write(&to, "content").unwrap();
    staging.publish(&[(&file, to.clone())]).unwrap();
    staging.publish_joined(&[file], &to).unwrap();
}

#[test]
fn what_has_the_name_already_is_not_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let staging = LocalStaging::new(root.path(), "m", 1);
    staging.prepare().unwrap();
    let files = [staged(&staging), staged(&staging)];
    let [one, joined] = ["x.parquet", "quarantine/x.ndjson"].map(|name| root.path().join(name));
    fs::create_dir(root.path().join("quarantine")).unwrap();
    fs::write(&one, "foreign").unwrap();
    fs::write(&joined, "foreign_foreign").unwrap();
    for error in [staging.publish(&[(&files[0], one.clone())]), staging.publish_joined(&files, &joined)] {
        let error = error.unwrap_err();
        assert!(!error.is_lost() && error.to_string().contains("move it away"), "{error}");
    }
    assert_eq!(fs::read(&one).unwrap(), b"foreign");
    fs::remove_file(&one).unwrap();
    fs::remove_file(&joined).unwrap();
    for _ in 0..2 {
        staging.publish_joined(&files, &joined).unwrap();
        staging.publish(&[(&files[0], one.clone())]).unwrap();
    }
    assert_eq!((fs::read(&one).unwrap(), fs::read(&joined).unwrap()), (b"content".into(), b"contentcontent".into()));
}

#[test]
fn a_death_between_two_names_of_a_file_is_made_good() {
    let root = tempfile::tempdir().unwrap();
    let staging = LocalStaging::new(root.path(), "m", 1);
    staging.prepare().unwrap();
    let (file, to) = (staged(&staging), root.path().join("x.parquet"));
    fs::hard_link(staging.path(&file), &to).unwrap();
    staging.publish(&[(&file, to.clone())]).unwrap();
    assert!(is_gone(&staging.path(&file)));
    // A crash on another file system, where the file under the final name is a copy.
    let (file, to) = (staged(&staging), root.path().join("y.parquet"));
    write_new(&to, |into| into.write_all(b"content")).unwrap();
    staging.publish(&[(&file, to.clone())]).unwrap();
    assert_eq!(write_new(&to, |_| Ok(())).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&to).unwrap(), b"content");
}

#[test]
fn what_is_planted_under_the_private_name_of_a_copy_is_not_written_to() {
    let root = tempfile::tempdir().unwrap();
    let (to, victim) = (root.path().join("y.parquet"), root.path().join("victim"));
    fs::write(&victim, b"precious").unwrap();
    std::os::unix::fs::symlink(&victim, root.path().join("y.tmp")).unwrap();
    write_new(&to, |into| into.write_all(b"content")).unwrap();
    assert_eq!((fs::read(&victim).unwrap(), fs::read(&to).unwrap()), (b"precious".to_vec(), b"content".to_vec()));
    assert!(fs::symlink_metadata(&to).unwrap().is_file());
}

#[test]
fn files_whose_publication_broke_off_are_published_by_the_next() {
    let root = tempfile::tempdir().unwrap();
    let staging = LocalStaging::new(root.path(), "m", 1);
    staging.prepare().unwrap();
    let files = [(); 3].map(|()| staged(&staging));
    let places = ["x", "sub/y", "z"].map(|name| root.path().join(name));
    let outputs: Vec<_> = files.iter().zip(places.clone()).collect();
    fs::create_dir(root.path().join("sub")).unwrap();
    fs::write(&places[1], "foreign").unwrap();
    assert!(staging.publish(&outputs).unwrap_err().to_string().contains("move it away"));
    assert_eq!(places.each_ref().map(|place| place.exists()), [true, true, false]);
    assert_eq!(files.each_ref().map(|file| staging.path(file).exists()), [false, true, true]);
    fs::remove_file(&places[1]).unwrap();
    staging.publish(&outputs).unwrap();
    assert!(places.iter().all(|place| fs::read(place).unwrap() == b"content"));
    assert!(files.iter().all(|file| is_gone(&staging.path(file))));
}

/// A file that belongs to somebody else, of the size that a private file was reported with.
fn foreign(root: &Path) -> PathBuf {
    let foreign = root.join("foreign");
    fs::write(&foreign, b"private").unwrap();
    foreign
}

/// Asserts that every use of a private file fails with this message, and leaves it, the foreign file and the final
/// names unchanged.
fn assert_refused(staging: &LocalStaging, file: &StagedFile, root: &Path, why: &str) {
    let to = root.join("shown");
    let joined = root.join("joined");
    let errors = [
        staging.publish(&[(file, to.clone())]).unwrap_err(),
        staging.publish_joined(std::slice::from_ref(file), &joined).unwrap_err(),
        staging.open(file).map(drop).unwrap_err(),
        staging.look_at_tail((0, file), &mut |_| Ok(())).unwrap_err(),
        staging.rewrite_tail((0, file), &|_| Ok(Vec::new())).unwrap_err(),
    ];
    for error in errors {
        assert!(error.source.kind() == ErrorKind::InvalidData && error.to_string().contains(why), "{why}: {error}");
    }
    assert!(!to.exists() && !joined.exists());
    assert!(fs::symlink_metadata(staging.path(file)).is_ok());
    assert_eq!(fs::read(root.join("foreign")).unwrap(), b"private");
}

#[test]
fn what_is_no_private_file_is_neither_read_nor_changed_nor_shown() {
    let root = tempfile::tempdir().unwrap();
    let foreign = foreign(root.path());
    let staging = LocalStaging::new(root.path(), "m", 1);
    staging.prepare().unwrap();
    let file = staged(&staging);
    let path = staging.path(&file);
    let replace = |with: &dyn Fn()| {
        fs::remove_file(&path).unwrap();
        with();
    };
    replace(&|| std::os::unix::fs::symlink(&foreign, &path).unwrap());
    assert_refused(&staging, &file, root.path(), "it is a symbolic link");
    replace(&|| fs::hard_link(&foreign, &path).unwrap());
    assert_refused(&staging, &file, root.path(), "it has 2 names");
    replace(&|| assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success()));
    assert_refused(&staging, &file, root.path(), "it is no regular file");
    replace(&|| fs::write(&path, b"longer than reported").unwrap());
    assert_refused(&staging, &file, root.path(), "it has 20 bytes, 7 were reported");
    replace(&|| fs::write(&path, b"content").unwrap());
    staging.publish(&[(&file, root.path().join("shown"))]).unwrap();
}

#[test]
fn a_link_in_the_place_of_the_directory_is_not_followed() {
    for linked in 0..PRIVATE_DEPTH {
        let root = tempfile::tempdir().unwrap();
        foreign(root.path());
        let staging = LocalStaging::new(root.path(), "m", 1);
        staging.prepare().unwrap();
        let file = staged(&staging);
        let directory = staging.directory.ancestors().nth(linked).unwrap();
        let elsewhere = root.path().join("elsewhere");
        fs::rename(directory, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, directory).unwrap();
        assert_refused(&staging, &file, root.path(), "is no directory, or a link to one");
        // A link in place of the attempt's directory is removed; a link above it leads to foreign files, and is
        // refused.
        assert_eq!((staging.discard().is_ok(), staging.clear().is_ok()), (linked == 0, linked == 0));
        assert!(elsewhere.exists() && fs::symlink_metadata(directory).is_ok() == (linked > 0));
    }
}

#[test]
fn a_footer_that_does_not_fit_is_not_read() {
    let root = tempfile::tempdir().unwrap();
    let staging = LocalStaging::new(root.path(), "m", 1);
    staging.prepare().unwrap();
    let tail_of = |content: &[u8]| {
        let name = PrivateName::new(PrivateKind::Output, 0);
        let file = StagedFile { name, size_bytes: content.len() as u64, upload: None };
        fs::write(staging.path(&file), content).unwrap();
        let mut seen = (0, 0);
        let looked = staging.look_at_tail((0, &file), &mut |tail| {
            seen = (tail.offset, tail.bytes.len());
            Ok(())
        });
        looked.map(|()| seen)
    };
    let ending = |length: u32| [&[0; 10], &length.to_le_bytes()[..], b"PAR1"].concat();
    assert_eq!(tail_of(&ending(10)).unwrap(), (0, 18));
    assert_eq!(tail_of(&ending(3)).unwrap(), (7, 11));
    for content in [ending(11), ending(u32::MAX), b"short".to_vec(), Vec::new()] {
        assert!(tail_of(&content).unwrap_err().to_string().contains("no footer that fits there"));
    }
}
