//! Help page: keyboard shortcuts, terms and links to the documentation.

use crate::parts::{copy, state};
use maud::{Markup, html};
use millwork_manifest::{FileState, RunState};

/// Keyboard shortcuts with their actions.
const KEYS: [(&str, &str); 20] = [
    ("g o", "overview"),
    ("g r", "runs"),
    ("g d", "dates"),
    ("g f", "files"),
    ("g q", "quarantine"),
    ("g c", "cluster"),
    ("g a", "activity"),
    ("g u", "cost"),
    ("g h", "doctor"),
    ("/", "find: a run, a file, a date, an executor"),
    ("j k", "row down, up; Enter opens it"),
    ("x X", "choose the row; all rows from the one chosen last to this one"),
    ("[ ]", "tab before, after: states of a list, parts of a run"),
    ("n p", "older page, newest page"),
    ("R C P", "retry, cancel, priority of what is chosen, or of the row: opens the page that shows what would change"),
    ("y Y", "copy the row's id, the page's command"),
    (".", "show new rows"),
    ("l", "pause the page, or let it go on"),
    ("z t", "UTC or local time; colours"),
    ("?", "this page"),
];

/// Renders the page.
pub fn page() -> Markup {
    html! {
        div.head { h1 { "Help" } }
        div.columns {
            section.panel aria-labelledby="keys" {
                header { h2 #keys { "Keys" } button #keys-switch .link type="button" data-act="keys" aria-pressed="true" hidden { "on: switch off" } }
                dl.keys { @for (key, what) in KEYS { div { dt { @for key in key.split(' ') { kbd { (key) } " " } } dd { (what) } } } }
                p.muted { "Letters do nothing in fields. All can be done with Tab and Enter alone." }
            }
            section.panel aria-labelledby="words" {
                header { h2 #words { "States of a run" } }
                dl.keys {
                    @for state in RunState::ALL { div { dt { (self::state::of_run_state(state)) } dd { (of_run(state)) } } }
                    div { dt { (self::state::state(self::state::Sign::Again, "retry waits", "s-retry")) } dd { "an attempt failed for a reason that can pass; the next one starts by itself" } }
                }
                h2 { "States of a file" }
                dl.keys { @for state in FileState::ALL { div { dt { (self::state::of_file(state)) } dd { (of_file(state)) } } } }
            }
            section.panel aria-labelledby="terminal" {
                header { h2 #terminal { "In a terminal" } }
                p { "Everything here is there, too:" }
                (copy::command("millwork runs list --state failed"))
                (copy::command("millwork why s3://bucket/key"))
                (copy::command("millwork top"))
            }
        }
    }
}

fn of_run(state: RunState) -> &'static str {
    match state {
        RunState::Draft => "its manifest is being made",
        RunState::Queued => "waits for its turn",
        RunState::Planning => "its files are looked at, its plan is made",
        RunState::Running => "executors convert it",
        RunState::Committing => "decided; its files are given their names",
        RunState::Completed => "its output is there, whole",
        RunState::Failed => "ended without output; nothing happens by itself",
        RunState::Cancelled => "ended by request",
    }
}

fn of_file(state: FileState) -> &'static str {
    match state {
        FileState::Pending => "known, waits for a manifest",
        FileState::Manifested => "in a manifest that waits for its turn",
        FileState::Processing => "being converted",
        FileState::Completed => "its rows are in the output",
        FileState::Failed => "its run failed for good",
        FileState::Quarantined => "refused on arrival",
    }
}
