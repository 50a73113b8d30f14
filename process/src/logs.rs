//! Logging to stderr, as text or JSON lines.
//!
//! Every message is a single line: control characters in names and messages are escaped, as in `\u001b`, so that
//! untrusted text can neither forge lines nor control a terminal.

use crate::traces;
use std::io::{self, IsTerminal, Write};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Variable that selects the format of lines.
const VARIABLE: &str = "MILLWORK_LOG";

/// Libraries that tell in their own words what errors of ours tell in plain ones, or what any stranger can make them tell.
const QUIET_LIBRARIES: &str = "aws_config=error,h2=error";

/// Format of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// Starts logging with the filter in `RUST_LOG`, else the given one, as text, or as JSON if `MILLWORK_LOG` is `json`.
/// Within a runtime it also starts to send traces under the name of the service, if they are on.
pub fn start_logs(service: &'static str, default_filter: &str) -> anyhow::Result<()> {
    let default_filter = format!("{default_filter},{QUIET_LIBRARIES}");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| default_filter.into());
    let form = form(std::env::var(VARIABLE).ok().as_deref())?;
    let colours = form == Form::Text && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // The reader of the log may be gone, which must not end the process.
    let lines = tracing_subscriber::fmt::layer().log_internal_errors(false).with_ansi(colours);
    let lines = lines.with_writer(Stderr { colours });
    let lines = match form {
        Form::Text => lines.boxed(),
        Form::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let spans = traces::layer(service)?;
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).init();
    Ok(())
}

fn form(said: Option<&str>) -> anyhow::Result<Form> {
    match said {
        None | Some("" | "text") => Ok(Form::Text),
        Some("json") => Ok(Form::Json),
        Some(other) => anyhow::bail!("{VARIABLE} is `{}`: it is text or json", other.escape_debug()),
    }
}

/// Factory of writers to stderr.
struct Stderr {
    colours: bool,
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Escaped<io::StderrLock<'a>>;

    fn make_writer(&'a self) -> Self::Writer {
        Escaped { to: io::stderr().lock(), colours: self.colours }
    }
}

/// Writer that escapes control characters. Each write is one line with its newline.
struct Escaped<W> {
    to: W,
    /// True if colours, which are escape sequences, are passed through.
    colours: bool,
}

impl<W: Write> Write for Escaped<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.to.write_all(escaped(&String::from_utf8_lossy(line), self.colours).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The line with control characters escaped, except for its newline and, if allowed, colours.
fn escaped(line: &str, colours: bool) -> String {
    let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
    let mut text = String::with_capacity(line.len() + 1);
    for (at, letter) in line.char_indices() {
        match letter {
            '\u{1b}' if colours && is_colour(&line[at + 1..]) => text.push(letter),
            _ if letter.is_control() || is_direction(letter) => {
                text.push_str(&format!("\\u{:04x}", u32::from(letter)));
            }
            _ => text.push(letter),
        }
    }
    text.push_str(end);
    text
}

/// Tells whether a character changes the direction of text, or breaks lines without being a control character.
fn is_direction(letter: char) -> bool {
    matches!(letter, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Tells whether an escape character begins a colour: `[`, digits and semicolons, `m`.
fn is_colour(after: &str) -> bool {
    let digits = after.strip_prefix('[').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';'));
    digits.is_some_and(|rest| rest.starts_with('m'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_line_stays_one_and_steers_nothing() {
        assert_eq!(escaped("a\nb\r\u{1b}[2J\u{9b}c\n", false), "a\\u000ab\\u000d\\u001b[2J\\u009bc\n");
        assert_eq!(
            escaped("\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}", true),
            "\u{1b}[31mred\u{1b}[0m\\u001b]0;title\\u0007"
        );
        assert_eq!(escaped("ä \u{202e}\n", true), "ä \\u202e\n");
    }

    #[test]
    fn another_form_is_refused() {
        assert_eq!(form(Some("json")).unwrap(), Form::Json);
        assert_eq!(form(Some("")).unwrap(), Form::Text);
        assert!(form(Some("xml")).unwrap_err().to_string().contains("MILLWORK_LOG"));
    }

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_lines_have_the_fields_of_their_event_and_its_span() {
        let kept = Kept::default();
        let to = kept.clone();
        let lines = tracing_subscriber::fmt().json().flatten_event(true).with_span_list(false);
        let lines = lines.with_writer(move || Escaped { to: to.clone(), colours: false });
        tracing::subscriber::with_default(lines.finish(), || {
            let _run = tracing::info_span!("run", manifest = "m1", attempt = 2).entered();
            tracing::info!(file = "s3://b/\u{1b}[2J\n\u{9b}", "a file is refused");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "a file is refused");
        assert_eq!(line["file"], "s3://b/\u{1b}[2J\n\u{9b}");
        assert_eq!((&line["span"]["manifest"], &line["span"]["attempt"]), (&"m1".into(), &2.into()));
        assert!(!text.trim_end().contains(char::is_control));
    }
}
