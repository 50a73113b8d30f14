//! State of the user interface, and effects of keys.

use super::ask::{Told, Want, reason_of};
use super::change::{Change, Wish, outcome};
use super::model::{Model, Tone, View};
use super::tables::{Table, run_of, subject_of};
use chrono::{DateTime, Utc};
use millwork_api::{Action, Plan, PlanState, path};
use millwork_diagnosis::Subject;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// Rows that a page key moves.
const PAGE: isize = 10;
/// Limit of the length of a filter, in characters.
const MAX_FILTER_CHARS: usize = 60;

/// Next action after a key.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Then {
    GoOn,
    Quit,
    /// Request a change from the scheduler.
    Ask(Wish),
}

/// A row whose details are shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opened {
    pub(super) view: View,
    pub(super) key: String,
    /// Lines scrolled out of the window.
    pub(super) scroll: u16,
}

/// An unreachable scheduler.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Away {
    pub(super) since: DateTime<Utc>,
    pub(super) reason: String,
}

/// State from which a frame is drawn.
pub(super) struct State {
    pub(super) model: Model,
    pub(super) view: View,
    pub(super) filter: String,
    /// True while keys are typed into the filter.
    pub(super) is_typing: bool,
    pub(super) has_help: bool,
    pub(super) is_paused: bool,
    /// True if keys may change something.
    pub(super) can_write: bool,
    /// Change in progress.
    pub(super) change: Option<Change>,
    pub(super) opened: Option<Opened>,
    pub(super) away: Option<Away>,
    /// Message about the last key.
    pub(super) answer: Option<(Tone, String)>,
    /// Selected row, by its key and index.
    chosen: (String, usize),
}

impl State {
    pub(super) fn new(model: Model, view: View) -> Self {
        Self {
            model,
            view,
            filter: String::new(),
            is_typing: false,
            has_help: false,
            is_paused: false,
            can_write: false,
            change: None,
            opened: None,
            away: None,
            answer: None,
            chosen: (String::new(), 0),
        }
    }

    /// Updates the state with received data. An unreachable scheduler leaves everything unchanged.
    pub(super) fn take(&mut self, told: Told, now: DateTime<Utc>) {
        match told {
            Told::Event(change) => self.model.hear(*change),
            Told::Plan(plan) => self.take_plan(*plan),
            Told::Slow(slow) => self.model.take(*slow),
            Told::Main(main) => match *main {
                Ok(main) => {
                    self.model.main = main;
                    if self.away.take().is_some() {
                        // Another scheduler may be the leader by now.
                        self.model.leader = None;
                    }
                }
                Err(error) => {
                    let since = self.away.take().map_or(now, |away| away.since);
                    self.away = Some(Away { since, reason: reason_of(&error) });
                }
            },
        }
    }

    /// Data that the next requests should fetch.
    pub(super) fn want(&self) -> Want {
        Want { dates: self.view == View::Dates, about: self.about(), paused: self.is_paused }
    }

    fn about(&self) -> Option<Subject> {
        self.opened.as_ref().and_then(|opened| subject_of(opened.view, &opened.key))
    }

    pub(super) fn table(&self, now: DateTime<Utc>) -> Table {
        self.model.table(self.view, &self.filter, now)
    }

    /// Index of the selected row in a table: that of its key, else its former index.
    pub(super) fn place_in(&self, table: &Table) -> usize {
        let (key, place) = &self.chosen;
        let found = table.rows.iter().position(|row| &row.key == key);
        found.unwrap_or(*place).min(table.rows.len().saturating_sub(1))
    }

    /// Handles an event of the terminal.
    pub(super) fn on(&mut self, event: &Event, now: DateTime<Utc>) -> Then {
        let Event::Key(key) = event else { return Then::GoOn };
        if key.kind == KeyEventKind::Release {
            return Then::GoOn;
        }
        self.answer = None;
        let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'C') if with_control => Then::Quit,
            KeyCode::Char(_) if with_control => Then::GoOn,
            _ if self.is_typing => {
                self.on_typed(key);
                Then::GoOn
            }
            KeyCode::Char('q') => Then::Quit,
            code if self.change.is_some() => self.on_change(code),
            KeyCode::Char('R') => self.wish(Action::Retry, now),
            KeyCode::Char('C') => self.wish(Action::Cancel, now),
            _ => {
                self.on_key(key.code, now);
                Then::GoOn
            }
        }
    }

    /// Requests a plan for the selected or opened run.
    fn wish(&mut self, action: Action, now: DateTime<Utc>) -> Then {
        let key = self.opened.as_ref().map(|opened| opened.key.clone()).or_else(|| self.chosen_key(now));
        let run = key.as_deref().and_then(|key| run_of(self.view, key));
        match (self.can_write, run) {
            (false, _) => self.answer = Some((Tone::Warn, "say --write to change something from here".to_owned())),
            (true, None) => self.answer = Some((Tone::Warn, "choose a run first: 1, then j and k".to_owned())),
            (true, Some(id)) => {
                let wish = Wish::Plan(action, id.to_owned());
                self.change = Some(Change::Waiting);
                return Then::Ask(wish);
            }
        }
        Then::GoOn
    }

    /// Applies the shown plan after a `y`; any other key discards it.
    fn on_change(&mut self, code: KeyCode) -> Then {
        let plan = self.change.as_ref().and_then(Change::ready).map(|plan| plan.id.clone());
        match (code, plan) {
            (KeyCode::Char('y'), Some(id)) => {
                self.change = Some(Change::Applying);
                Then::Ask(Wish::Apply(id))
            }
            (KeyCode::Char('y'), None) => Then::GoOn,
            _ if self.change == Some(Change::Applying) => Then::GoOn,
            _ => {
                self.change = None;
                self.answer = Some((Tone::Plain, "nothing was changed".to_owned()));
                Then::GoOn
            }
        }
    }

    /// Handles a plan that was made or applied. If the user no longer waits for it, only its results are shown.
    fn take_plan(&mut self, plan: anyhow::Result<Plan>) {
        let is_awaited = matches!(self.change, Some(Change::Waiting | Change::Applying));
        match plan {
            Ok(plan) if plan.state == PlanState::Open => {
                if is_awaited {
                    self.change = Some(Change::Shown(Box::new(plan)));
                }
                return;
            }
            Ok(plan) => self.answer = Some(outcome(&plan)),
            Err(error) => self.answer = Some((Tone::Bad, reason_of(&error))),
        }
        if is_awaited {
            self.change = None;
        }
    }

    fn on_typed(&mut self, key: &KeyEvent) {
        match key.code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(character) if self.filter.chars().count() < MAX_FILTER_CHARS => self.filter.push(character),
            _ => {}
        }
    }

    fn on_key(&mut self, code: KeyCode, now: DateTime<Utc>) {
        match code {
            KeyCode::Char('?') => self.has_help = !self.has_help,
            KeyCode::Esc => self.back(),
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Char('/') => {
                (self.opened, self.has_help, self.is_typing) = (None, false, true);
            }
            KeyCode::Char('o') => self.tell_link(now),
            KeyCode::Enter => self.open(now),
            KeyCode::Char(digit @ '1'..='5') => {
                let place = usize::from(digit as u8 - b'1');
                (self.view, self.opened, self.has_help) = (View::ALL[place], None, false);
                self.chosen = (String::new(), 0);
            }
            KeyCode::Down | KeyCode::Char('j') => self.step(1, now),
            KeyCode::Up | KeyCode::Char('k') => self.step(-1, now),
            KeyCode::PageDown => self.step(PAGE, now),
            KeyCode::PageUp => self.step(-PAGE, now),
            KeyCode::Home | KeyCode::Char('g') => self.step(isize::MIN, now),
            KeyCode::End | KeyCode::Char('G') => self.step(isize::MAX, now),
            _ => {}
        }
    }

    /// Closes what was opened last; finally clears the filter.
    fn back(&mut self) {
        if self.has_help {
            self.has_help = false;
        } else if self.opened.take().is_none() {
            self.filter.clear();
        }
    }

    fn open(&mut self, now: DateTime<Utc>) {
        if self.opened.is_none() && !self.has_help {
            let key = self.chosen_key(now);
            self.opened = key.map(|key| Opened { view: self.view, key, scroll: 0 });
        }
    }

    fn chosen_key(&self, now: DateTime<Utc>) -> Option<String> {
        let table = self.table(now);
        table.rows.get(self.place_in(&table)).map(|row| row.key.clone())
    }

    fn step(&mut self, by: isize, now: DateTime<Utc>) {
        if let Some(opened) = &mut self.opened {
            let by = i16::try_from(by.clamp(-1000, 1000)).unwrap_or_default();
            opened.scroll = opened.scroll.saturating_add_signed(by).min(1000);
            return;
        }
        let table = self.table(now);
        let last = table.rows.len().saturating_sub(1);
        let place = self.place_in(&table).saturating_add_signed(by).min(last);
        let key = table.rows.get(place).map(|row| row.key.clone());
        self.chosen = (key.unwrap_or_default(), place);
    }

    /// Shows the URL of the same view in the web UI.
    fn tell_link(&mut self, now: DateTime<Utc>) {
        let key = self.opened.as_ref().map(|opened| opened.key.clone()).or_else(|| self.chosen_key(now));
        let page = match (self.view, key) {
            (view @ (View::Runs | View::Events), Some(key)) => {
                path::run(run_of(view, &key).unwrap_or_default()).replacen(path::BASE, "/ui", 1)
            }
            (View::Runs | View::Events, None) => "/ui/runs".to_owned(),
            (View::Dates, Some(date)) => format!("/ui/dates/{}", path::segment(&date)),
            (View::Dates, None) => "/ui/dates".to_owned(),
            (View::Executors, _) => "/ui/cluster".to_owned(),
            (View::Attention, _) => "/ui/".to_owned(),
        };
        self.answer = Some((Tone::Strong, format!("{}{page}", self.model.scheduler)));
    }
}
