//! The scheduler's HTTP API: shapes, errors, what can be asked of runs, events, metrics; and whatever a fuzzer thinks of.

use crate::cluster::{Cluster, free_port, manifest};
use crate::place::{Done, Place, python, start, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

/// A place with a small file of each of the first days of 2025, and a manifest of each.
fn days(number: u32) -> (Place, Vec<Value>) {
    let place = Place::new();
    let document = |day: u32| {
        place.input(&format!("2025-01-{day:02}-a.ndjson"), "{\"a\":1}\n{\"a\":2}\nnot json\n");
        let name = manifest(&place, &format!("m{day}"), &format!("2025-01-{day:02}"));
        serde_json::from_slice(&std::fs::read(place.path(&name)).unwrap()).unwrap()
    };
    let documents = (1..=number).map(document).collect();
    (place, documents)
}

fn wait_for(cluster: &Cluster<'_>, id: &str, state: &str) -> Value {
    let mut run = Value::Null;
    wait_until(&format!("{id} is {state}"), || {
        run = cluster.get(&format!("runs/{id}"));
        run["state"] == state
    });
    run
}

fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|run| run["manifest_id"].as_str().unwrap().to_owned()).collect()
}

fn put_priority(cluster: &Cluster<'_>, id: &str, body: &str) -> (u16, String) {
    let url = format!("{}/api/v1/runs/{id}/priority", cluster.url());
    cluster.call(|c| c.put(url).header("content-type", "application/json").body(body.to_owned())).unwrap()
}

#[test]
fn listings_come_in_pages_and_can_be_narrowed() {
    let (place, documents) = days(5);
    let cluster = Cluster::start(&place, "out", 1, &[]);
    documents.iter().for_each(|document| assert_eq!(cluster.post("manifests", document).0, 202));
    (1..=5).for_each(|day| drop(wait_for(&cluster, &format!("m{day}"), "completed")));
    let gone = json!({"fileLocations": [{"URIPrefixes": [place.path("in/2025-01-09-gone.ndjson")]}], "metadata": {"manifest_id": "gone"}});
    cluster.post("manifests", &gone);
    wait_for(&cluster, "gone", "failed");

    let (mut seen, mut query) = (Vec::new(), "runs?limit=2".to_owned());
    loop {
        let page = cluster.get(&query);
        seen.extend(ids(&page));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        let cursor: String = url_escaped(cursor);
        query = format!("runs?limit=2&cursor={cursor}");
    }
    assert_eq!(seen.first().map(String::as_str), Some("gone"), "the newest is first");
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 6, "{seen:?}");
    assert_eq!(seen.len(), 6, "{seen:?}");
    assert_eq!(ids(&cluster.get("runs?status=failed")), ["gone"]);
    assert_eq!(ids(&cluster.get("runs?failure_class=input")), ["gone"]);
    assert_eq!(ids(&cluster.get("runs?state=failed,cancelled")), ["gone"]);
    assert_eq!(ids(&cluster.get("runs?state=failed,completed&prefix=m3")), ["m3"]);
    assert_eq!(ids(&cluster.get("runs?since=2100-01-01T00:00:00Z")), [""; 0]);
    assert_eq!(ids(&cluster.get("runs?until=2100-01-01T00:00:00Z&limit=1000")).len(), 6);
    let third = format!("files?state=completed,failed&prefix=file://{}", place.path("in/2025-01-03").display());
    assert_eq!(cluster.get(&third)["items"].as_array().unwrap().len(), 1);
    assert_eq!(ids(&cluster.get("runs?date=2025-01-03&status=completed")), ["m3"]);

    let run = cluster.get("runs/m1");
    let what: Vec<_> =
        run["timeline"].as_array().unwrap().iter().map(|moment| moment["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["created", "started", "committed", "ended"]);
    let totals = json!({"files": 1, "lines": 3, "rows": 2, "rejected": 1, "blank": 0, "without_rows": 0});
    assert_eq!(run["result"]["ledger"], totals);
    assert_eq!(cluster.get("runs/m1/ledger")["items"][0]["rejected"], 1);
    assert_eq!(cluster.get("runs/m1/files")["items"][0]["state"], "completed");
    assert_eq!(cluster.get("manifests/m1")["metadata"]["manifest_id"], "m1");

    assert_eq!(cluster.get("files?status=completed")["items"].as_array().unwrap().len(), 5);
    assert_eq!(cluster.get("files?date=2025-01-02")["items"].as_array().unwrap().len(), 1);
    let file = cluster.get(&format!("files/by-uri?uri={}", place.path("in/2025-01-01-a.ndjson").display()));
    let states: Vec<_> = file["timeline"].as_array().unwrap().iter().map(|entry| entry["state"].clone()).collect();
    assert_eq!((&file["manifest_id"], states.last()), (&"m1".into(), Some(&"completed".into())), "{file}");
    assert_eq!(cluster.get("quarantine")["items"], json!([]));
    wait_until("the files are counted", || !cluster.get("stats")["files_counted_at"].is_null());
    assert_eq!(cluster.get("stats")["leads"], true);
}

fn url_escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn every_error_has_one_shape() {
    let (place, documents) = days(2);
    let cluster = Cluster::start(&place, "out", 1, &[]);
    assert_eq!(cluster.post("manifests", &documents[0]).0, 202);
    wait_for(&cluster, "m1", "completed");
    assert_eq!(cluster.post("manifests", &documents[0]).0, 200, "the same manifest is known");
    let url = |path: &str| format!("{}{path}", cluster.url());
    let get = |path: &str| cluster.call(|c| c.get(url(path))).unwrap();
    let post = |path: &str, kind: &str, body: Vec<u8>| {
        cluster.call(|c| c.post(url(path)).header("content-type", kind).body(body)).unwrap()
    };
    let with = |name: &str, value: &str, url: String| cluster.call(|c| c.post(url).header(name, value)).unwrap();
    let json = "application/json";
    let taken = json!({"fileLocations": [{"URIPrefixes": [place.path("in/2025-01-01-a.ndjson")]}], "metadata": {"manifest_id": "other"}});
    let large = vec![b' '; (32 << 20) + 1];
    let cases = [
        (get("/nowhere"), 404, "not-found", "path"),
        (get("/api/v1/nowhere"), 404, "not-found", "path"),
        (cluster.call(|c| c.delete(url("/api/v1/runs"))).unwrap(), 405, "wrong-method", "allow"),
        (cluster.call(|c| c.post(url("/healthz"))).unwrap(), 405, "wrong-method", "allow"),
        (get("/api/v1/runs?limit=0"), 400, "bad-query", "1 to 1000"),
        (get("/api/v1/runs?limit=1001"), 400, "bad-query", "1 to 1000"),
        (get("/api/v1/runs?limit=x"), 400, "bad-query", "limit"),
        (get("/api/v1/runs?status=done"), 400, "bad-query", "completed"),
        (get("/api/v1/runs?date=2025-13-01"), 400, "bad-query", "date"),
        (get("/api/v1/runs?failure_class=x"), 400, "bad-query", "lost-executor"),
        (get("/api/v1/runs/m1/files?limit=10001"), 400, "bad-query", "1 to 10000"),
        (get("/api/v1/runs?colour=red"), 400, "bad-query", "colour"),
        (get("/api/v1/runs?cursor=x"), 400, "bad-query", "cursor"),
        (get("/api/v1/runs/m1/files?cursor=x"), 400, "bad-query", "cursor"),
        (get("/api/v1/files/by-uri?uri=relative"), 400, "bad-query", "uri"),
        (get("/api/v1/files/by-uri?uri=/unknown"), 404, "no-such-file", "unknown"),
        (get("/api/v1/runs/.hidden"), 400, "bad-path", "manifest id"),
        (get("/api/v1/runs/unknown"), 404, "no-such-run", "unknown"),
        (get("/api/v1/manifests/unknown"), 404, "no-such-manifest", "unknown"),
        (post("/api/v1/runs/unknown/cancel", json, vec![]), 404, "no-such-run", "unknown"),
        (post("/api/v1/runs/m1/cancel", json, vec![]), 409, "conflict", "m1"),
        (post("/api/v1/runs/m1/retry", json, vec![]), 409, "conflict", "failed"),
        (post("/api/v1/manifests", json, b"{".to_vec()), 400, "bad-json", "line 1"),
        (post("/api/v1/manifests", json, b"{}".to_vec()), 400, "bad-manifest", "fileLocations"),
        (post("/api/v1/manifests", json, b"[1]".to_vec()), 400, "bad-manifest", "expected"),
        (post("/api/v1/manifests", json, b"{\"uri\":\"/nowhere.json\"}".to_vec()), 400, "foreign-object", "nowhere"),
        (post("/api/v1/manifests", "text/plain", b"{}".to_vec()), 415, "wrong-content-type", "application/json"),
        (post("/api/v1/manifests", json, large), 413, "too-large", "33554432 bytes"),
        (post("/api/v1/manifests", json, taken.to_string().into_bytes()), 409, "conflict", "in manifest `m1`"),
        (post("/api/v1/manifests?priority=1001", json, b"{}".to_vec()), 400, "bad-query", "-1000 to 1000"),
        (post("/api/v1/manifests?priority=abc", json, b"{}".to_vec()), 400, "bad-query", "-1000 to 1000, not `abc`"),
        (put_priority(&cluster, "m1", "{\"priority\": 3}"), 409, "conflict", "completed"),
        (put_priority(&cluster, "m1", "{\"priority\": 5000}"), 400, "bad-json", "-1000 to 1000"),
        (put_priority(&cluster, "m1", "{\"priority\": -2147483648}"), 400, "bad-json", "-1000 to 1000"),
        (put_priority(&cluster, "m1", &" ".repeat((1 << 20) + 1)), 413, "too-large", "1048576 bytes"),
        (with("host", "page.example", cluster.url() + "/api/v1/runs"), 403, "foreign-host", "`page.example`"),
        (with("origin", "https://page.example", url("/api/v1/runs/m1/force")), 403, "foreign-origin", "page.example"),
    ];
    for (i, ((status, text), wanted, code, says)) in cases.into_iter().enumerate() {
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("case {i}: {text}"));
        let found = (status, body["error"]["code"].as_str(), body["error"]["message"].as_str().unwrap_or_default());
        assert_eq!((found.0, found.1), (wanted, Some(code)), "case {i}: {text}");
        assert!(found.2.contains(says), "case {i}: {text}");
    }
}

#[test]
fn runs_are_steered() {
    let (place, documents) = days(6);
    let mut cluster = Cluster::start(&place, "out", 0, &["--max-concurrent-runs", "1"]);
    wait_until("it leads", || cluster.get("stats")["leads"] == true);
    let events = listen(&place, cluster.http_port());
    wait_until("the stream begins", || !events.lock().unwrap().is_empty());
    assert_eq!(events.lock().unwrap()[0], ("role".to_owned(), json!({"leads": true})));
    // Without an executor, the first one has the turn and keeps it.
    assert_eq!(cluster.post("manifests", &documents[0]).0, 202);
    wait_until("it has its turn", || cluster.get("runs/m1")["state"] != "queued");
    for (document, priority) in documents[1..].iter().zip([0, 5, -5, 0, 0]) {
        assert_eq!(cluster.post(&format!("manifests?priority={priority}"), document).0, 202);
    }
    assert_eq!(cluster.post("runs/m6/cancel", &json!({})).1["state"], "cancelled", "it was queued");
    assert_eq!(put_priority(&cluster, "m5", "{\"priority\": 10}").0, 202);
    wait_until("the queue is counted", || {
        let metrics = cluster.try_get("/metrics").unwrap_or_default();
        metric(&metrics, "millwork_runs{state=\"queued\"}") == Some(4.0)
    });
    let (status, run) = cluster.post("runs/m1/cancel", &json!({}));
    assert_eq!((status, &run["cancel_requested"]), (202, &true.into()), "it has its turn: {run}");
    wait_for(&cluster, "m1", "cancelled");
    cluster.start_executor();
    let started = |id: &str| wait_for(&cluster, id, "completed")["started_at"].as_str().unwrap().to_owned();
    // One of them took the turn of the first.
    let order: Vec<String> = ["m5", "m3", "m2", "m4"].map(started).into();
    assert!(order.is_sorted(), "{order:?}");

    assert_eq!(cluster.post("runs/m6/retry", &json!({})).1["state"], "queued");
    assert_eq!(cluster.post("manifests?retry=true", &documents[0]).0, 202);
    wait_for(&cluster, "m6", "completed");
    wait_for(&cluster, "m1", "completed");
    let before = place.parquet_files();
    assert_eq!(cluster.post("runs/m2/force", &json!({})).0, 202);
    assert_eq!(cluster.post("manifests?force=true", &documents[2]).0, 202);
    wait_until("both are converted anew", || {
        ["runs/m2", "runs/m3"].iter().all(|path| {
            let run = cluster.get(path);
            run["generation"] == 2 && run["state"] == "completed"
        })
    });
    let after = place.parquet_files();
    assert_eq!(before.len(), after.len());
    assert_eq!(after.iter().filter(|name| name.contains("-g2-")).count(), 2, "{after:?}");
    place.assert_tidy();

    let told = |id: &str| -> Vec<Value> {
        let events = events.lock().unwrap();
        let of_run = events.iter().filter(|(name, data)| name == "run" && data["manifest_id"] == id);
        // That it runs is noted beside what it does.
        of_run.map(|(_, data)| data["state"].clone()).filter(|state| state != "running").collect()
    };
    wait_until("the end is told", || told("m4").last() == Some(&"completed".into()));
    assert_eq!(told("m4"), ["queued", "planning", "committing", "completed"]);

    wait_until("the metrics are current", || {
        let metrics = cluster.try_get("/metrics").unwrap_or_default();
        metric(&metrics, "millwork_runs{state=\"queued\"}") == Some(0.0)
            && metric(&metrics, "millwork_executors") == Some(1.0)
    });
    let metrics = cluster.try_get("/metrics").unwrap();
    let value = |name: &str| metric(&metrics, name).unwrap_or_else(|| panic!("no {name} in {metrics}"));
    assert_eq!(value("millwork_runs_ended_total{state=\"completed\"}"), 8.0, "six manifests, two of them twice");
    assert_eq!((value("millwork_rows_total"), value("millwork_rejected_lines_total")), (16.0, 8.0));
    assert_eq!((value("millwork_leader"), value("millwork_task_slots")), (1.0, 1.0));
    assert!(value("millwork_commit_duration_seconds_count") >= 8.0);
    assert!(metrics.contains("# HELP millwork_backlog_seconds"), "{metrics}");
    let stats = cluster.get("stats");
    assert_eq!((&stats["converted"]["rows"], &stats["slots"]), (&16.into(), &1.into()), "{stats}");
}

fn metric(metrics: &str, name: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// What a listener heard: the names of events and their data, and `end` if the stream was ended as it should be.
type Events = Arc<Mutex<Vec<(String, Value)>>>;

/// Collects the events that a scheduler tells, until it ends.
fn listen(place: &Place, port: u16) -> Events {
    listen_after(place, port, "")
}

/// Collects events as a listener that comes back, whose header says which event came last.
fn listen_after(place: &Place, port: u16, header: &str) -> Events {
    let header = header.to_owned();
    let token = std::fs::read_to_string(place.token_file(port)).unwrap();
    let events = Events::default();
    let told = events.clone();
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request =
            format!("GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut name = String::new();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                told.lock().unwrap().push((name.clone(), serde_json::from_str(data).unwrap()));
            } else if line == "0" {
                told.lock().unwrap().push(("end".to_owned(), Value::Null));
            }
        }
    });
    events
}

#[test]
fn a_standby_answers_from_the_store_and_says_what_it_is() {
    let (place, documents) = days(2);
    let mut cluster = Cluster::start(&place, "out", 0, &[]);
    cluster.post("manifests", &documents[0]);
    let http = free_port();
    let _standby = start(cluster.scheduler_command(free_port(), http), &place.path("standby.log"));
    let url = format!("http://127.0.0.1:{http}");
    let get = |path: &str| cluster.call(|c| c.get(format!("{url}{path}"))).unwrap_or_default();
    wait_until("the standby answers", || get("/healthz").0 == 200);
    assert_eq!(get("/readyz"), (200, "ready: standby\n".to_owned()));
    let (status, standby) = get("/leaderz");
    assert!(status == 503 && standby.contains("\"standby\""), "{standby}");
    let executors: Value = serde_json::from_str(&get("/api/v1/executors").1).unwrap();
    assert_eq!(executors, json!({"leads": false, "items": [], "gone": []}));
    assert!(get("/api/v1/runs/m1").1.contains("\"m1\""));
    wait_until("the standby says so", || metric(&get("/metrics").1, "millwork_leader") == Some(0.0));
    let (status, _) = cluster.call(|c| c.post(format!("{url}/api/v1/manifests")).json(&documents[1])).unwrap();
    assert_eq!(status, 202, "a standby takes manifests");
    wait_until("the leader finds it", || cluster.get("runs/m2")["state"] != "queued");
    let events = listen(&place, http);
    wait_until("the standby's stream begins", || !events.lock().unwrap().is_empty());
    assert_eq!(events.lock().unwrap()[0].1, json!({"leads": false}));
    cluster.scheduler = None;
    wait_until("it takes over", || events.lock().unwrap().iter().any(|(_, data)| data["leads"] == true));
}

#[test]
fn who_comes_back_with_an_id_that_was_never_given_is_told_that_something_may_be_missing() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 0, &[]);
    for id in ["9".repeat(5000), "x".to_owned(), "\u{e9}".to_owned(), String::new()] {
        let events = listen_after(&place, cluster.http_port(), &format!("last-event-id: {id}\r\n"));
        wait_until("it is told", || events.lock().unwrap().iter().any(|(name, _)| name == "lagged"));
    }
}

#[test]
fn a_scheduler_that_is_told_to_stop_ends_what_it_tells() {
    let place = Place::new();
    let mut cluster = Cluster::start(&place, "out", 0, &[]);
    let events = listen(&place, cluster.http_port());
    wait_until("the stream begins", || !events.lock().unwrap().is_empty());
    assert_eq!(cluster.stop_scheduler(), Some(0));
    wait_until("the stream ends", || events.lock().unwrap().iter().any(|(name, _)| name == "end"));
}

#[test]
fn clients_wait_for_a_scheduler_that_is_started_again() {
    let (place, _) = days(2);
    let mut cluster = Cluster::start(&place, "out", 0, &[]);
    let (url, http) = (cluster.url(), cluster.http_port());
    let client = |arguments: &[&str]| {
        let mut command = place.command("millwork");
        command.args(arguments).args(["--scheduler", &url]);
        command
    };
    assert!(place.token_file(http).exists());
    let watching = start(client(&["runs", "watch"]), &place.path("watch.log"));
    wait_until("the watcher listens", || {
        let asked = "millwork_http_requests_total{route=\"/api/v1/events\"";
        cluster.try_get("/metrics").is_some_and(|metrics| metrics.contains(asked))
    });
    let log = |name: &str| std::fs::read_to_string(place.path(name)).unwrap_or_default();
    let first = place.path("m1.json").display().to_string();
    let mut waiting = client(&["submit", "--wait", &first]);
    let waiting = std::thread::spawn(move || Done::of(waiting.output().unwrap()));
    wait_until("the run is told of", || log("watch.log").contains("m1  "));
    cluster.kill_scheduler();
    wait_until("the watcher waits", || log("watch.log").contains("waiting for it"));
    cluster.start_scheduler();
    wait_until("the watcher is back", || log("watch.log").contains("is back"));
    cluster.start_executor();
    let done = waiting.join().unwrap();
    assert_eq!((done.code, done.stdout.trim()), (Some(0), "m1  completed  2 rows in 1 file, 1 line rejected"));
    wait_until("the end is told", || log("watch.log").contains("m1  completed"));
    drop(watching);
}

#[test]
fn the_command_line_shows_and_steers_runs() {
    let (place, documents) = days(2);
    let cluster = Cluster::start(&place, "out", 1, &[]);
    let ask = |arguments: &[&str]| Done::of(cluster.client(arguments).output().unwrap());
    cluster.post("manifests", &documents[0]);
    wait_for(&cluster, "m1", "completed");
    assert_eq!(ask(&["runs", "--json"]).json()["runs"][0]["manifest_id"], "m1");
    let table = ask(&["runs", "list", "--status", "completed"]).stdout;
    assert!(table.starts_with("RUN ") && table.contains("m1   completed"), "{table}");
    let shown = ask(&["runs", "show", "m1"]).stdout;
    assert!(shown.contains("2 rows in 1 file, 1 line rejected") && shown.contains("committed"), "{shown}");
    let bytes = cluster.get("runs/m1")["bytes"].as_u64().unwrap();
    let forced = ask(&["runs", "force", "m1", "--json", "--yes"]).json();
    assert_eq!((&forced["state"], &forced["changes"][0]["result"]), (&"applied".into(), &"done".into()), "{forced}");
    let cost = &forced["cost"];
    assert_eq!(cost["bytes"].as_u64(), Some(bytes), "{forced}");
    assert!(cost["usd"].as_f64().is_some_and(|usd| usd > 0.0), "{forced}");
    let shown = ask(&["runs", "prioritise", "m1", "7"]);
    assert!(shown.code == Some(1), "it has ended: {}", shown.stdout);
    wait_until("it is converted again", || cluster.get("runs/m1")["generation"] == 2);
    wait_for(&cluster, "m1", "completed");
    let second = place.path("m2.json").display().to_string();
    let run = ask(&["submit", "--wait", "--json", "--priority", "-3", &second]).json();
    assert_eq!((&run["runs"][0]["priority"], &run["runs"][0]["result"]["rows"]), (&(-3).into(), &2.into()), "{run}");
    let files = ask(&["files", "--status", "completed", "--json"]).json();
    assert_eq!(files["files"].as_array().unwrap().len(), 2);
    assert!(ask(&["files", files["files"][0]["uri"].as_str().unwrap()]).stdout.contains("completed"));
    assert_eq!(ask(&["quarantine", "list", "--json"]).json()["files"], json!([]));
    let refused = ask(&["runs", "cancel", "m1"]);
    assert!(refused.code == Some(1) && refused.stdout.contains("it has ended"), "{}", refused.stdout);
    let refused = ask(&["runs", "--status", "done"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("completed"), "{}", refused.stderr);
}

#[test]
fn whatever_a_fuzzer_sends_is_answered_as_described() {
    let (place, documents) = days(3);
    let mut cluster = Cluster::start(&place, "out", 0, &[]);
    cluster.start_executor();
    let send = |path: &str, body: &Value| {
        let url = format!("{}/api/v1/{path}", cluster.url());
        cluster.call(|c| c.post(url).json(body)).unwrap()
    };
    documents.iter().for_each(|document| assert_eq!(send("manifests", document).0, 202));
    let gone = json!({"fileLocations": [{"URIPrefixes": [place.path("in/2025-01-09-gone.ndjson")]}], "metadata": {"manifest_id": "gone"}});
    assert_eq!(send("manifests", &gone).0, 202);
    wait_until("all have ended", || {
        let get = |path: &str| cluster.call(|c| c.get(format!("{}/api/v1/runs/{path}", cluster.url())));
        let ended = |id: &str| get(id).is_some_and(|(_, run)| !run.contains("\"ended_at\":null"));
        ["m1", "m2", "m3", "gone"].into_iter().all(ended)
    });
    let config = include_str!("../schemathesis.toml");
    std::fs::write(place.path("any.toml"), config).unwrap();
    // Random ids are of no run. That of a run is none of a plan that was just made.
    let one = "[parameters]\n\"path.id\" = \"m1\"\n[checks.ensure_resource_availability]\nenabled = false\n";
    std::fs::write(place.path("one.toml"), format!("{config}\n{one}")).unwrap();
    let token = std::fs::read_to_string(place.token_file(cluster.http_port())).unwrap();
    for config in ["any.toml", "one.toml"] {
        let mut command = python();
        command.args(["-m", "schemathesis.cli", "--no-color", "--config-file", config, "run"]);
        command
            .arg(format!("{}/api/v1/openapi.json", cluster.url()))
            .args(["-H", &format!("Authorization: Bearer {token}")]);
        // Events have no end.
        command.args(["--exclude-path", "/api/v1/events", "--seed", "1", "--generation-database", "none"]);
        command.args(["--max-examples", &std::env::var("MILLWORK_EXAMPLES").unwrap_or_else(|_| "20".to_owned())]);
        let output = command.current_dir(place.root.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
