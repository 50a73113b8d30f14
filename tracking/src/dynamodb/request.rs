//! Requests: paged reads, conditional writes, transactions, and conversion of errors.
//!
//! The SDK retries requests that were throttled or got no answer. Other retries are made here: unprocessed items of a
//! batch, and writes that conflicted with a transaction.

use super::DynamoStore;
use super::expression::Expression;
use super::item::Item;
use crate::{TrackingError, TrackingResult};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    ConditionCheck, Delete, KeysAndAttributes, Put, ReturnValue, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem, Update,
};
use futures::stream::{self, StreamExt, TryStreamExt};
use millwork_manifest::{Refusal, Service};
use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

/// Limit of the concurrent requests of one operation.
pub(super) const CONCURRENCY: usize = 16;
/// Limit of the items in a batch read.
const MAX_BATCH: usize = 100;
/// Least number of items that a filtered request reads, since it may return none of them.
const MIN_LOOK: usize = 1000;
/// Limit of the retries of a request that conflicted with another.
const RETRIES: u32 = 5;
/// Limit of the random pause before the first retry; doubled for each further one.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// Result of a conditional write.
#[derive(Debug)]
pub(super) enum Written {
    /// The write succeeded; this is the item after it.
    Done(Item),
    /// The condition failed; this is the present item, if there is one.
    Refused(Option<Item>),
}

/// Result of a transaction.
#[derive(Debug)]
pub(super) enum Transacted {
    /// The transaction was committed.
    Done,
    /// The transaction had no effect; tells for each action whether its condition failed.
    Refused(Vec<bool>),
}

/// Query of a table or an index, with the conditions and filters of the expression.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    pub(super) index: Option<&'static str>,
    pub(super) expression: Expression,
    pub(super) newest_first: bool,
    /// Limit of the returned items; all if `None`.
    pub(super) limit: Option<usize>,
}

/// Runs requests concurrently, and returns their results in order.
pub(super) async fn all<T>(work: Vec<impl Future<Output = TrackingResult<T>>>) -> TrackingResult<Vec<T>> {
    stream::iter(work).buffered(CONCURRENCY).try_collect().await
}

/// Runs requests as [`all`] does, but also returns the results before the first error; no further requests start then.
pub(super) async fn all_until_error<T>(
    work: Vec<impl Future<Output = TrackingResult<T>>>,
) -> (Vec<T>, TrackingResult<()>) {
    let mut done = Vec::with_capacity(work.len());
    let mut results = stream::iter(work).buffered(CONCURRENCY);
    while let Some(result) = results.next().await {
        match result {
            Ok(value) => done.push(value),
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

/// Waits before a retry: a random time up to a limit that doubles, to avoid repeated conflicts.
pub(super) async fn pause(retry: u32) {
    tokio::time::sleep(FIRST_WAIT.mul_f64(f64::from(1 << retry) * fastrand::f64())).await;
}

/// Cause of a failed request, with advice on the configuration.
pub(super) fn describe<E: ProvideErrorMetadata + Error + Send + Sync + 'static>(error: &SdkError<E>) -> String {
    let endpoint = Service::DynamoDb.endpoint_variables().into_iter().find_map(|name| std::env::var(name).ok());
    let refusal = Refusal {
        service: Service::DynamoDb,
        endpoint: endpoint.as_deref(),
        right: None,
        code: error.code(),
        message: error.message(),
        status: error.raw_response().map(|response| response.status().as_u16()),
        region: None,
        error,
    };
    refusal.to_string()
}

pub(super) fn unavailable<E: ProvideErrorMetadata + Error + Send + Sync + 'static>(
    table: impl Into<String>,
    error: &SdkError<E>,
) -> TrackingError {
    let (store, message) = (table.into(), describe(error));
    match error.code() {
        Some(code) if NOT_TO_BE_REPEATED.contains(&code) => TrackingError::Refused { store, message },
        _ => TrackingError::Unavailable { store, message },
    }
}

/// Codes of errors that a retry cannot resolve (Amazon DynamoDB API reference, "Common errors").
const NOT_TO_BE_REPEATED: [&str; 6] = [
    "AccessDeniedException",
    "InvalidSignatureException",
    "MissingAuthenticationTokenException",
    "ResourceNotFoundException",
    "UnrecognizedClientException",
    "ValidationException",
];

/// Error for a request that lacks a required part, which would be a defect.
pub(super) fn incomplete(error: impl Error) -> TrackingError {
    TrackingError::Corrupt { what: "a request", value: error.to_string() }
}

/// Retries a request that conflicted with a transaction.
async fn repeated<T, E, F>(request: impl Fn() -> F) -> Result<T, SdkError<E>>
where
    E: ProvideErrorMetadata,
    F: Future<Output = Result<T, SdkError<E>>>,
{
    for retry in 0..RETRIES {
        match request().await {
            Err(error) if error.code() == Some("TransactionConflictException") => pause(retry).await,
            result => return result,
        }
    }
    request().await
}

impl DynamoStore {
    /// Reads one item, with strong consistency.
    pub(super) async fn get(&self, table: &str, key: Item) -> TrackingResult<Option<Item>> {
        let request = self.client.get_item().table_name(table).set_key(Some(key)).consistent_read(true);
        Ok(request.send().await.map_err(|e| unavailable(table, &e))?.item)
    }

    /// Reads those of these items that exist, with strong consistency, in no order. Keys must be distinct.
    pub(super) async fn get_many(&self, table: &str, keys: Vec<Item>) -> TrackingResult<Vec<Item>> {
        let chunks: Vec<_> = keys.chunks(MAX_BATCH).map(|chunk| self.get_batch(table, chunk.to_vec())).collect();
        Ok(all(chunks).await?.into_iter().flatten().collect())
    }

    async fn get_batch(&self, table: &str, keys: Vec<Item>) -> TrackingResult<Vec<Item>> {
        let mut found = Vec::with_capacity(keys.len());
        let mut rest = keys;
        let mut fruitless = 0;
        while !rest.is_empty() {
            let wanted = KeysAndAttributes::builder().set_keys(Some(rest.clone())).consistent_read(true);
            let request = self.client.batch_get_item().request_items(table, wanted.build().map_err(incomplete)?);
            let output = request.send().await.map_err(|e| unavailable(table, &e))?;
            let unprocessed = output.unprocessed_keys.unwrap_or_default().remove(table).map(|keys| keys.keys);
            found.extend(output.responses.unwrap_or_default().remove(table).unwrap_or_default());
            let left = unprocessed.unwrap_or_default();
            fruitless = if left.len() < rest.len() { 0 } else { fruitless + 1 };
            if fruitless > RETRIES {
                let message = "throttled: no item of a batch was read".to_owned();
                return Err(TrackingError::Unavailable { store: table.to_owned(), message });
            }
            if !left.is_empty() {
                pause(fruitless).await;
            }
            rest = left;
        }
        Ok(found)
    }

    /// Updates or creates an item, if the condition holds.
    pub(super) async fn update(&self, table: &str, key: Item, expression: &Expression) -> TrackingResult<Written> {
        let request = self
            .client
            .update_item()
            .table_name(table)
            .set_key(Some(key))
            .set_update_expression(expression.update_text())
            .set_condition_expression(expression.condition_text())
            .set_expression_attribute_names(expression.names())
            .set_expression_attribute_values(expression.values())
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match repeated(|| request.clone().send()).await {
            Ok(output) => Ok(Written::Done(output.attributes.unwrap_or_default())),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(e)) => Ok(Written::Refused(e.item.clone())),
                _ => Err(unavailable(table, &error)),
            },
        }
    }

    /// Writes an item, if the condition holds.
    pub(super) async fn put(&self, table: &str, item: Item, condition: &Expression) -> TrackingResult<Written> {
        use aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException;
        let request = self
            .client
            .put_item()
            .table_name(table)
            .set_item(Some(item.clone()))
            .set_condition_expression(condition.condition_text())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values())
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match repeated(|| request.clone().send()).await {
            Ok(_) => Ok(Written::Done(item)),
            Err(error) => match error.as_service_error() {
                Some(ConditionalCheckFailedException(e)) => Ok(Written::Refused(e.item.clone())),
                _ => Err(unavailable(table, &error)),
            },
        }
    }

    /// Removes an item, if the condition holds.
    pub(super) async fn delete(&self, table: &str, key: Item, condition: &Expression) -> TrackingResult<()> {
        use aws_sdk_dynamodb::operation::delete_item::DeleteItemError::ConditionalCheckFailedException;
        let request = self
            .client
            .delete_item()
            .table_name(table)
            .set_key(Some(key))
            .set_condition_expression(condition.condition_text())
            .set_expression_attribute_names(condition.names())
            .set_expression_attribute_values(condition.values());
        match repeated(|| request.clone().send()).await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(unavailable(table, &error)),
            },
        }
    }

    /// Makes at most 100 writes atomically. Retried if it conflicts with another transaction, or is throttled.
    pub(super) async fn transact(&self, actions: &[TransactWriteItem]) -> TrackingResult<Transacted> {
        let mut retry = 0;
        loop {
            let request = self.client.transact_write_items().set_transact_items(Some(actions.to_vec()));
            let Err(error) = request.send().await else { return Ok(Transacted::Done) };
            let reasons = match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(e)) => e.cancellation_reasons(),
                _ => return Err(unavailable(tables_of(actions), &error)),
            };
            let codes: Vec<&str> = reasons.iter().map(|reason| reason.code().unwrap_or("None")).collect();
            let failed: Vec<bool> = codes.iter().map(|code| *code == "ConditionalCheckFailed").collect();
            if failed.contains(&true) {
                return Ok(Transacted::Refused(failed));
            }
            if let Some((code, reason)) = codes.iter().zip(reasons).find(|(code, _)| !can_pass(code)) {
                let message = format!("{code}: {}", reason.message().unwrap_or("no reason is given"));
                return Err(TrackingError::Refused { store: tables_of(actions), message });
            }
            if retry >= RETRIES {
                return Err(unavailable(tables_of(actions), &error));
            }
            pause(retry).await;
            retry += 1;
        }
    }

    /// All items that a query finds.
    pub(super) async fn query(&self, table: &str, query: &Query) -> TrackingResult<Vec<Item>> {
        let mut items = Vec::new();
        let keep = |page: Vec<Item>| {
            items.extend(page);
            Ok(())
        };
        self.query_pages(table, query, keep).await?;
        items.truncate(query.limit.unwrap_or(usize::MAX));
        Ok(items)
    }

    /// Builds the request of a query, without its page.
    pub(super) fn query_request(&self, table: &str, query: &Query) -> QueryFluentBuilder {
        self.client
            .query()
            .table_name(table)
            .set_index_name(query.index.map(str::to_owned))
            .set_key_condition_expression(query.expression.condition_text())
            .set_filter_expression(query.expression.filter_text())
            .set_expression_attribute_names(query.expression.names())
            .set_expression_attribute_values(query.expression.values())
            .scan_index_forward(!query.newest_first)
    }

    /// Passes the items of a query on, page by page, until its limit is reached.
    pub(super) async fn query_pages(
        &self,
        table: &str,
        query: &Query,
        mut each: impl FnMut(Vec<Item>) -> TrackingResult<()> + Send,
    ) -> TrackingResult<()> {
        let (mut found, mut start) = (0, None);
        loop {
            let left = query.limit.map(|limit| limit.saturating_sub(found));
            if left == Some(0) {
                return Ok(());
            }
            let left =
                left.map(|left| if query.expression.filter_text().is_some() { left.max(MIN_LOOK) } else { left });
            let limit = left.map(|left| i32::try_from(left).unwrap_or(i32::MAX));
            let request = self.query_request(table, query).set_limit(limit).set_exclusive_start_key(start);
            let output = request.send().await.map_err(|e| unavailable(table, &e))?;
            let page = output.items.unwrap_or_default();
            found += page.len();
            each(page)?;
            start = output.last_evaluated_key;
            if start.is_none() {
                return Ok(());
            }
        }
    }
}

fn can_pass(code: &str) -> bool {
    matches!(code, "None" | "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
}

/// Names of the tables in a transaction.
fn tables_of(actions: &[TransactWriteItem]) -> String {
    let tables = actions.iter().filter_map(|action| {
        let put = action.put().map(Put::table_name);
        let update = action.update().map(Update::table_name);
        let delete = action.delete().map(Delete::table_name);
        put.or(update).or(delete).or(action.condition_check().map(ConditionCheck::table_name))
    });
    tables.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join("`, `")
}

/// An update as an action of a transaction.
pub(super) fn update_action(table: &str, key: Item, expression: &Expression) -> TrackingResult<TransactWriteItem> {
    let update = Update::builder()
        .table_name(table)
        .set_key(Some(key))
        .set_update_expression(expression.update_text())
        .set_condition_expression(expression.condition_text())
        .set_expression_attribute_names(expression.names())
        .set_expression_attribute_values(expression.values());
    Ok(TransactWriteItem::builder().update(update.build().map_err(incomplete)?).build())
}

/// A new item as an action of a transaction.
pub(super) fn put_action(table: &str, item: Item, condition: &Expression) -> TrackingResult<TransactWriteItem> {
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(item))
        .set_condition_expression(condition.condition_text())
        .set_expression_attribute_names(condition.names())
        .set_expression_attribute_values(condition.values());
    Ok(TransactWriteItem::builder().put(put.build().map_err(incomplete)?).build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_on_the_tables_of_its_actions() {
        let key = Item::from([("id".to_owned(), super::super::item::text("x"))]);
        let put = |table| put_action(table, key.clone(), &Expression::new()).unwrap();
        let update = update_action("runs", key.clone(), &Expression::new().remove("a")).unwrap();
        assert_eq!(tables_of(&[put("runs"), update.clone()]), "runs");
        assert_eq!(tables_of(&[put("lock"), update]), "lock`, `runs");
    }
}
