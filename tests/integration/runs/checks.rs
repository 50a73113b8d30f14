//! What must hold.

use super::*;

impl World {
    pub(super) fn check(&self, holds: bool, what: &str) {
        if !holds {
            let log = self.log.iter().rev().take(120).rev().cloned().collect::<Vec<_>>().join("\n");
            panic!("{what}; what happened last:\n{log}");
        }
    }

    pub(super) fn check_published(&self, id: &ManifestId, manifest: usize) {
        let seen: BTreeSet<(u32, u32)> =
            self.objects.iter().filter(|((of, ..), _)| *of == manifest).map(|((_, g, _), a)| (*g, *a)).collect();
        self.check(seen.len() <= 1, &format!("{id}: readers see rows of several attempts: {seen:?}"));
        let state = self.run(id).unwrap().state;
        let is_committed = matches!(state, RunState::Committing | RunState::Completed);
        let is_replaced = self.run(id).unwrap().generation > 1;
        self.check(seen.is_empty() || is_committed || is_replaced, &format!("{id} is {state}, but published"));
    }

    pub(super) fn note(&mut self, what: String) {
        self.log.push(format!("{} {what}", self.clock));
    }

    /// Takes everything to its end, without further faults, and checks it.
    pub(super) fn finish(&mut self) {
        self.is_rough = false;
        for manifest in self.manifests.clone() {
            let queued = QueuedManifest { manifest, uri: "inline".to_owned() };
            let _ = block_on(self.store.submit(&queued, 0, self.now()));
        }
        let is_over = |world: &Self| {
            world.manifests.iter().all(|manifest| world.run(&manifest.id).is_some_and(|run| run.state.is_final()))
        };
        let mut steps = 0;
        // Asking is slow.
        while steps % 32 != 0 || !is_over(self) || self.processes.iter().any(|process| !process.machine.is_idle()) {
            self.step();
            steps += 1;
            self.check(steps < CALM_STEPS, "not all runs end");
        }
        // Tasks that outlive their attempts come to their end, then the sweep.
        while self.tasks.iter().any(|task| !task.is_done) {
            self.work();
            self.tasks.retain(|task| !task.is_done);
        }
        while !self.uploads.is_empty() {
            self.start_process();
            self.sweep();
            self.clock += 1000;
            steps += 1;
            self.check(steps < CALM_STEPS, &format!("uploads are left: {:?}", self.uploads));
        }
        for (n, manifest) in self.manifests.iter().enumerate() {
            self.check_end(n, manifest);
        }
    }

    pub(super) fn check_end(&self, n: usize, manifest: &Manifest) {
        let (id, run) = (&manifest.id, self.run(&manifest.id).unwrap());
        let seen: Vec<usize> = self.objects.keys().filter(|(of, ..)| *of == n).map(|(.., task)| *task).collect();
        let uris: Vec<_> = manifest.files.iter().map(|file| file.uri.clone()).collect();
        let files = block_on(self.store.files(&uris)).unwrap();
        let all_are = |state: FileState| files.iter().all(|file| file.as_ref().is_some_and(|file| file.state == state));
        match run.state {
            RunState::Completed => {
                let expected: Vec<usize> = (0..manifest.files.len()).collect();
                self.check(seen == expected, &format!("{id} is completed, but readers see {seen:?}"));
                self.check(all_are(FileState::Completed), &format!("{id} is completed, but not its files"));
                self.check(run.result.is_some(), &format!("{id} is completed without a result"));
            }
            state => {
                self.check(seen.is_empty(), &format!("{id} is {state}, but readers see {seen:?}"));
                self.check(all_are(FileState::Failed), &format!("{id} is {state}, but not its files"));
                self.check(run.failure.is_some(), &format!("{id} is {state} for no reason"));
            }
        }
        self.check_published(id, n);
    }
}
