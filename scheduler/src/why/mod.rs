//! Facts for diagnoses, gathered from the store, from the storage and from this process.
//!
//! Every lookup is bounded in number and time, whatever the store contains. Objects are looked up only in the input
//! places, and outputs only where commits of this store name them. Unknown facts are left out: nothing is guessed, and
//! nothing is changed.

mod attention;
mod cluster;
mod dates;
mod files;
pub(crate) mod looks;
mod near;
mod no_rows;
mod result;
mod runs;

pub use attention::Attention;
pub(crate) use attention::old_drafts;
pub use near::nearest;

use crate::options::RunOptions;
use crate::shell::Scheduler;
use chrono::{DateTime, Utc};
use millwork_diagnosis::{Diagnosis, Facts, Settings, Subject, diagnose};
use millwork_manifest::{DatePrefix, ManifestId, ObjectUri};
use millwork_net::CertificatesInUse;
use millwork_storage::{Location, Places, Storage};
use millwork_tracking::{BuilderAbout, TrackingResult, TrackingStore};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Age at which the sweep releases the files of a submission without a run, in seconds: a quarter of an hour.
const ABANDONED_SECONDS: u64 = 15 * 60;

/// Facts about a state that the state itself does not contain.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Places that are written to, with their purpose.
    pub written: Vec<(&'static str, Location)>,
    /// URL of the state, if it is opened directly, without a scheduler that could be asked for changes.
    pub direct_state: Option<String>,
    /// Queue with events of new manifests, and its dead-letter queue, if named.
    pub manifest_queue: Option<(String, Option<String>)>,
    /// Limit of the retries of a run after transient failures.
    pub max_retries: Option<u32>,
    /// Time limit of an attempt, in minutes.
    pub run_timeout_minutes: Option<u64>,
}

impl About {
    /// Facts from the options of a scheduler.
    pub fn of(run: &RunOptions, manifests: &Places) -> anyhow::Result<Self> {
        let mut written = vec![("the output", run.output()?)];
        written.extend(run.quarantine()?.map(|place| ("the quarantine", place)));
        written.extend(manifests.locations().map(|place| ("the place of manifests", place)));
        Ok(Self {
            direct_state: None,
            manifest_queue: None,
            written,
            max_retries: Some(run.max_retries),
            run_timeout_minutes: Some(run.run_timeout_minutes),
        })
    }

    /// Facts from the URL of a state only.
    pub fn of_state(state: &str) -> Self {
        Self { direct_state: Some(state.to_owned()), ..Self::default() }
    }
}

/// Collects facts and makes diagnoses.
#[derive(Clone)]
pub struct Inspector {
    pub(crate) store: Arc<dyn TrackingStore>,
    pub(crate) storage: Storage,
    /// Input places; `None` if unknown, so that no objects are looked up.
    pub(crate) input: Option<Places>,
    /// Place of mended lines, which count as input; `None` if unknown.
    pub(crate) mended: Option<Location>,
    pub(crate) about: Arc<About>,
    /// The leader, if it is this process.
    pub(crate) leader: Option<Scheduler>,
    pub(crate) certificates: CertificatesInUse,
    /// Permits for diagnoses, which read whole runs: 100 MB for one of 100,000 files.
    pub(crate) looks: Arc<Semaphore>,
}

/// Limit of the diagnoses that are made at once; further ones wait.
const MAX_LOOKS: usize = 4;

/// Permits for the diagnoses of a process.
pub(crate) fn looks() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_LOOKS))
}

impl Inspector {
    /// Creates an inspector for a state without a scheduler.
    pub fn on(store: Arc<dyn TrackingStore>, storage: Storage, input: Option<Places>, about: About) -> Self {
        Self {
            store,
            storage,
            input,
            mended: None,
            about: Arc::new(about),
            leader: None,
            certificates: CertificatesInUse::default(),
            looks: looks(),
        }
    }

    /// Diagnoses a file.
    pub async fn file(&self, uri: &ObjectUri, now: DateTime<Utc>) -> TrackingResult<Diagnosis> {
        let _permit = self.looks.acquire().await;
        let (facts, settings) = self.facts_of_file(uri, now).await?;
        Ok(diagnose(&Subject::File(uri.to_string()), &facts, &settings, now))
    }

    /// Diagnoses a run.
    pub async fn run(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<Diagnosis> {
        let _permit = self.looks.acquire().await;
        let (cluster, builder) = self.cluster(now).await?;
        let mut facts = Facts { cluster, ..Facts::default() };
        match self.store.run(id).await? {
            Some(run) => {
                facts.date = Some(self.lock_of(run.date).await?);
                facts.run = Some(self.run_facts(&run, now).await?);
            }
            None => facts.near = self.near_runs(id).await?,
        }
        Ok(diagnose(&Subject::Run(id.to_string()), &facts, &self.settings(builder.as_ref()), now))
    }

    /// Diagnoses an unfinished date.
    pub async fn date(&self, date: DatePrefix, now: DateTime<Utc>) -> TrackingResult<Diagnosis> {
        let (cluster, builder) = self.cluster(now).await?;
        let facts = Facts { cluster, date: self.date_facts(date).await?, ..Facts::default() };
        Ok(diagnose(&Subject::Date(date.to_string()), &facts, &self.settings(builder.as_ref()), now))
    }

    /// Diagnoses the current work of an executor.
    pub async fn executor(&self, id: &str, now: DateTime<Utc>) -> TrackingResult<Diagnosis> {
        let (cluster, builder) = self.cluster(now).await?;
        let executor = self.executor_facts(id);
        let gone_executor = self.gone_facts(id);
        let near = if executor.is_none() { self.near_executors(id) } else { Vec::new() };
        let facts = Facts { cluster, executor, gone_executor, near, ..Facts::default() };
        Ok(diagnose(&Subject::Executor(id.to_owned()), &facts, &self.settings(builder.as_ref()), now))
    }

    /// Tells whether the store deletes converted files after some time.
    pub(crate) fn forgets(&self) -> bool {
        self.store.forgets_after_days().is_some()
    }

    /// Effective settings: those of the builder with the latest heartbeat, and of this scheduler.
    pub(crate) fn settings(&self, builder: Option<&BuilderAbout>) -> Settings {
        let usual = Settings::default();
        Settings {
            caps: builder.map_or(usual.caps, BuilderAbout::caps),
            wish_interval_seconds: builder
                .and_then(|builder| builder.wish_interval_seconds)
                .unwrap_or(usual.wish_interval_seconds),
            sweep_interval_seconds: builder
                .and_then(|builder| builder.sweep_interval_seconds)
                .unwrap_or(usual.sweep_interval_seconds),
            max_attempts: self.about.max_retries.map_or(usual.max_attempts, |retries| retries.saturating_add(1)),
            run_timeout_minutes: self.about.run_timeout_minutes.unwrap_or(usual.run_timeout_minutes),
            abandoned_seconds: ABANDONED_SECONDS,
            forgets_after_days: self.store.forgets_after_days(),
            direct_state: self.about.direct_state.clone(),
            size_bounds_bytes: builder.map(|builder| builder.rules().size_bounds_bytes()),
            ..usual
        }
    }
}
