//! Conversion of mended lines: rejected lines that a person has corrected are converted as a new file in a new
//! manifest, whose run has its own ledger. The run they came from is unchanged.
//!
//! The manifest's id and the file's name are derived from the run and the lines. Submitting the same lines again, after
//! a crash at any point, therefore still makes only one file and one run.
//!
//! | crash | what remains | recovered by |
//! |---|---|---|
//! | before the file | an audit record without an outcome | submitting the lines again |
//! | after the file, before its manifest is submitted | a file without a manifest as well | the same: the existing file is used |
//! | after that | a queued run | the scheduler |

use crate::read_places::ReadPlaces;
use crate::service::{Service, SubmitError};
use chrono::Utc;
use millwork_conversion::defect_of;
use millwork_manifest::{InvalidManifestId, InvalidUri, Manifest, ManifestFile, ManifestId, ObjectUri};
use millwork_storage::{Objects, StorageError};
use millwork_tracking::{Run, TrackingError};
use sha2::{Digest, Sha256};

/// Limit of the mended lines in one request: 16 MiB, a single request to a bucket, and more than anybody edits by hand.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// Limit of the invalid lines that an error names.
const MAX_TOLD: usize = 20;
/// Hexadecimal digits of the hash in an id: enough that two sets of lines of a run do not collide by chance.
const HASH_DIGITS: usize = 12;
/// Limit of the part of a run's id that is used in the id of its mended lines, in characters, so that those stay within
/// the limit of an id.
const STEM: usize = 160 - MARK.len() - HASH_DIGITS;
/// Part of an id that marks a manifest of mended lines.
const MARK: &str = "-mended-";

/// Reason why mended lines are refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutBackError {
    #[error("{bytes} bytes of mended lines are more than {MAX_BYTES}, the limit: put them back in several parts")]
    TooLarge { bytes: usize },
    #[error("there is no line in it: each line is one JSON object")]
    Empty,
    #[error("{bad} of {all} lines would be rejected again: {told}; nothing was put back")]
    Bad { bad: u64, all: u64, told: String },
    #[error("run `{id}` has no rejected lines in its output: there is nothing to put back")]
    NoneRejected { id: ManifestId },
    #[error("this scheduler has no place of an output, where mended lines would be kept")]
    NoPlace,
    #[error("`{uri}` holds other lines than those: somebody has written there; move it away, and put them back again")]
    Other { uri: ObjectUri },
    #[error(transparent)]
    Id(#[from] InvalidManifestId),
    #[error(transparent)]
    Uri(#[from] InvalidUri),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// Mended lines that can be converted: each becomes a row.
#[derive(Debug)]
pub(crate) struct Mended {
    text: String,
    pub(crate) lines: u64,
}

impl Mended {
    /// Checks each line as a conversion would. Refuses all if any would be rejected. Blank lines are dropped.
    pub(crate) fn judge(text: &str) -> Result<Self, PutBackError> {
        if text.len() > MAX_BYTES {
            return Err(PutBackError::TooLarge { bytes: text.len() });
        }
        let (mut kept, mut lines, mut bad, mut told) = (String::with_capacity(text.len() + 1), 0, 0, Vec::new());
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // Browser forms end lines with a carriage return, which is not part of the line.
        let lines_of_text = text.split('\n').map(|line| line.trim_end_matches('\r'));
        let written = lines_of_text.zip(1_u64..).filter(|(line, _)| !line.trim_ascii().is_empty());
        for (line, number) in written {
            lines += 1;
            if let Some((reason, message)) = defect_of(line) {
                bad += 1;
                if told.len() < MAX_TOLD {
                    told.push(format!("line {number}: {reason}: {message}"));
                }
                continue;
            }
            kept.push_str(line);
            kept.push('\n');
        }
        if bad > 0 {
            if bad > told.len() as u64 {
                told.push(format!("and {} more", bad - told.len() as u64));
            }
            return Err(PutBackError::Bad { bad, all: lines, told: told.join("; ") });
        }
        match lines {
            0 => Err(PutBackError::Empty),
            _ => Ok(Self { text: kept, lines }),
        }
    }

    /// Size, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.text.len() as u64
    }

    /// Id of the manifest for these lines of a run.
    pub(crate) fn id(&self, of: &ManifestId) -> Result<ManifestId, InvalidManifestId> {
        let mut hash = Sha256::new();
        hash.update(of.as_str());
        hash.update([0]);
        hash.update(&self.text);
        let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}{}", prefix(of), &digits[..HASH_DIGITS]).parse()
    }
}

/// Common prefix of the ids of all manifests of mended lines of a run.
pub(crate) fn prefix(of: &ManifestId) -> String {
    let stem: String = of.as_str().chars().take(STEM).collect();
    stem + MARK
}

/// URI of the file with the mended lines of a manifest.
pub(crate) fn place(places: &ReadPlaces, of: &Manifest, id: &ManifestId) -> Result<ObjectUri, PutBackError> {
    let place = places.mended.as_ref().ok_or(PutBackError::NoPlace)?;
    Ok(place.object(&format!("{date}/{date}-{id}.ndjson", date = of.date))?)
}

impl Service {
    /// Writes and submits mended lines that a run of this manifest rejected. Lines submitted before are left as they
    /// are.
    pub(crate) async fn put_back(&self, of: &Manifest, mended: Mended, priority: i32) -> Result<Run, PutBackError> {
        let id = mended.id(&of.id)?;
        if let Some(run) = self.store().run_head(&id).await? {
            return Ok(run);
        }
        let uri = place(self.places(), of, &id)?;
        let storage = self.storage();
        if !storage.write_once(&uri, mended.text.as_bytes()).await?
            && storage.read(&uri).await? != mended.text.as_bytes()
        {
            return Err(PutBackError::Other { uri });
        }
        let object = storage.head(&uri).await?;
        let file = ManifestFile {
            uri,
            size_bytes: Some(object.size_bytes),
            etag: Some(object.etag).filter(|etag| !etag.is_empty()),
            version_id: object.version_id,
        };
        let address = format!("inline:{id}");
        let manifest =
            Manifest { id, date: of.date, created_at: Utc::now(), files: vec![file], traceparents: Vec::new() };
        Ok(self.submit(manifest, &address, priority).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ManifestId {
        text.parse().unwrap()
    }

    #[test]
    fn lines_are_rows_or_named() {
        let mended = Mended::judge("\u{feff}{\"a\":1}\r\n\n  \n{\"b\":\"\u{2028}\"}").unwrap();
        assert_eq!((mended.text.as_str(), mended.lines, mended.bytes()), ("{\"a\":1}\n{\"b\":\"\u{2028}\"}\n", 2, 20));
        let error = Mended::judge("{\"a\":1}\n\n{\"a\":1 x}\n[1]\n").unwrap_err().to_string();
        assert!(error.starts_with("2 of 3 lines") && error.contains("line 3: malformed: "), "{error}");
        assert!(error.contains("line 4: not-an-object"), "{error}");
        let error = Mended::judge("{\"a\":\"cut\r\n").unwrap_err().to_string();
        assert!(error.contains("ends inside a string"), "{error}");
        let error = Mended::judge(&"x\n".repeat(50)).unwrap_err().to_string();
        assert!(
            error.contains("line 20: ") && !error.contains("line 21: ") && error.contains("and 30 more"),
            "{error}"
        );
        for none in ["", "\n \r\n", "\u{feff}"] {
            assert!(matches!(Mended::judge(none), Err(PutBackError::Empty)), "{none:?}");
        }
    }

    #[test]
    fn the_limit_is_named() {
        let line = "{\"a\":1}\n";
        let fits = line.to_owned() + &" ".repeat(MAX_BYTES - line.len());
        assert_eq!(Mended::judge(&fits).unwrap().lines, 1);
        let error = Mended::judge(&(fits + " ")).unwrap_err().to_string();
        assert!(error.contains("16777217 bytes") && error.contains("16777216"), "{error}");
    }

    #[test]
    fn ids_follow_from_the_run_and_the_lines() {
        let mended = |text| Mended::judge(text).unwrap();
        let of = id("2025-12-23-batch-0001");
        let first = mended("{\"a\":1}").id(&of).unwrap();
        assert!(first.as_str().starts_with("2025-12-23-batch-0001-mended-"), "{first}");
        assert_eq!(first, mended("\n{\"a\":1}\n").id(&of).unwrap());
        assert_ne!(first, mended("{\"a\":2}").id(&of).unwrap());
        assert_ne!(first, mended("{\"a\":1}").id(&id("2025-12-23-batch-0002")).unwrap());
        let [one, other] = ["1", "2"].map(|end| mended("{\"a\":1}").id(&id(&("x".repeat(159) + end))).unwrap());
        assert!(one != other && one.as_str().len() == 160, "{one}");
    }
}
