//! Redrive of dead letters to the queue that they came from. All letters of a step are received together, because SQS
//! cannot fetch a particular message: those before it have to be received as well.
//!
//! | crash | what remains | recovered by |
//! |---|---|---|
//! | while it receives | all letters, some of them hidden for ten seconds | applying the plan again |
//! | between sending a letter and deleting it | the message in both queues: it is handled twice, which changes nothing | applying the plan again |

use super::PlanError;
use super::found::{Looked, Made, planned, refused};
use crate::service::Service;
use millwork_api::{Change, ChangeResult, DeadLetterQuery, EventQueue, Select};
use millwork_diagnosis::shown;
use millwork_queue::{Letter, Letters, is_full};
use millwork_tracking::{BuilderNote, TrackingResult};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Limit of the letters of a queue that are received: 1,000, which can be sent back within the ten seconds
/// for which they are hidden.
const MAX_LETTERS: usize = 1000;
/// Time limit for receiving letters: 30 s.
const PATIENCE: Duration = Duration::from_secs(30);
/// Digits of the hash of a letter's body.
const MARK_DIGITS: usize = 16;
/// Reason why a letter is not found.
const AWAY: &str = "no such dead letter is seen: it was put back or handled, or somebody looks at it just now, which hides it for ten seconds";

/// URL of a queue, and of its dead-letter queue, if one is named.
type Urls = (String, Option<String>);

/// URLs of a queue: that of files from the latest heartbeat of a builder, that of manifests from this process.
async fn urls(service: &Service, queue: EventQueue) -> TrackingResult<Result<Urls, String>> {
    if queue == EventQueue::Manifests {
        let known = service.inspector().about.manifest_queue.clone();
        return Ok(known.ok_or_else(|| "this scheduler reads no queue of manifests (MANIFEST_QUEUE_URL)".to_owned()));
    }
    let builders = service.store().inspection().builders().await?;
    let known = builders.iter().filter_map(BuilderNote::about);
    let known = known.filter_map(|about| Some((about.queue_url?, about.dead_letter_queue_url))).next();
    Ok(known.ok_or_else(|| "no builder that reads a queue of files has shown itself".to_owned()))
}

/// Queue and message id of a subject: `files/4a1c9d0e-…`.
fn parsed(subject: &str) -> Option<(EventQueue, &str)> {
    let (queue, id) = subject.split_once('/')?;
    let queue = [EventQueue::Files, EventQueue::Manifests].into_iter().find(|known| known.as_str() == queue)?;
    (!id.is_empty()).then_some((queue, id))
}

fn version(letter: &Letter) -> String {
    let mut mark: String = Sha256::digest(&letter.body).iter().map(|byte| format!("{byte:02x}")).collect();
    mark.truncate(MARK_DIGITS);
    format!("{}.{mark}", letter.at_millis)
}

/// Received letters of a queue, hidden from other consumers until released.
pub(super) struct Received {
    letters: Letters,
    found: Vec<Letter>,
}

impl Received {
    /// Receives letters until all of these ids are among them, or all letters if no ids are given.
    async fn of(urls: &Urls, limit: usize, wanted: &BTreeSet<&str>) -> Result<Self, String> {
        let missing = AtomicUsize::new(wanted.len());
        let is_last =
            |letter: &Letter| wanted.contains(letter.id.as_str()) && missing.fetch_sub(1, Ordering::Relaxed) == 1;
        let look = async {
            let letters = Letters::open(&urls.0, urls.1.as_deref()).await?;
            let found = letters.look(limit, is_last).await?;
            anyhow::Ok(Self { letters, found })
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(received) => received.map_err(|error| shown(&format!("{error:#}"))),
            Err(_) => Err(format!("the queue did not answer within {} s", PATIENCE.as_secs())),
        }
    }

    /// Makes the remaining letters visible to other consumers again.
    async fn release(&mut self) {
        let found = std::mem::take(&mut self.found);
        if !found.is_empty() {
            self.letters.release(&found).await;
        }
    }
}

impl Service {
    /// Dead letters of a queue, up to a limit, or the reason why they cannot be received.
    pub(crate) async fn dead_letters(
        &self,
        queue: EventQueue,
        limit: usize,
    ) -> TrackingResult<Result<Vec<Letter>, String>> {
        let urls = match urls(self, queue).await? {
            Ok(urls) => urls,
            Err(why) => return Ok(Err(why)),
        };
        let mut received = match Received::of(&urls, limit, &BTreeSet::new()).await {
            Ok(received) => received,
            Err(why) => return Ok(Err(why)),
        };
        let letters = received.found.clone();
        received.release().await;
        Ok(Ok(letters))
    }
}

/// Examines the selected dead letters. Also returns whether there may be more.
pub(super) async fn look(service: &Service, select: &Select) -> Result<(Vec<Looked>, bool), PlanError> {
    match select {
        Select::Ids(ids) => Ok((look_at(service, ids).await?, false)),
        Select::DeadLetters(query) => look_for(service, query).await,
        _ => Err(PlanError::Bad(
            "`redrive-dead-letters` is for messages: select them by `dead-letters`, or name them as `ids`".to_owned(),
        )),
    }
}

async fn look_for(service: &Service, query: &DeadLetterQuery) -> Result<(Vec<Looked>, bool), PlanError> {
    let bad = |why: String| {
        PlanError::Bad(format!("the dead letters of {} cannot be looked at: {why}", query.queue.as_str()))
    };
    let urls = urls(service, query.queue).await?.map_err(bad)?;
    let mut received = Received::of(&urls, MAX_LETTERS, &BTreeSet::new()).await.map_err(bad)?;
    let is_meant = |letter: &&Letter| query.reason.as_ref().is_none_or(|reason| *reason == letter.reason);
    let looked = received.found.iter().filter(is_meant).map(|letter| change_of(query.queue, letter)).collect();
    let has_more = is_full(&received.found, MAX_LETTERS);
    received.release().await;
    Ok((looked, has_more))
}

async fn look_at(service: &Service, ids: &[String]) -> TrackingResult<Vec<Looked>> {
    let mut found = Prepared::new(service, ids.iter().map(String::as_str)).await?;
    let look = |id: &String| match found.letter(id) {
        Ok((queue, letter)) => change_of(queue, letter),
        Err(why) => refused(id, why),
    };
    let looked = ids.iter().map(look).collect();
    found.release().await;
    Ok(looked)
}

fn change_of(queue: EventQueue, letter: &Letter) -> Looked {
    let before = match letter.objects.first() {
        Some(uri) => format!("dead letter, {}, about {uri}", letter.reason),
        None => format!("dead letter, {}", letter.reason),
    };
    let after = format!("in the queue of {}, tried anew", queue.as_str());
    planned(&format!("{}/{}", queue.as_str(), letter.id), version(letter), (before, after), None)
}

/// Letters of a step, received together.
#[derive(Default)]
pub(super) struct Prepared {
    /// Letters by queue, or the reason why they cannot be received.
    queues: BTreeMap<&'static str, (EventQueue, Result<Received, String>)>,
}

impl Prepared {
    /// Receives the letters of these subjects.
    pub(super) async fn new<'a>(service: &Service, subjects: impl Iterator<Item = &'a str>) -> TrackingResult<Self> {
        let mut wanted: HashMap<&str, (EventQueue, BTreeSet<&str>)> = HashMap::new();
        for (queue, id) in subjects.filter_map(parsed) {
            wanted.entry(queue.as_str()).or_insert_with(|| (queue, BTreeSet::new())).1.insert(id);
        }
        let mut queues = BTreeMap::new();
        for (queue, ids) in wanted.into_values() {
            let received = match urls(service, queue).await? {
                Ok(urls) => Received::of(&urls, MAX_LETTERS, &ids).await,
                Err(why) => Err(why),
            };
            queues.insert(queue.as_str(), (queue, received));
        }
        Ok(Self { queues })
    }

    fn letter(&self, subject: &str) -> Result<(EventQueue, &Letter), String> {
        let (queue, id) =
            parsed(subject).ok_or_else(|| "it is no dead letter: `files/ID` or `manifests/ID`".to_owned())?;
        let (_, received) = self.queues.get(queue.as_str()).ok_or_else(|| AWAY.to_owned())?;
        let received = received.as_ref().map_err(Clone::clone)?;
        let letter = received.found.iter().find(|letter| letter.id == id).ok_or_else(|| AWAY.to_owned())?;
        Ok((queue, letter))
    }

    /// Sends a letter back, if it is unchanged.
    pub(super) async fn make(&mut self, change: &Change, is_repeated: bool) -> Made {
        let (queue, letter) = match self.letter(&change.subject) {
            Ok((queue, letter)) => (queue, letter.clone()),
            Err(why) if why == AWAY && is_repeated => {
                return (
                    ChangeResult::Done,
                    Some("before this was taken up again: it is no dead letter any more".to_owned()),
                );
            }
            Err(why) if why == AWAY => return (ChangeResult::Skipped, Some(why)),
            Err(why) => return (ChangeResult::Failed, Some(why)),
        };
        if version(&letter) != change.version {
            return (ChangeResult::Skipped, Some("it has changed since".to_owned()));
        }
        let Some((_, Ok(received))) = self.queues.get_mut(queue.as_str()) else {
            return (ChangeResult::Failed, Some(AWAY.to_owned()));
        };
        match received.letters.put_back(&letter).await {
            Ok(()) => {
                received.found.retain(|known| known.id != letter.id);
                (ChangeResult::Done, None)
            }
            Err(error) => (ChangeResult::Failed, Some(shown(&format!("{error:#}")))),
        }
    }

    /// Makes letters that were not sent back visible again.
    pub(super) async fn release(&mut self) {
        for (_, (_, received)) in std::mem::take(&mut self.queues) {
            if let Ok(mut received) = received {
                received.release().await;
            }
        }
    }
}
