//! Requests to the scheduler, and their intervals.

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

/// Time limit for an answer, after which the scheduler counts as unreachable.
const ANSWER: Duration = Duration::from_secs(10);
/// Interval of requests that are expensive, or whose results change slowly.
const SELDOM: Duration = Duration::from_secs(15);
/// Pause after a refused token: a scheduler blocks addresses that send wrong tokens too often.
const REFUSED: Duration = Duration::from_secs(15);
/// States of the runs that are shown, each with a limit.
const STATES: [(RunState, usize); 6] = [
    (RunState::Committing, 50),
    (RunState::Running, 100),
    (RunState::Planning, 50),
    (RunState::Queued, 100),
    (RunState::Failed, 20),
    (RunState::Completed, 50),
];
/// Limit of the runs whose progress is requested.
const MAX_PROGRESS: usize = 20;
/// Limit of concurrent requests.
const AT_ONCE: usize = 4;

/// Parts of the view that need data.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Want {
    /// True if dates are shown.
    pub(super) dates: bool,
    /// Subject whose details are shown.
    pub(super) about: Option<Subject>,
    /// True if updates are paused.
    pub(super) paused: bool,
}

/// Data received from the scheduler.
pub(super) enum Told {
    Main(Box<anyhow::Result<Main>>),
    Slow(Box<Slow>),
    /// A run has changed.
    Event(Box<RunChange>),
    /// Result of making or applying a plan.
    Plan(Box<anyhow::Result<Plan>>),
}

/// Sender of requests to a scheduler.
pub(super) struct Asker {
    client: Client,
    /// True if the last request got no answer.
    is_away: AtomicBool,
}

impl Asker {
    pub(super) fn new(client: Client) -> Self {
        Self { client, is_away: AtomicBool::new(false) }
    }

    /// Requests everything once.
    pub(super) async fn all(&self) -> anyhow::Result<Model> {
        let main = self.main_in_time(None).await?;
        let mut model = Model::new(self.client.base(), main);
        model.take(self.slow(true, true).await);
        Ok(model)
    }

    /// Requests data that changes quickly. Without an answer in time, the scheduler counts as unreachable.
    async fn main_in_time(&self, about: Option<&Subject>) -> anyhow::Result<Main> {
        let answer = tokio::time::timeout(ANSWER, self.main(about)).await;
        let answer = answer.unwrap_or_else(|_| Err(Trouble::Silent(ANSWER).into()));
        self.is_away.store(answer.is_err(), Ordering::Relaxed);
        answer
    }

    async fn main(&self, about: Option<&Subject>) -> anyhow::Result<Main> {
        // Requested first and alone, so that a refused token counts only once.
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

    /// Open runs, and the latest failed and completed ones.
    async fn runs(&self) -> anyhow::Result<Vec<Run>> {
        let page = |(state, limit): (RunState, usize)| {
            let query = RunQuery { state: AnyOf::from(state), ..RunQuery::default() };
            self.client.list::<Run>(path::RUNS, query, limit)
        };
        let pages = try_join_all(STATES.map(page)).await?;
        Ok(pages.into_iter().flat_map(|(runs, _)| runs).collect())
    }

    /// Adds the progress of the first active runs.
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
        // Stages contain each task and the plan, which do not fit on a line.
        detail.progress.map(|progress| RunProgress { stages: Vec::new(), ..progress })
    }

    /// Details of a subject; `None` if the request fails.
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

    /// Requests data that is expensive, or changes slowly. Parts that fail keep their previous values.
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

/// Handle of the background requests.
pub(super) struct Asks {
    asker: Arc<Asker>,
    want: watch::Sender<Want>,
    tell: mpsc::Sender<Told>,
}

impl Asks {
    /// Sets the data that the view needs.
    pub(super) fn want(&self, wanted: Want) {
        self.want.send_if_modified(|want| std::mem::replace(want, wanted.clone()) != wanted);
    }

    /// Requests that a plan is made or applied; the result is sent as an answer.
    pub(super) fn change(&self, wish: Wish) {
        let (asker, tell) = (self.asker.clone(), self.tell.clone());
        tokio::spawn(async move {
            let plan = asker.change(wish).await;
            // The receiver may be gone.
            let _ = tell.send(Told::Plan(Box::new(plan))).await;
        });
    }
}

/// Starts periodic requests and the event stream, until the receiver is dropped.
pub(super) fn start(asker: Asker, every: Duration) -> (Asks, mpsc::Receiver<Told>) {
    let (want, wants) = watch::channel(Want::default());
    let (tell, told) = mpsc::channel(16);
    let asker = Arc::new(asker);
    tokio::spawn(often(asker.clone(), every, wants.clone(), tell.clone()));
    tokio::spawn(seldom(asker.clone(), wants, tell.clone()));
    tokio::spawn(listen(asker.clone(), tell.clone()));
    (Asks { asker, want, tell }, told)
}

/// Passes on changes of runs. Reconnects if the stream ends; changes missed meanwhile show only in the list of runs.
async fn listen(asker: Arc<Asker>, tell: mpsc::Sender<Told>) {
    while !tell.is_closed() {
        let heard = asker.client.listen(|event| {
            if let EventData::Run(change) = event {
                // Changes are dropped if the display falls behind.
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

/// Waits for a time, or until other data is needed. Returns whether the receiver still exists.
async fn wait(pause: Duration, wants: &mut watch::Receiver<Want>) -> bool {
    tokio::select! {
        () = tokio::time::sleep(pause) => true,
        changed = wants.changed() => changed.is_ok(),
    }
}

/// Tells whether the scheduler is reachable and refuses to answer.
fn is_refusal(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Trouble>(), Some(Trouble::Refused { status, .. }) if status.is_client_error())
}

/// Short reason for the missing answer.
pub(super) fn reason_of(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Trouble>() {
        Some(Trouble::Unreachable { reason, .. }) => reason.clone(),
        Some(Trouble::Silent(_)) => "no answer came in time".to_owned(),
        _ => format!("{error:#}"),
    }
}
