//! Automatic intake of manifests: from the events of the manifest bucket, and from a watched directory.
//!
//! ```text
//! event, file ─▶ read the manifest ─▶ submit, durably ─▶ forget the message, remember the file
//! ```
//!
//! Submission is idempotent, so that anything interrupted is simply repeated:
//!
//! | crash | what remains | recovery |
//! |---|---|---|
//! | before a manifest is submitted | the message, hidden for a while; the file | the message is delivered again; the file is found by the first listing |
//! | while it is submitted | files assigned to the manifest, no run yet | as above; the submission continues |
//! | after it is submitted, before its message is deleted | a queued run, and the message | the run continues at the start; the message is delivered again, and deleted since its manifest is known |
//! | after a bad message is in the dead-letter queue, before it is deleted | the message in both queues | it is sent there once more |
//! | while a directory is watched | only the files | all of them are read again; known ones change nothing |
//!
//! A refused manifest does not delay others. If the store or the storage does not answer, the message is delivered
//! again, and the file read at the next listing.

mod depth;
mod directory;
mod options;
mod queue;

pub use options::IntakeOptions;

use crate::documents::read_manifest;
use crate::service::{Service, SubmitError};
use anyhow::Context;
use async_trait::async_trait;
use directory::Watch;
use futures::TryStreamExt;
use metrics::counter;
use millwork_manifest::{Manifest, ObjectUri};
use millwork_queue::{BadMessage, BadReason, Consumer, Verdict};
use millwork_storage::{Location, Objects, Places};
use millwork_tracking::TrackingError;
use queue::FromQueue;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Receiver of manifests, such as the scheduler's service.
#[async_trait]
pub trait Submit: Send + Sync {
    /// Queues a manifest that was found at `uri`, durably on return. A known manifest is not an error.
    async fn submit(&self, manifest: Manifest, uri: &str) -> Result<(), SubmitError>;
}

#[async_trait]
impl Submit for Service {
    async fn submit(&self, manifest: Manifest, uri: &str) -> Result<(), SubmitError> {
        Service::submit(self, manifest, uri, 0).await.map(drop)
    }
}

/// Finder and submitter of manifests.
#[derive(Clone)]
pub struct Intake {
    submit: Arc<dyn Submit>,
    objects: Arc<dyn Objects>,
    /// Places in which manifests may be: other objects are never accessed, whoever names them.
    places: Arc<Places>,
}

impl Intake {
    /// Creates an intake that reads manifests from these places; buckets are accessed as the environment says.
    pub fn new(submit: Arc<dyn Submit>, objects: Arc<dyn Objects>, places: Places) -> Self {
        Self { submit, objects, places: Arc::new(places) }
    }

    /// Starts the sources that the options name. They run until `stop`; the returned tracker then waits for work in
    /// progress.
    ///
    /// Fails if the queue or the directory cannot be read.
    pub async fn start(&self, options: &IntakeOptions, stop: &CancellationToken) -> anyhow::Result<TaskTracker> {
        let tasks = TaskTracker::new();
        if let Some(queue) = options.queue() {
            let url = queue.queue_url.clone();
            let consumer = Arc::new(Consumer::connect(queue).await?);
            tracing::info!(queue = url, "taking in manifests from the events of a queue");
            tasks.spawn(depth::look_often(consumer.clone(), stop.clone()));
            let (handler, stop) = (FromQueue { intake: self.clone() }, stop.clone());
            tasks.spawn(async move { consumer.work(&handler, &stop).await });
        }
        if let Some(place) = &options.manifest_dir {
            let place = Location::parse(place)?;
            let first = async { self.objects.list(&place).await?.try_next().await };
            // A refused entry proves that the directory exists.
            let first = first.await.or_else(|e| if e.is_foreign() { Ok(None) } else { Err(e) });
            first.context("--manifest-dir must be there when the scheduler starts")?;
            tracing::info!(directory = %place, "taking in manifests from a directory");
            tasks.spawn(Watch::new(self.clone(), place).work(stop.clone()));
        }
        tasks.close();
        Ok(tasks)
    }

    /// Reads a manifest and submits it.
    async fn take(&self, uri: &ObjectUri) -> Verdict {
        let manifest = match read_manifest(&*self.objects, uri, &self.places).await {
            Ok(manifest) => manifest,
            Err(error) => {
                return match error.reason() {
                    Some(reason) => Verdict::Bad(BadMessage::new(reason, error)),
                    None => Verdict::Retry(error.to_string()),
                };
            }
        };
        let id = manifest.id.clone();
        match self.submit.submit(manifest, uri.as_str()).await {
            Ok(()) => {
                tracing::debug!(manifest = %id, %uri, "manifest submitted");
                Verdict::Done
            }
            Err(error) => {
                let reason = match &error {
                    SubmitError::Foreign { .. } => BadReason::ForeignObject,
                    SubmitError::Twice { .. } => BadReason::DuplicateFile,
                    SubmitError::Tracking(TrackingError::Taken { .. }) => BadReason::FileTaken,
                    SubmitError::Tracking(TrackingError::Conflict { .. }) => BadReason::Conflict,
                    SubmitError::Tracking(_) => return Verdict::Retry(error.to_string()),
                };
                Verdict::Bad(refused(reason, uri, &error))
            }
        }
    }
}

fn refused(reason: BadReason, uri: &ObjectUri, error: &SubmitError) -> BadMessage {
    BadMessage::new(reason, format!("manifest `{uri}`: {error}"))
}

/// Source of a manifest, as a label of metrics.
#[derive(Clone, Copy, Debug)]
enum Source {
    Queue,
    Directory,
}

impl Source {
    fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Directory => "directory",
        }
    }

    /// Counts a manifest that was submitted, or refused.
    fn count_received(self) {
        counter!("millwork_manifests_received_total", "source" => self.as_str()).increment(1);
    }

    /// Counts a refused manifest or message by reason.
    fn count_refused(self, reason: BadReason) {
        counter!("millwork_manifests_refused_total", "source" => self.as_str(), "reason" => reason.as_str())
            .increment(1);
    }
}

#[cfg(test)]
mod tests;
