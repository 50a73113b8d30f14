//! Rendering of a frame, as a pure function of the state and the time.

use super::canvas::{Canvas, GAP, Part, width};
use super::change::Change;
use super::details;
use super::model::{Model, Tone, View};
use super::state::State;
use super::tables::{Column, Table};
use super::words::{bars, gauge, later, rate, time};
use crate::table::bytes;
use chrono::{DateTime, Utc};
use millwork_api::Outlook;
use millwork_diagnosis::number;
use millwork_manifest::{FileState, printable};
use ratatui::buffer::Buffer;
use ratatui::text::{Line, Text};
use ratatui::widgets::{Paragraph, Widget, Wrap};

/// Least width of the last column, if it is not empty, in cells.
const MIN_LAST: usize = 20;
/// Width of the gauge of slots, in cells.
const GAUGE: usize = 16;

const HELP: [&str; 13] = [
    "1 to 5      Runs, Dates, Executors, Attention, Events",
    "j k ↓ ↑     the next row, the one before; PgDn PgUp, g G",
    "Enter       all that is told of the row; Esc goes back",
    "/           only rows that hold a text; Esc shows all",
    "o           address of the same page in the web UI",
    "p           pause: nothing changes until p again",
    "R C         with --write: retry or cancel the run; shown first, made after y",
    "q, Ctrl-C   quit",
    "",
    "in: input that comes; out: input that is converted",
    "· waits   ● in work   ↻ waits after a failure   ✗ failed",
    "",
    "Without --write nothing is changed from here: see `millwork runs`.",
];

/// Appearance of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) has_colours: bool,
    /// True if keys are handled.
    pub(super) has_keys: bool,
}

/// Draws a frame on an empty buffer.
pub(super) fn draw(buffer: &mut Buffer, state: &State, look: Look, now: DateTime<Utc>) {
    let mut canvas = Canvas::new(buffer, look.has_colours);
    // Limited, so that most of the window remains for rows.
    let lines = (canvas.area.height / 6).max(1);
    canvas.flow(&heading(state, now), lines);
    canvas.flow(&totals(&state.model, now), lines);
    canvas.flow(&tabs(state, look), 2);
    let footer = look.has_keys.then(|| canvas.split_end(1));
    match &state.opened {
        _ if state.change.is_some() => {
            paragraph(&mut canvas, state.change.iter().flat_map(Change::lines).collect(), 0);
        }
        _ if state.has_help => paragraph(&mut canvas, HELP.map(|line| (Tone::Plain, line.to_owned())).into(), 0),
        Some(opened) => paragraph(&mut canvas, details::lines(state, opened, now), opened.scroll),
        None => draw_table(&mut canvas, state, look, now),
    }
    if let Some(area) = footer {
        canvas.area = area;
        canvas.flow(&keys(state), 1);
    }
}

fn heading(state: &State, now: DateTime<Utc>) -> Vec<Part> {
    let model = &state.model;
    let stats = &model.main.stats;
    let address = model.scheduler.split_once("://").map_or(model.scheduler.as_str(), |(_, address)| address);
    let mut parts = vec![(Tone::Strong, "millwork top".to_owned())];
    match (&state.away, &model.leader) {
        (Some(away), _) => {
            let text = format!("{address} away since {}: {}", away.since.format("%H:%M:%S"), away.reason);
            parts.push((Tone::Bad, text));
        }
        (None, Some(leader)) if stats.leads => parts.push((Tone::Good, format!("{leader} leads"))),
        (None, None) if stats.leads => parts.push((Tone::Good, format!("{address} leads"))),
        (None, Some(leader)) => parts.push((Tone::Warn, format!("{address} stands by, {leader} leads"))),
        (None, None) => parts.push((Tone::Warn, format!("{address} stands by"))),
    }
    if state.is_paused {
        parts.push((Tone::Active, format!("paused at {}", time(model.main.at, now))));
    }
    parts.push(backlog(model, now));
    if let Some(arrival) = stats.forecast.arrival_bytes_per_second {
        parts.push((Tone::Plain, format!("in {}", rate(arrival))));
    }
    if let Some(done) = stats.bytes_per_second {
        parts.push((Tone::Plain, format!("out {}", rate(done))));
    }
    parts.push((Tone::Plain, now.format("%H:%M:%S UTC").to_string()));
    parts
}

fn backlog(model: &Model, now: DateTime<Utc>) -> Part {
    let forecast = &model.main.stats.forecast;
    let waits = format!("backlog {}", bytes(forecast.backlog_bytes));
    let at = |seconds: Option<f64>| seconds.and_then(|seconds| later(now, seconds));
    match (forecast.outlook, at(forecast.drain_seconds)) {
        (Outlook::Empty, _) => (Tone::Good, "no backlog".to_owned()),
        (Outlook::Growing, _) => (Tone::Warn, format!("{waits}, which grows")),
        (Outlook::Draining, Some(done)) => match (at(forecast.low_seconds), at(forecast.high_seconds)) {
            (Some(low), Some(high)) => (Tone::Plain, format!("{waits}, done {done} ({low} to {high})")),
            _ => (Tone::Plain, format!("{waits}, done {done}")),
        },
        _ => (Tone::Plain, waits),
    }
}

/// Throughput of the last hour, slots, and files by state.
fn totals(model: &Model, now: DateTime<Utc>) -> Vec<Part> {
    let stats = &model.main.stats;
    let mut parts = Vec::new();
    if let Some(bars) = bars(&model.throughput, now) {
        parts.push((Tone::Plain, format!("{bars} out 60 min")));
    }
    if stats.leads {
        let tone = if stats.slots == 0 { Tone::Bad } else { Tone::Plain };
        let bar = gauge(stats.slots_used, stats.slots, GAUGE);
        parts.push((tone, format!("slots {bar} {}/{}", stats.slots_used, stats.slots)));
    }
    let files = [
        (Tone::Plain, "pending", &[FileState::Pending][..]),
        (Tone::Plain, "in work", &[FileState::Manifested, FileState::Processing]),
        (Tone::Good, "done", &[FileState::Completed]),
        (Tone::Bad, "failed", &[FileState::Failed]),
        (Tone::Warn, "refused", &[FileState::Quarantined]),
    ];
    let counted = files.map(|(tone, name, states)| (tone, name, model.files(states)));
    for (i, (tone, name, count)) in counted.into_iter().filter(|(.., count)| *count > 0).enumerate() {
        let of = if i == 0 { "files: " } else { "" };
        parts.push((tone, format!("{of}{name} {}", number(count))));
    }
    parts
}

fn tabs(state: &State, look: Look) -> Vec<Part> {
    let concerns = state.model.items().len();
    let tab = |(i, view): (usize, View)| {
        let number = if look.has_keys { format!("{} ", i + 1) } else { String::new() };
        let count = if view == View::Attention && concerns > 0 { format!("({concerns})") } else { String::new() };
        let text = format!("{number}{}{count}", view.name());
        match view == state.view {
            // Brackets mark the selection without colours, and for screen readers.
            true => (Tone::Active, format!("[{text}]")),
            false => (Tone::Plain, text),
        }
    };
    let mut parts: Vec<Part> = View::ALL.into_iter().enumerate().map(tab).collect();
    if state.is_typing || !state.filter.is_empty() {
        let cursor = if state.is_typing { "▏" } else { "" };
        parts.push((Tone::Strong, format!("/ {}{cursor}", state.filter)));
    }
    parts
}

fn keys(state: &State) -> Vec<Part> {
    if let Some(answer) = &state.answer {
        return vec![answer.clone()];
    }
    let keys: &[&str] = match (state.is_typing, state.has_help || state.opened.is_some()) {
        _ if state.change.as_ref().is_some_and(|change| change.ready().is_some()) => {
            &["y do it", "any other key: leave it"]
        }
        _ if state.change == Some(Change::Applying) => &["wait for the answer", "q quit: it goes on"],
        _ if state.change.is_some() => &["any key: back"],
        (false, false) if state.can_write => {
            &["? help", "q quit", "↑↓ move", "Enter show", "/ filter", "R retry", "C cancel", "p pause"]
        }
        (true, _) => &["Enter keep the filter", "Esc show all"],
        (false, true) => &["Esc back", "↑↓ scroll", "o link", "q quit"],
        (false, false) => &["? help", "q quit", "↑↓ jk move", "Enter show", "/ filter", "p pause", "o link"],
    };
    keys.iter().map(|key| (Tone::Dim, (*key).to_owned())).collect()
}

fn paragraph(canvas: &mut Canvas, lines: Vec<Part>, scroll: u16) {
    let last = u16::try_from(lines.len().saturating_sub(1)).unwrap_or(u16::MAX);
    let line = |(tone, text): Part| Line::styled(printable(&text).into_owned(), canvas.style(tone));
    let text: Text = lines.into_iter().map(line).collect();
    let mut area = canvas.area;
    area.x += 1.min(area.width);
    area.width = area.width.saturating_sub(1);
    Paragraph::new(text).wrap(Wrap { trim: false }).scroll((scroll.min(last), 0)).render(area, canvas.buffer());
}

fn draw_table(canvas: &mut Canvas, state: &State, look: Look, now: DateTime<Utc>) {
    let table = state.table(now);
    let columns = fit(&table, usize::from(canvas.area.width).saturating_sub(GAP));
    let headings: Vec<String> = table.columns.iter().map(|column| column.heading.to_owned()).collect();
    if !table.rows.is_empty() {
        let dim = canvas.style(Tone::Dim);
        put_cells(canvas, &table.columns, &columns, &headings, |_| dim);
    }
    let room = usize::from(canvas.area.height).saturating_sub(usize::from(table.note.is_some()));
    let chosen = state.place_in(&table);
    let first = (chosen + 1).saturating_sub(room);
    for (place, row) in table.rows.iter().enumerate().skip(first).take(room) {
        let is_chosen = look.has_keys && place == chosen;
        let (plain, toned) = (canvas.style(Tone::Plain), canvas.style(row.tone));
        if is_chosen {
            canvas.put(0, "▸", 1, canvas.style(Tone::Strong));
        }
        put_cells(canvas, &table.columns, &columns, &row.cells, |column| {
            let style = if column == 1 { toned } else { plain };
            if is_chosen { style.patch(super::canvas::style(Tone::Strong, false)) } else { style }
        });
    }
    if let Some(note) = &table.note {
        canvas.put(GAP, note, usize::MAX, canvas.style(Tone::Dim));
    }
}

fn put_cells(
    canvas: &mut Canvas,
    columns: &[Column],
    fitted: &[(usize, usize)],
    cells: &[String],
    style: impl Fn(usize) -> ratatui::style::Style,
) {
    let mut x = GAP;
    for &(i, room) in fitted {
        let (Some(cell), Some(column)) = (cells.get(i), columns.get(i)) else { continue };
        let before = if column.is_number { room.saturating_sub(width(cell)) } else { 0 };
        canvas.put(x + before, cell, room - before, style(i));
        x += room + GAP;
    }
    canvas.feed();
}

/// Columns to show, with their widths. If there is not enough room, columns of the highest ranks are dropped first, and
/// then contents are cut. Empty columns are left out.
pub(super) fn fit(table: &Table, room: usize) -> Vec<(usize, usize)> {
    let last = table.columns.len().saturating_sub(1);
    let natural = |i: usize| table.rows.iter().map(|row| width(&row.cells[i])).max().unwrap_or(0);
    let limit = |i: usize, wide: usize| if i == 0 { wide.min((room * 2 / 5).max(20)) } else { wide };
    let mut shown: Vec<(usize, usize)> = (0..=last)
        .map(|i| (i, natural(i)))
        .filter(|(_, wide)| *wide > 0)
        .map(|(i, wide)| (i, limit(i, wide.max(table.columns[i].heading.len()))))
        .collect();
    let least = |shown: &[(usize, usize)]| -> usize {
        let of = |&(i, wide): &(usize, usize)| if i == last { wide.min(MIN_LAST) } else { wide };
        shown.iter().map(of).sum::<usize>() + GAP * shown.len().saturating_sub(1)
    };
    while least(&shown) > room {
        let Some(at) = (0..shown.len()).max_by_key(|at| table.columns[shown[*at].0].rank) else { break };
        if table.columns[shown[at].0].rank == 0 {
            break;
        }
        shown.remove(at);
    }
    give_rest(table, &mut shown, room, last, natural);
    shown
}

/// Gives the remaining width to the last column, and then to the first.
fn give_rest(table: &Table, shown: &mut [(usize, usize)], room: usize, last: usize, natural: impl Fn(usize) -> usize) {
    let gaps = GAP * shown.len().saturating_sub(1);
    let others: usize = shown.iter().filter(|(i, _)| *i != last).map(|(_, wide)| wide).sum();
    let rest = room.saturating_sub(gaps + others);
    if let Some((_, wide)) = shown.iter_mut().find(|(i, _)| *i == last) {
        *wide = (*wide).min(rest);
    }
    let used: usize = shown.iter().map(|(_, wide)| wide).sum();
    let rest = room.saturating_sub(gaps + used);
    if let Some((i, wide)) = shown.first_mut().filter(|(i, _)| !table.columns[*i].is_number) {
        *wide = natural(*i).max(*wide).min(*wide + rest);
    }
}
