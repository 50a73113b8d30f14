//! Options of a scheduler, the same for the service and for `millwork run`.

use clap::Args;
use millwork_conversion::{ColumnNames, ConversionOptions, Limits, OutputCompression, Query};
use millwork_manifest::Manifest;
use millwork_storage::{Location, Places, Storage, StorageResult};
use regex_lite::Regex;
use std::path::PathBuf;
use std::str::FromStr;

/// Options of conversion and output.
#[derive(Args, Clone, Debug)]
pub struct RunOptions {
    /// Place of the Parquet files: a directory, which is created if it is not there, or s3://BUCKET/FOLDER
    #[arg(long, env = "MILLWORK_OUTPUT", value_name = "PLACE")]
    pub output: String,

    /// Place of refused files and rejected lines: a directory or s3://BUCKET/FOLDER. Without it, refused files stay where
    /// they are, and rejected lines go to {output}/_quarantine. In the output, it is below a name that begins with an underscore,
    /// which readers leave out [default: s3://$QUARANTINE_BUCKET]
    #[arg(long, env = "MILLWORK_QUARANTINE", value_name = "PLACE")]
    pub quarantine: Option<String>,

    /// Path of an output file below --output. {manifest_id} and {part} must be in it; {date} can be
    #[arg(long, env = "OUTPUT_LAYOUT", value_name = "TEMPLATE", default_value = OutputLayout::DEFAULT)]
    pub layout: OutputLayout,

    /// Size an output file should have, in MiB
    #[arg(long, env = "TARGET_FILE_MB", value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=8192))]
    pub target_file_mb: u64,

    /// Compression of the output: snappy, zstd or none
    #[arg(long, env = "COMPRESSION", value_name = "NAME", default_value = "snappy")]
    pub compression: OutputCompression,

    /// Rule by which keys become column names: exact, or lower, which merges names that differ only in case, as AWS Glue does
    #[arg(long, env = "COLUMN_NAMES", value_name = "RULE", default_value = "exact")]
    pub column_names: ColumnNames,

    /// Query to run instead of `SELECT * FROM read_manifest($manifest)`. In `millwork run`, one that starts with EXPLAIN shows the plan
    /// and converts nothing
    #[arg(long, env = "MILLWORK_SQL", value_name = "FILE")]
    pub sql: Option<PathBuf>,

    /// Fail a manifest when more than this share of its lines is rejected, in percent. They are kept below --quarantine all the same
    #[arg(long, env = "MAX_REJECTED_PERCENT", value_name = "PERCENT", default_value_t = 100.0, value_parser = percent)]
    pub max_rejected_percent: f64,

    /// Fail a manifest when its rejected lines take more than this in their file, in MiB: below --quarantine there is a record
    /// of each, with up to 1 MiB of the line. Nothing is written beyond it
    #[arg(long, env = "MAX_REJECTED_MB", value_name = "MB", default_value_t = Limits::MAX_REJECTED_MB, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub max_rejected_mb: u64,

    /// Fail a manifest when a .gz or .zst file has more than this many times its size as content. Up to 1 GiB is read in any
    /// case
    #[arg(long, env = "MAX_EXPANSION", value_name = "TIMES", default_value_t = Limits::MAX_EXPANSION, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub max_expansion: u64,

    /// Refuse a .zst file whose window is larger than this, in MiB: `zstd --long=N` has one of 2^N bytes. Each file that is being read
    /// takes as much memory. What is no power of two counts as the next smaller one
    #[arg(long, env = "MAX_ZSTD_WINDOW_MB", value_name = "MB", default_value_t = Limits::MAX_ZSTD_WINDOW_MB, value_parser = clap::value_parser!(u64).range(1..=2048))]
    pub max_zstd_window_mb: u64,

    /// Manifests that are converted at once
    #[arg(long, env = "MAX_CONCURRENT_RUNS", value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_concurrent_runs: u32,

    /// Times that a manifest is tried again after a failure that can pass
    #[arg(long, env = "MAX_RETRIES", value_name = "N", default_value_t = 2)]
    pub max_retries: u32,

    /// Longest time of an attempt, in minutes; at most a year
    #[arg(long, env = "RUN_TIMEOUT_MINUTES", value_name = "MINUTES", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=525_600))]
    pub run_timeout_minutes: u64,
}

impl RunOptions {
    /// Place of the Parquet files. Refused before anything is written if another user could redirect the path.
    pub fn output(&self) -> StorageResult<Location> {
        let place = Location::parse(&self.output)?;
        place.check_way()?;
        Ok(place)
    }

    /// Place of refused files and rejected lines, if the option or `QUARANTINE_BUCKET` names one. Must be hidden from
    /// readers of the output.
    pub fn quarantine(&self) -> StorageResult<Option<Location>> {
        let named = match self.quarantine.as_deref().filter(|place| !place.is_empty()) {
            Some(place) => Location::parse(place).map(Some),
            None => Location::of_variable("QUARANTINE_BUCKET"),
        };
        named?.map(|place| place.unseen_in(&self.output()?)).transpose()
    }

    /// Conversion options for a long-running process: as [`Self::conversion`], but refuses a query that converts
    /// nothing.
    pub fn service_conversion(&self, input: Places, storage: Storage) -> anyhow::Result<ConversionOptions> {
        let conversion = self.conversion(input, storage)?;
        anyhow::ensure!(
            conversion.query.explained().is_none(),
            "the query of --sql starts with EXPLAIN, which converts nothing: take that word out; `millwork explain` shows the plan"
        );
        Ok(conversion)
    }

    /// Makes the options of the conversion, with the user's query read and checked, for files that are in these places only, in this
    /// storage.
    pub fn conversion(&self, input: Places, storage: Storage) -> anyhow::Result<ConversionOptions> {
        let query = match &self.sql {
            None => Query::default(),
            Some(path) => {
                let sql = std::fs::read_to_string(path)
                    .map_err(|e| anyhow::anyhow!("cannot read the query `{}`: {e}", path.display()))?;
                Query::new(path.display().to_string(), sql)
            }
        };
        // A mistake is reported at the start, not once per manifest.
        query.check().map_err(|failure| anyhow::anyhow!(failure.message))?;
        Ok(ConversionOptions {
            input: Some(input),
            storage,
            query,
            names: self.column_names,
            target_file_bytes: self.target_file_mb << 20,
            compression: self.compression,
            limits: Limits {
                max_expansion: self.max_expansion,
                max_rejected_bytes: self.max_rejected_mb << 20,
                max_zstd_window_bytes: self.max_zstd_window_mb << 20,
            },
            ..ConversionOptions::default()
        })
    }
}

/// Parses a percentage.
fn percent(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=100.0).contains(share));
    share.ok_or_else(|| "a share in percent is a number from 0 to 100, such as 0.5".to_owned())
}

/// Path of an output file, relative to the output directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLayout(String);

impl OutputLayout {
    /// Layout of the pipeline that Millwork replaces.
    pub const DEFAULT: &str = "merged-parquet-{date}/{manifest_id}-part-{part}.parquet";

    /// Path of one output file of a manifest.
    pub(crate) fn path(&self, manifest: &Manifest, generation: u32, part: usize) -> String {
        self.template(manifest, generation).replace("{part}", &format!("{part:05}"))
    }

    /// Path of the output files of a manifest, with `{part}` in place of their number.
    pub(crate) fn template(&self, manifest: &Manifest, generation: u32) -> String {
        let name = Self::name(manifest, generation);
        self.0.replace("{date}", &manifest.date.to_string()).replace("{manifest_id}", &name)
    }

    /// Pattern of the paths of output files.
    pub(crate) fn names(&self) -> anyhow::Result<Regex> {
        let pattern = regex_lite::escape(&self.0)
            .replace(r"\{date\}", r"\d{4}-\d{2}-\d{2}")
            .replace(r"\{manifest_id\}", "[^/]+")
            .replace(r"\{part\}", r"\d{5,}");
        Ok(Regex::new(&format!("^{pattern}$"))?)
    }

    /// Columns that have the name of a partition, such as `date` with `date={date}/`.
    pub(crate) fn hides(&self, columns: &[String]) -> Vec<String> {
        let directories = self.0.rsplit_once('/').map_or("", |(directories, _)| directories);
        let partitions: Vec<_> = directories.split('/').filter_map(|part| Some(part.split_once('=')?.0)).collect();
        let is_hidden = |column: &&String| partitions.iter().any(|partition| partition.eq_ignore_ascii_case(column));
        columns.iter().filter(is_hidden).cloned().collect()
    }

    /// Name of the manifest in file names: its id, with the generation after a forced run, since the files it replaces
    /// exist until its own are published.
    pub(crate) fn name(manifest: &Manifest, generation: u32) -> String {
        match generation {
            0 | 1 => manifest.id.to_string(),
            _ => format!("{}-g{generation}", manifest.id),
        }
    }
}

impl FromStr for OutputLayout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let without = text.replace("{date}", "").replace("{manifest_id}", "").replace("{part}", "");
        let leaves = text.split('/').any(|part| part == ".." || part.is_empty());
        if !text.contains("{manifest_id}") || !text.contains("{part}") {
            return Err("an output path needs {manifest_id} and {part}, or files would overwrite each other".to_owned());
        }
        if without.contains(['{', '}']) {
            return Err("an output path knows {date}, {manifest_id} and {part}".to_owned());
        }
        if leaves || text.starts_with("_millwork") {
            return Err("an output path is relative, without empty parts or `..`, and outside _millwork/".to_owned());
        }
        if !text.ends_with(".parquet") {
            return Err("an output path ends in .parquet".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_hide_columns_of_their_names() {
        let layout: OutputLayout = "a/date={date}/x=1/{manifest_id}-y={part}.parquet".parse().unwrap();
        let columns = ["date", "a", "X", "{manifest_id}-y", "y"].map(str::to_owned);
        assert_eq!(layout.hides(&columns), ["date", "X"]);
        assert!(OutputLayout::DEFAULT.parse::<OutputLayout>().unwrap().hides(&columns).is_empty());
    }

    #[test]
    fn a_share_is_between_nothing_and_all() {
        for (text, share) in [("0", 0.0), ("0.5", 0.5), ("100", 100.0)] {
            assert_eq!(percent(text).unwrap().to_bits(), f64::to_bits(share));
        }
        for text in ["nan", "NaN", "-1", "101", "inf", "100.001", "", "1%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn layouts_keep_files_apart() {
        assert!(OutputLayout::DEFAULT.parse::<OutputLayout>().is_ok());
        assert!("date={date}/{manifest_id}-{part}.parquet".parse::<OutputLayout>().is_ok());
        for bad in [
            "{date}/{part}.parquet",
            "{manifest_id}.parquet",
            "../{manifest_id}{part}.parquet",
            "/{manifest_id}{part}.parquet",
            "{manifest_id}{part}{x}.parquet",
            "{manifest_id}{part}",
        ] {
            assert!(bad.parse::<OutputLayout>().is_err(), "{bad}");
        }
    }
}
