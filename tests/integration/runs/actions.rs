//! What schedulers do because their machine says so.

use super::*;

impl World {
    pub(super) fn act(&mut self) {
        if let Some(n) = self.awake() {
            self.perform_next(n);
        }
    }

    pub(super) fn perform_next(&mut self, n: usize) {
        let process = &mut self.processes[n];
        if process.doing.is_empty() {
            return;
        }
        let action = process.doing.remove(self.random.below(process.doing.len()));
        let token = process.lock.token;
        self.note(format!("{token} does {action:?}"));
        match self.perform(n, action) {
            Ok(Some(event)) => self.processes[n].mailbox.push_back(event),
            Ok(None) => {}
            Err(Deposed) => self.end_process(n),
        }
    }

    fn perform(&mut self, n: usize, action: Action) -> Result<Option<Event>, Deposed> {
        let now = self.now();
        Ok(Some(match action {
            Action::LookForDue(limit) => match self.ask(self.store.due(limit, now)) {
                Asked::Answered(runs) => Event::Due(runs.unwrap().iter().map(Seen::from).collect()),
                Asked::Lost => Event::LookFailed,
            },
            Action::LookForOpen => match self.ask(self.store.open_runs()) {
                Asked::Answered(runs) => Event::Open(runs.unwrap().iter().map(Seen::from).collect()),
                Asked::Lost => Event::LookFailed,
            },
            Action::Start(id) => {
                if !self.take_back(&id) {
                    return Ok(Some(Event::Unanswered(id)));
                }
                let lock = self.processes[n].lock.clone();
                let asked = self.ask(self.store.start_attempt(&id, &lock, now));
                return answer(&id, asked, |attempt| Event::Started(id.clone(), attempt));
            }
            Action::Convert(id, attempt) => {
                self.begin_conversion(n, &id, attempt);
                Event::Planned(id, attempt)
            }
            Action::SetRunning(id, attempt) => {
                let _ = self.ask(self.store.set_running(&id, attempt, now));
                return Ok(None);
            }
            Action::Abort(id, attempt) => {
                let conversions = &mut self.processes[n].conversions;
                if conversions.get(&id).is_none_or(|conversion| conversion.attempt != attempt) {
                    return Ok(None);
                }
                conversions.remove(&id);
                let manifest = self.index(&id);
                let random = &self.random;
                self.tasks.retain(|task| task.manifest != manifest || task.attempt != attempt || random.percent(30));
                Event::AttemptFailed(id, attempt, Failure::new(FailureClass::Cancelled, "given up"))
            }
            Action::Commit(id, attempt) => {
                let uploads = self.processes[n].outcomes[&id].iter().map(|upload| (upload.number, upload.task));
                let uploads = uploads.collect::<Vec<_>>();
                let generation = self.run(&id).unwrap().generation;
                let record = json!([uploads, generation]).to_string();
                let commit = Commit { manifest_id: id.clone(), attempt, record };
                let asked = self.ask(self.store.commit(&commit, &json!({"rows": 1}), now));
                if matches!(asked, Asked::Answered(Ok(true))) {
                    self.processes[n].committed.insert(id.clone(), commit);
                }
                return answer(&id, asked, |won| match won {
                    true => Event::Committed(id.clone(), attempt),
                    false => Event::Refused(id.clone(), Failure::new(FailureClass::Bug, "another has won")),
                });
            }
            Action::Publish(id) => return Ok(Some(self.publish(n, id))),
            Action::Complete(id) => {
                return answer(&id, self.ask(self.store.complete(&id, now)), |()| Event::Settled(id.clone()));
            }
            Action::Supersede(id, attempt, failure, not_before) => {
                let asked = self.ask(self.store.supersede(&id, attempt, &failure, Some(not_before), now));
                self.given_up += usize::from(matches!(asked, Asked::Answered(Ok(()))));
                if matches!(asked, Asked::Answered(Ok(()))) && !self.is_unlucky(30) {
                    // If it does not come to that, the start of the next attempt does it.
                    let _ = self.take_back(&id);
                }
                return answer(&id, asked, |()| Event::Settled(id.clone()));
            }
            Action::Discard(id, attempt) => {
                let manifest = self.index(&id);
                if !self.is_unlucky(10) {
                    self.uploads.retain(|upload| upload.manifest != manifest || upload.attempt != attempt);
                }
                Event::Discarded(id, attempt)
            }
            Action::RetryLater(id, attempt, failure, not_before) => {
                let asked = self.ask(self.store.retry_later(&id, attempt, &failure, not_before, now));
                return answer(&id, asked, |queued| match queued {
                    true => Event::Settled(id.clone()),
                    false => Event::Refused(id.clone(), failure.clone()),
                });
            }
            Action::Fail(id, attempt, failure) => {
                let asked = self.ask(self.store.fail(&id, attempt, &failure, now));
                return answer(&id, asked, |()| Event::Settled(id.clone()));
            }
            Action::Inspect(id) => {
                let asked = self.ask(self.store.run(&id));
                return answer(&id, asked, |run| Event::Found(id.clone(), run.as_ref().map(Seen::from)));
            }
            Action::Forget(_) => return Ok(None),
        }))
    }

    fn begin_conversion(&mut self, n: usize, id: &ManifestId, attempt: u32) {
        let manifest = self.index(id);
        // What is left of earlier attempts goes.
        self.uploads.retain(|upload| upload.manifest != manifest || upload.attempt >= attempt);
        for task in 0..self.manifests[manifest].files.len() {
            self.tasks.push(Task { manifest, attempt, task, upload: None, is_done: false });
        }
        let conversion = Conversion { attempt, is_planned: true };
        self.processes[n].conversions.insert(id.clone(), conversion);
    }

    fn publish(&mut self, n: usize, id: ManifestId) -> Event {
        let failed = |id| Event::PublishFailed(id, Failure::new(FailureClass::Storage, "storage does not answer"));
        let commit = match self.processes[n].committed.get(&id) {
            Some(commit) => Some(commit.clone()),
            None => match self.ask(self.store.unpublished(&id)) {
                Asked::Answered(commit) => commit.unwrap(),
                Asked::Lost => return failed(id),
            },
        };
        let Some(commit) = commit else { return Event::Published(id) };
        let manifest = self.index(&id);
        let (uploads, generation): Record = serde_json::from_str(&commit.record).unwrap();
        let is_shown = |world: &Self, task| world.objects.get(&(manifest, generation, task)) == Some(&commit.attempt);
        if let Some(number) = self.lost(manifest, &commit) {
            // One that comes late, after a newer output has taken the place of this one, finds nothing.
            let is_late = self.run(&id).unwrap().generation > generation;
            self.check(is_late || self.vanished.contains(&number), &format!("{id}: a committed upload is gone"));
            return Event::Lost(id, Failure::new(FailureClass::Storage, format!("upload {number} is gone")));
        }
        for (number, task) in uploads {
            if self.is_unlucky(5) {
                return failed(id);
            }
            let upload = self.uploads.iter().find(|upload| upload.number == number).copied();
            if let Some(upload) = upload.filter(|_| !is_shown(self, task)) {
                let before = self.objects.insert((manifest, generation, task), upload.attempt);
                self.check(before.is_none(), &format!("{id}: task {task} is published twice"));
            }
            self.uploads.retain(|upload| upload.number != number);
        }
        if self.is_unlucky(10) {
            return failed(id);
        }
        // The output it takes the place of goes last.
        self.objects.retain(|(of, number, _), _| *of != manifest || *number >= generation);
        let is_newest = self.run(&id).is_some_and(|run| run.generation == generation);
        if is_newest {
            self.check_published(&id, manifest);
        }
        if !self.is_unlucky(10) {
            self.uploads.retain(|upload| upload.manifest != manifest || upload.attempt > commit.attempt);
        }
        Event::Published(id)
    }

    /// An upload that a commit names, and that is neither there nor shown.
    pub(super) fn lost(&self, manifest: usize, commit: &Commit) -> Option<u64> {
        let (uploads, generation): Record = serde_json::from_str(&commit.record).unwrap();
        let lost = uploads.into_iter().find(|(number, task)| {
            let is_shown = self.objects.get(&(manifest, generation, *task)) == Some(&commit.attempt);
            !is_shown && self.uploads.iter().all(|upload| upload.number != *number)
        });
        lost.map(|(number, _)| number)
    }

    /// Takes back what is left of outputs that were given up; false if the store does not tell of them.
    pub(super) fn take_back(&mut self, id: &ManifestId) -> bool {
        let Asked::Answered(replaced) = self.ask(self.store.replaced(id)) else { return false };
        let manifest = self.index(id);
        for replaced in replaced.unwrap().into_iter().filter(|replaced| replaced.is_superseded) {
            let (uploads, generation): Record = serde_json::from_str(&replaced.commit.record).unwrap();
            for (number, task) in uploads {
                self.uploads.retain(|upload| upload.number != number);
                self.objects.remove(&(manifest, generation, task));
            }
        }
        true
    }

    /// Removes what the sweep before saw as over, some time ago, then looks again.
    pub(super) fn sweep(&mut self) {
        for (manifest, attempts) in std::mem::take(&mut self.over) {
            self.uploads.retain(|upload| upload.manifest != manifest || upload.attempt > attempts);
        }
        let Some(n) = self.awake() else { return };
        for manifest in 0..self.manifests.len() {
            let id = self.manifests[manifest].id.clone();
            let over = self.run(&id).filter(|run| run.state.is_final() && !self.processes[n].machine.has(&id));
            self.over.extend(over.map(|run| (manifest, run.attempts)));
        }
    }
}

/// The process has lost the lock of the runs.
struct Deposed;

fn answer<T>(id: &ManifestId, asked: Asked<T>, event: impl FnOnce(T) -> Event) -> Result<Option<Event>, Deposed> {
    Ok(Some(match asked {
        Asked::Lost => Event::Unanswered(id.clone()),
        Asked::Answered(Ok(value)) => event(value),
        Asked::Answered(Err(TrackingError::LockLost { .. })) => return Err(Deposed),
        Asked::Answered(Err(error @ (TrackingError::Conflict { .. } | TrackingError::Taken { .. }))) => {
            Event::Refused(id.clone(), Failure::new(FailureClass::Input, error))
        }
        Asked::Answered(Err(error)) => panic!("{error}"),
    }))
}
