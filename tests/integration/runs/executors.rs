//! Executors at work, and dying.

use super::*;

impl World {
    pub(super) fn work(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let n = self.random.below(self.tasks.len());
        if self.tasks[n].upload.is_none() {
            self.numbers += 1;
            let Task { manifest, attempt, task, .. } = self.tasks[n];
            let upload = Upload { manifest, attempt, task, number: self.numbers };
            self.uploads.insert(upload);
            self.tasks[n].upload = Some(upload);
        } else if !self.tasks[n].is_done {
            self.tasks[n].is_done = true;
            self.end_conversions();
        }
    }

    /// Conversions all of whose tasks are done come to their end.
    pub(super) fn end_conversions(&mut self) {
        for n in 0..self.processes.len() {
            for (id, conversion) in self.processes[n].conversions.clone() {
                let manifest = self.index(&id);
                let of_it =
                    |task: &&Task| task.manifest == manifest && task.attempt == conversion.attempt && task.is_done;
                let done: BTreeMap<usize, Upload> =
                    self.tasks.iter().filter(of_it).filter_map(|task| Some((task.task, task.upload?))).collect();
                if !conversion.is_planned || done.len() < self.manifests[manifest].files.len() {
                    continue;
                }
                let attempt = conversion.attempt;
                let event = match self.random.below(100) {
                    0..5 if self.is_rough => Event::NeedsReplan(id.clone(), attempt),
                    5..10 if self.is_rough => {
                        let failure = Failure::new(FailureClass::Storage, "storage does not answer");
                        Event::AttemptFailed(id.clone(), attempt, failure)
                    }
                    10..12 => {
                        let failure = Failure::new(FailureClass::Input, "truncated");
                        Event::AttemptFailed(id.clone(), attempt, failure)
                    }
                    _ => Event::Converted(id.clone(), attempt),
                };
                let process = &mut self.processes[n];
                process.conversions.remove(&id);
                process.outcomes.insert(id, done.into_values().collect());
                process.mailbox.push_back(event);
            }
        }
    }
}
