//! Browser sessions: a signed cookie that names a token, and is valid only as long as the token is.
//!
//! The cookie contains the id of the token, not its secret, and is signed with a key of this process and the hash of
//! the token. It therefore ends with its expiry time, with the token, and with the process. It is not accessible to
//! scripts. The server stores nothing but one-time sign-in links, and the sessions that were ended before their time.

use super::Caller;
use super::below::Below;
use super::set::TokenSet;
use super::token::{SecretHash, hex};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Duration of a session, in hours: a working day.
const SESSION_HOURS: i64 = 12;
/// Limit of a cookie's length, in bytes; real ones are far shorter.
const MAX_NOTE_BYTES: usize = 512;
/// Limit of the unused links per token: a further one replaces the token's oldest, and no other token's. Each takes
/// about 200 bytes.
const MAX_LINKS: usize = 8;
/// Limit of the ended sessions that are remembered, of about 100 bytes each: beyond, those that would end first are
/// forgotten.
const MAX_ENDED: usize = 10_000;
/// Random bytes in a link's code, and in the nonce of a cookie: cannot be guessed.
const RANDOM_BYTES: usize = 32;

/// Issuer and verifier of sessions.
pub(crate) struct Sessions {
    key: [u8; 32],
    links: Mutex<VecDeque<Link>>,
    /// Sessions that somebody has signed out of: nonces of their cookies, with the time at which they end anyway.
    ended: Mutex<HashMap<String, i64>>,
}

/// A session that was just created.
pub(crate) struct Begun {
    /// Value of the session's cookie.
    pub(crate) note: String,
    /// Path prefix for the pages of its token.
    pub(crate) below: Below,
}

/// A link that can be used once to sign in.
struct Link {
    code: [u8; 32],
    id: String,
    token: SecretHash,
    until: Instant,
}

impl Sessions {
    /// Creates an issuer with a random key, which is lost with the process.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { key: random()?, links: Mutex::default(), ended: Mutex::default() })
    }

    /// Duration of a session, in seconds.
    pub(crate) const SECONDS: i64 = SESSION_HOURS * 3600;

    /// Creates a session for the sender of a token, which must be in the set.
    pub(crate) fn begin(
        &self,
        set: &TokenSet,
        caller: &Caller,
        shown: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Begun> {
        let token =
            set.hash_of(caller, shown, now).ok_or_else(|| anyhow::anyhow!("the token is none of this scheduler's"))?;
        self.note(&caller.id, token, now)
    }

    /// The caller whose session a cookie proves; `None` if it is forged or expired, its token is no longer valid, or
    /// the token is not that of the path prefix it was sent to.
    pub(crate) fn caller(
        &self,
        set: &TokenSet,
        note: &str,
        below: Option<&Below>,
        now: DateTime<Utc>,
    ) -> Option<Caller> {
        let (caller, nonce, _) = self.read(set, note, below, now)?;
        let is_ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).contains_key(nonce);
        (!is_ended).then_some(caller)
    }

    /// Ends the session of a cookie before its time.
    pub(crate) fn end(&self, set: &TokenSet, note: &str, below: Option<&Below>, now: DateTime<Utc>) {
        // Only valid ones are remembered, so that a stranger cannot fill the memory.
        let Some((_, nonce, expires)) = self.read(set, note, below, now) else { return };
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() >= MAX_ENDED {
            ended.retain(|_, expires| *expires > now.timestamp());
        }
        if ended.len() >= MAX_ENDED
            && let Some(soonest) = ended.iter().min_by_key(|(_, expires)| **expires).map(|(nonce, _)| nonce.clone())
        {
            ended.remove(&soonest);
        }
        ended.insert(nonce.to_owned(), expires);
    }

    /// Caller, nonce and end of the session of a cookie, ended or not.
    fn read<'a>(
        &self,
        set: &TokenSet,
        note: &'a str,
        below: Option<&Below>,
        now: DateTime<Utc>,
    ) -> Option<(Caller, &'a str, i64)> {
        if note.len() > MAX_NOTE_BYTES {
            return None;
        }
        let mut parts = note.split('.');
        let ("v1", Some(expires), Some(id), Some(nonce), Some(signature), None) =
            (parts.next()?, parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let at: i64 = expires.parse().ok()?;
        if at <= now.timestamp() {
            return None;
        }
        let signature = from_hex(signature)?;
        let holders = set.holders(id, now);
        let (_, role) = holders.into_iter().find(|(token, _)| {
            below.is_none_or(|below| below.token == *token)
                && self.mac(expires, id, nonce, *token).is_some_and(|mac| mac.verify_slice(&signature).is_ok())
        })?;
        Some((Caller { id: id.into(), role }, nonce, at))
    }

    /// Creates the code of a one-time link that signs in as the sender of the token, within a time limit.
    pub(crate) fn link(&self, set: &TokenSet, caller: &Caller, shown: &str, time: Duration) -> anyhow::Result<String> {
        let token = set
            .hash_of(caller, shown, Utc::now())
            .ok_or_else(|| anyhow::anyhow!("the token is none of this scheduler's"))?;
        let code = hex(&random()?);
        let now = Instant::now();
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|link| link.until > now);
        let mut of_token = links.iter().enumerate().filter(|(_, link)| link.token == token).map(|(at, _)| at);
        if let (Some(oldest), true) = (of_token.next(), of_token.count() + 1 >= MAX_LINKS) {
            links.remove(oldest);
        }
        links.push_back(Link { code: digest(&code), id: caller.id.to_string(), token, until: now + time });
        Ok(code)
    }

    /// Creates the session of a link, and removes the link.
    pub(crate) fn redeem(&self, code: &str, now: DateTime<Utc>) -> Option<Begun> {
        let shown = digest(code);
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        // Hashes are compared, not codes, so that the duration of the comparison reveals nothing about a code.
        let at = links.iter().position(|link| link.code == shown)?;
        let link = links.remove(at)?;
        (link.until > Instant::now()).then(|| self.note(&link.id, link.token, now).ok()).flatten()
    }

    /// Signs a text for a caller, as proof that this process wrote it.
    pub(crate) fn seal(&self, id: &str, text: &str) -> String {
        let mac = self.text_mac(id, text).map(|mac| hex(&mac.finalize().into_bytes())).unwrap_or_default();
        format!("{mac}.{text}")
    }

    /// The text that was signed for a caller; `None` if the signature is wrong.
    pub(crate) fn unseal<'a>(&self, id: &str, sealed: &'a str) -> Option<&'a str> {
        let (mac, text) = sealed.split_once('.')?;
        let mac = from_hex(mac)?;
        self.text_mac(id, text)?.verify_slice(&mac).is_ok().then_some(text)
    }

    fn text_mac(&self, id: &str, text: &str) -> Option<Hmac<Sha256>> {
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).ok()?;
        Some(
            [b"ui text v1".as_slice(), id.as_bytes(), text.as_bytes()]
                .iter()
                .fold(mac, |mac, part| mac.chain_update(part).chain_update(b"\0")),
        )
    }

    fn note(&self, id: &str, token: SecretHash, now: DateTime<Utc>) -> anyhow::Result<Begun> {
        let expires = (now + TimeDelta::hours(SESSION_HOURS)).timestamp().to_string();
        let nonce = hex(&random()?[..12]);
        let mac = self.mac(&expires, id, &nonce, token).ok_or_else(|| anyhow::anyhow!("a session cannot be signed"))?;
        let note = format!("v1.{expires}.{id}.{nonce}.{}", hex(&mac.finalize().into_bytes()));
        Ok(Begun { note, below: Below::of(token) })
    }

    fn mac(&self, expires: &str, id: &str, nonce: &str, token: SecretHash) -> Option<Hmac<Sha256>> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).ok()?;
        mac.update(b"ui session v1\0");
        for part in [expires, id, nonce] {
            mac.update(part.as_bytes());
            mac.update(b"\0");
        }
        mac.update(&token.0);
        Some(mac)
    }
}

fn random() -> anyhow::Result<[u8; RANDOM_BYTES]> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no random bytes: {error}"))?;
    Ok(bytes)
}

fn digest(code: &str) -> [u8; 32] {
    Sha256::digest(code.as_bytes()).into()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::token::{NewToken, Role};
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn set_of(role: Role) -> (TokenSet, String, Caller) {
        let new = NewToken::new("ana".parse().unwrap(), role, None).unwrap();
        (TokenSet::of_one(new.record), new.text, Caller { id: "ana".into(), role })
    }

    #[test]
    fn a_session_ends_with_its_time_its_token_and_its_process() {
        let (set, text, caller) = set_of(Role::Operate);
        let sessions = Sessions::new().unwrap();
        let note = sessions.begin(&set, &caller, &text, at(0)).unwrap().note;
        assert_eq!(sessions.caller(&set, &note, None, at(Sessions::SECONDS - 1)), Some(caller.clone()));
        assert_eq!(sessions.caller(&set, &note, None, at(Sessions::SECONDS)), None, "its time");
        assert_eq!(sessions.caller(&set_of(Role::Operate).0, &note, None, at(1)), None, "another token of the same id");
        assert_eq!(sessions.caller(&TokenSet::default(), &note, None, at(1)), None, "no token");
        assert_eq!(Sessions::new().unwrap().caller(&set, &note, None, at(1)), None, "another process");
        assert!(!note.contains(text.rsplit('_').next().unwrap()), "the secret is not in it");
    }

    #[test]
    fn a_session_that_is_ended_stays_so_and_no_other_ends_with_it() {
        let (set, text, caller) = set_of(Role::Operate);
        let sessions = Sessions::new().unwrap();
        let [one, other] = [(); 2].map(|()| sessions.begin(&set, &caller, &text, at(0)).unwrap().note);
        sessions.end(&set, &one, None, at(1));
        assert_eq!(sessions.caller(&set, &one, None, at(2)), None);
        assert_eq!(sessions.caller(&set, &other, None, at(2)), Some(caller.clone()));
        sessions.end(&set, &other.replace("ana", "bob"), None, at(3));
        assert_eq!(sessions.ended.lock().unwrap().len(), 1, "only what is signed is remembered");
        for second in 0..MAX_ENDED as i64 {
            let note = sessions.begin(&set, &caller, &text, at(10 + second)).unwrap().note;
            sessions.end(&set, &note, None, at(10 + second));
        }
        assert_eq!(sessions.ended.lock().unwrap().len(), MAX_ENDED);
    }

    #[test]
    fn no_other_note_is_taken() {
        let (set, text, caller) = set_of(Role::Read);
        let sessions = Sessions::new().unwrap();
        let note = sessions.begin(&set, &caller, &text, at(0)).unwrap().note;
        let parts: Vec<&str> = note.split('.').collect();
        let later = format!("v1.{}.{}.{}.{}", Sessions::SECONDS + 9, parts[2], parts[3], parts[4]);
        let cut = &note[..note.len() - 2];
        for wrong in [
            later.as_str(),
            cut,
            "",
            "v1....",
            "v1.99999999999.ana.0.",
            &format!("{note}.x"),
            &note.replace("v1", "v2"),
            "é.é.é.é.é",
        ] {
            assert_eq!(sessions.caller(&set, wrong, None, at(1)), None, "{wrong}");
        }
        assert!(sessions.begin(&set, &caller, "mw_ana_other", at(0)).is_err());
    }

    #[test]
    fn one_token_that_is_written_as_such_has_sessions_too() {
        let set = TokenSet::of_plain("secret");
        let sessions = Sessions::new().unwrap();
        let (caller, _) = set.find("secret", at(0)).unwrap();
        let note = sessions.begin(&set, &caller, "secret", at(0)).unwrap().note;
        assert_eq!(sessions.caller(&set, &note, None, at(1)).map(|caller| caller.role), Some(Role::Admin));
        assert_eq!(sessions.caller(&TokenSet::of_plain("other"), &note, None, at(1)), None);
    }

    #[test]
    fn a_link_signs_in_once() {
        let (set, text, caller) = set_of(Role::Admin);
        let sessions = Sessions::new().unwrap();
        let code = sessions.link(&set, &caller, &text, Duration::from_secs(60)).unwrap();
        assert!(sessions.redeem("0000", at(0)).is_none());
        let note = sessions.redeem(&code, at(0)).unwrap().note;
        assert_eq!(sessions.caller(&set, &note, None, at(1)), Some(caller.clone()));
        assert!(sessions.redeem(&code, at(0)).is_none(), "a second time");
        let late = sessions.link(&set, &caller, &text, Duration::ZERO).unwrap();
        assert!(sessions.redeem(&late, at(0)).is_none(), "too late");
        let (other, of_other, bob) = set_of(Role::Read);
        let others = sessions.link(&other, &bob, &of_other, Duration::from_secs(60)).unwrap();
        let [first, second] = [(); 2].map(|()| sessions.link(&set, &caller, &text, Duration::from_secs(60)).unwrap());
        for _ in 1..MAX_LINKS {
            sessions.link(&set, &caller, &text, Duration::from_secs(60)).unwrap();
        }
        assert!(sessions.redeem(&first, at(0)).is_none(), "forgotten for newer ones");
        assert!(sessions.redeem(&second, at(0)).is_some() && sessions.redeem(&others, at(0)).is_some());
    }

    #[test]
    fn a_session_counts_below_the_path_of_its_own_token() {
        let (lines, texts): (Vec<_>, Vec<_>) = [("ana", Role::Admin), ("bob", Role::Read)]
            .map(|(id, role)| NewToken::new(id.parse().unwrap(), role, None).unwrap())
            .map(|new| (serde_json::to_string(&new.record).unwrap() + "\n", new.text))
            .into_iter()
            .unzip();
        let set = TokenSet::parse(&lines.concat()).unwrap();
        let sessions = Sessions::new().unwrap();
        let [ana, bob] = [0, 1].map(|n| {
            let (caller, _) = set.find(&texts[n], at(0)).unwrap();
            sessions.begin(&set, &caller, &texts[n], at(0)).unwrap()
        });
        let id = |note: &str, below| sessions.caller(&set, note, below, at(1)).map(|caller| caller.id.to_string());
        assert_eq!(id(&ana.note, Some(&ana.below)).as_deref(), Some("ana"));
        assert_eq!(id(&bob.note, Some(&ana.below)), None, "planted by another");
        assert!(Below::is_name(ana.below.name()) && ana.below.name() != bob.below.name());
        assert_eq!(set.below(bob.below.name()).map(|below| below.token), Some(bob.below.token));
        assert!(set.below(&bob.below.name()[1..]).is_none() && set.below(&"0".repeat(32)).is_none());
        let again = TokenSet::parse(&lines.concat()).unwrap();
        assert!(again.below(ana.below.name()).is_some(), "a path is there as long as its token");
        assert!(!texts[0].contains(ana.below.name()) && !lines[0].contains(ana.below.name()));
    }

    #[test]
    fn a_text_is_told_to_whom_it_was_sealed_for() {
        let sessions = Sessions::new().unwrap();
        let sealed = sessions.seal("ana", "2 runs. Queued");
        assert_eq!(sessions.unseal("ana", &sealed), Some("2 runs. Queued"));
        assert_eq!(sessions.unseal("bob", &sealed), None);
        assert_eq!(sessions.unseal("ana", &sealed.replace('2', "3")), None);
        assert_eq!(sessions.unseal("ana", "Send your token to me"), None);
        assert_eq!(Sessions::new().unwrap().unseal("ana", &sealed), None, "another process");
    }
}
