//! Questions to the scheduler, and how often they are asked.

use super::change::Wish;
use super::model::{Details, Entry, Main, Model, Slow};
use crate::client::Client;
use crate::trouble::Trouble;
use chrono::Utc;
use futures::StreamExt;
use futures::future::try_join_all;
use millwork_api::{
    AnyOf, DateQuery, Dates, EventData, Executors, Plan, PlanRequest, Run, RunChange, RunDetail, RunProgress, RunQuery,
    Schedulers, Select, Series, SeriesName, SeriesQuery, Stats, path,
};
use millwork_diagnosis::{Diagnosis, Subject};
use millwork_manifest::RunState;
use millwork_scheduler::Attention;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Limit of the time that an answer takes: without one by then, the scheduler counts as away.
const ANSWER: Duration = Duration::from_secs(10);
/// Pause between two questions for what is costly, or changes slowly.
const SELDOM: Duration = Duration::from_secs(15);
/// Pause after a refusal: a scheduler lets nobody in who shows wrong tokens too often.
const REFUSED: Duration = Duration::from_secs(15);
/// States of the runs that are shown, each with the limit of their number.
const STATES: [(RunState, usize); 6] = [
    (RunState::Committing, 50),
    (RunState::Running, 100),
    (RunState::Planning, 50),
    (RunState::Queued, 100),
    (RunState::Failed, 20),
    (RunState::Completed, 50),
];
/// Limit of the runs that are asked for their progress.
const MAX_PROGRESS: usize = 20;
/// Questions that are asked at once.
const AT_ONCE: usize = 4;

/// Parts of the view that somebody looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Want {
    /// True if dates are shown.
    pub(super) dates: bool,
    /// Subject that is shown in detail.
    pub(super) about: Option<Subject>,
    /// True if everything stays as it is.
    pub(super) paused: bool,
}

/// Answers of the scheduler.
pub(super) enum Told {
    Main(Box<anyhow::Result<Main>>),
    Slow(Box<Slow>),
    /// A run has changed.
    Event(Box<RunChange>),
    /// Plan that was made or applied, as was wished.
    Plan(Box<anyhow::Result<Plan>>),
}

/// Asks a scheduler.
pub(super) struct Asker {
    client: Client,
    /// True if the last question had no answer.
    is_away: AtomicBool,
}

impl Asker {
    pub(super) fn new(client: Client) -> Self {
        Self { client, is_away: AtomicBool::new(false) }
    }

    /// Asks for everything once.
    pub(super) async fn all(&self) -> anyhow::Result<Model> {
        let main = self.main_in_time(None).await?;
        let mut model = Model::new(self.client.base(), main);
        model.take(self.slow(true, true).await);
        Ok(model)
    }

    /// Asks for what changes quickly. Whoever does not answer in time is away.
    async fn main_in_time(&self, about: Option<&Subject>) -> anyhow::Result<Main> {
        let answer = tokio::time::timeout(ANSWER, self.main(about)).await;
        let answer = answer.unwrap_or_else(|_| Err(Trouble::Silent(ANSWER).into()));
        self.is_away.store(answer.is_err(), Ordering::Relaxed);
        answer
    }

    async fn main(&self, about: Option<&Subject>) -> anyhow::Result<Main> {
        // Alone: who is not let in is told so once.
        let stats = self.client.get::<Stats>(path::STATS, &()).await?;
        let executors = self.client.get::<Executors>(path::EXECUTORS, &());
        let (executors, runs) = tokio::try_join!(executors, self.runs())?;
        let runs = self.with_progress(Entry::in_order(runs)).await;
        let details = match about {
            Some(about) => self.details(about).await,
            None => None,
        };
        Ok(Main { at: Utc::now(), stats, executors: executors.items, runs, details })
    }

    /// Runs that have not ended, and those that failed or were completed last.
    async fn runs(&self) -> anyhow::Result<Vec<Run>> {
        let page = |(state, limit): (RunState, usize)| {
            let query = RunQuery { state: AnyOf::from(state), ..RunQuery::default() };
            self.client.list::<Run>(path::RUNS, query, limit)
        };
        let pages = try_join_all(STATES.map(page)).await?;
        Ok(pages.into_iter().flat_map(|(runs, _)| runs).collect())
    }

    /// Adds how far the first of the runs are that are in work.
    async fn with_progress(&self, mut runs: Vec<Entry>) -> Vec<Entry> {
        let in_work = runs.iter_mut().filter(|entry| entry.is_in_work()).take(MAX_PROGRESS);
        futures::stream::iter(in_work)
            .for_each_concurrent(AT_ONCE, |entry| async move {
                entry.progress = self.progress(entry.run.manifest_id.as_str()).await;
            })
            .await;
        runs
    }

    async fn progress(&self, id: &str) -> Option<RunProgress> {
        let detail: RunDetail = self.client.get(&path::run(id), &()).await.ok()?;
        // The stages have each task and the plan, which a line has no room for.
        detail.progress.map(|progress| RunProgress { stages: Vec::new(), ..progress })
    }

    /// All that is known of one subject; none, if it cannot be found out now.
    async fn details(&self, about: &Subject) -> Option<Details> {
        let why = match about {
            Subject::Run(id) => path::run_part(id, "why"),
            Subject::Date(date) => path::date_why(date),
            Subject::Executor(id) => path::executor_why(id),
            Subject::File(_) => return None,
        };
        let run: Option<RunDetail> = match about {
            Subject::Run(id) => self.client.get(&path::run(id), &()).await.ok(),
            _ => None,
        };
        let why: Diagnosis = self.client.get(&why, &()).await.ok()?;
        Some(Details { about: about.clone(), run, why })
    }

    /// Asks for what is costly, or changes slowly. What cannot be found out now stays as it was.
    async fn slow(&self, with_dates: bool, with_rest: bool) -> Slow {
        let mut slow = Slow::default();
        if with_dates {
            slow.dates = self.part::<Dates>(path::DATES, &DateQuery::default()).await.map(|dates| dates.items);
        }
        if with_rest {
            let hour = SeriesQuery { name: SeriesName::ThroughputIn, from: None, to: None, step: None };
            let (attention, series, schedulers) = tokio::join!(
                self.part::<Attention>(path::ATTENTION, &()),
                self.part::<Series>(path::SERIES, &hour),
                self.part::<Schedulers>(path::SCHEDULERS, &()),
            );
            slow.attention = attention;
            slow.throughput = series.map(|series| series.points);
            slow.leader = schedulers.map(|all| all.items.into_iter().find(|one| one.leads).map(|one| one.name));
        }
        slow
    }

    async fn change(&self, wish: Wish) -> anyhow::Result<Plan> {
        match wish {
            Wish::Plan(action, id) => {
                let request = PlanRequest { action, select: Select::Ids(vec![id]), reason: None };
                self.client.post(path::PLANS, &(), &request).await
            }
            Wish::Apply(id) => crate::plans::applied(&self.client, &id).await,
        }
    }

    async fn part<T: DeserializeOwned>(&self, path: &str, query: &impl serde::Serialize) -> Option<T> {
        tokio::time::timeout(ANSWER, self.client.get(path, query)).await.ok()?.ok()
    }
}

/// The way to those who ask.
pub(super) struct Asks {
    asker: Arc<Asker>,
    want: watch::Sender<Want>,
    tell: mpsc::Sender<Told>,
}

impl Asks {
    /// Says what somebody looks at.
    pub(super) fn want(&self, wanted: Want) {
        self.want.send_if_modified(|want| std::mem::replace(want, wanted.clone()) != wanted);
    }

    /// Has a plan made or applied; the answer is told.
    pub(super) fn change(&self, wish: Wish) {
        let (asker, tell) = (self.asker.clone(), self.tell.clone());
        tokio::spawn(async move {
            let plan = asker.change(wish).await;
            // Nobody may want to hear it any more.
            let _ = tell.send(Told::Plan(Box::new(plan))).await;
        });
    }
}

/// Asks again and again, and listens, until nobody wants to hear it.
pub(super) fn start(asker: Asker, every: Duration) -> (Asks, mpsc::Receiver<Told>) {
    let (want, wants) = watch::channel(Want::default());
    let (tell, told) = mpsc::channel(16);
    let asker = Arc::new(asker);
    tokio::spawn(often(asker.clone(), every, wants.clone(), tell.clone()));
    tokio::spawn(seldom(asker.clone(), wants, tell.clone()));
    tokio::spawn(listen(asker.clone(), tell.clone()));
    (Asks { asker, want, tell }, told)
}

/// Hands on changes of runs. A scheduler that goes is listened to again; what happened meanwhile is not told, only shown in the runs.
async fn listen(asker: Arc<Asker>, tell: mpsc::Sender<Told>) {
    while !tell.is_closed() {
        let heard = asker.client.listen(|event| {
            if let EventData::Run(change) = event {
                // A screen that falls behind shows fewer of them.
                let _ = tell.try_send(Told::Event(change.clone()));
            }
        });
        tokio::select! {
            _ = heard => tokio::time::sleep(SELDOM).await,
            () = tell.closed() => return,
        }
    }
}

async fn often(asker: Arc<Asker>, every: Duration, mut wants: watch::Receiver<Want>, tell: mpsc::Sender<Told>) {
    loop {
        let want = wants.borrow_and_update().clone();
        if !want.paused {
            let main = asker.main_in_time(want.about.as_ref()).await;
            let is_refused = main.as_ref().is_err_and(is_refusal);
            if tell.send(Told::Main(Box::new(main))).await.is_err() {
                return;
            }
            if is_refused {
                tokio::time::sleep(REFUSED).await;
            }
        }
        if !wait(every, &mut wants).await {
            return;
        }
    }
}

async fn seldom(asker: Arc<Asker>, mut wants: watch::Receiver<Want>, tell: mpsc::Sender<Told>) {
    let mut due = Instant::now() + SELDOM;
    loop {
        let want = wants.borrow_and_update().clone();
        let is_due = due <= Instant::now();
        let has_to_wait = want.paused || asker.is_away.load(Ordering::Relaxed);
        if !has_to_wait && (is_due || want.dates) {
            let slow = asker.slow(want.dates, is_due).await;
            if tell.send(Told::Slow(Box::new(slow))).await.is_err() {
                return;
            }
            if is_due {
                due = Instant::now() + SELDOM;
            }
        }
        if !wait(SELDOM, &mut wants).await {
            return;
        }
    }
}

/// Waits so long, or until something else is wanted; whether anybody still listens.
async fn wait(pause: Duration, wants: &mut watch::Receiver<Want>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        changed = wants.changed() => changed.is_ok(),
    }
}

/// Tells whether the scheduler is there, and does not want to answer.
fn is_refusal(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Trouble>(), Some(Trouble::Refused { status, .. }) if status.is_client_error())
}

/// Reason for which there was no answer, in a few words.
pub(super) fn reason_of(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Trouble>() {
        Some(Trouble::Unreachable { reason, .. }) => reason.clone(),
        Some(Trouble::Silent(_)) => "no answer came in time".to_owned(),
        _ => format!("{error:#}"),
    }
}
