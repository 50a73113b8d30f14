//! From files to manifests: list a directory, judge each file, quarantine the bad, track the good, group them by date,
//! and cut manifests.
//!
//! Every step can be made again. What happens when the process dies:
//!
//! | the process dies | what is left | what the next one does |
//! |---|---|---|
//! | while files are tracked | some are pending | the listing finds the others |
//! | after a file is marked as quarantined, before it is moved | it is still in its place | moves it |
//! | after a manifest's run is queued, before its document is written | the run, which holds the document | writes it |
//!
//! This crate must stay light: no DataFusion in its tree.

use chrono::{DateTime, Utc};
use millwork_manifest::{
    Arrival, BatchCaps, DatePrefix, FileRules, FileState, Flush, Manifest, ManifestFile, ManifestId, ObjectUri,
    PendingFile, QuarantineReason, cut,
};
use millwork_storage::{Object, StorageError, list, move_object, path_of, write_once};
use millwork_tracking::{FoundFile, QueuedManifest, SqliteStore, Tracked, TrackedFile, TrackingError};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How many files are tracked in one transaction.
const TRACK_CHUNK: usize = 2000;
/// How many files of one name the quarantine keeps.
const MAX_NAMESAKES: u32 = 1000;

/// Where files come from and go to, and the rules they are held to. Paths are absolute.
#[derive(Clone, Debug)]
pub struct Intake {
    /// The directory that is listed.
    pub input: PathBuf,
    /// Where refused files go; without it they stay and are only marked.
    pub quarantine: Option<PathBuf>,
    /// Where manifest documents go.
    pub manifests: PathBuf,
    /// What a file must be.
    pub rules: FileRules,
    /// How large a manifest gets.
    pub caps: BatchCaps,
    /// What becomes of a rest.
    pub flush: Flush,
}

/// What an intake came to.
#[derive(Debug, Default)]
pub struct Collected {
    /// Files listed.
    pub listed: usize,
    /// The manifests cut, oldest date first. They are queued in the store.
    pub manifests: Vec<QueuedManifest>,
    /// Files refused this time.
    pub quarantined: Vec<QuarantinedFile>,
    /// Files that were converted before and have other content now. They stay as they are.
    pub overwritten: Vec<ObjectUri>,
    /// Files that were waiting, but are gone.
    pub missing: Vec<ObjectUri>,
}

/// A file that was refused.
#[derive(Clone, Debug, Serialize)]
pub struct QuarantinedFile {
    /// Where it was found.
    pub uri: ObjectUri,
    /// Why it was refused.
    pub reason: QuarantineReason,
    /// Where it is now, if it was moved.
    pub moved_to: Option<PathBuf>,
}

/// Why an intake could not go on.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Listing, moving or writing failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store failed.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// The directories would feed each other.
    #[error("{inner} `{path}` is inside the input `{input}`: what is written there would be read again")]
    Loop {
        /// Which directory.
        inner: &'static str,
        /// Its path.
        path: PathBuf,
        /// The input.
        input: PathBuf,
    },
    /// A manifest that cannot be named.
    #[error(transparent)]
    Id(#[from] millwork_manifest::InvalidManifestId),
}

impl Intake {
    /// Refuses directories that would feed each other.
    pub fn check_loops(&self, others: &[(&'static str, &Path)]) -> Result<(), IntakeError> {
        let own = [
            ("the manifest directory", Some(self.manifests.as_path())),
            ("the quarantine", self.quarantine.as_deref()),
        ];
        let own = own.iter().filter_map(|(what, path)| path.map(|path| (*what, path)));
        match own.chain(others.iter().copied()).find(|(_, path)| path.starts_with(&self.input)) {
            None => Ok(()),
            Some((inner, path)) => Err(IntakeError::Loop { inner, path: path.to_owned(), input: self.input.clone() }),
        }
    }

    /// Lists the input, and turns all that is new and valid into queued manifests.
    pub fn collect(&self, store: &SqliteStore, now: DateTime<Utc>) -> Result<Collected, IntakeError> {
        // Names that start with a dot are other programs' private files, such as an upload that is not finished.
        let is_hidden = |object: &Object| object.key.split('/').any(|part| part.starts_with('.'));
        let objects: Vec<Object> = list(&self.input)?.into_iter().filter(|object| !is_hidden(object)).collect();
        let mut collected = Collected { listed: objects.len(), ..Collected::default() };
        for chunk in objects.chunks(TRACK_CHUNK) {
            self.track(chunk, store, now, &mut collected)?;
        }
        let listed: HashSet<&ObjectUri> = objects.iter().map(|object| &object.uri).collect();
        let mut by_date: BTreeMap<DatePrefix, Vec<TrackedFile>> = BTreeMap::new();
        for file in store.waiting()? {
            let Some(date) = file.date.filter(|_| self.is_from_here(&file.uri)) else { continue };
            if listed.contains(&file.uri) {
                by_date.entry(date).or_default().push(file);
            } else {
                store.mark_missing(&file.uri, now)?;
                collected.missing.push(file.uri);
            }
        }
        for (date, files) in by_date {
            // A file whose run failed goes alone, so that it cannot take others along again.
            let (failed, pending): (Vec<_>, Vec<_>) =
                files.into_iter().partition(|file| file.state == FileState::Failed);
            self.cut_manifests(date, &pending, store, now, &mut collected)?;
            for file in failed {
                self.cut_manifests(date, &[file], store, now, &mut collected)?;
            }
        }
        Ok(collected)
    }

    fn is_from_here(&self, uri: &ObjectUri) -> bool {
        path_of(uri).is_ok_and(|path| path.starts_with(&self.input))
    }

    fn track(
        &self,
        objects: &[Object],
        store: &SqliteStore,
        now: DateTime<Utc>,
        collected: &mut Collected,
    ) -> Result<(), IntakeError> {
        let found: Vec<FoundFile> = objects.iter().map(|object| self.judge(object, now)).collect();
        for ((object, file), tracked) in objects.iter().zip(&found).zip(store.track(&found, now)?) {
            match tracked {
                Tracked::New | Tracked::Known | Tracked::Updated => {}
                Tracked::Overwritten => collected.overwritten.push(file.uri.clone()),
                Tracked::Quarantined(reason) => {
                    let moved_to = self.quarantine_file(object, file.date, reason)?;
                    collected.quarantined.push(QuarantinedFile { uri: file.uri.clone(), reason, moved_to });
                }
                // Its move may have been cut short.
                Tracked::StillQuarantined(reason) => drop(self.quarantine_file(object, file.date, reason)?),
            }
        }
        Ok(())
    }

    fn judge(&self, object: &Object, now: DateTime<Utc>) -> FoundFile {
        let (date, quarantine) = match self.rules.judge(&object.key, object.size_bytes, now.date_naive().into()) {
            Arrival::Accepted(date) => (Some(date), None),
            Arrival::Quarantined(reason, date) => (date, Some(reason)),
        };
        FoundFile {
            uri: object.uri.clone(),
            date,
            size_bytes: object.size_bytes,
            etag: object.etag.clone(),
            quarantine,
        }
    }

    fn quarantine_file(
        &self,
        object: &Object,
        date: Option<DatePrefix>,
        reason: QuarantineReason,
    ) -> Result<Option<PathBuf>, IntakeError> {
        let Some(root) = &self.quarantine else { return Ok(None) };
        let folder = date.map_or_else(|| "no-date".to_owned(), |date| date.to_string());
        let to = root.join(folder).join(reason.as_str()).join(&object.key);
        // A file of that name may be there already, from another input or an earlier time: a number keeps both.
        let numbered = |n: u32| match n {
            0 => to.clone(),
            n => PathBuf::from(format!("{}.{n}", to.display())),
        };
        let from = path_of(&object.uri)?;
        for to in (0..MAX_NAMESAKES).map(numbered) {
            match move_object(&from, &to) {
                Err(e) if e.source.kind() == ErrorKind::AlreadyExists => {}
                done => return Ok(done.map(|()| Some(to))?),
            }
        }
        Ok(move_object(&from, &numbered(MAX_NAMESAKES)).map(|()| Some(to))?)
    }

    fn cut_manifests(
        &self,
        date: DatePrefix,
        files: &[TrackedFile],
        store: &SqliteStore,
        now: DateTime<Utc>,
        collected: &mut Collected,
    ) -> Result<(), IntakeError> {
        let pending = |file: &TrackedFile| PendingFile {
            uri: file.uri.clone(),
            size_bytes: file.size_bytes,
            // A failed file is not waiting for company.
            arrived_at: if file.state == FileState::Failed { DateTime::UNIX_EPOCH } else { file.arrived_at },
        };
        let etags: BTreeMap<&ObjectUri, &str> = files.iter().map(|file| (&file.uri, file.etag.as_str())).collect();
        for batch in cut(&files.iter().map(pending).collect::<Vec<_>>(), &self.caps, self.flush) {
            let index = store.next_batch_index(date)?;
            let path = self.manifests.join(Manifest::path(date, index, now));
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let id: ManifestId = format!("{date}-{stem}").parse()?;
            let manifest_file = |file: PendingFile| ManifestFile {
                etag: etags.get(&file.uri).map(|etag| (*etag).to_owned()),
                size_bytes: Some(file.size_bytes),
                version_id: None,
                uri: file.uri,
            };
            let files = batch.into_iter().map(manifest_file).collect();
            let manifest = Manifest { id, date, created_at: now, files };
            let uri = ObjectUri::from_path(&path).map_or_else(|_| path.display().to_string(), |uri| uri.to_string());
            let queued = QueuedManifest { manifest, uri };
            store.queue(&queued, now)?;
            write_once(&path, queued.manifest.to_json().as_bytes())?;
            collected.manifests.push(queued);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Place {
        root: tempfile::TempDir,
        store: SqliteStore,
        intake: Intake,
    }

    fn place() -> Place {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("in")).unwrap();
        let intake = Intake {
            input: at("in"),
            quarantine: Some(at("bad")),
            manifests: at("out"),
            rules: FileRules { size_tolerance_percent: 100.0, ..FileRules::default() },
            caps: BatchCaps { max_bytes: 100, max_files: 2, max_wait_seconds: 60 },
            flush: Flush::Now,
        };
        let store = SqliteStore::open(&at("state.db")).unwrap();
        Place { root, store, intake }
    }

    impl Place {
        fn write(&self, key: &str, content: &str) {
            let path = self.intake.input.join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        fn collect(&self) -> Collected {
            self.intake.collect(&self.store, Utc::now()).unwrap()
        }
    }

    #[test]
    fn files_become_manifests_of_one_date_once() {
        let place = place();
        for key in [
            "2025-12-23-a.ndjson",
            "2025-12-23-b.ndjson",
            "x/2025-12-23-a.ndjson",
            "2025-12-24.ndjson.gz",
            ".2025-12-23-unfinished.ndjson",
            ".hidden/2025-12-23.ndjson",
        ] {
            place.write(key, "{}\n");
        }
        let collected = place.collect();
        let lengths: Vec<_> =
            collected.manifests.iter().map(|m| (m.manifest.date.to_string(), m.manifest.files.len())).collect();
        let day = |d: &str| d.to_owned();
        assert_eq!(lengths, [(day("2025-12-23"), 2), (day("2025-12-23"), 1), (day("2025-12-24"), 1)]);
        let written = Manifest::parse(
            "m",
            &fs::read(path_of(&collected.manifests[0].uri.parse().unwrap()).unwrap()).unwrap(),
            Utc::now(),
        );
        assert_eq!(written.unwrap(), collected.manifests[0].manifest);
        assert!(place.collect().manifests.is_empty());
        place.write("2025-12-25.ndjson", "{}\n");
        assert_eq!(place.collect().manifests.len(), 1);
    }

    #[test]
    fn refused_files_are_moved_by_date_and_reason() {
        let place = place();
        place.write("deep/2025-12-23-a.csv", "x");
        place.write("b.ndjson", "x");
        let collected = place.collect();
        assert_eq!(collected.quarantined.len(), 2);
        assert!(place.root.path().join("bad/2025-12-23/bad-extension/deep/2025-12-23-a.csv").exists());
        assert!(place.root.path().join("bad/no-date/no-date/b.ndjson").exists());
        assert!(place.collect().quarantined.is_empty());
    }

    #[test]
    fn a_refused_file_never_overwrites_another() {
        let place = place();
        for content in ["one", "two", "three"] {
            place.write("a.csv", content);
            place.collect();
        }
        let kept = ["a.csv", "a.csv.1", "a.csv.2"]
            .map(|name| fs::read_to_string(place.root.path().join("bad/no-date/bad-extension").join(name)));
        assert_eq!(kept.map(Result::unwrap), ["one", "two", "three"]);
    }

    #[test]
    fn a_move_that_was_cut_short_is_made_up_for() {
        let place = place();
        place.write("b.ndjson", "x");
        let unmoved = Intake { quarantine: None, ..place.intake.clone() };
        assert_eq!(unmoved.collect(&place.store, Utc::now()).unwrap().quarantined.len(), 1);
        assert!(place.collect().quarantined.is_empty());
        assert!(place.root.path().join("bad/no-date/no-date/b.ndjson").exists());
    }

    #[test]
    fn output_inside_the_input_is_refused() {
        let place = place();
        let inside = place.intake.input.join("out");
        let error = place.intake.check_loops(&[("the output", &inside)]).unwrap_err();
        assert!(error.to_string().starts_with("the output `"), "{error}");
        assert!(place.intake.check_loops(&[("the output", &place.root.path().join("input2"))]).is_ok());
    }
}
