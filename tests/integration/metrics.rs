//! The metrics of all three services, as they are documented.

use crate::aws::{bootstrap, environment};
use crate::cluster::free_port;
use crate::ops::families;
use crate::place::{Place, Running, binary, start, wait_until};
use crate::servers::Aws;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The metrics that the documentation names below a heading.
fn documented(heading: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")).unwrap();
    let (_, section) = text.split_once(&format!("## {heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split(['`', '{']).next()).map(str::to_owned).collect()
}

async fn scrape(url: &str, token: Option<&str>) -> String {
    let request = reqwest::Client::new().get(url).bearer_auth(token.unwrap_or_default());
    match request.send().await {
        Ok(answer) => answer.text().await.unwrap_or_default(),
        Err(_) => String::new(),
    }
}

/// Token of the API of [`Services`].
const TOKEN: &str = "a-token-of-this-test-that-is-long-enough";

/// A scheduler, a builder and an executor on servers of AWS's protocols; what is put into `acme-input` is converted.
pub(crate) struct Services {
    api: u16,
    builder: u16,
    executor: u16,
    runtime: tokio::runtime::Runtime,
    _processes: [Running; 3],
}

impl Services {
    /// Starts them with more variables.
    pub(crate) fn start(aws: &Aws, place: &Place, more: &[(&str, &str)]) -> Self {
        assert_eq!(bootstrap(aws, &[]).code, Some(0));
        let printed = environment(&bootstrap(aws, &["--json"]));
        let [listen, api, builder, executor] = [free_port(), free_port(), free_port(), free_port()];
        let service = |name: &str, http: u16| {
            let mut command = Command::new(binary(name));
            command.envs(aws.environment()).envs(&printed).envs(more.iter().copied());
            command.env("HTTP_LISTEN", format!("127.0.0.1:{http}")).env("XDG_RUNTIME_DIR", place.path("session"));
            command.env("MILLWORK_STATE", "dynamodb:acme").env("POLL_SECONDS", "1").env("HOME", place.root.path());
            command
        };
        let door = format!("127.0.0.1:{listen}");
        let mut scheduler = service("millwork-scheduler", api);
        scheduler
            .env("MILLWORK_LISTEN", &door)
            .env("MILLWORK_OUTPUT", "s3://acme-output/lake")
            .env("TARGET_FILE_MB", "8");
        scheduler.env("QUARANTINE_BUCKET", "s3://acme-quarantine").env("INPUT_PLACES", "s3://acme-input");
        scheduler.env("HTTP_TOKEN_FILE", place.path("token"));
        std::fs::write(place.path("token"), TOKEN).unwrap();
        std::fs::set_permissions(place.path("token"), PermissionsExt::from_mode(0o600)).unwrap();
        let mut cutting = service("millwork-manifest-builder", builder);
        cutting.arg("serve").env("MAX_WAIT_SECONDS", "1").env("SWEEP_INTERVAL_SECONDS", "1");
        cutting.env("SIZE_TOLERANCE_PERCENT", "100");
        let mut working = service("millwork-executor", executor);
        working.env("MILLWORK_EXECUTOR_SCHEDULER", &door).env("MILLWORK_VCORES", "1");
        let processes = [
            start(scheduler, &place.path("scheduler.log")),
            start(cutting, &place.path("builder.log")),
            start(working, &place.path("executor.log")),
        ];
        let runtime = tokio::runtime::Runtime::new().unwrap();
        Self { api, builder, executor, runtime, _processes: processes }
    }

    /// Puts a file into the input.
    pub(crate) fn put(&self, aws: &Aws, key: &str, lines: usize) {
        let body = "{\"n\": 1}\n".repeat(lines).into_bytes();
        self.runtime.block_on(async {
            aws.s3().await.put_object().bucket("acme-input").key(key).body(body.into()).send().await.unwrap();
        });
    }

    /// The metrics of the service on a port.
    fn metrics(&self, port: u16) -> String {
        self.runtime.block_on(scrape(&format!("http://127.0.0.1:{port}/metrics"), Some(TOKEN)))
    }

    pub(crate) fn wait_for_a_run(&self) {
        let ended = "millwork_runs_ended_total{state=\"completed\"} 1";
        wait_until("a run is completed", || self.metrics(self.api).contains(ended));
    }
}

/// Values of a label in a scrape, of one metric.
fn labels(scrape: &str, metric: &str, label: &str) -> BTreeSet<String> {
    let of_metric = scrape.lines().filter(|line| line.starts_with(&format!("{metric}{{")));
    let label = format!("{label}=\"");
    of_metric.filter_map(|line| Some(line.split_once(&label)?.1.split('"').next()?.to_owned())).collect()
}

#[test]
fn requests_are_counted_by_their_names() {
    let (aws, place) = (Aws::start(), Place::new());
    let services = Services::start(&aws, &place, &[]);
    services.put(&aws, "2025-12-01-a.ndjson", 20_000);
    services.wait_for_a_run();
    let (api, builder) = (services.metrics(services.api), services.metrics(services.builder));
    for scrape in [&api, &builder] {
        let operations = labels(scrape, "millwork_store_requests_total", "operation");
        assert!(operations.contains("Query") && !operations.contains("other"), "{operations:?}");
    }
    let methods = labels(&services.metrics(services.executor), "millwork_storage_requests_total", "method");
    assert!(methods.contains("GET") && methods.contains("POST") && !methods.contains("other"), "{methods:?}");
}

#[test]
fn the_documentation_lists_the_metrics_of_every_service_and_no_others() {
    let (aws, place) = (Aws::start(), Place::new());
    let services = Services::start(&aws, &place, &[]);
    services.put(&aws, "2025-12-01-a.ndjson", 20_000);
    services.put(&aws, "no-date.ndjson", 20_000);
    services.wait_for_a_run();
    let found = |port| services.metrics(port);
    let (api, builder, executor) = (services.api, services.builder, services.executor);
    let everywhere = documented("All three");
    for (port, heading) in [(api, "Scheduler"), (builder, "Manifest builder"), (executor, "Executor")] {
        let mut expected: BTreeSet<String> = documented(heading).union(&everywhere).cloned().collect();
        // Those of the store are of services that have one.
        if heading != "Executor" {
            expected.extend(documented("Those with a store"));
        }
        wait_until(
            &format!(
                "the scrape of {heading} is what is documented: {:?}",
                families(&found(port)).symmetric_difference(&expected)
            ),
            || families(&found(port)) == expected,
        );
    }
}
