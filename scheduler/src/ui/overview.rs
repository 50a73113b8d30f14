//! Overview page.

use super::asked::{Asked, Shown};
use super::numbers;
use crate::api::{Api, ApiError, Shared, load_executors, load_runs, load_stats, sums};
use axum::extract::{Extension, State};
use axum::response::Response;
use chrono::Utc;
use millwork_api::{AnyOf, FilesInState, Limit, Page, Run, RunQuery, RunsInState, Stats};
use millwork_manifest::{FailureClass, FileState, RunState};
use millwork_tracking::FileTotal;
use millwork_ui::frame::{Section, Tone};
use millwork_ui::pages::dates;
use millwork_ui::pages::overview::{Concern, Overview, page, tone};

/// Number of runs of each kind that are loaded.
const SHOWN: usize = 12;

pub(super) async fn get_overview(
    asked: Asked,
    Extension(shared): Extension<Shared<Shown>>,
    State(api): State<Api>,
) -> Response {
    let here = api.clone();
    let made = shared.get(Some(api.last_change()), async move { overview(&here).await }).await;
    asked.answer(Section::Overview, made)
}

async fn overview(api: &Api) -> Result<Shown, ApiError> {
    let now = Utc::now();
    let executors = load_executors(api);
    let mut stats = load_stats(api).await;
    // Loaded concurrently, so that a store that does not answer costs one timeout.
    let (running, latest, totals, found, flow) = tokio::join!(
        newest(api, AnyOf::new(RunState::OPEN)),
        newest(api, AnyOf::default()),
        numbers::totals(api),
        super::why::concerns(api),
        numbers::flow(api, &stats.forecast, now),
    );
    let (running, latest, totals) = (running?, latest?.items, totals?);
    if running.next_cursor.is_none() {
        count_open(&mut stats, &running.items);
    }
    let running = running.items;
    // Same values as in the calendar on the page.
    stats.files = sums(&totals).into_iter().map(files_in_state).collect();
    stats.files_counted_at = Some(now);
    let dates = numbers::newest_first(totals);
    let concerns = match found {
        Ok(found) => with_cluster(found, &stats, &executors),
        Err(_) => concerns(&stats, &executors, &newest(api, AnyOf::from(RunState::Failed)).await?.items),
    };
    let overview = Overview {
        now,
        stats: &stats,
        concerns: &concerns,
        running: &running,
        latest: &latest,
        executors: &executors,
        input: None,
        flow,
        calendar: Some(dates::calendar(&dates, dates::FEW_WEEKS)),
        newest: dates.first().map(|date| (date.date.to_string(), date.said())),
        forecast: numbers::said(&stats.forecast, now),
    };
    Ok(Shown {
        json: Some(millwork_api::path::STATS.to_owned()),
        command: Some("millwork status".to_owned()),
        counted_at: stats.runs_counted_at,
        tone: tone(&overview),
        ..Shown::new("Overview", Section::Overview, page(&overview))
    })
}

/// Newest runs in these states.
async fn newest(api: &Api, state: AnyOf<RunState>) -> Result<Page<Run>, ApiError> {
    load_runs(api, RunQuery { state, limit: Limit(SHOWN), ..RunQuery::default() }).await
}

fn files_in_state((state, total): (FileState, FileTotal)) -> FilesInState {
    FilesInState { state, files: total.files, bytes: total.bytes }
}

/// Replaces the counts of open runs, which are some seconds old, by those of the loaded runs, so that a page is
/// consistent. Bytes stay as counted, with the mean size for files of unknown size.
fn count_open(stats: &mut Stats, open: &[Run]) {
    stats.runs.retain_mut(|count| {
        count.runs = open.iter().filter(|run| run.state == count.state).count() as u64;
        count.runs > 0
    });
    for run in open {
        if !stats.runs.iter().any(|count| count.state == run.state) {
            let of_state = || open.iter().filter(|other| other.state == run.state);
            stats.runs.push(RunsInState {
                state: run.state,
                runs: of_state().count() as u64,
                bytes: of_state().filter_map(|run| run.bytes).sum(),
                oldest: None,
            });
        }
    }
    if stats.runs.is_empty() {
        stats.backlog_seconds = None;
    }
    if !stats.runs.iter().any(|count| count.state == RunState::Queued) {
        stats.queue_age_seconds = None;
    }
}

/// Finds problems that need a person, from the loaded numbers, executors and failed runs.
fn concerns(stats: &Stats, executors: &millwork_api::Executors, failed: &[Run]) -> Vec<Concern> {
    let mut found: Vec<Concern> = of_cluster(stats, executors).into_iter().collect();
    for class in FailureClass::ALL {
        let of_class: Vec<&Run> =
            failed.iter().filter(|run| run.failure.as_ref().is_some_and(|failure| failure.class == class)).collect();
        if let Some(first) = of_class.first() {
            let more = if of_class.len() == SHOWN { " or more" } else { "" };
            found.push(Concern {
                tone: Tone::Bad,
                title: format!(
                    "{} run{}{more} failed: {class}",
                    of_class.len(),
                    if of_class.len() == 1 { "" } else { "s" },
                    class = class.as_str()
                ),
                detail: first.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default(),
                since: of_class.iter().map(|run| run.updated_at).min(),
                link: format!("/ui/runs?state=failed&class={}", class.as_str()),
            });
        }
    }
    let refused = stats.files.iter().find(|count| count.state == FileState::Quarantined).map_or(0, |count| count.files);
    if refused > 0 {
        found.push(Concern {
            tone: Tone::Warn,
            title: format!("{refused} file{} refused", if refused == 1 { "" } else { "s" }),
            detail: "they are in no output".to_owned(),
            since: None,
            link: "/ui/quarantine".to_owned(),
        });
    }
    found.sort_by_key(|concern| std::cmp::Reverse(concern.tone));
    found
}

/// Adds the problem of having no executors to others, gravest first.
fn with_cluster(mut found: Vec<Concern>, stats: &Stats, executors: &millwork_api::Executors) -> Vec<Concern> {
    found.extend(of_cluster(stats, executors));
    found.sort_by_key(|concern| std::cmp::Reverse(concern.tone));
    found
}

/// Problem of having no executors.
fn of_cluster(stats: &Stats, executors: &millwork_api::Executors) -> Option<Concern> {
    let waiting: u64 = stats.runs.iter().map(|count| count.runs).sum();
    (executors.leads && executors.items.is_empty()).then(|| Concern {
        tone: if waiting > 0 { Tone::Bad } else { Tone::Warn },
        title: "No executor is connected".to_owned(),
        detail: match waiting {
            0 => String::new(),
            1 => "1 run waits for one".to_owned(),
            _ => format!("{waiting} runs wait for one"),
        },
        since: None,
        link: "/ui/cluster".to_owned(),
    })
}
