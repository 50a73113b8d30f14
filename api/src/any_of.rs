//! Lists of words in query parameters, such as `state=failed,cancelled`.

use millwork_manifest::{FailureClass, FileState, RunState};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Enumeration whose values have one word each.
pub trait Word: Copy + Eq + 'static {
    /// All values.
    const WORDS: &'static [Self];
    /// Word of the value.
    fn word(self) -> &'static str;
}

impl Word for RunState {
    const WORDS: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Word for FileState {
    const WORDS: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Word for FailureClass {
    const WORDS: &'static [Self] = &Self::ALL;

    fn word(self) -> &'static str {
        self.as_str()
    }
}

/// Filter for any of the listed values. An empty list means no restriction. Written with commas in between, without
/// duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyOf<T>(Vec<T>);

impl<T> Default for AnyOf<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Word> AnyOf<T> {
    /// Filter for these values; duplicates are dropped.
    pub fn new(words: impl IntoIterator<Item = T>) -> Self {
        let mut given = Vec::new();
        for word in words {
            if !given.contains(&word) {
                given.push(word);
            }
        }
        Self(given)
    }

    /// Values in the given order.
    pub fn words(&self) -> &[T] {
        &self.0
    }

    /// True if the list is empty, which restricts nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the filter accepts this value.
    pub fn takes(&self, word: T) -> bool {
        self.0.is_empty() || self.0.contains(&word)
    }

    /// Parses a comma-separated list. Dropped duplicates limit its length to the number of known words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let word = |text: &str| {
            let found = T::WORDS.iter().copied().find(|word| word.word() == text);
            found.ok_or_else(|| {
                let known: Vec<_> = T::WORDS.iter().map(|word| word.word()).collect();
                format!("`{text}` is none of {}", known.join(", "))
            })
        };
        let mut given = Vec::new();
        for part in text.split(',') {
            let word = word(part.trim())?;
            if !given.contains(&word) {
                given.push(word);
            }
        }
        Ok(Self(given))
    }
}

impl<T: Word> From<T> for AnyOf<T> {
    fn from(word: T) -> Self {
        Self(vec![word])
    }
}

impl<T: Word> std::str::FromStr for AnyOf<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl<T: Word> std::fmt::Display for AnyOf<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<_> = self.0.iter().map(|word| word.word()).collect();
        f.write_str(&words.join(","))
    }
}

impl<T: Word> Serialize for AnyOf<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, T: Word> Deserialize<'de> for AnyOf<T> {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(text)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_they_are_written() {
        let both = AnyOf::<RunState>::parse("failed, cancelled,failed").unwrap();
        assert_eq!(both.words(), [RunState::Failed, RunState::Cancelled]);
        assert_eq!(both.to_string(), "failed,cancelled");
        assert!(both.takes(RunState::Failed) && !both.takes(RunState::Queued));
        assert!(AnyOf::default().takes(RunState::Queued));
        let error = AnyOf::<FileState>::parse("done").unwrap_err();
        assert!(error.contains("`done`") && error.contains("completed"), "{error}");
        assert!(AnyOf::<FileState>::parse("").is_err());
    }
}
