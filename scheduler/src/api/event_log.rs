//! Log of events: sent to all listeners, the latest ones kept for listeners that reconnect.
//!
//! Changes of runs are numbered, and the last 10,000 are kept: a listener that reconnects with `Last-Event-ID`
//! gets those it missed. Progress and statistics are not kept, since later events supersede them.

use super::Api;
use super::{show, stats};
use crate::changes::Change;
use crate::service::News;
use chrono::Utc;
use millwork_api::{EventData, Lagged, Stats, Topic};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};

/// Limit of the changes that are kept: ten seconds at two hundred runs a second, each with five changes; about 15 MB.
const REMEMBERED: usize = 10_000;
/// Limit of the events that a slow listener may lag behind.
const BEHIND: usize = 4096;
/// Interval at which statistics are checked for changes.
const LOOK_AT_STATS: Duration = Duration::from_secs(3);

/// An event that was sent.
pub(super) struct Told {
    /// Number of the event; `None` if it is not kept.
    pub(super) number: Option<u64>,
    pub(super) topic: Topic,
    pub(super) name: &'static str,
    pub(super) data: String,
}

/// Point from which a listener wants events.
#[derive(Clone, Copy)]
pub(super) enum Since<'a> {
    /// From now on: earlier events are not sent.
    Now,
    /// From the first event: the listener was connected while this process was a standby.
    Start,
    /// After the event with this id.
    Id(&'a str),
}

/// Sender of events, and the latest ones.
pub(super) struct EventLog {
    /// Id of this process's lifetime, which distinguishes its numbers from those of an earlier process.
    life: String,
    last: Mutex<Last>,
    sender: Sender<Arc<Told>>,
}

#[derive(Default)]
struct Last {
    number: u64,
    events: VecDeque<Arc<Told>>,
}

impl EventLog {
    pub(super) fn new() -> Self {
        let life = format!("{:x}", Utc::now().timestamp_millis());
        Self { life, last: Mutex::default(), sender: broadcast::channel(BEHIND).0 }
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of the latest change of a run.
    pub(super) fn number(&self) -> u64 {
        self.last().number
    }

    /// Id of an event, if it is kept.
    pub(super) fn id(&self, told: &Told) -> Option<String> {
        told.number.map(|number| format!("{}-{number}", self.life))
    }

    /// Subscribes to events. Also returns those since the given point; `None` if they are no longer kept.
    pub(super) fn listen(&self, since: Since<'_>) -> (Receiver<Arc<Told>>, Option<Vec<Arc<Told>>>) {
        let last = self.last();
        // Events sent meanwhile wait for the lock, so that none is lost or duplicated.
        let receiver = self.sender.subscribe();
        let number = match since {
            Since::Now => return (receiver, Some(Vec::new())),
            Since::Start => Some(0),
            Since::Id(id) => {
                let of_this_life = id.split_once('-').filter(|(life, _)| *life == self.life);
                of_this_life.and_then(|(_, number)| number.parse().ok())
            }
        };
        let first = last.events.front().and_then(|told| told.number).unwrap_or(last.number + 1);
        let is_known = |number: &u64| *number <= last.number && *number + 1 >= first;
        let missed = number
            .filter(is_known)
            .map(|number: u64| last.events.iter().filter(|told| told.number > Some(number)).cloned().collect());
        (receiver, missed)
    }

    fn tell(&self, topic: Topic, event: &EventData) {
        let Ok(data) = serde_json::to_string(event) else { return };
        let (name, mut last) = (event.name(), self.last());
        let number = (topic == Topic::Run).then(|| {
            last.number += 1;
            last.number
        });
        let told = Arc::new(Told { number, topic, name, data });
        if number.is_some() {
            last.events.push_back(told.clone());
            if last.events.len() > REMEMBERED {
                last.events.pop_front();
            }
        }
        // There may be no listener.
        let _ = self.sender.send(told);
    }

    fn has_listeners(&self) -> bool {
        self.sender.receiver_count() > 0
    }
}

/// Sends events, from when this process becomes the leader.
pub(super) async fn keep(api: Api) {
    let Some(News { mut changes, mut progresses, ended }) = api.service.news().await else { return };
    tokio::spawn(api.numbers.clone().add_up(ended));
    let mut look = tokio::time::interval(LOOK_AT_STATS);
    let mut shown: Option<Stats> = None;
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Ok(change) => tell_change(&api, change).await,
                Err(RecvError::Lagged(missed)) => {
                    api.events.tell(Topic::Run, &EventData::Lagged(Lagged { missed }));
                }
                Err(RecvError::Closed) => return,
            },
            progress = progresses.recv() => {
                if let Ok(progress) = progress && api.events.has_listeners() {
                    api.events.tell(Topic::Progress, &EventData::Progress(Box::new((*progress).clone())));
                }
            }
            _ = look.tick() => tell_stats(&api, &mut shown),
        }
    }
}

async fn tell_change(api: &Api, change: Change) {
    let run = match api.events.has_listeners() {
        true => api.service.store().run_head(&change.manifest_id).await.ok().flatten(),
        false => None,
    };
    api.events.tell(Topic::Run, &EventData::Run(Box::new(show::change(change, run))));
}

/// Sends the statistics, if there is a listener and they have changed.
fn tell_stats(api: &Api, shown: &mut Option<Stats>) {
    if !api.events.has_listeners() {
        return;
    }
    let now = stats::latest_stats(api);
    let timeless = Stats { uptime_seconds: 0, runs_counted_at: None, files_counted_at: None, ..now.clone() };
    if shown.replace(timeless.clone()) != Some(timeless) {
        api.events.tell(Topic::Stats, &EventData::Stats(Box::new(now)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lagged(log: &EventLog, missed: u64) {
        log.tell(Topic::Run, &EventData::Lagged(Lagged { missed }));
    }

    #[test]
    fn who_comes_back_is_told_what_was_missed_or_that_nobody_knows() {
        let log = EventLog::new();
        lagged(&log, 1);
        let (_, missed) = log.listen(Since::Id(&format!("{}-0", log.life)));
        assert_eq!(missed.unwrap().len(), 1);
        assert_eq!(log.listen(Since::Start).1.unwrap().len(), 1);
        for number in 2..=(REMEMBERED as u64 + 10) {
            lagged(&log, number);
        }
        let after = |number: u64| log.listen(Since::Id(&format!("{}-{number}", log.life))).1.map(|missed| missed.len());
        assert_eq!(after(REMEMBERED as u64 + 10), Some(0));
        assert_eq!(after(REMEMBERED as u64 + 8), Some(2));
        assert_eq!(after(10), Some(REMEMBERED));
        assert_eq!(after(9), None, "forgotten");
        assert_eq!(after(REMEMBERED as u64 + 11), None, "never told");
        for other in ["", "1", "0-1", &format!("{}-x", log.life)] {
            assert!(log.listen(Since::Id(other)).1.is_none(), "{other}");
        }
        assert!(log.listen(Since::Now).1.unwrap().is_empty() && log.listen(Since::Start).1.is_none());
    }

    #[test]
    fn progress_takes_no_place_of_changes() {
        let log = EventLog::new();
        log.tell(Topic::Progress, &EventData::Lagged(Lagged { missed: 1 }));
        assert!(log.last().events.is_empty());
    }
}
