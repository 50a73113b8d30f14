//! Drawing of text on a buffer of cells: text stays within the buffer, even with wide characters, and control
//! characters have no effect.

use super::model::Tone;
use millwork_manifest::printable;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

/// Gap between two parts of a line, in cells.
pub(super) const GAP: usize = 2;

/// Terminal style of a tone, with one of 16 colours, or without colour.
pub(super) fn style(tone: Tone, has_colours: bool) -> Style {
    let (colour, modifier) = match tone {
        Tone::Plain => (None, Modifier::empty()),
        Tone::Dim => (None, Modifier::DIM),
        Tone::Strong => (None, Modifier::BOLD),
        Tone::Active => (None, Modifier::REVERSED),
        Tone::Good => (Some(Color::Green), Modifier::empty()),
        Tone::Warn => (Some(Color::Yellow), Modifier::empty()),
        Tone::Bad => (Some(Color::Red), Modifier::BOLD),
    };
    let style = Style::new().add_modifier(modifier);
    colour.filter(|_| has_colours).map_or(style, |colour| style.fg(colour))
}

/// Width of a text in cells.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// A part of a line, which is not wrapped.
pub(super) type Part = (Tone, String);

/// A buffer that is filled from the top.
pub(super) struct Canvas<'a> {
    buffer: &'a mut Buffer,
    /// Unused area of the buffer.
    pub(super) area: Rect,
    has_colours: bool,
}

impl<'a> Canvas<'a> {
    pub(super) fn new(buffer: &'a mut Buffer, has_colours: bool) -> Self {
        let area = buffer.area;
        Self { buffer, area, has_colours }
    }

    pub(super) fn buffer(&mut self) -> &mut Buffer {
        self.buffer
    }

    pub(super) fn style(&self, tone: Tone) -> Style {
        style(tone, self.has_colours)
    }

    /// Draws text on the next line at column `x`, in at most `room` cells; longer text ends in `…`.
    pub(super) fn put(&mut self, x: usize, text: &str, room: usize, style: Style) {
        let room = room.min(usize::from(self.area.width).saturating_sub(x));
        let Ok(x) = u16::try_from(x) else { return };
        if self.area.height == 0 || room == 0 {
            return;
        }
        let text = printable(text);
        let (x, y) = (self.area.x + x, self.area.y);
        if width(&text) <= room {
            self.buffer.set_stringn(x, y, text, room, style);
        } else {
            let (x, _) = self.buffer.set_stringn(x, y, text, room - 1, style);
            self.buffer.set_stringn(x, y, "…", 1, style);
        }
    }

    /// Moves to the next line.
    pub(super) fn feed(&mut self) {
        if self.area.height > 0 {
            self.area.y += 1;
            self.area.height -= 1;
        }
    }

    /// Draws parts one after another, on up to `lines` lines.
    pub(super) fn flow(&mut self, parts: &[Part], lines: u16) {
        let right = usize::from(self.area.width);
        let (mut x, mut line) = (1, 1);
        for (tone, text) in parts {
            let wide = width(&printable(text));
            if x > 1 && x + wide > right {
                if line == lines {
                    break;
                }
                self.feed();
                (x, line) = (1, line + 1);
            }
            self.put(x, text, right, self.style(*tone));
            x += wide + GAP;
        }
        self.feed();
    }

    /// Splits lines off the end of the area.
    pub(super) fn split_end(&mut self, lines: u16) -> Rect {
        let lines = lines.min(self.area.height);
        self.area.height -= lines;
        Rect { y: self.area.y + self.area.height, height: lines, ..self.area }
    }
}

/// Lines of a buffer as text, without trailing blanks.
pub(super) fn text_of(buffer: &Buffer) -> String {
    let mut lines: Vec<String> = Vec::new();
    for y in buffer.area.rows() {
        let mut line = String::new();
        let mut covered = 0;
        for x in y.x..y.right() {
            let symbol = buffer[(x, y.y)].symbol();
            // A wide character also covers the following cells.
            if covered == 0 {
                line.push_str(symbol);
            }
            covered = covered.max(width(symbol)).saturating_sub(1);
        }
        lines.push(line.trim_end().to_owned());
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines.into_iter().map(|line| line + "\n").collect()
}
