//! The manifest document: JSON that lists the files to convert together, read liberally and written strictly.

use crate::{DatePrefix, InvalidManifestId, InvalidUri, ManifestId, ObjectUri};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// The files to convert together: one date, no file twice, never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The name its run and its output carry.
    pub id: ManifestId,
    /// The date of every file in it.
    pub date: DatePrefix,
    /// When it was made, or its object's own time where the document does not say: the rows' `_ingested_at`.
    pub created_at: DateTime<Utc>,
    /// The files, in the order in which their columns are laid out.
    pub files: Vec<ManifestFile>,
}

/// One file of a manifest, with what was known of it when the manifest was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Where it is.
    pub uri: ObjectUri,
    /// Its stored size, if known.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Its entity tag, if known: an object that has another one by now has changed.
    #[serde(default)]
    pub etag: Option<String>,
    /// Its version, in a bucket that keeps versions.
    #[serde(default)]
    pub version_id: Option<String>,
}

/// Why a text is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not of the shape.
    #[error("manifest `{name}` is not a manifest document: {source}")]
    Malformed {
        /// The manifest's URI or name.
        name: String,
        /// What the reader stumbled over, with line and column.
        source: serde_json::Error,
    },
    /// Nothing to convert.
    #[error("manifest `{0}` lists no files")]
    Empty(String),
    /// A file that is listed twice.
    #[error("manifest `{name}` lists `{uri}` more than once")]
    Duplicate {
        /// The manifest's URI or name.
        name: String,
        /// The file.
        uri: String,
    },
    /// Files of different dates.
    #[error("manifest `{name}` mixes dates: `{uri}` is of {found}, the manifest of {expected}")]
    MixedDates {
        /// The manifest's URI or name.
        name: String,
        /// The first file of another date.
        uri: String,
        /// Its date.
        found: DatePrefix,
        /// The manifest's date.
        expected: DatePrefix,
    },
    /// No date in the metadata nor in the first file's name.
    #[error("manifest `{name}` has no metadata.date_prefix, and `{uri}` has no date in its name")]
    NoDate {
        /// The manifest's URI or name.
        name: String,
        /// The first file.
        uri: String,
    },
    /// An entry that is no object URI.
    #[error("manifest `{name}`: {source}")]
    Uri {
        /// The manifest's URI or name.
        name: String,
        /// What is wrong with the entry.
        source: InvalidUri,
    },
    /// An id that cannot name files.
    #[error("manifest `{name}`: {source}")]
    Id {
        /// The manifest's URI or name.
        name: String,
        /// What is wrong with the id.
        source: InvalidManifestId,
    },
}

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(rename = "fileLocations")]
    file_locations: Vec<Location>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

#[derive(Serialize, Deserialize)]
struct Location {
    #[serde(rename = "URIPrefixes")]
    uri_prefixes: Vec<String>,
}

#[derive(Default, Serialize, Deserialize)]
struct Metadata {
    #[serde(default)]
    date_prefix: Option<DatePrefix>,
    #[serde(default)]
    manifest_id: Option<String>,
    #[serde(default)]
    created_at: Option<DateTime<Utc>>,
    #[serde(default)]
    file_count: Option<u64>,
    #[serde(default)]
    total_bytes: Option<u64>,
    #[serde(default)]
    files: Vec<ManifestFile>,
}

impl Manifest {
    /// Reads a manifest document.
    ///
    /// One location with many URIs or many with one, absent metadata and files of unknown size are all accepted;
    /// an empty list, a file listed twice and files of several dates are refused, naming the offender. `name` is
    /// the document's URI: it appears in errors, and gives the id to a manifest that names none. `modified_at`
    /// is the document's own time, for one that does not say when it was made.
    pub fn parse(name: &str, text: &[u8], modified_at: DateTime<Utc>) -> Result<Self, ManifestError> {
        let document: Document = serde_json::from_slice(text)
            .map_err(|source| ManifestError::Malformed { name: name.to_owned(), source })?;
        let metadata = document.metadata.unwrap_or_default();
        let uris = document.file_locations.into_iter().flat_map(|location| location.uri_prefixes);
        let files = describe(name, uris, metadata.files)?;
        let date = common_date(name, metadata.date_prefix, &files)?;
        let id = match metadata.manifest_id {
            Some(id) => id.parse().map_err(|source| ManifestError::Id { name: name.to_owned(), source })?,
            None => {
                let content = files.iter().flat_map(|file| file.uri.as_str().bytes().chain([b'\n']));
                ManifestId::derived(&date.to_string(), name, content)
            }
        };
        Ok(Self { id, date, created_at: metadata.created_at.unwrap_or(modified_at), files })
    }

    /// Writes the document: one location that lists every file, and complete metadata.
    pub fn to_json(&self) -> String {
        let document = Document {
            file_locations: vec![Location { uri_prefixes: self.files.iter().map(|f| f.uri.to_string()).collect() }],
            metadata: Some(Metadata {
                date_prefix: Some(self.date),
                manifest_id: Some(self.id.to_string()),
                created_at: Some(self.created_at),
                file_count: Some(self.files.len() as u64),
                total_bytes: Some(self.total_bytes()),
                files: self.files.clone(),
            }),
        };
        // Serializing plain structs of strings and numbers to memory cannot fail.
        serde_json::to_string(&document).unwrap_or_default()
    }

    /// The stored size of all files whose size is known, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().filter_map(|file| file.size_bytes).sum()
    }

    /// Where a manifest document is kept below its root: `manifests/{date}/batch-{index:04}-{YYYYMMDD-HHMMSS}.json`.
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
    // Where a date is declared, one further up the path, such as that of a parent of the input, says nothing.
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
            sizes in prop::collection::vec(prop::option::of(any::<u64>().prop_map(|n| n >> 20)), 20),
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
            };
            prop_assert_eq!(Manifest::parse(NAME, manifest.to_json().as_bytes(), Utc::now()).unwrap(), manifest);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in ".{0,200}") {
            let _ = parse(&text);
        }
    }
}
