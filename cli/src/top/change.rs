//! Change of a run, started with a key: planned, shown, and applied after a `y`.
//!
//! The first key only creates a plan, which changes nothing. If this process ends before the `y`, the plan expires;
//! after it, the scheduler continues, or `millwork plans apply` resumes it.

use super::canvas::Part;
use super::model::Tone;
use millwork_api::{Action, ChangeResult, Plan};

/// Limit of the lines of a plan; a plan made here has one run.
const SHOWN: usize = 10;

/// Request for a change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// Creates a plan for one run, by its id.
    Plan(Action, String),
    /// Applies a plan, by its id.
    Apply(String),
}

/// State of a change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// The scheduler has not answered yet.
    Waiting,
    /// The plan waits for a `y`.
    Shown(Box<Plan>),
    /// The plan is being applied, and can no longer be stopped.
    Applying,
}

impl Change {
    /// Plan that a `y` applies; `None` if there is nothing to apply.
    pub(super) fn ready(&self) -> Option<&Plan> {
        match self {
            Self::Shown(plan) if !plan.changes.is_empty() => Some(plan),
            _ => None,
        }
    }

    /// The change as lines.
    pub(super) fn lines(&self) -> Vec<Part> {
        let plan = match self {
            Self::Waiting => return vec![(Tone::Dim, "asking the scheduler …".to_owned())],
            Self::Applying => return vec![(Tone::Strong, "it is being done …".to_owned())],
            Self::Shown(plan) => plan,
        };
        let title = match plan.changes.len() {
            0 => "nothing would change".to_owned(),
            count => format!("{} {}?", plan.action, plan.subjects.counted(count)),
        };
        let mut lines = vec![(Tone::Strong, title)];
        for change in plan.changes.iter().take(SHOWN) {
            lines.push((Tone::Plain, format!("  {}: {} → {}", change.subject, change.before, change.after)));
        }
        for refusal in plan.refused.iter().take(SHOWN) {
            lines.push((Tone::Warn, format!("  not {}: {}", refusal.subject, refusal.reason)));
        }
        lines
    }
}

/// Result of an applied plan in one line.
pub(super) fn outcome(plan: &Plan) -> (Tone, String) {
    let count = |result| plan.count(result);
    let (done, all) = (count(ChangeResult::Done), plan.changes.len());
    let message = plan.changes.iter().find_map(|change| change.message.as_deref());
    let more = message.map(|message| format!(": {message}")).unwrap_or_default();
    let tone = if done == all { Tone::Good } else { Tone::Bad };
    (tone, format!("{}: {done} of {all} done{more}", plan.action))
}
