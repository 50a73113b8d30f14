//! What happens to schedulers and executors, and what people ask for.

use super::*;

impl World {
    pub(super) fn step(&mut self) {
        self.clock += 1 + self.random.below(400) as i64;
        match self.random.below(100) {
            0..35 => self.deliver(),
            35..65 => self.act(),
            65..85 => self.work(),
            85..88 => self.start_process(),
            88..90 => self.renew(),
            90..92 if self.is_rough => self.kill_process(),
            92 if self.is_rough => self.pause_process(),
            93..95 if self.is_rough => self.kill_executor(),
            95..98 if self.is_rough => self.request(),
            98 => self.sweep(),
            99 if self.is_rough => self.vanish(),
            _ => self.deliver(),
        }
    }

    pub(super) fn awake(&self) -> Option<usize> {
        let awake: Vec<usize> =
            (0..self.processes.len()).filter(|n| self.processes[*n].paused_until <= self.clock).collect();
        (!awake.is_empty()).then(|| awake[self.random.below(awake.len())])
    }

    pub(super) fn start_process(&mut self) {
        let now = self.now();
        let Some(lock) = block_on(self.store.lock(LOCK, "p", Duration::seconds(LOCK_TTL_SECONDS), now)).unwrap() else {
            return;
        };
        let limits = Limits {
            max_concurrent_runs: 1 + self.random.below(3),
            max_retries: 2,
            run_timeout: Duration::seconds(60),
            max_silent_attempts: 50,
        };
        self.note(format!("process {} starts", lock.token));
        self.processes.push(Process {
            machine: Machine::new(limits),
            lock,
            mailbox: VecDeque::new(),
            doing: Vec::new(),
            conversions: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            committed: BTreeMap::new(),
            paused_until: 0,
        });
    }

    pub(super) fn renew(&mut self) {
        let Some(n) = self.awake() else { return };
        let now = self.now();
        match block_on(self.store.renew(&self.processes[n].lock, Duration::seconds(LOCK_TTL_SECONDS), now)) {
            Ok(lock) => self.processes[n].lock = lock,
            Err(TrackingError::LockLost { .. }) => self.end_process(n),
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn end_process(&mut self, n: usize) {
        let process = self.processes.remove(n);
        self.note(format!("process {} ends", process.lock.token));
        // Its engine is gone, too: the executors may or may not hear of it.
        self.orphan_tasks();
    }

    pub(super) fn kill_process(&mut self) {
        if !self.processes.is_empty() {
            // It dies in the middle of things, some of which have happened.
            let n = self.random.below(self.processes.len());
            if self.random.percent(50) {
                self.perform_next(n);
            }
            if n < self.processes.len() {
                self.end_process(n);
            }
        }
    }

    pub(super) fn pause_process(&mut self) {
        if let Some(n) = self.awake() {
            self.processes[n].paused_until = self.clock + 1000 * (1 + self.random.below(40) as i64);
        }
    }

    pub(super) fn orphan_tasks(&mut self) {
        let random = &self.random;
        self.tasks.retain(|_| random.percent(60));
    }

    pub(super) fn kill_executor(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let task = self.tasks.remove(self.random.below(self.tasks.len()));
        // The engine gives it to another executor, or gives up.
        if self.random.percent(60) {
            self.tasks.push(Task { upload: None, is_done: false, ..task });
        } else {
            let failure = Failure::new(FailureClass::LostExecutor, "an executor is lost");
            self.fail_conversion(task.manifest, task.attempt, &failure);
        }
    }

    pub(super) fn fail_conversion(&mut self, manifest: usize, attempt: u32, failure: &Failure) {
        let id = self.manifests[manifest].id.clone();
        for process in &mut self.processes {
            if process.conversions.get(&id).is_some_and(|conversion| conversion.attempt == attempt) {
                process.conversions.remove(&id);
                process.mailbox.push_back(Event::AttemptFailed(id.clone(), attempt, failure.clone()));
            }
        }
    }

    /// Somebody removes an upload that they know nothing of.
    fn vanish(&mut self) {
        let uploads: Vec<Upload> = self.uploads.iter().copied().collect();
        if !uploads.is_empty() {
            let upload = uploads[self.random.below(uploads.len())];
            self.note(format!("upload {} vanishes", upload.number));
            self.uploads.remove(&upload);
            self.vanished.insert(upload.number);
        }
    }

    /// Somebody asks for a committed run whose output is lost to be converted anew.
    fn give_up(&mut self, id: &ManifestId) {
        let Asked::Answered(Ok(Some(commit))) = self.ask(self.store.unpublished(id)) else { return };
        if let Some(number) = self.lost(self.index(id), &commit) {
            let failure = Failure::new(FailureClass::Storage, format!("upload {number} is gone, as somebody says"));
            let now = self.now();
            if let Asked::Answered(Ok(())) = self.ask(self.store.supersede(id, commit.attempt, &failure, None, now)) {
                self.note(format!("{id} is given up"));
            }
        }
    }

    /// Somebody asks for something.
    pub(super) fn request(&mut self) {
        let n = self.random.below(self.manifests.len());
        let (id, now) = (self.manifests[n].id.clone(), self.now());
        match self.random.below(10) {
            0..6 => {
                let queued = QueuedManifest { manifest: self.manifests[n].clone(), uri: "inline".to_owned() };
                if let Asked::Answered(Ok(_)) = self.ask(self.store.submit(&queued, 0, now)) {
                    self.tell_all(&Event::Queued { is_urgent: false });
                }
            }
            6 => {
                if !self.take_back(&id) {
                    return;
                }
                if let Asked::Answered(Ok(state)) = self.ask(self.store.cancel(&id, now)) {
                    self.note(format!("cancel {id}: {state}"));
                    self.tell_all(&Event::Cancel(id));
                }
            }
            7 => self.give_up(&id),
            8 => {
                let _ = self.ask(self.store.requeue(&id, now));
            }
            _ => {
                if let Asked::Answered(Ok(())) = self.ask(self.store.force(&id, now)) {
                    self.note(format!("force {id}"));
                }
            }
        }
    }

    pub(super) fn tell_all(&mut self, event: &Event) {
        for process in &mut self.processes {
            process.mailbox.push_back(event.clone());
        }
    }

    pub(super) fn deliver(&mut self) {
        let (Some(n), now) = (self.awake(), self.now()) else { return };
        let process = &mut self.processes[n];
        let event = match process.mailbox.len() {
            0 => Event::Tick,
            // Any of them: they come from tasks of their own.
            len => process.mailbox.remove(self.random.below(len)).unwrap(),
        };
        let told = format!("{} hears {event:?}", process.lock.token);
        let actions = process.machine.step(event, now);
        let rests = process.machine.wakes_at().is_none_or(|at| at > now);
        for action in actions {
            match &action {
                Action::Forget(id) => {
                    process.conversions.remove(id);
                    process.outcomes.remove(id);
                    process.committed.remove(id);
                }
                _ => process.doing.push(action),
            }
        }
        self.note(told);
        self.check(rests, "it wants to be woken at once, without end");
    }
}
