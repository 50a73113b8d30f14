//! Table of the changes of a file's state that an operator may make, with reasons for refusals.

use millwork_manifest::{FileState, RunState};

/// State of a file's run, as far as changes of the file depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunStanding {
    /// The file is in no manifest.
    NoManifest,
    /// The manifest has no run.
    Absent,
    /// The run is in this state.
    InState(RunState),
}

impl RunStanding {
    /// Tells whether the run ended without output, or does not exist.
    fn is_over(self) -> bool {
        matches!(self, Self::NoManifest | Self::Absent | Self::InState(RunState::Failed | RunState::Cancelled))
    }
}

/// Refuses a change of state that could lose or duplicate rows, with the alternative.
///
/// `reprocess` allows a converted file to be converted again, in addition to its old rows.
pub fn check_transition(from: FileState, to: FileState, run: RunStanding, reprocess: bool) -> Result<(), &'static str> {
    use FileState::{Completed, Failed, Manifested, Pending, Processing, Quarantined};
    match (from, to) {
        (from, to) if from == to => Err("it is in that state already"),
        (Pending, Quarantined) | (Quarantined, Pending) => Ok(()),
        (Failed, Pending) if run.is_over() => Ok(()),
        (Failed, Pending) => Err("its run is not over: wait for its end, or cancel the run first"),
        (Manifested | Processing, Pending) if run.is_over() => Ok(()),
        (Manifested | Processing, Pending) => match run {
            RunStanding::InState(RunState::Committing | RunState::Completed) => {
                Err("its rows are in a committed output: `millwork state reset-stuck-files` completes it")
            }
            _ => Err("its run is not over: cancel the run first (`millwork runs cancel`)"),
        },
        (Completed, Pending) if !reprocess => {
            Err("its rows are in the output, and would stand there twice: say --reprocess if that is meant")
        }
        (Completed, Pending) => match run {
            RunStanding::InState(RunState::Completed) | RunStanding::Absent | RunStanding::NoManifest => Ok(()),
            RunStanding::InState(_) => Err("its run is being converted once more: wait for its end"),
        },
        (_, Manifested | Processing | Completed | Failed) => {
            Err("only a run brings files to that state; an operator sets pending or quarantined")
        }
        (_, Quarantined) => Err("only a pending file can be quarantined"),
        (Pending, Pending) => Err("it is in that state already"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All states of runs, and those without a run.
    fn runs() -> Vec<RunStanding> {
        let states = RunState::ALL.map(RunStanding::InState);
        [RunStanding::NoManifest, RunStanding::Absent].into_iter().chain(states).collect()
    }

    #[test]
    fn only_changes_that_lose_and_double_nothing_are_let_through() {
        use FileState::{Completed, Failed, Manifested, Pending, Processing, Quarantined};
        for from in FileState::ALL {
            for to in FileState::ALL {
                for run in runs() {
                    for reprocess in [false, true] {
                        let is_over = run.is_over();
                        let is_legal = match (from, to) {
                            (Pending, Quarantined) | (Quarantined, Pending) => true,
                            (Failed | Manifested | Processing, Pending) => is_over,
                            (Completed, Pending) => {
                                let ended = [
                                    RunStanding::NoManifest,
                                    RunStanding::Absent,
                                    RunStanding::InState(RunState::Completed),
                                ];
                                reprocess && ended.contains(&run)
                            }
                            _ => false,
                        };
                        let checked = check_transition(from, to, run, reprocess);
                        assert_eq!(checked.is_ok(), is_legal, "{from} to {to}, {run:?}, {reprocess}");
                    }
                }
            }
        }
    }
}
