//! The tables of a state in DynamoDB, as somebody's hand changes them.

use crate::why::World;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use millwork_tracking::TableNames;
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};

type Item = HashMap<String, AttributeValue>;

/// All items, by table and key.
pub(crate) type Dump = BTreeMap<(String, String), Item>;

pub(crate) struct Tables {
    client: Client,
    names: TableNames,
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// A compressed text with other words in place of some.
fn replaced(compressed: &AttributeValue, from: &str, to: &str) -> AttributeValue {
    let mut content = String::new();
    GzDecoder::new(compressed.as_b().unwrap().as_ref()).read_to_string(&mut content).unwrap();
    assert!(content.contains(from), "{content}");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content.replace(from, to).as_bytes()).unwrap();
    AttributeValue::B(Blob::new(encoder.finish().unwrap()))
}

impl Tables {
    pub(crate) fn new(client: Client, names: TableNames) -> Self {
        Self { client, names }
    }

    /// The names of the tables, each with those of its key.
    fn tables(&self) -> [(&str, &'static [&'static str]); 3] {
        [
            (self.names.tracking.as_str(), &["date_prefix", "file_key"]),
            (self.names.metrics.as_str(), &["metric_date", "metric_type"]),
            (self.names.runs.as_str(), &["manifest_id"]),
        ]
    }

    pub(crate) async fn dump(&self) -> Dump {
        let mut dump = Dump::new();
        for (table, key) in self.tables() {
            let scanned = self.client.scan().table_name(table).consistent_read(true).send().await.unwrap();
            assert!(scanned.last_evaluated_key.is_none());
            for item in scanned.items.unwrap_or_default() {
                let name: Vec<&str> = key.iter().map(|name| item[*name].as_s().unwrap().as_str()).collect();
                dump.insert((table.to_owned(), name.join("\n")), item);
            }
        }
        dump
    }

    /// Makes the tables what they were.
    pub(super) async fn restore(&self, wanted: &Dump) {
        let found = self.dump().await;
        for (place, item) in wanted.iter().filter(|(place, item)| found.get(*place) != Some(item)) {
            self.put(&place.0, item.clone()).await;
        }
        for (table, key) in found.keys().filter(|place| !wanted.contains_key(*place)) {
            self.delete(table, &key.split('\n').collect::<Vec<_>>()).await;
        }
    }

    fn key(&self, table: &str, values: &[&str]) -> Item {
        let names = self.tables().into_iter().find(|(name, _)| *name == table).unwrap().1;
        names.iter().zip(values).map(|(name, value)| ((*name).to_owned(), text(value))).collect()
    }

    async fn put(&self, table: &str, item: Item) {
        self.client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
    }

    async fn delete(&self, table: &str, key: &[&str]) {
        self.client.delete_item().table_name(table).set_key(Some(self.key(table, key))).send().await.unwrap();
    }

    /// Changes an item. One that is not there stays away, as it does for SQL.
    async fn edit(&self, table: &str, key: &[&str], edit: impl FnOnce(&mut Item)) {
        let got = self.client.get_item().table_name(table).set_key(Some(self.key(table, key))).consistent_read(true);
        let Some(mut item) = got.send().await.unwrap().item else { return };
        edit(&mut item);
        self.put(table, item).await;
    }

    async fn edit_file(&self, world: &World, name: &str, edit: impl FnOnce(&mut Item)) {
        self.edit(&self.names.tracking, &["2025-12-23", world.uri(name).as_str()], edit).await;
    }

    async fn edit_run(&self, key: &str, edit: impl FnOnce(&mut Item)) {
        self.edit(&self.names.runs, &[key], edit).await;
    }

    /// Counts no file as waiting, as triggers do in SQLite when the one that waited is none any more.
    async fn forget_waiting(&self) {
        let nothing = |item: &mut Item| {
            item.insert("pending_files".to_owned(), number(0));
            item.insert("pending_bytes".to_owned(), number(0));
            item.remove("oldest_pending");
        };
        self.edit(&self.names.metrics, &["PENDING", "2025-12-23"], nothing).await;
    }

    async fn edit_result(&self, from: &str, to: &str) {
        let edit = |item: &mut Item| {
            let result = replaced(&item["result"], from, to);
            item.insert("result".to_owned(), result);
        };
        self.edit_run("COMMIT#done#1", edit).await;
    }

    /// Does what the statement of this number does in SQLite.
    pub(super) async fn damage(&self, number_of_damage: usize, world: &World) {
        let counter = |name: &'static str| move |item: &mut Item| drop(item.insert(name.to_owned(), number(7)));
        match number_of_damage {
            0 => self.edit_file(world, "c", |item| drop(item.remove("manifest_id"))).await,
            1 => {
                let lose = |item: &mut Item| {
                    item.insert("status".to_owned(), text("lost"));
                    item.remove("pending_date");
                };
                self.edit_file(world, "f", lose).await;
                self.forget_waiting().await;
            }
            2 => self.edit_file(world, "a", |item| end_timeline(item, "pending")).await,
            3 => self.delete(&self.names.runs, &["done"]).await,
            4 => self.delete(&self.names.runs, &["COMMIT#done#1"]).await,
            5 => {
                let refuse = |item: &mut Item| {
                    item.insert("status".to_owned(), text("quarantined"));
                    item.insert("reason".to_owned(), text("too-small"));
                    item.insert("quarantine_uri".to_owned(), text("file:///nowhere/x"));
                    item.remove("pending_date");
                    end_timeline(item, "quarantined");
                };
                self.edit_file(world, "f", refuse).await;
                self.forget_waiting().await;
            }
            6 => self.edit(&self.names.metrics, &["PENDING", "2025-12-23"], counter("pending_files")).await,
            7 => self.edit(&self.names.metrics, &["PENDING", "2025-12-23"], counter("pending_bytes")).await,
            8 => {
                let mut lock = self.key(&self.names.lock, &["LOCK#2025-12-23", "LOCK"]);
                let moments = [("token", 3), ("acquired_at", 1_735_689_600_000), ("expires_at", 1_735_689_600_000)];
                lock.extend(moments.map(|(name, value)| (name.to_owned(), number(value))));
                lock.insert("holder".to_owned(), text("dead"));
                self.put(&self.names.lock, lock).await;
            }
            9 => {
                let mut document = None;
                self.edit_run("DOC#open", |item| document = Some(replaced(&item["document"], "\"open\"", "\"waits\"")))
                    .await;
                self.edit_run("DOC#waits", |item| drop(item.insert("document".to_owned(), document.unwrap()))).await;
            }
            10 => {
                let complete = |item: &mut Item| {
                    item.insert("status".to_owned(), text("completed"));
                    end_timeline(item, "completed");
                };
                self.edit_file(world, "c", complete).await;
            }
            11 => self.delete(&self.names.runs, &["DOC#waits"]).await,
            12 => self.edit_result("\"lines\":1", "\"lines\":2").await,
            13 => self.edit_result("\"bytes\":7", "\"bytes\":8").await,
            14 => self.edit_result("{\"rows\":2,", "{\"rows\":3,").await,
            _ => self.edit_run("done", |item| drop(item.insert("files".to_owned(), number(9)))).await,
        }
    }
}

/// Gives the last line of a file's timeline another state.
fn end_timeline(item: &mut Item, state: &str) {
    let Some(AttributeValue::L(timeline)) = item.get_mut("timeline") else { panic!("a file has a timeline") };
    let Some(AttributeValue::M(last)) = timeline.last_mut() else { panic!("a timeline has lines") };
    last.insert("state".to_owned(), text(state));
}
