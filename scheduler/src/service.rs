//! Requests to a scheduler, leader or standby. All go through the store; if this process is the leader, its machine is
//! notified as well.

use crate::changes::{Change, EndedRun};
use crate::commit::CommitRecord;
use crate::loss::{self, TakeBackError};
use crate::read_places::ReadPlaces;
use crate::refresh;
use crate::shell::Scheduler;
use crate::why::{About, Inspector, looks};
use chrono::Utc;
use millwork_api::{Action, RunProgress, Setting};
use millwork_manifest::{Failure, FailureClass, Manifest, ManifestId, ObjectUri, RunState};
use millwork_net::CertificatesInUse;
use millwork_storage::{Places, SecondName, Storage, StorageError, bucket_and_key};
use millwork_tracking::{
    Commit, QueuedManifest, Run, TrackedFile, TrackingError, TrackingResult, TrackingStore, can_return,
};
use std::panic::resume_unwind;
use std::sync::{Arc, OnceLock};
use tokio::sync::{Mutex, Semaphore, broadcast, mpsc};

/// Advice if an output cannot be checked.
const MENDED: &str = "ask again once that is mended";
/// Message for a committed output that is not lost.
const NOT_LOST: &str = "all of its output is there to be shown, or is shown: it is published by itself, and completes";

/// Number of files that are looked up at once.
const LOOKED_UP: usize = 1000;

/// Reason why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The manifest names a file outside the input places.
    #[error(
        "manifest `{manifest_id}` names `{uri}`, which is in none of the places that input files may be in (INPUT_PLACES): the \
         manifest is refused (foreign-object), and the file stays as it is"
    )]
    Foreign {
        /// Id of the manifest.
        manifest_id: ManifestId,
        /// URI of the first such file.
        uri: ObjectUri,
    },
    /// The manifest names a file twice: through a link, and by its own name.
    #[error("manifest `{manifest_id}` is refused, since a file of it would be converted twice: {reason}")]
    Twice {
        /// Id of the manifest.
        manifest_id: ManifestId,
        /// First file named twice, with its names.
        reason: SecondName,
    },
    /// The store refused the manifest, or failed.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
}

/// Receivers of a scheduler's changes and progress, subscribed before the first request.
pub(crate) struct News {
    pub(crate) changes: broadcast::Receiver<Change>,
    pub(crate) progresses: broadcast::Receiver<Arc<RunProgress>>,
    pub(crate) ended: broadcast::Receiver<EndedRun>,
}

/// Channel by which the receivers reach the task that forwards them.
struct Post {
    sender: mpsc::Sender<News>,
    receiver: Mutex<mpsc::Receiver<News>>,
}

/// A scheduler process, as its users see it.
#[derive(Clone)]
pub struct Service {
    store: Arc<dyn TrackingStore>,
    places: Arc<ReadPlaces>,
    storage: Storage,
    leader: Arc<OnceLock<Scheduler>>,
    post: Arc<Post>,
    settings: Arc<OnceLock<Vec<Setting>>>,
    about: Arc<About>,
    certificates: CertificatesInUse,
    register_turn: Arc<Mutex<()>>,
    /// Permits for diagnoses.
    looks: Arc<Semaphore>,
}

impl Service {
    /// A process that stands by, and takes manifests whose files are where input may be, in this storage.
    pub fn new(store: Arc<dyn TrackingStore>, places: ReadPlaces, storage: Storage) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        Self {
            store,
            places: Arc::new(places),
            storage,
            leader: Arc::default(),
            post: Arc::new(Post { sender, receiver: Mutex::new(receiver) }),
            settings: Arc::default(),
            about: Arc::default(),
            certificates: CertificatesInUse::default(),
            register_turn: Arc::default(),
            looks: looks(),
        }
    }

    /// Sets the effective settings, for display.
    pub fn set_settings(&self, settings: Vec<Setting>) {
        // Set only once per process.
        let _ = self.settings.set(settings);
    }

    /// Effective settings.
    pub(crate) fn settings(&self) -> &[Setting] {
        self.settings.get().map_or(&[], Vec::as_slice)
    }

    /// Adds further facts about the state and the places written to.
    #[must_use]
    pub fn with_about(self, about: About) -> Self {
        Self { about: Arc::new(about), ..self }
    }

    /// Creates an inspector with the knowledge of this process.
    pub fn inspector(&self) -> Inspector {
        let ReadPlaces { input, mended, .. } = (*self.places).clone();
        let (store, about, leader) = (self.store.clone(), self.about.clone(), self.leader().cloned());
        let (storage, certificates) = (self.storage.clone(), self.certificates.clone());
        let looks = self.looks.clone();
        Inspector { store, storage, input: Some(input), mended, about, leader, certificates, looks }
    }

    /// The storage that is read and written.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The certificates of this process's servers.
    pub fn certificates(&self) -> &CertificatesInUse {
        &self.certificates
    }

    /// Turn to change the register of plans, one at a time in this process.
    pub(crate) fn register_turn(&self) -> &Mutex<()> {
        &self.register_turn
    }

    /// Places that are read from.
    pub fn places(&self) -> &ReadPlaces {
        &self.places
    }

    /// Places of refused files, as far as this process knows them.
    pub(crate) fn quarantine(&self) -> Places {
        let place = self.about.written.iter().find(|(what, _)| *what == "the quarantine");
        place.map_or_else(Places::none, |(_, place)| Places::of(place))
    }

    /// Makes this process the leader.
    pub fn lead(&self, scheduler: Scheduler) {
        let (changes, progresses, ended) = (scheduler.changes(), scheduler.progresses(), scheduler.ended());
        let news = News { changes, progresses, ended };
        // A process becomes the leader only once.
        let _ = self.post.sender.try_send(news);
        let _ = self.leader.set(scheduler);
    }

    /// Waits until this process is the leader. Returns to one caller only.
    pub(crate) async fn news(&self) -> Option<News> {
        self.post.receiver.lock().await.recv().await
    }

    /// The scheduler, if this process is the leader.
    pub fn leader(&self) -> Option<&Scheduler> {
        self.leader.get()
    }

    /// Store whose manifests this process runs.
    pub fn store(&self) -> &Arc<dyn TrackingStore> {
        &self.store
    }

    /// Checks that the store answers.
    pub(crate) async fn ping(&self) -> TrackingResult<()> {
        self.store.ping().await
    }

    /// Queues a manifest. A known manifest is not run again: its run is returned unchanged, except that a queued one
    /// gets the higher of both priorities. A manifest with a file outside the input is refused before that file is
    /// accessed.
    pub async fn submit(&self, manifest: Manifest, uri: &str, priority: i32) -> Result<Run, SubmitError> {
        let (id, convertible) = (manifest.id.clone(), self.places.convertible());
        if let Some(file) = manifest.files.iter().find(|file| !convertible.contains(&file.uri)) {
            return Err(SubmitError::Foreign { manifest_id: id, uri: file.uri.clone() });
        }
        self.check_own_names(&manifest).await?;
        let queued = QueuedManifest { manifest, uri: uri.to_owned() };
        let is_new = self.store.submit(&queued, priority, Utc::now()).await?;
        let mut run = self.known(&id).await?;
        if !is_new && run.state == RunState::Queued && run.priority < priority {
            self.store.prioritise(&id, priority, Utc::now()).await?;
            run = self.known(&id).await?;
        }
        self.queued(&run, run.priority > 0);
        Ok(run)
    }

    /// Refuses a manifest that would convert a file again under the name of a link. A known manifest has a run already,
    /// and is accepted.
    async fn check_own_names(&self, manifest: &Manifest) -> Result<(), SubmitError> {
        let is_local = |uri: &ObjectUri| bucket_and_key(uri).is_none();
        let uris: Vec<_> = manifest.files.iter().map(|file| file.uri.clone()).filter(is_local).collect();
        let places = self.places.convertible();
        let checked = tokio::task::spawn_blocking(move || places.check_own_names(&uris)).await;
        match checked.unwrap_or_else(|error| resume_unwind(error.into_panic())) {
            Err(reason) if self.store.run_head(&manifest.id).await?.is_none() => {
                Err(SubmitError::Twice { manifest_id: manifest.id.clone(), reason })
            }
            _ => Ok(()),
        }
    }

    /// Queues a failed or cancelled run again, or a committed run whose output is lost and is then given up.
    pub async fn retry(&self, id: &ManifestId) -> TrackingResult<Run> {
        match self.store.unpublished(id).await? {
            Some(commit) => self.give_up(id, &commit, true).await?,
            None => {
                self.take_input_as_it_is(id).await?;
                self.store.requeue(id, Utc::now()).await?;
            }
        }
        self.queue_again(id).await
    }

    /// Updates the manifest of a run that failed because of its input to the present content of its files. See
    /// [`refresh`].
    async fn take_input_as_it_is(&self, id: &ManifestId) -> TrackingResult<()> {
        let failed_over_input = |run: &Run| {
            let is_of_input = |failure: &Failure| failure.class == FailureClass::Input;
            run.state == RunState::Failed && run.failure.as_ref().is_some_and(is_of_input)
        };
        let Some(run) = self.store.run_head(id).await?.filter(failed_over_input) else { return Ok(()) };
        let Some(manifest) = self.store.manifest(id).await? else { return Ok(()) };
        // A run that cannot be queued again, since another manifest has some of its files, is left unchanged.
        if self.lost_file(&manifest, usize::MAX).await?.is_some() {
            return Ok(());
        }
        match refresh::refreshed(&run, manifest, self.places.convertible(), self.storage.clone()).await {
            Ok(None) => {}
            Ok(Some((manifest, changed))) => {
                tracing::info!(manifest = %id, files = changed.len(), "files have other content by now, and are read as they are");
                self.store.refresh(&manifest, &changed, Utc::now()).await?;
            }
            Err(error) => tracing::warn!(manifest = %id, %error, "cannot look at the input; it is tried as it was"),
        }
        Ok(())
    }

    /// The first file that a run without output can no longer have, because another manifest has it or it was removed
    /// from conversion. Checks up to `most` files.
    pub(crate) async fn lost_file(&self, manifest: &Manifest, most: usize) -> TrackingResult<Option<TrackedFile>> {
        let uris: Vec<ObjectUri> = manifest.files.iter().take(most).map(|file| file.uri.clone()).collect();
        for chunk in uris.chunks(LOOKED_UP) {
            let mut files = self.store.files(chunk).await?.into_iter().flatten();
            if let Some(lost) = files.find(|file| !can_return(file, &manifest.id)) {
                return Ok(Some(lost));
            }
        }
        Ok(None)
    }

    /// Queues a completed run again to replace its output, or a committed run whose output is lost, even if its input
    /// is lost as well, which fails the run.
    pub async fn force(&self, id: &ManifestId) -> TrackingResult<Run> {
        match self.store.unpublished(id).await? {
            Some(commit) => self.give_up(id, &commit, false).await?,
            None => self.store.force(id, Utc::now()).await?,
        }
        self.queue_again(id).await
    }

    /// Refuses a committed run whose output is not lost, or, where the action needs the input, whose input is lost.
    pub(crate) async fn check_lost(&self, id: &ManifestId, action: Action) -> TrackingResult<()> {
        match self.store.unpublished(id).await? {
            Some(commit) => self.loss_of(id, &commit, action == Action::Retry).await.map(drop),
            None => {
                let found = RunState::Committing.to_string();
                Err(TrackingError::Conflict { manifest_id: id.to_string(), found, wanted: NOT_LOST })
            }
        }
    }

    /// The loss of a committed output; refused if nothing is lost.
    async fn loss_of(&self, id: &ManifestId, commit: &Commit, needs_input: bool) -> TrackingResult<StorageError> {
        let refused = |found: String, wanted| TrackingError::Conflict { manifest_id: id.to_string(), found, wanted };
        let lost = match loss::check_there(&self.storage, CommitRecord::of(commit)?).await {
            Err(error) if error.is_lost() => error,
            Err(error) => return Err(refused(format!("committing, and cannot be looked at: {error}"), MENDED)),
            Ok(()) => return Err(refused(RunState::Committing.to_string(), NOT_LOST)),
        };
        if needs_input && let Some(manifest) = self.store.manifest(id).await? {
            match loss::missing_input(&self.storage, &manifest).await {
                Ok(None) => {}
                Ok(Some(uri)) => {
                    let found =
                        format!("committing, and has lost its output; its input `{uri}` is gone or changed, too");
                    return Err(refused(found, "put it back; or force the run, which gives the output up and fails"));
                }
                Err(error) => return Err(refused(format!("committing, and cannot be looked at: {error}"), MENDED)),
            }
        }
        Ok(lost)
    }

    /// Gives up a committed output that is lost; refused if nothing is lost. See [`loss`].
    async fn give_up(&self, id: &ManifestId, commit: &Commit, needs_input: bool) -> TrackingResult<()> {
        let lost = self.loss_of(id, commit, needs_input).await?;
        self.store.supersede(id, commit.attempt, &loss::failure_of(&lost), None, Utc::now()).await?;
        if let Err(error) = loss::take_back_superseded(&*self.store, &self.storage, id).await {
            tracing::warn!(manifest = %id, %error, "cannot take back what is left of a lost output; the next attempt does it");
        }
        Ok(())
    }

    /// Changes the priority of a queued run; runs in other states are unchanged.
    pub async fn prioritise(&self, id: &ManifestId, priority: i32) -> TrackingResult<Run> {
        self.store.prioritise(id, priority, Utc::now()).await?;
        let run = self.known(id).await?;
        self.queued(&run, true);
        Ok(run)
    }

    /// Cancels a run: at once if it is queued, else as soon as its attempt has stopped.
    pub async fn cancel(&self, id: &ManifestId) -> TrackingResult<Run> {
        // Files of the run become free for other manifests: outputs that were given up are withdrawn before that, and
        // again after, since another can have been given up meanwhile.
        self.take_back(id).await?;
        self.store.cancel(id, Utc::now()).await?;
        self.take_back(id).await?;
        if let Some(scheduler) = self.leader() {
            scheduler.cancel(id);
        }
        self.known(id).await
    }

    async fn take_back(&self, id: &ManifestId) -> TrackingResult<()> {
        loss::take_back_superseded(&*self.store, &self.storage, id).await.map_err(|error| match error {
            TakeBackError::Store(error) => error,
            TakeBackError::Storage(error) => TrackingError::Conflict {
                manifest_id: id.to_string(),
                found: format!("to replace an output that was lost, of which something may be left: {error}"),
                wanted: MENDED,
            },
        })
    }

    async fn queue_again(&self, id: &ManifestId) -> TrackingResult<Run> {
        let run = self.known(id).await?;
        self.queued(&run, run.priority > 0);
        Ok(run)
    }

    /// Notifies the machine of a queued run; `is_urgent` if it may change the order of the queue.
    fn queued(&self, run: &Run, is_urgent: bool) {
        if let (Some(scheduler), RunState::Queued) = (self.leader(), run.state) {
            scheduler.queued(&run.manifest_id, is_urgent);
        }
    }

    async fn known(&self, id: &ManifestId) -> TrackingResult<Run> {
        let run = self.store.run_head(id).await?;
        run.ok_or_else(|| TrackingError::Corrupt { what: "no run of manifest", value: id.to_string() })
    }
}
