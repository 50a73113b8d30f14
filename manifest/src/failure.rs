//! Why runs fail.

use crate::shown::is_unsafe;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt::{self, Write as _};

/// Limit of the message of a failure, in bytes: 4 KiB. It is stored with each attempt, logged and shown, so that what input makes of it
/// must not grow with the input.
pub const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// Stands at the end of a message that was cut.
const CUT: &str = "…";

/// The kinds of failure, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The input is not as the manifest says: missing, changed, damaged, or not to be converted by this query.
    Input,
    /// Storage did not do what was asked.
    Storage,
    /// Memory or disk ran out.
    Resources,
    /// An executor went away.
    LostExecutor,
    /// The run took longer than it may.
    Timeout,
    /// Somebody cancelled the run.
    Cancelled,
    /// A defect of Millwork's.
    Bug,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 7] =
        [Self::Input, Self::Storage, Self::Resources, Self::LostExecutor, Self::Timeout, Self::Cancelled, Self::Bug];

    /// Tells whether the same attempt, made again, may succeed.
    pub fn can_pass(self) -> bool {
        matches!(self, Self::Storage | Self::Resources | Self::LostExecutor | Self::Timeout)
    }

    /// The name under which the class is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Storage => "storage",
            Self::Resources => "resources",
            Self::LostExecutor => "lost-executor",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Bug => "bug",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Kind of the failure.
    pub class: FailureClass,
    /// Description of what happened, naming the file and line where there is one: at most [`MAX_MESSAGE_BYTES`],
    /// control characters escaped. It never holds values of rows.
    #[serde(deserialize_with = "received")]
    pub message: String,
    /// The URI of the one input file that is at fault, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Failure {
    /// Returns the failure with the URI of the input file that is at fault.
    #[must_use]
    pub fn of_file(self, uri: impl fmt::Display) -> Self {
        Self { file: Some(uri.to_string()), ..self }
    }

    /// A failure of this kind, described by an error's text, which is cut if it is too long. What could move the cursor of a terminal
    /// or forge a line of a log is escaped.
    pub fn new(class: FailureClass, message: impl fmt::Display) -> Self {
        Self { class, message: shown(message, is_unsafe), file: None }
    }

    /// Returns the failure with lines of the operator's own below its message, such as one of a query. The lines are
    /// left out where they find no room.
    #[must_use]
    pub fn with_excerpt(mut self, lines: &[&str]) -> Self {
        let excerpt: Vec<_> = lines.iter().map(|line| shown(line, is_unsafe)).collect();
        let bytes: usize = excerpt.iter().map(|line| line.len() + 1).sum();
        if self.message.len() + bytes <= MAX_MESSAGE_BYTES {
            for line in excerpt {
                self.message.push('\n');
                self.message.push_str(&line);
            }
        }
        self
    }
}

/// A message from another process, which may have been put together by other rules.
fn received<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let message = String::deserialize(deserializer)?;
    Ok(shown(message, |character| character != '\n' && is_unsafe(character)))
}

/// The text of a message within its limit, some of its characters escaped.
fn shown(message: impl fmt::Display, is_escaped: fn(char) -> bool) -> String {
    let mut text = Bounded { text: String::new(), is_escaped };
    // Writing fails only once the text is longer than a message may be.
    let _ = write!(text, "{message}");
    let mut text = text.text;
    if text.len() > MAX_MESSAGE_BYTES {
        text.truncate(text.floor_char_boundary(MAX_MESSAGE_BYTES - CUT.len()));
        text.push_str(CUT);
    }
    text
}

/// Takes text until it is more than a message may have.
struct Bounded {
    text: String,
    is_escaped: fn(char) -> bool,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        for character in more.chars() {
            match (self.is_escaped)(character) {
                true => self.text.extend(character.escape_default()),
                false => self.text.push(character),
            }
            if self.text.len() > MAX_MESSAGE_BYTES {
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        Failure::new(FailureClass::Input, text).message
    }

    #[test]
    fn a_message_of_the_limit_is_whole_and_a_longer_one_is_cut_between_characters() {
        let most = "x".repeat(MAX_MESSAGE_BYTES);
        assert_eq!(message(&most), most);
        let cut = message(&format!("{most}x"));
        assert_eq!(cut, format!("{}{CUT}", &most[..MAX_MESSAGE_BYTES - CUT.len()]));
        for text in ["é".repeat(MAX_MESSAGE_BYTES), "\0".repeat(8 << 20), format!("x{}", "😀".repeat(2000))] {
            let cut = message(&text);
            assert!(
                cut.len() <= MAX_MESSAGE_BYTES && cut.len() > MAX_MESSAGE_BYTES - 20 && cut.ends_with(CUT),
                "{cut}"
            );
        }
    }

    #[test]
    fn control_characters_are_shown_escaped() {
        assert_eq!(message("a\u{1b}[2J\nmanifest x completed\r\0"), "a\\u{1b}[2J\\nmanifest x completed\\r\\u{0}");
        assert_eq!(message("a\u{202e}b\u{2028}é😀\\"), "a\\u{202e}b\\u{2028}é😀\\");
    }

    #[test]
    fn an_excerpt_stands_below_the_message_if_there_is_room() {
        let failure = |length: usize| {
            Failure::new(FailureClass::Input, "x".repeat(length)).with_excerpt(&["  SELECT\ta", "         ^"]).message
        };
        assert_eq!(failure(1), "x\n  SELECT\\ta\n         ^");
        let room = MAX_MESSAGE_BYTES - "\n  SELECT\\ta\n         ^".len();
        assert_eq!([failure(room).len(), failure(room + 1).len()], [MAX_MESSAGE_BYTES, room + 1]);
    }

    #[test]
    fn what_another_process_says_is_bounded_too() {
        let failure = Failure::new(FailureClass::Bug, "a\tb").with_excerpt(&["c"]).of_file("f");
        let json = serde_json::to_string(&failure).unwrap();
        assert_eq!(serde_json::from_str::<Failure>(&json).unwrap(), failure);
        let json = serde_json::json!({"class": "bug", "message": "\u{1b}".repeat(8 << 20)});
        let long: Failure = serde_json::from_value(json).unwrap();
        assert!(long.message.len() <= MAX_MESSAGE_BYTES && long.message.starts_with("\\u{1b}"), "{long}");
    }
}
