//! Content of a run's page, and its tabs.

use crate::frame::Viewer;
use crate::parts::link;
use chrono::{DateTime, Utc};
use maud::Markup;
use millwork_api::{LedgerEntry, Page, RunDetail, RunFile};

/// Tab of the page, with an address of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// Timeline, ledger and attempts.
    Summary,
    /// Tasks over time.
    Tasks,
    /// Input files.
    Files,
    /// Rejected lines.
    Rejected,
    /// Physical plan.
    Plan,
    /// Output files.
    Output,
}

impl Tab {
    /// All tabs, in the order shown.
    pub const ALL: [Self; 6] = [Self::Summary, Self::Tasks, Self::Files, Self::Rejected, Self::Plan, Self::Output];

    /// Name of the tab: the last segment of its path, except for the summary.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Tasks => "tasks",
            Self::Files => "files",
            Self::Rejected => "rejected",
            Self::Plan => "plan",
            Self::Output => "output",
        }
    }

    /// Path of the tab for a run.
    pub fn path(self, id: &str) -> String {
        match self {
            Self::Summary => link::run_path(id),
            tab => format!("{}/{}", link::run_path(id), tab.as_str()),
        }
    }
}

/// Content of the page.
pub struct RunPage<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// User that the page is rendered for.
    pub viewer: &'a Viewer,
    /// Run to show.
    pub run: &'a RunDetail,
    /// Diagnosis of an uncompleted run.
    pub why: Option<Markup>,
    /// Selected tab.
    pub tab: Tab,
    /// Content of the selected tab, unless it is the summary.
    pub part: Part<'a>,
    /// Path and query of this page, as the return address.
    pub back: &'a str,
}

/// Content of a tab, in addition to the run.
pub enum Part<'a> {
    /// No further content.
    Run,
    /// Files of the manifest, with their ledger entries if known.
    Files {
        /// Files of this page.
        files: &'a Page<RunFile>,
        /// Ledger entries, in the order of the files; empty until the commit of the run.
        ledger: &'a [LedgerEntry],
        /// Cursor at which this page begins.
        cursor: Option<String>,
    },
    /// Rendered page of rejected lines.
    Rejected(Markup),
}
