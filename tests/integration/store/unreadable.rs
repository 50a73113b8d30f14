//! What nobody can read in the tables of DynamoDB's store, and what is put off, holds up nothing else.

use super::runs::storage;
use super::support::*;
use crate::cost::Counts;
use crate::servers::Aws;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use millwork_manifest::{Failure, FailureClass, FileState, RunState};
use millwork_tracking::{DynamoStore, TableNames, create_tables};
use std::sync::Arc;

async fn set(client: &Client, key: &str, attributes: &[(&str, AttributeValue)]) {
    let mut request = client.update_item().table_name("runs").key("manifest_id", AttributeValue::S(key.to_owned()));
    let mut texts = Vec::new();
    for (name, value) in attributes {
        texts.push(format!("#{name} = :{name}"));
        request = request.expression_attribute_names(format!("#{name}"), *name);
        request = request.expression_attribute_values(format!(":{name}"), value.clone());
    }
    request.update_expression(format!("SET {}", texts.join(", "))).send().await.unwrap();
}

#[tokio::test]
async fn one_item_that_cannot_be_read_holds_up_no_other() {
    let aws = Aws::start();
    let client = Client::new(&aws.config().await);
    let names = TableNames {
        tracking: "files".to_owned(),
        lock: "files".to_owned(),
        metrics: "metrics".to_owned(),
        runs: "runs".to_owned(),
    };
    create_tables(&client, &names).await.unwrap();
    let store: Store = Arc::new(DynamoStore::new(client.clone(), names));
    let wrong = |text: &str| AttributeValue::S(text.to_owned());
    // Of the runs that wait, of those that have a turn, of those that are failing, and of the drafts.
    submit(&store, "waits-badly", &["a"], 0).await;
    submit(&store, "waits", &["b"], 1).await;
    let turns = [submit(&store, "turn-badly", &["c"], 2).await, submit(&store, "turn", &["d"], 3).await];
    for id in &turns {
        start(&store, id, 4).await;
    }
    let failing = [submit(&store, "fails-badly", &["e"], 5).await, submit(&store, "fails", &["f"], 6).await];
    for id in &failing {
        store.fail(id, 0, &Failure::new(FailureClass::Bug, "broken"), at(7)).await.unwrap();
        store.requeue(id, at(8)).await.unwrap();
        let state = [("status", wrong("failed")), ("queue", wrong("failing")), ("queue_key", wrong(id.as_str()))];
        set(&client, id.as_str(), &state).await;
    }
    let held = lock(&store).await;
    store.begin_draft(&draft("draft-badly", &["g"]), &held).await.unwrap();
    store.begin_draft(&draft("draft", &["h"]), &held).await.unwrap();
    set(&client, "waits-badly", &[("priority", wrong("high"))]).await;
    set(&client, "turn-badly", &[("history", AttributeValue::L(vec![wrong("{")]))]).await;
    set(&client, "DOC#fails-badly", &[("document", wrong("?"))]).await;
    set(&client, "DOC#draft-badly", &[("document", wrong("?"))]).await;

    assert_eq!(due(&store, 10).await, ["waits"]);
    let open = store.open_runs().await.unwrap();
    assert_eq!(open.iter().map(|run| run.manifest_id.as_str()).collect::<Vec<_>>(), ["turn"]);
    assert_eq!(file(&store, "f").await.state, FileState::Failed);
    let drafts = store.drafts(at(1)).await.unwrap();
    assert_eq!(drafts.iter().map(|draft| draft.manifest.id.as_str()).collect::<Vec<_>>(), ["draft"]);
    let counts = store.count_runs().await.unwrap();
    assert_eq!(counts.iter().find(|count| count.state == RunState::Queued).unwrap().runs, 2);
}

#[tokio::test]
async fn runs_that_are_put_off_cost_no_request_each() {
    let (aws, counts) = (Aws::start(), Counts::default());
    let (store, counted) = aws.fresh_stores(counts.clone()).await;
    let lock = lock_named(&store, "LOCK#runs").await;
    for number in 0..40 {
        let name = format!("m{number:02}");
        let id = &submit(&store, &name, &[&name], number).await;
        let attempt = store.start_attempt(id, &lock, at(50)).await.unwrap();
        assert!(store.retry_later(id, attempt, &storage("slow"), at(1000), at(51)).await.unwrap());
    }
    submit(&store, "n1", &["n1"], 100).await;
    submit(&store, "n2", &["n2"], 101).await;
    submit(&store, "n3", &["n3"], 102).await;
    let found = counted.due(2, at(200)).await.unwrap();
    assert_eq!(found.iter().map(|run| run.manifest_id.as_str()).collect::<Vec<_>>(), ["n1", "n2"]);
    // The index, and the runs themselves.
    assert_eq!(counts.take().values().sum::<usize>(), 2);
}
