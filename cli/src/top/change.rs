//! A change of a run, asked for with a key: planned, shown, and made after a `y`.
//!
//! Nothing is done by the first key: it only has a plan made, which changes nothing. If this process dies before the `y`, the plan
//! expires; after it, the scheduler goes on with it, or `millwork plans apply` does.

use super::canvas::Part;
use super::model::Tone;
use millwork_api::{Action, ChangeResult, Plan};

/// Lines of a plan that are shown; a plan made here has one run.
const SHOWN: usize = 10;

/// Request for a change.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wish {
    /// A plan of one run, by its id.
    Plan(Action, String),
    /// Application of a plan, by its id.
    Apply(String),
}

/// Change that somebody is about to make.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// The scheduler was asked, and has not answered yet.
    Waiting,
    /// Plan that waits for a `y`.
    Shown(Box<Plan>),
    /// Plan that is being applied: there is no way back.
    Applying,
}

impl Change {
    /// The plan that a `y` applies; none, if there is nothing to apply.
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

/// Outcome of an applied plan in a line.
pub(super) fn outcome(plan: &Plan) -> (Tone, String) {
    let count = |result| plan.count(result);
    let (done, all) = (count(ChangeResult::Done), plan.changes.len());
    let message = plan.changes.iter().find_map(|change| change.message.as_deref());
    let more = message.map(|message| format!(": {message}")).unwrap_or_default();
    let tone = if done == all { Tone::Good } else { Tone::Bad };
    (tone, format!("{}: {done} of {all} done{more}", plan.action))
}
