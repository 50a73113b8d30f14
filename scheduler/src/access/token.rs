//! Tokens: the text of each, which its owner keeps, and its record, which the scheduler stores.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// Length of a token's secret: 256 random bits, so that an unsalted hash protects it.
const SECRET_BYTES: usize = 32;
/// Limit of an id's length; it appears in every log line about its token.
const MAX_ID_LENGTH: usize = 64;
/// Prefix of tokens, by which secret scanners find leaked ones in repositories and logs.
const PREFIX: &str = "mw_";

/// Role of a token; each role includes the rights of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read access: every GET.
    Read,
    /// Submit manifests; retry, cancel, force and prioritise their runs.
    Operate,
    /// All rights.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// Name of the role in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| format!("a role is read, operate or admin, not `{text}`"))
    }
}

/// Name of a token: 1 to 64 of `a`-`z`, `0`-`9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct TokenId(String);

impl TokenId {
    /// Text of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_known = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if text.is_empty() || text.len() > MAX_ID_LENGTH || !text.bytes().all(is_known) {
            return Err(format!(
                "a token's id has 1 to {MAX_ID_LENGTH} characters of a-z, 0-9 and -, not `{}`",
                text.escape_default()
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for TokenId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// SHA-256 of a secret, written as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct SecretHash(pub(crate) [u8; SECRET_BYTES]);

impl SecretHash {
    pub(crate) fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }
}

impl TryFrom<String> for SecretHash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refusal = || "a hash is SHA-256 in 64 hexadecimal digits".to_owned();
        if text.len() != 2 * SECRET_BYTES || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(refusal());
        }
        let mut hash = [0; SECRET_BYTES];
        for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| refusal())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| refusal())?;
        }
        Ok(Self(hash))
    }
}

impl From<SecretHash> for String {
    fn from(hash: SecretHash) -> Self {
        hex(&hash.0)
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Record of a token, from which the secret cannot be derived: a line of the token file, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// The token's name.
    pub id: TokenId,
    /// Role of the token, which determines its rights.
    pub role: Role,
    pub(crate) sha256: SecretHash,
    /// Expiry time; without one, the token is valid for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<DateTime<Utc>>,
}

/// A token that was just created. Its text is shown once, and not stored.
pub struct NewToken {
    /// `mw_{id}_{secret}`.
    pub text: String,
    /// Record for the scheduler's token file.
    pub record: TokenRecord,
}

impl NewToken {
    /// Creates a token from the system's random numbers.
    pub fn new(id: TokenId, role: Role, expires: Option<DateTime<Utc>>) -> anyhow::Result<Self> {
        let mut secret = [0; SECRET_BYTES];
        getrandom::fill(&mut secret)
            .map_err(|e| anyhow::anyhow!("the system gives no random bytes for a token: {e}"))?;
        let secret = hex(&secret);
        let text = format!("{PREFIX}{id}_{secret}");
        Ok(Self { text, record: TokenRecord { id, role, sha256: SecretHash::of(&secret), expires } })
    }
}

/// Splits a token's text into id and secret.
pub(crate) fn parts(text: &str) -> Option<(TokenId, &str)> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    Some((id.parse().ok()?, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_its_record_does_not_tell_it() {
        let new = || NewToken::new("ci".parse().unwrap(), Role::Operate, None).unwrap();
        let (first, second) = (new(), new());
        let (id, secret) = parts(&first.text).unwrap();
        assert_eq!((id.as_str(), secret.len()), ("ci", 64));
        assert_ne!(first.text, second.text);
        assert_eq!(first.record.sha256, SecretHash::of(secret));
        let line = serde_json::to_string(&first.record).unwrap();
        assert!(!line.contains(secret), "{line}");
        assert_eq!(serde_json::from_str::<TokenRecord>(&line).unwrap(), first.record);
    }

    #[test]
    fn ids_are_short_and_plain() {
        let longest = "a".repeat(64);
        assert!(longest.parse::<TokenId>().is_ok() && "ci-2".parse::<TokenId>().is_ok());
        for bad in ["", "CI", "a_b", "a b", "ä", "a\n", &"a".repeat(65)] {
            let error = bad.parse::<TokenId>().unwrap_err();
            assert!(error.contains("1 to 64 characters"), "{error}");
        }
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for bad in ["", "00", &"g".repeat(64), &"ä".repeat(32), &"+1".repeat(32)] {
            assert!(SecretHash::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
