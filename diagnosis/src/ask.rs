//! A question with its facts, and the builder of an answer.

use crate::answer::{ActionKind, Diagnosis, Evidence, Next, SafeAction};
use crate::facts::seconds;
use crate::words::{moment, shell_word, shown, span};
use crate::{BuilderFacts, Code, Facts, Leader, Settings, Subject};
use chrono::{DateTime, Duration, Utc};

/// A question, with facts, settings and time.
pub(crate) struct Ask<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) settings: &'a Settings,
    pub(crate) now: DateTime<Utc>,
}

impl Ask<'_> {
    pub(crate) fn at(&self, at: DateTime<Utc>) -> String {
        moment(at, self.now)
    }

    /// Time elapsed since a moment; 0 if it is in the future, since clocks differ.
    pub(crate) fn since(&self, at: DateTime<Utc>) -> Duration {
        (self.now - at).max(Duration::zero())
    }

    pub(crate) fn ago(&self, at: DateTime<Utc>) -> String {
        span(self.since(at))
    }

    /// Time in this many seconds; `None` if it cannot be represented.
    pub(crate) fn in_seconds(&self, count: u64) -> Option<DateTime<Utc>> {
        self.now.checked_add_signed(seconds(count))
    }

    /// Number of builders with a recent heartbeat; `None` if nothing is known of builders.
    pub(crate) fn builders_alive(&self) -> Option<usize> {
        let silence = seconds(self.settings.builder_silence_seconds);
        let builders = self.facts.cluster.builders.as_ref()?;
        Some(builders.iter().filter(|builder| self.now - builder.seen_at <= silence).count())
    }

    /// Builder with the latest heartbeat.
    pub(crate) fn last_builder(&self) -> Option<&BuilderFacts> {
        self.facts.cluster.builders.iter().flatten().max_by_key(|builder| builder.seen_at)
    }

    /// State for commands to work on, quoted for a shell; `None` if there is a scheduler for them.
    pub(crate) fn direct_state(&self) -> Option<String> {
        let is_led = matches!(self.facts.cluster.leader, Leader::Held { .. });
        self.settings.direct_state.as_ref().filter(|_| !is_led).map(|state| shell_word(state))
    }

    /// A command that works through a scheduler, extended by the state if one is named.
    pub(crate) fn command(&self, command: String) -> String {
        match self.direct_state() {
            Some(state) => format!("{command} --state {state}"),
            None => command,
        }
    }

    /// Tells whether work of builders will be done: false only if it is known that there are none.
    pub(crate) fn is_built(&self) -> bool {
        self.builders_alive().is_none_or(|alive| alive > 0)
    }
}

/// Builder of an answer.
pub(crate) struct Answer {
    code: Code,
    since: Option<DateTime<Utc>>,
    sentence: String,
    evidence: Vec<Evidence>,
    next: Next,
    action: Option<SafeAction>,
}

/// Next event of a subject that will not change by itself.
const NEVER: &str = "nothing happens by itself";

impl Answer {
    pub(crate) fn new(code: Code, since: Option<DateTime<Utc>>, sentence: impl Into<String>) -> Self {
        let next = Next { what: NEVER.to_owned(), at: None, by_itself: false };
        Self { code, since, sentence: sentence.into(), evidence: Vec::new(), next, action: None }
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn evidence(mut self, what: &str, found: impl Into<String>) -> Self {
        self.evidence.push(Evidence { what: what.to_owned(), found: found.into() });
        self
    }

    /// Adds a piece of evidence, if it is known.
    pub(crate) fn evidence_of(self, what: &str, found: Option<String>) -> Self {
        match found {
            Some(found) => self.evidence(what, found),
            None => self,
        }
    }

    /// Sets an automatic next event.
    pub(crate) fn by_itself(mut self, what: impl Into<String>, at: Option<DateTime<Utc>>) -> Self {
        self.next = Next { what: what.into(), at, by_itself: true };
        self
    }

    /// Sets what the subject waits for as the next event.
    pub(crate) fn waits_for(mut self, what: impl Into<String>) -> Self {
        self.next = Next { what: what.into(), at: None, by_itself: false };
        self
    }

    /// Sets the next event, either automatic or depending on an action.
    pub(crate) fn next(mut self, what: impl Into<String>, at: Option<DateTime<Utc>>, by_itself: bool) -> Self {
        self.next = Next { what: what.into(), at, by_itself };
        self
    }

    pub(crate) fn action(mut self, kind: ActionKind, label: impl Into<String>, command: impl Into<String>) -> Self {
        self.action = Some(SafeAction { kind, label: label.into(), command: command.into() });
        self
    }

    pub(crate) fn action_if(
        self,
        is_possible: bool,
        kind: ActionKind,
        label: impl Into<String>,
        command: impl Into<String>,
    ) -> Self {
        if is_possible { self.action(kind, label, command) } else { self }
    }

    pub(crate) fn finish(self, subject: &Subject) -> Diagnosis {
        Diagnosis {
            subject: subject.clone(),
            code: self.code,
            standing: self.code.standing(),
            since: self.since,
            sentence: self.sentence,
            evidence: self.evidence,
            next: self.next,
            action: self.action,
            runbook: self.code.runbook(),
        }
    }
}

/// A failure within a sentence: its class, and the first line of its message.
pub(crate) fn failure_text(failure: &millwork_manifest::Failure) -> String {
    let first = failure.message.lines().next().unwrap_or_default();
    format!("`{}`: {}", failure.class, shown(first))
}
