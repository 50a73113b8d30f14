//! The builder as an AWS Lambda function.
//!
//! Its event is a batch of SQS messages; the answer names those that failed (`ReportBatchItemFailures`), so that
//! only these are delivered again. A scheduled event, or `{"action": "sweep"}`, triggers a sweep, which also makes the
//! rounds that operators requested.

use super::handle::{count_bad, handle};
use super::maker::Maker;
use super::signs::Signs;
use super::tally::Tally;
use crate::builder::Builder;
use chrono::{DateTime, Utc};
use lambda_runtime::{LambdaEvent, service_fn};
use millwork_queue::{BadMessage, DeadLetters, Message, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[derive(Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "messageId")]
    message_id: String,
    body: String,
}

#[derive(Debug, Default, Serialize)]
struct Answer {
    #[serde(rename = "batchItemFailures")]
    failures: Vec<ItemFailure>,
}

#[derive(Debug, Serialize)]
struct ItemFailure {
    #[serde(rename = "itemIdentifier")]
    id: String,
}

/// Interval of a function's heartbeats, in seconds: 30, as for the service.
const SIGN_INTERVAL: chrono::Duration = chrono::Duration::seconds(30);

/// Assumed interval of the scheduled events, each of which triggers a sweep: a minute, as documented.
const SCHEDULE: Duration = Duration::from_secs(60);

struct Function {
    builder: Builder,
    maker: Maker,
    tally: Tally,
    dead_letters: Option<DeadLetters>,
    signs: Signs,
    /// Time of the last heartbeat.
    shown: Mutex<Option<DateTime<Utc>>>,
}

/// Serves invocations until the runtime ends the process. If there is no dead-letter queue option, a message that can
/// never be processed is reported as failed, and the redrive policy of its queue moves it.
pub async fn run_lambda(
    builder: Builder,
    dead_letter_queue_url: Option<String>,
    max_lock_wait: Duration,
) -> anyhow::Result<()> {
    builder.check_input()?;
    let dead_letters = match dead_letter_queue_url {
        Some(url) => Some(DeadLetters::from_env(url).await),
        None => None,
    };
    let tally = Tally::new(builder.store.clone());
    let maker = Maker::new(builder.clone(), tally.clone(), max_lock_wait);
    let signs = Signs::new(&builder, "lambda").taking_wishes(SCHEDULE);
    let function = &Function { builder, maker, tally, dead_letters, signs, shown: Mutex::default() };
    let serving = lambda_runtime::run(service_fn(|event: LambdaEvent<Value>| async move {
        let answer = function.invoke(event.payload).await;
        function.show_life().await;
        // Flushed now, since the process is frozen between invocations.
        function.tally.flush().await;
        answer
    }));
    serving.await.map_err(|e| anyhow::anyhow!("the Lambda runtime: {e}"))
}

impl Function {
    /// Writes a heartbeat unless the last one is recent, so that most invocations cost no additional write.
    async fn show_life(&self) {
        let now = self.builder.now();
        {
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            if shown.is_some_and(|at| now - at < SIGN_INTERVAL) {
                return;
            }
            *shown = Some(now);
        }
        self.signs.give(now).await;
    }

    async fn invoke(&self, payload: Value) -> Result<Value, lambda_runtime::Error> {
        if payload.get("Records").is_some() {
            let batch: Batch = serde_json::from_value(payload)?;
            return Ok(serde_json::to_value(self.take_in(batch).await)?);
        }
        let is_scheduled = payload.get("detail-type").and_then(Value::as_str) == Some("Scheduled Event");
        if is_scheduled || payload.get("action").and_then(Value::as_str) == Some("sweep") {
            let swept = self.builder.sweep().await?;
            self.tally.swept(&swept);
            return Ok(serde_json::to_value(swept)?);
        }
        Err("the event is neither a batch of SQS messages nor a scheduled one".into())
    }

    async fn take_in(&self, batch: Batch) -> Answer {
        let messages: Vec<Message> =
            batch.records.into_iter().map(|record| Message { id: record.message_id, body: record.body }).collect();
        let (verdicts, arrived) = handle(&self.builder, &messages).await;
        let mut answer = Answer::default();
        for (message, verdict) in messages.iter().zip(&verdicts) {
            let is_finished = match (verdict, &self.dead_letters) {
                (Verdict::Done, _) => true,
                (Verdict::Bad(bad), Some(queue)) => self.put_away(queue, message, bad).await,
                (Verdict::Bad(_), None) | (Verdict::Retry(_), _) => false,
            };
            if !is_finished {
                answer.failures.push(ItemFailure { id: message.id.clone() });
            }
        }
        self.tally.arrived(&arrived);
        for date in &arrived.due {
            self.maker.make(*date).await;
        }
        answer
    }

    async fn put_away(&self, queue: &DeadLetters, message: &Message, bad: &BadMessage) -> bool {
        if let Err(error) = queue.put(message, bad).await {
            tracing::error!(message = message.id, error = %format!("{error:#}"), "a bad message stays in the queue");
            return false;
        }
        count_bad(&self.builder, message, bad).await;
        true
    }
}
