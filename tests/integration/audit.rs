//! Notes of what operators do, from the command line and over HTTP, across a scheduler's death.

use crate::cluster::{Cluster, manifest};
use crate::place::{Done, Place, wait_until};
use millwork_api::{AuditEntry, Page, Plan, PlanState, Via};
use serde_json::json;

fn place() -> Place {
    let place = Place::new();
    for day in ["2025-01-01", "2025-01-02"] {
        place.input(&format!("{day}-a.ndjson"), "{\"a\":1}\n");
    }
    place
}

fn notes(cluster: &Cluster<'_>) -> Vec<AuditEntry> {
    serde_json::from_value::<Page<AuditEntry>>(cluster.get("audit")).unwrap().items
}

#[test]
fn each_change_leaves_a_note_and_plans_outlive_their_scheduler() {
    let place = place();
    // Nothing is converted: there is no executor.
    let mut cluster = Cluster::start(&place, "out", 0, &[]);
    let ask = |cluster: &Cluster<'_>, arguments: &[&str]| Done::of(cluster.client(arguments).output().unwrap());
    let documents = ["2025-01-01", "2025-01-02"]
        .map(|day| place.path(&manifest(&place, &format!("m-{day}"), day)).display().to_string());
    for document in &documents {
        assert_eq!(ask(&cluster, &["submit", document]).code, Some(0));
    }
    let submitted = notes(&cluster);
    assert_eq!(submitted.len(), 2);
    assert!(submitted.iter().all(|note| note.action == "submit" && note.outcome.as_deref() == Some("done")));
    assert!(submitted.iter().all(|note| (note.via, note.actor.as_str()) == (Via::Cli, "owner")), "{submitted:?}");

    // Over HTTP, and refused: a note all the same.
    assert_eq!(cluster.post("runs/m-2025-01-01/force", &json!({})).0, 409);
    let refused = &notes(&cluster)[0];
    assert_eq!((refused.action.as_str(), refused.via), ("force", Via::Api));
    assert!(refused.outcome.as_ref().unwrap().starts_with("refused: "), "{refused:?}");

    // Shown, and left so.
    let filter = ["runs", "cancel", "--where", "state=queued,planning,running", "--json", "--dry-run"];
    let shown = ask(&cluster, &filter);
    assert_eq!(shown.code, Some(3), "{}", shown.stderr);
    let plan: Plan = serde_json::from_value(shown.json()).unwrap();
    assert_eq!((plan.state, plan.changes.len()), (PlanState::Open, 2), "{plan:?}");
    assert_eq!(notes(&cluster).len(), 3, "a dry run leaves no note");
    cluster.kill_scheduler();
    let away = ask(&cluster, &["plans", "show", &plan.id, "--json"]);
    assert_eq!(away.code, Some(5), "{}", away.stderr);
    assert!(away.stderr.contains("{\"error\":{\"code\":\"unreachable\""), "{}", away.stderr);
    cluster.start_scheduler();
    wait_until("the scheduler is back", || cluster.try_get("/api/v1/audit").is_some());

    let applied = ask(&cluster, &["plans", "apply", &plan.id, "--yes"]);
    assert!(applied.code == Some(0) || applied.code == Some(6), "{} {}", applied.stdout, applied.stderr);
    let twice = ask(&cluster, &["plans", "apply", &plan.id, "--yes"]);
    assert_eq!(twice.code, Some(6), "{}", twice.stderr);
    assert!(twice.stderr.contains("was applied already") && twice.stderr.contains("\ntry: "), "{}", twice.stderr);
    let of_one = ask(&cluster, &["audit", "list", "--subject", "m-2025-01-01", "--json"]).json();
    let actions: Vec<_> = of_one["notes"].as_array().unwrap().iter().map(|note| note["action"].clone()).collect();
    assert_eq!(actions, ["cancel", "force", "submit"]);
    let unknown = ask(&cluster, &["runs", "cancel", "no-such"]);
    assert!(unknown.code == Some(1) && unknown.stdout.contains("no run"), "{} {}", unknown.stdout, unknown.stderr);
}
