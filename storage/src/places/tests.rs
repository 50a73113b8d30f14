//! Tests that nothing outside a place can be read, by links, races and misleading names.

use super::*;
use std::os::unix::fs::symlink;
use std::process::Command;

fn places(text: &str) -> Places {
    text.parse().unwrap()
}

fn uri(text: &str) -> ObjectUri {
    text.parse().unwrap()
}

#[test]
fn a_folder_holds_whole_parts_only_and_no_trick_leads_out() {
    let buckets = places("s3://b/in/, s3://whole");
    for inside in [
        "s3://b/in/x.ndjson",
        "s3://b/in/a/b/2025-12-23 ü+%.ndjson",
        "s3://b/in/a%2Bb.ndjson",
        "s3://b/in/ü+%2500.ndjson",
        "s3://b/in/https%3A%2F%2Fx%2Fy.ndjson",
        "s3://b/in/...ndjson",
        "s3://b/in/..x/y",
        "s3://b/in/a\\b",
        "s3://whole/x",
    ] {
        assert!(buckets.contains(&uri(inside)), "{inside}");
    }
    for outside in [
        "s3://b/inside/x",
        "s3://b/in",
        "s3://b/in2/x",
        "s3://b/x/in/y",
        "s3://b/IN/x",
        "s3://B/in/x",
        "s3://bb/in/x",
        "s3://whole2/x",
        "s3://b/in/../secret",
        "s3://b/in/./x",
        "s3://b/in/a/..",
        "s3://b/in//x",
        "s3://b//in/x",
        "s3://b/in/",
        "s3://b/in/x/",
        "s3://b/in%2Fx",
        "s3://b/in/%2e%2e/secret",
        "s3://b/in/%2E./secret",
        "s3://b/in/..%2fsecret",
        "s3://b/in/..%252fsecret",
        "s3://b/in/%25252e%25252e/secret",
        "s3://b/in/..\\secret",
        "s3://b/in/a\\..\\..\\secret",
        "s3://b/in/%2e%2e%5csecret",
        "s3://b/in/x\0.ndjson",
        "s3://whole/../b",
        "/in/x",
    ] {
        assert!(!buckets.contains(&uri(outside)), "{outside}");
    }
    let directory = places("/data/in");
    for inside in ["/data/in/x", "file:///data/in/a%20b", "/data/in/y/../x", "/data/in/a%2e"] {
        assert!(directory.contains(&uri(inside)), "{inside}");
    }
    for outside in [
        "/data/inside/x",
        "/data/in",
        "/data/in/../secret",
        "file:///data/in/%2e%2e/secret",
        "file:///data/in/..%2fsecret",
        "file:///data/in%2f..%2fsecret",
        "/etc/passwd",
        "s3://data/in/x",
        "s3://b//data/in/x",
    ] {
        assert!(!directory.contains(&uri(outside)), "{outside}");
    }
}

#[test]
fn what_names_no_place_is_refused_with_what_is_wrong() {
    for (text, part) in [
        ("", "a bucket is s3://NAME, a directory"),
        ("acme-input", "a bucket is s3://NAME, a directory"),
        ("s3://", "a bucket is s3://NAME"),
        ("s3://a b", "a bucket is s3://NAME"),
        ("s3://*", "a bucket is s3://NAME"),
        ("s3://b/in//", "no empty part"),
        ("s3://b/../x", "no `..`"),
        ("s3://b/%2e%2e/", "no `..`"),
        ("s3://b/in,", "a bucket is s3://NAME, a directory"),
        ("gs://b/in", "schemes known"),
        ("http://x/in", "schemes known"),
        ("S3://b", "schemes known"),
        ("/", "no empty part"),
        ("/in/../x", "no `..`"),
        ("../in", "no `..`"),
        (".//etc", "no empty part"),
        ("/in//x", "no empty part"),
        ("file://host/in", "no empty part"),
        ("file:///in/%2e%2e/x", "no `..`"),
        ("file:///in%2f..", "no `..`"),
        ("file:///", "no empty part"),
    ] {
        let error = text.parse::<Places>().unwrap_err().to_string();
        assert!(error.contains("is no place") && error.contains(part), "{text}: {error}");
    }
    let here = std::env::current_dir().unwrap();
    for (text, path) in [("./in/", here.join("in")), (".", here.clone()), ("file:///a%2Cb", "/a,b".into())] {
        assert_eq!(places(text).locations().next(), Some(Location::Local(path)), "{text}");
    }
}

/// An allowed directory beside a forbidden one.
struct Ground {
    _root: tempfile::TempDir,
    input: PathBuf,
    secret: PathBuf,
    places: Places,
}

impl Ground {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let real = root.path().canonicalize().unwrap();
        let (input, secret) = (real.join("in"), real.join("secret"));
        fs::create_dir_all(input.join("deep")).unwrap();
        fs::create_dir(&secret).unwrap();
        fs::write(input.join("own.ndjson"), "own").unwrap();
        fs::write(secret.join("key.ndjson"), "secret").unwrap();
        let places = Places::of(&Location::Local(input.clone()));
        Self { _root: root, input, secret, places }
    }

    fn uri(&self, name: &str) -> ObjectUri {
        ObjectUri::from_path(&self.input.join(name)).unwrap()
    }

    fn link(&self, name: &str, to: impl AsRef<Path>) {
        symlink(to, self.input.join(name)).unwrap();
    }
}

#[test]
fn a_link_is_followed_inside_and_says_nothing_of_what_is_outside() {
    let ground = Ground::new();
    ground.link("inside.ndjson", ground.input.join("own.ndjson"));
    ground.link("relative.ndjson", "../in/own.ndjson");
    for name in ["inside.ndjson", "relative.ndjson", "own.ndjson"] {
        assert_eq!(ground.places.read_local(&ground.uri(name)).unwrap().1, b"own", "{name}");
        let located = ground.places.locate(&ground.uri(name)).unwrap();
        assert_eq!(located.inside.as_deref(), Some(&*ground.input));
    }
    ground.link("out.ndjson", ground.secret.join("key.ndjson"));
    ground.link("nowhere.ndjson", ground.secret.join("none.ndjson"));
    ground.link("loop.ndjson", "loop.ndjson");
    ground.link("folder", &ground.secret);
    ground.link("device.ndjson", "/dev/zero");
    let mut told = Vec::new();
    for name in
        ["out.ndjson", "nowhere.ndjson", "loop.ndjson", "folder/key.ndjson", "folder/none.ndjson", "device.ndjson"]
    {
        let uri = ground.uri(name);
        for error in [ground.places.read_local(&uri).unwrap_err(), ground.places.locate(&uri).unwrap_err()] {
            assert!(error.is_foreign(), "{error}");
            told.push(error.to_string().replace(uri.as_str(), ""));
        }
        assert!(open_inside(&uri, Some(&ground.input)).unwrap_err().is_foreign());
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("foreign-object") && !told[0].contains("secret"), "{told:?}");
    // A missing file is reported as missing, not as foreign.
    assert!(ground.places.locate(&ground.uri("deep/none.ndjson")).unwrap_err().is_not_found());
}

#[test]
fn a_place_that_is_itself_reached_by_a_link_is_taken_for_what_it_is() {
    let ground = Ground::new();
    let (named, elsewhere) = (ground.secret.join("named"), ground.secret.join("named/own.ndjson"));
    symlink(&ground.input, &named).unwrap();
    let places: Places = named.to_str().unwrap().parse().unwrap();
    for uri in [ObjectUri::from_path(&elsewhere).unwrap(), ground.uri("own.ndjson")] {
        assert_eq!(places.read_local(&uri).unwrap().1, b"own", "{uri}");
    }
    // A link put there later leads to another place.
    fs::remove_file(&named).unwrap();
    symlink(&ground.secret, &named).unwrap();
    assert!(places.read_local(&ObjectUri::from_path(&named.join("key.ndjson")).unwrap()).unwrap_err().is_foreign());
}

#[test]
fn what_is_no_file_is_refused_without_waiting_for_it() {
    let ground = Ground::new();
    let pipe = ground.input.join("pipe.ndjson");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    fs::create_dir(ground.input.join("directory.ndjson")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(ground.input.join("socket.ndjson")).unwrap();
    for name in ["pipe.ndjson", "directory.ndjson", "socket.ndjson"] {
        let uri = ground.uri(name);
        let errors = [
            ground.places.locate(&uri).unwrap_err(),
            ground.places.read_local(&uri).unwrap_err(),
            open_inside(&uri, Some(&ground.input)).unwrap_err(),
            open_inside(&uri, None).unwrap_err(),
        ];
        for error in errors {
            assert!(error.is_foreign() && error.to_string().contains("no regular file"), "{error}");
        }
    }
}

#[test]
fn what_was_opened_is_what_was_checked_whatever_its_name_leads_to_by_then() {
    let ground = Ground::new();
    let path = ground.input.join("own.ndjson");
    let anchored = Anchored::of(&path).unwrap();
    fs::remove_file(&path).unwrap();
    symlink(ground.secret.join("key.ndjson"), &path).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut anchored.open().unwrap(), &mut text).unwrap();
    assert_eq!(text, "own");
    assert!(open_inside(&ground.uri("own.ndjson"), Some(&ground.input)).unwrap_err().is_foreign());
}

/// Swaps a file with a link to a secret in a loop, while the file is being opened.
#[test]
fn a_swap_in_a_race_never_shows_the_secret() {
    let ground = Ground::new();
    let (path, own, link) = (ground.input.join("x.ndjson"), ground.input.join("own.ndjson"), ground.input.join("link"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::hard_link(&own, &link);
                let _ = fs::rename(&link, &path);
                let _ = fs::remove_file(&link);
                let _ = symlink(ground.secret.join("key.ndjson"), &link);
                let _ = fs::rename(&link, &path);
            }
        });
        let (mut read, mut refused) = (0, 0);
        for _ in 0..200_000 {
            match ground.places.read_local(&ground.uri("x.ndjson")) {
                Ok((_, content)) => {
                    assert_eq!(content, b"own");
                    read += 1;
                }
                Err(error) if error.is_foreign() => refused += 1,
                Err(_) => {}
            }
            if read > 1000 && refused > 1000 {
                break;
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(read > 0 && refused > 0, "{read} read, {refused} refused");
    });
}

#[test]
fn a_listing_goes_on_after_what_it_refuses() {
    let ground = Ground::new();
    ground.link("inside.ndjson", "own.ndjson");
    ground.link("out.ndjson", ground.secret.join("key.ndjson"));
    ground.link("nowhere.ndjson", "none");
    ground.link("loop.ndjson", "loop.ndjson");
    ground.link("folder", &ground.secret);
    ground.link("deeper", "deep");
    ground.link(".private.ndjson", "none");
    fs::create_dir(ground.input.join(".git")).unwrap();
    for name in ["deep/z.ndjson", ".git/x.ndjson", "deep/.y.ndjson"] {
        fs::write(ground.input.join(name), "z").unwrap();
    }
    assert!(Command::new("mkfifo").arg(ground.input.join("deep/pipe.ndjson")).status().unwrap().success());
    let listing = crate::list(&ground.input).unwrap();
    let keys: Vec<_> = listing.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["deep/z.ndjson", "own.ndjson"]);
    let mut refused: Vec<_> = listing.refused.iter().map(|error| error.object.rsplit('/').next().unwrap()).collect();
    refused.sort_unstable();
    assert_eq!(refused, ["folder", "loop.ndjson", "nowhere.ndjson", "out.ndjson", "pipe.ndjson"]);
    assert!(listing.refused.iter().all(StorageError::is_foreign));
}

#[test]
fn a_place_can_be_one_file() {
    let ground = Ground::new();
    let uri = ground.uri("own.ndjson");
    let place = Location::Local(ground.input.join("own.ndjson"));
    let listing = crate::list(place.local_path().unwrap()).unwrap();
    assert_eq!(listing.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), ["own.ndjson"]);
    let places = Places::of(&place);
    assert_eq!(places.read_local(&uri).unwrap().1, b"own");
    assert_eq!(
        (places.key_of(&uri).as_deref(), place.key_of(&uri).as_deref()),
        (Some("own.ndjson"), Some("own.ndjson"))
    );
    fs::write(ground.input.join("own.ndjson.other"), "x").unwrap();
    for other in ["own.ndjson.other", "deep/x.ndjson", "other.ndjson"] {
        assert!(!places.contains(&ground.uri(other)), "{other}");
    }
    let bucket = places_of("s3://b/in/2025-12-23.ndjson");
    assert!(bucket.contains(&self::uri("s3://b/in/2025-12-23.ndjson")));
    for other in ["s3://b/in/2025-12-23.ndjson.gz", "s3://b/in/x.ndjson", "s3://b/in"] {
        assert!(!bucket.contains(&self::uri(other)), "{other}");
    }
}

fn places_of(text: &str) -> Places {
    Places::of(&Location::parse(text).unwrap())
}

#[test]
fn what_links_lead_to_is_listed_once() {
    let ground = Ground::new();
    fs::create_dir_all(ground.input.join(".volume/sub")).unwrap();
    for name in ["deep/z.ndjson", ".volume/h.ndjson", ".volume/sub/i.ndjson", "_task/t.ndjson", "_day=1/p.ndjson"] {
        fs::create_dir_all(ground.input.join(name).parent().unwrap()).unwrap();
        fs::write(ground.input.join(name), name).unwrap();
    }
    ground.link("to-own", "deep");
    ground.link("data", ".volume");
    ground.link("again", ".volume");
    ground.link("file.ndjson", "data/h.ndjson");
    ground.link("deep/up", "..");
    ground.link(".volume/sub/up", "..");
    ground.link("zig", "zag");
    ground.link("zag", "zig");
    let listing = crate::list(&ground.input).unwrap();
    let keys: Vec<_> = listing.objects.iter().map(|object| object.key.as_str()).collect();
    assert_eq!(keys, ["_day=1/p.ndjson", "again/h.ndjson", "again/sub/i.ndjson", "deep/z.ndjson", "own.ndjson"]);
    let mut refused: Vec<_> = listing.refused.iter().map(|error| error.object.rsplit("/in/").next().unwrap()).collect();
    refused.sort_unstable();
    assert_eq!(refused, ["again/sub/up", "deep/up", "zag", "zig"]);
    assert!(listing.refused.iter().all(|error| error.to_string().contains("leads back")), "{:?}", listing.refused);
    // Each listed object can be read under its listed name.
    for object in &listing.objects {
        assert!(ground.places.read_local(&object.uri).is_ok(), "{}", object.key);
    }
}

#[test]
fn nothing_is_moved_without_its_tag_nor_by_a_link() {
    let ground = Ground::new();
    let (path, to) = (ground.input.join("own.ndjson"), ground.secret.join("moved/own.ndjson"));
    let etag = crate::identity(&fs::metadata(&path).unwrap());
    let try_move = |name: &str, etag: &str| crate::relocate::move_object(&ground.uri(name), &to, etag);
    assert!(try_move("own.ndjson", "").unwrap_err().to_string().contains("no entity tag is known"));
    assert!(try_move("own.ndjson", "1-2-3").unwrap_err().is_not_found());
    ground.link("link.ndjson", "own.ndjson");
    ground.link("here", &ground.input);
    for name in ["link.ndjson", "here/own.ndjson"] {
        assert!(try_move(name, &etag).unwrap_err().is_foreign(), "{name}");
    }
    assert!(path.exists() && !to.exists());
    try_move("own.ndjson", &etag).unwrap();
    assert_eq!(fs::read(&to).unwrap(), b"own");
    assert!(!path.exists());
    // An earlier move that was interrupted after its link is completed.
    fs::hard_link(&to, &path).unwrap();
    try_move("own.ndjson", &etag).unwrap();
    assert!(to.exists() && !path.exists());
    // Another file of that name is kept.
    fs::write(&path, "two").unwrap();
    let etag = crate::identity(&fs::metadata(&path).unwrap());
    assert_eq!(try_move("own.ndjson", &etag).unwrap_err().source.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!((fs::read(&path).unwrap(), fs::read(&to).unwrap()), (b"two".to_vec(), b"own".to_vec()));
}

#[test]
fn what_is_created_is_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b/m.json");
    assert!(crate::local::write_once(&path, b"x").unwrap());
    for path in [root.path().join("a"), root.path().join("a/b"), path] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o007, 0, "{}: {mode:o}", path.display());
    }
}
