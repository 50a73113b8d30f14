//! Manifest document: JSON that lists the files to be converted together; parsed leniently and written strictly.

mod error;
mod shape;

use crate::limits::{Bounded, MAX_MANIFEST_BYTES, MAX_MANIFEST_FILES};
use crate::trace::readable;
use crate::{DatePrefix, ManifestId, ObjectUri, TraceParent};
use chrono::{DateTime, Utc};
pub use error::ManifestError;
use serde::{Deserialize, Serialize};
use shape::{Described, Document, Location, Metadata};
use std::collections::{HashMap, HashSet};

/// Files to be converted together: of one date, without duplicates, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Id of the manifest, which also names its run and its output.
    pub id: ManifestId,
    /// Date of all its files.
    pub date: DatePrefix,
    /// Creation time, or the modification time of its document if that does not contain one: the `_ingested_at` of its
    /// rows.
    pub created_at: DateTime<Utc>,
    /// Files, in the order that determines the order of columns.
    pub files: Vec<ManifestFile>,
    /// Trace contexts of the batches in which its files arrived, for links of its run; as far as known.
    pub traceparents: Vec<TraceParent>,
}

/// A file in a manifest, with its attributes when the manifest was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// URI of the file.
    pub uri: ObjectUri,
    /// Stored size of the file, in bytes, if known.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Entity tag of the file, if known: an object with another one has changed.
    #[serde(default)]
    pub etag: Option<String>,
    /// Version of the file, in a bucket with versioning.
    #[serde(default)]
    pub version_id: Option<String>,
}

impl ManifestFile {
    /// Tells whether any of size, entity tag and version is known.
    fn is_described(&self) -> bool {
        self.size_bytes.is_some() || self.etag.is_some() || self.version_id.is_some()
    }

    /// Upper limit of the file's size in a document, in bytes: its address, attributes and separators.
    pub fn entry_bytes(&self) -> u64 {
        let bytes = |text: serde_json::Result<String>| text.map_or(0, |text| text.len() as u64 + 1);
        bytes(serde_json::to_string(&self.uri)) + bytes(serde_json::to_string(self))
    }
}

impl Manifest {
    /// Parses a manifest document.
    ///
    /// Accepts one location with many URIs or many with one, absent metadata, and files of unknown size. Refuses an
    /// empty list, duplicates, files of several dates and exceeded limits, with an error that names the item. `name` is
    /// the document's URI, which is used in errors, and to derive an id for a manifest without one. `modified_at` is
    /// the modification time of the document, used if it contains no creation time.
    pub fn parse(name: &str, text: &[u8], modified_at: DateTime<Utc>) -> Result<Self, ManifestError> {
        Self::check_size(name, text.len() as u64)?;
        Self::parse_own(name, text, modified_at)
    }

    /// Refuses a document by its size, before it is parsed.
    pub fn check_size(name: &str, bytes: u64) -> Result<(), ManifestError> {
        if bytes <= MAX_MANIFEST_BYTES {
            return Ok(());
        }
        Err(ManifestError::TooLarge { name: name.to_owned(), bytes })
    }

    /// Parses a document written by [`Self::to_json`], which may be larger than the document that was submitted.
    pub fn parse_own(name: &str, text: &[u8], modified_at: DateTime<Utc>) -> Result<Self, ManifestError> {
        let document: Document<Bounded<String>, Bounded<Described>, Bounded<String>> =
            serde_json::from_slice(text).map_err(|cause| ManifestError::Malformed { name: name.to_owned(), cause })?;
        let metadata = document.metadata.unwrap_or_default();
        let listed = document.file_locations.iter().map(|location| location.uri_prefixes.count).sum::<usize>();
        let most = listed.max(metadata.files.count);
        if most > MAX_MANIFEST_FILES {
            return Err(ManifestError::TooManyFiles { name: name.to_owned(), files: most });
        }
        let uris = document.file_locations.into_iter().flat_map(|location| location.uri_prefixes.kept);
        let known = metadata.files.kept.into_iter().map(|file| file.checked(name)).collect::<Result<_, _>>()?;
        let files = describe(name, uris, known)?;
        let date = common_date(name, metadata.date_prefix, &files)?;
        let id = match metadata.manifest_id {
            Some(id) => id.parse().map_err(|source| ManifestError::Id { name: name.to_owned(), source })?,
            None => {
                let content = files.iter().flat_map(|file| file.uri.as_str().bytes().chain([b'\n']));
                ManifestId::derived(&date.to_string(), name, content)
            }
        };
        let traceparents = metadata.traceparents.map(|texts| readable(&texts.kept)).unwrap_or_default();
        Ok(Self { id, date, created_at: metadata.created_at.unwrap_or(modified_at), files, traceparents })
    }

    /// Writes the document: one location that lists every file, and metadata with the known attributes.
    pub fn to_json(&self) -> String {
        let document = Document {
            file_locations: vec![Location { uri_prefixes: self.files.iter().map(|f| &f.uri).collect::<Vec<_>>() }],
            metadata: Some(Metadata {
                date_prefix: Some(self.date),
                manifest_id: Some(self.id.to_string()),
                created_at: Some(self.created_at),
                file_count: Some(self.files.len() as u64),
                total_bytes: Some(self.total_bytes()),
                files: self.files.iter().filter(|file| file.is_described()).collect::<Vec<_>>(),
                traceparents: Some(&self.traceparents).filter(|places| !places.is_empty()),
            }),
        };
        // Serializing plain structs of strings and numbers to memory cannot fail.
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// Total stored size of the files of known size, in bytes; at most [`i64::MAX`], the limit of the stores.
    pub fn total_bytes(&self) -> u64 {
        let sizes = self.files.iter().filter_map(|file| file.size_bytes);
        sizes.fold(0_u64, u64::saturating_add).min(i64::MAX as u64)
    }

    /// Path of a manifest document below its root: `manifests/{date}/batch-{index:04}-{YYYYMMDD-HHMMSS}.json`.
    pub fn path(date: DatePrefix, index: u64, at: DateTime<Utc>) -> String {
        format!("manifests/{date}/batch-{index:04}-{}.json", at.format("%Y%m%d-%H%M%S"))
    }
}

fn describe(
    name: &str,
    uris: impl Iterator<Item = String>,
    known: Vec<ManifestFile>,
) -> Result<Vec<ManifestFile>, ManifestError> {
    let mut known: HashMap<ObjectUri, ManifestFile> = known.into_iter().map(|file| (file.uri.clone(), file)).collect();
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    for text in uris {
        let uri: ObjectUri = text.parse().map_err(|source| ManifestError::Uri { name: name.to_owned(), source })?;
        if !seen.insert(uri.clone()) {
            return Err(ManifestError::Duplicate { name: name.to_owned(), uri: text });
        }
        let unknown = || ManifestFile { uri: uri.clone(), size_bytes: None, etag: None, version_id: None };
        files.push(known.remove(&uri).unwrap_or_else(unknown));
    }
    if files.is_empty() { Err(ManifestError::Empty(name.to_owned())) } else { Ok(files) }
}

fn common_date(name: &str, declared: Option<DatePrefix>, files: &[ManifestFile]) -> Result<DatePrefix, ManifestError> {
    let dates = || files.iter().map(|file| (file, DatePrefix::of_key(&file.uri.key())));
    // Only without a declared date: a date further up the path may belong to a parent directory of the input.
    let named = || {
        let of = if declared.is_some() { DatePrefix::of_file_name } else { DatePrefix::of_key };
        files.iter().map(move |file| (file, of(&file.uri.key())))
    };
    let expected = declared.or_else(|| dates().find_map(|(_, date)| date)).ok_or_else(|| ManifestError::NoDate {
        name: name.to_owned(),
        uri: files.first().map(|file| file.uri.to_string()).unwrap_or_default(),
    })?;
    match named().find_map(|(file, date)| date.filter(|date| *date != expected).map(|date| (file, date))) {
        None => Ok(expected),
        Some((file, found)) => {
            Err(ManifestError::MixedDates { name: name.to_owned(), uri: file.uri.to_string(), found, expected })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MAX_OBJECT_BYTES, MAX_TAG_BYTES};
    use proptest::prelude::*;

    const NAME: &str = "s3://m/manifests/2025-12-23/batch-0001-20251223-143052.json";

    fn parse(text: &str) -> Result<Manifest, ManifestError> {
        Manifest::parse(NAME, text.as_bytes(), DateTime::from_timestamp(1_700_000_000, 0).unwrap())
    }

    #[test]
    fn one_entry_with_many_uris_or_many_with_one() {
        let one = parse(
            r#"{"fileLocations":[{"URIPrefixes":["s3://in/2025-12-23-a.ndjson","s3://in/2025-12-23-b.ndjson"]}]}"#,
        );
        let many = parse(
            r#"{"fileLocations":[{"URIPrefixes":["s3://in/2025-12-23-a.ndjson"]},{"URIPrefixes":["s3://in/2025-12-23-b.ndjson"]}],"more":1}"#,
        );
        let (one, many) = (one.unwrap(), many.unwrap());
        assert_eq!(one, many);
        assert_eq!(one.date.to_string(), "2025-12-23");
        assert_eq!(one.files[0].size_bytes, None);
        assert_eq!(one.created_at.timestamp(), 1_700_000_000);
    }

    #[test]
    fn an_absent_id_is_derived_from_name_and_content() {
        let a = parse(r#"{"fileLocations":[{"URIPrefixes":["s3://in/2025-12-23-a.ndjson"]}]}"#).unwrap();
        let b = parse(r#"{"fileLocations":[{"URIPrefixes":["s3://in/2025-12-23-b.ndjson"]}]}"#).unwrap();
        assert!(a.id.as_str().starts_with("2025-12-23-batch-0001-20251223-143052-"), "{}", a.id);
        assert_ne!(a.id, b.id);
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn defects_are_refused_naming_the_offender() {
        assert!(error(r#"{"fileLocations":[]}"#).ends_with("lists no files"));
        assert!(error(r#"{"fileLocations":[{"URIPrefixes":[]}]}"#).ends_with("lists no files"));
        let twice =
            r#"{"fileLocations":[{"URIPrefixes":["s3://in/2025-12-23-a.ndjson","s3://in/2025-12-23-a.ndjson"]}]}"#;
        assert!(error(twice).contains("lists `s3://in/2025-12-23-a.ndjson` more than once"));
        let mixed =
            r#"{"fileLocations":[{"URIPrefixes":["s3://in/2025-12-23-a.ndjson","s3://in/2025-12-24-b.ndjson"]}]}"#;
        assert!(error(mixed).contains("`s3://in/2025-12-24-b.ndjson` is of 2025-12-24, the manifest of 2025-12-23"));
        let declared = r#"{"fileLocations":[{"URIPrefixes":["s3://in/2025-12-23-a.ndjson"]}],"metadata":{"date_prefix":"2025-12-24"}}"#;
        assert!(error(declared).contains("mixes dates"));
        assert!(
            error(r#"{"fileLocations":[{"URIPrefixes":["s3://in/a.ndjson"]}]}"#).contains("has no date in its name")
        );
        assert!(
            error(r#"{"fileLocations":[{"URIPrefixes":["http://x/2025-12-23-a.ndjson"]}]}"#)
                .contains("is no object URI")
        );
        assert!(error("{").contains("line 1 column 1"));
        let id =
            r#"{"fileLocations":[{"URIPrefixes":["s3://in/2025-12-23-a.ndjson"]}],"metadata":{"manifest_id":"../x"}}"#;
        assert!(error(id).contains("`../x` is no manifest id"));
        let day = r#"{"fileLocations":[{"URIPrefixes":["s3://in/a.ndjson"]}],"metadata":{"date_prefix":"2025-02-30"}}"#;
        assert!(error(day).contains("`2025-02-30` is not a calendar day"));
    }

    #[test]
    fn a_file_without_a_date_takes_the_declared_one() {
        let text =
            r#"{"fileLocations":[{"URIPrefixes":["s3://in/a.ndjson"]}],"metadata":{"date_prefix":"2025-12-24"}}"#;
        assert_eq!(parse(text).unwrap().date.to_string(), "2025-12-24");
    }

    #[test]
    fn a_declared_date_stands_against_one_in_a_parent_directory() {
        let text = r#"{"fileLocations":[{"URIPrefixes":["/d-2023-05-05/in/part-2024-02-29.ndjson"]}],"metadata":{"date_prefix":"2024-02-29"}}"#;
        assert_eq!(parse(text).unwrap().date.to_string(), "2024-02-29");
    }

    fn sized(size: &str) -> String {
        let uri = "s3://in/2025-12-23-a.ndjson";
        format!(
            r#"{{"fileLocations":[{{"URIPrefixes":["{uri}"]}}],"metadata":{{"files":[{{"uri":"{uri}","size_bytes":{size}}}]}}}}"#
        )
    }

    #[test]
    fn a_size_is_one_that_an_object_can_have() {
        assert_eq!(parse(&sized(&MAX_OBJECT_BYTES.to_string())).unwrap().files[0].size_bytes, Some(MAX_OBJECT_BYTES));
        assert_eq!(parse(&sized("0")).unwrap().files[0].size_bytes, Some(0));
        let past = ["5497558138881", "9223372036854775807", "9223372036854775808", "18446744073709551615"];
        for bad in past.into_iter().chain(["-1", "7.5"]) {
            let told = error(&sized(bad));
            let named = format!("`s3://in/2025-12-23-a.ndjson` has {bad} bytes");
            assert!(told.contains(&named) && told.contains("from 0 to 5497558138880"), "{told}");
        }
        assert!(error(&sized("1e300")).contains("the limit of one object"));
    }

    #[test]
    fn a_tag_with_quotes_is_the_same_tag() {
        for (given, tag) in [("\"abc-2\"", Some("abc-2")), ("abc-2", Some("abc-2")), ("\"\"", None), ("", None)] {
            let file = serde_json::json!({"uri": "s3://in/2025-12-23-a.ndjson", "etag": given});
            let location = serde_json::json!({"URIPrefixes": ["s3://in/2025-12-23-a.ndjson"]});
            let document = serde_json::json!({"fileLocations": [location], "metadata": {"files": [file]}});
            assert_eq!(parse(&document.to_string()).unwrap().files[0].etag.as_deref(), tag, "{given}");
        }
    }

    #[test]
    fn tags_are_as_long_as_stores_make_them_at_most() {
        for tag in ["etag", "version_id"] {
            let tagged = |bytes: usize| {
                let file = serde_json::json!({"uri": "s3://in/2025-12-23-a.ndjson", tag: "x".repeat(bytes)});
                let location = serde_json::json!({"URIPrefixes": ["s3://in/2025-12-23-a.ndjson"]});
                serde_json::json!({"fileLocations": [location], "metadata": {"files": [file]}}).to_string()
            };
            assert!(parse(&tagged(MAX_TAG_BYTES)).is_ok());
            let told = error(&tagged(MAX_TAG_BYTES + 1));
            assert!(told.contains("of `s3://in/2025-12-23-a.ndjson` has 1025 bytes; the limit is 1024"), "{told}");
        }
    }

    #[test]
    fn whatever_time_is_read_is_written_so_that_it_can_be_read() {
        for at in [
            "9999-12-31T23:59:59.999999Z",
            "+10000-01-01T00:00:00Z",
            "+262142-12-31T23:59:59Z",
            "-0001-01-01T00:00:00Z",
        ] {
            let location = serde_json::json!({"URIPrefixes": ["s3://in/2025-12-23-a.ndjson"]});
            let text = serde_json::json!({"fileLocations": [location], "metadata": {"created_at": at}}).to_string();
            if let Ok(manifest) = parse(&text) {
                assert_eq!(Manifest::parse(NAME, manifest.to_json().as_bytes(), Utc::now()).unwrap(), manifest, "{at}");
            }
        }
    }

    #[test]
    fn the_sum_of_sizes_does_not_overflow() {
        let manifest = parse(&sized("1")).unwrap();
        let file = ManifestFile { size_bytes: Some(u64::MAX), ..manifest.files[0].clone() };
        let manifest = Manifest { files: vec![file; 3], ..manifest };
        assert_eq!(manifest.total_bytes(), i64::MAX as u64);
    }

    #[test]
    fn a_manifest_has_so_many_files_at_most() {
        let listed = |count: usize, of: usize| {
            let uris: Vec<String> = (0..count).map(|n| format!("s3://in/2025-12-23-{n}.ndjson")).collect();
            let locations: Vec<_> = uris.chunks(of).map(|some| serde_json::json!({"URIPrefixes": some})).collect();
            serde_json::json!({"fileLocations": locations}).to_string()
        };
        for of in [MAX_MANIFEST_FILES * 2, 7] {
            assert_eq!(parse(&listed(MAX_MANIFEST_FILES, of)).unwrap().files.len(), MAX_MANIFEST_FILES);
            let told = error(&listed(MAX_MANIFEST_FILES + 1, of));
            assert!(told.contains("lists 100001 files; the limit is 100000"), "{told}");
        }
        let described = vec![serde_json::json!({"uri": "s3://in/x"}); MAX_MANIFEST_FILES + 1];
        let text = serde_json::json!({"fileLocations": [], "metadata": {"files": described}});
        assert!(error(&text.to_string()).contains("lists 100001 files"));
    }

    #[test]
    fn a_document_has_so_many_bytes_at_most() {
        let mut text = sized("1");
        text.extend(std::iter::repeat_n(' ', MAX_MANIFEST_BYTES as usize - text.len()));
        assert!(parse(&text).is_ok());
        text.push(' ');
        let told = error(&text);
        assert!(told.contains("has 33554433 bytes; the limit is 33554432"), "{told}");
    }

    #[test]
    fn places_in_traces_are_read_if_they_are_some() {
        let place = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let with = |places: serde_json::Value| {
            let location = serde_json::json!({"URIPrefixes": ["s3://in/2025-12-23-a.ndjson"]});
            serde_json::json!({"fileLocations": [location], "metadata": {"traceparents": places}}).to_string()
        };
        let read = |places| parse(&with(places)).unwrap().traceparents;
        assert_eq!(read(serde_json::json!([place, "x", place.to_uppercase()])), [place.parse().unwrap()]);
        assert_eq!(read(serde_json::Value::Null), []);
        assert!(error(&with(serde_json::json!(place))).contains("expected a sequence"));
        assert!(!parse(&sized("1")).unwrap().to_json().contains("traceparents"), "none are not written");
    }

    #[test]
    fn the_path_is_the_documented_one() {
        let at = DateTime::parse_from_rfc3339("2025-12-23T14:30:52Z").unwrap().to_utc();
        let path = Manifest::path("2025-12-23".parse().unwrap(), 1, at);
        assert_eq!(path, "manifests/2025-12-23/batch-0001-20251223-143052.json");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            names in prop::collection::hash_set("[a-z0-9 +%é/]{1,12}", 1..20),
            sizes in prop::collection::vec(prop::option::of(any::<u64>().prop_map(|n| n >> 22)), 20),
            traces in prop::collection::vec(1_u128.., 0..3),
            seconds in 0i64..4_000_000_000, micros in 0u32..1_000_000,
        ) {
            let file = |(name, size): (&String, &Option<u64>)| ManifestFile {
                uri: format!("s3://in/{name}.ndjson").parse().unwrap(),
                size_bytes: *size,
                etag: size.map(|s| s.to_string()),
                version_id: None,
            };
            let manifest = Manifest {
                id: "2025-12-23-batch-0001".parse().unwrap(),
                date: "2025-12-23".parse().unwrap(),
                created_at: DateTime::from_timestamp(seconds, micros * 1000).unwrap(),
                files: names.iter().zip(&sizes).map(file).collect(),
                traceparents: traces.iter().map(|n| format!("00-{n:032x}-00f067aa0ba902b7-01").parse().unwrap()).collect(),
            };
            prop_assert_eq!(Manifest::parse(NAME, manifest.to_json().as_bytes(), Utc::now()).unwrap(), manifest);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = parse(&text);
        }
    }
}
