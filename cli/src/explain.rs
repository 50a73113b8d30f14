//! `millwork explain`: plan of a conversion.

use crate::embedded::vcores;
use crate::failure::{of_usage, usage};
use crate::list::print_json;
use clap::Args;
use futures::{StreamExt, TryStreamExt};
use millwork_conversion::{Capacity, ConversionOptions, Query, plan_attempt, survey};
use millwork_manifest::{Compression, Manifest, ManifestFile, ObjectUri};
use millwork_manifest_builder::Rules;
use millwork_storage::{Location, Objects, Places, Staging, Storage};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show how a manifest would be converted, without converting it.
///
/// Prints the logical plan of the query and the physical plan of the tasks: one file group is one task.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  millwork explain s3://acme-manifests/manifests/2025-12-23/batch-0407-20251223-101500.json\n  millwork explain m.json --sql query.sql --json"
)]
pub(crate) struct Options {
    /// Path or URI of a manifest
    manifest: String,

    /// Query to explain instead of `SELECT * FROM read_manifest($manifest)`
    #[arg(long, value_name = "FILE")]
    sql: Option<PathBuf>,

    /// Tasks that could run at once [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    vcores: Option<u32>,

    /// Size an output file should have, in MiB
    #[arg(long, env = "TARGET_FILE_MB", value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u64).range(1..=8192))]
    target_file_mb: u64,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

pub(crate) async fn explain(options: Options) -> anyhow::Result<ExitCode> {
    let name = &options.manifest;
    if Compression::of_key(name).is_some() {
        return Err(usage(format!(
            "`{name}` is a data file, and this explains manifests: `millwork run --input {name} --output DIRECTORY --sql FILE`, with a query \
             that starts with EXPLAIN, shows the plan for data and converts nothing"
        )));
    }
    let storage = Storage::from_env();
    let manifest = load(name, &storage).await?;
    let target_file_bytes = options.target_file_mb << 20;
    let mut conversion = ConversionOptions { target_file_bytes, storage, ..Default::default() };
    if let Some(path) = &options.sql {
        let sql = std::fs::read_to_string(path)
            .map_err(|e| anyhow::anyhow!("cannot read the query `{}`: {e}", path.display()))?;
        conversion.query = Query::new(path.display().to_string(), sql);
        if let Some(explained) = conversion.query.explained() {
            conversion.query = explained;
        }
    }
    print_plan(&manifest, &conversion, (vcores(options.vcores), options.json)).await
}

/// Reads a manifest from a path or URI.
pub(crate) async fn load(name: &str, storage: &Storage) -> anyhow::Result<Manifest> {
    let uri: ObjectUri = match name.contains("://") {
        true => name.parse().map_err(of_usage)?,
        false => ObjectUri::from_path(&std::path::absolute(name)?)?,
    };
    let object = match storage.head(&uri).await {
        Err(error) if error.is_not_found() => return Err(of_usage(error)),
        looked => looked?,
    };
    Manifest::check_size(uri.as_str(), object.size_bytes)?;
    Ok(Manifest::parse(uri.as_str(), &storage.read(&uri).await?, object.modified_at)?)
}

/// Shows the plan of a query for a directory, with a manifest of the files of its first date.
pub(crate) async fn explain_input(
    input: &Location,
    rules: &Rules,
    conversion: &ConversionOptions,
    query: Query,
    shape: (usize, bool),
) -> anyhow::Result<ExitCode> {
    let manifest = manifest_of(input, rules, &conversion.storage).await?;
    let conversion = ConversionOptions { query, input: Some(Places::of(input)), ..conversion.clone() };
    print_plan(&manifest, &conversion, shape).await
}

/// Manifest of the files of the first date that can be converted.
async fn manifest_of(input: &Location, rules: &Rules, storage: &Storage) -> anyhow::Result<Manifest> {
    let today = chrono::Utc::now().date_naive().into();
    let settings = rules.settings(Places::of(input), ".", None, None, None)?;
    let listed = storage.list(input).await?;
    // Refused entries would not be converted.
    let listed = listed.filter(|found| std::future::ready(!matches!(found, Err(error) if error.is_foreign())));
    let mut objects: Vec<_> = listed.try_collect().await?;
    objects.sort_by(|a, b| a.key.cmp(&b.key));
    let accepted: Vec<_> = objects
        .into_iter()
        .filter_map(|object| match settings.rules.judge(&object.key, object.size_bytes, today) {
            millwork_manifest::Arrival::Accepted(date) => Some((date, object)),
            millwork_manifest::Arrival::Quarantined(..) => None,
        })
        .collect();
    let Some(date) = accepted.iter().map(|(date, _)| *date).min() else {
        anyhow::bail!("no file in `{input}` can be converted, so there is nothing to plan");
    };
    let file = |(_, object): (_, millwork_storage::Object)| ManifestFile {
        uri: object.uri,
        size_bytes: Some(object.size_bytes),
        etag: Some(object.etag),
        version_id: object.version_id,
    };
    let files = accepted.into_iter().filter(|(of, _)| *of == date).take(settings.caps.max_files).map(file).collect();
    Ok(Manifest { id: "explained".parse()?, date, created_at: chrono::Utc::now(), files, traceparents: Vec::new() })
}

/// Plans for this many concurrent tasks, and prints the plan as text or JSON.
async fn print_plan(
    manifest: &Manifest,
    conversion: &ConversionOptions,
    (vcores, as_json): (usize, bool),
) -> anyhow::Result<ExitCode> {
    let survey = survey(manifest, conversion).await?;
    let columns = survey.columns();
    // Nothing is executed, so that nothing is written to this place.
    let staging = Staging::new(&Location::parse("/nonexistent")?, manifest.id.as_str(), 0, "");
    let capacity = Capacity { executors: 1, slots: vcores };
    let planned = plan_attempt(manifest, &survey, columns, staging, conversion, capacity).await?;
    let plan = planned.explain();
    if as_json {
        print_json(
            &json!({ "logical_plan": plan.logical, "physical_plan": plan.physical, "tasks": planned.tasks.len() }),
        )?;
    } else {
        println!("{plan}");
    }
    Ok(ExitCode::SUCCESS)
}
