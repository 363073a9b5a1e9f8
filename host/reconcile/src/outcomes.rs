//! What is remembered of a CR's effects: one entry for each that a plan names.
//!
//! # Contract
//! An entry is one effect with one input: another input is another effect, of which nothing is
//! known. That an attempt begins is written before it begins, what came of it after it: an entry
//! that has begun and not ended was under way when a host ended, and runs again. A success that is
//! run again because it got old stays what plugins see until the new outcome is there.
//!
//! # Limits
//! As many entries as a plan may have effects; nothing here prints what an outcome holds.

use jiff::Timestamp;
use kybern_interface::{Outcome, OutcomeResult};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Longest time that anything is due later.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// What identifies an effect of one CR.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) key: String,
    /// Hash of the input.
    pub(crate) input: String,
}

impl Identity {
    /// Whether both are one effect, perhaps with another input.
    pub(crate) fn is_of(&self, other: &Self) -> bool {
        self.name == other.name && self.key == other.key
    }
}

/// When an attempt that failed is made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Retry {
    /// Not before this time.
    At(Timestamp),
    /// Not with this input, nor under this registration and plugin.
    Under(String),
}

/// What came of the last attempt.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Ended {
    attempt: u32,
    at: Timestamp,
    result: OutcomeResult,
    /// Only of one that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry: Option<Retry>,
}

/// What is remembered of one effect.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: String,
    key: String,
    input: String,
    /// Attempts since it was last successful, the one under way included.
    attempt: u32,
    /// Whether one is under way.
    begun: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
}

impl Entry {
    fn is(&self, identity: &Identity) -> bool {
        self.is_of(identity) && self.input == identity.input
    }

    fn is_of(&self, identity: &Identity) -> bool {
        self.name == identity.name && self.key == identity.key
    }
}

/// How an effect stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It succeeded; from when on that is too old, if ever.
    Done { old_in: Option<Duration> },
    /// It is to run now.
    Due(Past),
    /// It failed and is to run again after this time.
    Later(Duration, String),
    /// It failed and does not run again as it is.
    Failed(String),
}

/// What came of an effect's last attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) name: String,
    pub(crate) key: String,
    /// Whether one is under way, or was when a host ended.
    pub(crate) begun: bool,
    pub(crate) attempt: u32,
    /// When the last one ended.
    pub(crate) at: Option<Timestamp>,
    /// Why that one failed.
    pub(crate) error: Option<String>,
    /// When it is made again.
    pub(crate) again: Option<Timestamp>,
}

/// What came of an effect that is to run now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Past {
    /// Nothing is known.
    None,
    /// It succeeded, long ago.
    Success,
    /// It failed; the reason.
    Failure(String),
}

/// What is remembered of a CR's effects.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Outcomes(Vec<Entry>);

impl fmt::Debug for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outcomes of {}", self.0.len())
    }
}

impl Outcomes {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What plugins see.
    pub(crate) fn visible(&self) -> Vec<Outcome> {
        let visible = |entry: &Entry| {
            let ended = entry.ended.as_ref()?;
            Some(Outcome {
                name: entry.name.clone(),
                key: entry.key.clone(),
                attempt: ended.attempt,
                result: ended.result.clone(),
                at: ended.at.to_string(),
            })
        };
        self.0.iter().filter_map(visible).collect()
    }

    /// How each attempt stands, without what effects took and gave.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        let attempt = |entry: &Entry| Attempt {
            name: entry.name.clone(),
            key: entry.key.clone(),
            begun: entry.begun,
            attempt: entry.attempt,
            at: entry.ended.as_ref().map(|ended| ended.at),
            error: entry.ended.as_ref().and_then(|ended| match &ended.result {
                OutcomeResult::Ok(_) => None,
                OutcomeResult::Error(reason) => Some(reason.clone()),
            }),
            again: entry.ended.as_ref().and_then(|ended| match &ended.retry {
                Some(Retry::At(at)) => Some(*at),
                Some(Retry::Under(_)) | None => None,
            }),
        };
        self.0.iter().map(attempt).collect()
    }

    /// Forgets what is none of these.
    pub(crate) fn keep(&mut self, named: &[Identity]) {
        self.0
            .retain(|entry| named.iter().any(|identity| entry.is_of(identity)));
    }

    /// How an effect stands at a time and under a registration; a success older than `max_age`
    /// does not count.
    pub(crate) fn standing(
        &self,
        identity: &Identity,
        max_age: Option<Duration>,
        under: &str,
        now: Timestamp,
    ) -> Standing {
        let entry = self.0.iter().find(|entry| entry.is(identity));
        let Some(Entry { begun, ended, .. }) = entry else {
            return Standing::Due(Past::None);
        };
        let Some(ended) = ended else {
            return Standing::Due(Past::None);
        };
        let reason = match &ended.result {
            OutcomeResult::Ok(_) => {
                return match until(ended.at, max_age, now) {
                    Some(Duration::ZERO) => Standing::Due(Past::Success),
                    old_in => Standing::Done { old_in },
                };
            }
            OutcomeResult::Error(reason) => reason.clone(),
        };
        match &ended.retry {
            // One that began after this has not ended: a host did.
            _ if *begun => Standing::Due(Past::Failure(reason)),
            Some(Retry::Under(same)) if same == under => Standing::Failed(reason),
            Some(Retry::Under(_)) => Standing::Due(Past::Failure(reason)),
            Some(Retry::At(at)) => {
                match until(ended.at, Some(between(ended.at, *at)), now).unwrap_or_default() {
                    Duration::ZERO => Standing::Due(Past::Failure(reason)),
                    wait => Standing::Later(wait, reason),
                }
            }
            None => Standing::Due(Past::Failure(reason)),
        }
    }

    /// An attempt begins; its number.
    pub(crate) fn begin(&mut self, identity: &Identity) -> u32 {
        let place = self.0.iter().position(|entry| entry.is_of(identity));
        let before = place.map(|at| self.0.remove(at));
        let before = before.filter(|entry| entry.is(identity));
        let ended = before.as_ref().and_then(|entry| entry.ended.clone());
        let attempt = match &before {
            Some(Entry {
                begun: false,
                ended: Some(ended),
                ..
            }) if matches!(ended.result, OutcomeResult::Ok(_)) => 1,
            Some(entry) => entry.attempt.saturating_add(1),
            None => 1,
        };
        self.0.push(Entry {
            name: identity.name.clone(),
            key: identity.key.clone(),
            input: identity.input.clone(),
            attempt,
            begun: true,
            ended,
        });
        attempt
    }

    /// The attempt under way has ended; nothing if no plan names the effect any more.
    pub(crate) fn end(
        &mut self,
        identity: &Identity,
        at: Timestamp,
        result: &OutcomeResult,
        retry: Option<Retry>,
    ) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.is(identity)) {
            entry.begun = false;
            entry.ended = Some(Ended {
                attempt: entry.attempt,
                at,
                result: result.clone(),
                retry,
            });
        }
    }
}

/// How long what happened then is not older than `max_age`; none = for ever. A clock that was put
/// back, or of a node that is behind, makes nothing young: neither a success nor a wait.
fn until(at: Timestamp, max_age: Option<Duration>, now: Timestamp) -> Option<Duration> {
    // Clocks of two nodes differ a little.
    let since = between(at, now).max(between(now, at));
    max_age.map(|age| age.min(LONGEST).saturating_sub(since))
}

/// The time between, nothing if it is the other way round.
fn between(from: Timestamp, to: Timestamp) -> Duration {
    let between = to.duration_since(from);
    Duration::try_from(between).unwrap_or_default().min(LONGEST)
}

#[cfg(test)]
#[path = "outcomes_tests.rs"]
mod tests;
