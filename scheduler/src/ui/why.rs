//! Diagnoses on pages.

use super::asked::Asked;
use crate::api::Api;
use chrono::Utc;
use millwork_diagnosis::{AttentionItem, Diagnosis, Standing, Subject};
use millwork_manifest::{DatePrefix, ManifestId, ObjectUri};
use millwork_ui::Markup;
use millwork_ui::frame::Tone;
use millwork_ui::pages::overview::Concern;
use millwork_ui::parts::{link, why};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time that a diagnosis may take on a page; one that takes longer is left out.
const TIME: Duration = Duration::from_secs(3);

/// Multiple of the time that the last look took, for which its result is shown again: looks take a fiftieth of a core at most, however many
/// pages are watched.
const REST: u32 = 50;
/// The shortest and the longest time for which a result is shown again.
const RESTS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(15));
/// Time of a look that a page waits for. With a state so large that it takes longer, the last result is shown while the next is made.
const QUICK: Duration = Duration::from_millis(25);
/// Age of a result that is not shown any more.
const TOO_OLD: Duration = Duration::from_secs(60);

/// Findings that need a person, as of the last look: one for all pages of a scheduler.
#[derive(Clone, Default)]
pub(crate) struct Concerns(Arc<Shared>);

#[derive(Default)]
struct Shared {
    known: Mutex<Option<Known>>,
    /// Held by who looks.
    looking: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Clone)]
struct Known {
    at: Instant,
    took: Duration,
    found: Option<Vec<Concern>>,
}

impl Known {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < (self.took * REST).clamp(RESTS.0, RESTS.1)
    }

    fn can_be_shown_meanwhile(&self) -> bool {
        self.took > QUICK && self.at.elapsed() < TOO_OLD
    }
}

impl Concerns {
    fn known(&self) -> Option<Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Finds what needs a person; none, if that could not be found out in time. Many tabs ask at once, after an event: they share one look.
    pub(super) async fn now(&self, api: &Api) -> Option<Vec<Concern>> {
        match self.known() {
            Some(known) if known.is_fresh() => return known.found,
            Some(known) if known.can_be_shown_meanwhile() => {
                // Unless somebody looks already.
                if let Ok(turn) = self.0.looking.clone().try_lock_owned() {
                    let (this, api) = (self.clone(), api.clone());
                    tokio::spawn(async move {
                        this.look(&api).await;
                        drop(turn);
                    });
                }
                return known.found;
            }
            _ => {}
        }
        let _turn = self.0.looking.lock().await;
        match self.known() {
            Some(known) if known.is_fresh() => known.found,
            _ => self.look(api).await,
        }
    }

    async fn look(&self, api: &Api) -> Option<Vec<Concern>> {
        let at = Instant::now();
        let attention = tokio::time::timeout(TIME, api.service.inspector().attention(Utc::now())).await;
        let found: Option<Vec<Concern>> =
            attention.ok().and_then(Result::ok).map(|attention| attention.items.iter().map(concern).collect());
        let known = Known { at: Instant::now(), took: at.elapsed(), found: found.clone() };
        *self.0.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        found
    }
}

/// A diagnosis, if it comes in time. What goes wrong with it leaves the rest of the page.
async fn in_time<E>(found: impl Future<Output = Result<Diagnosis, E>>) -> Option<Diagnosis> {
    tokio::time::timeout(TIME, found).await.ok()?.ok()
}

fn shown(asked: &Asked, diagnosis: &Diagnosis, title: &str) -> Markup {
    why::why(diagnosis, title, &asked.viewer, &asked.path, asked.now)
}

pub(super) async fn of_file(asked: &Asked, api: &Api, uri: &ObjectUri) -> Option<Markup> {
    let diagnosis = in_time(api.service.inspector().file(uri, asked.now)).await?;
    let title = if diagnosis.standing == Standing::Settled { "Where is it?" } else { "Why is it not done?" };
    Some(shown(asked, &diagnosis, title))
}

/// That of a run that is not completed.
pub(super) async fn of_run(asked: &Asked, api: &Api, id: &ManifestId) -> Option<Markup> {
    let diagnosis = in_time(api.service.inspector().run(id, asked.now)).await?;
    (diagnosis.standing != Standing::Settled).then(|| shown(asked, &diagnosis, "Why is it not done?"))
}

pub(super) async fn of_date(asked: &Asked, api: &Api, date: DatePrefix) -> Option<Markup> {
    let diagnosis = in_time(api.service.inspector().date(date, asked.now)).await?;
    Some(shown(asked, &diagnosis, "Is it done?"))
}

/// The sentence of one subject, which it names: a file by the last part of its address.
fn sentence_with_name(item: &AttentionItem) -> String {
    let name = item.subjects.first().map(Subject::name).unwrap_or_default();
    let short = name.rsplit('/').next().unwrap_or(name);
    match short.is_empty() || item.sentence.contains(short) {
        true => item.sentence.clone(),
        false => format!("{short}: {}", item.sentence),
    }
}

fn concern(item: &AttentionItem) -> Concern {
    let title = match item.count {
        1 => sentence_with_name(item),
        n => format!("{n} × {}: {}", item.code.as_str(), item.cause),
    };
    let detail = match item.count {
        1 => item.next.what.clone(),
        _ => item.sentence.clone(),
    };
    let link = match item.subjects.first() {
        Some(Subject::File(uri)) => link::file_path(uri),
        Some(Subject::Run(id)) => link::run_path(id),
        Some(Subject::Date(date)) => link::date_path(date),
        Some(Subject::Executor(_)) | None => "/ui/cluster".to_owned(),
    };
    let tone = if item.next.by_itself { Tone::Warn } else { Tone::Bad };
    Concern { tone, title, detail, since: item.since, link }
}
