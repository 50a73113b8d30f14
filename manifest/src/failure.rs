//! Failures of runs.

use crate::shown::is_unsafe;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::HashSet;
use std::fmt::{self, Write as _};

/// Limit of a failure's message, in bytes: 4 KiB. Messages are stored with each attempt, logged and shown, and must not
/// grow with the input.
pub const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// Limit of the further files at fault in a failure: 64. Each is stored with its reason; others are found by the next
/// run of the remaining files.
pub const MAX_OTHER_FAULTS: usize = 64;

/// Limit of the reason stored for each further file at fault, in bytes: 512.
const MAX_FAULT_BYTES: usize = 512;

/// Mark at the end of a truncated message.
const CUT: &str = "…";

/// Classes of failures, by possible remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The input is missing, changed, damaged, or cannot be converted by this query.
    Input,
    /// Storage failed.
    Storage,
    /// Memory or disk ran out.
    Resources,
    /// An executor was lost.
    LostExecutor,
    /// The run exceeded its time limit.
    Timeout,
    /// The run was cancelled.
    Cancelled,
    /// A defect of Millwork.
    Bug,
}

impl FailureClass {
    /// All classes.
    pub const ALL: [Self; 7] =
        [Self::Input, Self::Storage, Self::Resources, Self::LostExecutor, Self::Timeout, Self::Cancelled, Self::Bug];

    /// Tells whether a repeated attempt may succeed.
    pub fn can_pass(self) -> bool {
        matches!(self, Self::Storage | Self::Resources | Self::LostExecutor | Self::Timeout)
    }

    /// Name under which the class is stored and shown.
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

/// Failure of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Class of the failure.
    pub class: FailureClass,
    /// Description with file and line, where known: at most [`MAX_MESSAGE_BYTES`], with control characters escaped.
    /// Never contains values of rows.
    #[serde(deserialize_with = "received")]
    pub message: String,
    /// URI of the input file at fault, or of the first of several; `None` if no file is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Further files at fault: at most [`MAX_OTHER_FAULTS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<FileFault>,
}

/// An input file that cannot be converted for a reason of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFault {
    /// The URI of the file.
    pub file: String,
    /// Reason, as in [`Failure::message`].
    #[serde(deserialize_with = "received")]
    pub message: String,
}

impl Failure {
    /// Sets the input file at fault.
    #[must_use]
    pub fn of_file(self, uri: impl fmt::Display) -> Self {
        Self { file: Some(uri.to_string()), ..self }
    }

    /// Failure for files at fault; the message of the first tells the number of others. Duplicates count once. `None`
    /// without a file.
    pub fn of_files(faults: impl IntoIterator<Item = FileFault>) -> Option<Self> {
        let mut faults = faults.into_iter();
        let first = faults.next()?;
        let mut seen = HashSet::from([first.file.clone()]);
        let mut others: Vec<_> = faults.filter(|fault| seen.insert(fault.file.clone())).collect();
        let more = match others.len() {
            0 => String::new(),
            1 => "; another file of its manifest is at fault, too".to_owned(),
            others => format!("; {others} other files of its manifest are at fault, too"),
        };
        others.truncate(MAX_OTHER_FAULTS);
        for other in &mut others {
            cut(&mut other.message, MAX_FAULT_BYTES);
        }
        let mut message = first.message;
        cut(&mut message, MAX_MESSAGE_BYTES - more.len());
        message.push_str(&more);
        Some(Self { class: FailureClass::Input, message, file: Some(first.file), others })
    }

    /// Reason for which a file is at fault; `None` if it is not.
    pub fn fault_of(&self, uri: &str) -> Option<&str> {
        let first = self.file.as_deref().map(|file| (file, self.message.as_str()));
        let others = self.others.iter().map(|fault| (fault.file.as_str(), fault.message.as_str()));
        first.into_iter().chain(others).find(|(file, _)| *file == uri).map(|(_, message)| message)
    }

    /// URIs of all named files at fault.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.file.as_deref().into_iter().chain(self.others.iter().map(|fault| fault.file.as_str()))
    }

    /// Converts a failure due to a single file into the fault of that file; returns the failure itself if it is not due
    /// to a file.
    pub fn into_own_fault(self) -> Result<FileFault, Self> {
        match self.file {
            Some(file) if self.class == FailureClass::Input && self.others.is_empty() => {
                Ok(FileFault { file, message: self.message })
            }
            _ => Err(self),
        }
    }

    /// Creates a failure from an error's text, which is truncated if too long. Characters that could control a terminal
    /// or forge log lines are escaped.
    pub fn new(class: FailureClass, message: impl fmt::Display) -> Self {
        Self { class, message: shown(message, is_unsafe), file: None, others: Vec::new() }
    }

    /// Appends lines supplied by the operator, such as from a query, to the message. Omitted if there is no room.
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

/// Validates a message from another process, which may follow other rules.
fn received<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let message = String::deserialize(deserializer)?;
    Ok(shown(message, |character| character != '\n' && is_unsafe(character)))
}

/// The text of a message, escaped and limited in length.
fn shown(message: impl fmt::Display, is_escaped: fn(char) -> bool) -> String {
    let mut text = Bounded { text: String::new(), is_escaped };
    // Writing fails only beyond the length limit.
    let _ = write!(text, "{message}");
    let mut text = text.text;
    cut(&mut text, MAX_MESSAGE_BYTES);
    text
}

/// Cuts a text that is longer than it may be, between two characters.
fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most - CUT.len()));
        text.push_str(CUT);
    }
}

/// Buffer that accepts text up to just beyond the limit of a message.
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
    fn files_at_fault_are_named_up_to_a_limit() {
        let fault = |number: usize| FileFault { file: format!("f{number}"), message: format!("f{number} is odd") };
        let of = |numbers: &[usize]| Failure::of_files(numbers.iter().map(|number| fault(*number)));
        assert_eq!(of(&[]), None);
        let one = of(&[1, 1]).unwrap();
        assert_eq!((one.message.as_str(), one.file.as_deref(), one.others.len()), ("f1 is odd", Some("f1"), 0));
        let two = of(&[2, 1, 2]).unwrap();
        assert_eq!(two.message, "f2 is odd; another file of its manifest is at fault, too");
        assert_eq!((two.fault_of("f1"), two.fault_of("f3")), (Some("f1 is odd"), None));
        assert_eq!(two.files().collect::<Vec<_>>(), ["f2", "f1"]);
        assert_eq!((one.into_own_fault(), two.clone().into_own_fault()), (Ok(fault(1)), Err(two)));
        let long = |number: usize| FileFault { message: "é".repeat(MAX_MESSAGE_BYTES), ..fault(number) };
        let many = Failure::of_files((0..300).map(long)).unwrap();
        assert!(many.message.ends_with("…; 299 other files of its manifest are at fault, too"), "{many}");
        assert!(many.message.len() <= MAX_MESSAGE_BYTES && many.others.len() == MAX_OTHER_FAULTS);
        let json = serde_json::to_string(&many).unwrap();
        assert!(json.len() < 100 << 10, "{}", json.len());
        assert_eq!(serde_json::from_str::<Failure>(&json).unwrap(), many);
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
