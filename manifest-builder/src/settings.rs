//! Settings of the builder, common to all its modes.

use crate::error::BuilderError;
use clap::Args;
use millwork_manifest::{BatchCaps, FileRules, MissingDate};
use millwork_storage::{Location, Places};
use millwork_tracking::Overwrites;
use std::path::Path;

/// Places that files come from and go to, and the rules for files.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Places that input files may be in: other objects are never looked up, tracked or moved, whoever names them.
    pub input: Places,
    /// Place that refused files are moved to; `None` to leave them in place and only mark them.
    pub quarantine: Option<Location>,
    /// Place of manifest documents, which get the names `manifests/{date}/…` below it.
    pub manifests: Location,
    /// Place of the output, if known: objects in it are not input.
    pub output: Option<Location>,
    /// File that holds the state, if it is a file: not an input either.
    pub state: Option<Location>,
    /// Rules for accepting a file.
    pub rules: FileRules,
    /// Limits of one manifest: bytes, files and waiting time.
    pub caps: BatchCaps,
    /// Treatment of a converted file that has other content now.
    pub overwrites: Overwrites,
    /// Longest time for which the lock of a date is held without being renewed.
    pub lock_ttl: chrono::Duration,
    /// Time after its last write for which a file whose name marks unfinished content is left alone.
    pub unfinished_age: chrono::Duration,
    /// Age from which unknown listed objects are left alone, since a store with expiry may have forgotten that they
    /// were converted; `None` for a store that never forgets.
    pub max_age: Option<chrono::Duration>,
}

impl Settings {
    /// Refuses an input that overlaps with a place written to.
    pub fn check_apart(&self, input: &Location) -> Result<(), BuilderError> {
        let overlap = self.own_places().find_map(|(inner, place)| {
            let relation = match (input.contains(&place), place.contains(input)) {
                (true, true) => Some("is"),
                (true, false) => Some("is inside"),
                (false, true) => Some("holds"),
                (false, false) => None,
            };
            relation.map(|relation| (inner, place, relation))
        });
        match overlap {
            None => Ok(()),
            Some((inner, place, relation)) => {
                Err(BuilderError::Overlap { inner, place: place.to_string(), relation, input: input.to_string() })
            }
        }
    }

    /// The places written to, each with its purpose.
    pub(crate) fn own_places(&self) -> impl Iterator<Item = (&'static str, Location)> {
        let manifests = Some(("the manifest directory", self.manifests.join("manifests")));
        let quarantine = self.quarantine.clone().map(|place| ("the quarantine", place));
        let output = self.output.clone().map(|place| ("the output", place));
        let state = self.state.clone().map(|place| ("the state", place));
        // Places that people name themselves come first.
        [output, quarantine, state, manifests].into_iter().flatten()
    }
}

/// Rules as options and environment variables.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Files and manifests")]
pub struct Rules {
    /// Size a file is expected to have, in MiB
    #[arg(long, global = true, env = "EXPECTED_FILE_SIZE_MB", value_name = "MB", default_value_t = 10.0)]
    pub expected_file_size_mb: f64,

    /// Tolerance around --expected-file-size-mb, in percent: 99 accepts 0.1 to 19.9 MiB of 10; 100 accepts empty files
    #[arg(long, global = true, env = "SIZE_TOLERANCE_PERCENT", value_name = "PERCENT", default_value_t = 99.0)]
    pub size_tolerance_percent: f64,

    /// Treatment of a file without a date in its key: quarantine, or today (UTC)
    #[arg(long, global = true, env = "MISSING_DATE", value_name = "RULE", default_value = "quarantine")]
    pub missing_date: MissingDate,

    /// Size of a manifest's files at most, in GiB
    #[arg(long, global = true, env = "MAX_BATCH_SIZE_GB", value_name = "GB", default_value_t = BatchCaps::BATCH_GB)]
    pub max_batch_size_gb: f64,

    /// Number of a manifest's files at most
    #[arg(long, global = true, env = "MAX_FILES_PER_MANIFEST", value_name = "N", default_value_t = BatchCaps::FILES, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_files_per_manifest: u32,

    /// Time that a rest of less than half a manifest waits for more, in seconds from its oldest file
    #[arg(long, global = true, env = "MAX_WAIT_SECONDS", value_name = "SECONDS", default_value_t = BatchCaps::WAIT_SECONDS)]
    pub max_wait_seconds: u64,

    /// Treatment of a converted file whose object has other content now: record, or reprocess, which converts it
    /// again beside its old rows
    #[arg(long, global = true, env = "OVERWRITES", value_name = "RULE", default_value = "record")]
    pub overwrites: Overwrites,

    /// Leave listed files alone that are older than this, in days, and not known: a store that forgets converted files
    /// after seven days, as DynamoDB's does, may have known them. 0 takes files of any age
    #[arg(long, global = true, env = "MAX_AGE_DAYS", value_name = "DAYS", default_value_t = 6)]
    pub max_age_days: u32,

    /// Leave files alone for so many hours since they were last written whose names are those of what is not whole yet, such as
    /// .part, .tmp, .crdownload and .filepart: who writes them renames them when they are. After that they are refused
    #[arg(long, global = true, env = "UNFINISHED_HOURS", value_name = "HOURS", default_value_t = 24)]
    pub unfinished_hours: u32,

    /// Longest time that the lock of a date is held, in seconds; `millwork run` takes at most 10
    #[arg(long, global = true, env = "LOCK_TTL_SECONDS", value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub lock_ttl_seconds: u32,
}

impl Rules {
    /// Builds the settings from these options and the places; `state` is the file of the state, if it is a file.
    pub fn settings(
        &self,
        input: Places,
        manifests: &str,
        quarantine: Option<&str>,
        output: Option<&str>,
        state: Option<&Path>,
    ) -> anyhow::Result<Settings> {
        anyhow::ensure!(
            self.expected_file_size_mb > 0.0 && self.size_tolerance_percent >= 0.0 && self.max_batch_size_gb > 0.0,
            "--expected-file-size-mb (EXPECTED_FILE_SIZE_MB) and --max-batch-size-gb (MAX_BATCH_SIZE_GB) are above 0, and \
             --size-tolerance-percent (SIZE_TOLERANCE_PERCENT) is 0 or above"
        );
        let place = |text: Option<&str>| text.map(Location::parse).transpose();
        let (mut quarantine, output) = (place(quarantine)?, place(output)?);
        if let Some(output) = &output {
            quarantine = quarantine.map(|place| place.unseen_in(output)).transpose()?;
        }
        Ok(Settings {
            input,
            state: state.map(|path| Location::parse(&path.to_string_lossy())).transpose()?,
            quarantine,
            manifests: Location::parse(manifests)?,
            output,
            rules: FileRules {
                expected_file_size_mb: self.expected_file_size_mb,
                size_tolerance_percent: self.size_tolerance_percent,
                missing_date: self.missing_date,
            },
            caps: BatchCaps::new(self.max_batch_size_gb, self.max_files_per_manifest as usize, self.max_wait_seconds),
            overwrites: self.overwrites,
            lock_ttl: chrono::Duration::seconds(self.lock_ttl_seconds.into()),
            unfinished_age: chrono::Duration::hours(self.unfinished_hours.into()),
            max_age: Some(self.max_age_days).filter(|days| *days > 0).map(|days| chrono::Duration::days(days.into())),
        })
    }
}
