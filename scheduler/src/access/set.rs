//! The tokens of a scheduler.

use super::Caller;
use super::below::Below;
use super::token::{Role, SecretHash, TokenId, TokenRecord, parts};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use subtle::ConstantTimeEq;

/// Limit of a token file: 1 MiB, far more than 1,000 lines need; a larger one is not a token file.
pub(super) const MAX_FILE_BYTES: usize = 1 << 20;
/// Limit of the tokens in a file.
const MAX_TOKENS: usize = 1000;
/// Limit of the tokens with the same id: the one in use, and its replacement.
const MAX_OF_ONE_ID: usize = 2;
/// Least length of a token in plain text: 32 characters, 128 bits if random and hexadecimal.
const MIN_PLAIN_CHARACTERS: usize = 32;
/// Id of a token that is given in plain text, not as a hash.
const PLAIN_ID: &str = "plain";

/// Reason why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenSetError {
    /// A line that is not a valid record.
    #[error("line {line} is no token: {source}; `millwork token new` makes such lines")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// Parse error of the line.
        source: serde_json::Error,
    },
    /// An id that occurs more than twice.
    #[error(
        "line {line} is the third token with the id `{id}`; there are at most {MAX_OF_ONE_ID}, one in use and one to take its place"
    )]
    TooManyOfOne {
        /// Number of the line, from 1.
        line: usize,
        /// Id of the tokens.
        id: TokenId,
    },
    /// More tokens than the limit.
    #[error("there are more than {MAX_TOKENS} tokens, the limit: remove those that have expired")]
    TooMany,
    /// A plain-text token that could be guessed.
    #[error(
        "it has {0} characters: a token that may do everything needs at least {MIN_PLAIN_CHARACTERS}, such as those of `openssl rand -hex 32`; \
         `millwork token new` makes better ones"
    )]
    TooShort(usize),
    /// Larger than any token file.
    #[error("it has {0} bytes; the limit of a file of tokens is {MAX_FILE_BYTES}")]
    TooLarge(usize),
    /// Several lines that are not records.
    #[error("it holds several lines, and the first is neither a token's record nor a comment")]
    NoRecords,
}

/// All tokens that a scheduler accepts.
#[derive(Debug, Default)]
pub(crate) struct TokenSet {
    records: HashMap<TokenId, Vec<TokenRecord>>,
    plain: Option<SecretHash>,
    /// Path prefixes of their pages, by the hash of the prefix name, so that the duration of a lookup reveals nothing
    /// about a name.
    places: HashMap<[u8; 32], Below>,
}

/// Reason why a token is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Token that is not in the set.
    Unknown,
    /// The token is in the set, but has expired.
    Expired { id: TokenId, at: DateTime<Utc> },
}

impl TokenSet {
    /// Parses a file: one JSON record per line, or a single token in plain text, which has all rights.
    pub(crate) fn parse(text: &str) -> Result<Self, TokenSetError> {
        if text.len() > MAX_FILE_BYTES {
            return Err(TokenSetError::TooLarge(text.len()));
        }
        let lines = text.lines().map(str::trim).enumerate().map(|(index, line)| (index + 1, line));
        let lines: Vec<_> = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect();
        match lines.first() {
            None => return Ok(Self::default()),
            Some((_, token)) if !token.starts_with('{') => {
                return if lines.len() == 1 { Self::plain(token) } else { Err(TokenSetError::NoRecords) };
            }
            Some(_) if lines.len() > MAX_TOKENS => return Err(TokenSetError::TooMany),
            Some(_) => {}
        }
        let mut set = Self::default();
        for (line, text) in lines {
            let record = serde_json::from_str(text).map_err(|source| TokenSetError::Line { line, source })?;
            set.add(record).map_err(|id| TokenSetError::TooManyOfOne { line, id })?;
        }
        Ok(set)
    }

    /// Creates a set of one plain-text token, without a record.
    pub(crate) fn of_plain(token: &str) -> Self {
        let hash = SecretHash::of(token);
        Self { plain: Some(hash), places: HashMap::from([place(hash)]), ..Self::default() }
    }

    /// Creates a set of one plain-text token, unless the token is too short to be safe.
    pub(crate) fn plain(token: &str) -> Result<Self, TokenSetError> {
        match token.chars().count() {
            found @ ..MIN_PLAIN_CHARACTERS => Err(TokenSetError::TooShort(found)),
            _ => Ok(Self::of_plain(token)),
        }
    }

    /// Creates a set of one token from its record.
    pub(crate) fn of_one(record: TokenRecord) -> Self {
        let places = HashMap::from([place(record.sha256)]);
        Self { records: HashMap::from([(record.id.clone(), vec![record])]), plain: None, places }
    }

    fn add(&mut self, record: TokenRecord) -> Result<(), TokenId> {
        let of_id = self.records.entry(record.id.clone()).or_default();
        if of_id.len() == MAX_OF_ONE_ID {
            return Err(record.id);
        }
        self.places.extend([place(record.sha256)]);
        of_id.push(record);
        Ok(())
    }

    /// Tells whether the set has a plain-text token.
    pub(crate) fn has_plain(&self) -> bool {
        self.plain.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.plain.is_none()
    }

    /// Finds the caller for a token, and tells whether the token is in plain text and could be guessed. The duration of
    /// the search does not reveal which part of a secret is right.
    pub(crate) fn find(&self, shown: &str, now: DateTime<Utc>) -> Result<(Caller, bool), Wrong> {
        if let Some((id, secret)) = parts(shown) {
            let hash = SecretHash::of(secret);
            let mut expired = None;
            for record in self.records.get(&id).into_iter().flatten() {
                match (is_same(record.sha256, hash), record.expires) {
                    (false, _) => {}
                    (true, Some(at)) if at <= now => expired = Some(at),
                    (true, _) => return Ok((Caller { id: id.as_str().into(), role: record.role }, false)),
                }
            }
            if let Some(at) = expired {
                return Err(Wrong::Expired { id, at });
            }
        }
        match self.plain {
            Some(plain) if is_same(plain, SecretHash::of(shown)) => {
                Ok((Caller { id: PLAIN_ID.into(), role: Role::Admin }, true))
            }
            _ => Err(Wrong::Unknown),
        }
    }
}

impl TokenSet {
    /// Path prefix of a token's pages, by its name.
    pub(crate) fn below(&self, name: &str) -> Option<Below> {
        self.places.get(&digest(name)).cloned()
    }

    /// Hashes of the valid tokens with this id, each with its role.
    pub(super) fn holders(&self, id: &str, now: DateTime<Utc>) -> Vec<(SecretHash, Role)> {
        let of_id = id.parse().ok().and_then(|id: TokenId| self.records.get(&id));
        let valid = of_id.into_iter().flatten().filter(|record| record.expires.is_none_or(|at| at > now));
        let plain = self.plain.filter(|_| id == PLAIN_ID).map(|hash| (hash, Role::Admin));
        valid.map(|record| (record.sha256, record.role)).chain(plain).collect()
    }

    /// Hash of the token that a caller sent.
    pub(super) fn hash_of(&self, caller: &Caller, shown: &str, now: DateTime<Utc>) -> Option<SecretHash> {
        let hashes = [parts(shown).map(|(_, secret)| SecretHash::of(secret)), Some(SecretHash::of(shown))];
        let mut known = self.holders(&caller.id, now).into_iter().map(|(hash, _)| hash);
        known.find(|known| hashes.iter().flatten().any(|hash| is_same(*known, *hash)))
    }
}

fn place(token: SecretHash) -> ([u8; 32], Below) {
    let below = Below::of(token);
    (digest(below.name()), below)
}

fn digest(name: &str) -> [u8; 32] {
    Sha256::digest(name.as_bytes()).into()
}

fn is_same(a: SecretHash, b: SecretHash) -> bool {
    a.0.ct_eq(&b.0).into()
}

#[cfg(test)]
mod tests {
    use super::super::token::NewToken;
    use super::*;
    use chrono::TimeDelta;

    fn new(id: &str, role: Role, expires: Option<DateTime<Utc>>) -> (String, String) {
        let new = NewToken::new(id.parse().unwrap(), role, expires).unwrap();
        (new.text, serde_json::to_string(&new.record).unwrap())
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn two_tokens_of_an_id_are_valid_at_once_and_a_third_is_refused() {
        let tokens = [0, 1, 2].map(|_| new("ci", Role::Operate, None));
        let text = format!("# of the pipeline\n{}\n\n{}\n", tokens[0].1, tokens[1].1);
        let set = TokenSet::parse(&text).unwrap();
        let caller = Caller { id: "ci".into(), role: Role::Operate };
        for (token, _) in &tokens[..2] {
            assert_eq!(set.find(token, at(0)), Ok((caller.clone(), false)));
        }
        assert_eq!(set.find(&tokens[2].0, at(0)), Err(Wrong::Unknown));
        let error = TokenSet::parse(&(text + &tokens[2].1)).unwrap_err().to_string();
        assert!(error.starts_with("line 5 is the third token with the id `ci`"), "{error}");
    }

    #[test]
    fn a_token_ends_at_its_time() {
        let (token, line) = new("ci", Role::Read, Some(at(100)));
        let set = TokenSet::parse(&line).unwrap();
        assert!(set.find(&token, at(100) - TimeDelta::nanoseconds(1)).is_ok());
        assert_eq!(set.find(&token, at(100)), Err(Wrong::Expired { id: "ci".parse().unwrap(), at: at(100) }));
        let other = token.replace("mw_ci_", "mw_cd_");
        assert_eq!(set.find(&other, at(0)), Err(Wrong::Unknown), "another id");
        assert_eq!(set.find(&token[..token.len() - 1], at(0)), Err(Wrong::Unknown), "not all of it");
    }

    #[test]
    fn one_token_that_is_written_as_such_may_do_everything() {
        let token = "s".repeat(MIN_PLAIN_CHARACTERS);
        let set = TokenSet::parse(&format!(" {token}\n")).unwrap();
        let (caller, can_be_guessed) = set.find(&token, at(0)).unwrap();
        assert!(caller.role == Role::Admin && can_be_guessed);
        assert_eq!(set.find(&token[1..], at(0)), Err(Wrong::Unknown));
        let error = TokenSet::parse(&token[1..]).unwrap_err().to_string();
        assert!(error.starts_with("it has 31 characters") && error.contains("at least 32"), "{error}");
        assert!(TokenSet::parse("secret\nother\n").unwrap_err().to_string().contains("several lines"));
        assert!(TokenSet::parse("\n# none\n").unwrap().is_empty());
    }

    #[test]
    fn limits_are_named() {
        let line = |n: usize| new(&format!("t{n}"), Role::Read, None).1 + "\n";
        let most: String = (0..1000).map(line).collect();
        assert!(TokenSet::parse(&most).is_ok());
        assert!(TokenSet::parse(&(most + &line(1000))).unwrap_err().to_string().contains("more than 1000 tokens"));
        assert!(TokenSet::parse(&" ".repeat(1 << 20)).is_ok());
        let error = TokenSet::parse(&" ".repeat((1 << 20) + 1)).unwrap_err().to_string();
        assert!(error.contains("1048577 bytes; the limit"), "{error}");
        let error = TokenSet::parse("{\"id\": \"ci\", \"role\": \"root\"}").unwrap_err().to_string();
        assert!(error.starts_with("line 1 is no token: unknown variant `root`"), "{error}");
        let extra = line(1).replace("{\"id\"", "{\"admin\":true,\"id\"");
        assert!(TokenSet::parse(&extra).unwrap_err().to_string().contains("unknown field `admin`"));
    }
}
