//! Page to edit rejected lines of a run and put them back into the output.

use super::run_page::Tab;
use crate::format;
use crate::frame::{Right, Viewer};
use crate::parts::{link, states};
use crate::text;
use maud::{Markup, html};
use millwork_api::PutBack;

/// Content of the page.
pub struct MendPage<'a> {
    /// User that the page is rendered for.
    pub viewer: &'a Viewer,
    /// Id of the run.
    pub id: &'a str,
    /// Content of the form field for lines.
    pub lines: &'a str,
    /// Content of the form field for the reason.
    pub reason: &'a str,
    /// Lines of the shown part of the file that the form field omits, each with the reason.
    pub left_out: &'a [String],
    /// Last step taken.
    pub step: Step<'a>,
}

/// Step in putting back mended lines.
pub enum Step<'a> {
    /// Editing: lines as they were rejected.
    Mend,
    /// Lines that cannot be put back, with the reason.
    Refused(&'a str),
    /// Valid lines, with a preview of the result.
    Checked(&'a PutBack),
    /// Valid lines that were edited after the check, and therefore not put back.
    Changed(&'a PutBack),
}

/// Renders the page.
pub fn page(page: &MendPage<'_>) -> Markup {
    let back = Tab::Rejected.path(page.id);
    html! {
        section.confirm {
            div.head {
                p.kicker { "Rejected lines of run " (link::run(page.id)) }
                h1 { "Mend and put back" }
                p.muted { "Each line becomes a row of a run of its own. The rows that are there stay as they are." }
            }
            @match &page.step {
                Step::Mend => {},
                Step::Refused(reason) => (refused(reason)),
                Step::Checked(would) => (would_be(would)),
                Step::Changed(would) => {
                    div.banner.warn role="alert" { "The lines were changed after they were checked: look at this first." }
                    (would_be(would))
                },
            }
            @if !page.left_out.is_empty() {
                div.banner.warn role="status" {
                    "Not in the field below: "
                    ul { @for line in page.left_out { li { (text::prose(line)) } } }
                }
            }
            @if page.viewer.right < Right::Operate { (states::forbidden("Putting lines back", Right::Operate.as_str(), page.viewer.right.as_str())) }
            @else { (form(page, &back)) }
        }
    }
}

/// Reason, with each rejected line on a separate line.
fn refused(reason: &str) -> Markup {
    let (all, lines) = reason.split_once(": line ").unwrap_or((reason, ""));
    html! {
        div.banner.bad #said-of-it role="alert" {
            (text::prose(all))
            @if !lines.is_empty() { ul { @for line in lines.split("; line ") { li { "line " (text::prose(line)) } } } }
        }
    }
}

fn would_be(would: &PutBack) -> Markup {
    html! {
        @match &would.run {
            Some(run) => div.banner.good role="status" { "These lines were put back before, in " (link::run(run.manifest_id.as_str())) "." },
            None => div.banner.good #said-of-it role="status" {
                strong { (format::counted(would.lines, "line")) } " of " (format::bytes(would.bytes)) " would be rows, in a run of their own. Nothing was done yet."
            },
        }
        @if !would.earlier.is_empty() {
            div.banner.warn role="status" {
                "Other lines of this run were put back before: look whether these are among them. "
                @for (index, run) in would.earlier.iter().enumerate() { @if index > 0 { ", " } (link::run(run)) }
            }
        }
    }
}

fn form(page: &MendPage<'_>, back: &str) -> Markup {
    let checked = match &page.step {
        Step::Checked(would) | Step::Changed(would) if would.run.is_none() => Some(would),
        _ => None,
    };
    // Whoever works by keys goes on in the field that comes next, and hears what was said of the lines.
    let is_refused = matches!(page.step, Step::Refused(_));
    html! {
        form method="post" action=(path(page.id, None)) {
            div.line.tall {
                label for="lines" { "Lines, each one JSON object; delete what is to stay out" }
                // Extra newline: browsers drop the first one in a `textarea`.
                textarea #lines name="lines" rows="14" required spellcheck="false" autocomplete="off" autocapitalize="off" wrap="off"
                    autofocus[checked.is_none()] aria-describedby=[is_refused.then_some("said-of-it")] { "\n" (page.lines) }
            }
            div.line {
                label for="reason" { "Reason (kept in the activity)" }
                input #reason type="text" name="reason" maxlength="1000" autocomplete="off" value=(page.reason) placeholder="a comma was missing"
                    autofocus[checked.is_some()] aria-describedby=[checked.is_some().then_some("said-of-it")];
            }
            @if let Some(would) = checked { input type="hidden" name="checked" value=(would.manifest_id); }
            div.actions {
                @if let Some(would) = checked { button.primary type="submit" name="step" value="put" { "Put " (format::counted(would.lines, "line")) " back" } }
                button.primary[checked.is_none()] type="submit" name="step" value="check" { @if checked.is_some() { "Check again" } @else { "Check" } }
                a.button href=(back) { "Back" }
            }
        }
    }
}

/// Address of the page for the lines of one part of the file.
pub fn path(id: &str, from: Option<&str>) -> String {
    link::query(&format!("{}/mend", link::run_path(id)), &[("from", from)])
}
