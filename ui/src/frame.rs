//! Frame around each page: header, navigation, notices and footer.

use crate::assets;
use crate::parts::{copy, time};
pub use crate::viewer::{Right, Viewer};
use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, html};

/// Section of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Overview of the present state.
    Overview,
    /// Runs of manifests.
    Runs,
    /// Dates of the data.
    Dates,
    /// Input files.
    Files,
    /// Refused files and rejected lines.
    Quarantine,
    /// Processes: schedulers, executors and builders.
    Cluster,
    /// Audit log: changes, with their authors.
    Activity,
    /// Costs of runs.
    Cost,
    /// Health checks of the scheduler and the services it depends on.
    Doctor,
    /// Page outside these sections.
    Other,
}

impl Section {
    /// Sections of the navigation, each with its path, name and the second key of its `g` shortcut.
    const SHOWN: [(Self, &'static str, &'static str, &'static str); 9] = [
        (Self::Overview, "/ui/", "Overview", "o"),
        (Self::Runs, "/ui/runs", "Runs", "r"),
        (Self::Dates, "/ui/dates", "Dates", "d"),
        (Self::Files, "/ui/files", "Files", "f"),
        (Self::Quarantine, "/ui/quarantine", "Quarantine", "q"),
        (Self::Cluster, "/ui/cluster", "Cluster", "c"),
        (Self::Activity, "/ui/activity", "Activity", "a"),
        (Self::Cost, "/ui/cost", "Cost", "u"),
        (Self::Doctor, "/ui/doctor", "Doctor", "h"),
    ];
}

/// Colour theme, chosen by the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// Theme of the user's system.
    #[default]
    System,
    /// Dark text on a light background.
    Light,
    /// Light text on a dark background.
    Dark,
}

impl Theme {
    /// Name of the theme in the cookie.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Theme with a name; that of the system for unknown names.
    pub fn of(name: &str) -> Self {
        match name {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::System,
        }
    }

    fn next(self) -> Self {
        match self {
            Self::System => Self::Light,
            Self::Light => Self::Dark,
            Self::Dark => Self::System,
        }
    }
}

/// Notice to the user: shown once, or as long as a condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Severity of the notice.
    pub tone: Tone,
    /// Text of the notice, one sentence.
    pub text: String,
    /// Label and address of a page with details.
    pub link: Option<(String, String)>,
}

/// Severity of a notice or state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Success.
    Good,
    /// Neutral information.
    Plain,
    /// Warning: somebody should look into it.
    Warn,
    /// Problem: somebody must act.
    Bad,
}

impl Tone {
    /// CSS class of the tone.
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Plain => "plain",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }

    /// Word for the tone, for users who do not see the colour.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "all well",
            Self::Plain => "note",
            Self::Warn => "look at this",
            Self::Bad => "needs you",
        }
    }
}

/// State of the scheduler process, as shown in the frame.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// True while the process is the active scheduler, not a standby.
    pub leads: bool,
    /// Busy task slots and all task slots of the executors.
    pub slots: Option<(u64, u64)>,
    /// Version of the process.
    pub version: String,
}

/// Frame around a page.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Title of the browser window. Each page has its own `h1`.
    pub title: String,
    /// Section of the navigation that the page belongs to.
    pub section: Section,
    /// User who requested the page; none before sign-in.
    pub viewer: Option<Viewer>,
    /// State of the scheduler process.
    pub process: Process,
    /// Path and query of this page, as the return address.
    pub path: String,
    /// Colour theme in force.
    pub theme: Theme,
    /// Time at which the page was rendered.
    pub now: DateTime<Utc>,
    /// Path and query of the same content in the API.
    pub json: Option<String>,
    /// Command that prints the same content.
    pub command: Option<String>,
    /// Time of the oldest count on the page.
    pub counted_at: Option<DateTime<Utc>>,
    /// Notices to the user.
    pub notices: Vec<Notice>,
    /// True if the page refreshes itself on events.
    pub is_live: bool,
    /// Severity that the window's icon shows.
    pub tone: Tone,
}

/// Configuration of htmx: no inline style, which the content security policy forbids, and no history cache. Open and
/// checked elements keep their state during a refresh.
const HTMX: &str =
    r#"{"includeIndicatorCSS":false,"history":false,"morphIgnore":["data-htmx-powered","open","checked"]}"#;

/// Renders a whole page.
pub fn page(frame: &Frame, body: &Markup) -> Markup {
    let icon = match frame.tone {
        Tone::Good | Tone::Plain => "favicon-ok.svg",
        Tone::Warn => "favicon-warn.svg",
        Tone::Bad => "favicon-bad.svg",
    };
    html! {
        (DOCTYPE)
        html lang="en" data-theme=(frame.theme.as_str()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (frame.title) " · Millwork" }
                link rel="icon" type="image/svg+xml" href=(assets::path(icon));
                link rel="stylesheet" href=(assets::path("app.css"));
                @if let Some(json) = &frame.json { link rel="alternate" type="application/json" href=(json); }
                meta name="htmx-config" content=(HTMX);
                @if frame.viewer.is_some() {
                    script src=(assets::path("htmx.min.js")) defer {}
                }
                script src=(assets::path("app.js")) type="module" {}
            }
            body {
                a.skip href="#page" { "Skip to the page" }
                (head(frame))
                div #away .banner.warn role="status" hidden {}
                main #page tabindex="-1" data-live=[frame.is_live.then_some("yes")] {
                    @for notice in &frame.notices { (self::notice(notice)) }
                    (body)
                    @if frame.viewer.is_some() { (page_foot(frame)) }
                }
                div #said .visually-hidden role="status" aria-live="polite" {}
            }
        }
    }
}

/// Renders a notice.
pub fn notice(notice: &Notice) -> Markup {
    html! {
        div.banner.once.(notice.tone.class()) role="status" {
            span.visually-hidden { (notice.tone.word()) ": " }
            (crate::text::prose(&notice.text))
            @if let Some((name, href)) = &notice.link { " " a href=(href) { (name) } }
        }
    }
}

fn head(frame: &Frame) -> Markup {
    html! {
        header.top {
            a.brand href="/ui/" { (brand_mark()) span { "Millwork" } }
            @if let Some(viewer) = &frame.viewer {
                nav.main aria-label="Pages" {
                    @for (section, path, name, key) in Section::SHOWN {
                        a href=(path) data-key=(format!("g {key}")) aria-current=[(section == frame.section).then_some("page")] { (name) }
                    }
                }
                form.find action="/ui/find" method="get" role="search" {
                    label.visually-hidden for="find" { "Find a run, file, date or executor" }
                    input #find type="search" name="q" placeholder="Find a run, file, date" autocomplete="off" spellcheck="false" maxlength="2048";
                    kbd aria-hidden="true" { "/" }
                }
                (status(frame, viewer))
            }
        }
    }
}

fn status(frame: &Frame, viewer: &Viewer) -> Markup {
    html! {
        div #status .status {
            @if frame.process.leads {
                span.chip.good title="this scheduler runs the manifests" { span.dot aria-hidden="true" {} "leader" }
            } @else {
                span.chip.warn title="another scheduler runs the manifests, or none does" { span.dot aria-hidden="true" {} "standby" }
            }
            @if let Some((used, all)) = frame.process.slots { span.num title="tasks that run, of those that can at once" { (used) "/" (all) " slots" } }
            @if frame.is_live {
                button #pulse .link type="button" data-act="live" aria-pressed="true" title="pause or go on (l)" { "live" }
            }
            span.push {}
            button #zone .link type="button" data-act="zone" title="UTC or local time (z)" { "UTC" }
            form.inline method="post" action="/ui/preferences" {
                input type="hidden" name="back" value=(frame.path);
                button .link #theme type="submit" name="theme" value=(frame.theme.next().as_str()) data-act="theme" title=(format!("colours: {}; change (t)", frame.theme.as_str())) {
                    (theme_mark()) span.visually-hidden { "Change colours" }
                }
            }
            a href="/ui/help" title="help and keys (?)" { "Help" }
            form.inline method="post" action="/ui/sign-out" {
                button.link type="submit" title=(format!("signed in with the token {}, role {}", viewer.name, viewer.right.as_str())) { "Sign out" }
            }
        }
    }
}

fn page_foot(frame: &Frame) -> Markup {
    html! {
        footer.page-foot {
            span {
                @if frame.json.is_some() || frame.command.is_some() { "This page: " }
                @if let Some(json) = &frame.json {
                    a href=(json) { "JSON" }
                    " " (copy::button(&format!("curl -H \"Authorization: Bearer $MILLWORK_TOKEN\" \"$MILLWORK_SCHEDULER{json}\""), "curl"))
                }
                @if let Some(command) = &frame.command { " " code #command { (command) } (copy::button(command, "command")) }
            }
            span.push {}
            @if let Some(at) = frame.counted_at { span { "counted " (time::moment_short(at, frame.now)) } }
            span { "made " (time::moment_short(frame.now, frame.now)) }
            span { "Millwork " (frame.process.version) }
        }
    }
}

/// Logo of Millwork: grains, some of them ground.
pub fn brand_mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" focusable="false" {
            rect.a x="1" y="1" width="8" height="8" rx="1.5" {}
            rect.b x="11" y="1" width="8" height="8" rx="1.5" {}
            rect.b x="1" y="11" width="8" height="8" rx="1.5" {}
            rect.a x="11" y="11" width="8" height="8" rx="1.5" {}
        }
    }
}

fn theme_mark() -> Markup {
    html! {
        svg.icon viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" focusable="false" {
            circle cx="8" cy="8" r="6.25" fill="none" stroke="currentColor" stroke-width="1.5" {}
            path d="M8 1.75a6.25 6.25 0 0 1 0 12.5z" fill="currentColor" {}
        }
    }
}
