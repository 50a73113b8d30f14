//! States as icon, word and colour.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::Run;
use millwork_manifest::{FileState, RunState};

/// Icon of a state. Icons differ in shape, not only in colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Empty circle: nothing done.
    Empty,
    /// Quarter-filled circle.
    Quarter,
    /// Half-filled circle.
    Half,
    /// Three-quarter-filled circle.
    Most,
    /// Check mark.
    Tick,
    /// Cross.
    Cross,
    /// Circle with a bar across.
    Barred,
    /// Arrow that turns back.
    Again,
    /// Small dot.
    Dot,
    /// Lines of a list.
    List,
    /// Exclamation mark.
    Mark,
}

/// Icon as SVG.
pub fn sign(sign: Sign) -> Markup {
    let pie = |d: &'static str| {
        html! { circle cx="8" cy="8" r="5.75" fill="none" stroke="currentColor" stroke-width="1.5" {} path d=(d) fill="currentColor" {} }
    };
    let line = |d: &'static str| {
        html! { path d=(d) fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round" {} }
    };
    let drawing = match sign {
        Sign::Empty => {
            html! { circle cx="8" cy="8" r="5.75" fill="none" stroke="currentColor" stroke-width="1.5" stroke-dasharray="2.6 2" {} }
        }
        Sign::Quarter => pie("M8 8V3.5a4.5 4.5 0 0 1 4.5 4.5z"),
        Sign::Half => pie("M8 3.5a4.5 4.5 0 0 1 0 9z"),
        Sign::Most => pie("M8 8V3.5a4.5 4.5 0 1 1-4.5 4.5z"),
        Sign::Tick => line("M3 8.5l3.3 3.3L13 4.7"),
        Sign::Cross => line("M4 4l8 8M12 4l-8 8"),
        Sign::Barred => {
            html! { circle cx="8" cy="8" r="5.75" fill="none" stroke="currentColor" stroke-width="1.5" {} path d="M4.2 11.8l7.6-7.6" stroke="currentColor" stroke-width="1.5" {} }
        }
        Sign::Again => line("M12.8 6.2A5.2 5.2 0 1 0 13 9.4M13 2.6v3.6H9.4"),
        Sign::Dot => html! { circle cx="8" cy="8" r="2.6" fill="currentColor" {} },
        Sign::List => line("M3 4.5h10M3 8h10M3 11.5h6"),
        Sign::Mark => line("M8 3v6.2M8 12.6v.2"),
    };
    html! { svg.sign viewBox="0 0 16 16" width="14" height="14" aria-hidden="true" focusable="false" { (drawing) } }
}

/// State as icon and word, in the colour of a CSS class.
pub fn state(what: Sign, word: &str, class: &str) -> Markup {
    html! { span.state.(class) { (sign(what)) span { (word) } } }
}

/// State of a run, by the state alone.
pub fn of_run_state(state: RunState) -> Markup {
    let (sign, class) = run_sign(state);
    self::state(sign, state.as_str(), class)
}

/// State of a run, which also tells if it waits for another attempt or is about to be cancelled.
pub fn of_run(run: &Run, now: DateTime<Utc>) -> Markup {
    if run.cancel_requested && !run.state.is_final() {
        return state(Sign::Barred, "cancelling", "s-retry");
    }
    if is_retrying(run) {
        let when = run.not_before.filter(|at| *at > now).map(|at| crate::format::ago(at, now));
        return html! { (state(Sign::Again, "retry waits", "s-retry")) @if let Some(when) = when { " " span.muted { (when) } } };
    }
    of_run_state(run.state)
}

/// True if a run is queued because an attempt failed.
pub fn is_retrying(run: &Run) -> bool {
    run.state == RunState::Queued && run.failures > 0
}

fn run_sign(state: RunState) -> (Sign, &'static str) {
    match state {
        RunState::Draft => (Sign::Dot, "s-idle"),
        RunState::Queued => (Sign::Empty, "s-idle"),
        RunState::Planning => (Sign::Quarter, "s-work"),
        RunState::Running => (Sign::Half, "s-work"),
        RunState::Committing => (Sign::Most, "s-work"),
        RunState::Completed => (Sign::Tick, "s-done"),
        RunState::Failed => (Sign::Cross, "s-bad"),
        RunState::Cancelled => (Sign::Barred, "s-idle"),
    }
}

/// State of a file.
pub fn of_file(state: FileState) -> Markup {
    let (sign, class) = file_sign(state);
    self::state(sign, state.as_str(), class)
}

/// Icon and colour class of a file's state.
pub fn file_sign(state: FileState) -> (Sign, &'static str) {
    match state {
        FileState::Pending => (Sign::Dot, "s-idle"),
        FileState::Manifested => (Sign::List, "s-idle"),
        FileState::Processing => (Sign::Half, "s-work"),
        FileState::Completed => (Sign::Tick, "s-done"),
        FileState::Failed => (Sign::Cross, "s-bad"),
        FileState::Quarantined => (Sign::Mark, "s-warn"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_differ_in_shape() {
        let shapes = |signs: Vec<Sign>| {
            let mut drawn: Vec<String> = signs.into_iter().map(|each| sign(each).into_string()).collect();
            let count = drawn.len();
            drawn.sort();
            drawn.dedup();
            (drawn.len(), count)
        };
        let runs = shapes(RunState::ALL.into_iter().map(|state| run_sign(state).0).collect());
        let files = shapes(FileState::ALL.into_iter().map(|state| file_sign(state).0).collect());
        assert_eq!((runs.0, files.0), (runs.1, files.1), "in greyscale they are told apart, too");
    }
}
