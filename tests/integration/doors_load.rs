//! Clients that open thousands of connections, or never finish what they say.

use crate::cluster::{Cluster, free_port, manifest};
use crate::place::{PATIENCE, Place, Running, binary, start, wait_until};
use millwork_net::raise_descriptor_limit;
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// More than any limit of connections.
const MANY: usize = 2000;
/// Time within which a health check is answered.
const PROMPT: Duration = Duration::from_millis(100);

/// Beginning of a sign-in.
const SIGN_IN: &str = "POST /ui/sign-in HTTP/1.1\r\nhost: localhost\r\nsec-fetch-site: same-origin\r\n\
                       content-type: application/x-www-form-urlencoded\r\n";

/// A sign-in of whose body only the first byte comes.
fn half_sign_in() -> String {
    format!("{SIGN_IN}content-length: 100\r\n\r\nt")
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connection from an address of loopback, of which any user of the machine has sixteen million.
fn connect_from(last: u8, port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a request on a connection, and returns the beginning of the answer, or nothing if the connection was closed.
fn ask_on(stream: &mut TcpStream, request: &str) -> String {
    let mut answer = [0; 4096];
    let read = stream.write_all(request.as_bytes()).and_then(|()| stream.read(&mut answer)).unwrap_or(0);
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

/// Connections to a port that say this, and are kept.
fn crowd(port: u16, says: &str) -> Vec<TcpStream> {
    assert!(raise_descriptor_limit().unwrap() as usize > MANY + 500, "this test needs more file descriptors");
    let one = |_| {
        let mut stream = connect(port);
        // One that has been closed already is one that is not there.
        let _ = stream.write_all(says.as_bytes());
        stream
    };
    (0..MANY).map(one).collect()
}

/// Asks for health over connections of its own. The time in the middle of several, since the machine has other work, too.
fn time_of_health(port: u16) -> Duration {
    let ask = || {
        let started = Instant::now();
        let answer = say(port, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        started.elapsed()
    };
    let mut times: Vec<_> = (0..21).map(|_| ask()).collect();
    times.sort();
    times[times.len() / 2]
}

/// Says something, and returns what is said until the other side closes.
fn say(port: u16, text: &str) -> String {
    let mut stream = connect(port);
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn descriptors(process: &Running) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", process.0.id())).unwrap().count()
}

#[test]
fn thousands_of_silent_connections_stop_neither_health_nor_work() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\":1}\n");
    let cluster = Cluster::start(&place, "out", 1, &[]);
    let port = cluster.http_port();
    let silent = crowd(port, "");
    let time = time_of_health(port);
    assert!(time < PROMPT, "health takes {time:?}");
    let open = descriptors(cluster.scheduler.as_ref().unwrap());
    assert!(open < 700, "{open} descriptors are open");
    let half = crowd(port, "POST /api/v1/manifests HTTP/1.1\r\nhost: localhost\r\n");
    let time = time_of_health(port);
    assert!(time < PROMPT, "health takes {time:?}");
    let name = manifest(&place, "m", "");
    assert_eq!(cluster.submit(&[&name]).code, Some(0), "work goes on");
    drop((silent, half));
}

/// Strangers who sign in slowly hold places of strangers only.
#[test]
fn half_sign_ins_keep_out_nobody_who_shows_a_token() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let port = cluster.http_port();
    let begin = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(half_sign_in().as_bytes()).unwrap();
        stream
    };
    for _ in 0..3 {
        let half: Vec<_> = (0..64).map(|_| begin()).collect();
        let asked = || cluster.call(|client| client.get(format!("{}/api/v1/runs?limit=1", cluster.url())));
        assert!((0..5).all(|_| asked().is_some_and(|(status, _)| status == 200)), "it asks with a token");
        drop(half);
    }
}

/// Connections of few addresses, which have asked once and stay, do not have a newcomer closed before its first request.
#[test]
fn idle_connections_of_strangers_keep_out_nobody_who_takes_his_time() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &["--http-max-connections", "32"]);
    let port = cluster.http_port();
    let health = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let idle = |last: u8| {
        let mut stream = connect_from(last, port);
        assert!(ask_on(&mut stream, health).starts_with("HTTP/1.1 200"));
        stream
    };
    let kept: Vec<_> = [2, 3].into_iter().flat_map(|last| (0..16).map(move |_| last)).map(idle).collect();
    for delay in [0, 30, 300] {
        let mut newcomer = connect_from(4, port);
        let flood: Vec<_> = (0..64).map(|n| connect_from(2 + n % 2, port)).collect();
        std::thread::sleep(Duration::from_millis(delay));
        let answer = ask_on(&mut newcomer, health);
        assert!(answer.starts_with("HTTP/1.1 200"), "after {delay} ms: `{answer}`");
        drop(flood);
    }
    drop(kept);
}

/// Strangers who sign in slowly keep out nobody who sends all of his sign-in.
#[test]
fn half_sign_ins_keep_nobody_from_signing_in() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let port = cluster.http_port();
    let begin = |last: u8| {
        let mut stream = connect_from(last, port);
        stream.write_all(half_sign_in().as_bytes()).unwrap();
        stream
    };
    let is_waited_for = |mut stream: &TcpStream| {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        stream.read(&mut [0]).is_err()
    };
    let mut half = Vec::new();
    // Again on a machine that takes longer to send them than they are waited for.
    wait_until("half-sent ones are waited for", || {
        half = [2, 3].into_iter().flat_map(|last| (0..32).map(move |_| last)).map(begin).collect();
        half.iter().any(is_waited_for)
    });
    let token = std::fs::read_to_string(place.token_file(port)).unwrap();
    let form = format!("token={token}");
    let answer = ask_on(&mut connect_from(4, port), &format!("{SIGN_IN}content-length: {}\r\n\r\n{form}", form.len()));
    assert!(answer.starts_with("HTTP/1.1 303") && answer.contains("set-cookie: "), "{answer}");
    let page = ask_on(&mut connect_from(4, port), "GET /ui/sign-in HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    let long = "a".repeat(9 << 10);
    let refused = ask_on(&mut connect_from(4, port), &format!("{SIGN_IN}content-length: {}\r\n\r\n{long}", long.len()));
    assert!(refused.starts_with("HTTP/1.1 413") && refused.contains("8192 bytes"), "{refused}");
    drop(half);
}

#[test]
fn thousands_of_streams_stop_neither_health_nor_work() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\":1}\n");
    let cluster = Cluster::start(&place, "out", 1, &[]);
    let port = cluster.http_port();
    let token = std::fs::read_to_string(place.token_file(port)).unwrap();
    let request = format!("GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n");
    let streams = crowd(port, &request);
    let time = time_of_health(port);
    assert!(time < PROMPT, "health takes {time:?}");
    let name = manifest(&place, "m", "");
    assert_eq!(cluster.submit(&[&name]).code, Some(0), "work goes on");
    let mut statuses = std::collections::BTreeMap::new();
    for mut stream in streams {
        let mut answer = [0; 512];
        let read = stream.read(&mut answer).unwrap_or(0);
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        let status = answer.split(' ').nth(1).unwrap_or("closed").to_owned();
        assert!(status != "429" || answer.contains("retry-after: "), "{answer}");
        *statuses.entry(status).or_insert(0) += 1;
    }
    assert_eq!(statuses.get("200"), Some(&64), "{statuses:?}");
    assert!(statuses.keys().all(|status| ["200", "429", "closed"].contains(&status.as_str())), "{statuses:?}");
}

#[test]
fn a_builder_answers_beside_thousands_of_silent_connections() {
    let place = Place::new();
    let http = free_port();
    let mut command = Command::new(binary("millwork-manifest-builder"));
    command.args(["watch", "--interval-seconds", "1", "--http", &format!("127.0.0.1:{http}"), "--input"]);
    command.arg(place.path("in")).arg("--manifests").arg(place.path("manifests"));
    command.arg("--state").arg(format!("sqlite:{}", place.path("s.db").display()));
    let builder = start(command, &place.path("builder.log"));
    wait_until("it answers", || TcpStream::connect(("127.0.0.1", http)).is_ok());
    let silent = crowd(http, "");
    let half = crowd(http, "GET /healthz HTTP/1.1\r\n");
    let time = time_of_health(http);
    assert!(time < PROMPT, "health takes {time:?}");
    assert!(descriptors(&builder) < 300);
    drop((silent, half));
}

#[test]
fn who_speaks_slowly_is_hung_up_on() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let port = cluster.http_port();
    let token = std::fs::read_to_string(place.token_file(port)).unwrap();
    let timed = move |text: String| {
        std::thread::spawn(move || {
            let started = Instant::now();
            let answer = say(port, &text);
            (answer, started.elapsed())
        })
    };
    let head = "POST /api/v1/manifests HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n";
    let header = timed("GET /healthz HTTP/1.1\r\nhost: loc".to_owned());
    let body = timed(format!("{head}authorization: Bearer {token}\r\n\r\n{{\"uri\""));
    let stranger = timed(format!("{head}\r\n{{\"uri\""));
    let (answer, time) = stranger.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 401") && time < Duration::from_secs(8), "{answer} after {time:?}");
    let (answer, time) = header.join().unwrap();
    let seconds = time.as_secs();
    assert!(answer.is_empty() && (9..20).contains(&seconds), "{answer} after {time:?}");
    let (answer, time) = body.join().unwrap();
    let seconds = time.as_secs();
    assert!(answer.starts_with("HTTP/1.1 408") && (24..40).contains(&seconds), "{answer} after {time:?}");
    let longest = format!("GET /healthz?{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(70_000));
    let answer = say(port, &longest);
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
}
