//! Survey that starts before the run of its manifest, while the manifest is written and the run is queued.
//!
//! A survey only reads: if the process dies, nothing has to be cleaned up. If the manifest ends up with other files, or
//! the survey finds an error, the files are surveyed again by the run.

use crate::options::ConversionOptions;
use crate::plan::find_rate_ahead;
use crate::sizing::Capacity;
use crate::survey::{Survey, survey};
use millwork_manifest::{Failure, FailureClass, Manifest};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

/// Holder of at most one survey that has not been taken yet: each keeps sample lines in memory.
#[derive(Clone, Debug, Default)]
pub struct EarlySurvey(Arc<Mutex<Option<Begun>>>);

#[derive(Debug)]
struct Begun {
    manifest: Arc<Manifest>,
    survey: JoinHandle<Result<Survey, Failure>>,
}

impl EarlySurvey {
    /// Starts the survey of a manifest, unless an earlier one has not been taken yet. Must be called within a tokio
    /// runtime.
    pub fn begin(&self, manifest: &Manifest, options: &ConversionOptions, capacity: Capacity) {
        let mut begun = self.begun();
        if begun.is_none() {
            let manifest = Arc::new(manifest.clone());
            let survey = tokio::spawn(survey_ahead(manifest.clone(), options.clone(), capacity));
            *begun = Some(Begun { manifest, survey });
        }
    }

    /// The survey of a manifest: the one that was begun, if there is one of these very files.
    pub async fn survey(&self, manifest: &Manifest, options: &ConversionOptions) -> Result<Survey, Failure> {
        match self.take(manifest).await {
            Some(survey) => Ok(survey),
            None => survey(manifest, options).await,
        }
    }

    /// Takes the survey of a manifest, if it was started for exactly these files and succeeded.
    async fn take(&self, manifest: &Manifest) -> Option<Survey> {
        let begun = self.begun().take_if(|begun| begun.manifest.id == manifest.id)?;
        if begun.manifest.files != manifest.files {
            begun.survey.abort();
            tracing::debug!(manifest = %manifest.id, "the survey that was begun early is of other files");
            return None;
        }
        match begun.survey.await.map_err(|e| Failure::new(FailureClass::Bug, e)).flatten() {
            Ok(survey) => {
                tracing::debug!(manifest = %manifest.id, "surveyed early");
                Some(survey)
            }
            Err(error) => {
                tracing::debug!(manifest = %manifest.id, %error, "the survey that was begun early failed");
                None
            }
        }
    }

    fn begun(&self) -> MutexGuard<'_, Option<Begun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Surveys a manifest and measures its output rate, which the plan of its first attempt reuses.
async fn survey_ahead(
    manifest: Arc<Manifest>,
    options: ConversionOptions,
    capacity: Capacity,
) -> Result<Survey, Failure> {
    let survey = survey(&manifest, &options).await?;
    // Measuring takes a while, so that it runs off the async thread.
    let find = move || {
        Handle::current().block_on(find_rate_ahead(&manifest, &survey, &options, capacity));
        survey
    };
    spawn_blocking(find).await.map_err(|e| Failure::new(FailureClass::Bug, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_manifest::{ManifestFile, ObjectUri};
    use std::path::Path;
    use std::time::Duration;

    fn manifest(id: &str, paths: &[&Path]) -> Manifest {
        let file = |path: &&Path| {
            let uri = ObjectUri::from_path(path).unwrap();
            ManifestFile { uri, size_bytes: None, etag: None, version_id: None }
        };
        Manifest {
            id: id.parse().unwrap(),
            date: "2025-12-23".parse().unwrap(),
            created_at: chrono::DateTime::UNIX_EPOCH,
            files: paths.iter().map(file).collect(),
            traceparents: Vec::new(),
        }
    }

    #[tokio::test]
    async fn it_serves_the_very_files_it_was_begun_for_and_once() {
        let root = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| root.path().join(format!("2025-12-23-{name}.ndjson")));
        std::fs::write(&a, r#"{"a":1}"#).unwrap();
        std::fs::write(&b, r#"{"b":1}"#).unwrap();
        let (both, one) = (manifest("both", &[&a, &b]), manifest("one", &[&a]));
        let (options, early) = (ConversionOptions::default(), EarlySurvey::default());
        let begin = |manifest| early.begin(manifest, &options, Capacity { executors: 1, slots: 2 });
        let is_finished = || early.begun().as_ref().is_some_and(|begun| begun.survey.is_finished());
        begin(&both);
        // Ignored, since there is room for only one survey.
        begin(&one);
        let finished = async {
            while !is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), finished).await.unwrap();
        std::fs::remove_file(&b).unwrap();
        assert_eq!(early.survey(&one, &options).await.unwrap().columns().names(), ["a"]);
        assert_eq!(early.survey(&both, &options).await.unwrap().columns().names(), ["a", "b"]);
        assert!(early.survey(&both, &options).await.is_err());
        // The manifest ended up with fewer files.
        begin(&both);
        assert_eq!(early.survey(&manifest("both", &[&a]), &options).await.unwrap().columns().names(), ["a"]);
        assert!(early.begun().is_none());
        // A failed survey is repeated by the run, which reports the error.
        begin(&both);
        assert!(early.survey(&both, &options).await.is_err());
        std::fs::write(&b, r#"{"c":1}"#).unwrap();
        assert_eq!(early.survey(&both, &options).await.unwrap().columns().names(), ["a", "c"]);
    }
}
