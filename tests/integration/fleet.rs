//! Schedulers and executors on one state, in a directory or in a cloud, and a load of small manifests for them.

use crate::aws::{bootstrap, download};
use crate::place::{Place, Running, signal, start};
use crate::proxy::Proxy;
use crate::random::Random;
use crate::servers::Aws;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How long a load may take, with all that goes wrong meanwhile.
const PATIENCE: Duration = Duration::from_secs(400);

/// Where input, output and state are.
pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) aws: Option<Aws>,
    /// What the processes reach the servers through.
    pub(crate) proxy: Option<Proxy>,
    runtime: Runtime,
}

impl World {
    pub(crate) fn local() -> Self {
        Self { place: Place::new(), aws: None, proxy: None, runtime: Runtime::new().unwrap() }
    }

    pub(crate) fn cloud() -> Self {
        let aws = Aws::start();
        assert_eq!(bootstrap(&aws, &[]).code, Some(0));
        let runtime = Runtime::new().unwrap();
        let proxy = Proxy::start(runtime.handle(), aws.address());
        Self { place: Place::new(), aws: Some(aws), proxy: Some(proxy), runtime }
    }

    fn options(&self) -> [String; 8] {
        let path = |name: &str| self.place.path(name).display().to_string();
        let values = match self.aws {
            None => [path("in"), path("out"), path("quarantine"), format!("sqlite:{}", path("scheduler.db"))],
            Some(_) => {
                ["s3://acme-input", "s3://acme-output/lake", "s3://acme-quarantine", "dynamodb:acme"].map(str::to_owned)
            }
        };
        let [input, output, quarantine, state] = values;
        [
            "--input-places".to_owned(),
            input,
            "--output".to_owned(),
            output,
            "--quarantine".to_owned(),
            quarantine,
            "--state".to_owned(),
            state,
        ]
    }

    /// Writes an input file. Returns its URI.
    pub(crate) fn input(&self, name: &str, content: Vec<u8>) -> String {
        let path = self.place.input(name, &content);
        let Some(aws) = &self.aws else { return path.display().to_string() };
        self.runtime.block_on(async {
            let request = aws.s3().await.put_object().bucket("acme-input").key(name).body(content.into());
            request.send().await.unwrap();
        });
        format!("s3://acme-input/{name}")
    }

    /// Writes a manifest of these files below the place.
    pub(crate) fn manifest(&self, id: &str, uris: &[String]) -> Value {
        let document = json!({"fileLocations": [{"URIPrefixes": uris}],
            "metadata": {"manifest_id": id, "created_at": "2025-12-24T00:00:00Z"}});
        std::fs::write(self.place.path(&format!("{id}.json")), document.to_string()).unwrap();
        document
    }

    /// A load of small manifests: each of a few files, some compressed, some lines dirty.
    pub(crate) fn load(&self, manifests: usize) -> Load {
        let random = Random::new(11);
        let document = |n: usize| {
            let date = format!("2025-12-{:02}", 1 + n % 28);
            let file = |part: usize| {
                let lines = lines(&random, 20 + random.below(1500), part == 1);
                match part {
                    0 => self.input(&format!("{date}-m{n}-{part}.ndjson.gz"), gzip(&lines)),
                    _ => self.input(&format!("{date}-m{n}-{part}.ndjson"), lines),
                }
            };
            let uris: Vec<String> = (0..2 + random.below(3)).map(file).collect();
            self.manifest(&format!("m{n}"), &uris)
        };
        Load { documents: (0..manifests).map(document).collect() }
    }

    /// What is private in the output, or should not be there at all.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        let Some(aws) = &self.aws else {
            let marks = ["merged-parquet-", "_millwork/output.lock", "_millwork/states/"];
            let is_known = |name: &String| marks.iter().any(|mark| name.starts_with(mark));
            return self.place.files("out").into_iter().filter(|name| !is_known(name)).collect();
        };
        self.runtime.block_on(async {
            let s3 = aws.s3().await;
            let listed = s3.list_objects_v2().bucket("acme-output").send().await.unwrap();
            assert_eq!(listed.is_truncated(), Some(false));
            let keys = listed.contents().iter().map(|object| object.key().unwrap().to_owned());
            let is_known = |key: &String| {
                ["lake/merged-parquet-", "lake/_millwork/states/"].iter().any(|known| key.starts_with(known))
            };
            let strays = keys.filter(|key| !is_known(key));
            let uploads = s3.list_multipart_uploads().bucket("acme-output").send().await.unwrap();
            let uploads = uploads.uploads().iter().map(|upload| format!("upload of {}", upload.key().unwrap()));
            strays.chain(uploads).collect()
        })
    }

    /// Asks the oracle whether the output is what these manifests say, each row once. Returns its counts.
    pub(crate) fn ask_oracle(&self, ids: &[String]) -> Value {
        let paths = ids.iter().map(|id| self.place.path(&format!("{id}.json")).display().to_string());
        let mut arguments: Vec<String> = paths.flat_map(|path| ["--manifest".to_owned(), path]).collect();
        if let Some(aws) = &self.aws {
            self.runtime.block_on(async {
                let s3 = aws.s3().await;
                download(&s3, "acme-output", &self.place.path("out")).await;
                download(&s3, "acme-quarantine", &self.place.path("quarantine")).await;
            });
            arguments.extend(["--uri", "s3://acme-input/"].map(str::to_owned));
        }
        self.place.ask_oracle(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn lines(random: &Random, count: usize, dirty: bool) -> Vec<u8> {
    let mut text = String::new();
    for n in 0..count {
        match random.below(50) {
            0 if dirty => text.push_str("{\"torn\": \n"),
            1 => text.push('\n'),
            2 => writeln!(text, "{{\"n\": {n}, \"late_{}\": null}}", random.below(4)).unwrap(),
            _ => {
                let (a, b) = (random.next(), random.next());
                writeln!(text, "{{\"n\": {n}, \"text\": \"{a:x} {b:x}\", \"more\": {{\"x\": [{a}, {b}]}}}}").unwrap();
            }
        }
    }
    text.into_bytes()
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Manifests to submit.
pub(crate) struct Load {
    pub(crate) documents: Vec<Value>,
}

impl Load {
    pub(crate) fn ids(&self) -> Vec<String> {
        self.documents.iter().map(|d| d["metadata"]["manifest_id"].as_str().unwrap().to_owned()).collect()
    }
}

/// The processes.
pub(crate) struct Fleet<'a> {
    world: &'a World,
    /// The ports of each scheduler: for executors, and for HTTP.
    ports: Vec<(u16, u16)>,
    pub(crate) schedulers: Vec<Option<Running>>,
    pub(crate) executors: Vec<Running>,
    client: reqwest::Client,
    starts: usize,
    /// More options of schedulers and executors.
    options: [Vec<String>; 2],
}

impl<'a> Fleet<'a> {
    /// So many schedulers, of which the first runs manifests, and executors of one slot that know all of them.
    pub(crate) fn start(world: &'a World, schedulers: usize, executors: usize) -> Self {
        Self::start_with(world, schedulers, executors, Default::default())
    }

    /// A fleet whose schedulers and executors have more options.
    pub(crate) fn start_with(world: &'a World, schedulers: usize, executors: usize, options: [Vec<String>; 2]) -> Self {
        let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
        let ports = (0..schedulers).map(|_| (port(), port())).collect();
        let mut fleet =
            Self { world, ports, schedulers: Vec::new(), executors: Vec::new(), client, starts: 0, options };
        for number in 0..schedulers {
            fleet.schedulers.push(None);
            fleet.start_scheduler(number);
            fleet.wait_until("a scheduler answers", || fleet.text(number, "/healthz").is_some());
            if number == 0 {
                for number in 0..executors {
                    let executor = fleet.executor(number);
                    fleet.executors.push(executor);
                }
                fleet.wait_until("all executors are there", || fleet.connected(0) == executors);
            }
        }
        fleet
    }

    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = self.world.place.command(name);
        if let Some(aws) = &self.world.aws {
            command.envs(aws.environment());
        }
        if let Some(proxy) = &self.world.proxy {
            command.env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", proxy.port));
        }
        // The least that there is.
        let target_mb = if self.world.aws.is_some() { "8" } else { "1" };
        command.env("MILLWORK_SWEEP_SECONDS", "2").env("TARGET_FILE_MB", target_mb);
        command
    }

    fn log(&mut self, name: &str) -> std::path::PathBuf {
        self.starts += 1;
        self.world.place.path(&format!("{name}.{:03}.log", self.starts))
    }

    pub(crate) fn start_scheduler(&mut self, number: usize) {
        let (listen, http) = self.ports[number];
        let mut command = self.command("millwork-scheduler");
        command.args(["--listen", &format!("127.0.0.1:{listen}"), "--http", &format!("127.0.0.1:{http}")]);
        command.args(self.world.options()).args(&self.options[0]);
        self.schedulers[number] = Some(start(command, &self.log(&format!("scheduler-{number}"))));
    }

    pub(crate) fn executor(&mut self, number: usize) -> Running {
        let mut command = self.command("millwork-executor");
        let addresses: Vec<String> = self.ports.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
        command.args(["--scheduler", &addresses.join(","), "--vcores", "1", "--id", &format!("executor-{number}")]);
        command.args(&self.options[1]);
        start(command, &self.log(&format!("executor-{number}")))
    }

    /// Where a scheduler listens for executors.
    pub(crate) fn executors_address(&self, scheduler: usize) -> String {
        format!("127.0.0.1:{}", self.ports[scheduler].0)
    }

    pub(crate) fn kill_scheduler(&mut self, number: usize) {
        signal(self.schedulers[number].as_ref().unwrap(), "KILL");
        self.schedulers[number] = None;
    }

    /// Kills an executor and starts another of the same name.
    pub(crate) fn replace_executor(&mut self, number: usize) {
        signal(&self.executors[number], "KILL");
        let executor = self.executor(number);
        self.executors[number] = executor;
    }

    pub(crate) fn text(&self, scheduler: usize, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.ports[scheduler].1);
        let request = self.world.place.authorized(self.client.get(url));
        self.world.runtime.block_on(async { self.client.execute(request).await.ok()?.text().await.ok() })
    }

    /// Address at which a scheduler serves HTTP.
    pub(crate) fn url(&self, scheduler: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[scheduler].1)
    }

    /// The metrics of a scheduler.
    pub(crate) fn metrics(&self, scheduler: usize) -> String {
        self.text(scheduler, "/metrics").unwrap_or_default()
    }

    pub(crate) fn get(&self, scheduler: usize, path: &str) -> Value {
        let text = self.text(scheduler, &format!("/api/v1/{path}")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    pub(crate) fn connected(&self, scheduler: usize) -> usize {
        self.get(scheduler, "executors")["items"].as_array().map_or(0, Vec::len)
    }

    /// Tells whether a scheduler knows that one of its executors finishes what it has, and takes no more.
    pub(crate) fn is_draining(&self, scheduler: usize) -> bool {
        let executors = self.get(scheduler, "executors");
        executors["items"].as_array().is_some_and(|items| items.iter().any(|item| !item["draining_since"].is_null()))
    }

    /// The runs, as a scheduler tells; none, if it does not answer.
    pub(crate) fn runs(&self, scheduler: usize) -> Vec<Value> {
        self.get(scheduler, "runs?limit=1000")["items"].as_array().cloned().unwrap_or_default()
    }

    /// How many attempts were started.
    pub(crate) fn attempts(&self, scheduler: usize) -> u64 {
        self.runs(scheduler).iter().map(|run| run["attempts"].as_u64().unwrap()).sum()
    }

    /// The tasks of a run that the first scheduler has given away: its executor's number, and whether it is done.
    pub(crate) fn tasks(&self, id: &str) -> Vec<(usize, bool)> {
        let run = self.get(0, &format!("runs/{id}"));
        let tasks = run["progress"]["stages"][0]["tasks"].as_array().cloned().unwrap_or_default();
        let task = |task: &Value| {
            // `executor-NUMBER-TIME`
            let number = task["executor"].as_str()?.split('-').nth(1)?.parse().ok()?;
            Some((number, task["state"] == "successful"))
        };
        tasks.iter().filter_map(task).collect()
    }

    /// Submits a manifest, until somebody accepts it. Returns the status.
    pub(crate) fn submit(&self, scheduler: usize, document: &Value) -> (u16, Value) {
        self.submit_to(scheduler, "manifests", document)
    }

    /// Posts a document to a path of the API, until somebody accepts it. Returns the status.
    pub(crate) fn submit_to(&self, scheduler: usize, path: &str, document: &Value) -> (u16, Value) {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.ports[scheduler].1);
        let mut answer = None;
        self.wait_until("a scheduler accepts a document", || {
            answer = self.world.runtime.block_on(async {
                let request = self.world.place.authorized(self.client.post(&url).json(document));
                let response = self.client.execute(request).await.ok()?;
                let status = response.status().as_u16();
                // One that is started just now leaves another token.
                (status < 500 && status != 401).then_some((status, response.json().await.ok()?))
            });
            answer.is_some()
        });
        answer.unwrap()
    }

    /// Posts to a path of the API. Returns the status.
    pub(crate) fn post(&self, scheduler: usize, path: &str) -> u16 {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.ports[scheduler].1);
        let request = self.world.place.authorized(self.client.post(url));
        self.world.runtime.block_on(async { self.client.execute(request).await.unwrap().status().as_u16() })
    }

    pub(crate) fn submit_all(&self, scheduler: usize, load: &Load) {
        for document in &load.documents {
            assert_eq!(self.submit(scheduler, document).0, 202, "{document}");
        }
    }

    pub(crate) fn are_completed(&self, scheduler: usize, load: &Load) -> bool {
        let runs = self.runs(scheduler);
        let failed: Vec<&Value> = runs.iter().filter(|run| run["state"] == "failed").collect();
        assert!(failed.is_empty(), "{failed:?}");
        runs.iter().filter(|run| run["state"] == "completed").count() == load.documents.len()
    }

    pub(crate) fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let started = Instant::now();
        while !condition() {
            if started.elapsed() > PATIENCE {
                panic!("waited in vain until {what}\n{}", self.logs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Every run is completed; its ledger adds up, and to what the oracle counts; nothing private stays.
    pub(crate) fn check(&self, scheduler: usize, load: &Load) {
        let ids = load.ids();
        let (mut rows, mut rejected) = (0, 0);
        for id in &ids {
            let run = self.get(scheduler, &format!("runs/{id}"));
            assert_eq!(run["state"], "completed", "{run}");
            let ledger = self.get(scheduler, &format!("runs/{id}/ledger?limit=1000"));
            for file in ledger["items"].as_array().unwrap() {
                let count = |name: &str| file[name].as_u64().unwrap();
                assert_eq!(count("lines"), count("rows") + count("rejected") + count("blank"), "{file}");
                rows += count("rows");
                rejected += count("rejected");
            }
        }
        self.wait_until("nothing private is left", || self.world.leftovers().is_empty());
        if self.world.aws.is_none() {
            self.world.place.assert_tidy();
        }
        let found = self.world.ask_oracle(&ids);
        assert_eq!((found["rows"].as_u64(), found["rejected"].as_u64()), (Some(rows), Some(rejected)));
    }

    /// The last lines of what all processes said.
    pub(crate) fn logs(&self) -> String {
        let mut text = format!("left: {:?}\n", self.world.leftovers());
        for run in self.runs(0).iter().filter(|run| run["state"] != "completed") {
            writeln!(text, "{run}").unwrap();
        }
        let mut logs: Vec<_> =
            std::fs::read_dir(self.world.place.root.path()).unwrap().map(|e| e.unwrap().path()).collect();
        logs.retain(|path| path.extension().is_some_and(|e| e == "log"));
        logs.sort();
        for path in logs {
            let log = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            let lines: Vec<&str> = log.lines().collect();
            writeln!(text, "== {}", path.display()).unwrap();
            lines[lines.len().saturating_sub(12)..].iter().for_each(|line| writeln!(text, "{line}").unwrap());
        }
        text
    }
}
