//! `millwork top`: live view of a scheduler in the terminal.

mod ask;
mod canvas;
mod change;
mod details;
mod draw;
mod model;
mod state;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use crate::client::{Client, ClientOptions};
use crate::exit::Exit;
use crate::list::print_json;
use anyhow::Context;
use ask::Asker;
use chrono::Utc;
use clap::Args;
use draw::Look;
use futures::StreamExt;
use model::{Model, View};
use ratatui::DefaultTerminal;
use ratatui::buffer::Buffer;
use ratatui::crossterm::{event, terminal};
use ratatui::layout::Rect;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use state::{State, Then};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::mpsc;

/// Interval of redrawing without new data, for the clock.
const CLOCK: Duration = Duration::from_secs(1);
/// Default width of a frame.
const WIDTH: u16 = 80;
/// Limit of a printed frame's lines in addition to its rows.
const OTHER_LINES: u16 = 40;

/// Show a scheduler live in the terminal: runs with their progress, dates, executors, and what needs you.
///
/// Nothing is changed, unless --write is said: then R and C retry and cancel a run, after a `y`. `?` shows the keys. When the scheduler goes, the last frame stays, and it is asked again until it is
/// back. Without a terminal, or with TERM=dumb, one frame is printed as lines.
///
/// Examples:
///   millwork top --scheduler http://10.0.0.7:8080
///   millwork top --once --view executors
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Print one frame as lines, and end
    #[arg(long)]
    once: bool,

    /// Seconds between two questions to the scheduler
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,

    /// View to show first
    #[arg(long, value_name = "VIEW", value_enum, default_value_t)]
    view: View,

    /// Let keys change something: R retries a run, C cancels it. What would change is shown first, and made after a `y`
    #[arg(long, conflicts_with_all = ["once", "json"])]
    write: bool,

    /// Print all that frames are made of as one JSON document, and end
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

/// Shows a live view until the user quits, or prints one frame.
pub(crate) async fn top(options: Options) -> anyhow::Result<ExitCode> {
    let asker = Asker::new(Client::new(&options.client)?);
    // An unreachable scheduler is reported before the terminal is taken over.
    let model = asker.all().await?;
    if options.json {
        print_json(&model)?;
    } else if options.once || !can_draw() {
        print!("{}", frame(model, options.view));
    } else {
        let mut state = State::new(model, options.view);
        state.can_write = options.write;
        return live(asker, state, Duration::from_secs(options.every)).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells whether there is a terminal that supports more than lines.
fn can_draw() -> bool {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    std::io::stdout().is_terminal() && !is_dumb
}

/// Renders one frame as lines.
fn frame(model: Model, view: View) -> String {
    let now = Utc::now();
    let state = State::new(model, view);
    let rows = state.table(now).rows.len();
    let height = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(OTHER_LINES);
    let mut buffer = Buffer::empty(Rect::new(0, 0, columns(), height));
    draw::draw(&mut buffer, &state, Look { has_colours: false, has_keys: false }, now);
    canvas::text_of(&buffer)
}

/// Width of printed output: from the environment, else that of the terminal.
fn columns() -> u16 {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok());
    let of_terminal = || terminal::size().ok().filter(|_| std::io::stdout().is_terminal()).map(|(columns, _)| columns);
    said.or_else(of_terminal).unwrap_or(WIDTH).clamp(20, 1000)
}

/// Terminal in full-screen mode; restored when dropped.
struct Screen {
    terminal: DefaultTerminal,
    look: Look,
}

impl Screen {
    /// Takes over the terminal. A panic restores it before its message is printed.
    fn open() -> anyhow::Result<Self> {
        let terminal = ratatui::try_init().context("cannot use the terminal; --once prints a frame without it")?;
        let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Self { terminal, look: Look { has_colours, has_keys: true } })
    }

    fn draw(&mut self, state: &State) -> anyhow::Result<()> {
        let draw = |frame: &mut ratatui::Frame| draw::draw(frame.buffer_mut(), state, self.look, Utc::now());
        self.terminal.draw(draw).context("cannot write to the terminal")?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Errors are ignored, since the terminal may be gone.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

async fn live(asker: Asker, mut state: State, every: Duration) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let mut screen = Screen::open()?;
    let mut events = read_events();
    let (asks, mut told) = ask::start(asker, every);
    loop {
        screen.draw(&state)?;
        tokio::select! {
            event = events.recv() => {
                let event = event.context("the terminal is gone")?.context("cannot read from the terminal")?;
                match state.on(&event, Utc::now()) {
                    Then::Quit => return Ok(ExitCode::SUCCESS),
                    Then::Ask(wish) => asks.change(wish),
                    Then::GoOn => {}
                }
            }
            Some(told) = told.recv() => state.take(told, Utc::now()),
            _ = signals.next() => return Ok(Exit::Interrupted.into()),
            () = tokio::time::sleep(CLOCK) => {}
        }
        asks.want(state.want());
    }
}

/// Reads keys on a separate thread, which ends with the process.
fn read_events() -> mpsc::Receiver<std::io::Result<event::Event>> {
    let (tell, events) = mpsc::channel(64);
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let is_over = event.is_err();
            if tell.blocking_send(event).is_err() || is_over {
                return;
            }
        }
    });
    events
}
