//! Subjects that need a person, grouped by cause.

use crate::answer::SafeAction;
use crate::{Code, Diagnosis, Next, Subject};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Limit of the subjects that one item names: 5. The rest is given as a number.
const MAX_SUBJECTS: usize = 5;

/// A cause, and what it holds up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttentionItem {
    /// The cause, by its stable name.
    pub code: Code,
    /// Common cause of the subjects: a class of failure, a reason, a place.
    pub cause: String,
    /// Number of subjects that the cause holds up, as far as they were looked at.
    pub count: u64,
    /// Moment it began for the first of them, where that is known.
    #[schema(required)]
    pub since: Option<DateTime<Utc>>,
    /// Diagnosis of the first subject, in a sentence.
    pub sentence: String,
    /// First subjects that have this cause.
    pub subjects: Vec<Subject>,
    /// Event that comes next for the first subject.
    pub next: Next,
    /// The one thing that can be done safely for the first of them.
    #[schema(required)]
    pub action: Option<SafeAction>,
    /// The chapter of the runbook.
    pub runbook: String,
}

impl AttentionItem {
    /// Sentence with the name of its subject, if there is only one; for a file, the last part of its address.
    pub fn sentence_with_name(&self) -> String {
        let short = match &self.subjects[..] {
            [subject] if self.count == 1 => subject.name().rsplit('/').next(),
            _ => None,
        };
        match short {
            Some(short) if !self.sentence.contains(short) => format!("{short}: {}", self.sentence),
            _ => self.sentence.clone(),
        }
    }
}

/// Groups diagnoses by code and cause, those with the most subjects first. Returns at most `limit` items, and the
/// number of those omitted.
pub fn fold(diagnoses: impl IntoIterator<Item = (String, Diagnosis)>, limit: usize) -> (Vec<AttentionItem>, usize) {
    let mut items: BTreeMap<(Code, String), AttentionItem> = BTreeMap::new();
    for (cause, diagnosis) in diagnoses {
        let key = (diagnosis.code, cause);
        match items.get_mut(&key) {
            Some(item) => add(item, diagnosis),
            None => {
                let item = first(&key.1, diagnosis);
                items.insert(key, item);
            }
        }
    }
    let mut items: Vec<AttentionItem> = items.into_values().collect();
    // Items with a known start come before others.
    items.sort_by_key(|item| (Reverse(item.count), item.since.is_none(), item.since));
    let left_out = items.len().saturating_sub(limit);
    items.truncate(limit);
    (items, left_out)
}

fn first(cause: &str, diagnosis: Diagnosis) -> AttentionItem {
    let Diagnosis { subject, code, since, sentence, next, action, runbook, .. } = diagnosis;
    AttentionItem {
        code,
        cause: cause.to_owned(),
        count: 1,
        since,
        sentence,
        subjects: vec![subject],
        next,
        action,
        runbook,
    }
}

fn add(item: &mut AttentionItem, diagnosis: Diagnosis) {
    item.count += 1;
    if item.subjects.len() < MAX_SUBJECTS {
        item.subjects.push(diagnosis.subject.clone());
    }
    // A known start takes precedence over an unknown one.
    let is_earlier = match (diagnosis.since, item.since) {
        (Some(new), Some(old)) => new < old,
        (Some(_), None) => true,
        (None, _) => false,
    };
    if is_earlier {
        item.since = diagnosis.since;
    }
}
