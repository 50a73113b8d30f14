//! Publication in a bucket, where attempts die, come late, and lose what they wrote.

use crate::servers::Aws;
use aws_sdk_s3::Client;
use chrono::{Duration, Utc};
use millwork_manifest::ObjectUri;
use millwork_storage::{Location, RewriteTail, StagedFile, Staging, StagingArea, Storage, StorageResult, Tail};
use serde_json::json;
use std::io::Write as _;
use tokio::runtime::Runtime;

const KEY: &str = "lake/m-00000.parquet";

struct Bucket {
    client: Client,
    runtime: Runtime,
    storage: Storage,
}

impl Bucket {
    fn staging(&self, manifest: &str, attempt: u32) -> StagingArea {
        let output = Location::parse("s3://out/lake").unwrap();
        self.storage.staging(Staging::new(&output, manifest, attempt, &format!("{manifest}-{{part}}.parquet")))
    }

    /// Begins an upload that nobody knows, as if its attempt had died before it could note the id. Returns its note's key.
    fn orphan(&self, manifest: &str, attempt: u32) -> String {
        self.runtime.block_on(async {
            self.client.create_multipart_upload().bucket("out").key(KEY).send().await.unwrap();
            let note = format!("lake/_millwork/staging/{manifest}/{attempt}/uploads/orphan.json");
            let content = json!({"key": KEY, "upload_id": null}).to_string().into_bytes();
            self.client.put_object().bucket("out").key(&note).body(content.into()).send().await.unwrap();
            note
        })
    }

    fn put(&self, bucket: &str, key: &str, content: Vec<u8>) {
        let request = self.client.put_object().bucket(bucket).key(key).body(content.into());
        self.runtime.block_on(request.send()).unwrap();
    }

    fn get(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.runtime.block_on(async {
            let got = self.client.get_object().bucket(bucket).key(key).send().await.unwrap();
            got.body.collect().await.unwrap().to_vec()
        })
    }

    fn delete(&self, bucket: &str, key: &str) {
        self.runtime.block_on(self.client.delete_object().bucket(bucket).key(key).send()).unwrap();
    }

    fn keys(&self, bucket: &str) -> Vec<String> {
        let listed = self.runtime.block_on(self.client.list_objects_v2().bucket(bucket).send()).unwrap();
        listed.contents().iter().map(|object| object.key().unwrap().to_owned()).collect()
    }

    /// The ids of the open uploads.
    fn uploads(&self, bucket: &str) -> Vec<String> {
        let listed = self.runtime.block_on(self.client.list_multipart_uploads().bucket(bucket).send()).unwrap();
        listed.uploads().iter().map(|upload| upload.upload_id().unwrap().to_owned()).collect()
    }

    fn abort_all(&self) {
        for id in self.uploads("out") {
            let request = self.client.abort_multipart_upload().bucket("out").key(KEY).upload_id(id);
            self.runtime.block_on(request.send()).unwrap();
        }
    }

    fn is_empty(&self) -> bool {
        ["out", "quarantine"].iter().all(|bucket| self.keys(bucket).is_empty() && self.uploads(bucket).is_empty())
    }
}

/// An output that is ready to be published.
fn output(staging: &StagingArea) -> StagedFile {
    let mut writer = staging.create_output(0).unwrap();
    writer.start_tail().unwrap();
    writer.write_all(b"content").unwrap();
    let mut file = writer.finish().unwrap();
    staging.settle([&mut file], None).unwrap();
    file
}

/// The output at its place, and nothing left of its attempt.
fn publish(staging: &StagingArea, file: &StagedFile) -> StorageResult<()> {
    staging.publish(&[(file.clone(), staging.place().place_of(file).unwrap())])?
}

fn private(staging: &StagingArea, bytes: usize) -> StagedFile {
    let mut writer = staging.create_rejects(0).unwrap();
    writer.write_all(&vec![b'x'; bytes]).unwrap();
    writer.finish().unwrap()
}

/// The key of a file of rejected lines.
fn key_of(file: &StagedFile) -> String {
    format!("lake/_millwork/staging/m/1/{}", file.name)
}

fn uri(text: &str) -> ObjectUri {
    text.parse().unwrap()
}

#[test]
fn attempts_in_buckets_leave_nothing_and_destroy_nothing_of_others() {
    let (aws, runtime) = (Aws::start(), Runtime::new().unwrap());
    let client = runtime.block_on(async {
        for bucket in ["out", "quarantine"] {
            aws.create_bucket(bucket).await;
        }
        aws.s3().await
    });
    let bucket = Bucket { storage: Storage::with_client(client.clone()), client, runtime };
    a_sweep_that_comes_late_spares_a_later_attempt(&bucket);
    a_first_attempt_removes_what_a_forgotten_one_left(&bucket);
    an_attempt_that_gives_up_keeps_the_note_of_an_upload_without_id(&bucket);
    a_joined_file_that_breaks_off_leaves_no_upload(&bucket);
    an_upload_that_is_gone_is_lost(&bucket);
    what_is_left_of_a_lost_output_is_taken_back(&bucket);
    only_its_own_object_is_taken_for_it(&bucket);
    an_output_needs_a_free_place(&bucket);
    outputs_of_any_size_are_what_was_written(&bucket);
    what_is_reported_of_an_upload_is_compared(&bucket);
    an_end_that_is_not_proved_is_uploaded_again(&bucket);
    a_note_of_a_foreign_upload_touches_nothing(&bucket);
    notes_that_are_none_hold_nothing_up(&bucket);
    uploads_that_were_never_finished_are_counted(&bucket);
}

fn uploads_that_were_never_finished_are_counted(bucket: &Bucket) {
    let note = bucket.orphan("m", 1);
    let open = |place: &str, before| {
        let place = Location::parse(place).unwrap();
        bucket.runtime.block_on(bucket.storage.open_uploads(&place, before)).unwrap()
    };
    let (before, after) = (Utc::now() - Duration::hours(1), Utc::now() + Duration::hours(1));
    let found = open("s3://out/lake", after).unwrap();
    assert!(found.count == 1 && found.oldest.is_some_and(|at| at > before) && !found.has_more, "{found:?}");
    assert_eq!(open("s3://out/lake", before).unwrap().count, 0, "it may still be written");
    assert_eq!(open("s3://out/elsewhere", after).unwrap().count, 0);
    assert_eq!(open("/tmp", after), None);
    bucket.abort_all();
    bucket.delete("out", &note);
}

fn a_sweep_that_comes_late_spares_a_later_attempt(bucket: &Bucket) {
    let later = bucket.staging("m", 2);
    later.prepare().unwrap();
    let file = output(&later);
    let note = bucket.orphan("m", 1);
    bucket.put("out", "lake/_millwork/staging/m/1/rejected", b"x".into());
    bucket.staging("m", 1).clear().unwrap();
    assert_eq!(bucket.uploads("out").len(), 2);
    // What finds the upload of the first attempt stays until it can be told from that of the second.
    assert_eq!(bucket.keys("out").iter().filter(|key| key.contains("/m/1/")).collect::<Vec<_>>(), [&note]);
    publish(&later, &file).unwrap();
    assert_eq!((bucket.keys("out"), bucket.uploads("out")), (vec![KEY.to_owned()], Vec::new()));
    bucket.delete("out", KEY);
}

/// Of a state that was lost, which counted attempts from one, too.
fn a_first_attempt_removes_what_a_forgotten_one_left(bucket: &Bucket) {
    bucket.orphan("m", 1);
    bucket.put("out", "lake/_millwork/staging/m/1/rejected", b"x".into());
    let staging = bucket.staging("m", 1);
    staging.prepare().unwrap();
    let file = output(&staging);
    publish(&staging, &file).unwrap();
    assert_eq!((bucket.keys("out"), bucket.uploads("out")), (vec![KEY.to_owned()], Vec::new()));
    bucket.delete("out", KEY);
}

fn an_attempt_that_gives_up_keeps_the_note_of_an_upload_without_id(bucket: &Bucket) {
    let staging = bucket.staging("m", 1);
    output(&staging);
    let note = bucket.orphan("m", 1);
    staging.discard().unwrap();
    assert_eq!((bucket.keys("out"), bucket.uploads("out").len()), (vec![note], 1));
    bucket.staging("m", 2).prepare().unwrap();
    assert!(bucket.is_empty());
}

fn a_joined_file_that_breaks_off_leaves_no_upload(bucket: &Bucket) {
    let staging = bucket.staging("m", 1);
    let files = [private(&staging, 17 << 20), private(&staging, 10)];
    bucket.delete("out", &key_of(&files[1]));
    let to = uri("s3://quarantine/rejected-lines/2025-12-23/m.ndjson");
    let error = staging.publish_joined(&files, &to).unwrap_err();
    assert!(error.is_lost(), "{error}");
    assert!(bucket.uploads("quarantine").is_empty());
    // One that died in the middle is found by its note.
    let begun =
        bucket.client.create_multipart_upload().bucket("quarantine").key("rejected-lines/2025-12-23/m.ndjson").send();
    bucket.runtime.block_on(begun).unwrap();
    let note =
        json!({"bucket": "quarantine", "key": "rejected-lines/2025-12-23/m.ndjson", "upload_id": null}).to_string();
    bucket.put("out", "lake/_millwork/staging/m/1/uploads/orphan.json", note.into_bytes());
    bucket.put("out", &key_of(&files[1]), vec![b'x'; 10]);
    staging.publish_joined(&files, &to).unwrap();
    staging.publish_joined(&files, &to).unwrap();
    staging.clear().unwrap();
    assert_eq!((bucket.uploads("quarantine"), bucket.keys("quarantine").len()), (Vec::new(), 1));
    // The same from a directory.
    bucket.delete("quarantine", "rejected-lines/2025-12-23/m.ndjson");
    let root = tempfile::tempdir().unwrap();
    let place = Staging::new(&Location::Local(root.path().to_owned()), "m", 1, "");
    let staging = bucket.storage.staging(place);
    staging.prepare().unwrap();
    let files = [private(&staging, 17 << 20), private(&staging, 10)];
    let last = root.path().join(format!("_millwork/staging/m/1/{}", files[1].name));
    std::fs::remove_file(&last).unwrap();
    assert!(staging.publish_joined(&files, &to).unwrap_err().is_lost());
    assert!(bucket.is_empty());
    std::fs::write(&last, [b'x'; 10]).unwrap();
    staging.publish_joined(&files, &to).unwrap();
    bucket.delete("quarantine", "rejected-lines/2025-12-23/m.ndjson");
    assert!(bucket.is_empty());
}

fn an_upload_that_is_gone_is_lost(bucket: &Bucket) {
    let staging = bucket.staging("m", 1);
    let file = output(&staging);
    bucket.abort_all();
    let error = publish(&staging, &file).unwrap_err();
    assert!(error.is_lost() && error.to_string().contains("; put it there from a backup"), "{error}");
    staging.clear().unwrap();
    assert!(bucket.is_empty());
}

/// Two outputs, of which one is shown and the other's upload is gone.
fn what_is_left_of_a_lost_output_is_taken_back(bucket: &Bucket) {
    let staging = bucket.staging("m", 1);
    let first = output(&staging);
    let mut writer = staging.create_output(1).unwrap();
    writer.write_all(b"more").unwrap();
    let mut second = writer.finish().unwrap();
    staging.settle([&mut second], None).unwrap();
    let outputs = [first, second].map(|file| (file.clone(), staging.place().place_of(&file).unwrap()));
    let rejects = [private(&staging, 10)];
    let joined = uri("s3://quarantine/rejected.ndjson");
    staging.check_there(&outputs).unwrap();
    staging.check_joined(&rejects, &joined).unwrap();
    staging.publish_joined(&rejects, &joined).unwrap();
    bucket.delete("out", &key_of(&rejects[0]));
    staging.check_joined(&rejects, &joined).unwrap();
    staging.publish(&outputs[..1]).unwrap().unwrap();
    // The rest of the attempt has gone with that: as if a rule of the bucket had removed it.
    assert_eq!((bucket.keys("out"), bucket.uploads("out").len()), (vec![KEY.to_owned()], 0));
    staging.check_there(&outputs[..1]).unwrap();
    let error = staging.check_there(&outputs).unwrap_err();
    assert!(error.is_lost() && error.to_string().contains("m-00001.parquet"), "{error}");
    // Whoever has the key of the second is spared.
    bucket.put("out", "lake/m-00001.parquet", b"foreign".into());
    for _ in 0..2 {
        staging.take_back(&outputs).unwrap();
        staging.take_back_joined(&rejects, &joined).unwrap();
        assert_eq!(bucket.keys("out"), ["lake/m-00001.parquet"]);
        assert!(bucket.keys("quarantine").is_empty());
    }
    bucket.delete("out", "lake/m-00001.parquet");
    assert!(staging.check_joined(&rejects, &joined).unwrap_err().is_lost());
    // Rejected lines that were not shown yet, and those of which a process that died has taken one back, can be shown no more.
    let rejects = [private(&staging, 11), private(&staging, 12)];
    staging.check_joined(&rejects, &joined).unwrap();
    staging.publish_joined(&rejects, &joined).unwrap();
    bucket.delete("out", &key_of(&rejects[0]));
    for _ in 0..2 {
        staging.take_back_joined(&rejects, &joined).unwrap();
        assert!(bucket.keys("quarantine").is_empty());
        assert!(staging.publish_joined(&rejects, &joined).unwrap_err().is_lost());
    }
    // An upload that is still open can be completed no more.
    let file = output(&staging);
    let outputs = [(file.clone(), staging.place().place_of(&file).unwrap())];
    staging.take_back(&outputs).unwrap();
    assert!(publish(&staging, &file).unwrap_err().is_lost());
    staging.clear().unwrap();
    assert!(bucket.is_empty());
}

fn only_its_own_object_is_taken_for_it(bucket: &Bucket) {
    let staging = bucket.staging("m", 1);
    let file = output(&staging);
    bucket.orphan("m", 1);
    let rejected = key_of(&private(&staging, 10));
    bucket.put("out", KEY, b"foreign".into());
    let error = publish(&staging, &file).unwrap_err();
    // What is private goes only once all is published: it may be needed again.
    assert!(bucket.keys("out").contains(&rejected));
    assert_eq!(bucket.uploads("out").len(), 2);
    assert!(!error.is_lost() && error.to_string().contains("move it away"), "{error}");
    bucket.delete("out", KEY);
    publish(&staging, &file).unwrap();
    // The server remembers for a while only that the upload was completed.
    let mut record = serde_json::to_value(&file).unwrap();
    record["upload"]["id"] = json!("forgotten");
    publish(&staging, &serde_json::from_value(record.clone()).unwrap()).unwrap();
    record["upload"]["mark"] = json!("67e55044-10b1-426f-9247-bb680e5fe0c8");
    assert!(publish(&staging, &serde_json::from_value(record).unwrap()).unwrap_err().is_lost());
    // What was left for another reason goes when it is published once more.
    bucket.orphan("m", 1);
    publish(&staging, &file).unwrap();
    assert_eq!((bucket.keys("out"), bucket.uploads("out")), (vec![KEY.to_owned()], Vec::new()));
    bucket.delete("out", KEY);
}

fn an_output_needs_a_free_place(bucket: &Bucket) {
    let staging = bucket.staging("m", 1);
    bucket.put("out", KEY, b"foreign".into());
    let mut writer = staging.create_output(0).unwrap();
    writer.write_all(b"content").unwrap();
    let error = writer.finish().unwrap_err();
    assert_eq!(error.source.kind(), std::io::ErrorKind::AlreadyExists);
    assert!(error.to_string().contains("`s3://out/lake/m-00000.parquet`: it is there already"), "{error}");
    staging.discard().unwrap();
    assert_eq!((bucket.keys("out"), bucket.uploads("out")), (vec![KEY.to_owned()], Vec::new()));
    bucket.delete("out", KEY);
}

/// Around the sizes at which parts end and are sent, with ends that stay and ends that change.
fn outputs_of_any_size_are_what_was_written(bucket: &Bucket) {
    const PART: usize = 5 << 20;
    let content = |bytes: usize| (0..bytes).map(|n| ((n * 31) >> 3) as u8).collect::<Vec<_>>();
    let sizes = [0, 1, PART - 1, PART, PART + 1, 2 * PART - 1, 2 * PART, 2 * PART + 1, 3 * PART + 77, 6 * PART - 1];
    for (number, size) in sizes.into_iter().enumerate() {
        let staging = bucket.staging("m", 1);
        let (body, tail) = (content(size), content(1000 + number * PART / 4));
        let mut writer = staging.create_output(0).unwrap();
        for piece in body.chunks(1_000_003) {
            writer.write_all(piece).unwrap();
        }
        writer.start_tail().unwrap();
        writer.write_all(&tail).unwrap();
        let mut file = writer.finish().unwrap();
        assert_eq!(file.size_bytes as usize, size + tail.len());
        // The task's report carries it.
        file = serde_json::from_value(serde_json::to_value(&file).unwrap()).unwrap();
        let longer = |end: &Tail<'_>| {
            assert_eq!((end.file, end.offset as usize + end.bytes.len()), (0, size + tail.len()));
            Ok([end.bytes, b"longer"].concat())
        };
        let is_changed = number % 2 == 1;
        staging.settle([&mut file], is_changed.then_some(&longer as RewriteTail<'_>)).unwrap();
        publish(&staging, &file).unwrap();
        assert!(bucket.uploads("out").is_empty());
        let expected = [body, tail, if is_changed { b"longer".to_vec() } else { Vec::new() }].concat();
        assert!(bucket.get("out", KEY) == expected, "{size} bytes");
        assert_eq!(file.size_bytes as usize, expected.len());
        bucket.delete("out", KEY);
        assert!(bucket.is_empty());
    }
}

/// An output of more than one part, as a task reports it.
fn reported(staging: &StagingArea) -> StagedFile {
    let mut writer = staging.create_output(0).unwrap();
    writer.write_all(&vec![b'x'; 11 << 20]).unwrap();
    writer.start_tail().unwrap();
    writer.write_all(b"the end").unwrap();
    writer.finish().unwrap()
}

fn what_is_reported_of_an_upload_is_compared(bucket: &Bucket) {
    let staging = bucket.staging("m", 1);
    let file = reported(&staging);
    let examined = |file: &StagedFile| {
        let mut seen = Vec::new();
        let examined = staging.examine(&[file], &mut |tail| {
            seen = tail.bytes.to_vec();
            Ok(())
        });
        examined.map(|()| seen).map_err(|(place, error)| {
            assert_eq!((place, error.source.kind()), (0, std::io::ErrorKind::InvalidData), "{error}");
            error.to_string()
        })
    };
    assert!(examined(&file).unwrap().ends_with(b"the end"));
    let forged = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut record = serde_json::to_value(&file).unwrap();
        change(&mut record);
        examined(&serde_json::from_value(record).unwrap()).unwrap_err()
    };
    assert!(forged(&|file| file["upload"]["id"] = json!("another")).contains("there is none of this id"));
    assert!(forged(&|file| file["upload"]["parts"][0] = json!("\"0\"")).contains("part 1 is not the one"));
    assert!(forged(&|file| drop(file["upload"]["parts"].as_array_mut().unwrap().pop())).contains("is not the one"));
    assert!(forged(&|file| file["size_bytes"] = json!(5)).contains("longer than its 5 bytes"));
    assert!(forged(&|file| file["size_bytes"] = json!(99_999_999)).contains("of 99999999 bytes"));
    assert!(forged(&|file| file["upload"]["tail"] = json!("YWJj")).contains("the last of 3, were reported"));
    assert!(forged(&|file| file["upload"] = json!(null)).contains("no upload was reported"));
    // One of another attempt's numbers is another key's.
    let other = forged(&|file| file["name"] = json!(file["name"].as_str().unwrap().replace("00000-", "00001-")));
    assert!(other.contains("there is none of this id"), "{other}");
    // Rejected lines are those of the object, of its size.
    let mut rejects = private(&staging, 10);
    rejects.size_bytes = 9;
    assert!(staging.open_rejects(&rejects).err().unwrap().to_string().contains("it has 10 bytes, 9 were reported"));
    staging.clear().unwrap();
    assert!(bucket.is_empty());
}

/// The scheduler has looked at the end that was reported: another in its place does not become part of the output.
fn an_end_that_is_not_proved_is_uploaded_again(bucket: &Bucket) {
    let staging = bucket.staging("m", 1);
    let mut record = serde_json::to_value(reported(&staging)).unwrap();
    let number = record["upload"]["parts"].as_array().unwrap().len();
    let upload = record["upload"]["id"].as_str().unwrap().to_owned();
    let mut end_bytes = 0;
    let whole: StagedFile = serde_json::from_value(record.clone()).unwrap();
    let mut look = |tail: &Tail<'_>| {
        end_bytes = tail.bytes.len();
        Ok(())
    };
    staging.examine(&[&whole], &mut look).unwrap();
    let other = bucket.client.upload_part().bucket("out").key(KEY).upload_id(upload).part_number(number as i32);
    let other = bucket.runtime.block_on(other.body(vec![b'y'; end_bytes].into()).send()).unwrap();
    record["upload"]["parts"][number - 1] = json!(other.e_tag().unwrap());
    let mut file: StagedFile = serde_json::from_value(record).unwrap();
    staging.examine(&[&file], &mut |_| Ok(())).unwrap();
    staging.settle([&mut file], None).unwrap();
    publish(&staging, &file).unwrap();
    assert!(bucket.get("out", KEY).ends_with(b"xthe end"));
    bucket.delete("out", KEY);
    assert!(bucket.is_empty());
}

/// A note names an upload of somebody else, as only one who forges it would write.
fn a_note_of_a_foreign_upload_touches_nothing(bucket: &Bucket) {
    // One that is nobody's, and one of a manifest whose id begins with this one's.
    for key in ["payroll.csv", "rejected-lines/2025-12-23/m10.ndjson", "lake/m10-00000.parquet"] {
        let begun = bucket.client.create_multipart_upload().bucket("quarantine").key(key).send();
        let id = bucket.runtime.block_on(begun).unwrap().upload_id.unwrap();
        for upload_id in [json!(id), json!(null)] {
            let note = json!({"bucket": "quarantine", "key": key, "upload_id": upload_id}).to_string();
            bucket.put("out", "lake/_millwork/staging/m1/1/uploads/forged.json", note.into_bytes());
            bucket.staging("m1", 1).clear().unwrap();
            assert_eq!((bucket.uploads("quarantine").len(), bucket.keys("out").len()), (1, 0));
        }
        let abort = bucket.client.abort_multipart_upload().bucket("quarantine").key(key).upload_id(id);
        bucket.runtime.block_on(abort.send()).unwrap();
    }
    assert!(bucket.is_empty());
}

fn notes_that_are_none_hold_nothing_up(bucket: &Bucket) {
    bucket.put("out", "lake/_millwork/staging/m/1/uploads/long.json", vec![b' '; (16 << 10) + 1]);
    bucket.put("out", "lake/_millwork/staging/m/1/uploads/other.json", b"{".into());
    bucket.staging("m", 1).clear().unwrap();
    assert!(bucket.is_empty());
}
