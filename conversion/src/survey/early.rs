//! A survey that is begun before the run of its manifest is, while the document is written and the run queued.
//!
//! It reads, and changes nothing: whenever the process dies, there is nothing to clear up. If the manifest turns out to have
//! other files, or something is wrong with them, the files are surveyed as if it had not been begun.

use super::Survey;
use crate::plan::{Capacity, ConversionOptions, survey_ahead};
use millwork_manifest::{Failure, Manifest, ManifestFile};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::JoinHandle;

/// Room for one survey that nobody has asked for yet: lines of a manifest are kept with it.
#[derive(Clone, Debug, Default)]
pub struct EarlySurvey(Arc<Mutex<Option<Begun>>>);

#[derive(Debug)]
struct Begun {
    files: Vec<ManifestFile>,
    survey: JoinHandle<Result<Survey, Failure>>,
}

impl EarlySurvey {
    /// Begins the survey of a manifest, unless one that was begun has not been taken. To be called on the runtime.
    pub fn begin(&self, manifest: &Manifest, options: &ConversionOptions, capacity: Capacity) {
        let mut begun = self.begun();
        if begun.is_none() {
            let (manifest, options) = (manifest.clone(), options.clone());
            let files = manifest.files.clone();
            let survey = tokio::spawn(async move { survey_ahead(&manifest, &options, capacity).await });
            *begun = Some(Begun { files, survey });
        }
    }

    /// The survey of these very files, if it was begun, and once only.
    pub(super) async fn take(&self, manifest: &Manifest) -> Option<Survey> {
        let begun = self.begun().take_if(|begun| begun.files == manifest.files)?;
        begun.survey.await.ok()?.ok()
    }

    fn begun(&self) -> MutexGuard<'_, Option<Begun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::survey;
    use millwork_manifest::ObjectUri;
    use std::path::Path;

    fn manifest(paths: &[&Path]) -> Manifest {
        let file = |path: &&Path| {
            let uri = ObjectUri::from_path(path).unwrap();
            ManifestFile { uri, size_bytes: None, etag: None, version_id: None }
        };
        Manifest {
            id: "test".parse().unwrap(),
            date: "2025-12-23".parse().unwrap(),
            created_at: chrono::DateTime::UNIX_EPOCH,
            files: paths.iter().map(file).collect(),
        }
    }

    #[tokio::test]
    async fn it_serves_the_very_files_it_was_begun_for_and_once() {
        let root = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| root.path().join(format!("2025-12-23-{name}.ndjson")));
        std::fs::write(&a, r#"{"a":1}"#).unwrap();
        std::fs::write(&b, r#"{"b":1}"#).unwrap();
        let (both, one) = (manifest(&[&a, &b]), manifest(&[&a]));
        let options = ConversionOptions::default();
        let begin = |manifest| options.early.begin(manifest, &options, Capacity { executors: 1, slots: 2 });
        begin(&both);
        // There is room for one.
        begin(&one);
        while !options.early.begun().as_ref().is_some_and(|begun| begun.survey.is_finished()) {
            tokio::task::yield_now().await;
        }
        std::fs::remove_file(&b).unwrap();
        assert_eq!(survey(&one, &options).await.unwrap().columns().names(), ["a"]);
        assert_eq!(survey(&both, &options).await.unwrap().columns().names(), ["a", "b"]);
        assert!(survey(&both, &options).await.is_err());
        // One that failed is made again, and says why.
        begin(&both);
        assert!(survey(&both, &options).await.is_err());
        std::fs::write(&b, r#"{"c":1}"#).unwrap();
        assert_eq!(survey(&both, &options).await.unwrap().columns().names(), ["a", "c"]);
    }
}
