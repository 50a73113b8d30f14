//! Tests with valid and invalid messages.

use super::*;
use serde_json::json;

fn s3(name: &str, key: &str) -> serde_json::Value {
    json!({"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": name, "s3": {
        "bucket": {"name": "in"},
        "object": {"key": key, "size": 7, "eTag": "abc", "versionId": "v1", "sequencer": "0A"}}}]})
}

fn event_bridge(kind: &str, key: &str) -> serde_json::Value {
    json!({"version": "0", "source": "aws.s3", "detail-type": kind, "detail": {"bucket": {"name": "in"},
        "object": {"key": key, "size": 7, "etag": "abc", "version-id": "v1", "sequencer": "0A"}}})
}

fn created(key: &str) -> ObjectEvent {
    ObjectEvent {
        kind: EventKind::Created,
        uri: format!("s3://in/{key}").parse().unwrap(),
        size_bytes: Some(7),
        etag: Some("abc".to_owned()),
        version_id: Some("v1".to_owned()),
        sequencer: Some("0A".to_owned()),
    }
}

fn good(value: &serde_json::Value) -> Vec<ObjectEvent> {
    let decoded = decode(&value.to_string());
    assert_eq!(decoded.bad, None);
    decoded.events
}

fn reason(body: &str) -> Option<BadReason> {
    decode(body).bad.map(|bad| bad.reason)
}

#[test]
fn the_same_event_in_three_shapes_is_one() {
    let plain = s3("ObjectCreated:Put", "d/2025-12-23-a.ndjson");
    let wrapped = json!({"Type": "Notification", "MessageId": "1", "Message": plain.to_string()});
    let bridged = event_bridge("Object Created", "d/2025-12-23-a.ndjson");
    let wrapped_bridge = json!({"Type": "Notification", "Message": bridged.to_string()});
    for value in [plain, wrapped, bridged, wrapped_bridge] {
        assert_eq!(good(&value), [created("d/2025-12-23-a.ndjson")], "{value}");
    }
}

#[test]
fn keys_are_decoded_once_and_those_of_event_bridge_never() {
    let encoded = "d/a+b%2Bc%25%C3%BC%252B.ndjson";
    assert_eq!(good(&s3("ObjectCreated:Put", encoded)), [created("d/a b+c%ü%2B.ndjson")]);
    assert_eq!(good(&event_bridge("Object Created", encoded)), [created(encoded)]);
    for broken in ["a%2", "a%zz", "%FF"] {
        assert_eq!(reason(&s3("ObjectCreated:Put", broken).to_string()), Some(BadReason::BadKey), "{broken}");
    }
}

#[test]
fn deletes_have_no_size() {
    let mut value = s3("ObjectRemoved:Delete", "a.ndjson");
    let object = value["Records"][0]["s3"]["object"].as_object_mut().unwrap();
    object.remove("size");
    object.remove("eTag");
    assert_eq!(good(&value)[0].kind, EventKind::Removed);
    assert_eq!(good(&event_bridge("Object Deleted", "a"))[0].kind, EventKind::Removed);
    value["Records"][0]["eventName"] = json!("ObjectCreated:Put");
    assert_eq!(reason(&value.to_string()), Some(BadReason::BadRecord));
}

#[test]
fn test_events_and_other_kinds_say_nothing() {
    let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "in"});
    let wrapped = json!({"Type": "Notification", "Message": test.to_string()});
    for value in [
        test,
        wrapped,
        s3("ObjectTagging:Put", "a"),
        s3("ObjectCreated:Put", "folder/"),
        event_bridge("Object Tags Added", "a"),
        json!({"Records": []}),
    ] {
        assert!(good(&value).is_empty(), "{value}");
    }
}

#[test]
fn every_two_point_version_is_read_and_no_other() {
    let mut value = s3("ObjectCreated:CompleteMultipartUpload", "a.ndjson");
    for version in ["2.0", "2.3", "2.6"] {
        value["Records"][0]["eventVersion"] = json!(version);
        assert_eq!(good(&value).len(), 1);
    }
    value["Records"][0]["eventVersion"] = json!("3.0");
    assert_eq!(reason(&value.to_string()), Some(BadReason::UnknownVersion));
}

#[test]
fn one_bad_record_does_not_hide_the_others() {
    let mut value = s3("ObjectCreated:Put", "a.ndjson");
    let more = [json!({"eventName": "x"}), s3("ObjectCreated:Copy", "b.ndjson")["Records"][0].clone()];
    value["Records"].as_array_mut().unwrap().extend(more);
    let decoded = decode(&value.to_string());
    assert_eq!(decoded.events.len(), 2);
    assert_eq!(decoded.bad.unwrap().reason, BadReason::BadRecord);
}

#[test]
fn what_is_no_event_is_told_why() {
    assert_eq!(reason("hello"), Some(BadReason::NotJson));
    assert_eq!(reason(r#"{"Type":"Notification","Message":"hello"}"#), Some(BadReason::NotJson));
    assert_eq!(reason("[1]"), Some(BadReason::UnknownShape));
    let detail = decode(r#"{"fileLocations":[]}"#).bad.unwrap().to_string();
    assert!(detail.contains("unknown-shape: neither") && detail.contains("fileLocations"), "{detail}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_survived(text in "\\PC*") {
        decode(&text);
        decode(&json!({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": text.clone()},
            "object": {"key": text.clone(), "size": 1, "eTag": text}}}]}).to_string());
    }
}

#[test]
fn an_order_that_is_none_is_not_kept() {
    let body = |sequencer: &str| {
        serde_json::json!({"Records": [{"eventName": "ObjectRemoved:Delete", "s3": {"bucket": {"name": "b"},
            "object": {"key": "a", "sequencer": sequencer}}}]})
        .to_string()
    };
    let order = |sequencer: &str| decode(&body(sequencer)).events[0].sequencer.clone();
    for known in ["0", "0055AED6DCD90281E5", "17b5f0", &"F".repeat(64)] {
        assert_eq!(order(known).as_deref(), Some(known));
    }
    for none in ["", "x", "-1", "\u{ff26}", &"F".repeat(65), &"0".repeat(200_000)] {
        assert_eq!(order(none), None);
    }
}
