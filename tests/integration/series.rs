//! Numbers over time, and of dates, over the life of real schedulers.

use crate::cluster::{Cluster, manifest};
use crate::place::{Place, wait_until};
use serde_json::Value;

fn sum(series: &Value) -> f64 {
    series["points"].as_array().into_iter().flatten().map(|point| point["value"].as_f64().unwrap()).sum()
}

#[test]
fn series_go_on_when_a_scheduler_is_killed_and_the_next_one_starts() {
    let place = Place::new();
    place.generate(&["--files", "4", "--size-mb", "1", "--dates", "2", "--date", "2025-12-22"]);
    let mut cluster = Cluster::start(&place, "out", 1, &[]);
    let first = manifest(&place, "first", "2025-12-22");
    let second = manifest(&place, "second", "2025-12-23");
    assert_eq!(cluster.submit(&[&first]).code, Some(0));
    let rows = cluster.get("runs/first")["result"]["rows"].as_f64().unwrap();
    wait_until("the rows are in the series", || sum(&cluster.get("series?name=rows")) == rows);
    cluster.kill_scheduler();
    cluster.start_scheduler();
    assert_eq!(sum(&cluster.get("series?name=rows")), rows, "a restart forgets nothing");
    wait_until("the executor is back", || {
        cluster.get("executors")["items"].as_array().is_some_and(|items| !items.is_empty())
    });
    assert_eq!(cluster.submit(&[&second]).code, Some(0));
    let more = cluster.get("runs/second")["result"]["rows"].as_f64().unwrap();
    // Told to stop, it writes what it has not written.
    assert_eq!(cluster.stop_scheduler(), Some(0));
    cluster.start_scheduler();
    assert_eq!(sum(&cluster.get("series?name=rows")), rows + more);
    let stats = cluster.get("stats");
    assert_eq!(stats["forecast"]["outlook"], "empty", "{stats}");
    assert_eq!(cluster.get("series?name=nonsense")["error"]["code"], "bad-query");
    assert_eq!(cluster.get("series?name=rows&step=61")["error"]["code"], "bad-query");
    dates_tell_what_became_of_them(&cluster, [rows, more]);
    schedulers_and_settings_are_told(&cluster);
}

fn dates_tell_what_became_of_them(cluster: &Cluster<'_>, rows: [f64; 2]) {
    let dates = cluster.get("dates");
    let of = |date: &Value| (date["date"].clone(), date["rows"].as_f64().unwrap(), date["files"][0]["state"].clone());
    let items: Vec<_> = dates["items"].as_array().unwrap().iter().map(of).collect();
    let expected = [("2025-12-23", rows[1]), ("2025-12-22", rows[0])];
    assert_eq!(items, expected.map(|(date, rows)| (date.into(), rows, "completed".into())), "{dates}");
    let (status, counted) = cluster.post("dates/2025-12-23/recount", &Value::Null);
    assert_eq!((status, &counted), (200, &dates["items"][0]));
    assert_eq!(cluster.get("dates/2025-12-23"), dates["items"][0]);
    assert_eq!(cluster.get("dates/1999-01-01")["error"]["code"], "not-found");
}

fn schedulers_and_settings_are_told(cluster: &Cluster<'_>) {
    wait_until("the scheduler shows itself", || cluster.get("schedulers")["items"][0]["leads"] == true);
    let config = cluster.get("config");
    let of = |name: &str| config["items"].as_array().unwrap().iter().find(|item| item["name"] == name).unwrap().clone();
    assert_eq!((&of("--output")["origin"], &of("--max-retries")["origin"]), (&"flag".into(), &"default".into()));
    assert_eq!(of("--max-retries")["value"], "2");
    assert!(config["build"]["datafusion"].as_str().is_some_and(|version| version.starts_with("55")), "{config}");
}
