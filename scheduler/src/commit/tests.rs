use super::*;

/// Records as version 0.2.0 wrote them: what a state holds is published by every later version.
const IN_DIRECTORY: &str = r#"{
    "staging": {"local": {"directory": "/lake/_millwork/staging/2025-12-23-batch-0001-20261129-112920/1"}},
    "outputs": [[
        {"name": "00000-5366b19f-cf63-41b6-8743-10b136a3dde1.part", "size_bytes": 1716},
        "file:///lake/merged-parquet-2025-12-23/2025-12-23-batch-0001-20261129-112920-part-00000.parquet"
    ]],
    "rejects": [{"name": "00000-cf00ee31-50ad-4159-9657-ca97a6d9eed3.rejected.ndjson", "size_bytes": 180}],
    "rejects_uri": "file:///lake/_quarantine/rejected-lines/2025-12-23/2025-12-23-batch-0001-20261129-112920.ndjson",
    "ledger": [{
        "uri": "file:///in/2025-12-23-x.ndjson", "size_bytes": 15, "lines": 2, "rows": 1, "rejected": 1, "blank": 0,
        "replaced_characters": 0
    }]
}"#;

const IN_BUCKET: &str = r#"{
    "staging": {"bucket": {
        "bucket": "lake", "manifest": "2025-12-23-batch-0001-20261129-112920",
        "private": "_millwork/staging/2025-12-23-batch-0001-20261129-112920/", "attempt": 2,
        "output": "merged-parquet-2025-12-23/2025-12-23-batch-0001-20261129-112920-part-{part}.parquet"
    }},
    "outputs": [[
        {
            "name": "00000-5366b19f-cf63-41b6-8743-10b136a3dde1.part", "size_bytes": 9000000,
            "upload": {
                "id": "upload-1", "parts": ["\"a\"", "\"b\""], "tail": "UEFSMQ==",
                "mark": "cf00ee31-50ad-4159-9657-ca97a6d9eed3"
            }
        },
        "s3://lake/merged-parquet-2025-12-23/2025-12-23-batch-0001-20261129-112920-part-00000.parquet"
    ]],
    "rejects": [],
    "rejects_uri": "s3://lake/_quarantine/rejected-lines/2025-12-23/2025-12-23-batch-0001-20261129-112920.ndjson",
    "replaces": ["s3://lake/merged-parquet-2025-12-23/old.parquet"],
    "ledger": []
}"#;

/// A result without what was added to it later.
const RESULT: &str = r#"{
    "rows": 1, "rejected": 1, "input_bytes": 15, "output_bytes": 1716, "replaced_characters": 0,
    "outputs": [{
        "uri": "file:///lake/x.parquet", "rows": 1, "bytes": 1716,
        "manifest_id": "2025-12-23-batch-0001-20261129-112920", "executor": "embedded:1"
    }],
    "rejected_lines": null, "renamed_columns": [], "ledger": []
}"#;

#[test]
fn records_of_earlier_versions_are_read_and_written_alike() {
    for text in [IN_DIRECTORY, IN_BUCKET] {
        let record: CommitRecord = serde_json::from_str(text).unwrap();
        let expected: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_value(&record).unwrap(), expected);
    }
    let result: RunResult = serde_json::from_str(RESULT).unwrap();
    assert_eq!((result.rows, result.attempt, result.outputs.len()), (1, 0, 1));
}
