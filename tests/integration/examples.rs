//! Examples in the help of commands, each run against servers and a scheduler that has worked.

use crate::aws::{bootstrap, environment};
use crate::fleet::{Fleet, World, gzip};
use crate::place::{Done, Place, binary, python, repository};
use serde_json::json;

/// The run that examples name.
const RUN: &str = "2025-12-23-batch-0407-20251223-101500";

#[test]
fn every_example_of_every_command_runs_and_prints_what_its_schema_says() {
    let world = World::cloud();
    let aws = world.aws.as_ref().unwrap();
    let variables = environment(&bootstrap(aws, &["--json"]));
    let options = [vec!["--manifest-places".to_owned(), "s3://acme-manifests".to_owned()], Vec::new()];
    let fleet = Fleet::start_with(&world, 1, 1, options);
    let lines = "{\"a\": 1}\nbad\n".repeat(100);
    let first = world.input("f1/2025-12-23-0193.ndjson.gz", gzip(lines.as_bytes()));
    let second = world.input("f1/2025-12-23-0194.ndjson", lines.into_bytes());
    let document = world.manifest(RUN, &[first]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let s3 = aws.s3().await;
        let key = "manifests/2025-12-23/batch-0407-20251223-101500.json";
        let request = s3.put_object().bucket("acme-manifests").key(key).body(document.to_string().into_bytes().into());
        request.send().await.unwrap();
    });
    assert_eq!(fleet.submit(0, &document).0, 202);
    fleet.wait_until("the run is completed", || fleet.get(0, &format!("runs/{RUN}"))["state"] == "completed");

    // The folder in which a stranger types.
    let scratch = Place::new();
    let write = |name: &str, content: &str| std::fs::write(scratch.path(name), content).unwrap();
    let other =
        json!({"fileLocations": [{"URIPrefixes": [second]}], "metadata": {"manifest_id": "2025-12-23-batch-0001"}});
    write("m.json", &other.to_string());
    write("mended.ndjson", "{\"a\": 2}\n");
    write("query.sql", "SELECT * FROM read_manifest($manifest)");
    write("changes.ndjson", "{\"uri\": \"s3://acme-input/f1/2025-12-23-0193.ndjson.gz\", \"to\": \"quarantined\"}\n");
    std::fs::copy(repository().join("docs/prices.toml"), scratch.path("my-prices.toml")).unwrap();
    let key = rcgen::generate_simple_self_signed(vec!["millwork".to_owned()]).unwrap();
    write("tls.crt", &key.cert.pem());
    scratch.generate(&["--files", "3", "--size-mb", "0.2"]);
    let _ = scratch.run_well(&[]);

    let programs = binary("millwork").parent().unwrap().display().to_string();
    let mut command = python();
    command.arg(repository().join("tests/oracle/examples.py")).current_dir(scratch.path("."));
    command.env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()));
    command.env("XDG_RUNTIME_DIR", world.place.path("session")).env("MILLWORK_SCHEDULER", fleet.url(0));
    let queues = ["QUEUE_URL", "DEAD_LETTER_QUEUE_URL", "MANIFEST_QUEUE_URL"];
    command.envs(queues.map(|name| (name, &variables[name]))).envs(aws.environment()).env("USER", "ana");
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(0), "{}{}", done.stdout, done.stderr);
}
