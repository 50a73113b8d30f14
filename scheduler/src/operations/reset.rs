//! Files that are stuck, and what their runs prescribe for them.

use super::change::{PlannedChange, planned, refused};
use super::read::FileQuery;
use super::{MAX_FILES_READ, Operations};
use crate::commit::RunResult;
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{DatePrefix, FileState, ManifestId, ObjectUri, RunState};
use millwork_tracking::{Run, RunSeen, StateChange, TrackedFile, TrackingResult};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// Age at which a file without a run counts as stuck, whatever is said: a submission may be going on before that.
const ABANDONED: Duration = Duration::minutes(15);

/// Which files are looked at.
#[derive(Clone, Debug)]
pub struct ResetQuery {
    /// Files to look at, and no others; any file if none is named.
    pub uris: Vec<ObjectUri>,
    /// Date of the files; any date if none is said.
    pub date: Option<DatePrefix>,
    /// State of the files: manifested or processing; both if none is said.
    pub state: Option<FileState>,
    /// Least age of the last change.
    pub older_than: Duration,
    /// Limit of the files in the plan.
    pub limit: usize,
}

/// A run, and the files that its commit names.
struct KnownRun {
    run: Run,
    converted: HashSet<String>,
}

impl Operations {
    /// Lists the stuck files, with what is to become of each. Files whose runs are in order are left out, unless they were
    /// asked for by name.
    pub async fn plan_reset(&self, query: &ResetQuery, now: DateTime<Utc>) -> TrackingResult<Vec<PlannedChange>> {
        let mut runs: HashMap<ManifestId, Option<KnownRun>> = HashMap::new();
        let mut plan = Vec::new();
        for file in self.candidates(query, now).await? {
            let prescribed = self.prescribed(&file, &mut runs, now).await?;
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
        // A listing lags behind: each is looked at as it is now.
        let mut files = Vec::with_capacity(listed.len());
        for chunk in listed.chunks(super::PAGE) {
            let uris: Vec<ObjectUri> = chunk.iter().map(|file| file.uri.clone()).collect();
            files.extend(self.store().files(&uris).await?.into_iter().flatten());
        }
        Ok(files)
    }

    /// Finds the change that the run of a file prescribes for it; else tells why the file stays.
    async fn prescribed(
        &self,
        file: &TrackedFile,
        runs: &mut HashMap<ManifestId, Option<KnownRun>>,
        now: DateTime<Utc>,
    ) -> TrackingResult<Result<(StateChange, String), String>> {
        if !matches!(file.state, FileState::Manifested | FileState::Processing) {
            return Ok(Err(format!("it is {}: nothing is stuck", file.state)));
        }
        let Some(id) = file.manifest_id.as_ref().and_then(|id| id.parse::<ManifestId>().ok()) else {
            return Ok(Ok(to(file, RunSeen::NoManifest, FileState::Pending, "no manifest is noted with it")));
        };
        if !runs.contains_key(&id) {
            let known = self.store().run(&id).await?;
            runs.insert(id.clone(), known.map(|run| KnownRun { converted: converted(&run), run }));
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
                let is_at_fault =
                    known.run.failure.as_ref().and_then(|failure| failure.file.as_deref()) == Some(file.uri.as_str());
                let failure = known.run.failure.as_ref().filter(|_| is_at_fault).map(|failure| failure.message.clone());
                match failure {
                    Some(message) => {
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

fn converted(run: &Run) -> HashSet<String> {
    let result = run.result.as_ref().and_then(|result| RunResult::deserialize(result).ok());
    result.map(|result| result.ledger.into_iter().map(|row| row.uri).collect()).unwrap_or_default()
}

fn to(file: &TrackedFile, run: RunSeen, to: FileState, why: &str) -> (StateChange, String) {
    let change = StateChange {
        uri: file.uri.clone(),
        seen: (file.state, file.version),
        run,
        to,
        reason: None,
        content: None,
        detail: String::new(),
    };
    (change, why.to_owned())
}
