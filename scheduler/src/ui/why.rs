//! Diagnoses on pages.

use super::asked::Asked;
use crate::api::{Api, ApiError, load_attention};
use millwork_diagnosis::{AttentionItem, Code, Diagnosis, Standing, Subject};
use millwork_manifest::{DatePrefix, ManifestId, ObjectUri};
use millwork_ui::frame::Tone;
use millwork_ui::pages::overview::Concern;
use millwork_ui::parts::{link, why};
use millwork_ui::{Markup, format};
use std::time::Duration;

/// Time limit of a diagnosis on a page; a slower one is left out.
const TIME: Duration = Duration::from_secs(3);

/// Problems that need a person, for the overview.
pub(super) async fn concerns(api: &Api) -> Result<Vec<Concern>, ApiError> {
    Ok(load_attention(api).await?.items.iter().map(concern).collect())
}

/// A diagnosis, if it is ready in time. Its errors do not affect the rest of the page.
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

/// Diagnosis of a run that is not completed.
pub(super) async fn of_run(asked: &Asked, api: &Api, id: &ManifestId) -> Option<Markup> {
    let diagnosis = in_time(api.service.inspector().run(id, asked.now)).await?;
    (diagnosis.standing != Standing::Settled).then(|| shown(asked, &diagnosis, "Why is it not done?"))
}

pub(super) async fn of_date(asked: &Asked, api: &Api, date: DatePrefix) -> Option<Markup> {
    let diagnosis = in_time(api.service.inspector().date(date, asked.now)).await?;
    Some(shown(asked, &diagnosis, "Is it done?"))
}

fn concern(item: &AttentionItem) -> Concern {
    let title = if item.count == 1 { item.sentence_with_name() } else { title_of_many(item) };
    let detail = match item.count {
        1 if item.next.by_itself || item.code == Code::Refused => item.next.what.clone(),
        1 => format!("Next: {}", item.next.what),
        _ => format!("One of them: {}", item.sentence),
    };
    let link = match item.subjects.first() {
        Some(first) if item.count > 1 => list_of(item, first),
        Some(only) => page_of(only),
        None => "/ui/cluster".to_owned(),
    };
    // A refused file is not converted and remains in place: it waits for a decision.
    let tone = if item.next.by_itself || item.code == Code::Refused { Tone::Warn } else { Tone::Bad };
    Concern { tone, title, detail, since: item.since, link }
}

fn page_of(subject: &Subject) -> String {
    match subject {
        Subject::File(uri) => link::file_path(uri),
        Subject::Run(id) => link::run_path(id),
        Subject::Date(date) => link::date_path(date),
        Subject::Executor(_) => "/ui/cluster".to_owned(),
    }
}

/// Address of the list of all subjects that a cause has.
fn list_of(item: &AttentionItem, first: &Subject) -> String {
    match (first, item.code) {
        (Subject::File(_), Code::Refused) => link::query("/ui/quarantine", &[("reason", Some(item.cause.as_str()))]),
        (Subject::File(_), Code::AtFault | Code::RunFailed) => link::query("/ui/files", &[("state", Some("failed"))]),
        (Subject::Run(_), Code::AtFault | Code::RunFailed) => {
            let class = item.cause.split_once(": ").map(|(class, _)| class);
            link::query("/ui/runs", &[("state", Some("failed")), ("class", class)])
        }
        (first, _) => page_of(first),
    }
}

/// Title of a cause with many subjects: their number, their state, and their common cause.
fn title_of_many(item: &AttentionItem) -> String {
    let noun = match item.subjects.first() {
        Some(Subject::Run(_)) => "run",
        Some(Subject::Date(_)) => "date",
        Some(Subject::Executor(_)) => "executor",
        Some(Subject::File(_)) | None => "file",
    };
    let many = format::counted(item.count, noun);
    let said = match item.code {
        Code::Refused => format!("{many} refused"),
        Code::AtFault | Code::RunFailed => format!("{many} failed"),
        code => format!("{many}: {}", code.as_str().replace('-', " ")),
    };
    match item.cause.split_once(": ") {
        Some((class, words)) => format!("{said} for `{class}`: {words}"),
        None if item.cause.is_empty() => said,
        None => format!("{said}: {}", item.cause),
    }
}
