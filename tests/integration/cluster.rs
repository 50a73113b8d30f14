//! A scheduler and executors as processes of their own.

use crate::place::{Done, PATIENCE, Place, Running, binary, signal, start, wait_for_end, wait_until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{Permissions, set_permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

pub(crate) struct Cluster<'a> {
    pub(crate) place: &'a Place,
    output: String,
    listen: u16,
    http: u16,
    options: Vec<String>,
    environment: Vec<(String, String)>,
    pub(crate) scheduler: Option<Running>,
    executors: Vec<Running>,
}

/// Port that was not given before in this process, since the system may soon offer a released one again.
pub(crate) fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let offered = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let is_new = |port: &u16| GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(*port);
    std::iter::repeat_with(offered).find(is_new).unwrap()
}

impl<'a> Cluster<'a> {
    /// A scheduler with an output directory below the place, and executors of one slot each.
    pub(crate) fn start(place: &'a Place, output: &str, executors: usize, options: &[&str]) -> Self {
        Self::start_in(&[], place, output, executors, options)
    }

    /// The same, in an environment such as that of a cloud.
    pub(crate) fn start_in(
        environment: &[(&str, &str)],
        place: &'a Place,
        output: &str,
        executors: usize,
        options: &[&str],
    ) -> Self {
        let mut cluster = Self {
            place,
            output: output.to_owned(),
            listen: free_port(),
            http: free_port(),
            options: options.iter().map(|o| (*o).to_owned()).collect(),
            environment: environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            scheduler: None,
            executors: Vec::new(),
        };
        cluster.start_scheduler();
        for _ in 0..executors {
            cluster.start_executor();
        }
        wait_until("all executors are connected", || {
            executors == 0 || cluster.get("executors")["items"].as_array().is_some_and(|items| items.len() == executors)
        });
        cluster
    }

    /// Kills the scheduler.
    pub(crate) fn kill_scheduler(&mut self) {
        signal(self.scheduler.as_ref().unwrap(), "KILL");
        self.scheduler = None;
    }

    /// Tells the scheduler to stop. Returns its exit code.
    pub(crate) fn stop_scheduler(&mut self) -> Option<i32> {
        let mut scheduler = self.scheduler.take().unwrap();
        signal(&scheduler, "TERM");
        wait_for_end(&mut scheduler)
    }

    pub(crate) fn start_scheduler(&mut self) {
        self.scheduler = Some(start(self.scheduler_command(self.listen, self.http), &self.place.path("scheduler.log")));
        wait_until("the scheduler answers", || self.try_get("/healthz").is_some());
    }

    /// The command of a scheduler of this cluster, on these ports.
    pub(crate) fn scheduler_command(&self, listen: u16, http: u16) -> Command {
        let mut command = self.place.command("millwork-scheduler");
        command.envs(self.environment.iter().cloned());
        command.args(["--listen", &format!("127.0.0.1:{listen}"), "--http", &format!("127.0.0.1:{http}")]);
        command.arg("--input-places").arg(self.place.path("in"));
        command.arg("--output").arg(self.output()).arg("--quarantine").arg(self.place.path("quarantine"));
        command.arg("--state").arg(format!("sqlite:{}", self.place.path("scheduler.db").display())).args(&self.options);
        command
    }

    pub(crate) fn start_executor(&mut self) {
        self.start_executor_of(1);
    }

    /// The same, with so many slots.
    pub(crate) fn start_executor_of(&mut self, vcores: usize) {
        let number = self.executors.len();
        let mut command = Command::new(binary("millwork-executor"));
        command.envs(self.environment.iter().cloned());
        command.args([
            "--scheduler",
            &format!("127.0.0.1:{}", self.listen),
            "--vcores",
            &vcores.to_string(),
            "--id",
            &format!("executor-{number}"),
        ]);
        self.executors.push(start(command, &self.place.path(&format!("executor-{number}.log"))));
    }

    /// Gives the first executor away.
    pub(crate) fn take_executor(&mut self) -> Running {
        self.executors.remove(0)
    }

    pub(crate) fn output(&self) -> PathBuf {
        self.place.path(&self.output)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    pub(crate) fn call(
        &self,
        request: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder,
    ) -> Option<(u16, String)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = reqwest::Client::builder().timeout(PATIENCE).build().unwrap();
            let response = client.execute(self.place.authorized(request(&client))).await.ok()?;
            let status = response.status().as_u16();
            Some((status, response.text().await.ok()?))
        })
    }

    pub(crate) fn try_get(&self, path: &str) -> Option<String> {
        self.call(|client| client.get(self.url() + path)).map(|(_, text)| text)
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        serde_json::from_str(&self.try_get(&format!("/api/v1/{path}")).unwrap_or_default()).unwrap_or_default()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, text) =
            self.call(|client| client.post(format!("{}/api/v1/{path}", self.url())).json(body)).unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// A command of `millwork` on this cluster, of the user who started it.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command("millwork");
        command.args(arguments).args(["--scheduler", &self.url()]);
        command
    }

    pub(crate) fn http_port(&self) -> u16 {
        self.http
    }

    fn submit_command(&self, manifests: &[&str]) -> Command {
        let mut command = self.client(&["submit", "--wait", "--json"]);
        command.args(manifests.iter().map(|name| self.place.path(name)));
        command
    }

    /// `millwork submit --wait` of manifests below the place.
    pub(crate) fn submit(&self, manifests: &[&str]) -> Done {
        let output = self.submit_command(manifests).output().unwrap();
        Done {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Writes a manifest of all input files whose name starts so.
pub(crate) fn manifest(place: &Place, id: &str, prefix: &str) -> String {
    let files = place.files("in").into_iter().filter(|name| name.starts_with(prefix));
    let uris: Vec<_> = files.map(|name| place.path("in").join(name).display().to_string()).collect();
    let document = json!({"fileLocations": [{"URIPrefixes": uris}], "metadata": {"manifest_id": id}});
    let name = format!("{id}.json");
    std::fs::write(place.path(&name), document.to_string()).unwrap();
    name
}

#[test]
fn an_executor_killed_in_the_middle_costs_no_row_and_doubles_none() {
    let place = Place::new();
    place.generate(&["--files", "16", "--size-mb", "4", "--dates", "3", "--date", "2025-12-20", "--dirty", "0.5"]);
    let mut cluster = Cluster::start(&place, "out", 3, &["--target-file-mb", "6"]);
    let names: Vec<_> = (20..23).map(|day| manifest(&place, &format!("m{day}"), &format!("2025-12-{day}"))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let submitting = cluster.submit_command(&names);
    let mut submitting = start(submitting, &place.path("submit.log"));
    wait_until("something is staged", || place.files("out/_millwork/staging").len() >= 2);
    let victim = cluster.executors.remove(1);
    signal(&victim, "KILL");
    drop(victim);
    assert!(submitting.0.wait().unwrap().success(), "{}", std::fs::read_to_string(place.path("submit.log")).unwrap());
    let manifests: Vec<_> =
        names.iter().flat_map(|name| ["--manifest".to_owned(), place.path(name).display().to_string()]).collect();
    place.ask_oracle(&manifests.iter().map(String::as_str).collect::<Vec<_>>());
    place.assert_tidy();
    let mut writers = std::collections::HashSet::new();
    for day in 20..23 {
        let run = cluster.get(&format!("runs/m{day}"));
        let outputs = run["result"]["outputs"].as_array().unwrap();
        writers.extend(outputs.iter().map(|output| output["executor"].as_str().unwrap().to_owned()));
    }
    assert!(writers.len() > 1, "all files were written by {writers:?}");
}

#[test]
fn a_scheduler_that_is_killed_goes_on_where_it_was() {
    let place = Place::new();
    place.generate(&["--files", "24", "--size-mb", "4", "--dirty", "0.5"]);
    let mut cluster = Cluster::start(&place, "out", 2, &["--target-file-mb", "8"]);
    let name = manifest(&place, "m", "2025-12-23");
    let document: Value = serde_json::from_slice(&std::fs::read(place.path(&name)).unwrap()).unwrap();
    assert_eq!(cluster.post("manifests", &document).0, 202);
    wait_until("something is staged", || !place.files("out/_millwork/staging").is_empty());
    cluster.kill_scheduler();
    assert!(place.parquet_files().iter().all(|name| name.starts_with("_millwork/")));
    cluster.start_scheduler();
    wait_until("the run is completed", || cluster.get("runs/m")["state"] == "completed");
    place.ask_oracle(&["--manifest", place.path(&name).to_str().unwrap()]);
    place.assert_tidy();
}

#[test]
fn bad_files_fail_their_manifest_by_name_and_hold_up_nobody() {
    let place = Place::new();
    for day in 1..=4 {
        place.input(&format!("2025-01-0{day}-a.ndjson"), "{\"a\":1}\n");
    }
    let cluster = Cluster::start(&place, "out", 1, &[]);
    let missing = json!({"fileLocations": [{"URIPrefixes": [place.path("in/2025-01-01-a.ndjson"), place.path("in/2025-01-01-gone.ndjson")]}], "metadata": {"manifest_id": "missing"}});
    std::fs::write(place.path("missing.json"), missing.to_string()).unwrap();
    let changed = json!({"fileLocations": [{"URIPrefixes": [place.path("in/2025-01-02-a.ndjson")]}], "metadata": {"manifest_id": "changed", "files": [
        {"uri": place.path("in/2025-01-02-a.ndjson"), "size_bytes": 77}]}});
    std::fs::write(place.path("changed.json"), changed.to_string()).unwrap();
    let good = manifest(&place, "good", "2025-01-03");
    let done = cluster.submit(&["missing.json", "changed.json", &good]);
    assert_eq!(done.code, Some(1));
    let runs = done.json()["runs"].clone();
    let failure = |i: usize| runs[i]["failure"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(failure(0).contains("2025-01-01-gone.ndjson` does not exist"), "{runs}");
    assert!(failure(1).contains("2025-01-02-a.ndjson` changed: 8 bytes, the manifest says 77"), "{runs}");
    assert_eq!(runs[2]["state"], "completed");
    assert_eq!(place.parquet_files().len(), 1);
    place.assert_tidy();
    // Mended, and asked for again.
    place.input("2025-01-01-gone.ndjson", "{\"a\":2}\n");
    let again = cluster.post("manifests", &missing);
    assert_eq!((again.0, &again.1["state"]), (200, &"failed".into()), "the same manifest is the same run");
    assert_eq!(cluster.post("manifests?retry=true", &missing).0, 202);
    wait_until("the run is completed", || cluster.get("runs/missing")["state"] == "completed");
}

#[test]
fn the_api_refuses_what_it_must_in_one_shape() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\":1}\n");
    place.input("2025-01-02-a.ndjson", "{\"a\":1}\n");
    let cluster = Cluster::start(&place, "out", 1, &[]);
    let first = manifest(&place, "first", "2025-01-01");
    assert_eq!(cluster.submit(&[&first]).code, Some(0));
    assert_eq!(cluster.submit(&[&first]).json()["runs"][0]["attempts"], 1, "the same manifest is not run again");
    let error =
        |(status, body): (u16, Value)| (status, body["error"]["message"].as_str().unwrap_or_default().to_owned());
    let stolen = json!({"fileLocations": [{"URIPrefixes": [place.path("in/2025-01-01-a.ndjson")]}], "metadata": {"manifest_id": "second"}});
    let (status, message) = error(cluster.post("manifests", &stolen));
    assert!(status == 409 && message.contains("2025-01-01-a.ndjson` is completed in manifest `first`"), "{message}");
    let mixed = json!({"fileLocations": [{"URIPrefixes": [place.path("in/2025-01-01-a.ndjson"), place.path("in/2025-01-02-a.ndjson")]}]});
    let (status, message) = error(cluster.post("manifests", &mixed));
    assert!(status == 400 && message.contains("mixes dates"), "{message}");
    assert_eq!(error(cluster.post("manifests", &json!({"uri": "/nowhere.json"}))).0, 400);
    assert_eq!(error(cluster.post("manifests", &json!([1]))).0, 400);
    assert_eq!(cluster.get("runs/unknown")["error"]["code"], "no-such-run");
    assert_eq!(cluster.get("nothing")["error"]["code"], "not-found");
}

#[test]
fn a_token_is_asked_for_and_needed_beyond_loopback() {
    let place = Place::new();
    let secret = "b3a9c1".repeat(6);
    std::fs::write(place.path("token"), format!("{secret}\n")).unwrap();
    set_permissions(place.path("token"), Permissions::from_mode(0o600)).unwrap();
    let token = place.path("token").display().to_string();
    let mut refused = Command::new(binary("millwork-scheduler"));
    refused.args(["--http", "0.0.0.0:0", "--output", "/nonexistent", "--state", "sqlite:/nonexistent/s.db"]);
    let output = refused.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("without a token"));
    let cluster = Cluster::start(&place, "out", 0, &["--token-file", &token]);
    assert_eq!(cluster.get("runs")["error"]["code"], "unauthorized");
    let with = |token: &str| cluster.call(|c| c.get(cluster.url() + "/api/v1/runs").bearer_auth(token)).unwrap().0;
    assert_eq!((with(&secret), with(&secret[1..]), with(&format!("{secret}2"))), (200, 401, 401));
    assert_eq!(cluster.try_get("/healthz").as_deref(), Some("ok\n"));
}
