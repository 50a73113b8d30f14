//! Stuck files, and the states that their runs prescribe for them.

use super::change::{PlannedChange, planned, refused};
use super::read::FileQuery;
use super::{MAX_FILES_READ, Operations};
use crate::commit::RunResult;
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{DatePrefix, FileState, ManifestId, ObjectUri, RunState};
use millwork_tracking::{Run, RunFilter, RunSeen, StateChange, TrackedFile, TrackingError, TrackingResult};
use std::collections::{HashMap, HashSet};

/// Least age of a stuck file without a run, whatever the query says: a submission may be in progress before that.
const ABANDONED: Duration = Duration::minutes(15);
/// Limit of the runs that are searched for files without a recorded manifest: 10,000, those of some days.
const MAX_LOOKED_THROUGH: usize = 10_000;

/// Filter for stuck files.
#[derive(Clone, Debug)]
pub struct ResetQuery {
    /// Files to consider; all if empty.
    pub uris: Vec<ObjectUri>,
    /// Date of the files; any if `None`.
    pub date: Option<DatePrefix>,
    /// State of the files: manifested or processing; both if `None`.
    pub state: Option<FileState>,
    /// Least time since the last change.
    pub older_than: Duration,
    /// Limit of the files in the plan.
    pub limit: usize,
}

/// A run, and the files that its commit names.
struct KnownRun {
    run: Run,
    converted: HashSet<String>,
}

/// Runs that name files without a recorded manifest.
#[derive(Default)]
struct Claims {
    by_uri: HashMap<ObjectUri, Vec<Claim>>,
    /// True if there are more runs than were searched.
    is_capped: bool,
}

/// A run that is open, or whose committed output contains the rows of a file.
#[derive(Clone)]
struct Claim {
    id: ManifestId,
    state: RunState,
    /// State in which the run has the file.
    held: FileState,
}

impl Operations {
    /// Lists stuck files, with the new state of each. Files whose runs are in order are left out, unless they were
    /// named explicitly.
    pub async fn plan_reset(&self, query: &ResetQuery, now: DateTime<Utc>) -> TrackingResult<Vec<PlannedChange>> {
        let mut runs: HashMap<ManifestId, Option<KnownRun>> = HashMap::new();
        let mut plan = Vec::new();
        let candidates = self.candidates(query, now).await?;
        let claims = self.claims(&candidates).await?;
        for file in candidates {
            let prescribed = match id_of(&file) {
                Some(_) => self.prescribed(&file, &mut runs, now).await?,
                None => claims.prescribed(&file),
            };
            match prescribed {
                Ok((change, why)) => plan.push(planned(&file, change, why)),
                Err(why) if !query.uris.is_empty() => plan.push(refused(&file, why)),
                Err(_) => {}
            }
            if plan.len() >= query.limit {
                break;
            }
        }
        Ok(plan)
    }

    async fn candidates(&self, query: &ResetQuery, now: DateTime<Utc>) -> TrackingResult<Vec<TrackedFile>> {
        if !query.uris.is_empty() {
            return Ok(self.store().files(&query.uris).await?.into_iter().flatten().collect());
        }
        let states = match query.state {
            Some(state) => vec![state],
            None => vec![FileState::Manifested, FileState::Processing],
        };
        let mut listed = Vec::new();
        for state in states {
            let wanted = FileQuery {
                state: Some(state),
                date: query.date,
                before: now.checked_sub_signed(query.older_than),
                ..FileQuery::default()
            };
            let keep = |file: TrackedFile| {
                listed.push(file);
                true
            };
            self.query_by_status(&wanted, usize::MAX, MAX_FILES_READ, keep).await?;
        }
        // Read again for current states, since a listing lags behind.
        let mut files = Vec::with_capacity(listed.len());
        for chunk in listed.chunks(super::PAGE) {
            let uris: Vec<ObjectUri> = chunk.iter().map(|file| file.uri.clone()).collect();
            files.extend(self.store().files(&uris).await?.into_iter().flatten());
        }
        Ok(files)
    }

    /// Finds the runs of files that are in a run's state without a recorded manifest: only the runs tell whether rows
    /// of such a file are or will be in an output.
    async fn claims(&self, files: &[TrackedFile]) -> TrackingResult<Claims> {
        let nameless = files.iter().filter(|file| is_held(file) && id_of(file).is_none());
        let nameless: HashMap<&ObjectUri, Option<DatePrefix>> = nameless.map(|file| (&file.uri, file.date)).collect();
        let dates: HashSet<DatePrefix> = nameless.values().flatten().copied().collect();
        let mut claims = Claims::default();
        let mut looked_through = 0;
        for date in dates {
            let mut filter = RunFilter { date: Some(date), limit: super::PAGE, ..RunFilter::default() };
            loop {
                let page = self.store().list_runs(&filter).await?;
                for run in page.items {
                    looked_through += 1;
                    self.claim(&mut claims, &nameless, &run).await?;
                }
                filter.cursor = page.next_cursor;
                claims.is_capped |= filter.cursor.is_some() && looked_through >= MAX_LOOKED_THROUGH;
                if filter.cursor.is_none() || claims.is_capped {
                    break;
                }
            }
        }
        Ok(claims)
    }

    async fn claim(
        &self,
        claims: &mut Claims,
        nameless: &HashMap<&ObjectUri, Option<DatePrefix>>,
        listed: &Run,
    ) -> TrackingResult<()> {
        let id = &listed.manifest_id;
        if matches!(listed.state, RunState::Draft | RunState::Failed | RunState::Cancelled) {
            return Ok(());
        }
        let Some(manifest) = self.store().manifest(id).await? else { return Ok(()) };
        let named: Vec<ObjectUri> =
            manifest.files.into_iter().map(|file| file.uri).filter(|uri| nameless.contains_key(uri)).collect();
        let Some(run) = self.store().run(id).await?.filter(|_| !named.is_empty()) else { return Ok(()) };
        for uri in named {
            let held = if run.state.is_final() { FileState::Completed } else { held_state(&run) };
            if run.state.is_final() && !has_rows(&run, &uri)? {
                continue;
            }
            claims.by_uri.entry(uri).or_default().push(Claim { id: id.clone(), state: run.state, held });
        }
        Ok(())
    }

    /// Change that the run of a file prescribes for it, or the reason why the file stays unchanged.
    async fn prescribed(
        &self,
        file: &TrackedFile,
        runs: &mut HashMap<ManifestId, Option<KnownRun>>,
        now: DateTime<Utc>,
    ) -> TrackingResult<Result<(StateChange, String), String>> {
        let Some(id) = id_of(file).filter(|_| is_held(file)) else {
            return Ok(Err(format!("it is {}: nothing is stuck", file.state)));
        };
        if !runs.contains_key(&id) {
            let known = self.store().run(&id).await?;
            let known = known.map(|run| Ok::<_, TrackingError>(KnownRun { converted: converted(&run)?, run }));
            runs.insert(id.clone(), known.transpose()?);
        }
        let Some(Some(known)) = runs.get(&id) else {
            if now - file.updated_at < ABANDONED {
                return Ok(Err("its submission may be going on: a quarter of an hour has not passed".to_owned()));
            }
            return Ok(Ok(to(file, RunSeen::Absent(id), FileState::Pending, "its run is not there")));
        };
        let state = known.run.state;
        let seen = RunSeen::InState(id, state);
        Ok(match state {
            RunState::Failed | RunState::Cancelled => {
                match known.run.failure.as_ref().and_then(|failure| failure.fault_of(file.uri.as_str())) {
                    Some(message) => {
                        let message = message.to_owned();
                        let (change, why) = to(file, seen, FileState::Failed, "its run failed because of it");
                        Ok((StateChange { reason: Some(message), ..change }, why))
                    }
                    None => Ok(to(file, seen, FileState::Pending, &format!("its run is {state}"))),
                }
            }
            RunState::Completed if known.converted.contains(file.uri.as_str()) => {
                Ok(to(file, seen, FileState::Completed, "its rows are in the committed output of its run"))
            }
            RunState::Completed => {
                Err("its run is completed, and its commit does not name it: nothing says which is true".to_owned())
            }
            state => Err(format!("its run is {state}, and goes on: a scheduler takes care of it")),
        })
    }
}

impl Claims {
    /// Change of a file without a recorded manifest, or the reason why the file stays unchanged.
    fn prescribed(&self, file: &TrackedFile) -> Result<(StateChange, String), String> {
        if !is_held(file) {
            return Err(format!("it is {}: nothing is stuck", file.state));
        }
        match self.by_uri.get(&file.uri).map(Vec::as_slice).unwrap_or_default() {
            [] if self.is_capped || file.date.is_none() => {
                Err("no manifest is noted with it, and not all runs could be looked through for it".to_owned())
            }
            [] => Ok(to(
                file,
                RunSeen::NoManifest,
                FileState::Pending,
                "no manifest is noted with it, and no run names it",
            )),
            [one] => {
                let seen = RunSeen::InState(one.id.clone(), one.state);
                let (change, _) = to(file, seen, one.held, "");
                let why =
                    format!("no manifest is noted with it, and the run `{}` has it, which is {}", one.id, one.state);
                Ok((StateChange { manifest: Some(one.id.clone()), ..change }, why))
            }
            [first, second, ..] => {
                Err(format!("no manifest is noted with it, and `{}` and `{}` name it", first.id, second.id))
            }
        }
    }
}

/// Recorded manifest of a file.
fn id_of(file: &TrackedFile) -> Option<ManifestId> {
    file.manifest_id.as_ref().and_then(|id| id.parse().ok())
}

/// Tells whether the state of a file means that it is in a run.
fn is_held(file: &TrackedFile) -> bool {
    matches!(file.state, FileState::Manifested | FileState::Processing)
}

/// State in which an open run has its files.
pub(super) fn held_state(run: &Run) -> FileState {
    match run.state {
        // A forced run keeps its files completed.
        RunState::Queued | RunState::Planning | RunState::Running if run.committed_at.is_some() => FileState::Completed,
        RunState::Queued | RunState::Draft => FileState::Manifested,
        _ => FileState::Processing,
    }
}

/// Tells whether the committed output of a run contains the rows of a file.
pub(super) fn has_rows(run: &Run, uri: &ObjectUri) -> TrackingResult<bool> {
    Ok(converted(run)?.contains(uri.as_str()))
}

/// Files whose rows are in the committed output of a run. A result that cannot be read is an error: its files would otherwise count as
/// not converted, and be converted twice.
fn converted(run: &Run) -> TrackingResult<HashSet<String>> {
    let result = RunResult::of(run)?;
    Ok(result.map(|result| result.ledger.into_iter().map(|row| row.uri).collect()).unwrap_or_default())
}

fn to(file: &TrackedFile, run: RunSeen, to: FileState, why: &str) -> (StateChange, String) {
    (change_to(file, run, to), why.to_owned())
}

/// Change of a file, on the condition that it is unchanged.
pub(super) fn change_to(file: &TrackedFile, run: RunSeen, to: FileState) -> StateChange {
    StateChange {
        uri: file.uri.clone(),
        seen: (file.state, file.version),
        run,
        to,
        manifest: None,
        reason: None,
        content: None,
        detail: String::new(),
    }
}
