//! Exit codes: a single list, from which the help and the manual are generated.

use std::fmt::Write as _;
use std::process::ExitCode;

/// Result of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Failed,
    Usage,
    NeedsYou,
    NotSignedIn,
    Unreachable,
    Changed,
    Interrupted,
    ReaderGone,
}

impl Exit {
    /// All results, by code.
    pub(crate) const ALL: [Self; 9] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::NeedsYou,
        Self::NotSignedIn,
        Self::Unreachable,
        Self::Changed,
        Self::Interrupted,
        Self::ReaderGone,
    ];

    /// Exit code. As in shells, a signal gives 128 and its number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NeedsYou => 3,
            Self::NotSignedIn => 4,
            Self::Unreachable => 5,
            Self::Changed => 6,
            Self::Interrupted => 130,
            Self::ReaderGone => 141,
        }
    }

    /// Description of the result.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done, or nothing to do",
            Self::Failed => "failed: stderr says what, and what to try",
            Self::Usage => "the command line is wrong",
            Self::NeedsYou => "something needs you: there are findings, or a dry run would change something",
            Self::NotSignedIn => "not signed in, or the token's role may not do this",
            Self::Unreachable => "the scheduler, the state or a storage cannot be reached: try again",
            Self::Changed => "changed meanwhile: nothing, or not all, of the change was made",
            Self::Interrupted => "interrupted",
            Self::ReaderGone => "the reader of the output has closed it",
        }
    }

    /// Name of the result in JSON errors.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NeedsYou => "needs-you",
            Self::NotSignedIn => "not-signed-in",
            Self::Unreachable => "unreachable",
            Self::Changed => "changed",
            Self::Interrupted => "interrupted",
            Self::ReaderGone => "reader-gone",
        }
    }

    /// Table of all exit codes.
    pub(crate) fn table() -> String {
        let mut text = "Exit codes of every command:\n\n".to_owned();
        for exit in Self::ALL {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "  {:>3}  {}", exit.code(), exit.meaning());
        }
        text
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_have_each_code() {
        let text = include_str!("../../docs/commands.md");
        for exit in Exit::ALL {
            let row = format!("| {} | {} |\n", exit.code(), exit.meaning());
            assert!(text.contains(&row), "{row}");
        }
    }

    #[test]
    fn each_code_is_one_end_and_told() {
        let mut codes: Vec<_> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        codes.dedup();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 130, 141]);
        let table = Exit::table();
        assert!(Exit::ALL.iter().all(|exit| table.contains(exit.meaning())), "{table}");
    }
}
