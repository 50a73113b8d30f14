//! Page of a change plan: the exact changes before it is applied, their results afterwards.

use crate::format;
use crate::frame::{Right, Viewer};
use crate::parts::{copy, link, state, states, time};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::{Action, Change, ChangeResult, Plan, PlanCost, PlanState, SubjectKind};
use millwork_manifest::{FileState, RunState};

/// Number of changes from which the user must type the number to confirm.
pub const TYPED_FROM: usize = 100;
/// Limit of changes shown; the others are collapsed.
const SHOWN: usize = 20;

/// Content of the page.
pub struct Confirm<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// User that the page is rendered for.
    pub viewer: &'a Viewer,
    /// The plan.
    pub plan: &'a Plan,
    /// Address of the page to return to.
    pub back: &'a str,
    /// Reason why the last attempt to apply the plan was refused.
    pub refusal: Option<&'a str>,
}

/// Effect of the action, as the label of a button.
pub fn effect(plan: &Plan) -> String {
    let number = plan.changes.len() as u64;
    let counted = match number {
        0 => format!("no {}", plan.subjects.word()),
        number => format::counted(number, plan.subjects.word()),
    };
    match plan.action {
        Action::Retry => format!("Retry {counted}"),
        Action::Cancel => format!("Cancel {counted}"),
        Action::Force => format!("Convert {counted} again"),
        Action::Priority(priority) => format!("Give {counted} priority {}", priority.0),
        Action::Redrive => format!("Take back {counted}"),
        Action::Reset => format!("Put back {counted} as their runs prescribe"),
        Action::SetState(state) => format!("Make {counted} {state}"),
        Action::Recount => format!("Count {counted} anew"),
        Action::Cut => format!("Make manifests of {counted} now"),
        Action::Sweep => format!("Sweep {counted} now"),
        Action::RedriveDeadLetters => format!("Put back {counted}"),
    }
}

/// Renders the page.
pub fn page(confirm: &Confirm<'_>) -> Markup {
    let plan = confirm.plan;
    html! {
        section.confirm {
            div.head {
                p.kicker { "Change plan " code { (text::shown(&plan.id)) } " · " (plan.state) }
                h1 { (effect(plan)) }
                p.muted {
                    "Made " (time::moment_short(plan.created_at, confirm.now)) " by " (text::shown(&plan.actor))
                    @if plan.state == PlanState::Open { " · can be applied until " (time::moment_short(plan.valid_until, confirm.now)) }
                }
                @if let Some(cost) = &plan.cost { p.muted { (price(cost, plan.subjects)) } }
            }
            @if let Some(refusal) = confirm.refusal { div.banner.bad role="alert" { (text::shown(refusal)) } }
            (outcome(plan))
            @if plan.changes.is_empty() { (states::empty("Nothing would change", "None of what was chosen can change in this way; the reasons are below.", None)) }
            @else { (changes(plan)) }
            @if plan.has_more { div.banner.warn { "More match than one plan takes: make another one after this." } }
            @if !plan.refused.is_empty() { (refused(plan)) }
            @if plan.state == PlanState::Open && !plan.changes.is_empty() { (form(confirm)) }
            @else { p { a.button href=(confirm.back) { "Back" } } }
        }
    }
}

/// Estimated cost of a plan, as text.
fn price(cost: &PlanCost, subjects: SubjectKind) -> Markup {
    html! {
        "Converts " (format::bytes(cost.bytes)) " of input"
        @if cost.unsized_subjects > 0 { ", and " (format::counted(cost.unsized_subjects, subjects.word())) " of unknown size" }
        @match cost.usd {
            Some(usd) => { ": " @if !format::dollars(usd).starts_with('<') { "about " } (format::dollars(usd)) ", as bytes of the newest 30 dates cost" },
            None => { "; nothing was converted yet that would tell what that costs" },
        }
    }
}

fn outcome(plan: &Plan) -> Markup {
    let count = |result| plan.count(result) as u64;
    match plan.state {
        PlanState::Open => html! {},
        PlanState::Expired => {
            html! { div.banner.warn role="status" { "Its time is over; nothing of it was done. Go back, and choose again." } }
        }
        PlanState::Applying => html! { div.banner.plain role="status" { "It is being applied." } },
        PlanState::Applied => {
            let (done, skipped, failed) =
                (count(ChangeResult::Done), count(ChangeResult::Skipped), count(ChangeResult::Failed));
            html! {
                div.banner.(if failed + skipped > 0 { "warn" } else { "good" }) role="status" {
                    strong { (format::count(done)) " of " (format::count(plan.changes.len() as u64)) " done" }
                    @if skipped > 0 { ", " (format::count(skipped)) " left alone, since they had changed meanwhile" }
                    @if failed > 0 { ", " (format::count(failed)) " failed" }
                    "."
                }
            }
        }
    }
}

fn changes(plan: &Plan) -> Markup {
    let mut changes: Vec<&Change> = plan.changes.iter().collect();
    // Order of an applied plan: changes that need attention come first.
    changes.sort_by_key(|change| match change.result {
        Some(ChangeResult::Failed) => 0,
        Some(ChangeResult::Skipped) => 1,
        Some(ChangeResult::Done) | None => 2,
    });
    let (first, rest) = changes.split_at(changes.len().min(SHOWN));
    html! {
        (table(plan, first))
        @if !rest.is_empty() { details { summary { (format::count(rest.len() as u64)) " more" } (table(plan, rest)) } }
    }
}

fn table(plan: &Plan, changes: &[&Change]) -> Markup {
    let is_applied = plan.state != PlanState::Open;
    html! {
        table.cards {
            caption.visually-hidden { "Changes" }
            thead { tr { th scope="col" { (match plan.subjects { SubjectKind::Run => "Run", SubjectKind::File => "File", SubjectKind::Date => "Date", SubjectKind::Message => "Message" }) } th scope="col" { "Now" } th scope="col" { "Then" } @if is_applied { th scope="col" { "Result" } } } }
            tbody { @for change in changes { (row(change, plan.subjects, is_applied)) } }
        }
    }
}

fn row(change: &Change, subjects: SubjectKind, is_applied: bool) -> Markup {
    html! {
        tr {
            td.main data-label="Subject" { @match subjects { SubjectKind::Run => (link::run(&change.subject)), SubjectKind::File => (link::file(&change.subject)), SubjectKind::Date => (link::date(&change.subject)), SubjectKind::Message => span.id { (text::shown(&change.subject)) } } }
            td data-label="Now" { (standing(&change.before, subjects)) }
            td data-label="Then" { "→ " (standing(&change.after, subjects)) }
            @if is_applied { td data-label="Result" { (result(change.result)) @if let Some(message) = &change.message { div.why { (text::prose(message)) } } } }
        }
    }
}

/// The state before or after, as other pages show it; what is more than a state as it is.
fn standing(said: &str, subjects: SubjectKind) -> Markup {
    let run = RunState::ALL.into_iter().find(|state| subjects == SubjectKind::Run && state.as_str() == said);
    let file = FileState::ALL.into_iter().find(|state| subjects == SubjectKind::File && state.as_str() == said);
    run.map(state::of_run_state).or(file.map(state::of_file)).unwrap_or_else(|| text::prose(said))
}

fn result(result: Option<ChangeResult>) -> Markup {
    match result {
        None => link::none(),
        Some(ChangeResult::Done) => state::state(state::Sign::Tick, "done", "s-done"),
        Some(ChangeResult::Skipped) => state::state(state::Sign::Barred, "left alone", "s-warn"),
        Some(ChangeResult::Failed) => state::state(state::Sign::Cross, "failed", "s-bad"),
    }
}

fn refused(plan: &Plan) -> Markup {
    html! {
        details.panel open[plan.changes.is_empty()] {
            summary { (format::count(plan.refused.len() as u64)) " of the chosen cannot change" }
            ul.rows { @for refusal in &plan.refused { li { span.id { (text::shown(&refusal.subject)) } span.muted { (text::prose(&refusal.reason)) } } } }
        }
    }
}

fn form(confirm: &Confirm<'_>) -> Markup {
    let plan = confirm.plan;
    let number = plan.changes.len();
    if confirm.viewer.right < Right::Operate {
        return states::forbidden("Applying a plan", Right::Operate.as_str(), confirm.viewer.right.as_str());
    }
    html! {
        form method="post" action=(format!("/ui/plans/{}", link::escaped(&plan.id))) {
            input type="hidden" name="back" value=(confirm.back);
            @match &plan.reason {
                Some(reason) => p { "Reason: " (text::shown(reason)) },
                None => div.line {
                    label for="reason" { "Reason (kept in the activity)" }
                    input #reason type="text" name="reason" maxlength="1000" autocomplete="off" placeholder="S3 outage over" autofocus;
                },
            }
            @if number >= TYPED_FROM {
                div.line {
                    label for="typed" { "Type " strong { (number) } " to confirm" }
                    input #typed type="text" name="typed" inputmode="numeric" required pattern=(number.to_string()) autocomplete="off";
                }
            }
            div.actions {
                button.primary type="submit" name="number" value=(number) { (effect(plan)) }
                a.button href=(confirm.back) { "Back" }
            }
            p.muted { "The same: " code { "millwork plans apply " (plan.id) } (copy::button(&format!("millwork plans apply {}", plan.id), "command")) }
        }
    }
}
