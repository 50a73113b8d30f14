//! Lists of words in a query: `state=failed,cancelled`.

use millwork_manifest::{FailureClass, FileState, RunState};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Words of a kind, each with one meaning.
pub trait Word: Copy + Eq + 'static {
    /// Every word.
    const WORDS: &'static [Self];
    /// The word as text.
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

/// Words of which any is meant, each once; none at all means every one. Written with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyOf<T>(Vec<T>);

impl<T> Default for AnyOf<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Word> AnyOf<T> {
    /// The words that are meant, each once.
    pub fn new(words: impl IntoIterator<Item = T>) -> Self {
        let mut given = Vec::new();
        for word in words {
            if !given.contains(&word) {
                given.push(word);
            }
        }
        Self(given)
    }

    /// The words, in the order in which they were given.
    pub fn words(&self) -> &[T] {
        &self.0
    }

    /// Tells whether no word was given, which leaves nothing out.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether this word is meant.
    pub fn takes(&self, word: T) -> bool {
        self.0.is_empty() || self.0.contains(&word)
    }

    /// Reads words with commas between them. Their number is bounded by that of the words there are.
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
