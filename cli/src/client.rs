//! The scheduler's HTTP API, as the commands use it.

use anyhow::Context;
use clap::Args;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Which scheduler, and the right to ask it.
#[derive(Args)]
pub(crate) struct ClientOptions {
    /// The scheduler's HTTP address
    #[arg(long, env = "MILLWORK_SCHEDULER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    scheduler: String,

    /// File with the scheduler's token; MILLWORK_TOKEN in the environment does the same
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// Something that the scheduler tells by itself.
#[derive(Debug, PartialEq)]
pub(crate) struct ServerEvent {
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Client {
    pub(crate) fn new(options: &ClientOptions) -> anyhow::Result<Self> {
        let token = match &options.token_file {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read the token file `{}`", path.display()))?,
            ),
            None => std::env::var("MILLWORK_TOKEN").ok(),
        };
        let base = options.scheduler.trim_end_matches('/').to_owned();
        Ok(Self { http: reqwest::Client::new(), base, token: token.map(|token| token.trim().to_owned()) })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/api/v1/{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.answer(self.request(Method::GET, path).query(query)).await
    }

    pub(crate) async fn post(&self, path: &str, query: &[(&str, String)], body: &Value) -> anyhow::Result<Value> {
        self.answer(self.request(Method::POST, path).query(query).json(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.answer(self.request(Method::PUT, path).json(body)).await
    }

    /// Up to `limit` items of a listing, of as many pages as it takes, and whether there are more.
    pub(crate) async fn list(
        &self,
        path: &str,
        query: &[(&str, Option<String>)],
        limit: usize,
    ) -> anyhow::Result<(Vec<Value>, bool)> {
        let given = query.iter().filter_map(|(name, value)| Some((*name, value.clone()?)));
        let given: Vec<_> = given.collect();
        let (mut items, mut cursor) = (Vec::new(), None);
        loop {
            let page_limit = (limit - items.len()).min(1000).to_string();
            let page = [("limit", page_limit)].into_iter().chain(cursor.map(|cursor| ("cursor", cursor)));
            let query: Vec<_> = given.iter().cloned().chain(page).collect();
            let page = self.get(path, &query).await?;
            items.extend(page["items"].as_array().cloned().unwrap_or_default());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || items.len() >= limit {
                return Ok((items, cursor.is_some()));
            }
        }
    }

    /// Hands on what the scheduler tells by itself, as long as it does and `each` wants more.
    pub(crate) async fn events(&self, mut each: impl FnMut(ServerEvent) -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let mut response = self.send(self.request(Method::GET, "events")).await?;
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.context("the scheduler is gone")? {
            text.extend_from_slice(&chunk);
            while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = text.drain(..end + 2).collect();
                if let Some(event) = event_in(&String::from_utf8_lossy(&block))
                    && !each(event)?
                {
                    return Ok(());
                }
            }
        }
        anyhow::bail!("the scheduler has ended")
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let response = self.send(request.timeout(TIMEOUT)).await?;
        response.json().await.context("the scheduler's answer is no JSON")
    }

    /// Sends a request; an answer that is no success is an error with the scheduler's reason.
    async fn send(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.with_context(|| format!("cannot reach the scheduler at {}", self.base))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let text = response.text().await?;
        let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!({"error": {"message": text}}));
        anyhow::bail!("the scheduler answers {status}: {}", body["error"]["message"].as_str().unwrap_or("no reason"))
    }
}

/// The event in a block of lines; none, if it is a comment.
fn event_in(block: &str) -> Option<ServerEvent> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim));
    let data = serde_json::from_str(field("data")?).ok()?;
    Some(ServerEvent { name: field("event")?.to_owned(), data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_events() {
        assert_eq!(event_in(":\n\n"), None);
        let event = ServerEvent { name: "role".to_owned(), data: json!({"leads": true}) };
        assert_eq!(event_in("event: role\nid: 1\ndata: {\"leads\":true}\n\n"), Some(event));
    }
}
