//! How the things that the engine asks of others can fail.

use kybern_interface::HookError;
use std::time::Duration;

/// One reason of an API server's refusal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cause {
    /// Like `FieldValueInvalid` or `NamespaceTerminating`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// Like `spec.selector`; empty when the cause is no field's.
    pub field: String,
}

/// A `Status` that the API server answered with instead of doing what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// Like `AlreadyExists`, `Conflict`, `Invalid`.
    pub reason: String,
    /// For people.
    pub message: String,
    /// `details.name`: the object that it is about; empty if it is about none.
    pub name: String,
    /// `details.causes`.
    pub causes: Vec<Cause>,
    /// The Retry-After header.
    pub retry_after: Option<Duration>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.message.is_empty() {
            write!(f, "{} ({})", self.reason, self.code)
        } else {
            f.write_str(&self.message)
        }
    }
}

/// Why a write was not made, or is not known to have been made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The API server refused. Whether a retry can help is the code's matter.
    #[error("{0}")]
    Refused(Refusal),
    /// Nothing came back: the write may or may not have happened. A retry helps.
    #[error("the API server's answer was lost: {0}")]
    Lost(String),
    /// This replica may not write any more. No retry here.
    #[error("this replica does not lead any more")]
    Fenced,
}

impl WriteError {
    fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Lost(_) | Self::Fenced => None,
        }
    }

    fn is(&self, code: u16, reason: &str) -> bool {
        self.refusal()
            .is_some_and(|r| r.code == code && r.reason == reason)
    }

    /// 404: the object, or the namespace of a create, is not there.
    pub fn is_not_found(&self) -> bool {
        self.refusal().is_some_and(|r| r.code == 404)
    }

    /// 404 of the object with this name itself, not of its kind or version.
    pub fn is_gone(&self, name: &str) -> bool {
        self.is(404, "NotFound") && self.refusal().is_some_and(|r| r.name == name)
    }

    /// 403: a right is missing, or admission refuses.
    pub fn is_forbidden(&self) -> bool {
        self.refusal().is_some_and(|r| r.code == 403)
    }

    /// A create of something that exists.
    pub fn is_already_exists(&self) -> bool {
        self.is(409, "AlreadyExists")
    }

    /// What was sent was made for another state of the object.
    pub fn is_conflict(&self) -> bool {
        self.refusal().is_some_and(|r| {
            (r.code == 409 && r.reason != "AlreadyExists")
                || (r.code == 422 && r.causes.iter().any(|c| c.field == "metadata.uid"))
        })
    }

    /// What another manager owns: the fields with their managers, for people.
    pub fn field_conflict(&self) -> Option<String> {
        let refusal = self.refusal().filter(|r| r.code == 409)?;
        let whose: Vec<String> = refusal
            .causes
            .iter()
            .filter(|cause| cause.reason == "FieldManagerConflict")
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        (!whose.is_empty()).then(|| whose.join("; "))
    }

    /// What was sent makes an object that its kind does not allow.
    pub fn is_invalid(&self) -> bool {
        !self.is_conflict()
            && self
                .refusal()
                .is_some_and(|r| r.code == 422 || r.code == 400)
    }

    /// The namespace is going: nothing can be created in it, and that is no failure.
    pub fn is_namespace_terminating(&self) -> bool {
        self.refusal().is_some_and(|r| {
            r.code == 403
                && (r.causes.iter().any(|c| c.reason == "NamespaceTerminating")
                    || r.message.contains("because it is being terminated"))
        })
    }

    /// An eviction that a PodDisruptionBudget does not allow now.
    pub fn is_disruption_budget(&self) -> bool {
        self.refusal().is_some_and(|r| {
            r.code == 429 && r.causes.iter().any(|c| c.reason == "DisruptionBudget")
        })
    }

    /// A field cannot change after creation.
    pub fn is_immutable(&self) -> bool {
        const WORDS: [&str; 5] = [
            "field is immutable",
            "are immutable",
            "updates to statefulset spec for fields other than",
            "may not be changed",
            "cannot be changed",
        ];
        self.refusal().is_some_and(|r| {
            r.code == 422
                && (WORDS.iter().any(|w| r.message.contains(w))
                    || r.causes
                        .iter()
                        .any(|c| WORDS.iter().any(|w| c.message.contains(w))))
        })
    }

    /// The API server asks to send less.
    pub fn is_throttled(&self) -> bool {
        self.refusal()
            .is_some_and(|r| r.code == 429 || r.retry_after.is_some())
    }

    /// The class of the answer: that of its HTTP status code, `lost` or `fenced`.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Refused(refusal) if refusal.code >= 500 => "5xx",
            Self::Refused(_) => "4xx",
            Self::Lost(_) => "lost",
            Self::Fenced => "fenced",
        }
    }

    /// How long the API server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.refusal().and_then(|r| r.retry_after)
    }
}

/// Why a pass's queries have no answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SenseError {
    /// A table is not loaded yet, or cannot be read now. A retry helps.
    #[error("{0}")]
    NotReady(String),
    /// A query cannot be answered as it is written or granted. No retry helps until something changes.
    #[error("query {query}: {message}")]
    Query {
        /// The query's name.
        query: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// A query used more than it may: rows, bytes, time. A retry may help.
    #[error("query {query}: {message}")]
    Limit {
        /// The query's name.
        query: String,
        /// Which limit.
        message: String,
    },
    /// The host failed. A retry may help.
    #[error("{0}")]
    Internal(String),
}

/// How a guest ended without returning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Crash {
    /// It trapped.
    Trap,
    /// It used up its time.
    Time,
    /// It used up its memory.
    Memory,
    /// What it returned is too large or no document of its kind.
    Output,
    /// All guest instances are in use. A retry helps; not the plugin's fault.
    Busy,
}

/// Why a hook has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecideError {
    /// The hook returned an error.
    #[error(transparent)]
    Hook(HookError),
    /// The hook did not return. A retry may help.
    #[error("{message}")]
    Crashed {
        /// How it ended.
        kind: Crash,
        /// What the runtime says.
        message: String,
    },
}

/// Why `release` or a dry pass could not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// No such registration.
    #[error("no plugin {0} is registered")]
    Unregistered(String),
    /// No such CR.
    #[error("{0} does not exist, or is not selected by this registration")]
    NoSuchObject(String),
    /// The table that it needs is not there yet. A retry helps.
    #[error("{0}")]
    NotReady(String),
}
