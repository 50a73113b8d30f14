//! Manifests that hold more than a manifest may, beside good ones.

use crate::cluster::{Cluster, manifest};
use crate::place::{Place, wait_until};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a list may take while a large manifest is submitted: each is a few milliseconds on a machine with nothing else to
/// do.
const LIST_PATIENCE: Duration = Duration::from_secs(3);

fn sized(place: &Place, sizes: &[&str]) -> Value {
    let uri = |n: usize| place.path(&format!("in/2025-01-01-{n}.ndjson"));
    let uris: Vec<_> = (0..sizes.len()).map(uri).collect();
    let size = |text: &&str| serde_json::from_str::<Value>(text).unwrap();
    let files: Vec<_> =
        uris.iter().zip(sizes).map(|(uri, text)| json!({"uri": uri, "size_bytes": size(text)})).collect();
    json!({"fileLocations": [{"URIPrefixes": uris}], "metadata": {"manifest_id": "poison", "files": files}})
}

fn of_files(place: &Place, id: &str, count: usize) -> Value {
    let uris: Vec<_> =
        (0..count).map(|n| place.path(&format!("in/a/folder/of/many/2025-01-01-{n:06}.ndjson"))).collect();
    json!({"fileLocations": [{"URIPrefixes": uris}], "metadata": {"manifest_id": id}})
}

#[test]
fn a_poisonous_manifest_is_refused_by_name_and_costs_nobody_anything() {
    let place = Place::new();
    place.input("2025-01-02-a.ndjson", "{\"a\":1}\n");
    let name = manifest(&place, "good", "2025-01-02");
    let good: Value = serde_json::from_slice(&std::fs::read(place.path(&name)).unwrap()).unwrap();
    let cluster = Cluster::start(&place, "out", 1, &[]);
    let past = ["5497558138881", "9223372036854775807", "9223372036854775808", "18446744073709551615", "-1"];
    let poisons =
        past.iter().map(|size| (sized(&place, &["1", size]), format!("2025-01-01-1.ndjson` has {size} bytes")));
    let many = (of_files(&place, "poison", 100_001), "lists 100001 files; the limit is 100000".to_owned());
    for (poison, told) in poisons.chain([many]) {
        let (status, answer) = cluster.post("manifests", &poison);
        assert_eq!((status, &answer["error"]["code"]), (400, &"bad-manifest".into()), "{answer}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(&told), "{message}");
    }
    // Nothing of it is stored, and everything goes on.
    let (status, _) = cluster.call(|c| c.get(format!("{}/api/v1/runs/poison", cluster.url()))).unwrap();
    assert_eq!(status, 404);
    assert_eq!(cluster.post("manifests", &sized(&place, &["5497558138880", "5497558138880", "0"])).0, 202);
    assert_eq!(cluster.post("manifests", &good).0, 202);
    wait_until("the good run is completed", || cluster.get("runs/good")["state"] == "completed");
    let (status, _) = cluster.call(|c| c.get(format!("{}/readyz", cluster.url()))).unwrap();
    assert_eq!(status, 200);
}

#[test]
fn the_largest_manifest_is_taken_and_holds_up_no_list() {
    let place = Place::new();
    let cluster = Cluster::start(&place, "out", 1, &[]);
    let large = of_files(&place, "large", 100_000);
    let (submitted, slowest) = std::thread::scope(|scope| {
        let submitting = scope.spawn(|| {
            let began = Instant::now();
            (cluster.post("manifests", &large).0, began.elapsed())
        });
        let mut slowest = Duration::ZERO;
        while !submitting.is_finished() {
            let began = Instant::now();
            cluster.get("runs?limit=100");
            cluster.get("files?limit=100");
            slowest = slowest.max(began.elapsed());
        }
        (submitting.join().unwrap(), slowest)
    });
    println!("submitted in {:?}, the slowest lists took {slowest:?}", submitted.1);
    assert_eq!(submitted.0, 202);
    assert!(slowest < LIST_PATIENCE, "lists took {slowest:?}");
}
