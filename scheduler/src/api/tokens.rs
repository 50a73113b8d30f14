//! Tokens that the API accepts, and the one that a client sends.

use crate::access::{OwnerToken, TokenSet, read_token_set};
use anyhow::Context;
use millwork_net::Watched;
use std::path::Path;
use std::sync::Arc;

/// Accepted tokens.
pub(crate) enum Tokens {
    /// Tokens from a file that is watched for changes.
    Watched(Watched<TokenSet>),
    /// Tokens that were fixed at the start.
    Fixed(Arc<TokenSet>),
}

impl Tokens {
    /// Reads the configured tokens: from a file, or one from `MILLWORK_TOKEN`. `None` if neither is given.
    pub(super) fn configured(file: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(path) = file else {
            let set = read_token(None)?.map(|token| TokenSet::plain(&token)).transpose();
            let set = set.context("cannot use MILLWORK_TOKEN as the token of this scheduler")?;
            return Ok(set.map(|set| Self::Fixed(Arc::new(set))));
        };
        let read = {
            let path = path.to_owned();
            move || read_token_set(&path)
        };
        let watched = Watched::open("tokens", vec![path.to_owned()], read);
        let watched = watched.with_context(|| format!("cannot use the token file `{}`", path.display()))?;
        anyhow::ensure!(
            !watched.current().is_empty(),
            "the token file `{}` is empty: put a line of `millwork token new` there, or name no file",
            path.display()
        );
        Ok(Some(Self::Watched(watched)))
    }

    /// Token of the user who started the scheduler.
    pub(crate) fn of_owner(owner: &OwnerToken) -> Self {
        Self::Fixed(Arc::new(TokenSet::of_one(owner.record().clone())))
    }

    pub(super) fn current(&self) -> Arc<TokenSet> {
        match self {
            Self::Watched(watched) => watched.current(),
            Self::Fixed(set) => set.clone(),
        }
    }
}

/// The token in a file, or else in `MILLWORK_TOKEN`, which clients send.
pub fn read_token(file: Option<&Path>) -> anyhow::Result<Option<String>> {
    let (place, text) = match file {
        Some(path) => {
            let place = format!("the token file `{}`", path.display());
            let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {place}"))?;
            (place, Some(text))
        }
        None => ("MILLWORK_TOKEN".to_owned(), std::env::var("MILLWORK_TOKEN").ok()),
    };
    let token = text.map(|text| text.trim().to_owned());
    anyhow::ensure!(token.as_deref() != Some(""), "{place} is empty: put a token there, or name none");
    anyhow::ensure!(
        token.as_ref().is_none_or(|token| !token.contains(|c: char| c.is_control() || c == '{')),
        "{place} holds something else than one token: a client shows what `millwork token new` prints, not the scheduler's \
         file of tokens"
    );
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_token_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            read_token(Some(file.path())).unwrap_err().to_string()
        };
        assert!(error("").contains("is empty") && error(" \n").contains("is empty"));
        assert!(error("{\"id\": \"ci\"}").contains("something else than one token"));
        assert!(error("one\ntwo").contains("something else than one token"));
        std::fs::write(file.path(), " secret\n").unwrap();
        assert_eq!(read_token(Some(file.path())).unwrap().as_deref(), Some("secret"));
        std::fs::write(file.path(), "\n").unwrap();
        assert!(Tokens::configured(Some(file.path())).err().unwrap().to_string().contains("is empty"));
    }
}
