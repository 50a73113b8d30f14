//! What a stranger tries who may send messages, submit manifests, or write to the input: to have something read, moved or shown
//! that is elsewhere.

use crate::cluster::Cluster;
use crate::place::{Done, Place, binary, signal, start, wait_for_end, wait_until};
use crate::queues::{Queues, message};
use crate::servers::Aws;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const SECRET: &str = "the secret of somebody else";

/// A directory beside the input with a file that is not input.
fn secret_of(place: &Place) -> PathBuf {
    let directory = place.path("private");
    fs::create_dir(&directory).unwrap();
    let path = directory.join("2025-12-23-secret.ndjson");
    fs::write(&path, format!("{{\"s\": \"{SECRET}\"}}\n{SECRET}\n")).unwrap();
    path
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Every file that was written.
fn everything(place: &Place) -> Vec<PathBuf> {
    let names = ["out", "quarantine"].into_iter();
    names.flat_map(|name| place.files(name).into_iter().map(move |file| place.path(name).join(file))).collect()
}

fn assert_not_shown(place: &Place) {
    for path in everything(place) {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_file() {
            let content = fs::read(&path).unwrap();
            let is_shown = content.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
            assert!(!is_shown, "{} shows the secret", path.display());
        }
    }
}

#[test]
fn a_link_out_of_the_input_is_refused_by_name_and_all_else_goes_on() {
    let place = Place::new();
    let secret = secret_of(&place);
    place.input("2025-12-23-good.ndjson", "{\"a\": 1}\n");
    place.input("2025-12-23-folder.ndjson/2025-12-23-deep.ndjson", "{\"a\": 2}\n");
    let link = |name: &str, to: &Path| symlink(to, place.path("in").join(name)).unwrap();
    link("2025-12-23-inside.ndjson", &place.path("in/2025-12-23-good.ndjson"));
    link("2025-12-23-out.ndjson", &secret);
    link("2025-12-23-nowhere.ndjson", &place.path("private/none"));
    link("2025-12-23-loop.ndjson", Path::new("2025-12-23-loop.ndjson"));
    link("2025-12-23-directory", secret.parent().unwrap());
    link("2025-12-23-device.ndjson", Path::new("/dev/zero"));
    pipe(&place.path("in/2025-12-23-pipe.ndjson"));
    let _socket = std::os::unix::net::UnixListener::bind(place.path("in/s.ndjson")).unwrap();
    let done = place.run(&[]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let report = done.json();
    // A link to what is there under a name of its own adds nothing.
    assert_eq!((&report["rows"], &report["rejected"], &report["quarantined"]), (&2.into(), &0.into(), &0.into()));
    let mut refused: Vec<&str> =
        report["foreign"].as_array().unwrap().iter().map(|file| file["uri"].as_str().unwrap()).collect();
    refused.sort_unstable();
    let expected =
        ["2025-12-23-device.ndjson", "2025-12-23-directory", "2025-12-23-loop.ndjson", "2025-12-23-nowhere.ndjson"];
    let expected: Vec<&str> =
        expected.into_iter().chain(["2025-12-23-out.ndjson", "2025-12-23-pipe.ndjson", "s.ndjson"]).collect();
    assert_eq!(refused.len(), expected.len(), "{refused:?}");
    for (uri, name) in refused.iter().zip(&expected) {
        assert!(uri.ends_with(&format!("/in/{name}")), "{uri} {name}");
        assert!(fs::symlink_metadata(place.path("in").join(name)).is_ok(), "{name} stays");
        assert!(done.stderr.matches(uri).count() == 1, "{}", done.stderr);
    }
    assert!(done.stderr.contains("foreign-object") && !done.stderr.contains("private"), "{}", done.stderr);
    assert_not_shown(&place);
    let again = place.run(&[]);
    assert_eq!((again.code, &again.json()["manifests"]), (Some(1), &0.into()), "{}", again.stderr);
}

#[test]
fn what_is_written_is_not_for_everybody() {
    let place = Place::new();
    place.input("2025-12-23-a.ndjson", "{\"a\": 1}\nnot json\n");
    place.input("2025-12-23-b.csv", "a,b\n");
    assert_eq!(place.run_well(&[])["rejected"], 1);
    let mut seen = Vec::new();
    let mut open = vec![place.path("out"), place.path("quarantine")];
    while let Some(path) = open.pop() {
        let metadata = fs::metadata(&path).unwrap();
        let is_of_input = path.ends_with("2025-12-23-b.csv");
        // What was moved is what it was, in a directory that nobody else may enter.
        assert!(metadata.permissions().mode() & 0o007 == 0 || is_of_input, "{}", path.display());
        if metadata.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            seen.push(path.extension().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    seen.sort();
    seen.dedup();
    for kind in ["csv", "db", "json", "lock", "ndjson", "parquet"] {
        assert!(seen.iter().any(|seen| seen == kind), "{kind}: {seen:?}");
    }
}

#[test]
fn who_serves_strangers_is_told_where_input_is_or_does_not_start() {
    let place = Place::new();
    let state = format!("sqlite:{}", place.path("s.db").display());
    let out = place.path("out").display().to_string();
    let run = |name: &str, arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = Command::new(binary(name));
        command.args(["--state", &state]).args(arguments).env_remove("INPUT_PLACES").envs(environment.iter().copied());
        Done::of(command.output().unwrap())
    };
    let queue = ["serve", "--queue-url", "http://127.0.0.1:1/0/q", "--http", "127.0.0.1:0", "--manifests", &out];
    let scheduler = ["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--output", &out];
    let lambda = [("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1")];
    let builder = "millwork-manifest-builder";
    for done in [
        run(builder, &queue, &[]),
        run(builder, &["--manifests", &out], &lambda),
        run("millwork-scheduler", &scheduler, &[]),
        run("millwork-scheduler", &scheduler, &[("INPUT_PLACES", "")]),
    ] {
        let is_told = done.stderr.contains("--input-places PLACES or INPUT_PLACES");
        assert!(done.code == Some(1) && is_told, "{}", done.stderr);
    }
    for places in ["acme-input", "s3://b/../x", "/", "gs://b"] {
        for done in [
            run(builder, &queue, &[("INPUT_PLACES", places)]),
            run("millwork-scheduler", &scheduler, &[("INPUT_PLACES", places)]),
        ] {
            let text = format!("`{places}` is no place");
            assert!(done.code == Some(1) && done.stderr.contains(&text), "{}", done.stderr);
        }
    }
    let overlap = run(builder, &queue, &[("INPUT_PLACES", &out)]);
    assert!(overlap.code == Some(1) && overlap.stderr.contains("is inside the input"), "{}", overlap.stderr);
    let overlap = run("millwork-scheduler", &scheduler, &[("INPUT_PLACES", &out)]);
    assert!(overlap.code == Some(1) && overlap.stderr.contains("keep them apart"), "{}", overlap.stderr);
    let inside = place.path("out/in").display().to_string();
    let overlap = run(builder, &["backfill", "--prefix", &inside, "--manifests", "/m", "--output", &out], &[]);
    assert!(overlap.code == Some(1) && overlap.stderr.contains("holds the input"), "{}", overlap.stderr);
}

/// An event of a new object, that says of it what its sender likes.
fn event(bucket: &str, key: &str, size: u64, etag: &str) -> String {
    json!({"version": "0", "source": "aws.s3", "detail-type": "Object Created", "detail": {
        "bucket": {"name": bucket}, "object": {"key": key, "size": size, "etag": etag}}})
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_cannot_have_an_object_moved_that_is_not_input_nor_one_by_a_lie() {
    let (aws, place) = (Aws::start(), Place::new());
    let queues = Queues::create(&aws).await;
    let s3 = aws.s3().await;
    let put = async |bucket: &str, key: &str| {
        let request = s3.put_object().bucket(bucket).key(key).body(b"{\"a\": 1}\n".to_vec().into());
        request.send().await.unwrap().e_tag.unwrap().trim_matches('"').to_owned()
    };
    for bucket in ["acme-in", "acme-other", "acme-bad"] {
        aws.create_bucket(bucket).await;
    }
    let others =
        [("acme-other", "2025-12-23-a.csv"), ("acme-in", "inside/2025-12-23-a.csv"), ("acme-in", "2025-12-23-b.csv")];
    for (bucket, key) in others {
        put(bucket, key).await;
    }
    let (good, wrong) = ("in/2025-12-23-good.ndjson", "in/2025-12-23-bad.csv");
    let etag = put("acme-in", good).await;
    put("acme-in", wrong).await;
    let mut bodies = vec![
        // Lies of an object that is input: it would be too large, or has no tag.
        event("acme-in", good, 1 << 40, ""),
        event("acme-in", good, 0, "other"),
        // One that is to be moved in fact, though its event knows no tag.
        event("acme-in", wrong, 0, ""),
        // One that was never there.
        event("acme-in", "in/2025-12-23-none.ndjson", 9, "e"),
    ];
    bodies.extend(others.iter().map(|(bucket, key)| event(bucket, key, 0, "")));
    let tricks =
        ["in/../2025-12-23-b.csv", "in/%2e%2e/2025-12-23-b.csv", "in/..\\2025-12-23-b.csv", "in//2025-12-23-b.csv"];
    bodies.extend(tricks.iter().map(|key| event("acme-in", key, 0, "")));
    bodies.extend((0..3).map(|shape| message("acme-other", "2025-12-23-a.csv", 0, shape)));
    let refused = others.len() + tricks.len() + 3;
    queues.send(&bodies).await;
    let mut command = Command::new(binary("millwork-manifest-builder"));
    command.args(["serve", "--queue-url", &queues.url, "--http", "127.0.0.1:0", "--quarantine", "s3://acme-bad"]);
    command.arg("--state").arg(format!("sqlite:{}", place.path("s.db").display()));
    command.arg("--manifests").arg(place.path("out")).envs(aws.environment());
    command.env("INPUT_PLACES", "s3://acme-in/in/").env("SIZE_TOLERANCE_PERCENT", "100").env("MAX_WAIT_SECONDS", "0");
    command.env("SWEEP_INTERVAL_SECONDS", "1").env("POLL_SECONDS", "1");
    let mut service = start(command, &place.path("log"));
    wait_until("a manifest is made", || !place.files("out/manifests").is_empty());
    let started = std::time::Instant::now();
    while queues.counts(&queues.url).await != (0, 0) {
        assert!(started.elapsed() < crate::place::PATIENCE, "the queue does not get empty");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    signal(&service, "TERM");
    assert_eq!(wait_for_end(&mut service), Some(0));
    let log = fs::read_to_string(place.path("log")).unwrap();
    assert_eq!(queues.bad().await, BTreeMap::from([("foreign-object".to_owned(), refused)]), "{log}");
    assert_eq!(log.matches("foreign-object").count(), refused, "each is told of once: {log}");
    let manifest: Value = serde_json::from_slice(&fs::read(everything(&place).pop().unwrap()).unwrap()).unwrap();
    let files = manifest["metadata"]["files"].as_array().unwrap();
    assert_eq!(files.len(), 1, "{manifest}");
    assert_eq!((&files[0]["size_bytes"], &files[0]["etag"]), (&9.into(), &json!(etag)), "{manifest}");
    let keys = async |bucket: &str| {
        let listed = s3.list_objects_v2().bucket(bucket).send().await.unwrap();
        listed.contents().iter().map(|object| object.key().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys("acme-bad").await, ["2025-12-23/bad-extension/in/2025-12-23-bad.csv"]);
    assert_eq!(keys("acme-other").await, ["2025-12-23-a.csv"]);
    assert_eq!(keys("acme-in").await, ["2025-12-23-b.csv", good, "inside/2025-12-23-a.csv"]);
}

/// A manifest of these files, as a client submits it.
fn manifest(id: &str, files: &[&Path]) -> Value {
    json!({"fileLocations": [{"URIPrefixes": files}], "metadata": {"manifest_id": id, "date_prefix": "2025-12-23"}})
}

#[test]
fn a_client_learns_and_gets_nothing_of_what_is_elsewhere() {
    let place = Place::new();
    let secret = secret_of(&place);
    place.input("2025-12-23-good.ndjson", "{\"a\": 1}\n");
    let cluster = Cluster::start(&place, "out", 1, &[]);
    let error = |answer: (u16, Value)| {
        let error = &answer.1["error"];
        (
            answer.0,
            error["code"].as_str().unwrap_or_default().to_owned(),
            error["message"].as_str().unwrap_or_default().to_owned(),
        )
    };
    // Of what is there and of what is not, the same is said.
    let none = place.path("private/2025-12-23-none.ndjson");
    let mut told = Vec::new();
    for path in [
        &secret,
        &none,
        &place.path("in/../private/2025-12-23-secret.ndjson"),
        &place.path("inside/2025-12-23-x.ndjson"),
    ] {
        let (status, code, message) = error(cluster.post("manifests", &manifest("m", &[path])));
        assert_eq!((status, code.as_str()), (400, "foreign-object"), "{message}");
        let (status, code, message) = error(cluster.post("manifests", &json!({"uri": path})));
        assert_eq!((status, code.as_str()), (400, "foreign-object"), "{message}");
        told.push(message.split_once("`: ").unwrap().1.to_owned());
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    // A link in the input is taken for what it is when the file is looked for.
    let link = |name: &str, to: &Path| {
        let path = place.path("in").join(name);
        symlink(to, &path).unwrap();
        path
    };
    let cases = [
        ("out", link("2025-12-23-out.ndjson", &secret)),
        ("nowhere", link("2025-12-23-nowhere.ndjson", &none)),
        ("folder", link("folder", secret.parent().unwrap()).join("2025-12-23-secret.ndjson")),
        ("pipe", place.path("in/2025-12-23-pipe.ndjson")),
        ("directory", place.path("in/2025-12-23-directory.ndjson")),
    ];
    pipe(&cases[3].1);
    fs::create_dir(&cases[4].1).unwrap();
    for (id, path) in &cases {
        assert_eq!(cluster.post("manifests", &manifest(id, &[path])).0, 202);
    }
    for (id, path) in &cases {
        wait_until("a run fails", || cluster.get(&format!("runs/{id}"))["state"] == "failed");
        let failure = cluster.get(&format!("runs/{id}"))["failure"].clone();
        let message = failure["message"].as_str().unwrap();
        let is_named = message.contains(path.file_name().unwrap().to_str().unwrap());
        assert!(failure["class"] == "input" && message.contains("foreign-object") && is_named, "{failure}");
        assert!(!message.contains(SECRET) && !message.contains("private"), "{failure}");
    }
    let good = place.path("in/2025-12-23-good.ndjson");
    assert_eq!(cluster.post("manifests", &manifest("good", &[&good])).0, 202);
    wait_until("the good one is completed", || cluster.get("runs/good")["state"] == "completed");
    assert_eq!(place.files("quarantine"), [""; 0]);
    assert_not_shown(&place);
}

/// A manifest is refused that names a file by a link, as its rows would be in two outputs, and says by which name it is taken.
#[test]
fn a_link_in_a_manifest_converts_nothing_twice() {
    let place = Place::new();
    let own = place.input("folder/2025-12-23-own.ndjson", "{\"a\": 1}\n");
    place.input(".volume/2025-12-23-c.ndjson", "{\"a\": 2}\n");
    for (name, to) in
        [("2025-12-23-link.ndjson", "folder/2025-12-23-own.ndjson"), ("to", "folder"), ("data", ".volume")]
    {
        symlink(to, place.path("in").join(name)).unwrap();
    }
    symlink("data/2025-12-23-c.ndjson", place.path("in/2025-12-23-d.ndjson")).unwrap();
    let dropped = place.path("dropped");
    fs::create_dir(&dropped).unwrap();
    let mut cluster = Cluster::start(&place, "out", 1, &["--manifest-dir", dropped.to_str().unwrap()]);
    assert_eq!(cluster.post("manifests", &manifest("own", &[&own])).0, 202);
    let at = |name: &str| place.path("in").join(name);
    let (link, through, data, file) = (
        at("2025-12-23-link.ndjson"),
        at("to/2025-12-23-own.ndjson"),
        at("data/2025-12-23-c.ndjson"),
        at("2025-12-23-d.ndjson"),
    );
    let own_name = "folder/2025-12-23-own.ndjson`, in the input, too; list it by that name";
    for (id, paths, told) in [
        ("link", vec![&link], own_name),
        ("folder", vec![&through], own_name),
        ("both", vec![&own, &link], own_name),
        ("twice", vec![&data, &file], "are one file, by way of a link: list it once"),
    ] {
        let paths: Vec<&Path> = paths.into_iter().map(|path| &**path).collect();
        let (status, answer) = cluster.post("manifests", &manifest(id, &paths));
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && answer["error"]["code"] == "bad-manifest" && message.contains(told), "{id}: {answer}");
    }
    fs::write(dropped.join("dropped.json"), manifest("dropped", &[&link]).to_string()).unwrap();
    let log = || fs::read_to_string(place.path("scheduler.log")).unwrap();
    wait_until("it is told of", || log().contains("duplicate-file") && log().contains("list it by that name"));
    // What is in a directory that listings leave out has no other name.
    assert_eq!(cluster.post("manifests", &manifest("data", &[&data])).0, 202);
    for id in ["own", "data"] {
        wait_until("it is completed", || cluster.get(&format!("runs/{id}"))["state"] == "completed");
    }
    assert_eq!(cluster.get("runs")["items"].as_array().unwrap().len(), 2);
    assert_eq!(place.parquet_files().len(), 2);
    assert_eq!(cluster.stop_scheduler(), Some(0));
}

/// The same file stands elsewhere under another name, so that its inode, size and time tell nothing.
#[test]
fn a_folder_that_is_swapped_for_a_link_after_the_plan_is_not_followed() {
    let place = Place::new();
    let path = place.input("folder/2025-12-23-a.ndjson", "{\"a\": 1}\n");
    fs::create_dir(place.path("private")).unwrap();
    fs::hard_link(&path, place.path("private/2025-12-23-a.ndjson")).unwrap();
    let mut cluster = Cluster::start(&place, "out", 0, &[]);
    assert_eq!(cluster.post("manifests", &manifest("m", &[&path])).0, 202);
    wait_until("it is planned", || cluster.get("runs/m")["state"] == "running");
    fs::rename(place.path("in/folder"), place.path("away")).unwrap();
    symlink(place.path("private"), place.path("in/folder")).unwrap();
    cluster.start_executor();
    wait_until("the run fails", || cluster.get("runs/m")["state"] == "failed");
    let failure = cluster.get("runs/m")["failure"].clone();
    assert!(
        failure["class"] == "input" && failure["message"].as_str().unwrap().contains("foreign-object"),
        "{failure}"
    );
    assert!(place.parquet_files().is_empty());
}

#[test]
fn a_manifest_in_the_watched_directory_that_leads_elsewhere_is_told_of_once() {
    let place = Place::new();
    let secret = secret_of(&place);
    let good = place.input("2025-12-23-good.ndjson", "{\"a\": 1}\n");
    let dropped = place.path("dropped");
    fs::create_dir(&dropped).unwrap();
    let write = |path: &Path, id: &str, file: &Path| fs::write(path, manifest(id, &[file]).to_string()).unwrap();
    write(&place.path("private/elsewhere.json"), "elsewhere", &good);
    symlink(place.path("private/elsewhere.json"), dropped.join("link.json")).unwrap();
    pipe(&dropped.join("pipe.json"));
    write(&dropped.join("hostile.json"), "hostile", &secret);
    let mut cluster = Cluster::start(&place, "out", 1, &["--manifest-dir", dropped.to_str().unwrap()]);
    let log = || fs::read_to_string(place.path("scheduler.log")).unwrap();
    wait_until("all are refused", || log().matches("\"foreign-object\"").count() >= 3);
    write(&dropped.join("good.json"), "good", &good);
    wait_until("the good one is completed", || cluster.get("runs/good")["state"] == "completed");
    assert_eq!(log().matches("\"foreign-object\"").count(), 3, "{}", log());
    assert_eq!(cluster.get("runs")["items"].as_array().unwrap().len(), 1);
    assert_eq!(cluster.stop_scheduler(), Some(0));
    assert_not_shown(&place);
}

/// Whoever may write to an output plants something in the place of the lock.
#[test]
fn what_is_planted_in_the_place_of_a_lock_is_neither_cut_nor_waited_for() {
    let place = Place::new();
    place.input("2025-12-23-a.ndjson", "{\"a\": 1}\n");
    let precious = place.path("precious");
    fs::write(&precious, SECRET).unwrap();
    let private = place.path("out/_millwork");
    fs::create_dir_all(&private).unwrap();
    let state = format!("sqlite:{}", place.path("state/state.db").display());
    fs::create_dir(place.path("state")).unwrap();
    for lock in [private.join("output.lock"), place.path("state/state.db.lock")] {
        let refused = |what: &str| {
            let done = place.run(&["--state", &state]);
            assert!(done.code != Some(0) && done.stderr.contains("remove it"), "{what}: {}", done.stderr);
            assert_eq!(fs::read_to_string(&precious).unwrap(), SECRET, "{what}");
            fs::remove_file(&lock).unwrap();
        };
        let _ = fs::remove_file(&lock);
        symlink(&precious, &lock).unwrap();
        refused("a link");
        symlink(place.path("nowhere"), &lock).unwrap();
        refused("a link to nowhere");
        assert!(!place.path("nowhere").exists());
        pipe(&lock);
        refused("a pipe");
    }
    place.run_well(&["--state", &state]);
    assert_eq!(fs::read_to_string(&precious).unwrap(), SECRET);
}

#[test]
fn an_output_or_a_state_that_another_user_has_prepared_is_refused() {
    let place = Place::new();
    place.input("2025-12-23-a.ndjson", "{\"a\": 1}\n");
    let private = place.path("out/_millwork");
    fs::create_dir_all(&private).unwrap();
    if !crate::unprivileged::give_alone(&private) {
        return;
    }
    let done = place.run(&[]);
    assert!(done.code != Some(0) && done.stderr.contains("belongs to user 65534"), "{}", done.stderr);
    fs::remove_dir_all(&private).unwrap();
    let state = place.path("state");
    fs::create_dir(&state).unwrap();
    let (link, target) = (state.join("state.db"), place.path("elsewhere.db"));
    symlink(&target, &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(65534), Some(65534)).unwrap();
    let done = place.run(&["--state", &format!("sqlite:{}", link.display())]);
    assert!(done.code != Some(0) && done.stderr.contains("belongs to user 65534"), "{}", done.stderr);
    assert!(!target.exists());
}
