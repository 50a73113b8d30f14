//! Adoption of outputs whose state was lost: their manifests get completed runs in a new state, so that no file is
//! converted twice.
//!
//! A manifest is adopted if at least one of its output files exists and it has no private files left: outputs are
//! published only after their commit, and private files are removed once all are published. A manifest with both is
//! reported, since parts of its output may be missing. Adoption takes each manifest through the states of a normal run:
//! submit, attempt, commit, completed. A crash in between leaves an open run whose commit names the existing files, and
//! the scheduler completes it.

use crate::commit::{CommitRecord, RunResult};
use crate::lease::Lease;
use crate::options::OutputLayout;
use anyhow::Context;
use chrono::{Duration, Utc};
use datafusion::parquet::file::reader::{FileReader, SerializedFileReader};
use futures::{StreamExt, TryStreamExt};
use millwork_api::OutputFile;
use millwork_manifest::{Manifest, ManifestId};
use millwork_storage::{Location, Object, Objects, StagedFile, Staging, Storage};
use millwork_tracking::{Commit, Note, QueuedManifest, RunFilter, TrackingStore};
use std::collections::BTreeMap;
use std::fs::File;

/// Limit of the output generations of a manifest that are looked for: 100, the first and 99 forced runs and lost outputs.
const MAX_GENERATIONS: u32 = 100;

/// Result of adopting the manifests of an output.
#[derive(Clone, Debug, Default)]
pub struct Adopted {
    /// Manifests whose output exists: their files count as converted.
    pub completed: Vec<ManifestId>,
    /// Manifests that were not adopted, with the reason: their files are converted again.
    pub left: Vec<(String, String)>,
}

/// Kind and name of the store's note with the identity of the state.
const STATE: (&str, &str) = ("state", "identity");
/// Lifetime of the note with the identity: 100 years, in effect unlimited.
const FOR_EVER: Duration = Duration::days(36_500);

/// Location of the manifests that belong to an output.
fn manifests_of(output: &Location) -> Location {
    output.join("_millwork").join("manifests")
}

/// Claims an output for the state of a lease, before anything is written to it: two states that write to one output do
/// not know of each other, so that rows could be written twice. An output that another or a lost state has written to
/// is refused; with `adopt`, its manifests are adopted first.
///
/// Each state that has claimed the output has an object below `_millwork/states/`, numbered in order; the last one owns
/// the output. A crash before that object is written is harmless: a repeated adoption continues where it stopped.
pub async fn claim_output(
    lease: &Lease,
    storage: &Storage,
    output: &Location,
    layout: &OutputLayout,
    adopt: bool,
) -> anyhow::Result<Adopted> {
    let store = &**lease.store();
    let state = identity(store).await?;
    let (owner, claims) = last_claim(storage, output).await?;
    if owner.as_ref() == Some(&state) {
        return Ok(Adopted::default());
    }
    // Outputs of earlier versions have no such object.
    let is_foreign = owner.is_some() || is_new(store).await?;
    let manifests = if is_foreign { list(storage, &manifests_of(output), ".json").await?.len() } else { 0 };
    let is_filled = manifests > 0 || owner.is_some() && has_outputs(storage, output, &|_| true).await?;
    // Parquet files of this layout without `_millwork`: their manifests are unknown, and cannot be adopted.
    let names = layout.names()?;
    let is_of_layout = |key: &str| names.is_match(key);
    let has_lost_manifests =
        is_foreign && !is_filled && owner.is_none() && has_outputs(storage, output, &is_of_layout).await?;
    anyhow::ensure!(
        !has_lost_manifests,
        "`{output}` has Parquet files that Millwork wrote, and the `_millwork` that tells what they are made of is gone: put it back, or move \
         the Parquet files away, or write to another --output. Otherwise their rows would stand there twice"
    );
    let adopted = match adopt {
        true if is_filled => adopt_all(lease, storage, output, layout).await?,
        false if is_filled => return Err(unknown_output(output, manifests)),
        _ => Adopted::default(),
    };
    let place = output.object(&format!("_millwork/states/{:08}", claims.saturating_add(1)))?;
    anyhow::ensure!(
        storage.write_once(&place, state.as_bytes()).await?,
        "another process has claimed `{output}` for its state at the same moment (`{place}`): let only one state write there, then start again"
    );
    Ok(adopted)
}

/// State that has claimed an output last, if any, and the number of its claim.
async fn last_claim(storage: &Storage, output: &Location) -> anyhow::Result<(Option<String>, u64)> {
    let states = list(storage, &output.join("_millwork").join("states"), "").await?;
    let last = states.iter().map(|object| &object.key).max();
    let owner = match states.iter().find(|object| Some(&object.key) == last) {
        Some(object) => Some(String::from_utf8_lossy(&storage.read(&object.uri).await?).into_owned()),
        None => None,
    };
    let number = |key: &String| {
        let number = key.rsplit('/').next().and_then(|name| name.parse().ok());
        number.with_context(|| {
            format!("`{key}` below `_millwork/states/` of `{output}` is no number of a claim: move it away")
        })
    };
    Ok((owner, last.map(number).transpose()?.unwrap_or(0)))
}

fn unknown_output(output: &Location, manifests: usize) -> anyhow::Error {
    let there = match manifests {
        0 => "outputs of manifests that are kept elsewhere".to_owned(),
        1 => "1 manifest".to_owned(),
        _ => format!("{manifests} manifests"),
    };
    anyhow::anyhow!(
        "`{output}` has {there}, of which this state knows nothing: it was lost, or is another one. Name the right one with --state; \
         or say --adopt, to take the files of those manifests as converted whose output is there; or write to another --output. \
         Otherwise their rows would stand there twice"
    )
}

/// Identity of a state, chosen at random on first use. No race is possible, since only the process with the lease of
/// the state calls this.
async fn identity(store: &dyn TrackingStore) -> anyhow::Result<String> {
    let notes = store.notes(STATE.0, Utc::now()).await?;
    if let Some(known) = notes.iter().find(|note| note.name == STATE.1) {
        return known.value.as_str().map(str::to_owned).context("the identity of the state is no text");
    }
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    let number = format!("{:032x}", u128::from_be_bytes(random));
    let note = Note { name: STATE.1.to_owned(), at: Utc::now(), value: number.clone().into() };
    store.put_note(STATE.0, &note, Utc::now() + FOR_EVER).await?;
    Ok(number)
}

/// Tells whether a state knows no manifest, not even an unfinished one.
async fn is_new(store: &dyn TrackingStore) -> anyhow::Result<bool> {
    let newest = store.list_runs(&RunFilter { limit: 1, ..RunFilter::default() }).await?;
    Ok(newest.items.is_empty() && store.drafts(Utc::now() + Duration::days(1)).await?.is_empty())
}

/// Tells whether an output holds a Parquet file of which `is_wanted` is true. An output that does not exist holds none.
async fn has_outputs(
    storage: &Storage,
    output: &Location,
    is_wanted: &(dyn Fn(&str) -> bool + Sync),
) -> anyhow::Result<bool> {
    if output.local_path().is_some_and(|path| !path.exists()) {
        return Ok(false);
    }
    // Entries that may not be read cannot be outputs. Any other error must not look like an output without files.
    let listed = storage.list(output).await?;
    let listed = listed.filter(|found| std::future::ready(!matches!(found, Err(error) if error.is_foreign())));
    let is_output = async |object: Object| {
        object.key.ends_with(".parquet") && !object.key.starts_with("_millwork/") && is_wanted(&object.key)
    };
    Ok(std::pin::pin!(listed).try_any(is_output).await?)
}

/// Objects of a place whose names end with `ending`. The place need not exist.
async fn list(storage: &Storage, place: &Location, ending: &str) -> anyhow::Result<Vec<Object>> {
    if place.local_path().is_some_and(|path| !path.exists()) {
        return Ok(Vec::new());
    }
    let listed = storage.list(place).await?;
    let listed = listed.try_filter_map(async |object| Ok(object.key.ends_with(ending).then_some(object)));
    // Entries that may not be read are left out: they cannot be manifests.
    let listed = listed.filter(|found| std::future::ready(!matches!(found, Err(error) if error.is_foreign())));
    Ok(listed.try_collect().await?)
}

/// Adopts the manifests of an output whose output files exist.
async fn adopt_all(
    lease: &Lease,
    storage: &Storage,
    output: &Location,
    layout: &OutputLayout,
) -> anyhow::Result<Adopted> {
    let outputs = objects_of(storage, output).await?;
    let (of_storage, of_output) = (storage.clone(), output.clone());
    let staged = tokio::task::spawn_blocking(move || of_storage.staged_manifests(&of_output)).await??;
    let mut adopted = Adopted::default();
    for document in list(storage, &manifests_of(output), ".json").await? {
        let content = storage.read(&document.uri).await?;
        let manifest = match Manifest::parse(document.uri.as_str(), &content, document.modified_at) {
            Ok(manifest) => manifest,
            Err(error) => {
                adopted.left.push((document.uri.to_string(), error.to_string()));
                continue;
            }
        };
        // Advances the counter of the date, so that new manifests get other numbers.
        lease.store().next_batch_index(manifest.date).await?;
        let parts = parts_of(&manifest, layout, &outputs);
        if parts.is_empty() {
            adopted.left.push((manifest.id.to_string(), "none of its output is there".to_owned()));
            continue;
        }
        anyhow::ensure!(
            !staged.contains(&manifest.id.to_string()),
            "manifest `{}` was just being shown when its state was lost, so that some of its output may be missing: remove `{}` and \
             what else begins like it, then say --adopt again",
            manifest.id,
            parts[0].uri
        );
        let id = manifest.id.clone();
        match adopt_one(lease, manifest, &document, &parts, output).await {
            Ok(()) => adopted.completed.push(id),
            Err(error) => adopted.left.push((id.to_string(), format!("{error:#}"))),
        }
    }
    Ok(adopted)
}

/// Objects of an output by key, but for entries that may not be read.
async fn objects_of(storage: &Storage, output: &Location) -> anyhow::Result<BTreeMap<String, Object>> {
    let objects = storage.list(output).await?;
    let objects = objects.filter(|found| std::future::ready(!matches!(found, Err(error) if error.is_foreign())));
    Ok(objects.map_ok(|object| (object.key.clone(), object)).try_collect().await?)
}

/// Output files of the newest generation of a manifest, in order.
fn parts_of<'a>(manifest: &Manifest, layout: &OutputLayout, outputs: &'a BTreeMap<String, Object>) -> Vec<&'a Object> {
    let of_generation = |generation: u32| {
        let template = layout.template(manifest, generation);
        let (before, after) = template.split_once("{part}")?;
        let number = |key: &str| key.strip_prefix(before)?.strip_suffix(after)?.parse::<usize>().ok();
        let is_part =
            |key: &String| number(key).is_some_and(|number| *key == layout.path(manifest, generation, number));
        let from = outputs.range(before.to_owned()..).take_while(|(key, _)| key.starts_with(before));
        let parts: Vec<&Object> = from.filter(|(key, _)| is_part(key)).map(|(_, object)| object).collect();
        (!parts.is_empty()).then_some(parts)
    };
    (1..=MAX_GENERATIONS).rev().find_map(of_generation).unwrap_or_default()
}

async fn adopt_one(
    lease: &Lease,
    manifest: Manifest,
    document: &Object,
    parts: &[&Object],
    output: &Location,
) -> anyhow::Result<()> {
    let (store, id) = (lease.store(), manifest.id.clone());
    let outputs = parts.iter().map(|object| output_file(&id, object)).collect::<anyhow::Result<Vec<_>>>()?;
    let input_bytes = manifest.total_bytes();
    let queued = QueuedManifest { manifest, uri: document.uri.to_string() };
    store.submit(&queued, 0, Utc::now()).await?;
    let attempt = store.start_attempt(&id, lease.lock(), Utc::now()).await?;
    let staging = Staging::new(output, id.as_str(), attempt, "");
    let shown =
        (0..).zip(parts).map(|(number, object)| (StagedFile::shown(number, object.size_bytes), object.uri.clone()));
    let record = serde_json::to_string(&CommitRecord::shown(staging, shown.collect(), document.uri.clone()))?;
    let result = RunResult {
        rows: outputs.iter().map(|output| output.rows).sum(),
        input_bytes,
        output_bytes: outputs.iter().map(|output| output.bytes).sum(),
        outputs,
        plan: "adopted: the state in which it was converted was lost".to_owned(),
        ..RunResult::default()
    };
    let commit = Commit { manifest_id: id.clone(), attempt, record };
    anyhow::ensure!(
        store.commit(&commit, &serde_json::to_value(&result)?, Utc::now()).await?,
        "another process has committed manifest `{}` meanwhile",
        commit.manifest_id
    );
    Ok(store.complete(&id, Utc::now()).await?)
}

/// Builds the record of an existing output file. Rows are read from a local file, and are 0 for an object in a bucket.
fn output_file(id: &ManifestId, object: &Object) -> anyhow::Result<OutputFile> {
    let rows = match object.uri.to_path() {
        Some(path) => {
            let file = File::open(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let reader = SerializedFileReader::new(file);
            let reader = reader.with_context(|| format!("`{}` is no whole Parquet file", path.display()))?;
            u64::try_from(reader.metadata().file_metadata().num_rows())?
        }
        None => 0,
    };
    Ok(OutputFile {
        uri: object.uri.to_string(),
        rows,
        bytes: object.size_bytes,
        manifest_id: id.to_string(),
        executor: String::new(),
    })
}
