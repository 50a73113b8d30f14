//! Buttons for actions. Each opens a page that shows the changes; a click alone changes nothing.

use crate::viewer::{Right, Viewer};
use maud::{Markup, html};
use millwork_api::Run;
use millwork_manifest::RunState;

/// Action on runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunAction {
    /// Queue a failed or cancelled run again.
    Retry,
    /// Cancel an unfinished run.
    Cancel,
    /// Convert a completed run again.
    Force,
    /// Change the priority in the queue.
    Prioritise,
}

impl RunAction {
    /// Name of the action in forms and paths.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Force => "force",
            Self::Prioritise => "prioritise",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Retry => "Retry…",
            Self::Cancel => "Cancel…",
            Self::Force => "Force…",
            Self::Prioritise => "Priority…",
        }
    }

    fn key(self) -> Option<&'static str> {
        match self {
            Self::Retry => Some("R"),
            Self::Cancel => Some("C"),
            Self::Prioritise => Some("P"),
            Self::Force => None,
        }
    }

    /// Reason why the action is unavailable for a run; none if available.
    fn refusal(self, run: &Run) -> Option<&'static str> {
        match self {
            Self::Retry if matches!(run.state, RunState::Failed | RunState::Cancelled | RunState::Committing) => None,
            Self::Retry if run.state == RunState::Queued => Some("it is queued already"),
            Self::Retry => Some("it neither failed nor was cancelled"),
            Self::Cancel if run.state.is_final() => Some("it has ended"),
            Self::Cancel if run.state == RunState::Committing => Some("it is committed"),
            Self::Cancel if run.cancel_requested => Some("it is being cancelled"),
            Self::Force if run.state != RunState::Completed => Some("it is not completed"),
            Self::Prioritise if run.state != RunState::Queued => Some("it is not queued"),
            _ => None,
        }
    }
}

/// Button of a form, or the reason why it is unavailable.
fn button(action: RunAction, refusal: Option<&str>) -> Markup {
    html! {
        @match refusal {
            None => {
                @if action == RunAction::Prioritise {
                    span.joined {
                        input.short type="number" name="priority" value="10" min="-1000" max="1000" aria-label="priority, -1000 to 1000";
                        button.action type="submit" name="action" value=(action.as_str()) data-key=[action.key()] { (action.title()) }
                    }
                } @else {
                    button.action type="submit" name="action" value=(action.as_str()) data-key=[action.key()] { (action.title()) }
                }
            },
            Some(reason) => span.action.off aria-disabled="true" role="button" title=(reason) { (action.title().trim_end_matches('…')) span.reason { ": " (reason) } },
        }
    }
}

fn lacks(viewer: &Viewer) -> Option<String> {
    (viewer.right < Right::Operate).then(|| format!("needs the role operate, you have {}", viewer.right.as_str()))
}

/// Actions on the selected runs of a list. `has_more` is true if the list continues beyond the page.
pub fn of_selection(viewer: &Viewer, has_more: bool) -> Markup {
    let lacks = lacks(viewer);
    html! {
        div.bulk role="group" aria-label="With the chosen runs" {
            span { strong data-chosen { "The chosen" } " runs" }
            @if has_more { label { input type="checkbox" name="all" value="matching"; " all that match, on every page" } }
            @for action in [RunAction::Retry, RunAction::Cancel, RunAction::Prioritise] { (button(action, lacks.as_deref())) }
            button.action.copy-ids type="button" data-act="copy-ids" { "Copy ids" }
        }
    }
}

/// Form to take back the selected refused files. `has_more` is true if the list continues beyond the page.
pub fn of_files(viewer: &Viewer, has_more: bool) -> Markup {
    let lacks = lacks(viewer);
    html! {
        div.bulk role="group" aria-label="With the chosen files" {
            span { strong data-chosen { "The chosen" } " files" }
            @if has_more { label { input type="checkbox" name="all" value="matching"; " all that match, on every page" } }
            @match lacks {
                None => button.action type="submit" name="action" value="redrive" data-key="R" { "Take back…" },
                Some(reason) => span.action.off aria-disabled="true" role="button" title=(reason) { "Take back" span.reason { ": " (reason) } },
            }
            button.action.copy-ids type="button" data-act="copy-ids" { "Copy addresses" }
        }
    }
}

/// Form to put back the selected dead letters. `has_more` is true if there may be more than on the page.
pub fn of_letters(viewer: &Viewer, has_more: bool) -> Markup {
    html! {
        div.bulk role="group" aria-label="With the chosen messages" {
            span { strong data-chosen { "The chosen" } " messages" }
            @if has_more { label { input type="checkbox" name="all" value="matching"; " all of this queue" } }
            @match lacks(viewer) {
                None => button.action type="submit" name="action" value="redrive-dead-letters" data-key="R" { "Redrive…" },
                Some(reason) => span.action.off aria-disabled="true" role="button" title=(reason) { "Redrive" span.reason { ": " (reason) } },
            }
            button.action.copy-ids type="button" data-act="copy-ids" { "Copy ids" }
        }
    }
}

/// Requests to builders for a date: cut a manifest of pending files, sweep, recount.
pub fn of_date(date: &str, has_pending: bool, viewer: &Viewer, back: &str) -> Markup {
    if let Some(lacks) = lacks(viewer) {
        return html! { p.actions.muted { "Changing it " (lacks) } };
    }
    html! {
        form.actions method="post" action="/ui/plans" {
            input type="hidden" name="back" value=(back);
            input type="hidden" name="date" value=(date);
            @if has_pending { button.action type="submit" name="action" value="cut" { "Cut a manifest now…" } }
            @else { span.action.off aria-disabled="true" role="button" title="no file of it waits" { "Cut a manifest now" span.reason { ": no file of it waits" } } }
            button.action type="submit" name="action" value="sweep" { "Sweep now…" }
            button.action type="submit" name="action" value="recount" { "Count anew…" }
        }
    }
}

/// Actions on one run. Unavailable ones are collapsed.
pub fn of_run(run: &Run, viewer: &Viewer, back: &str) -> Markup {
    const ALL: [RunAction; 4] = [RunAction::Retry, RunAction::Cancel, RunAction::Force, RunAction::Prioritise];
    if let Some(lacks) = lacks(viewer) {
        return html! { p.actions.muted { "Changing it " (lacks) } };
    }
    let refused = ALL.into_iter().filter_map(|action| Some((action, action.refusal(run)?)));
    html! {
        form.actions method="post" action="/ui/plans" {
            input type="hidden" name="back" value=(back);
            input type="hidden" name="run" value=(run.manifest_id);
            @for action in ALL.into_iter().filter(|action| action.refusal(run).is_none()) { (button(action, None)) }
            details.others {
                summary { "Other actions" }
                dl.keys { @for (action, reason) in refused { div { dt { (action.title().trim_end_matches('…')) } dd { (reason) } } } }
            }
        }
    }
}
