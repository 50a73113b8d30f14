//! Requests of shapes that servers disagree about: one answer, or none, and what comes behind is nobody's.

use crate::cluster::Cluster;
use crate::place::{PATIENCE, Place};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;

/// Bytes of an answer that is not cut: a page is less.
const MAX_ANSWER_BYTES: usize = 64 << 10;

/// Answer to bytes, until the other end closes.
fn say(port: u16, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may have closed by then.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

#[test]
fn a_body_has_one_end_and_nothing_is_read_behind_it() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let port = cluster.http_port();
    let token = std::fs::read_to_string(place.token_file(port)).unwrap();
    let behind = format!("GET /api/v1/stats HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n");
    for lengths in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "content-length: 0\r\ncontent-length: 4\r\n\r\n",
        "content-length: 0, 0\r\n\r\n",
        "content-length: +0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n",
        "transfer-encoding: chunked, identity\r\n\r\n",
        "transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
        "x: a\r\n b: c\r\n\r\n",
    ] {
        let head = format!(
            "POST /api/v1/manifests HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             authorization: Bearer {token}\r\n{lengths}"
        );
        let answer = say(port, format!("{head}{behind}").as_bytes());
        assert!(answers(&answer) <= 1 && !answer.contains("\"leads\""), "{lengths}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 2"), "{lengths}: {answer}");
    }
    let two = say(port, format!("{behind}{}", behind.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")).as_bytes());
    assert_eq!(answers(&two), 2, "requests without bodies share a connection: {two}");
}

#[test]
fn an_error_does_not_say_all_that_was_asked() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let long = "a".repeat(8 << 20);
    let bodies = [
        serde_json::json!({"fileLocations": [{"URIPrefixes": [long]}]}),
        serde_json::json!({"fileLocations": [{"URIPrefixes": [format!("/in/2025-12-23-{long}.ndjson")]}]}),
        serde_json::json!({ (long.as_str()): 1 }),
        serde_json::json!({"fileLocations": [], "metadata": {"manifest_id": long}}),
    ];
    for body in bodies {
        let (status, text) =
            cluster.call(|client| client.post(format!("{}/api/v1/manifests", cluster.url())).json(&body)).unwrap();
        assert!((400..500).contains(&status) && text.len() < MAX_ANSWER_BYTES, "{status}: {} bytes", text.len());
        assert!(serde_json::from_str::<Value>(&text).unwrap()["error"]["message"].as_str().unwrap().len() <= 4096);
    }
    let log = std::fs::read_to_string(place.path("scheduler.log")).unwrap();
    assert!(log.len() < 1 << 20, "the log has {} bytes", log.len());
}

#[test]
fn a_browser_with_too_many_cookies_is_told_what_to_do() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let with = |cookies: usize| {
        let cookies: Vec<String> = (0..cookies).map(|n| format!("of-another-port-{n}={}", "x".repeat(4000))).collect();
        let cookies = cookies.join("; ");
        say(
            cluster.http_port(),
            format!("GET /ui/ HTTP/1.1\r\nhost: localhost\r\ncookie: {cookies}\r\nconnection: close\r\n\r\n")
                .as_bytes(),
        )
    };
    assert!(with(15).starts_with("HTTP/1.1 303"), "60 kB have room");
    // As many as browsers keep for a host.
    for cookies in [17, 50, 180] {
        let answer = with(cookies);
        assert!(answer.starts_with("HTTP/1.1 431") && answer.contains("Remove the cookies of this host"), "{answer}");
        assert_eq!(answers(&answer), 1, "{answer}");
    }
    let lines = say(cluster.http_port(), &[b"GET / HTTP/1.1\r\n".as_slice(), &b"a: b\r\n".repeat(1000)].concat());
    assert!(lines.starts_with("HTTP/1.1 431") && lines.contains("100 lines"), "{lines}");
}

#[test]
fn a_target_names_the_host_of_the_header_or_is_refused() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let port = cluster.http_port();
    let token = std::fs::read_to_string(place.token_file(port)).unwrap();
    let get = |target: &str| {
        let head = format!("authorization: Bearer {token}\r\nconnection: close\r\n\r\n");
        say(port, format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{head}").as_bytes())
    };
    assert!(get("/api/v1/stats").starts_with("HTTP/1.1 200"));
    assert!(get("http://LOCALHOST/api/v1/stats").starts_with("HTTP/1.1 200"));
    for target in
        ["http://evil.example/api/v1/stats", "http://localhost:1/api/v1/stats", "http://a@localhost/api/v1/stats"]
    {
        let answer = get(target);
        assert!(answer.starts_with("HTTP/1.1 400") && !answer.contains("leads"), "{target}: {answer}");
    }
}
