//! The metrics of all three services, as they are documented.

use crate::aws::{bootstrap, environment};
use crate::cluster::free_port;
use crate::ops::families;
use crate::place::{Place, binary, start, wait_until};
use crate::servers::Aws;
use std::collections::BTreeSet;
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

#[test]
fn the_documentation_lists_the_metrics_of_every_service_and_no_others() {
    let (aws, place) = (Aws::start(), Place::new());
    assert_eq!(bootstrap(&aws, &[]).code, Some(0));
    let printed = environment(&bootstrap(&aws, &["--json"]));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let [listen, api, builder, executor] = [free_port(), free_port(), free_port(), free_port()];
    let service = |name: &str, http: u16| {
        let mut command = Command::new(binary(name));
        command.envs(aws.environment()).envs(&printed).env("HTTP_LISTEN", format!("127.0.0.1:{http}"));
        command
            .env("XDG_RUNTIME_DIR", place.path("session"))
            .env("MILLWORK_STATE", "dynamodb:acme")
            .env("POLL_SECONDS", "1");
        command
    };
    let mut scheduler = service("millwork-scheduler", api);
    scheduler.env("MILLWORK_LISTEN", format!("127.0.0.1:{listen}")).env("MILLWORK_OUTPUT", "s3://acme-output/lake");
    scheduler
        .env("QUARANTINE_BUCKET", "s3://acme-quarantine")
        .env("INPUT_PLACES", "s3://acme-input")
        .env("TARGET_FILE_MB", "8");
    scheduler.env("HTTP_TOKEN_FILE", place.path("token"));
    std::fs::write(place.path("token"), "a-token-of-this-test-that-is-long-enough").unwrap();
    let mut cutting = service("millwork-manifest-builder", builder);
    cutting
        .arg("serve")
        .env("MAX_WAIT_SECONDS", "1")
        .env("SWEEP_INTERVAL_SECONDS", "1")
        .env("SIZE_TOLERANCE_PERCENT", "100");
    let mut working = service("millwork-executor", executor);
    working
        .env("MILLWORK_SCHEDULER", format!("127.0.0.1:{listen}"))
        .env("MILLWORK_VCORES", "1")
        .env("HOME", place.root.path());
    scheduler.env("HOME", place.root.path());
    let _processes = [
        start(scheduler, &place.path("scheduler.log")),
        start(cutting, &place.path("builder.log")),
        start(working, &place.path("executor.log")),
    ];
    runtime.block_on(async {
        let body = "{\"n\": 1}\n".repeat(20_000).into_bytes();
        let s3 = aws.s3().await;
        let put = |key: &'static str, body: Vec<u8>| {
            let request = s3.put_object().bucket("acme-input").key(key).body(body.into());
            async move { request.send().await.unwrap() }
        };
        put("2025-12-01-a.ndjson", body.clone()).await;
        put("no-date.ndjson", body).await;
    });
    let token = "a-token-of-this-test-that-is-long-enough";
    let found = |port: u16| runtime.block_on(scrape(&format!("http://127.0.0.1:{port}/metrics"), Some(token)));
    wait_until("a run is completed", || found(api).contains("millwork_runs_ended_total{state=\"completed\"} 1"));
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
