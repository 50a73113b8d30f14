//! Mended lines of a run are put back: as a file of their own, in a manifest of their own, whose run has its own ledger. Nothing that
//! was converted is touched.
//!
//! The manifest's id and the file's name follow from the run and the lines. So whoever puts the same lines back again, whenever a
//! process died, ends with one file and one run.
//!
//! | the process dies | what is left | who goes on |
//! |---|---|---|
//! | before the file | a note without an outcome | who puts the lines back again |
//! | after the file, before its manifest is submitted | a file that nobody reads, too | the same: the file is found, and its manifest submitted |
//! | after that | a queued run | the scheduler |

use crate::read_places::ReadPlaces;
use crate::service::{Service, SubmitError};
use chrono::Utc;
use millwork_conversion::defect_of;
use millwork_manifest::{InvalidManifestId, InvalidUri, Manifest, ManifestFile, ManifestId, ObjectUri};
use millwork_storage::{Objects, Storage, StorageError};
use millwork_tracking::{Run, TrackingError};
use sha2::{Digest, Sha256};

/// Bytes of mended lines at most, 16 MiB: one request to a bucket, and more than anybody mends by hand.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// Lines at fault that are told of at most.
const MAX_TOLD: usize = 20;
/// Digits of the hash in an id: two sets of lines of one run share none by chance.
const HASH_DIGITS: usize = 12;
/// Characters of a run's id that go into that of its mended lines, so that those are no longer than an id may be.
const STEM: usize = 160 - MARK.len() - HASH_DIGITS;
/// Part of an id that tells a manifest of mended lines.
const MARK: &str = "-mended-";

/// Reason why lines are not put back.
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

/// Lines that can be put back: each is a row.
#[derive(Debug)]
pub(crate) struct Mended {
    text: String,
    pub(crate) lines: u64,
}

impl Mended {
    /// Judges each line as a conversion would, and refuses them all if it would reject one. Blank ones are left out.
    pub(crate) fn judge(text: &str) -> Result<Self, PutBackError> {
        if text.len() > MAX_BYTES {
            return Err(PutBackError::TooLarge { bytes: text.len() });
        }
        let (mut kept, mut lines, mut bad, mut told) = (String::with_capacity(text.len() + 1), 0, 0, Vec::new());
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        // Forms end lines with a carriage return, which is no part of what is wrong with one.
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

    /// Id of the manifest of these lines of a run.
    pub(crate) fn id(&self, of: &ManifestId) -> Result<ManifestId, InvalidManifestId> {
        let mut hash = Sha256::new();
        hash.update(of.as_str());
        hash.update([0]);
        hash.update(&self.text);
        let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}{}", prefix(of), &digits[..HASH_DIGITS]).parse()
    }
}

/// Beginning of the ids of all manifests of mended lines of a run.
pub(crate) fn prefix(of: &ManifestId) -> String {
    let stem: String = of.as_str().chars().take(STEM).collect();
    stem + MARK
}

/// Place of the lines of such a manifest.
pub(crate) fn place(places: &ReadPlaces, of: &Manifest, id: &ManifestId) -> Result<ObjectUri, PutBackError> {
    let place = places.mended.as_ref().ok_or(PutBackError::NoPlace)?;
    Ok(place.object(&format!("{date}/{date}-{id}.ndjson", date = of.date))?)
}

impl Service {
    /// Puts lines back that a run of this manifest has rejected. Lines that were put back before are left as they are.
    pub(crate) async fn put_back(&self, of: &Manifest, mended: Mended, priority: i32) -> Result<Run, PutBackError> {
        let id = mended.id(&of.id)?;
        if let Some(run) = self.store().run_head(&id).await? {
            return Ok(run);
        }
        let uri = place(self.places(), of, &id)?;
        let storage = Storage::from_env();
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
