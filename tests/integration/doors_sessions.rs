//! Sessions of browsers: which requests show their cookies, and what ends them.

use crate::cluster::Cluster;
use crate::place::{Done, PATIENCE, Place, binary, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

/// Sends a request that closes its connection, and returns the answer.
fn say(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(port: u16, path: &str, headers: &str) -> String {
    say(port, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"))
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let lines = answer.split("\r\n\r\n").next()?.lines();
    lines.filter_map(|line| line.split_once(": ")).find(|(known, _)| *known == name).map(|(_, value)| value)
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

/// Cookie of a session, as a browser keeps it: RFC 6265 knows a path, and no port.
struct Session {
    cookie: String,
    path: String,
}

impl Session {
    /// Signs in with a token.
    fn begin(port: u16, token: &str) -> Self {
        let body = format!("token={token}&back=%2Fui%2Fruns%3Fstate%3Dfailed");
        let answer = say(
            port,
            &format!(
                "POST /ui/sign-in HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nsec-fetch-site: same-origin\r\n\
                 content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ),
        );
        let set = header(&answer, "set-cookie").unwrap_or_else(|| panic!("{answer}"));
        let path = set.split("; Path=").nth(1).unwrap().split(';').next().unwrap().to_owned();
        assert_eq!(header(&answer, "location"), Some(format!("{path}ui/runs?state=failed").as_str()), "{answer}");
        Self { cookie: set.split(';').next().unwrap().to_owned(), path }
    }

    fn header(&self) -> String {
        format!("cookie: {}\r\n", self.cookie)
    }

    /// Tells whether a browser shows the cookie to a request for a path, at whatever port of the host.
    fn is_shown_to(&self, path: &str) -> bool {
        path.starts_with(&self.path)
    }
}

fn new_token(file: &Path, id: &str, role: &str) -> String {
    let mut command = Command::new(binary("millwork"));
    command.args(["token", "new", "--id", id, "--role", role, "--file"]).arg(file);
    Done::of(command.output().unwrap()).stdout.trim().to_owned()
}

#[test]
fn another_port_of_the_host_is_shown_no_session() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let port = cluster.http_port();
    let token = std::fs::read_to_string(place.token_file(port)).unwrap();
    let session = Session::begin(port, token.trim());
    // Whoever listens beside it can have a browser ask for any path that he knows.
    for path in ["/", "/ui/", "/ui/runs?state=failed", "/api/v1/stats", "/api/v1/events", "/ui/sign-in"] {
        assert!(!session.is_shown_to(path), "{path}");
    }
    assert!(session.path.len() > 32 && !token.contains(session.path.trim_matches('/')), "nobody guesses it");
    let name = session.path.trim_matches('/');
    // Nobody who has not signed in is told the path, by any answer; and a session counts nowhere else.
    for path in ["/", "/ui", "/ui/", "/ui/runs", "/ui/sign-in", "/ui/enter?code=1", "/api/v1/stats", "/healthz", "/x"] {
        for headers in [String::new(), session.header()] {
            let answer = get(port, path, &headers);
            assert!(!answer.contains(name), "{path}: {answer}");
            assert!(!answer.contains("Sign out") && !answer.contains("\"leads\""), "{path}: {answer}");
        }
    }
    assert_eq!(status(&get(port, "/api/v1/stats", &session.header())), "401");
    let below = |path: &str| format!("{}{path}", session.path.trim_end_matches('/'));
    assert!(get(port, &below("/ui/runs"), &session.header()).contains("Sign out"));
    assert_eq!(status(&get(port, &below("/api/v1/stats"), &session.header())), "200");
    let out = get(port, &below("/ui/runs"), "");
    assert_eq!(header(&out, "location"), Some(below("/ui/sign-in?back=%2Fui%2Fruns").as_str()), "{out}");
    // A path that is no token's leads to the sign-in, and to nothing else.
    let other = format!("/{}", "0".repeat(name.len()));
    let gone = get(port, &format!("{other}/ui/runs"), &session.header());
    assert_eq!(header(&gone, "location"), Some("/ui/sign-in?back=%2Fui%2Fruns"), "{gone}");
    assert_eq!(status(&get(port, &format!("{other}/api/v1/stats"), &session.header())), "401");
    // Neither does a referrer tell it: answers say that no other origin gets one.
    let page = get(port, &below("/ui/"), &session.header());
    assert_eq!(header(&page, "referrer-policy"), Some("same-origin"), "{page}");
}

#[test]
fn a_cookie_that_another_port_plants_signs_nobody_in_or_out() {
    let place = Place::new();
    let file = place.path("tokens");
    let [ana, bob] = [("ana", "admin"), ("bob", "read")].map(|(id, role)| new_token(&file, id, role));
    let cluster = Cluster::start(&place, "out", 0, &["--token-file", file.to_str().unwrap()]);
    let port = cluster.http_port();
    let [ana, bob] = [ana, bob].map(|token| Session::begin(port, &token));
    assert_ne!(ana.path, bob.path, "who has one token does not know the path of another");
    let page = |path: &str, cookies: &str| get(port, path, &format!("cookie: {cookies}\r\n"));
    let of_ana = format!("{}ui/", ana.path);
    for cookies in [
        format!("{}; {}", bob.cookie, ana.cookie),
        format!("{}; {}", ana.cookie, bob.cookie),
        format!("{}=x; {}; {0}=", ana.cookie.split('=').next().unwrap(), ana.cookie),
    ] {
        let answer = page(&of_ana, &cookies);
        assert!(answer.contains("the token ana,") && !answer.contains("the token bob,"), "{cookies}: {answer}");
    }
    // Alone, it is worth nothing there; and nothing that a page tells once is another's word.
    assert_eq!(status(&page(&of_ana, &bob.cookie)), "303");
    let told = page(&of_ana, &format!("{}; millwork_said=Type+your+token+here", ana.cookie));
    assert!(told.contains("the token ana,") && !told.contains("Type your token"), "{told}");
}

#[test]
fn streams_and_sessions_end_with_their_token() {
    let place = Place::new();
    let file = place.path("tokens");
    let [ana, bob] = [("ana", "read"), ("bob", "read")].map(|(id, role)| new_token(&file, id, role));
    let cluster = Cluster::start(&place, "out", 0, &["--token-file", file.to_str().unwrap()]);
    let port = cluster.http_port();
    let session = Session::begin(port, &ana);
    let open = |path: &str, headers: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "GET {path}?topics=run,stats,progress HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"
        )
        .unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        stream
    };
    let events = "/api/v1/events";
    let mut streams = [
        open(events, &format!("authorization: Bearer {ana}\r\n")),
        open(&format!("{}{}", session.path, &events[1..]), &session.header()),
    ];
    let mut stays = open(events, &format!("authorization: Bearer {bob}\r\n"));
    let lines = std::fs::read_to_string(&file).unwrap();
    std::fs::write(place.path("new"), lines.lines().filter(|line| line.contains("bob")).collect::<String>()).unwrap();
    std::fs::rename(place.path("new"), &file).unwrap();
    for stream in &mut streams {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    }
    assert_eq!(status(&get(port, &format!("{}ui/", session.path), &session.header())), "303");
    wait_until("the other goes on", || {
        let mut more = [0; 64];
        stays.read(&mut more).is_ok_and(|read| read > 0)
    });
}
