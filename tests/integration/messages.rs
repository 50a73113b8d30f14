//! Errors of storage, as a person meets them: one sentence with what was tried, why not, and what to set.

use crate::place::{Done, Place, signal, start, wait_for_end, wait_until};
use crate::servers::Aws;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

/// A run of these places, without what the environment says of AWS.
fn command(place: &Place, input: &str, output: &str, environment: &[(&str, &str)]) -> Command {
    let mut command: Command = place.command("millwork");
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent").env("AWS_EC2_METADATA_DISABLED", "true").env("SIZE_TOLERANCE_PERCENT", "100");
    command.args(["run", "--input", input, "--output", output]).envs(environment.iter().copied());
    command
        .arg("--quarantine")
        .arg(place.path("quarantine"))
        .arg("--state")
        .arg(format!("sqlite:{}", place.path("state.db").display()));
    command
}

/// Text on stderr of a run from a bucket, which fails.
fn run(place: &Place, input: &str, output: &str, environment: &[(&str, &str)]) -> String {
    let done = Done::of(command(place, input, output, environment).output().unwrap());
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    done.stderr
}

/// One short line with these words, without what only a developer reads, and nothing twice.
fn assert_is_one_sentence(told: &str, words: &[&str]) {
    let line = told.lines().find(|line| line.starts_with("millwork: ")).unwrap_or_else(|| panic!("{told}"));
    assert!(line.len() < 400, "{line}");
    for word in words {
        assert_eq!(line.matches(word).count(), 1, "{word}: {line}");
    }
    for foreign in ["os error", "DispatchFailure", "ConnectorError", "source:", "Some(", "{ ", "::"] {
        assert!(!line.contains(foreign), "{foreign}: {line}");
    }
}

#[test]
fn buckets_that_cannot_be_reached_are_told_in_one_sentence() {
    let place = Place::new();
    let out = place.path("out");
    let out = out.to_str().unwrap();
    let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let region = ("AWS_REGION", "eu-central-1");
    let told = run(&place, "s3://acme/in", out, &[region]);
    assert_is_one_sentence(
        &told,
        &["cannot list `s3://acme/in/`", "no AWS credentials were found", "set AWS_ACCESS_KEY_ID"],
    );
    let told = run(&place, "s3://acme/in", out, &keys);
    assert_is_one_sentence(&told, &["cannot list `s3://acme/in/`", "no AWS region is set", "set AWS_REGION"]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let endpoint = format!("http://127.0.0.1:{port}");
    let down = [&keys[..], &[region, ("AWS_ENDPOINT_URL", endpoint.as_str())]].concat();
    let told = run(&place, "s3://acme/in", out, &down);
    let words = format!("nothing listens at `{endpoint}`");
    assert_is_one_sentence(
        &told,
        &["cannot list `s3://acme/in/`", &words, "check AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL"],
    );
    let nowhere = [&keys[..], &[region, ("AWS_ENDPOINT_URL", "http://no-such-host.invalid:9")]].concat();
    let told = run(&place, "s3://acme/in", out, &nowhere);
    assert_is_one_sentence(
        &told,
        &["cannot list `s3://acme/in/`", "the host of `http://no-such-host.invalid:9` is unknown"],
    );
}

/// A server that takes connections and requests, and says nothing.
#[test]
fn a_server_that_never_answers_is_named_within_seconds() {
    let place = Place::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let environment = [
        ("AWS_ACCESS_KEY_ID", "a"),
        ("AWS_SECRET_ACCESS_KEY", "b"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
    ];
    let (out, log) = (place.path("out"), place.path("log"));
    let began = Instant::now();
    let mut running = start(command(&place, "s3://acme/in", out.to_str().unwrap(), &environment), &log);
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("the server is named", || told().contains(&endpoint));
    // As late as that only where the machine has much else to do.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let line = told().lines().find(|line| line.contains(&endpoint)).unwrap_or_default().to_owned();
    for word in ["not answered for 8 s", "GET", "AWS_ENDPOINT_URL_S3"] {
        assert!(line.contains(word), "{line}");
    }
    assert_eq!(told().matches("not answered").count(), 1, "{}", told());
    signal(&running, "INT");
    wait_for_end(&mut running);
}

#[test]
fn buckets_that_are_not_there_are_told_in_one_sentence() {
    let place = Place::new();
    let aws = Aws::start();
    let out = place.path("out");
    let told = run(&place, "s3://acme/in", out.to_str().unwrap(), &aws.environment());
    assert_is_one_sentence(
        &told,
        &["cannot list `s3://acme/in/`", "there is no such bucket", "millwork bootstrap aws"],
    );
}

#[test]
fn directories_that_cannot_be_used_are_told_in_one_sentence() {
    let place = Place::new();
    let (input, out) = (place.path("in"), place.path("out"));
    let [input, out] = [&input, &out].map(|path| path.to_str().unwrap());
    let file = place.input("2025-01-01-a.ndjson", "{\"a\":1}\n");
    let gone = place.path("gone");
    let told = run(&place, gone.to_str().unwrap(), out, &[]);
    assert_is_one_sentence(
        &told,
        &["cannot list `", "/gone`", "there is no such directory", "create it, or name another"],
    );
    let told = run(&place, input, file.join("out").to_str().unwrap(), &[]);
    assert_is_one_sentence(&told, &["a part of the path is a file, not a directory", "name a directory"]);
}
