//! Strangers at the HTTP port: pages, other users, wrong tokens, plain requests where TLS is spoken.

use crate::cluster::{Cluster, free_port, manifest};
use crate::place::{Done, Place, Running, binary, signal, start, wait_for_end, wait_until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

/// Makes a token with the command line. Returns its text.
fn new_token(file: &Path, id: &str, role: &str, more: &[&str]) -> String {
    let mut command = Command::new(binary("millwork"));
    command.args(["token", "new", "--id", id, "--role", role, "--file"]).arg(file).args(more);
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(done.stdout.lines().count(), 1, "{}", done.stdout);
    done.stdout.trim().to_owned()
}

fn code_of((status, text): (u16, String)) -> (u16, String) {
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn ok() -> (u16, String) {
    (200, String::new())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn a_token_may_do_what_its_role_says() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\":1}\n");
    let file = place.path("tokens");
    let [read, operate, admin] = ["read", "operate", "admin"].map(|role| new_token(&file, role, role, &[]));
    let cluster = Cluster::start(&place, "out", 0, &["--token-file", file.to_str().unwrap()]);
    let document: Value =
        serde_json::from_slice(&std::fs::read(place.path(&manifest(&place, "m", ""))).unwrap()).unwrap();
    let ask = |token: &str, request: &dyn Fn(&Client) -> RequestBuilder| {
        code_of(cluster.call(|client| request(client).bearer_auth(token)).unwrap())
    };
    let url = |path: &str| format!("{}{path}", cluster.url());
    for token in [&read, &operate, &admin] {
        assert_eq!(ask(token, &|c| c.get(url("/api/v1/runs"))), ok());
        assert_eq!(ask(token, &|c| c.get(url("/metrics"))), ok());
    }
    let submit = |c: &Client| c.post(url("/api/v1/manifests")).json(&document);
    assert_eq!(ask(&read, &submit), refused(403, "wrong-role"));
    assert_eq!(ask(&operate, &submit), refused(202, ""));
    for path in ["/api/v1/runs/m/cancel", "/api/v1/runs/m/retry"] {
        assert_eq!(ask(&read, &|c| c.post(url(path))), refused(403, "wrong-role"), "{path}");
        assert!([202, 409].contains(&ask(&operate, &|c| c.post(url(path))).0), "{path}");
    }
    let wish = json!({"action": {"set-state": "pending"}, "select": {"ids": ["s3://in/a"]}, "reason": "trial"});
    let plan = |c: &Client| c.post(url("/api/v1/plans")).json(&wish);
    assert_eq!((ask(&operate, &plan), ask(&admin, &plan)), (refused(403, "wrong-role"), refused(201, "")));
    assert_eq!(
        ask(&operate, &|c| c.delete(url("/api/v1/runs"))),
        refused(403, "wrong-role"),
        "what is not opened is closed"
    );
    assert_eq!(ask(&admin, &|c| c.delete(url("/api/v1/runs"))), refused(405, "wrong-method"));
    let without = |path: &str| code_of(cluster.call(|c| c.get(url(path))).unwrap());
    for path in ["/api/v1/runs", "/api/v1/events", "/api/v1/openapi.json", "/metrics", "/nowhere"] {
        assert_eq!(without(path), refused(401, "unauthorized"), "{path}");
    }
    for path in ["/healthz", "/livez"] {
        assert_eq!(without(path), ok(), "{path}");
    }
    let log = std::fs::read_to_string(place.path("scheduler.log")).unwrap();
    assert!(log.contains("token=operate"), "what changes something is told with the token's id: {log}");
    for token in [&read, &operate, &admin] {
        let secret = token.rsplit('_').next().unwrap();
        assert!(!log.contains(secret) && !std::fs::read_to_string(&file).unwrap().contains(secret));
    }
}

/// Many ask at once that one plan be applied, its maker and another: it is applied once, for its maker.
#[test]
fn a_plan_that_many_apply_at_once_is_applied_once() {
    const RUNS: usize = 30;
    let place = Place::new();
    let file = place.path("tokens");
    let options = ["--token-file", file.to_str().unwrap(), "--max-concurrent-runs", "1"];
    let [maker, other] = ["maker", "other"].map(|id| new_token(&file, id, "operate", &[]));
    let cluster = Cluster::start(&place, "out", 0, &options);
    let url = |path: &str| format!("{}/api/v1/{path}", cluster.url());
    let ask = |token: &str, request: &dyn Fn(&Client) -> RequestBuilder| {
        let (status, text) = cluster.call(|client| request(client).bearer_auth(token)).unwrap();
        (status, serde_json::from_str::<Value>(&text).unwrap_or_default())
    };
    let ids: Vec<String> = (0..=RUNS).map(|day| format!("m{day}")).collect();
    for (id, day) in ids.iter().zip(1..) {
        place.input(&format!("2025-01-{day:02}-a.ndjson"), "{\"a\":1}\n");
        let name = manifest(&place, id, &format!("2025-01-{day:02}"));
        let document: Value = serde_json::from_slice(&std::fs::read(place.path(&name)).unwrap()).unwrap();
        assert_eq!(ask(&maker, &|c| c.post(url("manifests")).json(&document)).0, 202);
    }
    // Without an executor, the first one has the turn and keeps it: the others stay as they are.
    wait_until("one has its turn", || ask(&maker, &|c| c.get(url("runs/m0"))).1["state"] != "queued");
    let wish = json!({"action": "cancel", "select": {"ids": ids[1..]}, "reason": "trial"});
    let (status, plan) = ask(&maker, &|c| c.post(url("plans")).json(&wish));
    assert_eq!((status, plan["changes"].as_array().map(Vec::len)), (201, Some(RUNS)), "{plan}");
    let path = url(&format!("plans/{}", plan["id"].as_str().unwrap()));
    let apply = |token: &str| ask(token, &|c| c.post(format!("{path}/apply")));
    let answers: Vec<(bool, u16, Value)> = std::thread::scope(|scope| {
        let asked = (0..12).map(|number| {
            let (is_maker, token) = if number % 3 == 0 { (false, &other) } else { (true, &maker) };
            scope.spawn(move || {
                let (status, answer) = apply(token);
                (is_maker, status, answer["error"]["code"].clone())
            })
        });
        asked.collect::<Vec<_>>().into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let (mut done, mut late) = (0, 0);
    for (is_maker, status, code) in &answers {
        match (is_maker, status, code.as_str()) {
            (true, 200, None) => done += 1,
            (true, 409, Some("plan-busy" | "plan-used")) => late += 1,
            (false, 403, Some("plan-of-another")) => {}
            _ => panic!("{answers:?}"),
        }
    }
    assert_eq!((done, late), (1, 7), "{answers:?}");
    let (_, plan) = ask(&maker, &|c| c.get(&path));
    let results: Vec<_> = plan["changes"].as_array().unwrap().iter().map(|change| change["result"].clone()).collect();
    assert_eq!((&plan["state"], results), (&"applied".into(), vec![Value::from("done"); RUNS]), "{plan}");
    let (_, notes) = ask(&maker, &|c| c.get(url("audit?limit=100")));
    let of_plan = notes["items"].as_array().unwrap().iter().filter(|note| note["plan"] == plan["id"]);
    let of_plan: Vec<_> = of_plan.map(|note| (note["actor"].clone(), note["outcome"].clone())).collect();
    assert_eq!(of_plan, [("maker".into(), format!("{RUNS} done, 0 skipped, 0 failed").into())], "{notes}");
}

#[test]
fn every_operation_but_the_health_checks_asks_for_a_token() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let document = cluster.get("openapi.json");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 15, "{document}");
    for (path, item) in paths {
        let is_open = ["/healthz", "/livez", "/readyz", "/leaderz"].contains(&path.as_str());
        for method in item.as_object().unwrap().keys() {
            let request =
                format!("{} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", method.to_uppercase());
            let answer = raw(cluster.http_port(), &request.replace(['{', '}'], ""));
            assert_eq!(!is_open, answer.starts_with("HTTP/1.1 401"), "{method} {path}: {answer}");
        }
    }
}

#[test]
fn tokens_are_exchanged_and_end_without_a_restart() {
    let place = Place::new();
    // As a mounted secret: a link to a directory, which is exchanged as a whole.
    let version = |name: &str| place.path(name).join("tokens");
    for name in ["v1", "v2"] {
        std::fs::create_dir(place.path(name)).unwrap();
    }
    let show = |name: &str| {
        let _ = std::fs::remove_file(place.path("new"));
        std::os::unix::fs::symlink(name, place.path("new")).unwrap();
        std::fs::rename(place.path("new"), place.path("data")).unwrap();
    };
    let first = new_token(&version("v1"), "ci", "read", &["--expires", "90d"]);
    show("v1");
    let cluster = Cluster::start(&place, "out", 0, &["--token-file", version("data").to_str().unwrap()]);
    let url = format!("{}/api/v1/runs", cluster.url());
    let ask = |token: &str| code_of(cluster.call(|c| c.get(&url).bearer_auth(token)).unwrap());
    assert_eq!(ask(&first), ok());
    std::fs::copy(version("v1"), version("v2")).unwrap();
    let second = new_token(&version("v2"), "ci", "read", &[]);
    assert_eq!(ask(&second), refused(401, "unauthorized"));
    show("v2");
    wait_until("the second is taken", || ask(&second) == ok());
    assert_eq!(ask(&first), ok(), "both are valid");
    let lines = std::fs::read_to_string(version("v2")).unwrap();
    let only_second = lines.lines().nth(1).unwrap();
    std::fs::write(version("v1"), only_second).unwrap();
    show("v1");
    wait_until("the first has ended", || ask(&first).0 == 401 || ask(&first).0 == 429);
    assert_eq!(ask(&second), ok());
    // A file that cannot be used ends nothing.
    std::fs::write(version("v2"), "{").unwrap();
    show("v2");
    let log = || std::fs::read_to_string(place.path("scheduler.log")).unwrap();
    wait_until("it is told of", || {
        assert_eq!(ask(&second), ok());
        log().contains("cannot be used; the ones before stay in use")
    });
    let mut expired: Value = serde_json::from_str(only_second).unwrap();
    expired["expires"] = "2025-01-01T00:00:00Z".into();
    std::fs::write(version("v1"), expired.to_string()).unwrap();
    show("v1");
    wait_until("it has expired", || ask(&second) != ok());
}

#[test]
fn who_tries_tokens_is_stopped_and_stops_nobody_else() {
    let place = Place::new();
    let file = place.path("tokens");
    let token = new_token(&file, "ci", "read", &[]);
    let cluster = Cluster::start(&place, "out", 0, &["--token-file", file.to_str().unwrap()]);
    let url = format!("{}/api/v1/runs", cluster.url());
    let ask = |token: &str| code_of(cluster.call(|c| c.get(&url).bearer_auth(token)).unwrap());
    let mut other = token.clone();
    other.pop();
    for n in 0..10 {
        let wrong = [&other, "mw_ci", "mw_ci_", "mw_other_00", "x"][n % 5];
        assert_eq!(ask(wrong), refused(401, "unauthorized"), "{wrong}");
    }
    assert_eq!(ask(&other), refused(429, "too-many-tries"));
    assert_eq!(ask(&token), ok(), "a token that cannot be guessed is taken at any time");
    let answer = raw(
        cluster.http_port(),
        &format!(
            "GET /api/v1/runs HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {other}\r\nconnection: close\r\n\r\n"
        ),
    );
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: "), "{answer}");
}

/// Sends bytes, and returns what comes until the other side closes.
fn raw(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(crate::place::PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn pages_change_nothing_even_with_a_token() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let url = |path: &str| format!("{}/api/v1/{path}", cluster.url());
    let ask = |request: &dyn Fn(&Client) -> RequestBuilder| code_of(cluster.call(|client| request(client)).unwrap());
    let document = json!({"fileLocations": [{"URIPrefixes": [place.path("in/2025-01-01-a.ndjson")]}]}).to_string();
    let post = |kind: &'static str, name: &'static str, value: &'static str| {
        let request = |c: &Client| {
            c.post(url("manifests")).header("content-type", kind).header(name, value).body(document.clone())
        };
        ask(&request)
    };
    let json = "application/json";
    assert_eq!(post(json, "origin", "https://page.example"), refused(403, "foreign-origin"));
    assert_eq!(post(json, "origin", "null"), refused(403, "foreign-origin"));
    assert_eq!(post(json, "host", "rebound.example"), refused(403, "foreign-host"));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        assert_eq!(post(kind, "accept", "*/*"), refused(415, "wrong-content-type"), "{kind}");
    }
    assert_eq!(ask(&|c| c.get(url("runs")).header("host", "rebound.example")), refused(403, "foreign-host"));
    assert_eq!(
        ask(&|c| c.post(url("runs/m/cancel")).header("origin", "https://page.example")),
        refused(403, "foreign-origin")
    );
    assert_eq!(cluster.get("runs")["items"], json!([]), "nothing has changed");
    assert_eq!(post(json, "accept", "*/*").0, 202, "what is not of a page is taken");
}

#[test]
fn without_tokens_only_the_user_who_started_it_may_ask() {
    let place = Place::new();
    let mut cluster = Cluster::start(&place, "out", 0, &[]);
    let file = place.token_file(cluster.http_port());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    let url = format!("{}/api/v1/runs", cluster.url());
    assert_eq!(code_of(cluster.call(|c| c.get(&url).bearer_auth("")).unwrap()), refused(401, "unauthorized"));
    let runs = |cluster: &Cluster<'_>| Done::of(cluster.client(&["runs", "--json"]).output().unwrap());
    assert_eq!(runs(&cluster).code, Some(0), "the command line finds the token");
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        // The way there is open, so that nothing but the directory's mode keeps others out.
        for path in [place.path(""), place.path("session")] {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let mut other = Command::new("cat");
        let done = Done::of(other.arg(&file).uid(NOBODY).gid(NOBODY).output().unwrap());
        assert!(done.code == Some(1) && done.stdout.is_empty(), "another user has read the token");
        assert!(done.stderr.contains("Permission denied"), "{}", done.stderr);
    }
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let done = runs(&cluster);
    assert!(done.code == Some(1) && done.stderr.contains("open to others"), "{}", done.stderr);
    assert_eq!(cluster.stop_scheduler(), Some(0));
    assert!(!file.exists(), "it goes with its scheduler");
}

#[test]
fn metrics_are_shown_to_all_only_if_the_operator_says_so() {
    let place = Place::new();
    let file = place.path("tokens");
    new_token(&file, "ci", "read", &[]);
    let cluster = Cluster::start(&place, "out", 0, &["--open-metrics", "--token-file", file.to_str().unwrap()]);
    assert!(cluster.try_get("/metrics").unwrap().contains("millwork_leader"));
    assert_eq!(cluster.get("runs")["error"]["code"], "unauthorized");
}

#[test]
fn a_place_does_not_tell_what_is_there() {
    let place = Place::new();
    std::fs::create_dir(place.path("m")).unwrap();
    let manifests = place.path("m").display().to_string();
    let cluster = Cluster::start(&place, "out", 0, &["--manifest-places", &manifests]);
    std::fs::write(place.path("m/secret.txt"), "a secret").unwrap();
    std::fs::write(place.path("m/other.json"), "{\"a\": 1}").unwrap();
    std::fs::create_dir(place.path("m/directory")).unwrap();
    std::fs::write(place.path("outside.json"), "a secret").unwrap();
    let error = |name: &str| {
        let path = place.path(name).display().to_string();
        let (_, body) = cluster.post("manifests", &json!({"uri": path}));
        body["error"].to_string().replace(&path, "PATH")
    };
    let absent = error("m/none.json");
    assert!(absent.contains("bad-manifest") && absent.contains("no manifest can be read at"), "{absent}");
    for name in ["m/secret.txt", "m/directory", "m/other.json", "m/secret.txt/below"] {
        assert_eq!(error(name), absent, "{name}");
    }
    let foreign = error("none.json");
    assert!(foreign.contains("foreign-object"), "{foreign}");
    assert_eq!(error("outside.json"), foreign);
    let log = std::fs::read_to_string(place.path("scheduler.log")).unwrap();
    assert!(log.contains("does not exist") || log.contains("no such file"), "the log has the reason: {log}");
    assert!(!log.contains("a secret"), "{log}");
}

/// An authority that signs certificates for `localhost`.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes a certificate and its key, in the place of those that are there.
    fn sign(&self, certificate: &Path, key: &Path) {
        let pair = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(key, pair.serialize_pem()).unwrap();
        std::fs::write(certificate, params.signed_by(&pair, &self.0).unwrap().pem()).unwrap();
    }

    /// The status of an answer to somebody who trusts in this authority alone.
    fn get(&self, url: &str) -> Option<u16> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let trusted = reqwest::Certificate::from_pem(self.0.pem().as_bytes()).unwrap();
        let client = Client::builder().tls_built_in_root_certs(false).add_root_certificate(trusted).build().unwrap();
        runtime.block_on(async { Some(client.get(url).send().await.ok()?.status().as_u16()) })
    }
}

/// A scheduler that speaks TLS, and the files of its certificate.
fn tls_scheduler(place: &Place, http: u16) -> (Running, PathBuf, PathBuf) {
    let (certificate, key) = (place.path("tls.crt"), place.path("tls.key"));
    let mut command = place.command("millwork-scheduler");
    command.args(["--listen", &format!("127.0.0.1:{}", free_port()), "--http", &format!("127.0.0.1:{http}")]);
    command.arg("--state").arg(format!("sqlite:{}", place.path("s.db").display()));
    command.arg("--output").arg(place.path("out")).arg("--input-places").arg(place.path("in"));
    command.arg("--http-tls-cert").arg(&certificate).arg("--http-tls-key").arg(&key);
    (start(command, &place.path("scheduler.log")), certificate, key)
}

#[test]
fn tls_is_spoken_and_its_certificate_exchanged() {
    let place = Place::new();
    let (old, new) = (Authority::new(), Authority::new());
    old.sign(&place.path("tls.crt"), &place.path("tls.key"));
    let http = free_port();
    let (mut scheduler, certificate, key) = tls_scheduler(&place, http);
    let url = format!("https://localhost:{http}");
    let health = format!("{url}/healthz");
    wait_until("it answers", || old.get(&health) == Some(200));
    assert_eq!(new.get(&health), None, "of an authority that is not trusted");
    let plain = raw(http, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(!plain.contains("HTTP"), "a plain request is answered: {plain}");
    let ca = place.path("ca.pem");
    std::fs::write(&ca, old.0.pem()).unwrap();
    let runs = |more: &[&str]| {
        let mut command = place.command("millwork");
        Done::of(command.args(["runs", "--json", "--scheduler", &url]).args(more).output().unwrap())
    };
    let done = runs(&["--ca-file", ca.to_str().unwrap()]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(runs(&[]).code, Some(5), "the system does not know the authority");
    let mut doctor = place.command("millwork");
    doctor.args(["doctor", "--json", "--scheduler", &url, "--ca-file", ca.to_str().unwrap()]);
    let examined = Done::of(doctor.output().unwrap()).json();
    let name = format!("certificate {} (api)", certificate.display());
    let told = examined["checks"].as_array().unwrap().iter().find(|check| check["name"] == name.as_str());
    assert!(told.is_some_and(|check| check["found"].as_str().unwrap().contains("until")), "{examined}");
    new.sign(&certificate, &key);
    wait_until("the new certificate is shown", || new.get(&health) == Some(200));
    assert_eq!(old.get(&health), None);
    std::fs::write(&certificate, "none").unwrap();
    wait_until("it is told of", || {
        assert_eq!(new.get(&health), Some(200), "the one before stays in use");
        std::fs::read_to_string(place.path("scheduler.log")).unwrap().contains("cannot be used")
    });
    signal(&scheduler, "TERM");
    assert_eq!(wait_for_end(&mut scheduler), Some(0));
}

#[test]
fn others_are_listened_to_only_with_tokens_and_tls() {
    let place = Place::new();
    let file = place.path("tokens");
    new_token(&file, "ci", "read", &[]);
    let token = ["--token-file", file.to_str().unwrap()];
    let start = |arguments: &[&str]| {
        let mut command = place.command("millwork-scheduler");
        command.args(["--output", "/dev/null/out", "--state", "sqlite:/dev/null/s.db"]).args(arguments);
        command.arg("--input-places").arg(place.path("in"));
        let done = Done::of(command.output().unwrap());
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        done.stderr
    };
    let everywhere = ["--http", "0.0.0.0:0"];
    assert!(start(&everywhere).contains("without a token"));
    assert!(start(&[&everywhere[..], &["--insecure-http"]].concat()).contains("without a token"));
    assert!(start(&[&everywhere[..], &token].concat()).contains("without TLS"));
    let risk = start(&[&everywhere[..], &token, &["--insecure-http"]].concat());
    assert!(risk.contains("/dev/null/") && !risk.contains("refusing"), "{risk}");
    assert!(start(&["--listen", "0.0.0.0:0", "--insecure-http"]).contains("--insecure-executors"));
    let former = start(&["--insecure"]);
    assert!(former.contains("--insecure-http") && former.contains("--insecure-executors"), "{former}");
}

/// Everybody on a machine reads the arguments of its programs.
#[test]
fn a_link_that_signs_in_is_in_no_argument_of_a_program() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let (browser, told) = (place.path("bin/xdg-open"), place.path("told"));
    std::fs::create_dir(place.path("bin")).unwrap();
    std::fs::write(&browser, format!("#!/bin/sh\necho \"$1\" > {0}.new && mv {0}.new {0}\n", told.display())).unwrap();
    std::fs::set_permissions(&browser, Permissions::from_mode(0o755)).unwrap();
    let mut open = cluster.client(&["open", "m1"]);
    open.env("DISPLAY", ":9").env("PATH", format!("{}:/usr/bin:/bin", place.path("bin").display()));
    let done = Done::of(open.output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let code = done.stdout.split("code=").nth(1).unwrap().split('&').next().unwrap();
    wait_until("the browser is asked", || told.exists());
    let argument = std::fs::read_to_string(&told).unwrap();
    assert!(!argument.contains(code), "{argument}");
    let page = Path::new(argument.trim());
    assert!(std::fs::read_to_string(page).unwrap().contains(code));
    assert_eq!(std::fs::metadata(page).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn a_header_has_as_many_bytes_as_the_limit_and_no_more() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    let port = cluster.http_port();
    let of = |bytes: usize| {
        raw(
            port,
            &format!(
                "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\nconnection: close\r\n\r\n",
                "x".repeat(bytes)
            ),
        )
    };
    assert!(of(60 << 10).starts_with("HTTP/1.1 200"));
    assert!(of(70_000).starts_with("HTTP/1.1 431"));
}
