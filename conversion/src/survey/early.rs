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
